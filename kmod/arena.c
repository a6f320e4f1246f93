// SPDX-License-Identifier: GPL-2.0-only
/*
 * arena.c: an arena is created, lives, dies and is released.
 *
 * States (enum gca_state)
 * -----------------------
 *	NEW --CREATE--> CREATING --> LIVE --death--> DYING --last user--> DEAD
 *	 ^_____fails______|
 *
 * Death is a flag and a wake-up, callable from anywhere that may take a spinlock
 * (vm_ops->close runs under mmap_lock).  Whoever drops the last reference on
 * @active queues the work item; it waits for the process's kernel threads at most, and
 * frees everything but the shell.  That has two references, the file's and the death's.
 *
 * Only the owner waits in ->release for the death, so that what it had is free again when
 * close() returns.  The threads need time of the owner's cgroup to end, which may be short:
 * nobody else is to wait for that, least of all the kernel's one worker for deferred releases.
 *
 * Locking overview, outer to inner
 * --------------------------------
 *  nothing of ours	kobject_add/del, wait_for_completion, waits of SERVE and COLLECT
 *  shell->conduct_lock	mutex: somebody conducts a cycle, the coordinator or a lent caller:
 *			from the first look at the phase to the last.  Nothing waits for it
 *			with a lock held.  Under it the coordinator waits for workers and pager
 *  crew_mutex		mutex: kernel threads are made, attached to cgroups, ended
 *			(worker.c); nothing waits for it with any other lock held
 *  shell->cycle_lock	mutex: a step of a cycle (core/cycle.c) runs, or the set of
 *			mutators changes.  Held while a lent caller marks, that is over
 *			page faults and over its wait for the pager (which never takes it)
 *  gca_processes_lock	mutex: processes and users (process.c); taken by CREATE and
 *			by the death work, with nothing else held
 *  process->lock	mutex: the list of a process's arenas
 *  shell->lock		mutex: layouts, roots, configuration.  May be held over
 *			copy_*_user, that is over mmap_lock
 *  mmap_lock		the kernel's; ->mmap, fault and close run under it
 *  shell->map_lock	spin: state, mapping state
 *  xa_lock of threads	spin: looking up an attached thread
 *  process->tasks_lock	spin: which threads are attached to what
 *  shell->pager_lock	spin: who serves
 *  shell->req_lock	spin: COLLECTs that wait
 *  process->work_lock	spin: which arena the workers work for
 *  stats->lock		spin: the copy that /sys shows
 *  the core's locks	spin: see core/core.h
 *
 * A suffix names the lock that the caller holds: _clocked (cycle_lock), _alocked
 * (shell->lock), _plocked (process->lock).
 *
 * This file may not touch a VMA (map.c) or know what a cycle is (lent.c).
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/pid.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait_bit.h>

#include "glue.h"
#include "trace.h"

/* Signals that cannot be handled, or that the kernel raises for faults. */
#define GCA_SIGNALS_REFUSED						\
	(sigmask(SIGKILL) | sigmask(SIGSTOP) | sigmask(SIGSEGV) | sigmask(SIGBUS) | \
	 sigmask(SIGILL) | sigmask(SIGTRAP) | sigmask(SIGFPE) | sigmask(SIGSYS))

/* ------------------------------------------------------------- death, release */

static atomic_t gca_living = ATOMIC_INIT(0);	/* arenas whose death is not over */

/* The file has gone, or the arena: the last of them frees what they share. */
static void gca_shell_unref(struct gca_shell *s)
{
	if (!refcount_dec_and_test(&s->refs))
		return;
	if (s->stats)
		gca_stats_free(s->stats);
	put_pid(s->owner);
	mutex_destroy(&s->conduct_lock);
	mutex_destroy(&s->cycle_lock);
	mutex_destroy(&s->lock);
	kfree(s);
}

/* The last user has gone: free everything but the shell. */
static void gca_death_work(struct work_struct *work)
{
	struct gca_shell *s = container_of(work, struct gca_shell, death);
	struct gcarena_stats st;

	gca_stats_bind(s->stats, NULL);
	gca_stats_take(s, &st);
	trace_gcarena_death(s->id, st.cycles, st.live);
	gca_process_del(s->process, s);
	gca_requests_end(s);
	gca_thread_kill(s);
	gca_arena_fini(s->a);
	kvfree(s->a);
	s->a = NULL;
	gca_pages_fini(&s->control);
	kvfree(s->lent);
	s->lent = NULL;
	if (s->server)
		put_task_struct(s->server);
	gca_process_put(s->process, s->reserve);
	s->process = NULL;
	gca_stats_del(s->stats);	/* last: who counts arenas sees that all is gone */
	WRITE_ONCE(s->state, GCA_STATE_DEAD);
	complete_all(&s->dead);
	gca_shell_unref(s);
	if (atomic_dec_and_test(&gca_living))
		wake_up_var(&gca_living);
}

/** gca_shells_end() - no file is left; wait until none is dying, either */
void gca_shells_end(void)
{
	wait_var_event(&gca_living, !atomic_read(&gca_living));
	flush_workqueue(gca_wq);	/* the last work has said so, and may not have returned */
}

