/*
 * A tile: a few dies on their way through the layers together, so that weights are read once for all of
 * them while their activations stay in the first-level cache.
 */
#ifndef KG_TILE_H
#define KG_TILE_H

#include "model.h"

/* A thread's scratch, cut into rows. Each array has a row for every die of a tile; work has four. */
typedef struct {
    int64_t width, q_stride; /* floats of a row, bytes of a row of int8 inputs */
    float *u, *a, *b, *c, *latent, *work;
    uint8_t *q;
    uint16_t *present; /* rows of width / KG_LANES */
} kg_rows;

/*
 * Filled by kg_tile_add, then kg_tile_run.
 *
 * die, values, scaler: index in the batch, raw values, row of the scaler.
 * y, z: rows of the reconstruction, stride in floats, and of weighted residuals.
 */
typedef struct {
    int32_t n_dies;
    int32_t n_next; /* dies of the batch a whole tile further on, which lie behind these */
    int64_t die[KG_TILE];
    const float *values[KG_TILE];
    int64_t scaler[KG_TILE];
    int32_t n_present[KG_TILE];
    uint32_t largest[KG_TILE];        /* bits of the largest magnitude of the next layer's input */
    kg_residual found[KG_TILE];
    uint8_t is_evaluable[KG_TILE];    /* every u finite and within range */
    uint8_t is_finite[KG_TILE];       /* so were the inputs of all int8 layers */
    uint8_t is_latent_finite[KG_TILE];
    uint8_t is_beyond[KG_TILE];       /* an int8 layer's input exceeded its limit */
    float score[KG_TILE];
    const float *y; /* NULL if it went into z at once */
    float *z;
    int64_t y_stride;
} kg_tile;

enum { KG_WANT_LATENT = 1, KG_WANT_SCORE = 2, KG_WANT_RECONSTRUCTION = 4 };

kg_rows kg_cut(const kg_model *model, void *scratch);

void kg_tile_add(kg_tile *tile, const kg_model *model, const float *values, const int32_t *group, int64_t die);

/* Everything about the tile's dies in fp32 or int8. wanted: KG_WANT_… or'ed. */
void kg_tile_run(kg_tile *tile, const kg_model *model, int32_t precision, int wanted, const kg_rows *rows);

/* 1 if "verified" puts an int8 result aside. */
int kg_is_rescored(const kg_tile *tile, int32_t d, const kg_model *model, const kg_operating_point *point);

/* Whether a call's model, precision and point go together; *precision gets what default stands for. */
int32_t kg_check_call(const kg_model *model, int32_t *precision, int32_t point, const void *scratch,
                      const float *values, int64_t n_dies);

#endif
