// SPDX-License-Identifier: MIT
/*
 * test_colour.c: the colour rule, exhaustively, on the real code.
 *
 * Spans of a class with four slots, up to two of them, and every order of:
 * refill, allocate, drop (with and without settling the ring), hand back
 * (detach and attach), begin a cycle, finish it, void it, sweep; through three
 * cycles.  The walk is depth first over states: after an operation the bytes
 * that matter are put back for the next alternative, and a state seen before is
 * not entered again.
 *
 * The oracle knows of each slot whether the program holds it, whether that began
 * in this cycle, and when it was dropped.  It demands:
 *  - a slot that is held is an object for the collector, always, and is never
 *    handed out again;
 *  - while marking, what existed at the begin stop is old (else its children are
 *    not scanned) and what came later is black;
 *  - what was dropped before a cycle began is gone after its sweep;
 *  - an object out of nothing (a *zombie*) comes only from the owner's copy of
 *    the alloc bits saying "taken" too often, and is gone a cycle later.
 */
#include "world.h"

#define SLOTS		4
#define PAGES		4	/* of metadata looked at */
#define MAX_DEPTH	100000

#define SC	GCARENA_SPAN_CLASS(gca_size_class_2048, GCARENA_NOSCAN)
static unsigned int gca_size_class_2048;
static u32 max_spans, max_live, max_cycles;

enum ghost { FREE, LIVE, LIVE_BLACK, DEAD, DEAD_OLD };

/* What the oracle knows. */
struct model {
	u8 slot[PAGES][SLOTS];
	u8 cycles;
	u8 span_pages;
};

static struct model model;

/* ------------------------------------------------------- saving and restoring */

struct region {
	void *p;
	size_t n;
};

static struct region region[64];
static u32 nr_regions;
static size_t frame_bytes;

static void add_region(void *p, size_t n)
{
	assert_true(nr_regions < ARRAY_SIZE(region));
	region[nr_regions++] = (struct region) { p, n };
	frame_bytes += n;
}

static void find_regions(struct world *w)
{
	struct gca_chunk *c = w->a.chunk[0];
	u32 i;

	nr_regions = 0;
	frame_bytes = 0;
	add_region(&w->a, offsetof(struct gca_arena, central));
	add_region(&w->a.central[SC], sizeof(w->a.central[SC]));
	add_region(&w->a.large, sizeof(w->a) - offsetof(struct gca_arena, large));
	add_region(&c->pw[0], PAGES * sizeof(c->pw[0]));
	add_region(&c->bits[0], PAGES * GCA_BIT_WORDS * 2 * sizeof(u64));
	add_region(&c->marked[0], sizeof(c->marked[0]));
	add_region(&c->inuse[0], sizeof(c->inuse[0]));
	add_region(&c->span[0], (PAGES + 1) * sizeof(c->span[0]));
	for (i = 0; i < GCA_WBUFS; i++)
		add_region(&c->wbuf[i], offsetof(struct gca_wbuf, obj[8]));
	add_region(&w->m, sizeof(w->m));
	add_region(w->m.twin, 4 * sizeof(w->m.twin[0]));
	add_region(w->sh, offsetof(struct gcarena_mutator, ring[16]));
	add_region(w->sh->slot, 4 * sizeof(w->sh->slot[0]));
	add_region(&w->ctl, sizeof(w->ctl));
	add_region(w->root, PAGES * SLOTS * sizeof(u64));
	add_region(&model, sizeof(model));
	/* the cycle's jobs: allocated once */
	add_region(w->a.job_state, w->a.job_bytes);
	add_region(w->a.roots, w->a.roots->alloc_bytes);
}

static void save(char *to)
{
	u32 i;

	for (i = 0; i < nr_regions; to += region[i++].n)
		memcpy(to, region[i].p, region[i].n);
}

static void restore(const char *from)
{
	u32 i;

	for (i = 0; i < nr_regions; from += region[i++].n)
		memcpy(region[i].p, from, region[i].n);
}

/* ------------------------------------------------------------------ the state */

