// SPDX-License-Identifier: MIT
/*
 * backend_kernel.c: the collector behind /dev/gcarena.
 *
 * Thin: a request is an ioctl.  What is not thin is the distrust of our own
 * descriptor: a program may close it (closefrom() in a daemon, a sanitised
 * environment) and open something else under the same number.  So the number is
 * moved high, out of the way of loops over small numbers, and what it names is
 * looked at before every ioctl; once it names something else we say so, in one
 * sentence, and never use it again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backend.h"

#define GCL_DEVICE	"/dev/gcarena"

/**
 * struct kernel - an arena of this backend
 * @next: in the list of all
 * @fd: descriptor
 * @rdev: what it must be
 * @lost: it is something else now; said once
 */
struct kernel {
	struct kernel *next;
	int fd;
	dev_t rdev;
	int lost;
};

static pthread_mutex_t kernels_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kernel *kernels;

static void lose(struct kernel *k)
{
	if (!__atomic_exchange_n(&k->lost, 1, __ATOMIC_RELAXED))
		gcl_say("gcarena: descriptor %d is no longer the arena (closed by closefrom() or the like?): nothing can be allocated or collected any more",
			k->fd);
}

/* All have the same device: an older one of that number has been closed behind our back. */
static void kernel_list(struct kernel *k)
{
	struct gcl_signals sigs = gcl_block();

	pthread_mutex_lock(&kernels_lock);
	for (struct kernel *old = kernels; old; old = old->next)
		if (old->fd == k->fd)
			lose(old);
	k->next = kernels;
	kernels = k;
	pthread_mutex_unlock(&kernels_lock);
	gcl_restore(sigs);
}

void gcl_kernel_fork(enum gcl_fork when)
{
	if (when == GCL_FORK_PREPARE)
		pthread_mutex_lock(&kernels_lock);
	else
		pthread_mutex_unlock(&kernels_lock);
}

static void kernel_unlist(struct kernel *k)
{
	struct gcl_signals sigs = gcl_block();
	struct kernel **p = &kernels;

	pthread_mutex_lock(&kernels_lock);
	while (*p && *p != k)
		p = &(*p)->next;
	if (*p)
		*p = k->next;
	pthread_mutex_unlock(&kernels_lock);
	gcl_restore(sigs);
}

static struct kernel *kernel_of(struct gca_space *space)
{
	return space->ctx;
}

/* Return: 0, or -EBADF for ever after the descriptor was found to be another's. */
static int fd_check(struct kernel *k)
{
	struct stat st;

	if (__atomic_load_n(&k->lost, __ATOMIC_RELAXED))
		return -EBADF;
	if (!fstat(k->fd, &st) && S_ISCHR(st.st_mode) && st.st_rdev == k->rdev)
		return 0;
	lose(k);
	return -EBADF;
}

static int call(struct gca_space *space, unsigned long request, void *arg)
{
	struct kernel *k = kernel_of(space);
	int err = fd_check(k);

	if (err)
		return err;
	if (ioctl(k->fd, request, arg) >= 0)
		return 0;
	err = -errno;
	if (err == -EBADF || err == -ENOTTY)
		fd_check(k);
	return err;
}

/* ------------------------------------------------------------------- opening */

static int explain_open(int err, const char *device)
{
	switch (err) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		gcl_error("%s is not there: load the module with 'modprobe gcarena', or set GCARENA_BACKEND=process",
			  device);
		return -ENODEV;
	case EACCES:
	case EPERM:
		gcl_error("no permission for %s: join the group 'gcarena' (usermod -aG gcarena USER, then log in again), or set GCARENA_BACKEND=process",
			  device);
		return -EACCES;
	default:
		gcl_error("%s cannot be opened: %s", device, strerror(err));
		return -err;
	}
}

