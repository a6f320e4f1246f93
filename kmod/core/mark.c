// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * mark.c: the mark loop.
 *
 * A marker takes a grey object, reads the words that may be pointers, and greys
 * what they point to, until nothing is grey.  Greying is mark.h; this file is
 * the loop around it.
 *
 *   local stack (two buffers) --> FIFO of 16, prefetched --> scan --> grey --+
 *        ^                                                                  |
 *        +------------------------------------------------------------------+
 *
 * The stack makes the walk depth first, so it stays small.  The FIFO between
 * the stack and the scan turns the loads of object memory, the one thing that
 * misses every cache, into prefetches that overlap: an object is scanned
 * sixteen pops after its address was known (Cher, Hosking, Vijaykumar:
 * "Software prefetching for mark-sweep garbage collection", ASPLOS 2004).
 * Prefetching when an object is greyed, as Go does, gains nothing for a stack:
 * what was pushed last is popped at once.
 *
 * Object memory is read in *batches*: at most 2048 words, or 64 objects of 64
 * bytes, inside one GCA_UREAD window, because opening the window costs a fence
 * that would undo the prefetching if paid for each object.  Inside the window
 * nothing out of line is called; whatever needs more (a new buffer, a page that
 * is not there) ends the batch with the place to go on in w->cur and
 * w->cur_word, and is seen to in drain.c.
 *
 * A word is read once and means nothing until gca_find() has checked it.  Sizes
 * and patterns come from kernel metadata; what the owner writes (headers, tail
 * bitmaps) selects among its own words only.
 *
 * Marking cannot fail for want of memory: a worker without room marks what it
 * finds and sets the overflow bit of the span; drain.c goes through the marked
 * objects of such spans when nothing else is left.
 */
#include "mark.h"
#include "shape.h"

#define BATCH_WORDS	2048	/* budget of a window: 16 KiB of words, or */
#define OBJECT_WORDS	24	/* fewer with small objects: each costs as much as so many words */
#define BLOCK_WORDS	64	/* read before what they name is greyed */

/**
 * struct batch_state - the worker's state during a batch, in registers
 * @v: the arena
 * @obj: entries of the current buffer
 * @n: how many
 * @fifo_head: of the worker's FIFO
 * @fifo_n: entries in it
 * @starved: beyond GCA_WBUF_ENTRIES, use overflow bits
 * @exclusive: no atomic operation is needed
 * @objects: newly marked
 * @bytes: in them
 * @budget: words that may yet be read in this window
 * @found: offsets in the block
 */
struct batch_state {
	struct gca_view v;
	u64 *obj;
	u32 n;
	u32 fifo_head, fifo_n;
	bool starved, exclusive;
	u64 objects, bytes;
	int budget;
	u64 found;
};

static __always_inline bool has_room(const struct batch_state *s)
{
	return s->n < GCA_WBUF_ENTRIES || s->starved;
}

static __always_inline void push(struct gca_worker *w, struct batch_state *s, u64 entry)
{
	if (likely(s->n < GCA_WBUF_ENTRIES))
		s->obj[s->n++] = entry;
	else
		gca_overflow_set(w->arena, gca_entry_off(entry));
}

/*
 * An object is scanned by blocks of BLOCK_WORDS, each in two loops.  The first
 * reads words and keeps those that point into the reservation, as offsets, in a
 * *block*.  It has no branch on what was read: a word is always stored, and
 * counted if it is in range, so a mix of pointers and other words that nobody
 * can predict costs nothing.  The second greys what was kept, and has the
 * registers for itself.
 */
static __always_inline void keep(struct batch_state *s, u64 *block, u64 word)
{
	block[s->found] = word - s->v.base;
	s->found += word - s->v.base <= s->v.mask;
}

