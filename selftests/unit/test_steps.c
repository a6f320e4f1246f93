// SPDX-License-Identifier: MIT
/*
 * test_steps.c: cycles forced step by step, and what may happen in between.
 *
 * The oracle is the shadow graph of world.h.  A cycle that is one stop frees
 * exactly what is unreachable; one that a program runs through keeps at least
 * what is reachable; a void one frees nothing, and the next frees exactly the
 * dead again.
 *
 * Mutants of the core that this file must fail with (make CORE=DIR):
 *	hand-back sets snap while marking
 *	the pass after a void cycle does not renew snap
 *	mark_stopped() discards rings instead of draining them
 *	a cached span is swept to base = snap = 0
 *	capture() without gca_mutator_snapshot()
 *	a range removed while marking is not scanned
 */
#include "world.h"

#define ALL_PHASES(x)	for (x = 0; x < 4; x++)		/* for enter_phase() */

static u64 heap_lo, heap_hi;

static bool in_heap(u64 addr)
{
	return addr >= heap_lo && addr < heap_hi;
}

static bool in_roots(u64 addr)
{
	return !in_heap(addr);
}

static struct world *open_world(u32 debug, u64 seed)
{
	struct world *w = world_open(64 * MIB, debug, seed);

	heap_lo = w->a.base;
	heap_hi = w->a.base + w->a.size;
	return w;
}

static u64 new_object(struct world *w, u64 bytes)
{
	u64 addr = world_alloc(w, bytes, GCARENA_CONSERVATIVE, 0);

	assert_true(addr);
	return addr;
}

/* Roots are conservative: the start of an object is also the end of the one before it. */
static void set_root(struct world *w, u32 i, u64 value)
{
	world_store(w, (u64)&w->root[i], value ? value + 8 : 0);
}

static void step(struct world *w, enum gca_until until, enum gcarena_void_reason reason)
{
	assert_int_equal(gca_cycle_run(&w->a, ORDER(until, true, WORLD_TIMEOUT)), 0);
	assert_int_equal(w->a.void_reason, reason);
}

/* The dead of now stay dead: their slots may be used again before anybody looks. */
static void forget_dead(struct graph *g)
{
	u32 i;

	graph_reach(g);
	for (i = 1; i < g->n; i++) {
		struct node *o = &g->node[i];

		if (!o->alive || graph_reachable(g, i))
			continue;
		o->alive = false;
		free(o->val);
		free(o->kid);
		o->val = NULL;
		o->kid = NULL;
	}
}

static void mutate(struct graph *g, u32 n)
{
	struct world *w = g->w;
	u32 id;

	while (n--) {
		id = graph_random_new(g, world_below(w, 50) ? 200 : 6000);
		assert_int_not_equal(id, 0);
		graph_random_links(g, id, 3);
		if (!world_below(w, 4))
			graph_root(g, world_below(w, WORLD_ROOTS - 1), id, 8);
		if (!world_below(w, 4))
			graph_root(g, world_below(w, WORLD_ROOTS - 1), 0, 0);
		id = 1 + world_below(w, g->n - 1);
		if (g->node[id].alive)
			graph_random_links(g, id, 2);
	}
}

static struct world *open_graph(struct graph *g, u32 debug, u64 seed)
{
	struct world *w = open_world(debug, seed);
	u64 bits[2] = { 5, 0x3f }, one = 5;

	world_layout(w, 3, &one);
	world_layout(w, 70, bits);
	graph_init(g, w);
	mutate(g, 600);
	return w;
}

static void close_graph(struct graph *g)
{
	struct world *w = g->w;

	graph_fini(g);
	world_close(w);
}

/* One stop: exactly the dead are freed. */
static void collect_exactly(struct graph *g)
{
	struct gca_totals *t = &g->w->a.totals;

	forget_dead(g);
	world_collect(g->w);
	graph_check_swept(g, true);
	assert_int_equal(t->live, g->reached_bytes);
	assert_int_equal(gca_stats_sync(&g->w->a), 0);
	assert_int_equal(atomic64_read(&t->allocated) - atomic64_read(&t->freed), g->reached_bytes);
	assert_int_equal(g->w->ctl.phase, GCARENA_PHASE_OFF);
	assert_int_equal(g->w->ctl.barrier, 0);
}

/* 0: off; 1: marking; 2: marked, not swept; 3: after a void cycle, its marks left. */
static void enter_phase(struct graph *g, u32 phase)
{
	struct world *w = g->w;

	forget_dead(g);
	if (!phase)
		return;
	step(w, GCA_UNTIL_MARKING, 0);
	assert_int_equal(w->ctl.phase, GCARENA_PHASE_MARK);
	assert_int_equal(w->ctl.barrier, GCARENA_BARRIER_DELETION);
	if (phase == 1)
		return;
	mutate(g, 50);
	if (phase == 3)
		w->sh->ring_tail += GCARENA_RING_ENTRIES + 1;
	step(w, GCA_UNTIL_MARKED, phase == 3 ? GCARENA_VOID_RING : 0);
	assert_int_equal(w->ctl.phase, GCARENA_PHASE_OFF);
	assert_int_equal(atomic64_read(&w->a.unswept) != 0, phase == 2);
}

/* ------------------------------------------------------------------ cycles */

static void test_counters(void **state)
{
	struct world *w = open_world(0, 1);
	struct gcarena_stats s = {};
	u64 epoch = w->ctl.epoch;
	u32 i;

	for (i = 0; i < 200; i++)
		set_root(w, i / 2, new_object(w, 64));
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), 0);
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, false, WORLD_TIMEOUT)), 0);
	assert_int_equal(gca_stats_sync(&w->a), 0);
	gca_stats_read(&w->a, &s);
	assert_int_equal(s.cycles, 2);
	assert_int_equal(s.forced, 1);
	assert_int_equal(s.voided, 0);
	assert_int_equal(s.stops, 2);
	assert_int_equal(s.live, 100 * 64);
	assert_int_equal(s.allocated, 200 * 64);
	assert_int_equal(s.freed, 100 * 64);
	assert_int_equal(s.marked_objects, 200);
	assert_int_equal(s.marked_bytes, 200 * 64);
	assert_int_equal(s.root_bytes, sizeof(w->root));
	assert_int_equal(s.metadata, w->a.metadata);
	assert_int_equal(s.heap, (u64)w->a.heap.inuse << GCARENA_PAGE_SHIFT);
	assert_true(s.stop_ns_max <= s.stop_ns_total && s.stop_ns_max);
	assert_int_equal(w->ctl.cycle, 2);
	assert_int_equal(w->ctl.epoch, epoch + 6);	/* mark, termination, off */
	world_close(w);
}

