// SPDX-License-Identifier: GPL-2.0-only
/*
 * limits.c: an arena that may not have as much as it would like: of memory, by its own limit
 * or its control group's, and of processor time.  And the variables by which its owner says
 * so.  What must hold is that objects stay what they are, that the program gets on, and that
 * what it was told about the limits is what counts; how near to them it keeps is printed.
 */
#define GCT_SUITE "limits"
#include "group.h"
#include "lists.h"

#include <fcntl.h>
#include <regex.h>
#include <sys/mman.h>

#define THREADS	4
#define LISTS	256		/* that a thread keeps, each of */
#define NODES	40		/* 64 bytes */
#define LIVE	((uint64_t)THREADS * LISTS * NODES * 64)
#define MIB	(1ULL << 20)

static struct gca_arena *arena;
static struct keeper keeper = { .lists = LISTS, .nodes = NODES };

static uint64_t get(enum gca_knob knob)
{
	uint64_t value = ~0ULL;

	if (gca_get(arena, knob, &value))
		gct_note("# %s", gca_strerror());
	return value;
}

static void set(enum gca_knob knob, uint64_t value)
{
	if (gca_set(arena, knob, value))
		gct_note("# %s", gca_strerror());
	ASSERT_EQ(get(knob), value);
}

static void stats(struct gca_stats *s)
{
	ASSERT_EQ(gca_stats(arena, s), 0);
}

static void *busy(void *arg)
{
	keep_lists(&keeper, (uintptr_t)arg);
	return NULL;
}

static pthread_t thread[THREADS];

static void open_limited(enum gca_stop stop, const char *debug)
{
	arena = open_engine(stop, debug, 0);
	keeper.arena = arena;
	keeper.layout = gca_layout_of(arena, struct wide, node.next);
	ASSERT_TRUE(keeper.layout);
}

static void start(void)
{
	keeper.running = 1;
	keeper.rounds = 0;
	for (int i = 0; i < THREADS; i++)
		ASSERT_EQ(pthread_create(&thread[i], NULL, busy, (void *)(uintptr_t)(i + 1)), 0);
}

