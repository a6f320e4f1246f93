/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * glue.h: the module's own data structures and the functions its files share.
 *
 * Who holds a reference on whom
 * -----------------------------
 * A struct file owns a struct gca_shell; ->release frees it and nothing else
 * does.  The shell is small.  What is large or binds others (the collector's
 * struct gca_arena and its metadata, the mutators, the struct gca_process) goes
 * at the arena's *death*, which comes earlier: when the control mapping is
 * closed (exit, exec, munmap), by DESTROY, or at the latest by ->release.  So
 * whatever pins the file (a heap mapping in a forked child, a passed descriptor)
 * pins a shell only.
 *
 *	file -> gca_shell -> gca_arena, gca_thread, pages	until death
 *			  -> gca_process -> mm_struct (mm_count), gca_user
 *			  -> gca_stats (a kobject that knows nothing of the arena)
 *
 * gca_shell.active counts those who use what dies: one for being alive, and one
 * a call.  The last one to go queues the work item that frees.
 *
 * Locks are described at the top of arena.c.
 */
#ifndef GCA_GLUE_H
#define GCA_GLUE_H

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>
#include <linux/rculist.h>
#include <linux/task_work.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "core.h"
#include "request.h"

struct task_struct;

/* ---------------------------------------------------------------- processes */

/**
 * struct gca_user - what one user (kuid) has; under gca_processes_lock, but for @workers
 * @link: in the list of users
 * @uid: who
 * @refs: processes of this user
 * @arenas: live arenas
 * @reserve: bytes of address space in them
 * @workers: kernel threads of these processes that have not left
 */
struct gca_user {
	struct list_head link;
	kuid_t uid;
	unsigned int refs;
	unsigned int arenas;
	u64 reserve;
	atomic_t workers;
};

#define GCA_WORKERS_MAX	64	/* of a process */

struct gca_worker_thread;
struct gca_shell;

/* Module parameter idle. */
enum { GCA_IDLE_OFF, GCA_IDLE_PLAIN, GCA_IDLE_HOOK };

/**
 * struct gca_offer - a worker that would mark on an idle processor, see idle.c
 * @link: among those that nobody has taken
 * @task: the worker
 * @taken: a processor has
 */
struct gca_offer {
	struct list_head link;
	struct task_struct *task;
	bool taken;
};

/**
 * struct gca_process - one mm that has arenas
 * @link: in the table of processes, under gca_processes_lock
 * @refs: arenas that point here, under gca_processes_lock
 * @mm: held by mm_count (mmgrab): identity, not memory
 * @user: who is charged
 * @lock: protects @shells, @wish and the choice of @engine
 * @shells: live arenas
 * @wish: GCARENA_CREATE_* of the first arena
 * @engine: enum gcarena_engine
 * @tasks_lock: protects @tasks and what is in them, but for gca_task.inside
 * @tasks: struct gca_task of the attached threads, hashed by task; read under RCU
 * @leader: of its thread group; held, for what outlives its threads
 * @followed: does another thread group have the memory? bit 0; the rest is when that was so
 * @coordinator: the thread that runs cycles, or NULL; made under crew_mutex, held
 * @coord_wq: it sleeps here
 * @wanted: some arena wants something of it
 * @coordinator_ns: CPU time it has used
 * @alone_since: of that, when it began to do something by itself; its own
 * @rest_until: it begins no cycle before that no heap needs; see gca_port_alone()
 * @timed: when it last began a cycle whose time had come, in jiffies; its own
 * @worker: those that mark, by number; written under crew_mutex, and in a cycle by the coordinator
 *	alone, who reads it without
 * @nr_workers: how many
 * @in_cycle: they are needed; written under crew_mutex or by the coordinator
 * @work_lock: protects @working, which is also read without, as is
 * @working: the arena whose work the workers do, or NULL
 * @work_round: grows when they are given work
 * @summons: enum gca_summons, to one of them: there is going to be some.  Set by the coordinator,
 *	answered by cmpxchg
 * @awake_until: so long it waits for that, awake
 * @work_wq: they sleep here
 * @turn_wq: those who are not to mark just now do so here
 * @hurries: grows when they are to ask again
 * @hook: gca_idle_get() has been called; written by the coordinator, and at the end
 * @idle_kicks: offers of theirs that were taken
 * @idle_yields: times that one left an idle processor to others
 * @idle_raised: times that one had lost its processor with work in hand, see worker.c
 * @signal_stops: stops under way with the signal engine, see stop.c
 * @hold_wq: threads inside a call wait here for their end
 * @arrive_wq: a stop waits here for threads to arrive
 */
