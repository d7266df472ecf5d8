#include "inspector/agent/heap_report.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "inspector/agent/child.h"
#include "inspector/agent/cycle_tally.h"
#include "inspector/agent/heap_export.h"
#include "inspector/agent/holder_groups.h"
#include "inspector/cpython/code.h"
#include "inspector/cpython/collector_state.h"
#include "inspector/cpython/sizes.h"

namespace inspector {
namespace {

using heap::NodeId;
using heap::State;
using heap::StringId;

/// A stop watch.
class Lap {
 public:
  /// Since the last call or the beginning.
  int64_t Microseconds() {
    int64_t before = std::exchange(at_, MonotonicMicroseconds());
    return at_ - before;
  }

 private:
  int64_t at_ = MonotonicMicroseconds();
};

/// Counts of all objects whose types share one name.
struct TypeRow {
  StringId name = 0;
  bool watched = false;
  bool is_builtin = false;
  NodeId first = heap::kNoNode;  // An example; pinned before in flight.
  uint64_t count = 0;
  uint64_t bytes = 0;
  uint64_t pinned = 0;
  uint64_t pinned_bytes = 0;
  uint64_t floating = 0;
  uint64_t in_flight = 0;
  uint64_t never = 0;
  uint64_t generations[3] = {};
};

struct Totals {
  uint64_t bytes = 0;
  uint64_t floating_objects = 0;
  uint64_t floating_bytes = 0;
  uint64_t never_objects = 0;
  uint64_t frozen_garbage = 0;
  BlockBytes live;  // All that is not in `floating`.
  BlockBytes floating;
  BlockBytes frozen;  // Of `frozen_garbage`; `live` has them, too.
};

/// Everything that needs the finished walk. Lives on the child's stack.
class Analysis {
 public:
  Analysis(const Runtime& runtime, const HeapQuestion& question, HeapWalk& walk,
           TypeTable& types, heap::StringTable& strings,
           std::pmr::memory_resource* memory)
      : runtime_(runtime),
        question_(question),
        walk_(walk),
        types_(types),
        strings_(strings),
        memory_(memory),
        graph_(walk.graph()),
        collector_(ReadCollectorState(runtime)),
        labels_(runtime, walk, types, strings, memory),
        states_(memory),
        holders_(runtime, walk, types, states_, labels_, strings),
        groups_(runtime, walk, types, states_, labels_, holders_, strings,
                memory),
        never_(memory),
        rows_(memory) {}

  void Run(Phases& phases) {
    Lap lap;
    states_ = heap::FindStates(graph_, walk_.flags(), walk_.modules(), memory_);
    MarkFrozenGarbage();
    MarkNever();
    phases.states_us = lap.Microseconds();
    CountTypes();
    groups_.Run();
    phases.types_us = lap.Microseconds();
  }

  void WriteHeap(JsonWriter& json);
  void WriteHolders(JsonWriter& json);
  void WriteAccount(JsonWriter& json) const;
  void WriteCollector(JsonWriter& json) const;
  void WriteWatched(JsonWriter& json);
  void WriteCycles(JsonWriter& json, Phases& phases);
  void WriteFunctions(JsonWriter& json);
  void WriteLimits(JsonWriter& json) const;
  bool WriteIds(int descriptor) const;
  bool WriteHeapTo(int descriptor, heap::HeapFileProgress& progress) {
    return WriteHeapFile({runtime_, walk_, types_, states_, never_, labels_,
                          holders_, strings_, memory_},
                         descriptor, progress);
  }
  const BlockBytes& live() const { return totals_.live; }
  const BlockBytes& floating() const { return totals_.floating; }
  const BlockBytes& frozen_garbage() const { return totals_.frozen; }

 private:
  bool IsFrozen(NodeId node) const {
    return (walk_.flags()[node] & heap::kFrozen) != 0;
  }
  bool IsTracked(NodeId node) const {
    return (walk_.flags()[node] & heap::kTracked) != 0;
  }
  void MarkFrozenGarbage();
  void MarkNever();
  void CountTypes();
  bool MayOwnBuffers(const TypeRow& row) const {
    return inspector::MayOwnBuffers(runtime_,
                                    types_[walk_.type(row.first)].type);
  }
  void WriteBufferLimit(JsonWriter& json) const;
  bool IsInWatchedModule(const PyObject* function) const;

