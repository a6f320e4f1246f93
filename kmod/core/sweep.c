// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * sweep.c: mark bits become alloc bits.
 *
 * Sweeping a span touches its bits, never its objects:
 *
 *	alloc := (old and marked) or (new and below the free index)
 *
 * An uncached span then starts again at base = snap = free index = 0; without
 * any object it goes back to the page heap.  A *cached* span is swept in place,
 * without asking its owner: the free index is read once and base := snap := that
 * value.  The owner's copy of the alloc bits stays valid, because it can only
 * say "taken" too often: a slot that died and that the copy still calls taken is
 * passed over, and counts as holding an object until the next sweep (retention,
 * nothing worse; heap dumps must know it).  So sweep always completes before the
 * next cycle, whatever threads do, and needs no thread to do anything.
 *
 * A span is swept on refill by the thread that wants it, by whoever waits in
 * COLLECT, by who would else take fresh pages (gca_reclaim()), by workers on idle time
 * (gca_sweep_idle()), by threads that allocate faster than these sweep (gca_sweep_pay()), and in
 * any case before the next cycle begins.  One that is being swept is on no list, or under
 * its owner's lock: nobody else has it.
 */
#include "cycle.h"
#include "pageheap.h"
#include "span.h"

/**
 * gca_span_sweep() - sweep one span that is not swept
 * @a: arena
 * @s: taken off its list, or cached and its owner's lock held
 * @free: its free index
 *
 * In an operation or with the gate closed; phase off.  Return: objects left.
 */
unsigned int gca_span_sweep(struct gca_arena *a, struct gca_span *s, unsigned int free)
{
	u64 pw = *gca_pw(a, s->page), bytes = gca_slot_bytes(a, pw, s->page);
	unsigned int base = gca_pw_base(pw), snap = gca_pw_snap(pw);
	unsigned int w, live = 0, dead = 0;
	unsigned int restart = s->owner ? free : 0;

	for (w = 0; w < gca_bit_words(s->nelems); w++) {
		u64 *pair = gca_pair(a, s->page, w);
		u64 mark = pair[0], alloc = pair[1];
		u64 old = alloc | gca_range_mask(base, snap, w);
		u64 new = gca_range_mask(snap, free, w) & ~alloc;
		u64 next = (old & mark) | new;

		dead += hweight64(old & ~mark);
		live += hweight64(next);
		WRITE_ONCE(pair[1], next);
		WRITE_ONCE(pair[0], 0);
	}
	gca_page_unmark(gca_chunk_of(a, s->page), s->page);
	gca_pw_set_index(a, s->page, restart, restart);
	if (!s->owner)
		s->free = 0;
	if (dead) {
		s->dirty = true;
		atomic64_add(dead * bytes, &a->totals.freed);
	}
	/* Its bits before the state that lets others use them. */
	smp_store_release(&s->sweepgen, a->sweepgen);
	smp_wmb();	/* and that before it is on a list again: gca_central_claim() */
	atomic64_dec(&a->unswept);
	return live;
}

/* Sweep a span taken off its list.  Return: true if it was empty and is gone. */
static bool sweep_claimed(struct gca_arena *a, struct gca_span *s)
{
	if (gca_span_sweep(a, s, s->free)) {
		gca_central_put(a, s);
		return false;
	}
	gca_pages_free(a, s);
	return true;
}

/* Sweep one span of a central list.  Return: false if it has none unswept. */
static bool sweep_central(struct gca_arena *a, struct gca_central *c)
{
	struct gca_span *s;

	gca_spin_lock(&c->lock);
	s = list_first_entry_or_null(&c->unswept, struct gca_span, link);
	if (s)
		list_del_init(&s->link);
	gca_spin_unlock(&c->lock);
	if (!s)
		return false;
	sweep_claimed(a, s);
	return true;
}

/* Sweep a mutator's cached spans in place. */
static void sweep_cached(struct gca_arena *a, struct gca_mutator *m)
{
	u32 i = 0, left;

	gca_spin_lock(&m->lock);
	left = gca_slots_used(m);
	while ((i = gca_slot_next(m, i, &left))) {
		struct gca_span *s = m->twin[i].span;

		if (s->sweepgen != a->sweepgen)
			gca_span_sweep(a, s, gca_mutator_observe(m, i));
	}
	gca_spin_unlock(&m->lock);
}

