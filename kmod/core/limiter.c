// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * limiter.c: a program whose heap does not fit in its memory limit, or that allocates faster
 * than can be marked, could spend all its time on collecting.  Go's mgclimit.go: a leaky
 * bucket.  Time of collecting flows in, time of the program flows out, so that with half and
 * half it stands still; what a stop takes from all processors flows in, too.  When it is full
 * threads need not pay any more (assist.c) and memory may grow, beyond its limit, too: better
 * more memory than no progress.
 *
 * The fill is never below zero: a long quiet time earns no credit.  There is no
 * hysteresis: the first update that lets something out ends it.
 *
 * Go estimates that workers take a quarter, and takes idle processors out of the sum.  Here
 * both times are measured: what was idle is in neither.
 */
#include "limiter.h"

#define TIME_MAX	(1ULL << 56)	/* ns: two years */

static void set_limiting(struct gca_limiter *l, bool limiting)
{
	if (limiting && !l->limiting)
		WRITE_ONCE(l->times, l->times + 1);
	WRITE_ONCE(l->limiting, limiting);
}

static void accumulate(struct gca_limiter *l, u64 in, u64 out)
{
	u64 change;

	if (in > out) {
		change = in - out;
		if (change < l->capacity - l->fill) {
			l->fill += change;
			set_limiting(l, false);
			return;
		}
		l->overflow += change - (l->capacity - l->fill);
		l->fill = l->capacity;
		set_limiting(l, true);
	} else if (in < out) {
		l->fill -= min(out - in, l->fill);
		set_limiting(l, false);
	}
}

/** gca_limiter_resize() - the owner may use so many processors, in thousandths */
void gca_limiter_resize(struct gca_limiter *l, u64 cpus_milli)
{
	l->capacity = max(cpus_milli, 1ULL) * 1000000;
	l->fill = min(l->fill, l->capacity);
	set_limiting(l, l->fill == l->capacity);
}

/** gca_limiter_due() - is it time for an update, and the caller's to make it?  Needs no lock */
bool gca_limiter_due(struct gca_limiter *l, u64 now)
{
	u64 last = READ_ONCE(l->last);

	return now > last && now - last > GCA_LIMITER_EVERY && cmpxchg(&l->last, last, now) == last;
}

/**
 * gca_limiter_update() - what has been done since the last update
 * @l: limiter
 * @gc: processor time of collecting, ns
 * @program: of the program
 * @percent: share that is allowed to collecting, 1 .. 100; 100: any
 */
void gca_limiter_update(struct gca_limiter *l, u64 gc, u64 program, u32 percent)
{
	gc = min(gc, TIME_MAX);
	program = min(program, TIME_MAX);
	if (percent >= 100) {
		l->fill = 0;
		set_limiting(l, false);
		return;
	}
	/* So that both are equal when the share is just what is allowed. */
	accumulate(l, gc, program / (100 - percent) * percent +
		   program % (100 - percent) * percent / (100 - percent));
}

/** gca_limiter_charge() - a stop has taken so much from all processors together */
void gca_limiter_charge(struct gca_limiter *l, u64 ns)
{
	accumulate(l, min(ns, TIME_MAX), 0);
}
