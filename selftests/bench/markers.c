// SPDX-License-Identifier: MIT
/*
 * markers.c: how much faster do two markers mark than one?
 *
 * Usage: markers GRAPH [OBJECTS [ROUNDS [huge|small]]]
 *	GRAPH: random, tree, array, of 64-byte conservative objects, as in mark.c
 *
 * The collector's own cycle has one marker in this release; its core has no such
 * limit, and is driven here as by selftests/unit/test_parallel.c.  Prints the
 * least nanoseconds an object of one marker that is alone (which needs no
 * atomic operations), of one that does not know that, and of two.  How much two
 * of anything can gain on this machine is calibrate's business.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "cycle.h"
#include "mark.h"
#include "workbuf.h"

#define RESERVE		(1ULL << 33)
#define HUGE		(2ULL << 20)
#define SLOTS		64
#define SMALL		GCARENA_SPAN_CLASS(gca_size_class(64), GCARENA_CONSERVATIVE)

static struct gca_arena arena;
static struct gca_mutator mutator;
static struct gcarena_mutator *shared;
static struct gcarena_control control;
static u64 roots[8];

static pthread_barrier_t start;
static atomic_t idle;
static int team;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "markers: %s\n", what);
	exit(1);
}

static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static u64 rnd(void)
{
	static u64 seed = 88172645463325252ULL;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static u64 alloc_object(void)
{
	for (;;) {
		struct gcarena_slot *s = &shared->slot[shared->current_slot[SMALL]];
		u32 i = s->free_index, count = 16, flags;

		if (i < s->nelems) {	/* a fresh heap: no slot is taken yet */
			s->free_index = i + 1;
			return s->base + (u64)i * s->elem_size;
		}
		if (shared->current_slot[SMALL]) {
			shared->current_slot[SMALL] = s->next;
			if (s->next)
				continue;
		}
		must(!gca_refill(&mutator, SMALL, &count, &flags), "no spans");
	}
}

static void build(const char *graph, u64 n)
{
	u64 *o = calloc(n, sizeof(*o)), i, j, array;
	u32 flags;

	must(o, "no memory");
	for (i = 0; i < n; i++)
		o[i] = alloc_object();
	roots[0] = o[0];
	if (!strcmp(graph, "random")) {
		for (i = 0; i < n; i++)
			for (j = 0; j < 4; j++)
				((u64 *)o[i])[j] = o[rnd() % n];
	} else if (!strcmp(graph, "tree")) {
		for (i = 1; i < n; i++)
			((u64 *)o[(i - 1) / 2])[(i - 1) % 2] = o[i];
	} else {
		must(!strcmp(graph, "array"), "no such graph");
		must(!gca_large(&arena, n * 8, GCARENA_CONSERVATIVE, 0, &array, &flags), "array");
		memcpy((void *)array, o, n * 8);
		roots[0] = array;
	}
	free(o);
}

static void set_up(bool huge)
{
	struct gcarena_range range = { .start = (u64)roots, .len = sizeof(roots) };
	u64 base;
	void *p;

	must(!gca_arena_init(&arena, RESERVE, &control, 0), "arena");
	p = mmap(NULL, RESERVE + HUGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(p != MAP_FAILED, "no address space");
	base = ((u64)p + HUGE - 1) & ~(HUGE - 1);
	madvise((void *)base, RESERVE, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	gca_arena_map(&arena, base);
	shared = calloc(1, gca_mutator_bytes(SLOTS));
	must(shared && !gca_mutator_init(&mutator, &arena, SLOTS, shared), "mutator");
	must(!gca_mutator_attach(&mutator), "attach");
	must(!gca_roots_update(&arena, &range, 1, NULL, 0), "roots");
	arena.percent = 0;
	gca_pace(&arena);
}

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
	set_up(huge);
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
