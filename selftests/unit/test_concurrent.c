// SPDX-License-Identifier: MIT
/*
 * test_concurrent.c: cycles whose marking the program runs beside: what happens between
 * their stops, what termination finds, and what can go wrong in between.
 *
 * The program does what it does in hooks, at the places that matter; many threads at once
 * are in selftests/kselftest/threads_shadow.c.
 */
#include "world.h"

/**
 * struct scene - what a test wants to happen in a cycle
 * @between: called before each time that workers mark with the world running, and
 * @after: after it; both with the number of the time, from 0
 * @stopping: called when a stop begins, with the number of the stop, from 0
 * @no_crew: the crew_get() that fails, from 1; 0: none
 * @looks: somebody looks after the plain roots
 * @changed: so many COMPAREs say that they have changed
 * @unheld: a thread cannot be held as long as others are kept from loading objects
 */
static struct scene {
	void (*between)(struct world *w, u32 n);
	void (*after)(struct world *w, u32 n);
	void (*stopping)(struct world *w, u32 n);
	u32 no_crew, changed;
	bool looks, unheld;
	/* what was seen */
	struct world *w;
	bool stopped;
	s64 unswept;
	u32 runs, stops, crews, ready, refreshed, held, compared, steps, alone;
} scene;

void gca_port_alone(struct gca_arena *a, bool begins)
{
	assert_int_equal(scene.alone++ % 2, !begins);
}

bool gca_port_looks(struct gca_arena *a)
{
	return scene.looks;
}

int gca_port_look(struct gca_arena *a, u32 what)
{
	assert_false(scene.stopped);
	assert_int_equal(scene.steps % 2, 0);
	if (!scene.looks)
		return 0;
	scene.refreshed += !!(what & GCARENA_SERVE_REFRESH);
	scene.held += !!(what & GCARENA_SERVE_HOLD);
	scene.compared += what == GCARENA_SERVE_COMPARE;
	world_hooks.stop_err = what & GCARENA_SERVE_HOLD && scene.unheld ? -EAGAIN : 0;
	return what == GCARENA_SERVE_COMPARE && scene.compared <= scene.changed;
}

int gca_port_crew_get(struct gca_arena *a)
{
	assert_false(scene.stopped);
	return ++scene.crews == scene.no_crew ? -ENODEV : 0;
}

/* Just before the stop in which roots are scanned, which is the first. */
void gca_port_crew_ready(struct gca_arena *a)
{
	assert_false(scene.stopped);
	assert_int_equal(scene.steps % 2, 1);
	assert_int_equal(a->phase, GCARENA_PHASE_OFF);
	scene.ready++;
}

int gca_port_step_begin(struct gca_arena *a)
{
	assert_int_equal(scene.steps++ % 2, 0);
	return 0;
}

void gca_port_step_end(struct gca_arena *a)
{
	assert_int_equal(scene.steps++ % 2, 1);
}

void gca_port_run_workers(struct gca_arena *a, u64 until)
{
	bool marks = READ_ONCE(a->work) == GCA_WORK_MARK && !scene.stopped;

	/* Somebody conducts: memory has its price. */
	assert_false(marks && a->interrupted);
	/* A quarter of the processors, then and only then. */
	assert_int_equal(a->modes.limited, marks);
	if (marks && scene.between)
		scene.between(scene.w, scene.runs);
	while (!gca_work_idle(a) && !READ_ONCE(a->void_reason) && gca_port_now() <= until)
		gca_work_slice(a, GCA_MARK_DEDICATED, 1000000);
	if (marks && scene.after)
		scene.after(scene.w, scene.runs);
	scene.runs += marks;
}

static void in_stop(struct gca_arena *a)
{
	if (scene.stopping)
		scene.stopping(scene.w, scene.stops);
	scene.stops++;
	scene.stopped = true;
}

static void at_start(struct gca_arena *a)
{
	scene.stopped = false;
	scene.unswept = atomic64_read(&a->unswept);
}

static struct world *open_scene(u32 debug)
{
	struct world *w = world_open(64 * MIB, debug, 11);

	memset(&scene, 0, sizeof(scene));
	scene.w = w;
	w->a.concurrent = true;
	world_hooks.in_stop = in_stop;
	world_hooks.at_start = at_start;
	return w;
}

