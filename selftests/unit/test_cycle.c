// SPDX-License-Identifier: MIT
/*
 * test_cycle.c: what happens around marking: phases entered by halves, the
 * barrier, void cycles, pacing and totals, a heap that is full.
 */
#include "world.h"

static struct world *small_world(u32 debug)
{
	return world_open(64 * MIB, debug, 1);
}

/* ------------------------------------------------------------------- phases */

static s64 unswept_at_start;

static void look_at_start(struct gca_arena *a)
{
	unswept_at_start = atomic64_read(&a->unswept);
}

/* Sweeping before the world runs, and after. */
static void test_sweep_stopped(void **state)
{
	struct world *w = small_world(0);
	struct gca_order o = *ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT);
	u32 i, stopped;

	world_hooks.at_start = look_at_start;
	for (stopped = 0; stopped < 2; stopped++) {
		for (i = 0; i < 3000; i++)
			w->root[i % 7] = world_alloc(w, 16 + i % 5 * 100, GCARENA_NOSCAN, 0) + 8;
		o.sweep_stopped = stopped;
		assert_int_equal(gca_collect(&w->a, &o), 0);
		assert_int_equal(unswept_at_start > 0, !stopped);
		assert_int_equal(atomic64_read(&w->a.unswept), 0);
		assert_int_equal(world_held(w), 7);
	}
	/* Only with a cycle to its end. */
	o.until = GCA_UNTIL_MARKED;
	assert_int_equal(gca_collect(&w->a, &o), 0);
	assert_true(unswept_at_start > 0);
	world_hooks.at_start = NULL;
	world_close(w);
}

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
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, false, WORLD_TIMEOUT)), 0);
	assert_int_equal(w->a.totals.cycles, 4);
	assert_int_equal(w->a.totals.forced, 3);
	assert_int_equal(w->a.totals.voided, 0);
	assert_true(w->a.totals.stop.n >= 5);
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
	assert_int_equal(gca_collect(&w->a, ORDER(way < 2 ? GCA_UNTIL_MARKED : GCA_UNTIL_MARKING, true, timeout)), 0);
	if (w->a.phase != GCARENA_PHASE_OFF)
		assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_MARKED, true, timeout)), 0);
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
	u64 live, goal, roots;
	u32 i;

	w->a.knob.heap_min = 4 * MIB;
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
	roots = sizeof(w->root);
	assert_int_equal(w->a.heap_goal, 2 * live + roots);
	assert_int_equal(w->a.heap_trigger, w->a.heap_goal);
	assert_int_equal(w->ctl.heap_goal, w->a.heap_goal);
	assert_int_equal(w->ctl.heap_trigger, w->a.heap_trigger);
	assert_int_equal(w->ctl.heap_live, live);
	w->a.knob.percent = 50;
	gca_pace(&w->a);
	assert_int_equal(w->a.heap_goal, live + (live + roots) / 2);
	/* 9 MiB and a bit */
	for (i = 0; i < 4; i++) {
		assert_false(gca_cycle_wanted(&w->a));
		world_alloc(w, MIB, GCARENA_NOSCAN, 0);
		assert_int_equal(!!(w->wants & GCARENA_WANT_COLLECT), i == 3);
	}
	/* never by itself */
	w->a.knob.percent = 0;
	gca_pace(&w->a);
	assert_int_equal(w->a.heap_trigger, U64_MAX);
	assert_false(gca_cycle_wanted(&w->a));
	/* after void cycles the trigger moves away, twice as far each time */
	w->a.knob.percent = 100;
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
	assert_int_equal(w->a.heap_goal, 2 * live + roots);
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
		cmocka_unit_test(test_sweep_stopped),
		cmocka_unit_test(test_barrier),
		cmocka_unit_test(test_allocation_while_marking),
		cmocka_unit_test(test_void),
		cmocka_unit_test(test_void_with_overflow),
		cmocka_unit_test(test_critical),
		cmocka_unit_test(test_pacing),
		cmocka_unit_test(test_live_bytes),
		cmocka_unit_test(test_totals),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
