// SPDX-License-Identifier: MIT
/* mock.c: see mock.h */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mock.h"

#define MAX_THREADS	512
#define DEADLINE_NS	200000000ULL

struct thread {
	int tid;
	uint32_t id;
	uint32_t parked;
	uint32_t in_call;	/* waits outside, as at the module's gate */
	struct gcarena_mutator *area;
	uint64_t used;
};

struct mock_arena {
	pthread_mutex_t lock;	/* the set of threads; a stop holds it */
	struct gcarena_control *control;
	struct thread thread[MAX_THREADS];
	uint32_t next_id, go;
	uint64_t used;
	char *heap;
	pthread_mutex_t serve_lock;
	pthread_cond_t serve_cond;
	bool dying;
};

struct mock_stats mock;
int mock_refuse;
uint32_t mock_create_flags, mock_attach_flags, mock_serve_flags, mock_ask;

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static UNWATCHED long raw(long nr, void *a, long b, long c)
{
	register long d __asm__("r10") = 0;
	long ret;

	__asm__ __volatile__("syscall" : "=a"(ret)
			     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(d)
			     : "rcx", "r11", "memory");
	return ret;
}

static int mock_open(struct gca_space *space, struct gcarena_create *create, const char *device)
{
	struct mock_arena *k = map(sizeof(*k));

	(void)device;
	mock_create_flags = create->flags;
	pthread_mutex_init(&k->lock, NULL);
	pthread_mutex_init(&k->serve_lock, NULL);
	pthread_cond_init(&k->serve_cond, NULL);
	k->control = map(4096);
	k->control->engine = GCARENA_ENGINE_SIGNAL;
	k->heap = map(create->reserve);
	space->ctx = k;
	space->heap = k->heap;
	space->heap_size = create->reserve;
	space->control = k->control;
	space->control_size = 4096;
	space->shared = 1;
	space->features = GCARENA_F_THREADS;
	return 0;
}

static void mock_close(struct gca_space *space, int child)
{
	struct mock_arena *k = space->ctx;

	(void)child;
	munmap(space->heap, space->heap_size);
	munmap(k->control, 4096);
	munmap(k, sizeof(*k));
}

static void mock_wake(struct gca_space *space)
{
	struct mock_arena *k = space->ctx;

	pthread_mutex_lock(&k->serve_lock);
	k->dying = true;
	pthread_cond_broadcast(&k->serve_cond);
	pthread_mutex_unlock(&k->serve_lock);
	__atomic_store_n(&k->control->stop, 0, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&k->go, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &k->go, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0);
}

static UNWATCHED struct thread *find(struct mock_arena *k, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < MAX_THREADS; i++)
		if (__atomic_load_n(&k->thread[i].id, __ATOMIC_ACQUIRE) == id)
			return &k->thread[i];
	return NULL;
}

static int mock_attach(struct gca_space *space, struct gcarena_attach *req,
		       struct gcarena_mutator **area)
{
	struct mock_arena *k = space->ctx;
	struct thread *t;

	__atomic_store_n(&mock_attach_flags, req->flags, __ATOMIC_RELAXED);
	if (mock_refuse) {
		int err = mock_refuse;

		mock_refuse = 0;
		return -err;
	}
	pthread_mutex_lock(&k->lock);
	t = find(k, 0);
	if (!t)
		abort();
	req->nr_slots = GCARENA_SLOTS_MIN;
	req->map_size = 65536;
	*area = map(req->map_size);
	t->area = *area;
	t->area->nr_slots = req->nr_slots;
	t->tid = (int)syscall(SYS_gettid);
	t->parked = 0;
	t->in_call = 0;
	req->id = ++k->next_id;
	__atomic_store_n(&t->id, req->id, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&k->lock);
	return 0;
}

static int mock_detach(struct gca_space *space, uint32_t id, struct gcarena_mutator *area,
		       size_t size)
{
	struct mock_arena *k = space->ctx;
	struct thread *t = find(k, id);

	if (!t || t->tid != (int)syscall(SYS_gettid))
		return -EPERM;
	__atomic_store_n(&t->in_call, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&k->lock);
	__atomic_store_n(&t->id, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&k->lock);
	munmap(area, size);
	return 0;
}

