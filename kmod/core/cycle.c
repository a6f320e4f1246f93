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
 *        where the world is to run while marking, later, as are barriered roots (rootjobs.c).
 *  2. Mark, the world running.  Workers scan grey objects until none is left; threads
 *     record in their rings what they overwrite, and the conductor of the cycle greys
 *     what is in the rings when nothing else is left (Go's gcMarkDone).  A thread that
 *     allocates beyond the goal marks, too (gca_assist()).
 *  3. Mark termination.  Stop; grey what has come into the rings since, and scan the
 *     stacks that nobody could scan while their threads ran.  Was there anything new,
 *     the world runs again, and marking goes on: each time at least one object is
 *     marked, so this ends.  Else rings, buffers, missed list, overflow bits and root
 *     jobs are all empty, with nobody there to fill them: the mark bits are final.
 *     Every span becomes unswept, phase off, barrier off, the world runs.
 *  4. Sweep, by whoever needs a span, and to the end: where somebody waits for that, by
 *     all workers or the caller; else by workers on idle time (gca_sweep_idle()).
 *
 * Or marking is done inside a stop (Go's gcstoptheworld=1): where that was asked for,
 * and where a thread of the owner's runs the cycle and marks (gca_order.lent), because
 * there are no workers.  Then 3 finds all that there is in 2, and finishes it.
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
 * gca_cycle_run(), each of which is a *step*: from before a stop until the world runs
 * again.  Between the steps of a cycle threads may come and go.
 *
 * The plain roots of a program change when it loads a library.  Who knows is a thread
 * of the owner's, and may have to wait for others that load one; so it is asked between
 * steps: before the begin stop to tell what there is, after it whether that was all.
 * If not, the cycle is void and begins anew.
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

/* --------------------------------------------------------------------- phase */

static void set_phase(struct gca_arena *a, enum gcarena_phase phase)
{
	u32 barrier = GCARENA_BARRIER_DELETION | (a->insertion ? GCARENA_BARRIER_INSERTION : 0);

	WRITE_ONCE(a->interrupted, false);
	WRITE_ONCE(a->phase, phase);
	WRITE_ONCE(a->control->phase, phase);
	WRITE_ONCE(a->control->barrier, phase == GCARENA_PHASE_OFF ? 0 : barrier);
	WRITE_ONCE(a->epoch, a->epoch + 1);
	/* Phase and barrier before the epoch that tells of them. */
	smp_store_release(&a->control->epoch, a->epoch);
	gca_port_trace(a, GCA_TRACE_PHASE, phase, a->totals.cycles);
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

static int cycle_clear(struct gca_arena *a, bool lent)
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
	if (!lent)
		gca_port_alone(a, true);
	work_discard(a);
	gca_marks_clear(a);
	a->marks_dirty = false;
	gca_gate_open(a);
	if (!lent)
		gca_port_alone(a, false);
	return 0;
}

/* With checkmark, and by somebody who can read what it reads? */
static bool checks(struct gca_arena *a, const struct gca_order *o)
{
	return !o->blind && gca_checks(a);
}

#define SWEEP_ALONE	256	/* spans that the conductor sweeps by itself */

/* @fresh: the first try */
static int cycle_prepare(struct gca_arena *a, const struct gca_order *o, bool fresh)
{
	bool much = atomic64_read(&a->unswept) > SWEEP_ALONE && !o->lent;
	int err;

	if (much)
		gca_port_alone(a, true);
	err = gca_sweep_finish(a);
	if (much)
		gca_port_alone(a, false);
	if (!err && a->marks_dirty)
		err = cycle_clear(a, o->lent);
	if (err)
		return err;
	/* Before the roots: what comes in after these makes the stop a vain one. */
	if (fresh && !o->lent)
		gca_port_crew_ready(a);
	err = gca_roots_prepare(a);
	if (!err && checks(a, o))
		err = gca_check_prepare(a);
	return err;
}

#define BEGIN_TRIES	8

/* Return: 0 with the world stopped and phase mark, or an error with it running. */
static int cycle_begin(struct gca_arena *a, const struct gca_order *o)
{
	unsigned int tries;
	int err;

	for (tries = 0; tries < BEGIN_TRIES; tries++) {
		err = cycle_prepare(a, o, !tries);
		if (!err)
			err = gca_stop_world(a, o);
		if (err)
			return err;
		err = gca_roots_begin(a);
		if (!err)
			break;
		gca_start_world(a);
	}
	if (err)
		return err;

	WARN_ON_ONCE(atomic64_read(&a->unswept));
	WRITE_ONCE(a->void_reason, GCARENA_VOID_NONE);
	WRITE_ONCE(a->asked, false);
	WRITE_ONCE(a->checks, checks(a, o));
	atomic64_set(&a->cycle_marked, 0);
	gca_pace_reset(a);
	WRITE_ONCE(a->live_at_begin, atomic64_read(&a->heap_live));
	WRITE_ONCE(a->control->cycle, a->totals.cycles + 1);
	gca_port_trace(a, GCA_TRACE_CYCLE_START, a->totals.cycles + 1, a->live_at_begin);
	set_phase(a, GCARENA_PHASE_MARK);
	return 0;
}

/* ------------------------------------------------------------------- mark, 2 */

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

/* In the begin stop: 1d. */
static void snapshot(struct gca_worker *w)
{
	struct gca_mutator *m;

	list_for_each_entry(m, &w->arena->mutators, link) {
		gca_ring_discard(m);
		gca_mutator_snapshot(w, m);
	}
}

/*
 * Is the cycle of @o to mark while the world runs?  Not without a conductor who can wait
 * while others mark.
 */
static bool concurrent(struct gca_arena *a, const struct gca_order *o)
{
	return a->concurrent && !o->lent && !o->stopped && !o->sweep_stopped &&
	       !(a->knob.debug & GCARENA_DEBUG_STOPPED);
}

/*
 * Inside a stop, @fresh: the begin stop.  Everything of 1d, 1e and 2 that is to be
 * done in it.
 */
static void mark_stopped(struct gca_arena *a, const struct gca_order *o, bool fresh)
{
	bool later = o->until == GCA_UNTIL_MARKING, lazy = o->lazy && fresh, ok = true;
	enum gca_work work = GCA_WORK_MARK;
	struct gca_meter meter = gca_meter_begin();
	bool marks = fresh || !later;
	struct gca_worker w;

	if (later || concurrent(a, o))
		work = GCA_WORK_ROOTS;
	else
		lazy = false;
	if (marks)
		gca_roots_open(a, !lazy, work == GCA_WORK_MARK || !fresh);
	gca_worker_init(&w, a, o->alone, GCA_MARK_COLLECT);
	w.may_fault = o->lent;
	if (fresh)
		snapshot(&w);
	else
		ok = gca_drain_rings(&w);
	if (ok && o->lent && marks)
		ok = gca_mark_by_self(&w, work);
	gca_worker_fini(&w);
	if (ok && !o->lent && marks && (work == GCA_WORK_MARK || gca_roots_left(a)))
		ok = gca_mark_by_workers(a, work);
	if (!ok)
		gca_cycle_void(a, GCARENA_VOID_KILLED);
	else if (fresh)
		gca_roots_later(a, lazy);
	if (ok && fresh && work == GCA_WORK_ROOTS && (!later || o->goes_on))
		gca_pace_begin(a);
	if (o->lent)
		gca_meter_end(a, &meter, GCA_MARK_COLLECT, w.waited_ns);
}

/*
 * The world runs again, nobody marks, and stacks have been left for later: workers take
 * those that they find before their threads do, and leave what they cannot scan just
 * now.  Not waited for if they get no processor: the next stop has the rest.
 */
#define CAPTURE_WAIT	2000000ULL	/* ns */

static void capture(struct gca_arena *a)
{
	gca_workers_do(a, GCA_WORK_ROOTS, gca_port_now() + CAPTURE_WAIT);
}

/* ------------------------------------------------------ mark termination, 3 */

static void ended(struct gca_arena *a, bool forced)
{
	struct gca_totals *t = &a->totals;

	WRITE_ONCE(t->cycles, t->cycles + 1);
	if (forced)
		WRITE_ONCE(t->forced, t->forced + 1);
	WRITE_ONCE(a->live_at_end, atomic64_read(&a->heap_live));
	WRITE_ONCE(a->ended, gca_port_now());
	gca_pace(a);
	set_phase(a, GCARENA_PHASE_OFF);
}

#define PEAK_DECAY	16	/* a peak is forgotten in some tens of cycles */

/* Inside the stop, marking complete. */
static void cycle_end(struct gca_arena *a, const struct gca_order *o, bool ran)
{
	u64 marked = atomic64_read(&a->cycle_marked), born;
	struct gca_mutator *m;
	u32 i, left;

	set_phase(a, GCARENA_PHASE_TERMINATION);
	if (checks(a, o))
		gca_check_run(a, ran);

	gca_pace_end(a, true);
	/* Less than none: spans lent before the cycle were handed back in it. */
	born = max_t(s64, atomic64_read(&a->heap_live) - (s64)a->live_at_begin, 0);
	list_for_each_entry(m, &a->mutators, link) {
		left = gca_slots_used(m);
		for (i = 0; (i = gca_slot_next(m, i, &left));)
			m->twin[i].charged = 0;
	}
	WRITE_ONCE(a->totals.live, marked);
	WRITE_ONCE(a->heap_peak, o->forced ? 0 :
		   max(a->live_at_begin, a->heap_peak - a->heap_peak / PEAK_DECAY));
	atomic64_set(&a->heap_live, marked + born);
	a->void_run = 0;

	atomic64_set(&a->unswept, atomic64_read(&a->nr_spans));
	WRITE_ONCE(a->sweepgen, a->sweepgen + 1);
	gca_central_rotate(a);
	ended(a, o->forced);
	gca_port_trace(a, GCA_TRACE_CYCLE_END, a->totals.cycles, marked);
}

/* Inside the stop, the cycle void: throw its work away. */
static void cycle_undo(struct gca_arena *a, bool forced)
{
	work_discard(a);
	gca_pace_end(a, false);
	a->marks_dirty = true;
	a->void_run++;
	WRITE_ONCE(a->totals.voided, a->totals.voided + 1);
	WRITE_ONCE(a->totals.last_void, a->void_reason);
	ended(a, forced);
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
	gca_assist_wake(a);
}

static void sweep_by_workers(struct gca_arena *a)
{
	if (gca_port_crew_get(a))
		return;
	gca_workers_do(a, GCA_WORK_SWEEP, a->deadline);
	gca_port_crew_put(a);
}

/* 4. */
static int sweep(struct gca_arena *a, bool lent)
{
	int err;

	if (!lent)
		sweep_by_workers(a);
	err = gca_sweep_finish(a);
	gca_port_trace(a, GCA_TRACE_SWEEP_DONE, a->totals.cycles, atomic64_read(&a->totals.freed));
	/* The rest is swept later. */
	return err == -EINTR || err == -ECANCELED ? 0 : err;
}

/** gca_sweep_there() - is there anything for gca_sweep_idle()? */
bool gca_sweep_there(struct gca_arena *a)
{
	return READ_ONCE(a->phase) == GCARENA_PHASE_OFF && atomic64_read(&a->unswept) > 0;
}

#define IDLE_PATIENCE	1000000000ULL	/* ns */

/**
 * gca_sweep_idle() - sweep what a cycle has left, on time that nobody wants
 * @a: arena; the caller is the port's coordinator, holds nothing, and has nothing else to do
 *
 * Returns when all is swept, or after a while, or when the port has something else for its
 * coordinator: that comes first, and what threads need they sweep themselves (gca_sweep_pay()).
 * Was there no idle time at all, one worker does it from then on.  Return: false if there are no
 * workers.
 */
bool gca_sweep_idle(struct gca_arena *a)
{
	u64 until = gca_port_now() + IDLE_PATIENCE;
	s64 unswept = atomic64_read(&a->unswept);

	if (gca_port_crew_get(a))
		return false;
	gca_workers_do(a, GCA_WORK_SWEEP_IDLE, until);
	gca_port_crew_put(a);
	if (gca_sweep_there(a)) {
		if (gca_port_now() > until && atomic64_read(&a->unswept) == unswept)
			WRITE_ONCE(a->sweep_starves, true);
		return true;
	}
	WRITE_ONCE(a->sweep_starves, false);
	/* What goes with its completion. */
	if (!gca_sweep_finish(a))
		gca_port_trace(a, GCA_TRACE_SWEEP_DONE, a->totals.cycles,
			       atomic64_read(&a->totals.freed));
	return true;
}

static void set_deadline(struct gca_arena *a, const struct gca_order *o)
{
	u64 deadline;

	if (check_add_overflow(gca_port_now(), o->timeout_ns, &deadline))
		deadline = U64_MAX;
	WRITE_ONCE(a->deadline, deadline);
}

/* Of a stop that has just ended: Go's tSweepTerm, tMark, tMarkTerm, tEnd. */
static void times(struct gca_arena *a, bool fresh)
{
	struct gca_totals *t = &a->totals;

	if (fresh) {
		WRITE_ONCE(t->begin_stop_ns, t->stop_ns_last);
		WRITE_ONCE(t->marking_ns, 0);
		WRITE_ONCE(t->end_stop_ns, 0);
		a->marking_began = a->stop_began + t->stop_ns_last;
	} else {
		WRITE_ONCE(t->marking_ns, a->stop_began - a->marking_began);
		WRITE_ONCE(t->end_stop_ns, t->stop_ns_last);
	}
}

/*
 * Everything of a cycle that has to do with one stop.  Return: as gca_cycle_run(); 0 with
 * the phase still mark: there is more to be marked.
 */
static int run_step(struct gca_arena *a, const struct gca_order *o)
{
	bool fresh = a->phase == GCARENA_PHASE_OFF, ends = o->until != GCA_UNTIL_MARKING;
	int err;

	if (fresh) {
		err = cycle_begin(a, o);
	} else {
		err = checks(a, o) ? gca_check_prepare(a) : 0;
		if (!err)
			err = gca_stop_world(a, NULL);
		if (err == -ETIMEDOUT) {
			gca_cycle_abandon(a, GCARENA_VOID_AGE, o->forced);
			return 0;
		}
	}
	if (err)
		return err;

	mark_stopped(a, o, fresh);
	/* In a stop no ring fills: nothing left is nothing more to come. */
	if (ends && concurrent(a, o) && gca_work_left(a, 0))
		ends = false;
	if (READ_ONCE(a->void_reason))
		cycle_undo(a, o->forced);
	else if (ends)
		cycle_end(a, o, !fresh);
	else if (!fresh && o->until != GCA_UNTIL_MARKING)
		WRITE_ONCE(a->totals.restarts, a->totals.restarts + 1);
	if (o->sweep_stopped && o->until == GCA_UNTIL_SWEPT && !READ_ONCE(a->void_reason))
		gca_sweep_stopped(a);
	gca_start_world(a);
	times(a, fresh);
	gca_assist_wake(a);
	if (a->phase == GCARENA_PHASE_OFF)
		gca_port_trace(a, GCA_TRACE_PACE, a->totals.cycles, READ_ONCE(a->heap_goal));
	if (o->lazy && o->until == GCA_UNTIL_MARKING && !o->lent && !concurrent(a, o) &&
	    !READ_ONCE(a->void_reason))
		capture(a);

	/* A void cycle's markers may be late: cycle_clear() waits for them first. */
	if (a->phase == GCARENA_PHASE_OFF && !a->marks_dirty)
		gca_roots_release(a);
	return 0;
}

/**
 * gca_cycle_run() - run a cycle, or a part of one, with the world stopped
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
	int err;

	set_deadline(a, o);
	err = run_step(a, o);
	if (err || o->until != GCA_UNTIL_SWEPT || a->void_reason)
		return err;
	return sweep(a, o->lent);
}

/* A step by itself; who has been lent has arranged for all of this. */
static int step(struct gca_arena *a, const struct gca_order *o)
{
	int err;

	if (o->lent)
		return run_step(a, o);
	err = gca_port_crew_get(a);
	if (err)
		return err;
	err = gca_port_step_begin(a);
	if (!err) {
		err = run_step(a, o);
		gca_port_step_end(a);
	}
	gca_port_crew_put(a);
	return err;
}

/* Mark while the world runs.  Return: 0, or as gca_port_crew_get() */
static int mark_between_steps(struct gca_arena *a)
{
	int err = gca_port_crew_get(a);

	if (err)
		return err;
	/* Not paced yet, or not for a while: what came meanwhile teaches nothing. */
	if (!a->pacer.marking || a->interrupted) {
		gca_gate_close(a);
		WRITE_ONCE(a->interrupted, false);
		gca_pace_begin(a);
		gca_gate_open(a);
	}
	gca_modes_begin(a);
	if (!gca_mark_running(a))
		gca_cycle_void(a, GCARENA_VOID_KILLED);
	gca_modes_end(a);
	gca_port_crew_put(a);
	return 0;
}

#define LIBRARY_TRIES	4	/* cycles begun anew in a row for a loaded library */

/*
 * 1, and be sure that no library came in before the begin stop.
 *
 * When one has, who looks keeps further ones out the next time, until it is asked again.
 * A thread that waits to load one may be one that cannot be held: so the stop is tried
 * once then, and all let go if it fails.  Who has not looked before the stop is not asked
 * after it: he may have come in between.
 */
static int begin(struct gca_arena *a, const struct gca_order *o)
{
	struct gca_order first = *o;
	unsigned int tries;
	bool begun, looks;
	int err, changed;

	first.until = GCA_UNTIL_MARKING;
	first.goes_on = o->until != GCA_UNTIL_MARKING;
	for (tries = 0; tries < LIBRARY_TRIES; tries++) {
		looks = gca_port_looks(a);
		first.once = looks && tries % 2;
		err = !looks ? 0 : gca_port_look(a, GCARENA_SERVE_REFRESH |
						 (first.once ? GCARENA_SERVE_HOLD : 0));
		if (err < 0)
			return err;
		err = step(a, &first);
		begun = !err && a->phase == GCARENA_PHASE_MARK;
		if (!begun && !first.once)
			return err;
		changed = looks ? gca_port_look(a, GCARENA_SERVE_COMPARE) : 0;
		if (begun && !changed)
			return 0;
		if (begun) {
			/* First: if we cannot, nobody else may finish it as if nothing was. */
			gca_cycle_void(a, changed < 0 ? GCARENA_VOID_AGE : GCARENA_VOID_LIBRARY);
			WRITE_ONCE(a->interrupted, true);
			if (gca_port_step_begin(a))
				return -EINTR;
			gca_cycle_abandon(a, a->void_reason, o->forced);
			gca_port_step_end(a);
		} else if (err != -EAGAIN) {
			return err;
		}
		if (changed < 0)
			return changed;
	}
	return err;	/* 0: void, the caller is told */
}

/* 2 and 3 of a cycle that has begun. */
static int finish(struct gca_arena *a, const struct gca_order *o)
{
	int err = 0;

	/* Once, and again as long as termination finds something to mark. */
	do {
		if (concurrent(a, o))
			err = mark_between_steps(a);
		if (!err)
			err = step(a, o);
	} while (!err && a->phase == GCARENA_PHASE_MARK);
	/* The owner was frozen, or has no workers any more: gca_cycle_wanted(). */
	if (a->phase == GCARENA_PHASE_MARK)
		WRITE_ONCE(a->interrupted, true);
	return err;
}

/*
 * May the begin stop be the only one?  With checkmark it is in every other cycle: its
 * stacks can be verified, those of a stop that comes later cannot.
 */
static bool at_once(struct gca_arena *a, const struct gca_order *o)
{
	if (o->lent || o->until == GCA_UNTIL_MARKING)
		return o->lent;
	if (checks(a, o) && READ_ONCE(a->totals.cycles) % 2)
		return true;
	return !concurrent(a, o) && !gca_port_looks(a);
}

/*
 * gca_collect() - a cycle that begins after the call (Go's runtime.GC())
 * @a: arena
 * @o: what to do.  Not lent: the caller is the port's coordinator, and holds nothing
 *
 * Finishes a cycle that is under way first; that is all, unless a full one is asked for.
 * Return: as gca_cycle_run(), gca_port_crew_get() and gca_port_look().
 */
int gca_collect(struct gca_arena *a, const struct gca_order *o)
{
	struct gca_order first = *o, whole = *o;
	int err = 0;

	WRITE_ONCE(a->tried, gca_port_now());
	set_deadline(a, o);
	if (a->phase != GCARENA_PHASE_OFF) {
		if (o->until == GCA_UNTIL_SWEPT)
			first.until = GCA_UNTIL_MARKED;
		err = o->until == GCA_UNTIL_MARKING ? step(a, o) : finish(a, &first);
		if (err || o->until != GCA_UNTIL_SWEPT)
			return err;
		set_deadline(a, o);
	}
	/* What the last one has left, if it is much: in the step one thread sweeps for all. */
	if (!o->lent && atomic64_read(&a->unswept) > SWEEP_ALONE) {
		sweep_by_workers(a);
		set_deadline(a, o);
	}
	if (at_once(a, o)) {
		whole.stopped = true;
		if (!o->lent)
			err = gca_port_look(a, GCARENA_SERVE_REFRESH);
		if (err >= 0)
			err = step(a, &whole);
	} else {
		err = begin(a, o);
		if (!err && o->until != GCA_UNTIL_MARKING && a->phase == GCARENA_PHASE_MARK)
			err = finish(a, o);
	}
	if (err || o->until != GCA_UNTIL_SWEPT || a->void_reason)
		return err;
	return sweep(a, o->lent);
}