struct gca_process {
	struct hlist_node link;
	unsigned int refs;
	struct mm_struct *mm;
	struct gca_user *user;
	struct mutex lock;		/* arenas and engine */
	struct list_head shells;
	u32 wish;
	u32 engine;
	spinlock_t tasks_lock;		/* attached threads */
	DECLARE_HASHTABLE(tasks, 6);
	struct task_struct *leader;
	u64 followed;
	struct task_struct *coordinator;
	wait_queue_head_t coord_wq;
	bool wanted;
	u64 coordinator_ns, alone_since, rest_until;
	unsigned long timed;
	struct gca_worker_thread *worker[GCA_WORKERS_MAX];
	unsigned int nr_workers;
	bool in_cycle;
	spinlock_t work_lock;		/* working */
	struct gca_shell *working;
	u32 work_round;
	u32 summons;
	u64 awake_until;
	wait_queue_head_t work_wq;
	wait_queue_head_t turn_wq;
	atomic_t hurries;
	bool hook;
	atomic64_t idle_kicks, idle_yields, idle_raised;
	atomic_t signal_stops;
	wait_queue_head_t hold_wq;
	wait_queue_head_t arrive_wq;
};

/**
 * struct gca_task - a thread of a process, attached to one arena of it or more
 * @link: in gca_process.tasks
 * @rcu: frees it
 * @task: held by its struct gca_thread
 * @threads: what it is attached to
 * @inside: it is in one of our calls; written by the thread alone
 */
struct gca_task {
	struct hlist_node link;
	struct rcu_head rcu;
	struct task_struct *task;
	struct list_head threads;
	bool inside;
};

/* ------------------------------------------------------------------ arenas */

enum gca_state {
	GCA_STATE_NEW,		/* open; CREATE has not been called */
	GCA_STATE_CREATING,	/* a CREATE runs; back to NEW if it fails */
	GCA_STATE_LIVE,
	GCA_STATE_DYING,	/* no new users; the present ones are on their way out */
	GCA_STATE_DEAD,		/* everything but the shell is gone */
};

/**
 * struct gca_pages - zeroed pages that the kernel and the owner both see
 * @n: pages
 * @page: each of them, order 0, charged to the owner's memory cgroup
 * @addr: the kernel's mapping
 */
struct gca_pages {
	unsigned int n;
	struct page **page;
	void *addr;
};

/**
 * struct gca_thread - a thread attached to an arena: the core's mutator and its area
 * @refs: one for being attached, one a running mmap or fault, one a queued @work
 * @core: the collector's part; dead after detach
 * @shell: the arena; pinned by @file
 * @file: a reference on it, so that a queued @work finds the module there
 * @task: held by get_task_struct(); the only one that may act as this mutator
 * @gt: the thread in its process; until detach
 * @on_task: in gca_task.threads; read under RCU by the thread itself
 * @pages: the mutator area
 * @regs: three times gca_regs_bytes(); two belong to who has claimed the root job, the
 *	third to the thread
 * @counted: its critical sections are counted, not restartable
 * @queued: @work is queued, and will look at the generation
 * @work: see stop.c
 * @rcu: it is freed so, for who reads @on_task
 */
struct gca_thread {
	refcount_t refs;
	struct gca_mutator core;
	struct gca_shell *shell;
	struct file *file;
	struct task_struct *task;
	struct gca_task *gt;
	struct list_head on_task;
	struct gca_pages pages;
	void *regs;
	bool counted;
	u32 queued;
	struct callback_head work;
	struct rcu_head rcu;
};