/* New objects survive, black and unscanned; those that died meanwhile go with the next. */
static void test_steps(void **state)
{
	struct world *w = open_world(0, 2);
	u64 dead = new_object(w, 48), keep = new_object(w, 48), born;

	set_root(w, 0, keep);
	step(w, GCA_UNTIL_MARKING, 0);
	born = new_object(w, 48);
	*(u64 *)born = dead;		/* no legal program can: shows that nobody looks */
	step(w, GCA_UNTIL_MARKING, 0);	/* is there already: changes nothing */
	assert_int_equal(w->a.phase, GCARENA_PHASE_MARK);
	step(w, GCA_UNTIL_MARKED, 0);
	assert_false(world_marked(w, born));
	assert_true(world_marked(w, keep));
	assert_int_equal(w->a.totals.live, 48);
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	assert_true(world_holds(w, born));
	assert_true(world_holds(w, keep));
	assert_false(world_holds(w, dead));
	*(u64 *)born = 0;
	set_root(w, 1, born);

	/* gca_collect() finishes the one under way and runs another */
	step(w, GCA_UNTIL_MARKING, 0);
	set_root(w, 0, 0);
	new_object(w, 48);
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), 0);
	assert_int_equal(w->a.totals.cycles, 3);
	assert_int_equal(world_held(w), 1);

	step(w, GCA_UNTIL_MARKED, 0);	/* from off */
	assert_int_equal(w->a.totals.cycles, 4);
	assert_true(world_marked(w, born));
	world_collect(w);
	assert_int_equal(world_held(w), 1);
	world_close(w);
}

/* Anything in any order. */
static void test_random_steps(void **state)
{
	u32 seed, i;

	for (seed = 0; seed < 12; seed++) {
		struct graph g;
		struct world *w = open_graph(&g, seed % 2 ? GCARENA_DEBUG_CHECKMARK : 0, 100 + seed);

		w->clobber = seed % 4 == 2;
		w->m.head = w->sh->ring_head = w->sh->ring_tail = 0U - world_below(w, 600);
		for (i = 0; i < 25; i++) {
			if (w->a.phase == GCARENA_PHASE_OFF)
				enter_phase(&g, world_below(w, 4));
			mutate(&g, world_below(w, 150));
			if (!world_below(w, 3)) {
				world_detach(w);
				world_attach(w);
				mutate(&g, world_below(w, 50));
			}
			if (!world_below(w, 4))
				assert_int_equal(gca_settle(&w->m), 0);
			graph_check_contents(&g);
			if (w->a.phase == GCARENA_PHASE_OFF && world_below(w, 2))
				collect_exactly(&g);
			else if (world_below(w, 2))
				step(w, GCA_UNTIL_MARKED, 0);
		}
		forget_dead(&g);
		assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), 0);
		graph_check_swept(&g, true);
		close_graph(&g);
	}
}

/* ------------------------------------------------------------------- rings */

/* The only pointer to an object moves to where no marker looks. */
static void hide(bool barrier)
{
	struct world *w = open_world(0, 3);
	u64 from = new_object(w, 64), x = new_object(w, 64), to;

	*(u64 *)from = x;
	set_root(w, 0, from);
	step(w, GCA_UNTIL_MARKING, 0);
	assert_false(world_marked(w, x));
	to = new_object(w, 64);
	*(u64 *)to = x;
	w->no_barrier = !barrier;
	world_store(w, from, 0);
	step(w, GCA_UNTIL_MARKED, 0);
	assert_int_equal(world_marked(w, x), barrier);
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	assert_int_equal(world_holds(w, x), barrier);
	world_close(w);
}

static void test_ring(void **state)
{
	struct world *w;
	u64 x, y;
	u32 i;

	hide(true);
	hide(false);

	w = open_world(0, 4);
	x = new_object(w, 64);
	y = new_object(w, 64);
	/* with the phase off nobody wants to know: by settle, and by the begin stop */
	for (i = 0; i < 2; i++) {
		w->sh->ring[w->sh->ring_tail++ % GCARENA_RING_ENTRIES] = x;
		if (!i)
			assert_int_equal(gca_settle(&w->m), 0);
		assert_int_equal(w->sh->ring_head, w->sh->ring_tail - i);
	}
	step(w, GCA_UNTIL_MARKING, 0);
	assert_int_equal(w->sh->ring_head, w->sh->ring_tail);
	/* while marking settle greys; garbage in entries is no pointer */
	for (i = 0; i < GCARENA_RING_ENTRIES; i++)
		w->sh->ring[w->sh->ring_tail++ % GCARENA_RING_ENTRIES] =
			i == 77 ? y + 13 : world_rnd(w) >> world_below(w, 16);
	assert_int_equal(gca_settle(&w->m), 0);
	assert_int_equal(w->sh->ring_head, w->sh->ring_tail);
	assert_true(world_marked(w, y));
	step(w, GCA_UNTIL_MARKED, 0);
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	assert_false(world_holds(w, x));
	assert_true(world_holds(w, y));
	world_close(w);
}

/* ------------------------------------------------------------- void cycles */

enum { BY_RING, BY_SETTLE, BY_DETACH, BY_AGE, BY_PAGE, BY_PAGER, BY_ROOT, BY_KILL, NR_WAYS };

static const u32 reason_of[NR_WAYS] = {
	GCARENA_VOID_RING, GCARENA_VOID_RING, GCARENA_VOID_RING, GCARENA_VOID_AGE,
	GCARENA_VOID_UNREADABLE, GCARENA_VOID_KILLED, GCARENA_VOID_UNREADABLE, GCARENA_VOID_KILLED,
};

