#include "inspector/graph/states.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "tests/graph/random_graph.h"

namespace heap {

void PrintTo(State state, std::ostream* out) {
  const char* const kNames[] = {"pinned", "floating", "in flight"};
  *out << kNames[static_cast<int>(state)];
}

namespace {

using testing::Each;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

constexpr NodeId kMillion = 1'000'000;
constexpr State kPinned = State::kPinned;
constexpr State kFloating = State::kFloating;
constexpr State kInFlight = State::kInFlight;

using Flags = std::vector<uint8_t>;

std::pmr::vector<uint8_t> Unreachable(const HeapGraph& graph,
                                      const Flags& flags,
                                      uint8_t members = kTracked,
                                      uint8_t roots = kCollectorRoot) {
  return FindUnreachable(graph, flags, members, roots,
                         std::pmr::new_delete_resource());
}

States Find(const HeapGraph& graph, const Flags& flags) {
  return FindStates(graph, flags, {}, std::pmr::new_delete_resource());
}

TEST(FindUnreachable, TakesWhatNoRootReaches) {
  // root -> a    b <-> c -> a
  enum : NodeId { root, a, b, c };
  OwnedGraph graph(4, {{root, a}, {b, c}, {c, b}, {c, a}});
  Flags flags = {kTracked | kCollectorRoot, kTracked, kTracked, kTracked};
  EXPECT_THAT(Unreachable(graph, flags), ElementsAre(0, 0, 1, 1));
}

TEST(FindUnreachable, DoesNotPassThroughNodesThatAreNoMembers) {
  // root -> untracked -> a
  OwnedGraph graph(3, {{0, 1}, {1, 2}});
  Flags flags = {kTracked | kCollectorRoot, 0, kTracked};
  EXPECT_THAT(Unreachable(graph, flags), ElementsAre(0, 0, 1));
}

TEST(FindUnreachable, HeedsRootsAmongMembersOnly) {
  // untracked root -> a
  OwnedGraph graph(2, {{0, 1}});
  Flags flags = {kCollectorRoot, kTracked};
  EXPECT_THAT(Unreachable(graph, flags), ElementsAre(0, 1));
}

TEST(FindUnreachable, FollowsCutEdges) {
  OwnedGraph graph(2, {{0, 1, true}});
  Flags flags = {kTracked | kCollectorRoot, kTracked};
  EXPECT_THAT(Unreachable(graph, flags), ElementsAre(0, 0));
}

TEST(FindUnreachable, AsksForTheFlagsItIsGiven) {
  // frozen -> a, with a reference from outside on `frozen` for one of two
  // rules. Frozen nodes are members under the second rule only.
  OwnedGraph graph(2, {{0, 1}});
  Flags flags = {kFrozen | kPermanentRoot, kTracked};
  EXPECT_THAT(Unreachable(graph, flags), ElementsAre(0, 1));
  EXPECT_THAT(Unreachable(graph, flags, kTracked | kFrozen, kPermanentRoot),
              ElementsAre(0, 0));
  EXPECT_THAT(Unreachable(graph, flags, kTracked | kFrozen, kCollectorRoot),
              ElementsAre(1, 1));
}

TEST(FindStates, OfAnEmptyGraphAreNone) {
  States states = Find(OwnedGraph(0, {}), {});
  EXPECT_THAT(states.of, IsEmpty());
  EXPECT_THAT(states.holder, IsEmpty());
}

TEST(FindStates, TellThreeCyclesApartByWhatHoldsThem) {
  // module -> a <-> b    frame's c <-> d    e <-> f
  enum : NodeId { module, a, b, c, d, e, f };
  OwnedGraph graph(
      7, {{module, a}, {a, b}, {b, a}, {c, d}, {d, c}, {e, f}, {f, e}});
  Flags flags(7, kTracked);
  flags[module] |= kCollectorRoot | kHeldOutside;
  flags[c] |= kCollectorRoot | kHeldByFrame;
  States states = Find(graph, flags);
  EXPECT_THAT(states.of, ElementsAre(kPinned, kPinned, kPinned, kInFlight,
                                     kInFlight, kFloating, kFloating));
  EXPECT_THAT(states.holder,
              ElementsAre(module, module, a, c, c, kNoNode, kNoNode));
}

TEST(FindStates, PinWhatBothAFrameAndTheOutsideHold) {
  // module -> a <- frame's b
  enum : NodeId { module, a, b };
  OwnedGraph graph(3, {{b, a}, {module, a}});
  Flags flags = {kTracked | kCollectorRoot | kHeldOutside, kTracked,
                 kTracked | kCollectorRoot | kHeldByFrame};
  States states = Find(graph, flags);
  EXPECT_THAT(states.of, ElementsAre(kPinned, kPinned, kInFlight));
  EXPECT_THAT(states.holder, ElementsAre(module, module, b));
}

TEST(FindStates, LetUntrackedNodesFloatIfOnlyFloatingOnesLeadToThem) {
  // a <-> b -> text -> part    module -> name <- b
  enum : NodeId { a, b, text, part, module, name };
  OwnedGraph graph(
      6, {{a, b}, {b, a}, {b, text}, {text, part}, {module, name}, {b, name}});
  Flags flags = {
      kTracked, kTracked, 0, 0, kTracked | kCollectorRoot | kHeldOutside, 0};
  States states = Find(graph, flags);
  EXPECT_THAT(states.of, ElementsAre(kFloating, kFloating, kFloating, kFloating,
                                     kPinned, kPinned));
}

TEST(FindStates, PinWhatOnlyUntrackedGarbageHolds) {
  // untracked -> a -> b. To the collector `a` is a root.
  enum : NodeId { untracked, a, b };
  OwnedGraph graph(3, {{untracked, a}, {a, b}});
  Flags flags = {0, kTracked | kCollectorRoot, 0};
  States states = Find(graph, flags);
  EXPECT_THAT(states.of, ElementsAre(kFloating, kPinned, kPinned));
  EXPECT_THAT(states.holder, ElementsAre(kNoNode, a, a));
}

TEST(FindStates, PinFrozenNodes) {
  // frozen -> untracked
  States states = Find(OwnedGraph(2, {{0, 1}}), {kFrozen, 0});
  EXPECT_THAT(states.of, ElementsAre(kPinned, kPinned));
}

TEST(FindStates, NameTheHolderOnAShortestPath) {
  // module -> a -> b -> c
  //      `------------> d -> c
  enum : NodeId { module, a, b, c, d };
  OwnedGraph graph(5, {{module, a}, {module, d}, {a, b}, {b, c}, {d, c}});
  Flags flags = {kTracked | kCollectorRoot | kHeldOutside, kTracked, kTracked,
                 kTracked, kTracked};
  EXPECT_THAT(Find(graph, flags).holder,
              ElementsAre(module, module, a, d, module));
}

TEST(FindStates, FollowCutEdges) {
  OwnedGraph graph(2, {{0, 1, true}});
  Flags flags = {kTracked | kCollectorRoot | kHeldOutside, 0};
  EXPECT_THAT(Find(graph, flags).of, Each(kPinned));
}

/// Each flag with a probability of its own, from never to always.
Flags RandomFlags(uint32_t seed, NodeId count) {
  std::mt19937 random(seed ^ 0x5eed);
  Flags flags(count, 0);
  for (int bit = 0; bit < 6; ++bit) {
    uint32_t eighths = random() % 9;
    for (uint8_t& flag : flags)
      if (random() % 8 < eighths) flag |= static_cast<uint8_t>(1 << bit);
  }
  return flags;
}

constexpr uint32_t kNever = 0xffffffff;

/// Least number of edges from a node in `begin` to each node, through nodes in
/// `through` only. A fixpoint by relaxing all edges until nothing changes.
template <typename Begin, typename Through>
std::vector<uint32_t> Distances(const HeapGraph& graph, Begin begin,
                                Through through) {
  NodeId count = graph.node_count();
  std::vector<uint32_t> distance(count, kNever);
  for (NodeId node = 0; node < count; ++node)
    if (begin(node) && through(node)) distance[node] = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (NodeId node = 0; node < count; ++node) {
      if (distance[node] == kNever) continue;
      for (Edge edge : graph.Referents(node)) {
        NodeId referent = edge.referent();
        if (!through(referent)) continue;
        if (distance[referent] <= distance[node] + 1) continue;
        distance[referent] = distance[node] + 1;
        changed = true;
      }
    }
  }
  return distance;
}

// Oracle: reached are the roots and all members that something reached refers
// to, nothing else.
TEST(FindUnreachable, MatchesTheFixpointOnRandomGraphs) {
  constexpr std::pair<uint8_t, uint8_t> kRules[] = {
      {kTracked, kCollectorRoot},
      {kTracked | kFrozen, kPermanentRoot},
      {kFrozen, kHeldOutside | kHeldByFrame}};
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    OwnedGraph graph = RandomGraph(seed, 16);
    Flags flags = RandomFlags(seed, graph->node_count());
    for (const auto& rule : kRules) {
      // Clang 14 lets no lambda capture a structured binding.
      uint8_t members = rule.first, roots = rule.second;
      auto member = [&](NodeId node) { return (flags[node] & members) != 0; };
      auto reached = Distances(
          graph, [&](NodeId node) { return (flags[node] & roots) != 0; },
          member);
      std::vector<uint8_t> expected;
      for (NodeId node = 0; node < graph->node_count(); ++node)
        expected.push_back(member(node) && reached[node] == kNever);
      ASSERT_THAT(Unreachable(graph, flags, members, roots),
                  ElementsAreArray(expected));
    }
  }
}

