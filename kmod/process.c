// SPDX-License-Identifier: GPL-2.0-only
/*
 * process.c: one struct gca_process for each mm that has arenas, and what each
 * user has.
 *
 * Takes gca_processes_lock, process->lock for the list of arenas and the choice of
 * the engine, and tasks_lock; none inside another here.  It may not touch user memory
 * or wait for anybody: the mm is held as an identity (mmgrab), so a process may exit
 * whenever it likes.
 *
 * Users are counted by kuid, so the sub-uids of a user namespace count apart.
 */
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "glue.h"

static DEFINE_MUTEX(gca_processes_lock);
static DEFINE_HASHTABLE(gca_processes, 8);
static LIST_HEAD(gca_users);

static struct gca_user *gca_user_find(kuid_t uid)
{
	struct gca_user *u;

	lockdep_assert_held(&gca_processes_lock);
	list_for_each_entry(u, &gca_users, link)
		if (uid_eq(u->uid, uid))
			return u;
	return NULL;
}

static struct gca_user *gca_user_get(kuid_t uid)
{
	struct gca_user *u = gca_user_find(uid);

	if (!u) {
		u = kzalloc(sizeof(*u), GFP_KERNEL_ACCOUNT);
		if (!u)
			return NULL;
		u->uid = uid;
		list_add(&u->link, &gca_users);
	}
	u->refs++;
	return u;
}

static void gca_user_put(struct gca_user *u)
{
	lockdep_assert_held(&gca_processes_lock);
	if (--u->refs)
		return;
	list_del(&u->link);
	kfree(u);
}

static int gca_user_charge(struct gca_user *u, u64 reserve)
{
	u64 limit = (u64)READ_ONCE(gca_max_reserve_gib) << 30;

	lockdep_assert_held(&gca_processes_lock);
	if (u->arenas >= READ_ONCE(gca_max_arenas) || u->reserve > limit ||
	    reserve > limit - u->reserve)
		return -EDQUOT;
	u->arenas++;
	u->reserve += reserve;
	return 0;
}

static void gca_user_uncharge(struct gca_user *u, u64 reserve)
{
	lockdep_assert_held(&gca_processes_lock);
	u->arenas--;
	u->reserve -= reserve;
}

static struct gca_process *gca_process_find(struct mm_struct *mm)
{
	struct gca_process *p;

	lockdep_assert_held(&gca_processes_lock);
	hash_for_each_possible(gca_processes, p, link, (unsigned long)mm)
		if (p->mm == mm)
			return p;
	return NULL;
}

static struct gca_process *gca_process_new(struct mm_struct *mm)
{
	struct gca_process *p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);

	if (!p)
		return NULL;
	p->user = gca_user_get(current_uid());
	if (!p->user) {
		kfree(p);
		return NULL;
	}
	mmgrab(mm);
	p->mm = mm;
	mutex_init(&p->lock);
	INIT_LIST_HEAD(&p->shells);
	spin_lock_init(&p->tasks_lock);
	hash_init(p->tasks);
	atomic_set(&p->signal_stops, 0);
	p->leader = get_task_struct(current->group_leader);
	spin_lock_init(&p->work_lock);
	init_waitqueue_head(&p->coord_wq);
	init_waitqueue_head(&p->work_wq);
	init_waitqueue_head(&p->turn_wq);
	init_waitqueue_head(&p->hold_wq);
	init_waitqueue_head(&p->arrive_wq);
	hash_add(gca_processes, &p->link, (unsigned long)mm);
	return p;
}

/* The last arena has gone: nobody finds it any more. */
static bool gca_process_unlink(struct gca_process *p)
{
	lockdep_assert_held(&gca_processes_lock);
	if (p->refs)
		return false;
	hash_del(&p->link);
	return true;
}

/*
 * After that, with nothing held: its threads end, which may take time of the owner's.  That long
 * they are in the user's account, and its last arena, if it was @charged.
 */
