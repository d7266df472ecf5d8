#include "collector/verdict/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

namespace collector {
namespace {

using testing::ElementsAre;

struct Series {
  std::vector<double> x, y;
};

Series Make(size_t n, const std::function<double(size_t)>& value) {
  Series series;
  for (size_t i = 0; i < n; ++i) {
    series.x.push_back(static_cast<double>(i));
    series.y.push_back(value(i));
  }
  return series;
}

// The three series whose figures were computed with scipy 1.10.1.
Series SeriesA() {
  return Make(64, [](size_t i) { return 0.3 * i + 10 * std::sin(i); });
}
Series SeriesB() {
  return Make(
      64, [](size_t i) { return static_cast<double>(i / 7 + (37 * i) % 11); });
}
Series SeriesC() {
  uint64_t x = 12345;
  double y = 0;
  return Make(160, [&](size_t i) {
    x = (1103515245 * x + 12345) % (uint64_t{1} << 31);
    double e = static_cast<double>(x) / (uint64_t{1} << 31) - 0.5;
    // y_0 is 0: the first draw is used by nobody.
    if (i > 0) y = 0.9 * y + e;
    return y;
  });
}

/// The blocks of the golden figures lie at 0, B, 2B, ...
Slope BlockSlope(const Series& series) {
  Blocks blocks = MedianBlocks(series.x, series.y, kBlocks);
  double size = static_cast<double>(series.x.size() / kBlocks);
  for (size_t i = 0; i < kBlocks; ++i) blocks.x[i] = size * double(i);
  return SlopeOfBlocks(blocks);
}

TEST(StudentQuantile, MatchesTheTables) {
  EXPECT_NEAR(StudentQuantile(0.99, 6), 3.1426684, 1e-6);
  EXPECT_NEAR(StudentQuantile(0.975, 1), 12.7062047, 1e-6);
  EXPECT_NEAR(StudentQuantile(0.95, 4), 2.1318468, 1e-6);
  EXPECT_NEAR(StudentQuantile(0.8, 6), 0.9057033, 1e-6);
  EXPECT_NEAR(StudentQuantile(0.99, 1000), 2.3300827, 1e-5);
  EXPECT_NEAR(StudentQuantile(0.5, 7), 0, 1e-9);
  EXPECT_NEAR(StudentQuantile(0.01, 6), -StudentQuantile(0.99, 6), 1e-9);
}

TEST(Median, IsTheMiddleOrTheMeanOfTheTwoMiddleOnes) {
  EXPECT_EQ(Median({5}), 5);
  EXPECT_EQ(Median({9, 1, 5}), 5);
  EXPECT_EQ(Median({9, 1, 5, 7}), 6);
}

TEST(FitLine, GivesTheGoldenFigures) {
  Series a = SeriesA(), b = SeriesB(), c = SeriesC();
  EXPECT_NEAR(FitLine(a.x, a.y).slope, 0.275075147, 1e-9);
  EXPECT_NEAR(FitLine(a.x, a.y).standard_error, 0.0480977553, 1e-9);
  EXPECT_NEAR(FitLine(b.x, b.y).slope, 0.15382326, 1e-8);
  EXPECT_NEAR(FitLine(b.x, b.y).standard_error, 0.0219742279, 1e-9);
  EXPECT_NEAR(FitLine(c.x, c.y).slope, 0.00137124287, 1e-10);
  EXPECT_NEAR(FitLine(c.x, c.y).standard_error, 0.000985046928, 1e-11);
}

TEST(TheilSenSlope, GivesTheGoldenFigures) {
  Series a = SeriesA(), b = SeriesB(), c = SeriesC();
  EXPECT_NEAR(TheilSenSlope(a.x, a.y), 0.283609337, 1e-9);
  EXPECT_NEAR(TheilSenSlope(b.x, b.y), 0.16, 1e-12);
  EXPECT_NEAR(TheilSenSlope(c.x, c.y), 0.000699476091, 1e-12);
}

TEST(SlopeOfBlocks, GivesTheGoldenFigures) {
  Slope a = BlockSlope(SeriesA());
  EXPECT_NEAR(a.estimate, 0.261689003, 1e-9);
  EXPECT_NEAR(a.standard_error, 0.0584540981, 1e-9);
  EXPECT_NEAR(a.lower, 0.0779871562, 1e-8);
  EXPECT_NEAR(a.upper, 0.445390851, 1e-8);
  Slope b = BlockSlope(SeriesB());
  EXPECT_NEAR(b.estimate, 0.151785714, 1e-9);
  EXPECT_NEAR(b.standard_error, 0.0081506333, 1e-9);
  EXPECT_NEAR(b.lower, 0.126170977, 1e-8);
  EXPECT_NEAR(b.upper, 0.177400452, 1e-8);
  Slope c = BlockSlope(SeriesC());
  EXPECT_NEAR(c.estimate, 0.00127712412, 1e-10);
  EXPECT_NEAR(c.standard_error, 0.0029858488, 1e-9);
}

TEST(MedianBlocks, AreTakenFromTheEnd) {
  Series series = Make(11, [](size_t i) { return double(i); });
  Blocks blocks = MedianBlocks(series.x, series.y, 3);
  EXPECT_THAT(blocks.y, ElementsAre(3, 6, 9));
  EXPECT_TRUE(MedianBlocks({1, 2}, {1, 2}, 3).x.empty());
}

// Oracle: moving or scaling a series moves or scales its slope and interval,
// and a line without noise is found exactly.
TEST(SlopeOfBlocks, FollowsShiftAndScaleOnRandomSeries) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::normal_distribution<double> noise(0, 3);
    Series series = Make(80 + seed, [&](size_t i) {
      return 0.02 * static_cast<double>(i) + noise(random);
    });
    Series moved = series;
    for (double& y : moved.y) y = 5 * y + 1000;
    Slope before = SlopeOfBlocks(MedianBlocks(series.x, series.y, kBlocks));
    Slope after = SlopeOfBlocks(MedianBlocks(moved.x, moved.y, kBlocks));
    EXPECT_NEAR(after.estimate, 5 * before.estimate, 1e-9);
    EXPECT_NEAR(after.lower, 5 * before.lower, 1e-9);
    EXPECT_NEAR(after.theil_sen, 5 * before.theil_sen, 1e-9);
    EXPECT_LE(before.lower, before.estimate);
    EXPECT_LE(before.estimate, before.upper);

