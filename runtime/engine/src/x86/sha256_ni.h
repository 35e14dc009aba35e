/*
 * SHA-256 compression with the SHA instructions of x86; included by sha256.c. Each round waits for the one
 * before it: a second hash runs in the gaps.
 */
#include <immintrin.h>

#if defined(__clang__)
#define UNROLL_16 _Pragma("clang loop unroll(full)")
#else
#define UNROLL_16 _Pragma("GCC unroll 16")
#endif
#define WITH_SHA __attribute__((target("sha,sse4.1,ssse3")))
#define EACH(s) UNROLL_16 for (int s = 0; s < n_hashes; s++)

/* State in the order of the instructions: a, b, e, f and c, d, g, h. */
typedef struct {
    __m128i abef, cdgh, w[4];
} lane;

WITH_SHA static inline lane lane_of(const uint32_t state[8]) {
    const __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
    const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
    const lane l = {.abef = _mm_alignr_epi8(dcba, hgfe, 8), .cdgh = _mm_blend_epi16(hgfe, dcba, 0xF0)};
    return l;
}

WITH_SHA static inline void put_back(lane l, uint32_t state[8]) {
    const __m128i feba = _mm_shuffle_epi32(l.abef, 0x1B), dchg = _mm_shuffle_epi32(l.cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

WITH_SHA static inline void load_words(lane *l, const uint8_t *data) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    UNROLL_16 for (int i = 0; i < 4; i++)
        l->w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)data + i), swap);
}

/* Rounds 4i to 4i + 3; the four words of rounds 16 later take the place of those used. */
WITH_SHA static inline void four_rounds(lane *l, int i) {
    const __m128i wk = _mm_add_epi32(l->w[i & 3], _mm_loadu_si128((const __m128i *)(const void *)(K + 4 * i)));
    l->cdgh = _mm_sha256rnds2_epu32(l->cdgh, l->abef, wk);
    l->abef = _mm_sha256rnds2_epu32(l->abef, l->cdgh, _mm_shuffle_epi32(wk, 0x0E));
    if (i >= 12) return;
    const __m128i last = l->w[(i + 3) & 3];
    const __m128i next = _mm_sha256msg1_epu32(l->w[i & 3], l->w[(i + 1) & 3]);
    l->w[i & 3] = _mm_sha256msg2_epu32(_mm_add_epi32(next, _mm_alignr_epi8(last, l->w[(i + 2) & 3], 4)), last);
}

WITH_SHA __attribute__((always_inline)) static inline void compress(int n_hashes, uint32_t *const state[],
                                                                    const uint8_t *const data[], size_t n_blocks) {
    lane l[2];
    EACH(s) l[s] = lane_of(state[s]);
    for (size_t block = 0; block < n_blocks; block++) {
        lane old[2];
        EACH(s) old[s] = l[s];
        EACH(s) load_words(&l[s], data[s] + BLOCK * block);
        UNROLL_16 for (int i = 0; i < 16; i++) EACH(s) four_rounds(&l[s], i);
        EACH(s) l[s].abef = _mm_add_epi32(l[s].abef, old[s].abef), l[s].cdgh = _mm_add_epi32(l[s].cdgh, old[s].cdgh);
    }
    EACH(s) put_back(l[s], state[s]);
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
