// SPDX-License-Identifier: GPL-2.0-only
/*
 * stop.c: the world of an arena stops, and runs again.
 *
 * A stop holds every thread that is attached to the arena: from gca_port_stop()
 * to gca_port_start() none of them executes a user instruction.  One state machine,
 * two engines, which differ in how a thread is armed and in what "held" means:
 *
 *	gate closed, no operation open			(core, before us)
 *	stop_gen := stop_gen + 1, full fence		the stop is under way
 *	arm each thread					task work | signal, if it is not inside
 *	wait for each, until the deadline		one IPI   | until all have arrived
 *	held: return 0		late: stop_rel := stop_gen, wake, return -EAGAIN
 *	...						the collector's work
 *	stop_rel := stop_gen, wake all			released
 *
 * Engine *task work*.  task_work_add(TWA_RESUME) makes a thread call
 * gca_hold_callback() before it next returns to user mode.  Nobody is woken: a
 * thread asleep in the kernel, stopped, traced or frozen is held where it is.  One
 * interrupt to the processors that run this mm, waited for, takes the others out
 * of user mode; the way back is through the callback.  After it every thread is
 * held, so this engine never waits and never fails.  A thread that is exiting takes
 * no more work: it returns to user mode no more.  If all have been found asleep after
 * they were armed nobody is interrupted, gca_asleep().
 *
 * Engine *signal*, where task work is not exported, and for threads whose critical
 * sections are counted.  Each thread gets the stop signal; the library's handler
 * calls SETTLE.  A thread has arrived when it is inside one of our calls
 * (gca_task.inside); it leaves one through gca_inside_leave(), which does not let it
 * go while a stop is under way.  A pending signal is no hold: the thread may be
 * inside sigprocmask() or sigreturn, or in a handler that masks it.  So a thread that
 * does not arrive in time postpones the stop (the core tries again, cycle.c).
 *
 * Memory order.  Each of these is a Dekker pair, a store and a load of the other's
 * word with a full fence between them on both sides, so one of the two sees the other:
 *
 *	stopper: stop_gen, fence, queued	callback: queued := 0, fence, stop_gen
 *	stopper: signal_stops, fence, inside	leaving: inside := 0, fence, signal_stops
 *
 * The release is a store-release of stop_rel, read by an acquire.
 *
 * The release may come before all stacks have been captured (core/rootjobs.c): then a
 * thread captures its own, gca_capture(), before it leaves the callback or one of our
 * calls.  No thread gets to user mode in another way: with task work each stop arms
 * all, and with signals who is not inside has not been held.
 *
 * The callback always makes the thread restart the critical section that it may be
 * in, also when the stop is over: a section that read "no barrier" and then faulted
 * may have slept through a whole stop without being preempted (review-kernel D1.2).
 *
 * Runs under cycle_lock, which keeps the set of threads.  It may not allocate, and
 * takes no other lock but those of the scheduler and of wait queues.
 */
#include <linux/mm_types.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/smp.h>
#include <linux/task_work.h>
#include <linux/wait.h>

#include <asm/fpu/api.h>

#include "glue.h"

/* How a held thread sleeps: a kill ends it, and the system may be suspended meanwhile. */
#define GCA_HELD	(TASK_KILLABLE | TASK_FREEZABLE)

/*
 * gca_capture() - let the caller go only with its stack captured
 *
 * The begin stop may have left that for later (core/rootjobs.c).  Nothing if the caller is
 * being killed, or has become another program: then it has no stack of ours.
 */
static void gca_capture(struct gca_thread *t)
{
	struct gca_shell *s = t->shell;

	if (likely(!READ_ONCE(t->core.owes)) || current->mm != s->mm ||
	    fatal_signal_pending(current))
		return;
	if (!gca_shell_tryget(s)) {
		WRITE_ONCE(t->core.owes, 0);	/* nobody collects there any more */
		return;
	}
	gca_roots_self(&t->core);
	gca_shell_put(s);
}

