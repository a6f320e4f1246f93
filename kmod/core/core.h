/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * core.h: the collector's data structures and the functions its ports call.
 *
 * How to read the core: cycle.c is the algorithm from top to bottom, mark.c its
 * heart, drain.c what is around it.  Then span.h (how an address becomes an
 * object, and what colour it has), central.c and pageheap.c (where spans come
 * from), sweep.c, roots.c, rootjobs.c, scan.c, workbuf.c, ring.c.  Nothing in kmod/core/
 * may include anything but "port.h", <linux/gcarena.h> and its own headers, and nothing
 * may touch user memory but through GCA_UREAD, gca_port_sift() and gca_port_copy().
 *
 * Contexts.  An *operation* runs between gca_op_begin() and gca_op_end(): it
 * is bounded, never sleeps and never faults.  A *stop* is the time between
 * gca_port_stop() and gca_port_start(), with the gate closed: no operation is
 * open and no attached thread runs user code.  *Marking* is neither: it is
 * counted work (gca_arena.markers) and may be done by any thread that a port
 * lends.
 *
 * Locks, outer to inner: mutators_lock, gca_mutator.lock, gca_central.lock,
 * gca_pageheap.lock.  All are spinning locks.  The mark loop takes none.
 */
#ifndef GCA_CORE_H
#define GCA_CORE_H

#include "limiter.h"
#include "pacer.h"
#include "port.h"
#include <linux/gcarena.h>

/* ---------------------------------------------------------------- geometry */

#define GCA_CHUNK_SHIFT		22		/* metadata comes by 4 MiB of heap */
#define GCA_CHUNK_SIZE		(1UL << GCA_CHUNK_SHIFT)
#define GCA_CHUNK_PAGES		(1U << (GCA_CHUNK_SHIFT - GCARENA_PAGE_SHIFT))
#define GCA_OBLET_BYTES		(128U << 10)	/* Go's maxObletBytes */
#define GCA_ROOT_BLOCK		(256U << 10)	/* Go's rootBlockBytes */
#define GCA_BIT_WORDS		8		/* 512 slots of a span */
#define GCA_MAX_NELEMS		512
#define GCA_CLASS_LARGE		127		/* in the size-class field of a page word */
#define GCA_REFILL_MAX		32
#define GCA_STOP_WAIT		2000000		/* of the first attempt at a stop, ns */
#define GCA_HEAP_MIN		(4UL << 20)	/* Go's heapMinimum */
#define GCA_PERCENT		100		/* Go's GOGC */

/* ------------------------------------------------------------- page words
 *
 * One 64-bit word a heap page says all a marker needs to know about it, so that
 * one load gives a consistent answer and struct gca_span stays cold:
 *
 *	bit  0		in use
 *	bit  1		interior: not the first page of its span
 *	bits 2-3	kind
 *	bits 4-10	size class, or GCA_CLASS_LARGE
 *	bits 11-20	base	(first page only)
 *	bits 21-30	snap	(first page only)
 *	bits 31-57	number of the span's first page
 *
 * Writers: page heap (in use, head), begin stop, hand-back and sweep (base,
 * snap).  During marking a word changes only from "not in use" to "in use".
 */
#define GCA_PW_INUSE		1ULL
#define GCA_PW_INTERIOR		2ULL
#define GCA_PW_CLASS_SHIFT	2
#define GCA_PW_CLASS_MASK	0x1ffU		/* kind and size class: the span class */
#define GCA_PW_BASE_SHIFT	11
#define GCA_PW_SNAP_SHIFT	21
#define GCA_PW_INDEX_MASK	0x3ffU
#define GCA_PW_HEAD_SHIFT	31
#define GCA_PW_HEAD_MASK	0x7ffffffU

static inline unsigned int gca_pw_class(u64 pw)
{
	return (pw >> GCA_PW_CLASS_SHIFT) & GCA_PW_CLASS_MASK;
}

static inline unsigned int gca_pw_kind(u64 pw)
{
	return (pw >> GCA_PW_CLASS_SHIFT) & 3;
}

static inline bool gca_pw_large(u64 pw)
{
	return gca_pw_class(pw) >= GCARENA_SPAN_CLASS(GCA_CLASS_LARGE, 0);
}

static inline unsigned int gca_pw_base(u64 pw)
{
	return (pw >> GCA_PW_BASE_SHIFT) & GCA_PW_INDEX_MASK;
}

static inline unsigned int gca_pw_snap(u64 pw)
{
	return (pw >> GCA_PW_SNAP_SHIFT) & GCA_PW_INDEX_MASK;
}

static inline u32 gca_pw_head(u64 pw)
{
	return (pw >> GCA_PW_HEAD_SHIFT) & GCA_PW_HEAD_MASK;
}

static inline u64 gca_pw_make(u32 head, unsigned int span_class, unsigned int base,
			      unsigned int snap)
{
	return GCA_PW_INUSE | (u64)span_class << GCA_PW_CLASS_SHIFT |
	       (u64)base << GCA_PW_BASE_SHIFT | (u64)snap << GCA_PW_SNAP_SHIFT |
	       (u64)head << GCA_PW_HEAD_SHIFT;
}

