// SPDX-License-Identifier: MIT
/*
 * test_mark.c: the mark loop against the shadow graph.
 *
 * Graphs of every shape and kind are built, a cycle runs as far as "marked", and
 * the set of marked objects must be exactly the set that the shadow says is
 * reachable: roots are exact here, and words that are no pointers hold addresses
 * of other objects.  The same with buffers that run out and with reads that miss.
 * Then checkmark: it must find nothing where nothing is wrong, and what was
 * planted where something is.  Several threads: test_parallel.c.
 */
#include "world.h"

static const u32 debug_modes[] = {
	0, GCARENA_DEBUG_OVERFLOW, GCARENA_DEBUG_MISS,
	GCARENA_DEBUG_CHECKMARK | GCARENA_DEBUG_OVERFLOW | GCARENA_DEBUG_MISS,
};

/* Chance, by address, so that it does not depend on who reads. */
static u32 miss_one_in;

static bool miss_some(u64 addr)
{
	u64 z = (addr >> 3) * 0x9e3779b97f4a7c15ULL;

	return (z >> 40) % miss_one_in == 0;
}

/* ------------------------------------------------------------------ random */

static void test_random(void **state)
{
	struct graph g;
	u32 mode, round;

	for (mode = 0; mode < ARRAY_SIZE(debug_modes); mode++) {
		graph_open(&g, debug_modes[mode], 100 + mode);
		print_message("seed %llu\n", (unsigned long long)g.w->seed);
		for (round = 0; round < 4; round++) {
			graph_random(&g, 2500, round == 3 ? 40000 : 300, 1 + round, 10);
			graph_check_cycle(&g);
		}
		graph_close(&g);
	}
}

/* One more than the last word of an object that may be a pointer; 0: none. */
static u32 pointers_end(const struct graph *g, u32 id)
{
	const struct node *o = &g->node[id];
	u32 k = o->words;

	while (k && !world_is_pointer(g->w, o->kind, o->layout, k - 1))
		k--;
	return k;
}

/* Every size class of every kind, in every slot of a span. */
static void test_every_class(void **state)
{
	u32 c, kind, i, layout, n;
	struct graph g;

	for (kind = 0; kind < GCARENA_NR_KINDS; kind++) {
		graph_open(&g, 0, kind);
		for (c = 0; c < GCARENA_NR_SIZES; c++) {
			u32 words = gca_class[4 * c].size / 8, first = g.n;

			if (kind == GCARENA_PRECISE && words > GCARENA_BITMAP_MAX / 8)
				words--;
			n = gca_class[4 * c + kind].nelems;
			layout = c % g.w->nr_layouts;
			for (i = 0; i < n; i++)
				graph_must(graph_new(&g, kind, words, layout));
			/* a target for the last pointer of each, and no other way to it */
			for (i = 0; i < n && kind != GCARENA_NOSCAN; i++) {
				u32 k = pointers_end(&g, first + i);
				u32 to = graph_new(&g, GCARENA_NOSCAN, 2, 0);

				graph_must(to);
				if (k)
					graph_link(&g, first + i, k - 1, to, 0);
			}
			for (i = 0; i < n; i++)
				if (i % 3)
					graph_hold(&g, (c * 61 + i) % WORLD_ROOTS, first + i);
		}
		graph_check_cycle(&g);
		graph_close(&g);
	}
}

/* ------------------------------------------------------------------ shapes */

static void shapes(u32 debug)
{
	u32 i, prev, id, n = 30000, kind;
	struct graph g;

	for (kind = GCARENA_PRECISE; kind <= GCARENA_CONSERVATIVE; kind++) {
		graph_open(&g, debug, 1);
		graph_hold(&g, 0, graph_tree(&g, 12, kind));
		/* a list, and one that ends in a cycle */
		for (i = 0, prev = 0; i < n; i++) {
			id = graph_new(&g, kind, 6, 2);
			graph_must(id);
			graph_link(&g, id, 4, prev ? prev : id, 0);
			prev = id;
		}
		graph_hold(&g, 1, prev);
		/* a cycle that nothing holds */
		id = graph_new(&g, kind, 6, 2);
		prev = graph_new(&g, kind, 6, 2);
		graph_link(&g, id, 0, prev, 0);
		graph_link(&g, prev, 0, id, 0);
		/* dense: every word of 64 points somewhere */
		for (i = 0, prev = g.n; i < 300; i++)
			graph_must(graph_new(&g, kind, 64, 2));
		for (i = 0; i < 300; i++)
			graph_random_links(&g, prev + i, 64);
		graph_hold(&g, 2, prev);
		graph_check_cycle(&g);
		/* cut the list in the middle */
		graph_link(&g, g.root[1] - n / 2, 4, 0, 0);
		graph_check_cycle(&g);
		assert_true(g.reached < g.n);
		graph_close(&g);
	}
}

