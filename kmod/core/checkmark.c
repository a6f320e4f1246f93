// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * checkmark.c: a second marker, to catch the first (Go's gccheckmark).
 *
 * With the world stopped and marking complete, walk the heap again from the
 * same roots: one thread, depth first, one word at a time, own mark bits, no
 * prefetching, no queue, no no-fault reads.  Whatever it reaches that is old
 * must have been marked.  A difference is a WARN that names the object, its
 * span and the path that reaches it: the path is simply the stack of the walk.
 * (Only lines, and not many, if gca_arena.check_quiet: an owner whose threads write
 * to the heap without being attached makes differences as it likes.)
 *
 * It runs in the owner's context, with faults on.  It shares with the first
 * marker gca_find() and the colour rule, which have tests of their own, and
 * nothing else.  Slow, and meant to be.
 */
#include "cycle.h"
#include "pageheap.h"
#include "span.h"

#define FRAMES		65536
#define PATH_SHOWN	16
#define REPORTS		8	/* objects reported a cycle */
#define CHECK_BYTES	(GCA_CHUNK_PAGES * GCA_BIT_WORDS * sizeof(u64))

/**
 * struct frame - an object on the path from a root
 * @off: offset of the slot in the heap
 * @addr: of its word 0
 * @words: in it
 * @next: first word not looked at
 * @layout: of a precise object with one
 * @bits: of a small precise object
 * @kind: enum gcarena_kind
 * @small: described by its span's tail bitmap
 */
struct frame {
	u64 off, addr, words, next;
	const struct gca_layout *layout;
	u64 bits;
	u32 kind;
	bool small;
};

/**
 * struct gca_check - state of a walk
 * @frame: the path
 * @depth: frames in use
 * @deep: some object was not entered for want of frames
 * @stop: the caller is to give up
 * @root: where the word that began the path was found
 * @reports: differences found in this cycle
 */
struct gca_check {
	struct frame *frame;
	u32 depth;
	bool deep, stop;
	u64 root;
	u32 reports;
};

/*
 * gca_check_prepare() - memory for the walk
 *
 * Outside the stop.  Return: 0 or -ENOMEM.
 */
int gca_check_prepare(struct gca_arena *a)
{
	struct gca_check *ck = a->checkmark;
	struct gca_chunk *c;
	u32 i;

	if (!ck) {
		ck = gca_meta_zalloc(a, sizeof(*ck));
		if (!ck)
			return -ENOMEM;
		a->checkmark = ck;
	}
	if (!ck->frame) {
		ck->frame = gca_meta_zalloc(a, FRAMES * sizeof(*ck->frame));
		if (!ck->frame)
			return -ENOMEM;
	}
	for (i = 0; i < a->nr_chunks; i++) {
		/* Large spans come and go; a chunk stays. */
		gca_spin_lock(&a->heap.lock);
		c = gca_chunk_own(a, i);
		gca_spin_unlock(&a->heap.lock);
		if (!c || c->check)
			continue;
		c->check = gca_meta_zalloc(a, CHECK_BYTES);
		if (!c->check)
			return -ENOMEM;
	}
	return 0;
}

/* The walk's mark word of a slot; NULL in a chunk made since gca_check_prepare(). */
static u64 *check_word(struct gca_arena *a, u32 head, unsigned int index)
{
	struct gca_chunk *c = gca_chunk_of(a, head);

	return c->check ? &c->check[head % GCA_CHUNK_PAGES * GCA_BIT_WORDS + index / 64] : NULL;
}

static unsigned int free_index(struct gca_arena *a, u32 head)
{
	struct gca_span *s = gca_span(a, head);

	/* s->slot is stable: the gate is closed */
	return s->owner ? gca_mutator_observe(s->owner, s->slot) : s->free;
}

#define check_warn(a, fmt, ...)							\
do {										\
	if ((a)->check_quiet)							\
		pr_warn_ratelimited("gcarena: checkmark: " fmt, __VA_ARGS__);	\
	else									\
		pr_warn("gcarena: checkmark: " fmt, __VA_ARGS__);		\
} while (0)

static void report(struct gca_arena *a, const struct gca_ref *r, u64 found_at)
{
	const struct gca_check *ck = a->checkmark;
	u32 i;

	check_warn(a, "object %#llx+%#llx not marked: span page %u class %u slot %u base %u snap %u, named by the word at %#llx\n",
		   a->base, r->off, r->head, gca_pw_class(r->pw), r->index,
		   gca_pw_base(r->pw), gca_pw_snap(r->pw), found_at);
	for (i = ck->depth > PATH_SHOWN ? ck->depth - PATH_SHOWN : 0; i < ck->depth; i++)
		check_warn(a, "  path %u: object at heap offset %#llx, word %llu\n", i,
			   ck->frame[i].off, ck->frame[i].next - 1);
	check_warn(a, "  from the root word at %#llx\n", ck->root);
	WARN_ON(!a->check_quiet);
}