/* Return: false if there is no room; the block must be scanned again. */
static __always_inline bool grey_block(struct gca_worker *w, struct batch_state *s,
				       const u64 *block)
{
	const u64 *end = block + s->found;
	struct gca_ref r;

	for (; block < end; block++) {
		if (!gca_view_slot(&s->v, *block, &r))
			continue;
		if (unlikely(!has_room(s)))
			return false;
		if (!gca_mark_ref(&r, s->exclusive))
			continue;
		s->objects++;
		if (likely(!gca_pw_large(r.pw)))
			s->bytes += gca_class[gca_pw_class(r.pw)].size;
		else
			s->bytes += gca_span(w->arena, r.head)->bytes;
		if (gca_ref_scans(&r))
			push(w, s, gca_entry(r.off, gca_pw_class(r.pw)));
	}
	return true;
}

/* All of the @n words at @addr.  By fours: the loop costs as much as the reading. */
static __always_inline enum gca_batch read_words(struct batch_state *s, u64 *block, u64 addr, u32 n)
{
	u64 w0, w1, w2, w3;

	s->budget -= n;
	for (; n >= 4; n -= 4, addr += 32) {
		GCA_UREAD(w0, addr, miss);
		GCA_UREAD(w1, addr + 8, miss);
		GCA_UREAD(w2, addr + 16, miss);
		GCA_UREAD(w3, addr + 24, miss);
		if (!(w0 | w1 | w2 | w3))
			continue;
		keep(s, block, w0);
		keep(s, block, w1);
		keep(s, block, w2);
		keep(s, block, w3);
	}
	for (; n; n--, addr += 8) {
		GCA_UREAD(w0, addr, miss);
		keep(s, block, w0);
	}
	return GCA_BATCH_GOES_ON;
miss:
	return GCA_BATCH_MISS;
}

/*
 * A block of the @words words at @addr, from word @k on.  *next: the word to go
 * on with; left alone, 0, if that was all.
 */
static __always_inline enum gca_batch read_all(struct batch_state *s, u64 *block, u64 addr,
					       u32 words, u32 k, u32 *next)
{
	if (likely(words <= BLOCK_WORDS))	/* never left half read: k is 0 */
		return read_words(s, block, addr, words);
	if (words - k > BLOCK_WORDS) {
		*next = k + BLOCK_WORDS;
		words = *next;
	}
	return read_words(s, block, addr + 8ULL * k, words - k);
}

/* The words at @addr that @bits names. */
static __always_inline enum gca_batch read_bits(struct batch_state *s, u64 *block, u64 addr,
						u64 bits)
{
	u64 word;

	for (; bits; bits &= bits - 1) {
		GCA_UREAD(word, addr + 8ULL * __ffs64(bits), miss);
		keep(s, block, word);
	}
	return GCA_BATCH_GOES_ON;
miss:
	return GCA_BATCH_MISS;
}

/* One run of the words that the shape's pattern names; else as read_all(). */
static __always_inline enum gca_batch read_shape(struct batch_state *s, u64 *block,
						 const struct shape *sh, u32 k, u32 *next)
{
	u64 bits;
	u32 run;

	if (k >= sh->words)
		return GCA_BATCH_GOES_ON;
	bits = shape_bits(sh, k, &run);
	s->budget -= run;
	if (k + run < sh->words)
		*next = k + run;
	return read_bits(s, block, sh->addr + 8ULL * k, bits);
}

