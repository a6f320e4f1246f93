// SPDX-License-Identifier: MIT
/*
 * self.c: is the library a loaded object of its own?
 *
 * Compiled twice, with GCL_SHARED for the shared library and without for the
 * archive: linked into a program, the library's data is part of the program's
 * and cannot be told from it.
 */
#include "internal.h"

bool gcl_is_separate(void)
{
#ifdef GCL_SHARED
	return true;
#else
	return false;
#endif
}
