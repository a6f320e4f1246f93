// SPDX-License-Identifier: MIT
/*
 * backend.c: the collector of kmod/core/ inside this process: the requests.
 *
 * The only file that knows both the core and the library, and it knows the
 * library by backend.h alone: core.h's structures share their names with the
 * public ones and mean other things.
 *
 * The core's locks are not for signal handlers, but handlers may allocate: so
 * every request blocks the signals (the library does it around a refill).  And each is a
 * call, gca_call_begin(), in which an attached thread is held if the world stops.  The
 * heap is an ordinary reservation, control page and mutator areas are plain memory.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "knobs.h"
#include "world.h"

static struct gca_process *gca_process_of(struct gca_space *space)
{
	return space->ctx;
}

static void *gca_map(void *at, size_t bytes, int flags)
{
	void *p = mmap(at, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A reservation aligned to its huge pages, so that the kernel can use them. */
static void *gca_map_heap(size_t bytes)
{
	const size_t align = 4UL << 20;
	char *p = gca_map(gcl_heap_hint(bytes), bytes, MAP_NORESERVE);
	size_t skip;

	if (!p || !((uintptr_t)p & (align - 1)))
		return p;
	munmap(p, bytes);
	p = gca_map(NULL, bytes + align, MAP_NORESERVE);
	if (!p)
		return NULL;
	skip = (size_t)(-(uintptr_t)p & (align - 1));
	if (skip)
		munmap(p, skip);
	munmap(p + skip + bytes, align - skip);
	return p + skip;
}

/* ------------------------------------------------------------------- birth and death */

static int process_can(const struct gcarena_create *create)
{
	const u64 can = GCARENA_F_RSEQ | GCARENA_F_STOP_SIGNAL | GCARENA_F_THREADS;

	if (create->features & ~can) {
		gcl_error("the process backend has no feature %#llx; use GCARENA_BACKEND=kernel",
			  (unsigned long long)(create->features & ~can));
		return -EOPNOTSUPP;
	}
	if (create->flags & GCARENA_CREATE_TASKWORK) {
		gcl_error("the process backend cannot stop threads by task work: load the module, or use stop=signal or auto");
		return -EOPNOTSUPP;
	}
	return 0;
}

static int process_open(struct gca_space *space, struct gcarena_create *create, const char *device)
{
	struct gcarena_control *control;
	struct gca_process *p;
	int err = process_can(create);

	(void)device;
	if (err)
		return err;
	p = gca_map(NULL, sizeof(*p), 0);
	if (!p)
		return -ENOMEM;
	control = gca_map(NULL, GCARENA_PAGE_SIZE, 0);
	space->heap = gca_map_heap(create->reserve);
	err = -ENOMEM;
	if (!control || !space->heap)
		goto out;
	p->pid = getpid();
	p->signal = create->stop_signal ? (int)create->stop_signal : SIGURG;
	p->arena.port = p;
	err = gca_arena_init(&p->arena, create->reserve, control, create->debug);
	if (err)
		goto out;
	p->arena.concurrent = true;
	p->arena.insertion = create->flags & GCARENA_CREATE_INSERTION;
	p->arena.roots_at_once = !gca_port_reads();
	gca_arena_map(&p->arena, (u64)(uintptr_t)space->heap);
	control->engine = GCARENA_ENGINE_SIGNAL;
	err = gca_crew_start(p);
	if (err) {
		gca_arena_fini(&p->arena);
		gcl_error("the thread that collects could not be made: %s", strerror(-err));
		goto out;
	}
	space->ctx = p;
	space->heap_size = create->reserve;
	space->control = control;
	space->control_size = GCARENA_PAGE_SIZE;
	space->id = 0;
	space->shared = 0;
	space->features = GCARENA_F_RSEQ | GCARENA_F_STOP_SIGNAL | GCARENA_F_THREADS;
	return 0;
out:
	if (space->heap)
		munmap(space->heap, create->reserve);
	if (control)
		munmap(control, GCARENA_PAGE_SIZE);
	munmap(p, sizeof(*p));
	return err;
}

static void process_wake(struct gca_space *space)
{
	gca_crew_end(gca_process_of(space));
}

static void process_close(struct gca_space *space, int child)
{
	struct gca_process *p = gca_process_of(space);

	/* Locks may be held by threads that the child does not have. */
	if (!child) {
		gca_crew_end(p);
		gca_crew_join(p);
		gca_members_close(p);
		gca_arena_fini(&p->arena);
	}
	munmap(space->heap, space->heap_size);
	munmap((void *)(uintptr_t)space->control, space->control_size);
	munmap(p, sizeof(*p));
}

/* --------------------------------------------------------------------------- threads */

