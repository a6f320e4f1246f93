// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * central.c: spans between the page heap and the threads.
 *
 * Go's mcentral and mcache.  A span of small objects is in one of four places:
 * lent to a mutator (cached), or on its class's partial, full or unswept list.
 * gca_refill() takes the exhausted spans of a class back from the caller and
 * lends others: swept ones with room first, then ones that still have to be
 * swept, then fresh pages.  A large object is a span of one slot.
 *
 * Lending: the slot in the mutator area gets the span's address, free index and
 * a copy of its alloc bits; from then on the owner allocates without us, and
 * all we believe of what it writes is the free index, after a check.
 *
 * Everything here runs in operations; metadata that is missing is made between
 * them.
 */
#include "cycle.h"
#include "pageheap.h"
#include "span.h"

/*
 * Give up looking for room after so many full spans.  Go's mcentral.cacheSpan() looks at 100,
 * which is 70 us where their bits are in no cache, at each refill as long as sweep has not
 * come round.  Where pages lie ready the few are for the case that most spans have room.
 */
#define SWEEP_TRIES	16
#define SWEEP_FEW	2

#define SWEEP_FOR_ROOM	100	/* in an operation that found no pages at all */

/* Bytes of the free slots at or above a small span's free index. */
static u32 span_room_bytes(struct gca_arena *a, const struct gca_span *s)
{
	unsigned int w, n = 0;

	for (w = s->free / 64; w < gca_bit_words(s->nelems); w++)
		n += hweight64(gca_range_mask(s->free, s->nelems, w) &
			       ~gca_pair(a, s->page, w)[1]);
	return n * gca_class[gca_pw_class(*gca_pw(a, s->page))].size;
}

/* Of the span that begins at @page. */
static struct gca_central *central_of(struct gca_arena *a, u32 page)
{
	u64 pw = READ_ONCE(*gca_pw(a, page));

	return gca_pw_large(pw) ? &a->large : &a->central[gca_pw_class(pw)];
}

/** gca_central_put() - an uncached span goes to the list it belongs on */
void gca_central_put(struct gca_arena *a, struct gca_span *s)
{
	struct gca_central *c = central_of(a, s->page);
	struct list_head *list;

	gca_spin_lock(&c->lock);
	if (s->sweepgen != READ_ONCE(a->sweepgen))
		list = &c->unswept;
	else if (span_room_bytes(a, s))
		list = &c->partial;
	else
		list = &c->full;
	list_add(&s->link, list);
	gca_spin_unlock(&c->lock);
}

/**
 * gca_central_claim() - take a span off its list to sweep it
 * @a: arena
 * @page: began a span at some moment of this operation
 *
 * Its state may have changed since.  But from mark termination to its sweep a
 * span stays in use and keeps its class, and one that has been swept, or was
 * made since, has the current sweepgen, whatever its pages are now.
 *
 * Who sweeps a span that is on no list, or frees it, does not hold this list's lock.
 * So the link is read first: what has got it onto a list again, perhaps one of free
 * runs, has written sweepgen before, gca_span_sweep().
 *
 * Return: the span; NULL if it is swept, cached, or somebody else has claimed it.
 */
struct gca_span *gca_central_claim(struct gca_arena *a, u32 page)
{
	struct gca_central *c = central_of(a, page);
	struct gca_span *s = gca_span(a, page);
	bool unswept;

	if (READ_ONCE(s->sweepgen) == READ_ONCE(a->sweepgen))
		return NULL;
	gca_spin_lock(&c->lock);
	unswept = !list_empty(&s->link);
	smp_rmb();	/* pairs with the smp_wmb() in gca_span_sweep() */
	unswept = unswept && READ_ONCE(s->sweepgen) != READ_ONCE(a->sweepgen);
	if (unswept)
		list_del_init(&s->link);
	gca_spin_unlock(&c->lock);
	return unswept ? s : NULL;
}

/** gca_central_rotate() - at mark termination: what was swept is unswept now */
void gca_central_rotate(struct gca_arena *a)
{
	struct gca_central *c;
	unsigned int i;

	a->heap.reclaim = 0;
	for (i = 0; i <= GCARENA_NR_SPAN_CLASSES; i++) {
		c = i < GCARENA_NR_SPAN_CLASSES ? &a->central[i] : &a->large;
		gca_spin_lock(&c->lock);
		/* partial ones first: they are the likelier to have room */
		list_splice_init(&c->full, &c->unswept);
		list_splice_init(&c->partial, &c->unswept);
		gca_spin_unlock(&c->lock);
	}
}

