/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * shape.h: which words of an object may be pointers.
 *
 * The answer comes from the entry (span class), from kernel metadata (layouts,
 * sizes of large objects), and, of small precise objects, from one or two words
 * that the owner wrote: the header or the tail bitmap.  The caller reads those,
 * in the window or with faults on, and hands them in.  Whatever they say, only
 * words of the object itself are named.
 */
#ifndef GCA_SHAPE_H
#define GCA_SHAPE_H

#include "mark.h"

/**
 * struct shape - which words of an object may be pointers
 * @addr: of word 0
 * @words: to be looked at
 * @all: every word; else
 * @layout: repeats from word @phase of it; else, if NULL,
 * @phase: see @layout
 * @bits: bit i: word i, of at most 64
 */
struct shape {
	u64 addr;
	u32 words;
	u32 phase;
	bool all;
	const struct gca_layout *layout;
	u64 bits;
};

/* The layout that a header word names; NULL for a word that names none. */
static __always_inline const struct gca_layout *layout_of(struct gca_arena *a, u64 header)
{
	/* pairs with the release in gca_layout_add() */
	u32 n = smp_load_acquire(&a->nr_layouts);

	if (header >= n)
		return NULL;
	return READ_ONCE(a->layout[array_index_nospec(header, n)]);
}

/* Word of the page at which a slot begins. */
static __always_inline unsigned int word_in_page(u64 entry)
{
	return gca_entry_off(entry) % GCARENA_PAGE_SIZE / 8;
}

/* Address of the tail-bitmap word that has the bit of the slot's first word. */
#define TAIL_WORDS	((GCARENA_PAGE_SIZE / 64 - 1) & ~7UL)	/* in tail words, a byte a word */

static __always_inline u64 tail_at(u64 base, u64 entry)
{
	u64 off = gca_entry_off(entry);

	/* The page's last byte is as good as its first, and an or cheaper than an and. */
	return base + (off | (GCARENA_PAGE_SIZE - 1)) -
	       (GCARENA_PAGE_SIZE - 1 - GCARENA_BITMAP_OFFSET) + (off >> 6 & TAIL_WORDS);
}

static __always_inline u64 tail_addr(const struct gca_arena *a, u64 entry)
{
	return tail_at(a->base, entry);
}

/* Do the slot's bits go on in the next tail-bitmap word? */
static __always_inline bool tail_split(u64 entry)
{
	return entry & GCA_ENTRY_SPLIT && word_in_page(entry) % 64 + gca_entry_words(entry) > 64;
}

/* The pattern, of the tail-bitmap word at tail_addr() and the next. */
static __always_inline u64 tail_bits(u64 entry, u64 lo, u64 hi)
{
	unsigned int shift = word_in_page(entry) % 64;

	/* In two steps: hi counts for nothing where shift is 0. */
	return (lo >> shift | hi << 1 << (63 - shift)) & ~0ULL >> (entry % 64);
}

static __always_inline void shape_tail(struct gca_arena *a, struct shape *sh, u64 entry, u64 lo,
				       u64 hi)
{
	sh->addr = a->base + gca_entry_off(entry);
	sh->words = gca_entry_words(entry);
	sh->bits = tail_bits(entry, lo, hi);
}

static __always_inline void shape_header(struct gca_arena *a, struct shape *sh, u64 entry,
					 u64 header)
{
	sh->addr = a->base + gca_entry_off(entry) + GCARENA_HEADER_BYTES;
	sh->layout = layout_of(a, header);
	sh->words = sh->layout ? gca_entry_words(entry) - 1 : 0;
}

static __always_inline void shape_all(struct gca_arena *a, struct shape *sh, u64 entry)
{
	sh->addr = a->base + gca_entry_off(entry);
	sh->words = gca_entry_words(entry);
	sh->all = true;
}

/*
 * One oblet of a large object.  Return: the entry of the next oblet, to be
 * queued, or 0.  One is queued when its predecessor is begun, not all at once:
 * an object as large as the heap would fill every buffer.
 */
static __always_inline u64 shape_oblet(struct gca_arena *a, struct shape *sh, u64 *entry)
{
	u64 off = gca_entry_off(*entry), pw, start, rest, next = 0;
	u32 page = off >> GCARENA_PAGE_SHIFT;
	const struct gca_span *s;

	pw = READ_ONCE(*gca_pw(a, page));
	if (pw & GCA_PW_INTERIOR)
		page = gca_pw_head(pw);
	s = gca_span(a, page);
	start = (u64)page << GCARENA_PAGE_SHIFT;
	rest = start + READ_ONCE(s->bytes) - off;
	if (rest > GCA_OBLET_BYTES) {
		rest = GCA_OBLET_BYTES;
		if (!(*entry & GCA_ENTRY_CHAINED))
			next = *entry + ((u64)GCA_OBLET_BYTES << GCA_ENTRY_OFF_SHIFT);
		*entry |= GCA_ENTRY_CHAINED;
	}
	sh->addr = a->base + off;
	sh->words = rest / 8;
	if (gca_entry_kind(*entry) == GCARENA_CONSERVATIVE) {
		sh->all = true;
	} else {
		sh->layout = READ_ONCE(a->layout[READ_ONCE(s->layout)]);
		sh->phase = (off - start) / 8 % sh->layout->words;
	}
	return next;
}

/*
 * Pattern of the words from @k on.  *run: how many words it is good for, at
 * most 64.
 */
static __always_inline u64 shape_bits(const struct shape *sh, u32 k, u32 *run)
{
	const struct gca_layout *l = sh->layout;
	u32 left = sh->words - k, p, shift;
	u64 bits;

	*run = min_t(u32, 64, left);
	if (sh->all) {
		bits = ~0ULL;
	} else if (!l) {
		bits = sh->bits >> k;
	} else if (l->words < 64) {
		/* Repeated as often as it fits: an array of pointers has one word. */
		p = (sh->phase + k) % l->words;
		bits = l->bits[0];
		for (shift = l->words; shift < 64; shift *= 2)
			bits |= bits << shift;
		bits >>= p;
		*run = min_t(u32, left, 64 - p);
	} else {
		p = (sh->phase + k) % l->words;
		shift = p % 64;
		*run = min_t(u32, *run, l->words - p);
		bits = l->bits[p / 64] >> shift;
		if (shift && (p / 64 + 1) * 64 < l->words)
			bits |= l->bits[p / 64 + 1] << (64 - shift);
	}
	if (*run < 64)
		bits &= (1ULL << *run) - 1;
	return bits;
}

#endif /* GCA_SHAPE_H */
