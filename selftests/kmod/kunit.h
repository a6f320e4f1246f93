/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kunit.h: what the files of gcarena_test.ko share.
 */
#ifndef GCA_TEST_KUNIT_H
#define GCA_TEST_KUNIT_H

#include <linux/types.h>

struct kunit_suite;

extern unsigned int gca_warnings;
extern long gca_test_fail_after;

void gca_test_reset(bool last);
unsigned int gca_test_blocks(void);

extern struct kunit_suite gca_window_suite;

#endif /* GCA_TEST_KUNIT_H */
