// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * scan.c: words that are roots: of a range, and of a held thread.
 *
 * Everything is scanned conservatively: any aligned word may be a pointer, to
 * the start or the inside of an object, and, but in barriered ranges, to its end.
 *
 * Memory is read without faults, where nobody but the owner's own threads could wait for
 * them; what could not be read is left to them (rootjobs.c). A thread's scan counts only if it
 * has not moved meanwhile. This file may not know whose turn it is.
 */
#include "cycle.h"
#include "mark.h"

/*
 * gca_scan_words() - grey what @n words of a range of GCARENA_ROOT_@kind name
 *
 * Words of a barriered range are like those of the heap: what is overwritten in them goes
 * through a ring, and there the end of an object is not its name.
 */
void gca_scan_words(struct gca_worker *w, const u64 *word, unsigned int n, u32 kind)
{
	if (kind == GCARENA_ROOT_BARRIERED)
		gca_grey_words(w, word, n);
	else
		gca_grey_conservative(w, word, n);
}

/*
 * gca_scan_range() - grey what [start, start + len) of GCARENA_ROOT_@kind names
 *
 * Return: 0; 1 if a page was not there and faults are off; < 0 if the cycle
 * has become void.
 */
int gca_scan_range(struct gca_worker *w, u64 start, u64 len, u32 kind)
{
	enum gca_scan what = kind == GCARENA_ROOT_STACK ? GCA_SCAN_STACK : GCA_SCAN_RANGE;
	u64 buf[GCA_BLOCK_WORDS], pos = start, end = start + len, n;
	struct gca_arena *a = w->arena;
	int err, kept;

	while (pos < end) {
		n = min_t(u64, min_t(u64, end - pos, sizeof(buf)), 4096 - pos % 4096);
		err = 0;
		kept = gca_port_sift(a, buf, pos, n / 8, a->base, a->size);
		if (kept < 0 && !w->faulting)
			return 1;
		if (kept < 0) {
			err = gca_port_copy(a, buf, pos, n);
			kept = n / 8;
		}
		if (!err) {
			if (kept)
				gca_scan_words(w, buf, kept, kind);
			w->scanned[what] += n;
			pos += n;
		} else {
			if (err == -EFAULT)
				err = gca_port_unreadable(a, pos);
			if (err) {
				gca_cycle_void(a, err == -EINTR ? GCARENA_VOID_KILLED :
								  GCARENA_VOID_UNREADABLE);
				return err;
			}
			w->leaves++;
			pos = (pos | 4095) + 1;
		}
		/* Who scans its own stack may have slept since the cycle began. */
		if (!(pos % (64 << 10)) &&
		    (w->mode == GCA_MARK_SELF ? gca_told_to_stop(a) : gca_give_up(a)))
			return -EINTR;
	}
	return 0;
}

/* Of a signal's frame that has its stack pointer at @at; from @lo on it may be read. */
static int scan_frame_at(struct gca_worker *w, u64 lo, u64 at)
{
	int err = 0;

	if (at - lo >= GCA_FRAME_ARGS)
		err = gca_scan_range(w, at - GCA_FRAME_ARGS, 16, GCARENA_ROOT_STACK);
	if (!err && at - lo >= GCA_FRAME_MORE)
		err = gca_scan_range(w, at - GCA_FRAME_MORE, 16, GCARENA_ROOT_STACK);
	return err;
}

/*
 * Look in [@lo, @hi) for a frame of @sp, see struct gca_stack.  All else in it is of frames
 * that are done with, and often enough of the thread's last one, for an interrupt of a
 * loop finds it at the same stack pointer time and again: what that has would be kept
 * for as long as the thread is interrupted.
 */
static int scan_frames(struct gca_worker *w, u64 lo, u64 hi, u64 sp)
{
	u64 buf[GCA_BLOCK_WORDS], pos, n;
	struct gca_arena *a = w->arena;
	int err = 0, i, words;

	for (pos = lo; pos < hi && !err; pos += n) {
		n = min_t(u64, min_t(u64, hi - pos, sizeof(buf)), 4096 - pos % 4096);
		words = gca_port_sift(a, buf, pos, n / 8, 0, U64_MAX);
		/* There may be a frame that begins before what is not there now: all is wanted. */
		if (words < 0)
			return gca_scan_range(w, lo, hi - lo, GCARENA_ROOT_STACK);
		for (i = 0; i < words && !err; i++)
			if (buf[i] == sp)
				err = scan_frame_at(w, lo, pos + 8 * i);
		if (!err && !(pos % (64 << 10)) && gca_give_up(a))
			return -EINTR;
	}
	return err;
}

/* gca_scan_stack() - what gca_port_stack() says of a held thread; as gca_scan_range() */
int gca_scan_stack(struct gca_worker *w, const struct gca_mutator *m, const struct gca_stack *s)
{
	unsigned int i, certain = s->nr_areas - s->nr_doubtful;
	bool tls = m->tls_lo < m->tls_hi;
	int err = 0;

	gca_grey_conservative(w, s->regs, s->nr_regs);
	for (i = 0; i < s->nr_areas && !err; i++) {
		if (s->frame && i >= certain) {
			err = scan_frames(w, s->area[i].lo, s->area[i].hi, s->frame);
			continue;
		}
		err = gca_scan_range(w, s->area[i].lo, s->area[i].hi - s->area[i].lo,
				     GCARENA_ROOT_STACK);
		/* glibc puts it at the end of a stack that it has made. */
		tls &= m->tls_lo < s->area[i].lo || m->tls_hi > s->area[i].hi;
	}
	if (!err && tls)
		err = gca_scan_range(w, m->tls_lo, m->tls_hi - m->tls_lo, GCARENA_ROOT_STACK);
	if (unlikely(s->unknown)) {
		atomic64_inc(&w->arena->totals.unknown_stacks);
		atomic64_add(s->cut, &w->arena->totals.cut_stacks);
	}
	return err;
}

/*
 * gca_scan_thread() - a held thread, or one that has not been let go
 *
 * The scan counts only if the thread has not moved meanwhile (review-2, 3).  Return: as
 * gca_scan_range(); -EAGAIN if it has, or is hard to read just now: to be done again.
 */
int gca_scan_thread(struct gca_worker *w, struct gca_mutator *m)
{
	/* acquire: 0: the thread has been told, so the address is in its memory */
	u64 newborn = smp_load_acquire(&m->newborn);
	struct gca_stack s = {};
	int err;

	gca_grey_conservative(w, &newborn, 1);
	err = gca_port_stack(w->arena, m, &s);
	if (err == -EIO)
		gca_cycle_void(w->arena, GCARENA_VOID_UNREADABLE);
	if (err)
		return err == -ESRCH ? 0 : -EAGAIN;
	err = gca_scan_stack(w, m, &s);
	if (!err && !gca_port_stack_same(w->arena, m))
		err = -EAGAIN;
	return err;
}

/*
 * gca_scan_low() - from where on is the stack @r in use?
 *
 * Unreadable: as a whole, and be told so again.  Return: 0; 1 as gca_scan_range().
 */
int gca_scan_low(struct gca_worker *w, const struct gcarena_range *r, u64 *lo)
{
	u64 at = r->start + r->len - sizeof(u64), sp = 0;

	if (gca_port_sift(w->arena, &sp, at, 1, 0, U64_MAX) < 0) {
		if (!w->faulting)
			return 1;
		gca_port_copy(w->arena, &sp, at, sizeof(sp));
	}
	*lo = gca_stack_low(r->start, r->start + r->len, sp);
	return 0;
}