static int explain_create(int err, const struct gcarena_create *create,
			  const struct gcarena_info *info)
{
	switch (err) {
	case EOPNOTSUPP:
		if (create->flags & GCARENA_CREATE_TASKWORK)
			gcl_error("the loaded module cannot stop threads by task work (its parameter 'stop' forbids it, or this kernel does not export what it needs): use stop=signal or auto");
		else if (create->flags & GCARENA_CREATE_SIGNAL)
			gcl_error("the loaded module may not stop threads by signals (its parameter is stop=taskwork): use stop=taskwork or auto");
		else
			gcl_error("the loaded module lacks features %#llx: install a newer one, or ask for less",
				  (unsigned long long)(create->features & ~info->features));
		break;
	case ENOTTY:
		gcl_error("the device is not gcarena's, or its module is older than this library");
		break;
	case EPERM:
		gcl_error("the module does not let this user create arenas: join the group of the device and log in again, or raise the parameter 'level', or set GCARENA_BACKEND=process");
		break;
	case EBUSY:
		gcl_error("another arena of this process stops its threads in another way: all arenas of a process must ask for the same stop and stop_signal, or for none");
		break;
	case EDQUOT:
		if (info->arenas_left)
			gcl_error("a reservation of %llu MiB is more than the module leaves this user (parameter max_reserve_gib)",
				  (unsigned long long)(create->reserve >> 20));
		else
			gcl_error("this user has as many arenas as the module allows (parameter max_arenas)");
		return -EUSERS;
	case EINVAL:
		gcl_error("the module does not accept a reservation of %llu MiB, this stop signal or these debug flags",
			  (unsigned long long)(create->reserve >> 20));
		break;
	case ENOMEM:
		gcl_error("no memory, or address-space limit reached, for a reservation of %llu MiB",
			  (unsigned long long)(create->reserve >> 20));
		break;
	default:
		gcl_error("the arena could not be created: %s", strerror(err));
	}
	return -err;
}

