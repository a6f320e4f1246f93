// SPDX-License-Identifier: MIT
/*
 * indexer.c: the demo on real input.
 *
 * Usage: indexer [--threads N] [--rounds N] [--queries N] [--seed N] [--lines N]
 *		  [--forced N] PATH...
 *
 * Indexes the lines and words of the files named (symbol tables and C headers
 * by default: see run-demo) in a linked structure on a collected heap.  Then,
 * each round, it takes a source out or puts one in, or both, now and then
 * rebuilds the hash table or the dictionary as a whole, and asks questions.
 * Every answer is compared with one computed without the collector (plain.c):
 * an object freed too early, or changed, is a wrong answer or a crash.
 *
 * Each thread has a share of the input and an index of its own, in one heap.  From
 * time to time all meet, and each asks its neighbour's index while that stands.
 *
 * Exit status: 0 if all answers were right and memory stayed in its bound.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "indexer.h"
#include "monitor.h"

#define AWAY_MAX	16	/* sources that are out of the index at a time */
#define TABLE_EVERY	64	/* rounds of a thread */
#define DICTIONARY_EVERY 128
#define SNAPSHOT_EVERY	32
#define MEET_EVERY	16
#define THREADS_MAX	64
#define KEPT		4	/* answers remembered with a snapshot */

/*
 * The indexes: an ordinary global variable.  The collector finds them because data
 * and bss are roots, and no barrier is needed to write it.
 */
static struct index *indexes[THREADS_MAX];

/** struct memory - what the plain side said when a snapshot was taken */
struct memory {
	bool taken;
	uint32_t terms;
	uint32_t k[KEPT];
	struct answer answer[KEPT];
};

/** struct worker - a thread's share of the work; malloc memory: no root */
struct worker {
	uint32_t number;
	pthread_t thread;
	struct input in;
	struct plain *plain;
	struct memory memory[SNAPSHOTS];
	uint32_t away[AWAY_MAX], nr_away;
	uint64_t rng;
	uint64_t rounds, queries;
	uint64_t asked, right;
	uint64_t rebuilt;
};

static struct worker *workers;
static uint32_t nr_workers;
static pthread_barrier_t meeting;
static _Thread_local struct worker *run;

/* The index of @w; the calling thread's own may be changed, too. */
static struct index *index_of(const struct worker *w)
{
	return indexes[w->number];
}

/* splitmix64 */
static uint64_t rnd(void)
{
	uint64_t z = run->rng += 0x9e3779b97f4a7c15ULL;

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
	run->asked++;
	if (answer_equal(got, want))
		run->right++;
	else if (run->asked - run->right <= 10)
		printf("  WRONG ANSWER: %s: count %" PRIu64 " hash %016" PRIx64 ", should be %" PRIu64
		       " %016" PRIx64 "\n", what, got.count, got.hash, want.count, want.hash);
}

static void verify_size(const struct worker *of)
{
	verify("size of the dictionary",
	       (struct answer){ tree_size(index_of(of)->dictionary), index_of(of)->table->nr_entries },
	       (struct answer){ plain_present(of->plain), plain_present(of->plain) });
}

static void ask(const struct worker *of)
{
	struct word a = plain_term(of->plain, below(plain_terms(of->plain))), b = a;
	uint32_t source = below(of->in.nr_sources), k, line;

	switch (below(6)) {
	case 0:
		verify("lookup", index_lookup(index_of(of), a), plain_lookup(of->plain, a));
		break;
	case 1:
		if (a.len > 4)
			a.len = 4 + below(a.len - 3);
		verify("prefix", index_prefix(index_of(of), a), plain_prefix(of->plain, a));
		break;
	case 2:
		k = below(plain_terms(of->plain));
		verify("k-th", index_kth(index_of(of)->dictionary, k), plain_kth(of->plain, k));
		break;
	case 3:
		/* two words of one line, so that there is something to find */
		line = below(of->in.source[source].nr_lines);
		{
			struct scan s = { .src = &of->in.source[source],
					  .p = of->in.source[source].line[line], .line = line };

			if (scan_word(&s, &a) && !scan_word(&s, &b))
				b = a;
		}
		verify("both", index_both(index_of(of), a, b), plain_both(of->plain, a, b));
		break;
	case 4:
		verify("source", index_source(index_of(of), source), plain_source(of->plain, source));
		break;
	case 5:
		line = below(of->in.source[source].nr_lines);
		verify("line", index_line(index_of(of), source, line),
		       plain_line(of->plain, source, line));
		break;
	}
}