static const struct gca_order whole = { .until = GCA_UNTIL_SWEPT, .forced = true,
					.timeout_ns = WORLD_TIMEOUT };

static int cycle(struct world *w)
{
	scene.runs = 0;
	scene.stops = 0;
	scene.crews = 0;
	scene.ready = 0;
	scene.refreshed = 0;
	scene.held = 0;
	scene.compared = 0;
	return gca_collect(&w->a, &whole);
}

/* A list of @n, each an object of its own span class; root 0 holds the first. */
static void list(struct world *w, u64 *node, u32 n)
{
	u32 i;

	for (i = n; i--;) {
		node[i] = world_alloc(w, 16, GCARENA_CONSERVATIVE, 0);
		world_store(w, node[i], i + 1 < n ? node[i + 1] : 0);
	}
	w->root[0] = node[0];
}

/* What a thread's section would have recorded. */
static void put(struct world *w, u64 old)
{
	WRITE_ONCE(w->sh->ring[w->sh->ring_tail % GCARENA_RING_ENTRIES], old);
	smp_store_release(&w->sh->ring_tail, w->sh->ring_tail + 1);
}

/* -------------------------------------------------------------- between the stops */

static u64 node[40], born, large;

static void between(struct world *w, u32 n)
{
	assert_false(scene.stopped);
	assert_int_equal(w->ctl.phase, GCARENA_PHASE_MARK);
	assert_int_equal(w->ctl.barrier, GCARENA_BARRIER_DELETION);
	if (n)
		return;
	large = world_alloc(w, 100000, GCARENA_NOSCAN, 0);
	/* New objects are black; and a part of the list is moved under one, and out of the way. */
	born = world_alloc(w, 16, GCARENA_CONSERVATIVE, 0);
	*(u64 *)born = node[20];
	world_store(w, node[19], 0);
	w->root[1] = born;
}

static void test_between_stops(void **state)
{
	struct world *w = open_scene(GCARENA_DEBUG_CHECKMARK);
	u32 round, i;

	/* Checkmark has every other cycle mark in its stop. */
	for (round = 0; round < 6; round++) {
		list(w, node, 40);
		w->root[1] = 0;
		scene.between = between;
		assert_int_equal(cycle(w), 0);
		assert_int_equal(w->a.phase, GCARENA_PHASE_OFF);
		assert_int_equal(w->a.void_reason, 0);
		assert_int_equal(scene.stops, round % 2 ? 1 : 2);
		assert_int_equal(scene.ready, 1);
		assert_int_equal(scene.runs > 0, round % 2 == 0);
		for (i = 0; i < 40; i++)
			assert_true(world_holds(w, node[i]));
		if (scene.runs) {
			assert_true(world_holds(w, born));
			assert_true(world_holds(w, large));
		}
	}
	assert_int_equal(w->a.totals.restarts, 0);
	assert_int_equal(w->a.totals.check_found, 0);
	assert_int_equal(gca_warnings, 0);
	/* And what is garbage dies. */
	w->root[0] = 0;
	w->root[1] = 0;
	scene.between = NULL;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(cycle(w), 0);
	assert_int_equal(world_held(w), 0);
	world_close(w);
}

/* A cycle is one with checkmark to its end, or is not; and not by who cannot read what it reads. */
static void test_checks(void **state)
{
	struct gca_order o = { .forced = true, .timeout_ns = WORLD_TIMEOUT };
	struct world *w = open_scene(0);
	u64 checked;
	u32 way;

	for (way = 0; way < 4; way++) {
		w->a.knob.debug = way & 1 ? GCARENA_DEBUG_CHECKMARK : 0;
		o.blind = way & 2;
		o.until = GCA_UNTIL_MARKING;
		assert_int_equal(gca_checks(&w->a), way & 1);
		assert_int_equal(gca_collect(&w->a, &o), 0);
		assert_int_equal(gca_checks(&w->a), way == 1);
		w->a.knob.debug ^= GCARENA_DEBUG_CHECKMARK;
		assert_int_equal(gca_checks(&w->a), way == 1);
		checked = w->a.totals.checked;
		o.until = GCA_UNTIL_MARKED;
		assert_int_equal(gca_collect(&w->a, &o), 0);
		assert_int_equal(w->a.phase, GCARENA_PHASE_OFF);
		assert_int_equal(w->a.totals.checked - checked, way == 1);
	}
	world_close(w);
}

