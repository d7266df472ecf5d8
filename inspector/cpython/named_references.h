#pragma once

#include <string_view>

#include "inspector/cpython/code.h"
#include "inspector/cpython/native_references.h"

namespace inspector {

/// What `ForEachNamedReference` tells its visitor to do next.
enum class Naming : bool { kGoOn, kStop };

/// The fields, from the first on, of a type that C code of the standard library
/// defines; null for any other. A type made by Python has no dot in tp_name.
inline const char* const* FieldsOf(const Runtime& runtime,
                                   const PyObject* type) {
  // Modules/_functoolsmodule.c and Include/cpython/weakrefobject.h; what a
  // weak reference refers to is not counted.
  static constexpr const char* kPartial[] = {".func", ".args", ".keywords",
                                             nullptr};
  static constexpr const char* kWeakref[] = {".__weakref__", ".__callback__",
                                             nullptr};
  for (; type != nullptr; type = ReadObject(type, runtime.layout->type_base)) {
    std::string_view name = ReadPointer(type, runtime.layout->type_name);
    if (name == "functools.partial") return kPartial;
    if (name == "weakref.ReferenceType") return kWeakref;
  }
  return nullptr;
}

/// Calls `visit(const PyObject* referent, ReferenceName)` for every reference
/// of the object that has a name we know, those of tp_traverse before native
/// ones and each kind in the order in which the walk meets them; null
/// referents are left out. Stops when `visit` returns Naming::kStop. Safe in
/// the child. Facts: the headers of 3.11 … 3.14, see Layout.
template <typename Visit>
void ForEachNamedReference(const Runtime& runtime, const PyObject* object,
                           NativeReferences native, Visit visit) {
  using Form = ReferenceName::Form;
  const Layout& layout = *runtime.layout;
  const PyObject* type = TypeOf(object);
  uint64_t flags = TypeFlags(runtime, type);
  bool stopped = false;
  auto tell = [&](const PyObject* referent, const ReferenceName& name) {
    if (!stopped && referent != nullptr)
      stopped = visit(referent, name) == Naming::kStop;
  };
  auto field = [&](size_t offset, const char* name) {
    if (!stopped)
      tell(ReadObject(object, ptrdiff_t(offset)), ReferenceName::Field(name));
  };
  auto items = [&](const char* first, int64_t count) {
    for (int64_t i = 0; i < count && !stopped; ++i)
      tell(ReadObject(first, 8 * i), {Form::kIndex, nullptr, nullptr, i});
  };
  auto locals = [&](const char* iframe, const PyObject* code) {
    if (iframe == nullptr || code == nullptr) return;
    const PyObject* names =
        ReadObject(code, ptrdiff_t(layout.code_locals_names));
    auto count = Read<int64_t>(names, kObjectSize);
    for (int64_t i = 0; i < count && !stopped; ++i)
      tell(ReadSlot(iframe, ptrdiff_t(layout.iframe_localsplus) + 8 * i).object,
           {Form::kLocal, nullptr,
            ReadObject(names, ptrdiff_t(layout.tuple_items) + 8 * i), 0});
    if (!stopped)
      tell(ReadObject(iframe, ptrdiff_t(layout.iframe_locals)),
           ReferenceName::Field(".f_locals"));
  };

  if (type == runtime.type_frame) {
    field(layout.frame_back, ".f_back");
    locals(ReadPointer(object, ptrdiff_t(layout.frame_iframe)),
           CodeOfFrame(layout, object));
  } else if (type == runtime.type_generator || type == runtime.type_coroutine ||
             type == runtime.type_async_generator) {
    locals(FrameOfGenerator(layout, object), CodeOfGenerator(layout, object));
  } else if (type == runtime.type_traceback) {
    field(layout.traceback_next, ".tb_next");
    field(layout.traceback_frame, ".tb_frame");
  } else if (type == runtime.type_function) {
    // Include/cpython/funcobject.h
    constexpr const char* kNames[] = {
        ".__globals__",    ".__builtins__", ".__name__",       ".__qualname__",
        ".__code__",       ".__defaults__", ".__kwdefaults__", ".__closure__",
        ".__doc__",        ".__dict__",     nullptr,           ".__module__",
        ".__annotations__"};
    size_t at = layout.function_globals;
    for (const char* name : kNames) {
      if (name != nullptr) field(at, name);
      at += 8;
    }
  } else if (type == runtime.type_method) {
    field(kFirstField, ".__func__");
    field(kFirstField + 8, ".__self__");
  } else if (type == runtime.type_cell) {
    field(kFirstField, ".cell_contents");
  } else if ((flags & kFlagType) != 0) {
    field(layout.type_dict, ".__dict__");
    field(layout.type_mro, ".__mro__");
    field(layout.type_mro - 8, ".__bases__");
    field(layout.type_base, ".__base__");
    // A static type ends before it.
    if ((TypeFlags(runtime, object) & kFlagHeapType) != 0)
      field(layout.heap_type_keys + 8, ".__module__");
  } else if (HasBase(runtime, type, runtime.type_module)) {
    field(kFirstField, ".__dict__");
  } else if ((flags & kFlagDict) != 0) {
    DictEntries entries = EntriesOfDict(layout, object);
    for (int64_t i = 0; i < entries.count && !stopped; ++i) {
      const PyObject* key = entries.key(i);
      if (key == nullptr) continue;
      tell(entries.value(i), {Form::kValueOf, nullptr, key, 0});
      if (!entries.text_keys) tell(key, ReferenceName::Field(" key"));
    }
  } else if ((flags & kFlagList) != 0) {
    items(ReadPointer(object, ptrdiff_t(layout.list_items)),
          Read<int64_t>(object, kObjectSize));
  } else if ((flags & kFlagTuple) != 0) {
    items(reinterpret_cast<const char*>(object) + layout.tuple_items,
          Read<int64_t>(object, kObjectSize));
  } else if ((flags & kFlagException) != 0) {
    field(layout.exception_args, ".args");
    field(layout.exception_traceback, ".__traceback__");
    field(layout.exception_context, ".__context__");
    field(layout.exception_cause, ".__cause__");
  } else if ((flags & kFlagHaveGc) != 0) {
    const char* const* names = FieldsOf(runtime, type);
    for (size_t at = kFirstField; names != nullptr && *names != nullptr;
         at += 8)
      field(at, *names++);
  }

  // Attributes of an instance: in place, in its dict, in slots.
  if ((flags & kFlagType) == 0 && type != runtime.type_function &&
      (flags & kFlagHaveGc) != 0 &&
      !HasBase(runtime, type, runtime.type_module)) {
    InstanceAttributes attributes = AttributesOf(runtime, object);
    const char* keys =
        attributes.values == nullptr
            ? nullptr
            : ReadPointer(type, ptrdiff_t(layout.heap_type_keys));
    if (keys != nullptr) {
      DictEntries entries = EntriesOfKeys(layout, keys);
      for (int64_t i = 0; i < entries.count && !stopped; ++i)
        if (entries.key(i) != nullptr)
          tell(attributes.values[i],
               {Form::kAttribute, nullptr, entries.key(i), 0});
    }
    if (!stopped) tell(attributes.dict, ReferenceName::Field(".__dict__"));
    for (const PyObject* at = type;
         at != nullptr && (TypeFlags(runtime, at) & kFlagHeapType) != 0;
         at = ReadObject(at, ptrdiff_t(layout.type_base))) {
      // Objects/typeobject.c, PyHeapType_GET_MEMBERS: name, type, offset,
      // flags, doc for each of __slots__, behind the type.
      constexpr int kObjectMember = 16;  // Py_T_OBJECT_EX
      constexpr size_t kMemberBytes = 40;
      const char* members =
          reinterpret_cast<const char*>(at) +
          Read<int64_t>(TypeOf(at), ptrdiff_t(layout.type_basic_size));
      auto count = Read<int64_t>(at, kObjectSize);
      for (int64_t i = 0; i < count && !stopped; ++i) {
        const char* member = members + kMemberBytes * size_t(i);
        if (Read<int>(member, 8) != kObjectMember) continue;
        tell(ReadObject(object, Read<int64_t>(member, 16)),
             {Form::kMember, ReadPointer(member, 0), nullptr, 0});
      }
    }
  }
  if (stopped) return;
  ForEachNativeReference(runtime, const_cast<PyObject*>(object), native, tell);
}

}  // namespace inspector
