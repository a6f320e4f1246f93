// SPDX-License-Identifier: GPL-2.0-only
/*
 * crew_ends.c: kernel threads of a process come and go: with owners that are killed,
 * exec, or close and destroy some of their arenas; in storms; and while the machine
 * loses processors or freezes everybody.
 *
 * After each test no kernel thread is left, and the number of arenas is what it was.
 */
#define GCT_SUITE "crew_ends"
#include "crew.h"

/* ---------------------------------------------------------------- cgroups of the dead */

enum { PLAIN, PAGER, PASSED, HEIR, NR_KINDS };

static const char *const kind_name[] = { "alone", "with a pager", "descriptor elsewhere",
					 "with a child that lives on" };

static long killed(int kind, uint64_t *seed)
{
	struct crew *s = crew_wanted();
	int sock[2], fd = -1;
	pid_t pid;
	long ms;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
	s->group = CREW_GROUP;
	s->mixed = true;
	s->pager = kind == PAGER;
	s->sock = kind == PASSED ? sock[1] : 0;
	s->heir = kind == HEIR;
	pid = crew_new(s);
	if (kind == PASSED) {
		fd = crew_passed(sock[0]);
		ASSERT_GE(fd, 0);
	}
	gct_sleep_ms((long)(gct_random(seed) % (60 * (uint64_t)gct_slow())));
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	ms = group_end(CREW_GROUP);
	if (ms < 0)
		gct_note("# killed after %lu cycles", s->cycles);
	/* What is held elsewhere is neither the arena nor its threads. */
	EXPECT_TRUE(crew_gone(pid));
	if (s->heir) {
		EXPECT_EQ(kill(s->heir_pid, SIGKILL), 0);
		EXPECT_EQ(waitpid(s->heir_pid, NULL, 0), s->heir_pid);
	}
	if (fd >= 0)
		close(fd);
	close(sock[0]);
	close(sock[1]);
	munmap(s, sizeof(*s));
	return ms;
}

TEST_F(machine, cgroup_of_the_killed)
{
	uint64_t seed = gct_now_ms() | 1;
	long ms, most[NR_KINDS] = { 0 };

	/* The heirs are ours to wait for. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (unsigned long i = 0; i < gct_scale(60) || i < NR_KINDS; i++) {
		int kind = (int)(i % NR_KINDS);

		if (!group_new(CREW_GROUP))
			SKIP("no cgroup");
		ms = killed(kind, &seed);
		ASSERT_GE(ms, 0);
		most[kind] = ms > most[kind] ? ms : most[kind];
	}
	for (int kind = 0; kind < NR_KINDS; kind++)
		gct_note("# %s: removed after %ld ms at most", kind_name[kind], most[kind]);
}

/* ------------------------------------------------------------------- several arenas */

#define ARENAS	4

struct part {
	struct raw r;
	uint64_t *head;
	unsigned long want;		/* COLLECTs; 0: until it fails */
	volatile unsigned long done;
	int result;
};

static void *collects(void *arg)
{
	struct part *p = arg;

	while (!p->want || p->done < p->want) {
		p->result = raw_collect(&p->r, 0, NULL);
		if (p->result)
			break;
		p->done++;
	}
	return NULL;
}

static void part_new(struct part *p, int length)
{
	memset(p, 0, sizeof(*p));
	ASSERT_EQ(raw_arena(&p->r), 0);
	ASSERT_EQ(raw_attach(&p->r), 0);
	p->head = crew_chain(&p->r, length);
}

TEST_F(machine, arenas_of_one_process_at_once)
{
	static struct part p[ARENAS];
	pid_t coordinator = 0;
	struct gcarena_stats st;
	pthread_t t[ARENAS];
	int n;

	for (int i = 0; i < ARENAS; i++) {
		part_new(&p[i], CREW_LENGTH);
		p[i].want = gct_scale(20);
	}
	for (int i = 0; i < ARENAS; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, collects, &p[i]), 0);
	for (int i = 0; i < ARENAS; i++)
		pthread_join(t[i], NULL);
	/* One crew for all of them. */
	n = crew_list(getpid(), NULL, 0, &coordinator);
	EXPECT_GE(n, 1);
	EXPECT_LE(n, sysconf(_SC_NPROCESSORS_ONLN));
	EXPECT_TRUE(coordinator);
	for (int i = 0; i < ARENAS; i++) {
		EXPECT_EQ(p[i].result, 0);
		EXPECT_EQ(crew_chain_length(p[i].head), CREW_LENGTH);
		ASSERT_EQ(raw_stats(&p[i].r, &st), 0);
		EXPECT_EQ(st.voided, 0);
		EXPECT_GE(st.cycles, p[i].want);
		EXPECT_EQ(st.workers, n);
		/* The last one takes the threads with it, and only that. */
		raw_close(&p[i].r);
		if (i < ARENAS - 1)
			EXPECT_EQ(crew_list(getpid(), NULL, 0, NULL), n);
	}
	EXPECT_TRUE(crew_gone(getpid()));
}

