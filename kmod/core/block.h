/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * block.h: grey what a block of words names.
 *
 * An object is scanned by blocks of BLOCK_WORDS, several small ones together, in
 * two loops.  The first reads words and keeps those that point into the
 * reservation, as offsets, in a *block* (read.h).  It has no branch on what a word is,
 * but whether two are 0: a word is always stored, and counted if it is in range, so a mix
 * of pointers and other words that nobody can predict costs nothing.  The second greys
 * what was kept, and has the registers for itself.  It is grey_block(), here.
 *
 * For mark.c, inside a window (GCA_UREAD_BEGIN): nothing here is out of line, allocates,
 * or reads the heap.
 */
#ifndef GCA_BLOCK_H
#define GCA_BLOCK_H

#include "mark.h"

#define BLOCK_WORDS	64	/* read before what they name is greyed */
#define GROUP		16	/* from small objects, so many and an object's */
#define STREWN		4	/* spans looked up for a block of objects that lie apart */

/**
 * struct last_span - the span that the word before pointed into
 * @head: number of its first page; above all page numbers: none
 * @pw: page word
 * @bits: pairs of mark and alloc bits
 * @class: how it is divided
 *
 * Objects that are used together were mostly allocated together.  What it says
 * is good for a batch, as a page word is in an interrupted lookup: while marking
 * a span in use stays what it is.
 */
struct last_span {
	u64 head;
	u64 pw;
	u64 *bits;
	const struct gca_class *class;
};

/**
 * struct batch_state - the worker's state during a batch, in registers
 * @v: the arena
 * @last: looked up last
 * @pair: word of marks, and of alloc bits behind it, that the word before was about, or NULL
 * @marks: what is in it, with @pending
 * @pending: bits that are to be set there
 * @bit: the last of them, if @pair is not NULL
 * @top: next free entry of the current buffer
 * @bottom: first
 * @limit: end
 * @exclusive: no atomic operation is needed
 * @objects: newly marked
 * @bytes: in them
 * @budget: words that may yet be read in this window, an object's cost included
 * @found: offsets in the block
 * @looked_up: spans, for the last block
 */
struct batch_state {
	struct gca_view v;
	struct last_span last;
	u64 *pair, marks, pending, bit;
	u64 *top, *bottom, *limit;
	bool exclusive;
	u64 objects, bytes;
	s64 budget;
	u64 found;
	u32 looked_up;
};

/* Keep @word, if it points into the reservation.  Return: how many are kept. */
static __always_inline u64 keep(const struct batch_state *s, u64 *block, u64 found, u64 word)
{
	block[found] = word - s->v.base;
	return found + (word - s->v.base <= s->v.mask);
}

/* Make the span that @off lies in the last one.  Return: false if there is none. */
static __always_inline bool look_up(struct batch_state *s, u64 off)
{
	struct gca_ref r;

	if (!gca_view_span(&s->v, off, &r))
		return false;
	s->looked_up++;
	s->last.head = r.head;
	s->last.pw = r.pw;
	s->last.bits = &r.chunk->bits[(r.head % GCA_CHUNK_PAGES) * GCA_BIT_WORDS * 2];
	s->last.class = &gca_class[gca_pw_class(r.pw)];
	return true;
}

/*
 * Fetch the mark bits that grey_block() will test: with objects strewn over the heap
 * it would wait for each, and guess each wrong.  The first line of a page's bits:
 * all there is, if its objects have 32 bytes.
 */
static __always_inline void prefetch_bits(const struct batch_state *s, const u64 *block)
{
	const u64 *end = block + s->found;
	const struct gca_chunk *c;
	u64 page;

	for (; block < end; block++) {
		page = (*block & s->v.mask) >> GCARENA_PAGE_SHIFT;
		c = gca_view_chunk(&s->v, page);
		prefetch(&c->bits[page % GCA_CHUNK_PAGES * GCA_BIT_WORDS * 2]);
	}
}

/*
 * Set the marks that are pending.  Bits of one word that come one after another are set at
 * once: objects that lie in a row are mostly named in a row, and an atomic operation costs as
 * much as all the rest, and lets no load pass.  Another marker may queue the same objects
 * meanwhile, those of a word at most, as in gca_mark_ref(); before the batch is over all are set.
 */
static __always_inline void set_marks(struct batch_state *s)
{
	if (!s->pending)
		return;
	if (s->exclusive)
		WRITE_ONCE(s->pair[0], s->marks);
	else
		gca_set_bits(&s->pair[0], s->pending);
	s->pending = 0;
}

