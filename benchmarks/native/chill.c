#include "chill.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DATA_BYTES ((size_t)96 << 20)
#define CACHE_LINE 64

/* 65,536 jumps, each in a cache line of its own. Not inlined: no branch reaches across it. */
__attribute__((noinline)) static void run_through_code(void) {
#if defined(__x86_64__)
    __asm__ volatile(".p2align 6\n.rept 65536\njmp 1f\n.p2align 6\n1:\n.endr\n");
#elif defined(__aarch64__)
    __asm__ volatile(".p2align 6\n.rept 65536\nb 1f\n.p2align 6\n1:\n.endr\n");
#endif
}

int chill(void) {
    static volatile uint8_t *data;
    if (!data) {
        data = malloc(DATA_BYTES);
        if (!data) return 0;
        memset((void *)data, 1, DATA_BYTES);
    }
    for (size_t at = 0; at < DATA_BYTES; at += CACHE_LINE) data[at]++;
    run_through_code();
    return 1;
}
