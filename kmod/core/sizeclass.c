// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * sizeclass.c: the size classes and why they are what they are.
 *
 * Derivation.  Slots are multiples of 8 bytes, at least GCARENA_MIN_SLOT (a
 * page then has at most 512 slots, and its mark bits fill one cache line).
 * Up to 128 bytes there is a class every 8 bytes; above, eight classes a
 * doubling: the step from a size s is 2^(floor(log2 s) - 3) <= s / 8, and a
 * request that just misses a class wastes less than one step, so less than
 * 1/9 of the slot it gets.  Between 57 and 128 bytes the waste is at most
 * 7/64.  (Go has 67 classes with up to 16.65 %; two dozen more classes cost a
 * few cached spans a thread, and save 1.5 % of the heap on average.)
 *
 * A span has the least number of pages that leaves at most 1/16 of it unused;
 * classes up to GCARENA_BITMAP_MAX have one page, so that the pointer bitmap of
 * precise spans is found from any address by masking.
 */
#include "sizeclass.h"

#define PAGES_BYTES(pages)	((pages) * GCARENA_PAGE_SIZE)
#define MAGIC(size)		(U32_MAX / (size) + 1)
#define NELEMS(size, pages)	(PAGES_BYTES(pages) / (size))
#define NELEMS_PRECISE(size, pages) \
	((size) <= GCARENA_BITMAP_MAX ? GCARENA_BITMAP_OFFSET / (size) : NELEMS(size, pages))

#define KIND(kind)	((kind) << GCA_ENTRY_KIND_SHIFT)
#define ENTRY(size, kind)							\
	((-(size) / 8 & GCA_ENTRY_MINUS) | KIND(kind) |				\
	 ((size) <= GCARENA_BITMAP_MAX ? GCA_ENTRY_SMALL : 0))
/* A slot whose size divides that of 64 words begins and ends within 64 words. */
#define ENTRY_PRECISE(size)							\
	(ENTRY(size, GCARENA_PRECISE) |						\
	 ((size) <= GCARENA_BITMAP_MAX ? GCA_ENTRY_TAIL : 0) |			\
	 ((size) <= GCARENA_BITMAP_MAX && 512 % (size) ? GCA_ENTRY_SPLIT : 0))

#define GCA_CLASS(size_, pages_)						\
	{ MAGIC(size_), size_, NELEMS(size_, pages_), 0 },			\
	{ MAGIC(size_), size_, NELEMS_PRECISE(size_, pages_), ENTRY_PRECISE(size_) }, \
	{ MAGIC(size_), size_, NELEMS(size_, pages_),				\
	  ENTRY(size_, GCARENA_CONSERVATIVE) },					\
	{ 0, 0, 0, 0 },

const struct gca_class gca_class[GCA_NR_PAGE_CLASSES] = {
	GCARENA_SIZE_CLASSES(GCA_CLASS)
	/* A large span is one slot, whatever the offset: its magic is 0. */
	[GCARENA_SPAN_CLASS(127, GCARENA_NOSCAN)] = { 0, 0, 1, 0 },
	[GCARENA_SPAN_CLASS(127, GCARENA_PRECISE)] = { 0, 0, 1, KIND(GCARENA_PRECISE) },
	[GCARENA_SPAN_CLASS(127, GCARENA_CONSERVATIVE)] = { 0, 0, 1, KIND(GCARENA_CONSERVATIVE) },
};

#define PAGES(size_, pages_)	pages_,

const u8 gca_class_pages[GCARENA_NR_SIZES] = { GCARENA_SIZE_CLASSES(PAGES) };

#define BAD(size_, pages_)						\
	+ ((size_) % 8 || (size_) > GCARENA_SMALL_MAX ||		\
	   (PAGES_BYTES(pages_) % (size_)) * 16 > PAGES_BYTES(pages_))
_Static_assert(!(0 GCARENA_SIZE_CLASSES(BAD)), "multiples of 8 with tails of at most 1/16");

_Static_assert(sizeof(gca_class_pages) == GCARENA_NR_SIZES, "GCARENA_NR_SIZES");
