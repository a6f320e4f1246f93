// SPDX-License-Identifier: MIT
/*
 * test_cycle.c: what happens around marking: phases entered by halves, the
 * barrier, void cycles, roots and layouts that come and go, hostile words in the
 * mutator area, pacing, and memory that is not there.
 */
#include <pthread.h>
#include <unistd.h>

#include "world.h"

static struct world *small_world(u32 debug)
{
	return world_open(64 * MIB, debug, 1);
}

/* ------------------------------------------------------------------- phases */

static void test_phases(void **state)
{
	struct world *w = small_world(GCARENA_DEBUG_CHECKMARK);
	u64 addr = world_alloc(w, 64, GCARENA_CONSERVATIVE, 0), epoch = w->ctl.epoch;

	w->root[0] = addr + 8;
	world_cycle(w, GCA_UNTIL_MARKING);
	assert_int_equal(w->ctl.phase, GCARENA_PHASE_MARK);
	assert_int_equal(w->ctl.barrier, GCARENA_BARRIER_DELETION);
	assert_int_equal(w->ctl.cycle, 1);
	assert_true(w->ctl.epoch > epoch);
	assert_int_equal(w->a.totals.cycles, 0);
	/* marking already: nothing changes */
	world_cycle(w, GCA_UNTIL_MARKING);
	assert_int_equal(w->ctl.phase, GCARENA_PHASE_MARK);
	assert_int_equal(w->ctl.cycle, 1);
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(w->ctl.phase, GCARENA_PHASE_OFF);
	assert_int_equal(w->ctl.barrier, 0);
	assert_int_equal(w->a.totals.cycles, 1);
	assert_int_equal(w->a.totals.forced, 1);
	assert_true(atomic64_read(&w->a.unswept) > 0);
	/* a full cycle begins after the call: the one under way is finished first */
	world_cycle(w, GCA_UNTIL_MARKING);
	world_collect(w);
	assert_int_equal(w->a.totals.cycles, 3);
	/* not forced: begun by the trigger */
	assert_int_equal(gca_collect(&w->a, GCA_UNTIL_SWEPT, false, WORLD_TIMEOUT), 0);
	assert_int_equal(w->a.totals.cycles, 4);
	assert_int_equal(w->a.totals.forced, 3);
	assert_int_equal(w->a.totals.voided, 0);
	assert_true(w->a.totals.stops >= 5);
	assert_true(world_holds(w, addr));
	world_close(w);
}

/* Two objects, one held by the other alone; while marking the pointer goes. */
static void overwrite(bool with, bool detach, u32 more)
{
	struct world *w = small_world(with ? GCARENA_DEBUG_CHECKMARK : 0);
	u64 a = world_alloc(w, 64, GCARENA_CONSERVATIVE, 0);
	u64 b = world_alloc(w, 64, GCARENA_CONSERVATIVE, 0);
	u64 c = world_alloc(w, 64, GCARENA_CONSERVATIVE, 0), junk, i;

	w->root[0] = a + 8;
	*(u64 *)(a + 16) = b;
	*(u64 *)(b + 24) = c;
	world_cycle(w, GCA_UNTIL_MARKING);
	w->no_barrier = !with;
	world_store(w, a + 16, 0);
	/* more than a ring of records of new objects */
	for (i = 0; i < more; i++) {
		junk = world_alloc(w, 32, GCARENA_NOSCAN, 0);
		world_store(w, (u64)&w->root[1], junk + 8);
	}
	if (detach) {
		world_detach(w);
		world_attach(w);
	}
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_true(world_marked(w, a));
	assert_int_equal(world_marked(w, b), with);
	assert_int_equal(world_marked(w, c), with);
	world_store(w, (u64)&w->root[1], 0);
	world_collect(w);
	assert_true(world_holds(w, a));
	assert_false(world_holds(w, b));
	assert_int_equal(world_held(w), 1);
	world_close(w);
}

static void test_barrier(void **state)
{
	overwrite(true, false, 0);
	overwrite(true, true, 0);
	overwrite(true, false, 2000);
	overwrite(true, true, 2000);
	/* the test has teeth: without the record both are lost */
	overwrite(false, false, 0);
}

static void add_pair(struct world *w)
{
	u64 bits = 0x3;

	world_layout(w, 4, &bits);
}

/* A number of an object that the program can reach now, or 0. */
static u32 pick(struct graph *g)
{
	u32 i, k, id = g->root[world_below(g->w, 64)];

	for (i = world_below(g->w, 6); id && g->node[id].kid && i; i--) {
		k = world_below(g->w, g->node[id].words);
		if (g->node[id].kid[k])
			id = g->node[id].kid[k];
	}
	return id;
}

