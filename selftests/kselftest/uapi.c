// SPDX-License-Identifier: GPL-2.0-only
/*
 * uapi.c: what holds for every ioctl, whatever it means: the argument's size,
 * unknown flags, reserved fields, bad pointers, and the order of states (before
 * CREATE, before mmap, live, of another process, dead).
 *
 * One table has all commands; each test walks it.  What a command itself can
 * answer is in commands.c, the mappings in map.c.
 */
#define GCT_SUITE "uapi"
#include "raw.h"

#include <setjmp.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

union arg {
	struct { uint32_t size, flags; };
	struct gcarena_info info;
	struct gcarena_create create;
	struct gcarena_attach attach;
	struct gcarena_detach detach;
	struct gcarena_refill refill;
	struct gcarena_large large;
	struct gcarena_settle settle;
	struct gcarena_layout layout;
	struct gcarena_roots roots;
	struct gcarena_collect collect;
	struct gcarena_config config;
	struct gcarena_stats stats;
	struct gcarena_serve serve;
	struct gcarena_destroy destroy;
	char bytes[8192];
};

#define ANY_STATE	1	/* INFO, CREATE: not bound to a live arena */
#define WANTS_MAPS	2	/* -ENXIO before heap and control page are mapped */

static const struct command {
	const char *name;
	unsigned int nr;
	uint32_t size;
	uint32_t known;		/* flags that mean something */
	unsigned int how;
	int reserved;		/* offset of a __u32 that must be 0, or -1 */
} commands[] = {
#define C(n, N, known, how, reserved) { #N, GCARENA_IOC_##N, sizeof(struct gcarena_##n), known, how, reserved }
	C(info, INFO, 0, ANY_STATE, -1),
	C(create, CREATE, GCARENA_CREATE_SIGNAL | GCARENA_CREATE_TASKWORK, ANY_STATE, -1),
	C(attach, ATTACH, GCARENA_ATTACH_COUNTER, WANTS_MAPS, -1),
	C(detach, DETACH, 0, 0, offsetof(struct gcarena_detach, __reserved)),
	C(refill, REFILL, 0, 0, offsetof(struct gcarena_refill, __reserved)),
	C(large, LARGE, 0, 0, offsetof(struct gcarena_large, __reserved)),
	C(settle, SETTLE, GCARENA_SETTLE_FLUSH | GCARENA_SETTLE_PARK, 0,
	  offsetof(struct gcarena_settle, __reserved)),
	C(layout, LAYOUT, 0, 0, offsetof(struct gcarena_layout, __reserved)),
	C(roots, ROOTS, 0, 0, -1),
	C(collect, COLLECT, 15, WANTS_MAPS, offsetof(struct gcarena_collect, __reserved)),
	C(config, CONFIG, 0, 0, -1),
	C(stats, STATS, 0, 0, -1),
	C(serve, SERVE, GCARENA_SERVE_NOWAIT | GCARENA_SERVE_LOOKS | GCARENA_SERVE_CHANGED,
	  WANTS_MAPS, -1),
	C(destroy, DESTROY, 0, 0, -1),
#undef C
};

#define NR_COMMANDS	(sizeof(commands) / sizeof(commands[0]))

/* An argument that is right on the arena @r (DESTROY and CREATE excepted). */
static void good(const struct command *c, const struct raw *r, union arg *a)
{
	static uint64_t bitmap = 1;

	memset(a, 0, sizeof(*a));
	a->size = c->size;
	switch (c->nr) {
	case GCARENA_IOC_CREATE:
		a->create.reserve = RAW_RESERVE;
		break;
	case GCARENA_IOC_ATTACH:
		raw_attach_fill(&a->attach);
		break;
	case GCARENA_IOC_DETACH:
		a->detach.id = r->attach.id;
		break;
	case GCARENA_IOC_REFILL:
		a->refill.id = r->attach.id;
		a->refill.count = 1;
		break;
	case GCARENA_IOC_LARGE:
		a->large.bytes = 40000;
		a->large.id = r->attach.id;
		break;
	case GCARENA_IOC_SETTLE:
		a->settle.id = r->attach.id;
		break;
	case GCARENA_IOC_LAYOUT:
		a->layout.elem_size = 16;
		a->layout.bitmap = (uintptr_t)&bitmap;
		break;
	case GCARENA_IOC_SERVE:
		a->flags = GCARENA_SERVE_NOWAIT;
		break;
	}
}

