/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * span.h: from an address to an object, and from a slot to its colour.
 *
 * Everything a marker asks of the metadata is answered here, by loads alone: no
 * lock, no write.  The answers are stable while marking because between the
 * begin stop and a span's sweep only its free index changes (invariant 4), and
 * a span in use stays in use (invariant 8).
 *
 * Colour.  A slot holds an object iff alloc[i] or base <= i < free index.  In a
 * cycle it is
 *	old  iff alloc[i] or base <= i < snap: to be marked;
 *	new  iff it holds an object, i >= snap and not alloc[i]: black from birth;
 *	free otherwise.
 * The four models in reference/review-protocol.md D4 show what goes wrong with
 * less; selftests/unit/test_colour.c tries all states of four slots.
 */
#ifndef GCA_SPAN_H
#define GCA_SPAN_H

#include "core.h"
#include "sizeclass.h"

static __always_inline struct gca_chunk *gca_chunk_of(const struct gca_arena *a, u32 page)
{
	return gca_deref(a->chunk[page / GCA_CHUNK_PAGES]);
}

static __always_inline u64 *gca_pw(const struct gca_arena *a, u32 page)
{
	return &gca_chunk_of(a, page)->pw[page % GCA_CHUNK_PAGES];
}

/** gca_pair() - the two words with mark and alloc bits of slots 64 w .. 64 w + 63 */
static __always_inline u64 *gca_pair(const struct gca_arena *a, u32 head, unsigned int w)
{
	return &gca_chunk_of(a, head)->bits[(head % GCA_CHUNK_PAGES) * GCA_BIT_WORDS * 2 + 2 * w];
}

static __always_inline struct gca_span *gca_span(const struct gca_arena *a, u32 head)
{
	return &gca_chunk_of(a, head)->span[head % GCA_CHUNK_PAGES];
}

/* The word of @words, a bit a page, with the bit of @page. */
#define GCA_PAGE_WORD(words, page)	(&(words)[(page) % GCA_CHUNK_PAGES / 64])

/**
 * gca_page_mark() - some object of a span is marked
 * @c: chunk of its first page
 * @head: number of that page
 *
 * Called with the first mark in each word of mark bits: so the atomic operation,
 * and mostly even the test, costs once a span and not once an object.
 */
static __always_inline void gca_page_mark(struct gca_chunk *c, u32 head)
{
	u64 *word = GCA_PAGE_WORD(c->marked, head), bit = 1ULL << (head & 63);

	if (!(READ_ONCE(*word) & bit))
		gca_set_bits(word, bit);
}

/** gca_page_unmark() - the span has been swept; others of the word may be, now */
static inline void gca_page_unmark(struct gca_chunk *c, u32 head)
{
	u64 *word = GCA_PAGE_WORD(c->marked, head), bit = 1ULL << (head & 63), old;

	do {
		old = READ_ONCE(*word);
	} while (old & bit && cmpxchg(word, old, old & ~bit) != old);
}

/**
 * struct gca_ref - an object
 * @pw: page word of its span's first page
 * @head: number of that page
 * @index: slot
 * @off: offset of the slot in the heap
 * @chunk: that @head is in
 */
struct gca_ref {
	struct gca_chunk *chunk;
	u64 pw;
	u32 head;
	u32 index;
	u64 off;
};

/**
 * struct gca_view - what of an arena a marker reads for each word
 * @base: gca_arena.base
 * @mask: gca_arena.size - 1
 * @chunk: gca_arena.chunk
 *
 * Constant while marking.  A copy in local variables stays in registers, where
 * the arena's fields would be loaded again after each store.
 */
struct gca_view {
	u64 base, mask;
	struct gca_chunk **chunk;
};

static __always_inline struct gca_view gca_view(const struct gca_arena *a)
{
	return (struct gca_view){ a->base, a->size - 1, a->chunk };
}

static __always_inline struct gca_chunk *gca_view_chunk(const struct gca_view *v, u32 page)
{
	return gca_deref(v->chunk[page / GCA_CHUNK_PAGES]);
}

/**
 * gca_view_span() - the span that an offset lies in
 * @v: of the arena
 * @off: in the reservation
 * @r: out: @chunk, @pw and @head
 *
 * The caller has tested the range, and masked the offset to the reservation, whose
 * chunk table has no unused entry: it cannot become an index out of range even
 * speculatively.
 */
