#include "inspector/graph/heap_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/read_any.h"
#include "tests/fuzz/sections.h"
#include "tests/graph/synthetic_heap.h"

namespace heap {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string ProblemOf(const std::vector<uint64_t>& words) {
  std::string problem;
  auto file = HeapFile::Parse(SyntheticHeap::Bytes(words), problem);
  return file ? "" : problem;
}

TEST(HeapFile, ReadsWhatWasWritten) {
  std::vector<uint64_t> words = SmallHeap().Write();
  std::string problem;
  auto file = HeapFile::Parse(SyntheticHeap::Bytes(words), problem);
  ASSERT_TRUE(file) << problem;
  EXPECT_EQ(file->node_count(), 4u);
  EXPECT_EQ(file->text(file->type(0).name), "app.Broker");
  EXPECT_EQ(file->text(file->type(0).label), "Broker");
  EXPECT_EQ(file->type(0).flags, kTypeWatched | kTypeOfProgram);
  std::vector<std::string_view> classes;
  for (StringId id : file->class_names(file->type(0)))
    classes.push_back(file->text(id));
  EXPECT_THAT(classes, ElementsAre("app.Broker", "builtins.object"));
  EXPECT_EQ(file->size(0), 48u);
  EXPECT_EQ(file->size(1), uint64_t{5} << 31);
  EXPECT_THAT(file->counts(), ElementsAre(2, kImmortalCount, 1, 4));
  EXPECT_EQ(file->state(0), State::kPinned);
  EXPECT_EQ(file->state(3), State::kInFlight);
  EXPECT_EQ(file->addresses()[2], 0x1020u);
  auto referents = file->graph().Referents(2);
  ASSERT_EQ(referents.size(), 2u);
  EXPECT_EQ(referents[0].referent(), 0u);
  EXPECT_TRUE(referents[1].cut());
  EXPECT_TRUE(file->graph().Referents(3)[0].native());
  auto names = file->edge_names().subspan(file->first_edge()[1], 2);
  EXPECT_EQ(file->text(names[0].text()), ".frame");
  EXPECT_TRUE(names[1].is_index());
  EXPECT_EQ(names[1].index(), 7u);
  ASSERT_NE(file->label(2), nullptr);
  EXPECT_EQ(file->text(file->label(2)->label), "frame(app.py:run)");
  EXPECT_EQ(file->text(file->label(2)->function), "run");
  EXPECT_EQ(file->label(1), nullptr);
  ASSERT_EQ(file->roots().size(), 1u);
  EXPECT_EQ(file->text(file->roots()[0].name), "module app");
  EXPECT_EQ(file->report(), kSmallReport);
}

TEST(HeapFile, AHeapWithoutNodes) {
  EXPECT_EQ(ProblemOf(SyntheticHeap().Write()), "");
}

// More than the writer's buffer holds, and no multiple of it.
TEST(HeapFile, RandomHeapsComeBackAsTheyWere) {
  for (uint32_t seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    OwnedGraph graph = RandomGraph(seed, 90'000);
    SyntheticHeap heap;
    uint32_t type = heap.Type("a.T");
    for (NodeId node = 0; node < graph->node_count(); ++node)
      heap.Node(type, uint64_t{node} << (node % 28));
    for (NodeId node = 0; node < graph->node_count(); ++node)
      for (Edge edge : graph->Referents(node))
        heap.Edge(node, edge.referent(), "[" + std::to_string(node) + "]",
                  edge.cut());
    std::vector<uint64_t> words = heap.Write();
    std::string problem;
    auto file = HeapFile::Parse(SyntheticHeap::Bytes(words), problem);
    ASSERT_TRUE(file) << problem;
    ASSERT_EQ(file->node_count(), graph->node_count());
    for (NodeId node = 0; node < graph->node_count(); ++node) {
      ASSERT_EQ(file->size(node), uint64_t{node} << (node % 28));
      auto expected = graph->Referents(node);
      auto found = file->graph().Referents(node);
      ASSERT_EQ(found.size(), expected.size());
      for (size_t i = 0; i < found.size(); ++i) {
        ASSERT_EQ(found[i].referent(), expected[i].referent());
        ASSERT_EQ(found[i].cut(), expected[i].cut());
        ASSERT_EQ(file->edge_names()[file->first_edge()[node] + i].index(),
                  node);
      }
    }
  }
}

TEST(HeapFile, CutShortAnywhereIsNoticed) {
  std::vector<uint64_t> words = SmallHeap().Write();
  auto bytes = SyntheticHeap::Bytes(words);
  for (size_t size = 0; size < bytes.size(); ++size) {
    std::string problem;
    EXPECT_FALSE(HeapFile::Parse(bytes.subspan(0, size), problem)) << size;
    EXPECT_THAT(problem, HasSubstr(size == 0 ? "empty" : "cut short")) << size;
  }
}

TEST(HeapFile, EveryAlteredBitIsNoticed) {
  std::vector<uint64_t> words = SmallHeap().Write();
  for (size_t bit = 0; bit < words.size() * 64; ++bit) {
    words[bit / 64] ^= uint64_t{1} << (bit % 64);
    EXPECT_NE(ProblemOf(words), "") << bit;
    words[bit / 64] ^= uint64_t{1} << (bit % 64);
  }
  EXPECT_EQ(ProblemOf(words), "");
}

TEST(HeapFile, ALaterVersionIsToldApart) {
  std::vector<uint64_t> words = SmallHeap().Write();
  words[1] += 1;
  EXPECT_THAT(ProblemOf(words),
              AllOf(HasSubstr("version 2"), HasSubstr("a later one")));
  words[1] -= 2;
  EXPECT_THAT(ProblemOf(words), HasSubstr("version 0"));
}

TEST(HeapFile, WhatIsNoHeapFile) {
  EXPECT_THAT(ProblemOf({0x7a6e6f6e, 1, 2, 3, 4, 5, 6, 7}),
              HasSubstr("no heap file"));
  std::string problem;
  EXPECT_FALSE(HeapFile::Open("/", problem));
  EXPECT_FALSE(HeapFile::Open("/nowhere", problem));
  EXPECT_EQ(problem, "No such file or directory");
}

TEST(HeapFile, TextsThatCouldSteerATerminalAreRefused) {
  for (const char* name : {"Evil\n", "\x1b[31mred", "delete\x7f"}) {
    SyntheticHeap heap = SmallHeap();
    heap.Root(0, name);
    EXPECT_THAT(ProblemOf(heap.Write()), HasSubstr("control characters"));
  }
  SyntheticHeap heap = SmallHeap();
  heap.Root(0, "Bücher → 本");
  EXPECT_EQ(ProblemOf(heap.Write()), "");
}

TEST(HeapFile, IsMappedFromADescriptor) {
  std::vector<uint64_t> words = SmallHeap().Write();
  int descriptor = memfd_create("heap", MFD_CLOEXEC);
  ASSERT_TRUE(HeapFileWriter::WriteAll(
      nullptr, descriptor, reinterpret_cast<const char*>(words.data()),
      words.size() * 8));
  std::string problem;
  auto file = HeapFile::Map(descriptor, problem);
  close(descriptor);
  ASSERT_TRUE(file) << problem;
  HeapFile moved = std::move(*file);
  EXPECT_EQ(moved.text(moved.type(0).name), "app.Broker");
}

// What the fuzz target does, without clang: numbers inside the sections altered
// under right checksums. Much is refused, and what is not can be walked.
TEST(HeapFile, AlteredSectionsAreRefusedOrHarmless) {
  std::vector<uint64_t> words = SmallHeap().Write();
  const auto sections = TakeApart(SyntheticHeap::Bytes(words));
  ASSERT_EQ(sections.size(), kSectionKinds);
  ASSERT_TRUE(ReadAny(
      SyntheticHeap::Bytes(SyntheticHeap::Aligned(PutTogether(sections)))));
  std::mt19937 random(1);
  int refused = 0;
  constexpr int kTries = 20'000;
  for (int i = 0; i < kTries; ++i) {
    auto altered = sections;
    Section& section = altered[random() % altered.size()];
    if (section.bytes.empty()) continue;
    size_t at = random() % section.bytes.size();
    if (random() % 8 == 0)
      section.bytes.resize(at);
    else
      section.bytes[at] = static_cast<char>(random());
    refused += !ReadAny(
        SyntheticHeap::Bytes(SyntheticHeap::Aligned(PutTogether(altered))));
  }
  EXPECT_GT(refused, kTries / 10);
  EXPECT_LT(refused, kTries);
}

TEST(HeapFileWriter, SaysWhenTheDescriptorTakesNoMore) {
  int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  HeapFileWriter writer(full);
  writer.PutSection<char>(SectionKind::kReport, {});
  EXPECT_FALSE(writer.Finish());
  close(full);
}

}  // namespace
}  // namespace heap
