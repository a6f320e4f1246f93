// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * mark.c: the mark loop.
 *
 * A marker takes a grey object, reads the words that may be pointers, and greys
 * what they point to, until nothing is grey.  Greying one object is mark.h, reading
 * is read.h, greying what was read is block.h; this file is the loop around them.
 *
 *   local stack (two buffers) --> FIFO of 16, prefetched --> scan --> grey --+
 *        ^                                                                  |
 *        +------------------------------------------------------------------+
 *
 * The stack makes the walk depth first, so it stays small.  The FIFO between
 * the stack and the scan turns the loads of object memory, the one thing that
 * misses every cache, into prefetches that overlap: an entry is scanned
 * sixteen pops after its address was known (Cher, Hosking, Vijaykumar:
 * "Software prefetching for mark-sweep garbage collection", ASPLOS 2004).
 * Prefetching when an object is greyed, as Go does, gains nothing for a stack:
 * what was pushed last is popped at once.
 *
 * Entries are of up to eight objects in a row, slot by slot (mark.h): arrays and trees of
 * objects that were allocated one after another are marked, queued and read row by row.
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
 * A block is greyed only with room for all it may name.  Marking cannot fail for
 * want of memory: where no buffer is free drain.c makes room by setting the grey
 * bits of queued objects and the overflow bits of their spans, and queues them
 * again when nothing else is left.  A big object is put off before it comes to that.
 */
#include "read.h"

#define BATCH_WORDS	2048	/* budget of a window: 16 KiB of words, fewer with small objects */
#define AHEAD		32	/* objects of a list that are on their way */

/* Of a row each object: they are scanned one after another, at once. */
static __always_inline void prefetch_row(const struct batch_state *s, u64 entry)
{
	if (entry & GCA_ENTRY_TAIL)
		prefetch((void *)(unsigned long)tail_at(s->v.base, entry));
	for (; entry; entry = gca_entry_rest(entry))
		prefetch((void *)(unsigned long)(s->v.base + gca_entry_off(entry)));
}

/*
 * Move entries from the stack to the FIFO, prefetching, and take the oldest; but if
 * the stack is empty and a big one has been put off, that.  Return: 0 if there is none.
 */
static __always_inline u64 next_entry(struct gca_worker *w, struct batch_state *s)
{
	u64 entry;

	while (s->top != s->bottom) {
		entry = *--s->top;
		if (w->fifo_n == 0 && s->top == s->bottom)
			return entry;	/* a list: nothing to overlap with */
		prefetch_row(s, entry);
		if (likely(w->fifo_n == GCA_FIFO)) {
			swap(entry, w->fifo[w->fifo_head]);
			w->fifo_head = (w->fifo_head + 1) % GCA_FIFO;
			return entry;
		}
		w->fifo[(w->fifo_head + w->fifo_n++) % GCA_FIFO] = entry;
	}
	if (w->big) {
		entry = w->big;
		w->cur_word = w->big_word;
		w->big = 0;
		return entry;
	}
	if (!w->fifo_n)
		return 0;
	entry = w->fifo[w->fifo_head];
	w->fifo_head = (w->fifo_head + 1) % GCA_FIFO;
	w->fifo_n--;
	return entry;
}

/*
 * The objects of a list often lie in a row, at equal distances: fetch the one that is
 * AHEAD in it, as what the hardware fetches by itself comes late.
 */
static __always_inline void prefetch_ahead(const struct batch_state *s, u64 off, u64 step)
{
	prefetch((void *)(unsigned long)(s->v.base + off + AHEAD * step));
}

/* @before: offset of the object before.  Where they lie apart, nothing can be foreseen. */
static __always_inline void prefetch_list(const struct batch_state *s, u64 entry, u64 before)
{
	u64 off = gca_entry_off(entry), step = off - before;

	if (step + GCARENA_PAGE_SIZE / 2 < GCARENA_PAGE_SIZE)
		prefetch_ahead(s, off, step);
}