static __always_inline bool gca_view_span(const struct gca_view *v, u64 off, struct gca_ref *r)
{
	r->head = off >> GCARENA_PAGE_SHIFT;
	for (;;) {
		r->chunk = gca_view_chunk(v, r->head);
		r->pw = READ_ONCE(r->chunk->pw[r->head % GCA_CHUNK_PAGES]);
		if (likely((r->pw & (GCA_PW_INUSE | GCA_PW_INTERIOR)) == GCA_PW_INUSE))
			return true;
		if (!(r->pw & GCA_PW_INUSE))
			return false;
		r->head = gca_pw_head(r->pw);
	}
}

/**
 * gca_view_slot() - the slot that an offset lies in
 * @v: of the arena
 * @off: in the reservation; the caller has tested that
 * @r: out
 *
 * Tail bytes of a span belong to no slot.
 */
static __always_inline bool gca_view_slot(const struct gca_view *v, u64 off, struct gca_ref *r)
{
	const struct gca_class *c;
	u64 o, start;

	off &= v->mask;
	if (!gca_view_span(v, off, r))
		return false;
	o = off - ((u64)r->head << GCARENA_PAGE_SHIFT);
	c = &gca_class[gca_pw_class(r->pw)];
	r->index = (o * c->magic) >> 32;
	if (unlikely(r->index >= c->nelems))
		return false;
	/*
	 * Most words point to the start of an object.  A branch, which is
	 * predicted, lets the load of the object begin before the division is
	 * done; arithmetic would make it wait.
	 */
	r->off = off;
	start = r->index * c->size;
	if (unlikely(o != start)) {
		OPTIMIZER_HIDE_VAR(start);
		r->off = off - o + start;
	}
	return true;
}

/** gca_view_find() - the slot that a word, any word, points to or into */
static __always_inline bool gca_view_find(const struct gca_view *v, u64 word, struct gca_ref *r)
{
	return word - v->base <= v->mask && gca_view_slot(v, word - v->base, r);
}

static __always_inline bool gca_find(const struct gca_arena *a, u64 word, struct gca_ref *r)
{
	struct gca_view v = gca_view(a);

	return gca_view_find(&v, word, r);
}

/** gca_index_in() - base <= index < snap, of a page word */
static __always_inline bool gca_index_in(u64 pw, unsigned int index)
{
	return index - gca_pw_base(pw) < gca_pw_snap(pw) - gca_pw_base(pw);
}

/** gca_is_old() - given the slot's alloc word, is it an object to be marked? */
static __always_inline bool gca_is_old(u64 pw, u64 alloc, unsigned int index)
{
	return (alloc >> (index & 63) & 1) || gca_index_in(pw, index);
}

/** gca_range_mask() - bits of word @w for slots lo .. hi - 1 */
static inline u64 gca_range_mask(unsigned int lo, unsigned int hi, unsigned int w)
{
	unsigned int first = 64 * w;
	u64 mask = ~0ULL;

	if (hi <= first || lo >= first + 64 || lo >= hi)
		return 0;
	if (lo > first)
		mask &= ~0ULL << (lo - first);
	if (hi < first + 64)
		mask &= ~0ULL >> (first + 64 - hi);
	return mask;
}

/** gca_bit_words() - words that hold a bit for each of @nelems slots */
static inline unsigned int gca_bit_words(unsigned int nelems)
{
	return (nelems + 63) / 64;
}

/** gca_slot_bytes() - bytes that one object of this span counts for */
static inline u64 gca_slot_bytes(const struct gca_arena *a, u64 pw, u32 head)
{
	return gca_pw_large(pw) ? gca_span(a, head)->bytes : gca_class[gca_pw_class(pw)].size;
}

/** gca_pw_set_index() - replace base and snap of a first page's word */
static inline void gca_pw_set_index(struct gca_arena *a, u32 head, unsigned int base,
				    unsigned int snap)
{
	u64 *p = gca_pw(a, head);
	u64 keep = *p & ~((u64)GCA_PW_INDEX_MASK << GCA_PW_BASE_SHIFT |
			  (u64)GCA_PW_INDEX_MASK << GCA_PW_SNAP_SHIFT);

	WRITE_ONCE(*p, keep | (u64)base << GCA_PW_BASE_SHIFT | (u64)snap << GCA_PW_SNAP_SHIFT);
}

#endif /* GCA_SPAN_H */