/* See to it that the next step makes the cycle void. */
static void spoil(struct world *w, u32 way, u64 *timeout)
{
	*timeout = way == BY_AGE ? world_below(w, 2) : WORLD_TIMEOUT;
	if (way <= BY_DETACH)
		w->sh->ring_tail += GCARENA_RING_ENTRIES + 1 + world_below(w, 1U << 31);
	if (way == BY_SETTLE)
		assert_int_equal(gca_settle(&w->m), 0);
	if (way == BY_DETACH) {
		world_detach(w);
		world_attach(w);
	}
	if (way == BY_PAGE || way == BY_PAGER) {
		world_hooks.miss = in_heap;
		world_hooks.unreadable = in_heap;
		world_hooks.judge = way == BY_PAGE ? -EFAULT : -EINTR;
	}
	if (way == BY_ROOT) {
		world_hooks.unreadable = in_roots;
		world_hooks.judge = -EFAULT;
	}
	world_hooks.relax = way == BY_KILL;
}

static u32 looked;

static void marks_are_zero(struct gca_arena *a)
{
	assert_true(world_marks_zero(container_of(a, struct world, a)));
	looked++;
}

static void void_cycle(u32 way, bool under_way, u64 seed)
{
	struct graph g;
	struct world *w = open_graph(&g, 0, seed);
	struct gca_arena *a = &w->a;
	u64 held, timeout, freed, live, trigger, goal;
	u32 k;

	a->knob.heap_min = 65536;	/* so that it is the back-off that counts */
	collect_exactly(&g);
	mutate(&g, 200);
	for (k = 1; k <= 5; k++) {
		/* a cycle needs something to scan, and the dead */
		graph_root(&g, 0, graph_new(&g, GCARENA_CONSERVATIVE, 8, 0), 8);
		forget_dead(&g);
		if (under_way) {
			step(w, GCA_UNTIL_MARKING, 0);
			mutate(&g, 100);
		}
		held = world_held(w);
		freed = atomic64_read(&a->totals.freed);
		live = a->totals.live;
		spoil(w, way, &timeout);
		assert_int_equal(gca_cycle_run(a, ORDER(under_way ? GCA_UNTIL_MARKED : GCA_UNTIL_SWEPT, false, timeout)), 0);
		memset(&world_hooks, 0, sizeof(world_hooks));
		assert_int_equal(a->void_reason, reason_of[way]);
		assert_int_equal(a->totals.last_void, reason_of[way]);
		assert_int_equal(a->totals.voided, k);
		assert_int_equal(a->totals.live, live);
		assert_int_equal(w->ctl.phase, GCARENA_PHASE_OFF);
		assert_int_equal(w->ctl.barrier, 0);
		assert_int_equal(atomic64_read(&a->unswept), 0);
		assert_int_equal(atomic64_read(&a->totals.freed), freed);
		assert_int_equal(world_held(w), held);
		/* it is tried again later, each time twice as much */
		live = atomic64_read(&a->heap_live);
		goal = max_t(u64, 2 * a->totals.live + a->pacer.globals, 65536);
		trigger = live + max_t(u64, 65536ULL << k, (live / 20) << k);
		assert_int_equal(a->void_run, k);
		assert_int_equal(a->heap_trigger, max(trigger, goal));
		assert_false(gca_cycle_wanted(a));
		if (k == 3) {
			world_detach(w);
			world_attach(w);
		}
		mutate(&g, 50);
		graph_check_contents(&g);
	}
	/* what was allocated in void cycles is old for the next */
	world_hooks.in_stop = marks_are_zero;
	looked = 0;
	collect_exactly(&g);
	assert_int_equal(looked, 1);
	assert_int_equal(a->void_run, 0);
	assert_int_equal(a->pacer.globals, sizeof(w->root));
	assert_int_equal(a->heap_trigger, 2 * a->totals.live + sizeof(w->root));
	world_hooks.in_stop = NULL;
	mutate(&g, 100);
	collect_exactly(&g);
	close_graph(&g);
}

static void test_void(void **state)
{
	u32 way;

	for (way = 0; way < NR_WAYS; way++) {
		if (way != BY_ROOT)	/* roots are scanned in the begin stop */
			void_cycle(way, true, 20 + way);
		if (way > BY_DETACH)	/* the begin stop discards what is in a ring */
			void_cycle(way, false, 40 + way);
	}
}

/* Allocated while marking, handed back, the cycle void: old, and scanned, in the next. */
static void test_void_renews_snap(void **state)
{
	struct world *w = open_world(0, 5);
	u64 p, q;

	new_object(w, 64);
	step(w, GCA_UNTIL_MARKING, 0);
	p = new_object(w, 64);
	world_detach(w);
	world_attach(w);
	w->sh->ring_tail += GCARENA_RING_ENTRIES + 1;
	step(w, GCA_UNTIL_MARKED, GCARENA_VOID_RING);
	q = new_object(w, 128);
	*(u64 *)p = q;
	set_root(w, 0, p);
	world_collect(w);
	assert_int_equal(world_held(w), 2);
	assert_true(world_holds(w, q));
	world_close(w);
}

/* Killed before it begins, or not stopped: nothing has happened. */
static void test_not_begun(void **state)
{
	struct world *w = open_world(0, 6);
	u32 i;

	for (i = 0; i < 200; i++)
		new_object(w, 40000);
	world_hooks.stop_err = -EBUSY;
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), -EBUSY);
	assert_int_equal(w->a.totals.cycles, 0);
	assert_int_equal(w->a.gate_closed, 0);
	world_hooks.stop_err = 0;
	step(w, GCA_UNTIL_MARKED, 0);
	world_hooks.relax = 1;
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), -EINTR);
	assert_int_equal(w->a.totals.cycles, 1);
	assert_true(atomic64_read(&w->a.unswept) > 0);
	world_hooks.relax = 0;
	step(w, GCA_UNTIL_MARKING, 0);
	world_hooks.stop_err = -EBUSY;	/* postponed: the cycle goes on */
	assert_int_equal(gca_cycle_run(&w->a, ORDER(GCA_UNTIL_MARKED, true, WORLD_TIMEOUT)), -EBUSY);
	assert_int_equal(w->a.phase, GCARENA_PHASE_MARK);
	world_hooks.stop_err = 0;
	world_collect(w);
	assert_int_equal(world_held(w), 0);
	world_close(w);
}

