// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * arena.c: making and dropping a heap, layouts, statistics.
 *
 * An arena is dropped whole: nothing in it is visited, its metadata is given
 * back chunk by chunk.  What it costs is counted in gca_arena.metadata, and
 * every allocation of the core goes through gca_meta_zalloc().
 */
#include "cycle.h"
#include "pageheap.h"
#include "span.h"

/** gca_meta_zalloc() - zeroed metadata, counted.  May sleep; NULL: none */
void *gca_meta_zalloc(struct gca_arena *a, size_t bytes)
{
	void *p = gca_port_zalloc(a, bytes);

	if (!p)
		return NULL;
	gca_spin_lock(&a->metadata_lock);
	WRITE_ONCE(a->metadata, a->metadata + bytes);
	gca_spin_unlock(&a->metadata_lock);
	return p;
}

void gca_meta_free(struct gca_arena *a, void *p, size_t bytes)
{
	gca_spin_lock(&a->metadata_lock);
	WRITE_ONCE(a->metadata, a->metadata - bytes);
	gca_spin_unlock(&a->metadata_lock);
	gca_port_free(a, p, bytes);
}

static void central_init(struct gca_central *c)
{
	gca_spin_init(&c->lock);
	INIT_LIST_HEAD(&c->partial);
	INIT_LIST_HEAD(&c->full);
	INIT_LIST_HEAD(&c->unswept);
}

/**
 * gca_arena_init() - an empty heap
 * @a: zeroed, but for @a->port
 * @reserve: bytes of address space: a power of two, GCARENA_RESERVE_MIN ..
 *	GCARENA_RESERVE_MAX
 * @control: zeroed control page
 * @debug: GCARENA_DEBUG_*
 *
 * gca_arena_map() must follow before anything is allocated.
 * Return: 0, -EINVAL, -ENOMEM; then gca_arena_fini() need not be called.
 */
int gca_arena_init(struct gca_arena *a, u64 reserve, struct gcarena_control *control, u32 debug)
{
	struct gca_need need = { .chunk = 0 };
	u32 i;

	if (reserve < GCARENA_RESERVE_MIN || reserve > GCARENA_RESERVE_MAX ||
	    reserve & (reserve - 1) || debug & ~GCARENA_DEBUG_ALL)
		return -EINVAL;

	gca_spin_init(&a->metadata_lock);
	gca_spin_init(&a->mutators_lock);
	gca_spin_init(&a->pace_lock);
	gca_spin_init(&a->assist_lock);
	INIT_LIST_HEAD(&a->payees);
	gca_spin_init(&a->heap.lock);
	INIT_LIST_HEAD(&a->mutators);
	INIT_LIST_HEAD(&a->heap.inner_dead);
	BUILD_BUG_ON(sizeof(*control) > 4096);
	a->size = reserve;
	a->nr_chunks = reserve >> GCA_CHUNK_SHIFT;
	a->control = control;
	gca_knobs_init(a, debug);
	gca_limiter_resize(&a->limiter, gca_cpus_milli(a));
	a->deadline = U64_MAX;
	a->stop_wait = GCA_STOP_WAIT;
	for (i = 0; i < GCARENA_NR_SPAN_CLASSES; i++)
		central_init(&a->central[i]);
	central_init(&a->large);

	a->chunk = gca_meta_zalloc(a, a->nr_chunks * sizeof(*a->chunk));
	a->overflow_chunks = gca_meta_zalloc(a, DIV_ROUND_UP(a->nr_chunks, 64) * sizeof(u64));
	/* Of the empty chunk only the page words are ever looked at. */
	a->empty = gca_meta_zalloc(a, sizeof(a->empty->pw));
	for (i = 0; a->chunk && i < a->nr_chunks; i++)
		a->chunk[i] = a->empty;
	if (!a->chunk || !a->overflow_chunks || !a->empty)
		goto err;
	if (gca_chunk_grow(a, &need))
		goto err;
	gca_pageheap_init(a);
	gca_pace(a);
	return 0;
err:
	gca_arena_fini(a);
	return -ENOMEM;
}

/** gca_arena_map() - the heap's address is known now */
void gca_arena_map(struct gca_arena *a, u64 base)
{
	/* Nothing is allocated, so nothing looks up an address, before. */
	WRITE_ONCE(a->base, base);
}

struct gca_layout_table {
	struct gca_layout_table *older;
	size_t bytes;
	struct gca_layout *layout[];
};

static size_t layout_bytes(u64 words)
{
	return sizeof(struct gca_layout) + DIV_ROUND_UP(words, 64) * sizeof(u64);
}

