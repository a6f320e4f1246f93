// SPDX-License-Identifier: GPL-2.0-only
/*
 * owner.c: what is done to the owner from outside while it collects: stopped,
 * traced, frozen, joined by a process that shares its memory, replaced by a
 * setuid program.
 *
 * Required: nothing is noticed but the time.  No call fails, no cycle is void,
 * nothing is lost; and a process that waits for the owner never waits for the
 * collector.
 */
#define GCT_SUITE "owner"
#include "group.h"

#include <elf.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define CLASS	GCARENA_SPAN_CLASS(6, GCARENA_CONSERVATIVE)	/* 64 bytes */

/* What the owner tells the test, in shared memory. */
struct said {
	volatile unsigned long cycles;		/* COLLECTs that have returned */
	volatile int end;			/* to the owner: enough */
	volatile int ready;
};

static struct said *said_new(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A chain through @n conservative objects, so that marking takes a while. */
static uint64_t *chain(struct raw *r, int n)
{
	uint64_t *head = NULL, *p;

	while (n--) {
		p = (uint64_t *)raw_alloc(r, CLASS);
		if (!p)
			_exit(3);
		p[0] = (uintptr_t)head;
		head = p;
	}
	return head;
}

static int chain_length(const uint64_t *p)
{
	int n = 0;

	for (; p; p = (const uint64_t *)p[0])
		n++;
	return n;
}

#define LENGTH	20000

/* Collects until told to stop, every kind of COLLECT in turn; 0: nothing was noticed. */
static int collecting(struct said *s)
{
	uint64_t *volatile head;
	struct gcarena_collect c;
	struct gcarena_stats st;
	pthread_t t;
	struct raw r;

	gct_failed = 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	ASSERT_EQ(pthread_create(&t, NULL, raw_serve_forever, &r), 0);
	head = chain(&r, LENGTH);
	s->ready = 1;
	for (unsigned long i = 0; !s->end; i++) {
		static const uint32_t how[] = { 0, GCARENA_COLLECT_UNTIL_MARKING,
						GCARENA_COLLECT_UNTIL_MARKED };

		ASSERT_EQ(raw_collect(&r, how[i % 3], &c), 0);
		ASSERT_EQ(c.result, GCARENA_RESULT_DONE);
		s->cycles++;
		ASSERT_TRUE(raw_alloc(&r, CLASS));
	}
	EXPECT_EQ(chain_length(head), LENGTH);
	ASSERT_EQ(raw_stats(&r, &st), 0);
	EXPECT_EQ(st.voided, 0);
	EXPECT_EQ(st.leaves, 0);
	return gct_failed;
}

static pid_t owner_new(struct said *s)
{
	pid_t pid = fork();

	if (!pid)
		_exit(collecting(s));
	while (pid > 0 && !s->ready && !waitpid(pid, NULL, WNOHANG))
		gct_sleep_ms(1);
	return pid;
}

/* Within 5 s (of a stock guest) the owner has done more cycles. */
static bool goes_on(const struct said *s)
{
	uint64_t end = gct_now_ms() + 5000 * (uint64_t)gct_slow();
	unsigned long before = s->cycles;

	while (s->cycles == before && gct_now_ms() < end)
		gct_sleep_ms(1);
	return s->cycles != before;
}

static bool stands_still(const struct said *s)
{
	unsigned long before = s->cycles;

	gct_sleep_ms(20 * gct_slow());
	return s->cycles == before;
}

static void owner_end(pid_t pid, struct said *s, long arenas)
{
	int status;

	s->end = 1;
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(gct_arenas_become(arenas));
}

/* Somewhere in a cycle; longer where everything takes longer. */
static void some_time(uint64_t *seed)
{
	struct timespec t = { 0, (long)(gct_random(seed) % (4000000 * (uint64_t)gct_slow())) };

	nanosleep(&t, NULL);
}

TEST(stopped_and_continued)
{
	struct said *s = said_new();
	uint64_t seed = gct_now_ms() | 1;
	long arenas = gct_arenas();
	pid_t pid;
	int status;

	ASSERT_TRUE(s);
	pid = owner_new(s);
	ASSERT_GT(pid, 0);
	for (unsigned long i = 0; i < gct_scale(60); i++) {
		some_time(&seed);
		ASSERT_EQ(kill(pid, SIGSTOP), 0);
		/* Returns when all its threads stand: COLLECT does not keep one going. */
		ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
		ASSERT_TRUE(WIFSTOPPED(status));
		if (i % 8 == 0)
			EXPECT_TRUE(stands_still(s));
		ASSERT_EQ(kill(pid, SIGCONT), 0);
		if (i % 8 == 0)
			EXPECT_TRUE(goes_on(s));
	}
	owner_end(pid, s, arenas);
}

TEST(traced)
{
	struct said *s = said_new();
	uint64_t seed = gct_now_ms() | 1;
	long arenas = gct_arenas();
	pid_t pid;
	int status;

	ASSERT_TRUE(s);
	pid = owner_new(s);
	ASSERT_GT(pid, 0);
	for (unsigned long i = 0; i < gct_scale(60); i++) {
		struct user_regs_struct regs;

		some_time(&seed);
		if (i & 1) {
			ASSERT_EQ(ptrace(PTRACE_SEIZE, pid, NULL, NULL), 0);
			ASSERT_EQ(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
		} else {
			ASSERT_EQ(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
		}
		ASSERT_EQ(waitpid(pid, &status, __WALL), pid);
		ASSERT_TRUE(WIFSTOPPED(status));
		ASSERT_EQ(ptrace(PTRACE_GETREGS, pid, NULL, &regs), 0);
		errno = 0;
		ptrace(PTRACE_PEEKDATA, pid, (void *)regs.rsp, NULL);
		EXPECT_EQ(errno, 0);
		if (i % 8 < 2)
			EXPECT_TRUE(stands_still(s));
		/* Past the end of a call and into the next one. */
		if (i % 4 == 3)
			for (int n = 0; n < 4; n++) {
				ASSERT_EQ(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
				ASSERT_EQ(waitpid(pid, &status, __WALL), pid);
				ASSERT_TRUE(WIFSTOPPED(status));
			}
		ASSERT_EQ(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
		if (i % 8 < 2)
			EXPECT_TRUE(goes_on(s));
	}
	owner_end(pid, s, arenas);
}

/* ------------------------------------------------------------------- cgroup */

#define GROUP	"/sys/fs/cgroup/gct_owner"

/*
 * Freeze the group, and see it frozen.  The kernel looks whether a group is frozen when
 * a thread of a user's freezes, and counts our workers, which never do; threads in our
 * calls see to it that they have left by then.  If every thread was outside, the workers
 * leave within a second, and the next attempt is seen (Documentation/admin-guide.rst).
 */
static bool freeze(void)
{
	for (int i = 0; i < 3; i++) {
		if (gct_file_write(GROUP "/cgroup.freeze", "1"))
			return false;
		if (group_frozen_becomes(GROUP, 1))
			return true;
		if (gct_file_write(GROUP "/cgroup.freeze", "0"))
			return false;
	}
	return false;
}

static bool group_with(pid_t pid)
{
	char text[20];

	snprintf(text, sizeof(text), "%d", pid);
	rmdir(GROUP);
	return !mkdir(GROUP, 0755) && !access(GROUP "/cgroup.freeze", W_OK) &&
	       !gct_file_write(GROUP "/cgroup.procs", text);
}

TEST(frozen_and_thawed)
{
	struct said *s = said_new();
	uint64_t seed = gct_now_ms() | 1;
	long arenas = gct_arenas();
	pid_t pid;

	ASSERT_TRUE(s);
	pid = owner_new(s);
	ASSERT_GT(pid, 0);
	if (!group_with(pid)) {
		owner_end(pid, s, arenas);
		SKIP("no cgroup with a freezer");
	}
	for (unsigned long i = 0; i < gct_scale(40); i++) {
		some_time(&seed);
		ASSERT_TRUE(freeze());
		if (i % 8 == 0)
			EXPECT_TRUE(stands_still(s));
		ASSERT_EQ(gct_file_write(GROUP "/cgroup.freeze", "0"), 0);
		ASSERT_TRUE(group_frozen_becomes(GROUP, 0));
		if (i % 8 == 0)
			EXPECT_TRUE(goes_on(s));
	}
	owner_end(pid, s, arenas);
	EXPECT_EQ(rmdir(GROUP), 0);
}

/* What is frozen can be killed, and its arena goes with it. */
TEST(killed_while_frozen)
{
	uint64_t seed = gct_now_ms() | 1;
	long arenas = gct_arenas();

	for (unsigned long i = 0; i < gct_scale(10); i++) {
		struct said *s = said_new();
		pid_t pid;
		int status;

		ASSERT_TRUE(s);
		pid = owner_new(s);
		ASSERT_GT(pid, 0);
		if (!group_with(pid)) {
			owner_end(pid, s, arenas);
			SKIP("no cgroup with a freezer");
		}
		some_time(&seed);
		ASSERT_TRUE(freeze());
		EXPECT_EQ(gct_arenas(), arenas + 1);
		ASSERT_EQ(kill(pid, SIGKILL), 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_TRUE(gct_arenas_become(arenas));
		EXPECT_EQ(rmdir(GROUP), 0);
		munmap(s, 4096);
	}
}

/* ------------------------------------- a process that shares the memory */

/*
 * It has our thread-local storage, errno with it, and we go on running: so it
 * calls nothing of the C library's.
 */
static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static long call_ioctl(int fd, unsigned long cmd, void *arg)
{
	return call(SYS_ioctl, fd, (long)cmd, (long)arg, 0, 0, 0);
}

struct sharer {
	char rseq[32] __attribute__((aligned(32)));
	struct raw *r;
	volatile int end;
	volatile unsigned long calls;
	struct gcarena_attach attach;
	int sock;		/* the end that says go on */
	int tell;		/* where to write how it went; 0: nowhere */
};

#define SHARED_STACK	65536

/*
 * Without rseq its critical sections would be counted, and the process would be
 * stopped by a signal that nobody here answers.
 */
static long sharer_begin(struct sharer *s)
{
	return call(SYS_rseq, (long)s->rseq, sizeof(s->rseq), 0, 0x53053053, 0, 0);
}

static pid_t sharer_new(int (*fn)(void *), struct sharer *s)
{
	char *stack = mmap(NULL, SHARED_STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (stack == MAP_FAILED)
		return -1;
	memset(&s->attach, 0, sizeof(s->attach));
	s->attach.size = sizeof(s->attach);
	s->attach.stack_lo = (uintptr_t)stack;
	s->attach.stack_hi = (uintptr_t)stack + SHARED_STACK;
	return clone(fn, stack + SHARED_STACK, CLONE_VM | SIGCHLD, s);
}

/* What is anybody's who has the memory, what is the other thread's, what is its own. */
/* As raw_attach_ioctl(), without the C library: a place of its own beside the owner's. */
static long sharer_attach(int fd, struct gcarena_attach *a)
{
	long err = call_ioctl(fd, GCARENA_IOC_ATTACH, a);

	if (!err) {
		raw_mine[RAW_MINE - 1].fd = fd;
		raw_mine[RAW_MINE - 1].id = a->id;
		raw_nr_mine = RAW_MINE;
	}
	return err;
}

static int meddle(void *arg)
{
	struct sharer *s = arg;
	int fd = s->r->fd;

	if (sharer_begin(s))
		return 9;
	while (!s->end) {
		struct gcarena_collect c = { .size = sizeof(c) };
		struct gcarena_refill q = { .size = sizeof(q), .id = s->r->attach.id, .count = 1 };
		struct gcarena_detach d = { .size = sizeof(d), .id = s->r->attach.id };
		struct gcarena_stats st = { .size = sizeof(st) };
		struct gcarena_attach a = s->attach;

		if (call_ioctl(fd, GCARENA_IOC_STATS, &st))
			return 1;
		if (call_ioctl(fd, GCARENA_IOC_REFILL, &q) != -EPERM)
			return 2;
		if (call_ioctl(fd, GCARENA_IOC_DETACH, &d) != -EPERM)
			return 3;
		if (call_ioctl(fd, GCARENA_IOC_COLLECT, &c) || c.result != GCARENA_RESULT_DONE)
			return 4;
		if (sharer_attach(fd, &a))
			return 5;
		q.id = a.id;
		d.id = a.id;
		if (call_ioctl(fd, GCARENA_IOC_REFILL, &q))
			return 6;
		if (call_ioctl(fd, GCARENA_IOC_COLLECT, &c) || c.result != GCARENA_RESULT_DONE)
			return 7;
		if (call_ioctl(fd, GCARENA_IOC_DETACH, &d))
			return 8;
		s->calls++;
	}
	return 0;
}

/* It attaches, allocates, collects, and ends without a word. */
static int take_over(void *arg)
{
	struct sharer *s = arg;
	struct gcarena_refill q = { .size = sizeof(q), .count = 1 };
	struct gcarena_collect c = { .size = sizeof(c) };
	int fd = s->r->fd;
	char byte;

	if (sharer_begin(s) || sharer_attach(fd, &s->attach))
		return 1;
	q.id = s->attach.id;
	if (call_ioctl(fd, GCARENA_IOC_REFILL, &q))
		return 2;
	if (call_ioctl(fd, GCARENA_IOC_COLLECT, &c) || c.result != GCARENA_RESULT_DONE)
		return 3;
	s->calls = 1;
	if (call(SYS_read, s->sock, (long)&byte, 1, 0, 0, 0) != 1)
		return 4;
	c.flags = 0;
	byte = call_ioctl(fd, GCARENA_IOC_COLLECT, &c) || c.result != GCARENA_RESULT_DONE ? 5 : 0;
	if (s->tell)
		call(SYS_write, s->tell, (long)&byte, 1, 0, 0, 0);
	return byte;
}

TEST(shared_memory_while_collecting)
{
	struct sharer s = { 0 };
	uint64_t *volatile head;
	struct gcarena_collect c;
	struct gcarena_stats st;
	struct raw r;
	int status;
	pid_t pid;

	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	head = chain(&r, LENGTH);
	s.r = &r;
	pid = sharer_new(meddle, &s);
	ASSERT_GT(pid, 0);
	for (unsigned long i = 0; i < gct_scale(200) || !s.calls; i++) {
		ASSERT_EQ(raw_collect(&r, i % 3 ? 0 : GCARENA_COLLECT_UNTIL_MARKING, &c), 0);
		ASSERT_EQ(c.result, GCARENA_RESULT_DONE);
		if (waitpid(pid, &status, WNOHANG)) {
			gct_note("# the other one has ended: %#x", status);
			ASSERT_TRUE(false);
		}
		ASSERT_TRUE(raw_alloc(&r, CLASS));
	}
	s.end = 1;
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	ASSERT_EQ(raw_stats(&r, &st), 0);
	EXPECT_EQ(st.voided, 0);
	EXPECT_EQ(chain_length(head), LENGTH);
	raw_close(&r);
}

TEST(shared_memory_and_attached)
{
	struct sharer s = { 0 };
	uint64_t *volatile head;
	struct gcarena_stats st;
	int status, go[2];
	struct raw r;
	pid_t pid;

	ASSERT_EQ(pipe(go), 0);
	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	head = chain(&r, 1000);
	s.r = &r;
	s.sock = go[0];
	pid = sharer_new(take_over, &s);
	ASSERT_GT(pid, 0);
	while (!s.calls && !waitpid(pid, &status, WNOHANG))
		gct_sleep_ms(1);
	ASSERT_TRUE(s.calls);
	ASSERT_EQ(raw_stats(&r, &st), 0);
	EXPECT_EQ(st.threads, 2);
	/* It sleeps in the kernel, and is held there. */
	EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
	ASSERT_EQ(write(go[1], "x", 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	/* It has ended without a word. */
	EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&r, &st), 0);
	EXPECT_EQ(st.threads, 1);
	EXPECT_EQ(chain_length(head), 1000);
	raw_close(&r);
}

static int spin(void *arg)
{
	struct sharer *s = arg;
	struct gcarena_detach d = { .size = sizeof(d) };

	if (sharer_begin(s) || sharer_attach(s->r->fd, &s->attach))
		return 1;
	d.id = s->attach.id;
	while (!s->end)
		s->calls++;
	return call_ioctl(s->r->fd, GCARENA_IOC_DETACH, &d) ? 2 : 0;
}

/*
 * A mutator that is stopped, or traced, all by itself: who collects does not wait
 * until it goes on.
 */
TEST(collects_while_another_stands)
{
	struct gcarena_info i = { .size = sizeof(i) };
	struct sharer s = { 0 };
	uint64_t *volatile head;
	unsigned long before;
	struct raw r;
	int status;
	pid_t pid;

	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_ioctl(r.fd, GCARENA_IOC_INFO, &i), 0);
	if (i.engine != 2)
		SKIP("a stopped thread answers no signal: this engine cannot");
	ASSERT_EQ(raw_attach(&r), 0);
	head = chain(&r, 1000);
	s.r = &r;
	pid = sharer_new(spin, &s);
	ASSERT_GT(pid, 0);
	while (!s.calls && !waitpid(pid, &status, WNOHANG))
		gct_sleep_ms(1);
	for (unsigned long n = 0; n < gct_scale(20); n++) {
		EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
		ASSERT_EQ(kill(pid, SIGSTOP), 0);
		ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
		ASSERT_TRUE(WIFSTOPPED(status));
		before = s.calls;
		EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
		EXPECT_EQ(raw_collect(&r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
		/* And a stop does not set it going. */
		EXPECT_EQ(s.calls, before);
		ASSERT_EQ(kill(pid, SIGCONT), 0);
		EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
		ASSERT_EQ(ptrace(PTRACE_SEIZE, pid, NULL, NULL), 0);
		ASSERT_EQ(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
		ASSERT_EQ(waitpid(pid, &status, __WALL), pid);
		before = s.calls;
		EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
		EXPECT_EQ(s.calls, before);
		ASSERT_EQ(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	}
	before = s.calls;
	while (s.calls == before)
		;
	s.end = 1;
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(chain_length(head), 1000);
	raw_close(&r);
}

/* The memory outlives the process that made the arena, and so does the arena. */
TEST(shared_memory_outlives_its_maker)
{
	int status, go[2], ready[2];
	long arenas;
	char byte;
	pid_t pid;

	/* An earlier test's may be on its way out. */
	gct_arenas_become(0);
	arenas = gct_arenas();
	ASSERT_EQ(pipe(go), 0);
	ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		static struct sharer s;
		static struct raw r;

		ASSERT_EQ(raw_arena(&r), 0);
		s.r = &r;
		s.sock = go[0];
		s.tell = ready[1];
		ASSERT_GT(sharer_new(take_over, &s), 0);
		while (!s.calls)
			gct_sleep_ms(1);
		ASSERT_EQ(write(ready[1], "x", 1), 1);
		_exit(0);
	}
	/* The other one keeps it open, too: the orphan is nobody's child to wait for. */
	close(go[0]);
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &byte, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	gct_sleep_ms(20 * gct_slow());
	EXPECT_EQ(gct_arenas(), arenas + 1);
	ASSERT_EQ(write(go[1], "x", 1), 1);
	/* And is collected. */
	ASSERT_EQ(read(ready[0], &byte, 1), 1);
	EXPECT_EQ(byte, 0);
	EXPECT_TRUE(gct_arenas_become(arenas));
}

/* ------------------------------------------------------------- setuid exec */

/*
 * The program that comes after: run by exec in a process that had an arena, and
 * now for another user.  @fd is the old one's, @arenas how many there were before.
 */
static int after_exec(int fd, long arenas)
{
	struct gcarena_stats st = { .size = sizeof(st) };
	struct gcarena_collect c;
	struct raw r;

	ASSERT_EQ(getauxval(AT_SECURE), 1);
	ASSERT_EQ(geteuid(), 0);
	ASSERT_EQ(getuid(), 1234);
	EXPECT_TRUE(gct_arenas_become(arenas));
	/* Neither ours nor alive, and the first is looked at first. */
	EXPECT_EQ(raw_ioctl(fd, GCARENA_IOC_STATS, &st), -EPERM);
	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	chain(&r, 1000);
	ASSERT_EQ(raw_collect(&r, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
	EXPECT_EQ(gct_arenas(), arenas + 1);
	EXPECT_EQ(raw_destroy(&r), 0);
	return gct_failed;
}

static void *collect_forever(void *arg)
{
	struct raw *r = arg;

	while (!raw_collect(r, 0, NULL))
		;
	return NULL;
}

/* The thread that calls exec is not the one that collects, or is (@how). */
static void exec_setuid(const char *program, long arenas, int how)
{
	char fd_text[20], arenas_text[20];
	pthread_t t;
	struct raw r;

	gct_failed = 0;
	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	chain(&r, LENGTH);
	ASSERT_EQ(raw_collect(&r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
	ASSERT_EQ(pthread_create(&t, NULL, raw_serve_forever, &r), 0);
	if (how) {
		ASSERT_EQ(raw_detach(&r), 0);
		ASSERT_EQ(pthread_create(&t, NULL, collect_forever, &r), 0);
		gct_sleep_ms(5);
	}
	ASSERT_EQ(fcntl(r.fd, F_SETFD, 0), 0);
	ASSERT_EQ(setgid(1234), 0);
	ASSERT_EQ(setuid(1234), 0);
	snprintf(fd_text, sizeof(fd_text), "%d", r.fd);
	snprintf(arenas_text, sizeof(arenas_text), "%ld", arenas);
	execl(program, program, "--after-exec", fd_text, arenas_text, (char *)NULL);
	ASSERT_TRUE(false);
}

TEST(setuid_exec)
{
	static const char program[] = "/tmp/gct-setuid";
	long arenas = gct_arenas();
	int status;

	/* Of this program itself; the file's owner is root, who runs the tests. */
	if (system("cp /proc/$PPID/exe /tmp/gct-setuid && chmod 4755 /tmp/gct-setuid"))
		SKIP("no place for a setuid program");
	for (int how = 0; how < 2; how++) {
		pid_t pid = fork();

		if (!pid)
			exec_setuid(program, arenas, how);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		EXPECT_TRUE(gct_arenas_become(arenas));
	}
	unlink(program);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--after-exec"))
		return after_exec(atoi(argv[2]), atol(argv[3]));
	return gct_main(argc, argv, GCT_SUITE);
}
