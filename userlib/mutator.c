// SPDX-License-Identifier: MIT
/*
 * mutator.c: attaching threads, and the thread-local convenience.
 *
 * What the collector needs to know of a thread is told once, at attach: its
 * stack, its alternate signal stack, its static TLS.  Threads that end without
 * detaching are the module's business; inside the process they are detached by the last
 * of their destructors, because other destructors may still use the heap.
 *
 * A mutator is in two lists: its arena's, under a->lock, and its thread's, which
 * only the thread itself touches, with signals blocked, for the stop handler.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define GCL_REAP_MIN	16	/* mutators before the exited are looked for */

static _Thread_local struct gca_mutator *gcl_self __attribute__((__tls_model__("initial-exec")));

/* glibc 2.35 and later say where a thread's struct rseq is; others do not. */
extern const ptrdiff_t __rseq_offset __attribute__((__weak__));
extern const unsigned int __rseq_size __attribute__((__weak__));

/* Offset of the thread's registered struct rseq from the thread pointer, or 0. */
static int64_t find_rseq(void)
{
#ifdef GCA_RSEQ
	const volatile int32_t *cpu_id;
	uintptr_t tp;

	if (!&__rseq_size || !&__rseq_offset || !__rseq_size)
		return 0;
	__asm__ ("movq %%fs:0, %0" : "=r"(tp));
	cpu_id = (const volatile int32_t *)(tp + (uintptr_t)__rseq_offset + 4);
	return *cpu_id >= 0 ? __rseq_offset : 0;	/* else not registered */
#else
	return 0;
#endif
}

static int find_stack(struct gcarena_attach *req)
{
	pthread_attr_t attr;
	void *lo = NULL;
	size_t len = 0;
	stack_t alt;

	if (pthread_getattr_np(pthread_self(), &attr))
		return -1;
	pthread_attr_getstack(&attr, &lo, &len);
	pthread_attr_destroy(&attr);
	req->stack_lo = (uintptr_t)lo;
	req->stack_hi = (uintptr_t)lo + len;
	if (!sigaltstack(NULL, &alt) && !(alt.ss_flags & SS_DISABLE)) {
		req->altstack_lo = (uintptr_t)alt.ss_sp;
		req->altstack_hi = (uintptr_t)alt.ss_sp + alt.ss_size;
	}
	return 0;
}

/* -------------------------------------------------------- a thread's mutators */

/** gcl_is_mine() - does @m belong to the calling thread? */
bool gcl_is_mine(const struct gcl_mutator *m)
{
	const struct gcl_mutator *p;

	for (p = gcl_mine; p && p != m; p = p->sibling)
		;
	return p;
}

/** gcl_forget_mine() - take @m out of the calling thread's list; signals are blocked */
void gcl_forget_mine(struct gcl_mutator *m)
{
	struct gcl_mutator **p;

	for (p = &gcl_mine; *p && *p != m; p = &(*p)->sibling)
		;
	if (*p)
		*p = m->sibling;
}

/* Give back what is left of mutators whose arenas others have closed; likewise. */
static void forget_closed(void)
{
	struct gcl_mutator **p = &gcl_mine, *m;

	while ((m = *p)) {
		if (__atomic_load_n(&m->closed, __ATOMIC_ACQUIRE) == GCL_CLOSED) {
			*p = m->sibling;
			if (gcl_self == &m->pub)
				gcl_self = NULL;
			munmap(m, sizeof(*m));
		} else {
			p = &m->sibling;
		}
	}
	gcl_backend_process.forget();
}

/*
 * In a child of fork(): arenas that another thread of the parent's was closing will not be
 * closed any more, and some of their locks are that thread's.
 */
void gcl_mutators_fork(void)
{
	struct gcl_mutator *m;

	for (m = gcl_mine; m; m = m->sibling)
		if (m->closed != GCL_CLOSED && !m->pub.arena->child)
			m->closed = GCL_CLOSED;
}

/** gcl_has_exited() - has @m's thread ended without detaching? */
bool gcl_has_exited(const struct gcl_mutator *m)
{
	if (m->tid == gcl_gettid())
		return !gcl_is_mine(m);	/* its number is ours now */
	return syscall(SYS_tgkill, getpid(), m->tid, 0) && errno == ESRCH;
}

/*
 * The module detaches threads that exit without doing so; here their memory comes
 * back.  Looked for each time that their number has doubled.  a->lock is held.
 */
static void reap(struct gca_arena *a)
{
	struct gcl_mutator **p = &a->mutators, *m;

	if (!a->space.shared || a->nr_mutators < a->reap_at)
		return;
	while ((m = *p)) {
		if (gcl_has_exited(m)) {
			*p = m->next;
			a->nr_mutators--;
			munmap(m->pub.area, m->area_size);
			free(m->fiber);
			munmap(m, sizeof(*m));
		} else {
			p = &m->next;
		}
	}
	a->reap_at = 2 * a->nr_mutators + GCL_REAP_MIN;
}

