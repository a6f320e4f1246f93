// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * pace.c: what an arena tells its pacer (pacer.c), and what it takes from it.
 *
 * Scan work is what markers have looked at, by whatever path (GCA_OBJECT_WORDS says in what
 * unit); it is counted now and then while they mark, and when they publish what they have
 * found.  The live heap grows when a span is lent or a large
 * object made.  Both are read where they are needed: nothing is revised in between, a price
 * is computed when somebody has to pay.
 *
 * Decides nothing: no formula is here.
 */
#include "cycle.h"

#define STACK_ROOM	(64ULL << 10)	/* a thread's stack may have grown by so much */

/* gca_pace_work() - what has been done of the running cycle */
u64 gca_pace_work(struct gca_arena *a)
{
	return (u64)atomic64_read(&a->scan_done[GCA_SCAN_HEAP]) +
	       (u64)atomic64_read(&a->scan_done[GCA_SCAN_STACK]) +
	       (u64)atomic64_read(&a->scan_done[GCA_SCAN_RANGE]);
}

static u64 live_now(struct gca_arena *a)
{
	return max_t(s64, atomic64_read(&a->heap_live), 0);
}

/* Under pace_lock: what there is of memory, for the limit. */
static void measure(struct gca_arena *a)
{
	u64 allocated = atomic64_read(&a->totals.allocated);
	struct gca_pacer *p = &a->pacer;
	u64 used;

	p->heap_free = (u64)READ_ONCE(a->heap.free_dirty) << GCARENA_PAGE_SHIFT;
	used = (u64)READ_ONCE(a->heap.inuse) << GCARENA_PAGE_SHIFT;
	p->mapped = p->heap_free + used + READ_ONCE(a->metadata);
	/* As far as they have been observed, which are counted one after the other. */
	allocated -= min_t(u64, allocated, atomic64_read(&a->totals.freed));
	p->heap_used = min(allocated, used);
}

/* Under pace_lock: tell everybody. */
static void publish(struct gca_arena *a)
{
	const struct gca_pacer *p = &a->pacer;
	u64 goal = gca_pacer_goal(p), trigger = goal;

	WRITE_ONCE(a->has_goal, goal != U64_MAX);
	/* With the world stopped for marking a cycle ends where it begins. */
	if (a->concurrent)
		trigger = gca_pacer_trigger(p);
	/* A memory limit says where a cycle should end, but not that void ones follow close. */
	if (trigger != U64_MAX)
		trigger = max(trigger, p->floor);
	/* Nothing asks for a cycle, so there is no goal; to give back memory there is. */
	if (goal == U64_MAX)
		goal = p->marked;
	WRITE_ONCE(a->heap_goal, goal);
	WRITE_ONCE(a->heap_trigger, trigger);
	WRITE_ONCE(a->control->heap_goal, goal);
	WRITE_ONCE(a->control->heap_trigger, trigger);
	WRITE_ONCE(a->control->heap_live, live_now(a));
}

/*
 * gca_pace() - when should the next cycle begin?
 *
 * After a cycle, or when a knob was turned.
 *
 * After void cycles the trigger moves away from what is live, twice as far each time,
 * so that a cycle which keeps failing does not eat the program (review-protocol D7).
 */
void gca_pace(struct gca_arena *a)
{
	u64 percent = READ_ONCE(a->knob.percent), live = live_now(a);
	u64 limit = READ_ONCE(a->knob.memlimit);
	unsigned int k = min_t(u32, a->void_run, 20);
	struct gca_pacer *p = &a->pacer;

	gca_spin_lock(&a->pace_lock);
	p->percent = percent ? percent : U64_MAX;
	p->heap_min = READ_ONCE(a->knob.heap_min);
	p->limit = limit ? limit : U64_MAX;
	p->marked = a->totals.live;
	p->floor = k ? live + max(65536ULL << k, (live / 20) << k) : 0;
	gca_pacer_commit(p);
	measure(a);
	publish(a);
	gca_sweep_pace(a, live);
	gca_spin_unlock(&a->pace_lock);
}

/*
 * gca_pace_look() - with a memory limit: goal and trigger follow what there is of memory
 *
 * Spans that have been swept away, and pages that have been returned, leave the heap more
 * room; what the heap cannot use for what is wanted leaves it less.
 */
void gca_pace_look(struct gca_arena *a)
{
	if (!READ_ONCE(a->knob.memlimit))
		return;
	gca_spin_lock(&a->pace_lock);
	measure(a);
	publish(a);
	gca_spin_unlock(&a->pace_lock);
}

/* gca_meter_begin() - the calling thread begins to mark */
struct gca_meter gca_meter_begin(void)
{
	return (struct gca_meter){ .clock = gca_port_now(), .cpu = gca_port_cpu_self() };
}

/* gca_meter_end() - it has, in @mode, and was asleep for @waited ns of the time */
void gca_meter_end(struct gca_arena *a, const struct gca_meter *from, unsigned int mode, u64 waited)
{
	u64 clock = gca_port_now() - from->clock, cpu = gca_port_cpu_self() - from->cpu;

	clock -= min(clock, waited);
	atomic64_add(clock, &a->totals.mark_ns[mode]);
	atomic64_add(min(clock, cpu), &a->totals.cpu_ns[mode]);
}

