// SPDX-License-Identifier: GPL-2.0-only
/*
 * roots.c: what keeps an object alive, place by place: data, bss, thread-local
 * storage, a library loaded later, ranges added, the stack, each register, the
 * alternate signal stack, a stack of the program's own; the start, the inside and
 * the end of the object.  And what does not.
 *
 * Whether an object lives is asked of the collector: it is the only one of its
 * size (a multiple of 64 KiB), so it shows in the bytes found live.
 */
#define GCT_SUITE "roots"
#include "raw.h"

#include <dlfcn.h>
#include <ucontext.h>

#include <gcarena.h>

#define BIG	(192 << 10)

static struct gca_arena *arena;
static struct gca_mutator *mut;

static void open_plain(unsigned int flags)
{
	struct gca_options o = { .backend = gct_backend(), .reserve = 1ULL << 28, .debug = "checkmark",
				 .flags = GCA_NO_AUTO_COLLECT | flags };

	arena = gca_open(&o);
	if (!arena)
		gct_note("# %s", gca_strerror());
	ASSERT_TRUE(arena);
	mut = gca_attach(arena);
	ASSERT_TRUE(mut);
}

/* A big object, known to the caller by its inverted address only. */
static __attribute__((noinline)) uintptr_t hidden_object(void)
{
	void *volatile p = gca_alloc_noscan(mut, BIG);
	uintptr_t h;

	ASSERT_TRUE(p);
	h = HIDE(p);
	p = NULL;
	return h;
}

/* Say which word of which root names the heap: in the long form. */
static __attribute__((noinline)) void who_names(void)
{
	static struct gca_root r[512];
	int n = gca_roots(arena, r, 512);

	for (int i = 0; i < n && i < 512; i++)
		for (uintptr_t p = r[i].start; p < r[i].start + r[i].len; p += 8) {
			if (r[i].flags & GCA_ROOT_STACK && p < (uintptr_t)&n)
				p = (uintptr_t)&n & ~7UL;
			if (*(uintptr_t *)p - mut->heap_base < BIG * 4)
				gct_note("# word at %#lx (root %#lx+%#zx, flags %#x) names heap+%#lx", p,
					 r[i].start, r[i].len, r[i].flags,
					 *(uintptr_t *)p - mut->heap_base);
		}
}

static __attribute__((noinline)) bool alive_now(void)
{
	struct gca_stats s;

	if (gca_collect(arena, 0)) {
		gct_note("# %s", gca_strerror());
		ASSERT_TRUE(false);
	}
	ASSERT_EQ(gca_stats(arena, &s), 0);
	ASSERT_LT(s.live_bytes, 2 * BIG);
	return s.live_bytes >= BIG;
}

/*
 * One collection: is the object there?  Only one is ever alive.  What callees
 * have left on the stack is cleaned before the frame that could keep it is made.
 */
static __attribute__((noinline)) bool alive(void)
{
	bool yes;

	gct_clean_stack();
	yes = alive_now();
	if (gct_long())
		who_names();
	return yes;
}

/* Put the address in @place, see that it keeps the object; clear it, see that it goes. */
static void expect_root(const char *what, void *volatile *place, size_t offset)
{
	uintptr_t h = hidden_object();

	*place = (char *)~h + offset;
	h = 0;
	if (!alive()) {
		gct_note("# not a root: %s, offset %zu", what, offset);
		EXPECT_TRUE(false);
	}
	*place = NULL;
	if (alive()) {
		gct_note("# still alive: %s", what);
		EXPECT_TRUE(false);
	}
}

static void expect_no_root(const char *what, void *volatile *place, size_t offset)
{
	uintptr_t h = hidden_object();

	*place = (char *)~h + offset;
	h = 0;
	if (alive()) {
		gct_note("# keeps the object: %s, offset %zd", what, (ssize_t)offset);
		EXPECT_TRUE(false);
	}
	*place = NULL;
}

static void *volatile bss_word;
static void *volatile data_word = (void *)1;
static __thread void *volatile tls_bss;
static __thread void *volatile tls_data = (void *)1;

/* The test of the tests: without any pointer the object is found dead. */
TEST(nothing_keeps_it)
{
	open_plain(0);
	for (int i = 0; i < 10; i++) {
		uintptr_t h = hidden_object();

		EXPECT_FALSE(alive());
		EXPECT_NE(h, 0);
	}
}