/*
 * gca_shell_tryget() - keep what dies from being freed
 *
 * For those who are not the owner: /proc, poll.  Return: false if dead or new.
 */
bool gca_shell_tryget(struct gca_shell *s)
{
	return gca_shell_state(s) >= GCA_STATE_LIVE &&
	       refcount_inc_not_zero(&s->active);
}

/*
 * gca_shell_get() - begin a call on an arena
 *
 * Return: 0; -ENXIO before CREATE, -EPERM if the caller's mm is not the owner's,
 * -ESRCH if it has died.
 */
int gca_shell_get(struct gca_shell *s)
{
	if (gca_shell_state(s) < GCA_STATE_LIVE)
		return -ENXIO;
	if (s->mm != current->mm)
		return -EPERM;
	if (gca_shell_dying(s) || !refcount_inc_not_zero(&s->active))
		return -ESRCH;
	return 0;
}

void gca_shell_put(struct gca_shell *s)
{
	if (refcount_dec_and_test(&s->active))
		queue_work(gca_wq, &s->death);
}

/*
 * gca_shell_die() - death: idempotent, does not sleep
 *
 * All waits of the arena's calls look at the state, so each call ends soon; the
 * last one queues the work.
 */
void gca_shell_die(struct gca_shell *s)
{
	bool first;

	spin_lock(&s->map_lock);
	first = s->state == GCA_STATE_LIVE;
	if (first)
		WRITE_ONCE(s->state, GCA_STATE_DYING);
	spin_unlock(&s->map_lock);
	if (!first)
		return;
	wake_up_all(&s->gate_wq);
	wake_up_all(&s->hold_wq);
	wake_up_all(&s->pager_wq);
	wake_up_all(&s->scan_wq);
	wake_up_all(&s->process->coord_wq);
	gca_shell_put(s);
}

struct gca_shell *gca_shell_new(void)
{
	struct gca_shell *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return NULL;
	s->state = GCA_STATE_NEW;
	INIT_WORK(&s->death, gca_death_work);
	init_completion(&s->dead);
	INIT_LIST_HEAD(&s->link);
	mutex_init(&s->lock);
	mutex_init(&s->conduct_lock);
	mutex_init(&s->cycle_lock);
	refcount_set(&s->refs, 1);
	spin_lock_init(&s->map_lock);
	init_waitqueue_head(&s->gate_wq);
	spin_lock_init(&s->pager_lock);
	init_waitqueue_head(&s->pager_wq);
	init_waitqueue_head(&s->scan_wq);
	init_waitqueue_head(&s->hold_wq);
	xa_init_flags(&s->threads, XA_FLAGS_ACCOUNT);
	spin_lock_init(&s->req_lock);
	INIT_LIST_HEAD(&s->requests);
	s->next_id = 1;
	return s;
}

/*
 * gca_shell_release() - the last reference on the file has gone
 *
 * No call runs any more; the coordinator and its workers may be in a cycle yet, which
 * they give up now.
 */
void gca_shell_release(struct gca_shell *s)
{
	gca_shell_die(s);
	if (s->state != GCA_STATE_NEW && !(current->flags & PF_KTHREAD) &&
	    task_tgid(current) == s->owner)
		wait_for_completion(&s->dead);
	gca_shell_unref(s);
}

/* ------------------------------------------------------------------- creation */

int gca_ioc_info(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_info *i = &c->u.info;

	if (i->flags)
		return -EINVAL;
	i->features = GCA_FEATURES;
	i->reserve_min = GCARENA_RESERVE_MIN;
	i->reserve_max = min_t(u64, GCARENA_RESERVE_MAX,
			       (u64)READ_ONCE(gca_max_reserve_gib) << 30);
	i->arenas_left = gca_process_arenas_left();
	i->engine = gca_engine_default(0);
	return 0;
}

/* May the caller create arenas?  Parameter "level". */
static bool gca_allowed(const struct file *file)
{
	switch (READ_ONCE(gca_level)) {
	case 0:
		return false;
	case 1:
		return in_group_p(file_inode(file)->i_gid) || capable(CAP_SYS_RESOURCE);
	default:
		return true;
	}
}

#define GCA_CREATE_ENGINE	(GCARENA_CREATE_SIGNAL | GCARENA_CREATE_TASKWORK)

static int gca_check_create(const struct gcarena_create *arg)
{
	u32 sig = arg->stop_signal;

	if (arg->flags & ~(GCA_CREATE_ENGINE | GCARENA_CREATE_INSERTION) ||
	    hweight32(arg->flags & GCA_CREATE_ENGINE) > 1 || arg->debug & ~GCARENA_DEBUG_ALL)
		return -EINVAL;
	if (arg->features & ~GCA_FEATURES)
		return -EOPNOTSUPP;
	if (!is_power_of_2(arg->reserve) || arg->reserve < GCARENA_RESERVE_MIN ||
	    arg->reserve > GCARENA_RESERVE_MAX)
		return -EINVAL;
	if (sig >= SIGRTMIN || (sig && sigmask(sig) & GCA_SIGNALS_REFUSED))
		return -EINVAL;
	return 0;
}

