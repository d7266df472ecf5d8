#include "collector/heap/recorded_cycles.h"

#include <fmt/format.h>

namespace collector {

using heap::ComponentId;
using heap::NodeId;

RecordedCycles::RecordedCycles(const RecordedHeap& heap,
                               const heap::HeapGraph& graph, Met met)
    : heap_(heap),
      met_(std::move(met)),
      components_(
          heap::FindComponents(graph, std::pmr::get_default_resource())),
      members_(components_, std::pmr::get_default_resource()) {
  skipped_ = heap::TellCycles(graph, components_, members_, *this,
                              std::pmr::get_default_resource());
}

bool RecordedCycles::IsWatched(NodeId node) const {
  return heap_.watched(node);
}

/// A type of the program rather than the interpreter's, then the first by name.
bool RecordedCycles::TellsMore(NodeId a, NodeId b) const {
  const heap::TypeRecord& first = heap_.file().type(a);
  const heap::TypeRecord& second = heap_.file().type(b);
  bool of_program = (first.flags & heap::kTypeOfProgram) != 0;
  if (of_program != ((second.flags & heap::kTypeOfProgram) != 0))
    return of_program;
  return heap_.file().text(first.name) < heap_.file().text(second.name);
}

void RecordedCycles::AddLarge(ComponentId component, NodeId node) {
  size_t row = RowOf(fmt::format("{} → … (a component of over {} objects)",
                                 heap_.LabelOf(node), heap::kLargeComponent));
  Count(row, node);
  CountComponent(row, component);
}

std::string RecordedCycles::SignatureOf(std::span<const NodeId> cycle) const {
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

void RecordedCycles::AddCycle(std::span<const NodeId> cycle) {
  NodeId node = cycle[0];
  size_t row = RowOf(SignatureOf(cycle));
  if (closings_of_ != node) closings_.clear();
  closings_of_ = node;
  if (closings_.insert(uint64_t{row} << 32 | cycle.back()).second)
    ++rows_[row].closures;
  Count(row, node);
  CountComponent(row, components_.Of(node));
  if (met_) met_(row, cycle);
}

void RecordedCycles::CountComponent(size_t row, ComponentId component) {
  if (counted_.insert(uint64_t{row} << 32 | component).second)
    rows_[row].components.push_back(component);
}

}  // namespace collector
