// SPDX-License-Identifier: MIT
/*
 * test_find.c: gca_find() for every byte of every kind of span, and for words
 * that are nothing.
 *
 * The oracle is a list of the spans that were handed out, from which the answer
 * is computed by ordinary division.
 */
#include "world.h"

struct place {
	u64 start, bytes;	/* of the span */
	u32 size, nelems;	/* of its slots */
};

static struct place place[1024];
static u32 nr_places;

/* What must gca_find() say? */
static bool expected(struct world *w, u64 word, struct gca_ref *r)
{
	u32 i;

	for (i = 0; i < nr_places; i++) {
		const struct place *p = &place[i];

		if (word < p->start || word - p->start >= p->bytes)
			continue;
		r->index = (word - p->start) / p->size;
		r->head = (p->start - w->a.base) / GCARENA_PAGE_SIZE;
		r->off = p->start - w->a.base + (u64)r->index * p->size;
		return r->index < p->nelems;
	}
	return false;
}

static void check_word(struct world *w, u64 word)
{
	struct gca_ref got, want = {};
	bool found = gca_find(&w->a, word, &got);

	if (found != expected(w, word, &want))
		fail_msg("%#llx: found %d", (unsigned long long)word, found);
	if (found && (got.head != want.head || got.index != want.index || got.off != want.off))
		fail_msg("%#llx: head %u index %u off %#llx, not %u %u %#llx",
			 (unsigned long long)word, got.head, got.index, (unsigned long long)got.off,
			 want.head, want.index, (unsigned long long)want.off);
}

static void add_small(struct world *w, u32 c, u32 kind)
{
	u32 sc = GCARENA_SPAN_CLASS(c, kind), n = 1, slot;
	struct place *p = &place[nr_places++];

	assert_true(nr_places < ARRAY_SIZE(place));
	assert_int_equal(gca_refill(&w->m, sc, &n), 0);
	slot = w->sh->current_slot[sc];
	p->start = w->sh->slot[slot].base;
	p->size = w->sh->slot[slot].elem_size;
	p->nelems = w->sh->slot[slot].nelems;
	p->bytes = gca_class_pages[c] * GCARENA_PAGE_SIZE;
}

static void add_large(struct world *w, u64 bytes, u32 kind)
{
	struct place *p = &place[nr_places++];
	u32 flags;

	assert_int_equal(gca_large(&w->m, bytes, kind, 0, &p->start, &flags), 0);
	p->bytes = ALIGN(bytes, GCARENA_PAGE_SIZE);
	p->size = p->bytes;
	p->nelems = 1;
}

static struct world *populate(void)
{
	struct world *w = world_open(256 * MIB, 0, 1);
	u64 bits = 1;
	u32 c, kind;

	nr_places = 0;
	world_layout(w, 1, &bits);
	for (c = 0; c < GCARENA_NR_SIZES; c++)
		for (kind = 0; kind < GCARENA_NR_KINDS; kind++)
			add_small(w, c, kind);
	for (kind = 0; kind < GCARENA_NR_KINDS; kind++) {
		add_large(w, 32769, kind);
		add_large(w, GCA_CHUNK_SIZE, kind);
		/* more than two chunks: one wholly inside */
		add_large(w, 2 * GCA_CHUNK_SIZE + 123456, kind);
	}
	return w;
}

static void test_every_byte(void **state)
{
	struct world *w = populate();
	struct gca_ref r;
	u32 i;
	u64 o;

	for (i = 0; i < nr_places; i++) {
		const struct place *p = &place[i];
		u64 head = (p->start - w->a.base) / GCARENA_PAGE_SIZE, rest = 0, index = 0;

		for (o = 0; o < p->bytes; o++) {
			bool found = gca_find(&w->a, p->start + o, &r);

			if (found != (index < p->nelems))
				fail_msg("byte %llu of span %u: found %d", (unsigned long long)o, i,
					 found);
			if (found && (r.head != head || r.index != index ||
				      r.off != p->start - w->a.base + index * p->size))
				fail_msg("byte %llu of span %u", (unsigned long long)o, i);
			if (++rest == p->size) {
				rest = 0;
				index++;
			}
		}
	}
	world_close(w);
}

static void test_outside(void **state)
{
	struct world *w = populate();
	u64 base = w->a.base, end = base + w->a.size, k;

	for (k = 0; k < 70; k++) {
		u64 words[] = { base - 1 - k, end + k, k, ~k, base + (k << 58), 1ULL << (k & 63),
				base | 1ULL << (k & 63), base - (1ULL << (k & 63)),
				end + (1ULL << (k & 63)), base ^ 1ULL << 63 };
		u32 i;

		for (i = 0; i < ARRAY_SIZE(words); i++)
			if (words[i] < base || words[i] >= end) {
				struct gca_ref r;

				assert_false(gca_find(&w->a, words[i], &r));
			}
	}
	world_close(w);
}

/* Every page of the reservation: in a span or free. */
static void test_every_page(void **state)
{
	struct world *w = populate();
	u64 page;

	for (page = w->a.base; page < w->a.base + w->a.size; page += GCARENA_PAGE_SIZE) {
		check_word(w, page);
		check_word(w, page + 1);
		check_word(w, page + GCARENA_PAGE_SIZE / 2);
		check_word(w, page + GCARENA_PAGE_SIZE - 1);
	}
	world_close(w);
}

static void test_random_words(void **state)
{
	struct world *w = populate();
	u32 i;

	print_message("seed %llu\n", (unsigned long long)w->seed);
	for (i = 0; i < 300000; i++) {
		check_word(w, world_rnd(w));
		check_word(w, w->a.base + world_below(w, w->a.size));
		check_word(w, place[world_below(w, nr_places)].start - 8 + world_below(w, 16));
	}
	world_close(w);
}

/* After spans are freed nothing of them is found, nor of the stand-ins. */
static void test_freed(void **state)
{
	struct world *w = populate();
	u64 addr;
	u32 i;

	world_detach(w);
	world_collect(w);
	assert_int_equal(w->a.heap.inuse, 0);
	i = nr_places;
	nr_places = 0;
	while (i--)
		for (addr = 0; addr < place[i].bytes; addr += 4096)
			check_word(w, place[i].start + addr);
	/* and pages used again, cut otherwise, are found as what they are now */
	add_large(w, 5 * GCA_CHUNK_SIZE, GCARENA_NOSCAN);
	for (addr = w->a.base; addr < w->a.base + w->a.size; addr += 3000)
		check_word(w, addr);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_outside),
		cmocka_unit_test(test_every_page),
		cmocka_unit_test(test_random_words),
		cmocka_unit_test(test_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
