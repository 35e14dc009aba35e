/* Activation functions, section 5 of docs/arithmetic.md, one element at a time. */
#ifndef KG_ACTIVATION_H
#define KG_ACTIVATION_H

#include "fma.h"
#include "model.h"

/* e^x and e^x − 1 of x ≤ 0 are fma(s, em, s) and fma(s, em, s − 1). */
typedef struct {
    float s, em;
} kg_exponential;

static inline float kg_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t kg_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* rint of |x| < 2^22 to nearest even, whatever the compiler makes of rintf. */
static inline float kg_rint(float x) {
    const float big = 12582912.0f; /* 1.5 · 2^23 */
    volatile float shifted = x + big;
    return shifted - big;
}

static inline kg_exponential kg_exponentiate(float x) {
    if (x < -87.0f) x = -87.0f;
    const float k = kg_rint(x * kg_of_bits(0x3FB8AA3B));
    float r = kg_fma(k, -kg_of_bits(0x3F317218), x);
    r = kg_fma(k, -kg_of_bits(0xB102E308), r);
    float p = kg_of_bits(0x3AB6B8C3);
    p = kg_fma(p, r, kg_of_bits(0x3C091377));
    p = kg_fma(p, r, kg_of_bits(0x3D2AAA64));
    p = kg_fma(p, r, kg_of_bits(0x3E2AAA59));
    p = kg_fma(p, r, 0.5f);
    const int32_t n = x == x ? (int32_t)k : 0;
    const kg_exponential result = {kg_of_bits((uint32_t)(n + 127) << 23), kg_fma(r * r, p, r)};
    return result;
}

static inline float kg_expm1(float x) {
    const kg_exponential e = kg_exponentiate(x);
    return kg_fma(e.s, e.em, e.s - 1.0f);
}

static inline float kg_activate(int32_t kind, float alpha, float x) {
    switch (kind) {
    case KG_RELU: /* x < 0 by its bits: of the comparison clang 14 makes a maximum on aarch64, +0 for −0 */
        return kg_bits(x) - 0x80000001u < 0x7f800000u ? 0.0f : x;
    case KG_LEAKY_RELU:
        return x < 0 ? alpha * x : x;
    case KG_ELU:
        return x < 0 ? alpha * kg_expm1(x) : x;
    case KG_SIGMOID: {
        const kg_exponential e = kg_exponentiate(-fabsf(x));
        const float exp_x = kg_fma(e.s, e.em, e.s);
        return (x < 0 ? exp_x : 1.0f) / (1.0f + exp_x);
    }
    case KG_TANH: {
        const float t = kg_expm1(-2.0f * fabsf(x));
        const float v = -t / (2.0f + t);
        return x < 0 ? -v : v;
    }
    default:
        return x;
    }
}

#endif