/* One stop, if asked for in one of three ways, or with a thread of the owner's. */
static void test_stopped(void **state)
{
	struct gca_order o = whole;
	struct world *w = open_scene(0);
	u32 way;

	for (way = 0; way < 5; way++) {
		o.stopped = way == 1;
		o.sweep_stopped = way == 2;
		w->a.knob.debug = way == 3 ? GCARENA_DEBUG_STOPPED : 0;
		o.lent = way == 4;
		list(w, node, 40);
		scene.stops = 0;
		scene.runs = 0;
		assert_int_equal(gca_collect(&w->a, &o), 0);
		assert_int_equal(scene.stops, way ? 1 : 2);
		assert_int_equal(scene.runs > 0, !way);
		assert_true(world_holds(w, node[39]));
	}
	/* With somebody to be asked about the roots after it, the begin stop is another one. */
	scene.looks = true;
	o.lent = false;
	o.stopped = true;
	scene.stops = 0;
	assert_int_equal(gca_collect(&w->a, &o), 0);
	assert_int_equal(scene.stops, 2);
	assert_int_equal(scene.compared, 1);
	assert_true(scene.unswept > 0);
	o.sweep_stopped = true;
	assert_int_equal(gca_collect(&w->a, &o), 0);
	assert_int_equal(scene.unswept, 0);
	assert_int_equal(scene.stops, 4);
	/* A cycle that is under way is finished as any other, and the next as it was asked for. */
	world_cycle(w, GCA_UNTIL_MARKING);
	scene.stops = 0;
	assert_int_equal(gca_collect(&w->a, &o), 0);
	assert_int_equal(scene.unswept, 0);
	assert_int_equal(scene.stops, 3);
	world_close(w);
}

/* ------------------------------------------------------------------------ ranges */

#define FAR_WORDS	(600 * 1024 / 8)	/* three blocks */

static u64 far[FAR_WORDS], far_object[2];

static void first_is_not_scanned(struct gca_arena *a)
{
	scene.stopped = false;
	if (scene.stops != 1)
		return;
	assert_true(world_marked(scene.w, node[0]));
	assert_int_equal(world_marked(scene.w, far_object[0]), !a->concurrent);
	assert_int_equal(world_marked(scene.w, far_object[1]), !a->concurrent);
}

static void overwrites_far(struct world *w, u32 n)
{
	if (n)
		return;
	put(w, far[FAR_WORDS - 1]);
	far[FAR_WORDS - 1] = 0;
}

/*
 * Barriered ranges are scanned while the world runs: what was in them when it stopped
 * lives, whether it is still there or has been overwritten since.  Other kinds are not
 * left for later, wherever they lie.
 */
static void test_barriered_ranges(void **state)
{
	struct gcarena_range r = { .start = (u64)far, .len = sizeof(far) };
	struct world *w = open_scene(0);
	u32 way;

	assert_int_equal(gca_roots_update(&w->a, &r, 1, NULL, 0), 0);
	for (way = 0; way < 2; way++) {
		w->a.concurrent = !way;
		list(w, node, 40);
		far_object[0] = world_alloc(w, 16, GCARENA_NOSCAN, 0);
		/* The end of an object names it, too. */
		world_alloc(w, 16, GCARENA_NOSCAN, 0);
		far_object[1] = world_alloc(w, 16, GCARENA_NOSCAN, 0);
		far[0] = far_object[0];
		far[FAR_WORDS - 1] = far_object[1];
		world_hooks.at_start = first_is_not_scanned;
		scene.between = overwrites_far;
		assert_int_equal(cycle(w), 0);
		world_hooks.at_start = at_start;
		assert_true(world_holds(w, far_object[0]));
		assert_true(world_holds(w, far_object[1]));
		/* The next one finds it gone, if it is. */
		scene.between = NULL;
		far[0] = 0;
		assert_int_equal(cycle(w), 0);
		assert_false(world_holds(w, far_object[0]));
		assert_int_equal(world_holds(w, far_object[1]), way);
	}
	/* Workers had them all before termination looked. */
	assert_int_equal(w->a.totals.restarts, 0);
	assert_int_equal(gca_roots_update(&w->a, NULL, 0, &r, 1), 0);
	world_close(w);
}

