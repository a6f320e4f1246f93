/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * mark.h: grey one object.
 *
 * An entry names a grey object and carries what its scan needs, so that
 * scanning looks nothing up: offset in the heap, words of the slot, kind; see
 * sizeclass.h.  For a large object the offset is that of one of its oblets, and
 * GCA_ENTRY_CHAINED says that the next oblet has been queued.  No entry is zero:
 * pointer-free objects are never queued and every other kind is not zero.
 *
 * One entry is for up to eight small objects in a *row*, slot by slot: what is named
 * in a row, as by an array whose objects were allocated one after another, mostly lies
 * in a row.  Rows are made by the mark loop only (mark.c), and split by whoever wants
 * one object.
 */
#ifndef GCA_MARK_H
#define GCA_MARK_H

#include "core.h"
#include "span.h"

static __always_inline u64 gca_entry(u64 off, unsigned int span_class)
{
	return off << GCA_ENTRY_OFF_SHIFT | gca_class[span_class].entry;
}

static __always_inline u64 gca_entry_off(u64 entry)
{
	return entry >> GCA_ENTRY_OFF_SHIFT;
}

static __always_inline unsigned int gca_entry_kind(u64 entry)
{
	return (entry >> GCA_ENTRY_KIND_SHIFT) & 3;
}

/** gca_entry_words() - words of the slot; 0 of a large object */
static __always_inline u32 gca_entry_words(u64 entry)
{
	return -(u32)entry & GCA_ENTRY_MINUS;
}

/** gca_entry_first() - of a row: the first object */
static __always_inline u64 gca_entry_first(u64 entry)
{
	return entry & ~(u64)GCA_ENTRY_ROW;
}

/** gca_entry_rest() - of a row: all but the first object; 0 if there is none */
static __always_inline u64 gca_entry_rest(u64 entry)
{
	if (!(entry & GCA_ENTRY_ROW))
		return 0;
	return entry + ((u64)gca_entry_words(entry) * 8 << GCA_ENTRY_OFF_SHIFT) -
	       (1ULL << GCA_ENTRY_ROW_SHIFT);
}

/**
 * gca_overflow_ref() - an object is grey, but there is no buffer to queue it
 * @a: arena
 * @r: object
 *
 * Its grey bit is set before the overflow bit of its span is looked at, and
 * taken after that is: an object whose span is being emptied meanwhile is found
 * this time or the next.  The counter is raised before the overflow bit is
 * visible and lowered when all grey objects are in a worker, which is itself
 * counted, so "no overflow" is never seen too early.
 */
static __always_inline void gca_overflow_ref(struct gca_arena *a, const struct gca_ref *r)
{
	u64 *word = &r->chunk->overflow[r->head % GCA_CHUNK_PAGES / 64];
	u64 old, bit = 1ULL << (r->head & 63);
	u32 head = r->head;

	gca_set_bits(&r->chunk->grey[head % GCA_CHUNK_PAGES * GCA_BIT_WORDS + r->index / 64],
		     1ULL << (r->index & 63));
	smp_mb__after_atomic();	/* pairs with the xchg()s of overflow_scan() */
	if (READ_ONCE(*word) & bit)
		return;
	atomic_inc(&a->overflowed);
	do {
		old = READ_ONCE(*word);
		if (old & bit) {
			atomic_dec(&a->overflowed);
			return;
		}
	} while (cmpxchg(word, old, old | bit) != old);
	gca_set_bits(&a->overflow_chunks[head / GCA_CHUNK_PAGES / 64],
		     1ULL << (head / GCA_CHUNK_PAGES & 63));
}

/**
 * gca_overflow_set() - the same for an entry
 * @a: arena
 * @entry: an oblet stands for its whole object
 */
static inline void gca_overflow_set(struct gca_arena *a, u64 entry)
{
	struct gca_ref r;

	for (; entry; entry = gca_entry_rest(entry))
		if (gca_find(a, a->base + gca_entry_off(entry), &r))
			gca_overflow_ref(a, &r);
}

/**
 * gca_mark_ref() - mark the object that gca_find() found
 * @r: object
 * @exclusive: nobody else marks
 *
 * Test, then an or whose old value is not used (Go's greyobject): two markers
 * may both win; the object is then scanned twice, which is harmless, and counted
 * twice: bytes marked are approximate with several markers, as in Go.  But not those of
 * large objects, each of which may be half the heap: of them one marker wins.
 *
 * Return: true if it is an old object and was not marked.
 */
static __always_inline bool gca_mark_ref(const struct gca_ref *r, bool exclusive)
{
	u64 *pair = &r->chunk->bits[(r->head % GCA_CHUNK_PAGES) * GCA_BIT_WORDS * 2 +
				    r->index / 64 * 2];
	u64 bit = 1ULL << (r->index & 63), marks = READ_ONCE(pair[0]);

	if (marks & bit)
		return false;
	if (unlikely(!gca_is_old(r->pw, READ_ONCE(pair[1]), r->index)))
		return false;
	if (exclusive)
		WRITE_ONCE(pair[0], marks | bit);
	else if (likely(!gca_pw_large(r->pw)))
		gca_set_bits(&pair[0], bit);
	else if (xchg(&pair[0], bit))
		return false;
	if (unlikely(!marks))
		gca_page_mark(r->chunk, r->head);
	return true;
}

/** gca_ref_scans() - may the object hold pointers? */
static __always_inline bool gca_ref_scans(const struct gca_ref *r)
{
	return gca_pw_kind(r->pw) != GCARENA_NOSCAN;
}

/* Why a window was closed. */
enum gca_batch {
	GCA_BATCH_GOES_ON,		/* there is more */
	GCA_BATCH_BIG,			/* w->cur is not small */
	GCA_BATCH_EMPTY,		/* no local work left */
	GCA_BATCH_BUDGET,		/* long enough in one window */
	GCA_BATCH_ROOM,			/* gca_worker_room() wanted */
	GCA_BATCH_MISS,		/* a page of w->cur was not there */
};

#define GCA_GREY_MAX	64

enum gca_batch gca_mark_batch(struct gca_worker *w);
void gca_grey_block(struct gca_worker *w, const u64 *word, unsigned int n);

void gca_grey_word(struct gca_worker *w, u64 word);
void gca_grey_words(struct gca_worker *w, const u64 *word, unsigned int n);
void gca_grey_conservative(struct gca_worker *w, const u64 *word, unsigned int n);
void gca_grey_slot(struct gca_worker *w, struct gca_span *s, unsigned int index);
bool gca_scan_faulting(struct gca_worker *w, u64 entry);
bool gca_drain_local(struct gca_worker *w);
bool gca_drain(struct gca_worker *w);

#endif /* GCA_MARK_H */
