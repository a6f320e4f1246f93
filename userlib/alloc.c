// SPDX-License-Identifier: MIT
/*
 * alloc.c: what the inline fast paths of allocation leave: refills, large objects,
 * arrays, and the debug modes.
 *
 * A refill runs with all signals blocked from the look at the exhausted span
 * until the new ones are zeroed: a handler that allocates must find either the
 * old state or the new one.  The generation tells an interrupted fast path that
 * a slot may mean something else now.
 *
 * Nothing here may call malloc() or stdio: a handler that interrupted them may
 * be the caller.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "internal.h"

#define WANT_MAX	16		/* spans of small slots a refill */
#define WANT_MAX_SLOT	512

/* How an object says where its pointers are. */
enum how { PLAIN, BITMAP, HEADER };

/**
 * struct order - an allocation that the fast path could not do
 * @span_class: or GCA_LARGE
 * @how: what is written before the commit
 * @bits: with BITMAP
 * @mask: with BITMAP
 * @layout: id; with HEADER and of large precise objects
 * @bytes: of the object, without header
 */
struct order {
	uint32_t span_class;
	enum how how;
	uint64_t bits, mask;
	uint32_t layout;
	size_t bytes;
};

static struct gcl_mutator *priv(struct gca_mutator *m)
{
	return (struct gcl_mutator *)m;
}

/* ------------------------------------------------------------------- slots */

static uint32_t next_free(const struct gcarena_slot *s, uint32_t i)
{
	while (i < s->nelems) {
		uint64_t w = ~s->bits[i / 64] >> (i % 64);

		if (w) {
			i += (uint32_t)__builtin_ctzll(w);
			break;
		}
		i = (i / 64 + 1) * 64;
	}
	return i < s->nelems ? i : s->nelems;
}

#ifdef __SANITIZE_THREAD__
/* What TSan has for runtimes with a heap of their own; one heap, so here all addresses. */
void __tsan_java_init(unsigned long begin, unsigned long bytes);
void __tsan_java_alloc(unsigned long begin, unsigned long bytes);

static pthread_once_t tsan_once = PTHREAD_ONCE_INIT;

static void tsan_init(void)
{
	__tsan_java_init(8, (1UL << 47) - 16);
}

/* It knows nothing of stops, so nothing of why nobody else uses this any more. */
static void fill(void *start, int byte, size_t bytes)
{
	pthread_once(&tsan_once, tsan_init);
	__tsan_java_alloc((unsigned long)start, bytes & ~7UL);
	memset(start, byte, bytes);
}
#else
#define fill	memset
#endif

/* Fill the free slots of a span, run by run. */
static void fill_free(struct gcarena_slot *s, int byte)
{
	uint32_t i = next_free(s, s->free_index), end;

	while (i < s->nelems) {
		for (end = i + 1; end < s->nelems && !(s->bits[end / 64] >> (end % 64) & 1); end++)
			;
		fill((char *)s->base + (size_t)i * s->elem_size, byte,
		     (size_t)(end - i) * s->elem_size);
		i = next_free(s, end);
	}
}

static uint16_t *current_of(struct gca_mutator *m, uint32_t sc)
{
	return m->arena->slow ? &priv(m)->shadow[sc] : &m->area->current_slot[sc];
}

/* New spans must be zero before anybody can allocate from them. */
static void prepare_spans(struct gca_mutator *m, uint32_t sc)
{
	const struct gcl_debug *d = &m->arena->debug;
	uint32_t n = m->area->current_slot[sc];

	for (; n && n < m->area->nr_slots; n = m->area->slot[n].next) {
		struct gcarena_slot *s = &m->area->slot[n];

		if (d->clobber) {
			if (!(s->flags & GCARENA_SLOT_CLOBBERED))
				fill_free(s, GCL_CLOBBER);
			s->flags |= GCARENA_SLOT_CLOBBERED;
		} else if (s->flags & GCARENA_SLOT_NEEDZERO) {
			fill_free(s, 0);
		} else if (!s->free_index && !(s->bits[0] & 1)) {
			/*
			 * Fresh memory: write first.  The first access of an
			 * allocation reads the bitmap, and where a read maps the
			 * huge zero page the write that follows splits it (Linux
			 * before 6.13): the heap would never get huge pages; and
			 * where a small zero page is replaced, all processors that
			 * run the process are interrupted.
			 */
			*(volatile char *)s->base = 0;
			if ((sc & 3) == GCARENA_PRECISE)
				*(volatile char *)(s->base + GCARENA_BITMAP_OFFSET) = 0;
		}
		s->flags &= (uint16_t)~GCARENA_SLOT_NEEDZERO;
	}
}

