/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * crew.h: an owner in a process of its own, and its kernel threads as 'ps' sees them.
 *
 * The owner joins a cgroup, makes an arena with a chain in it, and then collects as
 * often as the test lets it (crew.go).  What it finds out it leaves in shared memory.
 */
#ifndef GCT_CREW_H
#define GCT_CREW_H

#include "group.h"
#include "raw.h"

#include <ctype.h>
#include <dirent.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define CREW_CLASS	GCARENA_SPAN_CLASS(6, GCARENA_CONSERVATIVE)	/* 64 bytes */
#define CREW_LENGTH	40000		/* 2.5 MB: work for two */
#define CREW_MANY	(~0UL)
#define CREW_GROUP	GROUP_ROOT "/gct_crew"

struct crew {
	/* What the test wants. */
	const char *group;		/* cgroup, or none */
	int length;			/* of the chain */
	int nice, policy;
	uid_t uid;			/* another user, in the device's group; 0: none */
	uint32_t engine;		/* GCARENA_CREATE_*, or 0 */
	bool pager, looks;		/* a thread serves; and looks after the plain roots */
	bool second;			/* a thread that makes one COLLECT when it is let */
	bool slow;			/* the pager looks when it is let */
	volatile int let;		/* 1: the former, 2: both */
	bool spinner;			/* a second thread is attached, and never calls */
	bool mixed;			/* every kind of COLLECT in turn */
	bool async;			/* cycles are only kicked, once there are workers */
	int sock;			/* to pass the descriptor to, or 0 */
	bool leaderless;		/* its first thread has exited */
	bool heir;			/* a child that outlives the owner, outside the cgroup */
	volatile unsigned long go;	/* COLLECTs the owner may make */
	volatile int end;
	/* What the owner says. */
	volatile int ready;
	volatile int asked;		/* the pager has been told to look */
	volatile int collected;		/* by the second thread */
	volatile unsigned long cycles;	/* COLLECTs that have returned, or kicked cycles */
	volatile pid_t heir_pid;
	struct gcarena_stats st;	/* after the last of them */
	uint64_t own_ns;		/* its own CPU time, then */
	struct raw *r;
};

static inline struct crew *crew_wanted(void)
{
	struct crew *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_TRUE(s != MAP_FAILED);
	s->length = CREW_LENGTH;
	s->go = CREW_MANY;
	return s;
}

