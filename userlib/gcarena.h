/* SPDX-License-Identifier: MIT */
/*
 * <gcarena.h>: a garbage-collected heap for a process.
 *
 * An *arena* is one managed heap.  A thread that *attaches* to it gets a
 * *mutator*, its handle for allocating.  Objects are found live from the
 * thread's stack, registers and thread-local storage, from the data and bss of
 * the loaded objects and from the ranges given to gca_root_add(); everything
 * else is garbage and its memory is used again.  Objects never move.
 *
 * Rules a program must keep:
 *
 *  - a pointer to a managed object that is the only one must be in a managed
 *    object, where its layout says "pointer", or in a root.  Memory from
 *    malloc() is not a root;
 *  - a pointer that is stored into a managed object, or into a range added
 *    without GCA_ROOT_PLAIN, is stored with gca_store().  Only a word that is
 *    still zero since the allocation may be stored to plainly.  No memcpy(),
 *    memset() or struct assignment over pointers that were stored before.  A
 *    thread stores plainly to its own locals and TLS, but not to another's;
 *  - a mutator belongs to the thread that attached it.
 *
 * Functions that return a pointer return NULL, those that return an int -1, and
 * set errno; gca_strerror() then has a sentence that says what to do.
 *
 * C11, clean under C++.  Not for 32-bit programs.
 */
#ifndef GCARENA_H
#define GCARENA_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/gcarena.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GCA_API	__attribute__((__visibility__("default")))

struct gca_arena;
struct gca_mutator;
struct gca_layout;

/* ------------------------------------------------------------------- arenas */

#define GCA_NO_PLAIN_ROOTS	(1U << 0)	/* data and bss are not roots */
#define GCA_NO_TLS_ROOTS	(1U << 1)	/* nor is thread-local storage */
#define GCA_NO_PAGER		(1U << 2)	/* the program calls gca_serve() itself */
#define GCA_NO_AUTO_COLLECT	(1U << 3)	/* only gca_collect() collects, and who finds no room */
#define GCA_INSERTION		(1U << 4)	/* stores record the new value, too */

/**
 * enum gca_stop - how the threads of the process are stopped
 * @GCA_STOP_AUTO: $GCARENA_STOP, else as the module thinks best
 * @GCA_STOP_SIGNAL: by a signal, whose handler the library installs
 * @GCA_STOP_TASKWORK: by the kernel alone, where it can: nobody is woken, no system
 *	call fails with EINTR.  Not for threads without rseq
 */
enum gca_stop {
	GCA_STOP_AUTO,
	GCA_STOP_SIGNAL,
	GCA_STOP_TASKWORK,
};

/**
 * struct gca_options - how to open an arena; all zero: the defaults
 * @flags: GCA_NO_*, GCA_INSERTION
 * @backend: "auto", "kernel" or "process"; NULL: $GCARENA_BACKEND, else auto
 * @device: NULL: /dev/gcarena
 * @reserve: bytes of address space, a power of two; 0: 64 GiB or what there is
 * @percent: heap growth before the next cycle; 0: $GCARENA_PERCENT, else 100
 * @heap_min: bytes below which no cycle starts by itself; 0: $GCARENA_HEAP_MIN, else 4 MiB
 * @memory_limit: bytes, see GCA_MEMORY_LIMIT; 0: $GCARENA_MEMLIMIT, else none
 * @debug: as $GCARENA_DEBUG, which it replaces: words separated by commas:
 *	checkmark, clobber, overflow, miss, stopped, stress=N
 * @features: GCARENA_F_* the module must have
 * @stop_signal: signal of the signal engine; 0: SIGURG.  Its handler belongs to the
 *	library from the first gca_attach() on; the one before is called by it
 * @stop: enum gca_stop; the same for all arenas of a process
 * @__reserved: 0
 */
struct gca_options {
	uint32_t flags;
	uint32_t stop_signal;
	const char *backend;
	const char *device;
	uint64_t reserve;
	uint64_t percent;
	uint64_t heap_min;
	uint64_t memory_limit;
	const char *debug;
	uint64_t features;
	uint32_t stop;
	/* private: must be 0 */
	uint32_t __reserved;
};

