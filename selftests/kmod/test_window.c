// SPDX-License-Identifier: GPL-2.0-only
/*
 * test_window.c: the kernel's own reads of the heap and of roots, GCA_UREAD and
 * gca_sift_user() of kmod/port_impl.h, on memory of the process that loads the module.
 *
 * KUnit runs a test in a kernel thread; it borrows the process's memory.
 */
#define GCA_TEST_WINDOW
#include <kunit/test.h>
#include <linux/debug_locks.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>

#include "core.h"
#include "kunit.h"

#define PAGES	16
#define BYTES	(PAGES * PAGE_SIZE)
#define MISS	0x6d697373ULL

static struct mm_struct *mm;
static struct gca_arena *arena;

static int window_suite_init(struct kunit_suite *suite)
{
	arena = kzalloc(sizeof(*arena), GFP_KERNEL);
	mm = get_task_mm(current);
	return arena && mm ? 0 : -ENOMEM;
}

static void window_suite_exit(struct kunit_suite *suite)
{
	if (mm)
		mmput(mm);
	kfree(arena);
}

static int window_init(struct kunit *test)
{
	mmget(mm);
	kthread_use_mm(mm);
	arena->base = vm_mmap(NULL, 0, BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, 0);
	arena->size = BYTES;
	return IS_ERR_VALUE(arena->base) ? -ENOMEM : 0;
}

static void window_exit(struct kunit *test)
{
	vm_munmap(arena->base, BYTES);
	/* After a failed assertion: in the loader, the thread's exit has put mm. */
	if (!(current->flags & PF_KTHREAD))
		return;
	kthread_unuse_mm(mm);
	mmput(mm);
}

static bool access_open(void)
{
	return native_save_fl() & X86_EFLAGS_AC;
}

/* Nothing out of line in the window: objtool looks at this file, too. */
static u64 read_word(u64 addr)
{
	u64 v = 0;

	if (!GCA_UREAD_BEGIN(arena))
		return 0;
	GCA_UREAD(v, addr, miss);
	GCA_UREAD_END();
	return v;
miss:
	GCA_UREAD_END();
	return MISS;
}

static void put_word(struct kunit *test, u64 addr, u64 v)
{
	KUNIT_ASSERT_EQ(test, copy_to_user(u64_to_user_ptr(addr), &v, sizeof(v)), 0UL);
}

static void check_closed(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, access_open());
	KUNIT_EXPECT_FALSE(test, pagefault_disabled());
	KUNIT_EXPECT_FALSE(test, irqs_disabled());
}

/* A page that is there is read; the window is closed afterwards. */
static void test_hit(struct kunit *test)
{
	u64 i;

	for (i = 0; i < BYTES / 8; i += 61)
		put_word(test, arena->base + 8 * i, ~i);
	for (i = 0; i < BYTES / 8; i += 61) {
		KUNIT_ASSERT_EQ(test, read_word(arena->base + 8 * i), ~i);
		check_closed(test);
	}
}

/* Never touched: a miss, and nothing is allocated by looking. */
static void test_miss_fresh(struct kunit *test)
{
	unsigned long before;
	u64 i;

	put_word(test, arena->base, 1);
	before = get_mm_counter(mm, MM_ANONPAGES);
	for (i = 1; i < PAGES; i++) {
		KUNIT_EXPECT_EQ(test, read_word(arena->base + i * PAGE_SIZE), MISS);
		check_closed(test);
	}
	KUNIT_EXPECT_EQ(test, read_word(arena->base), 1ULL);
	KUNIT_EXPECT_EQ(test, get_mm_counter(mm, MM_ANONPAGES), before);
}

/* Unmapped since: a miss, the pages beside it are not affected. */
static void test_miss_unmapped(struct kunit *test)
{
	u64 i;

	for (i = 0; i < PAGES; i++)
		put_word(test, arena->base + i * PAGE_SIZE, i + 1);
	KUNIT_ASSERT_EQ(test, vm_munmap(arena->base + PAGE_SIZE, PAGE_SIZE), 0);
	for (i = 0; i < PAGES; i++) {
		u64 want = i == 1 ? MISS : i + 1;

		KUNIT_EXPECT_EQ(test, read_word(arena->base + i * PAGE_SIZE), want);
	}
	check_closed(test);
}

/* A reservation that is not all in the user's half gets no window. */
static void test_range(struct kunit *test)
{
	static const struct { u64 base, size; } bad[] = {
		{ PAGE_OFFSET, PAGE_SIZE },
		{ VMALLOC_START, PAGE_SIZE },
		{ 0, 1ULL << 63 },
		{ TASK_SIZE_MAX - PAGE_SIZE, 2 * PAGE_SIZE },
		{ ~0ULL - PAGE_SIZE + 1, PAGE_SIZE },
		{ ~0ULL - PAGE_SIZE + 1, 2 * PAGE_SIZE },
	};
	u64 base = arena->base;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		bool open;

		arena->base = bad[i].base;
		arena->size = bad[i].size;
		open = GCA_UREAD_BEGIN(arena);
		if (open)
			GCA_UREAD_END();
		KUNIT_EXPECT_FALSE_MSG(test, open, "%#llx", bad[i].base);
		check_closed(test);
	}
	arena->base = base;
	arena->size = BYTES;
}

