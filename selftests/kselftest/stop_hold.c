// SPDX-License-Identifier: GPL-2.0-only
/*
 * stop_hold.c: no attached thread executes a user instruction while a stop lasts.
 *
 * Threads that spin, sleep, read a pipe, fault, call the system and get signals count
 * in user memory.  A stop is made to last by a root that is a page of userfaultfd:
 * while somebody reads that page, in the stop, the world is held, and the counters
 * stand still while that of a thread that is not attached goes on.  (This relies on
 * marking inside the stop.)
 *
 * And what a stop costs a thread that sleeps: with task work no wake-up and no EINTR.
 */
#define GCT_SUITE "stop_hold"
#include "stop.h"

#include <linux/futex.h>
#include <linux/userfaultfd.h>

/* Those that sleep first: sleepers_stand_still has them alone. */
enum kind { SLEEP, PIPE, NR_SLEEP, SPIN = NR_SLEEP, FAULT, CALL, SIGNALS, NR_KINDS };

static const char *const kind_name[] = { "sleeping", "reading a pipe", "spinning", "faulting",
					 "calling", "getting signals" };

struct actor {
	enum kind kind;
	pthread_t thread;
	struct raw raw;
	volatile int ready;
	volatile uint64_t n, signals;
} __attribute__((aligned(64)));

static struct raw arena;
static struct actor actor[NR_KINDS];
static int nr_actors;
static volatile uint64_t outside;	/* of the thread that is not attached */
static volatile int quit;
static int feed[2];

static void on_usr1(int sig)
{
	(void)sig;
	actor[SIGNALS].signals++;
}

static void act(struct actor *a)
{
	struct timespec ts = { 0, 200000 };
	volatile char *p;
	char byte;

	switch (a->kind) {
	case SPIN:
	case SIGNALS:
		break;
	case SLEEP:
		nanosleep(&ts, NULL);
		break;
	case PIPE:
		if (read(feed[0], &byte, 1) < 0)
			_exit(3);
		break;
	case FAULT:
		p = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (int i = 0; i < 4; i++)
			p[i * 4096] = 1;
		munmap((void *)(uintptr_t)p, 16384);
		break;
	default:
		syscall(SYS_getppid);
	}
	a->n++;
}

static void *act_thread(void *arg)
{
	struct actor *a = arg;
	int err = stop_attach(&a->raw, &arena);

	if (err)
		_exit(4);
	a->ready = 1;
	while (!quit)
		act(a);
	return (void *)(intptr_t)stop_detach(&a->raw);
}

/* Not attached: feeds the pipe, sends the signals, and is never held. */
static void *feed_thread(void *arg)
{
	struct timespec ts = { 0, 300000 };

	(void)arg;
	while (!quit) {
		if (write(feed[1], "x", 1) < 0 && errno != EAGAIN)
			_exit(5);
		if (nr_actors > SIGNALS)
			pthread_kill(actor[SIGNALS].thread, SIGUSR1);
		outside++;
		nanosleep(&ts, NULL);
	}
	return NULL;
}

/* Lent as the pager, should the collector want one. */
static void *serve_thread(void *arg)
{
	int err;

	(void)arg;
	do {
		struct gcarena_serve s = { .size = sizeof(s) };

		err = raw_ioctl(arena.fd, GCARENA_IOC_SERVE, &s);
	} while (!err || err == -EINTR);
	return NULL;
}

/* ------------------------------------------------------------- a stop that lasts */

static struct {
	int fd;
	char *page;
	volatile unsigned long held;	/* stops looked at */
	volatile unsigned long moved[NR_KINDS + 1];
} slow;

/* Answers the faults on the page; each one is inside a stop. */
static void *look_thread(void *arg)
{
	struct uffd_msg msg;

	(void)arg;
	while (read(slow.fd, &msg, sizeof(msg)) == sizeof(msg)) {
		struct uffdio_zeropage z = { .range = { (uintptr_t)slow.page, 4096 } };
		uint64_t before[NR_KINDS], end = gct_now_ms() + 2000ULL * (uint64_t)gct_slow();
		uint64_t ran = outside, handled = actor[SIGNALS].signals;

		if (!arena.control->stop)
			slow.moved[NR_KINDS]++;
		for (int i = 0; i < nr_actors; i++)
			before[i] = actor[i].n;
		while (outside < ran + 3 && gct_now_ms() < end)
			gct_sleep_ms(1);
		if (outside < ran + 3)
			slow.moved[NR_KINDS]++;
		for (int i = 0; i < nr_actors; i++)
			if (actor[i].n != before[i])
				slow.moved[i]++;
		if (handled != actor[SIGNALS].signals)
			slow.moved[SIGNALS]++;
		slow.held++;
		ioctl(slow.fd, UFFDIO_ZEROPAGE, &z);
	}
	return NULL;
}

