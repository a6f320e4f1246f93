/* SPDX-License-Identifier: MIT */
/*
 * world.h: what the files of the process backend share: an arena, its attached
 * threads, and the threads that collect for it.
 *
 *	backend.c	the requests of struct gca_backend
 *	crew.c		coordinator and workers
 *	stop.c		threads attach; the world stops, and runs again
 *	port.c		memory, time, complaints; nothing of the above
 *
 * Core never sees this: it hangs at gca_arena.port.  Where that is NULL (unit tests)
 * the port is another, selftests/unit/bare.c, with port.c alone of this directory.
 */
#ifndef GCA_PROCESS_WORLD_H
#define GCA_PROCESS_WORLD_H

#include "core.h"
#include "request.h"
#include "../backend.h"

#define GCA_KNOWN_PAGES	1024
#define GCA_AGE_LIMIT	60000000000ULL	/* of a cycle, ns; sanitizers are slow */
#define GCA_WORKERS_MAX	7	/* beside the coordinator, who works, too */
/* Not under TSan: its runtime does not bear the collector in a handler, see stop.c. */
#ifdef GCA_TSAN
#define GCA_LAZY	false
#else
#define GCA_LAZY	true
#endif
#define GCA_MEMBER_BYTES 4096	/* of struct gca_member, before its mutator area */

/*
 * What runs in the stop signal's handler.  TSan's runtime may be what was interrupted.
 */
#define GCA_UNWATCHED	__attribute__((__no_sanitize__("thread")))

/**
 * struct gca_member - an attached thread
 * @core: the collector's
 * @process: whose
 * @sibling: in the thread's own list: it is attached to several arenas
 * @refs: the thread, and who scans its stack
 * @bytes: of the mutator area, which follows in the same mapping
 * @tid: its number
 * @held: it is in a call of ours, or parked in the handler: it executes no instruction
 *	of its own before it has seen @wanted zero.  Written by the thread alone
 * @wanted: a stop is under way; GCA_ASLEEP: and the thread sleeps on this word
 * @busy: the thread looks at @process; who closes the arena waits for that
 * @closed: it is being closed; GCA_CLOSED: @process is gone, the thread gives this back
 * @left: how often the thread has ceased to be held
 * @seen: @left, as @sp and @regs were taken from it; belongs to who has its root job
 * @dead: it has ended without detaching
 * @sp: its stack pointer as it became @held
 * @regs: and its callee-saved registers; the others lie above @sp
 */
struct gca_member {
	struct gca_mutator core;
	struct gca_process *process;
	struct gca_member *sibling;
	atomic_t refs;
	size_t bytes;
	int tid;
	u32 held, wanted, busy, closed, left, seen, dead;
	u64 sp;
	u64 regs[6];
};

enum { GCA_RUNS, GCA_WANTED, GCA_ASLEEP };	/* @wanted */
enum { GCA_OPEN, GCA_CLOSING, GCA_CLOSED };	/* @closed */

/** struct gca_page - @n bytes at @start of a root, as a thread of ours read it in stop @stop */
struct gca_page {
	u64 stop, start, n;
	u64 word[2048];
};

/**
 * struct gca_hand - a thread that marks
 * @turn: its leave to do so
 * @shy: after its processor was taken from it in mode idle: how long it stays away, ns
 * @shy_until: by gca_port_now()
 * @quiet: marked in mode idle since then, ns
 */
struct gca_hand {
	struct gca_turn turn;
	u64 shy, shy_until, quiet;
};

