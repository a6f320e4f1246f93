// SPDX-License-Identifier: MIT
/*
 * test_capture.c: stacks that the begin stop leaves for later: captured by the thread,
 * by a worker, by both at once, in the next stop, or not at all because the cycle is
 * void; what leaves with its stack; and all of it at once, on many threads.
 */
#include <pthread.h>

#include "world.h"

#define MUTATORS	12

/**
 * struct actor - one thread, whose stack is what @stack says
 * @m: its mutator
 * @sh: its area
 * @stack: its registers
 * @held: the only word that names its object
 */
struct actor {
	struct gca_mutator m;
	struct gcarena_mutator *sh;
	struct gca_stack stack;
	u64 held;
};

static struct actor actor[MUTATORS];
static u64 object[MUTATORS];
static bool moved[MUTATORS];

/* Whoever has gone on is not where it was. */
bool gca_port_stack_same(struct gca_arena *a, struct gca_mutator *m)
{
	return !m->port || !READ_ONCE(moved[container_of(m, struct actor, m) - actor]);
}

static struct world *open_actors(u32 debug)
{
	struct world *w = world_open(64 * MIB, debug, 3);
	u32 i;

	memset(actor, 0, sizeof(actor));
	memset(moved, 0, sizeof(moved));
	for (i = 0; i < MUTATORS; i++) {
		struct actor *who = &actor[i];

		who->sh = test_calloc(1, gca_mutator_bytes(WORLD_SLOTS));
		assert_int_equal(gca_mutator_init(&who->m, &w->a, WORLD_SLOTS, who->sh), 0);
		who->m.port = &who->stack;
		who->stack.regs = &who->held;
		who->stack.nr_regs = 1;
		assert_int_equal(gca_mutator_attach(&who->m), 0);
	}
	return w;
}

static void close_actors(struct world *w)
{
	u32 i;

	for (i = 0; i < MUTATORS; i++) {
		gca_mutator_detach(&actor[i].m);
		gca_mutator_fini(&actor[i].m);
		test_free(actor[i].sh);
	}
	world_close(w);
}

static void take(struct world *w)
{
	u32 i;

	for (i = 0; i < MUTATORS; i++) {
		object[i] = world_alloc(w, 4000, GCARENA_NOSCAN, 0);
		actor[i].held = object[i] + 8;
		moved[i] = false;
	}
}

static struct gca_order order(enum gca_until until, bool lent)
{
	return (struct gca_order){ .until = until, .lent = lent, .lazy = true,
				   .timeout_ns = WORLD_TIMEOUT };
}

static void run(struct world *w, enum gca_until until, bool lent)
{
	struct gca_order o = order(until, lent);

	assert_int_equal(gca_cycle_run(&w->a, &o), 0);
}

static u32 marked(struct world *w)
{
	u32 i, n = 0;

	for (i = 0; i < MUTATORS; i++)
		n += world_marked(w, object[i]);
	return n;
}

/* Each way to be captured, and each after another. */
static void test_ways(void **state)
{
	struct world *w = open_actors(GCARENA_DEBUG_CHECKMARK);
	u64 scans = 0;
	u32 i;

	/* Lent: nobody does it but the threads; the next stop has the rest. */
	take(w);
	run(w, GCA_UNTIL_MARKING, true);
	assert_int_equal(marked(w), 0);
	for (i = 0; i < MUTATORS / 2; i++) {
		assert_true(actor[i].m.owes);
		gca_roots_self(&actor[i].m);
		assert_true(world_marked(w, object[i]));
		actor[i].held = 0;
		gca_roots_self(&actor[i].m);
	}
	scans += MUTATORS / 2;
	assert_int_equal(atomic64_read(&w->a.totals.self_scans), scans);
	assert_int_equal(marked(w), MUTATORS / 2);
	run(w, GCA_UNTIL_SWEPT, true);
	for (i = 0; i < MUTATORS; i++)
		assert_true(world_holds(w, object[i]));
	/* Too late: there is nothing to do, and none of its jobs any more. */
	for (i = 0; i < MUTATORS; i++) {
		actor[i].held = 0;
		gca_roots_self(&actor[i].m);
		assert_int_equal(actor[i].m.owes, 0);
	}
	assert_int_equal(atomic64_read(&w->a.totals.self_scans), scans);

	/* By workers, of whose scans those count that found their thread in its place. */
	take(w);
	moved[3] = true;
	run(w, GCA_UNTIL_MARKING, false);
	assert_int_equal(atomic_read(&w->a.jobs_missed), 0);
	for (i = 0; i < MUTATORS; i++)
		gca_roots_self(&actor[i].m);
	assert_int_equal(atomic64_read(&w->a.totals.self_scans), ++scans);
	assert_int_equal(marked(w), MUTATORS);
	run(w, GCA_UNTIL_SWEPT, false);
	assert_int_equal(world_held(w), MUTATORS);

	/* Moved while held: not before the next stop. */
	take(w);
	moved[5] = true;
	run(w, GCA_UNTIL_MARKING, false);
	moved[5] = false;
	actor[5].held = object[5];
	run(w, GCA_UNTIL_SWEPT, false);
	for (i = 0; i < MUTATORS; i++)
		assert_true(world_holds(w, object[i]));
	assert_int_equal(world_held(w), MUTATORS);
	close_actors(w);
}

