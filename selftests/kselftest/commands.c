// SPDX-License-Identifier: GPL-2.0-only
/*
 * commands.c: what each ioctl can answer: success, every errno it documents,
 * numbers near 2^32 and 2^64, and that a call which fails has changed nothing.
 *
 * What holds for all of them is in uapi.c.
 */
#define GCT_SUITE "commands"
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

static void alarm_handler(int sig)
{
	(void)sig;
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
	EXPECT_EQ(i.features >> 4, 0);
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
	for (int bit = 3; bit < 32; bit++)
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

/* --------------------------------------------------- REFILL, LARGE, SETTLE */

TEST_F(arena, refill)
{
	struct gcarena_refill req = { .size = sizeof(req), .id = self->r.attach.id, .count = 1 };
	struct gcarena_mutator *m = self->r.m;

	for (uint32_t sc = 0; sc < GCARENA_NR_SPAN_CLASSES; sc++) {
		struct gcarena_slot *s;

		req.span_class = sc;
		req.count = 1;
		req.flags = 0;
		if (sc % 4 == GCARENA_NR_KINDS) {
			EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &req), -EINVAL);
			continue;
		}
		ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &req), 0);
		EXPECT_EQ(req.count, 1);
		EXPECT_EQ(req.flags & ~(GCARENA_WANT_COLLECT | GCARENA_WANT_SERVE), 0);
		ASSERT_GT(m->current_slot[sc], 0);
		ASSERT_LT(m->current_slot[sc], m->nr_slots);
		s = &m->slot[m->current_slot[sc]];
		EXPECT_EQ(s->span_class, sc);
		EXPECT_EQ(s->free_index, 0);
		EXPECT_GE(s->nelems, 1);
		EXPECT_GE(s->base, (uintptr_t)self->r.heap);
		EXPECT_LE(s->base + (uint64_t)s->nelems * s->elem_size,
			  (uintptr_t)self->r.heap + self->r.heap_size);
	}
	EXPECT_EQ(m->slot[0].nelems, 0);
}

TEST_F(arena, refill_refuses)
{
	static const uint32_t counts[] = { 0, 33, 1U << 16, 1U << 31, UINT32_MAX };
	static const uint32_t classes[] = { GCARENA_NR_SPAN_CLASSES, 3, 315, 1U << 16, 1U << 31,
					    UINT32_MAX, UINT32_MAX - 3 };
	struct raw other = self->r;

	for (int k = 0; k < 5; k++)
		EXPECT_EQ(raw_refill(&self->r, 0, counts[k]), -EINVAL);
	for (int k = 0; k < 7; k++)
		EXPECT_EQ(raw_refill(&self->r, classes[k], 1), -EINVAL);
	other.attach.id = self->r.attach.id + 1;
	EXPECT_EQ(raw_refill(&other, 0, 1), -EPERM);
	other.attach.id = UINT32_MAX;
	EXPECT_EQ(raw_refill(&other, 0, 1), -EPERM);
}

/* The reservation is full: -ENOSPC, and after a collection there is room again. */
TEST_F(arena, full)
{
	uint32_t sc = GCARENA_SPAN_CLASS(GCARENA_NR_SIZES - 1, GCARENA_NOSCAN);
	int err = 0, n = 0;
	uint64_t addr;

	while (!(err = raw_large(&self->r, 4 << 20, GCARENA_NOSCAN, 0, &addr)) && n < 1000)
		n++;
	EXPECT_EQ(err, -ENOSPC);
	EXPECT_GE(n, 14);
	for (n = 0; n < 4000; n++) {
		struct gcarena_slot *s;

		err = raw_refill(&self->r, sc, 32);
		if (err)
			break;
		for (uint32_t i = self->r.m->current_slot[sc]; i; i = s->next) {
			s = &self->r.m->slot[i];
			s->free_index = s->nelems;
		}
	}
	EXPECT_EQ(err, -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	addr = 0;
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	EXPECT_EQ(raw_large(&self->r, 4 << 20, GCARENA_NOSCAN, 0, &addr), 0);
	EXPECT_EQ(raw_refill(&self->r, sc, 1), 0);
}

TEST_F(arena, large)
{
	uint64_t base = (uintptr_t)self->r.heap, addr[4];

	ASSERT_EQ(raw_large(&self->r, 1, GCARENA_NOSCAN, 0, &addr[0]), 0);
	ASSERT_EQ(raw_large(&self->r, 8192, GCARENA_CONSERVATIVE, 0, &addr[1]), 0);
	ASSERT_EQ(raw_large(&self->r, 32769, GCARENA_NOSCAN, 0, &addr[2]), 0);
	ASSERT_EQ(raw_large(&self->r, 32 << 20, GCARENA_NOSCAN, 0, &addr[3]), 0);
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(addr[i] % GCARENA_PAGE_SIZE, 0);
		EXPECT_LT(addr[i] - base, self->r.heap_size);
		for (int j = 0; j < i; j++)
			EXPECT_NE(addr[i], addr[j]);
	}
}

