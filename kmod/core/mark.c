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
 * finds and sets its grey bit and the overflow bit of the span; drain.c queues
 * the grey objects of such spans when nothing else is left.
 */
#include "mark.h"
#include "shape.h"

#define BATCH_WORDS	2048	/* budget of a window: 16 KiB of words, or */
#define OBJECT_WORDS	24	/* fewer with small objects: each costs as much as so many words */
#define BLOCK_WORDS	64	/* read before what they name is greyed */
#define PATTERN		BLOCK_WORDS	/* behind them: the last pattern from a tail bitmap */

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

static __always_inline void push(struct gca_worker *w, struct batch_state *s, u64 entry,
				 const struct gca_ref *r)
{
	if (likely(s->n < GCA_WBUF_ENTRIES))
		s->obj[s->n++] = entry;
	else
		gca_overflow_ref(w->arena, r);
}

/*
 * An object is scanned by blocks of BLOCK_WORDS, each in two loops.  The first
 * reads words and keeps those that point into the reservation, as offsets, in a
 * *block*.  It has no branch on what was read: a word is always stored, and
 * counted if it is in range, so a mix of pointers and other words that nobody
 * can predict costs nothing.  The second greys what was kept, and has the
 * registers for itself.
 */
static __always_inline u64 keep(const struct batch_state *s, u64 *block, u64 found, u64 word)
{
	block[found] = word - s->v.base;
	return found + (word - s->v.base <= s->v.mask);
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
			push(w, s, gca_entry(r.off, gca_pw_class(r.pw)), &r);
	}
	return true;
}

/* All of the @n words at @addr.  By fours: the loop costs as much as the reading. */
static __always_inline enum gca_batch read_words(struct batch_state *s, u64 *block, u64 addr, u32 n)
{
	u64 w0, w1, w2, w3, found = 0;

	for (; n >= 4; n -= 4, addr += 32) {
		GCA_UREAD(w0, addr, miss);
		GCA_UREAD(w1, addr + 8, miss);
		GCA_UREAD(w2, addr + 16, miss);
		GCA_UREAD(w3, addr + 24, miss);
		if (!(w0 | w1 | w2 | w3))
			continue;
		found = keep(s, block, found, w0);
		found = keep(s, block, found, w1);
		found = keep(s, block, found, w2);
		found = keep(s, block, found, w3);
	}
	for (; n; n--, addr += 8) {
		GCA_UREAD(w0, addr, miss);
		found = keep(s, block, found, w0);
	}
	s->found = found;
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
	if (likely(words <= BLOCK_WORDS)) {	/* never left half read: k is 0 */
		s->budget -= words;
		return read_words(s, block, addr, words);
	}
	if (words - k > BLOCK_WORDS) {
		*next = k + BLOCK_WORDS;
		words = *next;
	}
	s->budget -= words - k;
	return read_words(s, block, addr + 8ULL * k, words - k);
}

