// SPDX-License-Identifier: GPL-2.0-only
/*
 * barrier.c: the calls that overwrite pointers, while the collector marks and not.
 *
 * What they do to memory; that what they overwrite while marking lives through the cycle,
 * with more of it than a ring holds; and two threads that overwrite one word.  The same in
 * random programs: threads_shadow.c.
 */
#include "threads.h"

#include <sys/time.h>

#define GCT_SUITE "barrier" GCT_SUFFIX

#define MANY		700		/* more than a ring has */

struct pair {
	struct pair *left, *right;
	uint64_t serial;
};

static struct gca_arena *arena;
static struct gca_mutator *mut;
static const struct gca_layout *layout;
static void **root;

static void start(const char *debug, uint32_t flags)
{
	arena = open_engine(GCA_STOP_AUTO, debug, flags);
	mut = attach(arena);
	layout = gca_layout_of(arena, struct pair, left, right);
	ASSERT_TRUE(layout);
}

static uint64_t live(void)
{
	struct gca_stats s;

	ASSERT_EQ(gca_stats(arena, &s), 0);
	return s.live_bytes;
}

/* ------------------------------------------------------------------- semantics */

static void one_word(void)
{
	struct pair *a = gca_alloc(mut, layout), *b = gca_alloc(mut, layout);
	struct pair *p = gca_alloc(mut, layout);

	ASSERT_TRUE(a && b && p);
	EXPECT_EQ(gca_cas(mut, &p->left, NULL, a), 1);
	EXPECT_TRUE(p->left == a);
	EXPECT_EQ(gca_cas(mut, &p->left, NULL, b), 0);
	EXPECT_EQ(gca_cas(mut, &p->left, b, NULL), 0);
	EXPECT_TRUE(p->left == a);
	EXPECT_EQ(gca_cas(mut, &p->left, a, b), 1);
	EXPECT_TRUE(gca_exchange(mut, &p->left, a) == b);
	EXPECT_TRUE(gca_exchange(mut, &p->left, NULL) == a);
	EXPECT_TRUE(!p->left && !p->right);
	gca_store(mut, &p->right, b);
	EXPECT_TRUE(p->right == b);
}

#define WORDS	1500

