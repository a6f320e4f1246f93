// SPDX-License-Identifier: GPL-2.0-only
/*
 * crew_modes.c: how workers mark while the program runs: dedicated, fractional, on idle
 * time; whoever else wants the processors, marking goes on.  And the idle hook comes and
 * goes.
 */
#define GCT_SUITE "crew_modes"
#include "crew.h"

#include <sys/syscall.h>

#define LONG	120000		/* objects: a while, for one worker */

static void idle_param(const char *value)
{
	ASSERT_EQ(gct_file_write(gct_param_path("idle"), value), 0);
}

/* A processor that is wanted: all the time, or now and then, for a moment. */
static pid_t hog(int cpu, bool always)
{
	pid_t pid = fork();
	cpu_set_t set;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		_exit(1);
	for (;;) {
		uint64_t end = gct_now_ms() + 2;

		while (always || gct_now_ms() < end)
			;
		gct_sleep_ms(3);
	}
}

#define HOGS	64

static pid_t hogs[HOGS];
static int nr_hogs;

/* One on each processor, but for the last @but. */
static void hogs_begin(bool always, int but)
{
	nr_hogs = crew_cpus() - but < HOGS ? crew_cpus() - but : HOGS;
	for (int i = 0; i < nr_hogs; i++)
		hogs[i] = hog(i, always);
}

static void hogs_end(void)
{
	for (int i = 0; i < nr_hogs; i++) {
		EXPECT_EQ(kill(hogs[i], SIGKILL), 0);
		EXPECT_EQ(waitpid(hogs[i], NULL, 0), hogs[i]);
	}
}

/* An owner whose cycles take a while, and that makes none before it is told to. */
static struct crew *slow_owner(pid_t *pid)
{
	struct crew *s = crew_wanted();

	s->go = 0;
	s->length = LONG;
	*pid = crew_new(s);
	return s;
}

/*
 * A quarter of the processors and not more: of two, half of one; of four, one.  What is
 * dedicated besides that are the roots, in the begin stop.
 */
TEST_F(machine, a_quarter_without_idle_time)
{
	uint64_t all, fractional;
	struct crew *s;
	pid_t pid;

	idle_param("off");
	s = slow_owner(&pid);
	/* The first cycle begins beyond its goal, and is dedicated as a whole. */
	ASSERT_TRUE(crew_collects(s, 1));
	/* In time, not processor time: a worker that lost its processor in a stop spoils a group. */
	for (int i = 0; i < 3; i++) {
		all = s->st.worker_ns;
		fractional = s->st.fractional_ns;
		ASSERT_TRUE(crew_collects(s, 6));
		all = s->st.worker_ns - all;
		fractional = s->st.fractional_ns - fractional;
		gct_note("# %d processors: %llu us dedicated, %llu us fractional", crew_cpus(),
			 (unsigned long long)(all - fractional) / 1000,
			 (unsigned long long)fractional / 1000);
		if (crew_cpus() == 4 || fractional > all / 2)
			break;
	}
	EXPECT_EQ(s->st.idle_ns, 0);
	EXPECT_EQ(s->st.idle_kicks + s->st.idle_yields, 0);
	if (crew_cpus() < 4 || crew_cpus() == 6)
		EXPECT_GT(fractional, all / 2);
	else if (crew_cpus() == 4)
		EXPECT_EQ(s->st.fractional_ns, 0);
	crew_end(pid, s);
	idle_param("hook");
}

/* The owner sleeps in COLLECT: its processor is idle. */
TEST_F(machine, idle_time_is_used)
{
	static const char *const how[] = { "plain", "hook" };

	for (int i = 0; i < 2; i++) {
		struct crew *s;
		pid_t pid;

		idle_param(how[i]);
		s = slow_owner(&pid);
		ASSERT_TRUE(crew_collects(s, 4));
		EXPECT_GT(s->st.idle_ns, 0);
		EXPECT_LE(s->st.idle_ns + s->st.fractional_ns, s->st.worker_ns);
		if (!i)
			EXPECT_EQ(s->st.idle_kicks + s->st.idle_yields, 0);
		crew_end(pid, s);
	}
}

/*
 * Processors that are wanted now and then: a worker leaves each time, and the processor
 * calls it when it goes idle.
 */
TEST_F(machine, woken_by_idle_processors)
{
	uint64_t end = gct_now_ms() + 30000ULL * (uint64_t)gct_slow();
	struct crew *s;
	pid_t pid;

	s = slow_owner(&pid);
	hogs_begin(false, 0);
	do {
		ASSERT_TRUE(crew_collects(s, 2));
	} while (!s->st.idle_kicks && gct_now_ms() < end);
	gct_note("# left %llu times, called %llu times, in %lu cycles",
		 (unsigned long long)s->st.idle_yields, (unsigned long long)s->st.idle_kicks,
		 s->cycles);
	EXPECT_GT(s->st.idle_yields, 0);
	EXPECT_GT(s->st.idle_kicks, 0);
	hogs_end();
	crew_end(pid, s);
}

/* Does the kernel take the processor from a kernel thread wherever that is? */
static bool preempts(void)
{
	char how[100] = "";

	group_line("/sys/kernel/debug/sched/preempt", "", how, sizeof(how));
	return strstr(how, "(full)");
}

