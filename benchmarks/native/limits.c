/*
 * Loops that do nothing but the instruction in question, on registers alone: enough independent accumulators to
 * hide its latency on any current core, written in assembly so that no compiler adds or removes anything. That
 * they reach the peak shows in instructions per cycle: a whole number, or very nearly.
 */
#include "limits.h"

#define LOOPS 2000

#if defined(__x86_64__)
#include <cpuid.h>

#define REGISTERS_OF_8 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7"
#define REGISTERS_OF_16 REGISTERS_OF_8, "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

/* LOOPS rounds of a body. Registers 16 to 31 are not named: only code compiled for AVX-512 would hold anything there. */
#define REPEAT(body)                                                                             \
    do {                                                                                         \
        int64_t n = LOOPS;                                                                       \
        __asm__ volatile(".p2align 6\n1:\n" body "dec %0\njnz 1b\nvzeroupper\n"                  \
                         : "+r"(n)::"cc", REGISTERS_OF_16);                                      \
    } while (0)

#define TWELVE(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11)
#define TWENTY_FOUR(op)                                                                              \
    TWELVE(op) op(12) op(13) op(14) op(15) op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23)

#define VNNI_512(r) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #r "\n"
#define VNNI_256(r) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #r "\n"
#define FMA_512(r) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #r "\n"
#define FMA_256(r) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #r "\n"
#define PAIRS_256(r) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\nvpaddd %%ymm13, %%ymm" #r ", %%ymm" #r "\n"

static int64_t vnni_512(const void *memory, size_t size) {
    (void)memory, (void)size;
    REPEAT(TWENTY_FOUR(VNNI_512));
    return (int64_t)LOOPS * 24 * 64;
}

static int64_t vnni_256(const void *memory, size_t size) {
    (void)memory, (void)size;
    REPEAT(TWELVE(VNNI_256));
    return (int64_t)LOOPS * 12 * 32;
}

/* Exact products of int8 without VNNI are made of 16-bit ones, added in pairs. */
static int64_t pairs_256(const void *memory, size_t size) {
    (void)memory, (void)size;
    REPEAT(TWELVE(PAIRS_256));
    return (int64_t)LOOPS * 12 * 16;
}

static int64_t fma_512(const void *memory, size_t size) {
    (void)memory, (void)size;
    REPEAT("vpxord %%zmm31, %%zmm31, %%zmm31\n" TWENTY_FOUR(FMA_512));
    return (int64_t)LOOPS * 24 * 16;
}

static int64_t fma_256(const void *memory, size_t size) {
    (void)memory, (void)size;
    REPEAT("vxorps %%xmm15, %%xmm15, %%xmm15\n" TWELVE(FMA_256));
    return (int64_t)LOOPS * 12 * 8;
}

#define SWEEP(load)                                                              \
    do {                                                                         \
        const char *at = memory, *end = at + size;                               \
        __asm__ volatile(".p2align 6\n1:\n" load "add $512, %0\ncmp %1, %0\n"    \
                         "jb 1b\nvzeroupper\n"                                   \
                         : "+r"(at)                                              \
                         : "r"(end)                                              \
                         : "cc", "memory", REGISTERS_OF_8);                      \
    } while (0)

#define LOAD_512(at, r) "vmovdqa64 " #at "(%0), %%zmm" #r "\n"
#define LOAD_256(at, r) "vmovdqa " #at "(%0), %%ymm" #r "\n"

static int64_t read_512(const void *memory, size_t size) {
    SWEEP(LOAD_512(0, 0) LOAD_512(64, 1) LOAD_512(128, 2) LOAD_512(192, 3)
          LOAD_512(256, 4) LOAD_512(320, 5) LOAD_512(384, 6) LOAD_512(448, 7));
    return (int64_t)size;
}

static int64_t read_256(const void *memory, size_t size) {
    SWEEP(LOAD_256(0, 0) LOAD_256(32, 1) LOAD_256(64, 2) LOAD_256(96, 3)
          LOAD_256(128, 4) LOAD_256(160, 5) LOAD_256(192, 6) LOAD_256(224, 7)
          LOAD_256(256, 0) LOAD_256(288, 1) LOAD_256(320, 2) LOAD_256(352, 3)
          LOAD_256(384, 4) LOAD_256(416, 5) LOAD_256(448, 6) LOAD_256(480, 7));
    return (int64_t)size;
}

#define ADD "add %2, %0\n"

/* Each addition waits for the one before: one cycle each. */
static int64_t chain(const void *memory, size_t size) {
    int64_t sum = 0, n = LOOPS;
    const int64_t one = 1;
    (void)memory, (void)size;
    __asm__ volatile(".p2align 6\n1:\n" ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD "dec %1\njnz 1b\n"
                     : "+r"(sum), "+r"(n)
                     : "r"(one)
                     : "cc");
    return (int64_t)LOOPS * 16;
}

