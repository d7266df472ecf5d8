#pragma once

#include <cstdint>

#include "inspector/agent/json_writer.h"

namespace inspector {

/// What the clock sees of the collector at one moment.
struct CollectorMoment {
  bool collecting = false;
  int64_t collections = 0;       // Of all generations, so far.
  int64_t full_collections = 0;  // Counted when they are done.
  /// How much of what the next full collection waits for there is; 1: it comes
  /// with the next turn.
  double nearness = 0;
};

/// How long past full collections took.
struct PastCollections {
  int64_t measured = 0;
  int64_t missed = 0;  // Came while nobody looked closely enough.
  int64_t last_us = 0;
  int64_t last_within_us = 0;  // The last one's error, either way.
  int64_t longest_us = 0;
};

/// Times full collections from outside, by looking at the collector's own flag
/// and counts: no Python code runs, nothing is called back. Looks ten times a
/// second while the next one is far (0.04 % of a processor, measured) and a
/// hundred times when it is near. A collection that no looks enclose closely is
/// counted as missed: one that comes while a snapshot is taken, or a short one
/// that the program itself asked for. One thread.
class CollectionClock {
 public:
  /// `now_us`: on the clock of MonotonicMicroseconds.
  void Look(int64_t now_us, const CollectorMoment& moment);
  /// When to look again.
  int64_t next_us() const { return next_us_; }
  const PastCollections& past() const { return past_; }

 private:
  void Note(int64_t least_us, int64_t most_us);
  int64_t StepAfter(int64_t passed_us, const CollectorMoment& moment) const;

  PastCollections past_;
  CollectorMoment last_;
  bool has_looked_ = false;
  int64_t last_us_ = 0;   // The last look,
  int64_t idle_us_ = 0;   // the last one that saw no collection,
  int64_t began_us_ = 0;  // and the first of those since that saw one.
  int64_t step_us_ = 0;
  int64_t next_us_ = 0;
};

/// Members of `gc.full_collection`: what is known of past ones, null if
/// nothing is. These two run in the child.
void WritePastCollections(const PastCollections& past, JsonWriter& json);
/// The reasons for these nulls, as entries of `limits`.
void WritePastLimits(const PastCollections& past, JsonWriter& json);

}  // namespace inspector
