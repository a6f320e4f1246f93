// SPDX-License-Identifier: MIT
/*
 * roots.c: what is a root: data and bss of the loaded objects, ranges the
 * program adds, static thread-local storage.
 *
 * The loaded objects are looked at before each cycle; libraries come and go
 * between cycles.  Excluded are what the loader made read-only again (RELRO)
 * and the library's own data when it is an object of its own (it holds no
 * pointer into the heap anyway).
 *
 * Everything is kept in memory from mmap(), with signals blocked: the caller
 * may be a handler that interrupted malloc().  dl_iterate_phdr()'s lock is
 * recursive; it is never taken with a->lock held, because who holds it (in a
 * callback of its own) may want a->lock.
 *
 * Another thread may unload an object while we look at its data, so pages are
 * brought in by system calls that fail where an access would be fatal.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

#define GCL_MADV_POPULATE_READ	22	/* Linux 5.14; older headers lack it */

#define GCL_TCB_BYTES		2304	/* glibc's struct pthread, with room */
#define GCL_TLS_SURPLUS		16384	/* beyond the blocks known at start */

/* ------------------------------------------------------------------- ranges */

static int ranges_add(struct gcl_ranges *r, uint64_t start, uint64_t end, uint32_t kind)
{
	start = (start + 7) & ~7ULL;
	end &= ~7ULL;
	if (start >= end)
		return 0;
	if (r->n == r->room) {
		uint32_t room = r->room ? 2 * r->room : 256;
		struct gcarena_range *p = gcl_map(room * sizeof(*p));

		if (!p)
			return -ENOMEM;
		if (r->n)
			memcpy(p, r->range, r->n * sizeof(*p));
		if (r->room)
			munmap(r->range, r->room * sizeof(*p));
		r->range = p;
		r->room = room;
	}
	r->range[r->n++] = (struct gcarena_range){ .start = start, .len = end - start, .kind = kind };
	return 0;
}

static void ranges_sort(struct gcl_ranges *r)
{
	struct gcarena_range t;
	uint32_t i, j;

	/* Nearly sorted already, and short. */
	for (i = 1; i < r->n; i++) {
		t = r->range[i];
		for (j = i; j && r->range[j - 1].start > t.start; j--)
			r->range[j] = r->range[j - 1];
		r->range[j] = t;
	}
}

static void ranges_free(struct gcl_ranges *r)
{
	if (r->room)
		munmap(r->range, r->room * sizeof(*r->range));
	memset(r, 0, sizeof(*r));
}

void gcl_roots_free(struct gca_arena *a)
{
	ranges_free(&a->found);
	ranges_free(&a->added);
}

static bool same_range(const struct gcarena_range *x, const struct gcarena_range *y)
{
	return x->start == y->start && x->len == y->len && x->kind == y->kind;
}

/* Tell the collector, as many at a time as it takes.  First all removals. */
static int tell(struct gca_arena *a, const struct gcarena_range *add, uint32_t nr_add,
		const struct gcarena_range *del, uint32_t nr_del)
{
	while (nr_add || nr_del) {
		struct gcarena_roots req = { .size = sizeof(req) };
		int err;

		req.nr_del = nr_del < GCARENA_ROOTS_PER_CALL ? nr_del : GCARENA_ROOTS_PER_CALL;
		if (req.nr_del == nr_del)
			req.nr_add = nr_add < GCARENA_ROOTS_PER_CALL ? nr_add :
				     GCARENA_ROOTS_PER_CALL;
		/* An address with a count of 0 is refused. */
		req.del = req.nr_del ? (uintptr_t)del : 0;
		req.add = req.nr_add ? (uintptr_t)add : 0;
		do {
			err = a->be->roots(&a->space, &req);
		} while (err == -EINTR);
		if (err)
			return err;
		del += req.nr_del;
		nr_del -= req.nr_del;
		add += req.nr_add;
		nr_add -= req.nr_add;
	}
	return 0;
}

/* ------------------------------------------------------------ loaded objects */

/**
 * struct walk - one dl_iterate_phdr()
 * @own: an address in this library's object, 0: not an object of its own
 * @known: @adds and @subs are what was seen before; if still so, do not look
 * @begun: the first object has been seen
 * @again: nothing was loaded or unloaded since
 * @adds: dlpi_adds; @subs likewise
 * @ranges: what was found
 * @err: what went wrong
 */
