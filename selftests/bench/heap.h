/* SPDX-License-Identifier: MIT */
/*
 * heap.h: one interface to the heaps that are compared.
 *
 * Each benchmark is compiled once for each of them: HEAP_GCARENA, HEAP_BDWGC or
 * HEAP_MALLOC says which.  Everything is inline, so that a program costs what
 * it would cost written for that heap.  What differs in kind is said here:
 *
 *  - gcarena and bdwgc's GC_MALLOC return zeroed memory, malloc does not;
 *  - bdwgc scans all objects that are not atomic conservatively; gcarena takes
 *    the layout, unless heap_conservative is set;
 *  - Debian's bdwgc recognises interior pointers, and pads every object by a byte
 *    for the pointer one past its end: 16 bytes take a slot of 32.  That is its
 *    price, and it pays it here, too; except where heap_new_trimmed() is used.
 */
#ifndef GCA_BENCH_HEAP_H
#define GCA_BENCH_HEAP_H

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static inline void *heap_must(const void *p, const char *why)
{
	if (!p) {
		fprintf(stderr, "bench: %s\n", why);
		exit(1);
	}
	return (void *)p;
}

/* splitmix64: the same graph in every heap */
static inline uint64_t rnd(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* Results go out as one line of key=value, which "run" reads. */
static inline void report_end(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	long kib = 0;

	/* getrusage() would remember what this process was before exec */
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %ld kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	printf(" rss_kib=%ld\n", kib);
}

/* ------------------------------------------------------------------- gcarena */
#if defined(HEAP_GCARENA)

#include <gcarena.h>

typedef const struct gca_layout *heap_layout;

static struct gca_arena *heap_arena;
static _Thread_local struct gca_mutator *heap_m;
static bool heap_conservative;

/* For a thread, before it allocates. */
static inline void heap_enter(void)
{
	heap_m = gca_attach(heap_arena);
	heap_must(heap_m, heap_m ? "" : gca_strerror());
}

static inline void heap_leave(void)
{
	gca_detach(heap_m);
}

/* @manual: collect only when told */
static inline void heap_open(bool manual)
{
	struct gca_options o = { .flags = manual ? GCA_NO_AUTO_COLLECT : 0 };

	heap_arena = gca_open(&o);
	heap_must(heap_arena, heap_arena ? "" : gca_strerror());
	heap_enter();
}

/* Which of the first 64 words are pointers; none of the rest is. */
static inline heap_layout heap_describe(size_t size, uint64_t pointers)
{
	uint64_t bitmap[GCARENA_LAYOUT_MAX / 512] = { pointers };

	return heap_must(gca_layout(heap_arena, size, bitmap), "no layout");
}

static inline void *heap_new(heap_layout l, size_t size)
{
	void *p = heap_conservative ? gca_alloc_conservative(heap_m, size) : gca_alloc(heap_m, l);

	return __builtin_expect(!!p, 1) ? p : heap_must(p, gca_strerror());
}

static inline void *heap_new_array(heap_layout l, size_t size, size_t n)
{
	void *p = heap_conservative ? gca_alloc_conservative(heap_m, size * n) :
		  gca_alloc_array(heap_m, l, n);

	return heap_must(p, p ? "" : gca_strerror());
}

static inline void *heap_bytes(size_t size)
{
	void *p = gca_alloc_noscan(heap_m, size);

	return __builtin_expect(!!p, 1) ? p : heap_must(p, gca_strerror());
}

/* Into a word that may hold a pointer; a fresh one is assigned to. */
#define heap_new_trimmed(l, size)	heap_new(l, size)
#define heap_store(slot, value)	gca_store(heap_m, (slot), (value))
#define heap_free(p)		((void)(p))

static inline void heap_collect(void)
{
	if (gca_collect(heap_arena, 0))
		heap_must(NULL, gca_strerror());
}

/* Marked in a stop, whose length is then that of marking. */
static inline void heap_collect_stopped(void)
{
	if (gca_collect(heap_arena, GCA_COLLECT_STOPPED))
		heap_must(NULL, gca_strerror());
}

/* Marking begins, and nobody marks; or ends.  Return: can it be told to? */
static inline bool heap_marking(bool begin)
{
	if (gca_collect(heap_arena, begin ? GCA_COLLECT_UNTIL_MARKING : 0))
		heap_must(NULL, gca_strerror());
	return true;
}

static inline uint64_t heap_cycles(void)
{
	struct gca_stats s;

	gca_stats(heap_arena, &s);
	return s.cycles;
}

static inline uint64_t heap_mark_ns(void)
{
	struct gca_stats s;

	gca_stats(heap_arena, &s);
	return s.mark_ns_collect + s.mark_ns_serve + s.worker_ns;
}

/* The world's, without the time until it stood: with several markers not their sum. */
static inline uint64_t heap_stopped_ns(void)
{
	struct gca_stats s;

	gca_stats(heap_arena, &s);
	return s.stop_ns_total - s.hold_ns_total;
}

/* Kernel threads that mark. */
static inline uint64_t heap_workers(void)
{
	struct gca_stats s;

	gca_stats(heap_arena, &s);
	return s.workers;
}

static inline uint64_t heap_marked(void)
{
	struct gca_stats s;

	gca_stats(heap_arena, &s);
	return s.marked_objects;
}

/* --------------------------------------------------------------------- bdwgc */
#elif defined(HEAP_BDWGC)

/* It makes its threads known by macros instead of pthread_create() and others. */
#define GC_THREADS
#include <gc/gc.h>

typedef int heap_layout;

static inline void heap_enter(void)
{
}

static inline void heap_leave(void)
{
}

static uint64_t heap_mark_begun, heap_mark_total;

/*
 * bdwgc's own total of collection times is in milliseconds and has more in it
 * than marking.  These events bracket the stop in which it marks.
 */
static void heap_event(GC_EventType e)
{
	if (e == GC_EVENT_MARK_START)
		heap_mark_begun = now_ns();
	else if (e == GC_EVENT_MARK_END)
		heap_mark_total += now_ns() - heap_mark_begun;
}

static inline void heap_open(bool manual)
{
	GC_INIT();
	GC_set_on_collection_event(heap_event);
	if (manual)
		GC_disable();
}

static inline heap_layout heap_describe(size_t size, uint64_t pointers)
{
	(void)size;
	(void)pointers;
	return 0;
}

static inline void *heap_new(heap_layout l, size_t size)
{
	void *p = GC_MALLOC(size);

	(void)l;
	return __builtin_expect(!!p, 1) ? p : heap_must(p, "bdwgc: no memory");
}

/*
 * In a slot of its own size.  bdwgc does not scan the last word then.  The size
 * is hidden from the compiler, which would take us at our word.
 */
static inline void *heap_new_trimmed(heap_layout l, size_t size)
{
	size--;
	__asm__("" : "+r" (size));
	return heap_new(l, size);
}

static inline void *heap_new_array(heap_layout l, size_t size, size_t n)
{
	(void)l;
	return heap_must(GC_MALLOC(size * n), "bdwgc: no memory");
}

static inline void *heap_bytes(size_t size)
{
	void *p = GC_MALLOC_ATOMIC(size);

	return __builtin_expect(!!p, 1) ? p : heap_must(p, "bdwgc: no memory");
}

#define heap_store(slot, value)	(*(void **)(slot) = (void *)(value))
#define heap_free(p)		((void)(p))

static inline void heap_collect(void)
{
	bool disabled = GC_is_disabled();

	if (disabled)
		GC_enable();
	GC_gcollect();
	if (disabled)
		GC_disable();
}
#define heap_collect_stopped()	heap_collect()

static inline bool heap_marking(bool begin __attribute__((unused)))
{
	return false;
}

static inline uint64_t heap_cycles(void)
{
	return GC_get_gc_no();
}

static inline uint64_t heap_mark_ns(void)
{
	return heap_mark_total;
}

static inline uint64_t heap_stopped_ns(void)
{
	return heap_mark_total;
}

static inline uint64_t heap_workers(void)
{
	return 0;
}

static inline uint64_t heap_marked(void)
{
	return 0;
}

/* -------------------------------------------------------------------- malloc */
#elif defined(HEAP_MALLOC)

typedef int heap_layout;

static inline void heap_enter(void)
{
}

static inline void heap_leave(void)
{
}

static inline void heap_open(bool manual)
{
	(void)manual;
}

static inline heap_layout heap_describe(size_t size, uint64_t pointers)
{
	(void)size;
	(void)pointers;
	return 0;
}

static inline void *heap_new(heap_layout l, size_t size)
{
	(void)l;
	return heap_must(malloc(size), "no memory");
}

static inline void *heap_new_array(heap_layout l, size_t size, size_t n)
{
	(void)l;
	return heap_must(malloc(size * n), "no memory");
}

static inline void *heap_bytes(size_t size)
{
	return heap_must(malloc(size), "no memory");
}

#define heap_store(slot, value)	(*(void **)(slot) = (void *)(value))
#define heap_free(p)		free(p)

static inline bool heap_marking(bool begin __attribute__((unused)))
{
	return false;
}

static inline uint64_t heap_cycles(void)
{
	return 0;
}

static inline void heap_collect(void)
{
}
#define heap_collect_stopped()	heap_collect()

#else
#error "say which heap: HEAP_GCARENA, HEAP_BDWGC or HEAP_MALLOC"
#endif

/* -------------------------------------------------------------------- for all */

struct heap_thread {
	pthread_t id;
	pthread_barrier_t *start;
	void (*fn)(unsigned int nr);
	unsigned int nr;
};

static inline void *heap_thread_main(void *arg)
{
	struct heap_thread *t = arg;

	heap_enter();
	pthread_barrier_wait(t->start);
	t->fn(t->nr);
	heap_leave();
	return NULL;
}

/* fn(0) here and fn(1) ... fn(n - 1) in a thread each, all from the same moment on. */
static inline void heap_threads(unsigned int n, void (*fn)(unsigned int nr))
{
	struct heap_thread *t = heap_must(calloc(n, sizeof(*t)), "no memory");
	pthread_barrier_t start;
	unsigned int i;

	pthread_barrier_init(&start, NULL, n);
	for (i = 1; i < n; i++) {
		t[i] = (struct heap_thread){ .start = &start, .fn = fn, .nr = i };
		if (pthread_create(&t[i].id, NULL, heap_thread_main, &t[i]))
			heap_must(NULL, "no thread");
	}
	pthread_barrier_wait(&start);
	fn(0);
	for (i = 1; i < n; i++)
		pthread_join(t[i].id, NULL);
	pthread_barrier_destroy(&start);
	free(t);
}

/* Memory of the benchmark itself: not on the heap, not a root. */
static inline void *heap_scratch(size_t n, size_t size)
{
	return heap_must(calloc(n, size), "no memory");
}

static inline int heap_by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* @n forced cycles with what is live now, after one that is not counted. */
static inline void heap_force(unsigned int n)
{
	uint64_t *ns = heap_scratch(n, sizeof(*ns)), begun;
	unsigned int i;

	heap_collect();
	for (i = 0; i < n; i++) {
		begun = now_ns();
		heap_collect();
		ns[i] = now_ns() - begun;
	}
	qsort(ns, n, sizeof(*ns), heap_by_value);
	printf(" forced=%" PRIu64 " forced_p99=%" PRIu64, ns[n / 2], ns[n * 99 / 100]);
	free(ns);
}

#endif /* GCA_BENCH_HEAP_H */
