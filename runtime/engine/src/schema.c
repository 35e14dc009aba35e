/*
 * The section schema: which tests, in which order. An engine needs their number only; the rest is
 * checked, so that the columns that a host aligns by name are those of the model.
 */
#include <math.h>
#include <stdlib.h>

#include "knowngood.h"
#include "largest.h"
#include "read.h"
#include "sha256.h"

enum { MAX_STRING = 65535, LEAST_TEST = 8 + 3 * 4 + 1 + 2 * 8, HAS_LOW = 1, HAS_HIGH = 2 };
enum { INDEX_BITS = 17 }; /* of a test: 66,000 are fewer than 2^17 */

/* A test's number, name and pin as they lie in the file: equal keys are equal bytes. */
typedef struct {
    uint32_t at, size; /* in the section */
} key;

/* Bytes that follow the lead of a UTF-8 sequence, −1 for a byte that leads none. */
static int n_following(uint8_t lead) {
    if (lead < 0x80) return 0;
    return lead >> 5 == 6 ? 1 : lead >> 4 == 14 ? 2 : lead >> 3 == 30 ? 3 : -1;
}

/* Shortest form only, no surrogates, nothing above U+10FFFF, no NUL. */
static int is_text(const uint8_t *p, uint64_t size) {
    static const uint32_t smallest[4] = {1, 0x80, 0x800, 0x10000};
    for (uint64_t i = 0; i < size;) {
        const int n = n_following(p[i]);
        if (n < 0 || (uint64_t)n >= size - i) return 0;
        uint32_t code = n == 0 ? p[i] : p[i] & (0x3fu >> n);
        for (int k = 1; k <= n; k++) {
            if (p[i + (uint64_t)k] >> 6 != 2) return 0;
            code = code << 6 | (p[i + (uint64_t)k] & 0x3fu);
        }
        if (code < smallest[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
        i += 1 + (uint64_t)n;
    }
    return 1;
}

static void skip_string(kg_cursor *c) {
    const uint32_t size = kg_count(c, 0, MAX_STRING, 1, "a string is longer than 65,535 bytes");
    const uint8_t *text = kg_take(c, size);
    if (text && !is_text(text, size)) kg_wrong(c, KG_RULE_FINITE_AND_TEXT, "a string is not UTF-8 without NUL");
}

static void skip_limit(kg_cursor *c, uint64_t is_there) {
    const double limit = kg_f64(c);
    if (!is_there && (limit != 0 || signbit(limit)))
        kg_wrong(c, KG_RULE_TESTS, "a limit that its flags say absent is not +0");
}

static key read_test(kg_cursor *c, const uint8_t *section) {
    key found = {(uint32_t)(c->next - section), 0};
    kg_take(c, 8);
    skip_string(c);
    skip_string(c);
    found.size = (uint32_t)(c->next - section) - found.at;
    skip_string(c);
    const uint64_t flags = kg_number(c, 1);
    if (flags & ~(uint64_t)(HAS_LOW | HAS_HIGH)) kg_wrong(c, KG_RULE_TESTS, "unknown flags");
    skip_limit(c, flags & HAS_LOW);
    skip_limit(c, flags & HAS_HIGH);
    return found;
}

/* The key's digest, cut so that the test's index has room below it. */
static uint64_t digest_of(const uint8_t *section, key k, uint32_t index) {
    uint8_t digest[KG_SHA256_SIZE];
    kg_sha256 hash;
    kg_sha256_init(&hash);
    kg_sha256_update(&hash, section + k.at, k.size);
    kg_sha256_final(&hash, digest);
    return kg_little8(digest) >> INDEX_BITS << INDEX_BITS | index;
}

static int is_same(const uint8_t *section, key a, key b) {
    return a.size == b.size && memcmp(section + a.at, section + b.at, a.size) == 0;
}

/*
 * Keys are compared where digests meet, which nobody can make happen often: time goes with
 * n · log n, whatever the names.
 */
static void check_distinct(kg_cursor *c, const uint8_t *section, const key *keys, uint64_t *digests, uint32_t n) {
    const uint64_t index = (1u << INDEX_BITS) - 1;
    for (uint32_t i = 0; i < n; i++) digests[i] = digest_of(section, keys[i], i);
    kg_make_heap(digests, n);
    for (uint32_t left = n; left > 0; left--) digests[left - 1] = kg_pop(digests, left);
    for (uint32_t i = 1; i < n; i++) {
        for (uint32_t j = i; j > 0 && (digests[j - 1] ^ digests[i]) <= index; j--) {
            const uint32_t a = (uint32_t)(digests[j - 1] & index), b = (uint32_t)(digests[i] & index);
            if (!is_same(section, keys[a], keys[b])) continue;
            kg_at(c, "test", b);
            kg_wrong(c, KG_RULE_DISTINCT_TESTS, "its number, name and pin are those of a test before it");
            return;
        }
    }
}

int32_t kg_read_schema(const kg_file *file, kg_contents *contents, kg_message message) {
    kg_cursor c = kg_start(file, KG_SCHEMA);
    const uint8_t *section = c.next;
    const uint32_t n = kg_count(&c, 1, KG_MAX_WIDTH, LEAST_TEST, "the number of tests is not 1 to 66,000");
    key *keys = malloc(sizeof *keys * n);
    uint64_t *digests = malloc(sizeof *digests * n);
    int32_t status;
    if (!keys || !digests) {
        status = kg_no_memory(message);
    } else {
        contents->n_tests = n;
        for (int i = 0; i < 5; i++) skip_string(&c);
        for (uint32_t i = 0; i < n && !c.what; i++) {
            kg_at(&c, "test", i);
            keys[i] = read_test(&c, section);
        }
        kg_at(&c, NULL, 0);
        if (!c.what && c.next == c.end) check_distinct(&c, section, keys, digests, n);
        status = kg_finish(&c, KG_SCHEMA, message);
    }
    free(digests);
    free(keys);
    return status;
}
