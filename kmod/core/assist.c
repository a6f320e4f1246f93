// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * assist.c: threads that allocate while a cycle marks pay for it, in work.
 *
 * Go's assists (mgcmark.go, gcAssistAlloc() and gcFlushBgCredit()).  Each thread has a
 * balance in bytes, which begins at nothing with each cycle.  Spans that it is lent and
 * large objects are taken from it.  Who is in debt pays, at the price of the moment
 * (gca_pacer_price()) and OVER_ASSIST bytes of work at least, before it goes on: from the
 * credit that workers have earned for all; else by marking, not for longer in one go than the
 * knob assist_us says; and who then still owes waits in a queue, first come first served, to be
 * paid for by what workers do next, all of them meanwhile (modes.c).  One that gets only a part
 * of what it owes goes to the end of the queue, so that one large debt does not keep many small
 * ones.  The end of the cycle forgives all.
 *
 * Who is near the goal with no cycle under way helps to sweep, and then waits for the cycle to
 * begin: else threads that keep all processors busy keep the coordinator from its, and the heap
 * grows without a bound.
 *
 * A thread waits in vain for LATE_NS in a cycle, and between two; from then on, for one sleep a
 * call: what the others wait for may be something that it has, like the loader's lock, or the
 * page that it is to supply.  So it gets on, if slowly.
 *
 * When collecting has had more than its share of processor time (limiter.c) nobody pays, nor
 * waits: that has the last word.  What rules collide is decided so: a memory limit goes before the
 * goal that the percentage sets (pacer.c), the goal before the share of the machine that marking
 * may have (modes.c), and the limiter before all of them.
 *
 * What is looked at is in steps of a span: the library's fast path knows nothing of
 * this, and need not.  An assist is the thread's own call, outside operations: it may sleep.
 * It holds back neither a stop nor the end of the cycle.  It does not fault, though: the page may
 * be one that this thread is to supply.  What it cannot read it leaves to the pager.
 *
 * A queue entry is on its owner's stack, under assist_lock; its word .done is what the owner
 * sleeps on.  Credit is added before the queue is looked at, and a thread queues before it looks
 * at the credit, with a full barrier in between on both sides: one of them sees the other.  What
 * is left of credit that was taken for the queue is put back under assist_lock, under which a
 * thread queues.  Besides, no sleep is long.
 */
#include "cycle.h"
#include "mark.h"
#include "workbuf.h"

#define OVER_ASSIST	65536ULL	/* work, in bytes */
#define ASSIST_SLEEP	2000000ULL	/* ns */
#define LATE_NS		10000000ULL	/* of waiting in vain */
#define HELP_SPANS	32		/* swept between looks */
#define WAKE_BATCH	32		/* under the lock */

/* A thread that waits to be paid for. */
struct gca_payee {
	struct list_head link;
	u64 debt;		/* bytes */
	u32 done;		/* paid, or forgiven */
};

/* --------------------------------------------------------------------- balances */

/* Under m->lock: the balance is of this cycle. */
static void balance_begin(struct gca_mutator *m)
{
	u64 epoch = READ_ONCE(m->arena->epoch);

	if (m->balance_epoch == epoch)
		return;
	m->balance_epoch = epoch;
	m->balance = 0;
}

static void balance_add(struct gca_mutator *m, s64 bytes)
{
	m->balance += bytes;
	/* For whoever looks: nobody reads it back. */
	WRITE_ONCE(m->shared->assist_balance, m->balance);
}

/*
 * gca_assist_charge() - @bytes have been handed to a thread, or taken back if negative
 *
 * In an operation, under m->lock.
 */
void gca_assist_charge(struct gca_mutator *m, s64 bytes)
{
	if (m->arena->phase != GCARENA_PHASE_MARK || !m->arena->pacer.marking)
		return;
	balance_begin(m);
	balance_add(m, -bytes);
}

