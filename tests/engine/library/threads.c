/*
 * Many threads on one model, each with a scratch of its own, for a race detector.
 *
 *     threads model.kgd N_THREADS N_CALLS
 *
 * The threads open the file before anything else has used the library, and close what they opened; then they
 * share one model, and every score, reconstruction and contribution must be that of a thread alone.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <knowngood.h>

enum { N_DIES = 19, N_TOP = 4, MAX_THREADS = 64 };

/* What a call gives for all dies, the first n of them filled. */
typedef struct {
    float scores[N_DIES];
    int8_t verdicts[N_DIES], reasons[N_DIES];
    int32_t columns[N_TOP], n_found;
    float z[N_TOP];
    double expected[N_TOP];
    float *y;
} answer;

typedef struct {
    const char *path;
    kg_model *model;
    float *values;
    long n_calls;
    answer alone[3];
} job;

static void *allocate(size_t size) {
    void *block = calloc(size, 1);
    if (!block) exit(2);
    return block;
}

static float *rows(const kg_model *m) { return allocate(sizeof(float) * N_DIES * (size_t)kg_n_tests(m)); }

static int ask(const job *j, int32_t p, int64_t n, void *scratch, answer *a) {
    const kg_model *m = j->model;
    int32_t status = kg_score(m, p, 0, scratch, j->values, NULL, n, a->scores, a->verdicts, a->reasons);
    status |= kg_reconstruct(m, p, 0, scratch, j->values, NULL, n, a->y, NULL);
    status |= kg_contributions(m, p, 0, scratch, j->values, -1, N_TOP, a->columns, a->z, a->expected, &a->n_found);
    return status == KG_OK;
}

static int is_same(const answer *a, const answer *b, size_t n, size_t n_tests) {
    return memcmp(a->scores, b->scores, n * sizeof *a->scores) == 0 && memcmp(a->verdicts, b->verdicts, n) == 0 &&
           memcmp(a->reasons, b->reasons, n) == 0 && memcmp(a->y, b->y, n * n_tests * sizeof *a->y) == 0 &&
           a->n_found == b->n_found && memcmp(a->columns, b->columns, (size_t)a->n_found * sizeof *a->columns) == 0 &&
           memcmp(a->z, b->z, (size_t)a->n_found * sizeof *a->z) == 0;
}

static void *open_and_close(void *argument) {
    const job *j = argument;
    kg_model *model = NULL;
    const int32_t status = kg_open_file(j->path, NULL, &model, NULL, 0);
    kg_close(model);
    return (void *)(size_t)(status != KG_OK);
}

static void *keep_scoring(void *argument) {
    const job *j = argument;
    void *scratch = allocate((size_t)kg_scratch_size(j->model));
    answer found = {.y = rows(j->model)};
    size_t n_wrong = 0;
    for (long i = 0; i < j->n_calls; i++) {
        const int32_t p = (int32_t)(i % 3);
        const int64_t n = i % (N_DIES + 1);
        n_wrong += !ask(j, p, n, scratch, &found) ||
                   !is_same(&found, &j->alone[p], (size_t)n, (size_t)kg_n_tests(j->model));
    }
    free(found.y);
    free(scratch);
    return (void *)n_wrong;
}

/* How often it went wrong in all threads together. */
static size_t in_threads(int n_threads, void *(*what)(void *), job *j) {
    pthread_t threads[MAX_THREADS];
    size_t n_wrong = 0;
    for (int t = 0; t < n_threads; t++)
        if (pthread_create(&threads[t], NULL, what, j)) exit(2);
    for (int t = 0; t < n_threads; t++) {
        void *wrong;
        pthread_join(threads[t], &wrong);
        n_wrong += (size_t)wrong;
    }
    return n_wrong;
}

static void score_alone(job *j) {
    void *scratch = allocate((size_t)kg_scratch_size(j->model));
    j->values = rows(j->model);
    for (size_t i = 0; i < N_DIES * (size_t)kg_n_tests(j->model); i++)
        j->values[i] = (float)(i * 2654435761u % 1000) * 0.01f;
    for (int32_t p = 0; p < 3; p++) {
        j->alone[p].y = rows(j->model);
        if (!ask(j, p, N_DIES, scratch, &j->alone[p])) exit(2);
    }
    free(scratch);
}

int main(int argc, char **argv) {
    static job j;
    const int n_threads = argc == 4 ? atoi(argv[2]) : 0;
    if (n_threads < 1 || n_threads > MAX_THREADS) return 2;
    j.path = argv[1], j.n_calls = atol(argv[3]);
    size_t n_wrong = in_threads(n_threads, open_and_close, &j);
    if (kg_open_file(j.path, NULL, &j.model, NULL, 0) != KG_OK) return 2;
    score_alone(&j);
    n_wrong += in_threads(n_threads, keep_scoring, &j);
    printf("wrong %zu\n", n_wrong);
    for (int p = 0; p < 3; p++) free(j.alone[p].y);
    free(j.values);
    kg_close(j.model);
    return n_wrong != 0;
}