/* Objects come, move from place to place and go, as a program could do it. */
static void mutate(struct graph *g, u32 steps)
{
	u32 i, from, to, k;

	for (i = 0; i < steps; i++) {
		to = world_below(g->w, 3) ? pick(g) : graph_random_new(g, i % 100 ? 60 : 6000);
		from = pick(g);
		if (from && g->node[from].kid && world_below(g->w, 2)) {
			k = world_below(g->w, g->node[from].words);
			if (world_is_pointer(g->w, g->node[from].kind, g->node[from].layout, k))
				graph_link(g, from, k, to, 0);
		} else {
			graph_root(g, world_below(g->w, 64), to, to ? 8 : 0);
		}
	}
}

/* Whole graphs changed and grown while a cycle is under way, several cycles. */
static void test_allocation_while_marking(void **state)
{
	struct graph g;
	u32 round, cycle;

	for (round = 0; round < 8; round++) {
		struct world *w = small_world(round % 2 ? GCARENA_DEBUG_CHECKMARK : 0);

		w->seed = round;
		print_message("seed %u\n", round);
		add_pair(w);
		graph_init(&g, w);
		for (cycle = 0; cycle < 10; cycle++) {
			mutate(&g, 500);
			world_cycle(w, GCA_UNTIL_MARKING);
			mutate(&g, 1500);
			world_cycle(w, GCA_UNTIL_MARKED);
			graph_check_contents(&g);
			mutate(&g, 300);	/* before it is swept */
			assert_int_equal(gca_sweep_finish(&w->a), 0);
			graph_check_swept(&g, false);
			mutate(&g, 300);
			if (cycle % 3 == 2) {
				world_collect(w);
				graph_check_swept(&g, true);
			}
		}
		world_close(w);
		graph_fini(&g);
	}
}

/* ------------------------------------------------------------- void cycles */

static bool everything(u64 addr)
{
	return true;
}

/*
 * A void cycle of each kind, with objects allocated and dropped in it: nothing
 * is freed, no mark survives, and the next cycle marks exactly what it should,
 * among it what only an object born in the void cycle holds.
 */
static void void_by(enum gcarena_void_reason reason, u32 way)
{
	struct world *w = small_world(GCARENA_DEBUG_CHECKMARK);
	struct graph g;
	u32 i, born, child, cached;
	u64 timeout = WORLD_TIMEOUT;

	graph_init(&g, w);
	for (i = 0; i < 300; i++) {
		graph_root(&g, i % 100, graph_new(&g, GCARENA_CONSERVATIVE, 8, 0), 8);
		graph_random_links(&g, g.n - 1, 2);
	}
	world_collect(w);
	graph_check_swept(&g, true);
	child = graph_new(&g, GCARENA_NOSCAN, 4, 0);
	world_cycle(w, GCA_UNTIL_MARKING);
	born = graph_new(&g, GCARENA_CONSERVATIVE, 8, 0);
	graph_link(&g, born, 1, child, 0);
	graph_root(&g, 101, born, 8);
	if (way % 2) {
		world_detach(w);
		world_attach(w);
	}
	cached = graph_new(&g, GCARENA_CONSERVATIVE, 100, 0);
	graph_root(&g, 102, cached, 8);
	switch (reason) {
	case GCARENA_VOID_RING:
		w->sh->ring_tail += GCARENA_RING_ENTRIES + 1 + way;
		if (way == 2)
			assert_int_equal(gca_settle(&w->m), 0);
		if (way == 3) {
			world_detach(w);
			world_attach(w);
		}
		break;
	case GCARENA_VOID_AGE:
		timeout = 0;
		break;
	case GCARENA_VOID_UNREADABLE:
		world_hooks.miss = everything;
		world_hooks.unreadable = everything;
		world_hooks.judge = -EFAULT;
		break;
	default:
		world_hooks.relax = 1 + way;
	}
	assert_int_equal(gca_collect(&w->a, way < 2 ? GCA_UNTIL_MARKED : GCA_UNTIL_MARKING, true,
				     timeout), 0);
	if (w->a.phase != GCARENA_PHASE_OFF)
		assert_int_equal(gca_collect(&w->a, GCA_UNTIL_MARKED, true, timeout), 0);
	memset(&world_hooks, 0, sizeof(world_hooks));
	assert_int_equal(w->a.void_reason, reason);
	assert_int_equal(w->a.totals.voided, 1);
	assert_int_equal(w->a.totals.last_void, reason);
	assert_int_equal(w->ctl.phase, GCARENA_PHASE_OFF);
	assert_int_equal(w->ctl.barrier, 0);
	assert_int_equal(atomic_read(&w->a.nr_full), 0);
	assert_int_equal(atomic_read(&w->a.nr_missed), 0);
	assert_int_equal(atomic_read(&w->a.markers), 0);
	graph_check_contents(&g);
	for (i = 1; i < g.n; i++)
		if (g.node[i].alive)
			assert_true(world_holds(w, g.node[i].addr));
	/* a span handed back between the void cycle and the next */
	if (way % 2) {
		world_detach(w);
		world_attach(w);
	}
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(w->a.void_reason, 0);
	graph_check_marks(&g);
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	graph_check_swept(&g, true);
	assert_true(world_marks_zero(w));
	world_collect(w);
	graph_check_swept(&g, true);
	assert_true(world_holds(w, g.node[child].addr));
	world_close(w);
	graph_fini(&g);
}

