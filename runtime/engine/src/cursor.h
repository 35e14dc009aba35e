/* Reading a section from its start to its end, never beyond; the first error sticks. */
#ifndef KG_CURSOR_H
#define KG_CURSOR_H

#include <stdint.h>
#include <string.h>

/* Numbers of rules in docs/format.md. */
enum {
    KG_RULE_VERSION = 1,
    KG_RULE_SIZE,
    KG_RULE_DIGEST,
    KG_RULE_SECTIONS,
    KG_RULE_COUNTS,
    KG_RULE_MODEL_ID,
    KG_RULE_TRAILER,
    KG_RULE_FINITE_AND_TEXT,
    KG_RULE_CODES,
    KG_RULE_TESTS,
    KG_RULE_DISTINCT_TESTS,
    KG_RULE_TENSORS,
    KG_RULE_TENSOR_USE,
    KG_RULE_TOPOLOGY,
    KG_RULE_CHAIN,
    KG_RULE_TWO_PROGRAMS,
    KG_RULE_ACTIVATIONS,
    KG_RULE_INT8,
    KG_RULE_SCALER,
    KG_RULE_HEAD,
    KG_RULE_POINTS,
    KG_RULE_YIELD_LOSSES,
    KG_RULE_BANDS,
    KG_RULE_GOLDEN,
    KG_RULE_JSON,
    KG_RULE_JSON_SIZE
};

/*
 * item, index: what is being read, "test" 3; item is NULL outside of any list.
 * rule, what:  the first thing that was wrong; what is NULL so far.
 */
typedef struct {
    const uint8_t *next, *end;
    const char *item, *what;
    uint32_t index;
    int rule;
} kg_cursor;

static inline void kg_wrong(kg_cursor *c, int rule, const char *what) {
    if (!c->what) c->rule = rule, c->what = what;
    c->next = c->end;
}

/* Name what is read next. What was wrong keeps the name that it had. */
static inline void kg_at(kg_cursor *c, const char *item, uint32_t index) {
    if (!c->what) c->item = item, c->index = index;
}

static inline uint64_t kg_left(const kg_cursor *c) { return (uint64_t)(c->end - c->next); }

static inline const uint8_t *kg_take(kg_cursor *c, uint64_t size) {
    const uint8_t *start = c->next;
    if (c->what || size > kg_left(c)) {
        kg_wrong(c, KG_RULE_COUNTS, "the section ends too early");
        return NULL;
    }
    c->next += size;
    return start;
}

/* Numbers of 4 and 8 bytes, written so that compilers make one load of each. */
static inline uint32_t kg_little4(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t kg_little8(const uint8_t *p) { return kg_little4(p) | (uint64_t)kg_little4(p + 4) << 32; }

static inline uint64_t kg_little(const uint8_t *p, int n) {
    uint64_t value = 0;
    for (int i = 0; i < n; i++) value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static inline uint64_t kg_number(kg_cursor *c, int size) {
    const uint8_t *p = kg_take(c, (uint64_t)size);
    return p ? kg_little(p, size) : 0;
}

static inline uint32_t kg_u32(kg_cursor *c) { return (uint32_t)kg_number(c, 4); }

static inline float kg_f32(kg_cursor *c) {
    const uint32_t bits = kg_u32(c);
    float value;
    memcpy(&value, &bits, sizeof value);
    if ((bits & 0x7f800000u) == 0x7f800000u) kg_wrong(c, KG_RULE_FINITE_AND_TEXT, "a number is not finite");
    return value;
}

static inline double kg_f64(kg_cursor *c) {
    const uint64_t bits = kg_number(c, 8), exponent = 0x7ff0000000000000u;
    double value;
    memcpy(&value, &bits, sizeof value);
    if ((bits & exponent) == exponent) kg_wrong(c, KG_RULE_FINITE_AND_TEXT, "a number is not finite");
    return value;
}

/* A number from low to high; low if it is not. */
static inline uint32_t kg_within(kg_cursor *c, uint32_t low, uint32_t high, int rule, const char *what) {
    const uint32_t value = kg_u32(c);
    if (value >= low && value <= high) return value;
    kg_wrong(c, rule, what);
    return low;
}

/* The number of items that follow, each of at least item_size bytes; low if they cannot. */
static inline uint32_t kg_count(kg_cursor *c, uint32_t low, uint32_t high, uint32_t item_size, const char *what) {
    const uint32_t value = kg_within(c, low, high, KG_RULE_COUNTS, what);
    if ((uint64_t)value * item_size <= kg_left(c)) return value;
    kg_wrong(c, KG_RULE_COUNTS, "there are fewer items than their number says");
    return low;
}

static inline int kg_is_zero(const uint8_t *p, uint64_t size) {
    for (uint64_t i = 0; i < size; i++)
        if (p[i]) return 0;
    return 1;
}

#endif
