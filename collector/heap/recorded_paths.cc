#include "collector/heap/recorded_paths.h"

#include <fmt/format.h>

#include <algorithm>

namespace collector {

using heap::NodeId;
using heap::RecordedKind;
using heap::RecordedRoot;

namespace {

// As in inspector/agent/holders.cc.
constexpr size_t kShownFirst = 8;
constexpr size_t kShownLast = 16;
constexpr size_t kFarthest = 20'000;

}  // namespace

RecordedPaths::RecordedPaths(const RecordedHeap& heap) : heap_(heap) {
  std::vector<NodeId> modules;
  for (const heap::RootRecord& root : heap.file().roots()) {
    if (RecordedRoot(root.kind) == RecordedRoot::kModule)
      modules.push_back(root.node);
    bool is_frame = RecordedRoot(root.kind) == RecordedRoot::kFrame;
    root_of_.emplace(root.node, &root);
    (is_frame ? frame_of_ : other_of_).emplace(root.node, &root);
  }
  heap::States states =
      heap::FindStates(heap.graph(), heap.file().flags(), modules,
                       std::pmr::get_default_resource());
  holder_.assign(states.holder.begin(), states.holder.end());
  EnterGarbage();
  edge_.assign(heap.node_count(), 0);
  for (NodeId node = heap.node_count(); node-- > 0;) {
    auto referents = heap.graph().Referents(node);
    for (size_t i = referents.size(); i-- > 0;)
      if (holder_[referents[i].referent()] == node)
        edge_[referents[i].referent()] =
            heap.graph().FirstEdge(node) + uint32_t(i);
  }
}

/// Breadth first through what has no holder, from watched objects, then those
/// of the program, then any.
void RecordedPaths::EnterGarbage() {
  NodeId count = heap_.node_count();
  std::vector<NodeId> pending;
  auto spread = [&](auto wanted) {
    for (NodeId node = 0; node < count; ++node) {
      if (holder_[node] != heap::kNoNode || !wanted(node)) continue;
      holder_[node] = node;
      pending.push_back(node);
      for (size_t next = 0; next < pending.size(); ++next) {
        for (heap::Edge edge : heap_.graph().Referents(pending[next])) {
          if (holder_[edge.referent()] != heap::kNoNode) continue;
          holder_[edge.referent()] = pending[next];
          pending.push_back(edge.referent());
        }
      }
      pending.clear();
    }
  };
  spread([this](NodeId node) { return heap_.watched(node); });
  spread([this](NodeId node) {
    return (heap_.file().type(node).flags & heap::kTypeOfProgram) != 0;
  });
  spread([](NodeId) { return true; });
}

std::vector<NodeId> RecordedPaths::To(NodeId node) const {
  std::vector<NodeId> path = {node};
  while (HasHolder(path.back()) && path.size() < kFarthest)
    path.push_back(holder_[path.back()]);
  std::reverse(path.begin(), path.end());
  return path;
}

std::string RecordedPaths::StartOf(const std::vector<NodeId>& path) const {
  NodeId start = path.front();
  if (HasHolder(start)) return "…";
  if (heap_.file().state(path.back()) == heap::State::kFloating)
    return "garbage";
  bool in_flight = heap_.file().state(path.back()) == heap::State::kInFlight;
  auto found = root_of_.find(start);
  if (found == root_of_.end()) return "";
  const heap::RootRecord* root = found->second;
  if (RecordedRoot(root->kind) == RecordedRoot::kModule) return "";
  const Roots& fitting = in_flight ? frame_of_ : other_of_;
  if (auto at = fitting.find(start); at != fitting.end()) root = at->second;
  return std::string(heap_.file().text(root->name));
}

std::string RecordedPaths::StepTo(NodeId node, PathStyle style) const {
  heap::EdgeName name = heap_.file().edge_names()[edge_[node]];
  if (style == PathStyle::kTypical && name.is_index()) return "[…]";
  return heap_.NameOf(name);
}

/// Whether the step to the dict goes without saying: its owner's namespace.
bool RecordedPaths::IsFolded(NodeId dict) const {
  if (heap_.kind(dict) != RecordedKind::kDict) return false;
  RecordedKind owner = heap_.kind(holder_[dict]);
  return owner != RecordedKind::kFunction && owner != RecordedKind::kDict &&
         StepTo(dict, PathStyle::kExact) == ".__dict__";
}

std::string RecordedPaths::Text(NodeId node, PathStyle style) const {
  std::vector<NodeId> path = To(node);
  std::string text = StartOf(path);
  if (!text.empty()) {
    bool in_flight =
        heap_.file().state(node) == heap::State::kInFlight && text != "…";
    bool named = text.find("): local ") != std::string::npos;
    text += in_flight && !named ? ": " : " → ";
  }
  size_t length = path.size();
  bool is_long = length > kShownFirst + kShownLast;
  bool folded = false;
  for (size_t i = 0; i < length; ++i) {
    if (is_long && i == kShownFirst) {
      size_t left_out = length - kShownFirst - kShownLast;
      text += " → …";
      if (style == PathStyle::kExact)
        text += fmt::format(" ({} more)", left_out);
      i += left_out;
      folded = false;
    }
    if (!folded) {
      if (i > 0) text += " → ";
      text += heap_.LabelOf(path[i]);
    }
    folded = false;
    if (i + 1 == length) break;
    if (is_long && i + 1 == kShownFirst) continue;
    folded = i + 2 < length && IsFolded(path[i + 1]);
    if (folded) continue;
    std::string step = StepTo(path[i + 1], style);
    text += (step.starts_with("local ") ? " " : "") + step;
  }
  return text;
}

}  // namespace collector