struct walk {
	uintptr_t own;
	bool known, begun, again;
	uint64_t adds, subs;
	struct gcl_ranges ranges;
	int err;
};

static uint64_t page_mask(void)
{
	return ~((uint64_t)sysconf(_SC_PAGESIZE) - 1);
}

/*
 * Have every page of [lo, hi) in memory: one call for all, or, if there is a hole,
 * page by page what can be had.  What cannot is the collector's to judge.
 */
static void populate(uint64_t lo, uint64_t hi)
{
	uint64_t step = -page_mask(), p;
	char byte;

	lo &= -step;
	if (!madvise((void *)lo, hi - lo, GCL_MADV_POPULATE_READ))
		return;
	for (p = lo; p < hi; p += step) {
		/* Linux before 5.14, or a mapping that cannot be populated. */
		struct iovec to = { &byte, 1 }, from = { (void *)p, 1 };

		if (madvise((void *)p, step, GCL_MADV_POPULATE_READ) && errno == EINVAL)
			syscall(SYS_process_vm_readv, getpid(), &to, 1UL, &from, 1UL, 0UL);
	}
}

static void touch(const struct gcl_ranges *r)
{
	uint32_t i;

	for (i = 0; i < r->n; i++)
		if (r->range[i].kind == GCARENA_ROOT_PLAIN)
			populate(r->range[i].start, r->range[i].start + r->range[i].len);
}

static int look(struct dl_phdr_info *info, size_t size, void *data)
{
	struct walk *w = data;
	uint64_t relro_lo = 0, relro_hi = 0;
	bool own = false;
	unsigned int i;

	(void)size;
	if (!w->begun) {
		w->begun = true;
		w->again = w->known && w->adds == info->dlpi_adds && w->subs == info->dlpi_subs;
		w->adds = info->dlpi_adds;
		w->subs = info->dlpi_subs;
	}
	if (w->again)
		return 1;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uint64_t lo = info->dlpi_addr + p->p_vaddr, hi = lo + p->p_memsz;

		if (p->p_type == PT_GNU_RELRO) {
			/* The loader protects whole pages only. */
			relro_lo = lo & page_mask();
			relro_hi = hi & page_mask();
		}
		if (p->p_type == PT_LOAD && w->own >= lo && w->own < hi)
			own = true;
	}
	if (own)
		return 0;
	for (i = 0; i < info->dlpi_phnum && !w->err; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uint64_t lo = info->dlpi_addr + p->p_vaddr, hi = lo + p->p_memsz;

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_W))
			continue;
		if (relro_lo >= relro_hi || relro_hi <= lo || relro_lo >= hi) {
			w->err = ranges_add(&w->ranges, lo, hi, GCARENA_ROOT_PLAIN);
			continue;
		}
		w->err = ranges_add(&w->ranges, lo, relro_lo > lo ? relro_lo : lo,
				    GCARENA_ROOT_PLAIN);
		if (!w->err && relro_hi < hi)
			w->err = ranges_add(&w->ranges, relro_hi, hi, GCARENA_ROOT_PLAIN);
	}
	return w->err;
}

/*
 * Two sorted lists: tell the collector what differs, and make the new one ours.
 * a->lock is held.
 */
static int replace(struct gca_arena *a, struct walk *w)
{
	struct gcl_ranges add = { 0 }, del = { 0 }, *new = &w->ranges, old = a->found;
	uint32_t i = 0, j = 0;
	int err = 0;

	ranges_sort(new);
	while (!err && (i < old.n || j < new->n)) {
		const struct gcarena_range *x = &old.range[i], *y = &new->range[j];

		if (i < old.n && j < new->n && same_range(x, y)) {
			i++;
			j++;
		} else if (j == new->n || (i < old.n && x->start <= y->start)) {
			err = ranges_add(&del, x->start, x->start + x->len, x->kind);
			i++;
		} else {
			err = ranges_add(&add, y->start, y->start + y->len, y->kind);
			j++;
		}
	}
	if (!err)
		err = tell(a, add.range, add.n, del.range, del.n);
	if (!err) {
		a->found = *new;
		*new = old;
		a->adds = w->adds;
		a->subs = w->subs;
		a->found_once = true;
	} else {
		a->found_once = false;
	}
	ranges_free(&add);
	ranges_free(&del);
	return err;
}

