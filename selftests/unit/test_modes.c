// SPDX-License-Identifier: MIT
/*
 * test_modes.c: how much of the machine marking takes while the program runs: who is
 * dedicated, what a fractional worker may have, and that neither is exceeded.
 */
#include <pthread.h>

#include "world.h"

/* Go's gcController.startCycle(), its test's table; fractions times processors. */
static const struct {
	u32 cpus, dedicated, quarters;
} go_table[] = {
	{ 1, 0, 1 }, { 2, 0, 2 }, { 3, 0, 3 }, { 4, 1, 0 }, { 5, 1, 0 },
	{ 6, 1, 2 }, { 7, 2, 0 }, { 8, 2, 0 }, { 9, 2, 0 }, { 10, 3, 0 },
};

static void test_share(void **state)
{
	u32 i, dedicated, fraction, cpus, off, sum;

	for (i = 0; i < ARRAY_SIZE(go_table); i++) {
		gca_modes_share(1000 * go_table[i].cpus, &dedicated, &fraction);
		assert_int_equal(dedicated, go_table[i].dedicated);
		assert_int_equal(fraction, go_table[i].quarters * (GCA_ONE / 4));
	}
	/* A quarter, to within 30 %, whatever the machine. */
	for (cpus = 1; cpus <= 8192; cpus++) {
		gca_modes_share(1000 * cpus, &dedicated, &fraction);
		sum = 4 * (dedicated * GCA_ONE + fraction);
		off = sum > cpus * GCA_ONE ? sum - cpus * GCA_ONE : cpus * GCA_ONE - sum;
		assert_true(10ULL * off <= 3ULL * cpus * GCA_ONE);
		assert_true(fraction < GCA_ONE);
	}
	/* Of parts of processors, too: a container's. */
	for (cpus = 1; cpus <= 20000; cpus += 7) {
		u64 want = (u64)cpus * (GCA_ONE / 4) / 1000, got;

		gca_modes_share(cpus, &dedicated, &fraction);
		got = (u64)dedicated * GCA_ONE + fraction;
		assert_true(10 * (max(got, want) - min(got, want)) <= 3 * want + 10);
		assert_true(fraction < GCA_ONE);
	}
	gca_modes_share(500, &dedicated, &fraction);
	assert_int_equal(dedicated, 0);
	assert_int_equal(fraction, GCA_ONE / 8);
}

#define SLICE	500000ULL
#define LATE	60000ULL	/* a timer, and the scheduler */

/* A worker that is always wanted, by an imagined clock: its share, and no more than that. */
static void test_quota(void **state)
{
	u64 now, had, wait, over;
	u32 quarters, f, runs;
	bool going_on;

	for (quarters = 1; quarters <= 3; quarters++) {
		f = quarters * (GCA_ONE / 4);
		now = 0;
		had = 0;
		runs = 0;
		going_on = false;
		while (now < 10000000000ULL) {
			wait = gca_modes_wait(f, had, now, going_on);
			runs += !wait && !going_on;
			going_on = !wait;
			if (wait) {
				now += wait + LATE;
				continue;
			}
			now += SLICE;
			had += SLICE;
			/* Go's slack, and the slice that is not cut. */
			over = now * quarters / 4 / 5 * 6 + SLICE;
			assert_true(had <= over);
		}
		assert_true(had >= now * quarters / 4 / 20 * 19);
		/* It stays for a while when it has come: not one slice, then out again. */
		assert_true(had / SLICE > 10 * runs);
	}
}

static void test_quota_edges(void **state)
{
	/* At the very beginning it may; half of the time gone by, it may not. */
	assert_int_equal(gca_modes_wait(GCA_ONE / 4, 0, 0, false), 0);
	assert_int_equal(gca_modes_wait(GCA_ONE / 2, 100, 100, false), 100);
	assert_int_equal(gca_modes_wait(GCA_ONE / 2, 100, 200, false), 0);
	/* Between the share and 1.2 times that who is there stays, and who is not waits. */
	assert_int_equal(gca_modes_wait(GCA_ONE / 4, 1100, 4000, true), 0);
	assert_int_equal(gca_modes_wait(GCA_ONE / 4, 1100, 4000, false), 400);
	assert_int_equal(gca_modes_wait(GCA_ONE / 4, 1300, 4000, true), 1200);
	/* Nothing overflows, whatever clocks say. */
	assert_int_equal(gca_modes_wait(GCA_ONE * 3 / 4, U64_MAX, U64_MAX, true) != 0, true);
	assert_int_equal(gca_modes_wait(GCA_ONE * 3 / 4, 0, U64_MAX, false), 0);
	assert_true(gca_modes_wait(0, 1, U64_MAX, false) <= U64_MAX / 2);
}

/* What it may run on, and no more than its quota. */
static void test_cpus(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	struct gca_arena *a = &w->a;

	a->processors = 0;
	assert_int_equal(gca_cpus_milli(a), 1000);
	a->processors = 16;
	assert_int_equal(gca_cpus_milli(a), 16000);
	a->knob.cpus_milli = 500;
	assert_int_equal(gca_cpus_milli(a), 500);
	gca_modes_begin(a);
	assert_int_equal(a->modes.dedicated, 0);
	assert_int_equal(a->modes.fraction, GCA_ONE / 8);
	gca_modes_end(a);
	a->knob.cpus_milli = 20000;
	assert_int_equal(gca_cpus_milli(a), 16000);
	a->processors = 65536;
	a->knob.cpus_milli = 0;
	assert_int_equal(gca_cpus_milli(a), 65536000);
	world_close(w);
}

