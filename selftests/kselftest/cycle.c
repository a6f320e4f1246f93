// SPDX-License-Identifier: GPL-2.0-only
/*
 * cycle.c: objects through cycles: half-filled spans, detach and attach between
 * cycles, allocation and stores between the beginning and the end of marking,
 * several arenas in a process, fork.
 *
 * What is a root is in roots.c, what the heap is to the machine in memory.c.
 */
#define GCT_SUITE "cycle"
#include "raw.h"

#include <gcarena.h>

struct pair {
	struct pair *left, *right;
	uint64_t serial;
};

static struct gca_arena *open_with(const char *debug)
{
	struct gca_options o = { .backend = gct_backend(), .debug = debug, .reserve = 1ULL << 30,
				 .flags = GCA_NO_AUTO_COLLECT };
	struct gca_arena *a = gca_open(&o);

	if (!a)
		gct_note("# %s", gca_strerror());
	ASSERT_TRUE(a);
	return a;
}

static uint64_t live(struct gca_arena *a)
{
	struct gca_stats s;

	ASSERT_EQ(gca_stats(a, &s), 0);
	return s.live_bytes;
}

/* Three, because the colour rule of a span has a period of two. */
static void three_cycles(struct gca_arena *a)
{
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(gca_collect(a, 0), 0);
}

#define MAX_SLOTS	512

struct holder {
	uint64_t *object[MAX_SLOTS];
};

static void fill(uint64_t *p, size_t bytes, uint64_t mark)
{
	for (size_t i = 0; i < bytes / 8; i++)
		p[i] = mark + i;
}

static void verify(const uint64_t *p, size_t bytes, uint64_t mark)
{
	for (size_t i = 0; i < bytes / 8; i++)
		ASSERT_EQ(p[i], mark + i);
}

/*
 * k of the n slots of a span are taken; three cycles; then the rest, and more.
 * Every object ever given out keeps its contents, and no two share a byte.
 */
static void k_of_n(struct gca_arena *a, struct gca_mutator *m, struct holder *h,
		   size_t bytes, unsigned int k, unsigned int every)
{
	unsigned int n = 0, kept = 0, total;
	uint64_t *p;

	memset(h, 0, sizeof(*h));
	for (n = 0; n < k; n++) {
		p = gca_alloc_noscan(m, bytes);
		ASSERT_TRUE(p);
		fill(p, bytes, n * 1000);
		if (n % every == 0)
			h->object[kept++] = p;
	}
	three_cycles(a);
	total = kept;
	/* The rest of that span and two more. */
	for (n = 0; n < 2 * (8192 / bytes + 2) && total < MAX_SLOTS; n++) {
		p = gca_alloc_noscan(m, bytes);
		ASSERT_TRUE(p);
		for (size_t i = 0; i < bytes / 8; i++)
			ASSERT_EQ(p[i], 0);
		fill(p, bytes, 1000000 + total);
		h->object[total++] = p;
		if (n == 3)
			ASSERT_EQ(gca_collect(a, 0), 0);
	}
	three_cycles(a);
	for (n = 0; n < kept; n++)
		verify(h->object[n], bytes, (uint64_t)n * every * 1000);
	for (; n < total; n++)
		verify(h->object[n], bytes, 1000000 + n);
}

TEST(k_of_n_slots)
{
	static const size_t sizes[] = { 16, 24, 64, 128, 512, 1024, 2048, 4096, 8192, 20480 };
	struct gca_arena *a = open_with("checkmark,clobber");
	struct gca_mutator *m = gca_attach(a);
	struct holder *h;

	ASSERT_TRUE(m);
	h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(gca_root_add(a, h, sizeof(*h), GCA_ROOT_PLAIN), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned int n = sizes[i] <= 8192 ? (unsigned int)(8192 / sizes[i]) : 2;
		unsigned int ks[] = { 0, 1, 2, n / 2, n - 1, n, n + 1 };

		for (int k = 0; k < 7; k++) {
			if (gct_slow() > 1 && k % 3 == 0)
				continue;
			k_of_n(a, m, h, sizes[i], ks[k] < MAX_SLOTS ? ks[k] : MAX_SLOTS, 1);
			k_of_n(a, m, h, sizes[i], ks[k] < MAX_SLOTS ? ks[k] : MAX_SLOTS, 3);
		}
	}
	gca_close(a);
}