/**
 * struct gca_shell - an open file
 * @state: enum gca_state; CREATING and back by cmpxchg, then under @map_lock
 * @active: see above; 0 before CREATE and after death
 * @refs: the file, and from CREATE on the death: who frees the shell
 * @death: frees what dies; on gca_wq
 * @dead: completed by @death
 * @mm: the owner's, for comparison only; set before LIVE
 * @owner: thread group that waits for the death in ->release; held; NULL before CREATE
 * @process: until death
 * @link: in @process->shells, under @process->lock
 * @a: the collector; until death
 * @id: opaque number
 * @reserve: bytes charged to the user
 * @stats: our reference is dropped with the last of @refs
 * @control: the control page; until death
 * @lock: layouts, roots, configuration
 * @conduct_lock: somebody conducts a cycle; outside @cycle_lock
 * @cycle_lock: a step of a cycle runs, so that an attach waits for its end
 * @map_lock: @state, and the mapping state below
 * @heap_mapped: the heap has been mapped, see gca_map_heap()
 * @control_vmas: the owner's mappings of the control page; 0 again: death
 * @control_mapped: it has been mapped
 * @threads: struct gca_thread by id; changes under @cycle_lock, its own lock is for
 *	those who look one up
 * @nr_threads: how many
 * @next_id: of the next mutator
 * @stop_gen: stops begun
 * @stop_rel: stops over; else one is under way
 * @stop_engine: its enum gcarena_engine
 * @stop_signal: of the signal engine
 * @blame: id of the last thread that was not held in time
 * @held: threads held by all stops
 * @held_asleep: of them, those that slept
 * @hold_wq: threads held by task work sleep here
 * @gate_wq: waits for the gate and for its operations
 * @req_lock: protects @requests
 * @requests: COLLECTs that the coordinator has not taken yet
 * @kicked: the trigger has been reached and the coordinator told
 * @privileged: made by a thread with CAP_SYS_RESOURCE
 * @pager_lock: the following
 * @pager: the thread in SERVE, or NULL
 * @server: the last one that came to sleep there; held; NULL: never
 * @looks: it looks after the plain roots
 * @look: what is asked of it
 * @stand_ins: COLLECT's callers that scan if no pager does
 * @pager_ready: the pager sleeps, scans, or waits at the gate: it can be asked
 * @scanning: it, or a stand-in, scans
 * @scan_wanted: scans asked of it
 * @scan_done: scans it has finished, or that are no longer wanted
 * @runs_until: when the pager will look for runs to return, by gca_port_now(), at the latest
 * @kicks: times that it was told to look earlier
 * @pager_wq: it sleeps here; so do poll and read
 * @scan_wq: COLLECT waits here for @scan_done
 * @lent: belongs to @pager
 */
struct gca_shell {
	int state;
	refcount_t active, refs;
	struct work_struct death;
	struct completion dead;
	struct mm_struct *mm;
	struct pid *owner;
	struct gca_process *process;
	struct list_head link;
	struct gca_arena *a;
	u64 id;
	u64 reserve;
	struct gca_stats *stats;
	struct gca_pages control;

	struct mutex lock;		/* layouts, roots, configuration */
	struct mutex conduct_lock;	/* a cycle, from its first step to its last */
	struct mutex cycle_lock;	/* a step of it; attach and detach */

	spinlock_t map_lock;		/* and the state */
	bool heap_mapped;
	bool control_mapped;
	unsigned int control_vmas;

	struct xarray threads;
	u32 nr_threads;
	u32 next_id;

	u64 stop_gen, stop_rel;
	u32 stop_engine;
	int stop_signal;
	u32 blame;
	u64 held, held_asleep;
	wait_queue_head_t hold_wq;

	wait_queue_head_t gate_wq;

	spinlock_t req_lock;		/* requests */
	struct list_head requests;
	bool kicked;
	bool privileged;

	spinlock_t pager_lock;		/* who serves, and what is asked */
	struct task_struct *pager, *server;
	bool looks;
	struct gca_look look;
	unsigned int stand_ins;
	bool pager_ready, scanning;
	u64 scan_wanted, scan_done;
	u64 runs_until;
	u32 kicks;
	wait_queue_head_t pager_wq;
	wait_queue_head_t scan_wq;
	struct gca_lent *lent;
};

