// SPDX-License-Identifier: GPL-2.0-only
/*
 * threads_fibers.c: the only pointers to a list are on the stack of a fiber that is
 * parked, or in the registers it was parked with, or on the stack of a thread that
 * runs a fiber; fibers go from thread to thread while cycles run.
 */
#include "threads.h"

#define GCT_SUITE "threads_fibers" GCT_SUFFIX

#define FIBERS		24
#define THREADS		6
#define STACK		32768

struct node {
	struct node *next;
	uint64_t serial;
};

struct task {
	struct gca_fiber *fiber;
	struct gca_mutator *m;		/* of the thread that runs it now */
	struct gca_fiber *back;
	uint64_t number, turns;
	pthread_mutex_t lock;
	bool done;
};

static struct gca_arena *arena;
static const struct gca_layout *layout;
static struct task task[FIBERS];
static unsigned long wanted;

/* Before it goes, enough garbage that slots freed by mistake are used again. */
static void leave(struct task *t)
{
	for (int i = 0; i < 200; i++)
		gca_alloc(t->m, layout);
	gca_fiber_switch(t->m, t->fiber, t->back);
}

/* Eight values that live across a switch: more than there are registers for. */
static void fiber(void *arg)
{
	struct task *t = arg;
	uint64_t serial = t->number << 32;

	while (t->turns < wanted) {
		struct node *list = NULL, *held[7];

		for (int i = 0; i < 7; i++) {
			struct node *n = gca_alloc(t->m, layout);

			ASSERT_TRUE(n);
			n->serial = (serial + (uint64_t)i) ^ MAGIC;
			n->next = list;
			list = n;
			if (i % 3 == 0)
				leave(t);
			held[i] = gca_alloc(t->m, layout);
			ASSERT_TRUE(held[i]);
			held[i]->serial = serial ^ ~MAGIC;
		}
		leave(t);
		for (int i = 7; i--; list = list->next) {
			ASSERT_EQ(list->serial, (serial + (uint64_t)i) ^ MAGIC);
			ASSERT_EQ(held[i]->serial, serial ^ ~MAGIC);
		}
		ASSERT_TRUE(!list);
		serial += 7;
		t->turns++;
	}
	t->done = true;
	leave(t);
}

/* Takes whatever fiber is free, runs it for a turn; keeps a list of its own meanwhile. */
static void *runner(void *arg)
{
	struct gca_mutator *m = attach(arena);
	struct gca_fiber *self = gca_fiber_thread(m);
	uint64_t seed = (uintptr_t)arg * 77, left = 1;
	struct node *mine = gca_alloc(m, layout);

	ASSERT_TRUE(self);
	ASSERT_TRUE(mine);
	mine->serial = (uintptr_t)arg ^ MAGIC;
	while (left) {
		left = 0;
		for (int i = 0; i < FIBERS; i++) {
			struct task *t = &task[(gct_random(&seed) >> 33) % FIBERS];

			if (__atomic_load_n(&task[i].done, __ATOMIC_RELAXED) == false)
				left++;
			if (pthread_mutex_trylock(&t->lock))
				continue;
			if (!t->done) {
				t->m = m;
				t->back = self;
				gca_fiber_switch(m, self, t->fiber);
			}
			pthread_mutex_unlock(&t->lock);
			ASSERT_EQ(mine->serial, (uintptr_t)arg ^ MAGIC);
		}
	}
	return NULL;
}

