/*
 * The portable kernels: docs/arithmetic.md as it stands, one number after the other. Every other path
 * gives the same bits faster.
 */
#include "activation.h"
#include "largest.h"
#include "model.h"

static int always(void) { return 1; }

static uint32_t magnitude(float x) { return kg_bits(x) & 0x7fffffffu; }

static kg_standardised standardise(const float *values, const double *centre, const double *inv_scale,
                                   int32_t n, float *u, uint16_t *present) {
    kg_standardised found = {0, 0};
    for (int32_t block = 0; block < n; block += KG_LANES) {
        uint32_t bits = 0;
        for (int32_t l = 0; l < KG_LANES; l++) {
            const int32_t i = block + l;
            const int is_present = i < n && values[i] == values[i];
            u[i] = is_present ? (float)(((double)values[i] - centre[i]) * inv_scale[i]) : 0.0f;
            if (magnitude(u[i]) > found.largest) found.largest = magnitude(u[i]);
            found.n_present += is_present;
            bits |= (uint32_t)is_present << l;
        }
        present[block / KG_LANES] = (uint16_t)bits;
    }
    return found;
}

static void residual_row(const kg_residuals *of, int64_t d, const float *y, int32_t n_padded) {
    const uint16_t *present = of->present + d * (of->stride / KG_LANES);
    const float *u = of->u + d * of->stride;
    float *z = of->z + d * of->stride;
    kg_residual *found = &of->found[d];
    memset(found, 0, sizeof *found);
    for (int32_t i = 0; i < n_padded; i++) {
        const int lane = i % KG_LANES, is_present = present[i / KG_LANES] >> lane & 1;
        z[i] = is_present ? (u[i] - y[i]) * of->weight[i] : 0.0f;
        found->sum_of_lane[lane] += z[i] * z[i];
        if (magnitude(z[i]) > found->largest) found->largest = magnitude(z[i]);
    }
}

static void residual(const kg_residuals *of, const float *y, int64_t y_stride, int32_t n_dies, int32_t n_padded) {
    for (int32_t d = 0; d < n_dies; d++) residual_row(of, d, y + d * y_stride, n_padded);
}

static void quantise(const float *x, int32_t n, float inv, int32_t shift, void *q) {
    int16_t *steps = q;
    for (int32_t i = 0; i < n; i++) steps[i] = (int16_t)((int32_t)kg_rint(x[i] * inv) + shift);
}

/* Sixteen sums at a time, which compilers keep in vectors. */
static void dense8_row(const kg_layer *layer, const int16_t *q, float s, float *y) {
    const int8_t *weight = layer->weight8;
    for (int32_t block = 0; block < layer->n_blocks * KG_LANES; block += KG_LANES) {
        int32_t acc[KG_LANES];
        memcpy(acc, layer->offset8 + block, sizeof acc);
        for (int32_t i = 0; i < layer->n_in; i++, weight += KG_LANES)
            for (int l = 0; l < KG_LANES; l++) acc[l] += q[i] * weight[l];
        for (int l = 0; l < KG_LANES; l++) {
            const float scaled = (float)acc[l] * (s * layer->scale8[block + l]);
            y[block + l] = kg_activate(layer->activation, layer->alpha, scaled + layer->bias8[block + l]);
        }
    }
    for (int32_t o = layer->n_out; o % KG_LANES; o++) y[o] = 0;
}

static void dense8(const kg_layer *layer, const void *q, int64_t q_stride, const float *s, int32_t n_dies,
                   float *y, int64_t y_stride, uint32_t *largest) {
    for (int32_t d = 0; d < n_dies; d++) {
        float *row = y + d * y_stride;
        dense8_row(layer, (const int16_t *)((const char *)q + d * q_stride), s[d], row);
        largest[d] = 0;
        for (int32_t o = 0; o < layer->n_out; o++)
            if (magnitude(row[o]) > largest[d]) largest[d] = magnitude(row[o]);
    }
}

static void dense_row(const kg_layer *layer, const float *x, float *y) {
    const float *weight = layer->weight;
    for (int32_t block = 0; block < layer->n_blocks * KG_LANES; block += KG_LANES) {
        float acc[KG_LANES];
        memcpy(acc, layer->bias + block, sizeof acc);
        for (int32_t i = 0; i < layer->n_in; i++, weight += KG_LANES)
            for (int l = 0; l < KG_LANES; l++) acc[l] = kg_fma(x[i], weight[l], acc[l]);
        for (int l = 0; l < KG_LANES; l++) y[block + l] = kg_activate(layer->activation, layer->alpha, acc[l]);
    }
}

static void dense(const kg_layer *layer, const float *x, int64_t x_stride, int32_t n_dies, float *y,
                  int64_t y_stride) {
    for (int32_t d = 0; d < n_dies; d++) dense_row(layer, x + d * x_stride, y + d * y_stride);
}

static double sum_of_expected(const uint16_t *present, const double *expected, int32_t n_padded) {
    double lane[KG_LANES] = {0};
    for (int32_t i = 0; i < n_padded; i++)
        lane[i % KG_LANES] += present[i / KG_LANES] >> i % KG_LANES & 1 ? expected[i] : 0.0;
    return kg_sum_of_double_lanes(lane);
}

static void sums_of_largest(const kg_residuals *of, int32_t n_dies, int32_t n_padded, const int32_t *k, float *work,
                            float *sums) {
    for (int32_t d = 0; d < n_dies; d++)
        sums[d] = kg_sum_of_largest(of->z + d * of->stride, n_padded, k[d], (uint64_t *)(void *)work);
}

const kg_kernels kg_scalar = {
    .name = "scalar",
    .is_supported = always,
    .n_panel = 1,
    .n_group = 1,
    .step_size = 2,
    .standardise = standardise,
    .quantise = quantise,
    .dense8 = dense8,
    .dense = dense,
    .residual = residual,
    .sum_of_expected = sum_of_expected,
    .sums_of_largest = sums_of_largest,
};
