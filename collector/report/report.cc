// The page, from the answer down to the evidence: verdicts, comparisons, then
// for each run its curves, its last snapshot and what it cost, then how it was
// measured. Everything that comes from a run is escaped where it enters.

#include "collector/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "collector/report/html.h"
#include "collector/report/run_charts.h"
#include "collector/report/style.h"
#include "collector/verdict/cycles.h"
#include "collector/verdict/json_access.h"
#include "collector/verdict/memory_bridge.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;

/// Rows shown of a list before the rest is folded away.
constexpr size_t kTopTypes = 15;
constexpr size_t kTopCycles = 12;
constexpr size_t kTopChanges = 15;
constexpr size_t kTopSites = 3;

std::string CountOr(const json& value, std::string_view path) {
  auto number = NumberAt(value, path);
  return number ? Figure(*number) : "<span class=\"soft\">not known</span>";
}

std::string BytesOr(const json& value, std::string_view path) {
  auto number = NumberAt(value, path);
  return number ? Bytes(*number) : "<span class=\"soft\">not known</span>";
}

std::string Badge(const std::string& word) {
  const char* look = "odd";
  if (word == "clean" || word == "cured" || word == "nothing_to_cure")
    look = "good";
  else if (word == "leak" || word == "not_cured" || word == "worse" ||
           word == "reduced")
    look = "bad";
  else if (word == "not_enough_data")
    look = "wait";
  return fmt::format("<span class=\"badge {}\">{}</span>", look,
                     Escape(word.empty() ? "not known" : Spoken(word)));
}

std::string Paragraph(const std::string& text, const char* css_class = "") {
  return fmt::format("<p{}{}{}>{}</p>\n", *css_class ? " class=\"" : "",
                     css_class, *css_class ? "\"" : "", Escape(text));
}

std::string Signature(const std::string& text) {
  return "<span class=\"sig\">" + Escape(text) + "</span>";
}

/// A state's name, which must not break.
std::string State(const json& entry) {
  return "<span class=\"whole\">" + Escape(Spoken(TextAt(entry, "state"))) +
         "</span>";
}

std::string SlopeText(const json& slope) {
  if (!slope.is_object()) return "<span class=\"soft\">not known</span>";
  return fmt::format(
      "<span class=\"whole\">{}</span> <span class=\"soft "
      "whole\">[{} … {}]</span>",
      BytesOr(slope, "estimate"), BytesOr(slope, "lower"),
      BytesOr(slope, "upper"));
}

std::string UnitOf(const json& verdict) {
  std::string unit = TextAt(verdict, "unit/name");
  return unit.empty() ? "unit" : unit;
}

std::string ArmName(const ReportArm& arm) {
  if (!arm.arm.empty()) return arm.arm;
  std::string name = TextAt(arm.run.description, "arm");
  return name.empty() ? arm.run.run : name;
}

/// A list with two columns of facts; rows whose value is empty are left out.
class Facts {
 public:
  void Add(const std::string& name, const std::string& html) {
    if (html.empty()) return;
    rows_ += "<dt>" + Escape(name) + "</dt><dd>" + html + "</dd>\n";
  }
  std::string Html() const {
    return rows_.empty() ? "" : "<dl class=\"facts\">" + rows_ + "</dl>\n";
  }

 private:
  std::string rows_;
};

/// Every arm and service in one row.
std::string Overview(const std::vector<ReportArm>& arms) {
  if (arms.empty()) return Paragraph("There is no run in this report.");
  std::string unit = UnitOf(arms[0].verdict);
  HtmlTable table("Every run at a glance",
                  {"run", "verdict", "objects", "memory",
                   "memory per " + unit + " [interval]", "margin",
                   "smallest visible", Plural(unit)},
                  5, 7);
  for (const ReportArm& arm : arms)
    for (const json& service : At(arm.verdict, "services"))
      table.Add({"<strong>" + Escape(ArmName(arm)) + "</strong> " +
                     "<span class=\"site\">" +
                     Escape(TextAt(service, "service")) + "</span>",
                 Badge(TextAt(service, "verdict")),
                 Escape(Spoken(TextAt(service, "objects/verdict"))),
                 Escape(Spoken(TextAt(service, "memory/verdict"))),
                 SlopeText(At(service, "slope_bytes_per_unit")),
                 BytesOr(service, "margin/bytes_per_unit"),
                 BytesOr(service, "smallest_visible/bytes_per_unit"),
                 CountOr(service, "units")});
  if (table.empty())
    return Paragraph("No run of this report recorded a service.");
  return table.Html();
}