/* A list that is in a root only; each round another mutator appends to it. */
TEST(detach_and_attach_between_cycles)
{
	struct gca_arena *a = open_with("checkmark,clobber");
	static struct pair *list;
	const struct gca_layout *l = gca_layout_of(a, struct pair, left, right);
	uint64_t n = 0, rounds = gct_scale(60);

	for (uint64_t round = 0; round < rounds; round++) {
		struct gca_mutator *m = gca_attach(a);
		struct pair *p;
		uint64_t expect;

		ASSERT_TRUE(m);
		for (uint64_t i = 0; i < 1 + round % 7 * 30; i++) {
			p = gca_alloc(m, l);
			ASSERT_TRUE(p);
			p->serial = ++n;
			gca_store(m, &p->left, list);
			list = p;
			gca_alloc(m, l);	/* garbage between */
		}
		if (round % 5 == 1)
			ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKING), 0);
		ASSERT_EQ(gca_detach(m), 0);
		/* Detached, anybody may collect: in the middle of a cycle, too. */
		if (round % 3)
			ASSERT_EQ(gca_collect(a, round % 2 ? 0 : GCA_COLLECT_UNTIL_MARKED), 0);
		expect = n;
		for (p = list; p; p = p->left)
			ASSERT_EQ(p->serial, expect--);
		ASSERT_EQ(expect, 0);
	}
	list = NULL;
	gct_clean_stack();
	three_cycles(a);
	EXPECT_LE(live(a), n * 24 / 2 + 65536);
	gca_close(a);
}


/* Put the only pointer out of sight, as if it were in a register, by gca_store(). */
static __attribute__((noinline)) void move_out(struct gca_mutator *m, struct pair **slot,
					       uintptr_t *hidden)
{
	*hidden = HIDE(*slot);
	gca_store(m, slot, NULL);
}

static __attribute__((noinline)) void new_pair(struct gca_mutator *m, const struct gca_layout *l,
					       struct pair **slot, uint64_t serial)
{
	struct pair *p = gca_alloc(m, l);

	ASSERT_TRUE(p);
	p->serial = serial;
	gca_store(m, slot, p);
}

/*
 * The deletion barrier: between UNTIL_MARKING and UNTIL_MARKED an object that the
 * marker has not seen is unlinked.  It was reachable at the snapshot: it lives
 * through this cycle, and is dead in the next.
 */
TEST(unlinked_while_marking)
{
	struct gca_arena *a = open_with("checkmark,clobber");
	struct gca_mutator *m = gca_attach(a);
	const struct gca_layout *l = gca_layout_of(a, struct pair, left, right);
	static struct pair *top;
	static uintptr_t hidden[200];
	struct gca_stats s;
	uint64_t with;

	ASSERT_TRUE(m && l);
	new_pair(m, l, &top, 1);
	for (int i = 0; i < 200; i++) {
		/* Two below the root, so that the begin stop has not scanned it. */
		new_pair(m, l, &top->left, 2);
		new_pair(m, l, &top->left->right, 100 + (uint64_t)i);
		gct_clean_stack();
		ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKING), 0);
		move_out(m, &top->left->right, &hidden[0]);
		for (int k = 0; k < 50; k++)
			ASSERT_TRUE(gca_alloc(m, l));
		gct_clean_stack();
		ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKED), 0);
		/* Not freed, so not overwritten by what is allocated now. */
		for (int k = 0; k < 700; k++)
			ASSERT_TRUE(gca_alloc(m, l));
		ASSERT_EQ(((struct pair *)SEEK(hidden[0]))->serial, 100 + (uint64_t)i);
		if (gct_slow() > 1 && i == 20)
			break;
	}
	/* Without the unlink the next cycle would find them: count that it does not. */
	gct_clean_stack();
	three_cycles(a);
	with = live(a);
	EXPECT_LE(with, 24 * 40);
	/* More unlinked than a ring has: SETTLE. */
	{
		struct pair **slots = gca_alloc_conservative(m, 3000 * 8);
		static struct pair **volatile keep;

		keep = slots;
		for (int i = 0; i < 3000; i++)
			new_pair(m, l, &slots[i], (uint64_t)i);
		ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKING), 0);
		for (int i = 0; i < 3000; i++)
			gca_store(m, &slots[i], NULL);
		ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKED), 0);
		EXPECT_GE(live(a), 3000 * 24);
		gct_clean_stack();
		three_cycles(a);
		EXPECT_LE(live(a), 3000 * 8 + 24 * 100);
		keep = NULL;
	}
	ASSERT_EQ(gca_stats(a, &s), 0);
	EXPECT_EQ(s.void_cycles, 0);
	gca_close(a);
}

