// SPDX-License-Identifier: GPL-2.0-only
/*
 * mutator.c: threads attach, allocate, detach.
 *
 * Only the attached thread may act as its mutator: the id in a call is compared
 * with the caller, so a call needs no lock against detach.  A thread that has
 * exited is detached by the next cycle or attach: it runs no user code any more,
 * its ring is drained and its spans are taken back by us.
 *
 * Attach and detach take cycle_lock (killable): the set of mutators does not change
 * in a step of a cycle.  Looking a thread up takes the lock of the xarray only.
 *
 * It may not read the mutator area: that is the core's, which trusts nothing in
 * it.
 */
#include <linux/file.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "glue.h"

/* ------------------------------------------------------------------- references */

/** gca_thread_get() - the attached thread with this id, by any caller; or NULL */
struct gca_thread *gca_thread_get(struct gca_shell *s, u32 id)
{
	struct gca_thread *t;

	xa_lock(&s->threads);
	t = xa_load(&s->threads, id);
	if (t)
		refcount_inc(&t->refs);
	xa_unlock(&s->threads);
	return t;
}

static void gca_thread_free(struct gca_thread *t)
{
	struct file *file = t->file;

	if (t->pages.n)
		gca_pages_fini(&t->pages);
	put_task_struct(t->task);
	kvfree(t->regs);
	kfree_rcu(t, rcu);
	fput(file);	/* not at once: the shell outlives this call */
}

/** gca_thread_put() - the opposite; may be called under mmap_lock */
void gca_thread_put(struct gca_thread *t)
{
	if (refcount_dec_and_test(&t->refs))
		gca_thread_free(t);
}

/*
 * gca_thread_mine() - the caller's own mutator with this id, or NULL
 *
 * No reference: nobody but the caller detaches it while the caller runs.
 */
struct gca_thread *gca_thread_mine(struct gca_shell *s, u32 id)
{
	struct gca_thread *t;

	xa_lock(&s->threads);
	t = xa_load(&s->threads, id);
	if (t && t->task != current)
		t = NULL;
	xa_unlock(&s->threads);
	return t;
}

static void gca_thread_unlink(struct gca_shell *s, struct gca_thread *t)
{
	xa_erase(&s->threads, t->core.id);
	WRITE_ONCE(s->nr_threads, s->nr_threads - 1);
	gca_task_leave(s->process, t);
	gca_mutator_fini(&t->core);
	gca_thread_put(t);
}

void gca_port_mutator_get(struct gca_arena *a, struct gca_mutator *m)
{
	refcount_inc(&((struct gca_thread *)m->port)->refs);
}

void gca_port_mutator_put(struct gca_arena *a, struct gca_mutator *m)
{
	gca_thread_put(m->port);
}

/** gca_thread_kill() - at death: nobody can see the arena any more */
void gca_thread_kill(struct gca_shell *s)
{
	struct gca_thread *t;
	unsigned long id;

	xa_for_each(&s->threads, id, t)
		gca_thread_unlink(s, t);
	xa_destroy(&s->threads);
}

/*
 * gca_threads_reap_clocked() - detach the threads that have exited, or run another
 * program, without doing so
 *
 * Return: 0; -EINTR, -ESRCH from the gate.
 */
int gca_threads_reap_clocked(struct gca_shell *s)
{
	struct gca_thread *t;
	unsigned long id;
	int ret;

	lockdep_assert_held(&s->cycle_lock);
	xa_for_each(&s->threads, id, t) {
		if (gca_task_ours(t->task, s->mm))
			continue;
		ret = gca_mutator_detach(&t->core);
		if (ret)
			return ret;
		gca_thread_unlink(s, t);
	}
	return 0;
}

/* ----------------------------------------------------------------- attach, detach */

static bool gca_has_rseq(const struct task_struct *task)
{
#ifdef CONFIG_RSEQ
	return task->rseq;
#else
	return false;
#endif
}

static bool gca_bounds_bad(u64 lo, u64 hi, bool optional)
{
	if (optional && !lo && !hi)
		return false;
	return lo >= hi || hi > TASK_SIZE_MAX || hi - lo > GCARENA_ROOT_BYTES_MAX ||
	       !IS_ALIGNED(lo | hi, sizeof(u64));
}

