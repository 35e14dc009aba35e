/*
 * knowngood._native: the engine for Python. Arrays come through the buffer protocol and are written in
 * place. The GIL guards a model's scratch, a block for each thread that ever scored with it at once; it
 * is given up while much is computed. Nothing but memory outlives a fork. The limited API of 3.11 lets
 * one file serve every later Python; that of 3.10 has no buffers, so 3.10 gets a file of its own.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "knowngood.h"

enum { F32, F64, I32, I8, N_DTYPES };
static const struct {
    char name[8], format, size;
} DTYPES[N_DTYPES] = {{"float32", 'f', 4}, {"float64", 'd', 8}, {"int32", 'i', 4}, {"int8", 'b', 1}};

/* Dies times bytes of model; about 20 µs, of which giving up the GIL takes a small part. */
static const Py_ssize_t WORTH_RELEASING = 16 << 20;

typedef struct {
    PyObject *error, *model_type, *ndarray, *dtypes[N_DTYPES]; /* the last two NULL until learnt */
} module_state;

typedef struct {
    PyObject_HEAD
    const module_state *state;
    kg_model *engine;
    Py_ssize_t file_size, widths[3]; /* widths by `wanted.columns` */
    void **unused; /* scratch: the first word of a block points to the next, the engine's bytes follow */
} model;

