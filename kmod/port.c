// SPDX-License-Identifier: GPL-2.0-only
/*
 * port.c: what the collector asks of the kernel; see core/port.h.
 *
 * Each function says what it may sleep on.  None takes a mutex; gca_port_copy()
 * faults, so none of the arena's locks but cycle_lock may be held around it.  It
 * may not decide anything about the collection.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "glue.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* ---------------------------------------------------------------------- memory */

#define FREE_OF_SLEEP	(64UL << PAGE_SHIFT)	/* MEMCG_CHARGE_BATCH */

/*
 * Charged to the caller's memory cgroup, which is the owner's.  From a page up by
 * single pages, mapped together: metadata never needs a large order.
 *
 * Who charges a group beyond memory.high, 64 pages since it last slept for that, is put to sleep
 * for up to two seconds (mem_cgroup_handle_over_high()).  Our threads, which are to free memory,
 * begin to count anew with each call; and checkmark's tables, which are larger than that, and for
 * the privileged only, are made without waiting, and without the reserves.
 */
static void *gca_zalloc_by_us(struct gca_shell *s, size_t bytes, gfp_t gfp)
{
	bool table = bytes > FREE_OF_SLEEP && s->privileged;
	unsigned int flags = 0;
	void *p;

#ifdef CONFIG_MEMCG
	current->memcg_nr_pages_over_high = 0;
#endif
	if (table)
		flags = memalloc_noreclaim_save();
	p = __vmalloc(bytes, gfp | (table ? __GFP_NOMEMALLOC : 0));
	if (table)
		memalloc_noreclaim_restore(flags);
	return p;
}

void *gca_port_zalloc(struct gca_arena *a, size_t bytes)
{
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN;

	if (bytes < PAGE_SIZE)
		return kzalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (current->flags & PF_KTHREAD)
		return gca_zalloc_by_us(gca_shell_of(a), bytes, gfp);
	return __vmalloc(bytes, gfp);
}

void gca_port_free(struct gca_arena *a, void *p, size_t bytes)
{
	kvfree(p);
}

u64 gca_port_now(void)
{
	return ktime_get_ns();
}

int gca_port_copy(struct gca_arena *a, void *dst, u64 src, size_t bytes)
{
	might_sleep();
	if (fatal_signal_pending(current))
		return -EINTR;
	if (!copy_from_user(dst, u64_to_user_ptr(src), bytes))
		return 0;
	return fatal_signal_pending(current) ? -EINTR : -EFAULT;
}

int gca_port_sift(struct gca_arena *a, u64 *dst, u64 src, unsigned int n, u64 base, u64 size)
{
	return gca_sift_user(dst, src, n, base, size);
}

/*
 * The owner has unmapped, protected or covered the page: a leaf.  If instead
 * readable anonymous memory is there, the fault failed for another reason (out of
 * memory, a protection key, an unanswered userfaultfd): nobody may conclude that
 * the page holds no pointers.
 */
int gca_port_unreadable(struct gca_arena *a, u64 addr)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	int ret = 0;

	if (mmap_read_lock_killable(mm))
		return -EFAULT;
	vma = vma_lookup(mm, addr);
	if (vma && vma->vm_flags & VM_READ && vma_is_anonymous(vma))
		ret = -EFAULT;
	mmap_read_unlock(mm);
	return ret;
}

/* -------------------------------------------------------------------- the gate */

int gca_port_gate_wait(struct gca_arena *a)
{
	struct gca_shell *s = gca_shell_of(a);

	/* Who has closed it may be waiting for the pager. */
	if (READ_ONCE(s->pager) == current)
		return gca_serve_gate_wait(s);
	if (wait_event_killable(s->gate_wq, !READ_ONCE(a->gate_closed) || gca_shell_dying(s)))
		return -EINTR;
	return gca_shell_dying(s) ? -ESRCH : 0;
}

void gca_port_gate_wake(struct gca_arena *a)
{
	wake_up_all(&gca_shell_of(a)->gate_wq);
}

/* Operations are bounded and do not sleep: this wait needs no way out. */
void gca_port_quiesce(struct gca_arena *a)
{
	if (current->flags & PF_KTHREAD)
		wait_event_idle(gca_shell_of(a)->gate_wq, !atomic_read(&a->ops));
	else
		wait_event(gca_shell_of(a)->gate_wq, !atomic_read(&a->ops));
}

