/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR MIT) */
/*
 * <linux/gcarena.h>: what the gcarena module and its library agree on.
 *
 * This is the only header both sides share.  It has the ioctls, the layout of
 * the two shared mappings (control page, mutator area) and the size-class
 * table.  It must not contain policy: nothing here says when to collect.
 *
 * Rules that hold for every ioctl:
 *
 *  - the argument begins with its own size; a shorter one is an older caller
 *    and is padded with zeros, a longer one must be zero beyond what the
 *    kernel knows, else -E2BIG;
 *  - an unknown flag or a non-zero reserved field is -EINVAL;
 *  - a caller whose mm is not the arena's gets -EPERM (INFO excepted);
 *  - an arena that has died answers -ESRCH; one not created yet, -ENXIO;
 *  - a caller that is not 64-bit gets -ENOTTY.
 *
 * Documentation/uapi.rst lists the remaining errors of each call.
 */
#ifndef _LINUX_GCARENA_H
#define _LINUX_GCARENA_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <sys/ioctl.h>
#endif

/* ------------------------------------------------------------------------
 * Geometry of the heap
 */

#define GCARENA_PAGE_SHIFT	13		/* a heap page is 8 KiB */
#define GCARENA_PAGE_SIZE	(1UL << GCARENA_PAGE_SHIFT)
#define GCARENA_RESERVE_MIN	(1ULL << 26)	/* 64 MiB */
#define GCARENA_RESERVE_MAX	(1ULL << 40)	/* 1 TiB */

/*
 * GCARENA_SIZE_CLASSES - the size classes, X(bytes of a slot, heap pages of a span)
 *
 * Eight-byte steps up to 128 bytes, then eight classes a doubling up to
 * GCARENA_SMALL_MAX: a request of more than 56 bytes wastes at most 12.5 % of
 * its slot.  A span is the least number of pages whose tail wastes at most
 * 1/16.  kmod/core/sizeclass.c derives the table and the unit tests compare.
 */
#define GCARENA_SIZE_CLASSES(X) \
	X(16, 1) X(24, 1) X(32, 1) X(40, 1) X(48, 1) X(56, 1) X(64, 1) \
	X(72, 1) X(80, 1) X(88, 1) X(96, 1) X(104, 1) X(112, 1) X(120, 1) \
	X(128, 1) X(144, 1) X(160, 1) X(176, 1) X(192, 1) X(208, 1) \
	X(224, 1) X(240, 1) X(256, 1) X(288, 1) X(320, 1) X(352, 1) \
	X(384, 1) X(416, 1) X(448, 1) X(480, 1) X(512, 1) X(576, 1) \
	X(640, 1) X(704, 1) X(768, 1) X(832, 2) X(896, 1) X(960, 1) \
	X(1024, 1) X(1152, 1) X(1280, 1) X(1408, 2) X(1536, 1) X(1664, 3) \
	X(1792, 2) X(1920, 1) X(2048, 1) X(2304, 2) X(2560, 1) X(2816, 4) \
	X(3072, 2) X(3328, 3) X(3584, 4) X(3840, 1) X(4096, 1) X(4608, 3) \
	X(5120, 2) X(5632, 5) X(6144, 3) X(6656, 5) X(7168, 7) X(7680, 1) \
	X(8192, 1) X(9216, 6) X(10240, 4) X(11264, 7) X(12288, 3) \
	X(13312, 5) X(14336, 7) X(15360, 2) X(16384, 2) X(18432, 7) \
	X(20480, 5) X(22528, 11) X(24576, 3) X(26624, 10) X(28672, 7) \
	X(30720, 4) X(32768, 4)

#define GCARENA_SMALL_MAX	32768		/* larger objects have their own span */
#define GCARENA_MIN_SLOT	16		/* no slot is smaller */
#define GCARENA_NR_SIZES	79

/**
 * enum gcarena_kind - what a marker finds in an object
 * @GCARENA_NOSCAN: no pointers, never read
 * @GCARENA_PRECISE: pointers where the owner says.  Slots of at most
 *	GCARENA_BITMAP_MAX bytes: one bit a word in the bitmap at the end of the
 *	span's (only) page.  Larger slots: the first eight bytes of the slot are
 *	a layout id, the object follows.  Large objects: the layout id given to
 *	GCARENA_IOC_LARGE.
 * @GCARENA_CONSERVATIVE: every aligned word may be a pointer
 * @GCARENA_NR_KINDS: number of kinds
 */