static int mover_state, mover_go;
static uintptr_t mover_kept;

static void mover_waits(int *word, int value)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
		;
}

/* Holds the only pointer to an object while marking begins, then hides it under a new one. */
static __attribute__((noinline)) void hold_and_move(struct gca_mutator *m, const struct gca_layout *l)
{
	struct pair *p = gca_alloc(m, l), *young;

	ASSERT_TRUE(p);
	p->serial = 4711;
	__atomic_store_n(&mover_state, 1, __ATOMIC_RELEASE);
	mover_waits(&mover_go, 1);
	young = gca_alloc(m, l);
	ASSERT_TRUE(young);
	gca_store(m, &young->left, p);
	mover_kept = HIDE(young);
}

static const struct gca_layout *mover_layout;

static void *mover(void *arg)
{
	struct gca_mutator *m = gca_attach(arg);
	struct pair *volatile young;	/* seen on the stack as it is */

	ASSERT_TRUE(m);
	hold_and_move(m, mover_layout);
	gct_clean_stack();
	__atomic_store_n(&mover_state, 2, __ATOMIC_RELEASE);
	mover_waits(&mover_go, 2);
	/* Marking is done.  Not freed, so not overwritten by what is allocated now. */
	ASSERT_EQ(gca_detach(m), 0);
	m = gca_attach(arg);
	ASSERT_TRUE(m);
	/* What was swept while it was cached is used again after the next cycle only. */
	young = (struct pair *)SEEK(mover_kept);
	ASSERT_EQ(gca_collect(arg, 0), 0);
	for (int i = 0; i < 7000; i++)
		ASSERT_TRUE(gca_alloc(m, mover_layout));
	ASSERT_EQ(young->left->serial, 4711);
	ASSERT_EQ(gca_detach(m), 0);
	return NULL;
}

/*
 * Captured before resume: after the begin stop a thread moves its only pointer out of its
 * stack, into an object that nobody will scan.
 */
TEST(moved_as_marking_begins)
{
	struct gca_arena *a = open_with("checkmark,clobber");
	pthread_t t;

	mover_layout = gca_layout_of(a, struct pair, left, right);
	ASSERT_TRUE(mover_layout);
	for (unsigned long round = 0; round < gct_scale(20); round++) {
		mover_state = 0;
		mover_go = 0;
		ASSERT_EQ(pthread_create(&t, NULL, mover, a), 0);
		mover_waits(&mover_state, 1);
		ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKING), 0);
		__atomic_store_n(&mover_go, 1, __ATOMIC_RELEASE);
		mover_waits(&mover_state, 2);
		ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKED), 0);
		__atomic_store_n(&mover_go, 2, __ATOMIC_RELEASE);
		pthread_join(t, NULL);
	}
	gca_close(a);
}

#define STANDERS	2

static const struct gcarena_control *stander_control;
static uint64_t stander_counter[STANDERS];
static int standers_on, standers_there;

static uint64_t stander_sum(void)
{
	uint64_t n = 0;

	for (int i = 0; i < STANDERS; i++)
		n += __atomic_load_n(&stander_counter[i], __ATOMIC_ACQUIRE);
	return n;
}

static void stander_counts(uint64_t *counter, uint64_t n)
{
	while (n--)
		__atomic_store_n(counter, *counter + 1, __ATOMIC_RELEASE);
}

