#include "collector/verdict/collection.h"

#include <fmt/format.h>

#include <algorithm>
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
  if (off)
    text += "; next full collection: never";
  else if (auto next = number("units_to_full_collection"))
    text +=
        fmt::format("; next full collection in about {}", Units(*next, unit));
  else
    text += "; when the next full collection comes is not known (" +
            TextAt(figures, "full_collection_reason") + ")";
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
  if (snapshots.empty()) return {std::nullopt, "there is no snapshot"};
  const json& last = snapshots.back()->report;
  if (At(last, "gc/enabled") == false)
    return {std::nullopt, "the collector is off"};
  auto survivors = NumberAt(last, "gc/full_collection/needs_survivors");
  auto collections =
      NumberAt(last, "gc/full_collection/needs_gen1_collections");
  if (!survivors || !collections)
    return {std::nullopt, ReasonIn(last, "gc.full_collection")};

  // Where they come so often that no interval is without one, their usual
  // distance says it.
  const auto distance = UnitsPerFullCollection(snapshots);
  double in_units = 0;
  if (*survivors > 0) {
    auto rate = RateBetweenFullCollections(service, "gc/long_lived_pending");
    if (rate && *rate > 0)
      in_units = *survivors / *rate;
    else if (distance)
      return {distance, ""};
    else
      return {std::nullopt,
              fmt::format("{} more objects must survive first, and between the "
                          "snapshots none did",
                          Count(*survivors))};
  }
  if (*collections > 0) {
    auto rate = GrowthPerUnit(snapshots, {"gc/stats/1/collections"});
    if (rate && *rate > 0)
      in_units = std::max(in_units, *collections / *rate);
    else if (distance)
      return {distance, ""};
    else
      return {std::nullopt,
              fmt::format("{} more collections of the middle generation must "
                          "come first, and between the snapshots none came",
                          Count(*collections))};
  }
  return {in_units, ""};
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
  if (!next.in_units) figures["full_collection_reason"] = next.reason;
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
