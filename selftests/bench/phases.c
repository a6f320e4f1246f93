// SPDX-License-Identifier: MIT
/*
 * phases.c: a program whose live heap changes: 10, 200, then 20 MiB.
 *
 * Usage: phases-HEAP [LISTS]
 *
 * It keeps lists of 1024 nodes of 64 bytes, in a table, and makes a new one for any of them LISTS
 * times in each phase, in the order of an arithmetic progression, so that all heaps do the
 * same.  What a smaller phase has no room for goes at its beginning.
 */
#include <inttypes.h>

#include "heap.h"

#define NODES	1024
#define MOST	(200 * 16)	/* lists: 64 KiB each */

struct node {
	struct node *next;
	uint64_t value, filler[6];
};

static heap_layout layout;

static struct node *list(uint64_t value)
{
	struct node *head = NULL, *n;
	int i;

	for (i = 0; i < NODES; i++) {
		n = heap_new(layout, sizeof(*n));
		n->next = head;
		n->value = value + i;
		head = n;
	}
	return head;
}

static void drop(struct node *n)
{
#ifdef HEAP_MALLOC
	struct node *next;

	for (; n; n = next) {
		next = n->next;
		heap_free(n);
	}
#else
	(void)n;
#endif
}

int main(int argc, char **argv)
{
	static const uint64_t mib[] = { 10, 200, 20 };
	uint64_t lists = argc > 1 ? atoll(argv[1]) : 20000, begun, check = 0, i, p, at = 0, room;
	struct node **table, *n;
	heap_layout pointer;

	heap_open(false);
	layout = heap_describe(sizeof(struct node), 1);
	pointer = heap_describe(sizeof(void *), 1);
	table = heap_new_array(pointer, sizeof(*table), MOST);
	for (i = 0; i < MOST; i++)
		table[i] = NULL;
	begun = now_ns();
	for (p = 0; p < 3; p++) {
		room = mib[p] * 16;
		for (i = room; i < MOST; i++) {
			drop(table[i]);
			heap_store(&table[i], NULL);
		}
		for (i = 0; i < lists; i++) {
			at = (at + 1617) % room;
			drop(table[at]);
			heap_store(&table[at], list(i));
		}
		for (i = 0; i < room; i++)
			for (n = table[i]; n; n = n->next)
				check += n->value;
	}
	printf("ns=%" PRIu64 " cycles=%" PRIu64 " check=%" PRIu64, now_ns() - begun,
	       heap_cycles(), check);
	report_end();
	return 0;
}