/* Counts, with signals blocked for most of the time: who stops it must wait. */
static void *stander(void *arg)
{
	uint64_t *counter = arg;
	struct gca_mutator *m;
	sigset_t all, old;

	m = gca_attach(gca_default());
	ASSERT_TRUE(m);
	sigfillset(&all);
	__atomic_store_n(&stander_control, m->control, __ATOMIC_RELEASE);
	__atomic_add_fetch(&standers_there, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&standers_on, __ATOMIC_ACQUIRE)) {
		pthread_sigmask(SIG_BLOCK, &all, &old);
		stander_counts(counter, 30000);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		stander_counts(counter, 100);
	}
	ASSERT_EQ(gca_detach(m), 0);
	return NULL;
}

static void *stander_collects(void *arg)
{
	(void)arg;
	for (unsigned long i = 0; i < gct_scale(30); i++)
		ASSERT_EQ(gca_collect(gca_default(), 0), 0);
	__atomic_store_n(&standers_on, 0, __ATOMIC_RELEASE);
	return NULL;
}

/*
 * Nobody runs in a stop.  That of termination is known by the phase, and checkmark makes it
 * long enough to be looked at.
 */
TEST(stand_still_at_termination)
{
	const struct gca_layout *l;
	struct gca_mutator *m;
	static struct pair *list;
	pthread_t t[STANDERS], u;
	unsigned long seen = 0;

	setenv("GCARENA_DEBUG", "checkmark", 1);
	setenv("GCARENA_BACKEND", gct_backend(), 1);
	m = gca_attach(gca_default());
	l = gca_layout_of(gca_default(), struct pair, left, right);
	ASSERT_TRUE(m && l);
	for (int i = 0; i < 20000; i++) {
		struct pair *p = gca_alloc(m, l);

		ASSERT_TRUE(p);
		gca_store(m, &p->left, list);
		list = p;
	}
	ASSERT_EQ(gca_detach(m), 0);
	standers_on = 1;
	for (int i = 0; i < STANDERS; i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, stander, &stander_counter[i]), 0);
	while (__atomic_load_n(&standers_there, __ATOMIC_ACQUIRE) < STANDERS)
		gct_sleep_ms(1);
	ASSERT_EQ(pthread_create(&u, NULL, stander_collects, NULL), 0);
	while (__atomic_load_n(&standers_on, __ATOMIC_ACQUIRE)) {
		uint64_t epoch = __atomic_load_n(&stander_control->epoch, __ATOMIC_ACQUIRE), sum, now;

		if (__atomic_load_n(&stander_control->phase, __ATOMIC_ACQUIRE) !=
		    GCARENA_PHASE_TERMINATION)
			continue;
		sum = stander_sum();
		for (volatile int i = 0; i < 2000; i++)
			;
		/* Before the epoch: what is summed after it may be of another time. */
		now = stander_sum();
		if (__atomic_load_n(&stander_control->epoch, __ATOMIC_ACQUIRE) != epoch)
			continue;
		ASSERT_EQ(now, sum);
		seen++;
	}
	pthread_join(u, NULL);
	for (int i = 0; i < STANDERS; i++)
		pthread_join(t[i], NULL);
	gct_note("# looked at %lu times", seen);
	list = NULL;
}

/* What is allocated while marking is black: it survives unlinked, and dies next. */
TEST(allocated_while_marking)
{
	struct gca_arena *a = open_with("checkmark,clobber");
	struct gca_mutator *m = gca_attach(a);
	const struct gca_layout *l = gca_layout_of(a, struct pair, left, right);
	static struct pair *root, *slot;
	static uintptr_t hidden[64];

	ASSERT_TRUE(m && l);
	new_pair(m, l, &root, 1);
	for (unsigned long round = 0; round < gct_scale(30); round++) {
		ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKING), 0);
		for (int i = 0; i < 64; i++) {
			new_pair(m, l, &slot, 7000 + (uint64_t)i);
			move_out(m, &slot, &hidden[i]);
		}
		gct_clean_stack();
		ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKED), 0);
		for (int i = 0; i < 500; i++)
			ASSERT_TRUE(gca_alloc(m, l));
		for (int i = 0; i < 64; i++)
			ASSERT_EQ(((struct pair *)SEEK(hidden[i]))->serial, 7000 + (uint64_t)i);
		gct_clean_stack();
		if (round % 2)
			ASSERT_EQ(gca_collect(a, 0), 0);
	}
	three_cycles(a);
	EXPECT_LE(live(a), 24 * 40);
	EXPECT_EQ(root->serial, 1);
	gca_close(a);
}

