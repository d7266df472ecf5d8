#pragma once

// Runs made by hand: whole `cyclescope.snapshot/1` reports with chosen counts,
// memory with a chosen slope and noise. Deterministic for a seed.

#include <cmath>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "collector/verdict/run_facts.h"

namespace collector {

inline constexpr char kBrokerCycle[] =
    "Broker → dict → ContentException → traceback → "
    "frame(dr.py:run_components) → Broker";

struct StateCounts {
  int64_t pinned = 0;
  int64_t floating = 0;
  int64_t in_flight = 0;
  int64_t never = 0;  // Part of floating.
  int64_t all() const { return pinned + floating + in_flight; }
};

inline nlohmann::json SyntheticType(const std::string& type,
                                    const StateCounts& counts,
                                    int64_t bytes_each = 1000) {
  return {{"type", type},
          {"count", counts.all()},
          {"bytes", counts.all() * bytes_each},
          {"pinned", counts.pinned},
          {"pinned_bytes", counts.pinned * bytes_each},
          {"floating", counts.floating},
          {"in_flight", counts.in_flight},
          {"never", counts.never},
          {"retained", nullptr},
          {"generations", {0, 0, counts.all()}}};
}

inline nlohmann::json SyntheticCycle(const std::string& signature,
                                     const StateCounts& counts,
                                     int64_t bytes_each = 1000) {
  return {{"id", "1f3a9c02"},
          {"signature", signature},
          {"count", counts.all()},
          {"closures", counts.all()},
          {"objects", counts.all() * 5},
          {"bytes", counts.all() * bytes_each},
          {"retained", nullptr},
          {"pinned", counts.pinned},
          {"floating", counts.floating},
          {"in_flight", counts.in_flight},
          {"never", counts.never},
          {"sites",
           {{{"file", "insights/core/dr.py"},
             {"line", 1034},
             {"function", "run_components"},
             {"role", "raised"},
             {"count", counts.all()}}}},
          {"sites_total", counts.all()},
          {"example",
           {{{"type", "insights.core.dr.Broker"}, {"edge", ".exceptions"}}}},
          {"held_by", counts.pinned ? nlohmann::json{"module cache → list"}
                                    : nlohmann::json::array()}};
}

/// Every top-level key is there; what is not known is null with its reason.
inline nlohmann::json SyntheticSnapshot(
    const std::vector<nlohmann::json>& types,
    const std::vector<nlohmann::json>& cycles, bool collector_on = true,
    const std::string& code_hash = "5d0c") {
  int64_t objects = 0, bytes = 0, floating = 0, floating_bytes = 0;
  for (const auto& type : types) {
    int64_t count = type["count"], size = type["bytes"];
    int64_t waiting = type["floating"];
    objects += count;
    bytes += size;
    floating += waiting;
    if (count) floating_bytes += size / count * waiting;
  }
  nlohmann::json watched = nlohmann::json::array();
  for (const auto& type : types)
    if (type["type"] == "insights.core.dr.Broker")
      watched.push_back(
          {{"type", type["type"]},
           {"alive", type["count"]},
           {"pinned", type["pinned"]},
           {"floating", type["floating"]},
           {"in_flight", type["in_flight"]},
           {"never", type["never"]},
           {"example", {{"state", "pinned"}, {"path", {"module cache"}}}}});
  return {
      {"schema", "cyclescope.snapshot/1"},
      {"process",
       {{"pid", 4711},
        {"pid_in_namespace", 1},
        {"started", "2026-11-24T08:00:00Z"},
        {"executable", "/usr/bin/python3.11"},
        {"python", "3.11.2"},
        {"build", "release"},
        {"container", nullptr}}},
      {"code",
       {{"packages", {{"insights-core", "3.7.2"}}},
        {"functions",
         {{{"function", "insights.core.dr.run_components"},
           {"file", "insights/core/dr.py"},
           {"hash", code_hash}},
          {{"function", "insights.core.dr.Broker.__init__"},
           {"file", "insights/core/dr.py"},
           {"hash", "77aa"}}}}}},
      {"taken",
       {{"at", "2026-11-24T09:00:00Z"},
        {"trigger", "request"},
        {"gil_wait_us", 120},
        {"pause_us", 7200},
        {"child_ms", 410},
        {"child_peak_bytes", 30'000'000},
        {"cow_bytes", 2'000'000},
        {"mallinfo_ms", 3}}},
      {"heap",
       {{"objects", objects + 100'000},
        {"tracked", objects + 50'000},
        {"bytes", bytes + 60'000'000},
        {"floating_objects", floating},
        {"floating_bytes", floating_bytes},
        {"frozen_garbage", 0},
        {"accounted_share", 0.991},
        {"types", types}}},
      {"gc",
       {{"enabled", collector_on},
        {"thresholds", {700, 10, 10}},
        {"counts", {100, 5, 3}},
        {"stats",
         {{{"collections", 100}, {"collected", 5000}, {"uncollectable", 0}},
          {{"collections", 9}, {"collected", 400}, {"uncollectable", 0}},
          {{"collections", 2}, {"collected", 100}, {"uncollectable", 0}}}},
        {"long_lived_total", 200'000},
        {"long_lived_pending", 1000},
        {"frozen", 0},
        {"full_collection",
         {{"needs_survivors", 49'000},
          {"needs_gen1_collections", 7},
          {"frees_bytes", floating_bytes}}}}},
      {"memory",
       {{"rss", 90'000'000},
        {"anon", 70'000'000},
        {"live", bytes + 60'000'000 - floating_bytes},
        {"floating", floating_bytes},
        {"pymalloc_free", 1'000'000},
        {"malloc_used", nullptr},
        {"malloc_free", nullptr},
        {"file", 20'000'000},
        {"stacks", 300'000},
        {"unexplained", 500'000}}},
      {"watched", watched},
      {"cycles", cycles},
      {"limits",
       {{{"field", "memory.malloc_used"}, {"reason", "musl has no mallinfo2"}},
        {{"field", "memory.malloc_free"},
         {"reason", "musl has no mallinfo2"}}}}};
}

struct SyntheticPlan {
  int64_t units = 200;
  int snapshots = 11;  // At equal unit counts, from 0 to `units`.
  double hours = 0.02;
  double sample_seconds = 5;
  double settle_minutes = 0;
  double bytes_per_unit = 0;
  double noise_bytes = 0;  // Standard deviation, independent.
  double start_bytes = 100e6;
  bool collector_on = true;
  uint64_t seed = 7;
  std::string code_hash = "5d0c";
  std::string arm = "before";
  /// Counts of Broker and of its cycle in the snapshot at `units`.
  std::function<StateCounts(int64_t units)> brokers = [](int64_t) {
    return StateCounts{};
  };
};

inline RunFacts SyntheticRun(const SyntheticPlan& plan) {
  RunFacts run;
  run.run = "run-" + plan.arm;
  run.finished = true;
  run.description = {
      {"schema", "cyclescope.run/1"},
      {"created", "2026-11-24T08:00:00Z"},
      {"unit", {{"name", "archive"}, {"source", "committed offset"}}},
      {"plan",
       {{"units", plan.units},
        {"rate_per_second", nullptr},
        {"seed", 1},
        {"snapshots", plan.snapshots}}},
      {"arm", plan.arm},
      {"command", "cyclescope demo --archives " + std::to_string(plan.units)},
      {"host", {{"kernel", "6.1"}}}};
  ServiceRun service;
  service.service = "rules-processing";
  service.memory_source = "cgroup memory.stat anon";
  const auto load_ms = static_cast<int64_t>(plan.hours * 3600e3);
  const auto settle_ms = static_cast<int64_t>(plan.settle_minutes * 60e3);
  const auto step = static_cast<int64_t>(plan.sample_seconds * 1000);
  std::mt19937_64 random(plan.seed);
  std::normal_distribution<double> noise(0, 1);
  for (int64_t time = 0; time <= load_ms + settle_ms; time += step) {
    double share = std::min(1.0, double(time) / double(load_ms));
    double units = std::floor(share * double(plan.units));
    service.units.push_back({time, units});
    service.anon.push_back({time, plan.start_bytes +
                                      plan.bytes_per_unit * units +
                                      plan.noise_bytes * noise(random)});
  }
  service.events = {{0, "load_started", "200 archives"},
                    {load_ms, "load_done", "all archives sent"},
                    {load_ms + settle_ms, "finished", "as planned"}};
  for (int i = 0; i < plan.snapshots; ++i) {
    int64_t units =
        plan.snapshots > 1 ? plan.units * i / (plan.snapshots - 1) : plan.units;
    StateCounts counts = plan.brokers(units);
    std::vector<nlohmann::json> cycles;
    if (counts.all()) cycles.push_back(SyntheticCycle(kBrokerCycle, counts));
    nlohmann::json report =
        SyntheticSnapshot({SyntheticType("insights.core.dr.Broker", counts),
                           SyntheticType("dict", {.pinned = 40'000})},
                          cycles, plan.collector_on, plan.code_hash);
    report["gc"]["stats"][0]["collected"] = 5000 + 20 * units;
    report["gc"]["stats"][0]["collections"] = 100 + 11 * units / 10;
    report["gc"]["stats"][1]["collections"] = 9 + units / 10;
    report["gc"]["long_lived_pending"] = 1000 + 50 * units;
    service.snapshots.push_back(
        {.elapsed_ms =
             plan.snapshots > 1 ? load_ms * i / (plan.snapshots - 1) : load_ms,
         .units = units,
         .trigger = i == 0                    ? "start"
                    : i + 1 == plan.snapshots ? "end"
                                              : "tenth",
         .report = report,
         .problem = ""});
  }
  run.services.push_back(std::move(service));
  return run;
}

}  // namespace collector
