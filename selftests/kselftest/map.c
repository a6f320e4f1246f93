// SPDX-License-Identifier: GPL-2.0-only
/*
 * map.c: what may be mapped, how, and what the owner may do to it afterwards.
 *
 * Heap: private, read-write, whole, once; ordinary memory from then on.  Control
 * page: shared, read-only for ever, once; its end is the arena's death.  Mutator
 * area: shared, read-write, whole.  The last two are not inherited, cannot be
 * split, moved or grown.
 */
#define GCT_SUITE "map"
#include "raw.h"

#include <setjmp.h>

FIXTURE(arena) {
	struct raw r;
};

FIXTURE_SETUP(arena)
{
	ASSERT_EQ(raw_arena_of(&self->r, RAW_RESERVE), 0);
}

FIXTURE_TEARDOWN(arena)
{
	raw_close(&self->r);
}

/* mmap(): 0 (and unmapped again) or -errno. */
static int try_map(struct raw *r, uint64_t offset, size_t len, int prot, int flags)
{
	void *p = mmap(NULL, len, prot, flags, r->fd, (off_t)offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, len);
	return 0;
}

#define RW	(PROT_READ | PROT_WRITE)
#define PRIV	(MAP_PRIVATE | MAP_NORESERVE)

TEST_F(arena, heap_refuses)
{
	struct raw *r = &self->r;

	EXPECT_EQ(try_map(r, r->heap_offset, r->heap_size, RW, MAP_SHARED), -EINVAL);
	EXPECT_EQ(try_map(r, r->heap_offset, r->heap_size, PROT_READ, PRIV), -EINVAL);
	EXPECT_EQ(try_map(r, r->heap_offset, r->heap_size, PROT_NONE, PRIV), -EINVAL);
	EXPECT_EQ(try_map(r, r->heap_offset, r->heap_size, RW | PROT_EXEC, PRIV), -EINVAL);
	EXPECT_EQ(try_map(r, r->heap_offset, r->heap_size / 2, RW, PRIV), -EINVAL);
	EXPECT_EQ(try_map(r, r->heap_offset, r->heap_size + 4096, RW, PRIV), -EINVAL);
	EXPECT_EQ(try_map(r, r->heap_offset, 4096, RW, PRIV), -EINVAL);
	EXPECT_EQ(try_map(r, r->heap_offset + 4096, r->heap_size, RW, PRIV), -EINVAL);
	/* Not there any more, and nothing has begun: it may be made again. */
	EXPECT_EQ(try_map(r, r->heap_offset, r->heap_size, RW, PRIV), 0);
	ASSERT_EQ(raw_map(r), 0);
	EXPECT_EQ(try_map(r, r->heap_offset, r->heap_size, RW, PRIV), -EBUSY);
	munmap(r->heap, r->heap_size);
	r->heap = NULL;
	EXPECT_EQ(try_map(r, r->heap_offset, r->heap_size, RW, PRIV), -EBUSY);
}

TEST_F(arena, unknown_offsets)
{
	struct raw *r = &self->r;

	ASSERT_EQ(raw_map(r), 0);
	for (int bit = 12; bit < 63; bit++) {
		uint64_t at = 1ULL << bit;

		if (at == r->control_offset)
			continue;
		EXPECT_NE(try_map(r, at, 4096, PROT_READ, MAP_SHARED), 0);
		EXPECT_NE(try_map(r, at | r->control_offset, 4096, PROT_READ, MAP_SHARED), 0);
		EXPECT_NE(try_map(r, -at & ~4095ULL, 4096, PROT_READ, MAP_SHARED), 0);
	}
}

