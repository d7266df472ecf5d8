#include "inspector/cpython/thread_stacks.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "inspector/cpython/memory_map.h"
#include "inspector/graph/strings.h"

namespace inspector {
namespace {

constexpr int kMostThreads = 4096;
constexpr uintptr_t kMostStackBytes = uintptr_t{8} << 20;

/// The last but one word of "NUMBER ARGUMENTS… STACK_POINTER PROGRAM_COUNTER"
/// (proc(5), /proc/PID/syscall); 0 for "running".
uintptr_t StackPointerOf(uint64_t thread) {
  heap::TextBuffer<64> path;
  path.Append("/proc/self/task/").Append(int64_t(thread)).Append("/syscall");
  path.Append(std::string_view("\0", 1));
  int descriptor = open(path.text().data(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  char text[256];
  ssize_t size = read(descriptor, text, sizeof text);
  close(descriptor);
  if (size <= 0) return 0;
  std::string_view line(text, size_t(size));
  size_t counter = line.rfind(' ');
  if (counter == std::string_view::npos || counter == 0) return 0;
  size_t pointer = line.rfind(' ', counter - 1);
  if (pointer == std::string_view::npos || line.substr(pointer + 1, 2) != "0x")
    return 0;
  uintptr_t value = 0;
  std::from_chars(line.data() + pointer + 3, line.data() + counter, value, 16);
  return value;
}

}  // namespace

void NoteStackPointers(const Runtime& runtime, ThreadStacks& stacks) {
  auto self = static_cast<uint64_t>(syscall(SYS_gettid));
  void* thread = runtime.thread_head(runtime.interpreter);
  for (int i = 0; thread != nullptr && i < kMostThreads &&
                  stacks.count < ThreadStacks::kMost;
       ++i) {
    auto id =
        Read<uint64_t>(thread, ptrdiff_t(runtime.layout->thread_native_id));
    uintptr_t pointer = id == self ? 0 : StackPointerOf(id);
    if (pointer != 0) {
      auto descriptor = Read<uintptr_t>(
          thread,
          ptrdiff_t(runtime.layout->thread_native_id - kThreadIdBefore));
      stacks.stacks[stacks.count++] = {id, pointer, 0, descriptor};
    }
    thread = runtime.thread_next(thread);
  }
}

void FindStackEnds(ThreadStacks& stacks) {
  ForEachMapping([&stacks](const Mapping& mapping) {
    for (size_t i = 0; i < stacks.count; ++i) {
      ThreadStack& stack = stacks.stacks[i];
      if (!mapping.range.Contains(stack.begin)) continue;
      stack.end = std::min(mapping.range.end, stack.begin + kMostStackBytes);
      // glibc puts the descriptor at the upper end of a stack that it makes.
      // From 2.42 on what follows may belong to the same mapping, guard pages
      // included, which nobody may read (MADV_GUARD_INSTALL).
      if (stack.descriptor > stack.begin && stack.descriptor < stack.end)
        stack.end = stack.descriptor;
    }
  });
}

}  // namespace inspector
