// SPDX-License-Identifier: GPL-2.0-only
/*
 * worker.c: the kernel threads that mark and sweep for a process.
 *
 * A process has up to gca_workers of them, "gca/PID:wN", made when a cycle begins
 * that has work for them.  They are the owner's: in its cgroups, with its nice value
 * and class, so that what they cost is charged to it, and its cpuset and its quota
 * bind them.  They are not pinned: a cpuset's mask is always up to date that way.
 *
 * A worker works in slices of its own running time.  It borrows the owner's mm for
 * the slice (mm_users), so that an exiting owner waits for a slice at most; it reads
 * with page faults disabled and waits for nobody.  One is called before a stop, and waits for it
 * awake: gca_port_crew_ready().
 *
 * Whether it may, and in which mode, it asks the core each time (core/modes.c).  In mode
 * idle it is SCHED_IDLE, and goes to sleep when somebody else wants its processor, until
 * one is idle (idle.c), or its share of the time has come.  Between slices it has no work
 * in hand.  Who loses its processor inside a slice has: the coordinator looks for such
 * ones, and makes them ordinary threads again.
 *
 * Attaching a thread to cgroups can make every fork on the machine wait: creation
 * and attach go one at a time (crew_mutex) and at a bounded rate (attach_rate); who is
 * beyond it marks for itself.  An attached thread keeps its cgroup from being removed, and
 * from being seen as frozen, for it is never frozen itself.  So idle workers leave after
 * five minutes, within a second when the owner is frozen or stopped, and all of them at the owner's
 * death.  And because the kernel looks whether a cgroup is frozen only when a thread of
 * a user's freezes, a thread that is about to be frozen when it leaves a call of ours
 * dismisses them; the pager always does, and before that it waits for the end of a cycle.
 * When the machine is suspended they leave, too, rather than freeze in a cycle.
 *
 * Nothing but crew_mutex, and outside of it conduct_lock, for which callers of COLLECT wait, is
 * held across kthread_create() and cgroup_attach_task_all() (review-kernel D5); across
 * kthread_stop(), which waits for time of the owner's, not even the first.  This file may not
 * know what a cycle is.
 */
#include <linux/cgroup.h>
#include <linux/cpumask.h>
#include <linux/freezer.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/ratelimit.h>
#include <linux/sched/jobctl.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <uapi/linux/sched/types.h>

#include "glue.h"

#define GCA_OVERRUN		(2 * GCA_SLICE_NS)	/* of a slice that lost its processor */
#define GCA_WAIT_AWAKE		(200ULL * NSEC_PER_USEC)	/* most stops begin sooner, */
#define GCA_WAIT_THREAD		(2ULL * NSEC_PER_USEC)		/* with as much a thread */
#define GCA_WAIT_MOST		(1ULL * NSEC_PER_MSEC)
#define GCA_ROOTS_AWAKE		(100ULL * NSEC_PER_USEC)	/* most roots are scanned sooner */
#define GCA_NAP_MIN		(100ULL * NSEC_PER_USEC)
#define GCA_NAP_MAX		(6400ULL * NSEC_PER_USEC)
#define GCA_SLICE_NS		(500ULL * NSEC_PER_USEC)
#define GCA_IDLE_LOOK		HZ
#define GCA_IDLE_EXIT		(5 * 60)	/* looks */
#define GCA_LOOK_UP		(HZ / 20)
#define GCA_HEAP_PER_WORKER	(1ULL << 20)	/* of live heap, before another one is made */

static atomic_t gca_workers_total = ATOMIC_INIT(0);	/* gca_worker_count() */

static DEFINE_MUTEX(crew_mutex);

static struct ratelimit_state gca_attaches =
	RATELIMIT_STATE_INIT_FLAGS(gca_attaches, HZ, 8, RATELIMIT_MSG_ON_RELEASE);

/**
 * struct gca_worker_thread - one of them
 * @process: whose
 * @task: held by get_task_struct()
 * @left: it has gone, or is going, by itself; set under process->work_lock
 * @counted: in gca_workers_total, and its user's account; written under process->work_lock, and
 *	when it is not running
 * @policy: the owner's, for modes other than idle; SCHED_NORMAL or SCHED_IDLE
 * @nice: likewise
 * @turn: leave to mark
 * @idle_since: its slice in mode idle began, by gca_port_now(); 0: it is in none
 * @nap: how long it sleeps where its processor is wanted and another one is idle, ns
 * @offer: to processors that go idle
 */
