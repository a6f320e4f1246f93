/* SPDX-License-Identifier: MIT */
/* test.h: one test a function; "ok"/"not ok" lines; CHECK() fails the test and goes on. */
#ifndef GCT_LIBTEST_H
#define GCT_LIBTEST_H

#include <stdio.h>
#include <string.h>

static int t_number, t_bad, t_failed;

#define CHECK(x) do {							\
	if (!(x)) {							\
		if (t_bad++ < 5)					\
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #x);	\
	}								\
} while (0)

#define RUN(name) do {							\
	t_bad = 0;							\
	name();								\
	t_failed += !!t_bad;						\
	printf("%s %d - %s\n", t_bad ? "not ok" : "ok", ++t_number, #name);	\
	fflush(stdout);							\
} while (0)

#define DONE() do {							\
	printf("%d passed, %d failed\n", t_number - t_failed, t_failed);	\
	return !!t_failed;						\
} while (0)

/* Does the last error say this? */
#define SAYS(what)	(strstr(gca_strerror(), (what)) != NULL)

/* How many this process has. */
static inline int mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	int c, n = 0;

	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

#endif /* GCT_LIBTEST_H */
