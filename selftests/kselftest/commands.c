// SPDX-License-Identifier: GPL-2.0-only
/*
 * commands.c: what each ioctl on a running arena can answer: REFILL, LARGE, SETTLE,
 * COLLECT, CONFIG, STATS, SERVE.  Those that arrange one are in setup.c.
 *
 * Success, every errno it documents, numbers near 2^32 and 2^64, and that a call
 * which fails has changed nothing.  What holds for all of them is in uapi.c.
 */
#define GCT_SUITE "commands"
#include "stop.h"

FIXTURE(arena) {
	struct raw r;
};

FIXTURE_SETUP(arena)
{
	ASSERT_EQ(raw_arena(&self->r), 0);
	ASSERT_EQ(raw_attach(&self->r), 0);
}

FIXTURE_TEARDOWN(arena)
{
	raw_close(&self->r);
}

/* --------------------------------------------------- REFILL, LARGE, SETTLE */

TEST_F(arena, refill)
{
	struct gcarena_refill req = { .size = sizeof(req), .id = self->r.attach.id, .count = 1 };
	struct gcarena_mutator *m = self->r.m;

	for (uint32_t sc = 0; sc < GCARENA_NR_SPAN_CLASSES; sc++) {
		struct gcarena_slot *s;

		req.span_class = sc;
		req.count = 1;
		req.flags = 0;
		if (sc % 4 == GCARENA_NR_KINDS) {
			EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &req), -EINVAL);
			continue;
		}
		ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &req), 0);
		EXPECT_EQ(req.count, 1);
		EXPECT_EQ(req.flags & ~(GCARENA_WANT_COLLECT | GCARENA_WANT_SERVE), 0);
		ASSERT_GT(m->current_slot[sc], 0);
		ASSERT_LT(m->current_slot[sc], m->nr_slots);
		s = &m->slot[m->current_slot[sc]];
		EXPECT_EQ(s->span_class, sc);
		EXPECT_EQ(s->free_index, 0);
		EXPECT_GE(s->nelems, 1);
		EXPECT_GE(s->base, (uintptr_t)self->r.heap);
		EXPECT_LE(s->base + (uint64_t)s->nelems * s->elem_size,
			  (uintptr_t)self->r.heap + self->r.heap_size);
	}
	EXPECT_EQ(m->slot[0].nelems, 0);
}

TEST_F(arena, refill_refuses)
{
	static const uint32_t counts[] = { 0, 33, 1U << 16, 1U << 31, UINT32_MAX };
	static const uint32_t classes[] = { GCARENA_NR_SPAN_CLASSES, 3, 315, 1U << 16, 1U << 31,
					    UINT32_MAX, UINT32_MAX - 3 };
	struct raw other = self->r;

	for (int k = 0; k < 5; k++)
		EXPECT_EQ(raw_refill(&self->r, 0, counts[k]), -EINVAL);
	for (int k = 0; k < 7; k++)
		EXPECT_EQ(raw_refill(&self->r, classes[k], 1), -EINVAL);
	other.attach.id = self->r.attach.id + 1;
	EXPECT_EQ(raw_refill(&other, 0, 1), -EPERM);
	other.attach.id = UINT32_MAX;
	EXPECT_EQ(raw_refill(&other, 0, 1), -EPERM);
}

