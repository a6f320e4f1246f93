// SPDX-License-Identifier: MIT
/*
 * stops.c: the library under a collector that stops its threads by signals, see
 * mock.h: threads stand still inside a stop, none of them in a counted section;
 * the program's own signals get through; attach, detach, exit and close at any
 * moment.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mock.h"
#include "test.h"

#if defined(__SANITIZE_THREAD__)
#define SLOW	20	/* it delays the program's handlers, too */
#define TSAN	1
#else
#define SLOW	1
#define TSAN	0
#endif
#define THREADS	8

static uint64_t counter[THREADS + 1][8];
static int ending;
static uint64_t handled;

static UNWATCHED uint64_t get(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static bool is_ending(void)
{
	return __atomic_load_n(&ending, __ATOMIC_SEQ_CST);
}

static struct gca_arena *open_arena(uint32_t flags)
{
	struct gca_options o = { .backend = "kernel", .flags = flags, 
				 .reserve = 1ULL << 28 };
	struct gca_arena *a = gca_open(&o);

	if (!a) {
		printf("# %s\n", gca_strerror());
		exit(1);
	}
	return a;
}

/* During a stop nothing moves. */
static UNWATCHED void still(void *arg)
{
	uint64_t before[THREADS];
	int i;

	for (i = 0; i < THREADS; i++)
		before[i] = get(counter[i]);
	mock_sleep(100000);
	for (i = 0; i < THREADS; i++)
		if (before[i] != get(counter[i]))
			++*(int *)arg;
}

struct work {
	struct gca_arena *a;
	int n;
	const struct gca_layout *layout;
};

struct node {
	struct node *next;
	uint64_t number;
};

/* Allocates and stores as fast as it can. */
static void *busy(struct gca_mutator *m, void *arg)
{
	struct work *w = arg;
	struct node *list = NULL, *n;
	uint64_t i;

	for (i = 0; !is_ending(); i++) {
		n = gca_alloc(m, w->layout);
		if (!n || n->next || n->number) {
			printf("# %s\n", n ? "an object is not zero" : gca_strerror());
			return NULL;
		}
		n->number = i;
		gca_store(m, &n->next, list);
		list = i % 100 ? n : NULL;
		gca_store(m, &n->next, NULL);
		__atomic_add_fetch(counter[w->n], 1, __ATOMIC_SEQ_CST);
	}
	return w;
}

static void *raising(struct gca_mutator *m, void *arg)
{
	struct work *w = arg;
	uint64_t i, seen, bad = 0;

	for (i = 0; !is_ending(); i++) {
		seen = get(&handled);
		errno = 4711;
		raise(SIGURG);
		/* Only this thread's signals are handled: the stop's have no such sender. */
		if (!TSAN && get(&handled) == seen)
			bad++;
		if (errno != 4711)
			bad++;
		gca_alloc_noscan(m, 64);
		__atomic_add_fetch(counter[w->n], 1, __ATOMIC_SEQ_CST);
	}
	return bad ? NULL : w;
}

static void *sleeping(struct gca_mutator *m, void *arg)
{
	struct work *w = arg;
	uint64_t i;
	char c;
	int fd[2];

	(void)m;
	if (pipe(fd))
		return NULL;
	for (i = 0; !is_ending(); i++) {
		struct timespec t = { .tv_nsec = 300000 };

		/* SA_RESTART: neither may fail. */
		if (write(fd[1], "x", 1) != 1 || read(fd[0], &c, 1) != 1)
			return NULL;
		nanosleep(&t, NULL);
		__atomic_add_fetch(counter[w->n], 1, __ATOMIC_SEQ_CST);
	}
	close(fd[0]);
	close(fd[1]);
	return w;
}

static void on_urgent(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (sig == SIGURG && info->si_code == SI_TKILL && info->si_pid == getpid())
		__atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
}

static void world_stands_still(void)
{
	struct gca_arena *a = open_arena(0);
	const struct gca_layout *l = gca_layout_of(a, struct node, next);
	struct work w[THREADS];
	pthread_t t[THREADS];
	int i, moved = 0, rounds = 400 / SLOW + 20;
	uint64_t end;
	void *ret;

	memset(&mock, 0, sizeof(mock));
	ending = 0;
	for (i = 0; i < THREADS; i++) {
		w[i] = (struct work){ .a = a, .n = i, .layout = l };
		if (gca_thread_create(a, &t[i], NULL, i % 4 == 0 ? raising :
				      i % 4 == 1 ? sleeping : busy, &w[i])) {
			printf("# %s\n", gca_strerror());
			exit(1);
		}
	}
	CHECK(mock_attached(a) == THREADS);
	for (i = 0; i < rounds; i++)
		mock_stop(a, still, &moved);
	end = gcl_now() + 10000000000ULL;
	/* Each goes on when there are no more stops; it may have seen nothing but them till then. */
	for (i = 0; i < THREADS; i++)
		while (!get(counter[i]) && gcl_now() < end)
			usleep(1000);
	__atomic_store_n(&ending, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < THREADS; i++) {
		pthread_join(t[i], &ret);
		CHECK(ret == &w[i]);
	}
	CHECK(mock_attached(a) == 0);
	CHECK(moved == 0);
	CHECK(mock.inside == 0);
	CHECK(mock.stops + mock.postponed == (uint64_t)rounds);
	CHECK(mock.postponed <= (uint64_t)rounds / 100 + 1);
	for (i = 0; i < THREADS; i++)
		CHECK(get(counter[i]) > 0);
	printf("# %llu stops, %llu postponed, %llu signals of the program handled\n",
	       (unsigned long long)mock.stops, (unsigned long long)mock.postponed,
	       (unsigned long long)handled);
	gca_close(a);
}

/* A section that a stop finds counted is left alone, and parks at its end. */
static void *in_section(struct gca_mutator *m, void *arg)
{
	struct timespec t = { .tv_nsec = 20000000 };
	struct work *w = arg;

	m->rseq = 0;
	__gca_enter(m);
	__gca_enter(m);
	__atomic_add_fetch(counter[w->n], 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&m->control->stop, __ATOMIC_SEQ_CST))
		;
	/* Interrupted here; it must come back. */
	nanosleep(&t, NULL);
	__atomic_add_fetch(counter[w->n], 1, __ATOMIC_SEQ_CST);
	__gca_leave(m);
	__atomic_add_fetch(counter[w->n], 1, __ATOMIC_SEQ_CST);
	__gca_leave(m);
	__atomic_add_fetch(counter[w->n], 1, __ATOMIC_SEQ_CST);
	return w;
}

