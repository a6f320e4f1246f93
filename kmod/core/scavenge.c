// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * scavenge.c: free pages go back to the system.
 *
 * The kernel cannot return another thread's pages (no madvise is exported), and
 * an unlocked madvise by the library would race with a refill.  So runs are
 * taken out of the page heap, handed to a library thread in SERVE, which calls
 * madvise, and come back with its next call as known zero.  Runs that are never
 * acknowledged stay out: the program has harmed itself only.
 *
 * How much: what the heap will not need before the next cycle ends, plus ten
 * per cent (Go's retainExtraPercent).  A heap that went beyond its goal before its
 * last cycles began will do so again; after a cycle that the program asked for, all
 * goes.  When: a heap that stays just above that would give back each 64 KiB that it
 * frees, and fault them in again; so nothing goes before there is a batch, then all of
 * it.
 *
 * It goes slowly, in pieces, with pauses that leave it a hundredth of a processor's time (Go's
 * background scavenger): who returns pages keeps others from changing the program's mappings.
 * Not so after a cycle that the program asked for.
 *
 * With a memory limit what is beyond 95 per cent of it goes (Go's reduceExtraPercent), whatever
 * the heap will need, at once, and while a cycle marks, too: who allocates is told
 * (GCARENA_WANT_SERVE), and the pager woken.  For that huge pages are broken.
 */
#include "cycle.h"
#include "pageheap.h"

#define MIN_PAGES	GCA_SL	/* 64 KiB: shorter runs are not worth a system call */
#define PIECE_PAGES	(2 * GCA_HUGE_PAGES)	/* 4 MiB */
#define REST		99	/* times as long as a piece has taken */
#define REST_MAX	1000000000ULL	/* ns */
#define VAIN		10000000ULL	/* after a try in vain, ns */
#define LIMIT_PERCENT	95	/* of the memory limit */

/* Free pages that may stay by the memory limit.  U32_MAX: there is none. */
static u32 limit_pages(struct gca_arena *a)
{
	u64 limit = READ_ONCE(a->knob.memlimit) / 100 * LIMIT_PERCENT, used;

	if (!limit)
		return U32_MAX;
	used = ((u64)READ_ONCE(a->heap.inuse) << GCARENA_PAGE_SHIFT) + READ_ONCE(a->metadata);
	return min_t(u64, (limit - min(limit, used)) >> GCARENA_PAGE_SHIFT, U32_MAX);
}

/* Dirty free pages worth keeping. */
static u32 keep_pages(struct gca_arena *a)
{
	u64 peak = max(READ_ONCE(a->heap_goal), READ_ONCE(a->heap_peak)), want = peak + peak / 10;
	u64 inuse = (u64)READ_ONCE(a->heap.inuse) << GCARENA_PAGE_SHIFT;

	if (want <= inuse)
		return 0;
	return min_t(u64, (want - inuse) >> GCARENA_PAGE_SHIFT, a->heap.npages);
}

/* How many more than these there must be before any goes. */
static u32 batch_pages(struct gca_arena *a)
{
	u64 goal = READ_ONCE(a->heap_goal) >> GCARENA_PAGE_SHIFT;

	return clamp_t(u64, goal / 64, GCA_HUGE_PAGES, a->heap.npages);
}

/**
 * struct plan - what is to be returned
 * @keep: free pages that stay
 * @limited: a memory limit wants it
 * @slowly: at the background's pace
 */
struct plan {
	u32 keep;
	bool limited, slowly;
};

/* Return: false if there is nothing. */
static bool plan(struct gca_arena *a, struct plan *p)
{
	u32 least = READ_ONCE(a->heap.giving) ? MIN_PAGES : batch_pages(a);
	u32 dirty = READ_ONCE(a->heap.free_dirty), limit = limit_pages(a);

	if (!gca_pages_has_run(a))
		return false;
	p->limited = dirty > limit && dirty - limit > MIN_PAGES;
	p->slowly = false;
	p->keep = limit;
	if (p->limited)
		return true;
	if (READ_ONCE(a->phase) != GCARENA_PHASE_OFF || atomic64_read(&a->unswept) ||
	    !READ_ONCE(a->totals.cycles))
		return false;
	p->slowly = READ_ONCE(a->heap_peak);
	p->keep = keep_pages(a);
	return dirty > p->keep + least;
}

/* As gca_scavenge_due().  @p: out: what is due then */
static u64 plan_due(struct gca_arena *a, struct plan *p, bool patient)
{
	u64 until = READ_ONCE(a->heap.vain_until), now;

	if (!plan(a, p))
		return U64_MAX;
	if (p->slowly && patient)
		until = max(until, READ_ONCE(a->heap.rest_until));
	now = gca_port_now();
	return until - min(until, now);
}

/**
 * gca_scavenge_due() - when should a pager return pages?
 * @a: arena
 * @patient: it can wait for the background's pace
 *
 * Return: in so many ns; U64_MAX: there are not enough.
 */
u64 gca_scavenge_due(struct gca_arena *a, bool patient)
{
	struct plan p;

	return plan_due(a, &p, patient);
}

/** gca_scavenge_look() - is anything to be returned now?  And the port is told when it will be */
bool gca_scavenge_look(struct gca_arena *a)
{
	u64 due = gca_scavenge_due(a, true);

	if (due == U64_MAX)
		return false;
	/* What makes it due before a look at how long the pager sleeps, which has it reversed. */
	smp_mb();
	gca_port_return(a, due);
	return !due;
}

/**
 * gca_scavenge_take() - runs to be returned, longest first
 * @a: arena
 * @runs: out
 * @room: entries in @runs
 * @patient: as with gca_scavenge_due()
 *
 * In an operation of the caller's choosing or none: the page heap's lock is
 * enough.  Return: runs taken.
 */
u32 gca_scavenge_take(struct gca_arena *a, struct gcarena_run *runs, u32 room, bool patient)
{
	u64 now = gca_port_now(), due;
	bool more = false;
	struct plan p;
	u32 n, dirty;

	due = plan_due(a, &p, patient);
	if (due == U64_MAX) {
		WRITE_ONCE(a->heap.giving, false);
		return 0;
	}
	if (due || !room)
		return 0;
	dirty = READ_ONCE(a->heap.free_dirty);
	if (p.slowly && dirty - min(dirty, p.keep) > PIECE_PAGES) {
		p.keep = dirty - PIECE_PAGES;
		more = true;
	}
	a->heap.taken_at = p.slowly ? now : 0;
	n = gca_pages_take_dirty(a, MIN_PAGES, runs, room, p.keep, p.limited);
	/* All of the room was used: there may be more. */
	WRITE_ONCE(a->heap.giving, n && (more || n == room));
	/* Enough in all, but no run that is worth a system call: nobody is to spin for that. */
	if (!n)
		WRITE_ONCE(a->heap.vain_until, now + VAIN);
	return n;
}

/*
 * gca_scavenge_done() - runs from gca_scavenge_take() have been returned
 *
 * @runs is the port's own copy of what it handed out, not what the program says.
 */
void gca_scavenge_done(struct gca_arena *a, const struct gcarena_run *runs, u32 n)
{
	u64 now = gca_port_now(), at = a->heap.taken_at;
	u32 i;

	if (at && n)
		WRITE_ONCE(a->heap.rest_until, now + min((now - min(now, at)) * REST, REST_MAX));
	for (i = 0; i < n; i++)
		gca_pages_put_clean(a, (runs[i].start - a->base) >> GCARENA_PAGE_SHIFT,
				    runs[i].len >> GCARENA_PAGE_SHIFT);
}

/*
 * gca_lent_take() - runs for a reply of SERVE: those of a lost reply first
 *
 * @room: of the reply.  Return: how many, from the first of @l->run on; they stay there until
 * gca_lent_done().
 */
u32 gca_lent_take(struct gca_arena *a, struct gca_lent *l, u32 room, bool patient)
{
	/* It asks for none: what it has been given stays given. */
	if (!room)
		return 0;
	if (!l->n)
		l->n = gca_scavenge_take(a, l->run, room, patient);
	l->given = min(l->n, room);
	return l->given;
}

/*
 * gca_lent_done() - the program has returned the runs of the last reply: they are zero now
 *
 * Return: 0, or -EINVAL if there were not @nr_done of them; 0 is none, whatever there were.
 */
int gca_lent_done(struct gca_arena *a, struct gca_lent *l, u32 nr_done)
{
	if (!nr_done)
		return 0;
	if (nr_done != l->given)
		return -EINVAL;
	gca_scavenge_done(a, l->run, l->given);
	l->n -= l->given;
	memmove(l->run, l->run + l->given, l->n * sizeof(l->run[0]));
	l->given = 0;
	return 0;
}
