#include "inspector/graph/dominators.h"

#include <gmock/gmock.h>

#include <chrono>
#include <numeric>

#include "tests/graph/random_graph.h"

namespace heap {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

Dominators DominatorsFrom(const HeapGraph& graph, std::vector<NodeId> live,
                          std::vector<NodeId> floating = {}) {
  return FindDominators(graph, {std::move(live), std::move(floating)});
}

TEST(FindDominators, DiamondIsDominatedByItsTop) {
  // live -> a -> b -> d
  //         `--> c ---^
  enum : NodeId { a, b, c, d, live };
  OwnedGraph graph(4, {{a, b}, {a, c}, {b, d}, {c, d}});
  Dominators dominators = DominatorsFrom(graph, {a});
  EXPECT_THAT(dominators.immediate,
              ElementsAre(live, a, a, a, kNoNode, kNoNode));
  auto retained =
      RetainedSizes(dominators, [](NodeId node) { return 1u << node; });
  EXPECT_THAT(retained, ElementsAre(15, 2, 4, 8, 15, 0));
}

TEST(FindDominators, WhatTwoRootsShareBelongsToNeither) {
  // live -> a -> c <- b <- live
  enum : NodeId { a, b, c, live };
  OwnedGraph graph(3, {{a, c}, {b, c}});
  EXPECT_THAT(DominatorsFrom(graph, {a, b}).immediate,
              ElementsAre(live, live, live, kNoNode, kNoNode));
}

TEST(FindDominators, AnEntryThatAnotherLeadsToKeepsItsOwnRoot) {
  // live -> a -> b <- live
  enum : NodeId { a, b, live };
  OwnedGraph graph(2, {{a, b}});
  EXPECT_THAT(DominatorsFrom(graph, {a, b}).immediate,
              ElementsAre(live, live, kNoNode, kNoNode));
  EXPECT_THAT(DominatorsFrom(graph, {b, a}).immediate,
              ElementsAre(live, live, kNoNode, kNoNode));
}

TEST(FindDominators, GarbageDoesNotHoldWhatLives) {
  // live -> a -> b <- c <- floating
  enum : NodeId { a, b, c, live, floating };
  OwnedGraph graph(3, {{a, b}, {c, b}});
  EXPECT_THAT(DominatorsFrom(graph, {a}, {c}).immediate,
              ElementsAre(live, a, floating, kNoNode, kNoNode));
}

TEST(FindDominators, AGraphWithoutNodesHasTwoRoots) {
  OwnedGraph graph(0, {});
  Dominators dominators = DominatorsFrom(graph, {});
  EXPECT_THAT(dominators.immediate, ElementsAre(kNoNode, kNoNode));
  EXPECT_THAT(RetainedSizes(dominators, [](NodeId) { return 1; }),
              ElementsAre(0, 0));
}

// The graph of the paper: figures 1 and 2.
TEST(FindDominators, ThePapersExample) {
  enum : NodeId { R, A, B, C, D, E, F, G, H, I, J, K, L };
  OwnedGraph graph(13,
                   {{R, A}, {R, B}, {R, C}, {A, D}, {B, A}, {B, D}, {B, E},
                    {C, F}, {C, G}, {D, L}, {E, H}, {F, I}, {G, I}, {G, J},
                    {H, E}, {H, K}, {I, K}, {J, I}, {K, R}, {K, I}, {L, H}});
  Dominators dominators = DominatorsFrom(graph, {R});
  dominators.immediate.resize(13);
  EXPECT_THAT(dominators.immediate,
              ElementsAre(13, R, R, R, R, R, C, C, R, R, G, R, D));
}

TEST(FindEntries, AFloatingCycleIsEnteredAtItsNodeOfLowestRank) {
  // 0 -> 1 -> 2 -> 0, 2 -> 3
  OwnedGraph graph(4, {{0, 1}, {1, 2}, {2, 0}, {2, 3}});
  std::vector<uint8_t> held(4, 0);
  std::vector<uint8_t> garbage(4, 1);
  Entries entries =
      FindEntries(graph, held, garbage, std::vector<uint8_t>{2, 1, 2, 0});
  EXPECT_THAT(entries.live, ElementsAre());
  EXPECT_THAT(entries.floating, ElementsAre(1));  // Not 3: it is no source.
}

TEST(FindEntries, LivingNodesThatNothingReachesAreEnteredAsLive) {
  OwnedGraph graph(3, {{1, 2}});
  Entries entries =
      FindEntries(graph, std::vector<uint8_t>{1, 0, 0},
                  std::vector<uint8_t>{0, 0, 0}, std::vector<uint8_t>{0, 0, 0});
  EXPECT_THAT(entries.live, ElementsAre(0, 1));
  EXPECT_THAT(entries.floating, ElementsAre());
}

/// What `entries` reach without `gone`, by the definition.
std::vector<bool> Reached(const HeapGraph& graph,
                          const std::vector<NodeId>& entries,
                          NodeId gone = kNoNode) {
  std::vector<bool> reached(graph.node_count(), false);
  std::vector<NodeId> pending;
  auto reach = [&](NodeId node) {
    if (node == gone || reached[node]) return;
    reached[node] = true;
    pending.push_back(node);
  };
  for (NodeId entry : entries) reach(entry);
  while (!pending.empty()) {
    NodeId node = pending.back();
    pending.pop_back();
    for (Edge edge : graph.Referents(node)) reach(edge.referent());
  }
  return reached;
}

struct HeldGraph {
  OwnedGraph graph;
  std::vector<uint8_t> held;
  std::vector<uint8_t> garbage;
  std::vector<uint8_t> rank;
};

HeldGraph RandomHeldGraph(uint32_t seed, NodeId most_nodes) {
  HeldGraph made{RandomGraph(seed, most_nodes), {}, {}, {}};
  const HeapGraph& graph = made.graph;
  std::mt19937 random(seed + 1);
  std::vector<NodeId> entries;
  for (NodeId node = 0; node < graph.node_count(); ++node) {
    made.held.push_back(random() % 5 == 0);
    made.rank.push_back(random() % 3);
    if (made.held.back() != 0) entries.push_back(node);
  }
  std::vector<bool> reached = Reached(graph, entries);
  for (NodeId node = 0; node < graph.node_count(); ++node)
    made.garbage.push_back(!reached[node] && random() % 8 != 0);
  return made;
}

// Oracle: the definition. Take the node away and see what is reached no more.
TEST(RetainedSizes, EqualTheDefinitionOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    HeldGraph made = RandomHeldGraph(seed, seed % 10 == 0 ? 60 : 12);
    const HeapGraph& graph = made.graph;
    Entries entries = FindEntries(graph, made.held, made.garbage, made.rank);
    Dominators dominators = FindDominators(graph, entries);
    auto size = [](NodeId node) { return uint64_t{1000} + node * node; };
    auto retained = RetainedSizes(dominators, size);
    std::vector<bool> lives = Reached(graph, entries.live);
    std::vector<NodeId> all = entries.live;
    all.insert(all.end(), entries.floating.begin(), entries.floating.end());
    std::vector<bool> everything = Reached(graph, all);
    ASSERT_EQ(dominators.order.size(), graph.node_count());
    uint64_t living = 0;
    uint64_t floating = 0;
    for (NodeId node = 0; node < graph.node_count(); ++node) {
      ASSERT_TRUE(everything[node]) << node;
      (lives[node] ? living : floating) += size(node);
      std::vector<bool> left =
          Reached(graph, lives[node] ? entries.live : all, node);
      uint64_t expected = 0;
      for (NodeId other = 0; other < graph.node_count(); ++other)
        if (lives[other] == lives[node] && !left[other])
          expected += size(other);
      ASSERT_EQ(retained[node], expected) << node;
    }
    EXPECT_EQ(retained[dominators.live_root()], living);
    EXPECT_EQ(retained[dominators.floating_root()], floating);
  }
}