/* --------------------------------------------------------------------- termination */

/* Objects that nothing points to but a store that is late, and what they point to. */
static u64 late[4][2];

static void new_late(struct world *w, u32 n)
{
	u32 i;

	for (i = 0; i < n; i++) {
		late[i][1] = world_alloc(w, 16, GCARENA_NOSCAN, 0);
		late[i][0] = world_alloc(w, 16, GCARENA_CONSERVATIVE, 0);
		*(u64 *)late[i][0] = late[i][1];
	}
}

/* Between the last look at the rings and the stop a store comes: @n times. */
static u32 nr_late;

static void store_late(struct world *w, u32 n)
{
	if (n && n <= nr_late)
		put(w, late[n - 1][0]);
}

static void test_restart(void **state)
{
	struct world *w = open_scene(GCARENA_DEBUG_CHECKMARK);
	u32 i, n;
	u64 restarts = 0;

	for (n = 0; n <= 4; n++) {
		w->a.totals.cycles = 0;	/* for checkmark: not in one stop */
		new_late(w, 4);
		list(w, node, 40);
		nr_late = n;
		scene.stopping = store_late;
		assert_int_equal(cycle(w), 0);
		restarts += n;
		/* Each time the world ran again, and what it names was marked, too. */
		assert_int_equal(scene.stops, 2 + n);
		assert_int_equal(w->a.totals.restarts, restarts);
		assert_int_equal(w->a.totals.cycles, 1);
		for (i = 0; i < 4; i++) {
			assert_int_equal(world_holds(w, late[i][0]), i < n);
			assert_int_equal(world_holds(w, late[i][1]), i < n);
		}
		assert_true(world_holds(w, node[39]));
		assert_int_equal(w->sh->ring_head, w->sh->ring_tail);
	}
	/* What is marked, new or nowhere is no reason. */
	nr_late = 1;
	late[0][0] = node[3];
	w->a.totals.cycles = 0;
	assert_int_equal(cycle(w), 0);
	late[0][0] = 12345;
	w->a.totals.cycles = 0;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(w->a.totals.restarts, restarts);
	world_close(w);
}

/*
 * As the stop comes, somebody has the only grey object in hand: a thread in an assist, or
 * one that scans its own stack.  He is late with it, or cannot read it.
 */
static struct gca_worker hand;

static void take_in_hand(struct world *w, u32 n)
{
	if (n != 1)
		return;
	gca_worker_init(&hand, &w->a, false, GCA_MARK_SELF);
	gca_grey_word(&hand, late[0][0]);
}

static void put_down(struct world *w, u32 n)
{
	if (n == 1)
		gca_worker_fini(&hand);
}

static void miss_in_hand(struct world *w, u32 n)
{
	u64 entry;

	if (n != 1)
		return;
	take_in_hand(w, n);
	entry = hand.buf->obj[--hand.buf->n];
	gca_worker_miss(&hand, entry);
	gca_worker_fini(&hand);
}

bool gca_port_pager_scans(struct gca_arena *a)
{
	return !world_hooks.miss && !gca_missed_scan(a, GCA_MARK_SERVE);
}

static void test_in_hand(void **state)
{
	struct world *w = open_scene(0);
	u32 way;

	for (way = 0; way < 2; way++) {
		new_late(w, 1);
		list(w, node, 40);
		scene.stopping = way ? miss_in_hand : take_in_hand;
		scene.between = way ? NULL : put_down;
		assert_int_equal(cycle(w), 0);
		assert_int_equal(w->a.void_reason, 0);
		assert_int_equal(scene.stops, 3);
		assert_int_equal(w->a.totals.restarts, way + 1);
		assert_true(world_holds(w, late[0][0]));
		assert_true(world_holds(w, late[0][1]));
	}
	world_close(w);
}

