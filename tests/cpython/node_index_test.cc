#include "inspector/cpython/node_index.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <unordered_map>
#include <vector>

namespace inspector {

/// Instead of pymalloc's: in every other MiB pools, cut into blocks of a size
/// that follows from where the pool is.
uint32_t Allocator::BlocksIn(uintptr_t begin) const {
  if ((begin >> 20) % 2 == 0) return 0;
  return 16 * (1 + (begin >> 14) % 32);
}

namespace {

using heap::Arena;
using heap::kNoNode;
using heap::NodeId;

constexpr uint64_t kNoLimit = ~uint64_t{0};
constexpr uintptr_t kBegin = 0x7f1200000000;

const void* ObjectAt(uintptr_t address) {
  return reinterpret_cast<const void*>(address);
}

NodeId FindOrAdd(NodeIndex& index, uintptr_t address, NodeId next, bool mark) {
  NodeIndex::Place place = index.PlaceOf(ObjectAt(address));
  NodeIndex::Entry entry = index.Get(place, ObjectAt(address));
  if (entry.node != kNoNode) return entry.node;
  index.Add(place, ObjectAt(address), {next, mark});
  return next;
}

/// Mostly where heads before the object leave it in its block.
uintptr_t RandomAddress(std::mt19937& random, const Allocator& allocator) {
  uintptr_t pool = kBegin + (uintptr_t{random() % 512} << 14);
  uint32_t bytes = allocator.BlocksIn(pool);
  if (bytes == 0 || random() % 64 == 0) return pool + random() % 2048 * 8;
  uintptr_t blocks = (16384 - Allocator::pool_header()) / bytes;
  return pool + Allocator::pool_header() + random() % blocks * bytes +
         random() % 4 % (bytes / 16) * 16;
}

// Oracle: a hash table.
TEST(NodeIndex, FindsWhatWasAddedAtRandomPlaces) {
  Allocator allocator;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Arena arena(kNoLimit, std::abort);
    NodeIndex index(&allocator, arena);
    std::unordered_map<uintptr_t, NodeId> expected;
    std::vector<uintptr_t> addresses;
    for (int i = 0; i < 50'000; ++i) {
      uintptr_t address = RandomAddress(random, allocator);
      auto next = static_cast<NodeId>(addresses.size());
      auto [at, is_new] = expected.emplace(address, next);
      if (is_new) addresses.push_back(address);
      ASSERT_EQ(FindOrAdd(index, address, next, next % 3 == 0), at->second);
    }
    for (auto [address, node] : expected) {
      ASSERT_EQ(index.Find(ObjectAt(address)), node);
      NodeIndex::Place place = index.PlaceOf(ObjectAt(address));
      ASSERT_EQ(index.Get(place, ObjectAt(address)).mark, node % 3 == 0);
    }
    for (int i = 0; i < 50'000; ++i) {
      uintptr_t word = kBegin - (1 << 21) + random() % (1 << 24);
      auto at = expected.find(word);
      ASSERT_EQ(index.Find(ObjectAt(word)),
                at == expected.end() ? kNoNode : at->second);
    }
    LeavesLast order(arena);
    for (size_t i = 0; i < addresses.size(); ++i) order.Add(random() % 2 == 0);
    index.KeepAddresses(order);
    for (NodeId node = 0; node < addresses.size(); ++node)
      ASSERT_EQ(index.AddressOf(order.Of(node)), addresses[node]);
  }
}

TEST(NodeIndex, TellsObjectsApartThatShareABlock) {
  Allocator allocator;
  Arena arena(kNoLimit, std::abort);
  NodeIndex index(&allocator, arena);
  uintptr_t pool = kBegin + (uintptr_t{1} << 20) + (uintptr_t{31} << 14);
  ASSERT_EQ(allocator.BlocksIn(pool), 512u);
  std::vector<uintptr_t> addresses;
  for (uintptr_t at = 0; at < 512; at += 8)
    addresses.push_back(pool + Allocator::pool_header() + at);
  for (NodeId node = 0; node < addresses.size(); ++node)
    EXPECT_EQ(FindOrAdd(index, addresses[node], node, false), node);
  for (NodeId node = 0; node < addresses.size(); ++node)
    EXPECT_EQ(index.Find(ObjectAt(addresses[node])), node);
}

// A kept address has room for the numbers of 32,767 regions of 1 MiB.
TEST(NodeIndex, RemembersAddressesInMoreRegionsThanItNumbers) {
  Arena arena(kNoLimit, std::abort);
  NodeIndex index(nullptr, arena);
  constexpr NodeId kCount = 40'000;
  auto address_of = [](NodeId node) {
    return kBegin + (uintptr_t{node} << 20) + node % 1000 * 16;
  };
  for (NodeId node = 0; node < kCount; ++node)
    ASSERT_EQ(FindOrAdd(index, address_of(node), node, true), node);
  for (NodeId node = 0; node < kCount; ++node) {
    ASSERT_EQ(index.Find(ObjectAt(address_of(node))), node);
    ASSERT_EQ(index.AddressOf(node), address_of(node));
  }
  LeavesLast order(arena);
  for (NodeId node = 0; node < kCount; ++node) order.Add(node % 3 == 0);
  index.KeepAddresses(order);
  for (NodeId node = 0; node < kCount; ++node)
    ASSERT_EQ(index.AddressOf(order.Of(node)), address_of(node));
}

TEST(IdColumn, WidensWhenAnIdNeedsIt) {
  Arena arena(kNoLimit, std::abort);
  heap::IdColumn ids(arena);
  for (uint32_t i = 0; i < 200'000; ++i) {
    ids.push_back(i / 2);
    ASSERT_EQ(ids[i], i / 2);
  }
  ASSERT_EQ(ids.size(), 200'000u);
  for (uint32_t i = 0; i < 200'000; ++i) ASSERT_EQ(ids[i], i / 2);
}

}  // namespace
}  // namespace inspector
