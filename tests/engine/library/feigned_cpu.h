/*
 * Included before every source of the library by every_cpu.c's build: what the processor says of itself passes
 * through here, where features can be hidden.
 */
#ifndef FEIGNED_CPU_H
#define FEIGNED_CPU_H

#include <cpuid.h>

extern unsigned feigned_hidden_1c, feigned_hidden_7b, feigned_hidden_7c, feigned_unsaved;

static inline int feigned_cpuid_count(unsigned leaf, unsigned subleaf, unsigned *a, unsigned *b, unsigned *c, unsigned *d) {
    const int is_known = __get_cpuid_count(leaf, subleaf, a, b, c, d);
    if (leaf == 1) *c &= ~feigned_hidden_1c;
    if (leaf == 7 && subleaf == 0) *b &= ~feigned_hidden_7b, *c &= ~feigned_hidden_7c;
    return is_known;
}

static inline unsigned feigned_xgetbv(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return low & ~feigned_unsaved;
}

#define kg_xgetbv feigned_xgetbv
#define __get_cpuid_count feigned_cpuid_count
#undef __cpuid_count
#define __cpuid_count(leaf, subleaf, a, b, c, d) feigned_cpuid_count(leaf, subleaf, &(a), &(b), &(c), &(d))

#endif
