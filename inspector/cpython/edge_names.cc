#include "inspector/cpython/edge_names.h"

#include "inspector/cpython/named_references.h"

namespace inspector {

using heap::EdgeName;
using heap::NodeId;
using heap::StringId;

bool IsInstanceDictOf(const Runtime& runtime, const PyObject* owner,
                      const PyObject* dict) {
  const PyObject* type = TypeOf(owner);
  if ((TypeFlags(runtime, type) & kFlagType) != 0 ||
      type == runtime.type_function ||
      HasBase(runtime, type, runtime.type_module))
    return false;
  return AttributesOf(runtime, owner).dict == dict;
}

bool IsNamespaceOf(const Runtime& runtime, const PyObject* owner,
                   const PyObject* dict) {
  const Layout& layout = *runtime.layout;
  const PyObject* type = TypeOf(owner);
  if ((TypeFlags(runtime, type) & kFlagType) != 0)
    return ReadObject(owner, layout.type_dict) == dict;
  if (type == runtime.type_function)
    return ReadObject(owner, layout.function_globals) == dict;
  if (type == runtime.type_frame) {
    const char* iframe = ReadPointer(owner, layout.frame_iframe);
    return iframe != nullptr &&
           ReadObject(iframe, layout.iframe_locals) == dict;
  }
  if (HasBase(runtime, type, runtime.type_module))
    return ReadObject(owner, kFirstField) == dict;  // md_dict
  return AttributesOf(runtime, owner).dict == dict;
}

EdgeNamer::EdgeNamer(const Runtime& runtime, const HeapWalk& walk,
                     const TypeTable& types, heap::StringTable& strings,
                     std::pmr::memory_resource* memory)
    : runtime_(runtime),
      walk_(walk),
      types_(types),
      strings_(strings),
      is_namespace_(memory),
      names_(memory),
      attributes_(kMade, Made{}, memory),
      literals_(kMade, Made{}, memory),
      keys_(kMade, Made{}, memory) {}

EdgeName EdgeNamer::NameOf(const PyObject* owner, NodeId referrer,
                           NodeId referent) {
  const PyObject* object = walk_.object(referrer);
  const PyObject* wanted = walk_.object(referent);
  EdgeName found;
  ForEachNamedReference(
      runtime_, object, types_[walk_.type(referrer)].native,
      [&](const PyObject* met, const ReferenceName& name) {
        if (met != wanted) return Naming::kGoOn;
        found = Format(
            name, owner != nullptr && IsNamespaceOf(runtime_, owner, object));
        return Naming::kStop;
      });
  return found;
}

std::span<const EdgeName> EdgeNamer::NamesOf(NodeId node) {
  if (is_namespace_.empty()) FindNamespaces();
  auto edges = walk_.graph().Referents(node);
  names_.assign(edges.size(), EdgeName());
  // Both sides come in nearly the same order, but for the items of sequences,
  // which tp_traverse visits from the last to the first: look a few edges ahead
  // of the last one found, a few behind, at both ends, and in short rows
  // everywhere.
  constexpr size_t kAhead = 16;
  constexpr size_t kShort = 64;
  size_t next = 0;
  size_t next_back = edges.size();
  size_t found = 0;
  ForEachNamedReference(
      runtime_, walk_.object(node), types_[walk_.type(node)].native,
      [&](const PyObject* referent, const ReferenceName& name) {
        auto is_it = [&](size_t i) {
          return walk_.object(edges[i].referent()) == referent &&
                 names_[i].is_none();
        };
        auto find = [&](size_t first, size_t last) {
          while (first < last && !is_it(first)) ++first;
          return first < last ? first : edges.size();
        };
        auto find_back = [&](size_t first, size_t last) {
          while (first < last && !is_it(last - 1)) --last;
          return first < last ? last - 1 : edges.size();
        };
        auto before = [&](size_t end) { return end - std::min(end, kAhead); };
        size_t at = edges.size();
        if (edges.size() <= kShort) {
          at =
              next < edges.size() && is_it(next) ? next : find(0, edges.size());
        } else {
          if (next_back > 0 && is_it(next_back - 1)) at = next_back - 1;
          if (at == edges.size())
            at = find(next, std::min(edges.size(), next + kAhead));
          if (at == edges.size()) at = find_back(before(next_back), next_back);
          if (at == edges.size()) at = find_back(before(at), at);
        }
        if (at == edges.size()) return Naming::kGoOn;
        names_[at] = Format(name, is_namespace_[node] != 0);
        if (edges.size() > kShort && at < next_back && at >= before(next_back))
          next_back = at;
        else
          next = at + 1;
        return ++found == edges.size() ? Naming::kStop : Naming::kGoOn;
      });
  return names_;
}

StringId EdgeNamer::TextOf(EdgeName name) {
  if (!name.is_index()) return name.text();
  heap::TextBuffer<32> text;
  text.Append("[").Append(int64_t(name.index())).Append("]");
  return strings_.Intern(text.text());
}

EdgeName EdgeNamer::Format(const ReferenceName& name, bool keys_are_names) {
  heap::TextBuffer<512> text;
  switch (name.form) {
    case ReferenceName::Form::kIndex:
      return EdgeName::Index(uint64_t(name.index));
    case ReferenceName::Form::kAttribute:
      return EdgeName::Text(Attribute(name.name));
    case ReferenceName::Form::kValueOf:
      if (keys_are_names && IsText(runtime_, name.name))
        return EdgeName::Text(Attribute(name.name));
      return EdgeName::Text(KeyOf(TypeOf(name.name)));
    case ReferenceName::Form::kLocal:
      text.Append("local ");
      text.set_end(
          AppendText(*runtime_.layout, name.name, text.end(), text.limit()));
      return EdgeName::Text(strings_.Intern(text.text()));
    case ReferenceName::Form::kMember:
      text.Append(".").Append(std::string_view(name.text));
      return EdgeName::Text(strings_.Intern(text.text()));
    case ReferenceName::Form::kField:
      break;
  }
  Made& made = literals_[(reinterpret_cast<uintptr_t>(name.text) >> 1) % kMade];
  if (made.from != name.text) made = {name.text, strings_.Intern(name.text)};
  return EdgeName::Text(made.text);
}

StringId EdgeNamer::Attribute(const PyObject* name) {
  Made& made = attributes_[(reinterpret_cast<uintptr_t>(name) >> 4) % kMade];
  if (made.from == name) return made.text;
  // Whatever else was put into a namespace as into any dict may be data.
  if (!IsIdentifier(*runtime_.layout, name)) return KeyOf(TypeOf(name));
  heap::TextBuffer<512> text;
  text.Append(".");
  text.set_end(AppendText(*runtime_.layout, name, text.end(), text.limit()));
  made = {name, strings_.Intern(text.text())};
  return made.text;
}

StringId EdgeNamer::KeyOf(const PyObject* type) {
  Made& made = keys_[(reinterpret_cast<uintptr_t>(type) >> 4) % kMade];
  if (made.from == type) return made.text;
  const Layout& layout = *runtime_.layout;
  heap::TextBuffer<512> text;
  text.Append("[");
  if ((TypeFlags(runtime_, type) & kFlagHeapType) != 0) {
    text.set_end(AppendText(layout, ReadObject(type, layout.heap_type_qualname),
                            text.end(), text.limit()));
  } else {
    text.Append(std::string_view(ReadPointer(type, layout.type_name)));
  }
  text.Append(" key]");
  made = {type, strings_.Intern(text.text())};
  return made.text;
}

void EdgeNamer::FindNamespaces() {
  const Layout& layout = *runtime_.layout;
  is_namespace_.resize(walk_.node_count(), 0);
  heap::HeapGraph graph = walk_.graph();
  for (NodeId node = 0; node < walk_.node_count(); ++node) {
    auto mark = [&](const PyObject* dict) {
      if (dict == nullptr) return;
      for (heap::Edge edge : graph.Referents(node))
        if (walk_.object(edge.referent()) == dict)
          is_namespace_[edge.referent()] = 1;
    };
    const PyObject* object = walk_.object(node);
    const TypeInfo& type = types_[walk_.type(node)];
    switch (type.kind) {
      case TypeKind::kType:
        mark(ReadObject(object, layout.type_dict));
        break;
      case TypeKind::kFunction:
        mark(ReadObject(object, layout.function_globals));
        break;
      case TypeKind::kModule:
        mark(ReadObject(object, kFirstField));
        break;
      case TypeKind::kFrame:
        if (const char* iframe = ReadPointer(object, layout.frame_iframe))
          mark(ReadObject(iframe, layout.iframe_locals));
        break;
      default:
        if (type.traverse != nullptr) mark(AttributesOf(runtime_, object).dict);
    }
  }
}

}  // namespace inspector