/* A page that is not there is a leaf; one that only misses is read later. */
static void test_leaves(void **state)
{
	struct world *w = open_world(0, 7);
	u64 x = new_object(w, 64), y = new_object(w, 128);

	*(u64 *)x = y;
	set_root(w, 0, x);
	world_hooks.miss = in_heap;
	world_hooks.miss_roots = true;	/* its job is done again */
	world_collect(w);
	assert_int_equal(world_held(w), 2);
	assert_true(atomic64_read(&w->a.totals.missed) >= 3);
	assert_int_equal(atomic64_read(&w->a.totals.leaves), 0);
	world_hooks.unreadable = in_heap;
	world_collect(w);
	assert_int_equal(atomic64_read(&w->a.totals.leaves), 1);
	assert_true(world_holds(w, x));
	assert_false(world_holds(w, y));
	world_hooks.unreadable = in_roots;
	world_collect(w);
	assert_int_equal(world_held(w), 0);
	world_close(w);
}

/* ------------------------------------------------- spans, threads, and phases */

static void test_large(void **state)
{
	u32 phase, rooted;

	ALL_PHASES(phase) for (rooted = 0; rooted < 2; rooted++) {
		struct graph g;
		struct world *w = open_graph(&g, 0, 60 + phase);
		u64 x, y;

		enter_phase(&g, phase);
		x = new_object(w, 50000);
		y = new_object(w, 9 * MIB);	/* chunks of its own */
		*(u64 *)(y + 9 * MIB - 8) = x;
		set_root(w, WORLD_ROOTS - 1, rooted ? y : 0);
		if (w->a.phase == GCARENA_PHASE_MARK) {
			step(w, GCA_UNTIL_MARKED, 0);
			assert_false(world_marked(w, y));
			assert_int_equal(gca_sweep_finish(&w->a), 0);
			assert_true(world_holds(w, x) && world_holds(w, y));
		}
		world_collect(w);
		assert_int_equal(world_holds(w, y), rooted);
		assert_int_equal(world_holds(w, x), rooted);
		set_root(w, WORLD_ROOTS - 1, 0);
		collect_exactly(&g);
		close_graph(&g);
	}
}

static void test_detach(void **state)
{
	u32 before, after;

	ALL_PHASES(before) for (after = 0; after < 3; after++) {
		struct graph g;
		struct world *w = open_graph(&g, 0, 70 + 4 * before + after);

		enter_phase(&g, before);
		mutate(&g, 200);
		world_detach(w);
		assert_int_equal(gca_mutator_detach(&w->m), 0);	/* idempotent */
		assert_int_equal(w->m.nr_free, WORLD_SLOTS - 1);
		assert_int_equal(w->a.nr_mutators, 0);
		if (w->a.phase == GCARENA_PHASE_MARK && after)
			step(w, GCA_UNTIL_MARKED, 0);
		if (after == 2)
			collect_exactly(&g);
		world_attach(w);
		mutate(&g, 200);
		if (w->a.phase == GCARENA_PHASE_MARK)
			step(w, GCA_UNTIL_MARKED, 0);
		collect_exactly(&g);
		close_graph(&g);
	}
}

/* k of n slots, three cycles, go on. */
static void test_in_place(void **state)
{
	static const u32 bytes[] = { 16, 64, 1024, 8192, 32768 };
	u32 i, c, k, n, v, cycle;

	for (i = 0; i < ARRAY_SIZE(bytes); i++)
		for (v = 0; v < 5; v++) {
			struct world *w = open_world(0, 8);
			u64 kept = new_object(w, bytes[i]), next, size;
			struct gcarena_slot *s;

			set_root(w, 0, kept);
			c = GCARENA_SPAN_CLASS(gca_size_class(bytes[i]), GCARENA_CONSERVATIVE);
			s = &w->sh->slot[w->sh->current_slot[c]];
			n = s->nelems;
			size = s->elem_size;
			k = ((u32[]){ 1, 2, n / 2, n - 1, n })[v];
			k = clamp(k, 1U, n);
			while (s->free_index < k)
				new_object(w, bytes[i]);
			for (cycle = 0; cycle < 3; cycle++) {
				world_collect(w);
				assert_int_equal(world_held(w), 1);
				assert_int_equal(s->free_index, k);
			}
			next = new_object(w, bytes[i]);
			if (k < n)
				assert_int_equal(next, kept + k * size);
			set_root(w, 1, next);
			world_collect(w);
			assert_int_equal(world_held(w), 2);
			world_close(w);
		}
}

/* A slot that the owner's copy calls taken is passed over, and held until the next sweep. */
static void test_zombie(void **state)
{
	struct world *w = open_world(0, 9);
	u64 x[6];
	u32 i;

	for (i = 0; i < 6; i++)
		x[i] = new_object(w, 64);
	set_root(w, 0, x[4]);
	world_detach(w);
	world_collect(w);
	world_attach(w);
	do
		set_root(w, 1, new_object(w, 64));
	while (w->root[1] != x[0] + 8);		/* lent again, the copy has slot 4 */
	set_root(w, 0, 0);
	world_collect(w);
	assert_false(world_holds(w, x[4]));
	for (i = 1; i < 5; i++)
		assert_int_equal(new_object(w, 64), x[i == 4 ? 5 : i]);
	assert_true(world_holds(w, x[4]));
	world_collect(w);
	assert_false(world_holds(w, x[4]));
	assert_int_equal(world_held(w), 1);
	world_close(w);
}

/* All classes through the fewest slots, in all phases. */
static void test_eviction(void **state)
{
	u32 phase, c, kind;

	ALL_PHASES(phase) {
		struct graph g;
		struct world *w = open_graph(&g, 0, 90 + phase);

		world_detach(w);
		gca_mutator_fini(&w->m);
		memset(&w->m, 0, sizeof(w->m));
		memset(w->sh, 0, gca_mutator_bytes(GCARENA_SLOTS_MIN));
		assert_int_equal(gca_mutator_init(&w->m, &w->a, GCARENA_SLOTS_MIN, w->sh), 0);
		world_attach(w);
		mutate(&g, 100);
		enter_phase(&g, phase);
		for (c = 0; c < 3 * GCARENA_NR_SIZES; c++) {
			kind = c % GCARENA_NR_KINDS;
			graph_root(&g, c, graph_new(&g, kind, gca_class[c / 3 * 4].size / 8 -
						    (kind == GCARENA_PRECISE && c / 3 > 30), 1), 8);
		}
		if (w->a.phase == GCARENA_PHASE_MARK)
			step(w, GCA_UNTIL_MARKED, 0);
		assert_int_equal(w->m.nr_free, 0);
		collect_exactly(&g);
		close_graph(&g);
	}
}

