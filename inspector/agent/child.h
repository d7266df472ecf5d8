#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "inspector/agent/fork_gate.h"
#include "inspector/agent/guard.h"
#include "inspector/agent/heap_report.h"
#include "inspector/agent/process_facts.h"
#include "inspector/agent/resident_memory.h"

namespace inspector {

/// A type whose tp_traverse crashed in a child, so that it is not called again.
struct CrashingType {
  const PyObject* type = nullptr;
  std::string c_name;
};

/// One snapshot: a child made by a raw clone while the GIL is held walks its
/// copy of the heap and leaves its findings in memory shared with us.
struct ChildSnapshot {
  std::string error;    // Empty: it went well.
  std::string members;  // As in HeapSections.
  std::string functions;
  std::string limits;
  BlockBytes live;
  BlockBytes floating;
  BlockBytes frozen_garbage;  // Of `live`.
  bool has_sizes = false;     // Of all blocks; else some are as asked for.
  bool has_pools = false;
  std::string pools_reason;  // Why there are none.
  PoolFigures pools;
  ResidentMemory resident;
  ProcessMemory memory;  // This and below: just before the clone.
  std::optional<CgroupMemory> cgroup;
  std::optional<MallocFigures> malloc;
  std::string malloc_reason;  // Why there are none.
  int64_t gil_wait_us = 0;
  int64_t pause_us = 0;
  int64_t child_ms = 0;
  Phases phases;
  int64_t child_peak_bytes = 0;
  int64_t cow_bytes = -1;            // -1: could not be read.
  heap::HeapFileProgress heap_file;  // To be ended, if one was asked for.
  // Then `error` names a type, and leaving this one out may help.
  std::optional<CrashingType> crashing;
  bool aborted = false;  // We were told to stop meanwhile.
  GuardFigures guard;
};

/// How a snapshot is to be taken.
struct SnapshotRequest {
  std::vector<std::string> watch;
  ExtraOutput extra;  // Its descriptor stays the caller's.
  double deadline_seconds = 120;
  bool ask_malloc = true;
  std::vector<CrashingType> skip;
  PastCollections past;
  ForkGate* gate = nullptr;  // To be passed before the GIL; null: we have it.
};

/// Takes it, on the calling (native) thread. Takes the GIL for the clone alone;
/// `stop` becoming true ends the child, and so does the guard.
///
/// CPython <= 3.13 ends a thread that waits for the GIL at shutdown by forced
/// unwinding: no caller of this may be noexcept or catch everything, or the
/// process would abort.
ChildSnapshot TakeChildSnapshot(const Runtime& runtime,
                                const SnapshotRequest& request, Guard& guard,
                                const std::atomic<bool>& stop);

}  // namespace inspector
