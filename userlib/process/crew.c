// SPDX-License-Identifier: MIT
/*
 * crew.c: the threads that collect: a coordinator an arena, and workers.
 *
 * The coordinator runs core/cycle.c.  Requests (COLLECT) and kicks (the trigger was
 * reached) only wake it.  It works, too, and a worker more for each further processor that
 * the process may use joins it, if the heap is large enough to be worth it.  They are made
 * with the arena.  The algorithm is the core's: nothing here knows what a slice is made of.
 *
 * Whether one of them may mark while the program runs is the core's to say (modes.c), but
 * for mode idle: nobody tells a process when a processor is idle, and who has become
 * SCHED_IDLE may not become anything else again.  So they are ordinary threads, and mark
 * on in that mode until the scheduler gives the processor of one to somebody else: then that
 * one does not for a while, the longer the more often it happens.  Sweeping for which nobody
 * waits is little: who does it gives the processor away after each short slice, as Go's does.
 *
 * In a stop it may wait for no thread but its own kind, and allocate nothing: an attached
 * thread may be parked inside malloc().  process->lock is no danger: who holds it has all
 * signals blocked, so is not parked.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

#define GCA_SLICE_NS		500000
#define GCA_SWEEP_NS		100000
#define GCA_LOOK_UP		1000000		/* of a coordinator without work, ns */
#define GCA_LOOK_AGAIN		50000
#define GCA_LOOK_PATIENCE	5000000000ULL	/* with a pager that does not answer, ns */
#define GCA_LOOK_SLICE		100000000ULL	/* more at once is time in which we were stopped */
#define GCA_YIELDS		100
#define GCA_HEAP_PER_WORKER	(1ULL << 20)	/* of live heap, before another one is made */
#define GCA_STACK		(256UL << 10)
#define GCA_LOST		300000		/* of a slice, to others who want the processor, ns */
#define GCA_SHY_MIN		10000000ULL	/* after that, ns */
#define GCA_SHY_MAX		160000000ULL
#define GCA_QUIET		20000000ULL	/* of marking without: it was an accident */

/* gca_wait() - wait for @c, for so long at most; U64_MAX: for ever.  p->lock is held */
void gca_wait(struct gca_process *p, pthread_cond_t *c, u64 ns)
{
	u64 until = gca_port_now() + ns;
	struct timespec t = { (time_t)(until / 1000000000ULL), (long)(until % 1000000000ULL) };

	if (ns == U64_MAX)
		pthread_cond_wait(c, &p->lock);
	else
		pthread_cond_timedwait(c, &p->lock, &t);
}

/* ----------------------------------------------------------------------- workers */

/* One slice in mode idle: did it cost anybody a processor? */
static bool gca_slice_idle(struct gca_process *p, struct gca_hand *h)
{
	u64 t = gca_port_now(), used = gca_port_cpu_self(), now;
	bool did = gca_work_slice(&p->arena, GCA_MARK_IDLE, GCA_SLICE_NS);

	now = gca_port_now();
	used = gca_port_cpu_self() - used;
	if (now - t > used + GCA_LOST) {
		h->shy = min(max(2 * h->shy, GCA_SHY_MIN), GCA_SHY_MAX);
		h->shy_until = now + h->shy;
		h->quiet = 0;
	} else {
		h->quiet += now - t;
		if (h->quiet > GCA_QUIET)
			h->shy = 0;
	}
	return did;
}

/* One slice.  Return: 1, 0 if there was nothing to do, -EAGAIN: not before @h->turn.wait */
static int gca_turn(struct gca_process *p, struct gca_hand *h)
{
	struct gca_arena *a = &p->arena;
	bool did;

	if (!gca_turn_begin(a, &h->turn))
		return -EAGAIN;
	if (READ_ONCE(a->work) == GCA_WORK_SWEEP_IDLE) {
		did = gca_work_slice(a, h->turn.mode, GCA_SWEEP_NS);
		gca_turn_end(a, &h->turn);
		sched_yield();
		return did;
	}
	if (h->turn.mode == GCA_MARK_IDLE)
		return h->turn.began < h->shy_until ? -EAGAIN : gca_slice_idle(p, h);
	did = gca_work_slice(a, h->turn.mode, GCA_SLICE_NS);
	gca_turn_end(a, &h->turn);
	return did;
}

/* Is there a thread that waits for marking?  It is followed by gca_port_hurry(). */
static bool gca_hurried(const struct gca_process *p)
{
	return READ_ONCE(p->arena.nr_payees);
}

