// SPDX-License-Identifier: GPL-2.0-only
/*
 * sysfs.c: what /sys/kernel/gcarena says of the device and of each arena: every
 * documented file, its mode and owner, one value a file, and that STATS, fdinfo
 * and the files agree.  And the tracepoints: there, and they fire.
 */
#define GCT_SUITE "sysfs"
#include "raw.h"

#include <dirent.h>
#include <grp.h>

#define TOP	"/sys/kernel/gcarena"

#define OF(f)	offsetof(struct gcarena_stats, f)
#define NOTHING	((size_t)-1)

static const struct {
	const char *name;
	size_t offset;
	bool total;
} files[] = {
	{ "cycles", OF(cycles), true }, { "forced", OF(forced), true },
	{ "postponed_stops", OF(postponed), true }, { "voided", OF(voided), true },
	{ "last_void_reason", NOTHING, false }, { "live", OF(live), false },
	{ "goal", OF(goal), false }, { "heap", OF(heap), false },
	{ "metadata", OF(metadata), false }, { "stops", OF(stops), true },
	{ "stop_ns_max", OF(stop_ns_max), false }, { "stop_ns_total", OF(stop_ns_total), true },
	{ "stop_ns_p50", OF(stop_ns_p50), false }, { "stop_ns_p99", OF(stop_ns_p99), false },
	{ "hold_ns_max", OF(hold_ns_max), false }, { "hold_ns_total", OF(hold_ns_total), true },
	{ "held", OF(held), true }, { "held_asleep", OF(held_asleep), true },
	{ "threads", OF(threads), false }, { "workers", OF(workers), false },
	{ "mark_ns_workers", OF(worker_ns), true },
	{ "mark_ns_collect", OF(mark_ns[0]), true }, { "mark_ns_serve", OF(mark_ns[1]), true },
	{ "sweep_ns", OF(sweep_ns), true }, { "coordinator_ns", OF(coordinator_ns), false },
	{ "mark_ns_fractional", OF(fractional_ns), true }, { "mark_ns_idle", OF(idle_ns), true },
	{ "idle_kicks", OF(idle_kicks), false }, { "idle_yields", OF(idle_yields), false },
	{ "idle_raised", OF(idle_raised), false },
	{ "trigger", OF(trigger), false },
	{ "begun_live", OF(begun_live), false },
	{ "ended_live", OF(ended_live), false },
	{ "ended_goal", OF(ended_goal), false },
	{ "work_heap", OF(work_heap), false },
	{ "work_stack", OF(work_stack), false },
	{ "work_roots", OF(work_roots), false },
	{ "cons_mark", OF(cons_mark), false },
	{ "assists", OF(assists), true },
	{ "assist_hold_ns_total", OF(assist_hold_ns_total), true },
	{ "assist_hold_ns_max", OF(assist_hold_ns_max), false },
	{ "assist_hold_ns_p99", OF(assist_hold_ns_p99), false },
	{ "begin_stop_ns", OF(begin_stop_ns), false },
	{ "marking_ns", OF(marking_ns), false },
	{ "end_stop_ns", OF(end_stop_ns), false },
	{ "limited", OF(limited), true },
	{ "usable_cpus_milli", OF(cpus_milli), false },
	{ "marking_cpu_ns", OF(marking_cpu_ns), true },
	{ "cpu_ns", OF(cpu_ns), false },
	{ "restarts", OF(restarts), true }, { "mark_ns_assist", OF(assist_ns), true },
	{ "self_scans", OF(self_scans), true }, { "self_scan_ns", OF(self_ns), true },
	{ "unknown_stacks", OF(unknown_stacks), true }, { "cut_stacks", OF(cut_stacks), true },
	{ "allocated", OF(allocated), true }, { "freed", OF(freed), true },
	{ "missed", OF(missed), true }, { "leaves", OF(leaves), true },
	{ "overflows", OF(overflows), true }, { "returned", OF(returned), true },
	{ "marked_objects", OF(marked_objects), true }, { "marked_bytes", OF(marked_bytes), true },
	{ "root_bytes", OF(root_bytes), false }, { "free", OF(free), false },
};
#define NR_FILES	(sizeof(files) / sizeof(files[0]))

static const struct {
	const char *name;
	size_t offset;
	uint64_t lo, hi;
	bool has_off;
	uint64_t off;
} knob[] = {
#define KNOB(field, ...) { #field, offsetof(struct gcarena_knobs, field), __VA_ARGS__ }
	KNOB(percent, 0, 100000, true, 0), KNOB(heap_min, 0, GCARENA_RESERVE_MAX, false, 0),
	KNOB(debug, 0, GCARENA_DEBUG_ALL, false, 0),
	KNOB(memlimit, 0, GCARENA_RESERVE_MAX, true, 0),
	KNOB(period_ms, 0, 86400000, true, 0), KNOB(cpu_percent, 1, 100, true, 100),
	KNOB(cpus_milli, 0, 65536000, true, 0), KNOB(assist_us, 10, 1000000, false, 0),
};
#define NR_KNOBS	(sizeof(knob) / sizeof(knob[0]))

