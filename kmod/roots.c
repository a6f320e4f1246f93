// SPDX-License-Identifier: GPL-2.0-only
/*
 * roots.c: what the owner says about its memory: layouts, root ranges, knobs.
 *
 * Arrays are copied in once, bounded, before anything is locked; then checked;
 * then given to the core, under shell->lock (killable).  It may not look at user
 * memory after the check.
 */
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "glue.h"

/*
 * gca_ioc_layout() - GCARENA_IOC_LAYOUT
 *
 * The number is copied out before it means anything: a caller that cannot be told
 * uses none up.
 *
 * Return: 0; -ENOSPC with GCARENA_LAYOUTS_MAX of them, -EINVAL, -ENOMEM, -EFAULT;
 * -EINTR if the caller is being killed.
 */
int gca_ioc_layout(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_layout *arg = &c->u.layout;
	u64 words = arg->elem_size / 8;
	size_t n;
	u64 *bits;
	int ret;

	if (arg->flags || arg->__reserved || !words || arg->elem_size % 8 ||
	    arg->elem_size > GCARENA_LAYOUT_MAX)
		return -EINVAL;
	n = DIV_ROUND_UP(words, 64);
	bits = memdup_user(u64_to_user_ptr(arg->bitmap), n * sizeof(*bits));
	if (IS_ERR(bits))
		return PTR_ERR(bits);
	if (words % 64 && bits[n - 1] >> (words % 64)) {
		ret = -EINVAL;
		goto out;
	}
	ret = mutex_lock_killable(&s->lock);
	if (ret)
		goto out;
	arg->id = s->a->nr_layouts;
	ret = arg->id < GCARENA_LAYOUTS_MAX ? gca_call_out(c) : -ENOSPC;
	if (!ret)
		ret = gca_layout_add(s->a, arg->elem_size, bits, &arg->id);
	mutex_unlock(&s->lock);
out:
	kfree(bits);
	return ret;
}

static struct gcarena_range *gca_ranges_copy(u64 addr, u32 n)
{
	struct gcarena_range *r;
	u32 i;

	if (!n)
		return addr ? ERR_PTR(-EINVAL) : NULL;
	if (n > GCARENA_ROOTS_PER_CALL)
		return ERR_PTR(-EINVAL);
	r = vmemdup_user(u64_to_user_ptr(addr), array_size(n, sizeof(*r)));
	if (IS_ERR(r))
		return r;
	for (i = 0; i < n; i++) {
		u64 start = r[i].start, len = r[i].len;

		if (!len || !IS_ALIGNED(start | len, 8) ||
		    start >= TASK_SIZE_MAX || len > TASK_SIZE_MAX - start ||
		    r[i].kind > GCARENA_ROOT_STACK || r[i].__reserved) {
			kvfree(r);
			return ERR_PTR(-EINVAL);
		}
	}
	return r;
}

/*
 * gca_ioc_roots() - GCARENA_IOC_ROOTS
 *
 * Return: 0; -ENOENT for a range to remove that was not added, -ENOSPC over
 * GCARENA_ROOTS_MAX ranges or GCARENA_ROOT_BYTES_MAX bytes, in one range or all;
 * -EINVAL, -ENOMEM, -EFAULT; -ESRCH if the arena died meanwhile, -EINTR if the
 * caller is being killed.
 */
int gca_ioc_roots(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_roots *arg = &c->u.roots;
	struct gcarena_range *add, *del;
	int ret;

	c->copied = true;	/* there is no reply */
	if (arg->flags)
		return -EINVAL;
	add = gca_ranges_copy(arg->add, arg->nr_add);
	if (IS_ERR(add))
		return PTR_ERR(add);
	del = gca_ranges_copy(arg->del, arg->nr_del);
	if (IS_ERR(del)) {
		ret = PTR_ERR(del);
		goto out_add;
	}
	ret = mutex_lock_killable(&s->lock);
	if (ret)
		goto out_del;
	ret = gca_roots_update(s->a, add, arg->nr_add, del, arg->nr_del);
	mutex_unlock(&s->lock);
out_del:
	kvfree(del);
out_add:
	kvfree(add);
	return ret;
}

/* Tell the caller first: if that fails nothing has changed. */
static int gca_config_alocked(struct gca_arena *a, struct gca_call *c)
{
	int ret = gca_config_check(a, &c->u.config);

	if (!ret)
		ret = gca_call_out(c);
	if (!ret)
		gca_config_set(a, &c->u.config);
	return ret;
}

/*
 * gca_ioc_config() - GCARENA_IOC_CONFIG
 *
 * Return: 0; -EINVAL, -EFAULT; -EINTR if the caller is being killed.
 */
int gca_ioc_config(struct gca_shell *s, struct gca_call *c)
{
	/* Not within a step of a cycle. */
	int ret = mutex_lock_killable(&s->cycle_lock);

	if (ret)
		return ret;
	ret = mutex_lock_killable(&s->lock);
	if (!ret) {
		ret = gca_config_alocked(s->a, c);
		mutex_unlock(&s->lock);
	}
	mutex_unlock(&s->cycle_lock);
	gca_coordinator_look(s->process);
	return ret;
}
