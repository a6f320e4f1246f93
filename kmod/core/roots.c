// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * roots.c: root ranges, and root jobs.
 *
 * The root set of a cycle is cut into numbered jobs (Go's markroot): each range
 * in blocks of 256 KiB, then one job a thread: registers, stack, TLS.  One
 * atomic counter hands out job numbers.  A claimed job is not a done job: its
 * state says when it is, and a job that met a page which was not there is done
 * again, with faults on, by a thread of the owner.
 *
 * The begin stop scans the ranges that the program writes with ordinary stores.  Barriered
 * ones can wait until the world runs: what is overwritten in them is in a ring, as it is
 * for heap objects.  Stacks may be left for later, too (gca_order.lazy), if only none of
 * their threads executes a user instruction before its own has been captured: a worker does
 * it, or the thread itself on its way out of the kernel, gca_roots_self(), whoever is first.
 * The thread waits for no worker; both may do it, which is harmless.  A worker's scan of a
 * stack counts only if the thread has not gone on meanwhile: if it has, the job is done
 * already, by the thread.
 *
 * Job numbers of ranges are base indices: range r has jobs first_job[r] ..
 * first_job[r + 1] - 1; barriered ranges come last.  The set of ranges is immutable and
 * replaced as a whole, so a cycle keeps working on the set it began with while the program
 * adds and removes.
 *
 * A stack that is parked is scanned from where its last word says.
 *
 * Everything is scanned conservatively: any aligned word may be a pointer, to
 * the start or the inside of an object, and, but in barriered ranges, to its end.
 */
#include "cycle.h"
#include "mark.h"
#include "span.h"
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

static void roots_put(struct gca_arena *a, struct gca_roots *r)
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
 * Words of a barriered range are like those of the heap: what is overwritten in them goes
 * through a ring, and there the end of an object is not its name.
 */
static void grey_range(struct gca_worker *w, const u64 *word, unsigned int n, u32 kind)
{
	if (kind == GCARENA_ROOT_BARRIERED)
		gca_grey_words(w, word, n);
	else
		gca_grey_conservative(w, word, n);
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
			grey_range(&w, buf, n / 8, range->kind);
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
		roots_put(a, r);
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
			roots_put(a, r);
			return err;
		}
	}
	WRITE_ONCE(a->roots, r);
	gca_op_end(a);
	roots_put(a, old);
	return 0;
}

/* ----------------------------------------------------------------- scanning */

/*
 * gca_roots_scan_range() - grey what [start, start + len) of GCARENA_ROOT_@kind names
 *
 * Return: 0; 1 if a page was not there and faults are off; < 0 if the cycle
 * has become void.
 */
int gca_roots_scan_range(struct gca_worker *w, u64 start, u64 len, u32 kind)
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
				grey_range(w, buf, kept, kind);
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
		err = gca_roots_scan_range(w, at - GCA_FRAME_ARGS, 16, GCARENA_ROOT_STACK);
	if (!err && at - lo >= GCA_FRAME_MORE)
		err = gca_roots_scan_range(w, at - GCA_FRAME_MORE, 16, GCARENA_ROOT_STACK);
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
	u64 buf[GCA_BLOCK_WORDS], pos, at, n;
	struct gca_arena *a = w->arena;
	int err = 0, kept;

	for (pos = lo; pos < hi && !err; pos += n) {
		n = min_t(u64, min_t(u64, hi - pos, sizeof(buf)), 4096 - pos % 4096);
		kept = gca_port_sift(a, buf, pos, n / 8, sp, 0);
		/* Not there, or not now: as if it were all wanted, which does what is to be done. */
		if (kept < 0)
			err = gca_roots_scan_range(w, pos, n, GCARENA_ROOT_STACK);
		for (at = pos; kept > 0 && at < pos + n && !err; at += 8)
			if (gca_port_sift(a, buf, at, 1, sp, 0) > 0)
				err = scan_frame_at(w, lo, at);
		if (!err && !(pos % (64 << 10)) && gca_give_up(a))
			return -EINTR;
	}
	return err;
}

