#include "collector/heap/cut.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "collector/error.h"

namespace collector {

using heap::EdgeAt;
using heap::EdgeName;
using heap::NodeId;
using heap::RecordedKind;
using heap::StringId;

Cut Cut::Parse(const std::string& text) {
  Cut cut;
  std::string rest = text;
  // A key's type may carry an @ no more than a name may.
  if (size_t at = rest.rfind('@'); at != std::string::npos) {
    cut.function = rest.substr(at + 1);
    rest.resize(at);
    if (cut.function.empty()) rest.clear();
  }
  if (rest.ends_with(']')) {
    size_t open = rest.find('[');
    if (open != std::string::npos) {
      cut.type = rest.substr(0, open);
      cut.edge = rest.substr(open);
    }
  } else if (size_t dot = rest.rfind('.'); dot != std::string::npos) {
    cut.type = rest.substr(0, dot);
    cut.edge = rest.substr(dot + 1);
  }
  if (cut.type.empty() || cut.edge.empty())
    throw UsageError(fmt::format(
        "--cut {}: write it like BaseException.__traceback__, Session.items or "
        "list[*], with @FUNCTION behind it if need be",
        text));
  return cut;
}

std::string Cut::Text() const {
  return type + (edge.starts_with('[') ? "" : ".") + edge +
         (function.empty() ? "" : "@" + function);
}

NodeId CutFinder::OwnerOf(NodeId referrer) const {
  if (heap_.kind(referrer) != RecordedKind::kDict) return referrer;
  NodeId instance = heap_.InstanceOf(referrer);
  return instance == heap::kNoNode ? referrer : instance;
}

StringId CutFinder::FunctionAt(NodeId node) const {
  RecordedKind kind = heap_.kind(node);
  if (kind != RecordedKind::kFrame && kind != RecordedKind::kTraceback &&
      kind != RecordedKind::kGenerator)
    return 0;
  const heap::LabelRecord* label = heap_.file().label(node);
  return label == nullptr ? 0 : label->function;
}

StringId CutFinder::FunctionOf(NodeId referrer, NodeId referent) const {
  StringId function = FunctionAt(referrer);
  return function != 0 ? function : FunctionAt(referent);
}

/// By text: whether an edge of that name is meant.
std::vector<uint8_t> CutFinder::NamesEqual(const std::string& edge) const {
  std::vector<uint8_t> equal(heap_.file().string_count(), 0);
  for (StringId id = 1; id < equal.size(); ++id) {
    std::string_view text = heap_.file().text(id);
    equal[id] =
        text == edge || (text.starts_with('.') && text.substr(1) == edge);
  }
  return equal;
}

/// By component: whether a frame or a generator of the function is in it.
std::vector<uint8_t> CutFinder::ComponentsWith(
    const std::string& function) const {
  std::vector<uint8_t> with(components_.count(), 0);
  for (const heap::LabelRecord& label : heap_.file().labels()) {
    RecordedKind kind = heap_.kind(label.node);
    if ((kind == RecordedKind::kFrame || kind == RecordedKind::kGenerator) &&
        components_.Has(label.node) &&
        AnswersTo(heap_.file().text(label.function), function))
      with[components_.Of(label.node)] = 1;
  }
  return with;
}

std::vector<EdgeAt> CutFinder::EdgesOf(const Cut& cut) const {
  std::vector<uint8_t> types = heap_.TypesNamed(cut.type);
  std::vector<uint8_t> names = NamesEqual(cut.edge);
  bool any_place = cut.edge == "[*]";
  auto is_meant = [&](EdgeName name) {
    if (!name.is_index()) return names[name.text()] != 0;
    return any_place || heap_.NameOf(name) == cut.edge;
  };
  bool has_places = cut.edge.starts_with('[');
  std::vector<uint8_t> with;
  std::vector<uint8_t> functions;  // By text.
  if (!cut.function.empty()) {
    with = ComponentsWith(cut.function);
    functions.resize(heap_.file().string_count(), 2);
  }
  auto is_of_function = [&](NodeId referrer, NodeId referent) {
    if (cut.function.empty()) return true;
    if (StringId id = FunctionOf(referrer, referent); id != 0) {
      if (functions[id] == 2)
        functions[id] = AnswersTo(heap_.file().text(id), cut.function);
      return functions[id] != 0;
    }
    heap::ComponentId component = components_.Of(referrer);
    return component != heap::kNoComponent &&
           component == components_.Of(referent) && with[component] != 0;
  };
  std::vector<EdgeAt> edges;
  for (NodeId node = 0; node < heap_.node_count(); ++node) {
    if (types[heap_.file().type_of(OwnerOf(node))] == 0) continue;
    auto referents = heap_.graph().Referents(node);
    uint32_t edge = heap_.graph().FirstEdge(node);
    for (size_t i = 0; i < referents.size(); ++i, ++edge) {
      EdgeName name = heap_.file().edge_names()[edge];
      if (name.is_index() ? has_places && is_meant(name) : is_meant(name))
        if (is_of_function(node, referents[i].referent()))
          edges.push_back({node, edge});
    }
  }
  return edges;
}

std::vector<EdgeAt> CutFinder::ExistingEdgesOf(const Cut& cut) const {
  std::vector<EdgeAt> edges = EdgesOf(cut);
  if (!edges.empty()) return edges;
  std::vector<uint8_t> types = heap_.TypesNamed(cut.type);
  std::map<std::string, size_t> names;
  size_t objects = 0;
  for (NodeId node = 0; node < heap_.node_count(); ++node) {
    if (types[heap_.file().type_of(OwnerOf(node))] == 0) continue;
    objects += OwnerOf(node) == node;
    uint32_t edge = heap_.graph().FirstEdge(node);
    for (size_t i = 0; i < heap_.graph().Referents(node).size(); ++i, ++edge) {
      EdgeName name = heap_.file().edge_names()[edge];
      if (!name.is_none())
        ++names[name.is_index() ? "[*]" : heap_.NameOf(name)];
    }
  }
  if (objects == 0)
    throw Error(fmt::format(
        "--cut {}: there is no object of {} or of a class that inherits from "
        "it in this heap",
        cut.Text(), cut.type));
  if (!cut.function.empty() && !EdgesOf({cut.type, cut.edge, ""}).empty())
    throw Error(fmt::format(
        "--cut {}: none of these references is of a function {}; leave out "
        "@{} to cut all of them",
        cut.Text(), cut.function, cut.function));
  std::vector<std::pair<std::string, size_t>> common(names.begin(),
                                                     names.end());
  std::stable_sort(common.begin(), common.end(),
                   [](auto& a, auto& b) { return a.second > b.second; });
  std::string instead;
  for (size_t i = 0; i < std::min<size_t>(common.size(), 8); ++i)
    instead += (i > 0 ? ", " : "") + common[i].first;
  throw Error(fmt::format(
      "--cut {}: none of the {} objects of {} has a reference of this name; "
      "theirs are called {}",
      cut.Text(), objects, cut.type, instead.empty() ? "nothing" : instead));
}

}  // namespace collector
