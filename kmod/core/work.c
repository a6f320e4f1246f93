// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * work.c: many hands: what workers and the pager do in a cycle, and how its
 * conductor knows that nothing is left to do.
 *
 * A cycle (cycle.c) is run by one thread.  Either that thread marks too, a *lent*
 * one; or it only says what is to be done (gca_arena.work) and the port's workers
 * come and do it, a slice at a time: root jobs, marking, or sweeping.  A worker
 * never faults.  What it could not read is scanned by the pager, a thread of the
 * owner's, which does so whenever there is something to scan.
 *
 * May sleep, but never in an operation.  Nothing here knows phases.
 */
#include "cycle.h"
#include "mark.h"
#include "workbuf.h"

#define SWEEP_SLICE	32	/* spans between looks at the time */

/*
 * gca_work_left() - is there a grey object, or a root job, anywhere?
 * @own: markers that the caller knows to have nothing
 *
 * Markers come and go, and one look at each place is not enough: a buffer can
 * travel from behind the reader to before it.  So: note how often a marker has
 * begun; see that none is at work; look everywhere; see that none has begun
 * since.  From the second step to the fourth nobody was marking, so nothing
 * moved, and the third step is a snapshot.  gca_worker_init() raises
 * markers_begun, then markers, each with a full barrier, before it takes
 * anything; who was counted before the second step and left before it has
 * published everything.
 *
 * Rings are not looked at: in a stop they have been drained.
 */
bool gca_work_left(struct gca_arena *a, int own)
{
	u64 begun = atomic64_read(&a->markers_begun);

	smp_mb();	/* pairs with the barriers in gca_worker_init() */
	if (atomic_read(&a->markers) > own)
		return true;
	smp_mb();	/* that they are gone, before what they left */
	if (atomic_read(&a->nr_full) || atomic_read(&a->nr_missed) ||
	    atomic_read(&a->overflowed) || (u32)atomic_read(&a->jobs_done) < a->nr_jobs)
		return true;
	smp_mb();	/* pairs with the barriers in gca_worker_init() */
	return atomic64_read(&a->markers_begun) != begun;
}

/** gca_work_there() - is there anything for one worker more? */
bool gca_work_there(struct gca_arena *a)
{
	bool jobs = gca_roots_there(a);

	switch (READ_ONCE(a->work)) {
	case GCA_WORK_ROOTS:
		return jobs;
	case GCA_WORK_MARK:
		return jobs || atomic_read(&a->nr_full) > 0 || atomic_read(&a->overflowed) > 0;
	case GCA_WORK_SWEEP:
	case GCA_WORK_SWEEP_IDLE:
		return atomic64_read(&a->unswept) > 0;
	default:
		return false;
	}
}

/*
 * gca_work_idle() - nobody works, and there is nothing for a worker
 *
 * What is missed is not for workers: the conductor looks for it.
 */
bool gca_work_idle(struct gca_arena *a)
{
	u32 work = READ_ONCE(a->work);

	if (work == GCA_WORK_SWEEP || work == GCA_WORK_SWEEP_IDLE)
		return !gca_work_there(a);
	return !atomic_read(&a->markers) && !gca_work_there(a);
}

static bool sweep_slice(struct gca_arena *a, unsigned int mode, u64 end)
{
	bool more = true;
	u64 t = gca_port_now(), now = t;
	bool did = false;

	while (more && now < end && !gca_port_relax(a)) {
		/* Not by the gate's wait: a worker does not wait for a stop. */
		if (gca_op_try(a))
			break;
		more = gca_sweep_some(a, SWEEP_SLICE);
		gca_op_end(a);
		did = true;
		now = gca_port_now();
		if (mode == GCA_MARK_IDLE && gca_port_contended())
			break;
	}
	atomic64_add(now - t, &a->totals.sweep_ns);
	if (!more)
		gca_port_idle(a);
	return did;
}

