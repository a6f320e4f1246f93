// SPDX-License-Identifier: MIT
/*
 * arena.c: opening and closing arenas, layouts, statistics, fork.
 *
 * A list of all arenas exists for the fork handlers only.  In a forked child an
 * arena is dead: objects can be read and stored to, nothing can be allocated.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define GCL_RESERVE	(64ULL << 30)
#define BIT(sig)	(1ULL << ((sig) - 1))
#define GCL_MPOL_LOCAL	4		/* <numaif.h> may be missing */

static pthread_mutex_t gcl_arenas_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gca_arena *gcl_arenas;
static pthread_once_t gcl_once = PTHREAD_ONCE_INIT;
static struct gcl_signals gcl_fork_sigs;	/* gcl_arenas_lock */

static const char gcl_dead_child[] =
	"this is a forked child: the arena belongs to the parent and can only be read here";

/* Return: -1 with errno and sentence if the arena is dead, else 0. */
int gcl_dead(struct gca_arena *a)
{
	return a->dead ? gcl_fail(ESRCH, "%s", a->dead) : 0;
}

/*
 * gcl_each_arena() - call @fn, if there is one, for each arena with a pager
 *
 * None is closed meanwhile; one that is opened or closed may be left out.  Return: how many.
 */
unsigned int gcl_each_arena(void (*fn)(struct gca_arena *a, void *arg), void *arg)
{
	struct gcl_signals sigs;
	unsigned int n = 0, i;
	struct gca_arena *a;

	for (;; n++) {
		sigs = gcl_block();
		pthread_mutex_lock(&gcl_arenas_lock);
		for (a = gcl_arenas, i = 0; a; a = a->next)
			if (a->has_pager && i++ == n)
				break;
		if (a && fn)
			__atomic_add_fetch(&a->serving, 1, __ATOMIC_SEQ_CST);
		pthread_mutex_unlock(&gcl_arenas_lock);
		gcl_restore(sigs);
		if (!a)
			return n;
		if (!fn)
			continue;
		fn(a, arg);
		__atomic_sub_fetch(&a->serving, 1, __ATOMIC_RELEASE);
	}
}

/** gcl_somebodys() - is @m attached to any arena?  Signals are blocked */
bool gcl_somebodys(const struct gcl_mutator *m)
{
	const struct gcl_mutator *p = NULL;
	struct gca_arena *a;

	pthread_mutex_lock(&gcl_arenas_lock);
	for (a = gcl_arenas; a && !p; a = a->next) {
		pthread_mutex_lock(&a->lock);
		for (p = a->mutators; p && p != m; p = p->next)
			;
		pthread_mutex_unlock(&a->lock);
	}
	pthread_mutex_unlock(&gcl_arenas_lock);
	return p;
}

/* --------------------------------------------------------------------- fork */

/*
 * All signals are blocked from here until the other side: a stop would find us with
 * every lock in hand.  It waits for the end of the fork, as for any system call
 * with signals blocked.
 */
static void fork_prepare(void)
{
	struct gcl_signals sigs = gcl_block();
	struct gca_arena *a;

	gcl_default_fork(GCL_FORK_PREPARE);
	gcl_stop_fork(GCL_FORK_PREPARE);
	gcl_watch_fork(GCL_FORK_PREPARE);
	pthread_mutex_lock(&gcl_arenas_lock);
	gcl_fork_sigs = sigs;
	for (a = gcl_arenas; a; a = a->next)
		pthread_mutex_lock(&a->lock);
	gcl_kernel_fork(GCL_FORK_PREPARE);
}

static void fork_parent(void)
{
	struct gcl_signals sigs = gcl_fork_sigs;
	struct gca_arena *a;

	gcl_kernel_fork(GCL_FORK_PARENT);
	for (a = gcl_arenas; a; a = a->next)
		pthread_mutex_unlock(&a->lock);
	pthread_mutex_unlock(&gcl_arenas_lock);
	gcl_watch_fork(GCL_FORK_PARENT);
	gcl_stop_fork(GCL_FORK_PARENT);
	gcl_default_fork(GCL_FORK_PARENT);
	gcl_restore(sigs);
}

/*
 * The shared mappings were not inherited: put zeros where they were, which mean
 * "phase off", "no stop" and "no span cached".  Reading and gca_store() go on
 * working, for the one thread there is; the others' mutators are only memory.
 */
