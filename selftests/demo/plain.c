// SPDX-License-Identifier: MIT
/*
 * plain.c: the demo's answers without the collector.
 *
 * Everything is computed once from the input, with malloc, qsort and bsearch,
 * into sorted arrays that never move again; a source that is taken out of the
 * index is a false in an array here.  So a query is a walk that skips what is
 * absent: slow, simple, and nothing like the index it checks.
 */
#include <stdlib.h>
#include <string.h>

#include "indexer.h"

#define BLOCK	512	/* terms that share a count, to find the k-th faster */

/** struct place - an occurrence */
struct place {
	uint32_t source, line;
};

/**
 * struct plain - the reference
 * @present: of each source
 * @term: the distinct words, sorted
 * @first: of each term, its first place; first[nr_terms] is the number of places
 * @place: sorted by term, source, line; a word twice in a line counts twice
 * @users: of each term, the present sources that contain it
 * @block: terms in use, by blocks of BLOCK
 * @used: of each source, its distinct terms: used[used_first[s]] and on
 */
struct plain {
	const struct input *in;
	bool *present;
	struct word *term;
	uint32_t nr_terms;
	uint32_t *first;
	struct place *place;
	uint32_t *users;
	uint32_t *block;
	uint32_t *used, *used_first;
	uint32_t nr_present;
};

static int compare(const void *a, const void *b)
{
	const struct word *x = a, *y = b;
	uint32_t n = x->len < y->len ? x->len : y->len;
	int c = memcmp(x->text, y->text, n);

	return c ? c : (x->len > y->len) - (x->len < y->len);
}

/* Interning first keeps the sort to distinct words: an open hash table. */
struct intern {
	struct word *word;
	uint32_t *id;
	uint32_t room, n;
};

static uint32_t intern(struct intern *t, struct word w)
{
	uint32_t i = hash_bytes(HASH_SEED, w.text, w.len) & (t->room - 1);

	while (t->id[i]) {
		struct word *v = &t->word[t->id[i] - 1];

		if (v->len == w.len && !memcmp(v->text, w.text, w.len))
			return t->id[i] - 1;
		i = (i + 1) & (t->room - 1);
	}
	t->word[t->n] = w;
	t->id[i] = ++t->n;
	return t->n - 1;
}

/** struct tagged - a word and its number before the sort */
struct tagged {
	struct word word;
	uint32_t id;
};

struct plain *plain_build(const struct input *in)
{
	struct plain *p = plain_alloc(sizeof(*p));
	struct intern t = { .room = 1024 };
	struct tagged *sorted;
	uint32_t *ids, *rank, *last, *next, i, n = 0, nr_used = 0;
	struct scan s;
	struct word w;

	while (t.room < 2 * in->nr_words)
		t.room *= 2;
	t.word = malloc(in->nr_words * sizeof(*t.word));
	t.id = calloc(t.room, sizeof(*t.id));
	ids = malloc(in->nr_words * sizeof(*ids));
	if (!t.word || !t.id || !ids)
		abort();
	for (i = 0; i < in->nr_sources; i++) {
		scan_begin(&s, &in->source[i]);
		while (scan_word(&s, &w))
			ids[n++] = intern(&t, w);
	}

	/* Renumber by order of name. */
	p->in = in;
	p->nr_terms = t.n;
	sorted = malloc(t.n * sizeof(*sorted));
	rank = malloc(t.n * sizeof(*rank));
	if (!sorted || !rank)
		abort();
	for (i = 0; i < t.n; i++)
		sorted[i] = (struct tagged){ t.word[i], i };
	qsort(sorted, t.n, sizeof(*sorted), compare);
	p->term = plain_alloc(t.n * sizeof(*p->term));
	for (i = 0; i < t.n; i++) {
		p->term[i] = sorted[i].word;
		rank[sorted[i].id] = i;
	}

	/* A counting sort of the places: they come in order of source and line. */
	p->first = plain_alloc((t.n + 1) * sizeof(*p->first));
	for (i = 0; i < n; i++) {
		ids[i] = rank[ids[i]];
		p->first[ids[i] + 1]++;
	}
	for (i = 0; i < t.n; i++)
		p->first[i + 1] += p->first[i];
	p->place = plain_alloc(n * sizeof(*p->place));
	p->used = plain_alloc(n * sizeof(*p->used));
	p->used_first = plain_alloc((in->nr_sources + 1) * sizeof(*p->used_first));
	next = malloc((t.n + 1) * sizeof(*next));
	last = calloc(t.n, sizeof(*last));
	if (!next || !last)
		abort();
	memcpy(next, p->first, (t.n + 1) * sizeof(*next));
	for (i = 0, n = 0; i < in->nr_sources; i++) {
		p->used_first[i] = nr_used;
		scan_begin(&s, &in->source[i]);
		while (scan_word(&s, &w)) {
			uint32_t id = ids[n++];

			p->place[next[id]++] = (struct place){ i, s.line };
			if (last[id] != i + 1) {
				last[id] = i + 1;
				p->used[nr_used++] = id;
			}
		}
	}
	p->used_first[i] = nr_used;
	p->present = plain_alloc(in->nr_sources * sizeof(*p->present));
	p->users = plain_alloc(t.n * sizeof(*p->users));
	p->block = plain_alloc((t.n / BLOCK + 1) * sizeof(*p->block));

