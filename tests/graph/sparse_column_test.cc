#include "inspector/graph/sparse_column.h"

#include <gtest/gtest.h>

#include <random>
#include <unordered_map>

namespace heap {
namespace {

// Oracle: a hash table of the library.
TEST(SparseColumn, KeepsWhatWasPutUnderEachKey) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    SparseColumn<int64_t> column(std::pmr::new_delete_resource());
    std::unordered_map<uint64_t, int64_t> expected;
    uint64_t keys = 1 + random() % 5000;
    for (int i = 0; i < 20'000; ++i) {
      uint64_t key = 1 + random() % keys;
      auto found = expected.find(key);
      ASSERT_EQ(column.Find(key), found == expected.end() ? 0 : found->second);
      auto by = static_cast<int64_t>(random() % 100) - 50;
      column[key] += by;
      expected[key] += by;
    }
    for (const auto& [key, number] : expected)
      ASSERT_EQ(column.Find(key), number);
  }
}

}  // namespace
}  // namespace heap
