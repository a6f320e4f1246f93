// SPDX-License-Identifier: MIT
/*
 * test_calls.c: what a program may ask, may write into its mutator area, and may
 * not get: errors of roots, layouts and refills, which change nothing; roots that
 * come and go while marking; stops that are refused; hostile words; and metadata
 * allocations that fail, each in turn.
 */
#include <pthread.h>
#include <unistd.h>

#include "world.h"

static struct world *small_world(u32 debug)
{
	return world_open(64 * MIB, debug, 1);
}

static bool everything(u64 addr)
{
	return true;
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
		{ { at, 64, GCARENA_ROOT_STACK + 1, 0 }, -EINVAL },
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

/*
 * A stack is scanned from where its last word says, whole if that is no address in
 * it; and a stack pointer is found to be in it.
 */
static void test_root_stack(void **state)
{
	enum { WORDS = 2 * GCA_ROOT_BLOCK / 8 };
	struct world *w = small_world(GCARENA_DEBUG_CHECKMARK);
	u64 *stack = test_calloc(WORDS, 8), lo = (u64)stack, hi = lo + WORDS * 8, addr[WORDS / 4096];
	struct gcarena_range r = { lo, WORDS * 8, GCARENA_ROOT_STACK, 0 };
	struct { u64 sp; u32 from; } at[] = {
		{ 0, 0 }, { lo, 0 }, { lo - 8, 0 }, { hi, 0 }, { ~0ULL, 0 }, { lo + 8, 1 },
		{ lo + 15, 1 }, { lo + 3 * 4096 * 8, 3 }, { lo + GCA_ROOT_BLOCK, 8 },
		{ lo + GCA_ROOT_BLOCK + 8, 9 }, { hi - 16, 16 }, { hi - 8, 16 },
	};
	u32 i, n;

	assert_int_equal(gca_roots_update(&w->a, &r, 1, NULL, 0), 0);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		for (n = 0; n < ARRAY_SIZE(addr); n++)
			stack[4096 * n] = (addr[n] = world_alloc(w, 64, GCARENA_NOSCAN, 0)) + 8;
		stack[WORDS - 1] = at[i].sp;
		world_hooks.miss_roots = i % 2;
		world_collect(w);
		for (n = 0; n < ARRAY_SIZE(addr); n++)
			assert_int_equal(world_holds(w, addr[n]), n >= at[i].from);
		assert_int_equal(world_held(w), ARRAY_SIZE(addr) - at[i].from);
		memset(stack, 0, WORDS * 8);
		world_collect(w);
		assert_int_equal(world_held(w), 0);
	}
	w->a.cycle_roots = w->a.roots;
	assert_null(gca_roots_stack(&w->a, lo - 1));
	assert_ptr_equal(gca_roots_stack(&w->a, lo), gca_roots_stack(&w->a, hi - 1));
	assert_int_equal(gca_roots_stack(&w->a, lo)->start, lo);
	assert_null(gca_roots_stack(&w->a, hi));
	w->a.cycle_roots = NULL;
	assert_int_equal(gca_roots_update(&w->a, NULL, 0, &r, 1), 0);
	world_close(w);
	test_free(stack);
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
	race_result = gca_collect(&racing->a, ORDER(GCA_UNTIL_MARKED, true, 300000000));
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
		while (!READ_ONCE(racing->a.gate_closed) && READ_ONCE(racing->a.phase))
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
		assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), -EBUSY);
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

static u32 gates;

static void gate_is_closed(struct gca_arena *a)
{
	gates++;
	assert_int_equal(gca_op_try(a), -EBUSY);
}

/* No operation begins in a stop, whichever it is, nor before the world runs again. */
static void test_gate(void **state)
{
	struct world *w = small_world(0);

	gates = 0;
	world_hooks.in_stop = gate_is_closed;
	world_hooks.at_start = gate_is_closed;
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), 0);
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_MARKING, true, WORLD_TIMEOUT)), 0);
	assert_int_equal(gca_op_try(&w->a), 0);
	gca_op_end(&w->a);
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_MARKED, true, WORLD_TIMEOUT)), 0);
	assert_int_equal(gates, 2 * world_hooks.stops);
	assert_true(world_hooks.stops >= 3);
	world_hooks.in_stop = NULL;
	world_hooks.at_start = NULL;
	world_close(w);
}