static void test_turns(void **state)
{
	struct gca_turn t[6] = {};
	struct world *w = world_open(64 * MIB, 0, 1);
	struct gca_arena *a = &w->a;
	u32 i;

	/* In a stop everybody may, and is counted nowhere. */
	for (i = 0; i < 6; i++) {
		assert_true(gca_turn_begin(a, &t[i]));
		assert_int_equal(t[i].mode, GCA_MARK_DEDICATED);
	}
	a->processors = 6;	/* one, and half of another */
	gca_modes_begin(a);
	for (i = 0; i < 6; i++)
		gca_turn_end(a, &t[i]);

	a->marks_idle = true;
	for (i = 0; i < 4; i++)
		assert_true(gca_turn_begin(a, &t[i]));
	assert_int_equal(t[0].mode, GCA_MARK_DEDICATED);
	assert_int_equal(t[1].mode, GCA_MARK_FRACTIONAL);
	assert_int_equal(t[2].mode, GCA_MARK_IDLE);
	assert_int_equal(t[3].mode, GCA_MARK_IDLE);
	assert_true(t[2].wait >= GCA_TURN_WAIT / 100 && t[2].wait <= GCA_TURN_WAIT);
	a->marks_idle = false;
	assert_false(gca_turn_begin(a, &t[4]));
	gca_turn_end(a, &t[4]);

	/* Who gives up a place makes room for one. */
	gca_turn_end(a, &t[0]);
	assert_true(gca_turn_begin(a, &t[4]));
	assert_int_equal(t[4].mode, GCA_MARK_DEDICATED);
	assert_false(gca_turn_begin(a, &t[5]));
	/* While threads wait for it, and beyond the goal, everybody may; with no goal not. */
	a->nr_payees = 1;
	assert_true(gca_turn_begin(a, &t[5]));
	a->nr_payees = 0;
	gca_turn_end(a, &t[5]);
	atomic64_set(&a->heap_live, a->heap_goal);
	assert_true(gca_turn_begin(a, &t[5]));
	gca_turn_end(a, &t[5]);
	/* It goes before the share, the limiter before that. */
	a->limiter.limiting = true;
	assert_false(gca_turn_begin(a, &t[5]));
	a->limiter.limiting = false;
	a->knob.percent = 0;
	gca_pace(a);
	assert_false(gca_turn_begin(a, &t[5]));
	gca_turn_end(a, &t[1]);
	assert_true(atomic64_read(&a->modes.fractional_ns) > 0);
	for (i = 2; i < 5; i++)
		gca_turn_end(a, &t[i]);
	gca_modes_end(a);
	assert_true(gca_turn_begin(a, &t[5]));
	assert_int_equal(t[5].mode, GCA_MARK_DEDICATED);
	gca_turn_end(a, &t[5]);
	/* Sweeping that nobody waits for is for idle time; where there is none, for one. */
	a->work = GCA_WORK_SWEEP_IDLE;
	a->marks_idle = true;
	for (i = 0; i < 6; i++) {
		assert_true(gca_turn_begin(a, &t[i]));
		assert_int_equal(t[i].mode, GCA_MARK_IDLE);
		gca_turn_end(a, &t[i]);
	}
	for (i = 0; i < 2; i++) {
		a->marks_idle = i;
		a->sweep_starves = i;
		assert_true(gca_turn_begin(a, &t[0]));
		assert_int_equal(t[0].mode, GCA_MARK_DEDICATED);
		assert_false(gca_turn_begin(a, &t[1]));
		if (!i)
			gca_turn_end(a, &t[0]);
	}
	assert_true(t[1].wait > 0);
	gca_turn_end(a, &t[0]);
	assert_true(gca_turn_begin(a, &t[1]));
	gca_turn_end(a, &t[1]);
	a->work = GCA_WORK_NONE;
	assert_int_equal(atomic_read(&a->modes.nr_dedicated), 0);
	assert_int_equal(atomic_read(&a->modes.nr_fractional), 0);
	world_close(w);
}

#define HANDS	6
#define TURNS	20000

static struct gca_arena *crowded;
static atomic_t dedicated, fractional;

static void *hand(void *arg)
{
	struct gca_turn t = {};
	long over = 0;
	u32 i;

	for (i = 0; i < TURNS; i++) {
		if (!gca_turn_begin(crowded, &t))
			continue;
		if (t.mode == GCA_MARK_DEDICATED) {
			over += atomic_inc_return(&dedicated) > 2;
			atomic_dec(&dedicated);
		} else if (t.mode == GCA_MARK_FRACTIONAL) {
			over += atomic_inc_return(&fractional) > 1;
			atomic_dec(&fractional);
		}
		gca_turn_end(crowded, &t);
	}
	return (void *)over;
}

/* Many at once, and the plan made anew meanwhile: never more than it says. */
static void test_crowd(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	pthread_t t[HANDS];
	void *over;
	u32 i;

	crowded = &w->a;
	crowded->processors = 8;
	gca_modes_begin(crowded);
	crowded->modes.fraction = GCA_ONE - 1;
	for (i = 0; i < HANDS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hand, NULL), 0);
	for (i = 0; i < HANDS; i++) {
		assert_int_equal(pthread_join(t[i], &over), 0);
		assert_null(over);
	}
	assert_int_equal(atomic_read(&crowded->modes.nr_dedicated), 0);
	assert_int_equal(atomic_read(&crowded->modes.nr_fractional), 0);
	gca_modes_end(crowded);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_quota_edges),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