TEST(FindEntries, EnterEachSourceComponentOnceOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    HeldGraph made = RandomHeldGraph(seed, 15);
    const HeapGraph& graph = made.graph;
    Entries entries = FindEntries(graph, made.held, made.garbage, made.rank);
    for (NodeId entry : entries.floating) {
      std::vector<bool> reached = Reached(graph, {entry});
      for (NodeId other : entries.floating)
        EXPECT_TRUE(other == entry || !reached[other]) << entry << other;
      for (NodeId node = 0; node < graph.node_count(); ++node) {
        if (!reached[node] || !Reached(graph, {node})[entry]) continue;
        EXPECT_LE(made.rank[entry], made.rank[node]);
      }
    }
  }
}

TEST(GoneWith, EqualsTheDefinitionOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(seed);
    HeldGraph made = RandomHeldGraph(seed, seed % 10 == 0 ? 60 : 12);
    const HeapGraph& graph = made.graph;
    NodeId count = graph.node_count();
    Entries entries = FindEntries(graph, made.held, made.garbage, made.rank);
    std::mt19937_64 random(seed);
    std::vector<uint64_t> groups(count, 0);
    for (uint64_t& mask : groups) mask = random() & random() & random();
    for (uint64_t& mask : groups) mask &= (uint64_t{1} << kGroups) - 1;
    std::vector<uint64_t> gone = GoneWith(graph, entries, groups);
    std::vector<bool> lives = Reached(graph, entries.live);
    auto reach = [&](const std::vector<NodeId>& from, uint32_t group,
                     bool floating) {
      std::vector<bool> reached(count, false);
      std::vector<NodeId> pending;
      auto visit = [&](NodeId node) {
        if (reached[node] || ((groups[node] >> group) & 1) != 0 ||
            (floating && lives[node]))
          return;
        reached[node] = true;
        pending.push_back(node);
      };
      for (NodeId entry : from) visit(entry);
      while (!pending.empty()) {
        NodeId node = pending.back();
        pending.pop_back();
        for (Edge edge : graph.Referents(node)) visit(edge.referent());
      }
      return reached;
    };
    for (uint32_t group = 0; group < kGroups; ++group) {
      std::vector<bool> live = reach(entries.live, group, false);
      std::vector<bool> floating = reach(entries.floating, group, true);
      for (NodeId node = 0; node < count; ++node)
        ASSERT_EQ((gone[node] >> group) & 1,
                  !(lives[node] ? live : floating)[node])
            << group << " " << node;
    }
  }
}

