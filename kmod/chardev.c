// SPDX-License-Identifier: GPL-2.0-only
/*
 * chardev.c: /dev/gcarena: open, the table of ioctls, poll, read, fdinfo.
 *
 * Takes no lock.  It checks what holds for every call (word size, argument size,
 * owner, liveness) and copies the structure in and out; what a call means is
 * elsewhere.  It may not look into an arena.
 *
 * A caller that is not 64-bit gets -ENOTTY: words are 8 bytes, there is nothing
 * to translate.
 */
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "glue.h"

/* --------------------------------------------------------------------- ioctls */

typedef int (*gca_handler)(struct gca_shell *s, struct gca_call *c);

/* Smallest argument: size and flags. */
#define GCA_ARG_MIN	8

static int gca_call_in(struct gca_call *c, struct file *file, unsigned long arg, size_t ksize)
{
	int ret;

	c->file = file;
	c->uarg = (void __user *)arg;
	c->ksize = ksize;
	c->copied = false;
	if (get_user(c->usize, (u32 __user *)c->uarg))
		return -EFAULT;
	if (c->usize < GCA_ARG_MIN)
		return -EINVAL;
	if (c->usize > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(&c->u, ksize, c->uarg, c->usize);
	c->u.size = c->usize;		/* it may have changed meanwhile */
	return ret;
}

/*
 * gca_call_out() - copy the reply to the caller
 *
 * The dispatcher does it at the end of every call; a handler whose success must
 * not become visible when this fails calls it first.
 */
int gca_call_out(struct gca_call *c)
{
	if (c->copied)
		return 0;
	if (copy_to_user(c->uarg, &c->u, min(c->usize, c->ksize)))
		return -EFAULT;
	c->copied = true;
	return 0;
}

/* A call on a live arena of the caller's. */
static int gca_call(struct file *file, unsigned long arg, size_t ksize, gca_handler fn)
{
	struct gca_shell *s = file->private_data;
	struct gca_call c;
	int ret;

	ret = gca_shell_get(s);
	if (ret)
		return ret;
	gca_inside_enter(s->process);
	ret = gca_call_in(&c, file, arg, ksize);
	if (!ret)
		ret = fn(s, &c);
	if (!ret)
		ret = gca_call_out(&c);
	gca_crew_look(s->process);
	gca_inside_leave(s->process);
	gca_shell_put(s);
	return ret;
}

/* A call that takes no reference, or its own: INFO, DESTROY. */
static int gca_call_any(struct file *file, unsigned long arg, size_t ksize, gca_handler fn)
{
	struct gca_shell *s = file->private_data;
	struct gca_call c;
	int ret;

	ret = gca_call_in(&c, file, arg, ksize);
	if (!ret)
		ret = fn(s, &c);
	if (!ret)
		ret = gca_call_out(&c);
	return ret;
}

static int gca_call_create(struct file *file, unsigned long arg)
{
	struct gca_call c;
	int ret;

	ret = gca_call_in(&c, file, arg, sizeof(struct gcarena_create));
	return ret ?: gca_ioc_create(file->private_data, &c);
}

static long gca_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	if (in_compat_syscall())
		return -ENOTTY;
	/* Each call may fault: let lockdep learn it on the first one. */
	might_lock(&current->mm->mmap_lock);

	switch (cmd) {
	case GCARENA_IOC_INFO:
		return gca_call_any(file, arg, sizeof(struct gcarena_info), gca_ioc_info);
	case GCARENA_IOC_CREATE:
		return gca_call_create(file, arg);
	case GCARENA_IOC_ATTACH:
		return gca_call(file, arg, sizeof(struct gcarena_attach), gca_ioc_attach);
	case GCARENA_IOC_DETACH:
		return gca_call(file, arg, sizeof(struct gcarena_detach), gca_ioc_detach);
	case GCARENA_IOC_REFILL:
		return gca_call(file, arg, sizeof(struct gcarena_refill), gca_ioc_refill);
	case GCARENA_IOC_LARGE:
		return gca_call(file, arg, sizeof(struct gcarena_large), gca_ioc_large);
	case GCARENA_IOC_SETTLE:
		return gca_call(file, arg, sizeof(struct gcarena_settle), gca_ioc_settle);
	case GCARENA_IOC_LAYOUT:
		return gca_call(file, arg, sizeof(struct gcarena_layout), gca_ioc_layout);
	case GCARENA_IOC_ROOTS:
		return gca_call(file, arg, sizeof(struct gcarena_roots), gca_ioc_roots);
	case GCARENA_IOC_COLLECT:
		return gca_call(file, arg, sizeof(struct gcarena_collect), gca_ioc_collect);
	case GCARENA_IOC_CONFIG:
		return gca_call(file, arg, sizeof(struct gcarena_config), gca_ioc_config);
	case GCARENA_IOC_STATS:
		return gca_call(file, arg, sizeof(struct gcarena_stats), gca_ioc_stats);
	case GCARENA_IOC_SERVE:
		return gca_call(file, arg, sizeof(struct gcarena_serve), gca_ioc_serve);
	case GCARENA_IOC_DESTROY:
		return gca_call_any(file, arg, sizeof(struct gcarena_destroy), gca_ioc_destroy);
	default:
		return -ENOTTY;
	}
}