/* Of the cycle of @epoch: another one's is nothing to it. */
static void pay(struct gca_mutator *m, u64 bytes, u64 epoch)
{
	gca_spin_lock(&m->lock);
	balance_begin(m);
	if (m->balance_epoch == epoch)
		balance_add(m, min(bytes, (u64)S64_MAX / 2));
	gca_spin_unlock(&m->lock);
}

/* What it owes, and in which cycle; 0 too if nobody goes on with that. */
static u64 debt_of(struct gca_mutator *m, u64 *epoch)
{
	struct gca_arena *a = m->arena;
	s64 balance;

	if (READ_ONCE(a->phase) != GCARENA_PHASE_MARK || !READ_ONCE(a->pacer.marking) ||
	    READ_ONCE(a->interrupted) || READ_ONCE(a->void_reason))
		return 0;
	gca_spin_lock(&m->lock);
	balance_begin(m);
	balance = m->balance;
	*epoch = m->balance_epoch;
	gca_spin_unlock(&m->lock);
	return balance < 0 ? -balance : 0;
}

/* How many bytes @work pays for: not more than are left, for which nobody else could pay. */
static u64 worth(const struct gca_price *price, u64 work)
{
	return min(gca_mul_div(work, price->bytes, price->work), price->bytes);
}

/* ----------------------------------------------------------------------- credit */

/* Return: how much of @need there was. */
static u64 credit_take(struct gca_arena *a, u64 need)
{
	u64 old, take;

	do {
		old = atomic64_read(&a->credit);
		take = min(old, need);
	} while (take && (u64)atomic64_cmpxchg(&a->credit, old, old - take) != old);
	return take;
}

/* Both under assist_lock. */
static void payee_add(struct gca_arena *a, struct gca_payee *y)
{
	list_add_tail(&y->link, &a->payees);
	WRITE_ONCE(a->nr_payees, a->nr_payees + 1);
}

static void payee_remove(struct gca_arena *a, struct gca_payee *y)
{
	list_del(&y->link);
	WRITE_ONCE(a->nr_payees, a->nr_payees - 1);
}

/* Under assist_lock; its owner cannot have gone before that is free. */
static void payee_wake(struct gca_arena *a, struct gca_payee *y)
{
	payee_remove(a, y);
	WRITE_ONCE(y->done, 1);
	gca_port_wake(&y->done);
}

static void payees_pay(struct gca_arena *a, u64 work)
{
	struct gca_price price = gca_pace_price(a);
	u64 bytes = worth(&price, work), left = bytes, part, used;
	struct gca_payee *y;
	u32 i = 0;

	gca_spin_lock(&a->assist_lock);
	while (left && (y = list_first_entry_or_null(&a->payees, struct gca_payee, link))) {
		part = min(left, y->debt);
		y->debt -= part;
		left -= part;
		if (!y->debt)
			payee_wake(a, y);
		else
			list_move_tail(&y->link, &a->payees);
		if (++i % WAKE_BATCH)
			continue;
		gca_spin_unlock(&a->assist_lock);
		gca_port_relax(a);
		gca_spin_lock(&a->assist_lock);
	}
	/* The rest is for the next; so is work that is worth less than a byte. */
	used = gca_mul_div(bytes - left, price.work, price.bytes);
	if (used < work)
		atomic64_add(work - used, &a->credit);
	gca_spin_unlock(&a->assist_lock);
}

/* gca_assist_credit() - a worker has done @work for all */
void gca_assist_credit(struct gca_arena *a, u64 work)
{
	atomic64_add(work, &a->credit);
	smp_mb();	/* pairs with the one in wait_in_queue() */
	if (READ_ONCE(a->nr_payees)) {
		work = credit_take(a, U64_MAX);
		if (work)
			payees_pay(a, work);
	}
}

/* gca_assist_reset() - in the stop in which a cycle begins to be paced, or ends: no credit */
void gca_assist_reset(struct gca_arena *a)
{
	atomic64_set(&a->credit, 0);
}

/*
 * gca_assist_wake() - after such a stop: all who wait are to look again
 *
 * What they owe is forgiven by the epoch.  Whoever queues meanwhile sees the phase.
 */