/* One ends, by DESTROY, or by close() and munmap() (@how); the others go on. */
static void one_ends(int how, uint64_t *seed)
{
	static struct part p[ARENAS];
	unsigned int victim = (unsigned int)(gct_random(seed) % ARENAS);
	unsigned long done[ARENAS];
	pthread_t t[ARENAS];
	int fd;

	for (int i = 0; i < ARENAS; i++)
		part_new(&p[i], 5000);
	for (int i = 0; i < ARENAS; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, collects, &p[i]), 0);
	gct_sleep_ms((long)(gct_random(seed) % (30 * (uint64_t)gct_slow())));
	if (how == 0) {
		EXPECT_EQ(raw_destroy(&p[victim].r), 0);
	} else {
		fd = p[victim].r.fd;
		p[victim].r.fd = -1;
		close(fd);
		munmap((void *)(uintptr_t)p[victim].r.control, 4096);
		p[victim].r.control = NULL;
	}
	pthread_join(t[victim], NULL);
	EXPECT_TRUE(p[victim].result == -ESRCH || (how && p[victim].result == -EBADF));
	for (int i = 0; i < ARENAS; i++)
		done[i] = p[i].done;
	for (unsigned int i = 0; i < ARENAS; i++)
		while (i != victim && p[i].done < done[i] + 2 && !p[i].result)
			gct_sleep_ms(1);
	for (unsigned int i = 0; i < ARENAS; i++) {
		if (i == victim)
			continue;
		EXPECT_EQ(p[i].result, 0);
		EXPECT_EQ(raw_destroy(&p[i].r), 0);
		pthread_join(t[i], NULL);
		EXPECT_EQ(p[i].result, -ESRCH);
	}
	for (int i = 0; i < ARENAS; i++) {
		EXPECT_EQ(crew_chain_length(p[i].head), 5000);
		raw_close(&p[i].r);
	}
}

TEST_F(machine, one_of_several_arenas_ends)
{
	uint64_t seed = gct_now_ms() | 1;

	for (unsigned long i = 0; i < gct_scale(30); i++) {
		one_ends((int)(i % 2), &seed);
		ASSERT_TRUE(crew_gone(getpid()));
		ASSERT_TRUE(gct_arenas_become(self->arenas));
	}
}

/* The process lives on as another program, and has no kernel threads. */
TEST_F(machine, exec_in_the_middle)
{
	uint64_t seed = gct_now_ms() | 1;
	char path[100], name[32];

	for (unsigned long i = 0; i < gct_scale(20); i++) {
		long delay = (long)(gct_random(&seed) % (30 * (uint64_t)gct_slow()));
		pid_t pid = fork();

		if (!pid) {
			static struct part p[2];
			pthread_t t;

			for (int k = 0; k < 2; k++)
				part_new(&p[k], 20000);
			/* Inherited or not. */
			if (i & 1)
				fcntl(p[0].r.fd, F_SETFD, 0);
			for (int k = 0; k < 2; k++)
				ASSERT_EQ(pthread_create(&t, NULL, collects, &p[k]), 0);
			gct_sleep_ms(delay);
			execl("/bin/sleep", "sleep", "1000", (char *)NULL);
			_exit(1);
		}
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		while (group_line(path, "Name:", name, sizeof(name)) && strcmp(name, "sleep") &&
		       !waitpid(pid, NULL, WNOHANG))
			gct_sleep_ms(1);
		EXPECT_TRUE(crew_gone(pid));
		EXPECT_TRUE(gct_arenas_become(self->arenas));
		EXPECT_EQ(kill(pid, SIGKILL), 0);
		ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	}
}

/* --------------------------------------------------------------------------- storms */

#define STORM_AT_ONCE	6
#define STORM_MS	3000

struct storm {
	volatile int processes, workers, none;
};

/* One cycle, and a heap for as many workers as there are processors. */
static void short_life(struct storm *s)
{
	struct gcarena_stats st;
	struct raw r;

	if (raw_arena(&r) || raw_attach(&r) ||
	    raw_large(&r, 32 << 20, GCARENA_NOSCAN, 0, NULL) || raw_collect(&r, 0, NULL) ||
	    raw_stats(&r, &st))
		_exit(1);
	__atomic_fetch_add(&s->processes, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&s->workers, (int)st.workers, __ATOMIC_RELAXED);
	__atomic_fetch_add(&s->none, !st.workers, __ATOMIC_RELAXED);
	_exit(0);
}

/*
 * Each attach can make every fork on the machine wait.  A process's first worker is
 * made at once, for without it there is no cycle; the others are limited to eight a
 * second on the whole machine.
 */