static void end(void)
{
	__atomic_store_n(&keeper.running, 0, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

/* Until the threads have made @n lists more than there must be for all to be live. */
static void gets_on(uint64_t n)
{
	uint64_t want = __atomic_load_n(&keeper.rounds, __ATOMIC_RELAXED) + n;

	while (__atomic_load_n(&keeper.rounds, __ATOMIC_RELAXED) < want)
		gct_sleep_ms(1);
}

static uint64_t has(struct gca_stats *s)
{
	return s->heap_bytes + s->free_bytes + s->metadata_bytes;
}

/* --------------------------------------------------------------- the environment */

static struct gca_arena *open_plain(void)
{
	struct gca_options o = { .backend = gct_backend(), .reserve = 1ULL << 30,
				 .flags = GCA_NO_PLAIN_ROOTS };

	return gca_open(&o);
}

static const struct {
	const char *name;
	enum gca_knob knob;
	uint64_t first;
	const char *good[4];
	uint64_t value[4];
	const char *bad[5];
} variable[] = {
	{ "GCARENA_PERCENT", GCA_PERCENT, 100, { "0", "off", "100000", "7" }, { 0, 0, 100000, 7 },
	  { "100001", "x", "-1", "7%", "1KiB" } },
	{ "GCARENA_HEAP_MIN", GCA_HEAP_MIN, 4 * MIB, { "0", "1024B", "64KiB" }, { 0, 1024, 65536 },
	  { "2TiB", "KiB", "1kb", " 1", "18446744073709551616" } },
	{ "GCARENA_MEMLIMIT", GCA_MEMORY_LIMIT, 0, { "off", "1GiB", "3MiB", "1TiB" },
	  { 0, 1ULL << 30, 3 * MIB, 1ULL << 40 },
	  { "1025GiB", "20000000TiB", "1 GiB", "0x10", "1G" } },
	{ "GCARENA_PERIOD_MS", GCA_PERIOD_MS, 120000, { "off", "1", "86400000" }, { 0, 1, 86400000 },
	  { "86400001", "1s", "1KiB", "", "-5" } },
	{ "GCARENA_CPU_PERCENT", GCA_CPU_PERCENT, 50, { "1", "100", "off" }, { 1, 100, 100 },
	  { "0", "101", "half", "1.5", "+" } },
	{ "GCARENA_CPUS_MILLI", GCA_CPUS_MILLI, 0, { "500", "off", "65536000" }, { 500, 0, 65536000 },
	  { "65536001", "a", "1B", "--", "0,5" } },
	{ "GCARENA_ASSIST_US", GCA_ASSIST_US, 100, { "10", "1000000" }, { 10, 1000000 },
	  { "9", "1000001", "off", "1ms", "*" } },
};

/* Each variable is read; what makes no sense is refused, with its name and what would. */
TEST(variables)
{
	for (unsigned int i = 0; i < sizeof(variable) / sizeof(variable[0]); i++) {
		const char *name = variable[i].name;
		char off[] = "off";

		setenv("GCARENA_CGROUP", off, 1);
		for (int k = 0; k < 4 && variable[i].good[k]; k++) {
			setenv(name, variable[i].good[k], 1);
			arena = open_plain();
			ASSERT_TRUE(arena);
			EXPECT_EQ(get(variable[i].knob), variable[i].value[k]);
			gca_close(arena);
		}
		for (int k = 0; k < 5; k++) {
			if (!*variable[i].bad[k])
				continue;
			setenv(name, variable[i].bad[k], 1);
			errno = 0;
			arena = open_plain();
			if (arena)
				gct_note("# %s=%s was taken", name, variable[i].bad[k]);
			ASSERT_TRUE(!arena);
			EXPECT_EQ(errno, EINVAL);
			EXPECT_TRUE(strstr(gca_strerror(), name));
			EXPECT_TRUE(strstr(gca_strerror(), variable[i].bad[k]));
			EXPECT_TRUE(strstr(gca_strerror(), " from "));
		}
		/* Empty is as if it were not there. */
		setenv(name, "", 1);
		arena = open_plain();
		ASSERT_TRUE(arena);
		EXPECT_EQ(get(variable[i].knob), variable[i].first);
		EXPECT_EQ(gca_set(arena, variable[i].knob, ~0ULL), -1);
		EXPECT_EQ(errno, EINVAL);
		EXPECT_TRUE(strstr(gca_strerror(), " from "));
		gca_close(arena);
		unsetenv(name);
	}
}

/* Options go before them, calls before both. */
TEST(options_first)
{
	struct gca_options o = { .backend = gct_backend(), .reserve = 1ULL << 30, .percent = 70,
				 .heap_min = MIB, .memory_limit = 77 * MIB };

	setenv("GCARENA_PERCENT", "60", 1);
	setenv("GCARENA_HEAP_MIN", "2MiB", 1);
	setenv("GCARENA_MEMLIMIT", "66MiB", 1);
	arena = gca_open(&o);
	ASSERT_TRUE(arena);
	EXPECT_EQ(get(GCA_PERCENT), 70);
	EXPECT_EQ(get(GCA_HEAP_MIN), MIB);
	EXPECT_EQ(get(GCA_MEMORY_LIMIT), 77 * MIB);
	ASSERT_EQ(gca_set_percent(arena, 80), 0);
	ASSERT_EQ(gca_set_memory_limit(arena, 88 * MIB), 0);
	EXPECT_EQ(get(GCA_PERCENT), 80);
	EXPECT_EQ(get(GCA_MEMORY_LIMIT), 88 * MIB);
	EXPECT_EQ(gca_set(arena, (enum gca_knob)2, 1), -1);	/* debug is not for here */
	EXPECT_EQ(gca_set(arena, (enum gca_knob)99, 1), -1);
	EXPECT_TRUE(strstr(gca_strerror(), "99"));
	gca_close(arena);
}

/* Go's gctrace line, as its readers take it apart. */
TEST(trace_line)
{
	static const char form[] =
		"^gc [0-9]+ @[0-9]+\\.[0-9]{3}s [0-9]+%: ([0-9.]+\\+){2}[0-9.]+ ms clock, "
		"[0-9.]+\\+[0-9.]+/[0-9.]+/[0-9.]+\\+[0-9.]+ ms cpu, ([0-9]+->){2}[0-9]+ MB, "
		"[0-9]+ MB goal, [0-9]+ MB stacks, [0-9]+ MB globals, [0-9.]+ P \\(forced\\), ";
	char name[] = "/tmp/gct_traceXXXXXX", line[512];
	int lines = 0, fd = mkstemp(name);
	struct gca_mutator *m;
	regex_t r;
	FILE *f;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(regcomp(&r, form, REG_EXTENDED | REG_NOSUB), 0);
	fflush(stderr);
	ASSERT_EQ(dup2(fd, 2), 2);
	setenv("GCARENA_TRACE", "1", 1);
	arena = open_plain();
	ASSERT_TRUE(arena);
	m = attach(arena);
	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(gca_alloc_noscan(m, 1 << 20));
		collect(arena, 0);
	}
	gca_detach(m);
	gca_close(arena);
	f = fopen(name, "r");
	ASSERT_TRUE(f);
	while (fgets(line, sizeof(line), f)) {
		if (regexec(&r, line, 0, NULL, 0))
			gct_note("# %s", line);
		EXPECT_EQ(regexec(&r, line, 0, NULL, 0), 0);
		lines++;
	}
	EXPECT_EQ(lines, 3);
	fclose(f);
	regfree(&r);
	unlink(name);
}

/* ------------------------------------------------------------------- memory limit */

/*
 * With no percentage at all the limit holds: cycles end within it.  What a thread may have in
 * its hands, and a goal that marking has moved, is beyond the goal and yet no failure.
 */
TEST_ENGINES(memory_limit)
{
	const uint64_t limit = 4 * LIVE;
	uint64_t most = 0, begun;
	struct gca_stats s;

	open_limited(stop, NULL);
	set(GCA_MEMORY_LIMIT, limit);
	set(GCA_PERCENT, 0);
	start();
	gets_on(2 * THREADS * LISTS);
	stats(&s);
	begun = s.cycles;
	while (s.cycles < begun + gct_scale(20)) {
		gct_sleep_ms(1);
		stats(&s);
		most = has(&s) > most ? has(&s) : most;
		EXPECT_LE(s.goal_bytes, limit);
	}
	end();
	gct_note("# limit %.1f MiB: at most %.1f MiB, %" PRIu64 " cycles, limited %" PRIu64 " times",
		 (double)limit / MIB, (double)most / MIB, s.cycles, s.limited);
	EXPECT_LE(most, limit + limit / 10 + THREADS * (32 * 8192 + MIB));
	report(arena);
	/* Taken back, it is as if there never was one. */
	set(GCA_MEMORY_LIMIT, 0);
	stats(&s);
	EXPECT_EQ(s.trigger_bytes, UINT64_MAX);
	gca_close(arena);
}

/* What is live does not fit: cycle upon cycle, but the program gets on, and nothing is lost. */
TEST_ENGINES(memory_limit_below_live)
{
	uint64_t begun, made, rounds;
	struct gca_stats s;

	open_limited(stop, "checkmark");
	start();
	gets_on(THREADS * LISTS);
	stats(&s);
	begun = s.cycles;
	made = __atomic_load_n(&keeper.rounds, __ATOMIC_RELAXED);
	set(GCA_MEMORY_LIMIT, LIVE / 4);
	do {
		gets_on(gct_scale(200));
		/* Lists first: of those made between the two looks the cycles would be missing. */
		rounds = __atomic_load_n(&keeper.rounds, __ATOMIC_RELAXED);
		stats(&s);
	} while (s.cycles < begun + gct_scale(20));
	/* By the percentage there would be the least heap, or nearly, between two. */
	made = (rounds - made) / (s.cycles - begun);
	EXPECT_LT(made * NODES * sizeof(struct wide), 5 * MIB / 2);
	gct_note("# live %.1f MiB, limit %.1f MiB: %.1f MiB, %" PRIu64 " cycles, limited %" PRIu64 " times",
		 (double)s.live_bytes / MIB, (double)LIVE / 4 / MIB, (double)has(&s) / MIB, s.cycles,
		 s.limited);
	/* And on, and soon within it again, when it is raised. */
	set(GCA_MEMORY_LIMIT, 8 * LIVE);
	gets_on(gct_scale(2000));
	end();
	report(arena);
	gca_close(arena);
}

/* Without anything to make it begin, a cycle begins after a while; without news none does. */
TEST(by_time)
{
	struct gca_mutator *m;
	struct gca_stats s;
	uint64_t cycles;

	open_limited(GCA_STOP_AUTO, NULL);
	m = attach(arena);
	collect(arena, 0);
	set(GCA_PERIOD_MS, 100);
	stats(&s);
	cycles = s.cycles;
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(gca_alloc_noscan(m, 100000));
		do {
			gct_sleep_ms(10);
			stats(&s);
		} while (s.cycles == cycles);
		cycles = s.cycles;
	}
	gct_sleep_ms(3000);
	stats(&s);
	EXPECT_EQ(s.cycles, cycles);
	gca_detach(m);
	gca_close(arena);
}

