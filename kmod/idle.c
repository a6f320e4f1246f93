// SPDX-License-Identifier: GPL-2.0-only
/*
 * idle.c: processors that have nothing to do wake workers that wait for that.
 *
 * A worker in mode idle (core/modes.c) that finds its processor wanted by somebody else
 * sleeps, and leaves an offer here.  When a processor goes idle, a probe at the scheduler's
 * cpu_idle tracepoint takes one that may run there, and wakes it.  So it starts on a
 * processor that is idle indeed, and none is kept runnable on busy ones.  An offer is good
 * for one wake-up: there is no storm of those, however often a processor idles.
 *
 *  - The probe runs in the idle task, IRQs off: it touches words of its processor, looks at
 *    its bit of gca_asked, and queues an irq_work.  It may not wake anybody itself: the
 *    idle loop has looked at need_resched already, and would halt over it.
 *  - The irq_work runs at once after that, in hard IRQ context: it takes an offer under
 *    gca_offers_lock and wakes its task under it, too, so the task cannot be gone.  If there
 *    is none for its processor it takes the bit back: the interrupt has ended the idling,
 *    and the probe will come again at once.
 *  - Which processors are idle just now is a word each, written by the probe: who leaves
 *    an offer looks whether there is any that will not go idle because it is.
 *
 * Processors that are isolated, or run without the tick, are nobody's to disturb: the
 * probe leaves them alone, and a worker does not stay on one.
 *
 * The probe comes with the first process that has workers in this mode (gca_idle_get()), and
 * goes when there has been none for a while, or the module goes: to come and go patches the
 * kernel's text, which all processors have to wait for.  It goes in this order:
 * unregister, wait for probes under way, wait for irq_works under way.
 *
 * gca_idle_mutex is outermost: nothing is held where the probe comes or goes.
 * gca_offers_lock (raw, IRQs off): under it, only wake_up_process().
 */
#include <linux/irq_work.h>
#include <linux/percpu.h>
#include <linux/sched/isolation.h>
#include <linux/sched/stat.h>
#include <linux/tick.h>
#include <linux/workqueue.h>
#include <trace/events/power.h>

#include "glue.h"

/**
 * struct gca_idle_cpu - a processor
 * @work: takes an offer
 * @ours: it may be used
 * @idle: it is idle; written by itself
 */
struct gca_idle_cpu {
	struct irq_work work;
	bool ours;
	bool idle;
};

static DEFINE_PER_CPU(struct gca_idle_cpu, gca_idle_cpu);
static DEFINE_MUTEX(gca_idle_mutex);
static unsigned int gca_idle_users;
static bool gca_probing;
static DEFINE_RAW_SPINLOCK(gca_offers_lock);
static LIST_HEAD(gca_offers);
static struct cpumask gca_asked;	/* some offer may run there; under gca_offers_lock */

#define GCA_OFFERS_LOOK	16	/* offers looked at in an interrupt */
#define GCA_IDLE_KEEP	(10 * HZ)

static void gca_idle_take(struct irq_work *work)
{
	int cpu = smp_processor_id(), looks = 0;
	struct gca_offer *o;

	raw_spin_lock(&gca_offers_lock);
	list_for_each_entry(o, &gca_offers, link) {
		if (++looks > GCA_OFFERS_LOOK)
			break;
		if (!cpumask_test_cpu(cpu, READ_ONCE(o->task->cpus_ptr)))
			continue;
		list_del_init(&o->link);
		WRITE_ONCE(o->taken, true);
		wake_up_process(o->task);
		goto out;
	}
	cpumask_clear_cpu(cpu, &gca_asked);
out:
	raw_spin_unlock(&gca_offers_lock);
}

static void gca_idle_probe(void *data, unsigned int state, unsigned int cpu)
{
	struct gca_idle_cpu *c = this_cpu_ptr(&gca_idle_cpu);

	WRITE_ONCE(c->idle, state != PWR_EVENT_EXIT);
	if (state != PWR_EVENT_EXIT && READ_ONCE(c->ours) && cpumask_test_cpu(cpu, &gca_asked))
		irq_work_queue(&c->work);
}