static void test_void(void **state)
{
	u32 way;

	for (way = 0; way < 4; way++) {
		void_by(GCARENA_VOID_RING, way);
		void_by(GCARENA_VOID_AGE, way);
		void_by(GCARENA_VOID_UNREADABLE, way);
		void_by(GCARENA_VOID_KILLED, way);
	}
}

/* Stopped short while spans are under overflow bits: none are left for the next. */
static void test_void_with_overflow(void **state)
{
	u32 relax, i, voided = 0;

	for (relax = 2; relax < 60; relax++) {
		struct world *w = small_world(GCARENA_DEBUG_OVERFLOW);
		struct graph g;

		graph_init(&g, w);
		for (i = 0; i < 3000; i++) {
			assert_true(graph_new(&g, GCARENA_CONSERVATIVE, 64, 0));
			graph_random_links(&g, g.n - 1, 20);
		}
		graph_root(&g, 0, g.n - 1, 8);
		world_hooks.relax = relax;
		world_cycle(w, GCA_UNTIL_MARKED);
		world_hooks.relax = 0;
		voided += w->a.void_reason == GCARENA_VOID_KILLED;
		world_cycle(w, GCA_UNTIL_MARKED);
		assert_int_equal(w->a.void_reason, 0);
		if (w->a.totals.voided)
			graph_check_marks(&g);
		assert_int_equal(atomic_read(&w->a.overflowed), 0);
		world_close(w);
		graph_fini(&g);
	}
	assert_true(voided > 10);
}

/* -------------------------------------------------------------------- roots */

static void test_root_errors(void **state)
{
	static u64 some[64];
	const u64 at = (u64)some;
	struct world *w = small_world(0);
	struct gca_roots *before = w->a.roots;
	const struct gcarena_range good = { at, 64, 0, 0 }, absent = { at + 64, 64, 0, 0 };
	const struct { struct gcarena_range range; int err; } bad[] = {
		{ { at + 4, 64, 0, 0 }, -EINVAL },
		{ { at, 63, 0, 0 }, -EINVAL },
		{ { at, 0, 0, 0 }, -EINVAL },
		{ { at, 64, 2, 0 }, -EINVAL },
		{ { at, 64, U32_MAX, 0 }, -EINVAL },
		{ { at, 64, 0, 1 }, -EINVAL },
		{ { ~0ULL - 63, 128, 0, 0 }, -EINVAL },
		{ { at, ~7ULL, 0, 0 }, -EINVAL },
		{ { 8, GCARENA_ROOT_BYTES_MAX + 8, 0, 0 }, -ENOSPC },
	};
	u64 metadata = w->a.metadata;
	struct gcarena_range two[2], *many;
	u32 i, marking;

	for (marking = 0; marking < 2; marking++) {
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			two[0] = good;
			two[1] = bad[i].range;
			assert_int_equal(gca_roots_update(&w->a, two, 2, NULL, 0), bad[i].err);
		}
		/* the good half of a bad call is not done either */
		assert_int_equal(gca_roots_update(&w->a, &good, 1, &absent, 1), -ENOENT);
		two[0] = good;
		two[0].kind = GCARENA_ROOT_PLAIN;
		assert_int_equal(gca_roots_update(&w->a, NULL, 0, two, 1), -ENOENT);
		assert_ptr_equal(w->a.roots, before);
		assert_int_equal(w->a.metadata, metadata);
		if (!marking) {
			world_cycle(w, GCA_UNTIL_MARKING);
			metadata = w->a.metadata;
		}
	}
	world_cycle(w, GCA_UNTIL_MARKED);
	/* the same range twice is two ranges */
	two[0] = two[1] = good;
	assert_int_equal(gca_roots_update(&w->a, two, 2, NULL, 0), 0);
	assert_int_equal(gca_roots_update(&w->a, NULL, 0, two, 1), 0);
	assert_int_equal(gca_roots_update(&w->a, NULL, 0, two, 2), -ENOENT);
	assert_int_equal(gca_roots_update(&w->a, NULL, 0, two, 1), 0);
	/* together too many, together too large */
	many = test_calloc(GCARENA_ROOTS_MAX, sizeof(*many));
	for (i = 0; i < GCARENA_ROOTS_MAX; i++)
		many[i] = (struct gcarena_range) { 8 + 8ULL * i, 8, 0, 0 };
	before = w->a.roots;
	assert_int_equal(gca_roots_update(&w->a, many, GCARENA_ROOTS_MAX, NULL, 0), -ENOSPC);
	for (i = 0; i < 2; i++)
		many[i] = (struct gcarena_range) { 8, GCARENA_ROOT_BYTES_MAX / 2, 0, 0 };
	assert_int_equal(gca_roots_update(&w->a, many, 2, NULL, 0), -ENOSPC);
	assert_ptr_equal(w->a.roots, before);
	test_free(many);
	world_close(w);
}

