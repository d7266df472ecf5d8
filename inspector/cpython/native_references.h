#pragma once

#include "inspector/cpython/object.h"

// Counted references that tp_traverse does not name, because the collector has
// no use for them: they lead to objects that cannot be part of a cycle, or come
// from objects that are never freed. Facts: Objects/*.c of 3.11 … 3.14, checked
// by comparing each object's reference count with what was found.

namespace inspector {

/// How an object names one of its references. Nothing is formatted here: the
/// walk needs no names.
struct ReferenceName {
  enum class Form : uint8_t {
    kField,      // `text`, a C string: ".__traceback__"
    kAttribute,  // "." + `name`, a str
    kMember,     // "." + `text`
    kLocal,      // "local " + `name`, a str
    kIndex,      // "[index]"
    kValueOf,    // The value under key `name`, any object.
  };
  Form form = Form::kField;
  const char* text = nullptr;
  const PyObject* name = nullptr;
  int64_t index = 0;

  static ReferenceName Field(const char* text) {
    return {Form::kField, text, nullptr, 0};
  }
};

/// What an object of some type has beside tp_traverse; kept with the type.
enum class NativeReferences : uint8_t {
  kNone,
  kDict,
  kCode,
  kType,
  kModule,
  kDescriptor,
  kRange,
  kDateTime,
  kInstance,  // Where Runtime::shared_dict_is_visited is false.
  kLruCache,
};

/// A dict whose keys are their own values is the interpreter's table of
/// interned texts: its references are not counted (InternalDocs,
/// string_interning.md), so they are none.
inline bool IsInternedTable(const DictEntries& entries) {
  constexpr int64_t kFewest = 256;
  constexpr int64_t kSample = 64;
  if (!entries.text_keys || entries.values != nullptr ||
      entries.count < kFewest)
    return false;
  for (int64_t i = 0; i < kSample; ++i)
    if (entries.key(i) != nullptr && entries.key(i) != entries.value(i))
      return false;
  return true;
}

/// Calls `visit(PyObject*, ReferenceName)` for each of them. Safe in the child.
template <typename Visit>
void ForEachNativeReference(const Runtime& runtime, PyObject* object,
                            NativeReferences kind, Visit visit) {
  const Layout& layout = *runtime.layout;
  auto field = [&](size_t offset, const char* name) {
    PyObject* referent = ReadObject(object, ptrdiff_t(offset));
    if (referent != nullptr) visit(referent, ReferenceName::Field(name));
  };
  auto visit_keys = [&](const DictEntries& entries) {
    for (int64_t i = 0; i < entries.count; ++i)
      if (entries.key(i) != nullptr)
        visit(entries.key(i), ReferenceName::Field(" key"));
  };
  switch (kind) {
    case NativeReferences::kNone:
      return;
    case NativeReferences::kDict: {
      DictEntries entries = EntriesOfDict(layout, object);
      // Keys of a split table belong to the type; tp_traverse visits those of
      // a table with any other key than plain text.
      if (entries.text_keys && entries.values == nullptr) visit_keys(entries);
      return;
    }
    case NativeReferences::kCode: {
      // Deep-frozen code (3.11) is static data: its references are not counted.
      if (layout.minor == 11 && IsImmortal(runtime, object)) return;
      field(layout.code_consts, ".co_consts");
      field(layout.code_names, ".co_names");
      field(layout.code_exception_table, ".co_exceptiontable");
      field(layout.code_locals_names, ".co_localsplusnames");
      field(layout.code_locals_names + 8, ".co_localspluskinds");
      field(layout.code_filename, ".co_filename");
      field(layout.code_qualname - 8, ".co_name");
      field(layout.code_qualname, ".co_qualname");
      field(layout.code_line_table, ".co_linetable");
      // Behind co_weakreflist: 3.11 _co_code, 3.12+ a struct of four caches.
      const char* cached =
          ReadPointer(object, ptrdiff_t(layout.code_line_table) + 16);
      if (cached == nullptr) return;
      if (layout.minor == 11) {
        field(layout.code_line_table + 16, "._co_code");
        return;
      }
      constexpr const char* kCached[] = {"._co_code", ".co_varnames",
                                         ".co_cellvars", ".co_freevars"};
      for (int i = 0; i < 4; ++i)
        if (PyObject* referent = ReadObject(cached, 8 * i))
          visit(referent, ReferenceName::Field(kCached[i]));
      return;
    }
    case NativeReferences::kType: {
      constexpr uint64_t kStaticBuiltin = 1 << 1;  // 3.12+
      uint64_t flags = TypeFlags(runtime, object);
      if ((flags & kFlagHeapType) != 0) {
        field(layout.heap_type_qualname - 16, ".__name__");
        field(layout.heap_type_qualname - 8, ".__slots__");
        field(layout.heap_type_qualname, ".__qualname__");
        field(layout.type_mro + 16, ".__subclasses__");
        if (const char* keys = ReadPointer(object, layout.heap_type_keys))
          visit_keys(EntriesOfKeys(layout, keys));
        return;
      }
      // A static type is no collectable object. From 3.12 on those of the
      // interpreter keep what they hold in the interpreter's state.
      if (layout.minor >= 12 && (flags & kStaticBuiltin) != 0) return;
      field(layout.type_dict, ".__dict__");
      field(layout.type_mro - 8, ".__bases__");
      field(layout.type_mro, ".__mro__");
      field(layout.type_mro + 16, ".__subclasses__");
      return;
    }
    case NativeReferences::kModule:
      field(kModuleName, ".__name__");
      return;
    case NativeReferences::kDescriptor:
      field(kFirstField + 8, ".__name__");
      field(kFirstField + 16, ".__qualname__");
      return;
    case NativeReferences::kRange:
      for (size_t i = 0; i < 4; ++i) {
        constexpr const char* kNames[] = {".start", ".stop", ".step",
                                          ".length"};
        field(kFirstField + 8 * i, kNames[i]);
      }
      return;
    case NativeReferences::kInstance:
      // PyObject_VisitManagedDict of 3.13.0 leaves the dict out as long as it
      // shares the values in place.
      if (AttributesOf(runtime, object).values != nullptr)
        field(size_t(layout.instance_dict), ".__dict__");
      return;
    case NativeReferences::kLruCache: {
      // Modules/_functoolsmodule.c: prev, next, … of the list, which begins in
      // the object itself; a bounded cache owns its links twice.
      constexpr ptrdiff_t kNext = 24;
      auto* root = reinterpret_cast<const char*>(object);
      const char* link = ReadPointer(root, kNext);
      for (; link != nullptr && link != root; link = ReadPointer(link, kNext))
        visit(reinterpret_cast<PyObject*>(const_cast<char*>(link)),
              ReferenceName::Field(" link"));
      return;
    }
    case NativeReferences::kDateTime:
      // Include/datetime.h: hash, char hastzinfo, data, tzinfo.
      if (Read<char>(object, kFirstField + 8) != 0)
        field(kDateTimeZone, ".tzinfo");
      return;
  }
}

}  // namespace inspector
