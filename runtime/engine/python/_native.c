/*
 * knowngood._native: the engine for Python, called with NumPy arrays that are read and written in place.
 *
 * An open model is immutable and nothing but memory, so any thread may use it, and a forked child too.
 * Scratch waits in a list that the GIL guards (so there is no Py_mod_gil slot): a call takes a block and
 * puts it back, and makes one only if more calls run at once than ever before. The GIL is given up while
 * much is computed, not for less: to get it back may take milliseconds. The limited API of 3.11 makes one
 * file for every later Python that has a GIL; that of 3.10 lacks buffers.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "knowngood.h"

enum { F32, F64, I32, I8, N_DTYPES };
static const char FORMATS[] = "fdib";
static const Py_ssize_t SIZES[] = {4, 8, 4, 1};

typedef struct { /* what it refers to stays until the process ends */
    PyObject *error, *model_type;
    PyObject *ndarray, *dtypes[N_DTYPES]; /* from `learn` */
    int is_laid_out;                      /* an ndarray is as below */
} module_state;

/* A file in one precision at one operating point. */
typedef struct model {
    PyObject_HEAD
    const module_state *state;
    struct model *opened; /* what `open_model` gave: has the scratch of all points, and lives as long */
    kg_model *engine;
    Py_ssize_t n_short, widths[3]; /* dies scored with the GIL kept; by `wanted.columns` */
    int32_t precision, point;
    void **unused; /* scratch: the first word of a block points to the next, the engine's bytes follow */
} model;

static PyObject *fail(const module_state *state, int status, const char *text) {
    PyObject *arguments = Py_BuildValue("(is)", status, text);
    if (arguments) PyErr_SetObject(status == KG_ERROR_MEMORY ? PyExc_MemoryError : state->error, arguments);
    return Py_XDECREF(arguments), NULL;
}

/* What an array must be: flags; columns, which a list has none of; rows, as many as the one of MANY has. */
enum { NONE_TOO = 1, WRITTEN = 2, LIST = 0, OF_TESTS, OF_LATENT, ONE = 0, MANY, AS_MANY };
typedef struct { int8_t dtype, flags, columns, rows; } wanted;
typedef struct { void *data; Py_ssize_t rows, size; int is_viewed; } array; /* data: NULL for None */

/* How a NumPy array starts. Extensions compiled for NumPy 1 and 2 have this built in; `learn` makes sure
 * all the same. NumPy takes 90 ns to give the buffer of an array, and a call has four. */
typedef struct {
    PyObject_HEAD
    char *data;
    int n_dims;
    Py_ssize_t *shape, *strides;
    PyObject *base, *dtype;
    int flags;
} ndarray;
enum { C_CONTIGUOUS = 0x1, OWN_DATA = 0x4, ALIGNED = 0x100, WRITEABLE = 0x400 };

/* Where the array's items are, and how many dimensions of which size; 0 if it is another, -1 for an error. */
static int take(const module_state *s, PyObject *x, const wanted *w, array *a, Py_buffer *view, const Py_ssize_t **shape) {
    const ndarray *known = (const ndarray *)x;
    const int is_written = w->flags & WRITTEN, needed = C_CONTIGUOUS | ALIGNED | (is_written ? WRITEABLE : 0);
    if ((PyObject *)Py_TYPE(x) != s->ndarray) return 0; /* a masked array's mask is not in its items */
    if (s->is_laid_out && known->dtype == s->dtypes[w->dtype]) { /* another object may mean the same dtype */
        a->data = known->data, *shape = known->shape;
        return (known->flags & needed) == needed ? known->n_dims : 0;
    }
    if (PyObject_GetBuffer(x, view, PyBUF_ND | PyBUF_FORMAT | (is_written ? PyBUF_WRITABLE : 0)))
        return PyErr_ExceptionMatches(PyExc_ValueError) ? PyErr_Clear(), 0 : -1; /* read-only, or not contiguous */
    const char *format = view->format + strspn(view->format, "@=");
    a->data = view->buf, *shape = view->shape, a->is_viewed = 1;
    const int is_aligned = (uintptr_t)a->data % (uintptr_t)SIZES[w->dtype] == 0;
    return format[0] == FORMATS[w->dtype] && !format[1] && is_aligned ? view->ndim : 0;
}

static void release(const array *arrays, Py_buffer *views, int n) {
    for (int i = 0; i < n; i++)
        if (arrays[i].is_viewed) PyBuffer_Release(&views[i]); /* views stay out of the caches otherwise */
}

/* 1 if all are as wanted, 0 if not, -1 with an error set. Results share no byte with one another or with
 * values: half of one would be read as the other. */
