// Lengauer and Tarjan, "A Fast Algorithm for Finding Dominators in a Flowgraph"
// (1979), the version with path compression alone: O(m log n), where Cooper et
// al. and the semi-NCA variant have quadratic cases. Nodes are renumbered by
// the depth-first search, which both makes `vertex` unnecessary and puts what
// is near in the graph near in memory. Names as in the paper: `semi`,
// `ancestor`, `label`, `bucket`, EVAL, LINK; numbers start with the roots.
//
// Three things differ. Edges of the search tree are not looked at again: the
// parent is where the search for a semidominator starts. A node whose
// semidominator is its parent is dominated by it and needs no bucket. And a
// compressed node keeps the semidominator of its label beside it, which saves
// the paper's one far look per step.

#include "inspector/graph/dominators.h"

#include <algorithm>

namespace heap {
namespace {

constexpr uint32_t kUnseen = 0xffffffff;

/// Depth first from `start`, over nodes whose mark is 0; they get `mark`.
void Mark(const HeapGraph& graph, NodeId start, uint8_t mark,
          std::vector<uint8_t>& marks, std::vector<NodeId>& pending) {
  marks[start] = mark;
  pending.push_back(start);
  while (!pending.empty()) {
    NodeId node = pending.back();
    pending.pop_back();
    for (Edge edge : graph.Referents(node)) {
      if (marks[edge.referent()] != 0) continue;
      marks[edge.referent()] = mark;
      pending.push_back(edge.referent());
    }
  }
}

/// One node of each source component among those that are not `marks`ed yet
/// and that `wanted` names, by rank; they and what they reach get marked.
///
/// The starts of a first search include one of every source component (its
/// first node, which nothing else reaches) and some that a later start would
/// have reached; searching again from the last start to the first leaves these
/// out.
template <typename Wanted>
void EnterSources(const HeapGraph& graph, std::span<const uint8_t> rank,
                  Wanted wanted, std::vector<uint8_t>& marks,
                  std::vector<NodeId>& pending, std::vector<NodeId>& entries) {
  NodeId count = graph.node_count();
  uint8_t ranks[256] = {};
  bool any = false;
  for (NodeId node = 0; node < count; ++node)
    if (marks[node] == 0 && wanted(node)) ranks[rank[node]] = 1, any = true;
  if (!any) return;
  std::vector<uint8_t> first = marks;
  std::vector<NodeId> starts;
  for (int level = 0; level < 256; ++level) {
    if (ranks[level] == 0) continue;
    for (NodeId node = 0; node < count; ++node) {
      if (first[node] != 0 || rank[node] != level || !wanted(node)) continue;
      starts.push_back(node);
      Mark(graph, node, 1, first, pending);
    }
  }
  for (size_t i = starts.size(); i-- > 0;) {
    if (marks[starts[i]] != 0) continue;
    entries.push_back(starts[i]);
    Mark(graph, starts[i], 1, marks, pending);
  }
}

}  // namespace

Entries FindEntries(const HeapGraph& graph, std::span<const uint8_t> held,
                    std::span<const uint8_t> garbage,
                    std::span<const uint8_t> rank) {
  NodeId count = graph.node_count();
  Entries entries;
  std::vector<uint8_t> marks(count, 0);
  std::vector<NodeId> pending;
  for (NodeId node = 0; node < count; ++node)
    if (held[node] != 0) entries.live.push_back(node);
  for (NodeId node : entries.live)
    if (marks[node] == 0) Mark(graph, node, 1, marks, pending);
  EnterSources(
      graph, rank, [&](NodeId node) { return garbage[node] == 0; }, marks,
      pending, entries.live);
  EnterSources(
      graph, rank, [](NodeId) { return true; }, marks, pending,
      entries.floating);
  return entries;
}

namespace {

class LengauerTarjan {
 public:
  LengauerTarjan(const HeapGraph& graph, const Entries& entries)
      : graph_(graph),
        count_(graph.node_count()),
        number_(count_, kUnseen),
        node_(count_ + 2),
        parent_(count_ + 2) {
    Search(entries.live, graph.node_count());
    live_end_ = next_;
    Search(entries.floating, graph.node_count() + 1);
    node_.resize(next_);
    parent_.resize(next_);
  }

