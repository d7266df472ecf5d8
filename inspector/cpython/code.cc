#include "inspector/cpython/code.h"

#include <cstdlib>

#include "inspector/graph/strings.h"

namespace inspector {
namespace {

struct Bytes {
  const unsigned char* data;
  int64_t length;
};

Bytes ReadBytes(const PyObject* bytes) {
  return {reinterpret_cast<const unsigned char*>(bytes) + kBytesData,
          Read<int64_t>(bytes, kObjectSize)};
}

/// Objects/locations.md: six bits a byte, least first, bit 6 says "more".
int ReadVarint(const unsigned char*& at, const unsigned char* end) {
  int value = 0;
  for (int shift = 0; at < end; shift += 6) {
    unsigned char byte = *at++;
    if (shift < 30) value |= (byte & 63) << shift;
    if ((byte & 64) == 0) break;
  }
  return value;
}

int ReadSignedVarint(const unsigned char*& at, const unsigned char* end) {
  int value = ReadVarint(at, end);
  return (value & 1) != 0 ? -(value >> 1) : value >> 1;
}

}  // namespace

int LineOf(const Layout& layout, const PyObject* code, int instruction) {
  Bytes table = ReadBytes(ReadObject(code, layout.code_line_table));
  int line = Read<int>(code, layout.code_first_line);
  if (instruction < 0) return line;
  const unsigned char* at = table.data;
  const unsigned char* end = table.data + table.length;
  for (int address = 0; at < end;) {
    int kind = (*at >> 3) & 15;
    address += 2 * ((*at & 7) + 1);
    ++at;
    bool has_line = kind != 15;
    if (kind == 13 || kind == 14)
      line += ReadSignedVarint(at, end);
    else if (kind >= 10 && kind <= 12)
      line += kind - 10;
    while (at < end && (*at & 128) == 0) ++at;  // Columns.
    if (instruction < address) return has_line ? line : -1;
  }
  return -1;
}

PyObject* CodeOf(const Layout& layout, const char* iframe) {
  return ReadSlot(iframe, layout.iframe_code).object;
}

PyObject* CodeOfFrame(const Layout& layout, const PyObject* frame) {
  const char* iframe = ReadPointer(frame, layout.frame_iframe);
  return iframe == nullptr ? nullptr : CodeOf(layout, iframe);
}

int LineOfInterpreterFrame(const Layout& layout, const char* iframe) {
  const PyObject* code = CodeOf(layout, iframe);
  if (code == nullptr) return -1;
  ptrdiff_t at =
      ReadPointer(iframe, layout.iframe_instruction) -
      (reinterpret_cast<const char*>(code) + layout.code_instructions);
  return LineOf(layout, code, static_cast<int>(at));
}

int LineOfFrame(const Layout& layout, const PyObject* frame) {
  int line = Read<int>(frame, layout.frame_line);  // Set while traced.
  if (line > 0) return line;
  const char* iframe = ReadPointer(frame, layout.frame_iframe);
  return iframe == nullptr ? -1 : LineOfInterpreterFrame(layout, iframe);
}

int LineOfTraceback(const Layout& layout, const PyObject* traceback) {
  int line = Read<int>(traceback, layout.traceback_line);
  if (line != -1) return line;
  const PyObject* frame = ReadObject(traceback, layout.traceback_frame);
  const PyObject* code =
      frame == nullptr ? nullptr : CodeOfFrame(layout, frame);
  if (code == nullptr) return -1;
  return LineOf(layout, code,
                Read<int>(traceback, layout.traceback_instruction));
}

PyObject* CodeOfGenerator(const Layout& layout, const PyObject* generator) {
  return CodeOf(layout, FrameOfGenerator(layout, generator));
}

int LineOfGenerator(const Layout& layout, const PyObject* generator) {
  if (!HasFrame(layout, generator)) return -1;
  return LineOfInterpreterFrame(layout, FrameOfGenerator(layout, generator));
}

std::string_view PortablePath(std::string_view filename) {
  for (std::string_view mark : {"site-packages/", "dist-packages/"}) {
    size_t at = filename.rfind(mark);
    if (at != std::string_view::npos) return filename.substr(at + mark.size());
  }
  size_t at = filename.rfind("/lib/python3.");
  if (at == std::string_view::npos) return filename;
  at = filename.find('/', at + std::string_view("/lib/python3.").size());
  return at == std::string_view::npos ? filename : filename.substr(at + 1);
}

std::string_view BaseName(std::string_view filename) {
  size_t at = filename.rfind('/');
  return at == std::string_view::npos ? filename : filename.substr(at + 1);
}

namespace {

/// Constants nest (tuples, frozensets, code); real ones a few levels deep.
constexpr int kMostLevels = 32;

class CodeHash {
 public:
  explicit CodeHash(const Runtime& runtime) : runtime_(runtime) {}
  uint64_t value() const { return value_; }