/*
 * Rows.  What is named in a row mostly lies in a row, slot by slot, and then nothing has to
 * be divided or looked up.  Of the slots behind the one that was marked last, as far as
 * their bits are in the same words: those that are to be marked.  Whether they are old is
 * asked of the alloc bits alone, which all have but the objects of the last cycle, and
 * nothing that is no slot; the rest is for grey_block().
 */
static __always_inline u64 old_unmarked(const struct batch_state *s)
{
	return READ_ONCE(s->pair[1]) & ~s->marks;
}

/* Mark @n slots behind the last one, the last of which is @bit. */
static __always_inline void mark_behind(struct batch_state *s, u64 bit, u32 n)
{
	u64 run = (bit - s->bit) << 1;	/* above s->bit, up to @bit */

	s->bit = bit;
	s->marks |= run;
	s->pending |= run;
	s->objects += n;
	s->bytes += n * s->last.class->size;
}

/*
 * @entry, of the object at @off that was marked last, with those that lie behind it and are
 * named behind it in the block; they are marked and taken from there.
 */
static __always_inline u64 grey_row(struct batch_state *s, const u64 **block, u64 off, u64 entry)
{
	u64 size = s->last.class->size, at = off + size, old, bit;
	const u64 *b = *block;
	u32 n = 0;

	if (likely(*b != at))
		return entry;
	old = old_unmarked(s);
	bit = s->bit;
	while (*b == at && old & bit << 1 && n < GCA_ENTRY_ROW >> GCA_ENTRY_ROW_SHIFT) {
		bit <<= 1;
		at += size;
		b++;
		n++;
	}
	mark_behind(s, bit, n);
	*block = b;
	return entry + ((u64)n << GCA_ENTRY_ROW_SHIFT);
}

/*
 * As gca_view_slot() and gca_mark_ref(), but that the span is looked up only when it
 * is another than the last, and nothing is done twice.  There is room.
 *
 * Return: 0; but the entry, and it is not queued, if @list: then the block has one word, and
 * marks may be pending.
 */
static __always_inline u64 grey_block(struct batch_state *s, u64 *found, bool list)
{
	u64 off, o, product, bit, *at, entry;
	const u64 *block = found, *end = found + s->found;
	const struct gca_class *c;
	u32 index;

	if (s->looked_up > STREWN)
		prefetch_bits(s, block);
	s->looked_up = 0;
	found[s->found] = U64_MAX;	/* ends a row */
	while (block < end) {
		off = *block++;
		if (off >> GCARENA_PAGE_SHIFT == s->last.head) {
			o = off % GCARENA_PAGE_SIZE;
		} else {
			off &= s->v.mask;
			if (!look_up(s, off))
				continue;
			o = off - (s->last.head << GCARENA_PAGE_SHIFT);
		}
		c = s->last.class;
		product = o * c->magic;
		index = product >> 32;
		if (unlikely(index >= c->nelems))
			continue;
		at = &s->last.bits[index / 64 * 2];
		if (at != s->pair) {
			set_marks(s);
			s->pair = at;
			s->marks = READ_ONCE(at[0]);
		}
		bit = 1ULL << (index & 63);
		if (s->marks & bit)
			continue;
		if (!(READ_ONCE(at[1]) & bit) && !gca_index_in(s->last.pw, index))
			continue;
		if (unlikely(!s->marks))
			gca_page_mark(gca_view_chunk(&s->v, s->last.head), s->last.head);
		s->marks |= bit;
		if (likely(c->size || s->exclusive))
			s->pending |= bit;
		else if (xchg(&at[0], 1))
			continue;	/* as in gca_mark_ref() */
		s->bit = bit;
		s->objects++;
		s->bytes += c->size;
		entry = c->entry;
		if (unlikely(!(entry & GCA_ENTRY_MINUS))) {
			if (!c->size)
				s->bytes += gca_view_chunk(&s->v, s->last.head)->
					    span[s->last.head % GCA_CHUNK_PAGES].bytes;
			if (!entry)
				continue;
		}
		/*
		 * Most words point to the start of an object.  A branch, which is
		 * predicted, lets the load of the object begin before the division is
		 * done; arithmetic would make it wait.
		 */
		if (unlikely((u32)product >= c->magic))
			off -= o - index * c->size;
		entry |= off << GCA_ENTRY_OFF_SHIFT;
		if (list) {
			s->found = 0;
			return entry;
		}
		if (likely(entry & GCA_ENTRY_SMALL))
			entry = grey_row(s, &block, off, entry);
		*s->top++ = entry;
	}
	set_marks(s);
	s->pair = NULL;
	s->found = 0;
	return 0;
}

#endif /* GCA_BLOCK_H */
