// SPDX-License-Identifier: GPL-2.0-only
/*
 * threads_shadow.c: many random programs and their doubles in one arena.
 *
 * Each thread has a graph and its shadow, as in shadow.c: the shadow is in malloc()
 * memory and inverted, and says what each word read from the heap must be.  The
 * threads also give each other small trees through mailboxes, so that objects
 * change hands between threads that are stopped, refill and detach at any moment.
 * The main thread collects all the time, now and then in two halves; any thread
 * may ask for a cycle, too.  A second marker checks each cycle (checkmark), and
 * what is freed is overwritten (clobber).
 *
 * GCT_SEED repeats a run as far as the scheduler lets it.
 */
#include "threads.h"

#define GCT_SUITE "threads_shadow" GCT_SUFFIX

#define NODES		400
#define EDGES		4
#define ROOTS		12
#define MAILBOXES	16
#define THREADS_MAX	32

struct node {
	uint64_t addr, serial;
	uint32_t bytes;
	uint8_t edges, seen;
	int32_t edge[EDGES];
};

/* A thread's program.  None of this is a root but @root, a barriered range. */
struct program {
	struct gca_mutator *m;
	uint64_t seed, serial, number;
	uint64_t *root;
	int32_t root_edge[ROOTS];
	struct node node[NODES];
	int32_t free_node[NODES];
	int nr_free;
	unsigned long ops, given, taken;
	pthread_t thread;
};

/* What is in a mailbox: a tree of three, the middle one noscan. */
struct tree {
	struct tree *left, *right;
	uint64_t serial;
};

struct mail {
	pthread_mutex_t lock;
	uint64_t serial;
};

static struct gca_arena *arena;
static const struct gca_layout *precise[EDGES + 1], *tree_layout;
static uint64_t *mailbox;		/* a barriered range */
static struct mail mail[MAILBOXES];
static int running;

static uint32_t rnd(struct program *p, uint32_t n)
{
	return (uint32_t)(gct_random(&p->seed) >> 33) % n;
}

static uint64_t *object(const struct node *n)
{
	return (uint64_t *)~n->addr;
}

/* Word 0 and the last are canaries; edges follow the first. */
static void check_node(struct program *p, const struct node *n)
{
	uint64_t *o = object(n);

	ASSERT_EQ(o[0], n->serial ^ MAGIC);
	ASSERT_EQ(o[n->bytes / 8 - 1], ~n->serial);
	for (int e = 0; e < n->edges; e++)
		ASSERT_EQ(o[1 + e], n->edge[e] < 0 ? 0 : ~p->node[n->edge[e]].addr);
}

static void allocate(struct program *p, struct node *n)
{
	uint32_t r = rnd(p, 100);
	uint64_t *o;

	memset(n, 0xff, sizeof(*n));
	n->seen = 0;
	n->edges = (uint8_t)(1 + rnd(p, EDGES));
	if (r < 60) {
		n->bytes = 16 + 8U * n->edges;
		o = gca_alloc(p->m, precise[n->edges]);
	} else {
		n->bytes = 16 + 8 * (n->edges + (r < 90 ? rnd(p, 40) : r < 99 ? rnd(p, 800) :
						 rnd(p, 6000)));
		o = gca_alloc_conservative(p->m, n->bytes);
	}
	if (!o)
		gct_note("# %u bytes: %s", n->bytes, gca_strerror());
	ASSERT_TRUE(o);
	for (uint32_t i = 0; i < n->bytes / 8; i++)
		ASSERT_EQ(o[i], 0);
	n->serial = p->number << 32 | ++p->serial;
	n->addr = ~(uint64_t)(uintptr_t)o;
	o[0] = n->serial ^ MAGIC;
	o[n->bytes / 8 - 1] = ~n->serial;
}

static uint64_t *random_place(struct program *p, int32_t **edge)
{
	uint32_t r = rnd(p, ROOTS), steps = rnd(p, 8), e;
	uint64_t *place = &p->root[r];

	*edge = &p->root_edge[r];
	while (steps-- && **edge >= 0) {
		struct node *n = &p->node[**edge];

		ASSERT_EQ(*place, ~n->addr);
		ASSERT_EQ(object(n)[0], n->serial ^ MAGIC);
		e = rnd(p, n->edges);
		place = &object(n)[1 + e];
		*edge = &n->edge[e];
	}
	return place;
}