/* Large objects and ranges come and go while marking. */
TEST(large_and_roots_while_marking)
{
	struct gca_arena *a = open_with("checkmark");
	struct gca_mutator *m = gca_attach(a);
	uint64_t **range = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t **other = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t before;

	ASSERT_TRUE(m);
	ASSERT_EQ(gca_root_add(a, range, 4096, 0), 0);
	for (int i = 0; i < 10; i++) {
		uint64_t *p = gca_alloc_conservative(m, 100000);

		ASSERT_TRUE(p);
		p[5] = 55;
		gca_store(m, &range[i], p);
	}
	before = live(a);
	ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKING), 0);
	/* The range leaves in the middle: its objects live through the cycle. */
	ASSERT_EQ(gca_root_remove(a, range, 4096, 0), 0);
	for (int i = 0; i < 10; i++) {
		uint64_t *p = gca_alloc_conservative(m, 200000);

		ASSERT_TRUE(p);
		p[6] = 66;
		gca_store(m, &p[1], range[i]);
		gca_store(m, &other[i], p);
		p = NULL;
	}
	ASSERT_EQ(gca_root_add(a, other, 4096, 0), 0);
	ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKED), 0);
	EXPECT_GE(live(a), before + 10 * 100000);
	three_cycles(a);
	EXPECT_GE(live(a), 10 * 300000);
	for (int i = 0; i < 10; i++) {
		EXPECT_EQ(other[i][6], 66);
		EXPECT_EQ(((uint64_t *)other[i][1])[5], 55);
	}
	gca_close(a);
}

/*
 * More grey objects than buffers: spans are rescanned, and nothing is lost.  A wide
 * object, which waits for what it names; and lists whose nodes have many children, the
 * next node first or last: one of them is followed before the children.
 */
TEST(mark_queue_overflows)
{
	enum { WIDE = 30000, FAN = 64, NODES = 200 };
	struct gca_arena *a = open_with("checkmark,clobber,overflow");
	struct gca_mutator *m = gca_attach(a);
	const struct gca_layout *l = gca_layout_of(a, struct pair, left, right);
	static struct pair **wide, **list[2];
	struct pair **node;
	struct gca_stats s;

	ASSERT_TRUE(m && l);
	wide = gca_alloc_conservative(m, WIDE * 8);
	ASSERT_TRUE(wide);
	for (uint64_t i = 0; i < WIDE; i++) {
		new_pair(m, l, &wide[i], i);
		new_pair(m, l, &wide[i]->left, WIDE + i);
	}
	for (uint64_t i = 0; i < 2 * NODES; i++) {
		node = gca_alloc_conservative(m, FAN * 8);
		ASSERT_TRUE(node);
		node[i % 2 * (FAN - 1)] = (struct pair *)list[i % 2];
		list[i % 2] = node;
		for (uint64_t k = 1; k < FAN - 1; k++)
			new_pair(m, l, &node[k], i * FAN + k);
	}
	three_cycles(a);
	ASSERT_EQ(gca_stats(a, &s), 0);
	EXPECT_GT(s.overflows, 0);
	EXPECT_GE(s.live_bytes, WIDE * 8 + WIDE * 48 + 2 * NODES * FAN * 24);
	for (uint64_t i = 0; i < 2000; i++)
		ASSERT_TRUE(gca_alloc(m, l));
	for (uint64_t i = 0; i < WIDE; i++) {
		ASSERT_EQ(wide[i]->serial, i);
		ASSERT_EQ(wide[i]->left->serial, WIDE + i);
	}
	for (uint64_t i = 2 * NODES; i--; list[i % 2] = (struct pair **)node[i % 2 * (FAN - 1)]) {
		node = list[i % 2];
		for (uint64_t k = 1; k < FAN - 1; k++)
			ASSERT_EQ(node[k]->serial, i * FAN + k);
	}
	wide = NULL;
	gca_close(a);
}

