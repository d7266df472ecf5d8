#pragma once

#include <cstdint>

#include "inspector/cpython/leaves_last.h"

namespace inspector {

/// Sizes by node, a byte each: a heap has few different ones. What is large or
/// odd, or too rare to have a number left, is not kept.
class SizeColumn {
 public:
  explicit SizeColumn(heap::Arena& arena) : codes_(arena) {}

  /// For the next node; 0: not measured yet.
  void Add(uint64_t bytes) { codes_.push_back(CodeOf(bytes)); }
  void Set(heap::NodeId node, uint64_t bytes) { codes_[node] = CodeOf(bytes); }

  bool IsMeasured(heap::NodeId node) const { return codes_[node] != 0; }
  bool IsKept(heap::NodeId node) const { return codes_[node] != kNotKept; }
  /// In bytes, if it is measured and kept.
  uint64_t operator[](heap::NodeId node) const { return bytes_[codes_[node]]; }
  void Reorder(const LeavesLast& order) { order.Reorder(codes_); }

 private:
  static constexpr uint8_t kNotKept = 0xff;
  static constexpr uint64_t kUnit = 8;
  static constexpr uint64_t kUnits = 1024;

  uint8_t CodeOf(uint64_t bytes) {
    if (bytes % kUnit != 0 || bytes / kUnit >= kUnits) return kNotKept;
    uint8_t& code = code_of_[bytes / kUnit];
    if (code != 0 || bytes == 0) return code;
    if (used_ + 1 == kNotKept) return kNotKept;
    bytes_[++used_] = static_cast<uint16_t>(bytes);
    return code = used_;
  }

  heap::Column<uint8_t> codes_;
  uint8_t code_of_[kUnits] = {};  // By size in units; 0: none yet.
  uint16_t bytes_[256] = {};      // By code.
  uint8_t used_ = 0;
};

}  // namespace inspector
