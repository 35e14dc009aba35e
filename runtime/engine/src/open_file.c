/* Opening a model from a file, which is read once. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "knowngood.h"
#include "pages.h"

/* FIRST_SIZE: of what cannot say how long it is. */
enum { FIRST_SIZE = 1 << 20, MAX_FILE = 1 << 30 };

typedef struct {
    uint8_t *data;
    size_t size, room;
} contents;

/* What the file says; FIRST_SIZE of one that cannot. */
static uint64_t stated_size(FILE *file) {
    const long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    rewind(file);
    return size < 0 ? FIRST_SIZE : (uint64_t)size;
}

static int32_t too_large(kg_message message) {
    return kg_fail(message, KG_ERROR_FORMAT, "larger than 1 GiB (rule %d of the .kgd format)", KG_RULE_SIZE);
}

static int32_t grow(contents *c, size_t room, kg_message message) {
    uint8_t *larger = kg_pages_take(room);
    if (!larger) return kg_no_memory(message);
    if (c->size) memcpy(larger, c->data, c->size);
    kg_pages_give_back(c->data);
    c->data = larger, c->room = room;
    return KG_OK;
}

static int32_t unreadable(kg_message message) {
    return kg_fail(message, KG_ERROR_FILE, "cannot read it: %s", strerror(errno));
}

/* All bytes of a file. Room for one byte more than it has lets reading end at once. */
static int32_t read_all(FILE *file, contents *c, kg_message message) {
    const uint64_t stated = stated_size(file);
    uint8_t first;
    if (stated > MAX_FILE) /* folders, too, may say so */
        return fread(&first, 1, 1, file) == 0 && ferror(file) ? unreadable(message) : too_large(message);
    int32_t status = grow(c, (size_t)stated + 1, message);
    while (status == KG_OK) {
        c->size += fread(c->data + c->size, 1, c->room - c->size, file);
        if (ferror(file)) return unreadable(message);
        if (c->size > MAX_FILE) return too_large(message);
        if (c->size < c->room) return KG_OK;
        status = grow(c, c->room < MAX_FILE / 2 ? 2 * c->room : (size_t)MAX_FILE + 1, message);
    }
    return status;
}

int32_t kg_open_file(const char *path, const kg_options *options, kg_model **model, char *message,
                     int64_t message_size) {
    const kg_message to = {message, message_size};
    contents c = {NULL, 0, 0};
    if (model) *model = NULL;
    if (!path || !model) return kg_fail(to, KG_ERROR_USE, "path or model is NULL");
    FILE *file = fopen(path, "rb");
    if (!file) return kg_fail(to, KG_ERROR_FILE, "cannot open it: %s", strerror(errno));
    int32_t status = read_all(file, &c, to);
    fclose(file);
    if (status == KG_OK) status = kg_open(c.data, (int64_t)c.size, options, model, message, message_size);
    kg_pages_give_back(c.data);
    return status;
}
