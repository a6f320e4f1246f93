// SPDX-License-Identifier: MIT
/*
 * collect.c: asking for a cycle, and the line that says how it went.
 *
 * The thread that asks refreshes the list of plain roots first and reads a byte
 * of each of their pages: inside the stop nobody may fault.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* Cycles a call makes because libraries were loaded between the look and the stop. */
#define GCL_COLLECT_TRIES	3

static const char *const void_reason[GCARENA_NR_VOID_REASONS] = {
	[GCARENA_VOID_NONE]		= "no reason",
	[GCARENA_VOID_RING]		= "a barrier ring was damaged",
	[GCARENA_VOID_UNREADABLE]	= "a page of the heap or of a root cannot be read",
	[GCARENA_VOID_KILLED]		= "the marking thread was interrupted",
	[GCARENA_VOID_AGE]		= "it made no progress within its age limit",
	[GCARENA_VOID_MEMORY]		= "there was no memory for marking",
	[GCARENA_VOID_LIBRARY]		= "a library was loaded as it began",
};

/*
 * gcarena 3 @1.234s 2%: 0.051 ms stop, 1.9+0.2 ms mark+sweep, 4->5->2 MB, 5 MB goal, ...
 * The style of Go's gctrace: heap in spans before, after, and what was live.
 */
static void trace(struct gca_arena *a, const struct gcarena_collect *req,
		  const struct gcarena_stats *before, uint64_t begun)
{
	struct gcarena_stats now = { .size = sizeof(now) };
	uint64_t t = gcl_now(), gc;

	if (a->be->stats(&a->space, &now))
		return;
	gc = now.mark_ns[0] + now.mark_ns[1] + now.sweep_ns;
	gcl_say("gcarena %llu @%.3fs %.0f%%: %.3f ms stop, %.3f+%.3f ms mark+sweep, %.3f ms in all, %.1f->%.1f MB heap, %.1f MB live, %.1f MB goal, %.2f MB roots, %llu objects, %.2f MB metadata%s%s, %s",
		(unsigned long long)req->cycle, (double)(t - a->opened) / 1e9,
		100.0 * (double)gc / (double)(t - a->opened + 1),
		(double)(now.stop_ns_total - before->stop_ns_total) / 1e6,
		(double)(now.mark_ns[0] + now.mark_ns[1] - before->mark_ns[0] -
			 before->mark_ns[1]) / 1e6,
		(double)(now.sweep_ns - before->sweep_ns) / 1e6, (double)(t - begun) / 1e6,
		(double)before->heap / 1e6, (double)now.heap / 1e6, (double)now.live / 1e6,
		(double)now.goal / 1e6, (double)now.root_bytes / 1e6,
		(unsigned long long)(now.marked_objects - before->marked_objects),
		(double)now.metadata / 1e6,
		req->result == GCARENA_RESULT_VOID ? ", VOID: " : "",
		req->result == GCARENA_RESULT_VOID && req->void_reason < GCARENA_NR_VOID_REASONS ?
			void_reason[req->void_reason] : "", a->be->name);
}

static int collect_once(struct gca_arena *a, uint32_t flags, bool paced)
{
	struct gcarena_collect req = { .size = sizeof(req), .flags = flags };
	struct gcarena_stats before = { .size = sizeof(before) };
	uint64_t begun = 0;
	int err;

	if (gcl_roots_refresh(a))
		return -1;
	if (a->tracing) {
		begun = gcl_now();
		a->be->stats(&a->space, &before);
	}
	do {
		err = a->be->collect(&a->space, &req, paced);
	} while (err == -EINTR);
	if (err == -EBUSY)
		return gcl_fail(EBUSY, "gca_collect: the arena's attached thread is running; this release collects in that thread");
	if (err)
		return gcl_fail(-err, "gca_collect: %s", strerror(-err));
	if (a->tracing && !flags)
		trace(a, &req, &before, begun);
	if (req.result == GCARENA_RESULT_VOID)
		return gcl_fail(ECANCELED, "gca_collect: the cycle was void: %s",
				req.void_reason < GCARENA_NR_VOID_REASONS ?
				void_reason[req.void_reason] : "unknown reason");
	return 0;
}

/* Return: 0, or -1 with errno. */
int gcl_collect(struct gca_arena *a, uint32_t flags, bool paced)
{
	unsigned int tries;
	int err = 0;

	if (gcl_dead(a))
		return -1;
	for (tries = 0; !err && tries < GCL_COLLECT_TRIES; tries++) {
		err = collect_once(a, flags, paced);
		if (err || flags & GCARENA_COLLECT_ASYNC || !gcl_roots_missed(a))
			break;
		/* Marking goes on: new ranges are scanned when they are added. */
		if (flags & GCARENA_COLLECT_UNTIL_MARKING)
			return gcl_roots_refresh(a);
	}
	return err;
}

int gca_collect(struct gca_arena *a, unsigned int flags)
{
	const unsigned int known = GCA_COLLECT_ASYNC | GCA_COLLECT_UNTIL_MARKING |
				   GCA_COLLECT_UNTIL_MARKED;

	if (flags & ~known)
		return gcl_fail(EINVAL, "gca_collect: flags %#x are not known", flags & ~known);
	return gcl_collect(a, flags, false);
}
