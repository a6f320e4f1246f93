// SPDX-License-Identifier: MIT
/*
 * test_assist.c: threads that owe work, and workers that do it: nobody who is paid for sleeps
 * on, nobody goes without having been paid for, no credit is lost or made.
 *
 * Here is nothing to mark, so that assists live on credit alone, and the sleep of the port is
 * one that only a wake-up ends: one that is lost hangs, and the watchdog says so.  Under
 * TSan, too.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "world.h"

#define THREADS	6

static bool deaf;	/* sleeps end by themselves, and wake-ups do nothing */
static atomic_t sleeps;	/* begun */
static bool nobody;	/* runs cycles */
static atomic_t kicks;

bool gca_port_kick(struct gca_arena *a)
{
	atomic_inc(&kicks);
	return !nobody;
}

void gca_port_sleep(struct gca_arena *a, const u32 *word, u64 ns)
{
	atomic_inc(&sleeps);
	if (deaf)
		return;
	while (!READ_ONCE(*word))
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

void gca_port_wake(u32 *word)
{
	if (!deaf)
		syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

struct ower {
	pthread_t thread;
	struct gca_arena *a;
	struct gca_mutator m;
	struct gcarena_mutator *sh;
	u64 seed, rounds;
};

static u64 below(u64 *seed, u64 n)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*seed >> 33) % n;
}

/* Owes, pays, and again; until the cycle is over. */
static void *owes(void *arg)
{
	struct ower *o = arg;

	while (READ_ONCE(o->a->phase) == GCARENA_PHASE_MARK) {
		s64 bytes = 1 + below(&o->seed, 200000), balance;

		if (READ_ONCE(o->a->work) != GCA_WORK_MARK) {
			/* The end comes, if it is let. */
			usleep(100);
			continue;
		}
		/* As in an operation: the phase stays. */
		if (gca_op_try(o->a))
			continue;
		gca_spin_lock(&o->m.lock);
		gca_assist_charge(&o->m, bytes);
		gca_spin_unlock(&o->m.lock);
		gca_op_end(o->a);
		gca_assist(&o->m);
		gca_spin_lock(&o->m.lock);
		balance = o->m.balance;
		gca_spin_unlock(&o->m.lock);
		/* Paid for, unless it was forgiven. */
		if (READ_ONCE(o->a->phase) == GCARENA_PHASE_MARK && balance < 0 &&
		    READ_ONCE(o->a->work) == GCA_WORK_MARK)
			abort();
		WRITE_ONCE(o->rounds, o->rounds + 1);
	}
	return NULL;
}

static struct world *open_marking(struct ower *o, u32 n)
{
	struct world *w = world_open(64 * MIB, 0, 3);
	u32 i;

	w->a.concurrent = true;
	for (i = 0; i < n; i++) {
		o[i].a = &w->a;
		o[i].seed = i;
		o[i].sh = test_calloc(1, gca_mutator_bytes(GCARENA_SLOTS_MIN));
		assert_int_equal(gca_mutator_init(&o[i].m, &w->a, GCARENA_SLOTS_MIN, o[i].sh), 0);
		assert_int_equal(gca_mutator_attach(&o[i].m), 0);
	}
	world_cycle(w, GCA_UNTIL_MARKING);
	assert_false(w->a.pacer.marking);
	gca_pace_begin(&w->a);
	WRITE_ONCE(w->a.work, GCA_WORK_MARK);
	return w;
}

static void close_marking(struct world *w, struct ower *o, u32 n)
{
	u32 i;

	assert_int_equal(w->a.nr_payees, 0);
	assert_true(list_empty(&w->a.payees));
	for (i = 0; i < n; i++) {
		assert_int_equal(gca_mutator_detach(&o[i].m), 0);
		gca_mutator_fini(&o[i].m);
		test_free(o[i].sh);
	}
	world_close(w);
}

#define ROUNDS	300

/*
 * Credit comes in drops and in floods, from two, until everybody has gone round often; then
 * the cycle ends with threads asleep.
 */
static void *credits(void *arg)
{
	struct ower *o = arg;
	u64 seed = 77;
	u32 i = 0, t = 0;

	while (t < THREADS) {
		gca_assist_credit(o->a, 1 + below(&seed, ++i % 64 ? 4000 : 400000));
		t += READ_ONCE(o[t].rounds) >= ROUNDS;
	}
	return NULL;
}

