// SPDX-License-Identifier: MIT
/*
 * store.c: what does a store of a pointer cost, while nothing is marked and while
 * something is?
 *
 * Usage: store-HEAP [ROUNDS]
 *
 * Writes a pointer into each word of an object of SLOTS words, again and again, by
 * plain stores and by those the heap demands, in turns; the nanoseconds are those of
 * the fastest turn of each.  There is no cycle meanwhile.  For heaps that take any
 * store both are the same.  Then, where the heap can be told to, the same again while
 * marking has begun: each old value goes into the thread's ring, and is looked at.
 */
#include <inttypes.h>

#include "heap.h"

#define SLOTS	512
#define TURNS	25

/* Plain roots. */
static void **array, *value[2];

/* Volatile: one store each, as it is written here, not a vector of them. */
static double plain(uint64_t rounds)
{
	void *volatile *slots = array;
	uint64_t begun = now_ns(), i;
	unsigned int j;

	for (i = 0; i < rounds; i++) {
		void *v = value[i & 1];

		for (j = 0; j < SLOTS; j++)
			slots[j] = v;
	}
	return (double)(now_ns() - begun) / (rounds * SLOTS);
}

static double checked(uint64_t rounds)
{
	uint64_t begun = now_ns(), i;
	void **slots = array;
	unsigned int j;

	for (i = 0; i < rounds; i++) {
		void *v = value[i & 1];

		for (j = 0; j < SLOTS; j++)
			heap_store(&slots[j], v);
	}
	return (double)(now_ns() - begun) / (rounds * SLOTS);
}

int main(int argc, char **argv)
{
	uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 0) : 20000;
	double p = 1e9, c = 1e9, m = 1e9, x;
	heap_layout layout;
	unsigned int i;

	heap_open(true);
	layout = heap_describe(sizeof(*array), 1);
	array = heap_new_array(layout, sizeof(*array), SLOTS);
	for (i = 0; i < 2; i++)
		value[i] = heap_new(layout, sizeof(*array));
	for (i = 0; i < TURNS; i++) {
		p = (x = plain(rounds)) < p ? x : p;
		c = (x = checked(rounds)) < c ? x : c;
	}
	if (heap_marking(true)) {
		for (i = 0; i < TURNS; i++)
			m = (x = checked(rounds)) < m ? x : m;
		heap_marking(false);
		printf("marking=%.3f ", m);
	}
	printf("plain=%.3f checked=%.3f cycles=%" PRIu64 " check=%d", p, c, heap_cycles(),
	       array[0] == array[SLOTS - 1]);
	report_end();
	return 0;
}