static int gca_check_attach(const struct gcarena_attach *arg)
{
	if (arg->flags & ~GCARENA_ATTACH_COUNTER ||
	    gca_bounds_bad(arg->stack_lo, arg->stack_hi, false) ||
	    gca_bounds_bad(arg->altstack_lo, arg->altstack_hi, true) ||
	    gca_bounds_bad(arg->tls_lo, arg->tls_hi, true))
		return -EINVAL;
	if (arg->nr_slots && (arg->nr_slots < GCARENA_SLOTS_MIN ||
			      arg->nr_slots > GCARENA_SLOTS_MAX))
		return -EINVAL;
	return 0;
}

static struct gca_thread *gca_thread_new(struct gca_shell *s, const struct gcarena_attach *arg,
					 struct file *file)
{
	u32 nr_slots = arg->nr_slots ?: GCARENA_SLOTS_MAX;
	struct gca_thread *t;
	int ret = -ENOMEM;

	t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);
	if (!t)
		return ERR_PTR(-ENOMEM);
	refcount_set(&t->refs, 1);
	t->shell = s;
	t->file = get_file(file);
	t->task = get_task_struct(current);
	t->regs = kvzalloc(3 * gca_regs_bytes(), GFP_KERNEL_ACCOUNT);
	if (!t->regs)
		goto err;
	ret = gca_pages_init(&t->pages, gca_mutator_bytes(nr_slots));
	if (ret)
		goto err;
	ret = gca_mutator_init(&t->core, s->a, nr_slots, t->pages.addr);
	if (ret)
		goto err;
	gca_hold_init(t);
	t->counted = arg->flags & GCARENA_ATTACH_COUNTER || !gca_has_rseq(current);
	t->core.port = t;
	gca_mutator_bounds(&t->core, arg);
	return t;
err:
	gca_thread_free(t);
	return ERR_PTR(ret);
}

