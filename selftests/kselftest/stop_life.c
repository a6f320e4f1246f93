// SPDX-License-Identifier: GPL-2.0-only
/*
 * stop_life.c: stops while threads come and go, exec, vfork, fork and are killed;
 * while they are stopped, traced or frozen; while they block the signal; of several
 * arenas at once.  And the module stays while a sleeper owes it a call.
 *
 * What a thread that cannot run means differs: task work holds it as it is, a signal
 * postpones the stop, and COLLECT names the thread.
 */
#define GCT_SUITE "stop_life"
#include "stop.h"

#include <spawn.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

extern char **environ;

static struct raw arena, arena2;
static volatile int quit, ready;
static volatile unsigned long cycles;
static volatile int collect_error;
static uint64_t collect_ms;		/* not 0: it may give up, and is told so */
static long collect_rest;		/* ms between two cycles */

static void start(pthread_t *t, void *(*fn)(void *), void *arg)
{
	ASSERT_EQ(pthread_create(t, NULL, fn, arg), 0);
}

/* Not attached: one cycle after the other. */
static void *collect_loop(void *arg)
{
	struct gcarena_collect c;
	struct raw *r = arg;

	while (!quit) {
		int err = stop_collect_within(r, collect_ms, 0, &c);

		if (err && !(collect_ms && err == -ETIMEDOUT)) {
			collect_error = err;
			break;
		}
		if (!err)
			cycles++;
		if (collect_rest)
			gct_sleep_ms(collect_rest);
		else
			sched_yield();
	}
	return NULL;
}

static volatile uint64_t spun;

static void *spin_thread(void *arg)
{
	struct raw mine;

	(void)arg;
	if (stop_attach(&mine, &arena))
		_exit(4);
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	while (!quit)
		spun++;
	stop_detach(&mine);
	return NULL;
}

static void wait_ready(int n)
{
	while (ready < n)
		gct_sleep_ms(1);
}

static void allocate(struct raw *r, int n)
{
	while (n--)
		if (!raw_alloc(r, GCARENA_SPAN_CLASS(n % 20, n % 2 * 2)))
			_exit(6);
}