static void test_shapes(void **state)
{
	shapes(0);
}

static void test_shapes_overflow(void **state)
{
	shapes(GCARENA_DEBUG_OVERFLOW);
}

/* Arrays of a million slots, precise and not: many oblets, more than all buffers hold. */
static void million(u32 debug, u32 kind, u32 layout)
{
	u32 n = (1U << 20), big, i, targets = 20000, first;
	struct graph g;

	graph_open(&g, debug, layout);
	big = graph_new(&g, kind, n, layout);
	graph_must(big);
	first = g.n;
	for (i = 0; i < targets; i++)
		graph_must(graph_new(&g, i % GCARENA_NR_KINDS, 4, 0));
	for (i = 0; i < targets; i++) {
		u64 k = world_below(g.w, n);

		if (world_is_pointer(g.w, kind, layout, k))
			graph_link(&g, big, k, first + i, world_below(g.w, 32));
	}
	/* the words about each boundary of an oblet */
	for (i = 1; i < n / (GCA_OBLET_BYTES / 8); i++) {
		u64 k = i * (GCA_OBLET_BYTES / 8);

		if (world_is_pointer(g.w, kind, layout, k - 1))
			graph_link(&g, big, k - 1, first + 2 * i, 0);
		if (world_is_pointer(g.w, kind, layout, k))
			graph_link(&g, big, k, first + 2 * i + 1, 0);
	}
	graph_hold(&g, 0, big);
	graph_check_cycle(&g);
	assert_true(g.reached > targets / 8);
	graph_close(&g);
}

static void test_million(void **state)
{
	u32 mode, layout;

	for (mode = 0; mode < 3; mode++) {
		million(debug_modes[mode], GCARENA_CONSERVATIVE, 0);
		for (layout = 0; layout < 6; layout += layout == 1 ? 3 : 1)
			million(debug_modes[mode], GCARENA_PRECISE, layout);
	}
}

/* -------------------------------------------------------------------- rows */

/*
 * Objects that lie slot by slot, each with a child that nothing else names, and an array
 * that names them in every order: as a row, with gaps, twice, backwards, somewhere inside;
 * then a list through some.  A fifth of them nobody names: they die in the first cycle, and then
 * their slots are named, which are free, in the middle of the rows.  The first cycle finds
 * them by their span's indices, the others by alloc bits, which rows are made by.
 */
enum order { ROW, GAPS, TWICE, BACKWARDS, INSIDE, LIST, NR_ORDERS };

/* The address of an object that is dead: a word, and no link. */
static void name_dead(struct graph *g, u32 from, u32 word, u64 addr)
{
	struct node *o = &g->node[from];

	graph_link(g, from, word, 0, 0);
	o->val[word] = addr;
	((u64 *)o->addr)[word] = addr;
}

static void name_all(struct graph *g, u32 big, u32 first, u32 n, enum order order)
{
	u32 i, k = 0, to, prev = 0;

	for (i = 0; i < g->node[big].words; i++)
		graph_link(g, big, i, 0, 0);
	for (i = 0; i < n; i++) {
		to = first + (order == BACKWARDS ? n - 1 - i : i);
		if ((to - first) % 25 >= 20)
			continue;
		if (order == LIST) {	/* alone, or it is not marked as a list */
			if (i >= 20)
				break;
			graph_link(g, to, pointers_end(g, to) - 1, 0, 0);
		}
		if (prev && order == LIST)
			graph_link(g, prev, 0, to, 0);
		else
			graph_link(g, big, k++, to, order == INSIDE ? i % 8 : 0);
		prev = to;
		if (order == TWICE)
			graph_link(g, big, k++, to, 0);
		else if (order == GAPS && i % 3 == 0)
			k += 1 + i % 2;
	}
}

