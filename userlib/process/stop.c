// SPDX-License-Identifier: MIT
/*
 * stop.c: threads attach, and are held.
 *
 * A thread is *held* while it is in a call of the backend, or parked in the library's
 * handler of the stop signal, which is a call, too: gca_park().  It says so itself, by
 * one word, and with it leaves its stack pointer and registers for the collector; it
 * executes no instruction of its own before it has found that nobody wants it held.
 *
 *	stopper: wanted := 1, fence, held	thread leaving: held := 0, fence, wanted
 *
 * Dekker: one of the two sees the other.  Who sees itself wanted becomes held again and
 * sleeps.  Each of the two words is stored by a release and read by an acquire: the
 * stopper sees what the thread did before it was held, the thread what was done in the
 * stop.  A thread that is not held gets the signal.  All signals are blocked in calls and
 * in the handler, so a signal that comes late finds its thread held, or the stop over;
 * one that was sent for the next stop is delivered when the handler returns.
 *
 * What a process cannot do is to hold a thread without its help: one that blocks the stop
 * signal postpones the stop (core/cycle.c), and one that sleeps in a system call
 * is woken, to sleep on, or to return EINTR where SA_RESTART does not help.
 *
 * The release may come before all stacks have been captured (core/rootjobs.c): then the
 * thread captures its own before it leaves.  Or a worker does, as long as the thread is in
 * a call, where it may wait for long, even for the end of this cycle; what the worker has
 * read counts if the thread has not left the call meanwhile.  (Not under TSan: it does not bear the collector in a
 * handler; there all stacks are scanned in the stop.)
 *
 * The handler can have interrupted anything, so what it calls here takes no lock that
 * one of our callers can hold, and allocates nothing.  A thread's list of members is its
 * own; another thread that closes an arena marks the member closed and waits until its
 * thread looks away.
 *
 * The set of mutators changes in operations only (core/mutator.c), and the gate is closed
 * before a stop begins until after it has ended: so a stop walks it without a lock.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

#define GCA_RED_ZONE	128
#define GCA_STACK_MAX	(8ULL << 20)	/* of an unknown stack, in bytes */
#define GCA_STOP_LOOK	1000000		/* a stopper looks up at least so often, ns */

static _Thread_local struct gca_member *gca_mine __attribute__((__tls_model__("initial-exec")));

static struct gca_member *gca_member_of(struct gca_mutator *m)
{
	return container_of(m, struct gca_member, core);
}

/* By instructions of our own: no errno, nothing that a sanitizer watches. */
static GCA_UNWATCHED long gca_futex(u32 *word, int op, u32 value, const struct timespec *timeout)
{
	register const struct timespec *r10 __asm__("r10") = timeout;
	long ret;

	__asm__ __volatile__("syscall" : "=a"(ret)
			     : "0"((long)SYS_futex), "D"(word), "S"((long)op), "d"((long)value),
			       "r"(r10)
			     : "rcx", "r11", "memory");
	return ret;
}

/* ------------------------------------------------------------------------ calls */

/* Tell a stopper who may sleep. */
static GCA_UNWATCHED void gca_arrive(struct gca_process *p)
{
	__atomic_fetch_add(&p->arrived, 1, __ATOMIC_SEQ_CST);
	gca_futex(&p->arrived, FUTEX_WAKE_PRIVATE, 1, NULL);
}

/*
 * The caller becomes held, with what its callers hold: registers that a callee must
 * preserve are spilled here, the others have been into the callers' frames, above ours.
 */
