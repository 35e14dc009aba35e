/*
 * From a verified file to a model: every array is copied into one block, padded to whole vectors and
 * packed as the kernels want it.
 */
#include <float.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "golden.h"
#include "model.h"
#include "pack.h"
#include "pages.h"
#include "read.h"

/* Padding makes a narrow layer up to 16 times as large. A model takes at most so many times its file and so
   many bytes, which only a file made to exhaust memory exceeds. */
enum { MOST_TIMES = 4, AND_BYTES = 16 << 20, MOST_OPTIONS = 4096 };

/* Takes pieces off the block; with no block yet, it only counts. */
typedef struct {
    uint8_t *next;
    uint64_t used;
} block;

/* With the sanitizer, a gap behind each piece that nothing may read. */
#if defined(KG_SANITIZED_ADDRESSES)
#include <sanitizer/asan_interface.h>
enum { GAP = KG_ALIGN };
#define FORBID(start) ASAN_POISON_MEMORY_REGION(start, GAP)
#else
enum { GAP = 0 };
#define FORBID(start) ((void)(start))
#endif

static void *piece(block *b, uint64_t size) {
    const uint64_t whole = (size + KG_ALIGN - 1) / KG_ALIGN * KG_ALIGN;
    uint8_t *start = b->next ? b->next + b->used : NULL;
    if (start) FORBID(start + whole);
    b->used += whole + GAP;
    return start;
}

static float *floats(block *b, const kg_tensor *t, int64_t n_padded) {
    float *array = piece(b, sizeof(float) * (uint64_t)n_padded);
    if (array) kg_copy(array, t->data, t->n, sizeof(float));
    return array;
}

static float *pack(block *b, const kg_layer *layer, const kg_kernels *kernels, const kg_tensor *t) {
    const uint64_t n = (uint64_t)layer->n_blocks * KG_LANES * (uint64_t)layer->n_in;
    float *packed = piece(b, sizeof(float) * n);
    if (!packed) return NULL;
    kg_pack(packed, t->data, layer->n_out, (int64_t)sizeof(float) * layer->n_in, sizeof(float), kernels->n_panel);
    kg_to_little(packed, n, sizeof(float));
    return packed;
}

static int32_t sum(const int8_t *weight, int32_t n) {
    int32_t found = 0;
    for (int32_t i = 0; i < n; i++) found += weight[i];
    return found;
}

/* Weights, and what the shift of the inputs adds to each sum. */
static void pack8(block *b, kg_layer *layer, const kg_kernels *kernels, const kg_tensor *t) {
    const int64_t group = kernels->n_group, depth = (layer->n_in + group - 1) / group;
    const int8_t *weight = (const int8_t *)t->data;
    layer->offset8 = piece(b, sizeof(int32_t) * KG_LANES * (uint64_t)layer->n_blocks);
    layer->weight8 = piece(b, KG_LANES * (uint64_t)(layer->n_blocks * depth * group));
    if (!layer->weight8) return;
    kg_pack(layer->weight8, t->data, layer->n_out, layer->n_in, group, kernels->n_panel);
    for (int32_t o = 0; o < layer->n_out && layer->shift8; o++, weight += layer->n_in)
        layer->offset8[o] = -layer->shift8 * sum(weight, layer->n_in);
}

static double *scaler_rows(block *b, const kg_tensor *t, int64_t n_padded) {
    const uint64_t width = t->dims[1];
    double *array = piece(b, sizeof(double) * t->dims[0] * (uint64_t)n_padded);
    for (uint64_t row = 0; array && row < t->dims[0]; row++)
        kg_copy(array + row * (uint64_t)n_padded, t->data + sizeof(double) * row * width, width, sizeof(double));
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
        const int64_t n_out = kg_padded(layer->n_out);
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
    for (uint64_t i = 0; m->expected && i < p->score[1]->n; i++) {
        float expected;
        kg_copy(&expected, p->score[1]->data + sizeof expected * i, 1, sizeof expected);
        m->expected[i] = expected;
    }
    m->gain = floats(b, p->score[2], m->n_tests + 1);
    m->offset = floats(b, p->score[3], m->n_tests + 1);
    m->zeros = piece(b, sizeof(float) * (uint64_t)m->n_padded);
    if (m->head == KG_MAHALANOBIS) copy_directions(b, m, p);
}

static double sum_of_tests(const double *t, int32_t n) {
    double lane[KG_LANES] = {0};
    for (int32_t i = 0; i < n; i++) lane[i % KG_LANES] += t[i];
    return kg_sum_of_double_lanes(lane);
}