/*
 * In the debug modes the fast paths must find nothing, so current_slot is kept
 * zero.  The collector writes it in a refill, for other classes, too, when it
 * evicts: lend it the true words for that long.
 */
static void shadow_in(struct gca_mutator *m)
{
	if (m->arena->slow)
		memcpy(m->area->current_slot, priv(m)->shadow, sizeof(priv(m)->shadow));
}

static void shadow_out(struct gca_mutator *m)
{
	if (m->arena->slow) {
		memcpy(priv(m)->shadow, m->area->current_slot, sizeof(priv(m)->shadow));
		memset(m->area->current_slot, 0, sizeof(m->area->current_slot));
	}
}

/* *@p = @to if it is still @from and no refill came between. */
static void move_current(struct gca_mutator *m, uint16_t *p, uint32_t generation, uint16_t from,
			 uint16_t to)
{
#ifdef GCA_RSEQ
	if (m->rseq) {
		/* Aborted: the caller looks again. */
		__asm__ __volatile__(
			__GCA_SECTION_BEGIN
			"cmpl %[gen], %c[ogen](%[m])\n\t"
			"jne 2f\n\t"
			"cmpw %w[from], (%[p])\n\t"
			"jne 2f\n\t"
			"movw %w[to], (%[p])\n\t"
			__GCA_SECTION_END
			__GCA_SECTION_ABORT("jmp 2b\n\t")
			: : [rseq] "r" (m->rseq), [m] "r" (m), [gen] "r" (generation),
			  [p] "r" (p), [from] "r" ((uint32_t)from), [to] "r" ((uint32_t)to),
			  [ogen] "i" (offsetof(struct gca_mutator, generation))
			: "rax", "memory", "cc");
		return;
	}
#endif
	/* Signal handlers do not allocate here. */
	(void)m;
	(void)generation;
	if (*p == from)
		__atomic_store_n(p, to, __ATOMIC_RELAXED);
}

/*
 * The current span of @sc is exhausted: retire it and go on to the next, with
 * signals open and without a system call.  Return: false if there is none.
 */
static bool advance(struct gca_mutator *m, uint32_t sc)
{
	uint16_t *current = &m->area->current_slot[sc], n;
	struct gcarena_slot *s;
	struct __gca_take t;

	if (m->arena->slow)
		return false;
	t.generation = __atomic_load_n(&m->generation, __ATOMIC_RELAXED);
	n = __atomic_load_n(current, __ATOMIC_RELAXED);
	if (!n || n >= m->area->nr_slots)
		return false;
	s = &m->area->slot[n];
	t.slot = s;
	t.seen = __atomic_load_n(&s->free_index, __ATOMIC_RELAXED);
	if (next_free(s, t.seen) < s->nelems)
		return true;
	/* Taken to the end: only then will the collector take it back. */
	if (t.seen < s->nelems) {
		t.index = s->nelems - 1;
		if (!__gca_take_plain(m, &t))
			return true;
	}
	move_current(m, current, t.generation, n, s->next);
	return __atomic_load_n(current, __ATOMIC_RELAXED) != 0;
}

/*
 * The current span of @sc is exhausted: go on to the next, or fetch some.  All
 * signals are blocked.  Return: 0 or -errno, and GCARENA_WANT_*.
 */
static int next_span(struct gca_mutator *m, uint32_t sc, uint32_t *wants)
{
	struct gcl_mutator *p = priv(m);
	struct gcarena_refill req = { .size = sizeof(req), .id = m->id, .span_class = sc };
	uint16_t *current = current_of(m, sc);
	struct gcarena_slot *s;
	int err;

	while (*current && *current < m->area->nr_slots) {
		s = &m->area->slot[*current];
		if (next_free(s, s->free_index) < s->nelems)
			return 0;
		/* Taken to the end: only then will the collector take it back. */
		__atomic_store_n(&s->free_index, s->nelems, __ATOMIC_RELEASE);
		*current = s->next;
	}
	req.count = p->want[sc] ? p->want[sc] : 1;
	m->generation++;
	shadow_in(m);
	do {
		req.flags = 0;
		err = m->arena->be->refill(&m->arena->space, &req);
	} while (err == -EINTR);
	if (!err) {
		prepare_spans(m, sc);
		s = &m->area->slot[m->area->current_slot[sc]];
		if (s->elem_size <= WANT_MAX_SLOT)
			p->want[sc] = p->want[sc] < WANT_MAX / 2 ?
				      (uint8_t)(2 * (p->want[sc] ? p->want[sc] : 1)) : WANT_MAX;
	}
	shadow_out(m);
	*wants = req.flags;
	return err;
}

