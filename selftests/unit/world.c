// SPDX-License-Identifier: MIT
/*
 * world.c: the unit tests' world.  See world.h.
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

int gca_port_sift(struct gca_arena *a, u64 *dst, u64 src, unsigned int n, u64 base, u64 size)
{
	unsigned int i;
	int kept = 0;

	if (world_hooks.miss_roots || (world_hooks.miss_sift && world_hooks.miss_sift(src, n)))
		return -EFAULT;
	__atomic_fetch_sub(&world_hooks.copies, 1, __ATOMIC_RELAXED);
	if (gca_port_copy(a, dst, src, n * sizeof(*dst)))
		return -EFAULT;
	for (i = 0; i < n; i++)
		if (dst[i] - base <= size)
			dst[kept++] = dst[i];
	return kept;
}

int gca_port_unreadable(struct gca_arena *a, u64 addr)
{
	(void)a;
	(void)addr;
	return world_hooks.judge;
}

int gca_port_stop(struct gca_arena *a, u64 deadline)
{
	world_hooks.stops++;
	if (world_hooks.stop_err)
		return world_hooks.stop_err;
	if (deadline - a->stop_began < world_hooks.stop_needs)
		return -EAGAIN;
	if (world_hooks.in_stop)
		world_hooks.in_stop(a);
	return 0;
}

void gca_port_start(struct gca_arena *a)
{
	if (world_hooks.at_start)
		world_hooks.at_start(a);
}

int gca_port_stack(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s)
{
	(void)a;
	if (m->port)
		*s = *(const struct gca_stack *)m->port;
	else if (world_hooks.stack)
		*s = *world_hooks.stack;
	return 0;
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
	range.kind = GCARENA_ROOT_PLAIN;
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
		w->err = gca_refill(&w->m, sc, &count);
		w->wants = gca_cycle_wanted(&w->a) ? GCARENA_WANT_COLLECT : 0;
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
		w->err = gca_large(&w->m, bytes, kind, kind == GCARENA_PRECISE ? layout : 0,
				   &addr, &flags);
		if (w->err)
			return 0;
		w->wants = gca_cycle_wanted(&w->a) ? GCARENA_WANT_COLLECT : 0;
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
	assert_int_equal(gca_collect(&w->a, ORDER(until, true, WORLD_TIMEOUT)), 0);
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
	struct gca_ref r = {};

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
		if (!gca_chunk_own(a, i))
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
	world_check_summary(w);
	return !each_span(w, count_marks);
}

/* A bit a page: begins a span; begins a span with a mark. */
void world_check_summary(struct world *w)
{
	struct gca_arena *a = &w->a;
	u32 i, p;

	for (i = 0; i < a->nr_chunks; i++) {
		struct gca_chunk *c = gca_chunk_own(a, i);

		for (p = 0; c && p < GCA_CHUNK_PAGES; p++) {
			bool inuse = c->span[p].state == GCA_SPAN_INUSE;
			u64 marks = 0;

			if (inuse)
				count_marks(w, &c->span[p], &marks);
			assert_int_equal(*GCA_PAGE_WORD(c->inuse, p) >> (p & 63) & 1, inuse);
			assert_int_equal(*GCA_PAGE_WORD(c->marked, p) >> (p & 63) & 1, !!marks);
		}
	}
}
