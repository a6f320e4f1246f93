// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * cycle.c: one collection, from top to bottom.
 *
 * The algorithm is that of Go's runtime (mgc.go): tri-colour mark-sweep that
 * does not move objects.  A cycle is:
 *
 *  1. Sweep termination.
 *     a. Sweep what is left of the last cycle, so that every span is swept, all
 *        mark bits are zero and all rings are empty (invariant 5).
 *     b. Make the memory that the cycle needs: nothing is allocated later.
 *     c. *Begin stop*: close the gate, wait for open operations, hold the threads.
 *     d. Snapshot: snap := free index in each cached span.  From here on what is
 *        allocated is black; what existed is white.  Phase mark, barrier on.
 *     e. Capture: plain roots are scanned before any thread runs again; each
 *        stack with its registers before its own thread does: in the stop too, or,
 *        where the world is to run while marking, later (roots.c).
 *  2. Mark.  Grey objects are scanned until none is left.
 *     In this release the world stays stopped meanwhile (Go's gcstoptheworld=1).
 *     Workers mark, or the thread that asked for the cycle does (gca_order.lent);
 *     the pager scans what needs faults.  The structures are those of concurrent
 *     marking, and a caller may let the world run between 1 and 2
 *     (GCA_UNTIL_MARKING): the deletion barrier and the black allocation keep the
 *     snapshot.
 *  3. Mark termination, inside the stop: rings, buffers, missed list, overflow
 *     bits and root jobs are all empty.  Then mark bits are final.  Every span
 *     becomes unswept, phase off, barrier off, the world runs.
 *  4. Sweep, by whoever needs a span, and by the caller to the end.
 *
 * Why the snapshot is enough (Yuasa, "Real-time garbage collection on
 * general-purpose machines", 1990): an object live at any time during marking
 * was reachable at the snapshot or is new.  If reachable at the snapshot, the
 * path to it is scanned, or some pointer of the path was overwritten first;
 * then the overwriting store put the old value in a ring before it happened,
 * and termination does not end before the ring is empty.
 *
 * A stop that does not hold every thread in time is *postponed*: the world runs
 * on, and it is tried again a while later, with more time.  Nothing is lost: a
 * begin stop so given up has changed nothing, a later one leaves the phase at
 * mark and the barrier on.
 *
 * A cycle that cannot go on is *void*: phase off, barrier off, its work thrown
 * away, nothing freed.  The marks it left are cleared before the next one
 * begins.  It is no error of the arena; the reason is kept.
 *
 * Cycles of one arena run one after another: the port serialises calls of
 * gca_cycle_run().
 */
#include "cycle.h"
#include "mark.h"
#include "span.h"
#include "workbuf.h"

/** gca_cycle_void() - the running cycle cannot succeed; the first reason is kept */
void gca_cycle_void(struct gca_arena *a, enum gcarena_void_reason reason)
{
	cmpxchg(&a->void_reason, GCARENA_VOID_NONE, reason);
}

/* -------------------------------------------------------------------- pacing */

/*
 * gca_pace() - when should the next cycle begin?
 *
 * After a cycle, or when a knob was turned.  Go's rule with the world stopped
 * for marking: the goal is live + live * percent / 100, at least heap_min, and
 * the trigger is the goal.  After void cycles the trigger moves away from what
 * is live, twice as far each time, so that a cycle which keeps failing does not
 * eat the program (review-protocol D7).
 */
void gca_pace(struct gca_arena *a)
{
	u64 live = a->totals.live, percent = READ_ONCE(a->percent);
	u64 goal = live + live * percent / 100, heap_live = atomic64_read(&a->heap_live);
	u64 min = READ_ONCE(a->heap_min) * percent / 100;
	unsigned int k = min_t(u32, a->void_run, 20);
	u64 trigger;

	goal = max(goal, min);
	if (k)
		goal = max(goal, heap_live + max(65536ULL << k, (heap_live / 20) << k));
	trigger = percent ? goal : U64_MAX;
	WRITE_ONCE(a->heap_goal, goal);
	WRITE_ONCE(a->heap_trigger, trigger);
	WRITE_ONCE(a->control->heap_goal, goal);
	WRITE_ONCE(a->control->heap_trigger, trigger);
	WRITE_ONCE(a->control->heap_live, heap_live);
}

/** gca_cycle_wanted() - has the heap reached its trigger? */
bool gca_cycle_wanted(struct gca_arena *a)
{
	u64 live = atomic64_read(&a->heap_live), begin = READ_ONCE(a->live_at_begin);

	if (READ_ONCE(a->phase) == GCARENA_PHASE_OFF)
		return live >= READ_ONCE(a->heap_trigger);
	/* Somebody has begun one and lets it wait: it has grown as much again. */
	return live >= begin && live - begin >= max(begin, READ_ONCE(a->heap_min));
}

/* --------------------------------------------------------------------- stops */

static void set_phase(struct gca_arena *a, enum gcarena_phase phase)
{
	WRITE_ONCE(a->phase, phase);
	WRITE_ONCE(a->control->phase, phase);
	WRITE_ONCE(a->control->barrier,
		   phase == GCARENA_PHASE_OFF ? 0 : GCARENA_BARRIER_DELETION);
	WRITE_ONCE(a->epoch, a->epoch + 1);
	/* Phase and barrier before the epoch that tells of them. */
	smp_store_release(&a->control->epoch, a->epoch);
	gca_port_trace(a, GCA_TRACE_PHASE, phase, a->totals.cycles);
}

#define STOP_WAIT_MAX	100000000ULL	/* of one attempt, ns */
#define BACKOFF		10		/* times what the attempt cost the world */
#define BACKOFF_MAX	1000000000ULL

static int postpone(struct gca_arena *a)
{
	u64 now = gca_port_now();

	WRITE_ONCE(a->totals.postponed, a->totals.postponed + 1);
	if (now > a->deadline)
		return -ETIMEDOUT;
	return gca_port_backoff(a, min(BACKOFF * (now - a->stop_began), BACKOFF_MAX));
}

/*
 * Return: 0 with the world stopped; else it runs: -ETIMEDOUT if some thread was not
 * held within the age limit, or what gca_port_stop() and gca_port_backoff() return.
 */
static int stop_world(struct gca_arena *a)
{
	struct gca_totals *t = &a->totals;
	u64 wait = a->stop_wait, ns;
	int err;

	for (;;) {
		gca_gate_close(a);
		a->stop_began = gca_port_now();
		gca_port_trace(a, GCA_TRACE_STOP_BEGIN, t->cycles, a->nr_mutators);
		err = gca_port_stop(a, a->stop_began + wait);
		if (!err)
			break;
		gca_gate_open(a);
		if (err == -EAGAIN)
			err = postpone(a);
		if (err)
			return err;
		wait = min(2 * wait, STOP_WAIT_MAX);
	}
	ns = gca_port_now() - a->stop_began;
	WRITE_ONCE(t->hold_ns_total, t->hold_ns_total + ns);
	if (ns > t->hold_ns_max)
		WRITE_ONCE(t->hold_ns_max, ns);
	return 0;
}

/* Four buckets an octave: the two bits below the leading one tell them apart. */
static unsigned int stop_bucket(u64 ns)
{
	unsigned int e = fls64(ns | 4) - 1;

	return min_t(unsigned int, 4 * (e - 2) + ((ns | 4) >> (e - 2) & 3), GCA_STOP_BUCKETS - 1);
}

/** gca_stop_quantile() - length of a stop that @permille of all do not exceed, in ns */
u64 gca_stop_quantile(const struct gca_totals *t, unsigned int permille)
{
	u64 n = 0, seen = 0;
	unsigned int i;

	for (i = 0; i < GCA_STOP_BUCKETS; i++)
		n += READ_ONCE(t->stop_hist[i]);
	if (!n)
		return 0;
	for (i = 0; i < GCA_STOP_BUCKETS; i++) {
		seen += READ_ONCE(t->stop_hist[i]);
		if (1000 * seen >= permille * n)
			break;
	}
	/* The middle of the bucket. */
	return ((9ULL + 2 * (i & 3)) << (i / 4)) / 2;
}

static void start_world(struct gca_arena *a)
{
	struct gca_totals *t = &a->totals;
	unsigned int b;
	u64 ns;

	gca_port_start(a);
	gca_gate_open(a);
	ns = gca_port_now() - a->stop_began;
	b = stop_bucket(ns);
	WRITE_ONCE(t->stops, t->stops + 1);
	WRITE_ONCE(t->stop_hist[b], t->stop_hist[b] + 1);
	WRITE_ONCE(t->stop_ns_total, t->stop_ns_total + ns);
	WRITE_ONCE(t->stop_ns_last, ns);
	if (ns > t->stop_ns_max)
		WRITE_ONCE(t->stop_ns_max, ns);
	gca_port_trace(a, GCA_TRACE_STOP_END, t->cycles, ns);
}

/* ------------------------------------------------------------- begin, 1a - 1d */

static void work_discard(struct gca_arena *a)
{
	struct gca_wbuf *b;

	while ((b = gca_wbuf_get_full(a)))
		gca_wbuf_put_empty(a, b);
	while ((b = gca_wbuf_get_missed(a)))
		gca_wbuf_put_empty(a, b);
}

/*
 * After a void cycle: as if it had never begun.  One of its markers may be asleep
 * in a fault that nobody answers, and would mark when it wakes: until it has gone
 * there is no other cycle.  It will find void_reason set, and go.
 */
#define UNDO_WAIT	10000000ULL	/* ns */
#define OTHERS_WAIT	100000ULL	/* ns */

static int cycle_clear(struct gca_arena *a)
{
	int err;

	for (;;) {
		gca_gate_close(a);
		if (!atomic_read(&a->markers))
			break;
		gca_gate_open(a);
		if (gca_port_now() > READ_ONCE(a->deadline))
			return -ETIMEDOUT;
		err = gca_port_backoff(a, UNDO_WAIT);
		if (err)
			return err;
	}
	smp_mb();	/* what the last marker published */
	work_discard(a);
	gca_marks_clear(a);
	a->marks_dirty = false;
	gca_gate_open(a);
	return 0;
}

static int cycle_prepare(struct gca_arena *a)
{
	int err = gca_sweep_finish(a);

	if (!err && a->marks_dirty)
		err = cycle_clear(a);
	if (err)
		return err;
	err = gca_roots_prepare(a);
	if (!err && a->debug & GCARENA_DEBUG_CHECKMARK)
		err = gca_check_prepare(a);
	return err;
}

#define BEGIN_TRIES	8

/* Return: 0 with the world stopped and phase mark, or an error with it running. */
static int cycle_begin(struct gca_arena *a)
{
	unsigned int tries;
	int err;

	for (tries = 0; tries < BEGIN_TRIES; tries++) {
		err = cycle_prepare(a);
		if (!err)
			err = stop_world(a);
		if (err)
			return err;
		err = gca_roots_begin(a);
		if (!err)
			break;
		start_world(a);
	}
	if (err)
		return err;

	WARN_ON_ONCE(atomic64_read(&a->unswept));
	a->void_reason = GCARENA_VOID_NONE;
	atomic64_set(&a->cycle_marked, 0);
	WRITE_ONCE(a->live_at_begin, atomic64_read(&a->heap_live));
	WRITE_ONCE(a->control->cycle, a->totals.cycles + 1);
	gca_port_trace(a, GCA_TRACE_CYCLE_START, a->totals.cycles + 1, a->live_at_begin);
	set_phase(a, GCARENA_PHASE_MARK);
	return 0;
}

/* ------------------------------------------------------------------- mark, 2 */

/* Let the pager scan what was missed; its time is its own. */
static bool pager_scans(struct gca_worker *w)
{
	u64 t = gca_port_now();
	bool done = gca_port_pager_scans(w->arena);

	w->waited_ns += gca_port_now() - t;
	return done;
}

/* gca_told_to_stop() - is the running cycle void, or the caller to stop? */
bool gca_told_to_stop(struct gca_arena *a)
{
	return gca_port_relax(a) || READ_ONCE(a->void_reason);
}

/* gca_give_up() - the same, or is it too late?  For those whose time counts */
bool gca_give_up(struct gca_arena *a)
{
	if (gca_port_now() > READ_ONCE(a->deadline))
		gca_cycle_void(a, GCARENA_VOID_AGE);
	return gca_told_to_stop(a);
}

/* Have the port's workers do @work. */
static void workers_do(struct gca_arena *a, enum gca_work work, u64 until)
{
	WRITE_ONCE(a->work, work);
	gca_port_run_workers(a, until);
	WRITE_ONCE(a->work, GCA_WORK_NONE);
}

/*
 * Inside a stop: the root jobs and, unless @work is GCA_WORK_ROOTS, marking to the
 * end.  By workers.  Return: false if the cycle is void.
 */
static bool mark_by_workers(struct gca_arena *a, enum gca_work work)
{
	bool all = work != GCA_WORK_ROOTS;

	do {
		gca_roots_again(a);
		workers_do(a, work, a->deadline);
		if (gca_give_up(a))
			return false;
		/* Nobody of the owner's serves: then what is missed stays missed. */
		if (gca_missed_pending(a) && !gca_port_pager_scans(a) && !gca_give_up(a))
			gca_cycle_void(a, GCARENA_VOID_UNREADABLE);
		if (gca_give_up(a))
			return false;
	} while (all ? gca_work_left(a, 0) : gca_roots_left(a));
	return true;
}

/*
 * All that is left may be in the hands of others, asleep in a fault: the pager, or a
 * thread that scans its own stack.  Return: false if the cycle is void.
 */
static bool others_done(struct gca_arena *a)
{
	while (atomic_read(&a->markers) > 1 && !atomic_read(&a->nr_full) &&
	       !atomic_read(&a->overflowed) && !gca_missed_pending(a))
		if (gca_give_up(a) || gca_port_backoff(a, OTHERS_WAIT))
			return false;
	return true;
}

/* The same by @w, in a thread of the owner's; nobody else marks but the pager, when asked. */
static bool mark_by_self(struct gca_worker *w, enum gca_work work)
{
	bool all = work != GCA_WORK_ROOTS;
	struct gca_arena *a = w->arena;

	do {
		gca_roots_again(a);
		if (!gca_roots_mark(w) || (all && !gca_drain(w)) || !gca_roots_missed(w))
			return false;
		gca_worker_publish(w);
		if (all && gca_missed_pending(a) && !pager_scans(w) && gca_missed_scan(a, w->mode))
			return false;
		if (gca_give_up(a) || (all && !others_done(a)))
			return false;
	} while (all ? gca_work_left(a, 1) : gca_roots_left(a));
	return true;
}

/* In the begin stop: 1d. */
static void snapshot(struct gca_worker *w)
{
	struct gca_mutator *m;

	list_for_each_entry(m, &w->arena->mutators, link) {
		gca_ring_discard(m);
		gca_mutator_snapshot(w, m);
	}
}

/* In a later stop.  Return: false if the cycle is void. */
static bool drain_rings(struct gca_worker *w)
{
	struct gca_mutator *m;

	list_for_each_entry(m, &w->arena->mutators, link)
		if (!gca_ring_drain(w, m)) {
			gca_cycle_void(w->arena, GCARENA_VOID_RING);
			return false;
		}
	return true;
}

/*
 * Inside a stop, @fresh: the begin stop.  Everything of 1d, 1e and 2 that is to be
 * done in it.
 */
static void mark_stopped(struct gca_arena *a, const struct gca_order *o, bool fresh)
{
	enum gca_work work = o->until == GCA_UNTIL_MARKING ? GCA_WORK_ROOTS : GCA_WORK_MARK;
	bool lazy = o->lazy && work == GCA_WORK_ROOTS;
	bool marks = fresh || work == GCA_WORK_MARK, ok = true;
	u64 began = gca_port_now();
	struct gca_worker w;

	if (marks)
		gca_roots_open(a, !lazy);
	gca_worker_init(&w, a, o->alone, GCA_MARK_COLLECT);
	w.may_fault = o->lent;
	if (fresh)
		snapshot(&w);
	else
		ok = drain_rings(&w);
	if (ok && o->lent && marks)
		ok = mark_by_self(&w, work);
	gca_worker_fini(&w);
	if (ok && !o->lent && marks)
		ok = mark_by_workers(a, work);
	if (!ok)
		gca_cycle_void(a, GCARENA_VOID_KILLED);
	else if (fresh && lazy)
		gca_roots_owe(a);
	if (o->lent)
		atomic64_add(gca_port_now() - began - w.waited_ns,
			     &a->totals.mark_ns[GCA_MARK_COLLECT]);
}

/*
 * The world runs again, and stacks have been left for later: workers take those that
 * they find before their threads do, and leave what they cannot scan just now.  Not
 * waited for if they get no processor: the next stop has the rest.
 */
#define CAPTURE_WAIT	2000000ULL	/* ns */

static void capture(struct gca_arena *a)
{
	workers_do(a, GCA_WORK_ROOTS, gca_port_now() + CAPTURE_WAIT);
}

/* ------------------------------------------------------ mark termination, 3 */

static void cycle_count(struct gca_arena *a, bool forced)
{
	struct gca_totals *t = &a->totals;

	WRITE_ONCE(t->cycles, t->cycles + 1);
	if (forced)
		WRITE_ONCE(t->forced, t->forced + 1);
}

#define PEAK_DECAY	16	/* a peak is forgotten in some tens of cycles */

/* Inside the stop, marking complete. */
static void cycle_end(struct gca_arena *a, bool forced, bool ran)
{
	u64 marked = atomic64_read(&a->cycle_marked), born;
	struct gca_mutator *m;
	u32 i;

	set_phase(a, GCARENA_PHASE_TERMINATION);
	if (a->debug & GCARENA_DEBUG_CHECKMARK)
		gca_check_run(a, ran);

	/* Less than none: spans lent before the cycle were handed back in it. */
	born = max_t(s64, atomic64_read(&a->heap_live) - (s64)a->live_at_begin, 0);
	list_for_each_entry(m, &a->mutators, link)
		for (i = 1; i < m->nr_slots; i++)
			m->twin[i].charged = 0;
	WRITE_ONCE(a->totals.live, marked);
	WRITE_ONCE(a->heap_peak, forced ? 0 :
		   max(a->live_at_begin, a->heap_peak - a->heap_peak / PEAK_DECAY));
	atomic64_set(&a->heap_live, marked + born);
	a->void_run = 0;

	atomic64_set(&a->unswept, atomic64_read(&a->nr_spans));
	WRITE_ONCE(a->sweepgen, a->sweepgen + 1);
	gca_central_rotate(a);
	cycle_count(a, forced);
	gca_pace(a);
	set_phase(a, GCARENA_PHASE_OFF);
	gca_port_trace(a, GCA_TRACE_CYCLE_END, a->totals.cycles, marked);
}

/* Inside the stop, the cycle void: throw its work away. */
static void cycle_undo(struct gca_arena *a, bool forced)
{
	work_discard(a);
	a->marks_dirty = true;
	a->void_run++;
	WRITE_ONCE(a->totals.voided, a->totals.voided + 1);
	WRITE_ONCE(a->totals.last_void, a->void_reason);
	cycle_count(a, forced);
	gca_pace(a);
	set_phase(a, GCARENA_PHASE_OFF);
	gca_port_trace(a, GCA_TRACE_VOID, a->totals.cycles, a->void_reason);
}

/* ----------------------------------------------------------------- the cycle */

/*
 * gca_cycle_abandon() - make the cycle that is under way void, with the world running
 * @a: arena, in phase mark
 * @reason: why
 * @forced: for the counters
 */
void gca_cycle_abandon(struct gca_arena *a, enum gcarena_void_reason reason, bool forced)
{
	if (a->phase == GCARENA_PHASE_OFF)
		return;
	gca_cycle_void(a, reason);
	gca_gate_close(a);
	cycle_undo(a, forced);
	gca_gate_open(a);
}

/* 4. */
static int sweep(struct gca_arena *a, bool lent)
{
	int err;

	if (!lent)
		workers_do(a, GCA_WORK_SWEEP, a->deadline);
	err = gca_sweep_finish(a);
	gca_port_trace(a, GCA_TRACE_SWEEP_DONE, a->totals.cycles, atomic64_read(&a->totals.freed));
	return err == -EINTR ? 0 : err;	/* the rest is swept later */
}

/**
 * gca_cycle_run() - run a cycle, or a part of one, in the caller's context
 * @a: arena; calls are serialised by the port
 * @o: what to do.  GCA_UNTIL_MARKING and GCA_UNTIL_MARKED go on with a cycle that is
 *	under way; so does GCA_UNTIL_SWEPT (but see gca_collect())
 *
 * Return: 0, also for a void cycle (a->void_reason says which); -EAGAIN if threads
 * kept coming; -ETIMEDOUT if they could not be held; -ENOMEM; -EINTR if the caller
 * was killed before it began; or what gca_port_stop() returns.
 */
int gca_cycle_run(struct gca_arena *a, const struct gca_order *o)
{
	bool fresh = a->phase == GCARENA_PHASE_OFF;
	u64 deadline;
	int err;

	if (check_add_overflow(gca_port_now(), o->timeout_ns, &deadline))
		deadline = U64_MAX;
	WRITE_ONCE(a->deadline, deadline);
	if (fresh) {
		err = cycle_begin(a);
	} else {
		err = a->debug & GCARENA_DEBUG_CHECKMARK ? gca_check_prepare(a) : 0;
		if (!err)
			err = stop_world(a);
		if (err == -ETIMEDOUT) {
			gca_cycle_abandon(a, GCARENA_VOID_AGE, o->forced);
			return 0;
		}
	}
	if (err)
		return err;

	mark_stopped(a, o, fresh);
	if (READ_ONCE(a->void_reason))
		cycle_undo(a, o->forced);
	else if (o->until != GCA_UNTIL_MARKING)
		cycle_end(a, o->forced, !fresh);
	if (o->sweep_stopped && o->until == GCA_UNTIL_SWEPT && !READ_ONCE(a->void_reason))
		gca_sweep_stopped(a);
	start_world(a);
	if (o->lazy && o->until == GCA_UNTIL_MARKING && !o->lent && !READ_ONCE(a->void_reason))
		capture(a);

	/* A void cycle's markers may be late: cycle_clear() waits for them first. */
	if (a->phase == GCARENA_PHASE_OFF && !a->marks_dirty)
		gca_roots_release(a);
	if (o->until != GCA_UNTIL_SWEPT || a->void_reason)
		return 0;
	return sweep(a, o->lent);
}

/*
 * gca_collect() - a full cycle that begins after the call (Go's runtime.GC())
 *
 * Finishes a cycle that is under way first.  Parameters and result as
 * gca_cycle_run().
 */
int gca_collect(struct gca_arena *a, const struct gca_order *o)
{
	struct gca_order first = *o;
	int err;

	if (o->until == GCA_UNTIL_SWEPT && a->phase != GCARENA_PHASE_OFF) {
		first.until = GCA_UNTIL_MARKED;
		err = gca_cycle_run(a, &first);
		if (err)
			return err;
	}
	return gca_cycle_run(a, o);
}