struct gca_worker_thread {
	struct gca_process *process;
	struct task_struct *task;
	bool left, counted;
	int policy, nice;
	struct gca_turn turn;
	u64 idle_since;
	u64 nap;
	struct gca_offer offer;
};

void gca_crew_lock(void)
{
	mutex_lock(&crew_mutex);
}

void gca_crew_unlock(void)
{
	mutex_unlock(&crew_mutex);
}

static bool gca_follower_there(struct gca_process *p)
{
	struct gca_task *gt;
	bool found = false;
	int i;

	if (gca_task_ours(p->leader, p->mm))
		return false;
	spin_lock(&p->tasks_lock);
	hash_for_each(p->tasks, i, gt, link) {
		found = !same_thread_group(gt->task, p->leader) && gca_task_ours(gt->task, p->mm);
		if (found)
			break;		/* of both loops */
	}
	spin_unlock(&p->tasks_lock);
	return found;
}

/*
 * Has the memory passed to a thread group that did not make the first arena?  Looked up once a
 * millisecond: workers ask after each batch, and there may be many threads.
 */
static bool gca_owner_followed(struct gca_process *p)
{
	u64 seen = READ_ONCE(p->followed), now = ktime_get_ns() >> 20;

	if (seen >> 1 != now) {
		seen = now << 1 | gca_follower_there(p);
		WRITE_ONCE(p->followed, seen);
	}
	return seen & 1;
}

/** gca_owner_exiting() - is the owner being killed, or dumping core? */
bool gca_owner_exiting(struct gca_process *p)
{
	return unlikely(READ_ONCE(p->leader->signal->flags) & SIGNAL_GROUP_EXIT) &&
	       !gca_owner_followed(p);
}

/* The freezers pass over threads that have exited, and the first one may have, long ago. */
static bool gca_owner_frozen(struct gca_process *p)
{
	struct task_struct *t;
	bool frozen = false;

	rcu_read_lock();
	for_each_thread(p->leader, t) {
		if (READ_ONCE(t->flags) & PF_EXITING)
			continue;
		frozen = READ_ONCE(t->jobctl) & JOBCTL_TRAP_FREEZE || freezing(t);
		break;
	}
	rcu_read_unlock();
	return frozen;
}

/* gca_owner_parked() - frozen, alone or with the machine, or stopped: nothing is begun for it */
bool gca_owner_parked(struct gca_process *p)
{
	return READ_ONCE(p->leader->signal->flags) & SIGNAL_STOP_STOPPED || gca_owner_frozen(p);
}

/* ------------------------------------------------------------------------ the work */

/* The arena that has work, kept from being freed; or NULL. */
static struct gca_shell *gca_work_arena(struct gca_process *p)
{
	struct gca_shell *s;

	spin_lock(&p->work_lock);
	s = p->working;
	if (s && !gca_shell_tryget(s))
		s = NULL;
	spin_unlock(&p->work_lock);
	return s;
}

static bool gca_work_wanted(struct gca_process *p)
{
	struct gca_shell *s;
	bool there;

	spin_lock(&p->work_lock);
	s = p->working;
	there = s && gca_work_there(s->a);
	spin_unlock(&p->work_lock);
	return there;
}

static bool gca_slice(struct gca_shell *s, enum gca_mark_mode mode)
{
	struct mm_struct *mm = s->mm;
	bool did;

	if (!mmget_not_zero(mm))
		return false;
	kthread_use_mm(mm);
	did = gca_work_slice(s->a, mode, GCA_SLICE_NS);
	kthread_unuse_mm(mm);
	mmput_async(mm);
	return did;
}

/* By the worker itself, and by the coordinator for it.  Return: it was not so before */
static bool gca_worker_class(struct gca_worker_thread *w, int policy)
{
	struct sched_attr attr = {
		.size = sizeof(attr),
		.sched_policy = policy,
		.sched_nice = READ_ONCE(w->nice),
	};

	if (READ_ONCE(w->task->policy) == policy && task_nice(w->task) == attr.sched_nice)
		return false;
	sched_setattr_nocheck(w->task, &attr);
	return true;
}

/*
 * One slice, if it may mark just now.  Return: 1 if it found something to mark, 0 if not,
 * -EAGAIN: it has to wait, see gca_worker_pause().
 */
