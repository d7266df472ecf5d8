#pragma once

#include <atomic>

#include "inspector/agent/holders.h"
#include "inspector/graph/heap_file_writer.h"

namespace inspector {

/// What the finished analysis knows of the heap, for the heap file.
struct RecordedHeap {
  const Runtime& runtime;
  const HeapWalk& walk;
  const TypeTable& types;
  const heap::States& states;
  const std::pmr::vector<bool>& never;
  NodeLabels& labels;
  Holders& holders;
  heap::StringTable& strings;
  std::pmr::memory_resource* memory;
};

/// Streams all sections but the report to the descriptor; in the child. False
/// if it could not be written whole. O(objects + references).
bool WriteHeapFile(const RecordedHeap& recorded, int descriptor,
                   heap::HeapFileProgress& progress);

/// Ends what the child has begun with the report that the agent has put
/// together. Gives up at `deadline_us` or when `stop` becomes true: whoever
/// holds the other end of a pipe may have stopped reading.
bool EndHeapFile(int descriptor, const heap::HeapFileProgress& progress,
                 std::string_view report, int64_t deadline_us,
                 const std::atomic<bool>& stop);

}  // namespace inspector