/*
 * How many may work beside the coordinator?  While the world runs a processor is left to
 * it: they are found out too late, and a thread that allocates would wait for them.  Not so
 * while one does.  When there may be more of them they are told: gca_port_hurry(),
 * gca_port_run_workers().
 */
static unsigned int gca_helpers(const struct gca_process *p)
{
	unsigned int cpus = max(READ_ONCE(p->arena.processors), 2U), want = READ_ONCE(p->want);

	return READ_ONCE(p->stopped) || gca_hurried(p) ? want : min(want, cpus - 2);
}

static void *gca_worker(void *arg)
{
	struct gca_process *p = arg;
	struct gca_hand hand = {};
	struct gca_page page = {};
	int did;

	gca_port_page(&page);
	pthread_mutex_lock(&p->lock);
	while (!p->dying) {
		WRITE_ONCE(p->asleep, p->asleep + 1);
		smp_mb();	/* pairs with the one in gca_port_work() */
		while (!p->dying && !(p->working && p->busy < gca_helpers(p) && gca_work_there(&p->arena)))
			pthread_cond_wait(&p->work, &p->lock);
		WRITE_ONCE(p->asleep, p->asleep - 1);
		if (p->dying)
			break;
		p->busy++;
		pthread_mutex_unlock(&p->lock);
		did = gca_turn(p, &hand);
		/* Another has taken it: no reason to ask again at once, for the same. */
		if (!did)
			sched_yield();
		pthread_mutex_lock(&p->lock);
		if (!--p->busy)
			pthread_cond_signal(&p->idle);
		if (did < 0 && p->working && !p->dying && !gca_hurried(p))
			gca_wait(p, &p->turn, hand.turn.wait);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* A thread of ours: small, and no signal is for it. */
static int gca_thread(pthread_t *t, void *(*fn)(void *arg), struct gca_process *p)
{
	struct gcl_signals sigs;
	pthread_attr_t attr;
	int err = pthread_attr_init(&attr);

	if (err)
		return -err;
	pthread_attr_setstacksize(&attr, GCA_STACK + (size_t)sysconf(_SC_THREAD_STACK_MIN));
	sigs = gcl_block();
	err = pthread_create(t, &attr, fn, p);
	gcl_restore(sigs);
	pthread_attr_destroy(&attr);
	return -err;
}

static unsigned int gca_processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned int)CPU_COUNT(&set);
}

/*
 * How many are to help?  What will be marked is about what was live at the end of the last
 * cycle; to wake a thread for less costs more than it does.
 */
int gca_port_crew_get(struct gca_arena *a)
{
	struct gca_process *p = a->port;
	u64 live = a->totals.cycles ? a->totals.live : (u64)atomic64_read(&a->heap_live);

	WRITE_ONCE(p->want, min_t(u64, live / GCA_HEAP_PER_WORKER, p->nr_workers));
	WRITE_ONCE(a->crew, READ_ONCE(p->want) + 1);
	WRITE_ONCE(a->processors, gca_processors());
	WRITE_ONCE(a->marks_idle, true);
	return 0;
}

void gca_port_crew_put(struct gca_arena *a)
{
	(void)a;
}

/* The coordinator works, too, and is awake. */
void gca_port_crew_ready(struct gca_arena *a)
{
	(void)a;
}

int gca_port_step_begin(struct gca_arena *a)
{
	struct gca_process *p = a->port;

	gca_members_reap(p);
	pthread_mutex_lock(&p->cycle_lock);
	return 0;
}

void gca_port_step_end(struct gca_arena *a)
{
	pthread_mutex_unlock(&((struct gca_process *)a->port)->cycle_lock);
}

/* Has the coordinator anything better to do than to sweep on idle time? */
static bool gca_called_away(struct gca_process *p)
{
	return READ_ONCE(p->arena.work) == GCA_WORK_SWEEP_IDLE &&
	       (!list_empty(&p->requests) || READ_ONCE(p->kicked));
}

