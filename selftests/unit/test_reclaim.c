// SPDX-License-Identifier: MIT
/*
 * test_reclaim.c: pages of what is dead but not swept, and the last pages of a
 * heap: they are found before the heap grows, and before it is said to be full.
 */
#include <pthread.h>
#include <unistd.h>

#include "world.h"

#define ONE_PAGE	GCARENA_SPAN_CLASS(gca_size_class(8192), GCARENA_NOSCAN)

static u64 new_object(struct world *w, u64 bytes)
{
	u64 addr = world_alloc(w, bytes, GCARENA_NOSCAN, 0);

	assert_true(addr);
	return addr;
}

static u64 span_of(struct world *w, u64 addr)
{
	return (addr - w->a.base) >> GCARENA_PAGE_SHIFT;
}

/* One dead span among many live ones: its pages, and nothing else is swept for them. */
static void test_before_growing(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	u64 live[200], dead = 0, at, inuse;
	u32 i, n = 1;
	s64 unswept;

	for (i = 0; i < ARRAY_SIZE(live); i++) {
		live[i] = new_object(w, 100000);
		w->root[i] = live[i] + 8;
		if (i == 150)
			dead = new_object(w, 50000);
	}
	world_detach(w);
	world_attach(w);
	world_cycle(w, GCA_UNTIL_MARKED);
	world_check_summary(w);
	inuse = w->a.heap.inuse;
	unswept = atomic64_read(&w->a.unswept);
	assert_int_equal(unswept, 201);
	assert_int_equal(gca_refill(&w->m, ONE_PAGE, &n), 0);
	assert_int_equal(w->m.twin[w->m.first[ONE_PAGE]].span->page, span_of(w, dead));
	assert_int_equal(atomic64_read(&w->a.unswept), unswept - 1);
	assert_true(w->a.heap.inuse < inuse);
	/* what it left over is used first; the heap grows when that is gone */
	at = new_object(w, 40000);
	assert_int_equal(span_of(w, at), span_of(w, dead) + 1);
	at = new_object(w, 50000);
	assert_true(span_of(w, at) > span_of(w, live[199]));
	assert_int_equal(atomic64_read(&w->a.unswept), unswept - 1);
	for (i = 0; i < ARRAY_SIZE(live); i++)
		assert_true(world_holds(w, live[i]));
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	assert_true(world_marks_zero(w));
	world_close(w);
}

/* A large object that takes many dead spans; a span of another class that takes one. */
static void test_many(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 2);
	u32 i, n = 1, flags, top;
	u64 addr;

	for (i = 0; i < 2000; i++)
		new_object(w, 8192);
	top = w->a.heap.inuse;
	world_detach(w);
	world_attach(w);
	/* So far from the trigger that nothing is owed to sweep. */
	w->a.knob.percent = 100000;
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(gca_large(&w->m, 200 * GCARENA_PAGE_SIZE, GCARENA_NOSCAN, 0, &addr, &flags),
			 0);
	assert_true(flags & GCARENA_LARGE_NEEDZERO);
	assert_true(span_of(w, addr) + 200 <= top);
	assert_true(atomic64_read(&w->a.unswept) >= 2000 - 200 - 64);
	assert_int_equal(gca_refill(&w->m, GCARENA_SPAN_CLASS(0, 0), &n), 0);
	assert_true(w->m.twin[w->m.first[GCARENA_SPAN_CLASS(0, 0)]].span->page < top);
	/* one pass a cycle; then the heap grows, and the next cycle begins another */
	w->root[0] = addr + 8;
	world_collect(w);
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(w->a.heap.reclaim, 0);
	world_collect(w);
	assert_true(world_holds(w, addr));
	w->root[0] = 0;
	world_close(w);
}

/* What was allocated while marking has no marks and is not dead, cached or not. */
static void new_objects(bool cached)
{
	struct world *w = world_open(64 * MIB, 0, 3);
	u64 large, small, part, dead;
	u32 i, n;

	part = new_object(w, 1000);
	w->root[0] = part + 8;
	dead = new_object(w, 50000);
	world_detach(w);
	world_attach(w);
	world_cycle(w, GCA_UNTIL_MARKING);
	w->root[0] = 0;
	large = new_object(w, 60000);
	small = new_object(w, 5000);
	part = new_object(w, 1000);
	w->root[1] = large + 8;
	w->root[2] = small + 8;
	w->root[3] = part + 8;
	if (!cached) {
		world_detach(w);
		world_attach(w);
	}
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(gca_op_begin(&w->a), 0);
	n = gca_reclaim(&w->a, 1000);
	assert_int_equal(n, 7);
	assert_int_equal(w->a.heap.free_dirty, n);
	gca_op_end(&w->a);
	assert_false(world_holds(w, dead));
	assert_true(world_holds(w, large));
	assert_true(world_holds(w, small));
	assert_true(world_holds(w, part));
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	for (i = 0; i < 50; i++)
		assert_int_not_equal(new_object(w, 1000), part);
	memset(w->root, 0, sizeof(w->root));
	world_collect(w);
	world_close(w);
}