/**
 * gca_open() - make an arena
 * @options: NULL: the defaults
 *
 * errno: ENODEV the module is not loaded, EACCES no permission for the device,
 * EPERM the module does not let this user have arenas, EOPNOTSUPP a feature or the
 * way to stop threads that was asked for is missing, EBUSY another arena of the
 * process asked for another way (the module says so), EUSERS too many arenas or too
 * much address space, EINVAL an option or a variable of the environment makes no sense,
 * ENOMEM.
 */
GCA_API struct gca_arena *gca_open(const struct gca_options *options);

/**
 * gca_close() - destroy an arena: every object is gone
 * @arena: the arena, or NULL
 *
 * No thread may be inside a call on it.  Attached mutators are gone, too, those of
 * other threads included.
 */
GCA_API void gca_close(struct gca_arena *arena);

/**
 * gca_attach() - make the calling thread a mutator
 * @arena: the arena
 *
 * Attach in the thread's outermost function, or below every frame that will
 * hold the only pointer to an object: the whole stack is scanned anyway.  A
 * pointer handed to a new thread must be held by a root until the thread has
 * attached: see gca_thread_create().
 *
 * errno: EEXIST this thread is attached; EBUSY another thread is (an old module);
 * EOPNOTSUPP this thread has no rseq and threads must be stopped by task work;
 * ENOSPC too many threads; ENOMEM.
 */
GCA_API struct gca_mutator *gca_attach(struct gca_arena *arena);

/**
 * gca_detach() - the opposite, by the same thread
 * @m: its mutator
 *
 * errno: EPERM it is another thread's; EINVAL it is not attached.
 */
GCA_API int gca_detach(struct gca_mutator *m);

/**
 * gca_thread_create() - pthread_create() of a thread that is attached
 * @arena: the arena
 * @thread: its name, as from pthread_create()
 * @attr: or NULL
 * @fn: called with the thread's mutator and @arg
 * @arg: may be a pointer to a managed object, also the only one
 *
 * Returns when the new thread has attached, so that it holds @arg itself.  The
 * thread is detached when @fn returns or ends by pthread_exit() or cancellation.
 * What @fn returns is pthread_join()'s result; it is no root.
 *
 * Return: 0; -1 with errno as pthread_create() and gca_attach(), and no thread.
 */
GCA_API int gca_thread_create(struct gca_arena *arena, pthread_t *thread,
			      const pthread_attr_t *attr,
			      void *(*fn)(struct gca_mutator *m, void *arg), void *arg);

/* --------------------------------------------------------------- allocation */

/**
 * gca_layout() - describe where the pointers of a type are
 * @arena: the arena
 * @size: sizeof the type, at most GCARENA_LAYOUT_MAX
 * @ptr_bitmap: bit i of word i / 64: bytes 8 * i ... of the type are a pointer;
 *	NULL: there are none
 *
 * Return: a description that lives as long as the arena.
 */
GCA_API const struct gca_layout *gca_layout(struct gca_arena *arena, size_t size,
					    const uint64_t *ptr_bitmap);

/**
 * gca_layout_offsets() - the same from offsets of size_t, ended by (size_t)-1
 * @arena: the arena
 * @size: sizeof the type, at most GCARENA_LAYOUT_MAX
 *
 * Usually by gca_layout_of(arena, type, field...).
 */
GCA_API const struct gca_layout *gca_layout_offsets(struct gca_arena *arena, size_t size, ...);

/* One object of this layout, zeroed. */
static inline void *gca_alloc(struct gca_mutator *m, const struct gca_layout *layout);

/**
 * gca_alloc_array() - consecutive elements of a layout, zeroed
 * @m: the calling thread's
 * @layout: of one element
 * @n: elements
 *
 * errno: EOVERFLOW, ENOMEM.
 */
GCA_API void *gca_alloc_array(struct gca_mutator *m, const struct gca_layout *layout, size_t n);

