#include "golden.h"

#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "knowngood.h"
#include "pack.h"
#include "sha256.h"

static const char *const PRECISIONS[2] = {"fp32", "int8"};

/* Scratch, the dies in the host's byte order, and the reconstruction of one die. */
typedef struct {
    void *scratch;
    float *values, *y;
    int32_t group[KG_MAX_GOLDEN];
} workplace;

static void copy_dies(workplace *w, const kg_contents *f) {
    kg_copy(w->values, f->golden_values, (uint64_t)f->n_golden * f->n_tests, 4);
    kg_copy(w->group, f->golden_group, f->n_golden, 4);
}

/* All dies in one batch. They have no operating point of their own: no verdict is looked at. */
static int32_t check_scores(const workplace *w, const kg_model *m, const kg_contents *f, uint32_t p, kg_message message) {
    const int32_t precision = f->programs[p].precision;
    float scores[KG_MAX_GOLDEN];
    int8_t verdicts[KG_MAX_GOLDEN], reasons[KG_MAX_GOLDEN];
    const int32_t status = kg_score(m, precision, 0, w->scratch, w->values, w->group, f->n_golden, scores, verdicts, reasons);
    for (uint32_t d = 0; d < f->n_golden && status == KG_OK; d++) {
        uint32_t found;
        memcpy(&found, &scores[d], sizeof found);
        const uint32_t expected = kg_little4(f->golden_bits[p] + 4 * (uint64_t)d);
        if (found != expected)
            return kg_fail(message, KG_ERROR_GOLDEN,
                           "golden die %u in %s scores 0x%08X here, expected 0x%08X: the file was changed, or "
                           "this machine does not compute what it must",
                           (unsigned)d, PRECISIONS[precision], (unsigned)found, (unsigned)expected);
    }
    return status;
}

/* Die by die, which also takes them another way through the layers than a batch. */
static int32_t check_reconstructions(const workplace *w, const kg_model *m, const kg_contents *f, uint32_t p, kg_message message) {
    const int32_t precision = f->programs[p].precision;
    uint8_t found[KG_SHA256_SIZE];
    kg_sha256 hash;
    kg_sha256_init(&hash);
    for (uint32_t d = 0; d < f->n_golden; d++) {
        const float *values = w->values + (uint64_t)d * f->n_tests;
        const int32_t status = kg_reconstruct(m, precision, 0, w->scratch, values, &w->group[d], 1, w->y, NULL);
        if (status != KG_OK) return status;
        kg_to_little(w->y, f->n_tests, 4);
        kg_sha256_update(&hash, w->y, sizeof(float) * (size_t)f->n_tests);
    }
    kg_sha256_final(&hash, found);
    if (memcmp(found, f->golden_digest[p], sizeof found) == 0) return KG_OK;
    return kg_fail(message, KG_ERROR_GOLDEN,
                   "golden dies in %s are reconstructed otherwise here than where the file was made: it was "
                   "changed, or this machine does not compute what it must",
                   PRECISIONS[precision]);
}

int32_t kg_check_golden(const kg_model *m, const kg_contents *f, kg_message message) {
    workplace w;
    w.scratch = malloc((size_t)kg_scratch_size(m));
    w.values = malloc(sizeof(float) * f->n_golden * (size_t)f->n_tests);
    w.y = malloc(sizeof(float) * (size_t)f->n_tests);
    int32_t status = w.scratch && w.values && w.y ? KG_OK : kg_no_memory(message);
    if (status == KG_OK) copy_dies(&w, f);
    for (uint32_t p = 0; p < f->n_programs && status == KG_OK; p++) {
        status = check_scores(&w, m, f, p, message);
        if (status == KG_OK) status = check_reconstructions(&w, m, f, p, message);
    }
    free(w.y);
    free(w.values);
    free(w.scratch);
    return status;
}
