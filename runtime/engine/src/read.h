/* The sections of a verified .kgd file, checked and found; nothing is copied yet. */
#ifndef KG_READ_H
#define KG_READ_H

#include <stdint.h>

#include "file.h"
#include "model.h"

enum { KG_F32 = 1, KG_F64, KG_I32, KG_I8 };
enum { KG_MAX_TENSORS = 2048, KG_MAX_WIDTH = 66000, KG_MAX_POINTS = 64, KG_MAX_GOLDEN = 64 };

/* A tensor's place in the file; dims beyond its number of dimensions are 0. */
typedef struct {
    const uint8_t *data;
    uint64_t n; /* elements */
    uint32_t dtype, dims[4];
} kg_tensor;

typedef struct {
    uint32_t n_in, n_out, activation;
    float alpha;
    const kg_tensor *weight, *scale, *bias; /* scale: int8 only */
} kg_read_layer;

/* Two programs of a file have the same tensors but those of their layers. */
typedef struct {
    int32_t precision, latent_layer, n_layers;
    const kg_tensor *groups, *centre, *inv_scale;
    const kg_tensor *score[6]; /* residual_weight, expected_square, gain, offset, project, subtract */
    uint32_t head, k, min_present;
    kg_read_layer layers[KG_MAX_LAYERS];
} kg_read_program;

/*
 * golden_values:  f32 (n_golden, n_tests); golden_group: i32 (n_golden).
 * golden_bits:    u32 (n_golden) of each program, scores.
 * golden_digest:  32 bytes of each program, SHA-256 over its reconstructions.
 */
typedef struct {
    uint32_t n_tests, n_tensors, n_programs;
    kg_tensor tensors[KG_MAX_TENSORS];
    kg_read_program programs[2];
    double default_fpr;
    uint32_t n_points, n_limits, default_point;
    float limits[KG_MAX_LAYERS];
    kg_operating_point points[KG_MAX_POINTS];
    uint32_t n_golden;
    const uint8_t *golden_values, *golden_group, *golden_bits[2], *golden_digest[2];
} kg_contents;

/*
 * Check every rule of the format, but of the JSON for people only its size. Allocates for a moment, for
 * each test 16 bytes, for each group of the scaler 8.
 */
int32_t kg_read(const kg_file *file, kg_contents *contents, kg_message message);

/* Parts of kg_read, in this order. */
int32_t kg_read_schema(const kg_file *file, kg_contents *contents, kg_message message);
int32_t kg_read_tensors(const kg_file *file, kg_contents *contents, kg_message message);
int32_t kg_read_programs(const kg_file *file, kg_contents *contents, kg_message message);

#endif
