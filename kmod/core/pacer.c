// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * pacer.c: when a cycle begins.
 *
 * Decides nothing but that: goal and trigger.  By the clock nothing is decided here,
 * and nobody is made to wait.
 */
#include "cycle.h"

#define TRIGGER_MIN(x)	((x) / 10 * 7)
#define TRIGGER_MAX(x)	((x) / 20 * 19)

/*
 * Where between @live and @goal a cycle begins that the program runs beside, so that it
 * ends at the goal: earlier by what the program allocated in the last one and a quarter,
 * within bounds.  Go's gcController.trigger(), its runway as it was, not as it will be.
 */
static u64 trigger_of(struct gca_arena *a, u64 live, u64 goal)
{
	u64 runway = a->totals.cycles ? a->born + a->born / 4 : goal;

	return clamp(goal - min(goal, runway), live + TRIGGER_MIN(goal - live),
		     live + TRIGGER_MAX(goal - live));
}

/*
 * gca_pace() - when should the next cycle begin?
 *
 * After a cycle, or when a knob was turned.  Go's rule: the goal is live + live *
 * percent / 100, at least heap_min.  With the world stopped for marking the trigger
 * is the goal, and before it where the program runs on meanwhile.
 *
 * After void cycles the trigger moves away from what is live, twice as far each time,
 * so that a cycle which keeps failing does not eat the program (review-protocol D7).
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
	trigger = a->concurrent && goal > live ? trigger_of(a, live, goal) : goal;
	if (!percent)
		trigger = U64_MAX;
	WRITE_ONCE(a->heap_goal, goal);
	WRITE_ONCE(a->heap_trigger, trigger);
	WRITE_ONCE(a->control->heap_goal, goal);
	WRITE_ONCE(a->control->heap_trigger, trigger);
	WRITE_ONCE(a->control->heap_live, heap_live);
}

/** gca_cycle_wanted() - has the heap reached its trigger, or was a cycle left half done? */
bool gca_cycle_wanted(struct gca_arena *a)
{
	u64 live = atomic64_read(&a->heap_live), begin = READ_ONCE(a->live_at_begin);

	if (READ_ONCE(a->phase) == GCARENA_PHASE_OFF)
		return live >= READ_ONCE(a->heap_trigger);
	/* Somebody has begun one and lets it wait: it has grown as much again. */
	if (live >= begin && live - begin >= max(begin, READ_ONCE(a->heap_min)))
		return true;
	return READ_ONCE(a->interrupted);
}
