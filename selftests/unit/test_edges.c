// SPDX-License-Identifier: MIT
/*
 * test_edges.c: corners that other tests had found broken once.
 */
#include "world.h"

/* A live span over more than two chunks that all existed before: its gca_inner is lost at fini. */
static void test_inner_leaks(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	u64 addr;
	u32 i, flags;

	for (i = 0; i < 64; i++)
		assert_true(world_alloc(w, MIB, GCARENA_NOSCAN, 0));
	world_collect(w);
	assert_int_equal(gca_large(&w->m, 13 * MIB, GCARENA_NOSCAN, 0, &addr, &flags), 0);
	world_close(w);
}

/* All slots hold spans of this class with room: 0, and a count of 0. */
static void test_refill_none(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	u32 i, n;

	for (i = 0; i < WORLD_SLOTS; i++) {
		n = 1;
		assert_int_equal(gca_refill(&w->m, GCARENA_SPAN_CLASS(3, 0), &n), 0);
		assert_int_equal(n, 1);
	}
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refill_none),
		cmocka_unit_test(test_inner_leaks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
