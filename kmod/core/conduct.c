// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * conduct.c: how the conductor of a cycle gets its marking done.
 *
 * By workers, in a stop or with the world running; or by itself, in a stop, where it is a
 * thread of the owner's.  What workers do is in work.c, what a cycle is made of in cycle.c.
 *
 * Called with the phase at mark; nothing here changes it, stops the world or lets it run.
 */
#include "cycle.h"
#include "mark.h"
#include "workbuf.h"

#define OTHERS_WAIT	100000ULL	/* ns */

/* gca_workers_do() - have the port's workers do @work */
void gca_workers_do(struct gca_arena *a, enum gca_work work, u64 until)
{
	WRITE_ONCE(a->work, work);
	gca_port_run_workers(a, until);
	WRITE_ONCE(a->work, GCA_WORK_NONE);
}

/*
 * Have workers do @work once more, and the pager what they missed.  Return: false if the
 * cycle is void, or the caller is to give up.
 */
static bool workers_again(struct gca_arena *a, enum gca_work work)
{
	gca_roots_again(a);
	gca_workers_do(a, work, a->deadline);
	if (gca_give_up(a))
		return false;
	/* Nobody of the owner's serves: then what is missed stays missed. */
	if (gca_missed_pending(a) && !gca_port_pager_scans(a) && !gca_give_up(a))
		gca_cycle_void(a, GCARENA_VOID_UNREADABLE);
	return !gca_give_up(a);
}

/*
 * gca_mark_by_workers() - inside a stop: root jobs and, unless @work is GCA_WORK_ROOTS,
 * marking to the end
 *
 * Return: false if the cycle is void, or the caller is to give up.
 */
bool gca_mark_by_workers(struct gca_arena *a, enum gca_work work)
{
	bool all = work != GCA_WORK_ROOTS;

	do {
		if (!workers_again(a, work))
			return false;
	} while (all ? gca_work_left(a, 0) : gca_roots_left(a));
	return true;
}

/* Let the pager scan what was missed; its time is its own. */
static bool pager_scans(struct gca_worker *w)
{
	u64 t = gca_port_now();
	bool done = gca_port_pager_scans(w->arena);

	w->waited_ns += gca_port_now() - t;
	return done;
}

/*
 * All that is left may be in the hands of others, asleep in a fault: the pager, or a
 * thread that scans its own stack.  Return: false if the cycle is void.
 */
static bool others_done(struct gca_arena *a)
{
	while (atomic_read(&a->markers) > 1 && !atomic_read(&a->nr_full) &&
	       !atomic_read(&a->overflowed) && !gca_missed_pending(a))
		if (gca_give_up(a) || gca_port_backoff(a, OTHERS_WAIT))
			return false;
	return true;
}

/*
 * gca_mark_by_self() - the same by @w, in a thread of the owner's
 *
 * Nobody else marks but the pager, when asked.
 */
bool gca_mark_by_self(struct gca_worker *w, enum gca_work work)
{
	bool all = work != GCA_WORK_ROOTS;
	struct gca_arena *a = w->arena;

	do {
		gca_roots_again(a);
		if (!gca_roots_mark(w) || (all && !gca_drain(w)) || !gca_roots_missed(w))
			return false;
		gca_worker_publish(w);
		if (all && gca_missed_pending(a) && !pager_scans(w) && gca_missed_scan(a, w->mode))
			return false;
		if (gca_give_up(a) || (all && !others_done(a)))
			return false;
	} while (all ? gca_work_left(a, 1) : gca_roots_left(a));
	return true;
}

/* gca_drain_rings() - in a stop that is not the first.  Return: false if the cycle is void. */
bool gca_drain_rings(struct gca_worker *w)
{
	struct gca_mutator *m;

	list_for_each_entry(m, &w->arena->mutators, link)
		if (!gca_ring_drain(w, m))
			return false;
	return true;
}

/* -------------------------------------------------------------- the world running */

/*
 * Grey what is in the rings, while their threads go on.  Those that attached after the
 * begin stop are left to termination, and to themselves when their rings are full.
 *
 * A ring is read under its lock, whoever else may, and what it held is in our buffer
 * before its head moves; we are counted as long as that is not on a list.
 *
 * Return: false if the cycle is void; *@found: something was not marked.
 */
static bool drain_running(struct gca_arena *a, bool *found)
{
	struct gca_mutator *m;
	struct gca_worker w;
	bool ok = true;
	u32 i;

	gca_worker_init(&w, a, false, GCA_MARK_COLLECT);
	/* Counted, then looked: somebody else may have ended this cycle. */
	for (i = 0; ok && READ_ONCE(a->phase) == GCARENA_PHASE_MARK &&
	     gca_roots_thread(a, i, &m); i++) {
		if (!m)
			continue;
		ok = gca_ring_drain(&w, m);
		gca_port_mutator_put(a, m);
	}
	*found = w.objects;
	gca_worker_fini(&w);
	return ok;
}

#define STACK_WAIT	2000000ULL	/* for stacks that cannot be scanned just now, ns */

/*
 * gca_mark_running() - have workers mark while the world runs
 *
 * Until nothing is left that can be found so; stacks that only a stop makes readable are
 * left to it.  Return: false if the cycle is void, or the caller is to give up.
 */
bool gca_mark_running(struct gca_arena *a)
{
	u64 patience = gca_port_now() + STACK_WAIT;
	bool found;

	for (;;) {
		if (!workers_again(a, GCA_WORK_MARK) || !drain_running(a, &found))
			return false;
		if (found)
			continue;
		if (!gca_work_left(a, 0) || (gca_work_idle(a) && gca_port_now() > patience))
			return true;
		/* It is the next stop's to tell the caller why not. */
		if (gca_port_backoff(a, OTHERS_WAIT))
			return true;
	}
}