TEST_F(arena, large_refuses)
{
	uint64_t addr;

	EXPECT_EQ(raw_large(&self->r, 0, GCARENA_NOSCAN, 0, &addr), -EINVAL);
	for (uint32_t kind = GCARENA_NR_KINDS; kind; kind = kind << 1 | 1) {
		EXPECT_EQ(raw_large(&self->r, 8192, kind, 0, &addr), -EINVAL);
		if (kind == UINT32_MAX)
			break;
	}
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_NOSCAN, 1, &addr), -EINVAL);
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_CONSERVATIVE, UINT32_MAX, &addr), -EINVAL);
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_PRECISE, 1, &addr), -EINVAL);
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_PRECISE, UINT32_MAX, &addr), -EINVAL);
	EXPECT_EQ(raw_large(&self->r, RAW_RESERVE + 1, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, 1ULL << 32, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, (1ULL << 45) + 1, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, 1ULL << 63, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, UINT64_MAX, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, UINT64_MAX - 8191, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(addr, 0xa5a5a5a5a5a5a5a5ULL);
}

TEST_F(arena, settle)
{
	struct gcarena_settle s = { .size = sizeof(s), .id = self->r.attach.id };

	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_SETTLE, &s), 0);
	s.flags = GCARENA_SETTLE_FLUSH;
	self->r.m->ring[0] = 1;
	self->r.m->ring_tail = 1;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_SETTLE, &s), 0);
	EXPECT_EQ(self->r.m->ring_head, 1);
	s.flags = 0;
	s.id++;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_SETTLE, &s), -EPERM);
	s.id = UINT32_MAX;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_SETTLE, &s), -EPERM);
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
		{ here, 0, 0, 0 }, { here, 4, 0, 0 }, { here + 4, 8, 0, 0 }, { here, 8, 2, 0 },
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

/* -------------------------------------------------- COLLECT, CONFIG, STATS */

TEST_F(arena, collect)
{
	struct gcarena_collect c;
	struct gcarena_stats s;
	uint64_t cycle;

	ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
	EXPECT_EQ(c.void_reason, GCARENA_VOID_NONE);
	cycle = c.cycle;
	EXPECT_EQ(self->r.control->phase, GCARENA_PHASE_OFF);
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKING, &c), 0);
	EXPECT_EQ(c.cycle, cycle + 1);
	EXPECT_EQ(self->r.control->phase, GCARENA_PHASE_MARK);
	EXPECT_EQ(self->r.control->barrier, GCARENA_BARRIER_DELETION);
	EXPECT_EQ(self->r.control->cycle, cycle + 1);
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKED, &c), 0);
	EXPECT_EQ(c.cycle, cycle + 1);
	EXPECT_EQ(self->r.control->phase, GCARENA_PHASE_OFF);
	EXPECT_EQ(self->r.control->barrier, 0);
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKED, &c), 0);
	EXPECT_EQ(c.cycle, cycle + 2);
	/* A full cycle that begins after the call: one under way does not count. */
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKING, &c), 0);
	ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.cycle, cycle + 4);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.cycles, cycle + 4);
	EXPECT_EQ(s.voided, 0);
	/* Only a request: the next refill says so. */
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_ASYNC, &c), 0);
	{
		struct gcarena_refill q = { .size = sizeof(q), .id = self->r.attach.id, .count = 1 };

		EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &q), 0);
		EXPECT_EQ(q.flags & GCARENA_WANT_COLLECT, GCARENA_WANT_COLLECT);
	}
	for (uint32_t f = 0; f < 8; f++)
		if (f & (f - 1))
			EXPECT_EQ(raw_collect(&self->r, f, NULL), -EINVAL);
	/* A cycle that was asked for by the trigger is not counted as forced. */
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	cycle = s.forced;
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_PACED, &c), 0);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.forced, cycle);
}

