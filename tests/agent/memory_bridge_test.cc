#include "inspector/agent/memory_bridge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace inspector {
namespace {

constexpr int64_t kMiB = 1 << 20;

/// A process of 200 MiB in which every byte is where the books say.
ChildSnapshot Balanced() {
  ChildSnapshot snapshot;
  snapshot.live = {
      .pymalloc = 40 * kMiB, .malloc = 10 * kMiB, .fixed = 2 * kMiB};
  snapshot.floating = {.pymalloc = 5 * kMiB, .malloc = 1 * kMiB};
  snapshot.has_sizes = true;
  snapshot.has_pools = true;
  snapshot.pools.used_blocks = 50 * kMiB;
  snapshot.pools.resident_free = 10 * kMiB;
  snapshot.malloc =
      MallocFigures{.used = 40 * kMiB, .free = 20 * kMiB, .top = 5 * kMiB};
  snapshot.resident = {.anon = 150 * kMiB,
                       .arenas = 60 * kMiB,
                       .module_data = 4 * kMiB,
                       .stacks = 1 * kMiB,
                       .malloc = 45 * kMiB,
                       .malloc_size = 60 * kMiB,
                       .other = 40 * kMiB};
  snapshot.memory.rss = 200 * kMiB;
  snapshot.memory.anon = 150 * kMiB;
  snapshot.memory.file = 49 * kMiB;
  snapshot.memory.shared = 1 * kMiB;
  return snapshot;
}

TEST(MemoryBridge, ExplainsAProcessWhoseBooksAgree) {
  MemoryBridge bridge = BuildMemoryBridge(Balanced());
  EXPECT_EQ(bridge.rss, 200 * kMiB);
  EXPECT_EQ(bridge.live, 50 * kMiB);
  EXPECT_EQ(bridge.floating, 6 * kMiB);
  EXPECT_EQ(bridge.pymalloc_used_other, 5 * kMiB);
  EXPECT_EQ(bridge.pymalloc_free, 10 * kMiB);
  EXPECT_EQ(bridge.malloc_used, 29 * kMiB);
  EXPECT_EQ(bridge.malloc_free, 20 * kMiB);
  EXPECT_EQ(bridge.not_resident, 15 * kMiB);
  EXPECT_EQ(bridge.other_mappings, 40 * kMiB);
  EXPECT_EQ(bridge.unexplained, 0);
}

/// A measured figure that is too large by X takes X from what is unexplained,
/// and gives it if it is too small; `sign` is that of the figure in the sum.
TEST(MemoryBridge, AWrongFigureShowsInWhatIsNotExplained) {
  struct Case {
    const char* name;
    std::function<void(ChildSnapshot&, int64_t)> change;
    int sign;
  };
  const Case cases[] = {
      {"pools.used_blocks",
       [](ChildSnapshot& s, int64_t x) { s.pools.used_blocks += uint64_t(x); },
       1},
      {"pools.resident_free",
       [](ChildSnapshot& s, int64_t x) {
         s.pools.resident_free += uint64_t(x);
       },
       1},
      {"malloc.used", [](ChildSnapshot& s, int64_t x) { s.malloc->used += x; },
       1},
      {"malloc.free", [](ChildSnapshot& s, int64_t x) { s.malloc->free += x; },
       1},
      {"resident.malloc",
       [](ChildSnapshot& s, int64_t x) { s.resident.malloc += x; }, 1},
      {"resident.malloc_size",
       [](ChildSnapshot& s, int64_t x) { s.resident.malloc_size += x; }, -1},
      {"resident.module_data",
       [](ChildSnapshot& s, int64_t x) { s.resident.module_data += x; }, 1},
      {"resident.stacks",
       [](ChildSnapshot& s, int64_t x) { s.resident.stacks += x; }, 1},
      {"resident.other",
       [](ChildSnapshot& s, int64_t x) { s.resident.other += x; }, 1},
      {"resident.anon",
       [](ChildSnapshot& s, int64_t x) { s.resident.anon += x; }, -1},
  };
  for (const Case& wrong : cases) {
    for (int64_t bytes : {3 * kMiB, -kMiB}) {
      ChildSnapshot snapshot = Balanced();
      wrong.change(snapshot, bytes);
      EXPECT_EQ(BuildMemoryBridge(snapshot).unexplained, -wrong.sign * bytes)
          << wrong.name;
    }
  }
}

// A heap that was taken for somebody else's mapping is in two books.
TEST(MemoryBridge, AHeapThatIsNotRecognisedShows) {
  ChildSnapshot snapshot = Balanced();
  snapshot.resident.malloc -= 20 * kMiB;
  snapshot.resident.malloc_size -= 20 * kMiB;
  snapshot.resident.other += 20 * kMiB;
  EXPECT_EQ(BuildMemoryBridge(snapshot).unexplained, -20 * kMiB);
}

// More objects in pymalloc than it has handed out cannot be.
TEST(MemoryBridge, ObjectsThatAreCountedTwiceShow) {
  ChildSnapshot snapshot = Balanced();
  snapshot.live.pymalloc += 9 * kMiB;
  MemoryBridge bridge = BuildMemoryBridge(snapshot);
  EXPECT_EQ(bridge.pymalloc_used_other, 0);
  EXPECT_EQ(bridge.unexplained, -4 * kMiB);
}

TEST(MemoryBridge, BlocksOfAnotherAllocatorAreTakenFromItsMappings) {
  ChildSnapshot snapshot = Balanced();
  snapshot.live.foreign = 30 * kMiB;
  snapshot.floating.foreign = 2 * kMiB;
  MemoryBridge bridge = BuildMemoryBridge(snapshot);
  EXPECT_EQ(bridge.live, 80 * kMiB);
  EXPECT_EQ(bridge.floating, 8 * kMiB);
  EXPECT_EQ(bridge.other_mappings, 8 * kMiB);
  EXPECT_EQ(bridge.unexplained, 0);
}

TEST(MemoryBridge, WithoutMallocsFiguresItsPagesAreKnown) {
  ChildSnapshot snapshot = Balanced();
  snapshot.malloc.reset();
  MemoryBridge bridge = BuildMemoryBridge(snapshot);
  EXPECT_FALSE(bridge.malloc_used || bridge.malloc_free || bridge.not_resident);
  EXPECT_EQ(bridge.unexplained, 0);
  snapshot.resident.other += kMiB;
  EXPECT_EQ(BuildMemoryBridge(snapshot).unexplained, -kMiB);
}

}  // namespace
}  // namespace inspector
