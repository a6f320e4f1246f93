// SPDX-License-Identifier: GPL-2.0-only
/*
 * pace.c: threads that allocate as fast as they can while cycles mark pay for it, and the heap
 * stays where it should; whatever knobs are turned meanwhile, and whoever is killed while it
 * waits.  How near the goal each cycle ends is a matter of speed: it is printed.
 */
#define GCT_SUITE "pace"
#include "lists.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#define THREADS	8
#define MANY	64
#define LISTS	512		/* that a thread keeps, each of */
#define NODES	40		/* 64 bytes */

static struct gca_arena *arena;
static struct keeper keeper = { .lists = LISTS, .nodes = NODES };

static void open_paced(enum gca_stop stop, const char *debug)
{
	arena = open_engine(stop, debug, 0);
	keeper.arena = arena;
	keeper.layout = gca_layout_of(arena, struct wide, node.next);
	ASSERT_TRUE(keeper.layout);
	keeper.running = 1;
}

static void *greedy(void *arg)
{
	keep_lists(&keeper, (uintptr_t)arg);
	return NULL;
}

static void start(pthread_t *t, int n)
{
	for (int i = 0; i < n; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, greedy, (void *)(uintptr_t)(i + 1)), 0);
}

static void end(pthread_t *t, int n)
{
	__atomic_store_n(&keeper.running, 0, __ATOMIC_RELAXED);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

/*
 * What a thread may have been lent before it had a price, or has in its hands: spans of one
 * class, and those of its array.
 */
#define LENT(threads)	((uint64_t)(threads) * (32 * 8192 + LISTS * 8) + (1 << 20))

/*
 * No cycle ends beyond 1.1 times the hard goal: what the next goal would be if everything were
 * live.
 */
static void below(enum gca_stop stop, int n, unsigned long cycles)
{
	uint64_t seen = 0, over = 0, first = 0, worst = 0, sum = 0, goal = 0;
	struct gca_stats s;
	pthread_t t[MANY];

	open_paced(stop, NULL);
	/* Without the limiter, which would let it grow. */
	ASSERT_EQ(gca_set(arena, GCA_CPU_PERCENT, 100), 0);
	start(t, n);
	do {
		gct_sleep_ms(1);
		ASSERT_EQ(gca_stats(arena, &s), 0);
		if (s.cycles == seen)
			continue;
		/* The goal as it was before the cycle, if none was overlooked: the cycle may move it. */
		if (goal && s.cycles == seen + 1 && !s.void_cycles) {
			EXPECT_LE(s.ended_live_bytes, goal * 22 / 10 + LENT(n));
			over = s.ended_live_bytes * 1000 / goal;
			worst = over > worst ? over : worst;
			sum++;
		}
		seen = s.cycles;
		first = first ? first : seen;
		/* What is live has to be there first. */
		goal = seen < first + 10 ? 0 : s.goal_bytes;
	} while (seen < first + 10 + cycles);
	end(t, n);
	gct_note("# %" PRIu64 " cycles looked at: the worst ended at %" PRIu64 " per mille of its goal; %"
		 PRIu64 " assists, p99 %" PRIu64 " us, longest %" PRIu64 " us", sum, worst, s.assists,
		 s.assist_hold_ns_p99 / 1000, s.assist_hold_ns_max / 1000);
	/* They were held up, and what held them up is accounted for. */
	EXPECT_GT(s.assists, 0);
	EXPECT_GT(s.assist_hold_ns_total, 0);
	EXPECT_LE(s.assist_hold_ns_p99, s.assist_hold_ns_max * 9 / 8 + 1);
	EXPECT_GT(s.work_heap_bytes, 0);
	EXPECT_GT(s.cons_mark, 0);
	report(arena);
	gca_close(arena);
}

TEST_ENGINES(below_the_hard_goal)
{
	below(stop, THREADS, gct_scale(30));
}

/* So many that nobody gets a processor when it is due. */
TEST_ENGINES(below_it_with_many_threads)
{
	if (gct_slow() > 1)
		SKIP("many busy threads: on a stock kernel");
	below(stop, MANY, 10);
}

/* Every knob at random, every few milliseconds; each object verified. */
TEST_ENGINES(knobs_at_random)
{
	static const uint64_t percent[] = { 1, 10, 50, 100, 400, 100000, 0 };
	static const struct { enum gca_knob knob; uint64_t value[4]; } other[] = {
		{ GCA_MEMORY_LIMIT, { 0, 1 << 20, 16 << 20, 64 << 20 } },
		{ GCA_HEAP_MIN, { 0, 64 << 10, 4 << 20, 32 << 20 } },
		{ GCA_PERIOD_MS, { 0, 1, 10, 120000 } },
		{ GCA_CPU_PERCENT, { 1, 10, 50, 100 } },
		{ GCA_CPUS_MILLI, { 0, 10, 500, 5000 } },
		{ GCA_ASSIST_US, { 10, 100, 1000, 10000 } },
	};
	uint64_t until = gct_now_ms() + 2000ULL * (gct_slow() > 4 ? 4 : gct_slow()), seed = until | 1;
	struct gca_stats s;
	pthread_t t[THREADS];

	open_paced(stop, "checkmark");
	start(t, THREADS);
	while (gct_now_ms() < until) {
		uint64_t p = percent[gct_random(&seed) % 7];
		int which = gct_random(&seed) % 6;

		ASSERT_EQ(gca_set_percent(arena, p), 0);
		ASSERT_EQ(gca_set(arena, other[which].knob,
				  other[which].value[gct_random(&seed) % 4]), 0);
		/* Without a bound it grows as fast as memory can be had: not for long. */
		gct_sleep_ms(p && p < 1000 ? (long)(gct_random(&seed) % 8) : 1);
		ASSERT_EQ(gca_stats(arena, &s), 0);
		if (s.heap_bytes > 200 << 20)
			ASSERT_EQ(gca_set_percent(arena, 50), 0);
		while (s.heap_bytes > 200 << 20) {
			collect(arena, 0);
			ASSERT_EQ(gca_stats(arena, &s), 0);
		}
	}
	end(t, THREADS);
	report(arena);
	gca_close(arena);
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What is published is what the pacer says. */
TEST(published)
{
	struct gca_mutator *m;
	struct gca_stats s;

	open_paced(GCA_STOP_AUTO, NULL);
	m = attach(arena);
	collect(arena, 0);
	ASSERT_EQ(gca_stats(arena, &s), 0);
	EXPECT_EQ(s.trigger_bytes, m->control->heap_trigger);
	EXPECT_EQ(s.goal_bytes, m->control->heap_goal);
	EXPECT_LT(s.trigger_bytes, s.goal_bytes);
	EXPECT_GE(s.trigger_bytes, s.live_bytes + (s.goal_bytes - s.live_bytes) / 64 * 45);
	/* Live, and as much again as is live, in stacks, and in root ranges; or the minimum. */
	EXPECT_EQ(s.goal_bytes, max_of(2 * s.live_bytes + s.work_stack_bytes + s.work_root_bytes,
				       4 << 20));
	ASSERT_EQ(gca_set_percent(arena, 100000), 0);
	ASSERT_EQ(gca_stats(arena, &s), 0);
	EXPECT_GE(s.goal_bytes, 4000ULL << 20);
	EXPECT_GE(s.work_stack_bytes + s.work_root_bytes, 1000);
	ASSERT_EQ(gca_set_percent(arena, 0), 0);
	ASSERT_EQ(gca_stats(arena, &s), 0);
	EXPECT_EQ(s.trigger_bytes, UINT64_MAX);
	gca_detach(m);
	gca_close(arena);
}

/* Killed in the middle: what waits and what is waited for goes. */
TEST_ENGINES(killed_while_they_wait)
{
	uint64_t seed = gct_now_ms() | 1;

	for (unsigned long i = 0; i < gct_scale(12); i++) {
		pthread_t t[THREADS];
		int status;
		pid_t pid = fork();

		if (!pid) {
			open_paced(stop, NULL);
			start(t, THREADS);
			pause();
		}
		gct_sleep_ms((long)(gct_random(&seed) % 200) * (gct_slow() > 4 ? 4 : gct_slow()));
		ASSERT_EQ(kill(pid, SIGKILL), 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == GCT_SKIPPED)
			SKIP("no such engine");
		ASSERT_TRUE(WIFSIGNALED(status));
	}
}

/* ------------------------------------------------------ who cannot be stopped */

static int blocks;
static uint64_t blocker_tid;

static void *blocker(void *arg)
{
	struct gca_mutator *m = attach(arena);
	sigset_t all, old;

	sigfillset(&all);
	pthread_setname_np(pthread_self(), "gct_blocker");
	ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &all, &old), 0);
	__atomic_store_n(&blocker_tid, (uint64_t)syscall(SYS_gettid), __ATOMIC_RELAXED);
	while (__atomic_load_n(&blocks, __ATOMIC_RELAXED))
		__asm__ __volatile__("pause");
	ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
	ASSERT_EQ(gca_detach(m), 0);
	return arg;
}

