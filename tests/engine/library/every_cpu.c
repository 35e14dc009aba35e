/*
 * Feigns every processor there could be: hides each subset of the features that the library asks for, one
 * subset to a child process, since the library asks once. Then, with every feature there, operating systems
 * that do not save the wider registers.
 *
 *     every_cpu model.kgd
 *
 * Each child must find the paths that its processor has, no others, take the fastest of them, and get the
 * model's golden scores with it. Prints how many children took which path.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "knowngood.h"

unsigned feigned_hidden_1c, feigned_hidden_7b, feigned_hidden_7c, feigned_unsaved;

typedef struct {
    unsigned *hidden;
    unsigned bit;
} feature;

static const feature FEATURES[] = {
    {&feigned_hidden_1c, bit_SSSE3},    {&feigned_hidden_1c, bit_SSE4_1},   {&feigned_hidden_1c, bit_FMA},
    {&feigned_hidden_1c, bit_OSXSAVE},  {&feigned_hidden_1c, bit_AVX},      {&feigned_hidden_7b, bit_AVX2},
    {&feigned_hidden_7b, bit_AVX512F},  {&feigned_hidden_7b, bit_AVX512DQ}, {&feigned_hidden_7b, bit_AVX512BW},
    {&feigned_hidden_7b, bit_AVX512VL}, {&feigned_hidden_7c, bit_AVX512VNNI}, {&feigned_hidden_7b, bit_SHA},
};
enum { N_FEATURES = sizeof FEATURES / sizeof *FEATURES, N_NAMES = 4 };

/* What a system saves, above the features in the same mask. */
enum { YMM = 1 << N_FEATURES, ZMM = 2 << N_FEATURES, SAVED = YMM | ZMM };

/* The features of the list that a path cannot do without, as a mask; the fastest path first. */
static const struct {
    const char *name;
    unsigned needs;
} PATHS[N_NAMES] = {{"avx512vnni", 0x7fc | SAVED}, {"avx2", 0x03c | YMM}, {"sse41", 0x003}, {"scalar", 0}};

static unsigned features_of_processor(void) {
    unsigned a, b, c, d, mask = 0;
    for (int i = 0; i < N_FEATURES; i++) {
        if (!__get_cpuid_count(FEATURES[i].hidden == &feigned_hidden_1c ? 1 : 7, 0, &a, &b, &c, &d)) continue;
        const unsigned word = FEATURES[i].hidden == &feigned_hidden_7b ? b : c;
        mask |= (word & FEATURES[i].bit) != 0 ? 1u << i : 0;
    }
    return mask;
}

static int opens(const char *file, const char *path, const char *expected) {
    char message[KG_MESSAGE_SIZE] = "";
    kg_model *model = NULL;
    kg_options options;
    kg_options_init(&options);
    options.cpu_path = path;
    const int32_t status = kg_open_file(file, &options, &model, message, sizeof message);
    const int is_right = expected ? status == KG_OK && strcmp(kg_model_cpu_path(model), expected) == 0
                                  : status == KG_ERROR_CPU_PATH;
    if (!is_right) fprintf(stderr, "path %s: status %d: %s\n", path ? path : "(any)", (int)status, message);
    kg_close(model);
    return is_right;
}

/* The number of the path that a processor with these features takes, or N_NAMES if anything is wrong. */
static int take_path(const char *file, unsigned features) {
    int fastest = N_NAMES;
    for (int i = 0; i < N_FEATURES; i++)
        if (!(features >> i & 1)) *FEATURES[i].hidden |= FEATURES[i].bit;
    feigned_unsaved = (features & YMM ? 0 : 0x4) | (features & ZMM ? 0 : 0xe0);
    for (int i = N_NAMES - 1; i >= 0; i--) {
        const int has = (features & PATHS[i].needs) == PATHS[i].needs;
        if (has) fastest = i;
        if (kg_cpu_path_is_supported(PATHS[i].name) != has) return N_NAMES;
        if (!opens(file, PATHS[i].name, has ? PATHS[i].name : NULL)) return N_NAMES;
    }
    return opens(file, NULL, PATHS[fastest].name) ? fastest : N_NAMES;
}

static int in_child(const char *file, unsigned features) {
    int status = 0;
    const pid_t child = fork();
    if (child == 0) _exit(take_path(file, features));
    if (child < 0 || waitpid(child, &status, 0) != child) exit(2);
    return WIFEXITED(status) ? WEXITSTATUS(status) : N_NAMES;
}

static void count(const char *file, unsigned features, long *n_took) {
    const int path = in_child(file, features);
    if (path == N_NAMES) fprintf(stderr, "wrong with features 0x%03x\n", features);
    n_took[path]++;
}

int main(int argc, char **argv) {
    const unsigned there = features_of_processor();
    long n_took[N_NAMES + 1] = {0};
    if (argc != 2) return 2;
    for (unsigned features = 0; features < 1u << N_FEATURES; features++)
        if (!(features & ~there)) count(argv[1], features | SAVED, n_took); /* none can be added */
    for (unsigned saved = 0; saved < SAVED; saved += YMM) count(argv[1], there | saved, n_took);
    for (int i = 0; i < N_NAMES; i++) printf("%s %ld, ", PATHS[i].name, n_took[i]);
    printf("wrong %ld\n", n_took[N_NAMES]);
    return n_took[N_NAMES] != 0;
}
