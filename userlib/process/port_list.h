/* SPDX-License-Identifier: MIT */
/*
 * port_list.h: the kernel's circular list and its sort(), for port_impl.h.
 *
 * Written from the kernel's documented interface.  sort() is a heap sort, as in
 * the kernel: no allocation, no recursion, O(n log n) for every input.  qsort()
 * would not do: glibc's allocates.
 */
#ifndef GCA_PROCESS_PORT_LIST_H
#define GCA_PROCESS_PORT_LIST_H

struct list_head {
	struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(name)	{ &(name), &(name) }
#define LIST_HEAD(name)		struct list_head name = LIST_HEAD_INIT(name)
#define LIST_POISON1		((struct list_head *)0x100)
#define LIST_POISON2		((struct list_head *)0x122)

static inline void INIT_LIST_HEAD(struct list_head *h)
{
	WRITE_ONCE(h->next, h);
	h->prev = h;
}

static inline void __list_add(struct list_head *n, struct list_head *prev, struct list_head *next)
{
	next->prev = n;
	WRITE_ONCE(n->next, next);
	n->prev = prev;
	WRITE_ONCE(prev->next, n);
}

static inline void list_add(struct list_head *n, struct list_head *h)
{
	__list_add(n, h, h->next);
}

static inline void list_add_tail(struct list_head *n, struct list_head *h)
{
	__list_add(n, h->prev, h);
}

static inline void __list_del_entry(struct list_head *e)
{
	e->next->prev = e->prev;
	WRITE_ONCE(e->prev->next, e->next);
}

static inline void list_del(struct list_head *e)
{
	__list_del_entry(e);
	WRITE_ONCE(e->next, LIST_POISON1);
	e->prev = LIST_POISON2;
}

static inline void list_del_init(struct list_head *e)
{
	__list_del_entry(e);
	INIT_LIST_HEAD(e);
}

static inline void list_move(struct list_head *e, struct list_head *h)
{
	__list_del_entry(e);
	list_add(e, h);
}

static inline void list_move_tail(struct list_head *e, struct list_head *h)
{
	__list_del_entry(e);
	list_add_tail(e, h);
}

static inline int list_empty(const struct list_head *h)
{
	return READ_ONCE(h->next) == h;
}

static inline int list_is_singular(const struct list_head *h)
{
	return !list_empty(h) && h->next == h->prev;
}

static inline void __list_splice(const struct list_head *l, struct list_head *prev,
				 struct list_head *next)
{
	struct list_head *first = l->next, *last = l->prev;

	first->prev = prev;
	prev->next = first;
	last->next = next;
	next->prev = last;
}

static inline void list_splice_init(struct list_head *l, struct list_head *h)
{
	if (!list_empty(l)) {
		__list_splice(l, h, h->next);
		INIT_LIST_HEAD(l);
	}
}

static inline void list_splice_tail_init(struct list_head *l, struct list_head *h)
{
	if (!list_empty(l)) {
		__list_splice(l, h->prev, h);
		INIT_LIST_HEAD(l);
	}
}

#define list_entry(p, type, member)		container_of(p, type, member)
#define list_first_entry(h, type, member)	list_entry((h)->next, type, member)
#define list_last_entry(h, type, member)	list_entry((h)->prev, type, member)
#define list_first_entry_or_null(h, type, member) \
	(list_empty(h) ? NULL : list_first_entry(h, type, member))
#define list_next_entry(p, member)	list_entry((p)->member.next, __typeof__(*(p)), member)
#define list_prev_entry(p, member)	list_entry((p)->member.prev, __typeof__(*(p)), member)

#define list_for_each(p, h) \
	for ((p) = (h)->next; (p) != (h); (p) = (p)->next)
#define list_for_each_entry(p, h, member)				\
	for ((p) = list_first_entry(h, __typeof__(*(p)), member);	\
	     &(p)->member != (h);					\
	     (p) = list_next_entry(p, member))
#define list_for_each_entry_reverse(p, h, member)			\
	for ((p) = list_last_entry(h, __typeof__(*(p)), member);	\
	     &(p)->member != (h);					\
	     (p) = list_prev_entry(p, member))
#define list_for_each_entry_safe(p, n, h, member)			\
	for ((p) = list_first_entry(h, __typeof__(*(p)), member),	\
	     (n) = list_next_entry(p, member);				\
	     &(p)->member != (h);					\
	     (p) = (n), (n) = list_next_entry(n, member))

typedef int (*cmp_func_t)(const void *a, const void *b);
typedef void (*swap_func_t)(void *a, void *b, int size);

static inline void __gca_sort_swap(char *a, char *b, size_t size)
{
	while (size--) {
		char t = *a;

		*a++ = *b;
		*b++ = t;
	}
}

static inline void __gca_sort_sift(char *base, size_t root, size_t num, size_t size, cmp_func_t cmp)
{
	for (;;) {
		size_t child = 2 * root + 1;

		if (child >= num)
			return;
		if (child + 1 < num && cmp(base + child * size, base + (child + 1) * size) < 0)
			child++;
		if (cmp(base + root * size, base + child * size) >= 0)
			return;
		__gca_sort_swap(base + root * size, base + child * size, size);
		root = child;
	}
}

static inline void sort(void *base, size_t num, size_t size, cmp_func_t cmp, swap_func_t swap_func)
{
	size_t i;

	(void)swap_func;
	for (i = num / 2; i-- > 0;)
		__gca_sort_sift(base, i, num, size, cmp);
	for (i = num; i-- > 1;) {
		__gca_sort_swap(base, (char *)base + i * size, size);
		__gca_sort_sift(base, 0, i, size, cmp);
	}
}

#endif /* GCA_PROCESS_PORT_LIST_H */
