/* The tests that made a die's score. docs/arithmetic.md, 9. */
#include "activation.h"
#include "control.h"
#include "largest.h"
#include "model.h"
#include "tile.h"

enum { FEW = 16 };

/* The die's result as kg_score has it: in fp32 if "verified" puts that of int8 aside. */
static void run(kg_tile *t, const kg_model *m, int32_t precision, int32_t point, const float *values, int32_t group,
                const kg_rows *r) {
    const int is_verified = precision == KG_PRECISION_VERIFIED, wanted = KG_WANT_SCORE | KG_WANT_RECONSTRUCTION;
    t->n_dies = t->n_next = 0;
    kg_tile_add(t, m, values, &group, 0);
    kg_tile_run(t, m, is_verified ? KG_PRECISION_INT8 : precision, wanted, r);
    if (is_verified && kg_is_rescored(t, 0, m, &m->points[point]))
        kg_tile_run(t, m, KG_PRECISION_FP32, wanted, r);
}

/* Orders by |z|, then by lower column. */
static uint64_t key_of(const kg_tile *t, int32_t column) {
    const uint64_t magnitude = kg_bits(t->z[column]) & 0x7fffffffu;
    return magnitude << 32 | (UINT32_MAX - (uint32_t)column);
}

static int is_present(const kg_tile *t, int32_t column) { return t->values[0][column] == t->values[0][column]; }

/* The k largest keys in descending order, few of many: most keys are compared once, with the smallest kept. */
static int32_t select_few(const kg_tile *t, int32_t n_tests, int32_t k, uint64_t *keys) {
    int32_t n = 0;
    for (int32_t i = 0; i < n_tests; i++) {
        if (!is_present(t, i)) continue;
        const uint64_t key = key_of(t, i);
        if (n == k && key < keys[k - 1]) continue;
        int32_t at = n < k ? n++ : k - 1;
        for (; at > 0 && keys[at - 1] < key; at--) keys[at] = keys[at - 1];
        keys[at] = key;
    }
    return n;
}

/* The same for any k. keys has room for two keys a test. */
static int32_t select_many(const kg_tile *t, int32_t n_tests, int32_t k, uint64_t *keys) {
    uint64_t *heap = keys + n_tests;
    int32_t n = 0, found = 0;
    for (int32_t i = 0; i < n_tests; i++)
        if (is_present(t, i)) heap[n++] = key_of(t, i);
    kg_make_heap(heap, n);
    for (; found < k && found < n; found++) keys[found] = kg_pop(heap, n - found);
    return found;
}

int32_t kg_contributions(const kg_model *model, int32_t precision, int32_t point, void *scratch,
                         const float *values, int32_t group, int32_t k, int32_t *columns, float *z,
                         double *expected, int32_t *n_found) {
    if (n_found) *n_found = 0;
    const int32_t status = kg_check_call(model, &precision, point, scratch, values, 1);
    if (status != KG_OK) return status;
    if (k < 0 || !n_found || (k > 0 && (!columns || !z || !expected))) return KG_ERROR_USE;
    const kg_control host = kg_control_set();
    const kg_rows r = kg_cut(model, scratch);
    kg_tile t;
    run(&t, model, precision, point, values, group, &r);
    if (t.found[0].largest < 0x7f800000u) {
        uint64_t *keys = (uint64_t *)(void *)r.work;
        const int32_t n = k == 0 ? 0 : (k <= FEW ? select_few : select_many)(&t, model->n_tests, k, keys);
        for (int32_t i = 0; i < n; i++) {
            const int32_t column = (int32_t)(UINT32_MAX - (uint32_t)keys[i]);
            const int64_t scaler = t.scaler[0] + column;
            columns[i] = column, z[i] = t.z[column];
            expected[i] = model->centre[scaler] + (double)t.y[column] / model->inv_scale[scaler];
        }
        *n_found = n;
    }
    kg_control_restore(host);
    return KG_OK;
}
