/*
 * knowngood: scores dies with a sealed model (.kgd) on the tester itself.
 *
 * This header is the whole contract. What a score is, to the last bit, is docs/arithmetic.md; what a
 * .kgd file is, docs/format.md. The library needs libc only, starts no thread, prints nothing, never
 * exits, and reads no file but the one it is given.
 *
 *     kg_model *model = NULL;
 *     char message[KG_MESSAGE_SIZE];
 *     int32_t point;
 *     if (kg_open_file("model.kgd", NULL, &model, message, sizeof message) != KG_OK) ...
 *     if (kg_find_point(model, KG_PRECISION_DEFAULT, 0.005, 0, &point) != KG_OK) ...
 *     void *scratch = malloc((size_t)kg_scratch_size(model));
 *     kg_score(model, KG_PRECISION_DEFAULT, point, scratch, values, NULL, n_dies, scores, verdicts, reasons);
 *     free(scratch);
 *     kg_close(model);
 *
 * Functions may be called from any threads at once. A model is immutable once it is open: any number of threads
 * may use one, each with a scratch of its own. Scoring allocates nothing and locks nothing. Scoring and opening leave the floating-point control
 * word as they found it, whatever the host has set there.
 */
#ifndef KNOWNGOOD_H
#define KNOWNGOOD_H

#include <stdint.h>

#if defined(_WIN32) && defined(KG_SHARED)
#ifdef KG_BUILDING
#define KG_API __declspec(dllexport)
#else
#define KG_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define KG_API __attribute__((visibility("default")))
#else
#define KG_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define KG_VERSION "0.1.0"

/* Status: what every function that can fail returns. The numbers never change their meaning. */
#define KG_OK 0
#define KG_ERROR_USE 1         /* an argument is not what it must be */
#define KG_ERROR_MEMORY 2      /* no memory left; nothing was opened */
#define KG_ERROR_FILE 3        /* the file cannot be read */
#define KG_ERROR_FORMAT 4      /* not a .kgd file, or one that breaks a rule of its format */
#define KG_ERROR_VERSION 5     /* made for a newer reader */
#define KG_ERROR_DAMAGED 6     /* its digest does not fit its bytes */
#define KG_ERROR_GOLDEN 7      /* its golden dies get other scores here than where it was made */
#define KG_ERROR_POINT 8       /* no such operating point in the file */
#define KG_ERROR_UNSUPPORTED 9 /* the operating point rests on too few dies; ask for extrapolation */
#define KG_ERROR_PRECISION 10  /* the file does not offer this precision */
#define KG_ERROR_CPU_PATH 11   /* there is no such CPU path, or this processor does not have it */

/* Precision of the layers. Verified: int8, and fp32 for dies near the threshold. */
#define KG_PRECISION_DEFAULT (-1) /* verified if the file offers it, else int8, else fp32 */
#define KG_PRECISION_FP32 0
#define KG_PRECISION_INT8 1
#define KG_PRECISION_VERIFIED 2

/* Verdicts. The safe one is 0: a zeroed buffer passes no die. */
#define KG_UNSCORED 0
#define KG_PASS 1
#define KG_REJECT 2

/* Why a die is unscored; KG_REASON_NONE for a scored one. 5 to 8 are the host's to set. */
#define KG_REASON_NONE 0
#define KG_REASON_NO_DATA 1
#define KG_REASON_TOO_MANY_MISSING 2
#define KG_REASON_NOT_FINITE 3
#define KG_REASON_RANGE 4
#define KG_REASON_TESTER_FAIL 5
#define KG_REASON_SCHEMA 6
#define KG_REASON_DEADLINE 7
#define KG_REASON_ENGINE_FAULT 8

#define KG_MESSAGE_SIZE 256 /* bytes that hold any message */

typedef struct kg_model kg_model;

/*
 * How a model is opened. Set with kg_options_init, then change what you need.
 *
 * Members are only ever added at the end. A structure that is smaller than the library's, of a host
 * compiled with an older header, takes the defaults for what it lacks; of a larger one every byte beyond
 * must be 0, or the open is refused: the host asks for something that this library does not know.
 */
typedef struct kg_options {
    int64_t size;         /* of this structure, as the caller was compiled */
    const char *cpu_path; /* kernels to use, one of kg_cpu_path_name; NULL takes the fastest */
    int32_t skip_golden;  /* 1: do not score the golden dies; for tests of the file alone */
    int32_t reserved;     /* 0 */
} kg_options;

/* Fill in the defaults. */
KG_API void kg_options_init(kg_options *options);

/*
 * Open a model from memory. The bytes are verified before anything of them is parsed, and everything
 * that scoring needs is copied: data may be freed on return, and must not change before. A model takes
 * about as much memory as its file, and never more than 4 times as much and 16 MiB: a file whose layers or
 * scalers are so narrow that it would is refused.
 *
 * options may be NULL. *model is set to the handle, and to NULL on any error. message, if not NULL,
 * gets a sentence that says what is wrong, cut to message_size bytes with its final NUL.
 */
KG_API int32_t kg_open(const void *data, int64_t size, const kg_options *options, kg_model **model,
                       char *message, int64_t message_size);

