// SPDX-License-Identifier: MIT
/*
 * test_limiter.c: Go's TestGCCPULimiter, step by step, and other shares than a half.
 *
 * Go's test runs the clock; ours measures: so each step says how much of the time of all
 * processors was collecting's, and the rest is the program's.
 */
#include "world.h"
#include "limiter.h"

#define PROCS	14
#define MS	1000000ULL
#define SECOND	(1000 * MS)

static u64 now;

/* For @ns all processors are busy, with collecting for @permille of the time. */
static void advance(struct gca_limiter *l, u64 procs, u64 ns, u64 permille, u32 percent)
{
	u64 gc = ns * procs / 1000 * permille;

	now += ns;
	gca_limiter_update(l, gc, ns * procs - gc, percent);
}

static void check(const struct gca_limiter *l, u64 fill, u64 overflow, bool limiting)
{
	assert_int_equal(l->fill, fill);
	assert_int_equal(l->overflow, overflow);
	assert_int_equal(l->limiting, limiting);
}

/* From an empty bucket to one that is full and has overflowed by @before. */
static void go_table(struct gca_limiter *l, u64 before)
{
	check(l, 0, before, false);
	/* The program alone: nothing flows in. */
	advance(l, PROCS, 10 * MS, 0, 50);
	advance(l, PROCS, SECOND, 0, 50);
	advance(l, PROCS, 3600 * SECOND, 0, 50);
	check(l, 0, before, false);
	/* One caller in a while is to update it. */
	assert_true(gca_limiter_due(l, now));
	assert_false(gca_limiter_due(l, now));
	assert_false(gca_limiter_due(l, now - SECOND));
	assert_false(gca_limiter_due(l, now + 5 * MS));
	assert_false(gca_limiter_due(l, now + 10 * MS));
	assert_true(gca_limiter_due(l, now + 10 * MS + 1));
	assert_false(gca_limiter_due(l, now + 10 * MS + 1));
	/* A stop: all processors'. */
	gca_limiter_charge(l, 2001000 * PROCS);
	check(l, 2001000 * PROCS, before, false);
	/* Workers alone take a quarter: it flows out, half as fast as the program runs. */
	now += SECOND;
	gca_limiter_update(l, (l->fill - PROCS) / 2, (l->fill - PROCS) / 2 * 3, 50);
	check(l, PROCS, before, false);
	advance(l, PROCS, 3600 * SECOND, 250, 50);
	check(l, 0, before, false);
	advance(l, PROCS, 10 * MS, 500, 50);
	check(l, 0, before, false);
	advance(l, PROCS, MS, 1000, 50);
	check(l, MS * PROCS, before, false);
	advance(l, PROCS, SECOND - MS, 1000, 50);
	check(l, SECOND * PROCS, before, true);
	advance(l, PROCS, SECOND, 500, 50);
	check(l, SECOND * PROCS, before, true);
	advance(l, PROCS, SECOND, 250, 50);
	check(l, SECOND * PROCS / 2, before, false);
	advance(l, PROCS, SECOND, 1000, 50);
	check(l, SECOND * PROCS, before + SECOND * PROCS / 2, true);
	/* Full, and a stop. */
	advance(l, PROCS, MS, 1000, 50);
	gca_limiter_charge(l, 5 * MS * PROCS);
	check(l, SECOND * PROCS, before + SECOND * PROCS / 2 + 6 * MS * PROCS, true);
}

static void test_go(void **state)
{
	struct gca_limiter l = {};
	u64 overflow;

	gca_limiter_resize(&l, PROCS * 1000);
	assert_int_equal(l.capacity, SECOND * PROCS);
	go_table(&l, 0);
	/* Once more on the same one. */
	overflow = l.overflow;
	advance(&l, PROCS, 2 * SECOND, 0, 50);
	go_table(&l, overflow);
}

/* More processors, and fewer. */
static void test_resize(void **state)
{
	struct gca_limiter l = {};
	u64 overflow;

	gca_limiter_resize(&l, PROCS * 1000);
	go_table(&l, 0);
	overflow = l.overflow;
	gca_limiter_resize(&l, (PROCS + 10) * 1000);
	assert_int_equal(l.capacity, SECOND * (PROCS + 10));
	check(&l, SECOND * PROCS, overflow, false);
	gca_limiter_resize(&l, (PROCS - 10) * 1000);
	check(&l, SECOND * (PROCS - 10), overflow, true);
	/* Parts of one. */
	gca_limiter_resize(&l, 500);
	assert_int_equal(l.capacity, SECOND / 2);
	gca_limiter_resize(&l, 0);
	assert_int_equal(l.capacity, MS);
}

/* It stands still at just the share that is allowed, and 100 percent is any. */
static void test_shares(void **state)
{
	static const u32 share[] = { 1, 20, 50, 75, 99 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(share); i++) {
		struct gca_limiter l = {};

		gca_limiter_resize(&l, PROCS * 1000);
		gca_limiter_charge(&l, SECOND);
		advance(&l, PROCS, SECOND, 10 * share[i], share[i]);
		check(&l, SECOND, 0, false);
		advance(&l, PROCS, 10 * MS, 10 * share[i] - 10, share[i]);
		assert_in_range(l.fill, 0, SECOND - 1);
		advance(&l, PROCS, 10 * SECOND, 10 * share[i] + 10, share[i]);
		assert_in_range(l.fill, SECOND, l.capacity);
		advance(&l, PROCS, 3600 * SECOND, 1000, share[i]);
		assert_true(l.limiting);
		advance(&l, PROCS, SECOND, 1000, 100);
		check(&l, 0, l.overflow, false);
	}
}

/* Nonsense in is a bound out. */
static void test_nonsense(void **state)
{
	struct gca_limiter l = {};

	gca_limiter_resize(&l, 1000);
	gca_limiter_update(&l, U64_MAX, U64_MAX, 50);
	check(&l, 0, 0, false);
	gca_limiter_update(&l, U64_MAX, 0, 1);
	assert_true(l.limiting);
	gca_limiter_update(&l, 0, U64_MAX, 99);
	check(&l, 0, l.overflow, false);
	gca_limiter_charge(&l, U64_MAX);
	assert_true(l.limiting);
	assert_int_equal(l.fill, l.capacity);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_go),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
