#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace inspector {

/// Writes JSON into memory that is given, without allocating: the child may
/// not. Commas are set by itself. What does not fit is dropped and `full` says
/// so. One thread.
class JsonWriter {
 public:
  JsonWriter(char* begin, size_t size)
      : begin_(begin), at_(begin), end_(begin + size) {}

  size_t size() const { return static_cast<size_t>(at_ - begin_); }
  bool full() const { return full_; }
  std::string_view text() const { return {begin_, size()}; }

  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view key) {
    String(key);
    Put(':');
    after_value_ = false;
    return *this;
  }

  JsonWriter& String(std::string_view text) {
    Separate();
    Put('"');
    while (!text.empty()) {
      size_t length = CharacterLength(text);
      if (length == 0)
        Put("\xef\xbf\xbd");  // U+FFFD: file names are bytes; texts get cut.
      else if (length == 1)
        PutEscaped(text.front());
      else
        Put(text.substr(0, length));
      text.remove_prefix(length == 0 ? 1 : length);
    }
    Put('"');
    return Done();
  }
  JsonWriter& Int(int64_t value) {
    Separate();
    char digits[24];
    char* last = std::to_chars(digits, digits + sizeof digits, value).ptr;
    Put({digits, static_cast<size_t>(last - digits)});
    return Done();
  }
  JsonWriter& Bool(bool value) { return Raw(value ? "true" : "false"); }
  JsonWriter& Null() { return Raw("null"); }
  /// A value, or several `"key":value` members, that are JSON already.
  JsonWriter& Raw(std::string_view json) {
    Separate();
    Put(json);
    return Done();
  }

  // Members of an object.
  JsonWriter& Field(std::string_view key, std::string_view value) {
    return Key(key).String(value);
  }
  JsonWriter& Field(std::string_view key, const char* value) {
    return Key(key).String(value);
  }
  template <typename Integer>
  JsonWriter& Field(std::string_view key,
                    Integer value) requires std::is_integral_v<Integer> {
    if constexpr (std::is_same_v<Integer, bool>)
      return Key(key).Bool(value);
    else
      return Key(key).Int(static_cast<int64_t>(value));
  }
  /// `part` of `whole` (below 2^44) to six places, rounded down so that 1 means
  /// all of it.
  JsonWriter& ShareField(std::string_view key, uint64_t part, uint64_t whole) {
    constexpr uint64_t kScale = 1'000'000;
    if (whole == 0 || part >= whole) return Key(key).Int(whole == 0 ? 0 : 1);
    uint64_t share = part * kScale / whole;
    char digits[] = "0.000000";
    for (int i = 7; i > 1; --i, share /= 10)
      digits[i] = static_cast<char>('0' + share % 10);
    return Key(key).Raw(digits);
  }
  JsonWriter& NullField(std::string_view key) { return Key(key).Null(); }

 private:
  /// Bytes of the UTF-8 character that `text` begins with; 0 if it is none
  /// (RFC 3629, section 4).
  static size_t CharacterLength(std::string_view text) {
    auto byte = [text](size_t i) {
      return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
    };
    unsigned first = byte(0);
    if (first < 0x80) return 1;
    size_t length = first < 0xc2   ? 0
                    : first < 0xe0 ? 2
                    : first < 0xf0 ? 3
                    : first < 0xf5 ? 4
                                   : 0;
    for (size_t i = 1; i < length; ++i)
      if ((byte(i) & 0xc0) != 0x80) return 0;
    bool overlong =
        (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
    bool outside = (first == 0xed && byte(1) >= 0xa0) ||
                   (first == 0xf4 && byte(1) >= 0x90);
    return overlong || outside ? 0 : length;
  }

  JsonWriter& Open(char bracket) {
    Separate();
    Put(bracket);
    after_value_ = false;
    return *this;
  }
  JsonWriter& Close(char bracket) {
    Put(bracket);
    return Done();
  }
  JsonWriter& Done() {
    after_value_ = true;
    return *this;
  }
  void Separate() {
    if (after_value_) Put(',');
    after_value_ = false;
  }
  void Put(char c) {
    if (at_ < end_)
      *at_++ = c;
    else
      full_ = true;
  }
  void Put(std::string_view text) {
    if (static_cast<size_t>(end_ - at_) < text.size()) {
      full_ = true;
      return;
    }
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  void PutEscaped(char c) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      Put('\\');
      Put(c);
    } else if (byte < 0x20) {
      constexpr char kHex[] = "0123456789abcdef";
      char escape[] = {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
      Put({escape, sizeof escape});
    } else {
      Put(c);
    }
  }

  char* begin_;
  char* at_;
  char* end_;
  bool after_value_ = false;
  bool full_ = false;
};

}  // namespace inspector
