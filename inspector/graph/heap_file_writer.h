#pragma once

#include <span>

#include "inspector/graph/heap_file_format.h"
#include "inspector/graph/states.h"

namespace heap {

/// What of a heap file has been written: all that somebody else needs to go on
/// writing it. The child begins it, the agent ends it.
struct HeapFileProgress {
  uint64_t offset = 0;
  uint32_t section_count = 0;
  SectionEntry sections[kSectionKinds + 1] =
      {};  // One to spare: being written.
};

/// Writes a heap file front to back to a descriptor, which may be a pipe.
/// For the child: no malloc, no lock, no exception; one buffer inside the
/// object, plain write().
class HeapFileWriter {
 public:
  /// Writes all bytes or returns false.
  using Write = bool (*)(void* context, int descriptor, const char* bytes,
                         size_t size);
  static bool WriteAll(void* context, int descriptor, const char* bytes,
                       size_t size);

  explicit HeapFileWriter(int descriptor, Write write = WriteAll,
                          void* context = nullptr);
  /// Goes on where another writer to the same open file has stopped.
  HeapFileWriter(int descriptor, const HeapFileProgress& progress,
                 Write write = WriteAll, void* context = nullptr);
  HeapFileWriter(const HeapFileWriter&) = delete;
  HeapFileWriter& operator=(const HeapFileWriter&) = delete;

  /// Each kind once; sections do not nest.
  void Begin(SectionKind kind, uint32_t element_bytes);
  template <typename T>
  void Put(const T& element) {
    static_assert(std::is_trivially_copyable_v<T>);
    PutBytes(&element, sizeof element);
  }
  void PutBytes(const void* bytes, size_t size);
  void End();

  template <typename T>
  void PutSection(SectionKind kind, std::span<const T> elements) {
    Begin(kind, sizeof(T));
    PutBytes(elements.data(), elements.size_bytes());
    End();
  }

  /// Between sections: empties the buffer, so that somebody else can go on.
  bool Pause();
  /// Ends the file. False if any write has failed.
  bool Finish();
  bool ok() const { return ok_; }
  const HeapFileProgress& progress() const { return progress_; }

 private:
  static constexpr size_t kBufferBytes = size_t{1} << 16;
  void Sum();
  void Flush();

  int descriptor_;
  Write write_;
  void* context_;
  bool ok_ = true;
  HeapFileProgress progress_;
  size_t used_ = 0;
  size_t summed_ = 0;  // Of the buffer, how much the checksum has.
  uint64_t section_bytes_ = 0;
  alignas(8) char buffer_[kBufferBytes];
};

/// The columns of a heap that are there already, one element per node but for
/// the edges.
struct HeapColumns {
  std::span<const uint8_t> flags;
  std::span<const State> states;
  const std::pmr::vector<bool>& never;
  HeapGraph graph;
};

/// Writes the sections of nodes and edges. `nodes` gives the rest of each node:
/// AddressOf, TypeOf, SizeOf (bytes), CountOf (counted references, or
/// kImmortalCount) and NamesOf(node, put), which calls `put(EdgeName)` once for
/// every edge of the node, in their order.
template <typename Nodes>
void WriteColumns(HeapFileWriter& writer, const HeapColumns& columns,
                  Nodes&& nodes) {
  auto count = static_cast<NodeId>(columns.flags.size());
  writer.Begin(SectionKind::kAddresses, 8);
  for (NodeId node = 0; node < count; ++node)
    writer.Put(static_cast<uint64_t>(nodes.AddressOf(node)));
  writer.End();
  writer.Begin(SectionKind::kNodeTypes, 4);
  for (NodeId node = 0; node < count; ++node)
    writer.Put(static_cast<uint32_t>(nodes.TypeOf(node)));
  writer.End();
  uint32_t large = 0;
  writer.Begin(SectionKind::kSizes, 4);
  for (NodeId node = 0; node < count; ++node) {
    uint64_t size = nodes.SizeOf(node);
    writer.Put(size < kLargeSizeBit ? uint32_t(size) : kLargeSizeBit | large++);
  }
  writer.End();
  writer.Begin(SectionKind::kLargeSizes, 8);
  for (NodeId node = 0; large > 0 && node < count; ++node)
    if (uint64_t size = nodes.SizeOf(node); size >= kLargeSizeBit)
      writer.Put(size);
  writer.End();
  writer.Begin(SectionKind::kCounts, 4);
  for (NodeId node = 0; node < count; ++node)
    writer.Put(static_cast<uint32_t>(nodes.CountOf(node)));
  writer.End();
  writer.PutSection(SectionKind::kFlags, columns.flags);
  writer.Begin(SectionKind::kStates, 1);
  for (NodeId node = 0; node < count; ++node)
    writer.Put(static_cast<uint8_t>(uint8_t(columns.states[node]) |
                                    (columns.never[node] ? kNeverBit : 0)));
  writer.End();
  std::span<const Edge> edges = columns.graph.edges();
  writer.Begin(SectionKind::kFirstEdges, 4);
  for (NodeId node = 0; node < count; ++node)
    writer.Put(columns.graph.FirstEdge(node));
  writer.Put(static_cast<uint32_t>(edges.size()));
  writer.End();
  writer.PutSection(SectionKind::kEdges, edges);
  writer.Begin(SectionKind::kEdgeNames, 4);
  for (NodeId node = 0; node < count; ++node) {
    size_t left = columns.graph.Referents(node).size();
    nodes.NamesOf(node, [&](EdgeName name) {
      if (left == 0) return;  // A name without an edge.
      writer.Put(name);
      --left;
    });
    for (; left > 0; --left) writer.Put(EdgeName());
  }
  writer.End();
}

/// The sections of texts; when all are known.
void WriteStrings(HeapFileWriter& writer, const StringTable& strings);

}  // namespace heap