/* The words at @addr that @bits names; those that are together at the front by fours. */
static __always_inline enum gca_batch read_bits(struct batch_state *s, u64 *block, u64 addr,
						u64 bits)
{
	u64 word, found = 0;

	if (!(bits & (bits + 1)))
		return read_words(s, block, addr, bits + 1 ? __ffs64(bits + 1) : 64);
	for (; bits; bits &= bits - 1) {
		GCA_UREAD(word, addr + 8ULL * __ffs64(bits), miss);
		found = keep(s, block, found, word);
	}
	s->found = found;
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

/* The words of a small object. */
static __always_inline enum gca_batch read_small(struct batch_state *s, u64 *block, u64 entry)
{
	u64 bits, hi = 0, addr = s->v.base + gca_entry_off(entry), guess;
	u32 words = words_of(entry);

	s->budget -= words + OBJECT_WORDS;
	if ((gca_entry_class(entry) & 3) != GCARENA_PRECISE)
		return read_words(s, block, addr, words);
	GCA_UREAD(bits, tail_at(s->v.base, entry), miss);
	if (unlikely(tail_split(entry)))
		GCA_UREAD(hi, tail_at(s->v.base, entry) + 8, miss);
	bits = tail_bits(entry, bits, hi);
	/*
	 * Likely the pattern is that of the object before.  Taken from there the
	 * processor need not wait for the bitmap to read the words.
	 */
	guess = READ_ONCE(block[PATTERN]);
	if (unlikely(bits != guess)) {
		WRITE_ONCE(block[PATTERN], bits);
		guess = bits;
	}
	return read_bits(s, block, addr, guess);
miss:
	return GCA_BATCH_MISS;
}

/* A block of an object that is not small. */
static __always_inline enum gca_batch read_big(struct gca_worker *w, struct batch_state *s,
					       u64 *block, u64 *entry, u32 k, u32 *next)
{
	u64 header, more, addr = s->v.base + gca_entry_off(*entry);
	unsigned int sc = gca_entry_class(*entry);
	struct gca_arena *a = w->arena;
	struct shape sh = {};

	s->found = 0;
	if (!k)
		s->budget -= OBJECT_WORDS;
	if (sc >= GCARENA_NR_SPAN_CLASSES) {
		if (!has_room(s))
			return GCA_BATCH_ROOM;
		more = shape_oblet(a, &sh, entry);
		if (more && s->n < GCA_WBUF_ENTRIES)
			s->obj[s->n++] = more;
		else if (more)
			gca_overflow_set(a, gca_entry_off(more));
		return sh.all ? read_all(s, block, sh.addr, sh.words, k, next) :
				read_shape(s, block, &sh, k, next);
	}
	if ((sc & 3) == GCARENA_CONSERVATIVE)
		return read_all(s, block, addr, words_of(*entry), k, next);
	GCA_UREAD(header, addr, miss);
	shape_header(a, &sh, *entry, header);
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
		/* Of a larger object it is wasted; so would be the time to find out. */
		if ((gca_entry_class(entry) & 3) == GCARENA_PRECISE)
			prefetch((void *)(unsigned long)tail_at(s->v.base, entry));
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
 *
 * Compiled once for small objects, which have one block, and once for the rest:
 * the loop for small ones has the registers for itself.  @small and @exclusive
 * are constants.  Return: GCA_BATCH_GOES_ON: w->cur is for the other loop.
 */
static __always_inline enum gca_batch batch(struct gca_worker *w, bool small, bool exclusive)
{
	struct gca_arena *a = w->arena;
	struct batch_state s = {
		.v = gca_view(a),
		.obj = w->buf->obj,
		.n = w->buf->n,
		.fifo_head = w->fifo_head,
		.fifo_n = w->fifo_n,
		.starved = w->starved,
		.exclusive = exclusive,
		.budget = BATCH_WORDS,
	};
	bool pretend = a->debug & GCARENA_DEBUG_MISS;
	u64 entry = w->cur, block[BLOCK_WORDS + 1];
	u32 k = w->cur_word, next;
	enum gca_batch ret;

	block[PATTERN] = 0;
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
		}
		ret = GCA_BATCH_GOES_ON;
		if (unlikely(is_small(entry) != small))
			break;
		next = 0;
		if (unlikely(pretend) && !(s.objects % 16))
			ret = GCA_BATCH_MISS;
		else if (small)
			ret = read_small(&s, block, entry);
		else
			ret = read_big(w, &s, block, &entry, k, &next);
		if (unlikely(ret != GCA_BATCH_GOES_ON))
			break;
		if (unlikely(!grey_block(w, &s, block))) {
			ret = GCA_BATCH_ROOM;
			break;
		}
		k = next;
		if (!next)
			entry = 0;
		if (unlikely(s.budget <= 0)) {
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

static noinline enum gca_batch batch_alone(struct gca_worker *w)
{
	return batch(w, true, true);
}

static noinline enum gca_batch batch_shared(struct gca_worker *w)
{
	return batch(w, true, false);
}

static noinline enum gca_batch batch_big(struct gca_worker *w)
{
	return batch(w, false, false);
}

enum gca_batch gca_mark_batch(struct gca_worker *w)
{
	enum gca_batch ret = w->exclusive ? batch_alone(w) : batch_shared(w);

	return ret == GCA_BATCH_GOES_ON ? batch_big(w) : ret;
}