static void fork_child(void)
{
	struct gcl_signals sigs = gcl_fork_sigs;
	struct gcl_mutator *m;
	struct gca_arena *a;

	gcl_kernel_fork(GCL_FORK_CHILD);
	for (a = gcl_arenas; a; a = a->next) {
		a->dead = gcl_dead_child;
		a->child = true;
		/* Neither pager nor watcher are here. */
		a->has_pager = false;
		a->serving = 0;
		gcl_map_over(a->space.control, a->space.control_size, PROT_READ);
		for (m = a->mutators; m; m = m->next) {
			gcl_map_over(m->pub.area, m->area_size, PROT_READ | PROT_WRITE);
			memset(m->shadow, 0, sizeof(m->shadow));
			m->pub.generation++;
		}
		pthread_mutex_unlock(&a->lock);
	}
	gcl_mutators_fork();
	pthread_mutex_unlock(&gcl_arenas_lock);
	gcl_watch_fork(GCL_FORK_CHILD);
	gcl_stop_fork(GCL_FORK_CHILD);
	gcl_default_fork(GCL_FORK_CHILD);
	gcl_restore(sigs);
}

static void gcl_init_once(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* ----------------------------------------------------------- open and close */

static int open_backend(struct gca_arena *a, const struct gca_options *o, int which, uint32_t stop)
{
	struct gcarena_create create = {
		.size = sizeof(create),
		.flags = stop == GCA_STOP_SIGNAL ? GCARENA_CREATE_SIGNAL :
			 stop == GCA_STOP_TASKWORK ? GCARENA_CREATE_TASKWORK : 0,
		.features = o->features,
		.stop_signal = o->stop_signal,
		.debug = a->debug.flags,
	};
	uint64_t reserve = o->reserve ? o->reserve : GCL_RESERVE;
	int err;

	if (o->flags & GCA_INSERTION)
		create.flags |= GCARENA_CREATE_INSERTION;
	for (;;) {
		gcl_error("%s", "");
		create.reserve = reserve;
		err = -ENODEV;
		if (which != GCL_PROCESS) {
			a->be = &gcl_backend_kernel;
			err = a->be->open(&a->space, &create, o->device);
		}
		if (which == GCL_PROCESS || (which == GCL_AUTO && (err == -ENODEV ||
					     err == -EACCES || err == -EPERM))) {
			if (which == GCL_AUTO && a->tracing)
				gcl_say("gcarena: the collector runs inside the process: %s",
					gca_strerror());
			a->be = &gcl_backend_process;
			err = a->be->open(&a->space, &create, o->device);
		}
		/* Not asked for a size: take what the limits allow. */
		if ((err != -ENOMEM && err != -EUSERS) || o->reserve ||
		    reserve <= GCARENA_RESERVE_MIN)
			break;
		reserve /= 2;
	}
	return err;
}

static int check_options(const struct gca_options *o)
{
	const uint32_t known = GCA_NO_PLAIN_ROOTS | GCA_NO_TLS_ROOTS | GCA_NO_PAGER |
			       GCA_NO_AUTO_COLLECT | GCA_INSERTION;
	const uint64_t bad_signals = BIT(SIGKILL) | BIT(SIGSTOP) | BIT(SIGSEGV) | BIT(SIGBUS) |
				     BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGSYS) |
				     BIT(SIGABRT) | BIT(32) | BIT(33);

	if (o->flags & ~known)
		return gcl_fail(EINVAL, "gca_open: flags %#x are not known", o->flags & ~known);
	if (o->reserve && ((o->reserve & (o->reserve - 1)) || o->reserve < GCARENA_RESERVE_MIN ||
			   o->reserve > GCARENA_RESERVE_MAX))
		return gcl_fail(EINVAL, "gca_open: the reservation must be a power of two from 64 MiB to 1 TiB");
	if (o->stop > GCA_STOP_TASKWORK)
		return gcl_fail(EINVAL, "gca_open: stop is none of GCA_STOP_AUTO, GCA_STOP_SIGNAL, GCA_STOP_TASKWORK");
	if (o->stop_signal > 64 || (o->stop_signal && (bad_signals >> (o->stop_signal - 1) & 1)))
		return gcl_fail(EINVAL, "gca_open: signal %u cannot be handled, or the processor or the C library raises it",
				o->stop_signal);
	return 0;
}

static struct gca_arena *open_arena(const struct gca_options *options)
{
	static const struct gca_options defaults;
	const struct gca_options *o = options ? options : &defaults;
	const char *s;
	struct gcl_signals sigs;
	struct gca_arena *a;
	uint32_t stop = GCA_STOP_AUTO;
	int which = GCL_AUTO, err;

