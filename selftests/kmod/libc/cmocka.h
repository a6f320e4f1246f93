/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GCA_LIBC_CMOCKA_H
#define GCA_LIBC_CMOCKA_H

#include "../cmocka_kunit.h"
#include "port_impl.h"

/* A macro of the kernel's; a program may call its variables so. */
#undef current

#endif /* GCA_LIBC_CMOCKA_H */
