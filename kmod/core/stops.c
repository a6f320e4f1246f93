// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * stops.c: the world stops and runs again, and how long that took.
 *
 * The port holds the threads (gca_port_stop()); here is what is the same for all ports:
 * the gate before it, the attempts and the time between them, the lengths of stops.
 * Nothing here knows what is done in a stop.
 */
#include "cycle.h"

#define STOP_WAIT_MAX	100000000ULL	/* of one attempt, ns */
#define BACKOFF		10		/* times what the attempt cost the world */
#define BACKOFF_MAX	1000000000ULL
#define TELL_AFTER	1000000000ULL	/* from the first attempt that failed to the last, ns */
#define FORGOTTEN	10000000000ULL	/* between two: what was before is another story */

/* An attempt has failed, which might have taken until @wait.  Return: 0: try again. */
static int postpone(struct gca_arena *a, u64 wait, bool soon)
{
	u64 now = gca_port_now();
	int err;

	WRITE_ONCE(a->totals.postponed, a->totals.postponed + 1);
	a->stop_patience = min(2 * wait, STOP_WAIT_MAX);
	if (!a->postponed_since || a->stop_began > a->postponed_last + FORGOTTEN) {
		WRITE_ONCE(a->postponed_told, 0);
		WRITE_ONCE(a->postponed_since, a->stop_began);
	}
	WRITE_ONCE(a->postponed_last, now);
	if (now > a->deadline)
		return -ETIMEDOUT;
	err = gca_port_backoff(a, min(BACKOFF * (now - a->stop_began), BACKOFF_MAX));
	return !err && soon ? -ETIMEDOUT : err;
}

/*
 * gca_stop_world() - hold all threads, trying again until they are
 * @o: how patiently, for a begin stop; NULL: until the age limit
 *
 * Return: 0 with the world stopped; else it runs: -ETIMEDOUT if some thread was not
 * held within the age limit, or soon, if that was wanted; or what gca_port_stop() and
 * gca_port_backoff() return.
 */
int gca_stop_world(struct gca_arena *a, const struct gca_order *o)
{
	struct gca_totals *t = &a->totals;
	u64 wait, ns;
	int err;

	for (;;) {
		wait = max(a->stop_wait, a->stop_patience);
		gca_gate_close(a);
		a->stop_began = gca_port_now();
		gca_port_trace(a, GCA_TRACE_STOP_BEGIN, t->cycles, a->nr_mutators);
		err = gca_port_stop(a, a->stop_began + wait);
		if (!err)
			break;
		gca_gate_open(a);
		if (err == -EAGAIN && !(o && o->once))
			err = postpone(a, wait, o && o->soon);
		if (err)
			return err;
	}
	WRITE_ONCE(a->postponed_since, 0);
	a->stop_patience = 0;
	a->stop_cpu = gca_pace_cpu(a);
	ns = gca_port_now() - a->stop_began;
	WRITE_ONCE(t->hold_ns_total, t->hold_ns_total + ns);
	if (ns > t->hold_ns_max)
		WRITE_ONCE(t->hold_ns_max, ns);
	return 0;
}

/** gca_stop_postponed() - how long, ns, have all attempts at a stop failed; 0: the last has not */
u64 gca_stop_postponed(struct gca_arena *a)
{
	u64 since = READ_ONCE(a->postponed_since), last = READ_ONCE(a->postponed_last);

	return since && last > since ? last - since : 0;
}

/*
 * gca_stop_tell() - has the owner to be told that the world cannot be stopped?
 *
 * Who blocks the stop signal, say, holds up all cycles, and the heap grows: nobody would know
 * why.  Once, until a stop has succeeded.
 */
bool gca_stop_tell(struct gca_arena *a)
{
	return unlikely(gca_stop_postponed(a) >= TELL_AFTER) &&
	       !READ_ONCE(a->postponed_told) && !xchg(&a->postponed_told, 1);
}

/*
 * The control page's ring of stops.  Its one writer is the conductor of a cycle: cycles run one
 * after another.
 */
static void publish_pause(struct gca_arena *a, u64 end, u64 ns)
{
	struct gcarena_control *c = a->control;
	u64 i = a->totals.stop.n - 1;

	smp_wmb();	/* the last store of pauses: who reads these sees that, too */
	WRITE_ONCE(c->pause[i % GCARENA_PAUSES].end, end);
	WRITE_ONCE(c->pause[i % GCARENA_PAUSES].ns, ns);
	smp_store_release(&c->pauses, i + 1);	/* pairs with gca_pauses() */
}

void gca_start_world(struct gca_arena *a)
{
	u64 ns = gca_port_now() - a->stop_began, cpu = gca_pace_cpu(a);
	struct gca_totals *t = &a->totals;
	u64 end;

	/* Until now: while the last threads are let go the first ones run. */
	gca_pace_stop(a, ns, cpu - min(cpu, a->stop_cpu));
	gca_port_start(a);
	gca_gate_open(a);
	end = gca_port_now();
	ns = end - a->stop_began;
	gca_hist_add(&t->stop, ns);
	publish_pause(a, end, ns);
	WRITE_ONCE(t->stop_ns_last, ns);
	gca_port_trace(a, GCA_TRACE_STOP_END, t->cycles, ns);
}
