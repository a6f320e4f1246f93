// SPDX-License-Identifier: GPL-2.0-only
/*
 * serve.c: SERVE: a thread of the owner's is lent as the pager.
 *
 * One at a time, never attached, never stopped.  It scans what no-fault reads missed,
 * in its own context with faults on; it hands out runs of free heap pages for the
 * library to return by madvise(); and it looks after the plain roots when it is asked
 * to.  Handed-out runs stay out of the page heap until they are acknowledged; the
 * record is ours, the user's array is never read back.  A reply that was lost (signal,
 * bad address) costs nothing: the next SERVE hands out the same runs again.
 *
 * Scans are asked for through a pair of counters: scan_wanted is raised, whoever scans
 * sets scan_done to the value it saw.  Who asks: a worker that has missed something
 * (gca_serve_ask(), does not wait), and the one who runs the cycle (gca_serve_scan(),
 * waits).  If nobody scans, the latter withdraws the wish.  A thread that waits in
 * COLLECT stands in for the pager, if there is none or it is busy.
 *
 * The pager may find the gate shut by a cycle that waits for it: it scans there too.
 *
 * Looks (REFRESH, COMPARE) are told in the reply of a SERVE; the next SERVE of the
 * same thread is the answer.
 *
 * Takes pager_lock (spin) only; it may not take cycle_lock, which a cycle holds
 * while it waits for us.  Sleeps are interruptible: SERVE ends with -EINTR.
 */
#include <linux/freezer.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/jobctl.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "glue.h"

#define GCA_SERVE_IN	(GCARENA_SERVE_NOWAIT | GCARENA_SERVE_LOOKS | GCARENA_SERVE_CHANGED)

static bool gca_scan_asked(struct gca_shell *s)
{
	return READ_ONCE(s->scan_wanted) != READ_ONCE(s->scan_done);
}

/* Whoever returns runs looks again at @until, by gca_port_now(), unless it is told before. */
static void gca_runs_until(struct gca_shell *s, u64 until)
{
	spin_lock(&s->pager_lock);
	WRITE_ONCE(s->runs_until, until);
	spin_unlock(&s->pager_lock);
	smp_mb();	/* before it looks; pairs with the one in gca_scavenge_look() */
}

/** gca_serve_pending() - has SERVE anything to do, for one who does not wait in it? */
bool gca_serve_pending(struct gca_shell *s)
{
	gca_runs_until(s, U64_MAX);
	return gca_scan_asked(s) || !gca_scavenge_due(s->a, false);
}

void gca_port_return(struct gca_arena *a, u64 due)
{
	struct gca_shell *s = gca_shell_of(a);
	u64 at = gca_port_now() + due;
	bool news;

	if (at >= READ_ONCE(s->runs_until))
		return;
	spin_lock(&s->pager_lock);
	news = at < s->runs_until;
	if (news) {
		WRITE_ONCE(s->runs_until, 0);
		WRITE_ONCE(s->kicks, s->kicks + 1);
	}
	spin_unlock(&s->pager_lock);
	if (news)
		wake_up_all(&s->pager_wq);
}

/* Is there a scan for one who has none? */
static bool gca_scan_there(struct gca_shell *s)
{
	return gca_scan_asked(s) && !READ_ONCE(s->scanning);
}

static void gca_scan_wake(struct gca_shell *s)
{
	wake_up_all(&s->pager_wq);
	wake_up_all(&s->gate_wq);	/* gca_serve_gate_wait() */
}

/** gca_serve_ask() - something was missed: let it be scanned soon */
void gca_serve_ask(struct gca_shell *s)
{
	bool news;

	spin_lock(&s->pager_lock);
	news = s->scan_wanted == s->scan_done;
	if (news)
		WRITE_ONCE(s->scan_wanted, s->scan_wanted + 1);
	spin_unlock(&s->pager_lock);
	if (news)
		gca_scan_wake(s);
}

