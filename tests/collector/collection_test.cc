// Oracle: the collector's own rule, played through. What is predicted from
// snapshots on the way must come.

#include "collector/verdict/collection.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/collector/synthetic_run.h"

namespace collector {
namespace {

using testing::HasSubstr;

/// gc_collect_generations (Modules/gcmodule.c, 3.11) over objects that never
/// go, in a service that makes as many in every unit.
class PlayedCollector {
 public:
  explicit PlayedCollector(std::mt19937& random)
      : thresholds_{Between(random, 100, 3000), Between(random, 1, 15),
                    Between(random, 0, 15)},
        total_(Between(random, 1000, 200'000)),
        made_per_unit_(Between(random, 50, 30'000)),
        surviving_percent_(Between(random, 3, 100)) {}

  int64_t full_collections() const { return collections_[2]; }
  double units_per_gen1_collection() const {
    return double(thresholds_[0] + 1) * double(thresholds_[1] + 2) /
           double(made_per_unit_);
  }

  void Work(int64_t units) {
    for (int64_t i = 0; i < units * made_per_unit_; ++i) {
      made_ = (made_ + 1) % 100;
      if (made_ < surviving_percent_) ++young_;
      if (++counts_[0] > thresholds_[0]) Turn();
    }
  }

  nlohmann::json Report() const {
    nlohmann::json report = SyntheticSnapshot({}, {});
    nlohmann::json& gc = report["gc"];
    gc["thresholds"] = thresholds_;
    gc["counts"] = counts_;
    for (int i = 0; i < 3; ++i) gc["stats"][i]["collections"] = collections_[i];
    gc["long_lived_total"] = total_;
    gc["long_lived_pending"] = pending_;
    gc["full_collection"]["needs_survivors"] =
        std::max<int64_t>(0, total_ / 4 - pending_);
    gc["full_collection"]["needs_gen1_collections"] =
        std::max<int64_t>(0, thresholds_[2] + 1 - counts_[2]);
    return report;
  }

 private:
  static int64_t Between(std::mt19937& random, int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  }

  void Turn() {
    int generation = 0;
    if (counts_[1] > thresholds_[1]) generation = 1;
    if (counts_[2] > thresholds_[2] && pending_ >= total_ / 4) generation = 2;
    ++collections_[generation];
    for (int i = 0; i <= generation; ++i) counts_[i] = 0;
    if (generation < 2) ++counts_[generation + 1];
    if (generation == 0) {
      middle_ += young_;
    } else if (generation == 1) {
      pending_ += middle_ + young_;
    } else {
      total_ += pending_ + middle_ + young_;
      pending_ = 0;
    }
    if (generation > 0) middle_ = 0;
    young_ = 0;
  }

  std::vector<int64_t> thresholds_;
  int64_t total_;
  int64_t made_per_unit_;
  int64_t surviving_percent_;
  std::vector<int64_t> counts_{0, 0, 0};
  std::vector<int64_t> collections_{0, 0, 0};
  int64_t made_ = 0;
  int64_t young_ = 0;
  int64_t middle_ = 0;
  int64_t pending_ = 0;
};

TEST(NextFullCollection, ComesWhenTheRuleOfTheCollectorSaysSo) {
  int predicted = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    PlayedCollector played(random);
    int64_t step =
        1 + int64_t(played.units_per_gen1_collection() * double(random() % 4));
    ServiceRun service;
    int64_t units = 0;
    constexpr int kSnapshots = 6;
    for (int i = 0; i < kSnapshots; ++i) {
      service.snapshots.push_back(
          {units * 250, units, "tenth", played.Report(), ""});
      if (i + 1 == kSnapshots) break;
      played.Work(step);
      units += step;
    }
    FullCollection next = NextFullCollection(service);
    if (!next.in_units) {
      EXPECT_THAT(next.reason, HasSubstr("between the snapshots"));
      continue;
    }
    ++predicted;
    EXPECT_NEAR(*next.in_seconds, *next.in_units / 4, 1e-6);
    int64_t before = played.full_collections();
    int64_t came = 0;
    for (; played.full_collections() == before; ++came) played.Work(1);
    // Survivors come in bursts, one for each collection of the middle
    // generation; the pace is counted in whole collections.
    double slack = 1 + played.units_per_gen1_collection();
    EXPECT_NEAR(*next.in_units, double(came), slack + 0.05 * double(came));
  }
  EXPECT_GT(predicted, 200);
}

}  // namespace
}  // namespace collector
