// The kernel as a Python module: everything that comes in is checked here, so that the kernel need not.
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>
#include "kernel.h"

static const Variant *find(const char *name) {
  for (const Variant *v = variants; v->name; v++) if (!strcmp(v->name, name)) return v->is_supported() ? v : NULL;
  return NULL;
}

static PyObject *supported(PyObject *self, PyObject *nothing) {
  (void)self; (void)nothing;
  PyObject *names = PyList_New(0);
  for (const Variant *v = variants; names && v->name; v++) {
    if (!v->is_supported()) continue;
    PyObject *name = PyUnicode_FromString(v->name);
    if (!name || PyList_Append(names, name)) Py_CLEAR(names);
    Py_XDECREF(name);
  }
  return names;
}

#define SHAPE "(iiiiiiiif)"
#define OF_SHAPE(s) &(s).layers, &(s).heads, &(s).width, &(s).mlp, &(s).vocabulary, &(s).context, &(s).conditions, &(s).condition_rows, \
                    &(s).eps

static PyObject *sizes(PyObject *self, PyObject *args) {
  (void)self;
  Shape s;
  int rows;
  if (!PyArg_ParseTuple(args, SHAPE "i:sizes", OF_SHAPE(s), &rows)) return NULL;
  const char *wrong = rows < 1 ? "rows must be positive" : complaint(&s);
  if (wrong) return PyErr_Format(PyExc_ValueError, "%s", wrong);
  return Py_BuildValue("{s:n,s:n,s:n,s:n,s:i}", "weights", (Py_ssize_t)weight_size(&s), "plain",
                       (Py_ssize_t)plain_size(&s), "cache", (Py_ssize_t)cache_size(&s), "work",
                       (Py_ssize_t)work_size(&s, rows), "logits", padded(s.vocabulary));
}

// A contiguous buffer of exactly so many items, or of more where `more`
static int take(PyObject *from, Py_buffer *view, int writable, const char *format, size_t items, int more, const char *name) {
  if (PyObject_GetBuffer(from, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0))) return -1;
  const size_t found = view->itemsize > 0 ? (size_t)view->len/(size_t)view->itemsize : 0;
  if (view->format && !strcmp(view->format, format) && (more ? found >= items : found == items)) return 0;
  PyErr_Format(PyExc_ValueError, "%s must hold %zu items of type %s, got %zu of %s", name, items, format, found,
               view->format ? view->format : "B");
  PyBuffer_Release(view);
  return -1;
}

enum { WEIGHTS, PLAIN, TOKENS, HELD, LENGTHS, LOGITS, WORK, FIRST_CACHE };

static PyObject *step(PyObject *self, PyObject *args) {
  (void)self;
  Shape s;
  const char *name;
  PyObject *given[FIRST_CACHE], *caches;
  int is_bf16;
  if (!PyArg_ParseTuple(args, "s" SHAPE "OpOOOOO!OO:step", &name, OF_SHAPE(s), &given[WEIGHTS], &is_bf16, &given[PLAIN],
                        &given[TOKENS], &given[HELD], &given[LENGTHS], &PyList_Type, &caches, &given[LOGITS], &given[WORK])) return NULL;
  const Variant *variant = find(name);
  if (!variant) return PyErr_Format(PyExc_ValueError, "this machine has no %s", name);
  const char *wrong = complaint(&s);
  if (wrong) return PyErr_Format(PyExc_ValueError, "%s", wrong);
  const Py_ssize_t rows = PyList_Size(caches);
  if (rows < 1 || rows > 4096) return PyErr_Format(PyExc_ValueError, "rows must be between 1 and 4096, got %zd", rows);
  Py_buffer *views = PyMem_Calloc((size_t)rows + FIRST_CACHE, sizeof(Py_buffer));
  float **at = PyMem_Calloc((size_t)rows, sizeof(float *));
  const size_t n_held = (size_t)rows*(size_t)s.conditions;
  int32_t *tokens = PyMem_Calloc(2*(size_t)rows + n_held, sizeof(int32_t)); // copies: what is checked stays
  int32_t *lengths = tokens + rows, *held = lengths + rows;
  PyObject *done = NULL;
  int taken = 0;
  if (!views || !at || !tokens) { PyErr_NoMemory(); goto out; }
#define TAKE(which, writable, format, items, more, name) \
  if (take(given[which], views + which, writable, format, items, more, name)) goto out; else taken++
  TAKE(WEIGHTS, 0, is_bf16 ? "H" : "f", weight_size(&s), 0, "weights");
  TAKE(PLAIN, 0, "f", plain_size(&s), 0, "plain");
  TAKE(TOKENS, 0, "i", (size_t)rows, 0, "tokens");
  TAKE(HELD, 0, "i", n_held, 0, "held");
  TAKE(LENGTHS, 0, "i", (size_t)rows, 0, "lengths");
  TAKE(LOGITS, 1, "f", (size_t)rows*padded(s.vocabulary), 0, "logits");
  TAKE(WORK, 1, "f", work_size(&s, (int)rows), 1, "work");
  memcpy(tokens, views[TOKENS].buf, (size_t)rows*sizeof(int32_t));
  memcpy(lengths, views[LENGTHS].buf, (size_t)rows*sizeof(int32_t));
  if (n_held) memcpy(held, views[HELD].buf, n_held*sizeof(int32_t));
  for (size_t k = 0; k < n_held; k++) if (held[k] < 0 || held[k] >= s.condition_rows) {
    PyErr_Format(PyExc_ValueError, "row %d is not below %d", held[k], s.condition_rows);
    goto out;
  }
  for (Py_ssize_t r = 0; r < rows; r++) {
    PyObject *cache = PyList_GetItem(caches, r);
    if (!cache || take(cache, views + taken, 1, "f", cache_size(&s), 0, "a cache")) goto out;
    at[r] = views[taken++].buf;
    if (tokens[r] < 0 || tokens[r] >= s.vocabulary) {
      PyErr_Format(PyExc_ValueError, "token %d is not below %d", tokens[r], s.vocabulary);
      goto out;
    }
    if (lengths[r] < 0 || lengths[r] >= s.context) {
      PyErr_Format(PyExc_ValueError, "%d tokens leave no room in a context of %d", lengths[r], s.context);
      goto out;
    }
  }
  Step *run = is_bf16 ? variant->bf16 : variant->float32;
  Py_BEGIN_ALLOW_THREADS
  run(&s, views[WEIGHTS].buf, views[PLAIN].buf, (int)rows, tokens, held, lengths, at, views[LOGITS].buf, views[WORK].buf);
  Py_END_ALLOW_THREADS
  done = Py_NewRef(Py_None);
out:
  while (taken) PyBuffer_Release(views + --taken);
  PyMem_Free(views);
  PyMem_Free(at);
  PyMem_Free(tokens);
  return done;
}

static PyMethodDef methods[] = {
  {"supported", supported, METH_NOARGS, "Instruction sets of this machine that the kernel is made for, best first."},
  {"sizes", sizes, METH_VARARGS, "sizes(shape, rows): how many items every buffer of `step` has."},
  {"step", step, METH_VARARGS, "step(name, shape, weights, is_bf16, plain, tokens, held, lengths, caches, logits, work): see kernel.h."},
  {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", "Steps of a small Llama on a CPU.", 0, methods, 0, 0, 0, 0};
PyMODINIT_FUNC PyInit__kernel(void) {
  PyObject *module = PyModule_Create(&definition);
  if (module && PyModule_AddIntConstant(module, "interface", INTERFACE)) Py_CLEAR(module);
  return module;
}
