// SPDX-License-Identifier: GPL-2.0-only
/*
 * coordinator.c: the thread that runs a process's cycles, and those who ask it to.
 *
 * One kernel thread a process, "gca/PID", made when the first cycle is wanted.  It
 * calls core/cycle.c, one arena after the other; requests (COLLECT) and kicks (the
 * trigger was reached) only wake it.  It is not in the owner's cgroups and reads
 * none of the owner's memory: what costs is done by workers (worker.c) and by the
 * pager (serve.c); what the coordinator does itself is counted (coordinator_ns).
 *
 * A cycle that nobody waits for ends with marking; when there is nothing else to do what it has
 * left is swept, on idle time.
 *
 * A cycle holds cycle_lock for its steps only, not while workers mark: threads attach
 * and detach between them.
 *
 * COLLECT's caller waits for its request; without a pager it stands in for one.
 *
 * Locks: process->lock to walk the arenas; shell->req_lock (spin) for requests;
 * cycle_lock for the time of a step.  With nothing held it makes workers and asks
 * the pager.
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "glue.h"

/**
 * struct gca_waiting - a COLLECT that waits, and may be killed
 * @refs: the caller and, until it is done, the queue
 * @core: what it asks for; in gca_shell.requests until the coordinator takes it
 */
struct gca_waiting {
	refcount_t refs;
	struct gca_request core;
};

static void gca_waiting_put(struct gca_waiting *w)
{
	if (refcount_dec_and_test(&w->refs))
		kfree(w);
}

/* ----------------------------------------------------------------------- a cycle */

int gca_port_step_begin(struct gca_arena *a)
{
	struct gca_shell *s = gca_shell_of(a);
	int ret;

	/* Killable, though nobody kills it: its holder may wait for a page for long. */
	ret = mutex_lock_killable(&s->cycle_lock);
	if (ret)
		return ret;
	ret = gca_threads_reap_clocked(s);
	if (ret)
		mutex_unlock(&s->cycle_lock);
	return ret;
}

void gca_port_step_end(struct gca_arena *a)
{
	mutex_unlock(&gca_shell_of(a)->cycle_lock);
}

/*
 * What the coordinator does by itself is charged to nobody.  So for nine times as long it begins
 * no cycle of this process but those that a heap needs.  It is not asleep meanwhile: what else
 * there is to do is done.
 */
#define GCA_REST	9
#define GCA_REST_MOST	(100ULL * NSEC_PER_SEC)
#define GCA_REST_LOOK	(HZ / 100)

void gca_port_alone(struct gca_arena *a, bool begins)
{
	struct gca_process *p = gca_shell_of(a)->process;
	u64 used = current->se.sum_exec_runtime, now;

	if (begins) {
		p->alone_since = used;
		return;
	}
	now = ktime_get_ns();
	WRITE_ONCE(p->rest_until, min(now + GCA_REST_MOST, max(now, p->rest_until) +
				      GCA_REST * (used - p->alone_since)));
}

static bool gca_rests(struct gca_shell *s)
{
	return ktime_get_ns() < READ_ONCE(s->process->rest_until) && !gca_cycle_needed(s->a);
}

/* Checkmark reads in the owner's context. */
static int gca_run_blind_or_not(struct gca_shell *s, struct gca_order *o)
{
	int ret;

	o->blind = !s->privileged || !gca_checks(s->a);
	if (o->blind)
		return gca_collect(s->a, o);
	if (!mmget_not_zero(s->mm))
		return -ESRCH;
	kthread_use_mm(s->mm);
	ret = gca_collect(s->a, o);
	kthread_unuse_mm(s->mm);
	mmput_async(s->mm);
	return ret;
}

/* What a cycle allocates is the owner's. */
static int gca_run_for_owner(struct gca_shell *s, struct gca_order *o)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(s->mm), *old;
	int ret;

	old = set_active_memcg(memcg);
	ret = mutex_lock_killable(&s->conduct_lock);	/* as in gca_port_step_begin() */
	if (!ret) {
		ret = gca_run_blind_or_not(s, o);
		mutex_unlock(&s->conduct_lock);
	}
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	return ret;
}

/* --------------------------------------------------------------------- requests */

static bool gca_waiting_take(struct gca_shell *s, struct list_head *taken, struct gca_order *o)
{
	bool some;

	spin_lock(&s->req_lock);
	some = gca_requests_take(&s->requests, taken, o);
	spin_unlock(&s->req_lock);
	return some;
}

/* @ran: there was a cycle for them. */
static void gca_waiting_done(struct gca_shell *s, struct list_head *taken, int ret, bool ran)
{
	struct gca_waiting *w, *next;

	list_for_each_entry_safe(w, next, taken, core.link) {
		gca_request_done(s->a, &w->core, ret, ran);
		gca_waiting_put(w);
	}
	wake_up_all(&s->pager_wq);
}

