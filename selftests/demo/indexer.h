/* SPDX-License-Identifier: MIT */
/*
 * indexer.h: what the parts of the demo program share.
 *
 *   records.c	the input: files cut into sources of lines and words
 *   index.c	the index proper, on the collected heap: hash table, terms, files
 *   tree.c	its ordered dictionary: a persistent treap, on the collected heap
 *   plain.c	the same answers computed with malloc, qsort and bsearch only
 *   monitor.c	a line a cycle, and the summary
 *   indexer.c	the rounds: change something, ask everybody, compare
 *
 * The two sides share the input and the shape of an answer, no more.
 */
#ifndef GCA_DEMO_INDEXER_H
#define GCA_DEMO_INDEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <gcarena.h>

/* ------------------------------------------------------------------ records.c */

/* A longer file becomes several sources, so that every rebuild stays small. */
#define SOURCE_LINES	4096

enum source_format {
	SOURCE_TEXT,		/* identifiers, as in C */
	SOURCE_MAP,		/* address type name [module] */
	SOURCE_SYMVERS,		/* crc name module export */
};

/**
 * struct source - a piece of an input file
 * @name: of the file
 * @part: 0, 1, ... of a file that is cut
 * @format: how its lines are cut into words
 * @nr_lines: lines
 * @line: their beginnings; line[nr_lines] is the end of the text
 */
struct source {
	const char *name;
	uint32_t part;
	enum source_format format;
	uint32_t nr_lines;
	const char **line;
};

struct input {
	struct source *source;
	uint32_t nr_sources;
	uint64_t nr_lines, nr_words, bytes;
};

/** struct word - a word of a line; not terminated */
struct word {
	const char *text;
	uint32_t len;
};

/** struct scan - a position in a source, see scan_word() */
struct scan {
	const struct source *src;
	const char *p;
	uint32_t line;
	uint32_t field;
};

int input_add(struct input *in, const char *path);
void input_split(struct input *in);
void input_share(const struct input *in, uint32_t k, uint32_t n, struct input *share);
void scan_begin(struct scan *s, const struct source *src);
bool scan_word(struct scan *s, struct word *w);

static inline uint32_t line_len(const struct source *src, uint32_t line)
{
	return src->line[line + 1] - src->line[line];
}

/* Memory that is not collected.  Counted: the bound on memory needs the sum. */
void *plain_alloc(size_t bytes);
void *plain_grow(void *p, size_t old_bytes, size_t bytes);
uint64_t plain_bytes(void);

/* FNV-1a: both sides summarise long answers with it. */
#define HASH_SEED	0xcbf29ce484222325ULL

static inline uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
	const unsigned char *c = p;

	while (n--)
		h = (h ^ *c++) * 0x100000001b3ULL;
	return h;
}

static inline uint64_t hash_u64(uint64_t h, uint64_t v)
{
	return (h ^ v) * 0x9e3779b97f4a7c15ULL ^ h >> 29;
}

/* -------------------------------------------------------------------- answers */

/** struct answer - what a query returns: a number and a hash of the rest */
struct answer {
	uint64_t count;
	uint64_t hash;
};

static inline bool answer_equal(struct answer a, struct answer b)
{
	return a.count == b.count && a.hash == b.hash;
}

#define PREFIX_NAMES	8	/* names of a prefix query that are hashed */

/* -------------------------------------------------------------------- plain.c */

struct plain;

struct plain *plain_build(const struct input *in);
void plain_set(struct plain *p, uint32_t source, bool present);
uint32_t plain_terms(const struct plain *p);
struct word plain_term(const struct plain *p, uint32_t number);
uint32_t plain_present(const struct plain *p);
struct answer plain_lookup(const struct plain *p, struct word w);
struct answer plain_prefix(const struct plain *p, struct word prefix);
struct answer plain_kth(const struct plain *p, uint32_t k);
struct answer plain_both(const struct plain *p, struct word a, struct word b);
struct answer plain_source(const struct plain *p, uint32_t source);
struct answer plain_line(const struct plain *p, uint32_t source, uint32_t line);

