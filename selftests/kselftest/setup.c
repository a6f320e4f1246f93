// SPDX-License-Identifier: GPL-2.0-only
/*
 * setup.c: what each ioctl that arranges an arena can answer: INFO, CREATE,
 * ATTACH, DETACH, LAYOUT, ROOTS.  The others are in commands.c.
 *
 * Success, every errno it documents, numbers near 2^32 and 2^64, and that a call
 * which fails has changed nothing.  What holds for all of them is in uapi.c.
 */
#define GCT_SUITE "setup"
#include "raw.h"

FIXTURE(arena) {
	struct raw r;
};

FIXTURE_SETUP(arena)
{
	ASSERT_EQ(raw_arena(&self->r), 0);
	ASSERT_EQ(raw_attach(&self->r), 0);
}

FIXTURE_TEARDOWN(arena)
{
	raw_close(&self->r);
}

/* ------------------------------------------------------------- INFO, CREATE */

TEST(info)
{
	struct gcarena_info i;
	int fd = raw_open();

	ASSERT_GE(fd, 0);
	memset(&i, RAW_POISON, sizeof(i));
	i.size = sizeof(i);
	i.flags = 0;
	ASSERT_EQ(raw_ioctl(fd, GCARENA_IOC_INFO, &i), 0);
	EXPECT_EQ(i.size, sizeof(i));
	EXPECT_EQ(i.reserve_min, GCARENA_RESERVE_MIN);
	EXPECT_GE(i.reserve_max, GCARENA_RESERVE_MIN);
	EXPECT_LE(i.reserve_max, GCARENA_RESERVE_MAX);
	EXPECT_EQ(i.arenas_left, gct_file_long(gct_param_path("max_arenas")) - gct_arenas());
	EXPECT_LE(i.engine, 2);
	EXPECT_EQ(i.features >> 5, 0);
	close(fd);
}

TEST(create)
{
	struct gcarena_create c;
	int fd = raw_open();

	ASSERT_GE(fd, 0);
	ASSERT_EQ(raw_create(fd, 1ULL << 30, &c), 0);
	EXPECT_NE(c.id, 0);
	EXPECT_NE(c.id, 0xa5a5a5a5a5a5a5a5ULL);
	EXPECT_EQ(c.heap_size, 1ULL << 30);
	EXPECT_EQ(c.control_size, 4096);
	EXPECT_NE(c.heap_offset, c.control_offset);
	EXPECT_EQ(c.heap_offset % 4096, 0);
	EXPECT_EQ(c.control_offset % 4096, 0);
	EXPECT_EQ(raw_create(fd, 1ULL << 30, &c), -EBUSY);
	close(fd);
}

static int create_with(int fd, size_t offset, uint64_t value, size_t width)
{
	struct gcarena_create c = { .size = sizeof(c), .reserve = RAW_RESERVE };

	memcpy((char *)&c + offset, &value, width);
	return raw_ioctl(fd, GCARENA_IOC_CREATE, &c);
}

