#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "inspector/graph/edge_name.h"
#include "inspector/graph/heap_graph.h"
#include "inspector/graph/strings.h"

// The bytes of a heap file, as heap_file.md describes them. A change of any
// record or section here is a new kHeapFileVersion.

namespace heap {

static_assert(std::endian::native == std::endian::little,
              "heap files are little-endian and mapped as they are");

inline constexpr char kHeapFileMagic[8] = {'\x89', 'C', 'Y', 'H',
                                           'E',    'A', 'P', '\n'};
inline constexpr char kHeapFileEndMagic[8] = {'\x89', 'C', 'Y', 'E',
                                              'N',    'D', '.', '\n'};
inline constexpr uint32_t kHeapFileVersion = 1;

struct HeapFileHeader {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
};

enum class SectionKind : uint32_t {
  kAddresses = 1,
  kNodeTypes,
  kSizes,
  kCounts,
  kFlags,
  kStates,
  kFirstEdges,
  kEdges,
  kEdgeNames,
  kLargeSizes,
  kTypes,
  kClassNames,
  kLabels,
  kRoots,
  kStringEnds,
  kTexts,
  kReport,
};
inline constexpr uint32_t kSectionKinds = 17;

/// One line of the table at the file's end.
struct SectionEntry {
  SectionKind kind;
  uint32_t element_bytes;
  uint64_t offset;
  uint64_t count;
  uint64_t checksum;
};

struct HeapFileTrailer {
  uint64_t table_offset;
  uint64_t section_count;
  uint64_t checksum;  // Of header, table and the two fields above.
  char magic[8];
};

/// What a section's elements are taken for by the algorithms; the same order as
/// in the walk's own table.
enum class RecordedKind : uint8_t {
  kOther,
  kType,
  kModule,
  kFunction,
  kFrame,
  kTraceback,
  kDict,
  kCode,
  kGenerator,  // Or coroutine, or asynchronous generator.
};
inline constexpr uint32_t kRecordedKinds = 9;

// Flags of a type.
inline constexpr uint32_t kTypeWatched = 1;
inline constexpr uint32_t kTypeOfProgram = 2;  // Not the interpreter's own.

struct TypeRecord {
  StringId name;   // module.qualname
  StringId label;  // The last part of it.
  uint32_t kind;   // RecordedKind
  uint32_t flags;
  uint32_t first_class;  // Names of all classes in its mro: kClassNames.
  uint32_t class_count;
};

/// What a node is called if not by its type: frames, generators, tracebacks,
/// modules and classes.
struct LabelRecord {
  NodeId node;
  StringId label;
  StringId function;  // Qualified name of the code; 0: none.
  uint32_t line;      // 0: not known, or it has ended.
};

/// What holds a node from outside the graph.
enum class RecordedRoot : uint32_t {
  kOutside,      // C code, by counted references that nothing else explains.
  kModule,       // An imported module: where a person would start.
  kFrame,        // A running function.
  kThread,       // A thread's state.
  kInterpreter,  // The interpreter's state.
  kAtExit,       // A function that is called at exit.
  kStatic,       // The data of a loaded file.
};
inline constexpr uint32_t kRecordedRoots = 7;

struct RootRecord {
  NodeId node;
  uint32_t kind;  // RecordedRoot
  StringId name;  // "module insights.core.dr"
};

/// A reference count as recorded.
inline constexpr uint32_t kImmortalCount = 0xffffffff;

/// A size from this on is kept in kLargeSizes, and its number there with this
/// bit stands in kSizes.
inline constexpr uint32_t kLargeSizeBit = 0x80000000;

/// A byte of kStates: the State, and whether no collection takes the node.
inline constexpr uint8_t kStateMask = 3;
inline constexpr uint8_t kNeverBit = 4;

/// Of whole 8-byte words. Each step is a bijection of the sum for a given word
/// and of the word for a given sum, so that no single altered word goes
/// unnoticed. One multiplication for 8 bytes: the child has no time to lose.
inline uint64_t Checksum(uint64_t sum, const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  for (const char* end = at + size / 8 * 8; at != end; at += 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    sum = (sum ^ word) * 0x9e3779b97f4a7c15;
    sum ^= sum >> 32;
  }
  return sum;
}
inline uint64_t FirstChecksum(SectionKind kind) {
  return 0xcbf29ce484222325 ^ uint64_t(kind);
}
inline uint64_t TableChecksum(const HeapFileHeader& header, const void* table,
                              size_t table_bytes,
                              const HeapFileTrailer& trailer) {
  uint64_t sum = Checksum(0, &header, sizeof header);
  sum = Checksum(sum, table, table_bytes);
  return Checksum(sum, &trailer, offsetof(HeapFileTrailer, checksum));
}

static_assert(sizeof(HeapFileHeader) == 16 && sizeof(SectionEntry) == 32 &&
              sizeof(HeapFileTrailer) == 32 && sizeof(TypeRecord) == 24 &&
              sizeof(LabelRecord) == 16 && sizeof(RootRecord) == 12 &&
              sizeof(EdgeName) == 4 && sizeof(Edge) == 4);

}  // namespace heap
