#pragma once

#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

#include "inspector/graph/components.h"
#include "inspector/graph/heap_graph.h"

namespace heap {

/// Finds shortest cycles through given nodes, inside their components and over
/// edges that are not cut. Breadth-first search per out-edge (the girth-style
/// search of Itai and Rodeh, "Finding a minimum circuit in a graph", 1978,
/// restricted to one edge), so that a short cycle through one attribute never
/// hides a longer one through another.
class CycleFinder {
 public:
  /// `edge_budget`: edges looked at over the finder's life before it gives up;
  /// what was left out is then counted in `skipped_nodes`.
  CycleFinder(const HeapGraph& graph, const Components& components,
              uint64_t edge_budget, std::pmr::memory_resource* memory);
  CycleFinder(const CycleFinder&) = delete;
  CycleFinder& operator=(const CycleFinder&) = delete;
  ~CycleFinder();

  /// For every out-edge of `node` that stays in its component, calls
  /// `found(cycle)` with each cycle of the least length through that edge: the
  /// node itself, the edge's referent, …, the referrer that closes it. Cycles
  /// of equal length through one edge differ in that last referrer. Parallel
  /// edges to one referent count once. The span lives during the call only.
  template <typename Found>
  void ForEachCycle(NodeId node, Found found) {
    if (!components_.Has(node)) return;
    ListReferentsInside(node);
    for (NodeId referent : referents_inside_) {
      if (!Search(node, referent)) {
        ++skipped_nodes_;
        return;
      }
      for (NodeId closing : closings_) found(PathTo(node, closing));
    }
  }

  uint64_t skipped_nodes() const { return skipped_nodes_; }

 private:
  bool StaysInside(NodeId node, Edge edge) const {
    return !edge.cut() &&
           components_.Of(edge.referent()) == components_.Of(node);
  }
  /// Fills `referents_inside_`, each once, in the order of the edges.
  void ListReferentsInside(NodeId node);
  /// Fills `closings_`; false when the budget is spent.
  bool Search(NodeId node, NodeId first);
  std::span<const NodeId> PathTo(NodeId node, NodeId closing);
  /// Whether `list` has the node; every node put into it is noted in `place_`.
  bool Has(const std::pmr::vector<NodeId>& list, NodeId node) const {
    uint32_t place = place_[node];
    return place < list.size() && list[place] == node;
  }
  void PutInto(std::pmr::vector<NodeId>& list, NodeId node) {
    place_[node] = static_cast<uint32_t>(list.size());
    list.push_back(node);
  }

  const HeapGraph& graph_;
  const Components& components_;
  uint64_t edge_budget_;
  uint64_t skipped_nodes_ = 0;
  /// By row, where it is in the list of the moment. Never filled: what was
  /// there before is told apart by looking into the list (Briggs and Torczon,
  /// "An efficient representation for sparse sets", 1993), so that memory and
  /// time go to nodes on cycles only.
  uint32_t* place_;
  std::pmr::vector<NodeId> referents_inside_;
  std::pmr::vector<NodeId> queue_;
  std::pmr::vector<NodeId> referrers_;  // Of the queue, in the search tree.
  std::pmr::vector<NodeId> closings_;
  std::pmr::vector<NodeId> path_;
};

}  // namespace heap