/* Offsets in the file: told to the user, who must not compute them. */
#define GCA_HEAP_OFFSET		0ULL
#define GCA_CONTROL_OFFSET	BIT_ULL(42)
#define GCA_MUTATOR_OFFSET	BIT_ULL(43)	/* plus id * GCA_MUTATOR_STRIDE */
#define GCA_MUTATOR_STRIDE	BIT_ULL(24)

/* What CREATE set before LIVE is visible to who sees LIVE. */
static inline int gca_shell_state(const struct gca_shell *s)
{
	return smp_load_acquire(&s->state);	/* pairs with gca_ioc_create() */
}

/* Whose the collector is. */
static inline struct gca_shell *gca_shell_of(const struct gca_arena *a)
{
	return a->port;
}

static inline bool gca_shell_dying(const struct gca_shell *s)
{
	return READ_ONCE(s->state) > GCA_STATE_LIVE;
}

/**
 * struct gca_call - one ioctl
 * @file: what it was called on
 * @uarg: the caller's structure
 * @usize: its size, checked
 * @ksize: ours
 * @copied: the reply has been copied out; the dispatcher need not do it
 * @u: our copy
 */
struct gca_call {
	struct file *file;
	void __user *uarg;
	u32 usize, ksize;
	bool copied;
	union {
		struct {
			u32 size, flags;
		};
		struct gcarena_info info;
		struct gcarena_create create;
		struct gcarena_attach attach;
		struct gcarena_detach detach;
		struct gcarena_refill refill;
		struct gcarena_large large;
		struct gcarena_settle settle;
		struct gcarena_layout layout;
		struct gcarena_roots roots;
		struct gcarena_collect collect;
		struct gcarena_config config;
		struct gcarena_stats stats;
		struct gcarena_serve serve;
		struct gcarena_destroy destroy;
	} u;
};

#ifdef GCA_HAVE_TASK_WORK
#define GCA_F_TASKWORK	GCARENA_F_STOP_TASKWORK
#else
#define GCA_F_TASKWORK	0
#endif

/* What INFO says and CREATE may ask for. */
#define GCA_FEATURES	((IS_ENABLED(CONFIG_RSEQ) ? GCARENA_F_RSEQ : 0) | GCA_F_TASKWORK | \
			 GCARENA_F_STOP_SIGNAL | GCARENA_F_THREADS | GCARENA_F_WORKERS)

/* main.c */
extern struct workqueue_struct *gca_wq;

/* params.c */
extern unsigned int gca_level, gca_max_arenas, gca_max_reserve_gib;
extern unsigned int gca_stop_deadline_us, gca_age_limit_ms, gca_debug, gca_stop, gca_idle;
extern unsigned int gca_workers, gca_max_workers, gca_max_user_workers, gca_attach_rate;

/** gca_age_limit_ns() - of a cycle, where who asks for it says none */
static inline u64 gca_age_limit_ns(void)
{
	return (u64)READ_ONCE(gca_age_limit_ms) * NSEC_PER_MSEC;
}

/* chardev.c */
int gca_chardev_init(void);
void gca_chardev_exit(void);
int gca_call_out(struct gca_call *c);

/* arena.c */
struct gca_shell *gca_shell_new(void);
void gca_shell_release(struct gca_shell *s);
void gca_shells_end(void);
int gca_shell_get(struct gca_shell *s);
bool gca_shell_tryget(struct gca_shell *s);
void gca_shell_put(struct gca_shell *s);
void gca_shell_die(struct gca_shell *s);
int gca_ioc_info(struct gca_shell *s, struct gca_call *c);
int gca_ioc_create(struct gca_shell *s, struct gca_call *c);
int gca_ioc_destroy(struct gca_shell *s, struct gca_call *c);

/* roots.c */
int gca_ioc_layout(struct gca_shell *s, struct gca_call *c);
int gca_ioc_roots(struct gca_shell *s, struct gca_call *c);
int gca_ioc_config(struct gca_shell *s, struct gca_call *c);

/* map.c */
int gca_pages_init(struct gca_pages *p, size_t bytes);
void gca_pages_fini(struct gca_pages *p);
int gca_mmap(struct file *file, struct vm_area_struct *vma);
bool gca_mapped(struct gca_shell *s);

