/*
 * The sections of a .kgd file behind its model: points, golden, and the texts for people, of which an
 * engine needs nothing. docs/format.md.
 */
#include "read.h"

#include "knowngood.h"

enum { MAX_TEXT = 128 * 1024, MAX_VALUES = 8192, DIGEST = 32 };
enum { LEAST_POINT = 8 + 4 + 8 + 8 + 4 + 4 };

static void read_threshold(kg_cursor *c, kg_operating_point *point, int32_t precision) {
    point->threshold[precision] = kg_f32(c);
    kg_f64(c); /* the sampling interval of the threshold, */
    kg_f64(c);
    kg_u32(c); /* and the dies that it rests on, are for people */
    point->supported[precision] = (int32_t)kg_within(c, 0, 1, KG_RULE_CODES, "'supported' is neither 0 nor 1");
}

static void read_band(kg_cursor *c, kg_operating_point *point) {
    const float t = point->threshold[KG_PRECISION_FP32];
    point->lo = kg_f32(c);
    point->hi = kg_f32(c);
    if (!(point->lo <= t && t <= point->hi)) kg_wrong(c, KG_RULE_BANDS, "its band is not around the threshold of fp32");
}

static void read_limits(kg_cursor *c, kg_contents *f) {
    const uint32_t n_layers = (uint32_t)f->programs[0].n_layers;
    f->n_limits = kg_u32(c);
    if (f->n_limits && (f->n_limits != n_layers || f->n_programs != 2)) {
        kg_wrong(c, KG_RULE_POINTS, "the number of limits is neither 0 nor, with both precisions, that of the layers");
        f->n_limits = 0;
    }
    for (uint32_t i = 0; i < f->n_limits && !c->what; i++) {
        f->limits[i] = kg_f32(c);
        if (!(f->limits[i] > 0)) kg_wrong(c, KG_RULE_POINTS, "a limit is not above 0");
    }
}

static void read_point(kg_cursor *c, kg_contents *f, kg_operating_point *point, double last) {
    point->fpr = kg_f64(c);
    if (!(point->fpr > last && point->fpr < 1))
        kg_wrong(c, KG_RULE_YIELD_LOSSES, "yield losses do not ascend within (0, 1)");
    for (uint32_t p = 0; p < f->n_programs; p++) read_threshold(c, point, f->programs[p].precision);
    if (f->n_limits) read_band(c, point);
}

static int32_t read_points(const kg_file *file, kg_contents *f, kg_message message) {
    kg_cursor c = kg_start(file, KG_POINTS);
    int has_default = 0;
    f->default_fpr = kg_f64(&c);
    f->n_points = kg_count(&c, 1, KG_MAX_POINTS, LEAST_POINT, "the number of points is not 1 to 64");
    if (kg_u32(&c) != f->n_programs) kg_wrong(&c, KG_RULE_POINTS, "thresholds are not those of the programs");
    read_limits(&c, f);
    for (uint32_t i = 0; i < f->n_points && !c.what; i++) {
        kg_at(&c, "point", i);
        read_point(&c, f, &f->points[i], i ? f->points[i - 1].fpr : 0);
        if (f->points[i].fpr == f->default_fpr) f->default_point = i, has_default = 1;
    }
    kg_at(&c, NULL, 0);
    if (!has_default) kg_wrong(&c, KG_RULE_YIELD_LOSSES, "the default yield loss is not listed");
    return kg_finish(&c, KG_POINTS, message);
}

/* A score is finite, or the quiet NaN that stands for none; one at least is a score. */
static void check_scores(kg_cursor *c, const uint8_t *bits, uint32_t n) {
    uint32_t n_scores = 0;
    for (uint32_t i = 0; bits && i < n; i++) {
        const uint32_t score = kg_little4(bits + 4 * (uint64_t)i);
        const int is_finite = (score & 0x7f800000u) != 0x7f800000u;
        n_scores += (uint32_t)is_finite;
        if (!is_finite && score != 0x7fc00000u)
            kg_wrong(c, KG_RULE_GOLDEN, "a score is neither finite nor 0x7fc00000");
    }
    if (!n_scores) kg_wrong(c, KG_RULE_GOLDEN, "no die has a score");
}

static int32_t read_golden(const kg_file *file, kg_contents *f, kg_message message) {
    kg_cursor c = kg_start(file, KG_GOLDEN);
    f->n_golden = kg_count(&c, 1, KG_MAX_GOLDEN, 4 * f->n_tests + 4, "the number of dies is not 1 to 64");
    if (kg_u32(&c) != f->n_programs) kg_wrong(&c, KG_RULE_GOLDEN, "scores are not those of the programs");
    f->golden_values = kg_take(&c, 4 * (uint64_t)f->n_tests * f->n_golden);
    f->golden_group = kg_take(&c, 4 * (uint64_t)f->n_golden);
    for (uint32_t p = 0; p < f->n_programs; p++) {
        f->golden_bits[p] = kg_take(&c, 4 * (uint64_t)f->n_golden);
        f->golden_digest[p] = kg_take(&c, DIGEST);
        check_scores(&c, f->golden_bits[p], f->n_golden);
    }
    return kg_finish(&c, KG_GOLDEN, message);
}

/*
 * JSON for people stays unread: that it is small and ASCII is what keeps others' readers of it safe,
 * that it is JSON in canonical form is theirs to check.
 */
static int32_t check_text(const kg_file *file, int section, kg_message message) {
    kg_cursor c = kg_start(file, section);
    const uint64_t size = kg_left(&c);
    const uint8_t *text = kg_take(&c, size);
    uint32_t n_values = 0;
    if (size > MAX_TEXT) kg_wrong(&c, KG_RULE_JSON_SIZE, "larger than 128 KiB");
    for (uint64_t i = 0; !c.what && i < size; i++) {
        if (text[i] >= 0x80) kg_wrong(&c, KG_RULE_JSON, "not ASCII");
        n_values += text[i] == '[' || text[i] == '{' || text[i] == ',' || text[i] == ':';
    }
    if (n_values > MAX_VALUES) kg_wrong(&c, KG_RULE_JSON_SIZE, "more than 8,192 bytes that are '[', '{', ',' or ':'");
    return kg_finish(&c, section, message);
}

int32_t kg_read(const kg_file *file, kg_contents *contents, kg_message message) {
    int32_t status = kg_read_schema(file, contents, message);
    if (status == KG_OK) status = kg_read_tensors(file, contents, message);
    if (status == KG_OK) status = kg_read_programs(file, contents, message);
    if (status == KG_OK) status = read_points(file, contents, message);
    if (status == KG_OK) status = read_golden(file, contents, message);
    if (status == KG_OK) status = check_text(file, KG_MANIFEST, message);
    if (status == KG_OK && file->sections[KG_CERTIFICATE].size) status = check_text(file, KG_CERTIFICATE, message);
    return status;
}
