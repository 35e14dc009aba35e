/*
 * Scores many times and counts what that asks of the C library and of the system.
 *
 *     quiet_host model.kgd N_CALLS
 *
 * Between two calls of getppid, which a tracer sees, there is nothing but scoring, in every precision and
 * with 0 to 17 dies. Prints how often blocks of memory were taken and given back while the model was opened and
 * while it scored, by how many bytes the process grew meanwhile, and how many calls went wrong.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <knowngood.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static long n_taken, n_given_back;

/* The library's calls of these land here: the host's symbols come first. */
void *malloc(size_t size) {
    n_taken++;
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size) {
    n_taken++;
    return __libc_calloc(n, size);
}
void *realloc(void *old, size_t size) {
    n_taken++;
    return __libc_realloc(old, size);
}
void *memalign(size_t alignment, size_t size) {
    n_taken++;
    return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = memalign(alignment, size);
    return *block ? 0 : 12;
}
void free(void *block) {
    n_given_back += block != NULL;
    __libc_free(block);
}

enum { N_DIES = 17, N_TOP = 5 };

typedef struct {
    const kg_model *model;
    void *scratch;
    float *values, *y, *latent;
    int32_t group[N_DIES];
    float scores[N_DIES], expected[3][N_DIES];
    int8_t verdicts[N_DIES], reasons[N_DIES];
} host;

/* Every function that scores; 1 if one of them fails. */
static int call(host *h, int32_t precision, int64_t n) {
    int32_t columns[N_TOP], n_found;
    float z[N_TOP];
    double expected[N_TOP];
    const kg_model *m = h->model;
    int32_t status = kg_score(m, precision, 0, h->scratch, h->values, h->group, n, h->scores, h->verdicts, h->reasons);
    status |= kg_reconstruct(m, precision, 0, h->scratch, h->values, h->group, n, h->y, kg_n_latent(m) ? h->latent : NULL);
    status |= kg_contributions(m, precision, 0, h->scratch, h->values, h->group[0], N_TOP, columns, z, expected, &n_found);
    return status != KG_OK || n_found == 0;
}

static long score_many_times(host *h, long n_calls) {
    long n_wrong = 0;
    for (long i = 0; i < n_calls; i++) {
        const int32_t p = (int32_t)(i % 3);
        const int64_t n = i / 3 % (N_DIES + 1);
        n_wrong += call(h, p, n) || memcmp(h->scores, h->expected[p], sizeof(float) * (size_t)n) != 0;
    }
    return n_wrong;
}

/* Bytes that the process holds of memory (resident) and has asked for (virtual), together. */
static long held(void) {
    long virtual_pages = 0, resident_pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &virtual_pages, &resident_pages) != 2) exit(2);
    fclose(file);
    return (virtual_pages + resident_pages) * sysconf(_SC_PAGESIZE);
}

static void prepare(host *h) {
    const size_t n_values = N_DIES * (size_t)kg_n_tests(h->model);
    h->scratch = malloc((size_t)kg_scratch_size(h->model));
    h->values = calloc(n_values, sizeof(float));
    h->y = calloc(n_values, sizeof(float));
    h->latent = calloc(N_DIES * (size_t)kg_n_latent(h->model) + 1, sizeof(float));
    if (!h->scratch || !h->values || !h->y || !h->latent) exit(2);
    for (size_t i = 0; i < n_values; i++) h->values[i] = (float)(i * 2654435761u % 1000) * 0.01f;
    memset(h->values + n_values / 2, 0xff, n_values / 5 * sizeof(float)); /* missing tests, and whole dies of them */
    for (int d = 0; d < N_DIES; d++) h->group[d] = d % 4 - 1;
    for (int32_t p = 0; p < 3; p++) {
        if (call(h, p, N_DIES)) exit(2);
        memcpy(h->expected[p], h->scores, sizeof h->scores);
    }
}

int main(int argc, char **argv) {
    static host h;
    kg_model *model;
    if (argc != 3 || kg_open_file(argv[1], NULL, &model, NULL, 0) != KG_OK) return 2;
    h.model = model;
    const long taken_to_open = n_taken;
    prepare(&h);
    const long n_each = 3 * (N_DIES + 1); /* calls of every precision and number of dies */
    score_many_times(&h, n_each);
    held(); /* the first time's code and buffers stay */
    const long before = held(), taken_before = n_taken, given_back_before = n_given_back;
    getppid();
    const long n_wrong = score_many_times(&h, atol(argv[2]));
    getppid();
    const long taken = n_taken - taken_before, given_back = n_given_back - given_back_before;
    printf("opening took %ld, scoring took %ld, gave back %ld, grew by %ld, wrong %ld\n", taken_to_open, taken, given_back,
           held() - before, n_wrong);
    free(h.latent);
    free(h.y);
    free(h.values);
    free(h.scratch);
    kg_close(model);
    return n_wrong != 0;
}
