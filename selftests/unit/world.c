// SPDX-License-Identifier: MIT
/*
 * world.c: the unit tests' world and shadow graph.  See world.h.
 */
#include <sys/mman.h>

#include "world.h"

struct world_hooks world_hooks;

/* ---------------------------------------------------------------- the port */

bool gca_uread_hook(u64 addr)
{
	return world_hooks.miss && world_hooks.miss(addr);
}

int gca_port_copy(struct gca_arena *a, void *dst, u64 src, size_t bytes)
{
	u64 *to = dst;
	size_t i;

	(void)a;
	__atomic_fetch_add(&world_hooks.copies, 1, __ATOMIC_RELAXED);
	for (i = 0; i < bytes / 8; i++) {
		if (world_hooks.unreadable && world_hooks.unreadable(src + 8 * i))
			return -EFAULT;
		to[i] = gca_uread_word(src + 8 * i);
	}
	return 0;
}

int gca_port_copy_nofault(struct gca_arena *a, void *dst, u64 src, size_t bytes)
{
	if (world_hooks.miss_roots)
		return -EFAULT;
	__atomic_fetch_sub(&world_hooks.copies, 1, __ATOMIC_RELAXED);
	return gca_port_copy(a, dst, src, bytes);
}

int gca_port_unreadable(struct gca_arena *a, u64 addr)
{
	(void)a;
	(void)addr;
	return world_hooks.judge;
}

int gca_port_stop(struct gca_arena *a)
{
	world_hooks.stops++;
	if (world_hooks.stop_err)
		return world_hooks.stop_err;
	if (world_hooks.in_stop)
		world_hooks.in_stop(a);
	return 0;
}

void gca_port_stack(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s)
{
	(void)a;
	(void)m;
	if (world_hooks.stack)
		*s = *world_hooks.stack;
}

bool gca_port_relax(struct gca_arena *a)
{
	(void)a;
	if (!world_hooks.relax)
		return false;
	if (world_hooks.relax > 1)
		world_hooks.relax--;
	return world_hooks.relax == 1;
}

/* ------------------------------------------------------------------- chance */

