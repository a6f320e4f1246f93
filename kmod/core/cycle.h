/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* cycle.h: what the parts of a cycle tell each other. */
#ifndef GCA_CYCLE_H
#define GCA_CYCLE_H

#include "core.h"

/* roots.c */
void gca_roots_put(struct gca_arena *a, struct gca_roots *r);

/* scan.c */
void gca_scan_words(struct gca_worker *w, const u64 *word, unsigned int n, u32 kind);
int gca_scan_range(struct gca_worker *w, u64 start, u64 len, u32 kind);
int gca_scan_stack(struct gca_worker *w, const struct gca_mutator *m, const struct gca_stack *s);
int gca_scan_thread(struct gca_worker *w, struct gca_mutator *m);
int gca_scan_low(struct gca_worker *w, const struct gcarena_range *r, u64 *lo);

/* rootjobs.c */
int gca_roots_prepare(struct gca_arena *a);
int gca_roots_begin(struct gca_arena *a);
void gca_roots_fini(struct gca_arena *a);
void gca_roots_release(struct gca_arena *a);
bool gca_roots_mark(struct gca_worker *w);
bool gca_roots_there(struct gca_arena *a);
bool gca_roots_left(struct gca_arena *a);
bool gca_roots_thread(struct gca_arena *a, u32 i, struct gca_mutator **m);
void gca_roots_again(struct gca_arena *a);
void gca_roots_open(struct gca_arena *a, bool stacks, bool barriered);
void gca_roots_later(struct gca_arena *a, bool stacks);
bool gca_roots_missed(struct gca_worker *w);

/* mutator.c */
u32 gca_mutator_observe(struct gca_mutator *m, u32 slot);

/** gca_slots_used() - how many slots of @m have a span; none after gca_mutator_fini() */
static inline u32 gca_slots_used(const struct gca_mutator *m)
{
	return m->twin ? m->nr_slots - 1 - m->nr_free : 0;
}

/*
 * gca_slot_next() - the slot behind @i that has a span; 0: there is none
 * @left: of gca_slots_used(), not seen yet
 *
 * Under m->lock, or in a stop.  What is used lies at the front; in a stop the rest of all
 * threads' slots would be looked at in vain.
 */
static inline u32 gca_slot_next(const struct gca_mutator *m, u32 i, u32 *left)
{
	if (!*left)
		return 0;
	while (++i < m->nr_slots)
		if (m->twin[i].span) {
			--*left;
			return i;
		}
	return 0;
}

void gca_mutator_snapshot(struct gca_worker *w, struct gca_mutator *m);
void gca_hand_back(struct gca_mutator *m, u32 slot);

/* cycle.c */
bool gca_told_to_stop(struct gca_arena *a);
bool gca_give_up(struct gca_arena *a);

/* conduct.c */
void gca_workers_do(struct gca_arena *a, enum gca_work work, u64 until);
bool gca_mark_by_workers(struct gca_arena *a, enum gca_work work);
bool gca_mark_by_self(struct gca_worker *w, enum gca_work work);
bool gca_drain_rings(struct gca_worker *w);
bool gca_mark_running(struct gca_arena *a);

/* modes.c */
void gca_modes_begin(struct gca_arena *a);
void gca_modes_end(struct gca_arena *a);

/* stops.c */
int gca_stop_world(struct gca_arena *a, const struct gca_order *o);
bool gca_stop_tell(struct gca_arena *a);
u64 gca_stop_postponed(struct gca_arena *a);
void gca_start_world(struct gca_arena *a);

/* knobs.c */
void gca_knobs_init(struct gca_arena *a, u32 debug);

/* pace.c */
struct gca_meter gca_meter_begin(void);
void gca_meter_end(struct gca_arena *a, const struct gca_meter *from, unsigned int mode,
		   u64 waited);
u64 gca_pace_work(struct gca_arena *a);
void gca_pace_look(struct gca_arena *a);
u64 gca_pace_cpu(struct gca_arena *a);
void gca_pace_stop(struct gca_arena *a, u64 ns, u64 collecting);
void gca_pace_reset(struct gca_arena *a);
void gca_pace_begin(struct gca_arena *a);
void gca_pace_end(struct gca_arena *a, bool learn);
struct gca_price gca_pace_price(struct gca_arena *a);
bool gca_pace_limited(struct gca_arena *a);

/* sweep.c */
void gca_sweep_pace(struct gca_arena *a, u64 live);
u64 gca_sweep_owed(struct gca_arena *a, u64 bytes);
void gca_sweep_pay(struct gca_arena *a, u64 bytes);

/* assist.c */
void gca_assist_charge(struct gca_mutator *m, s64 bytes);
void gca_assist_credit(struct gca_arena *a, u64 work);
void gca_assist_reset(struct gca_arena *a);
void gca_assist_wake(struct gca_arena *a);

/* work.c */
u64 gca_work_some(struct gca_arena *a, unsigned int mode, u64 ns, u64 budget, bool *did);
bool gca_work_left(struct gca_arena *a, int own);

/* ring.c */
bool gca_ring_drain(struct gca_worker *w, struct gca_mutator *m);
void gca_ring_discard(struct gca_mutator *m);
void gca_ring_settle(struct gca_mutator *m);

/* central.c */
void gca_central_put(struct gca_arena *a, struct gca_span *s);
void gca_central_rotate(struct gca_arena *a);
struct gca_span *gca_central_claim(struct gca_arena *a, u32 page);

/* sweep.c */
unsigned int gca_span_sweep(struct gca_arena *a, struct gca_span *s, unsigned int free);
bool gca_sweep_some(struct gca_arena *a, unsigned int spans);
u32 gca_reclaim(struct gca_arena *a, u32 npages);
int gca_sweep_finish(struct gca_arena *a);
void gca_sweep_stopped(struct gca_arena *a);
void gca_marks_clear(struct gca_arena *a);

/* checkmark.c */
int gca_check_prepare(struct gca_arena *a);
void gca_check_run(struct gca_arena *a, bool ran);
void gca_check_fini(struct gca_arena *a);

/* words copied at a time */
#define GCA_BLOCK_WORDS	64

#endif /* GCA_CYCLE_H */