static void rows(u32 debug, u32 n, u32 kind, u32 words, u32 layout, u32 other)
{
	u32 i, first, big, to, order;
	struct graph g;

	graph_open(&g, debug, words);
	world_hooks.miss = debug & GCARENA_DEBUG_MISS ? NULL : miss_some;
	miss_one_in = 300;
	big = graph_new(&g, GCARENA_CONSERVATIVE, 3 * n, 0);
	graph_must(big);
	first = g.n;
	for (i = 0; i < n; i++)
		graph_must(graph_new(&g, kind, words, i % 2 ? layout : other));
	for (i = 0; i < n; i++) {
		to = graph_new(&g, GCARENA_NOSCAN, 2, 0);
		graph_must(to);
		graph_link(&g, first + i, pointers_end(&g, first + i) - 1, to, 0);
	}
	graph_hold(&g, 0, big);
	for (order = 0; order < NR_ORDERS; order++) {
		if (words < 4 && order == LIST)
			continue;	/* has no word for it */
		name_all(&g, big, first, n, order);
		graph_check_cycle(&g);
		for (i = 0; i < n; i++) {
			to = first + i;
			if (!g.node[to].alive && order != LIST)
				name_dead(&g, big, i, g.node[to].addr);
			else if (!g.node[to].alive && g.node[to - 1].alive)
				name_dead(&g, to - 1, 0, g.node[to].addr);
			else if (order != LIST)
				graph_link(&g, big, i, to, 0);
		}
		graph_check_cycle(&g);
	}
	graph_close(&g);
}

/*
 * Rows that wait for what is below: more than a buffer holds.  Of two objects each, or the
 * FIFO would take more of them than a node has.
 */
static void deep_rows(u32 debug)
{
	u32 i, k, node, before = 0, first, to;
	struct graph g;

	graph_open(&g, debug, 1);
	for (i = 0; i < 60; i++) {
		node = graph_new(&g, GCARENA_CONSERVATIVE, 64, 0);
		graph_must(node);
		first = g.n;
		for (k = 0; k < 93; k++)
			graph_must(graph_new(&g, GCARENA_PRECISE, 4, 2));
		for (k = 0; k < 62; k++) {
			to = graph_new(&g, GCARENA_NOSCAN, 2, 0);
			graph_must(to);
			graph_link(&g, first + k / 2 * 3 + k % 2, 3, to, 0);
			graph_link(&g, node, k, first + k / 2 * 3 + k % 2, 0);
		}
		graph_link(&g, node, 63, before, 0);	/* is scanned first */
		before = node;
	}
	graph_hold(&g, 0, before);
	graph_check_cycle(&g);
	graph_check_cycle(&g);
	graph_close(&g);
}

static u64 absent;

static bool miss_absent(u64 addr)
{
	return addr >= absent && addr < absent + 64;
}

/* Of a row the objects that are not there are missed, and not those before. */
static void one_missed(u32 kind)
{
	struct graph g;
	u32 big, i, first;
	u64 before;

	graph_open(&g, 0, 1);
	big = graph_new(&g, GCARENA_CONSERVATIVE, 100, 0);
	first = g.n;
	for (i = 0; i < 8; i++)
		graph_link(&g, big, i, graph_new(&g, kind, 8, 0), 0);
	graph_hold(&g, 0, big);
	graph_check_cycle(&g);
	before = atomic64_read(&g.w->a.totals.missed);
	absent = g.node[first + 5].addr;
	world_hooks.miss = miss_absent;
	graph_check_cycle(&g);
	assert_int_equal(atomic64_read(&g.w->a.totals.missed) - before, 1);
	graph_close(&g);
}