/* process.c */
struct gca_process *gca_process_get(struct mm_struct *mm, u64 reserve);
void gca_process_put(struct gca_process *p, u64 reserve);
unsigned int gca_process_arenas_left(void);
void gca_process_add(struct gca_process *p, struct gca_shell *s);
void gca_process_del(struct gca_process *p, struct gca_shell *s);
u32 gca_engine_default(u32 wish);
int gca_process_wish(struct gca_process *p, u32 wish, bool commit);
int gca_process_engine(struct gca_process *p, bool counted);
struct gca_task *gca_task_find(struct gca_process *p, struct task_struct *task);
int gca_task_join(struct gca_process *p, struct gca_thread *t);
void gca_task_leave(struct gca_process *p, struct gca_thread *t);
bool gca_attached(struct gca_shell *s);
bool gca_task_ours(struct task_struct *task, const struct mm_struct *mm);

/* stop.c */
void gca_hold_init(struct gca_thread *t);
void gca_fence_cpu(void *unused);
u32 gca_blame(struct gca_shell *s);
void gca_inside_enter(struct gca_process *p);
void gca_inside_leave(struct gca_process *p);

/* regs.c */
void gca_regs_init(void);
size_t gca_regs_bytes(void);

/* mutator.c */
struct gca_thread *gca_thread_mine(struct gca_shell *s, u32 id);
struct gca_thread *gca_thread_get(struct gca_shell *s, u32 id);
void gca_thread_put(struct gca_thread *t);
void gca_thread_kill(struct gca_shell *s);
int gca_threads_reap_clocked(struct gca_shell *s);
int gca_ioc_attach(struct gca_shell *s, struct gca_call *c);
int gca_ioc_detach(struct gca_shell *s, struct gca_call *c);
int gca_ioc_refill(struct gca_shell *s, struct gca_call *c);
int gca_ioc_large(struct gca_shell *s, struct gca_call *c);
int gca_ioc_settle(struct gca_shell *s, struct gca_call *c);

/* lent.c */
int gca_ioc_collect(struct gca_shell *s, struct gca_call *c);

/* coordinator.c */
int gca_coordinator_get(struct gca_process *p);
void gca_coordinator_put(struct gca_process *p);
void gca_coordinator_look(struct gca_process *p);
bool gca_must_lend(struct gca_shell *s);
void gca_requests_end(struct gca_shell *s);
int gca_collect_wait(struct gca_shell *s, const struct gca_order *o, struct gcarena_collect *arg);

/* idle.c */
int gca_idle_get(void);
void gca_idle_put(void);
void gca_idle_exit(void);
bool gca_idle_offer(struct gca_offer *o);
bool gca_idle_withdraw(struct gca_offer *o);
bool gca_idle_alone(void);

/* worker.c */
void gca_crew_lock(void);
void gca_crew_unlock(void);
void gca_crew_dismiss(struct gca_process *p);
void gca_crew_look(struct gca_process *p);
void gca_crew_end(struct gca_process *p);
bool gca_owner_exiting(struct gca_process *p);
bool gca_owner_parked(struct gca_process *p);

/* serve.c */
int gca_ioc_serve(struct gca_shell *s, struct gca_call *c);
bool gca_serve_scan(struct gca_shell *s);
void gca_serve_ask(struct gca_shell *s);
int gca_serve_gate_wait(struct gca_shell *s);
bool gca_serve_present(struct gca_shell *s);
bool gca_leaves_for_freezer(struct gca_shell *s);
void gca_stand_in_begin(struct gca_shell *s);
int gca_stand_in(struct gca_shell *s, const bool *done);
bool gca_serve_pending(struct gca_shell *s);

/* stats.c */
int gca_stats_init(void);
void gca_stats_exit(void);
struct gca_stats *gca_stats_new(u64 id);
void gca_stats_bind(struct gca_stats *o, struct gca_shell *s);
void gca_stats_del(struct gca_stats *o);
void gca_stats_free(struct gca_stats *o);
void gca_stats_take(struct gca_shell *s, struct gcarena_stats *st);
bool gca_stats_wishes(struct gca_shell *s);
void gca_stats_fdinfo(struct gca_stats *o, struct seq_file *m);
int gca_ioc_stats(struct gca_shell *s, struct gca_call *c);

#endif /* GCA_GLUE_H */