static struct gca_span *central_pop(struct gca_central *c, struct list_head *list)
{
	struct gca_span *s;

	gca_spin_lock(&c->lock);
	s = list_first_entry_or_null(list, struct gca_span, link);
	if (s)
		list_del_init(&s->link);
	gca_spin_unlock(&c->lock);
	return s;
}

/* A span of fresh pages.  Parameters and result as gca_pages_alloc(). */
static int span_new(struct gca_arena *a, u32 npages, unsigned int sc, u32 nelems,
		    unsigned int snap, struct gca_need *need, struct gca_span **s)
{
	/* The heap grows only by what dead spans do not give. */
	if (atomic64_read(&a->unswept) && !gca_pages_reusable(a, npages))
		gca_reclaim(a, npages);
	return gca_pages_alloc(a, npages, sc, nelems, snap, need, s);
}

/* A span of this class with room, swept; or NULL with -EAGAIN or -ENOSPC. */
static struct gca_span *central_take(struct gca_arena *a, u32 sc, struct gca_need *need, int *err)
{
	struct gca_central *c = &a->central[sc];
	struct gca_span *s;
	unsigned int tries, most;

	s = central_pop(c, &c->partial);
	if (s)
		return s;
	most = gca_pages_reusable(a, gca_class_pages[sc / 4]) ? SWEEP_FEW : SWEEP_TRIES;
	for (tries = 0; tries < most; tries++) {
		s = central_pop(c, &c->unswept);
		if (!s)
			break;
		gca_span_sweep(a, s, s->free);
		if (span_room_bytes(a, s))
			return s;
		gca_central_put(a, s);
	}
	*err = span_new(a, gca_class_pages[sc / 4], sc, gca_class[sc].nelems, 0, need, &s);
	return *err ? NULL : s;
}

/* ------------------------------------------------------------- hand back */

/* @m has got @bytes in objects of @size, or given them back, if negative; under m->lock */
static void charge(struct gca_mutator *m, u32 kind, u64 size, s64 bytes)
{
	struct gca_arena *a = m->arena;

	atomic64_add(bytes, &a->heap_live);
	/* What is born in a cycle is not its work. */
	if (a->phase == GCARENA_PHASE_OFF && kind != GCARENA_NOSCAN)
		atomic64_add(bytes + bytes / (s64)size * 8 * GCA_OBJECT_WORDS, &a->heap_scan);
	gca_assist_charge(m, bytes);
}

/* Take slot @i out of its class's chain. */
static void chain_remove(struct gca_mutator *m, u32 i)
{
	u16 *p = &m->first[m->twin[i].span_class];

	while (*p != i)
		p = &m->twin[*p].next;
	*p = m->twin[i].next;
}

/* Show a class's chain to the thread. */
static void chain_publish(struct gca_mutator *m, u32 sc)
{
	u32 i;

	for (i = m->first[sc]; i; i = m->twin[i].next)
		WRITE_ONCE(m->shared->slot[i].next, m->twin[i].next);
	WRITE_ONCE(m->shared->current_slot[sc], m->first[sc]);
}

/*
 * gca_hand_back() - a slot's span returns to the central lists
 *
 * In an operation, under m->lock.  A span not swept yet is swept first: with
 * the phase off the marks are final.  With the phase off snap becomes the free
 * index, so that the next begin stop need not look at uncached spans; while
 * marking only the free index moves (colour rule).
 */
void gca_hand_back(struct gca_mutator *m, u32 slot)
{
	struct gca_span *s = m->twin[slot].span;
	struct gcarena_slot *sh = &m->shared->slot[slot];
	u32 sc = m->twin[slot].span_class;
	struct gca_arena *a = m->arena;
	u64 pw = *gca_pw(a, s->page);

	s->free = gca_mutator_observe(m, slot);
	charge(m, sc % 4, gca_class[sc].size,
	       -(s64)min_t(u64, m->twin[slot].charged, span_room_bytes(a, s)));

	chain_remove(m, slot);
	m->twin[slot].span = NULL;
	m->twin[slot].next = m->free_slot;
	m->free_slot = slot;
	m->nr_free++;
	WRITE_ONCE(sh->nelems, 0);
	WRITE_ONCE(sh->free_index, 0);
	s->owner = NULL;

	if (a->phase == GCARENA_PHASE_OFF) {
		if (s->sweepgen != a->sweepgen) {
			if (!gca_span_sweep(a, s, s->free)) {
				gca_pages_free(a, s);
				return;
			}
		} else {
			gca_pw_set_index(a, s->page, gca_pw_base(pw), s->free);
		}
	}
	gca_central_put(a, s);
}

