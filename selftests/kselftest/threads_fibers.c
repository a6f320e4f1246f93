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
	pthread_attr_t attr;
	struct gca_stats s;
	char *stacks;
	bool all = false;

	arena = open_engine(stop, "checkmark,clobber", 0);
	layout = gca_layout_of(arena, struct node, next);
	wanted = gct_scale(80);
	/* Each a mapping of its own, or the kernel would find the neighbours of one that runs. */
	stacks = mmap(NULL, FIBERS * 2 * STACK, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < FIBERS; i++) {
		pthread_mutex_init(&task[i].lock, NULL);
		task[i].number = (uint64_t)i + 1;
		mprotect(stacks + 2 * i * STACK, STACK, PROT_NONE);
		task[i].fiber = gca_fiber_create(arena, stacks + (2 * i + 1) * STACK,
						 stacks + (2 * i + 2) * STACK, fiber, &task[i]);
		ASSERT_TRUE(task[i].fiber);
	}
	/* A thread's own stack is scanned whole while it runs a fiber: a small one. */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (uintptr_t i = 0; i < THREADS; i++)
		ASSERT_EQ(pthread_create(&t[i], &attr, runner, (void *)(i + 1)), 0);
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