/* gca_pace_cpu() - processor time of all marking so far, but what was idle anyway */
u64 gca_pace_cpu(struct gca_arena *a)
{
	u64 sum = 0;
	unsigned int i;

	for (i = 0; i < GCA_NR_MARK_MODES; i++)
		if (i != GCA_MARK_IDLE)
			sum += atomic64_read(&a->totals.cpu_ns[i]);
	return sum;
}

/* Tell the limiter what has been done since it was last told. */
static void limit(struct gca_arena *a)
{
	/* In this order: what is collecting's is in the sum.  With no lock: it walks threads. */
	u64 gc = gca_pace_cpu(a), idle = atomic64_read(&a->totals.cpu_ns[GCA_MARK_IDLE]);
	u64 cpu = gca_port_cpu(a), more_gc, more_cpu;

	cpu -= min(cpu, idle);
	gca_spin_lock(&a->pace_lock);
	more_gc = gc - min(gc, a->limiter_gc);
	more_cpu = cpu - min(cpu, a->limiter_cpu);
	a->limiter_gc += more_gc;
	a->limiter_cpu += more_cpu;
	gca_limiter_update(&a->limiter, more_gc, more_cpu - min(more_cpu, more_gc),
			   READ_ONCE(a->knob.cpu_percent));
	gca_spin_unlock(&a->pace_lock);
}

/* gca_pace_limited() - need threads not pay, because collecting has had more than its share? */
bool gca_pace_limited(struct gca_arena *a)
{
	if (gca_limiter_due(&a->limiter, gca_port_now()))
		limit(a);
	return READ_ONCE(a->limiter.limiting);
}

/*
 * gca_pace_stop() - a stop of @ns ends: no processor was the program's
 *
 * But for @collecting ns, which are counted where they have been used.
 */
void gca_pace_stop(struct gca_arena *a, u64 ns, u64 collecting)
{
	u64 all = gca_mul_div(ns, gca_cpus_milli(a), 1000);

	if (READ_ONCE(a->knob.cpu_percent) >= 100)
		return;
	gca_spin_lock(&a->pace_lock);
	gca_limiter_charge(&a->limiter, all - min(all, collecting));
	gca_spin_unlock(&a->pace_lock);
}

/* gca_pace_reset() - in the begin stop: no work has been done */
void gca_pace_reset(struct gca_arena *a)
{
	unsigned int i;

	for (i = 0; i < GCA_NR_SCANS; i++)
		atomic64_set(&a->scan_done[i], 0);
}

/* Time of marking so far, by workers. */
static u64 worker_ns(struct gca_arena *a)
{
	return atomic64_read(&a->totals.mark_ns[GCA_MARK_SERVE]) +
	       atomic64_read(&a->totals.mark_ns[GCA_MARK_DEDICATED]) +
	       atomic64_read(&a->totals.mark_ns[GCA_MARK_FRACTIONAL]);
}

/*
 * gca_pace_begin() - the program runs while marking from now on
 *
 * No operation is open: at the end of the begin stop, or where a conductor takes up a cycle
 * that nobody went on with.
 */
void gca_pace_begin(struct gca_arena *a)
{
	struct gca_pacer *p = &a->pacer;

	gca_spin_lock(&a->pace_lock);
	gca_limiter_resize(&a->limiter, gca_cpus_milli(a));
	a->pace_began = gca_port_now();
	a->pace_assist_ns = atomic64_read(&a->totals.mark_ns[GCA_MARK_ASSIST]);
	a->pace_idle_ns = atomic64_read(&a->totals.mark_ns[GCA_MARK_IDLE]);
	a->pace_worker_ns = worker_ns(a);
	gca_pacer_begin(p, live_now(a), max_t(s64, atomic64_read(&a->heap_scan), 0),
			p->stack_work + READ_ONCE(a->nr_mutators) * STACK_ROOM,
			a->cycle_roots ? a->cycle_roots->bytes : 0, gca_pace_work(a));
	publish(a);
	gca_spin_unlock(&a->pace_lock);
	/* What has been done early is nobody's credit. */
	gca_assist_reset(a);
}

/*
 * gca_pace_end() - in the stop in which a cycle ends; then gca_pace()
 * @a: arena
 * @learn: it has been a whole one
 */
void gca_pace_end(struct gca_arena *a, bool learn)
{
	struct gca_pacer *p = &a->pacer;
	struct gca_pacer_cycle c = {
		.marked = atomic64_read(&a->cycle_marked),
		.live = live_now(a),
		.heap = atomic64_read(&a->scan_done[GCA_SCAN_HEAP]),
		.stack = atomic64_read(&a->scan_done[GCA_SCAN_STACK]),
		.globals = atomic64_read(&a->scan_done[GCA_SCAN_RANGE]),
	};

	gca_spin_lock(&a->pace_lock);
	if (p->marking) {
		c.span_ns = gca_mul_div(gca_port_now() - a->pace_began, gca_cpus_milli(a), 1000);
		c.worker_ns = worker_ns(a) - a->pace_worker_ns;
		c.assist_ns = atomic64_read(&a->totals.mark_ns[GCA_MARK_ASSIST]) -
			      a->pace_assist_ns;
		c.idle_ns = atomic64_read(&a->totals.mark_ns[GCA_MARK_IDLE]) - a->pace_idle_ns;
	}
	a->pace_live = c.live;
	a->pace_goal = gca_pacer_goal(p);
	if (learn) {
		gca_pacer_end(p, &c);
		atomic64_set(&a->heap_scan, c.heap);
	}
	WRITE_ONCE(p->marking, false);
	gca_spin_unlock(&a->pace_lock);
	gca_assist_reset(a);
}

