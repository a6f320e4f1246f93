// SPDX-License-Identifier: GPL-2.0-only
/*
 * death.c: arenas end in every way: the owner exits, execs, is killed in any
 * phase, forks and either side goes first; the descriptor is closed or DESTROY
 * comes while COLLECT and SERVE run.  And limits: opens, arenas, address space,
 * permissions, the module itself.
 *
 * After each test the number of arenas is what it was before.
 */
#define GCT_SUITE "death"
#include "raw.h"

#include <grp.h>
#include <sys/prctl.h>

FIXTURE(machine) {
	long arenas;
};

FIXTURE_SETUP(machine)
{
	self->arenas = gct_arenas();
	ASSERT_GE(self->arenas, 0);
}

FIXTURE_TEARDOWN(machine)
{
	EXPECT_TRUE(gct_arenas_become(self->arenas));
}

/* A chain through @n conservative objects, so that marking takes a while. */
static uint64_t *chain(struct raw *r, int n)
{
	uint64_t *head = NULL, *p;

	while (n--) {
		p = (uint64_t *)raw_alloc(r, GCARENA_SPAN_CLASS(6, GCARENA_CONSERVATIVE));
		if (!p)
			_exit(3);
		p[0] = (uintptr_t)head;
		head = p;
	}
	return head;
}

/* A process that does everything in a loop until it is killed. */
static void busy_process(bool with_pager, int debug)
{
	struct gcarena_config c = { .size = sizeof(c), .mask = GCARENA_CONFIG_DEBUG };
	uint64_t *volatile keep;
	pthread_t t;
	struct raw r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (raw_arena(&r) || raw_attach(&r))
		_exit(2);
	c.knob.debug = (uint64_t)debug;
	raw_ioctl(r.fd, GCARENA_IOC_CONFIG, &c);
	if (with_pager && pthread_create(&t, NULL, raw_serve_forever, &r))
		_exit(2);
	for (;;) {
		keep = chain(&r, 5000);
		raw_collect(&r, GCARENA_COLLECT_UNTIL_MARKING, NULL);
		chain(&r, 500);
		raw_collect(&r, GCARENA_COLLECT_UNTIL_MARKED, NULL);
		raw_collect(&r, 0, NULL);
		raw_detach(&r);
		raw_collect(&r, 0, NULL);
		if (raw_attach(&r))
			_exit(2);
		keep = NULL;
	}
	(void)keep;
}

TEST_F(machine, killed_at_any_time)
{
	uint64_t seed = gct_now_ms() | 1;

	for (unsigned long i = 0; i < gct_scale(60); i++) {
		int status;
		pid_t pid = fork();

		if (!pid)
			busy_process(i & 1, i % 4 == 3 ? GCARENA_DEBUG_MISS : 0);
		gct_sleep_ms((long)(gct_random(&seed) % (60 * (uint64_t)gct_slow())));
		kill(pid, SIGKILL);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		if (!WIFSIGNALED(status))
			gct_note("# it ended by itself: %#x", status);
		ASSERT_TRUE(WIFSIGNALED(status));
	}
}

