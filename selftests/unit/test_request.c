// SPDX-License-Identifier: MIT
/*
 * test_request.c: whom a cycle is for; what becomes of looks, whatever the order in which the
 * pager comes and its asker goes; runs that a lost reply had.
 */
#include "world.h"
#include "request.h"

/* ---------------------------------------------------------------------- requests */

static void test_order(void **state)
{
	static const struct { u32 flag; enum gca_until until; } until[] = {
		{ 0, GCA_UNTIL_SWEPT }, { GCARENA_COLLECT_UNTIL_MARKING, GCA_UNTIL_MARKING },
		{ GCARENA_COLLECT_UNTIL_MARKED, GCA_UNTIL_MARKED },
		{ GCARENA_COLLECT_STOPPED, GCA_UNTIL_SWEPT },
		{ GCARENA_COLLECT_SWEEP_STOPPED, GCA_UNTIL_SWEPT },
	};
	struct gcarena_collect req = {};
	struct gca_order o;

	for (u32 i = 0; i < ARRAY_SIZE(until); i++)
		for (u32 paced = 0; paced < 2; paced++) {
			req.flags = until[i].flag | (paced ? GCARENA_COLLECT_PACED : 0);
			req.timeout_ns = i * 100;
			o = gca_order_of(&req, 7);
			assert_int_equal(o.until, until[i].until);
			assert_int_equal(o.forced, !paced);
			assert_int_equal(o.soon, paced);
			assert_int_equal(o.stopped, until[i].flag == GCARENA_COLLECT_STOPPED);
			assert_int_equal(o.sweep_stopped,
					 until[i].flag == GCARENA_COLLECT_SWEEP_STOPPED);
			assert_int_equal(o.timeout_ns, i ? i * 100 : 7);
			assert_true(o.lazy);
		}
	o = gca_order_paced(7);
	assert_int_equal(o.until, GCA_UNTIL_MARKED);
	assert_true(o.lazy && !o.forced && !o.soon && !o.stopped);
	assert_int_equal(o.timeout_ns, 7);
}

/* In @taken, in this order, and nothing else; they go. */
static void expect_taken(struct gca_arena *a, struct list_head *taken, struct gca_request *r,
			 const char *which)
{
	for (; *which; which++) {
		assert_false(list_empty(taken));
		assert_ptr_equal(list_first_entry(taken, struct gca_request, link), r + *which - '0');
		gca_request_done(a, r + *which - '0', 0, true);
	}
	assert_true(list_empty(taken));
}

static void test_take(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	struct gca_request r[7];
	struct gca_order o;
	LIST_HEAD(queue);
	LIST_HEAD(taken);

	memset(r, 0, sizeof(r));
	assert_false(gca_requests_take(&queue, &taken, &o));
	for (u32 i = 0; i < ARRAY_SIZE(r); i++) {
		r[i].order.until = GCA_UNTIL_SWEPT;
		r[i].order.soon = true;
		r[i].order.timeout_ns = 10 + i;
		list_add_tail(&r[i].link, &queue);
	}
	r[2].order.until = GCA_UNTIL_MARKED;
	r[2].order.stopped = true;
	r[2].order.timeout_ns = 1000;
	r[3].order.forced = true;
	r[3].order.timeout_ns = 100;
	r[4].order.until = GCA_UNTIL_MARKING;
	r[4].order.sweep_stopped = true;
	r[4].order.soon = false;
	r[5].order.timeout_ns = 50;
	/* All who want one to its end; what another wants is nothing to them. */
	assert_true(gca_requests_take(&queue, &taken, &o));
	assert_int_equal(o.until, GCA_UNTIL_SWEPT);
	assert_true(o.forced && o.soon && !o.stopped && !o.sweep_stopped);
	assert_int_equal(o.timeout_ns, 100);
	expect_taken(&w->a, &taken, r, "01356");
	/* Those who do not have one each, oldest first, whoever has come since. */
	r[0].order.soon = false;
	r[0].order.sweep_stopped = true;
	list_add_tail(&r[0].link, &queue);
	assert_true(gca_requests_take(&queue, &taken, &o));
	assert_int_equal(o.until, GCA_UNTIL_MARKED);
	assert_true(o.stopped && !o.forced);
	assert_int_equal(o.timeout_ns, 1000);
	expect_taken(&w->a, &taken, r, "2");
	assert_true(gca_requests_take(&queue, &taken, &o));
	assert_int_equal(o.until, GCA_UNTIL_MARKING);
	expect_taken(&w->a, &taken, r, "4");
	/* Each wish of the later ones counts. */
	r[0].order.stopped = true;
	list_add(&r[1].link, &queue);
	assert_true(gca_requests_take(&queue, &taken, &o));
	assert_true(o.stopped && o.sweep_stopped && !o.soon && !o.forced);
	expect_taken(&w->a, &taken, r, "10");
	assert_false(gca_requests_take(&queue, &taken, &o));
	world_close(w);
}