static void test_rows(void **state)
{
	static const u32 words[] = { 2, 3, 4, 7, 8, 9, 13, 16, 31, 40, 63, 64, 65, 500 };
	u32 mode, i;

	one_missed(GCARENA_CONSERVATIVE);
	one_missed(GCARENA_PRECISE);
	for (mode = 0; mode < ARRAY_SIZE(debug_modes); mode++) {
		for (i = 0; i < ARRAY_SIZE(words); i++) {
			rows(debug_modes[mode], 700, GCARENA_CONSERVATIVE, words[i], 0, 0);
			rows(debug_modes[mode], 700, GCARENA_PRECISE, words[i], 0, 0);
			rows(debug_modes[mode], 700, GCARENA_PRECISE, words[i], 1, 2);
			rows(debug_modes[mode], 7, GCARENA_PRECISE, words[i], 2, 2);
		}
		deep_rows(debug_modes[mode]);
	}
}

/* ---------------------------------------------------------- interior and end */

/* A root's word keeps the object it is in and the one it is the end of; a heap word, no end. */
static void test_interior_and_end(void **state)
{
	static const u64 words[] = { 2, 8, 63, 64, 65, 200, 4095, 4096, 5000, 100000 };
	u32 i, id[3], k, holder;
	struct graph g;
	struct world *w;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		graph_open(&g, GCARENA_DEBUG_CHECKMARK, i);
		w = g.w;
		for (k = 0; k < 3; k++)
			id[k] = graph_new(&g, GCARENA_CONSERVATIVE, words[i], 0);
		/* first and last byte */
		w->root[0] = g.node[id[0]].addr + words[i] * 8 - 1;
		world_cycle(w, GCA_UNTIL_MARKED);
		assert_true(world_marked(w, g.node[id[0]].addr));
		assert_false(world_marked(w, g.node[id[1]].addr));
		assert_false(world_marked(w, g.node[id[2]].addr));
		graph_close(&g);

		graph_open(&g, GCARENA_DEBUG_CHECKMARK, i);
		w = g.w;
		for (k = 0; k < 3; k++)
			id[k] = graph_new(&g, GCARENA_CONSERVATIVE, words[i], 0);
		holder = graph_new(&g, GCARENA_CONSERVATIVE, 2, 0);
		if (g.node[id[1]].addr - g.node[id[0]].addr != words[i] * 8) {
			graph_close(&g);	/* not adjacent: a rounded size */
			continue;
		}
		w->root[1] = g.node[holder].addr + 8;
		/* exactly the end of the first, that is the start of the second */
		w->root[0] = g.node[id[1]].addr;
		world_cycle(w, GCA_UNTIL_MARKED);
		assert_true(world_marked(w, g.node[id[0]].addr));
		assert_true(world_marked(w, g.node[id[1]].addr));
		assert_false(world_marked(w, g.node[id[2]].addr));
		/* the same word in the heap */
		w->root[0] = 0;
		*(u64 *)g.node[holder].addr = g.node[id[1]].addr;
		*(u64 *)(g.node[holder].addr + 8) = 0;
		g.node[holder].val[0] = g.node[id[1]].addr;
		world_cycle(w, GCA_UNTIL_MARKED);
		assert_false(world_marked(w, g.node[id[0]].addr));
		assert_true(world_marked(w, g.node[id[1]].addr));
		assert_int_equal(gca_sweep_finish(&w->a), 0);
		graph_fini(&g);
		world_close(w);
	}
}

/* One object is all of the heap: its end is that of the heap, and a name; what lies around is none. */
static void test_end_of_heap(void **state)
{
	static const struct { s64 from_base; bool marks; } at[] = {
		{ 0, true }, { 64 * MIB, true }, { 64 * MIB - 1, true }, { -1, false }, { 64 * MIB + 1, false },
	};
	struct world *w;
	u64 addr;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		w = world_open(64 * MIB, 0, 1);
		addr = world_alloc(w, 64 * MIB, GCARENA_NOSCAN, 0);
		assert_int_equal(addr, w->a.base);
		w->root[0] = addr + (u64)at[i].from_base;
		world_cycle(w, GCA_UNTIL_MARKED);
		assert_int_equal(world_marked(w, addr), at[i].marks);
		world_close(w);
	}
}

