// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * drain.c: everything about marking that does not fit in a window.
 *
 * gca_drain() calls the mark loop (mark.c) until no work is left that the worker
 * can find, and gets it what it asks for in between: room, more entries, a scan
 * with faults on for what was not there.  Overflow: objects that were marked but
 * could not be queued have a grey bit, and their span an overflow bit; they are
 * queued when nothing else is left.  Missed objects are scanned here too, by copying,
 * in the owner's context.
 *
 * May sleep, but never in an operation.
 */
#include "cycle.h"
#include "mark.h"
#include "shape.h"
#include "workbuf.h"

#define LATE_BATCHES	64	/* between looks at the age limit */

/* Queue an entry; there need not be room. */
static void worker_push(struct gca_worker *w, u64 entry)
{
	if ((w->buf && w->buf->n < GCA_WBUF_ENTRIES) || gca_worker_room(w))
		w->buf->obj[w->buf->n++] = entry;
	else
		gca_overflow_set(w->arena, entry);
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

/* gca_grey_words() - grey what @n words of our own memory point to or into */
void gca_grey_words(struct gca_worker *w, const u64 *word, unsigned int n)
{
	unsigned int i, part;

	for (; n; n -= part, word += part) {
		part = min_t(unsigned int, n, GCA_GREY_MAX);
		if (gca_worker_room(w))
			gca_grey_block(w, word, part);
		else
			for (i = 0; i < part; i++)
				gca_grey_word(w, READ_ONCE(word[i]));
	}
}

/*
 * gca_grey_conservative() - grey what the words of a stack or plain root name
 *
 * A word that is exactly the end of an object keeps that object too: loops of
 * the form end[-n .. 0] hold nothing else.  Most words are no addresses of the heap's.
 */
void gca_grey_conservative(struct gca_worker *w, const u64 *word, unsigned int n)
{
	u64 base = w->arena->base, size = w->arena->size;

	for (; n--; word++) {
		if (likely(*word - base > size))
			continue;
		gca_grey_word(w, *word);
		gca_grey_word(w, *word - 1);
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
 * gca_scan_faulting() - scan one object, or oblet, with faults on
 *
 * In the owner's context only, and never in an operation: it may sleep.
 * Return: false if the cycle has become void.
 */
bool gca_scan_faulting(struct gca_worker *w, u64 entry)
{
	struct gca_arena *a = w->arena;
	u64 buf[COPY_WORDS], head[2] = {};
	struct shape sh = {};
	u32 k, run;
	int err;

	if (!gca_entry_words(entry)) {
		u64 next = shape_oblet(a, &sh, &entry);

		if (next)
			worker_push(w, next);
	} else if (gca_entry_kind(entry) == GCARENA_CONSERVATIVE) {
		shape_all(a, &sh, entry);
	} else if (entry & GCA_ENTRY_TAIL) {
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
		if (!(k % 4096) && gca_port_relax(a)) {
			worker_push(w, entry);	/* the rest of it is in no list */
			return false;
		}
	}
	w->scanned[GCA_SCAN_HEAP] += 8ULL * (sh.words + GCA_OBJECT_WORDS);
	return true;
}

/* Look at the clock: the cycle's age limit, and the end of the slice.  And account. */
static bool in_time(struct gca_worker *w)
{
	u64 now = gca_port_now();

	if (now > READ_ONCE(w->arena->deadline))
		gca_cycle_void(w->arena, GCARENA_VOID_AGE);
	gca_worker_count(w);
	return !w->slice_end || now < w->slice_end;
}

/*
 * No buffer is free: put the upper half of this one under overflow bits.  Oblets
 * stay if they can: one would stand for its whole object, and that be scanned again.
 */
static void unload(struct gca_worker *w)
{
	struct gca_wbuf *b = w->buf;
	u32 i, n = GCA_WBUF_ENTRIES / 2;

	for (i = n; i < b->n; i++) {
		if (!gca_entry_words(b->obj[i]) && n < GCA_WBUF_ENTRIES - GCA_WBUF_ROOM)
			b->obj[n++] = b->obj[i];
		else
			gca_overflow_set(w->arena, b->obj[i]);
	}
	b->n = n;
}

/* gca_drain_local() - scan all local work.  Return: false if the caller must give up */
bool gca_drain_local(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	enum gca_batch r;
	u64 entry, rest;

	for (;;) {
		if (!w->buf && !gca_worker_room(w))
			return true;	/* no buffer, so no local work */
		r = gca_mark_batch(w);
		switch (r) {
		case GCA_BATCH_EMPTY:
			if (!gca_worker_spare(w))
				return true;
			break;
		case GCA_BATCH_ROOM:
			if (!gca_worker_room(w))
				unload(w);
			break;
		case GCA_BATCH_MISS:
			entry = gca_entry_first(w->cur);
			rest = gca_entry_rest(w->cur);
			w->cur = 0;
			w->cur_word = 0;
			w->nr_missed++;
			if (rest)
				worker_push(w, rest);
			if (!w->faulting)
				gca_worker_miss(w, entry);
			else if (!gca_scan_faulting(w, entry))
				return false;
			break;
		default:
			break;
		}
		if (!(++w->batches % LATE_BATCHES) && !in_time(w))
			return false;
		/* Not only then, if somebody waits to be paid for. */
		if (READ_ONCE(a->nr_payees))
			gca_worker_count(w);
		/* Between objects: what is put back is scanned again from its beginning. */
		if (w->budget && !w->cur && !w->big &&
		    w->done + w->scanned[GCA_SCAN_HEAP] >= w->budget)
			return false;
		/* Before somebody else runs here, for who knows how long: it is published. */
		if (w->mode == GCA_MARK_IDLE && gca_port_contended())
			return false;
		if (gca_port_relax(a) || READ_ONCE(a->void_reason))
			return false;
		if (!w->exclusive && !atomic_read(&a->nr_full))
			gca_worker_balance(w);
	}
}

/*
 * Queue the objects of a span that are grey.  They are scanned before the buffer is
 * full, or half of them would be put back at once.
 */
static bool overflow_span(struct gca_worker *w, u32 head)
{
	struct gca_arena *a = w->arena;
	u64 *grey = &gca_chunk_of(a, head)->grey[head % GCA_CHUNK_PAGES * GCA_BIT_WORDS];
	u64 bits, pw = READ_ONCE(*gca_pw(a, head));
	const struct gca_class *c = &gca_class[gca_pw_class(pw)];
	unsigned int i, index;

	for (i = 0; i < gca_bit_words(c->nelems); i++) {
		bits = READ_ONCE(grey[i]) ? xchg(&grey[i], 0) : 0;
		for (; bits; bits &= bits - 1) {
			index = 64 * i + __ffs64(bits);
			if (w->buf->n > GCA_WBUF_ENTRIES - 2 * GCA_WBUF_ROOM &&
			    !gca_drain_local(w)) {
				gca_set_bits(&grey[i], bits);
				return false;
			}
			worker_push(w, gca_entry(((u64)head << GCARENA_PAGE_SHIFT) +
						 (u64)index * c->size, gca_pw_class(pw)));
		}
	}
	return true;
}

/*
 * Bits that were taken and not done go back.  One that has been set again
 * meanwhile has been counted twice.
 */
static void overflow_put_back(struct gca_arena *a, u64 *word, u64 bits)
{
	u64 old;

	do {
		old = READ_ONCE(*word);
	} while (cmpxchg(word, old, old | bits) != old);
	if (old & bits)
		atomic_sub(hweight64(old & bits), &a->overflowed);
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
			struct gca_chunk *c = gca_deref(a->chunk[ci]);

			for (j = 0; j < ARRAY_SIZE(c->overflow); j++) {
				u64 bits = xchg(&c->overflow[j], 0);

				for (; bits; bits &= bits - 1) {
					u32 head = ci * GCA_CHUNK_PAGES + 64 * j + __ffs64(bits);

					gca_port_trace(a, GCA_TRACE_OVERFLOW, head, 1);
					atomic64_inc(&a->totals.overflows);
					any = true;
					if (!overflow_span(w, head)) {
						overflow_put_back(a, &c->overflow[j], bits);
						gca_set_bits(&a->overflow_chunks[i], chunks);
						return false;
					}
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
		if (!gca_drain_local(w))
			return false;
	} while (gca_worker_more(w) || overflow_scan(w));
	return !gca_port_relax(w->arena) && !READ_ONCE(w->arena->void_reason);
}
