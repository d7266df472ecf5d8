#include "collector/verdict/collection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "collector/verdict/cycles.h"
#include "collector/verdict/json_access.h"
#include "collector/verdict/objects_leg.h"
#include "collector/verdict/statistics.h"
#include "collector/verdict/verdict.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;

std::vector<const SnapshotAtUnits*> Readable(const ServiceRun& service) {
  std::vector<const SnapshotAtUnits*> readable;
  for (const SnapshotAtUnits& snapshot : service.snapshots)
    if (snapshot.report.is_object()) readable.push_back(&snapshot);
  return readable;
}

/// Growth per unit of the figure at `path` in the intervals in which no full
/// collection reset it: their median.
std::optional<double> RateBetweenFullCollections(const ServiceRun& service,
                                                 const char* path) {
  std::vector<double> rates;
  const SnapshotAtUnits* before = nullptr;
  for (const SnapshotAtUnits* after : Readable(service)) {
    if (before && after->units > before->units &&
        FullCollectionsUntil(*before) == FullCollectionsUntil(*after)) {
      auto low = NumberAt(before->report, path);
      auto high = NumberAt(after->report, path);
      if (low && high)
        rates.push_back((*high - *low) /
                        static_cast<double>(after->units - before->units));
    }
    before = after;
  }
  if (rates.empty()) return std::nullopt;
  return Median(std::move(rates));
}

bool CollectorIsOff(const json& report) {
  return At(report, "gc/enabled") == false ||
         NumberAt(report, "gc/thresholds/0") == 0;
}

/// What passed between the snapshots.
struct Pace {
  double turns = 0;  // Collections of any generation.
  double units = 0;
  double seconds = 0;
  double gen1_collections = 0;  // These two without the intervals in which a
  double survivors = 0;         // full collection came.

  std::optional<double> SecondsFor(double some_units) const {
    if (units <= 0) return std::nullopt;
    return some_units * seconds / units;
  }
};

/// Over the intervals in which the service worked, if it counts units; the
/// first, in which it warms up, is left out where there are others.
Pace PaceOf(const std::vector<const SnapshotAtUnits*>& snapshots) {
  Pace pace;
  bool has_units = snapshots.back()->units > snapshots.front()->units;
  size_t intervals = 0;
  for (size_t i = 1; i < snapshots.size(); ++i) {
    const SnapshotAtUnits& before = *snapshots[i - 1];
    const SnapshotAtUnits& after = *snapshots[i];
    if (has_units && after.units <= before.units) continue;
    if (++intervals == 2) pace = Pace();
    auto grown = [&](const char* path) {
      auto low = NumberAt(before.report, path);
      auto high = NumberAt(after.report, path);
      return low && high ? *high - *low : 0;
    };
    double young = grown("gc/stats/0/collections");
    double middle = grown("gc/stats/1/collections");
    double full = grown("gc/stats/2/collections");
    pace.turns += young + middle + full;
    // And how far the next turn has come.
    if (auto threshold = NumberAt(after.report, "gc/thresholds/0"))
      pace.turns += grown("gc/counts/0") / (*threshold + 1);
    pace.units += static_cast<double>(after.units - before.units);
    pace.seconds +=
        static_cast<double>(after.elapsed_ms - before.elapsed_ms) / 1000;
    if (full > 0) continue;
    pace.gen1_collections += middle;
    pace.survivors += grown("gc/long_lived_pending");
  }
  return pace;
}

/// What survives one collection of the middle generation; where no interval
/// tells, what has since a full one. Nothing if nothing does.
std::optional<double> SurvivorsPerCollection(
    const Pace& pace, const std::vector<const SnapshotAtUnits*>& snapshots) {
  if (pace.survivors > 0 && pace.gen1_collections > 0)
    return pace.survivors / pace.gen1_collections;
  for (size_t i = snapshots.size(); i-- > 0;) {
    auto survivors = NumberAt(snapshots[i]->report, "gc/long_lived_pending");
    auto collections = NumberAt(snapshots[i]->report, "gc/counts/2");
    if (survivors && collections && *survivors > 0 && *collections > 0)
      return *survivors / *collections;
  }
  return std::nullopt;
}

/// Units between two full collections on average; nothing if there were fewer
/// than two.
std::optional<double> UnitsPerFullCollection(
    const std::vector<const SnapshotAtUnits*>& snapshots) {
  auto first = FullCollectionsUntil(*snapshots.front());
  auto last = FullCollectionsUntil(*snapshots.back());
  if (!first || !last || *last - *first < 2) return std::nullopt;
  return static_cast<double>(snapshots.back()->units -
                             snapshots.front()->units) /
         (*last - *first);
}

/// Objects that the collector freed so far, in all generations.
std::optional<double> TakenUntil(const SnapshotAtUnits& snapshot) {
  const json& generations = At(snapshot.report, "gc/stats");
  if (!generations.is_array() || generations.empty()) return std::nullopt;
  double taken = 0;
  for (const json& generation : generations) {
    auto collected = NumberAt(generation, "collected");
    if (!collected) return std::nullopt;
    taken += *collected;
  }
  return taken;
}

