// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * pacer.c: goal, trigger, runway, and the price of memory while a cycle marks.
 *
 * Go's mgcpacer.go in integers.  The *goal* is what is live and a percentage of it and of
 * the roots, or less if a memory limit wants it so.  A cycle is to end there.  It begins at
 * the *trigger*, earlier than that by the *runway*: what the program will allocate while a
 * quarter of the processors mark what was marked the last time.  For that the last cycles'
 * ratio of bytes allocated to bytes scanned is kept (cons/mark), as it would have been with
 * a quarter of the processors marking, and nobody assisting; the largest counts, so that
 * cycles begin too early rather than too late.
 *
 * While a cycle marks, memory has a *price*: work that is left over bytes that are left
 * until the goal.  Who allocates owes it, and what workers do is credited to all (assist.c).
 * If more is found than was expected the goal moves on, to what would be the goal
 * if everything were live, but not beyond the goal that this cycle's end will set: the hard
 * goal.  Where the memory limit set it, it stays.
 *
 * Products are of 128 bits, and every quotient saturates: nonsense in is a bound out.
 */
#include "pacer.h"

#define TRIGGER_MIN(room)	((room) / 64 * 45)
#define TRIGGER_MAX(room)	((room) / 64 * 61)
#define TRIGGER_NEAR		(4ULL << 20)	/* not farther from the goal than this need be */
#define NO_PERCENT		100000ULL	/* stands for no bound where there must be one */
#define WORK_MIN		1000ULL

/** gca_mul_div() - @a * @b / @c, at most U64_MAX; @c 0 is taken for 1 */
u64 gca_mul_div(u64 a, u64 b, u64 c)
{
	u64 high = mul_u64_u64_shr(a, b, 64);

	c = max(c, 1ULL);
	return high >= c ? U64_MAX : mul_u64_u64_div_u64(a, b, c);
}

static u64 add(u64 a, u64 b)
{
	u64 sum;

	return check_add_overflow(a, b, &sum) ? U64_MAX : sum;
}

static u64 less(u64 a, u64 b)
{
	return a - min(a, b);
}

/* Work that the next cycle is expected to have while the program runs. */
static u64 expected(const struct gca_pacer *p)
{
	return less(add(p->heap_work, add(p->stack_work, p->globals)), p->early);
}

/**
 * gca_pacer_commit() - after a cycle, or when a knob was turned (Go's commit())
 * @p: pacer
 */
void gca_pacer_commit(struct gca_pacer *p)
{
	u64 ratio = 0, base = add(p->marked, add(p->stack_work, p->globals));
	unsigned int i;

	p->goal = U64_MAX;
	if (p->percent != U64_MAX)
		p->goal = max(add(p->marked, gca_mul_div(base, p->percent, 100)),
			      gca_mul_div(p->heap_min, p->percent, 100));
	for (i = 0; i < GCA_PACER_WINDOW; i++)
		ratio = max(ratio, p->cons_mark[i]);
	/* (1 - u) / u for a quarter */
	p->runway = gca_mul_div(gca_mul_div(ratio, 3, 1), expected(p), GCA_PACER_ONE);
}

/* Go's memoryLimitHeapGoal(): what is left for the heap by the limit, less some. */
static u64 limit_goal(const struct gca_pacer *p)
{
	u64 other = less(less(p->mapped, p->heap_free), p->heap_used);
	u64 over = less(p->mapped, p->limit), goal, headroom;

	if (add(other, over) >= p->limit)
		return p->marked;
	goal = p->limit - (other + over);
	headroom = max(goal / 100 * 3, GCA_HEADROOM_MIN);
	goal = goal < headroom || goal - headroom < headroom ? headroom : goal - headroom;
	return max(goal, p->marked);
}

/* Return: does the limit say what the goal is? */
static bool goal_of(const struct gca_pacer *p, u64 *goal)
{
	u64 limit = p->limit == U64_MAX ? U64_MAX : limit_goal(p);

	*goal = p->goal;
	if (limit < *goal) {
		*goal = limit;
		return true;
	}
	*goal = max(*goal, p->floor);
	if (p->marking)
		*goal = max(*goal, add(p->triggered, GCA_RUNWAY_MIN));
	return false;
}

/** gca_pacer_goal() - bytes live at which the next cycle, or the running one, should end */
u64 gca_pacer_goal(const struct gca_pacer *p)
{
	u64 goal;

	goal_of(p, &goal);
	return goal;
}

