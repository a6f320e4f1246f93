// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * mutator.c: a thread's spans as the kernel sees them.
 *
 * The mutator area is written by the thread as it likes.  Of its slots we read
 * one word, the free index, once at a time, and believe it only if it has not
 * gone back and not beyond the span; everything else (which span is in which
 * slot, how the chains run) is in our own records, the twins.
 */
#include "cycle.h"
#include "mark.h"
#include "span.h"
#include "workbuf.h"

/*
 * gca_mutator_observe() - a cached span's free index, as far as it is believed
 *
 * Under m->lock.  An index that went back or beyond is replaced by the last good
 * one: the thread loses what it allocated in between, nobody else does.  Slots
 * passed since the last look are counted as allocated.
 */
u32 gca_mutator_observe(struct gca_mutator *m, u32 slot)
{
	struct gca_span *s = m->twin[slot].span;
	u32 index = READ_ONCE(m->shared->slot[slot].free_index);
	struct gca_arena *a = m->arena;
	unsigned int i, n = 0;

	if (index <= s->free || index > s->nelems)
		return s->free;
	for (i = s->free / 64; i < gca_bit_words(index); i++)
		n += hweight64(gca_range_mask(s->free, index, i) & ~gca_pair(a, s->page, i)[1]);
	atomic64_add((u64)n * gca_class[m->twin[slot].span_class].size, &a->totals.allocated);
	s->free = index;
	return index;
}

/*
 * gca_mutator_snapshot() - in the begin stop: fix what is old
 *
 * snap := free index for each cached span.  A thread that counts its critical
 * sections may be held inside one, after the store that commits an allocation
 * and before the object's address is anywhere that is scanned: then the object
 * just below snap is marked and scanned.  A restartable sequence has the address
 * in a register before its last instruction, the commit; its thread needs no
 * such care, and would keep a dead object a class, with all that it reaches,
 * for as long as it does not allocate.
 */
void gca_mutator_snapshot(struct gca_worker *w, struct gca_mutator *m)
{
	struct gca_arena *a = w->arena;
	bool inside = READ_ONCE(m->shared->critical);
	u32 i = 0, left;

	gca_spin_lock(&m->lock);
	left = gca_slots_used(m);
	while ((i = gca_slot_next(m, i, &left))) {
		struct gca_span *s = m->twin[i].span;
		u32 index = gca_mutator_observe(m, i);

		gca_pw_set_index(a, s->page, gca_pw_base(*gca_pw(a, s->page)), index);
		if (index && inside)
			gca_grey_slot(w, s, index - 1);
	}
	gca_spin_unlock(&m->lock);
}

/*
 * gca_mutator_next() - for all mutators: the one after @m, or the first; held
 * @m: what this returned before, let go of now; NULL: begin
 *
 * mutators_lock is held for the step only: there may be GCARENA_THREADS_MAX of them.  Who is
 * attached or detached meanwhile may or may not be met; m->twin is looked at under m->lock.
 */
struct gca_mutator *gca_mutator_next(struct gca_arena *a, struct gca_mutator *m)
{
	struct gca_mutator *next = NULL, *i;
	struct list_head *at;

	gca_spin_lock(&a->mutators_lock);
	if (m && list_empty(&m->link)) {
		/* It has gone meanwhile. */
		list_for_each_entry(i, &a->mutators, link)
			if (i->turn > m->turn) {
				next = i;
				break;
			}
	} else {
		at = m ? m->link.next : a->mutators.next;
		if (at != &a->mutators)
			next = list_entry(at, struct gca_mutator, link);
	}
	if (next)
		gca_port_mutator_get(a, next);
	gca_spin_unlock(&a->mutators_lock);
	if (m)
		gca_port_mutator_put(a, m);
	return next;
}

/**
 * gca_mutator_init() - prepare @m for gca_mutator_attach()
 * @m: zeroed
 * @a: arena
 * @nr_slots: GCARENA_SLOTS_MIN .. GCARENA_SLOTS_MAX
 * @shared: zeroed mutator area of gca_mutator_bytes(@nr_slots)
 *
 * Return: 0 or -ENOMEM.
 */
int gca_mutator_init(struct gca_mutator *m, struct gca_arena *a, u32 nr_slots,
		     struct gcarena_mutator *shared)
{
	u32 i;