static __always_inline struct batch_state batch_begin(struct gca_worker *w, bool exclusive)
{
	struct gca_arena *a = w->arena;
	struct batch_state s = {
		.v = gca_view(a),
		.last.head = U64_MAX,
		.top = w->buf->obj + w->buf->n,
		.bottom = w->buf->obj,
		.limit = w->buf->obj + GCA_WBUF_ENTRIES,
		.exclusive = exclusive,
		.budget = BATCH_WORDS,
	};

	return s;
}

static __always_inline void batch_end(struct gca_worker *w, const struct batch_state *s)
{
	w->buf->n = s->top - s->bottom;
	w->objects += s->objects;
	w->bytes += s->bytes;
	w->scanned[GCA_SCAN_HEAP] += 8 * (BATCH_WORDS - s->budget);
}

/* No window, or with GCARENA_DEBUG_MISS: no object is there. */
static enum gca_batch batch_of_misses(struct gca_worker *w)
{
	struct batch_state s = batch_begin(w, false);

	if (!w->cur)
		w->cur = next_entry(w, &s);
	batch_end(w, &s);
	return w->cur ? GCA_BATCH_MISS : GCA_BATCH_EMPTY;
}

static __always_inline bool has_room(const struct batch_state *s, int blocks)
{
	return s->limit - s->top >= blocks * GCA_WBUF_ROOM;
}

/*
 * One batch: scan local work until there is none, the budget is used up, or
 * something is needed that the window does not allow.
 *
 * This loop is for small objects, row by row, and has the registers for itself; batch_big()
 * is for the rest.  It reads several objects before it greys what they name: that
 * much fewer times are the registers exchanged.  @exclusive is constant.
 */
static __always_inline enum gca_batch batch_small(struct gca_worker *w, bool exclusive)
{
	struct batch_state s = batch_begin(w, exclusive);
	u64 entry, rest, block[GROUP + 64], guess[2] = {};
	enum gca_batch ret;

	BUILD_BUG_ON(ARRAY_SIZE(block) > GCA_WBUF_ROOM);
	if (!GCA_UREAD_BEGIN(w->arena))
		return batch_of_misses(w);
	do {
		ret = GCA_BATCH_ROOM;
		if (unlikely(!has_room(&s, 1)))
			break;
		ret = GCA_BATCH_BUDGET;
		if (unlikely(s.budget <= 0))
			break;
		do {
			ret = GCA_BATCH_GOES_ON;
			if (s.found && s.top == s.bottom)
				break;	/* rather than empty the FIFO */
			entry = next_entry(w, &s);
			ret = GCA_BATCH_EMPTY;
			if (unlikely(!entry))
				break;
			ret = read_small(&s, block, guess, entry, &rest, true);
			if (unlikely(ret != GCA_BATCH_GOES_ON)) {
				w->cur = rest;
				break;
			}
			if (unlikely(rest))
				*s.top++ = rest;
		} while (s.found < GROUP && s.budget > 0);
		grey_block(&s, block, false);
	} while (ret == GCA_BATCH_GOES_ON);
	GCA_UREAD_END();
	batch_end(w, &s);
	return ret;
}

static noinline enum gca_batch batch_alone(struct gca_worker *w)
{
	return batch_small(w, true);
}

static noinline enum gca_batch batch_shared(struct gca_worker *w)
{
	return batch_small(w, false);
}

