/* What this processor and its operating system can do. */
#include "cpu.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <stdatomic.h>
#include <stdint.h>

typedef struct {
    uint32_t a, b, c, d;
} registers;

static registers ask(uint32_t leaf) {
    registers r;
    __cpuid_count(leaf, 0, r.a, r.b, r.c, r.d);
    return r;
}

static int has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

#ifndef kg_xgetbv /* tests feign another */
static uint32_t kg_xgetbv(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return low;
}
#endif

/* Which register files the operating system saves: bits 1, 2 for ymm, and 5 to 7 for zmm. */
static uint32_t saved_by_system(registers one) { return has(one.c, bit_OSXSAVE) ? kg_xgetbv() : 0; }

enum { ASKED = 1, SSE41 = 2, AVX2 = 4, AVX512VNNI = 8, SHA = 16 };

static int ask_all(void) {
    static const registers none;
    const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    const uint32_t highest_leaf = ask(0).a;
    const registers one = ask(1), seven = highest_leaf >= 7 ? ask(7) : none;
    const uint32_t saved = saved_by_system(one);
    int found = ASKED;
    if (has(one.c, bit_SSE4_1 | bit_SSSE3)) found |= SSE41;
    if (has(one.c, bit_FMA | bit_AVX) && has(seven.b, bit_AVX2) && has(saved, 0x6)) found |= AVX2;
    if (found & AVX2 && has(seven.b, avx512) && has(seven.c, bit_AVX512VNNI) && has(saved, 0xE6))
        found |= AVX512VNNI;
    if (found & SSE41 && has(seven.b, bit_SHA)) found |= SHA;
    return found;
}

/* Asked once: under a hypervisor each question to the processor takes microseconds. Threads that ask at
 * the same time store the same answer. */
static int can(int what) {
    static atomic_int answer;
    int found = atomic_load_explicit(&answer, memory_order_relaxed);
    if (!found) {
        found = ask_all();
        atomic_store_explicit(&answer, found, memory_order_relaxed);
    }
    return (found & what) != 0;
}

int kg_cpu_has_sse41(void) { return can(SSE41); }
int kg_cpu_has_avx2(void) { return can(AVX2); }
int kg_cpu_has_avx512vnni(void) { return can(AVX512VNNI); }
int kg_cpu_has_sha(void) { return can(SHA); }
int kg_cpu_has_dotprod(void) { return 0; }
#else
int kg_cpu_has_sse41(void) { return 0; }
int kg_cpu_has_avx2(void) { return 0; }
int kg_cpu_has_avx512vnni(void) { return 0; }
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
enum { SHA2 = 1 << 6, DOT_PRODUCT = 1 << 20 }; /* of AT_HWCAP */
int kg_cpu_has_sha(void) { return (getauxval(AT_HWCAP) & SHA2) != 0; }
int kg_cpu_has_dotprod(void) { return (getauxval(AT_HWCAP) & DOT_PRODUCT) != 0; }
#else
#if defined(__ARM_FEATURE_SHA2)
int kg_cpu_has_sha(void) { return 1; }
#else
int kg_cpu_has_sha(void) { return 0; }
#endif
#if defined(__ARM_FEATURE_DOTPROD)
int kg_cpu_has_dotprod(void) { return 1; }
#else
int kg_cpu_has_dotprod(void) { return 0; }
#endif
#endif
#endif