/* Rings are emptied while the world runs, as often as there is something in them. */
static void fill_ring(struct world *w, u32 n)
{
	if (n < 3)
		put(w, late[n][0]);
}

static void test_rings_while_running(void **state)
{
	struct world *w = open_scene(0);
	u32 i;

	new_late(w, 3);
	list(w, node, 40);
	scene.after = fill_ring;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(scene.stops, 2);
	assert_int_equal(scene.runs, 4);
	assert_int_equal(w->a.totals.restarts, 0);
	for (i = 0; i < 3; i++)
		assert_true(world_holds(w, late[i][1]));
	world_close(w);
}

/* ------------------------------------------------------------------- what goes wrong */

static void bad_ring(struct world *w, u32 n)
{
	w->sh->ring_tail += GCARENA_RING_ENTRIES + 1;
}

static bool missing(u64 addr)
{
	return addr == node[10];
}

static void test_void(void **state)
{
	struct gca_order o = whole;
	struct world *w = open_scene(0);
	u32 way;

	for (way = 0; way < 3; way++) {
		list(w, node, 40);
		scene.after = way == 0 ? bad_ring : NULL;
		world_hooks.miss = way == 1 ? missing : NULL;
		o.timeout_ns = way == 2 ? 0 : WORLD_TIMEOUT;
		assert_int_equal(gca_collect(&w->a, &o), 0);
		assert_int_equal(w->a.void_reason, way == 0 ? GCARENA_VOID_RING : way == 1 ?
				 GCARENA_VOID_UNREADABLE : GCARENA_VOID_AGE);
		assert_int_equal(w->a.phase, GCARENA_PHASE_OFF);
		assert_int_equal(w->a.totals.voided, way + 1);
		assert_int_equal(atomic_read(&w->a.markers), 0);
		assert_int_equal(scene.alone, 2 * way);
		assert_false(gca_cycle_needed(&w->a));
		/* The next is as if it had never been; the conductor has cleared its marks. */
		scene.after = NULL;
		world_hooks.miss = NULL;
		assert_int_equal(cycle(w), 0);
		assert_int_equal(scene.alone, 2 * way + 2);
		assert_int_equal(w->a.void_reason, 0);
		assert_int_equal(world_held(w), 40);
	}
	world_close(w);
}

static void begins_to_look(struct world *w, u32 n)
{
	scene.looks = true;
}

/* A library comes as marking begins: once, and again and again. */
static void test_library(void **state)
{
	struct world *w = open_scene(0);

	scene.looks = true;
	list(w, node, 40);
	assert_int_equal(cycle(w), 0);
	assert_int_equal(scene.refreshed, 1);
	assert_int_equal(scene.compared, 1);
	assert_int_equal(scene.stops, 2);
	scene.changed = 2;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(w->a.void_reason, 0);
	assert_int_equal(scene.refreshed, 3);
	assert_int_equal(scene.stops, 4);
	assert_int_equal(w->a.totals.voided, 2);
	assert_int_equal(scene.held, 1);
	scene.changed = 4;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(w->a.void_reason, GCARENA_VOID_LIBRARY);
	assert_int_equal(w->a.totals.voided, 6);
	assert_int_equal(scene.held, 2);
	/* Who keeps them out must be let go of, if a thread cannot be held for it. */
	scene.changed = 1;
	scene.unheld = true;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(w->a.void_reason, 0);
	assert_int_equal(w->a.totals.voided, 7);
	assert_int_equal(w->a.totals.postponed, 0);
	assert_int_equal(scene.held, 1);
	assert_int_equal(scene.compared, 3);
	assert_int_equal(scene.refreshed, 3);
	scene.changed = 4;
	assert_int_equal(cycle(w), -EAGAIN);
	assert_int_equal(scene.compared, 4);
	assert_int_equal(w->a.phase, GCARENA_PHASE_OFF);
	scene.unheld = false;
	/* Somebody comes to look when the stop is made: he knows nothing of before. */
	scene.looks = false;
	scene.changed = 4;
	scene.stopping = begins_to_look;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(w->a.void_reason, 0);
	assert_int_equal(scene.compared, 0);
	scene.stopping = NULL;
	scene.changed = 0;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(world_held(w), 40);
	world_close(w);
}

