/* Opening a model from a file, which is read once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "model.h"

enum { FIRST_SIZE = 1 << 20, MAX_FILE = 1 << 30 };

/* All bytes of a file, or NULL with its status; one byte over the largest file is enough to refuse it. */
static uint8_t *read_all(FILE *file, size_t *size, int32_t *status) {
    uint8_t *data = NULL;
    size_t room = 0, got = 0;
    do {
        const size_t wanted = room ? 2 * room : FIRST_SIZE;
        uint8_t *larger = realloc(data, wanted);
        if (!larger) {
            free(data);
            *status = KG_ERROR_MEMORY;
            return NULL;
        }
        data = larger, room = wanted;
        got += fread(data + got, 1, room - got, file);
    } while (got == room && got <= MAX_FILE);
    *status = ferror(file) ? KG_ERROR_FILE : KG_OK;
    *size = got;
    return data;
}

int32_t kg_open_file(const char *path, const kg_options *options, kg_model **model, char *message,
                     int64_t message_size) {
    const kg_message to = {message, message_size};
    if (model) *model = NULL;
    if (!path || !model) return kg_fail(to, KG_ERROR_USE, "path or model is NULL");
    FILE *file = fopen(path, "rb");
    if (!file) return kg_fail(to, KG_ERROR_FILE, "cannot open it: %s", strerror(errno));
    size_t size = 0;
    int32_t status = KG_OK;
    uint8_t *data = read_all(file, &size, &status);
    fclose(file);
    if (status == KG_OK) status = kg_open(data, (int64_t)size, options, model, message, message_size);
    else kg_fail(to, status, "cannot read it: %s", kg_status_text(status));
    free(data);
    return status;
}
