/* The paths of the library, the fastest first, and the choice of one. */
#include <string.h>

#include "model.h"

extern const kg_kernels kg_avx512vnni, kg_avx2, kg_sse41, kg_neondotprod, kg_neon, kg_scalar;

static const kg_kernels *const PATHS[] = {
#if defined(__x86_64__) && defined(__GNUC__)
    &kg_avx512vnni, &kg_avx2, &kg_sse41,
#elif defined(__AARCH64EL__) && defined(__GNUC__)
    &kg_neondotprod, &kg_neon,
#endif
    &kg_scalar,
};

enum { N_PATHS = sizeof PATHS / sizeof *PATHS };

const kg_kernels *kg_choose_kernels(const char *name) {
    for (int i = 0; i < N_PATHS; i++)
        if ((!name || strcmp(name, PATHS[i]->name) == 0) && PATHS[i]->is_supported()) return PATHS[i];
    return NULL;
}

const char *kg_cpu_path_name(int32_t index) {
    return index >= 0 && index < N_PATHS ? PATHS[index]->name : NULL;
}

int32_t kg_cpu_path_is_supported(const char *path) { return path && kg_choose_kernels(path) != NULL; }