/* ------------------------------------------------------------------- spans */

enum gca_span_state {
	GCA_SPAN_NONE,		/* interior of a span or run, or never used */
	GCA_SPAN_INUSE,		/* first page of a span */
	GCA_SPAN_FREE,		/* first page of a free run */
	GCA_SPAN_FREE_LAST,	/* last page of a free run of two or more pages */
	GCA_SPAN_RETURNING,	/* first page of a run lent to SERVE */
};

/**
 * struct gca_span - the cold part of a page's metadata
 * @link: central list, large list or free-run bin
 * @npages: heap pages of this span or free run (in its first and last page)
 * @sweepgen: equal to gca_arena.sweepgen: swept; else not
 * @layout: of a large precise object
 * @page: number of the first page
 * @nelems: slots
 * @free: free index of an uncached span; of a cached one, the last good value
 *	read from its owner
 * @slot: slot of @owner that holds it
 * @state: enum gca_span_state
 * @dirty: pages may hold old contents (needzero, or a dirty free run)
 * @owner: mutator that has it cached, or NULL; written under owner->lock
 * @bytes: size of a large object
 * @inner: what stands in for the chunks wholly inside it, or NULL
 *
 * Embedded in the chunk, one a page, so that the descriptor of any page exists
 * without allocation and is never freed before the arena: a late reader sees
 * an old span, not freed memory.
 */
struct gca_span {
	struct list_head link;
	u32 npages;
	u32 sweepgen;
	u32 layout;
	u32 page;
	u16 nelems;
	u16 free;
	u16 slot;
	u8 state;
	u8 dirty;
	struct gca_mutator *owner;
	u64 bytes;
	struct gca_inner *inner;
};

#define GCA_WBUF_ENTRIES	252
#define GCA_WBUF_ROOM	80	/* for what a block of words can name */
#define GCA_WBUFS		16	/* 32 KiB a chunk: with half, random graphs overflow */

/**
 * struct gca_wbuf - 2 KiB of grey objects
 * @next: index + 1 of the next buffer on a global list
 * @n: entries
 * @index: of this buffer: chunk * GCA_WBUFS + position in the chunk
 * @__pad: none
 * @obj: entries, see gca_entry() in mark.h
 */
struct gca_wbuf {
	u32 next;
	u32 n;
	u32 index;
	u32 __pad[5];
	u64 obj[GCA_WBUF_ENTRIES];
};

/**
 * struct gca_chunk - metadata of 4 MiB of heap
 * @pw: a word a page.  First, because a chunk that lies wholly inside one large
 *	span, and the empty chunk, consist of this array alone
 * @bits: for each page 8 pairs of words: mark bits, alloc bits of 64 slots.
 *	Pairs, so that testing a slot's colour and marking it is one cache line
 * @span: the cold part
 * @grey: for each page a bit a slot: marked, but there was no buffer to queue it
 * @overflow: bit a page: some bit of its span in @grey is set
 * @marked: bit a page: the first page of a span with a mark bit set.  Set while
 *	marking, cleared when the span is swept
 * @inuse: bit a page: the first page of a span; written under heap.lock
 * @check: checkmark's own mark bits, GCA_BIT_WORDS a page; NULL until wanted
 * @wbuf: work buffers: the reserve grows with the heap, so that marking needs
 *	no allocation
 */
struct gca_chunk {
	u64 pw[GCA_CHUNK_PAGES];
	u64 bits[GCA_CHUNK_PAGES * GCA_BIT_WORDS * 2];
	struct gca_span span[GCA_CHUNK_PAGES];
	u64 grey[GCA_CHUNK_PAGES * GCA_BIT_WORDS];
	u64 overflow[GCA_CHUNK_PAGES / 64];
	u64 marked[GCA_CHUNK_PAGES / 64];
	u64 inuse[GCA_CHUNK_PAGES / 64];
	u64 *check;
	struct gca_wbuf wbuf[GCA_WBUFS];
};

/** struct gca_inner - stands in for the chunks wholly inside one large span */
struct gca_inner {
	u64 pw[GCA_CHUNK_PAGES];
	struct list_head link;
};

/* --------------------------------------------------------------- page heap */

#define GCA_FL		28	/* first level: power of two of pages */
#define GCA_SL_SHIFT	3
#define GCA_SL		(1 << GCA_SL_SHIFT)

/**
 * struct gca_bins - free runs, two-level segregated fit (Masmano et al., 2004)
 * @fl: bit f: some list of @sl[f] is not empty
 * @sl: bit s of word f: list [f][s] is not empty
 * @list: runs whose size falls in [2^f + s * 2^(f-3), ...)
 */
struct gca_bins {
	u32 fl;
	u8 sl[GCA_FL];
	struct list_head list[GCA_FL][GCA_SL];
};