/* The reservation is full: -ENOSPC, and after a collection there is room again. */
TEST_F(arena, full)
{
	uint32_t sc = GCARENA_SPAN_CLASS(GCARENA_NR_SIZES - 1, GCARENA_NOSCAN);
	int err = 0, n = 0;
	uint64_t addr;

	while (!(err = raw_large(&self->r, 4 << 20, GCARENA_NOSCAN, 0, &addr)) && n < 1000)
		n++;
	EXPECT_EQ(err, -ENOSPC);
	EXPECT_GE(n, 14);
	for (n = 0; n < 4000; n++) {
		struct gcarena_slot *s;

		err = raw_refill(&self->r, sc, 32);
		if (err)
			break;
		for (uint32_t i = self->r.m->current_slot[sc]; i; i = s->next) {
			s = &self->r.m->slot[i];
			s->free_index = s->nelems;
		}
	}
	EXPECT_EQ(err, -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	addr = 0;
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	EXPECT_EQ(raw_large(&self->r, 4 << 20, GCARENA_NOSCAN, 0, &addr), 0);
	EXPECT_EQ(raw_refill(&self->r, sc, 1), 0);
}

TEST_F(arena, large)
{
	uint64_t base = (uintptr_t)self->r.heap, addr[4];

	ASSERT_EQ(raw_large(&self->r, 1, GCARENA_NOSCAN, 0, &addr[0]), 0);
	ASSERT_EQ(raw_large(&self->r, 8192, GCARENA_CONSERVATIVE, 0, &addr[1]), 0);
	ASSERT_EQ(raw_large(&self->r, 32769, GCARENA_NOSCAN, 0, &addr[2]), 0);
	ASSERT_EQ(raw_large(&self->r, 32 << 20, GCARENA_NOSCAN, 0, &addr[3]), 0);
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(addr[i] % GCARENA_PAGE_SIZE, 0);
		EXPECT_LT(addr[i] - base, self->r.heap_size);
		for (int j = 0; j < i; j++)
			EXPECT_NE(addr[i], addr[j]);
	}
}

TEST_F(arena, large_refuses)
{
	uint64_t addr;

	EXPECT_EQ(raw_large(&self->r, 0, GCARENA_NOSCAN, 0, &addr), -EINVAL);
	for (uint32_t kind = GCARENA_NR_KINDS; kind; kind = kind << 1 | 1) {
		EXPECT_EQ(raw_large(&self->r, 8192, kind, 0, &addr), -EINVAL);
		if (kind == UINT32_MAX)
			break;
	}
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_NOSCAN, 1, &addr), -EINVAL);
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_CONSERVATIVE, UINT32_MAX, &addr), -EINVAL);
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_PRECISE, 1, &addr), -EINVAL);
	EXPECT_EQ(raw_large(&self->r, 8192, GCARENA_PRECISE, UINT32_MAX, &addr), -EINVAL);
	EXPECT_EQ(raw_large(&self->r, RAW_RESERVE + 1, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, 1ULL << 32, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, (1ULL << 45) + 1, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, 1ULL << 63, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, UINT64_MAX, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(raw_large(&self->r, UINT64_MAX - 8191, GCARENA_NOSCAN, 0, &addr), -ENOSPC);
	EXPECT_EQ(addr, 0xa5a5a5a5a5a5a5a5ULL);
}

TEST_F(arena, settle)
{
	struct gcarena_settle s = { .size = sizeof(s), .id = self->r.attach.id };

	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_SETTLE, &s), 0);
	s.flags = GCARENA_SETTLE_FLUSH;
	self->r.m->ring[0] = 1;
	self->r.m->ring_tail = 1;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_SETTLE, &s), 0);
	EXPECT_EQ(self->r.m->ring_head, 1);
	s.flags = 0;
	s.id++;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_SETTLE, &s), -EPERM);
	s.id = UINT32_MAX;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_SETTLE, &s), -EPERM);
}

/* -------------------------------------------------- COLLECT, CONFIG, STATS */