/* More and more, until @till. */
static void allocate_until(struct gca_mutator *m, bool (*till)(const struct gca_stats *s),
			   struct gca_stats *s)
{
	do {
		for (int i = 0; i < 512; i++)
			ASSERT_TRUE(gca_alloc_noscan(m, 512));
		ASSERT_EQ(gca_stats(arena, s), 0);
	} while (!till(s));
}

static bool stuck(const struct gca_stats *s)
{
	return s->postponed_ns > 1500000000 && s->blame == __atomic_load_n(&blocker_tid, __ATOMIC_RELAXED);
}

static bool collected(const struct gca_stats *s)
{
	return !s->postponed_ns && s->cycles > 3 && s->freed_bytes;
}

/*
 * Nothing is collected while a thread cannot be stopped.  The others get on, the heap grows, and
 * the owner is told, once, which thread it is; then all is as it was.
 */
TEST(says_who_cannot_be_stopped)
{
	char name[] = "/tmp/gct_saysXXXXXX", line[512], want[100];
	int lines = 0, saved = dup(2), fd = mkstemp(name);
	struct gca_mutator *m;
	struct gca_stats s;
	pthread_t t;
	FILE *f;

	ASSERT_GE(fd, 0);
	fflush(stderr);
	ASSERT_EQ(dup2(fd, 2), 2);
	open_paced(GCA_STOP_SIGNAL, NULL);
	m = attach(arena);
	blocks = 1;
	ASSERT_EQ(pthread_create(&t, NULL, blocker, NULL), 0);
	while (!__atomic_load_n(&blocker_tid, __ATOMIC_RELAXED))
		gct_sleep_ms(1);
	allocate_until(m, stuck, &s);
	gct_note("# for %.1f s no stop: %.1f MiB, goal %.1f MiB", (double)s.postponed_ns / 1e9,
		 (double)s.heap_bytes / (1 << 20), (double)s.goal_bytes / (1 << 20));
	__atomic_store_n(&blocks, 0, __ATOMIC_RELAXED);
	allocate_until(m, collected, &s);
	pthread_join(t, NULL);
	ASSERT_EQ(dup2(saved, 2), 2);
	snprintf(want, sizeof(want), "thread %d (gct_blocker) could not be stopped", (int)blocker_tid);
	f = fopen(name, "r");
	ASSERT_TRUE(f);
	while (fgets(line, sizeof(line), f))
		lines += strstr(line, want) != NULL;
	fclose(f);
	unlink(name);
	EXPECT_EQ(lines, 1);
	ASSERT_EQ(gca_detach(m), 0);
	gca_close(arena);
}

TEST_HARNESS_MAIN