/// The states by their definition: who is floating is known, then each holder
/// in turn claims what it reaches among the nodes that are left.
struct Expected {
  std::vector<State> of;
  std::vector<int> claim;          // Which holder, -1 for floating nodes.
  std::vector<uint32_t> distance;  // From where the path begins.
};

Expected StatesByDefinition(const HeapGraph& graph, const Flags& flags) {
  NodeId count = graph.node_count();
  Expected expected{std::vector<State>(count, kFloating),
                    std::vector<int>(count, -1),
                    std::vector<uint32_t>(count, kNever)};
  auto floating = Unreachable(graph, flags);
  constexpr std::pair<uint8_t, State> kClaims[] = {
      {kHeldOutside, kPinned},
      {kHeldByFrame, kInFlight},
      {kTracked | kFrozen, kPinned}};
  for (int claim = 0; claim < 3; ++claim) {
    uint8_t flag = kClaims[claim].first;
    auto distance = Distances(
        graph, [&](NodeId node) { return (flags[node] & flag) != 0; },
        [&](NodeId node) {
          return floating[node] == 0 && expected.claim[node] == -1;
        });
    for (NodeId node = 0; node < count; ++node) {
      if (distance[node] == kNever) continue;
      expected.of[node] = kClaims[claim].second;
      expected.claim[node] = claim;
      expected.distance[node] = distance[node];
    }
  }
  return expected;
}