static void test_storm(void **state)
{
	struct ower o[THREADS] = {};
	struct world *w = open_marking(o, THREADS);
	pthread_t other;
	u32 i;

	alarm(120);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&o[i].thread, NULL, owes, &o[i]), 0);
	assert_int_equal(pthread_create(&other, NULL, credits, o), 0);
	credits(o);
	pthread_join(other, NULL);
	/* All are asleep, or as good as: what there was has been given away. */
	WRITE_ONCE(w->a.work, GCA_WORK_NONE);
	world_cycle(w, GCA_UNTIL_SWEPT);
	for (i = 0; i < THREADS; i++)
		pthread_join(o[i].thread, NULL);
	alarm(0);
	assert_true(atomic64_read(&w->a.credit) >= 0);
	close_marking(w, o, THREADS);
}

/* --------------------------------------------------------------------- one by one */

static void *pays_once(void *arg)
{
	struct ower *o = arg;

	gca_assist(&o->m);
	WRITE_ONCE(o->rounds, 1);
	return NULL;
}

/* First come, first served; who gets a part only goes to the end. */
static void test_queue(void **state)
{
	struct ower o[3] = {};
	struct world *w = open_marking(o, 3);
	static const s64 debt[3] = { 1000000, 300000, 300000 };
	struct gca_price price = gca_pace_price(&w->a);
	u32 i;

	alarm(60);
	atomic_set(&sleeps, 0);
	for (i = 0; i < 3; i++) {
		o[i].m.balance_epoch = w->a.epoch;
		o[i].m.balance = -debt[i];
		assert_int_equal(pthread_create(&o[i].thread, NULL, pays_once, &o[i]), 0);
		/* Asleep, not only in the queue: it looks for credit in between. */
		while (atomic_read(&sleeps) != i + 1)
			sched_yield();
	}
	/* Half of the first, to within what division loses: it is behind the others now. */
	gca_assist_credit(&w->a, gca_mul_div(500000, price.work, price.bytes));
	assert_int_equal(w->a.nr_payees, 3);
	/* The second and the third. */
	gca_assist_credit(&w->a, gca_mul_div(600000, price.work, price.bytes) + 1);
	pthread_join(o[1].thread, NULL);
	pthread_join(o[2].thread, NULL);
	assert_int_equal(w->a.nr_payees, 1);
	assert_false(READ_ONCE(o[0].rounds));
	assert_int_equal(o[1].m.balance, 0);
	assert_int_equal(o[2].m.balance, 0);
	/* More than the rest: what is left is for all. */
	gca_assist_credit(&w->a, gca_mul_div(900000, price.work, price.bytes));
	pthread_join(o[0].thread, NULL);
	assert_int_equal(o[0].m.balance, 0);
	assert_true(atomic64_read(&w->a.credit) > 0);
	alarm(0);
	assert_int_equal(w->a.totals.assists.n, 3);
	WRITE_ONCE(w->a.work, GCA_WORK_NONE);
	world_cycle(w, GCA_UNTIL_SWEPT);
	close_marking(w, o, 3);
}

