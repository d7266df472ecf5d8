// Every offset is checked by making the interpreter tell the same fact in its
// own way: attributes of a small function, its code, its frame, its exception;
// sizes by `sys.getsizeof`; the collector's figures by the gc module. The head
// of generation 0 is found by behaviour: a new list is appended last, so its
// `_gc_next` is the head.

#include "inspector/cpython/runtime.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inspector/cpython/frames.h"
#include "inspector/cpython/py_ref.h"
#include "inspector/cpython/sizes.h"

extern "C" const unsigned long Py_Version;

namespace inspector {
namespace {

// Runs once, in a namespace that is emptied afterwards. `witness` is called
// while `function` runs, so that a running frame can be compared.
constexpr char kProbe[] = R"(
def function(witness, second='constant'):
    local = witness
    def inner():
        return local
    witness()
    raise LookupError(inner, 1)
def catch(witness):
    try:
        function(witness)
    except LookupError as error:
        return error
def generator():
    yield 1
async def coroutine():
    pass
async def async_generator():
    yield 1
waiting = coroutine()
waiting.close()
makers = generator(), waiting, async_generator()
)";

PyRef Attribute(const PyRef& object, const char* name) {
  PyRef value = PyRef::Steal(PyObject_GetAttrString(object.get(), name));
  if (!value) PyErr_Clear();
  return value;
}

PyRef Attribute(PyObject* object, const char* name) {
  return Attribute(PyRef::Borrow(object), name);
}

long Number(const PyRef& object) {
  if (!object) return -1;
  long value = PyLong_AsLong(object.get());
  if (value == -1) PyErr_Clear();
  return value;
}

PyRef Call(const PyRef& callable, PyObject* argument = nullptr) {
  if (!callable) return {};
  PyRef result = PyRef::Steal(
      argument == nullptr
          ? PyObject_CallNoArgs(callable.get())
          : PyObject_CallFunctionObjArgs(callable.get(), argument, nullptr));
  if (!result) PyErr_Clear();
  return result;
}

PyRef Import(const char* name) {
  PyRef module = PyRef::Steal(PyImport_ImportModule(name));
  if (!module) PyErr_Clear();
  return module;
}

/// Compares one runtime with the row for its version. Each check returns
/// false, and `failed_` says which field, at the first difference.
class Verifier {
 public:
  /// `layout` is the row of this version, to be made this interpreter's.
  Verifier(Runtime& runtime, Layout& layout)
      : runtime_(runtime), layout_(layout) {}

  bool All() {
    bool all = Symbols() && Published() && Generations() && Types() &&
               Texts() && Dicts() && Probe() && Instances() && Threads() &&
               Sizes();
    if (all && layout_.minor >= 13) LookAtSharedDict();
    return all;
  }
  const std::string& failed() const { return failed_; }

 private:
  bool Check(bool holds, const char* field) {
    if (!holds && failed_.empty()) failed_ = field;
    return holds;
  }

  template <typename Function>
  bool Find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
    return Check(function != nullptr, name);
  }

  bool Symbols() {
    return Find(runtime_.thread_head, "PyInterpreterState_ThreadHead") &&
           Find(runtime_.thread_next, "PyThreadState_Next") &&
           Find(runtime_.interpreter_head, "PyInterpreterState_Head") &&
           Find(runtime_.interpreter_next, "PyInterpreterState_Next") &&
           Find(runtime_.state, "_PyRuntime") && StateSize();
  }

  bool StateSize() {
    Dl_info info = {};
    void* symbol = nullptr;
    dladdr1(runtime_.state, &info, &symbol, RTLD_DL_SYMENT);
    runtime_.state_size =
        symbol == nullptr ? 0 : static_cast<ElfW(Sym)*>(symbol)->st_size;
    auto distance =
        static_cast<const char*>(runtime_.interpreter) - runtime_.state;
    return Check(distance >= 0 && size_t(distance) < runtime_.state_size,
                 "_PyRuntime");
  }

  bool Published() {
    return Check(TakePublishedOffsets(runtime_.state, Py_Version, layout_),
                 "_Py_DebugOffsets");
  }