/* Many ranges and ranges of many blocks: the words at every edge count. */
static void test_root_blocks(void **state)
{
	enum { WORDS = 3 * GCA_ROOT_BLOCK / 8 + 5, SMALL = 40 };
	struct world *w = small_world(GCARENA_DEBUG_CHECKMARK);
	u64 *big = test_calloc(WORDS, 8), *small = test_calloc(SMALL * 4, 8), addr[64];
	struct gcarena_range r[SMALL + 1];
	static const u32 at[] = { 0, 1, GCA_ROOT_BLOCK / 8 - 1, GCA_ROOT_BLOCK / 8, 511, 512,
				  2 * GCA_ROOT_BLOCK / 8 - 1, 3 * GCA_ROOT_BLOCK / 8, WORDS - 1 };
	u32 i, n = 0;

	for (i = 0; i < SMALL; i++)
		r[i] = (struct gcarena_range) { (u64)(small + 4 * i), 8, i % 2, 0 };
	r[SMALL] = (struct gcarena_range) { (u64)big, WORDS * 8, 0, 0 };
	assert_int_equal(gca_roots_update(&w->a, r, SMALL + 1, NULL, 0), 0);
	for (i = 0; i < ARRAY_SIZE(at); i++, n++)
		big[at[i]] = (addr[n] = world_alloc(w, 4000, GCARENA_NOSCAN, 0)) + 8;
	for (i = 0; i < SMALL; i++, n++) {
		small[4 * i] = (addr[n] = world_alloc(w, 4000, GCARENA_NOSCAN, 0)) + 8;
		/* beside the range: no root */
		small[4 * i + 1] = world_alloc(w, 4000, GCARENA_NOSCAN, 0) + 8;
	}
	world_collect(w);
	for (i = 0; i < n; i++)
		assert_true(world_holds(w, addr[i]));
	assert_int_equal(world_held(w), n);
	assert_int_equal(gca_roots_update(&w->a, NULL, 0, r, SMALL + 1), 0);
	world_collect(w);
	assert_int_equal(world_held(w), 0);
	world_close(w);
	test_free(big);
	test_free(small);
}

/* A range that goes, or comes, while marking is scanned first. */
static void test_roots_while_marking(void **state)
{
	static u64 mine[1000];
	u32 add;

	for (add = 0; add < 2; add++) {
		struct world *w = small_world(0);
		struct gcarena_range r = { (u64)mine, sizeof(mine), 0, 0 };
		u64 held = world_alloc(w, 64, GCARENA_NOSCAN, 0);

		memset(mine, 0, sizeof(mine));
		if (!add)
			assert_int_equal(gca_roots_update(&w->a, &r, 1, NULL, 0), 0);
		world_cycle(w, GCA_UNTIL_MARKING);
		mine[999] = held + 8;	/* not there at the begin stop */
		assert_int_equal(add ? gca_roots_update(&w->a, &r, 1, NULL, 0) :
				       gca_roots_update(&w->a, NULL, 0, &r, 1), 0);
		mine[999] = 0;
		assert_int_equal(w->a.phase, GCARENA_PHASE_MARK);
		world_cycle(w, GCA_UNTIL_MARKED);
		assert_true(world_marked(w, held));
		world_collect(w);
		assert_false(world_holds(w, held));
		world_close(w);
	}
}

static struct world *racing;
static int race_result;

static void *racing_collect(void *arg)
{
	race_result = gca_collect(&racing->a, GCA_UNTIL_MARKED, true, 300000000);
	return NULL;
}

static pthread_t racer;
static bool raced;

/* In the middle of gca_roots_update(), between its operations: the cycle ends. */
static bool race_now(u64 addr)
{
	if (!raced) {
		raced = true;
		pthread_create(&racer, NULL, racing_collect, NULL);
		while (!READ_ONCE(racing->a.gate_closed) && racing->a.phase)
			usleep(100);
	}
	return false;
}

