#pragma once

#include <cstdint>

#include "inspector/graph/strings.h"

namespace heap {

/// How a referrer names one of its references: a text (".exceptions",
/// "local broker", "[str key]") or a place in a sequence ("[7]").
class EdgeName {
 public:
  EdgeName() = default;
  static EdgeName Text(StringId text) { return EdgeName(text); }
  static EdgeName Index(uint64_t index) {
    return EdgeName(index < kIndexBit ? kIndexBit | uint32_t(index) : 0);
  }
  bool is_index() const { return (bits_ & kIndexBit) != 0; }
  uint32_t index() const { return bits_ & ~kIndexBit; }
  bool is_none() const { return bits_ == 0; }
  /// Zero if it is an index or none.
  StringId text() const { return is_index() ? 0 : bits_; }

 private:
  static constexpr uint32_t kIndexBit = 0x80000000;
  explicit EdgeName(uint32_t bits) : bits_(bits) {}
  uint32_t bits_ = 0;
};

}  // namespace heap
