#include "collector/verdict/cycles.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "collector/verdict/json_access.h"

namespace collector {
namespace {

using nlohmann::json;

constexpr std::string_view kArrow = " → ";

std::string_view LastPart(std::string_view type) {
  size_t dot = type.rfind('.');
  return dot == std::string_view::npos ? type : type.substr(dot + 1);
}

/// True if one of the signature's steps is this type.
bool HasStep(std::string_view signature, std::string_view type) {
  while (!signature.empty()) {
    size_t end = signature.find(kArrow);
    std::string_view step = signature.substr(0, end);
    if (step == type || LastPart(step) == LastPart(type)) return true;
    if (end == std::string_view::npos) return false;
    signature.remove_prefix(end + kArrow.size());
  }
  return false;
}

}  // namespace

bool IsThroughWatched(const json& cycle, const json& report) {
  const json& watched = At(report, "watched");
  if (!watched.is_array()) return false;
  std::string signature = TextAt(cycle, "signature");
  if (signature.empty()) signature = TextAt(cycle, "type");
  return std::any_of(watched.begin(), watched.end(), [&](const json& entry) {
    std::string type = TextAt(entry, "type");
    return !type.empty() && HasStep(signature, type);
  });
}

bool WatchesTypes(const json& report) {
  const json& watched = At(report, "watched");
  return watched.is_array() && !watched.empty();
}

std::vector<json> CyclesOfInterest(const json& report) {
  std::vector<json> chosen;
  const json& cycles = At(report, "cycles");
  if (!cycles.is_array()) return chosen;
  const bool only_watched = WatchesTypes(report);
  for (const json& cycle : cycles)
    if (!only_watched || IsThroughWatched(cycle, report))
      chosen.push_back(cycle);
  return chosen;
}

}  // namespace collector
