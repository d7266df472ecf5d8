#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>

#include "inspector/graph/heap_file.h"

namespace collector {

/// A heap file with what reading it for people needs. Immutable.
class RecordedHeap {
 public:
  /// Both throw Error: a sentence that names the file.
  static RecordedHeap Open(const std::string& path);
  /// `name` stands for the file in sentences; the descriptor may be closed.
  static RecordedHeap FromDescriptor(int descriptor, const std::string& name);
  explicit RecordedHeap(heap::HeapFile file, const std::string& name);

  const heap::HeapFile& file() const { return file_; }
  const heap::HeapGraph& graph() const { return file_.graph(); }
  heap::NodeId node_count() const { return file_.node_count(); }
  /// The `cyclescope.snapshot/1` that belongs to it.
  const nlohmann::json& report() const { return report_; }

  bool watched(heap::NodeId node) const {
    return (file_.type(node).flags & heap::kTypeWatched) != 0;
  }
  heap::RecordedKind kind(heap::NodeId node) const {
    return heap::RecordedKind(file_.type(node).kind);
  }
  /// As people know the node: the last part of its type's name, or
  /// "frame(dr.py:run_components)", "coroutine(dr.py:run)", "module json".
  heap::StringId label(heap::NodeId node) const;
  std::string_view LabelOf(heap::NodeId node) const {
    return file_.text(label(node));
  }
  std::string AddressOf(heap::NodeId node) const;
  const char* StateOf(heap::NodeId node) const;
  static const char* StateName(heap::State state);

  /// ".exceptions", "[3]", "local broker", or "".
  std::string NameOf(heap::EdgeName name) const;
  /// Of the first edge between the two; "" too if there is none.
  std::string NameBetween(heap::NodeId referrer, heap::NodeId referent) const;

  /// The instance whose attribute dict the node is; kNoNode if of none.
  heap::NodeId InstanceOf(heap::NodeId dict) const;
  /// Whether a step from the owner to its attribute dict goes without saying:
  /// in signatures for instances, in paths for modules and classes, too.
  bool IsInstanceDictOf(heap::NodeId owner, heap::NodeId dict) const;
  bool IsNamespaceOf(heap::NodeId owner, heap::NodeId dict) const;

  /// By type: whether it or a class it inherits from is called `wanted`,
  /// `module.qualname` or the last parts of it.
  std::vector<uint8_t> TypesNamed(std::string_view wanted) const;

 private:
  bool HasDictEdge(heap::NodeId owner, heap::NodeId dict) const;

  heap::HeapFile file_;
  nlohmann::json report_;
  heap::StringId dict_name_ = 0;  // ".__dict__"
  std::unordered_map<heap::NodeId, heap::NodeId> instance_of_;
};

/// Whether `name` is `wanted` or ends with ".wanted".
bool AnswersTo(std::string_view name, std::string_view wanted);

}  // namespace collector
