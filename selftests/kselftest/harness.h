/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * harness.h: TEST, FIXTURE, EXPECT and ASSERT in the style of the kernel's
 * kselftest_harness.h, and KTAP output.
 *
 * Not that header itself, because ours needs what it lacks: a time limit for
 * each test that suits the kernel it runs on, a test's descendants killed with
 * it, and a reason for each skip.  A file that keeps to TEST(), TEST_F(),
 * FIXTURE*(), ASSERT_*() and EXPECT_*() compiles with either.
 *
 * Each test runs in a child in a process group of its own.  EXPECT_* notes a
 * failure and goes on, ASSERT_* ends the test; in a function that a test calls,
 * too.  Options of a suite: -l lists, -t TEXT runs tests whose name has TEXT.
 * From the environment:
 *
 *	GCT_SLOW	how many times slower than a stock guest this kernel is (1)
 *	GCT_LONG	set: the exhaustive forms
 *	GCT_BACKEND	"process": the suites that use the library run without the module
 *	GCT_COUNT	number of the first test, less one, for one list of many suites
 */
#ifndef GCT_HARNESS_H
#define GCT_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GCT_SECONDS	60	/* of a test, times GCT_SLOW */

enum { GCT_PASS = 0, GCT_FAIL = 1, GCT_SKIPPED = 4 };

struct gct_test {
	const char *name;
	void (*run)(void);
	struct gct_test *next;
};

static struct gct_test *gct_first, **gct_last = &gct_first;
static int gct_failed;

static inline const char *gct_backend(void)
{
	const char *s = getenv("GCT_BACKEND");

	return s ? s : "kernel";
}

static inline bool gct_in_process(void)
{
	return !strcmp(gct_backend(), "process");
}

static inline int gct_slow(void)
{
	const char *s = getenv("GCT_SLOW");

	return s && atoi(s) > 0 ? atoi(s) : 1;
}

static inline bool gct_long(void)
{
	return getenv("GCT_LONG") != NULL;
}

/* @n on a stock kernel, less on a slow one, ten times more in the long form. */
static inline unsigned long gct_scale(unsigned long n)
{
	n = n * (gct_long() ? 10 : 1) / (unsigned long)gct_slow();
	return n ? n : 1;
}

__attribute__((format(printf, 1, 2)))
static inline void gct_note(const char *fmt, ...)
{
	char buf[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf) - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(buf) - 2)
		n = (int)sizeof(buf) - 2;
	buf[n] = '\n';
	if (write(1, buf, (size_t)n + 1) < 0)
		return;
}

/* A pointer that no collector takes for one, and back. */
#define HIDE(p)	(~(uintptr_t)(p))
#define SEEK(h)	((void *)~(h))

/*
 * Overwrite what earlier calls left on the stack below us, in the vector registers,
 * where string functions leave their data, and in registers that nobody saves.
 */
static __attribute__((noinline, unused)) void gct_clean_stack(void)
{
	volatile char junk[32768];

	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = 0;
	__asm__ __volatile__("pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pxor %%xmm2, %%xmm2;"
			     "pxor %%xmm3, %%xmm3; pxor %%xmm4, %%xmm4; pxor %%xmm5, %%xmm5;"
			     "pxor %%xmm6, %%xmm6; pxor %%xmm7, %%xmm7; pxor %%xmm8, %%xmm8;"
			     "pxor %%xmm9, %%xmm9; pxor %%xmm10, %%xmm10; pxor %%xmm11, %%xmm11;"
			     "pxor %%xmm12, %%xmm12; pxor %%xmm13, %%xmm13; pxor %%xmm14, %%xmm14;"
			     "pxor %%xmm15, %%xmm15" : : : "memory");
	if (__builtin_cpu_supports("avx"))
		__asm__ __volatile__("vzeroall" : : : "memory");
	__asm__ __volatile__("xorl %%eax, %%eax; xorl %%ecx, %%ecx; xorl %%edx, %%edx;"
			     "xorl %%esi, %%esi; xorl %%edi, %%edi; xorl %%r8d, %%r8d;"
			     "xorl %%r9d, %%r9d; xorl %%r10d, %%r10d; xorl %%r11d, %%r11d"
			     : : : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
}

static inline uint64_t gct_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void gct_sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

#define SKIP(...) do {							\
	char why_[200];							\
	snprintf(why_, sizeof(why_), __VA_ARGS__);			\
	gct_note("#SKIP# %s", why_);					\
	_exit(gct_failed ? GCT_FAIL : GCT_SKIPPED);			\
} while (0)