  /// The list heads, thresholds, counts and statistics of the collector.
  bool Generations() {
    PyRef gc = Import("gc");
    PyRef thresholds = Call(Attribute(gc, "get_threshold"));
    PyRef statistics = Call(Attribute(gc, "get_stats"));
    PyRef enabled = Call(Attribute(gc, "isenabled"));
    PyRef frozen = Call(Attribute(gc, "get_freeze_count"));
    if (!Check(thresholds && statistics && enabled && frozen, "gc module"))
      return false;
    PyRef fresh = PyRef::Steal(PyList_New(0));
    auto next = Read<uintptr_t>(fresh.get(), -16);
    runtime_.generation0 = reinterpret_cast<const char*>(next & ~uintptr_t{3});
    auto distance =
        runtime_.generation0 - static_cast<const char*>(runtime_.interpreter);
    if (!Check(distance > 0 && distance < (1 << 20), "generation 0"))
      return false;
    for (int i = 0; i < 3; ++i) {
      const char* head = runtime_.generation0 + i * layout_.gc_generation_size;
      if (!Check(IsListHead(head), "generations") ||
          !Check(
              Read<int>(head, layout_.gc_threshold) ==
                  Number(PyRef::Borrow(PyTuple_GetItem(thresholds.get(), i))),
              "generation thresholds"))
        return false;
    }
    // Debian's 3.13 gives PyGC_Head an alignment of 4 (gchead-alignment.diff):
    // generations move 4 bytes down, what follows stays.
    bool moved = (reinterpret_cast<uintptr_t>(runtime_.generation0) & 7) == 4;
    runtime_.gc_enabled = layout_.gc_enabled + (moved ? 4 : 0);
    runtime_.gc_permanent = layout_.gc_permanent + (moved ? 4 : 0);
    const char* permanent = runtime_.generation0 + runtime_.gc_permanent;
    if (!Check(IsListHead(permanent), "permanent generation") ||
        !Check(Read<int>(runtime_.generation0, runtime_.gc_enabled) ==
                   PyObject_IsTrue(enabled.get()),
               "gc.enabled"))
      return false;
    bool none_frozen = ReadPointer(permanent, 0) == permanent;
    if (!Check(none_frozen == (Number(frozen) == 0), "permanent generation"))
      return false;
    int shift = runtime_.gc_shift();
    for (int i = 0; i < 3; ++i) {
      PyObject* entry = PyList_GetItem(statistics.get(), i);
      const char* names[] = {"collections", "collected", "uncollectable"};
      for (int field = 0; field < 3; ++field) {
        // What the first three calls made may have been collected since.
        long now = Read<int64_t>(runtime_.generation0,
                                 layout_.gc_stats + shift + i * 24 + field * 8);
        long then =
            Number(PyRef::Borrow(PyDict_GetItemString(entry, names[field])));
        if (!Check(now >= then && now <= then + 1000, "generation_stats"))
          return false;
      }
    }
    const char* collecting =
        runtime_.generation0 + layout_.gc_collecting + shift;
    bool is_published =
        layout_.gc_collecting_published == 0 ||
        collecting == static_cast<const char*>(runtime_.interpreter) +
                          layout_.gc_collecting_published;
    return Check(is_published && Read<int>(collecting, 0) == 0,
                 "gc.collecting") &&
           Check(Read<int64_t>(runtime_.generation0,
                               layout_.gc_long_lived_total + shift) >= 0,
                 "gc.long_lived_total");
  }

  static bool IsListHead(const char* head) {
    const char* next =
        reinterpret_cast<const char*>(Read<uintptr_t>(head, 0) & ~uintptr_t{3});
    return next != nullptr && (Read<uintptr_t>(next, 8) & ~uintptr_t{3}) ==
                                  reinterpret_cast<uintptr_t>(head);
  }

