// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * workbuf.c: the global lists and a worker's side of them.
 *
 * A grey object is at every moment in a counted place (invariant 9).  The
 * counts nr_full and nr_missed are raised before a buffer is published and
 * lowered after the one who took it is itself counted in gca_arena.markers: there
 * is no moment at which a buffer is in neither count.  Whoever reads more than
 * one of them must know that nothing moves meanwhile (gca_work_left()).
 *
 * Nothing here allocates or sleeps.
 */
#include "cycle.h"
#include "workbuf.h"
#include "mark.h"

void gca_wbuf_put_empty(struct gca_arena *a, struct gca_wbuf *b)
{
	b->n = 0;
	gca_wbuf_list_push(a, &a->free_bufs, b);
}

struct gca_wbuf *gca_wbuf_get_empty(struct gca_arena *a)
{
	return gca_wbuf_list_pop(a, &a->free_bufs);
}

void gca_wbuf_put_full(struct gca_arena *a, struct gca_wbuf *b)
{
	atomic_inc(&a->nr_full);
	gca_wbuf_list_push(a, &a->full, b);
	gca_port_work(a);
}

struct gca_wbuf *gca_wbuf_get_full(struct gca_arena *a)
{
	struct gca_wbuf *b = gca_wbuf_list_pop(a, &a->full);

	if (b)
		atomic_dec(&a->nr_full);
	return b;
}

void gca_wbuf_put_missed(struct gca_arena *a, struct gca_wbuf *b)
{
	atomic_inc(&a->nr_missed);
	gca_wbuf_list_push(a, &a->missed, b);
}

struct gca_wbuf *gca_wbuf_get_missed(struct gca_arena *a)
{
	struct gca_wbuf *b = gca_wbuf_list_pop(a, &a->missed);

	if (b)
		atomic_dec(&a->nr_missed);
	return b;
}

static bool has_room(const struct gca_wbuf *b)
{
	return b && b->n <= GCA_WBUF_ENTRIES - GCA_WBUF_ROOM;
}

/*
 * gca_worker_room() - make room for GCA_WBUF_ROOM pushes
 *
 * Return: false if no buffer is free.  The caller then records what it greys under
 * overflow bits.
 */
bool gca_worker_room(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	struct gca_wbuf *b;

	if (has_room(w->buf))
		return true;
	if (has_room(w->spare)) {
		swap(w->buf, w->spare);
		return true;
	}
	/* Both full, or missing.  The spare's entries are the older: share them. */
	b = NULL;
	if (!w->buf || !(READ_ONCE(a->knob.debug) & GCARENA_DEBUG_OVERFLOW))
		b = gca_wbuf_get_empty(a);
	if (!b)
		return false;
	if (w->spare)
		gca_wbuf_put_full(a, w->spare);
	w->spare = w->buf;
	w->buf = b;
	return true;
}

/**
 * gca_worker_spare() - the buffer is empty: get entries from the spare
 * @w: worker
 *
 * Half of them from one that is full: the mark loop does not begin without room,
 * and would be handed the empty one again.  Return: false if there are none.
 */
bool gca_worker_spare(struct gca_worker *w)
{
	struct gca_wbuf *b = w->spare;
	u32 half;

	if (!b || !b->n)
		return false;
	if (!w->buf || has_room(b)) {
		swap(w->buf, w->spare);
		return true;
	}
	half = b->n / 2;
	b->n -= half;
	memcpy(w->buf->obj, b->obj + b->n, half * sizeof(u64));
	w->buf->n = half;
	return true;
}

/** gca_worker_more() - get entries from the spare or the global list; false: there are none */
bool gca_worker_more(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	struct gca_wbuf *b;

	if (w->buf && w->buf->n)
		return true;
	if (gca_worker_spare(w))
		return true;
	b = gca_wbuf_get_full(a);
	if (!b)
		return false;
	if (w->spare)
		gca_wbuf_put_empty(a, w->spare);
	w->spare = b;
	return gca_worker_spare(w);
}

/** gca_worker_balance() - share work when the global list is empty (Go's balance()) */
void gca_worker_balance(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	struct gca_wbuf *b;
	u32 half;

	if (w->spare && w->spare->n) {
		gca_wbuf_put_full(a, w->spare);
		w->spare = NULL;
		return;
	}
	if (!w->buf || w->buf->n <= 4)
		return;
	b = w->spare;
	w->spare = NULL;
	if (!b)
		b = gca_wbuf_get_empty(a);
	if (!b)
		return;
	/* The older half goes: it is nearer the roots and has more below it. */
	half = w->buf->n / 2;
	memcpy(b->obj, w->buf->obj, half * sizeof(u64));
	memmove(w->buf->obj, w->buf->obj + half, (w->buf->n - half) * sizeof(u64));
	b->n = half;
	w->buf->n -= half;
	gca_wbuf_put_full(a, b);
}

