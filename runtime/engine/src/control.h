/* The floating-point control word: set to the standard's defaults while scoring, then put back. */
#ifndef KG_CONTROL_H
#define KG_CONTROL_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned kg_control;
static inline kg_control kg_control_set(void) {
    const kg_control host = _mm_getcsr();
    _mm_setcsr(0x1f80); /* nearest, subnormals kept, exceptions masked */
    return host;
}
static inline void kg_control_restore(kg_control host) { _mm_setcsr(host); }
#elif defined(__aarch64__)
typedef uint64_t kg_control;
static inline kg_control kg_control_set(void) {
    kg_control host;
    __asm__ volatile("mrs %0, fpcr" : "=r"(host));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return host;
}
static inline void kg_control_restore(kg_control host) { __asm__ volatile("msr fpcr, %0" : : "r"(host)); }
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
