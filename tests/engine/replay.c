/*
 * Scores recorded dies on every path of this processor and compares every bit, in hosts that have set
 * other floating-point modes: replay CASES. record.py writes cases; no Python is needed here, so that
 * the program also runs under an emulator.
 *
 * A comparison is one die's output in one call: score, verdict and reason; reconstruction; latent
 * code; or contributions.
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

enum { KGD_SIZE, N_DIES, N_TESTS, N_LATENT, HAS_GROUP, PRECISIONS, N_FIELDS };
enum { REPLAYED_K = 7, MOST_DIES = 64, MUCH = 1500 };

/* What the reference gives in one precision. */
typedef struct {
    uint32_t *scores;
    int8_t *verdicts, *reasons;
    uint32_t *reconstruction, *latent;
    int32_t *n_found, *columns;
    uint32_t *z;
} expected;

typedef struct {
    uint32_t field[N_FIELDS];
    uint8_t *kgd;
    float *values;
    int32_t *group;
    expected in[3];
} record;

typedef struct {
    int64_t n, n_different;
} tally;

static void *take(FILE *file, size_t size) {
    void *data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size) {
        fputs("the cases end too early\n", stderr);
        exit(2);
    }
    return data;
}

static expected take_expected(FILE *file, const uint32_t *field) {
    const size_t n = field[N_DIES];
    expected e;
    e.scores = take(file, 4 * n);
    e.verdicts = take(file, n);
    e.reasons = take(file, n);
    e.reconstruction = take(file, 4 * n * field[N_TESTS]);
    e.latent = take(file, 4 * n * field[N_LATENT]);
    e.n_found = take(file, 4 * n);
    e.columns = take(file, 4 * n * REPLAYED_K);
    e.z = take(file, 4 * n * REPLAYED_K);
    return e;
}

static int offers(const record *r, int precision) { return r->field[PRECISIONS] >> precision & 1; }

static int read_record(FILE *file, record *r) {
    if (fread(r->field, sizeof r->field, 1, file) != 1) return 0;
    const size_t n = r->field[N_DIES];
    r->kgd = take(file, r->field[KGD_SIZE]);
    r->values = take(file, 4 * n * r->field[N_TESTS]);
    r->group = take(file, 4 * n);
    for (int p = 0; p < 3; p++)
        if (offers(r, p)) r->in[p] = take_expected(file, r->field);
    return 1;
}

static void free_record(record *r) {
    free(r->kgd);
    free(r->values);
    free(r->group);
    for (int p = 0; p < 3; p++) {
        if (!offers(r, p)) continue;
        void *const all[] = {r->in[p].scores,  r->in[p].verdicts, r->in[p].reasons, r->in[p].reconstruction,
                             r->in[p].latent, r->in[p].n_found,  r->in[p].columns, r->in[p].z};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    }
}

/*
 * Modes of a host: a control word for each. On x86 four roundings with subnormals kept, flushed as results,
 * taken for zero as operands, and both; then two with every exception unmasked, which would end the process.
 * On aarch64 four roundings with subnormals kept or flushed, and one default NaN for all.
 */
