/*
 * How much memory the library and an open model take of a host.
 *
 *     footprint libknowngood.so model.kgd
 *
 * Prints by how many bytes the process's resident memory grew from before the library was loaded to after
 * it had scored 1,000 dies, without the dies themselves, and by how many at most in between.
 */
#define _DEFAULT_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <knowngood.h>

enum { N_DIES = 1000, MAX_TESTS = 1024 };

static float values[N_DIES * MAX_TESTS], scores[N_DIES];
static int8_t verdicts[N_DIES], reasons[N_DIES];

/* A line of /proc/self/status, in bytes. */
static long status_of(const char *name) {
    char line[256];
    long kb = -1;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) exit(2);
    while (kb < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0) kb = atol(line + strlen(name));
    fclose(file);
    return kb * 1024;
}

/* POSIX has it that a symbol's address may become a function's. */
static void find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    if (!symbol) exit(2);
    memcpy(function, &symbol, sizeof symbol);
}

int main(int argc, char **argv) {
    int32_t (*open_file)(const char *, const kg_options *, kg_model **, char *, int64_t);
    int32_t (*n_tests)(const kg_model *);
    int64_t (*scratch_size)(const kg_model *);
    int32_t (*score)(const kg_model *, int32_t, int32_t, void *, const float *, const int32_t *, int64_t, float *,
                     int8_t *, int8_t *);
    kg_model *model;
    memset(values, 1, sizeof values); /* before anything is measured */
    memset(scores, 1, sizeof scores);
    memset(verdicts, 1, sizeof verdicts);
    memset(reasons, 1, sizeof reasons);
    status_of("VmRSS:");
    const long before = status_of("VmRSS:");
    void *library = argc == 3 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!library) return 2;
    find(library, "kg_open_file", &open_file);
    find(library, "kg_n_tests", &n_tests);
    find(library, "kg_scratch_size", &scratch_size);
    find(library, "kg_score", &score);
    if (open_file(argv[2], NULL, &model, NULL, 0) != KG_OK || n_tests(model) > MAX_TESTS) return 2;
    void *scratch = malloc((size_t)scratch_size(model));
    for (int32_t precision = 0; scratch && precision < 3; precision++)
        if (score(model, precision, 0, scratch, values, NULL, N_DIES, scores, verdicts, reasons) != KG_OK) return 2;
    printf("%ld now, %ld at most\n", status_of("VmRSS:") - before, status_of("VmHWM:") - before);
    return 0;
}
