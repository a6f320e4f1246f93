// SPDX-License-Identifier: MIT
/*
 * indexer.c: the demo on real input.
 *
 * Usage: indexer [--rounds N] [--queries N] [--seed N] [--lines N] PATH...
 *
 * Indexes the lines and words of the files named (symbol tables and C headers
 * by default: see run-demo) in a linked structure on a collected heap.  Then,
 * each round, it takes a source out or puts one in, or both, now and then
 * rebuilds the hash table or the dictionary as a whole, and asks questions.
 * Every answer is compared with one computed without the collector (plain.c):
 * an object freed too early, or changed, is a wrong answer or a crash.
 *
 * Exit status: 0 if all answers were right and memory stayed in its bound.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "indexer.h"
#include "monitor.h"

#define AWAY_MAX	16	/* sources that are out of the index at a time */
#define TABLE_EVERY	128	/* rounds */
#define DICTIONARY_EVERY 512
#define SNAPSHOT_EVERY	32
#define KEPT		4	/* answers remembered with a snapshot */

/*
 * The index: an ordinary global variable.  The collector finds it because data
 * and bss are roots, and no barrier is needed to write it.
 */
static struct index *the_index;

/** struct memory - what the plain side said when a snapshot was taken */
struct memory {
	bool taken;
	uint32_t terms;
	uint32_t k[KEPT];
	struct answer answer[KEPT];
};

static struct {
	struct input in;
	struct plain *plain;
	struct memory memory[SNAPSHOTS];
	uint32_t away[AWAY_MAX], nr_away;
	uint64_t rng;
	uint64_t asked, right;
	uint64_t rebuilt, records;
} run;