TEST_F(machine, fork_parent_goes_first)
{
	int go[2], said[2], status;
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(pipe(go), 0);
	ASSERT_EQ(pipe(said), 0);
	pid = fork();
	if (!pid) {
		struct raw r;
		uint64_t *p;

		ASSERT_EQ(raw_arena(&r), 0);
		ASSERT_EQ(raw_attach(&r), 0);
		p = chain(&r, 1000);
		ASSERT_EQ(raw_collect(&r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
		if (!fork()) {
			int n = 0;

			close(go[1]);
			/* The parent is gone when the pipe says so; its heap is ours to read. */
			ASSERT_EQ(read(go[0], &byte, 1), 1);
			for (; p; p = (uint64_t *)p[0])
				n++;
			byte = n == 1000 && raw_refill(&r, 0, 1) == -EPERM ? 'y' : 'n';
			ASSERT_EQ(write(said[1], &byte, 1), 1);
			pause();
		}
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	/* The arena is dead although a grandchild holds descriptor and heap. */
	EXPECT_TRUE(gct_arenas_become(self->arenas));
	ASSERT_EQ(write(go[1], "x", 1), 1);
	ASSERT_EQ(read(said[0], &byte, 1), 1);
	EXPECT_EQ(byte, 'y');
}

TEST_F(machine, fork_child_goes_first)
{
	struct raw r;
	int status;

	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	chain(&r, 1000);
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();

		if (!pid) {
			memset(r.heap, 0xff, 65536);
			if (i & 1)
				munmap(r.heap, r.heap_size);
			_exit(0);
		}
		ASSERT_EQ(raw_collect(&r, 0, NULL), 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		ASSERT_EQ(raw_collect(&r, 0, NULL), 0);
	}
	raw_close(&r);
}

/* A child that shares the memory is the same owner; one that execs is not. */
TEST_F(machine, vfork_and_exec)
{
	struct raw r;
	int status;
	pid_t pid;

	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	chain(&r, 100);
	pid = vfork();
	if (!pid) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
	EXPECT_EQ(gct_arenas(), self->arenas + 1);
	raw_close(&r);
}

TEST_F(machine, exec_is_death)
{
	int out[2], status;
	char buf[64] = "", want[20];
	pid_t pid;

	ASSERT_EQ(pipe(out), 0);
	snprintf(want, sizeof(want), "%ld", self->arenas);
	pid = fork();
	if (!pid) {
		struct raw r;

		ASSERT_EQ(raw_arena(&r), 0);
		ASSERT_EQ(raw_attach(&r), 0);
		chain(&r, 100);
		ASSERT_EQ(raw_collect(&r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
		/* The descriptor is inherited all the same. */
		fcntl(r.fd, F_SETFD, 0);
		dup2(out[1], 1);
		close(out[0]);
		execl("/bin/sh", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "
		      "read n < /sys/kernel/gcarena/arenas; [ $n = $0 ] && break; sleep 0.1; done; "
		      "echo $n", want, (char *)NULL);
		_exit(1);
	}
	close(out[1]);
	(void)!read(out[0], buf, sizeof(buf) - 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(strtol(buf, NULL, 10), self->arenas);
}

/* ------------------------------------------- close and DESTROY under way */

struct pair {
	struct raw r;
	int what;		/* 0 COLLECT, 1 SERVE, 2 read() */
	volatile int ready;
	int result;
	int cycles;
};

static void *blocked(void *arg)
{
	struct pair *p = arg;
	char byte;

	p->ready = 1;
	switch (p->what) {
	case 0:
		do {
			p->result = raw_collect(&p->r, 0, NULL);
			p->cycles++;
		} while (!p->result);
		break;
	case 1:
		p->result = (int)(intptr_t)raw_serve_forever(&p->r);
		break;
	case 2:
		p->result = read(p->r.fd, &byte, 1) < 0 ? -errno : 0;
		break;
	}
	return NULL;
}

/* @how: 0 DESTROY, 1 close, 2 munmap of the control page, 3 all three */
static void end_it(struct raw *r, int how)
{
	if (how == 0 || how == 3)
		EXPECT_EQ(raw_destroy(r), 0);
	if (how == 1 || how == 3)
		close(r->fd);
	if (how == 2 || how == 3)
		munmap((void *)(uintptr_t)r->control, 4096);
}

TEST_F(machine, ended_during_collect_and_serve)
{
	uint64_t seed = gct_now_ms() | 1;

	for (unsigned long i = 0; i < gct_scale(120); i++) {
		static struct pair p;
		int how = (int)(i % 4);
		pthread_t t;

		memset(&p, 0, sizeof(p));
		p.what = (int)(i / 4 % 3);
		ASSERT_EQ(raw_arena(&p.r), 0);
		ASSERT_EQ(raw_attach(&p.r), 0);
		chain(&p.r, 3000);
		/* COLLECT in another thread needs nobody attached. */
		ASSERT_EQ(raw_detach(&p.r), 0);
		ASSERT_EQ(pthread_create(&t, NULL, blocked, &p), 0);
		while (!p.ready)
			;
		gct_sleep_ms((long)(gct_random(&seed) % 5));
		end_it(&p.r, how);
		/* close() alone ends nothing while the mapping lives: a mutator's file stays. */
		if (how == 1)
			munmap((void *)(uintptr_t)p.r.control, 4096);
		pthread_join(t, NULL);
		if (p.result != -ESRCH && p.result != -EBADF)
			gct_note("# what %d, how %d: %d", p.what, how, p.result);
		EXPECT_TRUE(p.result == -ESRCH || p.result == -EBADF);
		if (how != 1 && how != 3)
			close(p.r.fd);
		munmap(p.r.heap, p.r.heap_size);
		if (!how)
			munmap((void *)(uintptr_t)p.r.control, 4096);
	}
}

/* ------------------------------------------------------------------ limits */

TEST_F(machine, a_thousand_opens)
{
	static int fd[1000];
	int n;

	for (n = 0; n < 1000; n++) {
		fd[n] = raw_open();
		if (fd[n] < 0)
			break;
	}
	/* RLIMIT_NOFILE is no business of ours. */
	EXPECT_TRUE(n == 1000 || fd[n] == -EMFILE);
	EXPECT_EQ(gct_arenas(), self->arenas);
	while (n--)
		close(fd[n]);
}

TEST_F(machine, open_create_close_loop)
{
	long created = gct_file_long("/sys/kernel/gcarena/arenas_created");
	unsigned long n = gct_scale(1000), i;

	for (i = 0; i < n; i++) {
		struct gcarena_create c;
		int fd = raw_open();

		ASSERT_GE(fd, 0);
		ASSERT_EQ(raw_create(fd, i % 7 ? RAW_RESERVE : GCARENA_RESERVE_MAX / 2, &c), 0);
		if (i % 3 == 0)
			mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, (off_t)c.control_offset);
		if (i % 3)
			close(fd);
		else
			ASSERT_EQ(raw_ioctl(fd, GCARENA_IOC_DESTROY,
					    &(struct gcarena_destroy){ .size = 8 }), 0);
		if (i % 3 == 0)
			close(fd);
	}
	EXPECT_GE(gct_file_long("/sys/kernel/gcarena/arenas_created"), created + (long)n);
}

static void param(const char *path, const char *value)
{
	ASSERT_EQ(gct_file_write(path, value), 0);
}

TEST_F(machine, arenas_of_a_user)
{
	struct gcarena_info i = { .size = sizeof(i) };
	struct gcarena_create c;
	int fd[6], n;
	char old[20];

	snprintf(old, sizeof(old), "%ld", gct_file_long(gct_param_path("max_arenas")));
	snprintf((char *)&c, sizeof(c), "%ld", self->arenas + 4);
	param(gct_param_path("max_arenas"), (char *)&c);
	for (n = 0; n < 6; n++) {
		fd[n] = raw_open();
		EXPECT_EQ(raw_create(fd[n], RAW_RESERVE, &c), n < 4 ? 0 : -EDQUOT);
	}
	EXPECT_EQ(raw_ioctl(fd[0], GCARENA_IOC_INFO, &i), 0);
	EXPECT_EQ(i.arenas_left, 0);
	close(fd[1]);
	/* A refused one may try again. */
	EXPECT_EQ(raw_create(fd[5], RAW_RESERVE, &c), 0);
	EXPECT_EQ(raw_create(fd[4], RAW_RESERVE, &c), -EDQUOT);
	param(gct_param_path("max_arenas"), old);
	for (n = 0; n < 6; n++)
		if (n != 1)
			close(fd[n]);
}

TEST_F(machine, address_space_of_a_user)
{
	struct gcarena_create c;
	int a = raw_open(), b = raw_open();
	char old[20];

	snprintf(old, sizeof(old), "%ld", gct_file_long(gct_param_path("max_reserve_gib")));
	param(gct_param_path("max_reserve_gib"), "4");
	EXPECT_EQ(raw_create(a, 8ULL << 30, &c), -EDQUOT);
	EXPECT_EQ(raw_create(a, 4ULL << 30, &c), 0);
	EXPECT_EQ(raw_create(b, RAW_RESERVE, &c), -EDQUOT);
	close(a);
	EXPECT_EQ(raw_create(b, 4ULL << 30, &c), 0);
	/* A limit that was lowered holds for what comes later. */
	param(gct_param_path("max_reserve_gib"), "1");
	a = raw_open();
	EXPECT_EQ(raw_create(a, RAW_RESERVE, &c), -EDQUOT);
	param(gct_param_path("max_reserve_gib"), old);
	EXPECT_EQ(raw_create(a, RAW_RESERVE, &c), 0);
	close(a);
	close(b);
}

TEST_F(machine, parameters_are_checked)
{
	static const struct { const char *path, *bad; } p[] = {
		{ gct_param_path("level"), "3" }, { gct_param_path("level"), "-1" },
		{ gct_param_path("level"), "x" }, { gct_param_path("max_arenas"), "65537" },
		{ gct_param_path("max_reserve_gib"), "65537" },
		{ gct_param_path("max_user_workers"), "65537" },
		{ gct_param_path("stop_deadline_us"), "1" },
		{ gct_param_path("age_limit_ms"), "0" }, { gct_param_path("debug"), "16" },
		{ gct_param_path("stop"), "none" },
	};

	int stop = gct_stop_param();

	for (size_t i = 0; i < sizeof(p) / sizeof(p[0]); i++)
		EXPECT_LT(gct_file_write(p[i].path, p[i].bad), 0);
	EXPECT_EQ(gct_stop_param(), stop);
}

/* As another user, in a child: CREATE through a descriptor opened as root. */
static int create_as(int fd, gid_t group, bool cap)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct gcarena_create c;

		if (!cap && (setgroups(group ? 1 : 0, &group) || setgid(1234) || setuid(1234)))
			_exit(100);
		_exit(-raw_create(fd, RAW_RESERVE, &c));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -1000;
}

TEST_F(machine, level)
{
	struct stat st;
	int fd;

	ASSERT_EQ(stat(RAW_DEVICE, &st), 0);
	for (int level = 0; level <= 2; level++) {
		char text[2] = { (char)('0' + level), 0 };

		param(gct_param_path("level"), text);
		fd = raw_open();
		EXPECT_EQ(create_as(fd, 0, true), level ? 0 : -EPERM);
		close(fd);
		fd = raw_open();
		EXPECT_EQ(create_as(fd, 0, false), level == 2 ? 0 : -EPERM);
		close(fd);
		/* In the device's group; while that is root's, group 0 cannot be given here. */
		if (!st.st_gid)
			continue;
		fd = raw_open();
		EXPECT_EQ(create_as(fd, st.st_gid, false), level ? 0 : -EPERM);
		close(fd);
	}
	param(gct_param_path("level"), "1");
}

TEST_F(machine, device_node)
{
	struct stat st;
	int status;
	pid_t pid;

	ASSERT_EQ(stat(RAW_DEVICE, &st), 0);
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(st.st_mode & 0777, 0660);
	EXPECT_EQ(st.st_uid, 0);
	pid = fork();
	if (!pid) {
		if (setgroups(0, NULL) || setgid(1234) || setuid(1234))
			_exit(100);
		_exit(-raw_open());
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(WEXITSTATUS(status), EACCES);
}

/* ------------------------------------------------------------------ the module */

static int unload(void)
{
	return syscall(SYS_delete_module, "gcarena", O_NONBLOCK) ? -errno : 0;
}

TEST_F(machine, rmmod_is_refused)
{
	struct raw r;
	pid_t pid;
	int fd = raw_open(), status;

	ASSERT_GE(fd, 0);
	EXPECT_EQ(unload(), -EWOULDBLOCK);		/* a descriptor */
	close(fd);
	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	EXPECT_EQ(unload(), -EWOULDBLOCK);
	ASSERT_EQ(raw_collect(&r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
	close(r.fd);
	EXPECT_EQ(unload(), -EWOULDBLOCK);		/* mappings only */
	/* A child's copy of the heap pins the file, too. */
	pid = fork();
	if (!pid) {
		munmap((void *)(uintptr_t)r.control, 4096);
		pause();
	}
	munmap((void *)(uintptr_t)r.control, 4096);
	munmap(r.m, r.attach.map_size);
	munmap(r.heap, r.heap_size);
	EXPECT_TRUE(gct_arenas_become(self->arenas));
	EXPECT_EQ(unload(), -EWOULDBLOCK);
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
}

TEST_HARNESS_MAIN