enum gcarena_kind {
	GCARENA_NOSCAN,
	GCARENA_PRECISE,
	GCARENA_CONSERVATIVE,
	GCARENA_NR_KINDS,
};

#define GCARENA_BITMAP_MAX	512	/* largest slot described by a tail bitmap */
#define GCARENA_BITMAP_BYTES	128	/* of the tail: one bit a word of the page */
#define GCARENA_BITMAP_OFFSET	(GCARENA_PAGE_SIZE - GCARENA_BITMAP_BYTES)
#define GCARENA_HEADER_BYTES	8	/* layout id before a larger precise object */

/* A span class is a size class of one kind. */
#define GCARENA_SPAN_CLASS(size_class, kind)	((size_class) * 4 + (kind))
#define GCARENA_NR_SPAN_CLASSES	(GCARENA_NR_SIZES * 4)

/* ------------------------------------------------------------------------
 * The shared mappings
 */

enum gcarena_phase {
	GCARENA_PHASE_OFF,		/* sweeping, or nothing */
	GCARENA_PHASE_MARK,		/* barrier on, new objects black */
	GCARENA_PHASE_TERMINATION,	/* inside the termination stop */
};

/**
 * enum gcarena_engine - how a stop holds the threads of a process
 * @GCARENA_ENGINE_NONE: not decided yet: nobody has attached
 * @GCARENA_ENGINE_SIGNAL: each thread gets the stop signal; its handler calls
 *	GCARENA_IOC_SETTLE with GCARENA_SETTLE_PARK
 * @GCARENA_ENGINE_TASKWORK: a thread is held where it would return to user mode;
 *	threads that sleep in the kernel are not woken
 */
enum gcarena_engine {
	GCARENA_ENGINE_NONE,
	GCARENA_ENGINE_SIGNAL,
	GCARENA_ENGINE_TASKWORK,
};

#define GCARENA_BARRIER_DELETION	(1U << 0)
#define GCARENA_BARRIER_INSERTION	(1U << 1)	/* asked for by GCARENA_CREATE_INSERTION */

#define GCARENA_PAUSES	248	/* as many as the page has room for */

/**
 * struct gcarena_pause - a stop
 * @end: when the world ran again, CLOCK_MONOTONIC, ns
 * @ns: from the beginning of the stop until then
 */
struct gcarena_pause {
	__u64 end;
	__u64 ns;
};

/**
 * struct gcarena_control - one page an arena, mapped read-only
 * @phase: enum gcarena_phase; written inside stops only
 * @barrier: GCARENA_BARRIER_*; non-zero exactly while @phase is not off
 * @epoch: grows with each change of @phase
 * @cycle: number of the current or, with the phase off, of the last cycle
 * @stop: not 0 while a stop is being made or lasts: with the signal engine a
 *	thread that finds it so owes a GCARENA_SETTLE_PARK
 * @engine: enum gcarena_engine that holds threads
 * @heap_live: bytes live at the end of the last cycle plus bytes handed out
 * @heap_goal: @heap_live at which the next cycle should end
 * @heap_trigger: @heap_live at which the next cycle should begin
 * @pauses: stops so far
 * @__pad0: none
 * @__pad1: none
 * @pause: stop i in entry i modulo GCARENA_PAUSES, written before @pauses grows to i + 1.
 *	Who reads looks at @pauses before and after: what was at i is overwritten from when it
 *	is i + GCARENA_PAUSES
 *
 * The kernel is the only writer.  Closing the mapping (munmap, exec, exit) is
 * the arena's death.
 */
struct gcarena_control {
	__u32 phase;
	__u32 barrier;
	__u64 epoch;
	__u64 cycle;
	__u32 stop;
	__u32 engine;
	__u64 __pad0[4];
	__u64 heap_live;
	__u64 heap_goal;
	__u64 heap_trigger;
	__u64 pauses;
	__u64 __pad1[4];
	struct gcarena_pause pause[GCARENA_PAUSES];
};

#ifndef GCARENA_RING_ENTRIES		/* tests have tiny ones; a power of two */
#define GCARENA_RING_ENTRIES	512
#endif
#define GCARENA_SLOTS_MIN	32
#define GCARENA_SLOTS_MAX	384
#define GCARENA_SLOT_NEEDZERO	(1U << 0)	/* free slots hold old contents */
#define GCARENA_SLOT_CLOBBERED	(1U << 1)	/* written by the library: debug */

