#include "collector/heap/what_if.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace collector {

using heap::Edge;
using heap::EdgeAt;
using heap::EdgeName;
using heap::NodeId;
using heap::StringId;
using nlohmann::json;

namespace {

// Cuts that are tried out, and of how many the freed bytes are known before.
constexpr size_t kTried = 8;
constexpr size_t kFreed = 40;

/// Counts the cycles on which there is a reference of one name, of one class
/// or of one that inherits from it, and of one function or of any.
class CandidateTally {
 public:
  CandidateTally(const RecordedHeap& heap, const CutFinder& finder)
      : heap_(heap), finder_(finder) {
    std::set<std::string_view> names;
    for (const heap::TypeRecord& type : heap.file().types())
      for (StringId id : heap.file().class_names(type))
        names.insert(heap.file().text(id));
    for (std::string_view name : names) ++labels_[LastPart(name)];
  }

  void Add(std::span<const NodeId> cycle) {
    std::set<Key> keys;
    for (size_t i = 0; i < cycle.size(); ++i)
      AddStep(cycle[i], cycle[(i + 1) % cycle.size()], keys);
    for (const Key& key : keys) ++cycles_[key];
  }

  /// The most frequent first. A base class or any function stands there only if
  /// it says more than what it comprises.
  std::vector<Cut> MostFrequent(size_t most) const {
    std::set<Key> keys;
    for (const Owned& owned : owned_) {
      uint64_t last = 0;
      for (StringId name :
           heap_.file().class_names(heap_.file().types()[std::get<0>(owned)])) {
        Key key = {name, std::get<1>(owned), std::get<2>(owned)};
        auto found = cycles_.find(key);
        if (found == cycles_.end()) continue;
        if (found->second > last) keys.insert(key);
        last = std::max(last, found->second);
      }
    }
    std::vector<std::pair<uint64_t, Key>> order;
    for (const Key& key : keys) {
      uint64_t cycles = cycles_.at(key);
      bool comprises = false;
      if (std::get<2>(key) == 0)
        for (auto at = keys.upper_bound(key);
             at != keys.end() && std::get<0>(*at) == std::get<0>(key) &&
             std::get<1>(*at) == std::get<1>(key);
             ++at)
          comprises |= cycles_.at(*at) == cycles;
      if (!comprises) order.push_back({cycles, key});
    }
    std::stable_sort(order.begin(), order.end(),
                     [](auto& a, auto& b) { return a.first > b.first; });
    std::vector<Cut> cuts;
    for (size_t i = 0; i < std::min(most, order.size()); ++i)
      cuts.push_back(CutOf(order[i].second));
    return cuts;
  }

 private:
  // Class, name, function (0: any).
  using Key = std::tuple<StringId, StringId, StringId>;
  using Owned = std::tuple<uint32_t, StringId, StringId>;

  static std::string_view LastPart(std::string_view name) {
    return name.substr(name.rfind('.') + 1);
  }

  /// Not where an instance keeps its attributes, nor a place in some container,
  /// which has a name where it is held.
  bool CanBeMended(EdgeName name) const {
    if (name.is_none() || name.is_index()) return false;
    std::string_view text = heap_.file().text(name.text());
    return text != ".__dict__" && !text.starts_with('[') &&
           !text.starts_with(' ');
  }

  /// Looked for once: a list of a million may lie on a million cycles.
  const std::vector<uint32_t>& EdgesToMend(NodeId node) {
    auto [found, is_new] = edges_to_mend_.try_emplace(node);
    if (is_new) {
      uint32_t edge = heap_.graph().FirstEdge(node);
      for (heap::Edge reference : heap_.graph().Referents(node)) {
        if (!reference.cut() && CanBeMended(heap_.file().edge_names()[edge]))
          found->second.push_back(edge);
        ++edge;
      }
    }
    return found->second;
  }

