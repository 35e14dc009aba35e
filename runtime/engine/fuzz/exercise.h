/*
 * What a fuzzer does with the bytes of a file: opens them as they are and again with digests that fit,
 * so that what stands behind the digests is reached, and uses whatever opens.
 */
#ifndef KG_EXERCISE_H
#define KG_EXERCISE_H

#include <stdint.h>

typedef struct {
    int32_t as_it_is, repaired, checked; /* statuses; checked: repaired, and its golden dies scored */
} exercise_result;

/* Aborts on a broken promise; sanitizers see the rest. */
exercise_result exercise(const uint8_t *data, uint64_t size);

#endif
