// SPDX-License-Identifier: MIT
/*
 * test_sizeclass.c: the size-class table is derived a second time, from the
 * sentences in sizeclass.c, and compared; waste and division are checked for
 * every request and every offset.
 */
#include "mark.h"
#include "world.h"

#define PAGE	GCARENA_PAGE_SIZE

static const struct { u32 size, pages; } listed[] = {
#define ROW(size_, pages_) { size_, pages_ },
	GCARENA_SIZE_CLASSES(ROW)
};

/* The least number of pages whose tail is at most 1/16 of the span. */
static u32 derive_pages(u32 size)
{
	u32 pages = DIV_ROUND_UP(size, PAGE);

	if (size <= GCARENA_BITMAP_MAX)
		return 1;
	while (pages * PAGE % size * 16 > pages * PAGE)
		pages++;
	return pages;
}

static void test_table(void **state)
{
	u32 n = 0, size = GCARENA_MIN_SLOT;

	while (size <= GCARENA_SMALL_MAX) {
		assert_true(n < GCARENA_NR_SIZES);
		assert_int_equal(listed[n].size, size);
		assert_int_equal(listed[n].pages, derive_pages(size));
		assert_int_equal(gca_class_pages[n], derive_pages(size));
		n++;
		/* every 8 bytes up to 128, then eight classes a doubling */
		size += size < 128 ? 8 : (1U << (31 - __builtin_clz(size))) / 8;
	}
	assert_int_equal(n, GCARENA_NR_SIZES);
	assert_int_equal(ARRAY_SIZE(listed), GCARENA_NR_SIZES);
}

static void test_class_of_every_size(void **state)
{
	u32 bytes, c = 0;

	for (bytes = 1; bytes <= GCARENA_SMALL_MAX; bytes++) {
		while (listed[c].size < bytes)
			c++;
		assert_int_equal(gca_size_class(bytes), c);
	}
	assert_int_equal(c, GCARENA_NR_SIZES - 1);
}

static void test_waste(void **state)
{
	u32 bytes, c, kind;

	for (bytes = 57; bytes <= GCARENA_SMALL_MAX; bytes++) {
		u32 size = listed[gca_size_class(bytes)].size;

		assert_true((size - bytes) * 8 <= size);
	}
	for (c = 0; c < GCARENA_NR_SIZES; c++) {
		u32 span = listed[c].pages * PAGE;

		for (kind = 0; kind < GCARENA_NR_KINDS; kind++) {
			const struct gca_class *k = &gca_class[GCARENA_SPAN_CLASS(c, kind)];
			u32 room = span;

			/* the bitmap lies in the tail, no slot may reach into it */
			if (kind == GCARENA_PRECISE && listed[c].size <= GCARENA_BITMAP_MAX)
				room -= GCARENA_BITMAP_BYTES;
			assert_int_equal(k->size, listed[c].size);
			assert_int_equal(k->nelems, room / k->size);
			assert_true(k->nelems <= GCA_MAX_NELEMS);
			assert_true((room - k->nelems * k->size) * 16 <= span);
		}
		/* kind 3 does not exist: no slot is ever found in it */
		assert_int_equal(gca_class[GCARENA_SPAN_CLASS(c, 3)].nelems, 0);
	}
	assert_true(GCARENA_BITMAP_BYTES * 8 >= PAGE / 8);
}

/* What an entry says of its object. */
static void test_entry(void **state)
{
	u32 c, kind, i;

	for (c = 0; c < GCARENA_NR_SIZES; c++) {
		assert_int_equal(gca_class[GCARENA_SPAN_CLASS(c, GCARENA_NOSCAN)].entry, 0);
		for (kind = 1; kind < GCARENA_NR_KINDS; kind++) {
			const struct gca_class *k = &gca_class[GCARENA_SPAN_CLASS(c, kind)];
			u64 e = gca_entry((1ULL << 40) - 8, GCARENA_SPAN_CLASS(c, kind));
			bool small = k->size <= GCARENA_BITMAP_MAX;
			bool tail = small && kind == GCARENA_PRECISE;

			assert_true(gca_entry_off(e) == (1ULL << 40) - 8);
			assert_int_equal(gca_entry_words(e), k->size / 8);
			assert_int_equal(gca_entry_kind(e), kind);
			assert_int_equal(!!(e & GCA_ENTRY_SMALL), small);
			assert_int_equal(!!(e & GCA_ENTRY_TAIL), tail);
			assert_false(e & GCA_ENTRY_CHAINED);
			if (small)
				assert_int_equal(e % 64, (64 - k->size / 8) & 63);
			for (i = 0; tail && i < k->nelems; i++)
				if (i * k->size / 8 % 64 + k->size / 8 > 64)
					assert_true(e & GCA_ENTRY_SPLIT);
		}
	}
	for (kind = 0; kind < GCARENA_NR_KINDS; kind++) {
		u64 e = gca_entry(8192, GCARENA_SPAN_CLASS(GCA_CLASS_LARGE, kind));

		assert_int_equal(gca_entry_words(e), 0);
		assert_int_equal(gca_entry_kind(e), kind);
		assert_int_equal(e & (GCA_ENTRY_SMALL | GCA_ENTRY_TAIL | GCA_ENTRY_CHAINED), 0);
	}
}