/* Registers and stack are roots with the end rule. */
static void test_stack(void **state)
{
	u64 frame[16] = {}, addr[4], regs[3] = {};
	struct gca_stack s = { .area = { { (u64)frame, (u64)(frame + 8) },
					 { (u64)(frame + 12), (u64)(frame + 16) } },
			       .nr_areas = 2, .regs = regs, .nr_regs = 3 };
	struct world *w = world_open(64 * MIB, GCARENA_DEBUG_CHECKMARK, 1);
	u32 i;

	for (i = 0; i < 4; i++) {
		addr[i] = world_alloc(w, 5000, GCARENA_NOSCAN, 0);
		world_alloc(w, 5000, GCARENA_NOSCAN, 0);
	}
	world_hooks.stack = &s;
	regs[2] = addr[0] + 5120;	/* its end */
	frame[7] = addr[1] + 100;
	frame[10] = addr[2];		/* beyond the bounds */
	frame[15] = addr[3] + 1;
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_true(world_marked(w, addr[0]));
	assert_true(world_marked(w, addr[1]));
	assert_false(world_marked(w, addr[2]));
	assert_true(world_marked(w, addr[3]));
	world_close(w);
}

/*
 * Of a doubtful area with a frame in it: what a handler's registers take the place of, and
 * only of a frame of that stack pointer.  A frame as sigcontext has it: r8 to r15, rdi, rsi,
 * rbp, rbx, rdx, rax, rcx, rsp, rip.
 */
static void test_frame(void **state)
{
	enum { DI = 8, AX = 13, SP = 15, N = 17, LONG = 4 * 512 };
	static const bool wanted[N] = { [8] = true, true, [12] = true, true };
	static u64 below[LONG] __attribute__((aligned(4096)));
	u64 regs[1] = {}, addr[N], top[2] = {}, certain;
	/* In the first block, in two of them, and at the end of the last. */
	static const u32 at[] = { 0, 64 - DI - 1, 64 - AX, 64 - SP, 64 - SP - 1, LONG - N };
	struct gca_stack s = { .area = { { (u64)top, (u64)(top + 2) },
					 { (u64)below, (u64)(below + LONG) } },
			       .nr_areas = 2, .nr_doubtful = 1, .regs = regs, .nr_regs = 1 };
	u32 i, k, whose;

	for (k = 0; k < ARRAY_SIZE(at); k++)
		for (whose = 0; whose < 3; whose++) {
			struct world *w = world_open(64 * MIB, GCARENA_DEBUG_CHECKMARK, 1);

			world_hooks.stack = &s;
			for (i = 0; i < N; i++) {
				addr[i] = world_alloc(w, 4000, GCARENA_NOSCAN, 0);
				below[at[k] + i] = addr[i] + 8;
			}
			below[at[k] + SP] = (u64)top + (whose == 1 ? 8 : 0);
			s.frame = whose == 2 ? 0 : (u64)top;
			certain = world_alloc(w, 4000, GCARENA_NOSCAN, 0);
			top[1] = certain + 8;
			world_cycle(w, GCA_UNTIL_MARKED);
			assert_true(world_marked(w, certain));
			for (i = 0; i < N; i++)
				if (i != SP)
					assert_int_equal(world_marked(w, addr[i]),
							 whose == 2 || (!whose && wanted[i]));
			memset(below, 0, sizeof(below));
			world_close(w);
		}
}

/* A frame that the area begins within; and one that cannot be read at first. */
static void test_frame_cut(void **state)
{
	u64 words[24], *below = words + 8, regs[1] = {}, addr, outside, sp = (u64)below;
	struct gca_stack s = { .area = { { (u64)(below + 2), (u64)(below + 16) } },
			       .nr_areas = 1, .nr_doubtful = 1, .regs = regs, .nr_regs = 1 };
	struct world *w;
	u32 i;

	for (i = 0; i < 32; i++) {
		bool missed = i >= 16;
		u32 k;

		w = world_open(64 * MIB, GCARENA_DEBUG_CHECKMARK, 1);
		addr = world_alloc(w, 4000, GCARENA_NOSCAN, 0);
		outside = world_alloc(w, 4000, GCARENA_NOSCAN, 0);
		memset(words, 0, sizeof(words));
		for (k = 0; k < 8 + 2; k++)
			words[k] = outside;
		below[i % 16] = sp;
		below[2] = addr;
		s.frame = sp;
		world_hooks.stack = &s;
		world_hooks.miss_roots = missed;
		world_cycle(w, GCA_UNTIL_MARKED);
		/* As rdi or rdx of the frame that the other word is in; missed: it is all wanted. */
		assert_int_equal(world_marked(w, addr), missed || i == 9 || i == 5);
		assert_false(world_marked(w, outside));
		world_close(w);
	}
}

