/* A model in memory, ready for scoring, and the kernels that score with it. */
#ifndef KG_MODEL_H
#define KG_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "knowngood.h"

#define KG_LANES 16 /* of every sum over tests, and outputs in one block of packed weights */
#define KG_ALIGN 64
#define KG_TILE 16  /* dies that pass through the layers together */
#define KG_MAX_LAYERS 253 /* 256 buffers, but those of values, u and score */

enum { KG_LINEAR, KG_RELU, KG_LEAKY_RELU, KG_ELU, KG_SIGMOID, KG_TANH };
enum { KG_MSE, KG_NORMALIZED, KG_TOPK, KG_MAHALANOBIS };

/*
 * A fully connected layer. Arrays over outputs are padded with zeros to whole blocks of 16.
 *
 * weight:  fp32, [panel][n_in][block of the panel][16].
 * weight8: int8, [panel][n_in / group][block of the panel][16][group], inputs padded with zeros to whole
 *          groups; NULL without int8. Blocks of a panel, inputs of a group: see kg_kernels. The last panel
 *          has the blocks that are left.
 * offset8: int32 that each accumulator starts from: takes off what the shift of the inputs adds.
 */
typedef struct {
    int32_t n_in, n_out, n_blocks;
    int32_t activation;
    float alpha;
    float levels; /* 255 if the inputs cannot be negative, else 127 */
    float scale_limit;
    int32_t shift8; /* added to each int8 input */
    float *weight, *bias, *bias8, *scale8;
    int8_t *weight8;
    int32_t *offset8;
} kg_layer;

typedef struct {
    double fpr;
    float threshold[2], lo, hi; /* [KG_PRECISION_FP32], [KG_PRECISION_INT8] */
    int32_t supported[2];
} kg_operating_point;

typedef struct kg_kernels kg_kernels;

struct kg_model {
    const kg_kernels *kernels;
    int32_t n_tests, n_padded; /* n_padded: n_tests rounded up to 16 */
    int32_t n_layers, latent_layer, widest;
    int32_t has[2], has_bands;
    int32_t head, k, min_present, rank;
    int32_t n_groups, n_points, default_point;
    int32_t *groups;              /* [n_groups] */
    double *centre, *inv_scale;   /* [n_groups][n_padded] */
    float *residual_weight;       /* [n_padded] */
    double *expected;             /* [n_padded], expected_square */
    double expected_sum;
    float *gain, *offset;         /* [n_tests + 1] */
    float *zeros;                 /* [n_padded], the reconstruction of a model without layers */
    float *ones;                  /* [n_padded], mahalanobis only, as are: */
    kg_layer project, subtract;   /* linear fp32 layers without bias */
    kg_layer layers[KG_MAX_LAYERS];
    kg_operating_point *points;
    uint8_t model_id[32], file_digest[32];
    void *memory; /* one block that holds every array */
};

/* What a die's standardising found. */
typedef struct {
    int32_t n_present;
    uint32_t largest; /* bits of the largest |u| */
} kg_standardised;

enum { KG_RANKS = 3 };

/* What a die's residual came to, lane by lane: bits of the largest |z| in descending order, sums of z². */
typedef struct {
    _Alignas(KG_ALIGN) int32_t largest_of_lane[KG_RANKS][KG_LANES];
    float sum_of_lane[KG_LANES];
    uint32_t largest; /* of all lanes */
} kg_residual;

/*
 * The residuals of a few dies: z = (u − y) · weight where a test is present, else +0. Rows of u, z and y are
 * stride floats apart, those of present stride / 16 words.
 */
typedef struct {
    const uint16_t *present;
    const float *u, *weight;
    float *z;
    int64_t stride;
    kg_residual *found;
    int is_ranked; /* only the largest are wanted of found, else only the sums */
} kg_residuals;

/*
 * The kernels of one path. Rows are dies; rows of floats are padded to whole blocks of 16, with anything
 * finite beyond the width unless said. Strides count floats, and bytes for q.
 */
struct kg_kernels {
    const char *name;
    int (*is_supported)(void);
    int32_t n_panel;   /* blocks of a panel of weights */
    int32_t n_group;   /* int8 inputs that one instruction multiplies and adds */
    int32_t step_size; /* bytes of an int8 input: 1 or 2 */
    int32_t shift[2];  /* added to each int8 input, [0] if it cannot be negative, else [1] */

    /* u of n values, +0 where a value is missing and beyond n; present: a bit for each test, 16 to a word. */
    kg_standardised (*standardise)(const float *values, const double *centre, const double *inv_scale,
                                   int32_t n, float *u, uint16_t *present);
    /* q = rint(x · inv) + shift of n inputs, a multiple of 16; every x finite. */
    void (*quantise)(const float *x, int32_t n, float inv, int32_t shift, void *q);
    /* y = layer(q), and the bits of the largest |y| of each die; y is +0 beyond n_out. */
    void (*dense8)(const kg_layer *layer, const void *q, int64_t q_stride, const float *s, int32_t n_dies,
                   float *y, int64_t y_stride, uint32_t *largest);
    /* y = layer(x). */
    void (*dense)(const kg_layer *layer, const float *x, int64_t x_stride, int32_t n_dies, float *y,
                  int64_t y_stride);
    /* The residual of each die's y, whose stride may be 0. z may be u or y. */
    void (*residual)(const kg_residuals *of, const float *y, int64_t y_stride, int32_t n_dies, int32_t n_padded);
    /* dense8 and residual at once, for a linear or relu layer; y is not kept. NULL where it does not pay. */
    void (*dense8_residual)(const kg_layer *layer, const void *q, int64_t q_stride, const float *s,
                            int32_t n_dies, const kg_residuals *of);
    /* Sum of expected, f64 and n_padded long, over the tests present. */
    double (*sum_of_expected)(const uint16_t *present, const double *expected, int32_t n_padded);
    /* Of each die the k largest |z| in descending order, added in that order; z is +0 beyond its width, k ≤ n.
       work: 3 · n_padded floats. */
    void (*sums_of_largest)(const kg_residuals *of, int32_t n_dies, int32_t n_padded, const int32_t *k,
                            float *work, float *sums);
};

static inline int64_t kg_padded(int64_t n) { return (n + KG_LANES - 1) / KG_LANES * KG_LANES; }

/* The sum of 16 lanes, in the order of docs/arithmetic.md. Overwrites them. */
static inline float kg_sum_of_lanes(float lane[KG_LANES]) {
    for (int32_t half = KG_LANES / 2; half; half /= 2)
        for (int32_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static inline double kg_sum_of_double_lanes(double lane[KG_LANES]) {
    for (int32_t half = KG_LANES / 2; half; half /= 2)
        for (int32_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

/* The path of this name, or the fastest that the processor has for NULL; NULL if it has none such. */
const kg_kernels *kg_choose_kernels(const char *name);

/* What KG_PRECISION_DEFAULT stands for; any other as it is. */
int32_t kg_actual_precision(const kg_model *model, int32_t precision);

#endif