TEST(create_refuses)
{
	static const uint64_t reserve[] = {
		0, 1, 4096, GCARENA_RESERVE_MIN - 1, GCARENA_RESERVE_MIN + 1,
		GCARENA_RESERVE_MIN / 2, 3 * GCARENA_RESERVE_MIN, 2 * GCARENA_RESERVE_MAX,
		1ULL << 62, 1ULL << 63, UINT64_MAX, GCARENA_RESERVE_MIN | 1ULL << 63,
	};
	static const uint32_t sig[] = {
		SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS,
		32, 33, 64, 65, 1U << 31, UINT32_MAX,
	};
	struct gcarena_info i = { .size = sizeof(i) };
	int fd = raw_open();
	long arenas = gct_arenas();

	ASSERT_GE(fd, 0);
	ASSERT_EQ(raw_ioctl(fd, GCARENA_IOC_INFO, &i), 0);
	for (size_t k = 0; k < sizeof(reserve) / sizeof(reserve[0]); k++)
		EXPECT_EQ(create_with(fd, offsetof(struct gcarena_create, reserve), reserve[k], 8),
			  -EINVAL);
	for (size_t k = 0; k < sizeof(sig) / sizeof(sig[0]); k++)
		EXPECT_EQ(create_with(fd, offsetof(struct gcarena_create, stop_signal), sig[k], 4),
			  -EINVAL);
	for (int bit = 0; bit < 64; bit++)
		if (!(i.features >> bit & 1))
			EXPECT_EQ(create_with(fd, offsetof(struct gcarena_create, features),
					      1ULL << bit, 8), -EOPNOTSUPP);
	for (int bit = 0; bit < 32; bit++)
		if (!(GCARENA_DEBUG_ALL >> bit & 1))
			EXPECT_EQ(create_with(fd, offsetof(struct gcarena_create, debug), 1U << bit, 4),
				  -EINVAL);
	EXPECT_EQ(gct_arenas(), arenas);
	/* What is offered can be had, and so can any other signal. */
	EXPECT_EQ(create_with(fd, offsetof(struct gcarena_create, features), i.features, 8), 0);
	close(fd);
	fd = raw_open();
	EXPECT_EQ(create_with(fd, offsetof(struct gcarena_create, stop_signal), SIGUSR2, 4), 0);
	close(fd);
}

/* The engine of a process that asks for @wish while the parameter is @only. */
static void engine_of(uint32_t wish, int only, bool work)
{
	uint32_t plain = only == GCARENA_ENGINE_SIGNAL || !work ? GCARENA_ENGINE_SIGNAL :
			 GCARENA_ENGINE_TASKWORK;
	struct gcarena_create c = { .size = sizeof(c), .flags = wish, .reserve = RAW_RESERVE };
	struct gcarena_info i = { .size = sizeof(i) };
	uint32_t other = wish == GCARENA_CREATE_SIGNAL ? GCARENA_CREATE_TASKWORK :
			 GCARENA_CREATE_SIGNAL;
	struct raw r = { .fd = raw_open() };
	int fd = raw_open();

	ASSERT_EQ(raw_ioctl(r.fd, GCARENA_IOC_INFO, &i), 0);
	EXPECT_EQ(i.engine, plain);
	if ((wish == GCARENA_CREATE_SIGNAL && only == GCARENA_ENGINE_TASKWORK) ||
	    (wish == GCARENA_CREATE_TASKWORK && plain == GCARENA_ENGINE_SIGNAL)) {
		EXPECT_TRUE(gct_engine_refused(wish));
		EXPECT_EQ(raw_ioctl(r.fd, GCARENA_IOC_CREATE, &c), -EOPNOTSUPP);
		return;
	}
	EXPECT_FALSE(gct_engine_refused(wish));
	ASSERT_EQ(raw_ioctl(r.fd, GCARENA_IOC_CREATE, &c), 0);
	r.heap_size = c.heap_size;
	r.heap_offset = c.heap_offset;
	r.control_offset = c.control_offset;
	ASSERT_EQ(raw_map(&r), 0);
	EXPECT_EQ(r.control->engine, GCARENA_ENGINE_NONE);
	ASSERT_EQ(raw_attach(&r), 0);
	if (wish)
		plain = wish == GCARENA_CREATE_SIGNAL ? GCARENA_ENGINE_SIGNAL :
			GCARENA_ENGINE_TASKWORK;
	EXPECT_EQ(r.control->engine, plain);
	EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
	/* Another arena may ask for this one, or for nothing. */
	if (plain == GCARENA_ENGINE_SIGNAL)
		other = GCARENA_CREATE_TASKWORK;
	EXPECT_EQ(create_with(fd, offsetof(struct gcarena_create, flags), other, 4),
		  gct_engine_refused(other) ? -EOPNOTSUPP : -EBUSY);
	EXPECT_EQ(create_with(fd, offsetof(struct gcarena_create, flags), 0, 4), 0);
}

