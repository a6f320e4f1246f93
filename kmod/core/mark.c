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
 * bytes, inside one GCA_UREAD window, because opening the window costs a fence that would
 * undo the prefetching if paid for each object.  Inside the window nothing out
 * of line is called; whatever needs more (a new buffer, a page that is not
 * there) ends the batch with the place to go on in w->cur and w->cur_word.
 *
 * A word is read once and means nothing until gca_find() has checked it.  Sizes
 * and patterns come from kernel metadata; what the owner writes (headers, tail
 * bitmaps) selects among its own words only.
 *
 * Marking cannot fail for want of memory: a worker without room marks what it
 * finds and sets the overflow bit of the span; overflow_scan() goes through the
 * marked objects of such spans when nothing else is left.
 */
#include "mark.h"
#include "workbuf.h"
#include "cycle.h"

#define BATCH_WORDS	2048	/* budget of a window: 16 KiB of words, or */
#define OBJECT_WORDS	24	/* fewer with small objects: each costs as much as so many words */
#define LATE_BATCHES	64	/* between looks at the age limit */

enum batch {
	BATCH_GOES_ON,
	BATCH_EMPTY,		/* no local work left */
	BATCH_BUDGET,		/* long enough in one window; w->cur may be set */
	BATCH_ROOM,		/* gca_worker_room() wanted; w->cur is set */
	BATCH_MISS,		/* a page of w->cur was not there */
};

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

/* ---------------------------------------------------------------- shapes */

/* The layout that a header word names; NULL for a word that names none. */
static __always_inline const struct gca_layout *layout_of(struct gca_arena *a, u64 header)
{
	/* pairs with the release in gca_layout_add() */
	u32 n = smp_load_acquire(&a->nr_layouts);

	if (header >= n)
		return NULL;
	return READ_ONCE(a->layout[array_index_nospec(header, n)]);
}

static __always_inline u32 words_of(u64 entry)
{
	return gca_class[gca_entry_class(entry)].size / 8;
}

/* Word of the page at which a slot begins. */
static __always_inline unsigned int word_in_page(u64 entry)
{
	return gca_entry_off(entry) % GCARENA_PAGE_SIZE / 8;
}

/* Address of the tail-bitmap word that has the bit of the slot's first word. */
static __always_inline u64 tail_addr(const struct gca_arena *a, u64 entry)
{
	u64 page = gca_entry_off(entry) & ~(GCARENA_PAGE_SIZE - 1);

	return a->base + page + GCARENA_BITMAP_OFFSET + word_in_page(entry) / 64 * 8;
}

/* Do the slot's bits go on in the next tail-bitmap word? */
static __always_inline bool tail_split(u64 entry)
{
	return word_in_page(entry) % 64 + words_of(entry) > 64;
}

static __always_inline void shape_tail(struct gca_arena *a, struct shape *sh, u64 entry, u64 lo,
				       u64 hi)
{
	unsigned int shift = word_in_page(entry) % 64;

	sh->addr = a->base + gca_entry_off(entry);
	sh->words = words_of(entry);
	sh->bits = lo >> shift;
	if (shift)
		sh->bits |= hi << (64 - shift);
	if (sh->words < 64)
		sh->bits &= (1ULL << sh->words) - 1;
}

static __always_inline void shape_header(struct gca_arena *a, struct shape *sh, u64 entry,
					 u64 header)
{
	sh->addr = a->base + gca_entry_off(entry) + GCARENA_HEADER_BYTES;
	sh->layout = layout_of(a, header);
	sh->words = sh->layout ? words_of(entry) - 1 : 0;
}