static void link_mutator(struct gca_arena *a, struct gcl_mutator *m)
{
	pthread_mutex_lock(&a->lock);
	reap(a);
	m->next = a->mutators;
	a->mutators = m;
	a->nr_mutators++;
	pthread_mutex_unlock(&a->lock);
	/* Complete before a handler can see it. */
	m->sibling = gcl_mine;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	gcl_mine = m;
}

static void unlink_mutator(struct gca_arena *a, struct gcl_mutator *m)
{
	struct gcl_mutator **p;

	pthread_mutex_lock(&a->lock);
	for (p = &a->mutators; *p && *p != m; p = &(*p)->next)
		;
	if (*p) {
		*p = m->next;
		a->nr_mutators--;
	}
	pthread_mutex_unlock(&a->lock);
}

/* ------------------------------------------------------------- attach, detach */

static int explain_attach(int err)
{
	switch (err) {
	case -EBUSY:
		return gcl_fail(EBUSY, "gca_attach: another thread is attached, and the loaded module manages one; load a newer module");
	case -EEXIST:
		return gcl_fail(EEXIST, "gca_attach: this thread is attached already; use the mutator it has");
	case -EOPNOTSUPP:
		return gcl_fail(EOPNOTSUPP, "gca_attach: this thread has no rseq, and the module is set to stop=taskwork, or the arena asked for it: use stop=signal or auto, or a C library with rseq (glibc 2.35)");
	case -ENOSPC:
		return gcl_fail(ENOSPC, "gca_attach: no more threads can attach to this arena (%d at a time)",
				GCARENA_THREADS_MAX);
	default:
		return gcl_fail(-err, "gca_attach: %s", strerror(-err));
	}
}

static pthread_key_t gcl_end_key;
static bool gcl_end_key_there;

/* C libraries call destructors in rounds; TSan ends the thread in the last one. */
#define GCL_END_ROUND	(PTHREAD_DESTRUCTOR_ITERATIONS - 1)

/* The thread ends.  Others' destructors may use the heap in the rounds before. */
static void at_end(void *round)
{
	uintptr_t n = (uintptr_t)round;
	struct gcl_signals sigs;

	if (n < GCL_END_ROUND && !pthread_setspecific(gcl_end_key, (void *)(n + 1)))
		return;
	sigs = gcl_block();
	forget_closed();
	while (gcl_mine && !gcl_leave(gcl_mine))
		;
	gcl_restore(sigs);
}

static void make_end_key(void)
{
	gcl_end_key_there = !pthread_key_create(&gcl_end_key, at_end);
}

/* Have the calling thread detached at its end, if nobody else does that. */
static void detach_at_end(const struct gca_arena *a)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (a->space.shared)
		return;
	pthread_once(&once, make_end_key);
	if (gcl_end_key_there)
		pthread_setspecific(gcl_end_key, (void *)1);
}

/* All that can be said of the calling thread without the collector. */
static int prepare(struct gca_arena *a, struct gcl_mutator *m)
{
	m->attach.size = sizeof(m->attach);
	if (find_stack(&m->attach))
		return gcl_fail(ENOMEM, "gca_attach: the C library does not know this thread's stack");
	if (!(a->flags & GCA_NO_TLS_ROOTS)) {
		uint64_t lo = 0, hi = 0;

		gcl_tls_range(&lo, &hi);
		m->attach.tls_lo = lo;
		m->attach.tls_hi = hi;
	}
	m->tid = gcl_gettid();
	m->pub.arena = a;
	m->pub.control = a->space.control;
	m->pub.heap_base = (uintptr_t)a->space.heap;
	m->pub.heap_size = a->space.heap_size;
	m->pub.rseq = find_rseq();
	if (!m->pub.rseq && (a->space.features & GCARENA_F_THREADS))
		m->attach.flags = GCARENA_ATTACH_COUNTER;
	return 0;
}

struct gca_mutator *gca_attach(struct gca_arena *a)
{
	struct gcl_signals sigs;
	struct gcl_mutator *m;
	int err;

	if (gcl_dead(a))
		return NULL;
	if (a->be->park && a->stop_signal) {
		err = gcl_stop_install(a->stop_signal);
		if (err) {
			gcl_fail(-err, "gca_attach: no handler for signal %d: %s", a->stop_signal,
				 strerror(-err));
			return NULL;
		}
	}
	m = gcl_map(sizeof(*m));
	if (!m) {
		gcl_fail(ENOMEM, "gca_attach: no memory");
		return NULL;
	}
	if (prepare(a, m))
		goto out;
	detach_at_end(a);
	/* A stop may come at once; its signal waits until the handler can find us. */
	sigs = gcl_block();
	forget_closed();
	err = a->be->attach(&a->space, &m->attach, &m->pub.area);
	if (!err) {
		m->area_size = m->attach.map_size;
		m->pub.id = m->attach.id;
		link_mutator(a, m);
	}
	gcl_restore(sigs);
	if (!err)
		return &m->pub;
	explain_attach(err);
out:
	munmap(m, sizeof(*m));
	return NULL;
}

