// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * hist.c: durations, counted by length.
 *
 * Four buckets an octave.  Who adds sees to it that nobody else does meanwhile; who reads
 * takes no lock, and what it gets may be off by what is added just then.
 */
#include "core.h"

/* The two bits below the leading one tell the four buckets of an octave apart. */
static unsigned int bucket_of(u64 ns)
{
	unsigned int e = fls64(ns | 4) - 1;

	return min_t(unsigned int, 4 * (e - 2) + ((ns | 4) >> (e - 2) & 3), GCA_HIST_BUCKETS - 1);
}

/** gca_hist_add() - one more, of @ns */
void gca_hist_add(struct gca_hist *h, u64 ns)
{
	unsigned int b = bucket_of(ns);

	WRITE_ONCE(h->n, h->n + 1);
	WRITE_ONCE(h->bucket[b], h->bucket[b] + 1);
	WRITE_ONCE(h->ns_total, h->ns_total + ns);
	if (ns > h->ns_max)
		WRITE_ONCE(h->ns_max, ns);
}

/** gca_hist_quantile() - what @permille of all do not exceed, in ns; 0 if there are none */
u64 gca_hist_quantile(const struct gca_hist *h, unsigned int permille)
{
	u64 n = 0, seen = 0;
	unsigned int i;

	for (i = 0; i < GCA_HIST_BUCKETS; i++)
		n += READ_ONCE(h->bucket[i]);
	if (!n)
		return 0;
	for (i = 0; i < GCA_HIST_BUCKETS; i++) {
		seen += READ_ONCE(h->bucket[i]);
		if (1000 * seen >= permille * n)
			break;
	}
	/* The middle of the bucket. */
	return ((9ULL + 2 * (i & 3)) << (i / 4)) / 2;
}