std::string Answers(const std::vector<ReportArm>& arms) {
  std::string html;
  for (const ReportArm& arm : arms)
    for (const json& service : At(arm.verdict, "services")) {
      std::string sentence = TextAt(service, "collection/sentence");
      if (sentence.empty()) continue;
      html += "<p class=\"answer\"><strong>" + Escape(ArmName(arm)) +
              "</strong> – " + Escape(sentence) + "</p>\n";
    }
  return html.empty() ? html
                      : "<h3>Do these cycles prevent collection?</h3>\n" + html;
}

/// Growth per unit, or the most at a time where nothing is kept.
std::string Rate(const json& entry, const char* when) {
  auto rate = NumberAt(entry, std::string("per_unit_") + when);
  auto most = NumberAt(entry, std::string("most_") + when);
  if (rate && (*rate != 0 || !most || *most == 0))
    return collector::Figure(*rate);
  return most ? (*most > 0 ? "≤ " : "") + Count(*most)
              : "<span class=\"soft\">not known</span>";
}

std::string ChangeBadge(const std::string& change) {
  const char* look = change == "removed" || change == "fewer" ? "good"
                     : change == "new" || change == "more"    ? "bad"
                                                              : "odd";
  return fmt::format("<span class=\"badge {}\">{}</span>", look,
                     Escape(change));
}

std::string ChangesTable(const json& objects, const std::string& unit) {
  auto make = [&unit](const std::string& caption) {
    return HtmlTable(caption,
                     {"change", "before", "after", "state", "signature"}, 1, 2);
  };
  HtmlTable shown = make("Cycles per " + unit +
                         "; ≤ is the most at a time, where none are kept");
  HtmlTable folded = make("The rest");
  for (const char* list : {"removed", "new", "remaining"})
    for (const json& entry : At(objects, list)) {
      bool telling =
          At(entry, "change") != "same" || At(entry, "watched") == true;
      HtmlTable& table = telling && shown.size() < kTopChanges ? shown : folded;
      table.Add({ChangeBadge(TextAt(entry, "change")), Rate(entry, "before"),
                 Rate(entry, "after"), State(entry),
                 Signature(TextAt(entry, "signature"))});
    }
  if (shown.empty() && folded.empty())
    return Paragraph("No cycles in either run.", "soft");
  std::string html =
      shown.empty() ? Paragraph("No signature changed.") : shown.Html();
  if (!folded.empty())
    html += Details(fmt::format("{} more signatures", folded.size()),
                    folded.Html());
  return html;
}

std::string FunctionsText(const json& comparison) {
  const json& functions = At(comparison, "functions_changed");
  if (!functions.is_array() || functions.empty())
    return Paragraph("No watched function differs.");
  std::string list;
  size_t shown = std::min<size_t>(functions.size(), 6);
  for (size_t i = 0; i < shown; ++i) {
    list += (i ? ", " : "") + std::string("<code>") +
            Escape(TextAt(functions[i], "function")) + "</code>";
    if (std::string change = TextAt(functions[i], "change");
        change != "changed")
      list += " (" + Escape(change) + ")";
  }
  if (functions.size() > shown)
    list += fmt::format(" and {} more", functions.size() - shown);
  std::string html = fmt::format(
      "<p>{} differ{}: {}.</p>\n",
      Units(static_cast<double>(functions.size()), "watched function"),
      functions.size() == 1 ? "s" : "", list);
  const json& packages = At(comparison, "packages_changed");
  if (packages.is_array() && !packages.empty()) {
    std::string versions;
    for (const json& package : packages) {
      auto version = [&package](const char* when) {
        std::string text = TextAt(package, when);
        return Escape(text.empty() ? "none" : text);
      };
      versions += (versions.empty() ? "" : ", ") +
                  Escape(TextAt(package, "package")) + " " + version("before") +
                  " → " + version("after");
    }
    html += "<p>Packages that differ: " + versions + ".</p>\n";
  }
  return html;
}

