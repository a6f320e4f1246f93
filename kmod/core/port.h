/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * port.h: the core's only door to the world.
 *
 * The collector in kmod/core/ is plain C.  What it needs of its surroundings is
 * declared here and supplied by a port: kmod/ is one (the kernel module),
 * userlib/process/ the other (the same collector inside a process).  A port is
 * chosen when the files are compiled, by the include path on which
 * "port_impl.h" is found, so that the services of the hot loops are inlined.
 *
 * port_impl.h supplies, by the kernel's names and with the kernel's meaning:
 * u8..u64, s64, READ_ONCE, WRITE_ONCE, smp_mb, smp_load_acquire,
 * smp_store_release, cmpxchg, xchg, atomic64_t, atomic_t and their plain
 * operations, list_head, min, max, clamp, hweight64, __ffs64, fls64, likely,
 * unlikely, prefetch, OPTIMIZER_HIDE_VAR, array_index_nospec, WARN_ON_ONCE, BUILD_BUG_ON,
 * container_of, ALIGN, DIV_ROUND_UP, U32_MAX, U64_MAX, check_add_overflow,
 * the errno values, memcpy, memset and pr_warn_ratelimited; and by names of
 * its own:
 *
 *   gca_spin_t, gca_spin_init/lock/unlock	a lock that may be taken in an
 *						operation; never held over a sleep
 *   GCA_UREAD_BEGIN(a) ... GCA_UREAD_END()	a window of no-fault reads; BEGIN is
 *						false if there can be none
 *   GCA_UREAD(dst, addr, label)		inside it: one aligned word, or
 *						goto label (the window is still open)
 *   gca_deref(p)				READ_ONCE() of a pointer that is followed: what
 *						was written before it was release-stored
 *						is seen, by the dependency
 *   gca_set_bits(word, mask)			atomic or; no value, no order
 *   gca_port_contended()			does somebody wait for this processor?
 *   gca_port_signalled()			has the calling thread of the owner's a signal?
 *
 * Nothing out of line may be called between GCA_UREAD_BEGIN and GCA_UREAD_END:
 * in the kernel the processor's protection against user accesses is off there.
 * The window must be short (struct gca_worker says how short).
 */
#ifndef GCA_CORE_PORT_H
#define GCA_CORE_PORT_H

#include "port_impl.h"

struct gca_arena;
struct gca_mutator;

#define GCA_STACK_AREAS	5

/**
 * struct gca_stack - where a held thread's roots are
 * @area: stretches of memory to scan.  The stack, from the stack pointer less the
 *	red zone; or, with the stack pointer elsewhere, the stack whole, the alternate
 *	signal stacks whole, and what the stack pointer is in
 * @nr_areas: how many
 * @nr_doubtful: the last of them: what a thread that is on its way through the kernel
 *	may yet come to use, or has just left.  Scanned, but what is there may be old:
 *	checkmark, which may meet it when it has got further, leaves it out
 * @frame: not 0: they hold at most a signal's frame that is being built, in which the stack
 *	pointer is this, and of that, what the handler's registers take the place of
 *	(GCA_FRAME_ARGS and so on) is all there is to scan in them
 * @regs: user registers, general and vector; the port's, valid until the thread is
 *	described again
 * @nr_regs: words in @regs
 * @unknown: nobody has told of the stack that the stack pointer is in: the mapping is taken
 * @cut: and is longer than that: what lies beyond is not scanned
 */
struct gca_stack {
	struct gca_area {
		u64 lo, hi;
	} area[GCA_STACK_AREAS];
	unsigned int nr_areas, nr_doubtful;
	u64 frame;
	const u64 *regs;
	unsigned int nr_regs;
	bool unknown, cut;
};

/* In struct sigcontext of x86-64, bytes before rsp: rdi and rsi; rdx and rax; each two words. */
#define GCA_FRAME_ARGS	56
#define GCA_FRAME_MORE	24

