// SPDX-License-Identifier: MIT
/*
 * test_pace.c: what makes cycles begin, and what else keeps the heap where it should be:
 * knobs, the memory limit, time, the limiter of processor time, proportional sweep.
 *
 * Clock and processor time are the test's own.
 */
#include "knobs.h"
#include "world.h"

#define MS	1000000ULL
#define SECOND	(1000 * MS)

static u64 now = SECOND, cpu;

u64 gca_port_now(void)
{
	return now;
}

u64 gca_port_cpu(struct gca_arena *a)
{
	return cpu;
}

static bool nobody, busy;	/* there are no workers; they get no processor */
static u64 told;		/* when pages are due, as the port was last told */

void gca_port_return(struct gca_arena *a, u64 due)
{
	told = due;
}

int gca_port_crew_get(struct gca_arena *a)
{
	return nobody ? -ENODEV : 0;
}

void gca_port_run_workers(struct gca_arena *a, u64 until)
{
	if (busy)
		now += 2 * SECOND;
	while (!busy && !gca_work_idle(a))
		gca_work_slice(a, GCA_MARK_IDLE, MS);
}

static int set(struct world *w, u32 knob, u64 value)
{
	struct gcarena_config c = { .mask = 1ULL << knob };
	int err;

	*gca_knob_value(&c.knob, knob) = value;
	err = gca_config_check(&w->a, &c);
	if (!err)
		gca_config_set(&w->a, &c);
	return err;
}

static u64 get(struct world *w, u32 knob)
{
	struct gcarena_config c = {};

	assert_int_equal(gca_config_check(&w->a, &c), 0);
	return *gca_knob_value(&c.knob, knob);
}

static void test_knobs(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	struct gcarena_config c = {};
	u32 i, k;

	/* The table, the structure and the mask are in the same order. */
	assert_int_equal(GCA_NR_KNOBS * sizeof(u64), sizeof(struct gcarena_knobs));
	assert_int_equal(GCARENA_CONFIG_ALL, (1ULL << GCA_NR_KNOBS) - 1);
	for (i = 0; i < GCA_NR_KNOBS; i++) {
		assert_int_equal(gca_knob[i].offset, i * sizeof(u64));
		assert_true(gca_knob[i].initial >= gca_knob[i].lo);
		assert_true(gca_knob[i].initial <= gca_knob[i].hi);
		assert_int_equal(get(w, i), gca_knob[i].initial);
	}
	for (i = 0; i < GCA_NR_KNOBS; i++) {
		if (gca_knob[i].lo)
			assert_int_equal(set(w, i, gca_knob[i].lo - 1), -EINVAL);
		assert_int_equal(set(w, i, gca_knob[i].hi + 1), -EINVAL);
		assert_int_equal(set(w, i, U64_MAX), -EINVAL);
		assert_int_equal(get(w, i), gca_knob[i].initial);
	}
	/* One that is refused takes the others with it. */
	for (i = 0; i < GCA_NR_KNOBS; i++) {
		c.mask = GCARENA_CONFIG_ALL;
		for (k = 0; k < GCA_NR_KNOBS; k++)
			*gca_knob_value(&c.knob, k) = k == i ? U64_MAX : gca_knob[k].hi;
		assert_int_equal(gca_config_check(&w->a, &c), -EINVAL);
	}
	for (i = 0; i < GCA_NR_KNOBS; i++) {
		assert_int_equal(get(w, i), gca_knob[i].initial);
		assert_int_equal(set(w, i, gca_knob[i].hi), 0);
		assert_int_equal(get(w, i), gca_knob[i].hi);
		assert_int_equal(set(w, i, gca_knob[i].lo), 0);
		assert_int_equal(get(w, i), gca_knob[i].lo);
	}
	/* What is not in the mask is left as it is, if it has changed since, too. */
	c = (struct gcarena_config){ .mask = GCARENA_CONFIG_PERCENT, .knob.percent = 50 };
	assert_int_equal(gca_config_check(&w->a, &c), 0);
	assert_int_equal(set(w, GCA_KNOB_HEAP_MIN, MIB), 0);
	gca_config_set(&w->a, &c);
	assert_int_equal(get(w, GCA_KNOB_PERCENT), 50);
	assert_int_equal(get(w, GCA_KNOB_HEAP_MIN), MIB);
	c.mask = 0;
	c.flags = 1;
	assert_int_equal(gca_config_check(&w->a, &c), -EINVAL);
	c.flags = 0;
	c.mask = 1ULL << GCA_NR_KNOBS;
	assert_int_equal(gca_config_check(&w->a, &c), -EINVAL);
	world_close(w);
}

