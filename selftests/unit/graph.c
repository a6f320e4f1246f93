// SPDX-License-Identifier: MIT
/*
 * graph.c: the unit tests' shadow graph.  See world.h.
 */
#include "world.h"

void graph_init(struct graph *g, struct world *w)
{
	memset(g, 0, sizeof(*g));
	g->w = w;
	g->n = 1;
}

void graph_fini(struct graph *g)
{
	u32 i;

	for (i = 1; i < g->n; i++) {
		free(g->node[i].val);
		free(g->node[i].kid);
	}
	free(g->node);
	free(g->stack);
	memset(g, 0, sizeof(*g));
}

static u64 canary(const struct graph *g, u32 id, u64 word)
{
	u64 z = (id * 0x9e3779b97f4a7c15ULL + word) * 0xbf58476d1ce4e5b9ULL;

	(void)g;
	return z | 1ULL << 63;	/* never in the heap */
}

/**
 * graph_new() - a new object, held by nothing yet
 *
 * Return: its number, or 0 and g->w->err.
 */
u32 graph_new(struct graph *g, u32 kind, u64 words, u32 layout)
{
	struct world *w = g->w;
	struct node *o;
	u64 k, addr;
	u32 id;

	addr = world_alloc(w, words * 8, kind, layout);
	if (!addr)
		return 0;
	if (g->n >= g->room) {
		g->room = g->room ? 2 * g->room : 4096;
		g->node = realloc(g->node, g->room * sizeof(*g->node));
		g->stack = realloc(g->stack, g->room * sizeof(*g->stack));
	}
	id = g->n++;
	o = &g->node[id];
	memset(o, 0, sizeof(*o));
	o->addr = addr;
	o->words = words;
	o->kind = kind;
	o->layout = layout;
	o->alive = true;
	o->val = calloc(words, sizeof(u64));
	o->kid = kind == GCARENA_NOSCAN ? NULL : calloc(words, sizeof(u32));
	for (k = 0; k < words; k++) {
		if (kind == GCARENA_CONSERVATIVE) {
			/* any word may become a link; the others are no addresses */
			o->val[k] = k % 2 ? 0 : canary(g, id, k);
		} else if (!world_is_pointer(w, kind, o->layout, k)) {
			/* must not be looked at: a pointer to another object */
			o->val[k] = k && id > 1 ? g->node[1 + world_below(w, id - 1)].addr :
						  canary(g, id, k);
		}
		((u64 *)addr)[k] = o->val[k];
	}
	return id;
}

bool graph_reachable(const struct graph *g, u32 id)
{
	return g->node[id].stamp == g->stamp;
}

/** graph_link() - word @word of @from := address of @to plus @off; @to 0: NULL */
void graph_link(struct graph *g, u32 from, u64 word, u32 to, u64 off)
{
	struct node *o = &g->node[from];

	assert_true(world_is_pointer(g->w, o->kind, o->layout, word));
	o->val[word] = to ? g->node[to].addr + off : 0;
	o->kid[word] = to;
	world_store(g->w, o->addr + 8 * word, o->val[word]);
}

void graph_root(struct graph *g, u32 slot, u32 to, u64 off)
{
	g->root[slot] = to;
	world_store(g->w, (u64)&g->w->root[slot], to ? g->node[to].addr + off : 0);
}

static void reach(struct graph *g, u32 id, u32 *depth)
{
	struct node *o = &g->node[id];

	if (!id || o->stamp == g->stamp)
		return;
	if (!o->alive)
		fail_msg("reachable object %u was taken for dead", id);
	o->stamp = g->stamp;
	g->reached++;
	g->stack[(*depth)++] = id;
}

/** graph_reach() - what graph_reachable() answers from here on */
void graph_reach(struct graph *g)
{
	u32 depth = 0, i, k;
	struct node *o;

	g->stamp++;
	g->reached = 0;
	g->reached_bytes = 0;
	for (i = 0; i < WORLD_ROOTS; i++)
		reach(g, g->root[i], &depth);
	while (depth) {
		struct gca_ref r = {};

		o = &g->node[g->stack[--depth]];
		assert_true(gca_find(&g->w->a, o->addr, &r));
		g->reached_bytes += gca_slot_bytes(&g->w->a, r.pw, r.head);
		for (k = 0; o->kid && k < o->words; k++)
			if (o->kid[k])
				reach(g, o->kid[k], &depth);
	}
}

