#include "collector/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "collector/report/html.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

constexpr double kWidth = 960, kHeight = 320;
constexpr double kLeft = 74, kRight = 16, kTop = 40, kBottom = 48;

/// A number of a tick: no more digits than its step needs.
std::string TickText(double value, double step) {
  int digits =
      std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 6);
  if (digits == 0) return Count(value);
  return fmt::format("{:.{}f}", value, digits);
}

}  // namespace

std::vector<double> NiceTicks(double low, double high, int count) {
  double rough = (high - low) / std::max(1, count);
  if (!(rough > 0)) return {low};
  double power = std::pow(10, std::floor(std::log10(rough)));
  double step = power * 10;
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough * 0.999) {
      step = factor * power;
      break;
    }
  std::vector<double> ticks;
  double first = std::ceil(low / step - 1e-9);
  for (double i = first; i * step <= high + step * 1e-9; ++i)
    ticks.push_back(i * step + 0.0);
  return ticks;
}

std::vector<XY> Thin(const std::vector<XY>& points, size_t buckets) {
  if (points.size() <= 2 * buckets || buckets == 0) return points;
  double from = points.front().first, length = points.back().first - from;
  std::vector<XY> thin;
  size_t at = 0;
  for (size_t bucket = 0; bucket < buckets; ++bucket) {
    double end = bucket + 1 == buckets
                     ? INFINITY
                     : from + length * static_cast<double>(bucket + 1) /
                                  static_cast<double>(buckets);
    size_t low = at, high = at, stop = at;
    while (stop < points.size() && points[stop].first < end) {
      if (points[stop].second < points[low].second) low = stop;
      if (points[stop].second > points[high].second) high = stop;
      ++stop;
    }
    if (stop == at) continue;
    thin.push_back(points[std::min(low, high)]);
    if (low != high) thin.push_back(points[std::max(low, high)]);
    at = stop;
  }
  return thin;
}

Chart::Chart(ChartText text, XY x_range, XY y_range, double y_ticks_divisor)
    : text_(std::move(text)),
      x_low_(x_range.first),
      x_high_(x_range.second),
      y_low_(y_range.first),
      y_high_(y_range.second),
      divisor_(y_ticks_divisor),
      legend_x_(kLeft) {
  if (!(x_high_ > x_low_)) x_high_ = x_low_ + 1;
  if (!(y_high_ > y_low_)) y_high_ = y_low_ + divisor_;
}

double Chart::PixelX(double x) const {
  return kLeft + (x - x_low_) / (x_high_ - x_low_) * (kWidth - kLeft - kRight);
}

double Chart::PixelY(double y) const {
  return kHeight - kBottom -
         (y - y_low_) / (y_high_ - y_low_) * (kHeight - kTop - kBottom);
}

std::string Chart::Path(const std::vector<XY>& points) const {
  std::string path;
  for (const auto& [x, y] : points)
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", PixelX(x),
                        PixelY(y));
  return path;
}

void Chart::Area(const std::vector<XY>& corners, const std::string& css_class) {
  if (corners.size() < 3) return;
  body_ +=
      fmt::format("<path class=\"{}\" d=\"{}Z\"/>\n", css_class, Path(corners));
}

void Chart::Line(const std::vector<XY>& points, const std::string& css_class) {
  if (points.size() < 2) return;
  body_ +=
      fmt::format("<path class=\"{}\" d=\"{}\"/>\n", css_class, Path(points));
}

void Chart::Dots(const std::vector<XY>& points, const std::string& css_class,
                 double radius) {
  for (const auto& [x, y] : points)
    body_ += fmt::format(
        "<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"/>\n",
        css_class, PixelX(x), PixelY(y), radius);
}

void Chart::Bar(double x, double width_share, double from, double to,
                const std::string& css_class, const std::string& tooltip) {
  if (!(to > from)) return;
  double width = width_share * (kWidth - kLeft - kRight);
  double left =
      std::clamp(PixelX(x) - width / 2, kLeft, kWidth - kRight - width);
  body_ += fmt::format(
      "<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" "
      "height=\"{:.1f}\"><title>{}</title></rect>\n",
      css_class, left, PixelY(to), width,
      std::max(0.5, PixelY(from) - PixelY(to)), Escape(tooltip));
}

void Chart::Legend(const std::string& text, const std::string& css_class) {
  legend_ += fmt::format(
      "<rect class=\"{}\" x=\"{:.1f}\" y=\"12\" width=\"16\" height=\"12\"/>"
      "<text class=\"key\" x=\"{:.1f}\" y=\"22\">{}</text>\n",
      css_class, legend_x_, legend_x_ + 22, Escape(text));
  legend_x_ += 44 + 7.0 * static_cast<double>(text.size());
}

std::string Chart::Axes() const {
  std::string axes;
  auto y_ticks = NiceTicks(y_low_ / divisor_, y_high_ / divisor_, 5);
  double step = y_ticks.size() > 1 ? y_ticks[1] - y_ticks[0] : 1;
  for (double tick : y_ticks) {
    double y = PixelY(tick * divisor_);
    axes += fmt::format(
        "<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/><text class=\"tick "
        "end\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
        kLeft, y, kWidth - kRight, kLeft - 8, y + 4, TickText(tick, step));
  }
  auto x_ticks = NiceTicks(x_low_, x_high_, 10);
  step = x_ticks.size() > 1 ? x_ticks[1] - x_ticks[0] : 1;
  for (double tick : x_ticks)
    axes += fmt::format(
        "<path class=\"axis\" d=\"M{0:.1f} {1:.1f}v5\"/><text class=\"tick "
        "middle\" x=\"{0:.1f}\" y=\"{2:.1f}\">{3}</text>\n",
        PixelX(tick), kHeight - kBottom, kHeight - kBottom + 19,
        TickText(tick, step));
  axes += fmt::format("<path class=\"axis\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>\n",
                      kLeft, kHeight - kBottom, kWidth - kRight);
  axes += fmt::format(
      "<text class=\"label middle\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
      (kLeft + kWidth - kRight) / 2, kHeight - 8, Escape(text_.x_label));
  axes += fmt::format(
      "<text class=\"label middle\" transform=\"translate(16 {:.1f}) "
      "rotate(-90)\">{}</text>\n",
      (kTop + kHeight - kBottom) / 2, Escape(text_.y_label));
  return axes;
}

std::string Chart::Svg() const {
  return fmt::format(
      "<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
      "aria-labelledby=\"{id}-t "
      "{id}-d\"><title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>\n"
      "{}{}{}</svg>\n",
      kWidth, kHeight, Escape(text_.title), Escape(text_.description), Axes(),
      body_, legend_, fmt::arg("id", Escape(text_.id)));
}

}  // namespace collector
