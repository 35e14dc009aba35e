/*
 * The engine's SHA-256 for test_sha256.py, as this processor runs it and as one without instructions for it
 * would. Compiled with sha256.c and cpu.c.
 */
#include "sha256.h"

int has_none(void);
int has_none(void) { return 0; }

/* The same file again, under other names, on a processor that can do nothing. */
#define kg_cpu_has_sha has_none
#define kg_sha256_init plain_init
#define kg_sha256_update plain_update
#define kg_sha256_update_two plain_update_two
#define kg_sha256_final plain_final
#include "sha256.c"
#undef kg_cpu_has_sha
#undef kg_sha256_init
#undef kg_sha256_update
#undef kg_sha256_update_two
#undef kg_sha256_final

int kg_cpu_has_sha(void);
void kg_sha256_init(kg_sha256 *hash);
void kg_sha256_update(kg_sha256 *hash, const void *data, size_t size);
void kg_sha256_update_two(kg_sha256 *a, const void *data_a, size_t size_a, kg_sha256 *b, const void *data_b,
                          size_t size_b);
void kg_sha256_final(kg_sha256 *hash, uint8_t digest[KG_SHA256_SIZE]);

#define PUBLIC __attribute__((visibility("default")))

PUBLIC int has_instructions(void);
PUBLIC int has_instructions(void) { return kg_cpu_has_sha(); }

/* Two digests: the first `split` bytes of each alone, the others together. */
#define DEFINE(name, prefix)                                                                                    \
    PUBLIC void name(const uint8_t *a, size_t size_a, size_t split_a, const uint8_t *b, size_t size_b, size_t split_b, \
                     uint8_t *digests);                                                                         \
    PUBLIC void name(const uint8_t *a, size_t size_a, size_t split_a, const uint8_t *b, size_t size_b, size_t split_b, \
                     uint8_t *digests) {                                                                        \
        kg_sha256 of_a, of_b;                                                                                   \
        prefix##_init(&of_a);                                                                                   \
        prefix##_init(&of_b);                                                                                   \
        prefix##_update(&of_a, a, split_a);                                                                     \
        prefix##_update(&of_b, b, split_b);                                                                     \
        prefix##_update_two(&of_a, a + split_a, size_a - split_a, &of_b, b + split_b, size_b - split_b);        \
        prefix##_final(&of_a, digests);                                                                         \
        prefix##_final(&of_b, digests + KG_SHA256_SIZE);                                                        \
    }

DEFINE(hash_plainly, plain)
DEFINE(hash_as_the_engine, kg_sha256)
