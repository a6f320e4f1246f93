// SPDX-License-Identifier: MIT
/*
 * test_pageheap.c: the page heap against a shadow that has one byte a page.
 *
 * After each of many random operations the shadow says which free runs there
 * must be, and the bins are walked to see that they are exactly these: so
 * nothing overlaps, everything that can coalesce has, and no page forgets
 * whether it is clean.  Then the limits: 1 TiB, cost at millions of pages,
 * metadata for each size and kind.
 */
#include <time.h>

#include "world.h"

enum { CLEAN, DIRTY, USED, AWAY };	/* of a page */

static u8 *shadow;
static u32 npages;

struct live {
	struct gca_span *s;	/* or NULL: lent to SERVE */
	u32 page, npages;
};

static struct live live[4096];
static u32 nr_live, mixed;

static int pages_alloc(struct world *w, u32 n, struct gca_span **s)
{
	struct gca_need need = {};
	int err;

	do {
		err = gca_pages_alloc(&w->a, n, GCARENA_SPAN_CLASS(GCA_CLASS_LARGE, 0), 1, 0,
				      &need, s);
		if (err == -EAGAIN)
			err = gca_chunk_grow(&w->a, &need) ?: -EAGAIN;
	} while (err == -EAGAIN);
	gca_need_drop(&w->a, &need);
	if (!err) {
		(*s)->bytes = (u64)n << GCARENA_PAGE_SHIFT;
		(*s)->free = 1;
	}
	return err;
}

static void pages_free(struct world *w, struct gca_span *s)
{
	gca_pages_free(&w->a, s);
	gca_inner_reap(&w->a);
}

/* Length of the maximal run of one sort of free pages at @page; 0: not free. */
static u32 run_at(u32 page)
{
	u32 end = page;

	if (shadow[page] > DIRTY)
		return 0;
	while (end < npages && shadow[end] == shadow[page])
		end++;
	return end - page;
}

static u32 count_bins(struct world *w, struct gca_bins *b, u8 sort)
{
	u32 f, i, k, runs = 0;
	struct gca_span *s;

	for (f = 0; f < GCA_FL; f++) {
		assert_int_equal(b->fl >> f & 1, b->sl[f] != 0);
		for (i = 0; i < GCA_SL; i++) {
			assert_int_equal(b->sl[f] >> i & 1, !list_empty(&b->list[f][i]));
			list_for_each_entry(s, &b->list[f][i], link) {
				assert_int_equal(s->state, GCA_SPAN_FREE);
				assert_int_equal(s->dirty, sort);
				assert_true(s->page + s->npages <= npages);
				for (k = 0; k < s->npages; k++)
					assert_int_equal(shadow[s->page + k], sort);
				/* maximal */
				assert_true(!s->page || shadow[s->page - 1] != sort);
				assert_int_equal(run_at(s->page), s->npages);
				runs++;
			}
		}
	}
	return runs;
}

static void check(struct world *w)
{
	u32 page, n[4] = {}, runs[2] = {};

	for (page = 0; page < npages; page++) {
		n[shadow[page]]++;
		if (shadow[page] <= DIRTY && (!page || shadow[page - 1] != shadow[page]))
			runs[shadow[page]]++;
		assert_int_equal(*gca_pw(&w->a, page) & GCA_PW_INUSE, shadow[page] == USED);
	}
	assert_int_equal(count_bins(w, &w->a.heap.clean, CLEAN), runs[CLEAN]);
	assert_int_equal(count_bins(w, &w->a.heap.dirty, DIRTY), runs[DIRTY]);
	assert_int_equal(w->a.heap.free_dirty, n[DIRTY]);
	assert_int_equal(w->a.heap.inuse, n[USED]);
	assert_int_equal(w->a.heap.returning, n[AWAY]);
}

/* The longest run of free pages: of one sort, of both. */
static void longest(u32 *one, u32 *both)
{
	u32 page, run, row = 0;

	*one = 0;
	*both = 0;
	for (page = 0; page < npages; page += run ?: 1) {
		run = run_at(page);
		row = run ? row + run : 0;
		*one = max(*one, run);
		*both = max(*both, row);
	}
}

static void do_alloc(struct world *w, u32 n)
{
	struct gca_span *s;
	u32 k, dirty = 0, one, both;

	longest(&one, &both);
	if (pages_alloc(w, n, &s)) {
		assert_true(both < n);
		return;
	}
	assert_true(both >= n);
	for (k = 0; k < n; k++) {
		assert_true(shadow[s->page + k] <= DIRTY);
		dirty += shadow[s->page + k] == DIRTY;
		shadow[s->page + k] = USED;
	}
	/* dirty or clean as a whole if that can be, and it says so */
	assert_int_equal(!!dirty, s->dirty);
	assert_true(one < n || dirty == 0 || dirty == n);
	mixed += dirty && dirty != n;
	assert_int_equal(s->npages, n);
	live[nr_live++] = (struct live) { s, s->page, n };
}