/**
 * struct gca_pageheap - which heap pages are free
 * @lock: protects everything here and gca_span.{link,npages,state,dirty} of free
 *	runs.  Counters and @dirty.fl are also read without it
 * @dirty: runs whose pages may hold memory; preferred, they are paid for
 * @clean: runs known to be zero: never used, or returned
 * @npages: pages of the reservation
 * @inuse: pages in spans
 * @free_dirty: pages in @dirty
 * @returning: pages lent to SERVE
 * @returned: pages given back so far
 * @giving: gca_scavenge_take() has begun and not come down to what is kept
 * @taken_at: when it last took some at the background's pace; 0: at another
 * @rest_until: at that pace it takes none before
 * @vain_until: nor at any before this
 * @reclaim: next page that gca_reclaim() looks at; 0 at each mark termination
 * @inner_dead: struct gca_inner to be freed outside the lock
 */
struct gca_pageheap {
	gca_spin_t lock;
	struct gca_bins dirty, clean;
	u32 npages;
	u32 inuse, free_dirty, returning;
	u64 returned;
	bool giving;
	u64 taken_at, rest_until, vain_until;
	u32 reclaim;
	struct list_head inner_dead;
};

/**
 * struct gca_central - spans of one span class that no mutator has cached
 * @lock: protects the lists
 * @partial: swept, with room
 * @full: swept, without
 * @unswept: not swept since the last mark termination
 */
struct gca_central {
	gca_spin_t lock;
	struct list_head partial, full, unswept;
};

/* ---------------------------------------------------------------- mutators */

/**
 * struct gca_twin - the kernel's own record of a lent slot
 * @span: NULL: the slot is free
 * @next: next slot of the same span class
 * @span_class: of the span
 * @charged: bytes charged to the live heap when it was lent, 0 once a cycle has
 *	ended since and the live heap has been counted anew
 */
struct gca_twin {
	struct gca_span *span;
	u16 next;
	u16 span_class;
	u32 charged;
};

/**
 * struct gca_mutator - an attached thread
 * @link: in gca_arena.mutators, under mutators_lock
 * @arena: whose it is
 * @id: as told to the thread
 * @turn: grows along gca_arena.mutators; kept when it has left that
 * @lock: protects @head, @twin, @first and the owner field of its spans
 * @shared: the mutator area, writable by the thread
 * @nr_slots: slots in @shared
 * @head: entries taken from the ring
 * @twin: @nr_slots records; 0 is unused
 * @first: head of each span class's chain of slots
 * @free_slot: head of the chain of free slots
 * @nr_free: free slots
 * @clock: next slot to evict
 * @stack_lo: of the thread's stack, as told at attach
 * @stack_hi: its end
 * @altstack_lo: of the alternate signal stack, or 0
 * @altstack_hi: its end
 * @tls_lo: of static TLS and thread descriptor, or 0
 * @tls_hi: its end
 * @job: number of its stack's root job in this cycle
 * @owes: epoch of the cycle that its stack must be captured for before it executes
 *	another user instruction; 0: none.  See gca_roots_self()
 * @balance: bytes that it may allocate in this cycle before it owes work, under @lock, as
 * @balance_epoch: of which cycle
 * @late_epoch: in which it has waited in vain; its own thread's
 * @newborn: a large object whose address the thread has not been told yet, or 0
 * @port: the port's own
 */
struct gca_mutator {
	struct list_head link;
	struct gca_arena *arena;
	u32 id;
	u64 turn;
	gca_spin_t lock;
	struct gcarena_mutator *shared;
	u32 nr_slots;
	u32 head;
	struct gca_twin *twin;
	u16 first[GCARENA_NR_SPAN_CLASSES];
	u16 free_slot;
	u16 nr_free;
	u16 clock;
	u64 stack_lo, stack_hi;
	u64 altstack_lo, altstack_hi;
	u64 tls_lo, tls_hi;
	u32 job;
	u64 owes;
	s64 balance;
	u64 balance_epoch, late_epoch;
	u64 newborn;
	void *port;
};

/** gca_mutator_bytes() - size of a mutator area */
static inline size_t gca_mutator_bytes(u32 nr_slots)
{
	return sizeof(struct gcarena_mutator) + nr_slots * sizeof(struct gcarena_slot);
}

/* ------------------------------------------------------------ roots, layouts */

/**
 * struct gca_roots - an immutable, sorted set of root ranges
 * @n: ranges
 * @n_early: of them, those that are not barriered
 * @bytes: in all of them
 * @jobs: blocks of GCA_ROOT_BLOCK bytes in all of them
 * @jobs_early: in those that are not barriered
 * @alloc_bytes: of this structure
 * @refs: arena and running cycle; under mutators_lock
 * @range: those that are not barriered, then the others, each sorted by start
 * @first_job: of each range, in the array behind @range
 *
 * Replaced as a whole by gca_roots_update(); the running cycle keeps the set it
 * began with.
 */
struct gca_roots {
	u32 n, n_early;
	u32 jobs, jobs_early;
	u64 bytes;
	size_t alloc_bytes;
	u32 refs;
	u32 *first_job;
	struct gcarena_range range[];
};

/**
 * struct gca_layout - where the pointers of a type are
 * @words: of one element; objects repeat it
 * @__pad: none
 * @bits: bit i: word i is a pointer
 */
