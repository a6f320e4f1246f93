/* SPDX-License-Identifier: MIT */
/*
 * <gcarena-inline.h>: the fast paths of <gcarena.h>; include that.
 *
 * An allocation is: find the next free slot of a span this thread has cached,
 * say where its pointers are, and store the free index, which commits.  A
 * pointer store is: see that no barrier is wanted, and store.  Both must be
 * undone as a whole when something comes between: a signal handler that
 * allocates from the same span, or a stop that changes the phase.  So they are
 * restartable sequences (man 2 rseq): the kernel moves a thread that was
 * preempted or got a signal inside one to its abort handler, which is "again".
 *
 * Nothing here may call the system, and everything that a section writes must
 * be harmless when its last store does not happen.
 *
 * Where rseq is not to be had (old libc, another processor, sanitizers, which
 * cannot see into assembly) the counter gcarena_mutator.critical brackets the
 * section; signal handlers must not allocate or store then.
 */
#ifndef GCARENA_INLINE_H
#define GCARENA_INLINE_H

#ifndef GCARENA_H
#error "include <gcarena.h>"
#endif

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define GCA_NO_RSEQ	1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define GCA_NO_RSEQ	1
#endif
#endif
#if defined(__x86_64__) && defined(__LP64__) && !defined(GCA_NO_RSEQ)
#define GCA_RSEQ	1
#endif

#define __GCA_INLINE	static inline __attribute__((__always_inline__))
#define __gca_likely(x)		__builtin_expect(!!(x), 1)
#define __gca_unlikely(x)	__builtin_expect(!!(x), 0)

/**
 * struct gca_mutator - read by the inline functions; private otherwise
 * @area: shared with the collector
 * @control: the arena's control page
 * @rseq: offset of the thread's struct rseq from the thread pointer, 0: none
 * @generation: changes when the meaning of a slot of @area may have changed
 * @id: the collector's name for the thread
 * @heap_base: first address of the heap
 * @heap_size: bytes
 * @arena: whose it is
 */
struct gca_mutator {
	struct gcarena_mutator *area;
	const struct gcarena_control *control;
	int64_t rseq;
	uint32_t generation;
	uint32_t id;
	uint64_t heap_base, heap_size;
	struct gca_arena *arena;
};

/**
 * struct gca_layout - read by the inline functions; private otherwise
 * @bits: pointer bits of an element of at most GCARENA_BITMAP_MAX bytes
 * @mask: a bit a word of the slot it gets
 * @span_class: of one element, GCA_LARGE if it has its own span
 * @id: the collector's name for the layout
 * @size: of an element, rounded up to words
 */
struct gca_layout {
	uint64_t bits, mask;
	uint32_t span_class;
	uint32_t id;
	uint64_t size;
};

#define GCA_LARGE	0xffffffffU

GCA_API void *gca_alloc_slow(struct gca_mutator *m, const struct gca_layout *layout);
GCA_API void *gca_bytes_slow(struct gca_mutator *m, size_t bytes, unsigned int kind);
GCA_API void gca_store_slow(struct gca_mutator *m, void *slot, const void *value);
GCA_API void gca_park_slow(struct gca_mutator *m);

/*
 * The size class of @bytes, 1 .. GCARENA_SMALL_MAX: eight-byte steps to 128,
 * then eight classes a doubling.
 */
__GCA_INLINE unsigned int __gca_size_class(size_t bytes)
{
	unsigned int e;

	if (bytes <= 16)
		return 0;
	if (bytes <= 128)
		return (unsigned int)((bytes + 7) / 8 - 2);
	e = 63 - (unsigned int)__builtin_clzll(bytes - 1);
	return 15 + (e - 7) * 8 + (unsigned int)((bytes - 1) >> (e - 3)) - 8;
}

#define __GCA_LOAD(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define __GCA_STORE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

/**
 * struct __gca_take - one allocation attempt, prepared outside the section
 * @slot: the span
 * @seen: its free index when the attempt was prepared
 * @index: the slot to take
 */
struct __gca_take {
	struct gcarena_slot *slot;
	uint32_t generation, seen, index;
};

/* Prepare: 1, or 0 if this 64-slot stretch of the span has no free slot. */
__GCA_INLINE int __gca_prepare(struct gca_mutator *m, struct gcarena_slot *s,
				struct __gca_take *t)
{
	uint32_t i;
	uint64_t w;