/*
 * gca_work_some() - mark, if that is what gca_arena.work says
 * @a: arena
 * @mode: enum gca_mark_mode
 * @ns: how long
 * @budget: about how much, in bytes scanned; 0: no matter
 * @did: out: whether anything was found to do, or NULL; unchanged if that is not the work
 *
 * As gca_work_slice().  Return: bytes scanned.
 */
u64 gca_work_some(struct gca_arena *a, unsigned int mode, u64 ns, u64 budget, bool *did)
{
	u32 work = READ_ONCE(a->work);
	struct gca_meter meter;
	struct gca_worker w;
	bool objects;

	/* Not counted in vain: it would look as if there was work. */
	if (work != GCA_WORK_ROOTS && work != GCA_WORK_MARK)
		return 0;
	meter = gca_meter_begin();
	gca_worker_init(&w, a, false, mode);
	w.slice_end = meter.clock + ns;
	w.budget = budget;
	/* Counted now: the conductor waits for us, unless it has turned away before. */
	if (READ_ONCE(a->work) == work && gca_roots_mark(&w) && work == GCA_WORK_MARK)
		gca_drain(&w);
	objects = w.objects;
	gca_worker_fini(&w);
	gca_meter_end(a, &meter, mode, 0);
	if (did)
		*did = w.done || objects;
	return w.done;
}

/**
 * gca_work_slice() - what gca_arena.work says, for a while
 * @a: arena
 * @mode: enum gca_mark_mode
 * @ns: how long
 *
 * By a worker, able to read the owner's memory without faulting.  Everything
 * greyed is where others find it on return.
 *
 * Return: false if it found nothing to do.
 */
bool gca_work_slice(struct gca_arena *a, unsigned int mode, u64 ns)
{
	bool did = false;

	switch (READ_ONCE(a->work)) {
	case GCA_WORK_SWEEP:
	case GCA_WORK_SWEEP_IDLE:
		return sweep_slice(a, mode, gca_port_now() + ns);
	case GCA_WORK_NONE:
		return false;
	default:
		gca_work_some(a, mode, ns, 0, &did);
		return did;
	}
}

/** gca_missed_pending() - are there objects or root jobs to be scanned with faults on? */
bool gca_missed_pending(struct gca_arena *a)
{
	return atomic_read(&a->nr_missed) > 0 || atomic_read(&a->jobs_missed) > 0;
}

/*
 * gca_missed_scan() - scan what was missed in the caller's context, faults on
 *
 * For a thread of the owner: the pager, an assist, COLLECT's caller.  What is
 * found grey is marked on by the caller too, or left to others on the full list.
 * Return: 0, or -EINTR if the caller must give up.
 */
int gca_missed_scan(struct gca_arena *a, unsigned int mode)
{
	struct gca_worker w;
	struct gca_meter meter = gca_meter_begin();
	struct gca_wbuf *b;
	bool ok;

	gca_worker_init(&w, a, false, mode);
	w.faulting = true;
	/* Counted, then looked: who is late for a cycle that is void or over marks nothing. */
	ok = READ_ONCE(a->phase) == GCARENA_PHASE_MARK && !READ_ONCE(a->void_reason) &&
	     gca_roots_missed(&w);
	while (ok && (b = gca_wbuf_get_missed(a))) {
		while (ok && b->n) {
			ok = gca_scan_faulting(&w, b->obj[--b->n]);
			if (ok && w.buf && w.buf->n > GCA_WBUF_ENTRIES / 2)
				ok = gca_drain_local(&w);
		}
		if (b->n)
			gca_wbuf_put_missed(a, b);
		else
			gca_wbuf_put_empty(a, b);
		/* A list on pages that are not there: one hand-over, not one an object. */
		ok = ok && gca_drain_local(&w);
	}
	gca_worker_fini(&w);
	if (mode != GCA_MARK_COLLECT)	/* COLLECT's caller counts its whole stop */
		gca_meter_end(a, &meter, mode, 0);
	return ok ? 0 : -EINTR;
}
