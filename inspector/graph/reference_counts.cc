#include "inspector/graph/reference_counts.h"

namespace heap {

ReferenceCounts::ReferenceCounts(const HeapGraph& graph,
                                 std::span<const uint32_t> counts)
    : graph_(graph),
      counts_(counts),
      left_(counts.begin(), counts.end()),
      dropped_(graph.edges().size(), 0) {}

void ReferenceCounts::Decrement(NodeId node, NodeId by) {
  uint32_t& left = left_[node];
  // A count of zero: more references were found than are counted.
  if (left == kUncounted || left == 0) return;
  if (left == counts_[node]) decreased_.push_back(node);
  if (--left == 0) freed_.push_back({node, by});
}

std::span<const ReferenceCounts::Freed> ReferenceCounts::Drop(
    std::span<const EdgeAt> edges) {
  freed_.clear();
  for (EdgeAt at : edges) dropped_[at.edge] = 1;
  for (EdgeAt at : edges)
    Decrement(graph_.edges()[at.edge].referent(), at.referrer);
  for (size_t next = 0; next < freed_.size(); ++next) {
    NodeId node = freed_[next].node;
    uint32_t edge = graph_.FirstEdge(node);
    for (Edge reference : graph_.Referents(node))
      if (dropped_[edge++] == 0) Decrement(reference.referent(), node);
  }
  for (EdgeAt at : edges) dropped_[at.edge] = 0;
  for (NodeId node : decreased_) left_[node] = counts_[node];
  decreased_.clear();
  return freed_;
}

}  // namespace heap
