// SPDX-License-Identifier: GPL-2.0-only
/*
 * crew_place.c: a process's kernel threads are its own: their names, cgroups, class,
 * processors and quota; what they cost is charged to its cgroup; they follow it.  And
 * the parameters that say how many.
 */
#define GCT_SUITE "crew_place"
#include "crew.h"

#define WORKERS	64

static bool group_wanted(void)
{
	return group_new(CREW_GROUP);
}

/* Is worker @w in @group?  While it is made it is where kernel threads begin, and asleep. */
static bool worker_in(pid_t w, const char *group)
{
	uint64_t end = gct_now_ms() + 5000ULL * (uint64_t)gct_slow();
	char path[100], got[300] = "";

	snprintf(path, sizeof(path), "/proc/%d/cgroup", w);
	while (group_line(path, "0::", got, sizeof(got)) && !strcmp(got, "/") &&
	       gct_now_ms() < end)
		gct_sleep_ms(1);
	return crew_says(w, "cgroup", "0::", group + strlen(GROUP_ROOT));
}

TEST_F(machine, named_and_in_the_owners_cgroup)
{
	pid_t pid, w[WORKERS], coordinator;
	struct crew *s = crew_wanted();
	char path[100], line[100];
	int n;

	if (!group_wanted())
		SKIP("no cgroup");
	s->group = CREW_GROUP;
	s->go = 0;
	pid = crew_new(s);
	/* Before the first cycle there are none. */
	EXPECT_EQ(crew_list(pid, w, WORKERS, &coordinator), 0);
	EXPECT_EQ(coordinator, 0);
	ASSERT_TRUE(crew_collects(s, 1));
	n = crew_list(pid, w, WORKERS, &coordinator);
	EXPECT_TRUE(coordinator);
	EXPECT_GE(n, 1);
	EXPECT_LE(n, crew_cpus());
	EXPECT_EQ(n, s->st.workers);
	/* Only workers work in the owner's name: their threads are all that is in there. */
	EXPECT_TRUE(crew_says(coordinator, "cgroup", "0::", "/"));
	EXPECT_TRUE(crew_says(coordinator, "status", "PPid:", "2"));
	for (int i = 0; i < n && i < WORKERS; i++) {
		EXPECT_TRUE(crew_says(w[i], "cgroup", "0::", "/gct_crew"));
		EXPECT_TRUE(crew_says(w[i], "status", "PPid:", "2"));
		snprintf(line, sizeof(line), "%d", w[i]);
		snprintf(path, sizeof(path), "%s/cgroup.threads", CREW_GROUP);
		EXPECT_TRUE(group_line(path, line, line, sizeof(line)));
	}
	/* They stay for the next cycle. */
	ASSERT_TRUE(crew_collects(s, 3));
	EXPECT_GE(crew_list(pid, NULL, 0, NULL), n);
	crew_end(pid, s);
	EXPECT_GE(group_end(CREW_GROUP), 0);
}

/* Of every worker of @pid. */
static void expect_class(pid_t pid, int policy, int nice)
{
	pid_t w[WORKERS];
	int n = crew_list(pid, w, WORKERS, NULL);

	EXPECT_GE(n, 1);
	for (int i = 0; i < n && i < WORKERS; i++) {
		EXPECT_EQ(sched_getscheduler(w[i]), policy);
		if (policy == SCHED_OTHER)
			EXPECT_EQ(getpriority(PRIO_PROCESS, (id_t)w[i]), nice);
	}
}

TEST_F(machine, class_and_nice)
{
	/* More than its share is not for them. */
	static const struct { int policy, nice, worker; } as[] = {
		{ SCHED_OTHER, 0, 0 }, { SCHED_OTHER, 7, 7 }, { SCHED_OTHER, -5, 0 },
		{ SCHED_IDLE, 0, 0 }, { SCHED_BATCH, 3, 3 },
	};

	for (size_t i = 0; i < sizeof(as) / sizeof(as[0]); i++) {
		struct crew *s = crew_wanted();
		pid_t pid;

		s->nice = as[i].nice;
		s->policy = as[i].policy;
		s->go = 0;
		pid = crew_new(s);
		ASSERT_TRUE(crew_collects(s, 1));
		expect_class(pid, as[i].policy == SCHED_IDLE ? SCHED_IDLE : SCHED_OTHER,
			     as[i].worker);
		crew_end(pid, s);
	}
}