static __always_inline void shape_all(struct gca_arena *a, struct shape *sh, u64 entry)
{
	sh->addr = a->base + gca_entry_off(entry);
	sh->words = words_of(entry);
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
			next = *entry + GCA_OBLET_BYTES;
		*entry |= GCA_ENTRY_CHAINED;
	}
	sh->addr = a->base + off;
	sh->words = rest / 8;
	if ((gca_entry_class(*entry) & 3) == GCARENA_CONSERVATIVE) {
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

/* ------------------------------------------------------- inside a window */

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
 */
struct batch_state {
	struct gca_view v;
	u64 *obj;
	u32 n;
	u32 fifo_head, fifo_n;
	bool starved, exclusive;
	u64 objects, bytes;
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

/* Grey what @word, which points into the reservation, names.  There is room. */
static __always_inline void grey_in_window(struct gca_worker *w, struct batch_state *s, u64 word)
{
	struct gca_ref r;

	if (!gca_view_find(&s->v, word, &r) || !gca_mark_ref(&r, s->exclusive))
		return;
	s->objects++;
	if (likely(!gca_pw_large(r.pw)))
		s->bytes += gca_class[gca_pw_class(r.pw)].size;
	else
		s->bytes += gca_span(w->arena, r.head)->bytes;
	if (gca_ref_scans(&r))
		push(w, s, gca_entry(r.off, gca_pw_class(r.pw)));
}

/* Scan @n words from *k on. */
static __always_inline enum batch scan_all(struct gca_worker *w, struct batch_state *s, u64 addr,
					   u32 n, u32 *k, int *budget)
{
	u32 end = min_t(u32, n, *k + *budget), i;
	u64 word;

	for (i = *k; i < end; i++) {
		GCA_UREAD(word, addr + 8ULL * i, miss);
		if (word - s->v.base >= s->v.size)
			continue;
		if (unlikely(!has_room(s))) {
			*k = i;
			return BATCH_ROOM;
		}
		grey_in_window(w, s, word);
	}
	*budget -= end - *k;
	*k = end;
	return end < n ? BATCH_BUDGET : BATCH_GOES_ON;
miss:
	return BATCH_MISS;
}

/* Scan the words at @addr that @bits names. */
static __always_inline enum batch scan_bits(struct gca_worker *w, struct batch_state *s, u64 addr,
					    u64 bits)
{
	u64 word;

	for (; bits; bits &= bits - 1) {
		GCA_UREAD(word, addr + 8ULL * __ffs64(bits), miss);
		if (word - s->v.base >= s->v.size)
			continue;
		if (unlikely(!has_room(s)))
			return BATCH_ROOM;
		grey_in_window(w, s, word);
	}
	return BATCH_GOES_ON;
miss:
	return BATCH_MISS;
}

/* Scan the words that the shape's pattern names, from *k on. */
static __always_inline enum batch scan_shape(struct gca_worker *w, struct batch_state *s,
					     const struct shape *sh, u32 *k, int *budget)
{
	enum batch ret;
	u64 bits;
	u32 run;

	while (*k < sh->words) {
		if (*budget <= 0)
			return BATCH_BUDGET;
		bits = shape_bits(sh, *k, &run);
		ret = scan_bits(w, s, sh->addr + 8ULL * *k, bits);
		if (ret != BATCH_GOES_ON)
			return ret;	/* this run again */
		*k += run;
		*budget -= run;
	}
	return BATCH_GOES_ON;
}

/* Scan one entry from word *k on. */
static __always_inline enum batch scan_entry(struct gca_worker *w, struct batch_state *s,
					     u64 *entry, u32 *k, int *budget)
{
	unsigned int sc = gca_entry_class(*entry);
	struct gca_arena *a = w->arena;
	struct shape sh = {};
	u64 lo, hi = 0, next;

	if (likely(sc < GCARENA_NR_SPAN_CLASSES)) {
		if ((sc & 3) == GCARENA_CONSERVATIVE)
			return scan_all(w, s, s->v.base + gca_entry_off(*entry), words_of(*entry),
					k, budget);
		if (gca_class[sc].size <= GCARENA_BITMAP_MAX) {
			GCA_UREAD(lo, tail_addr(a, *entry), miss);
			if (tail_split(*entry))
				GCA_UREAD(hi, tail_addr(a, *entry) + 8, miss);
			shape_tail(a, &sh, *entry, lo, hi);
			*k = sh.words;	/* scanned whole or again whole */
			*budget -= sh.words;
			return scan_bits(w, s, sh.addr, sh.bits);
		}
		GCA_UREAD(lo, s->v.base + gca_entry_off(*entry), miss);
		shape_header(a, &sh, *entry, lo);
		return scan_shape(w, s, &sh, k, budget);
	}
	if (!has_room(s))
		return BATCH_ROOM;
	next = shape_oblet(a, &sh, entry);
	if (next)
		push(w, s, next);
	return sh.all ? scan_all(w, s, sh.addr, sh.words, k, budget) :
			scan_shape(w, s, &sh, k, budget);
miss:
	return BATCH_MISS;
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
static enum batch mark_batch(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	int budget = BATCH_WORDS;
	struct batch_state s = {
		.v = gca_view(a),
		.obj = w->buf->obj,
		.n = w->buf->n,
		.fifo_head = w->fifo_head,
		.fifo_n = w->fifo_n,
		.starved = w->starved,
		.exclusive = w->exclusive,
	};
	bool pretend = a->debug & GCARENA_DEBUG_MISS;
	u64 entry = w->cur;
	u32 k = w->cur_word;
	enum batch ret;

	if (!GCA_UREAD_BEGIN(a))
		return BATCH_MISS;
	for (;;) {
		if (!entry) {
			k = 0;
			entry = next_entry(w, &s);
			if (!entry) {
				ret = BATCH_EMPTY;
				break;
			}
		}
		ret = unlikely(pretend) && !(s.objects % 16) ?
		      BATCH_MISS : scan_entry(w, &s, &entry, &k, &budget);
		if (unlikely(ret != BATCH_GOES_ON))
			break;
		entry = 0;
		budget -= OBJECT_WORDS;
		if (budget <= 0) {
			ret = BATCH_BUDGET;
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
	w->scanned += 8 * (u64)(BATCH_WORDS - budget);	/* what is paced: Go's scan work */
	return ret;
}

/* ------------------------------------------------------- between windows */

/* Queue an entry; there need not be room. */
static void worker_push(struct gca_worker *w, u64 entry)
{
	if ((w->buf && w->buf->n < GCA_WBUF_ENTRIES) || gca_worker_room(w))
		w->buf->obj[w->buf->n++] = entry;
	else
		gca_overflow_set(w->arena, gca_entry_off(entry));
}

/*
 * gca_grey_word() - grey what a word points to or into
 *
 * For words that have been copied: roots, ring entries, missed objects.
 */
void gca_grey_word(struct gca_worker *w, u64 word)
{
	struct gca_view v = gca_view(w->arena);
	struct gca_ref r;

	if (!gca_view_find(&v, word, &r) || !gca_mark_ref(&r, w->exclusive))
		return;
	w->objects++;
	w->bytes += gca_slot_bytes(w->arena, r.pw, r.head);
	if (gca_ref_scans(&r))
		worker_push(w, gca_entry(r.off, gca_pw_class(r.pw)));
}

/*
 * gca_grey_conservative() - grey what the words of a stack or plain root name
 *
 * A word that is exactly the end of an object keeps that object too: loops of
 * the form end[-n .. 0] hold nothing else.
 */
void gca_grey_conservative(struct gca_worker *w, const u64 *word, unsigned int n)
{
	while (n--) {
		gca_grey_word(w, *word);
		if (*word - w->arena->base <= w->arena->size)
			gca_grey_word(w, *word - 1);
		word++;
	}
}

/** gca_grey_slot() - grey slot @index of a span, whose number is known */
void gca_grey_slot(struct gca_worker *w, struct gca_span *s, unsigned int index)
{
	struct gca_arena *a = w->arena;
	u64 pw = *gca_pw(a, s->page);

	gca_grey_word(w, a->base + ((u64)s->page << GCARENA_PAGE_SHIFT) +
			 (u64)index * gca_class[gca_pw_class(pw)].size);
}

/*
 * Copy words that lie in one hardware page, with faults on.
 * Return: 0; 1 for a leaf; < 0 if the cycle is void.
 */
static int copy_words(struct gca_worker *w, u64 *dst, u64 addr, u32 words)
{
	int err = gca_port_copy(w->arena, dst, addr, words * 8ULL);

	if (!err)
		return 0;
	if (err == -EFAULT)
		err = gca_port_unreadable(w->arena, addr);
	if (!err) {
		w->leaves++;
		return 1;
	}
	gca_cycle_void(w->arena, err == -EINTR ? GCARENA_VOID_KILLED : GCARENA_VOID_UNREADABLE);
	return err;
}

#define COPY_WORDS	64

/*
 * gca_scan_faulting() - scan one entry with faults on
 *
 * In the owner's context only, and never in an operation: it may sleep.
 * Return: false if the cycle has become void.
 */
bool gca_scan_faulting(struct gca_worker *w, u64 entry)
{
	unsigned int sc = gca_entry_class(entry);
	struct gca_arena *a = w->arena;
	u64 buf[COPY_WORDS], head[2] = {};
	struct shape sh = {};
	u32 k, run;
	int err;

	if (sc >= GCARENA_NR_SPAN_CLASSES) {
		u64 next = shape_oblet(a, &sh, &entry);

		if (next)
			worker_push(w, next);
	} else if ((sc & 3) == GCARENA_CONSERVATIVE) {
		shape_all(a, &sh, entry);
	} else if (gca_class[sc].size <= GCARENA_BITMAP_MAX) {
		err = copy_words(w, head, tail_addr(a, entry), tail_split(entry) ? 2 : 1);
		if (err)
			return err > 0;
		shape_tail(a, &sh, entry, head[0], head[1]);
	} else {
		err = copy_words(w, head, a->base + gca_entry_off(entry), 1);
		if (err)
			return err > 0;
		shape_header(a, &sh, entry, head[0]);
	}

	for (k = 0; k < sh.words; k += run) {
		u64 bits = shape_bits(&sh, k, &run), addr = sh.addr + 8ULL * k;
		u32 in_page = (4096 - addr % 4096) / 8;

		if (run > in_page) {
			run = in_page;
			bits &= (1ULL << run) - 1;
		}
		if (!bits)
			continue;
		err = copy_words(w, buf, addr, run);
		if (err < 0)
			return false;
		if (err)
			continue;
		for (; bits; bits &= bits - 1)
			gca_grey_word(w, buf[__ffs64(bits)]);
		if (!(k % 4096) && gca_port_relax(a))
			return false;
	}
	w->scanned += sh.words * 8ULL;
	return true;
}

/* Scan all local work.  Return: false if the caller must give up. */
static bool drain_local(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	enum batch r;
	u64 entry;

	for (;;) {
		if (!w->buf && !gca_worker_room(w))
			return true;	/* no buffer, so no local work */
		r = mark_batch(w);
		switch (r) {
		case BATCH_EMPTY:
			if (!w->spare || !w->spare->n)
				return true;
			swap(w->buf, w->spare);
			break;
		case BATCH_ROOM:
			gca_worker_room(w);
			break;
		case BATCH_MISS:
			entry = w->cur;
			w->cur = 0;
			w->nr_missed++;
			if (!w->faulting)
				gca_worker_miss(w, entry);
			else if (!gca_scan_faulting(w, entry))
				return false;
			break;
		default:
			break;
		}
		if (!(++w->batches % LATE_BATCHES) && gca_port_now() > READ_ONCE(a->deadline))
			gca_cycle_void(a, GCARENA_VOID_AGE);
		if (gca_port_relax(a) || READ_ONCE(a->void_reason))
			return false;
		if (!w->exclusive && !atomic_read(&a->nr_full))
			gca_worker_balance(w);
	}
}

/* Scan all marked objects of a span again. */
static bool overflow_span(struct gca_worker *w, u32 head)
{
	struct gca_arena *a = w->arena;
	u64 pw = READ_ONCE(*gca_pw(a, head));
	const struct gca_class *c = &gca_class[gca_pw_class(pw)];
	unsigned int i, index;
	u64 marks;

	for (i = 0; i < gca_bit_words(c->nelems); i++) {
		marks = READ_ONCE(gca_pair(a, head, i)[0]);
		for (; marks; marks &= marks - 1) {
			index = 64 * i + __ffs64(marks);
			if (w->buf->n == GCA_WBUF_ENTRIES && !drain_local(w))
				return false;
			worker_push(w, gca_entry(((u64)head << GCARENA_PAGE_SHIFT) +
						 (u64)index * c->size, gca_pw_class(pw)));
		}
	}
	return drain_local(w);
}

/*
 * Take overflow bits and scan their spans.  The bits of a chunk are taken after
 * its summary bit, and set before it: a bit set meanwhile is found again.
 * Return: false if there were none, or the caller must give up.
 */
static bool overflow_scan(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	u32 i, words = DIV_ROUND_UP(a->nr_chunks, 64);
	bool any = false;

	if (!atomic_read(&a->overflowed) || !w->buf)
		return false;
	for (i = 0; i < words; i++) {
		u64 chunks = READ_ONCE(a->overflow_chunks[i]) ?
			     xchg(&a->overflow_chunks[i], 0) : 0;

		for (; chunks; chunks &= chunks - 1) {
			u32 ci = 64 * i + __ffs64(chunks), j;
			struct gca_chunk *c = READ_ONCE(a->chunk[ci]);

			for (j = 0; j < ARRAY_SIZE(c->overflow); j++) {
				u64 bits = xchg(&c->overflow[j], 0);

				for (; bits; bits &= bits - 1) {
					u32 head = ci * GCA_CHUNK_PAGES + 64 * j + __ffs64(bits);

					gca_port_trace(a, GCA_TRACE_OVERFLOW, head, 1);
					atomic64_inc(&a->totals.overflows);
					any = true;
					if (!overflow_span(w, head))
						return false;
					atomic_dec(&a->overflowed);
				}
			}
		}
	}
	return any;
}

/*
 * gca_drain() - mark until no work is left that this worker can find
 *
 * Return: false if it was told to give up; its entries stay in the worker, for
 * gca_worker_publish().
 */
bool gca_drain(struct gca_worker *w)
{
	do {
		if (!drain_local(w))
			return false;
	} while (gca_worker_more(w) || overflow_scan(w));
	return !gca_port_relax(w->arena) && !READ_ONCE(w->arena->void_reason);
}

/** gca_missed_pending() - are there objects to be scanned with faults on? */
bool gca_missed_pending(struct gca_arena *a)
{
	return atomic_read(&a->nr_missed) > 0;
}

/*
 * gca_missed_scan() - scan missed objects in the caller's context, faults on
 *
 * For a thread of the owner: the pager, an assist, COLLECT's caller.  What is
 * found grey is marked on by the caller too, or left to others on the full list.
 * Return: 0, or -EINTR if the caller must give up.
 */
int gca_missed_scan(struct gca_arena *a, unsigned int mode)
{
	struct gca_worker w;
	struct gca_wbuf *b;
	u64 t = gca_port_now();
	bool ok = true;

	gca_worker_init(&w, a, false, mode);
	w.faulting = true;
	while (ok && (b = gca_wbuf_get_missed(a))) {
		while (ok && b->n) {
			ok = gca_scan_faulting(&w, b->obj[--b->n]);
			if (ok && w.buf && w.buf->n > GCA_WBUF_ENTRIES / 2)
				ok = drain_local(&w);
		}
		if (b->n)
			gca_wbuf_put_missed(a, b);
		else
			gca_wbuf_put_empty(a, b);
		/* A list on pages that are not there: one hand-over, not one an object. */
		ok = ok && drain_local(&w);
	}
	gca_worker_fini(&w);
	if (mode)	/* COLLECT's caller counts its whole stop */
		atomic64_add(gca_port_now() - t, &a->totals.mark_ns[mode]);
	return ok ? 0 : -EINTR;
}
