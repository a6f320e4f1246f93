// SPDX-License-Identifier: GPL-2.0-only
/*
 * stop_phase.c: a thread is inside the section of gca_store(), has read "no barrier",
 * and its store faults; while the fault lasts a cycle begins.  The section must begin
 * anew: the store overwrites the last pointer to an object that was reachable in the
 * snapshot, and that the main thread has read since.
 *
 * The holder of the slot is grey but not scanned yet (UNTIL_MARKING), so only the
 * barrier tells of the object; a plain store loses it.  Twice: with a fault that sleeps
 * (write protection by userfaultfd), and with one that works for long without sleeping
 * (2 MiB are copied).  In the first the scheduler restarts the section; in the second,
 * if the stop lasts longer than the copy, too: so that the callback itself restarts it
 * is not shown here.
 */
#define GCT_SUITE "stop_phase"
#include "raw.h"

#include <linux/userfaultfd.h>
#include <sched.h>

#include <gcarena.h>

#define BIG	(192 << 10)
#define HUGE	(2UL << 20)

static struct gca_arena *arena;
static struct gca_mutator *mut;
static void *volatile holder_root;		/* in bss: a plain root */
static uint64_t holder_bytes;
static uintptr_t hidden;			/* the object, inverted */

static volatile int storer_go, storer_state;
static bool plain;				/* the test of the test: no gca_store() */
static unsigned long nr_seen;			/* stores that came after the stop */

static void open_with(uint32_t stop, uint32_t flags)
{
	struct gca_options o = { .backend = gct_backend(), .reserve = 1ULL << 28, .stop = stop,
				 .flags = GCA_NO_AUTO_COLLECT | flags };

	arena = gca_open(&o);
	if (!arena && errno == EOPNOTSUPP)
		gct_want_engine(stop == GCA_STOP_SIGNAL ? GCARENA_CREATE_SIGNAL :
				GCARENA_CREATE_TASKWORK);
	if (!arena)
		gct_note("# %s", gca_strerror());
	ASSERT_TRUE(arena);
	mut = gca_attach(arena);
	ASSERT_TRUE(mut);
}

/* A new object in the holder's slot; nowhere else but inverted. */
static __attribute__((noinline)) void fill_slot(void *volatile *slot)
{
	void *p = gca_alloc_noscan(mut, BIG);

	ASSERT_TRUE(p);
	memset(p, 0x5a, BIG);
	gca_store(mut, (void *)(uintptr_t)slot, p);
	hidden = ~(uintptr_t)p;
}

static uint64_t live(void)
{
	struct gca_stats s;

	ASSERT_EQ(gca_stats(arena, &s), 0);
	return s.live_bytes;
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Stores NULL over the pointer, once for each time it is told to. */
static void *storer_thread(void *arg)
{
	void *volatile *slot = arg;
	struct gca_mutator *m = gca_attach(arena);
	int n = 0;

	on_cpu(1);
	if (!m)
		_exit(4);
	for (storer_state = 1;; storer_state = 1) {
		while (storer_go == n)
			;
		n = storer_go;
		if (n < 0)
			break;
		storer_state = 2;
		if (plain)
			*slot = NULL;
		else
			gca_store(m, (void *)(uintptr_t)slot, NULL);
		gct_clean_stack();
	}
	gca_detach(m);
	return NULL;
}

/* No pointer stays in this caller's frame. */
static __attribute__((noinline)) bool is_null(void *volatile *slot)
{
	return !*slot;
}

/* One store that faults as a cycle begins.  @resolve ends the fault, or it ends itself. */
static void one_store(void *volatile *slot, void (*wait)(void), void (*resolve)(void))
{
	bool seen;

	storer_state = 0;
	storer_go++;
	while (storer_state != 2 && storer_state != 1)
		;
	wait();
	if (gca_collect(arena, GCA_COLLECT_UNTIL_MARKING)) {
		gct_note("# %s", gca_strerror());
		ASSERT_TRUE(false);
	}
	/* Marking has begun, and the store has not happened: the object is ours to load. */
	seen = !is_null(slot);
	/*
	 * Again and again: a fault that comes just as its page becomes writable can go to
	 * sleep all the same, and nobody wakes it.  That is the kernel's (it looks whether
	 * the page is writable yet, which its write protection that is gone does not make
	 * it), and happens without us.
	 */
	do
		resolve();
	while (storer_state != 1);
	ASSERT_TRUE(is_null(slot));
	ASSERT_EQ(gca_collect(arena, GCA_COLLECT_UNTIL_MARKED), 0);
	if (seen) {
		nr_seen++;
		if (plain)
			EXPECT_EQ(live(), holder_bytes);
		else
			EXPECT_GE(live(), holder_bytes + BIG);
	}
	gct_clean_stack();
	ASSERT_EQ(gca_collect(arena, 0), 0);
	EXPECT_EQ(live(), holder_bytes);
}

/* ------------------------------------------------------------------- it sleeps */

static int uffd;
static void *wp_page;

static void wp_wait(void)
{
	struct uffd_msg msg;

	ASSERT_EQ(read(uffd, &msg, sizeof(msg)), sizeof(msg));
	ASSERT_TRUE(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
}

static void wp_set(uint64_t mode)
{
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)wp_page, 4096 }, .mode = mode };

	ASSERT_EQ(ioctl(uffd, UFFDIO_WRITEPROTECT, &wp), 0);
}

