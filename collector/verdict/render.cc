// The verdict and the comparison as a person reads them in a terminal.

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "collector/verdict/json_access.h"
#include "collector/verdict/verdict.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;

/// Rows that are printed of each list; the JSON has all.
constexpr size_t kRows = 10;

/// Columns as wide as their widest cell. The first columns are right-aligned
/// numbers, the last is text. Widths count code points, not bytes.
class Table {
 public:
  explicit Table(std::vector<std::string> head) { rows_.push_back(head); }
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  size_t size() const { return rows_.size() - 1; }

  std::string Text() const {
    std::vector<size_t> widths(rows_[0].size());
    for (const auto& row : rows_)
      for (size_t i = 0; i < row.size(); ++i)
        widths[i] = std::max(widths[i], Width(row[i]));
    std::string text;
    for (const auto& row : rows_) {
      std::string line = " ";
      for (size_t i = 0; i + 1 < row.size(); ++i)
        line +=
            " " + std::string(widths[i] - Width(row[i]), ' ') + row[i] + " ";
      text += line + " " + row.back() + "\n";
    }
    return text;
  }

 private:
  static size_t Width(const std::string& text) {
    return static_cast<size_t>(std::count_if(
        text.begin(), text.end(),
        [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
  }
  std::vector<std::vector<std::string>> rows_;
};

std::string CountOr(const json& value, std::string_view path) {
  auto number = NumberAt(value, path);
  return number ? Figure(*number) : "?";
}

std::string BytesOr(const json& value, std::string_view path) {
  auto number = NumberAt(value, path);
  return number ? Bytes(*number) : "not known";
}

std::string More(size_t all) {
  return all > kRows ? fmt::format("  and {} more, see --json\n", all - kRows)
                     : "";
}

std::string SlopeText(const json& slope) {
  if (!slope.is_object()) return "not known";
  return fmt::format("{} [{} … {}]", BytesOr(slope, "estimate"),
                     BytesOr(slope, "lower"), BytesOr(slope, "upper"));
}

/// "insights/core/dr.py:123 run_components" of the commonest site.
std::string FirstSite(const json& entry) {
  const json& site = At(entry, "sites/0");
  if (!site.is_object()) return "";
  auto line = NumberAt(site, "line");
  return fmt::format("{}:{} {} ({})", ShortFile(TextAt(site, "file")),
                     line ? fmt::format("{:.0f}", *line) : "?",
                     TextAt(site, "function"), TextAt(site, "role"));
}

std::string RenderMemory(const json& service, const std::string& unit) {
  std::string text = fmt::format("  memory per {}: {} · per hour: {}\n", unit,
                                 SlopeText(service["slope_bytes_per_unit"]),
                                 SlopeText(service["slope_bytes_per_hour"]));
  text += fmt::format("    margin {} per {} and {} per hour",
                      BytesOr(service, "margin/bytes_per_unit"), unit,
                      BytesOr(service, "margin/bytes_per_hour"));
  if (auto visible = NumberAt(service, "smallest_visible/bytes_per_unit"))
    text += fmt::format("; smallest leak this run could see: {} per {}",
                        Bytes(*visible), unit);
  text += "\n";
  if (std::string reason = TextAt(service, "memory/reason"); !reason.empty())
    text += "    " + reason + "\n";
  if (auto explained = NumberAt(service, "objects/explained_bytes_per_unit"))
    text += fmt::format(
        "    pinned objects and those that no collection takes "
        "account for {} per {}, the rest is {}\n",
        Bytes(*explained), unit,
        BytesOr(service, "unexplained_bytes_per_unit"));
  return text;
}

std::string RenderGrowing(const json& growing, const std::string& unit) {
  if (!growing.is_array() || growing.empty()) return "";
  Table table({"per " + unit, "state", "", "signature or type"});
  for (size_t i = 0; i < std::min(growing.size(), kRows); ++i) {
    const json& entry = growing[i];
    table.Add({Figure(NumberAt(entry, "per_unit").value_or(0)),
               Spoken(TextAt(entry, "state")),
               entry["leaks"] == true ? "leaks" : "grows",
               TextAt(entry, "signature")});
  }
  return "  growing in every interval:\n" + table.Text() + More(growing.size());
}

std::string RenderBounded(const json& bounded, const std::string& unit) {
  if (!bounded.is_array() || bounded.empty()) return "";
  Table table({"at most about", "taken in about", "signature"});
  std::vector<json> sorted(bounded.begin(), bounded.end());
  std::stable_partition(sorted.begin(), sorted.end(), [](const json& entry) {
    return At(entry, "watched") == true;
  });
  for (size_t i = 0; i < std::min(sorted.size(), kRows); ++i)
    table.Add({CountOr(sorted[i], "bound"),
               Units(NumberAt(sorted[i], "in_units").value_or(0), unit),
               TextAt(sorted[i], "signature")});
  return "  floating, and taken in time:\n" + table.Text() +
         More(sorted.size());
}

std::string RenderWatched(const json& watched) {
  if (!watched.is_array() || watched.empty()) return "";
  Table table(
      {"alive", "pinned", "floating", "in flight", "never", "watched type"});
  for (const json& type : watched)
    table.Add({CountOr(type, "alive"), CountOr(type, "pinned"),
               CountOr(type, "floating"), CountOr(type, "in_flight"),
               CountOr(type, "never"), TextAt(type, "type")});
  return "  last snapshot:\n" + table.Text();
}

std::string RenderCycles(const json& cycles) {
  if (!cycles.is_array() || cycles.empty()) return "";
  Table table({"count", "pinned", "floating", "in flight", "never", "cycle"});
  for (size_t i = 0; i < std::min(cycles.size(), kRows); ++i) {
    const json& cycle = cycles[i];
    table.Add({CountOr(cycle, "count"), CountOr(cycle, "pinned"),
               CountOr(cycle, "floating"), CountOr(cycle, "in_flight"),
               CountOr(cycle, "never"), TextAt(cycle, "signature")});
    if (std::string site = FirstSite(cycle); !site.empty())
      table.Add({"", "", "", "", "", "  at " + site});
  }
  return table.Text() + More(cycles.size());
}

std::string RenderInspection(const json& inspection) {
  auto snapshots = NumberAt(inspection, "snapshots").value_or(0);
  if (snapshots == 0) return "";
  std::string text =
      fmt::format("  inspection: {}", Units(snapshots, "snapshot"));
  if (auto pause = NumberAt(inspection, "pause_us/median"))
    text += fmt::format(", pause {} ms (at most {} ms)", Figure(*pause / 1000),
                        Figure(*NumberAt(inspection, "pause_us/max") / 1000));
  if (auto child = NumberAt(inspection, "child_ms/median"))
    text += fmt::format(", child {} ms (at most {} ms)", Figure(*child),
                        Figure(*NumberAt(inspection, "child_ms/max")));
  if (auto cow = NumberAt(inspection, "cow_bytes/max"))
    text += fmt::format(", pages copied at most {}", Bytes(*cow));
  return text + "\n";
}

std::string RenderService(const json& service, const std::string& unit) {
  std::string text =
      fmt::format("{}: {}\n  {}\n", TextAt(service, "service"),
                  Spoken(TextAt(service, "verdict")), TextAt(service, "line"));
  for (const json& reason : At(service, "reasons"))
    text += "  invalid: " + reason.get<std::string>() + "\n";
  text += RenderMemory(service, unit);
  text += RenderGrowing(At(service, "objects/growing"), unit);
  text += RenderBounded(At(service, "objects/bounded"), unit);
  text += RenderWatched(At(service, "watched"));
  text += RenderCycles(At(service, "cycles"));
  if (std::string sentence = TextAt(service, "collection/sentence");
      !sentence.empty())
    text += "  Do these cycles prevent collection? " + sentence + "\n";
  text += RenderInspection(At(service, "inspection"));
  for (const json& need : At(service, "needs"))
    text += fmt::format("  {} needs {}\n", TextAt(need, "leg"),
                        TextAt(need, "text"));
  for (const json& problem : At(service, "problems"))
    text += "  note: " + problem.get<std::string>() + "\n";
  return text;
}

/// Growth per unit, or the most at a time where nothing is kept.
std::string RateText(const json& entry, const char* when) {
  auto rate = NumberAt(entry, std::string("per_unit_") + when);
  auto most = NumberAt(entry, std::string("most_") + when);
  if (rate && (*rate != 0 || !most || *most == 0)) return Figure(*rate);
  return most ? (*most > 0 ? "≤ " : "") + Count(*most) : "?";
}

std::string RenderChanges(const json& objects, const std::string& unit) {
  Table table({"before", "after", "", "state", "signature"});
  size_t all = 0;
  for (const char* list : {"removed", "new", "remaining"})
    for (const json& entry : At(objects, list)) {
      ++all;
      if (table.size() >= 2 * kRows) continue;
      table.Add({RateText(entry, "before"), RateText(entry, "after"),
                 TextAt(entry, "change"), Spoken(TextAt(entry, "state")),
                 TextAt(entry, "signature")});
    }
  if (all == 0) return "  no cycles in either run\n";
  std::string text =
      fmt::format(
          "  cycles per {} (≤: the most at a time, where none are "
          "kept):\n",
          unit) +
      table.Text();
  if (all > table.size())
    text += fmt::format("  and {} more, see --json\n", all - table.size());
  return text;
}

std::string RenderFunctions(const json& comparison) {
  const json& functions = At(comparison, "functions_changed");
  if (!functions.is_array() || functions.empty())
    return "  no watched function differs\n";
  std::string text =
      fmt::format("  {} differ{}: ",
                  Units(static_cast<double>(functions.size()), "function"),
                  functions.size() == 1 ? "s" : "");
  for (size_t i = 0; i < std::min<size_t>(functions.size(), 5); ++i)
    text += (i ? ", " : "") + TextAt(functions[i], "function") +
            (functions[i]["change"] == "changed"
                 ? ""
                 : " (" + TextAt(functions[i], "change") + ")");
  if (functions.size() > 5)
    text += fmt::format(" and {} more", functions.size() - 5);
  text += "\n";
  const json& packages = At(comparison, "packages_changed");
  if (packages.is_array() && !packages.empty()) {
    text += "  packages that differ:";
    for (size_t i = 0; i < packages.size(); ++i) {
      auto version = [&](const char* when) {
        std::string found = TextAt(packages[i], when);
        return found.empty() ? std::string("none") : found;
      };
      text += fmt::format("{} {} {} → {}", i ? "," : "",
                          TextAt(packages[i], "package"), version("before"),
                          version("after"));
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string RenderVerdict(const json& verdict) {
  std::string unit = TextAt(verdict, "unit/name");
  if (unit.empty()) unit = "unit";
  std::string text;
  for (const json& service : At(verdict, "services"))
    text += RenderService(service, unit);
  return text.empty() ? "the run has no service, so there is nothing to judge\n"
                      : text;
}

std::string RenderCompare(const json& comparison) {
  std::string unit = TextAt(comparison, "unit/name");
  if (unit.empty()) unit = "unit";
  auto name = [&comparison](const char* arm, const char* run) {
    std::string text = TextAt(comparison, arm);
    return text.empty() ? TextAt(comparison, run) : text;
  };
  std::string text = fmt::format("{} against {}: {} ({})\n", name("arm", "run"),
                                 name("base_arm", "base_run"),
                                 Spoken(TextAt(comparison, "outcome")),
                                 TextAt(comparison, "reason"));
  text += RenderFunctions(comparison);
  for (const json& service : At(comparison, "services")) {
    text += fmt::format("  {} before: {}\n", TextAt(service, "service"),
                        TextAt(service, "base/line"));
    text += fmt::format("  {} after:  {}\n", TextAt(service, "service"),
                        TextAt(service, "line"));
    text += fmt::format("  memory per {}: {} before, {} after\n", unit,
                        SlopeText(At(service, "base/slope_bytes_per_unit")),
                        SlopeText(At(service, "slope_bytes_per_unit")));
  }
  return text + RenderChanges(At(comparison, "objects"), unit);
}

}  // namespace collector