std::string Comparison(const json& comparison) {
  auto name = [&comparison](std::initializer_list<const char*> fields) {
    for (const char* field : fields)
      if (std::string text = TextAt(comparison, field); !text.empty())
        return Escape(text);
    return std::string("run");
  };
  std::string unit = UnitOf(comparison);
  std::string html = fmt::format(
      "<div class=\"card\"><h3>{} against {} {}</h3>\n",
      name({"patched_arm", "arm", "run"}), name({"base_arm", "base_run"}),
      Badge(TextAt(comparison, "outcome")));
  if (std::string reason = TextAt(comparison, "reason"); !reason.empty()) {
    reason[0] =
        static_cast<char>(std::toupper(static_cast<unsigned char>(reason[0])));
    html += Paragraph(reason + ".");
  }
  html += FunctionsText(comparison);
  Facts facts;
  for (const json& service : At(comparison, "services")) {
    std::string prefix = At(comparison, "services").size() > 1
                             ? TextAt(service, "service") + ", memory"
                             : std::string("memory");
    facts.Add(prefix + " per " + unit + " before",
              SlopeText(At(service, "base/slope_bytes_per_unit")));
    facts.Add(prefix + " per " + unit + " after",
              SlopeText(At(service, "slope_bytes_per_unit")));
    if (At(service, "slope_difference_bytes_per_unit").is_object())
      facts.Add("difference",
                SlopeText(At(service, "slope_difference_bytes_per_unit")));
  }
  return html + facts.Html() + ChangesTable(At(comparison, "objects"), unit) +
         "</div>\n";
}

std::string Comparisons(const json& comparisons) {
  if (!comparisons.is_array() || comparisons.empty()) return "";
  std::string html = "<h2 id=\"compare\">What the patches change</h2>\n";
  for (const json& comparison : comparisons) html += Comparison(comparison);
  return html;
}

std::string Sites(const json& cycle) {
  std::string html;
  const json& sites = At(cycle, "sites");
  if (!sites.is_array()) return html;
  for (size_t i = 0; i < std::min(sites.size(), kTopSites); ++i) {
    auto line = NumberAt(sites[i], "line");
    html += fmt::format("<span class=\"site\">{}:{} {} – {}, {}</span>",
                        Escape(ShortFile(TextAt(sites[i], "file"))),
                        line ? fmt::format("{:.0f}", *line) : "?",
                        Escape(TextAt(sites[i], "function")),
                        Escape(TextAt(sites[i], "role")),
                        CountOr(sites[i], "count"));
  }
  auto total = NumberAt(cycle, "sites_total");
  if (total && *total > kTopSites && sites.size() > kTopSites)
    html +=
        fmt::format("<span class=\"site\">and other lines, {} in all</span>",
                    Count(*total));
  return html;
}

std::string CyclesTable(const json& report) {
  std::vector<json> cycles = CyclesOfInterest(report);
  std::stable_sort(cycles.begin(), cycles.end(),
                   [](const json& a, const json& b) {
                     return NumberAt(a, "count").value_or(0) >
                            NumberAt(b, "count").value_or(0);
                   });
  if (cycles.empty())
    return Paragraph(At(report, "cycles").is_array()
                         ? "No cycles through the watched types."
                         : "This snapshot has no list of cycles.",
                     "soft");
  auto make = [](const std::string& caption) {
    return HtmlTable(caption,
                     {"count", "pinned", "floating", "in flight", "never",
                      "bytes", "signature and the source lines that made it"},
                     0, 5);
  };
  HtmlTable shown = make("Cycles by signature"), folded = make("The rest");
  for (const json& cycle : cycles) {
    HtmlTable& table = shown.size() < kTopCycles ? shown : folded;
    std::string holders;
    if (At(cycle, "held_by").is_array() && !At(cycle, "held_by").empty() &&
        NumberAt(cycle, "pinned").value_or(0) > 0)
      holders = "<span class=\"site\">held by " +
                Escape(TextAt(cycle, "held_by/0")) + "</span>";
    table.Add({CountOr(cycle, "count"), CountOr(cycle, "pinned"),
               CountOr(cycle, "floating"), CountOr(cycle, "in_flight"),
               CountOr(cycle, "never"), BytesOr(cycle, "bytes"),
               Signature(TextAt(cycle, "signature")) + Sites(cycle) + holders});
  }
  std::string html = shown.Html();
  if (!folded.empty())
    html += Details(fmt::format("{} more signatures", folded.size()),
                    folded.Html());
  return html;
}

