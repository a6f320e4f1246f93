// SPDX-License-Identifier: GPL-2.0-only
/*
 * faults.c: what the owner can do to its heap behind the collector's back, before
 * marking and in the middle of it: munmap, mprotect, MADV_DONTNEED, mappings of
 * other things over it (anonymous, a file, the collector's own pages, a range
 * whose faults nobody answers), protection keys.
 *
 * Required: no crash, no hang, the process can be killed, the cycle is done with
 * the page as a leaf or void for a reason, and the next arena works.
 */
#define GCT_SUITE "faults"
#include "raw.h"

#include <linux/userfaultfd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define CLASS	GCARENA_SPAN_CLASS(6, GCARENA_CONSERVATIVE)	/* 64 bytes */

FIXTURE(arena) {
	struct raw r;
	uint64_t *head;
	uint64_t middle;	/* a page in the middle of what is in use */
	size_t len;
};

static void fill(struct raw *r, uint64_t *volatile *head, uint64_t *middle, size_t *len)
{
	uint64_t lo = UINT64_MAX, hi = 0, *p;

	for (int i = 0; i < 4000; i++) {
		p = (uint64_t *)raw_alloc(r, CLASS);
		ASSERT_TRUE(p);
		p[0] = (uintptr_t)*head;
		p[1] = (uint64_t)i;
		*head = p;
		if ((uintptr_t)p < lo)
			lo = (uintptr_t)p;
		if ((uintptr_t)p > hi)
			hi = (uintptr_t)p;
	}
	*middle = (lo + (hi - lo) / 2) & ~8191ULL;
	*len = (hi - lo) / 4 & ~8191ULL;
	ASSERT_GT(*len, 0);
}

FIXTURE_SETUP(arena)
{
	ASSERT_EQ(raw_arena(&self->r), 0);
	ASSERT_EQ(raw_attach(&self->r), 0);
	fill(&self->r, (uint64_t *volatile *)&self->head, &self->middle, &self->len);
}

FIXTURE_TEARDOWN(arena)
{
	raw_close(&self->r);
}

/*
 * @harm is done with the phase off, and then, on an arena of its own, between
 * the begin stop and the end of marking.
 */
static void both_ways(FIXTURE_DATA(arena) *self, int (*harm)(void *at, size_t len, struct raw *r),
		      int want_void)
{
	struct gcarena_collect c;
	struct gcarena_stats s;
	uint64_t *volatile head;	/* the fixture is no root, this frame is */

	for (int way = 0; way < 2; way++) {
		head = self->head;
		if (way) {
			raw_close(&self->r);
			ASSERT_EQ(raw_arena(&self->r), 0);
			ASSERT_EQ(raw_attach(&self->r), 0);
			head = NULL;
			fill(&self->r, &head, &self->middle, &self->len);
			ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
		}
		if (harm((void *)self->middle, self->len, &self->r))
			SKIP("not to be had: %s", strerror(errno));
		ASSERT_EQ(raw_collect(&self->r, way ? GCARENA_COLLECT_UNTIL_MARKED : 0, &c), 0);
		if (want_void >= 0)
			EXPECT_EQ(c.void_reason, want_void);
		ASSERT_EQ(raw_stats(&self->r, &s), 0);
		if (c.result == GCARENA_RESULT_DONE)
			EXPECT_GE(s.cycles, 1);
		/* Whatever it was, the arena goes on. */
		EXPECT_EQ(raw_collect(&self->r, 0, &c), 0);
		EXPECT_EQ(raw_refill(&self->r, GCARENA_SPAN_CLASS(0, GCARENA_NOSCAN), 4), 0);
	}
}

static int do_munmap(void *at, size_t len, struct raw *r)
{
	(void)r;
	return munmap(at, len);
}

static int do_none(void *at, size_t len, struct raw *r)
{
	(void)r;
	return mprotect(at, len, PROT_NONE);
}

static int do_dontneed(void *at, size_t len, struct raw *r)
{
	(void)r;
	return madvise(at, len, MADV_DONTNEED);
}

static int do_anonymous(void *at, size_t len, struct raw *r)
{
	(void)r;
	return mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		    -1, 0) == MAP_FAILED;
}

