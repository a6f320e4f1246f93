// SPDX-License-Identifier: GPL-2.0-only
/*
 * map.c: everything that touches a VMA.
 *
 * Three things can be mapped, told apart by the offset:
 *  - the heap: private, anonymous from then on, once (see gca_map_heap()).  We keep
 *    its address and nothing else: what the owner does to it later (munmap, mremap,
 *    MAP_FIXED) is silent, and a read that fails finds out;
 *  - the control page: shared, read-only for ever, once.  It is not inherited by
 *    fork, cannot be split, moved or grown; its end is the arena's death;
 *  - the mutator area of an attached thread: shared, read-write.
 *
 * Everything here runs under mmap_lock; inside it only shell->map_lock is taken.
 * It may not take a mutex, look at a cycle, or keep a VMA pointer.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "glue.h"

/* ---------------------------------------------------------------- shared pages */

static void gca_pages_free(struct gca_pages *p)
{
	while (p->n)
		__free_page(p->page[--p->n]);
	kvfree(p->page);
	p->page = NULL;
}

/**
 * gca_pages_init() - zeroed pages, charged to the caller's memory cgroup
 * @p: to be filled in
 * @bytes: rounded up to pages
 *
 * Order 0, because vmalloc_user() is not charged and large orders fail.
 */
int gca_pages_init(struct gca_pages *p, size_t bytes)
{
	unsigned int n = DIV_ROUND_UP(bytes, PAGE_SIZE);

	p->n = 0;
	p->page = kvcalloc(n, sizeof(*p->page), GFP_KERNEL_ACCOUNT);
	if (!p->page)
		return -ENOMEM;
	while (p->n < n) {
		struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);

		if (!page)
			goto err;
		p->page[p->n++] = page;
	}
	p->addr = vmap(p->page, n, VM_MAP, PAGE_KERNEL);
	if (!p->addr)
		goto err;
	return 0;
err:
	gca_pages_free(p);
	return -ENOMEM;
}

/** gca_pages_fini() - our mapping and references go; a user's mapping keeps its pages */
void gca_pages_fini(struct gca_pages *p)
{
	vunmap(p->addr);
	p->addr = NULL;
	gca_pages_free(p);
}

static int gca_pages_map(struct gca_pages *p, struct vm_area_struct *vma)
{
	unsigned long n = p->n;

	return vm_insert_pages(vma, vma->vm_start, p->page, &n);
}

/* Page @pgoff of @p again, after the owner's MADV_DONTNEED took it away. */
static vm_fault_t gca_pages_fault(struct gca_pages *p, struct vm_fault *vmf, u64 offset)
{
	unsigned long i = vmf->pgoff - (offset >> PAGE_SHIFT);

	if (i >= p->n)
		return VM_FAULT_SIGBUS;
	get_page(p->page[i]);
	vmf->page = p->page[i];
	return 0;
}

static int gca_vma_refuse_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

static int gca_vma_refuse_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

/* ----------------------------------------------------------------- control page */

/*
 * mremap() makes its copy before it asks ->mremap, and MADV_DOFORK can undo
 * VM_DONTCOPY.  So the owner's mappings are counted, and a child's are not.
 */
static void gca_control_open(struct vm_area_struct *vma)
{
	struct gca_shell *s = vma->vm_file->private_data;

	if (vma->vm_mm != s->mm)
		return;
	spin_lock(&s->map_lock);
	s->control_vmas++;
	spin_unlock(&s->map_lock);
}

static void gca_control_close(struct vm_area_struct *vma)
{
	struct gca_shell *s = vma->vm_file->private_data;
	bool last;

	if (vma->vm_mm != s->mm)
		return;
	spin_lock(&s->map_lock);
	last = !--s->control_vmas;
	spin_unlock(&s->map_lock);
	if (last)
		gca_shell_die(s);
}

static vm_fault_t gca_control_fault(struct vm_fault *vmf)
{
	struct gca_shell *s = vmf->vma->vm_file->private_data;
	vm_fault_t ret;

	if (!gca_shell_tryget(s))
		return VM_FAULT_SIGBUS;
	ret = gca_pages_fault(&s->control, vmf, GCA_CONTROL_OFFSET);
	gca_shell_put(s);
	return ret;
}

static const struct vm_operations_struct gca_control_ops = {
	.open = gca_control_open,
	.close = gca_control_close,
	.fault = gca_control_fault,
	.may_split = gca_vma_refuse_split,
	.mremap = gca_vma_refuse_mremap,
};

/*
 * What gca_mapped() lets in relies on the heap staying where it is, so the page counts as mapped
 * when it is, not before.  Two at a time cannot be here: mmap_lock is held for writing.
 */