TEST_F(machine, storm_of_short_processes)
{
	struct storm *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t began = gct_now_ms(), end = began + STORM_MS;
	int running = 0, seen = 0, n, status, more, limit;

	ASSERT_TRUE(s != MAP_FAILED);
	/* What it is by default; run-all lets the other tests have as many as they like. */
	gct_file_write(gct_param_path("attach_rate"), "8");
	while (gct_now_ms() < end || running) {
		while (running < STORM_AT_ONCE && gct_now_ms() < end) {
			pid_t pid = fork();

			if (!pid)
				short_life(s);
			running += pid > 0;
		}
		while (running && waitpid(-1, &status, WNOHANG) > 0) {
			EXPECT_EQ(status, 0);
			running--;
		}
		n = crew_list(0, NULL, 0, NULL);
		seen = n > seen ? n : seen;
	}
	gct_file_write(gct_param_path("attach_rate"), "100000");
	more = s->workers;
	limit = 8 * (2 + (int)((gct_now_ms() - began) / 1000));
	gct_note("# %d processes had %d workers; %d at a time", s->processes, s->workers, seen);
	EXPECT_LE(more, limit);
	if (s->processes < limit)
		gct_note("# too few processes to tell");
}

/*
 * Workers leave a stopped owner.  When it goes on, new ones may be had at a bounded rate
 * only; the cycle does not count on those that have left.
 */
TEST_F(machine, stopped_until_the_workers_have_left)
{
	uint64_t end = gct_now_ms() + 10000ULL * (uint64_t)gct_slow();
	static struct storm others;
	struct crew *s = crew_wanted();
	pid_t pid, other[12];

	s->go = 0;
	pid = crew_new(s);
	for (int i = 0; i < 100 && crew_list(pid, NULL, 0, NULL) < 2; i++)
		ASSERT_TRUE(crew_collects(s, 1));
	ASSERT_EQ(kill(pid, SIGSTOP), 0);
	while (crew_list(pid, NULL, 0, NULL) && gct_now_ms() < end)
		gct_sleep_ms(10);
	EXPECT_EQ(crew_list(pid, NULL, 0, NULL), 0);
	s->go = s->cycles + 1;
	for (int i = 0; i < 12; i++) {
		other[i] = fork();
		if (!other[i])
			short_life(&others);
	}
	for (int i = 0; i < 12; i++)
		ASSERT_EQ(waitpid(other[i], NULL, 0), other[i]);
	ASSERT_EQ(kill(pid, SIGCONT), 0);
	EXPECT_TRUE(crew_collects(s, 3));
	EXPECT_GE(crew_list(pid, NULL, 0, NULL), 1);
	crew_end(pid, s);
}

/* ---------------------------------------------------------------- processors that go */

#define CPU1	"/sys/devices/system/cpu/cpu1/online"

/* @set: the owner's cpuset, or NULL */
static void cpu_goes_and_comes(const char *set)
{
	uint64_t seed = gct_now_ms() | 1;
	struct crew *s = crew_wanted();
	bool group = set && group_new(CREW_GROUP) &&
		     !group_write(CREW_GROUP, "cpuset.cpus", set);
	pid_t pid;

	s->group = group ? CREW_GROUP : NULL;
	s->mixed = true;
	s->pager = true;
	pid = crew_new(s);
	for (unsigned long i = 0; i < gct_scale(8); i++) {
		gct_sleep_ms((long)(gct_random(&seed) % (40 * (uint64_t)gct_slow())));
		EXPECT_EQ(gct_file_write(CPU1, "0"), 0);
		EXPECT_EQ(gct_file_long(CPU1), 0);
		EXPECT_TRUE(crew_collects(s, 4));
		gct_sleep_ms((long)(gct_random(&seed) % (40 * (uint64_t)gct_slow())));
		EXPECT_EQ(gct_file_write(CPU1, "1"), 0);
		EXPECT_TRUE(crew_collects(s, 4));
	}
	EXPECT_GE(crew_list(pid, NULL, 0, NULL), 1);
	crew_end(pid, s);
	if (group)
		EXPECT_GE(group_end(CREW_GROUP), 0);
}

TEST_F(machine, cpu_offline_and_online)
{
	if (access(CPU1, W_OK))
		SKIP("no second processor");
	cpu_goes_and_comes(NULL);
}

/* The only one that the owner may use: the kernel gives it the others. */
TEST_F(machine, last_cpu_of_a_cpuset_offline)
{
	if (access(CPU1, W_OK))
		SKIP("no second processor");
	cpu_goes_and_comes("1");
}

/* --------------------------------------------------------------------------- suspend */

