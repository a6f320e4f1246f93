// SPDX-License-Identifier: MIT
/*
 * backend.c: the collector of kmod/core/ inside this process.
 *
 * The only file that knows both the core and the library, and it knows the
 * library by backend.h alone: core.h's structures share their names with the
 * public ones and mean other things.
 *
 * The core's locks are not for signal handlers, but handlers may allocate: so
 * every entry blocks the signals (the library does it around a refill).  The heap is an ordinary reservation, control
 * page and mutator areas are plain memory.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "world.h"
#include "../backend.h"

#define GCA_AGE_LIMIT	60000000000ULL	/* of a cycle, ns; sanitizers are slow */

/**
 * struct gca_process - an arena of this backend
 * @arena: the core's
 * @world: its threads
 * @cycle_lock: one cycle at a time
 * @next_id: of mutators
 * @area_size: bytes of the attached thread's mutator area
 * @run: free runs handed out by SERVE; belongs to who serves
 * @nr_runs: how many
 * @nr_given: of them, in the last reply; what nr_done acknowledges
 */
struct gca_process {
	struct gca_arena arena;
	struct gca_world world;
	pthread_mutex_t cycle_lock;
	u32 next_id;
	size_t area_size;
	struct gcarena_run run[GCARENA_SERVE_RUNS];
	u32 nr_runs, nr_given;
};

struct gca_signals {
	u64 set;
};

/* Raw, so that the C library's own signals are blocked, too. */
static struct gca_signals gca_signals_block(void)
{
	struct gca_signals old = { 0 };
	u64 all = U64_MAX;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old.set, sizeof(all));
	return old;
}

static void gca_signals_restore(struct gca_signals old)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old.set, NULL, sizeof(old.set));
}

static struct gca_process *gca_process_of(struct gca_space *space)
{
	return space->ctx;
}

static void *gca_map(size_t bytes, int flags)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A reservation aligned to its huge pages, so that the kernel can use them. */
static void *gca_map_heap(size_t bytes)
{
	const size_t align = 4UL << 20;
	char *p = gca_map(bytes + align, MAP_NORESERVE);
	size_t skip;

	if (!p)
		return NULL;
	skip = (size_t)(-(uintptr_t)p & (align - 1));
	if (skip)
		munmap(p, skip);
	munmap(p + skip + bytes, align - skip);
	return p + skip;
}

static int process_open(struct gca_space *space, struct gcarena_create *create, const char *device)
{
	struct gca_process *p;
	struct gcarena_control *control;
	int err;

	(void)device;
	if (create->features & ~(u64)GCARENA_F_RSEQ) {
		gcl_error("the process backend has no feature %#llx; use GCARENA_BACKEND=kernel",
			  (unsigned long long)create->features);
		return -EOPNOTSUPP;
	}
	if (create->flags & GCARENA_CREATE_TASKWORK) {
		gcl_error("the process backend cannot stop threads by task work: load the module, or use stop=signal or auto");
		return -EOPNOTSUPP;
	}
	p = gca_map(sizeof(*p), 0);
	if (!p)
		return -ENOMEM;
	control = gca_map(GCARENA_PAGE_SIZE, 0);
	space->heap = gca_map_heap(create->reserve);
	err = -ENOMEM;
	if (!control || !space->heap)
		goto out;
	pthread_mutex_init(&p->world.lock, NULL);
	pthread_mutex_init(&p->world.gate_lock, NULL);
	pthread_cond_init(&p->world.gate, NULL);
	pthread_cond_init(&p->world.pager, NULL);
	pthread_mutex_init(&p->cycle_lock, NULL);
	err = gca_arena_init(&p->arena, create->reserve, control, create->debug);
	if (err)
		goto out;
	p->arena.port = &p->world;
	gca_arena_map(&p->arena, (u64)(uintptr_t)space->heap);
	space->ctx = p;
	space->heap_size = create->reserve;
	space->control = control;
	space->control_size = GCARENA_PAGE_SIZE;
	space->id = 0;
	space->shared = 0;
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
	struct gca_world *w = &gca_process_of(space)->world;

	pthread_mutex_lock(&w->lock);
	WRITE_ONCE(w->dying, true);
	pthread_cond_broadcast(&w->pager);
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_lock(&w->gate_lock);
	pthread_cond_broadcast(&w->gate);
	pthread_mutex_unlock(&w->gate_lock);
}

static void process_close(struct gca_space *space, int child)
{
	struct gca_process *p = gca_process_of(space);

	/* Locks may be held by threads that the child does not have. */
	if (!child) {
		if (p->world.mutator) {
			gca_mutator_detach(p->world.mutator);
			gca_mutator_fini(p->world.mutator);
			free(p->world.mutator);
		}
		gca_arena_fini(&p->arena);
	}
	munmap(space->heap, space->heap_size);
	munmap((void *)(uintptr_t)space->control, space->control_size);
	munmap(p, sizeof(*p));
}

