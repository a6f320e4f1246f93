// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * request.c: which of those who wait for a cycle it is for, and what becomes of a look that
 * nobody has answered.
 *
 * Nothing here waits, or knows who does.
 */
#include "request.h"

/**
 * gca_order_of() - what COLLECT asks for
 * @req: checked
 * @timeout_ns: where it says nothing
 */
struct gca_order gca_order_of(const struct gcarena_collect *req, u64 timeout_ns)
{
	struct gca_order o = {
		.until = GCA_UNTIL_SWEPT,
		.forced = !(req->flags & GCARENA_COLLECT_PACED),
		.soon = req->flags & GCARENA_COLLECT_PACED,
		.lazy = true,
		.stopped = req->flags & GCARENA_COLLECT_STOPPED,
		.sweep_stopped = req->flags & GCARENA_COLLECT_SWEEP_STOPPED,
		.timeout_ns = req->timeout_ns ? req->timeout_ns : timeout_ns,
	};

	if (req->flags & GCARENA_COLLECT_UNTIL_MARKING)
		o.until = GCA_UNTIL_MARKING;
	else if (req->flags & GCARENA_COLLECT_UNTIL_MARKED)
		o.until = GCA_UNTIL_MARKED;
	return o;
}

/** gca_order_paced() - what the trigger, or the time, asks for: nobody waits for it */
struct gca_order gca_order_paced(u64 timeout_ns)
{
	return (struct gca_order){
		.until = GCA_UNTIL_MARKED,
		.lazy = true,
		.timeout_ns = timeout_ns,
	};
}

/**
 * gca_requests_take() - the oldest, and with a whole cycle all who want one
 * @queue: of struct gca_request, oldest first
 * @taken: out: behind what is there
 * @o: out: what does for all of them
 *
 * One that ends earlier leaves something to be done, and so is nobody else's.
 * Return: false if there is none.
 */
bool gca_requests_take(struct list_head *queue, struct list_head *taken, struct gca_order *o)
{
	struct gca_request *r, *next;

	if (list_empty(queue))
		return false;
	r = list_first_entry(queue, struct gca_request, link);
	*o = r->order;
	list_move_tail(&r->link, taken);
	if (o->until != GCA_UNTIL_SWEPT)
		return true;
	list_for_each_entry_safe(r, next, queue, link) {
		if (r->order.until != GCA_UNTIL_SWEPT)
			continue;
		o->forced |= r->order.forced;
		o->soon &= r->order.soon;
		o->stopped |= r->order.stopped;
		o->sweep_stopped |= r->order.sweep_stopped;
		o->timeout_ns = max(o->timeout_ns, r->order.timeout_ns);
		list_move_tail(&r->link, taken);
	}
	return true;
}

/**
 * gca_request_done() - it may go; who waits is to be woken by the caller
 * @a: arena
 * @r: taken; not to be looked at any more
 * @ret: 0 or -errno
 * @ran: there was a cycle for it
 */
void gca_request_done(struct gca_arena *a, struct gca_request *r, int ret, bool ran)
{
	list_del(&r->link);
	r->ret = ret;
	r->cycle = READ_ONCE(a->control->cycle);
	r->void_reason = ran && !ret ? READ_ONCE(a->void_reason) : GCARENA_VOID_NONE;
	/* Pairs with who waits without the lock. */
	smp_store_release(&r->done, true);
}

/**
 * gca_look_end() - who has asked waits no longer
 * @l: what was asked
 *
 * A pager that was told to keep libraries out until it is asked again (_HOLD) is asked, however
 * late it comes; so is one that was not told, as it may keep them out since an earlier look.
 *
 * Return: true if it has answered: then @l->changed says what.
 */
bool gca_look_end(struct gca_look *l)
{
	bool answered = !l->what;

	if (l->what & GCARENA_SERVE_HOLD || (l->what & GCARENA_SERVE_COMPARE && !l->given))
		WRITE_ONCE(l->what, GCARENA_SERVE_COMPARE);
	else
		WRITE_ONCE(l->what, 0);
	WRITE_ONCE(l->given, false);
	return answered;
}
