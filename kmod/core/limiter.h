/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * limiter.h: how much of the processors' time collecting may take, over some seconds.
 *
 * Arithmetic only: no arena, no clock, no lock; pace.c feeds it, and a test may.
 */
#ifndef GCA_LIMITER_H
#define GCA_LIMITER_H

#include "port.h"

#define GCA_LIMITER_EVERY	10000000ULL	/* ns between updates */

/**
 * struct gca_limiter - a leaky bucket of processor time
 * @capacity: ns: a second of each processor
 * @fill: what collecting has had beyond its share
 * @overflow: what did not fit in
 * @last: time of the last update
 * @times: how often it began to limit
 * @limiting: the bucket is full: threads need not pay for what they allocate
 */
struct gca_limiter {
	u64 capacity, fill, overflow, last, times;
	bool limiting;
};

void gca_limiter_resize(struct gca_limiter *l, u64 cpus_milli);
bool gca_limiter_due(struct gca_limiter *l, u64 now);
void gca_limiter_update(struct gca_limiter *l, u64 gc, u64 program, u32 percent);
void gca_limiter_charge(struct gca_limiter *l, u64 ns);

#endif /* GCA_LIMITER_H */