/** gca_serve_present() - is there a thread that serves, now or soon again? */
bool gca_serve_present(struct gca_shell *s)
{
	bool there;

	spin_lock(&s->pager_lock);
	there = s->server && !(READ_ONCE(s->server->flags) & PF_EXITING);
	spin_unlock(&s->pager_lock);
	return there;
}

/* Can a scan be hoped for?  @patient: also of a pager that is just now busy elsewhere. */
static bool gca_scan_hoped(struct gca_shell *s, bool patient)
{
	return READ_ONCE(s->pager_ready) || READ_ONCE(s->stand_ins) ||
	       (patient && gca_serve_present(s));
}

#define GCA_SCAN_LOOK		(HZ / 20)
#define GCA_SCAN_PATIENCE	(2ULL * NSEC_PER_SEC)	/* until a scan has begun */

/*
 * gca_serve_scan() - let what was missed be scanned; by the one who runs the cycle
 *
 * It waits for the end of the scan, or for the cycle's age limit.  A scan that is
 * then still under way is asleep in a fault that nobody answers; it is a counted
 * marker, and the next cycle does not begin before it has gone.
 *
 * Return: true if all has been scanned; false if nobody does it, or if the caller is
 * to give up: it must look for itself.
 */
bool gca_serve_scan(struct gca_shell *s)
{
	/* A lent thread can scan for itself. */
	bool patient = current->flags & PF_KTHREAD, done, busy, killed = false;
	u64 ticket, began = ktime_get_ns(), now;

	if (!gca_scan_hoped(s, patient))
		return false;
	spin_lock(&s->pager_lock);
	ticket = s->scan_wanted + 1;
	WRITE_ONCE(s->scan_wanted, ticket);
	spin_unlock(&s->pager_lock);
	gca_scan_wake(s);

	for (;;) {
		if (wait_event_killable_timeout(s->scan_wq, gca_shell_dying(s) ||
						READ_ONCE(s->scan_done) >= ticket ||
						!gca_scan_hoped(s, patient), GCA_SCAN_LOOK) < 0)
			killed = true;
		now = ktime_get_ns();
		spin_lock(&s->pager_lock);
		done = s->scan_done >= ticket;
		busy = s->scanning;
		spin_unlock(&s->pager_lock);
		if (done || killed || gca_shell_dying(s) || now > READ_ONCE(s->a->deadline))
			break;
		if (!busy && (!gca_scan_hoped(s, patient) || now - began > GCA_SCAN_PATIENCE))
			break;
		/* Frozen with it: the world must go on, or it will never be quite frozen. */
		if (!busy && gca_owner_parked(s->process))
			break;
	}
	spin_lock(&s->pager_lock);
	if (!s->scanning && s->scan_done < ticket)
		WRITE_ONCE(s->scan_done, s->scan_wanted);	/* no longer wanted */
	spin_unlock(&s->pager_lock);
	return done;
}

/* Can the pager be asked from here on?  It can while it sleeps. */
static void gca_scan_ready(struct gca_shell *s, bool ready)
{
	spin_lock(&s->pager_lock);
	WRITE_ONCE(s->pager_ready, ready);
	spin_unlock(&s->pager_lock);
}

/* Begin a scan if one is wanted and nobody is at it.  Return: what is wanted, or 0. */
static u64 gca_scan_begin(struct gca_shell *s)
{
	u64 wanted = 0;

	spin_lock(&s->pager_lock);
	if (s->scan_wanted != s->scan_done && !s->scanning) {
		wanted = s->scan_wanted;
		WRITE_ONCE(s->scanning, true);
	}
	spin_unlock(&s->pager_lock);
	return wanted;
}

/* It has done what was @wanted, or (0) given up. */
static void gca_scan_end(struct gca_shell *s, u64 wanted)
{
	spin_lock(&s->pager_lock);
	WRITE_ONCE(s->scanning, false);
	if (wanted > s->scan_done)
		WRITE_ONCE(s->scan_done, wanted);
	spin_unlock(&s->pager_lock);
	wake_up_all(&s->scan_wq);
	gca_scan_wake(s);	/* there may be more, for whoever waits */
}