static void bury(struct graph *g, u32 i, const char *why)
{
	struct node *o = &g->node[i];

	if (o->stamp == g->stamp)
		fail_msg("reachable object %u at %#llx: %s", i, (unsigned long long)o->addr, why);
	o->alive = false;
	free(o->val);
	free(o->kid);
	o->val = NULL;
	o->kid = NULL;
}

/*
 * An object whose slot has a newer one, or is a slot no more, was swept some
 * time ago.  Newest first: who comes to a slot first has it.
 */
static void bury_overwritten(struct graph *g)
{
	u32 size = 1U << (33 - __builtin_clz(g->n)), i, h, *slot;
	struct gca_ref r;

	slot = calloc(size, sizeof(*slot));
	for (i = g->n - 1; i > 0; i--) {
		struct node *o = &g->node[i];

		if (!o->alive)
			continue;
		if (!gca_find(&g->w->a, o->addr, &r) || o->addr - g->w->a.base - r.off > 8) {
			bury(g, i, "its slot is gone");
			continue;
		}
		for (h = r.off / 16 & (size - 1); slot[h]; h = (h + 1) & (size - 1))
			if (slot[h] == r.off / 16 + 1)
				break;
		if (slot[h])
			bury(g, i, "its slot was handed out again");
		slot[h] = r.off / 16 + 1;	/* two slots are never so near */
	}
	free(slot);
}

/** graph_check_contents() - every reachable object is as it was written */
void graph_check_contents(struct graph *g)
{
	u32 i;

	graph_reach(g);
	bury_overwritten(g);
	for (i = 1; i < g->n; i++) {
		struct node *o = &g->node[i];

		if (o->stamp == g->stamp && memcmp(o->val, (void *)o->addr, o->words * 8ULL))
			fail_msg("object %u at %#llx is corrupt", i, (unsigned long long)o->addr);
	}
}

/** graph_check_marks() - after marking, before sweep: marked exactly what is reachable */
void graph_check_marks(struct graph *g)
{
	u32 i;

	graph_check_contents(g);
	world_check_summary(g->w);
	for (i = 1; i < g->n; i++) {
		struct node *o = &g->node[i];

		if (o->alive && world_marked(g->w, o->addr) != (o->stamp == g->stamp))
			fail_msg("object %u at %#llx kind %u words %u: %s", i,
				 (unsigned long long)o->addr, o->kind, o->words,
				 o->stamp == g->stamp ? "reachable, not marked" :
							"marked, not reachable");
	}
}

/**
 * graph_check_swept() - after a sweep: what is reachable is there
 * @exact: and nothing else: the cycle was one stop
 */
void graph_check_swept(struct graph *g, bool exact)
{
	u32 i;

	graph_check_contents(g);
	for (i = 1; i < g->n; i++) {
		struct node *o = &g->node[i];
		bool held;

		if (!o->alive)
			continue;
		held = world_holds(g->w, o->addr);
		if (o->stamp == g->stamp) {
			if (!held)
				fail_msg("object %u at %#llx was freed", i,
					 (unsigned long long)o->addr);
		} else if (!held) {
			bury(g, i, "swept");
		} else if (exact) {
			fail_msg("object %u at %#llx was not freed", i,
				 (unsigned long long)o->addr);
		}
	}
	if (exact)
		assert_int_equal(world_held(g->w), g->reached);
}

u32 graph_random_kind(struct world *w)
{
	return world_below(w, GCARENA_NR_KINDS);
}

/** graph_random_new() - an object of any kind and a size of any sort */
u32 graph_random_new(struct graph *g, u64 max_words)
{
	struct world *w = g->w;
	u64 words = 2 + world_below(w, 1ULL << world_below(w, 64 - __builtin_clzll(max_words)));
	u32 kind = graph_random_kind(w);

	if (kind == GCARENA_PRECISE && !w->nr_layouts)
		kind = GCARENA_CONSERVATIVE;
	return graph_new(g, kind, min(words, max_words),
			 w->nr_layouts ? world_below(w, w->nr_layouts) : 0);
}

