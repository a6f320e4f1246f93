// SPDX-License-Identifier: GPL-2.0-only
/*
 * memory.c: the heap is ordinary memory: it counts as the process's, can be huge
 * pages, copied on write, paged out, limited by a memory cgroup, and it goes back
 * to the system when objects die.  And what the collector keeps beside it is
 * small.
 */
#define GCT_SUITE "memory"
#include "raw.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/swap.h>

#include <gcarena.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static struct gca_arena *arena;
static struct gca_mutator *mut;
static struct gca_stats st;

/* Below a few MiB nothing can be measured: heap_min, the per-CPU parts of counters. */
static uint64_t size_of(uint64_t n)
{
	return n / (gct_slow() > 1 ? 3 : 1);
}

struct pair {
	struct pair *left, *right;
	uint64_t serial, filler[5];
};

static void open_with(unsigned int flags, const char *debug)
{
	struct gca_options o = { .backend = gct_backend(), .reserve = 1ULL << 30, .debug = debug,
				 .flags = flags };

	arena = gca_open(&o);
	if (!arena)
		gct_note("# %s", gca_strerror());
	ASSERT_TRUE(arena);
	mut = gca_attach(arena);
	ASSERT_TRUE(mut);
}

/* A field of /proc/self/status, /proc/self/smaps_rollup, memory.stat: in KiB or as it is. */
static long field(const char *path, const char *name)
{
	char line[512];
	FILE *f = fopen(path, "r");
	long value = -1;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name))) {
			value = strtol(line + strlen(name), NULL, 10);
			break;
		}
	fclose(f);
	return value;
}

/* A field of the mappings in a range, from smaps, summed, in KiB. */
static long range_field(const char *name, uintptr_t base, size_t len)
{
	uintptr_t end = base + len;
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long lo, hi;
	bool ours = false;
	char line[512];
	long sum = 0;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2 && strchr(line, '-') < strchr(line, ' '))
			ours = lo >= base && hi <= end;
		else if (ours && !strncmp(line, name, strlen(name)))
			sum += strtol(line + strlen(name), NULL, 10);
	}
	fclose(f);
	return sum;
}

static long heap_field(const char *name)
{
	return range_field(name, mut->heap_base, mut->heap_size);
}

static struct pair *list;

/* A list of @n pairs of 64 bytes. */
static void make_list(const struct gca_layout *l, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct pair *p = gca_alloc(mut, l);

		if (!p)
			gct_note("# %" PRIu64 ": %s", i, gca_strerror());
		ASSERT_TRUE(p);
		p->serial = i;
		gca_store(mut, &p->left, list);
		list = p;
	}
}

static void check_list(uint64_t n)
{
	for (struct pair *p = list; p; p = p->left)
		ASSERT_EQ(p->serial, --n);
	ASSERT_EQ(n, 0);
}

static const struct gca_layout *pair_layout(void)
{
	const struct gca_layout *l = gca_layout_of(arena, struct pair, left, right);

	ASSERT_TRUE(l);
	return l;
}

static void collect(void)
{
	if (gca_collect(arena, 0)) {
		gct_note("# %s", gca_strerror());
		ASSERT_TRUE(false);
	}
}

TEST(counted_as_the_process)
{
	long anon = field("/proc/self/smaps_rollup", "Anonymous:"), heap;
	uint64_t n = size_of(300000);

	open_with(GCA_NO_AUTO_COLLECT, NULL);
	make_list(pair_layout(), n);
	heap = (long)(n * 64 / 1024);
	EXPECT_GE(field("/proc/self/smaps_rollup", "Anonymous:") - anon, heap);
	EXPECT_EQ(heap_field("Rss:"), heap_field("Anonymous:"));
	EXPECT_GE(heap_field("Rss:"), heap);
	collect();
	check_list(n);
	/* Marking has read it, and made nothing of it. */
	EXPECT_LE(heap_field("Rss:"), heap + heap / 8 + 4096);
	gca_close(arena);
}

