#include "inspector/graph/components.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/graph/random_graph.h"

namespace heap {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr NodeId kMillion = 1'000'000;

Components Find(const HeapGraph& graph) {
  return FindComponents(graph, std::pmr::new_delete_resource());
}

/// By node.
std::vector<ComponentId> IdsOf(const HeapGraph& graph) {
  Components components = Find(graph);
  std::vector<ComponentId> ids;
  for (NodeId node = 0; node < graph.node_count(); ++node)
    ids.push_back(components.Of(node));
  return ids;
}

TEST(FindComponents, AreNoneInAnEmptyGraph) {
  Components components = Find(OwnedGraph(0, {}));
  EXPECT_EQ(components.node_count(), 0u);
  EXPECT_EQ(components.count(), 0u);
}

TEST(FindComponents, HoldACycleTogetherAndItsTailsApart) {
  //             .--------.
  //             v        |
  // before ---> a -> b --+--> after
  enum : NodeId { before, a, b, after };
  OwnedGraph graph(4, {{before, a}, {a, b}, {b, a}, {b, after}});
  EXPECT_THAT(IdsOf(graph), ElementsAre(kNoComponent, 0, 0, kNoComponent));
  EXPECT_THAT(Find(graph).size, ElementsAre(2));
}

TEST(FindComponents, JoinCyclesThatShareANode) {
  // a <-> b <-> c
  enum : NodeId { a, b, c };
  OwnedGraph graph(3, {{a, b}, {b, a}, {b, c}, {c, b}});
  EXPECT_THAT(IdsOf(graph), Each(0u));
  EXPECT_THAT(Find(graph).size, ElementsAre(3));
}

TEST(FindComponents, FallApartWhereAnEdgeIsCut) {
  // a -> b -> c, and c -/-> a
  enum : NodeId { a, b, c };
  OwnedGraph graph(3, {{a, b}, {b, c}, {c, a, true}});
  EXPECT_THAT(IdsOf(graph), Each(kNoComponent));
  EXPECT_THAT(Find(graph).size, IsEmpty());
}

TEST(FindComponents, OfOneNodeHaveSizeOneEvenIfItRefersToItself) {
  Components components = Find(OwnedGraph(1, {{0, 0}}));
  EXPECT_THAT(components.size, ElementsAre(1));
}

/// By node and node: whether a path over edges that are not cut leads from the
/// first to the second, one edge at least.
std::vector<std::vector<bool>> Reachability(const HeapGraph& graph) {
  NodeId count = graph.node_count();
  std::vector<std::vector<bool>> reaches(count, std::vector<bool>(count));
  for (NodeId node = 0; node < count; ++node) {
    for (Edge edge : graph.Referents(node))
      if (!edge.cut()) reaches[node][edge.referent()] = true;
  }
  for (NodeId via = 0; via < count; ++via) {
    for (NodeId a = 0; a < count; ++a) {
      for (NodeId b = 0; b < count; ++b)
        if (reaches[a][via] && reaches[via][b]) reaches[a][b] = true;
    }
  }
  return reaches;
}

// Oracle: the definition itself.
TEST(FindComponents, MatchMutualReachabilityOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    OwnedGraph graph = RandomGraph(seed, 16);
    Components components = Find(graph);
    auto reaches = Reachability(graph);
    NodeId count = graph->node_count();
    ASSERT_EQ(components.node_count(), count);
    for (NodeId a = 0; a < count; ++a) {
      for (NodeId b = 0; b < count; ++b) {
        bool together = components.Of(a) == components.Of(b) &&
                        components.Of(a) != kNoComponent;
        ASSERT_EQ(together, reaches[a][b] && reaches[b][a])
            << a << " and " << b;
      }
    }
  }
}

TEST(FindComponents, CountTheirNodesOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    OwnedGraph graph = RandomGraph(seed, 16);
    Components components = Find(graph);
    std::vector<uint32_t> size(components.count(), 0);
    for (ComponentId id : IdsOf(graph)) {
      if (id == kNoComponent) continue;
      ASSERT_LT(id, components.count());
      ++size[id];
    }
    EXPECT_THAT(components.size, testing::ElementsAreArray(size));
    EXPECT_THAT(size, Each(testing::Gt(0u)));
  }
}

TEST(FindComponents, ComeReferentsFirstOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    OwnedGraph graph = RandomGraph(seed, 16);
    Components components = Find(graph);
    for (NodeId node = 0; node < graph->node_count(); ++node) {
      for (Edge edge : graph->Referents(node))
        ASSERT_TRUE(edge.cut() || components.Of(node) == kNoComponent ||
                    components.Of(edge.referent()) == kNoComponent ||
                    components.Of(edge.referent()) <= components.Of(node));
    }
  }
}

TEST(FindComponents, OfAListNestedAMillionDeepAreNone) {
  OwnedGraph graph = NestedList(kMillion);
  ASSERT_EQ(Find(graph).count(), 0u);
  EXPECT_THAT(IdsOf(graph), Each(kNoComponent));
}

TEST(FindComponents, OfACycleOfAMillionNodesAreOne) {
  OwnedGraph graph = LongCycle(kMillion);
  EXPECT_THAT(Find(graph).size, ElementsAre(kMillion));
  EXPECT_THAT(IdsOf(graph), Each(0u));
}

// Each reference is looked at once, not again after each return to the hub.
TEST(FindComponents, OfANodeWithAMillionReferentsAreFoundInLinearTime) {
  Components components = Find(WideHub(kMillion));
  EXPECT_THAT(components.size, ElementsAre(kMillion));
}

}  // namespace
}  // namespace heap
