// SPDX-License-Identifier: GPL-2.0-only
/*
 * serve.c: SERVE: a thread of the owner's is lent as the pager.
 *
 * One at a time, never attached.  It scans objects that no-fault reads missed, in
 * its own context with faults on, and hands out runs of free heap pages for the
 * library to return by madvise().  Handed-out runs stay out of the page heap
 * until they are acknowledged; the record is ours, the user's array is never read
 * back.  A reply that was lost (signal, bad address) costs nothing: the next
 * SERVE hands out the same runs again.
 *
 * COLLECT hands its missed objects to the pager through a pair of counters: it
 * raises scan_wanted, the pager scans and sets scan_done to the value it saw.  If
 * the pager leaves meanwhile COLLECT withdraws the wish and scans for itself.  It
 * asks only a pager that sleeps or scans: one that takes or returns runs may be
 * waiting at the gate, which COLLECT holds shut.
 *
 * Takes pager_lock (spin) only; it may not take cycle_lock, which COLLECT holds
 * while it waits for us.  Sleeps are interruptible: SERVE ends with -EINTR.
 */
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "glue.h"

#define GCA_SERVE_IN	(GCARENA_SERVE_NOWAIT | GCARENA_SERVE_LOOKS | GCARENA_SERVE_CHANGED)

static bool gca_scan_asked(struct gca_shell *s)
{
	return READ_ONCE(s->scan_wanted) != READ_ONCE(s->scan_done);
}

/** gca_serve_pending() - has SERVE anything to do? */
bool gca_serve_pending(struct gca_shell *s)
{
	return gca_scan_asked(s) || gca_scavenge_wanted(s->a);
}

/*
 * gca_serve_wanted() - is there enough to return? If it is news, wake the pager
 *
 * The pager looks once for each kick: there may be enough in all but no run that
 * is worth a system call, and it must not spin then.
 */
bool gca_serve_wanted(struct gca_shell *s)
{
	bool wanted = gca_scavenge_wanted(s->a), news;

	if (wanted == READ_ONCE(s->runs_wanted))
		return wanted;
	spin_lock(&s->pager_lock);
	news = wanted && !s->runs_wanted;
	WRITE_ONCE(s->runs_wanted, wanted);
	if (news)
		WRITE_ONCE(s->kicks, s->kicks + 1);
	spin_unlock(&s->pager_lock);
	if (news)
		wake_up_all(&s->pager_wq);
	return wanted;
}

/*
 * gca_serve_scan() - let the pager scan what was missed; called in COLLECT
 *
 * When it returns no pager scans, so the caller may go on as the only marker.
 * If the caller is killed or the arena dies in the middle of a scan, the scan's
 * end is waited for: it gives up soon, for the pager looks at the same things.
 * Return: true if all has been scanned; false if there is no pager, if it left
 * before the end, or if the caller is to give up: it must look for itself.
 */
bool gca_serve_scan(struct gca_shell *s)
{
	bool done, busy;
	u64 ticket;
	int killed;

	spin_lock(&s->pager_lock);
	if (!s->pager_ready) {
		spin_unlock(&s->pager_lock);
		return false;
	}
	ticket = s->scan_wanted + 1;
	WRITE_ONCE(s->scan_wanted, ticket);
	spin_unlock(&s->pager_lock);
	wake_up_all(&s->pager_wq);

	for (;;) {
		killed = wait_event_killable(s->scan_wq, gca_shell_dying(s) ||
					     READ_ONCE(s->scan_done) >= ticket ||
					     !READ_ONCE(s->pager_ready));
		spin_lock(&s->pager_lock);
		done = s->scan_done >= ticket;
		busy = s->scanning;
		if (!done && !busy)
			WRITE_ONCE(s->scan_done, ticket);	/* no longer wanted */
		spin_unlock(&s->pager_lock);
		if (done || !busy)
			return done;
		if (killed || gca_shell_dying(s))
			wait_event_idle(s->scan_wq, !READ_ONCE(s->scanning));
	}
}

/* The pager is about to sleep: from here on it can be asked. */
static void gca_scan_ready(struct gca_shell *s)
{
	spin_lock(&s->pager_lock);
	WRITE_ONCE(s->pager_ready, true);
	spin_unlock(&s->pager_lock);
}

