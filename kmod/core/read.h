/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * read.h: the words of an object, or of a row of objects, into a block.
 *
 * Inside a window (GCA_UREAD_BEGIN), for mark.c: what is not there ends the batch.  What the
 * owner wrote, headers and tail bitmaps, selects among the object's own words only.
 */
#ifndef GCA_READ_H
#define GCA_READ_H

#include "block.h"
#include "shape.h"

/*
 * All of the @n words at @addr.  By fours, as the loop costs as much as the reading; by twos
 * they are kept, as the latter half of an object often is empty.
 */
static __always_inline enum gca_batch read_words(struct batch_state *s, u64 *block, u64 addr, u32 n)
{
	u64 w0, w1, w2, w3, found = s->found;

	while (n >= 4) {
		GCA_UREAD(w0, addr, miss);
		GCA_UREAD(w1, addr + 8, miss);
		GCA_UREAD(w2, addr + 16, miss);
		GCA_UREAD(w3, addr + 24, miss);
		OPTIMIZER_HIDE_VAR(n);	/* or gcc works out beforehand how it ends */
		n -= 4;
		addr += 32;
		if (w0 | w1) {
			found = keep(s, block, found, w0);
			found = keep(s, block, found, w1);
		}
		if (w2 | w3) {
			found = keep(s, block, found, w2);
			found = keep(s, block, found, w3);
		}
	}
	while (n) {
		GCA_UREAD(w0, addr, miss);
		n--;
		addr += 8;
		found = keep(s, block, found, w0);
	}
	s->found = found;
	return GCA_BATCH_GOES_ON;
miss:
	return GCA_BATCH_MISS;
}

/*
 * A block of the @words words at @addr, from word @k on.  *next: the word to go
 * on with; left alone, 0, if that was all.
 */
static __always_inline enum gca_batch read_all(struct batch_state *s, u64 *block, u64 addr,
					       u32 words, u32 k, u32 *next)
{
	if (likely(words <= BLOCK_WORDS)) {	/* never left half read: k is 0 */
		s->budget -= words;
		return read_words(s, block, addr, words);
	}
	if (words - k > BLOCK_WORDS) {
		*next = k + BLOCK_WORDS;
		words = *next;
	}
	s->budget -= words - k;
	return read_words(s, block, addr + 8ULL * k, words - k);
}

/* The words at @addr that @bits names. */
static __always_inline enum gca_batch read_bits(struct batch_state *s, u64 *block, u64 addr,
						u64 bits)
{
	u64 word, found = s->found;

	for (; bits; bits &= bits - 1) {
		GCA_UREAD(word, addr + 8ULL * __ffs64(bits), miss);
		found = keep(s, block, found, word);
	}
	s->found = found;
	return GCA_BATCH_GOES_ON;
miss:
	return GCA_BATCH_MISS;
}

/* How many words, if they are together at the front; else 0. */
static __always_inline u32 run_of(u64 bits)
{
	if (bits & (bits + 1) || !bits)
		return 0;
	return bits + 1 ? __ffs64(bits + 1) : 64;
}

/* One run of the words that the shape's pattern names; else as read_all(). */
static __always_inline enum gca_batch read_shape(struct batch_state *s, u64 *block,
						 const struct shape *sh, u32 k, u32 *next)
{
	u64 bits;
	u32 run;

	if (k >= sh->words)
		return GCA_BATCH_GOES_ON;
	bits = shape_bits(sh, k, &run);
	s->budget -= run;
	if (k + run < sh->words)
		*next = k + run;
	run = run_of(bits);
	return run ? read_words(s, block, sh->addr + 8ULL * k, run) :
		     read_bits(s, block, sh->addr + 8ULL * k, bits);
}

/*
 * Likely the pattern of an object is that of the one before.  Taken from there, the processor
 * need not wait for the bitmap to read the words.  Return: false if it is not one run of words.
 */
static __always_inline bool guess_again(u64 *guess, u64 bits)
{
	u32 run = run_of(bits);

	if (bits && !run)
		return false;
	WRITE_ONCE(guess[0], bits);
	WRITE_ONCE(guess[1], run);
	return true;
}

/*
 * A row of small precise objects, until the block has enough.  *@rest: the entry of what
 * is left of the row, or 0; of a miss, from the object on that was not there.  @row: is
 * constant; false: it is no row.
 */
