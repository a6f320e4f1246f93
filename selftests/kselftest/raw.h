/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * raw.h: an arena by plain system calls, for tests that must do what the
 * library never would.  No libgcarena here.
 *
 * Every call returns 0 or -errno, and every result is poisoned first, so that a
 * test cannot mistake what it wrote for an answer.
 */
#ifndef GCT_RAW_H
#define GCT_RAW_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/gcarena.h>

#include "harness.h"

#define RAW_DEVICE	"/dev/gcarena"
#define RAW_RESERVE	GCARENA_RESERVE_MIN
#define RAW_POISON	0xa5

struct raw {
	int fd;
	uint64_t id;
	char *heap;
	size_t heap_size;
	volatile struct gcarena_control *control;
	uint64_t heap_offset, control_offset;
	struct gcarena_mutator *m;
	struct gcarena_attach attach;
};

static inline int raw_ioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) < 0 ? -errno : 0;
}

static inline int raw_open(void)
{
	int fd = open(RAW_DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* @flags: GCARENA_CREATE_* */
static inline int raw_create_as(int fd, uint64_t reserve, uint32_t flags, struct gcarena_create *c)
{
	memset(c, RAW_POISON, sizeof(*c));
	c->size = sizeof(*c);
	c->flags = flags;
	c->features = 0;
	c->reserve = reserve;
	c->stop_signal = 0;
	c->debug = 0;
	return raw_ioctl(fd, GCARENA_IOC_CREATE, c);
}

static inline int raw_create(int fd, uint64_t reserve, struct gcarena_create *c)
{
	return raw_create_as(fd, reserve, 0, c);
}

static inline int raw_map(struct raw *r)
{
	void *p = mmap(NULL, r->heap_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
		       r->fd, (off_t)r->heap_offset);

	if (p == MAP_FAILED)
		return -errno;
	r->heap = p;
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, r->fd, (off_t)r->control_offset);
	if (p == MAP_FAILED)
		return -errno;
	r->control = p;
	return 0;
}

static inline int raw_arena_as(struct raw *r, uint64_t reserve, uint32_t flags)
{
	struct gcarena_create c;
	int err;

	memset(r, 0, sizeof(*r));
	r->fd = raw_open();
	if (r->fd < 0)
		return r->fd;
	err = raw_create_as(r->fd, reserve, flags, &c);
	if (err) {
		close(r->fd);
		return err;
	}
	r->id = c.id;
	r->heap_size = c.heap_size;
	r->heap_offset = c.heap_offset;
	r->control_offset = c.control_offset;
	return 0;
}

static inline int raw_arena_of(struct raw *r, uint64_t reserve)
{
	return raw_arena_as(r, reserve, 0);
}

/* Created and mapped. */
static inline int raw_arena(struct raw *r)
{
	int err = raw_arena_of(r, RAW_RESERVE);

	return err ? err : raw_map(r);
}

/* The calling thread's stack, as the library would find it. */
static inline void raw_stack(__u64 *lo, __u64 *hi)
{
	pthread_attr_t attr;
	void *p = NULL;
	size_t len = 0;

	if (!pthread_getattr_np(pthread_self(), &attr)) {
		pthread_attr_getstack(&attr, &p, &len);
		pthread_attr_destroy(&attr);
	}
	*lo = (uintptr_t)p;
	*hi = (uintptr_t)p + len;
}

static inline void raw_attach_fill(struct gcarena_attach *a)
{
	memset(a, 0, sizeof(*a));
	a->size = sizeof(*a);
	raw_stack(&a->stack_lo, &a->stack_hi);
	memset(&a->id, RAW_POISON, sizeof(*a) - offsetof(struct gcarena_attach, id));
}

/* --------------------------------------------------------- threads that are held */

/*
 * What the calling thread is attached to, for its handler of the stop signal.  By value:
 * a test does as it likes with its struct raw.  What is gone is refused, and that is all.
 */
#define RAW_MINE	8

static __thread struct { volatile int fd; volatile uint32_t id; } raw_mine[RAW_MINE];
static __thread volatile unsigned int raw_nr_mine;

/*
 * What the library does for the signal engine: a handler that parks.  It leaves errno
 * alone, which may be another process's, too (owner.c).
 */
static inline void raw_on_stop(int sig)
{
	(void)sig;
	for (unsigned int i = 0; i < raw_nr_mine && i < RAW_MINE; i++) {
		struct gcarena_settle s = {
			.size = sizeof(s), .flags = GCARENA_SETTLE_PARK, .id = raw_mine[i].id,
		};
		long ret;

		__asm__ __volatile__("syscall" : "=a"(ret)
				     : "a"(SYS_ioctl), "D"(raw_mine[i].fd),
				       "S"(GCARENA_IOC_SETTLE), "d"(&s)
				     : "rcx", "r11", "memory");
	}
}

/* The calling thread is attached.  A stop that comes before this is only postponed. */
static inline void raw_is_mine(int fd, uint32_t id)
{
	unsigned int i = raw_nr_mine % RAW_MINE;

	raw_mine[i].fd = fd;
	raw_mine[i].id = id;
	raw_nr_mine++;
}

static inline void raw_handle_stop(int flags)
{
	struct sigaction sa = { .sa_handler = raw_on_stop, .sa_flags = SA_RESTART | flags };

	sigfillset(&sa.sa_mask);
	sigaction(SIGURG, &sa, NULL);
}

static inline void raw_mask_stop(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	pthread_sigmask(how, &set, NULL);
}

static inline int raw_attach_ioctl(int fd, struct gcarena_attach *a)
{
	int err;

	raw_mask_stop(SIG_BLOCK);
	err = raw_ioctl(fd, GCARENA_IOC_ATTACH, a);
	if (!err)
		raw_is_mine(fd, a->id);
	raw_mask_stop(SIG_UNBLOCK);
	return err;
}

/* Is this process held by signals, if it asks for nothing? */
static inline bool raw_by_signal(int fd)
{
	struct gcarena_info i = { .size = sizeof(i) };

	return !raw_ioctl(fd, GCARENA_IOC_INFO, &i) && i.engine == GCARENA_ENGINE_SIGNAL;
}

static inline int raw_attach_slots(struct raw *r, uint32_t nr_slots)
{
	struct gcarena_attach *a = &r->attach;
	void *p;
	int err;

	raw_attach_fill(a);
	a->nr_slots = nr_slots;
	if (raw_by_signal(r->fd))
		raw_handle_stop(0);
	err = raw_attach_ioctl(r->fd, a);
	if (err)
		return err;
	p = mmap(NULL, a->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		 (off_t)a->map_offset);
	if (p == MAP_FAILED)
		return -errno;
	r->m = p;
	return 0;
}

static inline int raw_attach(struct raw *r)
{
	return raw_attach_slots(r, 0);
}

static inline int raw_detach(struct raw *r)
{
	struct gcarena_detach d = { .size = sizeof(d), .id = r->attach.id };
	int err = raw_ioctl(r->fd, GCARENA_IOC_DETACH, &d);

	if (!err) {
		munmap(r->m, r->attach.map_size);
		r->m = NULL;
	}
	return err;
}

static inline int raw_refill(struct raw *r, uint32_t span_class, uint32_t count)
{
	struct gcarena_refill req = {
		.size = sizeof(req), .id = r->attach.id,
		.span_class = span_class, .count = count,
	};

	return raw_ioctl(r->fd, GCARENA_IOC_REFILL, &req);
}

static inline int raw_large(struct raw *r, uint64_t bytes, uint32_t kind, uint32_t layout,
			    uint64_t *addr)
{
	struct gcarena_large req = {
		.size = sizeof(req), .bytes = bytes, .kind = kind, .layout = layout,
		.addr = 0xa5a5a5a5a5a5a5a5, .id = r->attach.id,
	};
	int err = raw_ioctl(r->fd, GCARENA_IOC_LARGE, &req);

	if (addr)
		*addr = req.addr;
	return err;
}

static inline int raw_collect(struct raw *r, uint32_t flags, struct gcarena_collect *c)
{
	struct gcarena_collect mine, *p = c ? c : &mine;

	memset(p, RAW_POISON, sizeof(*p));
	p->size = sizeof(*p);
	p->flags = flags;
	p->timeout_ns = 0;
	p->__reserved = 0;
	return raw_ioctl(r->fd, GCARENA_IOC_COLLECT, p);
}

static inline int raw_stats(struct raw *r, struct gcarena_stats *s)
{
	memset(s, RAW_POISON, sizeof(*s));
	s->size = sizeof(*s);
	s->flags = 0;
	return raw_ioctl(r->fd, GCARENA_IOC_STATS, s);
}

static inline int raw_destroy(struct raw *r)
{
	struct gcarena_destroy d = { .size = sizeof(d) };

	return raw_ioctl(r->fd, GCARENA_IOC_DESTROY, &d);
}

static inline void raw_close(struct raw *r)
{
	if (r->control)
		munmap((void *)(uintptr_t)r->control, 4096);
	if (r->m)
		munmap(r->m, r->attach.map_size);
	if (r->heap)
		munmap(r->heap, r->heap_size);
	close(r->fd);
}

/* Take the next free slot of a class that REFILL has filled; 0: none. */
static inline uint64_t raw_take(struct raw *r, uint32_t span_class)
{
	uint32_t n = r->m->current_slot[span_class], i;
	struct gcarena_slot *s;

	for (; n; n = r->m->current_slot[span_class] = s->next) {
		s = &r->m->slot[n];
		for (i = s->free_index; i < s->nelems; i++)
			if (!(s->bits[i / 64] >> (i % 64) & 1)) {
				__atomic_store_n(&s->free_index, i + 1, __ATOMIC_RELEASE);
				return s->base + (uint64_t)i * s->elem_size;
			}
		s->free_index = s->nelems;
	}
	return 0;
}

static inline uint64_t raw_alloc(struct raw *r, uint32_t span_class)
{
	uint64_t p = raw_take(r, span_class);

	if (!p && !raw_refill(r, span_class, 4))
		p = raw_take(r, span_class);
	return p;
}

/* -------------------------------------------------------- the machine's state */

static inline int gct_file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

#define gct_param_path(name)	"/sys/module/gcarena/parameters/" name

/* What the parameter 'stop' is; by enum gcarena_engine, NONE: auto. */
static inline int gct_stop_param(void)
{
	char buf[16] = "";
	int fd = open(gct_param_path("stop"), O_RDONLY);

	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) < 0)
		buf[0] = 0;
	close(fd);
	switch (buf[0]) {
	case 's':
		return GCARENA_ENGINE_SIGNAL;
	case 't':
		return GCARENA_ENGINE_TASKWORK;
	default:
		return GCARENA_ENGINE_NONE;
	}
}