/* ------------------------------------------------------------------ hostile */

/* A free index that went back, or beyond, is the last good one. */
static void test_bad_index(void **state)
{
	static const u32 bad[] = { 0, 9, 513, 65536, 1U << 31, ~0U };
	u32 i, phase;

	ALL_PHASES(phase) {
		struct graph g;
		struct world *w = open_graph(&g, 0, 110 + phase);
		u32 slot, good;
		u64 x = 0;

		enter_phase(&g, phase);
		for (i = 0; i < 10; i++)
			x = new_object(w, 16);
		slot = w->sh->current_slot[GCARENA_SPAN_CLASS(0, GCARENA_CONSERVATIVE)];
		good = w->sh->slot[slot].free_index;
		assert_int_equal(gca_mutator_observe(&w->m, slot), good);
		set_root(w, WORLD_ROOTS - 1, x);
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			w->sh->slot[slot].free_index = bad[i] == 9 ? good - 1 : bad[i];
			assert_int_equal(gca_mutator_observe(&w->m, slot), good);
			if (w->a.phase == GCARENA_PHASE_OFF)
				world_collect(w);
			assert_true(world_holds(w, x));
		}
		if (w->a.phase == GCARENA_PHASE_MARK)
			step(w, GCA_UNTIL_MARKED, 0);
		world_detach(w);
		world_attach(w);
		set_root(w, WORLD_ROOTS - 1, 0);
		collect_exactly(&g);
		close_graph(&g);
	}
}

/* A thread that writes garbage all over its page harms nobody else. */
static void test_garbage(void **state)
{
	size_t bytes = gca_mutator_bytes(WORLD_SLOTS), i;
	struct gcarena_mutator *sh = test_calloc(1, bytes);
	struct gca_mutator m = {};
	struct graph g;
	struct world *w = open_graph(&g, 0, 120);
	u32 round, count;

	assert_int_equal(gca_mutator_init(&m, &w->a, WORLD_SLOTS, sh), 0);
	for (round = 0; round < 300; round++) {
		assert_int_equal(gca_mutator_attach(&m), 0);
		for (i = 0; i < 12; i++) {
			count = 1 + world_below(w, 4);
			gca_refill(&m, world_below(w, GCARENA_NR_SPAN_CLASSES), &count);
		}
		for (i = 0; i < bytes / 4; i++)
			if (world_below(w, 2))
				((u32 *)sh)[i] = world_rnd(w) >> world_below(w, 64);
		for (i = 0; i < WORLD_SLOTS; i++)	/* some are believed */
			sh->slot[i].free_index = world_below(w, 600);
		if (w->a.phase == GCARENA_PHASE_OFF && world_below(w, 2)) {
			forget_dead(&g);
			step(w, GCA_UNTIL_MARKING, 0);
		}
		mutate(&g, 20);
		gca_settle(&m);
		if (world_below(w, 2))
			assert_int_equal(gca_mutator_detach(&m), 0);
		if (world_below(w, 2)) {
			forget_dead(&g);
			assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), 0);
			if (!w->a.void_reason)
				graph_check_swept(&g, false);
		}
		assert_int_equal(gca_mutator_detach(&m), 0);
		graph_check_contents(&g);
	}
	gca_mutator_fini(&m);
	test_free(sh);
	forget_dead(&g);
	assert_int_equal(gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)), 0);
	graph_check_swept(&g, true);
	close_graph(&g);
}

static void test_arguments(void **state)
{
	static const u32 class[] = { 3, 7, GCARENA_NR_SPAN_CLASSES, 509, ~0U };
	struct world *w = open_world(0, 10);
	u32 i, n, flags;
	u64 addr;

	for (i = 0; i < ARRAY_SIZE(class); i++) {
		n = 1;
		assert_int_equal(gca_refill(&w->m, class[i], &n), -EINVAL);
	}
	n = 0;
	assert_int_equal(gca_refill(&w->m, 0, &n), -EINVAL);
	n = GCA_REFILL_MAX + 1;
	assert_int_equal(gca_refill(&w->m, 0, &n), -EINVAL);
	assert_int_equal(gca_large(&w->m, 0, GCARENA_NOSCAN, 0, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->m, 8, GCARENA_NR_KINDS, 0, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->m, 8, GCARENA_PRECISE, 0, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->m, 8, GCARENA_NOSCAN, 1, &addr, &flags), -EINVAL);
	assert_int_equal(gca_large(&w->m, 64 * MIB + 1, GCARENA_NOSCAN, 0, &addr, &flags), -ENOSPC);
	assert_int_equal(gca_large(&w->m, ~0ULL, GCARENA_NOSCAN, 0, &addr, &flags), -ENOSPC);
	assert_int_equal(w->a.heap.inuse, 0);
	world_close(w);
}

static void test_full(void **state)
{
	u32 round, n;

	for (round = 0; round < 3; round++) {
		struct world *w = open_world(0, 11);

		for (n = 0; world_alloc(w, MIB, GCARENA_NOSCAN, 0); n++)
			;
		assert_int_equal(w->err, -ENOSPC);
		assert_int_equal(n, 64);
		assert_false(world_alloc(w, 64, GCARENA_CONSERVATIVE, 0));
		assert_int_equal(w->err, -ENOSPC);
		world_collect(w);
		for (n = 0; world_alloc(w, 32768, GCARENA_NOSCAN, 0); n++)
			;
		assert_int_equal(w->err, -ENOSPC);
		assert_int_equal(n, 2048);
		world_detach(w);	/* cached spans are swept, but stay */
		world_attach(w);
		world_collect(w);
		assert_int_equal(w->a.heap.inuse, 0);
		new_object(w, 64);
		world_close(w);
	}
}

/* ---------------------------------------------------------- roots, layouts */

static struct gcarena_range range(const void *start, u64 len)
{
	return (struct gcarena_range){ .start = (u64)start, .len = len };
}

static void refused(struct world *w, int err, const struct gcarena_range *add, u32 nr_add,
		    const struct gcarena_range *del, u32 nr_del)
{
	struct gca_roots *before = w->a.roots;
	u64 metadata = w->a.metadata;

	assert_int_equal(gca_roots_update(&w->a, add, nr_add, del, nr_del), err);
	assert_ptr_equal(w->a.roots, before);
	assert_int_equal(w->a.metadata, metadata);
}

