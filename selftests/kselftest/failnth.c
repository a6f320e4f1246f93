// SPDX-License-Identifier: GPL-2.0-only
/*
 * failnth.c: each allocation and each user copy of each call fails once.
 *
 * /proc/thread-self/fail-nth makes the n-th point of fault injection that this
 * thread passes fail.  For each call, n = 1, 2, ... until the call passes without
 * meeting its n-th point.  Required: a documented error or success, and the same
 * call succeeds afterwards: nothing was left behind (kmemleak and the end of the
 * guest see to what cannot be seen from here).
 *
 * On a kernel with CONFIG_FAULT_INJECTION and _DEBUG_FS only; make check does
 * every third n, --long all.
 */
#define GCT_SUITE "failnth"
#include "raw.h"

static int nth_fd = -1;
static unsigned long injected;

static void prepare(void)
{
	static const struct { const char *path, *value; } set[] = {
		{ "/sys/kernel/debug/failslab/ignore-gfp-wait", "N" },
		{ "/sys/kernel/debug/failslab/verbose", "0" },
		{ "/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N" },
		{ "/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "/sys/kernel/debug/fail_page_alloc/min-order", "0" },
		{ "/sys/kernel/debug/fail_page_alloc/verbose", "0" },
		{ "/sys/kernel/debug/fail_usercopy/verbose", "0" },
	};

	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++)
		gct_file_write(set[i].path, set[i].value);
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (nth_fd < 0)
		SKIP("no fault injection in this kernel");
}

static void arm(unsigned int n)
{
	char text[20];
	int len = snprintf(text, sizeof(text), "%u", n);

	/* This write's own copy may be the n-th point of what was armed before. */
	if (pwrite(nth_fd, text, (size_t)len, 0) != len)
		ASSERT_EQ(pwrite(nth_fd, text, (size_t)len, 0), len);
}

/* Return: true if the point was met.  Our read may meet it instead of the call. */
static bool disarm(void)
{
	char text[20] = "";
	bool met = pread(nth_fd, text, sizeof(text) - 1, 0) > 0 && !atoi(text);

	arm(0);
	injected += met;
	return met;
}

static unsigned int step(void)
{
	return gct_long() ? 1 : 3;
}

static bool documented(int err)
{
	/* EDQUOT and the like would be wrong: the limits are not reached. */
	return err >= 0 || err == -ENOMEM || err == -EFAULT;
}

/*
 * @again: call() once more must succeed.  @fresh: with a new arena for each n, in
 * the state that before() makes.
 */
static void each_point(const char *name, int (*before)(struct raw *r), int (*call)(struct raw *r),
		       void (*after)(struct raw *r))
{
	/* A cycle with a hundred copies has as many points: the first ones will do. */
	unsigned int n = 1, limit = gct_long() ? 2000 : 120;
	unsigned long was = injected;
	bool met = true;

	for (; met && n < limit; n += step()) {
		struct raw r;
		int err;

		memset(&r, 0, sizeof(r));
		r.fd = -1;
		ASSERT_GE(before(&r), 0);
		arm(n);
		err = call(&r);
		met = disarm();
		if (!documented(err))
			gct_note("# %s, point %u: %d", name, n, err);
		EXPECT_TRUE(documented(err));
		if (err < 0) {
			err = call(&r);
			if (err < 0)
				gct_note("# %s, after point %u: %d", name, n, err);
			EXPECT_GE(err, 0);
		}
		after(&r);
	}
	gct_note("# %s: %lu points", name, injected - was);
}

static int nothing(struct raw *r)
{
	(void)r;
	return 0;
}

static int opened(struct raw *r)
{
	r->fd = raw_open();
	return r->fd;
}

static int create(struct raw *r)
{
	struct gcarena_create c;
	int err = raw_create(r->fd, RAW_RESERVE, &c);

	if (!err) {
		r->heap_size = c.heap_size;
		r->heap_offset = c.heap_offset;
		r->control_offset = c.control_offset;
	}
	return err;
}

static int created(struct raw *r)
{
	int err = opened(r);

	return err < 0 ? err : create(r);
}

static int map(struct raw *r)
{
	void *p;

	if (!r->heap) {
		p = mmap(NULL, r->heap_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
			 r->fd, (off_t)r->heap_offset);
		if (p == MAP_FAILED)
			return -errno;
		r->heap = p;
	}
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, r->fd, (off_t)r->control_offset);
	if (p == MAP_FAILED)
		return -errno;
	r->control = p;
	return 0;
}

static int mapped(struct raw *r)
{
	int err = created(r);

	return err ? err : map(r);
}

static int attach(struct raw *r)
{
	struct gcarena_attach a;
	int err;

	a = r->attach;
	err = raw_ioctl(r->fd, GCARENA_IOC_ATTACH, &a);
	if (!err)
		r->attach = a;
	return err;
}

static int ready_to_attach(struct raw *r)
{
	int err = mapped(r);

	raw_attach_fill(&r->attach);
	return err;
}

static int attached(struct raw *r)
{
	int err = ready_to_attach(r);

	return err ? err : attach(r);
}

