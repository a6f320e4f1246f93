/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * pacer.h: when a cycle begins, how large the heap may grow meanwhile, and what a thread that
 * allocates owes for it: Go's control loop, as arithmetic.
 *
 * Nothing here knows an arena, a clock or a lock: pace.c feeds it, and a test may.
 */
#ifndef GCA_PACER_H
#define GCA_PACER_H

#include "port.h"

#define GCA_PACER_ONE		(1ULL << 32)	/* cons/mark is in parts of this */
#define GCA_PACER_WINDOW	5		/* cycles whose cons/mark counts */
#define GCA_RUNWAY_MIN		(64ULL << 10)	/* from trigger to goal */
#define GCA_HEADROOM_MIN	(1ULL << 20)	/* below a memory limit */

/**
 * struct gca_pacer - what the pacer knows; bytes, where nothing else is said
 * @percent: knob: growth of the heap before the next cycle ends; U64_MAX: no bound
 * @heap_min: knob: no goal is below so much, at 100 percent
 * @limit: knob: of all memory; U64_MAX: none
 * @mapped: memory in use, for @limit
 * @heap_free: of it, free in the heap
 * @heap_used: of it, allocated there
 * @floor: no goal is below this either, if @limit does not ask for it
 * @marked: by the last cycle
 * @heap_work: scan work of the last cycle, in bytes, or whatever all work is told in: objects,
 * @stack_work: stacks, and
 * @globals: root ranges
 * @early: of the latter two, what is done before the program runs again, and not paced
 * @goal: by @percent
 * @runway: what the program will allocate while a cycle marks
 * @cons_mark: bytes allocated for a byte of scan work, of the last cycles, the newest first,
 *	in parts of GCA_PACER_ONE; what it would be if a quarter of the processors marked
 * @marking: a cycle is marking, the program runs
 * @triggered: bytes live as it began
 * @scan: heap work, should all of it be live
 * @stack_max: stack work at most
 */
struct gca_pacer {
	u64 percent, heap_min, limit;
	u64 mapped, heap_free, heap_used;
	u64 floor;
	u64 marked, heap_work, stack_work, globals, early;
	u64 goal, runway;
	u64 cons_mark[GCA_PACER_WINDOW];
	bool marking;
	u64 triggered, scan, stack_max;
};

/**
 * struct gca_price - so much work is owed for so many bytes
 * @work: to be done, at least 1
 * @bytes: allocated, at least 1
 */
struct gca_price {
	u64 work, bytes;
};

/**
 * struct gca_pacer_cycle - a cycle that has ended, or none in which the program ran
 * @marked: bytes
 * @live: with what was allocated since it began
 * @heap: scan work, as in struct gca_pacer
 * @stack: likewise
 * @globals: likewise
 * @span_ns: for which the program ran while it marked, times processors; 0: it did not run
 * @worker_ns: of that, what workers have marked
 * @assist_ns: and threads that allocate
 * @idle_ns: and workers where nobody wanted the processor
 */
struct gca_pacer_cycle {
	u64 marked, live;
	u64 heap, stack, globals;
	u64 span_ns, worker_ns, assist_ns, idle_ns;
};

u64 gca_mul_div(u64 a, u64 b, u64 c);
void gca_pacer_commit(struct gca_pacer *p);
u64 gca_pacer_goal(const struct gca_pacer *p);
u64 gca_pacer_trigger(const struct gca_pacer *p);
void gca_pacer_begin(struct gca_pacer *p, u64 live, u64 scan, u64 stack_max, u64 globals,
		     u64 early);
struct gca_price gca_pacer_price(const struct gca_pacer *p, u64 live, u64 work);
void gca_pacer_end(struct gca_pacer *p, const struct gca_pacer_cycle *c);

#endif /* GCA_PACER_H */
