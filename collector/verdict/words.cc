#include "collector/verdict/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace collector {

std::string Count(double value) {
  std::string digits = fmt::format("{:.0f}", std::abs(value));
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), 1, ',');
  if (value < 0 && digits != "0") digits.insert(0, 1, '-');
  return digits;
}

std::string Figure(double value) {
  if (std::abs(value) >= 100 || value == std::round(value)) return Count(value);
  if (std::abs(value) < 0.0005) return fmt::format("{:.0e}", value);
  return fmt::format("{:.3g}", value);
}

std::string Bytes(double value) {
  double size = std::abs(value);
  const char* sign = value < 0 && size >= 0.5 ? "-" : "";
  if (size < 1023.5) return fmt::format("{}{:.0f} B", sign, size);
  const char* unit = "KiB";
  size /= 1024;
  for (const char* next : {"MiB", "GiB", "TiB"}) {
    if (size < 1023.5) break;
    size /= 1024;
    unit = next;
  }
  std::string digits = fmt::format("{:.{}f}", size,
                                   size < 9.995   ? 2
                                   : size < 99.95 ? 1
                                                  : 0);
  if (digits.find('.') != std::string::npos) {
    digits.erase(digits.find_last_not_of('0') + 1);
    if (digits.back() == '.') digits.pop_back();
  }
  return fmt::format("{}{} {}", sign, digits, unit);
}

std::string Duration(double hours) {
  double minutes = std::ceil(hours * 60 - 1e-9);
  if (hours * 3600 < 59.5) return fmt::format("{:.0f} s", hours * 3600);
  if (minutes < 60) return fmt::format("{:.0f} min", minutes);
  double whole = std::floor(minutes / 60);
  double rest = minutes - whole * 60;
  if (whole >= 48)
    return fmt::format("{:.0f} days {:.0f} h", std::floor(whole / 24),
                       whole - std::floor(whole / 24) * 24);
  if (rest == 0) return fmt::format("{:.0f} h", whole);
  return fmt::format("{:.0f} h {:.0f} min", whole, rest);
}

std::string Plural(const std::string& unit) {
  return unit.ends_with('s') ? unit : unit + "s";
}

std::string Units(double count, const std::string& unit) {
  std::string number = Count(count);
  return number + " " + (number == "1" ? unit : Plural(unit));
}

std::string ShortFile(const std::string& file) {
  static constexpr std::string_view kPackages = "site-packages/";
  if (size_t at = file.rfind(kPackages); at != std::string::npos)
    return file.substr(at + kPackages.size());
  size_t from = file.size();
  for (int part = 0; part < 3 && from != std::string::npos && from > 0; ++part)
    from = file.rfind('/', from - 1);
  return from == std::string::npos || from == 0 ? file : file.substr(from + 1);
}

std::string Spoken(std::string word) {
  std::replace(word.begin(), word.end(), '_', ' ');
  return word;
}

}  // namespace collector