	m->twin = gca_meta_zalloc(a, nr_slots * sizeof(*m->twin));
	if (!m->twin)
		return -ENOMEM;
	INIT_LIST_HEAD(&m->link);
	gca_spin_init(&m->lock);
	m->arena = a;
	m->late_epoch = U64_MAX;
	m->shared = shared;
	m->nr_slots = nr_slots;
	shared->nr_slots = nr_slots;
	for (i = nr_slots - 1; i > 0; i--) {
		m->twin[i].next = m->free_slot;
		m->free_slot = i;
		m->nr_free++;
	}
	return 0;
}

/** gca_mutator_bounds() - after init: where its thread's roots are, as that says; checked */
void gca_mutator_bounds(struct gca_mutator *m, const struct gcarena_attach *arg)
{
	m->stack_lo = arg->stack_lo;
	m->stack_hi = arg->stack_hi;
	m->altstack_lo = arg->altstack_lo;
	m->altstack_hi = arg->altstack_hi;
	m->tls_lo = arg->tls_lo;
	m->tls_hi = arg->tls_hi;
}

/** gca_mutator_attach() - from here on stops hold this thread.  Return: as gca_op_begin() */
int gca_mutator_attach(struct gca_mutator *m)
{
	struct gca_arena *a = m->arena;
	int err = gca_op_begin(a);

	if (err)
		return err;
	gca_spin_lock(&a->mutators_lock);
	m->turn = ++a->attached;
	list_add_tail(&m->link, &a->mutators);
	WRITE_ONCE(a->nr_mutators, a->nr_mutators + 1);
	gca_spin_unlock(&a->mutators_lock);
	gca_op_end(a);
	return 0;
}

/* @self: not if it owes its stack, which would be lost: -EAGAIN. */
static int detach(struct gca_mutator *m, bool self)
{
	struct gca_arena *a = m->arena;
	u32 i = 0, j, left;
	bool attached;
	int err;

	gca_spin_lock(&a->mutators_lock);
	attached = !list_empty(&m->link);
	gca_spin_unlock(&a->mutators_lock);
	if (!attached)
		return 0;
	err = gca_op_begin(a);
	if (err)
		return err;
	/* No begin stop comes in an operation. */
	if (self && READ_ONCE(m->owes)) {
		gca_op_end(a);
		return -EAGAIN;
	}
	gca_ring_settle(m);
	gca_spin_lock(&m->lock);
	left = gca_slots_used(m);
	while ((i = gca_slot_next(m, i, &left)))
		gca_hand_back(m, i);
	memset(m->shared->current_slot, 0, sizeof(m->shared->current_slot));
	gca_spin_unlock(&m->lock);

	gca_spin_lock(&a->mutators_lock);
	list_del_init(&m->link);
	WRITE_ONCE(a->nr_mutators, a->nr_mutators - 1);
	/* Without the table the numbers are being made: gca_roots_prepare(). */
	if (a->job_mutator)
		for (j = a->nr_range_jobs; j < a->nr_jobs; j++)
			if (a->job_mutator[j - a->nr_range_jobs] == m)
				a->job_mutator[j - a->nr_range_jobs] = NULL;
	gca_spin_unlock(&a->mutators_lock);
	gca_op_end(a);
	return 0;
}

/*
 * gca_mutator_detach() - spans back, ring drained, off the list
 *
 * In any phase.  What the ring holds while marking is greyed first: it leaves
 * the root set.  Return: as gca_op_begin(); idempotent.
 */
int gca_mutator_detach(struct gca_mutator *m)
{
	return detach(m, false);
}

/* gca_mutator_leave() - the same by the thread itself, which may owe its stack.  Faults */
int gca_mutator_leave(struct gca_mutator *m)
{
	int err;

	do {
		gca_roots_self(m);
		err = detach(m, true);
	} while (err == -EAGAIN);
	return err;
}

/** gca_mutator_fini() - after detach, or with the arena dead */
void gca_mutator_fini(struct gca_mutator *m)
{
	struct gca_twin *twin;

	gca_spin_lock(&m->lock);	/* gca_mutator_next() may have given it to somebody */
	twin = m->twin;
	m->twin = NULL;
	gca_spin_unlock(&m->lock);
	if (twin)
		gca_meta_free(m->arena, twin, m->nr_slots * sizeof(*twin));
}
