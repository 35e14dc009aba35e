/*
 * The kernels of one path, written once for every vector unit. The file that includes this one defines
 * the path and a small vocabulary of vectors first:
 *
 *     PATH, PATH_NAME, PATH_SUPPORTED    the table's symbol and name, and what asks the processor
 *     TARGET                             attribute of every function
 *     LANES                              floats in a vector: 4, 8 or 16
 *     GROUP, STEP_SIZE, SHIFTS           of the int8 inputs, see kg_kernels
 *     MAX_ROWS                           dies whose sums fit into registers
 *     BLOCKS(rows), BLOCKS8(rows)        blocks of 16 outputs that do with them, in fp32 and int8: 1, 2, 4 or 8
 *     FUSES_RESIDUAL                     1 if the path has dense8_residual
 *     vf, vi, vm, vq and functions v_*   vectors of float and int32, masks, groups of int8 inputs
 *     DOUBLES, vd and functions vd_*     vectors of double
 *
 * Lanes are outputs, so no order of operations depends on their number. Panels of blocks stay in the
 * first-level cache while all dies of a tile pass, or are streamed from the second once for MAX_ROWS dies.
 */
#include <math.h>

#include "activation.h"
#include "largest.h"
#include "model.h"

#define VECTORS (KG_LANES / LANES) /* of a block */
#define PANEL BLOCKS(1)
#define MAX_VECTORS (PANEL * VECTORS)
#define MOST_ROWS 6 /* that any path takes */

/* clang takes minutes over unrolled loops full of a sanitizer's checks. */
#if !defined(__clang__)
#define UNROLL _Pragma("GCC unroll 32")
#elif __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define UNROLL
#else
#define UNROLL _Pragma("clang loop unroll(full)")
#endif

#define INLINE TARGET __attribute__((always_inline)) static inline
#define KERNEL TARGET static

INLINE vi v_magnitude(vf x) { return v_bits_and(v_bits(x), v_int(0x7fffffff)); }

/* standardise */

/* A block of 16 columns; how many of them are present. */
INLINE int32_t standardise16(const float *values, const double *centre, const double *inv_scale, float *u,
                             uint16_t *present, vi *largest) {
    uint32_t bits = 0;
    UNROLL for (int v = 0; v < KG_LANES; v += LANES) {
        const vf x = v_load(values + v);
        const vm is_present = v_is_number(x);
        const vf standard = v_keep(is_present, v_standardise(x, centre + v, inv_scale + v));
        v_store(u + v, standard);
        bits |= v_mask_bits(is_present) << v;
        *largest = v_max_bits(*largest, v_magnitude(standard));
    }
    *present = (uint16_t)bits;
    return __builtin_popcount(bits);
}

/* The last columns of a row are made a whole block, with tests that are missing beyond it. */
KERNEL kg_standardised standardise(const float *values, const double *centre, const double *inv_scale,
                                   int32_t n, float *u, uint16_t *present) {
    vi largest = v_int(0);
    int32_t i = 0, n_present = 0;
    for (; i + KG_LANES <= n; i += KG_LANES)
        n_present += standardise16(values + i, centre + i, inv_scale + i, u + i, present++, &largest);
    if (i < n) {
        float rest[KG_LANES];
        for (int32_t l = 0; l < KG_LANES; l++) rest[l] = i + l < n ? values[i + l] : NAN;
        n_present += standardise16(rest, centre + i, inv_scale + i, u + i, present, &largest);
    }
    const kg_standardised found = {n_present, v_largest_of(largest)};
    return found;
}

/* activations */

typedef struct {
    vf s, em;
} exponential;

INLINE vf v_constant(uint32_t bits) { return v_of_bits(v_int((int32_t)bits)); }

