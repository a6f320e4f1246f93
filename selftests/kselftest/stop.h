/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * stop.h: threads that are held, by plain system calls: the engine of an arena.
 *
 * A test of both engines is a function of GCARENA_CREATE_*, named by BOTH().
 */
#ifndef GCT_STOP_H
#define GCT_STOP_H

#include "raw.h"

#define BOTH(n)								\
static void n(uint32_t engine);						\
static void run_##n##_taskwork(void) { n(GCARENA_CREATE_TASKWORK); }	\
static void run_##n##_signal(void) { n(GCARENA_CREATE_SIGNAL); }	\
gct_register(n##_taskwork, #n "_taskwork", run_##n##_taskwork)		\
gct_register(n##_signal, #n "_signal", run_##n##_signal)		\
static void n(uint32_t engine)

/* An arena, created and mapped; the test is skipped if the engine is rightly refused. */
static inline void stop_arena(struct raw *r, uint32_t engine)
{
	struct gcarena_create c = { .size = sizeof(c), .flags = engine, .reserve = RAW_RESERVE };
	int err;

	memset(r, 0, sizeof(*r));
	r->fd = raw_open();
	ASSERT_GE(r->fd, 0);
	err = raw_ioctl(r->fd, GCARENA_IOC_CREATE, &c);
	if (err == -EOPNOTSUPP)
		gct_want_engine(engine);
	ASSERT_EQ(err, 0);
	ASSERT_FALSE(gct_engine_refused(engine));
	r->id = c.id;
	r->heap_size = c.heap_size;
	r->heap_offset = c.heap_offset;
	r->control_offset = c.control_offset;
	ASSERT_EQ(raw_map(r), 0);
	if (engine != GCARENA_CREATE_TASKWORK)
		raw_handle_stop(0);
}

/* Attach the calling thread to @arena; @mine is its own copy. */
static inline int stop_attach_flags(struct raw *mine, const struct raw *arena, uint32_t flags)
{
	struct gcarena_attach *a = &mine->attach;
	void *p;
	int err;

	*mine = *arena;
	raw_attach_fill(a);
	a->flags = flags;
	a->nr_slots = GCARENA_SLOTS_MIN;
	err = raw_attach_ioctl(mine->fd, a);
	if (err)
		return err;
	p = mmap(NULL, a->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, mine->fd,
		 (off_t)a->map_offset);
	if (p == MAP_FAILED)
		return -errno;
	mine->m = p;
	return 0;
}

static inline int stop_attach(struct raw *mine, const struct raw *arena)
{
	return stop_attach_flags(mine, arena, 0);
}

static inline int stop_detach(struct raw *mine)
{
	return raw_detach(mine);
}

static inline int stop_collect_within(struct raw *r, uint64_t ms, uint32_t flags,
				      struct gcarena_collect *c)
{
	memset(c, RAW_POISON, sizeof(*c));
	c->size = sizeof(*c);
	c->flags = flags;
	c->timeout_ns = ms * 1000000;
	c->__reserved = 0;
	return raw_ioctl(r->fd, GCARENA_IOC_COLLECT, c);
}

/* Times the thread has given up the processor by itself. */
static inline long stop_switches(pid_t tid)
{
	char path[64], line[200];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "voluntary_ctxt_switches:", 24))
			n = strtol(line + 24, NULL, 10);
	if (f)
		fclose(f);
	return n;
}

/* Wait until the thread sleeps: 'S' in its stat. */
static inline bool stop_sleeps(pid_t tid)
{
	uint64_t end = gct_now_ms() + 5000ULL * (uint64_t)gct_slow();
	char path[64], buf[200], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	while (gct_now_ms() < end) {
		fd = open(path, O_RDONLY);
		n = fd < 0 ? 0 : read(fd, buf, sizeof(buf) - 1);
		close(fd);
		buf[n > 0 ? n : 0] = 0;
		p = strrchr(buf, ')');
		if (p && p[2] == 'S')
			return true;
		gct_sleep_ms(1);
	}
	return false;
}

static inline pid_t stop_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

#endif /* GCT_STOP_H */
