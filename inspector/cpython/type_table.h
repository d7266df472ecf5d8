#pragma once

#include <span>

#include "inspector/cpython/native_references.h"
#include "inspector/graph/strings.h"

namespace inspector {

/// What the walk needs to know of a type beyond its flags.
enum class TypeKind : uint8_t {
  kOther,
  kType,
  kModule,
  kFunction,
  kFrame,
  kTraceback,
  kDict,
  kCode,
};

using TypeId = uint32_t;

struct TypeInfo {
  PyObject* type = nullptr;
  traverseproc traverse = nullptr;  // Null: holds no references.
  heap::StringId name = 0;          // module.qualname
  heap::StringId label = 0;         // The last part of it.
  TypeKind kind = TypeKind::kOther;
  NativeReferences native = NativeReferences::kNone;
  bool is_heap_type = false;
  bool is_builtin = false;  // Of the interpreter itself, not of any program.
  bool watched = false;     // It, or a class that it inherits from.
};

/// Every type met in a walk. Types of one name (a class made anew for every
/// call) stay apart here and are summed by name in the report.
class TypeTable {
 public:
  /// `watch`: `module.qualname` or its last part, of the type or of a base.
  TypeTable(const Runtime& runtime, heap::StringTable& strings,
            std::span<const std::string_view> watch,
            std::pmr::memory_resource* memory);

  TypeId Find(PyObject* type);
  const TypeInfo& operator[](TypeId id) const { return types_[id]; }
  size_t size() const { return types_.size(); }
  /// Whether the type, or one that it inherits from, answers to `wanted`.
  bool Matches(TypeId id, std::string_view wanted) const;

 private:
  TypeInfo Describe(PyObject* type);
  std::string_view NameOf(const PyObject* type, char* begin, char* end) const;
  TypeKind KindOf(const PyObject* type) const;
  NativeReferences NativeOf(const PyObject* type, TypeKind kind) const;
  bool IsNamed(const PyObject* type, std::string_view wanted) const;
  void Rehash();

  const Runtime& runtime_;
  heap::StringTable& strings_;
  std::span<const std::string_view> watch_;
  std::pmr::vector<TypeInfo> types_;
  std::pmr::vector<uint32_t> slots_;  // Open addressing; id + 1, 0 = free.
  PyObject* last_type_ = nullptr;
  TypeId last_id_ = 0;
};

}  // namespace inspector
