// SPDX-License-Identifier: GPL-2.0-only
/*
 * stop_regs.c: a held thread has the only pointer to an object in one place: a general
 * register, a vector register, the upper half of one, the red zone, its main stack
 * while it runs on another one, and the other way round.  The object lives through
 * three cycles and dies after the place was cleared.  With the pointer inverted it
 * dies at once.
 *
 * The thread spins in user mode: it is held where it is, with both engines.  Where the
 * world runs before marking is done, it is captured before it goes on.  It is the only
 * one attached, and there are no other roots; the object is made by a thread that
 * is gone.  Nobody but the place knows the address: the asm inverts what it is given.
 */
#define GCT_SUITE "stop_regs"
#include "stop.h"

#include <ucontext.h>

#define BIG	(192 << 10)

/* Told to, and by, the asm: so no register is needed to look at them. */
#define SHARED	__attribute__((used, visibility("hidden")))
SHARED volatile uint64_t victim_hidden;
SHARED volatile int victim_state, victim_go;

static struct raw arena, victim, maker;
static void (*victim_spin)(void);

/* @put and @clear, around a spin that uses no register. */
#define SPIN(put, clear)					\
	put							\
	"movl $1, victim_state(%%rip)\n\t"			\
	"1: pause\n\t"						\
	"cmpl $1, victim_go(%%rip)\n\t"				\
	"jne 1b\n\t"						\
	clear							\
	"movl $2, victim_state(%%rip)\n\t"			\
	"2: pause\n\t"						\
	"cmpl $2, victim_go(%%rip)\n\t"				\
	"jne 2b\n\t"

