// The memory leg: is there a slope of anonymous memory per unit and per hour
// that matters? collector/verdict/statistics.cc has the idea of the slope; here
// are the window it is taken from, the gates before which it may not say
// `clean`, and the one thing it may say before them.

#include "collector/verdict/memory_leg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "collector/verdict/json_access.h"
#include "collector/verdict/statistics.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;

constexpr double kMillisecondsPerHour = 3600e3;

/// The samples taken under load, as columns.
struct Window {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  std::vector<double> hours;
  std::vector<double> units;  // Empty if not recorded.
  std::vector<double> bytes;

  double length_hours() const {
    return static_cast<double>(to_ms - from_ms) / kMillisecondsPerHour;
  }
};

std::optional<int64_t> TimeOf(const ServiceRun& service, const char* kind) {
  for (const RunEvent& event : service.events)
    if (event.kind == kind) return event.elapsed_ms;
  return std::nullopt;
}

bool Happened(const ServiceRun& service, const char* kind) {
  return TimeOf(service, kind).has_value();
}

/// The start and the end of the load: where the run says so, else from the last
/// moment without a processed unit to the first with all of them.
struct LoadTimes {
  int64_t from_ms;
  int64_t to_ms;
};
LoadTimes TimesOfLoad(const ServiceRun& service) {
  LoadTimes times{service.anon.front().elapsed_ms,
                  service.anon.back().elapsed_ms};
  const std::vector<Point>& units = service.units;
  if (!units.empty() && units.front().value < units.back().value) {
    for (size_t i = 0; units[i].value == units.front().value; ++i)
      times.from_ms = units[i].elapsed_ms;
    for (size_t i = units.size(); i-- > 0;)
      if (units[i].value == units.back().value)
        times.to_ms = units[i].elapsed_ms;
  }
  return {TimeOf(service, "load_started").value_or(times.from_ms),
          TimeOf(service, "load_done").value_or(times.to_ms)};
}

Window LoadWindow(const ServiceRun& service) {
  Window window;
  if (service.anon.empty()) return window;
  const auto [from, to] = TimesOfLoad(service);
  for (const Point& point : service.anon) {
    if (point.elapsed_ms < from || point.elapsed_ms > to) continue;
    if (window.bytes.empty()) window.from_ms = point.elapsed_ms;
    window.to_ms = point.elapsed_ms;
    window.hours.push_back(static_cast<double>(point.elapsed_ms) /
                           kMillisecondsPerHour);
    window.bytes.push_back(point.value);
    if (auto units = UnitsAt(service, point.elapsed_ms))
      window.units.push_back(*units);
  }
  return window;
}

std::vector<double> Part(const std::vector<double>& values, size_t from) {
  return {values.begin() + static_cast<std::ptrdiff_t>(from), values.end()};
}

/// What one x (units, or hours) says about memory.
struct Judged {
  Blocks blocks;
  Slope whole;
  Slope tail;
  Growth growth = Growth::kUnclear;
};

/// Nothing if there are too few samples or x does not move.
std::optional<Judged> JudgeAgainst(const std::vector<double>& all_x,
                                   const std::vector<double>& all_y,
                                   double margin) {
  if (all_x.size() != all_y.size()) return std::nullopt;
  size_t warm_up =
      static_cast<size_t>(kWarmUpShare * static_cast<double>(all_x.size()));
  std::vector<double> x = Part(all_x, warm_up), y = Part(all_y, warm_up);
  Judged judged;
  judged.blocks = MedianBlocks(x, y, kBlocks);
  if (judged.blocks.x.empty() ||
      judged.blocks.x.front() == judged.blocks.x.back())
    return std::nullopt;
  judged.whole = SlopeOfBlocks(judged.blocks);
  Blocks tail =
      MedianBlocks(Part(x, x.size() / 2), Part(y, y.size() / 2), kTailBlocks);
  if (tail.x.empty() || tail.x.front() == tail.x.back()) {
    // Too short for a tail: the whole stands for itself, the gates are far.
    judged.tail = judged.whole;
  } else {
    judged.tail = SlopeOfBlocks(tail);
  }
  judged.growth = JudgeGrowth(judged.whole, judged.tail, margin);
  return judged;
}

