/*
 * Scores recorded dies on every path of this processor and compares every bit, in a host that has set
 * other floating-point modes: replay CASES. record.py writes cases; no Python is needed here, so that
 * the program also runs under an emulator.
 */
#include <fenv.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "knowngood.h"

enum { KGD_SIZE, N_DIES, N_TESTS, HAS_GROUP, PRECISIONS, N_FIELDS };

typedef struct {
    uint32_t field[N_FIELDS];
    uint8_t *kgd;
    float *values;
    int32_t *group;
    uint32_t *bits[3];
} record;

static void *take(FILE *file, size_t size) {
    void *data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size) {
        fputs("the cases end too early\n", stderr);
        exit(2);
    }
    return data;
}

static int read_record(FILE *file, record *r) {
    if (fread(r->field, sizeof r->field, 1, file) != 1) return 0;
    const size_t n = r->field[N_DIES];
    r->kgd = take(file, r->field[KGD_SIZE]);
    r->values = take(file, 4 * n * r->field[N_TESTS]);
    r->group = take(file, 4 * n);
    for (int p = 0; p < 3; p++) r->bits[p] = r->field[PRECISIONS] >> p & 1 ? take(file, 4 * n) : NULL;
    return 1;
}

static void free_record(record *r) {
    free(r->kgd);
    free(r->values);
    free(r->group);
    for (int p = 0; p < 3; p++) free(r->bits[p]);
}

#if defined(__x86_64__)
static unsigned mode_found(void) { return _mm_getcsr() & ~0x3fu; } /* without the exceptions that have happened */
static void flush_to_zero(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }
static void reset_mode(void) { _mm_setcsr(0x1f80); }
#elif defined(__aarch64__)
static unsigned mode_found(void) {
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return (unsigned)control;
}
static void set_control(uint64_t control) { __asm__ volatile("msr fpcr, %0" : : "r"(control)); }
static void flush_to_zero(void) { set_control(mode_found() | 1u << 24); }
static void reset_mode(void) { set_control(0); }
#else
static unsigned mode_found(void) { return (unsigned)fegetround(); }
static void flush_to_zero(void) {}
static void reset_mode(void) { fesetround(FE_TONEAREST); }
#endif

/* The modes that a host may have set; returns what is to be found again. */
static unsigned set_mode(int mode) {
    static const int roundings[] = {FE_TONEAREST, FE_TONEAREST, FE_UPWARD, FE_TOWARDZERO};
    fesetround(roundings[mode]);
    if (mode == 1) flush_to_zero();
    return mode_found();
}

/* All dies, in batches of a size; returns how many batches differ. */
static int64_t compare(const record *r, const kg_model *m, int p, void *scratch, int64_t size) {
    const int64_t n = r->field[N_DIES], n_tests = r->field[N_TESTS];
    int64_t n_different = 0;
    float scores[64];
    int8_t verdicts[64], reasons[64];
    for (int64_t d = 0; d < n; d += size) {
        const int64_t batch = n - d < size ? n - d : size;
        const int32_t *group = r->field[HAS_GROUP] ? r->group + d : NULL;
        if (kg_score(m, p, 0, scratch, r->values + d * n_tests, group, batch, scores, verdicts, reasons) != KG_OK)
            return n;
        n_different += memcmp(scores, r->bits[p] + d, 4 * (size_t)batch) != 0;
    }
    return n_different;
}

/* In every precision; the model is opened in the mode of its host as well. */
static int64_t compare_in_mode(const record *r, const char *path, int64_t size) {
    kg_options options;
    kg_model *m;
    char message[KG_MESSAGE_SIZE];
    int64_t n_different = 0;
    kg_options_init(&options);
    options.path = path, options.skip_golden = 1;
    if (kg_open(r->kgd, r->field[KGD_SIZE], &options, &m, message, sizeof message) != KG_OK) {
        fprintf(stderr, "%s: %s\n", path, message);
        return 1;
    }
    void *scratch = malloc((size_t)kg_scratch_size(m));
    for (int p = 0; p < 3; p++)
        if (r->bits[p]) n_different += compare(r, m, p, scratch, size);
    free(scratch);
    kg_close(m);
    return n_different;
}

static int64_t compare_all(const record *r, const char *path, int64_t *n_compared) {
    static const int64_t sizes[] = {1, 64, 5, 19};
    int64_t n_different = 0;
    for (int mode = 0; mode < 4; mode++) {
        const unsigned before = set_mode(mode);
        n_different += compare_in_mode(r, path, sizes[mode]);
        n_different += mode_found() != before; /* the host finds what it had set */
        reset_mode();
        for (int p = 0; p < 3; p++) *n_compared += r->bits[p] ? r->field[N_DIES] : 0;
    }
    return n_different;
}

int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    int64_t n_compared = 0, n_different = 0, n_records = 0;
    record r;
    if (!file) {
        fputs("usage: replay CASES\n", stderr);
        return 2;
    }
    for (; read_record(file, &r); free_record(&r), n_records++)
        for (int32_t i = 0; kg_path_name(i); i++)
            if (kg_path_is_supported(kg_path_name(i))) {
                const int64_t found = compare_all(&r, kg_path_name(i), &n_compared);
                if (found) printf("record %" PRId64 ", %s: differs\n", n_records, kg_path_name(i));
                n_different += found;
            }
    fclose(file);
    for (int32_t i = 0; kg_path_name(i); i++)
        printf("%s%s ", kg_path_name(i), kg_path_is_supported(kg_path_name(i)) ? "" : " (not here)");
    printf("\n%" PRId64 " models, %" PRId64 " comparisons, %" PRId64 " differ\n", n_records, n_compared, n_different);
    return n_different != 0 || n_records == 0;
}