static void do_free(struct world *w, u32 i)
{
	struct live l = live[i];

	live[i] = live[--nr_live];
	if (l.s) {
		pages_free(w, l.s);
		memset(shadow + l.page, DIRTY, l.npages);
	} else {
		gca_pages_put_clean(&w->a, l.page, l.npages);
		memset(shadow + l.page, CLEAN, l.npages);
	}
}

static u32 first_taken(struct world *w)
{
	const struct gca_bins *b = &w->a.heap.dirty;
	unsigned int f, i;

	if (!b->fl)
		return 0;
	f = fls64(b->fl) - 1;
	i = fls64(b->sl[f]) - 1;
	return list_first_entry(&b->list[f][i], struct gca_span, link)->npages;
}

static void do_take(struct world *w, u32 min_pages, u32 room, u32 keep, bool breaks)
{
	struct gcarena_run runs[8];
	u32 n, i, before = w->a.heap.free_dirty;
	bool whole = false;

	n = gca_pages_take_dirty(&w->a, min_pages, runs, room, keep, breaks);
	assert_true(n <= room);
	assert_true(!n || before > keep);
	for (i = 0; i < n; i++) {
		u32 page = (runs[i].start - w->a.base) >> GCARENA_PAGE_SHIFT, k;
		u32 len = runs[i].len >> GCARENA_PAGE_SHIFT;

		assert_true(len >= min_pages);
		whole |= len > GCA_CHUNK_PAGES;	/* too long to be cut */
		for (k = 0; k < len; k++) {
			assert_int_equal(shadow[page + k], DIRTY);
			shadow[page + k] = AWAY;
		}
		live[nr_live++] = (struct live) { NULL, page, len };
	}
	/* not more than asked for, but for the last run's least length */
	assert_true(!n || whole || w->a.heap.free_dirty + min_pages > keep);
	/* and, where it must be, as much as asked for, if there are runs to be had */
	assert_true(!breaks || n == room || w->a.heap.free_dirty <= keep || first_taken(w) < min_pages);
}

static void random_ops(u64 seed, u32 ops, u32 max_log)
{
	struct world *w = world_open(64 * MIB, 0, seed);
	u32 i, n;

	print_message("seed %llu\n", (unsigned long long)seed);
	npages = w->reserve >> GCARENA_PAGE_SHIFT;
	shadow = test_calloc(1, npages);
	nr_live = 0;
	for (i = 0; i < ops; i++) {
		u32 fill = nr_live ? world_below(w, 100) : 0;
		/* phases of growth and of decay */
		u32 grow = i / 500 % 2 ? 35 : 60;

		if (fill < grow && nr_live < ARRAY_SIZE(live) - 8) {
			n = 1 + world_below(w, 1U << world_below(w, max_log + 1));
			do_alloc(w, min(n, npages));
		} else if (fill < 92) {
			do_free(w, world_below(w, nr_live));
		} else {
			do_take(w, 1 + world_below(w, 16), world_below(w, 8),
				world_below(w, npages / 4), world_below(w, 2));
		}
		if (i % 16 == 0)
			check(w);
	}
	while (nr_live)
		do_free(w, nr_live - 1);
	check(w);
	/* all of it away and back: the reservation is one clean run again */
	while (w->a.heap.free_dirty)
		do_take(w, 1, 8, 0, true);
	while (nr_live)
		do_free(w, nr_live - 1);
	check(w);
	assert_int_equal(run_at(0), npages);
	do_alloc(w, npages);
	assert_int_equal(nr_live, 1);
	do_alloc(w, 1);
	assert_int_equal(nr_live, 1);
	do_free(w, 0);
	test_free(shadow);
	world_close(w);
}

static void test_random_small(void **state)
{
	u64 seed;

	for (seed = 1; seed <= 4; seed++)
		random_ops(seed, 4000, 6);
}

static void test_random_large(void **state)
{
	u64 seed;

	mixed = 0;
	for (seed = 11; seed <= 16; seed++)
		random_ops(seed, 3000, 13);
	assert_true(mixed > 50);	/* spans over both sorts */
}

