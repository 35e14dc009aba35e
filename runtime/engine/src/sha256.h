/* SHA-256 (FIPS 180-4), for digests of files. */
#ifndef KG_SHA256_H
#define KG_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define KG_SHA256_SIZE 32

typedef struct {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64];
} kg_sha256;

void kg_sha256_init(kg_sha256 *hash);
void kg_sha256_update(kg_sha256 *hash, const void *data, size_t size);
/* Both at once, which takes little longer than one where the processor has instructions for it. */
void kg_sha256_update_two(kg_sha256 *a, const void *data_a, size_t size_a, kg_sha256 *b, const void *data_b,
                          size_t size_b);
void kg_sha256_final(kg_sha256 *hash, uint8_t digest[KG_SHA256_SIZE]);

#endif
