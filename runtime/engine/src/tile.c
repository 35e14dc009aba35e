/* What happens to the dies of a tile; the kernels do the arithmetic. docs/arithmetic.md, 2 to 6. */
#include "tile.h"

#include <string.h>

#include "activation.h"

static const uint32_t NOT_FINITE = 0x7f800000u, QUIET_NAN = 0x7fc00000u;
static const uint32_t MAX_STANDARDISED = 0x4e800000u; /* 2^30 */
static const uint32_t SMALLEST = 0x0d800000u;         /* 2^-100 */

enum { N_ROWS = 5, WORK_ROWS = 4, SPREAD = 16, MAX_STEP = 2 }; /* SPREAD: rows of a power of two would share cache sets */

static int64_t row_width(const kg_model *model) { return kg_padded(model->widest) + SPREAD; }

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

/* A wafer's values come from beyond the second-level cache: those of the next tile are fetched meanwhile. */
static void fetch(const float *values, int32_t n) {
#if defined(__GNUC__)
    for (int32_t i = 0; i < n; i += 16) __builtin_prefetch(values + i, 0, 2);
#endif
}

static void standardise(kg_tile *t, const kg_model *m, const kg_rows *r) {
    for (int32_t d = 0; d < t->n_dies; d++) {
        if (d < t->n_next) fetch(t->values[d] + (int64_t)KG_TILE * m->n_tests, m->n_tests);
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
    const int32_t n = (int32_t)kg_padded(layer->n_in);
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

static kg_residuals residuals_of(kg_tile *t, const kg_model *m, const float *weight, const float *u, const kg_rows *r) {
    const kg_residuals of = {.present = r->present, .u = u, .weight = weight, .z = t->z, .stride = r->width,
                             .found = t->found, .is_ranked = m->head == KG_TOPK};
    return of;
}

/* The last layer's outputs need not be kept where only the score is wanted. */
static int is_fused(const kg_model *m, int32_t l, int wanted) {
    return m->kernels->dense8_residual && m->head != KG_MAHALANOBIS && l == m->n_layers - 1 && l != m->latent_layer &&
           m->layers[l].activation <= KG_RELU && (wanted & (KG_WANT_SCORE | KG_WANT_RECONSTRUCTION)) == KG_WANT_SCORE;
}

static void run_layer8(kg_tile *t, const kg_model *m, int32_t l, int wanted, const float *x, float *y, const kg_rows *r) {
    const kg_layer *layer = &m->layers[l];
    float s[KG_TILE];
    quantise(t, m, layer, x, r, s);
    if (!is_fused(m, l, wanted)) {
        m->kernels->dense8(layer, r->q, r->q_stride, s, t->n_dies, y, r->width, t->largest);
        return;
    }
    t->y = NULL, t->z = y;
    const kg_residuals of = residuals_of(t, m, m->residual_weight, r->u, r);
    m->kernels->dense8_residual(layer, r->q, r->q_stride, s, t->n_dies, &of);
}

static void run_layers(kg_tile *t, const kg_model *m, int32_t precision, int wanted, const kg_rows *r) {
    const float *x = r->u;
    t->y = m->zeros, t->y_stride = 0;
    for (int32_t l = 0; l < m->n_layers; l++) {
        float *y = x == r->a ? r->b : r->a;
        t->y = y, t->y_stride = r->width;
        if (precision == KG_PRECISION_INT8) run_layer8(t, m, l, wanted, x, y, r);
        else m->kernels->dense(&m->layers[l], x, r->width, t->n_dies, y, r->width);
        if (l == m->latent_layer && wanted & KG_WANT_LATENT) keep_latent(t, m, y, r);
        x = y;
    }
    if (t->y) t->z = x == r->a ? r->b : r->a;
}

/* u − y in units of the tests' own spread; for mahalanobis without the part that lies in a few directions. */
static void find_residuals(kg_tile *t, const kg_model *m, const kg_rows *r) {
    const kg_residuals of = residuals_of(t, m, m->residual_weight, r->u, r);
    if (t->y) m->kernels->residual(&of, t->y, t->y_stride, t->n_dies, m->n_padded);
    if (m->head != KG_MAHALANOBIS) return;
    m->kernels->dense(&m->project, t->z, r->width, t->n_dies, r->u, r->width);
    m->kernels->dense(&m->subtract, r->u, r->width, t->n_dies, r->c, r->width);
    const kg_residuals rest = residuals_of(t, m, m->ones, t->z, r);
    m->kernels->residual(&rest, r->c, r->width, t->n_dies, m->n_padded);
}

/* F / (n · E): what a complete die's sum would be, on average, over that of the tests present. */
static float expected_gain(const kg_tile *t, int32_t d, const kg_model *m, const kg_rows *r) {
    const uint16_t *present = r->present + d * (r->width / KG_LANES);
    const double sum = t->n_present[d] == m->n_tests ? m->expected_sum
                                                     : m->kernels->sum_of_expected(present, m->expected, m->n_padded);
    return (float)(m->expected_sum / ((double)m->n_tests * sum));
}

static int has_score(const kg_tile *t, int32_t d, const kg_model *m) {
    return t->is_evaluable[d] && t->is_finite[d] && t->found[d].largest < NOT_FINITE && t->n_present[d] >= m->min_present;
}

static void score_largest(kg_tile *t, const kg_model *m, const kg_rows *r) {
    const kg_residuals of = residuals_of(t, m, NULL, NULL, r);
    int32_t k[KG_TILE];
    for (int32_t d = 0; d < t->n_dies; d++) {
        const int32_t most = m->k < t->n_present[d] ? m->k : t->n_present[d];
        k[d] = has_score(t, d, m) ? most : 0;
    }
    m->kernels->sums_of_largest(&of, t->n_dies, m->n_padded, k, r->work, t->score);
    for (int32_t d = 0; d < t->n_dies; d++)
        t->score[d] = t->score[d] * m->gain[t->n_present[d]] + m->offset[t->n_present[d]];
}

static void score_sums(kg_tile *t, const kg_model *m, const kg_rows *r) {
    for (int32_t d = 0; d < t->n_dies; d++)
        t->score[d] = kg_sum_of_lanes(t->found[d].sum_of_lane) * expected_gain(t, d, m, r);
}

static void score(kg_tile *t, const kg_model *m, const kg_rows *r) {
    if (m->head == KG_TOPK) score_largest(t, m, r);
    else score_sums(t, m, r);
    for (int32_t d = 0; d < t->n_dies; d++) {
        if (!t->is_evaluable[d] || !t->is_finite[d]) t->found[d].largest = NOT_FINITE;
        if (!has_score(t, d, m) || (kg_bits(t->score[d]) & NOT_FINITE) == NOT_FINITE) t->score[d] = kg_of_bits(QUIET_NAN);
    }
}

void kg_tile_run(kg_tile *t, const kg_model *m, int32_t precision, int wanted, const kg_rows *r) {
    standardise(t, m, r);
    run_layers(t, m, precision, wanted, r);
    if (!(wanted & KG_WANT_SCORE)) return;
    find_residuals(t, m, r);
    score(t, m, r);
}

int kg_is_rescored(const kg_tile *t, int32_t d, const kg_model *m, const kg_operating_point *point) {
    if (!t->is_evaluable[d]) return 0;
    if (t->is_beyond[d] || !t->is_finite[d]) return 1;
    if (t->score[d] != t->score[d]) return t->n_present[d] >= m->min_present;
    return point->lo <= t->score[d] && t->score[d] <= point->hi;
}
