/*
 * fma(a, b, c), rounded once to float, for processors without the instruction.
 *
 * The product of two floats is exact in double. The sum is rounded to odd: exact to 53 bits with the
 * last one set if anything was lost, from which the rounding to 24 bits, or to fewer for a subnormal
 * result, is that of the exact sum (Boldo and Melquiond, 2008).
 */
#ifndef KG_FMA_H
#define KG_FMA_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float kg_fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    const double p = (double)a * b, s = p + c;
    const double back = s - p, lost = (p - (s - back)) + (c - back);
    uint64_t bits;
    double odd;
    memcpy(&bits, &s, sizeof bits);
    if (lost != 0 && isfinite(s) && !(bits & 1)) bits += (lost > 0) == (s > 0) ? 1 : (uint64_t)-1;
    memcpy(&odd, &bits, sizeof odd);
    return (float)odd;
#endif
}

#endif
