// SPDX-License-Identifier: MIT
/*
 * gcbench.c: GCBench (Ellis, Kovac, Boehm, Clinger) on the heaps compared.
 *
 * Usage: gcbench-HEAP [DEPTH]
 *
 * The parameters of the original with DEPTH 16: a stretch tree of depth 18, a
 * long-lived tree of depth 16 and an array of 500,000 doubles; then trees of
 * depth 4 to 16, as many as make an equal number of nodes at each depth, each
 * built once from the top, which stores into nodes that exist, and once from
 * the bottom.
 */
#include <inttypes.h>

#include "heap.h"

#define MIN_DEPTH	4
#define ARRAY_SIZE	500000

struct node {
	struct node *left, *right;
	int i, j;
};

static heap_layout layout;
static uint64_t made;

static struct node *node(struct node *left, struct node *right)
{
	struct node *n = heap_new(layout, sizeof(*n));

	/* a fresh object: assignments, no barrier */
	n->left = left;
	n->right = right;
	n->i = n->j = 0;
	made++;
	return n;
}

static uint64_t tree_size(unsigned int depth)
{
	return (2ULL << depth) - 1;
}

static uint64_t iterations(unsigned int depth, unsigned int stretch)
{
	return 2 * tree_size(stretch) / tree_size(depth);
}

/* Top down.  The children's words were written before, with NULL: stores. */
static void populate(unsigned int depth, struct node *n)
{
	if (!depth)
		return;
	heap_store(&n->left, node(NULL, NULL));
	heap_store(&n->right, node(NULL, NULL));
	populate(depth - 1, n->left);
	populate(depth - 1, n->right);
}

static struct node *bottom_up(unsigned int depth)
{
	struct node *left, *right;

	if (!depth)
		return node(NULL, NULL);
	left = bottom_up(depth - 1);
	right = bottom_up(depth - 1);
	return node(left, right);
}

static uint64_t count(const struct node *n)
{
	return n ? 1 + count(n->left) + count(n->right) : 0;
}

static void drop(struct node *n)
{
#ifdef HEAP_MALLOC
	if (n->left) {
		drop(n->left);
		drop(n->right);
	}
	heap_free(n);
#else
	(void)n;
#endif
}

static void bottom_up_and_drop(unsigned int depth)
{
	drop(bottom_up(depth));
}

static void top_down_and_drop(unsigned int depth)
{
	struct node *n = node(NULL, NULL);

	populate(depth, n);
	drop(n);
}

int main(int argc, char **argv)
{
	unsigned int max = argc > 1 ? atoi(argv[1]) : 16, stretch = max + 2, d;
	struct node *long_lived;
	uint64_t begun, check, i;
	double *array;

	heap_open(false);
	layout = heap_describe(sizeof(struct node), 3);
	begun = now_ns();
	bottom_up_and_drop(stretch);
	/*
	 * A pointer in main()'s frame counts for one past the end of the object before it, too,
	 * and before the long-lived tree would be the root of this one, for good.  (bdwgc leaves a
	 * byte between objects.)
	 */
	heap_free(heap_new(layout, sizeof(struct node)));
	long_lived = node(NULL, NULL);
	populate(max, long_lived);
	array = heap_bytes(ARRAY_SIZE * sizeof(*array));
	for (i = 0; i < ARRAY_SIZE / 2; i++)
		array[i] = 1.0 / (i + 1);

	for (d = MIN_DEPTH; d <= max; d += 2) {
		for (i = iterations(d, stretch); i; i--)
			top_down_and_drop(d);
		for (i = iterations(d, stretch); i; i--)
			bottom_up_and_drop(d);
	}
	check = made + count(long_lived) + (array[1000] == 1.0 / 1001);
	printf("ns=%" PRIu64 " cycles=%" PRIu64 " check=%" PRIu64, now_ns() - begun,
	       heap_cycles(), check);
	report_end();
	return 0;
}