/* Whatever the module was told: each value of its parameter, each wish, each a process. */
TEST(create_engine)
{
	static const char *const name[] = { "auto", "signal", "taskwork" };
	const uint32_t wish[] = { 0, GCARENA_CREATE_SIGNAL, GCARENA_CREATE_TASKWORK };
	struct gcarena_info i = { .size = sizeof(i) };
	int fd = raw_open(), was = gct_stop_param();
	bool work;

	ASSERT_EQ(raw_ioctl(fd, GCARENA_IOC_INFO, &i), 0);
	work = i.features & GCARENA_F_STOP_TASKWORK;
	EXPECT_EQ(create_with(fd, offsetof(struct gcarena_create, flags),
			      GCARENA_CREATE_SIGNAL | GCARENA_CREATE_TASKWORK, 4), -EINVAL);
	for (int only = 0; only < 3; only++) {
		int err = gct_file_write(gct_param_path("stop"), name[only]);

		if (only == GCARENA_ENGINE_TASKWORK && !work) {
			EXPECT_EQ(err, -EOPNOTSUPP);
			continue;
		}
		EXPECT_EQ(err, 0);
		for (int k = 0; k < 3; k++) {
			int status;
			pid_t pid = fork();

			if (!pid) {
				engine_of(wish[k], only, work);
				_exit(gct_failed);
			}
			EXPECT_EQ(waitpid(pid, &status, 0), pid);
			if (status)
				gct_note("# stop=%s, flags %u", name[only], wish[k]);
			EXPECT_EQ(status, 0);
		}
	}
	EXPECT_EQ(gct_file_write(gct_param_path("stop"), name[was]), 0);
	close(fd);
}

/* ---------------------------------------------------------- ATTACH, DETACH */

TEST_F(arena, attach_twice)
{
	EXPECT_EQ(raw_attach(&self->r), -EEXIST);
	EXPECT_NE(self->r.m->nr_slots, 0);
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
}

static void *other_thread(void *arg)
{
	struct raw *r = arg, other = *r, mine = *r;
	struct gcarena_settle s = { .size = sizeof(s), .id = r->attach.id };
	uint64_t addr;

	/* Its mutator is its own, to whom else is attached and to whom is not. */
	for (int attached = 0; attached < 2; attached++) {
		EXPECT_EQ(raw_detach(&other), -EPERM);
		EXPECT_EQ(raw_refill(r, 0, 1), -EPERM);
		EXPECT_EQ(raw_large(r, 40000, 0, 0, &addr), -EPERM);
		EXPECT_EQ(raw_ioctl(r->fd, GCARENA_IOC_SETTLE, &s), -EPERM);
		EXPECT_EQ(raw_collect(r, 0, NULL), 0);
		EXPECT_EQ(raw_collect(r, GCARENA_COLLECT_ASYNC, NULL), 0);
		if (!attached)
			EXPECT_EQ(raw_attach(&mine), 0);
	}
	EXPECT_NE(mine.attach.id, r->attach.id);
	EXPECT_EQ(raw_refill(&mine, 0, 1), 0);
	EXPECT_EQ(raw_detach(&mine), 0);
	return NULL;
}

TEST_F(arena, another_thread)
{
	pthread_t t;

	ASSERT_EQ(pthread_create(&t, NULL, other_thread, &self->r), 0);
	pthread_join(t, NULL);
	EXPECT_EQ(raw_refill(&self->r, 0, 1), 0);
}

static void *attach_and_exit(void *arg)
{
	struct raw *r = arg;

	EXPECT_EQ(raw_attach(r), 0);
	EXPECT_NE(raw_alloc(r, GCARENA_SPAN_CLASS(3, GCARENA_NOSCAN)), 0);
	return NULL;
}

/* A thread that exits without a word makes room for the next. */
TEST(thread_exits_attached)
{
	struct raw r;
	pthread_t t;

	ASSERT_EQ(raw_arena(&r), 0);
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(pthread_create(&t, NULL, attach_and_exit, &r), 0);
		pthread_join(t, NULL);
		if (i % 2)
			EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
	}
	EXPECT_EQ(raw_attach(&r), 0);
	raw_close(&r);
}