/* Everything is taken; then pages [page, page + n) are freed, as dirty or clean ones. */
static void give(struct world *w, struct gca_span **one, u32 page, u32 n, bool clean)
{
	struct gcarena_run run;
	u32 i;

	for (i = page; i < page + n; i++)
		pages_free(w, one[i]);
	if (!clean)
		return;
	assert_int_equal(gca_pages_take_dirty(&w->a, n, &run, 1, 0, false), 1);
	assert_int_equal((run.start - w->a.base) >> GCARENA_PAGE_SHIFT, page);
	gca_scavenge_done(&w->a, &run, 1);
}

/* The last pages of a heap: the one run of its bin that fits, rows of both sorts. */
static void test_last_pages(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 7);
	struct gca_span **one = test_calloc(8192, sizeof(*one)), *s;
	u32 i, at;

	for (i = 0; i < 8192; i++)
		assert_int_equal(pages_alloc(w, 1, &one[i]), 0);
	assert_int_equal(pages_alloc(w, 1, &s), -ENOSPC);

	/* 17 pages, then 100 runs of 16 in front of it in the bin; dirty, and clean */
	for (at = 0; at < 4096; at += 2048) {
		give(w, one, at, 17, at);
		for (i = 1; i <= 100; i++)
			give(w, one, at + i * 20, 16, at);
		assert_int_equal(pages_alloc(w, 17, &s), 0);
		assert_int_equal(s->page, at);
		assert_int_equal(s->dirty, !at);
		assert_int_equal(pages_alloc(w, 17, &s), -ENOSPC);
	}

	/* clean, dirty, clean: any length over them */
	give(w, one, 5000, 30, true);
	give(w, one, 5050, 30, true);
	give(w, one, 5030, 20, false);
	assert_int_equal(pages_alloc(w, 81, &s), -ENOSPC);
	assert_int_equal(pages_alloc(w, 60, &s), 0);
	assert_int_equal(s->page, 5000);
	assert_true(s->dirty);
	assert_int_equal(pages_alloc(w, 20, &s), 0);
	assert_int_equal(s->page, 5060);
	assert_false(s->dirty);

	/* dirty, clean; the first of a row of four */
	give(w, one, 6000, 30, true);
	give(w, one, 6050, 30, true);
	give(w, one, 6030, 20, false);
	give(w, one, 6080, 20, false);
	assert_int_equal(pages_alloc(w, 100, &s), 0);
	assert_int_equal(s->page, 6000);
	give(w, one, 7000, 30, false);
	give(w, one, 7050, 30, false);
	give(w, one, 7031, 19, true);
	assert_int_equal(pages_alloc(w, 50, &s), -ENOSPC);
	assert_int_equal(pages_alloc(w, 49, &s), 0);
	assert_int_equal(s->page, 7031);
	assert_int_equal(w->a.heap.free_dirty, 100 * 16 + 30);
	test_free(one);
	world_close(w);
}

/*
 * Whole huge pages are returned as such and are not broken for less; what is
 * beside them goes when they have gone and it is still too much.
 */
static void test_huge_pages(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 8);
	struct gca_span **one = test_calloc(8192, sizeof(*one));
	u32 i, at = GCA_HUGE_PAGES - (w->a.base >> GCARENA_PAGE_SHIFT) % GCA_HUGE_PAGES;
	struct gcarena_run run[4];

	for (i = 0; i < 8192; i++)
		assert_int_equal(pages_alloc(w, 1, &one[i]), 0);
	give(w, one, at + 206, 762, false);	/* 50, two huge pages, 200 */
	at += GCA_HUGE_PAGES;
	assert_int_equal(gca_pages_take_dirty(&w->a, 8, run, 4, 762 - 255, false), 0);
	assert_int_equal(gca_pages_take_dirty(&w->a, 8, run, 4, 762 - 300, false), 1);
	assert_int_equal(run[0].start, page_addr(w, at + 256));
	assert_int_equal(run[0].len, 2 * MIB);
	gca_scavenge_done(&w->a, run, 1);
	assert_int_equal(gca_pages_take_dirty(&w->a, 8, run, 4, 0, false), 3);
	assert_int_equal(run[0].start, page_addr(w, at));
	assert_int_equal(run[0].len, 2 * MIB);
	assert_int_equal(run[1].start, page_addr(w, at + 512));
	assert_int_equal(run[1].len >> GCARENA_PAGE_SHIFT, 200);
	assert_int_equal(run[2].start, page_addr(w, at - 50));
	assert_int_equal(run[2].len >> GCARENA_PAGE_SHIFT, 50);
	gca_scavenge_done(&w->a, run, 3);
	assert_int_equal(w->a.heap.free_dirty, 0);
	assert_int_equal(gca_pages_take_dirty(&w->a, 8, run, 4, 0, false), 0);
	/* no huge page in it: just what was asked for, from its end */
	give(w, one, at + 1024, 40, false);
	assert_int_equal(gca_pages_take_dirty(&w->a, 8, run, 4, 25, false), 1);
	assert_int_equal(run[0].start, page_addr(w, at + 1024 + 25));
	assert_int_equal(run[0].len >> GCARENA_PAGE_SHIFT, 15);
	gca_scavenge_done(&w->a, run, 1);
	/* one that must be broken: likewise; and if it may be, it still is not for more */
	give(w, one, at + 2048, 512, false);
	assert_int_equal(gca_pages_take_dirty(&w->a, 8, run, 4, 512 + 25 - 20, false), 0);
	assert_int_equal(gca_pages_take_dirty(&w->a, 8, run, 4, 512 + 25 - 20, true), 1);
	assert_int_equal(run[0].start, page_addr(w, at + 2048 + 492));
	assert_int_equal(run[0].len >> GCARENA_PAGE_SHIFT, 20);
	assert_int_equal(gca_pages_take_dirty(&w->a, 8, run + 1, 3, 492 + 25 - 256, true), 1);
	assert_int_equal(run[1].start, page_addr(w, at + 2048));
	assert_int_equal(run[1].len >> GCARENA_PAGE_SHIFT, 256);
	gca_scavenge_done(&w->a, run, 2);
	test_free(one);
	world_close(w);
}

