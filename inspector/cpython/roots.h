#pragma once

#include <memory_resource>
#include <string_view>

#include "inspector/cpython/memory_map.h"
#include "inspector/cpython/object.h"

namespace inspector {

/// What holds an object from outside the heap, as far as it can be told.
enum class RootKind : uint8_t {
  kInterpreter,  // The interpreter's own state.
  kThread,       // A thread's state: its dict, its context…
  kAtExit,       // A function registered with the atexit module.
  kStatic,       // The writable data of a loaded file.
};

/// A word outside the heap that equals the address of an object.
struct RootWord {
  PyObject* object = nullptr;
  RootKind kind = RootKind::kStatic;
  uint32_t of = 0;  // The thread's native id, the number of the file.
};

/// Receives what a scan finds.
class RootVisitor {
 public:
  virtual ~RootVisitor() = default;
  /// A number for the file whose words follow.
  virtual uint32_t NumberOf(std::string_view path) = 0;
  /// `word.object` is any value between the bounds given to the scan.
  virtual void OnWord(const RootWord& word) = 0;
};

/// Reads the state of threads and interpreter, the registered exit functions
/// and the writable data of all loaded files word by word, in this order, and
/// reports each value in [lowest, highest]. Safe in the child; O(bytes read),
/// some MB in a service with many extension modules.
///
/// What matches an object need not be a reference: it may be borrowed or stale,
/// as for any conservative collector (Boehm and Weiser, 1988). The caller takes
/// it for one where the object's count has no better explanation.
///
/// `modules`: see ListModuleData.
void ScanRoots(const Runtime& runtime, std::span<const AddressRange> modules,
               uintptr_t lowest, uintptr_t highest,
               std::pmr::memory_resource* memory, RootVisitor& visitor);

}  // namespace inspector
