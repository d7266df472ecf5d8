#pragma once

#include "inspector/agent/holders.h"
#include "inspector/agent/json_writer.h"
#include "inspector/graph/components.h"
#include "inspector/graph/reported_cycles.h"

namespace inspector {

/// A set of 64-bit keys; open addressing. What it once took it keeps for the
/// next keys: an arena takes small blocks back at its end only.
class KeySet {
 public:
  explicit KeySet(std::pmr::memory_resource* memory)
      : slots_(kFewest, 0, memory), old_(memory) {}
  /// True if `key` was not there yet.
  bool Insert(uint64_t key);
  void Clear();

 private:
  static constexpr size_t kFewest = 16;
  std::pmr::vector<uint64_t> slots_;
  std::pmr::vector<uint64_t> old_;  // While it grows.
  size_t count_ = 0;
};

/// Sums cycles by signature. First the shortest cycles through every watched
/// object (each out-edge its own), then one shortest cycle for every component
/// that holds no watched object.
class CycleTally {
 public:
  /// `never` says of a floating node whether no collection will take it.
  CycleTally(const Runtime& runtime, const HeapWalk& walk,
             const TypeTable& types, NodeLabels& labels, Holders& holders,
             heap::StringTable& strings, const heap::Components& components,
             const heap::States& states, const std::pmr::vector<bool>& never,
             std::pmr::memory_resource* memory);

  void Run();
  /// The value of `cycles`.
  void Write(JsonWriter& json) const;
  /// Nodes and components left out because the search was getting too long.
  uint64_t skipped() const { return skipped_; }
  bool has_unnamed_edges() const { return has_unnamed_edges_; }

  // For heap::TellCycles.
  bool IsWatched(heap::NodeId node) const;
  bool TellsMore(heap::NodeId a, heap::NodeId b) const;
  heap::StringId SignatureOf(std::span<const heap::NodeId> cycle);
  bool ComesBefore(heap::StringId a, heap::StringId b) const;
  void AddCycle(std::span<const heap::NodeId> cycle);
  void AddLarge(heap::ComponentId component, heap::NodeId node);

 private:
  /// What a source line has to do with a cycle.
  enum class Role : uint8_t {
    kRaised,   // An exception's traceback ends there: where it was raised.
    kFrame,    // A frame, or a generator or coroutine, stands there.
    kDefined,  // A function begins there; only if the cycle has no other site.
  };
  struct Site {
    heap::StringId file;
    heap::StringId function;
    int line;
    Role role;
    uint64_t count;
  };
  struct Row {
    explicit Row(std::pmr::memory_resource* memory)
        : example(memory),
          example_edges(memory),
          sites(memory),
          held_by(memory) {}
    heap::StringId signature = 0;
    heap::NodeId last_node = heap::kNoNode;
    uint64_t count = 0;
    uint64_t closures = 0;
    uint64_t objects = 0;
    uint64_t bytes = 0;
    uint64_t pinned = 0;
    uint64_t floating = 0;
    uint64_t in_flight = 0;
    uint64_t never = 0;
    uint32_t holders_looked_at = 0;
    std::pmr::vector<heap::StringId> example;  // Type names along the cycle.
    std::pmr::vector<heap::StringId> example_edges;
    std::pmr::vector<Site> sites;
    std::pmr::vector<heap::StringId> held_by;
  };

  Row& RowOf(heap::StringId signature);
  void CountOnce(Row& row, heap::NodeId node);
  void CountComponent(Row& row, heap::ComponentId component, bool is_watched);
  void AddSites(Row& row, std::span<const heap::NodeId> cycle);
  /// True if there is any: null is the code of a cleared frame.
  bool AddSite(Row& row, const PyObject* code, int line, Role role);

  const Runtime& runtime_;
  const HeapWalk& walk_;
  const TypeTable& types_;
  NodeLabels& labels_;
  Holders& holders_;
  heap::StringTable& strings_;
  const heap::Components& components_;
  const heap::States& states_;
  const std::pmr::vector<bool>& never_;
  std::pmr::memory_resource* memory_;

  heap::ComponentMembers members_;
  std::pmr::vector<Row> rows_;
  std::pmr::vector<uint32_t> row_of_string_;    // By StringId; row + 1.
  std::pmr::vector<uint64_t> component_bytes_;  // 0: not summed yet.
  heap::NodeId closings_of_ = heap::kNoNode;
  KeySet closings_;  // Of that node.
  KeySet counted_components_;
  uint64_t skipped_ = 0;
  bool has_unnamed_edges_ = false;
};

}  // namespace inspector