/**
 * struct gcarena_slot - a span lent to this thread
 * @base: address of the span's first slot
 * @free_index: slots below it are taken.  The one word the owner writes; its
 *	store commits an allocation, so a slot below the index is initialised
 * @nelems: slots in the span
 * @elem_size: bytes of a slot
 * @flags: GCARENA_SLOT_*
 * @next: number of the next slot of this span class, 0 at the end
 * @span_class: GCARENA_SPAN_CLASS()
 * @bits: bit i set: slot i is taken although it is not below @free_index.  May
 *	say "taken" too often, never too rarely
 * @__pad0: none
 * @__pad1: none
 * @__pad2: none
 *
 * All but @free_index is written by the kernel in REFILL.  The kernel reads
 * @free_index only, checks it against its own last good value, and keeps
 * private copies of the rest.
 */
struct gcarena_slot {
	__u64 base;
	__u32 free_index;
	__u32 nelems;
	__u32 elem_size;
	__u16 flags;
	__u16 next;
	__u16 span_class;
	__u16 __pad0;
	__u32 __pad1;
	__u64 bits[8];
	__u64 __pad2[4];
};

/**
 * struct gcarena_mutator - one an attached thread and arena, mapped read-write
 * @ring_tail: entries the thread has put; free running
 * @ring_head: entries the kernel has taken; published for the thread
 * @critical: nesting count of critical sections, for threads without rseq
 * @assist_balance: bytes that this thread may be lent in this cycle before it owes work
 * @nr_slots: slots in @slot; slot 0 is always empty
 * @stack_sp: while the thread runs on another stack than the one of ATTACH: from
 *	where on that one is in use; 0: not known, or it runs there
 * @current_slot: slot to allocate from, for each span class; 0: none, REFILL.
 *	The thread moves it along gcarena_slot.next
 * @ring: old values of overwritten pointers, put before the overwriting store
 * @slot: the lent spans
 * @__pad0: none
 * @__pad1: none
 * @__pad2: none
 * @__pad3: none
 *
 * The thread may write everything.  The kernel trusts nothing here: a bad tail
 * voids the cycle, a bad free index is replaced by the last good one.
 */
struct gcarena_mutator {
	__u32 ring_tail;
	__u32 critical;
	__s64 assist_balance;
	__u32 nr_slots;
	__u32 __pad0;
	__u64 stack_sp;
	__u32 __pad3[8];
	__u32 ring_head;
	__u32 __pad1[15];
	__u16 current_slot[GCARENA_NR_SPAN_CLASSES];
	__u8  __pad2[4096 - 128 - 2 * GCARENA_NR_SPAN_CLASSES];
	__u64 ring[GCARENA_RING_ENTRIES];
	struct gcarena_slot slot[];
};

/* ------------------------------------------------------------------------
 * ioctls
 */

#define GCARENA_IOC	0xB9

/* Features, in gcarena_info.features and gcarena_create.features. */
#define GCARENA_F_RSEQ			(1ULL << 0)	/* sections may be restartable sequences */
#define GCARENA_F_STOP_SIGNAL		(1ULL << 1)
#define GCARENA_F_STOP_TASKWORK		(1ULL << 2)
#define GCARENA_F_THREADS		(1ULL << 3)	/* more than one attached thread */
#define GCARENA_F_WORKERS		(1ULL << 4)	/* the kernel marks in threads of its own */

/**
 * struct gcarena_info - GCARENA_IOC_INFO: what this module can do
 * @size: of this structure
 * @flags: 0
 * @features: out: GCARENA_F_*
 * @reserve_min: out: least heap reservation
 * @reserve_max: out: greatest
 * @arenas_left: out: arenas this user may still create
 * @engine: out: enum gcarena_engine that a process gets which asks for none
 */
struct gcarena_info {
	__u32 size, flags;
	__u64 features;
	__u64 reserve_min, reserve_max;
	__u32 arenas_left, engine;
};

