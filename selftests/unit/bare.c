// SPDX-License-Identifier: MIT
/*
 * bare.c: the port of a core that is tested or measured by itself.
 *
 * There are no attached threads behind the mutators and none that work but the caller:
 * a stop succeeds at once, a stack is empty.  Memory and time are the process backend's,
 * userlib/process/port.c.  Weak: a test that needs another world replaces a function.
 */
#include <sched.h>
#include <time.h>

#include "core.h"

#define WEAK	__attribute__((__weak__))

WEAK bool gca_port_relax(struct gca_arena *a)
{
	return false;
}

WEAK int gca_port_gate_wait(struct gca_arena *a)
{
	while (READ_ONCE(a->gate_closed))
		sched_yield();
	return 0;
}

WEAK void gca_port_gate_wake(struct gca_arena *a)
{
}

WEAK void gca_port_quiesce(struct gca_arena *a)
{
	while (atomic_read_acquire(&a->ops))
		sched_yield();
}

WEAK int gca_port_stop(struct gca_arena *a, u64 deadline)
{
	return 0;
}

WEAK void gca_port_start(struct gca_arena *a)
{
}

WEAK int gca_port_backoff(struct gca_arena *a, u64 ns)
{
	struct timespec t = { (time_t)(ns / 1000000000ULL), (long)(ns % 1000000000ULL) };

	nanosleep(&t, NULL);
	return 0;
}

WEAK void gca_port_alone(struct gca_arena *a, bool begins)
{
}

WEAK int gca_port_stack(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s)
{
	return 0;
}

WEAK int gca_port_stack_self(struct gca_arena *a, struct gca_mutator *m, struct gca_stack *s)
{
	return gca_port_stack(a, m, s);
}

WEAK bool gca_port_stack_same(struct gca_arena *a, struct gca_mutator *m)
{
	return true;
}

WEAK void gca_port_mutator_get(struct gca_arena *a, struct gca_mutator *m)
{
}

WEAK void gca_port_mutator_put(struct gca_arena *a, struct gca_mutator *m)
{
}

WEAK bool gca_port_kick(struct gca_arena *a)
{
	return true;
}

WEAK void gca_port_return(struct gca_arena *a, u64 due)
{
}

WEAK void gca_port_hurry(struct gca_arena *a)
{
}

WEAK void gca_port_work(struct gca_arena *a)
{
}

WEAK void gca_port_idle(struct gca_arena *a)
{
}

WEAK void gca_port_run_workers(struct gca_arena *a, u64 until)
{
	while (!gca_work_idle(a) && !READ_ONCE(a->void_reason) && gca_port_now() <= until)
		gca_work_slice(a, GCA_MARK_DEDICATED, 1000000);
}

WEAK int gca_port_crew_get(struct gca_arena *a)
{
	return 0;
}

WEAK void gca_port_crew_put(struct gca_arena *a)
{
}

WEAK void gca_port_crew_ready(struct gca_arena *a)
{
}

WEAK int gca_port_step_begin(struct gca_arena *a)
{
	return 0;
}

WEAK void gca_port_step_end(struct gca_arena *a)
{
}

WEAK bool gca_port_looks(struct gca_arena *a)
{
	return false;
}

WEAK int gca_port_look(struct gca_arena *a, u32 what)
{
	return 0;
}

WEAK void gca_port_missed(struct gca_arena *a)
{
}

WEAK bool gca_port_pager_scans(struct gca_arena *a)
{
	return false;
}

WEAK void gca_port_trace(struct gca_arena *a, enum gca_trace what, u64 x, u64 y)
{
}
