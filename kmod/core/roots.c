// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * roots.c: the set of root ranges.
 *
 * The set is immutable and replaced as a whole, so a cycle keeps working on the set it
 * began with while the program adds and removes. A range is a number of root jobs of its
 * own (rootjobs.c): range r has jobs first_job[r] .. first_job[r + 1] - 1; barriered ranges
 * come last.
 *
 * While marking, a range that comes or goes is scanned by who says so. Nothing else here
 * may look at what is in a range.
 */
#include "cycle.h"
#include "workbuf.h"

/* ------------------------------------------------------------- the ranges */

static int range_cmp(const void *x, const void *y)
{
	const struct gcarena_range *a = x, *b = y;
	bool late_a = a->kind == GCARENA_ROOT_BARRIERED;
	bool late_b = b->kind == GCARENA_ROOT_BARRIERED;

	if (late_a != late_b)
		return late_a ? 1 : -1;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return (int)a->kind - (int)b->kind;
}

static int range_check(const struct gcarena_range *r)
{
	u64 end;

	if (r->__reserved || r->kind > GCARENA_ROOT_STACK || !r->len ||
	    (r->start | r->len) % 8 || check_add_overflow(r->start, r->len, &end) ||
	    end > U64_MAX - 4096)
		return -EINVAL;
	return r->len > GCARENA_ROOT_BYTES_MAX ? -ENOSPC : 0;
}

static size_t roots_bytes(u32 n)
{
	return sizeof(struct gca_roots) + n * sizeof(struct gcarena_range) +
	       (n + 1) * sizeof(u32);
}

void gca_roots_put(struct gca_arena *a, struct gca_roots *r)
{
	u32 left;

	if (!r)
		return;
	gca_spin_lock(&a->mutators_lock);
	left = --r->refs;
	gca_spin_unlock(&a->mutators_lock);
	if (!left)
		gca_meta_free(a, r, r->alloc_bytes);
}

#define RANGE_GONE	1	/* in gcarena_range.__reserved, while merging */

