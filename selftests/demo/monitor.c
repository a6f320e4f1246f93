// SPDX-License-Identifier: MIT
/*
 * monitor.c: a demo's view of its collector.
 *
 * All of it comes from gca_stats() and /proc/self/status, as any program could
 * have it.  The monitor is polled: when several cycles fit between two polls,
 * their stops are counted with their mean; the longest comes from the arena.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <gcarena.h>

#include "monitor.h"

#define MIB		1048576.0
#define MS		1e6

/*
 * The bound on memory: heap goal, plus metadata, plus what the program has from
 * malloc, plus this: the program itself, its libraries and its stack, malloc's
 * own overhead, and free slots in spans whose other slots are in use.
 */
#define RSS_SLACK	(32ULL << 20)
/* A thread more: its stack, malloc's arena for it, and spans that only it uses. */
#define RSS_THREAD	(4ULL << 20)

/* Stops by duration: eight buckets a doubling, so a quantile is 9 % exact. */
#define HIST_SUB	8
#define HIST_BUCKETS	(64 * HIST_SUB)

static struct {
	struct gca_arena *arena;
	struct gca_stats last;
	uint64_t lines, printed;
	uint64_t peak_heap, peak_goal, peak_live, peak_metadata;
	uint64_t hist[HIST_BUCKETS], nr_stops;
	double started;
} mon;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static unsigned int hist_bucket(uint64_t ns)
{
	unsigned int e;

	if (ns < HIST_SUB)
		return ns;
	e = 63 - __builtin_clzll(ns);
	return (e - 2) * HIST_SUB + (ns >> (e - 3)) - HIST_SUB;
}

/* The upper end of a bucket. */
static double hist_value(unsigned int b)
{
	if (b < HIST_SUB)
		return b;
	return (double)((b % HIST_SUB) + HIST_SUB + 1) * (1ULL << (b / HIST_SUB - 1));
}

static double hist_quantile(double q, uint64_t longest)
{
	uint64_t want = q * mon.nr_stops, sum = 0;
	unsigned int b;

	for (b = 0; b < HIST_BUCKETS; b++) {
		sum += mon.hist[b];
		if (sum > want)
			return hist_value(b) < longest ? hist_value(b) : longest;
	}
	return 0;
}

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void read_stats(struct gca_stats *s)
{
	if (gca_stats(mon.arena, s)) {
		fprintf(stderr, "gca_stats: %s\n", gca_strerror());
		exit(1);
	}
}

/**
 * monitor_start() - begin to watch
 * @lines: print about so many lines of cycles; later cycles only now and then
 *
 * Peak RSS counts from here where the kernel lets a process reset it.
 */
void monitor_start(struct gca_arena *arena, uint64_t lines)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY);

	if (fd >= 0) {
		if (write(fd, "5", 1) != 1)
			fprintf(stderr, "monitor: peak RSS includes the preparation\n");
		close(fd);
	}
	mon.arena = arena;
	mon.lines = lines;
	mon.started = now();
	read_stats(&mon.last);
	mon.peak_goal = mon.last.goal_bytes;
}

/* All of the first @lines cycles, then ever fewer: a long run stays readable. */
static bool wanted(uint64_t cycle)
{
	uint64_t step = 1;

	while (cycle > 2 * step * mon.lines)
		step *= 2;
	return cycle <= mon.lines || !(cycle % (step * 4));
}

/** monitor_poll() - look; prints a line if cycles have ended since */
void monitor_poll(void)
{
	struct gca_stats s;
	uint64_t stops;

	read_stats(&s);
	mon.peak_heap = max64(mon.peak_heap, s.heap_bytes);
	mon.peak_metadata = max64(mon.peak_metadata, s.metadata_bytes);
	if (s.cycles == mon.last.cycles)
		return;

	mon.peak_goal = max64(mon.peak_goal, s.goal_bytes);
	mon.peak_live = max64(mon.peak_live, s.live_bytes);
	stops = s.stops - mon.last.stops;
	if (stops) {
		mon.hist[hist_bucket((s.stop_ns_total - mon.last.stop_ns_total) / stops)] += stops;
		mon.nr_stops += stops;
	}
	if (wanted(s.cycles)) {
		printf("  cycle %4" PRIu64 " at %6.2f s: %6.1f MiB -> %6.1f MiB live, "
		       "next at %6.1f MiB, stopped %7.2f ms\n",
		       s.cycles, now() - mon.started, mon.last.goal_bytes / MIB,
		       s.live_bytes / MIB, s.goal_bytes / MIB,
		       (s.stop_ns_total - mon.last.stop_ns_total) / MS);
		fflush(stdout);
	}
	mon.last = s;
}

