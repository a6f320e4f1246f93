// SPDX-License-Identifier: MIT
/*
 * watch.c: what the program's control group tells: how much processor time it may have
 * (cpu.max), and that memory is short (memory.events, and pressure stall information).
 *
 * One thread a process, while it has arenas with pagers.  It is not attached, holds no lock
 * while a cycle runs, and has all signals blocked.  Its descriptors are numbered high, and
 * looked at before they are closed: a program that closes all it does not know has closed ours,
 * and may have others of that number; with its pipe gone the thread ends.
 *
 * When memory is short each arena is collected, and gives back what is free; not more often than
 * once in EVERY_MS, nor for more than a tenth of the time: a group that stays at memory.high is
 * short all the time.  It is never reclaim itself that collects: the kernel tells us, and we ask
 * as any thread may.
 *
 * Without cgroup v2, or where a file cannot be read, there is that much less to watch; with
 * nothing at all there is no thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

#define EVERY_MS	1000	/* between collections for want of memory */
#define LOOK_MS		10000	/* between looks at cpu.max, and at which group we are in */
#define LOST_MS		1000	/* before the first of them when the group has gone */
#define SHARE		10	/* of the time, at most, goes to such collections */
#define STALL		"some 200000 2000000"	/* us of stalls in us: memory is short */
#define WATCH_STACK	(64 << 10)
#define NS_PER_MS	1000000ULL

enum { WAKE, EVENTS, STALLS, WAKER, NR_FDS };

/* A descriptor, and what it must be; -1: none. */
struct watched {
	int fd;
	dev_t dev;
	ino_t ino;
};

/**
 * struct watch - the watcher; what is not under watch_lock is its thread's own
 * @thread: if @running
 * @ended: it has returned, or will do nothing else; atomic
 * @f: the pipe that ends it, for reading; memory.events; pressure; the pipe, for writing
 * @dir: directory of the group
 * @root: bytes of @dir that are the mount point: above it there is nothing
 * @own: GCARENA_CGROUP as it was at the beginning, or empty
 * @own_cpus: GCARENA_CPUS_MILLI says what cpu.max would
 * @short_of: times that the group was throttled at memory.high or met memory.max
 * @next: not before then, by gcl_now(), another collection
 * @look: then, by gcl_now(), the next look
 * @milli: what cpu.max comes to, in thousandths of processors; 0: as many as there are.
 *	Atomic: those who open arenas read it
 */
static struct watch {
	bool running, ended;
	pthread_t thread;
	struct watched f[NR_FDS];
	char dir[PATH_MAX], own[PATH_MAX];
	size_t root;
	bool own_cpus;
	uint64_t short_of, next, look;
	uint32_t milli;
} watch = { .f = { { .fd = -1 }, { .fd = -1 }, { .fd = -1 }, { .fd = -1 } } };

static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;

/* Under watch_lock no handler of ours runs, and nothing that is called ends the thread. */
struct held {
	struct gcl_signals sigs;
	int cancel;
};

static struct held hold(void)
{
	struct held h = { .sigs = gcl_block() };

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &h.cancel);
	pthread_mutex_lock(&watch_lock);
	return h;
}

static void let_go(struct held h)
{
	pthread_mutex_unlock(&watch_lock);
	pthread_setcancelstate(h.cancel, NULL);
	gcl_restore(h.sigs);
}

/* --------------------------------------------------------------- descriptors */

static bool is_ours(const struct watched *w)
{
	struct stat st;

	return w->fd >= 0 && !fstat(w->fd, &st) && st.st_dev == w->dev && st.st_ino == w->ino;
}

static void close_one(int i)
{
	struct watched w = watch.f[i];

	watch.f[i].fd = -1;
	if (is_ours(&w))
		close(w.fd);
}

/* Take @fd, of which only we know, to where nobody looks.  Return: false if it is none */
static bool keep_one(int i, int fd)
{
	struct stat st;

	if (fd < 0)
		return false;
	fd = gcl_fd_high(fd);
	if (fstat(fd, &st)) {
		close(fd);
		return false;
	}
	watch.f[i] = (struct watched){ .fd = fd, .dev = st.st_dev, .ino = st.st_ino };
	return true;
}

/* --------------------------------------------------------------------- files */

/* The value behind @key in lines of "key value". */
static uint64_t value_of(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (; text && *text; text = strchr(text, '\n'), text += !!text)
		if (!strncmp(text, key, len) && text[len] == ' ')
			return strtoull(text + len + 1, NULL, 10);
	return 0;
}