/* @bytes without pointers, zeroed. */
static inline void *gca_alloc_noscan(struct gca_mutator *m, size_t bytes);

/* @bytes of which every aligned word may be a pointer, zeroed. */
static inline void *gca_alloc_conservative(struct gca_mutator *m, size_t bytes);

/*
 * Pointers are stored where others were, in objects and in roots that were added without
 * GCA_ROOT_PLAIN: by these functions only, not by assignment, memcpy(), memset(), read()
 * and the like.  (A word that has been zero since its allocation may be assigned to.)
 * Also in signal handlers, but where gcarena_mutator.critical counts: <gcarena-inline.h>.
 */

/* *(void **)slot = value, seen by the collector. */
static inline void gca_store(struct gca_mutator *m, void *slot, const void *value);

/**
 * gca_cas() - store @desired if @slot holds @expected, at once
 * @m: the calling thread's
 * @slot: a word that may hold a pointer
 * @expected: what it must hold
 * @desired: what it shall hold
 *
 * A full barrier.  Return: 1 if it has been stored, 0 if @slot holds something else.
 */
GCA_API int gca_cas(struct gca_mutator *m, void *slot, const void *expected, const void *desired);

/* Store @value in @slot, at once.  A full barrier.  Return: what was there. */
GCA_API void *gca_exchange(struct gca_mutator *m, void *slot, const void *value);

/**
 * gca_store_range() - memmove() of @n words that may hold pointers
 * @m: the calling thread's
 * @dst: to; aligned
 * @src: from; aligned; the two may overlap
 * @n: words
 *
 * Each word is stored at once, all of them are not.
 */
GCA_API void gca_store_range(struct gca_mutator *m, void *dst, const void *src, size_t n);

/* Likewise: @n words at @dst become NULL. */
GCA_API void gca_clear_range(struct gca_mutator *m, void *dst, size_t n);

/* -------------------------------------------------------------------- roots */

#define GCA_ROOT_PLAIN		(1U << 0)	/* written by ordinary stores */
#define GCA_ROOT_FOUND		(1U << 1)	/* found by the library: data, bss */
#define GCA_ROOT_STACK		(1U << 2)
#define GCA_ROOT_ALTSTACK	(1U << 3)
#define GCA_ROOT_TLS		(1U << 4)

/** struct gca_root - one range that gca_roots() lists */
struct gca_root {
	uintptr_t start;
	size_t len;
	unsigned int flags;
};

/**
 * gca_root_add() - scan a range of memory for pointers
 * @arena: the arena
 * @start: address, a multiple of 8
 * @len: bytes, a multiple of 8
 * @flags: 0: pointers are stored there with gca_store() only; GCA_ROOT_PLAIN:
 *	by ordinary stores, scanned while the world is stopped
 */
GCA_API int gca_root_add(struct gca_arena *arena, const void *start, size_t len,
			 unsigned int flags);
GCA_API int gca_root_remove(struct gca_arena *arena, const void *start, size_t len,
			    unsigned int flags);

/**
 * gca_roots() - list what is a root
 * @arena: the arena
 * @roots: where to write them
 * @room: how many fit
 *
 * Return: the number of ranges, of which the first @room have been written.
 */
GCA_API int gca_roots(struct gca_arena *arena, struct gca_root *roots, int room);

/* ------------------------------------------------------------------- fibers */

struct gca_fiber;

#define GCA_FIBER_STACK_MIN	4096	/* where stops are made by signals: 16 KiB */

/**
 * gca_fiber_create() - a stack to switch to, a root
 * @arena: whose root it is
 * @stack_lo: lowest address, without guard page
 * @stack_hi: its end
 * @fn: called by the first switch to it; must not return but switch away for good
 * @arg: for @fn; may be a pointer to a managed object
 *
 * The memory is the caller's.  errno: EINVAL, ENOMEM.
 */
GCA_API struct gca_fiber *gca_fiber_create(struct gca_arena *arena, void *stack_lo,
					   void *stack_hi, void (*fn)(void *arg), void *arg);

