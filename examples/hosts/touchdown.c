/*
 * Scores one touchdown: dies in raw units from a file, on the screen their verdicts and, of a rejected die,
 * the test that contributes most.
 *
 *     touchdown [--model-id HEX] [--fpr 0.005] [--extrapolate] model.kgd values.f32
 *
 * values.f32 holds the dies row by row, each with one native float per test, NaN where a test is missing.
 * The columns are those of `knowngood inspect model.kgd --json`, schema.tests, in that order: a host that
 * was built for one order pins the model by its model_id, which covers it. Exit code: 0 if every die
 * passes, 1 if not, 2 for wrong use, 3 if a file is no good or not the one that was asked for.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <knowngood.h>

static const char *const VERDICTS[] = {"UNSCORED", "PASS", "REJECT"};
static const char *const REASONS[] = {"",            "no data", "too many missing", "not finite",  "range",
                                      "tester fail", "schema",  "deadline",         "engine fault"};

/* What is asked for. */
typedef struct {
    const char *model, *values;
    const char *model_id; /* NULL takes any model */
    double fpr;           /* 0 takes the file's default */
    int32_t extrapolate;
} request;

/* 1, or 0 for what is no request. */
static int parse(int argc, char **argv, request *r) {
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--extrapolate") == 0)
            r->extrapolate = 1;
        else if (strcmp(argv[i], "--model-id") == 0 && i + 1 < argc)
            r->model_id = argv[++i];
        else if (strcmp(argv[i], "--fpr") == 0 && i + 1 < argc && (r->fpr = strtod(argv[i + 1], NULL)) > 0)
            i++;
        else
            return 0;
    }
    if (argc - i != 2) return 0;
    r->model = argv[i], r->values = argv[i + 1];
    return 1;
}

/* 1 if it is the model that was asked for: tests and their order, layers, thresholds. */
static int is_asked_for(const kg_model *model, const request *r) {
    uint8_t id[32];
    char found[65];
    kg_digests(model, id, NULL);
    for (int i = 0; i < 32; i++) snprintf(found + 2 * i, 3, "%02x", id[i]);
    if (!r->model_id || strcmp(found, r->model_id) == 0) return 1;
    fprintf(stderr, "%s: expected model_id %s, found %s\n", r->model, r->model_id, found);
    return 0;
}

/* 1 with the operating point, or 0 and why it is refused. */
static int find_point(const kg_model *model, const request *r, int32_t *point) {
    const int32_t status = kg_find_point(model, KG_PRECISION_DEFAULT, r->fpr, r->extrapolate, point);
    if (status == KG_OK) return 1;
    fprintf(stderr, "%s: %s; --fpr takes", r->model, kg_status_text(status));
    for (int32_t p = 0; p < kg_n_points(model); p++) {
        double fpr = 0;
        int32_t supported = 0;
        kg_point(model, KG_PRECISION_DEFAULT, p, &fpr, NULL, &supported);
        fprintf(stderr, " %g%s", fpr, supported ? "" : " (too few dies: with --extrapolate only)");
    }
    fprintf(stderr, "\n");
    return 0;
}

/* The dies of a file, or NULL and why; a program on a tester has them in memory already. */
static float *read_dies(const char *path, int32_t n_tests, int64_t *n_dies) {
    const long row = (long)sizeof(float) * n_tests;
    FILE *file = fopen(path, "rb");
    float *values = NULL;
    long size = -1;
    if (file && fseek(file, 0, SEEK_END) == 0) size = ftell(file);
    if (size < 0)
        fprintf(stderr, "%s: cannot be read: %s\n", path, strerror(errno));
    else if (size == 0 || size % row)
        fprintf(stderr, "%s: %ld bytes are not whole dies of %d tests, %ld bytes each\n", path, size, (int)n_tests,
                row);
    else if (!(values = malloc((size_t)size)))
        fprintf(stderr, "%s: no memory for its dies\n", path);
    if (values && (rewind(file), fread(values, 1, (size_t)size, file) != (size_t)size)) {
        fprintf(stderr, "%s: cannot be read to its end\n", path);
        free(values), values = NULL;
    }
    if (file) fclose(file);
    *n_dies = values ? size / row : 0;
    return values;
}

/* What one thread scores with. */
typedef struct {
    const kg_model *model;
    int32_t point;
    void *scratch;
    float *scores;
    int8_t *verdicts, *reasons;
} screen;

static void print_die(const screen *s, const float *values, int64_t die) {
    int32_t column, n_found = 0;
    float z;
    double expected;
    if (s->verdicts[die] == KG_UNSCORED) {
        printf("die %lld: UNSCORED, %s\n", (long long)die, REASONS[s->reasons[die]]);
        return;
    }
    printf("die %lld: %s, score %.6g", (long long)die, VERDICTS[s->verdicts[die]], (double)s->scores[die]);
    if (s->verdicts[die] == KG_REJECT)
        kg_contributions(s->model, KG_PRECISION_DEFAULT, s->point, s->scratch, values, -1, 1, &column, &z, &expected,
                         &n_found);
    if (n_found) printf("; column %d reads %.6g, expected %.6g", (int)column, (double)values[column], expected);
    printf("\n");
}

static int print_dies(const screen *s, const float *values, int64_t n_dies) {
    const int32_t n_tests = kg_n_tests(s->model);
    int is_clean = 1;
    for (int64_t d = 0; d < n_dies; d++) {
        print_die(s, values + d * n_tests, d);
        is_clean &= s->verdicts[d] == KG_PASS;
    }
    return is_clean ? 0 : 1;
}

static int score(const screen *s, const float *values, int64_t n_dies) {
    const int32_t status = kg_score(s->model, KG_PRECISION_DEFAULT, s->point, s->scratch, values, NULL, n_dies,
                                    s->scores, s->verdicts, s->reasons);
    if (status == KG_OK) return print_dies(s, values, n_dies);
    fprintf(stderr, "%s\n", kg_status_text(status));
    return 3;
}

/* Everything is allocated here: a tester program does so once, before the first touchdown. */
static int score_file(const kg_model *model, int32_t point, const char *path) {
    int64_t n_dies = 0;
    int code = 3;
    float *values = read_dies(path, kg_n_tests(model), &n_dies);
    screen s = {.model = model, .point = point, .scratch = malloc((size_t)kg_scratch_size(model))};
    s.scores = calloc((size_t)n_dies + 1, sizeof *s.scores);
    s.verdicts = calloc((size_t)n_dies + 1, 1), s.reasons = calloc((size_t)n_dies + 1, 1);
    if (!s.scratch || !s.scores || !s.verdicts || !s.reasons)
        fprintf(stderr, "%s\n", kg_status_text(KG_ERROR_MEMORY));
    else if (values)
        code = score(&s, values, n_dies);
    free(s.reasons);
    free(s.verdicts);
    free(s.scores);
    free(s.scratch);
    free(values);
    return code;
}

int main(int argc, char **argv) {
    char message[KG_MESSAGE_SIZE];
    kg_model *model = NULL;
    int32_t point = 0;
    request r = {0};
    if (!parse(argc, argv, &r)) {
        fprintf(stderr, "usage: touchdown [--model-id HEX] [--fpr 0.005] [--extrapolate] model.kgd values.f32\n");
        return 2;
    }
    if (kg_open_file(r.model, NULL, &model, message, sizeof message) != KG_OK) {
        fprintf(stderr, "%s: %s\n", r.model, message);
        return 3;
    }
    const int is_usable = is_asked_for(model, &r) && find_point(model, &r, &point);
    const int code = is_usable ? score_file(model, point, r.values) : 3;
    kg_close(model);
    return code;
}
