// SPDX-License-Identifier: MIT
/*
 * test_pacer.c: the pacer in an imagined program: Go's TestGcPacer, scenario by scenario, by
 * the same names and with the same bounds (mgcpacer_test.go).  Its arithmetic at its bounds.
 *
 * A cycle's marking goes in steps of half a millisecond.  In each, threads assist as the
 * price of memory asks, a quarter of the processors marks in any case, and the rest
 * allocates.  Rates are in KiB a millisecond and processor.  Everything is in integers,
 * fractions in parts of ONE, because it runs in the kernel, too.
 */
#include "pacer.h"
#include "world.h"

#define ONE		65536LL
#define CYCLES		100
#define CORES		8
#define KIB		1024LL
#define LIMIT_GOAL	520764785ULL	/* for 512 MiB, nothing else mapped */
#define PPM		1000000LL

/* -------------------------------------------------------------------- streams */

/* A number for each cycle: constant + ramp + pulse + noise or wave. */
struct stream {
	s64 base;
	s64 ramp, ramp_length, ramp_after;
	s64 pulse, pulse_at;
	s64 noise, wave;
	u64 seed;
};

/* sin(k / 8 of a turn) */
static const s64 wave8[8] = { 0, 46341, 65536, 46341, 0, -46341, -65536, -46341 };

static s64 next(struct stream *s, int i)
{
	int since = i - (int)s->ramp_after;
	s64 v = s->base;

	if (s->ramp_length && since > 0)
		v += since < s->ramp_length ? s->ramp * since / s->ramp_length : s->ramp;
	if (s->pulse && i == s->pulse_at)
		v += s->pulse;
	if (s->noise) {
		s->seed = s->seed * 6364136223846793005ULL + 1442695040888963407ULL;
		v += (s64)((s->seed >> 33) % (u64)(2 * s->noise + 1)) - s->noise;
	}
	return v + s->wave * wave8[i % 8] / ONE;
}

/* ------------------------------------------------------------------- scenarios */

struct result {
	u64 live, trigger, goal, peak;
	s64 util;			/* PPM */
};

struct scenario {
	const char *name;
	u64 percent, limit, globals;
	int length;
	struct stream alloc, scan, growth, scannable, stack;
	void (*check)(const struct scenario *sc, const struct result *r, int n);
};

/* Parts of a million of the way to the goal. */
static s64 goal_ratio(const struct result *r)
{
	return gca_mul_div(r->peak, PPM, r->goal);
}

static s64 trigger_ratio(const struct result *r)
{
	return gca_mul_div(r->trigger - r->live, PPM, r->goal - r->live);
}

static bool within(s64 a, s64 lo, s64 hi)
{
	return a >= lo && a <= hi;
}

static bool near(s64 a, s64 b, s64 epsilon)
{
	return within(a - b, -epsilon, epsilon);
}

