#pragma once

#include "inspector/graph/components.h"
#include "inspector/graph/dominators.h"
#include "inspector/graph/heap_file.h"

namespace heap {

/// Reads bytes as a heap file. What is accepted must hold what the reader
/// promises: every id, name and row is looked at, and the algorithms run over
/// the graph. True if it was accepted.
inline bool ReadAny(std::span<const char> bytes) {
  std::string problem;
  auto file = HeapFile::Parse(bytes, problem);
  if (!file) {
    if (problem.empty()) std::abort();
    return false;
  }
  uint64_t sum = 0;
  auto add = [&](StringId id) {
    for (char c : file->text(id)) sum += static_cast<unsigned char>(c);
  };
  NodeId count = file->node_count();
  std::vector<uint8_t> held(count);
  std::vector<uint8_t> garbage(count);
  for (NodeId node = 0; node < count; ++node) {
    sum += file->addresses()[node] + file->counts()[node] + file->size(node);
    add(file->type(node).name);
    add(file->type(node).label);
    if (const LabelRecord* label = file->label(node)) {
      add(label->label);
      add(label->function);
    }
    held[node] = (file->flags()[node] & kHeldOutside) != 0;
    garbage[node] = file->state(node) == State::kFloating;
    for (Edge edge : file->graph().Referents(node)) sum += edge.referent();
  }
  for (const TypeRecord& type : file->types())
    for (size_t i = 0; i < std::min<size_t>(type.class_count, 4); ++i)
      add(file->class_names(type)[i]);
  for (EdgeName name : file->edge_names()) add(name.text());
  for (const RootRecord& root : file->roots()) add(root.name);
  for (char c : file->report()) sum += static_cast<unsigned char>(c);
  Entries entries =
      FindEntries(file->graph(), held, garbage, std::vector<uint8_t>(count, 0));
  Dominators dominators = FindDominators(file->graph(), entries);
  auto retained =
      RetainedSizes(dominators, [&](NodeId node) { return file->size(node); });
  if (dominators.order.size() != count) std::abort();
  FindComponents(file->graph(), std::pmr::new_delete_resource());
  volatile uint64_t seen = sum + retained[count];
  (void)seen;
  return true;
}

}  // namespace heap