static void gca_process_free(struct gca_process *p, bool charged, u64 reserve)
{
	gca_coordinator_put(p);
	gca_crew_end(p);
	mutex_lock(&gca_processes_lock);
	if (charged)
		gca_user_uncharge(p->user, reserve);
	gca_user_put(p->user);
	mutex_unlock(&gca_processes_lock);
	put_task_struct(p->leader);
	mmdrop(p->mm);
	mutex_destroy(&p->lock);
	kfree(p);
}

/**
 * gca_process_get() - the process of @mm, charged with one more arena
 * @mm: the caller's
 * @reserve: bytes of address space
 *
 * Return: the process, -ENOMEM, or -EDQUOT over the user's limits.
 */
struct gca_process *gca_process_get(struct mm_struct *mm, u64 reserve)
{
	struct gca_process *p;
	bool gone = false;
	int ret = -ENOMEM;

	mutex_lock(&gca_processes_lock);
	p = gca_process_find(mm);
	if (!p)
		p = gca_process_new(mm);
	if (p) {
		ret = gca_user_charge(p->user, reserve);
		if (ret)
			gone = gca_process_unlink(p);
		else
			p->refs++;
	}
	mutex_unlock(&gca_processes_lock);
	if (gone)
		gca_process_free(p, false, 0);
	return ret ? ERR_PTR(ret) : p;
}

/** gca_process_put() - the opposite; called at death, once an arena */
void gca_process_put(struct gca_process *p, u64 reserve)
{
	bool gone;

	mutex_lock(&gca_processes_lock);
	p->refs--;
	gone = gca_process_unlink(p);
	if (!gone)
		gca_user_uncharge(p->user, reserve);
	mutex_unlock(&gca_processes_lock);
	if (gone)
		gca_process_free(p, true, reserve);
}

/** gca_process_arenas_left() - that the caller's user may still create */
unsigned int gca_process_arenas_left(void)
{
	unsigned int max = READ_ONCE(gca_max_arenas), used = 0;
	struct gca_user *u;

	mutex_lock(&gca_processes_lock);
	u = gca_user_find(current_uid());
	if (u)
		used = u->arenas;
	mutex_unlock(&gca_processes_lock);
	return used < max ? max - used : 0;
}

void gca_process_add(struct gca_process *p, struct gca_shell *s)
{
	mutex_lock(&p->lock);
	list_add_tail(&s->link, &p->shells);
	mutex_unlock(&p->lock);
}

void gca_process_del(struct gca_process *p, struct gca_shell *s)
{
	mutex_lock(&p->lock);
	list_del_init(&s->link);
	mutex_unlock(&p->lock);
}

/* ------------------------------------------------------------------ stop engine */

/** gca_engine_default() - what a process gets that asks for @wish, GCARENA_CREATE_* */
u32 gca_engine_default(u32 wish)
{
	bool work = GCA_FEATURES & GCARENA_F_STOP_TASKWORK;

	if (wish & GCARENA_CREATE_SIGNAL || READ_ONCE(gca_stop) == GCARENA_ENGINE_SIGNAL || !work)
		return GCARENA_ENGINE_SIGNAL;
	return GCARENA_ENGINE_TASKWORK;
}

/*
 * gca_process_wish() - an arena asks for an engine; without @commit: may it?
 *
 * Return: 0; -EOPNOTSUPP if the module does not have or allow it, -EBUSY if another
 * arena of the process has asked for another.
 */
int gca_process_wish(struct gca_process *p, u32 wish, bool commit)
{
	u32 only = READ_ONCE(gca_stop);
	int ret = 0;

	if (wish & GCARENA_CREATE_TASKWORK &&
	    (!(GCA_FEATURES & GCARENA_F_STOP_TASKWORK) || only == GCARENA_ENGINE_SIGNAL))
		return -EOPNOTSUPP;
	if (wish & GCARENA_CREATE_SIGNAL && only == GCARENA_ENGINE_TASKWORK)
		return -EOPNOTSUPP;
	mutex_lock(&p->lock);
	if (wish && p->engine && p->engine != gca_engine_default(wish))
		ret = -EBUSY;
	else if (wish && p->wish && p->wish != wish)
		ret = -EBUSY;
	else if (wish && commit)
		p->wish = wish;
	mutex_unlock(&p->lock);
	return ret;
}

