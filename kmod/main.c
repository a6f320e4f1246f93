// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c: the module comes and goes.
 *
 * Loading has no side effect before the first arena: a device node, an empty
 * directory in /sys, a workqueue; no thread, no probe.  Takes no lock.  It may
 * not know what an arena is.
 *
 * Teardown order, which is the order of gca_exit():
 *
 *  1. The device goes.  A file pins the module, so there is none, and there will
 *     be none: every shell has been released.  Deaths may be under way, or about to
 *     begin as a coordinator lets go: they are waited for, and with the last process its
 *     threads have gone.  Then the probe, if it is there
 *     yet, its grace period and its irq_works (idle.c).
 *  2. The workqueue: empty by (1).
 *  3. Statistics: a kobject can be kept by a reader of /sys for a moment, and with
 *     CONFIG_DEBUG_KOBJECT_RELEASE for seconds.  Wait until none is left.
 *  4. rcu_barrier(): callbacks of ours have run.
 *  5. synchronize_rcu_tasks(): whoever was preempted in the last instructions of
 *     a function of ours has left it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>

#include "glue.h"

struct workqueue_struct *gca_wq;

static int __init gca_init(void)
{
	int ret;

	gca_regs_init();
	gca_wq = alloc_workqueue("gcarena", WQ_UNBOUND, 0);
	if (!gca_wq)
		return -ENOMEM;
	ret = gca_stats_init();
	if (ret)
		goto err_wq;
	ret = gca_chardev_init();
	if (ret)
		goto err_stats;
	return 0;

err_stats:
	gca_stats_exit();
err_wq:
	destroy_workqueue(gca_wq);
	return ret;
}

static void __exit gca_exit(void)
{
	gca_chardev_exit();
	gca_shells_end();
	gca_idle_exit();
	destroy_workqueue(gca_wq);
	gca_stats_exit();
	rcu_barrier();
	synchronize_rcu_tasks();
}

module_init(gca_init);
module_exit(gca_exit);

MODULE_DESCRIPTION("Garbage-collected heaps for processes");
MODULE_AUTHOR("gcarena maintainers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1");
