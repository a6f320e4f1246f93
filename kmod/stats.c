// SPDX-License-Identifier: GPL-2.0-only
/*
 * stats.c: what /sys/kernel/gcarena, fdinfo and STATS say.
 *
 * A directory per arena is a kobject of its own, a struct gca_stats, that holds a
 * copy of the counters and cannot reach the arena: the arena copies into it at
 * the end of a cycle, at STATS, at a look at fdinfo, and at death.  So a show
 * function takes no lock and waits for nobody, and kobject_del() may wait for it.
 *
 * The knobs are there, too, and root may write them.  What is written is kept in the same
 * object (@wish), and the arena takes it from there where it has no cycle under way
 * (gca_stats_wishes()): soon, if it has a coordinator; else when it next allocates.
 *
 * stats->lock (spin) serialises the copies, and keeps the arena from going while a wish is
 * passed on to it.  kobject_add and _del run with
 * nothing held.  Nothing here may read an arena but through gca_stats_read().
 *
 * The files of an arena are readable by its owner only (0400, owned by the uid; 0600 for the
 * knobs, which ask for CAP_SYS_ADMIN besides); the directory's name is opaque.  One value a
 * file.
 */
#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/wait.h>

#include "compat.h"
#include "core/knobs.h"
#include "glue.h"

/**
 * struct gca_counter - a file of an arena's directory
 * @attr: name and mode
 * @offset: of the value in struct gcarena_stats; GCA_NO_VALUE: nothing counts it yet
 * @sum: it only grows, and its sum over all arenas says something
 */
struct gca_counter {
	struct attribute attr;
	u16 offset;
	bool sum;
};

#define GCA_NO_VALUE	U16_MAX

#define GCA_COUNTER(file, value, add)					\
	{								\
		.attr = { .name = file, .mode = 0400 },			\
		.offset = offsetof(struct gcarena_stats, value),	\
		.sum = add,						\
	}