/* They follow by the next cycle. */
TEST_F(machine, class_and_nice_are_changed)
{
	struct sched_param zero = { 0 };
	struct crew *s = crew_wanted();
	pid_t pid;

	s->go = 0;
	pid = crew_new(s);
	ASSERT_TRUE(crew_collects(s, 1));
	expect_class(pid, SCHED_OTHER, 0);
	ASSERT_EQ(setpriority(PRIO_PROCESS, (id_t)pid, 11), 0);
	ASSERT_TRUE(crew_collects(s, 1));
	expect_class(pid, SCHED_OTHER, 11);
	ASSERT_EQ(sched_setscheduler(pid, SCHED_IDLE, &zero), 0);
	ASSERT_TRUE(crew_collects(s, 1));
	expect_class(pid, SCHED_IDLE, 0);
	ASSERT_EQ(sched_setscheduler(pid, SCHED_OTHER, &zero), 0);
	ASSERT_EQ(setpriority(PRIO_PROCESS, (id_t)pid, 2), 0);
	ASSERT_TRUE(crew_collects(s, 1));
	expect_class(pid, SCHED_OTHER, 2);
	crew_end(pid, s);
}

/* ------------------------------------------------------------------ what it costs */

/* The owner only sleeps in COLLECT: what its cgroup is charged is the workers'. */
TEST_F(machine, charged_to_the_owners_cgroup)
{
	struct crew *s = crew_wanted();
	uint64_t worker, own, usage;
	long long before;
	pid_t pid;

	if (!group_wanted())
		SKIP("no cgroup");
	s->group = CREW_GROUP;
	s->go = 0;
	pid = crew_new(s);
	ASSERT_TRUE(crew_collects(s, 1));
	worker = s->st.worker_ns;
	own = s->own_ns;
	before = group_stat(CREW_GROUP, "cpu.stat", "usage_usec");
	ASSERT_GE(before, 0);
	ASSERT_TRUE(crew_collects(s, gct_scale(20)));
	/* A thread's last moments are charged at the next tick. */
	gct_sleep_ms(20 * gct_slow());
	usage = (uint64_t)(group_stat(CREW_GROUP, "cpu.stat", "usage_usec") - before);
	worker = (s->st.worker_ns - worker) / 1000;
	own = (s->own_ns - own) / 1000;
	gct_note("# marked for %llu us; charged %llu us, of them %llu us the owner's own",
		 (unsigned long long)worker, (unsigned long long)usage, (unsigned long long)own);
	EXPECT_GT(worker, 1000);
	EXPECT_GE(usage, own + worker / 2);
	crew_end(pid, s);
	EXPECT_GE(group_end(CREW_GROUP), 0);
}

TEST_F(machine, confined_by_a_cpuset)
{
	static const char *const set[] = { "0", "1", "0-1", "0" };
	struct crew *s = crew_wanted();
	pid_t pid, w[WORKERS];
	int n;

	if (crew_cpus() < 2)
		SKIP("one processor");
	if (!group_wanted() || group_write(CREW_GROUP, "cpuset.cpus", "0"))
		SKIP("no cgroup with a cpuset");
	s->group = CREW_GROUP;
	s->mixed = true;
	pid = crew_new(s);
	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++) {
		ASSERT_EQ(group_write(CREW_GROUP, "cpuset.cpus", set[i]), 0);
		/* At once, then with those that the next cycle makes. */
		for (int again = 0; again < 2; again++) {
			n = crew_list(pid, w, WORKERS, NULL);
			for (int k = 0; k < n && k < WORKERS; k++) {
				EXPECT_TRUE(worker_in(w[k], CREW_GROUP));
				/* It is in the group first, and where the group may run then. */
				EXPECT_TRUE(crew_says_within(5000ULL * (uint64_t)gct_slow(), w[k],
							     "status", "Cpus_allowed_list:",
							     set[i]));
			}
			/* One processor: no more than one. */
			if (i < 2)
				EXPECT_LE(n, 1);
			ASSERT_TRUE(crew_collects(s, 3));
		}
		EXPECT_GE(n, 1);
	}
	crew_end(pid, s);
	EXPECT_GE(group_end(CREW_GROUP), 0);
}

