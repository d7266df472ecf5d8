#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <string_view>
#include <system_error>
#include <vector>

namespace heap {

/// The number of an interned text. Zero is the empty text.
using StringId = uint32_t;

/// FNV-1a, 32 and 64 bits wide ("The FNV Non-Cryptographic Hash Algorithm",
/// Fowler, Noll, Vo): the same in every process, unlike Python's own.
uint32_t Fnv32(std::string_view text);
uint64_t Fnv64(std::string_view text, uint64_t seed = 0xcbf29ce484222325);

/// A text being put together in place; what does not fit is left out: the end
/// of a text, but the whole of a number.
template <size_t kSize>
class TextBuffer {
 public:
  TextBuffer& Append(std::string_view part) {
    size_ += part.copy(text_ + size_, kSize - size_);
    return *this;
  }
  TextBuffer& Append(int64_t number, int base = 10) {
    auto written = std::to_chars(end(), limit(), number, base);
    if (written.ec == std::errc()) set_end(written.ptr);
    return *this;
  }
  std::string_view text() const { return {text_, size_}; }
  // For writers that fill a range and return its new end.
  char* end() { return text_ + size_; }
  char* limit() { return text_ + kSize; }
  void set_end(const char* end) { size_ = static_cast<size_t>(end - text_); }

 private:
  char text_[kSize];
  size_t size_ = 0;
};

/// Appends `digits` hexadecimal digits, leading zeroes kept.
template <size_t kSize>
void AppendHex(TextBuffer<kSize>& text, uint64_t value, int digits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    text.Append(kDigits.substr((value >> shift) & 15, 1));
}

/// Keeps each different text once and gives it a small number. Texts live as
/// long as the memory they were taken from.
class StringTable {
 public:
  explicit StringTable(std::pmr::memory_resource* memory);
  StringId Intern(std::string_view text);
  std::string_view text(StringId id) const { return texts_[id]; }
  size_t size() const { return texts_.size(); }

 private:
  void Rehash();
  std::pmr::memory_resource* memory_;
  std::pmr::vector<std::string_view> texts_;
  std::pmr::vector<StringId> slots_;  // Open addressing; 0 = free.
};

}  // namespace heap