static int gca_map_control(struct gca_shell *s, struct vm_area_struct *vma)
{
	bool busy;
	int ret;

	if (!(vma->vm_flags & VM_SHARED) || vma->vm_flags & VM_EXEC ||
	    vma->vm_end - vma->vm_start != PAGE_SIZE)
		return -EINVAL;
	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	spin_lock(&s->map_lock);
	busy = s->control_mapped;
	spin_unlock(&s->map_lock);
	if (busy)
		return -EBUSY;
	gca_vm_flags(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYWRITE | VM_MAYEXEC);
	ret = gca_pages_map(&s->control, vma);
	if (ret)
		return ret;
	spin_lock(&s->map_lock);
	s->control_mapped = true;
	s->control_vmas = 1;
	spin_unlock(&s->map_lock);
	vma->vm_ops = &gca_control_ops;
	return 0;
}

/* ----------------------------------------------------------------- mutator area */

static u32 gca_mutator_id(u64 offset)
{
	return (offset - GCA_MUTATOR_OFFSET) / GCA_MUTATOR_STRIDE;
}

static u64 gca_mutator_offset(u64 offset)
{
	return GCA_MUTATOR_OFFSET + (u64)gca_mutator_id(offset) * GCA_MUTATOR_STRIDE;
}

static vm_fault_t gca_mutator_fault(struct vm_fault *vmf)
{
	struct gca_shell *s = vmf->vma->vm_file->private_data;
	u64 offset = (u64)vmf->pgoff << PAGE_SHIFT;
	struct gca_thread *t;
	vm_fault_t ret;

	t = gca_thread_get(s, gca_mutator_id(offset));
	if (!t)
		return VM_FAULT_SIGBUS;
	ret = gca_pages_fault(&t->pages, vmf, gca_mutator_offset(offset));
	gca_thread_put(t);
	return ret;
}

static const struct vm_operations_struct gca_mutator_ops = {
	.fault = gca_mutator_fault,
	.may_split = gca_vma_refuse_split,
	.mremap = gca_vma_refuse_mremap,
};

static int gca_map_mutator(struct gca_shell *s, struct vm_area_struct *vma, u64 offset)
{
	struct gca_thread *t;
	int ret = -EINVAL;

	if (!(vma->vm_flags & VM_SHARED) || vma->vm_flags & VM_EXEC)
		return -EINVAL;
	t = gca_thread_get(s, gca_mutator_id(offset));
	if (!t)
		return -ENXIO;
	if (offset != gca_mutator_offset(offset) ||
	    vma->vm_end - vma->vm_start != (u64)t->pages.n << PAGE_SHIFT)
		goto out;
	gca_vm_flags(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	ret = gca_pages_map(&t->pages, vma);
	if (!ret)
		vma->vm_ops = &gca_mutator_ops;
out:
	gca_thread_put(t);
	return ret;
}

/* ------------------------------------------------------------------------- heap */

/*
 * Ordinary anonymous memory from here on: RSS, memory cgroup, swap, huge pages,
 * fork and core dumps are as for any other.  Not VM_DONTEXPAND, which would
 * forbid huge pages.
 *
 * mmap() can still fail after us, and nobody tells: so until the control page is
 * mapped, before which no call looks at the heap, the mapping may be made again if
 * it is not there.
 */
static int gca_map_heap(struct gca_shell *s, struct vm_area_struct *vma)
{
	struct vm_area_struct *old;
	bool busy;

	if (vma->vm_flags & (VM_SHARED | VM_EXEC) || !(vma->vm_flags & VM_WRITE) ||
	    !(vma->vm_flags & VM_READ) || vma->vm_end - vma->vm_start != s->reserve)
		return -EINVAL;
	old = vma_lookup(vma->vm_mm, READ_ONCE(s->a->base));
	spin_lock(&s->map_lock);
	busy = s->heap_mapped && (s->control_mapped || (old && old->vm_file == vma->vm_file));
	if (!busy) {
		gca_arena_map(s->a, vma->vm_start);
		s->heap_mapped = true;
	}
	spin_unlock(&s->map_lock);
	if (busy)
		return -EBUSY;
	vma_set_anonymous(vma);
	return 0;
}

/** gca_mapped() - are heap and control page mapped? Before that there is nothing to collect */
bool gca_mapped(struct gca_shell *s)
{
	bool mapped;

	spin_lock(&s->map_lock);
	mapped = s->heap_mapped && s->control_mapped;
	spin_unlock(&s->map_lock);
	return mapped;
}

/*
 * gca_mmap() - ->mmap
 *
 * Return: 0; -ENXIO before CREATE or for a mutator that does not exist, -EPERM
 * if the caller is not the owner, -ESRCH if the arena has died, -EBUSY twice,
 * -EACCES for a writable control page, -EINVAL.
 */
int gca_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct gca_shell *s = file->private_data;
	u64 offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	int ret;

	ret = gca_shell_get(s);
	if (ret)
		return ret;
	if (offset == GCA_HEAP_OFFSET)
		ret = gca_map_heap(s, vma);
	else if (offset == GCA_CONTROL_OFFSET)
		ret = gca_map_control(s, vma);
	else if (offset >= GCA_MUTATOR_OFFSET &&
		 offset - GCA_MUTATOR_OFFSET < (u64)U32_MAX * GCA_MUTATOR_STRIDE)
		ret = gca_map_mutator(s, vma, offset);
	else
		ret = -EINVAL;
	gca_shell_put(s);
	return ret;
}
