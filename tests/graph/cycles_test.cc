#include "inspector/graph/cycles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/graph/random_graph.h"

namespace heap {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

using Cycle = std::vector<NodeId>;
using Cycles = std::vector<Cycle>;

/// A finder with the graph and the components it looks at.
class Finder {
 public:
  explicit Finder(OwnedGraph graph, uint64_t edge_budget = 1'000'000'000)
      : graph_(std::move(graph)),
        components_(FindComponents(graph_, std::pmr::new_delete_resource())),
        finder_(graph_, components_, edge_budget,
                std::pmr::new_delete_resource()) {}

  Cycles At(NodeId node) {
    Cycles cycles;
    finder_.ForEachCycle(node, [&](std::span<const NodeId> cycle) {
      cycles.emplace_back(cycle.begin(), cycle.end());
    });
    return cycles;
  }
  uint64_t skipped_nodes() const { return finder_.skipped_nodes(); }
  const HeapGraph& graph() const { return graph_; }

 private:
  OwnedGraph graph_;
  Components components_;
  CycleFinder finder_;
};

TEST(CycleFinder, FindsNothingInATree) {
  Finder finder(OwnedGraph(3, {{0, 1}, {0, 2}}));
  EXPECT_THAT(finder.At(0), IsEmpty());
  EXPECT_EQ(finder.skipped_nodes(), 0u);
}

TEST(CycleFinder, BeginsACycleWithTheNodeItIsAskedFor) {
  // a -> b -> c -> a
  enum : NodeId { a, b, c };
  Finder finder(OwnedGraph(3, {{a, b}, {b, c}, {c, a}}));
  EXPECT_THAT(finder.At(a), ElementsAre(Cycle{a, b, c}));
  EXPECT_THAT(finder.At(c), ElementsAre(Cycle{c, a, b}));
}

TEST(CycleFinder, ShowsTheCyclesThroughAllThreeAttributes) {
  // a -> b -> a
  // a -> c -> d -> a
  // a -> e -> f -> g -> a
  enum : NodeId { a, b, c, d, e, f, g };
  Finder finder(OwnedGraph(7, {{a, e},
                               {a, b},
                               {a, c},
                               {b, a},
                               {c, d},
                               {d, a},
                               {e, f},
                               {f, g},
                               {g, a}}));
  EXPECT_THAT(finder.At(a),
              ElementsAre(Cycle{a, e, f, g}, Cycle{a, b}, Cycle{a, c, d}));
}

TEST(CycleFinder, ShowsTheShortestThroughAnEdgeOnly) {
  // a -> b -> a, and the detour b -> c -> a
  enum : NodeId { a, b, c };
  Finder finder(OwnedGraph(3, {{a, b}, {b, c}, {b, a}, {c, a}}));
  EXPECT_THAT(finder.At(a), ElementsAre(Cycle{a, b}));
}

TEST(CycleFinder, TellsCyclesOfOneLengthApartByTheLastReferrer) {
  // a -> b -> c -> a
  //       `-> d -> a
  enum : NodeId { a, b, c, d };
  Finder finder(OwnedGraph(4, {{a, b}, {b, d}, {b, c}, {c, a}, {d, a}}));
  EXPECT_THAT(finder.At(a), ElementsAre(Cycle{a, b, d}, Cycle{a, b, c}));
}

TEST(CycleFinder, ShowsOneCycleForEachLastReferrer) {
  // a -> b -> c -> e -> a
  //       `-> d -^
  enum : NodeId { a, b, c, d, e };
  Finder finder(
      OwnedGraph(5, {{a, b}, {b, c}, {b, d}, {c, e}, {d, e}, {e, a}}));
  EXPECT_THAT(finder.At(a), SizeIs(1));
}

TEST(CycleFinder, ShowsANodeThatRefersToItself) {
  // a -> a, a <-> b
  enum : NodeId { a, b };
  Finder finder(OwnedGraph(2, {{a, a}, {a, b}, {b, a}}));
  EXPECT_THAT(finder.At(a), ElementsAre(Cycle{a}, Cycle{a, b}));
  EXPECT_THAT(finder.At(b), ElementsAre(Cycle{b, a}));
}

TEST(CycleFinder, CountsParallelEdgesOnce) {
  // a => b => a, a => a
  enum : NodeId { a, b };
  Finder finder(
      OwnedGraph(2, {{a, b}, {a, a}, {a, b}, {a, a}, {b, a}, {b, a}}));
  EXPECT_THAT(finder.At(a), ElementsAre(Cycle{a, b}, Cycle{a}));
}

TEST(CycleFinder, CountsParallelEdgesOnceHoweverFarApart) {
  constexpr NodeId kMembers = 1000;
  std::vector<Reference> references;
  for (int repeat = 0; repeat < 2; ++repeat)
    for (NodeId member = 1; member <= kMembers; ++member)
      references.push_back({0, member});
  for (NodeId member = 1; member <= kMembers; ++member)
    references.push_back({member, 0});
  Finder finder(OwnedGraph(kMembers + 1, references));
  EXPECT_THAT(finder.At(0), SizeIs(kMembers));
}

TEST(CycleFinder, UsesTheParallelEdgeThatIsNotCut) {
  // a -/-> b, a -> b, b -> a
  Finder finder(OwnedGraph(2, {{0, 1, true}, {0, 1}, {1, 0}}));
  EXPECT_THAT(finder.At(0), ElementsAre(Cycle{0, 1}));
}

TEST(CycleFinder, TakesTheLongWayAroundACutEdge) {
  // a -> b -/-> a, b -> c -> a
  enum : NodeId { a, b, c };
  Finder finder(OwnedGraph(3, {{a, b}, {b, a, true}, {b, c}, {c, a}}));
  EXPECT_THAT(finder.At(a), ElementsAre(Cycle{a, b, c}));
}

// a -> b -> c -> a: two edges are looked at, those of b and of c.
TEST(CycleFinder, SkipsANodeWhenTheBudgetIsSpent) {
  Finder enough(LongCycle(3), 2);
  EXPECT_THAT(enough.At(0), ElementsAre(Cycle{0, 1, 2}));
  EXPECT_EQ(enough.skipped_nodes(), 0u);
  Finder scarce(LongCycle(3), 1);
  EXPECT_THAT(scarce.At(0), IsEmpty());
  EXPECT_EQ(scarce.skipped_nodes(), 1u);
}

TEST(CycleFinder, SharesOneBudgetAmongAllNodes) {
  Finder finder(LongCycle(3), 5);
  EXPECT_THAT(finder.At(0), SizeIs(1));
  EXPECT_THAT(finder.At(1), SizeIs(1));
  EXPECT_THAT(finder.At(2), IsEmpty());
  EXPECT_EQ(finder.skipped_nodes(), 1u);
  EXPECT_THAT(finder.At(0), IsEmpty());
  EXPECT_EQ(finder.skipped_nodes(), 2u);
}

TEST(CycleFinder, CountsANodeOnceThatItLeavesHalfDone) {
  // a <-> b, a <-> c, a <-> d
  Finder finder(OwnedGraph(4, {{0, 1}, {0, 2}, {0, 3}, {1, 0}, {2, 0}, {3, 0}}),
                1);
  EXPECT_THAT(finder.At(0), ElementsAre(Cycle{0, 1}));
  EXPECT_EQ(finder.skipped_nodes(), 1u);
}

// A budget of three holds the edges of b and c, none of the list.
TEST(CycleFinder, DoesNotLeaveTheComponent) {
  // a -> b -> c -> a
  //      `-> a list of a thousand
  enum : NodeId { a, b, c, list };
  std::vector<Reference> references = {{a, b}, {b, list}, {b, c}, {c, a}};
  for (NodeId node = list; node < 1000; ++node)
    references.push_back({node, node + 1});
  Finder finder(OwnedGraph(1001, references), 3);
  EXPECT_THAT(finder.At(a), ElementsAre(Cycle{a, b, c}));
  EXPECT_EQ(finder.skipped_nodes(), 0u);
}

TEST(CycleFinder, FindsACycleOfAMillionNodes) {
  constexpr NodeId kMillion = 1'000'000;
  Finder finder(LongCycle(kMillion));
  Cycles cycles = finder.At(7);
  ASSERT_THAT(cycles, SizeIs(1));
  ASSERT_THAT(cycles[0], SizeIs(kMillion));
  for (NodeId i = 0; i < kMillion; ++i)
    ASSERT_EQ(cycles[0][i], (7 + i) % kMillion);
}

bool RefersTo(const HeapGraph& graph, NodeId referrer, NodeId referent) {
  auto referents = graph.Referents(referrer);
  return std::any_of(referents.begin(), referents.end(), [&](Edge edge) {
    return !edge.cut() && edge.referent() == referent;
  });
}

/// All simple cycles, by length, that continue `path`; of each its last node.
void ListCycles(const HeapGraph& graph, Cycle& path,
                std::map<size_t, std::set<NodeId>>& closings) {
  for (Edge edge : graph.Referents(path.back())) {
    if (edge.cut()) continue;
    NodeId referent = edge.referent();
    if (referent == path.front()) closings[path.size()].insert(path.back());
    if (std::find(path.begin(), path.end(), referent) != path.end()) continue;
    path.push_back(referent);
    ListCycles(graph, path, closings);
    path.pop_back();
  }
}

/// What the finder should say of one edge.
struct Through {
  NodeId referent;
  size_t length;
  std::set<NodeId> closings;