static int gca_worker_turn(struct gca_worker_thread *w, struct gca_shell *s)
{
	bool may = gca_turn_begin(s->a, &w->turn), did;

	if (may && w->turn.mode == GCA_MARK_IDLE) {
		if (READ_ONCE(w->process->hook) && !gca_idle_alone())
			return -EAGAIN;
		w->nap = GCA_NAP_MIN;
		/* First: it can be found wherever it loses its processor. */
		WRITE_ONCE(w->idle_since, gca_port_now());
		gca_worker_class(w, SCHED_IDLE);
	} else if (may) {
		gca_worker_class(w, READ_ONCE(w->policy));
	} else {
		return -EAGAIN;
	}
	did = gca_slice(s, w->turn.mode);
	gca_turn_end(s->a, &w->turn);
	/* So that it is not kept from asking again by who keeps it from marking. */
	if (READ_ONCE(w->process->hook))
		gca_worker_class(w, READ_ONCE(w->policy));
	WRITE_ONCE(w->idle_since, 0);
	return did;
}

/*
 * It may not mark just now: sleep until its share of the time has come, an idle processor
 * has been found for it, threads wait for it (@hurries as of before it asked), or there is
 * other work.
 */
static void gca_worker_pause(struct gca_worker_thread *w, u32 round, int hurries)
{
	struct gca_process *p = w->process;
	bool offers = w->turn.mode == GCA_MARK_IDLE && READ_ONCE(p->hook);
	u64 ns = w->turn.wait;

	if (offers) {
		atomic64_inc(&p->idle_yields);
		if (gca_idle_offer(&w->offer)) {
			/* The scheduler takes who wakes up to a processor that is idle. */
			ns = min(ns, w->nap);
			w->nap = min(2 * w->nap, GCA_NAP_MAX);
		}
	}
	wait_event_interruptible_hrtimeout(p->turn_wq, kthread_should_stop() ||
					   (offers && READ_ONCE(w->offer.taken)) ||
					   !READ_ONCE(p->working) ||
					   atomic_read(&p->hurries) != hurries ||
					   READ_ONCE(p->work_round) != round, ns_to_ktime(ns));
	if (offers && gca_idle_withdraw(&w->offer))
		atomic64_inc(&p->idle_kicks);
}

/* From GCA_CAME on: a worker has come, on processor summons - GCA_CAME. */
enum gca_summons { GCA_NOBODY, GCA_SUMMONED, GCA_CAME };

static bool gca_summoned(struct gca_process *p)
{
	return READ_ONCE(p->summons) == GCA_SUMMONED;
}

/* Does the coordinator wait for the processor of the caller, who waits for it? */
static bool gca_in_its_way(struct gca_process *p)
{
	struct task_struct *t = READ_ONCE(p->coordinator);

	return READ_ONCE(t->on_rq) && task_cpu(t) == raw_smp_processor_id();
}

/*
 * If it has been summoned it waits for the work awake, unless it is to give its processor away.
 * Return: it has been summoned
 */
static bool gca_worker_come(struct gca_process *p)
{
	u32 came = GCA_CAME + raw_smp_processor_id();

	if (!gca_summoned(p) || cmpxchg(&p->summons, GCA_SUMMONED, came) != GCA_SUMMONED)
		return false;
	wake_up(&p->coord_wq);
	while (!READ_ONCE(p->working) && READ_ONCE(p->summons) == came && !need_resched() &&
	       !gca_in_its_way(p) && gca_port_now() < READ_ONCE(p->awake_until))
		cpu_relax();
	return true;
}

/*
 * gca_port_crew_ready() - see core/port.h; by the coordinator, in a cycle: none of them leaves
 *
 * One that gets no processor within a tick is not waited for: then the stop will.  Where the owner
 * has less than two processors to wait awake would only be in the way.
 */
void gca_port_crew_ready(struct gca_arena *a)
{
	struct gca_process *p = gca_shell_of(a)->process;
	unsigned int i;
	u64 wait;

	for (i = 0; i < GCA_WORKERS_MAX && !p->worker[i]; i++)
		;
	if (i == GCA_WORKERS_MAX || gca_cpus_milli(a) < 2000)
		return;
	wait = min(GCA_WAIT_AWAKE + GCA_WAIT_THREAD * READ_ONCE(a->nr_mutators), GCA_WAIT_MOST);
	WRITE_ONCE(p->awake_until, gca_port_now() + wait);
	WRITE_ONCE(p->summons, GCA_SUMMONED);
	/* Not by work_wq, which would wake all.  A barrier; pairs with that of its wait */
	wake_up_process(p->worker[i]->task);
	wait_event_idle_timeout(p->coord_wq, !gca_summoned(p), 1);
	cmpxchg(&p->summons, GCA_SUMMONED, GCA_NOBODY);
}

