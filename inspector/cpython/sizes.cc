#include "inspector/cpython/sizes.h"

#include <algorithm>
#include <cstdlib>

#include "inspector/cpython/code.h"

namespace inspector {
namespace {

/// Slots behind an interpreter frame: locals, cells and evaluation stack.
uint64_t FrameSlots(const Layout& layout, const PyObject* code) {
  if (code == nullptr) return 0;
  return uint64_t(Read<int>(code, layout.code_locals_count)) +
         uint64_t(Read<int>(code, layout.code_stack_size));
}

uint64_t DictSize(const Layout& layout, const PyObject* dict, uint64_t basic) {
  const char* keys = ReadPointer(dict, layout.dict_keys);
  uint64_t size = basic;
  if (Read<int64_t>(keys, 0) == 1) size += KeysTableSize(layout, keys);
  const char* values = ReadPointer(dict, layout.dict_values);
  constexpr size_t kEmbedded = 2;  // uint8_t capacity, size, embedded, valid
  bool in_the_instance = values != nullptr && layout.values_header != 0 &&
                         Read<uint8_t>(values, kEmbedded) != 0;
  if (values != nullptr && !in_the_instance) {
    size += 8 * (Read<int64_t>(keys, layout.keys_entry_count) +
                 Read<int64_t>(keys, layout.keys_usable));
  }
  return size;
}

uint64_t TextSize(const Layout& layout, const PyObject* text) {
  auto state = Read<uint32_t>(text, kUnicodeState);
  uint64_t length = Read<int64_t>(text, kUnicodeLength);
  uint64_t kind = (state >> 2) & 7;
  bool compact = ((state >> 5) & 1) != 0;
  bool ascii = ((state >> 6) & 1) != 0;
  if (!compact) return layout.compact_size + 8 + kind * (length + 1);
  if (ascii) return layout.ascii_size + length + 1;
  uint64_t utf8 = Read<int64_t>(text, layout.compact_utf8_length);
  return layout.compact_size + kind * (length + 1) + (utf8 != 0 ? utf8 + 1 : 0);
}

/// Attribute values that belong to the instance but lie outside tp_basicsize.
uint64_t ValuesSize(const Runtime& runtime, const PyObject* object,
                    const PyObject* type, uint64_t flags) {
  const Layout& layout = *runtime.layout;
  if ((flags & kFlagManagedDict) == 0) return 0;
  if (layout.minor >= 13) {
    if ((flags & kFlagInlineValues) == 0) return 0;
    const char* values = reinterpret_cast<const char*>(object) +
                         Read<int64_t>(type, layout.type_basic_size);
    uint64_t capacity = Read<uint8_t>(values, 0);
    return (capacity + 7) / 8 * 8 + (capacity + 1) * 8;
  }
  if (AttributesOf(runtime, object).values == nullptr) return 0;
  const char* keys = ReadPointer(type, layout.heap_type_keys);
  if (keys == nullptr) return 0;
  uint64_t count = Read<int64_t>(keys, layout.keys_entry_count) +
                   Read<int64_t>(keys, layout.keys_usable);
  return (count + 2 + 7) / 8 * 8 + count * 8;  // new_values, 3.11 and 3.12.
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

uint64_t ShallowSize(const Runtime& runtime, const PyObject* object) {
  const Layout& layout = *runtime.layout;
  const PyObject* type = TypeOf(object);
  uint64_t flags = TypeFlags(runtime, type);
  uint64_t basic = Read<int64_t>(type, layout.type_basic_size);
  uint64_t size = PreHeaderSize(runtime, type);
  if (type == runtime.type_type && (flags & kFlagHaveGc) != 0 &&
      (TypeFlags(runtime, object) & kFlagHeapType) == 0)
    size = 0;  // A static type has no collector head.

  if ((flags & kFlagUnicode) != 0) return size + TextSize(layout, object);
  if ((flags & kFlagList) != 0) {
    return size + basic + 8 * Read<int64_t>(object, layout.list_allocated) +
           ValuesSize(runtime, object, type, flags);
  }
  if ((flags & kFlagDict) != 0) {
    return size + DictSize(layout, object, basic) +
           ValuesSize(runtime, object, type, flags);
  }
  if ((flags & kFlagLong) != 0) {
    auto word = Read<int64_t>(object, kObjectSize);
    uint64_t digits =
        layout.long_has_tag ? uint64_t(word) >> 3 : uint64_t(std::abs(word));
    constexpr uint64_t kDigitsOffset = 24;
    return size + kDigitsOffset + 4 * std::max<uint64_t>(digits, 1);
  }
  if (type == runtime.type_frame) {
    return size + basic + 8 * FrameSlots(layout, CodeOfFrame(layout, object));
  }
  if (type == runtime.type_generator || type == runtime.type_coroutine ||
      type == runtime.type_async_generator) {
    const char* iframe =
        reinterpret_cast<const char*>(object) + layout.generator_iframe;
    return size + basic +
           8 * FrameSlots(layout, ReadObject(iframe, layout.iframe_code));
  }
  if (HasBase(runtime, type, runtime.type_set) ||
      HasBase(runtime, type, runtime.type_frozenset)) {
    const char* small =
        reinterpret_cast<const char*>(object) + layout.set_small_table;
    if (ReadPointer(object, layout.set_table) != small)
      basic += 16 * (Read<int64_t>(object, layout.set_mask) + 1);
    return size + basic + ValuesSize(runtime, object, type, flags);
  }
  int64_t item = Read<int64_t>(type, layout.type_item_size);
  if (item > 0) basic += item * std::abs(Read<int64_t>(object, kObjectSize));
  return size + basic + ValuesSize(runtime, object, type, flags);
}

}  // namespace inspector
