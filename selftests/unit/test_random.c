// SPDX-License-Identifier: MIT
/*
 * test_random.c: a long random program against the shadow graph.
 *
 * Objects of every kind and size come, are linked, moved and dropped, as a
 * program could do it; cycles run whole or by halves, are voided, spans are
 * handed back, roots and layouts come and go, free pages are returned, reads
 * miss.  After each cycle what is reachable must be intact; after each whole one
 * nothing else may be left.
 *
 *	test_random [OPERATIONS [SEED [ROUNDS]]]
 *
 * One round is one world; the seed and the debug switches of each are printed.
 */
#include <sys/mman.h>

#include "world.h"

#define PROGRAM_ROOTS	128

static u64 operations = 30000, first_seed = 1, rounds = 24;

struct program {
	struct world *w;
	struct graph g;
	u64 extra[512];		/* a root range that comes and goes */
	bool extra_added;
	u64 cycles, voided;
};

static bool miss_some(u64 addr)
{
	return ((addr >> 3) * 0x9e3779b97f4a7c15ULL >> 40) % 13 == 0;
}

static bool everything(u64 addr)
{
	return true;
}

static void add_layout(struct program *p)
{
	u64 bits[16], words = 1 + world_below(p->w, 1ULL << world_below(p->w, 10));
	u32 i;

	if (p->w->nr_layouts == WORLD_LAYOUTS)
		return;
	for (i = 0; i < ARRAY_SIZE(bits); i++)
		bits[i] = world_rnd(p->w) & (world_below(p->w, 2) ? ~0ULL : world_rnd(p->w));
	if (words % 64)
		bits[words / 64] &= (1ULL << words % 64) - 1;
	world_layout(p->w, words, bits);
}

/* Something that the program can reach, or 0: a root, and some steps from it. */
static u32 pick(struct program *p)
{
	struct graph *g = &p->g;
	u32 id = g->root[world_below(p->w, PROGRAM_ROOTS)], steps, k;

	for (steps = world_below(p->w, 10); id && g->node[id].kid && steps; steps--) {
		k = world_below(p->w, g->node[id].words);
		if (g->node[id].kid[k])
			id = g->node[id].kid[k];
	}
	return id;
}

static u64 inside(struct program *p, u32 id)
{
	return world_below(p->w, 2) ? 0 : world_below(p->w, p->g.node[id].words * 8ULL);
}

static void put(struct program *p, u32 id)
{
	struct graph *g = &p->g;
	u32 from = pick(p), k;

	if (from && g->node[from].kid && world_below(p->w, 3)) {
		k = world_below(p->w, g->node[from].words);
		if (world_is_pointer(p->w, g->node[from].kind, g->node[from].layout, k)) {
			graph_link(g, from, k, id, id ? inside(p, id) : 0);
			return;
		}
	}
	/* not at the start: that would keep the neighbour, too */
	graph_root(g, world_below(p->w, PROGRAM_ROOTS), id,
		   id ? 8 + world_below(p->w, g->node[id].words * 8ULL - 8) : 0);
}

static void drop_half(struct program *p)
{
	u32 i;

	for (i = 0; i < PROGRAM_ROOTS; i++)
		if (world_below(p->w, 2))
			graph_root(&p->g, i, 0, 0);
}

static void whole_cycle(struct program *p)
{
	world_hooks.relax = 0;
	/* void ones and half ones first: then exactly what is reachable is left */
	world_collect(p->w);
	graph_check_swept(&p->g, true);
	p->cycles++;
}

static void part_of_cycle(struct program *p)
{
	struct world *w = p->w;

	if (w->a.phase == GCARENA_PHASE_OFF) {
		assert_int_equal(gca_sweep_finish(&w->a), 0);
		graph_check_swept(&p->g, false);
		world_cycle(w, GCA_UNTIL_MARKING);
	} else {
		if (!world_below(w, 8))
			w->sh->ring_tail += 1000 + world_below(w, 1 << 20);
		else if (!world_below(w, 8))
			world_hooks.relax = 1 + world_below(w, 40);
		world_cycle(w, GCA_UNTIL_MARKED);
		world_hooks.relax = 0;
		p->voided += w->a.void_reason != 0;
		graph_check_contents(&p->g);
	}
}

static void allocate(struct program *p)
{
	u32 id = graph_random_new(&p->g, world_below(p->w, 500) ? 100 : 50000);

	if (!id) {
		/* full: the only way out is a collection and fewer roots */
		assert_int_equal(p->w->err, -ENOSPC);
		drop_half(p);
		whole_cycle(p);
		return;
	}
	put(p, id);
	if (p->w->wants & GCARENA_WANT_COLLECT)
		whole_cycle(p);
}