TEST_F(arena, collect)
{
	struct gcarena_collect c;
	struct gcarena_stats s;
	uint64_t cycle;

	ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
	EXPECT_EQ(c.void_reason, GCARENA_VOID_NONE);
	cycle = c.cycle;
	EXPECT_EQ(self->r.control->phase, GCARENA_PHASE_OFF);
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKING, &c), 0);
	EXPECT_EQ(c.cycle, cycle + 1);
	EXPECT_EQ(self->r.control->phase, GCARENA_PHASE_MARK);
	EXPECT_EQ(self->r.control->barrier, GCARENA_BARRIER_DELETION);
	EXPECT_EQ(self->r.control->cycle, cycle + 1);
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKED, &c), 0);
	EXPECT_EQ(c.cycle, cycle + 1);
	EXPECT_EQ(self->r.control->phase, GCARENA_PHASE_OFF);
	EXPECT_EQ(self->r.control->barrier, 0);
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKED, &c), 0);
	EXPECT_EQ(c.cycle, cycle + 2);
	/* A full cycle that begins after the call: one under way does not count. */
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKING, &c), 0);
	ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.cycle, cycle + 4);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.cycles, cycle + 4);
	EXPECT_EQ(s.voided, 0);
	/* Only a request: the next refill says so. */
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_ASYNC, &c), 0);
	{
		struct gcarena_refill q = { .size = sizeof(q), .id = self->r.attach.id, .count = 1 };

		EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &q), 0);
		EXPECT_EQ(q.flags & GCARENA_WANT_COLLECT, GCARENA_WANT_COLLECT);
	}
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_SWEEP_STOPPED, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
	for (uint32_t f = 0; f < 32; f++)
		if ((f & ~GCARENA_COLLECT_PACED) & ((f & ~GCARENA_COLLECT_PACED) - 1))
			EXPECT_EQ(raw_collect(&self->r, f, NULL), -EINVAL);
	/* A cycle that was asked for by the trigger is not counted as forced. */
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	cycle = s.forced;
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_PACED, &c), 0);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.forced, cycle);
}

/* The table of Documentation/uapi.rst, in the order of the bits of the mask. */
static const struct {
	const char *name;
	size_t offset;
	uint64_t lo, hi, first;
} knob[] = {
#define KNOB(field, ...) { #field, offsetof(struct gcarena_knobs, field), __VA_ARGS__ }
	KNOB(percent, 0, 100000, 100),
	KNOB(heap_min, 0, GCARENA_RESERVE_MAX, 4 << 20),
	KNOB(debug, 0, GCARENA_DEBUG_ALL, 0),
	KNOB(memlimit, 0, GCARENA_RESERVE_MAX, 0),
	KNOB(period_ms, 0, 86400000, 120000),
	KNOB(cpu_percent, 1, 100, 50),
	KNOB(cpus_milli, 0, 65536000, 0),
	KNOB(assist_us, 10, 1000000, 100),
};
#define KNOBS (sizeof(knob) / sizeof(knob[0]))

static uint64_t *knob_in(struct gcarena_config *c, unsigned int i)
{
	return (uint64_t *)((char *)&c->knob + knob[i].offset);
}

TEST_F(arena, config)
{
	struct gcarena_config c = { .size = sizeof(c) }, d, now = { .size = sizeof(now) };
	struct gcarena_refill q = { .size = sizeof(q), .id = self->r.attach.id, .count = 1 };

	/* Each is what it is at first; what it was asked with does not matter. */
	memset(&c.knob, 0xa5, sizeof(c.knob));
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &c), 0);
	for (unsigned int i = 0; i < KNOBS; i++)
		EXPECT_EQ(*knob_in(&c, i), knob[i].first);
	for (unsigned int bit = KNOBS; bit < 64; bit++) {
		d = c;
		d.mask = 1ULL << bit;
		EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), -EINVAL);
		d.mask = GCARENA_CONFIG_DEBUG;
		d.knob.debug = 1ULL << bit;
		EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), -EINVAL);
	}
	/* One that does not fit is refused, and what came with it; then the bounds. */
	for (unsigned int i = 0; i < KNOBS; i++) {
		uint64_t bad[] = { knob[i].lo - 1, knob[i].hi + 1, UINT64_MAX };

		for (int b = 0; b < 3; b++) {
			d = c;
			d.mask = GCARENA_CONFIG_ALL;
			for (unsigned int k = 0; k < KNOBS; k++)
				*knob_in(&d, k) = knob[k].hi;
			*knob_in(&d, i) = bad[b];
			EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), -EINVAL);
		}
		ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &now), 0);
		EXPECT_EQ(memcmp(&now.knob, &c.knob, sizeof(c.knob)), 0);
	}
	for (unsigned int i = 0; i < KNOBS; i++) {
		d = c;
		d.mask = 1ULL << i;
		*knob_in(&d, i) = knob[i].lo;
		EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), 0);
		*knob_in(&d, i) = knob[i].hi;
		EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), 0);
		EXPECT_EQ(*knob_in(&d, i), knob[i].hi);
		EXPECT_EQ(*knob_in(&d, (i + 1) % KNOBS), i == KNOBS - 1 ? knob[0].hi : knob[i + 1].first);
	}
	EXPECT_EQ(raw_collect(&self->r, 0, NULL), 0);
	d.mask = GCARENA_CONFIG_DEBUG | GCARENA_CONFIG_MEMLIMIT;
	d.knob.debug = 0;
	d.knob.memlimit = 0;
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), 0);
	/* Never by itself. */
	d.mask = GCARENA_CONFIG_PERCENT;
	d.knob.percent = 0;
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), 0);
	EXPECT_EQ(self->r.control->heap_trigger, UINT64_MAX);
	/* But what was asked for stays asked for. */
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_ASYNC, NULL), 0);
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &d), 0);
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &q), 0);
	EXPECT_EQ(q.flags & GCARENA_WANT_COLLECT, GCARENA_WANT_COLLECT);
}

