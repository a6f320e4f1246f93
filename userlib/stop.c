// SPDX-License-Identifier: MIT
/*
 * stop.c: the signal engine's end in the process: a thread that gets the stop
 * signal parks in GCARENA_IOC_SETTLE until the stop is over.
 *
 * The handler finds its thread's mutators through one thread-local word, so it
 * needs no lock.  It calls the system by instructions of its own: it may have
 * interrupted anything, malloc() and a sanitizer's runtime included.  It has no
 * alternate stack: its frame lies on the interrupted stack, which the collector
 * scans.  All signals are blocked while it runs, so it is never interrupted.
 *
 * The signal is the program's, too.  A standard signal that is sent twice may
 * arrive once, so a stop may have swallowed one that was meant for the program:
 * the handler that was there before ours is called each time, as Go does it, and
 * must bear being called without cause.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "internal.h"

#define GCL_UNWATCHED	__attribute__((__no_sanitize__("address", "thread", "undefined")))
#define GCL_SA_RESTORER	0x04000000UL
#define GCL_SIGNALS	64

union gcl_handler {
	void (*plain)(int sig);
	void (*info)(int sig, siginfo_t *info, void *context);
};

/** struct gcl_action - the kernel's struct sigaction */
struct gcl_action {
	union gcl_handler handler;
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

_Thread_local struct gcl_mutator *gcl_mine;

static pthread_mutex_t gcl_install_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gcl_action gcl_previous[GCL_SIGNALS + 1];
static uint64_t gcl_installed;

/* The bytes by which debuggers and unwinders know the end of a handler. */
__asm__ (".pushsection .text\n"
	 "	.align 16\n"
	 "	nop\n"
	 "gcl_restorer:\n"
	 "	movq $15, %rax\n"
	 "	syscall\n"
	 ".popsection\n");
void gcl_restorer(void) __attribute__((__visibility__("hidden")));

static GCL_UNWATCHED long set_mask(const uint64_t *mask)
{
	long ret;
	register uint64_t *old __asm__("rdx") = NULL;
	register uint64_t size __asm__("r10") = sizeof(*mask);

	__asm__ __volatile__("syscall" : "=a"(ret)
			     : "0"((long)SYS_rt_sigprocmask), "D"((long)SIG_SETMASK), "S"(mask),
			       "r"(old), "r"(size)
			     : "rcx", "r11", "memory");
	return ret;
}

/* Does the collector want this thread to stand still? */
static GCL_UNWATCHED bool is_stopped(const struct gcl_mutator *m)
{
	return __atomic_load_n(&m->pub.control->stop, __ATOMIC_ACQUIRE) != 0;
}

static GCL_UNWATCHED void park(struct gcl_mutator *m)
{
	struct gca_arena *a = m->pub.arena;

	/* Any error but an interruption means that there is nothing to wait for. */
	while (a->be->park && a->be->park(&a->space, m->pub.id) == -EINTR)
		;
}

/*
 * A thread inside a counted section is not in a state to be scanned.  It does not
 * park here: __gca_leave() looks at the same word when the section ends.
 */
static GCL_UNWATCHED void look(struct gcl_mutator *m)
{
	__atomic_store_n(&m->parking, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&m->closed, __ATOMIC_SEQ_CST) && is_stopped(m) &&
	    !__atomic_load_n(&m->pub.area->critical, __ATOMIC_RELAXED))
		park(m);
	__atomic_store_n(&m->parking, 0, __ATOMIC_SEQ_CST);
}

/* Call the program's handler as the kernel would have. */
static GCL_UNWATCHED void chain(int sig, siginfo_t *info, void *context)
{
	struct gcl_action *p = &gcl_previous[sig];
	union gcl_handler handler = p->handler;
	const uint64_t all = GCL_ALL_SIGNALS;
	ucontext_t *uc = context;
	uint64_t mask;

	if (handler.plain == SIG_DFL || handler.plain == SIG_IGN)
		return;
	if (p->flags & SA_RESETHAND)
		p->handler.plain = SIG_DFL;
	mask = *(const uint64_t *)&uc->uc_sigmask | p->mask;
	if (!(p->flags & SA_NODEFER))
		mask |= 1ULL << (sig - 1);
	set_mask(&mask);
	if (p->flags & SA_SIGINFO)
		handler.info(sig, info, context);
	else
		handler.plain(sig);
	set_mask(&all);
}

static GCL_UNWATCHED void on_signal(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	struct gcl_mutator *m;

	for (m = gcl_mine; m; m = m->sibling)
		look(m);
	errno = saved;
	chain(sig, info, context);
	errno = saved;
}

/* The end of a counted section that a stop waits for. */
void gca_park_slow(struct gca_mutator *pub)
{
	struct gcl_signals sigs;
	int saved = errno;

	sigs = gcl_block();
	park((struct gcl_mutator *)pub);
	gcl_restore(sigs);
	errno = saved;
}

/*
 * Take the signal, once.  Raw, so that a sanitizer neither watches the handler nor
 * delays it.  Return: 0 or -errno.
 */
int gcl_stop_install(int sig)
{
	struct gcl_action act = {
		.handler.info = on_signal,
		.flags = SA_SIGINFO | SA_RESTART | GCL_SA_RESTORER,
		.restorer = gcl_restorer,
		.mask = GCL_ALL_SIGNALS,
	};
	struct gcl_signals sigs = gcl_block();
	uint64_t bit = 1ULL << (sig - 1);
	int err = 0;

	pthread_mutex_lock(&gcl_install_lock);
	if (!(gcl_installed & bit)) {
		/* First the old one: ours may run as soon as it is there. */
		if (syscall(SYS_rt_sigaction, sig, NULL, &gcl_previous[sig], sizeof(act.mask)) ||
		    syscall(SYS_rt_sigaction, sig, &act, NULL, sizeof(act.mask)))
			err = -errno;
		else
			gcl_installed |= bit;
	}
	pthread_mutex_unlock(&gcl_install_lock);
	gcl_restore(sigs);
	return err;
}

void gcl_stop_fork(enum gcl_fork when)
{
	if (when == GCL_FORK_PREPARE)
		pthread_mutex_lock(&gcl_install_lock);
	else
		pthread_mutex_unlock(&gcl_install_lock);
}

/*
 * The arena goes while @m's thread, another one, lives: wait until its handler
 * looks away, for ever.  The collector is dead: nobody stays parked.
 *
 * Return: false if the thread is detaching it, gcl_leave().
 */
bool gcl_stop_wait(struct gcl_mutator *m)
{
	uint32_t is = GCL_OPEN;

	__atomic_compare_exchange_n(&m->closed, &is, GCL_CLOSING, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	if (is == GCL_LEAVING)
		return false;
	while (__atomic_load_n(&m->parking, __ATOMIC_SEQ_CST))
		sched_yield();
	return true;
}