/* Arenas are apart: pointers between them count for nothing, one goes alone. */
TEST(several_arenas)
{
	enum { N = 6 };
	struct gca_arena *a[N];
	struct gca_mutator *m[N];
	static uint64_t *keep[N];
	long before = gct_arenas();

	for (int i = 0; i < N; i++) {
		a[i] = open_with("checkmark,clobber");
		m[i] = gca_attach(a[i]);
		ASSERT_TRUE(m[i]);
	}
	if (!gct_in_process())
		EXPECT_EQ(gct_arenas(), before + N);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < N; i++) {
			uint64_t *p = gca_alloc_conservative(m[i], 64);

			ASSERT_TRUE(p);
			p[0] = 100 + (uint64_t)i;
			gca_store(m[i], &p[1], keep[i]);
			keep[i] = p;
		}
		ASSERT_EQ(gca_collect(a[round % N], 0), 0);
	}
	/* Dropped whole, in an order of their own; the others do not notice. */
	for (int i = N - 1; i > 0; i -= 2) {
		gca_close(a[i]);
		keep[i] = NULL;
	}
	if (!gct_in_process())
		EXPECT_EQ(gct_arenas(), before + N / 2);
	for (int i = 0; i < N; i += 2) {
		int n = 0;

		ASSERT_EQ(gca_collect(a[i], 0), 0);
		for (uint64_t *p = keep[i]; p; p = (uint64_t *)p[1], n++)
			ASSERT_EQ(p[0], 100 + (uint64_t)i);
		EXPECT_EQ(n, 20);
		gca_close(a[i]);
	}
	EXPECT_EQ(gct_arenas(), before);
}