  bool Types() {
    runtime_.type_type = reinterpret_cast<PyObject*>(&PyType_Type);
    runtime_.type_dict = reinterpret_cast<PyObject*>(&PyDict_Type);
    runtime_.type_set = reinterpret_cast<PyObject*>(&PySet_Type);
    runtime_.type_frozenset = reinterpret_cast<PyObject*>(&PyFrozenSet_Type);
    runtime_.type_bytearray = reinterpret_cast<PyObject*>(&PyByteArray_Type);
    runtime_.type_module = reinterpret_cast<PyObject*>(&PyModule_Type);
    runtime_.type_traceback = reinterpret_cast<PyObject*>(&PyTraceBack_Type);
    runtime_.modules = PyImport_GetModuleDict();
    runtime_.name_module = PyUnicode_InternFromString("__module__");
    Py_DecRef(runtime_.name_module);  // Every class keeps it alive.
    PyRef os = Import("os");
    PyRef environ_type = Attribute(Attribute(os, "environ"), "__class__");
    PyObject* error = PyExc_LookupError;
    for (PyObject* type : {runtime_.type_type, runtime_.type_dict,
                           runtime_.type_set, error, environ_type.get()}) {
      if (!Check(type != nullptr, "os.environ")) return false;
      auto* as_type = reinterpret_cast<PyTypeObject*>(type);
      bool same = Read<void*>(type, layout_.type_traverse) ==
                      PyType_GetSlot(as_type, Py_tp_traverse) &&
                  (TypeFlags(runtime_, type) & 0xffffffff) ==
                      PyType_GetFlags(as_type) &&
                  ReadObject(type, layout_.type_base) ==
                      Attribute(type, "__base__").get() &&
                  ReadObject(type, layout_.type_mro) ==
                      Attribute(type, "__mro__").get() &&
                  Read<int64_t>(type, layout_.type_basic_size) ==
                      Number(Attribute(type, "__basicsize__")) &&
                  Read<int64_t>(type, layout_.type_item_size) ==
                      Number(Attribute(type, "__itemsize__")) &&
                  Read<int64_t>(type, layout_.type_dict_offset) ==
                      Number(Attribute(type, "__dictoffset__"));
      if (!Check(same, "PyTypeObject")) return false;
    }
    auto* class_type = reinterpret_cast<PyTypeObject*>(environ_type.get());
    runtime_.class_dealloc = PyType_GetSlot(class_type, Py_tp_dealloc);
    return Check(Read<void*>(runtime_.type_type, layout_.type_is_gc) != nullptr,
                 "tp_is_gc") &&
           Check(ReadObject(os.get(), kModuleName) ==
                     Attribute(os, "__name__").get(),
                 "md_name") &&
           Check(
               Read<void*>(class_type, kTypeDealloc) == runtime_.class_dealloc,
               "tp_dealloc") &&
           Check(std::string(ReadPointer(error, layout_.type_name)) ==
                     "LookupError",
                 "tp_name") &&
           Check(ReadObject(environ_type.get(), layout_.heap_type_qualname) ==
                     Attribute(environ_type, "__qualname__").get(),
                 "ht_qualname") &&
           Check(Read<int64_t>(runtime_.type_type, layout_.type_basic_size) ==
                     static_cast<int64_t>(layout_.heap_type_size),
                 "PyHeapTypeObject") &&
           Check(Lookup(ReadObject(environ_type.get(), layout_.type_dict),
                        "__module__") ==
                     Attribute(environ_type, "__module__").get(),
                 "tp_dict");
  }

  PyObject* Lookup(const PyObject* dict, const char* key) {
    if (dict == nullptr) return nullptr;
    DictEntries entries = EntriesOfDict(layout_, dict);
    for (int64_t i = 0; i < entries.count; ++i) {
      PyObject* found = entries.key(i);
      if (found != nullptr && IsText(runtime_, found) &&
          TextEquals(layout_, found, key))
        return entries.value(i);
    }
    return nullptr;
  }

  bool Texts() {
    for (const char* sample : {"plain", "caf\xc3\xa9", "\xe2\x82\xac uro",
                               "\xf0\x9f\x90\x8d snake", ""}) {
      PyRef text = PyRef::Steal(PyUnicode_FromString(sample));
      char out[64];
      char* end = AppendText(layout_, text.get(), out, out + sizeof out);
      if (!Check(std::string(out, end) == sample, "str")) return false;
    }
    return true;
  }