/** gca_stopping() - is a stop of this arena under way? */
static bool gca_stopping(const struct gca_shell *s)
{
	/* acquire: what the collector did in the stop; pairs with gca_release() */
	return smp_load_acquire(&s->stop_rel) != READ_ONCE(s->stop_gen);
}

/* ------------------------------------------------------------- engine: task work */

#ifdef GCA_HAVE_TASK_WORK

/* Restart the critical section that the thread may be in. */
static void gca_abort_section(void)
{
	/* membarrier's interrupt writes the same word. */
	local_irq_disable();
	rseq_preempt(current);
	local_irq_enable();
}

/*
 * In the thread's own context, where it would return to user mode; or, with a
 * tracer or a freezer, in the middle of a system call.
 */
static void gca_hold_callback(struct callback_head *work)
{
	struct gca_thread *t = container_of(work, struct gca_thread, work);
	struct gca_shell *s = t->shell;

	if (current->mm == s->mm)
		gca_abort_section();
	WRITE_ONCE(t->queued, 0);
	smp_mb();	/* pairs with the one in gca_port_stop(): see the top */
	/* A program that was exec()ed meanwhile, or a thread that exits, owes nothing. */
	if (current->mm == s->mm && gca_stopping(s))
		wait_event_state(s->hold_wq, !gca_stopping(s) || gca_shell_dying(s),
				 GCA_HELD);
	gca_capture(t);
	gca_thread_put(t);	/* its last reference may go, and with it the file's */
}

void gca_hold_init(struct gca_thread *t)
{
	init_task_work(&t->work, gca_hold_callback);
}

/* The work holds a reference on the thread, which holds one on the file. */
static void gca_arm_work(struct gca_thread *t)
{
	if (xchg(&t->queued, 1))
		return;		/* it has not run yet, and will see the new generation */
	refcount_inc(&t->refs);
	if (task_work_add(t->task, &t->work, TWA_RESUME)) {
		WRITE_ONCE(t->queued, 0);
		gca_thread_put(t);	/* exiting; not the last reference */
	}
}

#else

void gca_hold_init(struct gca_thread *t)
{
}

static void gca_arm_work(struct gca_thread *t)
{
}

#endif

/*
 * On each processor that runs the mm.  The interrupt itself is what counts; the
 * vector registers of the thread it meets go to memory, so that it can be scanned
 * although it may run on in the kernel.
 */
void gca_fence_cpu(void *unused)
{
	if (irq_fpu_usable()) {
		kernel_fpu_begin_mask(0);
		kernel_fpu_end();
	}
}

static void gca_fence(struct gca_shell *s, bool others)
{
	preempt_disable();
	if (others)
		smp_call_function_many(mm_cpumask(s->mm), gca_fence_cpu, NULL, true);
	gca_fence_cpu(NULL);
	preempt_enable();
}

/* ---------------------------------------------------------------- engine: signal */

/* Return: false if the caller is attached to nothing. */
static bool gca_set_inside(struct gca_process *p, bool inside)
{
	struct gca_task *gt;

	rcu_read_lock();	/* another arena's death may unlink it */
	gt = gca_task_find(p, current);
	/* What it did before; pairs with gca_held(). */
	if (gt)
		smp_store_release(&gt->inside, inside);	/* as above */
	rcu_read_unlock();
	return gt;
}

/** gca_inside_enter() - the calling thread is in one of our calls: it has arrived */
void gca_inside_enter(struct gca_process *p)
{
	if (!gca_set_inside(p, true))
		return;
	smp_mb();	/* inside before signal_stops: a stopper asleep is woken */
	if (atomic_read(&p->signal_stops))
		wake_up(&p->arrive_wq);
}

/* One of the caller's mutators that owes its stack, or NULL. */
static struct gca_thread *gca_owing(struct gca_process *p)
{
	struct gca_thread *t, *found = NULL;
	struct gca_task *gt;

	spin_lock(&p->tasks_lock);
	gt = gca_task_find(p, current);
	if (gt)
		list_for_each_entry(t, &gt->threads, on_task)
			if (READ_ONCE(t->core.owes))
				found = t;
	if (found)
		refcount_inc(&found->refs);
	spin_unlock(&p->tasks_lock);
	return found;
}