static void chunks_free(struct gca_arena *a)
{
	struct gca_inner *inner;
	u32 i;

	/* Stand-ins first: telling them apart takes the chunks. */
	for (i = 0; i < a->nr_chunks; i++) {
		if (a->chunk[i] == a->empty || gca_chunk_own(a, i))
			continue;
		inner = (struct gca_inner *)a->chunk[i];
		if (!inner->link.next)
			list_add(&inner->link, &a->heap.inner_dead);
		a->chunk[i] = a->empty;
	}
	gca_inner_reap(a);
	for (i = 0; i < a->nr_chunks; i++)
		if (a->chunk[i] != a->empty)
			gca_meta_free(a, a->chunk[i], sizeof(*a->chunk[i]));
}

/** gca_arena_fini() - drop the heap whole; no mutator is left, nothing runs */
void gca_arena_fini(struct gca_arena *a)
{
	struct gca_layout_table *t, *older;
	u32 i;

	gca_roots_fini(a);
	gca_check_fini(a);
	for (i = 0; i < a->nr_layouts; i++)
		gca_meta_free(a, a->layout[i], layout_bytes(a->layout[i]->words));
	for (t = a->layout_table; t; t = older) {
		older = t->older;
		gca_meta_free(a, t, t->bytes);
	}
	a->layout_table = NULL;
	a->nr_layouts = 0;
	if (a->chunk) {
		chunks_free(a);
		gca_meta_free(a, a->chunk, a->nr_chunks * sizeof(*a->chunk));
	}
	if (a->overflow_chunks)
		gca_meta_free(a, a->overflow_chunks,
			      DIV_ROUND_UP(a->nr_chunks, 64) * sizeof(u64));
	if (a->empty)
		gca_meta_free(a, a->empty, sizeof(a->empty->pw));
	a->chunk = NULL;
	a->overflow_chunks = NULL;
	a->empty = NULL;
	WARN_ON_ONCE(a->metadata);
}

/* ------------------------------------------------------------------- layouts */

/* Markers may be reading the table: a full one is kept until the arena goes. */
static int layout_table_grow(struct gca_arena *a)
{
	u32 room = a->layout_room ? 2 * a->layout_room : 64;
	struct gca_layout_table *t;
	size_t bytes = sizeof(*t) + room * sizeof(t->layout[0]);

	t = gca_meta_zalloc(a, bytes);
	if (!t)
		return -ENOMEM;
	t->bytes = bytes;
	t->older = a->layout_table;
	if (a->nr_layouts)
		memcpy(t->layout, a->layout, a->nr_layouts * sizeof(t->layout[0]));
	a->layout_table = t;
	a->layout_room = room;
	/* The copied entries before the table: markers load it by READ_ONCE(). */
	smp_store_release(&a->layout, t->layout);
	return 0;
}

/**
 * gca_layout_add() - a new type
 * @a: arena; calls are serialised by the port
 * @elem_size: bytes of an element: a multiple of 8, at most GCARENA_LAYOUT_MAX
 * @bits: a bit a word
 * @id: out
 *
 * Return: 0; -EINVAL for a bad size or bits beyond it; -ENOSPC beyond
 * GCARENA_LAYOUTS_MAX; -ENOMEM.
 */
int gca_layout_add(struct gca_arena *a, u64 elem_size, const u64 *bits, u32 *id)
{
	struct gca_layout *l;
	u32 words, n;

	if (!elem_size || elem_size % 8 || elem_size > GCARENA_LAYOUT_MAX)
		return -EINVAL;
	words = elem_size / 8;
	n = DIV_ROUND_UP(words, 64);
	if (words % 64 && bits[n - 1] >> (words % 64))
		return -EINVAL;
	if (a->nr_layouts >= GCARENA_LAYOUTS_MAX)
		return -ENOSPC;
	if (a->nr_layouts == a->layout_room && layout_table_grow(a))
		return -ENOMEM;
	l = gca_meta_zalloc(a, layout_bytes(words));
	if (!l)
		return -ENOMEM;
	l->words = words;
	memcpy(l->bits, bits, n * sizeof(u64));
	*id = a->nr_layouts;
	WRITE_ONCE(a->layout[*id], l);
	/* pairs with the acquire in layout_of() */
	smp_store_release(&a->nr_layouts, *id + 1);
	return 0;
}

/* ---------------------------------------------------------------- statistics */