/** gca_pace_read() - what statistics say of all this */
void gca_pace_read(struct gca_arena *a, struct gcarena_stats *s)
{
	const struct gca_pacer *p = &a->pacer;
	unsigned int i;

	gca_spin_lock(&a->pace_lock);
	s->trigger = READ_ONCE(a->heap_trigger);
	s->begun_live = READ_ONCE(a->live_at_begin);
	s->ended_live = a->pace_live;
	s->ended_goal = a->pace_goal;
	s->work_heap = p->heap_work;
	s->work_stack = p->stack_work;
	s->work_roots = p->globals;
	s->cons_mark = 0;
	for (i = 0; i < GCA_PACER_WINDOW; i++)
		s->cons_mark = max_t(u64, s->cons_mark, p->cons_mark[i]);
	gca_spin_unlock(&a->pace_lock);
}

/* gca_pace_price() - what memory costs now, in a cycle that marks while the program runs */
struct gca_price gca_pace_price(struct gca_arena *a)
{
	struct gca_price price;
	u64 done;

	gca_spin_lock(&a->pace_lock);
	done = gca_pace_work(a);
	price = gca_pacer_price(&a->pacer, live_now(a), done - min(done, a->pacer.early));
	gca_spin_unlock(&a->pace_lock);
	return price;
}

#define NO_NEWS		8		/* looks in a period, whether there is anything new */
#define TRY_AGAIN	1000000000ULL	/* after a cycle that could not be had, ns */

/**
 * gca_cycle_due() - when is the next cycle due, whatever has been allocated?
 * @a: arena
 *
 * Go's forcegcperiod, but that there must be something new; not without a percentage.  Return: in
 * so many ns, or look again then; U64_MAX: not while this is so.
 */
u64 gca_cycle_due(struct gca_arena *a)
{
	u64 period = READ_ONCE(a->knob.period_ms) * 1000000, ended = READ_ONCE(a->ended);
	u64 tried = READ_ONCE(a->tried), due = ended + period, now;

	if (!period || !ended || !READ_ONCE(a->knob.percent) ||
	    READ_ONCE(a->phase) != GCARENA_PHASE_OFF)
		return U64_MAX;
	now = gca_port_now();
	if (tried > ended)
		due = max(due, tried + TRY_AGAIN);
	if (now < due)
		return due - now;
	if ((u64)atomic64_read(&a->heap_live) == READ_ONCE(a->live_at_end))
		return period / NO_NEWS;
	return 0;
}

static bool trigger_reached(struct gca_arena *a)
{
	return (u64)atomic64_read(&a->heap_live) >= READ_ONCE(a->heap_trigger);
}

/**
 * gca_cycle_needed() - does the heap want a cycle, or its end?
 * @a: arena
 *
 * Not whoever asks, nor a period.  After a cycle that failed it does so later (gca_pace()).
 */
bool gca_cycle_needed(struct gca_arena *a)
{
	return READ_ONCE(a->phase) != GCARENA_PHASE_OFF || trigger_reached(a);
}

/** gca_cycle_wanted() - is there any reason for a cycle, or was one left half done? */
bool gca_cycle_wanted(struct gca_arena *a)
{
	u64 live, begin;

	if (READ_ONCE(a->phase) == GCARENA_PHASE_OFF)
		return trigger_reached(a) || READ_ONCE(a->asked) || !gca_cycle_due(a);
	live = atomic64_read(&a->heap_live);
	begin = READ_ONCE(a->live_at_begin);
	/* Somebody has begun one and lets it wait: it has grown as much again. */
	if (live >= begin && live - begin >= max(begin, READ_ONCE(a->knob.heap_min)))
		return true;
	return READ_ONCE(a->interrupted);
}

/**
 * gca_cycle_ask() - have a cycle begin as soon as possible, or after the running one, for nobody
 * @a: arena
 *
 * If nobody is there to run it, the owner is asked to: GCARENA_WANT_COLLECT.
 */
void gca_cycle_ask(struct gca_arena *a)
{
	WRITE_ONCE(a->asked, true);
	smp_mb();	/* pairs with the one after a kick has been taken: one sees the other */
	gca_port_kick(a);
}

/** gca_cycle_asked() - has one been asked for while another one was under way that has ended? */
bool gca_cycle_asked(struct gca_arena *a)
{
	return READ_ONCE(a->asked) && READ_ONCE(a->phase) == GCARENA_PHASE_OFF;
}
