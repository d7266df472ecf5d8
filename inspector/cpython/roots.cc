#include "inspector/cpython/roots.h"

#include <algorithm>
#include <vector>

namespace inspector {
namespace {

constexpr int kMostThreads = 100000;

class Scan {
 public:
  Scan(const Runtime& runtime, std::span<const AddressRange> modules,
       uintptr_t lowest, uintptr_t highest, std::pmr::memory_resource* memory,
       RootVisitor& visitor)
      : runtime_(runtime),
        modules_(modules),
        lowest_(lowest),
        highest_(highest),
        visitor_(visitor),
        writable_(memory),
        interpreter_{
            reinterpret_cast<uintptr_t>(runtime.state),
            reinterpret_cast<uintptr_t>(runtime.state) + runtime.state_size} {}

  void Run() {
    ForEachMapping([this](const Mapping& mapping) {
      if (mapping.writable) writable_.push_back(mapping.range);
    });
    Threads();
    ExitFunctions();
    Words(interpreter_, {nullptr, RootKind::kInterpreter, 0});
    Files();
  }

 private:
  void Words(AddressRange range, RootWord word) {
    uintptr_t at = (range.begin + 7) & ~uintptr_t{7};
    for (; at + 8 <= range.end; at += 8) {
      auto value = Read<uintptr_t>(reinterpret_cast<const void*>(at), 0);
      if (value < lowest_ || value > highest_ || (value & 7) != 0) continue;
      word.object = reinterpret_cast<PyObject*>(value);
      visitor_.OnWord(word);
    }
  }

  /// The main thread's state may lie inside the interpreter's.
  void Threads() {
    const Layout& layout = *runtime_.layout;
    void* thread = runtime_.thread_head(runtime_.interpreter);
    for (int i = 0; thread != nullptr && i < kMostThreads; ++i) {
      auto begin = reinterpret_cast<uintptr_t>(thread);
      auto id = Read<uint64_t>(thread, ptrdiff_t(layout.thread_native_id));
      Words({begin, begin + layout.thread_end},
            {nullptr, RootKind::kThread, static_cast<uint32_t>(id)});
      thread = runtime_.thread_next(thread);
    }
  }

  bool IsWritable(uintptr_t address, size_t bytes) const {
    return (address & 7) == 0 && HoldsAll(writable_, address, bytes);
  }

  /// Where the interpreter keeps them differs; it is the place that names a
  /// function of ours.
  void ExitFunctions() {
    if (runtime_.exit_function == nullptr) return;
    if (runtime_.layout->minor >= 14)
      ListOfExitFunctions();
    else
      ArrayOfExitFunctions();
  }

  /// Include/internal/pycore_interp_structs.h, 3.14: a list of tuples (func,
  /// args, kwargs), the last one registered first.
  void ListOfExitFunctions() {
    const Layout& layout = *runtime_.layout;
    // The flags of its type; 0 for a word that leads to no object.
    auto flags_of = [&](const PyObject* word) -> uint64_t {
      auto address = reinterpret_cast<uintptr_t>(word);
      if (address < lowest_ || address > highest_ ||
          !IsWritable(address, layout.list_allocated))
        return 0;
      const PyObject* type = TypeOf(word);
      return IsWritable(reinterpret_cast<uintptr_t>(type), layout.type_mro)
                 ? TypeFlags(runtime_, type)
                 : 0;
    };
    for (uintptr_t at = interpreter_.begin; at + 8 <= interpreter_.end;
         at += 8) {
      const PyObject* list = ReadObject(reinterpret_cast<const void*>(at), 0);
      if ((flags_of(list) & kFlagList) == 0) continue;
      const char* items = ReadPointer(list, ptrdiff_t(layout.list_items));
      auto count = Read<int64_t>(list, kObjectSize);
      // Lists that were freed and are kept for the next ones have no items.
      if (!IsWritable(reinterpret_cast<uintptr_t>(items), 8 * size_t(count)))
        continue;
      for (int64_t i = 0; i < count; ++i) {
        const PyObject* tuple = ReadObject(items, 8 * i);
        if ((flags_of(tuple) & kFlagTuple) == 0) break;
        if (ReadObject(tuple, ptrdiff_t(layout.tuple_items)) ==
            runtime_.exit_function)
          return Words({at, at + 8}, {nullptr, RootKind::kAtExit, 0});
      }
    }
  }

  /// Include/internal/pycore_atexit.h, 3.11 … 3.13: an array of pointers to
  /// {func, args, kwargs}, its length, its capacity.
  void ArrayOfExitFunctions() {
    constexpr int kMost = 1 << 16;
    for (uintptr_t at = interpreter_.begin; at + 16 <= interpreter_.end;
         at += 8) {
      auto state = reinterpret_cast<const void*>(at);
      auto array = Read<uintptr_t>(state, 0);
      int count = Read<int>(state, 8);
      int capacity = Read<int>(state, 12);
      if (count <= 0 || count > capacity || capacity > kMost ||
          !IsWritable(array, 8 * size_t(count)))
        continue;
      bool is_ours = false;
      for (int pass = 0; pass < 2; ++pass) {
        for (int i = 0; i < count; ++i) {
          auto entry =
              Read<uintptr_t>(reinterpret_cast<const void*>(array), 8 * i);
          if (entry == 0) continue;  // Unregistered.
          if (!IsWritable(entry, 24)) break;
          auto function = ReadObject(reinterpret_cast<const void*>(entry), 0);
          is_ours = is_ours || function == runtime_.exit_function;
          if (pass == 1)
            Words({entry, entry + 24}, {nullptr, RootKind::kAtExit, 0});
        }
        if (!is_ours) break;
      }
      if (is_ours) return;
    }
  }

  /// Each segment under the name of the file that is mapped where it begins.
  void Files() {
    ForEachMapping([this](const Mapping& mapping) {
      if (!mapping.path.starts_with('/')) return;
      auto [begin, end] = mapping.range;
      auto segment =
          std::lower_bound(modules_.begin(), modules_.end(), begin,
                           [](const AddressRange& range, uintptr_t at) {
                             return range.begin < at;
                           });
      if (segment == modules_.end() || segment->begin >= end) return;
      uint32_t file = visitor_.NumberOf(mapping.path);
      for (; segment != modules_.end() && segment->begin < end; ++segment)
        FileData(*segment, file);
    });
  }

  /// The parts of it that are writable now, without the interpreter's state,
  /// which has been read.
  void FileData(AddressRange data, uint32_t file) {
    RootWord word = {nullptr, RootKind::kStatic, file};
    for (const AddressRange& range : writable_) {
      AddressRange part = {std::max(range.begin, data.begin),
                           std::min(range.end, data.end)};
      Words({part.begin, std::min(part.end, interpreter_.begin)}, word);
      Words({std::max(part.begin, interpreter_.end), part.end}, word);
    }
  }

  const Runtime& runtime_;
  std::span<const AddressRange> modules_;
  uintptr_t lowest_;
  uintptr_t highest_;
  RootVisitor& visitor_;
  std::pmr::vector<AddressRange> writable_;
  AddressRange interpreter_;
};

}  // namespace

void ScanRoots(const Runtime& runtime, std::span<const AddressRange> modules,
               uintptr_t lowest, uintptr_t highest,
               std::pmr::memory_resource* memory, RootVisitor& visitor) {
  Scan(runtime, modules, lowest, highest, memory, visitor).Run();
}

}  // namespace inspector