static int scan_stack(struct gca_worker *w, const struct gca_mutator *m,
		      const struct gca_stack *s)
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
		err = gca_roots_scan_range(w, s->area[i].lo, s->area[i].hi - s->area[i].lo,
					   GCARENA_ROOT_STACK);
		/* glibc puts it at the end of a stack that it has made. */
		tls &= m->tls_lo < s->area[i].lo || m->tls_hi > s->area[i].hi;
	}
	if (!err && tls)
		err = gca_roots_scan_range(w, m->tls_lo, m->tls_hi - m->tls_lo,
					   GCARENA_ROOT_STACK);
	if (unlikely(s->unknown)) {
		atomic64_inc(&w->arena->totals.unknown_stacks);
		atomic64_add(s->cut, &w->arena->totals.cut_stacks);
	}
	return err;
}

/*
 * Scan a held thread, or one that has not been let go.  The scan counts only if the
 * thread has not moved meanwhile (review-2, 3): else the job is done again.
 */
static int scan_thread(struct gca_worker *w, struct gca_mutator *m)
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
	err = scan_stack(w, m, &s);
	if (!err && !gca_port_stack_same(w->arena, m))
		err = -EAGAIN;
	return err;
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

/*
 * gca_roots_thread() - the thread of the @i-th stack job
 * @m: out: to be given back by gca_port_mutator_put(); NULL: detached since
 *
 * Detach takes it out of the table under the lock, and then lets go of it.  Without a
 * table, or while a new one is being made, there are none.  Return: false beyond the last.
 */
bool gca_roots_thread(struct gca_arena *a, u32 i, struct gca_mutator **m)
{
	bool there;

	gca_spin_lock(&a->mutators_lock);
	there = a->job_mutator && i < a->nr_jobs - a->nr_range_jobs;
	*m = there ? a->job_mutator[i] : NULL;
	if (*m)
		gca_port_mutator_get(a, *m);
	gca_spin_unlock(&a->mutators_lock);
	return there;
}

