// SPDX-License-Identifier: MIT
/*
 * ring.c: how long may one allocation take, when much is live?
 *
 * Usage: ring-HEAP [PUSHES [WINDOW]]
 *
 * The message ring of gc-latency-experiment (Pusher, Scherer, Sewell): each push
 * allocates a message of 1 KiB without pointers, writes every byte of it and puts
 * it into an array, in the heap too, in the place of the message WINDOW pushes ago.
 * Some 205 MB are live with the usual 200,000.  Every push is timed, those that
 * fill the ring included: what counts are the slowest.
 *
 * Of a time of 1, 10 and 100 ms, how much is left to the program at worst (minimum mutator
 * utilisation; Cheng and Blelloch, 2001)?  Here: what pushes of more than LOST take, once the
 * ring has been filled, is lost.
 */
#include <inttypes.h>
#include <sys/mman.h>

#include "heap.h"

#define MESSAGE		1024

/*
 * Times by their size in ns: each doubling has STEPS buckets, so that a bucket is
 * at most 0.8 % wide.  Below STEPS ns each has its own.
 */
#define STEP_BITS	7
#define STEPS		(1 << STEP_BITS)
#define BUCKETS		((64 - STEP_BITS + 1) * STEPS)

static unsigned int bucket(uint64_t ns)
{
	unsigned int e;

	if (ns < STEPS)
		return ns;
	e = 63 - __builtin_clzll(ns) - STEP_BITS;
	return (e + 1) * STEPS + (ns >> e) % STEPS;
}

/* The middle of a bucket. */
static uint64_t bucket_ns(unsigned int b)
{
	unsigned int e = b / STEPS;

	return e ? ((STEPS + b % STEPS) << (e - 1)) + (1ULL << (e - 1)) / 2 : b;
}

/* The time that all but @above in a million pushes are within. */
static uint64_t quantile(const uint64_t *counts, uint64_t n, uint64_t above)
{
	uint64_t seen = 0;
	unsigned int b;

	for (b = 0; b < BUCKETS - 1; b++) {
		seen += counts[b];
		if (seen * 1000000 >= n * (1000000 - above))
			break;
	}
	return bucket_ns(b);
}

#define LOST		2000		/* ns */
#define LOSSES		(1 << 18)

/** struct loss - a push that took long: when it ended, and what was lost by then */
struct loss {
	uint64_t end, ns, sum;
};

static struct loss *loss;
static unsigned int losses;

/* What was lost until @t. */
static uint64_t lost_by(uint64_t t)
{
	unsigned int lo = 0, hi = losses;

	while (lo < hi) {	/* the first that ended at @t or later */
		unsigned int mid = (lo + hi) / 2;

		if (loss[mid].end < t)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == losses)
		return losses ? loss[losses - 1].sum : 0;
	if (t <= loss[lo].end - loss[lo].ns)
		return loss[lo].sum - loss[lo].ns;
	return loss[lo].sum - (loss[lo].end - t);
}

/* Per mille of a time of @w ns; the worst begins, or ends, with a loss. */
static uint64_t utilisation(uint64_t w)
{
	uint64_t worst = 0, a, b;
	unsigned int i;

	for (i = 0; i < losses; i++) {
		a = lost_by(loss[i].end - loss[i].ns + w) - (loss[i].sum - loss[i].ns);
		b = loss[i].sum - lost_by(loss[i].end - w);
		worst = a > worst ? a : worst;
		worst = b > worst ? b : worst;
	}
	return 1000 - (worst < w ? worst : w) * 1000 / w;
}

static void *scratch(size_t bytes)
{
	/* neither in the heap nor in the bss, which would be scanned */
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return heap_must(p == MAP_FAILED ? NULL : p, "no memory");
}

/* Plain root. */
static uint8_t **ring;

int main(int argc, char **argv)
{
	uint64_t pushes = argc > 1 ? strtoull(argv[1], NULL, 0) : 2000000;
	uint64_t window = argc > 2 ? strtoull(argv[2], NULL, 0) : 200000;
	uint64_t sum = 0, longest = 0, clock = UINT64_MAX, begun, ns, i, *counts;

	counts = scratch(BUCKETS * sizeof(*counts));
	loss = scratch(LOSSES * sizeof(*loss));
	if (!window)
		heap_must(NULL, "no window");
	for (i = 0; i < 1000; i++) {
		ns = now_ns();
		ns = now_ns() - ns;
		clock = ns < clock ? ns : clock;
	}

	heap_open(false);
	ring = heap_new_array(heap_describe(sizeof(*ring), 1), sizeof(*ring), window);
	/* malloc's is not zeroed */
	memset(ring, 0, window * sizeof(*ring));
	begun = now_ns();
	for (i = 0; i < pushes; i++) {
		uint8_t **slot = &ring[i % window], *old = *slot, *message;
		uint64_t t;

		if (old)
			sum += old[0] + old[MESSAGE - 1];
		t = now_ns();
		message = heap_bytes(MESSAGE);
		memset(message, (uint8_t)i, MESSAGE);
		heap_store(slot, message);
		if (old)
			heap_free(old);
		ns = now_ns();
		t = ns - t;
		if (t > LOST && i >= pushes / 2 && losses < LOSSES) {
			loss[losses] = (struct loss){ ns, t, t };
			loss[losses].sum += losses ? loss[losses - 1].sum : 0;
			losses++;
		}
		counts[bucket(t)]++;
		longest = t > longest ? t : longest;
	}
	printf("ns=%" PRIu64 " clock=%" PRIu64, now_ns() - begun, clock);
	printf(" p50=%" PRIu64 " p99=%" PRIu64, quantile(counts, pushes, 500000),
	       quantile(counts, pushes, 10000));
	printf(" p999=%" PRIu64 " p9999=%" PRIu64, quantile(counts, pushes, 1000),
	       quantile(counts, pushes, 100));
	printf(" max=%" PRIu64 " cycles=%" PRIu64 " check=%" PRIu64, longest, heap_cycles(), sum);
	printf(" mmu1=%" PRIu64 " mmu10=%" PRIu64 " mmu100=%" PRIu64, utilisation(1000000),
	       utilisation(10000000), utilisation(100000000));
	report_end();
	return 0;
}