TEST_F(arena, config)
{
	struct gcarena_config c = { .size = sizeof(c), .percent = 0xa5a5, .heap_min = 0xa5a5,
				    .debug = 0xa5a5 }, d;
	struct gcarena_refill q = { .size = sizeof(q), .id = self->r.attach.id, .count = 1 };

	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &c), 0);
	EXPECT_EQ(c.percent, 100);
	EXPECT_NE(c.heap_min, 0xa5a5);
	EXPECT_EQ(c.debug, 0);
	for (int bit = 3; bit < 64; bit++) {
		d = c;
		d.mask = 1ULL << bit;
		EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), -EINVAL);
		d = c;
		d.mask = GCARENA_CONFIG_DEBUG;
		d.debug = 1ULL << bit;
		EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), -EINVAL);
	}
	d = c;
	d.mask = GCARENA_CONFIG_ALL;
	d.percent = 100001;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), -EINVAL);
	d.percent = UINT64_MAX;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), -EINVAL);
	d.percent = 50;
	d.heap_min = GCARENA_RESERVE_MAX + 1;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), -EINVAL);
	/* Nothing of what was refused has been taken over. */
	d.mask = 0;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), 0);
	EXPECT_EQ(d.percent, c.percent);
	EXPECT_EQ(d.heap_min, c.heap_min);
	d.mask = GCARENA_CONFIG_ALL;
	d.percent = 100000;
	d.heap_min = GCARENA_RESERVE_MAX;
	d.debug = GCARENA_DEBUG_ALL;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), 0);
	EXPECT_EQ(raw_collect(&self->r, 0, NULL), 0);
	/* Never by itself. */
	d.mask = GCARENA_CONFIG_PERCENT;
	d.percent = 0;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), 0);
	EXPECT_EQ(self->r.control->heap_trigger, UINT64_MAX);
	/* But what was asked for stays asked for. */
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_ASYNC, NULL), 0);
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), 0);
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &q), 0);
	EXPECT_EQ(q.flags & GCARENA_WANT_COLLECT, GCARENA_WANT_COLLECT);
}

/* A reply that cannot be written: no knob is set, no layout number is used up. */
TEST_F(arena, not_told_not_done)
{
	struct gcarena_config *c = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct gcarena_layout *l = (void *)c;
	static const uint64_t none;
	uint32_t id;

	ASSERT_TRUE((void *)c != MAP_FAILED);
	*c = (struct gcarena_config){ .size = sizeof(*c), .mask = GCARENA_CONFIG_ALL, .percent = 7,
				      .heap_min = 4096, .debug = GCARENA_DEBUG_MISS };
	mprotect(c, 4096, PROT_READ);
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, c), -EFAULT);
	mprotect(c, 4096, PROT_READ | PROT_WRITE);
	c->mask = 0;
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, c), 0);
	EXPECT_EQ(c->percent, 100);
	EXPECT_EQ(c->heap_min, 4 << 20);
	EXPECT_EQ(c->debug, 0);

	*l = (struct gcarena_layout){ .size = sizeof(*l), .elem_size = 8, .bitmap = (uintptr_t)&none };
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_LAYOUT, l), 0);
	id = l->id;
	mprotect(l, 4096, PROT_READ);
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_LAYOUT, l), -EFAULT);
	mprotect(l, 4096, PROT_READ | PROT_WRITE);
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_LAYOUT, l), 0);
	EXPECT_EQ(l->id, id + 1);
	munmap(c, 4096);
}