/* ---------------------------------------------------------------------- marking */

bool gca_port_relax(struct gca_arena *a)
{
	struct gca_shell *s = gca_shell_of(a);

	cond_resched();
	return fatal_signal_pending(current) || gca_shell_dying(s) ||
	       gca_owner_exiting(s->process);
}

/* As long as it does not sleep: then that is counted, too. */
u64 gca_port_cpu_self(void)
{
#ifdef CONFIG_SCHED_INFO
	/* The scheduler's sum is up to date at each tick only; what one has waited for, always. */
	return ktime_get_ns() - current->sched_info.run_delay;
#else
	return ktime_get_ns();
#endif
}

/* Of the owner's threads, as the scheduler has it, and of our own, as they have counted it. */
u64 gca_port_cpu(struct gca_arena *a)
{
	struct task_struct *leader = gca_shell_of(a)->process->leader, *t;
	u64 sum;

	rcu_read_lock();
	sum = READ_ONCE(leader->signal->sum_sched_runtime);
	for_each_thread(leader, t)
		sum += READ_ONCE(t->se.sum_exec_runtime);
	rcu_read_unlock();
	return sum + atomic64_read(&a->totals.cpu_ns[GCA_MARK_DEDICATED]) +
	       atomic64_read(&a->totals.cpu_ns[GCA_MARK_FRACTIONAL]) +
	       atomic64_read(&a->totals.cpu_ns[GCA_MARK_IDLE]);
}

/* For a jiffy at least; nobody has to end it, so it is not worth a way out of its own. */
void gca_port_sleep(struct gca_arena *a, const u32 *word, u64 ns)
{
	wait_var_event_timeout((void *)word, READ_ONCE(*word), nsecs_to_jiffies(ns) + 1);
}

void gca_port_wake(u32 *word)
{
	smp_mb();	/* the word, before whether anybody waits */
	wake_up_var(word);
}

/* A lent thread asks for the scan itself, by gca_port_pager_scans(). */
void gca_port_missed(struct gca_arena *a)
{
	struct gca_shell *s = gca_shell_of(a);

	if (READ_ONCE(s->process->working) == s)
		gca_serve_ask(s);
}

bool gca_port_pager_scans(struct gca_arena *a)
{
	return gca_serve_scan(gca_shell_of(a));
}

/* The numbers of the library's trace lines. */
static void gca_trace_pace(struct gca_arena *a, u64 id)
{
	struct gcarena_stats s;

	if (!trace_gcarena_pace_enabled())
		return;
	gca_stats_read(a, &s);
	trace_gcarena_pace(id, &s);
}

void gca_port_trace(struct gca_arena *a, enum gca_trace what, u64 x, u64 y)
{
	u64 id = gca_shell_of(a)->id;

	switch (what) {
	case GCA_TRACE_CYCLE_START:	return trace_gcarena_cycle_start(id, x, y);
	case GCA_TRACE_CYCLE_END:	return trace_gcarena_cycle_end(id, x, y);
	case GCA_TRACE_PHASE:		return trace_gcarena_phase(id, x, y);
	case GCA_TRACE_STOP_BEGIN:	return trace_gcarena_stop_begin(id, x, y);
	case GCA_TRACE_STOP_END:	return trace_gcarena_stop_end(id, x, y);
	case GCA_TRACE_SLICE:		return trace_gcarena_slice(id, x, y);
	case GCA_TRACE_MISS:		return trace_gcarena_miss(id, x, y);
	case GCA_TRACE_OVERFLOW:	return trace_gcarena_overflow(id, x, y);
	case GCA_TRACE_SWEEP_DONE:	return trace_gcarena_sweep_done(id, x, y);
	case GCA_TRACE_VOID:		return trace_gcarena_void(id, x, y);
	case GCA_TRACE_PACE:		return gca_trace_pace(a, id);
	case GCA_TRACE_REFILL:		return trace_gcarena_refill(id, x, y);
	case GCA_TRACE_LARGE:		return trace_gcarena_large(id, x, y - a->base);
	case GCA_TRACE_GROW:		return trace_gcarena_grow(id, x, y);
	}
}