/*
 * A begin stop that is to be given up soon is one attempt a call; each may take longer than the
 * one before, so that it succeeds in the end.  Meanwhile it can be told that none did.
 */
static void test_stop_soon(void **state)
{
	struct gca_order soon = *ORDER(GCA_UNTIL_SWEPT, false, WORLD_TIMEOUT);
	struct world *w = small_world(0);
	u64 before, postponed = 0;
	u32 i;

	soon.soon = true;
	world_hooks.stop_needs = 30 * w->a.stop_wait;
	for (i = 0; i < 5; i++) {
		assert_int_equal(gca_collect(&w->a, &soon), -ETIMEDOUT);
		assert_int_equal(world_hooks.stops, i + 1);
		before = postponed;
		postponed = gca_stop_postponed(&w->a);
		assert_true(postponed > before);
		assert_false(gca_stop_tell(&w->a));
	}
	/* Not for a second yet; then once. */
	w->a.postponed_since -= 1000000000;
	assert_true(gca_stop_tell(&w->a));
	assert_false(gca_stop_tell(&w->a));
	assert_int_equal(gca_collect(&w->a, &soon), 0);
	assert_int_equal(w->a.totals.cycles, 1);
	assert_int_equal(gca_stop_postponed(&w->a), 0);
	assert_false(gca_stop_tell(&w->a));
	/* And the next time from the beginning. */
	assert_int_equal(gca_collect(&w->a, &soon), -ETIMEDOUT);
	w->a.postponed_since -= 1000000000;
	assert_true(gca_stop_tell(&w->a));
	/* Patiently it is tried until it succeeds. */
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), 0);
	/* What was long ago is another story. */
	assert_int_equal(gca_collect(&w->a, &soon), -ETIMEDOUT);
	w->a.postponed_since -= 20000000000;
	w->a.postponed_last -= 20000000000;
	assert_int_equal(gca_collect(&w->a, &soon), -ETIMEDOUT);
	assert_true(gca_stop_postponed(&w->a) < 10000000000);
	world_hooks.stop_needs = 0;
	world_collect(w);
	world_close(w);
}

/* ------------------------------------------------------------------ layouts */