json SlopeJson(const std::optional<Judged>& judged) {
  if (!judged) return nullptr;
  return {{"estimate", judged->whole.estimate},
          {"lower", judged->whole.lower},
          {"upper", judged->whole.upper},
          {"theil_sen", judged->whole.theil_sen},
          {"standard_error", judged->whole.standard_error},
          {"tail_estimate", judged->tail.estimate},
          {"tail_lower", judged->tail.lower},
          {"tail_upper", judged->tail.upper}};
}

json FitJson(const Judged& per_unit, const Window& window) {
  json blocks = json::array();
  for (size_t i = 0; i < per_unit.blocks.x.size(); ++i)
    blocks.push_back(
        {{"units", per_unit.blocks.x[i]}, {"bytes", per_unit.blocks.y[i]}});
  size_t warm_up = static_cast<size_t>(
      kWarmUpShare * static_cast<double>(window.units.size()));
  return {{"blocks", blocks},
          {"intercept", per_unit.whole.intercept},
          {"from_units", window.units[warm_up]},
          {"to_units", window.units.back()}};
}

/// The usual distance of two samples decides how many there should be.
double SampleShare(const Window& window) {
  if (window.hours.size() < 2) return 0;
  std::vector<double> steps;
  for (size_t i = 1; i < window.hours.size(); ++i)
    steps.push_back(window.hours[i] - window.hours[i - 1]);
  double step = Median(steps);
  if (step <= 0) return 0;
  double expected = std::round(window.length_hours() / step) + 1;
  return static_cast<double>(window.hours.size()) / expected;
}

json Need(const std::string& text, std::optional<double> hours_more,
          std::optional<double> units_more = {}) {
  return {{"leg", "memory"},
          {"text", text},
          {"hours_more", OrNull(hours_more)},
          {"units_more", OrNull(units_more)}};
}

/// The gates that are not met, with what is missing.
json UnmetGates(const ServiceRun& service, const RunFacts& run,
                const Window& window, const std::string& unit) {
  json needs = json::array();
  double judged_hours = window.length_hours() * (1 - kWarmUpShare);
  if (judged_hours < kGateHours)
    needs.push_back(
        Need(fmt::format("{} under load after warm-up, there are {}",
                         Duration(kGateHours), Duration(judged_hours)),
             kGateHours / (1 - kWarmUpShare) - window.length_hours()));
  if (window.units.empty()) {
    needs.push_back(Need(
        fmt::format("the {} processed, which were not recorded", Plural(unit)),
        {}));
  } else {
    double units = window.units.back() - window.units.front();
    double rate = window.length_hours() > 0 ? units / window.length_hours() : 0;
    if (units < kGateUnits)
      needs.push_back(Need(
          fmt::format("{} under load, there are {}", Units(kGateUnits, unit),
                      Count(units)),
          rate > 0 ? std::optional((kGateUnits - units) / rate) : std::nullopt,
          kGateUnits - units));
  }
  double share = SampleShare(window);
  if (share < kGateSampleShare)
    needs.push_back(
        Need(fmt::format("{:.0f} % of the memory samples, there are {:.0f} %",
                         kGateSampleShare * 100, share * 100),
             {}));
  if (Happened(service, "restart"))
    needs.push_back(Need("a run without a restart of the service", {}));
  auto planned = NumberAt(run.description, "plan/units");
  if (Happened(service, "load_not_reached") || !run.finished ||
      (planned && *planned > 0 && !service.units.empty() &&
       service.units.back().value < *planned))
    needs.push_back(Need("the planned load to its end", {}));
  double settled = 0;
  if (!service.anon.empty())
    settled = static_cast<double>(service.anon.back().elapsed_ms -
                                  TimesOfLoad(service).to_ms) /
              kMillisecondsPerHour;
  if (settled < kGateSettleHours)
    needs.push_back(Need(fmt::format("{} without load at the end, there are {}",
                                     Duration(kGateSettleHours),
                                     Duration(std::max(0.0, settled))),
                         kGateSettleHours - std::max(0.0, settled)));
  return needs;
}

/// How much longer a run must be until the interval no longer straddles the
/// margin: the interval of a slope shrinks with length^1.5.
std::optional<double> HoursUntilClear(const Judged& judged, double margin,
                                      double hours) {
  double distance = std::abs(judged.whole.estimate - margin);
  double reach = judged.whole.upper - judged.whole.estimate;
  if (distance <= 0 || reach <= distance) return std::nullopt;
  double more = hours * (std::pow(reach / distance, 2.0 / 3) - 1);
  return more < 1000 ? std::optional(more) : std::nullopt;
}

}  // namespace

