#include "inspector/cpython/roots.h"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "inspector/cpython/memory_map.h"

namespace inspector {
namespace {

constexpr int kMostThreads = 100000;

struct Range {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  bool Holds(uintptr_t address, size_t bytes) const {
    return address >= begin && address + bytes <= end;
  }
};

class Scan {
 public:
  Scan(const Runtime& runtime, uintptr_t lowest, uintptr_t highest,
       std::pmr::memory_resource* memory, RootVisitor& visitor)
      : runtime_(runtime),
        lowest_(lowest),
        highest_(highest),
        visitor_(visitor),
        writable_(memory),
        interpreter_{
            reinterpret_cast<uintptr_t>(runtime.state),
            reinterpret_cast<uintptr_t>(runtime.state) + runtime.state_size} {}

  void Run() {
    ForEachMapping([this](const Mapping& mapping) {
      if (mapping.writable) writable_.push_back({mapping.begin, mapping.end});
    });
    Threads();
    ExitFunctions();
    Words(interpreter_, {nullptr, RootKind::kInterpreter, 0});
    Files();
  }

 private:
  void Words(Range range, RootWord word) {
    uintptr_t at = (range.begin + 7) & ~uintptr_t{7};
    for (; at + 8 <= range.end; at += 8) {
      auto value = Read<uintptr_t>(reinterpret_cast<const void*>(at), 0);
      if (value < lowest_ || value > highest_ || (value & 7) != 0) continue;
      word.object = reinterpret_cast<PyObject*>(value);
      visitor_.OnWord(word);
    }
  }

  /// The fields up to the bottom of the exception stack, which are there in
  /// every version. The main thread's state may lie inside the interpreter's.
  void Threads() {
    const Layout& layout = *runtime_.layout;
    void* thread = runtime_.thread_head(runtime_.interpreter);
    for (int i = 0; thread != nullptr && i < kMostThreads; ++i) {
      auto begin = reinterpret_cast<uintptr_t>(thread);
      auto id = Read<uint64_t>(thread, ptrdiff_t(layout.thread_native_id));
      Words({begin, begin + layout.thread_exc_state},
            {nullptr, RootKind::kThread, static_cast<uint32_t>(id)});
      thread = runtime_.thread_next(thread);
    }
  }

  bool IsWritable(uintptr_t address, size_t bytes) const {
    auto after = std::upper_bound(writable_.begin(), writable_.end(), address,
                                  [](uintptr_t value, const Range& range) {
                                    return value < range.begin;
                                  });
    return after != writable_.begin() && (after - 1)->Holds(address, bytes) &&
           (address & 7) == 0;
  }

  /// Include/internal/pycore_atexit.h, 3.11 … 3.13: an array of pointers to
  /// {func, args, kwargs}, its length, its capacity. Where it is differs; it is
  /// the one that names a function of ours. 3.14 has a list.
  void ExitFunctions() {
    constexpr int kMost = 1 << 16;
    if (runtime_.exit_function == nullptr) return;
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

  /// The writable segments of every loaded file, by its own program headers:
  /// the memory behind what is in the file (.bss) may lie in one mapping with
  /// memory of the heap.
  void Files() {
    ForEachMapping([this](const Mapping& mapping) {
      if (mapping.path.empty() || mapping.path[0] != '/' || mapping.offset != 0)
        return;
      auto header = reinterpret_cast<const ElfW(Ehdr)*>(mapping.begin);
      if (!mapping.readable || mapping.end - mapping.begin < sizeof *header ||
          std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
          header->e_phoff + header->e_phnum * sizeof(ElfW(Phdr)) >
              mapping.end - mapping.begin)
        return;
      auto segments =
          reinterpret_cast<const ElfW(Phdr)*>(mapping.begin + header->e_phoff);
      auto end = segments + header->e_phnum;
      auto first = std::find_if(segments, end, [](const ElfW(Phdr) & segment) {
        return segment.p_type == PT_LOAD;
      });
      if (first == end) return;
      uintptr_t base = mapping.begin - (first->p_vaddr & ~uintptr_t{4095});
      uint32_t file = visitor_.NumberOf(mapping.path);
      for (auto segment = first; segment != end; ++segment) {
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) == 0)
          continue;
        uintptr_t begin = base + segment->p_vaddr;
        FileData({begin, begin + segment->p_memsz}, file);
      }
    });
  }

  /// The parts of it that are writable now, without the interpreter's state,
  /// which has been read.
  void FileData(Range data, uint32_t file) {
    RootWord word = {nullptr, RootKind::kStatic, file};
    for (const Range& range : writable_) {
      Range part = {std::max(range.begin, data.begin),
                    std::min(range.end, data.end)};
      Words({part.begin, std::min(part.end, interpreter_.begin)}, word);
      Words({std::max(part.begin, interpreter_.end), part.end}, word);
    }
  }

  const Runtime& runtime_;
  uintptr_t lowest_;
  uintptr_t highest_;
  RootVisitor& visitor_;
  std::pmr::vector<Range> writable_;
  Range interpreter_;
};

}  // namespace

void ScanRoots(const Runtime& runtime, uintptr_t lowest, uintptr_t highest,
               std::pmr::memory_resource* memory, RootVisitor& visitor) {
  Scan(runtime, lowest, highest, memory, visitor).Run();
}

}  // namespace inspector