static void test_new_objects(void **state)
{
	new_objects(false);
	new_objects(true);
}

/* A void cycle's summary is thrown away with its marks. */
static void test_void(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 4);
	u64 addr = new_object(w, 100000), small = new_object(w, 16);

	w->root[0] = addr + 8;
	w->root[1] = small;
	world_cycle(w, GCA_UNTIL_MARKING);
	w->sh->ring_tail += GCARENA_RING_ENTRIES + 1;
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(w->a.void_reason, GCARENA_VOID_RING);
	assert_false(!(w->a.chunk[0]->marked[0]));
	memset(w->root, 0, sizeof(w->root));
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(w->a.void_reason, 0);
	world_check_summary(w);
	assert_int_equal(gca_op_begin(&w->a), 0);
	assert_true(gca_reclaim(&w->a, 1000) > 0);
	gca_op_end(&w->a);
	assert_false(world_holds(w, addr));
	world_collect(w);
	world_close(w);
}

/* A reservation of which nearly nothing has metadata: bounded, and the end is reached. */
static void test_bounded(void **state)
{
	struct world *w = world_open(1ULL << 36, 0, 5);
	u32 i, n, before, flags;
	u64 addr, dead;

	assert_int_equal(gca_large(&w->m, 1ULL << 35, GCARENA_NOSCAN, 0, &addr, &flags), 0);
	dead = new_object(w, 50000);
	w->root[0] = addr + 8;
	world_cycle(w, GCA_UNTIL_MARKED);
	for (i = 0, n = 0; !n && i < 1000; i++) {
		before = w->a.heap.reclaim;
		assert_int_equal(gca_op_begin(&w->a), 0);
		n = gca_reclaim(&w->a, 1);
		gca_op_end(&w->a);
		assert_int_equal(n, world_holds(w, dead) ? 0 : 7);
		assert_true(w->a.heap.reclaim - before <= 1024 * GCA_CHUNK_PAGES);
	}
	assert_in_range(i, 8, 10);
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	world_close(w);
}

/*
 * A full heap after a cycle, nothing swept: every second page is dead, too short for
 * what is wanted, and in the middle 42 in a row.  Reclaim, which stops when it has
 * freed as many pages as were wanted, does not get there at once.
 */
static struct world *full_but_for_42(u64 *room)
{
	struct world *w = world_open(64 * MIB, 0, 8);
	static u64 live[4096];
	struct gcarena_range range = { (u64)live, sizeof(live), 0, 0 };
	u32 i, n, sc = ONE_PAGE, k = 0;
	u64 addr;

	assert_int_equal(gca_roots_update(&w->a, &range, 1, NULL, 0), 0);
	for (i = 0; i < 8192; i++) {
		n = 1;
		assert_int_equal(gca_refill(&w->m, sc, &n), 0);
		addr = world_alloc_class(w, sc);
		assert_int_equal(span_of(w, addr), i);
		if (i % 2 && (i < 4001 || i > 4041))
			live[k++] = addr + 8;
	}
	world_detach(w);
	world_attach(w);
	world_cycle(w, GCA_UNTIL_MARKED);
	*room = w->a.base + (4000ULL << GCARENA_PAGE_SHIFT);
	return w;
}

static void test_full_refill(void **state)
{
	u32 sc, n = 1, i;
	struct world *w;
	u64 room;

	for (sc = 0; gca_class_pages[sc] < 4; sc++)
		;
	w = full_but_for_42(&room);
	assert_int_equal(gca_refill(&w->m, 4 * sc, &n), 0);
	assert_int_equal(n, 1);
	assert_in_range(w->m.twin[w->m.first[4 * sc]].span->page, span_of(w, room),
			span_of(w, room) + 42);
	/* all of it, then no more: everything is swept */
	for (i = 0; i < 100; i++) {
		n = 3;
		if (gca_refill(&w->m, 4 * sc, &n))
			break;
		assert_true(n > 0);
	}
	assert_in_range(i, 2, 42 / gca_class_pages[sc]);
	assert_int_equal(n, 0);
	assert_int_equal(atomic64_read(&w->a.unswept), 0);
	n = 1;
	assert_int_equal(gca_refill(&w->m, 4 * sc, &n), -ENOSPC);
	n = 1;
	assert_int_equal(gca_refill(&w->m, ONE_PAGE, &n), 0);
	world_close(w);
}