/* What a right argument answers on a live, mapped, attached arena. */
static int expected(const struct command *c)
{
	switch (c->nr) {
	case GCARENA_IOC_CREATE:
		return -EBUSY;
	case GCARENA_IOC_ATTACH:
		return -EEXIST;
	case GCARENA_IOC_SERVE:
		return -EAGAIN;
	default:
		return 0;
	}
}

static bool ends_it(const struct command *c)
{
	return c->nr == GCARENA_IOC_DESTROY || c->nr == GCARENA_IOC_DETACH;
}

#define EXPECT_CALL(c, want, fd, arg) do {				\
	int got_ = raw_ioctl(fd, (c)->nr, arg);				\
	if (got_ != (want)) {						\
		gct_note("# %s:%d: %s gives %d, not %d", __FILE__, __LINE__, \
			 (c)->name, got_, want);			\
		gct_failed = 1;						\
	}								\
} while (0)

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
	long arenas = gct_arenas();
	struct raw r = { .fd = raw_open() };

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

TEST(before_create)
{
	struct raw r = { .fd = raw_open() };
	union arg a;
	char byte;

	ASSERT_GE(r.fd, 0);
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		good(&commands[i], &r, &a);
		if (commands[i].how != ANY_STATE)
			EXPECT_CALL(&commands[i], -ENXIO, r.fd, &a);
	}
	good(&commands[0], &r, &a);
	EXPECT_CALL(&commands[0], 0, r.fd, &a);
	EXPECT_TRUE(mmap(NULL, RAW_RESERVE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
			 r.fd, 0) == MAP_FAILED);
	EXPECT_EQ(errno, ENXIO);
	EXPECT_EQ(read(r.fd, &byte, 1), -1);
	EXPECT_EQ(errno, ENXIO);
	close(r.fd);
}

TEST(before_mmap)
{
	union arg a;
	struct raw r;

	ASSERT_EQ(raw_arena_of(&r, RAW_RESERVE), 0);
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		good(&commands[i], &r, &a);
		if (commands[i].how == WANTS_MAPS)
			EXPECT_CALL(&commands[i], -ENXIO, r.fd, &a);
	}
	/* One of the two is not enough. */
	ASSERT_TRUE(mmap(NULL, 4096, PROT_READ, MAP_SHARED, r.fd, (off_t)r.control_offset) !=
		    MAP_FAILED);
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		good(&commands[i], &r, &a);
		if (commands[i].how == WANTS_MAPS)
			EXPECT_CALL(&commands[i], -ENXIO, r.fd, &a);
	}
	raw_close(&r);
}

static void expect_dead(const struct raw *r)
{
	struct pollfd p = { .fd = r->fd, .events = POLLIN };
	union arg a;
	char byte;

	for (size_t i = 0; i < NR_COMMANDS; i++) {
		good(&commands[i], r, &a);
		if (commands[i].how != ANY_STATE)
			EXPECT_CALL(&commands[i], -ESRCH, r->fd, &a);
	}
	good(&commands[1], r, &a);
	EXPECT_CALL(&commands[1], -EBUSY, r->fd, &a);
	EXPECT_TRUE(mmap(NULL, 4096, PROT_READ, MAP_SHARED, r->fd, (off_t)r->control_offset) ==
		    MAP_FAILED);
	EXPECT_EQ(errno, ESRCH);
	EXPECT_EQ(read(r->fd, &byte, 1), -1);
	EXPECT_EQ(errno, ESRCH);
	EXPECT_EQ(poll(&p, 1, 0), 1);
	EXPECT_EQ(p.revents, POLLHUP);
}

TEST_F(arena, dead_by_destroy)
{
	long arenas = gct_arenas();

	ASSERT_EQ(raw_destroy(&self->r), 0);
	/* The memory is back on return, and so is the place. */
	EXPECT_EQ(gct_arenas(), arenas - 1);
	expect_dead(&self->r);
}

TEST_F(arena, dead_by_munmap_of_the_control_page)
{
	ASSERT_EQ(munmap((void *)(uintptr_t)self->r.control, 4096), 0);
	expect_dead(&self->r);
	self->r.control = NULL;
}

