// SPDX-License-Identifier: MIT
/*
 * port.c: the collector's services inside a process, for a world with at most
 * one attached thread.
 *
 * Such a world is stopped by construction while that thread is in COLLECT, so
 * gca_port_stop() has only to verify that it is.  Nothing here may call back
 * into the core, and nothing between stop and start may allocate.
 *
 * The port functions are weak: a test that needs another world replaces them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

#define GCA_WEAK	__attribute__((__weak__))
#define GCA_RED_ZONE	128
#define GCA_STACK_MAX	(8ULL << 20)	/* of an unknown stack, in bytes */

/*
 * Blocks of this size come from mmap: a span may be needed by a signal handler
 * that has interrupted malloc, and span metadata is the only thing the core
 * allocates on that path.
 */
#define GCA_MMAP_MIN	4096

unsigned int gca_warnings;

static void gca_complain(const char *prefix, const char *fmt, va_list ap)
{
	char line[512];
	int n, len = (int)sizeof(line) - 1;

	n = snprintf(line, sizeof(line), "%s", prefix);
	if (n >= 0 && n < len)
		n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	if (n < 0)
		return;
	if (n > len - 1)
		n = len - 1;
	if (!n || line[n - 1] != '\n')
		line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

void gca_warn(const char *file, int line, const char *fmt, ...)
{
	char prefix[160];
	va_list ap;

	__atomic_fetch_add(&gca_warnings, 1, __ATOMIC_RELAXED);
	snprintf(prefix, sizeof(prefix), "gcarena: WARNING at %s:%d: ", file, line);
	va_start(ap, fmt);
	gca_complain(prefix, fmt, ap);
	va_end(ap);
#ifndef GCA_WARN_ABORT
	if (getenv("GCA_WARN_ABORT"))
#endif
		abort();
}

void gca_pr_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	gca_complain("", fmt, ap);
	va_end(ap);
}

int gca_gettid(void)
{
	return (int)syscall(SYS_gettid);
}

/* ------------------------------------------------------------------ memory */

#ifdef GCA_TEST_FAIL
long gca_test_fail_after = -1;

static bool gca_must_fail(void)
{
	if (gca_test_fail_after < 0)
		return false;
	if (gca_test_fail_after == 0)
		return true;
	gca_test_fail_after--;
	return false;
}
#else
#define gca_must_fail()	false
#endif

#if defined(GCA_ASAN) || defined(GCA_TSAN)
#define gca_by_mmap(bytes)	false	/* the sanitizers watch malloc's blocks */
#else
#define gca_by_mmap(bytes)	((bytes) >= GCA_MMAP_MIN)
#endif

GCA_WEAK void *gca_port_zalloc(struct gca_arena *a, size_t bytes)
{
	void *p;

	(void)a;
	if (gca_must_fail())
		return NULL;
	if (!gca_by_mmap(bytes))
		return calloc(1, bytes);
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

GCA_WEAK void gca_port_free(struct gca_arena *a, void *p, size_t bytes)
{
	(void)a;
	if (!p)
		return;
	if (!gca_by_mmap(bytes))
		free(p);
	else
		munmap(p, bytes);
}

/* By words: stacks and globals have sanitizers' red zones, which are read, too. */
static void copy_words(u64 *dst, u64 src, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes / 8; i++)
		dst[i] = gca_uread_word(src + 8 * i);
}

/*
 * Checkmark reads the whole heap a few words at a time, and a system call for
 * each made its cycles a thousand times longer.  While the collecting thread is
 * in COLLECT the program does not run: a page that could be read a moment ago
 * still can, unless a thread that is not attached unmaps its own process's heap.
 * Return: where to look up and to note the page, or NULL if it must be asked.
 */
static u64 *known_page(struct gca_arena *a, u64 src, size_t bytes)
{
	struct gca_world *w = a->port;

	if (!w || !w->collector || !pthread_equal(w->reader, pthread_self()) ||
	    src >> 12 != (src + bytes - 1) >> 12)
		return NULL;
	return &w->known[(src >> 12) % GCA_KNOWN_PAGES];
}