  bool Dicts() {
    PyRef dict = PyRef::Steal(PyDict_New());
    PyRef one = PyRef::Steal(PyLong_FromLong(100001));
    PyRef two = PyRef::Steal(PyLong_FromLong(100002));
    PyDict_SetItemString(dict.get(), "first", one.get());
    bool text_keys = Lookup(dict.get(), "first") == one.get() &&
                     Read<int64_t>(dict.get(), layout_.dict_used) == 1;
    PyDict_SetItem(dict.get(), one.get(), two.get());
    DictEntries entries = EntriesOfDict(layout_, dict.get());
    bool any_keys = entries.count == 2 && entries.key(1) == one.get() &&
                    entries.value(1) == two.get() &&
                    entries.value(0) == one.get();
    return Check(text_keys && any_keys, "dict");
  }

  /// Compares function, code, frames, traceback and exception.
  bool Probe() {
    PyRef names = PyRef::Steal(PyDict_New());
    PyRef code =
        PyRef::Steal(Py_CompileString(kProbe, "<cyclescope>", Py_file_input));
    PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins());
    PyDict_SetItemString(names.get(), "__name__",
                         PyRef::Steal(PyUnicode_FromString("probe")).get());
    PyRef done;
    if (code)
      done =
          PyRef::Steal(PyEval_EvalCode(code.get(), names.get(), names.get()));
    if (!done) PyErr_Clear();
    bool ran = Check(static_cast<bool>(done), "probe");
    ran = ran && Makers(names) && FunctionAndCode(names) && Caught(names);
    PyDict_Clear(names.get());  // Functions refer to their globals.
    return ran;
  }

  bool Makers(const PyRef& names) {
    PyObject* makers = PyDict_GetItemString(names.get(), "makers");
    auto type_of = [&](int i) { return TypeOf(PyTuple_GetItem(makers, i)); };
    runtime_.type_generator = type_of(0);
    runtime_.type_coroutine = type_of(1);
    runtime_.type_async_generator = type_of(2);
    PyObject* generator = PyTuple_GetItem(makers, 0);
    PyRef frame = Attribute(generator, "gi_frame");
    return Check(CodeOfGenerator(layout_, generator) ==
                     Attribute(generator, "gi_code").get(),
                 "gi_iframe") &&
           Check(Read<int8_t>(generator, layout_.generator_state) < 0 &&
                     LineOfGenerator(layout_, generator) ==
                         Number(Attribute(frame, "f_lineno")) &&
                     !HasFrame(layout_, PyTuple_GetItem(makers, 1)),
                 "gi_frame_state");
  }

  bool FunctionAndCode(const PyRef& names) {
    PyObject* function = PyDict_GetItemString(names.get(), "function");
    runtime_.type_function = TypeOf(function);
    PyRef code = Attribute(function, "__code__");
    runtime_.type_code = TypeOf(code.get());
    bool is_function =
        ReadObject(function, layout_.function_globals) == names.get() &&
        ReadObject(function, layout_.function_code) == code.get() &&
        ReadObject(function, layout_.function_qualname) ==
            Attribute(function, "__qualname__").get() &&
        ReadObject(function, layout_.function_module) ==
            Attribute(function, "__module__").get();
    auto same = [&](size_t offset, const char* name) {
      return ReadObject(code.get(), offset) == Attribute(code, name).get();
    };
    PyRef local_names =
        PyRef::Borrow(ReadObject(code.get(), layout_.code_locals_names));
    int locals = Read<int>(code.get(), layout_.code_locals_count);
    bool is_code = same(layout_.code_consts, "co_consts") &&
                   same(layout_.code_names, "co_names") &&
                   same(layout_.code_exception_table, "co_exceptiontable") &&
                   same(layout_.code_filename, "co_filename") &&
                   same(layout_.code_qualname, "co_qualname") &&
                   same(layout_.code_line_table, "co_linetable") &&
                   Read<int>(code.get(), layout_.code_stack_size) ==
                       Number(Attribute(code, "co_stacksize")) &&
                   Read<int>(code.get(), layout_.code_first_line) ==
                       Number(Attribute(code, "co_firstlineno")) &&
                   PyTuple_Check(local_names.get()) &&
                   PyTuple_Size(local_names.get()) == locals;
    return Check(is_function, "PyFunctionObject") &&
           Check(is_code, "PyCodeObject");
  }

  bool Caught(const PyRef& names) {
    PyMethodDef* method = &witness_method_;
    PyRef self = PyRef::Steal(PyCapsule_New(this, nullptr, nullptr));
    PyRef witness = PyRef::Steal(PyCFunction_New(method, self.get()));
    PyRef error =
        Call(PyRef::Borrow(PyDict_GetItemString(names.get(), "catch")),
             witness.get());
    if (!Check(static_cast<bool>(error), "probe") ||
        !Check(witnessed_, "_PyInterpreterFrame"))
      return false;
    PyRef traceback = Attribute(error, "__traceback__");
    PyRef next = Attribute(traceback, "tb_next");
    PyRef frame = Attribute(next, "tb_frame");
    if (!Check(traceback && next && frame, "traceback")) return false;
    runtime_.type_frame = TypeOf(frame.get());
    bool is_error =
        ReadObject(error.get(), layout_.exception_traceback) ==
            traceback.get() &&
        ReadObject(error.get(), layout_.exception_args) ==
            Attribute(error, "args").get() &&
        ReadObject(error.get(), layout_.exception_context) == nullptr &&
        ReadObject(error.get(), layout_.exception_cause) == nullptr;
    PyRef inner =
        PyRef::Borrow(PyTuple_GetItem(Attribute(error, "args").get(), 0));
    PyRef closure = Attribute(inner, "__closure__");
    runtime_.type_cell = TypeOf(PyTuple_GetItem(closure.get(), 0));
    bool is_traceback =
        ReadObject(traceback.get(), layout_.traceback_next) == next.get() &&
        ReadObject(next.get(), layout_.traceback_frame) == frame.get() &&
        Read<int>(next.get(), layout_.traceback_instruction) ==
            Number(Attribute(next, "tb_lasti")) &&
        LineOfTraceback(layout_, next.get()) ==
            Number(Attribute(next, "tb_lineno"));
    PyRef code = Attribute(frame, "f_code");
    bool is_frame = CodeOfFrame(layout_, frame.get()) == code.get() &&
                    ReadObject(frame.get(), layout_.frame_back) ==
                        Attribute(frame, "f_back").get() &&
                    LineOfFrame(layout_, frame.get()) ==
                        Number(Attribute(frame, "f_lineno"));
    PyRef bound = Attribute(names, "keys");
    PyRef method_object = Attribute(Import("os"), "environ");
    method_object = Attribute(method_object, "__len__");
    runtime_.type_method =
        method_object ? TypeOf(method_object.get()) : nullptr;
    return Check(is_error, "PyBaseExceptionObject") &&
           Check(is_traceback, "PyTracebackObject") &&
           Check(is_frame, "PyFrameObject") &&
           Check(runtime_.type_method != nullptr, "method");
  }

  /// Called by the running probe: our own frame must look as expected.
  static PyObject* Witness(PyObject* capsule, PyObject* /*unused*/) {
    auto* self = static_cast<Verifier*>(PyCapsule_GetPointer(capsule, nullptr));
    self->witnessed_ = self->OwnFrame();
    Py_RETURN_NONE;
  }

  bool OwnFrame() {
    PyThreadState* thread = PyThreadState_Get();
    const char* iframe = CurrentFrame(thread);
    PyRef frame = PyRef::Steal(
        reinterpret_cast<PyObject*>(PyThreadState_GetFrame(thread)));
    PyRef code = PyRef::Steal(reinterpret_cast<PyObject*>(
        PyFrame_GetCode(reinterpret_cast<PyFrameObject*>(frame.get()))));
    PyRef back = Attribute(frame, "f_back");
    if (iframe == nullptr || !frame || !code || !back) return false;
    const char* previous = ReadPointer(iframe, layout_.iframe_previous);
    // Its second argument, `second`, is the text 'constant'.
    PyObject* second = ReadSlot(iframe, layout_.iframe_localsplus + 8).object;
    return CodeOf(layout_, iframe) == code.get() &&
           TypeOf(ReadSlot(iframe, layout_.iframe_function).object) ==
               runtime_.type_function &&
           ReadObject(iframe, layout_.iframe_object) == frame.get() &&
           Read<char>(iframe, layout_.iframe_owner) == 0 &&
           IsInCall(iframe, code.get()) &&
           LineOfInterpreterFrame(layout_, iframe) ==
               Number(Attribute(frame, "f_lineno")) &&
           previous != nullptr &&
           CodeOf(layout_, previous) == Attribute(back, "f_code").get() &&
           IsText(runtime_, second) && TextEquals(layout_, second, "constant");
  }

  /// Inside a call in C: the depth of the stack is unknown, or exact (3.14+).
  bool IsInCall(const char* iframe, const PyObject* code) {
    int64_t slots = UsedSlots(layout_, iframe);
    if (!layout_.iframe_has_stack_pointer) return slots == -1;
    int locals = Read<int>(code, layout_.code_locals_count);
    return slots >= locals &&
           slots <= locals + Read<int>(code, layout_.code_stack_size);
  }

  const char* CurrentFrame(void* thread) {
    const char* at = ReadPointer(thread, layout_.thread_frame);
    if (layout_.frame_behind_cframe)
      at = ReadPointer(at, layout_.cframe_current_frame);
    return at;
  }

  /// Attribute values of an instance, read in place: `os.environ` is a plain
  /// instance that is there at start. Asking for its __dict__ would change it.
  bool Instances() {
    PyRef environ = Attribute(Import("os"), "environ");
    InstanceAttributes attributes = AttributesOf(runtime_, environ.get());
    PyRef data = Attribute(environ, "_data");
    if (attributes.values == nullptr)
      return Check(Lookup(attributes.dict, "_data") == data.get(),
                   "managed dict");
    const char* keys =
        ReadPointer(TypeOf(environ.get()), layout_.heap_type_keys);
    DictEntries entries = EntriesOfKeys(layout_, keys);
    for (int64_t i = 0; i < entries.count; ++i)
      if (attributes.values[i] == data.get() &&
          TextEquals(layout_, entries.key(i), "_data"))
        return true;
    return Check(false, "instance values");
  }

  /// Looks how an instance is traversed that has values in place and a dict.
  void LookAtSharedDict() {
    PyRef instance = Call(Attribute(Import("codecs"), "IncrementalEncoder"));
    PyRef dict = instance ? Attribute(instance, "__dict__") : PyRef();
    if (!dict) return;
    InstanceAttributes attributes = AttributesOf(runtime_, instance.get());
    if (attributes.values == nullptr || attributes.dict != dict.get()) return;
    struct Search {
      PyObject* wanted;
      bool found;
    } search = {dict.get(), false};
    auto traverse =
        Read<traverseproc>(TypeOf(instance.get()), layout_.type_traverse);
    traverse(
        instance.get(),
        [](PyObject* referent, void* argument) noexcept {
          auto* at = static_cast<Search*>(argument);
          at->found = at->found || referent == at->wanted;
          return 0;
        },
        &search);
    runtime_.shared_dict_is_visited = search.found;
  }

  bool Threads() {
    PyThreadState* thread = PyThreadState_Get();
    auto native = Read<unsigned long>(thread, layout_.thread_native_id);
    const char* state =
        reinterpret_cast<const char*>(thread) + layout_.thread_exc_state;
    const char* info = ReadPointer(thread, layout_.thread_exc_info);
    auto descriptor =
        Read<unsigned long>(thread, layout_.thread_native_id - kThreadIdBefore);
    return Check(static_cast<long>(native) == syscall(SYS_gettid),
                 "native_thread_id") &&
           Check(descriptor == pthread_self(), "thread_id") &&
           Check(info == state, "exc_info");
  }

  bool Sizes() {
    PyRef sizeof_function = Attribute(Import("sys"), "getsizeof");
    PyRef samples[] = {
        PyRef::Steal(Py_BuildValue("[iii]", 1, 2, 3)),
        PyRef::Steal(Py_BuildValue("(ii)", 1, 2)),
        PyRef::Steal(Py_BuildValue("{sisi}", "a", 1, "b", 2)),
        PyRef::Steal(PyDict_New()),
        PyRef::Steal(PySet_New(nullptr)),
        PyRef::Steal(PyUnicode_FromString("ascii text")),
        PyRef::Steal(PyUnicode_FromString("\xe2\x82\xac")),
        PyRef::Steal(PyBytes_FromString("bytes")),
        PyRef::Steal(
            PyLong_FromString("123456789012345678901234567890", nullptr, 10)),
        PyRef::Steal(PyFloat_FromDouble(1.5)),
        PyRef::Steal(PyByteArray_FromStringAndSize("some bytes", 10)),
    };
    for (const PyRef& sample : samples) {
      if (!Check(static_cast<int64_t>(AskedSize(runtime_, sample.get())) ==
                     Number(Call(sizeof_function, sample.get())),
                 "sizes"))
        return false;
    }
    PyRef set = PyRef::Borrow(samples[4].get());
    for (long i = 0; i < 100; ++i)
      PySet_Add(set.get(), PyRef::Steal(PyLong_FromLong(i)).get());
    return Check(static_cast<int64_t>(AskedSize(runtime_, set.get())) ==
                     Number(Call(sizeof_function, set.get())),
                 "size of set");
  }

  Runtime& runtime_;
  Layout& layout_;
  std::string failed_;
  bool witnessed_ = false;
  PyMethodDef witness_method_ = {"witness", Witness, METH_NOARGS, nullptr};
};

