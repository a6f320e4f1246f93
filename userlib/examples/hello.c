// SPDX-License-Identifier: MIT
/*
 * hello.c: the smallest program that has its garbage collected.
 *
 * It makes a million strings, keeps the last, and says what became of the rest.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gcarena.h>

int main(void)
{
	struct gca_arena *arena = gca_open(NULL);
	struct gca_mutator *m = arena ? gca_attach(arena) : NULL;
	struct gca_stats s;
	char *text = NULL;
	int i;

	if (!m) {
		fprintf(stderr, "hello: %s\n", gca_strerror());
		return EXIT_FAILURE;
	}
	for (i = 1; i <= 1000000; i++) {
		text = gca_alloc_noscan(m, 64);
		if (!text) {
			fprintf(stderr, "hello: %s\n", gca_strerror());
			return EXIT_FAILURE;
		}
		snprintf(text, 64, "Hello, world number %d", i);
	}
	if (gca_collect(arena, 0) || gca_stats(arena, &s)) {
		fprintf(stderr, "hello: %s\n", gca_strerror());
		return EXIT_FAILURE;
	}
	printf("%s (%s backend)\n", text, s.backend);
	printf("%" PRIu64 " bytes allocated, %" PRIu64 " found dead, %" PRIu64
	       " live after %" PRIu64 " cycles; the heap has %" PRIu64 " KiB\n",
	       s.allocated_bytes, s.freed_bytes, s.live_bytes, s.cycles, s.heap_bytes >> 10);
	i = strcmp(text, "Hello, world number 1000000");
	gca_detach(m);
	gca_close(arena);
	return i ? EXIT_FAILURE : EXIT_SUCCESS;
}