/*
 * The system call answers EFAULT where reading would end the process; it copies
 * at most up to the first bad page, and a short copy is a bad one.  A sandbox
 * may forbid it: then by words.  @bytes is a multiple of 8.
 */
GCA_WEAK int gca_port_copy(struct gca_arena *a, void *dst, u64 src, size_t bytes)
{
	struct iovec to = { dst, bytes };
	struct iovec from = { (void *)(uintptr_t)src, bytes };
	u64 *known = known_page(a, src, bytes);
	ssize_t n;

	if (known && *known == src >> 12) {
		copy_words(dst, src, bytes);
		return 0;
	}
	n = syscall(SYS_process_vm_readv, getpid(), &to, 1UL, &from, 1UL, 0UL);
	if (n == (ssize_t)bytes) {
		if (known)
			*known = src >> 12;
		return 0;
	}
	if (n >= 0 || errno == EFAULT)
		return -EFAULT;
	copy_words(dst, src, bytes);
	return 0;
}

/*
 * A thread of the process takes its faults where it stands, so nothing misses
 * here; a root range that is not mapped ends the process, as any other wild
 * pointer of its own would.
 */
GCA_WEAK int gca_port_copy_nofault(struct gca_arena *a, void *dst, u64 src, size_t bytes)
{
	(void)a;
	copy_words(dst, src, bytes);
	return 0;
}

/* What process_vm_readv() cannot read is not mapped readable: a leaf. */
GCA_WEAK int gca_port_unreadable(struct gca_arena *a, u64 addr)
{
	(void)a;
	(void)addr;
	return 0;
}

/* ----------------------------------------------------------- time and turns */

GCA_WEAK u64 gca_port_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000ULL + (u64)ts.tv_nsec;
}

GCA_WEAK bool gca_port_relax(struct gca_arena *a)
{
	(void)a;
	return false;
}

GCA_WEAK int gca_port_gate_wait(struct gca_arena *a)
{
	struct gca_world *w = a->port;

	if (!w) {
		while (READ_ONCE(a->gate_closed))
			sched_yield();
		return 0;
	}
	pthread_mutex_lock(&w->gate_lock);
	while (READ_ONCE(a->gate_closed) && !READ_ONCE(w->dying))
		pthread_cond_wait(&w->gate, &w->gate_lock);
	pthread_mutex_unlock(&w->gate_lock);
	return READ_ONCE(w->dying) ? -ESRCH : 0;
}

GCA_WEAK void gca_port_gate_wake(struct gca_arena *a)
{
	struct gca_world *w = a->port;

	if (!w)
		return;
	pthread_mutex_lock(&w->gate_lock);
	pthread_cond_broadcast(&w->gate);
	pthread_mutex_unlock(&w->gate_lock);
}

GCA_WEAK void gca_port_quiesce(struct gca_arena *a)
{
	while (atomic_read_acquire(&a->ops))
		sched_yield();
}

/* ----------------------------------------------------------- stop and stacks */

GCA_WEAK int gca_port_stop(struct gca_arena *a, u64 deadline)
{
	struct gca_world *w = a->port;

	(void)deadline;
	if (!w || !w->mutator)
		return 0;
	/* The attached thread runs its program: nothing can hold it yet. */
	return w->collector == w->tid ? 0 : -EBUSY;
}

GCA_WEAK void gca_port_start(struct gca_arena *a)
{
	(void)a;
}

GCA_WEAK int gca_port_backoff(struct gca_arena *a, u64 ns)
{
	struct timespec t = { (time_t)(ns / 1000000000ULL), (long)(ns % 1000000000ULL) };

	(void)a;
	nanosleep(&t, NULL);
	return 0;
}

/*
 * The mapping that @addr is in, by /proc.  Nothing is allocated: this is inside
 * a stop.  Return: false if there is none, or no /proc.
 */
