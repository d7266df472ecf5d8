#include "inspector/cpython/type_table.h"

#include <algorithm>
#include <cstring>

#include "inspector/cpython/sizes.h"

namespace inspector {
namespace {

std::string_view LastPart(std::string_view name) {
  // "module.Outer.Inner" shows as "Inner", "f.<locals>.C" as "C".
  size_t at = name.rfind('.');
  return at == std::string_view::npos ? name : name.substr(at + 1);
}

bool AnswersTo(std::string_view name, std::string_view wanted) {
  if (name == wanted) return true;
  return name.size() > wanted.size() && name.ends_with(wanted) &&
         name[name.size() - wanted.size() - 1] == '.';
}

}  // namespace

TypeTable::TypeTable(const Runtime& runtime, heap::StringTable& strings,
                     std::span<const std::string_view> watch,
                     std::pmr::memory_resource* memory,
                     std::span<const SkippedType> skip)
    : runtime_(runtime),
      strings_(strings),
      watch_(watch),
      skip_(skip),
      types_(memory),
      slots_(1024, 0, memory) {}

TypeId TypeTable::Find(PyObject* type) {
  if (type == last_type_) return last_id_;
  if (types_.size() * 2 >= slots_.size()) Rehash();
  size_t mask = slots_.size() - 1;
  size_t at = (reinterpret_cast<uintptr_t>(type) >> 4) & mask;
  for (; slots_[at] != 0; at = (at + 1) & mask) {
    if (types_[slots_[at] - 1].type == type) {
      last_type_ = type;
      last_id_ = slots_[at] - 1;
      return last_id_;
    }
  }
  types_.push_back(Describe(type));
  slots_[at] = static_cast<uint32_t>(types_.size());
  last_type_ = type;
  last_id_ = slots_[at] - 1;
  return last_id_;
}

void TypeTable::Rehash() {
  std::pmr::vector<uint32_t> slots(slots_.size() * 2, 0,
                                   slots_.get_allocator());
  size_t mask = slots.size() - 1;
  for (TypeId id = 0; id < types_.size(); ++id) {
    size_t at = (reinterpret_cast<uintptr_t>(types_[id].type) >> 4) & mask;
    while (slots[at] != 0) at = (at + 1) & mask;
    slots[at] = id + 1;
  }
  slots_.swap(slots);
}

TypeInfo TypeTable::Describe(PyObject* type) {
  const Layout& layout = *runtime_.layout;
  uint64_t flags = TypeFlags(runtime_, type);
  TypeInfo info;
  info.type = type;
  info.kind = KindOf(type);
  info.native = NativeOf(type, info.kind);
  info.only_block_offset = OnlyBlockOffset(type);
  info.buffer_field = BufferField(flags);
  info.is_heap_type = (flags & kFlagHeapType) != 0;
  if ((flags & kFlagHaveGc) != 0)
    info.traverse = Read<traverseproc>(type, layout.type_traverse);
  info.skipped = !skip_.empty() && IsSkipped(type);
  if (info.skipped) info.traverse = nullptr;
  info.refers =
      info.traverse != nullptr || info.native != NativeReferences::kNone;
  char buffer[kNameBytes];
  std::string_view name = NameOf(type, buffer, buffer + sizeof buffer);
  info.is_builtin = !info.is_heap_type || name.starts_with("builtins.");
  info.name = strings_.Intern(name);
  info.label = strings_.Intern(LastPart(name));
  for (std::string_view wanted : watch_)
    info.watched = info.watched || IsNamed(type, wanted);
  return info;
}

uint32_t TypeTable::OnlyBlockOffset(const PyObject* type) const {
  constexpr uint32_t kUnitBytes = 16;
  if (MayHaveMoreBlocks(runtime_, type)) return 0;
  return uint32_t(PreHeaderSize(runtime_, type)) / kUnitBytes + 1;
}

int TypeTable::BufferField(uint64_t flags) const {
  const Layout& layout = *runtime_.layout;
  if ((flags & kFlagList) != 0) return int(layout.list_items);
  if ((flags & kFlagDict) != 0) return int(layout.dict_keys);
  if ((flags & kFlagManagedDict) == 0) return 0;
  return layout.minor == 11 ? layout.instance_values : layout.instance_dict;
}

/// A class made by Python code calls the tp_traverse of its base.
bool TypeTable::IsSkipped(const PyObject* type) const {
  const Layout& layout = *runtime_.layout;
  for (; type != nullptr; type = ReadObject(type, layout.type_base))
    for (const SkippedType& skipped : skip_)
      if (type == skipped.type &&
          skipped.c_name == ReadPointer(type, layout.type_name))
        return true;
  return false;
}

/// `__module__` + `__qualname__` of a class; of a static type its tp_name, to
/// which the interpreter's own lack the module.
std::string_view TypeTable::NameOf(const PyObject* type, char* begin,
                                   char* end) const {
  const Layout& layout = *runtime_.layout;
  char* out = begin;
  auto append = [&](const char* text) {
    size_t length = std::min(std::strlen(text), size_t(end - out));
    std::memcpy(out, text, length);
    out += length;
  };
  const char* name = ReadPointer(type, layout.type_name);
  if ((TypeFlags(runtime_, type) & kFlagHeapType) == 0) {
    if (std::strchr(name, '.') == nullptr) append("builtins.");
    append(name);
    return {begin, size_t(out - begin)};
  }
  const PyObject* dict = ReadObject(type, layout.type_dict);
  const PyObject* module = nullptr;
  if (dict != nullptr) {
    DictEntries entries = EntriesOfDict(layout, dict);
    for (int64_t i = 0; i < entries.count && module == nullptr; ++i)
      if (entries.key(i) == runtime_.name_module) module = entries.value(i);
  }
  if (IsText(runtime_, module)) {
    out = AppendText(layout, module, out, end);
    append(".");
  }
  const PyObject* qualname = ReadObject(type, layout.heap_type_qualname);
  if (IsText(runtime_, qualname))
    out = AppendText(layout, qualname, out, end);
  else
    append(name);
  return {begin, size_t(out - begin)};
}

TypeKind TypeTable::KindOf(const PyObject* type) const {
  if (type == runtime_.type_frame) return TypeKind::kFrame;
  if (type == runtime_.type_traceback) return TypeKind::kTraceback;
  if (type == runtime_.type_function) return TypeKind::kFunction;
  if (type == runtime_.type_code) return TypeKind::kCode;
  if (type == runtime_.type_generator || type == runtime_.type_coroutine ||
      type == runtime_.type_async_generator)
    return TypeKind::kGenerator;
  uint64_t flags = TypeFlags(runtime_, type);
  if ((flags & kFlagType) != 0) return TypeKind::kType;
  if ((flags & kFlagDict) != 0) return TypeKind::kDict;
  if (HasBase(runtime_, type, runtime_.type_module)) return TypeKind::kModule;
  return TypeKind::kOther;
}

NativeReferences TypeTable::NativeOf(const PyObject* type,
                                     TypeKind kind) const {
  switch (kind) {
    case TypeKind::kDict:
      return NativeReferences::kDict;
    case TypeKind::kCode:
      return NativeReferences::kCode;
    case TypeKind::kType:
      return NativeReferences::kType;
    case TypeKind::kModule:
      return NativeReferences::kModule;
    default:
      break;
  }
  const Layout& layout = *runtime_.layout;
  struct Known {
    std::string_view name;
    NativeReferences native;
  };
  constexpr Known kKnown[] = {
      {"method_descriptor", NativeReferences::kDescriptor},
      {"wrapper_descriptor", NativeReferences::kDescriptor},
      {"getset_descriptor", NativeReferences::kDescriptor},
      {"member_descriptor", NativeReferences::kDescriptor},
      {"classmethod_descriptor", NativeReferences::kDescriptor},
      {"range", NativeReferences::kRange},
      {"datetime.datetime", NativeReferences::kDateTime}};
  // Nothing can inherit from it, but a class made by Python code may have its
  // name.
  std::string_view c_name = ReadPointer(type, layout.type_name);
  if (c_name == "functools._lru_cache_wrapper" &&
      BaseInC(runtime_, type) == type)
    return NativeReferences::kLruCache;
  constexpr uint64_t kInPlace = kFlagManagedDict | kFlagInlineValues;
  if (!runtime_.shared_dict_is_visited &&
      (TypeFlags(runtime_, type) & kInPlace) == kInPlace)
    return NativeReferences::kInstance;
  // By the static type that gives the struct: what a program defines under
  // these names is a heap type.
  while (type != nullptr && (TypeFlags(runtime_, type) & kFlagHeapType) != 0)
    type = ReadObject(type, layout.type_base);
  if (type == nullptr) return NativeReferences::kNone;
  std::string_view name = ReadPointer(type, layout.type_name);
  for (const Known& known : kKnown)
    if (known.name == name) return known.native;
  return NativeReferences::kNone;
}

bool TypeTable::Matches(TypeId id, std::string_view wanted) const {
  return IsNamed(types_[id].type, wanted);
}

/// Goes through the method resolution order, so that watching a class watches
/// what inherits from it.
bool TypeTable::IsNamed(const PyObject* type, std::string_view wanted) const {
  bool named = false;
  VisitClasses(type, [&](std::string_view name) {
    named = AnswersTo(name, wanted);
    return !named;
  });
  return named;
}

}  // namespace inspector
