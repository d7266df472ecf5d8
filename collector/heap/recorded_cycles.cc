#include "collector/heap/recorded_cycles.h"

#include <fmt/format.h>

#include <algorithm>

namespace collector {

using heap::ComponentId;
using heap::NodeId;
using heap::RecordedKind;

namespace {

// As in inspector/agent/cycle_tally.cc: the rows must be the same.
constexpr uint64_t kEdgeBudget = 400'000'000;
constexpr uint32_t kLargeComponent = 10'000;

}  // namespace

RecordedCycles::RecordedCycles(const RecordedHeap& heap,
                               const heap::HeapGraph& graph, Met met)
    : heap_(heap),
      graph_(graph),
      met_(std::move(met)),
      components_(
          heap::FindComponents(graph, std::pmr::get_default_resource())) {
  ListComponents();
  heap::CycleFinder finder(graph, components_, kEdgeBudget,
                           std::pmr::get_default_resource());
  std::vector<uint8_t> has_watched(components_.count(), 0);
  auto is_watched = [&](NodeId node) {
    return components_.of[node] != heap::kNoComponent && heap.watched(node);
  };
  for (NodeId node = 0; node < graph.node_count(); ++node)
    if (is_watched(node)) has_watched[components_.of[node]] = 1;
  auto add_watched = [&](bool large) {
    for (NodeId node = 0; node < graph.node_count(); ++node) {
      if (!is_watched(node)) continue;
      uint32_t size = components_.size[components_.of[node]];
      if ((size > kLargeComponent) != large) continue;
      finder.ForEachCycle(
          node, [this](std::span<const NodeId> cycle) { Add(cycle); });
    }
  };
  add_watched(false);
  for (ComponentId id = 0; id < components_.count(); ++id)
    if (has_watched[id] == 0) AddComponent(id, finder);
  add_watched(true);
  skipped_ = finder.skipped_nodes();
}

void RecordedCycles::ListComponents() {
  first_member_.assign(components_.count() + 1, 0);
  for (ComponentId id = 0; id < components_.count(); ++id)
    first_member_[id + 1] = first_member_[id] + components_.size[id];
  members_.resize(first_member_.back());
  std::vector<uint32_t> next = first_member_;
  for (NodeId node = 0; node < graph_.node_count(); ++node)
    if (ComponentId id = components_.of[node]; id != heap::kNoComponent)
      members_[next[id]++] = node;
}

/// The node whose type tells most: of the program rather than the interpreter,
/// then the first by name, then the oldest.
NodeId RecordedCycles::Representative(ComponentId component) const {
  auto members = Members(component);
  return *std::min_element(
      members.begin(), members.end(), [this](NodeId a, NodeId b) {
        const heap::TypeRecord& first = heap_.file().type(a);
        const heap::TypeRecord& second = heap_.file().type(b);
        bool of_program = (first.flags & heap::kTypeOfProgram) != 0;
        if (of_program != ((second.flags & heap::kTypeOfProgram) != 0))
          return of_program;
        return heap_.file().text(first.name) < heap_.file().text(second.name);
      });
}

void RecordedCycles::AddComponent(ComponentId component,
                                  heap::CycleFinder& finder) {
  NodeId node = Representative(component);
  if (components_.size[component] > kLargeComponent)
    return AddSummary(component, node);
  // The shortest; of equal ones the first by signature.
  std::string best;
  std::vector<NodeId> best_cycle;
  finder.ForEachCycle(node, [&](std::span<const NodeId> cycle) {
    if (!best.empty() && cycle.size() > best_cycle.size()) return;
    std::string signature = Signature(cycle);
    if (!best.empty() && cycle.size() == best_cycle.size() && signature >= best)
      return;
    best = std::move(signature);
    best_cycle.assign(cycle.begin(), cycle.end());
  });
  if (!best.empty()) Add(best_cycle);
}

void RecordedCycles::AddSummary(ComponentId component, NodeId node) {
  size_t row = RowOf(fmt::format("{} → … (a component of over {} objects)",
                                 heap_.LabelOf(node), kLargeComponent));
  Count(row, node);
  CountComponent(row, component);
}

std::string RecordedCycles::Signature(std::span<const NodeId> cycle) const {
  std::string text;
  for (size_t i = 0; i < cycle.size(); ++i) {
    if (i > 0 && heap_.IsInstanceDictOf(cycle[i - 1], cycle[i])) continue;
    if (i > 0) text += " → ";
    text += heap_.LabelOf(cycle[i]);
  }
  text += " → ";
  text += heap_.LabelOf(cycle[0]);
  return text;
}

size_t RecordedCycles::RowOf(const std::string& signature) {
  auto [found, is_new] = row_of_.emplace(signature, rows_.size());
  if (is_new)
    rows_.push_back(
        {signature, fmt::format("{:08x}", heap::Fnv32(signature)), 0, {}, {}});
  return found->second;
}

void RecordedCycles::Count(size_t row, NodeId node) {
  auto& nodes = rows_[row].nodes;
  if (nodes.empty() || nodes.back() != node) nodes.push_back(node);
}

void RecordedCycles::Add(std::span<const NodeId> cycle) {
  NodeId node = cycle[0];
  size_t row = RowOf(Signature(cycle));
  if (closings_of_ != node) closings_.clear();
  closings_of_ = node;
  if (closings_.insert(uint64_t{row} << 32 | cycle.back()).second)
    ++rows_[row].closures;
  Count(row, node);
  CountComponent(row, components_.of[node]);
  if (met_) met_(row, cycle);
}

void RecordedCycles::CountComponent(size_t row, ComponentId component) {
  if (counted_.insert(uint64_t{row} << 32 | component).second)
    rows_[row].components.push_back(component);
}

}  // namespace collector