static struct gca_counter gca_counter[] = {
	GCA_COUNTER("cycles", cycles, true),
	GCA_COUNTER("forced", forced, true),
	GCA_COUNTER("postponed_stops", postponed, true),
	GCA_COUNTER("voided", voided, true),
	GCA_COUNTER("last_void_reason", last_void, false),
	GCA_COUNTER("live", live, false),
	GCA_COUNTER("goal", goal, false),
	GCA_COUNTER("heap", heap, false),
	GCA_COUNTER("metadata", metadata, false),
	GCA_COUNTER("stops", stops, true),
	GCA_COUNTER("stop_ns_max", stop_ns_max, false),
	GCA_COUNTER("stop_ns_total", stop_ns_total, true),
	GCA_COUNTER("stop_ns_p50", stop_ns_p50, false),
	GCA_COUNTER("stop_ns_p99", stop_ns_p99, false),
	GCA_COUNTER("hold_ns_max", hold_ns_max, false),
	GCA_COUNTER("hold_ns_total", hold_ns_total, true),
	GCA_COUNTER("held", held, true),
	GCA_COUNTER("held_asleep", held_asleep, true),
	GCA_COUNTER("threads", threads, false),
	GCA_COUNTER("mark_ns_collect", mark_ns[0], true),
	GCA_COUNTER("mark_ns_serve", mark_ns[1], true),
	GCA_COUNTER("sweep_ns", sweep_ns, true),
	GCA_COUNTER("mark_ns_workers", worker_ns, true),
	GCA_COUNTER("mark_ns_fractional", fractional_ns, true),
	GCA_COUNTER("mark_ns_idle", idle_ns, true),
	GCA_COUNTER("idle_kicks", idle_kicks, false),
	GCA_COUNTER("idle_yields", idle_yields, false),
	GCA_COUNTER("idle_raised", idle_raised, false),
	GCA_COUNTER("trigger", trigger, false),
	GCA_COUNTER("begun_live", begun_live, false),
	GCA_COUNTER("ended_live", ended_live, false),
	GCA_COUNTER("ended_goal", ended_goal, false),
	GCA_COUNTER("work_heap", work_heap, false),
	GCA_COUNTER("work_stack", work_stack, false),
	GCA_COUNTER("work_roots", work_roots, false),
	GCA_COUNTER("cons_mark", cons_mark, false),
	GCA_COUNTER("assists", assists, true),
	GCA_COUNTER("assist_hold_ns_total", assist_hold_ns_total, true),
	GCA_COUNTER("assist_hold_ns_max", assist_hold_ns_max, false),
	GCA_COUNTER("assist_hold_ns_p99", assist_hold_ns_p99, false),
	GCA_COUNTER("begin_stop_ns", begin_stop_ns, false),
	GCA_COUNTER("marking_ns", marking_ns, false),
	GCA_COUNTER("end_stop_ns", end_stop_ns, false),
	GCA_COUNTER("limited", limited, true),
	GCA_COUNTER("usable_cpus_milli", cpus_milli, false),
	GCA_COUNTER("marking_cpu_ns", marking_cpu_ns, true),
	GCA_COUNTER("cpu_ns", cpu_ns, false),
	GCA_COUNTER("workers", workers, false),
	GCA_COUNTER("coordinator_ns", coordinator_ns, false),
	GCA_COUNTER("restarts", restarts, true),
	GCA_COUNTER("mark_ns_assist", assist_ns, true),
	GCA_COUNTER("self_scans", self_scans, true),
	GCA_COUNTER("self_scan_ns", self_ns, true),
	GCA_COUNTER("unknown_stacks", unknown_stacks, true),
	GCA_COUNTER("cut_stacks", cut_stacks, true),
	GCA_COUNTER("allocated", allocated, true),
	GCA_COUNTER("freed", freed, true),
	GCA_COUNTER("missed", missed, true),
	GCA_COUNTER("leaves", leaves, true),
	GCA_COUNTER("overflows", overflows, true),
	GCA_COUNTER("returned", returned, true),
	GCA_COUNTER("marked_objects", marked_objects, true),
	GCA_COUNTER("marked_bytes", marked_bytes, true),
	GCA_COUNTER("root_bytes", root_bytes, false),
	GCA_COUNTER("free", free, false),
};

#define GCA_NR_COUNTERS	ARRAY_SIZE(gca_counter)

static const char *const gca_reason_name[GCARENA_NR_VOID_REASONS] = {
	[GCARENA_VOID_NONE] = "none",
	[GCARENA_VOID_RING] = "ring",
	[GCARENA_VOID_UNREADABLE] = "unreadable",
	[GCARENA_VOID_KILLED] = "killed",
	[GCARENA_VOID_AGE] = "age",
	[GCARENA_VOID_MEMORY] = "memory",
	[GCARENA_VOID_LIBRARY] = "library",
};

/**
 * struct gca_stats - the copy
 * @kobj: the directory
 * @uid: owner of the files
 * @gid: their group
 * @lock: serialises writers of what follows
 * @value: of each gca_counter
 * @shell: the arena while it lives, or NULL
 * @knob: as they were when @value was read
 * @wish: those of @wish.mask are to be set
 */
struct gca_stats {
	struct kobject kobj;
	kuid_t uid;
	kgid_t gid;
	spinlock_t lock;	/* writers */
	u64 value[GCA_NR_COUNTERS];
	struct gca_shell *shell;
	struct gcarena_knobs knob;
	struct gcarena_config wish;
};

static struct kobject *gca_kobj;
static atomic_t gca_stats_objects = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(gca_stats_wq);
static atomic_t gca_total_arenas = ATOMIC_INIT(0);
static atomic64_t gca_total_created = ATOMIC64_INIT(0);
static atomic64_t gca_total[GCA_NR_COUNTERS];

/* --------------------------------------------------------------------- per arena */

static bool gca_is_reason(const struct gca_counter *c)
{
	return c->offset == offsetof(struct gcarena_stats, last_void);
}

static const char *gca_reason(u64 reason)
{
	return reason < GCARENA_NR_VOID_REASONS ? gca_reason_name[reason] : "unknown";
}

