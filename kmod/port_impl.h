/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * port_impl.h: the kernel's side of core/port.h, the part that is inlined.
 *
 * The out-of-line part is port.c.  This file takes no lock and has no state.
 *
 * No-fault reads of the heap
 * --------------------------
 * GCA_UREAD_BEGIN() disables page faults and opens a user-access window
 * (EFLAGS.AC, on processors with SMAP) over the heap reservation of the arena;
 * GCA_UREAD_END() closes both.  Why this is safe:
 *
 *  - Range.  user_access_begin() checks [base, base + size) once.  Every address
 *    given to GCA_UREAD() in the window is computed from kernel metadata (page
 *    number, slot, offset, all bounded by the reservation), never from a word
 *    that was read from the user.
 *  - Faults.  With page faults disabled a page that is not there makes the load
 *    jump to its label: nothing is allocated, nobody is waited for.
 *  - AC.  Nothing out of line may be called inside: a function called with AC
 *    set could sleep, and the scheduler does not save AC.  objtool proves it for
 *    each function and the build fails on its warnings.  Preemption by an
 *    interrupt is fine: entry clears AC and iret restores it.
 *  - Speculation.  With AC set SMAP does not stop speculative user loads, and the
 *    lfence in user_access_begin() orders its own check only.  So a word from the
 *    user becomes an index only by masking it to the reservation (gca_find()),
 *    where every index has a chunk: there is nothing to read out of bounds.
 *  - Concurrency.  The owner may write, unmap or remap the page meanwhile.  The
 *    hardware reads an old or a new mapping, never a torn one; each word is read
 *    once.
 *
 * Roots lie anywhere in the process; they are read by gca_port_sift(), in windows
 * over what it reads, each checked.  What it keeps is looked at outside of them.
 */
#ifndef GCA_KMOD_PORT_IMPL_H
#define GCA_KMOD_PORT_IMPL_H

#include <linux/align.h>
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/build_bug.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/container_of.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/nospec.h>
#include <linux/overflow.h>
#include <linux/prefetch.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/uaccess.h>

#ifndef CONFIG_X86_64
#error "gcarena supports x86-64 only: words are 8 bytes and registers are its"
#endif

typedef spinlock_t gca_spin_t;

#define gca_spin_init(l)	spin_lock_init(l)
#define gca_spin_lock(l)	spin_lock(l)
#define gca_spin_unlock(l)	spin_unlock(l)

/* True: the window is open and must be closed by GCA_UREAD_END(). */
#define GCA_UREAD_BEGIN(a)						\
	(pagefault_disable(),						\
	 likely(user_access_begin((void __user *)(a)->base, (a)->size)) || \
	 (pagefault_enable(), false))

#define GCA_UREAD_END()							\
	do {								\
		user_access_end();					\
		pagefault_enable();					\
	} while (0)

#define GCA_UREAD(dst, addr, label)					\
	unsafe_get_user(dst, (const u64 __user *)(addr), label)

/*
 * gca_sift_user() - gca_port_sift(), apart from it for the test's sake
 *
 * By loads of our own: a copy, of which next to nothing is wanted, would take as long again,
 * while the world stands still.
 */
static __always_inline int gca_sift_user(u64 *dst, u64 src, unsigned int n, u64 base, u64 size)
{
	const u64 __user *from = u64_to_user_ptr(src), *end = from + n;
	int kept = 0;
	u64 word;

	pagefault_disable();
	if (!user_access_begin(from, n * sizeof(*from))) {
		kept = -EFAULT;
		goto out;
	}
	for (; from < end; from++) {
		unsafe_get_user(word, from, fault);
		if (unlikely(word - base <= size))
			dst[kept++] = word;
	}
	user_access_end();
out:
	pagefault_enable();
	return kept;
fault:
	user_access_end();
	kept = -EFAULT;
	goto out;
}

/**
 * gca_set_bits() - atomic or of a word; no value, no order
 * @word: to be changed
 * @mask: bits to set
 *
 * Not set_bit(): several bits at once, and never out of line, so that it may be
 * used in a user-access window.
 */
static __always_inline void gca_set_bits(u64 *word, u64 mask)
{
	asm volatile(LOCK_PREFIX "orq %1,%0" : "+m" (*word) : "er" (mask) : "memory");
}

#define gca_deref(p)		READ_ONCE(p)
#define gca_port_contended()	need_resched()
#define gca_port_signalled()	signal_pending(current)

#endif /* GCA_KMOD_PORT_IMPL_H */
