// SPDX-License-Identifier: GPL-2.0-only
/*
 * params.c: module parameters, checked when they are set.
 *
 * No lock: each is one word, read with READ_ONCE where it is used.  A changed
 * limit holds for what comes later; nothing that exists is taken away.  It may
 * not have a parameter without a range, or one that an owner could set.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "glue.h"

#define GCA_UINT_PARAM(name, var, value, lo, hi, desc)				\
unsigned int var = value;							\
static int gca_set_##name(const char *val, const struct kernel_param *kp)	\
{										\
	return param_set_uint_minmax(val, kp, lo, hi);				\
}										\
static const struct kernel_param_ops gca_ops_##name = {				\
	.set = gca_set_##name,							\
	.get = param_get_uint,							\
};										\
module_param_cb(name, &gca_ops_##name, &var, 0644);				\
MODULE_PARM_DESC(name, desc)

GCA_UINT_PARAM(level, gca_level, 1, 0, 2,
	       "Who may create arenas: 0 nobody, 1 the device's group and CAP_SYS_RESOURCE, 2 whoever can open the device (default 1)");
GCA_UINT_PARAM(max_arenas, gca_max_arenas, 32, 0, 65536,
	       "Arenas a user may have at a time (default 32)");
GCA_UINT_PARAM(max_reserve_gib, gca_max_reserve_gib, 1024, 0, 65536,
	       "Address space reserved for heaps a user may have, in GiB (default 1024)");
GCA_UINT_PARAM(stop_deadline_us, gca_stop_deadline_us, 2000, 100, 1000000,
	       "Microseconds after which a stop that does not hold every thread is postponed (default 2000)");
GCA_UINT_PARAM(age_limit_ms, gca_age_limit_ms, 120000, 10, 86400000,
	       "Milliseconds after which a cycle that has not ended is void (default 120000)");
GCA_UINT_PARAM(workers, gca_workers, 16, 0, GCA_WORKERS_MAX,
	       "Kernel threads that mark for a process, at most; 0: none, the thread that asks for a cycle marks (default 16)");
GCA_UINT_PARAM(max_workers, gca_max_workers, 256, 0, 65536,
	       "Such threads for all processes together (default 256)");
GCA_UINT_PARAM(max_user_workers, gca_max_user_workers, 64, 0, 65536,
	       "Such threads for all processes of a user together (default 64)");
GCA_UINT_PARAM(attach_rate, gca_attach_rate, 8, 1, 1000000,
	       "Such threads made and attached to cgroups a second, for all processes together; without, the thread that asks for a cycle marks (default 8)");
GCA_UINT_PARAM(debug, gca_debug, 0, 0, GCARENA_DEBUG_ALL,
	       "Debug switches of new arenas: 1 checkmark, 2 buffers run out, 4 reads miss, 8 the world stops for marking (default 0)");

/**
 * struct gca_names - the values of a parameter that has names for them
 * @value: as the code has it
 * @name: of each, NULL behind the last
 */
struct gca_names {
	unsigned int *value;
	const char *const *name;
};

static int gca_set_named(const char *val, const struct kernel_param *kp)
{
	const struct gca_names *n = kp->arg;
	int i = __sysfs_match_string(n->name, -1, val);

	if (i < 0)
		return i;
	if (n->value == &gca_stop && i == GCARENA_ENGINE_TASKWORK && !GCA_F_TASKWORK)
		return -EOPNOTSUPP;
	WRITE_ONCE(*n->value, i);
	return 0;
}

static int gca_get_named(char *buf, const struct kernel_param *kp)
{
	const struct gca_names *n = kp->arg;

	return sysfs_emit(buf, "%s\n", n->name[READ_ONCE(*n->value)]);
}

static const struct kernel_param_ops gca_ops_named = {
	.set = gca_set_named,
	.get = gca_get_named,
};

#define GCA_NAMED_PARAM(param, var, first, desc, ...)				\
unsigned int var = first;							\
static struct gca_names gca_names_##param = {					\
	.value = &var,								\
	.name = (const char *const []){ __VA_ARGS__, NULL },			\
};										\
module_param_cb(param, &gca_ops_named, &gca_names_##param, 0644);		\
MODULE_PARM_DESC(param, desc)

/* What workers do beyond the share that is theirs.  For cycles yet to begin. */
GCA_NAMED_PARAM(idle, gca_idle, GCA_IDLE_HOOK,
		"Marking on idle processors: off, hook (workers are woken by processors that go idle) or plain (they wait in the run queue, SCHED_IDLE) (default hook)",
		[GCA_IDLE_OFF] = "off", [GCA_IDLE_PLAIN] = "plain", [GCA_IDLE_HOOK] = "hook");

/* Which engine holds threads: by enum gcarena_engine.  For processes yet to attach. */
GCA_NAMED_PARAM(stop, gca_stop, GCARENA_ENGINE_NONE,
		"Stop engine of processes that attach from now on: auto, signal or taskwork (default auto)",
		[GCARENA_ENGINE_NONE] = "auto", [GCARENA_ENGINE_SIGNAL] = "signal",
		[GCARENA_ENGINE_TASKWORK] = "taskwork");
