#pragma once

#include <array>

#include "inspector/agent/holders.h"

namespace inspector {

/// Objects of one type that one place holds: the 200 `Session` in the list of
/// `Registry.items`.
struct HolderGroup {
  heap::StringId type = 0;  // module.qualname
  heap::State state = heap::State::kPinned;
  heap::NodeId example = heap::kNoNode;
  uint64_t id = 0;  // Of place and type, the same in every snapshot.
  uint64_t count = 0;
  uint64_t bytes = 0;

  // Its place: below which group (or how a path begins), by which name.
  uint32_t parent = 0;
  heap::StringId name = 0;
  bool in_many_modules = false;
};

/// Divides what is pinned or in flight into groups by what holds it.
///
/// The paths that give the states form a forest. A node belongs to the group of
/// its holder, of its own type, and, if it holds much and its holder has a name
/// for it, of that name: a registry is told apart from its neighbour, its
/// entries are not told apart, but generators and coroutines by their
/// functions. What repeats on the way down (a linked list, a tree) stays in the
/// group where it came first. O(nodes), and for each node that holds much
/// O(references of its holder).
class HolderGroups {
 public:
  HolderGroups(const Runtime& runtime, const HeapWalk& walk,
               const TypeTable& types, const heap::States& states,
               NodeLabels& labels, Holders& holders, heap::StringTable& strings,
               std::pmr::memory_resource* memory);

  /// Frees what it needed beside the groups: 5 bytes per node with references.
  void Run();

  /// The largest first.
  std::span<const HolderGroup> groups() const {
    return {groups_.data(), groups_.size()};
  }
  /// Of the type's groups the one with the most objects, or null.
  const HolderGroup* CommonestOf(heap::StringId type) const;
  /// The path to the example, without what differs within the group; 0 once
  /// all that were asked for have read too much.
  heap::StringId PathTo(const HolderGroup& group);

 private:
  static constexpr uint32_t kStart = 0x80000000;  // Then a text, no group.

  void Weigh();
  void PlaceStarts();
  void PlaceRest();
  void CountNodes();
  uint32_t GroupFor(heap::NodeId node, uint32_t parent, heap::StringId name);
  void PutAtStart(heap::NodeId node, heap::StringId start);
  void Count(uint32_t group, heap::NodeId node);
  bool HasRow(heap::NodeId node) const { return node < weight_.size(); }
  uint8_t WeightOf(heap::NodeId node) const {
    return HasRow(node) ? weight_[node] : 0;
  }
  heap::StringId NameInHolder(heap::NodeId node) const;
  heap::StringId PlaceName(heap::NodeId node);
  uint32_t Find(heap::NodeId node, uint32_t parent, heap::StringId name);
  bool IsStart(heap::NodeId node) const { return states_.holder[node] == node; }
  void Rehash();

  const Runtime& runtime_;
  const HeapWalk& walk_;
  const TypeTable& types_;
  const heap::States& states_;
  NodeLabels& labels_;
  Holders& holders_;
  heap::StringTable& strings_;
  std::pmr::vector<HolderGroup> groups_;
  std::pmr::vector<uint32_t> slots_;  // Open addressing; group + 1.
  // By row, since what has none holds nothing and its group is needed once.
  std::pmr::vector<uint32_t> group_of_;  // Group + 1, 0 = none yet.
  std::pmr::vector<uint8_t> weight_;     // Nodes below, up to kMuch.
  std::pmr::vector<bool> is_counted_;    // By node without a row.
  /// Groups found last, of nodes without a name: neighbours are often alike.
  struct Found {
    uint32_t parent = kStart;
    heap::StringId type = 0;
    uint32_t group = 0;
  };
  std::array<Found, 1024> found_;
  heap::StringId modules_ = 0;
  uint64_t read_ = 0;
};

}  // namespace inspector