  void AddStep(NodeId referrer, NodeId referent, std::set<Key>& keys) {
    uint32_t type = heap_.file().type_of(finder_.OwnerOf(referrer));
    StringId function = finder_.FunctionOf(referrer, referent);
    for (uint32_t edge : EdgesToMend(referrer)) {
      if (heap_.graph().edges()[edge].referent() != referent) continue;
      EdgeName name = heap_.file().edge_names()[edge];
      for (StringId of : {StringId{0}, function}) {
        owned_.insert({type, name.text(), of});
        for (StringId base :
             heap_.file().class_names(heap_.file().types()[type]))
          if (base == heap_.file().types()[type].name ||
              heap_.file().text(base) != "builtins.object")
            keys.insert({base, name.text(), of});
      }
    }
  }

  Cut CutOf(const Key& key) const {
    auto [name, edge, function] = key;
    std::string_view text = heap_.file().text(name);
    std::string_view label = LastPart(text);
    Cut cut;
    cut.type = labels_.at(label) == 1 ? label : text;
    cut.edge = heap_.file().text(edge);
    if (cut.edge.starts_with('.')) cut.edge.erase(0, 1);
    cut.function = heap_.file().text(function);
    return cut;
  }

  const RecordedHeap& heap_;
  const CutFinder& finder_;
  std::unordered_map<NodeId, std::vector<uint32_t>> edges_to_mend_;
  std::map<std::string_view, size_t> labels_;  // Classes of that last part.
  std::map<Key, uint64_t> cycles_;
  std::set<Owned> owned_;
};

json TypeRows(const RecordedHeap& heap,
              const std::vector<heap::ReferenceCounts::Freed>& freed) {
  std::map<StringId, std::pair<uint64_t, uint64_t>> types;
  for (const auto& [node, by] : freed) {
    auto& [count, bytes] = types[heap.file().type(node).name];
    ++count;
    bytes += heap.file().size(node);
  }
  std::vector<json> rows;
  for (const auto& [name, sums] : types)
    rows.push_back({{"type", heap.file().text(name)},
                    {"count", sums.first},
                    {"bytes", sums.second}});
  std::stable_sort(rows.begin(), rows.end(), [](const json& a, const json& b) {
    return a["bytes"] > b["bytes"];
  });
  return rows;
}

}  // namespace

WhatIf::WhatIf(const RecordedHeap& heap)
    : heap_(heap),
      before_(heap, heap.graph()),
      finder_(heap, before_.components()),
      counts_(heap.graph(), heap.file().counts()) {}

void WhatIf::Free(Outcome& outcome) {
  auto freed = counts_.Drop(outcome.edges);
  outcome.freed.assign(freed.begin(), freed.end());
  outcome.freed_bytes = 0;
  for (const auto& [node, by] : freed)
    outcome.freed_bytes += heap_.file().size(node);
}

WhatIf::Outcome WhatIf::Try(std::vector<EdgeAt> cut_edges) {
  Outcome outcome;
  outcome.edges = std::move(cut_edges);
  Free(outcome);
  std::vector<Edge> edges(heap_.file().edges().begin(),
                          heap_.file().edges().end());
  for (EdgeAt at : outcome.edges)
    edges[at.edge] = Edge(edges[at.edge].referent(), true);
  heap::HeapGraph graph(heap_.file().first_edge(), edges);
  RecordedCycles after(heap_, graph);
  std::map<std::string_view, std::vector<NodeId>> left;
  for (const CycleRow& row : after.rows()) {
    auto& nodes = left[row.signature];
    nodes = row.nodes;
    std::sort(nodes.begin(), nodes.end());
  }
  for (const CycleRow& row : before_.rows()) {
    uint64_t surviving = 0;
    if (auto found = left.find(row.signature); found != left.end()) {
      std::vector<NodeId> had = row.nodes;
      std::sort(had.begin(), had.end());
      std::vector<NodeId> kept;
      std::set_intersection(had.begin(), had.end(), found->second.begin(),
                            found->second.end(), std::back_inserter(kept));
      surviving = kept.size();
      if (found->second.size() > surviving)
        outcome.uncovered.push_back(
            {row.signature, found->second.size() - surviving});
      left.erase(found);
    }
    outcome.surviving.push_back(surviving);
    outcome.broken += row.nodes.size() - surviving;
  }
  for (const auto& [signature, nodes] : left)
    outcome.uncovered.push_back({std::string(signature), nodes.size()});
  std::stable_sort(
      outcome.uncovered.begin(), outcome.uncovered.end(),
      [](const auto& a, const auto& b) { return a.second > b.second; });
  outcome.skipped = after.skipped();
  for (NodeId node = 0; node < heap_.node_count(); ++node)
    outcome.on_cycle.push_back(after.components().Has(node));
  return outcome;
}