struct gca_layout {
	u32 words;
	u32 __pad;
	u64 bits[];
};

/* ------------------------------------------------------------------ markers */

#ifndef GCA_FIFO
#define GCA_FIFO	16
#endif	/* objects prefetched ahead of the scan */

/*
 * What is scanned, for the pacer: in bytes looked at, and so many words more for each object.
 * So much it costs to find one: work is a measure of time, however small objects are.
 */
#define GCA_OBJECT_WORDS	24

enum gca_scan {
	GCA_SCAN_HEAP,
	GCA_SCAN_STACK,
	GCA_SCAN_RANGE,
	GCA_NR_SCANS,
};

/**
 * struct gca_worker - a marking context: any thread that marks has one
 * @arena: being marked
 * @buf: entries are pushed and popped here; NULL only without any buffer
 * @spare: second buffer: hysteresis between the local stack and the global lists
 * @missed: objects whose pages a no-fault read did not find
 * @fifo: entries taken from @buf and prefetched
 * @fifo_head: oldest
 * @fifo_n: how many
 * @cur: entry being scanned when a batch ended, 0: none
 * @cur_word: word of @cur to go on with, 0 without
 * @big: a big one put off until @buf is empty, 0: none
 * @big_word: word of @big to go on with
 * @exclusive: no other marker exists: marking needs no atomic operation
 * @may_fault: the thread is the owner's and outside operations
 * @faulting: what misses is scanned at once, with faults on
 * @mode: index into gca_totals.mark_ns
 * @objects: newly marked since gca_worker_publish(), as all that follow
 * @bytes: in them
 * @scanned: scan work in bytes, by enum gca_scan, since it was counted
 * @done: all of it, from the beginning
 * @budget: of it, when to stop and publish; 0: never
 * @nr_missed: objects that missed
 * @leaves: unreadable pages
 * @batches: windows opened
 * @waited_ns: asleep, waiting for the pager
 * @slice_end: time to stop and publish, by gca_port_now(); 0: none
 *
 * While a worker owns entries (in any member) it is counted in
 * gca_arena.markers.
 */
struct gca_worker {
	struct gca_arena *arena;
	struct gca_wbuf *buf, *spare, *missed;
	u64 fifo[GCA_FIFO];
	unsigned int fifo_head, fifo_n;
	u64 cur;
	u32 cur_word;
	u64 big;
	u32 big_word;
	bool exclusive;
	bool may_fault, faulting;
	unsigned int mode;
	u64 objects, bytes;
	u64 scanned[GCA_NR_SCANS], done, budget;
	u64 nr_missed, leaves;
	unsigned int batches;
	u64 waited_ns;
	u64 slice_end;
};

/* -------------------------------------------------------------------- arena */

/* What workers are to do, see work.c. */
enum gca_work {
	GCA_WORK_NONE,
	GCA_WORK_ROOTS,		/* root jobs, and nothing of what they find */
	GCA_WORK_MARK,
	GCA_WORK_SWEEP,
	GCA_WORK_SWEEP_IDLE,	/* on time that nobody else wants */
};

enum gca_job_state {
	GCA_JOB_TODO,
	GCA_JOB_CLAIMED,
	GCA_JOB_DONE,
	GCA_JOB_MISSED,		/* some page was not there: scan again with faults */
};

/* Who marks: index of gca_totals.mark_ns. */
enum gca_mark_mode {
	GCA_MARK_COLLECT,	/* COLLECT's caller */
	GCA_MARK_SERVE,		/* the pager */
	GCA_MARK_DEDICATED,	/* workers, see modes.c */
	GCA_MARK_FRACTIONAL,
	GCA_MARK_IDLE,
	GCA_MARK_SELF,		/* a thread, its own stack */
	GCA_MARK_ASSIST,	/* a thread that allocates faster than others mark */
	GCA_NR_MARK_MODES,
};

#define GCA_ONE		65536U		/* parts of a whole worker */
#define GCA_TURN_WAIT	10000000ULL	/* for a mode other than idle, at most, ns */

/**
 * struct gca_modes - how workers may mark while the world runs, see modes.c
 * @limited: they may as the following says; else all of them as they like
 * @dedicated: so many all the time
 * @fraction: one more for so many GCA_ONE parts of it
 * @began: by gca_port_now()
 * @fractional_ns: marked in mode fractional since then
 * @nr_dedicated: workers that mark in mode dedicated now, or try whether they may
 * @nr_fractional: likewise
 */
struct gca_modes {
	bool limited;
	u32 dedicated, fraction;
	u64 began;
	atomic64_t fractional_ns;
	atomic_t nr_dedicated, nr_fractional;
};

/**
 * struct gca_turn - a worker's leave to mark for a slice
 * @mode: enum gca_mark_mode; afterwards, of the last one
 * @began: by gca_port_now()
 * @wait: ns until it may mark in a mode other than idle, or until it had better ask
 * @count: where it is counted, or NULL
 */
struct gca_turn {
	u32 mode;
	u64 began, wait;
	atomic_t *count;
};