  Dominators Run() {
    ListReferrers();
    FindSemidominators();
    Dominators dominators;
    dominators.immediate.assign(count_ + 2, kNoNode);
    dominators.order.reserve(count_);
    for (uint32_t w = 0; w < next_; ++w) {
      if (IsRoot(w)) continue;
      if (dominator_[w] != semi_[w]) dominator_[w] = dominator_[dominator_[w]];
      dominators.immediate[node_[w]] = node_[dominator_[w]];
      dominators.order.push_back(node_[w]);
    }
    return dominators;
  }

 private:
  struct NumberedEdge {
    uint32_t referrer;
    uint32_t referent;
  };

  bool IsRoot(uint32_t w) const { return w == 0 || w == live_end_; }

  /// Numbers what `entries` reach, in preorder under a root of its own. Edges
  /// that are not of the search tree are noted on the way, while both numbers
  /// are at hand; those from garbage to what lives are none.
  void Search(const std::vector<NodeId>& entries, NodeId root) {
    struct Step {
      uint32_t number;
      const Edge* next;
      const Edge* end;
    };
    std::vector<Step> path;
    uint32_t root_number = next_;
    node_[next_] = root;
    parent_[next_] = next_;
    ++next_;
    auto visit = [&](NodeId node, uint32_t referrer) {
      uint32_t number = number_[node];
      if (number != kUnseen) {
        if (number > root_number && number != referrer)
          edges_.push_back({referrer, number});
        return;
      }
      auto referents = graph_.Referents(node);
      number_[node] = next_;
      node_[next_] = node;
      parent_[next_] = referrer;
      if (!referents.empty())
        path.push_back(
            {next_, referents.data(), referents.data() + referents.size()});
      ++next_;
    };
    for (NodeId entry : entries) {
      visit(entry, root_number);
      while (!path.empty()) {
        Step& step = path.back();
        NodeId referent = (step.next++)->referent();
        uint32_t referrer = step.number;
        if (step.next == step.end) path.pop_back();
        visit(referent, referrer);
      }
    }
  }

  /// Puts the noted edges into compressed rows of referrers.
  void ListReferrers() {
    first_referrer_.assign(next_ + 1, 0);
    for (const NumberedEdge& edge : edges_) ++first_referrer_[edge.referent];
    uint32_t end = 0;
    for (uint32_t& first : first_referrer_) first = end += first;
    referrers_.resize(edges_.size());
    // From the back, so that each row's end moves to where the row begins.
    for (const NumberedEdge& edge : edges_)
      referrers_[--first_referrer_[edge.referent]] = edge.referrer;
    std::vector<NumberedEdge>().swap(edges_);
  }

  struct Forest {
    uint32_t ancestor;
    uint32_t label;
    uint32_t semi_of_label;
  };

  /// The node with the least semidominator on the way from v up to the root of
  /// its tree in the forest, that root left out; `linked` is the last number
  /// that has been given a parent.
  const Forest& Eval(uint32_t v, uint32_t linked) {
    if (forest_[v].ancestor < linked) return forest_[v];
    way_.clear();
    for (uint32_t at = v; forest_[at].ancestor >= linked;
         at = forest_[at].ancestor)
      way_.push_back(at);
    // The topmost on the way has only the tree's root above it.
    for (size_t i = way_.size(); i-- > 0;) {
      Forest& entry = forest_[way_[i]];
      const Forest& above = forest_[entry.ancestor];
      if (above.semi_of_label < entry.semi_of_label) {
        entry.label = above.label;
        entry.semi_of_label = above.semi_of_label;
      }
      entry.ancestor = above.ancestor;
    }
    return forest_[v];
  }