/* An update that is between two operations must not hold up a cycle's end. */
static void test_roots_beside_termination(void **state)
{
	static u64 mine[1000];
	struct gcarena_range r = { (u64)mine, sizeof(mine), 0, 0 };
	struct world *w = small_world(0);

	racing = w;
	raced = false;
	world_cycle(w, GCA_UNTIL_MARKING);
	world_hooks.unreadable = race_now;
	assert_int_equal(gca_roots_update(&w->a, &r, 1, NULL, 0), 0);
	pthread_join(racer, NULL);
	world_hooks.unreadable = NULL;
	assert_int_equal(race_result, 0);
	assert_int_equal(w->a.void_reason, GCARENA_VOID_NONE);
	assert_int_equal(w->a.roots->n, 2);
	world_collect(w);
	world_close(w);
}

/* A stop that is refused changes nothing, however much was prepared for it. */
static void test_refused_stop(void **state)
{
	struct world *w = small_world(0);
	u64 *big = test_calloc(16 * MIB / 8, 8);
	struct gcarena_range r = { (u64)big, 16 * MIB, 0, 0 };
	u64 held = world_alloc(w, 64, GCARENA_NOSCAN, 0);
	u32 i;

	w->root[0] = held + 8;
	world_collect(w);
	for (i = 0; i < 2; i++) {
		/* more jobs than there is memory for: it is made anew */
		if (!i)
			assert_int_equal(gca_roots_update(&w->a, &r, 1, NULL, 0), 0);
		world_hooks.stop_err = -EBUSY;
		assert_int_equal(gca_collect(&w->a, GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT), -EBUSY);
		world_hooks.stop_err = 0;
		assert_int_equal(w->a.phase, GCARENA_PHASE_OFF);
		assert_int_equal(w->a.gate_closed, 0);
		world_detach(w);
		world_attach(w);
	}
	world_collect(w);
	assert_true(world_holds(w, held));
	assert_int_equal(w->a.totals.cycles, 2);
	world_close(w);
	test_free(big);
}

/* ------------------------------------------------------------------ layouts */

static void test_layout_errors(void **state)
{
	struct world *w = small_world(0);
	static u64 bits[GCARENA_LAYOUT_MAX / 8 / 64 + 1];
	u64 addr, beyond = 1ULL << 3;
	u32 id, flags, i;

	assert_int_equal(gca_large(&w->a, 50000, GCARENA_PRECISE, 0, &addr, &flags), -EINVAL);
	assert_int_equal(gca_layout_add(&w->a, 0, bits, &id), -EINVAL);
	assert_int_equal(gca_layout_add(&w->a, 12, bits, &id), -EINVAL);
	assert_int_equal(gca_layout_add(&w->a, GCARENA_LAYOUT_MAX + 8, bits, &id), -EINVAL);
	assert_int_equal(gca_layout_add(&w->a, ~7ULL, bits, &id), -EINVAL);
	assert_int_equal(gca_layout_add(&w->a, 24, &beyond, &id), -EINVAL);
	assert_int_equal(gca_layout_add(&w->a, 32, &beyond, &id), 0);
	assert_int_equal(id, 0);
	assert_int_equal(gca_layout_add(&w->a, GCARENA_LAYOUT_MAX, bits, &id), 0);
	for (i = 2; i < GCARENA_LAYOUTS_MAX; i++) {
		assert_int_equal(gca_layout_add(&w->a, 8, bits, &id), 0);
		assert_int_equal(id, i);
	}
	assert_int_equal(gca_layout_add(&w->a, 8, bits, &id), -ENOSPC);
	assert_int_equal(w->a.layout[0]->bits[0], beyond);
	assert_int_equal(gca_large(&w->a, 50000, GCARENA_PRECISE, i, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->a, 50000, GCARENA_NOSCAN, 1, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->a, 50000, GCARENA_NR_KINDS, 0, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->a, 50000, GCARENA_PRECISE, i - 1, &addr, &flags), 0);
	world_close(w);
}

/* A header that names no layout makes a leaf of its own object. */
static void test_bad_header(void **state)
{
	static const u64 headers[] = { 1, 2, U32_MAX, 1ULL << 32, ~0ULL };
	struct world *w = small_world(GCARENA_DEBUG_CHECKMARK);
	u64 all[2] = { ~0ULL, ~0ULL }, a, b;
	u32 i, miss;

	world_layout(w, 128, all);
	for (miss = 0; miss < 2; miss++)
		for (i = 0; i < ARRAY_SIZE(headers); i++) {
			a = world_alloc(w, 1024, GCARENA_PRECISE, 0);
			b = world_alloc(w, 64, GCARENA_NOSCAN, 0);
			*(u64 *)(a + 16) = b;
			w->root[0] = a + 8;
			world_hooks.miss = miss ? everything : NULL;
			world_collect(w);
			assert_true(world_holds(w, b));
			*(u64 *)(a - 8) = headers[i];
			world_collect(w);
			assert_true(world_holds(w, a));
			assert_false(world_holds(w, b));
			w->root[0] = 0;
		}
	world_close(w);
}

