// Records this very process: its fake agent answers, scripted units pass.

#include "collector/sample/recorder.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include "collector/error.h"
#include "tests/collector/fake_agent.h"
#include "tests/collector/temp_folder.h"

namespace collector {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::Gt;
using testing::HasSubstr;
using testing::SizeIs;

class RecorderTest : public testing::Test {
 protected:
  RecorderTest() {
    plan_.service = "s";
    plan_.interval = milliseconds(5);
    plan_.poll = milliseconds(2);
    plan_.units = 100;
    hooks_.units_processed = [this] { return units_ = std::min(units_, 100L); };
  }
  RecordResult Run() {
    AgentClient agent = AgentClient::Connect(socket_);
    RunWriter run = RunWriter::Create(folder_.path() / "run",
                                      {{"schema", "cyclescope.run/1"}});
    return Record(plan_, hooks_, agent, run, interrupt_);
  }
  RunReader Read() { return RunReader(folder_.path() / "run"); }
  std::vector<std::string> EventKinds() {
    std::vector<std::string> kinds;
    for (const Event& event : Read().Events()) kinds.push_back(event.kind);
    return kinds;
  }

  TempFolder folder_;
  std::string socket_ = (folder_.path() / "a.sock").string();
  Interrupt interrupt_;
  RecordPlan plan_;
  RecordHooks hooks_;
  int64_t units_ = 0;
};

TEST_F(RecorderTest, TakesASnapshotAtTheStartAtEachTenthAndAtTheEnd) {
  FakeAgent agent(socket_, PongOrSnapshot);
  hooks_.units_processed = [this] { return units_ == 100 ? 100 : units_++; };
  RecordResult result = Run();
  EXPECT_EQ(result.units, 100);
  EXPECT_EQ(result.snapshots, 11);
  EXPECT_FALSE(result.interrupted);
  RunReader run = Read();
  EXPECT_TRUE(run.finished());
  std::vector<int64_t> units;
  std::vector<std::string> triggers;
  for (const SnapshotRecord& snapshot : run.Snapshots("s")) {
    units.push_back(snapshot.units);
    triggers.push_back(snapshot.trigger);
    EXPECT_EQ(run.ReadSnapshot(snapshot)["schema"], "cyclescope.snapshot/1");
  }
  ASSERT_THAT(units, SizeIs(11));
  for (int64_t tenth = 1; tenth < 10; ++tenth) {
    EXPECT_NEAR(static_cast<double>(units[static_cast<size_t>(tenth)]),
                static_cast<double>(10 * tenth), 5);
  }
  EXPECT_EQ(units.back(), 100);
  EXPECT_EQ(triggers.front(), "start");
  EXPECT_EQ(triggers.back(), "end");
  EXPECT_THAT(run.Samples("s", kAnon), SizeIs(Gt(2u)));
  EXPECT_EQ(run.Samples("s", kUnitsProcessed).back().value, 100);
  ASSERT_THAT(run.Services(), SizeIs(1));
  EXPECT_EQ(run.Services()[0].pid, getpid());
}

TEST_F(RecorderTest, TicksLieOnAnAbsoluteClock) {
  FakeAgent agent(socket_, PongOrSnapshot);
  plan_.units = 0;
  plan_.interval = milliseconds(20);
  plan_.longest = milliseconds(1000);
  hooks_.units_processed = nullptr;
  Run();
  auto samples = Read().Samples("s", kAnon);
  // On a busy machine ticks come late or not at all, but none is moved: those
  // taken and those missed are all that there were in a second.
  size_t ticks = samples.size();
  for (const Event& event : Read().Events()) {
    if (event.kind == "gap") ticks += std::stoul(event.text);
  }
  auto planned = static_cast<size_t>(samples.back().elapsed_ms / 20 + 1);
  EXPECT_THAT(ticks,
              testing::AllOf(testing::Ge(planned), testing::Le(planned + 1)));
}

TEST_F(RecorderTest, MissedTicksAreWrittenDownAsAGap) {
  FakeAgent agent(socket_, PongOrSnapshot);
  hooks_.units_processed = [this] {
    if (units_ == 40) std::this_thread::sleep_for(milliseconds(60));
    return units_ += 20;
  };
  Run();
  EXPECT_THAT(EventKinds(), testing::Contains("gap"));
  EXPECT_TRUE(Read().finished());
}

TEST_F(RecorderTest, AnInterruptLeavesAReadableRun) {
  FakeAgent agent(socket_, PongOrSnapshot);
  hooks_.units_processed = [this] {
    if (units_ == 30) raise(SIGINT);
    return units_ += 10;
  };
  RecordResult result = Run();
  EXPECT_TRUE(result.interrupted);
  EXPECT_FALSE(Read().finished());
  EXPECT_EQ(EventKinds().back(), "interrupted");
}

TEST_F(RecorderTest, AFailedSnapshotIsAnEventAndTheRunGoesOn) {
  int snapshots = 0;
  FakeAgent agent(socket_, [&](const std::string& request, int) {
    if (request.find("ping") != std::string::npos) return std::string(kPong);
    return ++snapshots == 3 ? std::string("{\"error\":\"busy\"}\n")
                            : std::string(kEmptySnapshot);
  });
  hooks_.units_processed = [this] { return units_ == 100 ? 100 : units_++; };
  EXPECT_EQ(Run().snapshots, 10);
  EXPECT_THAT(EventKinds(), testing::Contains("snapshot_failed"));
  EXPECT_TRUE(Read().finished());
}

TEST_F(RecorderTest, AStalledServiceIsAnError) {
  FakeAgent agent(socket_, PongOrSnapshot);
  plan_.stall = milliseconds(100);
  hooks_.units_processed = [] { return 7; };
  try {
    Run();
    FAIL() << "went on";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("7 of 100 done"));
  }
}

TEST_F(RecorderTest, TheEndOfTheServiceIsAnEventAndAnError) {
  // The service is a fork of this process with the agent in it.
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t pid = fork();
  if (pid == 0) {
    FakeAgent agent(socket_, PongOrSnapshot);
    if (write(ready[1], "r", 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  hooks_.units_processed = [this, pid] {
    if (units_ == 50) kill(pid, SIGKILL);
    return units_ += 10;
  };
  try {
    Run();
    FAIL() << "went on";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("ended while it was recorded"));
  }
  waitpid(pid, nullptr, 0);
  EXPECT_THAT(EventKinds(), testing::Contains("restart"));
  EXPECT_FALSE(Read().finished());
  EXPECT_THAT(Read().Snapshots("s"), SizeIs(Gt(1u)));
}

}  // namespace
}  // namespace collector
