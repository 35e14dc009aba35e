/* Golden dies: the proof, at each opening, that this machine computes what the exporter's did. */
#ifndef KG_GOLDEN_H
#define KG_GOLDEN_H

#include "read.h"

/* Score and reconstruct the file's golden dies with its model; every bit must be the file's. */
int32_t kg_check_golden(const kg_model *model, const kg_contents *file, kg_message message);

#endif