/* Is the caller attached, as mutator @id? */
static bool process_is_mine(struct gca_process *p, u32 id)
{
	struct gca_mutator *m = READ_ONCE(p->world.mutator);

	return m && p->world.tid == gca_gettid() && m->id == id;
}

static int process_attach(struct gca_space *space, struct gcarena_attach *req,
			  struct gcarena_mutator **area)
{
	struct gca_process *p = gca_process_of(space);
	u32 nr = req->nr_slots ? req->nr_slots : GCARENA_SLOTS_MAX;
	struct gca_signals sigs;
	struct gca_mutator *m;
	size_t bytes;
	int err;

	if (nr < GCARENA_SLOTS_MIN || nr > GCARENA_SLOTS_MAX)
		return -EINVAL;
	bytes = ALIGN(gca_mutator_bytes(nr), (size_t)4096);
	m = calloc(1, sizeof(*m));
	*area = gca_map(bytes, 0);
	if (!m || !*area) {
		err = -ENOMEM;
		goto out;
	}
	sigs = gca_signals_block();
	pthread_mutex_lock(&p->world.lock);
	err = !p->world.mutator ? 0 : p->world.tid == gca_gettid() ? -EEXIST : -EBUSY;
	if (!err)
		err = gca_mutator_init(m, &p->arena, nr, *area);
	if (!err) {
		m->stack_lo = req->stack_lo;
		m->stack_hi = req->stack_hi;
		m->altstack_lo = req->altstack_lo;
		m->altstack_hi = req->altstack_hi;
		m->tls_lo = req->tls_lo;
		m->tls_hi = req->tls_hi;
		m->id = ++p->next_id;
		err = gca_mutator_attach(m);
		if (err)
			gca_mutator_fini(m);
	}
	if (!err) {
		p->world.mutator = m;
		p->world.tid = gca_gettid();
		p->area_size = bytes;
		req->id = m->id;
		req->nr_slots = nr;
		req->map_size = bytes;
	}
	pthread_mutex_unlock(&p->world.lock);
	gca_signals_restore(sigs);
	if (!err)
		return 0;
out:
	if (*area)
		munmap(*area, bytes);
	free(m);
	return err;
}

static int process_detach(struct gca_space *space, uint32_t id, struct gcarena_mutator *area,
			  size_t size)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_mutator *m = p->world.mutator;
	struct gca_signals sigs;
	int err;

	if (!process_is_mine(p, id))
		return -EPERM;
	sigs = gca_signals_block();
	err = gca_mutator_detach(m);
	if (!err) {
		pthread_mutex_lock(&p->world.lock);
		p->world.mutator = NULL;
		pthread_mutex_unlock(&p->world.lock);
		gca_mutator_fini(m);
	}
	gca_signals_restore(sigs);
	if (err)
		return err;
	free(m);
	munmap(area, size);
	return 0;
}

/* What the caller should do next; also pokes the pager. */
static u32 process_wants(struct gca_process *p)
{
	struct gca_world *w = &p->world;
	u32 flags = 0;

	if (gca_cycle_wanted(&p->arena))
		flags |= GCARENA_WANT_COLLECT;
	if (gca_scavenge_wanted(&p->arena)) {
		flags |= GCARENA_WANT_SERVE;
		pthread_mutex_lock(&w->lock);
		if (!w->poke) {
			w->poke = true;
			pthread_cond_signal(&w->pager);
		}
		pthread_mutex_unlock(&w->lock);
	}
	return flags;
}

static int process_refill(struct gca_space *space, struct gcarena_refill *req)
{
	struct gca_process *p = gca_process_of(space);
	int err;

	if (!process_is_mine(p, req->id))
		return -EPERM;
	err = gca_refill(p->world.mutator, req->span_class, &req->count, &req->flags);
	if (req->flags & GCARENA_WANT_SERVE)
		process_wants(p);
	return err;
}

static int process_large(struct gca_space *space, struct gcarena_large *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_mutator *m = READ_ONCE(p->world.mutator);
	struct gca_signals sigs;
	__u64 addr = 0;
	u32 flags = 0;
	int err;

	if (!m || !process_is_mine(p, req->id))
		return -EPERM;
	sigs = gca_signals_block();
	err = gca_large(&p->arena, req->bytes, req->kind, req->layout, &addr, &flags);
	req->addr = addr;
	req->flags = flags | process_wants(p);
	gca_signals_restore(sigs);
	return err;
}

