#include "collector/verdict/memory_bridge.h"

#include <fmt/format.h>

#include "collector/verdict/json_access.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;

struct Part {
  const char* field;
  const char* name;
  const char* meaning;
  int sign;
};

constexpr Part kParts[] = {
    {"live", "live Python objects", "", 1},
    {"floating", "floating garbage", "waits for the collector", 1},
    {"pymalloc_used_other", "other blocks of pymalloc",
     "buffers of C code, shared keys, free lists", 1},
    {"pymalloc_free", "free in pymalloc", "holes, free pools, arenas' rests",
     1},
    {"malloc_used", "used in malloc", "C buffers, libraries", 1},
    {"malloc_free", "free in malloc", "", 1},
    {"not_resident", "malloc's, not in RAM",
     "used or free, never touched or given back", -1},
    {"module_data", "data of libraries", "", 1},
    {"other_mappings", "other mappings", "mapped by C code itself", 1},
    {"stacks", "stacks", "", 1},
    {"file", "mapped files", "", 1},
    {"shared", "shared memory", "", 1},
    {"unexplained", "not explained", "", 1}};

}  // namespace

std::vector<BridgePart> BridgeParts(const json& memory) {
  std::vector<BridgePart> parts;
  if (!memory.is_object()) return parts;
  auto rss = NumberAt(memory, "rss");
  for (const Part& part : kParts) {
    if (!memory.contains(part.field)) continue;
    BridgePart row{part.name, part.meaning, NumberAt(memory, part.field), {}};
    if (row.bytes) row.bytes = *row.bytes * part.sign;
    if (row.bytes && rss && *rss > 0) row.share = *row.bytes / *rss;
    auto top = NumberAt(memory, "malloc_top");
    if (std::string_view(part.field) == "malloc_free" && top)
      row.meaning = Bytes(*top) + " of it at the end of the heap";
    auto frozen = NumberAt(memory, "frozen_garbage").value_or(0);
    if (std::string_view(part.field) == "live" && frozen > 0)
      row.meaning = Bytes(frozen) + " of it frozen garbage";
    parts.push_back(std::move(row));
  }
  return parts;
}

std::string BridgeSum(const json& memory) {
  auto rss = NumberAt(memory, "rss");
  if (!rss) return {};
  double sum = 0;
  bool whole = memory.contains("other_mappings");  // Older ones do not add up.
  for (const BridgePart& part : BridgeParts(memory)) {
    sum += part.bytes.value_or(0);
    whole = whole && (part.bytes || part.name != "not explained");
  }
  std::string text =
      whole ? fmt::format("sum {} of {} resident", Bytes(sum), Bytes(*rss))
            : fmt::format("{} resident", Bytes(*rss));
  auto anon = NumberAt(memory, "anon");
  if (anon) text += fmt::format(" · {} of it anonymous", Bytes(*anon));
  auto cgroup = NumberAt(memory, "cgroup_anon");
  if (anon && cgroup && *cgroup > 0)
    text += fmt::format(", {} % of the cgroup's {}",
                        Figure(100 * *anon / *cgroup), Bytes(*cgroup));
  if (auto limit = NumberAt(memory, "cgroup_limit"))
    text += fmt::format(" · limit {}", Bytes(*limit));
  return text;
}

}  // namespace collector
