/* What happens to the dies of a tile; the kernels do the arithmetic. docs/arithmetic.md, 2 to 6. */
#include "tile.h"

#include <string.h>

#include "activation.h"

static const uint32_t NOT_FINITE = 0x7f800000u, QUIET_NAN = 0x7fc00000u;
static const uint32_t MAX_STANDARDISED = 0x4e800000u; /* 2^30 */
static const uint32_t SMALLEST = 0x0d800000u;         /* 2^-100 */

enum { N_ROWS = 5, WORK_ROWS = 4, SPREAD = 16, MAX_STEP = 2 }; /* SPREAD: rows of a power of two would share cache sets */

static int64_t padded(int64_t n) { return (n + KG_LANES - 1) / KG_LANES * KG_LANES; }

static int64_t row_width(const kg_model *model) { return padded(model->widest) + SPREAD; }

int64_t kg_scratch_size(const kg_model *model) {
    if (!model) return 0;
    const int64_t floats = (N_ROWS * KG_TILE + WORK_ROWS) * row_width(model);
    const int64_t rest = KG_TILE * row_width(model) * (MAX_STEP + 1);
    return floats * (int64_t)sizeof(float) + rest + KG_ALIGN;
}

kg_rows kg_cut(const kg_model *model, void *scratch) {
    kg_rows r;
    float *next = (float *)(((uintptr_t)scratch + KG_ALIGN - 1) / KG_ALIGN * KG_ALIGN);
    float **parts[N_ROWS] = {&r.u, &r.a, &r.b, &r.c, &r.latent};
    r.width = row_width(model);
    for (int i = 0; i < N_ROWS; i++, next += KG_TILE * r.width) *parts[i] = next;
    r.work = next;
    r.q = (uint8_t *)(next + WORK_ROWS * r.width);
    r.q_stride = r.width * model->kernels->step_size;
    r.present = (uint16_t *)(void *)(r.q + KG_TILE * MAX_STEP * r.width);
    return r;
}

static int64_t scaler_row(const kg_model *model, const int32_t *group, int64_t die) {
    if (!group) return 0;
    for (int32_t i = 1; i < model->n_groups; i++)
        if (model->groups[i] == group[die]) return i;
    return 0;
}

void kg_tile_add(kg_tile *t, const kg_model *m, const float *values, const int32_t *group, int64_t die) {
    const int32_t d = t->n_dies++;
    t->die[d] = die;
    t->values[d] = values + die * m->n_tests;
    t->scaler[d] = scaler_row(m, group, die) * m->n_padded;
}

static void standardise(kg_tile *t, const kg_model *m, const kg_rows *r) {
    for (int32_t d = 0; d < t->n_dies; d++) {
        float *u = r->u + d * r->width;
        const kg_standardised found = m->kernels->standardise(t->values[d], m->centre + t->scaler[d],
                                                              m->inv_scale + t->scaler[d], m->n_tests, u,
                                                              r->present + d * (r->width / KG_LANES));
        t->n_present[d] = found.n_present;
        t->largest[d] = found.largest;
        t->is_evaluable[d] = found.largest <= MAX_STANDARDISED;
        t->is_finite[d] = t->is_latent_finite[d] = 1;
        t->is_beyond[d] = 0;
        if (t->is_evaluable[d]) continue;
        t->largest[d] = 0;
        memset(u, 0, sizeof(float) * (size_t)m->n_padded);
    }
}

/* The int8 input of a layer: each die in units of its own largest magnitude. */
static void quantise(kg_tile *t, const kg_model *m, const kg_layer *layer, const float *x, const kg_rows *r, float *s) {
    const int32_t n = (int32_t)padded(layer->n_in);
    for (int32_t d = 0; d < t->n_dies; d++) {
        const float a = kg_of_bits(t->largest[d]);
        const int is_zero = t->largest[d] < SMALLEST;
        uint8_t *q = r->q + d * r->q_stride;
        t->is_finite[d] &= t->largest[d] < NOT_FINITE;
        if (!(a <= layer->scale_limit)) t->is_beyond[d] = 1;
        s[d] = is_zero || !t->is_finite[d] ? 0.0f : a / layer->levels;
        if (t->is_finite[d])
            m->kernels->quantise(x + d * r->width, n, is_zero ? 0.0f : layer->levels / a, layer->shift8, q);
        else
            memset(q, 0, (size_t)(n * m->kernels->step_size));
    }
}

static void keep_latent(kg_tile *t, const kg_model *m, const float *y, const kg_rows *r) {
    const int32_t n = kg_n_latent(m);
    for (int32_t d = 0; d < t->n_dies; d++) {
        memcpy(r->latent + d * r->width, y + d * r->width, sizeof(float) * (size_t)n);
        t->is_latent_finite[d] = t->is_finite[d];
    }
}

