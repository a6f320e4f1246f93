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
 * A block is greyed only with room for all it may name.  Marking cannot fail for
 * want of memory: where no buffer is free drain.c makes room by setting the grey
 * bits of queued objects and the overflow bits of their spans, and queues them
 * again when nothing else is left.  A big object is put off before it comes to that.
 */
#include "mark.h"
#include "shape.h"

#define BATCH_WORDS	2048	/* budget of a window: 16 KiB of words, fewer with small objects */
#define BLOCK_WORDS	64	/* read before what they name is greyed */
#define GROUP		16	/* from small objects, so many and an object's */
#define STREWN		4	/* spans looked up for a block of objects that lie apart */
#define AHEAD		32	/* objects of a list that are on their way */

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

/*
 * An object is scanned by blocks of BLOCK_WORDS, several small ones together, in
 * two loops.  The first reads words and keeps those that point into the
 * reservation, as offsets, in a *block*.  It has no branch on what was read: a
 * word is always stored, and counted if it is in range, so a mix of pointers and
 * other words that nobody can predict costs nothing.  The second greys what was
 * kept, and has the registers for itself.
 */
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
 * The entry of the object at @off, which was marked last, and of those that lie behind it
 * and are named behind it in the block; they are marked and taken from there.
 */
static __always_inline u64 grey_row(struct batch_state *s, const u64 **block, u64 off, u64 entry)
{
	u64 size = s->last.class->size, at = off + size, old, bit;
	const u64 *b = *block;
	u32 n = 0;

	entry |= off << GCA_ENTRY_OFF_SHIFT;
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
	u64 off, o, product, bit, *at;
	const u64 *block = found, *end = found + s->found;
	const struct gca_class *c;
	u32 index, entry;

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
		if (list) {
			s->found = 0;
			return off << GCA_ENTRY_OFF_SHIFT | entry;
		}
		if (likely(entry & GCA_ENTRY_SMALL))
			*s->top++ = grey_row(s, &block, off, entry);
		else
			*s->top++ = off << GCA_ENTRY_OFF_SHIFT | entry;
	}
	set_marks(s);
	s->pair = NULL;
	s->found = 0;
	return 0;
}

/*
 * All of the @n words at @addr.  By fours, as the loop costs as much as the reading; by twos
 * they are kept, as the latter half of an object often is empty.
 */