/* Half of an old pointer and a small number are no address of the first objects. */
TEST(no_multiple_of_4_gib_is_near)
{
	const uint64_t span = 1ULL << 32;
	void *junk[16];

	for (int i = 0; i < 16; i++) {
		struct gca_options o = { .backend = gct_backend(),
					 .reserve = i % 2 ? 1ULL << 30 : 1ULL << 36 };
		struct gca_arena *a = gca_open(&o);
		struct gca_mutator *m;
		uint64_t ahead;

		ASSERT_TRUE(a);
		m = gca_attach(a);
		ASSERT_TRUE(m);
		ahead = span - m->heap_base % span;
		EXPECT_LT(ahead, span);
		EXPECT_GE(ahead, i % 2 ? 1ULL << 30 : 3ULL << 30);
		gca_close(a);
		junk[i] = mmap(NULL, 300 << 20, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		ASSERT_TRUE(junk[i] != MAP_FAILED);
	}
	for (int i = 0; i < 16; i++)
		munmap(junk[i], 300 << 20);
}

/* Metadata is at most 5 % of a heap of 64 MiB or more. */
TEST(metadata_is_small)
{
	uint64_t n = (80 << 20) / 64;

	if (gct_slow() > 1)
		SKIP("a heap of 80 MiB: on a stock kernel");
	open_with(GCA_NO_AUTO_COLLECT, NULL);
	make_list(pair_layout(), n);
	collect();
	ASSERT_EQ(gca_stats(arena, &st), 0);
	gct_note("# heap %" PRIu64 " KiB, metadata %" PRIu64 " KiB", st.heap_bytes >> 10,
		 st.metadata_bytes >> 10);
	EXPECT_GE(st.heap_bytes, 64 << 20);
	EXPECT_LE(st.metadata_bytes * 20, st.heap_bytes);
	gca_close(arena);
}

/* Counted when the pager has told of it, after the memory has gone. */
static uint64_t returned(void)
{
	ASSERT_EQ(gca_stats(arena, &st), 0);
	return st.returned_bytes;
}

/* After a peak the pager gives back what is free, and keeps a share for the next. */
TEST(returned_after_a_peak)
{
	uint64_t n = size_of(500000), kept;
	long peak, now = 0;

	open_with(0, NULL);
	/* So much is kept for the next cycle with nothing live: root ranges (a sanitizer's are large). */
	collect();
	ASSERT_EQ(gca_stats(arena, &st), 0);
	kept = st.goal_bytes * 11 / 10;
	n = n > 4 * kept / 64 ? n : 4 * kept / 64;
	make_list(pair_layout(), n);
	collect();
	peak = heap_field("Rss:");
	EXPECT_GE(peak, (long)(n * 64 / 1024));
	list = NULL;
	gct_clean_stack();
	for (int i = 0; i < 100; i++) {
		if (i < 4)
			collect();
		gct_sleep_ms(100);
		now = heap_field("Rss:");
		if (now < peak / 4 + 4096 && returned())
			break;
		/* The goal follows what is live: what is over it goes. */
		if (i % 10 == 9)
			collect();
	}
	ASSERT_EQ(gca_stats(arena, &st), 0);
	gct_note("# peak %ld KiB, now %ld KiB, live %" PRIu64 " KiB, returned %" PRIu64 " KiB",
		 peak, now, st.live_bytes >> 10, st.returned_bytes >> 10);
	EXPECT_LT(now, peak / 4 + 4096);
	EXPECT_GT(st.returned_bytes, 0);
	/* And it can be used again, zeroed. */
	make_list(pair_layout(), n / 4);
	collect();
	check_list(n / 4);
	gca_close(arena);
}

/* What has become free since the pager last took something is news to it. */
TEST(returned_in_two_steps)
{
	uint64_t n = size_of(500000), first;
	static struct pair *volatile other;

	if (gct_slow() > 1)
		SKIP("a heap of 40 MiB: on a stock kernel");
	gct_want_module();	/* whose heap has a name in /proc */
	open_with(0, NULL);
	make_list(pair_layout(), n / 3);
	other = list;
	list = NULL;
	make_list(pair_layout(), n);
	list = NULL;
	gct_clean_stack();
	collect();
	for (int i = 0; i < 100 && (heap_field("Rss:") > (long)(n * 64 / 1024) || !returned()); i++)
		gct_sleep_ms(100);
	first = returned();
	EXPECT_GT(first, 0);
	other = NULL;
	gct_clean_stack();
	collect();
	for (int i = 0; i < 100 && returned() <= first; i++)
		gct_sleep_ms(100);
	gct_note("# returned %" PRIu64 " KiB, then %" PRIu64 " KiB in all; live %" PRIu64 " KiB",
		 first >> 10, st.returned_bytes >> 10, st.live_bytes >> 10);
	EXPECT_GT(st.returned_bytes, first);
	gca_close(arena);
}

/* Dropped whole: its memory is back at once. */
TEST(dropped_whole)
{
	long anon = field("/proc/self/smaps_rollup", "Anonymous:"), peak;
	uint64_t n = size_of(300000);

	for (int i = 0; i < 3; i++) {
		open_with(GCA_NO_AUTO_COLLECT, NULL);
		list = NULL;
		make_list(pair_layout(), n);
		peak = field("/proc/self/smaps_rollup", "Anonymous:");
		gca_close(arena);
		EXPECT_LE(field("/proc/self/smaps_rollup", "Anonymous:"), peak - (long)(n * 64 / 1024));
	}
	EXPECT_LE(field("/proc/self/smaps_rollup", "Anonymous:"), anon + 4096);
}

/* Cycles that nobody asked for: what they leave is swept, and returned, though nobody allocates. */
TEST(returned_by_itself)
{
	static void *keep[64];
	const struct gca_layout *l;
	uint64_t peak, end;

	open_with(0, NULL);
	l = pair_layout();
	/* Large ones: a stray pointer keeps one of them. */
	for (int i = 0; i < 64; i++) {
		keep[i] = gca_alloc_noscan(mut, 512 << 10);
		ASSERT_TRUE(keep[i]);
	}
	ASSERT_EQ(gca_stats(arena, &st), 0);
	peak = st.heap_bytes;
	EXPECT_GE(peak, 32 << 20);
	memset(keep, 0, sizeof(keep));
	/* The peak is forgotten with time. */
	for (end = st.cycles + 20; st.cycles < end;) {
		for (int i = 0; i < 1000; i++)
			ASSERT_TRUE(gca_alloc(mut, l));
		ASSERT_EQ(gca_stats(arena, &st), 0);
	}
	while (st.heap_bytes > st.live_bytes + (4 << 20) ||
	       st.heap_bytes + st.free_bytes > peak / 4 * 3) {
		gct_sleep_ms(10);
		ASSERT_EQ(gca_stats(arena, &st), 0);
	}
	gct_note("# peak %" PRIu64 " KiB, in spans %" PRIu64 ", free %" PRIu64 ", live %" PRIu64
		 ", %" PRIu64 " cycles, %" PRIu64 " forced", peak >> 10, st.heap_bytes >> 10,
		 st.free_bytes >> 10, st.live_bytes >> 10, st.cycles, st.forced_cycles);
	EXPECT_EQ(st.forced_cycles, 0);
	gca_close(arena);
}

TEST(bounded_with_automatic_cycles)
{
	uint64_t n = size_of(2000000), i;

	open_with(0, "checkmark");
	{
		const struct gca_layout *l = pair_layout();

		make_list(l, 10000);
		for (i = 0; i < n; i++)
			ASSERT_TRUE(gca_alloc(mut, l));
	}
	ASSERT_EQ(gca_stats(arena, &st), 0);
	gct_note("# %" PRIu64 " MiB allocated, heap %" PRIu64 " KiB, %" PRIu64 " cycles",
		 st.allocated_bytes >> 20, st.heap_bytes >> 10, st.cycles);
	EXPECT_LE(st.heap_bytes, 32 << 20);
	EXPECT_LE(heap_field("Rss:"), 40 << 10);
	if (n * 64 > 64 << 20)
		EXPECT_GT(st.cycles, 2);
	check_list(10000);
	gca_close(arena);
}

TEST(huge_pages)
{
	uint64_t n = size_of(400000);
	char mode[100] = "", *plain;
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");

	if (!f || !fgets(mode, sizeof(mode), f) || strstr(mode, "[never]"))
		SKIP("this kernel has no transparent huge pages");
	fclose(f);
	/* What any anonymous memory gets here, the heap must get. */
	plain = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(plain, 8 << 20, MADV_HUGEPAGE);
	memset(plain, 1, 8 << 20);
	if (!range_field("AnonHugePages:", (uintptr_t)plain & ~0x1fffffUL, 12 << 20))
		SKIP("no huge page to be had");
	munmap(plain, 8 << 20);
	open_with(GCA_NO_AUTO_COLLECT, "checkmark");
	EXPECT_EQ(mut->heap_base % (2 << 20), 0);
	ASSERT_EQ(madvise((void *)mut->heap_base, mut->heap_size, MADV_HUGEPAGE), 0);
	make_list(pair_layout(), n);
	gct_note("# %ld KiB of %ld KiB in huge pages", heap_field("AnonHugePages:"),
		 heap_field("Rss:"));
	EXPECT_GE(heap_field("AnonHugePages:"), heap_field("Rss:") / 2);
	collect();
	check_list(n);
	/* Split under the collector. */
	for (uint64_t at = 0; at < n * 64; at += 2 << 20)
		madvise((void *)(mut->heap_base + at), 4096, MADV_PAGEOUT);
	collect();
	check_list(n);
	gca_close(arena);
}

/* Swap on run's --disk, or on a compressed RAM disk; false: none to be had. */
static bool swap_on(void)
{
	/* Known by its serial number: any other disk may be somebody's. */
	if (!system("for d in /sys/block/vd*; do "
		    "[ \"$(cat $d/serial)\" = gcarena-scratch ] && mkswap /dev/${d##*/} && "
		    "swapon /dev/${d##*/} && exit 0; done > /dev/null 2>&1; exit 1"))
		return true;
	return !system("(modprobe zram && echo 64M > /sys/block/zram0/disksize && "
		       "mkswap /dev/zram0 && swapon /dev/zram0) > /dev/null 2>&1");
}

TEST(paged_out)
{
	uint64_t n = size_of(200000);
	long swapped;

	if (!swap_on())
		SKIP("no swap to be had");
	open_with(GCA_NO_AUTO_COLLECT, "checkmark");
	make_list(pair_layout(), n);
	collect();
	for (int round = 0; round < 2; round++) {
		madvise((void *)mut->heap_base, n * 80, MADV_PAGEOUT);
		swapped = heap_field("Swap:");
		gct_note("# %ld KiB paged out", swapped);
		EXPECT_GT(swapped, 1024);
		if (!round)
			collect();
		else
			ASSERT_EQ(gca_collect(arena, GCA_COLLECT_UNTIL_MARKING), 0);
	}
	collect();
	ASSERT_EQ(gca_stats(arena, &st), 0);
	gct_note("# %" PRIu64 " objects missed", st.missed_objects);
	EXPECT_GT(st.missed_objects, 0);
	EXPECT_EQ(st.void_cycles, 0);
	EXPECT_EQ(st.leaf_pages, 0);
	check_list(n);
	gca_close(arena);
	EXPECT_EQ(system("swapoff -a > /dev/null 2>&1"), 0);
}

/* ------------------------------------------------------------------- cgroups */

#define GROUP	"/sys/fs/cgroup/gct"

static bool group_make(const char *max)
{
	char pid[20];

	rmdir(GROUP);
	if (mkdir(GROUP, 0755) || gct_file_write(GROUP "/memory.max", max))
		return false;
	gct_file_write(GROUP "/memory.swap.max", "0");
	snprintf(pid, sizeof(pid), "%d", getpid());
	return !gct_file_write(GROUP "/cgroup.procs", pid);
}

/* In a child, in the group; the group can be removed 2 s after its end at the latest. */
#define IN_GROUP(max, ...) do {					\
	int status_, tries_;						\
	pid_t pid_ = fork();						\
									\
	ASSERT_GE(pid_, 0);						\
	if (!pid_) {							\
		gct_failed = 0;						\
		if (!group_make(max))					\
			_exit(GCT_SKIPPED);				\
		__VA_ARGS__;						\
		_exit(gct_failed);					\
	}								\
	ASSERT_EQ(waitpid(pid_, &status_, 0), pid_);			\
	for (tries_ = 0; tries_ < 200 && rmdir(GROUP) && errno != ENOENT; tries_++) \
		gct_sleep_ms(10);					\
	EXPECT_LT(tries_, 200);						\
	status = status_;						\
} while (0)