TEST(data_bss_tls)
{
	open_plain(0);
	data_word = NULL;
	expect_root("bss", &bss_word, 0);
	expect_root("data", &data_word, 0);
	expect_root("tls, zero", &tls_bss, 0);
	expect_root("tls, initialised", &tls_data, 0);
}

TEST(not_asked_for)
{
	open_plain(GCA_NO_PLAIN_ROOTS | GCA_NO_TLS_ROOTS);
	data_word = NULL;
	expect_no_root("bss", &bss_word, 0);
	expect_no_root("data", &data_word, 0);
	expect_no_root("tls, zero", &tls_bss, 0);
}

TEST(malloc_is_no_root)
{
	void *volatile *p = malloc(64), *volatile *q;

	open_plain(0);
	expect_no_root("malloc()", &p[2], 0);
	q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	expect_no_root("mmap()", &q[2], 0);
}

TEST(start_inside_end)
{
	open_plain(0);
	expect_root("start", &bss_word, 0);
	expect_root("start + 1", &bss_word, 1);
	expect_root("middle", &bss_word, BIG / 2 + 3);
	expect_root("last byte", &bss_word, BIG - 1);
	/* One past the end, of a large object as of a small one. */
	expect_no_root("before", &bss_word, (size_t)-1);
	expect_no_root("behind the end", &bss_word, BIG + 8192);
}

/* One past the end keeps an object, on the stack: &array[n]. */
TEST(one_past_the_end)
{
	void *volatile place;

	open_plain(0);
	for (int i = 0; i < 3; i++) {
		uintptr_t h = hidden_object();

		place = (char *)~h + BIG;
		EXPECT_TRUE(alive());
		place = NULL;
		EXPECT_FALSE(alive());
	}
}

TEST(ranges)
{
	void *volatile *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const size_t words = (1 << 20) / 8;

	ASSERT_TRUE(p != MAP_FAILED);
	open_plain(0);
	for (unsigned int f = 0; f < 2; f++) {
		unsigned int flags = f ? GCA_ROOT_PLAIN : 0;

		ASSERT_EQ(gca_root_add(arena, (void *)p, 1 << 20, flags), 0);
		expect_root("first word", &p[0], 0);
		expect_root("last word", &p[words - 1], 0);
		/* The blocks of a job are 256 KiB. */
		expect_root("end of a block", &p[(256 << 10) / 8 - 1], 0);
		expect_root("begin of a block", &p[(256 << 10) / 8], 0);
		expect_root("in between", &p[100001], 0);
		/* Gone from memory: comes back as zeros, and no harm. */
		madvise((void *)p, 1 << 20, MADV_DONTNEED);
		expect_root("after MADV_DONTNEED", &p[777], 0);
		EXPECT_EQ(gca_root_remove(arena, (void *)p, 1 << 20, !f ? GCA_ROOT_PLAIN : 0), -1);
		EXPECT_EQ(errno, ENOENT);
		ASSERT_EQ(gca_root_remove(arena, (void *)p, 1 << 20, flags), 0);
		expect_no_root("removed", &p[0], 0);
	}
	/* Unaligned pointers in a range are not looked for. */
	ASSERT_EQ(gca_root_add(arena, (void *)p, 4096, 0), 0);
	expect_no_root("unaligned", (void *volatile *)((char *)p + 12), 0);
}

TEST(listed)
{
	static struct gca_root r[512];
	int n, seen = 0;

	open_plain(0);
	n = gca_roots(arena, r, 512);
	ASSERT_GT(n, 2);
	ASSERT_LT(n, 512);
	for (int i = 0; i < n; i++) {
		const struct { uintptr_t addr; unsigned int flags; } want[] = {
			{ (uintptr_t)&bss_word, GCA_ROOT_FOUND }, { (uintptr_t)&data_word, GCA_ROOT_FOUND },
			{ (uintptr_t)&n, GCA_ROOT_STACK }, { (uintptr_t)&tls_bss, GCA_ROOT_TLS },
		};

		for (int k = 0; k < 4; k++)
			if (want[k].addr - r[i].start < r[i].len && r[i].flags & want[k].flags)
				seen |= 1 << k;
	}
	EXPECT_EQ(seen, 15);
	EXPECT_EQ(gca_roots(arena, NULL, 0), n);
}