static void test_done(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	struct gca_request r;
	LIST_HEAD(taken);

	w->a.control->cycle = 5;
	w->a.void_reason = GCARENA_VOID_AGE;
	for (u32 i = 0; i < 4; i++) {
		int ret = i & 1 ? -ESRCH : 0;
		bool ran = i & 2;

		memset(&r, 0, sizeof(r));
		list_add_tail(&r.link, &taken);
		gca_request_done(&w->a, &r, ret, ran);
		assert_true(list_empty(&taken));
		assert_true(r.done);
		assert_int_equal(r.ret, ret);
		assert_int_equal(r.cycle, 5);
		/* Somebody else's cycle is nothing to it. */
		assert_int_equal(r.void_reason, ran && !ret ? GCARENA_VOID_AGE : GCARENA_VOID_NONE);
	}
	w->a.void_reason = GCARENA_VOID_NONE;
	world_close(w);
}

/* ------------------------------------------------------------------------- looks */

/*
 * Everything that can happen, in every order.  A pager that keeps libraries out since a HOLD must be
 * told of something else some time, or it would do so for ever.
 */
#define STEPS	8

struct stage {
	struct gca_look look;
	u32 asked;	/* by who still waits; 0: nobody does */
	u32 told;	/* to the pager, who has not answered that; 0: nothing */
	bool current;	/* what it was told is what is asked now */
	bool comes_late;	/* there is something that nobody waits for */
};

static void ask(struct stage *s, u32 what)
{
	gca_look_ask(&s->look, what);
	s->asked = what;
	s->current = false;
	s->comes_late = false;
	assert_int_equal(gca_look_there(&s->look), what);
}

/* SERVE: the answer to what it was told, then what it is told now. */
static void serve(struct stage *s, bool changed)
{
	bool waits = s->told && s->current && (s->asked || s->comes_late), said;
	u32 what;

	said = gca_look_answer(&s->look, changed ? GCARENA_SERVE_CHANGED : 0);
	assert_int_equal(said, waits);
	if (said) {
		assert_int_equal(s->look.changed, changed);
		s->asked = s->asked ? ~0U : 0;	/* answered */
		s->comes_late = false;
		s->current = false;
	}
	s->told = 0;
	what = gca_look_there(&s->look);
	assert_int_equal(gca_look_take(&s->look), what);
	if (!what)
		return;
	assert_int_equal(what, s->asked && s->asked != ~0U ? s->asked : GCARENA_SERVE_COMPARE);
	assert_int_equal(gca_look_take(&s->look), 0);
	s->told = what;
	s->current = true;
}

static void end(struct stage *s)
{
	bool answered = s->asked == ~0U, told = s->told && s->current;

	assert_int_equal(gca_look_end(&s->look), answered);
	/* It will be told of something, if it may keep libraries out: nothing else would end that. */
	if (!answered && s->asked & GCARENA_SERVE_COMPARE && !told)
		assert_int_equal(gca_look_there(&s->look), GCARENA_SERVE_COMPARE);
	else if (!answered && s->asked & GCARENA_SERVE_HOLD)
		assert_int_equal(gca_look_there(&s->look), GCARENA_SERVE_COMPARE);
	else
		assert_int_equal(s->look.what, 0);
	s->comes_late = s->look.what;
	s->asked = 0;
	s->current = false;
}

