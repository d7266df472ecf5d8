#include "collector/heap/recorded_heap.h"

#include <fmt/format.h>

#include "collector/error.h"

namespace collector {

using heap::NodeId;
using heap::RecordedKind;

bool AnswersTo(std::string_view name, std::string_view wanted) {
  if (name == wanted) return true;
  return name.size() > wanted.size() && name.ends_with(wanted) &&
         name[name.size() - wanted.size() - 1] == '.';
}

RecordedHeap RecordedHeap::Open(const std::string& path) {
  std::string problem;
  auto file = heap::HeapFile::Open(path.c_str(), problem);
  if (!file) throw Error(fmt::format("{}: {}", path, problem));
  return RecordedHeap(std::move(*file), path);
}

RecordedHeap RecordedHeap::FromDescriptor(int descriptor,
                                          const std::string& name) {
  std::string problem;
  auto file = heap::HeapFile::Map(descriptor, problem);
  if (!file) throw Error(fmt::format("{}: {}", name, problem));
  return RecordedHeap(std::move(*file), name);
}

RecordedHeap::RecordedHeap(heap::HeapFile file, const std::string& name)
    : file_(std::move(file)),
      report_(nlohmann::json::parse(file_.report(), nullptr, false)) {
  if (!report_.is_object())
    throw Error(fmt::format("{}: the report inside is no JSON object", name));
  for (heap::StringId id = 0; id < file_.string_count(); ++id)
    if (file_.text(id) == ".__dict__") dict_name_ = id;
  if (dict_name_ == 0) return;
  for (NodeId node = 0; node < node_count(); ++node) {
    RecordedKind owner = kind(node);
    if (owner == RecordedKind::kType || owner == RecordedKind::kModule ||
        owner == RecordedKind::kFunction || owner == RecordedKind::kDict)
      continue;
    auto referents = graph().Referents(node);
    for (size_t i = 0; i < referents.size(); ++i)
      if (file_.edge_names()[file_.first_edge()[node] + i].text() ==
              dict_name_ &&
          kind(referents[i].referent()) == RecordedKind::kDict)
        instance_of_.emplace(referents[i].referent(), node);
  }
}

heap::StringId RecordedHeap::label(NodeId node) const {
  switch (kind(node)) {
    case RecordedKind::kFrame:
    case RecordedKind::kTraceback:
    case RecordedKind::kGenerator:
    case RecordedKind::kModule:
    case RecordedKind::kType:
      if (const heap::LabelRecord* label = file_.label(node))
        return label->label;
      break;
    default:
      break;
  }
  return file_.type(node).label;
}

std::string RecordedHeap::AddressOf(NodeId node) const {
  return fmt::format("{:#x}", file_.addresses()[node]);
}

const char* RecordedHeap::StateOf(NodeId node) const {
  return StateName(file_.state(node));
}

const char* RecordedHeap::StateName(heap::State state) {
  switch (state) {
    case heap::State::kPinned:
      return "pinned";
    case heap::State::kFloating:
      return "floating";
    case heap::State::kInFlight:
      break;
  }
  return "in_flight";
}

std::string RecordedHeap::NameOf(heap::EdgeName name) const {
  return name.is_index() ? fmt::format("[{}]", name.index())
                         : std::string(file_.text(name.text()));
}

std::string RecordedHeap::NameBetween(NodeId referrer, NodeId referent) const {
  auto referents = graph().Referents(referrer);
  for (size_t i = 0; i < referents.size(); ++i)
    if (referents[i].referent() == referent)
      return NameOf(file_.edge_names()[file_.first_edge()[referrer] + i]);
  return "";
}

NodeId RecordedHeap::InstanceOf(NodeId dict) const {
  auto found = instance_of_.find(dict);
  return found == instance_of_.end() ? heap::kNoNode : found->second;
}

bool RecordedHeap::HasDictEdge(NodeId owner, NodeId dict) const {
  auto referents = graph().Referents(owner);
  for (size_t i = 0; i < referents.size(); ++i)
    if (referents[i].referent() == dict)
      return file_.edge_names()[file_.first_edge()[owner] + i].text() ==
             dict_name_;
  return false;
}

bool RecordedHeap::IsInstanceDictOf(NodeId owner, NodeId dict) const {
  if (kind(dict) != RecordedKind::kDict || dict_name_ == 0) return false;
  RecordedKind of = kind(owner);
  return of != RecordedKind::kType && of != RecordedKind::kModule &&
         of != RecordedKind::kFunction && of != RecordedKind::kDict &&
         InstanceOf(dict) != heap::kNoNode && HasDictEdge(owner, dict);
}

bool RecordedHeap::IsNamespaceOf(NodeId owner, NodeId dict) const {
  RecordedKind of = kind(owner);
  return kind(dict) == RecordedKind::kDict && dict_name_ != 0 &&
         of != RecordedKind::kFunction && of != RecordedKind::kDict &&
         HasDictEdge(owner, dict);
}

std::vector<uint8_t> RecordedHeap::TypesNamed(std::string_view wanted) const {
  // A name in many mros is compared once.
  std::vector<uint8_t> named(file_.string_count(), 2);
  std::vector<uint8_t> types;
  for (const heap::TypeRecord& type : file_.types()) {
    types.push_back(0);
    auto matches = [&](heap::StringId id) {
      if (named[id] == 2) named[id] = AnswersTo(file_.text(id), wanted);
      return named[id] != 0;
    };
    if (matches(type.name)) types.back() = 1;
    for (heap::StringId id : file_.class_names(type))
      if (types.back() == 0 && matches(id)) types.back() = 1;
  }
  return types;
}

}  // namespace collector
