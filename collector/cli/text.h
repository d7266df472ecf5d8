#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace collector {

/// `812 B`, `3.4 KiB`, `12.1 MiB`; `-` for null.
std::string FormatBytes(const nlohmann::json& bytes);
/// `1,234,567`; `-` for null.
std::string FormatCount(const nlohmann::json& count);
/// `7.2 ms` of microseconds; `-` for null.
std::string FormatMicroseconds(const nlohmann::json& us);

/// `500ms`, `5s`, `10m`, `2h`, or seconds without a unit. Throws UsageError
/// naming `option` for anything else and for what is not positive.
std::chrono::milliseconds ParseDuration(const std::string& option,
                                        const std::string& text);

/// Columns that line up, also with characters outside ASCII. The first column
/// and those named in `left` stand left, the others (figures) right.
class Table {
 public:
  explicit Table(std::vector<std::string> header,
                 std::vector<size_t> left = {0});
  void Add(std::vector<std::string> row);
  /// A line of its own under the last row, not in columns.
  void AddNote(std::string note);
  /// Ends with a line feed; the header alone if there are no rows.
  std::string Render() const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> left_;
};

}  // namespace collector
