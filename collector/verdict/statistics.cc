// Slopes that noise cannot fake. A significance test on thousands of samples
// calls slow wander and warm-up a leak in up to every second leak-free run
// (simulated), because neighbouring samples are not independent. So the samples
// are cut into eight big blocks, each block gives one median, a line goes
// through the eight, and its interval is held against a margin instead of 0.

#include "collector/verdict/statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

namespace collector {
namespace {

/// The share of Student's t below `t`: closed sums for whole degrees of
/// freedom. Abramowitz and Stegun, 26.7.3 and 26.7.4.
double StudentShare(double t, int df) {
  double theta = std::atan(t / std::sqrt(df));
  double cos2 = std::cos(theta) * std::cos(theta);
  double sum = 0;
  if (df % 2 == 0) {
    double term = 1;
    for (int k = 0; k <= df - 2; k += 2) {
      if (k > 0) term *= cos2 * (k - 1) / k;
      sum += term;
    }
    return 0.5 + 0.5 * std::sin(theta) * sum;
  }
  double term = std::cos(theta);
  for (int k = 1; k <= df - 2; k += 2) {
    if (k > 1) term *= cos2 * (k - 1) / k;
    sum += term;
  }
  return 0.5 + (theta + std::sin(theta) * sum) / std::numbers::pi;
}

}  // namespace

double StudentQuantile(double p, int df) {
  assert(p > 0 && p < 1 && df >= 1);
  double low = -1, high = 1;
  while (StudentShare(low, df) > p) low *= 2;
  while (StudentShare(high, df) < p) high *= 2;
  for (int step = 0; step < 200 && high - low > 1e-12 * (1 + std::abs(low));
       ++step) {
    double middle = (low + high) / 2;
    (StudentShare(middle, df) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

double Median(std::vector<double> values) {
  assert(!values.empty());
  size_t half = values.size() / 2;
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(half);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

Line FitLine(const std::vector<double>& x, const std::vector<double>& y) {
  assert(x.size() == y.size());
  size_t n = x.size();
  Line line;
  if (n == 0) return line;
  double mean_x = 0, mean_y = 0;
  for (size_t i = 0; i < n; ++i) {
    mean_x += x[i] / n;
    mean_y += y[i] / n;
  }
  double xx = 0, xy = 0;
  for (size_t i = 0; i < n; ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  line.slope = xx > 0 ? xy / xx : 0;
  line.intercept = mean_y - line.slope * mean_x;
  line.degrees_of_freedom = n > 2 ? static_cast<int>(n) - 2 : 0;
  if (xx <= 0 || n < 3) return line;
  double residual = 0;
  for (size_t i = 0; i < n; ++i) {
    double off = y[i] - line.intercept - line.slope * x[i];
    residual += off * off;
  }
  line.standard_error = std::sqrt(residual / line.degrees_of_freedom / xx);
  return line;
}

double TheilSenSlope(const std::vector<double>& x,
                     const std::vector<double>& y) {
  assert(x.size() == y.size());
  std::vector<double> slopes;
  for (size_t i = 0; i < x.size(); ++i)
    for (size_t j = i + 1; j < x.size(); ++j)
      if (x[i] != x[j]) slopes.push_back((y[j] - y[i]) / (x[j] - x[i]));
  return slopes.empty() ? 0 : Median(std::move(slopes));
}

Blocks MedianBlocks(const std::vector<double>& x, const std::vector<double>& y,
                    size_t count) {
  assert(x.size() == y.size() && count > 0);
  Blocks blocks;
  size_t size = x.size() / count;
  if (size == 0) return blocks;
  auto part = [size](const std::vector<double>& values, size_t from) {
    auto begin = values.begin() + static_cast<std::ptrdiff_t>(from);
    return std::vector<double>(begin,
                               begin + static_cast<std::ptrdiff_t>(size));
  };
  for (size_t from = x.size() - size * count; from < x.size(); from += size) {
    blocks.x.push_back(Median(part(x, from)));
    blocks.y.push_back(Median(part(y, from)));
  }
  return blocks;
}

Slope SlopeOfBlocks(const Blocks& blocks) {
  assert(blocks.x.size() >= 3);
  Line line = FitLine(blocks.x, blocks.y);
  double reach = StudentQuantile(kConfidence, line.degrees_of_freedom) *
                 line.standard_error;
  return {.estimate = line.slope,
          .lower = line.slope - reach,
          .upper = line.slope + reach,
          .standard_error = line.standard_error,
          .degrees_of_freedom = line.degrees_of_freedom,
          .theil_sen = TheilSenSlope(blocks.x, blocks.y),
          .intercept = line.intercept};
}

double SmallestVisible(const Slope& slope, double margin) {
  return margin + (StudentQuantile(kConfidence, slope.degrees_of_freedom) +
                   StudentQuantile(0.8, slope.degrees_of_freedom)) *
                      slope.standard_error;
}

Growth JudgeGrowth(const Slope& whole, const Slope& tail, double margin) {
  if (whole.lower > margin && tail.lower > margin) {
    bool agree = std::abs(whole.theil_sen - whole.estimate) <=
                 0.5 * std::abs(whole.estimate);
    return agree ? Growth::kLeak : Growth::kUnclear;
  }
  if (whole.upper < margin || tail.upper < margin) return Growth::kClean;
  return Growth::kUnclear;
}

}  // namespace collector