static void shadow_collect(struct program *p)
{
	int32_t stack[NODES + 1];
	int n = 0;

	for (int i = 0; i < NODES; i++)
		p->node[i].seen = 0;
	for (int i = 0; i < ROOTS; i++)
		if (p->root_edge[i] >= 0 && !p->node[p->root_edge[i]].seen) {
			p->node[p->root_edge[i]].seen = 1;
			stack[n++] = p->root_edge[i];
		}
	while (n) {
		struct node *x = &p->node[stack[--n]];

		check_node(p, x);
		for (int e = 0; e < x->edges; e++)
			if (x->edge[e] >= 0 && !p->node[x->edge[e]].seen) {
				p->node[x->edge[e]].seen = 1;
				stack[n++] = x->edge[e];
			}
	}
	p->nr_free = 0;
	for (int i = 0; i < NODES; i++)
		if (!p->node[i].seen)
			p->free_node[p->nr_free++] = i;
}

static void drop(struct program *p, uint64_t *place, int32_t *edge)
{
	gca_store(p->m, place, NULL);
	*edge = -1;
}

/* Put a tree into a mailbox, or take the one that is there and look at it. */
static void post(struct program *p)
{
	uint32_t i = rnd(p, MAILBOXES);
	struct tree *t;

	pthread_mutex_lock(&mail[i].lock);
	t = (struct tree *)mailbox[i];
	if (t) {
		uint64_t s = mail[i].serial;

		ASSERT_EQ(t->serial, s ^ MAGIC);
		ASSERT_EQ(t->left->serial, (s + 1) ^ MAGIC);
		ASSERT_TRUE(!t->left->left);
		ASSERT_EQ(*(uint64_t *)t->right, (s + 2) ^ MAGIC);
		gca_store(p->m, &mailbox[i], NULL);
		p->taken++;
	} else {
		mail[i].serial = p->number << 32 | (p->serial += 3);
		t = gca_alloc(p->m, tree_layout);
		ASSERT_TRUE(t);
		t->serial = mail[i].serial ^ MAGIC;
		/* Published first, completed later: another thread cannot see it yet. */
		gca_store(p->m, &mailbox[i], t);
		t = gca_alloc(p->m, tree_layout);
		ASSERT_TRUE(t);
		t->serial = (mail[i].serial + 1) ^ MAGIC;
		gca_store(p->m, &((struct tree *)mailbox[i])->left, t);
		t = gca_alloc_noscan(p->m, 200);
		ASSERT_TRUE(t);
		*(uint64_t *)t = (mail[i].serial + 2) ^ MAGIC;
		gca_store(p->m, &((struct tree *)mailbox[i])->right, t);
		p->given++;
	}
	pthread_mutex_unlock(&mail[i].lock);
}

/* In one of the ways there are. */
static void overwrite(struct program *p, uint64_t *place, void *value)
{
	void *old = (void *)*place;

	switch (rnd(p, 4)) {
	case 0:
		ASSERT_EQ(gca_cas(p->m, place, old, value), 1);
		break;
	case 1:
		ASSERT_TRUE(gca_exchange(p->m, place, value) == old);
		break;
	default:
		gca_store(p->m, place, value);
	}
}

/* Move a node's edges by one, up or down, or take them all. */
static void shift(struct program *p, struct node *n)
{
	uint64_t *edge = object(n) + 1;

	if (rnd(p, 3) == 0) {
		gca_clear_range(p->m, edge, n->edges);
		for (int e = 0; e < n->edges; e++)
			n->edge[e] = -1;
	} else if (rnd(p, 2)) {
		gca_store_range(p->m, edge + 1, edge, n->edges - 1U);
		memmove(&n->edge[1], &n->edge[0], (n->edges - 1U) * sizeof(n->edge[0]));
	} else {
		gca_store_range(p->m, edge, edge + 1, n->edges - 1U);
		memmove(&n->edge[0], &n->edge[1], (n->edges - 1U) * sizeof(n->edge[0]));
	}
}

static __attribute__((noinline)) void operation(struct program *p)
{
	uint32_t r = rnd(p, 100000);
	int32_t *to, *from;
	uint64_t *place, *value;

	if (r < 40000 && p->nr_free) {
		int32_t i = p->free_node[--p->nr_free];

		allocate(p, &p->node[i]);
		place = random_place(p, &to);
		gca_store(p->m, place, object(&p->node[i]));
		*to = i;
	} else if (r < 65000) {
		value = random_place(p, &from);
		place = random_place(p, &to);
		overwrite(p, place, (void *)*value);
		*to = *from;
	} else if (r < 70000) {
		random_place(p, &to);
		if (*to >= 0)
			shift(p, &p->node[*to]);
	} else if (r < 75000) {
		place = random_place(p, &to);
		drop(p, place, to);
	} else if (r < 85000) {
		post(p);
	} else if (r < 99500) {
		random_place(p, &to);
		if (*to >= 0)
			check_node(p, &p->node[*to]);
	} else if (r < 99900) {
		gct_sleep_ms(1);
	} else if (r < 99980) {
		/* Leave with everything, and come back. */
		ASSERT_EQ(gca_detach(p->m), 0);
		p->m = attach(arena);
	} else {
		collect(arena, r < 99985 ? GCA_COLLECT_ASYNC : 0);
	}
	if (!p->nr_free) {
		shadow_collect(p);
		for (int i = 0; !p->nr_free && i < ROOTS; i++) {
			drop(p, &p->root[i], &p->root_edge[i]);
			shadow_collect(p);
		}
	}
}