GCA_UNWATCHED noinline void gca_call_enter(void)
{
	struct gca_member *m;
	u64 regs[6], sp;
	unsigned int i;

	__asm__ __volatile__("movq %%rbx, 0(%1)\n\t"
			     "movq %%rbp, 8(%1)\n\t"
			     "movq %%r12, 16(%1)\n\t"
			     "movq %%r13, 24(%1)\n\t"
			     "movq %%r14, 32(%1)\n\t"
			     "movq %%r15, 40(%1)\n\t"
			     "movq %%rsp, %0"
			     : "=&r"(sp) : "r"(regs) : "memory");
	for (m = gca_mine; m; m = m->sibling) {
		m->sp = sp;
		for (i = 0; i < ARRAY_SIZE(regs); i++)
			m->regs[i] = regs[i];
		/* What it did before; pairs with gca_held(). */
		smp_store_release(&m->held, 1);
	}
	smp_mb();	/* held before wanted: a stopper asleep is woken */
	for (m = gca_mine; m; m = m->sibling) {
		if (likely(!READ_ONCE(m->wanted)))
			continue;
		WRITE_ONCE(m->busy, 1);
		smp_mb();	/* pairs with the one in gca_members_close() */
		if (!READ_ONCE(m->closed))
			gca_arrive(m->process);
		smp_store_release(&m->busy, 0);
	}
}

/* Held: until nobody wants that, and its stack has been captured. */
static GCA_UNWATCHED noinline void gca_hold(struct gca_member *m)
{
	int saved = errno;
	u32 wanted;

	WRITE_ONCE(m->busy, 1);
	smp_mb();	/* pairs with the one in gca_members_close() */
	if (!READ_ONCE(m->closed)) {
		if (READ_ONCE(m->wanted))
			gca_arrive(m->process);
		/* acquire: what was done in the stop; pairs with gca_release() */
		while ((wanted = smp_load_acquire(&m->wanted)) != GCA_RUNS) {
			if (wanted == GCA_WANTED && !try_cmpxchg(&m->wanted, &wanted, GCA_ASLEEP))
				continue;
			gca_futex(&m->wanted, FUTEX_WAIT_PRIVATE, GCA_ASLEEP, NULL);
		}
#ifndef GCA_TSAN
		if (READ_ONCE(m->core.owes))
			gca_roots_self(&m->core);
#endif
	}
	smp_store_release(&m->busy, 0);
	errno = saved;
}

static GCA_UNWATCHED bool gca_may_go(const struct gca_member *m)
{
	/* acquire: as in gca_hold() */
	return READ_ONCE(m->closed) || (!smp_load_acquire(&m->wanted) && !READ_ONCE(m->core.owes));
}

/* The opposite of gca_call_enter(): see the top. */
GCA_UNWATCHED void gca_call_leave(void)
{
	struct gca_member *m;
	bool go;

	for (;;) {
		for (m = gca_mine; m; m = m->sibling) {
			smp_store_release(&m->held, 0);
			/* Before it enters again; pairs with gca_port_stack_same(). */
			smp_store_release(&m->left, m->left + 1);
		}
		smp_mb();	/* pairs with the one in gca_port_stop() */
		for (m = gca_mine, go = true; m; m = m->sibling)
			go = go && gca_may_go(m);
		if (likely(go))
			return;
		/* As if it had never left: it has executed no instruction of its own. */
		for (m = gca_mine; m; m = m->sibling)
			smp_store_release(&m->held, 1);
		smp_mb();	/* as in gca_call_enter() */
		for (m = gca_mine; m; m = m->sibling)
			gca_hold(m);
	}
}

/*
 * gca_park() - in the stop signal's handler, and at the end of a counted section
 *
 * Inside a call there is nothing to do: it looks when it ends.  All registers of what the
 * handler has interrupted are in the signal's frame, above us.
 */
GCA_UNWATCHED void gca_park(void)
{
	if (!gca_mine || READ_ONCE(gca_mine->held))
		return;
	gca_call_enter();
	gca_call_leave();
}

/* -------------------------------------------------------------- attach and detach */

/* A forked child has its parent's list, and nobody who would let it go. */
static void gca_forget_all(void)
{
	gca_mine = NULL;
}

/* At load: before whatever else may open an arena in a child. */
static __attribute__((__constructor__)) void gca_at_fork(void)
{
	pthread_atfork(NULL, NULL, gca_forget_all);
}

static void gca_unlink_mine(struct gca_member *m)
{
	struct gca_member **p;

	for (p = &gca_mine; *p && *p != m; p = &(*p)->sibling)
		;
	if (*p)
		*p = m->sibling;
}