static u64 hash_of;

static void mix(u64 v)
{
	hash_of = (hash_of ^ v) * 0x9e3779b97f4a7c15ULL;
	hash_of ^= hash_of >> 29;
}

static void mix_list(struct list_head *l)
{
	struct gca_span *s;

	list_for_each_entry(s, l, link)
		mix(s->page + 1);
	mix(0x777);
}

static u64 state_hash(struct world *w)
{
	struct gca_arena *a = &w->a;
	u32 i, k, n;

	hash_of = 1;
	mix(a->phase | a->void_reason << 4 | a->marks_dirty << 8);
	for (i = 0; i < max_spans; i++) {
		struct gca_span *s = gca_span(a, i);

		if (s->state != GCA_SPAN_INUSE) {
			mix(0);
			continue;
		}
		mix(*gca_pw(a, i));
		mix(gca_pair(a, i, 0)[0] | gca_pair(a, i, 0)[1] << 8 | (u64)s->free << 16 |
		    (u64)(a->sweepgen - s->sweepgen) << 24 | (u64)s->dirty << 40);
		if (s->owner) {
			struct gcarena_slot *sh = &w->sh->slot[s->slot];

			mix(sh->free_index | sh->nelems << 8 | (sh->bits[0] & 15) << 16 |
			    (w->sh->current_slot[SC] == s->slot) << 24);
		}
	}
	for (i = w->m.first[SC]; i; i = w->m.twin[i].next)
		mix(w->m.twin[i].span->page);
	mix_list(&a->central[SC].partial);
	mix_list(&a->central[SC].full);
	mix_list(&a->central[SC].unswept);
	n = w->sh->ring_tail - w->m.head;
	for (k = 0; k < min(n, 16U); k++)
		mix(w->sh->ring[(w->m.head + k) % GCARENA_RING_ENTRIES] - a->base);
	mix(n);
	for (i = 0; i < PAGES; i++)
		for (k = 0; k < SLOTS; k++)
			mix(model.slot[i][k]);
	mix(model.cycles);
	return hash_of;
}

/* Open addressing; 0 is empty. */
static u64 *seen;
static u64 seen_size, nr_seen;

static bool see(u64 h)
{
	u64 i;

	h |= 1;
	for (i = h & (seen_size - 1); seen[i]; i = (i + 1) & (seen_size - 1))
		if (seen[i] == h)
			return false;
	seen[i] = h;
	nr_seen++;
	assert_true(nr_seen < seen_size / 2);
	return true;
}

/* -------------------------------------------------------------- operations */

enum op {
	OP_ALLOC, OP_REFILL, OP_HAND_BACK, OP_BEGIN, OP_END, OP_SWEEP, OP_SOME, OP_RECLAIM,
	OP_SETTLE, OP_VOID, OP_DROP,
	NR_OPS = OP_DROP + PAGES * SLOTS,
};

static const char *const op_name[] = {
	"allocate", "refill", "hand back", "begin", "end", "sweep", "sweep one", "reclaim",
	"settle", "void", "drop",
};

static u8 path[MAX_DEPTH];
static u32 depth;

static void explain(struct world *w, const char *what, u32 page, u32 i)
{
	u32 k, from = depth > 60 ? depth - 60 : 0;

	print_error("after");
	for (k = from; k < depth; k++) {
		u32 op = min(path[k], (u8)OP_DROP);

		print_error("%s%s", k == from ? " " : "; ", op_name[op]);
		if (op == OP_DROP)
			print_error(" %u.%u", (path[k] - OP_DROP) / SLOTS, (path[k] - OP_DROP) % SLOTS);
	}
	print_error("\n");
	fail_msg("page %u slot %u: %s", page, i, what);
}

static u64 addr_of(struct world *w, u32 page, u32 i)
{
	return page_addr(w, page) + i * 2048;
}

static u32 nr_live(void)
{
	u32 n = 0, i;

	for (i = 0; i < PAGES * SLOTS; i++)
		n += model.slot[i / SLOTS][i % SLOTS] == LIVE ||
		     model.slot[i / SLOTS][i % SLOTS] == LIVE_BLACK;
	return n;
}

