#include "inspector/graph/heap_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace heap {

/// Reads one file's bytes, each test a sentence. Stops at the first problem.
class HeapFile::Checker {
 public:
  Checker(std::span<const char> bytes, std::string& problem)
      : bytes_(bytes), problem_(problem) {}

  bool Run(HeapFile& file) {
    file.bytes_ = bytes_;
    return CheckEnds() && CheckTable() && TakeSections(file) &&
           CheckGraph(file) && CheckNodes(file) && CheckNames(file);
  }

 private:
  bool Fail(std::string sentence) {
    problem_ = std::move(sentence);
    return false;
  }
  bool Altered(const char* what) {
    return Fail(std::string("it was altered: ") + what);
  }

  bool CheckEnds() {
    if (bytes_.size() < sizeof header_) {
      bool begun =
          std::equal(bytes_.begin(),
                     bytes_.begin() +
                         std::min<size_t>(bytes_.size(), sizeof kHeapFileMagic),
                     kHeapFileMagic);
      return Fail(bytes_.empty() ? "it is empty: the recording has not begun"
                  : begun        ? "it was cut short in its first bytes"
                                 : "it is no heap file of cyclescope");
    }
    std::memcpy(&header_, bytes_.data(), sizeof header_);
    if (std::memcmp(header_.magic, kHeapFileMagic, sizeof kHeapFileMagic) != 0)
      return Fail("it is no heap file of cyclescope");
    if (header_.version != kHeapFileVersion) {
      bool later = header_.version > kHeapFileVersion;
      return Fail("its format is version " + std::to_string(header_.version) +
                  " and this program reads version " +
                  std::to_string(kHeapFileVersion) +
                  (later ? ": use the cyclescope that wrote it, or a later one"
                         : ": use the cyclescope that wrote it"));
    }
    if (bytes_.size() < sizeof header_ + sizeof trailer_)
      return Fail("it was cut short: it ends after its first bytes");
    std::memcpy(&trailer_, bytes_.data() + bytes_.size() - sizeof trailer_,
                sizeof trailer_);
    if (bytes_.size() % 8 != 0 || std::memcmp(trailer_.magic, kHeapFileEndMagic,
                                              sizeof kHeapFileEndMagic) != 0)
      return Fail(
          "it was cut short: its end is missing, the recording may still be "
          "under way or was broken off");
    return true;
  }

  bool CheckTable() {
    uint64_t table_end = bytes_.size() - sizeof trailer_;
    if (header_.header_bytes != sizeof header_ ||
        trailer_.section_count > kMostSections ||
        trailer_.table_offset > table_end ||
        table_end - trailer_.table_offset !=
            trailer_.section_count * sizeof(SectionEntry) ||
        trailer_.table_offset % 8 != 0)
      return Altered("its table of sections has no sense");
    const char* table = bytes_.data() + trailer_.table_offset;
    size_t table_bytes = trailer_.section_count * sizeof(SectionEntry);
    if (TableChecksum(header_, table, table_bytes, trailer_) !=
        trailer_.checksum)
      return Altered("the checksum of its table is wrong");
    table_ = {reinterpret_cast<const SectionEntry*>(table),
              trailer_.section_count};
    return true;
  }

  /// Sections lie without gaps, so that every byte is under some checksum.
  bool TakeSections(HeapFile& file) {
    uint64_t offset = sizeof header_;
    for (const SectionEntry& entry : table_) {
      uint64_t left = trailer_.table_offset - offset;
      if (entry.offset != offset || entry.element_bytes == 0 ||
          entry.count > left / entry.element_bytes)
        return Altered("a section lies where none can be");
      uint64_t padded = (entry.count * entry.element_bytes + 7) / 8 * 8;
      if (padded > left) return Altered("a section ends outside of it");
      if (Checksum(FirstChecksum(entry.kind), bytes_.data() + offset, padded) !=
          entry.checksum)
        return Altered("the checksum of a section is wrong");
      if (!Take(file, entry)) return false;
      offset += padded;
    }
    if (offset != trailer_.table_offset)
      return Altered("there is something between its sections");
    if (taken_ != (uint64_t{1} << kSectionKinds) - 1)
      return Altered("a section is missing");
    return true;
  }