#define GCA_HIST_BUCKETS	168	/* 4 an octave, from 1 ns to 2^42 */

/**
 * struct gca_hist - durations, see hist.c
 * @n: how many
 * @ns_max: longest
 * @ns_total: of all
 * @bucket: by length
 */
struct gca_hist {
	u64 n, ns_max, ns_total;
	u64 bucket[GCA_HIST_BUCKETS];
};

/**
 * struct gca_meter - what a piece of marking takes, from gca_meter_begin() to gca_meter_end()
 * @clock: by gca_port_now()
 * @cpu: by gca_port_cpu_self()
 */
struct gca_meter {
	u64 clock, cpu;
};

/**
 * struct gca_totals - counters; plain words have one writer, the cycle
 * @cycles: ended, void ones included
 * @forced: of them, asked for
 * @voided: of them, void
 * @last_void: enum gcarena_void_reason of the last void one
 * @live: bytes marked by the last cycle
 * @allocated: bytes, as far as threads have been observed
 * @freed: bytes found dead by sweep
 * @stop: stops, by their length
 * @stop_ns_last: of the last
 * @begin_stop_ns: of the one in which the last cycle began
 * @marking_ns: for how long it marked while the world ran
 * @end_stop_ns: of the one in which it ended; 0: it had one only
 * @postponed: stops given up because a thread was not held in time
 * @restarts: terminations that found something to mark, and let the world run again
 * @hold_ns_max: longest time from the beginning of a stop until all were held
 * @hold_ns_total: of all stops
 * @mark_ns: time of marking by the clock, by enum gca_mark_mode
 * @cpu_ns: processor time of it
 * @self_scans: stacks scanned by their own threads
 * @unknown_stacks: scans of stacks that nobody had told of
 * @cut_stacks: of them, those not scanned to the end
 * @assists: by how long they kept their threads; under assist_lock
 * @sweep_ns: time of sweeping that no thread did for what it wanted to allocate
 * @marked_objects: by all cycles
 * @marked_bytes: by all cycles
 * @scanned: scan work in bytes, by all cycles
 * @missed: objects and root jobs scanned with faults on
 * @leaves: unreadable pages
 * @overflows: spans scanned again
 * @root_bytes: in the ranges of the last cycle
 * @checked: cycles that checkmark has looked at
 * @check_found: objects that it found not marked
 *
 * Read without a lock by statistics, hence WRITE_ONCE and READ_ONCE.
 */
struct gca_totals {
	u64 cycles, forced, voided, last_void;
	u64 live;
	atomic64_t allocated, freed;
	struct gca_hist stop;
	u64 stop_ns_last;
	u64 begin_stop_ns, marking_ns, end_stop_ns;
	u64 postponed, restarts, hold_ns_max, hold_ns_total;
	atomic64_t mark_ns[GCA_NR_MARK_MODES], cpu_ns[GCA_NR_MARK_MODES];
	struct gca_hist assists;
	atomic64_t sweep_ns;
	atomic64_t marked_objects, marked_bytes, scanned;
	atomic64_t missed, leaves, overflows, self_scans, unknown_stacks, cut_stacks;
	u64 root_bytes;
	u64 checked, check_found;
};

