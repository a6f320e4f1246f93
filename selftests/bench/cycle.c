// SPDX-License-Identifier: MIT
/*
 * cycle.c: what does a cycle cost that has nothing to do?
 *
 * Usage: cycle-HEAP [COLLECTIONS]
 *
 * A heap of one object, collected again and again: the fixed price of a forced
 * cycle, that is of stopping, scanning stack and data, and ending.  For small
 * heaps it decides how often one may collect.
 */
#include <inttypes.h>

#include "heap.h"

static void *root;

int main(int argc, char **argv)
{
	unsigned int times = argc > 1 ? atoi(argv[1]) : 1000, i;
	uint64_t *ns = heap_scratch(times, sizeof(*ns)), begun, mark;

	heap_open(true);
	root = heap_new(heap_describe(64, 1), 64);
	heap_collect();
	mark = heap_mark_ns();
	for (i = 0; i < times; i++) {
		begun = now_ns();
		heap_collect();
		ns[i] = now_ns() - begun;
	}
	mark = (heap_mark_ns() - mark) / times;
	qsort(ns, times, sizeof(*ns), heap_by_value);
	printf("ns=%" PRIu64 " p99=%" PRIu64 " max=%" PRIu64 " mark=%" PRIu64 " alive=%d",
	       ns[times / 2], ns[times * 99 / 100], ns[times - 1], mark, root != NULL);
	report_end();
	return 0;
}
