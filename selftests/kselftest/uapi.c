// SPDX-License-Identifier: GPL-2.0-only
/*
 * uapi.c: what holds for every ioctl, whatever it means: the argument's size,
 * unknown flags, reserved fields, bad pointers.
 *
 * One table has all commands (table.h); each test walks it.  The order of states
 * is in states.c, what a command itself can answer in setup.c and commands.c, the
 * mappings in map.c.
 */
#define GCT_SUITE "uapi"
#include "table.h"

#include <setjmp.h>

FIXTURE(arena) {
	struct raw r;
	union arg a;
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

TEST_F(arena, right_arguments)
{
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		const struct command *c = &commands[i];

		if (ends_it(c))
			continue;
		good(c, &self->r, &self->a);
		EXPECT_CALL(c, expected(c), self->r.fd, &self->a);
		if (!expected(c))
			EXPECT_EQ(self->a.size, c->size);
	}
}

TEST_F(arena, size_too_short)
{
	for (size_t i = 0; i < NR_COMMANDS; i++)
		for (uint32_t n = 0; n < 8; n++) {
			good(&commands[i], &self->r, &self->a);
			self->a.size = n;
			EXPECT_CALL(&commands[i], -EINVAL, self->r.fd, &self->a);
		}
}

TEST_F(arena, size_too_long)
{
	static const uint32_t huge[] = { 4097, 8192, 1U << 31, 0xfffffff8, 0xffffffff };

	for (size_t i = 0; i < NR_COMMANDS; i++) {
		const struct command *c = &commands[i];

		for (size_t k = 0; k < sizeof(huge) / sizeof(huge[0]); k++) {
			good(c, &self->r, &self->a);
			self->a.size = huge[k];
			EXPECT_CALL(c, -E2BIG, self->r.fd, &self->a);
		}
		/* A longer structure of a newer caller: only zeros are understood. */
		good(c, &self->r, &self->a);
		self->a.size = c->size + 16;
		self->a.bytes[c->size + 15] = 1;
		EXPECT_CALL(c, -E2BIG, self->r.fd, &self->a);
		self->a.bytes[c->size + 15] = 0;
		self->a.bytes[c->size] = (char)0x80;
		EXPECT_CALL(c, -E2BIG, self->r.fd, &self->a);
		if (ends_it(c))
			continue;
		good(c, &self->r, &self->a);
		self->a.size = c->size + 16;
		EXPECT_CALL(c, expected(c), self->r.fd, &self->a);
		good(c, &self->r, &self->a);
		self->a.size = 4096;
		EXPECT_CALL(c, expected(c), self->r.fd, &self->a);
	}
}

/* An older caller's shorter structure gets no byte more than it has. */
TEST_F(arena, short_reply)
{
	memset(&self->a, RAW_POISON, sizeof(self->a));
	self->a.size = 8;
	self->a.flags = 0;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_INFO, &self->a), 0);
	EXPECT_EQ((unsigned char)self->a.bytes[8], RAW_POISON);
	self->a.size = 24;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_STATS, &self->a), 0);
	EXPECT_NE((unsigned char)self->a.bytes[16], RAW_POISON);
	EXPECT_EQ((unsigned char)self->a.bytes[24], RAW_POISON);
}

TEST_F(arena, unknown_flags)
{
	for (size_t i = 0; i < NR_COMMANDS; i++)
		for (int bit = 0; bit < 32; bit++) {
			if (commands[i].known >> bit & 1)
				continue;
			good(&commands[i], &self->r, &self->a);
			self->a.flags |= 1U << bit;
			EXPECT_CALL(&commands[i], -EINVAL, self->r.fd, &self->a);
		}
}

TEST_F(arena, reserved_fields)
{
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		if (commands[i].reserved < 0)
			continue;
		for (int bit = 0; bit < 32; bit++) {
			good(&commands[i], &self->r, &self->a);
			*(uint32_t *)(self->a.bytes + commands[i].reserved) = 1U << bit;
			EXPECT_CALL(&commands[i], -EINVAL, self->r.fd, &self->a);
		}
	}
}