static int mock_refill(struct gca_space *space, struct gcarena_refill *req)
{
	struct mock_arena *k = space->ctx;
	struct thread *t = find(k, req->id);
	uint32_t sc = req->span_class, n;
	struct gcarena_slot *s;
	uint64_t off;

	/* Each thread goes round in its part: what was given out the last time is dead. */
	off = space->heap_size / MAX_THREADS;
	off = (uint64_t)(t - k->thread) * off + t->used++ % (off / 65536) * 65536;
	/* One slot a span class; the old span is simply forgotten. */
	n = 1 + sc % (GCARENA_SLOTS_MIN - 1);
	memset(t->area->current_slot, 0, sizeof(t->area->current_slot));
	s = &t->area->slot[n];
	memset(s, 0, sizeof(*s));
	s->base = (uintptr_t)k->heap + off;
	s->elem_size = (uint32_t)gcl_slot_bytes(sc / 4);
	s->nelems = s->elem_size <= 512 ? (GCARENA_PAGE_SIZE - 128) / s->elem_size : 1;
	s->span_class = (uint16_t)sc;
	s->flags = GCARENA_SLOT_NEEDZERO;
	t->area->current_slot[sc] = (uint16_t)n;
	req->count = 1;
	return 0;
}

static int mock_large(struct gca_space *space, struct gcarena_large *req)
{
	struct mock_arena *k = space->ctx;
	struct thread *t = find(k, req->id);

	if (!req->id || !t || t->tid != (int)syscall(SYS_gettid))
		return -EPERM;
	req->addr = (uintptr_t)k->heap + __atomic_fetch_add(&k->used, (req->bytes + 65535) & -65536ULL,
							    __ATOMIC_RELAXED);
	return 0;
}

static int mock_settle(struct gca_space *space, struct gcarena_settle *req)
{
	struct mock_arena *k = space->ctx;
	struct thread *t = find(k, req->id);

	/* FLUSH */
	__atomic_store_n(&t->area->ring_head, t->area->ring_tail, __ATOMIC_RELEASE);
	return 0;
}

static UNWATCHED int mock_park(struct gca_space *space, uint32_t id)
{
	struct mock_arena *k = space->ctx;
	struct thread *t = find(k, id);

	if (!t)
		return -EPERM;
	while (__atomic_load_n(&k->control->stop, __ATOMIC_SEQ_CST)) {
		uint32_t go = __atomic_load_n(&k->go, __ATOMIC_SEQ_CST);

		if (!__atomic_load_n(&k->control->stop, __ATOMIC_SEQ_CST))
			break;
		__atomic_store_n(&t->parked, 1, __ATOMIC_SEQ_CST);
		raw(SYS_futex, &k->go, FUTEX_WAIT_PRIVATE, go);
		/* Not parked, and then there must be no stop. */
		if (!__atomic_load_n(&k->control->stop, __ATOMIC_SEQ_CST))
			__atomic_store_n(&t->parked, 0, __ATOMIC_SEQ_CST);
	}
	return 0;
}

static int mock_layout(struct gca_space *space, struct gcarena_layout *req)
{
	static uint32_t next;

	(void)space;
	req->id = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
	return 0;
}

static int mock_roots(struct gca_space *space, struct gcarena_roots *req)
{
	(void)space;
	(void)req;
	return 0;
}

static int mock_collect(struct gca_space *space, struct gcarena_collect *req, int paced)
{
	(void)space;
	(void)paced;
	req->result = 0;
	return 0;
}

static int mock_config(struct gca_space *space, struct gcarena_config *req)
{
	(void)space;
	(void)req;
	return 0;
}

static bool mock_knob(unsigned int i, struct gcl_knob *k)
{
	(void)i;
	(void)k;
	return false;
}

static int mock_get_stats(struct gca_space *space, struct gcarena_stats *req)
{
	(void)space;
	(void)req;
	return 0;
}