/** gca_stack_low() - where a stack that may be parked begins, if its owner says @sp */
static inline u64 gca_stack_low(u64 lo, u64 hi, u64 sp)
{
	return sp > lo && sp < hi ? ALIGN_DOWN(sp, sizeof(u64)) : lo;
}

/** gca_stack_add() - one more area; there is room */
static inline void gca_stack_add(struct gca_stack *s, u64 lo, u64 hi)
{
	if (lo < hi)
		s->area[s->nr_areas++] = (struct gca_area){ lo, hi };
}

/** gca_stack_add_unknown() - from @lo on, of a mapping that ends at @hi, @max bytes at most */
static inline void gca_stack_add_unknown(struct gca_stack *s, u64 lo, u64 hi, u64 max)
{
	s->unknown = true;
	s->cut = lo < hi && hi - lo > max;
	gca_stack_add(s, lo, s->cut ? lo + max : hi);
}

/** gca_stack_doubt() - likewise, a doubtful one; after all others */
static inline void gca_stack_doubt(struct gca_stack *s, u64 lo, u64 hi)
{
	if (lo < hi)
		s->nr_doubtful++;
	gca_stack_add(s, lo, hi);
}

/**
 * gca_port_zalloc() - zeroed memory, charged to the arena's owner
 * @a: arena
 * @bytes: any
 *
 * May sleep; never called in an operation or a stop.  Return: NULL if there is
 * none, with nothing changed.
 */
void *gca_port_zalloc(struct gca_arena *a, size_t bytes);
void gca_port_free(struct gca_arena *a, void *p, size_t bytes);

/** gca_port_now() - monotonic nanoseconds; stand still while suspended */
u64 gca_port_now(void);

/**
 * gca_port_copy() - read the owner's memory with faults on
 * @a: arena
 * @dst: in the core's memory
 * @src: any address
 * @bytes: in one hardware page
 *
 * Called in the owner's context only, never in an operation: it may sleep.
 * Return: 0 or -EFAULT, -EINTR if the caller was killed.
 */
int gca_port_copy(struct gca_arena *a, void *dst, u64 src, size_t bytes);

/**
 * gca_port_sift() - read the owner's memory without faulting, for words of a range
 * @a: arena
 * @dst: room for @n words
 * @src: any address, aligned
 * @n: how many words to read, in one hardware page
 * @base: keep those of [@base, @base + @size], the end included
 * @size: see @base
 *
 * For roots, which may lie anywhere, and in which next to nothing is an address of the
 * heap's; heap objects are read by GCA_UREAD.  May be called in an operation and by a
 * worker.  Return: how many words were kept, in their order, or -EFAULT.
 */
int gca_port_sift(struct gca_arena *a, u64 *dst, u64 src, unsigned int n, u64 base, u64 size);

/**
 * gca_port_unreadable() - judge an address that gca_port_copy() could not read
 * @a: arena
 * @addr: address
 *
 * Return: 0 if no readable anonymous mapping is there: the owner unmapped or
 * protected its heap, and the page is a leaf.  -EFAULT if the page should have
 * been readable: the cycle is void.
 */
int gca_port_unreadable(struct gca_arena *a, u64 addr);

/**
 * gca_port_stop() - hold every attached thread
 * @a: arena
 * @deadline: time to give up, by gca_port_now()
 *
 * The gate is closed and no operation is open when it is called.
 * Return: 0; -EAGAIN if some thread was not held in time, or the errno that
 * COLLECT reports; then nothing is held.
 */
int gca_port_stop(struct gca_arena *a, u64 deadline);
void gca_port_start(struct gca_arena *a);

/**
 * gca_port_backoff() - let the world run after a stop that was given up
 * @a: arena
 * @ns: how long
 *
 * Return: 0, -EINTR if the caller was killed, -ESRCH if the arena died, -ECANCELED if the
 * cycle is to begin, or go on, later.
 */
int gca_port_backoff(struct gca_arena *a, u64 ns);

/**
 * gca_port_stack() - describe the stack and registers of a held thread
 * @a: arena
 * @m: thread; whoever calls has claimed its root job
 * @s: zeroed
 *
 * Return: 0; -EAGAIN if they cannot be read just now, -EIO if never; -ESRCH if the thread
 * is on its way out, runs no user code any more, and has no roots.
 */
