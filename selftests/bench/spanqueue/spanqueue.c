// SPDX-License-Identifier: MIT
/*
 * spanqueue.c: should the mark loop queue spans instead of objects?
 *
 * No.  On an AMD EPYC (Zen 4, 1 MiB of L2), 4 M objects of 64 bytes, one marker,
 * 16 entries prefetched ahead, ns per object with 2 MiB / 4 KiB pages, best of
 * three alternating runs of four rounds:
 *
 *			object		same, with	span		objects
 *			queue		pending bits	queue		a visit
 *	random		77 / 82		63 / 67 (1)	64 / 68 (1)	 34
 *	tree		14.9 / 14.8	15.6 / 15.2	13.6 / 13.6	128
 *	list		14.5 / 14.8	14.8 / 15.2	19.2 / 19.5	  1
 *	shuffled	152 / 175	158 / 180	187 / 213	  1
 *	array (2)	13.1 / 14.0	13.1 / 14.1	12.0 / 12.0	128
 *
 * (1) 4 KiB pages: one run, on a quieter machine.  (2) Object queue: another
 * driver of the same core, alternating; span queue: one run; this program's own
 * repetition was spoilt by load.  The machine was shared: believe 5 %, no less.
 *
 * Where a visit finds one object the span queue costs a fifth to a third more;
 * where spans are dense it saves about a tenth.  Its gain on the random graph is
 * not its order: the stack of the object queue outgrows its buffers there, and
 * every overflowed span was scanned again whole, 1.58 times the work.  With one
 * bit an object that says "grey, but in no buffer" (pending bits) each object is
 * scanned once, the overflow is itself a queue of spans, and the two are level.
 * With buffers for everything the object queue takes 55 ns.
 *
 * Ahead 1 (none), 4, 8, 16, 32: random, objects 105 66 62 63 71, spans 87 64 64
 * 65 64; lists do not care.  Objects of the tree 16 19 17 16 17, of the array 12
 * 13 11 13 13: the same in each repetition, so not noise, but not explained
 * either (the depth is a constant, and changes the code).  16 stays.
 *
 * Not tried: two markers; scanning a span again before it is let go; SIMD.
 *
 * Usage: spanqueue GRAPH [huge|small [OBJECTS [ROUNDS]]]
 *	GRAPH: random, tree, list, shuffled, array: 64-byte conservative objects
 *
 * Build and run all: selftests/bench/spanqueue/run.  How many entries ahead of
 * the scan are prefetched is GCA_FIFO, for both queues, fixed when built.
 *
 * The object queue is kmod/core/mark.c, timed by its own clock inside a forced
 * collection.  The span queue below follows Go's "Green Tea" (golang/go issue
 * 73581), for one marker: an object that becomes grey puts its span into a FIFO
 * unless it is there already; a span that leaves the FIFO has all objects
 * scanned that are marked and have not been scanned, in address order.  If only
 * one was marked meanwhile, the entry itself says which.  It marks in the
 * collector's own bits, between two collections, and clears them again; the
 * objects it marks are counted and must be as many as the collector counts.
 */
#define _GNU_SOURCE
#include "../graph.h"

#define BLOCK_WORDS	64

/* ------------------------------------------------------------ span queue */

enum queued { NOT_QUEUED, ONE, MANY };

/**
 * struct span_queue - a marker that queues spans
 * @v: the arena
 * @scans: a bit a slot, GCA_BIT_WORDS words a page: has been scanned
 * @state: a byte a page, enum queued; ONE: the entry is the only unscanned object
 * @ring: entries: an object that was marked when the span was queued
 * @mask: of indices into @ring, which has room for all spans, so never overflows
 * @head: oldest
 * @tail: next free
 * @objects: scanned
 * @visits: spans taken from the ring
 * @singles: of them, with one object
 */
struct span_queue {
	struct gca_view v;
	u64 *scans;
	u8 *state;
	u64 *ring;
	u64 mask, head, tail;
	u64 objects, visits, singles;
};

static __always_inline void grey(struct span_queue *q, u64 off)
{
	struct gca_ref r;

	if (!gca_view_find(&q->v, q->v.base + off, &r) || !gca_mark_ref(&r, true))
		return;
	if (!gca_ref_scans(&r))
		return;
	if (q->state[r.head] == NOT_QUEUED) {
		q->state[r.head] = ONE;
		q->ring[q->tail++ & q->mask] = gca_entry(r.off, gca_pw_class(r.pw));
	} else {
		q->state[r.head] = MANY;
	}
}

static __always_inline void scan(struct span_queue *q, u64 addr, u64 words)
{
	u64 block[BLOCK_WORDS], n, found, i, word;

	for (; words; words -= n, addr += 8 * n) {
		n = min_t(u64, words, BLOCK_WORDS);
		found = 0;
		for (i = 0; i < n; i++) {
			word = READ_ONCE(((u64 *)addr)[i]) - q->v.base;
			block[found] = word;
			found += word < RESERVE;
		}
		for (i = 0; i < found; i++)
			grey(q, block[i]);
	}
	q->objects++;
}

static __always_inline void prefetch_entry(const struct span_queue *q, u64 entry)
{
	u64 off = gca_entry_off(entry);
	u32 head = off >> GCARENA_PAGE_SHIFT;

	if (q->state[head] == ONE)
		prefetch((void *)(q->v.base + off));
	prefetch(gca_pair(&arena, head, 0));
	prefetch(&q->scans[(u64)head * GCA_BIT_WORDS]);
}