static int take_all(const model *m, PyObject *const *objects, const wanted *w, array *arrays, Py_buffer *views, int n) {
    const Py_ssize_t *shape = NULL;
    Py_ssize_t many = 0;
    for (int i = 0; i < n; i++, w++) {
        array *a = &arrays[i];
        a->data = NULL, a->rows = a->size = a->is_viewed = 0;
        if (objects[i] == Py_None && w->flags & NONE_TOO) continue;
        const int n_dims = take(m->state, objects[i], w, a, &views[i], &shape);
        const Py_ssize_t columns = m->widths[w->columns]; /* 1 of a list */
        int is_right = n_dims == (w->columns == LIST ? 1 : 2) && (n_dims == 1 || shape[1] == columns);
        if (is_right) a->rows = shape[0], a->size = shape[0] * columns * SIZES[w->dtype];
        if (is_right && w->rows == MANY) many = a->rows;
        is_right = is_right && a->rows == (w->rows == ONE ? 1 : many);
        for (const array *b = arrays; is_right && b < a; b++)
            is_right = (char *)a->data >= (char *)b->data + b->size || (char *)b->data >= (char *)a->data + a->size;
        if (is_right) continue;
        release(arrays, views, i + 1);
        return n_dims < 0 ? -1 : 0;
    }
    return 1;
}

enum { JUDGE, RECONSTRUCT, CONTRIBUTIONS };
static const int N_ARRAYS[] = {5, 4, 5};
static const wanted WANTED[][5] = { /* values and group first */
    {{F32, 0, OF_TESTS, MANY}, {I32, NONE_TOO, LIST, AS_MANY},
     {F32, WRITTEN, LIST, AS_MANY}, {I8, WRITTEN, LIST, AS_MANY}, {I8, WRITTEN, LIST, AS_MANY}},
    {{F32, 0, OF_TESTS, MANY}, {I32, NONE_TOO, LIST, AS_MANY},
     {F32, WRITTEN | NONE_TOO, OF_TESTS, AS_MANY}, {F32, WRITTEN | NONE_TOO, OF_LATENT, AS_MANY}},
    {{F32, 0, OF_TESTS, ONE}, {I32, 0, LIST, ONE},
     {I32, WRITTEN, LIST, MANY}, {F32, WRITTEN, LIST, AS_MANY}, {F64, WRITTEN, LIST, AS_MANY}}};

static int run(int what, const model *m, void *scratch, const array *a, int32_t *found) {
    const kg_model *e = m->engine;
    const int32_t precision = m->precision, point = m->point, *group = a[1].data, k = (int32_t)a[2].rows;
    void *values = a[0].data, *x = a[2].data, *y = a[3].data, *z = a[4].data;
    if (what == JUDGE) return kg_score(e, precision, point, scratch, values, group, a->rows, x, y, z);
    if (what == RECONSTRUCT) return kg_reconstruct(e, precision, point, scratch, values, group, a->rows, x, y);
    return kg_contributions(e, precision, point, scratch, values, *group, k, x, y, z, found);
}

/* How many were found, or a copy of the values; None, and nothing is written, for arrays that it cannot take. */
static PyObject *call(int what, int is_kept, model *m, PyObject *const *objects, Py_ssize_t n_objects) {
    model *o = m->opened;
    int32_t found = 0;
    Py_buffer views[5];
    array arrays[5];
    arrays[4].data = NULL; /* where a call has fewer */
    if (n_objects != N_ARRAYS[what]) return PyErr_Format(PyExc_TypeError, "takes %d arrays", N_ARRAYS[what]);
    const int is_right = take_all(m, objects, WANTED[what], arrays, views, N_ARRAYS[what]);
    if (is_right <= 0) return is_right < 0 ? NULL : Py_NewRef(Py_None);
    int status = KG_ERROR_MEMORY;
    void **block = o->unused ? o->unused : PyMem_Malloc(sizeof *block + (size_t)kg_scratch_size(m->engine));
    if (block) {
        if (block == o->unused) o->unused = *block;
        PyThreadState *thread = arrays->rows > m->n_short ? PyEval_SaveThread() : NULL;
        status = run(what, m, block + 1, arrays, &found);
        if (thread) PyEval_RestoreThread(thread);
        *block = o->unused, o->unused = block;
    }
    if (status != KG_OK && what == JUDGE) memset(arrays[3].data, KG_UNSCORED, (size_t)arrays[3].size);
    PyObject *result = status != KG_OK ? fail(m->state, status, kg_status_text(status))
                       : is_kept       ? PyBytes_FromStringAndSize(arrays->data, arrays->size)
                                       : PyLong_FromLong(found);
    release(arrays, views, N_ARRAYS[what]);
    return result;
}

#define METHOD(name, what, keep) \
    static PyObject *name(PyObject *m, PyObject *const *x, Py_ssize_t n) { return call(what, keep, (model *)m, x, n); }
METHOD(judge, JUDGE, 0)
METHOD(judge_and_keep, JUDGE, 1)
METHOD(reconstruct, RECONSTRUCT, 0)
METHOD(contributions, CONTRIBUTIONS, 0)

