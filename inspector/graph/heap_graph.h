#pragma once

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
  bool cut() const { return (bits_ & kCutBit) != 0; }
  bool native() const { return (bits_ & kNativeBit) != 0; }

 private:
  static constexpr uint32_t kCutBit = 0x80000000;
  static constexpr uint32_t kNativeBit = 0x40000000;
  uint32_t bits_ = 0;
};

/// References of a heap in compressed rows: the referents of node n are
/// `edges[first_edge[n]] … edges[first_edge[n + 1] - 1]`, in the order in which
/// the object names them. Owns nothing; at most 2^30 - 1 nodes, 2^32 - 1 edges.
class HeapGraph {
 public:
  HeapGraph(std::span<const uint32_t> first_edge, std::span<const Edge> edges)
      : first_edge_(first_edge), edges_(edges) {}

  NodeId node_count() const {
    return static_cast<NodeId>(first_edge_.size() - 1);
  }
  std::span<const Edge> Referents(NodeId node) const {
    return edges_.subspan(first_edge_[node],
                          first_edge_[node + 1] - first_edge_[node]);
  }
  /// Where the node's edges begin among all.
  uint32_t FirstEdge(NodeId node) const { return first_edge_[node]; }
  std::span<const Edge> edges() const { return edges_; }

 private:
  std::span<const uint32_t> first_edge_;
  std::span<const Edge> edges_;
};

}  // namespace heap
