/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * trace.h: tracepoints, one for each enum gca_trace of core/port.h.
 *
 * Each has the arena's opaque id and two numbers, but the one that tells how a cycle was paced.
 * No pointer is ever printed.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM gcarena

#if !defined(GCA_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define GCA_TRACE_H

#include <linux/tracepoint.h>

/* All have one shape; the names of the two numbers differ. */
#undef GCA_EVENT
#define GCA_EVENT(name, x, y)						\
TRACE_EVENT(name,							\
	TP_PROTO(u64 arena, u64 x, u64 y),				\
	TP_ARGS(arena, x, y),						\
	TP_STRUCT__entry(						\
		__field(u64, arena)					\
		__field(u64, x)						\
		__field(u64, y)						\
	),								\
	TP_fast_assign(							\
		__entry->arena = arena;					\
		__entry->x = x;						\
		__entry->y = y;						\
	),								\
	TP_printk("arena=%016llx " #x "=%llu " #y "=%llu",		\
		  __entry->arena, __entry->x, __entry->y)		\
)

GCA_EVENT(gcarena_cycle_start, cycle, heap_live);
GCA_EVENT(gcarena_cycle_end, cycle, marked_bytes);
GCA_EVENT(gcarena_phase, phase, cycle);
GCA_EVENT(gcarena_stop_begin, cycle, threads);
GCA_EVENT(gcarena_stop_end, cycle, ns);
GCA_EVENT(gcarena_slice, objects, bytes);
GCA_EVENT(gcarena_miss, objects, leaves);
GCA_EVENT(gcarena_overflow, page, spans);
GCA_EVENT(gcarena_sweep_done, cycle, freed_bytes);
GCA_EVENT(gcarena_void, cycle, reason);
GCA_EVENT(gcarena_refill, span_class, spans);
GCA_EVENT(gcarena_large, bytes, offset);
GCA_EVENT(gcarena_grow, chunk, metadata_bytes);
GCA_EVENT(gcarena_death, cycles, live);

/* Times and work are of this cycle; those of workers and assists are sums since the beginning. */
#undef GCA_PACE
#undef GCA_PACE_FIELD
#undef GCA_PACE_ASSIGN
#undef GCA_PACE_FORMAT
#undef GCA_PACE_VALUE
#define GCA_PACE(f)							\
	f(cycles) f(begin_stop_ns) f(marking_ns) f(end_stop_ns)		\
	f(assist_ns) f(worker_ns) f(idle_ns)				\
	f(begun_live) f(ended_live) f(live) f(ended_goal)		\
	f(goal) f(trigger)						\
	f(work_heap) f(work_stack) f(work_roots)
#define GCA_PACE_FIELD(x)	__field(u64, x)
#define GCA_PACE_ASSIGN(x)	__entry->x = s->x,
#define GCA_PACE_FORMAT(x)	" " #x "=%llu"
#define GCA_PACE_VALUE(x)	__entry->x,
TRACE_EVENT(gcarena_pace,
	    TP_PROTO(u64 arena, const struct gcarena_stats *s),
	    TP_ARGS(arena, s),
	    TP_STRUCT__entry(__field(u64, arena)
			     GCA_PACE(GCA_PACE_FIELD)
			     __field(u64, cons_mark)),
	    TP_fast_assign(__entry->arena = arena,
			   GCA_PACE(GCA_PACE_ASSIGN)
			   __entry->cons_mark = s->cons_mark;),
	    TP_printk("arena=%016llx" GCA_PACE(GCA_PACE_FORMAT) " cons_mark=%llu",
		      __entry->arena, GCA_PACE(GCA_PACE_VALUE) __entry->cons_mark)
);

#endif /* GCA_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
