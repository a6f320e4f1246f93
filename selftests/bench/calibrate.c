// SPDX-License-Identifier: MIT
/*
 * calibrate.c: what the machine itself can do, to hold a marker against.
 *
 * Usage: calibrate [MIB [huge|small]]
 *
 * Over a buffer as large as the graphs of mark.c: nanoseconds of a dependent
 * miss; of a miss with 12 independent chains in flight, in one thread and in
 * two at a time; and the rate of a sequential read.  These are L, L/K and b1 of
 * the lower bound in the table that "run" prints.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#define LINE	64
#define CHAINS	12
#define STEPS	4000000ULL
#define REPEAT	3

/* One line of memory: the number of the next one. */
struct line {
	uint64_t next;
	uint64_t pad[LINE / 8 - 1];
};

static struct line *lines;
static uint64_t nr_lines;
static volatile uint64_t sink;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static uint64_t rnd(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* One cycle through all lines in random order (Sattolo). */
static void prepare(void)
{
	uint64_t rng = 3, i, j, t;

	for (i = 0; i < nr_lines; i++)
		lines[i].next = i;
	for (i = nr_lines - 1; i > 0; i--) {
		j = rnd(&rng) % i;
		t = lines[i].next;
		lines[i].next = lines[j].next;
		lines[j].next = t;
	}
}

static double chase(unsigned int chains, uint64_t seed)
{
	uint64_t at[CHAINS], steps = STEPS / chains, begun, i;
	unsigned int c;

	for (c = 0; c < CHAINS; c++)
		at[c] = rnd(&seed) % nr_lines;
	begun = now_ns();
	if (chains == 1) {
		for (i = 0; i < steps; i++)
			at[0] = lines[at[0]].next;
	} else {
		for (i = 0; i < steps; i++)
			for (c = 0; c < CHAINS; c++)
				at[c] = lines[at[c]].next;
	}
	begun = now_ns() - begun;
	for (c = 0; c < CHAINS; c++)
		sink += at[c];
	return (double)begun / (steps * chains);
}

static double stream(void)
{
	const uint64_t *p = (const uint64_t *)lines;
	uint64_t n = nr_lines * LINE / 8, s0 = 0, s1 = 0, s2 = 0, s3 = 0, begun = now_ns(), i;

	for (i = 0; i < n; i += 4) {
		s0 += p[i];
		s1 += p[i + 1];
		s2 += p[i + 2];
		s3 += p[i + 3];
	}
	begun = now_ns() - begun;
	sink += s0 + s1 + s2 + s3;
	return (double)nr_lines * LINE / begun;
}

static void *chase_thread(void *result)
{
	*(double *)result = chase(CHAINS, (uintptr_t)result);
	return NULL;
}

/* Nanoseconds a miss of two threads together. */
static double chase_two(void)
{
	pthread_t t[2];
	double ns[2];
	int i;

	for (i = 0; i < 2; i++)
		if (pthread_create(&t[i], NULL, chase_thread, &ns[i]))
			exit(1);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	return 1 / (1 / ns[0] + 1 / ns[1]);
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 0) : 256;
	double miss = 1e9, many = 1e9, two = 1e9, read = 0, x;
	int i;

	if (argc > 2 && !strcmp(argv[2], "small"))
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	nr_lines = mib << 20 >> 6;
	lines = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (lines == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	madvise(lines, mib << 20, MADV_HUGEPAGE);
	prepare();
	for (i = 0; i < REPEAT; i++) {
		miss = (x = chase(1, i)) < miss ? x : miss;
		many = (x = chase(CHAINS, i)) < many ? x : many;
		two = (x = chase_two()) < two ? x : two;
		read = (x = stream()) > read ? x : read;
	}
	printf("miss=%.1f miss12=%.1f miss12x2=%.1f read=%.2f\n", miss, many, two, read);
	return 0;
}
