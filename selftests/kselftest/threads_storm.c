// SPDX-License-Identifier: GPL-2.0-only
/*
 * threads_storm.c: threads come and go while cycles run: created attached, exiting
 * attached, in several arenas at once, with signal handlers that allocate, forking.
 */
#include "lists.h"

#define GCT_SUITE "threads_storm" GCT_SUFFIX

#include <dlfcn.h>

#define THREADS	8
#define LEN	5	/* of lists */

static int running;

static bool is_running(void)
{
	return __atomic_load_n(&running, __ATOMIC_SEQ_CST);
}

/* --------------------------------------------------------------------- creation */

static struct gca_arena *arena;
static const struct gca_layout *layout;

/* The list has no holder but this thread; some leave without a word. */
static void *born(struct gca_mutator *m, void *arg)
{
	struct node *n = arg;
	uint64_t serial = (n->serial ^ MAGIC) - (LEN - 1);

	/* Long enough for a slot that was freed by mistake to be used again. */
	for (int i = 0; i < 10; i++) {
		gca_alloc_noscan(m, 100);
		check_list(n, serial, LEN);
		gct_sleep_ms(3);
	}
	check_list(n, serial, LEN);
	if (serial % 3 == 0)
		pthread_exit(NULL);
	return NULL;
}

static void *without_a_word(void *arg)
{
	struct gca_mutator *m = attach(arena);

	check_list(list_of(m, layout, (uintptr_t)arg, LEN), (uintptr_t)arg, LEN);
	return NULL;
}

static void *creator(void *arg)
{
	uint64_t serial = (uintptr_t)arg << 32;
	struct gca_mutator *m = attach(arena);
	pthread_t t[3];

	while (is_running()) {
		for (int i = 0; i < 2; i++, serial += 10) {
			int err = gca_thread_create(arena, &t[i], NULL, born,
						    list_of(m, layout, serial, LEN));
			if (err)
				gct_note("# %s", gca_strerror());
			ASSERT_EQ(err, 0);
			/* No word of ours may be what keeps the list. */
			gct_clean_stack();
			for (int n = 0; n < 1000; n++)
				gca_alloc(m, layout);
		}
		ASSERT_EQ(pthread_create(&t[2], NULL, without_a_word, (void *)serial), 0);
		for (int i = 0; i < 3; i++)
			pthread_join(t[i], NULL);
	}
	ASSERT_EQ(gca_detach(m), 0);
	return NULL;
}

TEST_ENGINES(created_and_gone)
{
	unsigned long cycles = gct_scale(150);
	struct gca_stats s;
	pthread_t t[4];

	arena = open_engine(stop, "checkmark,clobber", 0);
	layout = gca_layout_of(arena, struct node, next);
	running = 1;
	for (uintptr_t i = 0; i < 4; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, creator, (void *)(i + 1)), 0);
	while (cycles--)
		collect(arena, 0);
	__atomic_store_n(&running, 0, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	collect(arena, 0);
	report(arena);
	ASSERT_EQ(gca_stats(arena, &s), 0);
	EXPECT_EQ(s.threads, 0);
	gca_close(arena);
}

/* --------------------------------------------------------------- several arenas */

#define ARENAS	3

struct several {
	struct gca_arena *a[ARENAS];
	const struct gca_layout *l[ARENAS];
};

static void *in_all(void *arg)
{
	struct several *s = arg;
	struct gca_mutator *m[ARENAS];
	struct node *list[ARENAS] = { NULL };
	uint64_t serial = 1000, was[ARENAS] = { 0 };

	for (int i = 0; i < ARENAS; i++)
		m[i] = attach(s->a[i]);
	for (unsigned long n = 0; is_running(); n++) {
		int i = n % ARENAS;

		if (list[i])
			check_list(list[i], was[i], LEN);
		was[i] = serial;
		list[i] = list_of(m[i], s->l[i], serial, LEN);
		serial += LEN;
		if (n % 64 == 63) {
			check_list(list[i], was[i], LEN);
			list[i] = NULL;
			ASSERT_EQ(gca_detach(m[i]), 0);
			m[i] = attach(s->a[i]);
		}
	}
	return NULL;
}

struct collector {
	struct gca_arena *a;
	unsigned long cycles;
};