/* Cycles take longer, and that is all. */
TEST_F(machine, throttled_by_a_quota)
{
	struct crew *s = crew_wanted();
	pid_t pid;

	if (!group_wanted() || group_write(CREW_GROUP, "cpu.max", "20000 100000"))
		SKIP("no cgroup with a quota");
	s->group = CREW_GROUP;
	s->go = 0;
	s->mixed = true;
	pid = crew_new(s);
	/* Until it has run out of it: more at once, for what is used comes back in a while. */
	for (unsigned long i = 0; i < 12 || !group_stat(CREW_GROUP, "cpu.stat", "nr_throttled"); i++)
		ASSERT_TRUE(crew_collects(s, i < 12 ? 1 : i));
	gct_note("# throttled for %lld us",
		 group_stat(CREW_GROUP, "cpu.stat", "throttled_usec"));
	EXPECT_GT(s->st.worker_ns, 0);
	crew_end(pid, s);
	EXPECT_GE(group_end(CREW_GROUP), 0);
}

/*
 * The kernel asks pids.max of those who fork, not of those who move in: workers come in
 * all the same.  They are counted, though, and so a program that is near its limit may
 * find that it cannot make a thread which it could have made without them.
 */
TEST_F(machine, more_than_pids_max)
{
	struct crew *s = crew_wanted();
	char path[200];
	pid_t pid;

	if (!group_wanted() || group_write(CREW_GROUP, "pids.max", "1"))
		SKIP("no cgroup with pids.max");
	snprintf(path, sizeof(path), "%s/pids.current", CREW_GROUP);
	s->group = CREW_GROUP;
	s->go = 0;
	pid = crew_new(s);
	EXPECT_EQ(gct_file_long(path), 1);
	ASSERT_TRUE(crew_collects(s, 3));
	EXPECT_GE(crew_list(pid, NULL, 0, NULL), 1);
	EXPECT_GT(s->st.worker_ns, 0);
	EXPECT_EQ(gct_file_long(path), 1 + crew_list(pid, NULL, 0, NULL));
	crew_end(pid, s);
	EXPECT_EQ(gct_file_long(path), 0);
	EXPECT_GE(group_end(CREW_GROUP), 0);
}

/* ------------------------------------------------------------------------- moved */

#define OTHER	GROUP_ROOT "/gct_crew2"

/* In mid-cycle, to and fro: the workers are where the owner is by the next cycle. */
TEST_F(machine, follow_to_another_cgroup)
{
	static const char *const group[] = { CREW_GROUP, OTHER };
	uint64_t seed = gct_now_ms() | 1;
	struct crew *s = crew_wanted();
	long ms, most = 0;
	pid_t pid, w[WORKERS];
	char text[20];
	int n;

	if (!group_wanted())
		SKIP("no cgroup");
	s->group = CREW_GROUP;
	s->pager = true;
	s->mixed = true;
	pid = crew_new(s);
	ASSERT_TRUE(crew_collects(s, 3));
	snprintf(text, sizeof(text), "%d", pid);
	for (unsigned long i = 0; i < gct_scale(20); i++) {
		const char *from = group[i % 2], *to = group[(i + 1) % 2];

		ASSERT_TRUE(group_new(to));
		gct_sleep_ms((long)(gct_random(&seed) % (30 * (uint64_t)gct_slow())));
		ASSERT_EQ(group_write(to, "cgroup.procs", text), 0);
		/* One that was under way, one of each kind: the workers were asked for. */
		ASSERT_TRUE(crew_collects(s, 4));
		n = crew_list(pid, w, WORKERS, NULL);
		EXPECT_GE(n, 1);
		for (int k = 0; k < n && k < WORKERS; k++)
			EXPECT_TRUE(worker_in(w[k], to));
		ms = group_end(from);
		ASSERT_GE(ms, 0);
		most = ms > most ? ms : most;
	}
	gct_note("# what was left could be removed after %ld ms at most", most);
	crew_end(pid, s);
	rmdir(CREW_GROUP);
	rmdir(OTHER);
	EXPECT_TRUE(access(CREW_GROUP, F_OK) && access(OTHER, F_OK));
}

/* -------------------------------------------------------------------- parameters */

/* A parameter for the time of a test; however that ends. */
struct param {
	const char *path;
	char old[20];
};

static struct param param_set(const char *path, const char *value)
{
	struct param p = { path };