/* ----------------------------------------------------------------- control groups */

#define GROUP	GROUP_ROOT "/gct_limits"

/* In a child, which is in a group with @file set to @text; the group goes afterwards. */
#define IN_GROUP(file, text, ...) do {					\
	pid_t pid_;							\
	int status_;							\
									\
	if (!group_new(GROUP) || group_write(GROUP, file, text)) {	\
		rmdir(GROUP);						\
		SKIP("no cgroup with " file);				\
	}								\
	pid_ = fork();							\
	if (!pid_) {							\
		gct_failed = 0;						\
		ASSERT_EQ(group_write(GROUP, "cgroup.procs", "0"), 0);	\
		__VA_ARGS__;						\
		_exit(gct_failed);					\
	}								\
	ASSERT_EQ(waitpid(pid_, &status_, 0), pid_);			\
	EXPECT_EQ(status_, 0);						\
	EXPECT_GE(group_end(GROUP), 0);					\
} while (0)

/* A fifth of a processor: that is what a quarter is taken of. */
TEST(processor_quota)
{
	IN_GROUP("cpu.max", "20000 100000", {
		struct gca_stats s;

		open_limited(GCA_STOP_AUTO, "checkmark");
		EXPECT_EQ(get(GCA_CPUS_MILLI), 200);
		stats(&s);
		EXPECT_EQ(s.cpus_milli, 200);
		start();
		do {
			gets_on(10);
			stats(&s);
		} while (s.cycles < 4);
		end();
		gct_note("# throttled for %lld us in %lld us of its own",
			 group_stat(GROUP, "cpu.stat", "throttled_usec"),
			 group_stat(GROUP, "cpu.stat", "usage_usec"));
		report(arena);
		gca_close(arena);
	});
}