static void test_layout_errors(void **state)
{
	struct world *w = small_world(0);
	static u64 bits[GCARENA_LAYOUT_MAX / 8 / 64 + 1];
	u64 addr, beyond = 1ULL << 3;
	u32 id, flags, i;

	assert_int_equal(gca_large(&w->m, 50000, GCARENA_PRECISE, 0, &addr, &flags), -EINVAL);
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
	assert_int_equal(gca_large(&w->m, 50000, GCARENA_PRECISE, i, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->m, 50000, GCARENA_NOSCAN, 1, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->m, 50000, GCARENA_NR_KINDS, 0, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->m, 50000, GCARENA_PRECISE, i - 1, &addr, &flags), 0);
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
	u32 sc, count;

	for (sc = 0; sc < 1000; sc++) {
		count = 1;
		if (sc % 4 == 3 || sc >= GCARENA_NR_SPAN_CLASSES)
			assert_int_equal(gca_refill(&w->m, sc, &count), -EINVAL);
	}
	count = 1;
	assert_int_equal(gca_refill(&w->m, U32_MAX, &count), -EINVAL);
	count = 0;
	assert_int_equal(gca_refill(&w->m, 0, &count), -EINVAL);
	count = GCA_REFILL_MAX + 1;
	assert_int_equal(gca_refill(&w->m, 0, &count), -EINVAL);
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
		struct gca_span *span;
		u32 good, index;

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
		index = s->free_index;
		good = index > good && index <= s->nelems ? index : good;
		span = gca_span(&w->a, (s->base - w->a.base) / GCARENA_PAGE_SIZE);
		assert_int_equal(gca_stats_sync(&w->a), 0);
		assert_int_equal(span->free, good);	/* forward and within, or as it was */
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

/* ----------------------------------------------------------------- giving back */

/* What a thread in SERVE is given: nobody else gets it, enough stays, it comes back clean. */
static void test_scavenge(void **state)
{
	struct world *w = small_world(0);
	struct gcarena_run run[64];
	u64 bytes, addr, free;
	u32 n, i, k, flags;

	for (i = 0; i < 60; i++) {
		addr = world_alloc(w, MIB, GCARENA_NOSCAN, 0);
		memset((void *)addr, 1, MIB);
		if (i % 3 == 0)
			w->root[i] = addr + 8;
	}
	w->a.knob.heap_min = 0;
	w->a.knob.percent = 50;
	assert_int_equal(gca_scavenge_take(&w->a, run, 64, true), 0);	/* no cycle yet */
	world_collect(w);
	/*
	 * 20 MiB live, goal 30: stays what 33 MiB need, 27 of the 40 free ones go; one
	 * less if it is the half of a huge page
	 */
	assert_int_equal(gca_scavenge_due(&w->a, true), 0);
	n = gca_scavenge_take(&w->a, run, 64, true);
	for (i = 0, bytes = 0; i < n; i++)
		bytes += run[i].len;
	assert_in_range(bytes, 26 * MIB, 29 * MIB);
	assert_int_equal((u64)w->a.heap.returning << GCARENA_PAGE_SHIFT, bytes);
	assert_int_equal(gca_scavenge_take(&w->a, run + n, 64 - n, true), 0);
	for (i = 0; i < 64 && (addr = world_alloc(w, MIB, GCARENA_NOSCAN, 0)); i++)
		for (k = 0; k < n; k++)
			assert_false(addr < run[k].start + run[k].len && run[k].start < addr + MIB);
	assert_int_equal(w->err, -ENOSPC);
	for (i = 0; i < n; i++)
		memset((void *)run[i].start, 0, run[i].len);
	gca_scavenge_done(&w->a, run, n);
	assert_int_equal(w->a.heap.returning, 0);
	memset(w->root, 0, sizeof(w->root));
	world_collect(w);
	while ((n = gca_scavenge_take(&w->a, run, 64, true))) {
		for (i = 0; i < n; i++) {
			memset((void *)run[i].start, 0, run[i].len);
			bytes += run[i].len;
		}
		gca_scavenge_done(&w->a, run, n);
	}
	free = (u64)w->a.heap.free_dirty << GCARENA_PAGE_SHIFT;
	assert_true(free <= 65536);
	assert_int_equal(w->a.heap.returned << GCARENA_PAGE_SHIFT, bytes);
	/* all the rest is one clean run */
	assert_int_equal(gca_large(&w->m, 64 * MIB - free, GCARENA_NOSCAN, 0, &addr, &flags), 0);
	assert_false(flags & GCARENA_LARGE_NEEDZERO);
	world_close(w);
}

/* Just above what is kept nothing goes; from a batch on all that is too much does. */
static void test_scavenge_batch(void **state)
{
	struct world *w = small_world(0);
	struct gcarena_run run[64];
	u32 i, n, flags, calls = 0, taken = 0;
	u64 addr[64], used, x;

	for (i = 0; i < 64; i++)	/* 128 KiB each, none beside another */
		assert_int_equal(gca_large(&w->m, 32 * GCARENA_PAGE_SIZE, GCARENA_NOSCAN, 0,
					   &addr[i], &flags), 0);
	for (i = 0; i < 64; i += 2)
		w->root[i] = addr[i] + 8;
	w->a.knob.heap_min = 0;
	world_collect(w);
	assert_int_equal(w->a.heap.free_dirty, 32 * 32);
	used = (u64)w->a.heap.inuse << GCARENA_PAGE_SHIFT;
	for (x = 0; x <= 257; x++) {
		w->a.heap_goal = (used + ((1024 - x) << GCARENA_PAGE_SHIFT)) * 10 / 11 + 1;
		assert_int_equal(!gca_scavenge_due(&w->a, true), x == 257);
		assert_int_equal(gca_scavenge_take(&w->a, run, x == 257 ? 3 : 64, true), x == 257 ? 3 : 0);
	}
	/* it has begun: on until there is no more than is to be kept */
	for (n = 3; n; n = gca_scavenge_take(&w->a, run, 3, true), calls++) {
		assert_true(calls < 10);
		for (i = 0; i < n; i++)
			taken += run[i].len >> GCARENA_PAGE_SHIFT;
		gca_scavenge_done(&w->a, run, n);
	}
	assert_in_range(taken, 249, 264);
	assert_true(gca_scavenge_due(&w->a, true));
	/* and the next batch is a whole one again */
	w->a.heap_goal -= 200 << GCARENA_PAGE_SHIFT;
	assert_true(gca_scavenge_due(&w->a, true));
	w->a.heap_goal -= 100 << GCARENA_PAGE_SHIFT;
	assert_int_equal(gca_scavenge_due(&w->a, true), 0);
	assert_int_equal(gca_scavenge_take(&w->a, run, 0, true), 0);
	assert_in_range(gca_scavenge_take(&w->a, run, 64, true), 10, 11);
	world_close(w);
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
	STEP(gca_refill(m, GCARENA_SPAN_CLASS(78, 0), &count));
	STEP(gca_large(m, 3 * GCA_CHUNK_SIZE, GCARENA_PRECISE, 65, &addr, &flags));
	mine[0] = addr;
	STEP(gca_collect(a, ORDER(GCA_UNTIL_MARKING, true, WORLD_TIMEOUT)));
	STEP(gca_roots_update(a, &r, 1, &r, 1));
	/* a new chunk in the middle of a cycle */
	STEP(gca_large(m, 2 * GCA_CHUNK_SIZE, GCARENA_CONSERVATIVE, 0, &addr, &flags));
	STEP(gca_collect(a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)));
	STEP(gca_collect(a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)));
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

