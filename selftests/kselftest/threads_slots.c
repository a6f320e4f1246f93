// SPDX-License-Identifier: GPL-2.0-only
/*
 * threads_slots.c: spans that are half used when their owner falls asleep.
 *
 * A span is lent to a thread; what a cycle does with it depends on how many of its
 * slots are taken (k of n), on what has died, and on whether the owner runs, sleeps
 * through the cycle, detaches or refills in the middle of marking.  The contents of
 * every object say whose it is, so that two objects in one place are found.
 */
#include "threads.h"

#define GCT_SUITE "threads_slots" GCT_SUFFIX

#define SLEEPERS	6
#define HELD_MAX	600

static struct gca_arena *arena;

struct sleeper {
	pthread_t thread;
	struct gca_mutator *m;
	uint64_t *held[HELD_MAX];	/* a plain root */
	uint32_t bytes[HELD_MAX];
	unsigned int n, number;
	int wake[2], asleep[2];
};

static uint64_t mark(const struct sleeper *s, unsigned int i)
{
	return ((uint64_t)s->number << 32 | i) ^ MAGIC;
}

static void take(struct sleeper *s, size_t bytes)
{
	uint64_t *p = s->n % 2 ? gca_alloc_noscan(s->m, bytes) : gca_alloc_conservative(s->m, bytes);

	ASSERT_TRUE(p);
	for (size_t i = 0; i < bytes / 8; i++)
		ASSERT_EQ(p[i], 0);
	ASSERT_LT(s->n, HELD_MAX);
	s->held[s->n] = p;
	s->bytes[s->n] = (uint32_t)bytes;
	for (size_t i = 0; i < bytes / 8; i++)
		p[i] = mark(s, s->n);
	s->n++;
}

static void verify(const struct sleeper *s)
{
	for (unsigned int i = 0; i < s->n; i++)
		for (uint32_t w = 0; s->held[i] && w < s->bytes[i] / 8; w++)
			ASSERT_EQ(s->held[i][w], mark(s, i));
}

static void nap(struct sleeper *s)
{
	char c = 0;

	ASSERT_EQ(write(s->asleep[1], &c, 1), 1);
	/* SA_RESTART: a stop's signal does not end it. */
	ASSERT_EQ(read(s->wake[0], &c, 1), 1);
}

/* Threads that run @fn, each with a struct sleeper, which is a root. */
static struct sleeper *sleepers_start(enum gca_stop stop, void *(*fn)(void *arg))
{
	struct sleeper *s;

	arena = open_engine(stop, "checkmark,clobber", GCA_NO_AUTO_COLLECT);
	s = mmap(NULL, SLEEPERS * sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	ASSERT_EQ(gca_root_add(arena, s, SLEEPERS * sizeof(*s), GCA_ROOT_PLAIN), 0);
	for (unsigned int i = 0; i < SLEEPERS; i++) {
		s[i].number = i + 1;
		ASSERT_EQ(pipe(s[i].wake), 0);
		ASSERT_EQ(pipe(s[i].asleep), 0);
		ASSERT_EQ(pthread_create(&s[i].thread, NULL, fn, &s[i]), 0);
	}
	return s;
}

static void sleepers_end(struct sleeper *s)
{
	for (unsigned int i = 0; i < SLEEPERS; i++)
		pthread_join(s[i].thread, NULL);
	for (int n = 0; n < 3; n++)
		collect(arena, 0);
	report(arena);
	gca_close(arena);
}

/*
 * k of the n slots, every other one let go; sleep for three cycles; the rest and
 * more; sleep again; verify all.  Odd ones detach and attach after the first nap.
 */
static void *sleeper(void *arg)
{
	static const uint32_t bytes[] = { 16, 64, 208, 512, 1024, 4096 };
	struct sleeper *s = arg;
	unsigned int round, i, k;

	s->m = attach(arena);
	for (round = 0; round < 6; round++) {
		uint32_t b = bytes[(round + s->number) % 6], n = 8192 / b;

		s->n = 0;
		k = round % 3 == 0 ? 1 : round % 3 == 1 ? n / 2 : n - 1;
		if (k > HELD_MAX / 2)
			k = HELD_MAX / 2;
		for (i = 0; i < k; i++)
			take(s, b);
		for (i = 0; i < s->n; i += 2)
			s->held[i] = NULL;
		nap(s);
		verify(s);
		if (s->number % 2) {
			ASSERT_EQ(gca_detach(s->m), 0);
			s->m = attach(arena);
		}
		for (i = 0; i < n + 2 && s->n < HELD_MAX; i++)
			take(s, b);
		nap(s);
		verify(s);
	}
	memset(s->held, 0, sizeof(s->held));
	return NULL;
}

TEST_ENGINES(k_of_n_and_sleep)
{
	struct sleeper *s = sleepers_start(stop, sleeper);
	char c = 0;

	for (unsigned int round = 0; round < 12; round++) {
		/* The odd half sleeps; then the even half; each through three cycles. */
		for (unsigned int half = 0; half < 2; half++) {
			for (unsigned int i = half; i < SLEEPERS; i += 2)
				ASSERT_EQ(read(s[i].asleep[0], &c, 1), 1);
			for (int n = 0; n < 3; n++)
				collect(arena, 0);
			for (unsigned int i = half; i < SLEEPERS; i += 2)
				ASSERT_EQ(write(s[i].wake[1], &c, 1), 1);
		}
	}
	sleepers_end(s);
}

/*
 * At every phase: before, between the halves of a cycle, after; threads refill,
 * detach, attach, exit, take and drop large objects.
 */
static void *phases(void *arg)
{
	struct sleeper *s = arg;
	unsigned int round;

	s->m = attach(arena);
	for (round = 0; round < 8; round++) {
		s->n = 0;
		for (unsigned int i = 0; i < 50; i++)
			take(s, 16 + 8 * ((i * 7 + s->number) % 60));
		take(s, 40000);
		nap(s);			/* marking has begun */
		for (unsigned int i = 0; i < 200; i++)
			take(s, 24 + 16 * (i % 20));
		take(s, 70000);
		if (round % 2) {
			ASSERT_EQ(gca_detach(s->m), 0);
			s->m = attach(arena);
			take(s, 48);
		}
		nap(s);			/* marked; being swept */
		verify(s);
		for (unsigned int i = 0; i < 100; i++)
			take(s, 24 + 16 * (i % 20));
		if (round % 3 == 2) {
			ASSERT_EQ(gca_detach(s->m), 0);
			s->m = attach(arena);
		}
		nap(s);			/* done */
		verify(s);
		memset(s->held, 0, sizeof(s->held));
	}
	return NULL;
}

TEST_ENGINES(every_phase)
{
	struct sleeper *s = sleepers_start(stop, phases);
	char c = 0;

	for (unsigned int round = 0; round < 8; round++)
		for (int step = 0; step < 3; step++) {
			for (unsigned int i = 0; i < SLEEPERS; i++)
				ASSERT_EQ(read(s[i].asleep[0], &c, 1), 1);
			collect(arena, step == 0 ? GCA_COLLECT_UNTIL_MARKING :
				step == 1 ? GCA_COLLECT_UNTIL_MARKED : 0);
			for (unsigned int i = 0; i < SLEEPERS; i++)
				ASSERT_EQ(write(s[i].wake[1], &c, 1), 1);
		}
	sleepers_end(s);
}

TEST_HARNESS_MAIN