/* Its owner was frozen before the cycle had all threads: when it goes on. */
static void gca_waiting_again(struct gca_shell *s, struct list_head *taken)
{
	if (list_empty(taken)) {
		WRITE_ONCE(s->kicked, true);
		return;
	}
	spin_lock(&s->req_lock);
	list_splice_init(taken, &s->requests);
	spin_unlock(&s->req_lock);
}

/* gca_requests_end() - the arena has died: what the coordinator has not taken is nobody's */
void gca_requests_end(struct gca_shell *s)
{
	struct gca_order o;
	LIST_HEAD(taken);

	while (gca_waiting_take(s, &taken, &o))
		gca_waiting_done(s, &taken, -ESRCH, false);
}

/* After each piece of work for an arena. */
static void gca_tell(struct gca_shell *s)
{
	struct gcarena_stats st;

	WRITE_ONCE(s->process->coordinator_ns, current->se.sum_exec_runtime);
	gca_stats_take(s, &st);
	gca_scavenge_look(s->a);
}

/* Everything that this arena wants now. */
static void gca_coordinate_arena(struct gca_shell *s)
{
	struct gca_order o;
	LIST_HEAD(taken);
	bool run;
	int ret;

	while (!gca_shell_dying(s) && !kthread_should_stop()) {
		if (gca_owner_parked(s->process)) {
			/* COLLECTs, which would keep it from being frozen. */
			wake_up_all(&s->pager_wq);
			schedule_timeout_idle(HZ / 20);
			try_to_freeze();
			continue;
		}
		if (gca_rests(s))
			break;
		if (!gca_waiting_take(s, &taken, &o)) {
			if (!xchg(&s->kicked, false) || !gca_cycle_wanted(s->a))
				break;
			o = gca_order_paced(gca_age_limit_ns());
		}
		/* A paced one that somebody else's cycle has made unnecessary is done. */
		run = o.forced || gca_cycle_wanted(s->a);
		ret = run ? gca_run_for_owner(s, &o) : 0;
		gca_tell(s);
		if (ret == -ECANCELED)
			gca_waiting_again(s, &taken);
		else
			gca_waiting_done(s, &taken, gca_shell_dying(s) ? -ESRCH : ret, run);
		if (!ret && gca_cycle_asked(s->a))
			gca_port_kick(s->a);
	}
	if (gca_shell_dying(s)) {
		WRITE_ONCE(s->kicked, false);
		gca_requests_end(s);
	}
}

static bool gca_has_wishes(struct gca_shell *s)
{
	return !list_empty_careful(&s->requests) ||
	       (READ_ONCE(s->kicked) && !gca_shell_dying(s));
}

/* And they are for now.  A parked owner's, who would wait, are to see that it is. */
static bool gca_has_requests(struct gca_shell *s)
{
	return gca_has_wishes(s) && (!gca_rests(s) || gca_shell_dying(s) ||
				     gca_owner_parked(s->process));
}

static bool gca_has_unswept(struct gca_shell *s)
{
	return gca_sweep_there(s->a) && !gca_shell_dying(s) && !gca_must_lend(s);
}

/* An arena with something to do, kept from being freed; or NULL. */
static struct gca_shell *gca_next_arena(struct gca_process *p, bool (*has)(struct gca_shell *s))
{
	struct gca_shell *s, *found = NULL;

	mutex_lock(&p->lock);
	list_for_each_entry(s, &p->shells, link) {
		if (!has(s) || !gca_shell_tryget(s))
			continue;
		found = s;
		/* The next time it is another's turn. */
		list_move_tail(&s->link, &p->shells);
		break;
	}
	mutex_unlock(&p->lock);
	return found;
}

/** gca_coordinator_look() - what is wanted has been written; tell the coordinator */
void gca_coordinator_look(struct gca_process *p)
{
	smp_mb();	/* pairs with the one in gca_coordinate() */
	WRITE_ONCE(p->wanted, true);
	wake_up(&p->coord_wq);
}

#define GCA_TIMED_EVERY	HZ	/* of a process, at most: a cycle may fail */

/*
 * What nobody has asked for: knobs that root has turned, and a cycle whose time has come, if there
 * is somebody to serve it.  Return: in how many jiffies to look again
 */
