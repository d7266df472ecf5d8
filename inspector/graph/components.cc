// Tarjan's algorithm ("Depth-first search and linear graph algorithms", 1972)
// with an explicit stack instead of recursion, since a heap can hold a list
// nested a million deep. `low` is the paper's lowlink; while a node is open
// `components.of` holds its visit number, afterwards its component.

#include "inspector/graph/components.h"

namespace heap {
namespace {

constexpr uint32_t kUnseen = 0;
constexpr uint32_t kClosed = 0xffffffff;

struct Step {
  NodeId node;
  uint32_t next_edge;
};

bool RefersToItself(const HeapGraph& graph, NodeId node) {
  for (Edge edge : graph.Referents(node))
    if (edge.referent() == node && !edge.cut()) return true;
  return false;
}

}  // namespace

Components FindComponents(const HeapGraph& graph,
                          std::pmr::memory_resource* memory) {
  Components components(memory);
  NodeId count = graph.node_count();
  components.of.resize(count, kNoComponent);
  std::pmr::vector<uint32_t> low(count, kUnseen, memory);
  std::pmr::vector<Step> path(memory);
  std::pmr::vector<NodeId> open(memory);
  uint32_t next_index = 1;

  for (NodeId start = 0; start < count; ++start) {
    if (low[start] != kUnseen || graph.Referents(start).empty()) continue;
    path.push_back({start, 0});
    // `components.of` holds a node's own index until it is closed.
    components.of[start] = low[start] = next_index++;
    open.push_back(start);
    while (!path.empty()) {
      Step& step = path.back();
      NodeId node = step.node;
      auto referents = graph.Referents(node);
      if (step.next_edge < referents.size()) {
        Edge edge = referents[step.next_edge++];
        if (edge.cut()) continue;
        NodeId referent = edge.referent();
        if (graph.Referents(referent).empty()) continue;
        if (low[referent] == kUnseen) {
          components.of[referent] = low[referent] = next_index++;
          open.push_back(referent);
          path.push_back({referent, 0});
        } else if (low[referent] != kClosed && low[referent] < low[node]) {
          low[node] = low[referent];
        }
        continue;
      }
      path.pop_back();
      if (low[node] == components.of[node]) {  // The root of a component.
        bool alone = open.back() == node && !RefersToItself(graph, node);
        ComponentId id = alone ? kNoComponent : components.count();
        uint32_t size = 0;
        for (NodeId member = kNoNode; member != node; ++size) {
          member = open.back();
          open.pop_back();
          low[member] = kClosed;
          components.of[member] = id;
        }
        if (!alone) components.size.push_back(size);
      }
      if (!path.empty() && low[node] < low[path.back().node])
        low[path.back().node] = low[node];
    }
  }
  return components;
}

}  // namespace heap
