#pragma once

#include <functional>
#include <unordered_set>

#include "collector/heap/recorded_heap.h"
#include "inspector/graph/components.h"
#include "inspector/graph/cycles.h"

namespace collector {

/// What has the same cycle: a line of the report's `cycles`.
struct CycleRow {
  std::string signature;
  std::string id;
  uint64_t closures = 0;
  std::vector<heap::NodeId> nodes;  // The objects that have it, each once.
  std::vector<heap::ComponentId> components;  // Where they lie, each once.
};

/// The cycles of a recorded heap by signature, by the same rules as in the
/// report that the inspector wrote: every shortest cycle through each out-edge
/// of a watched object, and one for each component without any. Host only.
class RecordedCycles {
 public:
  /// Called with the number of the row and the cycle's nodes, for each cycle
  /// that was searched for; large components have none.
  using Met = std::function<void(size_t, std::span<const heap::NodeId>)>;

  /// `graph` is that of `heap`, or the same with more edges cut. Both outlive
  /// this.
  RecordedCycles(const RecordedHeap& heap, const heap::HeapGraph& graph,
                 Met met = {});

  const std::vector<CycleRow>& rows() const { return rows_; }
  const heap::Components& components() const { return components_; }
  std::span<const heap::NodeId> Members(heap::ComponentId component) const {
    return {members_.data() + first_member_[component],
            first_member_[component + 1] - first_member_[component]};
  }
  /// Objects whose cycles were left out: the search was getting too long.
  uint64_t skipped() const { return skipped_; }

 private:
  void ListComponents();
  void AddComponent(heap::ComponentId component, heap::CycleFinder& finder);
  void Add(std::span<const heap::NodeId> cycle);
  void AddSummary(heap::ComponentId component, heap::NodeId node);
  void Count(size_t row, heap::NodeId node);
  void CountComponent(size_t row, heap::ComponentId component);
  size_t RowOf(const std::string& signature);
  std::string Signature(std::span<const heap::NodeId> cycle) const;
  heap::NodeId Representative(heap::ComponentId component) const;

  const RecordedHeap& heap_;
  const heap::HeapGraph& graph_;
  Met met_;
  heap::Components components_;
  std::vector<uint32_t> first_member_;
  std::vector<heap::NodeId> members_;
  std::vector<CycleRow> rows_;
  std::unordered_map<std::string, size_t> row_of_;
  // Row and component, or closing referrer of the node at hand.
  std::unordered_set<uint64_t> counted_;
  std::unordered_set<uint64_t> closings_;
  heap::NodeId closings_of_ = heap::kNoNode;
  uint64_t skipped_ = 0;
};

}  // namespace collector
