// SPDX-License-Identifier: MIT
/*
 * collect.c: asking for a cycle, and the line that says how it went.
 *
 * The thread that asks refreshes the list of plain roots first and reads a byte
 * of each of their pages: inside the stop nobody may fault.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* Cycles a call makes because libraries were loaded between the look and the stop. */
#define GCL_COLLECT_TRIES	3

static const char *const void_reason[GCARENA_NR_VOID_REASONS] = {
	[GCARENA_VOID_NONE]		= "no reason",
	[GCARENA_VOID_RING]		= "a barrier ring was damaged",
	[GCARENA_VOID_UNREADABLE]	= "a page of the heap or of a root cannot be read",
	[GCARENA_VOID_KILLED]		= "the marking thread was interrupted",
	[GCARENA_VOID_AGE]		= "it made no progress within its age limit",
	[GCARENA_VOID_MEMORY]		= "there was no memory for marking",
	[GCARENA_VOID_LIBRARY]		= "a library was loaded as it began",
};

/* A cycle is about to begin: remember what it begins with. */
void gcl_trace_begin(struct gca_arena *a)
{
	struct gcarena_stats now = { .size = sizeof(now) };

	if (!a->tracing || a->be->stats(&a->space, &now))
		return;
	__atomic_store_n(&a->trace_heap, now.heap, __ATOMIC_RELAXED);
	__atomic_store_n(&a->trace_begun, gcl_now(), __ATOMIC_RELAXED);
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static double mb(uint64_t bytes)
{
	return (double)bytes / 1e6;
}

/* As Go prints times: two significant digits below 10 ms, but at most three decimals. */
static const char *brief(char *buf, size_t room, double ms)
{
	int digits = ms >= 10 ? 0 : ms >= 1 ? 1 : ms >= 0.1 ? 2 : 3;

	snprintf(buf, room, "%.*f", digits, ms);
	return buf;
}

/*
 * Go's gctrace line, field by field, and behind it what only we have: which backend, and
 * why a cycle was void.
 *
 * gc 3 @1.234s 2%: 0.051+1.9+0.031 ms clock, 0.10+0.2/1.7/0.4+0.062 ms cpu, 4->5->2 MB, 5 MB
 * goal, 0 MB stacks, 0 MB globals, 2 P (forced)
 */
static void tell_cycle(struct gca_arena *a, const struct gcarena_stats *now)
{
	const struct gcarena_stats *old = &a->trace;
	double cpus = (double)now->cpus_milli / 1000, elapsed = (double)(gcl_now() - a->opened);
	uint64_t workers = now->worker_ns - now->idle_ns, before = old->worker_ns - old->idle_ns;
	double spent = (double)now->marking_cpu_ns + cpus * (double)now->stop_ns_total;
	bool voided = now->voided != old->voided;
	char b[8][32];

	gcl_say("gc %llu @%.3fs %d%%: %s+%s+%s ms clock, %s+%s/%s/%s+%s ms cpu, %llu->%llu->%llu MB, %llu MB goal, %llu MB stacks, %llu MB globals, %.4g P%s%s%s, %s",
		(unsigned long long)now->cycles, elapsed / 1e9,
		(int)(100 * spent / (elapsed * cpus + 1)),
		brief(b[0], sizeof(b[0]), ms(now->begin_stop_ns)),
		brief(b[1], sizeof(b[1]), ms(now->marking_ns)),
		brief(b[2], sizeof(b[2]), ms(now->end_stop_ns)),
		brief(b[3], sizeof(b[3]), cpus * ms(now->begin_stop_ns)),
		brief(b[4], sizeof(b[4]), ms(now->assist_ns - old->assist_ns)),
		brief(b[5], sizeof(b[5]), ms(workers - before)),
		brief(b[6], sizeof(b[6]), ms(now->idle_ns - old->idle_ns)),
		brief(b[7], sizeof(b[7]), cpus * ms(now->end_stop_ns)),
		(unsigned long long)now->begun_live >> 20, (unsigned long long)now->ended_live >> 20,
		(unsigned long long)now->live >> 20, (unsigned long long)now->ended_goal >> 20,
		(unsigned long long)now->work_stack >> 20, (unsigned long long)now->work_roots >> 20,
		cpus, now->forced != old->forced ? " (forced)" : "", voided ? ", VOID: " : "",
		voided && now->last_void < GCARENA_NR_VOID_REASONS ?
			void_reason[now->last_void] : "", a->be->name);
}

/* What Go has no fields for: the heap itself, sweeping, stops, threads. */
static void tell_more(struct gca_arena *a, const struct gcarena_stats *now)
{
	const struct gcarena_stats *old = &a->trace;
	uint64_t begun = __atomic_load_n(&a->trace_begun, __ATOMIC_RELAXED);

	gcl_say("gcarena %llu heap: %.1f->%.1f MB in spans, %llu objects marked, %.3f ms swept, %.3f ms in all, %.2f MB metadata, %s: %llu stops p50 %.3f p99 %.3f ms, hold %.3f ms at most, %llu postponed, %llu threads, %llu workers, limited %llu times",
		(unsigned long long)now->cycles,
		mb(__atomic_load_n(&a->trace_heap, __ATOMIC_RELAXED)), mb(now->heap),
		(unsigned long long)(now->marked_objects - old->marked_objects),
		ms(now->sweep_ns - old->sweep_ns), begun ? ms(gcl_now() - begun) : 0.0,
		mb(now->metadata), gcl_engine_name(a), (unsigned long long)now->stops,
		ms(now->stop_ns_p50), ms(now->stop_ns_p99), ms(now->hold_ns_max),
		(unsigned long long)now->postponed, (unsigned long long)now->threads,
		(unsigned long long)now->workers, (unsigned long long)now->limited);
}

/*
 * How the cycle was paced, after Go's gcpacertrace: where it began and ended, what it should
 * have ended at, what it scanned of objects, stacks and root ranges, what the pacer expects
 * a scanned byte to cost, and when the next one begins.
 */
static void tell_pace(const struct gcarena_stats *now, const struct gcarena_stats *old)
{
	gcl_say("gcarena %llu pacer: %.1f->%.1f MB for a goal of %.1f MB (%+.1f), work %.1f+%.1f+%.1f MB, cons/mark %.3f, next from %.1f MB, %llu assists, held up %.3f ms, p99 %.3f ms",
		(unsigned long long)now->cycles, mb(now->begun_live), mb(now->ended_live),
		mb(now->ended_goal), mb(now->ended_live) - mb(now->ended_goal),
		mb(now->work_heap), mb(now->work_stack), mb(now->work_roots),
		(double)now->cons_mark / 4294967296.0, mb(now->trigger),
		(unsigned long long)(now->assists - old->assists),
		ms(now->assist_hold_ns_total - old->assist_hold_ns_total),
		ms(now->assist_hold_ns_p99));
}

/*
 * If cycles have ended since the last look, say so: one line, whoever looks.  Called
 * by threads that asked for a cycle and by the pager, also one that may take no
 * lock: who finds another one looking leaves it to that.
 */
void gcl_trace_end(struct gca_arena *a)
{
	struct gcarena_stats now = { .size = sizeof(now) };

	if (!a->tracing || __atomic_exchange_n(&a->trace_busy, 1, __ATOMIC_ACQUIRE))
		return;
	if (!a->be->stats(&a->space, &now) && now.cycles != a->trace.cycles) {
		tell_cycle(a, &now);
		if (a->tracing > 1) {
			tell_pace(&now, &a->trace);
			tell_more(a, &now);
		}
		a->trace = now;
	}
	__atomic_store_n(&a->trace_busy, 0, __ATOMIC_RELEASE);
}

/* What the program calls a thread, " (name)", or "". */
static const char *name_of(char *buf, size_t room, uint32_t tid)
{
	char path[64], comm[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%u/comm", tid);
	n = gcl_slurp(path, comm, sizeof(comm));
	buf[0] = 0;
	if (n > 1)
		snprintf(buf, room, " (%.*s)", (int)n - 1, comm);
	return buf;
}

/*
 * GCARENA_WANT_TELL: no stop has held all threads for a while, so no cycle begins, or ends.  The
 * program gets on, slowly, and its heap grows: who wonders why is to read it, once.
 */
void gcl_tell_postponed(struct gca_arena *a)
{
	struct gcarena_stats now = { .size = sizeof(now) };
	int cancel, saved = errno;
	char name[40], signal[40] = "";

	/* An allocation is no cancellation point. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	/* It may be over by now. */
	if (a->be->stats(&a->space, &now) || !now.postponed_ns || !now.blame)
		goto out;
	if (__atomic_exchange_n(&a->told_postponed, 1, __ATOMIC_RELAXED) && !a->tracing)
		goto out;
	if (a->stop_signal)
		snprintf(signal, sizeof(signal), "does it block signal %d for long, ",
			 a->stop_signal);
	gcl_say("gcarena: for %.1f s thread %u%s could not be stopped, so nothing is collected, and the heap grows (%llu MB): %sis it stopped or traced, or has the program replaced the handler?",
		(double)now.postponed_ns / 1e9, (uint32_t)now.blame,
		name_of(name, sizeof(name), (uint32_t)now.blame),
		(unsigned long long)now.heap >> 20, signal);
out:
	pthread_setcancelstate(cancel, NULL);
	errno = saved;
}

/* Another thread's name for people: its number, or "". */
static const char *blame(char *buf, size_t room, uint32_t tid)
{
	buf[0] = 0;
	if (tid)
		snprintf(buf, room, "; the last thread that could not be stopped in time was %u", tid);
	return buf;
}

/*
 * Not by the pager's look alone: it may not have come to its first yet, and a
 * second one costs nothing beside a cycle that a program asks for.
 */
static int collect_once(struct gca_arena *a, uint32_t flags, bool paced, uint64_t *adds)
{
	struct gcarena_collect req = { .size = sizeof(req), .flags = flags };
	char who[80];
	int err;

	if (gcl_roots_refresh(a, adds))
		return -1;
	gcl_trace_begin(a);
	do {
		err = a->be->collect(&a->space, &req, paced);
	} while (err == -EINTR);
	if (err == -EBUSY)
		return gcl_fail(EBUSY, "gca_collect: a thread that is not the caller is attached, and the loaded module collects in the attached thread");
	if (err == -ETIMEDOUT && !req.blame)
		return gcl_fail(ETIMEDOUT, "gca_collect: whoever looks after the roots has not answered in time: does it wait for the loader's lock, or for a page, or has a debugger stopped it?");
	if (err == -ETIMEDOUT)
		return gcl_fail(ETIMEDOUT, "gca_collect: a thread could not be stopped in time: does one block the stop signal, or has the program replaced its handler?%s",
				blame(who, sizeof(who), req.blame));
	if (err == -EAGAIN)
		return gcl_fail(EAGAIN, "gca_collect: roots were added and removed all the time");
	if (err)
		return gcl_fail(-err, "gca_collect: %s", strerror(-err));
	gcl_trace_end(a);
	if (req.result == GCARENA_RESULT_VOID)
		return gcl_fail(ECANCELED, "gca_collect: the cycle was void: %s%s",
				req.void_reason < GCARENA_NR_VOID_REASONS ?
				void_reason[req.void_reason] : "unknown reason",
				blame(who, sizeof(who), req.blame));
	return 0;
}

/*
 * Return: 0, or -1 with errno.
 *
 * A collector that asks its pager whether objects were loaded as marking began makes
 * the cycle anew itself; for one that has not asked we look.
 */
int gcl_collect(struct gca_arena *a, uint32_t flags, bool paced)
{
	uint32_t asked = __atomic_load_n(&a->compared, __ATOMIC_ACQUIRE);
	unsigned int tries;
	uint64_t adds = 0;
	int err = 0;

	if (gcl_dead(a))
		return -1;
	for (tries = 0; !err && tries < GCL_COLLECT_TRIES; tries++) {
		err = collect_once(a, flags, paced, &adds);
		if (err || flags & GCARENA_COLLECT_ASYNC ||
		    __atomic_load_n(&a->compared, __ATOMIC_ACQUIRE) != asked ||
		    !gcl_roots_missed(a, adds))
			break;
		/* Marking goes on: new ranges are scanned when they are added. */
		if (flags & GCARENA_COLLECT_UNTIL_MARKING)
			return gcl_roots_refresh(a, NULL);
	}
	return err;
}

int gca_collect(struct gca_arena *a, unsigned int flags)
{
	const unsigned int known = GCA_COLLECT_ASYNC | GCA_COLLECT_UNTIL_MARKING |
				   GCA_COLLECT_UNTIL_MARKED | GCA_COLLECT_SWEEP_STOPPED |
				   GCA_COLLECT_STOPPED;

	if (flags & ~known)
		return gcl_fail(EINVAL, "gca_collect: flags %#x are not known", flags & ~known);
	if (flags & (flags - 1))
		return gcl_fail(EINVAL, "gca_collect: flags %#x exclude each other", flags);
	return gcl_collect(a, flags, false);
}