static void run(const struct scenario *given)
{
	struct scenario sc = *given;
	struct gca_pacer p = { .percent = sc.percent, .heap_min = 4 * MIB, .limit = sc.limit };
	static struct result r[CYCLES];
	u64 live = 0, scan = 0, black_before = 0;
	int i;

	gca_pacer_commit(&p);
	for (i = 0; i < sc.length; i++) {
		s64 alloc = next(&sc.alloc, i), rate = next(&sc.scan, i);
		s64 growth = next(&sc.growth, i), scannable = next(&sc.scannable, i);
		u64 stack = next(&sc.stack, i), heap_next, heap, total, done = 0, black = 0;
		u64 ns = 0, assist_ns = 0;
		s64 use_sum = 0;

		/* The program allocates until the trigger. */
		r[i].trigger = max(gca_pacer_trigger(&p), live);
		scan += gca_mul_div(r[i].trigger - live, scannable, ONE);
		live = r[i].trigger;
		gca_pacer_begin(&p, live, scan, stack, sc.globals, 0);
		heap_next = i ? gca_mul_div(p.marked - black_before, growth, ONE) : 256 * KIB;
		heap = gca_mul_div(heap_next, scannable, ONE);
		total = sc.globals + stack + heap;
		while (done < total) {
			struct gca_price price = gca_pacer_price(&p, live, done);
			u64 owed = gca_mul_div(alloc, price.work, price.bytes);
			s64 use = max_t(s64, gca_mul_div(GCA_PACER_ONE, owed, owed + rate),
					GCA_PACER_ONE / 4);
			u64 step = 500000;
			u64 scans = gca_mul_div(512ULL * CORES * rate, use, GCA_PACER_ONE * ONE);
			u64 allocates = gca_mul_div(512ULL * CORES * alloc,
						    GCA_PACER_ONE - use, GCA_PACER_ONE * ONE);

			if (scans > total - done) {
				step = gca_mul_div(step, total - done, scans);
				allocates = gca_mul_div(allocates, total - done, scans);
				scans = total - done;
			}
			done += scans;
			live += allocates;
			black += allocates;
			ns += step;
			assist_ns += gca_mul_div(step * CORES, use - GCA_PACER_ONE / 4,
						 GCA_PACER_ONE);
			use_sum += use;
		}
		assert_true(use_sum >= 0);
		r[i].live = p.marked;
		r[i].goal = gca_pacer_goal(&p);
		r[i].peak = live;
		r[i].util = PPM / 4 + (ns ? gca_mul_div(assist_ns, PPM, ns * CORES) : 0);
		assert_true(within(r[i].util, 0, PPM));
		gca_pacer_end(&p, &(struct gca_pacer_cycle){
			.marked = heap_next + black, .live = live, .heap = heap, .stack = stack,
			.globals = sc.globals, .span_ns = ns * CORES, .assist_ns = assist_ns });
		gca_pacer_commit(&p);
		live = p.marked;
		scan = heap;
		black_before = black;
		sc.check(&sc, r, i + 1);
	}
}

/* Of the cycle that is the @n-th; Go counts results. */
#define LAST	const struct result *last = &r[n - 1], *before = n > 1 ? &r[n - 2] : last

static void steady(const struct scenario *sc, const struct result *r, int n)
{
	LAST;

	if (n < 25)
		return;
	assert_true(near(last->util, PPM / 4, 5000));
	assert_true(near(last->util, before->util, 5000));
	assert_true(within(goal_ratio(last), 950000, 1050000));
}

static void step(const struct scenario *sc, const struct result *r, int n)
{
	LAST;

	if ((n >= 25 && n < 50) || n >= 75) {
		assert_true(near(last->util, before->util, 5000));
		assert_true(within(goal_ratio(last), 950000, 1050000));
	}
}

static void high_gogc(const struct scenario *sc, const struct result *r, int n)
{
	LAST;

	if (n <= 12)
		return;
	if (n == 26) {
		/* The pulse: Go lets it be off so far. */
		assert_true(within(goal_ratio(last), 900000, 15000000));
	} else {
		assert_true(within(goal_ratio(last), 900000, 1050000));
	}
	assert_true(near(last->util, PPM / 4, 280000));
	assert_true(near(last->util, before->util, 30000));
}

static void oscillates(const struct scenario *sc, const struct result *r, int n)
{
	LAST;

	(void)before;
	if (n <= 12)
		return;
	assert_true(within(goal_ratio(last), 950000, 1050000));
	assert_true(within(last->util, 250000, 300000));
}

static void jitters(const struct scenario *sc, const struct result *r, int n)
{
	LAST;

	(void)before;
	if (n <= 12)
		return;
	assert_true(within(goal_ratio(last), 950000, 1025000));
	assert_true(within(last->util, 250000, 275000));
}

static void jitters_heavily(const struct scenario *sc, const struct result *r, int n)
{
	LAST;

	if (n <= 13)
		return;
	assert_true(within(goal_ratio(last), 950000, 1050000));
	assert_true(near(last->util, before->util, 50000));
	assert_true(near(last->util, r[11].util, 50000));
}

