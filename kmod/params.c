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
GCA_UINT_PARAM(attach_rate, gca_attach_rate, 8, 1, 1000000,
	       "Such threads made and attached to cgroups a second, for all processes together; without, the thread that asks for a cycle marks (default 8)");
GCA_UINT_PARAM(debug, gca_debug, 0, 0, GCARENA_DEBUG_ALL,
	       "Debug switches of new arenas: 1 checkmark, 2 buffers run out, 4 reads miss, 8 the world stops for marking (default 0)");

/* What workers do beyond the share that is theirs.  For cycles yet to begin. */
static const char *const gca_idle_name[] = {
	[GCA_IDLE_OFF] = "off",
	[GCA_IDLE_PLAIN] = "plain",
	[GCA_IDLE_HOOK] = "hook",
	NULL
};

unsigned int gca_idle = GCA_IDLE_HOOK;

static int gca_set_idle(const char *val, const struct kernel_param *kp)
{
	int i = __sysfs_match_string(gca_idle_name, -1, val);

	if (i < 0)
		return i;
	WRITE_ONCE(*(unsigned int *)kp->arg, i);
	return 0;
}

static int gca_get_idle(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", gca_idle_name[READ_ONCE(*(unsigned int *)kp->arg)]);
}

static const struct kernel_param_ops gca_ops_idle = {
	.set = gca_set_idle,
	.get = gca_get_idle,
};
module_param_cb(idle, &gca_ops_idle, &gca_idle, 0644);
MODULE_PARM_DESC(idle, "Marking on idle processors: off, hook (workers are woken by processors that go idle) or plain (they wait in the run queue, SCHED_IDLE) (default hook)");

/* Which engine holds threads: by enum gcarena_engine.  For processes yet to attach. */
static const char *const gca_stop_name[] = {
	[GCARENA_ENGINE_NONE] = "auto",
	[GCARENA_ENGINE_SIGNAL] = "signal",
	[GCARENA_ENGINE_TASKWORK] = "taskwork",
	NULL
};

unsigned int gca_stop;

static int gca_set_stop(const char *val, const struct kernel_param *kp)
{
	int i = __sysfs_match_string(gca_stop_name, -1, val);

	if (i < 0)
		return i;
	if (i == GCARENA_ENGINE_TASKWORK && !GCA_F_TASKWORK)
		return -EOPNOTSUPP;
	*(unsigned int *)kp->arg = i;
	return 0;
}

static int gca_get_stop(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", gca_stop_name[*(unsigned int *)kp->arg]);
}

static const struct kernel_param_ops gca_ops_stop = {
	.set = gca_set_stop,
	.get = gca_get_stop,
};
module_param_cb(stop, &gca_ops_stop, &gca_stop, 0644);
MODULE_PARM_DESC(stop, "Stop engine of processes that attach from now on: auto, signal or taskwork (default auto)");
