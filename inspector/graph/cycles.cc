#include "inspector/graph/cycles.h"

#include <algorithm>

namespace heap {

CycleFinder::CycleFinder(const HeapGraph& graph, const Components& components,
                         uint64_t edge_budget,
                         std::pmr::memory_resource* memory)
    : graph_(graph),
      components_(components),
      edge_budget_(edge_budget),
      seen_in_round_(graph.node_count(), 0, memory),
      referrer_(graph.node_count(), kNoNode, memory),
      referents_inside_(memory),
      queue_(memory),
      closings_(memory),
      path_(memory) {}

void CycleFinder::ListReferentsInside(NodeId node) {
  referents_inside_.clear();
  ++round_;
  for (Edge edge : graph_.Referents(node)) {
    NodeId referent = edge.referent();
    if (!StaysInside(node, edge) || seen_in_round_[referent] == round_)
      continue;
    seen_in_round_[referent] = round_;
    referents_inside_.push_back(referent);
  }
}

bool CycleFinder::Search(NodeId node, NodeId first) {
  closings_.clear();
  if (first == node) {  // It refers to itself.
    closings_.push_back(node);
    return true;
  }
  ++round_;
  queue_.clear();
  queue_.push_back(first);
  seen_in_round_[first] = round_;
  referrer_[first] = node;
  // Nodes of one distance stand together in the queue: [next, level_end).
  size_t next = 0;
  while (next < queue_.size()) {
    size_t level_end = queue_.size();
    for (; next < level_end; ++next) {
      NodeId current = queue_[next];
      auto referents = graph_.Referents(current);
      if (referents.size() > edge_budget_) return false;
      edge_budget_ -= referents.size();
      bool closes = false;
      for (Edge edge : referents) {
        if (!StaysInside(node, edge)) continue;
        NodeId referent = edge.referent();
        if (referent == node) {
          closes = true;
        } else if (seen_in_round_[referent] != round_) {
          seen_in_round_[referent] = round_;
          referrer_[referent] = current;
          queue_.push_back(referent);
        }
      }
      if (closes) closings_.push_back(current);
    }
    if (!closings_.empty()) return true;
  }
  return true;
}

std::span<const NodeId> CycleFinder::PathTo(NodeId node, NodeId closing) {
  path_.clear();
  for (NodeId at = closing; at != node; at = referrer_[at]) path_.push_back(at);
  path_.push_back(node);
  std::reverse(path_.begin(), path_.end());
  return path_;
}

}  // namespace heap
