#pragma once

#include <cstdint>
#include <string>

#include "inspector/agent/cgroup.h"

namespace inspector {

/// What the guard saw and decided, in bytes; -1: not known.
struct GuardFigures {
  enum class Decision { kFree, kWatched, kRefused, kAborted };
  Decision decision = Decision::kFree;
  std::string limited_by;  // As Headroom::of; empty if nothing limits us.
  int64_t limit = -1;
  int64_t headroom = -1;         // Before the clone.
  int64_t lowest_headroom = -1;  // While the child lived.
  int64_t reserve = 0;           // Kept for the service.
  int64_t own_estimate = 0;      // Of the child's own memory.
  int64_t worst_case = 0;        // And each anonymous page copied.
  bool kills_together = false;   // memory.oom.group
  int64_t looks = 0;
  int64_t waited_ms = 0;       // For the interval between two pauses.
  int64_t since_last_ms = -1;  // From the last pause's end to this one's.
  int64_t yielded_ms = 0;      // Stopped, because the processors were withheld.
};

/// Keeps a snapshot from costing the service its memory, its processors or its
/// time (design, "What protects the service?"). Lives as long as the agent and
/// learns from each snapshot. One thread.
///
/// A child may start where the headroom covers its own memory and a reserve of
/// a tenth of the limit; while it lives the service's writes copy pages, so the
/// headroom is looked at every 10 ms, or sooner where it is short, and the
/// child ends before it falls below the reserve.
class Guard {
 public:
  /// `root`: see Cgroups.
  explicit Guard(std::string root = "") : root_(std::move(root)) {}

  /// How long to wait before the next pause: pauses take at most a twentieth of
  /// the service's time.
  int64_t WaitUs(int64_t now_us) const;

  /// Reads the headroom. `anon`: the process's anonymous memory.
  void Begin(int64_t anon);
  /// Whether a child may start; `heap_bytes`: pymalloc's pools in use, or -1.
  /// Allocates nothing: called with the GIL held.
  bool Allows(int64_t heap_bytes);
  /// What the child may take for itself.
  uint64_t child_limit() const { return child_limit_; }

  /// The child has started, after a pause as long as given.
  void Started(int64_t now_us, int64_t pause_us);
  int64_t next_look_us() const { return next_look_us_; }
  enum class Verdict { kGoOn, kYield, kLeave };
  /// kYield: the child is to stand still, at least until the next look.
  Verdict Look(int64_t now_us);
  /// The child has ended; `peak_bytes` of its own, 0 if it did not say.
  void Ended(int64_t peak_bytes);

  const GuardFigures& figures() const { return figures_; }
  /// Why it did not start, or left; with the figures.
  std::string Sentence() const;

 private:
  int64_t EstimateOwn(int64_t heap_bytes) const;

  std::string root_;
  Cgroups cgroups_;  // Of the snapshot under way: a process can be moved.
  GuardFigures figures_;
  int64_t anon_ = 0;
  int64_t heap_bytes_ = -1;
  uint64_t child_limit_ = 0;
  double own_per_heap_byte_ = 0;  // Of the last snapshot; 0: there was none.
  int64_t last_free_ = 0;
  int64_t throttled_ = 0;
  int64_t rest_until_us_ = 0;
  int64_t work_until_us_ = 0;
  int64_t last_look_us_ = 0;
  int64_t next_look_us_ = 0;
  int64_t started_us_ = -1;
  int64_t next_start_us_ = 0;
};

}  // namespace inspector