/* gca_members_forget() - give back what is left of members whose arenas others have closed */
void gca_members_forget(void)
{
	struct gca_member **p = &gca_mine, *m;

	while ((m = *p)) {
		if (smp_load_acquire(&m->closed) == GCA_CLOSED) {
			*p = m->sibling;
			munmap(m, GCA_MEMBER_BYTES);
		} else {
			p = &m->sibling;
		}
	}
}

/** gca_member_mine() - the calling thread's member with this id, or NULL */
struct gca_member *gca_member_mine(const struct gca_process *p, u32 id)
{
	struct gca_member *m;

	for (m = gca_mine; m; m = m->sibling)
		if (m->process == p && m->core.id == id && !READ_ONCE(m->closed))
			return m;
	return NULL;
}

static bool gca_is_attached(const struct gca_process *p)
{
	struct gca_member *m;

	for (m = gca_mine; m && m->process != p; m = m->sibling)
		;
	return m;
}

static void gca_member_put(struct gca_member *m)
{
	if (atomic_dec_and_test(&m->refs))
		munmap(m, GCA_MEMBER_BYTES + m->bytes);
}

void gca_port_mutator_get(struct gca_arena *a, struct gca_mutator *m)
{
	(void)a;
	atomic_inc(&gca_member_of(m)->refs);
}

void gca_port_mutator_put(struct gca_arena *a, struct gca_mutator *m)
{
	(void)a;
	gca_member_put(gca_member_of(m));
}

/* gca_member_attach() - within a call.  Return: as GCARENA_IOC_ATTACH */
int gca_member_attach(struct gca_process *p, struct gcarena_attach *req,
		      struct gcarena_mutator **area)
{
	u32 nr = req->nr_slots ? req->nr_slots : GCARENA_SLOTS_MAX;
	struct gca_member *m;
	size_t bytes;
	int err;

	BUILD_BUG_ON(sizeof(struct gca_member) > GCA_MEMBER_BYTES);
	if (nr < GCARENA_SLOTS_MIN || nr > GCARENA_SLOTS_MAX)
		return -EINVAL;
	if (gca_is_attached(p))
		return -EEXIST;
	if (READ_ONCE(p->arena.nr_mutators) >= GCARENA_THREADS_MAX)
		return -ENOSPC;
	bytes = ALIGN(gca_mutator_bytes(nr), (size_t)4096);
	m = mmap(NULL, GCA_MEMBER_BYTES + bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return -ENOMEM;
	*area = (struct gcarena_mutator *)((char *)m + GCA_MEMBER_BYTES);
	m->process = p;
	m->bytes = bytes;
	m->tid = gca_gettid();
	m->held = 1;
	atomic_set(&m->refs, 1);
	err = gca_mutator_init(&m->core, &p->arena, nr, *area);
	if (!err) {
		gca_mutator_bounds(&m->core, req);
		pthread_mutex_lock(&p->lock);
		m->core.id = ++p->next_id;
		pthread_mutex_unlock(&p->lock);
		/* In the list, and with all of it held, before a stop can want it. */
		m->sibling = gca_mine;
		gca_mine = m;
		gca_call_enter();
		err = gca_mutator_attach(&m->core);
		if (err) {
			gca_unlink_mine(m);
			gca_mutator_fini(&m->core);
		}
	}
	if (err) {
		gca_member_put(m);
		return err;
	}
	req->id = m->core.id;
	req->nr_slots = nr;
	req->map_size = bytes;
	return 0;
}

/* gca_member_detach() - the caller's, within a call.  Return: 0 or -ESRCH */
int gca_member_detach(struct gca_member *m)
{
	int err = gca_mutator_leave(&m->core);

	if (err)
		return err;
	gca_unlink_mine(m);
	/* Nobody looks after it: it runs, for whoever has it in hand yet. */
	smp_store_release(&m->left, m->left + 1);
	WRITE_ONCE(m->held, 0);
	gca_mutator_fini(&m->core);
	gca_member_put(m);
	return 0;
}

static struct gca_member *gca_dead_one(struct gca_arena *a)
{
	struct gca_member *found = NULL;
	struct gca_mutator *m;