static void test_roots_errors(void **state)
{
	struct world *w = open_world(0, 12);
	struct gcarena_range main = range(w->root, sizeof(w->root)), r[3], *many;
	u64 word[4] = {};
	u32 i;

	main.kind = GCARENA_ROOT_PLAIN;
	r[0] = range(word, 8);
	r[1] = range(word + 1, 8);
	for (i = 0; i < 7; i++) {
		r[2] = range(word + 2, 8);
		r[2].start += i == 0 ? 4 : 0;
		r[2].len += i == 1 ? 4 : i == 2 ? -8 : 0;
		r[2].kind = i == 3 ? GCARENA_ROOT_STACK + 1 : 0;
		r[2].__reserved = i == 4;
		r[2].start = i == 5 ? ~7ULL : r[2].start;
		r[2].len = i == 6 ? ~7ULL : r[2].len;
		refused(w, -EINVAL, r, 3, &main, 1);
	}
	refused(w, -ENOENT, NULL, 0, r, 1);
	r[2] = main;
	r[2].kind = GCARENA_ROOT_BARRIERED;
	refused(w, -ENOENT, r, 2, r + 2, 1);
	r[2] = main;
	refused(w, -ENOENT, r, 1, (struct gcarena_range[]){ main, main }, 2);
	refused(w, -ENOENT, r, 1, r, 1);	/* removed first, then added */
	r[2] = range(word, GCARENA_ROOT_BYTES_MAX + 8);
	refused(w, -ENOSPC, r, 3, NULL, 0);
	r[2].len = GCARENA_ROOT_BYTES_MAX;
	refused(w, -ENOSPC, r, 3, NULL, 0);
	many = test_calloc(GCARENA_ROOTS_MAX, sizeof(*many));
	for (i = 0; i < GCARENA_ROOTS_MAX; i++)
		many[i] = range(word, 8);
	refused(w, -ENOSPC, many, GCARENA_ROOTS_MAX, NULL, 0);
	assert_int_equal(gca_roots_update(&w->a, many, GCARENA_ROOTS_MAX - 1, NULL, 0), 0);
	refused(w, -ENOSPC, many, 1, NULL, 0);
	assert_int_equal(gca_roots_update(&w->a, r, 1, many, 1), 0);
	word[0] = new_object(w, 64);
	world_collect(w);
	assert_true(world_holds(w, word[0]));
	test_free(many);
	world_close(w);
}

/* Blocks of 256 KiB, each scanned to its last word. */
static void test_roots_blocks(void **state)
{
	u64 words = 3 * GCA_ROOT_BLOCK / 8 + 1, *big = test_calloc(words, 8), i;
	struct gcarena_range r = range(big, words * 8);
	struct world *w = open_world(0, 13);

	assert_int_equal(gca_roots_update(&w->a, &r, 1, NULL, 0), 0);
	for (i = 0; i < words; i += GCA_ROOT_BLOCK / 8) {
		big[i] = new_object(w, 64);
		if (i)
			big[i - 1] = new_object(w, 64);
	}
	for (i = 0; i < 2; i++) {
		world_hooks.miss_roots = i;
		world_collect(w);
		assert_int_equal(world_held(w), 7);
		assert_int_equal(w->a.totals.root_bytes, words * 8 + sizeof(w->root));
		/* two ranges, one thread: those that missed are done again */
		assert_int_equal(atomic64_read(&w->a.totals.missed), i ? 5 : 0);
	}
	assert_int_equal(gca_roots_update(&w->a, NULL, 0, &r, 1), 0);
	world_collect(w);
	assert_int_equal(world_held(w), 0);
	test_free(big);
	world_close(w);
}

/* What comes or goes while marking is scanned; the set that the cycle began with stays. */
static void test_roots_marking(void **state)
{
	struct world *w = open_world(0, 14);
	static u64 word[2][1000];
	struct gcarena_range r[2] = { range(word[0], 8000), range(word[1], 8000) };
	u64 x[3];
	u32 i;

	memset(word, 0, sizeof(word));
	for (i = 0; i < 3; i++)
		x[i] = new_object(w, 64);
	assert_int_equal(gca_roots_update(&w->a, r, 1, NULL, 0), 0);
	step(w, GCA_UNTIL_MARKING, 0);
	word[0][999] = x[0] + 8;
	word[1][998] = x[1] + 8;
	refused(w, -ENOENT, NULL, 0, &r[1], 1);
	assert_int_equal(gca_roots_update(&w->a, &r[1], 1, &r[0], 1), 0);
	assert_true(world_marked(w, x[0]));
	assert_true(world_marked(w, x[1]));
	assert_false(world_marked(w, x[2]));
	step(w, GCA_UNTIL_MARKED, 0);
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	assert_true(world_holds(w, x[0]));
	assert_int_equal(world_held(w), 2);
	world_collect(w);
	assert_false(world_holds(w, x[0]));
	assert_true(world_holds(w, x[1]));
	step(w, GCA_UNTIL_MARKING, 0);
	world_hooks.unreadable = in_roots;	/* nothing to lose there */
	assert_int_equal(gca_roots_update(&w->a, NULL, 0, &r[1], 1), 0);
	world_hooks.unreadable = NULL;
	world_collect(w);
	assert_int_equal(world_held(w), 0);
	assert_int_equal(atomic_read(&w->a.markers), 0);
	world_close(w);
}