/* ------------------------------------------------------------------ memory limit */

static u64 mapped(struct world *w)
{
	return ((u64)(w->a.heap.inuse + w->a.heap.free_dirty) << GCARENA_PAGE_SHIFT) + w->a.metadata;
}

/* As the library does it. */
static void give_back(struct world *w)
{
	struct gcarena_run run[16];
	u32 n, i;

	while ((n = gca_scavenge_take(&w->a, run, 16, true))) {
		for (i = 0; i < n; i++)
			memset((void *)run[i].start, 0, run[i].len);
		gca_scavenge_done(&w->a, run, n);
	}
}

/* @pieces of @size replace one another, @live of them are held. */
static u64 churn(struct world *w, u64 size, u32 live, u32 pieces)
{
	u64 cycles = w->a.totals.cycles, most = 0;
	u32 i;

	for (i = 0; i < pieces; i++) {
		w->root[i % live] = world_alloc(w, size, GCARENA_NOSCAN, 0);
		assert_true(w->root[i % live]);
		memset((void *)w->root[i % live], 1, 64);
		if (gca_wants(&w->a, NULL) & GCARENA_WANT_SERVE)
			give_back(w);
		if (gca_cycle_wanted(&w->a))
			world_collect(w);
		most = max(most, mapped(w));
	}
	assert_true(w->a.totals.cycles > cycles);
	return most;
}

static void test_limit(void **state)
{
	struct world *w = world_open(512 * MIB, 0, 1);
	u64 goal, most;

	/* No percentage: it is the limit alone that collects, and late. */
	assert_int_equal(set(w, GCA_KNOB_PERCENT, 0), 0);
	assert_int_equal(w->ctl.heap_trigger, U64_MAX);
	assert_int_equal(set(w, GCA_KNOB_MEMLIMIT, 64 * MIB), 0);
	assert_true(w->a.has_goal);
	most = churn(w, MIB, 10, 1000);
	assert_true(most <= 64 * MIB);
	assert_true(most >= 64 * MIB / 100 * 85);
	assert_in_range(w->a.totals.cycles, 1000 / 56, 1000 / 40);
	/* Objects of another size, in what is free: the same. */
	memset(w->root, 0, sizeof(w->root));
	most = churn(w, 200000, 50, 5000);
	assert_true(most <= 64 * MIB);
	/* A percentage that wants less goes on counting; one that wants more does not. */
	assert_int_equal(set(w, GCA_KNOB_PERCENT, 100), 0);
	assert_true(churn(w, 200000, 50, 1000) <= 64 * MIB);
	assert_in_range(w->a.heap_goal, 2 * w->a.totals.live, 3 * w->a.totals.live);
	assert_int_equal(set(w, GCA_KNOB_PERCENT, 100000), 0);
	goal = w->a.heap_goal;
	assert_true(goal < 64 * MIB);
	/* Nor does what void cycles ask for. */
	w->a.void_run = 12;
	gca_pace(&w->a);
	assert_true(w->a.heap_goal <= goal);
	/* But the next one does not follow at once. */
	assert_true(w->a.heap_trigger >= (u64)atomic64_read(&w->a.heap_live) + (65536ULL << 12));
	assert_false(gca_cycle_wanted(&w->a));
	w->a.void_run = 0;
	gca_pace(&w->a);
	assert_true(w->a.heap_trigger <= goal);
	/* Free pages that the heap would keep go, too. */
	assert_int_equal(set(w, GCA_KNOB_MEMLIMIT, 0), 0);
	assert_int_equal(set(w, GCA_KNOB_PERCENT, 400), 0);
	churn(w, MIB, 30, 400);
	assert_true(mapped(w) > 100 * MIB);
	assert_int_equal(set(w, GCA_KNOB_MEMLIMIT, 80 * MIB), 0);
	world_collect(w);
	assert_true(gca_wants(&w->a, NULL) & GCARENA_WANT_SERVE);
	give_back(w);
	/* Huge pages or not. */
	assert_in_range(mapped(w), 0, 80 * MIB / 100 * 95 + 65536);
	assert_false(gca_wants(&w->a, NULL) & GCARENA_WANT_SERVE);
	world_close(w);
}