/* Large spans have one slot; the unused rest of the table has none. */
static void test_rest_of_table(void **state)
{
	u32 sc, large = GCARENA_SPAN_CLASS(GCA_CLASS_LARGE, 0);

	for (sc = GCARENA_NR_SPAN_CLASSES; sc < GCA_NR_PAGE_CLASSES; sc++) {
		bool is_large = sc >= large && sc - large < GCARENA_NR_KINDS;

		assert_int_equal(gca_class[sc].nelems, is_large);
		assert_int_equal(gca_class[sc].size, 0);
		assert_int_equal(gca_class[sc].magic, 0);
	}
	assert_true(GCARENA_NR_SIZES <= GCA_CLASS_LARGE);
	assert_true(GCARENA_SPAN_CLASS(GCA_CLASS_LARGE, 3) <= GCA_PW_CLASS_MASK);
}

static void test_division(void **state)
{
	u32 c, kind;
	u64 off;

	for (c = 0; c < GCARENA_NR_SIZES; c++)
		for (kind = 0; kind < GCARENA_NR_KINDS; kind++) {
			const struct gca_class *k = &gca_class[GCARENA_SPAN_CLASS(c, kind)];
			u64 quotient = 0, rest = 0;

			for (off = 0; off < listed[c].pages * PAGE; off++) {
				if ((off * k->magic) >> 32 != quotient)
					fail_msg("%llu / %u", (unsigned long long)off, k->size);
				if (++rest == k->size) {
					rest = 0;
					quotient++;
				}
			}
		}
}

/* Every field of a page word comes back, at its limits. */
static void test_page_word(void **state)
{
	static const u32 head[] = { 0, 1, 511, 512, 1U << 26, GCA_PW_HEAD_MASK };
	static const u32 index[] = { 0, 1, 255, 256, 511, 512 };
	u32 sc, h, b, s;

	for (sc = 0; sc < GCA_NR_PAGE_CLASSES; sc++)
		for (h = 0; h < ARRAY_SIZE(head); h++)
			for (b = 0; b < ARRAY_SIZE(index); b++)
				for (s = b; s < ARRAY_SIZE(index); s++) {
					u64 pw = gca_pw_make(head[h], sc, index[b], index[s]);

					assert_true(pw & GCA_PW_INUSE);
					assert_false(pw & GCA_PW_INTERIOR);
					assert_int_equal(gca_pw_class(pw), sc);
					assert_int_equal(gca_pw_kind(pw), sc % 4);
					assert_int_equal(gca_pw_large(pw), sc / 4 == GCA_CLASS_LARGE);
					assert_int_equal(gca_pw_head(pw), head[h]);
					assert_int_equal(gca_pw_base(pw), index[b]);
					assert_int_equal(gca_pw_snap(pw), index[s]);
				}
}

/* All pairs of bounds, all words. */
static void test_range_mask(void **state)
{
	u32 lo, hi, w, i;

	for (lo = 0; lo <= GCA_MAX_NELEMS; lo++)
		for (hi = 0; hi <= GCA_MAX_NELEMS; hi += 1 + (hi % 64 > 2 && hi % 64 < 60) * 3)
			for (w = 0; w < GCA_BIT_WORDS; w++) {
				u64 want = 0;

				for (i = max(lo, 64 * w); i < min(hi, 64 * w + 64); i++)
					want |= 1ULL << (i - 64 * w);
				if (gca_range_mask(lo, hi, w) != want)
					fail_msg("mask of [%u, %u) word %u", lo, hi, w);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_class_of_every_size),
		cmocka_unit_test(test_waste),
		cmocka_unit_test(test_entry),
		cmocka_unit_test(test_rest_of_table),
		cmocka_unit_test(test_division),
		cmocka_unit_test(test_page_word),
		cmocka_unit_test(test_range_mask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
