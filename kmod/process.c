// SPDX-License-Identifier: GPL-2.0-only
/*
 * process.c: one struct gca_process for each mm that has arenas, and what each
 * user has.
 *
 * Takes gca_processes_lock, and process->lock for the list of arenas; neither
 * inside the other here.  It may not touch user memory or wait for anybody: the
 * mm is held as an identity (mmgrab), so a process may exit whenever it likes.
 *
 * Users are counted by kuid, so the sub-uids of a user namespace count apart.
 */
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "glue.h"

static DEFINE_MUTEX(gca_processes_lock);
static DEFINE_HASHTABLE(gca_processes, 8);
static LIST_HEAD(gca_users);

static struct gca_user *gca_user_find(kuid_t uid)
{
	struct gca_user *u;

	lockdep_assert_held(&gca_processes_lock);
	list_for_each_entry(u, &gca_users, link)
		if (uid_eq(u->uid, uid))
			return u;
	return NULL;
}

static struct gca_user *gca_user_get(kuid_t uid)
{
	struct gca_user *u = gca_user_find(uid);

	if (!u) {
		u = kzalloc(sizeof(*u), GFP_KERNEL_ACCOUNT);
		if (!u)
			return NULL;
		u->uid = uid;
		list_add(&u->link, &gca_users);
	}
	u->refs++;
	return u;
}

static void gca_user_put(struct gca_user *u)
{
	lockdep_assert_held(&gca_processes_lock);
	if (--u->refs)
		return;
	list_del(&u->link);
	kfree(u);
}

static int gca_user_charge(struct gca_user *u, u64 reserve)
{
	u64 limit = (u64)READ_ONCE(gca_max_reserve_gib) << 30;

	lockdep_assert_held(&gca_processes_lock);
	if (u->arenas >= READ_ONCE(gca_max_arenas) || u->reserve > limit ||
	    reserve > limit - u->reserve)
		return -EDQUOT;
	u->arenas++;
	u->reserve += reserve;
	return 0;
}

static struct gca_process *gca_process_find(struct mm_struct *mm)
{
	struct gca_process *p;

	lockdep_assert_held(&gca_processes_lock);
	hash_for_each_possible(gca_processes, p, link, (unsigned long)mm)
		if (p->mm == mm)
			return p;
	return NULL;
}

static struct gca_process *gca_process_new(struct mm_struct *mm)
{
	struct gca_process *p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);

	if (!p)
		return NULL;
	p->user = gca_user_get(current_uid());
	if (!p->user) {
		kfree(p);
		return NULL;
	}
	mmgrab(mm);
	p->mm = mm;
	mutex_init(&p->lock);
	INIT_LIST_HEAD(&p->shells);
	hash_add(gca_processes, &p->link, (unsigned long)mm);
	return p;
}

static void gca_process_drop(struct gca_process *p)
{
	lockdep_assert_held(&gca_processes_lock);
	if (p->refs)
		return;
	hash_del(&p->link);
	gca_user_put(p->user);
	mmdrop(p->mm);
	mutex_destroy(&p->lock);
	kfree(p);
}

/**
 * gca_process_get() - the process of @mm, charged with one more arena
 * @mm: the caller's
 * @reserve: bytes of address space
 *
 * Return: the process, -ENOMEM, or -EDQUOT over the user's limits.
 */
struct gca_process *gca_process_get(struct mm_struct *mm, u64 reserve)
{
	struct gca_process *p;
	int ret = -ENOMEM;

	mutex_lock(&gca_processes_lock);
	p = gca_process_find(mm);
	if (!p)
		p = gca_process_new(mm);
	if (p) {
		ret = gca_user_charge(p->user, reserve);
		if (ret)
			gca_process_drop(p);
		else
			p->refs++;
	}
	mutex_unlock(&gca_processes_lock);
	return ret ? ERR_PTR(ret) : p;
}

/** gca_process_put() - the opposite; called at death, once an arena */
void gca_process_put(struct gca_process *p, u64 reserve)
{
	mutex_lock(&gca_processes_lock);
	p->user->arenas--;
	p->user->reserve -= reserve;
	p->refs--;
	gca_process_drop(p);
	mutex_unlock(&gca_processes_lock);
}

/** gca_process_arenas_left() - that the caller's user may still create */
unsigned int gca_process_arenas_left(void)
{
	unsigned int max = READ_ONCE(gca_max_arenas), used = 0;
	struct gca_user *u;

	mutex_lock(&gca_processes_lock);
	u = gca_user_find(current_uid());
	if (u)
		used = u->arenas;
	mutex_unlock(&gca_processes_lock);
	return used < max ? max - used : 0;
}

void gca_process_add(struct gca_process *p, struct gca_shell *s)
{
	mutex_lock(&p->lock);
	list_add_tail(&s->link, &p->shells);
	mutex_unlock(&p->lock);
}

void gca_process_del(struct gca_process *p, struct gca_shell *s)
{
	mutex_lock(&p->lock);
	list_del_init(&s->link);
	mutex_unlock(&p->lock);
}
