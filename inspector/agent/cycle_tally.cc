#include "inspector/agent/cycle_tally.h"

#include <algorithm>

#include "inspector/cpython/code.h"
#include "inspector/cpython/sizes.h"

namespace inspector {

using heap::ComponentId;
using heap::NodeId;
using heap::State;
using heap::StringId;

namespace {

constexpr size_t kMostSites = 10;
constexpr size_t kMostHolders = 3;
// Objects of a row whose holder is looked for. Naming an edge reads its whole
// container: without an end, a registry of a million costs its square.
constexpr uint32_t kMostHolderSearches = 100;

uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t mixed = (a ^ (b * 0x9e3779b97f4a7c15)) * 0xff51afd7ed558ccd;
  return mixed ^ (mixed >> 32);
}

}  // namespace

bool KeySet::Insert(uint64_t key) {
  if (key == 0) key = 1;
  if (++count_ * 2 > slots_.size()) {
    old_.assign(slots_.begin(), slots_.end());
    slots_.assign(old_.size() * 2, 0);
    for (uint64_t old : old_) {
      if (old == 0) continue;
      size_t at = Mix(old, 1) & (slots_.size() - 1);
      while (slots_[at] != 0) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = old;
    }
  }
  size_t mask = slots_.size() - 1;
  size_t at = Mix(key, 1) & mask;
  for (; slots_[at] != 0; at = (at + 1) & mask) {
    if (slots_[at] == key) {
      --count_;
      return false;
    }
  }
  slots_[at] = key;
  return true;
}

void KeySet::Clear() {
  if (count_ == 0) return;
  slots_.assign(kFewest, 0);
  count_ = 0;
}

CycleTally::CycleTally(const Runtime& runtime, const HeapWalk& walk,
                       const TypeTable& types, NodeLabels& labels,
                       Holders& holders, heap::StringTable& strings,
                       const heap::Components& components,
                       const heap::States& states,
                       const std::pmr::vector<bool>& never,
                       std::pmr::memory_resource* memory)
    : runtime_(runtime),
      walk_(walk),
      types_(types),
      labels_(labels),
      holders_(holders),
      strings_(strings),
      components_(components),
      states_(states),
      never_(never),
      memory_(memory),
      members_(components, memory),
      rows_(memory),
      row_of_string_(memory),
      component_bytes_(components.count(), 0, memory),
      closings_(memory),
      counted_components_(memory) {}

void CycleTally::Run() {
  skipped_ =
      heap::TellCycles(walk_.graph(), components_, members_, *this, memory_);
}

bool CycleTally::IsWatched(NodeId node) const {
  return types_[walk_.type(node)].watched;
}

/// A type of the program rather than the interpreter's, then the first by name.
bool CycleTally::TellsMore(NodeId a, NodeId b) const {
  const TypeInfo& first = types_[walk_.type(a)];
  const TypeInfo& second = types_[walk_.type(b)];
  if (first.is_builtin != second.is_builtin) return second.is_builtin;
  return strings_.text(first.name) < strings_.text(second.name);
}

StringId CycleTally::SignatureOf(std::span<const NodeId> cycle) {
  return labels_.Signature(cycle, true);
}

bool CycleTally::ComesBefore(StringId a, StringId b) const {
  return strings_.text(a) < strings_.text(b);
}

void CycleTally::AddLarge(ComponentId component, NodeId node) {
  heap::TextBuffer<1024> text;
  text.Append(strings_.text(labels_.LabelOf(node)));
  text.Append(" → … (a component of over ").Append(heap::kLargeComponent);
  text.Append(" objects)");
  Row& row = RowOf(strings_.Intern(text.text()));
  CountOnce(row, node);
  CountComponent(row, component, false);
}

CycleTally::Row& CycleTally::RowOf(StringId signature) {
  if (signature >= row_of_string_.size())
    row_of_string_.resize(strings_.size() + 256, 0);
  uint32_t& slot = row_of_string_[signature];
  if (slot == 0) {
    rows_.emplace_back(memory_);
    rows_.back().signature = signature;
    slot = static_cast<uint32_t>(rows_.size());
  }
  return rows_[slot - 1];
}

void CycleTally::AddCycle(std::span<const NodeId> cycle) {
  Row& row = RowOf(SignatureOf(cycle));
  NodeId node = cycle.front();
  if (closings_of_ != node)
    closings_.Clear();  // Those of a node come together.
  closings_of_ = node;
  if (closings_.Insert(uint64_t(row.signature) << 32 | cycle.back())) {
    ++row.closures;
    AddSites(row, cycle);
  }
  CountOnce(row, node);
  CountComponent(row, components_.Of(node), IsWatched(node));
  if (!row.example.empty()) return;
  for (size_t i = 0; i < cycle.size(); ++i) {
    row.example.push_back(types_[walk_.type(cycle[i])].name);
    NodeId next = cycle[(i + 1) % cycle.size()];
    row.example_edges.push_back(labels_.EdgeName(cycle, i, next));
    has_unnamed_edges_ |= row.example_edges.back() == 0;
  }
}

void CycleTally::CountOnce(Row& row, NodeId node) {
  if (row.last_node == node) return;  // All cycles of a node come together.
  row.last_node = node;
  ++row.count;
  switch (states_.of[node]) {
    case State::kPinned:
      ++row.pinned;
      break;
    case State::kInFlight:
      ++row.in_flight;
      break;
    case State::kFloating:
      ++row.floating;
      if (never_[node]) ++row.never;
      break;
  }
  if (row.held_by.size() >= kMostHolders ||
      ++row.holders_looked_at > kMostHolderSearches)
    return;
  StringId holder = holders_.PathTo(node);
  bool known = holder == 0 || std::find(row.held_by.begin(), row.held_by.end(),
                                        holder) != row.held_by.end();
  if (!known) row.held_by.push_back(holder);
}