	pthread_once(&gcl_once, gcl_init_once);
	if (check_options(o))
		return NULL;
	s = o->backend ? o->backend : secure_getenv("GCARENA_BACKEND");
	if (s && *s && gcl_parse_backend(s, &which))
		return NULL;
	s = secure_getenv("GCARENA_STOP");
	if (o->stop)
		stop = o->stop;
	else if (s && *s && gcl_parse_stop(s, &stop))
		return NULL;
	a = gcl_map(sizeof(*a));
	if (!a) {
		gcl_fail(ENOMEM, "gca_open: no memory");
		return NULL;
	}
	pthread_mutex_init(&a->lock, NULL);
	a->flags = o->flags;
	a->opened = gcl_now();
	if (stop != GCA_STOP_TASKWORK)
		a->stop_signal = o->stop_signal ? (int)o->stop_signal : SIGURG;
	s = secure_getenv("GCARENA_TRACE");
	a->tracing = !s || !*s || !strcmp(s, "0") ? 0 : !strcmp(s, "2") ? 2 : 1;
	s = o->debug ? o->debug : secure_getenv("GCARENA_DEBUG");
	if (s && gcl_parse_debug(s, &a->debug))
		goto out;
	a->slow = a->debug.clobber || a->debug.stress;

	err = open_backend(a, o, which, stop);
	if (err) {
		const char *why = gca_strerror();

		if (why[0] && strcmp(why, "no error"))
			gcl_fail(-err, NULL);
		else
			gcl_fail(-err, "gca_open: the %s backend failed: %s", a->be->name,
				 strerror(-err));
		goto out;
	}
	if (gcl_knobs_open(a, o))
		goto out_space;
	/* Pages belong where they are first touched; no balancing faults later. */
	syscall(SYS_mbind, a->space.heap, a->space.heap_size, GCL_MPOL_LOCAL, NULL, 0UL, 0U);

	if (!(a->flags & GCA_NO_PAGER) && gcl_pager_start(a))
		goto out_space;
	sigs = gcl_block();
	pthread_mutex_lock(&gcl_arenas_lock);
	a->next = gcl_arenas;
	gcl_arenas = a;
	pthread_mutex_unlock(&gcl_arenas_lock);
	gcl_restore(sigs);
	if (a->has_pager)
		gcl_watch_start(a);
	return a;

out_space:
	a->be->close(&a->space, 0);
out:
	munmap(a, sizeof(*a));
	return NULL;
}

/* The collector is dead.  Return: false if a thread is detaching just now: again. */
static bool let_go(struct gca_arena *a)
{
	struct gcl_mutator *m;
	bool gone = true;

	pthread_mutex_lock(&a->lock);
	for (m = a->mutators; m; m = m->next) {
		if (gcl_is_mine(m))
			gcl_forget_mine(m);
		else if (!a->child && !gcl_has_exited(m))
			/* Its thread's handler may be looking at control page or arena. */
			gone &= gcl_stop_wait(m);
	}
	pthread_mutex_unlock(&a->lock);
	return gone;
}

static void close_arena(struct gca_arena *a)
{
	struct gcl_signals sigs;
	struct gca_arena **p;
	struct gcl_mutator *m;
	struct gcl_layout *l;

	if (!a)
		return;
	sigs = gcl_block();
	pthread_mutex_lock(&gcl_arenas_lock);
	for (p = &gcl_arenas; *p && *p != a; p = &(*p)->next)
		;
	if (*p)
		*p = a->next;
	pthread_mutex_unlock(&gcl_arenas_lock);
	gcl_self_forget(a);
	/* From here on the collector is dead, and lets go whoever is parked. */
	if (!a->child) {
		gcl_pager_stop(a);
		gcl_watch_stop();
	}
	while (!let_go(a))
		sched_yield();
	/* The process backend reads the areas of mutators that are still attached. */
	a->be->close(&a->space, a->child);
	while ((m = a->mutators)) {
		a->mutators = m->next;
		munmap(m->pub.area, m->area_size);
		free(m->fiber);
		m->fiber = NULL;
		/* Another thread's is given back by that thread, when it next attaches. */
		if (__atomic_load_n(&m->closed, __ATOMIC_ACQUIRE))
			__atomic_store_n(&m->closed, GCL_CLOSED, __ATOMIC_RELEASE);
		else
			munmap(m, sizeof(*m));
	}
	while ((l = a->layouts)) {
		a->layouts = l->next;
		free(l);
	}
	gcl_roots_free(a);
	munmap(a, sizeof(*a));
	gcl_restore(sigs);
}

