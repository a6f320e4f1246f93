// SPDX-License-Identifier: MIT
/*
 * mutator.c: attaching threads, and the thread-local convenience.
 *
 * What the collector needs to know of a thread is told once, at attach: its
 * stack, its alternate signal stack, its static TLS.  Threads that end without
 * detaching are the kernel's business: there is no destructor here, because
 * other destructors may still use the heap.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

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

struct gca_mutator *gca_attach(struct gca_arena *a)
{
	struct gcl_signals sigs;
	struct gcl_mutator *m;
	int err;

	if (gcl_dead(a))
		return NULL;
	m = gcl_map(sizeof(*m));
	if (!m) {
		gcl_fail(ENOMEM, "gca_attach: no memory");
		return NULL;
	}
	m->attach.size = sizeof(m->attach);
	if (find_stack(&m->attach)) {
		gcl_fail(ENOMEM, "gca_attach: the C library does not know this thread's stack");
		goto out;
	}
	if (!(a->flags & GCA_NO_TLS_ROOTS)) {
		uint64_t lo = 0, hi = 0;

		gcl_tls_range(&lo, &hi);
		m->attach.tls_lo = lo;
		m->attach.tls_hi = hi;
	}
	err = a->be->attach(&a->space, &m->attach, &m->pub.area);
	if (err) {
		gcl_fail(-err, err == -EBUSY ?
			 "gca_attach: this arena has its thread already; this release manages one (%s)" :
			 err == -EEXIST ?
			 "gca_attach: this thread is attached already; use the mutator it has (%s)" :
			 "gca_attach: %s", strerror(-err));
		goto out;
	}
	m->area_size = m->attach.map_size;
	m->pub.arena = a;
	m->pub.control = a->space.control;
	m->pub.rseq = find_rseq();
	m->pub.id = m->attach.id;
	m->pub.heap_base = (uintptr_t)a->space.heap;
	m->pub.heap_size = a->space.heap_size;
	sigs = gcl_lock(a);
	m->next = a->mutators;
	a->mutators = m;
	gcl_unlock(a, sigs);
	return &m->pub;
out:
	munmap(m, sizeof(*m));
	return NULL;
}

int gca_detach(struct gca_mutator *pub)
{
	struct gcl_mutator *m = (struct gcl_mutator *)pub, **p;
	struct gca_arena *a = pub->arena;
	struct gcl_signals sigs;
	int err = 0;

	sigs = gcl_lock(a);
	for (p = &a->mutators; *p && *p != m; p = &(*p)->next)
		;
	if (!*p) {
		gcl_unlock(a, sigs);
		return gcl_fail(EINVAL, "gca_detach: this mutator is not attached");
	}
	if (!a->dead)
		err = a->be->detach(&a->space, pub->id, pub->area, m->area_size);
	if (!err || err == -ESRCH)
		*p = m->next;
	gcl_unlock(a, sigs);
	if (err && err != -ESRCH)
		return gcl_fail(-err, err == -EPERM ?
				"gca_detach: a mutator is detached by its own thread (%s)" :
				"gca_detach: %s", strerror(-err));
	munmap(m, sizeof(*m));
	return 0;
}

/* -------------------------------------------- thread-local convenience layer */

static pthread_mutex_t gcl_default_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gca_arena *gcl_default_arena;
static _Thread_local struct gca_mutator *gcl_self __attribute__((__tls_model__("initial-exec")));

struct gca_arena *gca_default(void)
{
	struct gca_arena *a = __atomic_load_n(&gcl_default_arena, __ATOMIC_ACQUIRE);

	if (a)
		return a;
	pthread_mutex_lock(&gcl_default_lock);
	a = gcl_default_arena;
	if (!a) {
		a = gca_open(NULL);
		__atomic_store_n(&gcl_default_arena, a, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&gcl_default_lock);
	return a;
}

struct gca_mutator *gca_self(void)
{
	struct gca_arena *a;

	if (gcl_self)
		return gcl_self;
	a = gca_default();
	if (a)
		gcl_self = gca_attach(a);
	return gcl_self;
}
