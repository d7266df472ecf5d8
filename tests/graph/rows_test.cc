#include "inspector/graph/rows.h"

#include <gtest/gtest.h>

#include <random>

namespace heap {
namespace {

// Oracle: counting.
TEST(Rows, NumberTheNodesThatHaveEdges) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    uint32_t count = random() % 300;
    uint32_t one_in = 1 + random() % 5;
    std::vector<uint32_t> first_edge = {0};
    for (uint32_t node = 0; node < count; ++node)
      first_edge.push_back(first_edge.back() +
                           (random() % one_in == 0 ? random() % 4 : 0));
    OwnedRows owned(first_edge);
    Rows rows(owned.blocks());
    ASSERT_EQ(owned.node_count(), count);
    uint32_t row = 0;
    for (uint32_t node = 0; node < count; ++node) {
      ASSERT_EQ(rows.Of(node), row) << node;
      ASSERT_EQ(rows.Has(node), first_edge[node] < first_edge[node + 1]);
      ASSERT_EQ(owned.first_edges()[row], first_edge[node]) << node;
      if (rows.Has(node)) ++row;
    }
    ASSERT_EQ(owned.first_edges().size(), row + 1);
    ASSERT_EQ(owned.first_edges().back(), first_edge.back());
  }
}

}  // namespace
}  // namespace heap