/* A thread that is cancelled in these would leave half of it, and with locks in hand. */
struct gca_arena *gca_open(const struct gca_options *options)
{
	struct gca_arena *a;
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	a = open_arena(options);
	pthread_setcancelstate(state, NULL);
	return a;
}

void gca_close(struct gca_arena *a)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	close_arena(a);
	pthread_setcancelstate(state, NULL);
}

/* ------------------------------------------------------------------ layouts */

const struct gca_layout *gca_layout(struct gca_arena *a, size_t size, const uint64_t *ptr_bitmap)
{
	static const uint64_t none[GCARENA_LAYOUT_MAX / 512];
	size_t words = (size + 7) / 8, slot;
	struct gcarena_layout req = {
		.size = sizeof(req),
		.elem_size = words * 8,
		.bitmap = (uintptr_t)(ptr_bitmap ? ptr_bitmap : none),
	};
	struct gcl_signals sigs;
	struct gcl_layout *l;
	unsigned int sc;
	int err;

	if (gcl_dead(a))
		return NULL;
	if (!size || size > GCARENA_LAYOUT_MAX) {
		gcl_fail(EINVAL, "gca_layout: a type has from 1 to %d bytes", GCARENA_LAYOUT_MAX);
		return NULL;
	}
	l = calloc(1, sizeof(*l));
	err = l ? a->be->layout(&a->space, &req) : -ENOMEM;
	if (err) {
		free(l);
		if (err == -ENOSPC)
			gcl_fail(ENOSPC, "gca_layout: the arena has %d layouts, no more fit",
				 GCARENA_LAYOUTS_MAX);
		else
			gcl_fail(-err, "gca_layout: %s", err == -EINVAL ?
				 "pointer bits beyond the type" : strerror(-err));
		return NULL;
	}
	l->pub.id = req.id;
	l->pub.size = words * 8;
	if (l->pub.size <= GCARENA_BITMAP_MAX) {
		sc = __gca_size_class(l->pub.size);
		/* The slot's own words, so that what an older object left is cleared. */
		slot = gcl_slot_bytes(sc);
		l->pub.bits = ptr_bitmap ? ptr_bitmap[0] : 0;
		l->pub.mask = slot / 8 == 64 ? ~0ULL : (1ULL << slot / 8) - 1;
		l->pub.span_class = GCARENA_SPAN_CLASS(sc, GCARENA_PRECISE);
	} else if (l->pub.size + GCARENA_HEADER_BYTES <= GCARENA_SMALL_MAX) {
		sc = __gca_size_class(l->pub.size + GCARENA_HEADER_BYTES);
		l->pub.span_class = GCARENA_SPAN_CLASS(sc, GCARENA_PRECISE);
	} else {
		l->pub.span_class = GCA_LARGE;
	}
	sigs = gcl_lock(a);
	l->next = a->layouts;
	a->layouts = l;
	gcl_unlock(a, sigs);
	return &l->pub;
}

const struct gca_layout *gca_layout_offsets(struct gca_arena *a, size_t size, ...)
{
	uint64_t bits[GCARENA_LAYOUT_MAX / 512] = { 0 };
	const char *bad = NULL;
	size_t off;
	va_list ap;

	va_start(ap, size);
	while ((off = va_arg(ap, size_t)) != (size_t)-1) {
		if (off % 8)
			bad = "is not aligned: a packed type cannot be managed";
		else if (off >= size || off >= GCARENA_LAYOUT_MAX)
			bad = "lies beyond the type";
		if (bad)
			break;
		bits[off / 512] |= 1ULL << (off / 8 % 64);
	}
	va_end(ap);
	if (bad) {
		gcl_fail(EINVAL, "gca_layout_offsets: the pointer at offset %zu %s", off, bad);
		return NULL;
	}
	return gca_layout(a, size, bits);
}

/* --------------------------------------------------------------- statistics */

const char *gcl_engine_name(const struct gca_arena *a)
{
	switch (__atomic_load_n(&a->space.control->engine, __ATOMIC_RELAXED)) {
	case GCARENA_ENGINE_SIGNAL:
		return "signal";
	case GCARENA_ENGINE_TASKWORK:
		return "taskwork";
	default:
		return "none";
	}
}