/* ------------------------------------------------------------- all mutators in turn */

static int held_mutators;

void gca_port_mutator_get(struct gca_arena *a, struct gca_mutator *m)
{
	__atomic_add_fetch(&held_mutators, 1, __ATOMIC_RELAXED);
}

void gca_port_mutator_put(struct gca_arena *a, struct gca_mutator *m)
{
	__atomic_sub_fetch(&held_mutators, 1, __ATOMIC_RELAXED);
}

#define MANY	6

/* Whoever leaves in between, those that stay are met once, in their order. */
static void test_mutators_in_turn(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	struct gca_mutator *m[MANY + 1] = { &w->m }, *at;
	struct gcarena_mutator *sh[MANY + 1];
	u32 i, gone, met;

	for (gone = 0; gone < 1 << (MANY + 1); gone++) {
		for (i = 1; i <= MANY; i++) {
			m[i] = test_calloc(1, sizeof(*m[i]));
			sh[i] = test_calloc(1, gca_mutator_bytes(GCARENA_SLOTS_MIN));
			assert_int_equal(gca_mutator_init(m[i], &w->a, GCARENA_SLOTS_MIN, sh[i]), 0);
			m[i]->id = i;
			assert_int_equal(gca_mutator_attach(m[i]), 0);
		}
		/* Each that is @gone goes when it, or the one before it if that is its turn, is held. */
		for (at = NULL, met = 0; (at = gca_mutator_next(&w->a, at));) {
			assert_int_equal(held_mutators, 1);
			assert_int_equal(met >> at->id, 0);
			met |= 1U << at->id;
			for (i = at->id; i <= MANY && i <= at->id + 1; i++)
				if (gone >> i & 1)
					assert_int_equal(gca_mutator_detach(m[i]), 0);
			assert_int_equal(gca_stats_sync(&w->a), 0);
		}
		assert_int_equal(held_mutators, 0);
		assert_int_equal(~met & ~gone & ((2U << MANY) - 1), 0);
		/* At the end there is none after it, gone or not. */
		gca_port_mutator_get(&w->a, m[MANY]);
		assert_null(gca_mutator_next(&w->a, m[MANY]));
		for (i = 1; i <= MANY; i++) {
			assert_int_equal(gca_mutator_detach(m[i]), 0);
			gca_mutator_fini(m[i]);
			test_free(m[i]);
			test_free(sh[i]);
		}
		if (gone & 1)
			world_attach(w);
	}
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root_errors),
		cmocka_unit_test(test_root_blocks),
		cmocka_unit_test(test_root_stack),
		cmocka_unit_test(test_roots_while_marking),
		cmocka_unit_test(test_roots_beside_termination),
		cmocka_unit_test(test_refused_stop),
		cmocka_unit_test(test_gate),
		cmocka_unit_test(test_stop_soon),
		cmocka_unit_test(test_layout_errors),
		cmocka_unit_test(test_bad_header),
		cmocka_unit_test(test_refill_errors),
		cmocka_unit_test(test_hostile_index),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_scavenge),
		cmocka_unit_test(test_scavenge_batch),
		cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_mutators_in_turn),
	};

#ifdef GCA_TSAN
	cmocka_set_test_filter("test_root*");	/* the only one with a second thread */
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