static void slow_setup(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct gcarena_range range = { .len = 4096, .kind = GCARENA_ROOT_PLAIN };
	struct gcarena_roots roots = { .size = sizeof(roots), .nr_add = 1 };

	slow.fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (slow.fd < 0 || ioctl(slow.fd, UFFDIO_API, &api))
		SKIP("no userfaultfd");
	slow.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)slow.page;
	reg.range.len = 4096;
	ASSERT_EQ(ioctl(slow.fd, UFFDIO_REGISTER, &reg), 0);
	range.start = (uintptr_t)slow.page;
	roots.add = (uintptr_t)&range;
	ASSERT_EQ(raw_ioctl(arena.fd, GCARENA_IOC_ROOTS, &roots), 0);
}

/* @n stops.  The page must be missing again each time. */
static void slow_stops(unsigned long n)
{
	while (n--) {
		struct gcarena_collect c;

		madvise(slow.page, 4096, MADV_DONTNEED);
		ASSERT_EQ(stop_collect_within(&arena, 20000ULL * (uint64_t)gct_slow(), 0, &c), 0);
		ASSERT_EQ(c.result, GCARENA_RESULT_DONE);
	}
}

static void stand_still(uint32_t engine, int nr)
{
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = SA_RESTART };
	unsigned long n = gct_scale(320);
	struct gcarena_stats st;
	static struct raw mine;
	pthread_t feeder, looker, server;
	uint64_t began[NR_KINDS];

	nr_actors = nr;
	stop_arena(&arena, engine);
	slow_setup();
	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(pipe2(feed, 0), 0);
	fcntl(feed[1], F_SETFL, O_NONBLOCK);
	for (int i = 0; i < nr; i++) {
		actor[i].kind = i;
		ASSERT_EQ(pthread_create(&actor[i].thread, NULL, act_thread, &actor[i]), 0);
		while (!actor[i].ready)
			gct_sleep_ms(1);
	}
	ASSERT_EQ(pthread_create(&feeder, NULL, feed_thread, NULL), 0);
	ASSERT_EQ(pthread_create(&looker, NULL, look_thread, NULL), 0);
	ASSERT_EQ(pthread_create(&server, NULL, serve_thread, NULL), 0);
	EXPECT_EQ(arena.control->engine, engine == GCARENA_CREATE_TASKWORK ?
		  GCARENA_ENGINE_TASKWORK : GCARENA_ENGINE_SIGNAL);

	for (int i = 0; i < nr; i++)
		began[i] = actor[i].n;
	slow_stops(n - n / 2);			/* by a thread that is not attached */
	ASSERT_EQ(stop_attach(&mine, &arena), 0);
	slow_stops(n / 2);			/* by one that is */
	ASSERT_EQ(stop_detach(&mine), 0);

	EXPECT_GE(slow.held, n);
	for (int i = 0; i < nr; i++) {
		if (slow.moved[i] || actor[i].n == began[i])
			gct_note("# %s: went on in %lu of %lu stops; counted %" PRIu64 " in all",
				 kind_name[i], slow.moved[i], slow.held, actor[i].n - began[i]);
		EXPECT_EQ(slow.moved[i], 0);
		EXPECT_GT(actor[i].n, began[i]);
	}
	EXPECT_EQ(slow.moved[NR_KINDS], 0);	/* in a stop, and the outside ran */
	if (nr > SIGNALS)
		EXPECT_GT(actor[SIGNALS].signals, 0);
	ASSERT_EQ(raw_stats(&arena, &st), 0);
	EXPECT_EQ(st.threads, (uint32_t)nr);
	EXPECT_GE(st.held, n * (uint64_t)nr);
	gct_note("# %lu stops, %" PRIu64 " postponed, %" PRIu64 " of %" PRIu64 " threads asleep",
		 slow.held, (uint64_t)st.postponed, (uint64_t)st.held_asleep, (uint64_t)st.held);

	quit = 1;
	pthread_join(feeder, NULL);
	ASSERT_EQ(write(feed[1], "x", 1), 1);
	for (int i = 0; i < nr; i++) {
		void *err;

		pthread_join(actor[i].thread, &err);
		EXPECT_EQ((intptr_t)err, 0);
	}
}

