/* AVX2 with FMA: int8 inputs and weights are widened to 16 bits, and two products added at once. */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include "../cpu.h"
#include "../model.h"

#define PATH kg_avx2
#define PATH_NAME "avx2"
#define PATH_SUPPORTED kg_cpu_has_avx2
#define TARGET __attribute__((target("avx2,fma,popcnt")))
#define LANES 8
#define GROUP 2
#define STEP_SIZE 2
#define SHIFTS {0, 0}
#define MAX_ROWS 6
#define BLOCKS(rows) ((rows) == 1 ? 4 : (rows) <= 3 ? 2 : 1)
#define BLOCKS8(rows) ((rows) == 1 ? 4 : (rows) == 2 ? 2 : 1)
#define FUSES_RESIDUAL 0
#define V TARGET __attribute__((always_inline)) static inline

typedef __m256 vf, vm;
typedef __m256i vi, vq;

V vf v_set(float x) { return _mm256_set1_ps(x); }
V vf v_load(const float *p) { return _mm256_loadu_ps(p); }
V void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
V vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
V vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
V vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
V vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
V vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
V vm v_less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
V vm v_is_number(vf x) { return _mm256_cmp_ps(x, x, _CMP_ORD_Q); }
V vf v_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
V vf v_keep(vm m, vf x) { return _mm256_and_ps(m, x); }
/* floor where x < floor, else x: NaN and −0 pass, since the instruction prefers its second operand. */
V vf v_at_least(vf floor, vf x) { return _mm256_max_ps(floor, x); }
V uint32_t v_mask_bits(vm m) { return (uint32_t)_mm256_movemask_ps(m); }

V vm v_mask_of_bits(uint32_t bits) {
    const __m256i own = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int32_t)bits), own), own));
}

V vi v_int(int32_t x) { return _mm256_set1_epi32(x); }
V vi v_load_int(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
V void v_store_int(void *p, vi x) { _mm256_storeu_si256((__m256i *)p, x); }
V vi v_bits(vf x) { return _mm256_castps_si256(x); }
V vf v_of_bits(vi x) { return _mm256_castsi256_ps(x); }
V vi v_bits_and(vi a, vi b) { return _mm256_and_si256(a, b); }
V vi v_bits_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
V vi v_max_bits(vi a, vi b) { return _mm256_max_epu32(a, b); }
V vi v_min_bits(vi a, vi b) { return _mm256_min_epu32(a, b); }
V vi v_add_int(vi a, vi b) { return _mm256_add_epi32(a, b); }
V vi v_shift_to_exponent(vi x) { return _mm256_slli_epi32(x, 23); }
V vm v_less_int(vi a, vi b) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a)); }
V vi v_count(vi n, vm m) { return _mm256_sub_epi32(n, _mm256_castps_si256(m)); }
V vi v_round(vf x) { return _mm256_cvtps_epi32(x); }
V vf v_from_int(vi x) { return _mm256_cvtepi32_ps(x); }

/* Lane 0 of op over all lanes. */
#define ACROSS(op, x)                                                                   \
    __m128i half = op(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));       \
    half = op(half, _mm_shuffle_epi32(half, 0x4E));                                     \
    return (uint32_t)_mm_cvtsi128_si32(op(half, _mm_shuffle_epi32(half, 0xB1)))
V uint32_t v_largest_of(vi x) { ACROSS(_mm_max_epu32, x); }

/* The lanes of a mask, one after the other; how many. */
V int32_t v_append(int32_t *to, vm m, vi x) {
    int32_t n = 0, lanes[LANES];
    uint32_t left = v_mask_bits(m);
    if (left) v_store_int(lanes, x);
    for (; left; left &= left - 1) to[n++] = lanes[__builtin_ctz(left)];
    return n;
}

V __m128 standardise4(__m128 x, const double *centre, const double *inv_scale) {
    const __m256d step = _mm256_sub_pd(_mm256_cvtps_pd(x), _mm256_loadu_pd(centre));
    return _mm256_cvtpd_ps(_mm256_mul_pd(step, _mm256_loadu_pd(inv_scale)));
}

V vf v_standardise(vf x, const double *centre, const double *inv_scale) {
    const __m128 low = standardise4(_mm256_castps256_ps128(x), centre, inv_scale);
    const __m128 high = standardise4(_mm256_extractf128_ps(x, 1), centre + 4, inv_scale + 4);
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

typedef __m256d vd;
#define DOUBLES 4
V vd vd_zero(void) { return _mm256_setzero_pd(); }
V void vd_store(double *p, vd x) { _mm256_storeu_pd(p, x); }

V vd vd_add_kept(vd sum, uint32_t bits, const double *p) {
    const __m256i own = _mm256_setr_epi64x(1, 2, 4, 8);
    const __m256i kept = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x((int64_t)bits), own), own);
    return _mm256_add_pd(sum, _mm256_and_pd(_mm256_castsi256_pd(kept), _mm256_loadu_pd(p)));
}

V vq v_group(const uint8_t *q) {
    int32_t two;
    __builtin_memcpy(&two, q, 4);
    return _mm256_set1_epi32(two);
}

V vq v_weights(const int8_t *w) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)w)); }
V vi v_dot(vi acc, vq x, vq w) { return _mm256_add_epi32(acc, _mm256_madd_epi16(w, x)); }

TARGET static void quantise(const float *x, int32_t n, float inv, int32_t shift, void *q) {
    const vf factor = _mm256_set1_ps(inv);
    int16_t *out = q;
    (void)shift;
    for (int32_t i = 0; i < n; i += 16) {
        const vi low = v_round(v_mul(v_load(x + i), factor)), high = v_round(v_mul(v_load(x + i + 8), factor));
        const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), both);
    }
}

#include "../kernels.h"
#endif