/*
 * The pager is awake: it begins a scan if one is wanted, else it cannot be asked
 * until it sleeps again.  Return: what is wanted, or 0.
 */
static u64 gca_scan_begin(struct gca_shell *s)
{
	u64 wanted = 0;

	spin_lock(&s->pager_lock);
	if (s->scan_wanted != s->scan_done) {
		wanted = s->scan_wanted;
		WRITE_ONCE(s->scanning, true);
	} else {
		WRITE_ONCE(s->pager_ready, false);
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
}

/* The owner has returned the runs of the last reply: they are zero now. */
static int gca_lent_done(struct gca_shell *s, u32 nr_done)
{
	struct gca_lent *l = s->lent;

	if (!nr_done)
		return 0;
	if (nr_done != l->given)
		return -EINVAL;
	gca_scavenge_done(s->a, l->run, l->given);
	l->n -= l->given;
	memmove(l->run, l->run + l->given, l->n * sizeof(l->run[0]));
	l->given = 0;
	return 0;
}

/* Runs for the reply: those of a lost reply first. */
static u32 gca_lent_take(struct gca_shell *s, u32 room)
{
	struct gca_lent *l = s->lent;

	if (!l->n && gca_scavenge_wanted(s->a))
		l->n = gca_scavenge_take(s->a, l->run, room);
	l->given = min(l->n, room);
	return l->given;
}

static int gca_serve_loop(struct gca_shell *s, struct gcarena_serve *arg)
{
	bool nowait = arg->flags & GCARENA_SERVE_NOWAIT, scanned = false;
	int ret;

	for (;;) {
		u32 kicks = READ_ONCE(s->kicks);
		u64 wanted;

		if (gca_shell_dying(s))
			return -ESRCH;
		wanted = gca_scan_begin(s);
		if (wanted) {
			/* It may also give up because the cycle is void: done. */
			ret = gca_missed_scan(s->a, 1);
			if (ret && fatal_signal_pending(current)) {
				gca_scan_end(s, 0);
				return -EINTR;
			}
			gca_scan_end(s, wanted);
			scanned = true;
			continue;
		}
		if (arg->nr_runs && gca_lent_take(s, arg->nr_runs)) {
			u32 n = s->lent->given;

			/* A fault here is a lost reply. */
			if (copy_to_user(u64_to_user_ptr(arg->runs), s->lent->run,
					 n * sizeof(s->lent->run[0])))
				return -EFAULT;
			arg->nr_runs = n;
			return 0;
		}
		if (nowait) {
			arg->nr_runs = 0;
			return scanned ? 0 : -EAGAIN;
		}
		gca_scan_ready(s);
		ret = wait_event_interruptible(s->pager_wq, gca_shell_dying(s) ||
					       gca_scan_asked(s) ||
					       (arg->nr_runs && READ_ONCE(s->kicks) != kicks));
		if (ret)
			return -EINTR;
	}
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
	bool mapped, attached;
	int ret;

	if (arg->flags & ~GCA_SERVE_IN || arg->nr_runs > GCARENA_SERVE_RUNS ||
	    arg->nr_done > GCARENA_SERVE_RUNS)
		return -EINVAL;
	spin_lock(&s->map_lock);
	mapped = s->heap_mapped && s->control_mapped;
	spin_unlock(&s->map_lock);
	attached = gca_attached(s);
	if (!mapped)
		return -ENXIO;
	/* The pager must not be waited for by a stop; alone it may serve itself. */
	if (attached && !(arg->flags & GCARENA_SERVE_NOWAIT))
		return -EBUSY;

	spin_lock(&s->pager_lock);
	ret = s->pager ? -EBUSY : 0;
	if (!ret)
		s->pager = current;
	spin_unlock(&s->pager_lock);
	if (ret)
		return ret;
	ret = gca_lent_done(s, arg->nr_done);
	if (!ret)
		ret = gca_serve_loop(s, arg);
	arg->flags = 0;
	spin_lock(&s->pager_lock);
	s->pager = NULL;
	WRITE_ONCE(s->pager_ready, false);
	spin_unlock(&s->pager_lock);
	wake_up_all(&s->scan_wq);
	return ret;
}
