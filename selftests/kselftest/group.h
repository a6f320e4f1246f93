/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * group.h: control groups (v2) that tests make, and what is read in them.
 */
#ifndef GCT_GROUP_H
#define GCT_GROUP_H

#include "raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP_ROOT	"/sys/fs/cgroup"

/* What follows @key in a file of lines, into @buf; false: no such line. */
static inline bool group_line(const char *path, const char *key, char *buf, size_t room)
{
	FILE *f = fopen(path, "r");
	size_t n = strlen(key);
	char line[512];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, n))
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(buf, room, "%s", line + n + strspn(line + n, " \t"));
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static inline int group_write(const char *group, const char *file, const char *text)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return gct_file_write(path, text);
}

static inline bool group_new(const char *group)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	rmdir(group);
	return !mkdir(group, 0755) && !access(path, W_OK);
}

static inline long long group_stat(const char *group, const char *file, const char *key)
{
	char path[200], got[64];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return group_line(path, key, got, sizeof(got)) ? atoll(got) : -1;
}

/* Within 5 s (of a stock guest) cgroup.events says so. */
static inline bool group_frozen_becomes(const char *group, int want)
{
	uint64_t end = gct_now_ms() + 5000 * (uint64_t)gct_slow();

	do {
		if (group_stat(group, "cgroup.events", "frozen ") == want)
			return true;
		gct_sleep_ms(1);
	} while (gct_now_ms() < end);
	return false;
}

#define GROUP_RMDIR_MS	10000

/* Remove it, within ten seconds (of a stock guest).  Return: milliseconds it took, or -1. */
static inline long group_end(const char *group)
{
	uint64_t began = gct_now_ms();

	while (rmdir(group)) {
		if (gct_now_ms() - began > GROUP_RMDIR_MS * (uint64_t)gct_slow())
			return -1;
		gct_sleep_ms(1);
	}
	return (long)(gct_now_ms() - began);
}

#endif /* GCT_GROUP_H */
