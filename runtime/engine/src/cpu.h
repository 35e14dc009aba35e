/* What this processor can do. */
#ifndef KG_CPU_H
#define KG_CPU_H

int kg_cpu_has_sse41(void);
int kg_cpu_has_avx2(void);       /* with FMA */
int kg_cpu_has_avx512vnni(void); /* F, BW, DQ, VL and VNNI */
int kg_cpu_has_sha(void);
int kg_cpu_has_dotprod(void);

#endif
