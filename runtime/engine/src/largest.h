/*
 * The largest of n numbers, one after the other, without sorting the rest: a heap of their bits.
 *
 * Bits of numbers that are not negative order as the numbers do. Keys are 64 bits wide, so that a caller
 * can put a tie-break below them.
 */
#ifndef KG_LARGEST_H
#define KG_LARGEST_H

#include <stdint.h>

#include "activation.h"

static inline void kg_sift_down(uint64_t *heap, int64_t n, int64_t at) {
    const uint64_t key = heap[at];
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= n) break;
        if (child + 1 < n && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= key) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = key;
}

static inline void kg_make_heap(uint64_t *heap, int64_t n) {
    for (int64_t at = n / 2 - 1; at >= 0; at--) kg_sift_down(heap, n, at);
}

/* Take the largest of n keys off the heap, which then has n − 1. */
static inline uint64_t kg_pop(uint64_t *heap, int64_t n) {
    const uint64_t largest = heap[0];
    heap[0] = heap[n - 1];
    kg_sift_down(heap, n - 1, 0);
    return largest;
}

/* The k largest |z| of n, added in descending order; heap: n keys. */
static inline float kg_sum_of_largest(const float *z, int32_t n, int32_t k, uint64_t *heap) {
    float sum = 0;
    for (int32_t i = 0; i < n; i++) heap[i] = kg_bits(z[i]) & 0x7fffffffu;
    kg_make_heap(heap, n);
    for (int32_t i = 0; i < k; i++) sum += kg_of_bits((uint32_t)kg_pop(heap, n - i));
    return sum;
}

#endif
