#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace inspector {

/// A small file whole; empty if it can't be read.
std::string ReadFile(const std::string& path);

/// The number behind `name` at the start of a line.
std::optional<int64_t> NumberAfter(const std::string& text,
                                   const std::string& name);

/// The same in bytes, where the text has KiB.
std::optional<int64_t> KibibytesAfter(const std::string& text,
                                      const std::string& name);

}  // namespace inspector
