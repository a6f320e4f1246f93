// SPDX-License-Identifier: MIT
/*
 * index.c: the demo's index, on the collected heap.
 *
 * A hash table finds a term by its name; a term has an array of hits, one for
 * each source that contains it; a dictionary (tree.c) has the terms in order; a
 * file has its lines as strings and the list of its terms.  Nothing is freed:
 * what is replaced is forgotten.
 *
 * How pointers are stored, throughout: into an object just allocated, whose
 * word is still zero, by assignment; over anything else by gca_store().
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "indexer.h"

#define TABLE_MIN	1024	/* buckets */
#define GATHER_MIN	64	/* slots of the table of a source's terms */
#define HITS_MIN	4	/* lines of a fresh struct hits */

struct heap heap;
_Thread_local struct gca_mutator *heap_m;

/* Every allocation of the demo passes here: there is no plan for a full arena. */
void *heap_check(void *p)
{
	if (!p) {
		fprintf(stderr, "indexer: %s\n", gca_strerror());
		exit(1);
	}
	return p;
}

void heap_open(void)
{
	static const uint64_t pointer = 1;

	heap.arena = heap_check(gca_open(NULL));
	heap_m = heap_check(gca_attach(heap.arena));
	heap.pointer = heap_check((void *)gca_layout(heap.arena, sizeof(void *), &pointer));
	heap.term = heap_check((void *)gca_layout_of(heap.arena, struct term, name, hits));
	heap.node = heap_check((void *)gca_layout_of(heap.arena, struct node, left, right, term));
	heap.use = heap_check((void *)gca_layout_of(heap.arena, struct use, term));
	heap.file = heap_check((void *)gca_layout_of(heap.arena, struct file, name, lines, uses));
	heap.entry = heap_check((void *)gca_layout_of(heap.arena, struct entry, next, term));
	heap.table = heap_check((void *)gca_layout_of(heap.arena, struct table, bucket));
	heap.gather = heap_check((void *)gca_layout_of(heap.arena, struct gather, term, hits));
}

static void *alloc(const struct gca_layout *layout)
{
	return heap_check(gca_alloc(heap_m, layout));
}

static void *alloc_array(const struct gca_layout *layout, size_t n)
{
	return heap_check(gca_alloc_array(heap_m, layout, n ? n : 1));
}

static void store(void *slot, const void *value)
{
	gca_store(heap_m, slot, value);
}

static struct str *str_new(const char *text, uint32_t len)
{
	struct str *s = heap_check(gca_alloc_noscan(heap_m, sizeof(*s) + len));

	s->len = len;
	memcpy(s->text, text, len);
	return s;
}

static bool str_is(const struct str *s, struct word w)
{
	return s->len == w.len && !memcmp(s->text, w.text, w.len);
}

/* FNV leaves its high bits poor; buckets take the low ones, priorities the high. */
static uint64_t word_hash(struct word w)
{
	uint64_t h = hash_bytes(HASH_SEED, w.text, w.len);

	return (h ^ h >> 32) * 0x9e3779b97f4a7c15ULL;
}

/* ----------------------------------------------------------------- hash table */

static struct table *table_new(uint64_t nr_buckets)
{
	struct table *t = alloc(heap.table);

	t->bucket = alloc_array(heap.pointer, nr_buckets);
	t->nr_buckets = nr_buckets;
	return t;
}

static struct entry **table_bucket(const struct table *t, uint64_t hash)
{
	return &t->bucket[hash & (t->nr_buckets - 1)];
}

static struct term *table_find(const struct table *t, struct word name, uint64_t hash)
{
	const struct entry *e;

	for (e = *table_bucket(t, hash); e; e = e->next)
		if (e->term->hash == hash && str_is(e->term->name, name))
			return e->term;
	return NULL;
}

