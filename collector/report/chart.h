#pragma once

#include <string>
#include <utility>
#include <vector>

namespace collector {

using XY = std::pair<double, double>;

/// What a chart shows, for those who see it and those who hear it.
struct ChartText {
  std::string id;  // Unique in the page.
  std::string title;
  std::string description;  // The finding, in a sentence.
  std::string x_label;
  std::string y_label;
};

/// Steps of 1, 2 or 5 times a power of ten that cover [low, high] in about
/// `count` steps.
std::vector<double> NiceTicks(double low, double high, int count);

/// At most two points (the lowest and the highest) for each of `buckets` equal
/// parts of x, in their order. `points` must be ordered by x.
std::vector<XY> Thin(const std::vector<XY>& points, size_t buckets);

/// An inline SVG with axes, drawn from the bottom up. Colours come from classes
/// of the page's style sheet, so that light and dark both work. Same calls,
/// same bytes.
class Chart {
 public:
  /// The ranges are widened where they are empty. `y_ticks_divisor` turns
  /// bytes into the unit of the y axis.
  Chart(ChartText text, XY x_range, XY y_range, double y_ticks_divisor = 1);

  void Area(const std::vector<XY>& corners, const std::string& css_class);
  void Line(const std::vector<XY>& points, const std::string& css_class);
  void Dots(const std::vector<XY>& points, const std::string& css_class,
            double radius);
  /// A bar of `width_share` of the plot's width around x.
  void Bar(double x, double width_share, double from, double to,
           const std::string& css_class, const std::string& tooltip);
  void Legend(const std::string& text, const std::string& css_class);

  std::string Svg() const;

 private:
  double PixelX(double x) const;
  double PixelY(double y) const;
  std::string Path(const std::vector<XY>& points) const;
  std::string Axes() const;

  ChartText text_;
  double x_low_, x_high_, y_low_, y_high_;
  double divisor_;
  std::string body_;
  std::string legend_;
  double legend_x_;
};

}  // namespace collector
