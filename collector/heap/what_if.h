#pragma once

#include "collector/heap/cut.h"
#include "collector/heap/recorded_cycles.h"

namespace collector {

/// What becomes of a recorded heap without some of its references. The heap
/// outlives it.
///
/// A cycle counts as an object and a signature, as in the report; it is broken
/// if the object has no cycle of this signature any more. Freed is what goes at
/// once because no counted reference is left, in floating garbage and in what
/// lives; what finalizers and callbacks of weak references would do is not in
/// it. A signature's part of it is what lay in, or hung from, the components of
/// its cycles: where several signatures share a component each has it all.
class WhatIf {
 public:
  explicit WhatIf(const RecordedHeap& heap);

  /// `cyclescope.whatif/1` for the cuts taken together. Throws Error for one
  /// that names no reference. O(objects + references), and the search for
  /// cycles. What is freed goes into `freed`, if that is not null.
  nlohmann::json Without(const std::vector<Cut>& cuts,
                         std::vector<heap::NodeId>* freed = nullptr);

  /// The same with `ranking`: the cuts that break the most cycles, then free
  /// the most bytes. Candidates are the references on the cycles found, by each
  /// class of their owner and by function; places in containers are none, since
  /// they are no fix. O((objects + references) ·
  /// candidates looked at closely).
  nlohmann::json Rank(size_t most);

 private:
  struct Outcome {
    std::vector<heap::EdgeAt> edges;
    uint64_t broken = 0;
    uint64_t skipped = 0;             // As RecordedCycles::skipped, afterwards.
    std::vector<uint64_t> surviving;  // By row.
    std::vector<std::pair<std::string, uint64_t>> uncovered;
    std::vector<uint8_t> on_cycle;  // By node, afterwards.
    std::vector<heap::ReferenceCounts::Freed> freed;
    uint64_t freed_bytes = 0;
  };

  std::vector<Cut> Candidates() const;
  Outcome Try(std::vector<heap::EdgeAt> edges);
  void Free(Outcome& outcome);
  nlohmann::json Document() const;
  void LimitBroken(const Outcome& outcome, nlohmann::json& document) const;
  nlohmann::json Signatures(const Outcome& outcome) const;
  nlohmann::json Watched(const Outcome& outcome) const;
  nlohmann::json Freed(const Outcome& outcome) const;

  const RecordedHeap& heap_;
  RecordedCycles before_;
  CutFinder finder_;
  heap::ReferenceCounts counts_;
};

}  // namespace collector