static long gca_look_round(struct gca_process *p)
{
	bool soon = time_before(jiffies, p->timed + GCA_TIMED_EVERY) || gca_owner_parked(p) ||
		    !READ_ONCE(gca_workers);
	u64 due = MAX_SCHEDULE_TIMEOUT;
	struct gca_shell *s;

	mutex_lock(&p->lock);
	list_for_each_entry(s, &p->shells, link) {
		u64 ns;

		if (!gca_stats_wishes(s))
			due = min_t(u64, due, GCA_TIMED_EVERY);
		if (gca_has_wishes(s) && gca_rests(s))
			due = min_t(u64, due, GCA_REST_LOOK);
		ns = gca_cycle_due(s->a);
		if (!ns && !soon && gca_serve_present(s) && !gca_must_lend(s)) {
			p->timed = jiffies;
			WRITE_ONCE(s->kicked, true);
			WRITE_ONCE(p->wanted, true);
			soon = true;
		}
		if (ns != U64_MAX)
			due = min(due, max_t(u64, nsecs_to_jiffies(ns) + 1, GCA_TIMED_EVERY));
	}
	mutex_unlock(&p->lock);
	return due;
}

/* Sweep for a while, if there is anything.  @due: as gca_look_round() */
static long gca_sweep_round(struct gca_process *p, long due)
{
	struct gca_shell *s = gca_next_arena(p, gca_has_unswept);

	if (!s)
		return due;
	/* When it goes on, or there are workers. */
	due = min_t(long, due, GCA_TIMED_EVERY);
	if (!gca_owner_parked(p) && !gca_owner_exiting(p) && gca_sweep_idle(s->a)) {
		gca_tell(s);
		due = 1;	/* with none it would not be frozen, either */
	}
	gca_shell_put(s);
	return due;
}

static int gca_coordinate(void *data)
{
	struct gca_process *p = data;
	struct gca_shell *s;
	long due;

	set_freezable();
	while (!kthread_should_stop()) {
		due = gca_look_round(p);
		if (!READ_ONCE(p->wanted))
			due = gca_sweep_round(p, due);
		wait_event_freezable_timeout(p->coord_wq, kthread_should_stop() ||
					     READ_ONCE(p->wanted), due);
		WRITE_ONCE(p->wanted, false);
		smp_mb();	/* pairs with the one in gca_coordinator_look() */
		while (!kthread_should_stop() && (s = gca_next_arena(p, gca_has_requests))) {
			gca_coordinate_arena(s);
			gca_shell_put(s);
		}
	}
	return 0;
}

/*
 * gca_must_lend() - must the owner's own threads run its cycles?
 *
 * Checkmark runs in the coordinator, charged to nobody, and faults there: only for
 * those who may do worse anyway.
 */
bool gca_must_lend(struct gca_shell *s)
{
	return gca_checks(s->a) && !s->privileged;
}

bool gca_port_kick(struct gca_arena *a)
{
	struct gca_shell *s = gca_shell_of(a);
	struct gca_process *p = s->process;

	if (!READ_ONCE(p->nr_workers) || !gca_serve_present(s) || gca_must_lend(s))
		return false;
	if (!READ_ONCE(s->kicked) && !xchg(&s->kicked, true))
		gca_coordinator_look(p);
	return true;
}

/*
 * gca_collect_wait() - have the coordinator run @o, and wait for it
 *
 * Return: as gca_collect(); -EINTR if killed, -ESRCH if the arena died, -ENODEV if no
 * worker can be had: then the caller must mark.
 */
int gca_collect_wait(struct gca_shell *s, const struct gca_order *o, struct gcarena_collect *arg)
{
	struct gca_waiting *w = kzalloc(sizeof(*w), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!w)
		return -ENOMEM;
	refcount_set(&w->refs, 2);
	w->core.order = *o;
	gca_stand_in_begin(s);	/* before the cycle can miss anything */
	spin_lock(&s->req_lock);
	list_add_tail(&w->core.link, &s->requests);
	spin_unlock(&s->req_lock);
	gca_coordinator_look(s->process);

	ret = gca_stand_in(s, &w->core.done);
	/* acquire: pairs with gca_request_done() */
	if (smp_load_acquire(&w->core.done)) {
		ret = w->core.ret;
		arg->cycle = w->core.cycle;
		arg->void_reason = w->core.void_reason;
	}
	gca_waiting_put(w);
	return ret;
}

/**
 * gca_coordinator_get() - the process has one from here on
 * @p: process
 *
 * Return: 0, or the errno of kthread_create().
 */
int gca_coordinator_get(struct gca_process *p)
{
	struct task_struct *t;
	int ret = 0;

	if (READ_ONCE(p->coordinator))
		return 0;
	gca_crew_lock();
	if (!p->coordinator) {
		t = kthread_create(gca_coordinate, p, "gca/%d", p->leader->tgid);
		if (IS_ERR(t)) {
			ret = PTR_ERR(t);
		} else {
			get_task_struct(t);
			WRITE_ONCE(p->coordinator, t);
			wake_up_process(t);
		}
	}
	gca_crew_unlock();
	return ret;
}

/** gca_coordinator_put() - the process's last arena has died; nothing is held */
void gca_coordinator_put(struct gca_process *p)
{
	if (!p->coordinator)
		return;
	kthread_stop(p->coordinator);
	put_task_struct(p->coordinator);
}
