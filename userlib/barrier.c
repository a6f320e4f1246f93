// SPDX-License-Identifier: MIT
/*
 * barrier.c: pointers are overwritten while the collector marks.
 *
 * All stacks and plain roots were captured at one instant and new objects are black,
 * so what can be lost is only what was reachable then through a word that is overwritten
 * before it is scanned (Yuasa's deletion barrier).  So: before a word of the heap, or of
 * a barriered root, that may hold a pointer is overwritten, its old value goes into the
 * thread's ring.  The collector empties rings when it likes; who finds its ring full has
 * it emptied, SETTLE.
 *
 * That the collector marks is told by a word of the control page.  It changes in stops
 * only, so it must be read, the old value recorded and the word overwritten without a
 * stop in between: a section (gcarena-inline.h).  A section that is undone may have
 * recorded what was not overwritten: redundant, not wrong.
 *
 * With GCARENA_BARRIER_INSERTION the value that is written is recorded as well, in the same
 * section (Dijkstra's half of Go's hybrid).  The collector has no need of it.
 *
 * Two threads may overwrite one word at once.  Only the value that it had when marking
 * began must be recorded.  Whoever overwrites that has read it in its own section; what was
 * stored later and is overwritten unrecorded was reachable in another way, or is new.
 *
 * Many words are overwritten by loops of sections of at most RANGE_MAX: recorded, then
 * stored.  How far a section has come is one register, which an abort leaves as it is:
 * it goes on there, after recording the rest again, and never from its beginning, which
 * may have overwritten what it was to copy.
 */
#define _GNU_SOURCE
#include <errno.h>

#include "internal.h"

/* Words in one section: both values of all of them fit into an empty ring. */
#define RANGE_MAX	(GCARENA_RING_ENTRIES < 128 ? GCARENA_RING_ENTRIES / 2 : 64)

enum { ABORTED, DONE, FULL, UNEQUAL };

/* The ring is full.  Return: false if the arena is dead: it marks no more. */
static bool settle(struct gca_mutator *m)
{
	struct gcarena_settle req = {
		.size = sizeof(req),
		.flags = GCARENA_SETTLE_FLUSH,
		.id = m->id,
	};

	return m->arena->be->settle(&m->arena->space, &req) != -ESRCH;
}

/* ------------------------------------------------------------- counted sections */

/* In a section: of GCARENA_BARRIER_* */
static uint32_t barrier(struct gca_mutator *m)
{
	return __atomic_load_n(&m->control->barrier, __ATOMIC_RELAXED);
}

/* In a section: is there room for @n more? */
static bool room(struct gca_mutator *m, uint32_t n)
{
	return m->area->ring_tail - __atomic_load_n(&m->area->ring_head, __ATOMIC_ACQUIRE) + n <=
	       GCARENA_RING_ENTRIES;
}

/* In a section, and there is room. */
static void record(struct gca_mutator *m, uint64_t old)
{
	uint32_t tail = m->area->ring_tail;

	if (old - m->heap_base >= m->heap_size)
		return;
	__atomic_store_n(&m->area->ring[tail % GCARENA_RING_ENTRIES], old, __ATOMIC_RELAXED);
	/* The entry before the tail: pairs with the acquire in core/ring.c. */
	__atomic_store_n(&m->area->ring_tail, tail + 1, __ATOMIC_RELEASE);
}

/* In a section: one word of the heap changes.  Return: DONE, or FULL */
static int record_both(struct gca_mutator *m, uint64_t old, uint64_t new)
{
	uint32_t bits = barrier(m);

	if (!bits)
		return DONE;
	if (!room(m, 2))
		return FULL;
	record(m, old);
	if (bits & GCARENA_BARRIER_INSERTION)
		record(m, new);
	return DONE;
}

static int store_counted(struct gca_mutator *m, void **slot, void *value)
{
	int ret;

	__gca_enter(m);
	ret = record_both(m, (uint64_t)__atomic_load_n(slot, __ATOMIC_RELAXED), (uint64_t)value);
	if (ret == DONE)
		__atomic_store_n(slot, value, __ATOMIC_RELEASE);
	__gca_leave(m);
	return ret;
}

