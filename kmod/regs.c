// SPDX-License-Identifier: GPL-2.0-only
/*
 * regs.c: the registers and the stack of a held thread.
 *
 * General registers are those that the kernel saved when the thread entered it;
 * vector registers come through the kernel's own regset, which writes all of them,
 * upper halves too.  Both lie in memory and can be read while the thread is asleep,
 * or runs in the kernel: stop.c has seen to it that a running one has spilled its
 * vector registers.  They can change under our eyes (sigreturn, a tracer), so a
 * scan counts only if they are the same after it: gca_port_stack_same().
 *
 * The stack of a task that exits is freed before the task is.  No reference can be
 * taken on it from a module, so it is read under RCU, which delays the freeing, and
 * what was read is thrown away if the task is exiting by then.
 *
 * Takes mmap_lock for reading, to find the bounds of a stack that nobody told us
 * of.  It may not read user memory: the core does.
 */
#include <linux/compat.h>
#include <linux/elf.h>
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/regset.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/smp.h>
#include <linux/slab.h>

#include "glue.h"

/* The x86-64 ABI: leaf functions keep values below the stack pointer. */
#define GCA_RED_ZONE	128

/* Of a signal frame, at most, without the vector registers. */
#define GCA_FRAME	1024

/* Of an unknown stack, in bytes. */
#define GCA_STACK_MAX	(8ULL << 20)

#define GCA_PT_WORDS	(sizeof(struct pt_regs) / sizeof(u64))

static const struct user_regset *gca_vector;	/* NULL: general registers only */
static u64 gca_syscall_return;			/* see gca_by_syscall() */

/* Where the kernel saved the registers of @task, or NULL: it has exited.  Under RCU. */
static const u64 *gca_saved(struct task_struct *task)
{
	void *stack = READ_ONCE(task->stack);

	if (!stack)
		return NULL;
	return (const u64 *)(stack + THREAD_SIZE - TOP_OF_KERNEL_STACK_PADDING) - GCA_PT_WORDS;
}

/* What it put on its stack next to them. */
static u64 gca_entry(const u64 *saved)
{
	return READ_ONCE_NOCHECK(saved[-1]);
}

/** gca_regs_init() - find the regset of the vector registers; by insmod, a 64-bit task */
void gca_regs_init(void)
{
	const struct user_regset_view *view = task_user_regset_view(current);
	unsigned int i;

	gca_syscall_return = in_32bit_syscall() ? 0 : gca_entry(gca_saved(current));
	for (i = 0; i < view->n; i++) {
		const struct user_regset *r = &view->regsets[i];

		/* Without XSAVE the other one has the XMM registers. */
		if (r->core_note_type == NT_X86_XSTATE && boot_cpu_has(X86_FEATURE_XSAVE))
			gca_vector = r;
		else if (r->core_note_type == NT_PRFPREG && !gca_vector)
			gca_vector = r;
	}
}

static size_t gca_vector_bytes(void)
{
	return gca_vector ? (size_t)gca_vector->n * gca_vector->size : 0;
}

/** gca_regs_bytes() - of a thread's registers */
size_t gca_regs_bytes(void)
{
	return ALIGN(sizeof(struct pt_regs) + gca_vector_bytes(), sizeof(u64));
}

static int gca_read_general(struct gca_thread *t, u64 *to)
{
	struct task_struct *task = t->task;
	const u64 *from;
	unsigned int i;

	rcu_read_lock();
	from = gca_saved(task);
	for (i = 0; from && i < GCA_PT_WORDS; i++)
		to[i] = READ_ONCE_NOCHECK(from[i]);
	rcu_read_unlock();
	/* After the words: exec changes the mm before the registers; see gca_by_syscall(), too. */
	smp_rmb();
	return from && gca_task_ours(task, t->shell->mm) ? 0 : -ESRCH;
}

/* Are they in the processor only? */
static bool gca_vector_live(struct task_struct *task)
{
	/* acquire: pairs with finish_task() */
	return task != current && smp_load_acquire(&task->on_cpu) &&
	       !test_tsk_thread_flag(task, TIF_NEED_FPU_LOAD);
}

