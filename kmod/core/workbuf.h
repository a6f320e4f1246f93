/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * workbuf.h: buffers of grey objects and the lists they travel on.
 *
 * Go's workbufs: a worker pushes and pops in two buffers of its own (two, so
 * that a run of pushes and pops at the edge of one does not touch a global list
 * each time) and exchanges whole buffers through global lists.  Buffers are
 * embedded in the chunks: the supply grows with the heap, a buffer has a small
 * number for a name, and none is freed before the arena.
 *
 * The global lists are Treiber stacks.  A list head is tag << 32 | number + 1;
 * every change bumps the tag, so a pop that read ->next of a buffer which was
 * popped and pushed again in between fails its compare-and-swap (no ABA until
 * 2^32 changes fall into one pop).  Order: a buffer's entries are written
 * before the cmpxchg that publishes it and read after the cmpxchg that takes
 * it; both are full barriers.
 */
#ifndef GCA_WORKBUF_H
#define GCA_WORKBUF_H

#include "core.h"

static inline struct gca_wbuf *gca_wbuf_of(struct gca_arena *a, u32 index)
{
	return &gca_deref(a->chunk[index / GCA_WBUFS])->wbuf[index % GCA_WBUFS];
}

static inline void gca_wbuf_list_push(struct gca_arena *a, atomic64_t *list, struct gca_wbuf *b)
{
	u64 old, new;

	do {
		old = atomic64_read(list);
		WRITE_ONCE(b->next, (u32)old);
		new = ((old >> 32) + 1) << 32 | (b->index + 1);
	} while ((u64)atomic64_cmpxchg(list, old, new) != old);
}

static inline struct gca_wbuf *gca_wbuf_list_pop(struct gca_arena *a, atomic64_t *list)
{
	struct gca_wbuf *b;
	u64 old, new;

	do {
		old = atomic64_read(list);
		if (!(u32)old)
			return NULL;
		b = gca_wbuf_of(a, (u32)old - 1);
		new = ((old >> 32) + 1) << 32 | READ_ONCE(b->next);
	} while ((u64)atomic64_cmpxchg(list, old, new) != old);
	return b;
}

void gca_wbuf_put_empty(struct gca_arena *a, struct gca_wbuf *b);
struct gca_wbuf *gca_wbuf_get_empty(struct gca_arena *a);
void gca_wbuf_put_full(struct gca_arena *a, struct gca_wbuf *b);
struct gca_wbuf *gca_wbuf_get_full(struct gca_arena *a);
void gca_wbuf_put_missed(struct gca_arena *a, struct gca_wbuf *b);
struct gca_wbuf *gca_wbuf_get_missed(struct gca_arena *a);

bool gca_worker_room(struct gca_worker *w);
bool gca_worker_spare(struct gca_worker *w);
bool gca_worker_more(struct gca_worker *w);
void gca_worker_balance(struct gca_worker *w);
void gca_worker_miss(struct gca_worker *w, u64 entry);
void gca_worker_init(struct gca_worker *w, struct gca_arena *a, bool exclusive, unsigned int mode);
void gca_worker_count(struct gca_worker *w);
void gca_worker_publish(struct gca_worker *w);
void gca_worker_fini(struct gca_worker *w);

#endif /* GCA_WORKBUF_H */