/*
 * The same from a regular file of at most 1 GiB, which is read once and closed. path is in the C library's
 * file name encoding.
 */
KG_API int32_t kg_open_file(const char *path, const kg_options *options, kg_model **model,
                            char *message, int64_t message_size);

/* Free a model. NULL is allowed. No call with it may be running. */
KG_API void kg_close(kg_model *model);

/* What a status means, in a few words; never NULL. */
KG_API const char *kg_status_text(int32_t status);

/* Version of the library, "1.2.3". */
KG_API const char *kg_version(void);

/*
 * A CPU path is a set of kernels for one kind of processor. Their names in this library, the fastest first;
 * NULL from n on. Every path gives the same bits.
 */
KG_API const char *kg_cpu_path_name(int32_t index);

/* 1 if this processor can run the path of this name, else 0. */
KG_API int32_t kg_cpu_path_is_supported(const char *name);

/* The CPU path that the model was opened with. */
KG_API const char *kg_model_cpu_path(const kg_model *model);

/* Tests of a die: the width of values. */
KG_API int32_t kg_n_tests(const kg_model *model);

/* Width of the latent code, 0 if the model has none. */
KG_API int32_t kg_n_latent(const kg_model *model);

/* model_id and file_digest of the file, 32 bytes each. */
KG_API void kg_digests(const kg_model *model, uint8_t *model_id, uint8_t *file_digest);

/* 1 if the file offers the precision, else 0. */
KG_API int32_t kg_has_precision(const kg_model *model, int32_t precision);

/* Operating points of the file. */
KG_API int32_t kg_n_points(const kg_model *model);

/*
 * An operating point. point: 0 to kg_n_points − 1. Each output may be NULL: nominal yield loss, the
 * threshold (a die passes if its score is ≤ it), and whether enough dies support it.
 */
KG_API int32_t kg_point(const kg_model *model, int32_t precision, int32_t point, double *fpr,
                        float *threshold, int32_t *supported);

/*
 * The index of the operating point at the yield loss fpr, to one part in a million; 0 takes the file's
 * default. A point that too few dies support is KG_ERROR_UNSUPPORTED unless extrapolate is 1. *point is set on
 * success only.
 */
KG_API int32_t kg_find_point(const kg_model *model, int32_t precision, double fpr,
                             int32_t extrapolate, int32_t *point);

/*
 * What is said here holds for the three calls below.
 *
 * Buffers are the caller's, aligned as C aligns their types. values and group are only read. No output may
 * overlap an input, another output or scratch: in verified mode a die's values are read again after results of
 * others were written.
 * group: the place that a die was tested at, head · 65,536 + site; −1, and a place that the file does not list,
 * take the pooled scaler.
 * In verified mode everything about a die that was scored again is that of fp32.
 * A call takes about 8 KiB of stack, whatever the batch. A forked child may use a model of its parent.
 *
 * An argument that is not what it must be is a status, never a crash: a NULL that is not allowed, a negative n_dies
 * or k, a point or precision that the file does not have. Then nothing was computed; verdicts, if given, are all
 * KG_UNSCORED, so that what an earlier call left there passes no die.
 */

/*
 * Bytes of scratch that one thread needs for batches of any size. Any alignment will do; it need not be
 * initialised, and keeps nothing between calls, so that models may share one of the largest size.
 */
KG_API int64_t kg_scratch_size(const kg_model *model);

/*
 * Score n_dies dies, 0 or more.
 *
 * values: n_dies × n_tests, raw engineering units, row by row, NaN where a test is missing.
 * group:  n_dies, or NULL: all pooled.
 * scores: n_dies; the quiet NaN 0x7FC00000 where a die is unscored.
 * verdicts, reasons: n_dies each.
 *
 * The same die gets the same bits whatever else is in the batch.
 */
KG_API int32_t kg_score(const kg_model *model, int32_t precision, int32_t point, void *scratch,
                        const float *values, const int32_t *group, int64_t n_dies, float *scores,
                        int8_t *verdicts, int8_t *reasons);

/*
 * What the model expects of each test, standardised, and its latent code. Either may be NULL.
 *
 * reconstruction: n_dies × n_tests; latent: n_dies × n_latent. NaN for a die that is not evaluable.
 */
KG_API int32_t kg_reconstruct(const kg_model *model, int32_t precision, int32_t point, void *scratch,
                              const float *values, const int32_t *group, int64_t n_dies,
                              float *reconstruction, float *latent);

/*
 * The k tests that made the score of one die, largest first; ties go to the lower column.
 *
 * columns, z, expected: k each: column, signed weighted residual, and what the model expects in the
 * test's units; may be NULL if k is 0. Returned in *n_found: k, or the number of tests present if that is smaller;
 * 0 for a die that is not evaluable, and on any error.
 */
KG_API int32_t kg_contributions(const kg_model *model, int32_t precision, int32_t point, void *scratch,
                                const float *values, int32_t group, int32_t k, int32_t *columns,
                                float *z, double *expected, int32_t *n_found);

#ifdef __cplusplus
}
#endif

#endif