std::string WatchedTable(const json& report) {
  const json& watched = At(report, "watched");
  if (!watched.is_array() || watched.empty())
    return Paragraph("No type was watched.", "soft");
  HtmlTable table("Watched types",
                  {"type", "alive", "pinned", "floating", "in flight", "never",
                   "an example is held by"},
                  1, 5);
  for (const json& type : watched) {
    std::string path;
    const json& steps = At(type, "example/path");
    if (steps.is_array())
      for (const json& step : steps)
        if (step.is_string())
          path += (path.empty() ? "" : " → ") + step.get<std::string>();
    table.Add({Signature(TextAt(type, "type")), CountOr(type, "alive"),
               CountOr(type, "pinned"), CountOr(type, "floating"),
               CountOr(type, "in_flight"), CountOr(type, "never"),
               path.empty() ? "" : Signature(path)});
  }
  return table.Html();
}

std::string TypesTable(const json& report) {
  const json& types = At(report, "heap/types");
  if (!types.is_array() || types.empty()) return "";
  std::vector<json> sorted(types.begin(), types.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const json& a, const json& b) {
                     return NumberAt(a, "bytes").value_or(0) >
                            NumberAt(b, "bytes").value_or(0);
                   });
  HtmlTable table(
      "The types with the most bytes",
      {"type", "objects", "bytes", "pinned", "floating", "in flight", "never"},
      1, 6);
  for (size_t i = 0; i < std::min(sorted.size(), kTopTypes); ++i)
    table.Add({Signature(TextAt(sorted[i], "type")),
               CountOr(sorted[i], "count"), BytesOr(sorted[i], "bytes"),
               CountOr(sorted[i], "pinned"), CountOr(sorted[i], "floating"),
               CountOr(sorted[i], "in_flight"), CountOr(sorted[i], "never")});
  return Details(fmt::format("The {} types with the most bytes, of {}",
                             table.size(), Count(double(sorted.size()))),
                 table.Html());
}

/// Numbers of a JSON array as "700, 10, 10".
std::string Numbers(const json& values) {
  std::string text;
  if (values.is_array())
    for (const json& value : values)
      if (value.is_number())
        text += (text.empty() ? "" : ", ") + Count(value.get<double>());
  return text;
}

std::string GarbageCollector(const json& report) {
  const json& gc = At(report, "gc");
  if (!gc.is_object()) return "";
  Facts facts;
  const json& enabled = At(gc, "enabled");
  if (enabled.is_boolean())
    facts.Add("cyclic collector", enabled == true ? "on" : "off");
  facts.Add("thresholds", Numbers(At(gc, "thresholds")));
  facts.Add("counts now", Numbers(At(gc, "counts")));
  const json& stats = At(gc, "stats");
  if (stats.is_array())
    for (size_t i = 0; i < stats.size(); ++i)
      facts.Add(fmt::format("generation {}", i),
                fmt::format("{} collections took {} objects, {} uncollectable",
                            CountOr(stats[i], "collections"),
                            CountOr(stats[i], "collected"),
                            CountOr(stats[i], "uncollectable")));
  facts.Add("long lived",
            fmt::format("{}, {} pending", CountOr(gc, "long_lived_total"),
                        CountOr(gc, "long_lived_pending")));
  const json& full = At(gc, "full_collection");
  if (At(full, "needs_survivors").is_number())
    facts.Add("next full collection needs",
              fmt::format("{} survivors and {} collections of the middle "
                          "generation; it frees {}",
                          CountOr(full, "needs_survivors"),
                          CountOr(full, "needs_gen1_collections"),
                          BytesOr(full, "frees_bytes")));
  else if (full.is_object())
    facts.Add("next full collection", "never by itself, the collector is off");
  if (At(full, "last_ms").is_number())
    facts.Add("past full collections",
              fmt::format("the last took {} ms, the longest {} ms, {} timed",
                          CountOr(full, "last_ms"), CountOr(full, "longest_ms"),
                          CountOr(full, "measured")));
  return "<h3>The collector</h3>\n" + facts.Html();
}

