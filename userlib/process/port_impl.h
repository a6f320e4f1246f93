/* SPDX-License-Identifier: MIT */
/*
 * port_impl.h: the kernel's words, spoken by a C compiler and a C library.
 *
 * kmod/core/port.h includes this file when the collector is compiled into a
 * process (libgcarena's process backend, unit tests, fuzzers).  It supplies
 * what port.h lists, with the kernel's names and meaning, for gcc and clang in
 * gnu11 mode, with or without -fsanitize=address,undefined,thread.
 *
 * It must not have policy or state (that is port.c), and it must not be more
 * lenient than the kernel where that would hide a mistake: min() and max()
 * compare types as Linux 6.1 does.
 */
#ifndef GCA_PROCESS_PORT_IMPL_H
#define GCA_PROCESS_PORT_IMPL_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <linux/types.h>

#if defined(__SANITIZE_THREAD__)
#define GCA_TSAN	1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GCA_TSAN	1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define GCA_ASAN	1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GCA_ASAN	1
#endif
#endif

/* ------------------------------------------------------------------- types */

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

#define U8_MAX		((u8)~0U)
#define U16_MAX		((u16)~0U)
#define U32_MAX		((u32)~0U)
#define S32_MAX		((s32)(U32_MAX >> 1))
#define U64_MAX		((u64)~0ULL)
#define S64_MAX		((s64)(U64_MAX >> 1))

#define BITS_PER_LONG	64

/* --------------------------------------------------------- compiler's words */

#define OPTIMIZER_HIDE_VAR(var)	__asm__ ("" : "+r" (var))
#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define prefetch(p)	__builtin_prefetch(p)
#define prefetchw(p)	__builtin_prefetch(p, 1)
#define barrier()	__asm__ __volatile__("" : : : "memory")

#ifndef __always_inline
#define __always_inline	inline __attribute__((__always_inline__))
#endif
#define noinline	__attribute__((__noinline__))
#ifndef __maybe_unused
#define __maybe_unused	__attribute__((__unused__))
#endif
#ifndef __must_check
#define __must_check	__attribute__((__warn_unused_result__))
#endif
#define __cold		__attribute__((__cold__))
#define __printf(a, b)	__attribute__((__format__(__printf__, a, b)))
#define fallthrough	__attribute__((__fallthrough__))
#define __user
#define __percpu
#define __rcu

#define BUILD_BUG_ON(cond)	_Static_assert(!(cond), "BUILD_BUG_ON: " #cond)
#ifndef static_assert
#define static_assert		_Static_assert
#endif

#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))
#define sizeof_field(type, member)	sizeof(((type *)0)->member)
#define struct_size(p, member, n) \
	(sizeof(*(p)) + sizeof(*(p)->member) * (size_t)(n))

#define __ALIGN_MASK(x, m)	(((x) + (m)) & ~(m))
#define ALIGN(x, a)		__ALIGN_MASK(x, (__typeof__(x))(a) - 1)
#define ALIGN_DOWN(x, a)	((x) & ~((__typeof__(x))(a) - 1))
#define IS_ALIGNED(x, a)	(((x) & ((__typeof__(x))(a) - 1)) == 0)
#define round_up(x, a)		ALIGN(x, a)
#define round_down(x, a)	ALIGN_DOWN(x, a)
#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))
#define roundup(x, y)		((((x) + (y) - 1) / (y)) * (y))

#define BIT(n)			(1UL << (n))
#define BIT_ULL(n)		(1ULL << (n))
#define GENMASK(h, l)		(((~0UL) << (l)) & (~0UL >> (63 - (h))))
#define GENMASK_ULL(h, l)	(((~0ULL) << (l)) & (~0ULL >> (63 - (h))))

#define __gca_same_type(x, y)	((void)((__typeof__(x) *)1 == (__typeof__(y) *)1))
#define __gca_pick(x, op, y, ux, uy) ({					\
	__typeof__(x) ux = (x);						\
	__typeof__(y) uy = (y);						\
	__gca_same_type(x, y);						\
	ux op uy ? ux : uy; })