	gca_spin_lock(&a->mutators_lock);
	list_for_each_entry(m, &a->mutators, link)
		if (gca_member_of(m)->dead)
			found = gca_member_of(m);
	gca_spin_unlock(&a->mutators_lock);
	return found;
}

/* gca_members_reap() - detach who has ended without doing so; by the coordinator */
void gca_members_reap(struct gca_process *p)
{
	struct gca_member *m;

	while ((m = gca_dead_one(&p->arena)) && !gca_mutator_detach(&m->core)) {
		gca_mutator_fini(&m->core);
		m->bytes = 0;	/* the area goes with the arena: gca_close() */
		gca_member_put(m);
	}
}

/*
 * gca_members_close() - the arena goes, and takes all threads with it
 *
 * By whoever closes it; there is no coordinator any more.  The areas are the library's.
 */
void gca_members_close(struct gca_process *p)
{
	struct gca_mutator *m, *next;
	struct gca_member *member;

	list_for_each_entry_safe(m, next, &p->arena.mutators, link) {
		member = gca_member_of(m);
		gca_mutator_fini(m);
		list_del_init(&m->link);
		if (gca_member_mine(p, m->id) == member) {
			gca_unlink_mine(member);
			munmap(member, GCA_MEMBER_BYTES);
			continue;
		}
		smp_store_release(&member->closed, GCA_CLOSING);
		smp_mb();	/* pairs with the one in gca_hold() */
		while (smp_load_acquire(&member->busy))
			sched_yield();
		/* The last look: its thread, if it lives, gives it back. */
		smp_store_release(&member->closed, GCA_CLOSED);
	}
}

/* ------------------------------------------------------------------------ stop */

/* A counted section is left before the call; the word is the thread's. */
static bool gca_held(const struct gca_member *m)
{
	/* acquire: pairs with gca_call_enter() */
	return m->dead || (smp_load_acquire(&m->held) && !READ_ONCE(m->core.shared->critical));
}

/* The first thread that is not held, or NULL. */
static struct gca_member *gca_running(struct gca_arena *a)
{
	struct gca_mutator *m;

	list_for_each_entry(m, &a->mutators, link)
		if (!gca_held(gca_member_of(m)))
			return gca_member_of(m);
	return NULL;
}

/* gca_blame() - the thread that was last not held in time, if it is still there; else 0 */
u32 gca_blame(struct gca_process *p)
{
	int tid = READ_ONCE(p->blame);
	struct gca_mutator *m = NULL;
	bool there = false;

	while ((m = gca_mutator_next(&p->arena, m)))
		there |= gca_member_of(m)->tid == tid;
	return there ? (u32)tid : 0;
}

static void gca_release(struct gca_arena *a)
{
	struct gca_mutator *m;

	WRITE_ONCE(a->control->stop, 0);
	list_for_each_entry(m, &a->mutators, link) {
		u32 *wanted = &gca_member_of(m)->wanted;

		/* What was done in the stop; pairs with gca_hold(). */
		if (xchg(wanted, GCA_RUNS) == GCA_ASLEEP)
			gca_futex(wanted, FUTEX_WAKE_PRIVATE, 1, NULL);
	}
}

int gca_port_stop(struct gca_arena *a, u64 deadline)
{
	struct gca_process *p = a->port;
	struct gca_member *late;
	struct gca_mutator *m;
	struct timespec t = { 0, 0 };
	u32 seen;
	u64 now;

	WRITE_ONCE(a->control->stop, 1);
	list_for_each_entry(m, &a->mutators, link)
		WRITE_ONCE(gca_member_of(m)->wanted, GCA_WANTED);
	smp_mb();	/* pairs with the one in gca_call_leave() */
	list_for_each_entry(m, &a->mutators, link) {
		struct gca_member *member = gca_member_of(m);

		if (!gca_held(member) &&
		    syscall(SYS_tgkill, getpid(), member->tid, p->signal) && errno == ESRCH)
			member->dead = 1;
	}
	for (;;) {
		seen = smp_load_acquire(&p->arrived);
		late = gca_running(a);
		if (!late)
			break;
		now = gca_port_now();
		if (now > deadline || READ_ONCE(p->dying)) {
			WRITE_ONCE(p->blame, late->tid);
			gca_release(a);
			return READ_ONCE(p->dying) ? -ESRCH : -EAGAIN;
		}
		t.tv_nsec = (long)min_t(u64, deadline - now + 1, GCA_STOP_LOOK);
		gca_futex(&p->arrived, FUTEX_WAIT_PRIVATE, seen, &t);
	}
	memset(p->known, 0, sizeof(p->known));
	p->reader = pthread_self();
	p->nr_stops++;
	WRITE_ONCE(p->stopped, true);
	return 0;
}

void gca_port_start(struct gca_arena *a)
{
	struct gca_process *p = a->port;

	WRITE_ONCE(p->stopped, false);
	gca_release(a);
}

/* ---------------------------------------------------------------------- stacks */

/*
 * On the alternate signal stack, which may have been set after the attach, or on
 * one of the program's own making: to the end of it or its mapping, as the module
 * does, and the thread's own stack from where it is parked or as far as it has grown.
 *
 * Return: 0, or -EIO if nobody knows what it is on.
 */
static int gca_other_stack(struct gca_arena *a, const struct gca_mutator *m, u64 sp,
			   struct gca_stack *s)
{
	const struct gcarena_range *r = gca_roots_stack(a, sp);
	u64 start = ALIGN_DOWN(sp - GCA_RED_ZONE, 8UL), lo, hi;