static void slow_after(const struct result *r, int n)
{
	LAST;

	if (n <= 25)
		return;
	assert_true(near(last->util, PPM / 4, 5000));
	assert_true(near(last->util, before->util, 50000));
	assert_true(near(last->util, r[11].util, 50000));
}

static void slow_small(const struct scenario *sc, const struct result *r, int n)
{
	LAST;

	(void)before;
	if (n > 4) {
		assert_true(within(goal_ratio(last), 925000, 1025000));
		assert_true(within(trigger_ratio(last), 925000, 975000));
	}
	slow_after(r, n);
}

static void slow_medium(const struct scenario *sc, const struct result *r, int n)
{
	if (n > 9)
		slow_small(sc, r, n);
}

static void slow_large(const struct scenario *sc, const struct result *r, int n)
{
	LAST;

	(void)before;
	if (n > 13) {
		assert_true(within(goal_ratio(last), 950000, 1050000));
		assert_true(near(last->goal - last->trigger, 4 * MIB, 64 * KIB));
	}
	slow_after(r, n);
}

static void below_limit(const struct scenario *sc, const struct result *r, int n)
{
	assert_true(r[n - 1].peak < LIMIT_GOAL);
	steady(sc, r, n);
}

static void at_limit(const struct scenario *sc, const struct result *r, int n)
{
	assert_int_equal(r[n - 1].goal, LIMIT_GOAL);
	steady(sc, r, n);
}

static void above_limit(const struct scenario *sc, const struct result *r, int n)
{
	LAST;

	if (n > 12)
		assert_int_equal(last->goal, last->live);
	if (sc->percent == U64_MAX && n < 10)
		assert_int_equal(last->goal, LIMIT_GOAL);
	if (n >= 25) {
		assert_true(near(last->util, PPM, 5000));
		assert_true(near(last->util, before->util, 5000));
	}
}

static void keeps_limit(const struct scenario *sc, const struct result *r, int n)
{
	if (n > 12)
		assert_int_equal(r[n - 1].goal, LIMIT_GOAL);
	steady(sc, r, n);
}

#define RATE(x)		((x) * ONE)
#define CONST(x)	{ .base = (x) }
#define SCAN		CONST(RATE(1024))
#define STACK		CONST(8 * KIB)
#define ALL		CONST(ONE)
#define HUNDREDTH	CONST(ONE / 100)
#define GROWS(from, n)	{ .base = (from), .ramp = ONE - (from), .ramp_length = (n) }
#define GROWTH		GROWS(2 * ONE, 12)
#define NO_LIMIT	U64_MAX
#define LIMIT		(512 * MIB)
#define GLOBALS		(32 * KIB)