std::string MemoryParts(const json& report) {
  const json& memory = At(report, "memory");
  if (!memory.is_object()) return "";
  Facts facts;
  facts.Add("resident", BytesOr(memory, "rss"));
  facts.Add("anonymous", BytesOr(memory, "anon"));
  for (const BridgePart& part : BridgeParts(memory)) {
    std::string value = "<span class=\"soft\">not known</span>";
    if (part.bytes) value = Bytes(*part.bytes);
    if (part.share) value += fmt::format(" ({:.1f} %)", 100 * *part.share);
    if (!part.meaning.empty()) value += ": " + Escape(part.meaning);
    facts.Add(part.name, value);
  }
  std::string sum = BridgeSum(memory);
  return "<h3>Where its memory is</h3>\n" + facts.Html() +
         (sum.empty() ? "" : Paragraph(sum));
}

std::string CostTable(const ServiceRun& service, const std::string& unit) {
  if (service.snapshots.empty()) return "";
  HtmlTable table("What each snapshot cost",
                  {Plural(unit), "trigger", "wait for the GIL, ms", "pause, ms",
                   "child, ms", "pages copied", "peak of the child"},
                  2, 6);
  auto milliseconds = [](const json& report, const char* path) {
    auto value = NumberAt(report, path);
    return value ? collector::Figure(*value / 1000)
                 : std::string("<span class=\"soft\">not known</span>");
  };
  for (const SnapshotAtUnits& snapshot : service.snapshots) {
    const json& report = snapshot.report;
    if (!report.is_object()) {
      table.Add({Count(double(snapshot.units)), Escape(snapshot.trigger),
                 "<span class=\"soft\">no snapshot</span>", "", "", "", ""});
      continue;
    }
    table.Add({Count(double(snapshot.units)), Escape(snapshot.trigger),
               milliseconds(report, "taken/gil_wait_us"),
               milliseconds(report, "taken/pause_us"),
               CountOr(report, "taken/child_ms"),
               BytesOr(report, "taken/cow_bytes"),
               BytesOr(report, "taken/child_peak_bytes")});
  }
  return Details("What each snapshot cost the service", table.Html());
}

std::string Limits(const json& report) {
  const json& limits = At(report, "limits");
  if (!limits.is_array() || limits.empty()) return "";
  HtmlTable table("Figures that could not be had", {"figure", "why"}, 9, 9);
  for (const json& limit : limits)
    table.Add(
        {Signature(TextAt(limit, "field")), Escape(TextAt(limit, "reason"))});
  return Details(fmt::format("{} figures could not be had", table.size()),
                 table.Html());
}

std::string LastSnapshot(const ServiceRun& service, const std::string& unit) {
  const SnapshotAtUnits* last = nullptr;
  for (const SnapshotAtUnits& snapshot : service.snapshots)
    if (snapshot.report.is_object()) last = &snapshot;
  if (!last)
    return "<h3>Last snapshot</h3>\n" +
           Paragraph("This run has no readable snapshot.", "soft") +
           CostTable(service, unit);
  const json& report = last->report;
  std::string html =
      fmt::format("<h3>Last snapshot, after {}</h3>\n",
                  Escape(Units(static_cast<double>(last->units), unit)));
  html += fmt::format(
      "<p class=\"soft\">{} objects, {} tracked, {}; {} floating ({}){}.</p>\n",
      CountOr(report, "heap/objects"), CountOr(report, "heap/tracked"),
      BytesOr(report, "heap/bytes"), CountOr(report, "heap/floating_objects"),
      BytesOr(report, "heap/floating_bytes"),
      NumberAt(report, "heap/frozen_garbage").value_or(0) > 0
          ? "; " + CountOr(report, "heap/frozen_garbage") +
                " frozen ones are garbage that no collection takes"
          : "");
  return html + WatchedTable(report) + CyclesTable(report) +
         TypesTable(report) + GarbageCollector(report) + MemoryParts(report) +
         CostTable(service, unit) + Limits(report);
}