  bool operator==(const Through&) const = default;
};

/// Tries all simple cycles: each edge of `node` that lies on one, once.
std::vector<Through> ThroughEachEdge(const HeapGraph& graph, NodeId node) {
  std::vector<Through> expected;
  std::set<NodeId> seen;
  for (Edge edge : graph.Referents(node)) {
    NodeId referent = edge.referent();
    if (edge.cut() || !seen.insert(referent).second) continue;
    if (referent == node) {
      expected.push_back({node, 1, {node}});
      continue;
    }
    std::map<size_t, std::set<NodeId>> closings;
    Cycle path = {node, referent};
    ListCycles(graph, path, closings);
    if (closings.empty()) continue;
    auto [length, last] = *closings.begin();
    expected.push_back({referent, length, last});
  }
  return expected;
}

/// What it does say. Fails if a cycle is none, or is told twice.
std::vector<Through> Summary(const HeapGraph& graph, NodeId node,
                             const Cycles& cycles) {
  std::vector<Through> found;
  for (const Cycle& cycle : cycles) {
    EXPECT_EQ(cycle.front(), node);
    EXPECT_EQ(std::set<NodeId>(cycle.begin(), cycle.end()).size(),
              cycle.size());
    for (size_t i = 0; i < cycle.size(); ++i)
      EXPECT_TRUE(RefersTo(graph, cycle[i], cycle[(i + 1) % cycle.size()]));
    NodeId referent = cycle[1 % cycle.size()];
    if (found.empty() || found.back().referent != referent)
      found.push_back({referent, cycle.size(), {}});
    EXPECT_EQ(cycle.size(), found.back().length);
    EXPECT_TRUE(found.back().closings.insert(cycle.back()).second);
  }
  return found;
}

TEST(CycleFinder, MatchesExhaustiveSearchOnRandomGraphs) {
  size_t edges_on_cycles = 0;
  for (uint32_t seed = 0; seed < 10'000; ++seed) {
    SCOPED_TRACE(seed);
    Finder finder(RandomGraph(seed));
    for (NodeId node = 0; node < finder.graph().node_count(); ++node) {
      SCOPED_TRACE(node);
      auto expected = ThroughEachEdge(finder.graph(), node);
      ASSERT_TRUE(Summary(finder.graph(), node, finder.At(node)) == expected);
      edges_on_cycles += expected.size();
    }
    ASSERT_EQ(finder.skipped_nodes(), 0u);
  }
  EXPECT_GT(edges_on_cycles, 20'000u);
}

// With whatever budget: what is told is right, and the rest is owned up to.
TEST(CycleFinder, TellsAPrefixWhenTheBudgetIsSpentOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(seed);
    Finder finder(RandomGraph(seed), seed % 16);
    for (NodeId node = 0; node < finder.graph().node_count(); ++node) {
      SCOPED_TRACE(node);
      uint64_t skipped = finder.skipped_nodes();
      auto found = Summary(finder.graph(), node, finder.At(node));
      auto expected = ThroughEachEdge(finder.graph(), node);
      ASSERT_LE(found.size(), expected.size());
      ASSERT_TRUE(std::equal(found.begin(), found.end(), expected.begin()));
      ASSERT_EQ(finder.skipped_nodes() - skipped,
                found.size() < expected.size() ? 1u : 0u);
    }
  }
}

}  // namespace
}  // namespace heap