static int process_settle(struct gca_space *space, struct gcarena_settle *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_signals sigs;
	int err;

	if (!process_is_mine(p, req->id))
		return -EPERM;
	sigs = gca_signals_block();
	err = gca_settle(p->world.mutator);
	req->flags = process_wants(p);
	gca_signals_restore(sigs);
	return err;
}

static int process_layout(struct gca_space *space, struct gcarena_layout *req)
{
	struct gca_signals sigs = gca_signals_block();
	u32 id = 0;
	int err;

	err = gca_layout_add(&gca_process_of(space)->arena, req->elem_size,
			     (const u64 *)(uintptr_t)req->bitmap, &id);
	req->id = id;
	gca_signals_restore(sigs);
	return err;
}

static int process_roots(struct gca_space *space, struct gcarena_roots *req)
{
	struct gca_signals sigs;
	int err;

	if (req->nr_add > GCARENA_ROOTS_PER_CALL || req->nr_del > GCARENA_ROOTS_PER_CALL ||
	    (!req->nr_add && req->add) || (!req->nr_del && req->del))
		return -EINVAL;
	sigs = gca_signals_block();
	err = gca_roots_update(&gca_process_of(space)->arena,
			       (const struct gcarena_range *)(uintptr_t)req->add, req->nr_add,
			       (const struct gcarena_range *)(uintptr_t)req->del, req->nr_del);
	gca_signals_restore(sigs);
	return err;
}

/*
 * Registers that a callee must preserve may hold a caller's only pointer; the
 * others have been spilled into the callers' frames, which lie above ours.
 */
static __always_inline unsigned int gca_spill(u64 *regs)
{
#if defined(__x86_64__)
	__asm__ __volatile__("movq %%rbx, 0(%0)\n\t"
			     "movq %%rbp, 8(%0)\n\t"
			     "movq %%r12, 16(%0)\n\t"
			     "movq %%r13, 24(%0)\n\t"
			     "movq %%r14, 32(%0)\n\t"
			     "movq %%r15, 40(%0)"
			     : : "r"(regs) : "memory");
	return 6;
#else
	__builtin_unwind_init();
	(void)regs;
	return 0;
#endif
}

static noinline int process_collect(struct gca_space *space, struct gcarena_collect *req, int paced)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_world *w = &p->world;
	struct gca_totals *t = &p->arena.totals;
	struct gca_order order = {
		.until = GCA_UNTIL_SWEPT,
		.forced = !paced,
		.lent = true,
		.alone = true,
		.timeout_ns = req->timeout_ns ? req->timeout_ns : GCA_AGE_LIMIT,
	};
	struct gca_signals sigs;
	u64 voided;
	int err;

	if (req->flags & GCARENA_COLLECT_ASYNC) {
		/* The next call that answers says GCARENA_WANT_COLLECT. */
		WRITE_ONCE(p->arena.heap_trigger, 0);
		return 0;
	}
	if (req->flags & GCARENA_COLLECT_UNTIL_MARKING)
		order.until = GCA_UNTIL_MARKING;
	else if (req->flags & GCARENA_COLLECT_UNTIL_MARKED)
		order.until = GCA_UNTIL_MARKED;
	order.sweep_stopped = req->flags & GCARENA_COLLECT_SWEEP_STOPPED;

	sigs = gca_signals_block();
	pthread_mutex_lock(&p->cycle_lock);
	w->reader = pthread_self();
	memset(w->known, 0, sizeof(w->known));
	w->collector = gca_gettid();
	w->nr_regs = gca_spill(w->regs);
#if defined(__x86_64__)
	__asm__ __volatile__("movq %%rsp, %0" : "=r"(w->sp));
#else
	w->sp = (u64)(uintptr_t)__builtin_frame_address(0);
#endif
	voided = READ_ONCE(t->voided);
	err = gca_collect(&p->arena, &order);
	req->cycle = READ_ONCE(p->arena.control->cycle);
	req->result = READ_ONCE(t->voided) != voided ? GCARENA_RESULT_VOID : GCARENA_RESULT_DONE;
	req->void_reason = req->result == GCARENA_RESULT_VOID ? (u32)t->last_void : 0;
	w->collector = 0;
	pthread_mutex_unlock(&p->cycle_lock);
	process_wants(p);
	gca_signals_restore(sigs);
	return err;
}

