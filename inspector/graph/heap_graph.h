#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "inspector/graph/rows.h"

namespace heap {

/// A node of the heap graph: a dense number, in the order of discovery.
using NodeId = uint32_t;
inline constexpr NodeId kNoNode = 0x3fffffff;

/// A reference as stored: the referent, and two marks. *Cut*: left out when
/// cycles are looked for (globals, f_back, type and module edges, see design,
/// Decisions), because with it all heaps fuse into one component. *Native*: a
/// counted reference that tp_traverse does not name; the collector does not
/// see it, and it is always cut.
class Edge {
 public:
  Edge() = default;
  Edge(NodeId referent, bool cut) : bits_(referent | (cut ? kCutBit : 0)) {}
  static Edge Native(NodeId referent) {
    Edge edge(referent, true);
    edge.bits_ |= kNativeBit;
    return edge;
  }
  NodeId referent() const { return bits_ & kNoNode; }
  bool cut() const { return (bits_ & kCutBit) != 0; }
  bool native() const { return (bits_ & kNativeBit) != 0; }

 private:
  static constexpr uint32_t kCutBit = 0x80000000;
  static constexpr uint32_t kNativeBit = 0x40000000;
  uint32_t bits_ = 0;
};

/// References of a heap in compressed rows: those of the node with row r are
/// `edges[first_edge[r]] … edges[first_edge[r + 1] - 1]`, in the order in which
/// the object names them. Owns nothing; at most 2^30 - 1 nodes, 2^32 - 1 edges.
class HeapGraph {
 public:
  HeapGraph() = default;
  /// `blocks`: of ceil(node_count / 32). `first_edge`: by row, and at its end
  /// the number of edges.
  HeapGraph(NodeId node_count, std::span<const RowBlock> blocks,
            std::span<const uint32_t> first_edge, std::span<const Edge> edges)
      : node_count_(node_count),
        rows_(blocks),
        first_edge_(first_edge),
        edges_(edges) {}
  HeapGraph(const OwnedRows& rows, std::span<const Edge> edges)
      : HeapGraph(rows.node_count(), rows.blocks(), rows.first_edges(), edges) {
  }

  NodeId node_count() const { return node_count_; }
  bool HasReferents(NodeId node) const { return rows_.Has(node); }
  std::span<const Edge> Referents(NodeId node) const {
    if (!rows_.Has(node)) return {};
    return ReferentsOfRow(rows_.Of(node));
  }
  /// Where the node's edges begin among all.
  uint32_t FirstEdge(NodeId node) const { return first_edge_[rows_.Of(node)]; }
  std::span<const Edge> edges() const { return edges_; }

  const Rows& rows() const { return rows_; }
  uint32_t row_count() const {
    return static_cast<uint32_t>(first_edge_.size() - 1);
  }
  std::span<const Edge> ReferentsOfRow(uint32_t row) const {
    return edges_.subspan(first_edge_[row],
                          first_edge_[row + 1] - first_edge_[row]);
  }

 private:
  static constexpr uint32_t kNoEdges[] = {0};

  NodeId node_count_ = 0;
  Rows rows_;
  std::span<const uint32_t> first_edge_ = kNoEdges;
  std::span<const Edge> edges_;
};

}  // namespace heap