/* ------------------------------------------------------------ poll, read, fdinfo */

/* Is the caller the owner?  An arena that does not exist yet is anybody's. */
static bool gca_is_owner(struct gca_shell *s)
{
	return gca_shell_state(s) < GCA_STATE_LIVE || s->mm == current->mm;
}

/* EPOLLIN: SERVE has work; EPOLLHUP: dead; EPOLLERR: not the owner. */
static __poll_t gca_poll(struct file *file, poll_table *wait)
{
	struct gca_shell *s = file->private_data;
	__poll_t mask = 0;

	if (!gca_is_owner(s))
		return EPOLLERR;
	poll_wait(file, &s->pager_wq, wait);
	if (gca_shell_dying(s))
		return EPOLLHUP;
	if (gca_shell_tryget(s)) {
		if (gca_serve_pending(s))
			mask = EPOLLIN | EPOLLRDNORM;
		gca_shell_put(s);
	}
	return mask;
}

/* Events: there are none in this release, so it waits for death. */
static ssize_t gca_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct gca_shell *s = file->private_data;

	if (gca_shell_state(s) < GCA_STATE_LIVE)
		return -ENXIO;
	if (s->mm != current->mm)
		return -EPERM;
	if (gca_shell_dying(s))
		return -ESRCH;
	if (file->f_flags & O_NONBLOCK)
		return -EAGAIN;
	if (wait_event_interruptible(s->pager_wq, gca_shell_dying(s)))
		return -ERESTARTSYS;
	return -ESRCH;
}

static void gca_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct gca_shell *s = file->private_data;
	struct gcarena_stats st;

	if (gca_shell_state(s) < GCA_STATE_LIVE)
		return;
	seq_printf(m, "gcarena-id:\t%016llx\n", s->id);
	if (gca_shell_tryget(s)) {
		gca_stats_take(s, &st);
		seq_printf(m, "gcarena-phase:\t%u\n", READ_ONCE(s->a->phase));
		gca_shell_put(s);
	} else {
		seq_puts(m, "gcarena-phase:\tdead\n");
	}
	gca_stats_fdinfo(s->stats, m);
}

/* ----------------------------------------------------------------------- device */

static int gca_open(struct inode *inode, struct file *file)
{
	struct gca_shell *s = gca_shell_new();

	if (!s)
		return -ENOMEM;
	file->private_data = s;
	return nonseekable_open(inode, file);
}

static int gca_release(struct inode *inode, struct file *file)
{
	gca_shell_release(file->private_data);
	return 0;
}

static const struct file_operations gca_fops = {
	.owner = THIS_MODULE,
	.open = gca_open,
	.release = gca_release,
	.unlocked_ioctl = gca_ioctl,
	.mmap = gca_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.poll = gca_poll,
	.read = gca_read,
	.show_fdinfo = gca_show_fdinfo,
};

static struct miscdevice gca_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "gcarena",
	.fops = &gca_fops,
	.mode = 0660,
};

int __init gca_chardev_init(void)
{
	return misc_register(&gca_misc);
}

void gca_chardev_exit(void)
{
	misc_deregister(&gca_misc);
}
