// SPDX-License-Identifier: MIT
/*
 * mark.c: how long does it take to mark a graph?
 *
 * Usage: mark-HEAP GRAPH [OBJECTS [COLLECTIONS [conservative] [huge|small]]]
 *
 * Builds one graph of 64-byte objects, nothing of which is garbage but what the
 * graph leaves unreachable, and collects several times.  The graphs:
 *
 *   random	4 pointers an object, to any object
 *   tree	complete, binary, allocated depth first
 *   list	in order of allocation
 *   shuffled	a list in random order: no marker can overlap its misses
 *   array	one array of pointers, in order, to objects without pointers
 *
 * The time is the collector's own for marking: gcarena's statistics, bdwgc's
 * mark events; with several markers it is how long the world was stopped for
 * it.  The number of objects is counted here, by a walk that has nothing to do
 * with the collectors, and gcarena's count is held against it.
 *
 * With "huge" all memory of the process, whoever's heap it is, is put into huge
 * pages before the first collection; with "small" there are none.
 */
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "heap.h"

#define MAX_COLLECTIONS	64

struct object {
	struct object *p[4];
	uint64_t id;
	uint64_t pad[3];
};

/* The one root: plain, in bss.  Volatile, as the compiler sees that nobody reads it. */
static void *volatile root;

static heap_layout object_layout, pointer_layout;

static struct object *object(uint64_t id)
{
	struct object *o = heap_new_trimmed(object_layout, sizeof(*o));

	o->id = id;
	return o;
}

static uint64_t reachable(struct object **all, uint64_t n)
{
	uint8_t *seen = heap_scratch(n, 1);
	uint64_t *stack = heap_scratch(n, sizeof(*stack)), sp = 0, count = 0;
	unsigned int i;

	seen[0] = 1;
	stack[sp++] = 0;
	while (sp) {
		struct object *o = all[stack[--sp]];

		count++;
		for (i = 0; i < 4; i++) {
			if (o->p[i] && !seen[o->p[i]->id]) {
				seen[o->p[i]->id] = 1;
				stack[sp++] = o->p[i]->id;
			}
		}
	}
	free(seen);
	free(stack);
	return count;
}

static uint64_t build_random(uint64_t n)
{
	struct object **all = heap_scratch(n, sizeof(*all));
	uint64_t rng = 1, i, count;
	unsigned int j;

	for (i = 0; i < n; i++)
		all[i] = object(i);
	for (i = 0; i < n; i++)
		for (j = 0; j < 4; j++)
			all[i]->p[j] = all[rnd(&rng) % n];
	root = all[0];
	count = reachable(all, n);
	memset(all, 0, n * sizeof(*all));
	free(all);
	return count;
}

/* Complete but for its lowest level. */
static struct object *build_tree(uint64_t n)
{
	struct object *o = object(n);

	if (n > 1)
		o->p[0] = build_tree(n / 2);
	if (n > 2)
		o->p[1] = build_tree((n - 1) / 2);
	return o;
}

static uint64_t build_list(uint64_t n, bool shuffle)
{
	struct object **all = heap_scratch(n, sizeof(*all)), *o;
	uint64_t rng = 2, i, j;

	for (i = 0; i < n; i++)
		all[i] = object(i);
	for (i = n - 1; shuffle && i > 0; i--) {
		j = rnd(&rng) % (i + 1);
		o = all[i];
		all[i] = all[j];
		all[j] = o;
	}
	for (i = 0; i + 1 < n; i++)
		all[i]->p[0] = all[i + 1];
	root = all[0];
	memset(all, 0, n * sizeof(*all));
	free(all);
	return n;
}

static uint64_t build_array(uint64_t n)
{
	struct object **array = heap_new_array(pointer_layout, sizeof(*array), n);
	uint64_t i;

	root = array;
	for (i = 0; i < n; i++)
		array[i] = object(i);
	return n + 1;
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#define HUGE	(2UL << 20)

/* Put what is there of anonymous memory into huge pages; holes are skipped. */
static void make_huge(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long lo, hi, p;
	char line[512], mode[8], path[256];
	int n;

	while (f && fgets(line, sizeof(line), f)) {
		path[0] = '\0';
		n = sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &lo, &hi, mode, path);
		if (n < 3 || mode[1] != 'w' || path[0] == '/')
			continue;
		madvise((void *)lo, hi - lo, MADV_HUGEPAGE);
		for (p = (lo + HUGE - 1) & -HUGE; p + HUGE <= hi; p += HUGE)
			madvise((void *)p, HUGE, MADV_COLLAPSE);
	}
	if (f)
		fclose(f);
}

/* How much of this process is in huge pages? */
static long huge_kib(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	char line[256];
	long kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "AnonHugePages: %ld kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

int main(int argc, char **argv)
{
	const char *graph = argc > 1 ? argv[1] : "random";
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 4000000;
	unsigned int times = argc > 3 ? atoi(argv[3]) : 5, t;
	uint64_t ns[MAX_COLLECTIONS], stopped[MAX_COLLECTIONS], count, begun, mark, marked = 0;
	bool huge = false;
	int i;

	if (times > MAX_COLLECTIONS)
		times = MAX_COLLECTIONS;
	for (i = 4; i < argc; i++) {
		if (!strcmp(argv[i], "huge"))
			huge = true;
		if (!strcmp(argv[i], "small"))
			prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
#ifdef HEAP_GCARENA
		if (!strcmp(argv[i], "conservative"))
			heap_conservative = true;
#endif
	}

	heap_open(true);
#ifdef HEAP_BDWGC
	/* Else when the program makes its first thread. */
	if (getenv("GC_MARKERS"))
		GC_start_mark_threads();
#endif
	object_layout = heap_describe(sizeof(struct object), 0xf);
	pointer_layout = heap_describe(sizeof(void *), 1);
	if (!strcmp(graph, "random"))
		count = build_random(n);
	else if (!strcmp(graph, "tree"))
		root = build_tree(count = n);
	else if (!strcmp(graph, "list"))
		count = build_list(n, false);
	else if (!strcmp(graph, "shuffled"))
		count = build_list(n, true);
	else if (!strcmp(graph, "array"))
		count = build_array(n);
	else
		return 2;

	if (huge)
		make_huge();

	/* The first collection frees the unreachable rest; it is not counted. */
	heap_collect();
	for (t = 0; t < times; t++) {
		mark = heap_mark_ns();
		marked = heap_marked();
		begun = heap_stopped_ns();
		heap_collect_stopped();
		stopped[t] = heap_stopped_ns() - begun;
		ns[t] = heap_mark_ns() - mark;
		marked = heap_marked() - marked;
	}

	printf("objects=%" PRIu64 " marked=%" PRIu64 " huge_kib=%ld ns=", count, marked, huge_kib());
	for (t = 0; t < times; t++)
		printf("%s%" PRIu64, t ? "," : "", ns[t]);
	printf(" workers=%" PRIu64 " stopped=", heap_workers());
	for (t = 0; t < times; t++)
		printf("%s%" PRIu64, t ? "," : "", stopped[t]);
	report_end();
	return 0;
}
