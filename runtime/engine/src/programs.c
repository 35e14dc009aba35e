/*
 * The section program: lists of operations over numbered buffers. Version 1.0 allows one shape,
 * STANDARDISE, a chain of layers, SCORE; what the engine relies on is checked here. Read after the
 * tensors, which it names.
 */
#include <math.h>
#include <stdlib.h>

#include "knowngood.h"
#include "largest.h"
#include "read.h"

enum { STANDARDISE = 1, DENSE, DENSE_INT8, SCORE };
enum { MAX_BUFFERS = 256, MAX_OPS = 256, MAX_LIST = 16, LEAST_OP = 5 * 4 };
enum { U = 1, FIRST_LAYER = 2 }; /* buffers, numbered by the operation that writes them */

typedef struct {
    uint32_t opcode, n_inputs, inputs[MAX_LIST], output, n_tensors, tensors[MAX_LIST], n_params, params[MAX_LIST];
} operation;

/*
 * What a program is read into.
 *
 * first:              the program before it, NULL if there is none.
 * standardise, score: operations of the first program, which the second repeats.
 * n_used:             tensors used so far.
 */
typedef struct {
    kg_cursor c;
    kg_contents *f;
    const kg_read_program *first;
    operation standardise, score;
    uint32_t n_used;
    int has_no_memory;
} reading;

static void wrong_chain(reading *r, const char *what) { kg_wrong(&r->c, KG_RULE_CHAIN, what); }

static void read_list(kg_cursor *c, uint32_t *n, uint32_t *list) {
    *n = kg_count(c, 0, MAX_LIST, 4, "a list of it is longer than 16");
    for (uint32_t i = 0; i < *n; i++) list[i] = kg_u32(c);
}

static operation read_operation(kg_cursor *c) {
    operation op;
    memset(&op, 0, sizeof op);
    op.opcode = kg_within(c, STANDARDISE, SCORE, KG_RULE_CODES, "its opcode is not 1 to 4");
    read_list(c, &op.n_inputs, op.inputs);
    op.output = kg_u32(c);
    read_list(c, &op.n_tensors, op.tensors);
    read_list(c, &op.n_params, op.params);
    return op;
}

/* Operation i of a program: it reads what is written, and writes the next buffer. */
static void check_buffers(kg_cursor *c, const operation *op, uint32_t i, uint32_t n_buffers) {
    for (uint32_t k = 0; k < op->n_inputs; k++)
        if (op->inputs[k] > i) kg_wrong(c, KG_RULE_TOPOLOGY, "it reads a buffer that is not yet written");
    if (op->output <= i || op->output >= n_buffers)
        kg_wrong(c, KG_RULE_TOPOLOGY, "it writes a buffer that is written already, or that there is not");
    if (op->output != i + 1) kg_wrong(c, KG_RULE_CHAIN, "it writes another buffer than the next");
}

static void require_inputs(reading *r, const operation *op, uint32_t a, uint32_t b) {
    const uint32_t n = a == b ? 1 : 2;
    if (op->n_inputs != n || op->inputs[0] != a || op->inputs[n - 1] != b)
        wrong_chain(r, "it reads other buffers than its place in the chain demands");
}

static void require_lists(reading *r, const operation *op, uint32_t opcode, uint32_t n_tensors, uint32_t n_params) {
    if (op->opcode != opcode) wrong_chain(r, "its opcode is not that of its place in the chain");
    if (op->n_params != n_params) wrong_chain(r, "its opcode takes another number of parameters");
    if (op->n_tensors != n_tensors) wrong_chain(r, "its opcode takes another number of tensors");
}

/* Tensors, each used by one operation, in the order of their numbers. */
static void use_tensors(reading *r, const operation *op) {
    for (uint32_t i = 0; i < op->n_tensors && !r->c.what; i++)
        if (op->tensors[i] != r->n_used++ || op->tensors[i] >= r->f->n_tensors)
            kg_wrong(&r->c, KG_RULE_TENSOR_USE, "tensors are not numbered as they are first used, or there is no such tensor");
}

/* Tensor i of an operation, whose number use_tensors has checked; 0 columns: it has one dimension. */
static const kg_tensor *take(reading *r, const operation *op, uint32_t i, uint32_t dtype, uint32_t rows, uint32_t columns) {
    if (r->c.what) return NULL;
    const kg_tensor *t = &r->f->tensors[op->tensors[i]];
    if (t->dtype != dtype || t->dims[0] != rows || t->dims[1] != columns || t->dims[2])
        wrong_chain(r, "a tensor has not the dtype and shape that it demands");
    return t;
}