static __always_inline enum gca_batch read_words(struct batch_state *s, u64 *block, u64 addr, u32 n)
{
	u64 w0, w1, w2, w3, found = s->found;

	while (n >= 4) {
		GCA_UREAD(w0, addr, miss);
		GCA_UREAD(w1, addr + 8, miss);
		GCA_UREAD(w2, addr + 16, miss);
		GCA_UREAD(w3, addr + 24, miss);
		OPTIMIZER_HIDE_VAR(n);	/* or gcc works out beforehand how it ends */
		n -= 4;
		addr += 32;
		if (w0 | w1) {
			found = keep(s, block, found, w0);
			found = keep(s, block, found, w1);
		}
		if (w2 | w3) {
			found = keep(s, block, found, w2);
			found = keep(s, block, found, w3);
		}
	}
	while (n) {
		GCA_UREAD(w0, addr, miss);
		n--;
		addr += 8;
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

/* The words at @addr that @bits names. */
static __always_inline enum gca_batch read_bits(struct batch_state *s, u64 *block, u64 addr,
						u64 bits)
{
	u64 word, found = s->found;

	for (; bits; bits &= bits - 1) {
		GCA_UREAD(word, addr + 8ULL * __ffs64(bits), miss);
		found = keep(s, block, found, word);
	}
	s->found = found;
	return GCA_BATCH_GOES_ON;
miss:
	return GCA_BATCH_MISS;
}

/* How many words, if they are together at the front; else 0. */
static __always_inline u32 run_of(u64 bits)
{
	if (bits & (bits + 1) || !bits)
		return 0;
	return bits + 1 ? __ffs64(bits + 1) : 64;
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
	run = run_of(bits);
	return run ? read_words(s, block, sh->addr + 8ULL * k, run) :
		     read_bits(s, block, sh->addr + 8ULL * k, bits);
}

/*
 * Likely the pattern of an object is that of the one before.  Taken from there, the processor
 * need not wait for the bitmap to read the words.  Return: false if it is not one run of words.
 */
static __always_inline bool guess_again(u64 *guess, u64 bits)
{
	u32 run = run_of(bits);

	if (bits && !run)
		return false;
	WRITE_ONCE(guess[0], bits);
	WRITE_ONCE(guess[1], run);
	return true;
}

/*
 * A row of small precise objects, until the block has enough.  *@rest: the entry of what
 * is left of the row, or 0; of a miss, from the object on that was not there.  @row: is
 * constant; false: it is no row.
 */
static __always_inline enum gca_batch read_tails(struct batch_state *s, u64 *block, u64 *guess,
						 u64 entry, u64 *rest, bool row)
{
	u64 bits, hi, addr = s->v.base + gca_entry_off(entry), tail = tail_at(s->v.base, entry);
	u32 words = 64 - entry % 64, shift = word_in_page(entry) % 64;
	enum gca_batch ret;

	for (;;) {
		*rest = entry;
		GCA_UREAD(bits, tail, miss);
		bits >>= shift;
		if (unlikely(entry & GCA_ENTRY_SPLIT && shift + words > 64)) {
			GCA_UREAD(hi, tail + 8, miss);
			bits |= hi << (64 - shift);	/* it is not 0 */
		}
		bits &= ~0ULL >> (entry % 64);
		if (unlikely(bits != READ_ONCE(guess[0])) && !guess_again(guess, bits))
			ret = read_bits(s, block, addr, bits);
		else
			ret = read_words(s, block, addr, READ_ONCE(guess[1]));
		if (unlikely(ret != GCA_BATCH_GOES_ON))
			return ret;
		s->budget -= words + GCA_OBJECT_WORDS;
		if (!row || likely(!(entry & GCA_ENTRY_ROW))) {
			entry = 0;
			break;
		}
		entry += ((u64)words << (GCA_ENTRY_OFF_SHIFT + 3)) - (1ULL << GCA_ENTRY_ROW_SHIFT);
		if (s->found >= GROUP)
			break;
		addr += 8ULL * words;
		shift += words;
		tail += shift / 64 * 8;
		shift %= 64;
	}
	*rest = entry;
	return GCA_BATCH_GOES_ON;
miss:
	return GCA_BATCH_MISS;
}

/* The same, conservative: all of the row at once, if the block can take it. */
static __always_inline enum gca_batch read_whole(struct batch_state *s, u64 *block, u64 entry,
						 u64 *rest, bool row)
{
	u32 words = 64 - entry % 64, n = 1;
	u64 addr = s->v.base + gca_entry_off(entry);
	enum gca_batch ret;

	if (row && unlikely(entry & GCA_ENTRY_ROW)) {
		n += (entry & GCA_ENTRY_ROW) >> GCA_ENTRY_ROW_SHIFT;
		if (n * words > 64)
			n = 1;
	}
	for (;;) {
		*rest = entry;
		ret = read_words(s, block, addr, n * words);
		if (unlikely(ret != GCA_BATCH_GOES_ON))
			return ret;
		s->budget -= n * (words + GCA_OBJECT_WORDS);
		if (!row || n > 1 || likely(!(entry & GCA_ENTRY_ROW))) {
			entry = 0;
			break;
		}
		entry = gca_entry_rest(entry);
		if (s->found >= GROUP)
			break;
		addr += 8ULL * words;
	}
	*rest = entry;
	return GCA_BATCH_GOES_ON;
}

/* A row of small objects, as above; of another, nothing. */
static __always_inline enum gca_batch read_small(struct batch_state *s, u64 *block, u64 *guess,
						 u64 entry, u64 *rest, bool row)
{
	if (likely(entry & GCA_ENTRY_TAIL))
		return read_tails(s, block, guess, entry, rest, row);
	if (likely(entry & GCA_ENTRY_SMALL))
		return read_whole(s, block, entry, rest, row);
	*rest = entry;
	return GCA_BATCH_BIG;
}

/* The next block but one, as what the hardware fetches by itself comes late. */
static __always_inline void prefetch_block(u64 addr)
{
	u32 i;

	for (i = BLOCK_WORDS; i < 2 * BLOCK_WORDS; i += 8)
		prefetch((void *)(unsigned long)(addr + 8ULL * i));
}

/* A block of an object that is not small. */
static __always_inline enum gca_batch read_big(struct gca_worker *w, struct batch_state *s,
					       u64 *block, u64 *entry, u32 k, u32 *next)
{
	u64 header, more, addr = s->v.base + gca_entry_off(*entry), whole = *entry;
	struct gca_arena *a = w->arena;
	struct shape sh = {};
	enum gca_batch ret;

	if (!k)
		s->budget -= GCA_OBJECT_WORDS;
	if (!gca_entry_words(*entry)) {
		prefetch_block(addr + 8ULL * k);
		more = shape_oblet(a, &sh, entry);
		ret = sh.all ? read_all(s, block, sh.addr, sh.words, k, next) :
			       read_shape(s, block, &sh, k, next);
		/* For others at once; who is alone can put off one oblet, and no more. */
		if (ret != GCA_BATCH_GOES_ON || (s->exclusive && *next))
			*entry = whole;
		else if (more)
			*s->top++ = more;
		return ret;
	}
	if (gca_entry_kind(*entry) == GCARENA_CONSERVATIVE)
		return read_all(s, block, addr, gca_entry_words(*entry), k, next);
	GCA_UREAD(header, addr, miss);
	shape_header(a, &sh, *entry, header);
	return read_shape(s, block, &sh, k, next);
miss:
	return GCA_BATCH_MISS;
}

static __always_inline void prefetch_object(const struct batch_state *s, u64 entry)
{
	prefetch((void *)(unsigned long)(s->v.base + gca_entry_off(entry)));
}

/* Of a row each object: they are scanned one after another, at once. */
static __always_inline void prefetch_row(const struct batch_state *s, u64 entry)
{
	u64 rest;

	prefetch_object(s, entry);
	if (entry & GCA_ENTRY_TAIL)
		prefetch((void *)(unsigned long)tail_at(s->v.base, entry));
	if (unlikely(entry & GCA_ENTRY_ROW))
		for (rest = gca_entry_rest(entry); rest; rest = gca_entry_rest(rest))
			prefetch_object(s, rest);
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
 * AHEAD in it, as what the hardware fetches by itself comes late.  @before: offset of the
 * object before.  Where they lie apart, nothing can be foreseen.
 */
static __always_inline void prefetch_list(const struct batch_state *s, u64 entry, u64 before)
{
	u64 off = gca_entry_off(entry), step = off - before;

	if (step + GCARENA_PAGE_SIZE / 2 >= GCARENA_PAGE_SIZE)
		return;
	prefetch((void *)(unsigned long)(s->v.base + off + AHEAD * step));
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
 * loops; and if it lies behind this one, it is not looked up.  Only a batch's beginning is looked at for this, and the first object that names
 * none or several ends the batch: a list with other pointers costs no window an object.
 */
static noinline enum gca_batch batch_list(struct gca_worker *w)
{
	struct batch_state s = batch_begin(w, w->exclusive);
	u64 entry, before = 0, rest, size, block[64 + 1], guess[2] = {};
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
		if (s.pair) {	/* else this one was not marked here */
			size = s.last.class->size;
			if (block[0] == before + size && old_unmarked(&s) & s.bit << 1) {
				mark_behind(&s, s.bit << 1, 1);
				entry += size << GCA_ENTRY_OFF_SHIFT;
				s.found = 0;
				/* as prefetch_list() */
				prefetch((void *)(unsigned long)(s.v.base + block[0] + AHEAD * size));
				continue;
			}
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