/*
 * gcl_leave() - the thread ends, or its function has returned: detach @m, if it is still there
 *
 * The program may be closing the arena just now: it owns neither this moment nor this call.
 * Whoever is first has it: gca_close() waits for who leaves, and who leaves for gca_close().
 * Return: 0, or as gca_detach()
 */
int gcl_leave(struct gcl_mutator *m)
{
	struct gcl_signals sigs = gcl_block();
	uint32_t is = GCL_OPEN;
	int err = 0;

	if (!gcl_is_mine(m))	/* this thread has closed it, or detached: not even looked at */
		goto out;
	if (__atomic_compare_exchange_n(&m->closed, &is, GCL_LEAVING, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST)) {
		err = gca_detach(&m->pub);
		if (err)
			__atomic_store_n(&m->closed, GCL_OPEN, __ATOMIC_SEQ_CST);
	} else {
		while (__atomic_load_n(&m->closed, __ATOMIC_ACQUIRE) != GCL_CLOSED)
			sched_yield();
		forget_closed();
	}
out:
	gcl_restore(sigs);
	return err;
}

/* A child of fork() is to put nothing where the area was: what is there may be another's by then. */
static void set_area_size(struct gca_arena *a, struct gcl_mutator *m, size_t size)
{
	pthread_mutex_lock(&a->lock);
	m->area_size = size;
	pthread_mutex_unlock(&a->lock);
}

/* a->lock is not held while the collector detaches: that may last a whole cycle. */
static int detach_mine(struct gcl_mutator *m)
{
	struct gca_arena *a = m->pub.arena;
	size_t size = m->area_size;
	int err = 0;

	set_area_size(a, m, 0);
	if (a->dead)
		munmap(m->pub.area, size);
	else
		err = a->be->detach(&a->space, m->pub.id, m->pub.area, size);
	if (err && err != -ESRCH) {
		set_area_size(a, m, size);
		return err;
	}
	gcl_forget_mine(m);
	unlink_mutator(a, m);
	if (gcl_self == &m->pub)
		gcl_self = NULL;
	return 0;
}

/* What is nobody's may have been unmapped: it is looked for, not at. */
int gca_detach(struct gca_mutator *pub)
{
	struct gcl_mutator *m = (struct gcl_mutator *)pub;
	struct gcl_signals sigs = gcl_block();
	uint32_t closed;
	int err;

	if (!gcl_is_mine(m)) {
		err = gcl_somebodys(m) ? -EPERM : -EINVAL;
	} else {
		closed = __atomic_load_n(&m->closed, __ATOMIC_ACQUIRE);
		err = closed == GCL_CLOSING || closed == GCL_CLOSED ? -EINVAL : detach_mine(m);
		forget_closed();
	}
	gcl_restore(sigs);
	if (err == -EINVAL)
		return gcl_fail(EINVAL, "gca_detach: this mutator is not attached");
	if (err)
		return gcl_fail(-err, err == -EPERM ?
				"gca_detach: a mutator is detached by its own thread (%s)" :
				"gca_detach: %s", strerror(-err));
	free(m->fiber);
	munmap(m, sizeof(*m));
	return 0;
}

/* -------------------------------------------- thread-local convenience layer */

static pthread_mutex_t gcl_default_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gca_arena *gcl_default_arena;

struct gca_arena *gca_default(void)
{
	struct gca_arena *a = __atomic_load_n(&gcl_default_arena, __ATOMIC_ACQUIRE);
	struct gcl_signals sigs;

	if (a)
		return a;
	/* A handler may fork, which takes this lock, too. */
	sigs = gcl_block();
	pthread_mutex_lock(&gcl_default_lock);
	a = gcl_default_arena;
	if (!a) {
		a = gca_open(NULL);
		__atomic_store_n(&gcl_default_arena, a, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&gcl_default_lock);
	gcl_restore(sigs);
	return a;
}

/* Around fork(): before all other locks, for gca_open() takes them under it. */
void gcl_default_fork(enum gcl_fork when)
{
	if (when == GCL_FORK_PREPARE)
		pthread_mutex_lock(&gcl_default_lock);
	else
		pthread_mutex_unlock(&gcl_default_lock);
}

/* The arena is being closed: the default arena is then opened anew when it is wanted. */
void gcl_self_forget(const struct gca_arena *a)
{
	struct gca_arena *expect = (struct gca_arena *)a;

	__atomic_compare_exchange_n(&gcl_default_arena, &expect, NULL, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	if (gcl_self && gcl_self->arena == a)
		gcl_self = NULL;
}

struct gca_mutator *gca_self(void)
{
	struct gcl_mutator *m = (struct gcl_mutator *)gcl_self;
	struct gca_arena *a;

	if (m && !__atomic_load_n(&m->closed, __ATOMIC_ACQUIRE))
		return gcl_self;
	gcl_self = NULL;
	a = gca_default();
	if (a)
		gcl_self = gca_attach(a);
	return gcl_self;
}
