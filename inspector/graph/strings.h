#pragma once

#include <cstdint>
#include <memory_resource>
#include <string_view>
#include <vector>

namespace heap {

/// The number of an interned text. Zero is the empty text.
using StringId = uint32_t;

/// FNV-1a, 32 and 64 bits wide ("The FNV Non-Cryptographic Hash Algorithm",
/// Fowler, Noll, Vo): the same in every process, unlike Python's own.
uint32_t Fnv32(std::string_view text);
uint64_t Fnv64(std::string_view text, uint64_t seed = 0xcbf29ce484222325);

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
