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
 * loader's.  All signals are blocked in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
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

/* What the collector asks before and after the beginning.  Return: flags of the answer. */
static uint32_t look(struct gca_arena *a, uint32_t asked)
{
	if (asked & GCARENA_SERVE_REFRESH) {
		gcl_trace_end(a);
		gcl_trace_begin(a);
		/* What goes wrong here the cycle will find, or the next one. */
		gcl_roots_refresh(a, &a->looked_adds);
	}
	if (!(asked & GCARENA_SERVE_COMPARE))
		return 0;
	__atomic_add_fetch(&a->compared, 1, __ATOMIC_RELEASE);
	return gcl_roots_missed(a, a->looked_adds) ? GCARENA_SERVE_CHANGED : 0;
}

/* Return: 0, or -errno. */
static int serve(struct gca_arena *a, uint32_t flags)
{
	struct gcarena_run runs[GCARENA_SERVE_RUNS];
	struct gcarena_serve req = { .size = sizeof(req), .runs = (uintptr_t)runs };
	uint64_t base = (uintptr_t)a->space.heap, size = a->space.heap_size;
	uint32_t i, answer = 0;
	int err;

	if (a->space.features & GCARENA_F_THREADS)
		flags |= GCARENA_SERVE_LOOKS;
	for (;;) {
		req.flags = flags | answer;
		req.nr_runs = GCARENA_SERVE_RUNS;
		err = a->be->serve(&a->space, &req);
		if (err) {
			if (err == -EAGAIN && (flags & GCARENA_SERVE_NOWAIT))
				return 0;
			return err;
		}
		/* First what a cycle waits for. */
		answer = look(a, req.flags);
		for (i = 0; i < req.nr_runs; i++)
			if (runs[i].start - base < size &&
			    runs[i].len <= size - (runs[i].start - base))
				give_back((void *)runs[i].start, runs[i].len);
		req.nr_done = req.nr_runs;
		gcl_trace_end(a);
	}
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
		return gcl_fail(EBUSY, "gca_serve: another thread serves; open the arena with GCA_NO_PAGER");
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
