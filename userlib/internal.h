/* SPDX-License-Identifier: MIT */
/*
 * internal.h: what the library's own files share.
 *
 * Never include kmod/core/core.h beside this: same names, other things.
 * Internal functions begin with gcl_, so that they cannot be mistaken for the
 * public API or for the core's.
 *
 * Signals.  Every lock of the library is taken with all signals blocked: a
 * handler may allocate, and an allocation may collect.
 */
#ifndef GCARENA_INTERNAL_H
#define GCARENA_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "gcarena.h"
#include "backend.h"

/* What GCARENA_DEBUG can say beyond the ABI's GCARENA_DEBUG_*. */
struct gcl_debug {
	uint32_t flags;		/* GCARENA_DEBUG_* */
	uint32_t stress;	/* collect at every so-manyth allocation, 0: never */
	bool clobber;		/* free memory is filled with GCL_CLOBBER */
};

#define GCL_CLOBBER	0xdb

/**
 * struct gcl_mutator - a thread's private part
 * @pub: what the inline functions see; first
 * @next: in gca_arena.mutators
 * @sibling: in gcl_mine: mutators of the same thread in other arenas
 * @tid: of its thread
 * @closed: another thread closes the arena (GCL_CLOSING); all that is left is this
 *	structure, for its own thread to give back (GCL_CLOSED); or that
 *	detaches at its end, and the arena waits for it (GCL_LEAVING)
 * @parking: its thread's stop handler looks at it; gca_close() waits for that
 * @area_size: bytes of the mutator area
 * @attach: what was told to the collector, for gca_roots()
 * @want: spans to ask for at the next refill, by span class
 * @shadow: in the debug modes, gcarena_mutator.current_slot, which is then kept
 *	zero so that every allocation takes the slow path
 * @stress: allocations until the next collection
 * @fiber: its thread's own stack as a fiber, if that was asked for
 */
struct gcl_mutator {
	struct gca_mutator pub;
	struct gcl_mutator *next, *sibling;
	int tid;
	uint32_t closed, parking;
	size_t area_size;
	struct gcarena_attach attach;
	uint8_t want[GCARENA_NR_SPAN_CLASSES];
	uint16_t shadow[GCARENA_NR_SPAN_CLASSES];
	uint32_t stress;
	struct gca_fiber *fiber;
};

enum { GCL_OPEN, GCL_CLOSING, GCL_CLOSED, GCL_LEAVING };

struct gcl_layout {
	struct gca_layout pub;
	struct gcl_layout *next;
};

/**
 * struct gcl_ranges - a sorted array of root ranges, in memory of its own
 */
struct gcl_ranges {
	struct gcarena_range *range;
	uint32_t n, room;
};

/**
 * struct gca_arena - an arena, the public opaque type
 * @next: in the list of all arenas, for fork
 * @be: its collector
 * @space: heap and control page
 * @flags: GCA_NO_*
 * @debug: debug modes
 * @slow: some debug mode wants every allocation to take the slow path
 * @dead: why nothing works any more, or NULL
 * @child: this is a forked child's copy
 * @stop_signal: of the signal engine; 0: task work was demanded, there is none
 * @told_postponed: it has been said that no stop holds all threads
 * @lock: protects the lists, @found and @added.  Whoever holds it has all signals
 *	blocked and waits for nothing but a REFILL-like call of the collector: not
 *	for COLLECT, ATTACH, DETACH, nor for the loader's lock, because the pager
 *	takes it while a cycle waits for the pager
 * @mutators: attached threads
 * @nr_mutators: how many
 * @reap_at: look for threads that have exited when there are so many
 * @layouts: described types
 * @found: plain ranges found by the library, as the collector knows them
 * @added: ranges the program added
 * @adds: dlpi_adds when @found was made; @subs, @found_once likewise
 * @looked_adds: dlpi_adds at the last GCARENA_SERVE_REFRESH; belongs to who serves
 * @compared: answers to GCARENA_SERVE_COMPARE
 * @serving: threads in gca_serve(), or gcl_each_arena(); gca_close() waits for them
 * @pager: the pager thread
 * @trace: figures at the end of the last cycle told; @trace_busy protects it
 * @trace_heap: bytes in spans when the next one was about to begin
 * @trace_begun: and when that was
 * @opened: CLOCK_MONOTONIC at gca_open()
 * @pressed: cycles for want of memory
 * @quota: what cpu.max came to as the collector was last told
 */
