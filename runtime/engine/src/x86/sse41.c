/*
 * SSE4.1. Without FMA, fused multiply-adds are made of exact products in double. int8 inputs and weights are
 * widened to 16 bits, and two products added at once.
 */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include "../cpu.h"
#include "../model.h"

#define PATH kg_sse41
#define PATH_NAME "sse41"
#define PATH_SUPPORTED kg_cpu_has_sse41
#define TARGET __attribute__((target("sse4.1")))
#define LANES 4
#define GROUP 2
#define STEP_SIZE 2
#define SHIFTS {0, 0}
#define MAX_ROWS 3
#define BLOCKS(rows) ((rows) == 1 ? 2 : 1)
#define BLOCKS8 BLOCKS
#define FUSES_RESIDUAL 0
#define V TARGET __attribute__((always_inline)) static inline

typedef __m128 vf, vm;
typedef __m128i vi, vq;

V vf v_set(float x) { return _mm_set1_ps(x); }
V vf v_load(const float *p) { return _mm_loadu_ps(p); }
V void v_store(float *p, vf x) { _mm_storeu_ps(p, x); }
V vf v_add(vf a, vf b) { return _mm_add_ps(a, b); }
V vf v_sub(vf a, vf b) { return _mm_sub_ps(a, b); }
V vf v_mul(vf a, vf b) { return _mm_mul_ps(a, b); }
V vf v_div(vf a, vf b) { return _mm_div_ps(a, b); }
V vm v_less(vf a, vf b) { return _mm_cmplt_ps(a, b); }
V vm v_is_number(vf x) { return _mm_cmpord_ps(x, x); }
V vf v_select(vm m, vf a, vf b) { return _mm_blendv_ps(b, a, m); }
V vf v_keep(vm m, vf x) { return _mm_and_ps(m, x); }
/* floor where x < floor, else x: NaN and −0 pass, since the instruction prefers its second operand. */
V vf v_at_least(vf floor, vf x) { return _mm_max_ps(floor, x); }
V uint32_t v_mask_bits(vm m) { return (uint32_t)_mm_movemask_ps(m); }

V vm v_mask_of_bits(uint32_t bits) {
    const __m128i own = _mm_setr_epi32(1, 2, 4, 8);
    return _mm_castsi128_ps(_mm_cmpeq_epi32(_mm_and_si128(_mm_set1_epi32((int32_t)bits), own), own));
}

V vi v_int(int32_t x) { return _mm_set1_epi32(x); }
V vi v_load_int(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
V void v_store_int(void *p, vi x) { _mm_storeu_si128((__m128i *)p, x); }
V vi v_bits(vf x) { return _mm_castps_si128(x); }
V vf v_of_bits(vi x) { return _mm_castsi128_ps(x); }
V vi v_bits_and(vi a, vi b) { return _mm_and_si128(a, b); }
V vi v_bits_xor(vi a, vi b) { return _mm_xor_si128(a, b); }
V vi v_max_bits(vi a, vi b) { return _mm_max_epu32(a, b); }
V vi v_min_bits(vi a, vi b) { return _mm_min_epu32(a, b); }
V vi v_add_int(vi a, vi b) { return _mm_add_epi32(a, b); }
V vi v_shift_to_exponent(vi x) { return _mm_slli_epi32(x, 23); }
V vm v_less_int(vi a, vi b) { return _mm_castsi128_ps(_mm_cmplt_epi32(a, b)); }
V vi v_count(vi n, vm m) { return _mm_sub_epi32(n, _mm_castps_si128(m)); }
V vi v_round(vf x) { return _mm_cvtps_epi32(x); }
V vf v_from_int(vi x) { return _mm_cvtepi32_ps(x); }

/* Lane 0 of op over all lanes. */
#define ACROSS(op, x)                                   \
    const __m128i half = op(x, _mm_shuffle_epi32(x, 0x4E)); \
    return (uint32_t)_mm_cvtsi128_si32(op(half, _mm_shuffle_epi32(half, 0xB1)))
V uint32_t v_largest_of(vi x) { ACROSS(_mm_max_epu32, x); }

/* p + c rounded to odd: what was lost sets the last bit. See fma.h. */
V __m128d add_to_odd(__m128d p, __m128d c) {
    const __m128d zero = _mm_setzero_pd(), s = _mm_add_pd(p, c), back = _mm_sub_pd(s, p);
    const __m128d lost = _mm_add_pd(_mm_sub_pd(p, _mm_sub_pd(s, back)), _mm_sub_pd(c, back));
    const __m128d is_inexact = _mm_and_pd(_mm_cmpneq_pd(lost, zero), _mm_cmpord_pd(lost, lost));
    const __m128i one = _mm_set1_epi64x(1), bits = _mm_castpd_si128(s);
    const __m128i is_even = _mm_cmpeq_epi64(_mm_and_si128(bits, one), _mm_setzero_si128());
    const __m128i differ = _mm_castpd_si128(_mm_xor_pd(_mm_cmpgt_pd(lost, zero), _mm_cmpgt_pd(s, zero)));
    const __m128i toward = _mm_or_si128(differ, one); /* −1 towards zero, else 1 */
    const __m128i change = _mm_and_si128(_mm_and_si128(_mm_castpd_si128(is_inexact), is_even), toward);
    return _mm_castsi128_pd(_mm_add_epi64(bits, change));
}

/* Sums whose second rounding may go wrong: midway between two floats, or subnormal as floats. */
V __m128i is_in_doubt(__m128d s) {
    const __m128i bits = _mm_castpd_si128(s);
    const __m128i below = _mm_and_si128(bits, _mm_set1_epi64x(0x1fffffff));
    const __m128i is_midway = _mm_cmpeq_epi64(below, _mm_set1_epi64x(0x10000000));
    const __m128d magnitude = _mm_andnot_pd(_mm_set1_pd(-0.0), s);
    return _mm_or_si128(is_midway, _mm_castpd_si128(_mm_cmplt_pd(magnitude, _mm_set1_pd(0x1p-126))));
}

TARGET __attribute__((noinline, cold)) static vf fma_in_doubt(vf a, vf b, vf c) {
    const __m128 a_high = _mm_movehl_ps(a, a), b_high = _mm_movehl_ps(b, b), c_high = _mm_movehl_ps(c, c);
    const __m128d low = add_to_odd(_mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b)), _mm_cvtps_pd(c));
    const __m128d high = add_to_odd(_mm_mul_pd(_mm_cvtps_pd(a_high), _mm_cvtps_pd(b_high)), _mm_cvtps_pd(c_high));
    return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
}