static bool read_file(const char *path, char *buf, size_t room)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, room - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* One line, not empty. */
static bool one_value(const char *s)
{
	const char *end = strchr(s, '\n');

	return end && end > s && !end[1] && !strpbrk(s, " \t");
}

FIXTURE(arena) {
	struct raw r;
	char dir[100];
};

FIXTURE_SETUP(arena)
{
	ASSERT_EQ(raw_arena(&self->r), 0);
	ASSERT_EQ(raw_attach(&self->r), 0);
	snprintf(self->dir, sizeof(self->dir), TOP "/%016llx", (unsigned long long)self->r.id);
}

FIXTURE_TEARDOWN(arena)
{
	raw_close(&self->r);
}

static int count_files(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	if (!d)
		return -1;
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

TEST(device)
{
	char buf[200];
	struct stat st;

	ASSERT_TRUE(read_file(TOP "/version", buf, sizeof(buf)));
	EXPECT_TRUE(one_value(buf));
	ASSERT_TRUE(read_file(TOP "/arenas", buf, sizeof(buf)));
	EXPECT_TRUE(one_value(buf));
	ASSERT_TRUE(read_file(TOP "/arenas_created", buf, sizeof(buf)));
	EXPECT_TRUE(one_value(buf));
	ASSERT_EQ(stat(TOP "/version", &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0444);
	for (size_t i = 0; i < NR_FILES; i++) {
		if (!files[i].total)
			continue;
		snprintf(buf, sizeof(buf), TOP "/totals/%s", files[i].name);
		ASSERT_EQ(stat(buf, &st), 0);
		EXPECT_EQ(st.st_mode & 0777, 0444);
		EXPECT_GE(gct_file_long(buf), 0);
	}
}

TEST_F(arena, files)
{
	char path[200], buf[200];
	struct stat st;

	for (size_t i = 0; i < NR_FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s", self->dir, files[i].name);
		if (stat(path, &st)) {
			gct_note("# %s is missing", path);
			EXPECT_TRUE(false);
			continue;
		}
		EXPECT_EQ(st.st_mode & 07777, 0400);
		EXPECT_EQ(st.st_uid, getuid());
		ASSERT_TRUE(read_file(path, buf, sizeof(buf)));
		EXPECT_TRUE(one_value(buf));
		EXPECT_LT(gct_file_write(path, "1"), 0);
	}
	for (size_t i = 0; i < NR_KNOBS; i++) {
		snprintf(path, sizeof(path), "%s/%s", self->dir, knob[i].name);
		ASSERT_EQ(stat(path, &st), 0);
		EXPECT_EQ(st.st_mode & 07777, 0600);
		EXPECT_EQ(st.st_uid, getuid());
		ASSERT_TRUE(read_file(path, buf, sizeof(buf)));
		EXPECT_TRUE(one_value(buf));
	}
	/* And no other. */
	EXPECT_EQ(count_files(self->dir), (int)(NR_FILES + NR_KNOBS));
}

/* What root writes is what the arena has, as soon as it or its coordinator looks. */
TEST_F(arena, knobs)
{
	for (size_t i = 0; i < NR_KNOBS; i++) {
		struct gcarena_refill q = { .size = sizeof(q), .id = self->r.attach.id, .count = 1 };
		struct gcarena_config c = { .size = sizeof(c) };
		const uint64_t *now = (uint64_t *)((char *)&c.knob + knob[i].offset);
		const uint64_t value[] = { knob[i].hi, knob[i].lo };
		const char *bad[] = { "x", "-1", "18446744073709551616", "1 2", NULL };
		char path[200], text[32], was[32];

		snprintf(path, sizeof(path), "%s/%s", self->dir, knob[i].name);
		for (int k = 0; k < 2; k++) {
			snprintf(text, sizeof(text), "%" PRIu64 "\n", value[k]);
			ASSERT_EQ(gct_file_write(path, text), 0);
			ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &q), 0);
			ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &c), 0);
			EXPECT_EQ(*now, value[k]);
			EXPECT_EQ((uint64_t)gct_file_long(path), value[k]);
		}
		snprintf(was, sizeof(was), "%" PRIu64, knob[i].lo);
		for (int k = 0; bad[k]; k++)
			EXPECT_LT(gct_file_write(path, bad[k]), 0);
		snprintf(text, sizeof(text), "%" PRIu64, knob[i].hi + 1);
		EXPECT_EQ(gct_file_write(path, text), -EINVAL);
		EXPECT_EQ(gct_file_write(path, "off"), knob[i].has_off ? 0 : -EINVAL);
		ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_REFILL, &q), 0);
		ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &c), 0);
		EXPECT_EQ(*now, knob[i].has_off ? knob[i].off : knob[i].lo);
	}
}