/* --------------------------------------------------------- hostile mutator */

static void test_refill_errors(void **state)
{
	struct world *w = small_world(0);
	u32 sc, count, flags;

	for (sc = 0; sc < 1000; sc++) {
		count = 1;
		if (sc % 4 == 3 || sc >= GCARENA_NR_SPAN_CLASSES)
			assert_int_equal(gca_refill(&w->m, sc, &count, &flags), -EINVAL);
	}
	count = 1;
	assert_int_equal(gca_refill(&w->m, U32_MAX, &count, &flags), -EINVAL);
	count = 0;
	assert_int_equal(gca_refill(&w->m, 0, &count, &flags), -EINVAL);
	count = GCA_REFILL_MAX + 1;
	assert_int_equal(gca_refill(&w->m, 0, &count, &flags), -EINVAL);
	world_close(w);
}

/* The free index goes back, beyond, anywhere: other spans' objects are not touched. */
static void test_hostile_index(void **state)
{
	struct world *w = small_world(GCARENA_DEBUG_CHECKMARK);
	u32 sc = GCARENA_SPAN_CLASS(gca_size_class(64), GCARENA_NOSCAN), i, k;
	struct graph g;

	graph_init(&g, w);
	for (i = 0; i < 400; i++)
		graph_root(&g, i % 200, graph_new(&g, GCARENA_CONSERVATIVE, 16, 0), 8);
	for (k = 0; k < 600; k++) {
		struct gcarena_slot *s;
		u32 good;

		while (!w->sh->current_slot[sc] ||
		       w->sh->slot[w->sh->current_slot[sc]].free_index > 60)
			assert_true(world_alloc_class(w, sc));
		s = &w->sh->slot[w->sh->current_slot[sc]];
		for (i = 0; i < 3; i++)
			assert_true(world_alloc_class(w, sc));
		if (s != &w->sh->slot[w->sh->current_slot[sc]])
			continue;
		assert_int_equal(gca_stats_sync(&w->a), 0);
		good = s->free_index;
		switch (world_below(w, 4)) {
		case 0:
			s->free_index = world_below(w, good);
			break;
		case 1:
			s->free_index = s->nelems + 1 + world_below(w, 100);
			break;
		case 2:
			s->free_index = world_rnd(w);
			break;
		default:
			s->free_index = U32_MAX - world_below(w, 2);
		}
		s->nelems = world_rnd(w);	/* nothing else is read at all */
		s->base = world_rnd(w);
		s->next = world_rnd(w);
		s->elem_size = world_rnd(w);
		memset(s->bits, world_rnd(w), sizeof(s->bits));
		switch (world_below(w, 3)) {
		case 0:
			world_collect(w);
			graph_check_contents(&g);
			break;
		case 1:
			world_cycle(w, GCA_UNTIL_MARKING);
			break;
		}
		/* out of our hands again, with the last good index */
		memset(w->sh->current_slot, world_rnd(w), sizeof(w->sh->current_slot));
		world_detach(w);
		world_attach(w);
		if (w->a.phase)
			world_cycle(w, GCA_UNTIL_MARKED);
		graph_check_contents(&g);
	}
	world_collect(w);
	graph_check_swept(&g, true);
	world_close(w);
	graph_fini(&g);
}

/* More classes than slots: some other class's span is handed back, nothing is lost. */
static void test_eviction(void **state)
{
	struct world *w = small_world(GCARENA_DEBUG_CHECKMARK);
	struct graph g;
	u32 round, c;

	graph_init(&g, w);
	for (round = 0; round < 6; round++) {
		for (c = 0; c < GCARENA_NR_SIZES; c++)
			graph_root(&g, world_below(w, WORLD_ROOTS),
				   graph_new(&g, 2 * (c % 2), gca_class[4 * c].size / 8, 0), 8);
		if (round % 2)
			world_cycle(w, round == 1 ? GCA_UNTIL_MARKING : GCA_UNTIL_MARKED);
		graph_check_contents(&g);
	}
	world_collect(w);
	graph_check_swept(&g, true);
	world_close(w);
	graph_fini(&g);
}

