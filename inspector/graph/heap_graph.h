#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

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
  /// To another node, with the same marks.
  Edge To(NodeId referent) const {
    Edge edge;
    edge.bits_ = (bits_ & ~kNoNode) | referent;
    return edge;
  }
  bool cut() const { return (bits_ & kCutBit) != 0; }
  bool native() const { return (bits_ & kNativeBit) != 0; }

 private:
  static constexpr uint32_t kCutBit = 0x80000000;
  static constexpr uint32_t kNativeBit = 0x40000000;
  uint32_t bits_ = 0;
};

/// References of a heap in compressed rows: those of node n are
/// `edges[first_edge[n]] … edges[first_edge[n + 1] - 1]`, in the order in which
/// the object names them. Nodes beyond the last row have none, so that whoever
/// numbers such nodes last saves their rows, and algorithms what they keep by
/// row. Owns nothing; at most 2^30 - 1 nodes, 2^32 - 1 edges.
class HeapGraph {
 public:
  HeapGraph() = default;
  /// `first_edge`: by row, and at its end the number of edges.
  HeapGraph(NodeId node_count, std::span<const uint32_t> first_edge,
            std::span<const Edge> edges)
      : node_count_(node_count), first_edge_(first_edge), edges_(edges) {}
  /// Every node has a row.
  HeapGraph(std::span<const uint32_t> first_edge, std::span<const Edge> edges)
      : HeapGraph(static_cast<NodeId>(first_edge.size() - 1), first_edge,
                  edges) {}

  NodeId node_count() const { return node_count_; }
  NodeId row_count() const {
    return static_cast<NodeId>(first_edge_.size() - 1);
  }
  bool HasRow(NodeId node) const { return node < row_count(); }
  std::span<const Edge> Referents(NodeId node) const {
    if (!HasRow(node)) return {};
    return edges_.subspan(first_edge_[node],
                          first_edge_[node + 1] - first_edge_[node]);
  }
  /// Where the node's edges begin among all.
  uint32_t FirstEdge(NodeId node) const {
    return first_edge_[std::min(node, row_count())];
  }
  std::span<const Edge> edges() const { return edges_; }

 private:
  static constexpr uint32_t kNoEdges[] = {0};

  NodeId node_count_ = 0;
  std::span<const uint32_t> first_edge_ = kNoEdges;
  std::span<const Edge> edges_;
};

}  // namespace heap