static void test_layouts(void **state)
{
	struct world *w = open_world(0, 15);
	u64 bits[GCARENA_LAYOUT_MAX / 512] = {}, arr, x, i;
	u32 id, n, k, big;

	assert_int_equal(gca_layout_add(&w->a, 0, bits, &id), -EINVAL);
	assert_int_equal(gca_layout_add(&w->a, 12, bits, &id), -EINVAL);
	assert_int_equal(gca_layout_add(&w->a, GCARENA_LAYOUT_MAX + 8, bits, &id), -EINVAL);
	assert_int_equal(gca_layout_add(&w->a, ~7ULL, bits, &id), -EINVAL);
	bits[0] = 8;
	assert_int_equal(gca_layout_add(&w->a, 24, bits, &id), -EINVAL);
	bits[0] = 2;
	for (n = 0; n < 3000; n++) {
		/* three words, the middle one is a pointer; the others have none */
		bits[0] = n % 1000 == 7 ? 2 : 0;
		assert_int_equal(gca_layout_add(&w->a, 24, bits, &id), 0);
		assert_int_equal(id, n);
	}
	bits[ARRAY_SIZE(bits) - 1] = 1ULL << 63;
	assert_int_equal(gca_layout_add(&w->a, GCARENA_LAYOUT_MAX, bits, &big), 0);
	/* arrays behind a header, and with a span of their own */
	for (k = 0; k < 4; k++) {
		u64 bytes = k % 2 ? 48 * 1024 : 1200;
		u32 flags;

		if (k % 2)
			assert_int_equal(gca_large(&w->m, bytes, GCARENA_PRECISE, 1007, &arr, &flags), 0);
		else
			arr = world_alloc(w, bytes, GCARENA_PRECISE, 2007);
		for (i = 0; i < bytes / 24 * 3; i++)
			((u64 *)arr)[i] = new_object(w, 64);
		set_root(w, 0, arr);
		world_collect(w);
		assert_int_equal(world_held(w), 1 + bytes / 24);
		world_collect(w);
		x = ((u64 *)arr)[bytes / 24 * 3 - 2];
		assert_true(world_holds(w, x));
		set_root(w, 0, 0);
		world_collect(w);
		assert_int_equal(world_held(w), 0);
	}
	arr = world_alloc(w, 2 * GCARENA_LAYOUT_MAX, GCARENA_PRECISE, big);
	for (i = 0; i < 2 * GCARENA_LAYOUT_MAX / 8; i += 1023)
		((u64 *)arr)[i] = new_object(w, 64);
	((u64 *)arr)[2 * GCARENA_LAYOUT_MAX / 8 - 1] = new_object(w, 64);
	set_root(w, 0, arr);
	world_collect(w);
	assert_int_equal(world_held(w), 2);	/* the last word of the second element */
	for (n = w->a.nr_layouts; n < GCARENA_LAYOUTS_MAX; n++)
		assert_int_equal(gca_layout_add(&w->a, 8, bits + 1, &id), 0);
	assert_int_equal(gca_layout_add(&w->a, 8, bits + 1, &id), -ENOSPC);
	world_collect(w);
	assert_int_equal(world_held(w), 2);
	world_close(w);
}

/* ----------------------------------------------------- pacing, giving back */

static void test_pace(void **state)
{
	static const struct { u64 live, percent, min, goal; } c[] = {
		{ 0, 100, 4 * MIB, 4 * MIB }, { 3 * MIB, 100, 4 * MIB, 6 * MIB },
		{ MIB, 100, 4 * MIB, 4 * MIB }, { 10 * MIB, 50, 4 * MIB, 15 * MIB },
		{ 0, 50, 4 * MIB, 2 * MIB }, { 10 * MIB, 0, 4 * MIB, 10 * MIB },
		{ 1ULL << 40, 100000, 0, 1001ULL << 40 }, { MIB, 100000, 4 * MIB, 4000 * MIB },
		{ 0, 100, 0, 0 }, { 10 * MIB, 1, 4 * MIB, 10 * MIB + 10 * MIB / 100 },
	};
	struct world *w = open_world(0, 16);
	u64 n = 0;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(c); i++) {
		w->a.totals.live = c[i].live;
		w->a.knob.percent = c[i].percent;
		w->a.knob.heap_min = c[i].min;
		gca_pace(&w->a);
		assert_int_equal(w->ctl.heap_goal, c[i].goal);
		assert_int_equal(w->ctl.heap_trigger, c[i].percent ? c[i].goal : U64_MAX);
	}
	w->a.totals.live = 0;
	w->a.knob.percent = 100;
	w->a.knob.heap_min = GCA_HEAP_MIN;
	gca_pace(&w->a);
	for (w->wants = 0; !(w->wants & GCARENA_WANT_COLLECT); n += 512)
		assert_true(world_alloc(w, 512, GCARENA_NOSCAN, 0));
	assert_in_range(n, GCA_HEAP_MIN - 65536, GCA_HEAP_MIN);
	world_alloc(w, 100000, GCARENA_NOSCAN, 0);
	assert_true(w->wants & GCARENA_WANT_COLLECT);
	w->a.knob.percent = 0;
	gca_pace(&w->a);
	world_alloc(w, 100000, GCARENA_NOSCAN, 0);
	assert_false(w->wants & GCARENA_WANT_COLLECT);
	w->a.knob.percent = 100;
	gca_pace(&w->a);
	step(w, GCA_UNTIL_MARKING, 0);
	assert_false(gca_cycle_wanted(&w->a));	/* there is one */
	world_collect(w);
	world_close(w);
}

static void test_scavenge(void **state)
{
	struct world *w = open_world(0, 17);
	struct gcarena_run run[64];
	u64 bytes = 0, addr, free;
	u32 n, i, flags;

	for (i = 0; i < 60; i++) {
		addr = world_alloc(w, MIB, GCARENA_NOSCAN, 0);
		memset((void *)addr, 1, MIB);
		if (i % 3 == 0)
			set_root(w, i, addr);
	}
	assert_int_equal(gca_scavenge_take(&w->a, run, 64, true), 0);	/* no cycle yet */
	w->a.knob.heap_min = 0;
	world_collect(w);	/* 20 MiB live: worth keeping are 44 - 20 */
	assert_int_equal(gca_scavenge_due(&w->a, true), 0);
	n = gca_scavenge_take(&w->a, run, 64, true);
	assert_int_equal(n, 8);
	for (i = 0; i < n; i++)
		bytes += run[i].len;
	assert_int_equal(bytes, 16 * MIB);
	assert_int_equal((u64)w->a.heap.returning << GCARENA_PAGE_SHIFT, bytes);
	assert_int_equal(gca_scavenge_take(&w->a, run + n, 64 - n, true), 0);
	/* nobody else gets them */
	for (i = 0; i < 26; i++) {
		u32 k;

		addr = world_alloc(w, MIB, GCARENA_NOSCAN, 0);
		for (k = 0; addr && k < n; k++)
			assert_false(addr < run[k].start + run[k].len && run[k].start < addr + MIB);
	}
	for (i = 0; i < n; i++)
		memset((void *)run[i].start, 0, run[i].len);
	gca_scavenge_done(&w->a, run, n);
	assert_int_equal(w->a.heap.returning, 0);
	memset(w->root, 0, sizeof(w->root));
	w->a.knob.percent = 1;
	world_collect(w);
	for (bytes = 0; (n = gca_scavenge_take(&w->a, run, 64, true)); gca_scavenge_done(&w->a, run, n))
		for (i = 0; i < n; i++) {
			memset((void *)run[i].start, 0, run[i].len);
			bytes += run[i].len;
		}
	free = (u64)w->a.heap.free_dirty << GCARENA_PAGE_SHIFT;
	assert_true(free <= 65536);
	assert_int_equal(w->a.heap.inuse, 0);
	assert_int_equal(w->a.heap.returned << GCARENA_PAGE_SHIFT, 16 * MIB + bytes);
	/* all is one clean run again */
	assert_int_equal(gca_large(&w->m, 64 * MIB - free, GCARENA_NOSCAN, 0, &addr, &flags), 0);
	assert_false(flags & GCARENA_LARGE_NEEDZERO);
	world_collect(w);
	world_close(w);
}