/// A figure summed over the cycles asked about; nothing if there is no list or
/// one of its figures is missing.
std::optional<double> SumOverCycles(const json& report, const char* field) {
  if (!At(report, "cycles").is_array()) return std::nullopt;
  double sum = 0;
  for (const json& entry : CyclesOfInterest(report)) {
    auto value = NumberAt(entry, field);
    if (!value) return std::nullopt;
    sum += *value;
  }
  return sum;
}

std::string ReasonIn(const json& report, const char* field) {
  const json& limits = At(report, "limits");
  if (limits.is_array())
    for (const json& limit : limits)
      if (std::string(field).starts_with(TextAt(limit, "field")) &&
          !TextAt(limit, "field").empty())
        return TextAt(limit, "reason");
  return "the snapshot does not say";
}

/// The holders of the pinned cycles, the first that is named.
std::string Holder(const json& report) {
  for (const json& cycle : CyclesOfInterest(report))
    if (NumberAt(cycle, "pinned").value_or(0) > 0)
      if (std::string holder = TextAt(cycle, "held_by/0"); !holder.empty())
        return holder;
  return {};
}

std::string Sentence(const json& figures, const json& report,
                     const std::string& unit) {
  auto number = [&figures](const char* name) {
    return NumberAt(figures, name);
  };
  auto count = [](std::optional<double> value) {
    return value ? Count(*value) : std::string("an unknown number of");
  };
  const auto pinned = number("pinned_cycles");
  const auto floating = number("floating");
  const auto taken = number("taken");
  const auto never = number("never");
  const bool off = figures["collector_on"] == false;

  std::string answer = "Not known yet: ";
  if (floating && *floating == 0 && pinned && *pinned == 0)
    answer = "There are none now: ";
  else if (off)
    answer =
        "Not in themselves, but the collector is off, so nothing takes them: ";
  else if (never && *never > 0)
    answer = "Some do: no collection will take them: ";
  else if (number("pinned_growth").value_or(0) > 0)
    answer = "More and more are pinned, because something outside holds them: ";
  else if (taken && *taken > 0 && pinned)
    answer = "No: ";

  std::string text = answer;
  auto units = number("units");
  text += units ? fmt::format("in {} ", Units(*units, unit))
                : std::string("so far ");
  auto made = number("made");
  text += fmt::format(
      "the service made {} objects that only the collector can free, the "
      "collector took {}",
      count(made), taken ? Count(*taken) : "an unknown number");
  text += pinned && *pinned == 1
              ? std::string(", 1 cycle is pinned")
              : fmt::format(", {} cycles are pinned", count(pinned));
  if (pinned && *pinned > 0)
    if (std::string holder = Holder(report); !holder.empty())
      text += " (held by " + holder + ")";
  text += fmt::format(", {} objects are floating", count(floating));
  if (auto bytes = number("floating_bytes"))
    text += fmt::format(" ({} now", Bytes(*bytes));
  else
    text += " (bytes unknown";
  auto bound = number("floating_bound_bytes");
  auto most = number("floating_most_seen_bytes");
  if (off)
    text += ", without bound)";
  else if (bound)
    text += fmt::format(", at most about {})", Bytes(*bound));
  else if (most)
    text += fmt::format(", at most {} in any snapshot)", Bytes(*most));
  else
    text += ", bound unknown)";
  if (never && *never > 0 && !off)
    text += fmt::format(", {} cycles will never be taken", Count(*never));
  auto next_units = number("units_to_full_collection");
  auto next_seconds = number("seconds_to_full_collection");
  std::string time = next_seconds ? Duration(*next_seconds / 3600) : "";
  if (off)
    text += "; next full collection: never";
  else if (next_units)
    text += fmt::format("; next full collection in about {}{}",
                        Units(*next_units, unit),
                        next_seconds ? ", " + time + " at this pace" : "");
  else if (next_seconds)
    text += "; next full collection in about " + time + " at this pace";
  else
    text += "; when the next full collection comes is not known (" +
            TextAt(figures, "full_collection_reason") + ")";
  if (auto took = number("full_collection_ms"))
    text += fmt::format(" (the last one took {} ms)", Figure(*took));
  return text + ".";
}

}  // namespace

std::optional<double> FullCollectionsUntil(const SnapshotAtUnits& snapshot) {
  const json& generations = At(snapshot.report, "gc/stats");
  if (!generations.is_array() || generations.empty()) return std::nullopt;
  return NumberAt(generations.back(), "collections");
}