/**
 * struct gca_process - an arena of this backend
 * @arena: the core's
 * @next_id: of mutators, under @lock
 * @pid: of the process that opened it
 * @signal: that stops threads
 * @arrived: threads that became held while wanted; the stopper sleeps on it
 * @stopped: the world is; written by the stopper alone, as is
 * @nr_stops: how often it was
 * @blame: the thread that was last not held in time
 * @reader: thread that @known is for: the one inside the stop
 * @known: pages that it has read in this stop, by gca_port_copy(); 0: none
 * @layout_lock: a layout is added; alone
 * @cycle_lock: one cycle at a time, and no knob is turned in it; before @lock
 * @lock: protects what follows; under it no lock of the core's is taken
 * @dying: the arena is being destroyed; also read without
 * @wanted: to the coordinator: a request, a kick, the end
 * @work: to workers: there is something to do
 * @turn: to workers that are not to mark just now: the world stops
 * @idle: to the coordinator: nobody works any more
 * @done: to those who wait for a cycle
 * @gate: the gate has opened
 * @pager: to who serves: free pages, a look, the end
 * @looked: to the coordinator: the pager has answered
 * @requests: COLLECTs that wait, oldest first
 * @kicked: the trigger was reached; also read without, as is
 * @coordinator: a thread; @worker: others, @nr_workers of them; @has_coordinator
 * @coordinator_ns: processor time of the former
 * @hand: the coordinator's
 * @working: gca_port_run_workers() runs; also read without, as
 * @want: workers that are to help, and
 * @asleep: those that wait for work
 * @busy: workers at work
 * @serving: a thread is in SERVE
 * @looks: it promised to look after the plain roots; also read without
 * @look: what is asked of it
 * @poke: it has something to look at
 * @runs_until: when the pager will look for runs to return, by gca_port_now(), at the latest;
 *	also read without
 * @lent: free runs handed out by SERVE
 */
struct gca_process {
	struct gca_arena arena;
	u32 next_id;
	int pid;
	int signal;
	u32 arrived;
	bool stopped;
	u64 nr_stops;
	int blame;
	pthread_t reader;
	u64 known[GCA_KNOWN_PAGES];

	pthread_mutex_t layout_lock, cycle_lock, lock;
	bool dying;
	pthread_cond_t wanted, work, turn, idle, done, gate, pager, looked;
	struct list_head requests;
	bool kicked;
	pthread_t coordinator, worker[GCA_WORKERS_MAX];
	bool has_coordinator;
	unsigned int nr_workers;
	u64 coordinator_ns;
	struct gca_hand hand;
	bool working;
	unsigned int want, asleep, busy;
	bool serving, looks, poke;
	struct gca_look look;
	u64 runs_until;
	struct gca_lent lent;
};

/* port.c */
int gca_gettid(void);
bool gca_port_reads(void);
bool gca_mapping_of(u64 addr, u64 *lo, u64 *hi);
void gca_port_page(struct gca_page *page);
void gca_port_page_forget(void);

/* stop.c */
void gca_call_enter(void);
void gca_call_leave(void);

/** struct gca_call - what a request changes of its thread for its time */
struct gca_call {
	struct gcl_signals signals;
	int cancel;
};

/*
 * A request begins: the core's locks are not for handlers, which may allocate, and waiting
 * is not for a cancellation, which would unwind it.  Also for threads that are not attached.
 * Inlined: what gca_call_enter() finds in registers, or its caller has saved, is the
 * program's.
 */
static __always_inline struct gca_call gca_call_begin(void)
{
	struct gca_call c = { gcl_block(), 0 };

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &c.cancel);
	gca_call_enter();
	return c;
}

static __always_inline void gca_call_end(struct gca_call c)
{
	gca_call_leave();
	pthread_setcancelstate(c.cancel, NULL);
	gcl_restore(c.signals);
}

struct gca_member *gca_member_mine(const struct gca_process *p, u32 id);
int gca_member_attach(struct gca_process *p, struct gcarena_attach *req,
		      struct gcarena_mutator **area);
int gca_member_detach(struct gca_member *m);
void gca_members_reap(struct gca_process *p);
void gca_members_forget(void);
u32 gca_blame(struct gca_process *p);
void gca_members_close(struct gca_process *p);
void gca_park(void);

/* crew.c */
int gca_crew_start(struct gca_process *p);
void gca_crew_end(struct gca_process *p);
void gca_crew_join(struct gca_process *p);
void gca_wait(struct gca_process *p, pthread_cond_t *c, u64 ns);
void gca_coordinator_look(struct gca_process *p);
int gca_request(struct gca_process *p, const struct gca_order *o, struct gcarena_collect *req);
void gca_pager_comes(struct gca_process *p, u32 flags);

#ifdef GCA_TEST_FAIL
/* Allocations that still succeed; below zero: all do.  Tests count it down. */
extern long gca_test_fail_after;
#endif

#endif /* GCA_PROCESS_WORLD_H */