/* Roots: only words of the range are kept, its end among them, in their order. */
static void test_sift(struct kunit *test)
{
	static const u64 word[] = { 0, 99, 100, 7, 150, 200, 201, ~0ULL, 101 };
	static const u64 kept[] = { 100, 150, 200, 101 };
	u64 at = arena->base + PAGE_SIZE - sizeof(word), got[ARRAY_SIZE(word)] = {};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(word); i++)
		put_word(test, at + 8 * i, word[i]);
	KUNIT_ASSERT_EQ(test, gca_sift_user(got, at, ARRAY_SIZE(word), 100, 100),
			(int)ARRAY_SIZE(kept));
	check_closed(test);
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		KUNIT_EXPECT_EQ(test, got[i], kept[i]);
	KUNIT_EXPECT_EQ(test, got[i], 0ULL);
	/* All of them; and no more than were asked for. */
	KUNIT_EXPECT_EQ(test, gca_sift_user(got, at, ARRAY_SIZE(word) - 1, 0, ~0ULL),
			(int)ARRAY_SIZE(word) - 1);
	KUNIT_EXPECT_EQ(test, got[ARRAY_SIZE(word) - 2], ~0ULL);
	KUNIT_EXPECT_EQ(test, got[ARRAY_SIZE(word) - 1], 0ULL);
}

/* What is not there, or not the user's, is said; and nothing is brought in by looking. */
static void test_sift_fault(struct kunit *test)
{
	static const u64 bad[] = { PAGE_OFFSET, VMALLOC_START, TASK_SIZE_MAX - 8, ~0ULL - 7 };
	unsigned long before;
	u64 got[2];
	u32 i;

	put_word(test, arena->base, 1);
	before = get_mm_counter(mm, MM_ANONPAGES);
	KUNIT_EXPECT_EQ(test, gca_sift_user(got, arena->base + PAGE_SIZE, 2, 0, ~0ULL), -EFAULT);
	check_closed(test);
	KUNIT_EXPECT_EQ(test, get_mm_counter(mm, MM_ANONPAGES), before);
	KUNIT_ASSERT_EQ(test, vm_munmap(arena->base, PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, gca_sift_user(got, arena->base, 2, 0, ~0ULL), -EFAULT);
	check_closed(test);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ_MSG(test, gca_sift_user(got, bad[i], 2, 0, ~0ULL), -EFAULT,
				    "%#llx", bad[i]);
		check_closed(test);
	}
}

/* Interrupts and preemption come and go while a window is open. */
static void test_preempted(struct kunit *test)
{
	u64 end = ktime_get_ns() + 200 * NSEC_PER_MSEC, i, misses = 0, windows = 0;

	for (i = 0; i < PAGES; i++)
		put_word(test, arena->base + i * PAGE_SIZE, i + 1);
	while (ktime_get_ns() < end) {
		u64 v, sum = 0;

		windows++;
		if (!GCA_UREAD_BEGIN(arena))
			break;
		for (i = 0; i < 5000; i++) {
			GCA_UREAD(v, arena->base + i % PAGES * PAGE_SIZE, miss);
			sum += v;
		}
		GCA_UREAD_END();
		if (sum != 5000 / PAGES * (PAGES * (PAGES + 1) / 2) + 36)
			misses++;
		continue;
miss:
		GCA_UREAD_END();
		misses++;
	}
	KUNIT_EXPECT_EQ(test, misses, 0ULL);
	KUNIT_EXPECT_GT(test, windows, 1ULL);
	check_closed(test);
}

/* Several bits at once, none lost between processors. */
static u64 shared_word[64];
static DECLARE_COMPLETION(other_runs);

static void set_some(u64 bits)
{
	u32 round, i;

	for (round = 0; round < 2000; round++)
		for (i = 0; i < ARRAY_SIZE(shared_word); i++)
			gca_set_bits(&shared_word[i], bits << (round % 16 * 4));
}

static int other_thread(void *unused)
{
	complete(&other_runs);
	set_some(5);
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

static void test_set_bits(struct kunit *test)
{
	struct task_struct *other;
	u32 i, wrong = 0;

	memset(shared_word, 0, sizeof(shared_word));
	reinit_completion(&other_runs);
	other = kthread_run(other_thread, NULL, "gcatest");
	KUNIT_ASSERT_FALSE(test, IS_ERR(other));
	wait_for_completion(&other_runs);
	set_some(10);
	kthread_stop(other);
	for (i = 0; i < ARRAY_SIZE(shared_word); i++)
		wrong += shared_word[i] != ~0ULL;
	KUNIT_EXPECT_EQ(test, wrong, 0U);
}

/* The suites before have taken the core's locks in all their orders. */
static void test_lockdep(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_PROVE_LOCKING))
		kunit_skip(test, "no lockdep");
	KUNIT_EXPECT_TRUE(test, debug_locks);
}

static struct kunit_case window_cases[] = {
	KUNIT_CASE(test_hit),
	KUNIT_CASE(test_miss_fresh),
	KUNIT_CASE(test_miss_unmapped),
	KUNIT_CASE(test_range),
	KUNIT_CASE(test_sift),
	KUNIT_CASE(test_sift_fault),
	KUNIT_CASE(test_preempted),
	KUNIT_CASE(test_set_bits),
	KUNIT_CASE(test_lockdep),
	{}
};

struct kunit_suite gca_window_suite = {
	.name = "gcarena_window",
	.suite_init = window_suite_init,
	.suite_exit = window_suite_exit,
	.init = window_init,
	.exit = window_exit,
	.test_cases = window_cases,
};