/* For a test, or the rest of one, that is about the module. */
static inline void gct_want_module(void)
{
	if (gct_in_process())
		SKIP("about the module");
}

#define gct_check(fatal, x, op, y) do {					\
	__typeof__((x) + 0) x_ = (x);					\
	__typeof__((y) + 0) y_ = (y);					\
	if (!(x_ op y_)) {						\
		int errno_ = errno;					\
		gct_note("# %s:%d: %s %s %s: %lld and %lld (%#llx, %#llx), errno %d", \
			 __FILE__, __LINE__, #x, #op, #y,		\
			 (long long)x_, (long long)y_,			\
			 (long long)x_, (long long)y_, errno_);		\
		gct_failed = 1;						\
		if (fatal)						\
			_exit(GCT_FAIL);				\
	}								\
} while (0)

#define EXPECT_EQ(x, y)	gct_check(0, x, ==, y)
#define EXPECT_NE(x, y)	gct_check(0, x, !=, y)
#define EXPECT_LT(x, y)	gct_check(0, x, <, y)
#define EXPECT_LE(x, y)	gct_check(0, x, <=, y)
#define EXPECT_GT(x, y)	gct_check(0, x, >, y)
#define EXPECT_GE(x, y)	gct_check(0, x, >=, y)
#define EXPECT_TRUE(x)	gct_check(0, !!(x), ==, 1)
#define EXPECT_FALSE(x)	gct_check(0, !!(x), ==, 0)
#define ASSERT_EQ(x, y)	gct_check(1, x, ==, y)
#define ASSERT_NE(x, y)	gct_check(1, x, !=, y)
#define ASSERT_LT(x, y)	gct_check(1, x, <, y)
#define ASSERT_LE(x, y)	gct_check(1, x, <=, y)
#define ASSERT_GT(x, y)	gct_check(1, x, >, y)
#define ASSERT_GE(x, y)	gct_check(1, x, >=, y)
#define ASSERT_TRUE(x)	gct_check(1, !!(x), ==, 1)
#define ASSERT_FALSE(x)	gct_check(1, !!(x), ==, 0)

#define gct_register(id, text, fn)					\
static void __attribute__((constructor)) gct_add_##id(void)		\
{									\
	static struct gct_test t = { text, fn, NULL };			\
	*gct_last = &t;							\
	gct_last = &t.next;						\
}