/* No workers can be had: before the cycle, while it marks, at its end, for the sweep. */
static void test_no_crew(void **state)
{
	struct world *w = open_scene(0);
	struct gca_order lent = whole;
	u32 when;

	lent.lent = true;
	for (when = 1; when <= 4; when++) {
		list(w, node, 40);
		scene.no_crew = when;
		assert_int_equal(cycle(w), when < 4 ? -ENODEV : 0);
		assert_int_equal(w->a.phase == GCARENA_PHASE_MARK, when == 2 || when == 3);
		/* Who looks whether there is anything to do is told. */
		if (when == 2 || when == 3)
			assert_true(gca_cycle_wanted(&w->a));
		/* A thread of the owner's takes over, and has its own after it. */
		scene.no_crew = 0;
		scene.ready = 0;
		assert_int_equal(gca_collect(&w->a, &lent), 0);
		assert_int_equal(scene.ready, 0);
		assert_int_equal(w->a.phase, GCARENA_PHASE_OFF);
		assert_false(gca_cycle_wanted(&w->a));
		assert_int_equal(world_held(w), 40);
	}
	world_close(w);
}

/* --------------------------------------------------------------------------- assist */

static void owe(struct world *w, s64 bytes)
{
	w->m.balance = -bytes;
	w->m.balance_epoch = w->a.epoch;
}

static void assist(struct world *w, u32 n)
{
	u64 before = atomic64_read(&w->a.totals.scanned);
	struct gca_price price;

	if (n)
		return;
	/* Who owes nothing does nothing. */
	owe(w, 0);
	gca_assist(&w->m);
	assert_int_equal(atomic64_read(&w->a.totals.scanned), before);
	/* What others have done for all comes first, and is used up. */
	price = gca_pace_price(&w->a);
	owe(w, price.bytes);
	gca_assist_credit(&w->a, 65536);
	gca_assist(&w->m);
	assert_int_equal(atomic64_read(&w->a.totals.scanned), before);
	assert_int_equal(atomic64_read(&w->a.credit), 0);
	/* It buys no more than there is. */
	assert_true(price.work < 65536);
	assert_int_equal(w->m.balance, 1);
	/* Then it marks, more than it owes. */
	owe(w, price.bytes / 2);
	gca_assist(&w->m);
	assert_true((u64)atomic64_read(&w->a.totals.scanned) > before);
	assert_true(world_marked(w, node[39]));
	assert_int_equal(w->a.totals.assists.n, 1);
	/* Here nobody is left to wait for. */
	assert_int_equal(w->a.nr_payees, 0);
}

static void void_it(struct world *w, u32 n)
{
	gca_cycle_void(&w->a, GCARENA_VOID_RING);
}

static void test_assist(void **state)
{
	struct world *w = open_scene(0);

	list(w, node, 40);
	scene.between = assist;
	assert_int_equal(cycle(w), 0);
	assert_true(atomic64_read(&w->a.totals.mark_ns[GCA_MARK_ASSIST]) > 0);
	/* With the phase off, or nobody else at work, there is nothing to do. */
	owe(w, MIB);
	gca_assist(&w->m);
	world_cycle(w, GCA_UNTIL_MARKING);
	owe(w, MIB);
	gca_assist(&w->m);
	assert_false(world_marked(w, node[39]));
	world_cycle(w, GCA_UNTIL_SWEPT);
	assert_int_equal(w->a.totals.assists.n, 1);
	world_close(w);
}

/* What the pacer is told: of what could be live, of who marked, and by what workers earn. */
static void told_before(struct world *w, u32 n)
{
	u64 addr;
	u32 flags;

	assert_int_equal(w->a.pacer.scan, MIB + 8 * GCA_OBJECT_WORDS + 4096);
	assert_int_equal(w->a.pacer.globals, sizeof(w->root));
	assert_int_equal(atomic64_read(&w->a.credit), 0);
	assert_int_equal(gca_large(&w->m, MIB, GCARENA_NOSCAN, 0, &addr, &flags), 0);
	w->m.balance = 0;
	/* As if threads had assisted, by the clock, far more than there was time for. */
	atomic64_add(1ULL << 40, &w->a.totals.mark_ns[GCA_MARK_ASSIST]);
}