void gca_assist_wake(struct gca_arena *a)
{
	struct gca_payee *y;
	u32 left = READ_ONCE(a->nr_payees), i;

	while (left) {
		gca_spin_lock(&a->assist_lock);
		for (i = 0; left && i < WAKE_BATCH; i++, left--) {
			y = list_first_entry_or_null(&a->payees, struct gca_payee, link);
			if (!y) {
				left = 0;
				break;
			}
			payee_wake(a, y);
		}
		gca_spin_unlock(&a->assist_lock);
		gca_port_relax(a);
	}
}

/* ----------------------------------------------------------------------- assists */

/**
 * struct gca_assist - a call that pays, and may have to wait
 * @phase: in which it waits
 * @held: it has been held up: has marked, swept or waited
 * @late: has waited in vain for so long, ns
 * @swept: has helped to sweep for so long, ns
 */
struct gca_assist {
	u32 phase;
	bool held;
	u64 late, swept;
};

/* Something that changes when anybody marks, or sweeps. */
static u64 progress(struct gca_arena *a)
{
	return gca_pace_work(a) - (u64)atomic64_read(&a->unswept);
}

/*
 * In the queue, until the debt is paid, the phase changes, or for a while.
 * Return: bytes that were paid for.
 */
static u64 wait_in_queue(struct gca_arena *a, u64 debt, struct gca_assist *as)
{
	u64 t = gca_port_now(), before = progress(a);
	struct gca_payee y = { .debt = debt };
	bool credit;

	gca_spin_lock(&a->assist_lock);
	payee_add(a, &y);
	smp_mb();	/* pairs with the one in gca_assist_credit() */
	credit = as->phase == GCARENA_PHASE_MARK && atomic64_read(&a->credit);
	gca_spin_unlock(&a->assist_lock);
	if (!credit && READ_ONCE(a->phase) == as->phase) {
		gca_port_hurry(a);
		gca_port_sleep(a, &y.done, ASSIST_SLEEP);
	}
	gca_spin_lock(&a->assist_lock);
	if (!y.done)
		payee_remove(a, &y);
	gca_spin_unlock(&a->assist_lock);
	/* In vain: nobody has done anything. */
	if (y.debt == debt && !credit && progress(a) == before)
		as->late += gca_port_now() - t;
	return debt - y.debt;
}

/* Return: true if it owes nothing any more, or there is nothing that it could do. */
static bool pay_some(struct gca_mutator *m, u64 debt, u64 epoch, struct gca_assist *as)
{
	struct gca_arena *a = m->arena;
	struct gca_price price = gca_pace_price(a);
	u64 need = gca_mul_div(debt, price.work, price.bytes), done, worked = 0;
	u64 slice = READ_ONCE(a->knob.assist_us) * 1000;

	/* Less than a byte of work: as with no bound on the heap. */
	if (!need) {
		pay(m, debt, epoch);
		return true;
	}
	need = max(need, OVER_ASSIST);
	done = credit_take(a, need);
	if (done < need && READ_ONCE(a->work) == GCA_WORK_MARK) {
		worked = gca_work_some(a, GCA_MARK_ASSIST, slice, need - done, NULL);
		as->held = true;
	}
	done += worked;
	if (done)
		pay(m, worth(&price, done) + 1, epoch);
	debt = debt_of(m, &epoch);
	/* With fewer workers than processors it is of more use here than asleep. */
	if (!debt || (worked && READ_ONCE(a->crew) < READ_ONCE(a->processors)))
		return !debt;
	as->held = true;
	pay(m, wait_in_queue(a, debt, as), epoch);
	return false;
}

/*
 * Has a cycle been asked for, and not begun, and half of the way from the trigger to the goal is
 * gone?  The other half is for what is allocated while it marks.
 */