/**
 * struct gcarena_create - GCARENA_IOC_CREATE: make this descriptor an arena
 * @size: of this structure
 * @flags: in: GCARENA_CREATE_*, of the first two at most one; a process has one engine, so
 *	that a later arena that asks for another gets -EBUSY
 * @features: in: GCARENA_F_* needed; one missing is -EOPNOTSUPP
 * @reserve: in: bytes of address space for the heap, a power of two
 * @stop_signal: in: signal of the signal engine, 0: SIGURG
 * @debug: in: GCARENA_DEBUG_*
 * @id: out: opaque number, as in /sys and fdinfo
 * @heap_offset: out: mmap MAP_PRIVATE|MAP_NORESERVE, PROT_READ|PROT_WRITE
 * @heap_size: out
 * @control_offset: out: mmap MAP_SHARED, PROT_READ
 * @control_size: out
 */
struct gcarena_create {
	__u32 size, flags;
	__u64 features;
	__u64 reserve;
	__u32 stop_signal, debug;
	__u64 id;
	__u64 heap_offset, heap_size;
	__u64 control_offset, control_size;
};

#define GCARENA_CREATE_SIGNAL	(1U << 0)	/* hold threads by a signal */
#define GCARENA_CREATE_TASKWORK	(1U << 1)	/* hold threads by task work, or not at all */
#define GCARENA_CREATE_INSERTION (1U << 2)	/* stores record the new value, too */

#define GCARENA_DEBUG_CHECKMARK	(1U << 0)	/* second marker, each cycle */
#define GCARENA_DEBUG_OVERFLOW	(1U << 1)	/* pretend that buffers run out */
#define GCARENA_DEBUG_MISS	(1U << 2)	/* pretend that no-fault reads miss */
#define GCARENA_DEBUG_STOPPED	(1U << 3)	/* mark with the world stopped */
#define GCARENA_DEBUG_ALL	15U

/**
 * struct gcarena_attach - GCARENA_IOC_ATTACH: the calling thread becomes a mutator
 * @size: of this structure
 * @flags: in: GCARENA_ATTACH_*
 * @stack_lo: in: lowest address of the thread's stack
 * @stack_hi: in: its end
 * @altstack_lo: in: alternate signal stack, may be 0
 * @altstack_hi: in
 * @tls_lo: in: static TLS and thread descriptor, may be 0
 * @tls_hi: in
 * @nr_slots: in: GCARENA_SLOTS_MIN .. GCARENA_SLOTS_MAX, 0: the most
 * @id: out: to be given to REFILL, SETTLE and DETACH
 * @map_offset: out: mmap MAP_SHARED, PROT_READ|PROT_WRITE; struct gcarena_mutator
 * @map_size: out
 */
struct gcarena_attach {
	__u32 size, flags;
	__u64 stack_lo, stack_hi;
	__u64 altstack_lo, altstack_hi;
	__u64 tls_lo, tls_hi;
	__u32 nr_slots, id;
	__u64 map_offset, map_size;
};

/*
 * The thread brackets its critical sections by gcarena_mutator.critical instead of
 * using restartable sequences.  Task work could hold it inside one, so its process
 * is moved to the signal engine; -EOPNOTSUPP if that is not allowed.
 */
#define GCARENA_ATTACH_COUNTER	(1U << 0)
#define GCARENA_THREADS_MAX	32768		/* attached to an arena */

/** struct gcarena_detach - GCARENA_IOC_DETACH: the calling thread leaves */
struct gcarena_detach {
	__u32 size, flags;
	__u32 id, __reserved;
};

#define GCARENA_WANT_COLLECT	(1U << 0)	/* out: the trigger has been reached */
#define GCARENA_WANT_SERVE	(1U << 1)	/* out: pages wait for SERVE */
#define GCARENA_WANT_TELL	(1U << 2)	/* out: no stop holds all threads, see STATS */

/**
 * struct gcarena_refill - GCARENA_IOC_REFILL: exhausted spans back, fresh ones in
 * @size: of this structure
 * @flags: in: 0, out: GCARENA_WANT_*
 * @id: in: of the mutator
 * @span_class: in: GCARENA_SPAN_CLASS()
 * @count: in: spans wanted, 1 .. 32; out: spans lent, at least 1
 * @__reserved: zero
 */
struct gcarena_refill {
	__u32 size, flags;
	__u32 id, span_class;
	__u32 count, __reserved;
};

