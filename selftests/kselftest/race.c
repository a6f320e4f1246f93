// SPDX-License-Identifier: GPL-2.0-only
/*
 * race.c: two threads, every pair of ioctls.
 *
 * The first thread is the attached one, the second is not; both work on one
 * arena, then change roles.  A pair runs until each thread has made so many
 * calls.  Required: only documented errors, no splat (KASAN, KCSAN, lockdep), a
 * good cycle afterwards.  A sample in make check, every pair in --long.
 */
#define GCT_SUITE "race"
#include "stop.h"

enum { INFO, CREATE, ATTACH, DETACH, REFILL, LARGE, SETTLE, LAYOUT, ROOTS, COLLECT, MARKING, MARKED,
       CONFIG, STATS, SERVE, FDINFO, MAP, WRITE_MAP, DESTROY, NR_CALLS };

static const char *const call_name[] = {
	"INFO", "CREATE", "ATTACH", "DETACH", "REFILL", "LARGE", "SETTLE", "LAYOUT", "ROOTS",
	"COLLECT", "UNTIL_MARKING", "UNTIL_MARKED", "CONFIG", "STATS", "SERVE", "fdinfo", "mmap",
	"munmap", "DESTROY",
};

struct side {
	struct raw *r;
	int call;
	int result;		/* first that is not documented */
	unsigned long n;
	volatile int *go;
	bool attach;
};

static int one_call(struct side *s, unsigned long i)
{
	struct gcarena_info info = { .size = sizeof(info) };
	struct gcarena_create create;
	struct gcarena_attach attach;
	struct gcarena_settle settle = { .size = sizeof(settle), .flags = i & 1,
					 .id = s->r->attach.id };
	uint64_t bit = 1;
	struct gcarena_layout layout = { .size = sizeof(layout), .elem_size = 8,
					 .bitmap = (uintptr_t)&bit };
	struct gcarena_range range = { (uintptr_t)&bit & ~4095ULL, 4096, i & 1, 0 };
	struct gcarena_roots roots = { .size = sizeof(roots) };
	struct gcarena_config config = { .size = sizeof(config), .mask = i % 256,
					 .knob = { 100, 1 << 20, i & 1, (i & 3) << 20, 1000, 50,
						   500, 100 } };
	struct gcarena_detach detach = { .size = sizeof(detach), .id = s->r->attach.id };
	struct gcarena_run runs[8];
	struct gcarena_serve serve = { .size = sizeof(serve), .flags = GCARENA_SERVE_NOWAIT,
				       .runs = (uintptr_t)runs, .nr_runs = 8 };
	struct gcarena_stats stats;
	char path[64], buf[4096];
	void *p;
	int fd, err;

	switch (s->call) {
	case INFO:
		return raw_ioctl(s->r->fd, GCARENA_IOC_INFO, &info);
	case CREATE:
		return raw_create(s->r->fd, RAW_RESERVE, &create);
	case ATTACH:
		raw_attach_fill(&attach);
		err = raw_attach_ioctl(s->r->fd, &attach);
		if (!err)
			s->r->attach.id = attach.id;
		return err;
	case DETACH:
		return raw_ioctl(s->r->fd, GCARENA_IOC_DETACH, &detach);
	case REFILL:
		return raw_refill(s->r, (uint32_t)(i * 4 % GCARENA_NR_SPAN_CLASSES), 1 + i % 4);
	case LARGE:
		return raw_large(s->r, 40000, (uint32_t)(i & 1) * 2, 0, NULL);
	case SETTLE:
		return raw_ioctl(s->r->fd, GCARENA_IOC_SETTLE, &settle);
	case LAYOUT:
		return raw_ioctl(s->r->fd, GCARENA_IOC_LAYOUT, &layout);
	case ROOTS:
		if (i & 1) {
			roots.add = (uintptr_t)&range;
			roots.nr_add = 1;
		} else {
			roots.del = (uintptr_t)&range;
			roots.nr_del = 1;
		}
		return raw_ioctl(s->r->fd, GCARENA_IOC_ROOTS, &roots);
	case COLLECT:
		return raw_collect(s->r, 0, NULL);
	case MARKING:
		return raw_collect(s->r, GCARENA_COLLECT_UNTIL_MARKING, NULL);
	case MARKED:
		return raw_collect(s->r, GCARENA_COLLECT_UNTIL_MARKED, NULL);
	case CONFIG:
		return raw_ioctl(s->r->fd, GCARENA_IOC_CONFIG, &config);
	case STATS:
		return raw_stats(s->r, &stats);
	case SERVE:
		return raw_ioctl(s->r->fd, GCARENA_IOC_SERVE, &serve);
	case FDINFO:
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", s->r->fd);
		fd = open(path, O_RDONLY);
		err = fd < 0 || read(fd, buf, sizeof(buf)) <= 0 ? -errno : 0;
		close(fd);
		return err;
	case MAP:
		p = mmap(NULL, s->r->attach.map_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->r->fd,
			 (off_t)s->r->attach.map_offset);
		if (p != MAP_FAILED)
			munmap(p, s->r->attach.map_size);
		return 0;
	case WRITE_MAP:
		munmap(s->r->heap + i * 4096 % (1 << 20), 4096);
		return 0;
	case DESTROY:
		return i ? 0 : raw_destroy(s->r);
	}
	return 0;
}

