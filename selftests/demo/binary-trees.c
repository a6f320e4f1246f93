// SPDX-License-Identifier: MIT
/*
 * binary-trees.c: the Computer Language Benchmarks Game's program on gcarena.
 *
 * Usage: binary-trees [DEPTH]
 *
 * Builds and forgets trees of all depths while one tree lives on.  Prints the
 * game's lines.  Each check is compared with the number it must be: a complete
 * tree of depth d has 2^(d+1) - 1 nodes.
 *
 * This is what a program looks like that uses the library: attach, describe
 * the one type, allocate.  No root is declared: locals and registers are found.
 */
#include <stdio.h>
#include <stdlib.h>

#include <gcarena.h>

#include "monitor.h"

#define MIN_DEPTH	4

struct node {
	struct node *left, *right;
};

static struct gca_mutator *m;
static const struct gca_layout *layout;
static unsigned int wrong;

static void *checked(const void *p)
{
	if (!p) {
		fprintf(stderr, "binary-trees: %s\n", gca_strerror());
		exit(1);
	}
	return (void *)p;
}

static struct node *make(unsigned int depth)
{
	struct node *n = checked(gca_alloc(m, layout));

	if (depth) {
		/* words of a fresh object are still zero: no gca_store() needed */
		n->left = make(depth - 1);
		n->right = make(depth - 1);
	}
	return n;
}

static unsigned long count(const struct node *n)
{
	return n->left ? 1 + count(n->left) + count(n->right) : 1;
}

static unsigned long verify(unsigned long got, unsigned long trees, unsigned int depth)
{
	wrong += got != trees * ((2UL << depth) - 1);
	return got;
}

int main(int argc, char **argv)
{
	unsigned int max = argc > 1 ? atoi(argv[1]) : 16, d, verified = 2;
	struct gca_arena *arena = checked(gca_open(NULL));
	struct node *long_lived;
	bool held;

	if (max < MIN_DEPTH + 2)
		max = MIN_DEPTH + 2;
	if (max > 28)
		max = 28;
	m = checked(gca_attach(arena));
	layout = checked(gca_layout_of(arena, struct node, left, right));
	monitor_start(arena, 12);

	printf("  stretch tree of depth %u\t check: %lu\n", max + 1,
	       verify(count(make(max + 1)), 1, max + 1));
	long_lived = make(max);
	for (d = MIN_DEPTH; d <= max; d += 2, verified++) {
		unsigned long trees = 1UL << (max - d + MIN_DEPTH), sum = 0, i;

		for (i = 0; i < trees; i++) {
			sum += count(make(d));
			if (!(i % 64))
				monitor_poll();
		}
		printf("  %lu\t trees of depth %u\t check: %lu\n", trees, d,
		       verify(sum, trees, d));
		fflush(stdout);
	}
	printf("  long lived tree of depth %u\t check: %lu\n", max,
	       verify(count(long_lived), 1, max));

	held = monitor_summary(0, 1);
	printf("  answers         %u of %u verified\n", verified - wrong, verified);
	gca_close(arena);
	return held && !wrong ? 0 : 1;
}