/**
 * struct gcarena_large - GCARENA_IOC_LARGE: one object with its own span
 * @size: of this structure
 * @flags: in: GCARENA_LARGE_*; out: GCARENA_WANT_* and GCARENA_LARGE_NEEDZERO
 * @bytes: in: more than 0; rounded up to heap pages
 * @kind: in: enum gcarena_kind
 * @layout: in: with GCARENA_PRECISE, from GCARENA_IOC_LAYOUT
 * @addr: out
 * @id: in: of the mutator
 * @__reserved: zero
 *
 * The object's memory must be zeroed by the library if NEEDZERO is set; until
 * then markers see old contents, which retain but never corrupt.
 */
struct gcarena_large {
	__u32 size, flags;
	__u64 bytes;
	__u32 kind, layout;
	__u64 addr;
	__u32 id, __reserved;
};

#define GCARENA_LARGE_NEEDZERO	(1U << 8)

/**
 * struct gcarena_settle - GCARENA_IOC_SETTLE: the one slow path: what do I owe?
 * @size: of this structure
 * @flags: in: GCARENA_SETTLE_*; out: GCARENA_WANT_*
 * @id: in: of the mutator
 * @__reserved: zero
 */
struct gcarena_settle {
	__u32 size, flags;
	__u32 id, __reserved;
};

#define GCARENA_SETTLE_FLUSH	(1U << 0)	/* drain this thread's ring */
#define GCARENA_SETTLE_PARK	(1U << 1)	/* wait here while a stop lasts */

/**
 * struct gcarena_layout - GCARENA_IOC_LAYOUT: where pointers are in a type
 * @size: of this structure
 * @flags: 0
 * @elem_size: in: bytes, a multiple of 8, 8 .. GCARENA_LAYOUT_MAX
 * @bitmap: in: address of (elem_size / 8 + 63) / 64 words, bit i: word i is a
 *	pointer.  Bits beyond the type must be zero
 * @id: out: dense, never reused
 * @__reserved: zero
 *
 * Objects longer than @elem_size are arrays of it.
 */
struct gcarena_layout {
	__u32 size, flags;
	__u64 elem_size;
	__u64 bitmap;
	__u32 id, __reserved;
};

#define GCARENA_LAYOUT_MAX	65536	/* bytes of an element */
#define GCARENA_LAYOUTS_MAX	65536	/* layouts of an arena */

#define GCARENA_ROOT_BARRIERED	0	/* written by gca_store only */
#define GCARENA_ROOT_PLAIN	1	/* written by ordinary stores */
#define GCARENA_ROOT_STACK	2	/* a stack that threads switch to and from */

/**
 * struct gcarena_range - one range of the root set
 * @start: address, a multiple of 8
 * @len: bytes, a multiple of 8
 * @kind: GCARENA_ROOT_*
 * @__reserved: zero
 *
 * The last word of a GCARENA_ROOT_STACK says from which address on the stack is in
 * use while nobody runs on it.  If it is not an address of the range (0: somebody
 * runs on it) the whole range is.
 */
struct gcarena_range {
	__u64 start, len;
	__u32 kind, __reserved;
};

#define GCARENA_ROOTS_PER_CALL	1024
#define GCARENA_ROOTS_MAX	65536		/* ranges of an arena */
#define GCARENA_ROOT_BYTES_MAX	(1ULL << 36)	/* in all ranges of an arena */

/**
 * struct gcarena_roots - GCARENA_IOC_ROOTS: first remove, then add; all or nothing
 * @size: of this structure
 * @flags: 0
 * @add: in: address of gcarena_range[@nr_add]
 * @del: in: address of gcarena_range[@nr_del]; each must be one that was added
 * @nr_add: in: at most GCARENA_ROOTS_PER_CALL
 * @nr_del: in: at most GCARENA_ROOTS_PER_CALL
 */
struct gcarena_roots {
	__u32 size, flags;
	__u64 add, del;
	__u32 nr_add, nr_del;
};

#define GCARENA_COLLECT_ASYNC		(1U << 0)	/* only trigger */
#define GCARENA_COLLECT_UNTIL_MARKING	(1U << 1)	/* return when marking has begun */
#define GCARENA_COLLECT_UNTIL_MARKED	(1U << 2)	/* return when marking is done */
#define GCARENA_COLLECT_PACED		(1U << 3)	/* WANT_COLLECT: not "forced" */
#define GCARENA_COLLECT_SWEEP_STOPPED	(1U << 4)	/* mark and sweep before the world runs */
#define GCARENA_COLLECT_STOPPED		(1U << 5)	/* mark with the world stopped */

enum gcarena_result {
	GCARENA_RESULT_DONE,
	GCARENA_RESULT_VOID,
};