/*
 * Before each cycle.  @adds: dlpi_adds that this look saw, for gcl_roots_missed(),
 * or NULL.  Several threads may be here at once: a look that is older than what is
 * known (the two counters only grow) changes nothing.  Return: 0, or -1 with errno.
 */
int gcl_roots_refresh(struct gca_arena *a, uint64_t *adds)
{
	struct walk w = { .own = gcl_is_separate() ? (uintptr_t)&gcl_is_separate : 0 };
	bool plain = !(a->flags & GCA_NO_PLAIN_ROOTS);
	struct gcl_signals sigs;

	if (plain) {
		sigs = gcl_lock(a);
		w.known = a->found_once;
		w.adds = a->adds;
		w.subs = a->subs;
		pthread_mutex_unlock(&a->lock);
		dl_iterate_phdr(look, &w);
		gcl_restore(sigs);
	}
	if (adds)
		*adds = w.adds;
	sigs = gcl_lock(a);
	touch(&a->added);
	if (plain && !w.err && !w.again &&
	    (!a->found_once || a->adds + a->subs < w.adds + w.subs))
		w.err = replace(a, &w);
	touch(&a->found);
	gcl_unlock(a, sigs);
	ranges_free(&w.ranges);
	if (w.err)
		return gcl_fail(-w.err, "the data of the loaded objects could not be made roots: %s",
				strerror(-w.err));
	return 0;
}

static int look_again(struct dl_phdr_info *info, size_t size, void *data)
{
	struct walk *w = data;

	(void)size;
	w->again = w->adds == info->dlpi_adds;
	return 1;
}

/*
 * After a cycle's beginning.  Return: true if objects were loaded since the look that
 * saw @adds.  Takes no lock but the loader's.
 */
bool gcl_roots_missed(struct gca_arena *a, uint64_t adds)
{
	struct walk w = { .adds = adds };
	struct gcl_signals sigs;

	if (a->flags & GCA_NO_PLAIN_ROOTS)
		return false;
	sigs = gcl_block();
	dl_iterate_phdr(look_again, &w);
	gcl_restore(sigs);
	return !w.again;
}

/* ------------------------------------------------------------ the program's */

static const char *who(bool add)
{
	return add ? "gca_root_add" : "gca_root_remove";
}

static int check_range(const void *start, size_t len, bool add)
{
	if (!len || ((uintptr_t)start | len) % 8 || (uintptr_t)start + len < len)
		return gcl_fail(EINVAL, "%s: start and length must be multiples of 8, length more than 0",
				who(add));
	return 0;
}

/* Add or remove a range of a GCARENA_ROOT_ kind. */
int gcl_root_change(struct gca_arena *a, const void *start, size_t len, uint32_t kind, bool add)
{
	struct gcarena_range r = { .start = (uintptr_t)start, .len = len, .kind = kind };
	struct gcl_signals sigs;
	uint32_t i;
	int err;

	if (gcl_dead(a))
		return -1;
	if (check_range(start, len, add))
		return -1;
	sigs = gcl_lock(a);
	for (i = 0; i < a->added.n && !same_range(&a->added.range[i], &r); i++)
		;
	if (add) {
		err = ranges_add(&a->added, r.start, r.start + r.len, r.kind);
		if (!err) {
			err = tell(a, &r, 1, NULL, 0);
			a->added.n -= !!err;
		}
	} else {
		err = i < a->added.n ? tell(a, NULL, 0, &r, 1) : -ENOENT;
		if (!err)
			a->added.range[i] = a->added.range[--a->added.n];
	}
	gcl_unlock(a, sigs);
	if (err == -ENOENT)
		return gcl_fail(ENOENT, "gca_root_remove: this range was not added with these flags");
	if (err)
		return gcl_fail(-err, "%s: %s", who(add), strerror(-err));
	return 0;
}

static int change(struct gca_arena *a, const void *start, size_t len, unsigned int flags, bool add)
{
	if (flags & ~GCA_ROOT_PLAIN)
		return gcl_fail(EINVAL, "%s: flags %#x are not known", who(add), flags);
	return gcl_root_change(a, start, len, flags ? GCARENA_ROOT_PLAIN : GCARENA_ROOT_BARRIERED,
			       add);
}