/* A directory that is taken for a group's. */
static void file(const char *dir, const char *name, const char *text)
{
	char path[100];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	ASSERT_TRUE(f);
	fputs(text, f);
	fclose(f);
}

static void remove_dir(const char *dir)
{
	static const char *const name[] = { "cpu.max", "memory.events" };
	char path[100];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, name[i]);
		unlink(path);
	}
	EXPECT_EQ(rmdir(dir), 0);
}

/* What its group's file says, wherever that is; and 'max' is as many as there are. */
TEST(quota_of_a_file)
{
	char dir[] = "/tmp/gct_limitsXXXXXX";
	static const struct { const char *text; uint64_t milli; } c[] = {
		{ "max 100000\n", 0 }, { "50000 100000\n", 500 }, { "350000 100000\n", 3500 },
		{ "10 1000000\n", 1 }, { "", 0 }, { "nonsense", 0 },
	};

	ASSERT_TRUE(mkdtemp(dir));
	setenv("GCARENA_CGROUP", dir, 1);
	for (unsigned int i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		file(dir, "cpu.max", c[i].text);
		arena = open_plain();
		ASSERT_TRUE(arena);
		EXPECT_EQ(get(GCA_CPUS_MILLI), c[i].milli);
		gca_close(arena);
	}
	setenv("GCARENA_CPUS_MILLI", "1234", 1);
	arena = open_plain();
	ASSERT_TRUE(arena);
	EXPECT_EQ(get(GCA_CPUS_MILLI), 1234);
	gca_close(arena);
	remove_dir(dir);
}