TEST_F(arena, stats)
{
	struct gcarena_stats s, t;
	uint64_t keep;

	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.size, sizeof(s));
	EXPECT_EQ(s.cycles, 0);
	EXPECT_EQ(s.live, 0);
	EXPECT_EQ(s.allocated, 0);
	EXPECT_GT(s.metadata, 0);
	ASSERT_EQ(raw_large(&self->r, 1 << 20, GCARENA_NOSCAN, 0, &keep), 0);
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&self->r, &t), 0);
	EXPECT_EQ(t.cycles, 1);
	EXPECT_EQ(t.forced, 1);
	EXPECT_EQ(t.live, 1 << 20);
	EXPECT_GE(t.heap, 1 << 20);
	EXPECT_EQ(t.allocated, 1 << 20);
	EXPECT_GT(t.stops, 0);
	EXPECT_GT(t.stop_ns_total, 0);
	EXPECT_GE(t.stop_ns_total, t.stop_ns_max);
	EXPECT_GT(t.mark_ns[0], 0);
	EXPECT_GE(t.marked_objects, 1);
	EXPECT_LT(keep - (uintptr_t)self->r.heap, self->r.heap_size);	/* and alive till here */
	/* What was taken from a lent span is counted at once. */
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(raw_alloc(&self->r, GCARENA_SPAN_CLASS(4, GCARENA_NOSCAN)));
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.allocated, t.allocated + 3 * 48);
	EXPECT_GE(s.metadata, self->r.attach.map_size + 4096);
}

/* A time limit that marking cannot meet: void, by age, and nothing is freed. */
TEST_F(arena, void_by_age)
{
	struct gcarena_collect c = { .size = sizeof(c), .timeout_ns = 1 };
	uint64_t *head = NULL, p, before;
	struct gcarena_stats s;

	for (int i = 0; i < 20000; i++) {
		p = raw_alloc(&self->r, GCARENA_SPAN_CLASS(0, GCARENA_CONSERVATIVE));
		ASSERT_NE(p, 0);
		*(uint64_t **)p = head;
		head = (uint64_t *)p;
	}
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	before = s.freed;
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_COLLECT, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_VOID);
	EXPECT_EQ(c.void_reason, GCARENA_VOID_AGE);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.freed, before);
	EXPECT_EQ(s.voided, 1);
	EXPECT_EQ(s.last_void, GCARENA_VOID_AGE);
	EXPECT_EQ(self->r.control->phase, GCARENA_PHASE_OFF);
	/* The next one is as if that had not been. */
	ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_GE(s.live, 20000 * 16);
	EXPECT_LE(s.live, 20100 * 16 + 65536);
	for (int i = 0; i < 20000; i++, head = *(uint64_t **)head)
		ASSERT_NE(head, NULL);
}

/* ---------------------------------------------------------- SERVE, DESTROY */

static int serve(struct raw *r, uint32_t flags, uint32_t nr_done, void *runs, uint32_t nr_runs)
{
	struct gcarena_serve q = { .size = sizeof(q), .flags = flags, .nr_done = nr_done,
				   .runs = (uintptr_t)runs, .nr_runs = nr_runs };
	int err = raw_ioctl(r->fd, GCARENA_IOC_SERVE, &q);

	return err ? err : (int)q.nr_runs;
}