/*
 * Scan if it is asked for.  Return: 1 if there was something, 0; -EINTR if the caller
 * is being killed.
 */
static int gca_scan(struct gca_shell *s)
{
	u64 wanted = gca_scan_begin(s);
	int ret;

	if (!wanted)
		return 0;
	/* It may also give up because the cycle is void: done. */
	ret = gca_missed_scan(s->a, GCA_MARK_SERVE);
	if (ret && fatal_signal_pending(current)) {
		gca_scan_end(s, 0);
		return -EINTR;
	}
	gca_scan_end(s, wanted);
	return 1;
}

/** gca_serve_gate_wait() - gca_port_gate_wait() for the pager: it scans meanwhile */
int gca_serve_gate_wait(struct gca_shell *s)
{
	int ret;

	gca_scan_ready(s, true);
	do {
		ret = wait_event_killable(s->gate_wq, !READ_ONCE(s->a->gate_closed) ||
					  gca_shell_dying(s) || gca_scan_there(s));
		if (!ret && !gca_shell_dying(s) && READ_ONCE(s->a->gate_closed))
			ret = gca_scan(s);
	} while (ret >= 0 && !gca_shell_dying(s) && READ_ONCE(s->a->gate_closed));
	gca_scan_ready(s, false);
	if (ret < 0)
		return -EINTR;
	return gca_shell_dying(s) ? -ESRCH : 0;
}

/* The caller's cgroup is being frozen, or the whole machine. */
static bool gca_to_be_frozen(void)
{
	return READ_ONCE(current->jobctl) & JOBCTL_TRAP_FREEZE || freezing(current);
}

/* And no cycle runs that may need it.  Without a pending signal nobody restarts the call. */
bool gca_leaves_for_freezer(struct gca_shell *s)
{
	return gca_to_be_frozen() && signal_pending(current) && !READ_ONCE(s->process->in_cycle);
}

/** gca_stand_in_begin() - a COLLECT is about to be asked for: its caller can scan */
void gca_stand_in_begin(struct gca_shell *s)
{
	spin_lock(&s->pager_lock);
	WRITE_ONCE(s->stand_ins, s->stand_ins + 1);
	spin_unlock(&s->pager_lock);
}

/**
 * gca_stand_in() - wait in COLLECT, and scan for a pager that is not there
 * @s: arena; after gca_stand_in_begin()
 * @done: set by the coordinator
 *
 * Return: 0, -EINTR if the caller is being killed, -ERESTARTSYS if it is to be frozen
 * between cycles (it asks again when it is thawed), -ESRCH if the arena died.
 */
int gca_stand_in(struct gca_shell *s, const bool *done)
{
	int ret;

	do {
		ret = wait_event_killable(s->pager_wq, READ_ONCE(*done) || gca_shell_dying(s) ||
					  (gca_scan_there(s) && !READ_ONCE(s->pager_ready)) ||
					  gca_leaves_for_freezer(s));
		if (!ret && !READ_ONCE(*done) && !gca_shell_dying(s))
			ret = gca_scan(s);
		if (!ret && gca_leaves_for_freezer(s))
			break;
	} while (ret >= 0 && !READ_ONCE(*done) && !gca_shell_dying(s));
	spin_lock(&s->pager_lock);
	WRITE_ONCE(s->stand_ins, s->stand_ins - 1);
	spin_unlock(&s->pager_lock);
	wake_up_all(&s->scan_wq);
	if (ret < 0)
		return -EINTR;
	if (READ_ONCE(*done))
		return 0;
	return gca_shell_dying(s) ? -ESRCH : -ERESTARTSYS;
}

/* ------------------------------------------------------------------ plain roots */

bool gca_port_looks(struct gca_arena *a)
{
	struct gca_shell *s = gca_shell_of(a);

	return READ_ONCE(s->looks) && gca_serve_present(s);
}

