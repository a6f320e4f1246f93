// SPDX-License-Identifier: MIT
/*
 * error.c: sentences for people, and the small services every file needs.
 *
 * The last error is a thread's own.  Nothing here may use stdio's streams or
 * malloc(): gcl_say() is called by threads that must not take their locks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/* Initial-exec: a handler may be the first to write it, and may not call malloc(). */
static _Thread_local char gcl_sentence[224] __attribute__((__tls_model__("initial-exec")));

void gcl_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(gcl_sentence, sizeof(gcl_sentence), fmt, ap);
	va_end(ap);
}

/* Set errno to @err (positive) and the sentence, or keep it if @fmt is NULL.  Return: -1. */
int gcl_fail(int err, const char *fmt, ...)
{
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(gcl_sentence, sizeof(gcl_sentence), fmt, ap);
		va_end(ap);
	}
	errno = err;
	return -1;
}

const char *gca_strerror(void)
{
	return gcl_sentence[0] ? gcl_sentence : "no error";
}

void gcl_say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

uint64_t gcl_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* Raw system calls: the C library would leave all its own signals open. */
struct gcl_signals gcl_block(void)
{
	struct gcl_signals old = { 0 };
	uint64_t all = GCL_ALL_SIGNALS;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old.set, sizeof(all));
	return old;
}

void gcl_restore(struct gcl_signals old)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old.set, NULL, sizeof(old.set));
}

struct gcl_signals gcl_lock(struct gca_arena *a)
{
	struct gcl_signals old = gcl_block();

	pthread_mutex_lock(&a->lock);
	return old;
}

void gcl_unlock(struct gca_arena *a, struct gcl_signals old)
{
	pthread_mutex_unlock(&a->lock);
	gcl_restore(old);
}

/* Zeroed pages of our own, or NULL.  Not from malloc: see internal.h. */
void *gcl_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Zeroed pages of our own where something was mapped that goes. */
void gcl_map_over(const volatile void *at, size_t bytes, int prot)
{
	mmap((void *)(uintptr_t)at, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/*
 * Where to map a heap of @bytes: where the kernel would, or a few GiB below.
 *
 * A 32-bit number put over half of an old pointer leaves a word that is an address near a
 * multiple of 4 GiB: such a word keeps what is there, and all that hangs on it, and numbers near
 * 0 are the most frequent ones.  So a heap has no such multiple in its first 3 GiB.  The bits
 * below stay random.  A hint: what is mapped meanwhile, or a kernel that knows better, costs
 * only that.
 */
void *gcl_heap_hint(size_t bytes)
{
	const uintptr_t near = 4UL << 20, span = 1UL << 32, moved = 3UL << 30;
	uintptr_t at, low;
	void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	munmap(p, bytes);
	at = (uintptr_t)p & ~(near - 1);
	low = at & (span - 1);
	if (!low)
		return (void *)(at - span + near);
	if (bytes <= span - low - near || low < span - moved)
		return (void *)at;
	return (void *)((at & ~moved) | near);
}

/* A small file.  Return: bytes read, with a 0 behind them; -1: there is no such file. */
ssize_t gcl_slurp(const char *path, char *buf, size_t room)
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

int gcl_gettid(void)
{
	return (int)syscall(SYS_gettid);
}

/* @fd, which nobody knows yet, by a number that loops over small ones do not meet. */
int gcl_fd_high(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 512);

	if (high < 0)
		return fd;	/* RLIMIT_NOFILE is low: stay where we are */
	close(fd);
	return high;
}
