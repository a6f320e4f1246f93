/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * compat.h: what differs between the supported kernels, 6.1 to 6.12.
 *
 * Kbuild looks into the kernel's headers and defines GCA_HAVE_*: features are
 * tested, not versions, because distributions backport.  No lock, no state; a
 * difference that cannot be hidden in an inline belongs somewhere else.
 */
#ifndef GCA_COMPAT_H
#define GCA_COMPAT_H

#include <linux/kobject.h>
#include <linux/mm.h>

/**
 * gca_vm_flags() - set and clear flags of a VMA in ->mmap
 * @vma: not yet visible, mmap_lock is held for writing
 * @set: flags to set
 * @clear: flags to clear
 */
static inline void gca_vm_flags(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear)
{
#ifdef GCA_HAVE_VM_FLAGS_MOD
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* Qualifies the first argument of kobj_type.get_ownership. */
#ifdef GCA_HAVE_CONST_OWNERSHIP
#define gca_owned const
#else
#define gca_owned
#endif

#endif /* GCA_COMPAT_H */