/* Everything that can fail, in the state CREATING: nobody else sees @s change. */
static int gca_create(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_create *arg = &c->u.create;
	struct gca_process *p;
	struct gca_stats *stats;
	int ret = -ENOMEM;
	u64 id;

	do {
		id = get_random_u64();
	} while (!id);

	s->a = kvzalloc(sizeof(*s->a), GFP_KERNEL_ACCOUNT);
	s->lent = kvzalloc(sizeof(*s->lent), GFP_KERNEL_ACCOUNT);
	if (!s->a || !s->lent)
		goto err_free;
	ret = gca_pages_init(&s->control, PAGE_SIZE);
	if (ret)
		goto err_free;
	s->id = id;
	s->a->port = s;
	ret = gca_arena_init(s->a, arg->reserve, s->control.addr,
			     arg->debug | READ_ONCE(gca_debug));
	if (ret)
		goto err_control;
	s->a->concurrent = READ_ONCE(gca_workers);
	s->a->insertion = arg->flags & GCARENA_CREATE_INSERTION;
	/* A WARN, which may panic the machine, is root's to ask for, not the owner's. */
	s->a->check_quiet = !(READ_ONCE(gca_debug) & GCARENA_DEBUG_CHECKMARK);
	p = gca_process_get(current->mm, arg->reserve);
	if (IS_ERR(p)) {
		ret = PTR_ERR(p);
		goto err_arena;
	}
	ret = gca_process_wish(p, arg->flags & GCA_CREATE_ENGINE, false);
	if (ret)
		goto err_process;
	stats = gca_stats_new(id);
	if (IS_ERR(stats)) {
		ret = PTR_ERR(stats);
		goto err_process;
	}

	arg->id = id;
	arg->heap_offset = GCA_HEAP_OFFSET;
	arg->heap_size = arg->reserve;
	arg->control_offset = GCA_CONTROL_OFFSET;
	arg->control_size = PAGE_SIZE;
	ret = gca_call_out(c);
	if (!ret)
		ret = gca_process_wish(p, arg->flags & GCA_CREATE_ENGINE, true);
	if (ret)
		goto err_stats;

	s->reserve = arg->reserve;
	s->stats = stats;
	s->mm = current->mm;
	s->owner = get_pid(task_tgid(current));
	refcount_inc(&s->refs);		/* the death's */
	atomic_inc(&gca_living);
	s->process = p;
	s->privileged = capable(CAP_SYS_RESOURCE);
	s->stop_signal = arg->stop_signal ?: SIGURG;
	s->a->stop_wait = READ_ONCE(gca_stop_deadline_us) * (u64)NSEC_PER_USEC;
	s->a->control->engine = READ_ONCE(p->engine);
	refcount_set(&s->active, 1);
	gca_process_add(p, s);
	gca_stats_bind(stats, s);
	return 0;

err_stats:
	gca_stats_del(stats);
	gca_stats_free(stats);
err_process:
	gca_process_put(p, arg->reserve);
err_arena:
	gca_arena_fini(s->a);
err_control:
	gca_pages_fini(&s->control);
err_free:
	kvfree(s->lent);
	kvfree(s->a);
	s->lent = NULL;
	s->a = NULL;
	return ret;
}

/*
 * gca_ioc_create() - GCARENA_IOC_CREATE
 *
 * Return: 0; -EBUSY if it is an arena already, -EPERM by the parameter "level",
 * -EOPNOTSUPP, -EINVAL, -EDQUOT over the user's limits, -ENOMEM, -EFAULT.
 */
int gca_ioc_create(struct gca_shell *s, struct gca_call *c)
{
	int ret = gca_check_create(&c->u.create);

	if (ret)
		return ret;
	if (!gca_allowed(c->file))
		return -EPERM;
	if (cmpxchg(&s->state, GCA_STATE_NEW, GCA_STATE_CREATING) != GCA_STATE_NEW)
		return -EBUSY;
	ret = gca_create(s, c);
	/* Pairs with the acquire in gca_shell_state(). */
	smp_store_release(&s->state, ret ? GCA_STATE_NEW : GCA_STATE_LIVE);
	return ret;
}

/*
 * gca_ioc_destroy() - GCARENA_IOC_DESTROY: death, and the memory is back on return
 *
 * It has a reference of its own, which must be dropped before waiting.
 * Return: 0; -EINVAL.
 */
int gca_ioc_destroy(struct gca_shell *s, struct gca_call *c)
{
	int ret = gca_shell_get(s);

	if (ret)
		return ret;
	if (c->u.destroy.flags) {
		gca_shell_put(s);
		return -EINVAL;
	}
	c->copied = true;	/* there is no reply */
	gca_shell_die(s);
	gca_shell_put(s);
	/* Killed meanwhile: nobody sees the result. */
	return wait_for_completion_killable(&s->dead) ? -EINTR : 0;
}
