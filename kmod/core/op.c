// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * op.c: operations and the gate.
 *
 * An operation is a piece of an ioctl that touches spans, rings, marks or
 * specials.  It is bounded and never sleeps.  A stop begins by closing the gate
 * and waiting until no operation is open, while the world still runs (one may
 * be preempted or throttled: the stop must not contain that), and only then
 * holds the threads.  Who meets a closed gate waits outside.
 *
 * Memory order.  gca_op_begin() raises ops, then reads gate_closed;
 * gca_gate_close() sets gate_closed, then reads ops (in gca_port_quiesce());
 * each has a full barrier between its two accesses, so at least one of them
 * sees the other (Dekker).  gca_op_end() has a full barrier before it lowers ops,
 * and gca_gate_close() one after it has read zero: the stopper sees everything
 * the operations wrote.  gca_gate_open() releases what the stop wrote to the
 * operation that acquires the open gate.
 */
#include "core.h"

/* gca_op_try() - enter an operation.  Return: 0, or -EBUSY if the gate is closed */
int gca_op_try(struct gca_arena *a)
{
	atomic_inc(&a->ops);
	smp_mb();	/* pairs with the one in gca_gate_close() */
	/* acquire: what the last stop wrote; pairs with gca_gate_open() */
	if (likely(!smp_load_acquire(&a->gate_closed)))
		return 0;
	gca_op_end(a);
	return -EBUSY;
}

/*
 * gca_op_begin() - enter an operation, waiting outside a closed gate
 *
 * The phase must be read after this, not before.
 * Return: 0, or what gca_port_gate_wait() returns.
 */
int gca_op_begin(struct gca_arena *a)
{
	int err;

	while (gca_op_try(a)) {
		err = gca_port_gate_wait(a);
		if (err)
			return err;
	}
	return 0;
}

void gca_op_end(struct gca_arena *a)
{
	smp_mb();	/* the operation's accesses before the count that ends it */
	if (atomic_dec_and_test(&a->ops) && READ_ONCE(a->gate_closed))
		gca_port_gate_wake(a);
}

/** gca_gate_close() - let no operation begin, and wait for those that are open */
void gca_gate_close(struct gca_arena *a)
{
	WRITE_ONCE(a->gate_closed, 1);
	smp_mb();	/* pairs with the one in gca_op_begin() */
	gca_port_quiesce(a);
	smp_mb();	/* pairs with the one in gca_op_end() */
}

void gca_gate_open(struct gca_arena *a)
{
	/* What the stop wrote; pairs with the acquire in gca_op_begin(). */
	smp_store_release(&a->gate_closed, 0);
	gca_port_gate_wake(a);
}