/* e^x and e^x − 1 of x ≤ 0 are fma(s, em, s) and fma(s, em, s − 1). */
INLINE exponential v_exponentiate(vf x) {
    x = v_at_least(v_set(-87.0f), x);
    const vi n = v_round(v_mul(x, v_constant(0x3FB8AA3B)));
    const vf k = v_from_int(n);
    vf r = v_fma(k, v_constant(0xBF317218), x);
    r = v_fma(k, v_constant(0x3102E308), r);
    vf p = v_fma(v_constant(0x3AB6B8C3), r, v_constant(0x3C091377));
    p = v_fma(p, r, v_constant(0x3D2AAA64));
    p = v_fma(p, r, v_constant(0x3E2AAA59));
    p = v_fma(p, r, v_set(0.5f));
    exponential e;
    e.s = v_of_bits(v_shift_to_exponent(v_add_int(n, v_int(127))));
    e.em = v_fma(v_mul(r, r), p, r);
    return e;
}

INLINE vf v_expm1(vf x) {
    const exponential e = v_exponentiate(x);
    return v_fma(e.s, e.em, v_sub(e.s, v_set(1.0f)));
}

INLINE vf v_negative(vf x) { return v_of_bits(v_bits_xor(v_bits(x), v_int(INT32_MIN))); }

INLINE vf v_sigmoid(vf x) {
    const vf one = v_set(1.0f);
    const exponential e = v_exponentiate(v_negative(v_of_bits(v_magnitude(x))));
    const vf exp_x = v_fma(e.s, e.em, e.s);
    return v_div(v_select(v_less(x, v_set(0)), exp_x, one), v_add(one, exp_x));
}

INLINE vf v_tanh(vf x) {
    const vf t = v_expm1(v_mul(v_set(-2.0f), v_of_bits(v_magnitude(x))));
    const vf v = v_div(v_negative(t), v_add(v_set(2.0f), t));
    return v_select(v_less(x, v_set(0)), v_negative(v), v);
}

INLINE vf v_activate(int32_t kind, vf alpha, vf x) {
    const vm is_negative = v_less(x, v_set(0));
    switch (kind) {
    case KG_LEAKY_RELU:
        return v_select(is_negative, v_mul(alpha, x), x);
    case KG_ELU:
        return v_select(is_negative, v_mul(alpha, v_expm1(x)), x);
    case KG_SIGMOID:
        return v_sigmoid(x);
    case KG_TANH:
        return v_tanh(x);
    default:
        return x;
    }
}

/* The activations that the dense kernels leave to a second pass, and the largest |y| after it. */
KERNEL uint32_t activate(const kg_layer *layer, float *y) {
    const vf alpha = v_set(layer->alpha);
    vi largest = v_int(0);
    for (int32_t i = 0; i < layer->n_blocks * KG_LANES; i += LANES)
        v_store(y + i, v_activate(layer->activation, alpha, v_load(y + i)));
    for (int32_t i = layer->n_out; i % KG_LANES; i++) y[i] = 0;
    for (int32_t i = 0; i < layer->n_blocks * KG_LANES; i += LANES)
        largest = v_max_bits(largest, v_magnitude(v_load(y + i)));
    return v_largest_of(largest);
}

static int needs_second_pass(const kg_layer *layer) { return layer->activation > KG_RELU; }

/* residuals */

/* Lanes of a residual that is being made: those of one vector. */
typedef struct {
    vf sum;
    vi largest[KG_RANKS];
} lanes_found;

INLINE lanes_found no_lanes(void) {
    lanes_found f = {.sum = v_set(0)};
    UNROLL for (int k = 0; k < KG_RANKS; k++) f.largest[k] = v_int(0);
    return f;
}

/* Ranked for topk, which needs no sum; other heads need the sum and the largest alone. */
INLINE lanes_found load_found(const kg_residual *found, const int v, const int ranked) {
    lanes_found f = no_lanes();
    if (!ranked) f.sum = v_load(found->sum_of_lane + v * LANES);
    UNROLL for (int k = 0; k < KG_RANKS; k++)
        if (ranked || k == 0) f.largest[k] = v_load_int(found->largest_of_lane[k] + v * LANES);
    return f;
}

INLINE void store_found(kg_residual *found, const int v, const lanes_found *f, const int ranked) {
    if (!ranked) v_store(found->sum_of_lane + v * LANES, f->sum);
    UNROLL for (int k = 0; k < KG_RANKS; k++)
        if (ranked || k == 0) v_store_int(found->largest_of_lane[k] + v * LANES, f->largest[k]);
}