/* An object as large as 1 TiB of reservation costs little, again and again. */
static void test_tebibyte(void **state)
{
	struct world *w = world_open(1ULL << 40, 0, 1);
	u64 addr, table = w->a.nr_chunks * sizeof(void *), other;
	struct gcarena_run run[4];
	u32 flags, i, n;

	assert_true(w->a.metadata < table + 1 * MIB);
	for (i = 0; i < 3; i++) {
		assert_int_equal(gca_large(&w->m, 1ULL << 40, GCARENA_NOSCAN, 0, &addr, &flags), 0);
		assert_int_equal(addr, w->a.base);
		assert_true(w->a.metadata < table + 1 * MIB);
		/* dirty from the second time on, clean again after it was returned */
		assert_int_equal(!!(flags & GCARENA_LARGE_NEEDZERO), i == 1);
		assert_int_equal(gca_large(&w->m, 1, GCARENA_NOSCAN, 0, &other, &flags), -ENOSPC);
		w->root[0] = addr + (1ULL << 39);
		world_collect(w);
		assert_true(world_holds(w, addr + (1ULL << 40) - 1));
		w->root[0] = 0;
		world_collect(w);
		assert_int_equal(w->a.heap.inuse, 0);
		if (i == 1) {
			n = gca_pages_take_dirty(&w->a, 1, run, 4, 0, false);
			assert_int_equal(n, 1);
			assert_int_equal(run[0].len, 1ULL << 40);
			gca_scavenge_done(&w->a, run, n);
		}
	}
	assert_int_equal(gca_large(&w->m, (1ULL << 40) + 1, 0, 0, &addr, &flags), -ENOSPC);
	assert_int_equal(gca_large(&w->m, U64_MAX, 0, 0, &addr, &flags), -ENOSPC);
	assert_int_equal(gca_large(&w->m, 0, 0, 0, &addr, &flags), -EINVAL);
	world_close(w);
}

static u64 cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/*
 * 40,000 free runs in the bin that is searched, none of which fits, and 8 M
 * pages of reservation: a linear search would take 40,000 times 40,000 steps.
 */