static inline int crew_cpus(void)
{
	return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* ------------------------------------------------------------------ as ps sees them */

/*
 * Kernel threads of process @pid; 0: of any.  The workers' ids into @worker, the
 * coordinator's into @coordinator (0: none).  Return: how many workers.
 */
static inline int crew_list(pid_t pid, pid_t *worker, int room, pid_t *coordinator)
{
	char path[300], comm[64], want[32];
	struct dirent *e;
	DIR *d = opendir("/proc");
	int n = 0, len;

	if (coordinator)
		*coordinator = 0;
	len = pid ? snprintf(want, sizeof(want), "gca/%d", pid) :
		    snprintf(want, sizeof(want), "gca/");
	while (d && (e = readdir(d))) {
		ssize_t got;
		int fd;

		if (!isdigit(e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		fd = open(path, O_RDONLY);
		got = fd < 0 ? -1 : read(fd, comm, sizeof(comm) - 1);
		close(fd);
		if (got <= 0 || strncmp(comm, want, (size_t)len))
			continue;
		comm[got - 1] = 0;
		if (pid && comm[len] && comm[len] != ':')
			continue;
		if (strstr(comm, ":w")) {
			if (worker && n < room)
				worker[n] = atoi(e->d_name);
			n++;
		} else if (coordinator) {
			*coordinator = atoi(e->d_name);
		}
	}
	if (d)
		closedir(d);
	return n;
}

/* Within 5 s (of a stock guest) the process, or (0) any, has no kernel threads. */
static inline bool crew_gone(pid_t pid)
{
	uint64_t end = gct_now_ms() + 5000ULL * (uint64_t)gct_slow();
	pid_t coordinator;

	for (;;) {
		if (!crew_list(pid, NULL, 0, &coordinator) && !coordinator)
			return true;
		if (gct_now_ms() > end)
			return false;
		gct_sleep_ms(10);
	}
}

/* /proc/TID/NAME's line that begins with @key has this value, within @ms. */
static inline bool crew_says_within(uint64_t ms, pid_t tid, const char *name, const char *key,
				    const char *value)
{
	uint64_t end = gct_now_ms() + ms;
	char path[100], got[300] = "";

	snprintf(path, sizeof(path), "/proc/%d/%s", tid, name);
	for (;;) {
		if (group_line(path, key, got, sizeof(got)) && !strcmp(got, value))
			return true;
		if (gct_now_ms() >= end)
			break;
		gct_sleep_ms(1);
	}
	gct_note("# %s: %s'%s', not '%s'", path, key, got, value);
	return false;
}

static inline bool crew_says(pid_t tid, const char *name, const char *key, const char *value)
{
	return crew_says_within(0, tid, name, key, value);
}

/* ------------------------------------------------------------------------- the owner */

static inline uint64_t *crew_chain(struct raw *r, int n)
{
	uint64_t *head = NULL, *p;

	while (n--) {
		p = (uint64_t *)raw_alloc(r, CREW_CLASS);
		if (!p)
			_exit(3);
		p[0] = (uintptr_t)head;
		head = p;
	}
	return head;
}

static inline int crew_chain_length(const uint64_t *p)
{
	int n = 0;

	for (; p; p = (const uint64_t *)p[0])
		n++;
	return n;
}

static inline void *crew_pager(void *arg)
{
	struct crew *s = arg;
	struct gcarena_run runs[16];
	int err;

	do {
		struct gcarena_serve v = {
			.size = sizeof(v), .runs = (uintptr_t)runs, .nr_runs = 16,
			.flags = s->looks ? GCARENA_SERVE_LOOKS : 0,
		};

		err = raw_ioctl(s->r->fd, GCARENA_IOC_SERVE, &v);
		s->asked |= !err && v.flags & GCARENA_SERVE_REFRESH;
		while (s->slow && s->asked && s->let < 2)
			gct_sleep_ms(1);
	} while (!err || err == -EINTR);
	return NULL;
}

/* Attached to nothing. */
static inline void *crew_second(void *arg)
{
	struct crew *s = arg;
	struct gcarena_collect c;

	while (!s->let)
		gct_sleep_ms(1);
	ASSERT_EQ(raw_collect(s->r, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
	s->collected = 1;
	return NULL;
}

static inline void *crew_spinner(void *arg)
{
	struct raw mine = *((struct crew *)arg)->r;

	ASSERT_EQ(raw_attach(&mine), 0);
	for (;;)
		__asm__ __volatile__("pause");
	return NULL;
}

/* SCM_RIGHTS */
static inline int crew_pass(int sock, int fd)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } u = { 0 };
	struct iovec v = { "x", 1 };
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1,
		.msg_control = &u, .msg_controllen = sizeof(u),
	};

	u.h.cmsg_level = SOL_SOCKET;
	u.h.cmsg_type = SCM_RIGHTS;
	u.h.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&u.h), &fd, sizeof(fd));
	return sendmsg(sock, &m, 0) == 1 ? 0 : -errno;
}

static inline int crew_passed(int sock)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } u = { 0 };
	char byte;
	struct iovec v = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1,
		.msg_control = &u, .msg_controllen = sizeof(u),
	};
	int fd = -1;

	if (recvmsg(sock, &m, 0) == 1 && u.h.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&u.h), sizeof(fd));
	return fd;
}

/* At once: a test that lets the owner go on reads it meanwhile. */
static inline void crew_counts(struct crew *s)
{
	struct gcarena_stats st;

	ASSERT_EQ(raw_stats(s->r, &st), 0);
	s->st = st;
}

static inline void crew_collect(struct crew *s, unsigned long i)
{
	static const uint32_t how[] = { 0, GCARENA_COLLECT_UNTIL_MARKING,
					GCARENA_COLLECT_UNTIL_MARKED };
	struct gcarena_collect c;
	struct timespec t;

	if (s->async && s->st.workers) {
		uint64_t before = s->st.cycles;

		ASSERT_EQ(raw_collect(s->r, GCARENA_COLLECT_ASYNC, NULL), 0);
		gct_sleep_ms(1);
		crew_counts(s);
		s->cycles += s->st.cycles != before;
		return;
	}
	ASSERT_EQ(raw_collect(s->r, s->mixed ? how[i % 3] : 0, &c), 0);
	ASSERT_EQ(c.result, GCARENA_RESULT_DONE);
	crew_counts(s);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	s->own_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	s->cycles++;
	ASSERT_TRUE(raw_alloc(s->r, CREW_CLASS));
}