	lo = gca_mapping_of(m->stack_hi - 8, &lo, &hi) ? max(m->stack_lo, lo) : m->stack_lo;
	gca_stack_add(s, gca_stack_low(lo, m->stack_hi, READ_ONCE(m->shared->stack_sp)),
		      m->stack_hi);
	if (r)
		gca_stack_add(s, max(start, r->start), r->start + r->len);
	else if (gca_mapping_of(sp, &lo, &hi))
		gca_stack_add_unknown(s, start, hi, GCA_STACK_MAX);
	else if (sp >= m->altstack_lo && sp < m->altstack_hi)
		gca_stack_add(s, start, m->altstack_hi);	/* no /proc here */
	else
		return -EIO;
	return 0;
}

int gca_port_stack_self(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s)
{
	struct gca_member *member = gca_member_of(m);
	int err = 0;

	if (member->sp < m->stack_lo || member->sp >= m->stack_hi)
		err = gca_other_stack(a, m, member->sp, s);
	else
		gca_stack_add(s, member->sp - GCA_RED_ZONE, m->stack_hi);
	s->nr_regs = ARRAY_SIZE(member->regs);
	s->regs = member->regs;
	return err;
}

int gca_port_stack(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s)
{
	struct gca_process *p = a->port;

	struct gca_member *member = gca_member_of(m);

	gca_port_page_forget();	/* newer than what is read next, see scan_thread() */
	if (member->dead)
		return -ESRCH;
	/* acquire: sp and regs after it; pairs with gca_port_stack_same() */
	member->seen = smp_load_acquire(&member->left);
	if (!READ_ONCE(p->stopped) && !smp_load_acquire(&member->held))
		return -EAGAIN;
	return gca_port_stack_self(a, m, s);
}

/*
 * A thread in a call may run on, but in our frames, below what is scanned.  With the world
 * running it may leave the call, and then what has been read is of any time: held, with
 * left unchanged before what was read and after, it has not.
 */
bool gca_port_stack_same(struct gca_arena *a, struct gca_mutator *m)
{
	struct gca_process *p = a->port;
	struct gca_member *member = gca_member_of(m);

	if (READ_ONCE(p->stopped) || member->dead)
		return true;
	smp_mb();	/* what was read, before left and held */
	return READ_ONCE(member->left) == member->seen && READ_ONCE(member->held);
}
