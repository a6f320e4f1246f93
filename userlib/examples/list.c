// SPDX-License-Identifier: MIT
/*
 * list.c: linked lists that come and go, with a checksum that must hold.
 *
 * Usage: list [ROUNDS].  Each round rebuilds some of 64 lists of nodes with
 * payloads of many sizes (small, with a header, large, arrays, conservative)
 * and collects; then every list is walked and its checksum compared.  A node
 * that was freed while live shows as a wrong sum.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <gcarena.h>

#define NR_LISTS	64

struct node {
	struct node *next;
	uint64_t *payload;
	uint64_t words;
	struct node **array;
	uint64_t nr_array;
	uint64_t sum;
};

struct big {
	uint64_t pad[70];
	struct node *node;
};

static struct node *head[NR_LISTS];	/* a plain root */
static uint64_t seed = 88172645463325252ULL;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void die(const char *what)
{
	fprintf(stderr, "list: %s: %s\n", what, gca_strerror());
	exit(EXIT_FAILURE);
}

static const struct gca_layout *node_layout, *pointer_layout, *big_layout;

static void check_zero(const uint64_t *p, size_t words)
{
	size_t i;

	for (i = 0; i < words; i++)
		if (p[i])
			die("memory is not zero");
}

static struct node *make(struct gca_mutator *m, struct node *next)
{
	static const uint32_t size[] = { 1, 2, 3, 7, 16, 31, 64, 65, 130, 500, 1020, 4000, 5000 };
	struct node *n = gca_alloc(m, node_layout);
	uint64_t i, words = size[rnd() % (rnd() % 8 ? 9 : 13)];
	struct big *b;

	if (!n)
		die("gca_alloc");
	check_zero((uint64_t *)n, sizeof(*n) / 8);
	n->next = next;
	n->words = words;
	n->payload = rnd() % 4 ? gca_alloc_noscan(m, words * 8) :
				 gca_alloc_conservative(m, words * 8);
	if (!n->payload)
		die("payload");
	check_zero(n->payload, words);
	for (i = 0; i < words; i++)
		n->payload[i] = rnd() | 1ULL << 63;	/* no address */
	for (i = 0; i < words; i++)
		n->sum += n->payload[i];
	if (next && rnd() % 4 == 0) {
		n->nr_array = size[rnd() % 12];
		n->array = gca_alloc_array(m, pointer_layout, n->nr_array);
		if (!n->array)
			die("gca_alloc_array");
		check_zero((uint64_t *)n->array, n->nr_array);
		/* A second way to the rest of the list, often the only one. */
		i = rnd() % n->nr_array;
		gca_store(m, &n->array[i], next);
		if (rnd() % 2) {
			b = gca_alloc(m, big_layout);
			if (!b)
				die("big");
			check_zero((uint64_t *)b, sizeof(*b) / 8);
			b->node = next;
			gca_store(m, &n->array[i], NULL);
			gca_store(m, &n->array[0], b);
			n->nr_array |= 1ULL << 32;
			gca_store(m, &n->next, NULL);
		}
	}
	return n;
}

static struct node *next_of(struct node *n)
{
	if (n->nr_array >> 32)
		return ((struct big *)n->array[0])->node;
	return n->next;
}

static uint64_t walk(struct node *n, uint64_t *nodes)
{
	uint64_t sum = 0, own, i;

	for (; n; n = next_of(n)) {
		for (own = 0, i = 0; i < n->words; i++)
			own += n->payload[i];
		if (own != n->sum)
			die("a payload was overwritten");
		sum = sum * 31 + own;
		++*nodes;
	}
	return sum;
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 200, r;
	struct gca_arena *arena = gca_open(NULL);
	struct gca_mutator *m = arena ? gca_attach(arena) : NULL;
	uint64_t sum[NR_LISTS] = { 0 }, nodes = 0, had;
	struct gca_stats s;
	struct node *n;
	int i, j, len;

	if (!m)
		die("start");
	node_layout = gca_layout_of(arena, struct node, next, payload, array);
	big_layout = gca_layout_of(arena, struct big, node);
	pointer_layout = gca_layout(arena, 8, &(uint64_t){ 1 });
	if (!node_layout || !pointer_layout || !big_layout)
		die("layout");
	for (r = 0; r < rounds; r++) {
		for (j = 0; j < 8; j++) {
			i = (int)(rnd() % NR_LISTS);
			len = (int)(rnd() % 200);
			for (n = NULL; len; len--)
				n = make(m, n);
			head[i] = n;
			had = 0;
			sum[i] = walk(n, &had);
		}
		if (gca_collect(arena, 0))
			die("gca_collect");
		for (i = 0, nodes = 0; i < NR_LISTS; i++)
			if (walk(head[i], &nodes) != sum[i])
				die("a list has changed");
	}
	if (gca_stats(arena, &s))
		die("gca_stats");
	printf("%ld rounds, %" PRIu64 " cycles (%" PRIu64 " void), %" PRIu64
	       " nodes live, %.1f MB allocated, %.1f MB freed, %.2f MB live, %.2f MB heap: all lists right (%s backend)\n",
	       rounds, s.cycles, s.void_cycles, nodes, (double)s.allocated_bytes / 1e6,
	       (double)s.freed_bytes / 1e6, (double)s.live_bytes / 1e6,
	       (double)s.heap_bytes / 1e6, s.backend);
	gca_detach(m);
	gca_close(arena);
	return EXIT_SUCCESS;
}
