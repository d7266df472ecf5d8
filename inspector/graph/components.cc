// Pearce, "A space-efficient algorithm for finding strongly connected
// components" (2016): Tarjan's depth-first search with one number per node
// instead of two, and an explicit stack instead of recursion, since a heap can
// hold a list nested a million deep. The number (the paper's rindex) is that of
// the visit while a node is open, or the lowest that the node leads to; once
// its component is known, one that is larger than that of any open node, so
// that closed nodes drop out of the comparisons by themselves.

#include "inspector/graph/components.h"

#include <algorithm>

namespace heap {
namespace {

constexpr uint32_t kUnseen = 0;
// Components are numbered downwards from here while visits count upwards.
constexpr uint32_t kFirstComponent = kNoComponent - 1;

class Search {
 public:
  Search(const HeapGraph& graph, Components& components,
         std::pmr::memory_resource* memory)
      : graph_(graph),
        components_(components),
        number_(components.of),
        path_(memory),
        open_(memory) {}

  void From(NodeId start) {
    Enter(start);
    while (!path_.empty()) {
      Step& step = path_.back();
      auto referents = graph_.Referents(step.node);
      if (step.next_edge == referents.size()) {
        Leave();
        continue;
      }
      Edge edge = referents[step.next_edge++];
      if (edge.cut()) continue;
      NodeId referent = edge.referent();
      if (number_[referent] == kUnseen)
        Enter(referent);
      else
        Lower(step, number_[referent]);
    }
  }

 private:
  struct Step {
    NodeId node;
    uint32_t next_edge : 31;
    uint32_t is_root : 1;  // Nothing that it leads to was entered before it.
  };

  void Enter(NodeId node) {
    number_[node] = next_visit_++;
    path_.push_back({node, 0, 1});
  }

  void Lower(Step& step, uint32_t number) {
    if (number >= number_[step.node]) return;
    number_[step.node] = number;
    step.is_root = 0;
  }

  void Leave() {
    Step step = path_.back();
    path_.pop_back();
    if (step.is_root != 0)
      Close(step.node);
    else
      open_.push_back(step.node);
    if (!path_.empty()) Lower(path_.back(), number_[step.node]);
  }

  /// The open nodes from `root` on are one component. Their visit numbers are
  /// used again, so that no number of a visit reaches one of a component.
  void Close(NodeId root) {
    uint32_t size = 1;
    uint32_t visit = number_[root];
    for (; !open_.empty() && number_[open_.back()] >= visit; ++size) {
      number_[open_.back()] = kFirstComponent - components_.count();
      open_.pop_back();
    }
    next_visit_ -= size;
    bool lies_on_cycle = size > 1 || RefersToItself(root);
    number_[root] =
        lies_on_cycle ? kFirstComponent - components_.count() : kNoComponent;
    if (lies_on_cycle) components_.size.push_back(size);
  }

  bool RefersToItself(NodeId node) const {
    for (Edge edge : graph_.Referents(node))
      if (edge.referent() == node && !edge.cut()) return true;
    return false;
  }

  const HeapGraph& graph_;
  Components& components_;
  std::pmr::vector<uint32_t>& number_;
  std::pmr::vector<Step> path_;
  std::pmr::vector<NodeId> open_;  // Left, but not closed.
  uint32_t next_visit_ = kUnseen + 1;
};

}  // namespace

Components FindComponents(const HeapGraph& graph,
                          std::pmr::memory_resource* memory) {
  Components components(memory);
  NodeId count = graph.node_count();
  components.of.resize(count, kUnseen);
  Search search(graph, components, memory);
  for (NodeId start = 0; start < count; ++start)
    if (components.of[start] == kUnseen && !graph.Referents(start).empty())
      search.From(start);
  for (ComponentId& of : components.of)
    of = of == kUnseen || of == kNoComponent ? kNoComponent
                                             : kFirstComponent - of;
  return components;
}

}  // namespace heap