static void *collects(void *arg)
{
	struct collector *c = arg;

	for (unsigned long i = 0; i < c->cycles; i++)
		collect(c->a, 0);
	return NULL;
}

TEST_ENGINES(several_arenas)
{
	struct collector c[ARENAS];
	pthread_t t[4], g[ARENAS];
	struct several s;

	for (int i = 0; i < ARENAS; i++) {
		s.a[i] = open_engine(stop, "checkmark,clobber", 0);
		s.l[i] = gca_layout_of(s.a[i], struct node, next);
	}
	running = 1;
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, in_all, &s), 0);
	for (int i = 0; i < ARENAS; i++) {
		c[i] = (struct collector){ s.a[i], gct_scale(60) };
		ASSERT_EQ(pthread_create(&g[i], NULL, collects, &c[i]), 0);
	}
	for (int i = 0; i < ARENAS; i++)
		pthread_join(g[i], NULL);
	__atomic_store_n(&running, 0, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < ARENAS; i++) {
		report(s.a[i]);
		gca_close(s.a[i]);
	}
}

/* Closed under threads that stay attached to it, while another one is collected. */
static void *stays(void *arg)
{
	struct several *s = arg;
	struct gca_mutator *m = attach(s->a[0]);
	struct node *n;

	attach(s->a[1]);
	n = list_of(m, s->l[0], 7, LEN);
	__atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);
	while (is_running())
		check_list(n, 7, LEN);
	ASSERT_EQ(gca_detach(m), 0);
	return NULL;
}

TEST_ENGINES(closed_under_threads)
{
	for (unsigned long round = 0; round < gct_scale(10); round++) {
		struct several s;
		struct collector c;
		pthread_t t[4], g;

		for (int i = 0; i < 2; i++) {
			s.a[i] = open_engine(stop, "checkmark,clobber", 0);
			s.l[i] = gca_layout_of(s.a[i], struct node, next);
		}
		running = 0;
		for (int i = 0; i < 4; i++)
			ASSERT_EQ(pthread_create(&t[i], NULL, stays, &s), 0);
		while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) < 4)
			gct_sleep_ms(1);
		c = (struct collector){ s.a[0], 10 };
		ASSERT_EQ(pthread_create(&g, NULL, collects, &c), 0);
		collect(s.a[1], 0);
		gca_close(s.a[1]);
		pthread_join(g, NULL);
		__atomic_store_n(&running, 0, __ATOMIC_SEQ_CST);
		for (int i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
		gca_close(s.a[0]);
	}
}

/* ------------------------------------------------------------ signals and forks */

static __thread struct gca_mutator *my_mutator;
static uint64_t handled;

/* Not where sections are counted: there a handler may not allocate. */
static void on_tick(int sig)
{
	if (sig && my_mutator && !THREADS_COUNTED) {
		uint64_t *p = gca_alloc_noscan(my_mutator, 64);

		if (p)
			*p = MAGIC;
	}
	__atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
}

static void *interrupted(void *arg)
{
	struct gca_mutator *m = attach(arena);
	uint64_t serial = (uintptr_t)arg << 32;
	struct node *keep;

	my_mutator = m;
	while (is_running()) {
		keep = list_of(m, layout, serial, LEN);
		gct_sleep_ms(1);
		for (int i = 0; i < 200; i++)
			gca_store(m, &keep->next, keep->next);
		check_list(keep, serial, LEN);
		serial += LEN;
	}
	my_mutator = NULL;
	return NULL;
}

