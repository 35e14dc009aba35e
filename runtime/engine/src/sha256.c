/*
 * SHA-256 (FIPS 180-4). The portable compression function stands here; x86/sha256_ni.h has the one
 * with the processor's own instructions, taken where they exist.
 */
#include "sha256.h"

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

typedef void compress_function(uint32_t state[8], const uint8_t *data, size_t n_blocks);

static uint32_t rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void expand(uint32_t w[64], const uint8_t *data) {
    for (int i = 0; i < 16; i++) w[i] = big_endian(data + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        uint32_t s0 = rotate(a, 7) ^ rotate(a, 18) ^ (a >> 3);
        uint32_t s1 = rotate(b, 17) ^ rotate(b, 19) ^ (b >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void compress_portable(uint32_t state[8], const uint8_t *data, size_t n_blocks) {
    for (; n_blocks; n_blocks--, data += 64) {
        uint32_t w[64], v[8];
        expand(w, data);
        memcpy(v, state, sizeof v);
        for (int i = 0; i < 64; i++) {
            uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
            uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
            uint32_t t1 = v[7] + s1 + choice + K[i] + w[i];
            uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
            uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            memmove(v + 1, v, 7 * sizeof v[0]);
            v[4] += t1;
            v[0] = t1 + s0 + majority;
        }
        for (int i = 0; i < 8; i++) state[i] += v[i];
    }
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <stdatomic.h>

#include "x86/sha256_ni.h"
/* Asked once: under a hypervisor each question to the processor takes as long as a hundred blocks. */
static compress_function *choose(void) {
    static _Atomic(compress_function *) chosen;
    compress_function *compress = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (compress) return compress;
    compress = kg_cpu_has_sha() ? compress_ni : compress_portable;
    atomic_store_explicit(&chosen, compress, memory_order_relaxed);
    return compress;
}
#else
static compress_function *choose(void) { return compress_portable; }
#endif

void kg_sha256_init(kg_sha256 *hash) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, start, sizeof start);
    hash->n_bytes = 0;
}

void kg_sha256_update(kg_sha256 *hash, const void *data, size_t size) {
    compress_function *compress = choose();
    const uint8_t *p = data;
    size_t used = (size_t)(hash->n_bytes % 64);
    hash->n_bytes += size;
    if (used) {
        size_t room = 64 - used, part = size < room ? size : room;
        memcpy(hash->block + used, p, part);
        if (part < room) return;
        compress(hash->state, hash->block, 1);
        p += part;
        size -= part;
    }
    if (size >= 64) compress(hash->state, p, size / 64);
    if (size % 64) memcpy(hash->block, p + size / 64 * 64, size % 64);
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