/* Twice the buckets, or half; the entries stay and are linked anew. */
static void table_resize(struct table *t, uint64_t nr_buckets)
{
	struct entry **bucket = alloc_array(heap.pointer, nr_buckets);
	struct entry *e, *next, **to;
	uint64_t i;

	for (i = 0; i < t->nr_buckets; i++) {
		for (e = t->bucket[i]; e; e = next) {
			next = e->next;
			to = &bucket[e->term->hash & (nr_buckets - 1)];
			store(&e->next, *to);
			store(to, e);
		}
	}
	store(&t->bucket, bucket);
	t->nr_buckets = nr_buckets;
}

static void table_insert(struct table *t, struct term *term)
{
	struct entry *e = alloc(heap.entry), **b;

	if (t->nr_entries >= t->nr_buckets)
		table_resize(t, 2 * t->nr_buckets);
	b = table_bucket(t, term->hash);
	e->term = term;
	e->next = *b;
	store(b, e);
	t->nr_entries++;
}

static void table_remove(struct table *t, const struct term *term)
{
	struct entry **slot = table_bucket(t, term->hash);

	while ((*slot)->term != term)
		slot = &(*slot)->next;
	store(slot, (*slot)->next);
	t->nr_entries--;
	if (t->nr_buckets > TABLE_MIN && t->nr_entries < t->nr_buckets / 4)
		table_resize(t, t->nr_buckets / 2);
}

/** index_rebuild_table() - the same table of new entries; the old one is garbage */
void index_rebuild_table(struct index *x)
{
	struct table *old = x->table, *fresh = table_new(TABLE_MIN);
	const struct entry *e;
	uint64_t i;

	for (i = 0; i < old->nr_buckets; i++)
		for (e = old->bucket[i]; e; e = e->next)
			table_insert(fresh, e->term);
	store(&x->table, fresh);
}

/* ------------------------------------------------------------------ dictionary */

/** index_rebuild_dictionary() - anew from its terms; must come out the same */
bool index_rebuild_dictionary(struct index *x)
{
	uint32_t n = tree_size(x->dictionary);
	struct term **sorted = alloc_array(heap.pointer, n);
	struct node *fresh;
	bool same;

	tree_list(x->dictionary, sorted, 0);
	fresh = tree_build(sorted, n);
	same = tree_same(fresh, x->dictionary);
	store(&x->dictionary, fresh);
	return same;
}

/** index_snapshot() - keep today's dictionary; the one kept at @i is forgotten */
void index_snapshot(struct index *x, unsigned int i)
{
	store(&x->snapshot[i], x->dictionary);
}

/* ----------------------------------------------------------------------- terms */