static void play(u32 moves)
{
	struct stage s = {};

	for (u32 i = 0; i < STEPS; i++, moves /= 4) {
		switch (moves % 4) {
		case 0:
			if (!s.asked)
				ask(&s, GCARENA_SERVE_REFRESH | GCARENA_SERVE_HOLD);
			else
				end(&s);
			break;
		case 1:
			if (!s.asked)
				ask(&s, GCARENA_SERVE_COMPARE);
			else
				end(&s);
			break;
		case 2:
			if (!s.asked)
				ask(&s, GCARENA_SERVE_REFRESH);
			else
				end(&s);
			break;
		default:
			serve(&s, i % 2);
		}
	}
	/* Whoever asked has gone: it serves twice, and has been told of all. */
	if (s.asked)
		end(&s);
	serve(&s, false);
	serve(&s, false);
	assert_int_equal(gca_look_there(&s.look), 0);
}

static void test_looks(void **state)
{
	for (u32 moves = 0; moves < 1U << (2 * STEPS); moves++)
		play(moves);
}

/* -------------------------------------------------------------------------- runs */

/* What was not acknowledged is handed out again, and nothing else as long as that lasts. */
static void test_lent(void **state)
{
	struct world *w = world_open(64 * MIB, 0, 1);
	struct gca_lent *l = test_calloc(1, sizeof(*l));
	struct gcarena_run first[4];
	u32 n, left;

	assert_int_equal(gca_lent_take(&w->a, l, 4, false), 0);
	for (u32 i = 0; i < 40; i++) {
		u64 addr = world_alloc(w, MIB, GCARENA_NOSCAN, 0);

		memset((void *)addr, 1, MIB);
		if (i % 2)
			w->root[i] = addr + 8;
	}
	w->a.knob.heap_min = 0;
	w->a.knob.percent = 10;
	world_collect(w);
	assert_int_equal(gca_lent_take(&w->a, l, 0, false), 0);
	n = gca_lent_take(&w->a, l, 4, false);
	assert_int_equal(n, 4);
	memcpy(first, l->run, sizeof(first));
	/* Not all of the reply. */
	assert_int_equal(gca_lent_done(&w->a, l, 3), -EINVAL);
	assert_int_equal(gca_lent_done(&w->a, l, 5), -EINVAL);
	/* Asking for none changes nothing; nor does a reply that was lost: the next has less room. */
	assert_int_equal(gca_lent_take(&w->a, l, 0, false), 0);
	assert_int_equal(l->given, 4);
	assert_int_equal(gca_lent_done(&w->a, l, 0), 0);
	left = w->a.heap.returning;
	assert_int_equal(gca_lent_take(&w->a, l, 3, false), 3);
	assert_int_equal(w->a.heap.returning, left);
	assert_memory_equal(first, l->run, sizeof(first));
	assert_int_equal(gca_lent_done(&w->a, l, 4), -EINVAL);
	assert_int_equal(gca_lent_done(&w->a, l, 3), 0);
	assert_int_equal(w->a.heap.returning, left - 3 * (MIB >> GCARENA_PAGE_SHIFT));
	/* Once. */
	assert_int_equal(gca_lent_done(&w->a, l, 3), -EINVAL);
	/* The rest before anything new. */
	assert_int_equal(gca_lent_take(&w->a, l, 4, false), 1);
	assert_memory_equal(first + 3, l->run, sizeof(first[0]));
	assert_int_equal(gca_lent_done(&w->a, l, 1), 0);
	assert_int_equal(w->a.heap.returning, 0);
	n = gca_lent_take(&w->a, l, 4, false);
	assert_int_equal(n, 4);
	assert_memory_not_equal(first, l->run, sizeof(first));
	assert_int_equal(gca_lent_done(&w->a, l, 4), 0);
	test_free(l);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_done),
		cmocka_unit_test(test_looks),
		cmocka_unit_test(test_lent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
