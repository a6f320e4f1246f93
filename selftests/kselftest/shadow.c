// SPDX-License-Identifier: GPL-2.0-only
/*
 * shadow.c: a random program and its double.
 *
 * Objects of every kind and size are allocated, linked, unlinked and collected
 * at random through the library; a shadow graph in malloc() memory, which is no
 * root and has every address inverted, says what must be there.  On the way each
 * pointer read is compared with the shadow's; after a collection each reachable
 * object must have its canaries; at the end everything dropped must be free.
 *
 * The number of operations is GCT_OPS, or 1,000,000, divided by GCT_SLOW.  The
 * seed is printed; GCT_SEED repeats a run.
 */
#define GCT_SUITE "shadow"
#include "raw.h"

#include <gcarena.h>

#define NODES		6000
#define EDGES		6
#define ROOTS		64
#define MAGIC		0x5eed0ff0dead10ccULL

enum kind { BITMAP, HEADER, LARGE, ARRAY, CONSERVATIVE, NOSCAN, KINDS };

/* What an object should be.  @addr is inverted: the table must keep nothing alive. */
struct node {
	uint64_t addr, serial;
	uint32_t bytes;
	uint8_t kind, edges, seen;
	uint32_t step;			/* words between two edges */
	int32_t edge[EDGES];
};

struct shape {
	const struct gca_layout *layout;
	uint32_t bytes, edges, step;
};

static struct gca_arena *arena;
static struct gca_mutator *mut;
static struct node *node;
static uint64_t *root;			/* a barriered range */
static int32_t root_edge[ROOTS];
static int32_t free_node[NODES];
static int nr_free;
static struct shape shape[3][8];
static uint64_t seed, serial;

static uint32_t rnd(uint32_t n)
{
	return (uint32_t)(gct_random(&seed) >> 33) % n;
}

/* Word 0 is a canary, edges are at words 1, 1 + step, ...; the last word, too. */
static void make_shapes(void)
{
	static const uint32_t bytes[3][8] = {
		{ 16, 24, 40, 64, 96, 200, 360, 512 },
		{ 520, 600, 1000, 1500, 2040, 4000, 9000, 20000 },
		{ 32768, 33000, 40000, 50000, 65536, 65536, 40960, 36864 },
	};
	static uint64_t bits[GCARENA_LAYOUT_MAX / 512];

	for (int k = 0; k < 3; k++)
		for (int i = 0; i < 8; i++) {
			struct shape *s = &shape[k][i];
			uint32_t words = bytes[k][i] / 8;

			s->bytes = bytes[k][i];
			s->edges = words < 3 ? 1 : words - 2 < EDGES ? words - 2 : EDGES;
			s->step = s->edges > 1 ? (words - 2) / s->edges : 1;
			memset(bits, 0, sizeof(bits));
			for (uint32_t e = 0; e < s->edges; e++)
				bits[(1 + e * s->step) / 64] |= 1ULL << (1 + e * s->step) % 64;
			s->layout = gca_layout(arena, s->bytes, bits);
			ASSERT_TRUE(s->layout);
		}
}

static uint64_t *object(const struct node *n)
{
	return (uint64_t *)~n->addr;
}

static bool two_canaries(const struct node *n)
{
	return n->bytes >= 24 && n->kind != ARRAY;
}

static void check_node(const struct node *n)
{
	uint64_t *p = object(n);

	ASSERT_EQ(p[0], n->serial ^ MAGIC);
	if (two_canaries(n))
		ASSERT_EQ(p[n->bytes / 8 - 1], ~n->serial);
	for (int e = 0; e < n->edges; e++) {
		uint64_t want = n->edge[e] < 0 ? 0 : ~node[n->edge[e]].addr;

		ASSERT_EQ(p[1 + (uint32_t)e * n->step], want);
	}
}

