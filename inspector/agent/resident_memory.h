#pragma once

#include <cstdint>
#include <span>

#include "inspector/cpython/allocator.h"

namespace inspector {

/// Anonymous memory that is in RAM, by what it is used for, in bytes. No page
/// is in two of them; one that is swapped out meanwhile is in none.
struct ResidentMemory {
  int64_t anon = -1;        // All of it; -1: the mappings could not be read.
  int64_t arenas = 0;       // pymalloc's.
  int64_t module_data = 0;  // Data of the program and its libraries.
  int64_t stacks = 0;
  int64_t malloc = 0;       // glibc: heap, further arenas, mapped chunks.
  int64_t malloc_size = 0;  // Of these, in RAM or not.
  int64_t other = 0;        // Mapped by something else.
};

/// Reads it of this process, by /proc/self/smaps and mincore(2). For the child,
/// as its first act: the kernel has copied the page tables of all anonymous
/// memory, so this is the service at the moment of the clone. No allocation.
/// `modules`: see ListModuleData.
ResidentMemory ReadResidentMemory(const Allocator& allocator,
                                  std::span<const AddressRange> modules);

}  // namespace inspector