enum gcarena_void_reason {
	GCARENA_VOID_NONE,
	GCARENA_VOID_RING,		/* a ring's tail made no sense */
	GCARENA_VOID_UNREADABLE,	/* a page that should be readable is not */
	GCARENA_VOID_KILLED,		/* the marking thread was killed */
	GCARENA_VOID_AGE,		/* no progress within the age limit */
	GCARENA_VOID_MEMORY,		/* lost work memory */
	GCARENA_VOID_LIBRARY,		/* an object was loaded as marking began */
	GCARENA_NR_VOID_REASONS,
};

/**
 * struct gcarena_collect - GCARENA_IOC_COLLECT: run a cycle that begins after this call
 * @size: of this structure
 * @flags: in: GCARENA_COLLECT_*; of the first three at most one
 * @timeout_ns: in: 0: the module's age limit
 * @cycle: out: number of the cycle that ran
 * @result: out: enum gcarena_result
 * @void_reason: out: enum gcarena_void_reason
 * @blame: out: thread id, as the caller knows it, of the last thread that could not be
 *	held in time; 0: none
 * @__reserved: zero
 *
 * Without flags it returns when the cycle is done and every span is swept.
 */
struct gcarena_collect {
	__u32 size, flags;
	__u64 timeout_ns;
	__u64 cycle;
	__u32 result, void_reason;
	__u32 blame, __reserved;
};

/* Bits of the mask, in the order of struct gcarena_knobs. */
#define GCARENA_CONFIG_PERCENT		(1ULL << 0)
#define GCARENA_CONFIG_HEAP_MIN		(1ULL << 1)
#define GCARENA_CONFIG_DEBUG		(1ULL << 2)
#define GCARENA_CONFIG_MEMLIMIT		(1ULL << 3)
#define GCARENA_CONFIG_PERIOD_MS	(1ULL << 4)
#define GCARENA_CONFIG_CPU_PERCENT	(1ULL << 5)
#define GCARENA_CONFIG_CPUS_MILLI	(1ULL << 6)
#define GCARENA_CONFIG_ASSIST_US	(1ULL << 7)
#define GCARENA_CONFIG_ALL		255ULL

/**
 * struct gcarena_knobs - what can be set at any time
 * @percent: heap growth before the next cycle, 1 .. 100000; 0: no bound
 * @heap_min: bytes below which no cycle starts by itself, at 100 percent
 * @debug: GCARENA_DEBUG_*
 * @memlimit: bytes that the arena may have: spans, free pages not returned, metadata; 0: any.
 *	Goes before @percent and @heap_min.  Held by collecting more often, not by refusing
 * @period_ms: a cycle is due so long after the last, if there is anything new; 0: never
 * @cpu_percent: share of processor time that marking and assists may have over some seconds:
 *	beyond, threads need not pay, and the heap grows; 1 .. 100, 100: any
 * @cpus_milli: processors that the owner may use, in thousandths, where that is less than it
 *	is allowed to run on (cpu.max); 0: all of these
 * @assist_us: for how long a thread marks in one go to pay for what it allocates, 10 .. 1000000
 */
struct gcarena_knobs {
	__u64 percent;
	__u64 heap_min;
	__u64 debug;
	__u64 memlimit;
	__u64 period_ms;
	__u64 cpu_percent;
	__u64 cpus_milli;
	__u64 assist_us;
};

/**
 * struct gcarena_config - GCARENA_IOC_CONFIG: set the knobs in @mask, return all
 * @size: of this structure
 * @flags: 0
 * @mask: in: GCARENA_CONFIG_*
 * @knob: in: of those in @mask; out: all
 */
struct gcarena_config {
	__u32 size, flags;
	__u64 mask;
	struct gcarena_knobs knob;
};

