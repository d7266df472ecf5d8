#pragma once

#include "inspector/cpython/runtime.h"

// Reading objects without a call into the interpreter. All of it is safe in the
// child: no allocation, no lock, no reference count.

namespace inspector {

inline PyObject* TypeOf(const PyObject* object) {
  return Read<PyObject*>(object, kObjectType);
}

inline PyObject* ReadObject(const void* base, ptrdiff_t offset) {
  return Read<PyObject*>(base, offset);
}

inline uint64_t TypeFlags(const Runtime& runtime, const PyObject* type) {
  return Read<uint64_t>(type, runtime.layout->type_flags);
}

/// Include/refcount.h: _Py_IsImmortal, 3.12 … 3.14. 3.11 has static data only
/// that starts at _PyObject_IMMORTAL_REFCNT, and counts from there.
inline bool IsImmortal(const Runtime& runtime, const PyObject* object) {
  if (runtime.layout->has_immortals)
    return Read<int32_t>(object, kObjectRefCount) < 0;
  constexpr int64_t kStatic311 = 999999999;
  return Read<int64_t>(object, kObjectRefCount) > kStatic311 / 2;
}

/// Py_REFCNT. From 3.14 on the word's upper half holds flags.
inline int64_t RefCount(const Runtime& runtime, const PyObject* object) {
  if (runtime.layout->has_narrow_counts)
    return Read<uint32_t>(object, kObjectRefCount);
  return Read<int64_t>(object, kObjectRefCount);
}

/// A reference as a frame keeps it (Include/internal/pycore_stackref.h, 3.14):
/// bit 0 set says that it is not counted, being borrowed from a place that
/// outlives it or leading to an immortal object; bits 0 and 1 a number; 1 alone
/// nothing. Before, frames kept plain pointers, which read the same.
struct FrameSlot {
  PyObject* object = nullptr;
  bool counted = true;
};
inline FrameSlot ReadSlot(const void* base, ptrdiff_t offset) {
  auto word = Read<uintptr_t>(base, offset);
  if ((word & 3) == 3) return {};
  return {reinterpret_cast<PyObject*>(word & ~uintptr_t{1}), (word & 1) == 0};
}

/// True if `type` is `base` or inherits from it by first bases (what C layouts
/// follow).
inline bool HasBase(const Runtime& runtime, const PyObject* type,
                    const PyObject* base) {
  for (; type != nullptr; type = ReadObject(type, runtime.layout->type_base))
    if (type == base) return true;
  return false;
}

/// The nearest base, or the type itself, that C code made: a class made by
/// Python code has its base's struct and tp_traverse and no more. Null if there
/// is none.
inline const PyObject* BaseInC(const Runtime& runtime, const PyObject* type) {
  while (type != nullptr &&
         Read<void*>(type, kTypeDealloc) == runtime.class_dealloc)
    type = ReadObject(type, runtime.layout->type_base);
  return type;
}

/// The entries of a dict's keys table, as Objects/dictobject.c has them.
struct DictEntries {
  const char* first = nullptr;
  int64_t count = 0;
  size_t entry_size = 0;        // 16 for text keys, else 24.
  PyObject** values = nullptr;  // Split table: values are here.
  bool text_keys = false;

  PyObject* key(int64_t index) const {
    return ReadObject(first, index * entry_size + (entry_size == 16 ? 0 : 8));
  }
  PyObject* value(int64_t index) const {
    if (values != nullptr) return values[index];
    return ReadObject(first, index * entry_size + (entry_size == 16 ? 8 : 16));
  }
};
/// Entries of a keys table; a generic one has hash, key, value.
DictEntries EntriesOfKeys(const Layout& layout, const char* keys);
DictEntries EntriesOfDict(const Layout& layout, const PyObject* dict);
/// The bytes of a keys table itself.
uint64_t KeysTableSize(const Layout& layout, const char* keys);

/// Where an instance keeps attribute values that are in no dict yet (managed
/// dict types), and the dict once there is one. Either may be null.
struct InstanceAttributes {
  PyObject** values = nullptr;
  PyObject* dict = nullptr;
};
InstanceAttributes AttributesOf(const Runtime& runtime, const PyObject* object);

/// A view of a `str`.
struct Text {
  const char* data = nullptr;
  int64_t length = 0;
  int kind = 1;  // Bytes per character.
  uint32_t character(int64_t index) const;
};
bool IsText(const Runtime& runtime, const PyObject* object);
Text ReadText(const Layout& layout, const PyObject* text);
/// Appends the text as UTF-8, control characters as \\xNN; what does not fit
/// into `end` is left out. Returns the new end.
char* AppendText(const Layout& layout, const PyObject* text, char* out,
                 char* end);
/// Whether it looks like a name that code uses: interned, as setattr, the
/// compiler and pickle leave names, and of letters, digits and underscores.
bool IsIdentifier(const Layout& layout, const PyObject* text);
bool TextEquals(const Layout& layout, const PyObject* text, const char* ascii);

}  // namespace inspector
