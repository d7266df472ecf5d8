#include "inspector/agent/collector_requests.h"

#include <malloc.h>

#include <optional>

#include "inspector/agent/json_writer.h"
#include "inspector/agent/process_facts.h"
#include "inspector/agent/report.h"

namespace inspector {
namespace {

constexpr long kSaveAll = 32;  // gc.DEBUG_SAVEALL, Modules/gcmodule.c.

long NumberFrom(PyObject* made) {
  PyRef number = PyRef::Steal(made);
  long value = number ? PyLong_AsLong(number.get()) : -1;
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  return value;
}

}  // namespace

std::string CollectRequest() {
  int64_t before = MonotonicMicroseconds();
  PyGILState_STATE gil = PyGILState_Ensure();
  int64_t held = MonotonicMicroseconds();
  // Not PyGC_Collect, which does nothing where the collector is off.
  PyObject* gc = PyImport_ImportModule("gc");
  long found = gc == nullptr
                   ? -1
                   : NumberFrom(PyObject_CallMethod(gc, "collect", nullptr));
  Py_DecRef(gc);
  PyGILState_Release(gil);
  int64_t done = MonotonicMicroseconds();
  if (found < 0) return ErrorReport("gc.collect() raised an exception");
  char memory[512];
  JsonWriter json(memory, sizeof memory);
  json.BeginObject().Key("collect").BeginObject();
  json.Field("found", found);
  json.Field("gil_wait_us", held - before);
  json.Field("took_us", done - held);
  json.EndObject().EndObject();
  return std::string(json.text());
}

std::string TrimRequest() {
  std::optional<int64_t> rss = ReadProcessMemory().rss;
  int64_t before = MonotonicMicroseconds();
  bool gave = malloc_trim(0) != 0;
  int64_t done = MonotonicMicroseconds();
  std::optional<int64_t> rss_now = ReadProcessMemory().rss;
  char memory[512];
  JsonWriter json(memory, sizeof memory);
  json.BeginObject().Key("trim").BeginObject();
  json.Field("gave_back", gave);
  json.Field("took_us", done - before);
  json.Field("rss_before", rss.value_or(0));
  json.Field("rss", rss_now.value_or(0));
  json.EndObject().EndObject();
  return std::string(json.text());
}

GarbageOracle::GarbageOracle()
    : gc_(PyRef::Steal(PyImport_ImportModule("gc"))),
      garbage_(PyRef::Steal(PyObject_GetAttrString(gc_.get(), "garbage"))),
      callbacks_(PyRef::Steal(PyObject_GetAttrString(gc_.get(), "callbacks"))),
      taken_out_(PyRef::Steal(
          PyList_GetSlice(callbacks_.get(), 0, PyList_Size(callbacks_.get())))),
      debug_(NumberFrom(PyObject_CallMethod(gc_.get(), "get_debug", nullptr))) {
  PyList_SetSlice(callbacks_.get(), 0, PyList_Size(callbacks_.get()), nullptr);
}

GarbageOracle::~GarbageOracle() {
  PyList_SetSlice(callbacks_.get(), 0, 0, taken_out_.get());
}

std::vector<uintptr_t> GarbageOracle::Collect() {
  PyObject* garbage = garbage_.get();
  Py_ssize_t before = PyList_Size(garbage);
  NumberFrom(PyObject_CallMethod(gc_.get(), "set_debug", "l", kSaveAll));
  NumberFrom(PyObject_CallMethod(gc_.get(), "collect", nullptr));
  NumberFrom(PyObject_CallMethod(gc_.get(), "set_debug", "l", debug_));
  std::vector<uintptr_t> addresses;
  for (Py_ssize_t i = before; i < PyList_Size(garbage); ++i)
    addresses.push_back(
        reinterpret_cast<uintptr_t>(PyList_GetItem(garbage, i)));
  PyList_SetSlice(garbage, before, PyList_Size(garbage), nullptr);
  return addresses;
}

}  // namespace inspector
