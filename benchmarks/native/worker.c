/*
 * The engine called from C, and the limits of the processor, timed on request.
 *
 * usage: worker MODEL.kgd WEIGHT_BYTES [CPU_PATH]
 *
 * It first prints how many contestants it has, and a line for each: engine, precision, configuration, version, and what a
 * call does of which unit, with tabs between. Then it answers requests, a line each:
 *
 *     prepare CONTESTANT N_DIES FILE     take the float32 values of so many dies from now on
 *     answer CONTESTANT FILE             call once; write the scores as float32 and the verdicts as int8
 *     time CONTESTANT N_CALLS hot|cold   call so often; answer with the nanoseconds of each
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chill.h"
#include "knowngood.h"
#include "limits.h"

#define MAX_LIMITS 6
#define MAX_CONTESTANTS 16
#define SWEEPS 16 /* of the memory in one call, so that reading the clock does not count */
#define PAGE 4096
#define N_CONTRIBUTIONS 5
#define ONE_EXPLAINED_IN 100 /* dies: twice as many as the default yield loss flags */

static kg_model *model;
static int32_t point;
static void *scratch, *memory;
static size_t memory_size;

static int32_t n_dies;
static float *values, *scores;
static int8_t *verdicts, *reasons;

/* Scores in a precision, reads memory, computes, or does nothing: whichever is set. */
typedef struct {
    const char *engine, *precision, *configuration, *version;
    int32_t kg_precision, explains; /* explains: with the contributions of some dies */
    limit limit;
} contestant;

static contestant contestants[MAX_CONTESTANTS];
static int32_t n_contestants;

static void fail(const char *text) {
    printf("error %s\n", text);
    fflush(stdout);
    exit(1);
}

static int64_t explain_some(int32_t precision) {
    int32_t columns[N_CONTRIBUTIONS], n_found, status = KG_OK;
    float z[N_CONTRIBUTIONS];
    double expected[N_CONTRIBUTIONS];
    for (int32_t die = 0; die < n_dies / ONE_EXPLAINED_IN && status == KG_OK; die++)
        status = kg_contributions(model, precision, point, scratch, values + (int64_t)die * kg_n_tests(model), -1,
                                  N_CONTRIBUTIONS, columns, z, expected, &n_found);
    return status;
}

static int64_t score(const contestant *c) {
    const int32_t status =
        kg_score(model, c->kg_precision, point, scratch, values, NULL, n_dies, scores, verdicts, reasons);
    return status == KG_OK && c->explains ? explain_some(c->kg_precision) : status;
}