static const struct scenario scenarios[] = {
	{ "Steady", 100, NO_LIMIT, GLOBALS, 50, CONST(RATE(33)), SCAN, GROWTH, ALL, STACK, steady },
	{ "SteadyBigStacks", 100, NO_LIMIT, GLOBALS, 50, CONST(RATE(132)), SCAN, GROWTH, ALL,
	  { .base = 2048, .ramp = 128 * MIB, .ramp_length = 8 }, steady },
	{ "SteadyBigGlobals", 100, NO_LIMIT, 128 * MIB, 50, CONST(RATE(132)), SCAN, GROWTH, ALL,
	  STACK, steady },
	{ "StepAlloc", 100, NO_LIMIT, GLOBALS, 100,
	  { .base = RATE(33), .ramp = RATE(66), .ramp_length = 1, .ramp_after = 50 }, SCAN,
	  GROWTH, ALL, STACK, step },
	{ "HeavyStepAlloc", 100, NO_LIMIT, GLOBALS, 100,
	  { .base = RATE(33), .ramp = RATE(330), .ramp_length = 1, .ramp_after = 50 }, SCAN,
	  GROWTH, ALL, STACK, step },
	{ "StepScannableFrac", 100, NO_LIMIT, GLOBALS, 100, CONST(RATE(128)), SCAN, GROWTH,
	  { .base = ONE / 5, .pulse = ONE / 2, .pulse_at = 50 }, STACK, step },
	{ "HighGOGC", 1500, NO_LIMIT, GLOBALS, 50,
	  { .base = RATE(165), .noise = RATE(7), .seed = 0x53 }, SCAN,
	  { .base = 2 * ONE, .ramp = -ONE, .ramp_length = 12, .noise = ONE / 100, .seed = 1,
	    .pulse = 14 * ONE, .pulse_at = 25 }, ALL, STACK, high_gogc },
	{ "OscAlloc", 100, NO_LIMIT, GLOBALS, 50, { .base = RATE(67), .wave = RATE(13) }, SCAN,
	  GROWTH, ALL, STACK, oscillates },
	{ "JitterAlloc", 100, NO_LIMIT, GLOBALS, 50,
	  { .base = RATE(132), .noise = RATE(13), .seed = 0xf }, SCAN,
	  { .base = 2 * ONE, .ramp = -ONE, .ramp_length = 12, .noise = ONE / 100, .seed = 0xe },
	  ALL, STACK, jitters },
	{ "HeavyJitterAlloc", 100, NO_LIMIT, GLOBALS, 50,
	  { .base = RATE(330), .noise = RATE(33) }, SCAN,
	  { .base = 2 * ONE, .ramp = -ONE, .ramp_length = 12, .noise = ONE / 100, .seed = 0x152 },
	  ALL, STACK, jitters_heavily },
	{ "SmallHeapSlowAlloc", 100, NO_LIMIT, GLOBALS, 50, CONST(RATE(1)), CONST(RATE(2048)),
	  GROWS(2 * ONE, 3), HUNDREDTH, STACK, slow_small },
	{ "MediumHeapSlowAlloc", 100, NO_LIMIT, GLOBALS, 50, CONST(RATE(1)), CONST(RATE(2048)),
	  GROWS(2 * ONE, 8), HUNDREDTH, STACK, slow_medium },
	{ "LargeHeapSlowAlloc", 100, NO_LIMIT, GLOBALS, 50, CONST(RATE(1)), CONST(RATE(2048)),
	  GROWS(4 * ONE, 12), HUNDREDTH, STACK, slow_large },
	{ "SteadyMemoryLimit", 100, LIMIT, GLOBALS, 50, CONST(RATE(33)), SCAN, GROWTH, ALL,
	  STACK, below_limit },
	{ "SteadyMemoryLimitNoGCPercent", U64_MAX, LIMIT, GLOBALS, 50, CONST(RATE(33)), SCAN,
	  GROWTH, ALL, STACK, at_limit },
	{ "ExceedMemoryLimit", 100, LIMIT, GLOBALS, 50, CONST(RATE(33)), SCAN,
	  GROWS(ONE / 2 * 7, 12), ALL, STACK, above_limit },
	{ "ExceedMemoryLimitNoGCPercent", U64_MAX, LIMIT, GLOBALS, 50, CONST(RATE(33)), SCAN,
	  GROWS(ONE / 2 * 7, 12), ALL, STACK, above_limit },
	{ "MaintainMemoryLimit", 100, LIMIT, GLOBALS, 50, CONST(RATE(33)), SCAN,
	  GROWS(3 * ONE, 12), ALL, STACK, keeps_limit },
	{ "MaintainMemoryLimitNoGCPercent", U64_MAX, LIMIT, GLOBALS, 50, CONST(RATE(33)), SCAN,
	  GROWS(3 * ONE, 12), ALL, STACK, at_limit },
};

static void test_scenarios(void **state)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(scenarios); i++) {
		print_message("%s\n", scenarios[i].name);
		run(&scenarios[i]);
	}
}

/* A number of any size. */
static u64 any(u64 *seed)
{
	u64 v;

	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	v = *seed ^ *seed >> 29;
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*seed >> 58) > 60 ? U64_MAX : v >> (*seed >> 33) % 64;
}

