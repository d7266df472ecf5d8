#include "inspector/cpython/size_column.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <vector>

namespace inspector {
namespace {

using heap::Arena;

constexpr uint64_t kNoLimit = ~uint64_t{0};

TEST(SizeColumn, KeepsAFewHundredSizesAndTellsOfTheRest) {
  Arena arena(kNoLimit, std::abort);
  SizeColumn sizes(arena);
  for (uint64_t bytes = 0; bytes < 10'000; bytes += 4) sizes.Add(bytes);
  int kept = 0;
  for (uint32_t node = 0; node < 2500; ++node) {
    EXPECT_EQ(sizes.IsMeasured(node), node != 0);
    if (node == 0 || !sizes.IsKept(node)) continue;
    ++kept;
    EXPECT_EQ(sizes[node], 4 * node);
  }
  EXPECT_EQ(kept, 254);
  arena.ReleaseReserved();
}

// Oracle: the sizes themselves.
TEST(SizeColumn, KeepsWhatIsSetLater) {
  std::mt19937 random(1);
  Arena arena(kNoLimit, std::abort);
  SizeColumn sizes(arena);
  std::vector<uint64_t> expected(5000);
  for (size_t i = 0; i < expected.size(); ++i) sizes.Add(0);
  for (int i = 0; i < 20'000; ++i) {
    uint32_t node = random() % 5000;
    uint64_t bytes = random() % 100 == 0 ? 1'000'000 : 8 + random() % 200 * 8;
    sizes.Set(node, bytes);
    expected[node] = bytes;
  }
  for (uint32_t node = 0; node < expected.size(); ++node) {
    ASSERT_EQ(sizes.IsMeasured(node), expected[node] != 0);
    ASSERT_EQ(sizes.IsKept(node), expected[node] != 1'000'000);
    if (sizes.IsKept(node)) {
      ASSERT_EQ(sizes[node], expected[node]);
    }
  }
  arena.ReleaseReserved();
}

}  // namespace
}  // namespace inspector
