#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>

namespace heap {

/// Memory straight from `mmap`, for code that may not call malloc: the child
/// that reads the snapshot. Large blocks are mapped and unmapped one by one,
/// small ones are cut from chunks and live until the arena goes. One thread.
///
/// When the kernel refuses or `limit_bytes` is passed, `exhausted` is called;
/// it must not return (the child ends there with its own status).
class Arena : public std::pmr::memory_resource {
 public:
  using Exhausted = void (*)();
  /// `large_pages`: may ask the kernel for them. They come at a quarter of the
  /// price, and make lookups in no order twice as fast, but take up to 2 MiB
  /// more for each large block, and that at one go. `address_space`: what its
  /// columns may reserve in all, in bytes.
  Arena(uint64_t limit_bytes, Exhausted exhausted, bool large_pages = true,
        uint64_t address_space = kMostAddressSpace)
      : limit_bytes_(limit_bytes),
        exhausted_(exhausted),
        large_pages_(large_pages),
        share_bytes_(
            static_cast<size_t>(std::min(address_space, kMostAddressSpace) /
                                kShares / kStepBytes * kStepBytes)) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() override = default;  // Mappings end with the process.

  /// Bytes handed out as blocks and chunks, without reserved ranges.
  uint64_t block_bytes() const { return used_bytes_ - charged_bytes_; }

  /// The most that it had at one time, the parts of reserved ranges that were
  /// written included.
  uint64_t peak_bytes() const { return peak_bytes_; }

  static constexpr size_t kLargePageBytes = size_t{1} << 21;
  /// By which a column grows while it is small; its capacity is a multiple.
  static constexpr size_t kStepBytes = size_t{1} << 16;
  bool large_pages() const { return large_pages_; }
  /// Whether it was exhausted by its limit, not by the kernel.
  bool limit_reached() const { return used_bytes_ > limit_bytes_; }
  /// What a column reserves for each byte that it takes of a node.
  size_t share_bytes() const { return share_bytes_; }
  /// Without effect where the kernel has none.
  static void AskForLargePages(void* begin, size_t bytes);

  /// Address space that may not be touched yet, at least `bytes` or null. It
  /// begins at a multiple of a large page.
  void* Reserve(size_t bytes);
  /// Puts memory behind a part of a reserved range: whole pages.
  void Charge(void* begin, uint64_t bytes);
  /// The kernel takes back what `Charge` has counted in a part of one.
  void Discharge(void* begin, uint64_t bytes);
  /// Gives all reserved ranges back; whatever lies in them is gone.
  void ReleaseReserved();
  [[noreturn]] void Exhaust();

 private:
  void* do_allocate(size_t bytes, size_t alignment) override;
  void do_deallocate(void* block, size_t bytes, size_t alignment) override;
  bool do_is_equal(const memory_resource& other) const noexcept override {
    return this == &other;
  }

  uint64_t limit_bytes_;
  Exhausted exhausted_;
  bool large_pages_;
  size_t share_bytes_;
  struct Range {
    void* begin;
    size_t bytes;
  };
  static constexpr size_t kMostRanges = 16;
  // Bytes that all columns of a walk take of a node, at the most; a GiB for
  // each is more than 2^29 nodes and 2^32 edges need.
  static constexpr uint64_t kShares = 64;
  static constexpr uint64_t kMostAddressSpace = kShares << 30;

  void Count(uint64_t bytes);

  uint64_t used_bytes_ = 0;
  uint64_t peak_bytes_ = 0;
  uint64_t charged_bytes_ = 0;
  Range ranges_[kMostRanges] = {};
  size_t range_count_ = 0;
  char* chunk_ = nullptr;
  size_t chunk_left_ = 0;
};

/// An array that grows in place: address space is reserved once and memory put
/// behind it as it grows, so nothing is ever copied.
template <typename T>
class Column {
 public:
  /// `shares`: how many bytes of each node it may come to take.
  explicit Column(Arena& arena, size_t shares = sizeof(T)) : arena_(arena) {
    size_t bytes = shares * arena.share_bytes();
    begin_ = static_cast<T*>(arena.Reserve(bytes));
    if (begin_ == nullptr) arena.Exhaust();
    capacity_ = bytes / sizeof(T);
  }
  Column(const Column&) = delete;
  Column& operator=(const Column&) = delete;

  void push_back(T value) {
    if (size_ == charged_) Grow();
    begin_[size_++] = value;
  }
  /// Fills up to `size` with zeroes (fresh pages are zero already).
  void resize(size_t size) {
    while (charged_ < size) Grow();
    size_ = size;
  }
  /// Empties it and gives its memory back.
  void Clear() {
    arena_.Discharge(begin_, charged_ * sizeof(T));
    size_ = charged_ = 0;
  }
  size_t size() const { return size_; }
  T* data() const { return begin_; }
  T& operator[](size_t index) { return begin_[index]; }
  const T& operator[](size_t index) const { return begin_[index]; }

 private:
  static constexpr size_t kLargeBytes = size_t{1} << 22;
  void Grow() {
    size_t bytes = charged_ * sizeof(T);
    bool is_large = bytes >= kLargeBytes && arena_.large_pages();
    size_t step = is_large ? Arena::kLargePageBytes : Arena::kStepBytes;
    if (charged_ + step / sizeof(T) > capacity_) arena_.Exhaust();
    if (is_large && bytes == kLargeBytes)
      Arena::AskForLargePages(begin_ + charged_,
                              (capacity_ - charged_) * sizeof(T));
    arena_.Charge(begin_ + charged_, step);
    charged_ += step / sizeof(T);
  }

  Arena& arena_;
  T* begin_ = nullptr;
  size_t size_ = 0;
  size_t charged_ = 0;
  size_t capacity_ = 0;
};

/// Dense numbers, of which two bytes each are kept while all are small.
class IdColumn {
 public:
  explicit IdColumn(Arena& arena) : narrow_(arena), wide_(arena) {}

  void push_back(uint32_t id) {
    if (!is_wide_ && id > kMostNarrow) Widen();
    if (is_wide_)
      wide_.push_back(id);
    else
      narrow_.push_back(static_cast<uint16_t>(id));
  }
  uint32_t operator[](size_t index) const {
    return is_wide_ ? wide_[index] : narrow_[index];
  }
  size_t size() const { return is_wide_ ? wide_.size() : narrow_.size(); }
  /// Calls `act` with the column that holds them.
  template <typename Act>
  void Change(Act act) {
    if (is_wide_)
      act(wide_);
    else
      act(narrow_);
  }

 private:
  static constexpr uint32_t kMostNarrow = 0xffff;
  void Widen() {
    for (size_t i = 0; i < narrow_.size(); ++i) wide_.push_back(narrow_[i]);
    narrow_.Clear();
    is_wide_ = true;
  }

  Column<uint16_t> narrow_;
  Column<uint32_t> wide_;
  bool is_wide_ = false;
};

}  // namespace heap