static void told_after(struct world *w, u32 n)
{
	assert_true((u64)atomic64_read(&w->a.credit) > MIB);
	assert_int_equal(atomic64_read(&w->a.credit), gca_pace_work(&w->a) - w->a.pacer.early);
}

static void test_told(void **state)
{
	struct world *w = open_scene(0);
	u64 before, work;

	w->root[0] = world_alloc(w, MIB, GCARENA_CONSERVATIVE, 0);
	atomic64_set(&w->a.heap_scan, MIB + 8 * GCA_OBJECT_WORDS + 4096);
	scene.between = told_before;
	scene.after = told_after;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(atomic64_read(&w->a.credit), 0);
	/* 1/4 and 11/16 of the time for 1/16 of it. */
	work = w->a.pacer.heap_work;
	before = gca_mul_div(MIB, 15 * GCA_PACER_ONE, work);
	assert_true(w->a.pacer.cons_mark[0] > before - before / 100);
	assert_true(w->a.pacer.cons_mark[0] < before + before / 100);
	/* A void cycle teaches nothing. */
	before = w->a.pacer.cons_mark[0];
	w->root[0] = 0;
	scene.between = void_it;
	scene.after = NULL;
	assert_int_equal(cycle(w), 0);
	assert_int_equal(w->a.totals.voided, 1);
	assert_int_equal(w->a.pacer.cons_mark[0], before);
	assert_int_equal(w->a.pacer.heap_work, work);
	assert_false(w->a.pacer.marking);
	world_close(w);
}

/* A cycle that somebody began and left is paced as soon as somebody goes on with it. */
static void is_paced(struct world *w, u32 n)
{
	assert_true(w->a.pacer.marking);
	assert_false(w->a.interrupted);
	assert_int_equal(w->a.pacer.triggered, atomic64_read(&w->a.heap_live));
}

static void test_taken_up(void **state)
{
	struct gca_order marking = whole;
	struct world *w = open_scene(0);

	list(w, node, 40);
	marking.until = GCA_UNTIL_MARKING;
	assert_int_equal(gca_collect(&w->a, &marking), 0);
	assert_int_equal(w->a.phase, GCARENA_PHASE_MARK);
	assert_false(w->a.pacer.marking);
	world_alloc(w, MIB, GCARENA_NOSCAN, 0);
	scene.between = is_paced;
	assert_int_equal(cycle(w), 0);
	assert_true(scene.runs > 0);
	world_close(w);
}

/* Objects that are larger than what is owed at a time, and nobody but those who owe. */
#define BIG_WORDS	(MIB / 8)

static u64 big, big_last;

static void assist_big(struct world *w, u32 n)
{
	u32 tries;

	if (n)
		return;
	for (tries = 0; tries < 100 && !world_marked(w, big_last); tries++) {
		owe(w, 8192);
		gca_assist(&w->m);
	}
	assert_true(world_marked(w, big_last));
	/* It was looked at once. */
	assert_true(atomic64_read(&w->a.scan_done[GCA_SCAN_HEAP]) < 2 * MIB);
}

static void test_assist_big(void **state)
{
	struct world *w = open_scene(0);

	big = world_alloc(w, MIB, GCARENA_CONSERVATIVE, 0);
	big_last = world_alloc(w, 4096, GCARENA_NOSCAN, 0);
	world_store(w, big + 8 * (BIG_WORDS - 1), big_last);
	w->root[0] = big;
	scene.between = assist_big;
	assert_int_equal(cycle(w), 0);
	world_close(w);
}