int gca_root_add(struct gca_arena *a, const void *start, size_t len, unsigned int flags)
{
	return change(a, start, len, flags, true);
}

int gca_root_remove(struct gca_arena *a, const void *start, size_t len, unsigned int flags)
{
	return change(a, start, len, flags, false);
}

static void list_one(struct gca_root *roots, int room, int *n, uint64_t lo, uint64_t hi,
		     unsigned int flags)
{
	if (lo >= hi)
		return;
	if (*n < room)
		roots[*n] = (struct gca_root){ .start = lo, .len = hi - lo, .flags = flags };
	++*n;
}

int gca_roots(struct gca_arena *a, struct gca_root *roots, int room)
{
	const struct gcl_mutator *m;
	const struct gcarena_range *r;
	struct gcl_signals sigs;
	uint32_t i;
	int n = 0;

	if (!a->dead && gcl_roots_refresh(a, NULL))
		return -1;
	sigs = gcl_lock(a);
	for (i = 0; i < a->found.n; i++) {
		r = &a->found.range[i];
		list_one(roots, room, &n, r->start, r->start + r->len,
			 GCA_ROOT_PLAIN | GCA_ROOT_FOUND);
	}
	for (i = 0; i < a->added.n; i++) {
		r = &a->added.range[i];
		list_one(roots, room, &n, r->start, r->start + r->len,
			 r->kind == GCARENA_ROOT_PLAIN ? GCA_ROOT_PLAIN :
			 r->kind == GCARENA_ROOT_STACK ? GCA_ROOT_STACK : 0);
	}
	for (m = a->mutators; m; m = m->next) {
		list_one(roots, room, &n, m->attach.stack_lo, m->attach.stack_hi, GCA_ROOT_STACK);
		list_one(roots, room, &n, m->attach.altstack_lo, m->attach.altstack_hi,
			 GCA_ROOT_ALTSTACK);
		list_one(roots, room, &n, m->attach.tls_lo, m->attach.tls_hi, GCA_ROOT_TLS);
	}
	gcl_unlock(a, sigs);
	return n;
}

/* ------------------------------------------------------ thread-local storage */

struct tls_walk {
	uintptr_t tp, lo;
	size_t most;		/* what static TLS can be at most */
	bool measuring;
};

static int look_tls(struct dl_phdr_info *info, size_t size, void *data)
{
	struct tls_walk *w = data;
	uintptr_t block = (uintptr_t)info->dlpi_tls_data;
	unsigned int i;

	if (size < offsetof(struct dl_phdr_info, dlpi_tls_data) + sizeof(info->dlpi_tls_data))
		return 1;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type != PT_TLS)
			continue;
		if (w->measuring)
			w->most += p->p_memsz + p->p_align;
		else if (block && block < w->tp && w->tp - block <= w->most && block < w->lo)
			w->lo = block;
	}
	return 0;
}

static bool mapped(uintptr_t page, size_t step)
{
	unsigned char vec;

	return !mincore((void *)page, step, &vec);
}

/*
 * x86: static TLS lies below the thread pointer, the thread descriptor above.
 * Blocks that are not near belong to libraries that were loaded later.
 */
void gcl_tls_range(uint64_t *lo, uint64_t *hi)
{
#if defined(__x86_64__)
	size_t step = (size_t)-page_mask();
	struct tls_walk w = { .most = GCL_TLS_SURPLUS, .measuring = true };
	uintptr_t page, end;

	__asm__ ("movq %%fs:0, %0" : "=r"(w.tp));
	w.lo = w.tp;
	dl_iterate_phdr(look_tls, &w);
	w.measuring = false;
	dl_iterate_phdr(look_tls, &w);

	end = (w.tp + GCL_TCB_BYTES) & ~(uintptr_t)7;
	for (page = w.tp & page_mask(); page > w.lo; page -= step)
		if (!mapped(page - step, step))
			break;
	if (page > w.lo)
		w.lo = page;
	for (page = w.tp & page_mask(); page < end; page += step)
		if (!mapped(page, step))
			break;
	if (page < end)
		end = page;
	*lo = w.lo & ~(uintptr_t)7;
	*hi = end;
#else
	(void)lo;
	(void)hi;
#endif
}
