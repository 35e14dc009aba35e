/*
 * SHA-256 (FIPS 180-4). The portable compression function stands here; x86/sha256_ni.h and
 * arm/sha256_crypto.h have those with the processor's own instructions, taken where they exist.
 */
#include "sha256.h"

#include "cpu.h"

#include <string.h>

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* Blocks of one hash, or as many of each of two. */
typedef struct {
    void (*one)(uint32_t *state, const uint8_t *data, size_t n_blocks);
    void (*two)(uint32_t *state_a, const uint8_t *a, uint32_t *state_b, const uint8_t *b, size_t n_blocks);
} compression;

enum { BLOCK = 64, N_ROUNDS = 64 };

/* A word of each of a few blocks. */
#if defined(__GNUC__)
enum { ABREAST = 4 };
typedef uint32_t vector __attribute__((vector_size(4 * ABREAST)));
#else
enum { ABREAST = 1 };
typedef uint32_t vector;
#endif
typedef union {
    vector all;
    uint32_t of_block[ABREAST];
} words;

#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* What the rounds add: several blocks abreast, since the words of one depend on each other. */
static void expand(words w[N_ROUNDS], const uint8_t *data, size_t n_blocks) {
    for (size_t l = 0; l < ABREAST; l++)
        for (int i = 0; i < 16; i++) w[i].of_block[l] = l < n_blocks ? big_endian(data + BLOCK * l + 4 * i) : 0;
    for (int i = 16; i < N_ROUNDS; i++) {
        const vector a = w[i - 15].all, b = w[i - 2].all;
        const vector s0 = ROTATE(a, 7) ^ ROTATE(a, 18) ^ (a >> 3), s1 = ROTATE(b, 17) ^ ROTATE(b, 19) ^ (b >> 10);
        w[i].all = w[i - 16].all + s0 + w[i - 7].all + s1;
    }
    for (int i = 0; i < N_ROUNDS; i++) w[i].all += K[i];
}

/* One round; the letters then stand for their left neighbours, so that nothing need be moved. */
#define ROUND(a, b, c, d, e, f, g, h, word)                                             \
    h += (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + (g ^ (e & (f ^ g))) + (word); \
    d += h;                                                                             \
    h += (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & b) | (c & (a | b)))

static void compress_block(uint32_t state[8], const words w[N_ROUNDS], size_t l) {
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < N_ROUNDS; i += 8) {
        ROUND(a, b, c, d, e, f, g, h, w[i].of_block[l]);
        ROUND(h, a, b, c, d, e, f, g, w[i + 1].of_block[l]);
        ROUND(g, h, a, b, c, d, e, f, w[i + 2].of_block[l]);
        ROUND(f, g, h, a, b, c, d, e, w[i + 3].of_block[l]);
        ROUND(e, f, g, h, a, b, c, d, w[i + 4].of_block[l]);
        ROUND(d, e, f, g, h, a, b, c, w[i + 5].of_block[l]);
        ROUND(c, d, e, f, g, h, a, b, w[i + 6].of_block[l]);
        ROUND(b, c, d, e, f, g, h, a, w[i + 7].of_block[l]);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static void compress_portable(uint32_t *state, const uint8_t *data, size_t n_blocks) {
    words w[N_ROUNDS];
    for (size_t done = 0; done < n_blocks; done += ABREAST) {
        const size_t n = n_blocks - done < ABREAST ? n_blocks - done : ABREAST;
        expand(w, data + BLOCK * done, n);
        for (size_t l = 0; l < n; l++) compress_block(state, w, l);
    }
}

static void compress_two_portable(uint32_t *state_a, const uint8_t *a, uint32_t *state_b, const uint8_t *b,
                                  size_t n_blocks) {
    compress_portable(state_a, a, n_blocks);
    compress_portable(state_b, b, n_blocks);
}

/* clang before 16 knows the instructions of aarch64 only where the whole program may use them. */
#if defined(__x86_64__) && defined(__GNUC__)
#include "x86/sha256_ni.h"
#define WITH_INSTRUCTIONS
#elif defined(__aarch64__) && (defined(__ARM_FEATURE_SHA2) || __clang_major__ >= 16 || __GNUC__ >= 6)
#include "arm/sha256_crypto.h"
#define WITH_INSTRUCTIONS
#endif

static compression choose(void) {
    compression chosen = {compress_portable, compress_two_portable};
#if defined(WITH_INSTRUCTIONS)
    if (kg_cpu_has_sha()) chosen.one = compress_with_sha, chosen.two = compress_two_with_sha;
#endif
    return chosen;
}

void kg_sha256_init(kg_sha256 *hash) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, start, sizeof start);
    hash->n_bytes = 0;
}

/* Data not yet taken. */
typedef struct {
    const uint8_t *next;
    size_t size;
} rest;

/* Take what fills a block that has begun, or all. */
static rest fill_block(kg_sha256 *hash, const void *data, size_t size) {
    const size_t used = (size_t)(hash->n_bytes % BLOCK), room = BLOCK - used;
    rest left = {data, size};
    if (!used || !size) return left;
    const size_t part = size < room ? size : room;
    memcpy(hash->block + used, data, part);
    hash->n_bytes += part;
    if (part == room) choose().one(hash->state, hash->block, 1);
    left.next += part, left.size -= part;
    return left;
}

void kg_sha256_update(kg_sha256 *hash, const void *data, size_t size) {
    const rest left = fill_block(hash, data, size);
    const size_t whole = left.size / BLOCK * BLOCK;
    if (!left.size) return;
    if (whole) choose().one(hash->state, left.next, whole / BLOCK);
    memcpy(hash->block, left.next + whole, left.size - whole);
    hash->n_bytes += left.size;
}

void kg_sha256_update_two(kg_sha256 *a, const void *data_a, size_t size_a, kg_sha256 *b, const void *data_b,
                          size_t size_b) {
    const rest of_a = fill_block(a, data_a, size_a), of_b = fill_block(b, data_b, size_b);
    const size_t both = (of_a.size < of_b.size ? of_a.size : of_b.size) / BLOCK * BLOCK;
    if (both) choose().two(a->state, of_a.next, b->state, of_b.next, both / BLOCK);
    a->n_bytes += both, b->n_bytes += both;
    kg_sha256_update(a, of_a.next + both, of_a.size - both);
    kg_sha256_update(b, of_b.next + both, of_b.size - both);
}

void kg_sha256_final(kg_sha256 *hash, uint8_t digest[KG_SHA256_SIZE]) {
    static const uint8_t padding[64] = {0x80};
    uint64_t n_bits = hash->n_bytes * 8;
    size_t used = (size_t)(hash->n_bytes % 64);
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(n_bits >> (56 - 8 * i));
    kg_sha256_update(hash, padding, (used < 56 ? 56 : 120) - used);
    kg_sha256_update(hash, length, 8);
    for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}