/* Stacks that nobody has told of are counted, and those of them that are longer than is looked at. */
static void test_unknown(void **state)
{
	struct world *w = open_actors(GCARENA_DEBUG_CHECKMARK);
	static u64 far[4];
	struct gca_stack *st[2] = { &actor[0].stack, &actor[1].stack };
	struct gcarena_stats s;
	u32 i;

	for (i = 0; i < 2; i++) {
		gca_stack_add_unknown(st[i], (u64)&far[2 * i], (u64)&far[2 * i + 2], 16 - 8 * i);
		assert_int_equal(st[i]->nr_areas, 1);
		assert_int_equal(st[i]->area[0].hi, (u64)&far[2 * i + 2 - i]);
		assert_true(st[i]->unknown);
		assert_int_equal(st[i]->cut, i);
	}
	take(w);
	/* The first word of each is in what is looked at. */
	for (i = 0; i < 2; i++) {
		far[2 * i] = actor[i].held;
		actor[i].held = 0;
	}
	run(w, GCA_UNTIL_SWEPT, false);
	assert_int_equal(world_held(w), MUTATORS);
	gca_stats_read(&w->a, &s);
	assert_int_equal(s.unknown_stacks, 2);
	assert_int_equal(s.cut_stacks, 1);
	close_actors(w);
}

/* A void cycle owes nothing, and its debts are none of the next one's. */
static void test_void(void **state)
{
	struct world *w = open_actors(0);
	u32 i;

	take(w);
	run(w, GCA_UNTIL_MARKING, true);
	gca_cycle_abandon(&w->a, GCARENA_VOID_AGE, true);
	gca_roots_self(&actor[0].m);
	assert_int_equal(marked(w), 0);
	assert_int_equal(atomic64_read(&w->a.totals.self_scans), 0);
	run(w, GCA_UNTIL_MARKING, true);
	for (i = 0; i < MUTATORS; i++)
		gca_roots_self(&actor[i].m);
	assert_int_equal(atomic64_read(&w->a.totals.self_scans), MUTATORS);
	assert_int_equal(marked(w), MUTATORS);
	run(w, GCA_UNTIL_SWEPT, true);
	assert_int_equal(world_held(w), MUTATORS);
	/* One detaches, captured before; one is gone without. */
	take(w);
	run(w, GCA_UNTIL_MARKING, true);
	gca_roots_self(&actor[0].m);
	assert_int_equal(gca_mutator_detach(&actor[0].m), 0);
	assert_int_equal(gca_mutator_detach(&actor[1].m), 0);
	run(w, GCA_UNTIL_SWEPT, true);
	assert_true(world_holds(w, object[0]));
	assert_false(world_holds(w, object[1]));
	assert_int_equal(world_held(w), MUTATORS - 1);
	close_actors(w);
}

static pthread_barrier_t start;

/* A thread: captures its stack, and from then on it is its own again. */
static void *goes_on(void *arg)
{
	struct actor *who = arg;

	pthread_barrier_wait(&start);
	gca_roots_self(&who->m);
	WRITE_ONCE(moved[who - actor], true);
	return NULL;
}

static void *works(void *arg)
{
	struct gca_arena *a = arg;

	pthread_barrier_wait(&start);
	while (gca_work_slice(a, GCA_MARK_DEDICATED, 1000000))
		;
	return NULL;
}

/* Threads and workers race for the stacks: each is done, and counted, once. */
static void test_race(void **state)
{
	enum { WORKERS = 2, ROUNDS = 150 };
	pthread_t thread[MUTATORS + WORKERS];
	struct world *w = open_actors(0);
	u32 round, i;

	for (round = 0; round < ROUNDS; round++) {
		u32 runs = round % (MUTATORS + 1);	/* the others stay where they are */

		take(w);
		run(w, GCA_UNTIL_MARKING, true);
		WRITE_ONCE(w->a.work, GCA_WORK_ROOTS);
		pthread_barrier_init(&start, NULL, runs + WORKERS);
		for (i = 0; i < runs; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, goes_on, &actor[i]), 0);
		for (; i < runs + WORKERS; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, works, &w->a), 0);
		for (i = 0; i < runs + WORKERS; i++)
			pthread_join(thread[i], NULL);
		pthread_barrier_destroy(&start);
		WRITE_ONCE(w->a.work, GCA_WORK_NONE);
		assert_int_equal(atomic_read(&w->a.jobs_missed), 0);
		assert_in_range(atomic_read(&w->a.jobs_done), w->a.nr_range_jobs + runs,
				w->a.nr_jobs);
		for (i = 0; i < runs; i++)
			assert_true(world_marked(w, object[i]));
		run(w, GCA_UNTIL_SWEPT, true);
		assert_int_equal(world_held(w), MUTATORS);
		for (i = 0; i < MUTATORS; i++)
			assert_true(world_holds(w, object[i]));
	}
	assert_true(atomic64_read(&w->a.totals.self_scans) > 0);
	close_actors(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_void),
		cmocka_unit_test(test_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