/* --------------------------------------------------- the heap's types: index.c */

/** struct str - a string; noscan */
struct str {
	uint32_t len;
	char text[];
};

/** struct hits - the lines of one source in which a term occurs; noscan */
struct hits {
	uint32_t source;
	uint32_t n;
	uint32_t line[];
};

/**
 * struct term - a word of the index
 * @name: it
 * @hits: array of @nr_hits pointers, by source; replaced when a source comes or
 *	goes, so an old array may be read while a new one is made
 */
struct term {
	struct str *name;
	struct hits **hits;
	uint32_t nr_hits;
	uint32_t __pad;
	uint64_t hash;
};

/**
 * struct node - of the ordered dictionary; never changed once it is linked
 * @prio: a hash of the name: the tree's shape depends on its contents only
 * @size: nodes below and including this one
 */
struct node {
	struct node *left, *right;
	struct term *term;
	uint32_t prio;
	uint32_t size;
};

/** struct use - a term in a file, and how often; files have arrays of them */
struct use {
	struct term *term;
	uint64_t n;
};

/** struct file - an indexed source */
struct file {
	struct str *name;
	struct str **lines;
	struct use *uses;
	uint32_t nr_lines;
	uint32_t nr_uses;
	uint64_t words;
};

/** struct gather - a term of the source being indexed, and its lines so far */
struct gather {
	struct term *term;
	struct hits *hits;
};

/** struct entry - of a hash chain */
struct entry {
	struct entry *next;
	struct term *term;
};

struct table {
	struct entry **bucket;
	uint64_t nr_buckets;	/* a power of two */
	uint64_t nr_entries;
};

#define SNAPSHOTS	8

/**
 * struct index - everything; found through one ordinary global variable
 * @dictionary: of all terms
 * @snapshot: earlier dictionaries
 */
struct index {
	struct table *table;
	struct node *dictionary;
	struct file **files;
	struct node *snapshot[SNAPSHOTS];
	uint64_t nr_files, nr_lines;
};

/** struct heap - how the program allocates; not itself on the heap */
struct heap {
	struct gca_arena *arena;
	const struct gca_layout *pointer, *term, *node, *use, *file, *entry, *table, *gather;
};

extern struct heap heap;
extern _Thread_local struct gca_mutator *heap_m;	/* each thread has its own */

void heap_open(void);
void *heap_check(void *p);

struct index *index_new(const struct input *in);
void index_add(struct index *x, const struct input *in, uint32_t source);
void index_remove(struct index *x, uint32_t source);
void index_rebuild_table(struct index *x);
bool index_rebuild_dictionary(struct index *x);
void index_snapshot(struct index *x, unsigned int i);
struct answer index_lookup(struct index *x, struct word w);
struct answer index_prefix(struct index *x, struct word prefix);
struct answer index_kth(struct node *dictionary, uint32_t k);
struct answer index_both(struct index *x, struct word a, struct word b);
struct answer index_source(struct index *x, uint32_t source);
struct answer index_line(struct index *x, uint32_t source, uint32_t line);

/* --------------------------------------------------------------------- tree.c */

int word_compare(struct word a, struct word b);
struct node *tree_insert(struct node *root, struct term *t);
struct node *tree_remove(struct node *root, struct word name);
struct node *tree_build(struct term **sorted, uint32_t n);
struct term *tree_kth(const struct node *root, uint32_t k);
uint32_t tree_rank(const struct node *root, struct word name, bool prefix_above);
uint32_t tree_list(const struct node *root, struct term **out, uint32_t n);
bool tree_same(const struct node *a, const struct node *b);

static inline uint32_t tree_size(const struct node *n)
{
	return n ? n->size : 0;
}

static inline struct word str_word(const struct str *s)
{
	return (struct word){ s->text, s->len };
}

#endif /* GCA_DEMO_INDEXER_H */