FullCollection NextFullCollection(const ServiceRun& service) {
  const auto snapshots = Readable(service);
  if (snapshots.empty()) return {{}, {}, "there is no snapshot"};
  const json& last = snapshots.back()->report;
  if (CollectorIsOff(last)) return {{}, {}, "the collector is off"};
  auto survivors = NumberAt(last, "gc/full_collection/needs_survivors");
  auto collections =
      NumberAt(last, "gc/full_collection/needs_gen1_collections");
  auto threshold0 = NumberAt(last, "gc/thresholds/0");
  auto threshold1 = NumberAt(last, "gc/thresholds/1");
  auto count0 = NumberAt(last, "gc/counts/0");
  auto count1 = NumberAt(last, "gc/counts/1");
  if (!survivors || !collections || !threshold0 || !threshold1 || !count0 ||
      !count1)
    return {{}, {}, ReasonIn(last, "gc.full_collection")};

  const Pace pace = PaceOf(snapshots);
  double needed = *collections;  // Of the middle generation.
  if (*survivors > 0) {
    auto each = SurvivorsPerCollection(pace, snapshots);
    if (!each) {
      // Where the program itself collects, its usual distance says it.
      if (auto distance = UnitsPerFullCollection(snapshots))
        return {distance, pace.SecondsFor(*distance), ""};
      return {{},
              {},
              fmt::format("{} more objects must survive first, and between the "
                          "snapshots none did",
                          Count(*survivors))};
    }
    needed = std::max(needed, std::ceil(*survivors / *each));
  }
  double turns = 1 - std::min(1.0, *count0 / (*threshold0 + 1));
  if (needed > 0) turns += needed * (*threshold1 + 2) - *count1;
  if (pace.turns <= 0)
    return {{},
            {},
            fmt::format("{} more collections of the middle generation must "
                        "come first, and between the snapshots no generation "
                        "was collected",
                        Count(needed))};
  FullCollection next;
  next.in_seconds = turns / pace.turns * pace.seconds;
  if (pace.units > 0) next.in_units = turns / pace.turns * pace.units;
  return next;
}

json CollectionFigures(const ServiceRun& service, const std::string& unit) {
  json figures = {{"made", nullptr},
                  {"taken", nullptr},
                  {"floating", nullptr},
                  {"floating_bytes", nullptr},
                  {"floating_bound_bytes", nullptr},
                  {"floating_most_seen_bytes", nullptr},
                  {"pinned_cycles", nullptr},
                  {"pinned_growth", nullptr},
                  {"never", nullptr},
                  {"units_to_full_collection", nullptr},
                  {"seconds_to_full_collection", nullptr},
                  {"full_collection_ms", nullptr},
                  {"units", nullptr},
                  {"collector_on", nullptr},
                  {"full_collection_reason", nullptr},
                  {"sentence", ""}};
  const auto snapshots = Readable(service);
  if (snapshots.empty()) {
    figures["full_collection_reason"] = "there is no snapshot";
    figures["sentence"] =
        "It cannot be known: this run has no readable snapshot.";
    return figures;
  }
  const SnapshotAtUnits& first = *snapshots.front();
  const SnapshotAtUnits& last = *snapshots.back();
  figures["units"] = last.units - first.units;
  figures["collector_on"] = At(last.report, "gc/enabled");
  if (CollectorIsOff(last.report)) figures["collector_on"] = false;

  auto taken_first = TakenUntil(first), taken_last = TakenUntil(last);
  auto floating_first = NumberAt(first.report, "heap/floating_objects");
  auto floating = NumberAt(last.report, "heap/floating_objects");
  if (taken_first && taken_last) {
    figures["taken"] = *taken_last - *taken_first;
    if (floating_first && floating)
      figures["made"] =
          *taken_last - *taken_first + *floating - *floating_first;
  }
  figures["floating"] = OrNull(floating);
  figures["pinned_cycles"] = OrNull(SumOverCycles(last.report, "pinned"));
  auto pinned_first = SumOverCycles(first.report, "pinned");
  auto pinned_last = SumOverCycles(last.report, "pinned");
  if (pinned_first && pinned_last)
    figures["pinned_growth"] = *pinned_last - *pinned_first;
  figures["never"] = OrNull(SumOverCycles(last.report, "never"));

  FullCollection next = NextFullCollection(service);
  figures["units_to_full_collection"] = OrNull(next.in_units);
  figures["seconds_to_full_collection"] = OrNull(next.in_seconds);
  if (!next.reason.empty()) figures["full_collection_reason"] = next.reason;
  figures["full_collection_ms"] =
      OrNull(NumberAt(last.report, "gc/full_collection/last_ms"));
  auto bytes = NumberAt(last.report, "heap/floating_bytes");
  figures["floating_bytes"] = OrNull(bytes);
  std::optional<double> most;
  for (const SnapshotAtUnits* snapshot : snapshots)
    if (auto seen = NumberAt(snapshot->report, "heap/floating_bytes"))
      most = std::max(most.value_or(0), *seen);
  figures["floating_most_seen_bytes"] = OrNull(most);
  auto rate = RateBetweenFullCollections(service, "heap/floating_bytes");
  if (bytes && most && next.in_units && rate)
    figures["floating_bound_bytes"] =
        std::max(*most, *bytes + std::max(0.0, *rate) * *next.in_units);
  figures["sentence"] = Sentence(figures, last.report, unit);
  return figures;
}

std::string CollectionSentence(const ServiceRun& service,
                               const std::string& unit) {
  return CollectionFigures(service, unit)["sentence"].get<std::string>();
}

}  // namespace collector
