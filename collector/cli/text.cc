#include "collector/cli/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "collector/error.h"
#include "collector/verdict/words.h"

namespace collector {

using std::chrono::milliseconds;

namespace {

/// Characters, not bytes: continuation bytes of UTF-8 are not counted.
size_t Width(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string FormatBytes(const nlohmann::json& bytes) {
  return bytes.is_number() ? Bytes(bytes.get<double>()) : "-";
}

std::string FormatCount(const nlohmann::json& count) {
  return count.is_number() ? Count(count.get<double>()) : "-";
}

std::string FormatMicroseconds(const nlohmann::json& us) {
  if (!us.is_number()) return "-";
  return Figure(us.get<double>() / 1000) + " ms";
}

milliseconds ParseDuration(const std::string& option, const std::string& text) {
  double value = 0;
  auto [rest, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  std::string unit(rest, text.data() + text.size());
  double factor = unit == "ms"                ? 1
                  : unit == "s" || unit == "" ? 1e3
                  : unit == "m"               ? 60e3
                  : unit == "h"               ? 3600e3
                                              : 0;
  if (error != std::errc() || factor == 0 || !(value * factor >= 1) ||
      value * factor > 1e12) {
    throw UsageError(fmt::format(
        "{} {}: not a time; write it like 500ms, 5s, 10m or 2h", option, text));
  }
  return milliseconds(static_cast<int64_t>(value * factor));
}

Table::Table(std::vector<std::string> header, std::vector<size_t> left)
    : left_(std::move(left)) {
  rows_.push_back(std::move(header));
}

void Table::Add(std::vector<std::string> row) {
  row.resize(rows_[0].size());
  rows_.push_back(std::move(row));
}

void Table::AddNote(std::string note) { rows_.push_back({std::move(note)}); }

std::string Table::Render() const {
  size_t columns = rows_[0].size();
  std::vector<size_t> widths(columns);
  for (const auto& row : rows_) {
    if (row.size() != columns) continue;  // A note.
    for (size_t i = 0; i < columns; ++i) {
      widths[i] = std::max(widths[i], Width(row[i]));
    }
  }
  std::string text;
  for (const auto& row : rows_) {
    if (row.size() != columns) {
      text += row[0] + "\n";
      continue;
    }
    std::string line;
    for (size_t i = 0; i < columns; ++i) {
      std::string padding(widths[i] - Width(row[i]), ' ');
      bool left = std::find(left_.begin(), left_.end(), i) != left_.end();
      line += i > 0 ? "  " : "";
      line += left ? row[i] + padding : padding + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace collector
