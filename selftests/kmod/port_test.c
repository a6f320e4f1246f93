// SPDX-License-Identifier: GPL-2.0-only
/*
 * port_test.c: the out-of-line part of the port and of the C library, for tests
 * in the kernel.  world.c has the port's functions that can be told to fail.
 *
 * The heap.  Nobody can fill pages of the kernel's address space as they are
 * touched, so an mmap() is vmalloc'ed memory, kept for the next one, and what is
 * too large for that is a number: addresses that nothing maps.  Tests with such a
 * heap do not look into it, nor does the collector (KASAN would tell).
 */
#include <linux/list.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>

#include "cmocka_kunit.h"
#include "core.h"
#include "kunit.h"

unsigned int gca_warnings;

/* ------------------------------------------------------------------- memory */

long gca_test_fail_after = -1;

void *gca_port_zalloc(struct gca_arena *a, size_t bytes)
{
	might_sleep();
	if (!gca_test_fail_after)
		return NULL;
	if (gca_test_fail_after > 0)
		gca_test_fail_after--;
	if (bytes < PAGE_SIZE)
		return kzalloc(bytes, GFP_KERNEL);
	return __vmalloc(bytes, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
}

void gca_port_free(struct gca_arena *a, void *p, size_t bytes)
{
	might_sleep();
	kvfree(p);
}

struct block {
	size_t bytes;
	bool counted;
	u64 at[];
};

static atomic_t nr_blocks;

/* Zeroed; never NULL: a test without memory has failed. */
void *cmocka_kunit_alloc(size_t bytes, bool counted)
{
	struct block *b = NULL;

	if (bytes <= SIZE_MAX - sizeof(*b))
		b = kvzalloc(sizeof(*b) + bytes, GFP_KERNEL);
	if (!b)
		fail_msg("no memory: %zu bytes", bytes);
	b->bytes = bytes;
	b->counted = counted;
	if (counted)
		atomic_inc(&nr_blocks);
	return b->at;
}

void cmocka_kunit_free(const void *p)
{
	struct block *b;

	if (!p)
		return;
	b = container_of(p, struct block, at);
	if (b->counted)
		atomic_dec(&nr_blocks);
	kvfree(b);
}

void *cmocka_kunit_realloc(void *p, size_t bytes)
{
	void *new = cmocka_kunit_alloc(bytes, false);

	if (p)
		memcpy(new, p, min(bytes, container_of(p, struct block, at)->bytes));
	cmocka_kunit_free(p);
	return new;
}

/* --------------------------------------------------------------------- heap */

#define HEAP_MAX	(256UL << 20)
#define HEAP_ALIGN	(4UL << 20)
#define NOWHERE		((void *)(1UL << 45))	/* in nobody's half of the address space */

struct heap {
	struct list_head link;
	void *mem, *p;
	size_t bytes;		/* from p */
	size_t touched;		/* of them, may be other than zero */
	bool used;
};

/* Tests map from one thread and run one after the other; workers only trace. */
static LIST_HEAD(heaps);
static DEFINE_SPINLOCK(touched_lock);

static struct heap *new_heap(size_t bytes)
{
	struct heap *h = kzalloc(sizeof(*h), GFP_KERNEL);

	if (!h)
		return NULL;
	h->mem = vzalloc(bytes + HEAP_ALIGN);
	if (!h->mem) {
		kfree(h);
		return NULL;
	}
	h->p = PTR_ALIGN(h->mem, HEAP_ALIGN);
	h->bytes = bytes;
	list_add_tail(&h->link, &heaps);
	return h;
}

static void drop_heap(struct heap *h)
{
	list_del(&h->link);
	vfree(h->mem);
	kfree(h);
}

void *mmap(void *addr, size_t bytes, int prot, int flags, int fd, long off)
{
	struct heap *h, *next, *found = NULL;

	if (bytes > HEAP_MAX)
		return NOWHERE;
	list_for_each_entry(h, &heaps, link)
		if (!h->used && h->bytes >= bytes)
			found = h;
	if (!found) {
		/* all that are unused are too small */
		list_for_each_entry_safe(h, next, &heaps, link)
			if (!h->used)
				drop_heap(h);
		found = new_heap(bytes);
	}
	if (!found)
		return MAP_FAILED;
	found->used = true;
	return found->p;
}

int munmap(void *p, size_t bytes)
{
	struct heap *h;

	list_for_each_entry(h, &heaps, link)
		if (h->p == p) {
			memset(p, 0, h->touched);
			h->touched = 0;
			h->used = false;
		}
	return 0;
}

/* How far may the tests have written?  To the end of what was handed out. */
void gca_port_trace(struct gca_arena *a, enum gca_trace what, u64 x, u64 y)
{
	struct heap *h;
	u64 end;

	if (what == GCA_TRACE_GROW)
		end = (x + 1) * GCA_CHUNK_SIZE;
	else if (what == GCA_TRACE_LARGE)
		end = y - a->base + ALIGN(x, GCARENA_PAGE_SIZE);
	else
		return;
	spin_lock(&touched_lock);
	list_for_each_entry(h, &heaps, link)
		if ((u64)h->p == a->base)
			h->touched = clamp_t(u64, end, h->touched, h->bytes);
	spin_unlock(&touched_lock);
}

/* Before a test, and after the last. */
void gca_test_reset(bool last)
{
	struct heap *h, *next;

	gca_warnings = 0;
	gca_test_fail_after = -1;
	atomic_set(&nr_blocks, 0);
	list_for_each_entry_safe(h, next, &heaps, link)
		if (last || h->used)
			drop_heap(h);	/* in use: by a test that has failed */
}

unsigned int gca_test_blocks(void)
{
	return atomic_read(&nr_blocks);
}

/* --------------------------------------------------------------------- time */

u64 gca_port_now(void)
{
	return ktime_get_ns();
}

/*
 * Limits on processor time are meant for a native machine and -O2.  This is an
 * emulated one with KASAN and lockdep.
 */
#define SLOWER	32

int clock_gettime(int clock, struct timespec *t)
{
	u64 ns = ktime_get_ns();

	if (clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID)
		ns = current->se.sum_exec_runtime / SLOWER;
	t->tv_sec = ns / NSEC_PER_SEC;
	t->tv_nsec = ns % NSEC_PER_SEC;
	return 0;
}

/* --------------------------------------------------------- the rest of the port */

int gca_port_backoff(struct gca_arena *a, u64 ns)
{
	schedule_timeout_uninterruptible(nsecs_to_jiffies(ns) + 1);
	return 0;
}

void gca_port_alone(struct gca_arena *a, bool begins)
{
}

void gca_port_sleep(struct gca_arena *a, const u32 *word, u64 ns)
{
	schedule_timeout_uninterruptible(nsecs_to_jiffies(ns) + 1);
}

void gca_port_wake(u32 *word)
{
}

int gca_port_stack_self(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s)
{
	return gca_port_stack(a, m, s);
}

bool gca_port_stack_same(struct gca_arena *a, struct gca_mutator *m)
{
	return true;
}

void gca_port_mutator_get(struct gca_arena *a, struct gca_mutator *m)
{
}

void gca_port_mutator_put(struct gca_arena *a, struct gca_mutator *m)
{
}

bool gca_port_kick(struct gca_arena *a)
{
	return true;
}

u64 gca_port_cpu(struct gca_arena *a)
{
	return 0;
}

u64 gca_port_cpu_self(void)
{
	return ktime_get_ns();
}

void gca_port_return(struct gca_arena *a, u64 due)
{
}

/* No workers: who waits for them works. */
void gca_port_hurry(struct gca_arena *a)
{
}

void gca_port_work(struct gca_arena *a)
{
}

void gca_port_idle(struct gca_arena *a)
{
}

void gca_port_run_workers(struct gca_arena *a, u64 until)
{
	while (!gca_work_idle(a) && !READ_ONCE(a->void_reason))
		gca_work_slice(a, GCA_MARK_DEDICATED, 1000000);
}

int gca_port_gate_wait(struct gca_arena *a)
{
	while (READ_ONCE(a->gate_closed))
		schedule_timeout_uninterruptible(1);
	return 0;
}

void gca_port_gate_wake(struct gca_arena *a)
{
}

void gca_port_quiesce(struct gca_arena *a)
{
	while (atomic_read_acquire(&a->ops))
		schedule_timeout_uninterruptible(1);
}

int gca_port_crew_get(struct gca_arena *a)
{
	return 0;
}

void gca_port_crew_put(struct gca_arena *a)
{
}

void gca_port_crew_ready(struct gca_arena *a)
{
}

int gca_port_step_begin(struct gca_arena *a)
{
	return 0;
}

void gca_port_step_end(struct gca_arena *a)
{
}

bool gca_port_looks(struct gca_arena *a)
{
	return false;
}

int gca_port_look(struct gca_arena *a, u32 what)
{
	return 0;
}

void gca_port_missed(struct gca_arena *a)
{
}

bool gca_port_pager_scans(struct gca_arena *a)
{
	return false;
}
