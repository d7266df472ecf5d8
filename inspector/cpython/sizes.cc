#include "inspector/cpython/sizes.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "inspector/cpython/code.h"

namespace inspector {
namespace {

/// Slots behind an interpreter frame: locals, cells and evaluation stack.
uint64_t FrameSlots(const Layout& layout, const PyObject* code) {
  if (code == nullptr) return 0;
  return uint64_t(Read<int>(code, layout.code_locals_count)) +
         uint64_t(Read<int>(code, layout.code_stack_size));
}

/// Calls `block(start, bytes)` for each buffer of a dict.
template <typename Block>
void VisitDict(const Layout& layout, const PyObject* dict, Block block) {
  const char* keys = ReadPointer(dict, layout.dict_keys);
  if (Read<int64_t>(keys, 0) == 1) block(keys, KeysTableSize(layout, keys));
  const char* values = ReadPointer(dict, layout.dict_values);
  if (values == nullptr) return;
  constexpr size_t kEmbedded = 2;  // uint8_t capacity, size, embedded, valid
  bool has_header = layout.values_header != 0;
  if (has_header && Read<uint8_t>(values, kEmbedded) != 0) return;
  // 3.11, 3.12: the byte before the first value says how far the block's start
  // lies before it.
  const char* start = has_header ? values : values - Read<uint8_t>(values, -1);
  block(start, 8 * (Read<int64_t>(keys, layout.keys_entry_count) +
                    Read<int64_t>(keys, layout.keys_usable)));
}

/// `before`, `basic`: bytes in front of the object, and its type's basic size.
template <typename Block>
void VisitText(const Layout& layout, const PyObject* text, uint64_t before,
               uint64_t basic, Block block) {
  const char* start = reinterpret_cast<const char*>(text) - before;
  auto state = Read<uint32_t>(text, kUnicodeState);
  uint64_t length = Read<int64_t>(text, kUnicodeLength);
  uint64_t kind = (state >> 2) & 7;
  bool compact = ((state >> 5) & 1) != 0;
  bool ascii = ((state >> 6) & 1) != 0;
  if (compact && ascii)
    return block(start, before + layout.ascii_size + length + 1);
  if (!compact) {
    block(start, before + std::max<uint64_t>(basic, layout.compact_size + 8));
    return block(ReadPointer(text, ptrdiff_t(layout.compact_size)),
                 kind * (length + 1));
  }
  block(start, before + layout.compact_size + kind * (length + 1));
  uint64_t utf8 = Read<int64_t>(text, layout.compact_utf8_length);
  if (utf8 != 0)
    block(ReadPointer(text, ptrdiff_t(layout.compact_utf8_length) + 8),
          utf8 + 1);
}

/// Attribute values behind the object, in its own block (3.13+).
uint64_t InlineValuesSize(const Runtime& runtime, const PyObject* object,
                          const PyObject* type, uint64_t flags) {
  const Layout& layout = *runtime.layout;
  if (layout.minor < 13 || (flags & kFlagManagedDict) == 0 ||
      (flags & kFlagInlineValues) == 0)
    return 0;
  const char* values = reinterpret_cast<const char*>(object) +
                       Read<int64_t>(type, layout.type_basic_size);
  uint64_t capacity = Read<uint8_t>(values, 0);
  return (capacity + 7) / 8 * 8 + (capacity + 1) * 8;
}

/// Attribute values in a block of their own (3.11, 3.12: new_values).
template <typename Block>
void VisitValues(const Runtime& runtime, const PyObject* object,
                 const PyObject* type, uint64_t flags, Block block) {
  const Layout& layout = *runtime.layout;
  if (layout.minor >= 13 || (flags & kFlagManagedDict) == 0) return;
  const auto* values =
      reinterpret_cast<const char*>(AttributesOf(runtime, object).values);
  const char* keys = ReadPointer(type, layout.heap_type_keys);
  if (values == nullptr || keys == nullptr) return;
  uint64_t count = Read<int64_t>(keys, layout.keys_entry_count) +
                   Read<int64_t>(keys, layout.keys_usable);
  block(values - Read<uint8_t>(values, -1),
        (count + 2 + 7) / 8 * 8 + count * 8);
}

/// Bytes of the object's own block behind its address, without inline values.
uint64_t OwnSize(const Runtime& runtime, const PyObject* object,
                 const PyObject* type, uint64_t flags) {
  const Layout& layout = *runtime.layout;
  uint64_t basic = Read<int64_t>(type, layout.type_basic_size);
  if ((flags & kFlagLong) != 0) {
    auto word = Read<int64_t>(object, kObjectSize);
    uint64_t digits =
        layout.long_has_tag ? uint64_t(word) >> 3 : uint64_t(std::abs(word));
    constexpr uint64_t kDigitsOffset = 24;
    return kDigitsOffset + 4 * std::max<uint64_t>(digits, 1);
  }
  if ((flags & (kFlagList | kFlagDict)) != 0) return basic;
  if (type == runtime.type_frame)
    return basic + 8 * FrameSlots(layout, CodeOfFrame(layout, object));
  if (type == runtime.type_generator || type == runtime.type_coroutine ||
      type == runtime.type_async_generator)
    return basic + 8 * FrameSlots(layout, CodeOfGenerator(layout, object));
  int64_t item = Read<int64_t>(type, layout.type_item_size);
  if (item > 0) basic += item * std::abs(Read<int64_t>(object, kObjectSize));
  return basic;
}

/// Types of extension modules whose buffers are known: tp_name and, so that
/// another layout is not taken for this one, tp_basicsize.
enum class KnownStruct { kNone, kDeque, kArray, kOrderedDict };
KnownStruct KnownStructOf(const Layout& layout, const PyObject* type) {
  constexpr int64_t kDequeSize = 216;
  constexpr int64_t kArraySize = 64;
  constexpr int64_t kOrderedDictSize = 112;
  auto size = Read<int64_t>(type, layout.type_basic_size);
  if (size != kDequeSize && size != kArraySize && size != kOrderedDictSize)
    return KnownStruct::kNone;
  std::string_view name = ReadPointer(type, layout.type_name);
  if (size == kDequeSize && name == "collections.deque")
    return KnownStruct::kDeque;
  if (size == kArraySize && name == "array.array") return KnownStruct::kArray;
  if (size == kOrderedDictSize && name == "collections.OrderedDict")
    return KnownStruct::kOrderedDict;
  return KnownStruct::kNone;
}

/// Modules/_collectionsmodule.c, Modules/arraymodule.c, Objects/odictobject.c;
/// 3.11 … 3.14.
template <typename Block>
void VisitKnownBuffers(const Layout& layout, const PyObject* object,
                       const PyObject* base, Block block) {
  switch (KnownStructOf(layout, base)) {
    case KnownStruct::kNone:
      return;
    case KnownStruct::kDeque: {
      // Blocks of leftlink, 64 items, rightlink; up to 16 spare ones.
      constexpr uint64_t kBlockBytes = 66 * 8;
      constexpr ptrdiff_t kRightLink = 65 * 8;
      constexpr int64_t kMostSpare = 16;
      const char* last = ReadPointer(object, 32);
      for (const char* at = ReadPointer(object, 24); at != nullptr;
           at = at == last ? nullptr : ReadPointer(at, kRightLink))
        block(at, kBlockBytes);
      auto spare = std::min(Read<int64_t>(object, 72), kMostSpare);
      for (int64_t i = 0; i < spare; ++i)
        block(ReadPointer(object, 80 + 8 * i), kBlockBytes);
      return;
    }
    case KnownStruct::kArray:
      // ob_item, allocated, ob_descr -> typecode, itemsize
      if (auto allocated = Read<int64_t>(object, 32))
        block(ReadPointer(object, 24),
              uint64_t(allocated * Read<int>(ReadPointer(object, 40), 4)));
      return;
    case KnownStruct::kOrderedDict:
      // od_first -> key, hash, next, prev; od_last; od_fast_nodes, their number
      for (const char* node = ReadPointer(object, 48); node != nullptr;
           node = ReadPointer(node, 16))
        block(node, 32);
      if (const char* nodes = ReadPointer(object, 64))
        block(nodes, uint64_t(8 * Read<int64_t>(object, 72)));
      return;
  }
}

/// What a class keeps beside its own block: the keys that its instances share,
/// and its docstring (Objects/typeobject.c, type_dealloc).
template <typename Block>
void VisitClass(const Layout& layout, const PyObject* type, Block block) {
  if (const char* keys = ReadPointer(type, layout.heap_type_keys))
    block(keys, KeysTableSize(layout, keys));
  if (const char* doc = ReadPointer(type, kTypeDoc))
    block(doc, std::strlen(doc) + 1);
}

/// Calls `block(start, bytes)` for the object's own block and for each buffer
/// that is its alone.
template <typename Block>
void VisitBlocks(const Runtime& runtime, const PyObject* object, Block block) {
  const Layout& layout = *runtime.layout;
  const PyObject* type = TypeOf(object);
  uint64_t flags = TypeFlags(runtime, type);
  uint64_t before = PreHeaderSize(runtime, type);
  if (type == runtime.type_type && (flags & kFlagHaveGc) != 0 &&
      (TypeFlags(runtime, object) & kFlagHeapType) == 0)
    before = 0;  // A static type has no collector head.
  VisitValues(runtime, object, type, flags, block);
  if ((flags & kFlagUnicode) != 0) {
    auto basic = Read<int64_t>(type, layout.type_basic_size);
    return VisitText(layout, object, before, uint64_t(basic), block);
  }
  block(reinterpret_cast<const char*>(object) - before,
        before + OwnSize(runtime, object, type, flags) +
            InlineValuesSize(runtime, object, type, flags));
  if ((flags & kFlagList) != 0) {
    uint64_t items = 8 * Read<int64_t>(object, layout.list_allocated);
    if (items > 0) block(ReadPointer(object, layout.list_items), items);
  } else if ((flags & kFlagDict) != 0) {
    VisitDict(layout, object, block);
    VisitKnownBuffers(layout, object, BaseInC(runtime, type), block);
  } else if ((flags & kFlagType) != 0) {
    if ((TypeFlags(runtime, object) & kFlagHeapType) != 0)
      VisitClass(layout, object, block);
  } else if (HasBase(runtime, type, runtime.type_set) ||
             HasBase(runtime, type, runtime.type_frozenset)) {
    const char* small =
        reinterpret_cast<const char*>(object) + layout.set_small_table;
    const char* table = ReadPointer(object, layout.set_table);
    if (table != small)
      block(table, 16 * (Read<int64_t>(object, layout.set_mask) + 1));
  } else if (HasBase(runtime, type, runtime.type_bytearray)) {
    constexpr ptrdiff_t kAllocated = 24;  // ob_alloc, ob_bytes
    if (auto allocated = Read<int64_t>(object, kAllocated))
      block(ReadPointer(object, kAllocated + 8), uint64_t(allocated));
  } else if (const PyObject* base = BaseInC(runtime, type)) {
    VisitKnownBuffers(layout, object, base, block);
  }
}

}  // namespace

bool IsCollectable(const Runtime& runtime, PyObject* object) {
  const PyObject* type = TypeOf(object);
  if ((TypeFlags(runtime, type) & kFlagHaveGc) == 0) return false;
  auto is_gc = Read<int (*)(PyObject*)>(type, runtime.layout->type_is_gc);
  return is_gc == nullptr || is_gc(object) != 0;
}

uint64_t PreHeaderSize(const Runtime& runtime, const PyObject* type) {
  uint64_t flags = TypeFlags(runtime, type);
  uint64_t managed = kFlagManagedDict |
                     (runtime.layout->minor >= 12 ? kFlagManagedWeakref : 0);
  return ((flags & kFlagHaveGc) != 0 ? kGcHeadSize : 0) +
         ((flags & managed) != 0 ? 16 : 0);
}

uint64_t AskedSize(const Runtime& runtime, const PyObject* object) {
  uint64_t size = 0;
  VisitBlocks(runtime, object,
              [&size](const void*, uint64_t bytes) { size += bytes; });
  return size;
}

BlockBytes BlocksOf(const Runtime& runtime, const PyObject* object) {
  BlockBytes sum;
  const Allocator* allocator = runtime.allocator;
  if (allocator == nullptr || !allocator->is_open()) {
    sum.malloc = AskedSize(runtime, object);
    return sum;
  }
  VisitBlocks(runtime, object, [&](const void* start, uint64_t bytes) {
    sum += allocator->BlockAt(start, bytes);
  });
  return sum;
}

uint64_t ShallowSize(const Runtime& runtime, const PyObject* object) {
  return BlocksOf(runtime, object).total();
}

bool MayHaveMoreBlocks(const Runtime& runtime, const PyObject* type) {
  uint64_t flags = TypeFlags(runtime, type);
  constexpr uint64_t kWithBuffers = kFlagUnicode | kFlagList | kFlagDict;
  if ((flags & (kWithBuffers | kFlagType)) != 0) return true;
  if ((flags & kFlagManagedDict) != 0 && runtime.layout->minor < 13)
    return true;
  for (const PyObject* base :
       {runtime.type_set, runtime.type_frozenset, runtime.type_bytearray})
    if (HasBase(runtime, type, base)) return true;
  const PyObject* base = BaseInC(runtime, type);
  return base != nullptr &&
         KnownStructOf(*runtime.layout, base) != KnownStruct::kNone;
}

// What objects own is settled by the nearest type made in C, and the
// interpreter's own types (those in `types`, in `weakref` and without a
// module's name) own what VisitBlocks knows.
bool MayOwnBuffers(const Runtime& runtime, const PyObject* type) {
  const Layout& layout = *runtime.layout;
  type = BaseInC(runtime, type);
  if (type == nullptr || KnownStructOf(layout, type) != KnownStruct::kNone)
    return false;
  std::string_view name = ReadPointer(type, layout.type_name);
  // Those of these modules that are not in KnownStruct have none.
  constexpr std::string_view kWithout[] = {
      "types.",    "weakref.",     "_abc.",        "functools.",
      "datetime.", "collections.", "_collections."};
  for (std::string_view module : kWithout)
    if (name.starts_with(module)) return name.ends_with(".deque");
  return name.find('.') != name.npos;
}

}  // namespace inspector