/* Read words with faults on; false: unreadable, a leaf. */
static bool check_read(struct gca_arena *a, u64 *dst, u64 addr, unsigned int n)
{
	return !gca_port_copy(a, dst, addr, n * 8ULL);
}

/* Enter an object: a new frame. */
static void enter(struct gca_arena *a, const struct gca_ref *r)
{
	struct gca_check *ck = a->checkmark;
	struct frame *f;
	u64 header, tail[2] = {};
	u32 kind = gca_pw_kind(r->pw), word;

	if (kind == GCARENA_NOSCAN)
		return;
	if (ck->depth == FRAMES) {
		ck->deep = true;
		return;
	}
	f = &ck->frame[ck->depth++];
	memset(f, 0, sizeof(*f));
	f->off = r->off;
	f->addr = a->base + r->off;
	f->words = gca_slot_bytes(a, r->pw, r->head) / 8;
	f->kind = kind;
	if (kind == GCARENA_CONSERVATIVE)
		return;
	if (gca_pw_large(r->pw)) {
		f->layout = a->layout[gca_span(a, r->head)->layout];
		return;
	}
	if (f->words * 8 <= GCARENA_BITMAP_MAX) {
		word = r->off % GCARENA_PAGE_SIZE / 8;
		f->small = true;
		if (!check_read(a, tail, f->addr - word * 8 + GCARENA_BITMAP_OFFSET + word / 64 * 8,
				word / 64 < 15 ? 2 : 1))
			f->words = 0;
		f->bits = tail[0] >> (word % 64);
		if (word % 64)
			f->bits |= tail[1] << (64 - word % 64);
		return;
	}
	f->addr += GCARENA_HEADER_BYTES;
	f->words--;
	if (!check_read(a, &header, f->addr - GCARENA_HEADER_BYTES, 1) || header >= a->nr_layouts)
		f->words = 0;
	else
		f->layout = a->layout[array_index_nospec(header, a->nr_layouts)];
}

/* A word was found at address @at: look at what it names, and enter it once. */
static void visit(struct gca_arena *a, u64 word, u64 at)
{
	struct gca_check *ck = a->checkmark;
	struct gca_ref r;
	u64 *cw, *pair;
	bool old;

	if (!gca_find(a, word, &r))
		return;
	pair = gca_pair(a, r.head, r.index / 64);
	old = gca_is_old(r.pw, pair[1], r.index);
	if (!old && (r.index < gca_pw_snap(r.pw) || r.index >= free_index(a, r.head)))
		return;		/* free: not even a bit, check_deep() would enter it */
	cw = check_word(a, r.head, r.index);
	if (!cw || *cw >> (r.index & 63) & 1)
		return;
	*cw |= 1ULL << (r.index & 63);
	if (old && !(pair[0] >> (r.index & 63) & 1)) {
		WRITE_ONCE(a->totals.check_found, a->totals.check_found + 1);
		if (ck->reports++ < REPORTS)
			report(a, &r, at);
	}
	/* New ones too: what they hold was reachable at the snapshot or is new. */
	enter(a, &r);
}

static bool may_be_pointer(const struct frame *f, u64 k)
{
	if (f->kind == GCARENA_CONSERVATIVE)
		return true;
	if (f->small)
		return f->bits >> k & 1;
	k %= f->layout->words;
	return f->layout->bits[k / 64] >> (k % 64) & 1;
}

#define READ_WORDS	32

/* Walk until the path is empty. */
static void walk(struct gca_arena *a)
{
	struct gca_check *ck = a->checkmark;
	u64 buf[READ_WORDS], addr;
	unsigned int n, i;

	while (ck->depth && !ck->stop) {
		u32 depth = ck->depth;
		struct frame *f = &ck->frame[depth - 1];

		if (f->next >= f->words) {
			ck->depth--;
			continue;
		}
		ck->stop = gca_port_relax(a);
		addr = f->addr + 8 * f->next;
		n = min_t(u64, READ_WORDS, f->words - f->next);
		n = min_t(u64, n, (4096 - addr % 4096) / 8);
		if (!check_read(a, buf, addr, n)) {
			f->next += n;
			continue;
		}
		for (i = 0; i < n && ck->depth == depth; i++) {
			u64 k = f->next++;

			if (may_be_pointer(f, k))
				visit(a, buf[i], addr + 8 * i);
		}
	}
}

/*
 * Words of a root: conservative.  The end rule holds for what was there at the
 * snapshot: a word stored since, by a thread that has run, may be the address of
 * a live object and by chance the end of its neighbour, dead at the snapshot.
 */
static void check_root(struct gca_arena *a, const u64 *word, unsigned int n, u64 at, bool ran)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		a->checkmark->root = at + 8 * i;
		visit(a, word[i], at + 8 * i);
		walk(a);
		if (ran)
			continue;
		visit(a, word[i] - 1, at + 8 * i);
		walk(a);
	}
}