static uint64_t peak_rss(void)
{
	unsigned long long kib = 0;
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

/**
 * monitor_summary() - what the collector did
 * @own_bytes: memory the program has from malloc
 * @threads: that were attached at most
 *
 * Return: whether memory stayed within its bound.
 */
bool monitor_summary(uint64_t own_bytes, uint32_t threads)
{
	uint64_t rss = peak_rss(), slack = RSS_SLACK + (threads - 1) * RSS_THREAD, bound;
	struct gca_stats s;
	double mark;
	bool held;

	monitor_poll();
	read_stats(&s);
	bound = mon.peak_goal + mon.peak_metadata + own_bytes + slack;
	held = rss <= bound;
	mark = (s.mark_ns_collect + s.mark_ns_serve + s.worker_ns) / MS;

	printf("  collector       %s backend, %" PRIu64 " cycles (%" PRIu64 " asked for, %" PRIu64
	       " void) in %.1f s\n", s.backend, s.cycles, s.forced_cycles, s.void_cycles,
	       now() - mon.started);
	printf("  heap            %.1f MiB live at most, %.1f MiB in spans at most, "
	       "metadata %.1f %% of it\n", mon.peak_live / MIB, mon.peak_heap / MIB,
	       100.0 * mon.peak_metadata / max64(mon.peak_heap, 1));
	printf("  allocated       %.1f MiB, of which %.1f MiB reclaimed\n",
	       s.allocated_bytes / MIB, s.freed_bytes / MIB);
	printf("  peak RSS        %.1f MiB; bound %.1f = goal %.1f + metadata %.1f + malloc %.1f + "
	       "slack %.0f: %s\n", rss / MIB, bound / MIB, mon.peak_goal / MIB,
	       mon.peak_metadata / MIB, own_bytes / MIB, slack / MIB,
	       held ? "held" : "NOT HELD");
	printf("  stops           %" PRIu64 ": p50 %.2f ms, p99 %.2f ms, longest %.2f ms, "
	       "together %.0f ms\n", s.stops, hist_quantile(0.5, s.stop_ns_max) / MS,
	       hist_quantile(0.99, s.stop_ns_max) / MS, s.stop_ns_max / MS, s.stop_ns_total / MS);
	if (s.held_threads)
		printf("  held            %" PRIu64 " threads by %s, %" PRIu64 " of them left asleep; "
		       "all were held after %.3f ms on average, %.3f ms at most; %" PRIu64
		       " stops postponed\n", s.held_threads, s.engine, s.held_asleep,
		       s.stops ? s.hold_ns_total / MS / s.stops : 0, s.hold_ns_max / MS,
		       s.postponed_stops);
	printf("  marked          %" PRIu64 " objects, %.1f MiB in %.0f ms: %.0f %% by the thread in "
	       "COLLECT, %.0f %% by the pager, %.0f %% by the collector's own;\n"
	       "                  %" PRIu64 " objects were not in memory at the first look, "
	       "%" PRIu64 " pages unreadable\n",
	       s.marked_objects, s.marked_bytes / MIB, mark,
	       mark > 0 ? 100 * s.mark_ns_collect / MS / mark : 0,
	       mark > 0 ? 100 * s.mark_ns_serve / MS / mark : 0,
	       mark > 0 ? 100 * s.worker_ns / MS / mark : 0, s.missed_objects, s.leaf_pages);
	if (s.worker_ns)
		printf("  collector's     own threads: %" PRIu64 " workers, which marked for %.0f ms by the "
		       "clock; the coordinator used %.0f ms of CPU time\n", s.workers, s.worker_ns / MS,
		       s.coordinator_ns / MS);
	return held;
}