static bool overdue(struct gca_arena *a)
{
	u64 live = max_t(s64, atomic64_read(&a->heap_live), 0);
	u64 goal = READ_ONCE(a->heap_goal), trigger = READ_ONCE(a->heap_trigger);

	return a->concurrent && READ_ONCE(a->has_goal) &&
	       READ_ONCE(a->phase) == GCARENA_PHASE_OFF && live >= trigger &&
	       live >= goal - (goal - min(goal, trigger)) / 2;
}

/*
 * First what keeps the next cycle from its beginning.  Return: false if there is nothing to wait
 * for, or nobody who would begin it.
 */
static bool wait_for_begin(struct gca_arena *a, struct gca_assist *as)
{
	s64 unswept = atomic64_read(&a->unswept);
	u64 t = gca_port_now();

	/* What was told before we waited may have been the cause of a cycle that is over. */
	gca_pace_look(a);
	if (!overdue(a))
		return true;
	if (gca_cycle_wanted(a) && !gca_port_kick(a))
		return false;
	as->held = true;
	if (unswept && !gca_op_try(a)) {
		gca_sweep_some(a, HELP_SPANS);
		gca_op_end(a);
		/* Not so, if all that is left is in somebody's hands. */
		if (atomic64_read(&a->unswept) < unswept) {
			as->swept += gca_port_now() - t;
			return true;
		}
	}
	wait_in_queue(a, U64_MAX, as);
	return true;
}

/* Statistics of one assist that has ended. */
static void assist_count(struct gca_arena *a, u64 ns)
{
	gca_spin_lock(&a->assist_lock);
	gca_hist_add(&a->totals.assists, ns);
	gca_spin_unlock(&a->assist_lock);
}

/**
 * gca_assist() - pay for what has been allocated
 * @m: the calling thread's mutator
 *
 * In the thread's own call, outside operations, after the coordinator has been told of the
 * trigger.  On return it owes nothing, or the cycle is over, or the caller is being killed or
 * has a signal, or it has waited in vain, see the top.
 */
void gca_assist(struct gca_mutator *m)
{
	struct gca_arena *a = m->arena;
	struct gca_assist as = {};
	u64 began = 0, last = 0, debt, epoch;

	for (;; last = epoch) {
		epoch = READ_ONCE(a->epoch);
		debt = debt_of(m, &epoch);
		if (epoch != last)
			as.late = 0;
		if (!debt && !overdue(a))
			break;
		/* It has the last word: better a larger heap than no progress. */
		if (gca_pace_limited(a))
			break;
		began = began ? began : gca_port_now();
		if (debt) {
			/* What it owes in any case comes first: others may wait for it. */
			gca_roots_self(m);
			as.phase = GCARENA_PHASE_MARK;
			if (pay_some(m, debt, epoch, &as))
				break;
		} else {
			as.phase = GCARENA_PHASE_OFF;
			if (!wait_for_begin(a, &as))
				break;
		}
		if (as.late >= LATE_NS)
			m->late_epoch = epoch;
		if (as.late && m->late_epoch == epoch)
			break;
		/* The next call will go on with it. */
		if (as.swept >= LATE_NS || gca_port_signalled() || gca_port_relax(a))
			break;
	}
	if (as.held)
		assist_count(a, gca_port_now() - began);
}

/**
 * gca_wants() - at the end of a call of the owner's: what is due?
 * @a: arena
 * @pays: the calling thread's mutator: what it owes it does here; NULL in SETTLE, which is in
 *	the middle of a store, or in the handler of the stop signal
 *
 * Return: what the library should do next, GCARENA_WANT_*; who else can do it has been told.
 */
u32 gca_wants(struct gca_arena *a, struct gca_mutator *pays)
{
	u32 flags = 0;

	gca_pace_look(a);
	if (gca_cycle_wanted(a) && !gca_port_kick(a))
		flags |= GCARENA_WANT_COLLECT;
	else if (pays)
		gca_assist(pays);
	if (gca_scavenge_look(a))
		flags |= GCARENA_WANT_SERVE;
	if (pays && gca_stop_tell(a))
		flags |= GCARENA_WANT_TELL;
	return flags;
}