#define __GCA_CAT2(a, b)	a##b
#define __GCA_CAT(a, b)		__GCA_CAT2(a, b)
#define __GCA_UNIQ(a)		__GCA_CAT(a, __COUNTER__)
#define min(x, y)	__gca_pick(x, <, y, __GCA_UNIQ(__x), __GCA_UNIQ(__y))
#define max(x, y)	__gca_pick(x, >, y, __GCA_UNIQ(__x), __GCA_UNIQ(__y))
#define min_t(t, x, y)	min((t)(x), (t)(y))
#define max_t(t, x, y)	max((t)(x), (t)(y))
#define clamp(v, lo, hi)	min(max(v, lo), hi)
#define clamp_t(t, v, lo, hi)	clamp((t)(v), (t)(lo), (t)(hi))
#define swap(a, b) do {							\
	__typeof__(a) __swap = (a);					\
	(a) = (b);							\
	(b) = __swap;							\
} while (0)

#define check_add_overflow(a, b, d)	__builtin_add_overflow(a, b, d)
#define check_sub_overflow(a, b, d)	__builtin_sub_overflow(a, b, d)
#define check_mul_overflow(a, b, d)	__builtin_mul_overflow(a, b, d)

/* -------------------------------------------------------------------- bits */

static inline unsigned int hweight64(u64 w)
{
	return (unsigned int)__builtin_popcountll(w);
}

static inline unsigned int hweight32(u32 w)
{
	return (unsigned int)__builtin_popcount(w);
}

/* As in the kernel: undefined for 0. */
static inline unsigned long __ffs64(u64 w)
{
	return (unsigned long)__builtin_ctzll(w);
}

static inline unsigned long __ffs(unsigned long w)
{
	return (unsigned long)__builtin_ctzl(w);
}

static inline int ffs64(u64 w)
{
	return __builtin_ffsll((long long)w);
}

static inline int fls64(u64 w)
{
	return w ? 64 - __builtin_clzll(w) : 0;
}

static inline int fls(unsigned int w)
{
	return w ? 32 - __builtin_clz(w) : 0;
}

#define ilog2(n)	(63 - __builtin_clzll((u64)(n)))
#define is_power_of_2(n)	((n) != 0 && ((n) & ((n) - 1)) == 0)

static inline u64 mul_u64_u64_div_u64(u64 a, u64 b, u64 c)
{
	return (u64)((unsigned __int128)a * b / c);
}

static inline u64 mul_u64_u64_shr(u64 a, u64 b, unsigned int shift)
{
	return (u64)(((unsigned __int128)a * b) >> shift);
}

static inline u64 mul_u64_u32_shr(u64 a, u32 m, unsigned int shift)
{
	return (u64)(((unsigned __int128)a * m) >> shift);
}

#define div_u64(a, b)		((u64)(a) / (u32)(b))
#define div64_u64(a, b)		((u64)(a) / (u64)(b))

/* As in <linux/nospec.h>: @i if below @n, else 0, without a branch. */
static inline u64 gca_nospec(u64 i, u64 n)
{
	u64 mask;

#if defined(__x86_64__)
	__asm__ ("cmp %1,%2; sbb %0,%0" : "=r"(mask) : "g"(n), "r"(i) : "cc");
#else
	mask = (u64)(((s64)~(i | (n - 1 - i))) >> 63);
	__asm__ ("" : "+r"(mask));
#endif
	return i & mask;
}
#define array_index_nospec(i, n)	((__typeof__(i))gca_nospec((u64)(i), (u64)(n)))

/* --------------------------------------------------------- memory and order */

