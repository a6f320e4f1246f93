// SPDX-License-Identifier: MIT
/*
 * binary-trees.c: the Benchmarks Game's binary-trees on the heaps compared.
 *
 * Usage: binary-trees-HEAP [DEPTH [CYCLES]]
 *
 * One thread, no pools: every node is one allocation.  With malloc a tree is
 * freed as soon as it has been counted.  At the end so many cycles are forced, with
 * the long lived tree.
 */
#include <inttypes.h>

#include "heap.h"

#define MIN_DEPTH	4

struct node {
	struct node *left, *right;
};

static heap_layout layout;

static struct node *make(unsigned int depth)
{
	struct node *n = heap_new(layout, sizeof(*n));

	if (depth) {
		n->left = make(depth - 1);
		n->right = make(depth - 1);
	} else {
		n->left = n->right = NULL;
	}
	return n;
}

static uint64_t count(const struct node *n)
{
	return n->left ? 1 + count(n->left) + count(n->right) : 1;
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

static uint64_t once(unsigned int depth)
{
	struct node *n = make(depth);
	uint64_t c = count(n);

	drop(n);
	return c;
}

int main(int argc, char **argv)
{
	unsigned int max = argc > 1 ? atoi(argv[1]) : 18, d;
	uint64_t begun, check, i;
	unsigned int forced = argc > 2 ? atoi(argv[2]) : 0;
	struct node *long_lived;

	heap_open(false);
	layout = heap_describe(sizeof(struct node), 3);
	begun = now_ns();
	check = once(max + 1);
	long_lived = make(max);
	for (d = MIN_DEPTH; d <= max; d += 2) {
		for (i = 1ULL << (max - d + MIN_DEPTH); i; i--)
			check += once(d);
	}
	begun = now_ns() - begun;
	i = heap_cycles();
	if (forced)
		heap_force(forced);
	check += count(long_lived);
	printf(" ns=%" PRIu64 " cycles=%" PRIu64 " check=%" PRIu64, begun, i, check);
	report_end();
	return 0;
}