static int process_config(struct gca_space *space, struct gcarena_config *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_arena *a = &p->arena;
	struct gca_signals sigs;
	bool asked;

	if (req->mask & ~GCARENA_CONFIG_ALL)
		return -EINVAL;
	if ((req->mask & GCARENA_CONFIG_PERCENT) && req->percent > 100000)
		return -EINVAL;
	if ((req->mask & GCARENA_CONFIG_HEAP_MIN) && req->heap_min > GCARENA_RESERVE_MAX)
		return -EINVAL;
	if ((req->mask & GCARENA_CONFIG_DEBUG) && (req->debug & ~(u64)GCARENA_DEBUG_ALL))
		return -EINVAL;
	/* Not within a cycle: a debug switch holds for a whole one. */
	sigs = gca_signals_block();
	pthread_mutex_lock(&p->cycle_lock);
	if (req->mask & GCARENA_CONFIG_PERCENT)
		WRITE_ONCE(a->percent, req->percent);
	if (req->mask & GCARENA_CONFIG_HEAP_MIN)
		WRITE_ONCE(a->heap_min, req->heap_min);
	if (req->mask & GCARENA_CONFIG_DEBUG)
		WRITE_ONCE(a->debug, (u32)req->debug);
	if (req->mask) {
		/* A cycle that ASYNC has asked for stays asked for. */
		asked = !READ_ONCE(a->heap_trigger);
		gca_pace(a);
		if (asked)
			WRITE_ONCE(a->heap_trigger, 0);
	}
	req->percent = a->percent;
	req->heap_min = a->heap_min;
	req->debug = a->debug;
	pthread_mutex_unlock(&p->cycle_lock);
	gca_signals_restore(sigs);
	return 0;
}

static int process_stats(struct gca_space *space, struct gcarena_stats *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gca_signals sigs = gca_signals_block();
	int err = gca_stats_sync(&p->arena);

	if (!err) {
		gca_stats_read(&p->arena, req);
		req->metadata += space->control_size;
		pthread_mutex_lock(&p->world.lock);
		if (p->world.mutator) {
			req->metadata += p->area_size;
			req->threads = 1;
		}
		pthread_mutex_unlock(&p->world.lock);
	}
	gca_signals_restore(sigs);
	return err;
}

/* The program has returned the runs of the last reply: they are zero now. */
static int process_runs_done(struct gca_process *p, u32 nr_done)
{
	struct gca_signals sigs;

	if (!nr_done)
		return 0;
	if (nr_done != p->nr_given)
		return -EINVAL;
	sigs = gca_signals_block();
	gca_scavenge_done(&p->arena, p->run, nr_done);
	gca_signals_restore(sigs);
	p->nr_runs -= nr_done;
	memmove(p->run, p->run + nr_done, p->nr_runs * sizeof(p->run[0]));
	p->nr_given = 0;
	return 0;
}

/* Runs for the reply: those of a lost reply first. */
static u32 process_runs_take(struct gca_process *p, struct gcarena_run *runs, u32 room)
{
	struct gca_signals sigs = gca_signals_block();

	if (!p->nr_runs && room)
		p->nr_runs = gca_scavenge_take(&p->arena, p->run, room);
	gca_signals_restore(sigs);
	p->nr_given = min(p->nr_runs, room);
	if (p->nr_given)
		memcpy(runs, p->run, p->nr_given * sizeof(p->run[0]));
	return p->nr_given;
}

static int process_serve(struct gca_space *space, struct gcarena_serve *req)
{
	struct gca_process *p = gca_process_of(space);
	struct gcarena_run *runs = (struct gcarena_run *)(uintptr_t)req->runs;
	struct gca_world *w = &p->world;
	u32 room = req->nr_runs, n = 0;
	int err;

	if (room > GCARENA_SERVE_RUNS || req->flags & ~GCARENA_SERVE_NOWAIT)
		return -EINVAL;
	pthread_mutex_lock(&w->lock);
	if (w->serving) {
		pthread_mutex_unlock(&w->lock);
		return -EBUSY;
	}
	w->serving = true;
	pthread_mutex_unlock(&w->lock);

	err = process_runs_done(p, req->nr_done);
	pthread_mutex_lock(&w->lock);
	while (!err && !w->dying) {
		w->poke = false;
		pthread_mutex_unlock(&w->lock);
		n = process_runs_take(p, runs, room);
		pthread_mutex_lock(&w->lock);
		if (n || w->dying)
			break;
		if (req->flags & GCARENA_SERVE_NOWAIT) {
			err = -EAGAIN;
			break;
		}
		while (!w->poke && !w->dying)
			pthread_cond_wait(&w->pager, &w->lock);
	}
	if (w->dying)
		err = -ESRCH;
	w->serving = false;
	pthread_mutex_unlock(&w->lock);
	req->nr_runs = n;
	return err;
}

const struct gca_backend gcl_backend_process = {
	.name = "process",
	.open = process_open,
	.close = process_close,
	.wake = process_wake,
	.attach = process_attach,
	.detach = process_detach,
	.refill = process_refill,
	.large = process_large,
	.settle = process_settle,
	.layout = process_layout,
	.roots = process_roots,
	.collect = process_collect,
	.config = process_config,
	.stats = process_stats,
	.serve = process_serve,
};