/* Scan what is marked of a span and has not been scanned. */
static __always_inline void visit(struct span_queue *q, u64 entry)
{
	u32 head = gca_entry_off(entry) >> GCARENA_PAGE_SHIFT, i;	/* spans of one page */
	const struct gca_class *c = &gca_class[gca_pw_class(*gca_pw(&arena, head))];
	u64 start = q->v.base + ((u64)head << GCARENA_PAGE_SHIFT);
	u64 *scans = &q->scans[(u64)head * GCA_BIT_WORDS], *pair = gca_pair(&arena, head, 0);
	u64 new, bits;

	q->visits++;
	if (q->state[head] == ONE) {
		u32 index = (gca_entry_off(entry) % GCARENA_PAGE_SIZE * c->magic) >> 32;

		q->singles++;
		q->state[head] = NOT_QUEUED;
		if (scans[index / 64] >> (index % 64) & 1)
			return;		/* by a visit that was under way when it was marked */
		scans[index / 64] |= 1ULL << (index % 64);
		scan(q, q->v.base + gca_entry_off(entry), c->size / 8);
		return;
	}
	q->state[head] = NOT_QUEUED;
	for (i = 0; i < gca_bit_words(c->nelems); i++) {
		new = pair[2 * i] & ~scans[i];
		scans[i] |= new;
		if (GCA_FIFO > 1)
			for (bits = new; bits; bits &= bits - 1)
				prefetch((void *)(start + (64 * i + __ffs64(bits)) * c->size));
		for (bits = new; bits; bits &= bits - 1)
			scan(q, start + (64 * i + __ffs64(bits)) * c->size, c->size / 8);
	}
}

static void mark_by_spans(struct span_queue *q)
{
	struct gca_ref r;
	unsigned int i;
	u64 entry;

	for (i = 0; i < ARRAY_SIZE(roots); i++) {
		if (!gca_find(&arena, roots[i], &r))
			continue;
		if (gca_pw_large(r.pw)) {	/* large objects are not queued by span */
			gca_mark_ref(&r, true);
			scan(q, arena.base + r.off, gca_span(&arena, r.head)->bytes / 8);
		} else {
			grey(q, roots[i] - arena.base);
		}
	}
	while (q->head != q->tail) {
		entry = q->ring[q->head++ & q->mask];
		if (GCA_FIFO > 1 && q->head + GCA_FIFO < q->tail)
			prefetch_entry(q, q->ring[(q->head + GCA_FIFO) & q->mask]);
		visit(q, entry);
	}
}

/* Count mark bits and clear them: to the collector nothing has happened. */
static u64 take_marks(u32 pages)
{
	u64 n = 0, *pair;
	u32 page, w;

	for (page = 0; page < pages; page++) {
		if ((*gca_pw(&arena, page) & (GCA_PW_INUSE | GCA_PW_INTERIOR)) != GCA_PW_INUSE)
			continue;
		for (w = 0; w < GCA_BIT_WORDS; w++) {
			pair = gca_pair(&arena, page, w);
			n += hweight64(pair[0]);
			pair[0] = 0;
		}
	}
	return n;
}

/* ------------------------------------------------------------ comparison */

static void collect(u64 *objects, u64 *ns)
{
	u64 o = atomic64_read(&arena.totals.marked_objects);
	u64 t = atomic64_read(&arena.totals.mark_ns[0]);

	must(!gca_collect(&arena, &(struct gca_order){
		.until = GCA_UNTIL_SWEPT, .forced = true, .lent = true, .alone = true,
		.timeout_ns = 100000000000ULL }), "collect");
	*objects = atomic64_read(&arena.totals.marked_objects) - o;
	*ns = atomic64_read(&arena.totals.mark_ns[0]) - t;
}

int main(int argc, char **argv)
{
	const char *graph = argc > 1 ? argv[1] : "random";
	const char *pages = argc > 2 ? argv[2] : "huge";
	u64 n = argc > 3 ? strtoull(argv[3], NULL, 0) : 4000000, t, ns, objects, marked;
	int rounds = argc > 4 ? atoi(argv[4]) : 4;
	u32 nr_pages = RESERVE >> GCARENA_PAGE_SHIFT, ring = 1;
	u64 best_object = U64_MAX, best_span = U64_MAX;
	struct span_queue q;

	arena_set_up(!strcmp(pages, "huge"));
	build(graph, n);
	collect(&objects, &ns);		/* frees what the graph does not reach */

	while (ring < nr_pages)
		ring *= 2;
	q.scans = malloc(nr_pages * GCA_BIT_WORDS * 8ULL);
	q.state = malloc(nr_pages);
	q.ring = malloc(ring * 8ULL);
	must(q.scans && q.state && q.ring, "no memory");
	nr_pages = DIV_ROUND_UP(n * 80, GCARENA_PAGE_SIZE) + 2 * GCA_CHUNK_PAGES;
	madvise(q.scans, nr_pages * 64ULL, MADV_HUGEPAGE);

	while (rounds--) {
		collect(&objects, &ns);
		best_object = min(best_object, ns);

		memset(q.scans, 0, nr_pages * GCA_BIT_WORDS * 8ULL);
		memset(q.state, 0, nr_pages);
		q.v = gca_view(&arena);
		q.mask = ring - 1;
		q.head = q.tail = q.objects = q.visits = q.singles = 0;
		t = now();
		mark_by_spans(&q);
		best_span = min(best_span, now() - t);
		marked = take_marks(nr_pages);
		must(marked == objects && q.objects == objects, "not the same objects");
	}
	printf("%-8s %-5s ahead %2d  object %6.1f  span %6.1f ns/object  %5.1f objects/visit  %3.0f %% single\n",
	       graph, pages, GCA_FIFO, (double)best_object / objects, (double)best_span / objects,
	       (double)q.objects / q.visits, 100.0 * q.singles / q.visits);
	return 0;
}