/* Nobody credits, and nobody wakes: who owes waits for a while, and then once a call. */
static void test_alone(void **state)
{
	struct ower o[1] = {};
	struct world *w = open_marking(o, 1);
	struct gca_price price;
	u64 t = gca_port_now();

	deaf = true;
	o[0].m.balance_epoch = w->a.epoch;
	o[0].m.balance = -5000;
	gca_assist(&o[0].m);
	assert_true(gca_port_now() - t >= 10000000);
	assert_int_equal(o[0].m.balance, -5000);
	atomic_set(&sleeps, 0);
	gca_assist(&o[0].m);
	assert_int_equal(atomic_read(&sleeps), 1);
	/* Credit is taken all the same, whatever workers do just now. */
	WRITE_ONCE(w->a.work, GCA_WORK_NONE);
	price = gca_pace_price(&w->a);
	gca_assist_credit(&w->a, max(gca_mul_div(5000, price.work, price.bytes), 65536ULL));
	gca_assist(&o[0].m);
	assert_true(o[0].m.balance >= 0);
	assert_int_equal(atomic_read(&sleeps), 1);
	/* With no bound nothing is owed, and no credit used up. */
	w->a.knob.percent = 0;
	gca_pace(&w->a);
	gca_assist_credit(&w->a, 1000000);
	o[0].m.balance = -5000;
	t = atomic64_read(&w->a.credit);
	gca_assist(&o[0].m);
	assert_int_equal(o[0].m.balance, 0);
	assert_int_equal(atomic64_read(&w->a.credit), t);
	w->a.knob.percent = 100;
	gca_pace(&w->a);
	/* Nor in a cycle that its conductor has left. */
	o[0].m.balance = -5000;
	w->a.interrupted = true;
	gca_assist(&o[0].m);
	assert_int_equal(o[0].m.balance, -5000);
	w->a.interrupted = false;
	deaf = false;
	world_cycle(w, GCA_UNTIL_SWEPT);
	/* The next cycle begins with nothing owed. */
	world_cycle(w, GCA_UNTIL_MARKING);
	/* One that nobody goes on with has no price. */
	gca_assist_charge(&o[0].m, 7);
	assert_int_equal(o[0].m.balance_epoch == w->a.epoch ? o[0].m.balance : 0, 0);
	gca_pace_begin(&w->a);
	gca_assist_charge(&o[0].m, 7);
	assert_int_equal(o[0].m.balance, -7);
	world_cycle(w, GCA_UNTIL_SWEPT);
	close_marking(w, o, 1);
}

/*
 * Beyond the goal, and no cycle: what is unswept is swept, then the beginning is waited for;
 * and not for ever.
 */
static void test_overdue(void **state)
{
	struct ower o[3] = {};
	struct world *w = open_marking(o, 3);
	u64 t, goal;
	u32 i;

	WRITE_ONCE(w->a.work, GCA_WORK_NONE);
	for (i = 0; i < 200; i++)
		world_alloc(w, 4096, GCARENA_NOSCAN, 0);
	world_cycle(w, GCA_UNTIL_MARKED);
	assert_true(atomic64_read(&w->a.unswept) > 0);
	goal = w->a.heap_goal;
	/* Not beyond it: at once. */
	deaf = true;
	gca_assist(&o[0].m);
	assert_true(atomic64_read(&w->a.unswept) > 0);
	assert_int_equal(w->a.totals.assists.n, 0);
	atomic64_set(&w->a.heap_live, goal);
	t = gca_port_now();
	gca_assist(&o[0].m);
	assert_int_equal(atomic64_read(&w->a.unswept), 0);
	assert_int_equal(w->a.totals.assists.n, 1);
	assert_true(gca_port_now() - t >= 10000000);
	/* Each time it looks whether anybody knows; and does not wait for nobody. */
	assert_true(atomic_read(&kicks) > 1);
	nobody = true;
	t = atomic_read(&sleeps);
	gca_assist(&o[0].m);
	assert_int_equal(atomic_read(&sleeps), t);
	assert_int_equal(w->a.totals.assists.n, 1);
	nobody = false;
	/* Nor if it has no cycles by itself. */
	w->a.knob.percent = 0;
	gca_pace(&w->a);
	gca_assist(&o[0].m);
	assert_int_equal(w->a.totals.assists.n, 1);
	w->a.knob.percent = 100;
	gca_pace(&w->a);
	/* Once more in this pause: one sleep. */
	atomic_set(&sleeps, 0);
	gca_assist(&o[0].m);
	assert_int_equal(atomic_read(&sleeps), 1);
	deaf = false;
	/* Two that wait; the beginning wakes them. */
	alarm(60);
	atomic_set(&sleeps, 0);
	for (i = 1; i < 3; i++)
		assert_int_equal(pthread_create(&o[i].thread, NULL, pays_once, &o[i]), 0);
	while (atomic_read(&sleeps) != 2)
		sched_yield();
	world_cycle(w, GCA_UNTIL_MARKING);
	for (i = 1; i < 3; i++)
		pthread_join(o[i].thread, NULL);
	alarm(0);
	world_cycle(w, GCA_UNTIL_SWEPT);
	close_marking(w, o, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_storm),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_overdue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