/* A reply that cannot be written: no knob is set, no layout number is used up. */
TEST_F(arena, not_told_not_done)
{
	struct gcarena_config *c = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct gcarena_layout *l = (void *)c;
	static const uint64_t none;
	uint32_t id;

	ASSERT_TRUE((void *)c != MAP_FAILED);
	*c = (struct gcarena_config){
		.size = sizeof(*c), .mask = GCARENA_CONFIG_ALL,
		.knob = { 7, 4096, GCARENA_DEBUG_MISS, 0, 0, 50, 0, 100 },
	};
	mprotect(c, 4096, PROT_READ);
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, c), -EFAULT);
	mprotect(c, 4096, PROT_READ | PROT_WRITE);
	c->mask = 0;
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, c), 0);
	EXPECT_EQ(c->knob.percent, 100);
	EXPECT_EQ(c->knob.heap_min, 4 << 20);
	EXPECT_EQ(c->knob.debug, 0);

	*l = (struct gcarena_layout){ .size = sizeof(*l), .elem_size = 8, .bitmap = (uintptr_t)&none };
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_LAYOUT, l), 0);
	id = l->id;
	mprotect(l, 4096, PROT_READ);
	EXPECT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_LAYOUT, l), -EFAULT);
	mprotect(l, 4096, PROT_READ | PROT_WRITE);
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_LAYOUT, l), 0);
	EXPECT_EQ(l->id, id + 1);
	munmap(c, 4096);
}

TEST_F(arena, stats)
{
	struct gcarena_stats s, t;
	uint64_t keep;

	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.size, sizeof(s));
	EXPECT_EQ(s.cycles, 0);
	EXPECT_EQ(s.live, 0);
	EXPECT_EQ(s.allocated, 0);
	EXPECT_GT(s.metadata, 0);
	ASSERT_EQ(raw_large(&self->r, 1 << 20, GCARENA_NOSCAN, 0, &keep), 0);
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&self->r, &t), 0);
	EXPECT_EQ(t.cycles, 1);
	EXPECT_EQ(t.forced, 1);
	EXPECT_EQ(t.live, 1 << 20);
	EXPECT_GE(t.heap, 1 << 20);
	EXPECT_EQ(t.allocated, 1 << 20);
	EXPECT_GT(t.stops, 0);
	EXPECT_GT(t.stop_ns_total, 0);
	EXPECT_GE(t.stop_ns_total, t.stop_ns_max);
	EXPECT_GT(t.mark_ns[0] + t.mark_ns[1] + t.worker_ns, 0);
	EXPECT_GE(t.marked_objects, 1);
	EXPECT_LT(keep - (uintptr_t)self->r.heap, self->r.heap_size);	/* and alive till here */
	/* What was taken from a lent span is counted at once. */
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(raw_alloc(&self->r, GCARENA_SPAN_CLASS(4, GCARENA_NOSCAN)));
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.allocated, t.allocated + 3 * 48);
	EXPECT_GE(s.metadata, self->r.attach.map_size + 4096);
}