static struct attribute gca_knob_attr[GCA_NR_KNOBS];	/* by gca_stats_init() */

/* Return: number of the knob whose file this is; -1: it is a counter's. */
static int gca_knob_of(const struct attribute *attr)
{
	return attr >= gca_knob_attr && attr < gca_knob_attr + GCA_NR_KNOBS ?
	       attr - gca_knob_attr : -1;
}

static ssize_t gca_stats_show(struct kobject *kobj, struct attribute *attr, char *buf)
{
	struct gca_stats *o = container_of(kobj, struct gca_stats, kobj);
	struct gca_counter *c;
	int knob = gca_knob_of(attr);
	u64 value;

	if (knob >= 0)
		return sysfs_emit(buf, "%llu\n", READ_ONCE(*gca_knob_value(&o->knob, knob)));
	c = container_of(attr, struct gca_counter, attr);
	value = READ_ONCE(o->value[c - gca_counter]);
	if (gca_is_reason(c))
		return sysfs_emit(buf, "%s\n", gca_reason(value));
	return sysfs_emit(buf, "%llu\n", value);
}

static ssize_t gca_stats_store(struct kobject *kobj, struct attribute *attr, const char *buf,
			       size_t count)
{
	struct gca_stats *o = container_of(kobj, struct gca_stats, kobj);
	int knob = gca_knob_of(attr), ret;
	u64 value;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (knob < 0)
		return -EIO;
	if (gca_knob[knob].has_off && sysfs_streq(buf, "off")) {
		value = gca_knob[knob].off;
	} else {
		ret = kstrtou64(buf, 0, &value);
		if (ret)
			return ret;
	}
	if (!gca_knob_fits(knob, value))
		return -EINVAL;
	spin_lock(&o->lock);
	*gca_knob_value(&o->wish.knob, knob) = value;
	WRITE_ONCE(o->wish.mask, o->wish.mask | BIT_ULL(knob));
	if (o->shell)
		gca_coordinator_look(o->shell->process);
	spin_unlock(&o->lock);
	return count;
}

/**
 * gca_stats_wishes() - set what has been written to the files of an arena's knobs
 * @s: alive
 *
 * Return: false if there are some, and a cycle is under way: a debug switch holds for a whole one.
 */
bool gca_stats_wishes(struct gca_shell *s)
{
	struct gca_stats *o = s->stats;
	struct gcarena_config wish;
	unsigned int i;

	if (likely(!READ_ONCE(o->wish.mask)))
		return true;
	if (!mutex_trylock(&s->cycle_lock))
		return false;
	if (!mutex_trylock(&s->lock)) {
		mutex_unlock(&s->cycle_lock);
		return false;
	}
	spin_lock(&o->lock);
	wish = o->wish;
	WRITE_ONCE(o->wish.mask, 0);
	spin_unlock(&o->lock);
	/* They have been found to fit. */
	if (!gca_config_check(s->a, &wish))
		gca_config_set(s->a, &wish);
	for (i = 0; i < GCA_NR_KNOBS; i++)
		WRITE_ONCE(*gca_knob_value(&o->knob, i), *gca_knob_value(&s->a->knob, i));
	mutex_unlock(&s->lock);
	mutex_unlock(&s->cycle_lock);
	return true;
}

static struct attribute *gca_stats_attrs[GCA_NR_COUNTERS + GCA_NR_KNOBS + 1];	/* likewise */
ATTRIBUTE_GROUPS(gca_stats);

static void gca_stats_release(struct kobject *kobj)
{
	kfree(container_of(kobj, struct gca_stats, kobj));
	if (atomic_dec_and_test(&gca_stats_objects))
		wake_up_all(&gca_stats_wq);
}

static void gca_stats_ownership(gca_owned struct kobject *kobj, kuid_t *uid, kgid_t *gid)
{
	const struct gca_stats *o = container_of(kobj, struct gca_stats, kobj);

	*uid = o->uid;
	*gid = o->gid;
}