/*
 * gca_worker_miss() - an object's page was not there: for the missed list
 *
 * Without a buffer the object's span gets its overflow bit instead.
 */
void gca_worker_miss(struct gca_worker *w, u64 entry)
{
	struct gca_arena *a = w->arena;

	if (w->missed && w->missed->n == GCA_WBUF_ENTRIES) {
		gca_wbuf_put_missed(a, w->missed);
		w->missed = NULL;
		gca_port_missed(a);
	}
	if (!w->missed)
		w->missed = gca_wbuf_get_empty(a);
	if (w->missed) {
		w->missed->obj[w->missed->n++] = entry;
	} else {
		/* Without faults the rescan would miss again, for ever. */
		gca_overflow_set(a, entry);
		w->faulting = w->may_fault;
	}
}

/**
 * gca_worker_init() - begin to mark
 * @w: worker
 * @a: arena
 * @exclusive: the caller knows that no other marker runs until gca_worker_fini()
 * @mode: index into gca_totals.mark_ns
 */
void gca_worker_init(struct gca_worker *w, struct gca_arena *a, bool exclusive, unsigned int mode)
{
	memset(w, 0, sizeof(*w));
	w->arena = a;
	w->exclusive = exclusive;
	w->mode = mode;
	atomic64_inc(&a->markers_begun);
	/* Begun before counted, counted before anything is taken: gca_work_left(). */
	smp_mb();
	atomic_inc(&a->markers);
	smp_mb();	/* as above */
	/* Who only greys would publish one buffer a handful of entries: fill up one. */
	w->buf = exclusive ? NULL : gca_wbuf_get_full(a);
	if (!w->buf)
		w->buf = gca_wbuf_get_empty(a);
}

static void put_any(struct gca_arena *a, struct gca_wbuf **pb)
{
	struct gca_wbuf *b = *pb;

	*pb = NULL;
	if (!b)
		return;
	if (b->n)
		gca_wbuf_put_full(a, b);
	else
		gca_wbuf_put_empty(a, b);
}

/*
 * gca_worker_count() - what has been scanned is work done; workers' is for all
 *
 * Of mode collect nothing is: that is in a stop.  What a thread does for itself it counts.
 */
void gca_worker_count(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	u64 sum = 0;
	unsigned int i;

	for (i = 0; i < GCA_NR_SCANS; i++) {
		if (!w->scanned[i])
			continue;
		sum += w->scanned[i];
		atomic64_add(w->scanned[i], &a->scan_done[i]);
		w->scanned[i] = 0;
	}
	if (!sum)
		return;
	w->done += sum;
	atomic64_add(sum, &a->totals.scanned);
	if (w->mode >= GCA_MARK_SERVE && w->mode <= GCA_MARK_IDLE)
		gca_assist_credit(a, sum);
}

/*
 * gca_worker_publish() - put all entries where other workers find them (Go's dispose())
 *
 * The worker may go on with gca_worker_room().
 */
void gca_worker_publish(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;

	while (w->fifo_n || w->cur || w->big) {
		u64 e = w->cur;

		if (e) {
			w->cur_word = 0;
			w->cur = 0;	/* scanning it again from its start is harmless */
		} else if (w->big) {
			e = w->big;
			w->big = 0;
		} else {
			e = w->fifo[w->fifo_head];
			w->fifo_head = (w->fifo_head + 1) % GCA_FIFO;
			w->fifo_n--;
		}
		if (gca_worker_room(w))
			w->buf->obj[w->buf->n++] = e;
		else
			gca_overflow_set(a, e);
	}
	put_any(a, &w->buf);
	put_any(a, &w->spare);
	if (w->missed) {
		gca_wbuf_put_missed(a, w->missed);
		w->missed = NULL;
		gca_port_missed(a);
	}
	gca_worker_count(w);
	if (w->objects) {
		atomic64_add(w->objects, &a->totals.marked_objects);
		atomic64_add(w->bytes, &a->totals.marked_bytes);
		atomic64_add(w->bytes, &a->cycle_marked);
		gca_port_trace(a, GCA_TRACE_SLICE, w->objects, w->bytes);
	}
	if (w->nr_missed || w->leaves) {
		atomic64_add(w->nr_missed, &a->totals.missed);
		atomic64_add(w->leaves, &a->totals.leaves);
		gca_port_trace(a, GCA_TRACE_MISS, w->nr_missed, w->leaves);
	}
	w->objects = 0;
	w->bytes = 0;
	w->nr_missed = 0;
	w->leaves = 0;
}

/** gca_worker_fini() - publish everything and stop being counted */
void gca_worker_fini(struct gca_worker *w)
{
	gca_worker_publish(w);
	if (atomic_dec_and_test(&w->arena->markers))
		gca_port_idle(w->arena);
}
