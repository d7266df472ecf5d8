#pragma once

#include <optional>
#include <string>

namespace collector {

/// Figures as people read them. All are deterministic and locale-free.

/// "12,345"; rounds to whole numbers.
std::string Count(double value);
/// "0.02", "1.5", "12,345": three significant digits below 100, whole above.
std::string Figure(double value);
/// "512 B", "3.42 KiB", "5 MiB", "-120 MiB": three significant digits.
std::string Bytes(double value);
/// "45 s", "12 min", "1 h 40 min", "3 days 2 h".
std::string Duration(double hours);
/// "1 archive", "300 archives".
std::string Units(double count, const std::string& unit);
/// "archives".
std::string Plural(const std::string& unit);
/// A source file as a reader knows it: what follows `site-packages/`, else the
/// last three parts.
std::string ShortFile(const std::string& file);
/// "not enough data" for "not_enough_data".
std::string Spoken(std::string word);

}  // namespace collector
