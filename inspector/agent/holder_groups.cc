#include "inspector/agent/holder_groups.h"

#include <algorithm>

#include "inspector/cpython/edge_names.h"
#include "inspector/cpython/sizes.h"

namespace inspector {

using heap::NodeId;
using heap::State;
using heap::StringId;

namespace {

// A node with this many below it is a place of its own if it has a name.
constexpr uint8_t kMuch = 16;
// No name is looked for in a holder with more references than this: naming
// each of its nodes would cost their square.
constexpr size_t kMostReferences = 4096;
// How far up a repetition is looked for.
constexpr int kLookBack = 6;
// References that naming paths may read in all (about a second).
constexpr uint64_t kReadBudget = 300'000'000;

uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t mixed = (a ^ (b * 0x9e3779b97f4a7c15)) * 0xff51afd7ed558ccd;
  return mixed ^ (mixed >> 32);
}

}  // namespace

HolderGroups::HolderGroups(const Runtime& runtime, const HeapWalk& walk,
                           const TypeTable& types, const heap::States& states,
                           NodeLabels& labels, Holders& holders,
                           heap::StringTable& strings,
                           std::pmr::memory_resource* memory)
    : runtime_(runtime),
      walk_(walk),
      types_(types),
      states_(states),
      labels_(labels),
      holders_(holders),
      strings_(strings),
      groups_(memory),
      slots_(1024, 0, memory),
      group_of_(memory),
      weight_(memory),
      is_counted_(memory) {}

void HolderGroups::Run() {
  modules_ = strings_.Intern("modules");
  NodeId row_count = walk_.graph().row_count();
  weight_.resize(row_count, 0);
  group_of_.resize(row_count, 0);
  is_counted_.resize(walk_.node_count() - row_count);
  Weigh();
  PlaceStarts();
  PlaceRest();
  CountNodes();
  std::erase_if(groups_, [](const HolderGroup& g) { return g.count == 0; });
  auto free = [](auto& column) {
    std::decay_t<decltype(column)>(column.get_allocator()).swap(column);
  };
  free(weight_);
  free(group_of_);
  free(is_counted_);
  free(slots_);
  std::sort(groups_.begin(), groups_.end(),
            [](const HolderGroup& a, const HolderGroup& b) {
              return a.bytes != b.bytes ? a.bytes > b.bytes : a.id < b.id;
            });
}

/// Who holds much need not be counted further, and whoever holds such a node
/// holds more: each node adds at most kMuch.
void HolderGroups::Weigh() {
  for (NodeId node = 0; node < walk_.node_count(); ++node) {
    if (states_.holder[node] == heap::kNoNode) continue;
    for (NodeId at = node; !IsStart(at);) {
      at = states_.holder[at];
      if (weight_[at] == kMuch) break;
      ++weight_[at];
    }
  }
}

void HolderGroups::PlaceStarts() {
  auto is_new = [this](NodeId node) {
    return node != heap::kNoNode && IsStart(node) &&
           (HasRow(node) ? group_of_[node] == 0
                         : !is_counted_[node - weight_.size()]);
  };
  for (NodeId module : walk_.modules()) {
    if (!is_new(module)) continue;
    PutAtStart(module,
               WeightOf(module) < kMuch ? modules_ : labels_.LabelOf(module));
  }
  for (const Root& root : walk_.roots())
    if (is_new(root.node)) PutAtStart(root.node, holders_.StartName(root));
  for (const FrameReference& reference : walk_.frames().references) {
    NodeId node = reference.node;
    if (!is_new(node) || states_.of[node] != State::kInFlight) continue;
    PutAtStart(node, holders_.StartName(reference));
  }
  StringId from_c = strings_.Intern("held from C");
  for (NodeId node = 0; node < walk_.node_count(); ++node)
    if (states_.holder[node] != heap::kNoNode && is_new(node))
      PutAtStart(node, from_c);
}

void HolderGroups::PlaceRest() {
  std::pmr::vector<NodeId> path(groups_.get_allocator());
  for (NodeId node = 0; node < weight_.size(); ++node) {
    if (states_.holder[node] == heap::kNoNode) continue;
    for (NodeId at = node; group_of_[at] == 0; at = states_.holder[at])
      path.push_back(at);
    for (; !path.empty(); path.pop_back()) {
      NodeId next = path.back();
      uint32_t parent = group_of_[states_.holder[next]] - 1;
      group_of_[next] = 1 + GroupFor(next, parent, PlaceName(next));
    }
  }
}

void HolderGroups::CountNodes() {
  for (NodeId node = 0; node < walk_.node_count(); ++node) {
    // Frozen garbage lies below roots of its own, but nothing holds it.
    if (states_.holder[node] == heap::kNoNode ||
        states_.of[node] == State::kFloating)
      continue;
    if (HasRow(node))
      Count(group_of_[node] - 1, node);
    else if (!IsStart(node))
      Count(GroupFor(node, group_of_[states_.holder[node]] - 1, 0), node);
  }
}

