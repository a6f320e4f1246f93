/* SPDX-License-Identifier: MIT */
/*
 * backend.h: the library's door to a collector.
 *
 * Two implement it: backend_kernel.c (ioctls on /dev/gcarena) and
 * process/backend.c (the same collector inside this process).  Requests are the
 * structures of <linux/gcarena.h>, their size fields filled in by the caller;
 * pointers in them are the caller's.  Every function returns 0 or -errno.
 *
 * This header must stay includable beside kmod/core/core.h, whose structures
 * have the public ones' names: it knows neither.
 */
#ifndef GCARENA_BACKEND_H
#define GCARENA_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/gcarena.h>

/**
 * struct gca_space - an open arena, as the library sees it
 * @ctx: the backend's own
 * @heap: base address
 * @heap_size: bytes
 * @control: control page
 * @control_size: bytes
 * @id: as in /sys; 0 if it is not there
 * @shared: control page and mutator areas are not inherited by a forked child
 * @features: GCARENA_F_* that the collector has
 */
struct gca_space {
	void *ctx;
	void *heap;
	size_t heap_size;
	const struct gcarena_control *control;
	size_t control_size;
	uint64_t id;
	int shared;
	uint64_t features;
};

/**
 * struct gcl_knob - what the collector's table says of a knob
 * @name: in lower case; GCARENA_NAME is its variable
 * @unit: "bytes" or another
 * @lo: least value
 * @hi: largest
 * @off: what "off" stands for, if @has_off
 * @offset: in struct gcarena_knobs
 */
struct gcl_knob {
	const char *name, *unit;
	uint64_t lo, hi, off;
	bool has_off;
	uint32_t offset;
};

/**
 * struct gca_backend - operations
 * @name: for people
 * @open: make an arena of create->reserve bytes; fills @space.  May set the
 *	error sentence by gcl_error()
 * @close: destroy it and its mappings.  @child: in a forked child, where only
 *	memory may be given back
 * @attach: attach the caller; @area is its mutator area
 * @detach: detach it; unmaps the area
 * @forget: what the calling thread has left of arenas that others have closed goes.  Of the
 *	process backend
 * @refill: called with all signals blocked
 * @park: wait while a stop lasts, for the caller's mutator @id; NULL if there are no
 *	stops.  Called by a signal handler: no lock, no errno, nothing a sanitizer watches
 * @collect: @paced: because of GCARENA_WANT_COLLECT, not by the user's wish
 * @serve: may sleep; takes no lock that an attached thread can hold
 * @knob: knob @i, the same for all backends; false: there are no more.  Of the process
 *	backend, which has the table
 * @wake: make a sleeping @serve return -ESRCH, for good
 */
struct gca_backend {
	const char *name;
	int (*open)(struct gca_space *space, struct gcarena_create *create, const char *device);
	void (*close)(struct gca_space *space, int child);
	void (*wake)(struct gca_space *space);
	int (*attach)(struct gca_space *space, struct gcarena_attach *req,
		      struct gcarena_mutator **area);
	void (*forget)(void);
	int (*detach)(struct gca_space *space, uint32_t id, struct gcarena_mutator *area,
		      size_t size);
	int (*refill)(struct gca_space *space, struct gcarena_refill *req);
	int (*large)(struct gca_space *space, struct gcarena_large *req);
	int (*settle)(struct gca_space *space, struct gcarena_settle *req);
	int (*park)(struct gca_space *space, uint32_t id);
	int (*layout)(struct gca_space *space, struct gcarena_layout *req);
	int (*roots)(struct gca_space *space, struct gcarena_roots *req);
	int (*collect)(struct gca_space *space, struct gcarena_collect *req, int paced);
	int (*config)(struct gca_space *space, struct gcarena_config *req);
	int (*stats)(struct gca_space *space, struct gcarena_stats *req);
	int (*serve)(struct gca_space *space, struct gcarena_serve *req);
	bool (*knob)(unsigned int i, struct gcl_knob *k);
};

extern const struct gca_backend gcl_backend_kernel;
extern const struct gca_backend gcl_backend_process;

/*
 * All signals but the one by which the C library changes the user of all threads at once:
 * setuid() waits for every thread, and its handler makes one system call.
 */
#define GCL_ALL_SIGNALS	(~0ULL & ~(1ULL << (33 - 1)))

struct gcl_signals {
	uint64_t set;
};

struct gcl_signals gcl_block(void);
void gcl_restore(struct gcl_signals old);

/* Remember why a call fails, for gca_strerror(). */
void gcl_error(const char *fmt, ...) __attribute__((__format__(__printf__, 1, 2)));

int gcl_fd_high(int fd);
ssize_t gcl_slurp(const char *path, char *buf, size_t room);
void *gcl_heap_hint(size_t bytes);

void gcl_map_over(const volatile void *at, size_t bytes, int prot);

enum gcl_fork { GCL_FORK_PREPARE, GCL_FORK_PARENT, GCL_FORK_CHILD };

/* backend_kernel.c: its list of descriptors is not to be locked in a child. */
void gcl_kernel_fork(enum gcl_fork when);

/* One line on standard error, by write(2). */
void gcl_say(const char *fmt, ...) __attribute__((__format__(__printf__, 1, 2)));

#endif /* GCARENA_BACKEND_H */