static void test_no_linear_search(void **state)
{
	enum { N = 40000, SOME = 5000 };
	struct gca_span **keep = test_calloc(2 * N, sizeof(*keep)), *s, *fits;
	struct gca_span **some = test_calloc(SOME, sizeof(*some));
	struct world *w = world_open(64ULL << 30, 0, 1);
	u64 t;
	u32 i;

	for (i = 0; i < 2 * N; i++)
		assert_int_equal(pages_alloc(w, i % 2 ? 1 : 16, &keep[i]), 0);
	for (i = 0; i < 2 * N; i += 2)
		gca_pages_free(&w->a, keep[i]);
	assert_int_equal(w->a.heap.free_dirty, 16 * N);
	t = cpu_ns();
	for (i = 0; i < N; i++) {
		struct gcarena_run run;

		/* from the clean rest; and back there, or it would be found first */
		assert_int_equal(pages_alloc(w, 17, &s), 0);
		assert_true(s->page > keep[2 * N - 1]->page);
		gca_pages_free(&w->a, s);
		assert_int_equal(gca_pages_take_dirty(&w->a, 17, &run, 1, 0, false), 1);
		gca_scavenge_done(&w->a, &run, 1);
	}
	assert_true(cpu_ns() - t < 4000000000ULL);
	/* a run that fits exactly is found at once */
	assert_int_equal(pages_alloc(w, 16, &s), 0);
	assert_true(s->page < keep[2 * N - 1]->page);
	gca_pages_free(&w->a, s);

	/* the last one that fits, behind 5000 that do not: that is too far, 4000 are not */
	assert_int_equal(pages_alloc(w, 17, &fits), 0);
	assert_int_equal(pages_alloc(w, w->a.heap.npages - 17 * N - 17, &s), 0);
	for (i = 0; i < SOME; i++)
		assert_int_equal(pages_alloc(w, 16, &some[i]), 0);
	gca_pages_free(&w->a, fits);
	for (i = 0; i < SOME; i++)
		gca_pages_free(&w->a, some[i]);
	assert_int_equal(pages_alloc(w, 17, &s), -ENOSPC);
	for (i = 0; i < 1000; i++)
		assert_int_equal(pages_alloc(w, 16, &s), 0);
	assert_int_equal(pages_alloc(w, 17, &s), 0);
	assert_ptr_equal(s, fits);
	test_free(some);
	test_free(keep);
	world_close(w);
}

/* A heap of 64 MiB full of objects of one size and kind: at most 5 % metadata. */
static void test_metadata(void **state)
{
	u32 c, kind, n, i;
	struct world *w;

	for (c = 0; c < GCARENA_NR_SIZES; c++)
		for (kind = 0; kind < GCARENA_NR_KINDS; kind++) {
			u32 sc = GCARENA_SPAN_CLASS(c, kind);

			w = world_open(128 * MIB, 0, 1);
			while ((u64)w->a.heap.inuse << GCARENA_PAGE_SHIFT < 64 * MIB) {
				n = 32;
				assert_int_equal(gca_refill(&w->m, sc, &n), 0);
				for (i = w->sh->current_slot[sc]; i; i = w->sh->slot[i].next)
					w->sh->slot[i].free_index = w->sh->slot[i].nelems;
			}
			assert_true(w->a.metadata * 20 <=
				    (u64)w->a.heap.inuse << GCARENA_PAGE_SHIFT);
			world_close(w);
		}
}

/* A large span over chunks that are all there: no stand-in is lost with the arena. */
static void test_unused_stand_in(void **state)
{
	struct gca_need need = { .chunk = GCA_NEED_INNER };
	struct world *w = world_open(64 * MIB, 0, 1);
	u64 addr, metadata;
	u32 i, flags;

	for (i = 0; i < 60; i++)
		assert_true(world_alloc(w, MIB, GCARENA_NOSCAN, 0));
	world_collect(w);
	assert_int_equal(gca_large(&w->m, 40 * MIB, GCARENA_NOSCAN, 0, &addr, &flags), 0);
	/* nor one that was made and not used */
	metadata = w->a.metadata;
	assert_int_equal(gca_chunk_grow(&w->a, &need), 0);
	assert_true(w->a.metadata > metadata);
	gca_need_drop(&w->a, &need);
	assert_int_equal(w->a.metadata, metadata);
	world_close(w);
}

/* Each n-th metadata allocation fails: -ENOMEM, nothing lost, then it works. */
static void test_allocation_failure(void **state)
{
	struct world *w = world_open(256 * MIB, 0, 1);
	u32 flags, n, before = w->a.heap.inuse;
	u64 addr, metadata = w->a.metadata;
	int err;

	for (n = 0;; n++) {
		gca_test_fail_after = n;
		err = gca_large(&w->m, 100 * MIB, GCARENA_NOSCAN, 0, &addr, &flags);
		gca_test_fail_after = -1;
		if (!err)
			break;
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(w->a.heap.inuse, before);
		assert_true(w->a.metadata >= metadata);
		assert_true(n < 10);
	}
	assert_true(n >= 1);
	world_collect(w);
	assert_int_equal(w->a.heap.inuse, 0);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_small),
		cmocka_unit_test(test_random_large),
		cmocka_unit_test(test_last_pages),
		cmocka_unit_test(test_huge_pages),
		cmocka_unit_test(test_tebibyte),
		cmocka_unit_test(test_no_linear_search),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_unused_stand_in),
		cmocka_unit_test(test_allocation_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