/* Cached with room? */
static struct gcarena_slot *current_room(struct world *w, u32 *index)
{
	u32 n = w->sh->current_slot[SC];
	struct gcarena_slot *s = &w->sh->slot[n];

	if (!n)
		return NULL;
	for (*index = s->free_index; *index < s->nelems; ++*index)
		if (!(s->bits[0] >> *index & 1))
			return s;
	return NULL;
}

static bool do_alloc(struct world *w)
{
	struct gcarena_slot *s;
	u32 index, page;

	if (nr_live() >= max_live)
		return false;
	s = current_room(w, &index);
	if (!s) {
		/* as the library: taken to the end, so that a refill takes it back */
		u32 n = w->sh->current_slot[SC];

		if (!n || w->sh->slot[n].free_index == w->sh->slot[n].nelems)
			return false;
		w->sh->slot[n].free_index = w->sh->slot[n].nelems;
		return true;
	}
	page = (s->base - w->a.base) / GCARENA_PAGE_SIZE;
	s->free_index = index + 1;
	if (model.slot[page][index] == LIVE || model.slot[page][index] == LIVE_BLACK)
		explain(w, "handed out twice", page, index);
	model.slot[page][index] = w->a.phase == GCARENA_PHASE_OFF ? LIVE : LIVE_BLACK;
	/* into the object: a root at its start would keep the one before it, too */
	w->root[page * SLOTS + index] = addr_of(w, page, index) + 8;
	return true;
}

static bool pruned;	/* the operation did something, but leads too far */

static bool do_refill(struct world *w)
{
	u32 n = 1, i, spans = 0;

	if (current_room(w, &i))
		return false;
	for (i = 1; i < 4; i++)
		if (w->m.twin[i].span && w->sh->slot[i].free_index < w->sh->slot[i].nelems)
			return false;	/* not yet taken to the end: do_alloc() does it */
	assert_int_equal(gca_refill(&w->m, SC, &n), 0);
	for (i = 0; i < PAGES; i++)
		spans += gca_span(&w->a, i)->state == GCA_SPAN_INUSE;
	pruned = spans > max_spans;
	return !pruned;
}

static bool do_drop(struct world *w, u32 n)
{
	u8 *g = &model.slot[n / SLOTS][n % SLOTS];

	if (*g != LIVE && *g != LIVE_BLACK)
		return false;
	world_store(w, (u64)&w->root[n], 0);
	*g = DEAD;
	return true;
}

static void end_of_cycle(void)
{
	u32 i;

	for (i = 0; i < PAGES * SLOTS; i++)
		if (model.slot[i / SLOTS][i % SLOTS] == LIVE_BLACK)
			model.slot[i / SLOTS][i % SLOTS] = LIVE;
}

/* A successful cycle has been swept: what died before it began is free. */
static void swept(struct world *w)
{
	u32 i;

	for (i = 0; i < PAGES * SLOTS; i++) {
		u8 *g = &model.slot[i / SLOTS][i % SLOTS];

		if (*g != DEAD_OLD)
			continue;
		if (world_holds(w, addr_of(w, i / SLOTS, i % SLOTS)))
			explain(w, "dead, survived a cycle", i / SLOTS, i % SLOTS);
		*g = FREE;
	}
}

static bool do_sweep(struct world *w, u32 op)
{
	if (w->a.phase != GCARENA_PHASE_OFF || !atomic64_read(&w->a.unswept))
		return false;
	if (op == OP_SWEEP) {
		assert_int_equal(gca_sweep_finish(&w->a), 0);
	} else {
		assert_int_equal(gca_op_begin(&w->a), 0);
		if (op == OP_SOME) {
			gca_sweep_some(&w->a, 1);
		} else {
			w->a.heap.reclaim = 0;	/* no part of the state */
			gca_reclaim(&w->a, 1);
		}
		gca_op_end(&w->a);
	}
	if (!atomic64_read(&w->a.unswept))
		swept(w);
	return true;
}

