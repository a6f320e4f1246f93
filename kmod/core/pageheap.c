// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * pageheap.c: runs of free heap pages, and the metadata behind them.
 *
 * The reservation begins as one clean free run.  Runs are kept in two
 * two-level segregated-fit structures (Masmano, Ripoll, Crespo, Real: "TLSF: a
 * new dynamic memory allocator for real-time systems", ECRTS 2004): taking and
 * giving back cost O(1) at any heap size.  *Dirty* runs may hold memory and old
 * contents and are used first; *clean* ones are known to be zero.  Neighbours
 * of one sort coalesce at once, through the tags in the descriptors of a run's
 * first and last page; a dirty run never merges with a clean one, or it would
 * make the whole untouched reservation dirty.  Only where neither sort has a run
 * that fits does a span lie over neighbours of both.
 *
 * Metadata comes by chunk and only where it is needed: the first and last page
 * of every span and the first page of every free run have theirs.  An
 * allocation that finds some missing returns -EAGAIN and says what; the caller
 * leaves its operation, makes it by gca_chunk_grow() and tries again.  Chunks
 * wholly inside one large span are represented by one struct gca_inner: an object
 * as large as the reservation costs a page of metadata, not a chunk for each 4 MiB.
 *
 * Not done here: when memory goes back (scavenge.c), what is in the pages.
 */
#include "pageheap.h"
#include "span.h"
#include "workbuf.h"

/* ----------------------------------------------------------------- bins */

/* Bin of a run of @n pages: exact below 8, then eight a doubling. */
static void bin_of(u32 n, unsigned int *f, unsigned int *s)
{
	unsigned int log = fls64(n) - 1;

	if (n < GCA_SL) {
		*f = 0;
		*s = n;
	} else {
		*f = log - GCA_SL_SHIFT + 1;
		*s = (n >> (log - GCA_SL_SHIFT)) & (GCA_SL - 1);
	}
}

static void bin_insert(struct gca_bins *b, struct gca_span *s)
{
	unsigned int f, i;

	bin_of(s->npages, &f, &i);
	list_add(&s->link, &b->list[f][i]);
	b->sl[f] |= 1U << i;
	WRITE_ONCE(b->fl, b->fl | 1U << f);
}

static void bin_remove(struct gca_bins *b, struct gca_span *s)
{
	unsigned int f, i;

	bin_of(s->npages, &f, &i);
	list_del(&s->link);
	if (!list_empty(&b->list[f][i]))
		return;
	b->sl[f] &= ~(1U << i);
	if (!b->sl[f])
		WRITE_ONCE(b->fl, b->fl & ~(1U << f));
}

#define BIN_TRIES	16	/* first */
#define LAST_TRIES	4096	/* before the heap is said to be full; in one operation */

/* A run of at least @n pages, or NULL. */
static struct gca_span *bin_find(struct gca_bins *b, u32 n, unsigned int max_tries)
{
	unsigned int f, i, tries = 0;
	struct gca_span *s;
	u32 map;

	/*
	 * Every run in a higher bin fits.  Runs in n's own bin may: some of
	 * them are looked at, so that a run just freed serves the same size
	 * again and a nearly full heap does not fail for rounding.
	 */
	bin_of(n, &f, &i);
	list_for_each_entry(s, &b->list[f][i], link) {
		if (s->npages >= n)
			return s;
		if (++tries == max_tries)
			break;
	}
	map = b->sl[f] & ~((2U << i) - 1);
	if (!map) {
		map = b->fl & ~((2U << f) - 1);
		if (!map)
			return NULL;
		f = __ffs64(map);
		map = b->sl[f];
	}
	return list_first_entry(&b->list[f][__ffs64(map)], struct gca_span, link);
}

/* ----------------------------------------------------------------- runs */

static struct gca_bins *bins_of(struct gca_arena *a, const struct gca_span *s)
{
	return s->dirty ? &a->heap.dirty : &a->heap.clean;
}

static void run_tag(struct gca_arena *a, u32 page, u32 npages, bool dirty)
{
	struct gca_span *s = gca_span(a, page);
	u32 last = page + npages - 1;

	s->page = page;
	s->npages = npages;
	s->dirty = dirty;
	s->state = GCA_SPAN_FREE;
	/* The reservation's last page has no right neighbour to read its tag. */
	if (npages > 1 && last != a->heap.npages - 1) {
		struct gca_span *l = gca_span(a, last);

		l->page = page;
		l->npages = npages;
		l->state = GCA_SPAN_FREE_LAST;
	}
	bin_insert(bins_of(a, s), s);
	if (dirty)
		WRITE_ONCE(a->heap.free_dirty, a->heap.free_dirty + npages);
}

static void run_untag(struct gca_arena *a, struct gca_span *s)
{
	u32 last = s->page + s->npages - 1;

	bin_remove(bins_of(a, s), s);
	if (s->dirty)
		WRITE_ONCE(a->heap.free_dirty, a->heap.free_dirty - s->npages);
	s->state = GCA_SPAN_NONE;
	if (s->npages > 1 && last != a->heap.npages - 1)
		gca_span(a, last)->state = GCA_SPAN_NONE;
}

/* The free run that ends before @page, or NULL. */
static struct gca_span *run_before(struct gca_arena *a, u32 page)
{
	struct gca_span *s = page ? gca_span(a, page - 1) : NULL;

	if (s && s->state == GCA_SPAN_FREE_LAST)
		s = gca_span(a, s->page);
	return s && s->state == GCA_SPAN_FREE ? s : NULL;
}

/* The free run behind [page, page + npages), or NULL. */
static struct gca_span *run_after(struct gca_arena *a, u32 page, u32 npages)
{
	struct gca_span *s = page + npages < a->heap.npages ? gca_span(a, page + npages) : NULL;

	return s && s->state == GCA_SPAN_FREE ? s : NULL;
}

/* Free [page, page + npages), joined with free neighbours of the same sort. */
static void run_free(struct gca_arena *a, u32 page, u32 npages, bool dirty)
{
	struct gca_span *l = run_before(a, page), *r = run_after(a, page, npages);

	if (l && l->dirty == dirty) {
		page = l->page;
		npages += l->npages;
		run_untag(a, l);
	}
	if (r && r->dirty == dirty) {
		npages += r->npages;
		run_untag(a, r);
	}
	run_tag(a, page, npages, dirty);
}

/*
 * Take [page, page + npages) out of a free run; what remains on either side stays
 * in runs of its sort, for whose tags there is metadata.  Return: the part.
 */
static struct gca_span *run_cut(struct gca_arena *a, struct gca_span *s, u32 page, u32 npages)
{
	u32 start = s->page, end = start + s->npages;
	bool dirty = s->dirty;

	run_untag(a, s);
	if (page > start)
		run_tag(a, start, page - start, dirty);
	if (page + npages < end)
		run_tag(a, page + npages, end - page - npages, dirty);
	s = gca_span(a, page);
	s->page = page;
	s->npages = npages;
	s->dirty = dirty;
	return s;
}

/*
 * Neighbouring runs of both sorts that have @n pages together, or NULL; the first
 * one.  A row of neighbours is found from the dirty run that is its first or
 * second, so each is added up once.
 */
static struct gca_span *row_find(struct gca_arena *a, u32 n)
{
	struct gca_bins *b = &a->heap.dirty;
	struct gca_span *s, *first, *r;
	unsigned int i, tries = 0;
	u32 npages;

	for (i = GCA_FL * GCA_SL; i-- > 0;) {	/* long ones first */
		list_for_each_entry(s, &b->list[i / GCA_SL][i % GCA_SL], link) {
			if (++tries >= LAST_TRIES)
				return NULL;
			first = run_before(a, s->page) ?: s;
			if (first != s && run_before(a, first->page))
				continue;
			npages = 0;
			for (r = first; r; r = run_after(a, r->page, r->npages)) {
				npages += r->npages;
				if (npages >= n)
					return first;
				if (++tries >= LAST_TRIES)
					return NULL;
			}
		}
	}
	return NULL;
}

/* Where a span of @n pages goes: a free run, or the first of a row; or NULL. */
static struct gca_span *run_find(struct gca_arena *a, u32 n)
{
	struct gca_pageheap *h = &a->heap;

	return bin_find(&h->dirty, n, BIN_TRIES) ?: bin_find(&h->clean, n, BIN_TRIES) ?:
	       bin_find(&h->dirty, n, LAST_TRIES) ?: bin_find(&h->clean, n, LAST_TRIES) ?:
	       row_find(a, n);
}

/* --------------------------------------------------------------- chunks */

/*
 * gca_chunk_grow() - make the metadata that gca_pages_alloc() found missing
 *
 * Called outside operations.  Return: 0 or -ENOMEM.
 */
int gca_chunk_grow(struct gca_arena *a, struct gca_need *need)
{
	struct gca_chunk *c;
	bool used = false;
	unsigned int i;

	if (need->chunk == GCA_NEED_INNER) {
		need->inner = gca_meta_zalloc(a, sizeof(*need->inner));
		return need->inner ? 0 : -ENOMEM;
	}
	c = gca_meta_zalloc(a, sizeof(*c));
	if (!c)
		return -ENOMEM;
	for (i = 0; i < GCA_WBUFS; i++)
		c->wbuf[i].index = need->chunk * GCA_WBUFS + i;

	gca_spin_lock(&a->heap.lock);
	if (a->chunk[need->chunk] == a->empty) {
		/* Its contents before the pointer: markers follow it unlocked. */
		smp_store_release(&a->chunk[need->chunk], c);
		used = true;
	}
	gca_spin_unlock(&a->heap.lock);

	if (!used) {
		gca_meta_free(a, c, sizeof(*c));
		return 0;
	}
	for (i = 0; i < GCA_WBUFS; i++)
		gca_wbuf_put_empty(a, &c->wbuf[i]);
	gca_port_trace(a, GCA_TRACE_GROW, need->chunk, READ_ONCE(a->metadata));
	return 0;
}

/** gca_need_drop() - give back what an allocation did not use */
void gca_need_drop(struct gca_arena *a, struct gca_need *need)
{
	if (need->inner)
		gca_meta_free(a, need->inner, sizeof(*need->inner));
	need->inner = NULL;
}

static bool has_metadata(const struct gca_arena *a, u32 page)
{
	return a->chunk[page / GCA_CHUNK_PAGES] != a->empty;
}

/* Is @page's chunk missing?  Then say so in @need. */
static bool chunk_missing(struct gca_arena *a, u32 page, struct gca_need *need)
{
	if (has_metadata(a, page))
		return false;
	need->chunk = page / GCA_CHUNK_PAGES;
	return true;
}

/* Is an entry of [first, last) empty, so that a stand-in is wanted? */
static bool inner_wanted(const struct gca_arena *a, u32 first, u32 last)
{
	for (; first < last; first++)
		if (a->chunk[first] == a->empty)
			return true;
	return false;
}

/*
 * Write the page words of a span, first page first: a marker that sees an
 * interior word finds the first page's word valid.  @inner: filled with interior
 * words; goes into each unused entry of a chunk wholly inside the span.
 */
static void span_publish(struct gca_arena *a, struct gca_span *s, u64 pw, struct gca_inner *inner)
{
	u64 *inuse = GCA_PAGE_WORD(gca_chunk_of(a, s->page)->inuse, s->page);
	u64 interior = pw | GCA_PW_INTERIOR;
	u32 page, end = s->page + s->npages;

	WRITE_ONCE(*inuse, *inuse | 1ULL << (s->page & 63));
	/* Bits and descriptor before the word that leads to them. */
	smp_store_release(gca_pw(a, s->page), pw);
	for (page = s->page + 1; page < end;) {
		u32 ci = page / GCA_CHUNK_PAGES, next = min((ci + 1) * GCA_CHUNK_PAGES, end);

		if (a->chunk[ci] == a->empty) {
			/* Its words before the pointer: markers follow it unlocked. */
			smp_store_release(&a->chunk[ci], (struct gca_chunk *)inner);
			page = next;
			continue;
		}
		for (; page < next; page++)
			WRITE_ONCE(*gca_pw(a, page), interior);
	}
}

/* Undo span_publish(), first page last; no marker runs. */
static void span_unpublish(struct gca_arena *a, struct gca_span *s)
{
	u64 *inuse = GCA_PAGE_WORD(gca_chunk_of(a, s->page)->inuse, s->page);
	u32 page, end = s->page + s->npages;
	struct gca_inner *inner = s->inner;

	WRITE_ONCE(*inuse, *inuse & ~(1ULL << (s->page & 63)));
	for (page = s->page + 1; page < end;) {
		u32 ci = page / GCA_CHUNK_PAGES, next = min((ci + 1) * GCA_CHUNK_PAGES, end);

		if (inner && a->chunk[ci] == (struct gca_chunk *)inner) {
			WRITE_ONCE(a->chunk[ci], a->empty);
			page = next;
			continue;
		}
		for (; page < next; page++)
			WRITE_ONCE(*gca_pw(a, page), 0);
	}
	WRITE_ONCE(*gca_pw(a, s->page), 0);
	if (inner)
		list_add(&inner->link, &a->heap.inner_dead);
	WRITE_ONCE(s->inner, NULL);
}

/**
 * gca_pages_alloc() - a span of @npages pages
 * @a: arena
 * @npages: at least 1
 * @span_class: of the span
 * @nelems: slots
 * @snap: 1 for a large object born with the phase off, else 0
 * @need: what to make by gca_chunk_grow() on -EAGAIN
 * @span: out
 *
 * In an operation.  The span's mark and alloc bits are zero.
 * Return: 0, -EAGAIN, or -ENOSPC if the reservation has no such run.
 */
int gca_pages_alloc(struct gca_arena *a, u32 npages, unsigned int span_class, u32 nelems,
		    unsigned int snap, struct gca_need *need, struct gca_span **span)
{
	u32 page, end, inner_first, inner_last, rest;
	struct gca_pageheap *h = &a->heap;
	struct gca_span *s, *last, *r;
	bool inner, dirty, rest_dirty;
	int err;

	gca_spin_lock(&h->lock);
	s = run_find(a, npages);
	err = -ENOSPC;
	if (!s)
		goto out;

	page = s->page;
	end = page + npages;
	last = s;
	while (last->page + last->npages < end)
		last = run_after(a, last->page, last->npages);
	rest = last->page + last->npages - end;
	rest_dirty = last->dirty;
	err = -EAGAIN;
	if (chunk_missing(a, end - 1, need) || (rest && chunk_missing(a, end, need)))
		goto out;
	/* Chunks strictly between the first and the last page's. */
	inner_first = page / GCA_CHUNK_PAGES + 1;
	inner_last = (end - 1) / GCA_CHUNK_PAGES;
	inner = inner_wanted(a, inner_first, inner_last);
	if (inner && !need->inner) {
		need->chunk = GCA_NEED_INNER;
		goto out;
	}

	err = 0;
	/* A row is as dirty as any of it; what remains is of the last run's sort. */
	for (dirty = false, r = s; r; r = r == last ? NULL : run_after(a, r->page, r->npages)) {
		dirty |= r->dirty;
		run_untag(a, r);
	}
	if (rest)
		run_tag(a, end, rest, rest_dirty);

	s->state = GCA_SPAN_INUSE;
	s->npages = npages;
	s->dirty = dirty;
	s->nelems = nelems;
	s->free = 0;
	s->layout = 0;
	s->bytes = 0;
	s->owner = NULL;
	WRITE_ONCE(s->inner, NULL);
	WRITE_ONCE(s->sweepgen, a->sweepgen);
	INIT_LIST_HEAD(&s->link);
	if (inner) {
		u64 pw = gca_pw_make(page, span_class, 0, 0) | GCA_PW_INTERIOR;
		unsigned int i;

		WRITE_ONCE(s->inner, need->inner);
		need->inner = NULL;
		for (i = 0; i < GCA_CHUNK_PAGES; i++)
			s->inner->pw[i] = pw;
	}
	WRITE_ONCE(h->inuse, h->inuse + npages);
	atomic64_inc(&a->nr_spans);
	span_publish(a, s, gca_pw_make(page, span_class, 0, snap), s->inner);
	*span = s;
out:
	gca_spin_unlock(&h->lock);
	return err;
}

/** gca_pages_reusable() - will @npages be found without touching clean pages? */
bool gca_pages_reusable(struct gca_arena *a, u32 npages)
{
	bool found;

	gca_spin_lock(&a->heap.lock);
	found = bin_find(&a->heap.dirty, npages, BIN_TRIES);
	gca_spin_unlock(&a->heap.lock);
	return found;
}

/*
 * gca_pages_free() - a span's pages become a dirty free run
 *
 * With the phase off; the span is on no list and has no owner; its mark and
 * alloc bits are zero.
 */
void gca_pages_free(struct gca_arena *a, struct gca_span *s)
{
	struct gca_pageheap *h = &a->heap;

	gca_spin_lock(&h->lock);
	span_unpublish(a, s);
	s->state = GCA_SPAN_NONE;
	WRITE_ONCE(h->inuse, h->inuse - s->npages);
	atomic64_dec(&a->nr_spans);
	run_free(a, s->page, s->npages, true);
	gca_spin_unlock(&h->lock);
}

/** gca_inner_reap() - free what large spans left behind; outside operations, phase off */
void gca_inner_reap(struct gca_arena *a)
{
	struct gca_inner *i, *n;
	LIST_HEAD(dead);

	gca_spin_lock(&a->heap.lock);
	list_splice_init(&a->heap.inner_dead, &dead);
	gca_spin_unlock(&a->heap.lock);
	list_for_each_entry_safe(i, n, &dead, link)
		gca_meta_free(a, i, sizeof(*i));
}

/*
 * Which part of a dirty run goes back, if @max pages are too many: not more, for
 * that comes back as page faults before the next cycle.  If there are whole huge
 * pages in it, only these: one returned in part is none any more.  Cuts need
 * metadata on both sides; a long run may lack it inside, it goes whole then.
 *
 * Return: false if @max is less than the huge page that would be broken, unless @breaks.
 */
static bool part_to_return(const struct gca_arena *a, const struct gca_span *s, u32 min_pages,
			   u32 max, bool breaks, u32 *page, u32 *npages)
{
	u32 skew = (a->base >> GCARENA_PAGE_SHIFT) % GCA_HUGE_PAGES;
	u32 start = s->page, end = start + s->npages;
	u32 lo = ALIGN(start + skew, GCA_HUGE_PAGES), hi = ALIGN_DOWN(end + skew, GCA_HUGE_PAGES);
	u32 n = ALIGN_DOWN(max, GCA_HUGE_PAGES);

	if (lo < hi && !n && !breaks)
		return false;
	if (lo >= hi || !n) {
		hi = end;
		lo = end - clamp(max, min_pages, s->npages);
	} else {
		lo -= skew;
		hi -= skew;
		if (n < hi - lo)
			lo = hi - n;
	}
	if ((lo > start && !has_metadata(a, lo - 1)) || !has_metadata(a, lo) ||
	    !has_metadata(a, hi - 1) || (hi < end && !has_metadata(a, hi))) {
		lo = start;
		hi = end;
	}
	*page = lo;
	*npages = hi - lo;
	return true;
}

/**
 * gca_pages_take_dirty() - take dirty runs out, to be returned to the system
 * @a: arena
 * @min_pages: shorter runs are not worth a call
 * @runs: out: addresses
 * @room: entries in @runs
 * @keep_pages: dirty pages that stay
 * @breaks: even if a huge page must be broken for that
 *
 * Longest first.  Return: runs taken; their pages belong to the caller until
 * gca_pages_put_clean().
 */
u32 gca_pages_take_dirty(struct gca_arena *a, u32 min_pages, struct gcarena_run *runs, u32 room,
			 u32 keep_pages, bool breaks)
{
	struct gca_pageheap *h = &a->heap;
	u32 n = 0;

	gca_spin_lock(&h->lock);
	while (n < room && h->free_dirty > keep_pages && h->dirty.fl) {
		unsigned int f = fls64(h->dirty.fl) - 1, i = fls64(h->dirty.sl[f]) - 1;
		struct gca_span *s = list_first_entry(&h->dirty.list[f][i], struct gca_span, link);
		u32 page, npages;

		if (s->npages < min_pages ||
		    !part_to_return(a, s, min_pages, h->free_dirty - keep_pages, breaks, &page,
				    &npages))
			break;
		s = run_cut(a, s, page, npages);
		s->state = GCA_SPAN_RETURNING;
		h->returning += npages;
		runs[n].start = a->base + ((u64)page << GCARENA_PAGE_SHIFT);
		runs[n].len = (u64)npages << GCARENA_PAGE_SHIFT;
		n++;
	}
	gca_spin_unlock(&h->lock);
	return n;
}

/** gca_pages_put_clean() - pages taken by gca_pages_take_dirty() are zero now */
void gca_pages_put_clean(struct gca_arena *a, u32 page, u32 npages)
{
	struct gca_pageheap *h = &a->heap;

	gca_spin_lock(&h->lock);
	gca_span(a, page)->state = GCA_SPAN_NONE;
	h->returning -= npages;
	WRITE_ONCE(h->returned, h->returned + npages);
	run_free(a, page, npages, false);
	gca_spin_unlock(&h->lock);
}

static void bins_init(struct gca_bins *b)
{
	unsigned int f, i;

	for (f = 0; f < GCA_FL; f++)
		for (i = 0; i < GCA_SL; i++)
			INIT_LIST_HEAD(&b->list[f][i]);
}

/** gca_pageheap_init() - the whole reservation is one clean run; chunk 0 exists */
void gca_pageheap_init(struct gca_arena *a)
{
	struct gca_pageheap *h = &a->heap;

	gca_spin_init(&h->lock);
	bins_init(&h->dirty);
	bins_init(&h->clean);
	INIT_LIST_HEAD(&h->inner_dead);
	h->npages = a->size >> GCARENA_PAGE_SHIFT;
	run_tag(a, 0, h->npages, false);
}
