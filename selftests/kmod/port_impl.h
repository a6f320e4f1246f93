/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * port_impl.h: the kernel's port for a heap of the kernel's own.
 *
 * The core in gcarena_test.ko is compiled with the locks, atomics and allocators
 * of kmod/, but its heap lies in vmalloc space, where the tests may write: a read
 * is a load, and a test decides which reads "miss".  test_window.c defines
 * GCA_TEST_WINDOW and gets the reads of the real module.
 */
#ifndef GCA_TEST_PORT_IMPL_H
#define GCA_TEST_PORT_IMPL_H

#include "../../kmod/port_impl.h"

#ifndef GCA_TEST_WINDOW

#undef GCA_UREAD_BEGIN
#undef GCA_UREAD_END
#undef GCA_UREAD

#define GCA_UREAD_BEGIN(a)	((void)(a), true)
#define GCA_UREAD_END()		do { } while (0)
#define GCA_UREAD(dst, addr, label)					\
	do {								\
		u64 __uaddr = (addr);					\
									\
		if (gca_uread_hook(__uaddr))				\
			goto label;					\
		(dst) = gca_uread_word(__uaddr);			\
	} while (0)

bool gca_uread_hook(u64 addr);

static __always_inline u64 gca_uread_word(u64 addr)
{
	return READ_ONCE(*(const u64 *)addr);
}

#endif /* GCA_TEST_WINDOW */

/* Each time, not once, and counted: a test looks at the count when it ends. */
extern unsigned int gca_warnings;

#undef WARN_ON_ONCE
#define WARN_ON_ONCE(cond) ({						\
	bool __warn = !!(cond);						\
									\
	if (unlikely(__warn)) {						\
		gca_warnings++;						\
		pr_err("WARNING: %s:%d: %s\n", __FILE__, __LINE__, #cond); \
	}								\
	unlikely(__warn); })

#define gca_port_contended()	need_resched()

#endif /* GCA_TEST_PORT_IMPL_H */