static PyObject *fail(const module_state *state, int status, const char *text) {
    PyObject *arguments = Py_BuildValue("(is)", status, text);
    if (arguments) PyErr_SetObject(status == KG_ERROR_MEMORY ? PyExc_MemoryError : state->error, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

/* Arrays: what each must be, and where it was found. */
enum { NONE_TOO = 1, WRITTEN = 2 }; /* flags */
enum { LIST, OF_TESTS, OF_LATENT }; /* columns: a list has none */
enum { ONE, MANY, AS_MANY };        /* rows: AS_MANY as the array before that may have any number */

typedef struct {
    const char *name;
    int dtype, flags, columns, rows;
} wanted;

typedef struct {
    char *data; /* NULL for None */
    Py_ssize_t n_dims, rows, columns, size;
    Py_buffer view;
} array;

/* How a NumPy array starts, as compiled extensions of NumPy 1 and 2 rely on; `learn` makes sure. An
 * array's buffer takes NumPy 60 to 90 ns to give, this takes none. */
typedef struct {
    PyObject_HEAD
    char *data;
    int n_dims;
    Py_ssize_t *shape, *strides;
    PyObject *base, *dtype;
    int flags; /* 0x1 C-contiguous, 0x100 aligned, 0x400 writable */
} ndarray;

static int is_subclass(PyObject *object, PyObject *type) {
    return type && (PyObject *)Py_TYPE(object) != type && PyObject_TypeCheck(object, (PyTypeObject *)type);
}

static int take(const module_state *state, PyObject *object, const wanted *w, array *a) {
    const ndarray *known = (const ndarray *)object;
    const int is_written = w->flags & WRITTEN, needed = is_written ? 0x501 : 0x101;
    const int size = DTYPES[w->dtype].size;
    const Py_ssize_t *shape;
    if ((PyObject *)Py_TYPE(object) == state->ndarray && known->dtype == state->dtypes[w->dtype]) {
        if ((known->flags & needed) != needed) return 0;
        a->data = known->data, a->n_dims = known->n_dims, shape = known->shape;
    } else {
        const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (is_written ? PyBUF_WRITABLE : 0);
        if (is_subclass(object, state->ndarray)) return 0; /* a masked array's mask is in no buffer */
        if (PyObject_GetBuffer(object, &a->view, flags)) return 0;
        const char *format = a->view.format ? a->view.format : "B";
        format += strspn(format, "@=");
        a->data = a->view.buf, a->n_dims = a->view.ndim, shape = a->view.shape;
        if (format[0] != DTYPES[w->dtype].format || format[1] || (uintptr_t)a->data % (unsigned)size) return 0;
    }
    a->rows = a->n_dims ? shape[0] : 0, a->columns = a->n_dims == 2 ? shape[1] : 1;
    a->size = a->rows * a->columns * size;
    return 1;
}

static void release(array *arrays, int n) {
    for (int i = 0; i < n; i++)
        if (arrays[i].view.obj) PyBuffer_Release(&arrays[i].view);
}

/* Results share no byte with one another or with values: half of one would be read as data. */
static int take_all(const model *m, PyObject *const *objects, const wanted *w, array *arrays, int n) {
    Py_ssize_t many = 0;
    for (int i = 0; i < n; i++, w++) {
        array *a = &arrays[i];
        a->view.obj = NULL, a->data = NULL, a->size = 0;
        if (objects[i] == Py_None && (w->flags & NONE_TOO)) continue;
        int is_right = take(m->state, objects[i], w, a) && a->columns == m->widths[w->columns] &&
                       a->n_dims == (w->columns == LIST ? 1 : 2);
        if (is_right && w->rows == MANY) many = a->rows;
        is_right = is_right && a->rows == (w->rows == ONE ? 1 : many);
        for (const array *b = arrays; is_right && b < a; b++)
            is_right = a->data >= b->data + b->size || b->data >= a->data + a->size;
        if (is_right) continue;
        release(arrays, i + 1);
        PyErr_Format(PyExc_TypeError, "%s must be a C-contiguous %s array, a row of %zd for each die, %s", w->name,
                     DTYPES[w->dtype].name, m->widths[w->columns], w->flags & WRITTEN ? "writable, apart" : "aligned");
        return 0;
    }
    return 1;
}

/* Calls: precision, index of the operating point, then arrays. */
enum { SCORE, RECONSTRUCT, CONTRIBUTIONS };
static const int N_ARRAYS[] = {5, 4, 5};
static const wanted WANTED[][5] = {
    {{"values", F32, 0, OF_TESTS, MANY}, {"group", I32, NONE_TOO, LIST, AS_MANY},
     {"scores", F32, WRITTEN, LIST, AS_MANY}, {"verdicts", I8, WRITTEN, LIST, AS_MANY},
     {"reasons", I8, WRITTEN, LIST, AS_MANY}},
    {{"values", F32, 0, OF_TESTS, MANY}, {"group", I32, NONE_TOO, LIST, AS_MANY},
     {"reconstruction", F32, WRITTEN | NONE_TOO, OF_TESTS, AS_MANY},
     {"latent", F32, WRITTEN | NONE_TOO, OF_LATENT, AS_MANY}},
    {{"values", F32, 0, OF_TESTS, ONE}, {"group", I32, 0, LIST, ONE}, {"columns", I32, WRITTEN, LIST, MANY},
     {"z", F32, WRITTEN, LIST, AS_MANY}, {"expected", F64, WRITTEN, LIST, AS_MANY}}};

static int run(int what, const kg_model *m, int precision, int point, void *work, const array *a, int *found) {
    void *x[5];
    for (int i = 0; i < N_ARRAYS[what]; i++) x[i] = a[i].data;
    if (what == SCORE) return kg_score(m, precision, point, work, x[0], x[1], a->rows, x[2], x[3], x[4]);
    if (what == RECONSTRUCT) return kg_reconstruct(m, precision, point, work, x[0], x[1], a->rows, x[2], x[3]);
    return kg_contributions(m, precision, point, work, x[0], *(int32_t *)x[1], (int32_t)a[2].rows, x[2], x[3], x[4], found);
}

static int small_int(PyObject *object) {
    const long value = PyLong_AsLong(object);
    return value == (int)value ? (int)value : INT_MIN; /* which names nothing */
}

static PyObject *call(int what, model *m, PyObject *const *args, Py_ssize_t n_args) {
    const int n = N_ARRAYS[what];
    array arrays[5];
    int32_t found = 0;
    if (n_args != n + 2) return PyErr_Format(PyExc_TypeError, "takes %d arguments, not %zd", n + 2, n_args);
    const int precision = small_int(args[0]), point = small_int(args[1]);
    if (PyErr_Occurred() || !take_all(m, args + 2, WANTED[what], arrays, n)) return NULL;
    int status = KG_ERROR_MEMORY;
    void **block = m->unused;
    if (block) m->unused = *block;
    else block = PyMem_Malloc(sizeof *block + (size_t)kg_scratch_size(m->engine));
    if (block) {
        const int is_long = arrays[0].rows > WORTH_RELEASING / m->file_size;
        PyThreadState *thread = is_long ? PyEval_SaveThread() : NULL;
        status = run(what, m->engine, precision, point, block + 1, arrays, &found);
        if (thread) PyEval_RestoreThread(thread);
        *block = m->unused, m->unused = block;
    }
    release(arrays, n);
    return status == KG_OK ? PyLong_FromLong(found) : fail(m->state, status, kg_status_text(status));
}

#define METHOD(name, what) \
    static PyObject *name(PyObject *m, PyObject *const *args, Py_ssize_t n) { return call(what, (model *)m, args, n); }
METHOD(score_into, SCORE)
METHOD(reconstruct, RECONSTRUCT)
METHOD(contributions, CONTRIBUTIONS)

static void destroy(PyObject *self) {
    model *m = (model *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (void **block = m->unused, *next; block; block = next) {
        next = *block;
        PyMem_Free(block);
    }
    kg_close(m->engine);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* open_model(data, path=None, skip_golden=False): the model, and its path. */
static PyObject *open_model(PyObject *module, PyObject *args) {
    const module_state *state = PyModule_GetState(module);
    char message[KG_MESSAGE_SIZE] = "";
    kg_options options;
    kg_model *engine;
    Py_buffer data;
    kg_options_init(&options);
    if (!PyArg_ParseTuple(args, "y*|zp:open_model", &data, &options.path, &options.skip_golden)) return NULL;
    PyThreadState *thread = PyEval_SaveThread();
    const int status = kg_open(data.buf, data.len, &options, &engine, message, sizeof message);
    PyEval_RestoreThread(thread);
    model *m = status == KG_OK ? PyObject_New(model, (PyTypeObject *)state->model_type) : NULL;
    if (m) *m = (model){m->ob_base, state, engine, data.len, {1, kg_n_tests(engine), kg_n_latent(engine)}, NULL};
    else kg_close(engine);
    PyBuffer_Release(&data);
    if (status != KG_OK) return fail(state, status, message);
    return m ? Py_BuildValue("(Ns)", m, kg_model_path(engine)) : NULL;
}

/* path(i): name, None beyond the last, and whether this processor has it. */
static PyObject *path(PyObject *Py_UNUSED(module), PyObject *index) {
    const int i = small_int(index);
    const char *name = kg_path_name(i);
    PyObject *has = PyErr_Occurred() ? NULL : PyBool_FromLong(name && kg_path_is_supported(name));
    return has ? Py_BuildValue("(zN)", name, has) : NULL;
}

/* learn(probe, address, dtypes): a new (2, 3) float32 array; False if it is not laid out so. */
static PyObject *learn(PyObject *module, PyObject *args) {
    module_state *state = PyModule_GetState(module);
    const ndarray *probe;
    Py_ssize_t address;
    PyObject *d[N_DTYPES];
    if (!PyArg_ParseTuple(args, "On(OOOO)", &probe, &address, &d[F32], &d[F64], &d[I32], &d[I8])) return NULL;
    const int is_so = (Py_ssize_t)probe->data == address && probe->n_dims == 2 && probe->shape[0] == 2 &&
                      probe->shape[1] == 3 && !probe->base && probe->dtype == d[F32] && probe->flags == 0x505;
    for (int i = 0; is_so && !state->ndarray && i < N_DTYPES; i++) state->dtypes[i] = Py_NewRef(d[i]);
    if (is_so && !state->ndarray) state->ndarray = Py_NewRef((PyObject *)Py_TYPE((PyObject *)probe));
    return PyBool_FromLong(is_so);
}

static PyMethodDef methods[] = {{"score_into", (PyCFunction)(void *)score_into, METH_FASTCALL, NULL},
                                {"reconstruct", (PyCFunction)(void *)reconstruct, METH_FASTCALL, NULL},
                                {"contributions", (PyCFunction)(void *)contributions, METH_FASTCALL, NULL},
                                {NULL, NULL, 0, NULL}};
static PyType_Slot type_slots[] = {{Py_tp_dealloc, destroy}, {Py_tp_methods, methods}, {0, NULL}};
static PyType_Spec type_spec = {"knowngood._native.Model", sizeof(model), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, type_slots};

static int fill(PyObject *module) {
    module_state *state = PyModule_GetState(module);
    state->error = PyErr_NewException("knowngood._native.Error", NULL, NULL);
    state->model_type = PyType_FromModuleAndSpec(module, &type_spec, NULL);
    if (!state->error || !state->model_type || PyModule_AddObjectRef(module, "Error", state->error)) return -1;
    return PyModule_AddStringConstant(module, "version", kg_version());
}

static PyMethodDef functions[] = {{"open_model", open_model, METH_VARARGS, NULL}, {"path", path, METH_O, NULL},
                                  {"learn", learn, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};
static struct PyModuleDef definition = {.m_base = PyModuleDef_HEAD_INIT, .m_name = "_native",
                                        .m_size = sizeof(module_state), .m_methods = functions, .m_slots = slots};
PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