  const Runtime& runtime_;
  const HeapQuestion& question_;
  HeapWalk& walk_;
  TypeTable& types_;
  heap::StringTable& strings_;
  std::pmr::memory_resource* memory_;
  heap::HeapGraph graph_;
  CollectorState collector_;
  NodeLabels labels_;
  heap::States states_;
  Holders holders_;
  HolderGroups groups_;
  std::pmr::vector<bool> never_;  // By node: no collection takes it.
  std::pmr::vector<TypeRow> rows_;
  Totals totals_;
  uint64_t skipped_ = 0;
  bool has_unnamed_edges_ = false;
};

/// Frozen objects are outside the collector's rule; with them in it, those that
/// nothing reaches are garbage that no collection takes.
void Analysis::MarkFrozenGarbage() {
  if (walk_.frozen_count() == 0) return;
  auto garbage = heap::FindUnreachable(graph_, walk_.flags(),
                                       heap::kTracked | heap::kFrozen,
                                       heap::kPermanentRoot, memory_);
  for (NodeId node = 0; node < graph_.node_count(); ++node) {
    if (!IsFrozen(node) || garbage[node] == 0) continue;
    states_.of[node] = State::kFloating;
    ++totals_.frozen_garbage;
  }
}

void Analysis::MarkNever() {
  never_.resize(graph_.node_count());
  bool off = collector_.is_off();
  std::pmr::vector<NodeId> uncollectable(memory_);
  for (NodeId node = 0; node < graph_.node_count(); ++node) {
    if (states_.of[node] != State::kFloating) continue;
    if (off || IsFrozen(node)) never_[node] = true;
    // Legacy finalizers (tp_del) and all they reach: gc.garbage.
    const PyObject* type = types_[walk_.type(node)].type;
    if (IsTracked(node) && !never_[node] &&
        ReadPointer(type, runtime_.layout->type_del) != nullptr) {
      never_[node] = true;
      uncollectable.push_back(node);
    }
  }
  while (!uncollectable.empty()) {
    NodeId node = uncollectable.back();
    uncollectable.pop_back();
    for (heap::Edge edge : graph_.Referents(node)) {
      NodeId referent = edge.referent();
      if (states_.of[referent] != State::kFloating || never_[referent])
        continue;
      never_[referent] = true;
      uncollectable.push_back(referent);
    }
  }
}

void Analysis::CountTypes() {
  std::pmr::vector<uint32_t> row_of(strings_.size(), 0, memory_);
  for (NodeId node = 0; node < graph_.node_count(); ++node) {
    const TypeInfo& type = types_[walk_.type(node)];
    uint32_t& slot = row_of[type.name];
    if (slot == 0) {
      rows_.push_back({});
      rows_.back().name = type.name;
      slot = static_cast<uint32_t>(rows_.size());
    }
    TypeRow& row = rows_[slot - 1];
    row.watched |= type.watched;
    row.is_builtin = type.is_builtin;
    uint64_t size = walk_.size(node);
    if (states_.of[node] == State::kFloating)
      (IsFrozen(node) ? totals_.frozen : totals_.floating) +=
          BlocksOf(runtime_, walk_.object(node));
    ++row.count;
    row.bytes += size;
    totals_.bytes += size;
    int generation = walk_.GenerationOf(node);
    if (generation >= 0) ++row.generations[generation];
    State state = states_.of[node];
    if (row.first == heap::kNoNode || state < states_.of[row.first])
      row.first = node;
    switch (state) {
      case State::kPinned:
        ++row.pinned;
        row.pinned_bytes += size;
        break;
      case State::kInFlight:
        ++row.in_flight;
        break;
      case State::kFloating:
        ++row.floating;
        if (never_[node]) ++row.never;
        if (IsFrozen(node)) break;
        totals_.floating_bytes += size;
        if (!IsTracked(node)) break;
        ++totals_.floating_objects;
        if (never_[node]) ++totals_.never_objects;
        break;
    }
  }
  totals_.live = walk_.blocks();
  totals_.live -= totals_.floating;
  std::sort(rows_.begin(), rows_.end(),
            [this](const TypeRow& a, const TypeRow& b) {
              if (a.bytes != b.bytes) return a.bytes > b.bytes;
              return strings_.text(a.name) < strings_.text(b.name);
            });
}

void Analysis::WriteHeap(JsonWriter& json) {
  json.BeginObject();
  json.Field("objects", graph_.node_count());
  json.Field("tracked", walk_.tracked_count());
  json.Field("bytes", totals_.bytes);
  json.Field("floating_objects", totals_.floating_objects);
  json.Field("floating_bytes", totals_.floating_bytes);
  json.Field("frozen_garbage", totals_.frozen_garbage);
  json.Field("frozen_garbage_bytes", totals_.frozen.total());
  WriteAccount(json);
  json.Key("types").BeginArray();
  constexpr int kPaths = 100;  // Leading types of the program with a path.
  int paths = 0;
  for (const TypeRow& row : rows_) {
    json.BeginObject();
    json.Field("type", strings_.text(row.name));
    json.Field("count", row.count);
    json.Field("bytes", row.bytes);
    json.Field("pinned", row.pinned);
    json.Field("pinned_bytes", row.pinned_bytes);
    json.Field("floating", row.floating);
    json.Field("in_flight", row.in_flight);
    json.Field("never", row.never);
    json.NullField("retained");
    if (MayOwnBuffers(row)) json.Field("buffers_unknown", true);
    json.Key("generations").BeginArray();
    for (uint64_t count : row.generations) json.Int(int64_t(count));
    json.EndArray();
    bool wanted = row.watched || (!row.is_builtin && paths++ < kPaths);
    const HolderGroup* group = wanted ? groups_.CommonestOf(row.name) : nullptr;
    StringId holder = group == nullptr ? 0 : groups_.PathTo(*group);
    if (holder == 0) {
      json.NullField("held_by");
    } else {
      json.Field("held_by", strings_.text(holder));
      json.Field("held_by_count", group->count);
    }
    json.EndObject();
  }
  json.EndArray();
  WriteHolders(json);
  json.EndObject();
}

/// Who holds how many of which type: what grows is told from what was there.
void Analysis::WriteHolders(JsonWriter& json) {
  // Small groups of the interpreter's own types say nothing.
  constexpr uint64_t kFewest = 8;
  constexpr uint64_t kBytes = 4096;
  constexpr int kMost = 5000;
  json.Key("holders").BeginArray();
  int written = 0;
  for (const HolderGroup& group : groups_.groups()) {
    bool is_small = group.count < kFewest && group.bytes < kBytes;
    if (is_small && strings_.text(group.type).starts_with("builtins."))
      continue;
    if (++written > kMost) break;
    heap::TextBuffer<16> id;
    AppendHex(id, group.id, 16);
    StringId path = groups_.PathTo(group);
    json.BeginObject();
    json.Field("id", id.text());
    json.Field("type", strings_.text(group.type));
    json.Field("state",
               group.state == State::kInFlight ? "in_flight" : "pinned");
    json.Field("count", group.count);
    json.Field("bytes", group.bytes);
    if (path == 0)
      json.NullField("held_by");
    else
      json.Field("held_by", strings_.text(path));
    json.EndObject();
  }
  json.EndArray();
}

/// Which share of the counted references was found, and by type where it was
/// not: references that only C code knows of, or too many found.
void Analysis::WriteAccount(JsonWriter& json) const {
  struct Row {
    StringId type = 0;
    uint64_t objects = 0;
    uint64_t references = 0;
  };
  auto write = [&](std::string_view key, int sign) {
    std::pmr::vector<Row> rows(strings_.size(), Row{}, memory_);
    for (auto [node, unexplained] : walk_.account().exceptions) {
      int64_t references = sign * unexplained;
      if (references <= 0) continue;
      Row& row = rows[types_[walk_.type(node)].name];
      row.type = types_[walk_.type(node)].name;
      ++row.objects;
      row.references += uint64_t(references);
    }
    std::erase_if(rows, [](const Row& row) { return row.objects == 0; });
    std::sort(rows.begin(), rows.end(), [this](const Row& a, const Row& b) {
      if (a.references != b.references) return a.references > b.references;
      return strings_.text(a.type) < strings_.text(b.type);
    });
    json.Key(key).BeginArray();
    for (const Row& row : rows) {
      json.BeginObject();
      json.Field("type", strings_.text(row.type));
      json.Field("objects", row.objects);
      json.Field("references", row.references);
      json.EndObject();
    }
    json.EndArray();
  };
  const Account& account = walk_.account();
  json.ShareField("accounted_share", account.explained, account.counted);
  json.Field("counted_references", account.counted);
  write("unexplained", 1);
  write("overcounted", -1);
}

void Analysis::WriteCollector(JsonWriter& json) const {
  json.BeginObject();
  WriteCollectorState(collector_, json);
  json.Field("frozen", walk_.frozen_count());
  json.Key("full_collection").BeginObject();
  if (collector_.is_off()) {
    json.NullField("needs_survivors");
    json.NullField("needs_gen1_collections");
    json.Field("frees_bytes", 0);
  } else {
    json.Field("needs_survivors", collector_.needs_survivors());
    json.Field("needs_gen1_collections", collector_.needs_gen1_collections());
    json.Field("frees_bytes", totals_.floating_bytes);
  }
  WritePastCollections(question_.past, json);
  json.EndObject();
  json.EndObject();
}

void Analysis::WriteWatched(JsonWriter& json) {
  json.BeginArray();
  for (const TypeRow& row : rows_) {
    if (!row.watched) continue;
    json.BeginObject();
    json.Field("type", strings_.text(row.name));
    json.Field("alive", row.count);
    json.Field("pinned", row.pinned);
    json.Field("floating", row.floating);
    json.Field("in_flight", row.in_flight);
    json.Field("never", row.never);
    json.Key("example").BeginObject();
    State state = states_.of[row.first];
    json.Field("state", state == State::kPinned     ? "pinned"
                        : state == State::kInFlight ? "in_flight"
                                                    : "floating");
    json.Key("path").BeginArray();
    StringId holder = holders_.PathTo(row.first);
    if (holder != 0) json.String(strings_.text(holder));
    json.EndArray();
    json.EndObject();
    json.EndObject();
  }
  // What was asked for and is not there is an answer too.
  for (std::string_view wanted : question_.watch) {
    bool met = false;
    for (TypeId id = 0; id < types_.size(); ++id)
      met = met || types_.Matches(id, wanted);
    if (met) continue;
    json.BeginObject();
    json.Field("type", wanted);
    for (const char* count :
         {"alive", "pinned", "floating", "in_flight", "never"})
      json.Field(count, 0);
    json.NullField("example");
    json.EndObject();
  }
  json.EndArray();
}

void Analysis::WriteCycles(JsonWriter& json, Phases& phases) {
  Lap lap;
  heap::Components components = heap::FindComponents(graph_, memory_);
  phases.components_us = lap.Microseconds();
  CycleTally tally(runtime_, walk_, types_, labels_, holders_, strings_,
                   components, states_, never_, memory_);
  tally.Run();
  phases.cycles_us = lap.Microseconds();
  tally.Write(json);
  skipped_ = tally.skipped();
  has_unnamed_edges_ = tally.has_unnamed_edges();
}

bool Analysis::IsInWatchedModule(const PyObject* function) const {
  const PyObject* module =
      ReadObject(function, runtime_.layout->function_module);
  if (!IsText(runtime_, module)) return false;
  heap::TextBuffer<512> text;
  text.set_end(AppendText(*runtime_.layout, module, text.end(), text.limit()));
  std::string_view name = text.text();
  for (std::string_view wanted : question_.watch)
    if (wanted.size() > name.size() && wanted.starts_with(name) &&
        wanted[name.size()] == '.')
      return true;
  return false;
}

void Analysis::WriteFunctions(JsonWriter& json) {
  const Layout& layout = *runtime_.layout;
  struct Found {
    StringId function;
    StringId file;
    uint64_t hash;
  };
  std::pmr::vector<Found> found(memory_);
  for (NodeId node = 0; node < graph_.node_count(); ++node) {
    if (types_[walk_.type(node)].kind != TypeKind::kFunction) continue;
    const PyObject* function = walk_.object(node);
    if (!IsInWatchedModule(function)) continue;
    heap::TextBuffer<1024> name;
    name.set_end(AppendText(layout,
                            ReadObject(function, layout.function_module),
                            name.end(), name.limit()));
    name.Append(".");
    name.set_end(AppendText(layout,
                            ReadObject(function, layout.function_qualname),
                            name.end(), name.limit()));
    const PyObject* code = ReadObject(function, layout.function_code);
    found.push_back({strings_.Intern(name.text()), labels_.NamesOf(code).file,
                     HashOfCode(runtime_, code)});
  }
  auto order = [this](const Found& a, const Found& b) {
    if (a.function != b.function)
      return strings_.text(a.function) < strings_.text(b.function);
    return a.hash < b.hash;
  };
  std::sort(found.begin(), found.end(), order);
  json.BeginArray();
  for (size_t i = 0; i < found.size(); ++i) {
    if (i > 0 && found[i].function == found[i - 1].function &&
        found[i].hash == found[i - 1].hash)
      continue;
    heap::TextBuffer<16> hash;
    AppendHex(hash, found[i].hash, 16);
    json.BeginObject();
    json.Field("function", strings_.text(found[i].function));
    json.Field("file", strings_.text(found[i].file));
    json.Field("hash", hash.text());
    json.EndObject();
  }
  json.EndArray();
}

void Analysis::WriteLimits(JsonWriter& json) const {
  auto add = [&json](const char* field, std::string_view reason) {
    json.BeginObject();
    json.Field("field", field);
    json.Field("reason", reason);
    json.EndObject();
  };
  constexpr std::string_view kByHost =
      "retained sizes are found by the host, from a heap file: snapshot --heap "
      "FILE, snapshot --top retained, or top";
  add("heap.types.retained", kByHost);
  add("cycles.retained", kByHost);
  WriteBufferLimit(json);
  for (TypeId id = 0; id < types_.size(); ++id) {
    if (!types_[id].skipped) continue;
    heap::TextBuffer<1024> reason;
    reason.Append("the tp_traverse of ").Append(strings_.text(types_[id].name));
    reason.Append(
        " crashed before, so the references of its objects were not visited: "
        "what they hold looks pinned");
    add("heap.types", reason.text());
  }
  if (has_unnamed_edges_)
    add("cycles.example.edge", "this kind of reference has no known name");
  if (collector_.is_off()) {
    add("gc.full_collection.needs_survivors",
        "the collector is off: no collection will come by itself");
    add("gc.full_collection.needs_gen1_collections",
        "the collector is off: no collection will come by itself");
  }
  WritePastLimits(question_.past, json);
  if (skipped_ > 0) {
    heap::TextBuffer<256> reason;
    reason.Append("cycles of ").Append(int64_t(skipped_));
    reason.Append(" objects were left out: the search grew too long");
    add("cycles", reason.text());
  }
}

/// Names the commonest types whose objects may own memory that is not in their
/// bytes.
void Analysis::WriteBufferLimit(JsonWriter& json) const {
  constexpr size_t kMostNamed = 5;
  heap::TextBuffer<1024> reason;
  reason.Append("C buffers of types from extensions are not known: ");
  std::pmr::vector<const TypeRow*> rows(memory_);
  for (const TypeRow& row : rows_)
    if (MayOwnBuffers(row)) rows.push_back(&row);
  if (rows.empty()) return;
  std::sort(rows.begin(), rows.end(), [](const TypeRow* a, const TypeRow* b) {
    return a->count > b->count;
  });
  for (size_t i = 0; i < std::min(rows.size(), kMostNamed); ++i) {
    if (i > 0) reason.Append(", ");
    reason.Append(strings_.text(rows[i]->name));
    reason.Append(" (").Append(int64_t(rows[i]->count)).Append(")");
  }
  if (rows.size() > kMostNamed)
    reason.Append(" and ")
        .Append(int64_t(rows.size() - kMostNamed))
        .Append(" more types");
  reason.Append("; they are in memory.malloc_used");
  json.BeginObject();
  json.Field("field", "heap.types.bytes");
  json.Field("reason", reason.text());
  json.EndObject();
}

bool Analysis::WriteIds(int descriptor) const {
  char buffer[1 << 16];
  size_t used = 0;
  auto flush = [&] {
    for (size_t written = 0; written < used;) {
      ssize_t step = write(descriptor, buffer + written, used - written);
      if (step <= 0) return false;
      written += static_cast<size_t>(step);
    }
    used = 0;
    return true;
  };
  for (NodeId node = 0; node < graph_.node_count(); ++node) {
    if (!IsTracked(node) && !IsFrozen(node)) continue;
    constexpr std::string_view kStates[] = {"pinned", "floating", "in_flight"};
    heap::TextBuffer<1024> line;
    line.Append("0x").Append(
        int64_t(reinterpret_cast<intptr_t>(walk_.object(node))), 16);
    line.Append(" ").Append(strings_.text(types_[walk_.type(node)].name));
    line.Append(" ");
    line.Append(IsFrozen(node) ? std::string_view("frozen")
                               : kStates[int(states_.of[node])]);
    line.Append("\n");
    if (used + line.text().size() > sizeof buffer && !flush()) return false;
    std::copy(line.text().begin(), line.text().end(), buffer + used);
    used += line.text().size();
  }
  return flush();
}

}  // namespace

void WriteCollectorState(const CollectorState& state, JsonWriter& json) {
  json.Field("enabled", state.enabled);
  json.Key("thresholds").BeginArray();
  for (int threshold : state.thresholds) json.Int(threshold);
  json.EndArray();
  json.Key("counts").BeginArray();
  for (int count : state.counts) json.Int(count);
  json.EndArray();
  json.Key("stats").BeginArray();
  for (const CollectorState::Generation& generation : state.stats) {
    json.BeginObject();
    json.Field("collections", generation.collections);
    json.Field("collected", generation.collected);
    json.Field("uncollectable", generation.uncollectable);
    json.EndObject();
  }
  json.EndArray();
  json.Field("long_lived_total", state.long_lived_total);
  json.Field("long_lived_pending", state.long_lived_pending);
}

HeapReport::HeapReport(const Runtime& runtime, const HeapQuestion& question,
                       heap::Arena& arena)
    : runtime_(runtime),
      question_(question),
      arena_(arena),
      strings_(&arena),
      types_(runtime, strings_, question.watch, &arena, question.skip),
      walk_(runtime, question.stacks, question.modules, types_, strings_,
            arena) {}

HeapSections HeapReport::Write(char* begin, size_t size) {
  HeapSections sections;
  Phases& phases = sections.phases;
  Lap lap;
  Lap all;
  walk_.Run();
  phases.walk_us = lap.Microseconds();
  Analysis analysis(runtime_, question_, walk_, types_, strings_, &arena_);
  analysis.Run(phases);
  JsonWriter members(begin, size);
  analysis.WriteHeap(members.Key("heap"));
  analysis.WriteCollector(members.Key("gc"));
  analysis.WriteWatched(members.Key("watched"));
  analysis.WriteCycles(members.Key("cycles"), phases);
  sections.members_size = members.size();
  begin += members.size();
  size -= members.size();
  JsonWriter functions(begin, size);
  analysis.WriteFunctions(functions);
  sections.functions_size = functions.size();
  JsonWriter limits(begin + functions.size(), size - functions.size());
  analysis.WriteLimits(limits);
  sections.limits_size = limits.size();
  sections.live = analysis.live();
  sections.floating = analysis.floating();
  sections.frozen_garbage = analysis.frozen_garbage();
  sections.complete = !members.full() && !functions.full() && !limits.full();
  const ExtraOutput& extra = question_.extra;
  if (extra.kind == ExtraOutput::Kind::kIds)
    sections.extra_written = analysis.WriteIds(extra.descriptor);
  else if (extra.kind == ExtraOutput::Kind::kHeap)
    sections.extra_written =
        analysis.WriteHeapTo(extra.descriptor, sections.heap_file);
  phases.writing_us = all.Microseconds() - phases.walk_us - phases.states_us -
                      phases.types_us - phases.components_us - phases.cycles_us;
  return sections;
}

}  // namespace inspector