TEST_F(arena, serve_refuses)
{
	struct gcarena_run runs[GCARENA_SERVE_RUNS];

	EXPECT_EQ(serve(&self->r, 0, 0, NULL, 0), -EBUSY);	/* attached: may not sleep */
	EXPECT_EQ(serve(&self->r, 1, 0, runs, GCARENA_SERVE_RUNS + 1), -EINVAL);
	EXPECT_EQ(serve(&self->r, 1, 0, runs, UINT32_MAX), -EINVAL);
	EXPECT_EQ(serve(&self->r, 1, GCARENA_SERVE_RUNS + 1, runs, 1), -EINVAL);
	EXPECT_EQ(serve(&self->r, 1, UINT32_MAX, runs, 1), -EINVAL);
	EXPECT_EQ(serve(&self->r, 1, 1, runs, 1), -EINVAL);	/* nothing was handed out */
	EXPECT_EQ(serve(&self->r, 1, 0, runs, GCARENA_SERVE_RUNS), -EAGAIN);
	EXPECT_EQ(serve(&self->r, 1, 0, NULL, 0), -EAGAIN);
}

struct server {
	struct raw *r;
	int ret;
	volatile int state;
};

static void *server(void *arg)
{
	struct server *s = arg;
	struct gcarena_run runs[4];

	s->state = 1;
	s->ret = serve(s->r, 0, 0, runs, 4);
	s->state = 2;
	return NULL;
}

TEST_F(arena, serve_ends)
{
	struct sigaction sa = { .sa_handler = alarm_handler };
	struct server s = { &self->r, 1, 0 };
	pthread_t t;

	sigaction(SIGUSR1, &sa, NULL);
	/* By a signal: -EINTR, also with SA_RESTART, for what is owed may differ. */
	ASSERT_EQ(pthread_create(&t, NULL, server, &s), 0);
	gct_sleep_ms(100);
	EXPECT_EQ(serve(&self->r, GCARENA_SERVE_NOWAIT, 0, NULL, 0), -EBUSY);
	EXPECT_EQ(raw_collect(&self->r, 0, NULL), 0);
	EXPECT_EQ(s.state, 1);
	pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
	EXPECT_EQ(s.ret, -EINTR);
	/* By death. */
	s.state = 0;
	ASSERT_EQ(pthread_create(&t, NULL, server, &s), 0);
	gct_sleep_ms(100);
	EXPECT_EQ(raw_destroy(&self->r), 0);
	pthread_join(t, NULL);
	EXPECT_EQ(s.ret, -ESRCH);
}

/* Runs come again until they are acknowledged, all of them at once. */
TEST_F(arena, serve_hands_out_runs)
{
	struct gcarena_run a[GCARENA_SERVE_RUNS], b[GCARENA_SERVE_RUNS];
	struct gcarena_stats s;
	uint64_t addr;
	int n;

	for (int i = 0; i < 6; i++) {
		ASSERT_EQ(raw_large(&self->r, 8 << 20, GCARENA_NOSCAN, 0, &addr), 0);
		memset((void *)addr, 1, 8 << 20);
	}
	addr = 0;
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	EXPECT_EQ(serve(&self->r, 1, 0, (void *)8, 4), -EFAULT);
	memset(a, RAW_POISON, sizeof(a));
	n = serve(&self->r, GCARENA_SERVE_NOWAIT, 0, a, GCARENA_SERVE_RUNS);
	ASSERT_GT(n, 0);
	EXPECT_EQ(serve(&self->r, GCARENA_SERVE_NOWAIT, 0, b, GCARENA_SERVE_RUNS), n);
	EXPECT_EQ(memcmp(a, b, (size_t)n * sizeof(a[0])), 0);
	for (int i = 0; i < n; i++) {
		EXPECT_GE(a[i].start, (uintptr_t)self->r.heap);
		EXPECT_LE(a[i].start + a[i].len, (uintptr_t)self->r.heap + self->r.heap_size);
		EXPECT_EQ((a[i].start | a[i].len) % GCARENA_PAGE_SIZE, 0);
		madvise((void *)a[i].start, a[i].len, MADV_DONTNEED);
	}
	EXPECT_EQ(serve(&self->r, GCARENA_SERVE_NOWAIT, (uint32_t)n + 1, b, 1), -EINVAL);
	EXPECT_GE(serve(&self->r, GCARENA_SERVE_NOWAIT, (uint32_t)n, b, 1), -EAGAIN);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_GT(s.returned, 8 << 20);
}

TEST_HARNESS_MAIN
