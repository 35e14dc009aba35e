/*
 * Large pieces come in pages of 2 MiB where Linux has them: a fault for each page of 4 KiB takes longer
 * than reading and packing what goes there, and scoring from cold caches waits for fewer translations.
 */
#if defined(__linux__)
#define _GNU_SOURCE /* madvise */
#include <sys/mman.h>
#endif

#include "pages.h"

#include <stddef.h>
#include <stdlib.h>

#include "model.h"

/* Stands before the memory handed out. size is what was mapped, 0 if calloc gave it. */
typedef union {
    struct {
        void *start;
        size_t size;
    } of;
    uint8_t padding[KG_ALIGN];
} head;

static uint8_t *aligned(uint8_t *p, size_t to) { return p + (to - (uintptr_t)p % to) % to; }

static void *hand_out(uint8_t *start, size_t offset, size_t mapped) {
    head *h = (head *)(void *)(start + offset);
    h->of.start = start, h->of.size = mapped;
    return h + 1;
}

static void *from_heap(size_t size) {
    uint8_t *start = calloc(1, size + sizeof(head) + KG_ALIGN);
    return start ? hand_out(start, (size_t)(aligned(start, KG_ALIGN) - start), 0) : NULL;
}

#if defined(__linux__) && defined(MADV_HUGEPAGE) && !defined(KG_SANITIZED_ADDRESSES)
static const size_t PAGE = 2u << 20;

/* A last page that would be filled by less than half stays small ones. */
static size_t whole_pages(size_t size) {
    const size_t last = size % PAGE;
    return last >= PAGE / 2 ? size - last + PAGE : size;
}

static void *from_system(size_t size) {
    const size_t needed = whole_pages(size + sizeof(head));
    uint8_t *start = mmap(NULL, needed + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    uint8_t *first = aligned(start, PAGE);
    madvise(first, needed, MADV_HUGEPAGE); /* refused where there are none: small pages do as well */
    return hand_out(start, (size_t)(first - start), needed + PAGE);
}

void *kg_pages_take(uint64_t size) {
    if (size > SIZE_MAX / 2) return NULL;
    return size < PAGE / 2 ? from_heap((size_t)size) : from_system((size_t)size);
}

void kg_pages_give_back(void *pages) {
    if (!pages) return;
    const head h = ((head *)pages)[-1];
    if (h.of.size) munmap(h.of.start, h.of.size);
    else free(h.of.start);
}
#else
void *kg_pages_take(uint64_t size) { return size > SIZE_MAX / 2 ? NULL : from_heap((size_t)size); }

void kg_pages_give_back(void *pages) {
    if (pages) free(((head *)pages)[-1].of.start);
}
#endif