/* Return free pages, as a thread in SERVE would; some never come back clean. */
static void scavenge(struct program *p)
{
	struct gcarena_run run[16];
	u32 n, i;

	n = gca_pages_take_dirty(&p->w->a, 1 + world_below(p->w, 8), run, world_below(p->w, 16),
				 world_below(p->w, 200), world_below(p->w, 2));
	for (i = 0; i < n; i++)
		madvise((void *)run[i].start, run[i].len, MADV_DONTNEED);
	gca_scavenge_done(&p->w->a, run, n);
}

static void change_roots(struct program *p)
{
	struct gcarena_range r = { (u64)p->extra, sizeof(p->extra), world_below(p->w, 2), 0 };
	static u32 kind;

	if (p->extra_added)
		r.kind = kind;
	kind = r.kind;
	assert_int_equal(gca_roots_update(&p->w->a, &r, !p->extra_added, &r, p->extra_added), 0);
	p->extra_added = !p->extra_added;
}

static void step(struct program *p)
{
	switch (world_below(p->w, 1000)) {
	case 0 ... 599:
		allocate(p);
		break;
	case 600 ... 899:
		put(p, world_below(p->w, 4) ? pick(p) : 0);
		break;
	case 900 ... 909:
		part_of_cycle(p);
		break;
	case 910 ... 914:
		world_detach(p->w);
		world_attach(p->w);
		break;
	case 915 ... 924:
		assert_int_equal(gca_settle(&p->w->m), 0);
		break;
	case 925 ... 934:
		scavenge(p);
		break;
	case 935 ... 939:
		change_roots(p);
		break;
	case 940 ... 949:
		add_layout(p);
		break;
	case 950 ... 951:
		whole_cycle(p);
		break;
	case 952 ... 953:
		drop_half(p);
		break;
	case 954 ... 960:
		assert_int_equal(gca_stats_sync(&p->w->a), 0);
		break;
	case 961 ... 963:
		if (p->w->a.phase == GCARENA_PHASE_OFF)
			assert_int_equal(gca_sweep_finish(&p->w->a), 0);
		break;
	default:
		break;
	}
}

static void one_round(u64 seed, u32 debug, u64 n)
{
	struct program *p = test_calloc(1, sizeof(*p));
	struct gcarena_stats s = {};
	u64 i;

	print_message("seed %llu debug %u clobber %u misses %u\n", (unsigned long long)seed, debug,
		      (u32)(seed % 3 == 0), (u32)(seed / 2 % 3));
	p->w = world_open(seed % 4 ? 256 * MIB : 64 * MIB, debug, seed);
	p->w->clobber = seed % 3 == 0;
	p->w->a.knob.percent = seed % 5 ? 50 : 100;
	p->w->a.knob.heap_min = 256 << 10;
	gca_pace(&p->w->a);
	if (seed / 2 % 3)
		world_hooks.miss = seed / 2 % 3 == 1 ? miss_some : everything;
	world_hooks.miss_roots = seed % 7 == 0;
	graph_init(&p->g, p->w);
	add_layout(p);
	for (i = 0; i < n; i++)
		step(p);
	whole_cycle(p);
	assert_int_equal(gca_stats_sync(&p->w->a), 0);
	gca_stats_read(&p->w->a, &s);
	assert_int_equal(s.allocated - s.freed, p->g.reached_bytes);
	assert_int_equal(s.live, p->g.reached_bytes);
	print_message("  %llu cycles, %llu void, %u objects, %llu overflows, %llu missed\n", s.cycles,
		      s.voided, p->g.n, s.overflows, s.missed);
	assert_true(p->cycles > 2);
	/* nothing left */
	for (i = 0; i < PROGRAM_ROOTS; i++)
		graph_root(&p->g, i, 0, 0);
	whole_cycle(p);
	assert_int_equal(p->g.reached, 0);
	world_detach(p->w);
	world_collect(p->w);
	gca_stats_read(&p->w->a, &s);
	assert_int_equal(s.heap, 0);
	assert_int_equal(s.allocated, s.freed);
	graph_fini(&p->g);
	world_close(p->w);
	test_free(p);
}

static void test_random(void **state)
{
	u64 i;

	for (i = 0; i < rounds; i++)
		one_round(first_seed + i, (first_seed + i) % (GCARENA_DEBUG_ALL + 1), operations);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

#ifdef GCA_ASAN
	rounds = 12;
	operations = 15000;
#endif
	operations = world_arg(argc, argv, 1, operations);
	first_seed = world_arg(argc, argv, 2, first_seed);
	rounds = world_arg(argc, argv, 3, rounds);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
