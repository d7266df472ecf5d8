#include "inspector/graph/strings.h"

namespace heap {

uint32_t Fnv32(std::string_view text) {
  uint32_t hash = 0x811c9dc5;
  for (unsigned char byte : text) hash = (hash ^ byte) * 0x01000193;
  return hash;
}

uint64_t Fnv64(std::string_view text, uint64_t seed) {
  uint64_t hash = seed;
  for (unsigned char byte : text) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

StringTable::StringTable(std::pmr::memory_resource* memory)
    : memory_(memory), texts_(memory), slots_(1024, 0, memory) {
  texts_.push_back({});
}

StringId StringTable::Intern(std::string_view text) {
  if (text.empty()) return 0;
  if (texts_.size() * 2 > slots_.size()) Rehash();
  size_t mask = slots_.size() - 1;
  size_t slot = Fnv64(text) & mask;
  for (; slots_[slot] != 0; slot = (slot + 1) & mask)
    if (texts_[slots_[slot]] == text) return slots_[slot];
  char* copy = static_cast<char*>(memory_->allocate(text.size(), 1));
  std::memcpy(copy, text.data(), text.size());
  texts_.push_back({copy, text.size()});
  slots_[slot] = static_cast<StringId>(texts_.size() - 1);
  return slots_[slot];
}

void StringTable::Rehash() {
  std::pmr::vector<StringId> slots(slots_.size() * 2, 0, memory_);
  size_t mask = slots.size() - 1;
  for (StringId id = 1; id < texts_.size(); ++id) {
    size_t slot = Fnv64(texts_[id]) & mask;
    while (slots[slot] != 0) slot = (slot + 1) & mask;
    slots[slot] = id;
  }
  slots_.swap(slots);
}

}  // namespace heap
