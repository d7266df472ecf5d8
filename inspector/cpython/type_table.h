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
  kGenerator,  // Or coroutine, or asynchronous generator.
};

using TypeId = uint32_t;

struct TypeInfo {
  PyObject* type = nullptr;
  traverseproc traverse = nullptr;  // Null: names no references.
  bool refers = false;              // Has references, of either kind.
  heap::StringId name = 0;          // module.qualname
  heap::StringId label = 0;         // The last part of it.
  TypeKind kind = TypeKind::kOther;
  NativeReferences native = NativeReferences::kNone;
  /// Where most of these objects keep a pointer to their references, to fetch
  /// ahead; 0: nowhere.
  int buffer_field = 0;
  /// Units of 16 bytes before the object in its block, plus one, if its objects
  /// have no memory but that block; else 0.
  uint32_t only_block_offset = 0;
  bool is_heap_type = false;
  bool is_builtin = false;  // Of the interpreter itself, not of any program.
  bool watched = false;     // It, or a class that it inherits from.
  bool skipped = false;     // It is on the list of those that crash, or a base.
};

/// A type whose tp_traverse crashed before and is not called again.
struct SkippedType {
  const PyObject* type = nullptr;
  std::string_view c_name;  // Its tp_name: addresses are used again.
};

/// Every type met in a walk. Types of one name (a class made anew for every
/// call) stay apart here and are summed by name in the report.
class TypeTable {
 public:
  /// `watch`: `module.qualname` or its last part, of the type or of a base.
  TypeTable(const Runtime& runtime, heap::StringTable& strings,
            std::span<const std::string_view> watch,
            std::pmr::memory_resource* memory,
            std::span<const SkippedType> skip = {});

  TypeId Find(PyObject* type);
  const TypeInfo& operator[](TypeId id) const { return types_[id]; }
  size_t size() const { return types_.size(); }
  /// Whether the type, or one that it inherits from, answers to `wanted`.
  bool Matches(TypeId id, std::string_view wanted) const;
  /// Calls `visit(name)` with the name of the type and of each that it inherits
  /// from, in the order of the mro, until it returns false. The names live
  /// during the call only.
  template <typename Visit>
  void ForEachClassName(TypeId id, Visit visit) const {
    VisitClasses(types_[id].type, visit);
  }

 private:
  TypeInfo Describe(PyObject* type);
  std::string_view NameOf(const PyObject* type, char* begin, char* end) const;
  TypeKind KindOf(const PyObject* type) const;
  uint32_t OnlyBlockOffset(const PyObject* type) const;
  int BufferField(uint64_t flags) const;
  NativeReferences NativeOf(const PyObject* type, TypeKind kind) const;
  bool IsSkipped(const PyObject* type) const;
  bool IsNamed(const PyObject* type, std::string_view wanted) const;
  template <typename Visit>
  void VisitClasses(const PyObject* type, Visit visit) const {
    const PyObject* mro = ReadObject(type, runtime_.layout->type_mro);
    if (mro == nullptr) return;
    auto length = Read<int64_t>(mro, kObjectSize);
    auto items = static_cast<ptrdiff_t>(runtime_.layout->tuple_items);
    for (int64_t i = 0; i < length; ++i) {
      const PyObject* base = ReadObject(mro, items + 8 * i);
      if ((TypeFlags(runtime_, TypeOf(base)) & kFlagType) == 0) continue;
      char buffer[kNameBytes];
      if (!visit(NameOf(base, buffer, buffer + sizeof buffer))) return;
    }
  }
  void Rehash();

  static constexpr size_t kNameBytes = 512;

  const Runtime& runtime_;
  heap::StringTable& strings_;
  std::span<const std::string_view> watch_;
  std::span<const SkippedType> skip_;
  std::pmr::vector<TypeInfo> types_;
  std::pmr::vector<uint32_t> slots_;  // Open addressing; id + 1, 0 = free.
  PyObject* last_type_ = nullptr;
  TypeId last_id_ = 0;
};

}  // namespace inspector
