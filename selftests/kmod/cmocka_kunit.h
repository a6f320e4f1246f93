/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cmocka_kunit.h: what the unit tests use of cmocka and of the C library, for
 * tests that run in the kernel.  The headers in libc/ all include this one.
 *
 * A failed assertion ends the test as KUnit's do: its thread exits, nothing is
 * cleaned up.
 */
#ifndef GCA_CMOCKA_KUNIT_H
#define GCA_CMOCKA_KUNIT_H

#include <linux/array_size.h>
#include <linux/kernel.h>
#include <linux/mman.h>
#include <linux/overflow.h>
#include <linux/printk.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/time.h>
#include <linux/types.h>

/* ------------------------------------------------------------------- cmocka */

typedef int cmocka_fixture(void **state);

struct CMUnitTest {
	const char *name;
	void (*test_func)(void **state);
	cmocka_fixture *setup_func;
	cmocka_fixture *teardown_func;
	void *initial_state;
};

#define cmocka_unit_test(f)	{ #f, f, NULL, NULL, NULL }
#define cmocka_unit_test_setup_teardown(f, setup, teardown) \
	{ #f, f, setup, teardown, NULL }
#define cmocka_unit_test_setup(f, setup)	{ #f, f, setup, NULL, NULL }
#define cmocka_unit_test_teardown(f, teardown)	{ #f, f, NULL, teardown, NULL }
#define cmocka_unit_test_prestate(f, state)	{ #f, f, NULL, NULL, state }

/* Notes the tests; KUnit runs them. */
int cmocka_kunit_collect(const struct CMUnitTest *tests, size_t n);

#define cmocka_run_group_tests(tests, setup, teardown)			\
	((void)(setup), (void)(teardown),				\
	 cmocka_kunit_collect(tests, ARRAY_SIZE(tests)))

/* Do not return; objtool must not be told. */
void __printf(3, 4) cmocka_kunit_fail(const char *file, int line, const char *fmt, ...);
void cmocka_kunit_skip(void);

#define fail_msg(...)	cmocka_kunit_fail(__FILE__, __LINE__, __VA_ARGS__)
#define fail()		fail_msg("failure")
#define skip()		cmocka_kunit_skip()

#define assert_true(c)							\
	do {								\
		if (!(c))						\
			fail_msg("%s", #c);				\
	} while (0)
#define assert_false(c)							\
	do {								\
		if (c)							\
			fail_msg("not: %s", #c);			\
	} while (0)
#define __cmocka_compare(a, op, b)					\
	do {								\
		u64 __ca = (u64)(a), __cb = (u64)(b);			\
									\
		if (!(__ca op __cb))					\
			fail_msg("%s %s %s: %#llx, %#llx", #a, #op, #b,	__ca, __cb); \
	} while (0)
#define assert_int_equal(a, b)		__cmocka_compare(a, ==, b)
#define assert_int_not_equal(a, b)	__cmocka_compare(a, !=, b)
#define assert_ptr_equal(a, b)		__cmocka_compare((uintptr_t)(a), ==, (uintptr_t)(b))
#define assert_ptr_not_equal(a, b)	__cmocka_compare((uintptr_t)(a), !=, (uintptr_t)(b))
#define assert_null(p)			assert_ptr_equal(p, NULL)
#define assert_non_null(p)		assert_ptr_not_equal(p, NULL)
#define assert_in_range(v, lo, hi)					\
	do {								\
		__cmocka_compare(v, >=, lo);				\
		__cmocka_compare(v, <=, hi);				\
	} while (0)
#define assert_string_equal(a, b)	assert_true(!strcmp(a, b))
#define assert_memory_equal(a, b, n)	assert_true(!memcmp(a, b, n))
#define assert_memory_not_equal(a, b, n) assert_true(memcmp(a, b, n))

/* Whole lines go to the kernel's log. */
void __printf(1, 2) cmocka_kunit_print(const char *fmt, ...);

#define print_message(...)	cmocka_kunit_print(__VA_ARGS__)
#define print_error(...)	cmocka_kunit_print(__VA_ARGS__)
#define printf(...)		cmocka_kunit_print(__VA_ARGS__)

/* Whose blocks must all be freed when the test ends. */
#define test_malloc(n)		cmocka_kunit_alloc(n, true)
#define test_calloc(n, size)	cmocka_kunit_alloc(array_size(n, size), true)
#define test_free(p)		cmocka_kunit_free(p)

/* ---------------------------------------------------------------- C library */

void *cmocka_kunit_alloc(size_t bytes, bool counted);
void *cmocka_kunit_realloc(void *p, size_t bytes);
void cmocka_kunit_free(const void *p);

#define malloc(n)		cmocka_kunit_alloc(n, false)
#define calloc(n, size)		cmocka_kunit_alloc(array_size(n, size), false)
#define realloc(p, n)		cmocka_kunit_realloc(p, n)
#define free(p)			cmocka_kunit_free(p)
#define qsort(base, n, size, cmp)	sort(base, n, size, cmp, NULL)

static inline unsigned long long strtoull(const char *s, char **end, int base)
{
	return simple_strtoull(s, end, base);
}

#define MAP_FAILED	((void *)-1L)

/* Anonymous memory only.  See port_test.c for what backs it. */
void *mmap(void *addr, size_t bytes, int prot, int flags, int fd, long off);
int munmap(void *p, size_t bytes);

struct timespec {
	long tv_sec;
	long tv_nsec;
};

int clock_gettime(int clock, struct timespec *t);

#endif /* GCA_CMOCKA_KUNIT_H */
