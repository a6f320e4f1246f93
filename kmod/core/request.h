/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * request.h: what is asked of those who serve an arena: cycles, of who runs them, and looks
 * at the plain roots, of the pager.
 *
 * Who waits for whom, and how, is the port's: all of this is under locks of its, and it
 * wakes who is to be woken.
 */
#ifndef GCA_REQUEST_H
#define GCA_REQUEST_H

#include "core.h"

/**
 * struct gca_request - a COLLECT that waits
 * @link: in the arena's queue, then with what was taken of it
 * @order: what is asked for
 * @done: the rest is valid; written last
 * @ret: 0 or -errno
 * @cycle: number of the cycle that ran
 * @void_reason: of it
 */
struct gca_request {
	struct list_head link;
	struct gca_order order;
	bool done;
	int ret;
	u64 cycle;
	u32 void_reason;
};

struct gca_order gca_order_of(const struct gcarena_collect *req, u64 timeout_ns);
struct gca_order gca_order_paced(u64 timeout_ns);
bool gca_requests_take(struct list_head *queue, struct list_head *taken, struct gca_order *o);
void gca_request_done(struct gca_arena *a, struct gca_request *r, int ret, bool ran);

/**
 * struct gca_look - a look that is asked of the pager; all zero: none ever was
 * @what: GCARENA_SERVE_REFRESH or _COMPARE, and _HOLD; 0: nothing, or it has answered.
 *	Also read without the lock, as is
 * @given: it has been told
 * @changed: its answer
 *
 * It is told in the reply of a SERVE; the next SERVE is the answer.
 */
struct gca_look {
	u32 what;
	bool given, changed;
};

/** gca_look_ask() - ask for @what; what nobody waits for any more is forgotten */
static inline void gca_look_ask(struct gca_look *l, u32 what)
{
	WRITE_ONCE(l->what, what);
	WRITE_ONCE(l->given, false);
	l->changed = false;
}

/** gca_look_there() - what the pager is to be told; 0: nothing.  Also without the lock */
static inline u32 gca_look_there(const struct gca_look *l)
{
	return READ_ONCE(l->given) ? 0 : READ_ONCE(l->what);
}

/** gca_look_take() - it is told.  Return: what; 0: nothing */
static inline u32 gca_look_take(struct gca_look *l)
{
	u32 what = gca_look_there(l);

	if (what)
		WRITE_ONCE(l->given, true);
	return what;
}

/** gca_look_answer() - its next SERVE begins, with @flags.  Return: true if that was the answer */
static inline bool gca_look_answer(struct gca_look *l, u32 flags)
{
	if (!l->what || !l->given)
		return false;
	l->changed = flags & GCARENA_SERVE_CHANGED;
	WRITE_ONCE(l->what, 0);
	return true;
}

bool gca_look_end(struct gca_look *l);

#endif /* GCA_REQUEST_H */
