// SPDX-License-Identifier: GPL-2.0-only
/*
 * lent.c: COLLECT: the calling thread runs a cycle and marks in it.
 *
 * The world is stopped by construction: an arena has at most one attached
 * thread, and it is the caller, inside this call; or nobody is attached.  An
 * unattached thread that asks while somebody is attached is refused.
 *
 * Takes cycle_lock (killable) for the whole cycle: it marks, faults and waits for
 * the pager under it.  The algorithm is core/cycle.c; nothing here may know it.
 */
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "glue.h"

#define GCA_COLLECT_ALL	(GCARENA_COLLECT_ASYNC | GCARENA_COLLECT_UNTIL_MARKING | \
			 GCARENA_COLLECT_UNTIL_MARKED | GCARENA_COLLECT_PACED)

/*
 * No thread of the kernel's runs cycles yet: the owner is asked to, by
 * GCARENA_WANT_COLLECT in the flags of its next call.
 */
static int gca_collect_async(struct gca_shell *s)
{
	/* CONFIG keeps a request that it sees. */
	int ret = mutex_lock_killable(&s->lock);

	if (ret)
		return ret;
	WRITE_ONCE(s->a->heap_trigger, 0);
	mutex_unlock(&s->lock);
	return 0;
}

static int gca_collect_clocked(struct gca_shell *s, struct gcarena_collect *arg)
{
	struct gca_arena *a = s->a;
	enum gca_until until = GCA_UNTIL_SWEPT;
	int ret;

	lockdep_assert_held(&s->cycle_lock);
	ret = gca_thread_reap_clocked(s);
	if (ret)
		return ret;
	if (s->thread && s->thread->task != current)
		return -EBUSY;
	if (arg->flags & GCARENA_COLLECT_UNTIL_MARKING)
		until = GCA_UNTIL_MARKING;
	else if (arg->flags & GCARENA_COLLECT_UNTIL_MARKED)
		until = GCA_UNTIL_MARKED;
	ret = gca_collect(a, until, !(arg->flags & GCARENA_COLLECT_PACED),
			  arg->timeout_ns ?: (u64)READ_ONCE(gca_age_limit_ms) * NSEC_PER_MSEC);
	if (ret)
		return ret;
	arg->cycle = READ_ONCE(a->control->cycle);
	arg->void_reason = READ_ONCE(a->void_reason);
	arg->result = arg->void_reason ? GCARENA_RESULT_VOID : GCARENA_RESULT_DONE;
	return 0;
}

/*
 * gca_ioc_collect() - GCARENA_IOC_COLLECT
 *
 * Return: 0, also for a void cycle, which @result tells; -ENXIO before heap and
 * control page are mapped, -EBUSY if another thread is attached, -EAGAIN if root
 * ranges kept changing, -EINVAL, -ENOMEM, -ESRCH if the arena died meanwhile, -EINTR
 * if the caller is being killed.
 */
int gca_ioc_collect(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_collect *arg = &c->u.collect;
	struct gcarena_stats st;
	bool mapped;
	int ret;

	if (arg->flags & ~GCA_COLLECT_ALL ||
	    hweight32(arg->flags & ~GCARENA_COLLECT_PACED) > 1)
		return -EINVAL;
	spin_lock(&s->map_lock);
	mapped = s->heap_mapped && s->control_mapped;
	spin_unlock(&s->map_lock);
	if (!mapped)
		return -ENXIO;
	if (arg->flags & GCARENA_COLLECT_ASYNC)
		return gca_collect_async(s);
	ret = mutex_lock_killable(&s->cycle_lock);
	if (ret)
		return ret;
	ret = gca_collect_clocked(s, arg);
	mutex_unlock(&s->cycle_lock);
	gca_stats_take(s, &st);
	gca_serve_wanted(s);
	if (ret && gca_shell_dying(s))
		return -ESRCH;
	return ret;
}