/* The first of @t's hits that is not below @source. */
static uint32_t hits_position(const struct term *t, uint32_t source)
{
	uint32_t lo = 0, hi = t->nr_hits;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (t->hits[mid]->source < source)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void term_add_hits(struct index *x, struct term *t, struct hits *h)
{
	struct hits **hits = alloc_array(heap.pointer, t->nr_hits + 1);
	uint32_t at = hits_position(t, h->source), i;

	for (i = 0; i < at; i++)
		hits[i] = t->hits[i];
	hits[at] = h;
	for (; i < t->nr_hits; i++)
		hits[i + 1] = t->hits[i];
	store(&t->hits, hits);
	if (!t->nr_hits++)
		store(&x->dictionary, tree_insert(x->dictionary, t));
}

static void term_remove_hits(struct index *x, struct term *t, uint32_t source)
{
	uint32_t at = hits_position(t, source), i;
	struct hits **hits;

	if (t->nr_hits == 1) {
		store(&t->hits, NULL);
		t->nr_hits = 0;
		table_remove(x->table, t);
		store(&x->dictionary, tree_remove(x->dictionary, str_word(t->name)));
		return;
	}
	hits = alloc_array(heap.pointer, t->nr_hits - 1);
	for (i = 0; i < at; i++)
		hits[i] = t->hits[i];
	for (i++; i < t->nr_hits; i++)
		hits[i - 1] = t->hits[i];
	store(&t->hits, hits);
	t->nr_hits--;
}

/* The term of this name; made if there is none. */
static struct term *term_get(struct index *x, struct word name)
{
	uint64_t hash = word_hash(name);
	struct term *t = table_find(x->table, name, hash);

	if (t)
		return t;
	t = alloc(heap.term);
	t->name = str_new(name.text, name.len);
	t->hash = hash;
	table_insert(x->table, t);
	return t;
}

/* --------------------------------------------------------------------- sources */

static struct hits *hits_new(uint32_t source, uint32_t room)
{
	struct hits *h = heap_check(gca_alloc_noscan(heap_m,
				sizeof(*h) + room * sizeof(h->line[0])));

	h->source = source;
	return h;
}

static struct hits *hits_copy(const struct hits *h, uint32_t room)
{
	struct hits *copy = hits_new(h->source, room);

	copy->n = h->n;
	memcpy(copy->line, h->line, h->n * sizeof(h->line[0]));
	return copy;
}

/* While gathering, the room of a struct hits is the power of two from HITS_MIN on. */
static bool hits_full(const struct hits *h)
{
	return h->n >= HITS_MIN && !(h->n & (h->n - 1));
}

/* An open hash table from terms to their lines; objects never move. */
struct gathered {
	struct gather *slot;
	uint32_t room, n;
};

static struct gather *gather_slot(struct gather *slot, uint32_t room, const struct term *t)
{
	uint32_t i = t->hash & (room - 1);

	while (slot[i].term && slot[i].term != t)
		i = (i + 1) & (room - 1);
	return &slot[i];
}

static void gather_line(struct gathered *g, struct term *t, uint32_t source, uint32_t line)
{
	struct gather *s = gather_slot(g->slot, g->room, t);
	uint32_t i;

	if (!s->term) {
		if (2 * ++g->n > g->room) {
			struct gather *bigger = alloc_array(heap.gather, 2 * g->room);

			for (i = 0; i < g->room; i++) {
				if (!g->slot[i].term)
					continue;
				s = gather_slot(bigger, 2 * g->room, g->slot[i].term);
				s->term = g->slot[i].term;
				s->hits = g->slot[i].hits;
			}
			g->slot = bigger;
			g->room *= 2;
			s = gather_slot(bigger, g->room, t);
		}
		s->term = t;
		s->hits = hits_new(source, HITS_MIN);
	} else if (hits_full(s->hits)) {
		store(&s->hits, hits_copy(s->hits, 2 * s->hits->n));
	}
	s->hits->line[s->hits->n++] = line;
}

/** index_add() - index a source that is absent */
void index_add(struct index *x, const struct input *in, uint32_t source)
{
	const struct source *src = &in->source[source];
	struct file *f = alloc(heap.file);
	struct gathered g = { .room = GATHER_MIN };
	uint32_t i, n = 0;
	struct scan s;
	struct word w;

	f->name = str_new(src->name, strlen(src->name));
	f->nr_lines = src->nr_lines;
	f->lines = alloc_array(heap.pointer, src->nr_lines);
	for (i = 0; i < src->nr_lines; i++)
		f->lines[i] = str_new(src->line[i], line_len(src, i));

	g.slot = alloc_array(heap.gather, g.room);
	scan_begin(&s, src);
	while (scan_word(&s, &w)) {
		gather_line(&g, term_get(x, w), source, s.line);
		f->words++;
	}

	f->nr_uses = g.n;
	f->uses = alloc_array(heap.use, g.n);
	for (i = 0; i < g.room; i++) {
		struct gather *slot = &g.slot[i];

		if (!slot->term)
			continue;
		f->uses[n].term = slot->term;
		f->uses[n++].n = slot->hits->n;
		term_add_hits(x, slot->term, hits_copy(slot->hits, slot->hits->n));
	}
	store(&x->files[source], f);
	x->nr_files++;
	x->nr_lines += f->nr_lines;
}

/** index_remove() - forget a source, and the terms that no other one has */
void index_remove(struct index *x, uint32_t source)
{
	struct file *f = x->files[source];
	uint32_t i;

	store(&x->files[source], NULL);
	for (i = 0; i < f->nr_uses; i++)
		term_remove_hits(x, f->uses[i].term, source);
	x->nr_files--;
	x->nr_lines -= f->nr_lines;
}

/** index_new() - an empty index, the one object of the demo without a layout */
struct index *index_new(const struct input *in)
{
	struct index *x = heap_check(gca_alloc_conservative(heap_m, sizeof(*x)));

	x->table = table_new(TABLE_MIN);
	x->files = alloc_array(heap.pointer, in->nr_sources);
	return x;
}

/* --------------------------------------------------------------------- queries
 *
 * What each means is said at its twin in plain.c.
 */

struct answer index_lookup(struct index *x, struct word w)
{
	const struct term *t = table_find(x->table, w, word_hash(w));
	struct answer a = { 0, HASH_SEED };
	uint32_t i, j;

	for (i = 0; t && i < t->nr_hits; i++) {
		const struct hits *h = t->hits[i];

		a.count += h->n;
		for (j = 0; j < h->n; j++)
			a.hash = hash_u64(a.hash, (uint64_t)h->source << 32 | h->line[j]);
	}
	return a;
}

struct answer index_prefix(struct index *x, struct word prefix)
{
	uint32_t first = tree_rank(x->dictionary, prefix, false);
	uint32_t end = tree_rank(x->dictionary, prefix, true), i;
	struct answer a = { end - first, HASH_SEED };

	for (i = first; i < end && i < first + PREFIX_NAMES; i++) {
		const struct str *s = tree_kth(x->dictionary, i)->name;

		a.hash = hash_bytes(a.hash, s->text, s->len);
	}
	return a;
}

struct answer index_kth(struct node *dictionary, uint32_t k)
{
	const struct term *t = tree_kth(dictionary, k);

	if (!t)
		return (struct answer){ 0, HASH_SEED };
	return (struct answer){ 1, hash_bytes(HASH_SEED, t->name->text, t->name->len) };
}

static void hits_both(const struct hits *a, const struct hits *b, struct answer *r)
{
	uint32_t i = 0, j = 0;

	while (i < a->n && j < b->n) {
		uint32_t line = a->line[i];

		if (line < b->line[j]) {
			i++;
		} else if (line > b->line[j]) {
			j++;
		} else {
			r->count++;
			r->hash = hash_u64(r->hash, (uint64_t)a->source << 32 | line);
			while (i < a->n && a->line[i] == line)
				i++;
			while (j < b->n && b->line[j] == line)
				j++;
		}
	}
}

struct answer index_both(struct index *x, struct word a, struct word b)
{
	const struct term *t = table_find(x->table, a, word_hash(a));
	const struct term *u = table_find(x->table, b, word_hash(b));
	struct answer r = { 0, HASH_SEED };
	uint32_t i = 0, j = 0;

	while (t && u && i < t->nr_hits && j < u->nr_hits) {
		const struct hits *h = t->hits[i], *k = u->hits[j];

		if (h->source == k->source)
			hits_both(h, k, &r);
		i += h->source <= k->source;
		j += k->source <= h->source;
	}
	return r;
}

struct answer index_source(struct index *x, uint32_t source)
{
	const struct file *f = x->files[source];
	struct answer a = { 0, HASH_SEED };
	uint32_t i;

	if (!f)
		return a;
	for (i = 0; i < f->nr_uses; i++)
		a.count += f->uses[i].n;
	a.hash = hash_u64(a.hash, f->nr_uses);
	return a;
}

struct answer index_line(struct index *x, uint32_t source, uint32_t line)
{
	const struct file *f = x->files[source];

	if (!f)
		return (struct answer){ 0, HASH_SEED };
	return (struct answer){ f->lines[line]->len,
				hash_bytes(HASH_SEED, f->lines[line]->text, f->lines[line]->len) };
}