static int mock_serve(struct gca_space *space, struct gcarena_serve *req)
{
	struct mock_arena *k = space->ctx;
	struct timespec t = { .tv_nsec = 1000000 };

	__atomic_store_n(&mock_serve_flags, req->flags, __ATOMIC_SEQ_CST);
	req->nr_runs = 0;
	for (;;) {
		bool dying;

		pthread_mutex_lock(&k->serve_lock);
		dying = k->dying;
		pthread_mutex_unlock(&k->serve_lock);
		if (dying)
			return -ESRCH;
		req->flags = __atomic_exchange_n(&mock_ask, 0, __ATOMIC_SEQ_CST);
		if (req->flags)
			return 0;
		nanosleep(&t, NULL);
	}
}

void gcl_kernel_fork(enum gcl_fork when)
{
	(void)when;
}

const struct gca_backend gcl_backend_kernel = {
	.name = "mock",
	.open = mock_open,
	.close = mock_close,
	.wake = mock_wake,
	.attach = mock_attach,
	.detach = mock_detach,
	.refill = mock_refill,
	.large = mock_large,
	.settle = mock_settle,
	.park = mock_park,
	.layout = mock_layout,
	.roots = mock_roots,
	.collect = mock_collect,
	.config = mock_config,
	.stats = mock_get_stats,
	.serve = mock_serve,
};

static void mock_forget(void)
{
}

const struct gca_backend gcl_backend_process = {
	.name = "none",
	.forget = mock_forget,
	.open = mock_open,
	.knob = mock_knob,
};

uint32_t mock_attached(struct gca_arena *a)
{
	struct mock_arena *k = a->space.ctx;
	uint32_t i, n = 0;

	for (i = 0; i < MAX_THREADS; i++)
		n += __atomic_load_n(&k->thread[i].id, __ATOMIC_ACQUIRE) != 0;
	return n;
}

void mock_forget_exited(struct gca_arena *a)
{
	struct mock_arena *k = a->space.ctx;
	struct thread *t;

	for (t = k->thread; t < k->thread + MAX_THREADS; t++)
		if (t->id && syscall(SYS_tgkill, getpid(), t->tid, 0) && errno == ESRCH)
			t->id = 0;
}

UNWATCHED void mock_sleep(long ns)
{
	struct timespec t = { .tv_nsec = ns };

	raw(SYS_nanosleep, &t, 0, 0);
}

static UNWATCHED bool held(const struct thread *t)
{
	return __atomic_load_n(&t->parked, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&t->in_call, __ATOMIC_SEQ_CST) ||
	       (syscall(SYS_tgkill, getpid(), t->tid, 0) && errno == ESRCH);
}

/* With the world as it should be, instructions of its own only. */
UNWATCHED bool mock_stop(struct gca_arena *a, void (*during)(void *arg), void *arg)
{
	struct mock_arena *k = a->space.ctx;
	struct thread *t;
	uint32_t tries = 0;
	bool all;

	pthread_mutex_lock(&k->lock);
	for (t = k->thread; t < k->thread + MAX_THREADS; t++)
		__atomic_store_n(&t->parked, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&k->control->stop, 1, __ATOMIC_SEQ_CST);
	for (t = k->thread; t < k->thread + MAX_THREADS; t++)
		if (t->id)
			syscall(SYS_tgkill, getpid(), t->tid, a->stop_signal);
	do {
		all = true;
		for (t = k->thread; t < k->thread + MAX_THREADS; t++)
			if (t->id && !held(t))
				all = false;
		if (!all)
			mock_sleep(20000);
	} while (!all && ++tries < DEADLINE_NS / 20000);
	if (all) {
		mock.stops++;
		for (t = k->thread; t < k->thread + MAX_THREADS; t++)
			if (t->id && __atomic_load_n(&t->parked, __ATOMIC_SEQ_CST) &&
			    __atomic_load_n(&t->area->critical, __ATOMIC_RELAXED))
				mock.inside++;
		if (during)
			during(arg);
	} else {
		mock.postponed++;
	}
	__atomic_store_n(&k->control->stop, 0, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&k->go, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &k->go, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0);
	pthread_mutex_unlock(&k->lock);
	return all;
}