/*
 * gca_idle_offer() - the calling worker would work where a processor is idle
 * @o: its own; on no list, or on it already
 *
 * Return: true if it need not sleep for that: there is one.
 */
bool gca_idle_offer(struct gca_offer *o)
{
	unsigned int cpu;

	raw_spin_lock_irq(&gca_offers_lock);
	WRITE_ONCE(o->taken, false);
	if (list_empty(&o->link))
		list_add_tail(&o->link, &gca_offers);
	cpumask_or(&gca_asked, &gca_asked, current->cpus_ptr);
	raw_spin_unlock_irq(&gca_offers_lock);
	/*
	 * The offer before the look.  A processor that goes idle meanwhile may see neither:
	 * that costs what the caller's next look is away.
	 */
	smp_mb();
	for_each_cpu_and(cpu, current->cpus_ptr, cpu_online_mask) {
		const struct gca_idle_cpu *c = per_cpu_ptr(&gca_idle_cpu, cpu);

		if (READ_ONCE(c->ours) && READ_ONCE(c->idle))
			return true;
	}
	return false;
}

/* gca_idle_withdraw() - it would not any more.  Return: the offer had been taken */
bool gca_idle_withdraw(struct gca_offer *o)
{
	bool taken;

	raw_spin_lock_irq(&gca_offers_lock);
	list_del_init(&o->link);
	taken = o->taken;
	WRITE_ONCE(o->taken, false);
	raw_spin_unlock_irq(&gca_offers_lock);
	return taken;
}

/* gca_idle_alone() - does nobody else want the caller's processor, which may be used? */
bool gca_idle_alone(void)
{
	bool ours = READ_ONCE(raw_cpu_ptr(&gca_idle_cpu)->ours);

	return ours && !need_resched() && single_task_running();
}

/*
 * gca_idle_get() - processors that go idle take offers from now on; nothing is held
 *
 * Return: 0, or the errno of the registration.
 */
int gca_idle_get(void)
{
	unsigned int cpu;
	int ret = 0;
	bool ours;

	mutex_lock(&gca_idle_mutex);
	if (!gca_probing) {
		for_each_possible_cpu(cpu) {
			struct gca_idle_cpu *c = per_cpu_ptr(&gca_idle_cpu, cpu);

			c->work = IRQ_WORK_INIT_HARD(gca_idle_take);
			WRITE_ONCE(c->idle, false);
			ours = housekeeping_test_cpu(cpu, HK_TYPE_DOMAIN) &&
			       !tick_nohz_full_cpu(cpu);
			WRITE_ONCE(c->ours, ours);
		}
		ret = register_trace_cpu_idle(gca_idle_probe, NULL);
		gca_probing = !ret;
	}
	if (!ret)
		gca_idle_users++;
	mutex_unlock(&gca_idle_mutex);
	return ret;
}

static void gca_idle_end(struct work_struct *work)
{
	unsigned int cpu;

	mutex_lock(&gca_idle_mutex);
	if (gca_probing && !gca_idle_users) {
		unregister_trace_cpu_idle(gca_idle_probe, NULL);
		tracepoint_synchronize_unregister();
		for_each_possible_cpu(cpu)
			irq_work_sync(&per_cpu_ptr(&gca_idle_cpu, cpu)->work);
		gca_probing = false;
	}
	mutex_unlock(&gca_idle_mutex);
}

static DECLARE_DELAYED_WORK(gca_idle_ending, gca_idle_end);

/* gca_idle_put() - the opposite; the caller's workers have gone, or make no offers */
void gca_idle_put(void)
{
	mutex_lock(&gca_idle_mutex);
	if (!--gca_idle_users)
		mod_delayed_work(gca_wq, &gca_idle_ending, GCA_IDLE_KEEP);
	mutex_unlock(&gca_idle_mutex);
}

/* gca_idle_exit() - the module goes, and there is no user */
void gca_idle_exit(void)
{
	cancel_delayed_work_sync(&gca_idle_ending);
	gca_idle_end(NULL);
}