bool RefersTo(const HeapGraph& graph, NodeId referrer, NodeId referent) {
  auto referents = graph.Referents(referrer);
  return std::any_of(referents.begin(), referents.end(),
                     [&](Edge edge) { return edge.referent() == referent; });
}

TEST(FindStates, MatchTheFixpointsOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    OwnedGraph graph = RandomGraph(seed, 16);
    Flags flags = RandomFlags(seed, graph->node_count());
    States states = Find(graph, flags);
    Expected expected = StatesByDefinition(graph, flags);
    ASSERT_THAT(states.of, ElementsAreArray(expected.of));
    for (NodeId node = 0; node < graph->node_count(); ++node) {
      SCOPED_TRACE(node);
      NodeId holder = states.holder[node];
      if (expected.claim[node] == -1) {
        ASSERT_EQ(holder, kNoNode);
      } else if (expected.distance[node] == 0) {
        ASSERT_EQ(holder, node);
      } else {
        ASSERT_LT(holder, graph->node_count());
        ASSERT_TRUE(RefersTo(graph, holder, node));
        ASSERT_EQ(expected.claim[holder], expected.claim[node]);
        ASSERT_EQ(expected.distance[holder] + 1, expected.distance[node]);
      }
    }
  }
}

// What the header promises, apart from how the states come about.
TEST(FindStates, KeepTheirPromisesOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(seed);
    OwnedGraph graph = RandomGraph(seed, 16);
    Flags flags = RandomFlags(seed, graph->node_count());
    States states = Find(graph, flags);
    auto unreachable = Unreachable(graph, flags);
    std::vector<uint8_t> held(graph->node_count(), 0);
    for (NodeId node = 0; node < graph->node_count(); ++node)
      if (states.of[node] != kFloating)
        for (Edge edge : graph->Referents(node)) held[edge.referent()] = 1;
    for (NodeId node = 0; node < graph->node_count(); ++node) {
      SCOPED_TRACE(node);
      bool floats = states.of[node] == kFloating;
      if ((flags[node] & kTracked) != 0)
        ASSERT_EQ(floats, unreachable[node] != 0);
      else if ((flags[node] & (kFrozen | kHeldOutside | kHeldByFrame)) == 0)
        ASSERT_EQ(floats, held[node] == 0);
      else
        ASSERT_FALSE(floats);
    }
  }
}

TEST(FindStates, OfAListNestedAMillionDeepFollowItsHead) {
  OwnedGraph graph = NestedList(kMillion);
  Flags flags(kMillion, kTracked);
  EXPECT_THAT(Unreachable(graph, flags), Each(1));
  EXPECT_THAT(Find(graph, flags).of, Each(kFloating));
  flags[0] |= kCollectorRoot | kHeldByFrame;
  EXPECT_THAT(Unreachable(graph, flags), Each(0));
  EXPECT_THAT(Find(graph, flags).of, Each(kInFlight));
}

TEST(FindStates, OfACycleOfAMillionNodesFollowTheOneThatIsHeld) {
  OwnedGraph graph = LongCycle(kMillion);
  Flags flags(kMillion, kTracked);
  EXPECT_THAT(Find(graph, flags).of, Each(kFloating));
  NodeId held = kMillion / 2;
  flags[held] |= kCollectorRoot | kHeldOutside;
  States states = Find(graph, flags);
  EXPECT_THAT(states.of, Each(kPinned));
  for (NodeId node = 0; node < kMillion; ++node)
    ASSERT_EQ(states.holder[node],
              node == held ? held : (node + kMillion - 1) % kMillion);
}

}  // namespace
}  // namespace heap
