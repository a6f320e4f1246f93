// SPDX-License-Identifier: MIT
/*
 * test_parallel.c: one to eight threads mark one heap.
 *
 * What they mark together must be exactly what is reachable, with buffers that
 * run out and reads that miss, too; and TSan must have nothing to say.
 */
#include <pthread.h>
#include <unistd.h>

#include "world.h"

#ifdef GCA_TSAN
#define SCALE	4
#else
#define SCALE	1
#endif

static const u32 debug_modes[] = {
	0, GCARENA_DEBUG_OVERFLOW, GCARENA_DEBUG_MISS,
};

struct team {
	struct gca_arena *a;
	int size;
	atomic_t idle, ran;
	pthread_barrier_t start;
};

static bool work_visible(struct gca_arena *a)
{
	return atomic_read(&a->nr_full) || atomic_read(&a->overflowed) ||
	       atomic_read(&a->nr_missed);
}

/*
 * A marker: idle ones are counted after they have published all, and are
 * counted out before they take anything; so when all are idle and no work is
 * visible, there is none.
 */
static void *marker(void *arg)
{
	struct team *t = arg;
	struct gca_worker w;

	pthread_barrier_wait(&t->start);
	for (;;) {
		gca_worker_init(&w, t->a, false, 0);
		gca_roots_mark(&w);
		gca_drain(&w);
		if (w.objects)
			atomic_inc(&t->ran);
		gca_worker_fini(&w);
		if (gca_missed_pending(t->a))
			gca_missed_scan(t->a, 1);
		atomic_inc_return(&t->idle);
		while (!work_visible(t->a)) {
			if (atomic_read_acquire(&t->idle) == t->size && !work_visible(t->a))
				return NULL;
			usleep(10);
		}
		atomic_dec(&t->idle);
	}
}

/* Phase mark and root jobs as the begin stop leaves them, with nothing scanned. */
static void begin_marking(struct world *w)
{
	struct gca_worker worker;

	assert_int_equal(gca_sweep_finish(&w->a), 0);
	assert_int_equal(gca_roots_prepare(&w->a), 0);
	assert_int_equal(gca_roots_begin(&w->a), 0);
	w->a.live_at_begin = atomic64_read(&w->a.heap_live);
	atomic64_set(&w->a.cycle_marked, 0);
	w->a.deadline = U64_MAX;
	w->a.phase = GCARENA_PHASE_MARK;
	gca_worker_init(&worker, &w->a, true, 0);
	gca_mutator_snapshot(&worker, &w->m);
	gca_worker_fini(&worker);
}

static void team_mark(struct world *w, int size)
{
	struct team t = { .a = &w->a, .size = size };
	pthread_t thread[8];
	int i;

	begin_marking(w);
	pthread_barrier_init(&t.start, NULL, size);
	for (i = 0; i < size; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, marker, &t), 0);
	for (i = 0; i < size; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&t.start);
	assert_int_equal(atomic_read(&w->a.markers), 0);
	assert_int_equal(atomic_read(&w->a.nr_full), 0);
	assert_int_equal(atomic_read(&w->a.nr_missed), 0);
	assert_int_equal(atomic_read(&w->a.overflowed), 0);
	assert_int_equal(atomic_read(&w->a.jobs_done), w->a.nr_jobs);
}

static void test_threads(void **state)
{
	static const int sizes[] = { 1, 2, 3, 4, 8 };
	struct graph g;
	u32 i, mode;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		for (mode = 0; mode < 3; mode++) {
			graph_open(&g, debug_modes[mode], 31 + i);
			graph_random(&g, 6000 / SCALE, 200, 2, 30);
			graph_random(&g, 60, 60000, 30, 4);
			graph_hold(&g, 0, graph_tree(&g, 13 - SCALE / 2, GCARENA_PRECISE));
			graph_hold(&g, 1, graph_tree(&g, 13 - SCALE / 2, GCARENA_CONSERVATIVE));
			team_mark(g.w, sizes[i]);
			graph_check_marks(&g);
			/* and termination by the cycle itself finds nothing more */
			world_cycle(g.w, GCA_UNTIL_MARKED);
			graph_check_marks(&g);
			assert_int_equal(gca_sweep_finish(&g.w->a), 0);
			graph_check_swept(&g, true);
			graph_close(&g);
		}
}

