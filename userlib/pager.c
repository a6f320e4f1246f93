// SPDX-License-Identifier: MIT
/*
 * pager.c: the thread that sleeps in SERVE.
 *
 * It lets the collector read pages that are not there, gives back the runs of free
 * pages that the collector hands it, and looks after the plain roots at the
 * beginning of each cycle.  It is never attached and never stopped, so while the
 * world stands still it must not wait for what an attached thread can hold: no
 * malloc(), no stdio, no lock.  The collector asks it to look at the loaded
 * objects only while the world runs: then it takes a->lock, see there, and the
 * loader's.  That one it may keep over the begin stop, if it is told to; who waits for it
 * meanwhile may postpone the stop, and the collector does not try twice.
 * All signals are blocked in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define PAGER_STACK	(64 << 10)

/* What comes back must be zero: locked memory (mlockall) cannot be given up. */
static void give_back(void *start, size_t len)
{
	if (madvise(start, len, MADV_DONTNEED))
		memset(start, 0, len);
}

/**
 * struct call - SERVE, again and again
 * @a: arena
 * @req: the request, and its reply
 * @runs: where it hands out runs
 * @flags: of each
 * @answer: and of the next
 * @err: of the last
 */
struct call {
	struct gca_arena *a;
	struct gcarena_serve req;
	struct gcarena_run runs[GCARENA_SERVE_RUNS];
	uint32_t flags, answer;
	int err;
};

/* Give back what the last one handed out, and ask for more.  Return: 0 or -errno */
static int serve_once(struct call *c)
{
	uint64_t base = (uintptr_t)c->a->space.heap, size = c->a->space.heap_size;
	uint32_t i;

	for (i = 0; i < c->req.nr_runs; i++)
		if (c->runs[i].start - base < size &&
		    c->runs[i].len <= size - (c->runs[i].start - base))
			give_back((void *)c->runs[i].start, c->runs[i].len);
	c->req.nr_done = c->req.nr_runs;
	c->req.nr_runs = GCARENA_SERVE_RUNS;
	c->req.flags = c->flags | c->answer;
	c->answer = 0;
	c->err = c->a->be->serve(&c->a->space, &c->req);
	if (c->err)
		c->req.nr_runs = 0;
	return c->err;
}

/* Before the beginning.  What goes wrong here the cycle will find, or the next one. */
static void refresh(struct call *c)
{
	gcl_roots_refresh(c->a, &c->a->looked_adds);
}

/* After it. */
static void compare(struct call *c)
{
	__atomic_add_fetch(&c->a->compared, 1, __ATOMIC_RELEASE);
	if (gcl_roots_missed(c->a, c->a->looked_adds))
		c->answer = GCARENA_SERVE_CHANGED;
}

/*
 * The loader's lock is held as long as we are in here, so nothing is loaded between the
 * two; it may be taken twice.  Calls that look at nothing are served as usual.
 */
static int hold(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct call *c = arg;

	(void)info;
	(void)size;
	refresh(c);
	do {
		if (serve_once(c))
			return 1;
	} while (!(c->req.flags & (GCARENA_SERVE_REFRESH | GCARENA_SERVE_COMPARE)));
	if (c->req.flags & GCARENA_SERVE_COMPARE)
		compare(c);
	c->req.flags &= ~GCARENA_SERVE_COMPARE;
	return 1;
}

/* Return: 0, or -errno. */
static int serve(struct gca_arena *a, uint32_t flags)
{
	struct call c = { .a = a, .flags = flags };

	c.req.size = sizeof(c.req);
	c.req.runs = (uintptr_t)c.runs;
	if (a->space.features & GCARENA_F_THREADS)
		c.flags |= GCARENA_SERVE_LOOKS;
	while (!serve_once(&c)) {
		while (c.req.flags & GCARENA_SERVE_REFRESH) {
			gcl_trace_end(a);
			gcl_trace_begin(a);
			if (!(c.req.flags & GCARENA_SERVE_HOLD)) {
				refresh(&c);
				break;
			}
			/* Without objects, without us: as if it had not been asked for. */
			c.req.flags &= ~GCARENA_SERVE_HOLD;
			dl_iterate_phdr(hold, &c);
			if (c.err)
				goto out;
		}
		if (c.req.flags & GCARENA_SERVE_COMPARE)
			compare(&c);
		gcl_trace_end(a);
	}
out:
	return c.err == -EAGAIN && (flags & GCARENA_SERVE_NOWAIT) ? 0 : c.err;
}

int gca_serve(struct gca_arena *a, unsigned int flags)
{
	int err;

	if (flags & ~GCARENA_SERVE_NOWAIT)
		return gcl_fail(EINVAL, "gca_serve: flags %#x are not known", flags);
	if (gcl_dead(a))
		return -1;
	__atomic_add_fetch(&a->serving, 1, __ATOMIC_SEQ_CST);
	err = serve(a, flags);
	__atomic_sub_fetch(&a->serving, 1, __ATOMIC_RELEASE);
	if (err == -EBUSY)
		return gcl_fail(EBUSY, "gca_serve: another thread serves (open the arena with GCA_NO_PAGER), or the caller is attached and would sleep");
	return err ? gcl_fail(-err, "gca_serve: %s", strerror(-err)) : 0;
}

static void *pager(void *arg)
{
	struct gca_arena *a = arg;

	/* Anything but an interruption is the end: the arena has died. */
	while (serve(a, 0) == -EINTR)
		;
	return NULL;
}

int gcl_pager_start(struct gca_arena *a)
{
	size_t stack = PAGER_STACK + (size_t)sysconf(_SC_THREAD_STACK_MIN);
	struct gcl_signals sigs;
	pthread_attr_t attr;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		goto out;
	pthread_attr_setstacksize(&attr, (stack + 4095) & ~(size_t)4095);
	sigs = gcl_block();
	err = pthread_create(&a->pager, &attr, pager, a);
	gcl_restore(sigs);
	pthread_attr_destroy(&attr);
	a->has_pager = !err;
out:
	return err ? gcl_fail(err, "gca_open: the pager thread could not be made: %s; or open with GCA_NO_PAGER",
			      strerror(err)) : 0;
}

void gcl_pager_stop(struct gca_arena *a)
{
	a->be->wake(&a->space);
	if (a->has_pager)
		pthread_join(a->pager, NULL);
	a->has_pager = false;
	while (__atomic_load_n(&a->serving, __ATOMIC_ACQUIRE))
		sched_yield();
}