/* Of all arenas that the caller is attached to: several may have been stopped. */
static void gca_capture_all(struct gca_process *p)
{
	struct gca_thread *t;

	while (!fatal_signal_pending(current) && (t = gca_owing(p))) {
		gca_capture(t);
		gca_thread_put(t);
	}
}

/* Does the caller owe one at all?  At the end of each call: without the lock. */
static bool gca_owes(struct gca_process *p)
{
	struct gca_thread *t;
	struct gca_task *gt;
	bool owes = false;

	rcu_read_lock();
	gt = gca_task_find(p, current);
	if (gt)
		list_for_each_entry_rcu(t, &gt->threads, on_task)
			owes |= READ_ONCE(t->core.owes) != 0;
	rcu_read_unlock();
	return owes;
}

/**
 * gca_inside_leave() - the opposite; not while a stop is under way, but if killed
 * @p: the process
 *
 * Debts are looked at when the thread has left and has seen no stop: a whole one may
 * have come and gone since it last looked, counting on its being inside.  Who sees
 * that stop over sees what it has left owing, gca_release(); and is inside again while
 * it scans, as if it had never left: it has executed no user instruction.
 */
void gca_inside_leave(struct gca_process *p)
{
	while (gca_set_inside(p, false)) {
		smp_mb();	/* pairs with the one in gca_port_stop(): see the top */
		if (likely(!atomic_read_acquire(&p->signal_stops) && !gca_owes(p)))
			return;
		gca_set_inside(p, true);
		smp_mb();	/* as in gca_inside_enter(), before the wake-up */
		wake_up(&p->arrive_wq);
		if (wait_event_state(p->hold_wq, !atomic_read(&p->signal_stops), GCA_HELD) ||
		    fatal_signal_pending(current))
			return;
		gca_capture_all(p);
	}
}

/* A counted section is left before the handler's call; the word is the thread's. */
static bool gca_held(const struct gca_thread *t)
{
	if (!gca_task_ours(t->task, t->shell->mm))
		return true;
	/* acquire: pairs with gca_inside_enter() */
	return smp_load_acquire(&t->gt->inside) &&
	       !(t->counted && READ_ONCE(t->core.shared->critical));
}

/* Have all arrived?  *@id: the first that has not been seen to. */
static bool gca_all_held(struct gca_shell *s, unsigned long *id)
{
	struct gca_thread *t;

	for (t = xa_find(&s->threads, id, ULONG_MAX, XA_PRESENT); t;
	     t = xa_find_after(&s->threads, id, ULONG_MAX, XA_PRESENT))
		if (!gca_held(t))
			return false;
	return true;
}

/* ---------------------------------------------------------------------- the stop */

static void gca_release(struct gca_shell *s)
{
	WRITE_ONCE(s->a->control->stop, 0);
	/* What the collector did in the stop; pairs with gca_stopping(). */
	smp_store_release(&s->stop_rel, s->stop_gen);
	if (s->stop_engine == GCARENA_ENGINE_SIGNAL) {
		smp_mb__before_atomic();	/* owes; pairs with gca_inside_leave() */
		atomic_dec(&s->process->signal_stops);
		wake_up_all(&s->process->hold_wq);
	}
	wake_up_all(&s->hold_wq);
}

/* Never to another program: exec takes this lock when it changes the mm. */
static void gca_send(struct gca_shell *s, struct task_struct *task)
{
	task_lock(task);
	if (task->mm == s->mm)
		send_sig(s->stop_signal, task, 1);
	task_unlock(task);
}

/*
 * Is it asleep, on no run queue and on no processor?  Who is so after having been armed is
 * held without an interrupt: it is put on a run queue under the queue's lock, and the
 * processor that is to run it takes that lock to pick it, by an atomic operation, before it
 * looks at the thread's flags on the way to user mode:
 *
 *	stopper: flag, fence, on_rq	waker: on_rq, unlock	processor: lock, flag
 *
 * Its state would not do: who is preempted with a state set runs on without being woken.
 * on_rq is read before on_cpu: who is on its way to sleep has its registers still in the
 * processor.  Who is woken in between, and has gone off its processor again, has them
 * in memory since it slept; they are loaded on the way to user mode.
 */