/* Sweep at most @spans spans that nobody has.  Return: how many; fewer: there are no more. */
static unsigned int sweep_centrals(struct gca_arena *a, unsigned int spans)
{
	unsigned int i, n = 0, first = READ_ONCE(a->sweep_class);

	for (i = 0; n < spans && i <= GCARENA_NR_SPAN_CLASSES; i++) {
		/* Large spans first: they give back the most.  And where the last one was found. */
		unsigned int k = (first + i) % (GCARENA_NR_SPAN_CLASSES + 1), before = n;
		struct gca_central *c = k ? &a->central[k - 1] : &a->large;

		while (n < spans && sweep_central(a, c))
			n++;
		if (n > before)
			WRITE_ONCE(a->sweep_class, k);
	}
	return n;
}

/*
 * gca_sweep_some() - sweep about @spans spans
 *
 * In an operation or with the gate closed.  Return: false if all are swept.
 */
bool gca_sweep_some(struct gca_arena *a, unsigned int spans)
{
	struct gca_mutator *m = NULL;

	if (!atomic64_read(&a->unswept))
		return false;
	if (sweep_centrals(a, spans) == spans)
		return true;
	while ((m = gca_mutator_next(a, m)))
		sweep_cached(a, m);
	return atomic64_read(&a->unswept) != 0;
}

/* ------------------------------------------------------------------ reclaim */

#define RECLAIM_STEPS	1024	/* looks at a chunk or 64 pages, in one operation */
#define RECLAIM_SPANS	256

/*
 * The next 64 pages among which spans without marks begin.  @page: out: the first
 * of them.  Return: a bit a page; 0 when @steps are used up or the heap ends.
 */
static u64 reclaim_next(struct gca_arena *a, unsigned int *steps, u32 *page)
{
	struct gca_pageheap *h = &a->heap;
	u64 bits = 0;

	gca_spin_lock(&h->lock);
	for (; !bits && *steps && h->reclaim < h->npages; --*steps) {
		struct gca_chunk *c = gca_chunk_own(a, h->reclaim / GCA_CHUNK_PAGES);

		*page = h->reclaim;
		if (c)
			bits = *GCA_PAGE_WORD(c->inuse, *page) &
			       ~READ_ONCE(*GCA_PAGE_WORD(c->marked, *page));
		h->reclaim += c ? 64 : GCA_CHUNK_PAGES;
	}
	gca_spin_unlock(&h->lock);
	return bits;
}

/**
 * gca_reclaim() - free spans in which nothing is marked, for the sake of their pages
 * @a: arena
 * @npages: wanted
 *
 * In an operation.  Go's mheap.reclaim(): the summary of marks finds spans that
 * sweep will free without a look at those that it will not.  One pass over the
 * heap after each mark termination, shared by all who ask; what it passed too
 * early is left to sweep.  A span without marks need not be empty, it may hold
 * new objects: sweep decides.
 *
 * Return: pages freed.
 */
u32 gca_reclaim(struct gca_arena *a, u32 npages)
{
	unsigned int steps = RECLAIM_STEPS, spans = 0;
	u32 freed = 0, page, n;
	u64 bits;

	while (freed < npages && spans < RECLAIM_SPANS) {
		bits = reclaim_next(a, &steps, &page);
		if (!bits)
			break;
		for (; bits; bits &= bits - 1) {
			struct gca_span *s = gca_central_claim(a, page + __ffs64(bits));

			if (!s)
				continue;
			spans++;
			n = s->npages;
			if (sweep_claimed(a, s))
				freed += n;
		}
	}
	return freed;
}

/* ----------------------------------------------------------------- proportion */

#define SWEEP_BEFORE	(1ULL << 20)	/* bytes before the trigger all is to be swept */
#define SWEEP_ROOM	8192ULL		/* as if there was so much at least */
#define SWEEP_MOST	64		/* spans, of one call */

/*
 * gca_sweep_pace() - what is not swept is to be until the trigger (Go's commit())
 * @a: arena
 * @live: bytes
 *
 * Under pace_lock, with goal and trigger set.
 */
void gca_sweep_pace(struct gca_arena *a, u64 live)
{
	u64 trigger = READ_ONCE(a->heap_trigger), room = trigger - min(trigger, live);

	WRITE_ONCE(a->sweep_live, live);
	WRITE_ONCE(a->sweep_room, max(room - min(room, SWEEP_BEFORE), SWEEP_ROOM));
	WRITE_ONCE(a->sweep_spans, max_t(s64, atomic64_read(&a->unswept), 0));
	WRITE_ONCE(a->sweep_class, 0);
}