/* Four times as much as the limit is allocated; what is live is a quarter of it. */
TEST(memory_limit_with_garbage)
{
	int status;

	IN_GROUP("64M", {
		uint64_t n = size_of(4000000);
		const struct gca_layout *l;

		open_with(0, NULL);
		l = pair_layout();
		make_list(l, 100000);
		for (uint64_t i = 0; i < n; i++)
			ASSERT_TRUE(gca_alloc(mut, l));
		check_list(100000);
		EXPECT_LE(field(GROUP "/memory.events", "oom_kill "), 0);
		gca_close(arena);
	});
	if (WIFEXITED(status) && WEXITSTATUS(status) == GCT_SKIPPED)
		SKIP("no memory cgroup");
	EXPECT_EQ(status, 0);
}

/* Metadata is charged to the owner. */
TEST(metadata_is_charged)
{
	int status;

	IN_GROUP("256M", {
		long before = field(GROUP "/memory.stat", "kernel "), after;
		struct raw r[8];

		for (int i = 0; i < 8; i++) {
			ASSERT_EQ(raw_arena(&r[i]), 0);
			ASSERT_EQ(raw_attach(&r[i]), 0);
			for (uint32_t sc = 0; sc < 200; sc += 8)
				ASSERT_EQ(raw_refill(&r[i], sc, 32), 0);
		}
		after = field(GROUP "/memory.stat", "kernel ");
		if (before >= 0) {
			struct gcarena_stats s;

			ASSERT_EQ(raw_stats(&r[0], &s), 0);
			gct_note("# metadata 8 x %llu, charged %ld", s.metadata, after - before);
			EXPECT_GE(after - before, (long)s.metadata * 7);
		}
	});
	if (WIFEXITED(status) && WEXITSTATUS(status) == GCT_SKIPPED)
		SKIP("no memory cgroup");
	EXPECT_EQ(status, 0);
}

/* The limit is hit for real: the process dies alone, and nothing is left. */
TEST(killed_by_the_memory_limit)
{
	long arenas = gct_arenas();
	int status;

	/*
	 * The kernel shows a call trace for each process it kills, which our own
	 * log reader takes for a splat: not on the console for this moment.
	 */
	gct_file_write("/proc/sys/kernel/printk", "1");
	IN_GROUP("32M", {
		open_with(0, NULL);
		make_list(pair_layout(), 10000000);
	});
	gct_file_write("/proc/sys/kernel/printk", "8");
	if (WIFEXITED(status) && WEXITSTATUS(status) == GCT_SKIPPED)
		SKIP("no memory cgroup");
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	EXPECT_TRUE(gct_arenas_become(arenas));
}

TEST_HARNESS_MAIN
