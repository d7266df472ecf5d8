#include "collector/report/run_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "collector/report/chart.h"
#include "collector/report/html.h"
#include "collector/verdict/cycles.h"
#include "collector/verdict/json_access.h"
#include "collector/verdict/memory_leg.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;

constexpr size_t kBuckets = 700;
constexpr size_t kTableRows = 200;
constexpr double kMiB = 1024.0 * 1024;

std::string Figure(const std::string& svg, const std::string& caption,
                   const std::string& table) {
  return "<figure>" + svg + "<figcaption>" + Escape(caption) + "</figcaption>" +
         table + "</figure>\n";
}

std::string Nothing(const std::string& text) {
  return "<p class=\"soft\">" + Escape(text) + "</p>\n";
}

/// The line of the fit and the fan of slopes that its interval allows, both
/// through the middle of the blocks.
void DrawFit(const json& fit, const json& slope, Chart& chart) {
  const json& blocks = At(fit, "blocks");
  auto from = NumberAt(fit, "from_units"), to = NumberAt(fit, "to_units");
  auto estimate = NumberAt(slope, "estimate"), lower = NumberAt(slope, "lower"),
       upper = NumberAt(slope, "upper");
  if (!blocks.is_array() || blocks.empty() || !from || !to || !estimate ||
      !lower || !upper)
    return;
  std::vector<XY> medians;
  double x = 0, y = 0;
  for (const json& block : blocks) {
    medians.emplace_back(NumberAt(block, "units").value_or(0),
                         NumberAt(block, "bytes").value_or(0));
    x += medians.back().first / static_cast<double>(blocks.size());
    y += medians.back().second / static_cast<double>(blocks.size());
  }
  auto at = [x, y](double units, double rate) {
    return XY(units, y + rate * (units - x));
  };
  chart.Area({at(*from, *lower),
              {x, y},
              at(*to, *lower),
              at(*to, *upper),
              {x, y},
              at(*from, *upper)},
             "band");
  chart.Line({at(*from, *estimate), at(*to, *estimate)}, "fit");
  chart.Dots(medians, "block", 4.5);
}

std::string SampleTable(const std::vector<XY>& points,
                        const std::string& x_label) {
  HtmlTable table("Anonymous memory", {x_label, "Bytes", "Size"}, 0, 2);
  size_t every =
      std::max<size_t>(1, (points.size() + kTableRows - 1) / kTableRows);
  for (size_t i = 0; i < points.size(); i += every)
    table.Add({collector::Figure(points[i].first), Count(points[i].second),
               Bytes(points[i].second)});
  std::string note = every > 1
                         ? fmt::format("Samples as a table (one of {})", every)
                         : std::string("Samples as a table");
  return Details(note, table.Html());
}

using States = std::array<double, 4>;
constexpr std::array<const char*, 4> kStateClasses = {"pinned", "floating",
                                                      "never", "flight"};
constexpr std::array<const char*, 4> kStateNames = {
    "pinned", "floating", "floating, never taken", "in flight"};

/// Cycles by state; nothing where the snapshot has no list.
std::optional<States> StatesOf(const SnapshotAtUnits& snapshot) {
  if (!At(snapshot.report, "cycles").is_array()) return std::nullopt;
  States states = {};
  for (const json& cycle : CyclesOfInterest(snapshot.report)) {
    double never = NumberAt(cycle, "never").value_or(0);
    states[0] += NumberAt(cycle, "pinned").value_or(0);
    states[1] += std::max(0.0, NumberAt(cycle, "floating").value_or(0) - never);
    states[2] += never;
    states[3] += NumberAt(cycle, "in_flight").value_or(0);
  }
  return states;
}

}  // namespace

