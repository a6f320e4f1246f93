// SPDX-License-Identifier: MIT
/*
 * stops.c: what does it cost to stop a number of threads?
 *
 * Usage: stops-HEAP run|read|poll THREADS STOPS SECONDS
 *	run	the threads spin in user code
 *	read	each is asleep in read() of a pipe of its own
 *	poll	the same in poll(), which returns EINTR whatever the handler's flags
 *
 * A heap of one object is collected until there were so many stops or so many seconds
 * have passed; the thread that asks is none of those that are stopped.  Of each stop:
 *
 *	stop	from its beginning until the world runs again; of gcarena's two a cycle the
 *		first, in which the stacks are scanned, and the second apart
 *	hold	from its beginning until all are held
 *	release	from the end of the collector's work until the world runs again
 *
 * gcarena's are from gca_stats(), one stop a call; its release is from tracepoints, to
 * a microsecond, and of the second stop of each cycle.  bdwgc's are from its events.
 * What happened to the threads is from /proc: their context switches, their wake-ups
 * (with kernel.sched_schedstats=1), and the machine's interrupts between processors.
 * The sums are from while the threads run or sleep, so not from their beginning or end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <unistd.h>

#include "heap.h"
#include "proc.h"

#define MAX_THREADS	4096
#define FILES		(2 * MAX_THREADS + 64)
#define MAX_STOPS	10000
#define STACK		(256 << 10)
#define CALM		100000		/* us until all threads do what they are to do */

enum state { RUN, READ, POLL };

/** struct series - one duration of each stop */
struct series {
	uint64_t *ns;
	unsigned int n;
};

/** struct counts - what has happened so far to the threads, and to the machine */
struct counts {
	struct switches threads;
	uint64_t interrupts;
};

/* Memory of malloc(), as the series: in bss all of it would be scanned in each stop. */
static struct worker {
	int tid;
	int pipe[2];
	uint64_t eintr;
	pthread_t thread;
} *worker;

static enum state state;
static unsigned int threads;
static sem_t arrived, started;
static int done;

static struct series stop, second, hold, release, cycle;
static uint64_t postponed;

static void add(struct series *s, uint64_t ns)
{
	if (!s->ns)
		s->ns = heap_scratch(MAX_STOPS, sizeof(*s->ns));
	if (s->n < MAX_STOPS)
		s->ns[s->n++] = ns;
}

static void print(const char *name, struct series *s)
{
	if (!s->n)
		return;
	qsort(s->ns, s->n, sizeof(*s->ns), heap_by_value);
	printf(" %s=%" PRIu64 " %s_p99=%" PRIu64 " %s_least=%" PRIu64, name, s->ns[s->n / 2],
	       name, s->ns[s->n * 99 / 100], name, s->ns[0]);
}

/* ------------------------------------------------------------------ the threads */

static void sleep_in_read(int i)
{
	char c;

	while (read(worker[i].pipe[0], &c, 1) < 0)
		worker[i].eintr += errno == EINTR;
}

static void sleep_in_poll(int i)
{
	struct pollfd p = { .fd = worker[i].pipe[0], .events = POLLIN };

	while (poll(&p, 1, -1) < 0)
		worker[i].eintr += errno == EINTR;
}

static void work(int i)
{
	volatile uint64_t spun = 0;

	worker[i].tid = gettid();
	sem_post(&arrived);
	while (sem_wait(&started))
		;
	if (state == READ)
		sleep_in_read(i);
	else if (state == POLL)
		sleep_in_poll(i);
	else
		while (!__atomic_load_n(&done, __ATOMIC_RELAXED))
			spun++;
}

/* -------------------------------------------------------------------- the heaps */

#if defined(HEAP_GCARENA)

#define TRACING "/sys/kernel/tracing/"

static bool tracing;

