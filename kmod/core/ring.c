// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * ring.c: the consumer's side of the barrier rings.
 *
 * A thread that overwrites a pointer while marking puts the old value in its
 * ring, then moves the tail, then stores (userlib).  We read whenever we want,
 * whether the thread runs or not; one consumer at a time, under the mutator's
 * lock.
 *
 * Memory order.  The thread's store to ring[tail % n] precedes its store to
 * ring_tail (program order; x86 does not reorder stores), which pairs with the
 * smp_load_acquire() here.  The head is released to the thread only after the
 * entries are in a counted worker (invariant 9), by smp_store_release(); the
 * thread reads it before it reuses an entry.
 *
 * The tail is hostile: more entries than the ring has void the cycle.  The
 * entries are hostile: each is read once and goes through gca_find().
 */
#include "cycle.h"
#include "mark.h"
#include "workbuf.h"

/*
 * gca_ring_drain() - grey everything in a ring
 *
 * Return: false for a tail that makes no sense; the cycle is void then.
 */
bool gca_ring_drain(struct gca_worker *w, struct gca_mutator *m)
{
	struct gcarena_mutator *sh = m->shared;
	u32 tail, n, part, first;
	bool ok;

	gca_spin_lock(&m->lock);
	/* pairs with the thread's store of the entry before that of the tail */
	tail = smp_load_acquire(&sh->ring_tail);
	n = tail - m->head;
	ok = n <= GCARENA_RING_ENTRIES;
	if (ok) {
		for (; n; n -= part, m->head += part) {
			first = m->head % GCARENA_RING_ENTRIES;
			part = min_t(u32, n, GCARENA_RING_ENTRIES - first);
			gca_grey_words(w, &sh->ring[first], part);
		}
	} else {
		m->head = tail;
		gca_cycle_void(m->arena, GCARENA_VOID_RING);
	}
	/* The entries have been read before the thread may reuse them. */
	smp_store_release(&sh->ring_head, m->head);
	gca_spin_unlock(&m->lock);
	return ok;
}

/** gca_ring_discard() - forget what a void cycle left in a ring */
void gca_ring_discard(struct gca_mutator *m)
{
	gca_spin_lock(&m->lock);
	m->head = READ_ONCE(m->shared->ring_tail);
	/* as above, though nobody has read them */
	smp_store_release(&m->shared->ring_head, m->head);
	gca_spin_unlock(&m->lock);
}

/* In an operation: empty a ring.  With the phase off nobody wants what is in it. */
void gca_ring_settle(struct gca_mutator *m)
{
	struct gca_arena *a = m->arena;
	struct gca_worker w;

	if (a->phase != GCARENA_PHASE_MARK) {
		gca_ring_discard(m);
		return;
	}
	gca_worker_init(&w, a, false, 0);
	gca_ring_drain(&w, m);
	gca_worker_fini(&w);
}

/*
 * gca_settle() - empty the calling thread's ring
 *
 * Return: as gca_op_begin().
 */
int gca_settle(struct gca_mutator *m)
{
	struct gca_arena *a = m->arena;
	int err = gca_op_begin(a);

	if (err)
		return err;
	gca_ring_settle(m);
	gca_op_end(a);
	return 0;
}