/* splitmix64 */
static uint64_t rnd(void)
{
	uint64_t z = run.rng += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static uint32_t below(uint32_t n)
{
	return rnd() % n;
}

static void verify(const char *what, struct answer got, struct answer want)
{
	run.asked++;
	if (answer_equal(got, want))
		run.right++;
	else if (run.asked - run.right <= 10)
		printf("  WRONG ANSWER: %s: count %" PRIu64 " hash %016" PRIx64 ", should be %" PRIu64
		       " %016" PRIx64 "\n", what, got.count, got.hash, want.count, want.hash);
}

static void verify_size(void)
{
	verify("size of the dictionary",
	       (struct answer){ tree_size(the_index->dictionary), the_index->table->nr_entries },
	       (struct answer){ plain_present(run.plain), plain_present(run.plain) });
}

static void ask(void)
{
	struct word a = plain_term(run.plain, below(plain_terms(run.plain))), b = a;
	uint32_t source = below(run.in.nr_sources), k, line;

	switch (below(6)) {
	case 0:
		verify("lookup", index_lookup(the_index, a), plain_lookup(run.plain, a));
		break;
	case 1:
		if (a.len > 4)
			a.len = 4 + below(a.len - 3);
		verify("prefix", index_prefix(the_index, a), plain_prefix(run.plain, a));
		break;
	case 2:
		k = below(plain_terms(run.plain));
		verify("k-th", index_kth(the_index->dictionary, k), plain_kth(run.plain, k));
		break;
	case 3:
		/* two words of one line, so that there is something to find */
		line = below(run.in.source[source].nr_lines);
		{
			struct scan s = { .src = &run.in.source[source],
					  .p = run.in.source[source].line[line], .line = line };

			if (scan_word(&s, &a) && !scan_word(&s, &b))
				b = a;
		}
		verify("both", index_both(the_index, a, b), plain_both(run.plain, a, b));
		break;
	case 4:
		verify("source", index_source(the_index, source), plain_source(run.plain, source));
		break;
	case 5:
		line = below(run.in.source[source].nr_lines);
		verify("line", index_line(the_index, source, line),
		       plain_line(run.plain, source, line));
		break;
	}
}

static void add(uint32_t source)
{
	index_add(the_index, &run.in, source);
	plain_set(run.plain, source, true);
}

static void take_out(uint32_t source)
{
	index_remove(the_index, source);
	plain_set(run.plain, source, false);
}

/* Rebuild a source at once, or let it stay away for some rounds. */
static void change(void)
{
	uint32_t source = below(run.in.nr_sources), i;

	run.rebuilt++;
	for (i = 0; i < run.nr_away; i++) {
		if (run.away[i] == source) {
			add(source);
			run.away[i] = run.away[--run.nr_away];
			return;
		}
	}
	take_out(source);
	if (below(2)) {
		add(source);
	} else if (run.nr_away < AWAY_MAX) {
		run.away[run.nr_away++] = source;
	} else {
		i = below(AWAY_MAX);
		add(run.away[i]);
		run.away[i] = source;
	}
}

/* An old dictionary must still say what it said; then a new one takes its place. */
static void snapshot(unsigned int i)
{
	struct memory *m = &run.memory[i];
	struct node *old = the_index->snapshot[i];
	unsigned int j;

	if (m->taken) {
		verify("size of a snapshot", (struct answer){ tree_size(old), 0 },
		       (struct answer){ m->terms, 0 });
		for (j = 0; j < KEPT; j++)
			verify("k-th of a snapshot", index_kth(old, m->k[j]), m->answer[j]);
	}
	index_snapshot(the_index, i);
	m->taken = true;
	m->terms = plain_present(run.plain);
	for (j = 0; j < KEPT; j++) {
		m->k[j] = below(m->terms);
		m->answer[j] = plain_kth(run.plain, m->k[j]);
	}
}

static void one_round(uint64_t n, uint64_t queries)
{
	bool same;

	change();
	if (n % TABLE_EVERY == TABLE_EVERY - 1)
		index_rebuild_table(the_index);
	if (n % DICTIONARY_EVERY == DICTIONARY_EVERY - 1) {
		same = index_rebuild_dictionary(the_index);
		verify("shape of the dictionary", (struct answer){ same, 0 },
		       (struct answer){ true, 0 });
	}
	if (n % SNAPSHOT_EVERY == SNAPSHOT_EVERY - 1)
		snapshot(n / SNAPSHOT_EVERY % SNAPSHOTS);
	verify_size();
	while (queries--)
		ask();
	monitor_poll();
}

static uint64_t number(const char *s)
{
	char *end;
	uint64_t n = strtoull(s, &end, 0);

	if (end == s || *end) {
		fprintf(stderr, "indexer: not a number: %s\n", s);
		exit(2);
	}
	return n;
}

static void usage(void)
{
	fprintf(stderr,
		"usage: indexer [--rounds N] [--queries N] [--seed N] [--lines N] PATH...\n"
		"  --rounds   changes to the index (2000)\n"
		"  --queries  questions a round (8)\n"
		"  --seed     of the pseudo-random numbers (1)\n"
		"  --lines    print every cycle up to this one, then fewer (64)\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "queries", required_argument, NULL, 'q' },
		{ "seed", required_argument, NULL, 's' },
		{ "lines", required_argument, NULL, 'l' },
		{ }
	};
	uint64_t rounds = 2000, queries = 8, lines = 64, i;
	bool held;
	int c;

	run.rng = 1;
	while ((c = getopt_long(argc, argv, "r:q:s:l:", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			rounds = number(optarg);
			break;
		case 'q':
			queries = number(optarg);
			break;
		case 's':
			run.rng = number(optarg);
			break;
		case 'l':
			lines = number(optarg);
			break;
		default:
			usage();
		}
	}
	if (optind == argc)
		usage();

	/* What is freed goes back to the system: the bound on RSS counts it as gone. */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	while (optind < argc) {
		if (input_add(&run.in, argv[optind]))
			perror(argv[optind]);
		optind++;
	}
	if (!run.in.nr_lines) {
		fprintf(stderr, "indexer: nothing to index\n");
		return 1;
	}
	c = run.in.nr_sources;
	input_split(&run.in);
	run.plain = plain_build(&run.in);
	run.records = run.in.nr_lines + run.in.nr_words;
	printf("  input           %d files, %" PRIu64 " lines, %" PRIu64 " words, %u of them distinct: %"
	       PRIu64 " records\n", c, run.in.nr_lines, run.in.nr_words, plain_terms(run.plain),
	       run.records);
	fflush(stdout);

	heap_open();
	monitor_start(heap.arena, lines);
	the_index = index_new(&run.in);
	for (i = 0; i < run.in.nr_sources; i++) {
		add(i);
		monitor_poll();
	}
	verify_size();
	printf("  indexed         %" PRIu64 " lines of %" PRIu64 " sources; now %" PRIu64
	       " rounds of changes and questions\n", the_index->nr_lines, the_index->nr_files, rounds);
	fflush(stdout);
	for (i = 0; i < rounds; i++)
		one_round(i, queries);

	held = monitor_summary(plain_bytes());
	printf("  rebuilt         %" PRIu64 " sources, %" PRIu64 " hash tables, %" PRIu64
	       " dictionaries, %" PRIu64 " snapshots\n", run.rebuilt, rounds / TABLE_EVERY,
	       rounds / DICTIONARY_EVERY, rounds / SNAPSHOT_EVERY);
	printf("  answers         %" PRIu64 " of %" PRIu64 " verified\n", run.right, run.asked);
	gca_close(heap.arena);
	return held && run.right == run.asked ? 0 : 1;
}