static bool documented(int err)
{
	return !err || err == -EBUSY || err == -EEXIST || err == -EPERM || err == -ENOSPC ||
	       err == -ENOENT || err == -EAGAIN || err == -ESRCH;
}

static void *side(void *arg)
{
	struct side *s = arg;

	if (s->attach)
		raw_attach_slots(s->r, GCARENA_SLOTS_MIN);
	__atomic_fetch_add(s->go, 1, __ATOMIC_SEQ_CST);
	while (*s->go < 2)
		;
	for (unsigned long i = 0; i < s->n; i++) {
		int err = one_call(s, i);

		if (!documented(err) && !s->result)
			s->result = err;
	}
	return NULL;
}

static void pair(int x, int y, unsigned long n)
{
	volatile int go = 0;
	struct raw r;
	struct side a = { &r, x, 0, n, &go, true }, b = { &r, y, 0, n, &go, false };
	pthread_t t, u;
	int err;

	ASSERT_EQ(raw_arena(&r), 0);
	ASSERT_EQ(pthread_create(&t, NULL, side, &a), 0);
	ASSERT_EQ(pthread_create(&u, NULL, side, &b), 0);
	pthread_join(t, NULL);
	pthread_join(u, NULL);
	if (a.result || b.result)
		gct_note("# %s and %s: %d, %d", call_name[x], call_name[y], a.result, b.result);
	EXPECT_EQ(a.result, 0);
	EXPECT_EQ(b.result, 0);
	err = raw_collect(&r, 0, NULL);
	if (x == DESTROY || y == DESTROY)
		EXPECT_EQ(err, -ESRCH);
	else
		EXPECT_EQ(err, 0);
	r.m = NULL;
	raw_close(&r);
}

TEST(every_pair)
{
	unsigned long n = gct_long() ? 200 : gct_slow() > 1 ? 8 : 40;
	unsigned long seed = (unsigned long)gct_now_ms();

	for (int x = 0; x < NR_CALLS; x++)
		for (int y = 0; y < NR_CALLS; y++) {
			/* A sample on slow kernels: another one each time. */
			if (gct_slow() > 1 && !gct_long() && (seed + (unsigned long)(x * 7 + y)) % 5)
				continue;
			pair(x, y, n);
		}
}

/* CREATE twice at once: one makes the arena. */
static void *creator(void *arg)
{
	struct gcarena_create c;

	return (void *)(intptr_t)raw_create(*(int *)arg, RAW_RESERVE, &c);
}

