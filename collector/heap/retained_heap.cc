#include "collector/heap/retained_heap.h"

#include <algorithm>

namespace collector {

using heap::NodeId;
using heap::RecordedKind;

namespace {

heap::Entries EntriesOf(const RecordedHeap& heap) {
  NodeId count = heap.node_count();
  std::vector<uint8_t> held(count);
  std::vector<uint8_t> garbage(count);
  std::vector<uint8_t> rank(count);
  for (NodeId node = 0; node < count; ++node) {
    garbage[node] = heap.file().state(node) == heap::State::kFloating;
    held[node] =
        garbage[node] == 0 &&
        (heap.file().flags()[node] &
         (heap::kHeldOutside | heap::kHeldByFrame | heap::kNamedRoot)) != 0;
    bool of_program =
        (heap.file().type(node).flags & heap::kTypeOfProgram) != 0;
    rank[node] = heap.watched(node)                        ? 0
                 : heap.kind(node) != RecordedKind::kOther ? 3
                 : of_program                              ? 1
                                                           : 2;
  }
  return heap::FindEntries(heap.graph(), held, garbage, rank);
}

}  // namespace

RetainedHeap::RetainedHeap(const RecordedHeap& heap)
    : heap_(heap),
      entries_(EntriesOf(heap)),
      dominators_(heap::FindDominators(heap.graph(), entries_)),
      retained_(heap::RetainedSizes(
          dominators_, [&](NodeId node) { return heap.file().size(node); })) {
  const auto& order = dominators_.order;
  const auto& immediate = dominators_.immediate;
  below_.assign(immediate.size(), 1);
  for (size_t i = order.size(); i-- > 0;)
    below_[immediate[order[i]]] += below_[order[i]];
  tree_.resize(immediate.size());
  place_.assign(immediate.size(), 0);
  std::vector<uint32_t> next(immediate.size(), 1);  // Behind the node itself.
  NodeId floating = dominators_.floating_root();
  place_[floating] = below_[dominators_.live_root()];
  next[floating] = place_[floating] + 1;
  for (NodeId node : order) {
    place_[node] = next[immediate[node]];
    next[immediate[node]] += below_[node];
    next[node] = place_[node] + 1;
    tree_[place_[node]] = node;
  }
}

NodeId RetainedHeap::DominatorOf(NodeId node) const {
  NodeId dominator = dominators_.immediate[node];
  return dominator < heap_.node_count() ? dominator : heap::kNoNode;
}

std::vector<NodeId> RetainedHeap::Largest(size_t count) const {
  std::vector<NodeId> nodes;
  auto goes_without_saying = [this](NodeId node) {
    NodeId owner = DominatorOf(node);
    if (owner == heap::kNoNode || heap_.kind(node) != RecordedKind::kDict)
      return false;
    return heap_.InstanceOf(node) == owner ||
           ((heap_.kind(owner) == RecordedKind::kModule ||
             heap_.kind(owner) == RecordedKind::kType) &&
            heap_.IsNamespaceOf(owner, node));
  };
  for (NodeId node = 0; node < heap_.node_count(); ++node)
    if (!goes_without_saying(node)) nodes.push_back(node);
  count = std::min(count, nodes.size());
  std::partial_sort(nodes.begin(), nodes.begin() + ptrdiff_t(count),
                    nodes.end(), [this](NodeId a, NodeId b) {
                      return Of(a) != Of(b) ? Of(a) > Of(b) : a < b;
                    });
  nodes.resize(count);
  return nodes;
}

std::vector<uint64_t> RetainedHeap::OfGroups(
    const std::vector<std::vector<NodeId>>& groups) const {
  std::vector<uint64_t> bytes(groups.size(), 0);
  for (size_t first = 0; first < groups.size(); first += heap::kGroups) {
    size_t last = std::min(groups.size(), first + heap::kGroups);
    std::vector<uint64_t> masks(heap_.node_count(), 0);
    for (size_t group = first; group < last; ++group)
      for (NodeId node : groups[group])
        masks[node] |= uint64_t{1} << (group - first);
    std::vector<uint64_t> gone = heap::GoneWith(heap_.graph(), entries_, masks);
    for (NodeId node = 0; node < heap_.node_count(); ++node)
      for (uint64_t left = gone[node]; left != 0; left &= left - 1)
        bytes[first + size_t(std::countr_zero(left))] +=
            heap_.file().size(node);
  }
  return bytes;
}

std::map<std::string, uint64_t> RetainedHeap::OfTypes() const {
  std::map<heap::StringId, std::vector<NodeId>> by_name;
  for (NodeId node = 0; node < heap_.node_count(); ++node)
    by_name[heap_.file().type(node).name].push_back(node);
  std::vector<std::vector<NodeId>> groups;
  for (auto& [name, nodes] : by_name) groups.push_back(std::move(nodes));
  std::vector<uint64_t> bytes = OfGroups(groups);
  std::map<std::string, uint64_t> retained;
  size_t group = 0;
  for (auto& [name, nodes] : by_name)
    retained.emplace(heap_.file().text(name), bytes[group++]);
  return retained;
}

}  // namespace collector