/*
 * Nothing is idle: cycles take longer, but a worker that loses its processor with work in
 * hand does not keep one from ending.  Where the kernel waits for it to reach a scheduling
 * point it puts its work down first.
 */
TEST_F(machine, nothing_is_idle)
{
	static const char *const how[] = { "plain", "hook", "off" };
	uint64_t end = gct_now_ms() + 30000ULL * (uint64_t)gct_slow();
	struct crew *s;
	pid_t pid;

	for (int i = 0; i < 3; i++) {
		idle_param(how[i]);
		s = slow_owner(&pid);
		hogs_begin(true, 0);
		do {
			ASSERT_TRUE(crew_collects(s, 2));
		} while (!i && preempts() && !s->st.idle_raised && gct_now_ms() < end);
		if (!i && preempts())
			EXPECT_GT(s->st.idle_raised, 0);
		hogs_end();
		crew_end(pid, s);
	}
	idle_param("hook");
}

/* From cycle to cycle, as the administrator likes; with two processes at it. */
TEST_F(machine, idle_changes_while_cycles_run)
{
	static const char *const how[] = { "off", "plain", "hook" };
	struct crew *s = crew_wanted(), *t = crew_wanted();
	uint64_t seed = gct_now_ms() | 1;
	pid_t first, second;

	s->pager = true;
	t->pager = true;
	t->mixed = true;
	first = crew_new(s);
	second = crew_new(t);
	for (unsigned long i = 0; i < gct_scale(100); i++) {
		idle_param(how[gct_random(&seed) % 3]);
		gct_sleep_ms((long)(gct_random(&seed) % (20 * (uint64_t)gct_slow())));
	}
	EXPECT_TRUE(crew_collects(s, 2));
	EXPECT_TRUE(crew_collects(t, 2));
	crew_end(first, s);
	crew_end(second, t);
	idle_param("hook");
}

/*
 * run-boots has a guest whose last processor is isolated, and idle.  It does not call anybody;
 * who comes to mark there without being called does not stay.
 */
TEST_F(machine, isolated_processors_are_left_alone)
{
	char isolated[20] = "", last[20];
	struct crew *s;
	pid_t pid;

	group_line("/sys/devices/system/cpu/isolated", "", isolated, sizeof(isolated));
	snprintf(last, sizeof(last), "%d", crew_cpus() - 1);
	if (strcmp(isolated, last))
		SKIP("no isolated processor");
	s = slow_owner(&pid);
	hogs_begin(true, 1);
	ASSERT_TRUE(crew_collects(s, 4));
	EXPECT_EQ(s->st.idle_ns, 0);
	EXPECT_EQ(s->st.idle_kicks, 0);
	hogs_end();
	/* Others may. */
	ASSERT_TRUE(crew_collects(s, 4));
	EXPECT_GT(s->st.idle_ns, 0);
	crew_end(pid, s);
}

TEST_F(machine, idle_param_is_checked)
{
	EXPECT_EQ(gct_file_write(gct_param_path("idle"), "sometimes"), -EINVAL);
	EXPECT_EQ(gct_file_write(gct_param_path("idle"), " "), -EINVAL);
	idle_param("hook");
}

/* ------------------------------------------------------------------ the module goes */

static const char *const kept[] = {
	"attach_rate", "stop", "debug", "workers", "max_workers", "max_user_workers",
};

/* Unload it as soon as it lets us, and load it again as it was. */
static void reload(const char *module)
{
	uint64_t end = gct_now_ms() + 10000ULL * (uint64_t)gct_slow();
	char args[400] = "", path[100], value[40];
	size_t n = 0;
	int fd;

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		snprintf(path, sizeof(path), "/sys/module/gcarena/parameters/%s", kept[i]);
		ASSERT_TRUE(group_line(path, "", value, sizeof(value)));
		n += (size_t)snprintf(args + n, sizeof(args) - n, "%s=%s ", kept[i], value);
	}
	while (syscall(SYS_delete_module, "gcarena", O_NONBLOCK)) {
		ASSERT_TRUE(errno == EWOULDBLOCK);
		ASSERT_TRUE(gct_now_ms() < end);
		gct_sleep_ms(1);
	}
	fd = open(module, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(syscall(SYS_finit_module, fd, args, 0), 0);
	close(fd);
}

/*
 * With processors going idle all the time, and workers waiting for that up to the last
 * moment: no probe and no interrupt of ours comes late.
 */
TEST_F(machine, unloaded_under_stress)
{
	const char *module = getenv("GCT_MODULE");
	unsigned long rounds = gct_scale(20);
	int status;
	pid_t pid;

	if (!module)
		SKIP("no GCT_MODULE");
	hogs_begin(false, 0);
	for (unsigned long i = 0; i < rounds; i++) {
		struct crew *s = crew_wanted();

		s->length = LONG / 4;
		pid = crew_new(s);
		ASSERT_TRUE(crew_collects(s, 2));
		/* In the middle of a cycle, or at the end of one. */
		if (i % 2) {
			s->end = 1;
		} else {
			EXPECT_EQ(kill(pid, SIGKILL), 0);
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		munmap(s, sizeof(*s));
		reload(module);
	}
	hogs_end();
	EXPECT_EQ(self->arenas, 0);
}

TEST_HARNESS_MAIN