static void add(uint32_t source)
{
	index_add(index_of(run), &run->in, source);
	plain_set(run->plain, source, true);
}

static void take_out(uint32_t source)
{
	index_remove(index_of(run), source);
	plain_set(run->plain, source, false);
}

/* Rebuild a source at once, or let it stay away for some rounds. */
static void change(void)
{
	uint32_t source = below(run->in.nr_sources), i;

	run->rebuilt++;
	for (i = 0; i < run->nr_away; i++) {
		if (run->away[i] == source) {
			add(source);
			run->away[i] = run->away[--run->nr_away];
			return;
		}
	}
	take_out(source);
	if (below(2)) {
		add(source);
	} else if (run->nr_away < AWAY_MAX) {
		run->away[run->nr_away++] = source;
	} else {
		i = below(AWAY_MAX);
		add(run->away[i]);
		run->away[i] = source;
	}
}

/* An old dictionary must still say what it said; then a new one takes its place. */
static void snapshot(unsigned int i)
{
	struct memory *m = &run->memory[i];
	struct node *old = index_of(run)->snapshot[i];
	unsigned int j;

	if (m->taken) {
		verify("size of a snapshot", (struct answer){ tree_size(old), 0 },
		       (struct answer){ m->terms, 0 });
		for (j = 0; j < KEPT; j++)
			verify("k-th of a snapshot", index_kth(old, m->k[j]), m->answer[j]);
	}
	index_snapshot(index_of(run), i);
	m->taken = true;
	m->terms = plain_present(run->plain);
	for (j = 0; j < KEPT; j++) {
		m->k[j] = below(m->terms);
		m->answer[j] = plain_kth(run->plain, m->k[j]);
	}
}

/* All stand still but for questions: each thread reads what its neighbour has made. */
static void meet(void)
{
	const struct worker *of = &workers[(run->number + 1) % nr_workers];
	uint64_t i;

	if (nr_workers == 1)
		return;
	pthread_barrier_wait(&meeting);
	verify_size(of);
	for (i = 0; i < 2 * run->queries; i++)
		ask(of);
	pthread_barrier_wait(&meeting);
}

static void one_round(uint64_t n)
{
	uint64_t asked = 0;
	bool same;

	change();
	if (n % TABLE_EVERY == TABLE_EVERY - 1)
		index_rebuild_table(index_of(run));
	if (n % DICTIONARY_EVERY == DICTIONARY_EVERY - 1) {
		same = index_rebuild_dictionary(index_of(run));
		verify("shape of the dictionary", (struct answer){ same, 0 },
		       (struct answer){ true, 0 });
	}
	if (n % SNAPSHOT_EVERY == SNAPSHOT_EVERY - 1)
		snapshot(n / SNAPSHOT_EVERY % SNAPSHOTS);
	verify_size(run);
	while (run->queries > asked++)
		ask(run);
	if (n % MEET_EVERY == MEET_EVERY - 1)
		meet();
	if (!run->number)
		monitor_poll();
}

/* A thread's life: build the index, change it, ask. */
static void *work(struct gca_mutator *m, void *arg)
{
	uint64_t i;

	run = arg;
	heap_m = m;
	indexes[run->number] = index_new(&run->in);
	for (i = 0; i < run->in.nr_sources; i++) {
		add(i);
		if (!run->number)
			monitor_poll();
	}
	verify_size(run);
	if (nr_workers > 1)
		pthread_barrier_wait(&meeting);
	for (i = 0; i < run->rounds; i++)
		one_round(i);
	return NULL;
}