static UNWATCHED void three(void *arg)
{
	*(uint64_t *)arg = get(counter[THREADS]);
}

static void counted_section_is_finished_first(void)
{
	struct gca_arena *a = open_arena(0);
	struct work w = { .a = a, .n = THREADS };
	uint64_t seen = 0;
	pthread_t t;

	memset(&mock, 0, sizeof(mock));
	counter[THREADS][0] = 0;
	CHECK(!gca_thread_create(a, &t, NULL, in_section, &w));
	while (!get(counter[THREADS]))
		;
	CHECK(mock_stop(a, three, &seen));
	CHECK(seen == 3);
	CHECK(mock.inside == 0);
	pthread_join(t, NULL);
	CHECK(get(counter[THREADS]) == 4);
	gca_close(a);
}

/* What the program installed before is called with its own mask. */
static volatile int masked = -1;	/* raise() is a leaf function to the compiler */

static void on_usr2(int sig)
{
	sigset_t now;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	masked = sigismember(&now, SIGUSR2) && sigismember(&now, SIGHUP) &&
		 !sigismember(&now, SIGTERM) && sig == SIGUSR2;
}

static void programs_handler(void)
{
	struct sigaction sa = { .sa_handler = on_usr2, .sa_flags = SA_RESETHAND };
	struct gca_options o = { .backend = "kernel", .stop_signal = SIGUSR2 };
	struct gca_arena *a;
	struct gca_mutator *m;
	sigset_t now;

	sigaddset(&sa.sa_mask, SIGHUP);
	sigaction(SIGUSR2, &sa, NULL);
	a = gca_open(&o);
	m = gca_attach(a);
	CHECK(m);
	masked = -1;
	raise(SIGUSR2);
	CHECK(masked == 1);
	/* Handled once, as asked; then the default, which would kill. */
	masked = -1;
	raise(SIGUSR2);
	CHECK(masked == -1);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	CHECK(!sigismember(&now, SIGHUP));
	gca_close(a);
}

/* Two arenas; one is closed under its threads while both are stopped all the time. */
static void *spin_in_two(void *arg)
{
	struct gca_arena *both[2] = { ((struct gca_arena **)arg)[0], ((struct gca_arena **)arg)[1] };
	struct gca_mutator *m = gca_attach(both[0]);

	if (!m || !gca_attach(both[1]))
		return NULL;
	__atomic_add_fetch(counter[0], 1, __ATOMIC_SEQ_CST);
	while (!is_ending())
		gca_alloc_noscan(m, 32);
	return gca_detach(m) ? NULL : arg;
}

struct stopper {
	struct gca_arena *a;
	pthread_t thread;
	int ending;
};

static void *stop_and_stop(void *arg)
{
	struct stopper *s = arg;

	while (!__atomic_load_n(&s->ending, __ATOMIC_SEQ_CST)) {
		mock_stop(s->a, NULL, NULL);
		usleep(100);
	}
	return NULL;
}

