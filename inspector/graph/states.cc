#include "inspector/graph/states.h"

namespace heap {

std::pmr::vector<uint8_t> FindUnreachable(const HeapGraph& graph,
                                          std::span<const uint8_t> flags,
                                          uint8_t members, uint8_t roots,
                                          std::pmr::memory_resource* memory) {
  NodeId count = graph.node_count();
  std::pmr::vector<uint8_t> unreachable(count, 0, memory);
  std::pmr::vector<NodeId> pending(memory);
  for (NodeId node = 0; node < count; ++node) {
    if ((flags[node] & members) == 0) continue;
    if ((flags[node] & roots) != 0)
      pending.push_back(node);
    else
      unreachable[node] = 1;
  }
  while (!pending.empty()) {
    NodeId node = pending.back();
    pending.pop_back();
    for (Edge edge : graph.Referents(node)) {
      if (unreachable[edge.referent()] == 0) continue;
      unreachable[edge.referent()] = 0;
      pending.push_back(edge.referent());
    }
  }
  return unreachable;
}

namespace {

constexpr auto kUnknown = static_cast<State>(0xff);

/// Breadth first, so that `holder` gives shortest paths. `level` holds the
/// starting nodes, already marked; it ends empty. Two levels at a time: a queue
/// of all nodes would be the largest thing in the child.
void Spread(const HeapGraph& graph, State state, States& states,
            std::pmr::vector<NodeId>& level,
            std::pmr::vector<NodeId>& next_level) {
  for (; !level.empty(); level.swap(next_level)) {
    next_level.clear();
    for (NodeId node : level) {
      for (Edge edge : graph.Referents(node)) {
        NodeId referent = edge.referent();
        if (states.of[referent] != kUnknown) continue;
        states.of[referent] = state;
        states.holder[referent] = node;
        if (!graph.Referents(referent).empty()) next_level.push_back(referent);
      }
    }
    level.clear();
  }
}

}  // namespace

States FindStates(const HeapGraph& graph, std::span<const uint8_t> flags,
                  std::span<const NodeId> first,
                  std::pmr::memory_resource* memory) {
  NodeId count = graph.node_count();
  States states(memory);
  {
    auto floating =
        FindUnreachable(graph, flags, kTracked, kCollectorRoot, memory);
    states.of.resize(count, kUnknown);
    for (NodeId node = 0; node < count; ++node)
      if (floating[node] != 0) states.of[node] = State::kFloating;
  }
  states.holder.resize(count, kNoNode);
  std::pmr::vector<NodeId> level(memory);
  std::pmr::vector<NodeId> next_level(memory);
  auto start_at = [&](NodeId node, State state) {
    if (states.of[node] != kUnknown) return;
    states.of[node] = state;
    states.holder[node] = node;
    level.push_back(node);
  };
  auto spread_from = [&](uint8_t flag, State state) {
    for (NodeId node = 0; node < count; ++node)
      if ((flags[node] & flag) != 0) start_at(node, state);
    Spread(graph, state, states, level, next_level);
  };
  for (NodeId node : first) start_at(node, State::kPinned);
  Spread(graph, State::kPinned, states, level, next_level);
  spread_from(kNamedRoot, State::kPinned);
  spread_from(kHeldOutside, State::kPinned);
  spread_from(kHeldByFrame, State::kInFlight);
  spread_from(kTracked | kFrozen, State::kPinned);
  for (NodeId node = 0; node < count; ++node)
    if (states.of[node] == kUnknown) states.of[node] = State::kFloating;
  return states;
}

}  // namespace heap