/**
 * struct gca_arena - one managed heap
 * @base: address of the heap, 0 until gca_arena_map()
 * @size: bytes of the reservation, a power of two
 * @chunk: @nr_chunks entries, none NULL; written under heap.lock
 * @empty: what unused entries of @chunk point to: page words only, all zero
 * @layout: table of layouts; a grown copy is release-stored, old ones stay
 * @nr_chunks: @size in chunks
 * @nr_layouts: release-stored after the layout
 * @layout_room: entries in @layout
 * @knob: set by gca_config_set(), not within a step of a cycle
 * @control: the control page; its only writer is the core
 * @metadata: bytes got by gca_meta_zalloc(), under @metadata_lock
 * @metadata_lock: see there
 * @heap: free pages
 * @central: uncached spans of each class
 * @large: spans of one large object
 * @mutators_lock: protects the next two, gca_roots.refs and @job_mutator
 * @mutators: attached threads
 * @nr_mutators: how many
 * @attached: how many there have been
 * @ops: open operations
 * @gate_closed: see op.c
 * @phase: enum gcarena_phase; written in stops
 * @sweepgen: number of the sweep; grows at each mark termination
 * @epoch: changes of phase
 * @unswept: spans not yet swept
 * @nr_spans: spans in use
 * @void_reason: of the running cycle, the first one wins; 0: none
 * @insertion: stores record what they write, too.  Set by the port after gca_arena_init()
 * @concurrent: cycles that workers mark do so while the world runs.  Set by the port after
 *	gca_arena_init(), if there will be workers
 * @interrupted: the running cycle's conductor has left it, and somebody is to finish it
 * @marks_dirty: a void cycle's marks have not been cleared yet
 * @checks: the running cycle began as one with checkmark, see gca_checks()
 * @deadline: of the running cycle, by gca_port_now(): its age limit
 * @stop_wait: how long the first attempt at a stop may take; set by the port
 * @work: enum gca_work; what gca_port_run_workers() has them do
 * @modes: how they may, while the world runs
 * @processors: that the owner may use; set by gca_port_crew_get(), as
 * @crew: workers that come, at most, likewise
 * @marks_idle: may workers mark in mode idle?
 * @stop_began: by gca_port_now()
 * @stop_patience: how long the next one may take, if that is more: twice as long as the last one
 *	that failed; 0: it did not
 * @postponed_since: by gca_port_now(): the first of the attempts at a stop that have failed up
 *	to now; 0: the last one did not
 * @postponed_last: the end of the last of them
 * @postponed_told: the owner has been told of it, GCARENA_WANT_TELL
 * @stop_cpu: processor time of collecting, as all were held
 * @marking_began: by gca_port_now()
 * @live_at_begin: @heap_live at the begin stop
 * @void_run: void cycles in a row
 * @full: list of buffers with entries, as below: tag << 32 | number + 1
 * @free_bufs: list of empty buffers
 * @missed: list of buffers with missed objects
 * @nr_full: buffers on @full, raised before one is put there
 * @nr_missed: likewise for @missed
 * @markers: workers that may own entries
 * @markers_begun: how often one has begun, see gca_work_left()
 * @overflowed: spans under an overflow bit, raised before the bit is set
 * @overflow_chunks: a bit a chunk: some page has its overflow bit
 * @roots: the program's root ranges, replaced as a whole in operations
 * @cycle_roots: those the running cycle began with
 * @job_state: enum gca_job_state of each root job
 * @job_mutator: threads of the stack jobs; NULL: detached since
 * @job_bytes: of the memory behind @job_state and @job_mutator
 * @nr_jobs: root jobs of the running cycle
 * @nr_range_jobs: of them, blocks of ranges; the rest are stacks
 * @next_job: next range job to be claimed
 * @next_stack: next stack job
 * @roots_at_once: barriered ranges are scanned in the begin stop, too: the port cannot read
 *	what may have been unmapped.  Set by the port after gca_arena_init()
 * @ranges_open: range jobs that may be claimed: those below
 * @stacks_open: may workers claim stack jobs?
 * @stacks_lazy: the world runs meanwhile: who cannot scan one leaves it
 * @jobs_done: how many are done
 * @jobs_missed: how many are to be done again
 * @heap_live: bytes marked by the last cycle, plus bytes handed out since
 * @cycle_marked: bytes marked by the running cycle
 * @heap_scan: scan work, if everything that can hold pointers should be live; of what came
 *	outside cycles
 * @pace_lock: protects the next eleven; under it @heap_goal, @heap_trigger and what
 *	gca_sweep_pace() sets are written
 * @limiter: see limiter.h; @limiter.limiting is also read without
 * @limiter_gc: processor time of collecting that it knows of
 * @limiter_cpu: likewise of gca_port_cpu()
 * @pacer: see pacer.h.  @pacer.marking is written in stops only, and read in operations
 * @pace_began: by gca_port_now(): the program has run since, while the cycle marks
 * @pace_assist_ns: time in mode GCA_MARK_ASSIST until then
 * @pace_idle_ns: likewise GCA_MARK_IDLE
 * @pace_worker_ns: likewise workers' other modes, and the pager's
 * @pace_live: @heap_live as the last cycle ended
 * @pace_goal: at which it should have
 * @scan_done: work of the running cycle, by enum gca_scan; written with no lock
 * @credit: work that has been done for all, and taken by nobody yet; never below 0
 * @assist_lock: protects the next two
 * @payees: threads that wait for credit, see assist.c
 * @nr_payees: how many
 * @heap_goal: @heap_live at which the next cycle should end
 * @heap_trigger: @heap_live at which it should begin
 * @heap_peak: highest @heap_live at the beginning of a cycle, slowly forgotten; 0 after
 *	one that was asked for
 * @has_goal: there is a bound on the heap, by percent or by memory limit
 * @asked: a cycle is to begin as soon as possible; no one waits for it
 * @tried: when somebody last set out to have a cycle, by gca_port_now()
 * @ended: when the last cycle ended, likewise; 0: none has
 * @live_at_end: @heap_live then
 * @sweep_live: @heap_live as the next three were set, see gca_sweep_pace()
 * @sweep_spans: @unswept then
 * @sweep_room: bytes, in which these are to be swept
 * @sweep_class: where spans were found that were not swept
 * @sweep_starves: there is no idle time for sweeping: one worker sweeps all the same
 * @totals: counters
 * @check_quiet: what checkmark finds is no WARN; for arenas whose owner asked for
 *	it.  Set by the port after gca_arena_init()
 * @checkmark: debug, see checkmark.c
 * @layout_table: newest table of layouts
 * @port: the port's own
 */
struct gca_arena {
	/* read by every marker: together, and constant while marking */
	u64 base;
	u64 size;
	struct gca_chunk **chunk;
	struct gca_chunk *empty;
	struct gca_layout **layout;
	u32 nr_chunks;
	u32 nr_layouts;
	u32 layout_room;
	struct gcarena_knobs knob;