/* splitmix64 */
u64 world_rnd(struct world *w)
{
	u64 z = w->seed += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

u64 world_below(struct world *w, u64 n)
{
	return world_rnd(w) % n;
}

u64 world_arg(int argc, char **argv, int i, u64 dflt)
{
	return argc > i ? strtoull(argv[i], NULL, 0) : dflt;
}

/* ---------------------------------------------------------------- the world */

struct world *world_open(u64 reserve, u32 debug, u64 seed)
{
	struct gcarena_range range = {};
	struct world *w = test_calloc(1, sizeof(*w));

	memset(&world_hooks, 0, sizeof(world_hooks));
	gca_warnings = 0;
	w->seed = seed;
	w->reserve = reserve;
	w->heap = mmap(NULL, reserve, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(w->heap, MAP_FAILED);
	assert_int_equal(gca_arena_init(&w->a, reserve, &w->ctl, debug), 0);
	gca_arena_map(&w->a, (u64)w->heap);
	w->sh = test_calloc(1, gca_mutator_bytes(WORLD_SLOTS));
	assert_int_equal(gca_mutator_init(&w->m, &w->a, WORLD_SLOTS, w->sh), 0);
	world_attach(w);
	range.start = (u64)w->root;
	range.len = sizeof(w->root);
	assert_int_equal(gca_roots_update(&w->a, &range, 1, NULL, 0), 0);
	return w;
}

/* Nothing is left: all metadata has been given back, nothing was complained about. */
void world_close(struct world *w)
{
	u32 i;

	memset(&world_hooks, 0, sizeof(world_hooks));
	assert_int_equal(gca_warnings, 0);
	world_detach(w);
	gca_mutator_fini(&w->m);
	gca_arena_fini(&w->a);
	assert_int_equal(w->a.metadata, 0);
	assert_int_equal(gca_warnings, 0);
	for (i = 0; i < w->nr_layouts; i++)
		test_free(w->layout[i]);
	munmap(w->heap, w->reserve);
	test_free(w->sh);
	test_free(w);
}

void world_attach(struct world *w)
{
	assert_int_equal(gca_mutator_attach(&w->m), 0);
}

void world_detach(struct world *w)
{
	assert_int_equal(gca_mutator_detach(&w->m), 0);
}

u32 world_layout(struct world *w, u32 words, const u64 *bits)
{
	size_t bytes = DIV_ROUND_UP(words, 64) * 8;
	struct gca_layout *l = test_calloc(1, sizeof(*l) + bytes);
	u32 id;

	l->words = words;
	memcpy(l->bits, bits, bytes);
	assert_int_equal(gca_layout_add(&w->a, words * 8, bits, &id), 0);
	assert_int_equal(id, w->nr_layouts);
	assert_true(id < WORLD_LAYOUTS);
	w->layout[w->nr_layouts++] = l;
	return id;
}

bool world_is_pointer(const struct world *w, u32 kind, u32 layout, u64 word)
{
	const struct gca_layout *l;

	if (kind != GCARENA_PRECISE)
		return kind == GCARENA_CONSERVATIVE;
	l = w->layout[layout];
	word %= l->words;
	return l->bits[word / 64] >> (word % 64) & 1;
}

static u32 next_free(const struct gcarena_slot *s, u32 i)
{
	while (i < s->nelems && s->bits[i / 64] >> (i % 64) & 1)
		i++;
	return i;
}

static u64 slot_addr(const struct gcarena_slot *s, u32 i)
{
	return s->base + (u64)i * s->elem_size;
}

/* What the library does with spans just lent: gcl's prepare_spans(). */
static void prepare_spans(struct world *w, u32 sc)
{
	u32 n, i;

	for (n = w->sh->current_slot[sc]; n; n = w->sh->slot[n].next) {
		struct gcarena_slot *s = &w->sh->slot[n];

		if (w->clobber || s->flags & GCARENA_SLOT_NEEDZERO)
			for (i = next_free(s, s->free_index); i < s->nelems;
			     i = next_free(s, i + 1))
				memset((void *)slot_addr(s, i), w->clobber ? 0xdb : 0,
				       s->elem_size);
		if (w->clobber)
			s->flags |= GCARENA_SLOT_CLOBBERED;
		s->flags &= ~GCARENA_SLOT_NEEDZERO;
	}
}

/* The next slot of a class, not yet committed; NULL and w->err if there is none. */
static struct gcarena_slot *find_slot(struct world *w, u32 sc, u32 *index)
{
	u16 *current = &w->sh->current_slot[sc];
	struct gcarena_slot *s;
	u32 count;

	for (;;) {
		while (*current) {
			s = &w->sh->slot[*current];
			*index = next_free(s, s->free_index);
			if (*index < s->nelems)
				return s;
			WRITE_ONCE(s->free_index, s->nelems);
			*current = s->next;
		}
		count = 1 + world_below(w, 3);
		w->err = gca_refill(&w->m, sc, &count, &w->wants);
		if (w->err)
			return NULL;
		assert_true(count > 0);
		prepare_spans(w, sc);
	}
}

static void assert_zero(u64 addr, u64 bytes)
{
	const u64 *p = (const u64 *)addr;
	u64 i;

	for (i = 0; i < bytes / 8; i++)
		if (p[i])
			fail_msg("fresh memory at %#llx is not zero", (unsigned long long)&p[i]);
}

static u64 take_zeroed(struct world *w, const struct gcarena_slot *s, u32 index)
{
	u64 addr = slot_addr(s, index);

	if (w->clobber || s->flags & GCARENA_SLOT_CLOBBERED)
		memset((void *)addr, 0, s->elem_size);
	else
		assert_zero(addr, s->elem_size);
	return addr;
}

/* A slot without header or bitmap; 0 and w->err if there is none. */
u64 world_alloc_class(struct world *w, u32 sc)
{
	struct gcarena_slot *s;
	u32 index;
	u64 addr;

	s = find_slot(w, sc, &index);
	if (!s)
		return 0;
	addr = take_zeroed(w, s, index);
	WRITE_ONCE(s->free_index, index + 1);
	return addr;
}

static void tail_bits(struct world *w, u64 addr, u64 words, u32 layout)
{
	u64 page = addr & ~(GCARENA_PAGE_SIZE - 1), first = (addr - page) / 8, i;
	u64 *bits = (u64 *)(page + GCARENA_BITMAP_OFFSET);

	for (i = 0; i < words; i++) {
		u64 bit = first + i;

		bits[bit / 64] &= ~(1ULL << bit % 64);
		if (world_is_pointer(w, GCARENA_PRECISE, layout, i))
			bits[bit / 64] |= 1ULL << bit % 64;
	}
}

/**
 * world_alloc() - an object of @bytes (a multiple of 8), as the library would
 *
 * Zeroed.  Header or bitmap are written before the commit.
 * Return: its address, or 0 and w->err.
 */
u64 world_alloc(struct world *w, u64 bytes, u32 kind, u32 layout)
{
	u32 header = kind == GCARENA_PRECISE && bytes > GCARENA_BITMAP_MAX ? 8 : 0, index, flags;
	struct gcarena_slot *s;
	u64 addr;

	w->wants = 0;
	if (bytes + header > GCARENA_SMALL_MAX) {
		w->err = gca_large(&w->a, bytes, kind, kind == GCARENA_PRECISE ? layout : 0,
				   &addr, &flags);
		if (w->err)
			return 0;
		w->wants = flags & ~GCARENA_LARGE_NEEDZERO;
		bytes = ALIGN(bytes, GCARENA_PAGE_SIZE);
		if (flags & GCARENA_LARGE_NEEDZERO)
			memset((void *)addr, 0, bytes);
		else if (bytes < 16 * MIB)
			assert_zero(addr, bytes);
		return addr;
	}
	s = find_slot(w, GCARENA_SPAN_CLASS(gca_size_class(bytes + header), kind), &index);
	if (!s)
		return 0;
	addr = take_zeroed(w, s, index);
	if (header)
		*(u64 *)addr = layout;
	else if (kind == GCARENA_PRECISE)
		tail_bits(w, addr, s->elem_size / 8, layout);
	WRITE_ONCE(s->free_index, index + 1);
	return addr + header;
}

/** world_store() - the library's barrier, then the store */
void world_store(struct world *w, u64 slot, u64 value)
{
	u64 old = *(u64 *)slot;

	if (READ_ONCE(w->ctl.barrier) && old && !w->no_barrier) {
		while (w->sh->ring_tail - READ_ONCE(w->sh->ring_head) == GCARENA_RING_ENTRIES)
			assert_int_equal(gca_settle(&w->m), 0);
		w->sh->ring[w->sh->ring_tail % GCARENA_RING_ENTRIES] = old;
		smp_store_release(&w->sh->ring_tail, w->sh->ring_tail + 1);
	}
	__atomic_store_n((u64 *)slot, value, __ATOMIC_RELAXED);
}

void world_cycle(struct world *w, enum gca_until until)
{
	assert_int_equal(gca_collect(&w->a, until, true, WORLD_TIMEOUT), 0);
}

void world_collect(struct world *w)
{
	world_cycle(w, GCA_UNTIL_SWEPT);
	assert_int_equal(w->a.void_reason, GCARENA_VOID_NONE);
	assert_int_equal(atomic64_read(&w->a.unswept), 0);
}

static void find(struct world *w, u64 addr, struct gca_ref *r)
{
	if (!gca_find(&w->a, addr, r))
		fail_msg("%#llx is in no slot", (unsigned long long)addr);
}

bool world_marked(struct world *w, u64 addr)
{
	struct gca_ref r;

	find(w, addr, &r);
	return gca_pair(&w->a, r.head, r.index / 64)[0] >> (r.index % 64) & 1;
}

/* Does the slot that @addr is in hold an object, as the collector sees it? */
bool world_holds(struct world *w, u64 addr)
{
	struct gca_span *s;
	struct gca_ref r;
	u32 free;

	if (!gca_find(&w->a, addr, &r))
		return false;
	s = gca_span(&w->a, r.head);
	free = s->owner ? gca_mutator_observe(s->owner, s->slot) : s->free;
	return gca_pair(&w->a, r.head, r.index / 64)[1] >> (r.index % 64) & 1 ||
	       (r.index >= gca_pw_base(r.pw) && r.index < free);
}

typedef void span_visitor(struct world *w, struct gca_span *s, u64 *sum);

static u64 each_span(struct world *w, span_visitor *visit)
{
	struct gca_arena *a = &w->a;
	u64 sum = 0;
	u32 i, p;

	for (i = 0; i < a->nr_chunks; i++) {
		if (a->chunk[i] == a->empty || gca_chunk_is_inner(a, i))
			continue;
		for (p = 0; p < GCA_CHUNK_PAGES; p++)
			if (a->chunk[i]->span[p].state == GCA_SPAN_INUSE)
				visit(w, &a->chunk[i]->span[p], &sum);
	}
	return sum;
}

static void count_held(struct world *w, struct gca_span *s, u64 *sum)
{
	u64 size = gca_slot_bytes(&w->a, *gca_pw(&w->a, s->page), s->page);
	u32 i;

	for (i = 0; i < s->nelems; i++)
		*sum += world_holds(w, page_addr(w, s->page) + i * size);
}

/* Slots that hold an object. */
u64 world_held(struct world *w)
{
	return each_span(w, count_held);
}

static void count_marks(struct world *w, struct gca_span *s, u64 *sum)
{
	u32 i;

	for (i = 0; i < GCA_BIT_WORDS; i++)
		*sum += hweight64(gca_pair(&w->a, s->page, i)[0]);
}

bool world_marks_zero(struct world *w)
{
	return !each_span(w, count_marks);
}

/* ------------------------------------------------------------------- graphs */

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
		struct gca_ref r;

		o = &g->node[g->stack[--depth]];
		find(g->w, o->addr, &r);
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
