#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace heap {

/// 32 nodes in turn: which of them have edges, and how many before them do.
struct RowBlock {
  uint32_t has_row = 0;
  uint32_t rows_before = 0;
};
inline constexpr uint32_t kRowBlock = 32;

/// Numbers the nodes that have edges, in their order. Half a heap and more has
/// none (texts, numbers), and what is kept of the others only is kept by row.
/// Owns nothing. O(1): Jacobson, "Space-efficient static trees and graphs"
/// (1989), rank.
class Rows {
 public:
  Rows() = default;
  explicit Rows(std::span<const RowBlock> blocks) : blocks_(blocks) {}

  bool Has(uint32_t node) const {
    return (blocks_[node / kRowBlock].has_row >> node % kRowBlock & 1) != 0;
  }
  /// The node's row; of a node without edges, that of the next one with any.
  uint32_t Of(uint32_t node) const {
    RowBlock block = blocks_[node / kRowBlock];
    uint32_t before = (uint32_t{1} << node % kRowBlock) - 1;
    return block.rows_before + CountBits(block.has_row & before);
  }

 private:
  /// Without the instruction, which old processors have not (Warren, "Hacker's
  /// Delight", 5-1).
  static uint32_t CountBits(uint32_t bits) {
    bits -= bits >> 1 & 0x55555555;
    bits = (bits & 0x33333333) + (bits >> 2 & 0x33333333);
    bits = (bits + (bits >> 4)) & 0x0f0f0f0f;
    return (bits * 0x01010101) >> 24;
  }

  std::span<const RowBlock> blocks_;
};

/// The rows of a graph whose edges are given by node: node n has those from
/// `first_edge[n]` to `first_edge[n + 1]`, exclusive.
class OwnedRows {
 public:
  OwnedRows() = default;
  explicit OwnedRows(std::span<const uint32_t> first_edge)
      : node_count_(static_cast<uint32_t>(first_edge.size() - 1)) {
    for (uint32_t node = 0; node < node_count_; ++node) {
      if (node % kRowBlock == 0)
        blocks_.push_back({0, static_cast<uint32_t>(first_edges_.size())});
      if (first_edge[node] == first_edge[node + 1]) continue;
      blocks_.back().has_row |= uint32_t{1} << node % kRowBlock;
      first_edges_.push_back(first_edge[node]);
    }
    first_edges_.push_back(first_edge.back());
  }

  uint32_t node_count() const { return node_count_; }
  std::span<const RowBlock> blocks() const { return blocks_; }
  std::span<const uint32_t> first_edges() const { return first_edges_; }

 private:
  uint32_t node_count_ = 0;
  std::vector<RowBlock> blocks_;
  std::vector<uint32_t> first_edges_;
};

}  // namespace heap
