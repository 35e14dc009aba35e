/*
 * SHA-256 compression with the crypto instructions of aarch64; included by sha256.c. A second hash runs in
 * the gaps of the first.
 */
#include <arm_neon.h>

#if defined(__clang__)
#define UNROLL_16 _Pragma("clang loop unroll(full)")
#define WITH_SHA __attribute__((target("sha2")))
#else
#define UNROLL_16 _Pragma("GCC unroll 16")
#define WITH_SHA __attribute__((target("+crypto")))
#endif
#define EACH(s) UNROLL_16 for (int s = 0; s < n_hashes; s++)

typedef struct {
    uint32x4_t abcd, efgh, w[4];
} lane;

WITH_SHA static inline void load_words(lane *l, const uint8_t *data) {
    UNROLL_16 for (int i = 0; i < 4; i++) l->w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * i)));
}

/* Rounds 4i to 4i + 3; the four words of rounds 16 later take the place of those used. */
WITH_SHA static inline void four_rounds(lane *l, int i) {
    const uint32x4_t wk = vaddq_u32(l->w[i & 3], vld1q_u32(K + 4 * i)), abcd = l->abcd;
    l->abcd = vsha256hq_u32(abcd, l->efgh, wk);
    l->efgh = vsha256h2q_u32(l->efgh, abcd, wk);
    if (i >= 12) return;
    const uint32x4_t next = vsha256su0q_u32(l->w[i & 3], l->w[(i + 1) & 3]);
    l->w[i & 3] = vsha256su1q_u32(next, l->w[(i + 2) & 3], l->w[(i + 3) & 3]);
}

WITH_SHA __attribute__((always_inline)) static inline void compress(int n_hashes, uint32_t *const state[],
                                                                    const uint8_t *const data[], size_t n_blocks) {
    lane l[2];
    EACH(s) l[s].abcd = vld1q_u32(state[s]), l[s].efgh = vld1q_u32(state[s] + 4);
    for (size_t block = 0; block < n_blocks; block++) {
        lane old[2];
        EACH(s) old[s] = l[s];
        EACH(s) load_words(&l[s], data[s] + BLOCK * block);
        UNROLL_16 for (int i = 0; i < 16; i++) EACH(s) four_rounds(&l[s], i);
        EACH(s) l[s].abcd = vaddq_u32(l[s].abcd, old[s].abcd), l[s].efgh = vaddq_u32(l[s].efgh, old[s].efgh);
    }
    EACH(s) vst1q_u32(state[s], l[s].abcd), vst1q_u32(state[s] + 4, l[s].efgh);
}

WITH_SHA static void compress_with_sha(uint32_t *state, const uint8_t *data, size_t n_blocks) {
    compress(1, &state, &data, n_blocks);
}

WITH_SHA static void compress_two_with_sha(uint32_t *state_a, const uint8_t *a, uint32_t *state_b, const uint8_t *b,
                                           size_t n_blocks) {
    uint32_t *const state[2] = {state_a, state_b};
    const uint8_t *const data[2] = {a, b};
    compress(2, state, data, n_blocks);
}
