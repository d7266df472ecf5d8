#pragma once

#include <algorithm>
#include <memory>
#include <memory_resource>
#include <string>
#include <vector>

#include "inspector/graph/heap_file.h"
#include "inspector/graph/heap_file_writer.h"
#include "tests/graph/random_graph.h"

namespace heap {

/// A heap made by hand, node by node, and its file. Nodes have one byte, a
/// count that their referrers explain, and are pinned, unless told otherwise.
class SyntheticHeap {
 public:
  SyntheticHeap() : strings_(memory_.get()) {}

  /// `classes`: what it inherits from, beside itself.
  uint32_t Type(const std::string& name,
                RecordedKind kind = RecordedKind::kOther,
                const std::vector<std::string>& classes = {},
                uint32_t flags = 0) {
    TypeRecord type = {};
    type.name = strings_.Intern(name);
    size_t dot = name.rfind('.');
    type.label =
        strings_.Intern(dot == std::string::npos ? name : name.substr(dot + 1));
    type.kind = static_cast<uint32_t>(kind);
    type.flags = flags;
    type.first_class = static_cast<uint32_t>(class_names_.size());
    class_names_.push_back(type.name);
    for (const std::string& base : classes)
      class_names_.push_back(strings_.Intern(base));
    type.class_count = static_cast<uint32_t>(1 + classes.size());
    types_.push_back(type);
    return static_cast<uint32_t>(types_.size() - 1);
  }
  NodeId Node(uint32_t type, uint64_t size = 1) {
    nodes_.push_back({type, size});
    return static_cast<NodeId>(nodes_.size() - 1);
  }
  /// `name`: "" none, "[3]" an index, else a text.
  void Edge(NodeId referrer, NodeId referent, const std::string& name = "",
            bool cut = false, bool native = false) {
    EdgeName edge_name = EdgeName::Text(strings_.Intern(name));
    if (name.size() > 2 && name.front() == '[' && name[1] >= '0' &&
        name[1] <= '9')
      edge_name = EdgeName::Index(std::stoul(name.substr(1)));
    edges_.push_back(
        {referrer,
         native ? heap::Edge::Native(referent) : heap::Edge(referent, cut),
         edge_name});
  }
  void Label(NodeId node, const std::string& label, const std::string& function,
             uint32_t line = 0) {
    labels_.push_back(
        {node, strings_.Intern(label), strings_.Intern(function), line});
  }
  void Root(NodeId node, const std::string& name = "",
            RecordedRoot kind = RecordedRoot::kModule) {
    nodes_[node].flags |= kHeldOutside;
    ++nodes_[node].more_counts;
    roots_.push_back(
        {node, static_cast<uint32_t>(kind), strings_.Intern(name)});
  }
  void HeldOutside(NodeId node) {
    nodes_[node].flags |= kHeldOutside;
    ++nodes_[node].more_counts;
  }
  void HeldByFrame(NodeId node) {
    nodes_[node].flags |= kHeldByFrame;
    nodes_[node].state = State::kInFlight;
    ++nodes_[node].more_counts;
  }
  void Immortal(NodeId node) { nodes_[node].immortal = true; }
  /// By the definition: nodes that nothing held reaches float.
  void FindStates() {
    std::vector<NodeId> pending;
    std::vector<uint8_t> reached(nodes_.size(), 0);
    auto reach = [&](NodeId node) {
      if (reached[node]++ == 0) pending.push_back(node);
    };
    for (NodeId node = 0; node < nodes_.size(); ++node)
      if (nodes_[node].flags != 0) reach(node);
    std::vector<std::vector<NodeId>> referents(nodes_.size());
    for (const NamedEdge& edge : edges_)
      referents[edge.referrer].push_back(edge.edge.referent());
    while (!pending.empty()) {
      NodeId node = pending.back();
      pending.pop_back();
      for (NodeId referent : referents[node]) reach(referent);
    }
    for (NodeId node = 0; node < nodes_.size(); ++node)
      if (reached[node] == 0) nodes_[node].state = State::kFloating;
  }
  void Report(std::string json) { report_ = std::move(json); }

