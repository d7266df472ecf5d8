#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string>

#include "inspector/cpython/allocator.h"
#include "inspector/cpython/layout.h"

namespace inspector {

/// What was found and verified of the interpreter we live in. Made once, with
/// the GIL, before anything else; read afterwards without it, also by the
/// child. Holds no reference: all it points to lives as long as the process.
struct Runtime {
  const Layout* layout = nullptr;
  void* interpreter = nullptr;
  const char* generation0 = nullptr;  // Head of the youngest generation.
  int gc_enabled = 0;                 // Its offset from there.
  int gc_permanent = 0;

  /// How much further than in the layout's row the collector's fields behind
  /// the generations lie: 4 with Debian's 3.13, else 0.
  int gc_shift() const { return gc_permanent - layout->gc_permanent; }

  std::string version;  // "3.11.2"
  std::string build;    // "release" or "debug"

  // Types that we tell apart by address; they are static and never freed.
  PyObject* type_type = nullptr;
  PyObject* type_dict = nullptr;
  PyObject* type_set = nullptr;
  PyObject* type_frozenset = nullptr;
  PyObject* type_bytearray = nullptr;
  PyObject* type_module = nullptr;
  PyObject* type_function = nullptr;
  PyObject* type_method = nullptr;
  PyObject* type_cell = nullptr;
  PyObject* type_code = nullptr;
  PyObject* type_frame = nullptr;
  PyObject* type_traceback = nullptr;
  PyObject* type_generator = nullptr;
  PyObject* type_coroutine = nullptr;
  PyObject* type_async_generator = nullptr;
  void* class_dealloc = nullptr;  // Of every class made by Python code.
  /// Whether tp_traverse names the dict of an instance that shares the values
  /// in place with it: 3.13 began without, later releases do.
  bool shared_dict_is_visited = true;
  PyObject* name_module = nullptr;  // The interned text "__module__".
  PyObject* modules = nullptr;      // The dict that sys.modules names at start.
  PyObject* exit_function = nullptr;  // Ours; registered with atexit, or null.

  // _PyRuntime: the state of the process and of its main interpreter.
  const char* state = nullptr;
  size_t state_size = 0;

  // Where blocks come from; may say that it does not know. Never freed.
  Allocator* allocator = nullptr;

  // Exported by every CPython, outside the limited API; pure field reads.
  void* (*thread_head)(void* interpreter) = nullptr;
  void* (*thread_next)(void* thread) = nullptr;
  void* (*interpreter_head)() = nullptr;
  void* (*interpreter_next)(void* interpreter) = nullptr;
};

/// Finds the interpreter's structures and compares every offset of its layout
/// row with what the interpreter says of itself. GIL held, on the thread that
/// loads us. Makes a few objects and drops them all again.
///
/// Returns an empty text and fills `runtime`, or a sentence that says what is
/// not as known; then nothing may be read. Facts and tricks:
/// Modules/gcmodule.c and Objects/*.c of 3.11 … 3.14.
std::string FindRuntime(Runtime& runtime);

/// True while a collection runs: its garbage is in no list then.
inline bool IsCollecting(const Runtime& runtime) {
  return Read<int>(runtime.generation0,
                   runtime.layout->gc_collecting + runtime.gc_shift()) != 0;
}

}  // namespace inspector
