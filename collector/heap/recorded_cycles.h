#pragma once

#include <functional>
#include <unordered_set>

#include "collector/heap/recorded_heap.h"
#include "inspector/graph/reported_cycles.h"

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
    return members_[component];
  }
  /// Objects whose cycles were left out: the search was getting too long.
  uint64_t skipped() const { return skipped_; }

  // For heap::TellCycles.
  bool IsWatched(heap::NodeId node) const;
  bool TellsMore(heap::NodeId a, heap::NodeId b) const;
  std::string SignatureOf(std::span<const heap::NodeId> cycle) const;
  bool ComesBefore(const std::string& a, const std::string& b) const {
    return a < b;
  }
  void AddCycle(std::span<const heap::NodeId> cycle);
  void AddLarge(heap::ComponentId component, heap::NodeId node);

 private:
  void Count(size_t row, heap::NodeId node);
  void CountComponent(size_t row, heap::ComponentId component);
  size_t RowOf(const std::string& signature);

  const RecordedHeap& heap_;
  Met met_;
  heap::Components components_;
  heap::ComponentMembers members_;
  std::vector<CycleRow> rows_;
  std::unordered_map<std::string, size_t> row_of_;
  // Row and component, or closing referrer of the node at hand.
  std::unordered_set<uint64_t> counted_;
  std::unordered_set<uint64_t> closings_;
  heap::NodeId closings_of_ = heap::kNoNode;
  uint64_t skipped_ = 0;
};

}  // namespace collector