static void *program(void *arg)
{
	struct program *p = arg;

	p->m = attach(arena);
	for (int i = 0; i < ROOTS; i++)
		p->root_edge[i] = -1;
	shadow_collect(p);
	for (unsigned long i = 0; i < p->ops; i++)
		operation(p);
	shadow_collect(p);
	for (int i = 0; i < ROOTS; i++)
		drop(p, &p->root[i], &p->root_edge[i]);
	gct_clean_stack();
	if (p->number % 2)
		ASSERT_EQ(gca_detach(p->m), 0);
	__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void run(enum gca_stop stop, unsigned int nr, const char *debug, unsigned long ops)
{
	const char *s = getenv("GCT_SEED");
	uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL) * 2654435761u | 1;
	uint64_t bits[1] = { 0 };
	struct program *p[THREADS_MAX];
	unsigned long given = 0, taken = 0, halves = 0;
	struct gca_mutator *m;
	struct gca_stats st;
	uint64_t *roots;

	/* The insertion half changes nothing that can be seen here. */
	uint32_t flags = seed & 2 ? GCA_INSERTION : 0;

	gct_note("# GCT_SEED=%#llx, %u threads, %lu operations each, debug=%s%s",
		 (unsigned long long)seed, nr, ops, debug, flags ? ", insertion" : "");
	arena = open_engine(stop, debug, flags);
	for (unsigned int e = 1; e <= EDGES; e++) {
		bits[0] |= 1ULL << e;
		precise[e] = gca_layout(arena, 16 + 8 * e, bits);
		ASSERT_TRUE(precise[e]);
	}
	tree_layout = gca_layout_of(arena, struct tree, left, right);
	roots = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mailbox = roots + THREADS_MAX * ROOTS;
	ASSERT_EQ(gca_root_add(arena, roots, (THREADS_MAX * ROOTS + MAILBOXES) * 8, 0), 0);
	for (int i = 0; i < MAILBOXES; i++)
		pthread_mutex_init(&mail[i].lock, NULL);
	running = (int)nr;
	for (unsigned int i = 0; i < nr; i++) {
		p[i] = calloc(1, sizeof(*p[i]));
		p[i]->number = i + 1;
		p[i]->seed = seed + i * 0x9e3779b97f4a7c15ULL;
		p[i]->ops = ops;
		p[i]->root = roots + i * ROOTS;
		ASSERT_EQ(pthread_create(&p[i]->thread, NULL, program, p[i]), 0);
	}
	for (unsigned long n = 0; __atomic_load_n(&running, __ATOMIC_SEQ_CST); n++) {
		if (n % 4 == 3) {
			collect(arena, GCA_COLLECT_UNTIL_MARKING);
			gct_sleep_ms(1);
			collect(arena, GCA_COLLECT_UNTIL_MARKED);
			halves++;
		} else {
			collect(arena, 0);
		}
		gct_sleep_ms(2);
	}
	for (unsigned int i = 0; i < nr; i++) {
		pthread_join(p[i]->thread, NULL);
		given += p[i]->given;
		taken += p[i]->taken;
		free(p[i]);
	}
	gct_note("# %lu trees given, %lu taken, %lu cycles in two parts", given, taken, halves);
	EXPECT_GT(taken, 0);

	/* The dead are dead: with no root left nearly nothing is. */
	m = attach(arena);
	for (int i = 0; i < MAILBOXES; i++)
		gca_store(m, &mailbox[i], NULL);
	gct_clean_stack();
	for (int i = 0; i < 3; i++)
		collect(arena, 0);
	report(arena);
	ASSERT_EQ(gca_stats(arena, &st), 0);
	EXPECT_LE(st.live_bytes, 1 << 20);
	EXPECT_GE(st.freed_bytes + st.live_bytes + (1 << 20), st.allocated_bytes);
	EXPECT_EQ(st.threads, 1);
	gca_close(arena);
}

TEST_ENGINES(eight)
{
	run(stop, 8, "checkmark,clobber", gct_scale(40000));
}

TEST_ENGINES(eight_fast_paths)
{
	run(stop, 8, "checkmark", gct_scale(40000));
}

TEST_ENGINES(thirty_two)
{
	run(stop, 32, "checkmark,clobber", gct_scale(10000));
}

TEST_ENGINES(overflow_and_miss)
{
	run(stop, 4, "checkmark,clobber,overflow,miss", gct_scale(8000));
}

TEST_HARNESS_MAIN
