#pragma once

#include <optional>
#include <string_view>

#include "inspector/agent/child.h"
#include "inspector/agent/json_writer.h"
#include "inspector/agent/process_facts.h"

namespace inspector {

/// Where the resident memory goes: disjoint parts whose sum is `rss`. Each but
/// `unexplained` is measured without regard to the sum, see memory_bridge.cc;
/// so that one is positive if a part is too small and negative if one is too
/// large. Parts that could not be had are empty.
struct MemoryBridge {
  using Bytes = std::optional<int64_t>;
  Bytes
      rss;  // At the clone: anonymous pages then, file and shared just before.
  Bytes anon;
  Bytes live;  // Objects, in blocks; without those in libraries' data.
  Bytes floating;
  Bytes frozen_garbage;       // Of live: no collection takes it.
  Bytes pymalloc_used_other;  // Blocks in use that no object walked owns.
  Bytes pymalloc_free;        // What of its arenas no block in use lies in.
  Bytes malloc_used;          // Without what live and floating have there.
  Bytes malloc_free;
  Bytes malloc_top;    // Of malloc_free: what malloc_trim could give back.
  Bytes not_resident;  // Of malloc's: never touched, or given back. Subtracted.
  Bytes module_data;
  Bytes other_mappings;  // Mapped by nobody known; without what objects have.
  Bytes stacks;
  Bytes file;
  Bytes shared;
  Bytes unexplained;
};

MemoryBridge BuildMemoryBridge(const ChildSnapshot& snapshot);

/// The value of `memory`.
void WriteMemory(const ChildSnapshot& snapshot, JsonWriter& json);

/// Entries of `limits`: what of it is null, and what the parts mean.
void WriteMemoryLimits(const ChildSnapshot& snapshot, JsonWriter& json);

}  // namespace inspector
