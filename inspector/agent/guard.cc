#include "inspector/agent/guard.h"

#include <algorithm>
#include <cstdio>

namespace inspector {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kLookUs = 10'000;
constexpr int64_t kSoonestLookUs = 500;
// The fastest that a service and the child can use memory up between two looks.
constexpr int64_t kBytesPerUs = 4000;
constexpr int64_t kRestUs = 50'000;
constexpr int64_t kPauseShare = 20;
constexpr int64_t kLongestWaitUs = 2'000'000;
constexpr int64_t kMostMachineReserve = 512 * kMiB;
// Without a snapshot to learn from: the most that was measured on heaps of a
// million objects of one shape (slots 0.60, tuples and numbers 0.54, instances
// 0.44, lists 0.31, dicts 0.23); rules-processing takes 0.25.
constexpr double kOwnPerHeapByte = 0.6;
// Where pymalloc's pools are not known: of all anonymous memory.
constexpr double kOwnPerAnonByte = 0.6;
constexpr double kMargin = 1.15;
constexpr int64_t kOwnAtLeast = 4 * kMiB;
constexpr int64_t kBytesPerTableByte = 512;  // Page tables: 8 of each 4096.

std::string Mebibytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", double(bytes) / kMiB);
  return text;
}

}  // namespace

int64_t Guard::WaitUs(int64_t now_us) const {
  return std::clamp<int64_t>(next_start_us_ - now_us, 0, kLongestWaitUs);
}

void Guard::Begin(int64_t anon) {
  cgroups_ = Cgroups(root_);
  figures_ = {};
  anon_ = anon;
  rest_until_us_ = work_until_us_ = 0;
  throttled_ = cgroups_.ReadThrottled();
  if (auto headroom = cgroups_.ReadHeadroom()) {
    figures_.limited_by = headroom->of;
    figures_.limit = headroom->limit;
    figures_.headroom = figures_.lowest_headroom = headroom->free;
    figures_.reserve = headroom->limit / 10;
    if (headroom->of == "the machine")
      figures_.reserve = std::min(figures_.reserve, kMostMachineReserve);
  }
  figures_.kills_together = cgroups_.KillsTogether();
}

int64_t Guard::EstimateOwn(int64_t heap_bytes) const {
  double base = heap_bytes >= 0 ? double(heap_bytes) : double(anon_);
  double share = heap_bytes >= 0 ? kOwnPerHeapByte : kOwnPerAnonByte;
  if (own_per_heap_byte_ > 0) share = own_per_heap_byte_ * kMargin;
  return kOwnAtLeast + static_cast<int64_t>(base * share);
}

bool Guard::Allows(int64_t heap_bytes) {
  heap_bytes_ = heap_bytes;
  int64_t tables = anon_ / kBytesPerTableByte + kMiB;
  figures_.own_estimate = EstimateOwn(heap_bytes) + tables;
  figures_.worst_case = figures_.own_estimate + anon_;
  if (figures_.headroom < 0) {  // Nothing to go by: no limit can be read.
    child_limit_ = uint64_t{8} << 30;
    return true;
  }
  int64_t usable = figures_.headroom - figures_.reserve;
  child_limit_ = static_cast<uint64_t>(std::max<int64_t>(0, usable - tables));
  bool safe = usable >= figures_.worst_case;
  figures_.decision =
      safe ? GuardFigures::Decision::kFree : GuardFigures::Decision::kWatched;
  // The group that dies together would take the service along: no risk there.
  if (usable < figures_.own_estimate || (figures_.kills_together && !safe))
    figures_.decision = GuardFigures::Decision::kRefused;
  return figures_.decision != GuardFigures::Decision::kRefused;
}

void Guard::Started(int64_t now_us, int64_t pause_us) {
  if (started_us_ >= 0) figures_.since_last_ms = (now_us - started_us_) / 1000;
  started_us_ = now_us;
  next_start_us_ = now_us + pause_us * kPauseShare;
  last_look_us_ = now_us;
  next_look_us_ = now_us;
  last_free_ = figures_.headroom;
}

Guard::Verdict Guard::Look(int64_t now_us) {
  ++figures_.looks;
  next_look_us_ = now_us + kLookUs;
  if (last_look_us_ < rest_until_us_)
    figures_.yielded_ms +=
        (std::min(now_us, rest_until_us_) - last_look_us_) / 1000;
  last_look_us_ = now_us;
  if (figures_.headroom >= 0) {
    auto headroom = cgroups_.ReadHeadroom();
    int64_t free = headroom ? headroom->free : last_free_;
    int64_t reserve = figures_.reserve;
    figures_.lowest_headroom = std::min(figures_.lowest_headroom, free);
    // As much again may be gone before the next look.
    int64_t falling = std::max<int64_t>(0, last_free_ - free);
    last_free_ = free;
    if (free - falling < reserve) {
      figures_.decision = GuardFigures::Decision::kAborted;
      return Verdict::kLeave;
    }
    next_look_us_ = now_us + std::clamp((free - reserve) / kBytesPerUs,
                                        kSoonestLookUs, kLookUs);
  }
  if (now_us < rest_until_us_) return Verdict::kYield;
  int64_t throttled = cgroups_.ReadThrottled();
  bool withheld = throttled > throttled_;
  throttled_ = throttled;
  if (!withheld || now_us < work_until_us_) return Verdict::kGoOn;
  rest_until_us_ = now_us + kRestUs;
  // Where they are withheld all the time it would never come to an end.
  work_until_us_ = rest_until_us_ + kLookUs;
  return Verdict::kYield;
}

void Guard::Ended(int64_t peak_bytes) {
  int64_t base = heap_bytes_ >= 0 ? heap_bytes_ : anon_;
  if (peak_bytes > 0 && base > 0)
    own_per_heap_byte_ = double(peak_bytes) / double(base);
}

std::string Guard::Sentence() const {
  std::string figures = Mebibytes(figures_.headroom) + " of " +
                        Mebibytes(figures_.limit) + " were free in " +
                        figures_.limited_by;
  std::string needs = "the child needs about " +
                      Mebibytes(figures_.own_estimate) + ", " +
                      Mebibytes(figures_.reserve) + " are kept for the service";
  if (figures_.decision == GuardFigures::Decision::kAborted)
    return "the snapshot left to protect the service: " + figures + ", " +
           Mebibytes(figures_.lowest_headroom) + " when it left; " + needs +
           "; raise the memory limit, or try when the service writes less";
  std::string why =
      figures_.kills_together &&
              figures_.headroom - figures_.reserve >= figures_.own_estimate
          ? "an OOM would end all processes of the group (memory.oom.group), "
            "so "
            "the worst case of " +
                Mebibytes(figures_.worst_case) + " must fit"
          : needs;
  return "no snapshot was taken, to protect the service: " + figures + "; " +
         why + "; raise the memory limit or free some memory";
}

}  // namespace inspector