static void check_range(struct gca_arena *a, u64 start, u64 end, bool ran)
{
	u64 buf[READ_WORDS], pos, n;

	for (pos = start; pos < end && !a->checkmark->stop; pos += n) {
		n = min_t(u64, min_t(u64, sizeof(buf), end - pos), 4096 - pos % 4096);
		if (check_read(a, buf, pos, n / 8))
			check_root(a, buf, n / 8, pos, ran);
		else
			a->checkmark->stop = gca_port_relax(a);
	}
}

static void check_plain(struct gca_arena *a, const struct gcarena_range *r, bool ran)
{
	u64 lo = r->start, end = r->start + r->len, sp;

	if (r->kind == GCARENA_ROOT_STACK) {
		if (ran)
			return;
		if (check_read(a, &sp, end - sizeof(sp), 1))
			lo = gca_stack_low(lo, end, sp);
	}
	/* Nor does it for barriered ones at all. */
	check_range(a, lo, end, ran || r->kind == GCARENA_ROOT_BARRIERED);
}

static void check_thread(struct gca_arena *a, struct gca_mutator *m)
{
	struct gca_stack s = {};
	unsigned int i;

	/* It has moved in the kernel since it was scanned, is on its way out, or hard to read. */
	if (!gca_port_stack_same(a, m) || gca_port_stack(a, m, &s))
		return;
	check_range(a, m->tls_lo, m->tls_hi, false);
	check_root(a, s.regs, s.nr_regs, 0, false);
	for (i = 0; i < s.nr_areas - s.nr_doubtful; i++)
		check_range(a, s.area[i].lo, s.area[i].hi, false);
}

/* Objects that were too deep to be entered: enter every one reached, again. */
static void check_deep(struct gca_arena *a)
{
	struct gca_ref r;
	u32 i, p, w;

	a->checkmark->deep = false;
	for (i = 0; i < a->nr_chunks; i++) {
		struct gca_chunk *c = gca_chunk_own(a, i);

		if (!c || !c->check || a->checkmark->stop)
			continue;
		for (p = 0; p < GCA_CHUNK_PAGES; p++) {
			if (c->span[p].state != GCA_SPAN_INUSE)
				continue;
			for (w = 0; w < gca_bit_words(c->span[p].nelems); w++) {
				u64 bits = c->check[p * GCA_BIT_WORDS + w];

				for (; bits; bits &= bits - 1) {
					r.head = i * GCA_CHUNK_PAGES + p;
					r.pw = *gca_pw(a, r.head);
					r.index = 64 * w + __ffs64(bits);
					r.off = ((u64)r.head << GCARENA_PAGE_SHIFT) +
						(u64)r.index * gca_class[gca_pw_class(r.pw)].size;
					enter(a, &r);
					walk(a);
				}
			}
		}
	}
}

/**
 * gca_check_run() - inside the termination stop: walk and compare
 * @a: arena
 * @ran: threads have run since the begin stop.  Stacks, parked ones too, are not
 *	looked at then: a frame made since may show, in words it has not written or
 *	has done with, what was dead at the snapshot.  So may the TLS of a thread that
 *	came since: glibc leaves in it what the last thread there returned
 */
void gca_check_run(struct gca_arena *a, bool ran)
{
	struct gca_check *ck = a->checkmark;
	struct gca_roots *roots = a->cycle_roots;
	struct gca_mutator *m;
	struct gca_chunk *c;
	u32 i;

	if (!ck || !ck->frame)
		return;
	for (i = 0; i < a->nr_chunks; i++) {
		c = gca_chunk_own(a, i);
		if (c && c->check)
			memset(c->check, 0, CHECK_BYTES);
	}
	ck->depth = 0;
	ck->deep = false;
	ck->stop = false;
	ck->reports = 0;

	for (i = 0; roots && i < roots->n; i++)
		check_plain(a, &roots->range[i], ran);
	if (!ran)
		list_for_each_entry(m, &a->mutators, link)
			check_thread(a, m);
	while (ck->deep && !ck->stop)
		check_deep(a);
	WRITE_ONCE(a->totals.checked, a->totals.checked + 1);
}

/** gca_check_fini() - with the arena */
void gca_check_fini(struct gca_arena *a)
{
	struct gca_check *ck = a->checkmark;
	u32 i;

	if (!ck)
		return;
	for (i = 0; i < a->nr_chunks; i++) {
		struct gca_chunk *c = gca_chunk_own(a, i);

		if (!c || !c->check)
			continue;
		gca_meta_free(a, c->check, CHECK_BYTES);
		c->check = NULL;
	}
	if (ck->frame)
		gca_meta_free(a, ck->frame, FRAMES * sizeof(*ck->frame));
	gca_meta_free(a, ck, sizeof(*ck));
	a->checkmark = NULL;
}