/* One that is equal to @key and not gone, of the @n sorted ones; @n: there is none. */
static u32 range_find(const struct gca_roots *r, u32 n, const struct gcarena_range *key)
{
	u32 lo = 0, hi = n;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (range_cmp(&r->range[mid], key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < n && !range_cmp(&r->range[lo], key); lo++)
		if (r->range[lo].__reserved != RANGE_GONE)
			return lo;
	return n;
}

/* Take @del out of, and @add into, a copy of @old. */
static int roots_merge(struct gca_roots *r, const struct gca_roots *old,
		       const struct gcarena_range *add, u32 nr_add,
		       const struct gcarena_range *del, u32 nr_del)
{
	u32 i, j, n = old ? old->n : 0;
	u64 blocks;

	if (n)
		memcpy(r->range, old->range, n * sizeof(*add));
	for (i = 0; i < nr_del; i++) {
		j = range_find(r, n, &del[i]);
		if (j == n)
			return -ENOENT;
		r->range[j].__reserved = RANGE_GONE;
	}
	for (i = 0, j = 0; i < n; i++)
		if (r->range[i].__reserved != RANGE_GONE)
			r->range[j++] = r->range[i];
	n = j;
	if (nr_add)
		memcpy(&r->range[n], add, nr_add * sizeof(*add));
	r->n = n + nr_add;
	if (r->n > 1)
		sort(r->range, r->n, sizeof(*add), range_cmp, NULL);
	r->first_job = (u32 *)&r->range[r->n];
	for (i = 0, blocks = 0; i < r->n; i++) {
		r->first_job[i] = blocks;
		r->bytes += r->range[i].len;
		blocks += DIV_ROUND_UP(r->range[i].len, GCA_ROOT_BLOCK);
		if (r->range[i].kind != GCARENA_ROOT_BARRIERED) {
			r->n_early = i + 1;
			r->jobs_early = blocks;
		}
	}
	r->first_job[r->n] = blocks;
	r->jobs = blocks;
	return r->n > GCARENA_ROOTS_MAX || r->bytes > GCARENA_ROOT_BYTES_MAX ? -ENOSPC : 0;
}

/*
 * Scan a range while the world runs: words are copied with faults on between
 * operations and greyed inside one, so that nothing is marked after the phase
 * has changed.  Return: 0, also if the cycle ended meanwhile; or as gca_op_begin().
 */
static int scan_between_ops(struct gca_arena *a, const struct gcarena_range *range)
{
	u64 buf[GCA_BLOCK_WORDS], pos, n, end = range->start + range->len;
	struct gca_worker w;
	int err, bad = 0;
	bool marking;

	for (pos = range->start; pos < end; pos += n) {
		n = min_t(u64, min_t(u64, end - pos, sizeof(buf)), 4096 - pos % 4096);
		err = gca_port_copy(a, buf, pos, n);
		if (err == -EINTR)
			return err;
		if (err) {
			n = 4096 - pos % 4096;
			bad = gca_port_unreadable(a, pos);
		}
		if (gca_port_relax(a))
			return -EINTR;
		if (err && !bad)
			continue;	/* a leaf: nothing to lose there */
		err = gca_op_begin(a);
		if (err)
			return err;
		marking = a->phase == GCARENA_PHASE_MARK;
		if (marking && bad) {
			gca_cycle_void(a, GCARENA_VOID_UNREADABLE);
		} else if (marking) {
			gca_worker_init(&w, a, false, 0);
			gca_scan_words(&w, buf, n / 8, range->kind);
			gca_worker_fini(&w);
		}
		gca_op_end(a);
		if (!marking || bad)
			break;
	}
	return 0;
}

/*
 * gca_roots_update() - remove ranges, then add others: all or nothing
 *
 * Calls are serialised by the port; made in the owner's context, faults on.
 * While marking, what is removed is scanned before it goes (its pointers may
 * be in no other place that will be scanned), and what is added is scanned when
 * it comes.
 *
 * Return: 0; -EINVAL for a malformed range; -ENOENT for one to be removed that
 * is not there; -ENOSPC beyond the limits; -ENOMEM; or as gca_op_begin().
 */
int gca_roots_update(struct gca_arena *a, const struct gcarena_range *add, u32 nr_add,
		     const struct gcarena_range *del, u32 nr_del)
{
	struct gca_roots *old = a->roots, *r;
	u64 scanned = 0;	/* the epoch, which is not 0 while marking */
	size_t bytes;
	u32 i;
	int err;

	for (i = 0; i < nr_add; i++) {
		err = range_check(&add[i]);
		if (err)
			return err;
	}
	bytes = roots_bytes((old ? old->n : 0) + nr_add);
	r = gca_meta_zalloc(a, bytes);
	if (!r)
		return -ENOMEM;
	r->alloc_bytes = bytes;
	r->refs = 1;
	err = roots_merge(r, old, add, nr_add, del, nr_del);
	if (!err)
		err = gca_op_begin(a);
	if (err) {
		gca_roots_put(a, r);
		return err;
	}

	/*
	 * Not counted as a marker: a termination that waited for us, with the
	 * gate closed while we wait for the gate, would wait for ever.  So the
	 * cycle may end between two operations, and another begin: then again.
	 */
	while (a->phase == GCARENA_PHASE_MARK && a->epoch != scanned) {
		scanned = a->epoch;
		gca_op_end(a);
		for (i = 0; i < nr_del && !err; i++)
			err = scan_between_ops(a, &del[i]);
		for (i = 0; i < nr_add && !err; i++)
			err = scan_between_ops(a, &add[i]);
		if (!err)
			err = gca_op_begin(a);
		if (err) {
			gca_roots_put(a, r);
			return err;
		}
	}
	WRITE_ONCE(a->roots, r);
	gca_op_end(a);
	gca_roots_put(a, old);
	return 0;
}

/**
 * gca_roots_stack() - the stack among the roots of this cycle that @sp is in, or NULL
 * @a: arena
 * @sp: address
 *
 * For ports, while the world is stopped.  Where other ranges begin within a stack,
 * it may not be found.
 */
const struct gcarena_range *gca_roots_stack(const struct gca_arena *a, u64 sp)
{
	const struct gca_roots *r = a->cycle_roots;
	u32 lo = 0, hi = r ? r->n_early : 0;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (r->range[mid].start <= sp)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || r->range[lo - 1].kind != GCARENA_ROOT_STACK ||
	    sp - r->range[lo - 1].start >= r->range[lo - 1].len)
		return NULL;
	return &r->range[lo - 1];
}