std::string GrowingTable(const json& service, const std::string& unit) {
  const json& growing = At(service, "objects/growing");
  const json& bounded = At(service, "objects/bounded");
  std::string html;
  if (growing.is_array() && !growing.empty()) {
    auto make = [&unit](const std::string& caption) {
      return HtmlTable(caption,
                       {"", "per " + unit, "state", "signature or type", "why"},
                       1, 1);
    };
    HtmlTable shown = make("What grew in every interval");
    HtmlTable folded = make("The rest");
    for (const json& entry : growing) {
      bool leaks = At(entry, "leaks") == true;
      (shown.size() < kTopCycles ? shown : folded)
          .Add({leaks ? "<span class=\"badge bad\">leaks</span>"
                      : "<span class=\"badge wait\">grows</span>",
                CountOr(entry, "per_unit"), State(entry),
                Signature(TextAt(entry, "signature")),
                Escape(TextAt(entry, "reason"))});
    }
    html += shown.Html();
    if (!folded.empty())
      html += Details(fmt::format("{} more", folded.size()), folded.Html());
  }
  if (bounded.is_array() && !bounded.empty()) {
    HtmlTable table("What floats and is taken in time",
                    {"at most, about", "taken in about", "signature"}, 0, 0);
    for (const json& entry : bounded)
      table.Add({CountOr(entry, "bound"),
                 Escape(Units(NumberAt(entry, "in_units").value_or(0), unit)),
                 Signature(TextAt(entry, "signature"))});
    html += table.Html();
  }
  return html;
}

std::string Evidence(const json& judged, const std::string& unit) {
  Facts facts;
  facts.Add("memory per " + unit,
            SlopeText(At(judged, "slope_bytes_per_unit")));
  facts.Add("memory per hour", SlopeText(At(judged, "slope_bytes_per_hour")));
  facts.Add("margin",
            fmt::format("{} per {} and {} per hour",
                        BytesOr(judged, "margin/bytes_per_unit"), Escape(unit),
                        BytesOr(judged, "margin/bytes_per_hour")));
  facts.Add("smallest visible",
            fmt::format("{} per {}, {} per hour",
                        BytesOr(judged, "smallest_visible/bytes_per_unit"),
                        Escape(unit),
                        BytesOr(judged, "smallest_visible/bytes_per_hour")));
  if (NumberAt(judged, "objects/explained_bytes_per_unit"))
    facts.Add("of it in objects",
              fmt::format("{} per {} pinned or never taken, {} the rest",
                          BytesOr(judged, "objects/explained_bytes_per_unit"),
                          Escape(unit),
                          BytesOr(judged, "unexplained_bytes_per_unit")));
  std::string needs;
  for (const json& need : At(judged, "needs"))
    needs += "<div>" + Escape(TextAt(need, "leg")) + ": " +
             Escape(TextAt(need, "text")) + "</div>";
  facts.Add("still needed", needs);
  std::string notes;
  for (const json& problem : At(judged, "problems"))
    if (problem.is_string())
      notes += "<div>" + Escape(problem.get<std::string>()) + "</div>";
  facts.Add("notes", notes);
  return facts.Html();
}

std::string RunSection(const ReportArm& arm, size_t index) {
  std::string unit = UnitOf(arm.verdict);
  std::string html =
      fmt::format("<h2 id=\"run{}\">{}</h2>\n", index, Escape(ArmName(arm)));
  if (arm.run.services.empty())
    html += Paragraph("This run recorded no service.", "soft");
  for (size_t i = 0; i < arm.run.services.size(); ++i) {
    const ServiceRun& service = arm.run.services[i];
    const json& judged = At(At(arm.verdict, "services"), std::to_string(i));
    html +=
        fmt::format("<div class=\"card\"><h3>{} {}</h3>\n",
                    Escape(service.service), Badge(TextAt(judged, "verdict")));
    html += Paragraph(TextAt(judged, "line"));
    html += Evidence(judged, unit) + "</div>\n";
    html += MemoryFigure(service, judged, unit,
                         fmt::format("memory-{}-{}", index, i));
    html += CyclesFigure(service, unit, fmt::format("cycles-{}-{}", index, i));
    html += GrowingTable(judged, unit);
    html += LastSnapshot(service, unit);
  }
  return html;
}