  template <typename T>
  bool Take(const SectionEntry& entry, std::span<const T>& span) {
    uint64_t bit = uint64_t{1} << (uint32_t(entry.kind) - 1);
    if ((taken_ & bit) != 0) return Altered("a section is there twice");
    taken_ |= bit;
    if (entry.element_bytes != sizeof(T))
      return Altered("a section's elements have another size");
    span = {reinterpret_cast<const T*>(bytes_.data() + entry.offset),
            entry.count};
    return true;
  }
  bool Take(HeapFile& file, const SectionEntry& entry) {
    switch (entry.kind) {
      case SectionKind::kAddresses:
        return Take(entry, file.addresses_);
      case SectionKind::kNodeTypes:
        return Take(entry, file.node_types_);
      case SectionKind::kSizes:
        return Take(entry, file.sizes_);
      case SectionKind::kCounts:
        return Take(entry, file.counts_);
      case SectionKind::kFlags:
        return Take(entry, file.flags_);
      case SectionKind::kStates:
        return Take(entry, file.states_);
      case SectionKind::kFirstEdges:
        return Take(entry, file.first_edge_);
      case SectionKind::kEdges:
        return Take(entry, file.edges_);
      case SectionKind::kEdgeNames:
        return Take(entry, file.edge_names_);
      case SectionKind::kLargeSizes:
        return Take(entry, file.large_sizes_);
      case SectionKind::kTypes:
        return Take(entry, file.types_);
      case SectionKind::kClassNames:
        return Take(entry, file.class_names_);
      case SectionKind::kLabels:
        return Take(entry, file.labels_);
      case SectionKind::kRoots:
        return Take(entry, file.roots_);
      case SectionKind::kStringEnds:
        return Take(entry, file.string_ends_);
      case SectionKind::kTexts:
        return Take(entry, file.texts_);
      case SectionKind::kReport:
        return Take(entry, file.report_);
    }
    return true;  // One that this version has no use for.
  }

  bool CheckGraph(HeapFile& file) {
    size_t count = file.node_types_.size();
    if (count >= kNoNode) return Altered("it has too many nodes");
    if (file.addresses_.size() != count || file.sizes_.size() != count ||
        file.counts_.size() != count || file.flags_.size() != count ||
        file.states_.size() != count || file.first_edge_.size() != count + 1 ||
        file.edge_names_.size() != file.edges_.size())
      return Altered("its columns differ in length");
    uint32_t end = 0;
    for (uint32_t first : file.first_edge_) {
      if (first < end) return Altered("the rows of edges do not ascend");
      end = first;
    }
    if (file.first_edge_[0] != 0 || end != file.edges_.size())
      return Altered("the rows of edges end elsewhere");
    for (Edge edge : file.edges_)
      if (edge.referent() >= count) return Altered("an edge leads to no node");
    file.graph_ = HeapGraph(file.first_edge_, file.edges_);
    return true;
  }

  bool CheckNodes(HeapFile& file) {
    auto count = static_cast<NodeId>(file.node_types_.size());
    for (NodeId node = 0; node < count; ++node) {
      if (file.node_types_[node] >= file.types_.size())
        return Altered("a node has no type");
      uint32_t size = file.sizes_[node];
      if (size >= kLargeSizeBit &&
          (size & ~kLargeSizeBit) >= file.large_sizes_.size())
        return Altered("a node has no size");
      uint8_t state = file.states_[node];
      if ((state & kStateMask) > uint8_t(State::kInFlight) ||
          (state & ~(kStateMask | kNeverBit)) != 0)
        return Altered("a node has no state");
    }
    // A sum of sizes must stay a number that means something.
    constexpr uint64_t kLargest = uint64_t{1} << 47;
    for (uint64_t size : file.large_sizes_)
      if (size > kLargest) return Altered("an object is larger than memory");
    return true;
  }