#define GENERAL(reg)							\
static void spin_##reg(void)						\
{									\
	__asm__ volatile("pushq %%" #reg "\n\t"				\
			 SPIN("movq victim_hidden(%%rip), %%" #reg "\n\t" \
			      "notq %%" #reg "\n\t",			\
			      "movq $0, %%" #reg "\n\t")		\
			 "popq %%" #reg					\
			 : : : "memory", "cc");				\
}
#define GENERALS(X) X(rax) X(rbx) X(rcx) X(rdx) X(rsi) X(rdi) X(rbp) X(r8) X(r9) X(r10) X(r11) \
	X(r12) X(r13) X(r14) X(r15)
GENERALS(GENERAL)

/* The same without the inversion. */
static void spin_inverted(void)
{
	__asm__ volatile("pushq %%rbx\n\t"
			 SPIN("movq victim_hidden(%%rip), %%rbx\n\t", "movq $0, %%rbx\n\t")
			 "popq %%rbx"
			 : : : "memory", "cc");
}

#define VECTOR(n)							\
static void spin_xmm##n(void)						\
{									\
	__asm__ volatile(SPIN("pcmpeqd %%xmm0, %%xmm0\n\t"		\
			      "movq victim_hidden(%%rip), %%xmm" #n "\n\t" \
			      "pxor %%xmm0, %%xmm" #n "\n\t"		\
			      "pxor %%xmm0, %%xmm0\n\t",		\
			      "pxor %%xmm" #n ", %%xmm" #n "\n\t")	\
			 : : : "memory", "cc", "xmm0", "xmm" #n);	\
}
VECTOR(1)
VECTOR(5)
VECTOR(15)

/* The last word of ymm6: nothing of it is in xmm6. */
__attribute__((target("avx")))
static void spin_ymm6(void)
{
	__asm__ volatile(SPIN("vpcmpeqd %%xmm0, %%xmm0, %%xmm0\n\t"
			      "vmovq victim_hidden(%%rip), %%xmm1\n\t"
			      "vpxor %%xmm0, %%xmm1, %%xmm1\n\t"
			      "vpslldq $8, %%xmm1, %%xmm1\n\t"
			      "vxorps %%ymm6, %%ymm6, %%ymm6\n\t"
			      "vinsertf128 $1, %%xmm1, %%ymm6, %%ymm6\n\t"
			      "vpxor %%xmm0, %%xmm0, %%xmm0\n\t"
			      "vpxor %%xmm1, %%xmm1, %%xmm1\n\t",
			      "vzeroall\n\t")
			 : : : "memory", "cc", "xmm0", "xmm1", "xmm6");
}

/* 64 bytes below the stack pointer, and the last word of the zone. */
#define RED_ZONE(n)							\
static void spin_red##n(void)						\
{									\
	__asm__ volatile(SPIN("movq victim_hidden(%%rip), %%rax\n\t"	\
			      "notq %%rax\n\t"				\
			      "movq %%rax, -" #n "(%%rsp)\n\t"		\
			      "xorl %%eax, %%eax\n\t",			\
			      "movq $0, -" #n "(%%rsp)\n\t")		\
			 : : : "rax", "memory", "cc");			\
}
RED_ZONE(8)
RED_ZONE(64)
RED_ZONE(128)

/* ------------------------------------------------------------------ other stacks */

static ucontext_t main_context, other_context;
static volatile uint64_t *volatile place;	/* the word, while somebody else spins */

#define PUT(to)								\
	__asm__ volatile("movq victim_hidden(%%rip), %%rax\n\t"	\
			 "notq %%rax\n\t"				\
			 "movq %%rax, (%0)\n\t"				\
			 "xorl %%eax, %%eax"				\
			 : : "r"(to) : "rax", "memory", "cc")

/* On whatever stack it runs: the word is @place, or its own if there is none. */
static void spin_here(void)
{
	volatile uint64_t mine = 0;

	if (!place) {
		PUT(&mine);
		__asm__ volatile(SPIN("", "movq $0, (%0)\n\t") : : "r"(&mine) : "memory", "cc");
	} else {
		__asm__ volatile(SPIN("", "movq $0, (%0)\n\t") : : "r"(place) : "memory", "cc");
	}
}

static void on_usr1(int sig)
{
	(void)sig;
	spin_here();
}

#define OTHER	(256 << 10)

static void handle_elsewhere(int flags)
{
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = SA_ONSTACK };
	stack_t ss = { .ss_size = OTHER, .ss_flags = flags };

	ss.ss_sp = mmap(NULL, OTHER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sigaltstack(&ss, NULL))
		_exit(5);
	sigaction(SIGUSR1, &sa, NULL);
	syscall(SYS_tgkill, getpid(), stop_tid(), SIGUSR1);
	ss.ss_flags = SS_DISABLE;
	sigaltstack(&ss, NULL);
}

/* In the main stack, while a handler runs on the alternate one. */
static void spin_below_handler(void)
{
	volatile uint64_t word = 0;

	place = &word;
	PUT(&word);
	handle_elsewhere(0);
}

static void spin_in_handler(void)
{
	place = NULL;
	handle_elsewhere(0);
}

/* The kernel forgets an alternate stack of this kind while it is in use. */
#ifndef SS_AUTODISARM
#define SS_AUTODISARM	(1U << 31)
#endif
static void spin_below_disarmed(void)
{
	volatile uint64_t word = 0;

	place = &word;
	PUT(&word);
	handle_elsewhere((int)SS_AUTODISARM);
}

static void spin_in_disarmed(void)
{
	place = NULL;
	handle_elsewhere((int)SS_AUTODISARM);
}

static size_t beyond;		/* the end of the fiber's stack, bytes of its mapping */

static void switch_away(void)
{
	getcontext(&other_context);
	other_context.uc_stack.ss_sp = mmap(NULL, OTHER + beyond, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	other_context.uc_stack.ss_size = OTHER;
	other_context.uc_link = &main_context;
	makecontext(&other_context, spin_here, 0);
	swapcontext(&main_context, &other_context);
}

static void spin_below_fiber(void)
{
	volatile uint64_t word = 0;

	place = &word;
	PUT(&word);
	switch_away();
}

static void spin_in_fiber(void)
{
	place = NULL;
	switch_away();
}

/*
 * From one end of the stack to the other and back, all the time: a thread that runs on
 * while it is scanned shows neither.
 */
static void spin_moving(void)
{
	volatile uint64_t ends[4096];

	for (int i = 0; i < 4096; i++)
		ends[i] = 0;
	PUT(&ends[0]);
	__asm__ volatile("movl $1, victim_state(%%rip)\n\t"
			 "1: movq (%0), %%rax\n\t"
			 "movq %%rax, (%1)\n\t"
			 "movq $0, (%0)\n\t"
			 "xorl %%eax, %%eax\n\t"
			 "movq (%1), %%rax\n\t"
			 "movq %%rax, (%0)\n\t"
			 "movq $0, (%1)\n\t"
			 "xorl %%eax, %%eax\n\t"
			 "cmpl $1, victim_go(%%rip)\n\t"
			 "jne 1b\n\t"
			 "movq $0, (%0)\n\t"
			 "movl $2, victim_state(%%rip)\n\t"
			 "2: pause\n\t"
			 "cmpl $2, victim_go(%%rip)\n\t"
			 "jne 2b"
			 : : "r"(&ends[0]), "r"(&ends[4095]) : "rax", "memory", "cc");
}

/* ------------------------------------------------------------------------- the test */

static void become(int state)
{
	uint64_t end = gct_now_ms() + 10000ULL * (uint64_t)gct_slow();

	while (victim_state != state && gct_now_ms() < end)
		gct_sleep_ms(1);
	ASSERT_EQ(victim_state, state);
}

static void *victim_thread(void *arg)
{
	(void)arg;
	if (stop_attach(&victim, &arena))
		_exit(4);
	/* The heap's first address is in struct raw: it must not name the object. */
	if (raw_refill(&victim, GCARENA_SPAN_CLASS(0, GCARENA_NOSCAN), 1))
		_exit(4);
	victim_state = 10;
	while (victim_go != 10)
		gct_sleep_ms(1);
	victim_go = 0;
	gct_clean_stack();
	victim_spin();
	gct_clean_stack();
	victim_state = 11;
	while (victim_go != 11)
		gct_sleep_ms(1);
	if (stop_detach(&victim))
		_exit(4);
	return NULL;
}

static void *maker_thread(void *arg)
{
	uint64_t addr;

	(void)arg;
	if (stop_attach(&maker, &arena) ||
	    raw_large(&maker, BIG, GCARENA_NOSCAN, 0, &addr) || stop_detach(&maker))
		_exit(4);
	victim_hidden = ~addr;
	return NULL;
}

static uint64_t last_live;

static bool alive(void)
{
	struct gcarena_collect c;
	struct gcarena_stats s;

	ASSERT_EQ(raw_collect(&arena, 0, &c), 0);
	ASSERT_EQ(c.result, GCARENA_RESULT_DONE);
	ASSERT_EQ(raw_stats(&arena, &s), 0);
	last_live = s.live;
	return s.live == BIG;
}

/* A thread that holds the only pointer to a new object, in @spin. */
static pthread_t victim_begin(void (*spin)(void))
{
	pthread_t t, u;

	victim_spin = spin;
	victim_state = 0;
	victim_go = 0;
	ASSERT_EQ(pthread_create(&t, NULL, victim_thread, NULL), 0);
	become(10);
	ASSERT_EQ(pthread_create(&u, NULL, maker_thread, NULL), 0);
	pthread_join(u, NULL);
	victim_go = 10;
	become(1);
	return t;
}

static void victim_end(pthread_t t)
{
	victim_go = 2;
	become(11);
	victim_go = 11;
	pthread_join(t, NULL);
}

/* Collect until it is dead, @last_live.  Preempted, it is looked at more closely: regs.c. */
static void collect_until_dead(void)
{
	for (int i = 0; i < 200 && alive(); i++)
		gct_sleep_ms(1);
}

static void try_place_for(const char *name, void (*spin)(void), bool keeps, int n)
{
	pthread_t t;
	int lived = 0;

	t = victim_begin(spin);
	for (int i = 0; i < n; i++)
		lived += alive();
	if (lived != (keeps ? n : 0))
		gct_note("# %s: alive after %d of %d cycles", name, lived, n);
	EXPECT_EQ(lived, keeps ? n : 0);
	victim_go = 1;
	become(2);
	collect_until_dead();
	if (last_live) {
		gct_note("# %s: still alive", name);
		EXPECT_TRUE(false);
	}
	victim_end(t);
}

static void try_place(const char *name, void (*spin)(void), bool keeps)
{
	try_place_for(name, spin, keeps, 3);
}

BOTH(general)
{
	stop_arena(&arena, engine);
#define TRY(reg) try_place(#reg, spin_##reg, true);
	GENERALS(TRY)
}

BOTH(inverted)
{
	stop_arena(&arena, engine);
	try_place("inverted", spin_inverted, false);
}

BOTH(xmm)
{
	stop_arena(&arena, engine);
	try_place("xmm1", spin_xmm1, true);
	try_place("xmm5", spin_xmm5, true);
	try_place("xmm15", spin_xmm15, true);
}

BOTH(upper_half_of_ymm)
{
	if (!__builtin_cpu_supports("avx"))
		SKIP("the processor has no AVX");
	stop_arena(&arena, engine);
	try_place("ymm6", spin_ymm6, true);
}

BOTH(red_zone)
{
	stop_arena(&arena, engine);
	try_place("8 below", spin_red8, true);
	try_place("64 below", spin_red64, true);
	try_place("128 below", spin_red128, true);
}

BOTH(alternate_stack)
{
	stop_arena(&arena, engine);
	try_place("the main stack below a handler", spin_below_handler, true);
	try_place("the alternate stack", spin_in_handler, true);
	try_place("the main stack, autodisarm", spin_below_disarmed, true);
	try_place("the alternate stack, autodisarm", spin_in_disarmed, true);
}

/* The stop's own handler on the alternate stack. */
TEST(stop_handler_on_alternate_stack)
{
	stop_arena(&arena, GCARENA_CREATE_SIGNAL);
	raw_handle_stop(SA_ONSTACK);
	try_place("the main stack below a handler", spin_below_handler, true);
	try_place("the alternate stack", spin_in_handler, true);
}

BOTH(unknown_stack)
{
	struct gcarena_stats s;

	stop_arena(&arena, engine);
	try_place("the main stack below a fiber", spin_below_fiber, true);
	try_place("the fiber's stack", spin_in_fiber, true);
	/* One scan each, of each cycle that could find it. */
	ASSERT_EQ(raw_stats(&arena, &s), 0);
	EXPECT_GE(s.unknown_stacks, 6);
}

/* Longer than it is looked at: what is near the stack pointer is found, and it is counted. */
BOTH(unknown_stack_cut)
{
	struct gcarena_stats s;

	stop_arena(&arena, engine);
	beyond = 16UL << 20;
	try_place("a long fiber's stack", spin_in_fiber, true);
	beyond = 0;
	ASSERT_EQ(raw_stats(&arena, &s), 0);
	EXPECT_GE(s.cut_stacks, 3);
	EXPECT_EQ(s.cut_stacks, s.unknown_stacks);
}

/* ------------------------------------------------------------ captured before resume */

static int sleep_pipe[2];

/* In a system call, with the address in rbx. */
static void sleep_rbx(void)
{
	char byte;

	__asm__ volatile("pushq %%rbx\n\t"
			 "movq victim_hidden(%%rip), %%rbx\n\t"
			 "notq %%rbx\n\t"
			 "movl $1, victim_state(%%rip)\n\t"
			 "1: xorl %%eax, %%eax\n\t"
			 "syscall\n\t"
			 "cmpq $1, %%rax\n\t"
			 "jne 1b\n\t"
			 "movq $0, %%rbx\n\t"
			 "popq %%rbx"
			 : : "D"((long)sleep_pipe[0]), "S"(&byte), "d"(1L)
			 : "rax", "rcx", "r11", "memory", "cc");
	victim_state = 2;
	while (victim_go != 2)
		;
}

/*
 * A cycle begins, the world runs, and the first thing that the thread does is to
 * forget the address: it lives to the end of this cycle, and no longer.
 */
static void try_begin(void (*spin)(void))
{
	struct gcarena_stats s;
	pthread_t t;

	t = victim_begin(spin);
	ASSERT_EQ(raw_collect(&arena, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
	victim_go = 1;
	if (spin == sleep_rbx)
		ASSERT_EQ(write(sleep_pipe[1], "x", 1), 1);
	become(2);
	ASSERT_EQ(raw_collect(&arena, GCARENA_COLLECT_UNTIL_MARKED, NULL), 0);
	ASSERT_EQ(raw_stats(&arena, &s), 0);
	/* Twice, if thread and worker both found it first: see mark.c. */
	EXPECT_GE(s.live, BIG);
	collect_until_dead();
	EXPECT_EQ(last_live, 0);
	victim_end(t);
}

BOTH(captured_before_resume)
{
	void (*spins[])(void) = { spin_rbx, spin_xmm5, spin_red64, sleep_rbx };
	struct gcarena_stats s;

	stop_arena(&arena, engine);
	ASSERT_EQ(pipe(sleep_pipe), 0);
	for (unsigned long i = 0; i < gct_scale(10); i++)
		for (int k = 0; k < 4; k++)
			try_begin(spins[k]);
	ASSERT_EQ(raw_stats(&arena, &s), 0);
	EXPECT_EQ(s.voided, 0);
	gct_note("# %" PRIu64 " of %lu stacks by their own threads", (uint64_t)s.self_scans,
		 4 * gct_scale(10));
}

/* -------------------------------------------------------------- while it moves about */

BOTH(moved_about)
{
	stop_arena(&arena, engine);
	try_place_for("moved about", spin_moving, true, (int)gct_scale(300));
}

static volatile int storm_quit;
static volatile unsigned long storm_signals;

static void on_storm(int sig)
{
	(void)sig;
	storm_signals++;
}

static void *storm_thread(void *arg)
{
	pthread_t *t = arg;
	struct timespec ts = { 0, 20000 };

	while (!storm_quit) {
		pthread_kill(*t, SIGUSR1);
		nanosleep(&ts, NULL);
	}
	return NULL;
}

/*
 * The register goes into a signal frame and comes back by sigreturn all the time,
 * also while it is being scanned.
 */
BOTH(sigreturn_in_flight)
{
	struct sigaction sa = { .sa_handler = on_storm };
	unsigned long n = gct_scale(300), lived = 0;
	void (*spins[])(void) = { spin_rbx, spin_xmm5, spin_red64 };
	pthread_t t, storm;

	stop_arena(&arena, engine);
	sigaction(SIGUSR1, &sa, NULL);
	for (int i = 0; i < 3; i++) {
		storm_quit = 0;
		storm_signals = 0;
		lived = 0;
		t = victim_begin(spins[i]);
		ASSERT_EQ(pthread_create(&storm, NULL, storm_thread, &t), 0);
		while (!storm_signals)
			gct_sleep_ms(1);
		for (unsigned long k = 0; k < n; k++) {
			bool yes = alive();

			if (!yes && lived == k)
				gct_note("# cycle %lu: %" PRIu64 " bytes live", k, last_live);
			lived += yes;
		}
		EXPECT_EQ(lived, n);
		gct_note("# %lu signals, %lu cycles", storm_signals, n);
		storm_quit = 1;
		pthread_join(storm, NULL);
		victim_go = 1;
		become(2);
		/* The last frame may be looked at while the thread is on its way. */
		collect_until_dead();
		EXPECT_EQ(last_live, 0);
		victim_end(t);
	}
}

TEST_HARNESS_MAIN