TEST_F(arena, bad_pointers)
{
	char *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *bad[] = { NULL, (void *)8, (void *)0xffff888000000000, (void *)0x7ffffffff000,
			(void *)0x8000000000000000, (void *)-1, (void *)-4096 };

	ASSERT_TRUE(two != MAP_FAILED);
	munmap(two + 4096, 4096);
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		const struct command *c = &commands[i];
		char *last = two + 4096 - 8;

		for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
			EXPECT_CALL(c, -EFAULT, self->r.fd, bad[k]);
		/* The size can be read, what follows cannot. */
		if (c->size > 8) {
			good(c, &self->r, &self->a);
			memcpy(last, &self->a, 8);
			EXPECT_CALL(c, -EFAULT, self->r.fd, last);
		}
		/* A tail that cannot be looked at. */
		good(c, &self->r, &self->a);
		last = two + 4096 - c->size;
		memcpy(last, &self->a, c->size);
		*(uint32_t *)last = c->size + 8;
		EXPECT_CALL(c, -EFAULT, self->r.fd, last);
	}
}

/* The reply cannot be written: what happened is undone, or harmless. */
TEST_F(arena, read_only_argument)
{
	union arg *ro = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_TRUE(ro != MAP_FAILED);
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		const struct command *c = &commands[i];
		int want = expected(c) ? expected(c) : -EFAULT;

		/* These two have no reply. */
		if (ends_it(c) || c->nr == GCARENA_IOC_ROOTS)
			continue;
		mprotect(ro, 8192, PROT_READ | PROT_WRITE);
		good(c, &self->r, ro);
		mprotect(ro, 8192, PROT_READ);
		EXPECT_CALL(c, want, self->r.fd, ro);
	}
}

TEST(create_and_attach_leave_nothing_on_efault)
{
	union arg *ro = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct gcarena_create cr;
	struct raw r = { .fd = raw_open() };
	/* An earlier test's may be on its way out yet. */
	long arenas = gct_arenas_become(0) ? 0 : -1;

	ASSERT_GE(r.fd, 0);
	good(&commands[1], &r, ro);
	mprotect(ro, 8192, PROT_READ);
	EXPECT_EQ(raw_ioctl(r.fd, GCARENA_IOC_CREATE, ro), -EFAULT);
	EXPECT_EQ(gct_arenas(), arenas);
	EXPECT_EQ(raw_create(r.fd, RAW_RESERVE, &cr), 0);
	EXPECT_EQ(gct_arenas(), arenas + 1);
	r.heap_size = cr.heap_size;
	r.heap_offset = cr.heap_offset;
	r.control_offset = cr.control_offset;
	ASSERT_EQ(raw_map(&r), 0);
	mprotect(ro, 8192, PROT_READ | PROT_WRITE);
	good(&commands[2], &r, ro);
	mprotect(ro, 8192, PROT_READ);
	EXPECT_EQ(raw_ioctl(r.fd, GCARENA_IOC_ATTACH, ro), -EFAULT);
	EXPECT_EQ(raw_attach(&r), 0);
	EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
	raw_close(&r);
}

TEST_F(arena, unknown_commands)
{
	unsigned int nr;

	good(&commands[0], &self->r, &self->a);
	for (nr = 0x0e; nr < 0x100; nr++)
		EXPECT_EQ(raw_ioctl(self->r.fd, _IO(GCARENA_IOC, nr), &self->a), -ENOTTY);
	for (nr = 0; nr < 0x0e; nr++) {
		EXPECT_EQ(raw_ioctl(self->r.fd, _IO(GCARENA_IOC + 1, nr), &self->a), -ENOTTY);
		EXPECT_EQ(raw_ioctl(self->r.fd, _IOC(_IOC_READ, GCARENA_IOC, nr, 8), &self->a), -ENOTTY);
	}
}

static sigjmp_buf no_gate;

static void on_fault(int sig)
{
	siglongjmp(no_gate, sig);
}

/* A 32-bit caller: int 0x80, with an argument below 4 GiB. */
TEST_F(arena, caller_of_32_bits)
{
	union arg *low = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long ret;

	ASSERT_TRUE(low != MAP_FAILED);
	signal(SIGSEGV, on_fault);
	if (sigsetjmp(no_gate, 1))
		SKIP("this kernel has no 32-bit calls");
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		good(&commands[i], &self->r, low);
		__asm__ volatile("int $0x80" : "=a"(ret)
				 : "a"(54L), "b"((long)self->r.fd), "c"((long)commands[i].nr),
				   "d"((long)(uintptr_t)low) : "memory", "r8", "r9", "r10", "r11");
		if (ret == -ENOSYS)
			SKIP("this kernel has no 32-bit calls");
		EXPECT_EQ(ret, -ENOTTY);
	}
}

TEST_HARNESS_MAIN