std::string MemoryFigure(const ServiceRun& service, const json& judged,
                         const std::string& unit, const std::string& id) {
  if (service.anon.empty()) return Nothing("No memory sample was recorded.");
  const bool by_units = !service.units.empty();
  std::vector<XY> points;
  for (const Point& point : service.anon)
    points.emplace_back(by_units
                            ? UnitsAt(service, point.elapsed_ms).value_or(0)
                            : static_cast<double>(point.elapsed_ms) / 3600e3,
                        point.value);
  auto [low, high] = std::minmax_element(
      points.begin(), points.end(),
      [](const XY& a, const XY& b) { return a.second < b.second; });
  double margin = std::max((high->second - low->second) * 0.08, kMiB / 8);
  auto last = std::max_element(points.begin(), points.end());

  const json& slope = At(judged, "slope_bytes_per_unit");
  auto estimate = NumberAt(slope, "estimate");
  std::string finding =
      estimate
          ? fmt::format(
                "Anonymous memory changes by {} per {}, interval {} to {}; "
                "margin {}.",
                Bytes(*estimate), unit,
                Bytes(NumberAt(slope, "lower").value_or(0)),
                Bytes(NumberAt(slope, "upper").value_or(0)),
                Bytes(NumberAt(judged, "margin/bytes_per_unit").value_or(0)))
          : fmt::format("Anonymous memory between {} and {}; no slope: {}.",
                        Bytes(low->second), Bytes(high->second),
                        TextAt(judged, "memory/reason"));
  std::string x_label =
      by_units ? fmt::format("{} processed", Plural(unit)) : "hours";
  Chart chart(
      {.id = id,
       .title = fmt::format("Memory of {} over {}", service.service, x_label),
       .description = finding,
       .x_label = x_label,
       .y_label = "anonymous memory, MiB"},
      {std::min_element(points.begin(), points.end())->first, last->first},
      {std::max(0.0, low->second - margin), high->second + margin}, kMiB);
  std::vector<XY> shown = by_units ? points : Thin(points, kBuckets);
  if (by_units && points.size() > 2 * kBuckets) {
    std::stable_sort(shown.begin(), shown.end(), [](const XY& a, const XY& b) {
      return a.first < b.first;
    });
    shown = Thin(shown, kBuckets);
  }
  chart.Line(shown, "sample");
  if (shown.size() <= 120) chart.Dots(shown, "sampledot", 2.2);
  chart.Legend("samples", "sampledot");
  if (by_units && estimate) {
    DrawFit(At(judged, "memory/fit"), slope, chart);
    chart.Legend("block medians", "block");
    chart.Legend("fit and its 98 % interval", "kfit");
  }
  std::string source = service.memory_source.empty()
                           ? ""
                           : " Source: " + service.memory_source + ".";
  return Figure(chart.Svg(), finding + source, SampleTable(points, x_label));
}

std::string CyclesFigure(const ServiceRun& service, const std::string& unit,
                         const std::string& id) {
  const bool watched_only =
      std::any_of(service.snapshots.begin(), service.snapshots.end(),
                  [](const SnapshotAtUnits& snapshot) {
                    return WatchesTypes(snapshot.report);
                  });
  std::vector<std::pair<double, States>> bars;
  for (const SnapshotAtUnits& snapshot : service.snapshots)
    if (auto states = StatesOf(snapshot))
      bars.emplace_back(static_cast<double>(snapshot.units), *states);
  if (bars.empty()) return Nothing("No snapshot with cycles could be read.");
  double most = 0, low = bars.front().first, high = low;
  for (const auto& [units, states] : bars) {
    most = std::max(most, states[0] + states[1] + states[2] + states[3]);
    low = std::min(low, units);
    high = std::max(high, units);
  }
  std::string which = watched_only ? "Cycles through watched types" : "Cycles";
  const States& last = bars.back().second;
  std::string finding = fmt::format(
      "{} at the last snapshot: {} pinned, {} floating that the collector "
      "takes, {} floating that it never takes, {} in flight.",
      which, Count(last[0]), Count(last[1]), Count(last[2]), Count(last[3]));
  if (most == 0) {
    return Nothing(
        fmt::format("{}: none in any of {} snapshots.", which, bars.size()));
  }
  double room = (high - low) / std::max<double>(1, bars.size()) * 0.6;
  Chart chart(
      {.id = id,
       .title = fmt::format("{} of {} by state", which, service.service),
       .description = finding,
       .x_label = fmt::format("{} processed", Plural(unit)),
       .y_label = "cycles"},
      {low - room, high + room}, {0, most * 1.05});
  double width = std::min(0.05, 0.62 / static_cast<double>(bars.size() + 1));
  HtmlTable table(
      which, {Plural(unit), "pinned", "floating", "never taken", "in flight"},
      0, 4);
  for (const auto& [units, states] : bars) {
    double from = 0;
    for (size_t i = 0; i < states.size(); ++i) {
      chart.Bar(units, width, from, from + states[i], kStateClasses[i],
                fmt::format("{}: {} {}", Units(units, unit), Count(states[i]),
                            kStateNames[i]));
      from += states[i];
    }
    table.Add({Count(units), Count(states[0]), Count(states[1]),
               Count(states[2]), Count(states[3])});
  }
  for (size_t i = 0; i < kStateNames.size(); ++i)
    chart.Legend(kStateNames[i], kStateClasses[i]);
  return Figure(chart.Svg(), finding,
                Details("Counts as a table", table.Html()));
}

}  // namespace collector