void CycleTally::CountComponent(Row& row, ComponentId component,
                                bool is_watched) {
  // One without a watched object comes but once.
  uint64_t key = (uint64_t(row.signature) << 32) | component;
  if (is_watched && !counted_components_.Insert(key + 1)) return;
  uint64_t& bytes = component_bytes_[component];
  if (bytes == 0)
    for (NodeId member : members_[component]) bytes += walk_.size(member);
  row.objects += members_[component].size();
  row.bytes += bytes;
}

void CycleTally::AddSites(Row& row, std::span<const NodeId> cycle) {
  const Layout& layout = *runtime_.layout;
  bool after_traceback = false;
  bool has_site = false;
  for (NodeId node : cycle) {
    const PyObject* object = walk_.object(node);
    TypeKind kind = types_[walk_.type(node)].kind;
    if (kind == TypeKind::kTraceback && !after_traceback) {
      // Where it was raised is the innermost entry of the chain.
      for (const PyObject* next = object; next != nullptr;
           next = ReadObject(next, layout.traceback_next))
        object = next;
      const PyObject* frame = ReadObject(object, layout.traceback_frame);
      if (frame == nullptr) continue;  // Cleared by the collector, but kept.
      has_site |= AddSite(row, CodeOfFrame(layout, frame),
                          LineOfTraceback(layout, object), Role::kRaised);
    } else if (kind == TypeKind::kFrame) {
      has_site |= AddSite(row, CodeOfFrame(layout, object),
                          LineOfFrame(layout, object), Role::kFrame);
    } else if (kind == TypeKind::kGenerator && HasFrame(layout, object)) {
      has_site |= AddSite(row, CodeOfGenerator(layout, object),
                          LineOfGenerator(layout, object), Role::kFrame);
    }
    after_traceback = kind == TypeKind::kTraceback;
  }
  if (has_site) return;
  for (NodeId node : cycle) {
    if (types_[walk_.type(node)].kind != TypeKind::kFunction) continue;
    const PyObject* code = ReadObject(walk_.object(node), layout.function_code);
    if (code != nullptr)
      AddSite(row, code, Read<int>(code, layout.code_first_line),
              Role::kDefined);
  }
}

bool CycleTally::AddSite(Row& row, const PyObject* code, int line, Role role) {
  if (code == nullptr) return false;
  FunctionNames names = labels_.NamesOf(code);
  for (Site& site : row.sites) {
    if (site.line == line && site.file == names.file &&
        site.function == names.function && site.role == role) {
      ++site.count;
      return true;
    }
  }
  row.sites.push_back({names.file, names.function, line, role, 1});
  return true;
}

void CycleTally::Write(JsonWriter& json) const {
  std::pmr::vector<uint32_t> order(rows_.size(), 0, memory_);
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [this](uint32_t a, uint32_t b) {
    const Row& first = rows_[a];
    const Row& second = rows_[b];
    if (first.bytes != second.bytes) return first.bytes > second.bytes;
    return strings_.text(first.signature) < strings_.text(second.signature);
  });
  constexpr std::string_view kRoles[] = {"raised", "frame", "defined"};
  json.BeginArray();
  for (uint32_t index : order) {
    const Row& row = rows_[index];
    std::string_view signature = strings_.text(row.signature);
    heap::TextBuffer<16> id;
    AppendHex(id, heap::Fnv32(signature), 8);
    json.BeginObject();
    json.Field("id", id.text());
    json.Field("signature", signature);
    json.Field("count", row.count);
    json.Field("closures", row.closures);
    json.Field("objects", row.objects);
    json.Field("bytes", row.bytes);
    json.NullField("retained");
    json.Field("pinned", row.pinned);
    json.Field("floating", row.floating);
    json.Field("in_flight", row.in_flight);
    json.Field("never", row.never);
    std::pmr::vector<Site> sites(row.sites, memory_);
    std::sort(sites.begin(), sites.end(), [](const Site& a, const Site& b) {
      if (a.count != b.count) return a.count > b.count;
      if (a.line != b.line) return a.line < b.line;
      return a.role < b.role;
    });
    json.Key("sites").BeginArray();
    for (size_t i = 0; i < std::min(sites.size(), kMostSites); ++i) {
      json.BeginObject();
      json.Field("file", strings_.text(sites[i].file));
      json.Field("line", sites[i].line);
      json.Field("function", strings_.text(sites[i].function));
      json.Field("role", kRoles[int(sites[i].role)]);
      json.Field("count", sites[i].count);
      json.EndObject();
    }
    json.EndArray();
    json.Field("sites_total", sites.size());
    json.Key("example").BeginArray();
    for (size_t i = 0; i < row.example.size(); ++i) {
      json.BeginObject();
      json.Field("type", strings_.text(row.example[i]));
      if (row.example_edges[i] == 0)
        json.NullField("edge");
      else
        json.Field("edge", strings_.text(row.example_edges[i]));
      json.EndObject();
    }
    json.EndArray();
    json.Key("held_by").BeginArray();
    for (StringId holder : row.held_by) json.String(strings_.text(holder));
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
}

}  // namespace inspector