int gca_port_stack(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s);

/**
 * gca_port_stack_self() - the same of the calling thread, which need not be held
 * @a: arena
 * @m: the caller's; another may be describing it meanwhile
 * @s: zeroed
 *
 * Return: 0; -ESRCH if the caller is on its way out; -EIO if they cannot be read.
 */
int gca_port_stack_self(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s);

/*
 * gca_port_mutator_get() - keep a mutator and what hangs at it from being freed
 *
 * Under mutators_lock.  A marker of a void cycle may be scanning a thread that
 * detaches meanwhile; or somebody goes over all of them, gca_mutator_next().  The put, with
 * nothing held, frees what hangs at one that has detached: what sleeps for that is short, and
 * is allowed in an operation.
 */
void gca_port_mutator_get(struct gca_arena *a, struct gca_mutator *m);
void gca_port_mutator_put(struct gca_arena *a, struct gca_mutator *m);

/**
 * gca_port_stack_same() - has a held thread stayed where gca_port_stack() found it?
 * @a: arena
 * @m: thread
 *
 * A held thread may run in the kernel, and there its registers can change: a
 * sigreturn that is half done.  Only if they have not does its scan count.
 */
bool gca_port_stack_same(struct gca_arena *a, struct gca_mutator *m);

/**
 * gca_port_gate_wait() - sleep until the gate is open
 * @a: arena
 *
 * Return: 0, -EINTR if the caller was killed, -ESRCH if the arena died.
 */
int gca_port_gate_wait(struct gca_arena *a);
void gca_port_gate_wake(struct gca_arena *a);

/** gca_port_quiesce() - sleep until no operation is open; the gate is closed */
void gca_port_quiesce(struct gca_arena *a);

/**
 * gca_port_relax() - a scheduling point of a long loop
 * @a: arena
 *
 * Return: true if the caller should give up: it was killed or the arena dies.
 */
bool gca_port_relax(struct gca_arena *a);

/** gca_port_missed() - there is work for the pager, if one serves */
void gca_port_missed(struct gca_arena *a);

/**
 * gca_port_work() - there is work for a worker that has none
 * @a: arena
 *
 * May be called in an operation, not inside a window.
 */
void gca_port_work(struct gca_arena *a);

/**
 * gca_port_kick() - a cycle is due: have the coordinator run it
 * @a: arena
 *
 * Return: false if nobody would: then the caller's library is to ask for one.
 */
bool gca_port_kick(struct gca_arena *a);

/**
 * gca_port_alone() - the conductor, who is not lent, does by itself what takes longer the larger
 *	the heap is
 * @a: arena
 * @begins: else it has ended
 *
 * It sweeps what workers have not, or clears marks; and the owner can have cycles fail as often as
 * it likes.  Where that is not the owner's time, the port is to have no such cycles one after
 * another but those that gca_cycle_needed().
 */
void gca_port_alone(struct gca_arena *a, bool begins);

/** gca_port_cpu() - processor time so far of the owner's threads, and of all who mark for it, ns */
u64 gca_port_cpu(struct gca_arena *a);

/** gca_port_cpu_self() - processor time of the calling thread, from some time on, ns */
u64 gca_port_cpu_self(void);

/** gca_port_return() - pages are due in @due ns: wake the pager, if it would sleep for longer */
void gca_port_return(struct gca_arena *a, u64 due);

/** gca_port_hurry() - a thread waits: workers that gca_turn_begin() turned away are to ask again */
void gca_port_hurry(struct gca_arena *a);

/** gca_port_idle() - the last marker has ended, or the last span is swept */
void gca_port_idle(struct gca_arena *a);

/**
 * gca_port_run_workers() - let the port's workers do gca_arena.work
 * @a: arena
 * @until: of gca_port_now(); or some time later
 *
 * Returns when gca_work_idle(), or when the caller should look up: the cycle has
 * become void, it is late, the arena dies; or, with GCA_WORK_SWEEP_IDLE, the port has anything
 * else for its coordinator to do.
 */