/* In pieces, with pauses a hundred times as long; but not what a request for a cycle has freed. */
static void test_return_slowly(void **state)
{
	struct world *w = world_open(512 * MIB, 0, 1);
	struct gca_arena *a = &w->a;
	struct gcarena_run run[16];
	u64 dirty, begun;
	u32 i, k, n, pieces = 0;

	for (k = 0; k < 2; k++) {
		for (i = 0; i < 40; i++)
			memset((void *)world_alloc(w, MIB, GCARENA_NOSCAN, 0), 1, 64);
		assert_int_equal(gca_scavenge_due(a, true), U64_MAX);
		world_collect(w);
		assert_int_equal(a->heap_peak, 0);
		if (k) {
			assert_int_equal(gca_scavenge_due(a, true), 0);
			give_back(w);
			assert_true(((u64)a->heap.free_dirty << GCARENA_PAGE_SHIFT) < 7 * MIB);
			assert_int_equal(gca_scavenge_due(a, true), U64_MAX);
			break;
		}
		a->heap_peak = 1;
		for (begun = now; !gca_scavenge_due(a, true); pieces++) {
			dirty = a->heap.free_dirty;
			n = gca_scavenge_take(a, run, 16, true);
			assert_true(n);
			assert_in_range((dirty - a->heap.free_dirty) << GCARENA_PAGE_SHIFT, 1, 4 * MIB);
			now += 3 * MS;
			for (i = 0; i < n; i++)
				memset((void *)run[i].start, 0, run[i].len);
			gca_scavenge_done(a, run, n);
			if (gca_scavenge_due(a, true) == U64_MAX)
				break;
			assert_int_equal(gca_scavenge_due(a, true), 297 * MS);
			/* The port is told; who cannot wait need not. */
			assert_false(gca_scavenge_look(a));
			assert_int_equal(told, 297 * MS);
			assert_int_equal(gca_scavenge_due(a, false), 0);
			/* A memory limit has no pauses. */
			if (pieces == 2) {
				assert_int_equal(set(w, GCA_KNOB_MEMLIMIT, 8 * MIB), 0);
				assert_true(gca_scavenge_look(a));
				assert_int_equal(told, 0);
				assert_int_equal(set(w, GCA_KNOB_MEMLIMIT, 0), 0);
			}
			assert_true(gca_scavenge_due(a, true));
			assert_int_equal(gca_scavenge_take(a, run, 16, true), 0);
			now += 297 * MS - 1;
			assert_int_equal(gca_scavenge_due(a, true), 1);
			now++;
		}
		assert_in_range(pieces, 7, 12);
		assert_int_equal(now - begun, (pieces * 300 + 3) * MS);
		assert_true(((u64)a->heap.free_dirty << GCARENA_PAGE_SHIFT) < 7 * MIB);
	}
	world_close(w);
}