  void FindSemidominators() {
    semi_.resize(next_);
    dominator_.resize(next_);
    forest_.resize(next_);
    bucket_.assign(next_, kUnseen);  // First of those with this semi.
    for (uint32_t v = 0; v < next_; ++v) forest_[v] = {parent_[v], v, v};
    for (uint32_t w = next_; w-- > 0;) {
      // Here all numbers above w are linked: their ancestors are the parents.
      if (IsRoot(w)) {
        DrainBucket(w, w + 1);
        semi_[w] = dominator_[w] = w;
        continue;
      }
      DrainBucket(w, w + 1);
      uint32_t parent = parent_[w];
      uint32_t semi = parent;
      for (uint32_t at = first_referrer_[w]; at < first_referrer_[w + 1];
           ++at) {
        uint32_t v = referrers_[at];
        uint32_t candidate = v < w ? v : Eval(v, w + 1).semi_of_label;
        if (candidate < semi) semi = candidate;
      }
      semi_[w] = semi;
      forest_[w].semi_of_label = semi;
      if (semi == parent) {
        dominator_[w] = parent;
      } else {
        dominator_[w] = bucket_[semi];  // Until drained: the next in there.
        bucket_[semi] = w;
      }
    }
  }

  /// Once all of w's subtree is linked, and w itself is not.
  void DrainBucket(uint32_t w, uint32_t linked) {
    for (uint32_t v = bucket_[w]; v != kUnseen;) {
      uint32_t next = dominator_[v];
      const Forest& least = Eval(v, linked);
      dominator_[v] = least.semi_of_label < w ? least.label : w;
      v = next;
    }
  }

  const HeapGraph& graph_;
  NodeId count_;
  std::vector<uint32_t> number_;  // By node, from here on by number.
  std::vector<NodeId> node_;
  std::vector<uint32_t> parent_;
  std::vector<NumberedEdge> edges_;
  uint32_t next_ = 0;
  uint32_t live_end_ = 0;  // The number of the floating root.
  std::vector<uint32_t> first_referrer_;
  std::vector<uint32_t> referrers_;
  std::vector<uint32_t> semi_;
  std::vector<uint32_t> dominator_;
  std::vector<uint32_t> bucket_;
  std::vector<Forest> forest_;
  std::vector<uint32_t> way_;
};

}  // namespace

Dominators FindDominators(const HeapGraph& graph, const Entries& entries) {
  return LengauerTarjan(graph, entries).Run();
}

namespace {

/// Adds to `reached`, by node, the groups without which the entries still reach
/// it; every node passes on what is new to it. The last bit stands for no
/// group: what has it before is not searched again.
void SpreadWithout(const HeapGraph& graph, const std::vector<NodeId>& entries,
                   std::span<const uint64_t> groups,
                   std::vector<uint64_t>& reached) {
  std::vector<uint64_t> fresh(graph.node_count(), 0);
  std::vector<uint8_t> closed;
  closed.reserve(graph.node_count());
  for (uint64_t mask : reached) closed.push_back(mask != 0);
  std::vector<NodeId> level;
  std::vector<NodeId> next_level;
  auto pass = [&](NodeId node, uint64_t mask) {
    mask &= ~groups[node] & ~reached[node];
    if (closed[node] != 0 || mask == 0) return;
    if (fresh[node] == 0) next_level.push_back(node);
    reached[node] |= mask;
    fresh[node] |= mask;
  };
  for (NodeId entry : entries) pass(entry, ~uint64_t{0});
  while (!next_level.empty()) {
    level.swap(next_level);
    next_level.clear();
    for (NodeId node : level) {
      uint64_t mask = fresh[node];
      fresh[node] = 0;
      for (Edge edge : graph.Referents(node)) pass(edge.referent(), mask);
    }
  }
}

}  // namespace

std::vector<uint64_t> GoneWith(const HeapGraph& graph, const Entries& entries,
                               std::span<const uint64_t> groups) {
  std::vector<uint64_t> reached(graph.node_count(), 0);
  SpreadWithout(graph, entries.live, groups, reached);
  SpreadWithout(graph, entries.floating, groups, reached);
  constexpr uint64_t kAll = (uint64_t{1} << kGroups) - 1;
  for (uint64_t& mask : reached) mask = ~mask & kAll;
  return reached;
}

}  // namespace heap