static int process_attach(struct gca_space *space, struct gcarena_attach *req,
			  struct gcarena_mutator **area)
{
	struct gca_call call = gca_call_begin();
	int err = gca_member_attach(gca_process_of(space), req, area);

	gca_call_end(call);
	return err;
}

/* The area goes with the rest. */
static int process_detach(struct gca_space *space, uint32_t id, struct gcarena_mutator *area,
			  size_t size)
{
	struct gca_call call = gca_call_begin();
	struct gca_member *m = gca_member_mine(gca_process_of(space), id);
	int err = m ? gca_member_detach(m) : -EPERM;

	(void)area;
	(void)size;
	gca_call_end(call);
	return err;
}

/* In the stop signal's handler. */
static GCA_UNWATCHED int process_park(struct gca_space *space, uint32_t id)
{
	(void)space;
	(void)id;
	gca_park();
	return 0;
}

/* ------------------------------------------------------------------------ allocation */

static int process_refill(struct gca_space *space, struct gcarena_refill *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_member *m = gca_member_mine(p, req->id);
	int err, cancel;

	if (!m)
		return -EPERM;
	/* As gca_call_begin(), but the library has blocked the signals. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	gca_call_enter();
	err = gca_refill(&m->core, req->span_class, &req->count);
	req->flags = gca_wants(&p->arena, &m->core);
	gca_call_leave();
	pthread_setcancelstate(cancel, NULL);
	return err;
}

static int process_large(struct gca_space *space, struct gcarena_large *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_call call = gca_call_begin();
	struct gca_member *m = gca_member_mine(p, req->id);
	u32 flags = 0;
	int err = -EPERM;

	if (m) {
		/* A root until the caller has been told: a cycle may come in between. */
		err = gca_large(&m->core, req->bytes, req->kind, req->layout, &m->core.newborn,
				&flags);
		req->addr = err ? 0 : m->core.newborn;
		/* Pairs with the acquire in scan_thread(). */
		smp_store_release(&m->core.newborn, 0);
		req->flags = flags | gca_wants(&p->arena, &m->core);
	}
	gca_call_end(call);
	return err;
}

static int process_settle(struct gca_space *space, struct gcarena_settle *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_call call = gca_call_begin();
	struct gca_member *m = gca_member_mine(p, req->id);
	int err = m ? gca_settle(&m->core) : -EPERM;

	if (!err)
		req->flags = gca_wants(&p->arena, NULL);
	gca_call_end(call);
	return err;
}

static int process_layout(struct gca_space *space, struct gcarena_layout *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_call call = gca_call_begin();
	u32 id = 0;
	int err;

	pthread_mutex_lock(&p->layout_lock);
	err = gca_layout_add(&p->arena, req->elem_size, (const u64 *)(uintptr_t)req->bitmap, &id);
	pthread_mutex_unlock(&p->layout_lock);
	req->id = id;
	gca_call_end(call);
	return err;
}

/* Not what the pager, or who refreshes, would try again, once there is no arena any more. */
static int process_roots(struct gca_space *space, struct gcarena_roots *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_call call;
	int err;

	if (req->nr_add > GCARENA_ROOTS_PER_CALL || req->nr_del > GCARENA_ROOTS_PER_CALL ||
	    (!req->nr_add && req->add) || (!req->nr_del && req->del))
		return -EINVAL;
	call = gca_call_begin();
	err = gca_roots_update(&p->arena,
			       (const struct gcarena_range *)(uintptr_t)req->add, req->nr_add,
			       (const struct gcarena_range *)(uintptr_t)req->del, req->nr_del);
	if (err == -EINTR && READ_ONCE(p->dying))
		err = -ESRCH;
	gca_call_end(call);
	return err;
}

/* ---------------------------------------------------------------- cycles, statistics */

static int process_collect(struct gca_space *space, struct gcarena_collect *req, int paced)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_order order;
	struct gca_call call;
	int err = 0;

	if (paced)
		req->flags |= GCARENA_COLLECT_PACED;
	order = gca_order_of(req, GCA_AGE_LIMIT);
	call = gca_call_begin();
	if (req->flags & GCARENA_COLLECT_ASYNC) {
		gca_cycle_ask(&p->arena);
	} else {
		err = gca_request(p, &order, req);
		req->result = req->void_reason ? GCARENA_RESULT_VOID : GCARENA_RESULT_DONE;
		req->blame = gca_blame(p);
	}
	gca_call_end(call);
	return err;
}