/* A library that comes after the first cycle, and goes. */
TEST(dlopen_and_dlclose)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 20);

	ASSERT_GT(n, 0);
	path[n] = 0;
	strcpy(strrchr(path, '/') + 1, "plugin.so");
	open_plain(0);
	EXPECT_FALSE(alive());
	for (int i = 0; i < 5; i++) {
		void *so = dlopen(path, RTLD_NOW);
		void *volatile *bss, *volatile *data;

		if (!so)
			SKIP("%s", dlerror());
		bss = dlsym(so, "plugin_bss");
		data = dlsym(so, "plugin_data");
		ASSERT_TRUE(bss && data);
		expect_root("bss of a plugin", bss, 0);
		expect_root("data of a plugin", &data[2], 0);
		*bss = (void *)~hidden_object();
		EXPECT_TRUE(alive());
		ASSERT_EQ(dlclose(so), 0);
		EXPECT_FALSE(alive());
	}
}

/* More libraries come between two cycles than one call can name, and one goes. */
TEST(many_libraries)
{
	enum { MANY = GCARENA_ROOTS_PER_CALL + 20 };
	static void *so[MANY + 1];
	static char image[1 << 20];
	char path[4096], dir[] = "/tmp/gcarena-many.XXXXXX";
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 20);
	bool ok = true;
	int fd;

	if (gct_slow() > 1 && !gct_long())
		SKIP("a thousand libraries: on a stock kernel");
	ASSERT_GT(n, 0);
	path[n] = 0;
	strcpy(strrchr(path, '/') + 1, "plugin.so");
	fd = open(path, O_RDONLY);
	n = fd < 0 ? 0 : read(fd, image, sizeof(image));
	close(fd);
	if (n <= 0 || n == sizeof(image) || !mkdtemp(dir))
		SKIP("no copies of a library can be made");
	open_plain(0);
	for (int i = 0; i <= MANY && ok; i++) {
		/* The first is known already when the others come, and goes then. */
		if (i == 1)
			EXPECT_FALSE(alive());
		snprintf(path, sizeof(path), "%s/%d.so", dir, i);
		fd = open(path, O_WRONLY | O_CREAT, 0700);
		ok = write(fd, image, n) == n;
		close(fd);
		so[i] = ok ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
		ok = so[i];
		unlink(path);
	}
	rmdir(dir);
	if (!ok)
		SKIP("not so many libraries can be loaded here");
	ASSERT_EQ(dlclose(so[0]), 0);
	expect_root("the first of many", dlsym(so[1], "plugin_bss"), 0);
	expect_root("the last of many", dlsym(so[MANY], "plugin_bss"), 0);
	for (int i = 1; i <= MANY; i++)
		ASSERT_EQ(dlclose(so[i]), 0);
	EXPECT_FALSE(alive());
}

/* ------------------------------------------------------ stack and registers */

TEST(stack)
{
	void *volatile local = NULL;
	void *volatile *deep = __builtin_alloca(65536);

	open_plain(0);
	expect_root("a local variable", &local, 0);
	expect_root("deep in the stack", &deep[1000], 0);
}

/*
 * COLLECT by a system call whose caller holds the only pointer in one register.
 * The object is given by its inverted address and inverted in the asm, so that
 * no copy is anywhere else.
 */
#define IN_REGISTER(reg)						\
static __attribute__((noinline)) long collect_##reg(long fd, void *req, uintptr_t hidden) \
{									\
	long ret;							\
									\
	__asm__ volatile("pushq %%" #reg "\n\t"				\
			 "movq %[h], %%" #reg "\n\t"			\
			 "notq %%" #reg "\n\t"				\
			 "syscall\n\t"					\
			 "popq %%" #reg					\
			 : "=a"(ret)					\
			 : "a"((long)SYS_ioctl), "D"(fd), "S"((long)GCARENA_IOC_COLLECT), \
			   "d"(req), [h] "c"(hidden)			\
			 : "r8", "r9", "r10", "r11", "memory");		\
	return ret;							\
}
#define MORE_REGISTERS(X) X(rbx) X(rbp) X(r12) X(r13) X(r14) X(r15) X(r8) X(r9) X(r10)
MORE_REGISTERS(IN_REGISTER)

/* ... or 64 bytes below the stack pointer, as a leaf function may. */
static __attribute__((noinline)) long collect_redzone(long fd, void *req, uintptr_t hidden)
{
	long ret;

	__asm__ volatile("notq %[h]\n\t"
			 "movq %[h], -64(%%rsp)\n\t"
			 "notq %[h]\n\t"
			 "syscall\n\t"
			 "movq $0, -64(%%rsp)"
			 : "=a"(ret), [h] "+b"(hidden)
			 : "a"((long)SYS_ioctl), "D"(fd), "S"((long)GCARENA_IOC_COLLECT), "d"(req)
			 : "rcx", "r11", "memory");
	return ret;
}