static int open_high(const char *device)
{
	int fd = open(device, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : gcl_fd_high(fd);
}

static int kernel_open(struct gca_space *space, struct gcarena_create *create, const char *device)
{
	struct gcarena_info info = { .size = sizeof(info) };
	struct kernel *k;
	struct stat st;
	void *heap = MAP_FAILED, *control = MAP_FAILED;
	int fd, err;

	if (!device)
		device = GCL_DEVICE;
	fd = open_high(device);
	if (fd < 0)
		return explain_open(-fd, device);
	k = calloc(1, sizeof(*k));
	if (!k || fstat(fd, &st) || !S_ISCHR(st.st_mode)) {
		err = k ? explain_create(ENOTTY, create, &info) : -ENOMEM;
		goto out;
	}
	k->fd = fd;
	k->rdev = st.st_rdev;
	kernel_list(k);
	create->id = 0;
	if (ioctl(fd, GCARENA_IOC_INFO, &info) || ioctl(fd, GCARENA_IOC_CREATE, create)) {
		err = explain_create(errno, create, &info);
		goto out;
	}
	heap = mmap(gcl_heap_hint(create->heap_size), create->heap_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_NORESERVE, fd, (off_t)create->heap_offset);
	if (heap != MAP_FAILED)
		control = mmap(NULL, create->control_size, PROT_READ, MAP_SHARED, fd,
			       (off_t)create->control_offset);
	if (control == MAP_FAILED) {
		err = explain_create(errno, create, &info);
		goto out;
	}
	space->ctx = k;
	space->heap = heap;
	space->heap_size = create->heap_size;
	space->control = control;
	space->control_size = create->control_size;
	space->id = create->id;
	space->shared = 1;
	space->features = info.features;
	return 0;
out:
	if (heap != MAP_FAILED)
		munmap(heap, create->heap_size);
	/* First: somebody else may get its number. */
	if (k)
		kernel_unlist(k);
	close(fd);
	free(k);
	return err;
}

/* Without a descriptor the arena dies with the mapping of its control page: zeros, phase off. */
static void kernel_wake(struct gca_space *space)
{
	struct gcarena_destroy req = { .size = sizeof(req) };

	if (call(space, GCARENA_IOC_DESTROY, &req) == -EBADF)
		gcl_map_over(space->control, space->control_size, PROT_READ);
}

static void kernel_close(struct gca_space *space, int child)
{
	struct kernel *k = kernel_of(space);
	int ours = !fd_check(k);

	(void)child;
	munmap((void *)(uintptr_t)space->control, space->control_size);
	munmap(space->heap, space->heap_size);
	kernel_unlist(k);
	if (ours)
		close(k->fd);
	free(k);
}

/* ------------------------------------------------------------------ requests */

static int kernel_attach(struct gca_space *space, struct gcarena_attach *req,
			 struct gcarena_mutator **area)
{
	int err = call(space, GCARENA_IOC_ATTACH, req);
	void *p;

	if (err)
		return err;
	p = mmap(NULL, req->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, kernel_of(space)->fd,
		 (off_t)req->map_offset);
	if (p == MAP_FAILED) {
		struct gcarena_detach undo = { .size = sizeof(undo), .id = req->id };

		err = -errno;
		call(space, GCARENA_IOC_DETACH, &undo);
		return err;
	}
	*area = p;
	return 0;
}

static int kernel_detach(struct gca_space *space, uint32_t id, struct gcarena_mutator *area,
			 size_t size)
{
	struct gcarena_detach req = { .size = sizeof(req), .id = id };
	int err = call(space, GCARENA_IOC_DETACH, &req);

	if (!err || err == -ESRCH || err == -EBADF)
		munmap(area, size);
	return err == -EBADF ? -ESRCH : err;
}

static int kernel_refill(struct gca_space *space, struct gcarena_refill *req)
{
	return call(space, GCARENA_IOC_REFILL, req);
}

static int kernel_large(struct gca_space *space, struct gcarena_large *req)
{
	return call(space, GCARENA_IOC_LARGE, req);
}

static int kernel_settle(struct gca_space *space, struct gcarena_settle *req)
{
	int err = call(space, GCARENA_IOC_SETTLE, req);

	/* Without the descriptor nobody drains the ring: as good as dead. */
	return err == -EBADF ? -ESRCH : err;
}

static int kernel_layout(struct gca_space *space, struct gcarena_layout *req)
{
	return call(space, GCARENA_IOC_LAYOUT, req);
}

static int kernel_roots(struct gca_space *space, struct gcarena_roots *req)
{
	return call(space, GCARENA_IOC_ROOTS, req);
}

/*
 * System calls of a signal handler: by instructions of our own, see stop.c.  Not
 * inlined, so that no sanitizer's attribute is lost.
 */
static __attribute__((__no_sanitize__("address", "thread", "undefined"), __noinline__))
long raw_call(long nr, long a, long b, const void *c)
{
	long ret;

	__asm__ __volatile__("syscall"
			     : "=a"(ret)
			     : "0"(nr), "D"(a), "S"(b), "d"(c)
			     : "rcx", "r11", "memory");
	return ret;
}

static __attribute__((__no_sanitize__("address", "thread", "undefined")))
int kernel_park(struct gca_space *space, uint32_t id)
{
	struct kernel *k = space->ctx;
	struct gcarena_settle req = {
		.size = sizeof(req), .flags = GCARENA_SETTLE_PARK, .id = id,
	};
	struct stat st;

	/* Is it still ours?  Whoever calls the library next says so if it is not. */
	if (raw_call(SYS_fstat, k->fd, (long)&st, NULL) || !S_ISCHR(st.st_mode) ||
	    st.st_rdev != k->rdev)
		return -EBADF;
	return (int)raw_call(SYS_ioctl, k->fd, GCARENA_IOC_SETTLE, &req);
}

static int kernel_collect(struct gca_space *space, struct gcarena_collect *req, int paced)
{
	if (paced)
		req->flags |= GCARENA_COLLECT_PACED;
	return call(space, GCARENA_IOC_COLLECT, req);
}

static int kernel_config(struct gca_space *space, struct gcarena_config *req)
{
	return call(space, GCARENA_IOC_CONFIG, req);
}

static int kernel_stats(struct gca_space *space, struct gcarena_stats *req)
{
	return call(space, GCARENA_IOC_STATS, req);
}

static int kernel_serve(struct gca_space *space, struct gcarena_serve *req)
{
	return call(space, GCARENA_IOC_SERVE, req);
}

const struct gca_backend gcl_backend_kernel = {
	.name = "kernel",
	.open = kernel_open,
	.close = kernel_close,
	.wake = kernel_wake,
	.attach = kernel_attach,
	.detach = kernel_detach,
	.refill = kernel_refill,
	.large = kernel_large,
	.settle = kernel_settle,
	.park = kernel_park,
	.layout = kernel_layout,
	.roots = kernel_roots,
	.collect = kernel_collect,
	.config = kernel_config,
	.stats = kernel_stats,
	.serve = kernel_serve,
};