static bool do_begin(struct world *w)
{
	u32 i;

	if (w->a.phase != GCARENA_PHASE_OFF || model.cycles == max_cycles)
		return false;
	do_sweep(w, OP_SWEEP);	/* as the cycle would: so the oracle hears of it */
	world_cycle(w, GCA_UNTIL_MARKING);
	assert_int_equal(w->a.phase, GCARENA_PHASE_MARK);
	model.cycles++;
	for (i = 0; i < PAGES * SLOTS; i++)
		if (model.slot[i / SLOTS][i % SLOTS] == DEAD)
			model.slot[i / SLOTS][i % SLOTS] = DEAD_OLD;
	return true;
}

static bool do_end(struct world *w)
{
	if (w->a.phase != GCARENA_PHASE_MARK)
		return false;
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(w->a.phase, GCARENA_PHASE_OFF);
	assert_int_equal(w->a.void_reason, GCARENA_VOID_NONE);
	end_of_cycle();
	if (!atomic64_read(&w->a.unswept))
		swept(w);
	return true;
}

static bool do_void(struct world *w)
{
	if (w->a.phase != GCARENA_PHASE_MARK)
		return false;
	w->sh->ring_tail += GCARENA_RING_ENTRIES + 1;
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_int_equal(w->a.phase, GCARENA_PHASE_OFF);
	assert_int_equal(w->a.void_reason, GCARENA_VOID_RING);
	/* nobody was freed and nobody is black any more */
	end_of_cycle();
	return true;
}

static bool apply(struct world *w, u32 op)
{
	switch (op) {
	case OP_ALLOC:
		return do_alloc(w);
	case OP_REFILL:
		return do_refill(w);
	case OP_HAND_BACK:
		if (!w->m.first[SC])
			return false;
		world_detach(w);
		world_attach(w);
		return true;
	case OP_BEGIN:
		return do_begin(w);
	case OP_END:
		return do_end(w);
	case OP_SWEEP:
	case OP_SOME:
	case OP_RECLAIM:
		return do_sweep(w, op);
	case OP_SETTLE:
		if (w->sh->ring_tail == w->m.head)
			return false;
		assert_int_equal(gca_settle(&w->m), 0);
		return true;
	case OP_VOID:
		return do_void(w);
	default:
		return do_drop(w, op - OP_DROP);
	}
}

/* What must hold after every operation. */
static void check(struct world *w)
{
	u32 page, i;

	assert_int_equal(gca_warnings, 0);
	for (page = 0; page < max_spans; page++) {
		struct gca_span *s = gca_span(&w->a, page);

		for (i = 0; i < SLOTS; i++) {
			u64 addr = addr_of(w, page, i), pw = *gca_pw(&w->a, page);
			bool holds = world_holds(w, addr), live, old;
			u8 *g = &model.slot[page][i];

			live = *g == LIVE || *g == LIVE_BLACK;
			if (live && !holds)
				explain(w, "live, but free for the collector", page, i);
			if (*g == FREE && holds) {
				/* zombie: in place, passed over; counts from now on */
				if (!s->owner || !(w->sh->slot[s->slot].bits[0] >> i & 1))
					explain(w, "free, but holds an object", page, i);
				*g = DEAD;
			}
			if (*g == DEAD && !holds)
				explain(w, "died and was freed within a cycle", page, i);
			if (!live || w->a.phase != GCARENA_PHASE_MARK)
				continue;
			old = gca_is_old(pw, gca_pair(&w->a, page, 0)[1], i);
			if (old != (*g == LIVE))
				explain(w, old ? "new, but old for the marker" :
						 "old, but black: never scanned", page, i);
		}
	}
}

/* ----------------------------------------------------------------- the walk */

static char *frames;
static u64 nr_steps;