	free(t.word);
	free(t.id);
	free(ids);
	free(sorted);
	free(rank);
	free(next);
	free(last);
	return p;
}

/** plain_set() - a source comes or goes */
void plain_set(struct plain *p, uint32_t source, bool present)
{
	uint32_t i;

	if (p->present[source] == present)
		return;
	p->present[source] = present;
	for (i = p->used_first[source]; i < p->used_first[source + 1]; i++) {
		uint32_t t = p->used[i];

		if (present && !p->users[t]++) {
			p->block[t / BLOCK]++;
			p->nr_present++;
		} else if (!present && !--p->users[t]) {
			p->block[t / BLOCK]--;
			p->nr_present--;
		}
	}
}

uint32_t plain_terms(const struct plain *p)
{
	return p->nr_terms;
}

struct word plain_term(const struct plain *p, uint32_t number)
{
	return p->term[number];
}

/** plain_present() - distinct words in the sources that are present */
uint32_t plain_present(const struct plain *p)
{
	return p->nr_present;
}

static struct word *find(const struct plain *p, struct word w)
{
	return bsearch(&w, p->term, p->nr_terms, sizeof(w), compare);
}

/** plain_lookup() - count: occurrences of a word; hash: of all its places */
struct answer plain_lookup(const struct plain *p, struct word w)
{
	struct answer a = { 0, HASH_SEED };
	struct word *found = find(p, w);
	uint32_t i, t;

	if (!found)
		return a;
	t = found - p->term;
	for (i = p->first[t]; i < p->first[t + 1]; i++) {
		if (!p->present[p->place[i].source])
			continue;
		a.count++;
		a.hash = hash_u64(a.hash, (uint64_t)p->place[i].source << 32 | p->place[i].line);
	}
	return a;
}

/** plain_prefix() - count: words that begin so; hash: of the first PREFIX_NAMES */
struct answer plain_prefix(const struct plain *p, struct word prefix)
{
	struct answer a = { 0, HASH_SEED };
	uint32_t lo = 0, hi = p->nr_terms;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (compare(&p->term[mid], &prefix) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < p->nr_terms; lo++) {
		struct word *w = &p->term[lo];

		if (w->len < prefix.len || memcmp(w->text, prefix.text, prefix.len))
			break;
		if (!p->users[lo])
			continue;
		if (a.count++ < PREFIX_NAMES)
			a.hash = hash_bytes(a.hash, w->text, w->len);
	}
	return a;
}

/** plain_kth() - count: 1 if there is a k-th word; hash: of it */
struct answer plain_kth(const struct plain *p, uint32_t k)
{
	uint32_t b = 0, t;

	if (k >= p->nr_present)
		return (struct answer){ 0, HASH_SEED };
	while (k >= p->block[b])
		k -= p->block[b++];
	for (t = b * BLOCK; ; t++) {
		if (p->users[t] && !k--)
			break;
	}
	return (struct answer){ 1, hash_bytes(HASH_SEED, p->term[t].text, p->term[t].len) };
}

static uint64_t place_key(const struct place *p)
{
	return (uint64_t)p->source << 32 | p->line;
}

/** plain_both() - count: lines that have both words; hash: of these lines */
struct answer plain_both(const struct plain *p, struct word a, struct word b)
{
	struct answer r = { 0, HASH_SEED };
	struct word *x = find(p, a), *y = find(p, b);
	const struct place *i, *j, *i_end, *j_end;

	if (!x || !y)
		return r;
	i = p->place + p->first[x - p->term];
	i_end = p->place + p->first[x - p->term + 1];
	j = p->place + p->first[y - p->term];
	j_end = p->place + p->first[y - p->term + 1];
	while (i < i_end && j < j_end) {
		uint64_t u = place_key(i), v = place_key(j);

		if (u < v) {
			i++;
		} else if (v < u) {
			j++;
		} else {
			if (p->present[i->source]) {
				r.count++;
				r.hash = hash_u64(r.hash, u);
			}
			while (i < i_end && place_key(i) == u)
				i++;
			while (j < j_end && place_key(j) == u)
				j++;
		}
	}
	return r;
}

/** plain_source() - count: words in a source; hash: how many are distinct */
struct answer plain_source(const struct plain *p, uint32_t source)
{
	struct answer a = { 0, HASH_SEED };
	struct scan s;
	struct word w;

	if (!p->present[source])
		return a;
	scan_begin(&s, &p->in->source[source]);
	while (scan_word(&s, &w))
		a.count++;
	a.hash = hash_u64(a.hash, p->used_first[source + 1] - p->used_first[source]);
	return a;
}

/** plain_line() - count: length of a line; hash: of its text */
struct answer plain_line(const struct plain *p, uint32_t source, uint32_t line)
{
	const struct source *src = &p->in->source[source];

	if (!p->present[source])
		return (struct answer){ 0, HASH_SEED };
	return (struct answer){ line_len(src, line),
				hash_bytes(HASH_SEED, src->line[line], line_len(src, line)) };
}