TEST_ENGINES(handlers_and_forks)
{
	struct sigaction sa = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	unsigned long rounds = gct_scale(60);
	uint64_t before;
	pthread_t t[4];
	int status;

	/* The stop signal is the program's, too: before the library's handler ... */
	sigaction(SIGURG, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	arena = open_engine(stop, "checkmark,clobber", 0);
	layout = gca_layout_of(arena, struct node, next);
	running = 1;
	for (uintptr_t i = 0; i < 4; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, interrupted, (void *)(i + 1)), 0);
	while (rounds--) {
		pid_t pid;

		for (int i = 0; i < 4; i++) {
			pthread_kill(t[i], SIGUSR1);
			pthread_kill(t[i], SIGURG);
		}
		collect(arena, 0);
		if (rounds % 4)
			continue;
		pid = fork();
		if (!pid) {
			bool dead = !gca_attach(arena) && errno == ESRCH;

			gca_close(arena);
			_exit(!dead);
		}
		ASSERT_GT(pid, 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
	}
	/* ... and each one meant for the program gets there. */
	gct_sleep_ms(100);
	before = __atomic_load_n(&handled, __ATOMIC_SEQ_CST);
	raise(SIGURG);
	EXPECT_GT(__atomic_load_n(&handled, __ATOMIC_SEQ_CST), before);
	__atomic_store_n(&running, 0, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	report(arena);
	gca_close(arena);
}

/* ---------------------------------------------------------------------- options */

TEST(engines_and_errors)
{
	struct gca_options o = { .backend = "kernel", .stop = GCA_STOP_SIGNAL };
	bool no_work = gct_engine_refused(GCARENA_CREATE_TASKWORK);
	struct gca_arena *a, *b;
	struct gca_stats s;

	gct_want_module();
	a = gca_open(&o);
	if (gct_engine_refused(GCARENA_CREATE_SIGNAL)) {
		EXPECT_TRUE(!a && errno == EOPNOTSUPP);
		EXPECT_TRUE(strstr(gca_strerror(), "stop=taskwork"));
		o.stop = GCA_STOP_AUTO;
		a = gca_open(&o);
		ASSERT_TRUE(a);
		if (THREADS_COUNTED) {
			EXPECT_TRUE(!gca_attach(a) && errno == EOPNOTSUPP);
			EXPECT_TRUE(strstr(gca_strerror(), "no rseq"));
		} else {
			attach(a);
		}
	} else {
		ASSERT_TRUE(a);
		attach(a);
		ASSERT_EQ(gca_stats(a, &s), 0);
		EXPECT_EQ(strcmp(s.engine, "signal"), 0);
		o.stop = GCA_STOP_TASKWORK;
		b = gca_open(&o);
		EXPECT_TRUE(!b && errno == (no_work ? EOPNOTSUPP : EBUSY));
		gct_note("# %s", gca_strerror());
	}
	gca_close(a);
	o.stop = GCA_STOP_TASKWORK;
	b = gca_open(&o);
	if (no_work) {
		EXPECT_TRUE(!b && errno == EOPNOTSUPP);
		EXPECT_TRUE(strstr(gca_strerror(), "'stop'"));
		return;
	}
	ASSERT_TRUE(b);
	if (THREADS_COUNTED) {
		EXPECT_TRUE(!gca_attach(b) && errno == EOPNOTSUPP);
		EXPECT_TRUE(strstr(gca_strerror(), "no rseq"));
		gct_note("# %s", gca_strerror());
	} else {
		attach(b);
		ASSERT_EQ(gca_stats(b, &s), 0);
		EXPECT_EQ(strcmp(s.engine, "taskwork"), 0);
		/* Nobody took the signal. */
		EXPECT_EQ(s.threads, 1);
	}
	gca_close(b);
}

/* Libraries come and go in some threads while others collect. */
static void *loads(void *arg)
{
	while (is_running()) {
		void *h = dlopen(arg, RTLD_NOW | RTLD_LOCAL);

		ASSERT_TRUE(h);
		dlclose(h);
	}
	return NULL;
}

TEST_ENGINES(libraries_come_and_go)
{
#ifdef __SANITIZE_THREAD__
	SKIP("TSan sees races in the C library's loader");
#endif
	unsigned long cycles = gct_scale(60), good = 0;
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 20);
	pthread_t t[2];

	ASSERT_GT(n, 0);
	path[n] = 0;
	strcpy(strrchr(path, '/'), "/plugin.so");
	arena = open_engine(stop, "checkmark,clobber", 0);
	running = 1;
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, loads, path), 0);
	/* Cycles begin anew because of it; then others are kept from loading meanwhile. */
	for (unsigned long i = 0; i < cycles; i++)
		good += !gca_collect(arena, 0);
	__atomic_store_n(&running, 0, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	gct_note("# %lu of %lu", good, cycles);
	EXPECT_GE(2 * good, cycles);
	collect(arena, 0);
	gca_close(arena);
}

TEST_HARNESS_MAIN