/*
 * One attempt to suspend that goes as far as everybody frozen, owners and kernel
 * threads, and then back.  With CONFIG_PM_DEBUG by pm_test; without, in the guest, by its
 * file system's device, which cannot be suspended.  Return: 0 or -errno, -ENODEV: neither.
 */
static int freeze_everybody(void)
{
	char step[64] = "";
	int err, fd;

	if (!access("/sys/power/pm_test", W_OK)) {
		err = gct_file_write("/sys/power/pm_test", "freezer");
		if (!err)
			err = gct_file_write("/sys/power/state", "freeze");
		gct_file_write("/sys/power/pm_test", "none");
		return err;
	}
	if (access("/sys/bus/virtio/drivers/virtiofs", F_OK) ||
	    access("/sys/power/suspend_stats/last_failed_step", R_OK))
		return -ENODEV;
	err = gct_file_write("/sys/power/state", "freeze");
	fd = open("/sys/power/suspend_stats/last_failed_step", O_RDONLY);
	(void)!read(fd, step, sizeof(step) - 1);
	close(fd);
	step[strcspn(step, "\n")] = 0;
	/* The step after "freeze" is devices. */
	if (err && !strncmp(step, "suspend", 7))
		return 0;
	gct_note("# errno %d, failed in the step %s", -err, step);
	return err ? err : -ECANCELED;
}

/* Its file system's device has said no, or pm_test; 5 s are enough for everybody. */
static void expect_freezes(void)
{
	int err;

	gct_file_write("/sys/power/pm_freeze_timeout", gct_slow() > 1 ? "20000" : "5000");
	err = freeze_everybody();
	if (err == -ENODEV)
		SKIP("no pm_test, and nothing that refuses to be suspended");
	EXPECT_EQ(err, 0);
}

static void suspend_with(struct crew *s, bool frozen)
{
	uint64_t seed = gct_now_ms() | 1, began, most = 0;
	pid_t pid = crew_new(s);

	for (unsigned long i = 0; i < gct_scale(6); i++) {
		ASSERT_TRUE(crew_collects(s, 2));
		gct_sleep_ms((long)(gct_random(&seed) % (40 * (uint64_t)gct_slow())));
		if (frozen) {
			ASSERT_EQ(group_write(CREW_GROUP, "cgroup.freeze", "1"), 0);
			gct_sleep_ms(50 * gct_slow());
		}
		began = gct_now_ms();
		expect_freezes();
		began = gct_now_ms() - began;
		most = began > most ? began : most;
		if (frozen)
			ASSERT_EQ(group_write(CREW_GROUP, "cgroup.freeze", "0"), 0);
	}
	ASSERT_TRUE(crew_collects(s, 4));
	gct_note("# frozen and thawed in %llu ms at most", (unsigned long long)most);
	crew_end(pid, s);
}

TEST_F(machine, suspended)
{
	struct crew *s = crew_wanted();

	s->mixed = true;
	suspend_with(s, false);
}

TEST_F(machine, suspended_with_a_pager)
{
	struct crew *s = crew_wanted();

	s->mixed = true;
	s->pager = true;
	suspend_with(s, false);
}

TEST_F(machine, suspended_with_a_pager_that_looks)
{
	struct crew *s = crew_wanted();

	s->pager = true;
	s->looks = true;
	suspend_with(s, false);
}

/*
 * Who is frozen takes no signal: a cycle that has not all threads yet lets the others be
 * frozen, too, and begins again when they are thawed.
 */
static void suspended_by_signals(bool pager, bool async)
{
	struct crew *s = crew_wanted();

	gct_want_engine(GCARENA_CREATE_SIGNAL);
	s->engine = GCARENA_CREATE_SIGNAL;
	s->spinner = true;
	s->mixed = !async;
	s->pager = pager;
	s->async = async;
	suspend_with(s, false);
}

TEST_F(machine, suspended_by_signals)
{
	suspended_by_signals(false, false);
}

TEST_F(machine, suspended_by_signals_with_a_pager)
{
	suspended_by_signals(true, false);
}

TEST_F(machine, suspended_by_signals_with_cycles_that_were_kicked)
{
	suspended_by_signals(true, true);
}

/* Nobody waits for the cycle, so nothing of the owner's keeps it from being frozen. */
TEST_F(machine, suspended_with_cycles_that_were_kicked)
{
	struct crew *s = crew_wanted();

	s->pager = true;
	s->async = true;
	suspend_with(s, false);
}

TEST_F(machine, suspended_with_a_frozen_owner)
{
	struct crew *s = crew_wanted();

	if (!group_new(CREW_GROUP))
		SKIP("no cgroup");
	s->group = CREW_GROUP;
	s->pager = true;
	s->mixed = true;
	suspend_with(s, true);
	EXPECT_GE(group_end(CREW_GROUP), 0);
}

TEST_HARNESS_MAIN