std::string VersionText() {
  return "3." + std::to_string((Py_Version >> 16) & 0xff) + "." +
         std::to_string((Py_Version >> 8) & 0xff);
}

}  // namespace

std::string FindRuntime(Runtime& runtime) {
  // The hook says the same of what cannot load us.
  constexpr char kSupported[] =
      " is not supported; release builds of CPython 3.11, 3.12, 3.13 and 3.14 "
      "(3.14.5 and later) with the GIL are";
  runtime.version = VersionText();
  const std::string name = "CPython " + runtime.version;
  const Layout* row =
      Py_Version >> 24 == 3 ? LayoutRow((Py_Version >> 16) & 0xff) : nullptr;
  // Before 3.14.5 the collector was incremental: other lists, other marks.
  constexpr unsigned long k314 = 0x030e0000;
  constexpr unsigned long k3145 = 0x030e0500;
  bool is_incremental = Py_Version >= k314 && Py_Version < k3145;
  if (row == nullptr || is_incremental) return name + kSupported;
  PyRef sys = Import("sys");
  PyRef flags = Attribute(sys, "abiflags");
  if (flags && PyUnicode_FindChar(flags.get(), 't', 0, 8, 1) >= 0)
    return name + " without the GIL" + kSupported;
  runtime.build = Attribute(sys, "gettotalrefcount") ? "debug" : "release";
  if (runtime.build == "debug") return name + ", a debug build," + kSupported;
  runtime.interpreter = PyInterpreterState_Get();
  static Layout layout;  // Not in `runtime`, which is copied.
  layout = *row;
  runtime.layout = &layout;
  Verifier verifier(runtime, layout);
  if (verifier.All()) {
    static auto* allocator = new Allocator;
    allocator->Find();
    runtime.allocator = allocator;
    return {};
  }
  PyErr_Clear();
  return name + " differs from other builds of 3." +
         std::to_string(layout.minor) + " at '" + verifier.failed() +
         "', so it" + kSupported;
}

}  // namespace inspector