static const struct sysfs_ops gca_stats_ops = {
	.show = gca_stats_show,
	.store = gca_stats_store,
};

static const struct kobj_type gca_stats_type = {
	.sysfs_ops = &gca_stats_ops,
	.release = gca_stats_release,
	.default_groups = gca_stats_groups,
	.get_ownership = gca_stats_ownership,
};

/** gca_stats_new() - a directory for arena @id, owned by the caller's user */
struct gca_stats *gca_stats_new(u64 id)
{
	struct gca_stats *o = kzalloc(sizeof(*o), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!o)
		return ERR_PTR(-ENOMEM);
	atomic_inc(&gca_stats_objects);
	spin_lock_init(&o->lock);
	o->uid = current_uid();
	o->gid = current_gid();
	ret = kobject_init_and_add(&o->kobj, &gca_stats_type, gca_kobj, "%016llx", id);
	if (ret) {
		kobject_put(&o->kobj);
		return ERR_PTR(ret);
	}
	atomic_inc(&gca_total_arenas);
	atomic64_inc(&gca_total_created);
	return o;
}

/** gca_stats_bind() - wishes are for this arena, which begins to live; or (NULL) for none */
void gca_stats_bind(struct gca_stats *o, struct gca_shell *s)
{
	spin_lock(&o->lock);
	o->shell = s;
	spin_unlock(&o->lock);
}

/** gca_stats_del() - the directory goes; waits for readers, so hold nothing */
void gca_stats_del(struct gca_stats *o)
{
	kobject_del(&o->kobj);
	atomic_dec(&gca_total_arenas);
}

/** gca_stats_free() - the creator's reference goes, after gca_stats_del() */
void gca_stats_free(struct gca_stats *o)
{
	kobject_put(&o->kobj);
}

/* Copy counters, and add their growth to the totals. */
static void gca_stats_publish(struct gca_shell *s, const struct gcarena_stats *st)
{
	struct gca_stats *o = s->stats;
	unsigned int i;

	spin_lock(&o->lock);
	for (i = 0; i < GCA_NR_KNOBS; i++)
		WRITE_ONCE(*gca_knob_value(&o->knob, i),
			   READ_ONCE(*gca_knob_value(&s->a->knob, i)));
	for (i = 0; i < GCA_NR_COUNTERS; i++) {
		const struct gca_counter *c = &gca_counter[i];
		u64 now;

		if (c->offset == GCA_NO_VALUE)
			continue;
		now = *(const u64 *)((const char *)st + c->offset);
		/* Of two that race the one with more has read later. */
		if (c->sum) {
			if (now <= o->value[i])
				continue;
			atomic64_add(now - o->value[i], &gca_total[i]);
		}
		WRITE_ONCE(o->value[i], now);
	}
	spin_unlock(&o->lock);
}

/**
 * gca_stats_take() - read the arena's counters and publish them
 * @s: alive, or dying and ours
 * @st: out; the pages that the owner maps are in its metadata
 *
 * Does not sleep.
 */
void gca_stats_take(struct gca_shell *s, struct gcarena_stats *st)
{
	u64 pages = s->control.n;
	struct gca_thread *t;
	unsigned long id;

	xa_lock(&s->threads);
	xa_for_each(&s->threads, id, t)
		pages += t->pages.n;
	xa_unlock(&s->threads);
	gca_stats_read(s->a, st);
	st->metadata += pages << PAGE_SHIFT;
	st->workers = READ_ONCE(s->process->nr_workers);
	st->idle_kicks = atomic64_read(&s->process->idle_kicks);
	st->idle_yields = atomic64_read(&s->process->idle_yields);
	st->idle_raised = atomic64_read(&s->process->idle_raised);
	st->coordinator_ns = READ_ONCE(s->process->coordinator_ns);
	st->held = READ_ONCE(s->held);
	st->held_asleep = READ_ONCE(s->held_asleep);
	gca_stats_publish(s, st);
}