/* A block of one entry. */
static __always_inline enum gca_batch read_entry(struct gca_worker *w, struct batch_state *s,
						 u64 *block, u64 *entry, u32 k, u32 *next)
{
	u64 lo, hi = 0, more, addr = s->v.base + gca_entry_off(*entry);
	unsigned int sc = gca_entry_class(*entry);
	struct gca_arena *a = w->arena;
	struct shape sh;

	s->found = 0;
	if (unlikely(sc >= GCARENA_NR_SPAN_CLASSES)) {
		if (!has_room(s))
			return GCA_BATCH_ROOM;
		sh = (struct shape){};
		more = shape_oblet(a, &sh, entry);
		if (more)
			push(w, s, more);
		return sh.all ? read_all(s, block, sh.addr, sh.words, k, next) :
				read_shape(s, block, &sh, k, next);
	}
	if ((sc & 3) == GCARENA_CONSERVATIVE)
		return read_all(s, block, addr, words_of(*entry), k, next);
	sh = (struct shape){};
	if (gca_class[sc].size <= GCARENA_BITMAP_MAX) {
		GCA_UREAD(lo, tail_addr(a, *entry), miss);
		if (tail_split(*entry))
			GCA_UREAD(hi, tail_addr(a, *entry) + 8, miss);
		shape_tail(a, &sh, *entry, lo, hi);
		s->budget -= sh.words;
		return read_bits(s, block, sh.addr, sh.bits);
	}
	GCA_UREAD(lo, addr, miss);
	shape_header(a, &sh, *entry, lo);
	return read_shape(s, block, &sh, k, next);
miss:
	return GCA_BATCH_MISS;
}

/* Move entries from the stack to the FIFO, prefetching, and take the oldest. */
static __always_inline u64 next_entry(struct gca_worker *w, struct batch_state *s)
{
	u64 entry;

	while (s->n) {
		entry = s->obj[--s->n];
		if (!s->n && !s->fifo_n)
			return entry;	/* a list: nothing to overlap with */
		prefetch((void *)(unsigned long)(s->v.base + gca_entry_off(entry)));
		if (s->fifo_n == GCA_FIFO) {
			swap(entry, w->fifo[s->fifo_head]);
			s->fifo_head = (s->fifo_head + 1) % GCA_FIFO;
			return entry;
		}
		w->fifo[(s->fifo_head + s->fifo_n++) % GCA_FIFO] = entry;
	}
	if (!s->fifo_n)
		return 0;
	entry = w->fifo[s->fifo_head];
	s->fifo_head = (s->fifo_head + 1) % GCA_FIFO;
	s->fifo_n--;
	return entry;
}

/*
 * One batch: scan local work until there is none, the budget is used up, or
 * something is needed that the window does not allow.
 */
enum gca_batch gca_mark_batch(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	struct batch_state s = {
		.v = gca_view(a),
		.obj = w->buf->obj,
		.n = w->buf->n,
		.fifo_head = w->fifo_head,
		.fifo_n = w->fifo_n,
		.starved = w->starved,
		.exclusive = w->exclusive,
		.budget = BATCH_WORDS,
	};
	bool pretend = a->debug & GCARENA_DEBUG_MISS;
	u64 entry = w->cur, block[BLOCK_WORDS];
	u32 k = w->cur_word, next;
	enum gca_batch ret;

	if (!GCA_UREAD_BEGIN(a))
		return GCA_BATCH_MISS;
	for (;;) {
		if (!entry) {
			entry = next_entry(w, &s);
			if (!entry) {
				ret = GCA_BATCH_EMPTY;
				break;
			}
			k = 0;
			s.budget -= OBJECT_WORDS;
		}
		next = 0;
		ret = unlikely(pretend) && !(s.objects % 16) ?
		      GCA_BATCH_MISS : read_entry(w, &s, block, &entry, k, &next);
		if (unlikely(ret != GCA_BATCH_GOES_ON))
			break;
		if (unlikely(!grey_block(w, &s, block))) {
			ret = GCA_BATCH_ROOM;
			break;
		}
		if (unlikely(next))
			k = next;
		else
			entry = 0;
		if (s.budget <= 0) {
			ret = GCA_BATCH_BUDGET;
			break;
		}
	}
	GCA_UREAD_END();

	w->cur = entry;
	w->cur_word = k;
	w->buf->n = s.n;
	w->fifo_head = s.fifo_head;
	w->fifo_n = s.fifo_n;
	w->objects += s.objects;
	w->bytes += s.bytes;
	w->scanned += 8 * (u64)(BATCH_WORDS - s.budget);	/* what is paced: Go's scan work */
	return ret;
}