/* Every array of the model, once to count and once to copy. */
static void copy_all(block *b, kg_model *m, const kg_contents *f) {
    const kg_read_program *p = &f->programs[0];
    m->n_groups = (int32_t)p->groups->n;
    m->groups = piece(b, sizeof *m->groups * p->groups->n);
    if (m->groups) kg_copy(m->groups, p->groups->data, p->groups->n, sizeof *m->groups);
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
    m->n_tests = (int32_t)f->n_tests, m->n_padded = (int32_t)kg_padded(f->n_tests);
    m->n_layers = p->n_layers, m->latent_layer = p->latent_layer, m->widest = m->n_tests;
    for (int32_t l = 0; l < p->n_layers; l++)
        if ((int32_t)p->layers[l].n_out > m->widest) m->widest = (int32_t)p->layers[l].n_out;
    for (uint32_t i = 0; i < f->n_programs; i++) m->has[f->programs[i].precision] = 1;
    m->has_bands = f->n_limits > 0;
    m->n_points = (int32_t)f->n_points, m->default_point = (int32_t)f->default_point;
    memcpy(m->model_id, file->model_id, 32);
    memcpy(m->file_digest, file->file_digest, 32);
}

static int32_t too_large(const kg_file *file, uint64_t needed, kg_message message) {
    return kg_fail(message, KG_ERROR_FORMAT,
                   "its model takes %llu bytes of memory, expected at most %d times the file's %llu and %d more: too "
                   "many layers or scalers are a few numbers wide (rule %d of the .kgd format)",
                   (unsigned long long)needed, MOST_TIMES, (unsigned long long)file->size, AND_BYTES, KG_RULE_COUNTS);
}

static int32_t make(const kg_file *file, const kg_contents *f, const kg_kernels *kernels, kg_model **made,
                    kg_message message) {
    kg_model *m = calloc(1, sizeof *m);
    if (!m) return kg_no_memory(message);
    *made = m;
    block counting = {NULL, 0}, filling = {NULL, 0};
    m->kernels = kernels;
    describe(m, file, f);
    copy_all(&counting, m, f);
    if (counting.used > MOST_TIMES * file->size + AND_BYTES) return too_large(file, counting.used, message);
    m->memory = filling.next = kg_pages_take(counting.used);
    if (!m->memory) return kg_no_memory(message);
    copy_all(&filling, m, f);
    return KG_OK;
}

static int32_t open_verified(const kg_file *file, const kg_kernels *kernels, int skip_golden,
                             kg_model **model, kg_message message) {
    kg_contents *contents = calloc(1, sizeof *contents);
    int32_t status = contents ? kg_read(file, contents, message) : kg_no_memory(message);
    if (status == KG_OK) status = make(file, contents, kernels, model, message);
    if (status == KG_OK && !skip_golden) status = kg_check_golden(*model, contents, message);
    free(contents);
    if (status != KG_OK) {
        kg_close(*model);
        *model = NULL;
    }
    return status;
}

#define HAS(given, member) ((given)->size >= (int64_t)(offsetof(kg_options, member) + sizeof (given)->member))

/* What the host asks for. Hosts compiled with an older header have fewer members, with a newer one more. */
static int32_t read_options(const kg_options *given, kg_options *options, kg_message message) {
    kg_options_init(options);
    if (!given) return KG_OK;
    if (!HAS(given, size) || given->size > MOST_OPTIONS)
        return kg_fail(message, KG_ERROR_USE, "options: size is %lld, expected %d: set it with kg_options_init",
                       (long long)given->size, (int)sizeof *options);
    for (int64_t i = sizeof *options; i < given->size; i++)
        if (((const char *)given)[i])
            return kg_fail(message, KG_ERROR_USE,
                           "options: byte %d is set, expected zeros from %d on: a newer option than this library has",
                           (int)i, (int)sizeof *options);
    if (HAS(given, cpu_path)) options->cpu_path = given->cpu_path;
    if (HAS(given, skip_golden)) options->skip_golden = given->skip_golden;
    if (HAS(given, reserved)) options->reserved = given->reserved;
    if (options->skip_golden >> 1 || options->reserved)
        return kg_fail(message, KG_ERROR_USE, "options: skip_golden is %d, expected 0 or 1, and reserved %d, expected 0",
                       (int)options->skip_golden, (int)options->reserved);
    return KG_OK;
}

int32_t kg_open(const void *data, int64_t size, const kg_options *given, kg_model **model, char *message,
                int64_t message_size) {
    const kg_message to = {message, message_size};
    kg_options options;
    kg_file file;
    if (!model) return kg_fail(to, KG_ERROR_USE, "model is NULL");
    *model = NULL;
    if (!data || size < 0) return kg_fail(to, KG_ERROR_USE, "data is NULL, or size below 0");
    int32_t status = read_options(given, &options, to);
    if (status != KG_OK) return status;
    const kg_kernels *kernels = kg_choose_kernels(options.cpu_path);
    if (!kernels)
        return kg_fail(to, KG_ERROR_CPU_PATH, "cpu_path is '%s', expected one that kg_cpu_path_name lists and this processor has", options.cpu_path);
    status = kg_file_verify(data, (uint64_t)size, &file, to);
    if (status != KG_OK) return status;
    const kg_control host = kg_control_set(); /* the reader compares floats, and a model has sums of them */
    status = open_verified(&file, kernels, options.skip_golden, model, to);
    kg_control_restore(host);
    return status;
}

void kg_close(kg_model *model) {
    if (!model) return;
    kg_pages_give_back(model->memory);
    free(model);
}