/*
 * Make room in the slot table, which is full: hand back some other class's span,
 * or, if all are of class @sc, one of those.
 */
static void evict(struct gca_mutator *m, u32 sc)
{
	u32 tries, other;

	for (tries = 1; tries < m->nr_slots; tries++) {
		m->clock = (u32)m->clock + 1 < m->nr_slots ? m->clock + 1 : 1;
		if (m->twin[m->clock].span_class != sc)
			break;
	}
	other = m->twin[m->clock].span_class;
	gca_hand_back(m, m->clock);
	chain_publish(m, other);
}

static void lend(struct gca_mutator *m, u32 sc, struct gca_span *s)
{
	u32 slot = m->free_slot, i;
	struct gca_twin *t = &m->twin[slot];
	struct gcarena_slot *sh = &m->shared->slot[slot];
	struct gca_arena *a = m->arena;

	m->free_slot = t->next;
	m->nr_free--;
	t->span = s;
	t->span_class = sc;
	t->next = m->first[sc];
	m->first[sc] = slot;
	s->owner = m;
	s->slot = slot;

	sh->base = a->base + ((u64)s->page << GCARENA_PAGE_SHIFT);
	sh->elem_size = gca_class[sc].size;
	sh->flags = s->dirty ? GCARENA_SLOT_NEEDZERO : 0;
	sh->span_class = sc;
	for (i = 0; i < GCA_BIT_WORDS; i++) {
		u64 alloc = i < gca_bit_words(s->nelems) ? gca_pair(a, s->page, i)[1] : ~0ULL;

		WRITE_ONCE(sh->bits[i], alloc);
	}
	WRITE_ONCE(sh->free_index, s->free);
	WRITE_ONCE(sh->nelems, s->nelems);
	/* Go charges a span to the live heap when it is cached (issue 53738). */
	t->charged = span_room_bytes(a, s);
	charge(m, sc % 4, gca_class[sc].size, t->charged);
}

/* ------------------------------------------------------------------ trying again */

/* In an operation that found no pages: some of what is dead is swept.  Return: was there any? */
static bool sweep_for_room(struct gca_arena *a)
{
	if (!atomic64_read(&a->unswept))
		return false;
	gca_sweep_some(a, SWEEP_FOR_ROOM);
	return true;
}

/*
 * After an operation that ended with @err: make what it lacked.
 *
 * Return: -EAGAIN: try again; else the result: @err, -ENOMEM, or -EINTR if the
 * caller was killed, for a heap may take many operations to sweep.
 */
static int provide(struct gca_arena *a, struct gca_need *need, int err, bool swept)
{
	if (err == -EAGAIN)
		return gca_chunk_grow(a, need) ?: -EAGAIN;
	if (err == -ENOSPC && swept)
		return gca_port_relax(a) ? -EINTR : -EAGAIN;
	return err;
}

/* ------------------------------------------------------------------------ refill */

/*
 * One operation of a refill; *@got counts what was lent, in all of them.
 *
 * Return: 0 if as many as wanted were lent, one while marking or when that is due, or some and
 * there is no room for more;
 * -EAGAIN if metadata is missing (@need says what), however many were lent;
 * -ENOSPC if none was lent and no free pages would do.
 */
static int refill_op(struct gca_mutator *m, u32 sc, u32 want, u32 *got, struct gca_need *need)
{
	struct gca_arena *a = m->arena;
	struct gca_span *s;
	int err = 0;
	u32 i, next;

	/*
	 * While memory has a price, or soon will have, one at a time: a debt that is small is
	 * soon paid.
	 */
	if (a->phase == GCARENA_PHASE_MARK ? a->pacer.marking : gca_cycle_wanted(a))
		want = 1;
	gca_sweep_pay(a, (u64)want * gca_class_pages[sc / 4] << GCARENA_PAGE_SHIFT);
	gca_spin_lock(&m->lock);
	for (i = m->first[sc]; i; i = next) {
		next = m->twin[i].next;
		if (gca_mutator_observe(m, i) >= m->twin[i].span->nelems)
			gca_hand_back(m, i);
	}
	while (*got < want) {
		if (!m->nr_free) {
			if (*got)
				break;
			evict(m, sc);
		}
		s = central_take(a, sc, need, &err);
		if (!s)
			break;
		lend(m, sc, s);
		++*got;
	}
	chain_publish(m, sc);
	gca_spin_unlock(&m->lock);
	return *got >= want || (*got && err == -ENOSPC) ? 0 : err;
}

