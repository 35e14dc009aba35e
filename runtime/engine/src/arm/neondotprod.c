/* NEON with dot products of four signed bytes. */
#if defined(__AARCH64EL__) && defined(__GNUC__)
#define PATH kg_neondotprod
#define PATH_NAME "neondotprod"
#define PATH_SUPPORTED kg_cpu_has_dotprod
#if defined(__clang__)
#define TARGET __attribute__((target("dotprod")))
#else
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define GROUP 4
#define STEP_SIZE 1
#define SHIFTS {-128, 0}

#include "neon.h"

V vq v_group(const uint8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

V vq v_weights(const int8_t *w) { return vld1q_s8(w); }

/* clang before 16 has the intrinsic only where a whole file is compiled for it. */
V vi v_dot(vi acc, vq x, vq w) {
#if defined(__clang__)
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(w), "w"(x));
    return acc;
#else
    return vdotq_s32(acc, w, x);
#endif
}

#include "../kernels.h"
#endif