TEST(create_twice_at_once)
{
	for (unsigned long i = 0; i < gct_scale(200); i++) {
		int fd = raw_open();
		pthread_t t;
		void *other;
		int mine;

		ASSERT_GE(fd, 0);
		ASSERT_EQ(pthread_create(&t, NULL, creator, &fd), 0);
		mine = (int)(intptr_t)creator(&fd);
		pthread_join(t, &other);
		ASSERT_EQ(mine + (int)(intptr_t)other, -EBUSY);
		close(fd);
	}
}

static void *destroyer(void *arg)
{
	return (void *)(intptr_t)raw_destroy(arg);
}

TEST(destroy_twice_at_once)
{
	for (unsigned long i = 0; i < gct_scale(200); i++) {
		struct raw r;
		pthread_t t;
		void *other;
		int mine;

		ASSERT_EQ(raw_arena(&r), 0);
		ASSERT_EQ(pthread_create(&t, NULL, destroyer, &r), 0);
		mine = raw_destroy(&r);
		pthread_join(t, &other);
		ASSERT_TRUE(!mine || mine == -ESRCH);
		ASSERT_TRUE(!other || (intptr_t)other == -ESRCH);
		ASSERT_TRUE(!mine || !other);
		raw_close(&r);
	}
}

/*
 * Cycles that the coordinator runs, and cycles that their callers must, because there are to be no
 * workers just then; steps of both, by threads that know nothing of each other, while others
 * allocate: one conducts at a time, and no call is let through in another's stop.
 */
static volatile int conducted;

static void *conducts(void *arg)
{
	static const uint32_t until[] = {
		GCARENA_COLLECT_UNTIL_MARKING, GCARENA_COLLECT_UNTIL_MARKED, 0,
	};
	struct side *s = arg;
	struct raw r;

	if (s->attach && stop_attach(&r, s->r))
		_exit(4);
	for (unsigned long i = s->n; !conducted; i++) {
		int err = 0;

		if (s->call == CONFIG)
			err = gct_file_write(gct_param_path("workers"), i & 1 ? "0" : "16");
		else if (s->call == COLLECT)
			err = raw_collect(s->r, until[i % 3], NULL);
		else
			err = raw_refill(&r, (uint32_t)(i * 4 % GCARENA_NR_SPAN_CLASSES), 1);
		if (!documented(err) && !s->result)
			s->result = err;
	}
	if (s->attach && stop_detach(&r))
		_exit(4);
	return NULL;
}

TEST(conductors)
{
	static const int call[] = { CONFIG, COLLECT, COLLECT, COLLECT, REFILL, REFILL };
	struct side side[6];
	struct gcarena_stats st;
	pthread_t t[6];
	struct raw r;

	conducted = 0;
	ASSERT_EQ(raw_arena(&r), 0);
	for (unsigned int i = 0; i < 6; i++) {
		side[i] = (struct side){ &r, call[i], 0, i, NULL, call[i] == REFILL };
		ASSERT_EQ(pthread_create(&t[i], NULL, conducts, &side[i]), 0);
	}
	/* On a slow kernel, beside others, as long as it takes to have had some. */
	gct_sleep_ms(gct_scale(3000));
	for (int i = 0; i < 1000; i++) {
		ASSERT_EQ(raw_stats(&r, &st), 0);
		if (st.cycles > 10)
			break;
		gct_sleep_ms(100);
	}
	conducted = 1;
	for (unsigned int i = 0; i < 6; i++) {
		pthread_join(t[i], NULL);
		EXPECT_EQ(side[i].result, 0);
	}
	ASSERT_EQ(gct_file_write(gct_param_path("workers"), "16"), 0);
	EXPECT_EQ(raw_collect(&r, 0, NULL), 0);
	ASSERT_EQ(raw_stats(&r, &st), 0);
	gct_note("# %llu cycles, %llu void", (unsigned long long)st.cycles,
		 (unsigned long long)st.voided);
	EXPECT_GT(st.cycles, 10);
	raw_close(&r);
}

TEST_HARNESS_MAIN