static int64_t call(const contestant *c) {
    if (c->kg_precision != KG_PRECISION_DEFAULT) return score(c);
    if (!c->limit.work) return 0;
    int64_t amount = 0;
    const int n_sweeps = strcmp(c->limit.what, "read") ? 1 : SWEEPS;
    for (int i = 0; i < n_sweeps; i++) amount += c->limit.work(memory, memory_size);
    return amount;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void prepare(const char *request) {
    int32_t number, used;
    if (sscanf(request, "%" SCNd32 " %" SCNd32 " %" SCNd32, &number, &n_dies, &used) < 2) fail("prepare what?");
    const char *path = strchr(strchr(request, ' ') + 1, ' ') + 1;
    const size_t size = (size_t)n_dies * (size_t)kg_n_tests(model);
    FILE *file = fopen(path, "rb");
    values = realloc(values, size * sizeof *values);
    scores = realloc(scores, (size_t)n_dies * sizeof *scores);
    verdicts = realloc(verdicts, (size_t)n_dies), reasons = realloc(reasons, (size_t)n_dies);
    if (!file || !values || !scores || !verdicts || !reasons) fail("no memory, or no such file");
    if (fread(values, sizeof *values, size, file) != size) fail("the file holds fewer dies");
    fclose(file);
    puts("ok");
}

static void answer(const char *request) {
    const contestant *c = &contestants[atoi(request)];
    const int64_t status = call(c);
    FILE *file = fopen(strchr(request, ' ') + 1, "wb");
    if (status != KG_OK) fail(kg_status_text((int32_t)status));
    if (!file) fail("cannot write the answer");
    fwrite(scores, sizeof *scores, (size_t)n_dies, file);
    fwrite(verdicts, 1, (size_t)n_dies, file);
    if (fclose(file)) fail("cannot write the answer");
    puts("ok");
}

static void time_calls(const char *request) {
    int32_t number, n_calls;
    char temperature[8];
    if (sscanf(request, "%" SCNd32 " %" SCNd32 " %7s", &number, &n_calls, temperature) != 3) fail("time what?");
    const contestant *c = &contestants[number];
    const int is_cold = !strcmp(temperature, "cold");
    int64_t *ns = malloc((size_t)n_calls * sizeof *ns);
    if (!ns) fail("no memory");
    for (int32_t i = 0; i < 3 + n_calls / 10; i++) call(c);
    for (int32_t i = 0; i < n_calls; i++) {
        if (is_cold && !chill()) fail("no memory");
        const int64_t start = now_ns();
        call(c);
        ns[i] = now_ns() - start;
    }
    fputs("ns", stdout);
    for (int32_t i = 0; i < n_calls; i++) printf(" %" PRId64, ns[i]);
    puts("");
    free(ns);
}

static void add_scoring(const char *precision, int32_t kg_precision, const char *configuration, int32_t explains) {
    if (kg_has_precision(model, kg_precision))
        contestants[n_contestants++] =
            (contestant){"knowngood", precision, configuration, kg_version(), kg_precision, explains, {0}};
}

static void add_limits(const char *engine, const limit *found, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        contestants[n_contestants++] =
            (contestant){engine, found[i].what, found[i].instruction, "", KG_PRECISION_DEFAULT, 0, found[i]};
}

static void introduce(void) {
    printf("contestants %" PRId32 "\n", n_contestants);
    for (int32_t i = 0; i < n_contestants; i++) {
        const contestant *c = &contestants[i];
        const int64_t amount = c->limit.work ? call(c) : 0;
        const int64_t n_instructions = amount ? amount / c->limit.per_instruction : 0;
        printf("%s\t%s\t%s\t%s\t%" PRId64 "\t%" PRId64 "\n", c->engine, c->precision, c->configuration, c->version,
               amount, n_instructions);
    }
}

static void open_model(const char *path, const char *cpu_path) {
    char message[KG_MESSAGE_SIZE];
    kg_options options;
    kg_options_init(&options);
    options.cpu_path = cpu_path;
    if (kg_open_file(path, &options, &model, message, sizeof message) != KG_OK) fail(message);
    if (kg_find_point(model, KG_PRECISION_FP32, 0, 1, &point) != KG_OK) fail("no operating point");
    scratch = malloc((size_t)kg_scratch_size(model));
    if (!scratch) fail("no memory");
}

int main(int argc, char **argv) {
    limit found[MAX_LIMITS];
    if (argc < 3) fail("usage: worker MODEL.kgd WEIGHT_BYTES [CPU_PATH]");
    memory_size = ((size_t)strtoull(argv[2], NULL, 10) + 511) / 512 * 512;
    memory = aligned_alloc(PAGE, (memory_size + PAGE - 1) / PAGE * PAGE);
    if (!memory) fail("no memory");
    memset(memory, 1, memory_size);
    open_model(argv[1], argc > 3 ? argv[3] : NULL);
    add_scoring("int8", KG_PRECISION_INT8, "from C", 0);
    add_scoring("int8", KG_PRECISION_INT8, "from C, with contributions", 1);
    add_scoring("fp32", KG_PRECISION_FP32, "from C", 0);
    add_scoring("verified", KG_PRECISION_VERIFIED, "from C", 0);
    if (argc > 3) {
        add_limits("limit", found, find_avx2_limits(found, MAX_LIMITS));
    } else {
        add_limits("limit", found, find_limits(found, MAX_LIMITS));
        contestants[n_contestants++] =
            (contestant){"nothing", "", "from C", "", KG_PRECISION_DEFAULT, 0, {0}};
    }
    introduce();
    fflush(stdout);
    char request[PAGE];
    while (fgets(request, sizeof request, stdin)) {
        request[strcspn(request, "\n")] = 0;
        if (!strncmp(request, "prepare ", 8)) prepare(request + 8);
        else if (!strncmp(request, "answer ", 7)) answer(request + 7);
        else if (!strncmp(request, "time ", 5)) time_calls(request + 5);
        else fail(request);
        fflush(stdout);
    }
    kg_close(model);
    return 0;
}
