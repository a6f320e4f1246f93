/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * threads.h: what the tests with many threads share: engines, failures, stacks.
 *
 * Each of them is built twice: with restartable sequences, and with counted
 * sections (GCA_NO_RSEQ, THREADS_COUNTED), which only signals can stop.
 */
#ifndef GCT_THREADS_H
#define GCT_THREADS_H

#include "raw.h"

#include <gcarena.h>

#define MAGIC	0x5eed0ff0dead10ccULL

#ifdef GCA_NO_RSEQ
#define THREADS_COUNTED	1
#define GCT_SUFFIX	"_counted"
#else
#define THREADS_COUNTED	0
#define GCT_SUFFIX	""
#endif

/* An arena whose process stops threads so; the test is skipped if that is rightly refused. */
static inline struct gca_arena *open_engine(enum gca_stop stop, const char *debug, uint32_t flags)
{
	struct gca_options o = { .backend = gct_backend(), .debug = debug, .reserve = 1ULL << 30,
				 .flags = flags, .stop = stop };
	struct gca_arena *a;

	/* Counted sections are stopped by signals or not at all. */
	if (THREADS_COUNTED && stop == GCA_STOP_AUTO)
		gct_want_engine(GCARENA_CREATE_SIGNAL);
	a = gca_open(&o);
	if (!a && errno == EOPNOTSUPP)
		gct_want_engine(stop == GCA_STOP_SIGNAL ? GCARENA_CREATE_SIGNAL :
				stop == GCA_STOP_TASKWORK ? GCARENA_CREATE_TASKWORK : 0);
	if (!a)
		gct_note("# %s", gca_strerror());
	ASSERT_TRUE(a);
	return a;
}

static inline struct gca_mutator *attach(struct gca_arena *a)
{
	struct gca_mutator *m = gca_attach(a);

	if (!m)
		gct_note("# %s", gca_strerror());
	ASSERT_TRUE(m);
	ASSERT_EQ(!m->rseq, THREADS_COUNTED);
	return m;
}

/* A whole cycle, which may not be void. */
static inline void collect(struct gca_arena *a, unsigned int flags)
{
	if (!gca_collect(a, flags))
		return;
	gct_note("# %s", gca_strerror());
	ASSERT_TRUE(false);
}

static inline void report(struct gca_arena *a)
{
	struct gca_stats s;

	ASSERT_EQ(gca_stats(a, &s), 0);
	gct_note("# %s: %" PRIu64 " cycles, %" PRIu64 " stops (%" PRIu64 " postponed), p50 %" PRIu64
		 " us, p99 %" PRIu64 " us, hold at most %" PRIu64 " us, %" PRIu64 " self-scans, %" PRIu64
		 " MB allocated, %" PRIu64 " bytes live", s.engine, s.cycles, s.stops, s.postponed_stops,
		 s.stop_ns_p50 / 1000, s.stop_ns_p99 / 1000, s.hold_ns_max / 1000, s.self_scans,
		 s.allocated_bytes >> 20, s.live_bytes);
	/* The first thread that exits has the C library load another (libgcc_s). */
	if (s.void_cycles)
		EXPECT_EQ(s.last_void_reason, GCARENA_VOID_LIBRARY);
}

/* Each test with each engine that can stop these sections. */
#if THREADS_COUNTED
#define TEST_TASKWORK(name)
#else
#define TEST_TASKWORK(name)	TEST(name##_taskwork) { name(GCA_STOP_TASKWORK); }
#endif
#define TEST_ENGINES(name)						\
static void name(enum gca_stop stop);					\
TEST(name##_signal) { name(GCA_STOP_SIGNAL); }				\
TEST_TASKWORK(name)							\
static void name(enum gca_stop stop)

#endif /* GCT_THREADS_H */
