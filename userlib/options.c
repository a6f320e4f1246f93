// SPDX-License-Identifier: MIT
/*
 * options.c: the words of GCARENA_DEBUG, GCARENA_BACKEND, GCARENA_STOP.
 *
 * A word that is not known is an error that names the known ones: a debug mode
 * misspelt and silently off is worse than none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const char gcl_known[] = "checkmark, clobber, overflow, miss, stopped, stress=N";

static bool word_is(const char *word, size_t len, const char *name)
{
	return strlen(name) == len && !memcmp(word, name, len);
}

/* Return: 0, or -1 with errno and a sentence. */
int gcl_parse_debug(const char *words, struct gcl_debug *d)
{
	const char *w = words;

	while (*w) {
		size_t len = strcspn(w, ",");
		char *end;

		if (word_is(w, len, "checkmark")) {
			d->flags |= GCARENA_DEBUG_CHECKMARK;
		} else if (word_is(w, len, "overflow")) {
			d->flags |= GCARENA_DEBUG_OVERFLOW;
		} else if (word_is(w, len, "miss")) {
			d->flags |= GCARENA_DEBUG_MISS;
		} else if (word_is(w, len, "stopped")) {
			d->flags |= GCARENA_DEBUG_STOPPED;
		} else if (word_is(w, len, "clobber")) {
			d->clobber = true;
		} else if (len > 7 && !memcmp(w, "stress=", 7)) {
			unsigned long n = strtoul(w + 7, &end, 10);

			if (end != w + len || !n || n > UINT32_MAX)
				return gcl_fail(EINVAL, "GCARENA_DEBUG: stress=N needs a number of allocations, at least 1");
			d->stress = (uint32_t)n;
		} else if (len) {
			return gcl_fail(EINVAL, "GCARENA_DEBUG: unknown word '%.*s'; known are %s",
					(int)len, w, gcl_known);
		}
		w += len;
		if (*w)
			w++;
	}
	return 0;
}

int gcl_parse_backend(const char *s, int *which)
{
	if (!strcmp(s, "auto"))
		*which = GCL_AUTO;
	else if (!strcmp(s, "kernel"))
		*which = GCL_KERNEL;
	else if (!strcmp(s, "process"))
		*which = GCL_PROCESS;
	else
		return gcl_fail(EINVAL, "GCARENA_BACKEND: '%.32s' is none of auto, kernel, process",
				s);
	return 0;
}

int gcl_parse_stop(const char *s, uint32_t *stop)
{
	if (!strcmp(s, "auto"))
		*stop = GCA_STOP_AUTO;
	else if (!strcmp(s, "signal"))
		*stop = GCA_STOP_SIGNAL;
	else if (!strcmp(s, "taskwork"))
		*stop = GCA_STOP_TASKWORK;
	else
		return gcl_fail(EINVAL, "GCARENA_STOP: '%.32s' is none of auto, signal, taskwork", s);
	return 0;
}
