// SPDX-License-Identifier: MIT
/*
 * watch.c: what the program's control group tells: how much processor time it may have
 * (cpu.max), and that memory is short (memory.events, and pressure stall information).
 *
 * One thread a process, while it has arenas with pagers.  It is not attached, holds no lock
 * while a cycle runs, and has all signals blocked.  When memory is short each arena is
 * collected, and gives back what is free; not more often than once in EVERY_MS, nor for more
 * than a tenth of the time: a group that stays at memory.high is short all the time.  It
 * is never reclaim itself that collects: the kernel tells us, and we ask as any thread may.
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
#include <sys/eventfd.h>
#include <unistd.h>

#include "internal.h"

#define EVERY_MS	1000	/* between collections for want of memory */
#define LOOK_MS		10000	/* between looks at cpu.max, and at which group we are in */
#define SHARE		10	/* of the time, at most, goes to such collections */
#define STALL		"some 200000 2000000"	/* us of stalls in us: memory is short */
#define WATCH_STACK	(64 << 10)

enum { WAKE, EVENTS, STALLS, NR_FDS };

/**
 * struct watch - the watcher; what is not under watch_lock is its thread's own
 * @thread: if @running
 * @fd: to wake it; memory.events; pressure.  -1: none
 * @dir: directory of the group
 * @root: bytes of @dir that are the mount point: above it there is nothing
 * @short_of: times that the group was throttled at memory.high or met memory.max
 * @next: not before then, by gcl_now(), another collection
 * @milli: what cpu.max comes to, in thousandths of processors; 0: as many as there are
 */
static struct watch {
	bool running;
	pthread_t thread;
	int fd[NR_FDS];
	char dir[PATH_MAX];
	size_t root;
	uint64_t short_of, next;
	uint32_t milli;
} watch = { .fd = { -1, -1, -1 } };

static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;

/* --------------------------------------------------------------------- files */

/* Return: bytes read, with a 0 behind them; -1: there is no such file. */
static ssize_t slurp(const char *path, char *buf, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, room - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n;
}

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
	const char *own = getenv("GCARENA_CGROUP");
	char text[4096], *path, at[PATH_MAX];
	int n;

	if (own && *own) {
		watch.root = strlen(own);
		n = snprintf(watch.dir, sizeof(watch.dir), "%s", own);
		return strcmp(own, "off") && n < (int)sizeof(watch.dir);
	}
	if (slurp("/proc/self/cgroup", text, sizeof(text)) < 0 || !mounted(at, sizeof(at)))
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
		if (slurp(path, text, sizeof(text)) > 0 && strncmp(text, "max", 3)) {
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
	const char *own = getenv("GCARENA_CPUS_MILLI");

	(void)arg;
	if (!own || !*own)
		gca_set(a, GCA_CPUS_MILLI, watch.milli);
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
	watch.next = now + took + (took * SHARE > EVERY_MS * 1000000ULL ? took * SHARE :
				   EVERY_MS * 1000000ULL);
}

static bool is_short(void)
{
	char text[512];
	uint64_t n;
	ssize_t got = pread(watch.fd[EVENTS], text, sizeof(text) - 1, 0);

	if (got <= 0)
		return false;
	text[got] = 0;
	n = value_of(text, "high") + value_of(text, "max");
	if (n == watch.short_of)
		return false;
	watch.short_of = n;
	return true;
}

static void close_one(int i)
{
	if (watch.fd[i] >= 0)
		close(watch.fd[i]);
	watch.fd[i] = -1;
}

static void close_group(void)
{
	close_one(EVENTS);
	close_one(STALLS);
}