TEST_F(arena, control_refuses)
{
	struct raw *r = &self->r;
	char *p;

	EXPECT_EQ(try_map(r, r->control_offset, 4096, PROT_READ, MAP_PRIVATE), -EINVAL);
	EXPECT_EQ(try_map(r, r->control_offset, 4096, RW, MAP_SHARED), -EACCES);
	EXPECT_EQ(try_map(r, r->control_offset, 4096, PROT_READ | PROT_EXEC, MAP_SHARED), -EINVAL);
	EXPECT_EQ(try_map(r, r->control_offset, 8192, PROT_READ, MAP_SHARED), -EINVAL);
	EXPECT_EQ(try_map(r, r->control_offset + 4096, 4096, PROT_READ, MAP_SHARED), -EINVAL);
	ASSERT_EQ(raw_map(r), 0);
	p = (char *)(uintptr_t)r->control;
	EXPECT_EQ(try_map(r, r->control_offset, 4096, PROT_READ, MAP_SHARED), -EBUSY);
	EXPECT_EQ(mprotect(p, 4096, RW), -1);
	EXPECT_EQ(errno, EACCES);
	EXPECT_EQ(mprotect(p, 4096, PROT_READ | PROT_EXEC), -1);
	EXPECT_EQ(errno, EACCES);
	EXPECT_TRUE(mremap(p, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED);
	EXPECT_TRUE(mremap(p, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, r->heap) == MAP_FAILED);
	EXPECT_TRUE(mremap(p, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL) == MAP_FAILED);
	EXPECT_TRUE(mremap(p, 0, 4096, MREMAP_MAYMOVE) == MAP_FAILED);
	/* Through all of that it has stayed where it was, and the arena alive. */
	EXPECT_EQ(r->control->phase, GCARENA_PHASE_OFF);
	EXPECT_EQ(raw_attach(r), 0);
	EXPECT_EQ(raw_collect(r, 0, NULL), 0);
	EXPECT_EQ(r->control->cycle, 1);
}

/* /proc/self/mem writes through protections: not through these. */
TEST_F(arena, control_is_not_written_by_force)
{
	int mem = open("/proc/self/mem", O_RDWR);
	uint64_t junk = ~0ULL;

	ASSERT_EQ(raw_map(&self->r), 0);
	ASSERT_GE(mem, 0);
	EXPECT_EQ(pwrite(mem, &junk, 8, (off_t)(uintptr_t)self->r.control), -1);
	EXPECT_EQ(self->r.control->phase, GCARENA_PHASE_OFF);
	close(mem);
}

TEST_F(arena, advice_on_the_control_page)
{
	static const int advice[] = { MADV_DONTNEED, MADV_PAGEOUT, MADV_COLD, MADV_FREE,
				      MADV_REMOVE, MADV_HUGEPAGE, MADV_MERGEABLE, MADV_DOFORK,
				      MADV_DONTFORK, MADV_WIPEONFORK, MADV_POPULATE_READ };
	char *p;

	ASSERT_EQ(raw_map(&self->r), 0);
	ASSERT_EQ(raw_attach(&self->r), 0);
	p = (char *)(uintptr_t)self->r.control;
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		madvise(p, 4096, advice[i]);	/* whatever it says */
		ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
		EXPECT_EQ(self->r.control->cycle, i + 1);
		madvise(self->r.m, self->r.attach.map_size, advice[i]);
		ASSERT_EQ(raw_refill(&self->r, 0, 1), 0);
		EXPECT_NE(self->r.m->nr_slots, 0);
	}
}

