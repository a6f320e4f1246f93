// SPDX-License-Identifier: MIT
/*
 * api.c: what the library says and does about threads on the process backend.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gcarena.h>

#include "test.h"

#ifdef __SANITIZE_THREAD__
#define TSAN	1	/* its own data is megabytes of plain roots */
#else
#define TSAN	0
#endif
#if TSAN || defined(__SANITIZE_ADDRESS__)
#define SANITIZED	1
#else
#define SANITIZED	0
#endif
#define MAGIC	0x5eed0ff0dead10ccULL

static struct gca_arena *open_arena(void)
{
	struct gca_options o = { .backend = "process", .reserve = 1ULL << 30,
				 .debug = "clobber", .flags = GCA_NO_PLAIN_ROOTS };
	struct gca_arena *a = gca_open(&o);

	if (!a) {
		printf("# %s\n", gca_strerror());
		exit(1);
	}
	return a;
}

static uint64_t threads(struct gca_arena *a)
{
	struct gca_stats s;

	CHECK(!gca_stats(a, &s) && !strcmp(s.engine, "signal"));
	return s.threads;
}

/* Its argument has no root but the thread itself. */
static void *checks(struct gca_mutator *m, void *arg)
{
	uint64_t *p = arg;
	int i;

	for (i = 0; i < (TSAN ? 1 : 3); i++)
		if (gca_collect(gca_default(), 0))
			return NULL;
	return *p == MAGIC && gca_alloc_noscan(m, 8) ? (void *)1 : NULL;
}

static void *returns(struct gca_mutator *m, void *arg)
{
	(void)m;
	return arg;
}

static void *exits(struct gca_mutator *m, void *arg)
{
	(void)m;
	pthread_exit(arg);
}

static void *waits(struct gca_mutator *m, void *arg)
{
	(void)m;
	for (;;)
		pause();
	return arg;
}

static void *tries_detach(void *m)
{
	return (void *)(intptr_t)(gca_detach(m) && errno == EPERM && SAYS("own thread"));
}

static void *collects(void *a)
{
	return (void *)(intptr_t)!gca_collect(a, 0);
}

static void whose_mutator(void)
{
	struct gca_arena *a = open_arena();
	struct gca_mutator *m = gca_attach(a);
	pthread_t t;
	void *ret;

	CHECK(m && threads(a) == 1);
	CHECK(!gca_attach(a) && errno == EEXIST && SAYS("attached already"));
	CHECK(!gca_thread_create(a, &t, NULL, returns, a));
	pthread_join(t, &ret);
	CHECK(ret == a);
	pthread_create(&t, NULL, tries_detach, m);
	pthread_join(t, &ret);
	CHECK(ret);
	pthread_create(&t, NULL, collects, a);
	pthread_join(t, &ret);
	CHECK(ret);
	CHECK(!gca_detach(m) && threads(a) == 0);
	gca_close(a);
}

static pthread_key_t late;
static int late_allocated;

/* A destructor of the program's, in each round but the last two. */
static void allocates_late(void *m)
{
	late_allocated += gca_alloc_noscan(m, 32) != NULL;
	if (late_allocated < PTHREAD_DESTRUCTOR_ITERATIONS - 2)
		pthread_setspecific(late, m);
}

static void *ends_attached(void *a)
{
	struct gca_mutator *m = gca_attach(a);

	pthread_setspecific(late, m);
	return m;
}

static void *ends_at_once(void *a)
{
	gca_attach(a);
	syscall(SYS_exit, 0);
	return NULL;
}

static void ends_without_detaching(void)
{
	struct gca_arena *a = open_arena();
	pthread_t t;
	void *ret;
	int i;

	CHECK(!pthread_key_create(&late, allocates_late));
	pthread_create(&t, NULL, ends_attached, a);
	pthread_join(t, &ret);
	CHECK(ret && threads(a) == 0 && late_allocated == PTHREAD_DESTRUCTOR_ITERATIONS - 2);
	pthread_key_delete(late);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)	/* they miss its end */
	pthread_create(&t, NULL, ends_at_once, a);
	pthread_join(t, NULL);
	CHECK(threads(a) == 1);
	/* A stop finds out, the next cycle takes it out of the list. */
	for (i = 0; i < 3; i++)
		CHECK(!gca_collect(a, 0));
	CHECK(threads(a) == 0);
