/*
 * The outer shape of a .kgd file, verified from the outside in: magic, version and size, then the
 * digest over everything, then the section table, the gaps, the trailer and the model's identity.
 *
 * Both digests are made in one pass, which takes half the time of two. Where the bytes of the second lie
 * is taken from the table before the first is known to fit: these bytes are hashed and nothing else, and
 * what comes of it is looked at in its turn.
 */
#include "file.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cursor.h"
#include "knowngood.h"
#include "sha256.h"

enum { HEADER = 96, ENTRY = 32, TAG = 16, ALIGN = 64, TRAILER = 128, DIGEST_AT = 32, MODEL_ID_AT = 64 };
enum { N_DECIDING = KG_POINTS + 1 }; /* sections that model_id names, the first of a file */

static const uint8_t MAGIC[8] = {0x89, 'K', 'G', 'D', '\r', '\n', 0x1a, '\n'};
static const char TAGS[KG_N_SECTIONS][TAG] = {"schema", "program",  "tensors",    "points",
                                              "golden", "manifest", "certificate"};
static const uint64_t MAX_FILE = 1u << 30;

int32_t kg_fail(kg_message message, int32_t status, const char *format, ...) {
    if (message.text && message.size > 0) {
        va_list values;
        va_start(values, format);
        vsnprintf(message.text, (size_t)message.size, format, values);
        va_end(values);
    }
    return status;
}

int32_t kg_no_memory(kg_message message) { return kg_fail(message, KG_ERROR_MEMORY, "no memory left"); }

/* The file breaks a rule of its format. */
static int32_t refuse(kg_message message, int32_t status, int rule, const char *what) {
    return kg_fail(message, status, "%s (rule %d of the .kgd format)", what, rule);
}

static uint64_t aligned(uint64_t offset) { return (offset + ALIGN - 1) / ALIGN * ALIGN; }

static int32_t check_size(const uint8_t *data, uint64_t size, kg_message message) {
    const uint64_t stated = kg_little(data + 16, 8);
    if (stated != size)
        return kg_fail(message, KG_ERROR_DAMAGED,
                       "%llu bytes, its header says %llu: a truncated copy, or one with something "
                       "appended (rule %d of the .kgd format)",
                       (unsigned long long)size, (unsigned long long)stated, KG_RULE_SIZE);
    if (size > MAX_FILE) return refuse(message, KG_ERROR_FORMAT, KG_RULE_SIZE, "larger than 1 GiB");
    return KG_OK;
}

/* What can be told before the digest: another kind of file, a newer version, a part of one. */
static int32_t check_header(const uint8_t *data, uint64_t size, kg_message message) {
    if (size < sizeof MAGIC || memcmp(data, MAGIC, 4) != 0)
        return refuse(message, KG_ERROR_FORMAT, KG_RULE_VERSION, "not a .kgd file");
    if (memcmp(data, MAGIC, sizeof MAGIC) != 0)
        return refuse(message, KG_ERROR_DAMAGED, KG_RULE_VERSION,
                      "its line ends were rewritten on the way here: copy it again, as binary");
    if (size < HEADER + TRAILER)
        return refuse(message, KG_ERROR_DAMAGED, KG_RULE_SIZE, "a truncated copy: copy it again");
    const unsigned major = (unsigned)kg_little(data + 8, 2), minor = (unsigned)kg_little(data + 10, 2);
    if (major != 1 || minor != 0)
        return kg_fail(message, KG_ERROR_VERSION,
                       "format version %u.%u, this library reads 1.0 (rule %d of the .kgd format)", major,
                       minor, KG_RULE_VERSION);
    return check_size(data, size, message);
}

/* Found; model_id is zero if the table names places that no file could have. */
typedef struct {
    uint8_t file_digest[KG_SHA256_SIZE], model_id[KG_SHA256_SIZE];
} digests;

static const uint8_t *entry_of(const uint8_t *data, int section) { return data + HEADER + ENTRY * section; }

/* Where the sections lie that decide, one behind the other in the file; 0 if they do not. */
static int find_deciding(const uint8_t *data, uint64_t limit, kg_section sections[N_DECIDING]) {
    uint64_t end = HEADER + ENTRY * N_DECIDING;
    for (int i = 0; i < N_DECIDING; i++) {
        if (end > limit) return 0;
        const uint64_t offset = kg_little(entry_of(data, i) + TAG, 8), length = kg_little(entry_of(data, i) + TAG + 8, 8);
        if (offset < end || offset > limit || length > limit - offset) return 0;
        sections[i].data = data + offset, sections[i].size = length;
        end = offset + length;
    }
    return 1;
}

static digests find_digests(const uint8_t *data, uint64_t size) {
    const uint8_t *next = data + MODEL_ID_AT, *end = data + size - TRAILER;
    kg_section sections[N_DECIDING];
    digests found = {{0}, {0}};
    kg_sha256 file, model;
    kg_sha256_init(&file);
    kg_sha256_init(&model);
    kg_sha256_update(&file, data, DIGEST_AT);
    const int is_found = find_deciding(data, size - TRAILER, sections);
    for (int i = 0; is_found && i < N_DECIDING; i++) {
        const kg_section s = sections[i];
        kg_sha256_update(&model, entry_of(data, i), TAG);
        kg_sha256_update(&model, entry_of(data, i) + TAG + 8, 8);
        kg_sha256_update_two(&file, next, (size_t)(s.data + s.size - next), &model, s.data, (size_t)s.size);
        next = s.data + s.size;
    }
    kg_sha256_update(&file, next, (size_t)(end - next));
    kg_sha256_final(&file, found.file_digest);
    if (is_found) kg_sha256_final(&model, found.model_id);
    return found;
}

