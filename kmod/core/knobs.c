// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * knobs.c: the one table of knobs, and how an arena's are set.
 *
 * A value out of range is refused, and with it all that came together with it.  What a knob
 * does is told in struct gcarena_knobs; who reads one while it may be written, reads it once.
 */
#include "cycle.h"
#include "knobs.h"

#define KNOB(field, what, least, most, first, ...)			\
	{								\
		.name = #field,						\
		.unit = what,						\
		.lo = least,						\
		.hi = most,						\
		.initial = first,					\
		.offset = offsetof(struct gcarena_knobs, field),	\
		__VA_ARGS__						\
	}
#define OFF(value)	.has_off = true, .off = value

const struct gca_knob gca_knob[GCA_NR_KNOBS] = {
	[GCA_KNOB_PERCENT] = KNOB(percent, "percent", 0, 100000, GCA_PERCENT, OFF(0)),
	[GCA_KNOB_HEAP_MIN] = KNOB(heap_min, "bytes", 0, GCARENA_RESERVE_MAX, GCA_HEAP_MIN),
	[GCA_KNOB_DEBUG] = KNOB(debug, "switches", 0, GCARENA_DEBUG_ALL, 0),
	[GCA_KNOB_MEMLIMIT] = KNOB(memlimit, "bytes", 0, GCARENA_RESERVE_MAX, 0, OFF(0)),
	[GCA_KNOB_PERIOD_MS] = KNOB(period_ms, "ms", 0, 86400000, 120000, OFF(0)),
	[GCA_KNOB_CPU_PERCENT] = KNOB(cpu_percent, "percent", 1, 100, 50, OFF(100)),
	[GCA_KNOB_CPUS_MILLI] = KNOB(cpus_milli, "thousandths", 0, 65536000, 0, OFF(0)),
	[GCA_KNOB_ASSIST_US] = KNOB(assist_us, "us", 10, 1000000, 100),
};

/** gca_knob_fits() - is @value in the range of knob @i? */
bool gca_knob_fits(unsigned int i, u64 value)
{
	const struct gca_knob *k = &gca_knob[i];

	return value >= k->lo && value <= k->hi && (i != GCA_KNOB_DEBUG || !(value & ~k->hi));
}

/* gca_knobs_init() - as a new arena has them */
void gca_knobs_init(struct gca_arena *a, u32 debug)
{
	unsigned int i;

	for (i = 0; i < GCA_NR_KNOBS; i++)
		*gca_knob_value(&a->knob, i) = gca_knob[i].initial;
	a->knob.debug = debug;
}

/**
 * gca_config_check() - may this be set?  And fill in the rest, as it is
 * @a: arena
 * @c: the port's own copy
 *
 * Return: 0 or -EINVAL.
 */
int gca_config_check(struct gca_arena *a, struct gcarena_config *c)
{
	unsigned int i;

	if (c->flags || c->mask & ~GCARENA_CONFIG_ALL)
		return -EINVAL;
	for (i = 0; i < GCA_NR_KNOBS; i++) {
		u64 *value = gca_knob_value(&c->knob, i);

		if (!(c->mask >> i & 1))
			*value = READ_ONCE(*gca_knob_value(&a->knob, i));
		else if (!gca_knob_fits(i, *value))
			return -EINVAL;
	}
	return 0;
}

/**
 * gca_config_set() - set what gca_config_check() has checked
 * @a: arena
 * @c: what that has made of it
 *
 * Not within a step of a cycle.  A cycle under way is one with checkmark, or is not, to its end.
 */
void gca_config_set(struct gca_arena *a, const struct gcarena_config *c)
{
	struct gcarena_config copy = *c;
	unsigned int i;

	if (!c->mask)
		return;
	for (i = 0; i < GCA_NR_KNOBS; i++)
		if (c->mask >> i & 1)
			WRITE_ONCE(*gca_knob_value(&a->knob, i), *gca_knob_value(&copy.knob, i));
	gca_pace(a);
}
