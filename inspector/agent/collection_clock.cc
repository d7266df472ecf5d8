#include "inspector/agent/collection_clock.h"

#include <algorithm>

namespace inspector {
namespace {

constexpr int64_t kNearUs = 10'000;
constexpr int64_t kDueUs = 50'000;  // Due, but nothing is being made.
constexpr int64_t kFarUs = 100'000;
// A measure is kept if its error is below the larger of these.
constexpr int64_t kErrorUs = 30'000;
constexpr int64_t kErrorPart = 4;

}  // namespace

void CollectionClock::Look(int64_t now_us, const CollectorMoment& moment) {
  if (has_looked_) {
    int64_t came = moment.full_collections - last_.full_collections;
    if (came == 1) {
      // It began between the last look that saw none and the first that saw it,
      // and ended between the last that saw it and this one.
      int64_t least = last_.collecting ? last_us_ - began_us_ : 0;
      Note(least, now_us - idle_us_);
    } else if (came > 1) {
      past_.missed += came;
    }
  }
  step_us_ = StepAfter(now_us - last_us_, moment);
  bool goes_on = has_looked_ && last_.collecting &&
                 moment.full_collections == last_.full_collections;
  if (!moment.collecting)
    idle_us_ = now_us;
  else if (!goes_on)
    began_us_ = now_us;
  last_ = moment;
  last_us_ = now_us;
  has_looked_ = true;
  next_us_ = now_us + step_us_;
}

void CollectionClock::Note(int64_t least_us, int64_t most_us) {
  int64_t within = (most_us - least_us) / 2;
  int64_t took = least_us + within;
  if (within > std::max(kErrorUs, took / kErrorPart)) {
    ++past_.missed;
    return;
  }
  ++past_.measured;
  past_.last_us = took;
  past_.last_within_us = within;
  past_.longest_us = std::max(past_.longest_us, took);
}

int64_t CollectionClock::StepAfter(int64_t passed_us,
                                   const CollectorMoment& moment) const {
  if (!has_looked_ || moment.collecting) return kNearUs;
  bool moves = moment.collections != last_.collections;
  if (moment.nearness >= 1)
    return moves ? kNearUs : std::min(2 * step_us_, kDueUs);
  double nearer = moment.nearness - last_.nearness;
  if (nearer <= 0) return std::min(2 * step_us_, kFarUs);
  // Four looks on the rest of the way.
  double rest_us =
      (1 - moment.nearness) / nearer * static_cast<double>(passed_us);
  return std::clamp(static_cast<int64_t>(rest_us / 4), kNearUs, kFarUs);
}

void WritePastCollections(const PastCollections& past, JsonWriter& json) {
  auto milliseconds = [](int64_t us) { return (us + 500) / 1000; };
  if (past.measured == 0) {
    for (const char* field : {"last_ms", "last_within_ms", "longest_ms"})
      json.NullField(field);
  } else {
    json.Field("last_ms", milliseconds(past.last_us));
    json.Field("last_within_ms", (past.last_within_us + 999) / 1000);
    json.Field("longest_ms", milliseconds(past.longest_us));
  }
  json.Field("measured", past.measured);
  json.Field("missed", past.missed);
}

void WritePastLimits(const PastCollections& past, JsonWriter& json) {
  if (past.measured > 0) return;
  for (const char* field :
       {"gc.full_collection.last_ms", "gc.full_collection.last_within_ms",
        "gc.full_collection.longest_ms"}) {
    json.BeginObject();
    json.Field("field", field);
    json.Field("reason",
               past.missed == 0
                   ? "no full collection came since the inspector was loaded"
                   : "the full collections that came could not be timed: they "
                     "were short or came while a snapshot was taken");
    json.EndObject();
  }
}

}  // namespace inspector
