// SPDX-License-Identifier: MIT
/*
 * idle.c: what does marking on idle processors bring, and what does it cost others?
 *
 * Usage: idle-gcarena SECONDS MIB [busy]
 *
 * A program with MIB of live objects allocates for 4 ms and sleeps for 4 ms, in turn, so its
 * processors are idle for a part of the time; another thread of it wakes up each
 * millisecond and notes how late it is.  With "busy" a further thread a processor counts up
 * and leaves nothing idle; how far it comes is reported.  Reports what was marked in which
 * mode, how much of the time in which nobody wanted a processor went into marking, and
 * context switches and wake-ups of the kernel's workers.  The kernel's parameter idle says
 * how: off, plain, hook.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "heap.h"
#include "proc.h"

#define BURST_NS	4000000ULL
#define PERIOD_NS	1000000ULL
#define MAX_TICKS	600000
#define OBJECT		64

static volatile int done;
static uint64_t *late;
static unsigned int ticks;

static void sleep_until(uint64_t ns)
{
	struct timespec t = { (time_t)(ns / 1000000000ULL), (long)(ns % 1000000000ULL) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void *periodic(void *arg)
{
	uint64_t due = now_ns(), at;

	(void)arg;
	while (!done && ticks < MAX_TICKS) {
		due += PERIOD_NS;
		sleep_until(due);
		at = now_ns();
		late[ticks++] = at - due;
		if (at > due + PERIOD_NS)
			due = at;
	}
	return NULL;
}

/* Each on a line of its own. */
static struct counter {
	volatile uint64_t n;
	char pad[56];
} counter[64];

static void *counts(void *arg)
{
	struct counter *c = arg;

	while (!done)
		c->n++;
	return NULL;
}

/** struct seen - of this process's workers, and of the machine */
struct seen {
	struct switches workers;
	uint64_t idle_ns;
};

static struct seen look(void)
{
	char path[300], want[40], *p;
	DIR *d = opendir("/proc");
	struct seen s = { 0 };
	struct dirent *e;

	snprintf(want, sizeof(want), "gca/%d:w", getpid());
	while (d && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		if (!strncmp(proc_text(path), want, strlen(want)))
			proc_add_switches(&s.workers, atoi(e->d_name));
	}
	if (d)
		closedir(d);
	/* cpu  user nice system idle iowait ..., in hundredths of a second */
	p = proc_text("/proc/stat");
	p += strcspn(p, " ");
	for (int i = 0; i < 3; i++)
		strtoull(p, &p, 10);
	s.idle_ns = strtoull(p, &p, 10) * 10000000ULL;
	s.idle_ns += strtoull(p, &p, 10) * 10000000ULL;
	return s;
}

int main(int argc, char **argv)
{
	unsigned int seconds = argc > 1 ? (unsigned int)atoi(argv[1]) : 5;
	size_t n = (size_t)(argc > 2 ? atoi(argv[2]) : 32) * (1 << 20) / OBJECT;
	struct gca_arena *a;
	struct gca_mutator *m;
	int busy = argc > 3 ? (int)sysconf(_SC_NPROCESSORS_ONLN) : 0;
	uint64_t began, end, burst, objects = 0, counted = 0;
	struct gca_stats before, after;
	struct seen s, t;
	void **keep;
	pthread_t thread;

	heap_open(false);
	a = heap_arena;
	m = heap_m;
	late = heap_scratch(MAX_TICKS, sizeof(*late));
	keep = heap_must(gca_alloc_conservative(m, n * sizeof(*keep)), "no memory");
	for (size_t i = 0; i < n; i++)
		gca_store(m, &keep[i], heap_must(gca_alloc_conservative(m, OBJECT), "no memory"));
	gca_collect(a, 0);
	pthread_create(&thread, NULL, periodic, NULL);
	for (int i = 0; i < busy && i < 64; i++)
		pthread_create(&(pthread_t){ 0 }, NULL, counts, &counter[i]);
	gca_stats(a, &before);
	s = look();
	began = now_ns();
	end = began + seconds * 1000000000ULL;
	while ((burst = now_ns()) < end) {
		while (now_ns() < burst + BURST_NS) {
			for (int i = 0; i < 100; i++)
				heap_must(gca_alloc_conservative(m, OBJECT), "no memory");
			objects += 100;
		}
		sleep_until(now_ns() + BURST_NS);
	}
	t = look();
	end = now_ns();
	gca_stats(a, &after);
	for (int i = 0; i < 64; i++)
		counted += counter[i].n;
	done = 1;
	pthread_join(thread, NULL);
	gca_keep_alive(keep);
	qsort(late, ticks, sizeof(*late), heap_by_value);
#define GREW(x)	(after.x - before.x)
	printf("seconds=%.3f cycles=%" PRIu64 " objects=%" PRIu64 " worker_ns=%" PRIu64
	       " fractional_ns=%" PRIu64 " idle_ns=%" PRIu64 " assist_ns=%" PRIu64 " kicks=%" PRIu64
	       " yields=%" PRIu64 " raised=%" PRIu64 " voluntary=%" PRIu64 " involuntary=%" PRIu64
	       " wakeups=%" PRIu64 " machine_idle_ns=%" PRIu64 " late50=%" PRIu64 " late99=%" PRIu64
	       " late999=%" PRIu64 " late_max=%" PRIu64 " counted=%" PRIu64 "\n",
	       (double)(end - began) / 1e9, GREW(cycles), objects, GREW(worker_ns),
	       GREW(fractional_ns), GREW(idle_ns), GREW(assist_ns), GREW(idle_kicks),
	       GREW(idle_yields), GREW(idle_raised), t.workers.voluntary - s.workers.voluntary,
	       t.workers.involuntary - s.workers.involuntary,
	       t.workers.wakeups - s.workers.wakeups, t.idle_ns - s.idle_ns,
	       late[ticks / 2], late[ticks / 100 * 99], late[ticks - 1 - ticks / 1000],
	       late[ticks - 1], counted);
	return 0;
}
