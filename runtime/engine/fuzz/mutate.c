/*
 * Opens mutants of .kgd files, for machines without libFuzzer.
 *
 *     mutate N SEED FILE...
 *
 * A mutant that opens as it is, although a byte differs, is a failure: exit code 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exercise.h"
#include "knowngood.h"

enum { N_STATUSES = 12, MAX_SIZE = 1 << 24, MAX_EDITS = 4 };

static uint64_t state;

static uint64_t draw(uint64_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return below ? (state * 0x2545f4914f6cdd1du >> 11) % below : 0;
}

/* Most of a file is weights: every other edit falls on the header, the tables or what precedes them. */
static uint64_t place(uint64_t size) {
    if (draw(2)) return draw(size);
    const uint64_t head = size < 2048 ? size : 2048;
    return draw(head);
}

static uint64_t edit(uint8_t *data, uint64_t size, uint64_t capacity) {
    static const uint32_t odd[] = {0,      1,       2,          0x7f,       0x80,       0xff,      0xffff,    0x10000,
                                   65999,  66001,   0x7fffffff, 0x80000000, 0xffffffff, 0x7fc00000, 0x7f800000, 0x40000000};
    const uint64_t at = place(size);
    const uint64_t left = size - at, length = 1 + draw(left < 64 ? left : 64);
    uint32_t value = odd[draw(sizeof odd / sizeof *odd)];
    switch (draw(9)) {
    case 0: data[at] ^= (uint8_t)(1u << draw(8)); break;
    case 1: data[at] = (uint8_t)draw(256); break;
    case 2: if (left >= 4) memcpy(data + at / 4 * 4, &value, 4); break;
    case 3: if (left >= 4) data[at / 4 * 4] += (uint8_t)(draw(3) - 1); break;
    case 4: memset(data + at, draw(2) ? 0 : 0xff, length); break;
    case 5: memmove(data + at, data + draw(size - length + 1), length); break;
    case 6: return draw(4) ? size - draw(size < 256 ? size : 256) : at;
    case 7:
        if (size + length > capacity) break;
        memmove(data + at + length, data + at, left);
        return size + length;
    default:
        memmove(data + at, data + at + length, left - length);
        return size - length;
    }
    return size;
}

static uint64_t read_file(const char *path, uint8_t *data) {
    FILE *file = fopen(path, "rb");
    const uint64_t size = file ? fread(data, 1, MAX_SIZE, file) : 0;
    if (file) fclose(file);
    return size;
}

static long count[3][N_STATUSES];

static void print_counts(const char *title, const long *counts) {
    printf("%s:", title);
    for (int i = 0; i < N_STATUSES; i++)
        if (counts[i]) printf(" %ld %s;", counts[i], kg_status_text(i));
    printf("\n");
}

static int try_mutants(const uint8_t *base, uint64_t base_size, uint8_t *mutant, long n) {
    for (long i = 0; i < n; i++) {
        uint64_t size = base_size;
        memcpy(mutant, base, size);
        for (uint64_t k = 1 + draw(MAX_EDITS); k && size; k--) size = edit(mutant, size, MAX_SIZE);
        if (size == base_size && memcmp(mutant, base, size) == 0) continue;
        const exercise_result result = exercise(mutant, size);
        count[0][result.as_it_is]++, count[1][result.repaired]++, count[2][result.checked]++;
        if (result.as_it_is == KG_OK) return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const long n = atol(argv[1]) / (argc - 3);
    uint8_t *base = malloc(MAX_SIZE), *mutant = malloc(MAX_SIZE);
    int is_good = base && mutant;
    state = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
    for (int i = 3; is_good && i < argc; i++) {
        const uint64_t size = read_file(argv[i], base);
        is_good = size > 0 && exercise(base, size).checked == KG_OK && try_mutants(base, size, mutant, n);
        if (!is_good) fprintf(stderr, "%s: it does not open, or a mutant of it does\n", argv[i]);
    }
    print_counts("as they are", count[0]);
    print_counts("with digests that fit", count[1]);
    print_counts("with golden dies scored too", count[2]);
    free(mutant);
    free(base);
    return is_good ? 0 : 1;
}