json WhatIf::Document() const {
  uint64_t cycles = 0;
  for (const CycleRow& row : before_.rows()) cycles += row.nodes.size();
  json document = {{"schema", "cyclescope.whatif/1"},
                   {"objects", heap_.node_count()},
                   {"cycles", cycles},
                   {"limits", json::array()}};
  auto limit = [&](const char* field, const std::string& reason) {
    document["limits"].push_back({{"field", field}, {"reason", reason}});
  };
  limit("freed",
        "what finalizers and callbacks of weak references would do is not "
        "simulated");
  if (before_.skipped() > 0)
    limit("cycles", "cycles of " + std::to_string(before_.skipped()) +
                        " objects were left out: the search grew too long");
  return document;
}

void WhatIf::LimitBroken(const Outcome& outcome, json& document) const {
  if (outcome.skipped <= before_.skipped()) return;
  document["limits"].push_back(
      {{"field", "broken"},
       {"reason",
        "too high: without the references cut, the search for the "
        "cycles of " +
            std::to_string(outcome.skipped) +
            " objects grew too long, and they count as broken"}});
}

json WhatIf::Signatures(const Outcome& outcome) const {
  // What went hangs from the component that it was last held by.
  std::vector<std::pair<uint64_t, uint64_t>> freed(
      before_.components().count());
  std::unordered_map<NodeId, heap::ComponentId> went_with;
  for (const auto& [node, by] : outcome.freed) {
    heap::ComponentId component = before_.components().Of(node);
    if (component == heap::kNoComponent) {
      auto found = went_with.find(by);
      component = found != went_with.end() ? found->second
                                           : before_.components().Of(by);
    }
    went_with[node] = component;
    if (component == heap::kNoComponent) continue;
    ++freed[component].first;
    freed[component].second += heap_.file().size(node);
  }
  std::vector<json> rows;
  for (size_t i = 0; i < before_.rows().size(); ++i) {
    const CycleRow& row = before_.rows()[i];
    uint64_t objects = 0;
    uint64_t bytes = 0;
    for (heap::ComponentId component : row.components) {
      objects += freed[component].first;
      bytes += freed[component].second;
    }
    rows.push_back({{"id", row.id},
                    {"signature", row.signature},
                    {"count", row.nodes.size()},
                    {"broken", row.nodes.size() - outcome.surviving[i]},
                    {"surviving", outcome.surviving[i]},
                    {"freed_objects", objects},
                    {"freed_bytes", bytes}});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const json& a, const json& b) {
    if (a["broken"] != b["broken"]) return a["broken"] > b["broken"];
    return a["freed_bytes"] > b["freed_bytes"];
  });
  return rows;
}

json WhatIf::Watched(const Outcome& outcome) const {
  struct Row {
    uint64_t alive = 0;
    uint64_t before = 0;
    uint64_t after = 0;
    uint64_t freed = 0;
  };
  std::map<StringId, Row> rows;
  for (NodeId node = 0; node < heap_.node_count(); ++node) {
    if (!heap_.watched(node)) continue;
    Row& row = rows[heap_.file().type(node).name];
    ++row.alive;
    row.before += before_.components().Has(node);
    row.after += outcome.on_cycle[node];
  }
  for (const auto& [node, by] : outcome.freed)
    if (heap_.watched(node)) ++rows[heap_.file().type(node).name].freed;
  json list = json::array();
  for (const auto& [name, row] : rows)
    list.push_back({{"type", heap_.file().text(name)},
                    {"alive", row.alive},
                    {"on_cycles", row.before},
                    {"on_cycles_after", row.after},
                    {"freed", row.freed}});
  return list;
}