	struct gcarena_control *control;
	u64 metadata;
	gca_spin_t metadata_lock;

	struct gca_pageheap heap;
	struct gca_central central[GCARENA_NR_SPAN_CLASSES];
	struct gca_central large;

	gca_spin_t mutators_lock;
	struct list_head mutators;
	u32 nr_mutators;
	u64 attached;

	/* the gate: gca_op_begin(), gca_gate_close() */
	atomic_t ops;
	u32 gate_closed;

	/* cycle */
	u32 phase;
	u32 sweepgen;
	u64 epoch;
	atomic64_t unswept;
	atomic64_t nr_spans;
	u32 void_reason;
	bool insertion;
	bool concurrent;
	bool interrupted;
	bool marks_dirty;
	bool checks;
	u64 deadline;
	u64 stop_wait;
	u32 work;
	struct gca_modes modes;
	u32 processors, crew;
	bool marks_idle;
	u64 stop_began, stop_cpu, marking_began;
	u64 stop_patience, postponed_since, postponed_last;
	u32 postponed_told;
	u64 live_at_begin;
	u32 void_run;

	/* work */
	atomic64_t full, free_bufs, missed;
	atomic_t nr_full, nr_missed;
	atomic_t markers;
	atomic64_t markers_begun;
	atomic_t overflowed;
	u64 *overflow_chunks;

	/* roots of the running cycle */
	struct gca_roots *roots;
	struct gca_roots *cycle_roots;
	u8 *job_state;
	struct gca_mutator **job_mutator;
	size_t job_bytes;
	u32 nr_jobs, nr_range_jobs;
	atomic_t next_job, next_stack, jobs_done, jobs_missed;
	u32 ranges_open;
	bool roots_at_once;
	bool stacks_open, stacks_lazy;

	/* accounting and triggers */
	atomic64_t heap_live;
	atomic64_t cycle_marked;
	atomic64_t heap_scan;
	gca_spin_t pace_lock;
	struct gca_limiter limiter;
	u64 limiter_gc, limiter_cpu;
	struct gca_pacer pacer;
	u64 pace_began, pace_assist_ns, pace_idle_ns, pace_worker_ns, pace_live, pace_goal;
	atomic64_t scan_done[GCA_NR_SCANS];
	atomic64_t credit;
	gca_spin_t assist_lock;
	struct list_head payees;
	u32 nr_payees;
	u64 heap_goal, heap_trigger, heap_peak;
	bool has_goal, asked;
	u64 tried, ended, live_at_end;
	u64 sweep_live, sweep_spans, sweep_room;
	u32 sweep_class;
	bool sweep_starves;
	struct gca_totals totals;

	bool check_quiet;
	struct gca_check *checkmark;
	struct gca_layout_table *layout_table;
	void *port;
};

/* What glue calls.  Each function's comment is at its definition. */

/* arena.c */
int gca_arena_init(struct gca_arena *a, u64 reserve, struct gcarena_control *control,
		   u32 debug);
void gca_arena_map(struct gca_arena *a, u64 base);
void gca_arena_fini(struct gca_arena *a);
int gca_layout_add(struct gca_arena *a, u64 elem_size, const u64 *bits, u32 *id);
void gca_stats_read(struct gca_arena *a, struct gcarena_stats *s);
int gca_stats_sync(struct gca_arena *a);
void *gca_meta_zalloc(struct gca_arena *a, size_t bytes);
void gca_meta_free(struct gca_arena *a, void *p, size_t bytes);

/* op.c */
int gca_op_begin(struct gca_arena *a);
int gca_op_try(struct gca_arena *a);
void gca_op_end(struct gca_arena *a);
void gca_gate_close(struct gca_arena *a);
void gca_gate_open(struct gca_arena *a);

/* mutator.c */
int gca_mutator_init(struct gca_mutator *m, struct gca_arena *a, u32 nr_slots,
		     struct gcarena_mutator *shared);
void gca_mutator_bounds(struct gca_mutator *m, const struct gcarena_attach *arg);
int gca_mutator_attach(struct gca_mutator *m);
int gca_mutator_detach(struct gca_mutator *m);
int gca_mutator_leave(struct gca_mutator *m);
struct gca_mutator *gca_mutator_next(struct gca_arena *a, struct gca_mutator *m);
void gca_mutator_fini(struct gca_mutator *m);

/* central.c */
int gca_refill(struct gca_mutator *m, u32 span_class, u32 *count);
int gca_large(struct gca_mutator *m, u64 bytes, u32 kind, u32 layout, u64 *addr, u32 *flags);

/* rootjobs.c */
void gca_roots_self(struct gca_mutator *m);

/* roots.c */
const struct gcarena_range *gca_roots_stack(const struct gca_arena *a, u64 sp);
int gca_roots_update(struct gca_arena *a, const struct gcarena_range *add, u32 nr_add,
		     const struct gcarena_range *del, u32 nr_del);

/* ring.c */
int gca_settle(struct gca_mutator *m);