  bool CheckNames(HeapFile& file) {
    uint64_t end = 0;
    for (uint64_t next : file.string_ends_) {
      if (next < end) return Altered("its texts do not ascend");
      end = next;
    }
    if (file.string_ends_.empty() || file.string_ends_[0] != 0 ||
        end != file.texts_.size() || file.string_ends_.size() >= kLargeSizeBit)
      return Altered("its texts end elsewhere");
    // They go to terminals.
    for (char c : file.texts_)
      if ((c >= 0 && c < ' ') || c == '\x7f')
        return Altered("a text has control characters");
    auto strings = static_cast<StringId>(file.string_ends_.size());
    for (const TypeRecord& type : file.types_)
      if (type.name >= strings || type.label >= strings ||
          type.kind >= kRecordedKinds ||
          type.first_class > file.class_names_.size() ||
          type.class_count > file.class_names_.size() - type.first_class)
        return Altered("a type has no name");
    for (StringId name : file.class_names_)
      if (name >= strings) return Altered("a class has no name");
    for (EdgeName name : file.edge_names_)
      if (name.text() >= strings) return Altered("an edge's name is missing");
    uint64_t next_node = 0;
    for (const LabelRecord& label : file.labels_) {
      if (label.node < next_node || label.node >= file.node_types_.size() ||
          label.label >= strings || label.function >= strings)
        return Altered("a node's label has no sense");
      next_node = uint64_t{label.node} + 1;
    }
    for (const RootRecord& root : file.roots_)
      if (root.node >= file.node_types_.size() || root.kind >= kRecordedRoots ||
          root.name >= strings)
        return Altered("a root has no sense");
    return true;
  }

  static constexpr uint64_t kMostSections = 64;
  std::span<const char> bytes_;
  std::string& problem_;
  HeapFileHeader header_ = {};
  HeapFileTrailer trailer_ = {};
  std::span<const SectionEntry> table_;
  uint64_t taken_ = 0;  // Bit k - 1: kind k was there.
};

std::optional<HeapFile> HeapFile::Parse(std::span<const char> bytes,
                                        std::string& problem) {
  HeapFile file;
  if (!Checker(bytes, problem).Run(file)) return std::nullopt;
  return file;
}

std::optional<HeapFile> HeapFile::Map(int descriptor, std::string& problem) {
  struct stat status = {};
  if (fstat(descriptor, &status) != 0) {
    problem = std::strerror(errno);
    return std::nullopt;
  }
  if (!S_ISREG(status.st_mode)) {
    problem = "it is no file";
    return std::nullopt;
  }
  if (status.st_size == 0) return Parse({}, problem);
  auto size = static_cast<size_t>(status.st_size);
  void* bytes = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (bytes == MAP_FAILED) {
    problem = std::string("it cannot be mapped: ") + std::strerror(errno);
    return std::nullopt;
  }
  madvise(bytes, size, MADV_WILLNEED);
  std::shared_ptr<const void> mapping(bytes, [size](const void* begin) {
    munmap(const_cast<void*>(begin), size);
  });
  auto file = Parse({static_cast<const char*>(bytes), size}, problem);
  if (file) file->mapping_ = std::move(mapping);
  return file;
}

std::optional<HeapFile> HeapFile::Open(const char* path, std::string& problem) {
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    problem = std::strerror(errno);
    return std::nullopt;
  }
  auto file = Map(descriptor, problem);
  close(descriptor);
  return file;
}

const LabelRecord* HeapFile::label(NodeId node) const {
  auto at = std::lower_bound(labels_.begin(), labels_.end(), node,
                             [](const LabelRecord& label, NodeId wanted) {
                               return label.node < wanted;
                             });
  return at != labels_.end() && at->node == node ? &*at : nullptr;
}

}  // namespace heap