static void destroy(PyObject *self) {
    model *m = (model *)self;
    PyObject *type = (PyObject *)Py_TYPE(self);
    if (m->opened != m) Py_DECREF((PyObject *)m->opened);
    else kg_close(m->engine);
    for (void **block = m->unused, *next; block; block = next) next = *block, PyMem_Free(block);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* at(precision, fpr, n_short): the model in one precision at one operating point of its file; 0.0 for its default. */
static PyObject *at(PyObject *self, PyObject *args) {
    const model *from = (const model *)self;
    int32_t precision, point;
    double fpr;
    Py_ssize_t n_short;
    if (!PyArg_ParseTuple(args, "idn:at", &precision, &fpr, &n_short)) return NULL;
    const int status = kg_find_point(from->engine, precision, fpr, 1, &point);
    if (status != KG_OK) return fail(from->state, status, kg_status_text(status));
    model *m = PyObject_New(model, Py_TYPE(self));
    if (!m) return NULL;
    memcpy((char *)m + sizeof m->ob_base, (const char *)from + sizeof from->ob_base, sizeof *m - sizeof m->ob_base);
    m->precision = precision, m->point = point, m->unused = NULL, m->n_short = n_short;
    return Py_INCREF((PyObject *)m->opened), (PyObject *)m;
}

/* open_model(data, path, skip_golden): the model, at its first point till `at` says which, and its path. */
static PyObject *open_model(PyObject *module, PyObject *args) {
    const module_state *state = PyModule_GetState(module);
    char message[KG_MESSAGE_SIZE] = "";
    kg_options options;
    kg_model *e;
    Py_buffer data;
    kg_options_init(&options);
    if (!PyArg_ParseTuple(args, "y*zp:open_model", &data, &options.cpu_path, &options.skip_golden)) return NULL;
    PyThreadState *thread = PyEval_SaveThread();
    const int status = kg_open(data.buf, data.len, &options, &e, message, sizeof message);
    PyEval_RestoreThread(thread);
    model *m = status == KG_OK ? PyObject_New(model, (PyTypeObject *)state->model_type) : NULL;
    if (m) *m = (model){m->ob_base, state, m, e, 0, {1, kg_n_tests(e), kg_n_latent(e)}, KG_PRECISION_DEFAULT, 0, NULL};
    else kg_close(e);
    PyBuffer_Release(&data);
    if (status != KG_OK) return fail(state, status, message);
    return m ? Py_BuildValue("(Ns)", m, kg_model_cpu_path(e)) : NULL;
}

/* path(i): name, None beyond the last, and whether this processor has it. */
static PyObject *path(PyObject *Py_UNUSED(module), PyObject *args) {
    int i;
    if (!PyArg_ParseTuple(args, "i:path", &i)) return NULL;
    return Py_BuildValue("(zN)", kg_cpu_path_name(i), PyBool_FromLong(kg_cpu_path_is_supported(kg_cpu_path_name(i))));
}

/* learn(probe, address, dtypes): what arrays are, from a new (2, 3) of float32; whether they are laid out so. */
static PyObject *learn(PyObject *module, PyObject *args) {
    module_state *s = PyModule_GetState(module);
    const ndarray *probe;
    Py_ssize_t address;
    PyObject **d = s->dtypes; /* NumPy's own, as is the type: they are never freed */
    if (!PyArg_ParseTuple(args, "On(OOOO)", &probe, &address, &d[F32], &d[F64], &d[I32], &d[I8])) return NULL;
    s->ndarray = (PyObject *)Py_TYPE((PyObject *)probe);
    s->is_laid_out = (Py_ssize_t)probe->data == address && probe->n_dims == 2 && probe->shape[0] == 2 &&
                     probe->shape[1] == 3 && probe->strides[0] == 12 && probe->strides[1] == 4 && !probe->base &&
                     probe->dtype == d[F32] && probe->flags == (C_CONTIGUOUS | OWN_DATA | ALIGNED | WRITEABLE);
    return PyBool_FromLong(s->is_laid_out);
}

#define FAST(name) {#name, (PyCFunction)(void *)name, METH_FASTCALL, NULL}
#define PLAIN(name) {#name, name, METH_VARARGS, NULL}
static PyMethodDef methods[] = {
    FAST(judge), FAST(judge_and_keep), FAST(reconstruct), FAST(contributions), PLAIN(at), {0}};
static PyType_Slot type_slots[] = {{Py_tp_dealloc, destroy}, {Py_tp_methods, methods}, {0, NULL}};
static PyType_Spec type_spec = {"knowngood._native.Model", sizeof(model), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, type_slots};

static int fill(PyObject *module) {
    module_state *state = PyModule_GetState(module);
    PyObject *errors = PyImport_ImportModule("knowngood._errors");
    PyObject *base = errors ? PyObject_GetAttrString(errors, "KnowngoodError") : NULL;
    state->error = base ? PyErr_NewException("knowngood._native.Error", base, NULL) : NULL;
    Py_XDECREF(errors), Py_XDECREF(base);
    if (!state->error || PyModule_AddObjectRef(module, "Error", state->error)) return -1;
    state->model_type = PyType_FromModuleAndSpec(module, &type_spec, NULL);
    return state->model_type ? PyModule_AddStringConstant(module, "version", kg_version()) : -1;
}

static PyMethodDef functions[] = {PLAIN(open_model), PLAIN(path), PLAIN(learn), {0}};
static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};
static struct PyModuleDef definition = {.m_base = PyModuleDef_HEAD_INIT, .m_name = "_native",
                                        .m_size = sizeof(module_state), .m_methods = functions, .m_slots = slots};
PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
