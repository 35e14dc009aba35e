/* What a host may ask about an open model and about the library. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "model.h"

int32_t kg_actual_precision(const kg_model *m, int32_t precision) {
    if (precision != KG_PRECISION_DEFAULT) return precision;
    return m->has_bands ? KG_PRECISION_VERIFIED : m->has[KG_PRECISION_INT8] ? KG_PRECISION_INT8 : KG_PRECISION_FP32;
}

int32_t kg_has_precision(const kg_model *m, int32_t precision) {
    if (!m) return 0;
    precision = kg_actual_precision(m, precision);
    if (precision == KG_PRECISION_VERIFIED) return m->has_bands;
    return precision == KG_PRECISION_FP32 || precision == KG_PRECISION_INT8 ? m->has[precision] : 0;
}

void kg_options_init(kg_options *options) {
    if (!options) return;
    memset(options, 0, sizeof *options);
    options->size = (int64_t)sizeof *options;
}

const char *kg_version(void) { return KG_VERSION; }

const char *kg_status_text(int32_t status) {
    static const char *const texts[] = {
        "done",
        "an argument is not what it must be",
        "no memory left",
        "the file cannot be read",
        "not a .kgd file, or one that breaks a rule of its format",
        "the file was made for a newer reader",
        "the file is damaged or cut off",
        "the file's golden dies get other scores here than where it was made",
        "the file has no such operating point",
        "the operating point rests on too few dies",
        "the file does not offer this precision",
        "the library has no such CPU path, or this processor does not have it",
    };
    const int32_t n = sizeof texts / sizeof *texts;
    return status >= 0 && status < n ? texts[status] : "an unknown status";
}

const char *kg_model_cpu_path(const kg_model *m) { return m ? m->kernels->name : NULL; }
int32_t kg_n_tests(const kg_model *m) { return m ? m->n_tests : 0; }
int32_t kg_n_points(const kg_model *m) { return m ? m->n_points : 0; }

int32_t kg_n_latent(const kg_model *m) {
    return m && m->latent_layer >= 0 ? m->layers[m->latent_layer].n_out : 0;
}

void kg_digests(const kg_model *m, uint8_t *model_id, uint8_t *file_digest) {
    if (m && model_id) memcpy(model_id, m->model_id, 32);
    if (m && file_digest) memcpy(file_digest, m->file_digest, 32);
}

/* Verified verdicts compare with the threshold of fp32. */
static int32_t column(const kg_model *m, int32_t precision) {
    return kg_actual_precision(m, precision) == KG_PRECISION_INT8 ? KG_PRECISION_INT8 : KG_PRECISION_FP32;
}

int32_t kg_point(const kg_model *m, int32_t precision, int32_t index, double *fpr, float *threshold,
                 int32_t *supported) {
    if (!m) return KG_ERROR_USE;
    if (!kg_has_precision(m, precision)) return KG_ERROR_PRECISION;
    if (index < 0 || index >= m->n_points) return KG_ERROR_POINT;
    const kg_operating_point *point = &m->points[index];
    if (fpr) *fpr = point->fpr;
    if (threshold) *threshold = point->threshold[column(m, precision)];
    if (supported) *supported = point->supported[column(m, precision)];
    return KG_OK;
}

/* Hosts have 0.005f, and decimals from text. */
static int is_same(double a, double b) { return fabs(a - b) <= 1e-6 * fabs(a); }

int32_t kg_find_point(const kg_model *m, int32_t precision, double fpr, int32_t extrapolate, int32_t *index) {
    if (!m || !index) return KG_ERROR_USE;
    if (!kg_has_precision(m, precision)) return KG_ERROR_PRECISION;
    int32_t found = fpr == 0 ? m->default_point : 0;
    while (fpr != 0 && found < m->n_points && !is_same(m->points[found].fpr, fpr)) found++;
    if (found == m->n_points) return KG_ERROR_POINT;
    if (!m->points[found].supported[column(m, precision)] && !extrapolate) return KG_ERROR_UNSUPPORTED;
    *index = found;
    return KG_OK;
}