#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define smp_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define smp_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#if defined(GCA_TSAN) && defined(__GNUC__) && !defined(__clang__)
/* gcc's TSan knows no fences; a full barrier through one word it understands. */
static __maybe_unused int __gca_fence_word;
#define smp_mb()		((void)__atomic_fetch_add(&__gca_fence_word, 0, __ATOMIC_SEQ_CST))
#else
#define smp_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif
#define smp_rmb()		smp_mb()
#define smp_wmb()		smp_mb()
#define smp_mb__before_atomic()	smp_mb()
#define smp_mb__after_atomic()	smp_mb()
#define smp_mb__after_spinlock() smp_mb()

#define xchg(p, v)		__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define cmpxchg(p, o, n) ({						\
	__typeof__(*(p)) __old = (o);					\
	__atomic_compare_exchange_n(p, &__old, n, false,		\
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);\
	__old; })
#define cmpxchg_relaxed(p, o, n)	cmpxchg(p, o, n)
#define try_cmpxchg(p, op, n)						\
	__atomic_compare_exchange_n(p, op, n, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

static __always_inline void gca_set_bits(u64 *word, u64 mask)
{
	(void)__atomic_fetch_or(word, mask, __ATOMIC_RELAXED);
}

#define GCA_ATOMIC(name, type, ctype)						\
typedef struct { ctype counter; } type;						\
static inline ctype name##_read(const type *v)					\
{ return __atomic_load_n(&v->counter, __ATOMIC_RELAXED); }			\
static inline ctype name##_read_acquire(const type *v)				\
{ return __atomic_load_n(&v->counter, __ATOMIC_ACQUIRE); }			\
static inline void name##_set(type *v, ctype i)					\
{ __atomic_store_n(&v->counter, i, __ATOMIC_RELAXED); }				\
static inline void name##_set_release(type *v, ctype i)				\
{ __atomic_store_n(&v->counter, i, __ATOMIC_RELEASE); }				\
static inline void name##_add(ctype i, type *v)					\
{ (void)__atomic_fetch_add(&v->counter, i, __ATOMIC_RELAXED); }			\
static inline void name##_sub(ctype i, type *v)					\
{ (void)__atomic_fetch_sub(&v->counter, i, __ATOMIC_RELAXED); }			\
static inline void name##_inc(type *v) { name##_add(1, v); }			\
static inline void name##_dec(type *v) { name##_sub(1, v); }			\
static inline ctype name##_fetch_add(ctype i, type *v)				\
{ return __atomic_fetch_add(&v->counter, i, __ATOMIC_SEQ_CST); }		\
static inline ctype name##_fetch_sub(ctype i, type *v)				\
{ return __atomic_fetch_sub(&v->counter, i, __ATOMIC_SEQ_CST); }		\
static inline ctype name##_fetch_inc(type *v) { return name##_fetch_add(1, v); }\
static inline ctype name##_fetch_or(ctype i, type *v)				\
{ return __atomic_fetch_or(&v->counter, i, __ATOMIC_SEQ_CST); }			\
static inline ctype name##_add_return(ctype i, type *v)				\
{ return __atomic_add_fetch(&v->counter, i, __ATOMIC_SEQ_CST); }		\
static inline ctype name##_sub_return(ctype i, type *v)				\
{ return __atomic_sub_fetch(&v->counter, i, __ATOMIC_SEQ_CST); }		\
static inline ctype name##_inc_return(type *v) { return name##_add_return(1, v); }\
static inline ctype name##_dec_return(type *v) { return name##_sub_return(1, v); }\
static inline bool name##_dec_and_test(type *v) { return !name##_dec_return(v); }\
static inline ctype name##_xchg(type *v, ctype n)				\
{ return __atomic_exchange_n(&v->counter, n, __ATOMIC_SEQ_CST); }		\
static inline ctype name##_cmpxchg(type *v, ctype o, ctype n)			\
{ return cmpxchg(&v->counter, o, n); }						\
static inline bool name##_try_cmpxchg(type *v, ctype *o, ctype n)		\
{ return try_cmpxchg(&v->counter, o, n); }

GCA_ATOMIC(atomic, atomic_t, int)
GCA_ATOMIC(atomic64, atomic64_t, s64)
#undef GCA_ATOMIC

#define ATOMIC_INIT(i)		{ (i) }
#define ATOMIC64_INIT(i)	{ (i) }

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	barrier();
#endif
}