static void test_full_large(void **state)
{
	u64 room, addr;
	struct world *w = full_but_for_42(&room);
	u32 flags;

	assert_int_equal(gca_large(&w->m, 300000, GCARENA_NOSCAN, 0, &addr, &flags), 0);
	assert_in_range(addr, room, room + 42 * GCARENA_PAGE_SIZE);
	assert_int_equal(gca_large(&w->m, 300000, GCARENA_NOSCAN, 0, &addr, &flags), -ENOSPC);
	world_close(w);
}

/* Whoever was killed does not sweep to the end. */
static void test_full_killed(void **state)
{
	u64 room, addr;
	struct world *w = full_but_for_42(&room);
	u32 n = 1, flags, sc;

	for (sc = 0; gca_class_pages[sc] < 4; sc++)
		;
	world_hooks.relax = 1;
	assert_int_equal(gca_refill(&w->m, 4 * sc, &n), -EINTR);
	assert_int_equal(n, 0);
	assert_int_equal(gca_large(&w->m, 500000, GCARENA_NOSCAN, 0, &addr, &flags), -EINTR);
	assert_true(atomic64_read(&w->a.unswept) > 8192 - 600);
	world_hooks.relax = 0;
	assert_int_equal(gca_large(&w->m, 500000, GCARENA_NOSCAN, 0, &addr, &flags), -ENOSPC);
	assert_int_equal(atomic64_read(&w->a.unswept), 0);
	world_close(w);
}

/* ----------------------------------------------------------------- threads */

#define THREADS	4

struct taker {
	pthread_t thread;
	struct gca_arena *a;
	struct gca_mutator m;
	struct gcarena_mutator *sh;
	atomic_t *go;
	u32 seed, got;
};

/* Refill and large, both of which sweep and reclaim, beside one that only sweeps. */
static void *take(void *arg)
{
	struct taker *t = arg;
	u64 addr;
	u32 i, n, flags;

	while (!atomic_read_acquire(t->go))
		usleep(10);
	for (i = 0; i < 60; i++) {
		n = 4;
		if (t->seed == 0) {
			if (gca_op_begin(t->a))
				abort();
			gca_sweep_some(t->a, 3);
			gca_op_end(t->a);
		} else if (i % 3) {
			if (gca_refill(&t->m, (i * 4 + t->seed) % 70 * 4, &n))
				abort();
		} else if (gca_large(&t->m, 100000, GCARENA_NOSCAN, 0, &addr, &flags)) {
			abort();
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 6);
	struct taker t[THREADS] = {};
	atomic_t go;
	u32 i, round;

	for (i = 0; i < THREADS; i++) {
		t[i].sh = test_calloc(1, gca_mutator_bytes(WORLD_SLOTS));
		t[i].a = &w->a;
		t[i].seed = i;
		t[i].go = &go;
		assert_int_equal(gca_mutator_init(&t[i].m, &w->a, WORLD_SLOTS, t[i].sh), 0);
		assert_int_equal(gca_mutator_attach(&t[i].m), 0);
	}
	for (round = 0; round < 10; round++) {
		atomic_set(&go, 0);
		for (i = 0; i < 600; i++) {
			u64 addr = new_object(w, 1 + world_below(w, 3) * 4096 / 2);

			w->root[i % WORLD_ROOTS] = i % 3 ? 0 : addr;
		}
		world_detach(w);
		world_attach(w);
		world_cycle(w, GCA_UNTIL_MARKED);
		for (i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&t[i].thread, NULL, take, &t[i]), 0);
		atomic_set_release(&go, 1);
		for (i = 0; i < THREADS; i++)
			pthread_join(t[i].thread, NULL);
		for (i = 0; i < WORLD_ROOTS; i++)
			assert_true(!w->root[i] || world_holds(w, w->root[i]));
		assert_int_equal(gca_sweep_finish(&w->a), 0);
		assert_true(world_marks_zero(w));
		memset(w->root, 0, sizeof(w->root));
		for (i = 0; i < THREADS; i++) {
			assert_int_equal(gca_mutator_detach(&t[i].m), 0);
			assert_int_equal(gca_mutator_attach(&t[i].m), 0);
		}
	}
	for (i = 0; i < THREADS; i++) {
		assert_int_equal(gca_mutator_detach(&t[i].m), 0);
		gca_mutator_fini(&t[i].m);
		test_free(t[i].sh);
	}
	world_detach(w);
	world_collect(w);
	assert_int_equal(w->a.heap.inuse, 0);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_growing),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_new_objects),
		cmocka_unit_test(test_void),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_full_refill),
		cmocka_unit_test(test_full_large),
		cmocka_unit_test(test_full_killed),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
