#pragma once

#include "collector/heap/recorded_heap.h"
#include "inspector/graph/components.h"
#include "inspector/graph/reference_counts.h"

namespace collector {

/// A set of references, `TYPE.EDGE[@FUNCTION]`: those that objects of the type
/// or of one that inherits from it name EDGE.
///
/// TYPE: `module.qualname` or its last parts. EDGE: an attribute's name, a
/// place (`[3]`, `[*]` for any), `[str key]`, or `local x` of a frame or a
/// generator; what an instance's dict holds is the instance's. @FUNCTION, a
/// qualified name or its last parts, keeps of them
/// - where one end is a frame, a traceback or a generator, those of that
///   function; the referrer decides if both are. So
///   `BaseException.__traceback__@f` are the exceptions that f was the last to
///   see: a traceback begins there;
/// - else those that lie on a closed way through a frame or a generator of that
///   function.
/// Coroutines and asynchronous generators count as generators here.
struct Cut {
  std::string type;
  std::string edge;
  std::string function;  // "": any.

  /// Throws UsageError for what is not of this form.
  static Cut Parse(const std::string& text);
  std::string Text() const;
};

/// Finds the references that cuts name. The heap and its components outlive it.
class CutFinder {
 public:
  CutFinder(const RecordedHeap& heap, const heap::Components& components)
      : heap_(heap), components_(components) {}

  /// Empty if there are none. O(objects + references).
  std::vector<heap::EdgeAt> EdgesOf(const Cut& cut) const;
  /// As EdgesOf; throws Error, which says what there is instead, if there are
  /// none.
  std::vector<heap::EdgeAt> ExistingEdgesOf(const Cut& cut) const;

  /// The object that a reference is said to be of: the instance, if the
  /// referrer is its attribute dict.
  heap::NodeId OwnerOf(heap::NodeId referrer) const;
  /// The function of the frame, traceback or generator at one of its ends; 0 if
  /// there is none.
  heap::StringId FunctionOf(heap::NodeId referrer, heap::NodeId referent) const;

 private:
  heap::StringId FunctionAt(heap::NodeId node) const;
  std::vector<uint8_t> NamesEqual(const std::string& edge) const;
  std::vector<uint8_t> ComponentsWith(const std::string& function) const;

  const RecordedHeap& heap_;
  const heap::Components& components_;
};

}  // namespace collector