/* The calling thread's own stack, to switch from and back to; goes with the mutator. */
GCA_API struct gca_fiber *gca_fiber_thread(struct gca_mutator *m);

/**
 * gca_fiber_switch() - park the running fiber and go on in another
 * @m: of the calling thread
 * @from: the fiber that runs
 * @to: one that is parked
 *
 * Returns when somebody switches to @from, perhaps in another thread: then the
 * caller has another mutator.  A thread's own stack goes on in that thread only.
 * Not for the sanitizers, and not with shadow stacks.
 */
GCA_API void gca_fiber_switch(struct gca_mutator *m, struct gca_fiber *from,
			      struct gca_fiber *to);

/**
 * gca_fiber_destroy() - the stack is no root any more
 * @fiber: one that is parked
 *
 * errno: EBUSY it runs; EINVAL it is a thread's own.
 */
GCA_API int gca_fiber_destroy(struct gca_fiber *fiber);

/* --------------------------------------------------------------- collection */

#define GCA_COLLECT_ASYNC		GCARENA_COLLECT_ASYNC
#define GCA_COLLECT_UNTIL_MARKING	GCARENA_COLLECT_UNTIL_MARKING
#define GCA_COLLECT_UNTIL_MARKED	GCARENA_COLLECT_UNTIL_MARKED
#define GCA_COLLECT_SWEEP_STOPPED	GCARENA_COLLECT_SWEEP_STOPPED
#define GCA_COLLECT_STOPPED		GCARENA_COLLECT_STOPPED

/**
 * gca_collect() - run a cycle that begins after this call
 * @arena: the arena
 * @flags: 0: return when it is done and swept; else GCA_COLLECT_*
 *
 * Any thread may call it, attached or not; several at once share cycles.
 *
 * errno: ECANCELED the cycle was void and is as if it had not been; EBUSY the
 * attached thread is not the caller (an old module); ETIMEDOUT a thread could not
 * be stopped; ESRCH the arena has died.
 */
GCA_API int gca_collect(struct gca_arena *arena, unsigned int flags);

/**
 * enum gca_knob - what can be set at any time
 * @GCA_PERCENT: heap growth before the next cycle, of what is live, up to 100000; 0: no bound
 * @GCA_HEAP_MIN: bytes below which no cycle starts by itself, at 100 percent
 * @GCA_MEMORY_LIMIT: bytes that the arena may have: spans, free pages that have not been
 *	returned, the collector's own; 0: any.  Goes before the two above.  It is held by
 *	collecting more often, not by refusing memory: when even that is not enough, or would take
 *	more than its share of the processors, the arena grows beyond it
 * @GCA_PERIOD_MS: a cycle is due so long after the last, if anything is new; 0: never
 * @GCA_CPU_PERCENT: share of processor time, over some seconds, beyond which threads need not
 *	pay for what they allocate, and the heap grows; 1 .. 100, 100: any
 * @GCA_CPUS_MILLI: processors the program may use, in thousandths, if fewer than it may run on;
 *	0: all of these.  The library sets it from cpu.max, unless $GCARENA_CPUS_MILLI is set
 * @GCA_ASSIST_US: for how long a thread marks in one go to pay for what it allocates, from 10
 *
 * Each has a variable in the environment of the same name as in struct gcarena_knobs:
 * GCARENA_PERCENT, GCARENA_MEMLIMIT, ...
 */
enum gca_knob {
	GCA_PERCENT = 0,
	GCA_HEAP_MIN = 1,
	GCA_MEMORY_LIMIT = 3,
	GCA_PERIOD_MS = 4,
	GCA_CPU_PERCENT = 5,
	GCA_CPUS_MILLI = 6,
	GCA_ASSIST_US = 7,
};

/**
 * gca_set() - turn a knob
 * @arena: the arena
 * @knob: which
 * @value: to be set
 *
 * Goes before gca_options and the environment.  Waits for a running cycle's end.
 * errno: EINVAL out of range; the sentence says what the range is.
 */
GCA_API int gca_set(struct gca_arena *arena, enum gca_knob knob, uint64_t value);

