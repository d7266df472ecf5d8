#pragma once

#include <cstddef>
#include <vector>

namespace collector {

/// The value below which a share `p` of Student's t distribution with `df`
/// degrees of freedom lies; 0 < p < 1, df >= 1. Error below 1e-7.
double StudentQuantile(double p, int df);

/// The middle value, or the mean of the two middle ones. `values` must not be
/// empty.
double Median(std::vector<double> values);

/// A straight line through points by least squares.
struct Line {
  double slope = 0;
  double intercept = 0;
  /// Of the slope; 0 with two points.
  double standard_error = 0;
  int degrees_of_freedom = 0;
};

/// Ordinary least squares. Needs two points or more with different x; a slope
/// of 0 with the mean as intercept otherwise.
Line FitLine(const std::vector<double>& x, const std::vector<double>& y);

/// Median of the slopes through all pairs of points with different x; 0 if
/// there is none. Sen, "Estimates of the regression coefficient based on
/// Kendall's tau", 1968. O(n^2 log n).
double TheilSenSlope(const std::vector<double>& x,
                     const std::vector<double>& y);

/// Medians of x and of y over equal blocks of consecutive points.
struct Blocks {
  std::vector<double> x;
  std::vector<double> y;
};

/// Cuts the points into `count` blocks of equal size, taken from the end: what
/// does not divide is dropped at the beginning. Empty if there are fewer points
/// than blocks.
Blocks MedianBlocks(const std::vector<double>& x, const std::vector<double>& y,
                    size_t count);

/// A slope with its interval: `lower` and `upper` are each a one-sided bound
/// at 99 %.
struct Slope {
  double estimate = 0;
  double lower = 0;
  double upper = 0;
  double standard_error = 0;
  int degrees_of_freedom = 0;
  double theil_sen = 0;
  double intercept = 0;
};

/// The slope through the block medians; needs three blocks or more.
Slope SlopeOfBlocks(const Blocks& blocks);

/// The smallest true slope that is found in 80 % of such runs: the margin plus
/// (t.99 + t.80) standard errors.
double SmallestVisible(const Slope& slope, double margin);

enum class Growth { kLeak, kClean, kUnclear };

/// The rule on two slopes, the whole and its last half: kLeak if both lower
/// bounds exceed the margin and least squares and Theil-Sen agree within half;
/// kClean if the upper bound of either stays below it; kUnclear otherwise.
Growth JudgeGrowth(const Slope& whole, const Slope& tail, double margin);

/// Blocks of the whole and of its last half.
inline constexpr size_t kBlocks = 8;
inline constexpr size_t kTailBlocks = 6;
/// The share of the samples that is dropped as warm-up.
inline constexpr double kWarmUpShare = 0.2;
/// The level of each one-sided bound: five services together stay at 5 %.
inline constexpr double kConfidence = 0.99;

}  // namespace collector