/*
 * gca_process_engine() - a thread attaches: what holds it?
 *
 * Decided by the first one; a thread whose sections are counted moves the process to
 * signals, because task work could hold it inside one.  A stop of another arena goes
 * on with the engine it began with.
 *
 * Return: 0, or -EOPNOTSUPP if the process is bound to task work.
 */
int gca_process_engine(struct gca_process *p, bool counted)
{
	struct gca_shell *s;
	u32 engine;
	int ret = 0;

	mutex_lock(&p->lock);
	engine = p->engine ?: gca_engine_default(p->wish);
	if (counted && engine == GCARENA_ENGINE_TASKWORK) {
		if (p->wish & GCARENA_CREATE_TASKWORK ||
		    READ_ONCE(gca_stop) == GCARENA_ENGINE_TASKWORK)
			ret = -EOPNOTSUPP;
		else
			engine = GCARENA_ENGINE_SIGNAL;
	}
	if (!ret) {
		WRITE_ONCE(p->engine, engine);
		list_for_each_entry(s, &p->shells, link)
			WRITE_ONCE(s->a->control->engine, engine);
	}
	mutex_unlock(&p->lock);
	return ret;
}

/* -------------------------------------------------------------- attached threads */

/**
 * gca_task_ours() - does a thread run in this mm, and will it again?
 * @task: held
 * @mm: the owner's
 *
 * Not if it exits, nor if it has become another program, perhaps with more rights than
 * its maker: that is for good, and none of our business.  May be called with nothing
 * stricter than sleeping locks held.
 */
bool gca_task_ours(struct task_struct *task, const struct mm_struct *mm)
{
	bool ours;

	task_lock(task);
	ours = task->mm == mm && !(READ_ONCE(task->flags) & PF_EXITING);
	task_unlock(task);
	return ours;
}

/** gca_task_find() - a thread of @p that is attached to something, or NULL; under RCU */
struct gca_task *gca_task_find(struct gca_process *p, struct task_struct *task)
{
	struct gca_task *gt;

	hash_for_each_possible_rcu(p->tasks, gt, link, (unsigned long)task,
				   lockdep_is_held(&p->tasks_lock))
		if (gt->task == task)
			return gt;
	return NULL;
}

/** gca_task_join() - the calling thread attaches to one arena more.  Return: 0 or -ENOMEM */
int gca_task_join(struct gca_process *p, struct gca_thread *t)
{
	struct gca_task *new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT), *gt;

	if (!new)
		return -ENOMEM;
	new->task = t->task;
	new->inside = true;	/* it is in ATTACH */
	INIT_LIST_HEAD(&new->threads);
	spin_lock(&p->tasks_lock);
	gt = gca_task_find(p, t->task);
	if (!gt) {
		gt = new;
		new = NULL;
		hash_add_rcu(p->tasks, &gt->link, (unsigned long)t->task);
	}
	list_add_rcu(&t->on_task, &gt->threads);
	t->gt = gt;
	spin_unlock(&p->tasks_lock);
	kfree(new);
	return 0;
}

/** gca_task_leave() - by the thread itself, or after its end */
void gca_task_leave(struct gca_process *p, struct gca_thread *t)
{
	struct gca_task *gt = t->gt;
	bool last;

	spin_lock(&p->tasks_lock);
	list_del_rcu(&t->on_task);
	last = list_empty(&gt->threads);
	if (last)
		hash_del_rcu(&gt->link);
	spin_unlock(&p->tasks_lock);
	if (last)
		kfree_rcu(gt, rcu);
}

/** gca_attached() - is the calling thread attached to this arena? */
bool gca_attached(struct gca_shell *s)
{
	struct gca_process *p = s->process;
	struct gca_thread *t;
	struct gca_task *gt;
	bool found = false;

	spin_lock(&p->tasks_lock);
	gt = gca_task_find(p, current);
	if (gt)
		list_for_each_entry(t, &gt->threads, on_task)
			found |= t->shell == s;
	spin_unlock(&p->tasks_lock);
	return found;
}