/* Held inside a critical section: the object just below snap is in no register. */
static void test_critical(void **state)
{
	struct world *w = small_world(0);
	u64 a, b;
	u32 on;

	for (on = 0; on < 2; on++) {
		b = world_alloc(w, 64, GCARENA_NOSCAN, 0);
		a = world_alloc(w, 64, GCARENA_CONSERVATIVE, 0);
		*(u64 *)(a + 8) = b;
		w->sh->critical = on;
		world_cycle(w, GCA_UNTIL_MARKED);
		assert_int_equal(world_marked(w, a), on);
		assert_int_equal(world_marked(w, b), on);
		w->sh->critical = 0;
		world_collect(w);
	}
	world_close(w);
}

/* --------------------------------------------------------------- accounting */

static void test_pacing(void **state)
{
	struct world *w = small_world(0);
	u64 live, goal;
	u32 i;

	w->a.heap_min = 4 * MIB;
	gca_pace(&w->a);
	assert_int_equal(w->a.heap_goal, 4 * MIB);
	assert_false(gca_cycle_wanted(&w->a));
	for (i = 0; i < 6; i++)
		w->root[i] = world_alloc(w, MIB, GCARENA_NOSCAN, 0) + 8;
	/* wanted from the fourth on, and said so */
	assert_true(gca_cycle_wanted(&w->a));
	assert_true(w->wants & GCARENA_WANT_COLLECT);
	world_collect(w);
	live = w->a.totals.live;
	assert_int_equal(live, 6 * MIB);
	assert_int_equal(atomic64_read(&w->a.heap_live), live);
	assert_int_equal(w->a.heap_goal, 2 * live);
	assert_int_equal(w->a.heap_trigger, w->a.heap_goal);
	assert_int_equal(w->ctl.heap_goal, w->a.heap_goal);
	assert_int_equal(w->ctl.heap_trigger, w->a.heap_trigger);
	assert_int_equal(w->ctl.heap_live, live);
	w->a.percent = 50;
	gca_pace(&w->a);
	assert_int_equal(w->a.heap_goal, live + live / 2);
	for (i = 0; i < 3; i++) {
		assert_false(gca_cycle_wanted(&w->a));
		world_alloc(w, MIB, GCARENA_NOSCAN, 0);
		assert_int_equal(!!(w->wants & GCARENA_WANT_COLLECT), i == 2);
	}
	/* never by itself */
	w->a.percent = 0;
	gca_pace(&w->a);
	assert_int_equal(w->a.heap_trigger, U64_MAX);
	assert_false(gca_cycle_wanted(&w->a));
	/* after void cycles the trigger moves away, twice as far each time */
	w->a.percent = 100;
	for (i = 1, goal = 0; i < 4; i++) {
		u64 ahead;

		world_hooks.relax = 1;
		world_cycle(w, GCA_UNTIL_MARKED);
		world_hooks.relax = 0;
		ahead = w->a.heap_goal - atomic64_read(&w->a.heap_live);
		assert_int_equal(w->a.void_run, i);
		assert_true(w->a.heap_trigger > atomic64_read(&w->a.heap_live));
		assert_true(ahead >= 65536ULL << i);
		goal = ahead;
	}
	world_collect(w);
	assert_int_equal(w->a.void_run, 0);
	assert_int_equal(w->a.heap_goal, 12 * MIB);
	assert_true(goal);
	world_close(w);
}

/* A span lent before a cycle and handed back in it must not make heap_live negative. */
static void test_live_bytes(void **state)
{
	struct world *w = small_world(0);

	world_alloc(w, 64, GCARENA_NOSCAN, 0);
	world_cycle(w, GCA_UNTIL_MARKING);
	world_detach(w);
	world_attach(w);
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_true(atomic64_read(&w->a.heap_live) >= 0);
	assert_false(gca_cycle_wanted(&w->a));
	world_close(w);
}

/* allocated - freed is what is held, at any time that all is counted. */
static void test_totals(void **state)
{
	struct world *w = small_world(0);
	struct gcarena_stats s = {};
	struct graph g;
	u32 i, k;

	graph_init(&g, w);
	for (k = 0; k < 10; k++) {
		for (i = 0; i < 1000; i++)
			graph_root(&g, world_below(w, WORLD_ROOTS), graph_random_new(&g, 6000), 8);
		world_collect(w);
		graph_check_swept(&g, true);
		assert_int_equal(gca_stats_sync(&w->a), 0);
		gca_stats_read(&w->a, &s);
		assert_int_equal(s.live, g.reached_bytes);
		assert_int_equal(s.allocated - s.freed, g.reached_bytes);
		assert_true(s.heap >= s.live);
		assert_int_equal(s.cycles, k + 1);
	}
	world_close(w);
	graph_fini(&g);
}

/* ------------------------------------------------------- failing allocations */

