// SPDX-License-Identifier: MIT
/*
 * fiber.c: stacks that the program switches between.
 *
 * The stack of a fiber is a root from creation to destruction (GCARENA_ROOT_STACK).
 * A switch saves the registers that a callee must preserve on the stack it leaves, so
 * nothing else has to be scanned, and says where they are in a word that the collector
 * reads: its last one, or for a thread's own stack gcarena_mutator.stack_sp.  While
 * somebody runs on it, that word is 0 and the stack a root as a whole.
 *
 * The order that this needs: the word of the stack that is entered becomes 0 before
 * anything happens on it; the word of the stack that is left is set when its registers
 * are there.  The switch is one restartable section whose last instruction loads the
 * new stack pointer, so a stop finds a thread on one stack or on the other.  On the
 * old one with its word set already, it is there with the stack pointer that the word
 * has, or in a handler below, where the scan of the thread begins.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

#if !defined(__x86_64__)
#error "only for x86-64"
#endif

/**
 * struct gca_fiber - a stack
 * @sp: where the collector finds the stack pointer while it is parked
 * @lo: lowest address; 0: a thread's own stack
 * @hi: its end
 * @arena: whose root it is
 */
struct gca_fiber {
	uint64_t *sp;
	uint64_t lo, hi;
	struct gca_arena *arena;
};

#define FRAME_WORDS	8	/* what gcl_fiber_swap() leaves on a parked stack */

/*
 * void gcl_fiber_swap(uint64_t *from_sp, const uint64_t *to_sp, int64_t rseq)
 *
 * The section's bounds and descriptor as in gcarena-inline.h.  A parked frame, from
 * its sp on: control words of SSE and x87, r15, r14, r13, r12, rbx, rbp, return address.
 */
__asm__ (".pushsection __rseq_cs, \"aw\"\n"
	 "	.balign 32\n"
	 "3:	.long 0, 0\n"
	 "	.quad 1f, (2f - 1f), 4f\n"
	 "	.popsection\n"
	 "	.pushsection .text\n"
	 "	.align 16\n"
	 "	.type gcl_fiber_swap, @function\n"
	 "gcl_fiber_swap:\n"
	 "	pushq %rbp\n"
	 "	pushq %rbx\n"
	 "	pushq %r12\n"
	 "	pushq %r13\n"
	 "	pushq %r14\n"
	 "	pushq %r15\n"
	 "	subq $8, %rsp\n"
	 "	stmxcsr (%rsp)\n"
	 "	fnstcw 4(%rsp)\n"
	 "	testq %rdx, %rdx\n"
	 "	jz 6f\n"
	 "5:	leaq 3b(%rip), %rax\n"
	 "	movq %rax, %fs:8(%rdx)\n"
	 "1:	movq %rsp, (%rdi)\n"
	 "	movq (%rsi), %rsp\n"
	 "2:	movq $0, %fs:8(%rdx)\n"
	 "	jmp 7f\n"
	 "	.byte 0x0f, 0xb9, 0x3d\n"	/* ud1 SIG(%rip), %edi */
	 "	.long 0x53053053\n"
	 "4:	jmp 5b\n"
	 "6:	movq %rsp, (%rdi)\n"
	 "	movq (%rsi), %rsp\n"
	 "7:	ldmxcsr (%rsp)\n"
	 "	fldcw 4(%rsp)\n"
	 "	addq $8, %rsp\n"
	 "	popq %r15\n"
	 "	popq %r14\n"
	 "	popq %r13\n"
	 "	popq %r12\n"
	 "	popq %rbx\n"
	 "	popq %rbp\n"
	 "	ret\n"
	 "	.size gcl_fiber_swap, . - gcl_fiber_swap\n"
	 /* A new fiber begins here, as if it had been parked: r12 is what it calls. */
	 "	.type gcl_fiber_entry, @function\n"
	 "gcl_fiber_entry:\n"
	 "	xorl %ebp, %ebp\n"
	 "	movq %r13, %rdi\n"
	 "	callq *%r12\n"
	 "	ud2\n"
	 "	.size gcl_fiber_entry, . - gcl_fiber_entry\n"
	 "	.popsection\n");
void gcl_fiber_swap(uint64_t *from_sp, const uint64_t *to_sp, int64_t rseq)
	__attribute__((__visibility__("hidden")));
void gcl_fiber_entry(void) __attribute__((__visibility__("hidden")));

struct gca_fiber *gca_fiber_create(struct gca_arena *a, void *stack_lo, void *stack_hi,
				   void (*fn)(void *arg), void *arg)
{
	uint64_t lo = (uintptr_t)stack_lo, hi = (uintptr_t)stack_hi;
	struct gca_fiber *f;
	uint64_t *frame;

	if ((lo | hi) % 8 || lo >= hi || hi - lo < GCA_FIBER_STACK_MIN) {
		gcl_fail(EINVAL, "gca_fiber_create: a stack has at least %d bytes, and its bounds are multiples of 8",
			 GCA_FIBER_STACK_MIN);
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	if (!f) {
		gcl_fail(ENOMEM, "gca_fiber_create: no memory");
		return NULL;
	}
	f->arena = a;
	f->lo = lo;
	f->hi = hi;
	f->sp = (uint64_t *)hi - 1;
	*f->sp = 0;
	/* First a root, then the argument on it. */
	if (gcl_root_change(a, stack_lo, hi - lo, GCARENA_ROOT_STACK, true)) {
		free(f);
		return NULL;
	}
	frame = (uint64_t *)((uintptr_t)f->sp & ~15ULL) - FRAME_WORDS;
	__asm__ ("stmxcsr %0\n\tfnstcw 4%0" : "=m"(frame[0]));
	frame[1] = frame[2] = frame[5] = frame[6] = 0;
	frame[3] = (uintptr_t)arg;
	frame[4] = (uintptr_t)fn;
	frame[7] = (uintptr_t)gcl_fiber_entry;
	__atomic_store_n(f->sp, (uintptr_t)frame, __ATOMIC_RELEASE);
	return f;
}

struct gca_fiber *gca_fiber_thread(struct gca_mutator *m)
{
	struct gcl_mutator *p = (struct gcl_mutator *)m;

	if (!p->fiber) {
		p->fiber = calloc(1, sizeof(*p->fiber));
		if (!p->fiber)
			gcl_fail(ENOMEM, "gca_fiber_thread: no memory");
		else
			p->fiber->sp = (uint64_t *)&m->area->stack_sp;
	}
	return p->fiber;
}

void gca_fiber_switch(struct gca_mutator *m, struct gca_fiber *from, struct gca_fiber *to)
{
	uint64_t sp = *to->sp;

	/* Not parked any more: a second switch to it would be one into the void. */
	__atomic_store_n(to->sp, 0, __ATOMIC_RELAXED);
	gcl_fiber_swap(from->sp, &sp, m->rseq);
}

int gca_fiber_destroy(struct gca_fiber *f)
{
	if (!f->lo)
		return gcl_fail(EINVAL, "gca_fiber_destroy: a thread's own stack goes with the thread");
	if (!*f->sp)
		return gcl_fail(EBUSY, "gca_fiber_destroy: the fiber runs");
	if (gcl_root_change(f->arena, (void *)f->lo, f->hi - f->lo, GCARENA_ROOT_STACK, false))
		return -1;
	free(f);
	return 0;
}