static uint32_t n_rows(const reading *r, const operation *op, uint32_t i) {
    return r->c.what ? 0 : r->f->tensors[op->tensors[i]].dims[0];
}

/* Every number is above 0; or_zero: or is a zero of either sign. All are finite. */
static void require_positive(reading *r, const kg_tensor *t, int or_zero, int rule, const char *what) {
    if (r->c.what) return;
    const int is_double = t->dtype == KG_F64;
    const uint64_t sign = is_double ? (uint64_t)1 << 63 : (uint64_t)1 << 31;
    for (uint64_t i = 0; i < t->n; i++) {
        const uint64_t bits = is_double ? kg_little8(t->data + 8 * i) : kg_little4(t->data + 4 * i);
        const int is_zero = (bits & ~sign) == 0;
        if (is_zero ? !or_zero : bits >= sign) kg_wrong(&r->c, rule, what);
    }
}

/* -1, then distinct numbers of 0 or more. */
static void check_groups(reading *r, const kg_tensor *t) {
    static const char what[] = "groups are not -1, then distinct numbers of 0 or more";
    if (r->c.what) return;
    uint64_t *groups = malloc(sizeof *groups * (size_t)t->n);
    r->has_no_memory = !groups;
    if (!groups) {
        wrong_chain(r, "no memory");
        return;
    }
    for (uint64_t i = 0; i < t->n; i++) {
        groups[i] = kg_little4(t->data + 4 * i);
        if (i == 0 ? groups[i] != UINT32_MAX : groups[i] > INT32_MAX) kg_wrong(&r->c, KG_RULE_SCALER, what);
    }
    kg_make_heap(groups, (int64_t)t->n);
    for (int64_t left = (int64_t)t->n; left > 1 && !r->c.what; left--)
        if (kg_pop(groups, left) == groups[0]) kg_wrong(&r->c, KG_RULE_SCALER, what);
    free(groups);
}

/* The second program's STANDARDISE and SCORE are the first one's, which was checked. */
static void require_same(reading *r, const operation *op, const operation *of_first) {
    if (memcmp(op, of_first, sizeof *op) != 0)
        kg_wrong(&r->c, KG_RULE_TWO_PROGRAMS, "it is another than in the program in fp32");
}

static void read_standardise(reading *r, kg_read_program *p, const operation *op) {
    const uint32_t n = r->f->n_tests;
    require_inputs(r, op, 0, 0);
    require_lists(r, op, STANDARDISE, 3, 0);
    if (r->first) {
        require_same(r, op, &r->standardise);
        p->groups = r->first->groups, p->centre = r->first->centre, p->inv_scale = r->first->inv_scale;
        return;
    }
    r->standardise = *op;
    use_tensors(r, op);
    const uint32_t n_groups = n_rows(r, op, 0);
    p->groups = take(r, op, 0, KG_I32, n_groups, 0);
    p->centre = take(r, op, 1, KG_F64, n_groups, n);
    p->inv_scale = take(r, op, 2, KG_F64, n_groups, n);
    check_groups(r, p->groups);
    require_positive(r, p->inv_scale, 0, KG_RULE_SCALER, "an inv_scale is not above 0");
}

static void read_activation(reading *r, kg_read_layer *layer, const operation *op) {
    if (r->c.what) return;
    layer->activation = op->params[0];
    memcpy(&layer->alpha, &op->params[1], sizeof layer->alpha);
    if (layer->activation > KG_TANH) kg_wrong(&r->c, KG_RULE_CODES, "its activation is not 0 to 5");
    const int has_alpha = layer->activation == KG_LEAKY_RELU || layer->activation == KG_ELU;
    if (!has_alpha && op->params[1]) kg_wrong(&r->c, KG_RULE_ACTIVATIONS, "its activation has no alpha, which must be +0");
    if (has_alpha && !isfinite(layer->alpha)) kg_wrong(&r->c, KG_RULE_FINITE_AND_TEXT, "alpha is not finite");
}

static void check_int8(reading *r, const kg_read_layer *layer) {
    if (r->c.what) return;
    if (memchr(layer->weight->data, 0x80, (size_t)layer->weight->n)) kg_wrong(&r->c, KG_RULE_INT8, "a weight is -128");
    require_positive(r, layer->scale, 0, KG_RULE_INT8, "a weight_scale is not above 0");
}

