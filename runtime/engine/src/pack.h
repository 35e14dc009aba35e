/* Numbers of a file on their way into the arrays of a model. */
#ifndef KG_PACK_H
#define KG_PACK_H

#include <stdint.h>

/* n numbers of 4 or 8 bytes of this machine become little-endian, as a file has them, or the other way round. */
void kg_to_little(void *numbers, uint64_t n, int size);

/* Copy n numbers of the file as this machine has them. */
void kg_copy(void *to, const uint8_t *from, uint64_t n, int size);

/*
 * Pack a matrix of n_rows × row_size bytes for the kernels, [panel][row_size / unit][block of the panel][16][unit]:
 * each row is an output, a unit the bytes of its weights that stay together: 1, 2 or 4. to is zeroed, so that
 * rows up to a whole block and bytes up to a whole unit are zero. Bytes stay in their order. See kg_layer.
 */
void kg_pack(void *to, const uint8_t *from, int64_t n_rows, int64_t row_size, int64_t unit, int64_t n_panel);

#endif