static uint64_t *volatile keep;

TEST_F(arena, agree)
{
	char path[200], buf[4096], *at;
	struct gcarena_stats s, before;

	for (int i = 0; i < 3000; i++) {
		uint64_t *p = (uint64_t *)raw_alloc(&self->r, GCARENA_SPAN_CLASS(4, GCARENA_CONSERVATIVE));

		ASSERT_TRUE(p);
		if (i % 2) {
			p[0] = (uintptr_t)keep;
			keep = p;
		}
	}
	{
		uint64_t *volatile here = keep;

		ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
		(void)here;
	}
	ASSERT_EQ(raw_stats(&self->r, &s), 0);
	/* A worker that has swept the last span may be about to say how long that took. */
	do {
		before = s;
		gct_sleep_ms(5);
		ASSERT_EQ(raw_stats(&self->r, &s), 0);
		before.cpu_ns = s.cpu_ns;
	} while (memcmp(&before, &s, sizeof(s)));
	EXPECT_GE(s.live, 1500 * 48);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->r.fd);
	for (size_t i = 0; i < NR_FILES; i++) {
		char label[160];
		uint64_t want;

		/* Time goes on. */
		if (files[i].offset == NOTHING || files[i].offset == OF(cpu_ns))
			continue;
		want = *(uint64_t *)((char *)&s + files[i].offset);
		snprintf(label, sizeof(label), "%s/%s", self->dir, files[i].name);
		if ((uint64_t)gct_file_long(label) != want)
			gct_note("# %s", files[i].name);
		EXPECT_EQ((uint64_t)gct_file_long(label), want);
		ASSERT_TRUE(read_file(path, buf, sizeof(buf)));
		snprintf(label, sizeof(label), "\ngcarena-%s:\t", files[i].name);
		at = strstr(buf, label);
		ASSERT_TRUE(at);
		EXPECT_EQ(strtoull(at + strlen(label), NULL, 10), want);
	}
	ASSERT_TRUE(read_file(path, buf, sizeof(buf)));
	at = strstr(buf, "gcarena-id:\t");
	ASSERT_TRUE(at);
	EXPECT_EQ(strtoull(at + 12, NULL, 16), self->r.id);
	at = strstr(buf, "gcarena-phase:\t");
	ASSERT_TRUE(at);
	EXPECT_EQ(at[15], '0');
	snprintf(path, sizeof(path), "%s/last_void_reason", self->dir);
	ASSERT_TRUE(read_file(path, buf, sizeof(buf)));
	EXPECT_EQ(strcmp(buf, "none\n"), 0);
	/* A void cycle is shown by its reason. */
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
	self->r.m->ring_tail += 1000;
	ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKED, NULL), 0);
	ASSERT_TRUE(read_file(path, buf, sizeof(buf)));
	EXPECT_EQ(strcmp(buf, "ring\n"), 0);
}

/* Totals only grow, through the death of what they count. */
TEST(totals)
{
	long cycles = gct_file_long(TOP "/totals/cycles"), created = gct_file_long(TOP "/arenas_created");

	for (int i = 0; i < 5; i++) {
		struct raw r;

		ASSERT_EQ(raw_arena(&r), 0);
		for (int k = 0; k < 3; k++)
			ASSERT_EQ(raw_collect(&r, 0, NULL), 0);
		ASSERT_EQ(raw_destroy(&r), 0);
		raw_close(&r);
	}
	EXPECT_EQ(gct_file_long(TOP "/totals/cycles"), cycles + 15);
	EXPECT_EQ(gct_file_long(TOP "/arenas_created"), created + 5);
}