/* Each step may fail for want of memory, and is then done again with memory. */
static int step_result(int err, u32 *failed)
{
	if (err == -ENOMEM) {
		++*failed;
		gca_test_fail_after = -1;
		return 1;
	}
	assert_int_equal(err, 0);
	return 0;
}

#define STEP(call)						\
	do {							\
		if (step_result(call, &failed))			\
			assert_int_equal(call, 0);		\
	} while (0)

/* Return: did anything fail? */
static bool scenario(u32 after)
{
	static u64 mine[100], bits[2];
	struct gcarena_range r = { (u64)mine, sizeof(mine), 0, 0 };
	struct world *w = world_open(64 * MIB, 0, 1);
	struct gca_arena *a = test_calloc(1, sizeof(*a));
	struct gcarena_control ctl = {};
	u32 failed = 0, i, id, count, flags;
	struct gca_mutator *m = test_calloc(1, sizeof(*m));
	struct gcarena_mutator *sh = test_calloc(1, gca_mutator_bytes(32));
	u64 addr, metadata;

	gca_test_fail_after = after;
	STEP(gca_arena_init(a, 64 * MIB, &ctl, GCARENA_DEBUG_CHECKMARK));
	gca_arena_map(a, (u64)w->heap);
	STEP(gca_mutator_init(m, a, 32, sh));
	STEP(gca_mutator_attach(m));
	for (i = 0; i < 66; i++) {
		STEP(gca_layout_add(a, 1024, bits, &id));
		assert_int_equal(id, i);
	}
	STEP(gca_roots_update(a, &r, 1, NULL, 0));
	count = 1;
	STEP(gca_refill(m, GCARENA_SPAN_CLASS(78, 0), &count, &flags));
	STEP(gca_large(a, 3 * GCA_CHUNK_SIZE, GCARENA_PRECISE, 65, &addr, &flags));
	mine[0] = addr;
	STEP(gca_collect(a, GCA_UNTIL_MARKING, true, WORLD_TIMEOUT));
	STEP(gca_roots_update(a, &r, 1, &r, 1));
	/* a new chunk in the middle of a cycle */
	STEP(gca_large(a, 2 * GCA_CHUNK_SIZE, GCARENA_CONSERVATIVE, 0, &addr, &flags));
	STEP(gca_collect(a, GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT));
	STEP(gca_collect(a, GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT));
	metadata = a->metadata;
	assert_true(metadata > 0);
	assert_int_equal(a->totals.voided, 0);
	assert_int_equal(a->totals.live, ALIGN(3 * GCA_CHUNK_SIZE, GCARENA_PAGE_SIZE));
	gca_test_fail_after = -1;
	assert_int_equal(gca_mutator_detach(m), 0);
	gca_mutator_fini(m);
	gca_arena_fini(a);
	assert_int_equal(a->metadata, 0);
	test_free(a);
	test_free(m);
	test_free(sh);
	mine[0] = 0;
	world_close(w);
	return failed;
}

static void test_failing_allocations(void **state)
{
	u32 n = 0;

	while (scenario(n))
		n++;
	assert_true(n > 80);
	print_message("%u allocations failed in turn\n", n);
}

/* The reservation is full: -ENOSPC, and after a collection it goes on. */
static void test_full(void **state)
{
	struct world *w = small_world(GCARENA_DEBUG_CHECKMARK);
	u64 n = 0, k, want = GCARENA_SPAN_CLASS(gca_size_class(32768), GCARENA_NOSCAN);
	u32 round;

	for (round = 0; round < 3; round++) {
		for (k = 0; world_alloc_class(w, want); k++)
			;
		assert_int_equal(w->err, -ENOSPC);
		assert_true(!round || k == n);
		n = k;
		assert_int_equal(world_alloc(w, 40000, GCARENA_NOSCAN, 0), 0);
		assert_int_equal(w->err, -ENOSPC);
		world_collect(w);
	}
	assert_int_equal(n, 64 * MIB / 32768);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_phases),
		cmocka_unit_test(test_barrier),
		cmocka_unit_test(test_allocation_while_marking),
		cmocka_unit_test(test_void),
		cmocka_unit_test(test_void_with_overflow),
		cmocka_unit_test(test_root_errors),
		cmocka_unit_test(test_root_blocks),
		cmocka_unit_test(test_roots_while_marking),
		cmocka_unit_test(test_roots_beside_termination),
		cmocka_unit_test(test_refused_stop),
		cmocka_unit_test(test_layout_errors),
		cmocka_unit_test(test_bad_header),
		cmocka_unit_test(test_refill_errors),
		cmocka_unit_test(test_hostile_index),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_critical),
		cmocka_unit_test(test_pacing),
		cmocka_unit_test(test_live_bytes),
		cmocka_unit_test(test_totals),
		cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