int gca_stats(struct gca_arena *a, struct gca_stats *s)
{
	struct gcarena_stats r = { .size = sizeof(r) };
	int err;

	memset(s, 0, sizeof(*s));
	if (gcl_dead(a))
		return -1;
	err = a->be->stats(&a->space, &r);
	if (err)
		return gcl_fail(-err, "gca_stats: %s", strerror(-err));
	s->cycles = r.cycles;
	s->forced_cycles = r.forced;
	s->void_cycles = r.voided;
	s->last_void_reason = r.last_void;
	s->live_bytes = r.live;
	s->heap_bytes = r.heap;
	s->goal_bytes = r.goal;
	s->metadata_bytes = r.metadata;
	s->allocated_bytes = r.allocated;
	s->freed_bytes = r.freed;
	s->stops = r.stops;
	s->stop_ns_max = r.stop_ns_max;
	s->stop_ns_total = r.stop_ns_total;
	s->mark_ns_collect = r.mark_ns[0];
	s->mark_ns_serve = r.mark_ns[1];
	s->sweep_ns = r.sweep_ns;
	s->marked_objects = r.marked_objects;
	s->marked_bytes = r.marked_bytes;
	s->missed_objects = r.missed;
	s->leaf_pages = r.leaves;
	s->overflows = r.overflows;
	s->root_bytes = r.root_bytes;
	s->returned_bytes = r.returned;
	s->free_bytes = r.free;
	s->postponed_stops = r.postponed;
	s->hold_ns_max = r.hold_ns_max;
	s->hold_ns_total = r.hold_ns_total;
	s->stop_ns_p50 = r.stop_ns_p50;
	s->stop_ns_p99 = r.stop_ns_p99;
	s->held_threads = r.held;
	s->held_asleep = r.held_asleep;
	s->threads = r.threads;
	s->workers = r.workers;
	s->worker_ns = r.worker_ns;
	s->coordinator_ns = r.coordinator_ns;
	s->self_scans = r.self_scans;
	s->self_ns = r.self_ns;
	s->restarts = r.restarts;
	s->assist_ns = r.assist_ns;
	s->fractional_ns = r.fractional_ns;
	s->idle_ns = r.idle_ns;
	s->idle_kicks = r.idle_kicks;
	s->idle_yields = r.idle_yields;
	s->idle_raised = r.idle_raised;
	s->trigger_bytes = r.trigger;
	s->begun_live_bytes = r.begun_live;
	s->ended_live_bytes = r.ended_live;
	s->ended_goal_bytes = r.ended_goal;
	s->work_heap_bytes = r.work_heap;
	s->work_stack_bytes = r.work_stack;
	s->work_root_bytes = r.work_roots;
	s->cons_mark = r.cons_mark;
	s->assists = r.assists;
	s->assist_hold_ns_total = r.assist_hold_ns_total;
	s->assist_hold_ns_max = r.assist_hold_ns_max;
	s->assist_hold_ns_p99 = r.assist_hold_ns_p99;
	s->begin_stop_ns = r.begin_stop_ns;
	s->marking_ns = r.marking_ns;
	s->end_stop_ns = r.end_stop_ns;
	s->limited = r.limited;
	s->cpus_milli = r.cpus_milli;
	s->marking_cpu_ns = r.marking_cpu_ns;
	s->cpu_ns = r.cpu_ns;
	s->unknown_stacks = r.unknown_stacks;
	s->cut_stacks = r.cut_stacks;
	s->postponed_ns = r.postponed_ns;
	s->blame = r.blame;
	s->pressed = __atomic_load_n(&a->pressed, __ATOMIC_RELAXED);
	s->backend = a->be->name;
	s->engine = gcl_engine_name(a);
	return 0;
}

/* Copied, and then looked whether it still was what it should be; see struct gcarena_control. */
unsigned int gca_pauses(struct gca_arena *a, struct gca_pause *pauses, unsigned int n)
{
	const struct gcarena_control *c = a->space.control;
	uint64_t newest = __atomic_load_n(&c->pauses, __ATOMIC_ACQUIRE), now;
	unsigned int i, most = newest < GCA_PAUSES ? (unsigned int)newest : GCA_PAUSES;

	n = n < most ? n : most;
	for (i = 0; i < n; i++) {
		const struct gcarena_pause *p = &c->pause[(newest - 1 - i) % GCARENA_PAUSES];

		pauses[i].end_ns = __atomic_load_n(&p->end, __ATOMIC_RELAXED);
		pauses[i].ns = __atomic_load_n(&p->ns, __ATOMIC_RELAXED);
	}
	/* This processor keeps loads in order. */
	__asm__ volatile("" : : : "memory");
	now = __atomic_load_n(&c->pauses, __ATOMIC_RELAXED);
	/* The one after the newest may be being written: over that which is GCARENA_PAUSES older. */
	for (i = 0; i < n && now - (newest - 1 - i) < GCARENA_PAUSES; i++)
		;
	return i;
}