#define GCA_LOOK_PATIENCE	(10ULL * NSEC_PER_SEC)

/*
 * gca_port_look() - see core/port.h; by the coordinator, cycle_lock not held
 *
 * Return: 0, also for REFRESH if there is no pager that does so; 1 if it has answered CHANGED,
 * or has gone since it was asked to REFRESH: nobody knows what has been loaded; -ESRCH if the
 * arena died, -ETIMEDOUT without an answer, not counting the time in which the owner is frozen or
 * stopped.
 */
int gca_port_look(struct gca_arena *a, u32 what)
{
	int gone = what & GCARENA_SERVE_COMPARE ? 1 : 0;
	struct gca_shell *s = gca_shell_of(a);
	u64 began = ktime_get_ns();
	bool answered, changed;

	if (!gca_port_looks(a))
		return gone;
	spin_lock(&s->pager_lock);
	gca_look_ask(&s->look, what);
	spin_unlock(&s->pager_lock);
	wake_up_all(&s->pager_wq);
	do {
		wait_event_idle_timeout(s->scan_wq, !READ_ONCE(s->look.what) || gca_shell_dying(s),
					GCA_SCAN_LOOK);
		if (gca_owner_parked(s->process)) {
			wake_up_all(&s->pager_wq);	/* as in gca_coordinate_arena() */
			try_to_freeze();
			began = ktime_get_ns();
		}
	} while (READ_ONCE(s->look.what) && !gca_shell_dying(s) && gca_serve_present(s) &&
		 ktime_get_ns() - began < GCA_LOOK_PATIENCE);
	spin_lock(&s->pager_lock);
	answered = gca_look_end(&s->look);
	changed = s->look.changed;
	spin_unlock(&s->pager_lock);
	if (gca_shell_dying(s))
		return -ESRCH;
	if (answered)
		return changed;
	if (!gca_serve_present(s))
		return gone;
	WRITE_ONCE(s->blame, 0);	/* no thread's that a stop did not get */
	return -ETIMEDOUT;
}

/* Is there something to look at, of which the pager has not been told?  0: no. */
static u32 gca_to_look(struct gca_shell *s)
{
	return READ_ONCE(s->looks) ? gca_look_there(&s->look) : 0;
}

/* Tell it.  Return: what, or 0 if it is no longer wanted. */
static u32 gca_told_to_look(struct gca_shell *s)
{
	u32 what;

	spin_lock(&s->pager_lock);
	what = s->looks && s->server == current ? gca_look_take(&s->look) : 0;
	spin_unlock(&s->pager_lock);
	return what;
}

/* -------------------------------------------------------------------------- runs */

/*
 * A signal, or the freezer, which must wait until the cycle is over: it may need us, and
 * its workers are in the cgroup that is to be frozen.
 */
static int gca_serve_interrupted(struct gca_shell *s)
{
	if (!gca_to_be_frozen())
		return -EINTR;
	gca_scan_ready(s, true);
	while (READ_ONCE(s->process->in_cycle) && !gca_shell_dying(s)) {
		if (wait_event_killable(s->pager_wq, !READ_ONCE(s->process->in_cycle) ||
					gca_shell_dying(s) || gca_scan_there(s)))
			return -EINTR;
		if (gca_scan(s) < 0)
			return -EINTR;
	}
	gca_crew_dismiss(s->process);
	return -EINTR;
}

