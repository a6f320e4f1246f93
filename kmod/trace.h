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
TRACE_EVENT(gcarena_pace,
	TP_PROTO(u64 arena, const struct gcarena_stats *s),
	TP_ARGS(arena, s),
	TP_STRUCT__entry(
		__field(u64, arena)
		__field(u64, cycle)
		__field(u64, begin_stop_ns)
		__field(u64, marking_ns)
		__field(u64, end_stop_ns)
		__field(u64, assist_ns)
		__field(u64, worker_ns)
		__field(u64, idle_ns)
		__field(u64, begun_live)
		__field(u64, ended_live)
		__field(u64, live)
		__field(u64, ended_goal)
		__field(u64, goal)
		__field(u64, trigger)
		__field(u64, work_heap)
		__field(u64, work_stack)
		__field(u64, work_roots)
		__field(u64, cons_mark)
	),
	TP_fast_assign(
		__entry->arena = arena;
		__entry->cycle = s->cycles;
		__entry->begin_stop_ns = s->begin_stop_ns;
		__entry->marking_ns = s->marking_ns;
		__entry->end_stop_ns = s->end_stop_ns;
		__entry->assist_ns = s->assist_ns;
		__entry->worker_ns = s->worker_ns;
		__entry->idle_ns = s->idle_ns;
		__entry->begun_live = s->begun_live;
		__entry->ended_live = s->ended_live;
		__entry->live = s->live;
		__entry->ended_goal = s->ended_goal;
		__entry->goal = s->goal;
		__entry->trigger = s->trigger;
		__entry->work_heap = s->work_heap;
		__entry->work_stack = s->work_stack;
		__entry->work_roots = s->work_roots;
		__entry->cons_mark = s->cons_mark;
	),
	TP_printk("arena=%016llx cycle=%llu begin_stop_ns=%llu marking_ns=%llu end_stop_ns=%llu assist_ns=%llu worker_ns=%llu idle_ns=%llu begun_live=%llu ended_live=%llu live=%llu ended_goal=%llu goal=%llu trigger=%llu work_heap=%llu work_stack=%llu work_roots=%llu cons_mark=%llu",
		  __entry->arena, __entry->cycle, __entry->begin_stop_ns, __entry->marking_ns,
		  __entry->end_stop_ns, __entry->assist_ns, __entry->worker_ns, __entry->idle_ns,
		  __entry->begun_live, __entry->ended_live, __entry->live, __entry->ended_goal,
		  __entry->goal, __entry->trigger, __entry->work_heap, __entry->work_stack,
		  __entry->work_roots, __entry->cons_mark)
);

#endif /* GCA_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
