#include "inspector/graph/cycles.h"

#include <algorithm>

#include "inspector/graph/reported_cycles.h"

namespace heap {

CycleFinder::CycleFinder(const HeapGraph& graph, const Components& components,
                         uint64_t edge_budget,
                         std::pmr::memory_resource* memory)
    : graph_(graph),
      components_(components),
      edge_budget_(edge_budget),
      place_(static_cast<uint32_t*>(memory->allocate(
          graph.row_count() * sizeof(uint32_t), alignof(uint32_t)))),
      referents_inside_(memory),
      queue_(memory),
      referrers_(memory),
      closings_(memory),
      path_(memory) {}

CycleFinder::~CycleFinder() {
  queue_.get_allocator().resource()->deallocate(
      place_, graph_.row_count() * sizeof(uint32_t), alignof(uint32_t));
}

void CycleFinder::ListReferentsInside(NodeId node) {
  referents_inside_.clear();
  for (Edge edge : graph_.Referents(node)) {
    NodeId referent = edge.referent();
    if (StaysInside(node, edge) && !Has(referents_inside_, referent))
      PutInto(referents_inside_, referent);
  }
}

bool CycleFinder::Search(NodeId node, NodeId first) {
  closings_.clear();
  if (first == node) {  // It refers to itself.
    closings_.push_back(node);
    return true;
  }
  queue_.clear();
  referrers_.clear();
  PutInto(queue_, first);
  referrers_.push_back(node);
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
        } else if (!Has(queue_, referent)) {
          PutInto(queue_, referent);
          referrers_.push_back(current);
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
  for (NodeId at = closing; at != node; at = referrers_[place_[at]])
    path_.push_back(at);
  path_.push_back(node);
  std::reverse(path_.begin(), path_.end());
  return path_;
}

ComponentMembers::ComponentMembers(const Components& components,
                                   std::pmr::memory_resource* memory)
    : first_(components.count() + 1, 0, memory), nodes_(memory) {
  for (ComponentId id = 0; id < components.count(); ++id)
    first_[id + 1] = first_[id] + components.size[id];
  nodes_.resize(first_.back());
  std::pmr::vector<uint32_t> next(first_, memory);
  for (NodeId node = 0; node < components.node_count(); ++node)
    if (ComponentId id = components.Of(node); id != kNoComponent)
      nodes_[next[id]++] = node;
}

}  // namespace heap