/* The same for one object that is not small, w->cur. */
static noinline enum gca_batch batch_big(struct gca_worker *w)
{
	struct batch_state s = batch_begin(w, w->exclusive);
	u64 block[BLOCK_WORDS + 1];
	u32 k = w->cur_word;
	enum gca_batch ret;

	if (!GCA_UREAD_BEGIN(w->arena))
		return GCA_BATCH_MISS;
	do {
		w->cur_word = k;
		ret = GCA_BATCH_ROOM;
		if (unlikely(!has_room(&s, w->big ? 1 : 2)))
			break;
		ret = GCA_BATCH_BUDGET;
		if (unlikely(s.budget <= 0))
			break;
		k = 0;
		ret = read_big(w, &s, block, &w->cur, w->cur_word, &k);
		if (unlikely(ret != GCA_BATCH_GOES_ON))
			break;
		grey_block(&s, block, false);
	} while (k);
	GCA_UREAD_END();
	if (ret == GCA_BATCH_GOES_ON) {
		w->cur = 0;
		w->cur_word = 0;
	} else if (ret == GCA_BATCH_ROOM && !w->big) {
		/* Put it off: what it names first, while that is in the cache. */
		w->big = w->cur;
		w->big_word = w->cur_word;
		w->cur = 0;
		w->cur_word = 0;
		ret = GCA_BATCH_GOES_ON;
	}
	batch_end(w, &s);
	return ret;
}

/*
 * The same for a list: one object is queued, and names one.  That is read at once: its
 * entry does not go through the buffer, nor do the registers change hands between two
 * loops; and if it lies behind this one, it is not looked up.  Only a batch's beginning is
 * looked at for this, and the first object that names none or several ends the batch: a
 * list with other pointers costs no window an object.
 */
static noinline enum gca_batch batch_list(struct gca_worker *w)
{
	struct batch_state s = batch_begin(w, w->exclusive);
	u64 entry, rest, before, size, block[64 + 1], guess[2] = {};
	enum gca_batch ret = GCA_BATCH_GOES_ON;

	if (!GCA_UREAD_BEGIN(w->arena))
		return batch_of_misses(w);
	entry = *--s.top;
	while (entry) {
		before = gca_entry_off(entry);
		ret = read_small(&s, block, guess, entry, &rest, false);
		if (unlikely(ret != GCA_BATCH_GOES_ON)) {
			w->cur = rest;
			break;
		}
		if (s.found != 1 || s.budget <= 0) {
			grey_block(&s, block, false);
			break;
		}
		size = s.pair ? s.last.class->size : 0;	/* 0: this one was not marked here */
		if (size && block[0] == before + size && old_unmarked(&s) & s.bit << 1) {
			mark_behind(&s, s.bit << 1, 1);
			entry += size << GCA_ENTRY_OFF_SHIFT;
			s.found = 0;
			prefetch_ahead(&s, block[0], size);
			continue;
		}
		entry = grey_block(&s, block, true);
		prefetch_list(&s, entry, before);
	}
	set_marks(&s);
	GCA_UREAD_END();
	batch_end(w, &s);
	return ret;
}

/*
 * gca_grey_block() - grey what @n words name that are in our own memory
 * @w: with a buffer that has room for as many, gca_worker_room()
 * @word: of a ring: their thread may write them meanwhile
 * @n: at most GCA_GREY_MAX
 */
void gca_grey_block(struct gca_worker *w, const u64 *word, unsigned int n)
{
	struct batch_state s = batch_begin(w, w->exclusive);
	u64 block[GCA_GREY_MAX + 1];
	unsigned int i;

	BUILD_BUG_ON(GCA_GREY_MAX > GCA_WBUF_ROOM);
	for (i = 0; i < n; i++)
		s.found = keep(&s, block, s.found, READ_ONCE(word[i]));
	grey_block(&s, block, false);
	batch_end(w, &s);
}

enum gca_batch gca_mark_batch(struct gca_worker *w)
{
	if (unlikely(READ_ONCE(w->arena->knob.debug) & GCARENA_DEBUG_MISS))
		return batch_of_misses(w);
	if (w->cur)
		return batch_big(w);
	if (w->buf->n == 1 && !w->fifo_n && !(w->buf->obj[0] & GCA_ENTRY_ROW))
		return batch_list(w);
	return w->exclusive ? batch_alone(w) : batch_shared(w);
}
