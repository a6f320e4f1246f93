/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lists.h: lists whose objects know their places, for tests in which threads keep some and
 * look whether they are still what they were.
 */
#ifndef GCT_LISTS_H
#define GCT_LISTS_H

#include "threads.h"

struct node {
	struct node *next;
	uint64_t serial;
};

/* Of @len objects of @layout, which begin with a node; numbered from @serial, the last first. */
static inline struct node *list_of(struct gca_mutator *m, const struct gca_layout *layout,
				   uint64_t serial, uint64_t len)
{
	struct node *list = NULL;

	for (uint64_t i = 0; i < len; i++) {
		struct node *n = gca_alloc(m, layout);

		if (!n)
			gct_note("# %s", gca_strerror());
		ASSERT_TRUE(n);
		n->serial = (serial + i) ^ MAGIC;
		n->next = list;
		list = n;
	}
	return list;
}

static inline void check_list(const struct node *n, uint64_t serial, uint64_t len)
{
	for (uint64_t i = len; i--; n = n->next)
		ASSERT_EQ(n->serial, (serial + i) ^ MAGIC);
	ASSERT_TRUE(!n);
}

/* 64 bytes */
struct wide {
	struct node node;
	uint64_t filler[6];
};

/**
 * struct keeper - threads that keep lists, and make a new one for the oldest, all the time
 * @arena: whose
 * @layout: of struct wide
 * @lists: that each of them keeps
 * @nodes: of a list
 * @running: until this is 0
 * @rounds: lists made
 */
struct keeper {
	struct gca_arena *arena;
	const struct gca_layout *layout;
	uint64_t lists, nodes;
	int running;
	uint64_t rounds;
};

/* One of them; no other one of @k's has the number @who. */
static inline void keep_lists(struct keeper *k, uint64_t who)
{
	struct gca_mutator *m = attach(k->arena);
	struct node **keep = gca_alloc_conservative(m, k->lists * sizeof(*keep));
	uint64_t serial = who << 40, n = 0;

	ASSERT_TRUE(keep);
	for (; __atomic_load_n(&k->running, __ATOMIC_RELAXED); n++) {
		struct node **slot = &keep[n % k->lists];

		if (n >= k->lists)
			check_list(*slot, serial + n - k->lists, k->nodes);
		gca_store(m, slot, list_of(m, k->layout, serial + n, k->nodes));
		__atomic_fetch_add(&k->rounds, 1, __ATOMIC_RELAXED);
	}
	gca_keep_alive(keep);
	gca_detach(m);
}

#endif /* GCT_LISTS_H */
