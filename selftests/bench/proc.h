/* SPDX-License-Identifier: MIT */
/*
 * proc.h: what /proc says of threads.  It may not allocate while anything is measured: what
 * it reads is in one buffer, which the next call overwrites.
 */
#ifndef GCA_BENCH_PROC_H
#define GCA_BENCH_PROC_H

#include <fcntl.h>
#include <unistd.h>

#include "heap.h"

#define PROC_TEXT	65536

/** struct switches - how often threads have left and got a processor; all that were added */
struct switches {
	uint64_t voluntary, involuntary, wakeups;
};

/* What is in a file; "" if it cannot be read. */
static char *proc_text(const char *path)
{
	static char *text;
	int fd = open(path, O_RDONLY);
	size_t n = 0;
	ssize_t got;

	if (!text)
		text = heap_scratch(PROC_TEXT, 1);
	while (fd >= 0 && n + 1 < PROC_TEXT) {
		got = read(fd, text + n, PROC_TEXT - 1 - n);
		if (got <= 0)
			break;
		n += got;
	}
	if (fd >= 0)
		close(fd);
	text[n] = '\0';
	return text;
}

/* The number that follows @key in @text; 0 if it is not there. */
static uint64_t proc_number(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	if (!p)
		return 0;
	p += strlen(key);
	p += strspn(p, " \t:");
	return strtoull(p, NULL, 10);
}

/* Of thread @tid of any process.  Wake-ups are counted with kernel.sched_schedstats=1. */
static void proc_add_switches(struct switches *s, int tid)
{
	char path[64], *text;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", tid, tid);
	text = proc_text(path);
	s->involuntary += proc_number(text, "nonvoluntary_ctxt_switches:");
	s->voluntary += proc_number(text, "\nvoluntary_ctxt_switches:");
	snprintf(path, sizeof(path), "/proc/%d/task/%d/sched", tid, tid);
	s->wakeups += proc_number(proc_text(path), "nr_wakeups ");
}

#endif /* GCA_BENCH_PROC_H */