/*
 * A task's vector registers are in memory if it is off the processor, or if the
 * kernel has said so: it loads them again when the task returns to user mode.
 */
static int gca_read_vector(struct task_struct *task, void *to)
{
	int ret;

	if (!gca_vector)
		return 0;
	if (gca_vector_live(task)) {
		/* The stop's interrupt met a section that must keep them; once more. */
		smp_call_function_single(task_cpu(task), gca_fence_cpu, NULL, true);
		if (gca_vector_live(task))
			return -EAGAIN;
	}
	kcsan_disable_current();	/* a change is found by comparison */
	ret = regset_get(task, gca_vector, gca_vector_bytes(), to);
	kcsan_enable_current();
	return ret < 0 ? ret : 0;
}

static int gca_regs_read(struct gca_thread *t, void *to)
{
	int ret = gca_read_vector(t->task, to + sizeof(struct pt_regs));

	return ret ?: gca_read_general(t, to);
}

/* Where the mapping that @addr is in begins and ends; false: there is none. */
static bool gca_mapping(u64 addr, u64 *lo, u64 *hi)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;

	/* Killed: the cycle becomes void. */
	if (mmap_read_lock_killable(mm))
		return false;
	vma = vma_lookup(mm, addr);
	if (vma) {
		*lo = vma->vm_start;
		*hi = vma->vm_end;
	}
	mmap_read_unlock(mm);
	return vma;
}

static void gca_alternate_stacks(struct gca_thread *t, struct gca_stack *st,
				 void (*add)(struct gca_stack *st, u64 lo, u64 hi))
{
	u64 alt = READ_ONCE(t->task->sas_ss_sp), len = READ_ONCE(t->task->sas_ss_size);
	const struct gca_mutator *m = &t->core;

	add(st, m->altstack_lo, m->altstack_hi);
	if (len && len <= GCARENA_ROOT_BYTES_MAX && alt < TASK_SIZE_MAX - len &&
	    (alt < m->altstack_lo || alt + len > m->altstack_hi))
		add(st, ALIGN(alt, sizeof(u64)), ALIGN_DOWN(alt + len, sizeof(u64)));
}

/* Below the red zone of @sp, where a signal's frame may be. */
static void gca_frame_below(struct gca_stack *st, u64 lo, u64 sp, u64 below)
{
	u64 end = sp - min_t(u64, sp, GCA_RED_ZONE);

	lo = max(lo, sp - min(sp, below));
	gca_stack_doubt(st, ALIGN_DOWN(lo, sizeof(u64)), ALIGN_DOWN(end, sizeof(u64)));
}

/*
 * The thread is on its alternate signal stack, in a fiber, or on a stack that
 * nobody told us of: its own stack from where the library says that it is parked,
 * else as far as it has grown, the alternate ones, and from the stack pointer to the
 * end of the stack among the roots, or else of the mapping, that it is in.
 */
static void gca_other_stack(struct gca_thread *t, u64 sp, u64 below, struct gca_stack *st)
{
	const struct gca_mutator *m = &t->core;
	const struct gcarena_range *r;
	u64 lo, hi;

	if (gca_mapping(m->stack_hi - sizeof(u64), &lo, &hi))
		gca_stack_add(st, gca_stack_low(max(m->stack_lo, lo), m->stack_hi,
						READ_ONCE(m->shared->stack_sp)), m->stack_hi);
	gca_alternate_stacks(t, st, gca_stack_add);
	r = gca_roots_stack(t->shell->a, sp);
	if (r) {
		lo = r->start;
		hi = r->start + r->len;
	}
	if (r || gca_mapping(sp, &lo, &hi)) {
		u64 from = max(lo, ALIGN_DOWN(sp - min_t(u64, sp, GCA_RED_ZONE), sizeof(u64)));

		if (r)
			gca_stack_add(st, from, hi);
		else
			gca_stack_add_unknown(st, from, hi, GCA_STACK_MAX);
		gca_frame_below(st, lo, sp, below);
	}
}

