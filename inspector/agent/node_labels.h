#pragma once

#include "inspector/cpython/edge_names.h"

namespace inspector {

/// A function as signatures and sites name it.
struct FunctionNames {
  heap::StringId label = 0;  // frame(dr.py:run_components)
  /// coroutine(dr.py:run), once it was asked for: all that one code makes are
  /// of one kind, by its flags (Objects/genobject.c: _Py_MakeCoro).
  heap::StringId generator_label = 0;
  heap::StringId file = 0;  // insights/core/dr.py
  heap::StringId function = 0;
};

/// Names of nodes for people, made when first asked for.
class NodeLabels {
 public:
  NodeLabels(const Runtime& runtime, const HeapWalk& walk,
             const TypeTable& types, heap::StringTable& strings,
             std::pmr::memory_resource* memory)
      : runtime_(runtime),
        walk_(walk),
        types_(types),
        strings_(strings),
        namer_(runtime, walk, types, strings, memory),
        functions_(64, Function{}, memory) {}

  /// The last part of the type's name. Those of frames, generators, coroutines
  /// and asynchronous generators carry their function, "generator(dr.py:run)";
  /// modules and classes are called by their own names.
  heap::StringId LabelOf(heap::NodeId node);
  FunctionNames NamesOf(const PyObject* code) { return NamesIn(code); }

  /// The path as text: "A → dict → B". A dict that is the attribute dict of
  /// the node before it is left out, so that instances with and without one
  /// read the same. Closed paths end with their first label again.
  heap::StringId Signature(std::span<const heap::NodeId> path, bool closed);

  /// How `path[i]` names `path[i + 1]`; 0 if unknown.
  heap::StringId EdgeName(std::span<const heap::NodeId> path, size_t i,
                          heap::NodeId next);

 private:
  struct Function {
    const PyObject* code = nullptr;
    FunctionNames names;
  };
  /// Where they are kept, until the next function is described.
  FunctionNames& NamesIn(const PyObject* code);
  FunctionNames Describe(const PyObject* code);

  const Runtime& runtime_;
  const HeapWalk& walk_;
  const TypeTable& types_;
  heap::StringTable& strings_;
  EdgeNamer namer_;
  std::pmr::vector<Function> functions_;  // Open addressing by code.
  size_t function_count_ = 0;
};

}  // namespace inspector