/// The name of a node that holds much, if its holder has one for it that is no
/// place in a sequence and no key; else 0.
StringId HolderGroups::NameInHolder(NodeId node) const {
  if (WeightOf(node) < kMuch) return 0;
  NodeId holder = states_.holder[node];
  const PyObject* object = walk_.object(holder);
  uint64_t flags = TypeFlags(runtime_, TypeOf(object));
  if ((flags & (kFlagList | kFlagTuple)) != 0 ||
      walk_.graph().Referents(holder).size() > kMostReferences)
    return 0;
  NodeId path[] = {states_.holder[holder], holder};
  if ((flags & kFlagDict) != 0 &&
      (IsStart(holder) ||
       !IsNamespaceOf(runtime_, walk_.object(path[0]), object)))
    return 0;
  StringId name = labels_.EdgeName(path, 1, node);
  std::string_view text = strings_.text(name);
  return text.starts_with(".") || text.starts_with("local ") ? name : 0;
}

/// As NameInHolder; of generators and coroutines also the function.
StringId HolderGroups::PlaceName(NodeId node) {
  StringId name = NameInHolder(node);
  if (types_[walk_.type(node)].kind != TypeKind::kGenerator) return name;
  StringId function = labels_.LabelOf(node);
  if (name == 0) return function;
  heap::TextBuffer<2048> text;
  text.Append(strings_.text(function)).Append(strings_.text(name));
  return strings_.Intern(text.text());
}

void HolderGroups::PutAtStart(NodeId node, StringId start) {
  uint32_t group = GroupFor(node, kStart | start, 0);
  if (HasRow(node)) {
    group_of_[node] = group + 1;
  } else {
    is_counted_[node - weight_.size()] = true;
    if (states_.of[node] != State::kFloating) Count(group, node);
  }
}

void HolderGroups::Count(uint32_t index, NodeId node) {
  HolderGroup& group = groups_[index];
  ++group.count;
  group.bytes += walk_.size(node);
}

uint32_t HolderGroups::GroupFor(NodeId node, uint32_t parent, StringId name) {
  StringId type = types_[walk_.type(node)].name;
  Found& found = found_[Mix(parent, type) % found_.size()];
  if (name == 0 && found.parent == parent && found.type == type)
    return found.group;
  uint32_t above = parent;
  for (int i = 0; i < kLookBack && (above & kStart) == 0; ++i) {
    const HolderGroup& group = groups_[above];
    bool is_start = (group.parent & kStart) != 0;
    if (group.type == type && group.name == name && !is_start) {
      if (name == 0) found = {parent, type, above};
      return above;
    }
    above = group.parent;
  }
  uint32_t group = Find(node, parent, name);
  if (name == 0) found = {parent, type, group};
  return group;
}

uint32_t HolderGroups::Find(NodeId node, uint32_t parent, StringId name) {
  StringId type = types_[walk_.type(node)].name;
  if (groups_.size() * 2 >= slots_.size()) Rehash();
  size_t mask = slots_.size() - 1;
  size_t at = Mix(Mix(parent, name), type) & mask;
  for (; slots_[at] != 0; at = (at + 1) & mask) {
    const HolderGroup& group = groups_[slots_[at] - 1];
    if (group.parent == parent && group.name == name && group.type == type)
      return slots_[at] - 1;
  }
  HolderGroup group;
  group.type = type;
  group.state = states_.of[node];
  group.example = node;
  group.parent = parent;
  group.name = name;
  bool starts = (parent & kStart) != 0;
  group.in_many_modules =
      starts ? parent == (kStart | modules_) : groups_[parent].in_many_modules;
  group.id = Mix(Mix(starts ? heap::Fnv64(strings_.text(parent & ~kStart))
                            : groups_[parent].id,
                     heap::Fnv64(strings_.text(name))),
                 heap::Fnv64(strings_.text(type)));
  groups_.push_back(group);
  slots_[at] = static_cast<uint32_t>(groups_.size());
  return slots_[at] - 1;
}

void HolderGroups::Rehash() {
  std::pmr::vector<uint32_t> larger(slots_.size() * 2, 0,
                                    slots_.get_allocator());
  size_t mask = larger.size() - 1;
  for (uint32_t i = 0; i < groups_.size(); ++i) {
    const HolderGroup& group = groups_[i];
    size_t at = Mix(Mix(group.parent, group.name), group.type) & mask;
    while (larger[at] != 0) at = (at + 1) & mask;
    larger[at] = i + 1;
  }
  slots_.swap(larger);
}

const HolderGroup* HolderGroups::CommonestOf(StringId type) const {
  const HolderGroup* commonest = nullptr;
  for (const HolderGroup& group : groups_)
    if (group.type == type &&
        (commonest == nullptr || group.count > commonest->count))
      commonest = &group;
  return commonest;
}

StringId HolderGroups::PathTo(const HolderGroup& group) {
  for (NodeId at = group.example; !IsStart(at); at = states_.holder[at]) {
    if (read_ > kReadBudget) return 0;
    read_ += 1 + walk_.graph().Referents(states_.holder[at]).size();
  }
  return holders_.TypicalPathTo(group.example, group.in_many_modules);
}

}  // namespace inspector
