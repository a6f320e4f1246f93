// SPDX-License-Identifier: GPL-2.0-only
/*
 * One planted bug a load, named by the parameter bug=, to prove that the
 * detectors of the guest kernels are alive and that run hears them. Each is
 * the plainest bug of its kind.
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *bug = "none";
module_param(bug, charp, 0);
MODULE_PARM_DESC(bug, "use-after-free, lock-order, leak, race, race-below, sleep or warn");

static void plant_use_after_free(void)
{
	char *p = kmalloc(64, GFP_KERNEL);

	if (!p)
		return;
	kfree(p);
	/* Volatile, or the compiler drops the read. */
	(void)*(volatile char *)p;
}

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);

static void plant_lock_order(void)
{
	/* Nobody has to wait: lockdep knows from the two orders alone. */
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);

	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
}

/* Several, for a stale copy on a stack may keep one of them reachable. */
static void plant_leak(void)
{
	int i;

	for (i = 0; i < 16; i++)
		if (!kmalloc(512, GFP_KERNEL))
			break;
}

static int shared;

static noinline int racer(void *unused)
{
	while (!kthread_should_stop()) {
		int i;

		for (i = 0; i < 1000; i++)
			shared++;
		cond_resched();
	}
	return 0;
}

static DECLARE_BITMAP(shared_bits, 64);

/* The access is in a function of the kernel's: its report does not have us in the title. */
static noinline int racer_below(void *unused)
{
	while (!kthread_should_stop()) {
		int i;

		for (i = 0; i < 1000; i++)
			__bitmap_set(shared_bits, i % 32, 8);
		cond_resched();
	}
	return 0;
}

static void plant_race(int (*racer)(void *))
{
	struct task_struct *t[2];
	int i;

	for (i = 0; i < 2; i++)
		t[i] = kthread_run(racer, NULL, "canary/%d", i);
	msleep(4000);
	for (i = 0; i < 2; i++)
		if (!IS_ERR(t[i]))
			kthread_stop(t[i]);
}

static DEFINE_SPINLOCK(spin);

static void plant_sleep(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
}

static int __init canary_init(void)
{
	if (!strcmp(bug, "use-after-free"))
		plant_use_after_free();
	else if (!strcmp(bug, "lock-order"))
		plant_lock_order();
	else if (!strcmp(bug, "leak"))
		plant_leak();
	else if (!strcmp(bug, "race"))
		plant_race(racer);
	else if (!strcmp(bug, "race-below"))
		plant_race(racer_below);
	else if (!strcmp(bug, "sleep"))
		plant_sleep();
	else if (!strcmp(bug, "warn"))
		WARN(1, "canary: a planted warning\n");
	else
		return -EINVAL;
	return 0;
}

static void __exit canary_exit(void)
{
}

module_init(canary_init);
module_exit(canary_exit);
MODULE_DESCRIPTION("planted bugs that the test guests must report");
MODULE_LICENSE("GPL");