/**
 * gca_refill() - exhausted spans of a class back, others lent
 * @m: the calling thread's mutator
 * @sc: span class, any value
 * @count: in: spans wanted; out: lent
 *
 * Return: 0; -EINVAL for a span class or count that does not exist; -ENOSPC if
 * the reservation is full, all dead spans swept; -ENOMEM; -EINTR if the caller was
 * killed; or what gca_op_begin() returns.
 */
int gca_refill(struct gca_mutator *m, u32 sc, u32 *count)
{
	struct gca_arena *a = m->arena;
	struct gca_need need = {};
	u32 want = *count, got = 0;
	bool swept;
	int err;

	if (sc >= GCARENA_NR_SPAN_CLASSES || sc % 4 >= GCARENA_NR_KINDS ||
	    !want || want > GCA_REFILL_MAX)
		return -EINVAL;
	sc = array_index_nospec(sc, GCARENA_NR_SPAN_CLASSES);

	do {
		err = gca_op_begin(a);
		if (err)
			break;
		err = refill_op(m, sc, want, &got, &need);
		swept = err == -ENOSPC && sweep_for_room(a);
		gca_op_end(a);
		err = provide(a, &need, err, swept);
	} while (err == -EAGAIN);
	gca_need_drop(a, &need);

	if (got)
		err = 0;
	*count = got;
	gca_port_trace(a, GCA_TRACE_REFILL, sc, got);
	return err;
}

/**
 * gca_large() - one object with a span of its own
 * @m: the calling thread's mutator
 * @bytes: any value
 * @kind: enum gcarena_kind, any value
 * @layout: for GCARENA_PRECISE
 * @addr: out
 * @flags: out: GCARENA_LARGE_NEEDZERO or 0
 *
 * Born with the phase off it is old for the next cycle (snap 1), while marking
 * it is new (snap 0).  Return: as gca_refill().
 */
int gca_large(struct gca_mutator *m, u64 bytes, u32 kind, u32 layout, u64 *addr, u32 *flags)
{
	struct gca_arena *a = m->arena;
	struct gca_need need = {};
	struct gca_span *s;
	bool swept;
	u64 npages;
	int err;

	if (!bytes || kind >= GCARENA_NR_KINDS ||
	    (kind == GCARENA_PRECISE && layout >= READ_ONCE(a->nr_layouts)) ||
	    (kind != GCARENA_PRECISE && layout))
		return -EINVAL;
	if (bytes > a->size)
		return -ENOSPC;
	npages = DIV_ROUND_UP(bytes, GCARENA_PAGE_SIZE);

	do {
		err = gca_op_begin(a);
		if (err)
			break;
		gca_sweep_pay(a, npages << GCARENA_PAGE_SHIFT);
		err = span_new(a, npages, GCARENA_SPAN_CLASS(GCA_CLASS_LARGE, kind), 1,
			       a->phase == GCARENA_PHASE_OFF, &need, &s);
		if (!err) {
			s->free = 1;
			s->layout = layout;
			WRITE_ONCE(s->bytes, npages << GCARENA_PAGE_SHIFT);
			gca_spin_lock(&m->lock);
			charge(m, kind, s->bytes, s->bytes);
			gca_spin_unlock(&m->lock);
			atomic64_add(s->bytes, &a->totals.allocated);
			*addr = a->base + ((u64)s->page << GCARENA_PAGE_SHIFT);
			*flags = s->dirty ? GCARENA_LARGE_NEEDZERO : 0;
			gca_central_put(a, s);
		}
		swept = err == -ENOSPC && sweep_for_room(a);
		gca_op_end(a);
		err = provide(a, &need, err, swept);
	} while (err == -EAGAIN);
	gca_need_drop(a, &need);
	if (err)
		return err;

	gca_port_trace(a, GCA_TRACE_LARGE, bytes, *addr);
	return 0;
}