static int gca_serve_loop(struct gca_shell *s, struct gcarena_serve *arg)
{
	bool nowait = arg->flags & GCARENA_SERVE_NOWAIT, scanned = false;
	u64 due = U64_MAX, now;
	u32 flags, n;
	long ret;

	for (;;) {
		u32 kicks = READ_ONCE(s->kicks);

		/* From here on, until it says what is less. */
		gca_runs_until(s, U64_MAX);

		if (gca_shell_dying(s))
			return -ESRCH;
		ret = gca_scan(s);
		if (ret < 0)
			return ret;
		if (ret) {
			scanned = true;
			continue;
		}
		gca_scan_ready(s, false);
		flags = gca_told_to_look(s);
		if (flags) {
			arg->flags = flags;
			arg->nr_runs = 0;
			return 0;
		}
		n = gca_lent_take(s->a, s->lent, arg->nr_runs, !nowait);
		if (n) {
			/* A fault here is a lost reply. */
			if (copy_to_user(u64_to_user_ptr(arg->runs), s->lent->run,
					 n * sizeof(s->lent->run[0])))
				return -EFAULT;
			arg->flags = 0;
			arg->nr_runs = n;
			return 0;
		}
		if (nowait) {
			arg->flags = 0;
			arg->nr_runs = 0;
			return scanned ? 0 : -EAGAIN;
		}
		gca_scan_ready(s, true);
		ret = MAX_SCHEDULE_TIMEOUT;
		/* The time first: or a refill would find a later one, and wake us for nothing. */
		now = gca_port_now();
		if (arg->nr_runs)
			due = gca_scavenge_due(s->a, true);
		if (due != U64_MAX) {
			ret = nsecs_to_jiffies(due) + 1;
			gca_runs_until(s, now + due);
		}
		ret = wait_event_interruptible_timeout(s->pager_wq, gca_shell_dying(s) ||
						       gca_scan_there(s) || gca_to_look(s) ||
						       (arg->nr_runs &&
							READ_ONCE(s->kicks) != kicks), ret);
		if (ret < 0)
			return gca_serve_interrupted(s);
	}
}

/* The caller becomes the pager.  Return: 0, or -EBUSY if there is one. */
static int gca_serve_begin(struct gca_shell *s, u32 flags)
{
	struct task_struct *old = NULL;
	int ret = 0;

	spin_lock(&s->pager_lock);
	if (s->pager) {
		ret = -EBUSY;
	} else {
		s->pager = current;
		/* To what the last SERVE's reply asked. */
		if (s->server == current && gca_look_answer(&s->look, flags))
			wake_up_all(&s->scan_wq);
		if (!(flags & GCARENA_SERVE_NOWAIT)) {
			if (s->server != current) {
				old = s->server;
				s->server = get_task_struct(current);
			}
			WRITE_ONCE(s->looks, flags & GCARENA_SERVE_LOOKS);
		}
	}
	spin_unlock(&s->pager_lock);
	if (old)
		put_task_struct(old);
	return ret;
}

static void gca_serve_end(struct gca_shell *s)
{
	spin_lock(&s->pager_lock);
	s->pager = NULL;
	WRITE_ONCE(s->pager_ready, false);
	spin_unlock(&s->pager_lock);
	wake_up_all(&s->scan_wq);
	wake_up_all(&s->pager_wq);	/* a stand-in has left a scan to us */
}

/*
 * gca_ioc_serve() - GCARENA_IOC_SERVE
 *
 * Return: 0; -EAGAIN with NOWAIT and nothing to do, -EBUSY if another thread serves
 * or the caller is attached, -ENXIO before heap and control page are mapped,
 * -ESRCH when the arena dies, -EINTR, -EINVAL, -EFAULT.
 */
int gca_ioc_serve(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_serve *arg = &c->u.serve;
	bool attached;
	int ret;

	if (arg->flags & ~GCA_SERVE_IN || arg->nr_runs > GCARENA_SERVE_RUNS ||
	    arg->nr_done > GCARENA_SERVE_RUNS)
		return -EINVAL;
	attached = gca_attached(s);
	if (!gca_mapped(s))
		return -ENXIO;
	/* The pager must not be waited for by a stop; alone it may serve itself. */
	if (attached && !(arg->flags & GCARENA_SERVE_NOWAIT))
		return -EBUSY;

	ret = gca_serve_begin(s, arg->flags);
	if (ret)
		return ret;
	ret = gca_lent_done(s->a, s->lent, arg->nr_done);
	if (!ret)
		ret = gca_serve_loop(s, arg);
	gca_serve_end(s);
	return ret;
}