/* ---------------------------------------------------------- failed metadata */

/* Every n-th allocation fails, until none does.  Return: how many did. */
#define FAIL_EACH(err, call, unchanged) ({				\
	u32 __n;							\
									\
	for (__n = 0;; __n++) {						\
		gca_test_fail_after = __n;				\
		(err) = (call);						\
		gca_test_fail_after = -1;				\
		if (!(err))						\
			break;						\
		assert_int_equal((err), -ENOMEM);			\
		assert_true(unchanged);					\
		assert_true(__n < 20);					\
	}								\
	__n;								\
})

static int init_again(struct gca_arena *a, struct gcarena_control *ctl)
{
	memset(a, 0, sizeof(*a));
	return gca_arena_init(a, 64 * MIB, ctl, 0);
}

static void test_no_memory(void **state)
{
	static struct gca_arena a;
	struct gcarena_control ctl = {};
	struct gca_mutator m = {};
	struct gcarena_range r;
	struct graph g;
	struct world *w;
	struct gcarena_slot *s;
	u64 bits = 1, addr, *big = test_calloc(1, 40 * MIB);
	u32 n, id, flags, before, k;
	void *sh = test_calloc(1, gca_mutator_bytes(WORLD_SLOTS));
	int err;

	assert_int_equal(FAIL_EACH(err, init_again(&a, &ctl), !a.metadata), 4);
	gca_arena_fini(&a);
	assert_int_equal(a.metadata, 0);

	w = open_graph(&g, GCARENA_DEBUG_CHECKMARK, 130);
	n = FAIL_EACH(err, gca_mutator_init(&m, &w->a, WORLD_SLOTS, sh), !m.twin);
	assert_int_equal(n, 1);
	gca_mutator_fini(&m);

	before = w->a.nr_layouts;
	for (k = 0; k < 200; k++)
		FAIL_EACH(err, gca_layout_add(&w->a, 8, &bits, &id), w->a.nr_layouts == before + k);

	r = range(big, 40 * MIB);
	n = FAIL_EACH(err, gca_roots_update(&w->a, &r, 1, NULL, 0), w->a.roots->n == 1);
	assert_int_equal(n, 1);

	/* the jobs of a larger set, checkmark's bits of new chunks */
	before = w->a.heap.inuse;
	n = FAIL_EACH(err, gca_large(&w->m, 13 * MIB, GCARENA_NOSCAN, 0, &addr, &flags),
		      w->a.heap.inuse == before);
	assert_true(n >= 1);
	n = FAIL_EACH(err, gca_collect(&w->a, ORDER(GCA_UNTIL_SWEPT, true, WORLD_TIMEOUT)),
		      !w->a.totals.cycles && !w->a.gate_closed && !w->a.phase);
	assert_true(n >= 2);
	graph_check_swept(&g, true);
	collect_exactly(&g);

	/* while marking: the chunk of a span lent, ranges and chunks that come */
	enter_phase(&g, 1);
	addr = world_held(w);
	for (k = 0; k < 1500; k++) {
		u32 sc = GCARENA_SPAN_CLASS(GCARENA_NR_SIZES - 1, 0), want;

		FAIL_EACH(err, (want = 1, gca_refill(&w->m, sc, &want)), !want);
		assert_int_equal(want, 1);
		s = &w->sh->slot[w->sh->current_slot[sc]];
		s->free_index = s->nelems;
		if (w->a.nr_chunks * GCA_CHUNK_PAGES - w->a.heap.inuse < 600)
			break;
	}
	FAIL_EACH(err, gca_roots_update(&w->a, NULL, 0, &r, 1),
		  w->a.roots->n == 2 && !atomic_read(&w->a.markers));
	FAIL_EACH(err, gca_cycle_run(&w->a, ORDER(GCA_UNTIL_MARKED, true, WORLD_TIMEOUT)), w->a.phase == 1);
	assert_int_equal(w->a.void_reason, 0);
	world_detach(w);
	world_attach(w);
	assert_int_equal(gca_sweep_finish(&w->a), 0);
	graph_check_swept(&g, false);
	collect_exactly(&g);
	close_graph(&g);
	test_free(sh);
	test_free(big);
}

/* Metadata that nobody gave back is complained about. */
static void test_leak(void **state)
{
	static struct gca_arena a;
	struct gcarena_control ctl = {};
	void *p;

	unsetenv("GCA_WARN_ABORT");
	assert_int_equal(gca_arena_init(&a, 64 * MIB, &ctl, 0), 0);
	p = gca_meta_zalloc(&a, 100);
	gca_warnings = 0;
	gca_arena_fini(&a);
	assert_int_equal(gca_warnings, 1);
	assert_int_equal(a.metadata, 100);
	gca_meta_free(&a, p, 100);
	gca_warnings = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_random_steps),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_void),
		cmocka_unit_test(test_void_renews_snap),
		cmocka_unit_test(test_not_begun),
		cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_detach),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_zombie),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_bad_index),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_roots_errors),
		cmocka_unit_test(test_roots_blocks),
		cmocka_unit_test(test_roots_marking),
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_scavenge),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_leak),	/* last: it warns once */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