/* Is there a reason to leave at once?  Not in a cycle: it counts on each of them. */
static bool gca_worker_unwanted(struct gca_process *p)
{
	return !READ_ONCE(p->in_cycle) && (gca_owner_parked(p) || freezing(current));
}

/* What a machine and a user have.  Pairs with gca_worker_uncount(). */
static void gca_worker_count(struct gca_worker_thread *w)
{
	w->counted = true;
	atomic_inc(&gca_workers_total);
	atomic_inc(&w->process->user->workers);
}

static void gca_worker_uncount(struct gca_worker_thread *w)
{
	if (!w->counted)
		return;
	w->counted = false;
	atomic_dec(&w->process->user->workers);
	atomic_dec(&gca_workers_total);
}

/* Pairs with gca_cycle_claim().  Return: false if a cycle has begun. */
static bool gca_worker_leave(struct gca_worker_thread *w)
{
	struct gca_process *p = w->process;

	spin_lock(&p->work_lock);
	if (!READ_ONCE(p->in_cycle)) {
		WRITE_ONCE(w->left, true);
		/* It may be there for a moment yet. */
		gca_worker_uncount(w);
	}
	spin_unlock(&p->work_lock);
	return w->left;
}

static int gca_work(void *data)
{
	struct gca_worker_thread *w = data;
	struct gca_process *p = w->process;
	unsigned int idle = 0;
	struct gca_shell *s;
	int did, hurries;
	bool came;
	u32 round;

	/*
	 * The machine is not suspended before it has left, but it does not freeze: a cycle
	 * may wait for it.  Not set_freezable(), which would freeze one that is made late.
	 */
	current->flags &= ~PF_NOFREEZE;
	while (!kthread_should_stop()) {
		wait_event_interruptible_timeout(p->work_wq, kthread_should_stop() ||
						 gca_work_wanted(p) || gca_worker_unwanted(p) ||
						 gca_summoned(p), GCA_IDLE_LOOK);
		cond_resched();
		came = gca_worker_come(p);
		round = READ_ONCE(p->work_round);
		s = gca_work_arena(p);
		if (!s && came)
			continue;
		if (!s) {
			if ((++idle >= GCA_IDLE_EXIT || gca_worker_unwanted(p)) &&
			    gca_worker_leave(w))
				break;
			continue;
		}
		idle = 0;
		hurries = atomic_read(&p->hurries);
		did = gca_worker_turn(w, s);
		gca_shell_put(s);
		if (did < 0)
			gca_worker_pause(w, round, hurries);
		/* Another has taken it: no reason to ask again at once, for the same. */
		else if (!did)
			wait_event_interruptible_timeout(p->work_wq, kthread_should_stop() ||
							 READ_ONCE(p->work_round) != round ||
							 gca_summoned(p), 1);
	}
	return 0;
}

/*
 * Make @all of them ordinary threads; else those who mark on idle time and have been at a
 * slice for longer than it takes: they have lost their processor, with work in hand.  By
 * the coordinator, in a cycle: none of them leaves.
 *
 * Return: one of them is in a slice in mode idle.
 */
static bool gca_crew_raise(struct gca_process *p, bool all)
{
	u64 now = gca_port_now(), since;
	bool any = false, late;
	unsigned int i;

	for (i = 0; i < GCA_WORKERS_MAX; i++) {
		if (!p->worker[i])
			continue;
		since = READ_ONCE(p->worker[i]->idle_since);
		any |= since;
		late = since && now > since + GCA_OVERRUN;
		if ((all || late) &&
		    gca_worker_class(p->worker[i], READ_ONCE(p->worker[i]->policy)) && late)
			atomic64_inc(&p->idle_raised);
	}
	return any;
}

/* Has the coordinator anything better to do than to wait for what workers do on idle time? */
static bool gca_called_away(struct gca_arena *a, struct gca_process *p)
{
	return READ_ONCE(a->work) == GCA_WORK_SWEEP_IDLE &&
	       (READ_ONCE(p->wanted) || gca_owner_parked(p) || freezing(current) ||
		kthread_should_stop());
}

