#include "inspector/graph/arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <new>
#include <random>
#include <vector>

#include "inspector/graph/components.h"
#include "inspector/graph/cycles.h"
#include "inspector/graph/states.h"
#include "inspector/graph/strings.h"
#include "tests/graph/random_graph.h"

namespace {
size_t allocations = 0;
}  // namespace

// Counted, since code that is given an arena may not use the heap.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* block = std::malloc(bytes == 0 ? 1 : bytes)) return block;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t bytes,
                                     const std::nothrow_t&) noexcept {
  return operator new(bytes);
}
[[gnu::noinline]] void operator delete(void* block) noexcept {
  std::free(block);
}
[[gnu::noinline]] void operator delete(void* block, size_t) noexcept {
  std::free(block);
}

namespace heap {
namespace {

using testing::ElementsAreArray;
using testing::ExitedWithCode;
using testing::KilledBySignal;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kNoLimit = UINT64_MAX;

void ExitWithThree() { _exit(3); }

bool IsMapped(const void* page) {
  unsigned char resident;
  return mincore(const_cast<void*>(page), 1, &resident) == 0;
}

TEST(Arena, GivesAlignedBlocksThatDoNotOverlap) {
  struct Block {
    unsigned char* begin;
    size_t bytes;
    unsigned char fill;
  };
  for (uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Arena arena(kNoLimit, ExitWithThree);
    std::vector<Block> blocks;
    for (int i = 0; i < 500; ++i) {
      size_t bytes = 1 + random() % (random() % 8 == 0 ? 200'000 : 500);
      size_t alignment = size_t{1} << random() % 13;
      auto* begin =
          static_cast<unsigned char*>(arena.allocate(bytes, alignment));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(begin) % alignment, 0u);
      auto fill = static_cast<unsigned char>(random());
      std::memset(begin, fill, bytes);
      blocks.push_back({begin, bytes, fill});
    }
    for (const Block& block : blocks)
      ASSERT_EQ(std::count(block.begin, block.begin + block.bytes, block.fill),
                static_cast<ptrdiff_t>(block.bytes));
    for (const Block& block : blocks)
      arena.deallocate(block.begin, block.bytes);
  }
}

TEST(Arena, CutsSmallBlocksFromOneChunk) {
  Arena arena(kNoLimit, ExitWithThree);
  EXPECT_EQ(arena.block_bytes(), 0u);
  for (int i = 0; i < 1000; ++i) (void)arena.allocate(1000, 8);
  EXPECT_EQ(arena.block_bytes(), kMiB);
  for (int i = 0; i < 100; ++i) (void)arena.allocate(1000, 8);
  EXPECT_EQ(arena.block_bytes(), 2 * kMiB);
}

TEST(Arena, UsesAChunkToItsLastByte) {
  Arena arena(kNoLimit, ExitWithThree);
  for (int i = 0; i < 32; ++i) (void)arena.allocate(kMiB / 32, 1);
  EXPECT_EQ(arena.block_bytes(), kMiB);
  (void)arena.allocate(1, 1);
  EXPECT_EQ(arena.block_bytes(), 2 * kMiB);
}

TEST(Arena, EndsAChunkWhereAlignmentWouldLeaveIt) {
  Arena arena(kNoLimit, ExitWithThree);
  for (int page = 0; page < 256; ++page) (void)arena.allocate(1, 4096);
  EXPECT_EQ(arena.block_bytes(), kMiB);
  (void)arena.allocate(1, 4096);  // 4095 bytes are left, all to be skipped.
  EXPECT_EQ(arena.block_bytes(), 2 * kMiB);
}

TEST(Arena, UnmapsLargeBlocksOneByOne) {
  Arena arena(kNoLimit, ExitWithThree);
  void* kept = arena.allocate(3 * kMiB + 1);
  void* freed = arena.allocate(5 * kMiB);
  EXPECT_EQ(arena.block_bytes(), 8 * kMiB + 4096);
  EXPECT_TRUE(IsMapped(freed));
  arena.deallocate(freed, 5 * kMiB);
  EXPECT_FALSE(IsMapped(freed));
  EXPECT_TRUE(IsMapped(kept));
  EXPECT_EQ(arena.block_bytes(), 3 * kMiB + 4096);
  arena.deallocate(kept, 3 * kMiB + 1);
  EXPECT_EQ(arena.block_bytes(), 0u);
}

TEST(Arena, GivesTheSameLimitAgainAfterLargeBlocksWent) {
  Arena arena(10 * kMiB, ExitWithThree);
  for (int i = 0; i < 100; ++i)
    arena.deallocate(arena.allocate(8 * kMiB), 8 * kMiB);
  EXPECT_EQ(arena.block_bytes(), 0u);
}

TEST(ArenaDeathTest, CallsTheHandlerWhenTheLimitIsPassed) {
  Arena arena(4 * kMiB, ExitWithThree);
  (void)arena.allocate(4 * kMiB);  // The limit itself is allowed.
  EXPECT_EXIT((void)arena.allocate(65536), ExitedWithCode(3), "");
  EXPECT_EXIT((void)arena.allocate(1), ExitedWithCode(3), "");
}

TEST(ArenaDeathTest, CallsTheHandlerWhenTheKernelRefuses) {
  Arena arena(kNoLimit, ExitWithThree);
  EXPECT_EXIT((void)arena.allocate(size_t{1} << 62), ExitedWithCode(3), "");
}

TEST(ArenaDeathTest, AbortsIfTheHandlerReturns) {
  Arena arena(0, [] {});
  EXPECT_EXIT((void)arena.allocate(1), KilledBySignal(SIGABRT), "");
}

TEST(Arena, ReservesAddressesWithoutCountingThem) {
  Arena arena(kMiB, ExitWithThree);
  void* range = arena.Reserve(64 * kMiB);
  ASSERT_NE(range, nullptr);
  EXPECT_EQ(arena.block_bytes(), 0u);
  EXPECT_TRUE(IsMapped(static_cast<char*>(range) + 64 * kMiB - 1 - 4095));
  arena.ReleaseReserved();
  EXPECT_FALSE(IsMapped(range));
}

TEST(Arena, ReservesNothingWhereTheKernelRefuses) {
  Arena arena(kNoLimit, ExitWithThree);
  EXPECT_EQ(arena.Reserve(size_t{1} << 62), nullptr);
}

TEST(ArenaDeathTest, CountsWhatReservedRangesUseTowardsTheLimit) {
  Arena arena(4 * kMiB, ExitWithThree);
  auto* range = static_cast<char*>(arena.Reserve(64 * kMiB));
  arena.Charge(range, 3 * kMiB);
  range[3 * kMiB - 1] = 1;
  EXPECT_EQ(arena.block_bytes(), 0u);
  EXPECT_FALSE(arena.limit_reached());
  EXPECT_EXIT((void)arena.allocate(2 * kMiB), ExitedWithCode(3), "");
  EXPECT_EXIT(arena.Charge(range + 3 * kMiB, 2 * kMiB), ExitedWithCode(3), "");
  arena.ReleaseReserved();
  (void)arena.allocate(4 * kMiB);
  EXPECT_EQ(arena.block_bytes(), 4 * kMiB);
}

TEST(ArenaDeathTest, LetsNobodyTouchWhatIsReservedOnly) {
  Arena arena(kNoLimit, ExitWithThree);
  auto* range = static_cast<volatile char*>(arena.Reserve(kMiB));
  EXPECT_DEATH(range[0] = 1, "");
  arena.ReleaseReserved();
}

// As under `ulimit -v`: columns get along with what they are given.
TEST(ColumnDeathTest, ReservesAShareOfTheAddressSpace) {
  Arena arena(kNoLimit, ExitWithThree, true, 64 * kMiB);
  EXPECT_EQ(arena.share_bytes(), kMiB);
  Column<uint8_t> bytes(arena);
  Column<uint32_t> numbers(arena);
  bytes.resize(kMiB);
  numbers.resize(kMiB);
  EXPECT_EXIT(bytes.push_back(1), ExitedWithCode(3), "");
  EXPECT_EXIT(numbers.push_back(1), ExitedWithCode(3), "");
  EXPECT_FALSE(arena.limit_reached());
  arena.ReleaseReserved();
}

TEST(ArenaDeathTest, HasRoomForSixteenRanges) {
  Arena arena(kNoLimit, ExitWithThree);
  for (int i = 0; i < 16; ++i) ASSERT_NE(arena.Reserve(4096), nullptr);
  EXPECT_EXIT((void)arena.Reserve(4096), ExitedWithCode(3), "");
  arena.ReleaseReserved();
  for (int i = 0; i < 16; ++i) ASSERT_NE(arena.Reserve(4096), nullptr);
  arena.ReleaseReserved();
}

TEST(Arena, IsEqualToItselfOnly) {
  Arena arena(kNoLimit, ExitWithThree), other(kNoLimit, ExitWithThree);
  EXPECT_TRUE(arena.is_equal(arena));
  EXPECT_FALSE(arena.is_equal(other));
}

TEST(Column, KeepsItsPlaceAndItsValuesWhileItGrows) {
  Arena arena(kNoLimit, ExitWithThree);
  Column<uint32_t> column(arena);
  EXPECT_EQ(column.size(), 0u);
  const uint32_t* begin = column.data();
  for (uint32_t i = 0; i < 1'000'000; ++i) column.push_back(i * 7);
  EXPECT_EQ(column.data(), begin);
  ASSERT_EQ(column.size(), 1'000'000u);
  for (uint32_t i = 0; i < 1'000'000; ++i) ASSERT_EQ(column[i], i * 7);
  arena.ReleaseReserved();
}

TEST(Column, IsFilledUpWithZeroes) {
  Arena arena(kNoLimit, ExitWithThree);
  Column<uint16_t> column(arena);
  column.push_back(7);
  column.resize(100'000);
  EXPECT_EQ(column.size(), 100'000u);
  EXPECT_EQ(column[0], 7);
  for (size_t i = 1; i < column.size(); ++i) ASSERT_EQ(column[i], 0);
  column.push_back(8);
  EXPECT_EQ(column[100'000], 8);
  arena.ReleaseReserved();
}

TEST(ColumnDeathTest, TakesMemoryInSteps) {
  // The limit holds one step of 64 KiB for each of two columns.
  Arena arena(128 * 1024, ExitWithThree);
  Column<uint64_t> numbers(arena);
  Column<uint8_t> bytes(arena);
  for (int i = 0; i < 8192; ++i) numbers.push_back(1);
  for (int i = 0; i < 65536; ++i) bytes.push_back(1);
  EXPECT_EXIT(numbers.push_back(1), ExitedWithCode(3), "");
  EXPECT_EXIT(bytes.push_back(1), ExitedWithCode(3), "");
  EXPECT_EXIT(bytes.resize(65537), ExitedWithCode(3), "");
  arena.ReleaseReserved();
}

TEST(Column, HoldsMoreThanFourGigabytes) {
  Arena arena(kNoLimit, ExitWithThree);
  Column<uint64_t> column(arena, 64);
  constexpr size_t kSize = (size_t{1} << 32) + 3;  // Elements, 32 GiB.
  column.push_back(1);
  column.resize(kSize);
  column.push_back(2);
  EXPECT_EQ(column.size(), kSize + 1);
  EXPECT_EQ(column[0], 1u);
  EXPECT_EQ(column[kSize], 2u);
  EXPECT_EQ(arena.block_bytes(), 0u);
  arena.ReleaseReserved();
}

TEST(ColumnDeathTest, CallsTheHandlerAtTheEndOfItsRange) {
  Arena arena(kNoLimit, ExitWithThree);
  Column<uint8_t> column(arena);
  EXPECT_EXIT(column.resize((size_t{1} << 30) + 1), ExitedWithCode(3), "");
  arena.ReleaseReserved();
}

/// All that the algorithms say of one graph, taken from `memory`.
struct Findings {
  explicit Findings(std::pmr::memory_resource* memory)
      : components(HeapGraph(), memory), states(memory), cycles(memory) {}
  Components components;
  States states;
  std::pmr::vector<NodeId> cycles;  // One after another.
};

Findings Analyse(const HeapGraph& graph, std::span<const uint8_t> flags,
                 std::pmr::memory_resource* memory) {
  Findings findings(memory);
  findings.components = FindComponents(graph, memory);
  findings.states = FindStates(graph, flags, {}, memory);
  CycleFinder finder(graph, findings.components, 1'000'000, memory);
  StringTable strings(memory);
  for (NodeId node = 0; node < graph.node_count(); ++node) {
    finder.ForEachCycle(node, [&](std::span<const NodeId> cycle) {
      findings.cycles.insert(findings.cycles.end(), cycle.begin(), cycle.end());
    });
    TextBuffer<32> text;
    strings.Intern(text.Append("node ").Append(node).text());
  }
  return findings;
}

TEST(Arena, ServesAllAlgorithmsWithoutTheHeap) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    OwnedGraph graph = RandomGraph(seed, 2000);
    std::vector<uint8_t> flags(graph->node_count());
    std::mt19937 random(seed);
    for (uint8_t& flag : flags)
      flag =
          kTracked | (random() % 64 == 0 ? kCollectorRoot | kHeldOutside : 0);
    std::pmr::monotonic_buffer_resource memory;
    Findings expected = Analyse(graph, flags, &memory);

    Arena arena(kNoLimit, ExitWithThree);
    size_t allocations_before = allocations;
    auto* usual =
        std::pmr::set_default_resource(std::pmr::null_memory_resource());
    Findings findings = Analyse(graph, flags, &arena);
    std::pmr::set_default_resource(usual);
    ASSERT_EQ(allocations, allocations_before);
    for (NodeId node = 0; node < graph->node_count(); ++node)
      ASSERT_EQ(findings.components.Of(node), expected.components.Of(node));
    ASSERT_THAT(findings.states.of, ElementsAreArray(expected.states.of));
    ASSERT_THAT(findings.states.holder,
                ElementsAreArray(expected.states.holder));
    ASSERT_THAT(findings.cycles, ElementsAreArray(expected.cycles));
  }
}

TEST(Arena, ServesAMillionNodesInBoundedMemory) {
  constexpr NodeId kMillion = 1'000'000;
  for (const OwnedGraph& graph : {NestedList(kMillion), LongCycle(kMillion)}) {
    // By node 4 bytes for the result and 24 of scratch at most.
    Arena arena(28 * kMillion + 2 * kMiB, ExitWithThree);
    {
      Components components = FindComponents(graph, &arena);
      EXPECT_EQ(components.node_count(), kMillion);
    }
    EXPECT_LE(arena.block_bytes(), kMiB);  // One chunk; the rest went back.
  }
}

TEST(Arena, RemembersTheMostThatItHad) {
  Arena arena(16 * kMiB, ExitWithThree);
  for (int round = 0; round < 2; ++round) {
    void* block = arena.allocate(3 * kMiB);
    arena.deallocate(block, 3 * kMiB);
    EXPECT_EQ(arena.peak_bytes(), 3 * kMiB);
  }
}

}  // namespace
}  // namespace heap