TEST_F(arena, attach_refuses)
{
	static const struct { size_t offset; uint64_t value; } bad[] = {
		{ offsetof(struct gcarena_attach, stack_lo), 0 },
		{ offsetof(struct gcarena_attach, stack_lo), 4 },
		{ offsetof(struct gcarena_attach, stack_lo), UINT64_MAX - 7 },
		{ offsetof(struct gcarena_attach, stack_hi), 8 },
		{ offsetof(struct gcarena_attach, stack_hi), 0 },
		{ offsetof(struct gcarena_attach, stack_hi), 1ULL << 56 },
		{ offsetof(struct gcarena_attach, stack_hi), UINT64_MAX - 7 },
		{ offsetof(struct gcarena_attach, altstack_lo), 8 },
		{ offsetof(struct gcarena_attach, altstack_hi), UINT64_MAX & ~7ULL },
		{ offsetof(struct gcarena_attach, altstack_hi), 9 },
		{ offsetof(struct gcarena_attach, tls_lo), 8 },
		{ offsetof(struct gcarena_attach, tls_hi), UINT64_MAX & ~7ULL },
		{ offsetof(struct gcarena_attach, nr_slots), 1 },
		{ offsetof(struct gcarena_attach, nr_slots), GCARENA_SLOTS_MIN - 1 },
		{ offsetof(struct gcarena_attach, nr_slots), GCARENA_SLOTS_MAX + 1 },
		{ offsetof(struct gcarena_attach, nr_slots), 1U << 31 },
		{ offsetof(struct gcarena_attach, nr_slots), UINT32_MAX },
	};
	struct gcarena_attach a;

	ASSERT_EQ(raw_detach(&self->r), 0);
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		bool four = bad[k].offset == offsetof(struct gcarena_attach, nr_slots);
		int err;

		raw_attach_fill(&a);
		memcpy((char *)&a + bad[k].offset, &bad[k].value, four ? 4 : 8);
		err = raw_ioctl(self->r.fd, GCARENA_IOC_ATTACH, &a);
		/* A null bound is bad only beside one that is not. */
		if (!err && !bad[k].value) {
			self->r.attach = a;
			EXPECT_EQ(raw_detach(&self->r), 0);
			continue;
		}
		if (err != -EINVAL)
			gct_note("# case %zu", k);
		EXPECT_EQ(err, -EINVAL);
	}
	EXPECT_EQ(raw_attach_slots(&self->r, GCARENA_SLOTS_MIN), 0);
	EXPECT_EQ(self->r.m->nr_slots, GCARENA_SLOTS_MIN);
	EXPECT_EQ(raw_refill(&self->r, 0, 32), 0);
}

TEST_F(arena, detach_refuses)
{
	static const uint32_t ids[] = { 0, 2, 1U << 31, UINT32_MAX };
	struct gcarena_detach d = { .size = sizeof(d) };

	for (int k = 0; k < 4; k++) {
		d.id = ids[k];
		if (d.id != self->r.attach.id)
			EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_DETACH, &d), -EPERM);
	}
	EXPECT_EQ(raw_detach(&self->r), 0);
	d.id = self->r.attach.id;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_DETACH, &d), -EPERM);
	EXPECT_EQ(raw_refill(&self->r, 0, 1), -EPERM);
}

/* ------------------------------------------------------------------ LAYOUT */

static int layout(struct raw *r, uint64_t elem_size, const uint64_t *bits, uint32_t *id)
{
	struct gcarena_layout l = { .size = sizeof(l), .elem_size = elem_size,
				    .bitmap = (uintptr_t)bits, .id = 0xa5a5a5a5 };
	int err = raw_ioctl(r->fd, GCARENA_IOC_LAYOUT, &l);

	if (id)
		*id = l.id;
	return err;
}