/*
 * A stop has begun, a worker has been summoned for it, and is at work on another processor: to
 * sleep, and be woken when the roots have been scanned, would take as long again.  This time
 * is charged to nobody, hence the bound, and once a cycle.
 */
static void gca_roots_awake(struct gca_process *p, struct gca_arena *a)
{
	u32 came = xchg(&p->summons, GCA_NOBODY);
	u64 until;

	if (came < GCA_CAME || came - GCA_CAME == raw_smp_processor_id())
		return;
	until = gca_port_now() + GCA_ROOTS_AWAKE;
	while (!gca_work_idle(a) && !need_resched() && gca_port_now() < until)
		cpu_relax();
}

/*
 * gca_port_run_workers() - see core/port.h; by the coordinator
 *
 * Woken by gca_port_idle(); it also looks up now and then, because its workers may be
 * throttled, or have lost their processor to others.
 */
void gca_port_run_workers(struct gca_arena *a, u64 until)
{
	struct gca_shell *s = gca_shell_of(a);
	struct gca_process *p = s->process;
	bool raise = READ_ONCE(a->marks_idle);

	gca_crew_raise(p, true);
	spin_lock(&p->work_lock);
	WRITE_ONCE(p->working, s);
	WRITE_ONCE(p->work_round, p->work_round + 1);
	spin_unlock(&p->work_lock);
	wake_up_all(&p->work_wq);
	wake_up_all(&p->turn_wq);
	gca_roots_awake(p, a);
	for (;;) {
		wait_event_idle_timeout(p->coord_wq, gca_work_idle(a) ||
					READ_ONCE(a->void_reason) || gca_shell_dying(s) ||
					gca_called_away(a, p), raise ? 1 : GCA_LOOK_UP);
		raise = gca_crew_raise(p, false);
		if (gca_work_idle(a) || READ_ONCE(a->void_reason) || gca_called_away(a, p) ||
		    gca_port_now() > until ||
		    gca_shell_dying(s) || gca_owner_exiting(p))
			break;
	}
	spin_lock(&p->work_lock);
	WRITE_ONCE(p->working, NULL);
	spin_unlock(&p->work_lock);
	wake_up_all(&p->turn_wq);
}

void gca_port_hurry(struct gca_arena *a)
{
	struct gca_process *p = gca_shell_of(a)->process;

	atomic_inc(&p->hurries);
	/* A full barrier; the waiter looks at hurries after it has queued. */
	if (wq_has_sleeper(&p->turn_wq))
		wake_up_all(&p->turn_wq);
}

void gca_port_work(struct gca_arena *a)
{
	struct gca_process *p = gca_shell_of(a)->process;

	if (READ_ONCE(p->working) && wq_has_sleeper(&p->work_wq))
		wake_up(&p->work_wq);
}

void gca_port_idle(struct gca_arena *a)
{
	struct gca_process *p = gca_shell_of(a)->process;

	if (READ_ONCE(p->working) && wq_has_sleeper(&p->coord_wq))
		wake_up(&p->coord_wq);
}

/* ------------------------------------------------------------------------ the crew */

/* A thread of the owner's that lives, to copy cgroups and class from. */
static struct task_struct *gca_live_task(struct gca_process *p)
{
	struct task_struct *t = NULL;
	struct gca_task *gt;
	int i;

	/* The lock, not RCU: who leaves takes it before it lets its task go. */
	spin_lock(&p->tasks_lock);
	hash_for_each(p->tasks, i, gt, link)
		if (!t && gca_task_ours(gt->task, p->mm))
			t = get_task_struct(gt->task);
	spin_unlock(&p->tasks_lock);
	if (!t && gca_task_ours(p->leader, p->mm))
		t = get_task_struct(p->leader);
	return t;
}

/* Not more than its share, though: a negative nice value is not for them. */
static void gca_copy_class(struct task_struct *from, struct gca_worker_thread *w)
{
	WRITE_ONCE(w->policy, from->policy == SCHED_IDLE ? SCHED_IDLE : SCHED_NORMAL);
	WRITE_ONCE(w->nice, max(0, task_nice(from)));
	gca_worker_class(w, w->policy);
}

