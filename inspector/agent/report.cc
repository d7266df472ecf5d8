#include "inspector/agent/report.h"

#include <unistd.h>

#include "inspector/agent/heap_report.h"
#include "inspector/agent/json_writer.h"
#include "inspector/agent/memory_bridge.h"

namespace inspector {
namespace {

constexpr size_t kHeadBytes = size_t{1} << 17;

/// A JsonWriter with memory of its own, for the agent, which may allocate.
class Document {
 public:
  /// `more`: bytes beyond what every report needs.
  explicit Document(size_t more = 0)
      : memory_(kHeadBytes + more, '\0'),
        json_(memory_.data(), memory_.size()) {}
  JsonWriter& json() { return json_; }
  std::string Take() { return std::string(json_.text()); }

 private:
  std::string memory_;
  JsonWriter json_;
};

void OptionalField(JsonWriter& json, std::string_view key,
                   std::optional<int64_t> value) {
  if (value)
    json.Field(key, *value);
  else
    json.NullField(key);
}

std::optional<int64_t> Known(int64_t value) {
  return value < 0 ? std::nullopt : std::optional<int64_t>(value);
}

void Limit(JsonWriter& json, std::string_view field, std::string_view reason) {
  json.BeginObject();
  json.Field("field", field);
  json.Field("reason", reason);
  json.EndObject();
}

void WriteGuard(const GuardFigures& guard, JsonWriter& json) {
  constexpr std::string_view kDecisions[] = {"free", "watched", "refused",
                                             "aborted"};
  json.BeginObject();
  json.Field("decision", kDecisions[static_cast<int>(guard.decision)]);
  if (guard.limited_by.empty())
    json.NullField("limited_by");
  else
    json.Field("limited_by", guard.limited_by);
  OptionalField(json, "limit", Known(guard.limit));
  OptionalField(json, "headroom", Known(guard.headroom));
  OptionalField(json, "lowest_headroom", Known(guard.lowest_headroom));
  json.Field("reserve", guard.reserve);
  json.Field("own_estimate", guard.own_estimate);
  json.Field("worst_case", guard.worst_case);
  json.Field("oom_group", guard.kills_together);
  json.Field("looks", guard.looks);
  json.Field("waited_ms", guard.waited_ms);
  OptionalField(json, "since_last_ms", Known(guard.since_last_ms));
  json.Field("yielded_ms", guard.yielded_ms);
  json.EndObject();
}

}  // namespace

std::string SnapshotReport(const ProcessIdentity& process,
                           const std::vector<Package>& packages,
                           std::string_view trigger,
                           const ChildSnapshot& snapshot) {
  size_t more = snapshot.functions.size();
  constexpr size_t kLongestEscape = 6;
  for (const Package& package : packages)
    more += kLongestEscape * (package.name.size() + package.version.size() + 2);
  Document head(more);
  JsonWriter& json = head.json();
  json.BeginObject();
  json.Field("schema", "cyclescope.snapshot/1");
  json.Key("process").BeginObject();
  json.Field("pid", process.pid);
  json.Field("pid_in_namespace", process.pid);
  json.Field("started", process.started);
  json.Field("executable", process.executable);
  json.Field("python", process.python);
  json.Field("build", process.build);
  json.NullField("container");
  json.EndObject();
  json.Key("code").BeginObject();
  json.Key("packages").BeginObject();
  for (const Package& package : packages)
    json.Field(package.name, package.version);
  json.EndObject();
  json.Key("functions").Raw(snapshot.functions);
  json.EndObject();
  json.Key("taken").BeginObject();
  json.Field("at", TimeNow());
  json.Field("trigger", trigger);
  json.Field("gil_wait_us", snapshot.gil_wait_us);
  json.Field("pause_us", snapshot.pause_us);
  json.Field("child_ms", snapshot.child_ms);
  json.Key("phases_us").BeginObject();
  json.Field("walk", snapshot.phases.walk_us);
  json.Field("states", snapshot.phases.states_us);
  json.Field("types", snapshot.phases.types_us);
  json.Field("components", snapshot.phases.components_us);
  json.Field("cycles", snapshot.phases.cycles_us);
  json.Field("writing", snapshot.phases.writing_us);
  json.EndObject();
  json.Field("child_peak_bytes", snapshot.child_peak_bytes);
  OptionalField(json, "cow_bytes", Known(snapshot.cow_bytes));
  OptionalField(json, "mallinfo_ms",
                snapshot.malloc
                    ? std::optional<int64_t>(snapshot.malloc->took_us / 1000)
                    : std::nullopt);
  WriteGuard(snapshot.guard, json.Key("guard"));
  json.EndObject();
  std::string text = head.Take();
  text += ',';
  text += snapshot.members;

  Document tail(snapshot.limits.size());
  JsonWriter& rest = tail.json();
  WriteMemory(snapshot, rest.Key("memory"));
  rest.Key("limits").BeginArray();
  Limit(rest, "process.container",
        "a process cannot see its container's name; the collector adds it "
        "where it can ask the engine");
  WriteMemoryLimits(snapshot, rest);
  if (snapshot.guard.limited_by.empty()) {
    for (const char* field :
         {"limited_by", "limit", "headroom", "lowest_headroom"})
      Limit(rest, std::string("taken.guard.") + field,
            "neither a memory cgroup nor /proc/meminfo can be read here");
  }
  if (snapshot.cow_bytes < 0)
    Limit(rest, "taken.cow_bytes", "/proc/self/smaps_rollup cannot be read");
  if (!snapshot.limits.empty()) rest.Raw(snapshot.limits);
  rest.EndArray();
  text += ',';
  text += tail.Take();
  text += '}';
  return text;
}

std::string CollectorReport(const Runtime& runtime) {
  Document document;
  JsonWriter& json = document.json();
  json.BeginObject();
  json.Key("gc").BeginObject();
  WriteCollectorState(ReadCollectorState(runtime), json);
  json.EndObject();
  json.EndObject();
  return document.Take();
}

std::string SampleReport(const Runtime& runtime) {
  Document document;
  JsonWriter& json = document.json();
  ProcessMemory memory = ReadProcessMemory();
  json.BeginObject();
  json.Field("schema", "cyclescope.sample/1");
  json.Field("at", TimeNow());
  json.Key("memory").BeginObject();
  OptionalField(json, "rss", memory.rss);
  AnonymousMemory anonymous = ReadAnonymousMemory();
  OptionalField(json, "anon", anonymous.bytes);
  json.Field("anon_source", anonymous.source);
  OptionalField(json, "file", memory.file);
  OptionalField(json, "shared", memory.shared);
  OptionalField(json, "swap", memory.swap);
  json.EndObject();
  ProcessUse use = ReadProcessUse();
  json.Field("pid_in_namespace", static_cast<int64_t>(getpid()));
  json.Field("start_ticks", use.start_ticks);
  json.Field("cpu_ms", use.cpu_ms);
  OptionalField(json, "threads", memory.threads);
  OptionalField(json, "descriptors", use.descriptors);
  json.Key("gc").BeginObject();
  WriteCollectorState(ReadCollectorState(runtime), json);
  json.EndObject();
  json.Key("cgroup");
  std::optional<CgroupMemory> cgroup = ReadCgroup();
  if (cgroup) {
    json.BeginObject();
    json.Field("version", cgroup->version);
    json.Field("directory", cgroup->directory);
    OptionalField(json, "anon", cgroup->anon);
    OptionalField(json, "usage", cgroup->usage);
    OptionalField(json, "limit", cgroup->limit);
    json.EndObject();
  } else {
    json.Null();
  }
  json.EndObject();
  return document.Take();
}

std::string ErrorReport(std::string_view sentence) {
  Document document;
  JsonWriter& json = document.json();
  json.BeginObject();
  json.Field("error", sentence);
  json.EndObject();
  return document.Take();
}

std::string ErrorReport(const ChildSnapshot& snapshot,
                        std::string_view trigger) {
  using Decision = GuardFigures::Decision;
  Document document;
  JsonWriter& json = document.json();
  json.BeginObject();
  json.Field("error", snapshot.error);
  json.Field("refused", snapshot.guard.decision == Decision::kRefused);
  json.Field("aborted", snapshot.guard.decision == Decision::kAborted);
  json.Key("taken").BeginObject();
  json.Field("at", TimeNow());
  json.Field("trigger", trigger);
  WriteGuard(snapshot.guard, json.Key("guard"));
  json.EndObject();
  json.EndObject();
  return document.Take();
}

}  // namespace inspector