TEST_F(arena, layout)
{
	static uint64_t bits[GCARENA_LAYOUT_MAX / 512];
	static const uint64_t bad[] = { 0, 1, 7, 9, GCARENA_LAYOUT_MAX + 8, 1ULL << 32, 1ULL << 35,
					1ULL << 63, UINT64_MAX, UINT64_MAX - 7 };
	uint32_t first, next;

	ASSERT_EQ(layout(&self->r, 8, bits, &first), 0);
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		EXPECT_EQ(layout(&self->r, bad[k], bits, NULL), -EINVAL);
	EXPECT_EQ(layout(&self->r, 64, NULL, NULL), -EFAULT);
	EXPECT_EQ(layout(&self->r, 64, (void *)(UINT64_MAX - 7), NULL), -EFAULT);
	bits[0] = 1ULL << 2;
	EXPECT_EQ(layout(&self->r, 16, bits, NULL), -EINVAL);
	bits[0] = 1ULL << 63;
	EXPECT_EQ(layout(&self->r, 504, bits, NULL), -EINVAL);
	/* Dense: what failed has used no number. */
	EXPECT_EQ(layout(&self->r, 512, bits, &next), 0);
	EXPECT_EQ(next, first + 1);
	memset(bits, 0xff, sizeof(bits));
	EXPECT_EQ(layout(&self->r, GCARENA_LAYOUT_MAX, bits, &next), 0);
	EXPECT_EQ(next, first + 2);
	EXPECT_EQ(raw_large(&self->r, 1 << 20, GCARENA_PRECISE, next, NULL), 0);
	EXPECT_EQ(raw_large(&self->r, 1 << 20, GCARENA_PRECISE, next + 1, NULL), -EINVAL);
}

TEST_F(arena, layouts_are_limited)
{
	uint64_t bits = 1;
	int err = 0, n;

	if (gct_slow() > 1 && !gct_long())
		SKIP("65,536 calls: in the long form on this kernel");
	for (n = 0; n <= GCARENA_LAYOUTS_MAX && !err; n++)
		err = layout(&self->r, 8, &bits, NULL);
	EXPECT_EQ(err, -ENOSPC);
	EXPECT_GE(n, GCARENA_LAYOUTS_MAX - 1);
}

/* ------------------------------------------------------------------- ROOTS */

static int roots(struct raw *r, const struct gcarena_range *add, uint32_t nr_add,
		 const struct gcarena_range *del, uint32_t nr_del)
{
	struct gcarena_roots q = { .size = sizeof(q), .add = (uintptr_t)add, .del = (uintptr_t)del,
				   .nr_add = nr_add, .nr_del = nr_del };

	return raw_ioctl(r->fd, GCARENA_IOC_ROOTS, &q);
}

