#pragma once

#include <cstdint>
#include <vector>

#include "inspector/graph/arena.h"
#include "inspector/graph/heap_graph.h"

namespace inspector {

/// A numbering of nodes in which those without references come last, both kinds
/// in their order. Half a heap and more refers to nothing (texts, numbers), and
/// what the analysis keeps of the others only is kept by row.
///
/// O(1) by counting bits: Jacobson, "Space-efficient static trees and graphs"
/// (1989), rank.
class LeavesLast {
 public:
  explicit LeavesLast(heap::Arena& arena) : arena_(arena), blocks_(arena, 1) {}

  /// For the next node.
  void Add(bool has_references) {
    if (count_ % kBlock == 0) blocks_.push_back({0, row_count_});
    if (has_references) {
      blocks_[count_ / kBlock].has_row |= uint32_t{1} << count_ % kBlock;
      ++row_count_;
    }
    ++count_;
  }

  heap::NodeId row_count() const { return row_count_; }
  /// Of the nodes before `node` in the old order, how many have references.
  heap::NodeId RowsBefore(heap::NodeId node) const {
    if (node == count_) return row_count_;
    Block block = blocks_[node / kBlock];
    uint32_t before = (uint32_t{1} << node % kBlock) - 1;
    return block.rows_before + CountBits(block.has_row & before);
  }
  /// The new number.
  heap::NodeId Of(heap::NodeId node) const {
    heap::NodeId rows_before = RowsBefore(node);
    return HasRow(node) ? rows_before : row_count_ + node - rows_before;
  }

  /// Puts what is kept by node into the new order.
  template <typename T>
  void Reorder(heap::Column<T>& column) const {
    std::pmr::vector<T> leaves(&arena_);
    leaves.reserve(count_ - row_count_);
    heap::NodeId row = 0;
    for (heap::NodeId node = 0; node < count_; ++node) {
      if (HasRow(node))
        column[row++] = column[node];
      else
        leaves.push_back(column[node]);
    }
    for (T leaf : leaves) column[row++] = leaf;
  }

  void Clear() { blocks_.Clear(); }

 private:
  struct Block {
    uint32_t has_row;
    uint32_t rows_before;
  };
  static constexpr uint32_t kBlock = 32;

  bool HasRow(heap::NodeId node) const {
    return (blocks_[node / kBlock].has_row >> node % kBlock & 1) != 0;
  }
  /// Without the instruction, which old processors lack (Warren, "Hacker's
  /// Delight", 5-1).
  static uint32_t CountBits(uint32_t bits) {
    bits -= bits >> 1 & 0x55555555;
    bits = (bits & 0x33333333) + (bits >> 2 & 0x33333333);
    bits = (bits + (bits >> 4)) & 0x0f0f0f0f;
    return (bits * 0x01010101) >> 24;
  }

  heap::Arena& arena_;
  heap::Column<Block> blocks_;
  heap::NodeId count_ = 0;
  heap::NodeId row_count_ = 0;
};

}  // namespace inspector