static void walk(struct world *w)
{
	u32 room = 0, op, deepest = 0;
	u8 *next = test_calloc(MAX_DEPTH, 1);

	frames = NULL;
	see(state_hash(w));
	depth = 0;
	for (;;) {
		if (depth >= room) {
			room = room ? 2 * room : 256;
			assert_true(room <= MAX_DEPTH);
			frames = realloc(frames, room * frame_bytes);
		}
		if (next[depth] == 0)
			save(frames + depth * frame_bytes);
		for (op = next[depth]; op < NR_OPS; op++) {
			path[depth++] = op;
			pruned = false;
			if (apply(w, op)) {
				nr_steps++;
				check(w);
				if (see(state_hash(w)))
					break;
				pruned = true;
			}
			depth--;
			if (pruned)
				restore(frames + depth * frame_bytes);
		}
		if (op < NR_OPS) {
			next[depth - 1] = op + 1;
			deepest = max(deepest, depth);
			if (depth >= room) {
				room *= 2;
				assert_true(room <= MAX_DEPTH);
				frames = realloc(frames, room * frame_bytes);
			}
			next[depth] = 0;
			continue;
		}
		if (!depth)
			break;
		depth--;
		restore(frames + depth * frame_bytes);
	}
	print_message("%llu states, %llu steps, deepest %u, %zu bytes a frame\n",
		      (unsigned long long)nr_seen, (unsigned long long)nr_steps, deepest,
		      frame_bytes);
	free(frames);
	test_free(next);
}

static void explore(u32 spans, u32 objects, u32 cycles, u64 at_least)
{
	struct world *w = world_open(64 * MIB, 0, 1);

	gca_size_class_2048 = gca_size_class(2048);
	assert_int_equal(gca_class[SC].nelems, SLOTS);
	max_spans = spans;
	max_live = objects;
	max_cycles = cycles;
	memset(&model, 0, sizeof(model));
	world_collect(w);	/* allocates what cycles need */
	find_regions(w);
	seen_size = 1 << 23;
	seen = calloc(seen_size, sizeof(*seen));
	nr_seen = nr_steps = 0;
	walk(w);
	free(seen);
	/* the walk must not have been cut short by a mistake in this file */
	assert_true(nr_seen >= at_least);
	world_close(w);
}

#ifdef GCA_ASAN
#define CYCLES	2	/* the states are the same ones, only fewer and slower */
#else
#define CYCLES	3
#endif

static void test_one_span(void **state)
{
	explore(1, SLOTS, CYCLES, 10000);
}

static void test_two_spans(void **state)
{
	explore(2, 2, 1, 10000);
}

/*
 * Large objects are spans of one slot under the same rule: born with the phase
 * off, while marking, in a void cycle; dropped before, while and after.
 */
static void test_large(void **state)
{
	u32 born, drop, voided, flags;
	struct world *w;
	u64 addr;

	for (born = 0; born < 2; born++)
		for (drop = 0; drop < 3; drop++)
			for (voided = 0; voided < 2; voided++) {
				w = world_open(64 * MIB, 0, 1);
				if (born)
					world_cycle(w, GCA_UNTIL_MARKING);
				assert_int_equal(gca_large(&w->m, 50000, GCARENA_NOSCAN, 0, &addr,
							   &flags), 0);
				w->root[0] = addr;
				if (!born && drop == 0)
					w->root[0] = 0;
				if (!born)
					world_cycle(w, GCA_UNTIL_MARKING);
				if (drop == 1)
					world_store(w, (u64)&w->root[0], 0);
				if (voided)
					w->sh->ring_tail += 1000;
				world_cycle(w, GCA_UNTIL_MARKED);
				assert_int_equal(gca_sweep_finish(&w->a), 0);
				assert_int_equal(world_holds(w, addr),
						 voided || born || drop != 0);
				world_collect(w);
				/* dropped while marking: floats one cycle, not two */
				assert_int_equal(world_holds(w, addr), w->root[0] != 0);
				w->root[0] = 0;
				world_collect(w);
				assert_int_equal(w->a.heap.inuse, 0);
				world_close(w);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_span),
		cmocka_unit_test(test_two_spans),
		cmocka_unit_test(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