static u64 not_there;

static bool miss_page(u64 src, unsigned int n)
{
	return src / 4096 == not_there / 4096;
}

static bool miss_word(u64 src, unsigned int n)
{
	return n <= 2 && src / 4096 == not_there / 4096;
}

/* The page with the stack pointer is not there, or goes between two looks; rdi is before it. */
static void test_frame_faults(void **state)
{
	static u64 below[2 * 512] __attribute__((aligned(4096)));
	static bool (*const how[])(u64 src, unsigned int n) = { miss_page, miss_word };
	u64 regs[1] = {}, addr, sp = (u64)regs;
	struct gca_stack s = { .area = { { (u64)below, (u64)(below + 2 * 512) } },
			       .nr_areas = 1, .nr_doubtful = 1, .frame = sp,
			       .regs = regs, .nr_regs = 1 };
	u32 i, at;

	for (i = 0; i < ARRAY_SIZE(how); i++)
		for (at = 0; at < 8; at++) {
			struct world *w = world_open(64 * MIB, GCARENA_DEBUG_CHECKMARK, 1);

			addr = world_alloc(w, 4000, GCARENA_NOSCAN, 0);
			below[512 + at] = sp;
			below[512 + at - 7] = addr;	/* rdi */
			not_there = (u64)(below + 512);
			world_hooks.stack = &s;
			world_hooks.miss_sift = how[i];
			world_cycle(w, GCA_UNTIL_MARKED);
			assert_true(world_marked(w, addr));
			memset(below, 0, sizeof(below));
			world_close(w);
		}
}

/* ------------------------------------------------------------------- misses */

static bool nothing_readable(u64 addr)
{
	return true;
}

static void test_missed_reads(void **state)
{
	static const u32 rate[] = { 1, 2, 7, 100 };
	struct graph g;
	u32 i, mode;

	for (mode = 0; mode < 2; mode++)
		for (i = 0; i < ARRAY_SIZE(rate); i++) {
			graph_open(&g, debug_modes[mode], 7 + i);
			world_hooks.miss = miss_some;
			world_hooks.miss_roots = i % 2;
			miss_one_in = rate[i];
			graph_random(&g, 2000, 20000, 3, 10);
			graph_hold(&g, 0, graph_tree(&g, 10, GCARENA_PRECISE));
			graph_check_cycle(&g);
			assert_true(g.w->a.totals.missed.counter > 0);
			graph_close(&g);
		}
}

/* A page that cannot be read and need not be is a leaf; of roots, too. */
static void test_leaves(void **state)
{
	struct graph g;
	u32 id, far;

	graph_open(&g, 0, 1);
	id = graph_new(&g, GCARENA_CONSERVATIVE, 100, 0);
	far = graph_new(&g, GCARENA_NOSCAN, 2, 0);
	graph_link(&g, id, 50, far, 0);
	graph_hold(&g, 0, id);
	world_hooks.miss = nothing_readable;
	world_hooks.unreadable = nothing_readable;
	world_cycle(g.w, GCA_UNTIL_MARKED);
	assert_int_equal(g.w->a.void_reason, 0);
	assert_true(g.w->a.totals.leaves.counter > 0);
	assert_false(world_marked(g.w, g.node[id].addr));	/* the root page was one */
	world_hooks.unreadable = NULL;
	world_close(g.w);
	graph_fini(&g);
}

/* ---------------------------------------------------------------- checkmark */