/**
 * gca_sweep_owed() - how many spans are to be swept before so much is allocated?
 * @a: arena
 * @bytes: to be allocated
 *
 * Go's deductSweepCredit(), by spans, which is what sweeping costs: of what there was to be
 * swept at least the same part as of the way to the trigger.  Each word read here may be of
 * another cycle than the next: then it is some spans too many, or too few.
 */
u64 gca_sweep_owed(struct gca_arena *a, u64 bytes)
{
	u64 live = max_t(s64, atomic64_read(&a->heap_live), 0), basis = READ_ONCE(a->sweep_live);
	u64 unswept = max_t(s64, atomic64_read(&a->unswept), 0);
	u64 spans = READ_ONCE(a->sweep_spans), swept = spans - min(spans, unswept), due;

	due = min(gca_mul_div(bytes + live - min(live, basis), spans, READ_ONCE(a->sweep_room)),
		  spans);
	return due - min(due, swept);
}

/*
 * gca_sweep_pay() - sweep what is owed, or a good deal of it
 *
 * In an operation.  What threads have in their hands is not for us.
 */
void gca_sweep_pay(struct gca_arena *a, u64 bytes)
{
	u64 owed;

	if (!atomic64_read(&a->unswept) || a->phase != GCARENA_PHASE_OFF)
		return;
	owed = gca_sweep_owed(a, bytes);
	if (owed)
		sweep_centrals(a, min_t(u64, owed, SWEEP_MOST));
}

#define SWEEP_BATCH	64
#define IN_HAND_WAIT	1000000ULL	/* ns */

/*
 * gca_sweep_finish() - sweep until every span is swept
 *
 * Also those that others have in their hands, who may have lost their processors.  Return: 0;
 * -EINTR if the caller should give up; or as gca_op_begin() and gca_port_backoff().
 */
int gca_sweep_finish(struct gca_arena *a)
{
	u64 t = gca_port_now();
	s64 before;
	bool more;
	int err;

	do {
		err = gca_op_begin(a);
		if (err)
			break;
		before = atomic64_read(&a->unswept);
		more = gca_sweep_some(a, SWEEP_BATCH);
		gca_op_end(a);
		if (gca_port_relax(a) && more)
			err = -EINTR;
		else if (more && atomic64_read(&a->unswept) == before)
			err = gca_port_backoff(a, IN_HAND_WAIT);
	} while (!err && more);
	gca_inner_reap(a);
	atomic64_add(gca_port_now() - t, &a->totals.sweep_ns);
	return err;
}

/* gca_sweep_stopped() - sweep all in a stop, alone; or the rest later, if told to give up */
void gca_sweep_stopped(struct gca_arena *a)
{
	u64 t = gca_port_now();

	while (gca_sweep_some(a, SWEEP_BATCH) && !gca_port_relax(a))
		;
	atomic64_add(gca_port_now() - t, &a->totals.sweep_ns);
}

/* Clear a void cycle's marks in one chunk. */
static void chunk_marks_clear(struct gca_arena *a, struct gca_chunk *c)
{
	unsigned int i, w;

	for (i = 0; i < GCA_CHUNK_PAGES; i++) {
		struct gca_span *s = &c->span[i];

		if (s->state != GCA_SPAN_INUSE)
			continue;
		for (w = 0; w < gca_bit_words(s->nelems); w++)
			WRITE_ONCE(gca_pair(a, s->page, w)[0], 0);
		if (!s->owner)
			gca_pw_set_index(a, s->page, gca_pw_base(*gca_pw(a, s->page)), s->free);
	}
	memset(c->overflow, 0, sizeof(c->overflow));
	memset(c->grey, 0, sizeof(c->grey));
	memset(c->marked, 0, sizeof(c->marked));
}

/*
 * gca_marks_clear() - after a void cycle: as if it had never begun
 *
 * With the gate closed and the phase off, outside the stop.  All mark bits are
 * cleared; uncached spans get snap := free index, so that what was allocated
 * in the void cycle is old for the next.  All spans are swept: they were when
 * the cycle began, and none has become unswept.
 */
void gca_marks_clear(struct gca_arena *a)
{
	struct gca_mutator *m = NULL;
	u32 i;

	for (i = 0; i < a->nr_chunks; i++) {
		struct gca_chunk *c = gca_chunk_own(a, i);

		if (!c)
			continue;
		chunk_marks_clear(a, c);
		gca_port_relax(a);
	}
	memset(a->overflow_chunks, 0, DIV_ROUND_UP(a->nr_chunks, 64) * sizeof(u64));
	atomic_set(&a->overflowed, 0);
	while ((m = gca_mutator_next(a, m))) {
		gca_ring_discard(m);
		gca_port_relax(a);
	}
}