struct gca_arena {
	struct gca_arena *next;
	const struct gca_backend *be;
	struct gca_space space;
	uint32_t flags;
	struct gcl_debug debug;
	bool slow;
	int tracing;
	const char *dead;
	bool child;
	int stop_signal;
	int told_postponed;
	pthread_mutex_t lock;
	struct gcl_mutator *mutators;
	uint32_t nr_mutators, reap_at;
	struct gcl_layout *layouts;
	struct gcl_ranges found, added;
	uint64_t adds, subs;
	bool found_once;
	uint64_t looked_adds;
	uint32_t compared;
	uint32_t serving;
	bool has_pager;
	pthread_t pager;
	uint32_t trace_busy;
	struct gcarena_stats trace;
	uint64_t trace_heap, trace_begun;
	uint64_t opened;
	uint64_t pressed;
	uint32_t quota;
};

/* Bytes of a slot of size class @sc: what __gca_size_class() is the inverse of. */
static inline size_t gcl_slot_bytes(unsigned int sc)
{
	return sc < 15 ? 16 + 8 * sc : ((size_t)(sc - 15) % 8 + 9) << ((sc - 15) / 8 + 4);
}

/* error.c */
int gcl_fail(int err, const char *fmt, ...) __attribute__((__format__(__printf__, 2, 3)));
uint64_t gcl_now(void);

struct gcl_signals gcl_lock(struct gca_arena *a);
void gcl_unlock(struct gca_arena *a, struct gcl_signals old);
void *gcl_map(size_t bytes);
int gcl_gettid(void);

/* options.c */
int gcl_parse_debug(const char *words, struct gcl_debug *d);
int gcl_parse_backend(const char *s, int *which);
enum { GCL_AUTO, GCL_KERNEL, GCL_PROCESS };
int gcl_parse_stop(const char *s, uint32_t *stop);

/* knobs.c */
int gcl_knobs_open(struct gca_arena *a, const struct gca_options *o);

/* collect.c */
int gcl_collect(struct gca_arena *a, uint32_t flags, bool paced);
void gcl_trace_begin(struct gca_arena *a);
void gcl_trace_end(struct gca_arena *a);
void gcl_tell_postponed(struct gca_arena *a);

/* mutator.c */
bool gcl_is_mine(const struct gcl_mutator *m);
int gcl_leave(struct gcl_mutator *m);
void gcl_mutators_fork(void);
void gcl_default_fork(enum gcl_fork when);
void gcl_forget_mine(struct gcl_mutator *m);
bool gcl_has_exited(const struct gcl_mutator *m);
void gcl_self_forget(const struct gca_arena *a);

/* stop.c */
extern _Thread_local struct gcl_mutator *gcl_mine
	__attribute__((__tls_model__("initial-exec"), __visibility__("hidden")));
int gcl_stop_install(int sig);
bool gcl_stop_wait(struct gcl_mutator *m);
void gcl_stop_fork(enum gcl_fork when);

/* roots.c */
int gcl_root_change(struct gca_arena *a, const void *start, size_t len, uint32_t kind, bool add);
int gcl_roots_refresh(struct gca_arena *a, uint64_t *adds);
bool gcl_roots_missed(struct gca_arena *a, uint64_t adds);
void gcl_roots_free(struct gca_arena *a);
void gcl_tls_range(uint64_t *lo, uint64_t *hi);
bool gcl_is_separate(void);

/* pager.c */
int gcl_pager_start(struct gca_arena *a);
void gcl_pager_stop(struct gca_arena *a);

/* watch.c */
void gcl_watch_start(struct gca_arena *a);
void gcl_watch_stop(void);
void gcl_watch_fork(enum gcl_fork when);

/* arena.c */
int gcl_dead(struct gca_arena *a);
bool gcl_somebodys(const struct gcl_mutator *m);
unsigned int gcl_each_arena(void (*fn)(struct gca_arena *a, void *arg), void *arg);
const char *gcl_engine_name(const struct gca_arena *a);

#endif /* GCARENA_INTERNAL_H */
