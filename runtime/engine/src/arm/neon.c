/*
 * NEON. int8 inputs are signed bytes, −128 … 127, and weights at most 127: two products, 32,512 at most,
 * are exact in 16 bits.
 */
#if defined(__AARCH64EL__) && defined(__GNUC__)
#define PATH kg_neon
#define PATH_NAME "neon"
#define PATH_SUPPORTED always
#define TARGET
#define GROUP 2
#define STEP_SIZE 1
#define SHIFTS {-128, 0}

#include "neon.h"

static int always(void) { return 1; }

/* Two inputs again and again; half a vector of weights is in use. */
V vq v_group(const uint8_t *q) {
    int16_t two;
    memcpy(&two, q, 2);
    return vreinterpretq_s8_s16(vdupq_n_s16(two));
}

V vq v_weights(const int8_t *w) { return vcombine_s8(vld1_s8(w), vdup_n_s8(0)); }
V vi v_dot(vi acc, vq x, vq w) { return vpadalq_s16(acc, vmull_s8(vget_low_s8(w), vget_low_s8(x))); }

#include "../kernels.h"
#endif
