// SPDX-License-Identifier: GPL-2.0-only
/*
 * states.c: what every ioctl, read, poll and mmap answer by the state of the arena:
 * before CREATE, before mmap, live, of another process, dead.
 */
#define GCT_SUITE "states"
#include "table.h"

#include <sys/socket.h>
#include <sys/un.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

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