static int do_file(void *at, size_t len, struct raw *r)
{
	int fd = open("/proc/self/exe", O_RDONLY);

	(void)r;
	/* Longer than the file: behind its end there is SIGBUS. */
	return mmap(at, len, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED;
}

static int do_control(void *at, size_t len, struct raw *r)
{
	(void)len;
	/* A fixed map of the area over the heap: allowed, and read as memory. */
	return mmap(at, r->attach.map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->fd,
		    (off_t)r->attach.map_offset) == MAP_FAILED;
}

static int do_mremap(void *at, size_t len, struct raw *r)
{
	(void)r;
	return mremap(at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
		      mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) == MAP_FAILED;
}

static int do_all_munmap(void *at, size_t len, struct raw *r)
{
	(void)at;
	(void)len;
	return munmap(r->heap, r->heap_size);
}

static int do_write_only(void *at, size_t len, struct raw *r)
{
	(void)r;
	return mprotect(at, len, PROT_WRITE);
}

TEST_F(arena, unmapped)		{ both_ways(self, do_munmap, GCARENA_VOID_NONE); }
TEST_F(arena, all_unmapped)	{ both_ways(self, do_all_munmap, GCARENA_VOID_NONE); }
TEST_F(arena, moved)		{ both_ways(self, do_mremap, GCARENA_VOID_NONE); }
TEST_F(arena, prot_none)	{ both_ways(self, do_none, GCARENA_VOID_NONE); }
TEST_F(arena, prot_write)	{ both_ways(self, do_write_only, -1); }
TEST_F(arena, dontneed)		{ both_ways(self, do_dontneed, GCARENA_VOID_NONE); }
TEST_F(arena, anonymous_over)	{ both_ways(self, do_anonymous, GCARENA_VOID_NONE); }
TEST_F(arena, file_over)	{ both_ways(self, do_file, -1); }
TEST_F(arena, own_pages_over)	{ both_ways(self, do_control, -1); }

/* What is unreadable is a leaf: counted. */
TEST_F(arena, leaves_are_counted)
{
	uint64_t *volatile head __attribute__((unused)) = self->head;
	struct gcarena_stats s;

	ASSERT_EQ(munmap((void *)self->middle, self->len), 0);
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_GT(s.leaves, 0);
	EXPECT_EQ(s.voided, 0);
}

static int key;

static int do_key(void *at, size_t len, struct raw *r)
{
	(void)r;
	key = (int)syscall(SYS_pkey_alloc, 0, 1 /* PKEY_DISABLE_ACCESS */);
	return key < 0 || syscall(SYS_pkey_mprotect, at, len, PROT_READ | PROT_WRITE, key);
}

/* A key denies the owner's own read: readable memory that cannot be read, so void. */
TEST_F(arena, protection_key)
{
	both_ways(self, do_key, GCARENA_VOID_UNREADABLE);
}

static int do_uffd(void *at, size_t len, struct raw *r)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)at, len }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return -1;
	if (do_anonymous(at, len, r))
		return -1;
	return ioctl(fd, UFFDIO_REGISTER, &reg);
}

static void *server(void *arg)
{
	struct raw *r = arg;
	struct gcarena_serve s = { .size = sizeof(s) };

	raw_ioctl(r->fd, GCARENA_IOC_SERVE, &s);
	return NULL;
}

/*
 * Faults that nobody ever answers: COLLECT hangs in the owner's own context, and
 * only there: it can be killed, with and without a pager, and all is freed.
 */
TEST(faults_without_an_answer)
{
	long arenas = gct_arenas();

	for (int how = 0; how < 4; how++) {
		int status, ready[2];
		char byte;
		pid_t pid;

		ASSERT_EQ(pipe(ready), 0);
		pid = fork();
		if (!pid) {
			uint64_t *volatile head = NULL;
			uint64_t middle;
			pthread_t t;
			struct raw r;
			size_t len;

			ASSERT_EQ(raw_arena(&r), 0);
			ASSERT_EQ(raw_attach(&r), 0);
			fill(&r, &head, &middle, &len);
			if (how & 1)
				ASSERT_EQ(raw_collect(&r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
			if (do_uffd((void *)middle, len, &r))
				_exit(GCT_SKIPPED);
			if (how & 2) {
				ASSERT_EQ(pthread_create(&t, NULL, server, &r), 0);
				gct_sleep_ms(50);
			}
			ASSERT_EQ(write(ready[1], "x", 1), 1);
			raw_collect(&r, how & 1 ? GCARENA_COLLECT_UNTIL_MARKED : 0, NULL);
			_exit(0);
		}
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1) {
			waitpid(pid, &status, 0);
			ASSERT_EQ(WEXITSTATUS(status), GCT_SKIPPED);
			SKIP("no userfaultfd");
		}
		close(ready[0]);
		gct_sleep_ms(200 * gct_slow());
		EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);	/* it does hang */
		kill(pid, SIGKILL);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_TRUE(gct_arenas_become(arenas));
	}
}