std::optional<double> UnitsAt(const ServiceRun& service, int64_t elapsed_ms) {
  const std::vector<Point>& points = service.units;
  if (points.empty()) return std::nullopt;
  auto after = std::lower_bound(
      points.begin(), points.end(), elapsed_ms,
      [](const Point& point, int64_t time) { return point.elapsed_ms < time; });
  if (after == points.end()) return points.back().value;
  if (after == points.begin() || after->elapsed_ms == elapsed_ms)
    return after->value;
  auto before = after - 1;
  double share = static_cast<double>(elapsed_ms - before->elapsed_ms) /
                 static_cast<double>(after->elapsed_ms - before->elapsed_ms);
  return before->value + share * (after->value - before->value);
}

json JudgeMemory(const ServiceRun& service, const RunFacts& run,
                 std::optional<double> explained_bytes_per_unit,
                 const VerdictOptions& options) {
  std::string unit = TextAt(run.description, "unit/name");
  if (unit.empty()) unit = "unit";
  const Window window = LoadWindow(service);
  auto per_unit =
      JudgeAgainst(window.units, window.bytes, options.margin_bytes_per_unit);
  auto per_hour =
      JudgeAgainst(window.hours, window.bytes, options.margin_bytes_per_hour);

  json leg = {{"verdict", "not_enough_data"},
              {"reason", nullptr},
              {"samples", window.bytes.size()},
              {"slope_bytes_per_unit", SlopeJson(per_unit)},
              {"slope_bytes_per_hour", SlopeJson(per_hour)},
              {"smallest_visible",
               {{"bytes_per_unit", nullptr}, {"bytes_per_hour", nullptr}}},
              {"fit", nullptr},
              {"units", nullptr},
              {"hours", window.length_hours()},
              {"source", service.memory_source},
              {"needs", UnmetGates(service, run, window, unit)}};
  if (!window.units.empty())
    leg["units"] = window.units.back() - window.units.front();
  if (per_unit) {
    leg["fit"] = FitJson(*per_unit, window);
    leg["smallest_visible"]["bytes_per_unit"] =
        SmallestVisible(per_unit->whole, options.margin_bytes_per_unit);
  }
  if (per_hour)
    leg["smallest_visible"]["bytes_per_hour"] =
        SmallestVisible(per_hour->whole, options.margin_bytes_per_hour);

  if (!per_unit || !per_hour) {
    leg["reason"] = fmt::format(
        "a slope needs {} memory samples after warm-up and {} that move; there "
        "are {} samples under load",
        kBlocks, Plural(unit), window.bytes.size());
    return leg;
  }
  if (leg["needs"].empty()) {
    if (per_unit->growth == Growth::kLeak &&
        per_hour->growth == Growth::kLeak) {
      leg["verdict"] = "leak";
      leg["reason"] = "memory grows by more than both margins";
    } else if (per_unit->growth == Growth::kClean &&
               per_hour->growth == Growth::kClean) {
      leg["verdict"] = "clean";
      leg["reason"] = "growth, if any, is below both margins";
    } else {
      leg["reason"] = "the interval of the slope straddles a margin";
      leg["needs"].push_back(
          Need("a longer run, until the interval lies on one side of the "
               "margins",
               HoursUntilClear(*per_unit, options.margin_bytes_per_unit,
                               window.length_hours())));
    }
    return leg;
  }

  leg["reason"] = "its gates are not met";
  const double judged_units =
      *NumberAt(leg, "fit/to_units") - *NumberAt(leg, "fit/from_units");
  bool steep =
      per_unit->whole.lower > kEarlyMargins * options.margin_bytes_per_unit &&
      per_hour->whole.lower > kEarlyMargins * options.margin_bytes_per_hour;
  if (steep && judged_units >= kEarlyUnits) {
    bool explained = explained_bytes_per_unit &&
                     *explained_bytes_per_unit >=
                         kEarlyExplainedShare * per_unit->whole.estimate;
    if (explained) {
      leg["verdict"] = "leak";
      leg["needs"] = json::array();  // More data would change nothing.
      leg["reason"] = fmt::format(
          "memory grows by more than {:.0f} times the margins, and pinned "
          "objects and those that no collection takes explain half of it",
          kEarlyMargins);
    } else {
      leg["reason"] =
          "memory grows steeply, but objects do not explain half of it and the "
          "gates are not met";
    }
  }
  return leg;
}

}  // namespace collector