static bool trace_write(const char *file, const char *value)
{
	char path[128];
	int fd, ok;

	snprintf(path, sizeof(path), TRACING "%s", file);
	fd = open(path, O_WRONLY | O_TRUNC);
	ok = fd >= 0 && write(fd, value, strlen(value)) >= 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool trace_switch(const char *on)
{
	return trace_write("events/gcarena/gcarena_cycle_end/enable", on) &&
	       trace_write("events/gcarena/gcarena_stop_end/enable", on);
}

/* TASK-PID [CPU] FLAGS SECONDS: EVENT: ...: the one that ends a cycle, then the stop's end. */
static void trace_read(void)
{
	FILE *f = tracing ? fopen(TRACING "trace", "r") : NULL;
	char line[512], *event, *at;
	double ended = 0;

	while (f && fgets(line, sizeof(line), f)) {
		event = strstr(line, ": gcarena_");
		if (!event || *line == '#')
			continue;
		*event = '\0';
		at = strrchr(line, ' ');
		if (!at)
			continue;
		if (!strncmp(event + 2, "gcarena_cycle_end", 17)) {
			ended = atof(at);
		} else if (ended > 0) {
			add(&release, (atof(at) - ended) * 1e9 + 0.5);
			ended = 0;
		}
	}
	if (f)
		fclose(f);
}

static void open_heap(void)
{
	struct gca_options o = { .flags = GCA_NO_AUTO_COLLECT };

	heap_arena = gca_open(&o);
	heap_must(heap_arena, heap_arena ? "" : gca_strerror());
}

static void *begin(struct gca_mutator *m, void *arg)
{
	(void)m;
	work((intptr_t)arg);
	return NULL;
}

static void make_thread(int i, const pthread_attr_t *attr)
{
	if (gca_thread_create(heap_arena, &worker[i].thread, attr, begin, (void *)(intptr_t)i))
		heap_must(NULL, gca_strerror());
}

/* One stop a call, so that the sums tell of each. */
static void collect_part(unsigned int until, struct series *s)
{
	struct gca_stats old, new;

	gca_stats(heap_arena, &old);
	if (gca_collect(heap_arena, until))
		heap_must(NULL, gca_strerror());
	gca_stats(heap_arena, &new);
	postponed += new.postponed_stops - old.postponed_stops;
	if (new.stops != old.stops + 1)
		return;
	add(s, new.stop_ns_total - old.stop_ns_total);
	add(&hold, new.hold_ns_total - old.hold_ns_total);
}

static void collect(void)
{
	collect_part(GCA_COLLECT_UNTIL_MARKING, &stop);
	collect_part(GCA_COLLECT_UNTIL_MARKED, &second);
}

static void measure_begin(void)
{
	trace_write("trace", "");
	tracing = trace_switch("1");
}

static void measure_end(void)
{
	trace_switch("0");
	trace_read();
}

static const char *engine(void)
{
	static struct gca_stats s;

	gca_stats(heap_arena, &s);
	return s.engine;
}

#elif defined(HEAP_BDWGC)

static uint64_t stop_began, release_began;
static bool measuring;

static void on_event(GC_EventType e)
{
	uint64_t t = now_ns();

	if (!measuring)
		return;
	if (e == GC_EVENT_PRE_STOP_WORLD) {
		stop_began = t;
	} else if (e == GC_EVENT_POST_STOP_WORLD) {
		add(&hold, t - stop_began);
	} else if (e == GC_EVENT_PRE_START_WORLD) {
		release_began = t;
	} else if (e == GC_EVENT_POST_START_WORLD) {
		add(&release, t - release_began);
		add(&stop, t - stop_began);
	}
}

static void open_heap(void)
{
	GC_INIT();
	GC_set_on_collection_event(on_event);
}

static void *begin(void *arg)
{
	work((intptr_t)arg);
	return NULL;
}

static void make_thread(int i, const pthread_attr_t *attr)
{
	if (pthread_create(&worker[i].thread, attr, begin, (void *)(intptr_t)i))
		heap_must(NULL, "no thread");
}

static void collect(void)
{
	GC_gcollect();
}

static void measure_begin(void)
{
	measuring = true;
}

static void measure_end(void)
{
	measuring = false;
}

static const char *engine(void)
{
	return "signal";
}

#endif

/* -------------------------------------------------------------------- the counts */

/* Rescheduling, function calls: of all processors together. */
static uint64_t interrupts(void)
{
	char *line = proc_text("/proc/interrupts"), *p, *end;
	uint64_t sum = 0, n;

	for (; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		p = line + strspn(line, " ");
		if (strncmp(p, "RES:", 4) && strncmp(p, "CAL:", 4))
			continue;
		for (p += 4; n = strtoull(p, &end, 10), end != p; p = end)
			sum += n;
	}
	return sum;
}

/* The spinning leave little for who counts: it is made to go first. */
static struct counts count(void)
{
	struct counts c = { .interrupts = interrupts() };
	unsigned int i;

	setpriority(PRIO_PROCESS, gettid(), -20);
	for (i = 0; i < threads; i++)
		proc_add_switches(&c.threads, worker[i].tid);
	setpriority(PRIO_PROCESS, gettid(), 0);
	return c;
}

static void print_counts(const struct counts *a, const struct counts *b, const struct counts *now)
{
	unsigned int i;
	uint64_t eintr = 0;

	for (i = 0; i < threads; i++)
		eintr += worker[i].eintr;
	printf(" voluntary=%" PRIu64 " involuntary=%" PRIu64 " wakeups=%" PRIu64
	       " interrupts=%" PRIu64 " eintr=%" PRIu64,
	       b->threads.voluntary - a->threads.voluntary,
	       b->threads.involuntary - a->threads.involuntary,
	       b->threads.wakeups - a->threads.wakeups, now->interrupts - a->interrupts, eintr);
}

int main(int argc, char **argv)
{
	unsigned int stops = argc > 3 ? atoi(argv[3]) : 100, i;
	const char *what = argc > 1 ? argv[1] : "read";
	double seconds = argc > 4 ? atof(argv[4]) : 5;
	struct rlimit files = { .rlim_cur = FILES, .rlim_max = FILES };
	struct counts before, after, last;
	uint64_t begun, t;
	pthread_attr_t attr;

	threads = argc > 2 ? atoi(argv[2]) : 8;
	state = !strcmp(what, "run") ? RUN : !strcmp(what, "poll") ? POLL : READ;
	if (!threads || threads > MAX_THREADS)
		return 2;
	worker = heap_scratch(threads, sizeof(*worker));
	setrlimit(RLIMIT_NOFILE, &files);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	sem_init(&arrived, 0, 0);
	sem_init(&started, 0, 0);
	open_heap();
	for (i = 0; i < threads; i++) {
		if (pipe(worker[i].pipe))
			heap_must(NULL, "no pipe");
		make_thread(i, &attr);
	}
	for (i = 0; i < threads; i++)
		while (sem_wait(&arrived))
			;
	collect();	/* what is done once */
	stop.n = 0;
	second.n = 0;
	hold.n = 0;
	release.n = 0;
	postponed = 0;
	for (i = 0; i < threads; i++)
		sem_post(&started);
	usleep(CALM);
	for (i = 0; i < threads; i++)
		worker[i].eintr = 0;

	measure_begin();
	before = count();
	begun = now_ns();
	do {
		t = now_ns();
		collect();
		add(&cycle, now_ns() - t);
	} while (stop.n + second.n < stops && now_ns() - begun < seconds * 1e9);
	t = now_ns() - begun;
	last.interrupts = interrupts();
	after = count();
	measure_end();

	printf("engine=%s threads=%u stops=%u postponed=%" PRIu64 " ns=%" PRIu64,
	       engine(), threads, stop.n + second.n, postponed, t);
	print("stop", &stop);
	print("second", &second);
	print("hold", &hold);
	print("release", &release);
	print("cycle", &cycle);
	print_counts(&before, &after, &last);
	report_end();
	fflush(stdout);
	/* They hold nothing that anybody needs. */
	_exit(0);
}