/* Where cgroup2 is mounted.  Return: false: nowhere */
static bool mounted(char *at, size_t room)
{
	char *line = NULL;
	size_t size = 0;
	bool found = false;
	FILE *f = fopen("/proc/self/mounts", "re");

	while (f && !found && getline(&line, &size, f) > 0) {
		char *what = line, *where = strsep(&what, " "), *type;

		where = strsep(&what, " ");
		type = strsep(&what, " ");
		if (!type || strcmp(type, "cgroup2") || strlen(where) >= room)
			continue;
		strcpy(at, where);
		found = true;
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* Which group are we in?  Return: false: there is none to watch */
static bool find_group(void)
{
	char text[4096], *path, at[PATH_MAX];
	int n;

	if (*watch.own) {
		watch.root = strlen(watch.own);
		strcpy(watch.dir, watch.own);
		return strcmp(watch.own, "off");
	}
	if (gcl_slurp("/proc/self/cgroup", text, sizeof(text)) < 0 || !mounted(at, sizeof(at)))
		return false;
	path = strstr(text, "0::/");
	if (!path || (path != text && path[-1] != '\n'))
		return false;
	path += 3;
	path[strcspn(path, "\n")] = 0;
	watch.root = strlen(at);
	n = snprintf(watch.dir, sizeof(watch.dir), "%s%s", at, strcmp(path, "/") ? path : "");
	return n < (int)sizeof(watch.dir);
}

static int group_open(const char *file, int flags)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%s", watch.dir, file);
	return open(path, flags | O_CLOEXEC | O_NONBLOCK);
}

/* The least quota of the group and those above it, in thousandths of processors; 0: none. */
static uint32_t quota(void)
{
	char dir[PATH_MAX], path[PATH_MAX + 32], text[64], *end;
	uint64_t least = 0;

	strcpy(dir, watch.dir);
	for (;;) {
		uint64_t us, period, milli;

		snprintf(path, sizeof(path), "%s/cpu.max", dir);
		if (gcl_slurp(path, text, sizeof(text)) > 0 && strncmp(text, "max", 3)) {
			us = strtoull(text, &end, 10);
			period = strtoull(end, NULL, 10);
			milli = period ? us * 1000 / period : 0;
			milli = milli ? milli : 1;
			if (period && (!least || milli < least))
				least = milli;
		}
		end = strrchr(dir, '/');
		if (!end || (size_t)(end - dir) < watch.root)
			break;
		*end = 0;
	}
	return least > 65536000 ? 0 : (uint32_t)least;
}

/* ------------------------------------------------------------------ what is done */

static void set_quota(struct gca_arena *a, void *arg)
{
	uint32_t milli = __atomic_load_n(&watch.milli, __ATOMIC_RELAXED);

	(void)arg;
	/* Only if it is another one: the program may have set something else since. */
	if (!watch.own_cpus && milli != __atomic_load_n(&a->quota, __ATOMIC_RELAXED) &&
	    !gca_set(a, GCA_CPUS_MILLI, milli))
		__atomic_store_n(&a->quota, milli, __ATOMIC_RELAXED);
}

static void collect(struct gca_arena *a, void *arg)
{
	(void)arg;
	if (a->flags & GCA_NO_AUTO_COLLECT)
		return;
	if (a->tracing)
		gcl_say("gcarena: memory is short: a cycle, and free pages go back");
	if (!gcl_collect(a, 0, false))
		__atomic_add_fetch(&a->pressed, 1, __ATOMIC_RELAXED);
}

/* Memory is short.  Often we are told so again before it has helped. */
static void pressed(void)
{
	uint64_t now = gcl_now(), took;

	if (now < watch.next)
		return;
	gcl_each_arena(collect, NULL);
	took = gcl_now() - now;
	watch.next = now + took + (took * SHARE > EVERY_MS * NS_PER_MS ? took * SHARE :
				   EVERY_MS * NS_PER_MS);
}

/* Return: is it shorter than when last asked?  -1: the group has gone */
static int is_short(void)
{
	char text[512];
	uint64_t n;
	ssize_t got = pread(watch.f[EVENTS].fd, text, sizeof(text) - 1, 0);

	if (got <= 0)
		return -1;
	text[got] = 0;
	n = value_of(text, "high") + value_of(text, "max");
	if (n == watch.short_of)
		return 0;
	watch.short_of = n;
	return 1;
}

static void close_group(void)
{
	close_one(EVENTS);
	close_one(STALLS);
}

static void set_milli(uint32_t milli)
{
	__atomic_store_n(&watch.milli, milli, __ATOMIC_RELAXED);
}

/* Return: false if there is nothing to watch. */
static bool open_group(void)
{
	int fd;

	if (!find_group())
		return false;
	if (keep_one(EVENTS, group_open("memory.events", O_RDONLY)))
		is_short();
	/* Of the machine, where the group has no such thing. */
	fd = group_open("memory.pressure", O_RDWR);
	if (fd < 0)
		fd = open("/proc/pressure/memory", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (keep_one(STALLS, fd) && write(watch.f[STALLS].fd, STALL, sizeof(STALL)) < 0)
		close_one(STALLS);
	set_milli(quota());
	return watch.milli || watch.f[EVENTS].fd >= 0 || watch.f[STALLS].fd >= 0;
}

/* Are we in another group, has ours come back, or is its quota another one? */
static void look_again(void)
{
	char was[PATH_MAX];

	strcpy(was, watch.dir);
	if (watch.f[EVENTS].fd < 0 || (find_group() && strcmp(was, watch.dir))) {
		close_group();
		open_group();
	} else {
		set_milli(quota());
	}
	gcl_each_arena(set_quota, NULL);
}

/* Its group has gone: not at once, for there may be none. */
static void lost(int i)
{
	uint64_t soon = gcl_now() + LOST_MS * NS_PER_MS;

	close_one(i);
	watch.look = soon < watch.look ? soon : watch.look;
}

static void look_out(void)
{
	watch.look = gcl_now() + LOOK_MS * NS_PER_MS;
	for (;;) {
		struct pollfd p[] = {
			{ .fd = watch.f[WAKE].fd, .events = POLLIN },
			{ .fd = watch.f[EVENTS].fd, .events = POLLPRI },
			{ .fd = watch.f[STALLS].fd, .events = POLLPRI },
		};
		uint64_t now = gcl_now();
		int more = 0;

		/* Time goes by while there are events, too. */
		if (now >= watch.look) {
			watch.look = now + LOOK_MS * NS_PER_MS;
			look_again();
			continue;
		}
		if (poll(p, 3, (int)((watch.look - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
			return;	/* without memory for that we are of no use */
		/* Or somebody has closed it, and still has the other end. */
		if (p[WAKE].revents || !is_ours(&watch.f[WAKE]))
			return;
		/* An event and the end of the file look the same here, but not to who reads. */
		if (p[EVENTS].revents)
			more = is_short();
		if (more < 0)
			lost(EVENTS);
		if (p[STALLS].revents & ~POLLPRI)
			lost(STALLS);
		else if (p[STALLS].revents)
			more = 1;
		if (more > 0)
			pressed();
	}
}

static void *watcher(void *arg)
{
	(void)arg;
	look_out();
	__atomic_store_n(&watch.ended, true, __ATOMIC_RELEASE);
	return NULL;
}

/* --------------------------------------------------------------- birth and death */

/* There is no thread, or no more.  Under watch_lock, as all that follows. */
static void gone(void)
{
	for (int i = 0; i < NR_FDS; i++)
		close_one(i);
	watch.running = false;
	watch.ended = false;
}

static void environment(void)
{
	const char *own = secure_getenv("GCARENA_CGROUP"), *cpus = secure_getenv("GCARENA_CPUS_MILLI");

	watch.own_cpus = cpus && *cpus;
	watch.own[0] = 0;
	if (own && *own && strlen(own) < sizeof(watch.own))
		strcpy(watch.own, own);
}

static bool start(void)
{
	size_t stack = WATCH_STACK + (size_t)sysconf(_SC_THREAD_STACK_MIN);
	int pipes[2], err = 1;
	pthread_attr_t attr;

	environment();
	if (!open_group())
		return false;
	if (!pipe2(pipes, O_CLOEXEC | O_NONBLOCK)) {
		err = !keep_one(WAKE, pipes[0]);
		err |= !keep_one(WAKER, pipes[1]);
	}
	if (!err)
		err = pthread_attr_init(&attr);
	if (!err) {
		pthread_attr_setstacksize(&attr, (stack + 4095) & ~(size_t)4095);
		err = pthread_create(&watch.thread, &attr, watcher, NULL);
		pthread_attr_destroy(&attr);
	}
	if (err)
		gone();
	return !err;
}

static void stop(void)
{
	if (is_ours(&watch.f[WAKE]) && is_ours(&watch.f[WAKER]) &&
	    write(watch.f[WAKER].fd, "", 1) < 0)
		gcl_say("gcarena: the thread that watches the control group cannot be told to end");
	close_one(WAKER);	/* it sees that, too */
	pthread_join(watch.thread, NULL);
	gone();
}

/* gcl_watch_start() - an arena with a pager has been opened; it is not a failure if we cannot */
void gcl_watch_start(struct gca_arena *a)
{
	struct held h = hold();

	/* Its descriptors were closed.  Not waited for: it may be in a cycle that waits for us. */
	if (watch.running && __atomic_load_n(&watch.ended, __ATOMIC_ACQUIRE))
		stop();
	if (!watch.running)
		watch.running = start();
	if (watch.running)
		set_quota(a, NULL);
	let_go(h);
}

/* gcl_watch_stop() - one has been closed, which may have been the last */
void gcl_watch_stop(void)
{
	struct held h = hold();

	if (watch.running && !gcl_each_arena(NULL, NULL))
		stop();
	let_go(h);
}

/* gcl_watch_fork() - a child has the memory, but not the thread */
void gcl_watch_fork(enum gcl_fork when)
{
	if (when == GCL_FORK_PREPARE) {
		pthread_mutex_lock(&watch_lock);
		return;
	}
	if (when == GCL_FORK_CHILD && watch.running)
		gone();
	pthread_mutex_unlock(&watch_lock);
}
