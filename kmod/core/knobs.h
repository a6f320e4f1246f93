/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * knobs.h: the table of what can be set at run time: by ioctl, by the library's calls and
 * environment, and in /sys.
 *
 * Knows no arena, so that the library, which has another of that name, can use it.
 */
#ifndef GCA_KNOBS_H
#define GCA_KNOBS_H

#include "port.h"
#include <linux/gcarena.h>

/* In the order of struct gcarena_knobs, and of the bits of gcarena_config.mask. */
enum gca_knob_id {
	GCA_KNOB_PERCENT,
	GCA_KNOB_HEAP_MIN,
	GCA_KNOB_DEBUG,
	GCA_KNOB_MEMLIMIT,
	GCA_KNOB_PERIOD_MS,
	GCA_KNOB_CPU_PERCENT,
	GCA_KNOB_CPUS_MILLI,
	GCA_KNOB_ASSIST_US,
	GCA_NR_KNOBS
};

/**
 * struct gca_knob - one of them
 * @name: in lower case; the environment's is GCARENA_ and this in upper case
 * @unit: for messages
 * @lo: least value
 * @hi: largest
 * @initial: of a new arena
 * @has_off: @off is also called "off"
 * @off: that value
 * @offset: in struct gcarena_knobs
 */
struct gca_knob {
	const char *name, *unit;
	u64 lo, hi, initial;
	bool has_off;
	u64 off;
	u32 offset;
};

extern const struct gca_knob gca_knob[GCA_NR_KNOBS];

static inline u64 *gca_knob_value(struct gcarena_knobs *k, unsigned int i)
{
	return (u64 *)((char *)k + gca_knob[i].offset);
}

bool gca_knob_fits(unsigned int i, u64 value);

#endif /* GCA_KNOBS_H */