/* The directory belongs to the user who made it, and goes with the arena. */
TEST(of_another_user)
{
	char dir[100], path[150];
	int go[2], back[2], status;
	struct stat st;
	struct raw r;
	pid_t pid;
	char byte;

	ASSERT_EQ(pipe(go), 0);
	ASSERT_EQ(pipe(back), 0);
	pid = fork();
	if (!pid) {
		r.fd = raw_open();
		if (r.fd < 0 || gct_file_write(gct_param_path("level"), "2") ||
		    setgroups(0, NULL) || setgid(4321) || setuid(1234))
			_exit(1);
		{
			struct gcarena_create c;

			if (raw_create(r.fd, RAW_RESERVE, &c))
				_exit(2);
			if (write(back[1], &c.id, 8) != 8 || read(go[0], &byte, 1) != 1)
				_exit(3);
			snprintf(path, sizeof(path), TOP "/%016llx/cycles", (unsigned long long)c.id);
			if (gct_file_long(path) != 0)
				_exit(4);
		}
		_exit(0);
	}
	close(back[1]);
	{
		uint64_t id = 0;

		ASSERT_EQ(read(back[0], &id, 8), 8);
		snprintf(dir, sizeof(dir), TOP "/%016llx", (unsigned long long)id);
	}
	snprintf(path, sizeof(path), "%s/live", dir);
	ASSERT_EQ(stat(path, &st), 0);
	EXPECT_EQ(st.st_uid, 1234);
	EXPECT_EQ(st.st_gid, 4321);
	EXPECT_EQ(st.st_mode & 07777, 0400);
	ASSERT_EQ(write(go[1], "x", 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	for (int i = 0; i < 200 && !stat(dir, &st); i++)
		gct_sleep_ms(10);
	EXPECT_EQ(stat(dir, &st), -1);
	EXPECT_EQ(gct_file_write(gct_param_path("level"), "1"), 0);
}

/* A file held open over the arena's death: an error or an old value, no crash. */
TEST(file_outlives_the_arena)
{
	char path[150], buf[64];
	struct raw r;
	int fd;

	ASSERT_EQ(raw_arena(&r), 0);
	snprintf(path, sizeof(path), TOP "/%016llx/cycles", (unsigned long long)r.id);
	fd = open(path, O_RDONLY);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(raw_destroy(&r), 0);
	EXPECT_LT(pread(fd, buf, sizeof(buf), 0), 0);
	close(fd);
	EXPECT_EQ(open(path, O_RDONLY), -1);
	raw_close(&r);
}

#define EVENTS	"/sys/kernel/tracing/events/gcarena"

TEST_F(arena, tracepoints)
{
	static const char *const names[] = {
		"cycle_start", "cycle_end", "phase", "stop_begin", "stop_end", "slice", "miss",
		"overflow", "sweep_done", "void", "pace", "refill", "large", "grow", "death",
	};
	static char buf[1 << 20];
	size_t len = 0;
	ssize_t n;
	int fd;

	if (access(EVENTS, F_OK))
		SKIP("no tracefs");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(buf, sizeof(buf), EVENTS "/gcarena_%s/enable", names[i]);
		if (access(buf, F_OK))
			gct_note("# no tracepoint %s", names[i]);
		EXPECT_EQ(access(buf, F_OK), 0);
	}
	ASSERT_EQ(gct_file_write("/sys/kernel/tracing/trace", "\n"), 0);
	ASSERT_EQ(gct_file_write(EVENTS "/enable", "1"), 0);
	{
		struct gcarena_config c = { .size = sizeof(c), .mask = GCARENA_CONFIG_DEBUG,
					    .knob.debug = GCARENA_DEBUG_MISS };
		uint64_t *volatile head = NULL;
		uint64_t big;

		/* From its first chunk on. */
		raw_close(&self->r);
		ASSERT_EQ(raw_arena(&self->r), 0);
		ASSERT_EQ(raw_attach(&self->r), 0);
		for (int i = 0; i < 2000; i++) {
			uint64_t *p = (uint64_t *)raw_alloc(&self->r,
							    GCARENA_SPAN_CLASS(4, GCARENA_CONSERVATIVE));

			ASSERT_TRUE(p);
			p[0] = (uintptr_t)head;
			head = p;
		}
		ASSERT_EQ(raw_large(&self->r, 1 << 20, 0, 0, &big), 0);
		ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
		ASSERT_EQ(raw_ioctl(self->r.fd, GCARENA_IOC_CONFIG, &c), 0);
		ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKING, NULL), 0);
		self->r.m->ring_tail += 1000;
		ASSERT_EQ(raw_collect(&self->r, GCARENA_COLLECT_UNTIL_MARKED, NULL), 0);
		ASSERT_EQ(raw_collect(&self->r, 0, NULL), 0);
		ASSERT_EQ(raw_destroy(&self->r), 0);
	}
	ASSERT_EQ(gct_file_write(EVENTS "/enable", "0"), 0);
	fd = open("/sys/kernel/tracing/trace", O_RDONLY);
	ASSERT_GE(fd, 0);
	while ((n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	buf[len] = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char what[64];

		snprintf(what, sizeof(what), "gcarena_%s: arena=%016llx", names[i],
			 (unsigned long long)self->r.id);
		if (!strcmp(names[i], "overflow"))	/* wants many objects: shadow */
			continue;
		if (!strstr(buf, what))
			gct_note("# %s has not fired", names[i]);
		EXPECT_TRUE(strstr(buf, what));
	}
	gct_file_write("/sys/kernel/tracing/trace", "\n");
}

TEST_HARNESS_MAIN
