// libFuzzer over the reader of heap files. Most inputs are a file whose
// sections were altered one at a time and which was put together again with
// right checksums; one in eight is altered blindly. What is accepted is told of
// as `top`, `path` and `whatif` do; one in eight of it, since that takes long.

#include <random>

#include "collector/error.h"
#include "collector/heap/largest.h"
#include "collector/heap/what_if.h"
#include "tests/fuzz/read_any.h"
#include "tests/fuzz/sections.h"
#include "tests/graph/synthetic_heap.h"

namespace {

void TellOfAny(std::span<const char> bytes) {
  std::string problem;
  auto file = heap::HeapFile::Parse(bytes, problem);
  if (!file) std::abort();
  // A sentence is an answer: there is no such object, or the report is none.
  auto tell = [](auto verb) {
    try {
      verb();
    } catch (const collector::Error&) {
    }
  };
  tell([&] {
    collector::RecordedHeap heap(std::move(*file), "any");
    tell([&] {
      collector::RecordedPaths paths(heap);
      for (heap::NodeId node = 0; node < heap.node_count(); ++node)
        paths.Text(node, collector::PathStyle::kExact);
    });
    tell([&] {
      nlohmann::json report = heap.report();
      collector::AddRetained(report, heap, 5);
    });
    tell([&] { collector::Largest(heap, 5); });
    tell([&] { collector::Paths(heap, "Broker"); });
    collector::WhatIf what_if(heap);
    tell([&] { what_if.Rank(2); });
    tell([&] {
      what_if.Without(
          {collector::Cut::Parse("BaseException.__traceback__@run")});
    });
    tell([&] { what_if.Without({collector::Cut::Parse("Broker.frame")}); });
  });
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thread_local std::vector<uint64_t> words;
  words.resize((size + 7) / 8);
  if (size > 0) std::memcpy(words.data(), data, size);
  std::span<const char> bytes(reinterpret_cast<const char*>(words.data()),
                              size);
  if (heap::ReadAny(bytes) && heap::Checksum(0, words.data(), size) % 8 == 0)
    TellOfAny(bytes);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size,
                                          size_t most, unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<heap::Section> sections =
      heap::TakeApart({reinterpret_cast<const char*>(data), size});
  if (random() % 8 == 0) return LLVMFuzzerMutate(data, size, most);
  if (sections.size() < heap::kSectionKinds && random() % 4 != 0) {
    static const std::vector<uint64_t> whole = heap::SmallHeap().Write();
    sections = heap::TakeApart(heap::SyntheticHeap::Bytes(whole));
  }
  if (sections.empty()) return LLVMFuzzerMutate(data, size, most);
  heap::Section& section = sections[random() % sections.size()];
  size_t length = section.bytes.size();
  size_t room = length + 64;
  section.bytes.resize(room);
  size_t changed = LLVMFuzzerMutate(
      reinterpret_cast<uint8_t*>(section.bytes.data()), length, room);
  // Most alterations keep the length: all columns must agree on it.
  section.bytes.resize(random() % 4 == 0 ? changed : length);
  std::string file = heap::PutTogether(sections);
  if (file.size() > most) return LLVMFuzzerMutate(data, size, most);
  std::memcpy(data, file.data(), file.size());
  return file.size();
}
