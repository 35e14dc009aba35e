/* What this processor can do at most: the yardstick for everything that the benchmark times. */
#ifndef LIMITS_H
#define LIMITS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Does one thing as fast as the processor can and says how much of it was done. memory is read by the limit of
 * bandwidth only; it must start at a cache line, and size be a multiple of 512.
 */
typedef int64_t (*limit_work)(const void *memory, size_t size);

typedef struct {
    const char *what;        /* "int8", "fp32", "read", "clock" */
    const char *instruction; /* that the figure rests on */
    const char *unit;        /* of what work returns: "mac", "byte", "cycle" */
    int32_t per_instruction; /* units that one instruction does */
    limit_work work;
} limit;

/* The limits that this program can measure here. Returns how many there are; at most room are written. */
int32_t find_limits(limit *found, int32_t room);

/* The limit of int8 on a processor that has AVX2 and nothing newer; 0 elsewhere. */
int32_t find_avx2_limits(limit *found, int32_t room);

#endif
