#include "collector/sample/child_process.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <fstream>

#include "collector/error.h"
#include "collector/sample/process_sampler.h"
#include "tests/collector/temp_folder.h"

namespace collector {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

class ChildProcessTest : public testing::Test {
 protected:
  ChildProcess Start(const std::string& script,
                     std::map<std::string, std::string> environment = {}) {
    return ChildProcess({{"/bin/sh", "-c", script},
                         std::move(environment),
                         folder_.path(),
                         folder_.path() / "output"});
  }
  /// Waits until the child has said that it is ready.
  void WaitForReady(ChildProcess& child) {
    while (child.running() && child.OutputTail().empty()) {
      child.Wait(milliseconds(5));
    }
  }
  TempFolder folder_;
};

TEST_F(ChildProcessTest, TellsExitStatusAndOutput) {
  ChildProcess child =
      Start("echo $WORD in $PWD; echo oops >&2; exit 3", {{"WORD", "hello"}});
  ASSERT_TRUE(child.Wait(seconds(10)));
  EXPECT_EQ(child.ending(), "exit status 3");
  EXPECT_EQ(child.OutputTail(),
            "hello in " + folder_.path().string() + "\noops");
}

TEST_F(ChildProcessTest, NamesTheProgramThatCannotBeStarted) {
  try {
    ChildProcess({{"/no/such/program"}, {}, {}, folder_.path() / "output"});
    FAIL() << "started";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "start /no/such/program: No such file or directory");
  }
}

TEST_F(ChildProcessTest, KeepsStdinOpenWhileTheObjectLives) {
  ChildProcess child = Start("echo ready; cat; echo closed");
  WaitForReady(child);
  EXPECT_FALSE(child.Wait(milliseconds(50)));
  EXPECT_EQ(child.OutputTail(), "ready");
}

TEST_F(ChildProcessTest, StopsWithTheGentlestSignalThatWorks) {
  ChildProcess gentle =
      Start("trap 'exit 0' INT; echo ready; while sleep 0.02; do :; done");
  WaitForReady(gentle);
  EXPECT_EQ(gentle.StopGently(seconds(10)), SIGINT);
  EXPECT_EQ(gentle.ending(), "exit status 0");

  std::filesystem::remove(folder_.path() / "output");
  ChildProcess stubborn = Start("trap '' INT TERM; echo ready; cat");
  WaitForReady(stubborn);
  EXPECT_EQ(stubborn.StopGently(milliseconds(50)), SIGKILL);
  EXPECT_THAT(stubborn.ending(), HasSubstr("signal 9"));
  EXPECT_EQ(stubborn.StopGently(milliseconds(50)), 0);
}