static __always_inline enum gca_batch read_tails(struct batch_state *s, u64 *block, u64 *guess,
						 u64 entry, u64 *rest, bool row)
{
	u64 bits, hi, addr = s->v.base + gca_entry_off(entry), tail = tail_at(s->v.base, entry);
	u32 words = 64 - entry % 64, shift = word_in_page(entry) % 64;
	enum gca_batch ret;

	for (;;) {
		*rest = entry;
		GCA_UREAD(bits, tail, miss);
		bits >>= shift;
		if (unlikely(entry & GCA_ENTRY_SPLIT && shift + words > 64)) {
			GCA_UREAD(hi, tail + 8, miss);
			bits |= hi << (64 - shift);	/* it is not 0 */
		}
		bits &= ~0ULL >> (entry % 64);
		if (unlikely(bits != READ_ONCE(guess[0])) && !guess_again(guess, bits))
			ret = read_bits(s, block, addr, bits);
		else
			ret = read_words(s, block, addr, READ_ONCE(guess[1]));
		if (unlikely(ret != GCA_BATCH_GOES_ON))
			return ret;
		s->budget -= words + GCA_OBJECT_WORDS;
		if (!row || likely(!(entry & GCA_ENTRY_ROW))) {
			entry = 0;
			break;
		}
		entry = gca_entry_rest(entry);
		if (s->found >= GROUP || unlikely(s->budget <= 0))
			break;
		/* as tail_at() and word_in_page() would say of it */
		addr += 8ULL * words;
		shift += words;
		tail += shift / 64 * 8;
		shift %= 64;
	}
	*rest = entry;
	return GCA_BATCH_GOES_ON;
miss:
	return GCA_BATCH_MISS;
}

/* The same, conservative: all of the row at once, if the block can take it. */
static __always_inline enum gca_batch read_whole(struct batch_state *s, u64 *block, u64 entry,
						 u64 *rest, bool row)
{
	u32 words = 64 - entry % 64, n = 1;
	u64 addr = s->v.base + gca_entry_off(entry);
	enum gca_batch ret;

	if (row && unlikely(entry & GCA_ENTRY_ROW)) {
		n += (entry & GCA_ENTRY_ROW) >> GCA_ENTRY_ROW_SHIFT;
		if (n * words > 64)
			n = 1;
	}
	for (;;) {
		*rest = entry;
		ret = read_words(s, block, addr, n * words);
		if (unlikely(ret != GCA_BATCH_GOES_ON)) {
			if (n == 1)
				return ret;
			n = 1;	/* one by one: which is it that is not there? */
			continue;
		}
		s->budget -= n * (words + GCA_OBJECT_WORDS);
		if (!row || n > 1 || likely(!(entry & GCA_ENTRY_ROW))) {
			entry = 0;
			break;
		}
		entry = gca_entry_rest(entry);
		if (s->found >= GROUP || unlikely(s->budget <= 0))
			break;
		addr += 8ULL * words;
	}
	*rest = entry;
	return GCA_BATCH_GOES_ON;
}

/* A row of small objects, as above; of another, nothing. */
static __always_inline enum gca_batch read_small(struct batch_state *s, u64 *block, u64 *guess,
						 u64 entry, u64 *rest, bool row)
{
	if (likely(entry & GCA_ENTRY_TAIL))
		return read_tails(s, block, guess, entry, rest, row);
	if (likely(entry & GCA_ENTRY_SMALL))
		return read_whole(s, block, entry, rest, row);
	*rest = entry;
	return GCA_BATCH_BIG;
}

/* The next block but one, as what the hardware fetches by itself comes late. */
static __always_inline void prefetch_block(u64 addr)
{
	u32 i;

	for (i = BLOCK_WORDS; i < 2 * BLOCK_WORDS; i += 8)
		prefetch((void *)(unsigned long)(addr + 8ULL * i));
}

/* A block of an object that is not small. */
static __always_inline enum gca_batch read_big(struct gca_worker *w, struct batch_state *s,
					       u64 *block, u64 *entry, u32 k, u32 *next)
{
	u64 header, more, addr = s->v.base + gca_entry_off(*entry), whole = *entry;
	struct gca_arena *a = w->arena;
	struct shape sh = {};
	enum gca_batch ret;

	if (!k)
		s->budget -= GCA_OBJECT_WORDS;
	if (!gca_entry_words(*entry)) {
		prefetch_block(addr + 8ULL * k);
		more = shape_oblet(a, &sh, entry);
		ret = sh.all ? read_all(s, block, sh.addr, sh.words, k, next) :
			       read_shape(s, block, &sh, k, next);
		/* For others at once; who is alone can put off one oblet, and no more. */
		if (ret != GCA_BATCH_GOES_ON || (s->exclusive && *next))
			*entry = whole;
		else if (more)
			*s->top++ = more;
		return ret;
	}
	if (gca_entry_kind(*entry) == GCARENA_CONSERVATIVE)
		return read_all(s, block, addr, gca_entry_words(*entry), k, next);
	GCA_UREAD(header, addr, miss);
	shape_header(a, &sh, *entry, header);
	return read_shape(s, block, &sh, k, next);
miss:
	return GCA_BATCH_MISS;
}

#endif /* GCA_READ_H */