#define TEST(n)								\
static void test_##n(void);						\
gct_register(n, #n, test_##n)						\
static void test_##n(void)

#define FIXTURE(f)		struct fixture_##f
#define FIXTURE_DATA(f)		struct fixture_##f
#define FIXTURE_SETUP(f)	static void setup_##f(struct fixture_##f *self)
#define FIXTURE_TEARDOWN(f)	static void teardown_##f(struct fixture_##f *self)
#define TEST_F(f, n)							\
static void test_##f##_##n(struct fixture_##f *self);			\
static void run_##f##_##n(void)						\
{									\
	static struct fixture_##f data;					\
	setup_##f(&data);						\
	test_##f##_##n(&data);						\
	teardown_##f(&data);						\
}									\
gct_register(f##_##n, #n, run_##f##_##n)				\
static void test_##f##_##n(struct fixture_##f *self __attribute__((unused)))

/* Run one test; its output has been passed on.  Return: GCT_*, reason of a skip. */
static inline int gct_run(const struct gct_test *t, char *why, size_t room)
{
	uint64_t end = gct_now_ms() + 1000ULL * GCT_SECONDS * (uint64_t)gct_slow() *
		       (gct_long() ? 10 : 1);
	int out[2], status = 0, ended = 0;
	char line[1024];
	size_t n = 0;
	pid_t pid;

	*why = 0;
	if (pipe(out))
		return GCT_FAIL;
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return GCT_FAIL;
	if (!pid) {
		setpgid(0, 0);
		dup2(out[1], 1);
		close(out[0]);
		close(out[1]);
		t->run();
		_exit(gct_failed ? GCT_FAIL : GCT_PASS);
	}
	setpgid(pid, pid);
	close(out[1]);
	for (;;) {
		char c;
		fd_set fds;
		struct timeval tv = { 0, 100000 };

		FD_ZERO(&fds);
		FD_SET(out[0], &fds);
		if (select(out[0] + 1, &fds, NULL, NULL, &tv) > 0) {
			if (read(out[0], &c, 1) != 1)
				break;
			if (c != '\n' && n < sizeof(line) - 1) {
				line[n++] = c;
				continue;
			}
			line[n] = 0;
			n = 0;
			if (!strncmp(line, "#SKIP# ", 7))
				snprintf(why, room, "%.*s", (int)room - 1, line + 7);
			else
				printf("%s%s\n", line[0] == '#' ? "" : "# ", line);
			fflush(stdout);
			continue;
		}
		if (!ended && waitpid(pid, &status, WNOHANG) == pid)
			ended = 1;
		/* A descendant may keep the pipe open: half a second for it. */
		if (ended && ended++ > 5)
			break;
		if (!ended && gct_now_ms() > end) {
			printf("# no end within %d s\n", GCT_SECONDS * gct_slow());
			gct_failed = 2;
			break;
		}
	}
	kill(-pid, SIGKILL);
	close(out[0]);
	if (!ended) {
		waitpid(pid, &status, 0);
		if (gct_failed == 2) {
			gct_failed = 0;
			return GCT_FAIL;
		}
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	printf("# killed by signal %d\n", WTERMSIG(status));
	return GCT_FAIL;
}

/* A small number from a file, or -1. */
static inline long gct_file_long(const char *path)
{
	char buf[64] = "";
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	return n > 0 ? strtol(buf, NULL, 10) : -1;
}

/* Live arenas of all users. */
static inline long gct_arenas(void)
{
	return gct_file_long("/sys/kernel/gcarena/arenas");
}

/* Within 5 s (of a stock guest) there are @n arenas. */
static inline bool gct_arenas_become(long n)
{
	uint64_t end = gct_now_ms() + 5000ULL * (uint64_t)gct_slow();

	/* Fewer: one of an earlier test was still on its way out when they were counted. */
	while (gct_arenas() > n && gct_now_ms() < end)
		gct_sleep_ms(10);
	return gct_arenas() <= n;
}

/*
 * An arena that an earlier test left to the kernel may be on its way out: tests that count
 * arenas would see it come or go.  What stays is somebody else's, and not waited for again.
 */
static inline void gct_wait_alone(void)
{
	static bool others;

	if (!others)
		others = !gct_arenas_become(0);
}

static inline int gct_main(int argc, char **argv, const char *suite)
{
	const char *only = NULL, *s = getenv("GCT_COUNT");
	int number = s ? atoi(s) : 0, failed = 0, c;
	const struct gct_test *t;
	bool list = false;
	char why[300];

	while ((c = getopt(argc, argv, "lt:")) != -1) {
		if (c == 'l')
			list = true;
		else if (c == 't')
			only = optarg;
		else
			return 2;
	}
	for (t = gct_first; t; t = t->next) {
		uint64_t began = gct_now_ms();
		int r;

		if (only && !strstr(t->name, only))
			continue;
		if (list) {
			printf("%s.%s\n", suite, t->name);
			continue;
		}
		gct_wait_alone();
		r = gct_run(t, why, sizeof(why));
		failed += r != GCT_PASS && r != GCT_SKIPPED;
		printf("%s %d - %s.%s%s%s", r == GCT_PASS || r == GCT_SKIPPED ? "ok" : "not ok",
		       ++number, suite, t->name, r == GCT_SKIPPED ? " # SKIP " : "",
		       r == GCT_SKIPPED ? why : "");
		if (gct_now_ms() - began > 2000)
			printf("%s%.1f s", r == GCT_SKIPPED ? ", " : " # ",
			       (double)(gct_now_ms() - began) / 1000);
		printf("\n");
		fflush(stdout);
	}
	return !!failed;
}

#define TEST_HARNESS_MAIN						\
int main(int argc, char **argv)						\
{									\
	return gct_main(argc, argv, GCT_SUITE);				\
}

#endif /* GCT_HARNESS_H */
