/* Memory for whole files and models: zeroed, aligned to KG_ALIGN, and given back to the system at once. */
#ifndef KG_PAGES_H
#define KG_PAGES_H

#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KG_SANITIZED_ADDRESSES
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define KG_SANITIZED_ADDRESSES
#endif

/* NULL if there is no memory of that size. */
void *kg_pages_take(uint64_t size);

/* NULL is allowed. */
void kg_pages_give_back(void *pages);

#endif
