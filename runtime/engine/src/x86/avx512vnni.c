/* AVX-512 with VNNI: int8 inputs are bytes without sign, four of them multiplied and added at once. */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include "../cpu.h"
#include "../model.h"

#define PATH kg_avx512vnni
#define PATH_NAME "avx512vnni"
#define PATH_SUPPORTED kg_cpu_has_avx512vnni
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,popcnt")))
#define LANES 16
#define GROUP 4
#define STEP_SIZE 1
#define SHIFTS {0, 128}
#define MAX_ROWS 6
#define BLOCKS(rows) ((rows) <= 3 ? 8 : 4)
#define BLOCKS8 BLOCKS
#define FUSES_RESIDUAL 1
#define V TARGET __attribute__((always_inline)) static inline

typedef __m512 vf;
typedef __m512i vi, vq;
typedef __mmask16 vm;

V vf v_set(float x) { return _mm512_set1_ps(x); }
V vf v_load(const float *p) { return _mm512_loadu_ps(p); }
V void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
V vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
V vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
V vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
V vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
V vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
V vm v_less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
V vm v_is_number(vf x) { return _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q); }
V vf v_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
V vf v_keep(vm m, vf x) { return _mm512_maskz_mov_ps(m, x); }
/* floor where x < floor, else x: NaN and −0 pass, since the instruction prefers its second operand. */
V vf v_at_least(vf floor, vf x) { return _mm512_max_ps(floor, x); }

V uint32_t v_mask_bits(vm m) { return m; }
V vm v_mask_of_bits(uint32_t bits) { return (vm)bits; }
V vi v_int(int32_t x) { return _mm512_set1_epi32(x); }
V vi v_load_int(const void *p) { return _mm512_loadu_si512(p); }
V void v_store_int(void *p, vi x) { _mm512_storeu_si512(p, x); }
V vi v_bits(vf x) { return _mm512_castps_si512(x); }
V vf v_of_bits(vi x) { return _mm512_castsi512_ps(x); }
V vi v_bits_and(vi a, vi b) { return _mm512_and_si512(a, b); }
V vi v_bits_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
V vi v_max_bits(vi a, vi b) { return _mm512_max_epu32(a, b); }
V vi v_min_bits(vi a, vi b) { return _mm512_min_epu32(a, b); }
V vi v_add_int(vi a, vi b) { return _mm512_add_epi32(a, b); }
V vi v_shift_to_exponent(vi x) { return _mm512_slli_epi32(x, 23); }
V vm v_less_int(vi a, vi b) { return _mm512_cmplt_epi32_mask(a, b); }
V vi v_count(vi n, vm m) { return _mm512_mask_add_epi32(n, m, n, _mm512_set1_epi32(1)); }
V vi v_round(vf x) { return _mm512_cvtps_epi32(x); }
V vf v_from_int(vi x) { return _mm512_cvtepi32_ps(x); }
V uint32_t v_largest_of(vi x) { return _mm512_reduce_max_epu32(x); }

/* The lanes of a mask, one after the other; how many. May write a whole vector. */
V int32_t v_append(int32_t *to, vm m, vi x) {
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(m, x));
    return __builtin_popcount(m);
}

V vf v_standardise(vf x, const double *centre, const double *inv_scale) {
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    low = _mm512_mul_pd(_mm512_sub_pd(low, _mm512_loadu_pd(centre)), _mm512_loadu_pd(inv_scale));
    high = _mm512_mul_pd(_mm512_sub_pd(high, _mm512_loadu_pd(centre + 8)), _mm512_loadu_pd(inv_scale + 8));
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

typedef __m512d vd;
#define DOUBLES 8
V vd vd_zero(void) { return _mm512_setzero_pd(); }
V void vd_store(double *p, vd x) { _mm512_storeu_pd(p, x); }
V vd vd_add_kept(vd sum, uint32_t bits, const double *p) { return _mm512_mask_add_pd(sum, (__mmask8)bits, sum, _mm512_loadu_pd(p)); }

V vq v_group(const uint8_t *q) {
    int32_t four;
    __builtin_memcpy(&four, q, 4);
    return _mm512_set1_epi32(four);
}

V vq v_weights(const int8_t *w) { return _mm512_loadu_si512(w); }

/* gcc 12 copies accumulators around the intrinsic once many are in flight: 1.8 times slower. */
V vi v_dot(vi acc, vq x, vq w) {
#if defined(__clang__)
    return _mm512_dpbusd_epi32(acc, x, w);
#else
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
    return acc;
#endif
}

V __m512i steps(const float *x, vf inv) { return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), inv)); }

/* The packing instructions never saturate here: steps are within −127 … 255. */
TARGET static void quantise(const float *x, int32_t n, float inv, int32_t shift, void *q) {
    const vf factor = _mm512_set1_ps(inv);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i shifts = _mm512_set1_epi16((int16_t)shift);
    uint8_t *out = q;
    int32_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const __m512i low = _mm512_packs_epi32(steps(x + i, factor), steps(x + i + 16, factor));
        const __m512i high = _mm512_packs_epi32(steps(x + i + 32, factor), steps(x + i + 48, factor));
        const __m512i bytes = _mm512_packus_epi16(_mm512_add_epi16(low, shifts), _mm512_add_epi16(high, shifts));
        _mm512_storeu_si512(out + i, _mm512_permutexvar_epi32(order, bytes));
    }
    for (; i < n; i += 16) {
        const __m512i shifted = _mm512_add_epi32(steps(x + i, factor), _mm512_set1_epi32(shift));
        _mm_storeu_si128((__m128i *)(void *)(out + i), _mm512_cvtepi32_epi8(shifted));
    }
}

#include "../kernels.h"
#endif
