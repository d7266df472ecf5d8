#pragma once

#include <memory_resource>
#include <span>
#include <vector>

#include "inspector/cpython/heap_walk.h"
#include "inspector/graph/edge_name.h"

namespace inspector {

/// True if `dict` is the attribute dict of `owner`, or a module's, function's
/// or class's namespace.
bool IsNamespaceOf(const Runtime& runtime, const PyObject* owner,
                   const PyObject* dict);

/// The attribute dict of an instance itself (not of a module or class): it
/// stands for no step of its own in a signature, since an instance that keeps
/// its values in place has none.
bool IsInstanceDictOf(const Runtime& runtime, const PyObject* owner,
                      const PyObject* dict);

/// Names references of a walked heap. Text keys of a dict are shown only where
/// the dict is somebody's namespace, else as "[str key]" (design, Secrets).
class EdgeNamer {
 public:
  EdgeNamer(const Runtime& runtime, const HeapWalk& walk,
            const TypeTable& types, heap::StringTable& strings,
            std::pmr::memory_resource* memory);

  /// How `referrer` names its reference to `referent`, the first one if there
  /// are several. `owner` is the object before `referrer` on the path, or null:
  /// it says whether a dict is a namespace. O(references of the referrer).
  heap::EdgeName NameOf(const PyObject* owner, heap::NodeId referrer,
                        heap::NodeId referent);

  /// The names of all edges of the node, in the order of its row; valid until
  /// the next call. The first call looks at all nodes to learn which dicts are
  /// namespaces. O(edges of the node).
  std::span<const heap::EdgeName> NamesOf(heap::NodeId node);

  /// The name as text, "" if it has none.
  heap::StringId TextOf(heap::EdgeName name);

 private:
  heap::EdgeName Format(const ReferenceName& name, bool keys_are_names);
  heap::StringId Attribute(const PyObject* name);
  heap::StringId KeyOf(const PyObject* type);
  void FindNamespaces();

  const Runtime& runtime_;
  const HeapWalk& walk_;
  const TypeTable& types_;
  heap::StringTable& strings_;
  std::pmr::vector<uint8_t> is_namespace_;  // By node; empty until needed.
  std::pmr::vector<heap::EdgeName> names_;
  /// Texts made before, by the address of what they were made from: attribute
  /// names are interned, so that one address comes again and again.
  struct Made {
    const void* from = nullptr;
    heap::StringId text = 0;
  };
  static constexpr size_t kMade = 4096;
  std::pmr::vector<Made> attributes_;
  std::pmr::vector<Made> literals_;
  std::pmr::vector<Made> keys_;
};

}  // namespace inspector
