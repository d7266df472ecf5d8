#pragma once

#include <algorithm>

#include "inspector/graph/cycles.h"

namespace heap {

/// The nodes of each component, in their order.
class ComponentMembers {
 public:
  ComponentMembers(const Components& components,
                   std::pmr::memory_resource* memory);

  std::span<const NodeId> operator[](ComponentId component) const {
    return {nodes_.data() + first_[component],
            first_[component + 1] - first_[component]};
  }

 private:
  std::pmr::vector<uint32_t> first_;  // By component, and the end.
  std::pmr::vector<NodeId> nodes_;
};

/// Components above this size are named by their most telling node alone.
inline constexpr uint32_t kLargeComponent = 10'000;

/// Which cycles a report tells, of a live heap or of a recorded one: each that
/// CycleFinder finds through a watched node; of a component without any the
/// shortest through its most telling node, of equal ones the first by
/// signature. The searches look at no more edges than about 2 s allow; returns
/// how many nodes and components were left out for that.
///
/// `rules` says how nodes are looked at and takes what is found:
/// `IsWatched(node)`; `TellsMore(a, b)`, a strict order; `SignatureOf(cycle)`
/// and `ComesBefore(signature, signature)`; `AddCycle(cycle)`, all of one node
/// together; `AddLarge(component, node)`.
template <typename Rules>
uint64_t TellCycles(const HeapGraph& graph, const Components& components,
                    const ComponentMembers& members, Rules& rules,
                    std::pmr::memory_resource* memory) {
  constexpr uint64_t kEdgeBudget = 400'000'000;
  CycleFinder finder(graph, components, kEdgeBudget, memory);
  auto is_watched = [&](NodeId node) {
    return components.Has(node) && rules.IsWatched(node);
  };
  std::pmr::vector<uint8_t> has_watched(components.count(), 0, memory);
  for (NodeId node = 0; node < graph.node_count(); ++node)
    if (is_watched(node)) has_watched[components.Of(node)] = 1;
  auto add_watched = [&](bool large) {
    for (NodeId node = 0; node < graph.node_count(); ++node) {
      if (!is_watched(node)) continue;
      uint32_t size = components.size[components.Of(node)];
      if ((size > kLargeComponent) != large) continue;
      finder.ForEachCycle(
          node, [&](std::span<const NodeId> cycle) { rules.AddCycle(cycle); });
    }
  };
  std::pmr::vector<NodeId> best(memory);
  auto add_component = [&](ComponentId component) {
    NodeId node = *std::min_element(
        members[component].begin(), members[component].end(),
        [&](NodeId a, NodeId b) { return rules.TellsMore(a, b); });
    if (components.size[component] > kLargeComponent)
      return rules.AddLarge(component, node);
    best.clear();
    decltype(rules.SignatureOf({})) best_signature{};
    finder.ForEachCycle(node, [&](std::span<const NodeId> cycle) {
      if (!best.empty() && cycle.size() > best.size()) return;
      auto signature = rules.SignatureOf(cycle);
      if (!best.empty() && cycle.size() == best.size() &&
          !rules.ComesBefore(signature, best_signature))
        return;
      best_signature = std::move(signature);
      best.assign(cycle.begin(), cycle.end());
    });
    if (!best.empty()) rules.AddCycle(best);
  };
  // In a large component every search is long: it must not use up what all the
  // small ones need.
  add_watched(false);
  for (ComponentId id = 0; id < components.count(); ++id)
    if (has_watched[id] == 0) add_component(id);
  add_watched(true);
  return finder.skipped_nodes();
}

}  // namespace heap