BOTH(counters_stand_still)
{
	stand_still(engine, NR_KINDS);
}

/* All asleep when the stop begins: then no processor is interrupted.  They are woken in it. */
BOTH(sleepers_stand_still)
{
	stand_still(engine, NR_SLEEP);
}

/* ------------------------------------------------------- threads that stay asleep */

enum { READ, NAP, POLL, PAUSE, FUTEX, NR_NAPS };

struct napper {
	int how;
	pthread_t thread;
	struct raw raw;
	volatile pid_t tid;
	volatile unsigned long returns, interrupted;
};

static struct napper napper[NR_NAPS];
static const char *const nap_name[] = { "read", "nanosleep", "poll", "pause", "futex" };

static void *nap_thread(void *arg)
{
	struct napper *n = arg;
	struct timespec ts = { 100, 0 };
	struct pollfd pfd = { .fd = feed[0], .events = POLLPRI };
	int word = 0;
	long ret = 0;
	char byte;

	if (stop_attach(&n->raw, &arena))
		_exit(4);
	n->tid = stop_tid();
	while (!quit) {
		switch (n->how) {
		case READ:
			ret = read(feed[0], &byte, 1);
			break;
		case NAP:
			ret = nanosleep(&ts, NULL);
			break;
		case POLL:
			ret = poll(&pfd, 1, 100000);
			break;
		case PAUSE:
			ret = pause();
			break;
		case FUTEX:
			ret = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);
			break;
		}
		if (ret < 0 && errno == EINTR)
			n->interrupted++;
		n->returns++;
	}
	return NULL;
}

/* It sleeps, and has done so for a while: not before a last short sleep, nor about to. */
static bool fast_asleep(pid_t tid)
{
	long before;

	do {
		before = stop_switches(tid);
		gct_sleep_ms(20 * gct_slow());
		if (!stop_sleeps(tid))
			return false;
	} while (stop_switches(tid) != before);
	return true;
}

BOTH(sleepers)
{
	unsigned long stops = gct_scale(100);
	struct gcarena_stats a, b;
	long before[NR_NAPS];

	stop_arena(&arena, engine);
	ASSERT_EQ(pipe(feed), 0);
	for (int i = 0; i < NR_NAPS; i++) {
		napper[i].how = i;
		ASSERT_EQ(pthread_create(&napper[i].thread, NULL, nap_thread, &napper[i]), 0);
		while (!napper[i].tid)
			gct_sleep_ms(1);
		ASSERT_TRUE(fast_asleep(napper[i].tid));
	}
	for (int i = 0; i < NR_NAPS; i++)
		before[i] = stop_switches(napper[i].tid);
	ASSERT_EQ(raw_stats(&arena, &a), 0);
	for (unsigned long i = 0; i < stops; i++)
		ASSERT_EQ(raw_collect(&arena, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&arena, &b), 0);
	if (engine == GCARENA_CREATE_TASKWORK) {
		EXPECT_EQ(b.held - a.held, (b.stops - a.stops) * NR_NAPS);
		EXPECT_EQ(b.held_asleep - a.held_asleep, (b.stops - a.stops) * NR_NAPS);
		EXPECT_EQ(b.postponed, 0);
	} else {
		EXPECT_GE(b.held - a.held, stops * NR_NAPS);
	}
	for (int i = 0; i < NR_NAPS; i++) {
		long switches = stop_switches(napper[i].tid) - before[i];

		if (engine == GCARENA_CREATE_TASKWORK) {
			if (switches || napper[i].returns)
				gct_note("# %s: %ld switches, %lu returns", nap_name[i], switches,
					 napper[i].returns);
			EXPECT_EQ(switches, 0);
			EXPECT_EQ(napper[i].returns, 0);
		} else {
			/* The test of the test: they were woken. */
			EXPECT_GE(switches, (long)stops);
		}
	}
	EXPECT_EQ(napper[READ].interrupted, 0);		/* SA_RESTART */
	if (engine == GCARENA_CREATE_SIGNAL)
		EXPECT_GT(napper[PAUSE].interrupted, 0);
	/* They do wake for what they wait for. */
	EXPECT_EQ(napper[READ].returns, 0);
	quit = 1;
	ASSERT_EQ(write(feed[1], "x", 1), 1);
	pthread_join(napper[READ].thread, NULL);
	EXPECT_EQ(napper[READ].returns, 1);
}

TEST_HARNESS_MAIN