/* A time limit that marking cannot meet: void, by age, and nothing is freed. */
TEST_F(arena, void_by_age)
{
	struct gcarena_collect c = { .size = sizeof(c), .timeout_ns = 1 };
	uint64_t *head = NULL, p, before;
	struct gcarena_stats s;

	for (int i = 0; i < 20000; i++) {
		p = raw_alloc(&self->r, GCARENA_SPAN_CLASS(0, GCARENA_CONSERVATIVE));
		ASSERT_NE(p, 0);
		*(uint64_t **)p = head;
		head = (uint64_t *)p;
	}
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	before = s.freed;
	ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_COLLECT, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_VOID);
	EXPECT_EQ(c.void_reason, GCARENA_VOID_AGE);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.freed, before);
	EXPECT_EQ(s.voided, 1);
	EXPECT_EQ(s.last_void, GCARENA_VOID_AGE);
	EXPECT_EQ(self->r.control->phase, GCARENA_PHASE_OFF);
	/* The next one is as if that had not been. */
	ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
	EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_GE(s.live, 20000 * 16);
	EXPECT_LE(s.live, 20100 * 16 + 65536);
	for (int i = 0; i < 20000; i++, head = *(uint64_t **)head)
		ASSERT_NE(head, NULL);
}

/* ---------------------------------------------------------- SERVE, DESTROY */

static int serve(struct raw *r, uint32_t flags, uint32_t nr_done, void *runs, uint32_t nr_runs)
{
	struct gcarena_serve q = { .size = sizeof(q), .flags = flags, .nr_done = nr_done,
				   .runs = (uintptr_t)runs, .nr_runs = nr_runs };
	int err = raw_ioctl(r->fd, GCARENA_IOC_SERVE, &q);

	return err ? err : (int)q.nr_runs;
}

TEST_F(arena, serve_refuses)
{
	struct gcarena_run runs[GCARENA_SERVE_RUNS];

	EXPECT_EQ(serve(&self->r, 0, 0, NULL, 0), -EBUSY);	/* attached: may not sleep */
	EXPECT_EQ(serve(&self->r, 1, 0, runs, GCARENA_SERVE_RUNS + 1), -EINVAL);
	EXPECT_EQ(serve(&self->r, 1, 0, runs, UINT32_MAX), -EINVAL);
	EXPECT_EQ(serve(&self->r, 1, GCARENA_SERVE_RUNS + 1, runs, 1), -EINVAL);
	EXPECT_EQ(serve(&self->r, 1, UINT32_MAX, runs, 1), -EINVAL);
	EXPECT_EQ(serve(&self->r, 1, 1, runs, 1), -EINVAL);	/* nothing was handed out */
	EXPECT_EQ(serve(&self->r, 1, 0, runs, GCARENA_SERVE_RUNS), -EAGAIN);
	EXPECT_EQ(serve(&self->r, 1, 0, NULL, 0), -EAGAIN);
}

/* Looks after the plain roots until it is asked whether anything has been loaded. */
static void *goes_when_asked(void *arg)
{
	struct gcarena_serve q;
	struct raw *r = arg;
	int err;

	do {
		q = (struct gcarena_serve){ .size = sizeof(q), .flags = GCARENA_SERVE_LOOKS };
		err = raw_ioctl(r->fd, GCARENA_IOC_SERVE, &q);
	} while (err == -EINTR || (!err && !(q.flags & GCARENA_SERVE_COMPARE)));
	return (void *)(intptr_t)err;
}

/* What nobody has looked at since may have a new library in it. */
TEST_F(arena, pager_goes_between_looks)
{
	struct gcarena_collect c;
	struct gcarena_stats s;
	pthread_t thread;
	void *ret = NULL;
	int i, busy = 1;

	if (gct_file_long(gct_param_path("workers")) == 0)
		SKIP("callers run their cycles: nobody is asked");
	ASSERT_EQ(pthread_create(&thread, NULL, goes_when_asked, &self->r), 0);
	for (i = 0; i < 1000 && busy; i++) {
		ASSERT_EQ(raw_collect(&self->r, 0, &c), 0);
		EXPECT_EQ(c.result, GCARENA_RESULT_DONE);
		busy = pthread_tryjoin_np(thread, &ret);
	}
	EXPECT_EQ(busy, 0);
	EXPECT_EQ((intptr_t)ret, 0);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_EQ(s.voided, 1);
	EXPECT_EQ(s.last_void, GCARENA_VOID_LIBRARY);
}

