// SPDX-License-Identifier: MIT
/*
 * records.c: the demo's input.
 *
 * Reads the files and directories named on the command line whole, recognises
 * symbol tables by their first line, and cuts everything into lines and words.
 * Nothing here is on the collected heap.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "indexer.h"

static uint64_t plain_total;	/* of all threads */

static void no_memory(void)
{
	fprintf(stderr, "indexer: out of memory\n");
	exit(1);
}

void *plain_alloc(size_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);

	if (!p)
		no_memory();
	__atomic_add_fetch(&plain_total, bytes, __ATOMIC_RELAXED);
	return p;
}

/* As plain_alloc(), but what is added is not zeroed. */
void *plain_grow(void *p, size_t old_bytes, size_t bytes)
{
	p = realloc(p, bytes);
	if (!p)
		no_memory();
	__atomic_add_fetch(&plain_total, bytes - old_bytes, __ATOMIC_RELAXED);
	return p;
}

uint64_t plain_bytes(void)
{
	return __atomic_load_n(&plain_total, __ATOMIC_RELAXED);
}

/*
 * Files in /proc say that they are empty; so read to the end, whatever the size
 * is said to be.  Return: the text, terminated, or NULL.
 */
static char *read_file(const char *path, size_t *bytes)
{
	size_t room = 64 << 10, n = 0;
	char *text;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	text = plain_grow(NULL, 0, room);
	while ((got = read(fd, text + n, room - n - 1)) > 0) {
		n += got;
		if (n + 1 == room) {
			text = plain_grow(text, room, 2 * room);
			room *= 2;
		}
	}
	close(fd);
	if (got < 0) {
		free(text);
		__atomic_sub_fetch(&plain_total, room, __ATOMIC_RELAXED);
		return NULL;
	}
	text[n] = '\0';
	*bytes = n;
	return plain_grow(text, room, n + 1);
}

static enum source_format recognise(const char *text)
{
	unsigned long long value;
	char type, name[2];

	if (sscanf(text, "%llx %c %1s", &value, &type, name) == 3 && isxdigit(text[0]))
		return SOURCE_MAP;
	if (!strncmp(text, "0x", 2) && strchr(text, '\t'))
		return SOURCE_SYMVERS;
	return SOURCE_TEXT;
}

static void add_file(struct input *in, const char *path)
{
	const char **line;
	struct source *src;
	uint32_t n = 0;
	size_t bytes;
	char *text = read_file(path, &bytes), *p;

	if (!text) {
		fprintf(stderr, "indexer: %s: %s\n", path, strerror(errno));
		return;
	}
	if (!bytes)
		return;

	for (p = text; (p = memchr(p, '\n', text + bytes - p)); p++)
		n++;
	if (text[bytes - 1] != '\n')
		n++;
	line = plain_alloc((n + 1) * sizeof(*line));
	for (n = 0, p = text; p < text + bytes; n++) {
		char *end = memchr(p, '\n', text + bytes - p);

		line[n] = p;
		p = end ? end + 1 : text + bytes;
	}
	line[n] = text + bytes;

	in->source = plain_grow(in->source, in->nr_sources * sizeof(*src),
				(in->nr_sources + 1) * sizeof(*src));
	src = &in->source[in->nr_sources++];
	*src = (struct source){
		.name = strdup(path),
		.format = recognise(text),
		.nr_lines = n,
		.line = line,
	};
	in->nr_lines += n;
	in->bytes += bytes;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

/** input_add() - add a file, or all files below a directory, in order of name */
int input_add(struct input *in, const char *path)
{
	char *paths[2] = { (char *)path, NULL };
	FTS *fts = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, by_name);
	FTSENT *e;

	if (!fts)
		return -1;
	while ((e = fts_read(fts))) {
		if (e->fts_info == FTS_F || e->fts_info == FTS_DEFAULT)
			add_file(in, e->fts_path);
		else if (e->fts_info == FTS_NS || e->fts_info == FTS_DNR)
			fprintf(stderr, "indexer: %s: %s\n", e->fts_path,
				strerror(e->fts_errno));
	}
	fts_close(fts);
	return 0;
}

/** input_split() - cut long sources into parts, and count the words of all */
void input_split(struct input *in)
{
	struct source *whole = in->source, *part;
	uint32_t i, n = 0;
	struct scan s;
	struct word w;

	for (i = 0; i < in->nr_sources; i++)
		n += (whole[i].nr_lines + SOURCE_LINES - 1) / SOURCE_LINES;
	in->source = part = plain_alloc(n * sizeof(*part));
	for (i = 0; i < in->nr_sources; i++) {
		uint32_t line;

		for (line = 0; line < whole[i].nr_lines; line += SOURCE_LINES, part++) {
			*part = whole[i];
			part->part = line / SOURCE_LINES;
			part->line += line;
			part->nr_lines -= line;
			if (part->nr_lines > SOURCE_LINES)
				part->nr_lines = SOURCE_LINES;
		}
	}
	in->nr_sources = n;
	free(whole);

	for (i = 0; i < n; i++) {
		scan_begin(&s, &in->source[i]);
		while (scan_word(&s, &w))
			in->nr_words++;
	}
}

/** input_share() - the @k-th of @n shares of an input: every n-th source */
void input_share(const struct input *in, uint32_t k, uint32_t n, struct input *share)
{
	uint32_t i;
	struct scan s;
	struct word w;

	*share = (struct input){ .bytes = in->bytes / n };
	share->source = plain_alloc((in->nr_sources / n + 1) * sizeof(*share->source));
	for (i = k; i < in->nr_sources; i += n) {
		share->source[share->nr_sources++] = in->source[i];
		share->nr_lines += in->source[i].nr_lines;
		scan_begin(&s, &in->source[i]);
		while (scan_word(&s, &w))
			share->nr_words++;
	}
}

void scan_begin(struct scan *s, const struct source *src)
{
	*s = (struct scan){ .src = src, .p = src->line[0] };
}

static inline bool word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '_';
}

/* Fields of a symbol table that are words: not addresses, checksums and types. */
static bool field_counts(enum source_format format, uint32_t field)
{
	return format == SOURCE_MAP ? field >= 2 : field >= 1;
}

/**
 * scan_word() - the next word of a source; s->line is its line
 *
 * In text a word is an identifier or a number that begins with a letter or an
 * underscore; in symbol tables, a field.
 */
bool scan_word(struct scan *s, struct word *w)
{
	const struct source *src = s->src;
	const char *end;

	for (; s->line < src->nr_lines; s->line++, s->field = 0) {
		end = src->line[s->line + 1];
		if (s->p < src->line[s->line])
			s->p = src->line[s->line];
		while (s->p < end) {
			const char *from;

			if (src->format == SOURCE_TEXT) {
				if (!word_char(*s->p)) {
					s->p++;
					continue;
				}
				from = s->p;
				while (s->p < end && word_char(*s->p))
					s->p++;
				if (*from >= '0' && *from <= '9')
					continue;
			} else {
				if (isspace((unsigned char)*s->p)) {
					s->p++;
					continue;
				}
				from = s->p;
				while (s->p < end && !isspace((unsigned char)*s->p))
					s->p++;
				if (!field_counts(src->format, s->field++))
					continue;
			}
			w->text = from;
			w->len = s->p - from;
			return true;
		}
	}
	return false;
}
