#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "collector/error.h"

namespace collector {

/// Accepts numbers above zero; CLI11's own check answers with the whole range
/// of double.
inline CLI::Validator Positive() {
  return CLI::Validator(
      [](std::string& text) {
        char* end = nullptr;
        double value = std::strtod(text.c_str(), &end);
        return end != text.c_str() && *end == '\0' && value > 0
                   ? std::string()
                   : text + " is not a number above 0";
      },
      "POSITIVE");
}

/// `--top`: rows of each list, a number above zero or `all`.
inline void AddRows(CLI::App& verb, size_t& rows) {
  CLI::Validator all(
      [](std::string& text) {
        if (text == "all") text = "1000000000";
        return std::string();
      },
      "");
  verb.add_option("--top", rows, "Rows of each list, a number or `all`")
      ->capture_default_str()
      ->transform(all)
      ->check(Positive());
}

/// Lets the flag be given several times, with one value each.
inline CLI::Option* Repeatable(CLI::Option* option) {
  return option->expected(1)->multi_option_policy(
      CLI::MultiOptionPolicy::TakeAll);
}

/// `option` names a file that could not be opened for writing; errno says why.
inline Error CannotBeWritten(const char* option, const std::string& path) {
  return Error(fmt::format(
      "{} {}: cannot be written: {}; name a file in a folder that you may "
      "write to",
      option, path, std::strerror(errno)));
}

/// Makes the folder that `--output` names, and those above it.
inline void MakeOutputFolder(const std::filesystem::path& output) {
  std::error_code failure;
  std::filesystem::create_directories(output, failure);
  if (failure) {
    throw Error(fmt::format("--output {}: cannot be made: {}", output.string(),
                            failure.message()));
  }
}

}  // namespace collector