/* Where a vector of residuals comes from and goes to. */
typedef struct {
    const uint16_t *present;
    const float *u, *weight;
    float *z;
} columns;

INLINE columns columns_of(const kg_residuals *of, int64_t d, int64_t first) {
    const int64_t at = d * of->stride + first;
    const columns c = {of->present + (uint64_t)at / KG_LANES, of->u + at, of->weight + first, of->z + at};
    return c;
}

/* z of one vector of columns, kept or not, and what it adds to its lanes: those displaced move one rank down. */
INLINE void find_residual(columns c, const int at, vf y, lanes_found *f, const int ranked, const int kept) {
    const vf r = v_mul(v_sub(v_load(c.u + at), y), v_load(c.weight + at));
    const vf z = v_keep(v_mask_of_bits((uint32_t)c.present[at / KG_LANES] >> (at % KG_LANES)), r);
    if (kept) v_store(c.z + at, z);
    if (!ranked) f->sum = v_add(f->sum, v_mul(z, z));
    vi below = v_magnitude(z);
    UNROLL for (int k = 0; k < KG_RANKS; k++) {
        if (k > 0 && !ranked) continue;
        const vi displaced = v_min_bits(f->largest[k], below);
        f->largest[k] = v_max_bits(f->largest[k], below);
        below = displaced;
    }
}

INLINE void find_largest(kg_residual *found) {
    vi most = v_int(0);
    UNROLL for (int v = 0; v < VECTORS; v++) most = v_max_bits(most, v_load_int(found->largest_of_lane[0] + v * LANES));
    found->largest = v_largest_of(most);
}

INLINE void residual_row(const kg_residuals *of, int64_t d, const float *y, int32_t n_padded, const int ranked) {
    lanes_found f[VECTORS];
    UNROLL for (int v = 0; v < VECTORS; v++) f[v] = no_lanes();
    for (int32_t i = 0; i < n_padded; i += KG_LANES)
        UNROLL for (int v = 0; v < VECTORS; v++)
            find_residual(columns_of(of, d, i), v * LANES, v_load(y + i + v * LANES), &f[v], ranked, 1);
    UNROLL for (int v = 0; v < VECTORS; v++) store_found(&of->found[d], v, &f[v], ranked);
    find_largest(&of->found[d]);
}

KERNEL void residual(const kg_residuals *of, const float *y, int64_t y_stride, int32_t n_dies, int32_t n_padded) {
    for (int32_t d = 0; d < n_dies; d++) {
        if (of->is_ranked) residual_row(of, d, y + d * y_stride, n_padded, 1);
        else residual_row(of, d, y + d * y_stride, n_padded, 0);
    }
}

/* dense layers */

/* A few dies and a few blocks of a panel of weights. x_stride is in x's own units; s and largest: int8 only. */
typedef struct {
    const kg_layer *layer;
    const void *x;
    int64_t x_stride;
    const float *s;
    float *y;
    int64_t y_stride;
    uint32_t (*largest)[LANES];
    const kg_residuals *of; /* instead of y and largest: residuals of all dies */
    int32_t first_die;
    int32_t first, n_panel; /* block of the layer; blocks in its panel */
    int64_t start;          /* of the block in the weights */
} piece;

/* What an output below is made: 0 for relu, else nothing is below. */
INLINE vf v_floor(const kg_layer *layer) { return v_set(layer->activation == KG_RELU ? 0.0f : -INFINITY); }

