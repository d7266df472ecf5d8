#pragma once

#include <cstddef>
#include <cstdint>

#include "inspector/cpython/runtime.h"

namespace inspector {

/// The part of a thread's C stack that is in use: [begin, end).
struct ThreadStack {
  uint64_t native_thread_id = 0;
  uintptr_t begin = 0;
  uintptr_t end = 0;         // FindStackEnds: 0 if it is not known.
  uintptr_t descriptor = 0;  // The thread's pthread_t.
};

/// C stacks of the interpreter's threads, for references that only C code holds
/// (the argument tuple of a call, an exception on its way). A fixed number, so
/// that noting them needs no memory.
struct ThreadStacks {
  static constexpr size_t kMost = 64;
  ThreadStack stacks[kMost];
  size_t count = 0;
};

/// Notes each thread's stack pointer from /proc/self/task/TID/syscall. GIL
/// held: a thread without it waits in a system call, where the kernel knows the
/// pointer; one that computes without it says "running" and is left out, and so
/// is the caller. About 15 us per thread; allocates nothing.
void NoteStackPointers(const Runtime& runtime, ThreadStacks& stacks);

/// In the child: how far each stack reaches, from its copy of the mappings.
/// Stacks whose end is not found keep `end` 0.
void FindStackEnds(ThreadStacks& stacks);

}  // namespace inspector