static int gca_attach_clocked(struct gca_shell *s, struct gca_call *c, struct gca_thread *t)
{
	struct gcarena_attach *arg = &c->u.attach;
	int ret;

	lockdep_assert_held(&s->cycle_lock);
	ret = gca_threads_reap_clocked(s);
	if (ret)
		return ret;
	if (gca_attached(s))
		return -EEXIST;
	if (s->next_id == U32_MAX || s->nr_threads >= GCARENA_THREADS_MAX)
		return -ENOSPC;
	ret = gca_process_engine(s->process, t->counted);
	if (ret)
		return ret;

	t->core.id = s->next_id;
	arg->id = t->core.id;
	arg->map_offset = GCA_MUTATOR_OFFSET + arg->id * GCA_MUTATOR_STRIDE;
	arg->map_size = (u64)t->pages.n << PAGE_SHIFT;
	ret = xa_reserve(&s->threads, arg->id, GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret;
	ret = gca_task_join(s->process, t);
	if (ret)
		goto err_slot;
	ret = gca_call_out(c);
	if (!ret)
		ret = gca_mutator_attach(&t->core);
	if (ret)
		goto err_task;
	s->next_id++;
	WRITE_ONCE(s->nr_threads, s->nr_threads + 1);
	xa_store(&s->threads, arg->id, t, GFP_NOWAIT);	/* reserved: it cannot fail */
	return 0;

err_task:
	gca_task_leave(s->process, t);
err_slot:
	xa_release(&s->threads, arg->id);
	return ret;
}

/*
 * gca_ioc_attach() - GCARENA_IOC_ATTACH
 *
 * Return: 0; -ENXIO before heap and control page are mapped, -EEXIST if the caller
 * is attached, -EOPNOTSUPP if its critical sections are counted and its process is
 * bound to task work, -ENOSPC with GCARENA_THREADS_MAX threads, -EINVAL, -ENOMEM,
 * -EFAULT; -ESRCH if the arena died meanwhile, -EINTR if the caller is being killed.
 */
int gca_ioc_attach(struct gca_shell *s, struct gca_call *c)
{
	struct gca_thread *t;
	int ret;

	ret = gca_check_attach(&c->u.attach);
	if (ret)
		return ret;
	if (!gca_mapped(s))
		return -ENXIO;
	t = gca_thread_new(s, &c->u.attach, c->file);
	if (IS_ERR(t))
		return PTR_ERR(t);
	ret = mutex_lock_killable(&s->cycle_lock);
	if (!ret) {
		ret = gca_attach_clocked(s, c, t);
		mutex_unlock(&s->cycle_lock);
	}
	if (ret) {
		gca_mutator_fini(&t->core);
		gca_thread_put(t);
	}
	return ret;
}

/*
 * gca_ioc_detach() - GCARENA_IOC_DETACH
 *
 * Return: 0; -EPERM if the caller is not this mutator, -EINVAL; -ESRCH if the arena
 * died meanwhile, -EINTR if the caller is being killed.
 */
int gca_ioc_detach(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_detach *arg = &c->u.detach;
	struct gca_thread *t;
	int ret;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	t = gca_thread_mine(s, arg->id);
	if (!t)
		return -EPERM;
	c->copied = true;	/* there is no reply */
	for (;;) {
		/* A root that goes is scanned first; it faults, so not under the lock. */
		gca_roots_self(&t->core);
		ret = mutex_lock_killable(&s->cycle_lock);
		if (ret)
			return ret;
		if (!READ_ONCE(t->core.owes))
			break;
		mutex_unlock(&s->cycle_lock);
	}
	ret = gca_mutator_detach(&t->core);
	if (!ret)
		gca_thread_unlink(s, t);
	mutex_unlock(&s->cycle_lock);
	return ret;
}

/* --------------------------------------------------------------------- allocation */

/*
 * gca_ioc_refill() - GCARENA_IOC_REFILL
 *
 * Return: 0; -EPERM if the caller is not this mutator, -ENOSPC if the reservation is
 * full, -EINVAL, -ENOMEM; -ESRCH if the arena died meanwhile, -EINTR if the caller is
 * being killed.
 */
int gca_ioc_refill(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_refill *arg = &c->u.refill;
	struct gca_thread *t;
	u32 sc = arg->span_class;
	int ret;

	if (arg->flags || arg->__reserved || !arg->count || arg->count > GCA_REFILL_MAX ||
	    sc >= GCARENA_NR_SPAN_CLASSES)
		return -EINVAL;
	sc = array_index_nospec(sc, GCARENA_NR_SPAN_CLASSES);
	if ((sc & 3) >= GCARENA_NR_KINDS)
		return -EINVAL;
	t = gca_thread_mine(s, arg->id);
	if (!t)
		return -EPERM;
	ret = gca_refill(&t->core, sc, &arg->count);
	if (!ret) {
		gca_stats_wishes(s);
		arg->flags = gca_wants(s->a, &t->core);
	}
	return ret;
}

/*
 * gca_ioc_large() - GCARENA_IOC_LARGE
 *
 * Return: 0; -EPERM if the caller is not this mutator, -ENOSPC if no run of free pages is
 * that long, -EINVAL, -ENOMEM; -ESRCH if the arena died meanwhile, -EINTR if the
 * caller is being killed.
 */
int gca_ioc_large(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_large *arg = &c->u.large;
	struct gca_thread *t;
	int ret;

	if (arg->flags || arg->__reserved || !arg->bytes || arg->kind >= GCARENA_NR_KINDS)
		return -EINVAL;
	if (arg->kind != GCARENA_PRECISE && arg->layout)
		return -EINVAL;
	t = gca_thread_mine(s, arg->id);
	if (!t)
		return -EPERM;
	/* A root until the caller has been told: a cycle may come in between. */
	ret = gca_large(&t->core, arg->bytes, arg->kind, arg->layout, &t->core.newborn,
			&arg->flags);
	if (!ret) {
		arg->addr = t->core.newborn;
		gca_stats_wishes(s);
		arg->flags |= gca_wants(s->a, &t->core);
		ret = gca_call_out(c);
	}
	/* Pairs with the acquire in scan_thread(). */
	smp_store_release(&t->core.newborn, 0);
	return ret;
}

/*
 * gca_ioc_settle() - GCARENA_IOC_SETTLE
 *
 * Return: 0; -EPERM if the caller is not this mutator, -EINVAL; -ESRCH if the arena
 * died meanwhile, -EINTR if the caller is being killed.
 */
int gca_ioc_settle(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_settle *arg = &c->u.settle;
	struct gca_thread *t;
	int ret = 0;

	/* PARK is done by leaving: gca_inside_leave(). */
	if (arg->flags & ~(GCARENA_SETTLE_FLUSH | GCARENA_SETTLE_PARK) || arg->__reserved)
		return -EINVAL;
	t = gca_thread_mine(s, arg->id);
	if (!t)
		return -EPERM;
	if (arg->flags & GCARENA_SETTLE_FLUSH)
		ret = gca_settle(&t->core);
	if (!ret)
		arg->flags = gca_wants(s->a, NULL);
	return ret;
}
