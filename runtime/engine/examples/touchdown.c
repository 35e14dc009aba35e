/*
 * Scores one touchdown: dies in raw units from a file, their verdicts on the screen.
 *
 *     touchdown model.kgd values.f32
 *
 * values.f32 holds the dies row by row, each with one native float per test in the model's order, NaN
 * where a test is missing. Exit code: 0 if every die passes, 1 if not, 3 if a file is no good.
 */
#include <stdio.h>
#include <stdlib.h>

#include <knowngood.h>

static const char *const VERDICTS[] = {"UNSCORED", "PASS", "REJECT"};
static const char *const REASONS[] = {"",            "no data", "too many missing", "not finite",  "range",
                                      "tester fail", "schema",  "deadline",         "engine fault"};

/* The dies of a file, or NULL; a program on a tester has them in memory already. */
static float *read_dies(const char *path, int32_t n_tests, int64_t *n_dies) {
    FILE *file = fopen(path, "rb");
    float *values = NULL;
    long size = 0;
    if (!file) return NULL;
    if (fseek(file, 0, SEEK_END) == 0) size = ftell(file);
    *n_dies = size / ((long)sizeof(float) * n_tests);
    if (size > 0 && *n_dies * n_tests * (long)sizeof(float) == size) values = malloc((size_t)size);
    rewind(file);
    if (values && fread(values, 1, (size_t)size, file) != (size_t)size) {
        free(values);
        values = NULL;
    }
    fclose(file);
    return values;
}

static int print_verdicts(int64_t n_dies, const float *scores, const int8_t *verdicts, const int8_t *reasons) {
    int is_clean = 1;
    for (int64_t d = 0; d < n_dies; d++) {
        if (verdicts[d] == KG_UNSCORED)
            printf("die %lld: UNSCORED, %s\n", (long long)d, REASONS[reasons[d]]);
        else
            printf("die %lld: %s, score %.6g\n", (long long)d, VERDICTS[verdicts[d]], (double)scores[d]);
        is_clean &= verdicts[d] == KG_PASS;
    }
    return is_clean ? 0 : 1;
}

static int score(const kg_model *model, const char *path) {
    int64_t n_dies = 0;
    int32_t point = 0;
    int status = kg_find_point(model, KG_PRECISION_DEFAULT, 0, 1, &point);
    float *values = read_dies(path, kg_n_tests(model), &n_dies);
    float *scores = calloc((size_t)n_dies + 1, sizeof *scores);
    int8_t *verdicts = calloc((size_t)n_dies + 1, 1), *reasons = calloc((size_t)n_dies + 1, 1);
    void *scratch = malloc((size_t)kg_scratch_size(model)); /* once for each thread that scores */
    if (!values) fprintf(stderr, "%s: not whole dies of %d tests\n", path, (int)kg_n_tests(model));
    else if (status == KG_OK && scores && verdicts && reasons && scratch)
        status = kg_score(model, KG_PRECISION_DEFAULT, point, scratch, values, NULL, n_dies, scores, verdicts, reasons);
    if (status != KG_OK) fprintf(stderr, "%s\n", kg_status_text(status));
    const int code = !values || status != KG_OK ? 3 : print_verdicts(n_dies, scores, verdicts, reasons);
    free(scratch);
    free(reasons);
    free(verdicts);
    free(scores);
    free(values);
    return code;
}

int main(int argc, char **argv) {
    char message[KG_MESSAGE_SIZE];
    kg_model *model = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: touchdown model.kgd values.f32\n");
        return 2;
    }
    if (kg_open_file(argv[1], NULL, &model, message, sizeof message) != KG_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], message);
        return 3;
    }
    const int code = score(model, argv[2]);
    kg_close(model);
    return code;
}