static void allocate(struct node *n)
{
	uint32_t r = rnd(1000);
	struct shape *s;
	uint64_t *p;

	memset(n, 0xff, sizeof(*n));
	n->seen = 0;
	n->step = 1;
	if (r < 550 || r >= 995) {
		n->kind = r < 500 ? BITMAP : r < 995 ? HEADER : LARGE;
		s = &shape[n->kind][rnd(8)];
		n->bytes = s->bytes;
		n->edges = (uint8_t)s->edges;
		n->step = s->step;
		p = gca_alloc(mut, s->layout);
	} else if (r < 650) {
		/* An array: each element's word 1 is a pointer. */
		uint32_t elems = 1 + (r < 648 ? rnd(40) : rnd(4000));

		n->kind = ARRAY;
		s = &shape[BITMAP][1];
		n->bytes = elems * 24;
		n->edges = elems < EDGES ? (uint8_t)elems : EDGES;
		n->step = 3;
		p = gca_alloc_array(mut, s->layout, elems);
	} else {
		n->kind = r < 850 ? CONSERVATIVE : NOSCAN;
		n->bytes = 16 + 8 * (r % 10 ? rnd(30) : r % 100 ? rnd(600) : rnd(6000));
		n->edges = n->kind == NOSCAN ? 0 : n->bytes == 16 ? 1 : 1 + (uint8_t)rnd(EDGES);
		if (n->edges > n->bytes / 8 - 1)
			n->edges = (uint8_t)(n->bytes / 8 - 1);
		if (two_canaries(n) && n->edges > n->bytes / 8 - 2)
			n->edges = (uint8_t)(n->bytes / 8 - 2);
		p = n->kind == NOSCAN ? gca_alloc_noscan(mut, n->bytes) :
					gca_alloc_conservative(mut, n->bytes);
	}
	if (!p)
		gct_note("# %u bytes, kind %u: %s", n->bytes, n->kind, gca_strerror());
	ASSERT_TRUE(p);
	ASSERT_EQ((uintptr_t)p % 8, 0);
	for (uint32_t i = 0; i < n->bytes / 8; i++)
		if (p[i]) {
			gct_note("# word %u of %u bytes, kind %u, is not zero", i, n->bytes, n->kind);
			ASSERT_EQ(p[i], 0);
		}
	n->serial = ++serial;
	n->addr = ~(uint64_t)(uintptr_t)p;
	p[0] = n->serial ^ MAGIC;
	if (two_canaries(n))
		p[n->bytes / 8 - 1] = ~n->serial;
}

/* A place reached from a root by a random walk: the address and the shadow's. */
static uint64_t *random_place(int32_t **edge)
{
	uint32_t r = rnd(ROOTS), steps = rnd(8), e;
	uint64_t *place = &root[r];

	*edge = &root_edge[r];
	while (steps-- && **edge >= 0) {
		struct node *n = &node[**edge];

		ASSERT_EQ(*place, ~n->addr);
		ASSERT_EQ(object(n)[0], n->serial ^ MAGIC);
		if (!n->edges)
			break;
		e = rnd(n->edges);
		place = &object(n)[1 + e * n->step];
		*edge = &n->edge[e];
	}
	return place;
}

/* The shadow's own collection: reachable nodes are checked, others forgotten. */
static uint64_t shadow_collect(void)
{
	static int32_t stack[NODES + 1];
	uint64_t live = 0;
	int n = 0;

	for (int i = 0; i < NODES; i++)
		node[i].seen = 0;
	for (int i = 0; i < ROOTS; i++)
		if (root_edge[i] >= 0 && !node[root_edge[i]].seen) {
			node[root_edge[i]].seen = 1;
			stack[n++] = root_edge[i];
		}
	while (n) {
		struct node *x = &node[stack[--n]];

		check_node(x);
		live += x->bytes;
		for (int e = 0; e < x->edges; e++)
			if (x->edge[e] >= 0 && !node[x->edge[e]].seen) {
				node[x->edge[e]].seen = 1;
				stack[n++] = x->edge[e];
			}
	}
	nr_free = 0;
	for (int i = 0; i < NODES; i++)
		if (!node[i].seen)
			free_node[nr_free++] = i;
	return live;
}

/* At least what is reachable is live; what exceeds it is what stale words keep. */
static void collect(unsigned int flags)
{
	static unsigned int collections;
	unsigned int how = flags;
	struct gca_stats s;
	uint64_t live;

	/* Now and then, another way to do the same. */
	if (!flags && !(++collections % 5))
		how = GCA_COLLECT_SWEEP_STOPPED;
	if (gca_collect(arena, how)) {
		gct_note("# %s", gca_strerror());
		ASSERT_TRUE(false);
	}
	live = shadow_collect();
	if (flags)
		return;
	ASSERT_EQ(gca_stats(arena, &s), 0);
	ASSERT_GE(s.live_bytes, live);
	if (s.void_cycles)
		gct_note("# the last void cycle: reason %" PRIu64, s.last_void_reason);
	ASSERT_EQ(s.void_cycles, 0);
}