/* A quota that changes is noticed, by each arena; what the program has set since stays. */
TEST(quota_changes)
{
	char dir[] = "/tmp/gct_limitsXXXXXX";
	struct gca_arena *other, *own;
	uint64_t milli;

	ASSERT_TRUE(mkdtemp(dir));
	file(dir, "cpu.max", "50000 100000\n");
	setenv("GCARENA_CGROUP", dir, 1);
	arena = open_plain();
	other = open_plain();
	own = open_plain();
	ASSERT_TRUE(arena && other && own);
	ASSERT_EQ(gca_set(own, GCA_CPUS_MILLI, 77), 0);
	file(dir, "cpu.max", "75000 100000\n");
	do {
		gct_sleep_ms(100);
		ASSERT_EQ(gca_get(other, GCA_CPUS_MILLI, &milli), 0);
	} while (milli != 750 || get(GCA_CPUS_MILLI) != 750);
	file(dir, "cpu.max", "75000 100000\n");
	ASSERT_EQ(gca_set(own, GCA_CPUS_MILLI, 77), 0);
	gca_close(other);
	other = open_plain();
	ASSERT_TRUE(other);
	ASSERT_EQ(gca_get(other, GCA_CPUS_MILLI, &milli), 0);
	EXPECT_EQ(milli, 750);
	ASSERT_EQ(gca_get(own, GCA_CPUS_MILLI, &milli), 0);
	EXPECT_EQ(milli, 77);
	gca_close(own);
	gca_close(other);
	gca_close(arena);
	remove_dir(dir);
}

static uint64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The group that is watched goes: nobody runs in circles for that; and it comes back. */
TEST(group_goes)
{
	uint64_t used;

	if (!group_new(GROUP) || group_write(GROUP, "cpu.max", "50000 100000")) {
		rmdir(GROUP);
		SKIP("no cgroup with cpu.max");
	}
	setenv("GCARENA_CGROUP", GROUP, 1);
	arena = open_plain();
	ASSERT_TRUE(arena);
	EXPECT_EQ(get(GCA_CPUS_MILLI), 500);
	ASSERT_EQ(rmdir(GROUP), 0);
	used = cpu_ms();
	gct_sleep_ms(500);
	EXPECT_LT(cpu_ms() - used, 250);
	ASSERT_TRUE(group_new(GROUP));
	ASSERT_EQ(group_write(GROUP, "cpu.max", "25000 100000"), 0);
	while (get(GCA_CPUS_MILLI) != 250)
		gct_sleep_ms(50);
	gca_close(arena);
	ASSERT_EQ(rmdir(GROUP), 0);
}

/* A daemon closes all that it does not know; the numbers are somebody else's then. */
TEST(descriptors_are_closed)
{
	char dir[] = "/tmp/gct_limitsXXXXXX";
	struct gca_arena *second;
	int fd[600], n = 0;
	uint64_t milli;

	ASSERT_TRUE(mkdtemp(dir));
	file(dir, "cpu.max", "50000 100000\n");
	file(dir, "memory.events", "high 0\n");
	setenv("GCARENA_CGROUP", dir, 1);
	arena = open_plain();
	ASSERT_TRUE(arena);
	gct_sleep_ms(100);	/* pager and watcher sleep */
	ASSERT_EQ(close_range(3, ~0U, 0), 0);
	gct_sleep_ms(100);
	/* Another one has the first one's numbers; each closes its own. */
	second = open_plain();
	ASSERT_TRUE(second);
	file(dir, "cpu.max", "25000 100000\n");
	while (n < 600 && (fd[n] = open("/dev/null", O_RDWR)) >= 0)
		n++;
	gca_close(arena);
	EXPECT_GE(n, 500);
	ASSERT_EQ(gca_collect(second, 0), 0);
	/* The watcher is there again. */
	do {
		gct_sleep_ms(100);
		ASSERT_EQ(gca_get(second, GCA_CPUS_MILLI, &milli), 0);
	} while (milli != 250);
	gca_close(second);
	while (n)
		EXPECT_EQ(close(fd[--n]), 0);
	remove_dir(dir);
}

/*
 * Its heap would grow and grow, but its group is throttled at memory.high: that is when cycles
 * begin, and what is free goes back.
 */
TEST(memory_high)
{
	IN_GROUP("memory.high", "48M", {
		struct gca_stats s;

		group_write(GROUP, "memory.swap.max", "0");
		open_limited(GCA_STOP_AUTO, "checkmark");
		set(GCA_PERCENT, 100000);
		start();
		do {
			gets_on(10);
			stats(&s);
		} while (s.pressed < 2);
		set(GCA_PERCENT, 100);
		end();
		gct_note("# throttled %lld times, %" PRIu64 " cycles for it",
			 group_stat(GROUP, "memory.events", "high"), s.pressed);
		EXPECT_GE(s.cycles, s.pressed);
		report(arena);
		gca_close(arena);
	});
}

TEST_HARNESS_MAIN