static struct gca_pacer nonsense(u64 *seed)
{
	struct gca_pacer p = {
		.percent = any(seed), .heap_min = any(seed), .limit = any(seed),
		.mapped = any(seed), .heap_free = any(seed), .heap_used = any(seed),
		.floor = any(seed), .marked = any(seed), .heap_work = any(seed),
		.stack_work = any(seed), .globals = any(seed), .early = any(seed),
	};
	u32 i;

	for (i = 0; i < GCA_PACER_WINDOW; i++)
		p.cons_mark[i] = any(seed);
	return p;
}

/* Whatever it is told: bounds hold, nothing traps, nothing wraps. */
static void test_nonsense(void **state)
{
	u64 seed = 1, goal, trigger, most;
	struct gca_price price;
	struct gca_pacer p;
	int i;

	for (i = 0; i < 200000; i++) {
		p = nonsense(&seed);
		gca_pacer_commit(&p);
		goal = gca_pacer_goal(&p);
		trigger = gca_pacer_trigger(&p);
		assert_true(trigger <= goal);
		assert_true(trigger >= min(p.marked, goal));
		assert_true(goal >= p.goal || p.limit != U64_MAX);
		gca_pacer_begin(&p, any(&seed), any(&seed), any(&seed), any(&seed),
				any(&seed));
		price = gca_pacer_price(&p, any(&seed), any(&seed));
		assert_true(price.work >= 1000 && price.bytes);
		gca_pacer_end(&p, &(struct gca_pacer_cycle){
			any(&seed), any(&seed), any(&seed), any(&seed), any(&seed), any(&seed),
			any(&seed), any(&seed), any(&seed) });
		assert_false(p.marking);
	}
	for (i = 0; i < 200000; i++) {
		u64 a = any(&seed), b = any(&seed), c = any(&seed), q = gca_mul_div(a, b, c);

		/* q <= ab / c < q + 1, if that is a number */
		most = mul_u64_u64_shr(q, max(c, 1ULL), 64);
		assert_true(most <= mul_u64_u64_shr(a, b, 64));
		if (q == U64_MAX)
			continue;
		if (most == mul_u64_u64_shr(a, b, 64)) {
			assert_true(q * max(c, 1ULL) <= a * b);
			assert_true(a * b - q * max(c, 1ULL) < max(c, 1ULL));
		}
	}
}