#else
	(void)ends_at_once;
	(void)i;
#endif
	gca_close(a);
}

/* The C library has each thread change its user, ours too, and waits for them. */
static void changes_its_user(void)
{
	struct gca_arena *a = open_arena();
	int i;

	alarm(60);
	for (i = 0; i < 20; i++) {
		CHECK(!setgid(getgid()) && !setuid(getuid()));
		CHECK(!gca_collect(a, i % 2 ? 0 : GCA_COLLECT_ASYNC));
	}
	alarm(0);
	gca_close(a);
}

/* TSan: see created_threads(); ASan loses track of the stack when it is unwound. */
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
static void *allocates(struct gca_mutator *m, void *arg)
{
	(void)arg;
	for (;;) {
		pthread_testcancel();
		gca_alloc_noscan(m, 4096);
	}
	return NULL;
}

/* Wherever it waits in an allocation, it is not cancelled there. */
static void cancelled_while_it_allocates(void)
{
	struct gca_arena *a = open_arena();
	pthread_t t[3];
	void *ret;
	int i, j;

	alarm(60);
	for (i = 0; i < 10; i++) {
		for (j = 0; j < 3; j++)
			CHECK(!gca_thread_create(a, &t[j], NULL, allocates, NULL));
		usleep(5000);
		for (j = 0; j < 3; j++)
			pthread_cancel(t[j]);
		for (j = 0; j < 3; j++) {
			pthread_join(t[j], &ret);
			CHECK(ret == PTHREAD_CANCELED);
		}
		CHECK(threads(a) == 0 && !gca_collect(a, 0));
	}
	alarm(0);
	gca_close(a);
}
#else
static void cancelled_while_it_allocates(void)
{
}
#endif

static void created_threads(void)
{
	struct gca_arena *a = open_arena();
	pthread_attr_t attr;
	pthread_t t;
	void *ret;
	int i;

	CHECK(!gca_thread_create(a, &t, NULL, returns, &t));
	pthread_join(t, &ret);
	CHECK(ret == &t && threads(a) == 0);
	CHECK(!gca_thread_create(a, &t, NULL, exits, a));
	pthread_join(t, &ret);
	CHECK(ret == a && threads(a) == 0);
#ifndef __SANITIZE_THREAD__	/* TSan sees no locks in a thread that is being cancelled */
	CHECK(!gca_thread_create(a, &t, NULL, waits, NULL));
	CHECK(threads(a) == 1);
	pthread_cancel(t);
	pthread_join(t, &ret);
	CHECK(ret == PTHREAD_CANCELED && threads(a) == 0);
#else
	(void)waits;
#endif
	/* Detached threads, too, are detached from the arena. */
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	CHECK(!gca_thread_create(a, &t, &attr, returns, NULL));
	for (i = 0; gca_roots(a, NULL, 0) && i < 1000; i++)
		usleep(1000);
	/* No root is left behind, no stack either. */
	CHECK(gca_roots(a, NULL, 0) == 0 && threads(a) == 0);
	/* A stack that no machine has. */
	pthread_attr_setstacksize(&attr, 1UL << 46);
	CHECK(gca_thread_create(a, &t, &attr, returns, NULL) == -1 && SAYS("gca_thread_create"));
	CHECK(errno == EAGAIN || errno == ENOMEM || errno == EINVAL);
	CHECK(gca_roots(a, NULL, 0) == 0);
	pthread_attr_destroy(&attr);
	gca_close(a);
}

/* Handed over by a thread that is not attached: the object has no other holder. */
static void argument_is_held(void)
{
	struct gca_arena *a = gca_default();
	struct gca_mutator *m;
	uint64_t *p;
	pthread_t t;
	void *ret;
	int i;

	CHECK(a);
	for (i = 0; i < (TSAN ? 3 : 20); i++) {
		m = gca_attach(a);
		p = gca_alloc_noscan(m, 64);
		*p = MAGIC;
		CHECK(!gca_detach(m));
		CHECK(!gca_thread_create(a, &t, NULL, checks, p));
		p = NULL;
		pthread_join(t, &ret);
		CHECK(ret);
	}
}