/* The same layer in int8 as in fp32, but for its numbers. */
static void require_same_layer(reading *r, const kg_read_layer *a, const kg_read_layer *b) {
    if (r->c.what) return;
    if (a->n_in != b->n_in || a->n_out != b->n_out || a->activation != b->activation ||
        memcmp(&a->alpha, &b->alpha, sizeof a->alpha) != 0)
        kg_wrong(&r->c, KG_RULE_TWO_PROGRAMS, "its width, activation or alpha is another than in fp32");
}

static void read_layer(reading *r, kg_read_program *p, const operation *op, uint32_t n_in, uint32_t n_out) {
    const int is_int8 = p->precision == KG_PRECISION_INT8;
    const uint32_t index = (uint32_t)p->n_layers++, bias = is_int8 ? 2 : 1;
    kg_read_layer *layer = &p->layers[index];
    layer->n_in = n_in, layer->n_out = n_out;
    require_inputs(r, op, index + U, index + U);
    require_lists(r, op, is_int8 ? DENSE_INT8 : DENSE, bias + 1, 2);
    use_tensors(r, op);
    read_activation(r, layer, op);
    if (r->first && index < (uint32_t)r->first->n_layers) require_same_layer(r, layer, &r->first->layers[index]);
    layer->weight = take(r, op, 0, is_int8 ? KG_I8 : KG_F32, n_out, n_in);
    layer->scale = is_int8 ? take(r, op, 1, KG_F32, n_out, 0) : NULL;
    layer->bias = take(r, op, bias, KG_F32, n_out, 0);
    if (is_int8) check_int8(r, layer);
}

static void read_directions(reading *r, kg_read_program *p, const operation *op) {
    const uint32_t n = r->f->n_tests, rank = n_rows(r, op, 4);
    if (rank > n) wrong_chain(r, "its rank is above the number of tests");
    p->score[4] = take(r, op, 4, KG_F32, rank, n);
    p->score[5] = take(r, op, 5, KG_F32, n, rank);
}

static void check_head(reading *r, const kg_read_program *p) {
    const uint32_t n = r->f->n_tests, rule = KG_RULE_HEAD;
    require_positive(r, p->score[0], 0, (int)rule, "a residual_weight is not above 0");
    require_positive(r, p->score[1], 0, (int)rule, "an expected_square is not above 0");
    require_positive(r, p->score[2], 1, (int)rule, "a present_gain is below 0");
    require_positive(r, p->score[3], 1, (int)rule, "a present_offset is below 0");
    if (!r->c.what && (kg_little4(p->score[3]->data + 4 * (uint64_t)n) & INT32_MAX) != 0)
        kg_wrong(&r->c, (int)rule, "the last present_offset is not 0");
    if (p->min_present < 1 || p->min_present > n) kg_wrong(&r->c, (int)rule, "min_present is not 1 to the number of tests");
    if (p->head == KG_TOPK ? p->k < 1 || p->k > n : p->k != 0)
        kg_wrong(&r->c, (int)rule, "k is not 1 to the number of tests for topk, else 0");
}

static void read_score(reading *r, kg_read_program *p, const operation *op) {
    const uint32_t n = r->f->n_tests, y = (uint32_t)p->n_layers + U;
    const int is_whitened = op->params[0] == KG_MAHALANOBIS;
    require_inputs(r, op, U, y);
    require_lists(r, op, SCORE, is_whitened ? 6 : 4, 3);
    p->head = op->params[0], p->k = op->params[1], p->min_present = op->params[2];
    if (r->first) {
        require_same(r, op, &r->score);
        memcpy(p->score, r->first->score, sizeof p->score);
        return;
    }
    r->score = *op;
    use_tensors(r, op);
    if (p->head > KG_MAHALANOBIS) kg_wrong(&r->c, KG_RULE_CODES, "its head is not 0 to 3");
    for (uint32_t i = 0; i < 4; i++) p->score[i] = take(r, op, i, KG_F32, i < 2 ? n : n + 1, 0);
    if (is_whitened) read_directions(r, p, op);
    check_head(r, p);
}