/* Return: false if there is nothing to watch. */
static bool open_group(void)
{
	if (!find_group())
		return false;
	watch.fd[EVENTS] = group_open("memory.events", O_RDONLY);
	is_short();
	/* Of the machine, where the group has no such thing. */
	watch.fd[STALLS] = group_open("memory.pressure", O_RDWR);
	if (watch.fd[STALLS] < 0)
		watch.fd[STALLS] = open("/proc/pressure/memory", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (watch.fd[STALLS] >= 0 && write(watch.fd[STALLS], STALL, sizeof(STALL)) < 0)
		close_one(STALLS);
	watch.milli = quota();
	return watch.milli || watch.fd[EVENTS] >= 0 || watch.fd[STALLS] >= 0;
}

/* Are we in another group, or is its quota another one? */
static void look_again(void)
{
	char was[PATH_MAX];
	uint32_t milli = watch.milli;

	strcpy(was, watch.dir);
	if (find_group() && strcmp(was, watch.dir)) {
		close_group();
		open_group();
	} else {
		watch.milli = quota();
	}
	if (watch.milli != milli)
		gcl_each_arena(set_quota, NULL);
}

static void *watcher(void *arg)
{
	uint64_t looked = gcl_now();

	(void)arg;
	for (;;) {
		struct pollfd p[NR_FDS] = {
			{ .fd = watch.fd[WAKE], .events = POLLIN },
			{ .fd = watch.fd[EVENTS], .events = POLLPRI },
			{ .fd = watch.fd[STALLS], .events = POLLPRI },
		};

		if (poll(p, NR_FDS, LOOK_MS) < 0 && errno != EINTR)
			return NULL;	/* without memory for that we are of no use */
		if (p[WAKE].revents)
			return NULL;
		if ((p[EVENTS].revents & POLLPRI && is_short()) || p[STALLS].revents & POLLPRI)
			pressed();
		/* Its group has gone. */
		for (int i = EVENTS; i < NR_FDS; i++)
			if (p[i].revents && !(p[i].revents & POLLPRI))
				close_one(i);
		/* Time goes by while there are events, too. */
		if (gcl_now() - looked >= (LOOK_MS - 1) * 1000000ULL) {
			looked = gcl_now();
			look_again();
		}
	}
}

/* --------------------------------------------------------------- birth and death */

static bool start(void)
{
	size_t stack = WATCH_STACK + (size_t)sysconf(_SC_THREAD_STACK_MIN);
	struct gcl_signals sigs;
	pthread_attr_t attr;
	int err;

	if (!open_group())
		return false;
	watch.fd[WAKE] = eventfd(0, EFD_CLOEXEC);
	err = watch.fd[WAKE] < 0 || pthread_attr_init(&attr);
	if (!err) {
		pthread_attr_setstacksize(&attr, (stack + 4095) & ~(size_t)4095);
		sigs = gcl_block();
		err = pthread_create(&watch.thread, &attr, watcher, NULL);
		gcl_restore(sigs);
		pthread_attr_destroy(&attr);
	}
	if (err)
		close_group();
	return !err;
}

/* gcl_watch_start() - an arena with a pager has been opened; it is not a failure if we cannot */
void gcl_watch_start(struct gca_arena *a)
{
	pthread_mutex_lock(&watch_lock);
	if (!watch.running)
		watch.running = start();
	if (watch.running && watch.milli)
		set_quota(a, NULL);
	pthread_mutex_unlock(&watch_lock);
}

/* gcl_watch_stop() - one has been closed, which may have been the last */
void gcl_watch_stop(void)
{
	uint64_t one = 1;

	pthread_mutex_lock(&watch_lock);
	if (watch.running && !gcl_each_arena(NULL, NULL) &&
	    write(watch.fd[WAKE], &one, sizeof(one)) == sizeof(one)) {
		pthread_join(watch.thread, NULL);
		close(watch.fd[WAKE]);
		close_group();
		watch.running = false;
	}
	pthread_mutex_unlock(&watch_lock);
}

/* gcl_watch_fork() - a child has the memory, but not the thread */
void gcl_watch_fork(enum gcl_fork when)
{
	if (when == GCL_FORK_PREPARE) {
		pthread_mutex_lock(&watch_lock);
		return;
	}
	if (when == GCL_FORK_CHILD && watch.running) {
		close(watch.fd[WAKE]);
		close_group();
		watch.running = false;
	}
	pthread_mutex_unlock(&watch_lock);
}
