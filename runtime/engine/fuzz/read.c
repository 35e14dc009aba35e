/* libFuzzer target: any bytes as a file. Seeds: a few .kgd files of each kind. */
#include <stddef.h>

#include "exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    exercise(data, size);
    return 0;
}
