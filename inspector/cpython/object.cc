#include "inspector/cpython/object.h"

#include <cstring>

namespace inspector {

DictEntries EntriesOfKeys(const Layout& layout, const char* keys) {
  DictEntries entries;
  // DICT_KEYS_GENERAL 0, DICT_KEYS_UNICODE 1, DICT_KEYS_SPLIT 2.
  entries.text_keys = Read<uint8_t>(keys, layout.keys_kind) != 0;
  entries.entry_size = entries.text_keys ? 16 : 24;
  entries.count = Read<int64_t>(keys, layout.keys_entry_count);
  entries.first =
      keys + layout.keys_indices +
      (size_t{1} << Read<uint8_t>(
           keys, static_cast<ptrdiff_t>(layout.keys_log2_index_bytes)));
  return entries;
}

DictEntries EntriesOfDict(const Layout& layout, const PyObject* dict) {
  DictEntries entries =
      EntriesOfKeys(layout, ReadPointer(dict, layout.dict_keys));
  const char* values = ReadPointer(dict, layout.dict_values);
  if (values != nullptr) {
    entries.values = reinterpret_cast<PyObject**>(
        const_cast<char*>(values + layout.values_header));
  }
  return entries;
}

uint64_t KeysTableSize(const Layout& layout, const char* keys) {
  uint64_t slots = uint64_t{1} << Read<uint8_t>(keys, layout.keys_log2_size);
  uint64_t entry = Read<uint8_t>(keys, layout.keys_kind) != 0 ? 16 : 24;
  return layout.keys_indices +
         (uint64_t{1} << Read<uint8_t>(keys, layout.keys_log2_index_bytes)) +
         (slots * 2 / 3) * entry;
}

InstanceAttributes AttributesOf(const Runtime& runtime,
                                const PyObject* object) {
  const Layout& layout = *runtime.layout;
  const PyObject* type = TypeOf(object);
  uint64_t flags = TypeFlags(runtime, type);
  InstanceAttributes attributes;
  if ((flags & kFlagManagedDict) == 0) {
    auto offset = Read<int64_t>(type, layout.type_dict_offset);
    if (offset > 0) attributes.dict = ReadObject(object, offset);
    return attributes;
  }
  if (layout.minor == 11) {
    const char* values = ReadPointer(object, layout.instance_values);
    attributes.values = reinterpret_cast<PyObject**>(const_cast<char*>(values));
    attributes.dict = ReadObject(object, layout.instance_dict);
  } else if (layout.minor == 12) {
    auto word = Read<uintptr_t>(object, layout.instance_dict);
    if ((word & 1) != 0)  // Include/internal/pycore_object.h, 3.12.
      attributes.values = reinterpret_cast<PyObject**>(word + 1);
    else
      attributes.dict = reinterpret_cast<PyObject*>(word);
  } else {
    attributes.dict = ReadObject(object, layout.instance_dict);
    if ((flags & kFlagInlineValues) != 0) {
      const char* values = reinterpret_cast<const char*>(object) +
                           Read<int64_t>(type, layout.type_basic_size);
      constexpr size_t kValid = 3;  // uint8_t capacity, size, embedded, valid
      if (Read<uint8_t>(values, kValid) != 0) {
        attributes.values = reinterpret_cast<PyObject**>(
            const_cast<char*>(values + layout.values_header));
      }
    }
  }
  return attributes;
}

uint32_t Text::character(int64_t index) const {
  switch (kind) {
    case 1:
      return static_cast<unsigned char>(data[index]);
    case 2:
      return Read<uint16_t>(data, index * 2);
    default:
      return Read<uint32_t>(data, index * 4);
  }
}

bool IsText(const Runtime& runtime, const PyObject* object) {
  return object != nullptr &&
         (TypeFlags(runtime, TypeOf(object)) & kFlagUnicode) != 0;
}

// Include/cpython/unicodeobject.h: interned:2, kind:3, compact:1, ascii:1.
Text ReadText(const Layout& layout, const PyObject* text) {
  auto state = Read<uint32_t>(text, kUnicodeState);
  Text view;
  view.length = Read<int64_t>(text, kUnicodeLength);
  view.kind = (state >> 2) & 7;
  bool compact = ((state >> 5) & 1) != 0;
  bool ascii = ((state >> 6) & 1) != 0;
  auto base = reinterpret_cast<const char*>(text);
  if (!compact)  // A subclass of str: the characters are elsewhere.
    view.data = ReadPointer(text, layout.compact_size);
  else
    view.data = base + (ascii ? layout.ascii_size : layout.compact_size);
  if (view.data == nullptr || view.kind == 0) view.length = 0;
  return view;
}

bool IsIdentifier(const Layout& layout, const PyObject* text) {
  constexpr uint32_t kInterned = 3;
  if ((Read<uint32_t>(text, kUnicodeState) & kInterned) == 0) return false;
  Text view = ReadText(layout, text);
  for (int64_t i = 0; i < view.length; ++i) {
    uint32_t c = view.character(i);
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '_' || c > 0x9f;
    if (!is_letter && (i == 0 || c < '0' || c > '9')) return false;
  }
  return view.length > 0;
}

char* AppendText(const Layout& layout, const PyObject* text, char* out,
                 char* end) {
  Text view = ReadText(layout, text);
  for (int64_t i = 0; i < view.length && end - out >= 4; ++i) {
    uint32_t c = view.character(i);
    if (c < 0x20 || (c >= 0x7f && c < 0xa0)) {
      *out++ = '\\';
      *out++ = 'x';
      *out++ = "0123456789abcdef"[c >> 4];
      *out++ = "0123456789abcdef"[c & 15];
    } else if (c < 0x80) {
      *out++ = static_cast<char>(c);
    } else if (c < 0x800) {
      *out++ = static_cast<char>(0xc0 | (c >> 6));
      *out++ = static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      if (c >= 0xd800 && c < 0xe000) c = 0xfffd;  // Lone surrogates.
      *out++ = static_cast<char>(0xe0 | (c >> 12));
      *out++ = static_cast<char>(0x80 | ((c >> 6) & 0x3f));
      *out++ = static_cast<char>(0x80 | (c & 0x3f));
    } else {
      *out++ = static_cast<char>(0xf0 | (c >> 18));
      *out++ = static_cast<char>(0x80 | ((c >> 12) & 0x3f));
      *out++ = static_cast<char>(0x80 | ((c >> 6) & 0x3f));
      *out++ = static_cast<char>(0x80 | (c & 0x3f));
    }
  }
  return out;
}

bool TextEquals(const Layout& layout, const PyObject* text, const char* ascii) {
  Text view = ReadText(layout, text);
  auto length = static_cast<int64_t>(std::strlen(ascii));
  if (view.length != length) return false;
  for (int64_t i = 0; i < length; ++i)
    if (view.character(i) != static_cast<unsigned char>(ascii[i])) return false;
  return true;
}

}  // namespace inspector