static int process_config(struct gca_space *space, struct gcarena_config *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_call call = gca_call_begin();
	int err;

	pthread_mutex_lock(&p->cycle_lock);
	err = gca_config_check(&p->arena, req);
	if (!err)
		gca_config_set(&p->arena, req);
	pthread_mutex_unlock(&p->cycle_lock);
	if (!err)
		gca_coordinator_look(p);
	gca_call_end(call);
	return err;
}

static bool process_knob(unsigned int i, struct gcl_knob *k)
{
	const struct gca_knob *from;

	if (i >= GCA_NR_KNOBS)
		return false;
	from = &gca_knob[i];
	*k = (struct gcl_knob){
		.name = from->name,
		.unit = from->unit,
		.lo = from->lo,
		.hi = from->hi,
		.off = from->off,
		.has_off = from->has_off,
		.offset = from->offset,
	};
	return true;
}

static int process_stats(struct gca_space *space, struct gcarena_stats *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_call call = gca_call_begin();
	int err = gca_stats_sync(&p->arena);

	if (!err) {
		gca_stats_read(&p->arena, req);
		req->metadata += space->control_size + req->threads *
				 (GCA_MEMBER_BYTES + gca_mutator_bytes(GCARENA_SLOTS_MAX));
		req->workers = READ_ONCE(p->nr_workers) + 1;
		req->coordinator_ns = READ_ONCE(p->coordinator_ns);
		req->blame = gca_blame(p);
	}
	gca_call_end(call);
	return err;
}

/* ----------------------------------------------------------------------------- SERVE */

/* Until there is something to do.  Return: 0, -EAGAIN or -ESRCH */
static int process_serve_wait(struct gca_process *p, struct gcarena_serve *req)
{
	struct gcarena_run *runs = (struct gcarena_run *)(uintptr_t)req->runs;
	bool nowait = req->flags & GCARENA_SERVE_NOWAIT;
	u32 room = req->nr_runs, n = 0;
	int err = 0;
	u64 due, now;

	pthread_mutex_lock(&p->lock);
	req->flags = 0;
	while (!err && !p->dying) {
		req->flags = gca_look_take(&p->look);
		if (req->flags)
			break;
		p->poke = false;
		WRITE_ONCE(p->runs_until, U64_MAX);
		smp_mb();	/* before it looks; pairs with the one in gca_scavenge_look() */
		pthread_mutex_unlock(&p->lock);
		n = gca_lent_take(&p->arena, &p->lent, room, !nowait);
		if (n)
			memcpy(runs, p->lent.run, n * sizeof(runs[0]));
		/* The time first: or a refill would find a later one, and wake us for nothing. */
		now = gca_port_now();
		due = room ? gca_scavenge_due(&p->arena, true) : U64_MAX;
		pthread_mutex_lock(&p->lock);
		if (n)
			break;
		if (nowait) {
			err = -EAGAIN;
		} else if (!p->poke && !p->dying && !gca_look_there(&p->look)) {
			if (due != U64_MAX)
				WRITE_ONCE(p->runs_until, now + due);
			gca_wait(p, &p->pager, due);
		}
	}
	if (p->dying)
		err = -ESRCH;
	pthread_mutex_unlock(&p->lock);
	req->nr_runs = n;
	return err;
}

static int process_serve(struct gca_space *space, struct gcarena_serve *req)
{
	const u32 known = GCARENA_SERVE_NOWAIT | GCARENA_SERVE_LOOKS | GCARENA_SERVE_CHANGED;
	struct gca_process *p = gca_process_of(space);
	struct gca_call call;
	int err;

	if (req->nr_runs > GCARENA_SERVE_RUNS || req->flags & ~known)
		return -EINVAL;
	call = gca_call_begin();
	pthread_mutex_lock(&p->lock);
	err = p->serving ? -EBUSY : 0;
	if (!err) {
		p->serving = true;
		gca_pager_comes(p, req->flags);
	}
	pthread_mutex_unlock(&p->lock);
	if (!err) {
		err = gca_lent_done(&p->arena, &p->lent, req->nr_done);
		if (!err)
			err = process_serve_wait(p, req);
		pthread_mutex_lock(&p->lock);
		p->serving = false;
		pthread_mutex_unlock(&p->lock);
	}
	gca_call_end(call);
	return err;
}

const struct gca_backend gcl_backend_process = {
	.name = "process",
	.open = process_open,
	.close = process_close,
	.wake = process_wake,
	.attach = process_attach,
	.detach = process_detach,
	.forget = gca_members_forget,
	.refill = process_refill,
	.large = process_large,
	.settle = process_settle,
	.park = process_park,
	.layout = process_layout,
	.roots = process_roots,
	.collect = process_collect,
	.config = process_config,
	.stats = process_stats,
	.serve = process_serve,
	.knob = process_knob,
};
