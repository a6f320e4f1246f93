// SPDX-License-Identifier: MIT
/*
 * markers.c: how much faster do two markers mark than one?
 *
 * Usage: markers GRAPH [OBJECTS [ROUNDS [huge|small]]]
 *	GRAPH: as in graph.h
 *
 * The core is driven as by selftests/unit/test_parallel.c: the process backend's own
 * cycle has one marker; the module's workers are measured by "run guest".  Prints the
 * least nanoseconds an object of one marker that is alone (which needs no
 * atomic operations), of one that does not know that, and of two.  How much two
 * of anything can gain on this machine is calibrate's business.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

#include "cycle.h"
#include "graph.h"
#include "workbuf.h"

static pthread_barrier_t start;
static atomic_t idle;
static int team;

static void collect(void)
{
	must(!gca_collect(&arena, &(struct gca_order){
		.until = GCA_UNTIL_SWEPT, .forced = true, .lent = true, .timeout_ns = 60000000000ULL,
	}), "collect");
}

static bool work_visible(void)
{
	return atomic_read(&arena.nr_full) || atomic_read(&arena.overflowed);
}

/* All idle and no work visible: there is none, see test_parallel.c. */
static void *marker(void *alone)
{
	struct gca_worker w;

	pthread_barrier_wait(&start);
	for (;;) {
		gca_worker_init(&w, &arena, alone != NULL, 0);
		gca_roots_mark(&w);
		gca_drain(&w);
		gca_worker_fini(&w);
		atomic_inc_return(&idle);
		while (!work_visible()) {
			if (atomic_read_acquire(&idle) == team && !work_visible())
				return NULL;
			cpu_relax();
		}
		atomic_dec(&idle);
	}
}

/* Phase and root jobs as the begin stop leaves them, then the markers. */
static u64 mark(int markers, bool alone, u64 *objects)
{
	struct gca_worker w;
	pthread_t t[2];
	u64 begun;
	int i;

	must(!gca_sweep_finish(&arena) && !gca_roots_prepare(&arena) && !gca_roots_begin(&arena),
	     "cannot begin");
	arena.live_at_begin = atomic64_read(&arena.heap_live);
	atomic64_set(&arena.cycle_marked, 0);
	arena.deadline = U64_MAX;
	arena.phase = GCARENA_PHASE_MARK;
	gca_worker_init(&w, &arena, true, 0);
	gca_mutator_snapshot(&w, &mutator);
	gca_worker_fini(&w);

	*objects = atomic64_read(&arena.totals.marked_objects);
	team = markers;
	atomic_set(&idle, 0);
	pthread_barrier_init(&start, NULL, markers + 1);
	for (i = 0; i < markers; i++)
		must(!pthread_create(&t[i], NULL, marker, alone ? &arena : NULL), "thread");
	begun = now();	/* before they can run: there may be a CPU less than threads */
	pthread_barrier_wait(&start);
	for (i = 0; i < markers; i++)
		pthread_join(t[i], NULL);
	begun = now() - begun;
	pthread_barrier_destroy(&start);
	*objects = atomic64_read(&arena.totals.marked_objects) - *objects;
	/* The collector's own termination finds nothing more, and sweeps. */
	collect();
	return begun;
}

int main(int argc, char **argv)
{
	const char *graph = argc > 1 ? argv[1] : "random";
	u64 n = argc > 2 ? strtoull(argv[2], NULL, 0) : 4000000;
	int rounds = argc > 3 ? atoi(argv[3]) : 5;
	bool huge = argc <= 4 || strcmp(argv[4], "small");
	u64 alone = U64_MAX, one = U64_MAX, two = U64_MAX, objects = 0;

	if (!huge)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	arena_set_up(huge);
	build(graph, n);
	collect();
	while (rounds--) {
		two = min(two, mark(2, false, &objects));
		alone = min(alone, mark(1, true, &objects));
		one = min(one, mark(1, false, &objects));
	}
	printf("objects=%llu alone=%.1f one=%.1f two=%.1f fifo=%d\n", (unsigned long long)objects,
	       (double)alone / objects, (double)one / objects, (double)two / objects, GCA_FIFO);
	return 0;
}