/* What a cycle teaches: bytes for a byte of work, were a quarter of the processors to mark. */
static void test_ratio(void **state)
{
	static const struct {
		u64 born, work, span, worker, assist, idle, ratio;	/* MiB, ms, thousandths */
	} c[] = {
		{ 30, 10, 400, 90, 0, 0, 1000 },	/* a quarter: 100 ms for 300 of the program's */
		{ 30, 10, 400, 100, 100, 0, 3000 },	/* assists: 200 for 200 */
		{ 30, 10, 400, 100, 0, 200, 3000 },	/* idle time is work, and not the program's loss */
		{ 30, 10, 400, 100, 200, 100, 12000 },
		{ 30, 10, 400, 200, 0, 0, 3000 },	/* workers in the place of who owes */
		{ 30, 10, 400, 150, 50, 0, 3000 },
		{ 30, 10, 400, 400, 4000, 0, 45000 },	/* the clock says more than there was */
		{ 30, 10, 400, 100, 0, 4000, 5000 },
		{ 0, 10, 400, 100, 0, 0, 0 },	/* nothing new, nothing learnt */
		{ 30, 10, 0, 0, 0, 0, 0 },		/* the program did not run */
	};
	struct gca_pacer p = { .percent = 100, .limit = U64_MAX };
	u64 i, k;

	for (i = 0; i < ARRAY_SIZE(c); i++) {
		struct gca_pacer_cycle e = {
			.marked = 100 * MIB, .live = (50 + c[i].born) * MIB,
			.heap = (c[i].work - 2) * MIB, .stack = 3 * MIB, .globals = 4 * MIB,
			.span_ns = c[i].span * 1000000,
			.worker_ns = c[i].worker * 1000000, .assist_ns = c[i].assist * 1000000,
			.idle_ns = c[i].idle * 1000000,
		};

		memset(p.cons_mark, 0, sizeof(p.cons_mark));
		p.cons_mark[0] = 77;
		/* Of the roots 5 MiB were done in the stop: they are not paced. */
		gca_pacer_begin(&p, 50 * MIB, 0, 3 * MIB, 4 * MIB, 5 * MIB);
		gca_pacer_end(&p, &e);
		if (!c[i].ratio) {
			assert_int_equal(p.cons_mark[0], 77);
			continue;
		}
		assert_int_equal(p.cons_mark[1], 77);
		assert_true(near(gca_mul_div(p.cons_mark[0], 1000, GCA_PACER_ONE), c[i].ratio, 1));
		gca_pacer_commit(&p);
		/* (1 - u) / u for a quarter is 3 */
		assert_true(near(p.runway, 3 * c[i].ratio * c[i].work * MIB / 1000, MIB / 100));
	}
	/* What has taken too long is forgotten after five cycles. */
	p.cons_mark[0] = 1000 * GCA_PACER_ONE;
	for (k = 0; k < GCA_PACER_WINDOW; k++) {
		gca_pacer_commit(&p);
		assert_true(p.runway > 1000 * MIB);
		gca_pacer_begin(&p, 50 * MIB, 0, 0, 0, 0);
		gca_pacer_end(&p, &(struct gca_pacer_cycle){ .live = 51 * MIB, .heap = MIB,
							      .span_ns = 1000 });
	}
	gca_pacer_commit(&p);
	assert_true(p.runway < 1000 * MIB);
}

static void test_mul_div(void **state)
{
	static const u64 c[][4] = {
		{ 0, 0, 0, 0 }, { 7, 5, 0, 35 }, { 7, 5, 3, 11 }, { U64_MAX, U64_MAX, U64_MAX, U64_MAX },
		{ U64_MAX, 2, 1, U64_MAX }, { U64_MAX, 2, 2, U64_MAX }, { U64_MAX, 2, 3, 0xaaaaaaaaaaaaaaaa },
		/* The quotient is 2^64 and a bit, exactly, and a bit less. */
		{ 1ULL << 63, 4, 2, U64_MAX }, { 1ULL << 32, 1ULL << 32, 1, U64_MAX },
		{ U64_MAX, U64_MAX, U64_MAX - 1, U64_MAX }, { U64_MAX, U64_MAX - 1, U64_MAX, U64_MAX - 1 },
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(c); i++)
		assert_int_equal(gca_mul_div(c[i][0], c[i][1], c[i][2]), c[i][3]);
}