/* Whichever are fewer stay in registers: the dies' inputs, or the weights. */
INLINE void multiply8(const piece *p, const int rows, const int vectors, vi acc[][MAX_VECTORS]) {
    const kg_layer *layer = p->layer;
    const int32_t *offset = layer->offset8 + p->first * KG_LANES;
    UNROLL for (int d = 0; d < rows; d++)
        UNROLL for (int v = 0; v < vectors; v++) acc[d][v] = v_load_int(offset + v * LANES);
    const uint8_t *q = p->x;
    const int8_t *weight = layer->weight8 + p->start * GROUP;
    const int64_t step = (int64_t)p->n_panel * KG_LANES * GROUP;
    for (int32_t i = 0; i < layer->n_in; i += GROUP, q += GROUP * STEP_SIZE, weight += step) {
        vq w[MAX_VECTORS], x[MOST_ROWS];
        if (rows < vectors) {
            UNROLL for (int d = 0; d < rows; d++) x[d] = v_group(q + d * p->x_stride);
            UNROLL for (int v = 0; v < vectors; v++) {
                w[v] = v_weights(weight + v * LANES * GROUP);
                UNROLL for (int d = 0; d < rows; d++) acc[d][v] = v_dot(acc[d][v], x[d], w[v]);
            }
        } else {
            UNROLL for (int v = 0; v < vectors; v++) w[v] = v_weights(weight + v * LANES * GROUP);
            UNROLL for (int d = 0; d < rows; d++) {
                x[d] = v_group(q + d * p->x_stride);
                UNROLL for (int v = 0; v < vectors; v++) acc[d][v] = v_dot(acc[d][v], x[d], w[v]);
            }
        }
    }
}

/* Dequantised, biased, activated. */
INLINE vf output8(vi acc, vf s, const float *scale, const float *bias, vf floor) {
    return v_at_least(floor, v_add(v_mul(v_from_int(acc), v_mul(s, v_load(scale))), v_load(bias)));
}

/* Stored, and the largest of it kept. */
INLINE void finish8(const piece *p, const int d, const int vectors, const vi *acc) {
    const float *scale = p->layer->scale8 + p->first * KG_LANES, *bias = p->layer->bias8 + p->first * KG_LANES;
    const vf floor = v_floor(p->layer), s = v_set(p->s[d]);
    float *y = p->y + d * p->y_stride + p->first * KG_LANES;
    vi largest = v_load_int(p->largest[d]);
    UNROLL for (int v = 0; v < vectors; v++) {
        const vf out = output8(acc[v], s, scale + v * LANES, bias + v * LANES, floor);
        v_store(y + v * LANES, out);
        largest = v_max_bits(largest, v_magnitude(out));
    }
    v_store_int(p->largest[d], largest);
}

/* Row by row without a loop, which clang would keep, and the sums in memory for it. */
#define DENSE8_PIECE(name, finish)                                                \
    INLINE void name(const piece *p, const int rows, const int blocks) {          \
        const int vectors = blocks * VECTORS;                                     \
        vi acc[MOST_ROWS][MAX_VECTORS];                                           \
        multiply8(p, rows, vectors, acc);                                         \
        finish(p, 0, vectors, acc[0]);                                            \
        if (rows > 1) finish(p, 1, vectors, acc[1]);                              \
        if (rows > 2) finish(p, 2, vectors, acc[2]);                              \
        if (rows > 3) finish(p, 3, vectors, acc[3]);                              \
        if (rows > 4) finish(p, 4, vectors, acc[4]);                              \
        if (rows > 5) finish(p, 5, vectors, acc[5]);                              \
    }

DENSE8_PIECE(dense8_piece, finish8)

#if FUSES_RESIDUAL
INLINE void finish8_found(const piece *p, const int d, const int vectors, const vi *acc, const int ranked) {
    const float *scale = p->layer->scale8 + p->first * KG_LANES, *bias = p->layer->bias8 + p->first * KG_LANES;
    const vf floor = v_floor(p->layer), s = v_set(p->s[d]);
    const columns c = columns_of(p->of, p->first_die + d, p->first * KG_LANES);
    kg_residual *found = &p->of->found[p->first_die + d];
    UNROLL for (int lane = 0; lane < VECTORS; lane++) {
        lanes_found f = load_found(found, lane, ranked);
        UNROLL for (int v = lane; v < vectors; v += VECTORS) {
            const vf y = output8(acc[v], s, scale + v * LANES, bias + v * LANES, floor);
            find_residual(c, v * LANES, y, &f, ranked, ranked);
        }
        store_found(found, lane, &f, ranked);
    }
}

INLINE void finish8_residual(const piece *p, const int d, const int vectors, const vi *acc) {
    if (p->of->is_ranked) finish8_found(p, d, vectors, acc, 1);
    else finish8_found(p, d, vectors, acc, 0);
}

DENSE8_PIECE(dense8_residual_piece, finish8_residual)
#endif

