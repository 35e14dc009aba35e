/* The tests that made a die's score. docs/arithmetic.md, 9. */
#include "activation.h"
#include "control.h"
#include "largest.h"
#include "model.h"
#include "tile.h"

/* The die's result as kg_score has it: in fp32 if "verified" puts that of int8 aside. */
static void run(kg_tile *t, const kg_model *m, int32_t precision, int32_t point, const float *values, int32_t group,
                const kg_rows *r) {
    const int is_verified = precision == KG_PRECISION_VERIFIED;
    t->n_dies = 0;
    kg_tile_add(t, m, values, &group, 0);
    kg_tile_run(t, m, is_verified ? KG_PRECISION_INT8 : precision, KG_WANT_SCORE, r);
    if (is_verified && kg_is_rescored(t, 0, m, &m->points[point]))
        kg_tile_run(t, m, KG_PRECISION_FP32, KG_WANT_SCORE, r);
}

/* Keys that order by |z|, then by lower column. */
static int32_t make_keys(const kg_tile *t, int32_t n_tests, uint64_t *keys) {
    int32_t n = 0;
    for (int32_t i = 0; i < n_tests; i++) {
        if (t->values[0][i] != t->values[0][i]) continue;
        const uint64_t magnitude = kg_bits(t->z[i]) & 0x7fffffffu;
        keys[n++] = magnitude << 32 | (UINT32_MAX - (uint32_t)i);
    }
    kg_make_heap(keys, n);
    return n;
}

int32_t kg_contributions(const kg_model *model, int32_t precision, int32_t point, void *scratch,
                         const float *values, int32_t group, int32_t k, int32_t *columns, float *z,
                         double *expected, int32_t *n_found) {
    const int32_t status = kg_check_call(model, &precision, point, scratch, values, 1);
    if (status != KG_OK) return status;
    if (k < 0 || !n_found || (k > 0 && (!columns || !z || !expected))) return KG_ERROR_USE;
    const kg_control host = kg_control_set();
    const kg_rows r = kg_cut(model, scratch);
    kg_tile t;
    run(&t, model, precision, point, values, group, &r);
    *n_found = 0;
    if (t.found[0].largest < 0x7f800000u) {
        uint64_t *keys = (uint64_t *)(void *)r.work;
        const int32_t n = make_keys(&t, model->n_tests, keys);
        for (int32_t i = 0; i < k && i < n; i++, ++*n_found) {
            const int32_t column = (int32_t)(UINT32_MAX - (uint32_t)kg_pop(keys, n - i));
            const int64_t scaler = t.scaler[0] + column;
            columns[i] = column, z[i] = t.z[column];
            expected[i] = model->centre[scaler] + (double)t.y[column] / model->inv_scale[scaler];
        }
    }
    kg_control_restore(host);
    return KG_OK;
}