  /// The file's bytes, in memory that a HeapFile may read.
  std::vector<uint64_t> Write() {
    std::stable_sort(edges_.begin(), edges_.end(),
                     [](const NamedEdge& a, const NamedEdge& b) {
                       return a.referrer < b.referrer;
                     });
    std::sort(labels_.begin(), labels_.end(),
              [](const LabelRecord& a, const LabelRecord& b) {
                return a.node < b.node;
              });
    std::vector<uint8_t> flags;
    std::vector<State> states;
    std::pmr::vector<bool> never(nodes_.size());
    std::vector<uint32_t> first_edge(nodes_.size() + 1, 0);
    std::vector<heap::Edge> edges;
    std::vector<uint32_t> counts;
    for (const NodeFacts& node : nodes_) {
      flags.push_back(node.flags | kTracked);
      states.push_back(node.state);
      counts.push_back(node.more_counts);
    }
    for (const NamedEdge& edge : edges_) {
      ++first_edge[edge.referrer + 1];
      edges.push_back(edge.edge);
      ++counts[edge.edge.referent()];
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      first_edge[i + 1] += first_edge[i];
      if (nodes_[i].immortal) counts[i] = kImmortalCount;
    }
    std::string bytes;
    HeapFileWriter writer(-1, Append, &bytes);
    WriteColumns(writer, {flags, states, never, HeapGraph(first_edge, edges)},
                 Nodes{*this, counts, first_edge});
    writer.PutSection<TypeRecord>(SectionKind::kTypes, types_);
    writer.PutSection<StringId>(SectionKind::kClassNames, class_names_);
    writer.PutSection<LabelRecord>(SectionKind::kLabels, labels_);
    writer.PutSection<RootRecord>(SectionKind::kRoots, roots_);
    WriteStrings(writer, strings_);
    writer.Pause();
    // As in life: another writer ends the file.
    HeapFileWriter rest(-1, writer.progress(), Append, &bytes);
    rest.PutSection<char>(SectionKind::kReport, report_);
    rest.Finish();
    return Aligned(bytes);
  }

  static std::vector<uint64_t> Aligned(std::string_view bytes) {
    std::vector<uint64_t> words((bytes.size() + 7) / 8);
    std::memcpy(words.data(), bytes.data(), bytes.size());
    return words;
  }
  static std::span<const char> Bytes(const std::vector<uint64_t>& words) {
    return {reinterpret_cast<const char*>(words.data()), words.size() * 8};
  }

 private:
  struct NodeFacts {
    uint32_t type;
    uint64_t size;
    uint8_t flags = 0;
    State state = State::kPinned;
    uint32_t more_counts = 0;
    bool immortal = false;
  };
  /// What WriteColumns asks of each node.
  struct Nodes {
    const SyntheticHeap& heap;
    const std::vector<uint32_t>& counts;
    const std::vector<uint32_t>& first_edge;

    uint64_t AddressOf(NodeId node) const { return 0x1000 + 16 * node; }
    uint32_t TypeOf(NodeId node) const { return heap.nodes_[node].type; }
    uint64_t SizeOf(NodeId node) const { return heap.nodes_[node].size; }
    uint32_t CountOf(NodeId node) const { return counts[node]; }
    template <typename Put>
    void NamesOf(NodeId node, Put put) const {
      for (uint32_t at = first_edge[node]; at < first_edge[node + 1]; ++at)
        put(heap.edges_[at].name);
    }
  };
  struct NamedEdge {
    NodeId referrer;
    heap::Edge edge;
    EdgeName name;
  };
  static bool Append(void* to, int, const char* bytes, size_t size) {
    static_cast<std::string*>(to)->append(bytes, size);
    return true;
  }

  // On the heap, so that the whole can be moved.
  std::unique_ptr<std::pmr::monotonic_buffer_resource> memory_ =
      std::make_unique<std::pmr::monotonic_buffer_resource>();
  StringTable strings_;
  std::vector<NodeFacts> nodes_;
  std::vector<NamedEdge> edges_;
  std::vector<TypeRecord> types_;
  std::vector<StringId> class_names_;
  std::vector<LabelRecord> labels_;
  std::vector<RootRecord> roots_;
  std::string report_ = "{}";
};

inline constexpr char kSmallReport[] = R"({"schema": "cyclescope.snapshot/1",
                  "heap": {"types": [{"type": "app.Broker"}]},
                  "cycles": [{"id": "00000000"}],
                  "limits": [{"field": "heap.types.retained"}]})";

/// Some of everything that a file can hold.
inline SyntheticHeap SmallHeap() {
  SyntheticHeap heap;
  uint32_t plain =
      heap.Type("app.Broker", RecordedKind::kOther, {"builtins.object"},
                kTypeWatched | kTypeOfProgram);
  uint32_t dict = heap.Type("builtins.dict", RecordedKind::kDict);
  uint32_t frame = heap.Type("builtins.frame", RecordedKind::kFrame);
  NodeId broker = heap.Node(plain, 48);
  NodeId attributes = heap.Node(dict, uint64_t{5} << 31);
  NodeId running = heap.Node(frame, 400);
  NodeId other = heap.Node(plain, 56);
  heap.Edge(broker, attributes, ".__dict__");
  heap.Edge(attributes, running, ".frame");
  heap.Edge(running, broker, "local broker");
  heap.Edge(running, other, "", true);
  heap.Edge(attributes, other, "[7]");
  heap.Edge(other, other, ".name", false, true);
  heap.Label(running, "frame(app.py:run)", "run", 12);
  heap.Root(broker, "module app");
  heap.HeldByFrame(other);
  heap.Immortal(attributes);
  heap.Report(kSmallReport);
  return heap;
}

}  // namespace heap
