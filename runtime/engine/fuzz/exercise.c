#include "exercise.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "knowngood.h"
#include "sha256.h"

enum { HEADER = 96, ENTRY = 32, TAG = 16, TRAILER = 128, DIGEST_AT = 32, MODEL_ID_AT = 64 };
enum { N_DIES = 19, N_DECIDING = 4, N_TOP = 3 };

#define REQUIRE(condition)                                                 \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                       \
        }                                                                  \
    } while (0)

/* Digests that fit, where the section table lies within the file. */
static void repair(uint8_t *data, uint64_t size) {
    kg_sha256 hash;
    if (size < HEADER + N_DECIDING * ENTRY + TRAILER) return;
    for (int i = 0; i < 8; i++) data[16 + i] = (uint8_t)(size >> (8 * i));
    kg_sha256_init(&hash);
    for (int i = 0; i < N_DECIDING; i++) {
        const uint8_t *entry = data + HEADER + ENTRY * i;
        const uint64_t offset = kg_little(entry + TAG, 8), length = kg_little(entry + TAG + 8, 8);
        if (offset > size || length > size - offset) return;
        kg_sha256_update(&hash, entry, TAG);
        kg_sha256_update(&hash, entry + TAG + 8, 8);
        kg_sha256_update(&hash, data + offset, (size_t)length);
    }
    kg_sha256_final(&hash, data + MODEL_ID_AT);
    kg_sha256_init(&hash);
    kg_sha256_update(&hash, data, DIGEST_AT);
    kg_sha256_update(&hash, data + MODEL_ID_AT, (size_t)(size - TRAILER - MODEL_ID_AT));
    kg_sha256_final(&hash, data + DIGEST_AT);
}

static int32_t open_and_close(const uint8_t *data, uint64_t size, const char *path) {
    char message[KG_MESSAGE_SIZE] = "";
    kg_model *model = NULL;
    kg_options options;
    kg_options_init(&options);
    options.cpu_path = path;
    const int32_t status = kg_open(data, (int64_t)size, &options, &model, message, sizeof message);
    REQUIRE((status == KG_OK) == (model != NULL));
    REQUIRE(status == KG_OK || message[0]);
    kg_close(model);
    return status;
}

/* Dies of all kinds: numbers out of the file itself, missing tests, infinities. */
static float *dies(const uint8_t *data, uint64_t size, int32_t n_tests) {
    float *values = malloc(sizeof(float) * N_DIES * (size_t)n_tests);
    REQUIRE(values);
    for (int64_t i = 0; i < (int64_t)N_DIES * n_tests; i++) {
        const uint64_t at = ((uint64_t)i * 7919 * 4) % (size - 4);
        memcpy(&values[i], data + at, sizeof *values);
        if (i < 4 * n_tests) values[i] = (float)(i % 13) - 6.0f;
    }
    return values;
}

static void check_verdicts(const kg_model *model, int32_t precision, int32_t point, const float *scores,
                           const int8_t *verdicts, const int8_t *reasons) {
    float threshold;
    REQUIRE(kg_point(model, precision, point, NULL, &threshold, NULL) == KG_OK);
    for (int d = 0; d < N_DIES; d++) {
        uint32_t bits;
        memcpy(&bits, &scores[d], sizeof bits);
        REQUIRE(isfinite(scores[d]) || bits == 0x7fc00000u);
        REQUIRE(verdicts[d] == (!isfinite(scores[d]) ? KG_UNSCORED : scores[d] <= threshold ? KG_PASS : KG_REJECT));
        REQUIRE((reasons[d] != KG_REASON_NONE) == (verdicts[d] == KG_UNSCORED) && reasons[d] <= KG_REASON_RANGE);
    }
}

static void use_precision(const kg_model *model, int32_t precision, const float *values, const int32_t *group) {
    float scores[N_DIES], z[N_TOP];
    double expected[N_TOP];
    int8_t verdicts[N_DIES], reasons[N_DIES];
    int32_t columns[N_TOP], n_found = -1;
    const size_t n_tests = (size_t)kg_n_tests(model), n_latent = (size_t)kg_n_latent(model);
    void *scratch = malloc((size_t)kg_scratch_size(model));
    float *y = malloc(sizeof(float) * N_DIES * n_tests), *latent = malloc(sizeof(float) * N_DIES * (n_latent + 1));
    const int32_t point = kg_n_points(model) - 1;
    REQUIRE(scratch && y && latent);
    REQUIRE(kg_score(model, precision, point, scratch, values, group, N_DIES, scores, verdicts, reasons) == KG_OK);
    check_verdicts(model, precision, point, scores, verdicts, reasons);
    REQUIRE(kg_reconstruct(model, precision, point, scratch, values, group, N_DIES, y, n_latent ? latent : NULL) == KG_OK);
    REQUIRE(kg_contributions(model, precision, point, scratch, values, group[0], N_TOP, columns, z, expected,
                             &n_found) == KG_OK);
    REQUIRE(n_found >= 0 && n_found <= N_TOP);
    for (int i = 0; i < n_found; i++) REQUIRE(columns[i] >= 0 && (size_t)columns[i] < n_tests);
    free(latent);
    free(y);
    free(scratch);
}

static int32_t use(const uint8_t *data, uint64_t size, const char *path) {
    kg_model *model = NULL;
    kg_options options;
    kg_options_init(&options);
    options.skip_golden = 1;
    options.cpu_path = path;
    const int32_t status = kg_open(data, (int64_t)size, &options, &model, NULL, 0);
    if (status != KG_OK) return status;
    float *values = dies(data, size, kg_n_tests(model));
    int32_t group[N_DIES];
    for (int d = 0; d < N_DIES; d++) group[d] = d % 5 - 1;
    for (int32_t p = KG_PRECISION_FP32; p <= KG_PRECISION_VERIFIED; p++)
        if (kg_has_precision(model, p)) use_precision(model, p, values, group);
    free(values);
    kg_close(model);
    return status;
}

exercise_result exercise(const uint8_t *data, uint64_t size) {
    exercise_result result;
    const char *path = NULL; /* by a byte in the middle, so that a fuzzer tries them all */
    for (int i = 0; size && i <= data[size / 2] % 5 && kg_cpu_path_name(i); i++)
        if (kg_cpu_path_is_supported(kg_cpu_path_name(i))) path = kg_cpu_path_name(i);
    uint8_t *copy = calloc(size ? size : 1, 1); /* exactly as long, so that a sanitizer sees the first byte beyond */
    REQUIRE(copy);
    if (size) memcpy(copy, data, size);
    result.as_it_is = open_and_close(copy, size, path);
    repair(copy, size);
    result.repaired = use(copy, size, path);
    result.checked = result.repaired == KG_OK ? open_and_close(copy, size, path) : result.repaired;
    free(copy);
    return result;
}
