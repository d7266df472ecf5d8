#include "inspector/graph/arena.h"

#include <sys/mman.h>

#include <cstdlib>

namespace heap {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;
constexpr size_t kLargeBytes = size_t{1} << 16;
constexpr size_t kPageBytes = 4096;

size_t RoundUp(size_t value, size_t to) { return (value + to - 1) / to * to; }

void* Map(size_t bytes, int protection = PROT_READ | PROT_WRITE) {
  void* block = mmap(nullptr, bytes, protection,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return block == MAP_FAILED ? nullptr : block;
}

}  // namespace

void Arena::Exhaust() {
  exhausted_();
  std::abort();  // `exhausted` must not return.
}

void Arena::Count(uint64_t bytes) {
  used_bytes_ += bytes;
  if (used_bytes_ > limit_bytes_) Exhaust();
  if (used_bytes_ > peak_bytes_) peak_bytes_ = used_bytes_;
}

void Arena::Charge(void* begin, uint64_t bytes) {
  charged_bytes_ += bytes;
  Count(bytes);
  if (mprotect(begin, bytes, PROT_READ | PROT_WRITE) != 0) Exhaust();
}

void Arena::Discharge(void* begin, uint64_t bytes) {
  madvise(begin, bytes, MADV_DONTNEED);
  charged_bytes_ -= bytes;
  used_bytes_ -= bytes;
}

void Arena::AskForLargePages(void* begin, size_t bytes) {
  madvise(begin, bytes, MADV_HUGEPAGE);
}

void* Arena::Reserve(size_t bytes) {
  if (range_count_ == kMostRanges) Exhaust();
  size_t mapped = bytes + kLargePageBytes;
  // Where the kernel promises no more memory than there is
  // (vm.overcommit_memory = 2), what may not be touched is not counted.
  void* range = Map(mapped, PROT_NONE);
  if (range == nullptr) return nullptr;
  ranges_[range_count_++] = {range, mapped};
  return reinterpret_cast<void*>(
      RoundUp(reinterpret_cast<uintptr_t>(range), kLargePageBytes));
}

void Arena::ReleaseReserved() {
  while (range_count_ > 0) {
    Range& range = ranges_[--range_count_];
    munmap(range.begin, range.bytes);
  }
  used_bytes_ -= charged_bytes_;
  charged_bytes_ = 0;
}

void* Arena::do_allocate(size_t bytes, size_t alignment) {
  if (bytes >= kLargeBytes) {
    size_t mapped = RoundUp(bytes, kPageBytes);
    Count(mapped);
    void* block = Map(mapped);
    if (block == nullptr) Exhaust();
    if (large_pages_ && mapped >= 2 * kLargePageBytes)
      AskForLargePages(block, mapped);
    return block;
  }
  size_t skipped = RoundUp(reinterpret_cast<uintptr_t>(chunk_), alignment) -
                   reinterpret_cast<uintptr_t>(chunk_);
  if (chunk_ == nullptr || skipped + bytes > chunk_left_) {
    Count(kChunkBytes);
    chunk_ = static_cast<char*>(Map(kChunkBytes));
    if (chunk_ == nullptr) Exhaust();
    chunk_left_ = kChunkBytes;
    skipped = 0;  // A mapping is aligned to a page.
  }
  char* block = chunk_ + skipped;
  chunk_ = block + bytes;
  chunk_left_ -= skipped + bytes;
  return block;
}

void Arena::do_deallocate(void* block, size_t bytes, size_t /*alignment*/) {
  if (bytes < kLargeBytes) return;
  size_t mapped = RoundUp(bytes, kPageBytes);
  munmap(block, mapped);
  used_bytes_ -= mapped;
}

}  // namespace heap