/* Once it has begun it goes on until all that is too much has gone. */
static void test_return_all(void **state)
{
	struct world *w = world_open(2048 * MIB, 0, 1);
	struct gca_arena *a = &w->a;
	struct gcarena_run run[16];
	u64 keep;
	u32 i, n;

	assert_int_equal(set(w, GCA_KNOB_HEAP_MIN, 512 * MIB), 0);
	for (i = 0; i < 700; i++)
		world_alloc(w, MIB, GCARENA_NOSCAN, 0);
	world_collect(w);
	a->heap_peak = 1;
	keep = a->heap_goal / 10 * 11;
	while (gca_scavenge_due(a, true) != U64_MAX) {
		now += gca_scavenge_due(a, true);
		n = gca_scavenge_take(a, run, 16, true);
		for (i = 0; i < n; i++)
			memset((void *)run[i].start, 0, run[i].len);
		gca_scavenge_done(a, run, n);
		if (!n)
			break;
	}
	assert_in_range((u64)a->heap.free_dirty << GCARENA_PAGE_SHIFT, keep - 2 * MIB, keep + 2 * MIB);
	world_close(w);
}

/* What is live does not fit: a cycle after each that has ended, and it goes on. */
static void test_limit_below_live(void **state)
{
	struct world *w = world_open(512 * MIB, 0, 1);
	u64 cycles;

	assert_int_equal(set(w, GCA_KNOB_MEMLIMIT, 16 * MIB), 0);
	churn(w, MIB, 40, 100);
	cycles = w->a.totals.cycles;
	assert_int_equal(w->a.heap_goal, w->a.totals.live);
	churn(w, MIB, 40, 20);
	assert_in_range(w->a.totals.cycles - cycles, 10, 21);
	/* When it fits again all is as it was. */
	memset(w->root, 0, sizeof(w->root));
	world_collect(w);
	give_back(w);
	gca_wants(&w->a, NULL);
	assert_true(w->a.heap_trigger > w->a.totals.live);
	assert_true(mapped(w) <= 16 * MIB);
	world_close(w);
}

/* -------------------------------------------------------------------------- time */

static void test_period(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);

	/* Not before there has been one. */
	now += 3600 * SECOND;
	assert_int_equal(gca_cycle_due(&w->a), U64_MAX);
	assert_false(gca_cycle_wanted(&w->a));
	world_collect(w);
	assert_int_equal(gca_cycle_due(&w->a), 120 * SECOND);
	/* Without anything new there is nothing to collect. */
	now += 120 * SECOND;
	assert_int_equal(gca_cycle_due(&w->a), 15 * SECOND);
	assert_false(gca_cycle_wanted(&w->a));
	now -= SECOND;
	world_alloc(w, 100, GCARENA_NOSCAN, 0);
	assert_int_equal(gca_cycle_due(&w->a), SECOND);
	assert_false(gca_cycle_wanted(&w->a));
	now += SECOND;
	assert_int_equal(gca_cycle_due(&w->a), 0);
	assert_true(gca_cycle_wanted(&w->a));
	now += 1000 * SECOND;
	assert_true(gca_cycle_wanted(&w->a));
	world_collect(w);
	assert_false(gca_cycle_wanted(&w->a));
	world_alloc(w, MIB, GCARENA_NOSCAN, 0);
	assert_int_equal(set(w, GCA_KNOB_PERIOD_MS, 10), 0);
	now += 10 * MS - 1;
	assert_false(gca_cycle_wanted(&w->a));
	now++;
	assert_true(gca_cycle_wanted(&w->a));
	/* Who has tried and failed does not try at once again. */
	w->a.tried = now;
	assert_int_equal(gca_cycle_due(&w->a), SECOND);
	now += SECOND;
	assert_true(gca_cycle_wanted(&w->a));
	/* Where the program wants no cycles there is no time for one. */
	assert_int_equal(set(w, GCA_KNOB_PERCENT, 0), 0);
	assert_int_equal(gca_cycle_due(&w->a), U64_MAX);
	assert_false(gca_cycle_wanted(&w->a));
	assert_int_equal(set(w, GCA_KNOB_PERCENT, 100), 0);
	assert_true(gca_cycle_wanted(&w->a));
	assert_int_equal(set(w, GCA_KNOB_PERIOD_MS, 0), 0);
	assert_false(gca_cycle_wanted(&w->a));
	assert_int_equal(gca_cycle_due(&w->a), U64_MAX);
	/* A request is one, until a cycle begins. */
	gca_cycle_ask(&w->a);
	assert_true(gca_cycle_wanted(&w->a));
	world_collect(w);
	assert_false(gca_cycle_wanted(&w->a));
	world_close(w);
}