V vf v_fma(vf a, vf b, vf c) {
    const __m128 a_high = _mm_movehl_ps(a, a), b_high = _mm_movehl_ps(b, b), c_high = _mm_movehl_ps(c, c);
    const __m128d low = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b)), _mm_cvtps_pd(c));
    const __m128d high = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(a_high), _mm_cvtps_pd(b_high)), _mm_cvtps_pd(c_high));
    const __m128i doubt = _mm_or_si128(is_in_doubt(low), is_in_doubt(high));
    if (__builtin_expect(!_mm_testz_si128(doubt, doubt), 0)) return fma_in_doubt(a, b, c);
    return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
}

/* The lanes of a mask, one after the other; how many. */
V int32_t v_append(int32_t *to, vm m, vi x) {
    int32_t n = 0, lanes[LANES];
    uint32_t left = v_mask_bits(m);
    if (left) v_store_int(lanes, x);
    for (; left; left &= left - 1) to[n++] = lanes[__builtin_ctz(left)];
    return n;
}

V __m128 standardise2(__m128 x, const double *centre, const double *inv_scale) {
    const __m128d step = _mm_sub_pd(_mm_cvtps_pd(x), _mm_loadu_pd(centre));
    return _mm_cvtpd_ps(_mm_mul_pd(step, _mm_loadu_pd(inv_scale)));
}

V vf v_standardise(vf x, const double *centre, const double *inv_scale) {
    const __m128 high = standardise2(_mm_movehl_ps(x, x), centre + 2, inv_scale + 2);
    return _mm_movelh_ps(standardise2(x, centre, inv_scale), high);
}

typedef __m128d vd;
#define DOUBLES 2
V vd vd_zero(void) { return _mm_setzero_pd(); }
V void vd_store(double *p, vd x) { _mm_storeu_pd(p, x); }

V vd vd_add_kept(vd sum, uint32_t bits, const double *p) {
    const __m128i own = _mm_set_epi64x(2, 1);
    const __m128i kept = _mm_cmpeq_epi64(_mm_and_si128(_mm_set1_epi64x((int64_t)bits), own), own);
    return _mm_add_pd(sum, _mm_and_pd(_mm_castsi128_pd(kept), _mm_loadu_pd(p)));
}

V vq v_group(const uint8_t *q) {
    int32_t two;
    __builtin_memcpy(&two, q, 4);
    return _mm_set1_epi32(two);
}

V vq v_weights(const int8_t *w) { return _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)w)); }
V vi v_dot(vi acc, vq x, vq w) { return _mm_add_epi32(acc, _mm_madd_epi16(w, x)); }

TARGET static void quantise(const float *x, int32_t n, float inv, int32_t shift, void *q) {
    const vf factor = _mm_set1_ps(inv);
    int16_t *out = q;
    (void)shift;
    for (int32_t i = 0; i < n; i += 8) {
        const vi low = v_round(v_mul(v_load(x + i), factor)), high = v_round(v_mul(v_load(x + i + 4), factor));
        _mm_storeu_si128((__m128i *)(void *)(out + i), _mm_packs_epi32(low, high));
    }
}

#include "../kernels.h"
#endif