/* Which range does job @j belong to? */
static u32 range_of_job(const struct gca_roots *r, u32 j)
{
	u32 lo = 0, hi = r->n;

	while (hi - lo > 1) {
		u32 mid = (lo + hi) / 2;

		if (r->first_job[mid] <= j)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* From where on is the stack @r in use?  Unreadable: as a whole, and be told so again. */
static int stack_low(struct gca_worker *w, const struct gcarena_range *r, u64 *lo)
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

static int job_run(struct gca_worker *w, u32 j)
{
	const struct gca_roots *r = w->arena->cycle_roots;
	struct gca_arena *a = w->arena;
	const struct gcarena_range *range;
	struct gca_mutator *m;
	u64 lo, hi, in_use;
	u32 i;
	int err;

	if (j >= a->nr_range_jobs) {
		gca_roots_thread(a, j - a->nr_range_jobs, &m);
		if (!m)
			return 0;
		err = scan_thread(w, m);
		gca_port_mutator_put(a, m);
		return err;
	}
	i = range_of_job(r, j);
	range = &r->range[i];
	lo = range->start + (u64)(j - r->first_job[i]) * GCA_ROOT_BLOCK;
	hi = min(lo + GCA_ROOT_BLOCK, range->start + range->len);
	if (range->kind == GCARENA_ROOT_STACK) {
		err = stack_low(w, range, &in_use);
		if (err)
			return err;
		lo = max(lo, in_use);
	}
	return lo < hi ? gca_roots_scan_range(w, lo, hi - lo, range->kind) : 0;
}

/*
 * A claimed job has been run.  Its thread may have done it meanwhile, gca_roots_self():
 * then it is done, and what we found may be of a later time and does not count.
 */
static void job_finish(struct gca_arena *a, u32 j, int err)
{
	bool later = err == -EAGAIN && READ_ONCE(a->stacks_lazy), ours;
	u8 state = !err ? GCA_JOB_DONE : later ? GCA_JOB_TODO : GCA_JOB_MISSED;

	if (state == GCA_JOB_MISSED)
		atomic_inc(&a->jobs_missed);
	/* What the job greyed, and the count, before the state that says so. */
	ours = cmpxchg(&a->job_state[j], GCA_JOB_CLAIMED, state) == GCA_JOB_CLAIMED;
	if (state == GCA_JOB_MISSED && !ours)
		atomic_dec(&a->jobs_missed);
	else if (state == GCA_JOB_MISSED)
		gca_port_missed(a);
	if (state != GCA_JOB_DONE || !ours)
		return;
	atomic_inc(&a->jobs_done);
}

/** gca_roots_there() - is there a root job for one worker more? */
bool gca_roots_there(struct gca_arena *a)
{
	u32 jobs = READ_ONCE(a->nr_jobs);

	return (u32)atomic_read(&a->next_job) < READ_ONCE(a->ranges_open) ||
	       (READ_ONCE(a->stacks_open) && (u32)atomic_read(&a->next_stack) < jobs &&
		(u32)atomic_read(&a->jobs_done) < jobs);
}

/*
 * gca_roots_again() - in a stop, before workers are asked: stacks that were put back
 *
 * By one who took a job while the world ran, and has only now found that it could not
 * do it.  What is done is not done again.
 */
void gca_roots_again(struct gca_arena *a)
{
	if (a->stacks_open)
		atomic_set(&a->next_stack, a->nr_range_jobs);
}

/** gca_roots_left() - are root jobs that may be done not done yet? */
bool gca_roots_left(struct gca_arena *a)
{
	u32 open = a->ranges_open + (a->stacks_open ? a->nr_jobs - a->nr_range_jobs : 0);

	/* What is not open has not been done by anybody: it opens when a stop ends. */
	return (u32)atomic_read(&a->jobs_done) < open;
}

/* A job that nobody has taken: ranges first, then stacks if they may be done. */
static bool job_take(struct gca_arena *a, u32 *j)
{
	u32 open = READ_ONCE(a->ranges_open), next;

	/* Not an addition: those beyond are for later. */
	while ((next = atomic_read(&a->next_job)) < open)
		if ((u32)atomic_cmpxchg(&a->next_job, next, next + 1) == next) {
			*j = next;
			return true;
		}
	if (!READ_ONCE(a->stacks_open) || (u32)atomic_read(&a->next_stack) >= a->nr_jobs)
		return false;
	*j = atomic_fetch_add(1, &a->next_stack);
	return *j < a->nr_jobs;
}

/* One that is not done: a stack's own thread may have been quicker. */
static bool job_claim(struct gca_arena *a, u32 *j)
{
	while (job_take(a, j))
		if (cmpxchg(&a->job_state[*j], GCA_JOB_TODO, GCA_JOB_CLAIMED) == GCA_JOB_TODO)
			return true;
	return false;
}

static bool slice_over(const struct gca_worker *w)
{
	return w->slice_end && (gca_port_now() >= w->slice_end ||
				(w->mode == GCA_MARK_IDLE && gca_port_contended()));
}

/*
 * gca_roots_mark() - do root jobs until none is left
 *
 * Return: false if told to give up, or the slice is over.
 */
bool gca_roots_mark(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	u32 j;

	while (job_claim(a, &j)) {
		job_finish(a, j, job_run(w, j));
		if (gca_give_up(a) || slice_over(w))
			return false;
	}
	return true;
}

/* ------------------------------------------------- stacks that are left for later */

/*
 * gca_roots_later() - at the end of the begin stop: workers may do everything
 *
 * Not earlier, with @stacks: what a thread finds on its stack can be greyed when the
 * snapshot has been made.
 */
void gca_roots_later(struct gca_arena *a, bool stacks)
{
	struct gca_mutator *m;

	WRITE_ONCE(a->ranges_open, a->nr_range_jobs);
	if (!stacks)
		return;
	/* And each thread owes its own. */
	WRITE_ONCE(a->stacks_lazy, true);
	WRITE_ONCE(a->stacks_open, true);
	list_for_each_entry(m, &a->mutators, link)
		/* Snapshot and jobs before; pairs with gca_roots_self(). */
		smp_store_release(&m->owes, a->epoch);
}

/*
 * Is this stack still to be done?  Of a cycle that is over there is nothing, and no
 * table of jobs: it goes under the lock, gca_roots_release().
 */
static bool self_owes(struct gca_mutator *m, u64 epoch)
{
	struct gca_arena *a = m->arena;
	bool owes;

	gca_spin_lock(&a->mutators_lock);
	owes = a->job_mutator && READ_ONCE(a->epoch) == epoch && !READ_ONCE(a->void_reason) &&
	       READ_ONCE(a->job_state[m->job]) != GCA_JOB_DONE;
	gca_spin_unlock(&a->mutators_lock);
	return owes;
}

static void self_scan(struct gca_mutator *m, u64 epoch)
{
	struct gca_arena *a = m->arena;
	struct gca_meter meter = gca_meter_begin();
	struct gca_worker w;
	struct gca_stack s = {};
	u8 was;
	int err;

	/* Of a cycle that is over: takes no buffer of the next one's. */
	if (!self_owes(m, epoch))
		return;
	/*
	 * Counted, then looked: not done, so the cycle is not over, and it will not
	 * end before we are counted out.  (Who sets the state to done is counted
	 * before and leaves after: gca_work_left() cannot have seen all jobs done and
	 * no marker, and we the state of before.)
	 */
	gca_worker_init(&w, a, false, GCA_MARK_SELF);
	w.faulting = true;
	if (!self_owes(m, epoch))
		goto out;
	gca_grey_conservative(&w, &m->newborn, 1);
	err = gca_port_stack_self(a, m, &s);
	if (!err)
		err = scan_stack(&w, m, &s);
	else if (err == -EIO)
		gca_cycle_void(a, GCARENA_VOID_UNREADABLE);
	if (err && err != -ESRCH)
		goto out;	/* the cycle is void */
	was = xchg(&a->job_state[m->job], GCA_JOB_DONE);
	if (was == GCA_JOB_MISSED)
		atomic_dec(&a->jobs_missed);
	if (was != GCA_JOB_DONE)
		atomic_inc(&a->jobs_done);
	atomic64_inc(&a->totals.self_scans);
out:
	gca_worker_fini(&w);
	gca_meter_end(a, &meter, GCA_MARK_SELF, 0);
}

/**
 * gca_roots_self() - capture the calling thread's own stack, if it owes that
 * @m: the caller's; it does not detach meanwhile
 *
 * Before the thread executes a user instruction after a begin stop that left stacks
 * for later, and before it detaches.  Faults and sleeps.  On return the stack has been
 * captured, or the cycle is over.
 */
void gca_roots_self(struct gca_mutator *m)
{
	u64 epoch;

	/* acquire: pairs with gca_roots_owe(); 0: what a worker read, it has read */
	while ((epoch = smp_load_acquire(&m->owes))) {
		self_scan(m, epoch);
		/* Another cycle may have begun since: then once more. */
		cmpxchg(&m->owes, epoch, 0);
	}
}

/** gca_roots_missed() - do missed jobs again, in the owner's context with faults on */
bool gca_roots_missed(struct gca_worker *w)
{
	struct gca_arena *a = w->arena;
	bool faulting = w->faulting;
	u32 j;

	if (!atomic_read(&a->jobs_missed))
		return true;
	w->faulting = true;
	for (j = 0; j < a->nr_jobs; j++) {
		/* Claimed: two threads may serve. */
		if (READ_ONCE(a->job_state[j]) != GCA_JOB_MISSED ||
		    cmpxchg(&a->job_state[j], GCA_JOB_MISSED, GCA_JOB_CLAIMED) != GCA_JOB_MISSED)
			continue;
		atomic_dec(&a->jobs_missed);
		w->nr_missed++;
		job_finish(a, j, job_run(w, j));
		if (gca_give_up(a))
			break;
	}
	w->faulting = faulting;
	return j == a->nr_jobs;
}

/* -------------------------------------------------------------- preparation */

/*
 * gca_roots_prepare() - memory for the jobs of the next cycle
 *
 * Outside the stop.  Return: 0 or -ENOMEM.
 */
int gca_roots_prepare(struct gca_arena *a)
{
	struct gca_roots *r;
	u32 threads, jobs;
	size_t bytes;
	void *p;

	gca_roots_release(a);
	gca_spin_lock(&a->mutators_lock);
	r = READ_ONCE(a->roots);
	if (r)
		r->refs++;
	threads = a->nr_mutators;
	gca_spin_unlock(&a->mutators_lock);
	a->cycle_roots = r;
	jobs = r ? r->jobs : 0;

	bytes = ALIGN(jobs + threads, 8) + threads * sizeof(*a->job_mutator);
	if (bytes > a->job_bytes) {
		p = gca_meta_zalloc(a, bytes);
		if (!p) {
			gca_roots_release(a);
			return -ENOMEM;
		}
		if (a->job_state)
			gca_meta_free(a, a->job_state, a->job_bytes);
		a->job_state = p;
		a->job_bytes = bytes;
	}
	/* Until gca_roots_begin() there is nothing to do, for whoever comes late. */
	if (jobs + threads)
		memset(a->job_state, GCA_JOB_DONE, jobs + threads);
	atomic_set(&a->jobs_missed, 0);
	a->nr_range_jobs = jobs;
	a->nr_jobs = jobs + threads;
	return 0;
}

/* gca_roots_open() - in a stop, before roots are marked: may stacks, or barriered ranges? */
void gca_roots_open(struct gca_arena *a, bool stacks, bool barriered)
{
	u32 open = a->nr_range_jobs;

	if (open && !barriered && !a->roots_at_once)
		open = a->cycle_roots->jobs_early;
	WRITE_ONCE(a->ranges_open, open);
	WRITE_ONCE(a->stacks_lazy, false);
	WRITE_ONCE(a->stacks_open, stacks);
	atomic_set(&a->next_stack, a->nr_range_jobs);
}

/*
 * gca_roots_begin() - in the begin stop: the jobs of this cycle
 *
 * Return: 0, or -EAGAIN if threads or ranges came since gca_roots_prepare().
 */
int gca_roots_begin(struct gca_arena *a)
{
	struct gca_mutator *m;
	u32 i = 0, threads = a->nr_jobs - a->nr_range_jobs;

	if (a->nr_mutators != threads || a->roots != a->cycle_roots)
		return -EAGAIN;
	if (a->nr_jobs)
		memset(a->job_state, GCA_JOB_TODO, a->nr_jobs);
	gca_spin_lock(&a->mutators_lock);
	a->job_mutator = (struct gca_mutator **)(a->job_state + ALIGN(a->nr_jobs, 8));
	list_for_each_entry(m, &a->mutators, link) {
		m->job = a->nr_range_jobs + i;
		a->job_mutator[i++] = m;
	}
	gca_spin_unlock(&a->mutators_lock);
	atomic_set(&a->next_job, 0);
	atomic_set(&a->jobs_done, 0);
	gca_roots_open(a, true, true);
	atomic_set(&a->jobs_missed, 0);
	WRITE_ONCE(a->totals.root_bytes, a->cycle_roots ? a->cycle_roots->bytes : 0);
	return 0;
}

/** gca_roots_release() - the cycle is over: let its set of ranges go */
void gca_roots_release(struct gca_arena *a)
{
	roots_put(a, a->cycle_roots);
	a->cycle_roots = NULL;
	/* It points into memory that gca_roots_prepare() may replace. */
	gca_spin_lock(&a->mutators_lock);
	a->job_mutator = NULL;
	gca_spin_unlock(&a->mutators_lock);
	a->nr_jobs = 0;
	a->nr_range_jobs = 0;
	WRITE_ONCE(a->ranges_open, 0);
}

/** gca_roots_fini() - with the arena */
void gca_roots_fini(struct gca_arena *a)
{
	gca_roots_release(a);
	roots_put(a, a->roots);
	a->roots = NULL;
	if (a->job_state)
		gca_meta_free(a, a->job_state, a->job_bytes);
	a->job_state = NULL;
}
