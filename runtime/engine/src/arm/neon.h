/* The vocabulary of NEON on aarch64, all but the int8 products. */
#include <arm_neon.h>
#include <string.h>

#include "../cpu.h"
#include "../model.h"

#define LANES 4
#define MAX_ROWS 6
#define BLOCKS(rows) ((rows) == 1 ? 4 : (rows) <= 3 ? 2 : 1)
#define BLOCKS8 BLOCKS
#define FUSES_RESIDUAL 0
#define V TARGET __attribute__((always_inline)) static inline

typedef float32x4_t vf;
typedef uint32x4_t vm;
typedef int32x4_t vi;
typedef int8x16_t vq;

V vf v_set(float x) { return vdupq_n_f32(x); }
V vf v_load(const float *p) { return vld1q_f32(p); }
V void v_store(float *p, vf x) { vst1q_f32(p, x); }
V vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
V vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
V vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
V vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
V vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
V vm v_less(vf a, vf b) { return vcltq_f32(a, b); }
V vm v_is_number(vf x) { return vceqq_f32(x, x); }
V vf v_select(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }
V vf v_keep(vm m, vf x) { return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(x))); }

/* floor where x < floor, else x: NaN and −0 pass, unlike through vmaxq. */
V vf v_at_least(vf floor, vf x) { return v_select(v_less(x, floor), floor, x); }

V uint32_t v_mask_bits(vm m) {
    const uint32x4_t bits = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(m, bits));
}

V vm v_mask_of_bits(uint32_t bits) {
    const uint32x4_t own = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(bits), own);
}

V vi v_int(int32_t x) { return vdupq_n_s32(x); }
V vi v_load_int(const void *p) { return vld1q_s32((const int32_t *)p); }
V void v_store_int(void *p, vi x) { vst1q_s32((int32_t *)p, x); }
V vi v_bits(vf x) { return vreinterpretq_s32_f32(x); }
V vf v_of_bits(vi x) { return vreinterpretq_f32_s32(x); }
V vi v_bits_and(vi a, vi b) { return vandq_s32(a, b); }
V vi v_bits_xor(vi a, vi b) { return veorq_s32(a, b); }
V uint32x4_t v_unsigned(vi x) { return vreinterpretq_u32_s32(x); }
V vi v_max_bits(vi a, vi b) { return vreinterpretq_s32_u32(vmaxq_u32(v_unsigned(a), v_unsigned(b))); }
V vi v_min_bits(vi a, vi b) { return vreinterpretq_s32_u32(vminq_u32(v_unsigned(a), v_unsigned(b))); }
V vi v_add_int(vi a, vi b) { return vaddq_s32(a, b); }
V vi v_shift_to_exponent(vi x) { return vshlq_n_s32(x, 23); }
V vm v_less_int(vi a, vi b) { return vcltq_s32(a, b); }
V vi v_count(vi n, vm m) { return vsubq_s32(n, vreinterpretq_s32_u32(m)); }
V vi v_round(vf x) { return vcvtnq_s32_f32(x); }
V vf v_from_int(vi x) { return vcvtq_f32_s32(x); }
V uint32_t v_largest_of(vi x) { return vmaxvq_u32(v_unsigned(x)); }

/* The lanes of a mask, one after the other; how many. */
V int32_t v_append(int32_t *to, vm m, vi x) {
    int32_t n = 0, lanes[LANES];
    uint32_t left = v_mask_bits(m);
    if (left) v_store_int(lanes, x);
    for (; left; left &= left - 1) to[n++] = lanes[__builtin_ctz(left)];
    return n;
}

typedef float64x2_t vd;
#define DOUBLES 2
V vd vd_zero(void) { return vdupq_n_f64(0); }
V void vd_store(double *p, vd x) { vst1q_f64(p, x); }

V vd vd_add_kept(vd sum, uint32_t bits, const double *p) {
    const uint64x2_t own = {1, 2}, kept = vtstq_u64(vdupq_n_u64(bits), own);
    return vaddq_f64(sum, vreinterpretq_f64_u64(vandq_u64(kept, vreinterpretq_u64_f64(vld1q_f64(p)))));
}

V float32x2_t standardise2(float64x2_t x, const double *centre, const double *inv_scale) {
    return vcvt_f32_f64(vmulq_f64(vsubq_f64(x, vld1q_f64(centre)), vld1q_f64(inv_scale)));
}

V vf v_standardise(vf x, const double *centre, const double *inv_scale) {
    return vcombine_f32(standardise2(vcvt_f64_f32(vget_low_f32(x)), centre, inv_scale),
                        standardise2(vcvt_high_f64_f32(x), centre + 2, inv_scale + 2));
}

V int16x4_t steps4(const float *x, vf inv) { return vmovn_s32(v_round(v_mul(v_load(x), inv))); }

/* Nothing saturates or wraps here: steps are within −128 … 255, and −128 … 127 once shifted. */
TARGET static void quantise(const float *x, int32_t n, float inv, int32_t shift, void *q) {
    const vf factor = vdupq_n_f32(inv);
    const int16x8_t shifts = vdupq_n_s16((int16_t)shift);
    int8_t *out = (int8_t *)q;
    for (int32_t i = 0; i < n; i += 8) {
        const int16x8_t steps = vcombine_s16(steps4(x + i, factor), steps4(x + i + 4, factor));
        vst1_s8(out + i, vmovn_s16(vaddq_s16(steps, shifts)));
    }
}