static void stopper_start(struct stopper *s, struct gca_arena *a)
{
	s->a = a;
	s->ending = 0;
	pthread_create(&s->thread, NULL, stop_and_stop, s);
}

static void stopper_end(struct stopper *s)
{
	__atomic_store_n(&s->ending, 1, __ATOMIC_SEQ_CST);
	pthread_join(s->thread, NULL);
}

static void closed_under_threads(void)
{
	int round, i;

	for (round = 0; round < 60 / SLOW + 2; round++) {
		struct gca_arena *a[2] = { open_arena(0), open_arena(GCA_NO_PAGER) };
		struct stopper s[2];
		pthread_t t[4];
		void *ret;

		ending = 0;
		counter[0][0] = 0;
		for (i = 0; i < 4; i++)
			pthread_create(&t[i], NULL, spin_in_two, a);
		while (get(counter[0]) < 4)
			sched_yield();
		stopper_start(&s[0], a[0]);
		stopper_start(&s[1], a[1]);
		usleep(3000);
		stopper_end(&s[1]);
		/* Stops of the other go on. */
		gca_close(a[1]);
		usleep(2000);
		stopper_end(&s[0]);
		__atomic_store_n(&ending, 1, __ATOMIC_SEQ_CST);
		for (i = 0; i < 4; i++) {
			pthread_join(t[i], &ret);
			CHECK(ret);
		}
		CHECK(mock_attached(a[0]) == 0);
		gca_close(a[0]);
	}
}

/* Attach, detach, or just end. */
static void *come_and_go(void *a)
{
	struct gca_mutator *m;
	int i;

	for (i = 0; i < 30; i++) {
		m = gca_attach(a);
		if (!m)
			return NULL;
		if (!gca_alloc_noscan(m, 100) || !gca_alloc_conservative(m, 40000))
			return NULL;
		if (i < 29 && gca_detach(m))
			return NULL;
	}
	return a;
}

static void storm(void)
{
	struct gca_arena *a = open_arena(0);
	int i, round, before, after;
	pthread_t t[THREADS];
	struct stopper s;
	void *ret;

	memset(&mock, 0, sizeof(mock));
	stopper_start(&s, a);
	before = mappings();
	for (round = 0; round < 100 / SLOW + 5; round++) {
		for (i = 0; i < THREADS; i++)
			pthread_create(&t[i], NULL, come_and_go, a);
		for (i = 0; i < THREADS; i++) {
			pthread_join(t[i], &ret);
			CHECK(ret == a);
		}
		/* The mock's own record of those that ended attached. */
		stopper_end(&s);
		mock_forget_exited(a);
		stopper_start(&s, a);
	}
	stopper_end(&s);
	after = mappings();
	/* A signal that comes before the handler can find the mutator would be lost. */
	CHECK(mock.stops > 10 && mock.postponed <= mock.stops / 50 + 1);
	/* Those that end without detaching leave nothing for ever. */
	CHECK(a->nr_mutators <= 64);
	CHECK(after - before < 200);
	gca_close(a);
}

static void errors_of_attach(void)
{
	struct gca_arena *a = open_arena(GCA_NO_TLS_ROOTS);
	struct gca_mutator *m;
	pthread_t t;

	mock_refuse = EOPNOTSUPP;
	CHECK(!gca_attach(a) && errno == EOPNOTSUPP && SAYS("no rseq") && SAYS("stop=signal"));
	mock_refuse = EBUSY;
	CHECK(!gca_attach(a) && errno == EBUSY && SAYS("newer module"));
	mock_refuse = ENOSPC;
	CHECK(!gca_thread_create(a, &t, NULL, busy, NULL) == 0);
	CHECK(errno == ENOSPC && SAYS("32768"));
	CHECK(mock_attached(a) == 0 && a->added.n == 0);
	m = gca_attach(a);
	CHECK(m && (mock_attach_flags == GCARENA_ATTACH_COUNTER) == !m->rseq);
	CHECK(!gca_detach(m));
	CHECK(gcl_mine == NULL);
	gca_close(a);
}

