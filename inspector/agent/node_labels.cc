#include "inspector/agent/node_labels.h"

#include "inspector/cpython/code.h"
#include "inspector/cpython/edge_names.h"

namespace inspector {

using heap::NodeId;
using heap::StringId;

namespace {
constexpr std::string_view kFrame = "frame";
}  // namespace

StringId NodeLabels::LabelOf(NodeId node) {
  const TypeInfo& type = types_[walk_.type(node)];
  const Layout& layout = *runtime_.layout;
  const PyObject* object = walk_.object(node);
  auto with_name = [&](std::string_view before, const PyObject* name) {
    if (!IsText(runtime_, name)) return type.label;
    heap::TextBuffer<512> text;
    text.Append(before);
    text.set_end(AppendText(layout, name, text.end(), text.limit()));
    return strings_.Intern(text.text());
  };
  switch (type.kind) {
    case TypeKind::kFrame: {
      const PyObject* code = CodeOfFrame(layout, object);
      return code == nullptr ? type.label : NamesOf(code).label;
    }
    case TypeKind::kGenerator: {
      const PyObject* code = CodeOfGenerator(layout, object);
      if (code == nullptr) return type.label;
      FunctionNames& names = NamesIn(code);
      if (names.generator_label == 0) {
        heap::TextBuffer<2048> text;
        text.Append(strings_.text(type.label));
        text.Append(strings_.text(names.label).substr(kFrame.size()));
        names.generator_label = strings_.Intern(text.text());
      }
      return names.generator_label;
    }
    case TypeKind::kModule:
      return with_name("module ", ReadObject(object, kModuleName));
    case TypeKind::kType:
      if ((TypeFlags(runtime_, object) & kFlagHeapType) == 0) return type.label;
      return with_name("class ", ReadObject(object, layout.heap_type_qualname));
    default:
      return type.label;
  }
}

FunctionNames& NodeLabels::NamesIn(const PyObject* code) {
  size_t mask = functions_.size() - 1;
  size_t at = (reinterpret_cast<uintptr_t>(code) >> 4) & mask;
  for (; functions_[at].code != nullptr; at = (at + 1) & mask)
    if (functions_[at].code == code) return functions_[at].names;
  if (++function_count_ * 2 > functions_.size()) {
    std::pmr::vector<Function> larger(functions_.size() * 2, Function{},
                                      functions_.get_allocator());
    size_t wide = larger.size() - 1;
    for (const Function& function : functions_) {
      if (function.code == nullptr) continue;
      size_t to = (reinterpret_cast<uintptr_t>(function.code) >> 4) & wide;
      while (larger[to].code != nullptr) to = (to + 1) & wide;
      larger[to] = function;
    }
    functions_.swap(larger);
    --function_count_;
    return NamesIn(code);
  }
  functions_[at] = {code, Describe(code)};
  return functions_[at].names;
}

FunctionNames NodeLabels::Describe(const PyObject* code) {
  const Layout& layout = *runtime_.layout;
  heap::TextBuffer<1024> file;
  file.set_end(AppendText(layout, ReadObject(code, layout.code_filename),
                          file.end(), file.limit()));
  heap::TextBuffer<512> function;
  function.set_end(AppendText(layout, ReadObject(code, layout.code_qualname),
                              function.end(), function.limit()));
  heap::TextBuffer<2048> label;
  label.Append(kFrame).Append("(").Append(BaseName(file.text())).Append(":");
  label.Append(function.text()).Append(")");
  return {strings_.Intern(label.text()), 0,
          strings_.Intern(PortablePath(file.text())),
          strings_.Intern(function.text())};
}

StringId NodeLabels::Signature(std::span<const NodeId> path, bool closed) {
  heap::TextBuffer<4096> text;
  for (size_t i = 0; i < path.size(); ++i) {
    if (i > 0 && types_[walk_.type(path[i])].kind == TypeKind::kDict &&
        IsInstanceDictOf(runtime_, walk_.object(path[i - 1]),
                         walk_.object(path[i])))
      continue;
    if (i > 0) text.Append(" → ");
    text.Append(strings_.text(LabelOf(path[i])));
  }
  if (closed) text.Append(" → ").Append(strings_.text(LabelOf(path[0])));
  return strings_.Intern(text.text());
}

StringId NodeLabels::EdgeName(std::span<const NodeId> path, size_t i,
                              NodeId next) {
  const PyObject* owner = i > 0 ? walk_.object(path[i - 1]) : nullptr;
  return namer_.TextOf(namer_.NameOf(owner, path[i], next));
}

}  // namespace inspector