void gca_port_run_workers(struct gca_arena *a, u64 until);

/**
 * gca_port_crew_get() - have workers, and keep them
 * @a: arena
 *
 * By a conductor that does not mark itself, with nothing held; not nested.
 * Sets gca_arena.processors, .crew and .marks_idle.  Return: 0, -ENODEV if there can be none: then
 * the owner's threads must mark; or the errno that COLLECT reports.
 */
int gca_port_crew_get(struct gca_arena *a);
void gca_port_crew_put(struct gca_arena *a);

/**
 * gca_port_crew_ready() - a stop is about to begin that may have work for the crew in it
 * @a: arena
 *
 * Within a step.  So that the owner's threads are not stopped for the time in which a worker wakes
 * up, it may wait for one; not for long.
 */
void gca_port_crew_ready(struct gca_arena *a);

/**
 * gca_port_step_begin() - a step of a cycle begins: nobody else's can
 * @a: arena
 *
 * By the same, with nothing held but the crew.  Threads that have ended are detached, and
 * knobs stand still until gca_port_step_end().  Return: 0, or the errno that COLLECT
 * reports.
 */
int gca_port_step_begin(struct gca_arena *a);
void gca_port_step_end(struct gca_arena *a);

/**
 * gca_port_sleep() - until a word is no longer 0, or for a while
 * @a: arena
 * @word: in the core's memory, written before gca_port_wake()
 * @ns: at most, or some milliseconds more
 *
 * In the owner's context, with nothing held.
 */
void gca_port_sleep(struct gca_arena *a, const u32 *word, u64 ns);
void gca_port_wake(u32 *word);

/** gca_port_looks() - does a thread of the owner's look after the plain roots? */
bool gca_port_looks(struct gca_arena *a);

/**
 * gca_port_look() - have it look
 * @a: arena
 * @what: GCARENA_SERVE_REFRESH: are all there and told? with GCARENA_SERVE_HOLD: and none is
 *	to come, if that can be done, until GCARENA_SERVE_COMPARE: has none come since?
 *
 * By the same, with nothing held.  COMPARE is for who has looked before.  Return: 0, also if
 * nobody looks; 1 if some have come, or if who was asked to REFRESH cannot be asked any more; or
 * the errno that COLLECT reports.
 */
int gca_port_look(struct gca_arena *a, u32 what);

/**
 * gca_port_pager_scans() - does a pager take the missed objects?
 * @a: arena
 *
 * Return: true after the pager has scanned them all (the caller has slept);
 * false if there is none and the caller must do it.
 */
bool gca_port_pager_scans(struct gca_arena *a);

/* Points of interest, for tracepoints.  May be empty. */
enum gca_trace {
	GCA_TRACE_CYCLE_START,	/* cycle number, heap_live */
	GCA_TRACE_CYCLE_END,	/* cycle number, bytes marked */
	GCA_TRACE_PHASE,	/* phase, cycle number */
	GCA_TRACE_STOP_BEGIN,	/* cycle number, threads */
	GCA_TRACE_STOP_END,	/* cycle number, ns */
	GCA_TRACE_SLICE,	/* objects, bytes */
	GCA_TRACE_MISS,		/* objects, leaves */
	GCA_TRACE_OVERFLOW,	/* heap page, spans */
	GCA_TRACE_SWEEP_DONE,	/* cycle number, bytes freed */
	GCA_TRACE_VOID,		/* cycle number, reason */
	GCA_TRACE_PACE,		/* cycle number, goal: a cycle has ended, the world runs */
	GCA_TRACE_REFILL,	/* span class, spans */
	GCA_TRACE_LARGE,	/* bytes, address */
	GCA_TRACE_GROW,		/* chunk, metadata bytes */
};

void gca_port_trace(struct gca_arena *a, enum gca_trace what, u64 x, u64 y);

#endif /* GCA_CORE_PORT_H */
