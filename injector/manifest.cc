#include "injector/manifest.h"

#include <regex>
#include <sstream>

namespace injector {

namespace fs = std::filesystem;

namespace {

std::string Trimmed(const std::string& text) {
  constexpr char kBlank[] = " \t\r";
  size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

/// Without its quotes, or without the comment that follows it.
std::string Value(const std::string& text) {
  if (!text.empty() && (text[0] == '"' || text[0] == '\'')) {
    size_t end = text.find(text[0], 1);
    if (end != std::string::npos) return text.substr(1, end - 1);
  }
  return Trimmed(text.substr(0, text.find(" #")));
}

}  // namespace

std::string WithHook(const std::string& before) {
  const std::string hook = kFolderInside;
  if (before.empty()) return hook;
  if ((":" + before + ":").find(":" + hook + ":") != std::string::npos) {
    return before;
  }
  // Where the variable is unset or empty, `HOOK:` would be left, and Python
  // takes an empty entry for the working directory.
  static const std::regex kMayBeEmpty(
      R"(\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?-)?\}))");
  std::smatch match;
  if (std::regex_match(before, match, kMayBeEmpty)) {
    return hook + ":${" + match[1].str() + match[2].str() + ":-" + hook + "}";
  }
  return hook + ":" + before;
}

std::string IgnoresEnvironment(const std::vector<std::string>& words) {
  bool python = false;
  for (const std::string& word : words) {
    if (!python) {
      python = fs::path(word).filename().string().starts_with("python");
      continue;
    }
    if (word.size() < 2 || word[0] != '-' || word[1] == '-') return "";
    for (char flag : word.substr(1)) {
      if (flag == 'I' || flag == 'E') return std::string("-") + flag;
      // The rest of the word, or the next, is this option's own.
      if (flag == 'c' || flag == 'm') return "";
      if (flag == 'W' || flag == 'X') break;
    }
  }
  return "";
}

Environment ReadEnvironmentFile(const std::string& text) {
  Environment variables;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    line = Trimmed(line);
    if (line.starts_with("export ")) line = Trimmed(line.substr(7));
    size_t equals = line.find('=');
    if (equals == std::string::npos || line[0] == '#') continue;
    variables[Trimmed(line.substr(0, equals))] =
        Value(Trimmed(line.substr(equals + 1)));
  }
  return variables;
}

}  // namespace injector