/* ----------------------------------------------------------------------- limiter */

/* For @ns of processor time the program runs, and for as long @gc of it threads mark. */
static bool limited(struct world *w, u64 ns, u64 gc)
{
	atomic64_add(gc, &w->a.totals.cpu_ns[GCA_MARK_ASSIST]);
	cpu += ns;
	now += 11 * MS;
	return gca_pace_limited(&w->a);
}

static void test_limiter(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	struct gca_arena *a = &w->a;
	u64 before;
	u32 i;

	/* A stop before any cycle was paced is a stop, too. */
	assert_int_equal(a->limiter.capacity, SECOND);
	gca_pace_stop(a, 100 * MS, 0);
	assert_int_equal(a->limiter.fill, 100 * MS);
	assert_false(gca_pace_limited(a));
	/* What was collected in it is counted by itself. */
	gca_pace_stop(a, 100 * MS, 40 * MS);
	assert_int_equal(a->limiter.fill, 160 * MS);
	gca_pace_stop(a, 10 * MS, 40 * MS);
	assert_int_equal(a->limiter.fill, 160 * MS);
	a->limiter.fill = 0;
	w->root[0] = world_alloc(w, 100000, GCARENA_CONSERVATIVE, 0);
	a->processors = 2;
	world_cycle(w, GCA_UNTIL_MARKING);
	gca_gate_close(a);
	gca_pace_begin(a);
	gca_gate_open(a);
	assert_int_equal(a->limiter.capacity, 2 * SECOND);
	/* Half and half: for ever. */
	for (i = 0; i < 1000; i++)
		assert_false(limited(w, 20 * MS, 10 * MS));
	/* What idle processors mark is nobody's. */
	for (i = 0; i < 1000; i++) {
		atomic64_add(20 * MS, &a->totals.cpu_ns[GCA_MARK_IDLE]);
		assert_false(limited(w, 20 * MS, 0));
	}
	assert_int_equal(a->limiter.fill, 0);
	/* Nothing but collecting: until the bucket is full. */
	for (i = 1; !limited(w, 20 * MS, 20 * MS); i++)
		assert_true(i < 100);
	assert_int_equal(i, 100);
	assert_int_equal(a->limiter.times, 1);
	/* Who owes does not pay now. */
	WRITE_ONCE(a->work, GCA_WORK_MARK);
	before = atomic64_read(&a->totals.scanned);
	w->m.balance = -(s64)MIB;
	w->m.balance_epoch = a->epoch;
	gca_assist(&w->m);
	assert_int_equal(atomic64_read(&a->totals.scanned), before);
	assert_int_equal(w->m.balance, -(s64)MIB);
	/* As soon as the program gets something done it does. */
	assert_false(limited(w, 21 * MS, 10 * MS));
	gca_assist(&w->m);
	assert_true(w->m.balance >= 0);
	/* A stop counts for all processors; and with a share of 100 nothing does. */
	gca_pace_stop(a, SECOND, 0);
	assert_true(gca_pace_limited(a));
	assert_int_equal(set(w, GCA_KNOB_CPU_PERCENT, 100), 0);
	assert_false(limited(w, 20 * MS, 20 * MS));
	gca_pace_stop(a, 10 * SECOND, 0);
	assert_false(gca_pace_limited(a));
	WRITE_ONCE(a->work, GCA_WORK_NONE);
	world_cycle(w, GCA_UNTIL_SWEPT);
	world_close(w);
}