	t->slot = s;
	t->generation = __GCA_LOAD(m->generation);
	t->seen = i = __GCA_LOAD(s->free_index);
	if (__gca_unlikely(i >= s->nelems))
		return 0;
	w = ~s->bits[i / 64] >> (i % 64);
	if (__gca_unlikely(!w))
		return 0;
	t->index = i + (uint32_t)__builtin_ctzll(w);
	return t->index < s->nelems;
}

#ifdef GCA_RSEQ
/*
 * The frame of a section.  Label 3 is its descriptor, 1 and 2 its bounds, 4 the
 * abort handler, 5 the way out that stores nothing.  "?" puts what is out of
 * line into the function's COMDAT group, so that it is discarded with it.
 */
#define __GCA_SECTION_BEGIN						\
	".pushsection __rseq_cs, \"aw?\"\n\t"				\
	".balign 32\n\t"						\
	"3:\n\t"							\
	".long 0, 0\n\t"						\
	".quad 1f, (2f - 1f), 4f\n\t"					\
	".popsection\n\t"						\
	"leaq 3b(%%rip), %%rax\n\t"					\
	"movq %%rax, %%fs:8(%[rseq])\n\t"				\
	"1:\n\t"
#define __GCA_SECTION_END						\
	"2:\n\t"							\
	"movq $0, %%fs:8(%[rseq])\n\t"
#define __GCA_SECTION_ABORT(what)					\
	".pushsection __rseq_failure, \"ax?\"\n\t"			\
	".byte 0x0f, 0xb9, 0x3d\n\t"	/* ud1 SIG(%rip), %edi */	\
	".long 0x53053053\n\t"						\
	"4:\n\t"							\
	"5:\n\t"							\
	what								\
	".popsection\n\t"

/*
 * The take.  If nobody came in between, run @stores and commit; else the
 * address that comes out is 0.  The address goes in and out, so that what the
 * compiler keeps of it afterwards is the address and not its parts.
 */
#define __GCA_TAKE(stores, ...)						\
	__asm__ __volatile__(						\
		__GCA_SECTION_BEGIN					\
		"cmpl %[gen], %c[ogen](%[m])\n\t"			\
		"jne 5f\n\t"						\
		"cmpl %[seen], %c[ofree](%[s])\n\t"			\
		"jne 5f\n\t"						\
		stores							\
		"movl %[next], %c[ofree](%[s])\n\t"			\
		__GCA_SECTION_END					\
		__GCA_SECTION_ABORT("xorl %k[obj], %k[obj]\n\t"		\
				    "jmp 2b\n\t")			\
		: [obj] "+&r" (obj)					\
		: [rseq] "r" (m->rseq), [m] "r" (m), [s] "r" (t->slot),	\
		  [gen] "r" (t->generation), [seen] "r" (t->seen),	\
		  [next] "r" (t->index + 1),				\
		  [ogen] "i" (offsetof(struct gca_mutator, generation)),\
		  [ofree] "i" (offsetof(struct gcarena_slot, free_index)) \
		  __VA_ARGS__						\
		: "rax", "memory", "cc")
#endif

/*
 * The same bracketed by the counter.  Who looks at it is this thread's own stop
 * handler, which leaves a thread inside a section alone: so the end of the section
 * must see the stop that the handler has seen, and stand still then.
 */