json WhatIf::Freed(const Outcome& outcome) const {
  json freed = {{"objects", outcome.freed.size()},
                {"bytes", outcome.freed_bytes}};
  uint64_t of_state[3] = {};
  for (const auto& [node, by] : outcome.freed)
    ++of_state[int(heap_.file().state(node))];
  for (heap::State state :
       {heap::State::kPinned, heap::State::kFloating, heap::State::kInFlight})
    freed[RecordedHeap::StateName(state)] = of_state[int(state)];
  freed["types"] = TypeRows(heap_, outcome.freed);
  return freed;
}

json WhatIf::Without(const std::vector<Cut>& cuts, std::vector<NodeId>* freed) {
  json document = Document();
  std::vector<EdgeAt> edges;
  for (const Cut& cut : cuts) {
    std::vector<EdgeAt> found = finder_.ExistingEdgesOf(cut);
    document["cuts"].push_back(
        {{"cut", cut.Text()}, {"references", found.size()}});
    edges.insert(edges.end(), found.begin(), found.end());
  }
  auto before = [](EdgeAt a, EdgeAt b) { return a.edge < b.edge; };
  auto same = [](EdgeAt a, EdgeAt b) { return a.edge == b.edge; };
  std::sort(edges.begin(), edges.end(), before);
  edges.erase(std::unique(edges.begin(), edges.end(), same), edges.end());
  Outcome outcome = Try(std::move(edges));
  if (freed != nullptr)
    for (const auto& [node, by] : outcome.freed) freed->push_back(node);
  LimitBroken(outcome, document);
  document["references"] = outcome.edges.size();
  document["broken"] = outcome.broken;
  document["surviving"] = document["cycles"].get<uint64_t>() - outcome.broken;
  document["freed"] = Freed(outcome);
  document["watched"] = Watched(outcome);
  document["signatures"] = Signatures(outcome);
  document["uncovered"] = json::array();
  for (const auto& [signature, count] : outcome.uncovered)
    document["uncovered"].push_back(
        {{"signature", signature}, {"count", count}});
  return document;
}

std::vector<Cut> WhatIf::Candidates() const {
  CandidateTally tally(heap_, finder_);
  RecordedCycles again(
      heap_, heap_.graph(),
      [&tally](size_t, std::span<const NodeId> cycle) { tally.Add(cycle); });
  return tally.MostFrequent(kFreed);
}

json WhatIf::Rank(size_t most) {
  struct Tried {
    Cut cut;
    Outcome outcome;
  };
  std::vector<Tried> tried;
  for (Cut& cut : Candidates()) {
    Outcome outcome;
    outcome.edges = finder_.EdgesOf(cut);
    Free(outcome);
    tried.push_back({std::move(cut), std::move(outcome)});
  }
  // Those on the most cycles, and behind them those that free the most.
  size_t frequent = std::min(kTried, tried.size());
  std::stable_sort(tried.begin() + ptrdiff_t(frequent), tried.end(),
                   [](const Tried& a, const Tried& b) {
                     return a.outcome.freed_bytes > b.outcome.freed_bytes;
                   });
  tried.resize(std::min(2 * kTried, tried.size()));
  for (Tried& one : tried) one.outcome = Try(std::move(one.outcome.edges));
  std::stable_sort(tried.begin(), tried.end(),
                   [](const Tried& a, const Tried& b) {
                     if (a.outcome.broken != b.outcome.broken)
                       return a.outcome.broken > b.outcome.broken;
                     return a.outcome.freed_bytes > b.outcome.freed_bytes;
                   });
  json document = Document();
  document["ranking"] = json::array();
  for (size_t i = 0; i < std::min(most, tried.size()); ++i) {
    const Outcome& outcome = tried[i].outcome;
    LimitBroken(outcome, document);
    document["ranking"].push_back(
        {{"cut", tried[i].cut.Text()},
         {"references", outcome.edges.size()},
         {"broken", outcome.broken},
         {"surviving", document["cycles"].get<uint64_t>() - outcome.broken},
         {"freed_objects", outcome.freed.size()},
         {"freed_bytes", outcome.freed_bytes}});
  }
  return document;
}

}  // namespace collector
