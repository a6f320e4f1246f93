// SPDX-License-Identifier: GPL-2.0-only
/*
 * fuzz.c: a mutator area full of garbage.
 *
 * Every word that the owner can write gets bad values (single fields one by one,
 * then everything at random) while it refills, settles, collects, detaches.  And
 * the heap's own words: pointer maps, layout headers.  Required: no crash, no
 * memory touched outside the arena, errors that are among the documented ones,
 * and another arena of the same process sees nothing of it.
 */
#define GCT_SUITE "fuzz"
#include "raw.h"

#define OTHER	2000

FIXTURE(arena) {
	struct raw bad, good;
	uint64_t seed;
	uint64_t *volatile head;
};

static const uint32_t nasty32[] = {
	0, 1, 2, 31, 32, 63, 64, 383, 384, 385, 511, 512, 513, 4095, 0x7fff, 0x8000, 0xffff,
	0x10000, 0x7fffffff, 0x80000000, 0xfffffe00, 0xfffffffe, 0xffffffff,
};
#define NASTY	(sizeof(nasty32) / sizeof(nasty32[0]))

/* The arena that nobody harms, with a list in it. */
FIXTURE_SETUP(arena)
{
	self->seed = gct_now_ms() * 2654435761u | 1;
	ASSERT_EQ(raw_arena(&self->good), 0);
	ASSERT_EQ(raw_attach(&self->good), 0);
	self->head = NULL;
	for (int i = 0; i < OTHER; i++) {
		uint64_t *p = (uint64_t *)raw_alloc(&self->good, GCARENA_SPAN_CLASS(0, GCARENA_CONSERVATIVE));

		ASSERT_TRUE(p);
		p[0] = (uintptr_t)self->head;
		p[1] = (uint64_t)i;
		self->head = p;
	}
	ASSERT_EQ(raw_arena(&self->bad), 0);
	ASSERT_EQ(raw_attach(&self->bad), 0);
}

FIXTURE_TEARDOWN(arena)
{
	struct gcarena_stats s;
	int n = OTHER;

	/* self is static data, which a raw arena has not been told of: this frame is. */
	uint64_t *volatile head = self->head;

	ASSERT_EQ(raw_collect(&self->good, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&self->good, &s), 0);
	EXPECT_EQ(s.voided, 0);
	EXPECT_GE(s.live, OTHER * 16);
	for (uint64_t *p = head; p; p = (uint64_t *)p[0])
		ASSERT_EQ(p[1], (uint64_t)--n);
	EXPECT_EQ(n, 0);
	raw_close(&self->good);
	raw_close(&self->bad);
}

static bool documented(int err)
{
	return !err || err == -EINVAL || err == -ENOSPC || err == -ENOMEM || err == -EPERM ||
	       err == -EEXIST;
}