/* cycle.c */
enum gca_until { GCA_UNTIL_MARKING, GCA_UNTIL_MARKED, GCA_UNTIL_SWEPT };

/**
 * struct gca_order - what gca_cycle_run() is to do
 * @until: where to stop
 * @forced: for the counters
 * @lent: the caller is a thread of the owner's and marks; else workers do, and the
 *	caller touches no memory of the owner's
 * @once: try the begin stop once only: -EAGAIN if a thread is not held in time
 * @soon: likewise, but let the world run after it, and count it, -ETIMEDOUT: who waits wants to
 *	allocate, and will ask again
 * @goes_on: with GCA_UNTIL_MARKING: the caller goes on with the cycle at once, so it is paced
 * @stopped: mark in a stop, whatever gca_arena.concurrent says
 * @alone: lent, and nothing else can mark: it need not be atomic
 * @blind: the caller cannot read the owner's memory: without checkmark
 * @lazy: stacks are left to be captured before resume, where the order ends with the
 *	world running and marking not done: the port sees to it that each thread
 *	calls gca_roots_self() before it executes another user instruction
 * @sweep_stopped: with GCA_UNTIL_SWEPT: sweep before the world runs (Go's gcstoptheworld=2)
 * @timeout_ns: age limit; when it has passed the cycle is void
 */
struct gca_order {
	enum gca_until until;
	bool forced;
	bool lent;
	bool once;
	bool soon;
	bool goes_on;
	bool stopped;
	bool alone;
	bool blind;
	bool lazy;
	bool sweep_stopped;
	u64 timeout_ns;
};

int gca_cycle_run(struct gca_arena *a, const struct gca_order *o);
int gca_collect(struct gca_arena *a, const struct gca_order *o);
bool gca_sweep_there(struct gca_arena *a);
bool gca_sweep_idle(struct gca_arena *a);
void gca_cycle_void(struct gca_arena *a, enum gcarena_void_reason reason);
void gca_cycle_abandon(struct gca_arena *a, enum gcarena_void_reason reason, bool forced);

/** gca_checks() - is the running cycle, or without one the next, to be one with checkmark? */
static inline bool gca_checks(const struct gca_arena *a)
{
	return READ_ONCE(a->phase) == GCARENA_PHASE_OFF ?
	       READ_ONCE(a->knob.debug) & GCARENA_DEBUG_CHECKMARK : READ_ONCE(a->checks);
}

/* hist.c */
void gca_hist_add(struct gca_hist *h, u64 ns);
u64 gca_hist_quantile(const struct gca_hist *h, unsigned int permille);

/* knobs.c */
int gca_config_check(struct gca_arena *a, struct gcarena_config *c);
void gca_config_set(struct gca_arena *a, const struct gcarena_config *c);

/* pace.c */
bool gca_cycle_wanted(struct gca_arena *a);
bool gca_cycle_needed(struct gca_arena *a);
u64 gca_cycle_due(struct gca_arena *a);
void gca_cycle_ask(struct gca_arena *a);
bool gca_cycle_asked(struct gca_arena *a);
void gca_pace(struct gca_arena *a);
void gca_pace_read(struct gca_arena *a, struct gcarena_stats *s);

/* assist.c */
void gca_assist(struct gca_mutator *m);
u32 gca_wants(struct gca_arena *a, struct gca_mutator *pays);

/* modes.c */
u32 gca_cpus_milli(struct gca_arena *a);
void gca_modes_share(u32 cpus, u32 *dedicated, u32 *fraction);
u64 gca_modes_wait(u32 fraction, u64 had, u64 elapsed, bool going_on);
bool gca_turn_begin(struct gca_arena *a, struct gca_turn *t);
void gca_turn_end(struct gca_arena *a, struct gca_turn *t);

/* work.c: for workers and for the pager */
bool gca_work_slice(struct gca_arena *a, unsigned int mode, u64 ns);
bool gca_work_there(struct gca_arena *a);
bool gca_work_idle(struct gca_arena *a);
int gca_missed_scan(struct gca_arena *a, unsigned int mode);
bool gca_missed_pending(struct gca_arena *a);

/* scavenge.c */
/**
 * struct gca_lent - runs of heap pages that SERVE has handed out; belongs to who serves
 * @n: runs; they are out of the page heap until acknowledged
 * @given: of them, in the reply of the last SERVE; what NR_DONE acknowledges
 * @run: our copy: the program's is never read back
 */
struct gca_lent {
	u32 n, given;
	struct gcarena_run run[GCARENA_SERVE_RUNS];
};

u32 gca_lent_take(struct gca_arena *a, struct gca_lent *l, u32 room, bool patient);
int gca_lent_done(struct gca_arena *a, struct gca_lent *l, u32 nr_done);
u32 gca_scavenge_take(struct gca_arena *a, struct gcarena_run *runs, u32 room, bool patient);
void gca_scavenge_done(struct gca_arena *a, const struct gcarena_run *runs, u32 n);
u64 gca_scavenge_due(struct gca_arena *a, bool patient);
bool gca_scavenge_look(struct gca_arena *a);

#endif /* GCA_CORE_H */