static void alarm_handler(int sig)
{
	(void)sig;
}

struct server {
	struct raw *r;
	int ret;
	volatile int state;
	pid_t tid;
};

static void *server(void *arg)
{
	struct server *s = arg;
	struct gcarena_run runs[4];

	s->tid = stop_tid();
	s->state = 1;
	s->ret = serve(s->r, 0, 0, runs, 4);
	s->state = 2;
	return NULL;
}

/* Asleep, after it has said that it comes to SERVE: it is there. */
static bool serves(struct server *s)
{
	while (s->state != 1)
		gct_sleep_ms(1);
	return stop_sleeps(s->tid);
}

TEST_F(arena, serve_ends)
{
	struct sigaction sa = { .sa_handler = alarm_handler };
	struct server s = { .r = &self->r, .ret = 1 };
	pthread_t t;

	sigaction(SIGUSR1, &sa, NULL);
	/* By a signal: -EINTR, also with SA_RESTART, for what is owed may differ. */
	ASSERT_EQ(pthread_create(&t, NULL, server, &s), 0);
	ASSERT_TRUE(serves(&s));
	EXPECT_EQ(serve(&self->r, GCARENA_SERVE_NOWAIT, 0, NULL, 0), -EBUSY);
	EXPECT_EQ(raw_collect(&self->r, 0, NULL), 0);
	EXPECT_EQ(s.state, 1);
	pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
	EXPECT_EQ(s.ret, -EINTR);
	/* By death. */
	s.state = 0;
	ASSERT_EQ(pthread_create(&t, NULL, server, &s), 0);
	ASSERT_TRUE(serves(&s));
	EXPECT_EQ(raw_destroy(&self->r), 0);
	pthread_join(t, NULL);
	EXPECT_EQ(s.ret, -ESRCH);
}

/* Runs come again until they are acknowledged, all of them at once. */
TEST_F(arena, serve_hands_out_runs)
{
	struct gcarena_run a[GCARENA_SERVE_RUNS], b[GCARENA_SERVE_RUNS];
	struct gcarena_stats s;
	uint64_t addr;
	int n;

	for (int i = 0; i < 6; i++) {
		ASSERT_EQ(raw_large(&self->r, 8 << 20, GCARENA_NOSCAN, 0, &addr), 0);
		memset((void *)addr, 1, 8 << 20);
	}
	addr = 0;
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
	EXPECT_EQ(serve(&self->r, 1, 0, (void *)8, 4), -EFAULT);
	memset(a, RAW_POISON, sizeof(a));
	n = serve(&self->r, GCARENA_SERVE_NOWAIT, 0, a, GCARENA_SERVE_RUNS);
	ASSERT_GT(n, 0);
	EXPECT_EQ(serve(&self->r, GCARENA_SERVE_NOWAIT, 0, b, GCARENA_SERVE_RUNS), n);
	EXPECT_EQ(memcmp(a, b, (size_t)n * sizeof(a[0])), 0);
	for (int i = 0; i < n; i++) {
		EXPECT_GE(a[i].start, (uintptr_t)self->r.heap);
		EXPECT_LE(a[i].start + a[i].len, (uintptr_t)self->r.heap + self->r.heap_size);
		EXPECT_EQ((a[i].start | a[i].len) % GCARENA_PAGE_SIZE, 0);
		madvise((void *)a[i].start, a[i].len, MADV_DONTNEED);
	}
	EXPECT_EQ(serve(&self->r, GCARENA_SERVE_NOWAIT, (uint32_t)n + 1, b, 1), -EINVAL);
	EXPECT_GE(serve(&self->r, GCARENA_SERVE_NOWAIT, (uint32_t)n, b, 1), -EAGAIN);
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	EXPECT_GT(s.returned, 8 << 20);
}

TEST_HARNESS_MAIN
