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

#endif /* GCT_LISTS_H */