/**
 * gca_pacer_trigger() - bytes live at which the next cycle should begin (Go's trigger())
 * @p: pacer
 *
 * Not in the first seven tenths of the way to the goal: with marking nearly all the time
 * everything would be born marked.  Not in its last twentieth, unless that is more than
 * an empty heap has.
 */
u64 gca_pacer_trigger(const struct gca_pacer *p)
{
	u64 goal, low, high;
	bool limited = goal_of(p, &goal);

	if (p->marked >= goal || goal == U64_MAX)
		return goal;
	low = p->marked + TRIGGER_MIN(goal - p->marked);
	high = p->marked + TRIGGER_MAX(goal - p->marked);
	high = max(high, less(goal, TRIGGER_NEAR));
	if (!limited)
		low = min(max(low, p->floor), goal);
	return clamp(less(goal, p->runway), low, max(low, high));
}

/**
 * gca_pacer_begin() - a cycle marks, and the program runs
 * @p: pacer
 * @live: bytes
 * @scan: heap work, should all of them be live
 * @stack_max: stack work at most
 * @globals: of this cycle
 * @early: root work that has been done already
 */
void gca_pacer_begin(struct gca_pacer *p, u64 live, u64 scan, u64 stack_max, u64 globals,
		     u64 early)
{
	WRITE_ONCE(p->marking, true);
	p->triggered = live;
	p->scan = scan;
	p->stack_max = stack_max;
	p->globals = globals;
	p->early = min(early, add(stack_max, globals));
}

/**
 * gca_pacer_price() - what memory costs now (Go's revise())
 * @p: pacer, marking
 * @live: bytes
 * @work: done since gca_pacer_begin()
 */
struct gca_price gca_pacer_price(const struct gca_pacer *p, u64 live, u64 work)
{
	u64 percent = p->percent == U64_MAX ? NO_PERCENT : p->percent;
	u64 most = less(add(p->scan, add(p->stack_max, p->globals)), p->early);
	u64 expect = expected(p), goal, further;
	bool limited = goal_of(p, &goal);

	if (work > expect) {
		/*
		 * At the same pace, if everything should be live.  But a memory limit is one: in
		 * Go, without a percentage, this would move the goal anywhere.
		 */
		further = gca_mul_div(less(goal, p->triggered), most, expect);
		further = expect ? add(p->triggered, further) : U64_MAX;
		if (!limited)
			goal = min(further, gca_mul_div(goal, 100 + percent, 100));
		expect = most;
	}
	if (live > goal) {
		goal = gca_mul_div(goal, 11, 10);
		expect = most;
	}
	return (struct gca_price){
		.work = max(less(expect, work), WORK_MIN),
		.bytes = max(less(goal, live), 1ULL),
	};
}

/**
 * gca_pacer_end() - a cycle has ended (Go's endCycle() and resetLive())
 * @p: pacer
 * @c: what there was in it
 *
 * gca_pacer_commit() is to follow.
 */
void gca_pacer_end(struct gca_pacer *p, const struct gca_pacer_cycle *c)
{
	u64 work = less(add(c->heap, add(c->stack, c->globals)), p->early), assist, idle, ratio;

	if (p->marking && c->span_ns && c->live > p->triggered) {
		ratio = gca_mul_div(c->live - p->triggered, GCA_PACER_ONE, work);
		/*
		 * Workers that took more than a quarter did so in the place of threads that
		 * owed work.  By the clock all may be more than there was: not nearly all.
		 */
		assist = add(c->assist_ns, less(c->worker_ns, c->span_ns / 4));
		assist = min(assist, c->span_ns / 16 * 11);
		/* It could have been the program's. */
		idle = min(c->idle_ns, c->span_ns);
		ratio = gca_mul_div(ratio, add(c->span_ns / 4 + assist, idle),
				    c->span_ns / 4 * 3 - assist);
		memmove(&p->cons_mark[1], p->cons_mark,
			sizeof(p->cons_mark) - sizeof(p->cons_mark[0]));
		p->cons_mark[0] = ratio;
	}
	WRITE_ONCE(p->marking, false);
	p->marked = c->marked;
	p->heap_work = c->heap;
	p->stack_work = c->stack;
	p->globals = c->globals;
	p->early = min(p->early, add(c->stack, c->globals));
}
