/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * sizeclass.h: constants of each span class.
 *
 * The table is indexed by what a page word carries, so that a marker goes from
 * a page to a slot number, and to the entry of its object, with one cache line.  It
 * is constant data; the unit tests derive it a second time and compare.
 */
#ifndef GCA_SIZECLASS_H
#define GCA_SIZECLASS_H

#include "port.h"
#include <linux/gcarena.h>

/*
 * What the entry of a grey object says of it besides where it is, see mark.h.
 *
 *	bits 0-12	minus the words of its slot; 0: large
 *	bits 13-14	kind
 *	bit  15		small: it has at most 64 words
 *	bit  16		small and precise: its pattern is in the tail bitmap
 *	bit  17		its pattern may lie in two words there
 *	bit  18		of a large object: the next oblet has been queued
 *	bits 19-21	of a small one: how many in the slots behind it are grey, too, and
 *			not queued by themselves: an entry is for a row of objects
 *	bits 24-63	offset in the heap
 *
 * Bits 0-5 of a small one are thus what a word with a bit a word has too many.
 */
#define GCA_ENTRY_MINUS		0x1fffU
#define GCA_ENTRY_KIND_SHIFT	13
#define GCA_ENTRY_SMALL		(1U << 15)
#define GCA_ENTRY_TAIL		(1U << 16)
#define GCA_ENTRY_SPLIT		(1U << 17)
#define GCA_ENTRY_CHAINED	(1U << 18)
#define GCA_ENTRY_ROW_SHIFT	19
#define GCA_ENTRY_ROW		(7U << GCA_ENTRY_ROW_SHIFT)
#define GCA_ENTRY_OFF_SHIFT	24

/**
 * struct gca_class - how a span of one span class is divided
 * @magic: 2^32 / size, rounded up: (offset * magic) >> 32 is offset / size for
 *	every offset of a span.  Proof: magic * size = 2^32 + e with e < size, so
 *	the error offset * e / 2^32 / size stays below 1 / size while
 *	offset * size < 2^32; the largest product is 11 pages * 32768 < 2^32
 * @size: bytes of a slot, 0 for large spans
 * @nelems: slots
 * @entry: of a grey object in it, but for the offset; 0: it is not queued
 */
struct gca_class {
	u32 magic;
	u32 size;
	u32 nelems;
	u32 entry;
};

#define GCA_NR_PAGE_CLASSES	512	/* values of the class field of a page word */

extern const struct gca_class gca_class[GCA_NR_PAGE_CLASSES];
extern const u8 gca_class_pages[GCARENA_NR_SIZES];

/** gca_size_class() - least class whose slots hold @bytes (1 .. GCARENA_SMALL_MAX) */
static inline unsigned int gca_size_class(u32 bytes)
{
	unsigned int log;

	if (bytes <= 128)
		return bytes <= 16 ? 0 : (bytes + 7) / 8 - 2;
	log = fls64(bytes - 1) - 1;
	return 15 + (log - 7) * 8 + ((bytes - 1 - (1U << log)) >> (log - 3));
}

#endif /* GCA_SIZECLASS_H */