static inline void crew_become(uid_t uid)
{
	struct stat st;

	ASSERT_EQ(stat(RAW_DEVICE, &st), 0);
	ASSERT_EQ(setgroups(1, &st.st_gid), 0);
	ASSERT_EQ(setresuid(uid, uid, uid), 0);
}

/* Return: 0: everything was right. */
static inline int crew_owner(struct crew *s)
{
	struct sched_param zero = { 0 };
	uint64_t *volatile head;
	static struct raw r;
	unsigned long i = 0;
	pthread_t t;

	gct_failed = 0;
	s->r = &r;
	if (s->group)
		ASSERT_EQ(group_write(s->group, "cgroup.procs", "0"), 0);
	if (s->uid)
		crew_become(s->uid);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (s->nice)
		ASSERT_EQ(setpriority(PRIO_PROCESS, 0, s->nice), 0);
	if (s->policy)
		ASSERT_EQ(sched_setscheduler(0, s->policy, &zero), 0);
	ASSERT_EQ(raw_arena_as(&r, RAW_RESERVE, s->engine), 0);
	ASSERT_EQ(raw_map(&r), 0);
	if (s->engine == GCARENA_CREATE_SIGNAL)
		raw_handle_stop(0);
	ASSERT_EQ(raw_attach(&r), 0);
	if (s->spinner)
		ASSERT_EQ(pthread_create(&t, NULL, crew_spinner, s), 0);
	if (s->pager)
		ASSERT_EQ(pthread_create(&t, NULL, crew_pager, s), 0);
	if (s->second)
		ASSERT_EQ(pthread_create(&t, NULL, crew_second, s), 0);
	head = crew_chain(&r, s->length);
	if (s->sock)
		ASSERT_EQ(crew_pass(s->sock, r.fd), 0);
	if (s->heir) {
		if (!fork()) {
			ASSERT_EQ(group_write(GROUP_ROOT, "cgroup.procs", "0"), 0);
			s->heir_pid = getpid();
			s->ready = 1;
			for (;;)
				pause();
		}
	} else {
		s->ready = 1;
	}
	while (!s->end) {
		if (s->cycles >= s->go)
			gct_sleep_ms(1);
		else
			crew_collect(s, i++);
	}
	EXPECT_EQ(crew_chain_length(head), s->length);
	ASSERT_EQ(raw_stats(&r, &s->st), 0);
	EXPECT_EQ(s->st.voided, 0);
	return gct_failed;
}

static inline void *crew_owner_thread(void *arg)
{
	_exit(crew_owner(arg));
}

static inline pid_t crew_new(struct crew *s)
{
	pid_t pid = fork();
	pthread_t t;

	if (!pid && s->leaderless && !pthread_create(&t, NULL, crew_owner_thread, s))
		pthread_exit(NULL);
	if (!pid)
		_exit(crew_owner(s));
	while (pid > 0 && !s->ready && !waitpid(pid, NULL, WNOHANG))
		gct_sleep_ms(1);
	ASSERT_TRUE(s->ready);
	return pid;
}

/* Within 20 s (of a stock guest), @n COLLECTs more have returned. */
static inline bool crew_collects(struct crew *s, unsigned long n)
{
	uint64_t end = gct_now_ms() + 20000ULL * (uint64_t)gct_slow();
	unsigned long want = s->cycles + n;

	if (s->go != CREW_MANY)
		s->go = want;
	while (s->cycles < want && gct_now_ms() < end)
		gct_sleep_ms(1);
	return s->cycles >= want;
}

/* It ends by itself, having noticed nothing, and leaves nothing. */
static inline void crew_end(pid_t pid, struct crew *s)
{
	int status;

	s->end = 1;
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(crew_gone(pid));
	munmap(s, sizeof(*s));
}

/* ------------------------------------------------------------------- the whole machine */

FIXTURE(machine) {
	long arenas;
};

/* Those of an earlier test may be on their way out yet. */
FIXTURE_SETUP(machine)
{
	ASSERT_TRUE(crew_gone(0));
	self->arenas = gct_arenas();
	ASSERT_GE(self->arenas, 0);
}

FIXTURE_TEARDOWN(machine)
{
	EXPECT_TRUE(gct_arenas_become(self->arenas));
	EXPECT_TRUE(crew_gone(0));
}

#endif /* GCT_CREW_H */
