#pragma once

#include "collector/heap/recorded_paths.h"
#include "collector/heap/retained_heap.h"

namespace collector {

/// Puts `retained` into every entry of the report's `heap.types` and `cycles`:
/// the bytes freed if all objects of the type, or all components of the cycle,
/// went; and the objects that retain most, `most` of them, into
/// `heap.largest`. What it fills in is no limit any more. `report` is that of
/// the heap; throws Error if it has no such entries.
void AddRetained(nlohmann::json& report, const RecordedHeap& heap, size_t most);

/// `cyclescope.top/1`: the objects, types and cycles that retain most, of each
/// at most `most`.
nlohmann::json Largest(const RecordedHeap& heap, size_t most);

/// `cyclescope.path/1`: how the objects that answer to TYPE, or that at an
/// address, are held. Objects whose paths differ in places of sequences only
/// stand in one entry, the most frequent first. Throws Error if there is no
/// such object.
nlohmann::json Paths(const RecordedHeap& heap,
                     const std::string& type_or_address);

}  // namespace collector