INLINE void dense_piece(const piece *p, const int rows, const int blocks) {
    const int vectors = blocks * VECTORS;
    const vf floor = v_floor(p->layer);
    vf acc[MOST_ROWS][MAX_VECTORS];
    UNROLL for (int d = 0; d < rows; d++)
        UNROLL for (int v = 0; v < vectors; v++)
            acc[d][v] = v_load(p->layer->bias + p->first * KG_LANES + v * LANES);
    const float *x = p->x, *weight = p->layer->weight + p->start;
    const int64_t step = (int64_t)p->n_panel * KG_LANES;
    for (int32_t i = 0; i < p->layer->n_in; i++, weight += step) {
        vf w[MAX_VECTORS], in[MOST_ROWS];
        if (rows < vectors) {
            UNROLL for (int d = 0; d < rows; d++) in[d] = v_set(x[d * p->x_stride + i]);
            UNROLL for (int v = 0; v < vectors; v++) {
                w[v] = v_load(weight + v * LANES);
                UNROLL for (int d = 0; d < rows; d++) acc[d][v] = v_fma(in[d], w[v], acc[d][v]);
            }
        } else {
            UNROLL for (int v = 0; v < vectors; v++) w[v] = v_load(weight + v * LANES);
            UNROLL for (int d = 0; d < rows; d++) {
                in[d] = v_set(x[d * p->x_stride + i]);
                UNROLL for (int v = 0; v < vectors; v++) acc[d][v] = v_fma(in[d], w[v], acc[d][v]);
            }
        }
    }
    UNROLL for (int d = 0; d < rows; d++)
        UNROLL for (int v = 0; v < vectors; v++)
            v_store(p->y + d * p->y_stride + p->first * KG_LANES + v * LANES, v_at_least(floor, acc[d][v]));
}

/* One function for each number of dies, with a case for each number of blocks. */
#define PIECE_ROWS(name, rows, most)                            \
    KERNEL void name##_##rows(const piece *p, int32_t blocks) { \
        if (rows > MAX_ROWS) return;                            \
        if (most(rows) >= 8 && blocks == 8) name(p, rows, 8);   \
        if (most(rows) >= 4 && blocks == 4) name(p, rows, 4);   \
        if (most(rows) >= 2 && blocks == 2) name(p, rows, 2);   \
        if (blocks == 1) name(p, rows, 1);                      \
    }                                                           \
    _Static_assert(most(rows) == 1 || most(rows) == 2 || most(rows) == 4 || most(rows) == 8, "a case for each");
