// SPDX-License-Identifier: GPL-2.0-only
/*
 * kunit.c: gcarena_test.ko, the unit tests as KUnit suites.
 *
 * The main() of each test file (renamed, see Kbuild) tells its tests to
 * cmocka_run_group_tests(), which notes them as cases of a suite.  Suites are not
 * put where KUnit finds them by itself: it would run them before a module
 * parameter is set and before init.
 */
#include <kunit/test.h>
#include <linux/kthread.h>
#include <linux/module.h>

#include "cmocka_kunit.h"
#include "kunit.h"

#define MAX_TESTS	64

struct gca_suite {
	struct kunit_suite suite;
	int (*main)(int argc, char **argv);
	u32 n;
	struct CMUnitTest test[MAX_TESTS];
	struct kunit_case cases[MAX_TESTS + 1];
};

static char *only = "";
module_param(only, charp, 0444);
MODULE_PARM_DESC(only, "name of the one suite to run, without gcarena_");

static struct kunit *current_test;
static struct task_struct *test_task;
static struct gca_suite *current_suite;

/* ------------------------------------------------------------------- cmocka */

void cmocka_kunit_fail(const char *file, int line, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	vscnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	KUNIT_FAIL(current_test, "%s:%d: %s", kbasename(file), line, text);
	/* Another thread of the test must not end the test under its feet. */
	if (current != test_task)
		kthread_complete_and_exit(NULL, -EFAULT);
	kunit_try_catch_throw(&current_test->try_catch);
}

void cmocka_kunit_print(const char *fmt, ...)
{
	static char line[512];
	static size_t n;
	va_list ap;

	va_start(ap, fmt);
	n += vscnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	if (n && (line[n - 1] == '\n' || n == sizeof(line) - 1)) {
		pr_info("%s", line);
		n = 0;
	}
}

void cmocka_kunit_skip(void)
{
	kunit_skip(current_test, "skipped");
}

static void run_case(struct kunit *test)
{
	struct CMUnitTest *t = current_suite->test;
	void *state;

	current_test = test;
	test_task = current;
	gca_test_reset(false);
	while (t->name != test->name)
		t++;
	state = t->initial_state;
	if (t->setup_func)
		assert_int_equal(t->setup_func(&state), 0);
	t->test_func(&state);
	if (t->teardown_func)
		assert_int_equal(t->teardown_func(&state), 0);
	assert_int_equal(gca_warnings, 0);
	assert_int_equal(gca_test_blocks(), 0);
}

int cmocka_kunit_collect(const struct CMUnitTest *tests, size_t n)
{
	struct gca_suite *s = current_suite;

	if (WARN_ON(n > MAX_TESTS - s->n))
		return -ENOSPC;
	while (n--) {
		s->test[s->n] = *tests++;
		s->cases[s->n] = (struct kunit_case) {
			.run_case = run_case,
			.name = s->test[s->n].name,
		};
		s->n++;
	}
	return 0;
}

/* ------------------------------------------------------------------- suites */

#define GCA_SUITE(name)	extern int gca_main_##name(int argc, char **argv);
#include "suites.h"
#undef GCA_SUITE

static struct gca_suite suites[] = {
#define GCA_SUITE(name_) { .suite = { .name = "gcarena_" #name_ }, .main = gca_main_##name_ },
#include "suites.h"
#undef GCA_SUITE
};

static void run_suite(struct kunit_suite *s)
{
	if (!*only || !strcmp(only, s->name + strlen("gcarena_")))
		__kunit_test_suites_init(&s, 1);
}

static void forget_suite(struct kunit_suite *s)
{
	if (s->debugfs)
		__kunit_test_suites_exit(&s, 1);
}

static int __init gca_test_init(void)
{
	static char *argv[] = { "kunit", NULL };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(suites); i++) {
		current_suite = &suites[i];
		suites[i].suite.test_cases = suites[i].cases;
		if (!suites[i].main(1, argv))
			run_suite(&suites[i].suite);
	}
	gca_test_reset(true);
	/* Last: it says whether lockdep has been watching to the end. */
	run_suite(&gca_window_suite);
	return 0;
}

static void __exit gca_test_exit(void)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(suites); i++)
		forget_suite(&suites[i].suite);
	forget_suite(&gca_window_suite);
}

module_init(gca_test_init);
module_exit(gca_test_exit);
MODULE_DESCRIPTION("Unit tests of gcarena's collector");
MODULE_LICENSE("GPL");
