/* The floating-point control word: set to the standard's defaults while scoring, then put back. */
#ifndef KG_CONTROL_H
#define KG_CONTROL_H

#include <float.h>
#include <stdint.h>

#if FLT_EVAL_METHOD < 0 || FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2 || defined(__FAST_MATH__) || \
    defined(_M_FP_FAST) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "docs/arithmetic.md needs operations on float that round to float, and no fast-math"
#endif

/* Compilers know nothing of the control word: keeps loads and stores, and so what is computed between
 * them, on their side of its change. */
#if defined(__GNUC__)
#define KG_KEEP_ORDER() __asm__ volatile("" ::: "memory")
#elif defined(_MSC_VER)
#include <intrin.h>
#define KG_KEEP_ORDER() _ReadWriteBarrier()
#else
#define KG_KEEP_ORDER() ((void)0)
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned kg_control;
static inline kg_control kg_control_set(void) {
    const kg_control host = _mm_getcsr();
    _mm_setcsr(0x1f80); /* nearest, subnormals kept, exceptions masked */
    KG_KEEP_ORDER();
    return host;
}
static inline void kg_control_restore(kg_control host) {
    KG_KEEP_ORDER();
    _mm_setcsr(host);
}
#elif defined(__aarch64__)
typedef uint64_t kg_control;
static inline kg_control kg_control_set(void) {
    kg_control host;
    __asm__ volatile("mrs %0, fpcr" : "=r"(host));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
    return host;
}
static inline void kg_control_restore(kg_control host) {
    __asm__ volatile("msr fpcr, %0" : : "r"(host) : "memory");
}
#else
#include <fenv.h>
typedef fenv_t kg_control;
static inline kg_control kg_control_set(void) {
    kg_control host;
    fegetenv(&host);
    fesetenv(FE_DFL_ENV);
    return host;
}
static inline void kg_control_restore(kg_control host) { fesetenv(&host); }
#endif

#endif
