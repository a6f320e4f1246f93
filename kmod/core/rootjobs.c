// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * rootjobs.c: root jobs: who scans what, and when.
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
 * A stack that is parked is scanned from where its last word says.
 */
#include "cycle.h"
#include "mark.h"
#include "workbuf.h"

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
		err = gca_scan_thread(w, m);
		gca_port_mutator_put(a, m);
		return err;
	}
	i = range_of_job(r, j);
	range = &r->range[i];
	lo = range->start + (u64)(j - r->first_job[i]) * GCA_ROOT_BLOCK;
	hi = min(lo + GCA_ROOT_BLOCK, range->start + range->len);
	if (range->kind == GCARENA_ROOT_STACK) {
		err = gca_scan_low(w, range, &in_use);
		if (err)
			return err;
		lo = max(lo, in_use);
	}
	return lo < hi ? gca_scan_range(w, lo, hi - lo, range->kind) : 0;
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
		err = gca_scan_stack(&w, m, &s);
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
	gca_roots_put(a, a->cycle_roots);
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
	gca_roots_put(a, a->roots);
	a->roots = NULL;
	if (a->job_state)
		gca_meta_free(a, a->job_state, a->job_bytes);
	a->job_state = NULL;
}