constexpr NodeId kMany = 1'000'000;

TEST(FindDominators, AListNestedAMillionDeep) {
  OwnedGraph graph = NestedList(kMany);
  Dominators dominators = DominatorsFrom(graph, {0});
  auto retained = RetainedSizes(dominators, [](NodeId) { return 5; });
  EXPECT_EQ(retained[0], 5ull * kMany);
  EXPECT_EQ(retained[kMany - 1], 5u);
  EXPECT_EQ(dominators.immediate[kMany - 1], kMany - 2);
}

TEST(FindDominators, AListNestedAMillionDeepThatIsHeldAtItsEndsToo) {
  std::vector<Reference> references;
  for (NodeId node = 0; node + 1 < kMany; ++node) {
    references.push_back({node, node + 1});
    references.push_back({node + 1, node});
    references.push_back({0, node});
  }
  OwnedGraph graph(kMany, references);
  Dominators dominators = DominatorsFrom(graph, {0, kMany - 1});
  EXPECT_EQ(dominators.immediate[kMany / 2], dominators.live_root());
}

TEST(FindDominators, ADictOfAMillionAndAComponentOfAMillion) {
  OwnedGraph hub = WideHub(kMany);
  auto retained =
      RetainedSizes(DominatorsFrom(hub, {0}), [](NodeId) { return 1; });
  EXPECT_EQ(retained[0], kMany);
  EXPECT_EQ(retained[kMany / 2], 1u);
  OwnedGraph cycle = LongCycle(kMany);
  EXPECT_EQ(DominatorsFrom(cycle, {7}).immediate[6], 5u);
}

// The ladder on which algorithms that walk up the tree node by node take
// quadratic time: each rung's two ends meet at the top.
TEST(FindDominators, ALadderOfAMillionRungsIsNoSquare) {
  std::vector<Reference> references;
  NodeId half = kMany / 2;
  for (NodeId i = 0; i + 1 < half; ++i) {
    references.push_back({i, i + 1});
    references.push_back({half + i + 1, half + i});
    references.push_back({i, half + i});
    references.push_back({half + i, i});
  }
  OwnedGraph graph(kMany, references);
  auto start = std::chrono::steady_clock::now();
  Dominators dominators = DominatorsFrom(graph, {0, kMany - 1});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(dominators.immediate[half / 2], dominators.live_root());
}

TEST(GoneWith, AListNestedAMillionDeepInSixtyThreeParts) {
  OwnedGraph graph = NestedList(kMany);
  std::vector<uint64_t> groups(kMany, 0);
  for (NodeId node = 0; node < kMany; ++node)
    groups[node] = uint64_t{1} << (uint64_t{node} * kGroups / kMany);
  std::vector<uint64_t> gone = GoneWith(graph, {{0}, {}}, groups);
  EXPECT_EQ(gone[0], 1u);
  EXPECT_EQ(gone[kMany / 2], (uint64_t{1} << 32) - 1);
  EXPECT_EQ(gone[kMany - 1], (uint64_t{1} << kGroups) - 1);
}

TEST(RetainedSizes, GoPastFourGibibytes) {
  OwnedGraph graph = NestedList(3);
  auto retained = RetainedSizes(DominatorsFrom(graph, {0}),
                                [](NodeId) { return uint64_t{3} << 31; });
  EXPECT_EQ(retained[0], uint64_t{9} << 31);
}

}  // namespace
}  // namespace heap
