/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * suites.h: the files selftests/unit/test_NAME.c that run in the kernel, in this
 * order.  Read by Kbuild, too; included twice, hence no guard.
 */
GCA_SUITE(sizeclass)
GCA_SUITE(pageheap)
GCA_SUITE(find)
GCA_SUITE(colour)
GCA_SUITE(pacer)
GCA_SUITE(limiter)
GCA_SUITE(request)
