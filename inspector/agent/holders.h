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
  heap::StringId PathTo(heap::NodeId node) { return Path(node, kExact); }

  /// The same without the places in sequences, "list[…] → Session": what many
  /// objects have in common. `one_of_many_modules`: nor does the module where
  /// it begins have a name.
  heap::StringId TypicalPathTo(heap::NodeId node, bool one_of_many_modules) {
    return Path(node, one_of_many_modules ? kTypicalOfModules : kTypical);
  }

  /// How a path begins, without what differs from thread to thread and from
  /// snapshot to snapshot: "atexit", "worker (service.py): local job".
  heap::StringId StartName(const Root& root) const;
  heap::StringId StartName(const FrameReference& reference);

  /// What such a path begins with: "interpreter", "thread 17, work (a.py:3):
  /// local broker", "held from C: 2 references"; the last is 0 if there are
  /// none.
  heap::StringId NameOf(const Root& root) const;
  heap::StringId NameOf(const FrameReference& reference);
  heap::StringId NameOfOutside(heap::NodeId node) const;

 private:
  using Text = heap::TextBuffer<4096>;
  enum Style { kExact, kTypical, kTypicalOfModules };
  heap::StringId Path(heap::NodeId node, Style style);
  heap::StringId Step(std::span<const heap::NodeId> path, size_t i,
                      Style style);
  void AppendStart(Text& text, heap::NodeId start) const;
  void AppendRoot(Text& text, const Root& root) const;
  bool AppendOutside(Text& text, heap::NodeId node) const;
  /// True if the object is one of the frame's locals, whose name then ends it.
  bool AppendFrame(Text& text, const RunningFrame& frame,
                   const PyObject* object);
  bool AppendLocal(Text& text, const RunningFrame& frame,
                   const PyObject* object) const;
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