static int has_avx_vnni(void) {
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

static limit best_of_int8(void) {
    if (__builtin_cpu_supports("avx512vnni"))
        return (limit){"int8", "vpdpbusd zmm", "mac", 64, vnni_512};
    if (has_avx_vnni()) return (limit){"int8", "vpdpbusd ymm", "mac", 32, vnni_256};
    return (limit){"int8", "vpmaddwd ymm, vpaddd", "mac", 16, pairs_256};
}

int32_t find_limits(limit *found, int32_t room) {
    const int wide = __builtin_cpu_supports("avx512f");
    if (room < 4 || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    found[0] = best_of_int8();
    found[1] = wide ? (limit){"fp32", "vfmadd231ps zmm", "mac", 16, fma_512}
                    : (limit){"fp32", "vfmadd231ps ymm", "mac", 8, fma_256};
    found[2] = wide ? (limit){"read", "vmovdqa64 zmm", "byte", 64, read_512}
                    : (limit){"read", "vmovdqa ymm", "byte", 32, read_256};
    found[3] = (limit){"clock", "add, each after the last", "cycle", 1, chain};
    return 4;
}

int32_t find_avx2_limits(limit *found, int32_t room) {
    if (room < 2 || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    found[0] = (limit){"int8", "vpmaddwd ymm, vpaddd", "mac", 16, pairs_256};
    found[1] = (limit){"fp32", "vfmadd231ps ymm", "mac", 8, fma_256};
    return 2;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

#define DOT_PRODUCT (1ul << 20) /* HWCAP_ASIMDDP */

#ifdef __clang__
#define WITH_DOT_PRODUCT __attribute__((target("dotprod")))
#else
#define WITH_DOT_PRODUCT __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

#define REGISTERS                                                                                                 \
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", \
        "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v30", "v31"

#define REPEAT(body)                                                                                        \
    do {                                                                                                    \
        int64_t n = LOOPS;                                                                                  \
        __asm__ volatile(".p2align 6\n1:\n" body "subs %0, %0, #1\nb.ne 1b\n" : "+r"(n)::"cc", REGISTERS); \
    } while (0)

#define TWENTY_FOUR(op)                                                                                            \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15) op(16) \
        op(17) op(18) op(19) op(20) op(21) op(22) op(23)

#define DOT(r) "sdot v" #r ".4s, v30.16b, v31.16b\n"
#define LONG(r) "smlal v" #r ".4s, v30.4h, v31.4h\n"
#define FMA(r) "fmla v" #r ".4s, v30.4s, v31.4s\n"

WITH_DOT_PRODUCT static int64_t dot(const void *memory, size_t size) {
    (void)memory, (void)size;
    REPEAT(TWENTY_FOUR(DOT));
    return (int64_t)LOOPS * 24 * 16;
}

/* Exact products of int8 without dot products are made of 16-bit ones. */
static int64_t widening(const void *memory, size_t size) {
    (void)memory, (void)size;
    REPEAT(TWENTY_FOUR(LONG));
    return (int64_t)LOOPS * 24 * 4;
}

static int64_t multiply_add(const void *memory, size_t size) {
    (void)memory, (void)size;
    REPEAT("movi v31.4s, #0\n" TWENTY_FOUR(FMA));
    return (int64_t)LOOPS * 24 * 4;
}

#define LOAD(at, a, b) "ldp q" #a ", q" #b ", [%0, #" #at "]\n"
#define LOAD_128(at) LOAD(at, 0, 1) LOAD(at + 32, 2, 3) LOAD(at + 64, 4, 5) LOAD(at + 96, 6, 7)

static int64_t read_all(const void *memory, size_t size) {
    const char *at = memory, *end = at + size;
    __asm__ volatile(".p2align 6\n1:\n" LOAD_128(0) LOAD_128(128) LOAD_128(256) LOAD_128(384)
                     "add %0, %0, #512\ncmp %0, %1\nb.lo 1b\n"
                     : "+r"(at)
                     : "r"(end)
                     : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7");
    return (int64_t)size;
}

#define ADD "add %0, %0, %2\n"

/* Each addition waits for the one before: one cycle each. */
static int64_t chain(const void *memory, size_t size) {
    int64_t sum = 0, n = LOOPS;
    const int64_t one = 1;
    (void)memory, (void)size;
    __asm__ volatile(".p2align 6\n1:\n" ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
                     "subs %1, %1, #1\nb.ne 1b\n"
                     : "+r"(sum), "+r"(n)
                     : "r"(one)
                     : "cc");
    return (int64_t)LOOPS * 16;
}

int32_t find_limits(limit *found, int32_t room) {
    if (room < 4) return 0;
    found[0] = getauxval(AT_HWCAP) & DOT_PRODUCT ? (limit){"int8", "sdot 16b", "mac", 16, dot}
                                                 : (limit){"int8", "smlal 4h", "mac", 4, widening};
    found[1] = (limit){"fp32", "fmla 4s", "mac", 4, multiply_add};
    found[2] = (limit){"read", "ldp q, q", "byte", 32, read_all};
    found[3] = (limit){"clock", "add, each after the last", "cycle", 1, chain};
    return 4;
}

int32_t find_avx2_limits(limit *found, int32_t room) {
    (void)found, (void)room;
    return 0;
}

#else

int32_t find_limits(limit *found, int32_t room) {
    (void)found, (void)room;
    return 0;
}

int32_t find_avx2_limits(limit *found, int32_t room) {
    (void)found, (void)room;
    return 0;
}

#endif
