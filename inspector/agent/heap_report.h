#pragma once

#include <span>
#include <string_view>

#include "inspector/agent/collection_clock.h"
#include "inspector/agent/json_writer.h"
#include "inspector/cpython/collector_state.h"
#include "inspector/cpython/heap_walk.h"
#include "inspector/graph/heap_file_writer.h"

namespace inspector {

/// What a snapshot writes beside its report, and where: the address, type and
/// state of every tracked object, or the whole heap (heap_file.md).
struct ExtraOutput {
  enum class Kind : uint8_t { kNone, kIds, kHeap };
  Kind kind = Kind::kNone;
  int descriptor = -1;
};

/// What a snapshot is asked for.
struct HeapQuestion {
  std::span<const std::string_view> watch;  // Types, see TypeTable.
  ExtraOutput extra;
  ThreadStacks stacks;                    // Noted just before the clone.
  ArenaTable arenas;                      // So, too.
  std::span<const AddressRange> modules;  // See ListModuleData.
  std::span<const SkippedType> skip;
  PastCollections past;
  uint64_t address_space = ~uint64_t{0};  // Free for the child, in bytes.
};

/// How long the parts of a report took, in microseconds.
struct Phases {
  int64_t walk_us = 0;    // Objects, references, roots.
  int64_t states_us = 0;  // And paths.
  int64_t types_us = 0;   // Sizes, counts by type.
  int64_t components_us = 0;
  int64_t cycles_us = 0;
  int64_t writing_us = 0;  // The rest.
};

/// Where the parts of a finished report lie in the writer's memory. The agent,
/// which may allocate, puts the document together.
struct HeapSections {
  size_t members_size = 0;  // "heap": …, "gc": …, "watched": …, "cycles": …
  size_t functions_size = 0;  // Then an array, the value of code.functions.
  size_t limits_size = 0;     // Then entries of `limits`, without brackets.
  Phases phases;
  BlockBytes live;
  BlockBytes floating;
  BlockBytes frozen_garbage;  // Of `live`.
  bool extra_written = true;
  heap::HeapFileProgress heap_file;  // What the agent has to end.
  bool complete = true;              // False if the memory was too small.
};

/// What one walk found, in the order in which the child works it out.
/// `traversing` of the walk names the type at work should foreign code crash.
class HeapReport {
 public:
  HeapReport(const Runtime& runtime, const HeapQuestion& question,
             heap::Arena& arena);

  const HeapWalk& walk() const { return walk_; }
  const Runtime& runtime() const { return runtime_; }
  const TypeTable& types() const { return types_; }
  std::string_view text(heap::StringId id) const { return strings_.text(id); }

  /// Walks, analyses and writes what only the heap can tell into
  /// [begin, begin + size). Runs in the child.
  HeapSections Write(char* begin, size_t size);

 private:
  const Runtime& runtime_;
  const HeapQuestion& question_;
  heap::Arena& arena_;
  heap::StringTable strings_;
  TypeTable types_;
  HeapWalk walk_;
};

/// Members of `gc` that need no walk: enabled, thresholds, counts, stats and
/// the long-lived figures.
void WriteCollectorState(const CollectorState& state, JsonWriter& json);

}  // namespace inspector
