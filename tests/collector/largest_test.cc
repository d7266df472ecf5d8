#include "collector/heap/largest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collector/error.h"
#include "tests/graph/synthetic_heap.h"

namespace collector {
namespace {

using testing::HasSubstr;
using testing::Throws;
using testing::ThrowsMessage;

/// Of SmallHeap, with another report inside.
nlohmann::json LargestWith(const std::string& report) {
  heap::SyntheticHeap small = heap::SmallHeap();
  small.Report(report);
  std::vector<uint64_t> words = small.Write();
  std::string problem;
  auto file = heap::HeapFile::Parse(heap::SyntheticHeap::Bytes(words), problem);
  if (!file) throw std::runtime_error(problem);
  return Largest(RecordedHeap(std::move(*file), "small"), 3);
}

TEST(Largest, FillsInWhatTheReportLeftOpen) {
  nlohmann::json largest = LargestWith(heap::kSmallReport);
  ASSERT_EQ(largest["types"].size(), 1u);
  EXPECT_GT(largest["types"][0]["retained"], 0);
  EXPECT_TRUE(largest["limits"].empty());
}

TEST(Largest, SaysThatAReportOfAnotherFormIsNone) {
  for (const char* report :
       {R"({"schema": "cyclescope.snapshot/1"})",
        R"({"heap": {"types": 1}, "cycles": [], "limits": []})",
        R"({"heap": {"types": [{}]}, "cycles": [], "limits": []})",
        R"({"heap": {"types": []}, "cycles": [7], "limits": []})",
        R"({"heap": {"types": []}, "cycles": [], "limits": [{"field": 1}]})"}) {
    EXPECT_THAT([&] { LargestWith(report); },
                ThrowsMessage<Error>(HasSubstr("missing or of another form")))
        << report;
  }
  EXPECT_THAT([] { LargestWith("[1"); }, Throws<Error>());
}

}  // namespace
}  // namespace collector