TEST_F(arena, roots_refuse)
{
	uint64_t here = 4096 * 1024;
	const struct gcarena_range bad[] = {
		{ here, 0, 0, 0 }, { here, 4, 0, 0 }, { here + 4, 8, 0, 0 }, { here, 8, 3, 0 },
		{ here, 8, UINT32_MAX, 0 }, { here, 8, 0, 1 },
		{ UINT64_MAX - 7, 8, 0, 0 }, { UINT64_MAX - 15, 8, 0, 0 }, { 8, UINT64_MAX - 7, 0, 0 },
		{ 1ULL << 56, 8, 0, 0 }, { (1ULL << 56) - 4096, 8192, 0, 0 },
		{ 1ULL << 63, 8, 0, 0 },
	};
	struct gcarena_range long_one = { 4096, GCARENA_ROOT_BYTES_MAX + 8, 0, 0 };
	struct gcarena_range one = { here, 4096, 0, 0 }, two[2] = { one, one };

	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		if (roots(&self->r, &bad[k], 1, NULL, 0) != -EINVAL)
			gct_note("# case %zu", k);
		EXPECT_EQ(roots(&self->r, &bad[k], 1, NULL, 0), -EINVAL);
		EXPECT_NE(roots(&self->r, NULL, 0, &bad[k], 1), 0);
	}
	EXPECT_EQ(roots(&self->r, &long_one, 1, NULL, 0), -ENOSPC);
	EXPECT_EQ(roots(&self->r, NULL, 0, &long_one, 1), -ENOENT);
	EXPECT_EQ(roots(&self->r, &one, 0, NULL, 0), -EINVAL);
	EXPECT_EQ(roots(&self->r, NULL, 1, NULL, 0), -EFAULT);
	EXPECT_EQ(roots(&self->r, (void *)-8, 1, NULL, 0), -EFAULT);
	EXPECT_EQ(roots(&self->r, &one, GCARENA_ROOTS_PER_CALL + 1, NULL, 0), -EINVAL);
	EXPECT_EQ(roots(&self->r, &one, 1U << 31, NULL, 0), -EINVAL);
	EXPECT_EQ(roots(&self->r, &one, UINT32_MAX, NULL, 0), -EINVAL);
	EXPECT_EQ(roots(&self->r, NULL, 0, &one, UINT32_MAX), -EINVAL);
	EXPECT_EQ(roots(&self->r, NULL, 0, &one, 1), -ENOENT);
	EXPECT_EQ(roots(&self->r, NULL, 0, NULL, 0), 0);

	/* All or nothing. */
	EXPECT_EQ(roots(&self->r, &one, 1, NULL, 0), 0);
	EXPECT_EQ(roots(&self->r, &bad[0], 1, &one, 1), -EINVAL);
	EXPECT_EQ(roots(&self->r, NULL, 0, two, 2), -ENOENT);
	EXPECT_EQ(roots(&self->r, &one, 1, NULL, 0), 0);	/* added twice */
	EXPECT_EQ(roots(&self->r, NULL, 0, two, 2), 0);
	EXPECT_EQ(roots(&self->r, NULL, 0, &one, 1), -ENOENT);
	/* Remove first, then add: the same range can be exchanged. */
	EXPECT_EQ(roots(&self->r, &one, 1, NULL, 0), 0);
	EXPECT_EQ(roots(&self->r, &one, 1, &one, 1), 0);
	EXPECT_EQ(roots(&self->r, NULL, 0, &one, 1), 0);
}

TEST_F(arena, roots_are_limited)
{
	static struct gcarena_range r[GCARENA_ROOTS_PER_CALL];
	uint64_t at = 1ULL << 32;
	int err = 0, n;

	/* In bytes, and an unreadable range is a leaf, not an error. */
	r[0] = (struct gcarena_range){ at, GCARENA_ROOT_BYTES_MAX, GCARENA_ROOT_BARRIERED, 0 };
	EXPECT_EQ(roots(&self->r, r, 1, NULL, 0), 0);
	r[1] = (struct gcarena_range){ at, 8, GCARENA_ROOT_BARRIERED, 0 };
	EXPECT_EQ(roots(&self->r, &r[1], 1, NULL, 0), -ENOSPC);
	EXPECT_EQ(roots(&self->r, &r[1], 1, r, 1), 0);
	EXPECT_EQ(roots(&self->r, NULL, 0, &r[1], 1), 0);

	/* In number. */
	for (n = 0; n <= GCARENA_ROOTS_MAX / GCARENA_ROOTS_PER_CALL && !err; n++) {
		for (int i = 0; i < GCARENA_ROOTS_PER_CALL; i++, at += 16)
			r[i] = (struct gcarena_range){ at, 8, i & 1, 0 };
		err = roots(&self->r, r, GCARENA_ROOTS_PER_CALL, NULL, 0);
		if (gct_slow() > 1 && !gct_long() && n == 4)
			SKIP("65 calls of 1,024 ranges: in the long form on this kernel");
	}
	EXPECT_EQ(err, -ENOSPC);
	EXPECT_EQ(n, GCARENA_ROOTS_MAX / GCARENA_ROOTS_PER_CALL + 1);
	EXPECT_EQ(raw_collect(&self->r, 0, NULL), 0);
}

TEST_HARNESS_MAIN
