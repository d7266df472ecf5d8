#pragma once

#include "inspector/agent/node_labels.h"
#include "inspector/graph/states.h"

namespace inspector {

/// Says in words what holds a node.
class Holders {
 public:
  Holders(const Runtime& runtime, const HeapWalk& walk, const TypeTable& types,
          const heap::States& states, NodeLabels& labels,
          heap::StringTable& strings)
      : runtime_(runtime),
        walk_(walk),
        types_(types),
        states_(states),
        labels_(labels),
        strings_(strings) {}

  /// The path from what keeps the node to the node, with the names of the
  /// references: "module insights.core.dr.BROKERS → list[0] → Broker". It
  /// begins with an imported module, the state of thread or interpreter, an
  /// exit function, the data of a loaded file, a number of references from C;
  /// for a node in flight with thread, function, line and local variable. The
  /// middle of long paths is left out. 0 if the node is floating.
  heap::StringId PathTo(heap::NodeId node);

 private:
  using Text = heap::TextBuffer<4096>;
  void AppendStart(Text& text, heap::NodeId start) const;
  void AppendFrame(Text& text, heap::NodeId start);
  /// True if the step from `owner` to `dict` goes without saying.
  bool IsFolded(heap::NodeId owner, heap::NodeId dict) const;

  const Runtime& runtime_;
  const HeapWalk& walk_;
  const TypeTable& types_;
  const heap::States& states_;
  NodeLabels& labels_;
  heap::StringTable& strings_;
};

}  // namespace inspector