/// A value of run.json in one line.
std::string Plain(const json& value) {
  if (value.is_null()) return "";
  return Escape(value.is_string() ? value.get<std::string>() : value.dump());
}

std::string Versions(const ReportArm& arm) {
  const json& description = arm.run.description;
  Facts facts;
  std::string command = TextAt(description, "command");
  if (!command.empty())
    facts.Add("repeat with", "<code>" + Escape(command) + "</code>");
  facts.Add("recorded", Plain(At(description, "created")));
  facts.Add("unit of work", Plain(At(description, "unit/source")));
  facts.Add("plan", Plain(At(description, "plan")));
  facts.Add("host", Plain(At(description, "host")));
  for (const ServiceRun& service : arm.run.services)
    for (auto snapshot = service.snapshots.rbegin();
         snapshot != service.snapshots.rend(); ++snapshot) {
      if (!snapshot->report.is_object()) continue;
      facts.Add(service.service,
                "Python " + Plain(At(snapshot->report, "process/python")) +
                    ", " + Plain(At(snapshot->report, "process/executable")));
      const json& packages = At(snapshot->report, "code/packages");
      std::string list;
      if (packages.is_object())
        for (const auto& [name, version] : packages.items())
          list +=
              (list.empty() ? "" : ", ") + Escape(name) + " " + Plain(version);
      facts.Add("packages", list);
      break;
    }
  if (!arm.run.finished)
    facts.Add("end", "the run was cut short; this is what it recorded");
  return "<h3>" + Escape(ArmName(arm)) + "</h3>\n" + facts.Html();
}

constexpr char kMethod[] = R"html(<h2 id="method">How it was measured</h2>
<p><strong>Objects</strong> are counted, not sampled: each snapshot walks the
whole heap in a copy of the process. A type or signature leaks when what no
collection takes grew in every interval between at least ten snapshots (the
first two dropped), or when what is pinned grew in every interval by at least
0.02 objects or 20 bytes per unit, without slowing below 90 % of its first
half, over at least 2,500 units.</p>
<p><strong>Memory</strong> is the slope of anonymous memory: the first fifth of
the samples is dropped, the rest cut into eight blocks, a line goes through
their medians. The interval has a bound of 99 % on either side (t with 6 degrees
of freedom). A leak needs the whole and the last half above both margins; clean
needs two hours, 5,000 units, 90 % of the samples, the planned load, no restart
and time without load at the end.</p>
<p><strong>States</strong>: pinned is held by something that lives; floating is
garbage that waits for the collector; in flight is held by a running frame only;
never is the part of floating that no collection takes.</p>
)html";

}  // namespace

std::string HtmlReport(const std::vector<ReportArm>& arms,
                       const json& comparisons) {
  std::string title = "cyclescope report";
  if (arms.size() == 1) title += ": " + ArmName(arms[0]);
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
      "'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action "
      "'none'\">\n<meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light "
      "dark\">\n<title>{}</title>\n<style>{}</style></head>\n<body>\n",
      Escape(title), kStyle);
  html += kPatterns;
  html += "<header><h1>" + Escape(title) + "</h1>\n";
  std::string links;
  for (size_t i = 0; i < arms.size(); ++i)
    links +=
        fmt::format("<a href=\"#run{}\">{}</a>\n", i, Escape(ArmName(arms[i])));
  if (comparisons.is_array() && !comparisons.empty())
    links = "<a href=\"#compare\">What the patches change</a>\n" + links;
  html +=
      "<nav aria-label=\"Parts\">" + links +
      "<a href=\"#method\">How it was measured</a></nav></header>\n<main>\n";
  html += "<h2 id=\"verdict\">Verdict</h2>\n";
  html += Overview(arms) + Answers(arms);
  html += Comparisons(comparisons);
  for (size_t i = 0; i < arms.size(); ++i) html += RunSection(arms[i], i);
  html += kMethod;
  for (const ReportArm& arm : arms) html += Versions(arm);
  html +=
      "</main>\n<footer>Written by cyclescope. This page needs no network "
      "and no script.</footer>\n</body></html>\n";
  return html;
}

}  // namespace collector