#define cond_resched()	do { } while (0)
#define might_sleep()	do { } while (0)

/*
 * A lock that the sanitizers understand.  Adaptive: it spins before it sleeps,
 * and unlike a bare spinlock it does not burn the holder's only CPU.
 */
typedef pthread_mutex_t gca_spin_t;

static inline void gca_spin_init(gca_spin_t *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
#ifdef __GLIBC__	/* the type is an enumerator, not a macro */
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
	pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

static inline void gca_spin_lock(gca_spin_t *lock)
{
	pthread_mutex_lock(lock);
}

static inline void gca_spin_unlock(gca_spin_t *lock)
{
	pthread_mutex_unlock(lock);
}

/* ---------------------------------------------------------- reading the heap
 *
 * A process may fault wherever it likes, so a window is nothing and a read is a
 * load.  The load is not instrumented by ASan: stacks are read whole, red zones
 * and all; nor by TSan, which knows nothing of the order that a stop makes.  With -DGCA_TEST_MISS a test decides which reads "miss".
 */
#define GCA_UREAD_BEGIN(a)	((void)(a), true)
#define GCA_UREAD_END()		do { } while (0)

#ifdef GCA_TEST_MISS
bool gca_uread_hook(u64 addr);
#else
#define gca_uread_hook(addr)	false
#endif

static __always_inline u64 gca_uread_word(u64 addr)
{
#if defined(GCA_ASAN) || defined(GCA_TSAN)
	u64 v;

	__asm__ __volatile__("movq (%1), %0" : "=r"(v) : "r"(addr));
	return v;
#else
	return __atomic_load_n((u64 *)(uintptr_t)addr, __ATOMIC_RELAXED);
#endif
}

#define GCA_UREAD(dst, addr, label) do {				\
	u64 __uaddr = (addr);						\
	if (gca_uread_hook(__uaddr))					\
		goto label;						\
	(dst) = gca_uread_word(__uaddr);				\
	if (0)								\
		goto label;						\
} while (0)

/* ---------------------------------------------------------------- complaints */

extern unsigned int gca_warnings;	/* how often a WARN fired: tests look */

__printf(3, 4) __cold
void gca_warn(const char *file, int line, const char *fmt, ...);
__printf(1, 2) __cold
void gca_pr_warn(const char *fmt, ...);

#define WARN(cond, ...) ({						\
	bool __warn = !!(cond);						\
	if (unlikely(__warn))						\
		gca_warn(__FILE__, __LINE__, __VA_ARGS__);		\
	unlikely(__warn); })
#define WARN_ON(cond)		WARN(cond, "%s", #cond)
#define WARN_ONCE(cond, ...) ({						\
	static bool __warned;						\
	bool __once = !!(cond);						\
	if (unlikely(__once) && !__atomic_exchange_n(&__warned, true, __ATOMIC_RELAXED)) \
		gca_warn(__FILE__, __LINE__, __VA_ARGS__);		\
	unlikely(__once); })
#define WARN_ON_ONCE(cond)	WARN_ONCE(cond, "%s", #cond)
#define pr_warn_ratelimited(...)	gca_pr_warn(__VA_ARGS__)
#define pr_warn(...)		gca_pr_warn(__VA_ARGS__)
#define pr_warn_once(...)	gca_pr_warn(__VA_ARGS__)
#define pr_err(...)		gca_pr_warn(__VA_ARGS__)

/* The dependency is enough, but TSan does not see those. */
#ifdef GCA_TSAN
#define gca_deref(p)		__atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#else
#define gca_deref(p)		READ_ONCE(p)
#endif

/* Nobody tells: crew.c finds out afterwards. */
#define gca_port_contended()	false
/* They are blocked in a call, or a handler runs in it. */
#define gca_port_signalled()	false

#include "port_list.h"

#endif /* GCA_PROCESS_PORT_IMPL_H */