	snprintf(p.old, sizeof(p.old), "%ld", gct_file_long(path));
	ASSERT_EQ(gct_file_write(path, value), 0);
	return p;
}

static void param_end(const struct param *p)
{
	ASSERT_EQ(gct_file_write(p->path, p->old), 0);
}

TEST_F(machine, workers_0)
{
	struct param p = param_set(gct_param_path("workers"), "0");
	struct crew *s = crew_wanted();
	pid_t pid, coordinator;

	s->go = 0;
	s->mixed = true;
	pid = crew_new(s);
	EXPECT_TRUE(crew_collects(s, 6));
	EXPECT_EQ(crew_list(pid, NULL, 0, &coordinator), 0);
	EXPECT_EQ(coordinator, 0);
	EXPECT_EQ(s->st.workers, 0);
	EXPECT_EQ(s->st.worker_ns, 0);
	EXPECT_GT(s->st.mark_ns[0], 0);
	/* What comes later: the next cycle. */
	param_end(&p);
	EXPECT_TRUE(crew_collects(s, 4));
	EXPECT_GE(crew_list(pid, NULL, 0, &coordinator), 1);
	EXPECT_TRUE(coordinator);
	EXPECT_GT(s->st.worker_ns, 0);
	crew_end(pid, s);
}

TEST_F(machine, workers_1)
{
	struct param p = param_set(gct_param_path("workers"), "1");
	struct crew *s = crew_wanted();
	pid_t pid;

	s->go = 0;
	s->mixed = true;
	pid = crew_new(s);
	for (int i = 0; i < 10; i++) {
		EXPECT_TRUE(crew_collects(s, 1));
		EXPECT_EQ(crew_list(pid, NULL, 0, NULL), 1);
	}
	EXPECT_GT(s->st.worker_ns, 0);
	EXPECT_EQ(s->st.workers, 1);
	param_end(&p);
	/* And as many as there are processors, without it. */
	for (int i = 0; i < 200 && crew_list(pid, NULL, 0, NULL) < 2 && crew_cpus() > 1; i++)
		EXPECT_TRUE(crew_collects(s, 1));
	EXPECT_EQ(crew_list(pid, NULL, 0, NULL), crew_cpus() < 2 ? crew_cpus() : 2);
	crew_end(pid, s);
}

/* A worker, once there is room: another one (a former test's, too) has ended, not just left. */
static void worker_comes(pid_t pid, struct crew *s)
{
	for (int i = 0; i < 200 && !crew_list(pid, NULL, 0, NULL); i++) {
		EXPECT_TRUE(crew_collects(s, 2));
		gct_sleep_ms(10);
	}
	EXPECT_EQ(crew_list(pid, NULL, 0, NULL), 1);
}

/* Who comes too late marks himself. */
TEST_F(machine, max_workers)
{
	struct param p = param_set(gct_param_path("max_workers"), "1");
	struct crew *a = crew_wanted(), *b = crew_wanted();
	pid_t first, second;

	a->go = 0;
	b->go = 0;
	first = crew_new(a);
	second = crew_new(b);
	worker_comes(first, a);
	EXPECT_TRUE(crew_collects(b, 2));
	EXPECT_EQ(crew_list(0, NULL, 0, NULL), 1);
	EXPECT_GT(a->st.worker_ns, 0);
	EXPECT_EQ(b->st.workers, 0);
	EXPECT_EQ(b->st.worker_ns, 0);
	EXPECT_GT(b->st.mark_ns[0], 0);
	crew_end(first, a);
	worker_comes(second, b);
	EXPECT_GT(b->st.worker_ns, 0);
	crew_end(second, b);
	param_end(&p);
}

/* All workers of an owner that is frozen or stopped, within 10 s (of a stock guest). */
static void workers_leave(pid_t pid)
{
	uint64_t end = gct_now_ms() + 10000ULL * (uint64_t)gct_slow();

	while (crew_list(pid, NULL, 0, NULL) && gct_now_ms() < end)
		gct_sleep_ms(10);
	EXPECT_EQ(crew_list(pid, NULL, 0, NULL), 0);
}

/*
 * Who is frozen outside our calls dismisses nobody: the workers see to it themselves.  A freezer
 * passes over threads that have exited, so the first one may say nothing of the others.
 */
