// SPDX-License-Identifier: MIT
/*
 * knobs.c: what can be set at run time: by calls, and by the environment.
 *
 * Which knobs there are, and their ranges, is in the collector's table only: here nothing
 * knows one by name, but for the calls that are named after one.  A value that does not
 * fit is refused with a sentence that says what does.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define NAME_MAX_LEN	40

static bool knob_of(unsigned int i, struct gcl_knob *k)
{
	return gcl_backend_process.knob(i, k);
}

static uint64_t *value_of(struct gcarena_config *c, const struct gcl_knob *k)
{
	return (uint64_t *)((char *)&c->knob + k->offset);
}

static void variable_of(char *buf, const struct gcl_knob *k)
{
	int n = snprintf(buf, NAME_MAX_LEN, "GCARENA_%s", k->name);

	for (int i = 0; i < n; i++)
		buf[i] = (char)toupper((unsigned char)buf[i]);
}

/* As GOMEMLIMIT has them.  Return: what the suffix multiplies by, 0: it is none. */
static uint64_t suffix(const char *s)
{
	static const char *const name[] = { "B", "KiB", "MiB", "GiB", "TiB" };

	if (!*s)
		return 1;
	for (unsigned int i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		if (!strcmp(s, name[i]))
			return 1ULL << 10 * i;
	return 0;
}

/* Return: 0, or -1: that is no value of the knob's. */
static int parse(const char *s, const struct gcl_knob *k, uint64_t *value)
{
	bool bytes = !strcmp(k->unit, "bytes");
	unsigned long long n;
	uint64_t by;
	char *end;

	if (k->has_off && !strcmp(s, "off")) {
		*value = k->off;
		return 0;
	}
	errno = 0;
	n = strtoull(s, &end, 10);
	by = bytes ? suffix(end) : !*end;
	if (end == s || !isdigit((unsigned char)*s) || errno || !by || n > UINT64_MAX / by)
		return -1;
	*value = n * by;
	return *value < k->lo || *value > k->hi ? -1 : 0;
}

static int refuse(const char *who, const char *what, const struct gcl_knob *k)
{
	return gcl_fail(EINVAL, "%s: '%.32s' is not a number of %s from %" PRIu64 " to %" PRIu64 "%s%s",
			who, what, k->unit, k->lo, k->hi,
			strcmp(k->unit, "bytes") ? "" : ", with B, KiB, MiB, GiB or TiB",
			k->has_off ? ", or 'off'" : "");
}

/* Set those that @c has a mask for, and of the others those that the environment has. */
static int config_env(struct gcarena_config *c)
{
	char variable[NAME_MAX_LEN];
	struct gcl_knob k;

	for (unsigned int i = 0; knob_of(i, &k); i++) {
		const char *s;

		/* These are words, see options.c. */
		if (c->mask >> i & 1 || 1ULL << i == GCARENA_CONFIG_DEBUG)
			continue;
		variable_of(variable, &k);
		s = secure_getenv(variable);
		if (!s || !*s)
			continue;
		if (parse(s, &k, value_of(c, &k)))
			return refuse(variable, s, &k);
		c->mask |= 1ULL << i;
	}
	return 0;
}

/* gcl_knobs_open() - as options and environment want them.  Return: 0 or -1 */
int gcl_knobs_open(struct gca_arena *a, const struct gca_options *o)
{
	struct gcarena_config c = { .size = sizeof(c) };
	int err;

	if (o->percent || o->flags & GCA_NO_AUTO_COLLECT) {
		c.knob.percent = o->flags & GCA_NO_AUTO_COLLECT ? 0 : o->percent;
		c.mask |= GCARENA_CONFIG_PERCENT;
	}
	if (o->heap_min) {
		c.knob.heap_min = o->heap_min;
		c.mask |= GCARENA_CONFIG_HEAP_MIN;
	}
	/* Nor does the environment have cycles begin where the program wants none. */
	if (o->memory_limit || o->flags & GCA_NO_AUTO_COLLECT) {
		c.knob.memlimit = o->memory_limit;
		c.mask |= GCARENA_CONFIG_MEMLIMIT;
	}
	if (config_env(&c))
		return -1;
	do {
		err = c.mask ? a->be->config(&a->space, &c) : 0;
	} while (err == -EINTR);
	if (!err)
		return 0;
	return gcl_fail(-err, "gca_open: %s", err == -EINVAL ?
			"percent, heap_min or memory_limit is out of range" : strerror(-err));
}

static int set(struct gca_arena *a, unsigned int i, uint64_t value, const char *who)
{
	struct gcarena_config c = { .size = sizeof(c) };
	struct gcl_knob k;
	char text[24];
	int err;

	if (gcl_dead(a))
		return -1;
	if (!knob_of(i, &k) || 1ULL << i == GCARENA_CONFIG_DEBUG)
		return gcl_fail(EINVAL, "%s: there is no knob %u", who, i);
	c.mask = 1ULL << i;
	*value_of(&c, &k) = value;
	do {
		err = a->be->config(&a->space, &c);
	} while (err == -EINTR);
	if (err == -EINVAL) {
		snprintf(text, sizeof(text), "%" PRIu64, value);
		return refuse(who, text, &k);
	}
	return err ? gcl_fail(-err, "%s: %s", who, strerror(-err)) : 0;
}

int gca_set(struct gca_arena *a, enum gca_knob knob, uint64_t value)
{
	return set(a, knob, value, "gca_set");
}

int gca_get(struct gca_arena *a, enum gca_knob knob, uint64_t *value)
{
	struct gcarena_config c = { .size = sizeof(c) };
	struct gcl_knob k;
	int err;

	if (gcl_dead(a))
		return -1;
	if (!knob_of(knob, &k))
		return gcl_fail(EINVAL, "gca_get: there is no knob %u", (unsigned int)knob);
	do {
		err = a->be->config(&a->space, &c);
	} while (err == -EINTR);
	if (err)
		return gcl_fail(-err, "gca_get: %s", strerror(-err));
	*value = *value_of(&c, &k);
	return 0;
}

int gca_set_percent(struct gca_arena *a, uint64_t percent)
{
	return set(a, GCA_PERCENT, percent, "gca_set_percent");
}

int gca_set_memory_limit(struct gca_arena *a, uint64_t bytes)
{
	return set(a, GCA_MEMORY_LIMIT, bytes, "gca_set_memory_limit");
}