/*
 * Under crew_mutex.  *@err: it could not be attached: to be joined, with nothing held, as it may
 * already be in a cgroup that gives it no time.  For example a cpuset without a processor: then
 * threads are lent.
 */
static struct gca_worker_thread *gca_worker_new(struct gca_process *p, unsigned int i,
						struct task_struct *from, int *err)
{
	struct gca_worker_thread *w = kzalloc(sizeof(*w), GFP_KERNEL);

	if (!w)
		return NULL;
	w->process = p;
	w->task = kthread_create(gca_work, w, "gca/%d:w%u", p->leader->tgid, i);
	if (IS_ERR(w->task)) {
		kfree(w);
		return NULL;
	}
	get_task_struct(w->task);
	INIT_LIST_HEAD(&w->offer.link);
	w->offer.task = w->task;
	w->nap = GCA_NAP_MIN;
	*err = cgroup_attach_task_all(from, w->task);
	if (!*err) {
		gca_copy_class(from, w);
		wake_up_process(w->task);
	}
	return w;
}

/* Out of the crew, under crew_mutex; then gca_worker_join(). */
static struct gca_worker_thread *gca_worker_take(struct gca_process *p, unsigned int i)
{
	struct gca_worker_thread *w = p->worker[i];

	p->worker[i] = NULL;
	WRITE_ONCE(p->nr_workers, p->nr_workers - 1);
	return w;
}

/* With nothing held: it needs time of the owner's to end, and that may be short. */
static void gca_worker_join(struct gca_worker_thread *w)
{
	gca_worker_class(w, w->policy);
	kthread_stop(w->task);
	/* That waits for less than we need: it is to have left its cgroups, too. */
	while (!READ_ONCE(w->task->exit_state))
		schedule_timeout_uninterruptible(1);
	gca_worker_uncount(w);
	put_task_struct(w->task);
	kfree(w);
}

static unsigned int gca_crew_wanted(struct gca_shell *s, struct task_struct *from)
{
	u64 live = atomic64_read(&s->a->heap_live);
	unsigned int cpus = min_t(unsigned int, READ_ONCE(from->nr_cpus_allowed),
				  num_online_cpus());

	WRITE_ONCE(s->a->processors, cpus);
	return clamp_t(u64, live / GCA_HEAP_PER_WORKER, 1,
		       min3(cpus, READ_ONCE(gca_workers), (unsigned int)GCA_WORKERS_MAX));
}

/* May its workers mark where a processor is idle, and are they told of those? */
static void gca_crew_idle(struct gca_arena *a, struct gca_process *p)
{
	unsigned int idle = READ_ONCE(gca_idle);

	if (idle == GCA_IDLE_HOOK && !p->hook && !gca_idle_get()) {
		WRITE_ONCE(p->hook, true);
	} else if (idle != GCA_IDLE_HOOK && p->hook) {
		WRITE_ONCE(p->hook, false);
		gca_idle_put();
	}
	WRITE_ONCE(a->marks_idle, idle == GCA_IDLE_PLAIN || p->hook);
}

/* From here on none leaves of itself: those that have not left stay. */
static void gca_cycle_claim(struct gca_process *p)
{
	spin_lock(&p->work_lock);
	WRITE_ONCE(p->in_cycle, true);
	spin_unlock(&p->work_lock);
}

/* May a thread be attached to cgroups?  All forks wait for it.  Under crew_mutex. */
static bool gca_may_attach(void)
{
	gca_attaches.burst = READ_ONCE(gca_attach_rate);
	return __ratelimit(&gca_attaches);
}

/*
 * Into the owner's present cgroups and class.  The same css_set: the same cgroups.  Return: false
 * if it may not be attached just now, or cannot.
 */
static bool gca_worker_follow(struct gca_worker_thread *w, struct task_struct *from)
{
	if (rcu_access_pointer(w->task->cgroups) != rcu_access_pointer(from->cgroups) &&
	    (!gca_may_attach() || cgroup_attach_task_all(from, w->task)))
		return false;
	gca_copy_class(from, w);
	return true;
}

/* May another one be made?  Under crew_mutex, under which alone there come more. */
static bool gca_worker_allowed(const struct gca_process *p)
{
	return atomic_read(&gca_workers_total) < (int)READ_ONCE(gca_max_workers) &&
	       atomic_read(&p->user->workers) < (int)READ_ONCE(gca_max_user_workers) &&
	       gca_may_attach();
}