static void leaves_frozen_group(bool leaderless)
{
	struct crew *s = crew_wanted();
	pid_t pid;

	if (!group_wanted())
		SKIP("no cgroup");
	s->group = CREW_GROUP;
	s->leaderless = leaderless;
	s->go = 0;
	pid = crew_new(s);
	ASSERT_TRUE(crew_collects(s, 1));
	ASSERT_GE(crew_list(pid, NULL, 0, NULL), 1);
	ASSERT_EQ(group_write(CREW_GROUP, "cgroup.freeze", "1"), 0);
	workers_leave(pid);
	/* Whether a group is frozen is looked at when a thread of it freezes. */
	ASSERT_EQ(group_write(CREW_GROUP, "cgroup.freeze", "0"), 0);
	ASSERT_EQ(group_write(CREW_GROUP, "cgroup.freeze", "1"), 0);
	EXPECT_TRUE(group_frozen_becomes(CREW_GROUP, 1));
	ASSERT_EQ(group_write(CREW_GROUP, "cgroup.freeze", "0"), 0);
	EXPECT_TRUE(crew_collects(s, 1));
	EXPECT_GE(crew_list(pid, NULL, 0, NULL), 1);
	crew_end(pid, s);
	EXPECT_GE(group_end(CREW_GROUP), 0);
}

TEST_F(machine, leaves_a_frozen_group)
{
	leaves_frozen_group(false);
}

TEST_F(machine, leaves_a_frozen_group_without_its_first_thread)
{
	leaves_frozen_group(true);
}

/*
 * A thread that waits to run a cycle itself, because there are to be no workers any more, while the
 * coordinator waits for a pager that is frozen.
 */
TEST_F(machine, frozen_while_it_waits_to_conduct)
{
	struct crew *s = crew_wanted();
	struct param p;
	pid_t pid;

	if (!group_wanted())
		SKIP("no cgroup");
	s->group = CREW_GROUP;
	s->pager = true;
	s->looks = true;
	s->slow = true;
	s->second = true;
	s->go = 0;
	pid = crew_new(s);
	s->go = 1;
	while (!s->asked)
		gct_sleep_ms(1);
	p = param_set(gct_param_path("workers"), "0");
	s->let = 1;
	gct_sleep_ms(50);
	EXPECT_EQ(s->collected, 0);
	ASSERT_EQ(group_write(CREW_GROUP, "cgroup.freeze", "1"), 0);
	EXPECT_TRUE(group_frozen_becomes(CREW_GROUP, 1));
	ASSERT_EQ(group_write(CREW_GROUP, "cgroup.freeze", "0"), 0);
	param_end(&p);
	s->let = 2;
	EXPECT_TRUE(crew_collects(s, 1));
	while (!s->collected)
		gct_sleep_ms(1);
	crew_end(pid, s);
	EXPECT_GE(group_end(CREW_GROUP), 0);
}

/* One user has no more than his share, whatever number of processes; others have theirs. */
TEST_F(machine, max_user_workers)
{
	struct param p = param_set(gct_param_path("max_user_workers"), "1");
	struct crew *a = crew_wanted(), *b = crew_wanted(), *c = crew_wanted();
	pid_t first, second, third;

	a->go = 0;
	b->go = 0;
	c->go = 0;
	c->uid = 1234;
	first = crew_new(a);
	second = crew_new(b);
	third = crew_new(c);
	worker_comes(first, a);
	EXPECT_TRUE(crew_collects(b, 2));
	EXPECT_EQ(crew_list(second, NULL, 0, NULL), 0);
	worker_comes(third, c);
	EXPECT_EQ(b->st.worker_ns, 0);
	EXPECT_GT(b->st.mark_ns[0], 0);
	/* Those that have left count no more: a stopped owner's do, within a second. */
	ASSERT_EQ(kill(first, SIGSTOP), 0);
	workers_leave(first);
	worker_comes(second, b);
	ASSERT_EQ(kill(first, SIGCONT), 0);
	EXPECT_TRUE(crew_collects(a, 2));
	EXPECT_EQ(crew_list(first, NULL, 0, NULL), 0);
	/* And what has ended. */
	crew_end(second, b);
	worker_comes(first, a);
	crew_end(first, a);
	crew_end(third, c);
	param_end(&p);
}

TEST_HARNESS_MAIN