#define PIECE(name, most)                                                                                   \
    PIECE_ROWS(name, 1, most)                                                                               \
    PIECE_ROWS(name, 2, most)                                                                               \
    PIECE_ROWS(name, 3, most)                                                                               \
    PIECE_ROWS(name, 4, most)                                                                               \
    PIECE_ROWS(name, 6, most)                                                                               \
    static const variant name##_variants[MOST_ROWS + 1] = {                                                        \
        {NULL, 0},         {name##_1, most(1)}, {name##_2, most(2)}, {name##_3, most(3)}, {name##_4, most(4)}, \
        {NULL, 0},         {name##_6, most(6)}};

typedef struct {
    void (*run)(const piece *, int32_t);
    int32_t blocks; /* at most */
} variant;

PIECE(dense8_piece, BLOCKS8)
#if FUSES_RESIDUAL
PIECE(dense8_residual_piece, BLOCKS8)
#endif
PIECE(dense_piece, BLOCKS)

/* How many of n dies to take next, so that few are left for the slower small numbers. */
static int32_t next_rows(int32_t n) {
    if (MAX_ROWS < 4) return n == 4 ? 2 : n < 3 ? n : 3;
    if (MAX_ROWS < 6) return n == 5 || n == 6 ? 3 : n < 4 ? n : 4;
    return n <= 4 ? n : n == 5 ? 3 : n == 7 || n == 8 ? 4 : 6;
}

/* All blocks for all dies, panel by panel. group: inputs that the weights are padded to. */
static void for_each_piece(const variant *variants, piece p, int64_t x_size, int32_t n_dies, int32_t group) {
    const int64_t depth = (p.layer->n_in + group - 1) / group;
    const piece all = p;
    for (int32_t block = 0; block < p.layer->n_blocks; block += PANEL) {
        p.n_panel = p.layer->n_blocks - block < PANEL ? p.layer->n_blocks - block : PANEL;
        for (int32_t d = 0, rows; d < n_dies; d += rows) {
            rows = next_rows(n_dies - d);
            p.x = (const char *)all.x + d * all.x_stride * x_size;
            if (all.y) p.y = all.y + d * all.y_stride;
            if (all.s) p.s = all.s + d;
            if (all.largest) p.largest = all.largest + d;
            p.first_die = d;
            for (int32_t i = 0, blocks; i < p.n_panel; i += blocks) {
                for (blocks = variants[rows].blocks; blocks > p.n_panel - i;) blocks /= 2;
                p.first = block + i;
                p.start = ((int64_t)block * depth + i) * KG_LANES;
                variants[rows].run(&p, blocks);
            }
        }
    }
}

KERNEL void dense8(const kg_layer *layer, const void *q, int64_t q_stride, const float *s, int32_t n_dies,
                   float *y, int64_t y_stride, uint32_t *largest) {
    _Alignas(KG_ALIGN) uint32_t most[KG_TILE][LANES];
    for (int32_t d = 0; d < n_dies; d++) v_store_int(most[d], v_int(0));
    const piece all = {.layer = layer, .x = q, .x_stride = q_stride, .s = s, .y = y, .y_stride = y_stride, .largest = most};
    for_each_piece(dense8_piece_variants, all, 1, n_dies, GROUP);
    for (int32_t d = 0; d < n_dies; d++)
        largest[d] = needs_second_pass(layer) ? activate(layer, y + d * y_stride)
                                              : v_largest_of(v_load_int(most[d]));
}

#if FUSES_RESIDUAL
KERNEL void dense8_residual(const kg_layer *layer, const void *q, int64_t q_stride, const float *s, int32_t n_dies,
                            const kg_residuals *of) {
    memset(of->found, 0, sizeof *of->found * (size_t)n_dies);
    const piece all = {.layer = layer, .x = q, .x_stride = q_stride, .s = s, .of = of};
    for_each_piece(dense8_residual_piece_variants, all, 1, n_dies, GROUP);
    for (int32_t d = 0; d < n_dies; d++) find_largest(&of->found[d]);
}
#endif

KERNEL void dense(const kg_layer *layer, const float *x, int64_t x_stride, int32_t n_dies, float *y,
                  int64_t y_stride) {
    const piece all = {.layer = layer, .x = x, .x_stride = x_stride, .y = y, .y_stride = y_stride};
    for_each_piece(dense_piece_variants, all, sizeof(float), n_dies, 1);
    for (int32_t d = 0; d < n_dies && needs_second_pass(layer); d++) activate(layer, y + d * y_stride);
}

/* score */

KERNEL double sum_of_expected(const uint16_t *present, const double *expected, int32_t n_padded) {
    vd sum[KG_LANES / DOUBLES];
    double lane[KG_LANES];
    UNROLL for (int v = 0; v < KG_LANES / DOUBLES; v++) sum[v] = vd_zero();
    for (int32_t i = 0; i < n_padded; i += KG_LANES) {
        const uint32_t bits = present[i / KG_LANES];
        UNROLL for (int v = 0; v < KG_LANES / DOUBLES; v++)
            sum[v] = vd_add_kept(sum[v], bits >> v * DOUBLES, expected + i + v * DOUBLES);
    }
    UNROLL for (int v = 0; v < KG_LANES / DOUBLES; v++) vd_store(lane + v * DOUBLES, sum[v]);
    return kg_sum_of_double_lanes(lane);
}

/*
 * Sixteen numbers that are not negative, as bits, in descending order; without a branch, which no processor
 * could predict. Each goes to the place that counts the larger ones, and the equal ones before it.
 */
INLINE void sort16(const int32_t bits[KG_LANES], float sorted[KG_LANES]) {
    static const int32_t index[KG_LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vi own[VECTORS], place[VECTORS];
    int32_t places[KG_LANES];
    UNROLL for (int v = 0; v < VECTORS; v++) own[v] = v_load_int(bits + v * LANES), place[v] = v_int(0);
    for (int i = 0; i < KG_LANES; i++)
        UNROLL for (int v = 0; v < VECTORS; v++) {
            const vm is_later = v_less_int(v_int(i), v_load_int(index + v * LANES));
            place[v] = v_count(place[v], v_less_int(own[v], v_count(v_int(bits[i]), is_later)));
        }
    UNROLL for (int v = 0; v < VECTORS; v++) v_store_int(places + v * LANES, place[v]);
    UNROLL for (int i = 0; i < KG_LANES; i++) sorted[places[i]] = kg_of_bits((uint32_t)bits[i]);
}

/* The k-th largest of the lanes' largest, k ≤ 16: k tests reach it, and seldom many more. */
INLINE int32_t find_limit(const int32_t bits[KG_LANES], int32_t k) {
    vi largest = v_int(0);
    UNROLL for (int v = 0; v < VECTORS; v++) {
        const vi own = v_load_int(bits + v * LANES);
        vi n_above = v_int(0);
        for (int i = 0; i < KG_LANES; i++) n_above = v_count(n_above, v_less_int(own, v_int(bits[i])));
        const vf inverted = v_of_bits(v_bits_xor(own, v_int(INT32_MAX)));
        largest = v_max_bits(largest, v_bits(v_keep(v_less_int(n_above, v_int(k)), inverted)));
    }
    return INT32_MAX - (int32_t)v_largest_of(largest);
}

/* Of the lanes' largest, the bits of those that reach a limit, and zeros behind them; how many. */
INLINE int32_t find_reaching(const kg_residual *found, int32_t limit, int32_t reaching[KG_RANKS * KG_LANES + KG_LANES]) {
    const vi below = v_int(limit - 1);
    int32_t n = 0;
    UNROLL for (int k = 0; k < KG_RANKS; k++)
        UNROLL for (int v = 0; v < VECTORS; v++) {
            const vi bits = v_load_int(found->largest_of_lane[k] + v * LANES);
            n += v_append(reaching + n, v_less_int(below, bits), bits);
        }
    UNROLL for (int v = 0; v < VECTORS; v++) v_store_int(reaching + n + v * LANES, v_int(0));
    return n;
}

/* What is known of the lanes settles it, unless a lane's last known is above the k-th: more may hide behind it. */
KERNEL int sum_of_lanes(const kg_residual *found, int32_t k, float *result) {
    int32_t reaching[KG_RANKS * KG_LANES + KG_LANES];
    float sorted[KG_LANES], sum = 0;
    vi last = v_int(0);
    if (k > KG_LANES || k < 1) return k < 1;
    if (find_reaching(found, find_limit(found->largest_of_lane[0], k), reaching) > KG_LANES) return 0;
    UNROLL for (int v = 0; v < VECTORS; v++) last = v_max_bits(last, v_load_int(found->largest_of_lane[KG_RANKS - 1] + v * LANES));
    sort16(reaching, sorted);
    if (v_largest_of(last) > kg_bits(sorted[k - 1])) return 0;
    for (int32_t i = 0; i < k; i++) sum += sorted[i];
    *result = sum;
    return 1;
}

KERNEL void sums_of_largest(const kg_residuals *of, int32_t n_dies, int32_t n_padded, const int32_t *k, float *work,
                            float *sums) {
    for (int32_t d = 0; d < n_dies; d++) {
        sums[d] = 0;
        if (sum_of_lanes(&of->found[d], k[d], &sums[d])) continue;
        sums[d] = kg_sum_of_largest(of->z + d * of->stride, n_padded, k[d], (uint64_t *)(void *)work);
    }
}

const kg_kernels PATH = {
    .name = PATH_NAME,
    .is_supported = PATH_SUPPORTED,
    .n_panel = PANEL,
    .n_group = GROUP,
    .step_size = STEP_SIZE,
    .shift = SHIFTS,
    .standardise = standardise,
    .quantise = quantise,
    .dense8 = dense8,
    .dense = dense,
    .residual = residual,
#if FUSES_RESIDUAL
    .dense8_residual = dense8_residual,
#endif
    .sum_of_expected = sum_of_expected,
    .sums_of_largest = sums_of_largest,
};
