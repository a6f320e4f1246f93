/* SPDX-License-Identifier: MIT */
/*
 * world.h: what port.c and backend.c share about the one
 * attached thread.  Core never sees it: it hangs at gca_arena.port.
 *
 * An arena whose port pointer is NULL (unit tests) has no thread to stop: its
 * stops succeed at once and its stacks are empty, unless the test replaces the
 * weak functions of port.c by its own.
 */
#ifndef GCA_PROCESS_WORLD_H
#define GCA_PROCESS_WORLD_H

#include "core.h"

#define GCA_KNOWN_PAGES	1024

/**
 * struct gca_world - the threads of a process-backend arena
 * @lock: protects what the two conditions are about
 * @gate_lock: for @gate alone: taken in operations, with @lock held or not
 * @gate: broadcast when the gate opens
 * @pager: signalled when there are pages to give back, or at the end
 * @mutator: the attached thread's, or NULL
 * @tid: of the attached thread
 * @collector: of the thread inside COLLECT, 0: none
 * @sp: its stack pointer there; registers have been spilled above it
 * @regs: its callee-saved registers
 * @nr_regs: how many
 * @reader: the same thread, for @known
 * @known: pages it has read in this COLLECT, by gca_port_copy(); 0: none
 * @serving: a thread is in SERVE
 * @poke: the pager has something to look at
 * @dying: the arena is being destroyed
 */
struct gca_world {
	pthread_mutex_t lock;
	pthread_mutex_t gate_lock;
	pthread_cond_t gate, pager;
	struct gca_mutator *mutator;
	int tid;
	int collector;
	u64 sp;
	u64 regs[8];
	unsigned int nr_regs;
	pthread_t reader;
	u64 known[GCA_KNOWN_PAGES];
	bool serving, poke, dying;
};

int gca_gettid(void);

#ifdef GCA_TEST_FAIL
/* Allocations that still succeed; below zero: all do.  Tests count it down. */
extern long gca_test_fail_after;
#endif

#endif /* GCA_PROCESS_WORLD_H */