/** gca_stats_fdinfo() - the same numbers, for the owner */
void gca_stats_fdinfo(struct gca_stats *o, struct seq_file *m)
{
	unsigned int i;

	for (i = 0; i < GCA_NR_COUNTERS; i++) {
		u64 value = READ_ONCE(o->value[i]);

		seq_printf(m, "gcarena-%s:\t", gca_counter[i].attr.name);
		if (gca_is_reason(&gca_counter[i]))
			seq_printf(m, "%s\n", gca_reason(value));
		else
			seq_printf(m, "%llu\n", value);
	}
}

/*
 * gca_ioc_stats() - GCARENA_IOC_STATS
 *
 * Waits at the gate while a cycle runs: only then is what threads have taken from
 * their spans counted.
 *
 * Return: 0; -EINVAL; -ESRCH if the arena died meanwhile, -EINTR if the caller is
 * being killed.
 */
int gca_ioc_stats(struct gca_shell *s, struct gca_call *c)
{
	struct gcarena_stats st;
	int ret;

	if (c->u.stats.flags)
		return -EINVAL;
	ret = gca_stats_sync(s->a);
	if (ret)
		return ret;
	gca_stats_take(s, &st);
	st.blame = gca_blame(s);	/* by its name here: not for /sys */
	st.size = c->usize;
	st.flags = 0;
	c->u.stats = st;
	return 0;
}

/* ------------------------------------------------------------------------ totals */

static ssize_t version_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", THIS_MODULE->version);
}

static ssize_t arenas_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", atomic_read(&gca_total_arenas));
}

static ssize_t arenas_created_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lld\n", atomic64_read(&gca_total_created));
}

static struct kobj_attribute gca_version_attr = __ATTR_RO(version);
static struct kobj_attribute gca_arenas_attr = __ATTR_RO(arenas);
static struct kobj_attribute gca_created_attr = __ATTR_RO(arenas_created);

static struct attribute *gca_device_attrs[] = {
	&gca_version_attr.attr,
	&gca_arenas_attr.attr,
	&gca_created_attr.attr,
	NULL,
};

static const struct attribute_group gca_device_group = {
	.attrs = gca_device_attrs,
};

/* Sums since the module was loaded; they tell nothing of one arena. */
static struct kobj_attribute gca_total_attr[GCA_NR_COUNTERS];
static struct attribute *gca_totals_attrs[GCA_NR_COUNTERS + 1];	/* by gca_stats_init() */

static ssize_t gca_total_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lld\n", atomic64_read(&gca_total[attr - gca_total_attr]));
}

static const struct attribute_group gca_totals_group = {
	.name = "totals",
	.attrs = gca_totals_attrs,
};

static const struct attribute_group *gca_device_groups[] = {
	&gca_device_group,
	&gca_totals_group,
	NULL,
};

int __init gca_stats_init(void)
{
	unsigned int i, sums = 0;
	int ret;

	for (i = 0; i < GCA_NR_COUNTERS; i++) {
		struct kobj_attribute *total = &gca_total_attr[i];

		gca_stats_attrs[i] = &gca_counter[i].attr;
		if (!gca_counter[i].sum)
			continue;
		total->attr.name = gca_counter[i].attr.name;
		total->attr.mode = 0444;
		total->show = gca_total_show;
		gca_totals_attrs[sums++] = &total->attr;
	}
	for (i = 0; i < GCA_NR_KNOBS; i++) {
		gca_knob_attr[i].name = gca_knob[i].name;
		gca_knob_attr[i].mode = 0600;
		gca_stats_attrs[GCA_NR_COUNTERS + i] = &gca_knob_attr[i];
	}
	gca_kobj = kobject_create_and_add("gcarena", kernel_kobj);
	if (!gca_kobj)
		return -ENOMEM;
	ret = sysfs_create_groups(gca_kobj, gca_device_groups);
	if (ret)
		kobject_put(gca_kobj);
	return ret;
}

void gca_stats_exit(void)
{
	wait_event(gca_stats_wq, !atomic_read(&gca_stats_objects));
	sysfs_remove_groups(gca_kobj, gca_device_groups);
	kobject_put(gca_kobj);
}