static void test_checkmark_silent(void **state)
{
	struct graph g;
	u32 i, prev = 0, id;

	graph_open(&g, GCARENA_DEBUG_CHECKMARK, 3);
	graph_random(&g, 3000, 3000, 3, 20);
	/* deeper than checkmark's path is long */
	for (i = 0; i < 200000; i++) {
		id = graph_new(&g, GCARENA_CONSERVATIVE, 2, 0);
		graph_link(&g, id, 1, prev ? prev : id, 0);
		prev = id;
	}
	graph_hold(&g, 200, prev);
	graph_check_cycle(&g);
	assert_int_equal(gca_warnings, 0);
	graph_close(&g);
}

static u64 *mark_word(struct world *w, u64 addr, u64 *bit)
{
	struct gca_ref r = {};

	assert_true(gca_find(&w->a, addr, &r));
	*bit = 1ULL << r.index % 64;
	return &gca_pair(&w->a, r.head, r.index / 64)[0];
}

/*
 * Planted: an object that was marked loses its mark; one that was never scanned
 * counts as marked, so that its child is not.  Each is reported once.
 */
static void checkmark_finds(bool quiet)
{
	static const u32 kinds[] = { GCARENA_PRECISE, GCARENA_CONSERVATIVE };
	static const u64 sizes[] = { 4, 60, 200, 20000 };
	u32 k, s, plant, id, child;
	struct graph g;
	u64 bit, *word;

	for (k = 0; k < 2; k++)
		for (s = 0; s < ARRAY_SIZE(sizes); s++)
			for (plant = 0; plant < 3; plant++) {
				graph_open(&g, GCARENA_DEBUG_CHECKMARK, 3);
				g.w->a.check_quiet = quiet;
				id = graph_new(&g, kinds[k], sizes[s], 2);
				child = graph_new(&g, GCARENA_NOSCAN, 2, 0);
				graph_link(&g, id, sizes[s] - 1, child, 0);
				graph_hold(&g, 0, id);
				if (plant == 1) {
					/* the marker will think it has been here */
					word = mark_word(g.w, g.node[id].addr, &bit);
					*word |= bit;
				}
				world_cycle(g.w, GCA_UNTIL_MARKING);
				assert_int_equal(gca_warnings, 0);
				if (plant == 2) {
					word = mark_word(g.w, g.node[id].addr, &bit);
					assert_true(*word & bit);
					*word &= ~bit;
				}
				world_cycle(g.w, GCA_UNTIL_MARKED);
				assert_int_equal(gca_warnings, plant != 0 && !quiet);
				assert_int_equal(g.w->a.totals.check_found, plant != 0);
				gca_warnings = 0;
				assert_int_equal(gca_sweep_finish(&g.w->a), 0);
				world_close(g.w);
				graph_fini(&g);
			}
}

static void test_checkmark_finds(void **state)
{
	checkmark_finds(false);
}

/* An arena whose owner asked for it: lines, and no WARN. */
static void test_checkmark_quiet(void **state)
{
	checkmark_finds(true);
}

/* Planted at the end of a path that is longer than the walk's own. */
static void test_checkmark_finds_deep(void **state)
{
	u32 i, id = 0, prev = 0, last = 0;
	struct graph g;
	u64 bit, *word;

	graph_open(&g, GCARENA_DEBUG_CHECKMARK, 3);
	for (i = 0; i < 150000; i++) {
		id = graph_new(&g, GCARENA_CONSERVATIVE, 2, 0);
		if (!prev)
			last = id;
		graph_link(&g, id, 1, prev ? prev : id, 0);
		prev = id;
	}
	graph_hold(&g, 0, id);
	graph_hold(&g, 1, last);	/* so that it is marked at once */
	world_cycle(g.w, GCA_UNTIL_MARKING);
	world_store(g.w, (u64)&g.w->root[1], 0);
	assert_int_equal(gca_settle(&g.w->m), 0);
	/* everything on the path counts as marked, only the last does not */
	world_cycle(g.w, GCA_UNTIL_MARKED);
	assert_int_equal(gca_warnings, 0);
	assert_int_equal(gca_sweep_finish(&g.w->a), 0);
	graph_root(&g, 1, 0, 0);
	for (i = last; i <= id; i++) {
		word = mark_word(g.w, g.node[i].addr, &bit);
		if (i != last)
			*word |= bit;
	}
	world_cycle(g.w, GCA_UNTIL_MARKED);
	assert_int_equal(gca_warnings, 1);
	gca_warnings = 0;
	world_close(g.w);
	graph_fini(&g);
}

