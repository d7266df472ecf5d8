#include "inspector/agent/guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/collector/temp_folder.h"

namespace inspector {
namespace {

using Decision = GuardFigures::Decision;
using collector::TempFolder;
using testing::HasSubstr;

constexpr int64_t kMiB = 1 << 20;

/// A machine made of files, under one folder.
class Machine {
 public:
  explicit Machine(int version) : version_(version) {
    Write("proc/self/cgroup", version == 1 ? "5:cpu,cpuacct:/pod/app\n"
                                             "4:memory:/pod/app\n0::/\n"
                                           : "0::/pod/app\n");
    SetMachine(16000, 8000);
    SetThrottled(0);
  }
  void Write(const std::string& path, const std::string& text) {
    auto file = folder_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  /// In MiB; a limit of 0 is none.
  void SetLevel(const std::string& path, int64_t usage, int64_t limit,
                int64_t cache = 0) {
    bool v1 = version_ == 1;
    std::string at =
        std::string("sys/fs/cgroup/") + (v1 ? "memory/" : "") + path + "/";
    Write(at + (v1 ? "memory.usage_in_bytes" : "memory.current"),
          std::to_string(usage * kMiB) + "\n");
    Write(at + (v1 ? "memory.limit_in_bytes" : "memory.max"),
          limit > 0 ? std::to_string(limit * kMiB) + "\n"
          : v1      ? "9223372036854771712\n"
                    : "max\n");
    Write(at + "memory.stat", (v1 ? "cache 1\ntotal_rss 5\ntotal_inactive_file "
                                  : "anon 5\ninactive_file ") +
                                  std::to_string(cache * kMiB) + "\n");
  }
  void SetMachine(int64_t total, int64_t available) {
    Write("proc/meminfo", "MemTotal: " + std::to_string(total * 1024) +
                              " kB\nMemAvailable: " +
                              std::to_string(available * 1024) + " kB\n");
  }
  void SetThrottled(int64_t times) {
    std::string at = version_ == 1 ? "sys/fs/cgroup/cpu,cpuacct/pod/app/"
                                   : "sys/fs/cgroup/pod/app/";
    Write(at + "cpu.stat",
          "nr_periods 9\nnr_throttled " + std::to_string(times) + "\n");
  }
  std::string root() const { return folder_.path().string(); }

 private:
  TempFolder folder_;
  int version_;
};

class GuardTest : public testing::TestWithParam<int> {
 protected:
  Machine machine_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Versions, GuardTest, testing::Values(1, 2));

TEST_P(GuardTest, TheTightestLevelCounts) {
  machine_.SetLevel("pod/app", 100, 0);
  machine_.SetLevel("pod", 700, 1000, 50);
  auto headroom = Cgroups(machine_.root()).ReadHeadroom();
  ASSERT_TRUE(headroom);
  EXPECT_EQ(headroom->free, 350 * kMiB);  // Page cache is as good as free.
  EXPECT_EQ(headroom->limit, 1000 * kMiB);
  EXPECT_THAT(headroom->of, testing::EndsWith("/pod"));
}

TEST_P(GuardTest, AContainerSeesItsOwnGroupAtTheMount) {
  machine_.SetLevel("", 100, 300);
  auto headroom = Cgroups(machine_.root()).ReadHeadroom();
  ASSERT_TRUE(headroom);
  EXPECT_EQ(headroom->free, 200 * kMiB);
}

TEST_P(GuardTest, WithoutALimitTheMachineCounts) {
  machine_.SetLevel("pod/app", 100, 0);
  Guard guard(machine_.root());
  guard.Begin(100 * kMiB);
  EXPECT_TRUE(guard.Allows(50 * kMiB));
  EXPECT_EQ(guard.figures().limited_by, "the machine");
  EXPECT_EQ(guard.figures().decision, Decision::kFree);
  machine_.SetMachine(16000, 540);
  guard.Begin(100 * kMiB);
  EXPECT_FALSE(guard.Allows(50 * kMiB));
}

TEST_P(GuardTest, RefusesBelowItsOwnMemoryAndATenth) {
  Guard guard(machine_.root());
  machine_.SetLevel("pod/app", 850, 1000);
  guard.Begin(200 * kMiB);
  EXPECT_FALSE(guard.Allows(100 * kMiB));
  EXPECT_EQ(guard.figures().decision, Decision::kRefused);
  EXPECT_THAT(guard.Sentence(), HasSubstr("150.0 MiB of 1000.0 MiB"));
  EXPECT_THAT(guard.Sentence(), HasSubstr("100.0 MiB are kept"));
}

TEST_P(GuardTest, WatchesBetweenThatAndTheWorstCase) {
  Guard guard(machine_.root());
  machine_.SetLevel("pod/app", 700, 1000);
  guard.Begin(200 * kMiB);
  EXPECT_TRUE(guard.Allows(100 * kMiB));
  EXPECT_EQ(guard.figures().decision, Decision::kWatched);
  EXPECT_LE(guard.child_limit(), 200u * kMiB);
  machine_.SetLevel("pod/app", 100, 1000);
  guard.Begin(200 * kMiB);
  EXPECT_TRUE(guard.Allows(100 * kMiB));
  EXPECT_EQ(guard.figures().decision, Decision::kFree);
}

TEST_P(GuardTest, LeavesWhenTheHeadroomFallsBelowTheReserve) {
  Guard guard(machine_.root());
  machine_.SetLevel("pod/app", 700, 1000);
  guard.Begin(200 * kMiB);
  ASSERT_TRUE(guard.Allows(100 * kMiB));
  guard.Started(0, 1000);
  machine_.SetLevel("pod/app", 720, 1000);
  EXPECT_EQ(guard.Look(0), Guard::Verdict::kGoOn);
  EXPECT_EQ(guard.next_look_us(), 10'000);
  machine_.SetLevel("pod/app", 890, 1000);
  EXPECT_EQ(guard.Look(10'000), Guard::Verdict::kLeave);
  EXPECT_EQ(guard.figures().decision, Decision::kAborted);
  EXPECT_EQ(guard.figures().lowest_headroom, 110 * kMiB);
  EXPECT_THAT(guard.Sentence(), HasSubstr("110.0 MiB when it left"));
}

TEST_P(GuardTest, LooksSoonerWhereLittleIsLeft) {
  Guard guard(machine_.root());
  machine_.SetLevel("pod/app", 880, 1000);
  guard.Begin(10 * kMiB);
  ASSERT_TRUE(guard.Allows(4 * kMiB));
  guard.Started(0, 1000);
  EXPECT_EQ(guard.Look(0), Guard::Verdict::kGoOn);
  EXPECT_LT(guard.next_look_us(), 6'000);
  EXPECT_GE(guard.next_look_us(), 500);
}

TEST_P(GuardTest, LearnsFromTheLastSnapshot) {
  Guard guard(machine_.root());
  machine_.SetLevel("pod/app", 750, 1000);
  guard.Begin(400 * kMiB);
  EXPECT_FALSE(guard.Allows(300 * kMiB));
  guard.Ended(30 * kMiB);
  guard.Begin(400 * kMiB);
  EXPECT_TRUE(guard.Allows(300 * kMiB));
  EXPECT_LT(guard.figures().own_estimate, 50 * kMiB);
}

TEST_P(GuardTest, APauseIsAtMostATwentiethOfTheTime) {
  Guard guard(machine_.root());
  machine_.SetLevel("pod/app", 100, 1000);
  EXPECT_EQ(guard.WaitUs(0), 0);
  guard.Begin(100 * kMiB);
  ASSERT_TRUE(guard.Allows(10 * kMiB));
  guard.Started(1'000'000, 5'000);
  EXPECT_EQ(guard.WaitUs(1'040'000), 60'000);
  EXPECT_EQ(guard.WaitUs(1'100'000), 0);
}

TEST_P(GuardTest, TheChildRestsWhenProcessorsAreWithheld) {
  Guard guard(machine_.root());
  machine_.SetLevel("pod/app", 100, 1000);
  machine_.SetThrottled(7);
  guard.Begin(100 * kMiB);
  ASSERT_TRUE(guard.Allows(10 * kMiB));
  guard.Started(0, 100);
  EXPECT_EQ(guard.Look(0), Guard::Verdict::kGoOn);
  machine_.SetThrottled(8);
  EXPECT_EQ(guard.Look(10'000), Guard::Verdict::kYield);
  EXPECT_EQ(guard.Look(40'000), Guard::Verdict::kYield);
  machine_.SetThrottled(9);  // All the time: it works between two rests.
  EXPECT_EQ(guard.Look(61'000), Guard::Verdict::kGoOn);
  machine_.SetThrottled(10);
  EXPECT_EQ(guard.Look(71'000), Guard::Verdict::kYield);
  EXPECT_EQ(guard.Look(121'000), Guard::Verdict::kGoOn);
  EXPECT_EQ(guard.figures().yielded_ms, 100);
}

TEST(Guard, AGroupThatDiesTogetherNeedsTheWorstCase) {
  Machine machine(2);
  Guard guard(machine.root());
  machine.SetLevel("pod/app", 700, 1000);
  machine.Write("sys/fs/cgroup/pod/app/memory.oom.group", "1\n");
  guard.Begin(200 * kMiB);
  EXPECT_FALSE(guard.Allows(100 * kMiB));
  EXPECT_TRUE(guard.figures().kills_together);
  EXPECT_THAT(guard.Sentence(), HasSubstr("memory.oom.group"));
  machine.SetLevel("pod/app", 200, 1000);
  guard.Begin(200 * kMiB);
  EXPECT_TRUE(guard.Allows(100 * kMiB));
}

TEST(Guard, StartsWhereNothingCanBeRead) {
  TempFolder empty;
  Guard guard(empty.path().string());
  guard.Begin(100 * kMiB);
  EXPECT_TRUE(guard.Allows(-1));
  guard.Started(0, 100);
  EXPECT_EQ(guard.Look(0), Guard::Verdict::kGoOn);
  EXPECT_EQ(guard.figures().headroom, -1);
}

}  // namespace
}  // namespace inspector