/* Dearer as the goal comes nearer; more than was expected moves it, but not beyond the hard goal. */
static void test_price(void **state)
{
	struct gca_pacer p = { .percent = 100, .limit = U64_MAX, .marked = 100 * MIB,
			       .heap_work = 50 * MIB };
	struct gca_price price;

	gca_pacer_commit(&p);
	gca_pacer_begin(&p, 180 * MIB, 90 * MIB, 0, 0, 0);
	price = gca_pacer_price(&p, 180 * MIB, 0);
	assert_int_equal(price.work, 50 * MIB);
	assert_int_equal(price.bytes, 20 * MIB);
	price = gca_pacer_price(&p, 190 * MIB, 40 * MIB);
	assert_int_equal(price.work, 10 * MIB);
	assert_int_equal(price.bytes, 10 * MIB);
	/* All that could be live may be: at the same pace the goal is 180 + 20 * 90 / 50. */
	price = gca_pacer_price(&p, 190 * MIB, 51 * MIB);
	assert_int_equal(price.work, 39 * MIB);
	assert_int_equal(price.bytes, 26 * MIB);
	/* Beyond the goal: a tenth more, and all work is due. */
	price = gca_pacer_price(&p, 210 * MIB, 40 * MIB);
	assert_int_equal(price.work, 50 * MIB);
	assert_int_equal(price.bytes, 10 * MIB);
	/* Beyond everything: each byte costs all that is left. */
	price = gca_pacer_price(&p, 240 * MIB, 90 * MIB);
	assert_int_equal(price.work, 1000);
	assert_int_equal(price.bytes, 1);
	/* The hard goal is twice the goal, whatever the pace would say. */
	p.scan = 5000 * MIB;
	price = gca_pacer_price(&p, 200 * MIB, 51 * MIB);
	assert_int_equal(price.bytes, 200 * MIB);
	/* But where a memory limit sets the goal, with or without a percentage, it stays. */
	p.limit = 180 * MIB;
	p.mapped = p.heap_used = 150 * MIB;
	for (p.percent = 100; p.percent; p.percent = p.percent == 100 ? U64_MAX : 0) {
		gca_pacer_commit(&p);
		assert_true(gca_pacer_goal(&p) < 180 * MIB);
		price = gca_pacer_price(&p, 170 * MIB, 51 * MIB);
		assert_int_equal(price.bytes, gca_pacer_goal(&p) - 170 * MIB);
		price = gca_pacer_price(&p, 100 * MIB, 51 * MIB);
		assert_int_equal(price.bytes, gca_pacer_goal(&p) - 100 * MIB);
	}
	p.limit = U64_MAX;
	p.percent = 100;
	gca_pacer_commit(&p);
	/* No bound at all: nothing is owed to speak of. */
	p.percent = U64_MAX;
	gca_pacer_commit(&p);
	price = gca_pacer_price(&p, 200 * MIB, 0);
	assert_true(price.bytes > price.work << 20);
}

/* Floors and limits: what goes before what. */
static void test_goal(void **state)
{
	struct gca_pacer p = { .percent = 100, .limit = U64_MAX, .marked = 100 * MIB,
			       .heap_min = 4 * MIB, .floor = 300 * MIB };

	gca_pacer_commit(&p);
	assert_int_equal(gca_pacer_goal(&p), 300 * MIB);
	/* After void cycles: not before the floor. */
	assert_int_equal(gca_pacer_trigger(&p), 300 * MIB);
	p.limit = 150 * MIB;
	p.mapped = 120 * MIB;
	p.heap_used = 100 * MIB;
	p.heap_free = 10 * MIB;
	/* 10 MiB are others', 140 are left, less 3 %; a floor would break it. */
	assert_int_equal(gca_pacer_goal(&p), 140 * MIB - 140 * MIB / 100 * 3);
	assert_true(gca_pacer_trigger(&p) < gca_pacer_goal(&p));
	/* Nothing is left: all the time. */
	p.mapped = 400 * MIB;
	assert_int_equal(gca_pacer_goal(&p), 100 * MIB);
	assert_int_equal(gca_pacer_trigger(&p), 100 * MIB);
	/* A small limit keeps a small heap going. */
	p = (struct gca_pacer){ .percent = 100, .limit = MIB + MIB / 2 };
	gca_pacer_commit(&p);
	assert_int_equal(gca_pacer_goal(&p), 0);
	p.percent = U64_MAX;
	gca_pacer_commit(&p);
	assert_int_equal(gca_pacer_goal(&p), GCA_HEADROOM_MIN);
	/* A cycle that marks has some way to go, but by a limit. */
	p = (struct gca_pacer){ .percent = 100, .limit = U64_MAX };
	gca_pacer_commit(&p);
	gca_pacer_begin(&p, MIB, 0, 0, 0, 0);
	assert_int_equal(gca_pacer_goal(&p), MIB + GCA_RUNWAY_MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scenarios),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_mul_div),
		cmocka_unit_test(test_ratio),
		cmocka_unit_test(test_price),
		cmocka_unit_test(test_goal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
