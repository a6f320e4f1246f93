/* SPDX-License-Identifier: GPL-2.0-only */
/* suites.h: the test files of selftests/unit that Kbuild compiles. No guard. */
GCA_SUITE(sizeclass)
GCA_SUITE(pageheap)
GCA_SUITE(find)
GCA_SUITE(colour)
