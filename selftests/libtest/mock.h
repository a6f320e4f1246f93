/* SPDX-License-Identifier: MIT */
/*
 * mock.h: a collector that only stops threads, to be stopped by.
 *
 * It stands in for backend_kernel.c: threads attach and detach, allocate from a
 * heap that never ends, and are stopped by signals as the module would.  There is
 * no marking.  So the library's part of a stop runs natively, thousands of times a
 * second, and under sanitizers.
 */
#ifndef GCT_MOCK_H
#define GCT_MOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "../../userlib/internal.h"

/*
 * Whoever makes a stop runs while all others stand still, wherever they were: in a
 * sanitizer's runtime, too, with its locks in hand.
 */
#define UNWATCHED	__attribute__((__no_sanitize__("address", "thread", "undefined")))

void mock_sleep(long ns);

/**
 * struct mock_stats - what stops have seen
 * @stops: made
 * @postponed: given up because a thread did not come
 * @inside: parked threads that were inside a counted section: must be 0
 */
struct mock_stats {
	uint64_t stops, postponed, inside;
};

extern struct mock_stats mock;
extern int mock_refuse;		/* next ATTACH fails with this errno */
extern uint32_t mock_create_flags, mock_attach_flags, mock_serve_flags;
extern uint32_t mock_ask;	/* GCARENA_SERVE_REFRESH, COMPARE: what SERVE asks next */
uint32_t mock_attached(struct gca_arena *a);

/* As the module does at a thread's exit. */
void mock_forget_exited(struct gca_arena *a);

/* Stop all threads of @a's, call @during, release.  Return: false: postponed. */
bool mock_stop(struct gca_arena *a, void (*during)(void *arg), void *arg);

#endif /* GCT_MOCK_H */
