#include "inspector/cpython/leaves_last.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

namespace inspector {
namespace {

using heap::Arena;
using heap::Column;
using heap::NodeId;

constexpr uint64_t kNoLimit = ~uint64_t{0};

// Oracle: std::stable_partition.
TEST(LeavesLast, PartitionsStably) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Arena arena(kNoLimit, std::abort);
    LeavesLast order(arena);
    Column<uint16_t> column(arena);
    NodeId count = random() % 300;
    uint32_t one_in = 1 + random() % 5;
    std::vector<bool> has_row;
    std::vector<NodeId> expected;
    for (NodeId node = 0; node < count; ++node) {
      has_row.push_back(random() % one_in == 0);
      order.Add(has_row.back());
      column.push_back(static_cast<uint16_t>(node));
      expected.push_back(node);
    }
    std::stable_partition(expected.begin(), expected.end(),
                          [&](NodeId node) { return has_row[node]; });
    for (NodeId at = 0; at < count; ++at) ASSERT_EQ(order.Of(expected[at]), at);
    order.Reorder(column);
    for (NodeId at = 0; at < count; ++at) ASSERT_EQ(column[at], expected[at]);
    NodeId rows = 0;
    for (NodeId node = 0; node <= count; ++node) {
      ASSERT_EQ(order.RowsBefore(node), rows);
      if (node < count && has_row[node]) ++rows;
    }
    ASSERT_EQ(order.row_count(), rows);
    arena.ReleaseReserved();
  }
}

}  // namespace
}  // namespace inspector
