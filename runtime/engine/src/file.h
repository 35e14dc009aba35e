/* A .kgd file's outer shape: header, sections, digests. See docs/format.md. */
#ifndef KG_FILE_H
#define KG_FILE_H

#include <stdint.h>

#include "cursor.h"

enum { KG_SCHEMA, KG_PROGRAM, KG_TENSORS, KG_POINTS, KG_GOLDEN, KG_MANIFEST, KG_CERTIFICATE, KG_N_SECTIONS };

typedef struct {
    const uint8_t *data;
    uint64_t size; /* 0 for a certificate that is not there */
} kg_section;

typedef struct {
    kg_section sections[KG_N_SECTIONS];
    uint64_t size;
    uint8_t model_id[32], file_digest[32];
} kg_file;

/* Where a message for people goes. */
typedef struct {
    char *text;
    int64_t size;
} kg_message;

/* Write a message, printf style, and return status. */
int32_t kg_fail(kg_message message, int32_t status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* The same for want of memory. */
int32_t kg_no_memory(kg_message message);

/* Verify a file and find its sections. Nothing behind the header is parsed before the digest fits. */
int32_t kg_file_verify(const uint8_t *data, uint64_t size, kg_file *file, kg_message message);

/* The start of a section. */
kg_cursor kg_start(const kg_file *file, int section);

/* The end of one: nothing may be left of it. What was wrong becomes the message. */
int32_t kg_finish(kg_cursor *c, int section, kg_message message);

#endif