/* One of everything. */
static void work(struct raw *r, uint64_t *seed)
{
	struct gcarena_settle s = { .size = sizeof(s), .flags = GCARENA_SETTLE_FLUSH,
				    .id = r->attach.id };
	uint32_t sc = (uint32_t)(gct_random(seed) % GCARENA_NR_SPAN_CLASSES);
	int err;

	if (sc % 4 == 3)
		sc--;
	err = raw_refill(r, sc, 1 + (uint32_t)(gct_random(seed) % 8));
	if (!documented(err))
		gct_note("# REFILL %u: %d", sc, err);
	ASSERT_TRUE(documented(err));
	ASSERT_EQ(raw_ioctl(r->fd, GCARENA_IOC_SETTLE, &s), 0);
	switch (gct_random(seed) % 8) {
	case 0:
		ASSERT_TRUE(documented(raw_large(r, 40000, GCARENA_CONSERVATIVE, 0, NULL)));
		break;
	case 1:
		ASSERT_EQ(raw_collect(r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
		break;
	case 2:
		ASSERT_EQ(raw_collect(r, GCARENA_COLLECT_UNTIL_MARKED, NULL), 0);
		break;
	case 3:
		ASSERT_EQ(raw_collect(r, 0, NULL), 0);
		break;
	}
}

/* Each field by itself, with each of the nasty values, in each phase. */
TEST_F(arena, field_by_field)
{
	static const size_t fields[] = {
		offsetof(struct gcarena_mutator, ring_tail), offsetof(struct gcarena_mutator, ring_head),
		offsetof(struct gcarena_mutator, critical),
		offsetof(struct gcarena_mutator, assist_balance),
		offsetof(struct gcarena_mutator, nr_slots),
		offsetof(struct gcarena_mutator, current_slot),
		offsetof(struct gcarena_mutator, current_slot) + 8,
		offsetof(struct gcarena_mutator, ring),
		offsetof(struct gcarena_mutator, ring) + 4,
	};
	struct gcarena_mutator *m = self->bad.m;
	size_t nf = sizeof(fields) / sizeof(fields[0]);
	const size_t slot_words = sizeof(struct gcarena_slot) / 4;

	for (int phase = 0; phase < 2; phase++)
		for (size_t f = 0; f < nf + slot_words; f++)
			for (size_t v = 0; v < NASTY; v++) {
				uint32_t n, *w;

				if (gct_slow() > 1 && (f + v) % 7)
					continue;
				ASSERT_EQ(raw_refill(&self->bad, 4, 1), 0);
				/* Ours: the kernel's number, before it was fuzzed. */
				n = m->current_slot[4] % 384;
				w = f < nf ? (uint32_t *)((char *)m + fields[f]) :
					     (uint32_t *)&m->slot[n] + (f - nf);
				if (phase)
					ASSERT_EQ(raw_collect(&self->bad,
							      GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
				*w = nasty32[v];
				work(&self->bad, &self->seed);
				if (f < nf)
					*w = nasty32[v];
				ASSERT_EQ(raw_collect(&self->bad, 0, NULL), 0);
			}
}

/* A tail that jumps voids the cycle it is in, by its name; the next is whole. */
TEST_F(arena, ring_tail_jumps)
{
	static const uint32_t jump[] = { 513, 1024, 1U << 31, 0x80000001, UINT32_MAX };
	struct gcarena_collect c;

	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(raw_collect(&self->bad, GCARENA_COLLECT_UNTIL_MARKING, &c), 0);
		self->bad.m->ring_tail += jump[i];
		ASSERT_EQ(raw_collect(&self->bad, GCARENA_COLLECT_UNTIL_MARKED, &c), 0);
		EXPECT_EQ(c.result, GCARENA_RESULT_VOID);
		EXPECT_EQ(c.void_reason, GCARENA_VOID_RING);
		ASSERT_EQ(raw_collect(&self->bad, 0, &c), 0);
		EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
	}
	/* A full ring of nonsense is no error: each entry is a word like another. */
	ASSERT_EQ(raw_collect(&self->bad, GCARENA_COLLECT_UNTIL_MARKING, &c), 0);
	for (int i = 0; i < GCARENA_RING_ENTRIES; i++)
		self->bad.m->ring[i] = i % 3 ? gct_random(&self->seed) :
				       (uintptr_t)self->bad.heap + gct_random(&self->seed) % (1 << 22);
	self->bad.m->ring_tail += GCARENA_RING_ENTRIES;
	ASSERT_EQ(raw_collect(&self->bad, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
}

/* A free index that goes back, or beyond: the last good one counts. */
TEST_F(arena, free_index)
{
	struct gcarena_slot *s;
	struct gcarena_stats st;

	ASSERT_EQ(raw_refill(&self->bad, GCARENA_SPAN_CLASS(6, GCARENA_NOSCAN), 1), 0);
	s = &self->bad.m->slot[self->bad.m->current_slot[GCARENA_SPAN_CLASS(6, GCARENA_NOSCAN)]];
	s->free_index = 10;
	ASSERT_EQ(raw_collect(&self->bad, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&self->bad, &st), 0);
	EXPECT_EQ(st.allocated, 640);
	for (size_t i = 0; i < NASTY; i++) {
		s->free_index = nasty32[i];
		ASSERT_EQ(raw_collect(&self->bad, 0, NULL), 0);
		ASSERT_EQ(raw_stats(&self->bad, &st), 0);
		EXPECT_LE(st.allocated, 8192);
	}
}

/* Set before the thread begins: the test fills the attach request anew. */
static size_t scribbled_words;

static void *scribbler(void *arg)
{
	struct raw *r = arg;
	uint64_t seed = gct_now_ms() * 31 | 1;
	size_t words = scribbled_words;
	uint32_t *area = (uint32_t *)r->m;

	while (!__atomic_load_n(&r->heap_offset, __ATOMIC_RELAXED)) {
		size_t i = gct_random(&seed) % words;

		/* Half of the time near the front, where the few fields are. */
		if (gct_random(&seed) & 1)
			i %= 1024;
		area[i] = gct_random(&seed) & 1 ? (uint32_t)gct_random(&seed) :
			  nasty32[gct_random(&seed) % NASTY];
	}
	return NULL;
}

/* Another thread writes at random, all the time. */
TEST_F(arena, everything_at_random)
{
	pthread_t t;

	self->bad.heap_offset = 0;
	scribbled_words = self->bad.attach.map_size / 4;
	ASSERT_EQ(pthread_create(&t, NULL, scribbler, &self->bad), 0);
	for (unsigned long i = 0; i < gct_scale(1500); i++) {
		work(&self->bad, &self->seed);
		if (i % 50 == 49) {
			struct gcarena_detach d = { .size = sizeof(d), .id = self->bad.attach.id };

			ASSERT_EQ(raw_ioctl(self->bad.fd, GCARENA_IOC_DETACH, &d), 0);
			/* The old mapping goes on being scribbled on; a new one beside it. */
			raw_attach_fill(&self->bad.attach);
			ASSERT_EQ(raw_attach_ioctl(self->bad.fd, &self->bad.attach), 0);
			if (mmap(self->bad.m, self->bad.attach.map_size, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, self->bad.fd,
				 (off_t)self->bad.attach.map_offset) == MAP_FAILED)
				ASSERT_TRUE(false);
		}
	}
	__atomic_store_n(&self->bad.heap_offset, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
}

/* The heap itself: bitmaps, headers, slots, all random words or wild pointers. */
TEST_F(arena, heap_full_of_garbage)
{
	static uint64_t bits[2] = { ~0ULL, 0 };
	struct gcarena_layout l = { .size = sizeof(l), .elem_size = 512, .bitmap = (uintptr_t)bits };
	struct gcarena_collect c;
	uint64_t big;

	ASSERT_EQ(raw_ioctl(self->bad.fd, GCARENA_IOC_LAYOUT, &l), 0);
	ASSERT_EQ(raw_large(&self->bad, 1 << 20, GCARENA_PRECISE, l.id, &big), 0);
	for (unsigned long round = 0; round < gct_scale(30); round++) {
		for (int i = 0; i < 200; i++) {
			uint32_t sc = (uint32_t)(gct_random(&self->seed) % GCARENA_NR_SPAN_CLASSES);

			if (sc % 4 == 3)
				sc -= 2;
			raw_alloc(&self->bad, sc);
		}
		for (uint64_t *p = (uint64_t *)self->bad.heap, i = 0; i < (4 << 20) / 8; i++)
			p[i] = gct_random(&self->seed) % 4 ? (uintptr_t)self->bad.heap +
			       gct_random(&self->seed) % (8 << 20) :
			       nasty32[gct_random(&self->seed) % NASTY];
		ASSERT_EQ(raw_collect(&self->bad, round % 3 == 2 ? GCARENA_COLLECT_UNTIL_MARKING : 0,
				      &c), 0);
		EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
		if (round >= 3 && gct_slow() > 1 && !gct_long())
			break;
	}
	EXPECT_NE(big, 0);
}

TEST_HARNESS_MAIN
