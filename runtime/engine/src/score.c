/* Scores, reconstructions and latent codes of a batch: tile by tile, and again in fp32 where it must be. */
#include <math.h>
#include <string.h>

#include "activation.h"
#include "control.h"
#include "model.h"
#include "tile.h"

/* What a call asks for. Outputs are NULL where they are not wanted. */
typedef struct {
    const kg_model *model;
    const kg_operating_point *point;
    const float *values;
    const int32_t *group;
    int64_t n_dies;
    float *scores;
    int8_t *verdicts, *reasons;
    float *reconstruction, *latent;
    int32_t precision;
} job;

/* Dies to be scored again in fp32. They wait until a tile is full. */
typedef struct {
    int64_t die[2 * KG_TILE];
    int32_t n;
} waiting;

int32_t kg_check_call(const kg_model *model, int32_t *precision, int32_t point, const void *scratch,
                      const float *values, int64_t n_dies) {
    if (!model || n_dies < 0 || (n_dies > 0 && (!values || !scratch))) return KG_ERROR_USE;
    *precision = kg_actual_precision(model, *precision);
    if (!kg_has_precision(model, *precision)) return KG_ERROR_PRECISION;
    return point < 0 || point >= model->n_points ? KG_ERROR_POINT : KG_OK;
}

static int8_t why_unscored(const kg_tile *t, int32_t d, const kg_model *m) {
    if (t->n_present[d] == 0) return KG_REASON_NO_DATA;
    if (t->n_present[d] < m->min_present) return KG_REASON_TOO_MANY_MISSING;
    for (int32_t i = 0; i < m->n_tests; i++)
        if (isinf(t->values[d][i])) return KG_REASON_NOT_FINITE;
    return t->is_evaluable[d] ? KG_REASON_NOT_FINITE : KG_REASON_RANGE;
}

static void judge(const job *j, const kg_tile *t, int32_t d) {
    const int is_int8 = j->precision == KG_PRECISION_INT8;
    const float threshold = j->point->threshold[is_int8 ? KG_PRECISION_INT8 : KG_PRECISION_FP32];
    const float score = t->score[d];
    const int has_score = score == score;
    j->scores[t->die[d]] = score;
    j->verdicts[t->die[d]] = !has_score ? KG_UNSCORED : score <= threshold ? KG_PASS : KG_REJECT;
    j->reasons[t->die[d]] = has_score ? KG_REASON_NONE : why_unscored(t, d, j->model);
}

/* n numbers handed out: every NaN the same, and nothing else if they are not valid. */
static void hand_out(const float *from, int is_valid, int32_t n, float *to) {
    for (int32_t i = 0; i < n; i++) to[i] = is_valid && from[i] == from[i] ? from[i] : kg_of_bits(0x7fc00000u);
}

static void emit(const job *j, const kg_tile *t, int32_t d, const kg_rows *r) {
    const int32_t n_tests = j->model->n_tests, n_latent = kg_n_latent(j->model);
    if (j->scores) judge(j, t, d);
    if (j->reconstruction)
        hand_out(t->y + d * t->y_stride, t->is_evaluable[d] && t->is_finite[d], n_tests,
                 j->reconstruction + t->die[d] * n_tests);
    if (j->latent)
        hand_out(r->latent + d * r->width, t->is_evaluable[d] && t->is_latent_finite[d], n_latent,
                 j->latent + t->die[d] * n_latent);
}

static int wanted(const job *j) {
    const int needs_score = j->scores || j->precision == KG_PRECISION_VERIFIED;
    return (j->latent ? KG_WANT_LATENT : 0) | (j->reconstruction ? KG_WANT_RECONSTRUCTION : 0) |
           (needs_score ? KG_WANT_SCORE : 0);
}

static void score_again(const job *j, const int64_t *die, int32_t n, const kg_rows *r) {
    kg_tile t;
    t.n_dies = t.n_next = 0;
    for (int32_t i = 0; i < n; i++) kg_tile_add(&t, j->model, j->values, j->group, die[i]);
    kg_tile_run(&t, j->model, KG_PRECISION_FP32, wanted(j), r);
    for (int32_t d = 0; d < n; d++) emit(j, &t, d, r);
}

static void score_tile(const job *j, int64_t first, waiting *again, const kg_rows *r) {
    const int is_verified = j->precision == KG_PRECISION_VERIFIED;
    const int64_t left = j->n_dies - first - KG_TILE;
    kg_tile t;
    t.n_dies = 0;
    t.n_next = left <= 0 ? 0 : left < KG_TILE ? (int32_t)left : KG_TILE;
    for (int64_t die = first; die < j->n_dies && t.n_dies < KG_TILE; die++)
        kg_tile_add(&t, j->model, j->values, j->group, die);
    kg_tile_run(&t, j->model, is_verified ? KG_PRECISION_INT8 : j->precision, wanted(j), r);
    for (int32_t d = 0; d < t.n_dies; d++) {
        if (is_verified && kg_is_rescored(&t, d, j->model, j->point)) again->die[again->n++] = t.die[d];
        else emit(j, &t, d, r);
    }
}

static void run(const job *j, void *scratch) {
    const kg_control host = kg_control_set();
    const kg_rows r = kg_cut(j->model, scratch);
    waiting again;
    again.n = 0;
    for (int64_t first = 0; first < j->n_dies; first += KG_TILE) {
        score_tile(j, first, &again, &r);
        if (again.n < KG_TILE) continue;
        score_again(j, again.die, KG_TILE, &r);
        again.n -= KG_TILE;
        memmove(again.die, again.die + KG_TILE, sizeof *again.die * (size_t)again.n);
    }
    if (again.n) score_again(j, again.die, again.n, &r);
    kg_control_restore(host);
}

int32_t kg_score(const kg_model *model, int32_t precision, int32_t point, void *scratch, const float *values,
                 const int32_t *group, int64_t n_dies, float *scores, int8_t *verdicts, int8_t *reasons) {
    int32_t status = kg_check_call(model, &precision, point, scratch, values, n_dies);
    if (status == KG_OK && n_dies > 0 && (!scores || !verdicts || !reasons)) status = KG_ERROR_USE;
    if (status != KG_OK && verdicts && n_dies > 0) memset(verdicts, KG_UNSCORED, (size_t)n_dies);
    if (status != KG_OK || n_dies == 0) return status;
    const job j = {.model = model, .point = &model->points[point], .values = values, .group = group,
                   .n_dies = n_dies, .scores = scores, .verdicts = verdicts, .reasons = reasons,
                   .precision = precision};
    run(&j, scratch);
    return KG_OK;
}

int32_t kg_reconstruct(const kg_model *model, int32_t precision, int32_t point, void *scratch,
                       const float *values, const int32_t *group, int64_t n_dies, float *reconstruction,
                       float *latent) {
    int32_t status = kg_check_call(model, &precision, point, scratch, values, n_dies);
    if (status == KG_OK && latent && kg_n_latent(model) == 0) status = KG_ERROR_USE;
    if (status != KG_OK || n_dies == 0) return status;
    const job j = {.model = model, .point = &model->points[point], .values = values, .group = group,
                   .n_dies = n_dies, .reconstruction = reconstruction, .latent = latent,
                   .precision = precision};
    run(&j, scratch);
    return KG_OK;
}