    double slope = static_cast<double>(seed) - 150;
    Series line = Make(100, [&](size_t i) { return 7 + slope * double(i); });
    Slope exact = SlopeOfBlocks(MedianBlocks(line.x, line.y, kBlocks));
    EXPECT_NEAR(exact.estimate, slope, 1e-9);
    EXPECT_NEAR(exact.standard_error, 0, 1e-9);
    EXPECT_NEAR(exact.theil_sen, slope, 1e-9);
  }
}

// Oracle: the definition, on every pair.
TEST(TheilSenSlope, IsTheMedianOfAllPairsOnRandomSeries) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::uniform_int_distribution<int> small(0, 9);
    Series series;
    for (int i = 0; i < 12; ++i) {
      series.x.push_back(small(random));
      series.y.push_back(small(random));
    }
    std::vector<double> slopes;
    for (size_t i = 0; i < 12; ++i)
      for (size_t j = 0; j < 12; ++j)
        if (series.x[j] > series.x[i])
          slopes.push_back((series.y[j] - series.y[i]) /
                           (series.x[j] - series.x[i]));
    std::sort(slopes.begin(), slopes.end());
    if (slopes.empty()) continue;
    double middle =
        (slopes[(slopes.size() - 1) / 2] + slopes[slopes.size() / 2]) / 2;
    EXPECT_NEAR(TheilSenSlope(series.x, series.y), middle, 1e-12);
  }
}

TEST(TheilSenSlope, IsZeroWhereXDoesNotMove) {
  EXPECT_EQ(TheilSenSlope({3, 3, 3}, {1, 2, 3}), 0);
  EXPECT_EQ(FitLine({3, 3, 3}, {1, 2, 3}).slope, 0);
}