__GCA_INLINE void __gca_enter(struct gca_mutator *m)
{
	__GCA_STORE(m->area->critical, m->area->critical + 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

__GCA_INLINE void __gca_leave(struct gca_mutator *m)
{
	uint32_t nesting = m->area->critical - 1;

	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&m->area->critical, nesting, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (!nesting && __gca_unlikely(__GCA_LOAD(m->control->stop)))
		gca_park_slow(m);
}

__GCA_INLINE int __gca_unchanged(struct gca_mutator *m, const struct __gca_take *t)
{
	return t->generation == m->generation && t->seen == __GCA_LOAD(t->slot->free_index);
}

__GCA_INLINE uint64_t __gca_take_addr(const struct __gca_take *t)
{
	return t->slot->base + (uint64_t)t->index * t->slot->elem_size;
}

/* Take a slot whose contents say nothing about pointers. */
__GCA_INLINE uint64_t __gca_take_plain(struct gca_mutator *m, const struct __gca_take *t)
{
	uint64_t obj = __gca_take_addr(t);

#ifdef GCA_RSEQ
	if (__gca_likely(m->rseq)) {
		__GCA_TAKE("", );
		return obj;
	}
#endif
	__gca_enter(m);
	if (__gca_unchanged(m, t))
		__atomic_store_n(&t->slot->free_index, t->index + 1, __ATOMIC_RELEASE);
	else
		obj = 0;
	__gca_leave(m);
	return obj;
}

/* Take a slot that begins with a layout id. */
__GCA_INLINE uint64_t __gca_take_header(struct gca_mutator *m, const struct __gca_take *t,
					 uint64_t id)
{
	uint64_t obj = __gca_take_addr(t);

#ifdef GCA_RSEQ
	if (__gca_likely(m->rseq)) {
		__GCA_TAKE("movq %[id], (%[obj])\n\t", , [id] "r" (id));
		return obj;
	}
#endif
	__gca_enter(m);
	if (__gca_unchanged(m, t)) {
		__GCA_STORE(*(uint64_t *)obj, id);
		__atomic_store_n(&t->slot->free_index, t->index + 1, __ATOMIC_RELEASE);
	} else {
		obj = 0;
	}
	__gca_leave(m);
	return obj;
}

/*
 * Take a slot whose pointers are bits in the tail of its page.  A slot has at
 * most 64 words, so its bits are in one word of the bitmap or in two.  Only
 * this thread writes the bitmap of a span it has cached: what was read before
 * the section is still true in it if the free index is.
 */
__GCA_INLINE uint64_t __gca_take_bitmap(struct gca_mutator *m, const struct __gca_take *t,
					 uint64_t bits, uint64_t mask)
{
	uint64_t obj = __gca_take_addr(t);
	uint64_t off = (obj & (GCARENA_PAGE_SIZE - 1)) / 8;
	uint64_t *p0 = (uint64_t *)((obj & ~(uint64_t)(GCARENA_PAGE_SIZE - 1)) +
				    GCARENA_BITMAP_OFFSET) + off / 64;
	unsigned int shift = off % 64;
	uint64_t high = (mask >> 1) >> (63 - shift);	/* mask >> (64 - shift) */
	uint64_t *p1 = p0 + (high != 0);
	uint64_t v0 = (__GCA_LOAD(*p0) & ~(mask << shift)) | bits << shift;
	uint64_t v1 = (__GCA_LOAD(*p1) & ~high) | (bits >> 1) >> (63 - shift);

	if (!high)
		v1 = v0;
#ifdef GCA_RSEQ
	if (__gca_likely(m->rseq)) {
		__GCA_TAKE("movq %[v0], (%[p0])\n\t"
			   "movq %[v1], (%[p1])\n\t", ,
			   [v0] "r" (v0), [p0] "r" (p0), [v1] "r" (v1), [p1] "r" (p1));
		return obj;
	}
#endif
	__gca_enter(m);
	if (__gca_unchanged(m, t)) {
		__GCA_STORE(*p0, v0);
		__GCA_STORE(*p1, v1);
		__atomic_store_n(&t->slot->free_index, t->index + 1, __ATOMIC_RELEASE);
	} else {
		obj = 0;
	}
	__gca_leave(m);
	return obj;
}

__GCA_INLINE struct gcarena_slot *__gca_current(struct gca_mutator *m, unsigned int span_class)
{
	struct gcarena_mutator *area = m->area;

	return &area->slot[__GCA_LOAD(area->current_slot[span_class])];
}

__GCA_INLINE void *gca_alloc(struct gca_mutator *m, const struct gca_layout *layout)
{
	struct __gca_take t;
	uint64_t obj;

	if (__gca_likely(layout->mask) &&
	    __gca_likely(__gca_prepare(m, __gca_current(m, layout->span_class), &t))) {
		obj = __gca_take_bitmap(m, &t, layout->bits, layout->mask);
		if (__gca_likely(obj))
			return (void *)obj;
	}
	return gca_alloc_slow(m, layout);
}

__GCA_INLINE void *__gca_alloc_bytes(struct gca_mutator *m, size_t bytes, unsigned int kind)
{
	struct __gca_take t;
	unsigned int span_class;
	uint64_t obj;

	if (__gca_likely(bytes <= GCARENA_SMALL_MAX)) {
		span_class = GCARENA_SPAN_CLASS(__gca_size_class(bytes), kind);
		if (__gca_likely(__gca_prepare(m, __gca_current(m, span_class), &t))) {
			obj = __gca_take_plain(m, &t);
			if (__gca_likely(obj))
				return (void *)obj;
		}
	}
	return gca_bytes_slow(m, bytes, kind);
}

__GCA_INLINE void *gca_alloc_noscan(struct gca_mutator *m, size_t bytes)
{
	return __gca_alloc_bytes(m, bytes, GCARENA_NOSCAN);
}

__GCA_INLINE void *gca_alloc_conservative(struct gca_mutator *m, size_t bytes)
{
	return __gca_alloc_bytes(m, bytes, GCARENA_CONSERVATIVE);
}

__GCA_INLINE void gca_store(struct gca_mutator *m, void *slot, const void *value)
{
#ifdef GCA_RSEQ
	if (__gca_likely(m->rseq)) {
		/* The load of the phase and the store are one section. */
		__asm__ goto(
			__GCA_SECTION_BEGIN
			"cmpl $0, %c[obar](%[ctl])\n\t"
			"jne 5f\n\t"
			"movq %[v], (%[slot])\n\t"
			__GCA_SECTION_END
			__GCA_SECTION_ABORT("movq $0, %%fs:8(%[rseq])\n\t"
					    "jmp %l[slow]\n\t")
			:
			: [rseq] "r" (m->rseq), [ctl] "r" (m->control),
			  [slot] "r" (slot), [v] "r" (value),
			  [obar] "i" (offsetof(struct gcarena_control, barrier))
			: "rax", "memory", "cc"
			: slow);
		return;
	}
slow:
#endif
	gca_store_slow(m, slot, value);
}

/**
 * gca_keep_alive() - the object is needed until here
 *
 * For an object whose address the compiler could forget while something that
 * was derived from it and is no pointer into it is still in use.
 */
__GCA_INLINE void gca_keep_alive(const void *object)
{
	__asm__ __volatile__("" : : "g" (object) : "memory");
}

/* ------------------------------------------------------- layouts from fields */

/* gca_layout_of(arena, struct node, left, right): at most 12 pointer fields. */
#define gca_layout_of(arena, type, ...)						\
	gca_layout_offsets(arena, sizeof(type),					\
		__GCA_PICK(__VA_ARGS__, __GCA_F12, __GCA_F11, __GCA_F10, __GCA_F9,	\
			   __GCA_F8, __GCA_F7, __GCA_F6, __GCA_F5, __GCA_F4,	\
			   __GCA_F3, __GCA_F2, __GCA_F1, 0)(type, __VA_ARGS__)	\
		(size_t)-1)
#define __GCA_PICK(a, b, c, d, e, f, g, h, i, j, k, l, n, ...)	n
#define __GCA_F1(t, a)		(size_t)offsetof(t, a),
#define __GCA_F2(t, a, ...)	__GCA_F1(t, a) __GCA_F1(t, __VA_ARGS__)
#define __GCA_F3(t, a, ...)	__GCA_F1(t, a) __GCA_F2(t, __VA_ARGS__)
#define __GCA_F4(t, a, ...)	__GCA_F1(t, a) __GCA_F3(t, __VA_ARGS__)
#define __GCA_F5(t, a, ...)	__GCA_F1(t, a) __GCA_F4(t, __VA_ARGS__)
#define __GCA_F6(t, a, ...)	__GCA_F1(t, a) __GCA_F5(t, __VA_ARGS__)
#define __GCA_F7(t, a, ...)	__GCA_F1(t, a) __GCA_F6(t, __VA_ARGS__)
#define __GCA_F8(t, a, ...)	__GCA_F1(t, a) __GCA_F7(t, __VA_ARGS__)
#define __GCA_F9(t, a, ...)	__GCA_F1(t, a) __GCA_F8(t, __VA_ARGS__)
#define __GCA_F10(t, a, ...)	__GCA_F1(t, a) __GCA_F9(t, __VA_ARGS__)
#define __GCA_F11(t, a, ...)	__GCA_F1(t, a) __GCA_F10(t, __VA_ARGS__)
#define __GCA_F12(t, a, ...)	__GCA_F1(t, a) __GCA_F11(t, __VA_ARGS__)

#endif /* GCARENA_INLINE_H */
