#include "inspector/graph/reference_counts.h"

#include <gmock/gmock.h>

#include "tests/graph/random_graph.h"

namespace heap {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAreArray;

/// As many as the graph's own references, and what `outside` adds.
std::vector<uint32_t> CountsOf(const HeapGraph& graph,
                               const std::vector<uint32_t>& outside) {
  std::vector<uint32_t> counts = outside;
  counts.resize(graph.node_count(), 0);
  for (Edge edge : graph.edges()) ++counts[edge.referent()];
  return counts;
}

std::vector<NodeId> Dropped(ReferenceCounts& counts,
                            const std::vector<EdgeAt>& edges) {
  std::vector<NodeId> nodes;
  for (auto freed : counts.Drop(edges)) nodes.push_back(freed.node);
  return nodes;
}

TEST(ReferenceCounts, ACutCycleUnravels) {
  // a -> b -> c -> a; c -> d
  enum : NodeId { a, b, c, d };
  OwnedGraph graph(4, {{a, b}, {b, c}, {c, a}, {c, d}});
  std::vector<uint32_t> numbers = CountsOf(graph, {});
  ReferenceCounts counts(graph, numbers);
  EXPECT_THAT(Dropped(counts, {{b, 1}}), ElementsAre(c, a, d, b));
  EXPECT_THAT(Dropped(counts, {{c, 3}}), ElementsAre(d));
}

TEST(ReferenceCounts, WhatIsHeldFromOutsideStays) {
  // a -> b -> c
  enum : NodeId { a, b, c };
  OwnedGraph graph(3, {{a, b}, {b, c}});
  std::vector<uint32_t> numbers = CountsOf(graph, {1, 1, 0});
  ReferenceCounts counts(graph, numbers);
  EXPECT_THAT(Dropped(counts, {{a, 0}}), ElementsAre());
  EXPECT_THAT(Dropped(counts, {{b, 1}}), ElementsAre(c));
}

TEST(ReferenceCounts, ParallelReferencesCountOneByOne) {
  OwnedGraph graph(2, {{0, 1}, {0, 1}});
  std::vector<uint32_t> numbers = CountsOf(graph, {1});
  ReferenceCounts counts(graph, numbers);
  EXPECT_THAT(Dropped(counts, {{0, 0}}), ElementsAre());
  EXPECT_THAT(Dropped(counts, {{0, 0}, {0, 1}}), ElementsAre(1));
}

TEST(ReferenceCounts, ImmortalsAndOvercountedNodesNeverGo) {
  OwnedGraph graph(3, {{0, 1}, {0, 2}, {0, 2}});
  std::vector<uint32_t> numbers = {1, ReferenceCounts::kUncounted, 1};
  ReferenceCounts counts(graph, numbers);
  EXPECT_THAT(Dropped(counts, {{0, 0}, {0, 1}, {0, 2}}), ElementsAre(2));
}

// Oracle: the rule said again and again until nothing more goes.
TEST(ReferenceCounts, EqualTheDefinitionOnRandomGraphs) {
  size_t gone = 0;
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    OwnedGraph owned = RandomGraph(seed, seed % 10 == 0 ? 60 : 12);
    const HeapGraph& graph = owned;
    NodeId count = graph.node_count();
    std::mt19937 random(seed + 1);
    std::vector<uint32_t> outside;
    for (NodeId node = 0; node < count; ++node)
      outside.push_back(random() % 4 == 0);
    std::vector<uint32_t> numbers = CountsOf(graph, outside);
    ReferenceCounts counts(graph, numbers);
    for (int round = 0; round < 3; ++round) {
      std::vector<EdgeAt> cut;
      std::vector<uint8_t> is_cut(graph.edges().size(), 0);
      for (NodeId node = 0; node < count; ++node)
        for (uint32_t i = 0; i < graph.Referents(node).size(); ++i)
          if (random() % 4 == 0) {
            cut.push_back({node, graph.FirstEdge(node) + i});
            is_cut[cut.back().edge] = 1;
          }
      std::vector<bool> dead(count, false);
      for (bool changed = true; changed;) {
        changed = false;
        std::vector<uint32_t> lost(count, 0);
        for (NodeId node = 0; node < count; ++node)
          for (uint32_t i = 0; i < graph.Referents(node).size(); ++i)
            if (dead[node] || is_cut[graph.FirstEdge(node) + i] != 0)
              ++lost[graph.Referents(node)[i].referent()];
        for (NodeId node = 0; node < count; ++node)
          if (!dead[node] && lost[node] > 0 && lost[node] == numbers[node])
            dead[node] = changed = true;
      }
      std::vector<NodeId> expected;
      for (NodeId node = 0; node < count; ++node)
        if (dead[node]) expected.push_back(node);
      ASSERT_THAT(Dropped(counts, cut), UnorderedElementsAreArray(expected));
      gone += expected.size();
    }
  }
  EXPECT_GT(gone, 5'000u);
}

TEST(ReferenceCounts, AListNestedAMillionDeepGoesWithoutRecursion) {
  constexpr NodeId kMany = 1'000'000;
  OwnedGraph graph = NestedList(kMany);
  std::vector<uint32_t> numbers = CountsOf(graph, {1});
  ReferenceCounts counts(graph, numbers);
  EXPECT_EQ(counts.Drop(std::vector<EdgeAt>{{0, 0}}).size(), kMany - 1);
}

}  // namespace
}  // namespace heap