// A coarse repetition of the simulation that the rule was chosen by: samples
// every 5 s, the first fifth cut, margin 5 MiB/h, 99 %.
class Simulation : public testing::Test {
 protected:
  static constexpr double kMargin = 5;  // MiB per hour.
  struct Shares {
    double leak = 0, clean = 0;
  };

  /// Wander that keeps a share `rho` of itself per sample, sd 5 MiB.
  static std::vector<double> Wander(size_t n, double rho,
                                    std::mt19937_64& random) {
    std::normal_distribution<double> step(0, 5 * std::sqrt(1 - rho * rho));
    std::vector<double> y(n);
    y[0] = std::normal_distribution<double>(0, 5)(random);
    for (size_t i = 1; i < n; ++i) y[i] = rho * y[i - 1] + step(random);
    return y;
  }

  static Shares Run(
      double hours, double leak_per_hour,
      const std::function<std::vector<double>(size_t, std::mt19937_64&)>&
          noise) {
    constexpr int kRepeats = 150;
    Shares shares;
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      std::mt19937_64 random(static_cast<uint64_t>(repeat) + 1);
      auto n = static_cast<size_t>(hours * 720);
      std::vector<double> x, y, base = noise(n, random);
      for (size_t i = n / 5; i < n; ++i) {
        x.push_back(static_cast<double>(i) / 720);
        y.push_back(base[i] + leak_per_hour * x.back());
      }
      auto half = static_cast<std::ptrdiff_t>(x.size() / 2);
      Growth growth = JudgeGrowth(
          SlopeOfBlocks(MedianBlocks(x, y, kBlocks)),
          SlopeOfBlocks(MedianBlocks({x.begin() + half, x.end()},
                                     {y.begin() + half, y.end()}, kTailBlocks)),
          kMargin);
      shares.leak += (growth == Growth::kLeak) / double(kRepeats);
      shares.clean += (growth == Growth::kClean) / double(kRepeats);
    }
    return shares;
  }

  static std::vector<double> FastWander(size_t n, std::mt19937_64& random) {
    return Wander(n, 0.95, random);
  }
  static std::vector<double> SlowWander(size_t n, std::mt19937_64& random) {
    return Wander(n, 0.995, random);
  }
  static std::vector<double> WarmUp(size_t n, std::mt19937_64& random) {
    std::vector<double> y = Wander(n, 0.95, random);
    for (size_t i = 0; i < n; ++i)
      y[i] += 60 * (1 - std::exp(-static_cast<double>(i) / 240));
    return y;
  }
  static std::vector<double> Sawtooth(size_t n, std::mt19937_64& random) {
    std::vector<double> y(n);
    double level = 0;
    std::uniform_real_distribution<double> tooth(90, 150);
    double length = tooth(random);
    for (size_t i = 0; i < n; ++i) {
      level += 20 / length;
      if (level > 20) {
        level = 0;
        length = tooth(random);
      }
      y[i] = level;
    }
    return y;
  }
};

TEST_F(Simulation, RaisesNoFalseAlarmFromTwoHoursOn) {
  for (double hours : {2.0, 3.0, 6.0})
    for (auto* noise : {&FastWander, &SlowWander, &WarmUp, &Sawtooth})
      EXPECT_LE(Run(hours, 0, *noise).leak, 0.02) << hours << " h";
}

TEST_F(Simulation, FindsALeakOfTenMarginsInTwoHours) {
  for (auto* noise : {&FastWander, &SlowWander, &WarmUp, &Sawtooth})
    EXPECT_GE(Run(2, 50, *noise).leak, 0.9);
}

TEST_F(Simulation, CallsQuietSeriesCleanInSixHours) {
  for (auto* noise : {&FastWander, &SlowWander, &WarmUp, &Sawtooth})
    EXPECT_GE(Run(6, 0, *noise).clean, 0.85);
}

TEST_F(Simulation, SeldomCallsALeakCleanFromTwoHoursOn) {
  for (auto* noise : {&FastWander, &SlowWander, &WarmUp, &Sawtooth})
    EXPECT_LE(Run(2, 10, *noise).clean, 0.07);
}

}  // namespace
}  // namespace collector