static uint64_t raw_live(struct raw *r)
{
	struct gcarena_stats s;

	ASSERT_EQ(raw_stats(r, &s), 0);
	return s.live;
}

static __attribute__((noinline)) uintptr_t raw_hidden(struct raw *r)
{
	uint64_t a = 0;
	uintptr_t h;

	ASSERT_EQ(raw_large(r, BIG, GCARENA_NOSCAN, 0, &a), 0);
	h = HIDE(a);
	*(volatile uint64_t *)&a = 0;
	return h;
}

static __attribute__((noinline)) uint64_t raw_alive_now(struct raw *r)
{
	struct gcarena_collect c;

	ASSERT_EQ(raw_collect(r, 0, &c), 0);
	return raw_live(r);
}

static __attribute__((noinline)) uint64_t raw_alive(struct raw *r)
{
	gct_clean_stack();
	return raw_alive_now(r);
}

TEST(each_register)
{
	static const struct {
		const char *name;
		long (*collect)(long fd, void *req, uintptr_t hidden);
	} in[] = {
#define ENTRY(reg) { #reg, collect_##reg },
		MORE_REGISTERS(ENTRY)
		{ "the red zone", collect_redzone },
	};
	struct gcarena_collect c;
	struct raw r;

	gct_want_module();
	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(raw_attach(&r), 0);
	/* r.heap is on this stack: it must not name one of ours. */
	ASSERT_EQ(raw_refill(&r, GCARENA_SPAN_CLASS(0, GCARENA_NOSCAN), 1), 0);
	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		uintptr_t h = raw_hidden(&r);

		memset(&c, 0, sizeof(c));
		c.size = sizeof(c);
		gct_clean_stack();
		ASSERT_EQ(in[i].collect(r.fd, &c, h), 0);
		h = 0;
		if (raw_live(&r) != BIG)
			gct_note("# not a root: %s (%" PRIu64 " bytes live)", in[i].name, raw_live(&r));
		EXPECT_EQ(raw_live(&r), BIG);
		EXPECT_EQ(raw_alive(&r), 0);
	}
	raw_close(&r);
}

/* ------------------------------------------------ other stacks than the thread's */

static volatile int handler_alive;

static void on_signal(int sig)
{
	void *volatile here;

	(void)sig;
	here = (void *)~hidden_object();
	handler_alive = alive();
	here = NULL;
}

TEST(alternate_signal_stack)
{
	stack_t ss = { .ss_size = 256 << 10 };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	ss.ss_sp = mmap(NULL, ss.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(sigaltstack(&ss, NULL), 0);
	sigaction(SIGUSR1, &sa, NULL);
	open_plain(0);
	for (int i = 0; i < 3; i++) {
		handler_alive = -1;
		raise(SIGUSR1);
		EXPECT_EQ(handler_alive, 1);
		EXPECT_FALSE(alive());
	}
}

/* The same, with a stack set up after the attach: the kernel knows where it is. */
TEST(alternate_signal_stack_set_later)
{
	stack_t ss = { .ss_size = 256 << 10 };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	open_plain(0);
	ss.ss_sp = mmap(NULL, ss.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(sigaltstack(&ss, NULL), 0);
	sigaction(SIGUSR1, &sa, NULL);
	handler_alive = -1;
	raise(SIGUSR1);
	EXPECT_EQ(handler_alive, 1);
}

static ucontext_t main_context, fiber_context;

static void fiber(void)
{
	on_signal(0);
	swapcontext(&fiber_context, &main_context);
}

/* The thread runs on a stack nobody has told of: its mapping is scanned, and the old one. */
TEST(stack_of_a_fiber)
{
	size_t size = 256 << 10;
	void *volatile local;

	open_plain(0);
	getcontext(&fiber_context);
	fiber_context.uc_stack.ss_sp = mmap(NULL, size, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fiber_context.uc_stack.ss_size = size;
	fiber_context.uc_link = &main_context;
	makecontext(&fiber_context, fiber, 0);
	handler_alive = -1;
	swapcontext(&main_context, &fiber_context);
	EXPECT_EQ(handler_alive, 1);
	/* It has the fiber's registers, and is a root. */
	memset(&fiber_context, 0, sizeof(fiber_context));
	EXPECT_FALSE(alive());
	local = (void *)~hidden_object();
	EXPECT_TRUE(alive());
	local = NULL;
	EXPECT_FALSE(alive());
}

TEST_HARNESS_MAIN
