#include "inspector/graph/heap_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "inspector/graph/arena.h"
#include "tests/graph/random_graph.h"

namespace heap {
namespace {

TEST(Edge, KeepsTheReferentBesideTheCutBit) {
  for (NodeId referent : {0u, 1u, kNoNode - 1, kNoNode}) {
    EXPECT_EQ(Edge(referent, false).referent(), referent);
    EXPECT_EQ(Edge(referent, true).referent(), referent);
    EXPECT_FALSE(Edge(referent, false).cut());
    EXPECT_TRUE(Edge(referent, true).cut());
  }
}

TEST(HeapGraph, NamesReferentsInTheOrderOfTheObject) {
  // a -> c, b, c    b    c -> c (cut)
  enum : NodeId { a, b, c };
  OwnedGraph graph(3, {{a, c}, {c, c, true}, {a, b}, {a, c}});
  EXPECT_EQ(graph->node_count(), 3u);
  ASSERT_EQ(graph->Referents(a).size(), 3u);
  EXPECT_EQ(graph->Referents(a)[0].referent(), c);
  EXPECT_EQ(graph->Referents(a)[1].referent(), b);
  EXPECT_EQ(graph->Referents(a)[2].referent(), c);
  EXPECT_TRUE(graph->Referents(b).empty());
  ASSERT_EQ(graph->Referents(c).size(), 1u);
  EXPECT_TRUE(graph->Referents(c)[0].cut());
}

TEST(HeapGraph, MayBeEmpty) {
  OwnedGraph graph(0, {});
  EXPECT_EQ(graph->node_count(), 0u);
}

// The edges take 16 GiB of addresses, of which two pages are written.
TEST(HeapGraph, HoldsMoreThanTwoToTheThirtyFirstEdges) {
  constexpr uint32_t kEdges = 0xffffffff;
  Arena arena(UINT64_MAX, [] {});
  auto* edges =
      static_cast<Edge*>(arena.Reserve(size_t{kEdges} * sizeof(Edge)));
  if (edges == nullptr) GTEST_SKIP() << "the kernel gives no such range";
  constexpr size_t kPage = 4096;
  arena.Charge(edges, kPage);
  arena.Charge(edges + (kEdges - 1) / (kPage / 4) * (kPage / 4), kPage);
  edges[0] = Edge(1, false);
  edges[kEdges - 1] = Edge(2, true);
  uint32_t first_edge[] = {0, 1, kEdges - 1, kEdges};
  HeapGraph graph(first_edge, {edges, kEdges});
  EXPECT_EQ(graph.Referents(0)[0].referent(), 1u);
  EXPECT_EQ(graph.Referents(1).size(), kEdges - 2);
  ASSERT_EQ(graph.Referents(2).size(), 1u);
  EXPECT_EQ(graph.Referents(2)[0].referent(), 2u);
  arena.ReleaseReserved();
}

}  // namespace
}  // namespace heap