/* ------------------------------------------------------------------------- sweep */

/* What nobody waits for: workers do it, while the port has nothing else to do. */
static void test_sweep_idle(void **state)
{
	struct world *w = world_open(256 * MIB, 0, 1);
	struct gca_arena *a = &w->a;
	u64 metadata;
	u32 i;

	assert_false(gca_sweep_there(a));
	world_alloc(w, 20 * MIB, GCARENA_NOSCAN, 0);
	for (i = 0; i < 1000; i++)
		world_alloc(w, 8192, GCARENA_NOSCAN, 0);
	metadata = a->metadata;
	world_cycle(w, GCA_UNTIL_MARKING);
	assert_false(gca_sweep_there(a));
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_true(gca_sweep_there(a));
	/* No idle time at all: one is to do it, until it is done. */
	busy = true;
	assert_false(a->sweep_starves);
	assert_true(gca_sweep_idle(a));
	assert_true(gca_sweep_there(a));
	assert_true(a->sweep_starves);
	busy = false;
	assert_true(gca_sweep_idle(a));
	assert_false(gca_sweep_there(a));
	assert_false(a->sweep_starves);
	assert_int_equal(a->work, GCA_WORK_NONE);
	/* With what goes when all is swept. */
	assert_true(a->metadata < metadata);
	nobody = true;
	assert_false(gca_sweep_idle(a));
	nobody = false;
	world_close(w);
}

/* Go's inequality: the part that is swept is never below the part of the way that is gone. */
static void test_proportion(void **state)
{
	struct world *w = world_open(256 * MIB, 0, 1);
	struct gca_arena *a = &w->a;
	u64 basis, room, spans, before, most = 0, addr;
	u32 i, flags;

	for (i = 0; i < 8000; i++)
		world_alloc(w, 8192, GCARENA_NOSCAN, 0);
	w->root[0] = world_alloc(w, 20 * MIB, GCARENA_NOSCAN, 0);
	world_detach(w);
	world_attach(w);
	world_cycle(w, GCA_UNTIL_MARKED);
	spans = atomic64_read(&a->unswept);
	assert_true(spans > 8000);
	basis = atomic64_read(&a->heap_live);
	room = a->heap_trigger - basis - MIB;
	assert_int_equal(a->sweep_live, basis);
	assert_int_equal(a->sweep_room, room);
	assert_int_equal(a->sweep_spans, spans);
	/* At the beginning nothing; half of the way half of them; never more than there are. */
	assert_int_equal(gca_sweep_owed(a, 0), 0);
	assert_in_range(gca_sweep_owed(a, room / 2), spans / 2 - 1, spans / 2);
	assert_int_equal(gca_sweep_owed(a, room), spans);
	assert_int_equal(gca_sweep_owed(a, U64_MAX / 2), spans);
	while (atomic64_read(&a->unswept)) {
		before = atomic64_read(&a->unswept);
		assert_int_equal(gca_large(&w->m, 40000, GCARENA_NOSCAN, 0, &addr, &flags), 0);
		most = max(most, before - (u64)atomic64_read(&a->unswept));
		assert_int_equal(gca_sweep_owed(a, 0), 0);
		assert_true((u64)atomic64_read(&a->heap_live) < a->heap_trigger - MIB / 2);
	}
	/* In small steps. */
	assert_true(most < 64);
	/* Less than nothing is not everything (Go's issue 57523). */
	atomic64_set(&a->heap_live, 0);
	a->sweep_spans = 100;
	atomic64_set(&a->unswept, 100);
	assert_int_equal(gca_sweep_owed(a, 0), 0);
	atomic64_set(&a->unswept, 0);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_knobs),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_limit_below_live),
		cmocka_unit_test(test_period),
		cmocka_unit_test(test_limiter),
		cmocka_unit_test(test_return_slowly),
		cmocka_unit_test(test_return_all),
		cmocka_unit_test(test_sweep_idle),
		cmocka_unit_test(test_proportion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