static bool mapping_of(u64 addr, u64 *lo, u64 *hi)
{
	u64 bound[2] = { 0, 0 };	/* of the line: start and end */
	unsigned int field = 0;		/* being read; 2: the rest of the line */
	bool found = false;
	char buf[4096];
	ssize_t n, i;
	int fd;

	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (!found && (n = read(fd, buf, sizeof(buf))) > 0) {
		for (i = 0; i < n && !found; i++) {
			char c = buf[i];

			if (c == '\n') {
				field = 0;
				bound[0] = 0;
				bound[1] = 0;
			} else if (field < 2 && (c == '-' || c == ' ')) {
				field++;
				found = field == 2 && addr >= bound[0] && addr < bound[1];
			} else if (field < 2) {
				bound[field] = bound[field] << 4 |
					       (u64)(c <= '9' ? c - '0' : c - 'a' + 10);
			}
		}
	}
	close(fd);
	*lo = bound[0];
	*hi = bound[1];
	return found;
}

/*
 * On the alternate signal stack, which may have been set after the attach, or on
 * one of the program's own making: to the end of it or its mapping, as the module
 * does, and the thread's own stack from where it is parked or as far as it has grown.
 */
static void other_stack(struct gca_arena *a, const struct gca_mutator *m, u64 sp,
			struct gca_stack *s)
{
	const struct gcarena_range *r = gca_roots_stack(a, sp);
	u64 start = ALIGN_DOWN(sp - GCA_RED_ZONE, 8UL), lo, hi;

	lo = mapping_of(m->stack_hi - 8, &lo, &hi) ? max(m->stack_lo, lo) : m->stack_lo;
	gca_stack_add(s, gca_stack_low(lo, m->stack_hi, READ_ONCE(m->shared->stack_sp)),
		      m->stack_hi);
	if (r)
		gca_stack_add(s, max(start, r->start), r->start + r->len);
	else if (mapping_of(sp, &lo, &hi))
		gca_stack_add(s, start, min_t(u64, start + GCA_STACK_MAX, hi));
	else if (sp >= m->altstack_lo && sp < m->altstack_hi)
		gca_stack_add(s, start, m->altstack_hi);	/* no /proc here */
}

GCA_WEAK int gca_port_stack(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s)
{
	struct gca_world *w = a->port;

	if (!w)
		return 0;
	if (w->sp < m->stack_lo || w->sp >= m->stack_hi)
		other_stack(a, m, w->sp, s);
	else
		gca_stack_add(s, w->sp - GCA_RED_ZONE, m->stack_hi);
	s->nr_regs = w->nr_regs;
	s->regs = w->regs;
	return 0;
}

GCA_WEAK int gca_port_stack_self(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s)
{
	return gca_port_stack(a, m, s);
}

GCA_WEAK bool gca_port_stack_same(struct gca_arena *a, struct gca_mutator *m)
{
	(void)a;
	(void)m;
	return true;
}

GCA_WEAK void gca_port_mutator_get(struct gca_arena *a, struct gca_mutator *m)
{
	(void)a;
	(void)m;
}

GCA_WEAK void gca_port_mutator_put(struct gca_arena *a, struct gca_mutator *m)
{
	(void)a;
	(void)m;
}

/* -------------------------------------------------------- workers: none here */

GCA_WEAK void gca_port_work(struct gca_arena *a)
{
	(void)a;
}

GCA_WEAK void gca_port_idle(struct gca_arena *a)
{
	(void)a;
}

GCA_WEAK void gca_port_run_workers(struct gca_arena *a, u64 until)
{
	while (!gca_work_idle(a) && !READ_ONCE(a->void_reason) && gca_port_now() <= until)
		gca_work_slice(a, GCA_MARK_WORKER, 1000000);
}

/* ---------------------------------------------------------------- the pager */

GCA_WEAK void gca_port_missed(struct gca_arena *a)
{
	(void)a;
}

/* The collecting thread may fault: it scans what was missed itself. */
GCA_WEAK bool gca_port_pager_scans(struct gca_arena *a)
{
	(void)a;
	return false;
}

GCA_WEAK void gca_port_trace(struct gca_arena *a, enum gca_trace what, u64 x, u64 y)
{
	(void)a;
	(void)what;
	(void)x;
	(void)y;
}