/* What is lent and made while a cycle marks is owed for; what comes back is not. */
static void charges(struct world *w, u32 n)
{
	u64 live = atomic64_read(&w->a.heap_live), scan = atomic64_read(&w->a.heap_scan), addr;
	u32 count = 2, flags;

	if (n)
		return;
	assert_int_equal(w->m.balance_epoch == w->a.epoch ? w->m.balance : 0, 0);
	assert_int_equal(gca_refill(&w->m, GCARENA_SPAN_CLASS(20, GCARENA_CONSERVATIVE), &count), 0);
	/* One at a time, while each has its price. */
	assert_int_equal(count, 1);
	assert_int_equal(w->m.balance, live - (u64)atomic64_read(&w->a.heap_live));
	assert_true(w->m.balance < 0);
	assert_int_equal(w->sh->assist_balance, w->m.balance);
	assert_int_equal(gca_large(&w->m, MIB, GCARENA_CONSERVATIVE, 0, &addr, &flags), 0);
	assert_int_equal(w->m.balance, live - (u64)atomic64_read(&w->a.heap_live));
	/* It is black: no work for this cycle. */
	assert_int_equal(atomic64_read(&w->a.heap_scan), scan);
	/* A thread that owes, and goes: nobody else's. */
	world_detach(w);
	assert_true(w->m.balance >= -(s64)MIB);
	world_attach(w);
}

static void test_charges(void **state)
{
	struct world *w = open_scene(0);
	u64 scan = atomic64_read(&w->a.heap_scan), addr;
	u32 flags;

	list(w, node, 40);
	assert_true((u64)atomic64_read(&w->a.heap_scan) > scan);
	scan = atomic64_read(&w->a.heap_scan);
	assert_int_equal(gca_large(&w->m, MIB, GCARENA_NOSCAN, 0, &addr, &flags), 0);
	assert_int_equal(atomic64_read(&w->a.heap_scan), scan);
	assert_int_equal(gca_large(&w->m, MIB, GCARENA_CONSERVATIVE, 0, &addr, &flags), 0);
	assert_int_equal(atomic64_read(&w->a.heap_scan), scan + MIB + 8 * GCA_OBJECT_WORDS);
	/* With the phase off nothing is owed. */
	assert_int_equal(w->m.balance, 0);
	scene.between = charges;
	assert_int_equal(cycle(w), 0);
	/* What was scanned is what can hold pointers. */
	assert_int_equal(atomic64_read(&w->a.heap_scan), w->a.pacer.heap_work);
	assert_false(w->a.pacer.marking);
	world_close(w);
}

/* The trigger is before the goal by what marking will let in, within Go's bounds. */
static void test_trigger(void **state)
{
	struct world *w = open_scene(0);
	struct gca_arena *a = &w->a;

	a->knob.heap_min = 0;
	a->totals.live = 100 * MIB;
	gca_pace(a);
	assert_int_equal(a->heap_goal, 200 * MIB);
	assert_int_equal(a->heap_trigger, 196 * MIB);
	a->pacer.heap_work = 8 * MIB;
	a->pacer.cons_mark[GCA_PACER_WINDOW - 1] = GCA_PACER_ONE / 2;
	gca_pace(a);
	assert_int_equal(a->heap_trigger, 188 * MIB);
	a->pacer.heap_work = U64_MAX / 2;
	gca_pace(a);
	assert_int_equal(a->heap_trigger, 100 * MIB + 100 * MIB / 64 * 45);
	/* Roots cost marking as well as objects do: they count. */
	a->pacer.heap_work = 0;
	a->pacer.globals = 10 * MIB;
	a->pacer.stack_work = 10 * MIB;
	a->pacer.early = 20 * MIB;
	gca_pace(a);
	assert_int_equal(a->heap_goal, 220 * MIB);
	assert_int_equal(a->heap_trigger, 216 * MIB);
	a->concurrent = false;
	gca_pace(a);
	assert_int_equal(a->heap_trigger, a->heap_goal);
	a->knob.percent = 0;
	gca_pace(a);
	assert_int_equal(a->heap_trigger, U64_MAX);
	a->concurrent = true;
	gca_pace(a);
	assert_int_equal(a->heap_trigger, U64_MAX);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_between_stops),
		cmocka_unit_test(test_checks),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_barriered_ranges),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_in_hand),
		cmocka_unit_test(test_rings_while_running),
		cmocka_unit_test(test_void),
		cmocka_unit_test(test_library),
		cmocka_unit_test(test_no_crew),
		cmocka_unit_test(test_assist),
		cmocka_unit_test(test_assist_big),
		cmocka_unit_test(test_told),
		cmocka_unit_test(test_taken_up),
		cmocka_unit_test(test_charges),
		cmocka_unit_test(test_trigger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