/* One attempt in the current span; 0 if it is exhausted. */
static uint64_t take(struct gca_mutator *m, const struct order *o)
{
	struct gcarena_slot *s;
	struct __gca_take t;
	uint64_t obj;

	do {
		s = &m->area->slot[__atomic_load_n(current_of(m, o->span_class), __ATOMIC_RELAXED)];
		t.slot = s;
		t.generation = __atomic_load_n(&m->generation, __ATOMIC_RELAXED);
		t.seen = __atomic_load_n(&s->free_index, __ATOMIC_RELAXED);
		t.index = next_free(s, t.seen);
		if (t.index >= s->nelems)
			return 0;
		/* Signals are blocked in the debug modes: the slot stays ours. */
		if (m->arena->debug.clobber)
			fill((void *)__gca_take_addr(&t), 0, s->elem_size);
		switch (o->how) {
		case BITMAP:
			obj = __gca_take_bitmap(m, &t, o->bits, o->mask);
			break;
		case HEADER:
			obj = __gca_take_header(m, &t, o->layout);
			break;
		default:
			obj = __gca_take_plain(m, &t);
		}
	} while (!obj);
	return o->how == HEADER ? obj + GCARENA_HEADER_BYTES : obj;
}

static void *no_memory(struct gca_mutator *m, int err)
{
	struct gca_arena *a = m->arena;

	if (err == -ENOSPC)
		gcl_fail(ENOMEM, "the arena's %zu MiB are full of live objects; open it with a larger reserve",
			 a->space.heap_size >> 20);
	else if (err == -ENOMEM)
		gcl_fail(ENOMEM, "no memory for the collector's metadata");
	else
		gcl_fail(-err, "allocation failed: %s", strerror(-err));
	return NULL;
}

/* As the pacer wants it.  Without it the allocation goes on: errno is left alone. */
static void collect_paced(struct gca_arena *a)
{
	int saved = errno;

	gcl_collect(a, 0, true);
	errno = saved;
}

/* A full arena needs a cycle whatever the pacer thinks of it.  Without one its sentence stays. */
static int collect_full(struct gca_arena *a)
{
	int err = gcl_collect(a, 0, false);

	if (err)
		errno = ENOMEM;
	return err;
}

static void *alloc_small(struct gca_mutator *m, const struct order *o)
{
	struct gca_arena *a = m->arena;
	struct gcl_signals sigs;
	bool collected = false;
	uint32_t wants = 0;
	uint64_t obj;
	int err;

	for (;;) {
		if (a->slow) {
			sigs = gcl_block();
			obj = take(m, o);
			gcl_restore(sigs);
		} else {
			obj = take(m, o);
		}
		if (obj)
			return (void *)obj;
		if (advance(m, o->span_class))
			continue;
		if (gcl_dead(a))
			return NULL;
		sigs = gcl_block();
		err = next_span(m, o->span_class, &wants);
		gcl_restore(sigs);
		if (wants & GCARENA_WANT_TELL)
			gcl_tell_postponed(a);
		if (err && (err != -ENOSPC || collected))
			return no_memory(m, err);
		if (err) {
			if (collect_full(a))
				return NULL;
			collected = true;
		} else if (wants & GCARENA_WANT_COLLECT) {
			collect_paced(a);
		}
		wants = 0;
	}
}

