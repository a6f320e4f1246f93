// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * modes.c: how much of the machine marking may take while the program runs.
 *
 * A quarter of the processors that the owner may use, or of what its share of time is worth, if
 * that is less (Go's gcBackgroundUtilization), and
 * whatever of the others nobody wants.  Each worker has one of Go's modes, for a turn:
 *
 *  dedicated	it marks for as long as there is work.  As many as are a quarter of the
 *		processors, rounded;
 *  fractional	it marks for a share of the time: what rounding left of the quarter.  It
 *		leaves when it has had 1.2 times its share, and comes back when it has had
 *		less than that;
 *  idle	it marks on a processor that is idle, and makes room at once for who wants
 *		it.  What it takes is not counted.
 *
 * Go has a worker a processor, and shares what rounding left among all of them.  Ours are
 * threads that the scheduler places where there is room: so one of them has the whole
 * of it.  A worker keeps no mode but asks each time; who is dedicated asks again at
 * once and mostly gets the same answer.
 *
 * Sweeping for which nobody waits is all done in mode idle; where there is none, or no idle time,
 * by one worker.
 *
 * In a stop none of this holds, nor when the heap has grown beyond its goal, which goes
 * before the share of the machine, nor while threads that owe work wait for it to be done
 * (assist.c), which leave their processors to it: all who can work do.  Nothing here sleeps, or
 * knows what a processor is: the port counts them, and says when one is idle.
 */
#include "cycle.h"

/**
 * gca_cpus_milli() - processors that the owner may use, in thousandths; at least 1
 * @a: arena
 *
 * Those that it is allowed to run on, and no more than its share of time comes to (cpu.max).
 */
u32 gca_cpus_milli(struct gca_arena *a)
{
	u64 allowed = 1000ULL * max(READ_ONCE(a->processors), 1U);
	u64 quota = READ_ONCE(a->knob.cpus_milli);

	return quota ? min(quota, allowed) : allowed;
}

/**
 * gca_modes_share() - how a quarter of some processors is made up
 * @cpus: in thousandths, at least 1
 * @dedicated: out: whole workers
 * @fraction: out: of another one, in GCA_ONE parts
 *
 * Go's gcController.startCycle(): rounded to the nearest whole number, if that is within
 * 30 % of a quarter; else down.
 */
void gca_modes_share(u32 cpus, u32 *dedicated, u32 *fraction)
{
	u32 n = (cpus + 2000) / 4000, off = 4000 * n > cpus ? 4000 * n - cpus : cpus - 4000 * n;

	*fraction = 0;
	if (10ULL * off > 3ULL * cpus) {
		if (4000 * n > cpus)
			n--;
		*fraction = (u64)(cpus - 4000 * n) * (GCA_ONE / 4) / 1000;
	}
	*dedicated = n;
}

#define TIME_MAX	(1ULL << 44)	/* five hours: what is longer need not be exact */

/**
 * gca_modes_wait() - until when must a fractional worker wait?
 * @fraction: its share, in GCA_ONE parts
 * @had: ns for which it has marked
 * @elapsed: ns since marking began
 * @going_on: it marks now, and asks whether to leave
 *
 * Return: ns; 0: it may mark.
 */
u64 gca_modes_wait(u32 fraction, u64 had, u64 elapsed, bool going_on)
{
	u64 share, due;

	had = min(had, TIME_MAX);
	elapsed = min(elapsed, TIME_MAX);
	share = elapsed * fraction;
	if (had * GCA_ONE <= (going_on ? share / 5 * 6 : share))
		return 0;
	due = had * GCA_ONE / max(fraction, 1U);
	return due > elapsed ? due - elapsed : 0;
}

/* gca_modes_begin() - workers mark while the world runs, from now on */
void gca_modes_begin(struct gca_arena *a)
{
	struct gca_modes *m = &a->modes;
	u32 dedicated, fraction;

	gca_modes_share(gca_cpus_milli(a), &dedicated, &fraction);
	/* One of the last cycle may be reading: whatever it sees is good for a slice. */
	WRITE_ONCE(m->dedicated, dedicated);
	WRITE_ONCE(m->fraction, fraction);
	atomic64_set(&m->fractional_ns, 0);
	WRITE_ONCE(m->began, gca_port_now());
	smp_store_release(&m->limited, true);	/* pairs with gca_turn_begin() */
}

void gca_modes_end(struct gca_arena *a)
{
	WRITE_ONCE(a->modes.limited, false);
}

static bool claim(struct gca_turn *t, atomic_t *count, u32 limit, enum gca_mark_mode mode)
{
	u32 n = atomic_read(count), old;

	/* Never above the limit, not even for a moment: another would be turned away. */
	do {
		if (n >= limit)
			return false;
		old = n;
		n = atomic_cmpxchg(count, old, old + 1);
	} while (n != old);
	t->count = count;
	t->mode = mode;
	return true;
}

/**
 * gca_turn_begin() - may this worker mark now, and how?
 * @a: arena
 * @t: the worker's, zeroed before the first time
 *
 * Return: false: it may not.  Else in mode @t->mode for a slice, then gca_turn_end(); in
 * mode idle if the port finds the processor idle.  @t->wait: how long until it may mark
 * in another mode, at the earliest.
 *
 * A plan that is replaced meanwhile does no harm: what is claimed is counted where it is
 * given back, and a fraction that is charged to the wrong cycle is a slice.
 */
bool gca_turn_begin(struct gca_arena *a, struct gca_turn *t)
{
	struct gca_modes *m = &a->modes;
	bool going_on = t->mode == GCA_MARK_FRACTIONAL;

	t->count = NULL;
	t->wait = 0;
	t->began = gca_port_now();
	t->mode = GCA_MARK_DEDICATED;
	if (READ_ONCE(a->work) == GCA_WORK_SWEEP_IDLE) {
		t->wait = GCA_TURN_WAIT;
		if (!READ_ONCE(a->marks_idle) || READ_ONCE(a->sweep_starves))
			return claim(t, &m->nr_dedicated, 1, GCA_MARK_DEDICATED);
		t->mode = GCA_MARK_IDLE;
		return true;
	}
	if (!smp_load_acquire(&m->limited))	/* pairs with gca_modes_begin() */
		return true;
	if (READ_ONCE(a->nr_payees))
		return true;
	if (READ_ONCE(a->has_goal) && !READ_ONCE(a->limiter.limiting) &&
	    (u64)atomic64_read(&a->heap_live) >= READ_ONCE(a->heap_goal))
		return true;
	if (claim(t, &m->nr_dedicated, READ_ONCE(m->dedicated), GCA_MARK_DEDICATED))
		return true;
	t->wait = GCA_TURN_WAIT;
	if (READ_ONCE(m->fraction)) {
		t->wait = gca_modes_wait(READ_ONCE(m->fraction), atomic64_read(&m->fractional_ns),
					 t->began - min(t->began, READ_ONCE(m->began)), going_on);
		if (!t->wait && claim(t, &m->nr_fractional, 1, GCA_MARK_FRACTIONAL))
			return true;
		/* Who has the fraction asks again of itself. */
		t->wait = t->wait ? clamp(t->wait, GCA_TURN_WAIT / 100, GCA_TURN_WAIT) :
				    GCA_TURN_WAIT;
	}
	t->mode = GCA_MARK_IDLE;
	return READ_ONCE(a->marks_idle);
}

/** gca_turn_end() - the worker has marked, or found nothing to mark */
void gca_turn_end(struct gca_arena *a, struct gca_turn *t)
{
	if (t->count == &a->modes.nr_fractional)
		atomic64_add(gca_port_now() - t->began, &a->modes.fractional_ns);
	if (t->count)
		atomic_dec(t->count);
	t->count = NULL;
}
