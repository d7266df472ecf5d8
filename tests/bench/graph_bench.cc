// What the algorithms over heap graphs cost, on made heaps of 0.1 to 10 million
// nodes and, if CYCLESCOPE_HEAP names one, on a recorded heap.
//
// Large blocks come fresh from the kernel and go back to it, as in the child.

#include <benchmark/benchmark.h>
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <utility>

#include "inspector/graph/components.h"
#include "inspector/graph/cycles.h"
#include "inspector/graph/dominators.h"
#include "inspector/graph/states.h"
#include "tests/graph/synthetic_heap.h"

namespace heap {
namespace {

std::pmr::memory_resource* Fresh() { return std::pmr::new_delete_resource(); }

/// A heap like a service's, see Sessions.
class Sessions {
 public:
  explicit Sessions(NodeId nodes) {
    constexpr NodeId kNodesPerSession = 20;
    // One dict holds the sessions in the order of their names, which is not
    // that in which they were made.
    NodeId module = heap_.Node(module_, 72);
    heap_.Root(module, "module app");
    NodeId all = heap_.Node(dict_, 232);
    heap_.Edge(module, all, ".sessions");
    NodeId type = heap_.Node(type_, 1064);
    heap_.Edge(module, type, ".Session", true);
    std::vector<NodeId> sessions;
    while (sessions.size() < nodes / kNodesPerSession)
      sessions.push_back(Session(sessions, type));
    std::shuffle(sessions.begin(), sessions.end(), random_);
    // One in a hundred was forgotten; where nothing else holds it, it floats.
    sessions.resize(sessions.size() - sessions.size() / 100);
    for (NodeId session : sessions) heap_.Edge(all, session, "[str key]");
  }
  std::vector<uint64_t> Write() { return heap_.Write(); }

 private:
  /// Twenty nodes: two requests with text, headers and parts, a closure over
  /// one of them; every other session lies on cycles through its requests; one
  /// in three refers to an older one.
  NodeId Session(const std::vector<NodeId>& older, NodeId type) {
    NodeId session = heap_.Node(session_, 48);
    heap_.Edge(session, type, ".__class__", true);
    heap_.Edge(session, heap_.Node(text_, 62), ".name");
    NodeId by_path = heap_.Node(dict_, 184);
    NodeId function = heap_.Node(function_, 152);
    for (int i = 0; i < 2; ++i) {
      NodeId request = heap_.Node(request_, 48);
      NodeId path = heap_.Node(text_, 66);
      NodeId headers = heap_.Node(dict_, 184);
      NodeId parts = heap_.Node(tuple_, 56);
      NodeId part = heap_.Node(list_, 72);
      heap_.Edge(session, request, "[0]");
      heap_.Edge(request, path, ".path");
      heap_.Edge(request, headers, ".headers");
      heap_.Edge(request, parts, ".parts");
      heap_.Edge(headers, heap_.Node(text_, 81), "[str key]");
      heap_.Edge(parts, part, "[0]");
      heap_.Edge(part, path, "[0]");
      heap_.Edge(by_path, request, "[str key]");
      if (i == 0) heap_.Edge(function, request, "cell request");
      if (i == 1) heap_.Edge(request, function, ".hook");
      if (older.size() % 2 == 0) heap_.Edge(request, session, ".session");
    }
    for (int i = 0; i < 4; ++i)
      heap_.Edge(by_path, heap_.Node(text_, 60), "[str key]");
    heap_.Edge(session, by_path, ".by_path");
    if (!older.empty() && random_() % 3 == 0)
      heap_.Edge(session, older[random_() % older.size()], ".parent");
    return session;
  }

  SyntheticHeap heap_;
  std::mt19937 random_{1};
  uint32_t session_ = heap_.Type("app.Session", RecordedKind::kOther, {},
                                 kTypeWatched | kTypeOfProgram);
  uint32_t request_ =
      heap_.Type("app.Request", RecordedKind::kOther, {}, kTypeOfProgram);
  uint32_t text_ = heap_.Type("builtins.str");
  uint32_t tuple_ = heap_.Type("builtins.tuple");
  uint32_t list_ = heap_.Type("builtins.list");
  uint32_t dict_ = heap_.Type("builtins.dict", RecordedKind::kDict);
  uint32_t function_ = heap_.Type("builtins.function", RecordedKind::kFunction);
  uint32_t module_ = heap_.Type("builtins.module", RecordedKind::kModule);
  uint32_t type_ = heap_.Type("builtins.type", RecordedKind::kType);
};

/// A heap file in memory with what the algorithms take.
class BenchHeap {
 public:
  /// 0 nodes: the recorded heap.
  explicit BenchHeap(NodeId nodes) {
    if (nodes == 0)
      path_ = std::getenv("CYCLESCOPE_HEAP");
    else
      words_ = Sessions(nodes).Write();
    file_ = Read();
    NodeId count = file().node_count();
    flags_.assign(file().flags().begin(), file().flags().end());
    for (NodeId node = 0; node < count; ++node) {
      const TypeRecord& type = file().type(node);
      if (RecordedKind(type.kind) == RecordedKind::kModule)
        modules_.push_back(node);
      if (nodes == 0) continue;  // What was recorded has its flags.
      if (file().text(type.name) == "builtins.str")
        flags_[node] &= uint8_t(~kTracked);
      if ((flags_[node] & kHeldOutside) != 0) flags_[node] |= kCollectorRoot;
    }
    const struct States states = FindStates();
    for (NodeId node = 0; node < count; ++node) {
      bool floats = states.of[node] == State::kFloating;
      constexpr uint8_t kHeld = kHeldOutside | kHeldByFrame;
      held_.push_back((flags_[node] & kHeld) != 0 && !floats ? 1 : 0);
      garbage_.push_back(floats ? 1 : 0);
    }
    rank_.resize(count, 0);
  }