static void *alloc_large(struct gca_mutator *m, const struct order *o, unsigned int kind)
{
	struct gcarena_large req = {
		.size = sizeof(req),
		.bytes = o->bytes,
		.kind = kind,
		.layout = o->layout,
		.id = m->id,
	};
	struct gca_arena *a = m->arena;
	bool collected = false;
	void *obj;
	int err;

	if (gcl_dead(a))
		return NULL;
	/* No cycle makes room for that. */
	if (o->bytes > a->space.heap_size) {
		gcl_fail(ENOMEM, "an object of %zu bytes does not fit into an arena of %zu MiB; open it with a larger reserve",
			 o->bytes, a->space.heap_size >> 20);
		return NULL;
	}
	for (;;) {
		req.flags = 0;
		err = a->be->large(&a->space, &req);
		if (req.flags & GCARENA_WANT_TELL)
			gcl_tell_postponed(a);
		if (!err)
			break;
		if (err == -EINTR)
			continue;
		if (err != -ENOSPC || collected)
			return no_memory(m, err);
		if (collect_full(a))
			return NULL;
		collected = true;
	}
	obj = (void *)req.addr;
	/* A fresh run is zero without having been touched; debug distrusts that. */
	if (a->debug.clobber)
		fill(obj, GCL_CLOBBER, o->bytes);
	if (a->debug.clobber || (req.flags & GCARENA_LARGE_NEEDZERO))
		fill(obj, 0, (o->bytes + GCARENA_PAGE_SIZE - 1) & ~(GCARENA_PAGE_SIZE - 1));
	if (req.flags & GCARENA_WANT_COLLECT)
		collect_paced(a);
	gca_keep_alive(obj);
	return obj;
}

/* GCARENA_DEBUG=stress=N. */
static void stress(struct gca_mutator *m)
{
	struct gcl_mutator *p = priv(m);

	if (!m->arena->debug.stress || ++p->stress < m->arena->debug.stress)
		return;
	p->stress = 0;
	gcl_collect(m->arena, 0, false);
}

static void *alloc_precise(struct gca_mutator *m, const struct order *o)
{
	stress(m);
	return o->span_class == GCA_LARGE ? alloc_large(m, o, GCARENA_PRECISE) : alloc_small(m, o);
}

/* ------------------------------------------------------------- entry points */

void *gca_alloc_slow(struct gca_mutator *m, const struct gca_layout *l)
{
	struct order o = {
		.span_class = l->span_class,
		.how = l->mask ? BITMAP : HEADER,
		.bits = l->bits,
		.mask = l->mask,
		.layout = l->id,
		.bytes = l->size,
	};

	return alloc_precise(m, &o);
}

void *gca_bytes_slow(struct gca_mutator *m, size_t bytes, unsigned int kind)
{
	struct order o = { .bytes = bytes ? bytes : 1, .how = PLAIN };

	stress(m);
	if (bytes > GCARENA_SMALL_MAX)
		return alloc_large(m, &o, kind);
	o.span_class = GCARENA_SPAN_CLASS(__gca_size_class(bytes), kind);
	return alloc_small(m, &o);
}

void *gca_alloc_array(struct gca_mutator *m, const struct gca_layout *l, size_t n)
{
	struct order o = { .how = HEADER, .layout = l->id };
	unsigned int sc, words = (unsigned int)(l->size / 8);
	size_t bytes, i;

	if (n == 1)
		return gca_alloc(m, l);
	if (__builtin_mul_overflow(l->size, n, &bytes)) {
		gcl_fail(EOVERFLOW, "gca_alloc_array: %zu elements of %zu bytes are more than an address space",
			 n, (size_t)l->size);
		return NULL;
	}
	if (!bytes)
		bytes = 8;
	o.bytes = bytes;
	if (bytes <= GCARENA_BITMAP_MAX) {
		sc = __gca_size_class(bytes);
		for (i = 0; i < n; i++)
			o.bits |= l->bits << (i * words);
		/* Of the slot, which may have a few words more than the array. */
		i = gcl_slot_bytes(sc) / 8;
		o.mask = i == 64 ? ~0ULL : (1ULL << i) - 1;
		o.how = BITMAP;
		o.span_class = GCARENA_SPAN_CLASS(sc, GCARENA_PRECISE);
	} else if (bytes <= GCARENA_SMALL_MAX - GCARENA_HEADER_BYTES) {
		sc = __gca_size_class(bytes + GCARENA_HEADER_BYTES);
		o.span_class = GCARENA_SPAN_CLASS(sc, GCARENA_PRECISE);
	} else {
		o.span_class = GCA_LARGE;
	}
	return alloc_precise(m, &o);
}