void gca_port_run_workers(struct gca_arena *a, u64 until)
{
	struct gca_process *p = a->port;
	struct gca_hand *h = &p->hand;
	int did;

	/* Stacks of threads that run: each does its own, stop.c. */
	if (READ_ONCE(a->work) == GCA_WORK_ROOTS && !p->stopped)
		return;
	pthread_mutex_lock(&p->lock);
	WRITE_ONCE(p->working, true);
	if (p->want) {
		pthread_cond_broadcast(&p->work);
		pthread_cond_broadcast(&p->turn);
	}
	pthread_mutex_unlock(&p->lock);
	for (;;) {
		did = gca_turn(p, h);
		if (gca_work_idle(a) || READ_ONCE(a->void_reason) || READ_ONCE(p->dying) ||
		    gca_port_now() > until || gca_called_away(p))
			break;
		pthread_mutex_lock(&p->lock);
		/* Busy, or a thread that scans its own stack, whom nothing tells us of. */
		if (did <= 0 && !(did < 0 && gca_hurried(p)) && !gca_called_away(p))
			gca_wait(p, &p->idle, !p->busy && !gca_work_there(a) ? GCA_LOOK_AGAIN :
				 did ? h->turn.wait : GCA_LOOK_UP);
		pthread_mutex_unlock(&p->lock);
	}
	/* In a void cycle, too: they look up soon. */
	pthread_mutex_lock(&p->lock);
	WRITE_ONCE(p->working, false);
	while (p->busy)
		pthread_cond_wait(&p->idle, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void gca_port_hurry(struct gca_arena *a)
{
	struct gca_process *p = a->port;

	pthread_mutex_lock(&p->lock);
	if (p->working) {
		pthread_cond_broadcast(&p->turn);
		pthread_cond_broadcast(&p->idle);
		if (p->want)
			pthread_cond_broadcast(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
}

void gca_port_work(struct gca_arena *a)
{
	struct gca_process *p = a->port;

	smp_mb();	/* the work before asleep; pairs with the one in gca_worker() */
	/* Who may not help is not woken for nothing: that costs more than a slice of an assist. */
	if (!READ_ONCE(p->asleep) || !READ_ONCE(p->working) || !gca_helpers(p))
		return;
	pthread_mutex_lock(&p->lock);
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

/* The coordinator sees it by itself: gca_worker() tells it when the last one has gone. */
void gca_port_idle(struct gca_arena *a)
{
	(void)a;
}

/* ---------------------------------------------------------------- the pager's looks */

bool gca_port_looks(struct gca_arena *a)
{
	return READ_ONCE(((struct gca_process *)a->port)->looks);
}

int gca_port_look(struct gca_arena *a, u32 what)
{
	u64 waited = 0, began;
	int ret = what & GCARENA_SERVE_COMPARE ? 1 : 0;
	struct gca_process *p = a->port;

	pthread_mutex_lock(&p->lock);
	if (p->looks) {
		gca_look_ask(&p->look, what);
		pthread_cond_signal(&p->pager);
		while (p->look.what && !p->dying && waited < GCA_LOOK_PATIENCE) {
			began = gca_port_now();
			gca_wait(p, &p->looked, GCA_LOOK_SLICE);
			waited += min(gca_port_now() - began, GCA_LOOK_SLICE);
		}
		ret = p->look.changed;
		/* It serves no more: then it looks after nothing.  Unless it comes late: uapi.rst. */
		if (!gca_look_end(&p->look)) {
			ret = -ETIMEDOUT;
			WRITE_ONCE(p->looks, false);
			/* No thread's that a stop did not get. */
			WRITE_ONCE(p->blame, 0);
		}
		if (p->dying)
			ret = -ESRCH;
	}
	pthread_mutex_unlock(&p->lock);
	return ret;
}

/* gca_pager_comes() - SERVE begins with @flags.  p->lock is held */
void gca_pager_comes(struct gca_process *p, u32 flags)
{
	bool looks = flags & GCARENA_SERVE_LOOKS;

	/* Who does not wait here makes no promise. */
	if (!(flags & GCARENA_SERVE_NOWAIT) && looks != p->looks) {
		WRITE_ONCE(p->looks, looks);
		/* From now on cycles have their time. */
		if (looks)
			pthread_cond_signal(&p->wanted);
	}
	if (gca_look_answer(&p->look, flags))
		pthread_cond_signal(&p->looked);
}

/* ----------------------------------------------------------------- the coordinator */

/* p->lock is held; whoever waits may go, with its request, as soon as it is not. */
static void gca_requests_done(struct gca_process *p, struct list_head *taken, int ret, bool ran)
{
	struct gca_request *r, *next;

	list_for_each_entry_safe(r, next, taken, link)
		gca_request_done(&p->arena, r, ret, ran);
	pthread_cond_broadcast(&p->done);
}

/* After each piece of its work. */
static void gca_tell(struct gca_process *p)
{
	WRITE_ONCE(p->coordinator_ns, gca_port_cpu_self());
	gca_scavenge_look(&p->arena);
}

/* One request, or what the trigger asks for.  p->lock is held, but not meanwhile. */
static void gca_coordinate_once(struct gca_process *p)
{
	struct gca_order o;
	LIST_HEAD(taken);
	int ret = 0;
	bool run;

	if (!gca_requests_take(&p->requests, &taken, &o)) {
		o = gca_order_paced(GCA_AGE_LIMIT);
		WRITE_ONCE(p->kicked, false);
	}
	o.lazy = GCA_LAZY;
	smp_mb();	/* pairs with the one in gca_cycle_ask() */
	pthread_mutex_unlock(&p->lock);
	/* A paced one that somebody else's cycle has made unnecessary is done. */
	run = o.forced || gca_cycle_wanted(&p->arena);
	if (run)
		ret = gca_collect(&p->arena, &o);
	gca_tell(p);
	pthread_mutex_lock(&p->lock);
	gca_requests_done(p, &taken, p->dying ? -ESRCH : ret, run);
	/* As gca_port_kick(). */
	if (!ret && p->looks && gca_cycle_asked(&p->arena))
		WRITE_ONCE(p->kicked, true);
}

/* gca_coordinator_look() - something has changed that says when its time comes */
void gca_coordinator_look(struct gca_process *p)
{
	pthread_mutex_lock(&p->lock);
	pthread_cond_signal(&p->wanted);
	pthread_mutex_unlock(&p->lock);
}

/* There is something to do for it, at once.  p->lock is held. */
static void gca_want(struct gca_process *p)
{
	pthread_cond_signal(&p->wanted);
	if (p->working)
		pthread_cond_broadcast(&p->idle);	/* gca_called_away() */
}

/* What the last cycle has left.  p->lock is held, but not meanwhile. */
static void gca_sweep_rest(struct gca_process *p)
{
	pthread_mutex_unlock(&p->lock);
	gca_sweep_idle(&p->arena);
	gca_tell(p);
	pthread_mutex_lock(&p->lock);
}

static void *gca_coordinator(void *arg)
{
	struct gca_process *p = arg;
	struct gca_page page = {};
	struct gca_order o;
	LIST_HEAD(taken);

	gca_port_page(&page);
	pthread_mutex_lock(&p->lock);
	while (!p->dying)
		if (!list_empty(&p->requests) || p->kicked || (p->looks && !gca_cycle_due(&p->arena)))
			gca_coordinate_once(p);
		else if (gca_sweep_there(&p->arena))
			gca_sweep_rest(p);
		else	/* until the time of a cycle may have come, too */
			gca_wait(p, &p->wanted, p->looks ? gca_cycle_due(&p->arena) : U64_MAX);
	while (gca_requests_take(&p->requests, &taken, &o))
		gca_requests_done(p, &taken, -ESRCH, false);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

bool gca_port_kick(struct gca_arena *a)
{
	struct gca_process *p = a->port;

	if (!READ_ONCE(p->looks))
		return false;	/* its library looks after the roots first */
	if (READ_ONCE(p->kicked))
		return true;
	pthread_mutex_lock(&p->lock);
	/* In a cycle, too: then there will be another look after it. */
	if (!p->kicked) {
		WRITE_ONCE(p->kicked, true);
		gca_want(p);
	}
	pthread_mutex_unlock(&p->lock);
	return true;
}

void gca_port_return(struct gca_arena *a, u64 due)
{
	struct gca_process *p = a->port;
	u64 at = gca_port_now() + due;

	if (at >= READ_ONCE(p->runs_until))
		return;
	pthread_mutex_lock(&p->lock);
	if (at < p->runs_until) {
		WRITE_ONCE(p->runs_until, 0);
		p->poke = true;
		pthread_cond_signal(&p->pager);
	}
	pthread_mutex_unlock(&p->lock);
}

/* gca_request() - have the coordinator do @o, and wait; within a call.  Return: as COLLECT */
int gca_request(struct gca_process *p, const struct gca_order *o, struct gcarena_collect *req)
{
	struct gca_request r = { .order = *o };

	pthread_mutex_lock(&p->lock);
	if (p->dying) {
		pthread_mutex_unlock(&p->lock);
		return -ESRCH;
	}
	list_add_tail(&r.link, &p->requests);
	gca_want(p);
	/* The coordinator answers all requests before it ends. */
	while (!r.done)
		pthread_cond_wait(&p->done, &p->lock);
	pthread_mutex_unlock(&p->lock);
	req->cycle = r.cycle;
	req->void_reason = r.void_reason;
	return r.ret;
}

/* ------------------------------------------------------------------- birth and death */

/* gca_crew_start() - locks, conditions and the coordinator.  Return: 0 or -errno */
int gca_crew_start(struct gca_process *p)
{
	pthread_cond_t *cond[] = { &p->wanted, &p->work, &p->idle, &p->done, &p->gate, &p->pager,
				   &p->looked, &p->turn };
	pthread_condattr_t attr;
	unsigned int i, want;
	int err;

	INIT_LIST_HEAD(&p->requests);
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->layout_lock, NULL);
	pthread_mutex_init(&p->cycle_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	for (i = 0; i < ARRAY_SIZE(cond); i++)
		pthread_cond_init(cond[i], &attr);
	pthread_condattr_destroy(&attr);
	err = gca_thread(&p->coordinator, gca_coordinator, p);
	p->has_coordinator = !err;
	/*
	 * Now, and not when they are wanted: then who waits for the coordinator may be in a
	 * handler that has interrupted pthread_create().  Beyond what can be had, those there
	 * are will do.
	 */
	want = min(gca_processors() - 1, (unsigned int)GCA_WORKERS_MAX);
	while (!err && p->nr_workers < want &&
	       !gca_thread(&p->worker[p->nr_workers], gca_worker, p))
		p->nr_workers++;
	return err;
}

/* gca_crew_end() - from here on all that is asked for fails, and the running cycle */
void gca_crew_end(struct gca_process *p)
{
	struct gca_call call = gca_call_begin();

	pthread_mutex_lock(&p->lock);
	WRITE_ONCE(p->dying, true);
	pthread_cond_broadcast(&p->wanted);
	pthread_cond_broadcast(&p->work);
	pthread_cond_broadcast(&p->turn);
	pthread_cond_broadcast(&p->idle);
	pthread_cond_broadcast(&p->gate);
	pthread_cond_broadcast(&p->pager);
	pthread_cond_broadcast(&p->looked);
	pthread_mutex_unlock(&p->lock);
	gca_call_end(call);
}

void gca_crew_join(struct gca_process *p)
{
	unsigned int i;

	if (p->has_coordinator)
		pthread_join(p->coordinator, NULL);
	for (i = 0; i < p->nr_workers; i++)
		pthread_join(p->worker[i], NULL);
}

/* -------------------------------------------------------------------------- the gate */

int gca_port_gate_wait(struct gca_arena *a)
{
	struct gca_process *p = a->port;

	pthread_mutex_lock(&p->lock);
	while (READ_ONCE(a->gate_closed) && !p->dying)
		pthread_cond_wait(&p->gate, &p->lock);
	pthread_mutex_unlock(&p->lock);
	return READ_ONCE(p->dying) ? -ESRCH : 0;
}

void gca_port_gate_wake(struct gca_arena *a)
{
	struct gca_process *p = a->port;

	pthread_mutex_lock(&p->lock);
	pthread_cond_broadcast(&p->gate);
	pthread_mutex_unlock(&p->lock);
}

void gca_port_quiesce(struct gca_arena *a)
{
	const struct timespec nap = { 0, GCA_LOOK_AGAIN };
	unsigned int i;

	/* Not for ever: with SCHED_FIFO who is to end one may never run. */
	for (i = 0; atomic_read_acquire(&a->ops); i++)
		if (i < GCA_YIELDS)
			sched_yield();
		else
			nanosleep(&nap, NULL);
}

bool gca_port_relax(struct gca_arena *a)
{
	return READ_ONCE(((struct gca_process *)a->port)->dying);
}

int gca_port_backoff(struct gca_arena *a, u64 ns)
{
	struct gca_process *p = a->port;

	pthread_mutex_lock(&p->lock);
	if (!p->dying)
		gca_wait(p, &p->idle, ns);
	pthread_mutex_unlock(&p->lock);
	return READ_ONCE(p->dying) ? -ESRCH : 0;
}

/* --------------------------------------------- what needs no pager here, and no trace */

/* It is the owner's time. */
void gca_port_alone(struct gca_arena *a, bool begins)
{
	(void)a;
	(void)begins;
}

void gca_port_missed(struct gca_arena *a)
{
	(void)a;
}

/* Whoever marks may fault, so nothing is missed, but what debugging pretends. */
bool gca_port_pager_scans(struct gca_arena *a)
{
	if (!gca_missed_pending(a))
		return true;
	return !gca_missed_scan(a, GCA_MARK_DEDICATED);
}

void gca_port_trace(struct gca_arena *a, enum gca_trace what, u64 x, u64 y)
{
	(void)a;
	(void)what;
	(void)x;
	(void)y;
}