static void default_arena_again(void)
{
	struct gca_mutator *m = gca_self();
	struct gca_arena *a = gca_default();

	CHECK(m && a && m == gca_self());
	CHECK(!gca_detach(m));
	CHECK(gca_self() && gca_alloc_noscan(gca_self(), 16));
	gca_close(a);
	/* Opened anew. */
	CHECK(gca_self() && gca_alloc_noscan(gca_self(), 16));
	gca_close(gca_default());
}

static void options(void)
{
	struct gca_options o = { .backend = "process", .stop = GCA_STOP_TASKWORK };

	CHECK(!gca_open(&o) && errno == EOPNOTSUPP && SAYS("task work") && SAYS("process backend"));
	o.stop = GCA_STOP_SIGNAL;
	o.stop_signal = SIGSEGV;
	CHECK(!gca_open(&o) && errno == EINVAL && SAYS("signal 11"));
	o.stop_signal = SIGUSR1;
	gca_close(gca_open(&o));
	/* Nobody has attached: the signal is still the program's. */
	CHECK(signal(SIGUSR1, SIG_DFL) == SIG_DFL);
	o.stop = 99;
	CHECK(!gca_open(&o) && errno == EINVAL);
}

/* The mask of the caller survives a fork, in parent and child. */
static void fork_keeps_the_mask(void)
{
	struct gca_arena *a = open_arena();
	sigset_t set, now;
	int status;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	pid = fork();
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	status = sigismember(&now, SIGHUP) != 1 || sigismember(&now, SIGTERM);
	if (!pid)
		_exit(status);
	CHECK(!status);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	gca_close(a);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
static void fibers(void)	/* which know nothing of other stacks */
{
}
#else
struct ring {
	struct gca_mutator *m;
	struct gca_fiber *fiber[8], *main;
	int turn;
	double sum;
};

/* Objects held by a parked stack alone; numbers and control words survive, too. */
static void in_ring(void *arg)
{
	struct ring *r = arg;
	int n = r->turn, i;
	double x = n;

	for (;;) {
		uint64_t *p = gca_alloc_noscan(r->m, 64), *q = gca_alloc_conservative(r->m, 16);

		*p = (uint64_t)n ^ MAGIC;
		q[1] = ~(uint64_t)n;
		x += 0.5;
		CHECK(gca_fiber_destroy(r->fiber[n]) && errno == EBUSY);
		gca_fiber_switch(r->m, r->fiber[n], r->main);
		for (i = 0; i < 3; i++)
			gca_alloc_noscan(r->m, 64);
		CHECK(*p == ((uint64_t)n ^ MAGIC) && q[1] == ~(uint64_t)n);
		r->sum += x;
		gca_fiber_switch(r->m, r->fiber[n], r->main);
		/* Collected by a fiber: now the thread's own stack is the parked one. */
		CHECK(!gca_collect(gca_default(), 0));
	}
}

static void fibers(void)
{
	char (*stacks)[16384] = mmap(NULL, 8 * 16384, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ring r = { .m = gca_self() };
	uint64_t *mine = gca_alloc_noscan(r.m, 64);
	int i, round;

	*mine = MAGIC;
	r.main = gca_fiber_thread(r.m);
	CHECK(r.main && r.main == gca_fiber_thread(r.m));
	CHECK(!gca_fiber_create(gca_default(), stacks, stacks, in_ring, &r) && errno == EINVAL);
	for (i = 0; i < 8; i++)
		r.fiber[i] = gca_fiber_create(gca_default(), stacks[i], stacks[i + 1], in_ring, &r);
	for (round = 0; round < 20; round++)
		for (i = 0; i < 8; i++) {
			r.turn = i;
			CHECK(gca_fiber_destroy(r.main) && errno == EINVAL);
			gca_fiber_switch(r.m, r.main, r.fiber[i]);
			CHECK(!gca_collect(gca_default(), 0));
			CHECK(*mine == MAGIC);
		}
	CHECK(r.sum > 0);
	for (i = 0; i < 8; i++)
		CHECK(!gca_fiber_destroy(r.fiber[i]));
	CHECK(!gca_detach(r.m));
}
#endif

/* Who has no such mutator is told so, and nothing is touched. */
static void *detaches(void *arg)
{
	return (void *)(intptr_t)(gca_detach(arg) ? errno : 0);
}

static void detached_twice(void)
{
	struct gca_arena *a = open_arena();
	struct gca_mutator *m = gca_attach(a);
	pthread_t t;
	void *err;

	CHECK(!pthread_create(&t, NULL, detaches, m) && !pthread_join(t, &err));
	CHECK((intptr_t)err == EPERM);
	CHECK(!gca_detach(m));
	CHECK(gca_detach(m) && errno == EINVAL);
	CHECK(!pthread_create(&t, NULL, detaches, m) && !pthread_join(t, &err));
	CHECK((intptr_t)err == EINVAL);
	m = gca_attach(a);
	gca_close(a);
	CHECK(gca_detach(m) && errno == EINVAL);
}

/* Sizes at the end of the number range are refused, not wrapped. */
static void sizes(void)
{
	static const size_t size[] = { 8, 16, 24, 512, 4096 };
	struct gca_arena *a = open_arena();
	struct gca_mutator *m = gca_attach(a);
	const struct gca_layout *l;
	unsigned int i, j;

	for (i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
		l = gca_layout(a, size[i], NULL);
		CHECK(l);
		for (j = 0; j < 4; j++) {
			errno = 0;
			CHECK(!gca_alloc_array(m, l, SIZE_MAX / size[i] - j));
			CHECK(errno == ENOMEM || errno == EOVERFLOW);
		}
	}
	for (j = 0; j < 24; j++) {
		CHECK(!gca_alloc_noscan(m, SIZE_MAX - j));
		CHECK(!gca_alloc_conservative(m, SIZE_MAX - j));
	}
	/* No cycle makes room for that. */
	CHECK(!gca_alloc_noscan(m, (2UL << 30) + 1) && SAYS("does not fit"));
	gca_close(a);
}

/* The layouts of many threads, at once: each object is scanned by its own. */
#define LAYOUTS	120

static pthread_barrier_t at_once;

static void *makes_layouts(struct gca_mutator *m, void *arg)
{
	struct gca_arena *a = arg;
	void **object[LAYOUTS];
	unsigned int seed = (unsigned int)pthread_self() >> 12;
	uint64_t bits[16];
	int i, bad = 0;

	(void)pthread_barrier_wait(&at_once);
	for (i = 0; i < LAYOUTS; i++) {
		const struct gca_layout *l;
		size_t word = 1 + (size_t)rand_r(&seed) % 1022;

		memset(bits, 0, sizeof(bits));
		bits[word / 64] = 1ULL << (word % 64);
		l = gca_layout(a, 8192, bits);
		if (!l)
			return (void *)1;
		object[i] = gca_alloc(m, l);
		gca_store(m, &object[i][word], gca_alloc_noscan(m, 64));
		*(uint64_t *)object[i][word] = MAGIC;
		object[i][0] = (void *)word;	/* not a pointer */
	}
	if (gca_collect(a, 0))
		return (void *)2;
	for (i = 0; i < LAYOUTS; i++)
		bad += *(uint64_t *)object[i][(size_t)object[i][0]] != MAGIC;
	return (void *)(intptr_t)(bad ? 3 : 0);
}

static void layouts_at_once(void)
{
	struct gca_arena *a = open_arena();
	pthread_t t[4];
	void *ret;
	int i;

	pthread_barrier_init(&at_once, NULL, 4);
	for (i = 0; i < 4; i++)
		CHECK(!gca_thread_create(a, &t[i], NULL, makes_layouts, a));
	for (i = 0; i < 4; i++)
		CHECK(!pthread_join(t[i], &ret) && !ret);
	pthread_barrier_destroy(&at_once);
	gca_close(a);
}

/* An arena is closed while threads that were made for it end, by them or by another. */
static void *just_ends(struct gca_mutator *m, void *arg)
{
	(void)m;
	(void)pthread_barrier_wait(arg);
	return NULL;
}

static void *closes_it(struct gca_mutator *m, void *arg)
{
	(void)m;
	gca_close(arg);
	return NULL;
}

static void closed_as_they_end(void)
{
	pthread_t t[4];
	int i, n;

	for (n = 0; n < (TSAN ? 10 : 50); n++) {
		struct gca_arena *a = open_arena();

		pthread_barrier_init(&at_once, NULL, 5);
		for (i = 0; i < 4; i++)
			CHECK(!gca_thread_create(a, &t[i], NULL, just_ends, &at_once));
		(void)pthread_barrier_wait(&at_once);
		gca_close(a);
		for (i = 0; i < 4; i++)
			CHECK(!pthread_join(t[i], NULL));
		pthread_barrier_destroy(&at_once);
		a = open_arena();
		CHECK(!gca_thread_create(a, &t[0], NULL, closes_it, a));
		CHECK(!pthread_join(t[0], NULL));
	}
}

/* ------------------------------------------------ fork() while another thread closes */

static unsigned int fork_after;		/* us */

static void *forks_and_ends(struct gca_mutator *m, void *arg)
{
	pid_t pid, *child = arg;

	(void)m;
	(void)pthread_barrier_wait(&at_once);
	usleep(fork_after);
	pid = fork();
	if (pid)
		*child = pid;
	return NULL;
}

/* It is to end, by the end of its only thread. */
static bool has_ended(pid_t child)
{
	int i, status;

	for (i = 0; i < 20000; i++) {
		if (waitpid(child, &status, WNOHANG) == child)
			return WIFEXITED(status) && !WEXITSTATUS(status);
		usleep(1000);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return false;
}

static void fork_while_it_closes(void)
{
	pthread_t t;
	pid_t child;
	int n;

	/* A child that ends needs locks of their runtimes, which may have been another thread's. */
	if (SANITIZED)
		return;
	for (n = 0; n < 50; n++) {
		struct gca_arena *a = open_arena();

		child = -1;
		fork_after = (unsigned int)n * 10;
		pthread_barrier_init(&at_once, NULL, 2);
		CHECK(!gca_thread_create(a, &t, NULL, forks_and_ends, &child));
		(void)pthread_barrier_wait(&at_once);
		gca_close(a);
		CHECK(!pthread_join(t, NULL));
		CHECK(child > 0 && has_ended(child));
		pthread_barrier_destroy(&at_once);
	}
}

/* ------------------------------------- a thread that ends while another cannot be stopped */

static _Atomic int may_end;

static void *ends_when_told(struct gca_mutator *m, void *arg)
{
	(void)m;
	while (!may_end)
		usleep(100);
	return arg;
}

static void ends_while_a_stop_waits(void)
{
	struct gca_arena *a = open_arena();
	struct gca_mutator *m = gca_attach(a);
	pthread_t t, collector;
	sigset_t all, old;
	void *ret;

	may_end = 0;
	CHECK(m);
	CHECK(!gca_thread_create(a, &t, NULL, ends_when_told, NULL));
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	CHECK(!pthread_create(&collector, NULL, collects, a));
	/* It cannot stop this thread, but inside calls: so there is none from here on. */
	usleep(300000);
	may_end = 1;
	alarm(40);
	CHECK(!pthread_join(t, NULL));
	alarm(0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	CHECK(!pthread_join(collector, &ret) && ret);
	gca_close(a);
}

/* --------------------------------------- nothing is left of arenas that others have closed */

static void leaves_nothing(void)
{
	int n, before = 0;
	pthread_t t;

	for (n = 0; n < 60; n++) {
		struct gca_arena *a = open_arena();

		if (n == 20)
			before = mappings();
		pthread_barrier_init(&at_once, NULL, 2);
		CHECK(!gca_thread_create(a, &t, NULL, just_ends, &at_once));
		gca_close(a);
		(void)pthread_barrier_wait(&at_once);
		CHECK(!pthread_join(t, NULL));
		pthread_barrier_destroy(&at_once);
	}
	if (!TSAN)
		CHECK(mappings() < before + 20);
}

int main(void)
{
	RUN(whose_mutator);
	RUN(ends_without_detaching);
	RUN(created_threads);
	RUN(changes_its_user);
	RUN(cancelled_while_it_allocates);
	RUN(fibers);
	RUN(argument_is_held);
	RUN(default_arena_again);
	RUN(options);
	RUN(fork_keeps_the_mask);
	RUN(detached_twice);
	RUN(sizes);
	RUN(layouts_at_once);
	RUN(closed_as_they_end);
	RUN(fork_while_it_closes);
	RUN(ends_while_a_stop_waits);
	RUN(leaves_nothing);
	DONE();
}
