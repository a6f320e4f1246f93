/* SPDX-License-Identifier: MIT */
/*
 * world.h: what the unit tests share.
 *
 * A *world* is an arena on an ordinary mapping with one mutator and an array of
 * roots.  It allocates as the library does: by bumping the free index through
 * the copy of the alloc bits in the mutator area.  There is no thread behind the
 * mutator and nothing collects by itself: a test says when.
 *
 * A *graph* is the oracle: beside every object in the heap it keeps a shadow
 * with the words that the object must contain and the objects it points to.
 * Words that are no pointers hold canaries; where the marker must not look they
 * are addresses of other objects, so that looking has consequences.
 *
 * The port's functions are replaced by ones with hooks, in struct world_hooks.
 */
#ifndef GCA_UNIT_WORLD_H
#define GCA_UNIT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cycle.h"
#include "mark.h"
#include "pageheap.h"
#include "span.h"
#include "workbuf.h"

#define MIB		(1ULL << 20)
#define WORLD_ROOTS	256
#define WORLD_SLOTS	64
#define WORLD_LAYOUTS	64
#define WORLD_TIMEOUT	60000000000ULL

struct world {
	struct gca_arena a;
	struct gca_mutator m;
	struct gcarena_mutator *sh;
	struct gcarena_control ctl;
	void *heap;
	u64 reserve;
	u64 seed;
	u32 wants;		/* GCARENA_WANT_* and errors of the last allocation */
	int err;
	bool clobber;		/* fill free slots with garbage at refill */
	bool no_barrier;	/* for negative tests */
	u32 nr_layouts;
	struct gca_layout *layout[WORLD_LAYOUTS];	/* our copies */
	u64 root[WORLD_ROOTS];
};

/**
 * struct world_hooks - faults that a test plants in the port; all zero: none
 * @miss: does a no-fault read of the heap at @addr miss?
 * @unreadable: can the word at @addr not be read even with faults on?
 * @judge: what gca_port_unreadable() answers
 * @miss_roots: no-fault reads of roots miss
 * @miss_sift: does the one of @n words at @src miss?
 * @stop_err: what gca_port_stop() returns
 * @stop_needs: it fails if it has less time, ns
 * @relax: after so many calls gca_port_relax() says "give up"; 0: never
 * @in_stop: called once the world is stopped
 * @at_start: called before it runs again
 * @stack: stack and registers of a mutator whose own @port is NULL, or NULL
 */
struct world_hooks {
	bool (*miss)(u64 addr);
	bool (*unreadable)(u64 addr);
	int judge;
	bool miss_roots;
	bool (*miss_sift)(u64 src, unsigned int n);
	int stop_err;
	u64 stop_needs;
	u64 relax;
	void (*in_stop)(struct gca_arena *a);
	void (*at_start)(struct gca_arena *a);
	const struct gca_stack *stack;
	u64 stops, copies;
};

/* What gca_cycle_run() wants to be told. */
#define ORDER(where, asked, ns)						\
	(&(struct gca_order){ .until = (where), .forced = (asked), .lent = true, .alone = true,		\
			       .timeout_ns = (ns) })

extern struct world_hooks world_hooks;
extern long gca_test_fail_after;	/* port.c: allocations that succeed; < 0: all */

u64 world_rnd(struct world *w);
u64 world_below(struct world *w, u64 n);

struct world *world_open(u64 reserve, u32 debug, u64 seed);
void world_close(struct world *w);
void world_attach(struct world *w);
void world_detach(struct world *w);
u32 world_layout(struct world *w, u32 words, const u64 *bits);
bool world_is_pointer(const struct world *w, u32 kind, u32 layout, u64 word);
u64 world_alloc(struct world *w, u64 bytes, u32 kind, u32 layout);
u64 world_alloc_class(struct world *w, u32 span_class);
void world_store(struct world *w, u64 slot, u64 value);
void world_collect(struct world *w);
void world_cycle(struct world *w, enum gca_until until);
bool world_marked(struct world *w, u64 addr);
bool world_holds(struct world *w, u64 addr);
u64 world_held(struct world *w);
bool world_marks_zero(struct world *w);
void world_check_summary(struct world *w);

static inline u64 page_addr(const struct world *w, u32 page)
{
	return w->a.base + ((u64)page << GCARENA_PAGE_SHIFT);
}

/* ------------------------------------------------------------------- graphs */

struct node {
	u64 addr;
	u64 *val;		/* what its words must be */
	u32 *kid;		/* number of the object that a word points to, or 0 */
	u32 words;
	u32 layout;
	u32 stamp;
	u8 kind;
	bool alive;		/* not yet found dead by a sweep */
};

struct graph {
	struct world *w;
	struct node *node;	/* 0 is unused */
	u32 n, room, stamp;
	u32 *stack;
	u32 root[WORLD_ROOTS];
	u32 reached;
	u64 reached_bytes;
};

void graph_init(struct graph *g, struct world *w);
void graph_fini(struct graph *g);
u32 graph_new(struct graph *g, u32 kind, u64 words, u32 layout);
void graph_link(struct graph *g, u32 from, u64 word, u32 to, u64 off);
void graph_root(struct graph *g, u32 slot, u32 to, u64 off);
void graph_reach(struct graph *g);
void graph_check_contents(struct graph *g);
void graph_check_marks(struct graph *g);
void graph_check_swept(struct graph *g, bool exact);
bool graph_reachable(const struct graph *g, u32 id);
u32 graph_random_kind(struct world *w);
u32 graph_random_new(struct graph *g, u64 max_words);
void graph_random_links(struct graph *g, u32 from, u32 links);

void graph_open(struct graph *g, u32 debug, u64 seed);
void graph_close(struct graph *g);
void graph_hold(struct graph *g, u32 slot, u32 to);
void graph_must(u32 id);
void graph_check_cycle(struct graph *g);
u32 graph_tree(struct graph *g, u32 depth, u32 kind);
void graph_random(struct graph *g, u32 n, u64 max_words, u32 links, u32 roots);

/* Word @i of a program's arguments, or @dflt. */
u64 world_arg(int argc, char **argv, int i, u64 dflt);

#endif /* GCA_UNIT_WORLD_H */