/**
 * struct gcarena_stats - GCARENA_IOC_STATS
 * @size: of this structure
 * @flags: 0
 * @cycles: cycles that ended, void ones included
 * @forced: of them, begun by COLLECT
 * @voided: of them, void
 * @last_void: reason of the last void cycle
 * @live: bytes marked by the last cycle
 * @heap: bytes in spans
 * @goal: bytes at which the next cycle should end
 * @metadata: kernel bytes held for this arena, control page and mutator area included
 * @allocated: bytes handed out since creation
 * @freed: bytes found dead by sweep
 * @stops: stops made
 * @stop_ns_max: longest
 * @stop_ns_total: all
 * @mark_ns: time spent marking, by lent threads in COLLECT [0] and in SERVE [1]
 * @sweep_ns: time spent sweeping
 * @marked_objects: in all cycles
 * @marked_bytes: in all cycles
 * @missed: objects scanned with faults on because a no-fault read missed
 * @leaves: unreadable pages taken as pointer-free
 * @overflows: spans rescanned because buffers ran out
 * @root_bytes: plain and barriered bytes scanned by the last cycle
 * @returned: bytes given back to the system
 * @free: bytes in free heap pages that hold memory
 * @postponed: stops given up because a thread was not held in time
 * @hold_ns_max: longest time from the beginning of a stop until all were held
 * @hold_ns_total: of all stops
 * @stop_ns_p50: median length of a stop, to within 1/8
 * @stop_ns_p99: 99th percentile
 * @held: threads held by all stops
 * @held_asleep: of them, those that slept in the kernel and were left asleep
 * @threads: attached now
 * @workers: kernel threads that mark for this process now
 * @worker_ns: time of marking by them, in all modes
 * @coordinator_ns: CPU time of the process's coordinator
 * @self_scans: stacks captured by their own threads on their way to user mode
 * @self_ns: time that took
 * @restarts: stops at the end of marking that found something to mark
 * @assist_ns: time that threads marked to pay for what they allocated
 * @fractional_ns: of @worker_ns, in mode fractional
 * @idle_ns: of @worker_ns, in mode idle; the rest is dedicated
 * @idle_kicks: times that the scheduler's idle hook woke a worker
 * @idle_yields: times that a worker in mode idle found its processor wanted
 * @idle_raised: times that one had lost it with work in hand, and was made an ordinary thread
 * @trigger: bytes at which the next cycle begins; ~0: none does by itself
 * @begun_live: bytes live as the last cycle began
 * @ended_live: as it ended
 * @ended_goal: at which it should have
 * @work_heap: bytes of objects that it scanned, and 192 for each object
 * @work_stack: of stacks
 * @work_roots: of root ranges
 * @cons_mark: bytes allocated for each byte scanned, times 2^32: what the pacer expects
 * @assists: times that a thread had to mark, or to wait for those who do, before it went on
 * @assist_hold_ns_total: for so long
 * @assist_hold_ns_max: longest
 * @assist_hold_ns_p99: 99th percentile, to within 1/8
 * @begin_stop_ns: length of the stop in which the last cycle began, with the time to stop
 * @marking_ns: for so long it marked while the program ran
 * @end_stop_ns: length of the stop in which it ended; 0: it had one stop only
 * @limited: times that collecting began to exceed its share of time, see
 *	struct gcarena_knobs.cpu_percent
 * @cpus_milli: processors that the owner may use, in thousandths
 * @marking_cpu_ns: processor time of marking, but for what was idle anyway
 * @cpu_ns: of the owner's threads, and of all who mark for it
 * @postponed_ns: for so long all attempts at a stop have failed; 0: the last one has not
 * @blame: thread id, as the caller knows it, of the last thread that was not held in time; 0:
 *	all were, or it has gone
 * @unknown_stacks: scans of stacks that nobody had told of: the mapping that the stack pointer
 *	was in was scanned, from there to its end
 * @cut_stacks: of them, those where the end was more than 8 MiB away, and what lies beyond was
 *	not scanned: make it a root range of kind GCARENA_ROOT_STACK
 */
struct gcarena_stats {
	__u32 size, flags;
	__u64 cycles, forced, voided, last_void;
	__u64 live, heap, goal, metadata, allocated, freed;
	__u64 stops, stop_ns_max, stop_ns_total;
	__u64 mark_ns[2], sweep_ns;
	__u64 marked_objects, marked_bytes;
	__u64 missed, leaves, overflows;
	__u64 root_bytes, returned, free;
	__u64 postponed, hold_ns_max, hold_ns_total, stop_ns_p50, stop_ns_p99;
	__u64 held, held_asleep, threads;
	__u64 workers, worker_ns, coordinator_ns;
	__u64 self_scans, self_ns;
	__u64 restarts, assist_ns;
	__u64 fractional_ns, idle_ns, idle_kicks, idle_yields, idle_raised;
	__u64 trigger, begun_live, ended_live, ended_goal;
	__u64 work_heap, work_stack, work_roots, cons_mark;
	__u64 assists, assist_hold_ns_total, assist_hold_ns_max, assist_hold_ns_p99;
	__u64 begin_stop_ns, marking_ns, end_stop_ns, limited, cpus_milli;
	__u64 marking_cpu_ns, cpu_ns;
	__u64 postponed_ns, blame;
	__u64 unknown_stacks, cut_stacks;
};

