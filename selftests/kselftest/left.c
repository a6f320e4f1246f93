// SPDX-License-Identifier: GPL-2.0-only
/*
 * left.c: the last suite: nothing is left of all that ran before.  (That the
 * module unloads and leaves no thread, slab object or leak is seen to by
 * selftests/vm/run when the guest ends.)
 */
#define GCT_SUITE "left"
#include "raw.h"

#include <dirent.h>

TEST(no_arenas)
{
	struct dirent *e;
	DIR *d;
	int n = 0;

	EXPECT_TRUE(gct_arenas_become(0));
	d = opendir("/sys/kernel/gcarena");
	ASSERT_TRUE(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && strspn(e->d_name, "0123456789abcdef") == 16) {
			gct_note("# %s", e->d_name);
			n++;
		}
	EXPECT_EQ(n, 0);
}

TEST(no_references_on_the_module)
{
	long n = -1;

	for (int i = 0; i < 300; i++) {
		n = gct_file_long("/sys/module/gcarena/refcnt");
		if (!n)
			break;
		gct_sleep_ms(10);
	}
	EXPECT_EQ(n, 0);
}

TEST(limits_are_free_again)
{
	struct gcarena_info i = { .size = sizeof(i) };
	int fd = raw_open();

	ASSERT_GE(fd, 0);
	ASSERT_EQ(raw_ioctl(fd, GCARENA_IOC_INFO, &i), 0);
	EXPECT_EQ(i.arenas_left, gct_file_long(gct_param_path("max_arenas")));
	close(fd);
}

/* A cgroup in which an arena lived and was killed can be removed within 200 ms. */
TEST(cgroup_can_be_removed)
{
	static const char group[] = "/sys/fs/cgroup/gct_left";
	char path[100], pid_text[20];
	uint64_t began;

	if (mkdir(group, 0755))
		SKIP("no cgroup: %s", strerror(errno));
	for (int phase = 0, tries = 0; phase < 3;) {
		uint64_t most = 200 * (uint64_t)gct_slow(), took;
		int ready[2], status;
		pid_t pid;
		char byte;

		ASSERT_EQ(pipe(ready), 0);
		pid = fork();
		if (!pid) {
			struct raw r;

			snprintf(path, sizeof(path), "%s/cgroup.procs", group);
			snprintf(pid_text, sizeof(pid_text), "%d", getpid());
			ASSERT_EQ(gct_file_write(path, pid_text), 0);
			ASSERT_EQ(raw_arena(&r), 0);
			ASSERT_EQ(raw_attach(&r), 0);
			for (int i = 0; i < 5000; i++)
				raw_alloc(&r, 6 * 4 + 2);
			if (phase == 1)
				raw_collect(&r, GCARENA_COLLECT_UNTIL_MARKING, NULL);
			ASSERT_EQ(write(ready[1], "x", 1), 1);
			for (;;)
				if (phase == 2)
					raw_collect(&r, 0, NULL);
				else
					pause();
		}
		ASSERT_EQ(read(ready[0], &byte, 1), 1);
		gct_sleep_ms(30);
		kill(pid, SIGKILL);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		began = gct_now_ms();
		while (rmdir(group) && gct_now_ms() - began < 5000)
			gct_sleep_ms(5);
		took = gct_now_ms() - began;
		close(ready[0]);
		close(ready[1]);
		if (mkdir(group, 0755))
			break;
		/* The guest may have stood still for a while, but not each time. */
		if (took > most && ++tries < 3)
			continue;
		EXPECT_LE(took, most);
		tries = 0;
		phase++;
	}
	EXPECT_EQ(rmdir(group), 0);
}

TEST_HARNESS_MAIN