/* A stale word that names a free slot leads nowhere, whatever is still in the slot. */
static void test_stale_words(void **state)
{
	struct world *w = world_open(64 * MIB, GCARENA_DEBUG_CHECKMARK, 1);
	u64 stale = world_alloc(w, 64, GCARENA_CONSERVATIVE, 0);
	u64 was = world_alloc(w, 64, GCARENA_CONSERVATIVE, 0), detach;

	for (detach = 0; detach < 2; detach++) {
		*(u64 *)(stale + 16) = was;
		w->root[0] = was + 8;
		if (detach) {
			world_detach(w);
			world_attach(w);
		}
		world_collect(w);
		assert_false(world_holds(w, stale));
		w->root[0] = 0;
		w->root[1] = stale + 8;
		world_cycle(w, GCA_UNTIL_MARKED);
		assert_false(world_marked(w, stale));
		assert_false(world_marked(w, was));
		w->root[1] = 0;
		world_collect(w);
		stale = world_alloc(w, 64, GCARENA_CONSERVATIVE, 0);
		was = world_alloc(w, 64, GCARENA_CONSERVATIVE, 0);
	}
	world_close(w);
}

/* --------------------------------------------------------------- overflow */

/*
 * Each of 300 objects points to all: more at once than a buffer holds, so that
 * something does go under an overflow bit; pretended, and with one buffer left.
 */
static void test_overflow(void **state)
{
	struct gca_wbuf *taken[512];
	u32 i, k, real, n, big, id;
	struct graph g;
	u64 seen;

	for (real = 0; real < 2; real++) {
		graph_open(&g, real ? 0 : GCARENA_DEBUG_OVERFLOW, 1 + real);
		for (i = 1; i <= 300; i++)
			graph_must(graph_new(&g, i % 2 ? GCARENA_PRECISE : GCARENA_CONSERVATIVE, 300, 0));
		for (i = 1; i <= 300; i++)
			for (k = 0; k < 300; k++)
				graph_link(&g, i, k, 1 + k, 0);
		/* below the last ones only: lost if those are not scanned again */
		for (i = 1; i <= 300; i++) {
			k = graph_new(&g, GCARENA_NOSCAN, 2, 0);
			graph_must(k);
			graph_link(&g, i, i - 1, k, 0);
		}
		/* spans with more slots than a word of bits has, each slot with a child */
		big = graph_new(&g, GCARENA_CONSERVATIVE, 3000, 0);
		graph_must(big);
		for (i = 0; i < 3000; i++) {
			id = graph_new(&g, i / 1000 ? GCARENA_PRECISE : GCARENA_CONSERVATIVE, 4, 2);
			k = graph_new(&g, GCARENA_NOSCAN, 2, 0);
			graph_must(k);
			graph_link(&g, id, 3, k, 0);
			graph_link(&g, big, i, id, 0);
		}
		graph_hold(&g, 1, big);
		graph_hold(&g, 0, 17);
		for (n = 0; real && n < ARRAY_SIZE(taken); n++) {
			taken[n] = gca_wbuf_get_empty(&g.w->a);
			if (!taken[n])
				break;
		}
		if (n)
			gca_wbuf_put_empty(&g.w->a, taken[--n]);
		graph_check_cycle(&g);
		seen = atomic64_read(&g.w->a.totals.overflows);
		assert_true(seen > 0);
		while (n)
			gca_wbuf_put_empty(&g.w->a, taken[--n]);
		graph_close(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_every_class),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_shapes_overflow),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_million),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_interior_and_end),
		cmocka_unit_test(test_end_of_heap),
		cmocka_unit_test(test_stack),
		cmocka_unit_test(test_frame),
		cmocka_unit_test(test_frame_cut),
		cmocka_unit_test(test_frame_faults),
		cmocka_unit_test(test_missed_reads),
		cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_checkmark_silent),
		cmocka_unit_test(test_checkmark_finds),
		cmocka_unit_test(test_checkmark_quiet),
		cmocka_unit_test(test_checkmark_finds_deep),
		cmocka_unit_test(test_stale_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
