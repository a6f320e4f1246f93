// SPDX-License-Identifier: GPL-2.0-only
/*
 * lent.c: COLLECT: a cycle is asked for; without workers the caller runs it and marks.
 *
 * Any thread of the owner's may ask, attached or not; the attached ones are held by
 * stop.c, the caller by being inside this call.
 *
 * Then it takes conduct_lock and cycle_lock for the whole cycle: it marks, faults
 * and waits for the pager under them.  The coordinator may be between two steps of a cycle of
 * its own, where it holds the first only: it cannot know of another's stop.
 * The algorithm is core/cycle.c; nothing here may know it.
 */
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "glue.h"

#define GCA_COLLECT_ALL	(GCARENA_COLLECT_ASYNC | GCARENA_COLLECT_UNTIL_MARKING | \
			 GCARENA_COLLECT_UNTIL_MARKED | GCARENA_COLLECT_PACED | \
			 GCARENA_COLLECT_SWEEP_STOPPED | GCARENA_COLLECT_STOPPED)

static int gca_collect_clocked(struct gca_shell *s, const struct gca_order *o,
			       struct gcarena_collect *arg)
{
	struct gca_arena *a = s->a;
	int ret;

	lockdep_assert_held(&s->cycle_lock);
	ret = gca_threads_reap_clocked(s);
	if (ret)
		return ret;
	/* Many threads see the trigger reached; the first one's cycle is everybody's. */
	if (o->forced || gca_cycle_wanted(a)) {
		ret = gca_collect(a, o);
		arg->void_reason = READ_ONCE(a->void_reason);
	}
	arg->cycle = READ_ONCE(a->control->cycle);
	return ret;
}

/*
 * The coordinator may have it, and wait for a look of the pager's, who may be frozen already:
 * whoever waits here is to be frozen, too.
 */
static int gca_conduct_lock(struct gca_shell *s)
{
	while (!mutex_trylock(&s->conduct_lock)) {
		if (wait_event_killable_timeout(s->pager_wq, gca_shell_dying(s) ||
						gca_leaves_for_freezer(s), 1) < 0)
			return -EINTR;
		if (gca_shell_dying(s))
			return -ESRCH;
		if (gca_leaves_for_freezer(s))
			return -ERESTARTSYS;
	}
	return 0;
}

static int gca_collect_lent(struct gca_shell *s, const struct gca_order *order,
			    struct gcarena_collect *arg)
{
	struct gca_order o = *order;
	struct gcarena_stats st;
	int ret;

	o.lent = true;
	ret = gca_conduct_lock(s);
	if (ret)
		return ret;
	ret = mutex_lock_killable(&s->cycle_lock);
	if (!ret) {
		ret = gca_collect_clocked(s, &o, arg);
		mutex_unlock(&s->cycle_lock);
	}
	mutex_unlock(&s->conduct_lock);
	if (ret == -EINTR)
		return ret;
	gca_stats_take(s, &st);		/* else the coordinator has done it */
	gca_scavenge_look(s->a);
	return ret;
}

/*
 * gca_ioc_collect() - GCARENA_IOC_COLLECT
 *
 * Return: 0, also for a void cycle, which @result tells; -ENXIO before heap and
 * control page are mapped, -EAGAIN if root ranges kept changing, -ETIMEDOUT if a
 * thread, named by @blame, could not be held; -EINVAL, -ENOMEM, -ESRCH if the arena
 * died meanwhile, -EINTR if the caller is being killed.
 */
int gca_ioc_collect(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_collect *arg = &c->u.collect;
	struct gca_order o;
	int ret = -ENODEV;

	if (arg->flags & ~GCA_COLLECT_ALL || arg->__reserved ||
	    hweight32(arg->flags & ~GCARENA_COLLECT_PACED) > 1)
		return -EINVAL;
	if (!gca_mapped(s))
		return -ENXIO;
	if (arg->flags & GCARENA_COLLECT_ASYNC) {
		gca_cycle_ask(s->a);
		return 0;
	}
	o = gca_order_of(arg, gca_age_limit_ns());
	arg->void_reason = GCARENA_VOID_NONE;
	if (READ_ONCE(gca_workers) && !gca_must_lend(s) && !gca_coordinator_get(s->process))
		ret = gca_collect_wait(s, &o, arg);
	if (ret == -ENODEV)
		ret = gca_collect_lent(s, &o, arg);
	arg->blame = gca_blame(s);
	arg->result = arg->void_reason ? GCARENA_RESULT_VOID : GCARENA_RESULT_DONE;
	if (ret && gca_shell_dying(s))
		return -ESRCH;
	if (ret == -ETIMEDOUT && gca_call_out(c))	/* @blame */
		return -EFAULT;
	return ret;
}
