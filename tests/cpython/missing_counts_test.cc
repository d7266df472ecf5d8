#include "inspector/cpython/missing_counts.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <vector>

namespace inspector {
namespace {

using heap::Arena;
using heap::NodeId;

constexpr uint64_t kNoLimit = ~uint64_t{0};

// Oracle: plain numbers. Counts around each power of the base, taken down past
// zero and up again.
TEST(MissingCounts, CountAsPlainNumbersDo) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Arena arena(kNoLimit, std::abort);
    MissingCounts counts(arena);
    std::vector<int64_t> expected;
    std::vector<bool> uncounted;
    for (int node = 0; node < 50; ++node) {
      uncounted.push_back(random() % 8 == 0);
      int64_t count = random() % 4 == 0   ? 0
                      : random() % 2 == 0 ? random() % 200
                                          : 4000 + random() % 200;
      expected.push_back(count);
      if (uncounted.back())
        counts.AddUncounted();
      else
        counts.Add(count);
    }
    bool up = false;
    for (int step = 0; step < 40'000; ++step) {
      if (random() % 3000 == 0) up = !up;
      NodeId node = random() % 50;
      if (up ? random() % 4 != 0 : random() % 16 == 0) {
        counts.Increment(node);
        ++expected[node];
      } else {
        counts.Decrement(node);
        --expected[node];
      }
      ASSERT_EQ(counts.IsUncounted(node), uncounted[node]);
      if (uncounted[node]) {
        ASSERT_TRUE(counts.IsPositive(node));
        ASSERT_FALSE(counts.IsZero(node));
        continue;
      }
      ASSERT_EQ(counts.Of(node), expected[node]);
      ASSERT_EQ(counts.IsZero(node), expected[node] == 0);
      ASSERT_EQ(counts.IsPositive(node), expected[node] > 0);
    }
    arena.ReleaseReserved();
  }
}

TEST(MissingCounts, HoldWhatAReferenceCountMayBe) {
  Arena arena(kNoLimit, std::abort);
  MissingCounts counts(arena);
  counts.Add(int64_t{1} << 40);
  counts.Decrement(0);
  EXPECT_EQ(counts.Of(0), (int64_t{1} << 40) - 1);
  EXPECT_TRUE(counts.IsPositive(0));
  arena.ReleaseReserved();
}

}  // namespace
}  // namespace inspector