static int32_t compare(const uint8_t *found, const uint8_t *stated, int rule, const char *what, kg_message message) {
    return memcmp(found, stated, KG_SHA256_SIZE) == 0 ? KG_OK : refuse(message, KG_ERROR_DAMAGED, rule, what);
}

static int32_t out_of_place(kg_message message, const char *what, const char *tag) {
    return kg_fail(message, KG_ERROR_FORMAT, "section '%s': %s (rule %d of the .kgd format)", tag, what,
                   KG_RULE_SECTIONS);
}

/* The sections, each where the sizes before it force it to be, and the end of the last. */
static int32_t read_table(const uint8_t *data, uint64_t limit, uint32_t n_sections, kg_file *file,
                          uint64_t *end_of_last, kg_message message) {
    uint64_t end = HEADER + (uint64_t)ENTRY * n_sections;
    if (end > limit) return refuse(message, KG_ERROR_FORMAT, KG_RULE_SECTIONS, "no room for its section table");
    for (uint32_t i = 0; i < n_sections; i++) {
        const uint8_t *entry = entry_of(data, (int)i);
        const uint64_t start = aligned(end), offset = kg_little(entry + TAG, 8), length = kg_little(entry + TAG + 8, 8);
        if (memcmp(entry, TAGS[i], TAG) != 0) return out_of_place(message, "another one is in its place", TAGS[i]);
        if (offset != start) return out_of_place(message, "it is not where the layout forces it to be", TAGS[i]);
        if (start > limit || length == 0 || length > limit - start)
            return out_of_place(message, "its size is 0, or more than the file has", TAGS[i]);
        if (!kg_is_zero(data + end, start - end)) return out_of_place(message, "the padding before it is not zero", TAGS[i]);
        file->sections[i].data = data + start;
        file->sections[i].size = length;
        end = start + length;
    }
    *end_of_last = end;
    return KG_OK;
}

static int32_t read_layout(const uint8_t *data, uint64_t size, kg_file *file, kg_message message) {
    const uint32_t n_sections = (uint32_t)kg_little(data + 12, 4);
    const uint64_t limit = size - TRAILER;
    uint64_t end = 0;
    if (n_sections < KG_CERTIFICATE || n_sections > KG_N_SECTIONS)
        return refuse(message, KG_ERROR_FORMAT, KG_RULE_SECTIONS, "the number of sections is neither 6 nor 7");
    if (!kg_is_zero(data + 24, 8))
        return refuse(message, KG_ERROR_FORMAT, KG_RULE_SECTIONS, "reserved bytes of its header are not zero");
    const int32_t status = read_table(data, limit, n_sections, file, &end, message);
    if (status != KG_OK) return status;
    if (aligned(end) != limit || !kg_is_zero(data + end, limit - end))
        return refuse(message, KG_ERROR_FORMAT, KG_RULE_SECTIONS,
                      "there is something between its last section and its trailer");
    if (!kg_is_zero(data + limit, TRAILER))
        return refuse(message, KG_ERROR_FORMAT, KG_RULE_TRAILER, "its trailer is not zero");
    return KG_OK;
}

int32_t kg_file_verify(const uint8_t *data, uint64_t size, kg_file *file, kg_message message) {
    memset(file, 0, sizeof *file);
    file->size = size;
    int32_t status = check_header(data, size, message);
    if (status != KG_OK) return status;
    const digests found = find_digests(data, size);
    memcpy(file->file_digest, data + DIGEST_AT, KG_SHA256_SIZE);
    memcpy(file->model_id, data + MODEL_ID_AT, KG_SHA256_SIZE);
    status = compare(found.file_digest, file->file_digest, KG_RULE_DIGEST,
                     "damaged: its digest does not fit its bytes; copy or export it again", message);
    if (status == KG_OK) status = read_layout(data, size, file, message);
    if (status != KG_OK) return status;
    return compare(found.model_id, file->model_id, KG_RULE_MODEL_ID, "its model_id does not fit its model", message);
}

kg_cursor kg_start(const kg_file *file, int section) {
    const kg_cursor c = {.next = file->sections[section].data,
                         .end = file->sections[section].data + file->sections[section].size};
    return c;
}

int32_t kg_finish(kg_cursor *c, int section, kg_message message) {
    kg_at(c, NULL, 0);
    if (!c->what && c->next != c->end) kg_wrong(c, KG_RULE_COUNTS, "bytes are left behind its last field");
    if (!c->what) return KG_OK;
    if (!c->item)
        return kg_fail(message, KG_ERROR_FORMAT, "section '%s': %s (rule %d of the .kgd format)", TAGS[section],
                       c->what, c->rule);
    return kg_fail(message, KG_ERROR_FORMAT, "section '%s', %s %u: %s (rule %d of the .kgd format)", TAGS[section],
                   c->item, c->index, c->what, c->rule);
}
