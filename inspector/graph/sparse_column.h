#pragma once

#include <cstdint>
#include <memory_resource>
#include <utility>
#include <vector>

namespace heap {

/// Numbers for a few of many keys, and 0 for all others: a small hash table
/// with open addressing. Keys are not 0.
template <typename Number>
class SparseColumn {
 public:
  explicit SparseColumn(std::pmr::memory_resource* memory)
      : seats_(64, Seat{}, memory) {}

  Number Find(uint64_t key) const { return seats_[SeatOf(key)].number; }
  template <typename Do>
  void ForEach(Do act) const {
    for (const Seat& seat : seats_)
      if (seat.key != 0) act(seat.key, seat.number);
  }
  /// Where the number is kept. Valid until the next key is added.
  Number& operator[](uint64_t key) {
    size_t at = SeatOf(key);
    if (seats_[at].key == key) return seats_[at].number;
    if (++count_ * 2 > seats_.size()) {
      Grow();
      at = SeatOf(key);
    }
    seats_[at].key = key;
    return seats_[at].number;
  }
  void Swap(SparseColumn& other) {
    seats_.swap(other.seats_);
    std::swap(count_, other.count_);
  }

 private:
  struct Seat {
    uint64_t key = 0;
    Number number = 0;
  };
  size_t SeatOf(uint64_t key) const {
    size_t mask = seats_.size() - 1;
    size_t at = ((key * 0x9e3779b97f4a7c15) >> 20) & mask;
    while (seats_[at].key != 0 && seats_[at].key != key) at = (at + 1) & mask;
    return at;
  }
  void Grow() {
    std::pmr::vector<Seat> old(seats_.size() * 2, Seat{},
                               seats_.get_allocator());
    old.swap(seats_);
    for (const Seat& seat : old)
      if (seat.key != 0) seats_[SeatOf(seat.key)] = seat;
  }

  std::pmr::vector<Seat> seats_;
  size_t count_ = 0;
};

}  // namespace heap