static void wp_clear(void)
{
	wp_set(0);
}

static void store_that_sleeps(uint32_t stop)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };
	void *volatile *slot;
	pthread_t t;

	on_cpu(0);
	open_with(stop, 0);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		SKIP("no userfaultfd with write protection");
	holder_bytes = 4096;
	holder_root = gca_alloc_conservative(mut, holder_bytes);
	slot = (void *volatile *)holder_root;
	reg.range.start = mut->heap_base;
	reg.range.len = mut->heap_size;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		SKIP("no write protection of the heap: errno %d", errno);
	wp_page = (void *)((uintptr_t)slot & ~4095UL);
	ASSERT_EQ(pthread_create(&t, NULL, storer_thread, (void *)(uintptr_t)slot), 0);
	while (storer_state != 1)
		;
	for (unsigned long i = 0; i < gct_scale(20); i++) {
		fill_slot(slot);
		wp_set(UFFDIO_WRITEPROTECT_MODE_WP);
		gct_clean_stack();
		one_store(slot, wp_wait, wp_clear);
	}
	EXPECT_EQ(nr_seen, gct_scale(20));
	storer_go = -1;
	pthread_join(t, NULL);
}

TEST(store_that_sleeps_taskwork)
{
	store_that_sleeps(GCA_STOP_TASKWORK);
}

TEST(store_that_sleeps_signal)
{
	store_that_sleeps(GCA_STOP_SIGNAL);
}

/* A store that tells nobody loses the object: nothing else has kept it. */
TEST(plain_store_that_sleeps)
{
	plain = true;
	store_that_sleeps(GCA_STOP_AUTO);
}

/* -------------------------------------------------------- it works without sleeping */

static void nothing(void)
{
}

/* Huge pages put under a part of the heap, and shared with a child: so a store copies. */
static void store_that_copies(uint32_t stop)
{
	void *volatile *slot;
	uint64_t at;
	pthread_t t;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP("one processor");
	gct_file_write("/proc/sys/vm/nr_hugepages", "8");
	if (gct_file_long("/proc/sys/vm/nr_hugepages") < 8)
		SKIP("no huge pages");
	/* The pager, too: who runs beside the storer would restart its section. */
	on_cpu(0);
	/* A short stop, shorter than the copy. */
	open_with(stop, GCA_NO_PLAIN_ROOTS | GCA_NO_TLS_ROOTS);
	ASSERT_EQ(gca_root_add(arena, (void *)(uintptr_t)&holder_root, sizeof(holder_root), 0), 0);
	/* The holder has 2 MiB of the heap of its own, somewhere in its 4. */
	holder_bytes = 2 * HUGE;
	holder_root = gca_alloc_conservative(mut, holder_bytes);
	at = ((uintptr_t)holder_root + HUGE - 1) & -HUGE;
	if (mmap((void *)at, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_FIXED | MAP_HUGETLB, -1, 0) == MAP_FAILED)
		SKIP("no huge page can be mapped");
	slot = (void *volatile *)at;
	ASSERT_EQ(pthread_create(&t, NULL, storer_thread, (void *)(uintptr_t)slot), 0);
	while (storer_state != 1)
		;
	for (unsigned long i = 0; i < gct_scale(20); i++) {
		int status;
		pid_t pid;

		fill_slot(slot);
		pid = fork();
		if (!pid) {
			pause();
			_exit(0);
		}
		gct_clean_stack();
		one_store(slot, nothing, nothing);
		kill(pid, SIGKILL);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
	}
	gct_note("# %lu of %lu stores came after the stop", nr_seen, gct_scale(20));
	storer_go = -1;
	pthread_join(t, NULL);
}

TEST(store_that_copies_taskwork)
{
	store_that_copies(GCA_STOP_TASKWORK);
}

TEST(store_that_copies_signal)
{
	store_that_copies(GCA_STOP_SIGNAL);
}

TEST(plain_store_that_copies)
{
	plain = true;
	store_that_copies(GCA_STOP_AUTO);
}

TEST_HARNESS_MAIN