static __attribute__((noinline)) void operation(void)
{
	static bool marking;
	uint32_t r = rnd(10000);
	int32_t *to, *from;
	uint64_t *place, *value;

	if (r < 4500 && nr_free) {
		int32_t i = free_node[--nr_free];

		allocate(&node[i]);
		place = random_place(&to);
		gca_store(mut, place, object(&node[i]));
		*to = i;
	} else if (r < 7500) {
		value = random_place(&from);
		place = random_place(&to);
		gca_store(mut, place, (void *)*value);
		*to = *from;
	} else if (r < 8500) {
		place = random_place(&to);
		gca_store(mut, place, NULL);
		*to = -1;
	} else if (r < 9950 && nr_free) {
		place = random_place(&to);
		if (*to >= 0)
			check_node(&node[*to]);
	} else if (r < 9985 || marking) {
		/* A cycle in two parts, with the program between. */
		collect(marking ? GCA_COLLECT_UNTIL_MARKED : GCA_COLLECT_UNTIL_MARKING);
		marking = !marking;
		/* A full cycle that began by itself may have ended it. */
	} else {
		collect(0);
		marking = false;
	}
	if (!nr_free) {
		collect(0);
		marking = false;
		/* All reachable: make room. */
		for (int i = 0; !nr_free && i < ROOTS; i++) {
			gca_store(mut, &root[i], NULL);
			root_edge[i] = -1;
			shadow_collect();
		}
	}
}

static void run(const char *debug, unsigned long ops)
{
	struct gca_options o = { .backend = gct_backend(), .debug = debug, .reserve = 1ULL << 30 };
	const char *s = getenv("GCT_SEED");
	struct gca_stats st;

	seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL) * 2654435761u | 1;
	gct_note("# GCT_SEED=%#llx, %lu operations, debug=%s", (unsigned long long)seed, ops, debug);
	arena = gca_open(&o);
	if (!arena)
		gct_note("# %s", gca_strerror());
	ASSERT_TRUE(arena);
	mut = gca_attach(arena);
	ASSERT_TRUE(mut);
	root = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(gca_root_add(arena, root, ROOTS * 8, 0), 0);
	node = calloc(NODES, sizeof(*node));
	for (int i = 0; i < ROOTS; i++)
		root_edge[i] = -1;
	make_shapes();
	shadow_collect();
	for (unsigned long i = 0; i < ops; i++)
		operation();
	collect(0);

	/* The dead are dead: with no root left nearly nothing is. */
	for (int i = 0; i < ROOTS; i++) {
		gca_store(mut, &root[i], NULL);
		root_edge[i] = -1;
	}
	gct_clean_stack();
	for (int i = 0; i < 2; i++)
		collect(0);
	ASSERT_EQ(gca_stats(arena, &st), 0);
	gct_note("# %" PRIu64 " cycles (%" PRIu64 " forced), %" PRIu64 " MB allocated, %" PRIu64
		 " bytes live at the end, %" PRIu64 " missed, %" PRIu64 " overflows", st.cycles,
		 st.forced_cycles, st.allocated_bytes >> 20, st.live_bytes, st.missed_objects,
		 st.overflows);
	EXPECT_GT(st.allocated_bytes, 0);
	/* What a few stale words can hold: a part of the last graph. */
	EXPECT_LE(st.live_bytes, st.allocated_bytes / 20 + (1 << 20));
	EXPECT_GE(st.freed_bytes + st.live_bytes + (1 << 20), st.allocated_bytes);
	EXPECT_EQ(st.void_cycles, 0);
	EXPECT_EQ(gca_root_remove(arena, root, ROOTS * 8, 0), 0);
	ASSERT_EQ(gca_detach(mut), 0);
	gca_close(arena);
	munmap(root, 4096);
	free(node);
}

static unsigned long ops(void)
{
	const char *s = getenv("GCT_OPS");

	return s ? strtoul(s, NULL, 0) : gct_scale(1000000);
}

TEST(checkmark_and_clobber)
{
	run("checkmark,clobber", ops() * 6 / 10);
}

TEST(fast_paths)
{
	run("checkmark", ops() * 3 / 10);
}

TEST(overflow)
{
	run("checkmark,overflow", ops() / 20);
}

TEST(overflow_miss_and_clobber)
{
	run("checkmark,clobber,overflow,miss", ops() / 20);
}

TEST_HARNESS_MAIN