  std::optional<HeapFile> Read() const {
    std::string problem;
    auto file = path_ == nullptr
                    ? HeapFile::Parse(SyntheticHeap::Bytes(words_), problem)
                    : HeapFile::Open(path_, problem);
    if (!file) {
      std::fprintf(stderr, "graph_bench: the heap cannot be read: %s\n",
                   problem.c_str());
      std::exit(1);
    }
    return file;
  }
  const HeapFile& file() const { return *file_; }
  const HeapGraph& graph() const { return file_->graph(); }
  /// In nodes.
  int64_t floating() const {
    return std::count(garbage_.begin(), garbage_.end(), 1);
  }
  struct Components FindComponents() const {
    return heap::FindComponents(graph(), Fresh());
  }
  struct States FindStates() const {
    return heap::FindStates(graph(), flags_, modules_, Fresh());
  }
  Entries FindEntries() const {
    return heap::FindEntries(graph(), held_, garbage_, rank_);
  }

 private:
  std::vector<uint64_t> words_;
  const char* path_ = nullptr;
  std::optional<HeapFile> file_;
  std::vector<uint8_t> flags_;
  std::vector<uint8_t> held_;
  std::vector<uint8_t> garbage_;
  std::vector<uint8_t> rank_;
  std::vector<NodeId> modules_;
};

/// Only the last one asked for is kept: ten million nodes take some memory.
const BenchHeap& HeapOf(const benchmark::State& state) {
  static std::unique_ptr<BenchHeap> heap;
  static int64_t heap_nodes = -1;
  if (heap_nodes != state.range(0)) {
    heap.reset();
    heap = std::make_unique<BenchHeap>(static_cast<NodeId>(state.range(0)));
    heap_nodes = state.range(0);
  }
  return *heap;
}

void CountNodes(benchmark::State& state) {
  const HeapFile& file = HeapOf(state).file();
  state.counters["nodes"] = file.node_count();
  state.counters["edges"] = static_cast<double>(file.edges().size());
  state.SetItemsProcessed(state.iterations() * file.node_count());
}

void ReadFile(benchmark::State& state) {
  const BenchHeap& heap = HeapOf(state);
  for (auto _ : state) benchmark::DoNotOptimize(heap.Read());
  CountNodes(state);
}

void Components(benchmark::State& state) {
  const BenchHeap& heap = HeapOf(state);
  for (auto _ : state) benchmark::DoNotOptimize(heap.FindComponents());
  CountNodes(state);
}

void States(benchmark::State& state) {
  const BenchHeap& heap = HeapOf(state);
  for (auto _ : state) benchmark::DoNotOptimize(heap.FindStates());
  state.counters["floating"] = static_cast<double>(heap.floating());
  CountNodes(state);
}

/// The shortest cycles through every watched object.
void Cycles(benchmark::State& state) {
  const BenchHeap& heap = HeapOf(state);
  const struct Components components = heap.FindComponents();
  constexpr uint64_t kBudget = uint64_t{1} << 40;
  uint64_t cycles = 0;
  for (auto _ : state) {
    cycles = 0;
    CycleFinder finder(heap.graph(), components, kBudget, Fresh());
    for (NodeId node = 0; node < heap.file().node_count(); ++node)
      if ((heap.file().type(node).flags & kTypeWatched) != 0)
        finder.ForEachCycle(node, [&](std::span<const NodeId>) { ++cycles; });
  }
  state.counters["cycles"] = static_cast<double>(cycles);
  CountNodes(state);
}

/// With the entries, as `top FILE` needs them.
void DominatorTree(benchmark::State& state) {
  const BenchHeap& heap = HeapOf(state);
  for (auto _ : state)
    benchmark::DoNotOptimize(FindDominators(heap.graph(), heap.FindEntries()));
  CountNodes(state);
}

void Retained(benchmark::State& state) {
  const BenchHeap& heap = HeapOf(state);
  Dominators dominators = FindDominators(heap.graph(), heap.FindEntries());
  for (auto _ : state)
    benchmark::DoNotOptimize(RetainedSizes(
        dominators, [&](NodeId node) { return heap.file().size(node); }));
  CountNodes(state);
}

/// Heap by heap, so that each is made once.
void RegisterAll() {
  std::vector<int64_t> sizes = {100'000, 1'000'000, 10'000'000};
  if (std::getenv("CYCLESCOPE_HEAP") != nullptr) sizes.push_back(0);
  constexpr std::pair<const char*, void (*)(benchmark::State&)> kAll[] = {
      {"ReadFile", ReadFile},
      {"Components", Components},
      {"States", States},
      {"Cycles", Cycles},
      {"DominatorTree", DominatorTree},
      {"Retained", Retained}};
  for (int64_t size : sizes)
    for (auto [name, run] : kAll)
      benchmark::RegisterBenchmark(name, run)
          ->Arg(size)
          ->Unit(benchmark::kMillisecond)
          ->MinTime(0.05);
}

}  // namespace
}  // namespace heap

int main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  heap::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