#if defined(__x86_64__)
enum { N_MODES = 18 };
static uint64_t get_control(void) { return _mm_getcsr(); }
static void set_control(uint64_t control) { _mm_setcsr((unsigned)control); }
static uint64_t mode_of(int mode) {
    static const unsigned flushing[] = {0, 0x8000, 0x0040, 0x8040};
    if (mode >= 16) return mode == 16 ? 0x0000 : 0xe040;
    return 0x1f80 | (unsigned)(mode % 4) << 13 | flushing[mode / 4];
}
#elif defined(__aarch64__)
enum { N_MODES = 12 };
static uint64_t get_control(void) {
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
static void set_control(uint64_t control) { __asm__ volatile("msr fpcr, %0" : : "r"(control)); }
static uint64_t mode_of(int mode) {
    static const uint64_t flushing[] = {0, 1u << 24, 1u << 24 | 1u << 25};
    return (uint64_t)(mode % 4) << 22 | flushing[mode / 4];
}
#else
enum { N_MODES = 4 };
static uint64_t get_control(void) { return (uint64_t)fegetround(); }
static void set_control(uint64_t control) { fesetround((int)control); }
static uint64_t mode_of(int mode) {
    static const int roundings[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    return (uint64_t)roundings[mode];
}
#endif

static void count(tally *t, int is_same) {
    t->n++;
    t->n_different += !is_same;
}

static const int32_t *groups(const record *r, int64_t die) { return r->field[HAS_GROUP] ? r->group + die : NULL; }

static void compare_scores(const record *r, const kg_model *m, int p, void *scratch, int64_t size, tally *t) {
    const int64_t n = r->field[N_DIES], n_tests = r->field[N_TESTS];
    const expected *e = &r->in[p];
    float scores[MOST_DIES];
    int8_t verdicts[MOST_DIES], reasons[MOST_DIES];
    for (int64_t d = 0; d < n; d += size) {
        const int64_t batch = n - d < size ? n - d : size;
        const int32_t status = kg_score(m, p, 0, scratch, r->values + d * n_tests, groups(r, d), batch, scores,
                                        verdicts, reasons);
        for (int64_t i = 0; i < batch; i++)
            count(t, status == KG_OK && memcmp(&scores[i], &e->scores[d + i], 4) == 0 &&
                         verdicts[i] == e->verdicts[d + i] && reasons[i] == e->reasons[d + i]);
    }
}

static void compare_codes(const record *r, const kg_model *m, int p, void *scratch, int64_t size, tally *t) {
    const int64_t n = r->field[N_DIES], n_tests = r->field[N_TESTS], n_latent = r->field[N_LATENT];
    float *y = malloc(sizeof *y * (size_t)(size * n_tests)), *code = malloc(sizeof *y * (size_t)(size * n_latent + 1));
    for (int64_t d = 0; d < n; d += size) {
        const int64_t batch = n - d < size ? n - d : size;
        const int32_t status = kg_reconstruct(m, p, 0, scratch, r->values + d * n_tests, groups(r, d), batch, y,
                                              n_latent ? code : NULL);
        for (int64_t i = 0; i < batch; i++) {
            const uint32_t *of_y = r->in[p].reconstruction + (d + i) * n_tests;
            const uint32_t *of_code = r->in[p].latent + (d + i) * n_latent;
            count(t, status == KG_OK && memcmp(y + i * n_tests, of_y, 4 * (size_t)n_tests) == 0);
            if (n_latent) count(t, status == KG_OK && memcmp(code + i * n_latent, of_code, 4 * (size_t)n_latent) == 0);
        }
        if (!n_latent) continue;
        kg_reconstruct(m, p, 0, scratch, r->values + d * n_tests, groups(r, d), batch, NULL, code); /* alone */
        for (int64_t i = 0; i < batch; i++)
            count(t, memcmp(code + i * n_latent, r->in[p].latent + (d + i) * n_latent, 4 * (size_t)n_latent) == 0);
    }
    free(code);
    free(y);
}

static void compare_contributions(const record *r, const kg_model *m, int p, void *scratch, tally *t) {
    const expected *e = &r->in[p];
    for (int64_t d = 0; d < r->field[N_DIES]; d++) {
        int32_t columns[REPLAYED_K] = {0}, n_found = -1;
        float z[REPLAYED_K] = {0};
        double in_units[REPLAYED_K];
        const int32_t group = r->field[HAS_GROUP] ? r->group[d] : -1;
        const int32_t status = kg_contributions(m, p, 0, scratch, r->values + d * r->field[N_TESTS], group, REPLAYED_K,
                                                columns, z, in_units, &n_found);
        count(t, status == KG_OK && n_found == e->n_found[d] &&
                     memcmp(columns, e->columns + d * REPLAYED_K, sizeof columns) == 0 &&
                     memcmp(z, e->z + d * REPLAYED_K, sizeof z) == 0);
    }
}

/* In every precision; the model is opened in the mode of its host as well. */
static void compare_in_mode(const record *r, const char *path, int64_t size, tally *t) {
    kg_options options;
    kg_model *m;
    char message[KG_MESSAGE_SIZE];
    kg_options_init(&options);
    options.cpu_path = path, options.skip_golden = 1;
    if (kg_open(r->kgd, r->field[KGD_SIZE], &options, &m, message, sizeof message) != KG_OK) {
        fprintf(stderr, "%s: %s\n", path, message);
        count(t, 0);
        return;
    }
    void *scratch = malloc((size_t)kg_scratch_size(m));
    for (int p = 0; p < 3; p++) {
        if (!offers(r, p)) continue;
        compare_scores(r, m, p, scratch, size, t);
        compare_codes(r, m, p, scratch, size, t);
        compare_contributions(r, m, p, scratch, t);
    }
    free(scratch);
    kg_close(m);
}

/* Small records in every mode, others in some, each in others than the one before. */
static void compare_all(const record *r, int64_t n_before, const char *path, tally *t) {
    static const int64_t sizes[] = {1, 64, 5, 19, 2, 3, 6, 16, 4, 17, 7};
    const uint64_t own = get_control();
    const int step = r->field[N_DIES] * r->field[N_TESTS] > MUCH ? 5 : 1;
    for (int mode = (int)(n_before % step); mode < N_MODES; mode += step) {
        set_control(mode_of(mode));
        compare_in_mode(r, path, sizes[mode % (int)(sizeof sizes / sizeof *sizes)], t);
        const int is_as_set = get_control() == mode_of(mode); /* the host finds what it had set */
        set_control(own);
        if (!is_as_set) printf("%s: the control word is not as it was set, in mode %d\n", path, mode);
        t->n_different += !is_as_set;
    }
}

int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    int64_t n_records = 0;
    tally of_path[16] = {{0, 0}}, total = {0, 0};
    record r;
    if (!file) {
        fputs("usage: replay CASES\n", stderr);
        return 2;
    }
    for (; read_record(file, &r); free_record(&r), n_records++)
        for (int32_t i = 0; kg_cpu_path_name(i); i++)
            if (kg_cpu_path_is_supported(kg_cpu_path_name(i))) {
                const int64_t before = of_path[i].n_different;
                compare_all(&r, n_records, kg_cpu_path_name(i), &of_path[i]);
                if (of_path[i].n_different > before) printf("record %" PRId64 ", %s: differs\n", n_records, kg_cpu_path_name(i));
            }
    fclose(file);
    for (int32_t i = 0; kg_cpu_path_name(i); i++) {
        printf("%-12s %12" PRId64 " comparisons, %" PRId64 " differ\n", kg_cpu_path_name(i), of_path[i].n, of_path[i].n_different);
        total.n += of_path[i].n, total.n_different += of_path[i].n_different;
    }
    printf("%" PRId64 " models, %d modes, %" PRId64 " comparisons, %" PRId64 " differ\n", n_records, N_MODES, total.n,
           total.n_different);
    return total.n_different != 0 || n_records == 0;
}