/**
 * struct gcarena_run - a run of free heap pages in SERVE
 * @start: address
 * @len: bytes
 */
struct gcarena_run {
	__u64 start, len;
};

#define GCARENA_SERVE_NOWAIT	(1U << 0)	/* in: do not sleep */
#define GCARENA_SERVE_LOOKS	(1U << 1)	/* in: may be asked for the next two */
#define GCARENA_SERVE_REFRESH	(1U << 2)	/* out: bring the plain roots up to date */
#define GCARENA_SERVE_COMPARE	(1U << 3)	/* out: was an object loaded since REFRESH? */
#define GCARENA_SERVE_CHANGED	(1U << 4)	/* in, after COMPARE: yes */
#define GCARENA_SERVE_HOLD	(1U << 5)	/* out, with REFRESH: and let none be loaded */
#define GCARENA_SERVE_RUNS	128

/**
 * struct gcarena_serve - GCARENA_IOC_SERVE: lend this thread as the pager
 * @size: of this structure
 * @flags: GCARENA_SERVE_*
 * @runs: in: address of gcarena_run[@nr_runs]
 * @nr_done: in: the first @nr_done runs of the last call have been returned to
 *	the system by madvise(MADV_DONTNEED); 0 or all of them.  With 0 they are handed out
 *	again: the reply may have been lost
 * @nr_runs: in: room, at most GCARENA_SERVE_RUNS; out: runs to return
 *
 * Scans missed objects with faults on, in this thread; then sleeps until there
 * are more, or runs to return, or the plain roots are to be looked at.
 *
 * REFRESH: a cycle is about to begin.  The caller brings the plain ranges up to
 * date by GCARENA_IOC_ROOTS, reads a byte of each of their pages, and calls again.
 * COMPARE: marking has begun, and the world runs.  The caller looks whether an
 * object was loaded since the last REFRESH and calls again, with CHANGED if so: the
 * cycle is then void and begins anew.  The next call is the answer.
 * HOLD: they are loaded all the time, and cycles have been void for it.  The caller keeps
 * others from loading objects, by the loader's lock, until the next COMPARE or REFRESH, if
 * it can.
 *
 * -EAGAIN with NOWAIT and nothing to do; -EINTR on a signal; -ESRCH when the arena
 * dies; -EBUSY if another thread serves.
 */
struct gcarena_serve {
	__u32 size, flags;
	__u64 runs;
	__u32 nr_done, nr_runs;
};

/** struct gcarena_destroy - GCARENA_IOC_DESTROY: death now */
struct gcarena_destroy {
	__u32 size, flags;
};

#define GCARENA_IOC_INFO	_IO(GCARENA_IOC, 0x00)
#define GCARENA_IOC_CREATE	_IO(GCARENA_IOC, 0x01)
#define GCARENA_IOC_ATTACH	_IO(GCARENA_IOC, 0x02)
#define GCARENA_IOC_DETACH	_IO(GCARENA_IOC, 0x03)
#define GCARENA_IOC_REFILL	_IO(GCARENA_IOC, 0x04)
#define GCARENA_IOC_LARGE	_IO(GCARENA_IOC, 0x05)
#define GCARENA_IOC_SETTLE	_IO(GCARENA_IOC, 0x06)
#define GCARENA_IOC_LAYOUT	_IO(GCARENA_IOC, 0x07)
#define GCARENA_IOC_ROOTS	_IO(GCARENA_IOC, 0x08)
#define GCARENA_IOC_COLLECT	_IO(GCARENA_IOC, 0x09)
#define GCARENA_IOC_CONFIG	_IO(GCARENA_IOC, 0x0A)
#define GCARENA_IOC_STATS	_IO(GCARENA_IOC, 0x0B)
#define GCARENA_IOC_SERVE	_IO(GCARENA_IOC, 0x0C)
#define GCARENA_IOC_DESTROY	_IO(GCARENA_IOC, 0x0D)

#endif /* _LINUX_GCARENA_H */
