#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace inspector {

/// Which pages of this process are in its page table, by mincore(2), which
/// tells the truth of anonymous memory: a page is either in our own table or
/// not there. Pages that were read and never written count, too: the kernel
/// maps its page of zeros there. No allocation, for the child.
class Residence {
 public:
  static constexpr uintptr_t kPage = 4096;

  bool Has(uintptr_t address) {
    uintptr_t page = address & ~(kPage - 1);
    if (page < begin_ || page >= end_) Load(page);
    return page < end_ && (pages_[(page - begin_) / kPage] & 1) != 0;
  }
  /// Of [begin, end), in bytes.
  int64_t BytesIn(uintptr_t begin, uintptr_t end) {
    int64_t bytes = 0;
    while (begin < end) {
      uintptr_t next = std::min(end, (begin & ~(kPage - 1)) + kPage);
      if (Has(begin)) bytes += int64_t(next - begin);
      begin = next;
    }
    return bytes;
  }
  /// Nothing is looked up beyond this; all that is asked for before it must be
  /// mapped.
  void SetEnd(uintptr_t end) { limit_ = end; }

 private:
  void Load(uintptr_t page) {
    begin_ = page;
    end_ = std::min(limit_, page + sizeof pages_ * kPage);
    if (end_ <= begin_ ||
        mincore(reinterpret_cast<void*>(begin_), end_ - begin_, pages_) != 0)
      end_ = begin_;
  }

  uintptr_t begin_ = 0;
  uintptr_t end_ = 0;
  uintptr_t limit_ = 0;
  unsigned char pages_[4096];  // 16 MiB at a time.
};

}  // namespace inspector