static void expect_exit(pid_t pid, int code)
{
	int status;

	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
		gct_note("# status %#x", status);
	ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

/* One COLLECT that a thread of @tid's is in the way of: task work does not care. */
static void collect_beside(uint32_t engine, pid_t tid)
{
	struct gcarena_collect c;
	int err = stop_collect_within(&arena, 100 * (uint64_t)gct_slow(), 0, &c);

	if (engine == GCARENA_CREATE_TASKWORK) {
		EXPECT_EQ(err, 0);
		EXPECT_EQ(c.blame, 0);
	} else {
		EXPECT_EQ(err, -ETIMEDOUT);
		EXPECT_EQ(c.blame, tid);
	}
}

/* ------------------------------------------------------------------ come and go */

struct comer {
	struct raw raw;
	uint64_t seed;
};

static void *one_life(void *arg)
{
	struct comer *c = arg;
	uint64_t what = gct_random(&c->seed);

	if (what % 8 == 0)
		return NULL;
	if (stop_attach(&c->raw, &arena))
		_exit(4);
	if (what & 8)
		allocate(&c->raw, (int)(what >> 8 & 31));
	if (!(what & 0x70) && raw_collect(&c->raw, 0, NULL))
		_exit(5);
	if (what & 0x80)
		sched_yield();
	if (what & 0x4000) {
		if (stop_detach(&c->raw))
			_exit(4);
		/* Again, sometimes. */
		if (what & 0x8000 && (stop_attach(&c->raw, &arena) || stop_detach(&c->raw)))
			_exit(4);
	} else {
		munmap(c->raw.m, c->raw.attach.map_size);
	}
	return NULL;
}

static void *many_lives(void *arg)
{
	struct comer c = { .seed = gct_now_ms() * 16 + (uintptr_t)arg };

	while (!quit) {
		pthread_t t;

		if (pthread_create(&t, NULL, one_life, &c))
			_exit(4);
		pthread_join(t, NULL);
		__atomic_fetch_add(&ready, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

BOTH(storm)
{
	struct gcarena_stats st;
	pthread_t t[4], collector;

	stop_arena(&arena, engine);
	start(&collector, collect_loop, &arena);
	for (uintptr_t i = 0; i < 4; i++)
		start(&t[i], many_lives, (void *)(i + 1));
	for (int ms = gct_long() ? 20000 : 3000; ms > 0 || cycles <= 5 || ready <= 20; ms -= 10)
		gct_sleep_ms(10);
	quit = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	pthread_join(collector, NULL);
	EXPECT_EQ(collect_error, 0);
	ASSERT_EQ(raw_collect(&arena, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&arena, &st), 0);
	EXPECT_EQ(st.threads, 0);
	EXPECT_EQ(st.voided, 0);
	gct_note("# %d lives, %lu cycles, %" PRIu64 " postponed", ready, cycles,
		 (uint64_t)st.postponed);
}

/* ------------------------------------------------------------------- exec, vfork, fork */

static void *exec_thread(void *arg)
{
	struct raw mine;

	if (!arg && stop_attach(&mine, &arena))
		_exit(4);
	gct_sleep_ms((long)(gct_now_ms() % 7));
	execl("/bin/sh", "sh", "-c", "i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; exit 7",
	      (char *)NULL);
	_exit(8);
}

BOTH(exec_is_not_held)
{
	long arenas = gct_arenas();

	for (unsigned long i = 0; i < gct_scale(16); i++) {
		pid_t pid = fork();

		if (!pid) {
			struct raw mine;
			pthread_t t;

			stop_arena(&arena, engine);
			start(&t, spin_thread, NULL);
			start(&t, collect_loop, &arena);
			wait_ready(1);
			if (i & 1) {
				start(&t, exec_thread, NULL);
				pause();
			}
			if (stop_attach(&mine, &arena))
				_exit(4);
			exec_thread(&mine);
		}
		if (!i) {
			int status;

			/* A skip in the child is ours. */
			ASSERT_EQ(waitpid(pid, &status, 0), pid);
			if (WIFEXITED(status) && WEXITSTATUS(status) == GCT_SKIPPED)
				SKIP("the module does not have, or is told not to use, this engine");
			ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
			continue;
		}
		expect_exit(pid, 7);
	}
	EXPECT_TRUE(gct_arenas_become(arenas));
}

BOTH(vfork_spawn_fork)
{
	static char *const argv[] = { (char *)"true", NULL };
	static struct raw mine;
	pthread_t t, collector;
	pid_t pid;

	stop_arena(&arena, engine);
	start(&t, spin_thread, NULL);
	wait_ready(1);
	ASSERT_EQ(stop_attach(&mine, &arena), 0);
	start(&collector, collect_loop, &arena);
	/* Stops that meet a vfork() are postponed, each time for longer. */
	for (unsigned long i = 0; i < gct_scale(15) || cycles <= 10; i++) {
		pid = vfork();
		if (!pid) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		expect_exit(pid, 0);
		ASSERT_EQ(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ), 0);
		expect_exit(pid, 0);
		pid = fork();
		if (!pid) {
			/* Not held, whatever its parent's stops do. */
			for (int k = 0; k < 100; k++)
				getppid();
			_exit(raw_collect(&mine, 0, NULL) == -EPERM ? 0 : 1);
		}
		expect_exit(pid, 0);
	}
	quit = 1;
	pthread_join(t, NULL);
	pthread_join(collector, NULL);
	EXPECT_EQ(collect_error, 0);
}

static int begun[2], go_on[2];
static volatile pid_t vfork_tid;

static void *vfork_thread(void *arg)
{
	struct raw mine;
	char byte;
	int status;
	pid_t pid;

	(void)arg;
	if (stop_attach(&mine, &arena))
		_exit(4);
	vfork_tid = stop_tid();
	pid = vfork();
	if (!pid) {
		if (write(begun[1], "x", 1) != 1 || read(go_on[0], &byte, 1) != 1)
			_exit(1);
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	stop_detach(&mine);
	return (void *)(intptr_t)status;
}

/* The parent sleeps in the kernel, uninterruptible, for as long as the child likes. */
BOTH(vfork_that_lasts)
{
	pthread_t t;
	void *status;
	char byte;

	stop_arena(&arena, engine);
	ASSERT_EQ(pipe(begun), 0);
	ASSERT_EQ(pipe(go_on), 0);
	start(&t, vfork_thread, NULL);
	ASSERT_EQ(read(begun[0], &byte, 1), 1);
	for (int i = 0; i < 3; i++)
		collect_beside(engine, vfork_tid);
	ASSERT_EQ(write(go_on[1], "x", 1), 1);
	pthread_join(t, &status);
	EXPECT_EQ((intptr_t)status, 0);
	EXPECT_EQ(raw_collect(&arena, 0, NULL), 0);
}

/* ---------------------------------------------------------- stopped, traced, frozen */

static volatile pid_t traced_tid;

static void *traced_thread(void *arg)
{
	struct raw mine;

	(void)arg;
	if (stop_attach(&mine, &arena))
		_exit(4);
	traced_tid = stop_tid();
	while (!quit)
		spun++;
	stop_detach(&mine);
	return NULL;
}

/* The tracer: stop it and say so; when told to, let it go by @steps single steps. */
static void trace(pid_t tid, int steps)
{
	int status, sig;
	char byte;

	if (ptrace(PTRACE_SEIZE, tid, 0, 0) || ptrace(PTRACE_INTERRUPT, tid, 0, 0) ||
	    waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status) ||
	    write(begun[1], "x", 1) != 1 || read(go_on[0], &byte, 1) != 1)
		_exit(1);
	while (steps--) {
		sig = WSTOPSIG(status) == SIGURG ? SIGURG : 0;
		if (ptrace(PTRACE_SINGLESTEP, tid, 0, sig) ||
		    waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status))
			_exit(2);
	}
	sig = WSTOPSIG(status) == SIGURG ? SIGURG : 0;
	_exit(ptrace(PTRACE_DETACH, tid, 0, sig) ? 3 : 0);
}

BOTH(traced)
{
	pthread_t t, collector;
	uint64_t before;
	char byte;
	pid_t pid;

	stop_arena(&arena, engine);
	ASSERT_EQ(pipe(begun), 0);
	ASSERT_EQ(pipe(go_on), 0);
	start(&t, traced_thread, NULL);
	while (!traced_tid)
		gct_sleep_ms(1);
	for (int i = 0; i < 3; i++) {
		pid = fork();
		if (!pid)
			trace(traced_tid, 0);
		ASSERT_EQ(read(begun[0], &byte, 1), 1);
		collect_beside(engine, traced_tid);
		before = spun;
		ASSERT_EQ(write(go_on[1], "x", 1), 1);
		expect_exit(pid, 0);
		while (spun == before)
			gct_sleep_ms(1);
		EXPECT_EQ(raw_collect(&arena, 0, NULL), 0);
	}
	/* Steps and stops at once: it is held once a step, so give it time for some. */
	collect_rest = 1;
	start(&collector, collect_loop, &arena);
	pid = fork();
	if (!pid)
		trace(traced_tid, (int)gct_scale(200));
	ASSERT_EQ(read(begun[0], &byte, 1), 1);
	ASSERT_EQ(write(go_on[1], "x", 1), 1);
	expect_exit(pid, 0);
	quit = 1;
	pthread_join(t, NULL);
	pthread_join(collector, NULL);
	EXPECT_EQ(collect_error, 0);
}

/* A process of its own that collects all the time; what it counts, others see. */
static volatile unsigned long *seen;

static pid_t busy_process(uint32_t engine, int threads)
{
	int tell[2];
	char byte = 0;
	pid_t pid;

	seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(pipe(tell), 0);
	pid = fork();
	if (!pid) {
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* With signals it waits for those that were stopped before it. */
		collect_ms = engine == GCARENA_CREATE_SIGNAL ? 50 * (uint64_t)gct_slow() : 0;
		stop_arena(&arena, engine);
		for (int i = 0; i < threads; i++)
			start(&t, spin_thread, NULL);
		wait_ready(threads);
		start(&t, collect_loop, &arena);
		if (write(tell[1], "x", 1) != 1)
			_exit(1);
		for (;;) {
			if (collect_error)
				_exit(9);
			*seen = cycles;
			gct_sleep_ms(1);
		}
	}
	close(tell[1]);
	if (read(tell[0], &byte, 1) != 1) {
		int status;

		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == GCT_SKIPPED)
			SKIP("the module does not have, or is told not to use, this engine");
		ASSERT_TRUE(false);
	}
	close(tell[0]);
	return pid;
}

static bool goes_on(void)
{
	uint64_t end = gct_now_ms() + 5000ULL * (uint64_t)gct_slow();
	unsigned long before = *seen;

	while (*seen <= before + 1 && gct_now_ms() < end)
		gct_sleep_ms(1);
	return *seen > before + 1;
}

static void end_process(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(WIFSIGNALED(status));
}

BOTH(stopped_and_continued)
{
	long arenas = gct_arenas();
	pid_t pid = busy_process(engine, 3);
	uint64_t seed = gct_now_ms() | 1;
	int status;

	for (unsigned long i = 0; i < gct_scale(20); i++) {
		unsigned long before;

		EXPECT_TRUE(goes_on());
		gct_sleep_ms((long)(gct_random(&seed) % 5));
		kill(pid, SIGSTOP);
		ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
		ASSERT_TRUE(WIFSTOPPED(status));
		before = *seen;
		gct_sleep_ms(5);
		EXPECT_EQ(*seen, before);
		kill(pid, SIGCONT);
	}
	EXPECT_TRUE(goes_on());
	kill(pid, SIGSTOP);
	end_process(pid);
	EXPECT_TRUE(gct_arenas_become(arenas));
}

#define GROUP	"/sys/fs/cgroup/gct_stop"

/* Where the threads of @pid are, for a message. */
static void tell_threads(pid_t pid)
{
	char cmd[200];

	snprintf(cmd, sizeof(cmd), "for t in /proc/%d/task/*; do echo \"# $t $(grep State $t/status)"
		 " $(head -n 6 $t/stack | tr '\\n' ' ')\"; done", pid);
	if (system(cmd))
		return;
}

static bool frozen_becomes(int want)
{
	uint64_t end = gct_now_ms() + 1200ULL * (uint64_t)gct_slow();
	char buf[200], line[20];
	bool yes = false;

	snprintf(line, sizeof(line), "frozen %d", want);
	while (!yes && gct_now_ms() < end) {
		int fd = open(GROUP "/cgroup.events", O_RDONLY);
		ssize_t n = fd < 0 ? 0 : read(fd, buf, sizeof(buf) - 1);

		close(fd);
		buf[n > 0 ? n : 0] = 0;
		yes = strstr(buf, line);
		gct_sleep_ms(2);
	}
	return yes;
}

static bool freeze(void)
{
	return !gct_file_write(GROUP "/cgroup.freeze", "1") && frozen_becomes(1);
}

BOTH(frozen)
{
	long arenas = gct_arenas();
	pid_t pid = busy_process(engine, 3);
	char text[20];

	snprintf(text, sizeof(text), "%d", pid);
	rmdir(GROUP);
	if (mkdir(GROUP, 0755) || access(GROUP "/cgroup.freeze", W_OK) ||
	    gct_file_write(GROUP "/cgroup.procs", text)) {
		end_process(pid);
		rmdir(GROUP);
		SKIP("no cgroup with a freezer");
	}
	for (unsigned long i = 0; i < gct_scale(10); i++) {
		int tries = 0;

		EXPECT_TRUE(goes_on());
		/* A worker in the cgroup may keep it from being seen as frozen: once more. */
		while (!freeze() && ++tries < 5)
			gct_file_write(GROUP "/cgroup.freeze", "0");
		if (tries == 5) {
			tell_threads(pid);
			EXPECT_TRUE(false);
		}
		ASSERT_EQ(gct_file_write(GROUP "/cgroup.freeze", "0"), 0);
		EXPECT_TRUE(frozen_becomes(0));
	}
	EXPECT_TRUE(goes_on());
	ASSERT_EQ(gct_file_write(GROUP "/cgroup.freeze", "1"), 0);
	end_process(pid);		/* in the freezer */
	EXPECT_TRUE(gct_arenas_become(arenas));
	EXPECT_EQ(rmdir(GROUP), 0);
}

BOTH(killed_at_any_time)
{
	long arenas = gct_arenas();
	uint64_t seed = gct_now_ms() | 1;

	for (unsigned long i = 0; i < gct_scale(25); i++) {
		pid_t pid = busy_process(engine, 8);

		gct_sleep_ms((long)(gct_random(&seed) % 12));
		end_process(pid);
		munmap((void *)(uintptr_t)seen, 4096);
	}
	EXPECT_TRUE(gct_arenas_become(arenas));
}

/* ------------------------------------------------------------- who is in the way */

static volatile pid_t blocker_tid;
static volatile int blocker_do;

static void *blocking_thread(void *arg)
{
	struct raw mine;

	(void)arg;
	if (stop_attach(&mine, &arena))
		_exit(4);
	blocker_tid = stop_tid();
	for (int done = 0; done >= 0; done = blocker_do) {
		if (done == 1)
			raw_mask_stop(SIG_BLOCK);
		else
			raw_mask_stop(SIG_UNBLOCK);
		ready = done;
		while (blocker_do == done)
			;
	}
	stop_detach(&mine);
	return NULL;
}

static void tell(int what)
{
	blocker_do = what;
	while (ready != what)
		;
}

TEST(signal_blocked)
{
	struct gcarena_collect c;
	struct gcarena_stats st;
	pthread_t t;

	stop_arena(&arena, GCARENA_CREATE_SIGNAL);
	start(&t, blocking_thread, NULL);
	while (!blocker_tid)
		gct_sleep_ms(1);
	for (int i = 0; i < 3; i++) {
		uint64_t began;

		tell(2);
		ASSERT_EQ(stop_collect_within(&arena, 0, 0, &c), 0);
		EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
		tell(1);
		began = gct_now_ms();
		EXPECT_EQ(stop_collect_within(&arena, 80, 0, &c), -ETIMEDOUT);
		EXPECT_GE(gct_now_ms() - began, 79);
		EXPECT_EQ(c.blame, blocker_tid);
		EXPECT_EQ(arena.control->stop, 0);
		EXPECT_EQ(arena.control->phase, GCARENA_PHASE_OFF);
		tell(2);
		ASSERT_EQ(raw_collect(&arena, 0, NULL), 0);
		/* Marking has begun: then the cycle is void, and says who it was. */
		ASSERT_EQ(raw_collect(&arena, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
		tell(1);
		EXPECT_EQ(stop_collect_within(&arena, 80, GCARENA_COLLECT_UNTIL_MARKED, &c), 0);
		EXPECT_EQ(c.result, GCARENA_RESULT_VOID);
		EXPECT_EQ(c.void_reason, GCARENA_VOID_AGE);
		EXPECT_EQ(c.blame, blocker_tid);
	}
	tell(2);
	ASSERT_EQ(raw_collect(&arena, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&arena, &st), 0);
	EXPECT_GT(st.postponed, 3);
	blocker_do = -1;
	pthread_join(t, NULL);
}

static struct raw counted;

static void *counting_thread(void *arg)
{
	int err = stop_attach_flags(&counted, &arena, GCARENA_ATTACH_COUNTER);

	(void)arg;
	if (err)
		return (void *)(intptr_t)err;
	blocker_tid = stop_tid();
	for (int done = 0; done >= 0; done = blocker_do) {
		counted.m->critical = done == 1;
		/* What the end of a section does. */
		if (!counted.m->critical)
			raw_on_stop(0);
		ready = done;
		while (blocker_do == done)
			;
	}
	stop_detach(&counted);
	return NULL;
}

TEST(counter_under_taskwork)
{
	pthread_t t;
	void *err;

	stop_arena(&arena, GCARENA_CREATE_TASKWORK);
	start(&t, counting_thread, NULL);
	pthread_join(t, &err);
	EXPECT_EQ((intptr_t)err, -EOPNOTSUPP);
	EXPECT_EQ(raw_collect(&arena, 0, NULL), 0);
}

TEST(counter_moves_to_signals)
{
	struct gcarena_info info = { .size = sizeof(info) };
	struct gcarena_collect c;
	pthread_t s, t;
	uint64_t before;
	void *err;

	stop_arena(&arena, 0);
	ASSERT_EQ(raw_ioctl(arena.fd, GCARENA_IOC_INFO, &info), 0);
	EXPECT_EQ(arena.control->engine, GCARENA_ENGINE_NONE);
	start(&s, spin_thread, NULL);
	wait_ready(1);
	EXPECT_EQ(arena.control->engine, info.engine);
	ASSERT_EQ(raw_collect(&arena, 0, NULL), 0);
	ready = 0;
	start(&t, counting_thread, NULL);
	if (gct_engine_refused(GCARENA_CREATE_SIGNAL)) {
		/* Not with stop=taskwork; the others go on. */
		pthread_join(t, &err);
		EXPECT_EQ((intptr_t)err, -EOPNOTSUPP);
		EXPECT_EQ(arena.control->engine, GCARENA_ENGINE_TASKWORK);
		EXPECT_EQ(raw_collect(&arena, 0, NULL), 0);
		quit = 1;
		pthread_join(s, NULL);
		return;
	}
	while (!blocker_tid)
		gct_sleep_ms(1);
	EXPECT_EQ(arena.control->engine, GCARENA_ENGINE_SIGNAL);
	before = spun;
	for (int i = 0; i < 20; i++)
		ASSERT_EQ(raw_collect(&arena, 0, NULL), 0);
	/* Inside a section it is not held, though it may be in SETTLE. */
	tell(1);
	c.blame = 0;
	/* The first that is late is blamed, and now and then the spinner is, too. */
	for (int i = 0; i < 20 && c.blame != blocker_tid; i++)
		EXPECT_EQ(stop_collect_within(&arena, 80, 0, &c), -ETIMEDOUT);
	EXPECT_EQ(c.blame, blocker_tid);
	tell(2);
	EXPECT_EQ(raw_collect(&arena, 0, NULL), 0);
	while (spun == before)
		gct_sleep_ms(1);
	blocker_do = -1;
	quit = 1;
	pthread_join(s, NULL);
	pthread_join(t, NULL);
}

/* ------------------------------------------------------------------ several arenas */

struct both {
	struct raw a, b;
	uint64_t seed;
	unsigned long n;
};

static void *both_thread(void *arg)
{
	struct both *x = arg;

	if (stop_attach(&x->a, &arena) || stop_attach(&x->b, &arena2))
		_exit(4);
	while (!quit) {
		uint64_t what = gct_random(&x->seed);

		allocate(what & 1 ? &x->a : &x->b, 20);
		if (!(what & 0xf00) && raw_collect(what & 2 ? &x->a : &x->b, 0, NULL))
			_exit(5);
		x->n++;
	}
	if (stop_detach(&x->a) || stop_detach(&x->b))
		_exit(4);
	return NULL;
}

BOTH(several_arenas_at_once)
{
	static struct both x[4];
	struct gcarena_stats st;
	uint64_t least = 0;
	pthread_t t[4], c[2];

	stop_arena(&arena, engine);
	stop_arena(&arena2, engine);
	for (int i = 0; i < 4; i++) {
		x[i].seed = gct_now_ms() * 8 + (uint64_t)i + 1;
		start(&t[i], both_thread, &x[i]);
	}
	start(&c[0], collect_loop, &arena);
	start(&c[1], collect_loop, &arena2);
	for (int ms = gct_long() ? 20000 : 3000; ms > 0 || least <= 5; ms -= 100) {
		gct_sleep_ms(100);
		ASSERT_EQ(raw_stats(&arena, &st), 0);
		least = st.cycles;
		ASSERT_EQ(raw_stats(&arena2, &st), 0);
		if (st.cycles < least)
			least = st.cycles;
	}
	quit = 1;
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		EXPECT_GT(x[i].n, 0);
	}
	pthread_join(c[0], NULL);
	pthread_join(c[1], NULL);
	EXPECT_EQ(collect_error, 0);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(raw_stats(i ? &arena2 : &arena, &st), 0);
		EXPECT_EQ(st.voided, 0);
		EXPECT_EQ(st.threads, 0);
		gct_note("# %" PRIu64 " cycles, %" PRIu64 " postponed", (uint64_t)st.cycles,
			 (uint64_t)st.postponed);
	}
}

/* ---------------------------------------------------------------------- the module */

static int feed[2];
static volatile pid_t sleeper_tid;

static void *sleeper_thread(void *arg)
{
	struct raw mine;
	char byte;

	(void)arg;
	if (stop_attach(&mine, &arena))
		_exit(4);
	sleeper_tid = stop_tid();
	if (read(feed[0], &byte, 1) != 1)
		_exit(5);
	munmap(mine.m, mine.attach.map_size);
	return NULL;
}

static int unload(void)
{
	return syscall(SYS_delete_module, "gcarena", O_NONBLOCK) ? -errno : 0;
}

#define REFERENCES	"/sys/module/gcarena/refcnt"

/* A sleeper owes the module a call, and nothing else is left of the arena. */
TEST(rmmod_waits_for_a_sleeper)
{
	uint64_t end;
	pthread_t t;

	if (gct_file_long(REFERENCES) != 0)
		SKIP("somebody else uses the module");
	stop_arena(&arena, GCARENA_CREATE_TASKWORK);
	ASSERT_EQ(pipe(feed), 0);
	start(&t, sleeper_thread, NULL);
	while (!sleeper_tid)
		gct_sleep_ms(1);
	ASSERT_TRUE(stop_sleeps(sleeper_tid));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(raw_collect(&arena, 0, NULL), 0);
	/* Also the mutator area, which only the sleeper knows. */
	ASSERT_EQ(raw_destroy(&arena), 0);
	munmap(arena.heap, arena.heap_size);
	munmap((void *)(uintptr_t)arena.control, 4096);
	close(arena.fd);
	for (int i = 0; i < 20; i++) {
		EXPECT_GT(gct_file_long(REFERENCES), 0);
		EXPECT_EQ(unload(), -EWOULDBLOCK);
		gct_sleep_ms(5);
	}
	ASSERT_EQ(write(feed[1], "x", 1), 1);
	pthread_join(t, NULL);
	end = gct_now_ms() + 5000ULL * (uint64_t)gct_slow();
	while (gct_file_long(REFERENCES) > 0 && gct_now_ms() < end)
		gct_sleep_ms(5);
	/* Then nothing keeps it; the runner unloads it in the end. */
	EXPECT_EQ(gct_file_long(REFERENCES), 0);
}

TEST_HARNESS_MAIN
