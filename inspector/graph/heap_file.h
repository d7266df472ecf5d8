#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "inspector/graph/heap_file_format.h"
#include "inspector/graph/states.h"

namespace heap {

/// A recorded heap, mapped and checked. Everything is validated once, here:
/// ids are in range, rows ascend, checksums hold; whoever reads it afterwards
/// need not look. Spans and texts point into the mapping and live as long as
/// it. Host only: allocates.
class HeapFile {
 public:
  /// Null with a sentence in `problem` if the file is none, cut short, altered
  /// or of another version.
  static std::optional<HeapFile> Open(const char* path, std::string& problem);
  /// As Open, of what a descriptor leads to, which may then be closed.
  static std::optional<HeapFile> Map(int descriptor, std::string& problem);
  /// As Open; `bytes` outlive it and start at a multiple of 8.
  static std::optional<HeapFile> Parse(std::span<const char> bytes,
                                       std::string& problem);

  const HeapGraph& graph() const { return graph_; }
  NodeId node_count() const { return graph_.node_count(); }
  std::span<const uint32_t> first_edge() const { return first_edge_; }
  std::span<const Edge> edges() const { return edges_; }
  std::span<const EdgeName> edge_names() const { return edge_names_; }

  std::span<const uint64_t> addresses() const { return addresses_; }
  std::span<const uint8_t> flags() const { return flags_; }
  /// References that the interpreter counts; kImmortalCount: not counted.
  std::span<const uint32_t> counts() const { return counts_; }
  uint64_t size(NodeId node) const {
    uint32_t size = sizes_[node];
    return size < kLargeSizeBit ? size : large_sizes_[size & ~kLargeSizeBit];
  }
  State state(NodeId node) const { return State(states_[node] & kStateMask); }
  bool never(NodeId node) const { return (states_[node] & kNeverBit) != 0; }

  uint32_t type_of(NodeId node) const { return node_types_[node]; }
  std::span<const TypeRecord> types() const { return types_; }
  const TypeRecord& type(NodeId node) const { return types_[type_of(node)]; }
  /// Names of the type and of all that it inherits from.
  std::span<const StringId> class_names(const TypeRecord& type) const {
    return class_names_.subspan(type.first_class, type.class_count);
  }
  /// In ascending order of nodes.
  std::span<const LabelRecord> labels() const { return labels_; }
  /// Null if the node has none. O(log labels).
  const LabelRecord* label(NodeId node) const;
  std::span<const RootRecord> roots() const { return roots_; }

  size_t string_count() const { return string_ends_.size(); }
  std::string_view text(StringId id) const {
    uint64_t begin = id == 0 ? 0 : string_ends_[id - 1];
    return {texts_.data() + begin, string_ends_[id] - begin};
  }
  /// The snapshot report that belongs to it, as JSON.
  std::string_view report() const { return {report_.data(), report_.size()}; }
  uint64_t byte_count() const { return bytes_.size(); }

 private:
  class Checker;
  HeapFile() = default;

  std::span<const char> bytes_;
  std::shared_ptr<const void> mapping_;
  HeapGraph graph_;
  std::span<const uint64_t> addresses_;
  std::span<const uint32_t> node_types_;
  std::span<const uint32_t> sizes_;
  std::span<const uint64_t> large_sizes_;
  std::span<const uint32_t> counts_;
  std::span<const uint8_t> flags_;
  std::span<const uint8_t> states_;
  std::span<const uint32_t> first_edge_;
  std::span<const Edge> edges_;
  std::span<const EdgeName> edge_names_;
  std::span<const TypeRecord> types_;
  std::span<const StringId> class_names_;
  std::span<const LabelRecord> labels_;
  std::span<const RootRecord> roots_;
  std::span<const uint64_t> string_ends_;
  std::span<const char> texts_;
  std::span<const char> report_;
};

}  // namespace heap