/** graph_random_links() - point up to @links words of @from to objects that are alive */
void graph_random_links(struct graph *g, u32 from, u32 links)
{
	struct node *o = &g->node[from];
	struct world *w = g->w;

	if (o->kind == GCARENA_NOSCAN)
		return;
	while (links--) {
		u32 to = 1 + world_below(w, g->n - 1), word = world_below(w, o->words);
		u64 off = world_below(w, 2) ? 0 : world_below(w, g->node[to].words * 8ULL);

		if (g->node[to].alive && world_is_pointer(w, o->kind, o->layout, word))
			graph_link(g, from, word, to, off);
	}
}

/* ------------------------------------------------- what most tests begin with */

static void add_layouts(struct world *w)
{
	static const u64 all[2] = { ~0ULL, ~0ULL }, none[2], odd[1] = { 0x5 };
	u64 wide[130] = {}, one = 1;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(wide) * 64; i += 3 + i % 5)
		wide[i / 64] |= 1ULL << i % 64;
	world_layout(w, 1, &one);
	world_layout(w, 3, odd);
	world_layout(w, 64, all);
	world_layout(w, 128, none);
	wide[1] |= 1;
	world_layout(w, 1000, (u64[16]){ wide[0], wide[1], wide[2], wide[3], wide[4], wide[5],
		     wide[6], wide[7], wide[8], wide[9], wide[10], wide[11], wide[12], wide[13],
		     wide[14], wide[15] & ((1ULL << 40) - 1) });
	world_layout(w, 8192, wide);
}

/** graph_hold() - a root into the object: one at its start would keep its neighbour, too */
void graph_hold(struct graph *g, u32 slot, u32 to)
{
	graph_root(g, slot, to, to ? 8 + world_below(g->w, g->node[to].words * 8ULL - 8) : 0);
}

/** graph_check_cycle() - mark; compare; sweep; compare */
void graph_check_cycle(struct graph *g)
{
	struct world *w = g->w;

	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(w->a.void_reason, 0);
	assert_int_equal(w->a.phase, GCARENA_PHASE_OFF);
	graph_check_marks(g);
	assert_int_equal(w->a.totals.live, g->reached_bytes);
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	graph_check_swept(g, true);
	assert_true(world_marks_zero(w));
	assert_int_equal(w->a.totals.live, g->reached_bytes);
}

/** graph_open() - a world with some layouts, and an empty graph */
void graph_open(struct graph *g, u32 debug, u64 seed)
{
	struct world *w = world_open(1ULL << 30, debug, seed);

	add_layouts(w);
	graph_init(g, w);
}

/** graph_close() - drop everything: nothing must be left */
void graph_close(struct graph *g)
{
	struct world *w = g->w;
	u32 i;

	for (i = 0; i < WORLD_ROOTS; i++)
		graph_root(g, i, 0, 0);
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	graph_check_swept(g, false);
	graph_check_cycle(g);
	assert_int_equal(g->reached, 0);
	world_detach(w);
	world_collect(w);
	assert_int_equal(w->a.heap.inuse, 0);
	graph_fini(g);
	world_close(w);
}

void graph_must(u32 id)
{
	if (!id)
		fail_msg("allocation failed");
}

/** graph_tree() - a complete tree of @depth levels.  Return: its root */
u32 graph_tree(struct graph *g, u32 depth, u32 kind)
{
	u32 id = graph_new(g, kind, 4, 2);

	graph_must(id);
	if (depth > 1) {
		graph_link(g, id, 0, graph_tree(g, depth - 1, kind), 0);
		graph_link(g, id, 2, graph_tree(g, depth - 1, kind), 16);
	}
	return id;
}

/** graph_random() - @n more objects of all kinds, linked at random, some held */
void graph_random(struct graph *g, u32 n, u64 max_words, u32 links, u32 roots)
{
	struct world *w = g->w;
	u32 i, first = g->n;

	for (i = 0; i < n; i++)
		graph_must(graph_random_new(g, max_words));
	for (i = first; i < g->n; i++)
		graph_random_links(g, i, 1 + world_below(w, 2 * links));
	for (i = 0; i < roots; i++)
		graph_hold(g, world_below(w, WORLD_ROOTS), first + world_below(w, n));
}