TEST_ENGINES(parked_and_passed_on)
{
	pthread_t t[THREADS];
	struct gca_stats s;
	char *stacks;
	bool all = false;

	arena = open_engine(stop, "checkmark,clobber", 0);
	layout = gca_layout_of(arena, struct node, next);
	wanted = gct_scale(80);
	stacks = mmap(NULL, FIBERS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	for (int i = 0; i < FIBERS; i++) {
		pthread_mutex_init(&task[i].lock, NULL);
		task[i].number = (uint64_t)i + 1;
		task[i].fiber = gca_fiber_create(arena, stacks + i * STACK,
						 stacks + (i + 1) * STACK, fiber, &task[i]);
		ASSERT_TRUE(task[i].fiber);
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, runner, (void *)(i + 1)), 0);
	while (!all) {
		all = true;
		collect(arena, 0);
		gct_sleep_ms(2);
		for (int i = 0; i < FIBERS; i++)
			all &= __atomic_load_n(&task[i].done, __ATOMIC_RELAXED);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < FIBERS; i++) {
		EXPECT_EQ(task[i].turns, wanted);
		EXPECT_EQ(gca_fiber_destroy(task[i].fiber), 0);
	}
	for (int i = 0; i < 3; i++)
		collect(arena, 0);
	report(arena);
	ASSERT_EQ(gca_stats(arena, &s), 0);
	EXPECT_LE(s.live_bytes, 65536);
	gca_close(arena);
}

#define BURIED		64

/* Pointers that only dead stack holds when this has returned, far below. */
static __attribute__((__noinline__)) void bury(struct gca_mutator *m)
{
	void *volatile held[512] = { NULL };

	for (int i = 0; i < BURIED; i++) {
		held[i] = gca_alloc_noscan(m, 4096);
		ASSERT_TRUE(held[i]);
	}
}

static void digger(void *arg)
{
	struct task *t = arg;
	void *volatile kept;

	bury(t->m);
	kept = gca_alloc_noscan(t->m, 8192);
	gca_fiber_switch(t->m, t->fiber, t->back);
	t->turns = (uintptr_t)kept;
	gca_fiber_switch(t->m, t->fiber, t->back);
}

static void collector(void *arg)
{
	struct task *t = arg;

	collect(arena, 0);
	gca_fiber_switch(t->m, t->fiber, t->back);
}

static struct gca_fiber *new_fiber(void (*fn)(void *arg), struct task *t)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	t->fiber = gca_fiber_create(arena, stack, stack + STACK, fn, t);
	if (!t->fiber)
		_exit(4);
	return t->fiber;
}

/*
 * A parked stack is a root from its stack pointer on: what is below keeps nothing.
 * That of a fiber, and that of a thread that runs one.
 */
TEST_ENGINES(dead_words_keep_nothing)
{
	struct task *t = &task[0];
	struct gca_fiber *one;
	struct gca_stats s;

	arena = open_engine(stop, "checkmark", 0);
	t->m = attach(arena);
	t->back = gca_fiber_thread(t->m);
	one = new_fiber(digger, t);
	gca_fiber_switch(t->m, t->back, one);
	collect(arena, 0);
	ASSERT_EQ(gca_stats(arena, &s), 0);
	EXPECT_GE(s.live_bytes, 8192);
	EXPECT_LE(s.live_bytes, BURIED / 4 * 4096);
	bury(t->m);
	gca_fiber_switch(t->m, t->back, new_fiber(collector, t));
	ASSERT_EQ(gca_stats(arena, &s), 0);
	EXPECT_GE(s.live_bytes, 8192);
	EXPECT_LE(s.live_bytes, BURIED / 4 * 4096);
	t->fiber = one;
	gca_fiber_switch(t->m, t->back, one);
	EXPECT_TRUE(t->turns);
	gca_close(arena);
}

TEST(errors)
{
	struct gca_fiber *f;
	struct gca_mutator *m;
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	arena = open_engine(GCA_STOP_AUTO, "", 0);
	m = attach(arena);
	EXPECT_TRUE(!gca_fiber_create(arena, stack, stack, fiber, NULL) && errno == EINVAL);
	EXPECT_TRUE(!gca_fiber_create(arena, stack + 4, stack + STACK, fiber, NULL) &&
		    errno == EINVAL);
	EXPECT_TRUE(gca_fiber_destroy(gca_fiber_thread(m)) && errno == EINVAL);
	f = gca_fiber_create(arena, stack, stack + STACK, fiber, NULL);
	ASSERT_TRUE(f);
	/* Never run, and it may go. */
	EXPECT_EQ(gca_fiber_destroy(f), 0);
	gca_close(arena);
}

TEST_HARNESS_MAIN