static void options_of_stop(void)
{
	struct gca_options o = { .backend = "kernel" };
	struct gca_arena *a;

	setenv("GCARENA_STOP", "taskwork", 1);
	a = gca_open(&o);
	CHECK(a && mock_create_flags == GCARENA_CREATE_TASKWORK && !a->stop_signal);
	gca_close(a);
	o.stop = GCA_STOP_SIGNAL;
	a = gca_open(&o);
	CHECK(a && mock_create_flags == GCARENA_CREATE_SIGNAL && a->stop_signal == SIGURG);
	gca_close(a);
	o.stop = GCA_STOP_AUTO;
	setenv("GCARENA_STOP", "auto", 1);
	o.stop_signal = SIGUSR1;
	a = gca_open(&o);
	CHECK(a && mock_create_flags == 0 && a->stop_signal == SIGUSR1);
	gca_close(a);
	setenv("GCARENA_STOP", "sometimes", 1);
	CHECK(!gca_open(&o) && errno == EINVAL && SAYS("sometimes") && SAYS("taskwork"));
	unsetenv("GCARENA_STOP");
	o.stop = 3;
	CHECK(!gca_open(&o) && errno == EINVAL && SAYS("GCA_STOP_TASKWORK"));
	o.stop = 0;
	o.stop_signal = SIGKILL;
	CHECK(!gca_open(&o) && errno == EINVAL && SAYS("signal 9"));
	o.stop_signal = 65;
	CHECK(!gca_open(&o) && errno == EINVAL);
}

static uint32_t found(struct gca_arena *a)
{
	struct gcl_signals sigs = gcl_lock(a);
	uint32_t n = a->found_once ? a->found.n : 0;

	gcl_unlock(a, sigs);
	return n;
}

/* What SERVE asks is done, whoever serves. */
static void pager_looks(void)
{
	struct gca_arena *a = open_arena(0);
	uint64_t end = gcl_now() + 5000000000ULL;
	uint32_t flags;
	int i;

	CHECK(!found(a));
	/* Done when the pager has come back: what it says then is no answer to what follows. */
	__atomic_store_n(&mock_serve_flags, 0xdead, __ATOMIC_SEQ_CST);
	__atomic_store_n(&mock_ask, GCARENA_SERVE_REFRESH, __ATOMIC_SEQ_CST);
	while ((!found(a) || __atomic_load_n(&mock_serve_flags, __ATOMIC_SEQ_CST) == 0xdead) &&
	       gcl_now() < end)
		usleep(1000);
	CHECK(found(a) > 0);
	for (i = 0; i < 2; i++) {
		/* The answer comes with the next call: nothing was loaded, then something. */
		if (i)
			__atomic_store_n(&a->looked_adds, a->looked_adds - 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&mock_serve_flags, 0xdead, __ATOMIC_SEQ_CST);
		__atomic_store_n(&mock_ask, GCARENA_SERVE_COMPARE, __ATOMIC_SEQ_CST);
		do {
			usleep(1000);
			flags = __atomic_load_n(&mock_serve_flags, __ATOMIC_SEQ_CST);
		} while (flags == 0xdead && gcl_now() < end);
		CHECK(flags == (GCARENA_SERVE_LOOKS | (i ? GCARENA_SERVE_CHANGED : 0)));
	}
	gca_close(a);
}

/* A child of a process with many threads, stopped all the time. */
static void forks(void)
{
	struct gca_arena *a = open_arena(0);
	const struct gca_layout *l = gca_layout_of(a, struct node, next);
	struct work w[4];
	struct gca_mutator *m;
	struct stopper s;
	pthread_t t[4];
	int i, status;

	ending = 0;
	for (i = 0; i < 4; i++) {
		w[i] = (struct work){ .a = a, .n = i, .layout = l };
		CHECK(!gca_thread_create(a, &t[i], NULL, busy, &w[i]));
	}
	m = gca_attach(a);
	CHECK(m);
	stopper_start(&s, a);
	for (i = 0; i < 100 / SLOW + 2; i++) {
		struct node *n = gca_alloc(m, l);
		pid_t pid = fork();

		if (!pid) {
			sigset_t now;

			n->number = 1;
			gca_store(m, &n->next, n);
			raise(SIGURG);
			pthread_sigmask(SIG_BLOCK, NULL, &now);
			if (sigismember(&now, SIGTERM) || n->next != n || gca_attach(a) ||
			    errno != ESRCH)
				_exit(1);
			gca_close(a);
			_exit(gcl_mine != NULL);
		}
		CHECK(waitpid(pid, &status, 0) == pid && !status);
	}
	stopper_end(&s);
	__atomic_store_n(&ending, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	gca_close(a);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_urgent, .sa_flags = SA_SIGINFO | SA_RESTART };

	/* Before the library's own: it must be called by that. */
	sigaction(SIGURG, &sa, NULL);
	RUN(errors_of_attach);
	RUN(options_of_stop);
	RUN(world_stands_still);
	RUN(counted_section_is_finished_first);
	if (!TSAN)	/* which calls handlers when and with what mask it likes */
		RUN(programs_handler);
	RUN(closed_under_threads);
	RUN(storm);
	RUN(pager_looks);
	RUN(forks);
	DONE();
}
