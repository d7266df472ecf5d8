#include "collector/cli/demo_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "collector/cli/snapshot_table.h"
#include "collector/cli/text.h"
#include "collector/verdict/json_access.h"
#include "collector/verdict/verdict.h"
#include "collector/verdict/words.h"

namespace collector {

namespace {

using nlohmann::json;

constexpr size_t kCycles = 5;
constexpr size_t kSites = 2;

/// The sum over the watched types that are there at all.
std::string Alive(const json& service, const char* state) {
  const json& watched = At(service, "watched");
  if (!watched.is_array()) return "-";
  double sum = 0;
  for (const json& type : watched) sum += NumberAt(type, state).value_or(0);
  return Count(sum);
}

std::string Slope(const json& service) {
  auto estimate = NumberAt(service, "slope_bytes_per_unit/estimate");
  auto lower = NumberAt(service, "slope_bytes_per_unit/lower");
  auto upper = NumberAt(service, "slope_bytes_per_unit/upper");
  if (!estimate) return "-";
  if (!lower || !upper) return Bytes(*estimate);
  return fmt::format("{} ({} to {})", Bytes(*estimate), Bytes(*lower),
                     Bytes(*upper));
}

std::string MedianMs(const json& service, const char* field, double divisor) {
  auto value =
      NumberAt(service, std::string("inspection/") + field + "/median");
  return value ? fmt::format("{} ms", Figure(*value / divisor)) : "-";
}

std::string MostBytes(const json& service, const char* field) {
  auto value = NumberAt(service, std::string("inspection/") + field + "/max");
  return value ? Bytes(*value) : "-";
}

std::string Archives(const json& arm) {
  auto sent = NumberAt(arm, "archives/sent");
  auto results = NumberAt(arm, "archives/results");
  if (!sent || !results) return "-";
  return *sent == *results
             ? Count(*sent)
             : fmt::format("{} of {}", Count(*results), Count(*sent));
}

std::string Summary(const json& arms) {
  Table objects({"arm", "archives", "brokers alive", "pinned", "floating",
                 "in flight", "never taken", "memory per archive (interval)"});
  Table cost({"arm", "snapshots", "pause", "child", "child's own", "copied",
              "objects", "memory"},
             {0, 6, 7});
  for (const json& arm : arms) {
    const json& service = At(arm, "verdict/services/0");
    std::string name = TextAt(arm, "arm");
    objects.Add({name, Archives(arm), Alive(service, "alive"),
                 Alive(service, "pinned"), Alive(service, "floating"),
                 Alive(service, "in_flight"), Alive(service, "never"),
                 Slope(service)});
    cost.Add(
        {name, Count(NumberAt(service, "inspection/snapshots").value_or(0)),
         MedianMs(service, "pause_us", 1000), MedianMs(service, "child_ms", 1),
         MostBytes(service, "child_peak_bytes"),
         MostBytes(service, "cow_bytes"),
         Spoken(TextAt(service, "objects/verdict")),
         Spoken(TextAt(service, "memory/verdict"))});
  }
  return objects.Render() +
         "(uncollected: the cyclic collector is off, so that every cycle made "
         "is there to be counted)\n\n"
         "Inspection (median pause and child, largest memory) and the legs of "
         "the verdict:\n" +
         cost.Render();
}

std::string CycleLines(const json& service) {
  const json& cycles = At(service, "cycles");
  if (!cycles.is_array() || cycles.empty()) {
    return "  no cycle through a watched object\n";
  }
  std::string text;
  for (size_t i = 0; i < std::min(cycles.size(), kCycles); ++i) {
    const json& cycle = cycles[i];
    auto count = [&cycle](const char* field) {
      return Count(NumberAt(cycle, field).value_or(0));
    };
    text += fmt::format(
        "  {} brokers on {}\n      pinned {}, floating {} (never taken {}), in "
        "flight {}\n",
        count("count"), TextAt(cycle, "signature"), count("pinned"),
        count("floating"), count("never"), count("in_flight"));
    for (const std::string& line : SiteLines(cycle, kSites)) {
      text += "      " + line + "\n";
    }
  }
  if (cycles.size() > kCycles) {
    text += fmt::format("  and {} more signatures, in the report\n",
                        cycles.size() - kCycles);
  }
  return text;
}

std::string ArmLines(const json& arm) {
  const json& service = At(arm, "verdict/services/0");
  return fmt::format("\n{}\n  {}\n{}  Do these cycles prevent collection? {}\n",
                     TextAt(arm, "arm"), TextAt(service, "line"),
                     CycleLines(service),
                     TextAt(service, "collection/sentence"));
}

}  // namespace

std::string RenderDemo(const json& demo) {
  std::string text = Summary(At(demo, "arms"));
  for (const json& arm : At(demo, "arms")) text += ArmLines(arm);
  for (const json& comparison : At(demo, "comparisons")) {
    text += "\n" + RenderCompare(comparison);
  }
  return text;
}

}  // namespace collector
