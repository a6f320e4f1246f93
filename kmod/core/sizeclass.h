/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * sizeclass.h: constants of each span class.
 *
 * The table is indexed by what a page word carries, so that a marker goes from
 * a page to a slot number with one load of eight bytes.  It is constant data;
 * the unit tests derive it a second time and compare.
 */
#ifndef GCA_SIZECLASS_H
#define GCA_SIZECLASS_H

#include "port.h"
#include <linux/gcarena.h>

/**
 * struct gca_class - how a span of one span class is divided
 * @magic: 2^32 / size, rounded up: (offset * magic) >> 32 is offset / size for
 *	every offset of a span.  Proof: magic * size = 2^32 + e with e < size, so
 *	the error offset * e / 2^32 / size stays below 1 / size while
 *	offset * size < 2^32; the largest product is 11 pages * 32768 < 2^32
 * @size: bytes of a slot, 0 for large spans
 * @nelems: slots
 */
struct gca_class {
	u32 magic;
	u16 size;
	u16 nelems;
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