/* Everything but INFO is refused to a process that is not the owner. */
static void expect_foreign(const struct raw *r)
{
	struct pollfd p = { .fd = r->fd, .events = POLLIN };
	union arg a;
	char byte;

	for (size_t i = 0; i < NR_COMMANDS; i++) {
		int want = commands[i].nr == GCARENA_IOC_INFO ? 0 :
			   commands[i].nr == GCARENA_IOC_CREATE ? -EBUSY : -EPERM;

		good(&commands[i], r, &a);
		EXPECT_CALL(&commands[i], want, r->fd, &a);
	}
	for (int i = 0; i < 3; i++) {
		off_t at = i == 0 ? (off_t)r->heap_offset : i == 1 ? (off_t)r->control_offset :
			   (off_t)r->attach.map_offset;
		size_t len = i == 0 ? r->heap_size : i == 1 ? 4096 : r->attach.map_size;

		EXPECT_TRUE(mmap(NULL, len, PROT_READ, MAP_SHARED, r->fd, at) == MAP_FAILED);
		EXPECT_EQ(errno, EPERM);
	}
	EXPECT_EQ(read(r->fd, &byte, 1), -1);
	EXPECT_EQ(errno, EPERM);
	EXPECT_EQ(poll(&p, 1, 0), 1);
	EXPECT_EQ(p.revents, POLLERR);
}

#define IN_CHILD(body) do {						\
	pid_t pid_ = fork();						\
	int status_;							\
	ASSERT_GE(pid_, 0);						\
	if (!pid_) {							\
		gct_failed = 0;						\
		body;							\
		_exit(gct_failed);					\
	}								\
	ASSERT_EQ(waitpid(pid_, &status_, 0), pid_);			\
	EXPECT_EQ(status_, 0);						\
} while (0)

TEST_F(arena, inherited_by_fork)
{
	IN_CHILD(expect_foreign(&self->r));
	EXPECT_EQ(raw_collect(&self->r, 0, NULL), 0);
}

static void send_fd(int sock, int fd, const struct raw *r)
{
	union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } u = { { 0 } };
	struct iovec v = { (void *)(uintptr_t)r, sizeof(*r) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	ASSERT_EQ(sendmsg(sock, &m, 0), (ssize_t)sizeof(*r));
}

static void receive_fd(int sock, struct raw *r)
{
	union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } u = { { 0 } };
	struct iovec v = { r, sizeof(*r) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf) };

	ASSERT_EQ(recvmsg(sock, &m, 0), (ssize_t)sizeof(*r));
	ASSERT_TRUE(CMSG_FIRSTHDR(&m));
	memcpy(&r->fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
}

/* A process that existed before the arena did: by message, and by pidfd. */
TEST(passed_to_another_process)
{
	int sock[2], status;
	struct raw r;
	pid_t pid;
	char byte;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock), 0);
	pid = fork();
	if (!pid) {
		pid_t owner = getppid();
		int pidfd;

		receive_fd(sock[1], &r);
		expect_foreign(&r);
		pidfd = (int)syscall(SYS_pidfd_open, owner, 0);
		r.fd = (int)syscall(SYS_pidfd_getfd, pidfd, 3 + 0 * r.fd + (int)r.id, 0);
		ASSERT_GE(r.fd, 0);
		expect_foreign(&r);
		ASSERT_EQ(write(sock[1], "x", 1), 1);
		/* It keeps the file after the owner's death, and sees that. */
		ASSERT_EQ(read(sock[1], &byte, 1), 1);
		expect_foreign(&r);
		_exit(gct_failed);
	}
	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	r.id = (uint64_t)(r.fd - 3);
	send_fd(sock[0], r.fd, &r);
	ASSERT_EQ(read(sock[0], &byte, 1), 1);
	EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
	ASSERT_EQ(raw_destroy(&r), 0);
	ASSERT_EQ(write(sock[0], "x", 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
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

TEST_F(arena, read_and_poll)
{
	struct pollfd p = { .fd = self->r.fd, .events = POLLIN };
	char byte;

	EXPECT_EQ(poll(&p, 1, 0), 0);
	fcntl(self->r.fd, F_SETFL, O_NONBLOCK);
	EXPECT_EQ(read(self->r.fd, &byte, 1), -1);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(write(self->r.fd, &byte, 1), -1);
	EXPECT_EQ(lseek(self->r.fd, 0, SEEK_SET), -1);
}

TEST_HARNESS_MAIN
