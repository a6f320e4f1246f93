// SPDX-License-Identifier: MIT
/*
 * alloc.c: what does an allocation cost?
 *
 * Usage: alloc-HEAP BYTES COUNT [THREADS [noscan]]
 *
 * Each thread allocates COUNT objects of BYTES and keeps the last WINDOW of them,
 * so that almost everything dies at once: the price of allocating, sweeping and
 * collecting together.  Each object's first word is written.  The objects may
 * have one pointer, in their first word, or with "noscan" none.  The time is that
 * of the thread that needed longest.
 */
#include <inttypes.h>

#include "heap.h"

#define WINDOW		1024	/* a power of two */
#define MAX_THREADS	4

/* Plain roots. */
static void *window[MAX_THREADS][WINDOW];

static size_t bytes;
static uint64_t count;
static bool noscan;
static heap_layout layout;

/* What the threads found, a cache line each. */
static struct {
	uint64_t ns, sum;
	uint64_t pad[6];
} found[MAX_THREADS];

static void allocate(unsigned int nr)
{
	uint64_t begun = now_ns(), sum = 0, i;
	void **w = window[nr], **o;

	for (i = 0; i < count; i++) {
		void **slot = &w[i & (WINDOW - 1)];

		o = noscan ? heap_bytes(bytes) : heap_new(layout, bytes);
		/* a number that is no pointer of any heap; the old one is summed up */
		*o = (void *)(i & 0xffff);
		if (*slot) {
			sum += *(uintptr_t *)*slot;
			heap_free(*slot);
		}
		*slot = o;
	}
	found[nr].ns = now_ns() - begun;
	found[nr].sum = sum;
}

int main(int argc, char **argv)
{
	unsigned int threads = argc > 3 ? atoi(argv[3]) : 1, i;
	uint64_t ns = 0, sum = 0;

	bytes = argc > 1 ? strtoull(argv[1], NULL, 0) : 64;
	count = argc > 2 ? strtoull(argv[2], NULL, 0) : 10000000;
	noscan = argc > 4 && !strcmp(argv[4], "noscan");
	if (!threads || threads > MAX_THREADS)
		heap_must(NULL, "1 to 4 threads");
	heap_open(false);
	layout = heap_describe(bytes, 1);
	heap_threads(threads, allocate);
	for (i = 0; i < threads; i++) {
		ns = found[i].ns > ns ? found[i].ns : ns;
		sum += found[i].sum;
	}
	printf("ns=%" PRIu64 " each_ns=%.2f cycles=%" PRIu64 " check=%" PRIu64, ns,
	       (double)ns / count, heap_cycles(), sum);
	report_end();
	return 0;
}
