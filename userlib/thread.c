// SPDX-License-Identifier: MIT
/*
 * thread.c: a thread that is born attached.
 *
 * The difficulty is the argument: between pthread_create() and the end of the new
 * thread's ATTACH no stack that the collector scans need hold it.  So the creator
 * waits for that end, with the argument in its own frame; if the creator is not
 * attached its frame is made a root for so long.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/**
 * struct start - what creator and new thread share until the latter is attached
 * @arena: to attach to
 * @fn: to call
 * @arg: with this
 * @attached: posted when @err is valid; the creator's frame is gone after it
 * @err: errno of gca_attach(), or 0
 * @why: its sentence
 */
struct start {
	struct gca_arena *arena;
	void *(*fn)(struct gca_mutator *m, void *arg);
	void *arg;
	sem_t attached;
	int err;
	char why[224];
};

static void leave(void *m)
{
	gcl_leave(m);	/* a struct gcl_mutator begins with what the program sees of it */
}

static void *begin(void *p)
{
	struct start *s = p;
	void *(*fn)(struct gca_mutator *m, void *arg) = s->fn;
	void *arg = s->arg, *ret;
	struct gca_mutator *m;
	int state;

	/* The creator waits for the semaphore, come what may. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	m = gca_attach(s->arena);
	if (!m) {
		s->err = errno;
		snprintf(s->why, sizeof(s->why), "%s", gca_strerror());
	}
	sem_post(&s->attached);
	if (!m)
		return NULL;
	pthread_cleanup_push(leave, m);
	pthread_setcancelstate(state, NULL);
	ret = fn(m, arg);
	pthread_cleanup_pop(1);
	return ret;
}

static bool attached_to(const struct gca_arena *a)
{
	const struct gcl_mutator *m;

	for (m = gcl_mine; m && m->pub.arena != a; m = m->sibling)
		;
	return m;
}

int gca_thread_create(struct gca_arena *a, pthread_t *thread, const pthread_attr_t *attr,
		      void *(*fn)(struct gca_mutator *m, void *arg), void *arg)
{
	struct start s = { .arena = a, .fn = fn, .arg = arg };
	bool held = attached_to(a);
	int err, cancel, state = PTHREAD_CREATE_JOINABLE;

	if (gcl_dead(a))
		return -1;
	if (!held && gca_root_add(a, &s.arg, sizeof(s.arg), GCA_ROOT_PLAIN))
		return -1;
	/* The other thread uses this frame. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	sem_init(&s.attached, 0, 0);
	err = pthread_create(thread, attr, begin, &s);
	if (err) {
		gcl_fail(err, "gca_thread_create: the thread could not be made: %s", strerror(err));
	} else {
		while (sem_wait(&s.attached))
			;
		err = s.err;
		if (err) {
			if (attr)
				pthread_attr_getdetachstate(attr, &state);
			if (state == PTHREAD_CREATE_JOINABLE)
				pthread_join(*thread, NULL);
			gcl_fail(err, "%s", s.why);
		}
	}
	sem_destroy(&s.attached);
	pthread_setcancelstate(cancel, NULL);
	if (!held) {
		gca_root_remove(a, &s.arg, sizeof(s.arg), GCA_ROOT_PLAIN);
		if (err)
			errno = err;
	}
	gca_keep_alive(s.arg);
	return err ? -1 : 0;
}