/* The main thread is worker 0 and attached already. */
static void work_all(uint64_t rounds, uint64_t queries, uint64_t seed, const struct input *in)
{
	uint32_t i;

	workers = plain_alloc(nr_workers * sizeof(*workers));
	for (i = 0; i < nr_workers; i++) {
		struct worker *w = &workers[i];

		w->number = i;
		w->rng = seed + i;
		w->rounds = rounds / nr_workers;
		w->queries = queries;
		input_share(in, i, nr_workers, &w->in);
		w->plain = plain_build(&w->in);
	}
	pthread_barrier_init(&meeting, NULL, nr_workers);
	for (i = 1; i < nr_workers; i++) {
		if (gca_thread_create(heap.arena, &workers[i].thread, NULL, work, &workers[i])) {
			fprintf(stderr, "indexer: thread %u: %s\n", i + 1, gca_strerror());
			exit(1);
		}
	}
	work(heap_m, &workers[0]);
	for (i = 1; i < nr_workers; i++)
		pthread_join(workers[i].thread, NULL);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Cycles over what is indexed now; the first, which has garbage, is not counted. */
static void force(uint64_t n)
{
	double *ms = plain_alloc(n * sizeof(*ms)), begun;
	uint64_t i;

	gca_collect(heap.arena, 0);
	for (i = 0; i < n; i++) {
		begun = seconds();
		if (gca_collect(heap.arena, 0)) {
			fprintf(stderr, "indexer: %s\n", gca_strerror());
			exit(1);
		}
		ms[i] = (seconds() - begun) * 1e3;
	}
	qsort(ms, n, sizeof(*ms), by_value);
	printf("  forced          %" PRIu64 " cycles: p50 %.3f ms, p99 %.3f ms\n", n, ms[n / 2],
	       ms[n * 99 / 100]);
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
		"usage: indexer [--threads N] [--rounds N] [--queries N] [--seed N] [--lines N]\n"
		"               [--forced N] PATH...\n"
		"  --threads  that share the input (8; 1 without the module)\n"
		"  --rounds   changes to the indexes, of all threads (2000)\n"
		"  --queries  questions a round (8)\n"
		"  --seed     of the pseudo-random numbers (1)\n"
		"  --lines    print every cycle up to this one, then fewer (64)\n"
		"  --forced   cycles at the end, one after the other, and how long each took (0)\n");
	exit(2);
}

static uint32_t choose_threads(uint32_t wanted, uint32_t sources)
{
	struct gca_stats s;

	if (!wanted)
		wanted = !gca_stats(heap.arena, &s) && !strcmp(s.backend, "kernel") ? 8 : 1;
	if (wanted > THREADS_MAX)
		wanted = THREADS_MAX;
	return wanted < sources ? wanted : sources;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "threads", required_argument, NULL, 't' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "queries", required_argument, NULL, 'q' },
		{ "seed", required_argument, NULL, 's' },
		{ "lines", required_argument, NULL, 'l' },
		{ "forced", required_argument, NULL, 'f' },
		{ }
	};
	uint64_t rounds = 2000, queries = 8, lines = 64, seed = 1, threads = 0, forced = 0;
	uint64_t asked = 0, right = 0, rebuilt = 0, tables = 0, dictionaries = 0, snapshots = 0;
	struct input in = { 0 };
	uint32_t files, i;
	bool held;
	int c;

	while ((c = getopt_long(argc, argv, "t:r:q:s:l:f:", options, NULL)) != -1) {
		switch (c) {
		case 't':
			threads = number(optarg);
			break;
		case 'r':
			rounds = number(optarg);
			break;
		case 'q':
			queries = number(optarg);
			break;
		case 's':
			seed = number(optarg);
			break;
		case 'l':
			lines = number(optarg);
			break;
		case 'f':
			forced = number(optarg);
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
		if (input_add(&in, argv[optind]))
			perror(argv[optind]);
		optind++;
	}
	if (!in.nr_lines) {
		fprintf(stderr, "indexer: nothing to index\n");
		return 1;
	}
	files = in.nr_sources;
	input_split(&in);
	printf("  input           %u files, %" PRIu64 " lines, %" PRIu64 " words: %" PRIu64
	       " records\n", files, in.nr_lines, in.nr_words, in.nr_lines + in.nr_words);

	heap_open();
	nr_workers = choose_threads(threads, in.nr_sources);
	printf("  threads         %u, each with a share of %u sources; %" PRIu64
	       " rounds of changes and questions\n", nr_workers, in.nr_sources, rounds);
	fflush(stdout);
	monitor_start(heap.arena, lines);
	work_all(rounds, queries, seed, &in);
	if (forced)
		force(forced);

	held = monitor_summary(plain_bytes(), nr_workers);
	for (i = 0; i < nr_workers; i++) {
		struct worker *w = &workers[i];

		asked += w->asked;
		right += w->right;
		rebuilt += w->rebuilt;
		tables += w->rounds / TABLE_EVERY;
		dictionaries += w->rounds / DICTIONARY_EVERY;
		snapshots += w->rounds / SNAPSHOT_EVERY;
	}
	printf("  rebuilt         %" PRIu64 " sources, %" PRIu64 " hash tables, %" PRIu64
	       " dictionaries, %" PRIu64 " snapshots\n", rebuilt, tables, dictionaries, snapshots);
	printf("  answers         %" PRIu64 " of %" PRIu64 " verified\n", right, asked);
	gca_close(heap.arena);
	return held && right == asked ? 0 : 1;
}