/* A forked child reads its heap, stores to it, and cannot allocate; then the parent goes on. */
TEST(fork_reads_the_heap)
{
	struct gca_arena *a = open_with("checkmark");
	struct gca_mutator *m = gca_attach(a);
	const struct gca_layout *l = gca_layout_of(a, struct pair, left, right);
	static struct pair *list;
	int status;
	pid_t pid;

	ASSERT_TRUE(m && l);
	for (uint64_t i = 0; i < 1000; i++) {
		struct pair *p = gca_alloc(m, l);

		p->serial = i;
		gca_store(m, &p->left, list);
		list = p;
	}
	for (int phase = 0; phase < 2; phase++) {
		if (phase)
			ASSERT_EQ(gca_collect(a, GCA_COLLECT_UNTIL_MARKING), 0);
		pid = fork();
		if (!pid) {
			uint64_t expect = 999;

			gct_failed = 0;
			for (struct pair *p = list; p; p = p->left, expect--)
				ASSERT_EQ(p->serial, expect);
			gca_store(m, &list->right, list);
			EXPECT_EQ(list->right, list);
			errno = 0;
			EXPECT_EQ(gca_collect(a, 0), -1);
			EXPECT_EQ(errno, ESRCH);
			EXPECT_TRUE(!gca_alloc(m, l) || true);
			gca_close(a);
			/* An arena of its own works. */
			a = open_with("checkmark");
			m = gca_attach(a);
			ASSERT_TRUE(m);
			ASSERT_TRUE(gca_alloc_noscan(m, 100));
			ASSERT_EQ(gca_collect(a, 0), 0);
			_exit(gct_failed);
		}
		for (int i = 0; i < 100; i++)
			ASSERT_TRUE(gca_alloc(m, l));
		ASSERT_EQ(gca_collect(a, phase ? GCA_COLLECT_UNTIL_MARKED : 0), 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		EXPECT_TRUE(!list->right);
		ASSERT_EQ(gca_collect(a, 0), 0);
	}
	gca_close(a);
}

/* The library's errors are the errno that the header promises, with a sentence. */
TEST(errors_of_the_library)
{
	struct gca_options o = { .backend = "kernel", .device = "/dev/no-such-device" };
	const char *said;

	gct_want_module();
	EXPECT_TRUE(!gca_open(&o));
	EXPECT_EQ(errno, ENODEV);
	said = gca_strerror();
	EXPECT_TRUE(said && strstr(said, "modprobe"));
	o.device = NULL;
	o.features = 1ULL << 60;
	EXPECT_TRUE(!gca_open(&o));
	EXPECT_EQ(errno, EOPNOTSUPP);
	o.features = 0;
	o.reserve = 3 << 20;
	EXPECT_TRUE(!gca_open(&o));
	EXPECT_EQ(errno, EINVAL);
	o.reserve = 0;
	{
		long max = gct_file_long(gct_param_path("max_arenas"));

		if (max >= 0 && !gct_file_write(gct_param_path("max_arenas"), "0")) {
			char old[20];

			EXPECT_TRUE(!gca_open(&o));
			EXPECT_EQ(errno, EUSERS);
			snprintf(old, sizeof(old), "%ld", max);
			EXPECT_EQ(gct_file_write(gct_param_path("max_arenas"), old), 0);
		}
	}
}

/* What another parameter refuses, and what a smaller reservation or a process can do. */
TEST(limits_and_the_library)
{
	struct gca_options o = { .backend = "kernel" };
	struct gca_arena *a;
	struct gca_stats s;
	char old[20];

	if (gct_file_long(gct_param_path("max_reserve_gib")) != 1024 ||
	    gct_file_write(gct_param_path("max_reserve_gib"), "2"))
		SKIP("parameters cannot be set");
	a = gca_open(&o);		/* 64 GiB, halved */
	EXPECT_TRUE(a);
	gca_close(a);
	o.reserve = 4ULL << 30;
	EXPECT_TRUE(!gca_open(&o));
	EXPECT_EQ(errno, EUSERS);
	EXPECT_TRUE(strstr(gca_strerror(), "max_reserve_gib"));
	EXPECT_EQ(gct_file_write(gct_param_path("max_reserve_gib"), "1024"), 0);

	snprintf(old, sizeof(old), "%ld", gct_file_long(gct_param_path("level")));
	ASSERT_EQ(gct_file_write(gct_param_path("level"), "0"), 0);
	EXPECT_TRUE(!gca_open(&o));
	EXPECT_EQ(errno, EPERM);
	EXPECT_TRUE(strstr(gca_strerror(), "level"));
	o.backend = "auto";
	a = gca_open(&o);
	EXPECT_EQ(gct_file_write(gct_param_path("level"), old), 0);
	ASSERT_TRUE(a);
	ASSERT_EQ(gca_stats(a, &s), 0);
	EXPECT_EQ(strcmp(s.backend, "process"), 0);
	gca_close(a);
}

struct stranger {
	struct gca_arena *a;
	struct gca_mutator *m;
};

static void *stranger(void *arg)
{
	struct stranger *x = arg;

	EXPECT_EQ(gca_detach(x->m), -1);
	EXPECT_EQ(errno, EPERM);
	EXPECT_EQ(gca_detach(gca_attach(x->a)), 0);
	EXPECT_TRUE(!gca_alloc_noscan(x->m, 100000));
	EXPECT_EQ(errno, EPERM);
	return NULL;
}

/* The same errno on both backends. */
TEST(backends_agree)
{
	gct_want_module();
	for (int k = 0; k < 2; k++) {
		struct gca_options o = { .backend = k ? "process" : "kernel", .reserve = 1ULL << 28 };
		struct stranger x = { .a = gca_open(&o) };
		struct gca_stats s;
		pthread_t t;

		ASSERT_TRUE(x.a);
		x.m = gca_attach(x.a);
		ASSERT_TRUE(x.m);
		EXPECT_TRUE(!gca_attach(x.a));
		EXPECT_EQ(errno, EEXIST);
		ASSERT_EQ(pthread_create(&t, NULL, stranger, &x), 0);
		pthread_join(t, NULL);
		EXPECT_EQ(gca_root_add(x.a, (void *)4096, GCARENA_ROOT_BYTES_MAX + 8, 0), -1);
		EXPECT_EQ(errno, ENOSPC);
		EXPECT_EQ(gca_set_percent(x.a, 100001), -1);
		EXPECT_EQ(errno, EINVAL);
		EXPECT_EQ(gca_set_percent(x.a, 0), 0);
		for (int i = 0; i < 200000; i++)
			ASSERT_TRUE(gca_alloc_noscan(x.m, 48));
		ASSERT_EQ(gca_stats(x.a, &s), 0);
		EXPECT_EQ(s.cycles, 0);
		EXPECT_EQ(s.allocated_bytes, 200000 * 48);
		EXPECT_EQ(gca_detach(x.m), 0);
		gca_close(x.a);
	}
}

static int pausing;

/* Whatever is written meanwhile: newest first, none torn. */
static void *look_at_pauses(void *arg)
{
	static struct gca_pause p[GCA_PAUSES];
	struct gca_arena *a = arg;

	while (__atomic_load_n(&pausing, __ATOMIC_RELAXED)) {
		unsigned int n = gca_pauses(a, p, GCA_PAUSES);

		for (unsigned int i = 0; i + 1 < n; i++) {
			ASSERT_GT(p[i].ns, 0);
			ASSERT_GE(p[i].end_ns - p[i].ns, p[i + 1].end_ns);
		}
	}
	return NULL;
}

/* The ring of the last stops. */
TEST(pauses)
{
	unsigned long n = gct_scale(400);
	struct gca_arena *a = open_with(NULL);
	static struct gca_pause p[GCA_PAUSES];
	uint64_t sum = 0, most = 0, began;
	struct gca_stats s;
	unsigned int got;
	pthread_t t;

	EXPECT_EQ(gca_pauses(a, p, GCA_PAUSES), 0);
	began = gct_now_ms() * 1000000;
	for (int i = 0; i < 5; i++)
		ASSERT_EQ(gca_collect(a, 0), 0);
	ASSERT_EQ(gca_stats(a, &s), 0);
	got = gca_pauses(a, p, GCA_PAUSES);
	EXPECT_EQ(got, s.stops);
	for (unsigned int i = 0; i < got; i++) {
		sum += p[i].ns;
		most = p[i].ns > most ? p[i].ns : most;
		EXPECT_GE(p[i].end_ns, began);
	}
	EXPECT_EQ(sum, s.stop_ns_total);
	EXPECT_EQ(most, s.stop_ns_max);
	EXPECT_EQ(gca_pauses(a, p, 2), 2);
	EXPECT_EQ(gca_pauses(a, p, 0), 0);
	pausing = 1;
	ASSERT_EQ(pthread_create(&t, NULL, look_at_pauses, a), 0);
	for (unsigned long i = 0; i < n; i++)
		ASSERT_EQ(gca_collect(a, 0), 0);
	__atomic_store_n(&pausing, 0, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	ASSERT_EQ(gca_stats(a, &s), 0);
	EXPECT_EQ(gca_pauses(a, p, GCA_PAUSES), s.stops < GCA_PAUSES ? s.stops : GCA_PAUSES);
	EXPECT_LE(s.marking_cpu_ns, s.cpu_ns);
	EXPECT_GT(s.cpu_ns, 0);
	gca_close(a);
}

/* closefrom() takes the descriptor; its number is somebody else's then. */
TEST(descriptor_closed_behind_the_library)
{
	struct gca_arena *a = open_with("checkmark");
	struct gca_mutator *m = gca_attach(a);
	int fd, null = open("/dev/null", O_RDWR), hit = 0;

	gct_want_module();
	ASSERT_TRUE(m);
	dup2(2, 1000);		/* it will say one sentence there: see nothing of it */
	dup2(null, 2);
	for (fd = 3; fd < 1000; fd++) {
		char path[64], what[64];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, what, sizeof(what) - 1);
		if (n <= 0)
			continue;
		what[n] = 0;
		if (strcmp(what, RAW_DEVICE))
			continue;
		EXPECT_GE(fd, 512);	/* out of the way of loops over small numbers */
		ASSERT_EQ(dup2(null, fd), fd);
		hit++;
	}
	EXPECT_EQ(hit, 1);
	EXPECT_EQ(gca_collect(a, 0), -1);
	EXPECT_EQ(errno, EBADF);
	EXPECT_EQ(gca_collect(a, 0), -1);
	/* The arena lives by its mappings, and dies with them. */
	(void)m;
}

TEST_HARNESS_MAIN
