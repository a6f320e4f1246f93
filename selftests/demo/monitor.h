/* SPDX-License-Identifier: MIT */
/*
 * monitor.h: watches an arena for a demo program: a line a cycle, and at the
 * end what the collector did.
 */
#ifndef GCA_DEMO_MONITOR_H
#define GCA_DEMO_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

struct gca_arena;

void monitor_start(struct gca_arena *arena, uint64_t lines);
void monitor_poll(void);
bool monitor_summary(uint64_t own_bytes, uint32_t threads);

#endif /* GCA_DEMO_MONITOR_H */
