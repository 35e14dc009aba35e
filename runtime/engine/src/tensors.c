/* The section tensors: numbered arrays, each where the sizes before it force it to be. */
#include "read.h"

enum { ENTRY = 32, ALIGN = 64, MAX_NDIM = 4 };

static const uint64_t MAX_ELEMENTS = 1u << 30; /* of one byte or more: no file holds more */

static uint64_t item_size(uint32_t dtype) {
    return dtype == KG_F64 ? 8 : dtype == KG_I8 ? 1 : 4;
}

/*
 * Adding the exponent's lowest bit to exponents of all ones, those of NaN and infinity, carries into the
 * place of the sign, which is taken off before; two f32 are looked at together.
 */
static int is_finite(const kg_tensor *t) {
    if (t->dtype != KG_F32 && t->dtype != KG_F64) return 1;
    const uint64_t exponent = t->dtype == KG_F64 ? 0x7ff0000000000000u : 0x7f8000007f800000u;
    const uint64_t lowest = t->dtype == KG_F64 ? 0x0010000000000000u : 0x0080000000800000u;
    const uint64_t size = t->n * item_size(t->dtype);
    uint64_t carried = 0, i = 0;
    for (; i + 8 <= size; i += 8) carried |= (kg_little8(t->data + i) & exponent) + lowest;
    if (i < size) carried |= (kg_little4(t->data + i) & exponent) + lowest;
    return (carried & (exponent + lowest)) == 0;
}

/* A tensor's entry in the table; its offset is returned. n stays above MAX_ELEMENTS once it is. */
static uint64_t read_entry(kg_cursor *c, kg_tensor *t) {
    t->dtype = kg_within(c, KG_F32, KG_I8, KG_RULE_CODES, "its dtype is not 1 to 4");
    const uint32_t ndim = kg_within(c, 1, MAX_NDIM, KG_RULE_TENSORS, "it has not 1 to 4 dimensions");
    t->n = 1;
    for (uint32_t i = 0; i < MAX_NDIM; i++) {
        t->dims[i] = kg_u32(c);
        if ((i < ndim) != (t->dims[i] > 0))
            kg_wrong(c, KG_RULE_TENSORS, "its dims are not 1 or more, then zeros");
        if (i < ndim && t->n <= MAX_ELEMENTS) t->n *= t->dims[i];
    }
    return kg_number(c, 8);
}

/* The data of a tensor behind what was read so far. */
static void read_data(kg_cursor *c, const uint8_t *section, kg_tensor *t, uint64_t offset) {
    const uint64_t end = (uint64_t)(c->next - section), start = (end + ALIGN - 1) / ALIGN * ALIGN;
    if (offset != start) kg_wrong(c, KG_RULE_TENSORS, "its offset is not the next multiple of 64");
    const uint8_t *padding = kg_take(c, start - end);
    if (t->n > MAX_ELEMENTS) kg_wrong(c, KG_RULE_COUNTS, "its dims are larger than the file");
    t->data = kg_take(c, t->n * item_size(t->dtype));
    if (!t->data) return;
    if (!kg_is_zero(padding, start - end)) kg_wrong(c, KG_RULE_TENSORS, "the padding before it is not zero");
    if (!is_finite(t)) kg_wrong(c, KG_RULE_FINITE_AND_TEXT, "it holds a NaN or an infinity");
}

int32_t kg_read_tensors(const kg_file *file, kg_contents *contents, kg_message message) {
    kg_cursor c = kg_start(file, KG_TENSORS);
    const uint8_t *section = c.next;
    contents->n_tensors = kg_count(&c, 1, KG_MAX_TENSORS, ENTRY, "the number of tensors is not 1 to 2,048");
    if (kg_u32(&c) != 0) kg_wrong(&c, KG_RULE_TENSORS, "reserved bytes are not zero");
    const uint64_t table_size = ENTRY * (uint64_t)contents->n_tensors;
    kg_cursor table = {.next = kg_take(&c, table_size)};
    table.end = table.next ? table.next + table_size : NULL;
    for (uint32_t i = 0; i < contents->n_tensors && !c.what; i++) {
        kg_tensor *t = &contents->tensors[i];
        kg_at(&c, "tensor", i);
        const uint64_t offset = read_entry(&table, t);
        if (table.what) kg_wrong(&c, table.rule, table.what);
        else read_data(&c, section, t, offset);
    }
    kg_at(&c, NULL, 0);
    if (!c.what && c.next != c.end) kg_wrong(&c, KG_RULE_TENSORS, "bytes are left behind the last tensor");
    return kg_finish(&c, KG_TENSORS, message);
}
