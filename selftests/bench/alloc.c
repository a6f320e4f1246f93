// SPDX-License-Identifier: MIT
/*
 * alloc.c: what does an allocation cost?
 *
 * Usage: alloc-HEAP BYTES COUNT [noscan]
 *
 * Allocates COUNT objects of BYTES and keeps the last WINDOW of them, so that
 * almost everything dies at once: the price of allocating, sweeping and
 * collecting together.  Each object's first word is written.  The objects may
 * have one pointer, in their first word, or with "noscan" none.
 */
#include <inttypes.h>

#include "heap.h"

#define WINDOW	1024	/* a power of two */

/* A plain root. */
static void *window[WINDOW];

int main(int argc, char **argv)
{
	size_t bytes = argc > 1 ? strtoull(argv[1], NULL, 0) : 64;
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 10000000, i, begun, ns, sum = 0;
	bool noscan = argc > 3 && !strcmp(argv[3], "noscan");
	heap_layout layout;
	void **o;

	heap_open(false);
	layout = heap_describe(bytes, 1);
	begun = now_ns();
	for (i = 0; i < count; i++) {
		void **slot = &window[i & (WINDOW - 1)];

		o = noscan ? heap_bytes(bytes) : heap_new(layout, bytes);
		/* a number that is no pointer of any heap; the old one is summed up */
		*o = (void *)(i & 0xffff);
		if (*slot) {
			sum += *(uintptr_t *)*slot;
			heap_free(*slot);
		}
		*slot = o;
	}
	ns = now_ns() - begun;
	printf("ns=%" PRIu64 " each_ns=%.2f cycles=%" PRIu64 " check=%" PRIu64, ns,
	       (double)ns / count, heap_cycles(), sum);
	report_end();
	return 0;
}