  void AddCode(const PyObject* code, int level) {
    const Layout& layout = *runtime_.layout;
    AddTag('c');
    AddConstant(ReadObject(code, layout.code_names), level);
    AddConstant(ReadObject(code, layout.code_locals_names), level);
    AddConstant(ReadObject(code, layout.code_line_table), level);
    AddConstant(ReadObject(code, layout.code_exception_table), level);
    AddConstant(ReadObject(code, layout.code_consts), level);
  }

 private:
  void AddTag(char tag) { value_ = heap::Fnv64({&tag, 1}, value_); }
  void AddRaw(const void* data, size_t size) {
    value_ = heap::Fnv64({static_cast<const char*>(data), size}, value_);
  }

  void AddConstant(const PyObject* object, int level) {
    if (object == nullptr || level > kMostLevels) return AddTag('0');
    const Layout& layout = *runtime_.layout;
    const PyObject* type = TypeOf(object);
    uint64_t flags = TypeFlags(runtime_, type);
    if (type == runtime_.type_code) return AddCode(object, level + 1);
    if ((flags & kFlagUnicode) != 0) {
      AddTag('s');
      Text text = ReadText(layout, object);
      for (int64_t i = 0; i < text.length; ++i) {
        uint32_t c = text.character(i);
        AddRaw(&c, sizeof c);
      }
      return;
    }
    if ((flags & kFlagBytes) != 0) {
      AddTag('b');
      Bytes bytes = ReadBytes(object);
      return AddRaw(bytes.data, static_cast<size_t>(bytes.length));
    }
    if ((flags & kFlagTuple) != 0) {
      AddTag('t');
      auto length = Read<int64_t>(object, kObjectSize);
      for (int64_t i = 0; i < length; ++i)
        AddConstant(ReadObject(object, layout.tuple_items + 8 * i), level + 1);
      return;
    }
    if ((flags & kFlagLong) != 0) {
      AddTag('i');
      auto size = Read<int64_t>(object, kObjectSize);
      uint64_t digits =
          layout.long_has_tag ? uint64_t(size) >> 3 : uint64_t(std::abs(size));
      int sign = layout.long_has_tag ? int(size & 3)
                                     : (size < 0    ? 2
                                        : size == 0 ? 1
                                                    : 0);
      AddRaw(&sign, sizeof sign);
      return AddRaw(reinterpret_cast<const char*>(object) + 24, digits * 4);
    }
    if (type == runtime_.type_frozenset) return AddTag('f');  // Unordered.
    AddTag('o');
    const char* name = ReadPointer(type, layout.type_name);
    AddRaw(name, std::strlen(name));
    // float, complex: plain bits behind the header.
    auto size = Read<int64_t>(type, layout.type_basic_size);
    bool plain =
        std::strcmp(name, "float") == 0 || std::strcmp(name, "complex") == 0;
    if (plain)
      AddRaw(reinterpret_cast<const char*>(object) + kFirstField,
             static_cast<size_t>(size) - kFirstField);
  }

  const Runtime& runtime_;
  uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace

uint64_t HashOfCode(const Runtime& runtime, const PyObject* code) {
  CodeHash hash(runtime);
  hash.AddCode(code, 0);
  return hash.value();
}

}  // namespace inspector
