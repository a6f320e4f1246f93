/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * table.h: all ioctls, with an argument that is right for each.
 */
#ifndef GCT_TABLE_H
#define GCT_TABLE_H

#include "raw.h"

union arg {
	struct { uint32_t size, flags; };
	struct gcarena_info info;
	struct gcarena_create create;
	struct gcarena_attach attach;
	struct gcarena_detach detach;
	struct gcarena_refill refill;
	struct gcarena_large large;
	struct gcarena_settle settle;
	struct gcarena_layout layout;
	struct gcarena_roots roots;
	struct gcarena_collect collect;
	struct gcarena_config config;
	struct gcarena_stats stats;
	struct gcarena_serve serve;
	struct gcarena_destroy destroy;
	char bytes[8192];
};

#define ANY_STATE	1	/* INFO, CREATE: not bound to a live arena */
#define WANTS_MAPS	2	/* -ENXIO before heap and control page are mapped */

static const struct command {
	const char *name;
	unsigned int nr;
	uint32_t size;
	uint32_t known;		/* flags that mean something */
	unsigned int how;
	int reserved;		/* offset of a __u32 that must be 0, or -1 */
} commands[] = {
#define C(n, N, known, how, reserved) { #N, GCARENA_IOC_##N, sizeof(struct gcarena_##n), known, how, reserved }
	C(info, INFO, 0, ANY_STATE, -1),
	C(create, CREATE, GCARENA_CREATE_SIGNAL | GCARENA_CREATE_TASKWORK |
	  GCARENA_CREATE_INSERTION, ANY_STATE, -1),
	C(attach, ATTACH, GCARENA_ATTACH_COUNTER, WANTS_MAPS, -1),
	C(detach, DETACH, 0, 0, offsetof(struct gcarena_detach, __reserved)),
	C(refill, REFILL, 0, 0, offsetof(struct gcarena_refill, __reserved)),
	C(large, LARGE, 0, 0, offsetof(struct gcarena_large, __reserved)),
	C(settle, SETTLE, GCARENA_SETTLE_FLUSH | GCARENA_SETTLE_PARK, 0,
	  offsetof(struct gcarena_settle, __reserved)),
	C(layout, LAYOUT, 0, 0, offsetof(struct gcarena_layout, __reserved)),
	C(roots, ROOTS, 0, 0, -1),
	C(collect, COLLECT, 63, WANTS_MAPS, offsetof(struct gcarena_collect, __reserved)),
	C(config, CONFIG, 0, 0, -1),
	C(stats, STATS, 0, 0, -1),
	C(serve, SERVE, GCARENA_SERVE_NOWAIT | GCARENA_SERVE_LOOKS | GCARENA_SERVE_CHANGED,
	  WANTS_MAPS, -1),
	C(destroy, DESTROY, 0, 0, -1),
#undef C
};

#define NR_COMMANDS	(sizeof(commands) / sizeof(commands[0]))

/* An argument that is right on the arena @r (DESTROY and CREATE excepted). */
static inline void good(const struct command *c, const struct raw *r, union arg *a)
{
	static uint64_t bitmap = 1;

	memset(a, 0, sizeof(*a));
	a->size = c->size;
	switch (c->nr) {
	case GCARENA_IOC_CREATE:
		a->create.reserve = RAW_RESERVE;
		break;
	case GCARENA_IOC_ATTACH:
		raw_attach_fill(&a->attach);
		break;
	case GCARENA_IOC_DETACH:
		a->detach.id = r->attach.id;
		break;
	case GCARENA_IOC_REFILL:
		a->refill.id = r->attach.id;
		a->refill.count = 1;
		break;
	case GCARENA_IOC_LARGE:
		a->large.bytes = 40000;
		a->large.id = r->attach.id;
		break;
	case GCARENA_IOC_SETTLE:
		a->settle.id = r->attach.id;
		break;
	case GCARENA_IOC_LAYOUT:
		a->layout.elem_size = 16;
		a->layout.bitmap = (uintptr_t)&bitmap;
		break;
	case GCARENA_IOC_SERVE:
		a->flags = GCARENA_SERVE_NOWAIT;
		break;
	}
}

/* What a right argument answers on a live, mapped, attached arena. */
static inline int expected(const struct command *c)
{
	switch (c->nr) {
	case GCARENA_IOC_CREATE:
		return -EBUSY;
	case GCARENA_IOC_ATTACH:
		return -EEXIST;
	case GCARENA_IOC_SERVE:
		return -EAGAIN;
	default:
		return 0;
	}
}

static inline bool ends_it(const struct command *c)
{
	return c->nr == GCARENA_IOC_DESTROY || c->nr == GCARENA_IOC_DETACH;
}

#define EXPECT_CALL(c, want, fd, arg) do {				\
	int got_ = raw_ioctl(fd, (c)->nr, arg);				\
	if (got_ != (want)) {						\
		gct_note("# %s:%d: %s gives %d, not %d", __FILE__, __LINE__, \
			 (c)->name, got_, want);			\
		gct_failed = 1;						\
	}								\
} while (0)

#endif /* GCT_TABLE_H */
