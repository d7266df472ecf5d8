#include "inspector/agent/holders.h"

#include <algorithm>

#include "inspector/cpython/code.h"
#include "inspector/cpython/edge_names.h"

namespace inspector {
namespace {

using heap::NodeId;
using heap::State;
using heap::StringId;

// Steps shown at both ends of a path, and how far a root is looked for: a list
// may be nested a million deep.
constexpr size_t kShownFirst = 8;
constexpr size_t kShownLast = 16;
constexpr size_t kFarthest = 20'000;

}  // namespace

bool Holders::IsFolded(NodeId owner, NodeId dict) const {
  TypeKind kind = types_[walk_.type(owner)].kind;
  return types_[walk_.type(dict)].kind == TypeKind::kDict &&
         kind != TypeKind::kFunction &&
         IsNamespaceOf(runtime_, walk_.object(owner), walk_.object(dict));
}

StringId Holders::Path(NodeId node, Style style) {
  if (states_.of[node] == State::kFloating) return 0;
  size_t length = 1;
  NodeId start = node;
  auto has_holder = [this](NodeId at) {
    return states_.holder[at] != at && states_.holder[at] != heap::kNoNode;
  };
  for (; has_holder(start) && length < kFarthest; ++length)
    start = states_.holder[start];
  bool whole = !has_holder(start);

  // [0, first_count) from the start, then the last ones up to the node.
  NodeId path[kShownFirst + kShownLast];
  size_t shown = std::min(length, kShownFirst + kShownLast);
  size_t left_out = length - shown;
  NodeId at = node;
  for (size_t i = length; i-- > 0; at = states_.holder[at]) {
    if (i < kShownFirst)
      path[i] = at;
    else if (i - left_out >= kShownFirst && i >= left_out)
      path[i - left_out] = at;
  }

  Text text;
  if (!whole)
    text.Append("… → ");
  else if (states_.of[node] != State::kInFlight)
    AppendStart(text, start);
  else if (int index = walk_.FrameHolding(start); index >= 0)
    text.Append(AppendFrame(text, walk_.frames().frames[size_t(index)],
                            walk_.object(start))
                    ? " → "
                    : ": ");
  bool folded = false;
  for (size_t i = 0; i < shown; ++i) {
    if (!folded) {
      if (i > 0) text.Append(" → ");
      bool nameless = i == 0 && whole && style == kTypicalOfModules;
      text.Append(nameless ? "sys.modules → module"
                           : strings_.text(labels_.LabelOf(path[i])));
    }
    folded = false;
    if (i + 1 == shown) break;
    if (left_out > 0 && i + 1 == kShownFirst) {
      text.Append(" → … (").Append(int64_t(left_out)).Append(" more)");
      continue;
    }
    folded = i + 2 < shown && IsFolded(path[i], path[i + 1]);
    if (folded) continue;
    std::string_view name = strings_.text(Step({path, shown}, i, style));
    if (name.starts_with("local ")) text.Append(" ");
    text.Append(name);
  }
  return strings_.Intern(text.text());
}

StringId Holders::NameOf(const Root& root) const {
  Text text;
  AppendRoot(text, root);
  return strings_.Intern(text.text());
}

StringId Holders::NameOf(const FrameReference& reference) {
  Text text;
  AppendFrame(text, walk_.frames().frames[reference.frame], reference.object);
  return strings_.Intern(text.text());
}

StringId Holders::NameOfOutside(NodeId node) const {
  Text text;
  AppendOutside(text, node);
  return strings_.Intern(text.text());
}

StringId Holders::Step(std::span<const NodeId> path, size_t i, Style style) {
  uint64_t flags = TypeFlags(runtime_, types_[walk_.type(path[i])].type);
  if (style != kExact && (flags & (kFlagList | kFlagTuple)) != 0)
    return strings_.Intern("[…]");
  return labels_.EdgeName(path, i, path[i + 1]);
}

StringId Holders::StartName(const Root& root) const {
  return root.kind == RootKind::kThread ? strings_.Intern("thread")
                                        : NameOf(root);
}

StringId Holders::StartName(const FrameReference& reference) {
  const RunningFrame& frame = walk_.frames().frames[reference.frame];
  FunctionNames names = labels_.NamesOf(CodeOf(*runtime_.layout, frame.iframe));
  Text text;
  text.Append(strings_.text(names.function)).Append(" (");
  text.Append(strings_.text(names.file)).Append(")");
  AppendLocal(text, frame, reference.object);
  return strings_.Intern(text.text());
}

void Holders::AppendStart(Text& text, NodeId start) const {
  auto modules = walk_.modules();
  if (std::find(modules.begin(), modules.end(), start) != modules.end()) return;
  if ((walk_.flags()[start] & heap::kNamedRoot) != 0) {
    for (const Root& root : walk_.roots()) {
      if (root.node != start) continue;
      AppendRoot(text, root);
      text.Append(" → ");
      return;
    }
  }
  if (AppendOutside(text, start)) text.Append(" → ");
}

void Holders::AppendRoot(Text& text, const Root& root) const {
  switch (root.kind) {
    case RootKind::kInterpreter:
      text.Append("interpreter");
      return;
    case RootKind::kThread:
      text.Append("thread ").Append(int64_t(root.of));
      return;
    case RootKind::kAtExit:
      text.Append("atexit");
      return;
    case RootKind::kStatic:
      text.Append("static data of ").Append(strings_.text(root.of));
      return;
  }
}

bool Holders::AppendOutside(Text& text, NodeId node) const {
  int64_t references = walk_.Unexplained(node);
  if ((walk_.flags()[node] & heap::kHeldOutside) == 0 || references <= 0)
    return false;
  text.Append("held from C: ").Append(references);
  text.Append(references == 1 ? " reference" : " references");
  return true;
}

bool Holders::AppendFrame(Text& text, const RunningFrame& frame,
                          const PyObject* object) {
  const Layout& layout = *runtime_.layout;
  const PyObject* code = CodeOf(layout, frame.iframe);
  FunctionNames names = labels_.NamesOf(code);
  text.Append("thread ").Append(int64_t(frame.native_thread_id));
  text.Append(", ").Append(strings_.text(names.function)).Append(" (");
  text.Append(strings_.text(names.file)).Append(":");
  text.Append(LineOfInterpreterFrame(layout, frame.iframe)).Append(")");
  return AppendLocal(text, frame, object);
}

bool Holders::AppendLocal(Text& text, const RunningFrame& frame,
                          const PyObject* object) const {
  const Layout& layout = *runtime_.layout;
  const PyObject* code = CodeOf(layout, frame.iframe);
  const PyObject* locals = ReadObject(code, layout.code_locals_names);
  auto count = Read<int64_t>(locals, kObjectSize);
  for (int64_t i = 0; i < count; ++i) {
    if (ReadSlot(frame.iframe, layout.iframe_localsplus + 8 * i).object !=
        object)
      continue;
    text.Append(": local ");
    text.set_end(AppendText(layout,
                            ReadObject(locals, layout.tuple_items + 8 * i),
                            text.end(), text.limit()));
    return true;
  }
  return false;
}

}  // namespace inspector
