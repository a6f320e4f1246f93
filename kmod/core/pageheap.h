/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* pageheap.h: runs of heap pages; see pageheap.c. */
#ifndef GCA_PAGEHEAP_H
#define GCA_PAGEHEAP_H

#include "core.h"

/**
 * struct gca_need - metadata that an allocation found missing
 * @chunk: index of a chunk to be made by gca_chunk_grow(), or GCA_NEED_INNER
 * @inner: a spare for a span longer than two chunks, or NULL
 */
struct gca_need {
	u32 chunk;
	struct gca_inner *inner;
};

#define GCA_NEED_INNER	U32_MAX

#define GCA_HUGE_PAGES	(1U << (21 - GCARENA_PAGE_SHIFT))	/* heap pages in 2 MiB */

/** gca_pages_has_run() - is there a dirty run of at least GCA_SL pages? */
static inline bool gca_pages_has_run(const struct gca_arena *a)
{
	return READ_ONCE(a->heap.dirty.fl) >> 1;
}

/**
 * gca_chunk_is_inner() - is a chunk entry a stand-in inside a large span?
 * @a: arena
 * @ci: index
 *
 * A real chunk may also be wholly inside a large span (it was made before the
 * span); then its first page's span is not the stand-in's.
 */
static inline bool gca_chunk_is_inner(const struct gca_arena *a, u32 ci)
{
	const struct gca_chunk *c = gca_deref(a->chunk[ci]), *first;
	u64 pw = READ_ONCE(c->pw[0]);
	u32 head;

	if (!(pw & GCA_PW_INTERIOR))
		return false;
	head = (pw >> GCA_PW_HEAD_SHIFT) & GCA_PW_HEAD_MASK;
	first = gca_deref(a->chunk[head / GCA_CHUNK_PAGES]);
	return head / GCA_CHUNK_PAGES != ci &&
	       READ_ONCE(first->span[head % GCA_CHUNK_PAGES].inner) == (const struct gca_inner *)c;
}

/**
 * gca_chunk_own() - a chunk's metadata, if it has some of its own
 * @a: arena
 * @ci: index
 *
 * Under heap.lock, or where no large span is made or freed: a stand-in goes with
 * its span.  A chunk of its own is there until the arena goes.
 * Return: NULL if the entry is unused or a stand-in.
 */
static inline struct gca_chunk *gca_chunk_own(const struct gca_arena *a, u32 ci)
{
	struct gca_chunk *c = gca_deref(a->chunk[ci]);

	return c == a->empty || gca_chunk_is_inner(a, ci) ? NULL : c;
}

void gca_pageheap_init(struct gca_arena *a);
int gca_chunk_grow(struct gca_arena *a, struct gca_need *need);
void gca_need_drop(struct gca_arena *a, struct gca_need *need);
int gca_pages_alloc(struct gca_arena *a, u32 npages, unsigned int span_class, u32 nelems,
		    unsigned int snap, struct gca_need *need, struct gca_span **span);
bool gca_pages_reusable(struct gca_arena *a, u32 npages);
void gca_pages_free(struct gca_arena *a, struct gca_span *s);
void gca_inner_reap(struct gca_arena *a);
u32 gca_pages_take_dirty(struct gca_arena *a, u32 min_pages, struct gcarena_run *runs, u32 room,
			 u32 keep_pages, bool breaks);
void gca_pages_put_clean(struct gca_arena *a, u32 page, u32 npages);

#endif /* GCA_PAGEHEAP_H */
