// SPDX-License-Identifier: MIT
/*
 * port.c: memory, time and complaints for a collector inside a process.
 *
 * Nothing here knows threads: what does is stop.c and crew.c, or, for tests and
 * benchmarks of the core alone, selftests/unit/bare.c.  Nothing may call back into
 * the core.
 *
 * What a test replaces by its own is weak.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
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
#define GCA_BY_MMAP	false	/* the sanitizers watch malloc's blocks */
#else
/*
 * A handler that has interrupted malloc may allocate, and so collect: and then neither it nor
 * the coordinator, for which it waits, may need malloc's locks.
 */
#define GCA_BY_MMAP	true
#endif

GCA_WEAK void *gca_port_zalloc(struct gca_arena *a, size_t bytes)
{
	void *p;

	(void)a;
	if (gca_must_fail())
		return NULL;
	if (!GCA_BY_MMAP)
		return calloc(1, bytes);
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

GCA_WEAK void gca_port_free(struct gca_arena *a, void *p, size_t bytes)
{
	(void)a;
	if (!p)
		return;
	if (!GCA_BY_MMAP)
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
 * each made its cycles a thousand times longer.  In a stop a page that could be read a
 * moment ago still can, unless a thread that is not attached unmaps its own process's
 * heap.  Return: where to look up and to note the page, or NULL if it must be asked.
 */
static u64 *known_page(struct gca_arena *a, u64 src, size_t bytes)
{
	struct gca_process *p = a->port;

	if (!p || !READ_ONCE(p->stopped) || !pthread_equal(p->reader, pthread_self()) ||
	    src >> 12 != (src + bytes - 1) >> 12)
		return NULL;
	return &p->known[(src >> 12) % GCA_KNOWN_PAGES];
}

/*
 * The system call answers EFAULT where reading would end the process; it copies
 * at most up to the first bad page, and a short copy is a bad one.  A sandbox
 * may forbid it: then by words.  @bytes is a multiple of 8.
 */
static int copy(struct gca_arena *a, void *dst, u64 src, size_t bytes)
{
	struct iovec to = { dst, bytes };
	struct iovec from = { (void *)(uintptr_t)src, bytes };
	struct gca_process *p = a->port;
	ssize_t n = syscall(SYS_process_vm_readv, p ? p->pid : getpid(), &to, 1UL, &from, 1UL, 0UL);


	if (n == (ssize_t)bytes)
		return 0;
	if (n >= 0 || errno == EFAULT)
		return -EFAULT;
	copy_words(dst, src, bytes);
	return 0;
}

GCA_WEAK int gca_port_copy(struct gca_arena *a, void *dst, u64 src, size_t bytes)
{
	u64 *known = known_page(a, src, bytes);
	int err;

	if (known && *known == src >> 12) {
		copy_words(dst, src, bytes);
		return 0;
	}
	err = copy(a, dst, src, bytes);
	if (!err && known)
		*known = src >> 12;
	return err;
}

/* gca_port_reads() - can memory be read that may not be there?  A sandbox may forbid it. */
bool gca_port_reads(void)
{
	u64 word = 0, got = 1;
	struct iovec to = { &got, sizeof(got) }, from = { &word, sizeof(word) };

	return syscall(SYS_process_vm_readv, getpid(), &to, 1UL, &from, 1UL, 0UL) == sizeof(got);
}

static _Thread_local struct gca_page *gca_my_page __attribute__((__tls_model__("initial-exec")));

/** gca_port_page() - a buffer for the calling thread, which is to read roots in stops */
void gca_port_page(struct gca_page *page)
{
	gca_my_page = page;
}

/** gca_port_page_forget() - what the calling thread has read may be old */
void gca_port_page_forget(void)
{
	if (gca_my_page)
		gca_my_page->n = 0;
}

static u64 gca_clock(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (u64)t.tv_sec * 1000000000ULL + (u64)t.tv_nsec;
}

GCA_WEAK u64 gca_port_cpu(struct gca_arena *a)
{
	(void)a;
	return gca_clock(CLOCK_PROCESS_CPUTIME_ID);
}

GCA_WEAK u64 gca_port_cpu_self(void)
{
	return gca_clock(CLOCK_THREAD_CPUTIME_ID);
}

GCA_WEAK void gca_port_sleep(struct gca_arena *a, const u32 *word, u64 ns)
{
	struct timespec t = { (time_t)(ns / 1000000000ULL), (long)(ns % 1000000000ULL) };

	(void)a;
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0);
}

GCA_WEAK void gca_port_wake(u32 *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/*
 * Roots: a range may be gone, because a thread that is not attached unloads a library,
 * even while it is read.  Some pages a system call, for those who read whole ranges: what
 * has been read since the last stop is no older than the snapshot.
 */
static int read_page(struct gca_arena *a, struct gca_page *page, u64 start)
{
	struct gca_process *p = a->port;

	if (page->stop == p->nr_stops && start - page->start < page->n)
		return 0;
	page->stop = p->nr_stops;
	page->start = start;
	page->n = sizeof(page->word);
	if (!copy(a, page->word, start, page->n))
		return 0;
	page->n = 4096;
	if (!copy(a, page->word, start, page->n))
		return 0;
	page->n = 0;
	return -EFAULT;
}

GCA_WEAK int gca_port_sift(struct gca_arena *a, u64 *dst, u64 src, unsigned int n, u64 base,
			   u64 size)
{
	struct gca_page *page = gca_my_page;
	const u64 *from = dst;
	int err, kept = 0;
	unsigned int i;

	if (a->port && page) {
		err = read_page(a, page, src & ~4095ULL);
		from = page->word + (src - page->start) / 8;
	} else {
		err = copy(a, dst, src, n * sizeof(*dst));
	}
	if (err)
		return err;
	for (i = 0; i < n; i++)
		if (unlikely(from[i] - base <= size))
			dst[kept++] = from[i];
	return kept;
}

/* What process_vm_readv() cannot read is not mapped readable: a leaf. */
GCA_WEAK int gca_port_unreadable(struct gca_arena *a, u64 addr)
{
	(void)a;
	(void)addr;
	return 0;
}

/* ----------------------------------------------------------- time, mappings */

GCA_WEAK u64 gca_port_now(void)
{
	return gca_clock(CLOCK_MONOTONIC);
}

/*
 * gca_mapping_of() - the mapping that @addr is in, by /proc
 *
 * Nothing is allocated: this is inside a stop, or on somebody's alternate stack.
 * Return: false if there is none, or no /proc.
 */
bool gca_mapping_of(u64 addr, u64 *lo, u64 *hi)
{
	u64 bound[2] = { 0, 0 };	/* of the line: start and end */
	unsigned int field = 0;		/* being read; 2: the rest of the line */
	bool found = false;
	char buf[1024];
	ssize_t n, i;
	int fd;

	/* Not by open() and the like: they end a thread that has been cancelled. */
	fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (!found && (n = syscall(SYS_read, fd, buf, sizeof(buf))) > 0) {
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
	syscall(SYS_close, fd);
	*lo = bound[0];
	*hi = bound[1];
	return found;
}