/* DONTFORK undone: a child that has the control page is not its owner. */
TEST_F(arena, control_inherited_by_force)
{
	int status;
	pid_t pid;

	ASSERT_EQ(raw_map(&self->r), 0);
	ASSERT_EQ(raw_attach(&self->r), 0);
	madvise((void *)(uintptr_t)self->r.control, 4096, MADV_DOFORK);
	madvise(self->r.m, self->r.attach.map_size, MADV_DOFORK);
	pid = fork();
	if (!pid) {
		munmap((void *)(uintptr_t)self->r.control, 4096);
		_exit(raw_refill(&self->r, 0, 1) == -EPERM ? 0 : 1);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	/* The child's end was not the arena's. */
	EXPECT_EQ(raw_collect(&self->r, 0, NULL), 0);
}

TEST_F(arena, control_dontneed_comes_back)
{
	ASSERT_EQ(raw_map(&self->r), 0);
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	ASSERT_EQ(madvise((void *)(uintptr_t)self->r.control, 4096, MADV_DONTNEED), 0);
	EXPECT_EQ(self->r.control->cycle, 1);
}

TEST_F(arena, mutator_area)
{
	struct raw *r = &self->r;
	struct gcarena_attach *a = &r->attach;
	uint64_t base;
	char *p;

	ASSERT_EQ(raw_map(r), 0);
	ASSERT_EQ(raw_attach(r), 0);
	EXPECT_EQ(try_map(r, a->map_offset, a->map_size, RW, MAP_PRIVATE), -EINVAL);
	EXPECT_EQ(try_map(r, a->map_offset, a->map_size, RW | PROT_EXEC, MAP_SHARED), -EINVAL);
	EXPECT_EQ(try_map(r, a->map_offset, a->map_size - 4096, RW, MAP_SHARED), -EINVAL);
	EXPECT_EQ(try_map(r, a->map_offset, a->map_size + 4096, RW, MAP_SHARED), -EINVAL);
	EXPECT_EQ(try_map(r, a->map_offset + 4096, a->map_size, RW, MAP_SHARED), -EINVAL);
	for (uint64_t id = 0; id < 5; id++)
		if (id != a->id) {
			uint64_t at = a->map_offset + (id - a->id) * (a->map_offset / a->id);

			EXPECT_NE(try_map(r, at, a->map_size, RW, MAP_SHARED), 0);
		}

	p = (char *)r->m;
	EXPECT_EQ(munmap(p + 4096, 4096), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mprotect(p, 4096, PROT_READ), -1);
	EXPECT_EQ(mprotect(p, a->map_size, RW | PROT_EXEC), -1);
	EXPECT_TRUE(mremap(p, a->map_size, a->map_size + 4096, MREMAP_MAYMOVE) == MAP_FAILED);
	EXPECT_TRUE(mremap(p, a->map_size, a->map_size, MREMAP_MAYMOVE | MREMAP_FIXED, r->heap) ==
		    MAP_FAILED);

	/* Given up and taken again: the same pages. */
	ASSERT_EQ(raw_refill(r, 0, 1), 0);
	base = r->m->slot[r->m->current_slot[0]].base;
	ASSERT_NE(base, 0);
	ASSERT_EQ(madvise(p, a->map_size, MADV_DONTNEED), 0);
	EXPECT_EQ(r->m->slot[r->m->current_slot[0]].base, base);
	ASSERT_EQ(munmap(p, a->map_size), 0);
	EXPECT_EQ(raw_refill(r, 4, 1), 0);
	EXPECT_EQ(raw_collect(r, 0, NULL), 0);
	r->m = mmap(NULL, a->map_size, RW, MAP_SHARED, r->fd, (off_t)a->map_offset);
	ASSERT_TRUE(r->m != MAP_FAILED);
	EXPECT_EQ(r->m->slot[r->m->current_slot[0]].base, base);
	EXPECT_NE(r->m->current_slot[4], 0);
}

static sigjmp_buf jump;

static void on_fault(int sig)
{
	siglongjmp(jump, sig);
}

/* After the detach the mapping shows old pages or nothing, and harms nobody. */
TEST_F(arena, mutator_area_after_detach)
{
	struct raw *r = &self->r;
	struct sigaction sa = { .sa_handler = on_fault };
	struct gcarena_detach d = { .size = sizeof(d) };

	sigaction(SIGBUS, &sa, NULL);
	ASSERT_EQ(raw_map(r), 0);
	ASSERT_EQ(raw_attach(r), 0);
	d.id = r->attach.id;
	ASSERT_EQ(raw_ioctl(r->fd, GCARENA_IOC_DETACH, &d), 0);
	memset(r->m, 0xff, sizeof(*r->m));
	ASSERT_EQ(raw_collect(r, 0, NULL), 0);
	madvise(r->m, r->attach.map_size, MADV_DONTNEED);
	if (!sigsetjmp(jump, 1)) {
		memset(r->m, 0xff, 8);
		EXPECT_TRUE(false);
	}
	EXPECT_EQ(try_map(r, r->attach.map_offset, r->attach.map_size, RW, MAP_SHARED), -ENXIO);
}

/* After death: the control page is gone or stale, never a crash. */
TEST_F(arena, pages_after_death)
{
	struct raw *r = &self->r;
	struct sigaction sa = { .sa_handler = on_fault };

	sigaction(SIGBUS, &sa, NULL);
	ASSERT_EQ(raw_map(r), 0);
	ASSERT_EQ(raw_attach(r), 0);
	r->heap[0] = 7;
	ASSERT_EQ(raw_destroy(r), 0);
	if (!sigsetjmp(jump, 1)) {
		(void)r->control->phase;
		madvise((void *)(uintptr_t)r->control, 4096, MADV_DONTNEED);
		(void)r->control->phase;
		EXPECT_TRUE(false);
	}
	/* The heap is memory: it lives until it is unmapped. */
	EXPECT_EQ(r->heap[0], 7);
	r->heap[1 << 20] = 8;
	EXPECT_EQ(r->heap[1 << 20], 8);
}

TEST_F(arena, fork_inherits_the_heap_only)
{
	struct raw *r = &self->r;
	unsigned char vec[64];
	uint64_t *object;
	int status;
	pid_t pid;

	ASSERT_EQ(raw_map(r), 0);
	ASSERT_EQ(raw_attach(r), 0);
	object = (uint64_t *)raw_alloc(r, GCARENA_SPAN_CLASS(0, GCARENA_NOSCAN));
	ASSERT_TRUE(object);
	*object = 42;
	pid = fork();
	if (!pid) {
		gct_failed = 0;
		EXPECT_EQ(*object, 42);
		*object = 43;
		EXPECT_EQ(mincore((void *)(uintptr_t)r->control, 4096, vec), -1);
		EXPECT_EQ(errno, ENOMEM);
		EXPECT_EQ(mincore(r->m, 4096, vec), -1);
		EXPECT_EQ(errno, ENOMEM);
		_exit(gct_failed);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(*object, 42);
}

struct racer {
	struct raw *r;
	int ok[3];
};

static void *map_racer(void *arg)
{
	struct racer *m = arg;
	struct raw *r = m->r;

	m->ok[0] = mmap(NULL, r->heap_size, RW, PRIV, r->fd, (off_t)r->heap_offset) != MAP_FAILED;
	m->ok[1] = mmap(NULL, 4096, PROT_READ, MAP_SHARED, r->fd, (off_t)r->control_offset) !=
		   MAP_FAILED;
	return NULL;
}

/* Two threads map at once: each thing once. */
TEST(race_of_two_maps)
{
	for (unsigned long i = 0; i < gct_scale(100); i++) {
		struct raw r;
		struct racer x = { &r, { 0 } }, y = { &r, { 0 } };
		pthread_t t;

		ASSERT_EQ(raw_arena_of(&r, RAW_RESERVE), 0);
		ASSERT_EQ(pthread_create(&t, NULL, map_racer, &x), 0);
		map_racer(&y);
		pthread_join(t, NULL);
		ASSERT_EQ(x.ok[0] + y.ok[0], 1);
		ASSERT_EQ(x.ok[1] + y.ok[1], 1);
		ASSERT_EQ(raw_destroy(&r), 0);
		close(r.fd);
	}
}

/* A descriptor opened through /proc is a new arena; a duplicate is the same. */
TEST_F(arena, reopened_and_duplicated)
{
	struct gcarena_create c;
	char path[64];
	int again, dup_fd;

	ASSERT_EQ(raw_map(&self->r), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->r.fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(again, 0);
	EXPECT_EQ(raw_create(again, RAW_RESERVE, &c), 0);
	EXPECT_NE(c.id, self->r.id);
	dup_fd = dup(self->r.fd);
	close(self->r.fd);
	self->r.fd = dup_fd;
	EXPECT_EQ(raw_create(dup_fd, RAW_RESERVE, &c), -EBUSY);
	EXPECT_EQ(raw_attach(&self->r), 0);
	EXPECT_EQ(raw_collect(&self->r, 0, NULL), 0);
	close(again);
}

TEST_HARNESS_MAIN
