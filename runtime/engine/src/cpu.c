/* What this processor and its operating system can do. */
#include "cpu.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <stdatomic.h>
#include <stdint.h>

typedef struct {
    uint32_t a, b, c, d;
} registers;

static registers ask(uint32_t leaf, uint32_t subleaf) {
    registers r = {0, 0, 0, 0};
    if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) r.a = r.b = r.c = r.d = 0;
    return r;
}

static int has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

/* Which register files the operating system saves: bits 1, 2 for ymm, and 5 to 7 for zmm. */
static int system_saves(uint32_t bits) {
    uint32_t low, high;
    if (!has(ask(1, 0).c, bit_OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return has(low, bits);
}

enum { ASKED = 1, SSE41 = 2, AVX2 = 4, AVX512VNNI = 8, SHA = 16 };

static int ask_all(void) {
    const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    const registers one = ask(1, 0), seven = ask(7, 0);
    int found = ASKED;
    if (has(one.c, bit_SSE4_1 | bit_SSSE3)) found |= SSE41;
    if (has(one.c, bit_FMA | bit_AVX) && has(seven.b, bit_AVX2) && system_saves(0x6)) found |= AVX2;
    if (found & AVX2 && has(seven.b, avx512) && has(seven.c, bit_AVX512VNNI) && system_saves(0xE6))
        found |= AVX512VNNI;
    if (found & SSE41 && has(seven.b, bit_SHA)) found |= SHA;
    return found;
}

/* Asked once: in a virtual machine each question takes tens of microseconds. Threads that ask at the
 * same time store the same answer. */
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
int kg_cpu_has_sha(void) { return 0; }
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
int kg_cpu_has_dotprod(void) { return (getauxval(AT_HWCAP) >> 20) & 1; }
#elif defined(__ARM_FEATURE_DOTPROD)
int kg_cpu_has_dotprod(void) { return 1; }
#else
int kg_cpu_has_dotprod(void) { return 0; }
#endif
#endif
