/* SPDX-License-Identifier: MIT */
/*
 * graph.h: the collector's core with one mutator, and a graph in its heap, for the
 * programs here that drive the core themselves.
 *
 * The graphs are of 64-byte conservative objects, as in mark.c: random, tree, list,
 * shuffled, array.
 */
#ifndef GCA_BENCH_GRAPH_H
#define GCA_BENCH_GRAPH_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "core.h"
#include "mark.h"
#include "span.h"

#define RESERVE		(1ULL << 33)
#define HUGE		(2ULL << 20)
#define SLOTS		64
#define SMALL		GCARENA_SPAN_CLASS(gca_size_class(64), GCARENA_CONSERVATIVE)

static struct gca_arena arena;
static struct gca_mutator mutator;
static struct gcarena_mutator *shared;
static struct gcarena_control control;
static u64 roots[8];

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(1);
}

static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static u64 rnd(void)
{
	static u64 seed = 88172645463325252ULL;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static u64 alloc_object(void)
{
	for (;;) {
		struct gcarena_slot *s = &shared->slot[shared->current_slot[SMALL]];
		u32 i = s->free_index, count = 16;

		if (i < s->nelems) {	/* a fresh heap: no slot is taken yet */
			s->free_index = i + 1;
			return s->base + (u64)i * s->elem_size;
		}
		if (shared->current_slot[SMALL]) {
			shared->current_slot[SMALL] = s->next;
			if (s->next)
				continue;
		}
		must(!gca_refill(&mutator, SMALL, &count), "no spans");
	}
}

static void build(const char *graph, u64 n)
{
	u64 *o = calloc(n, sizeof(*o)), i, j, t, array;
	u32 flags;

	must(o, "no memory");
	for (i = 0; i < n; i++)
		o[i] = alloc_object();
	roots[0] = o[0];
	if (!strcmp(graph, "random")) {
		for (i = 0; i < n; i++)
			for (j = 0; j < 4; j++)
				((u64 *)o[i])[j] = o[rnd() % n];
	} else if (!strcmp(graph, "tree")) {
		for (i = 1; i < n; i++)
			((u64 *)o[(i - 1) / 2])[(i - 1) % 2] = o[i];
	} else if (!strcmp(graph, "array")) {
		must(!gca_large(&mutator, n * 8, GCARENA_CONSERVATIVE, 0, &array, &flags), "array");
		memcpy((void *)array, o, n * 8);
		roots[0] = array;
	} else {
		must(!strcmp(graph, "list") || !strcmp(graph, "shuffled"), "no such graph");
		for (i = n - 1; *graph == 's' && i > 0; i--) {
			j = rnd() % (i + 1);
			t = o[i];
			o[i] = o[j];
			o[j] = t;
		}
		roots[0] = o[0];
		for (i = 0; i + 1 < n; i++)
			((u64 *)o[i])[0] = o[i + 1];
	}
	free(o);
}

static void arena_set_up(bool huge)
{
	struct gcarena_range range = { .start = (u64)roots, .len = sizeof(roots) };
	u64 base;
	void *p;

	must(!gca_arena_init(&arena, RESERVE, &control, 0), "arena");
	p = mmap(NULL, RESERVE + HUGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(p != MAP_FAILED, "no address space");
	base = ((u64)p + HUGE - 1) & ~(HUGE - 1);
	madvise((void *)base, RESERVE, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	gca_arena_map(&arena, base);
	shared = calloc(1, gca_mutator_bytes(SLOTS));
	must(shared && !gca_mutator_init(&mutator, &arena, SLOTS, shared), "mutator");
	must(!gca_mutator_attach(&mutator), "attach");
	must(!gca_roots_update(&arena, &range, 1, NULL, 0), "roots");
	arena.knob.percent = 0;
	gca_pace(&arena);
}

#endif /* GCA_BENCH_GRAPH_H */