/* What the buffers of a program with these layers are. */
static void check_shape(reading *r, kg_read_program *p, const uint32_t *widths, int32_t latent, int32_t reconstruction) {
    const int32_t last = p->n_layers + U;
    const int is_int8 = p->precision == KG_PRECISION_INT8;
    if (is_int8 && p->n_layers == 0) wrong_chain(r, "a program in int8 has no layer");
    if (widths[last] != r->f->n_tests) wrong_chain(r, "the reconstruction is not as wide as the die has tests");
    if (widths[last + 1] != 1) wrong_chain(r, "the score is not one number");
    if (reconstruction != (p->n_layers ? last : -1)) wrong_chain(r, "the reconstruction is not the last layer's output");
    if (latent != -1 && (latent < FIRST_LAYER || latent >= last)) wrong_chain(r, "the latent buffer is no inner layer's output");
    if (r->c.what) return;
    p->latent_layer = latent < FIRST_LAYER ? -1 : latent - FIRST_LAYER;
    if (r->first && (p->n_layers != r->first->n_layers || p->latent_layer != r->first->latent_layer))
        kg_wrong(&r->c, KG_RULE_TWO_PROGRAMS, "layers or latent buffer are others than in fp32");
}

static void read_operations(reading *r, kg_read_program *p, const uint32_t *widths, uint32_t n_ops) {
    for (uint32_t i = 0; i < n_ops && !r->c.what; i++) {
        kg_at(&r->c, p->precision ? "int8, operation" : "fp32, operation", i);
        const operation op = read_operation(&r->c);
        check_buffers(&r->c, &op, i, n_ops + 1);
        if (r->c.what) return;
        if (i == 0) read_standardise(r, p, &op);
        else if (i + 1 == n_ops) read_score(r, p, &op);
        else read_layer(r, p, &op, widths[i], widths[i + 1]);
    }
}

static void read_program(reading *r, kg_read_program *p) {
    uint32_t widths[MAX_BUFFERS];
    kg_at(&r->c, "program", r->first ? 1 : 0);
    p->precision = (int32_t)kg_within(&r->c, 0, 1, KG_RULE_CODES, "a precision is neither 0 nor 1");
    if (r->first && (r->first->precision != KG_PRECISION_FP32 || p->precision != KG_PRECISION_INT8))
        kg_wrong(&r->c, KG_RULE_TWO_PROGRAMS, "two programs are not fp32, then int8");
    const uint32_t n_buffers = kg_count(&r->c, 2, MAX_BUFFERS, 4, "the number of buffers is not 2 to 256");
    for (uint32_t i = 0; i < n_buffers; i++)
        widths[i] = kg_within(&r->c, 1, KG_MAX_WIDTH, KG_RULE_COUNTS, "a buffer's width is not 1 to 66,000");
    const int32_t latent = (int32_t)kg_u32(&r->c), reconstruction = (int32_t)kg_u32(&r->c);
    const uint32_t n_ops = kg_count(&r->c, 1, MAX_OPS, LEAST_OP, "the number of operations is not 1 to 256");
    if (n_ops != n_buffers - 1) kg_wrong(&r->c, KG_RULE_TOPOLOGY, "not every buffer but the first is written once");
    if (n_ops < 2) wrong_chain(r, "it has not both STANDARDISE and SCORE");
    if (widths[0] != r->f->n_tests || widths[U] != r->f->n_tests)
        wrong_chain(r, "values or u are not as wide as the die has tests");
    if (r->c.what) return;
    read_operations(r, p, widths, n_ops);
    if (r->c.what) return;
    kg_at(&r->c, "program", r->first ? 1 : 0);
    check_shape(r, p, widths, latent, reconstruction);
}

int32_t kg_read_programs(const kg_file *file, kg_contents *f, kg_message message) {
    reading r;
    memset(&r, 0, sizeof r);
    r.c = kg_start(file, KG_PROGRAM), r.f = f;
    kg_within(&r.c, 0, 3, KG_RULE_CODES, "the detector is not 0 to 3");
    f->n_programs = kg_count(&r.c, 1, 2, 4, "the number of programs is neither 1 nor 2");
    for (uint32_t i = 0; i < f->n_programs && !r.c.what; i++) {
        r.first = i ? &f->programs[0] : NULL;
        read_program(&r, &f->programs[i]);
    }
    kg_at(&r.c, NULL, 0);
    if (!r.c.what && r.n_used != f->n_tensors)
        kg_wrong(&r.c, KG_RULE_TENSOR_USE, "a tensor is used by no operation");
    const int32_t status = kg_finish(&r.c, KG_PROGRAM, message);
    return r.has_no_memory ? kg_no_memory(message) : status;
}