/** gca_get() - what a knob is set to */
GCA_API int gca_get(struct gca_arena *arena, enum gca_knob knob, uint64_t *value);

/** gca_set_memory_limit() - gca_set() of GCA_MEMORY_LIMIT */
GCA_API int gca_set_memory_limit(struct gca_arena *arena, uint64_t bytes);

/** gca_set_percent() - gca_set() of GCA_PERCENT */
GCA_API int gca_set_percent(struct gca_arena *arena, uint64_t percent);

/** struct gca_stats - counters of an arena; the names of struct gcarena_stats, spelt out */
struct gca_stats {
	uint64_t cycles, forced_cycles, void_cycles, last_void_reason;
	uint64_t live_bytes, heap_bytes, goal_bytes, metadata_bytes;
	uint64_t allocated_bytes, freed_bytes;
	uint64_t stops, stop_ns_max, stop_ns_total;
	uint64_t mark_ns_collect, mark_ns_serve, sweep_ns;
	uint64_t marked_objects, marked_bytes;
	uint64_t missed_objects, leaf_pages, overflows;
	uint64_t root_bytes, returned_bytes, free_bytes;
	uint64_t postponed_stops, hold_ns_max, hold_ns_total, stop_ns_p50, stop_ns_p99;
	uint64_t held_threads, held_asleep;
	uint64_t threads, workers, worker_ns, coordinator_ns;
	uint64_t self_scans, self_ns;
	uint64_t restarts, assist_ns;
	uint64_t fractional_ns, idle_ns, idle_kicks, idle_yields, idle_raised;
	uint64_t trigger_bytes, begun_live_bytes, ended_live_bytes, ended_goal_bytes;
	uint64_t work_heap_bytes, work_stack_bytes, work_root_bytes, cons_mark;
	uint64_t assists, assist_hold_ns_total, assist_hold_ns_max, assist_hold_ns_p99;
	uint64_t begin_stop_ns, marking_ns, end_stop_ns, limited, cpus_milli;
	uint64_t marking_cpu_ns, cpu_ns;
	uint64_t postponed_ns, blame;
	uint64_t unknown_stacks, cut_stacks;
	uint64_t pressed;
	const char *backend;		/* "kernel" or "process" */
	const char *engine;		/* "none", "signal" or "taskwork" */
};

GCA_API int gca_stats(struct gca_arena *arena, struct gca_stats *stats);

/**
 * struct gca_pause - a stop
 * @end_ns: when the program ran again, CLOCK_MONOTONIC
 * @ns: how long it stood still, with the time to stop it
 */
struct gca_pause {
	uint64_t end_ns, ns;
};

#define GCA_PAUSES	(GCARENA_PAUSES - 1)

/**
 * gca_pauses() - the last stops
 * @arena: the arena
 * @pauses: out: the newest first
 * @n: room for so many
 *
 * No system call, and in no one's way.  Returns how many there are: not more than GCA_PAUSES are
 * kept.
 */
GCA_API unsigned int gca_pauses(struct gca_arena *arena, struct gca_pause *pauses, unsigned int n);

/**
 * gca_serve() - be the pager (GCA_NO_PAGER): lend this thread, never to return
 * @arena: the arena
 * @flags: GCARENA_SERVE_NOWAIT: return 0 when there is nothing to do
 *
 * The thread must not be attached.  Else returns -1 with errno EINTR on a
 * signal (the module; in the process signals wait), ESRCH when the arena is closed.
 */
GCA_API int gca_serve(struct gca_arena *arena, unsigned int flags);

/** gca_strerror() - why this thread's last failed call failed, and what to do */
GCA_API const char *gca_strerror(void);

/* ------------------------------------------------- thread-local convenience */

/**
 * gca_self() - the calling thread's mutator in the default arena
 *
 * The arena is opened and the thread attached at the first call.
 */
GCA_API struct gca_mutator *gca_self(void);

/* The default arena, or NULL with errno. */
GCA_API struct gca_arena *gca_default(void);

#include <gcarena-inline.h>

#ifdef __cplusplus
}
#endif

#endif /* GCARENA_H */