/* Many short races for the same few objects and buffers. */
static void test_threads_contention(void **state)
{
	struct graph g;
	u32 round, i, hub, leaf;

	graph_open(&g, 0, 5);
	for (i = 0, leaf = g.n; i < 64; i++)
		graph_must(graph_new(&g, GCARENA_CONSERVATIVE, 8, 0));
	for (i = 0, hub = g.n; i < 64; i++)
		graph_must(graph_new(&g, GCARENA_CONSERVATIVE, 128, 0));
	for (i = 0; i < 64 * 128; i++)
		graph_link(&g, hub + i / 128, i % 128, i % 2 ? leaf + (i / 2) % 64 : hub + i % 64, 0);
	for (i = 0; i < WORLD_ROOTS; i++)
		graph_hold(&g, i, hub + i % 64);
	for (round = 0; round < 100 / SCALE; round++) {
		team_mark(g.w, 4);
		graph_check_marks(&g);
		world_cycle(g.w, GCA_UNTIL_MARKED);
		assert_int_equal(gca_sweep_finish(&g.w->a), 0);
	}
	graph_close(&g);
}

/*
 * Every mark bit of a span set by one of two threads, each by one pointer only: a
 * bit that a race takes away is never set again.
 */
static void test_threads_same_word(void **state)
{
	u32 n = 60000 / SCALE, i, round, array[2], id;
	struct graph g;

	graph_open(&g, 0, 6);
	for (i = 0; i < 2; i++) {
		array[i] = graph_new(&g, GCARENA_CONSERVATIVE, n / 2, 0);
		graph_must(array[i]);
		graph_hold(&g, i, array[i]);
	}
	for (i = 0; i < n; i++) {
		id = graph_new(&g, GCARENA_NOSCAN, 2, 0);
		graph_must(id);
		graph_link(&g, array[i % 2], i / 2, id, 0);
	}
	for (round = 0; round < 40 / SCALE; round++) {
		team_mark(g.w, 2);
		graph_check_marks(&g);
		world_cycle(g.w, GCA_UNTIL_MARKED);
		assert_int_equal(gca_sweep_finish(&g.w->a), 0);
	}
	graph_close(&g);
}

/* A marker that is told to give up leaves all its work to the next. */
static void test_gives_up(void **state)
{
	struct gca_worker worker;
	u32 round, turns;
	struct graph g;

	for (round = 0; round < 12; round++) {
		graph_open(&g, debug_modes[round % 2], round);
		graph_random(&g, 3000, 100, 3, 30);
		graph_hold(&g, 0, graph_tree(&g, 11, GCARENA_CONSERVATIVE));
		begin_marking(g.w);
		for (turns = 0; work_visible(&g.w->a) ||
				(u32)atomic_read(&g.w->a.jobs_done) < g.w->a.nr_jobs; turns++) {
			gca_worker_init(&worker, &g.w->a, round & 4, 0);
			world_hooks.relax = 2 + world_below(g.w, 4);
			gca_roots_mark(&worker);
			world_hooks.relax = 2 + world_below(g.w, 4);
			gca_drain(&worker);
			/* A root job that was given up is missed: the pager's. */
			world_hooks.relax = 2 + world_below(g.w, 4);
			gca_roots_missed(&worker);
			gca_worker_fini(&worker);
		}
		world_hooks.relax = 0;
		assert_true(turns > 5);
		graph_check_marks(&g);
		world_cycle(g.w, GCA_UNTIL_MARKED);
		graph_check_marks(&g);
		graph_close(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_threads_contention),
		cmocka_unit_test(test_threads_same_word),
		cmocka_unit_test(test_gives_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