static void run_layers(kg_tile *t, const kg_model *m, int32_t precision, int wanted, const kg_rows *r) {
    const float *x = r->u;
    float s[KG_TILE];
    t->y = m->zeros, t->y_stride = 0;
    for (int32_t l = 0; l < m->n_layers; l++) {
        const kg_layer *layer = &m->layers[l];
        float *y = x == r->a ? r->b : r->a;
        if (precision == KG_PRECISION_INT8) {
            quantise(t, m, layer, x, r, s);
            m->kernels->dense8(layer, r->q, r->q_stride, s, t->n_dies, y, r->width, t->largest);
        } else {
            m->kernels->dense(layer, x, r->width, t->n_dies, y, r->width);
        }
        if (l == m->latent_layer && wanted & KG_WANT_LATENT) keep_latent(t, m, y, r);
        t->y = x = y, t->y_stride = r->width;
    }
    t->z = x == r->a ? r->b : r->a;
}

/* u − y in units of the tests' own spread; for mahalanobis without the part that lies in a few directions. */
static void find_residuals(kg_tile *t, const kg_model *m, const kg_rows *r) {
    const int64_t words = r->width / KG_LANES;
    for (int32_t d = 0; d < t->n_dies; d++)
        m->kernels->residual(r->present + d * words, r->u + d * r->width, t->y + d * t->y_stride, m->residual_weight,
                             m->n_padded, t->z + d * r->width, &t->found[d]);
    if (m->head != KG_MAHALANOBIS) return;
    m->kernels->dense(&m->project, t->z, r->width, t->n_dies, r->u, r->width);
    m->kernels->dense(&m->subtract, r->u, r->width, t->n_dies, r->c, r->width);
    for (int32_t d = 0; d < t->n_dies; d++) {
        float *z = t->z + d * r->width;
        m->kernels->residual(r->present + d * words, z, r->c + d * r->width, m->ones, m->n_padded, z, &t->found[d]);
    }
}

/* F / (n · E): what a complete die's sum would be, on average, over that of the tests present. */
static float expected_gain(const kg_model *m, const float *values, int32_t n_present) {
    double lane[KG_LANES] = {0}, sum = m->expected_sum;
    if (n_present < m->n_tests) {
        for (int32_t j = 0; j < m->n_tests; j++) lane[j % KG_LANES] += values[j] == values[j] ? m->expected[j] : 0.0;
        for (int32_t half = KG_LANES / 2; half; half /= 2)
            for (int32_t l = 0; l < half; l++) lane[l] += lane[l + half];
        sum = lane[0];
    }
    return (float)(m->expected_sum / ((double)m->n_tests * sum));
}

static float head_score(kg_tile *t, int32_t d, const kg_model *m, const float *z, float *work) {
    kg_residual *found = &t->found[d];
    if (m->head != KG_TOPK)
        return kg_sum_of_lanes(found->sum_of_lane) * expected_gain(m, t->values[d], t->n_present[d]);
    const int32_t n_present = t->n_present[d], k = m->k < n_present ? m->k : n_present;
    const float sum = m->kernels->sum_of_largest(z, found, m->n_padded, k, work);
    return sum * m->gain[n_present] + m->offset[n_present];
}

static float score_die(kg_tile *t, int32_t d, const kg_model *m, const kg_rows *r) {
    if (!t->is_evaluable[d] || !t->is_finite[d]) t->found[d].largest = NOT_FINITE;
    if (t->found[d].largest >= NOT_FINITE || t->n_present[d] < m->min_present) return kg_of_bits(QUIET_NAN);
    const float score = head_score(t, d, m, t->z + d * r->width, r->work);
    return (kg_bits(score) & NOT_FINITE) == NOT_FINITE ? kg_of_bits(QUIET_NAN) : score;
}

void kg_tile_run(kg_tile *t, const kg_model *m, int32_t precision, int wanted, const kg_rows *r) {
    standardise(t, m, r);
    run_layers(t, m, precision, wanted, r);
    if (!(wanted & KG_WANT_SCORE)) return;
    find_residuals(t, m, r);
    for (int32_t d = 0; d < t->n_dies; d++) t->score[d] = score_die(t, d, m, r);
}

int kg_is_rescored(const kg_tile *t, int32_t d, const kg_model *m, const kg_operating_point *point) {
    if (!t->is_evaluable[d]) return 0;
    if (t->is_beyond[d] || !t->is_finite[d]) return 1;
    if (t->score[d] != t->score[d]) return t->n_present[d] >= m->min_present;
    return point->lo <= t->score[d] && t->score[d] <= point->hi;
}
