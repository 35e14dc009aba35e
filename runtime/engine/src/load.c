/*
 * From a verified file to a model: every array is copied into one block, padded to whole vectors and
 * packed as the kernels want it.
 */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "cursor.h"
#include "golden.h"
#include "model.h"
#include "read.h"

/* Takes pieces off the block; with no block yet, it only counts. */
typedef struct {
    uint8_t *next;
    uint64_t used;
} block;

static int64_t padded(int64_t n) { return (n + KG_LANES - 1) / KG_LANES * KG_LANES; }

static void *piece(block *b, uint64_t size) {
    uint8_t *start = b->next ? b->next + b->used : NULL;
    b->used += (size + KG_ALIGN - 1) / KG_ALIGN * KG_ALIGN;
    return start;
}

static float f32_at(const kg_tensor *t, uint64_t i) {
    const uint32_t bits = (uint32_t)kg_little(t->data + 4 * i, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double f64_at(const kg_tensor *t, uint64_t i) {
    const uint64_t bits = kg_little(t->data + 8 * i, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float *floats(block *b, const kg_tensor *t, int64_t n_padded) {
    float *array = piece(b, sizeof(float) * (uint64_t)n_padded);
    for (uint64_t i = 0; array && i < t->n; i++) array[i] = f32_at(t, i);
    return array;
}

/* Where an output's weights go: from a first place on, each group of inputs a step further. */
typedef struct {
    int64_t start, step;
} places;

static places places_of(const kg_layer *layer, int32_t n_panel, int32_t n_group, int64_t output) {
    const int64_t depth = (layer->n_in + n_group - 1) / n_group;
    const int64_t index = output / KG_LANES, first = index / n_panel * n_panel;
    const int64_t width = layer->n_blocks - first < n_panel ? layer->n_blocks - first : n_panel;
    const places p = {(first * depth + index - first) * KG_LANES + output % KG_LANES, width * KG_LANES};
    return p;
}

static float *pack(block *b, const kg_layer *layer, const kg_kernels *kernels, const kg_tensor *t) {
    float *packed = piece(b, sizeof(float) * (uint64_t)layer->n_blocks * KG_LANES * (uint64_t)layer->n_in);
    for (int64_t o = 0; packed && o < layer->n_out; o++) {
        const places to = places_of(layer, kernels->n_panel, 1, o);
        for (int64_t i = 0; i < layer->n_in; i++)
            packed[to.start + i * to.step] = f32_at(t, (uint64_t)(o * layer->n_in + i));
    }
    return packed;
}

/* Weights, and what the shift of the inputs adds to each sum. */
static void pack8(block *b, kg_layer *layer, const kg_kernels *kernels, const kg_tensor *t) {
    const int64_t group = kernels->n_group, depth = (layer->n_in + group - 1) / group;
    const int8_t *weight = (const int8_t *)t->data;
    layer->offset8 = piece(b, sizeof(int32_t) * KG_LANES * (uint64_t)layer->n_blocks);
    layer->weight8 = piece(b, KG_LANES * (uint64_t)(layer->n_blocks * depth * group));
    for (int64_t o = 0; layer->weight8 && o < layer->n_out; o++, weight += layer->n_in) {
        const places to = places_of(layer, kernels->n_panel, kernels->n_group, o);
        for (int64_t i = 0; i < layer->n_in; i++) {
            layer->weight8[(to.start + i / group * to.step) * group + i % group] = weight[i];
            layer->offset8[o] -= layer->shift8 * weight[i];
        }
    }
}

static double *scaler_rows(block *b, const kg_tensor *t, int64_t n_padded) {
    double *array = piece(b, sizeof(double) * t->dims[0] * (uint64_t)n_padded);
    for (uint64_t i = 0; array && i < t->n; i++)
        array[(int64_t)(i / t->dims[1]) * n_padded + (int64_t)(i % t->dims[1])] = f64_at(t, i);
    return array;
}

static int is_positive(uint32_t activation) {
    return activation == KG_RELU || activation == KG_SIGMOID;
}

static kg_layer shape(uint32_t n_in, uint32_t n_out) {
    kg_layer layer = {.n_in = (int32_t)n_in, .n_out = (int32_t)n_out, .activation = KG_LINEAR};
    layer.n_blocks = (layer.n_out + KG_LANES - 1) / KG_LANES;
    return layer;
}

static void copy_layer(block *b, kg_model *m, const kg_contents *f, int32_t l) {
    const kg_read_layer *any = &f->programs[0].layers[l];
    const int is_signed = l == 0 || !is_positive(f->programs[0].layers[l - 1].activation);
    kg_layer *layer = &m->layers[l];
    *layer = shape(any->n_in, any->n_out);
    layer->activation = (int32_t)any->activation, layer->alpha = any->alpha;
    layer->levels = is_signed ? 127.0f : 255.0f;
    layer->shift8 = m->kernels->shift[is_signed];
    layer->scale_limit = f->n_limits ? f->limits[l] : FLT_MAX;
    for (uint32_t p = 0; p < f->n_programs; p++) {
        const kg_read_layer *from = &f->programs[p].layers[l];
        const int64_t n_out = padded(layer->n_out);
        if (f->programs[p].precision == KG_PRECISION_FP32) {
            layer->weight = pack(b, layer, m->kernels, from->weight);
            layer->bias = floats(b, from->bias, n_out);
        } else {
            pack8(b, layer, m->kernels, from->weight);
            layer->bias8 = floats(b, from->bias, n_out);
            layer->scale8 = floats(b, from->scale, n_out);
        }
    }
}

/* The directions that mahalanobis takes off: two layers without bias. */
static void copy_directions(block *b, kg_model *m, const kg_read_program *p) {
    m->rank = (int32_t)p->score[4]->dims[0];
    m->project = shape(p->score[4]->dims[1], p->score[4]->dims[0]);
    m->subtract = shape(p->score[5]->dims[1], p->score[5]->dims[0]);
    m->project.weight = pack(b, &m->project, m->kernels, p->score[4]);
    m->subtract.weight = pack(b, &m->subtract, m->kernels, p->score[5]);
    m->project.bias = m->subtract.bias = m->zeros;
    m->ones = piece(b, sizeof(float) * (uint64_t)m->n_padded);
    for (int32_t i = 0; m->ones && i < m->n_padded; i++) m->ones[i] = 1;
}

static void copy_head(block *b, kg_model *m, const kg_read_program *p) {
    m->head = (int32_t)p->head, m->k = (int32_t)p->k, m->min_present = (int32_t)p->min_present;
    m->residual_weight = floats(b, p->score[0], m->n_padded);
    m->expected = piece(b, sizeof(double) * (uint64_t)m->n_padded);
    for (uint64_t i = 0; m->expected && i < p->score[1]->n; i++) m->expected[i] = f32_at(p->score[1], i);
    m->gain = floats(b, p->score[2], m->n_tests + 1);
    m->offset = floats(b, p->score[3], m->n_tests + 1);
    m->zeros = piece(b, sizeof(float) * (uint64_t)m->n_padded);
    if (m->head == KG_MAHALANOBIS) copy_directions(b, m, p);
}

static double sum_of_tests(const double *t, int32_t n) {
    double lane[KG_LANES] = {0};
    for (int32_t i = 0; i < n; i++) lane[i % KG_LANES] += t[i];
    for (int32_t half = KG_LANES / 2; half; half /= 2)
        for (int32_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

/* Every array of the model, once to count and once to copy. */
static void copy_all(block *b, kg_model *m, const kg_contents *f) {
    const kg_read_program *p = &f->programs[0];
    m->n_groups = (int32_t)p->groups->n;
    m->groups = piece(b, 4 * p->groups->n);
    for (uint64_t i = 0; m->groups && i < p->groups->n; i++)
        m->groups[i] = (int32_t)kg_little(p->groups->data + 4 * i, 4);
    m->centre = scaler_rows(b, p->centre, m->n_padded);
    m->inv_scale = scaler_rows(b, p->inv_scale, m->n_padded);
    copy_head(b, m, p);
    for (int32_t l = 0; l < m->n_layers; l++) copy_layer(b, m, f, l);
    m->points = piece(b, sizeof *m->points * f->n_points);
    if (m->points) memcpy(m->points, f->points, sizeof *m->points * f->n_points);
    if (m->expected) m->expected_sum = sum_of_tests(m->expected, m->n_tests);
}

static void describe(kg_model *m, const kg_file *file, const kg_contents *f) {
    const kg_read_program *p = &f->programs[0];
    m->n_tests = (int32_t)f->n_tests, m->n_padded = (int32_t)padded(f->n_tests);
    m->n_layers = p->n_layers, m->latent_layer = p->latent_layer, m->widest = m->n_tests;
    for (int32_t l = 0; l < p->n_layers; l++)
        if ((int32_t)p->layers[l].n_out > m->widest) m->widest = (int32_t)p->layers[l].n_out;
    for (uint32_t i = 0; i < f->n_programs; i++) m->has[f->programs[i].precision] = 1;
    m->has_bands = f->n_limits > 0;
    m->n_points = (int32_t)f->n_points, m->default_point = (int32_t)f->default_point;
    memcpy(m->model_id, file->model_id, 32);
    memcpy(m->file_digest, file->file_digest, 32);
}

static int32_t make(const kg_file *file, const kg_contents *f, const kg_kernels *kernels, kg_model **made) {
    kg_model *m = calloc(1, sizeof *m);
    if (!m) return KG_ERROR_MEMORY;
    block counting = {NULL, 0}, filling = {NULL, 0};
    m->kernels = kernels;
    describe(m, file, f);
    copy_all(&counting, m, f);
    m->memory = calloc(1, (size_t)counting.used + KG_ALIGN);
    if (!m->memory) {
        free(m);
        return KG_ERROR_MEMORY;
    }
    filling.next = (uint8_t *)(((uintptr_t)m->memory + KG_ALIGN - 1) / KG_ALIGN * KG_ALIGN);
    copy_all(&filling, m, f);
    *made = m;
    return KG_OK;
}

static int32_t open_verified(const kg_file *file, const kg_kernels *kernels, int skip_golden,
                             kg_model **model, kg_message message) {
    kg_contents *contents = calloc(1, sizeof *contents);
    int32_t status = contents ? kg_read(file, contents, message) : KG_ERROR_MEMORY;
    if (status == KG_OK) status = make(file, contents, kernels, model);
    if (status == KG_OK && !skip_golden) status = kg_check_golden(*model, contents, message);
    free(contents);
    if (status != KG_OK) {
        kg_close(*model);
        *model = NULL;
    }
    return status;
}

int32_t kg_open(const void *data, int64_t size, const kg_options *options, kg_model **model, char *message,
                int64_t message_size) {
    const kg_message to = {message, message_size};
    kg_file file;
    if (!model) return kg_fail(to, KG_ERROR_USE, "model is NULL");
    *model = NULL;
    if (!data || size < 0) return kg_fail(to, KG_ERROR_USE, "data is NULL, or size below 0");
    const char *path = options ? options->path : NULL;
    const kg_kernels *kernels = kg_choose_kernels(path);
    if (!kernels)
        return kg_fail(to, KG_ERROR_PATH, "this processor has no path '%s', or the library none", path);
    int32_t status = kg_file_verify(data, (uint64_t)size, &file, to);
    if (status == KG_OK) {
        const kg_control host = kg_control_set(); /* the reader compares floats, and a model has sums of them */
        status = open_verified(&file, kernels, options ? options->skip_golden : 0, model, to);
        kg_control_restore(host);
    }
    return status == KG_ERROR_MEMORY ? kg_fail(to, status, "no memory left") : status;
}

void kg_close(kg_model *model) {
    if (!model) return;
    free(model->memory);
    free(model);
}