/* Must the module, as it is built and set, refuse @flags, GCARENA_CREATE_*? */
static inline bool gct_engine_refused(uint32_t flags)
{
	struct gcarena_info i = { .size = sizeof(i) };
	int fd, only;

	if (gct_in_process())
		return flags & GCARENA_CREATE_TASKWORK;
	fd = raw_open();
	only = gct_stop_param();
	ASSERT_GE(fd, 0);
	ASSERT_EQ(raw_ioctl(fd, GCARENA_IOC_INFO, &i), 0);
	close(fd);
	if (flags & GCARENA_CREATE_TASKWORK)
		return only == GCARENA_ENGINE_SIGNAL || !(i.features & GCARENA_F_STOP_TASKWORK);
	return flags & GCARENA_CREATE_SIGNAL && only == GCARENA_ENGINE_TASKWORK;
}

/* A test that needs the engine @flags is skipped for no other reason than this. */
static inline void gct_want_engine(uint32_t flags)
{
	if (gct_engine_refused(flags))
		SKIP("the collector does not have, or is told not to use, this engine");
}

/* A pager: for pthread_create(), or to be called.  The errno that ended it. */
static inline void *raw_serve_forever(void *arg)
{
	struct raw *r = arg;
	struct gcarena_run runs[16];
	int err;

	do {
		struct gcarena_serve s = { .size = sizeof(s), .runs = (uintptr_t)runs, .nr_runs = 16 };

		err = raw_ioctl(r->fd, GCARENA_IOC_SERVE, &s);
	} while (!err || err == -EINTR);
	return (void *)(intptr_t)err;
}

static inline uint64_t gct_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1dULL;
}

#endif /* GCT_RAW_H */