static int map_area(struct raw *r)
{
	void *p = mmap(NULL, r->attach.map_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		       (off_t)r->attach.map_offset);

	if (p == MAP_FAILED)
		return -errno;
	r->m = p;
	return 0;
}

static int whole(struct raw *r)
{
	int err = attached(r);

	return err ? err : map_area(r);
}

static int refill(struct raw *r)
{
	return raw_refill(r, GCARENA_SPAN_CLASS(10, GCARENA_NOSCAN), 8);
}

static int large(struct raw *r)
{
	return raw_large(r, 4 << 20, GCARENA_NOSCAN, 0, NULL);
}

static int layout(struct raw *r)
{
	static uint64_t bits[128];
	struct gcarena_layout l = { .size = sizeof(l), .elem_size = 65536, .bitmap = (uintptr_t)bits };

	return raw_ioctl(r->fd, GCARENA_IOC_LAYOUT, &l);
}

static int roots(struct raw *r)
{
	static struct gcarena_range a[300];
	struct gcarena_roots q = { .size = sizeof(q), .add = (uintptr_t)a, .nr_add = 300 };

	for (int i = 0; i < 300; i++)
		a[i] = (struct gcarena_range){ (uintptr_t)a + 16 * (unsigned int)i, 8, i & 1, 0 };
	return raw_ioctl(r->fd, GCARENA_IOC_ROOTS, &q);
}

static int with_objects(struct raw *r)
{
	uint64_t *volatile head = NULL;
	int err = whole(r);

	for (int i = 0; !err && i < 300; i++) {
		uint64_t *p = (uint64_t *)raw_alloc(r, GCARENA_SPAN_CLASS(6, GCARENA_CONSERVATIVE));

		if (!p)
			return -ENOMEM;
		p[0] = (uintptr_t)head;
		head = p;
	}
	return err ? err : roots(r);
}

static int with_checkmark(struct raw *r)
{
	struct gcarena_config c = { .size = sizeof(c), .mask = GCARENA_CONFIG_DEBUG,
				    .knob.debug = GCARENA_DEBUG_ALL };
	int err = with_objects(r);

	return err ? err : raw_ioctl(r->fd, GCARENA_IOC_CONFIG, &c);
}

/* A copy that fails in marking voids the cycle: no error of the call. */
static int collect(struct raw *r)
{
	return raw_collect(r, 0, NULL);
}

static int marking(struct raw *r)
{
	return raw_collect(r, GCARENA_COLLECT_UNTIL_MARKING, NULL);
}

static int in_marking(struct raw *r)
{
	int err = with_objects(r);

	return err ? err : marking(r);
}

static int marked(struct raw *r)
{
	return raw_collect(r, GCARENA_COLLECT_UNTIL_MARKED, NULL);
}

static int roots_while_marking(struct raw *r)
{
	return roots(r);
}

static int stats(struct raw *r)
{
	struct gcarena_stats s;

	return raw_stats(r, &s);
}

static int info(struct raw *r)
{
	struct gcarena_info i = { .size = sizeof(i) };

	return raw_ioctl(r->fd, GCARENA_IOC_INFO, &i);
}

static int serve(struct raw *r)
{
	struct gcarena_run runs[16];
	struct gcarena_serve s = { .size = sizeof(s), .flags = GCARENA_SERVE_NOWAIT,
				   .runs = (uintptr_t)runs, .nr_runs = 16 };
	int err = raw_ioctl(r->fd, GCARENA_IOC_SERVE, &s);

	return err == -EAGAIN ? 0 : err;
}

static int detach(struct raw *r)
{
	struct gcarena_detach d = { .size = sizeof(d), .id = r->attach.id };

	return raw_ioctl(r->fd, GCARENA_IOC_DETACH, &d);
}

static void done(struct raw *r)
{
	if (r->fd >= 0)
		raw_close(r);
}

TEST(each_call)
{
	long arenas = gct_arenas();

	prepare();
	each_point("open", nothing, opened, done);
	each_point("INFO", opened, info, done);
	each_point("CREATE", opened, create, done);
	each_point("mmap", created, map, done);
	each_point("ATTACH", ready_to_attach, attach, done);
	each_point("mmap of the area", attached, map_area, done);
	each_point("REFILL", whole, refill, done);
	each_point("LARGE", whole, large, done);
	each_point("LAYOUT", mapped, layout, done);
	each_point("ROOTS", mapped, roots, done);
	each_point("STATS", whole, stats, done);
	each_point("SERVE", mapped, serve, done);
	each_point("DETACH", whole, detach, done);
	/* Alive: the injection is there, and has met something. */
	EXPECT_GT(injected, 30);
	EXPECT_TRUE(gct_arenas_become(arenas));
}

TEST(cycles)
{
	long arenas = gct_arenas();

	prepare();
	each_point("COLLECT", with_objects, collect, done);
	each_point("COLLECT with checkmark", with_checkmark, collect, done);
	each_point("UNTIL_MARKING", with_objects, marking, done);
	each_point("UNTIL_MARKED", in_marking, marked, done);
	each_point("ROOTS while marking", in_marking, roots_while_marking, done);
	EXPECT_GT(injected, 5);
	EXPECT_TRUE(gct_arenas_become(arenas));
}

TEST_HARNESS_MAIN