static void on_poison(int sig)
{
	(void)sig;
}

/* Who injects an error is told of it by SIGBUS; who only collects is not. */
static int do_hwpoison(void *at, size_t len, struct raw *r)
{
	int err;

	(void)len;
	(void)r;
	signal(SIGBUS, on_poison);
	err = madvise(at, 4096, 100 /* MADV_HWPOISON */);
	signal(SIGBUS, SIG_DFL);
	return err;
}

/*
 * A memory error: the page is lost and whoever reads it gets SIGBUS.  The kernel
 * does not say what was on it, so nobody may conclude that there were no pointers.
 */
TEST_F(arena, hardware_poison)
{
	both_ways(self, do_hwpoison, GCARENA_VOID_UNREADABLE);
}

/* The owner gives the page up: the next cycle is done, with what is left. */
TEST_F(arena, hardware_poison_replaced)
{
	uint64_t *volatile head __attribute__((unused)) = self->head;
	struct gcarena_collect c;

	if (do_hwpoison((void *)self->middle, 0, &self->r))
		SKIP("not to be had: %s", strerror(errno));
	ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.void_reason, GCARENA_VOID_UNREADABLE);
	ASSERT_EQ(do_anonymous((void *)self->middle, 4096, &self->r), 0);
	ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
	EXPECT_EQ(c.void_reason, GCARENA_VOID_NONE);
}

struct waiter {
	struct raw *r;
	volatile int done;
	int result;
};

/* Another thread pulls the heap away while COLLECT reads it. */
static void *harmer(void *arg)
{
	struct waiter *w = arg;
	uint64_t seed = gct_now_ms() | 1;

	while (!w->done) {
		char *at = w->r->heap + gct_random(&seed) % (1 << 20) / 4096 * 4096;

		switch (gct_random(&seed) % 5) {
		case 0:
			madvise(at, 16384, MADV_DONTNEED);
			break;
		case 1:
			mprotect(at, 16384, PROT_NONE);
			mprotect(at, 16384, PROT_READ | PROT_WRITE);
			break;
		case 2:
			mmap(at, 16384, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			break;
		case 3:
			madvise(at, 65536, 21 /* MADV_PAGEOUT */);
			break;
		case 4:
			munmap(at, 4096);
			mmap(at, 4096, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			break;
		}
	}
	return NULL;
}

TEST_F(arena, while_collect_reads)
{
	struct waiter w = { &self->r, 0, 0 };
	uint64_t *volatile head __attribute__((unused)) = self->head;
	struct gcarena_collect c;
	pthread_t t;

	ASSERT_EQ(pthread_create(&t, NULL, harmer, &w), 0);
	for (unsigned long i = 0; i < gct_scale(200); i++) {
		ASSERT_EQ(raw_collect(&self->r, i % 3 ? 0 : GCARENA_COLLECT_UNTIL_MARKING, &c), 0);
		if (c.result)
			EXPECT_EQ(c.void_reason, GCARENA_VOID_UNREADABLE);
		raw_refill(&self->r, CLASS, 4);
	}
	w.done = 1;
	pthread_join(t, NULL);
	EXPECT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
}

/* A plain root that cannot be read is a leaf, too. */
TEST_F(arena, unreadable_root)
{
	struct gcarena_range a[2] = {
		{ self->middle, 8192, GCARENA_ROOT_PLAIN, 0 }, { 4096, 8192, GCARENA_ROOT_BARRIERED, 0 },
	};
	struct gcarena_roots q = { .size = sizeof(q), .add = (uintptr_t)a, .nr_add = 2 };
	uint64_t *volatile head __attribute__((unused)) = self->head;
	struct gcarena_collect c;

	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_ROOTS, &q), 0);
	munmap((void *)self->middle, 8192);
	ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
}

TEST_HARNESS_MAIN