TEST_F(ChildProcessTest, DestructorLeavesNothingRunning) {
  int pid = 0;
  {
    ChildProcess child = Start("echo ready; cat");
    WaitForReady(child);
    pid = child.pid();
    EXPECT_TRUE(StartTicks(pid).has_value());
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(ChildProcessTest, SamplerReadsItAndSeesItsEnd) {
  ChildProcess child = Start("echo ready; cat");
  WaitForReady(child);
  ProcessSampler sampler(child.pid());
  EXPECT_TRUE(sampler.Alive());
  EXPECT_FALSE(sampler.memory_source().empty());
  std::map<std::string, double> figures;
  auto read = sampler.Read();
  ASSERT_TRUE(read.has_value());
  for (const auto& [series, value] : *read) figures[series] = value;
  EXPECT_GT(figures["memory.anon"], 4096);
  EXPECT_GT(figures["memory.rss"], figures["memory.anon"]);
  EXPECT_EQ(figures["threads"], 1);
  EXPECT_GE(figures["descriptors"], 3);
  child.Stop(SIGKILL, seconds(10));
  EXPECT_FALSE(sampler.Alive());
  EXPECT_EQ(sampler.Read(), std::nullopt);
  EXPECT_THROW(ProcessSampler(child.pid()), Error);
}

/// A /proc and cgroup tree of files, as the kernel would show it.
class SamplerTree : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::path file = root_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void AddProcess(int pid, int parent, const std::string& cgroup) {
    std::string folder = "proc/" + std::to_string(pid) + "/";
    Write(folder + "stat",
          std::to_string(pid) + " (a) b) S " + std::to_string(parent) +
              " 0 0 0 0 0 0 0 0 0 100 50 0 0 20 0 7 0 4242 0 0\n");
    Write(folder + "cgroup", cgroup);
    Write(folder + "status", "VmRSS:\t 900 kB\nRssAnon:\t 500 kB\n");
    Write(folder + "smaps_rollup",
          "55d0-7ffd ---p 0 00:00 0 [rollup]\nRss: 900 kB\n"
          "Pss_Anon: 250 kB\nAnonymous: 480 kB\nSwap: 8 kB\n");
  }
  std::map<std::string, double> Read(ProcessSampler& sampler) {
    std::map<std::string, double> figures;
    auto read = sampler.Read();
    EXPECT_TRUE(read.has_value());
    for (const auto& [series, value] : read.value()) figures[series] = value;
    return figures;
  }
  TempFolder root_;
};

constexpr char kMounts[] =
    "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "31 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

TEST_F(SamplerTree, UsesTheCgroupThatHoldsOnlyTheProcessAndItsChildren) {
  AddProcess(10, 1, "4:memory:/service\n0::/\n");
  AddProcess(11, 10, "4:memory:/service\n0::/\n");
  Write("proc/self/mountinfo", kMounts);
  Write("sys/fs/cgroup/memory/service/memory.stat",
        "cache 9\nrss 1\ntotal_cache 7000\ntotal_rss 123456\n");
  Write("sys/fs/cgroup/memory/service/cgroup.procs", "10\n11\n");
  ProcessSampler sampler(10, root_.path());
  EXPECT_EQ(sampler.memory_source(), "total_rss of cgroup /service (v1)");
  EXPECT_EQ(Read(sampler)["memory.anon"], 123456);
  EXPECT_EQ(Read(sampler)["memory.file"], 7000);
  EXPECT_EQ(Read(sampler)["threads"], 7);
}

TEST_F(SamplerTree, ReadsVersionTwoAsWell) {
  AddProcess(10, 1, "0::/pod/service\n");
  Write("proc/self/mountinfo", kMounts);
  std::string cgroup = "sys/fs/cgroup/unified/pod/service/";
  Write(cgroup + "memory.stat", "anon 99\nfile 5\n");
  Write(cgroup + "cgroup.procs", "10\n");
  ProcessSampler sampler(10, root_.path());
  EXPECT_EQ(sampler.memory_source(), "anon of cgroup /pod/service (v2)");
  EXPECT_EQ(Read(sampler)["memory.anon"], 99);
}

TEST_F(SamplerTree, ASharedCgroupIsNotTheServices) {
  AddProcess(10, 1, "4:memory:/shared\n");
  AddProcess(12, 1, "4:memory:/shared\n");
  Write("proc/self/mountinfo", kMounts);
  Write("sys/fs/cgroup/memory/shared/memory.stat", "total_rss 5\n");
  Write("sys/fs/cgroup/memory/shared/cgroup.procs", "10\n");
  Write("sys/fs/cgroup/memory/shared/below/cgroup.procs", "12\n");
  ProcessSampler sampler(10, root_.path());
  EXPECT_EQ(sampler.memory_source(), "Anonymous of /proc/10/smaps_rollup");
  EXPECT_EQ(Read(sampler)["memory.anon"], 480 * 1024);
  EXPECT_EQ(Read(sampler)["memory.swap"], 8 * 1024);
}

TEST_F(SamplerTree, FallsBackToStatusAndNoticesAReusedPid) {
  AddProcess(10, 1, "0::/\n");
  std::filesystem::remove(root_.path() / "proc/10/smaps_rollup");
  ProcessSampler sampler(10, root_.path());
  EXPECT_EQ(sampler.memory_source(), "RssAnon of /proc/10/status");
  EXPECT_EQ(Read(sampler)["memory.anon"], 500 * 1024);
  Write("proc/10/stat",
        "10 (a) S 1 0 0 0 0 0 0 0 0 0 1 5 0 0 20 0 7 0 9999 0 0\n");
  EXPECT_FALSE(sampler.Alive());
}

}  // namespace
}  // namespace collector