static bool gca_asleep(struct task_struct *task)
{
	if (READ_ONCE(task->on_rq))
		return false;
	smp_rmb();	/* as above */
	/* acquire: what it wrote to its stack; pairs with the scheduler's finish_task() */
	return !smp_load_acquire(&task->on_cpu);
}

/* Return: true if the thread is held by that. */
static bool gca_arm(struct gca_shell *s, struct gca_thread *t)
{
	/* And not who only waits for a processor. */
	if (!READ_ONCE(t->task->on_cpu) && READ_ONCE(t->task->__state) != TASK_RUNNING)
		s->held_asleep++;
	if (s->stop_engine == GCARENA_ENGINE_TASKWORK) {
		gca_arm_work(t);
		smp_mb();	/* its flag before on_rq: gca_asleep() */
		return gca_asleep(t->task);
	}
	if (!gca_held(t))
		gca_send(s, t->task);
	return false;
}

int gca_port_stop(struct gca_arena *a, u64 deadline)
{
	struct gca_shell *s = gca_shell_of(a);
	struct gca_process *p = s->process;
	unsigned long id;
	struct gca_thread *t;
	bool awake = false;
	s64 left;

	lockdep_assert_held(&s->cycle_lock);
	s->stop_engine = READ_ONCE(p->engine);
	WRITE_ONCE(s->stop_gen, s->stop_gen + 1);
	WRITE_ONCE(a->control->stop, 1);
	if (s->stop_engine == GCARENA_ENGINE_SIGNAL)
		atomic_inc(&p->signal_stops);
	smp_mb();	/* pairs with the callback and with gca_inside_leave() */

	xa_for_each(&s->threads, id, t) {
		s->held++;
		if (t->task != current)		/* COLLECT's caller, in our call */
			awake |= !gca_arm(s, t);
	}
	if (s->stop_engine == GCARENA_ENGINE_SIGNAL) {
		id = 0;
		left = deadline - ktime_get_ns();
		if (!gca_all_held(s, &id) && left > 0)
			wait_event_hrtimeout(p->arrive_wq,
					     gca_all_held(s, &id) || gca_shell_dying(s),
					     ns_to_ktime(left));
		if (!gca_all_held(s, &id)) {
			WRITE_ONCE(s->blame, id);
			gca_release(s);
			return gca_shell_dying(s) ? -ESRCH : -EAGAIN;
		}
	}
	gca_fence(s, awake);
	return 0;
}

/** gca_blame() - the thread that was last not held in time, as the caller knows it; 0: none */
u32 gca_blame(struct gca_shell *s)
{
	u32 id = READ_ONCE(s->blame);
	struct gca_thread *t = id ? gca_thread_get(s, id) : NULL;
	u32 tid = 0;

	if (t) {
		tid = task_pid_vnr(t->task);
		gca_thread_put(t);
	}
	return tid;
}

void gca_port_start(struct gca_arena *a)
{
	gca_release(gca_shell_of(a));
}

/*
 * Killable; death ends it.  And so does a freezer, in the coordinator: who is frozen takes
 * no signal, and the freezer does not wait as long as we should for him.
 */
int gca_port_backoff(struct gca_arena *a, u64 ns)
{
	struct gca_shell *s = gca_shell_of(a);
	u64 ms = DIV_ROUND_UP_ULL(ns, NSEC_PER_MSEC);

	if (wait_event_killable_timeout(s->gate_wq, gca_shell_dying(s),
					msecs_to_jiffies(ms)) < 0)
		return -EINTR;
	if (gca_shell_dying(s))
		return -ESRCH;
	return current->flags & PF_KTHREAD && gca_owner_parked(s->process) ? -ECANCELED : 0;
}