/** gca_stats_read() - all counters; consistent each by itself, not together */
void gca_stats_read(struct gca_arena *a, struct gcarena_stats *s)
{
	const struct gca_totals *t = &a->totals;

	s->cycles = READ_ONCE(t->cycles);
	s->forced = READ_ONCE(t->forced);
	s->voided = READ_ONCE(t->voided);
	s->last_void = READ_ONCE(t->last_void);
	s->live = READ_ONCE(t->live);
	s->heap = (u64)READ_ONCE(a->heap.inuse) << GCARENA_PAGE_SHIFT;
	s->goal = READ_ONCE(a->heap_goal);
	s->metadata = READ_ONCE(a->metadata);
	s->allocated = atomic64_read(&t->allocated);
	s->freed = atomic64_read(&t->freed);
	s->stops = READ_ONCE(t->stop.n);
	s->stop_ns_max = READ_ONCE(t->stop.ns_max);
	s->stop_ns_total = READ_ONCE(t->stop.ns_total);
	s->mark_ns[0] = atomic64_read(&t->mark_ns[0]);
	s->mark_ns[1] = atomic64_read(&t->mark_ns[1]);
	s->fractional_ns = atomic64_read(&t->mark_ns[GCA_MARK_FRACTIONAL]);
	s->idle_ns = atomic64_read(&t->mark_ns[GCA_MARK_IDLE]);
	s->worker_ns = atomic64_read(&t->mark_ns[GCA_MARK_DEDICATED]) + s->fractional_ns +
		       s->idle_ns;
	s->self_scans = atomic64_read(&t->self_scans);
	s->unknown_stacks = atomic64_read(&t->unknown_stacks);
	s->cut_stacks = atomic64_read(&t->cut_stacks);
	s->restarts = READ_ONCE(t->restarts);
	s->assist_ns = atomic64_read(&t->mark_ns[GCA_MARK_ASSIST]);
	s->self_ns = atomic64_read(&t->mark_ns[GCA_MARK_SELF]);
	s->postponed = READ_ONCE(t->postponed);
	s->hold_ns_max = READ_ONCE(t->hold_ns_max);
	s->hold_ns_total = READ_ONCE(t->hold_ns_total);
	gca_pace_read(a, s);
	s->begin_stop_ns = READ_ONCE(t->begin_stop_ns);
	s->marking_ns = READ_ONCE(t->marking_ns);
	s->end_stop_ns = READ_ONCE(t->end_stop_ns);
	s->limited = READ_ONCE(a->limiter.times);
	s->cpus_milli = gca_cpus_milli(a);
	s->marking_cpu_ns = gca_pace_cpu(a);
	s->cpu_ns = gca_port_cpu(a);
	s->postponed_ns = gca_stop_postponed(a);
	s->assists = READ_ONCE(t->assists.n);
	s->assist_hold_ns_total = READ_ONCE(t->assists.ns_total);
	s->assist_hold_ns_max = READ_ONCE(t->assists.ns_max);
	s->assist_hold_ns_p99 = gca_hist_quantile(&t->assists, 990);
	s->stop_ns_p50 = gca_hist_quantile(&t->stop, 500);
	s->stop_ns_p99 = gca_hist_quantile(&t->stop, 990);
	s->threads = READ_ONCE(a->nr_mutators);
	s->sweep_ns = atomic64_read(&t->sweep_ns);
	s->marked_objects = atomic64_read(&t->marked_objects);
	s->marked_bytes = atomic64_read(&t->marked_bytes);
	s->missed = atomic64_read(&t->missed);
	s->leaves = atomic64_read(&t->leaves);
	s->overflows = atomic64_read(&t->overflows);
	s->root_bytes = READ_ONCE(t->root_bytes);
	s->returned = READ_ONCE(a->heap.returned) << GCARENA_PAGE_SHIFT;
	s->free = (u64)READ_ONCE(a->heap.free_dirty) << GCARENA_PAGE_SHIFT;
}

/** gca_stats_sync() - count what threads have allocated up to now, an operation each */
int gca_stats_sync(struct gca_arena *a)
{
	struct gca_mutator *m = NULL;
	u32 i, left;
	int err;

	while ((m = gca_mutator_next(a, m))) {
		err = gca_op_begin(a);
		if (err) {
			gca_port_mutator_put(a, m);
			return err;
		}
		gca_spin_lock(&m->lock);
		left = gca_slots_used(m);
		for (i = 0; (i = gca_slot_next(m, i, &left));)
			gca_mutator_observe(m, i);
		gca_spin_unlock(&m->lock);
		gca_op_end(a);
	}
	return 0;
}