/* Random moves and clears in one array, and the same in a copy of it. */
static void ranges(uint64_t seed, unsigned long rounds)
{
	uint64_t **o = gca_alloc_conservative(mut, WORDS * 8);
	static uint64_t *copy[WORDS];
	size_t to, from, n;

	ASSERT_TRUE(o);
	for (int i = 0; i < WORDS; i++) {
		copy[i] = gca_alloc_noscan(mut, 16);
		gca_store(mut, &o[i], copy[i]);
	}
	while (rounds--) {
		n = gct_random(&seed) >> 20;
		n = n % 3 ? n % 70 : n % WORDS;
		to = (gct_random(&seed) >> 20) % (WORDS - n + 1);
		from = (gct_random(&seed) >> 20) % (WORDS - n + 1);
		if (n % 2)	/* often by a few words */
			from = to < 5 ? to : to - (n / 2) % 5;
		from = from + n > WORDS ? WORDS - n : from;
		if (rounds % 8) {
			gca_store_range(mut, &o[to], &o[from], n);
			memmove(&copy[to], &copy[from], n * 8);
		} else {
			gca_clear_range(mut, &o[to], n / 4);
			memset(&copy[to], 0, n / 4 * 8);
		}
		if (rounds % 64 == 1)	/* or nothing would be left */
			for (int i = 0; i < WORDS; i += 1 + (int)(n % 7)) {
				copy[i] = gca_alloc_noscan(mut, 16);
				gca_store(mut, &o[i], copy[i]);
			}
		ASSERT_EQ(memcmp(o, copy, sizeof(copy)), 0);
	}
	memset(copy, 0, sizeof(copy));
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* With signals that abort sections wherever they are. */
TEST(words_and_ranges)
{
	/* An emulated machine would do nothing else. */
	const long us = gct_in_process() && gct_slow() == 1 ? 50 : 5000;
	const struct itimerval often = { { 0, us }, { 0, us } }, never = { 0 };
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };

	start("checkmark", GCA_NO_AUTO_COLLECT);
	ASSERT_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	ASSERT_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (unsigned long i = 0; i < gct_scale(40); i++) {
		one_word();
		ranges(i + 1, 100);
		collect(arena, GCA_COLLECT_UNTIL_MARKING);
		one_word();
		ranges(i + 1001, 100);
		collect(arena, GCA_COLLECT_UNTIL_MARKED);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	gca_close(arena);
}

/* ------------------------------------------------- overwritten while it marks */

static uintptr_t hidden[MANY];

static __attribute__((noinline)) void fill(uint64_t serial)
{
	struct pair *holder = gca_alloc(mut, layout), *p;
	void **array = gca_alloc_conservative(mut, MANY * 8);

	ASSERT_TRUE(holder && array);
	/* Below the root, so that the begin stop does not scan it. */
	gca_store(mut, &holder->left, array);
	gca_store(mut, root, holder);
	for (int i = 0; i < MANY; i++) {
		p = gca_alloc(mut, layout);
		ASSERT_TRUE(p);
		p->serial = serial + (uint64_t)i;
		hidden[i] = HIDE(p);
		gca_store(mut, &array[i], p);
	}
}

enum way { STORE, CAS, EXCHANGE, CLEAR, DOWN, UP, WAYS };

static __attribute__((noinline)) void overwrite(enum way way)
{
	void **array = (void **)((struct pair *)*root)->left, *young;

	/* What they are overwritten with is new, and none of them. */
	young = gca_alloc_noscan(mut, 16);
	ASSERT_TRUE(young);
	for (int i = 0; way <= EXCHANGE && i < MANY; i++)
		if (way == STORE)
			gca_store(mut, &array[i], young);
		else if (way == CAS)
			ASSERT_EQ(gca_cas(mut, &array[i], array[i], young), 1);
		else
			ASSERT_TRUE(gca_exchange(mut, &array[i], NULL) == SEEK(hidden[i]));
	if (way == CLEAR) {
		gca_clear_range(mut, array, MANY);
	} else if (way > CLEAR) {
		/* Overlapping: one object is copied over all others. */
		void **from = way == UP ? array : array + 1, **to = way == UP ? array + 1 : array;

		for (int i = 0; i < MANY; i += 100)
			gca_store_range(mut, to, from, MANY - 1);
		gca_store_range(mut, array, array + MANY / 2, MANY / 2);
		gca_store_range(mut, array + MANY / 2, array, MANY / 2);
	}
}

TEST(overwritten_while_marking)
{
	static void *holder;

	start("checkmark,clobber", GCA_NO_AUTO_COLLECT);
	root = &holder;
	for (int round = 0; round < 2; round++)
		for (enum way way = STORE; way < WAYS; way++) {
			fill(1000 * (uint64_t)way);
			gct_clean_stack();
			collect(arena, GCA_COLLECT_UNTIL_MARKING);
			overwrite(way);
			gct_clean_stack();
			collect(arena, round ? 0 : GCA_COLLECT_UNTIL_MARKED);
			if (!round)
				EXPECT_GE(live(), MANY * sizeof(struct pair));
			/* Not freed, so not overwritten by what is allocated now. */
			for (int i = 0; !round && i < 4 * MANY; i++)
				ASSERT_TRUE(gca_alloc(mut, layout));
			for (int i = 0; !round && i < MANY; i++)
				ASSERT_EQ(((struct pair *)SEEK(hidden[i]))->serial,
					  1000 * (uint64_t)way + (uint64_t)i);
			gca_store(mut, root, NULL);
			gct_clean_stack();
			/* Three, because the colour rule of a span has a period of two. */
			for (int i = 0; i < 3; i++)
				collect(arena, 0);
#ifndef __SANITIZE_ADDRESS__	/* it keeps words of frames that are gone */
			EXPECT_LE(live(), MANY * sizeof(struct pair) / 10);
#endif
		}
	gca_close(arena);
}

/* ------------------------------------------------------------- the insertion half */

static __attribute__((noinline)) void drop_many(void)
{
	for (int i = 0; i < MANY; i++) {
		struct pair *p = gca_alloc(mut, layout);

		ASSERT_TRUE(p);
		hidden[i] = HIDE(p);
	}
}

/* By an object that is new, so black, and will not be scanned. */
static __attribute__((noinline)) void name_them(enum way way)
{
	void **array = gca_alloc_conservative(mut, MANY * 8), **copy = malloc(MANY * 8);

	ASSERT_TRUE(array && copy);
	for (int i = 0; i < MANY; i++) {
		copy[i] = SEEK(hidden[i]);
		if (way == STORE)
			gca_store(mut, &array[i], SEEK(hidden[i]));
		else if (way == CAS)
			ASSERT_EQ(gca_cas(mut, &array[i], NULL, SEEK(hidden[i])), 1);
		else if (way == EXCHANGE)
			ASSERT_TRUE(!gca_exchange(mut, &array[i], SEEK(hidden[i])));
	}
	if (way > CLEAR)
		gca_store_range(mut, array, copy, MANY);
	free(copy);
}

/*
 * Objects that nothing named when marking began are named now.  It is against the rules, and
 * so shows what is recorded: with the insertion half they live through the cycle.
 */
TEST(insertion)
{
	for (int with = 0; with < 2; with++) {
		start("clobber", GCA_NO_AUTO_COLLECT | (with ? GCA_INSERTION : 0));
		for (enum way way = STORE; way < WAYS; way++) {
			if (way == CLEAR)
				continue;
			drop_many();
			gct_clean_stack();
			collect(arena, GCA_COLLECT_UNTIL_MARKING);
			name_them(way);
			gct_clean_stack();
			collect(arena, GCA_COLLECT_UNTIL_MARKED);
			if (with)
				EXPECT_GE(live(), MANY * sizeof(struct pair));
#ifndef __SANITIZE_ADDRESS__	/* it keeps words of frames that are gone */
			else
				EXPECT_LE(live(), MANY * sizeof(struct pair) / 10);
#endif
			for (int i = 0; i < 3; i++)
				collect(arena, 0);
		}
		gca_close(arena);
	}
}

/* --------------------------------------------------------- two threads, one word */

#define PUSHERS	3

static void *stack_head;
static int go;
static unsigned long pushes;

static void *pusher(void *arg)
{
	uint64_t serial = (uint64_t)(uintptr_t)arg << 32;
	struct gca_mutator *m = attach(arena);
	struct pair *p, *head;

	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		;
	for (unsigned long i = 0; i < pushes; i++) {
		p = gca_alloc(m, layout);
		ASSERT_TRUE(p);
		p->serial = serial + i;
		do {
			head = __atomic_load_n((struct pair **)root, __ATOMIC_ACQUIRE);
			gca_store(m, &p->left, head);
		} while (!gca_cas(m, root, head, p));
	}
	p = head = NULL;
	gct_clean_stack();
	ASSERT_EQ(gca_detach(m), 0);
	return NULL;
}

/* Take all that is there, and see that each thread's are in their order. */
static unsigned long take(uint64_t *last)
{
	struct pair *p = gca_exchange(mut, root, NULL);
	unsigned long n = 0;

	uint64_t before[PUSHERS + 1];

	for (int i = 0; i <= PUSHERS; i++)
		before[i] = UINT64_MAX;
	for (; p; p = p->left, n++) {
		uint64_t who = p->serial >> 32;

		ASSERT_TRUE(who >= 1 && who <= PUSHERS);
		ASSERT_LT(p->serial, before[who]);
		if (before[who] == UINT64_MAX) {
			ASSERT_TRUE(last[who] == UINT64_MAX || p->serial > last[who]);
			last[who] = p->serial;
		}
		before[who] = p->serial;
	}
	return n;
}

TEST(pushed_and_taken)
{
	uint64_t last[PUSHERS + 1];
	pthread_t t[PUSHERS];
	unsigned long n = 0;
	struct gca_stats s;

	start("checkmark,clobber", 0);
	root = &stack_head;
	pushes = gct_scale(60000);
	for (int i = 0; i <= PUSHERS; i++)
		last[i] = UINT64_MAX;
	for (uintptr_t i = 0; i < PUSHERS; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, pusher, (void *)(i + 1)), 0);
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	while (n < PUSHERS * pushes) {
		n += take(last);
		collect(arena, 0);
	}
	for (int i = 0; i < PUSHERS; i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(n, PUSHERS * pushes);
	ASSERT_EQ(gca_stats(arena, &s), 0);
	gct_note("# %" PRIu64 " cycles, %" PRIu64 " stops", s.cycles, s.stops);
	gca_close(arena);
}

TEST_HARNESS_MAIN
