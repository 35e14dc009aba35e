#include "pack.h"

#include <string.h>

#include "model.h"

/* A block's place: n_rows of its 16 rows are there, and units of a row are step bytes apart. */
typedef struct {
    const uint8_t *from;
    uint8_t *to;
    int64_t n_rows, row_size, step;
} block;

void kg_to_little(void *numbers, uint64_t n, int size) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    uint8_t *p = numbers;
    for (; n; n--, p += size)
        for (int i = 0; i < size / 2; i++) {
            const uint8_t byte = p[i];
            p[i] = p[size - 1 - i], p[size - 1 - i] = byte;
        }
#else
    (void)numbers, (void)n, (void)size;
#endif
}

void kg_copy(void *to, const uint8_t *from, uint64_t n, int size) {
    memcpy(to, from, (size_t)(n * (uint64_t)size));
    kg_to_little(to, n, size);
}

/* Constant sizes of unit, and of n_rows where it is that of a whole block, become plain moves. */
static inline void turn(const block *b, int64_t n_rows, int64_t unit) {
    const int64_t n_units = b->row_size / unit, rest = b->row_size % unit;
    for (int64_t u = 0; u < n_units; u++)
        for (int64_t r = 0; r < n_rows; r++)
            memcpy(b->to + u * b->step + r * unit, b->from + r * b->row_size + u * unit, (size_t)unit);
    for (int64_t r = 0; rest && r < n_rows; r++)
        memcpy(b->to + n_units * b->step + r * unit, b->from + r * b->row_size + n_units * unit, (size_t)rest);
}

static void turn_block(const block *b, int64_t unit) {
    const int is_whole = b->n_rows == KG_LANES;
    if (unit == 4 && is_whole) turn(b, KG_LANES, 4);
    else if (unit == 2 && is_whole) turn(b, KG_LANES, 2);
    else if (unit == 1 && is_whole) turn(b, KG_LANES, 1);
    else turn(b, b->n_rows, unit);
}

void kg_pack(void *to, const uint8_t *from, int64_t n_rows, int64_t row_size, int64_t unit, int64_t n_panel) {
    const int64_t depth = (row_size + unit - 1) / unit, n_blocks = (n_rows + KG_LANES - 1) / KG_LANES;
    for (int64_t i = 0; i < n_blocks; i++) {
        const int64_t first = i / n_panel * n_panel, row = i * KG_LANES;
        const int64_t width = n_blocks - first < n_panel ? n_blocks - first : n_panel;
        const block b = {
            .from = from + row * row_size,
            .to = (uint8_t *)to + (first * depth + i - first) * KG_LANES * unit,
            .n_rows = n_rows - row < KG_LANES ? n_rows - row : KG_LANES,
            .row_size = row_size,
            .step = width * KG_LANES * unit,
        };
        turn_block(&b, unit);
    }
}