/* Pagers, of any arena, and callers of COLLECT that are to be frozen have waited for it. */
static void gca_cycle_left(struct gca_process *p)
{
	struct gca_shell *s;

	mutex_lock(&p->lock);
	list_for_each_entry(s, &p->shells, link)
		wake_up_all(&s->pager_wq);
	mutex_unlock(&p->lock);
}

/*
 * gca_port_crew_get() - see core/port.h; by the coordinator
 *
 * Enough workers for a cycle, in the owner's present cgroups.
 */
int gca_port_crew_get(struct gca_arena *a)
{
	struct gca_shell *s = gca_shell_of(a);
	struct gca_worker_thread *gone[GCA_WORKERS_MAX + 1], *w;
	struct gca_process *p = s->process;
	unsigned int i, want, nr_gone = 0;
	struct task_struct *from;
	int ret = 0;

	gca_crew_idle(a, p);
	gca_crew_lock();
	gca_cycle_claim(p);
	from = gca_live_task(p);
	want = from ? gca_crew_wanted(s, from) : 0;
	/*
	 * All that have left, before any is made: nr_workers is to count none of them.  And those
	 * that would be in other cgroups than the owner, which may give them no time, and which
	 * they would keep from being removed.
	 */
	for (i = 0; i < GCA_WORKERS_MAX; i++) {
		w = p->worker[i];
		if (w && (READ_ONCE(w->left) || (from && !gca_worker_follow(w, from))))
			gone[nr_gone++] = gca_worker_take(p, i);
	}
	for (i = 0; i < GCA_WORKERS_MAX; i++) {
		if (p->worker[i] || p->nr_workers >= want)
			continue;
		/* Beyond the limits: what there is will do; without any, threads are lent. */
		if (!gca_worker_allowed(p))
			break;
		w = gca_worker_new(p, i, from, &ret);
		if (ret)
			gone[nr_gone++] = w;
		if (!w || ret)
			break;
		p->worker[i] = w;
		gca_worker_count(w);
		WRITE_ONCE(p->nr_workers, p->nr_workers + 1);
	}
	WRITE_ONCE(a->crew, p->nr_workers);
	ret = p->nr_workers ? 0 : -ENODEV;
	if (ret)
		WRITE_ONCE(p->in_cycle, false);
	gca_crew_unlock();
	if (ret)
		gca_cycle_left(p);
	if (from)
		put_task_struct(from);
	while (nr_gone)
		gca_worker_join(gone[--nr_gone]);
	return ret;
}

/*
 * The opposite: they may be dismissed.
 *
 * One that has begun to sweep in mode idle is in an operation, and the next stop waits for its
 * end: so no class is left behind.  There is no work by now, which a worker looks for when it has
 * changed its class, so it finds none or is found.
 */
void gca_port_crew_put(struct gca_arena *a)
{
	struct gca_process *p = gca_shell_of(a)->process;

	smp_mb();	/* no work, before the classes; pairs with sched_setattr() in a worker */
	gca_crew_raise(p, true);
	WRITE_ONCE(p->in_cycle, false);
	gca_cycle_left(p);
}

/** gca_crew_dismiss() - they leave the owner's cgroups, unless a cycle needs them */
void gca_crew_dismiss(struct gca_process *p)
{
	struct gca_worker_thread *gone[GCA_WORKERS_MAX];
	unsigned int i, nr_gone = 0;

	gca_crew_lock();
	for (i = 0; i < GCA_WORKERS_MAX && !READ_ONCE(p->in_cycle); i++)
		if (p->worker[i])
			gone[nr_gone++] = gca_worker_take(p, i);
	gca_crew_unlock();
	while (nr_gone)
		gca_worker_join(gone[--nr_gone]);
}

/** gca_crew_look() - at the end of a call: the caller may be about to be frozen */
void gca_crew_look(struct gca_process *p)
{
	if (unlikely(READ_ONCE(current->jobctl) & JOBCTL_TRAP_FREEZE) && READ_ONCE(p->nr_workers))
		gca_crew_dismiss(p);
}

/** gca_crew_end() - the process's last arena has died; nothing is held */
void gca_crew_end(struct gca_process *p)
{
	WRITE_ONCE(p->in_cycle, false);
	gca_crew_dismiss(p);
	if (p->hook)
		gca_idle_put();
}