static int cas_counted(struct gca_mutator *m, void **slot, void *expected, void *desired)
{
	int ret;

	__gca_enter(m);
	ret = record_both(m, (uint64_t)expected, (uint64_t)desired);
	if (ret == DONE && !__atomic_compare_exchange_n(slot, &expected, desired, false,
							__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		ret = UNEQUAL;
	__gca_leave(m);
	return ret;
}

/* Words *@k, *@k + @step, ... as far as @end; @mask: 0: they become NULL. */
static int range_counted(struct gca_mutator *m, uint64_t *dst, const uint64_t *src, int64_t *k,
			 int64_t end, int64_t step, uint64_t need, uint64_t mask)
{
	uint32_t bits;
	int ret = DONE;
	int64_t j;

	__gca_enter(m);
	bits = barrier(m);
	if (bits && !room(m, (uint32_t)need))
		ret = FULL;
	for (j = *k; bits && ret == DONE && j != end; j += step) {
		record(m, __atomic_load_n(&dst[j], __ATOMIC_RELAXED));
		if (bits & GCARENA_BARRIER_INSERTION)
			record(m, __atomic_load_n(&src[j], __ATOMIC_RELAXED) & mask);
	}
	for (; ret == DONE && *k != end; *k += step)
		__atomic_store_n(&dst[*k], __atomic_load_n(&src[*k], __ATOMIC_RELAXED) & mask,
				 __ATOMIC_RELEASE);
	__gca_leave(m);
	return ret;
}

/* --------------------------------------------------------- restartable sections */

#ifdef GCA_RSEQ
/*
 * The parts that they share.  rax: the area; ecx: the tail; rdx: a value; rsi: scratch.
 * Label 6: the ring is full, 7: nothing to record, or all recorded.
 */
#define MARKING								\
	"movq %c[octl](%[m]), %%rax\n\t"				\
	"testl %[del], %c[obar](%%rax)\n\t"				\
	"jz 7f\n\t"
#define ROOM(need)							\
	"movq %c[oarea](%[m]), %%rax\n\t"				\
	"movl %c[otail](%%rax), %%ecx\n\t"				\
	"movl %%ecx, %%esi\n\t"						\
	"subl %c[ohead](%%rax), %%esi\n\t"				\
	"addl " need ", %%esi\n\t"					\
	"cmpl %[entries], %%esi\n\t"					\
	"ja 6f\n\t"
/* rdx, if it is in the heap; label @n is behind it. */
#define RECORD(n)							\
	"movq %%rdx, %%rsi\n\t"						\
	"subq %c[obase](%[m]), %%rsi\n\t"				\
	"cmpq %c[osize](%[m]), %%rsi\n\t"				\
	"jae " n "f\n\t"						\
	"movl %%ecx, %%esi\n\t"						\
	"andl %[index], %%esi\n\t"					\
	"movq %%rdx, %c[oring](%%rax, %%rsi, 8)\n\t"			\
	"incl %%ecx\n\t"						\
	n ":\n\t"
/* To label @n, unless new values are recorded, too. */
#define INSERTION(n)							\
	"movq %c[octl](%[m]), %%rsi\n\t"				\
	"testl %[ins], %c[obar](%%rsi)\n\t"				\
	"jz " n "f\n\t"
#define PUBLISH								\
	"movl %%ecx, %c[otail](%%rax)\n\t"
#define OVER(result)							\
	"2:\n\t"							\
	result								\
	"8:\n\t"							\
	"movq $0, %%fs:8(%[rseq])\n\t"					\
	__GCA_SECTION_ABORT("jmp 8b\n\t"				\
			    "6: movl %[full], %k[r]\n\t"		\
			    "jmp 8b\n\t")
#define OPERANDS							\
	[rseq] "r" (m->rseq), [m] "r" (m),				\
	[full] "i" (FULL), [done] "i" (DONE),				\
	[del] "i" (GCARENA_BARRIER_DELETION),				\
	[ins] "i" (GCARENA_BARRIER_INSERTION),				\
	[entries] "i" (GCARENA_RING_ENTRIES),				\
	[index] "i" (GCARENA_RING_ENTRIES - 1),				\
	[octl] "i" (offsetof(struct gca_mutator, control)),		\
	[oarea] "i" (offsetof(struct gca_mutator, area)),		\
	[obase] "i" (offsetof(struct gca_mutator, heap_base)),		\
	[osize] "i" (offsetof(struct gca_mutator, heap_size)),		\
	[obar] "i" (offsetof(struct gcarena_control, barrier)),		\
	[otail] "i" (offsetof(struct gcarena_mutator, ring_tail)),	\
	[ohead] "i" (offsetof(struct gcarena_mutator, ring_head)),	\
	[oring] "i" (offsetof(struct gcarena_mutator, ring))

static int store_section(struct gca_mutator *m, void **slot, void *value)
{
	int r = ABORTED;

	__asm__ __volatile__(
		__GCA_SECTION_BEGIN
		MARKING
		ROOM("$2")
		"movq (%[slot]), %%rdx\n\t"
		RECORD("9")
		INSERTION("10")
		"movq %[v], %%rdx\n\t"
		RECORD("10")
		PUBLISH
		"7:\n\t"
		"movq %[v], (%[slot])\n\t"
		OVER("movl %[done], %k[r]\n\t")
		: [r] "+&r" (r)
		: OPERANDS, [slot] "r" (slot), [v] "r" (value)
		: "rax", "rcx", "rdx", "rsi", "memory", "cc");
	return r;
}

static int cas_section(struct gca_mutator *m, void **slot, void *expected, void *desired)
{
	int r = ABORTED;

	__asm__ __volatile__(
		__GCA_SECTION_BEGIN
		MARKING
		ROOM("$2")
		"movq %[exp], %%rdx\n\t"
		RECORD("9")
		INSERTION("10")
		"movq %[v], %%rdx\n\t"
		RECORD("10")
		PUBLISH
		"7:\n\t"
		"movq %[exp], %%rax\n\t"
		"lock cmpxchgq %[v], (%[slot])\n\t"
		OVER("movl %[done], %k[r]\n\t"
		     "je 8f\n\t"
		     "movl %[unequal], %k[r]\n\t")
		: [r] "+&r" (r)
		: OPERANDS, [slot] "r" (slot), [exp] "r" (expected), [v] "r" (desired),
		  [unequal] "i" (UNEQUAL)
		: "rax", "rcx", "rdx", "rsi", "memory", "cc");
	return r;
}

static int range_section(struct gca_mutator *m, uint64_t *dst, const uint64_t *src, int64_t *k,
			 int64_t end, int64_t step, uint64_t need, uint64_t mask)
{
	int64_t at = *k;
	int r = ABORTED;

	__asm__ __volatile__(
		__GCA_SECTION_BEGIN
		MARKING
		ROOM("%k[need]")
		"movq %[at], %%rdi\n\t"
		"9:\n\t"
		"movq (%[dst], %%rdi, 8), %%rdx\n\t"
		RECORD("10")
		INSERTION("11")
		"movq (%[src], %%rdi, 8), %%rdx\n\t"
		"andq %[mask], %%rdx\n\t"
		RECORD("11")
		"addq %[step], %%rdi\n\t"
		"cmpq %[end], %%rdi\n\t"
		"jne 9b\n\t"
		PUBLISH
		"7:\n\t"
		"movq (%[src], %[at], 8), %%rdx\n\t"
		"andq %[mask], %%rdx\n\t"
		"movq %%rdx, (%[dst], %[at], 8)\n\t"
		"addq %[step], %[at]\n\t"
		"cmpq %[end], %[at]\n\t"
		"jne 7b\n\t"
		OVER("movl %[done], %k[r]\n\t")
		: [r] "+&r" (r), [at] "+&r" (at)
		: OPERANDS, [dst] "r" (dst), [src] "r" (src), [end] "r" (end), [step] "rm" (step),
		  [need] "m" (need), [mask] "m" (mask)
		: "rax", "rcx", "rdx", "rsi", "rdi", "memory", "cc");
	*k = at;
	return r;
}

#define SECTION(what, m, ...)						\
	((m)->rseq ? what##_section(m, __VA_ARGS__) : what##_counted(m, __VA_ARGS__))
#else
#define SECTION(what, m, ...)	what##_counted(m, __VA_ARGS__)
#endif

/* ------------------------------------------------------------------ entry points */

void gca_store_slow(struct gca_mutator *m, void *slot, const void *value)
{
	void *v = (void *)(uintptr_t)value;
	int ret;

	do {
		ret = SECTION(store, m, slot, v);
		if (ret == FULL && !settle(m)) {
			__atomic_store_n((void **)slot, v, __ATOMIC_RELEASE);
			return;
		}
	} while (ret != DONE);
}

int gca_cas(struct gca_mutator *m, void *slot, const void *expected, const void *desired)
{
	void *e = (void *)(uintptr_t)expected, *d = (void *)(uintptr_t)desired;
	int ret;

	do {
		ret = SECTION(cas, m, slot, e, d);
		if (ret == FULL && !settle(m))
			return __atomic_compare_exchange_n((void **)slot, &e, d, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	} while (ret != DONE && ret != UNEQUAL);
	return ret == DONE;
}

void *gca_exchange(struct gca_mutator *m, void *slot, const void *value)
{
	void *old;

	do
		old = __atomic_load_n((void **)slot, __ATOMIC_RELAXED);
	while (!gca_cas(m, slot, old, value));
	return old;
}

/* One section's worth, from @k as far as @end. */
static void range_part(struct gca_mutator *m, uint64_t *dst, const uint64_t *src, int64_t k,
		       int64_t end, int64_t step, uint64_t mask)
{
	uint64_t need = (uint64_t)((end - k) * step) <<
			!!(m->arena->flags & GCA_INSERTION);
	int ret;

	do {
		ret = SECTION(range, m, dst, src, &k, end, step, need, mask);
		if (ret == FULL && !settle(m))
			for (; k != end; k += step)
				__atomic_store_n(&dst[k], src[k] & mask, __ATOMIC_RELEASE);
	} while (k != end);
}

static void range(struct gca_mutator *m, uint64_t *dst, const uint64_t *src, size_t n,
		  uint64_t mask)
{
	int64_t words = (int64_t)n, k, part;

	/* Upwards, unless that would overwrite what is yet to be copied. */
	if ((uintptr_t)dst - (uintptr_t)src >= n * sizeof(*dst)) {
		for (k = 0; k < words; k += part) {
			part = words - k < RANGE_MAX ? words - k : RANGE_MAX;
			range_part(m, dst, src, k, k + part, 1, mask);
		}
	} else {
		for (k = words - 1; k >= 0; k -= part) {
			part = k + 1 < RANGE_MAX ? k + 1 : RANGE_MAX;
			range_part(m, dst, src, k, k - part, -1, mask);
		}
	}
}

void gca_store_range(struct gca_mutator *m, void *dst, const void *src, size_t n)
{
	range(m, dst, src, n, UINT64_MAX);
}

void gca_clear_range(struct gca_mutator *m, void *dst, size_t n)
{
	range(m, dst, dst, n, 0);
}