/*
 * Has the thread come into the kernel by a system call?  The kernel calls the C code for all
 * of them from one place, which is not that of any interrupt or exception, and the return
 * address stays below the registers until the thread goes back.  Who was loaded by a
 * 32-bit call does not know the place; where all entries share one (FRED), all are calls.
 * A 32-bit call of the owner's is none here: its sigreturn ends in 32-bit code.
 *
 * To be asked when the registers have been read, which ends with a barrier: if sigreturn had
 * changed one of them, its call is seen. If it comes to that later, they will have
 * changed: gca_port_stack_same().
 */
static bool gca_by_syscall(struct task_struct *task)
{
	const u64 *saved;
	bool ret;

	rcu_read_lock();
	saved = gca_saved(task);
	ret = !saved || !gca_syscall_return || gca_entry(saved) == gca_syscall_return;
	rcu_read_unlock();
	return ret;
}

/*
 * sigreturn gives a thread its general registers back first, its vector registers
 * last.  In between they are in the signal's frame only: below the stack pointer that
 * is already the old one, or on the alternate stack.  A thread that has not come to
 * the callback yet may be there, for long if it was preempted.
 */
static bool gca_may_sigreturn(const struct pt_regs *regs)
{
	/* Of the caller's rax the kernel looks at the lower half. */
	int nr = (int)regs->orig_ax;

	/* It sets the first when it has the others; interrupts have it, too: gca_by_syscall(). */
	return nr == -1 || nr == __NR_rt_sigreturn;
}

/* @late: it is on its way into the kernel or through it, and its registers may change. */
static void gca_describe(struct gca_thread *t, const void *words, bool late, struct gca_stack *st)
{
	const struct gca_mutator *m = &t->core;
	const struct pt_regs *regs = words;
	u64 below = GCA_RED_ZONE;

	st->regs = words;
	st->nr_regs = gca_regs_bytes() / sizeof(u64);
	if (late && !(gca_may_sigreturn(regs) && gca_by_syscall(t->task))) {
		/* Building a signal's frame it changes some registers before the stack pointer. */
		late = READ_ONCE(t->task->__state) == TASK_RUNNING;
		st->frame = regs->sp;
	}
	if (late)
		below += gca_vector_bytes() + GCA_FRAME;
	if (regs->sp >= m->stack_lo && regs->sp < m->stack_hi) {
		u64 lo = max(m->stack_lo, regs->sp - min_t(u64, regs->sp, GCA_RED_ZONE));

		gca_stack_add(st, ALIGN_DOWN(lo, sizeof(u64)), m->stack_hi);
		gca_frame_below(st, m->stack_lo, regs->sp, below);
		if (late)
			gca_alternate_stacks(t, st, gca_stack_doubt);
	} else {
		gca_other_stack(t, regs->sp, below, st);
	}
}

int gca_port_stack(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *st)
{
	struct gca_thread *t = m->port;
	bool late;
	int ret;

	/* acquire: before the registers; 0: it is in the callback, and they are final */
	late = smp_load_acquire(&t->queued);
	ret = gca_regs_read(t, t->regs);
	if (ret)
		return gca_task_ours(t->task, t->shell->mm) ? -EAGAIN : -ESRCH;
	gca_describe(t, t->regs, late, st);
	return 0;
}

/* Into a copy of its own: a worker may be using the other two. */
int gca_port_stack_self(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *st)
{
	struct gca_thread *t = m->port;
	void *words = t->regs + 2 * gca_regs_bytes();

	if (gca_regs_read(t, words))
		return gca_task_ours(current, t->shell->mm) ? -EIO : -ESRCH;
	gca_describe(t, words, false, st);
	return 0;
}

bool gca_port_stack_same(struct gca_arena *a, struct gca_mutator *m)
{
	struct gca_thread *t = m->port;
	size_t bytes = gca_regs_bytes();
	int ret;

	ret = gca_regs_read(t, t->regs + bytes);
	if (ret)
		return !gca_task_ours(t->task, t->shell->mm);
	return !memcmp(t->regs, t->regs + bytes, bytes);
}
