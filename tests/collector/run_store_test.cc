#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <string>

#include "collector/error.h"
#include "collector/store/files.h"
#include "collector/store/load_run_facts.h"
#include "collector/store/run.h"
#include "collector/store/sha256.h"
#include "tests/collector/synthetic_run.h"

namespace collector {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

/// What the Error thrown by `body` says; fails if it throws none.
std::string ErrorOf(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

class RunStore : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "run-store-XXXXXX");
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    place_ = name;
  }
  void TearDown() override {
    for (const fs::path& mounted : mounts_)
      umount2(mounted.c_str(), MNT_DETACH);
    std::error_code ignored;
    fs::remove_all(place_, ignored);
  }

  /// False where this process may not mount.
  bool Mount(const fs::path& target, unsigned long flags, const char* options) {
    fs::create_directories(target);
    if (mount("none", target.c_str(), "tmpfs", flags, options) != 0)
      return false;
    mounts_.push_back(target);
    return true;
  }

  static json Description() {
    return {{"schema", "cyclescope.run/1"},
            {"unit", {{"name", "archive"}, {"source", "committed offset"}}},
            {"plan", {{"units", 200}, {"seed", 1}}},
            {"arm", "before"}};
  }

  static std::vector<Sample> Tick(int64_t tick) {
    std::vector<Sample> samples;
    for (const char* series : {kAnon, "memory.rss", kUnitsProcessed, "threads"})
      samples.push_back({.wall_ms = 1'000'000 + tick * 5000,
                         .elapsed_ms = tick * 5000,
                         .service = "rules",
                         .series = series,
                         .value = static_cast<double>(tick)});
    return samples;
  }

  static std::string Report() { return SyntheticSnapshot({}, {}).dump(); }

  static SnapshotRecord Record(const std::string& service, int64_t units = 0) {
    SnapshotRecord record;
    record.service = service;
    record.units = units;
    return record;
  }

  /// Runs `body` in a child that is killed by SIGKILL: `kill_after_us` after
  /// its first row, or after its start if it need not have one.
  static void InKilledChild(const std::function<void(int ready)>& body,
                            bool has_a_row, int kill_after_us) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      body(ready[1]);
      pause();
      _exit(1);
    }
    close(ready[1]);
    char byte;
    if (has_a_row) {
      ASSERT_EQ(read(ready[0], &byte, 1), 1);
    }
    usleep(static_cast<useconds_t>(kill_after_us));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    close(ready[0]);
  }

  static void SayReady(int ready) { ASSERT_EQ(write(ready, "r", 1), 1); }

  fs::path place_;
  std::vector<fs::path> mounts_;
};

TEST_F(RunStore, GivesBackWhatWasWritten) {
  fs::path folder = place_ / "deep" / "run";
  {
    RunWriter writer = RunWriter::Create(folder, Description());
    writer.AddService({"rules", 4711, 99, "cgroup memory.stat anon"});
    writer.AddSamples(Tick(2));
    writer.AddSamples(Tick(1));
    writer.AddSnapshot({.wall_ms = 5,
                        .elapsed_ms = 6,
                        .service = "rules",
                        .units = 20,
                        .trigger = "tenth",
                        .file = "",
                        .sha256 = ""},
                       Report());
    writer.AddEvent({1, 2, "rules", "load_started", "200 archives"});
    writer.AddEvent({1, 3, "other", "restart", "not ours"});
    writer.AddEvent({1, 4, "", "finished", "as planned"});
    writer.Finish();
  }
  RunReader reader(folder);
  EXPECT_TRUE(reader.finished());
  EXPECT_EQ(reader.description(), Description());
  ASSERT_EQ(reader.Services().size(), 1);
  EXPECT_EQ(reader.Services()[0].start_ticks, 99);
  auto anon = reader.Samples("rules", kAnon);
  ASSERT_EQ(anon.size(), 2);
  EXPECT_EQ(anon[0].elapsed_ms, 5000);
  EXPECT_EQ(anon[1].value, 2);
  EXPECT_TRUE(reader.Samples("rules", "no such series").empty());
  auto snapshots = reader.Snapshots("rules");
  ASSERT_EQ(snapshots.size(), 1);
  EXPECT_EQ(snapshots[0].units, 20);
  EXPECT_EQ(snapshots[0].file, "snapshots/rules-0000.json");
  EXPECT_EQ(reader.ReadSnapshot(snapshots[0])["schema"],
            "cyclescope.snapshot/1");
  EXPECT_EQ(reader.Events().size(), 3);

  RunFacts run = LoadRunFacts(folder / "");
  EXPECT_EQ(run.run, "run");
  ASSERT_EQ(run.services.size(), 1);
  EXPECT_EQ(run.services[0].memory_source, "cgroup memory.stat anon");
  EXPECT_EQ(run.services[0].units.size(), 2);
  EXPECT_EQ(run.services[0].events.size(), 2);
  EXPECT_TRUE(run.services[0].snapshots[0].report.is_object());
}

TEST_F(RunStore, LeavesOnePlainDatabaseWhenFinished) {
  {
    RunWriter writer = RunWriter::Create(place_ / "run", Description());
    writer.AddSamples(Tick(1));
    writer.Finish();
  }
  LoadRunFacts(place_ / "run");
  EXPECT_FALSE(fs::exists(place_ / "run" / "run.db-wal"));
  EXPECT_FALSE(fs::exists(place_ / "run" / "run.db-shm"));
}

TEST_F(RunStore, CanBeReadWhileItIsWritten) {
  RunWriter writer = RunWriter::Create(place_ / "run", Description());
  writer.AddSamples(Tick(1));
  RunReader reader(place_ / "run");
  writer.AddSamples(Tick(2));
  EXPECT_EQ(reader.Samples("rules", kAnon).size(), 2);
  EXPECT_FALSE(reader.finished());
}

TEST_F(RunStore, KeepsEveryCallThatReturnedBeforeTheKill) {
  fs::path folder = place_ / "run";
  InKilledChild(
      [&](int ready) {
        RunWriter writer = RunWriter::Create(folder, Description());
        writer.AddService({"rules", 1, 2, "/proc"});
        for (int tick = 0; tick < 50; ++tick) writer.AddSamples(Tick(tick));
        writer.AddSnapshot(Record("rules", 3), Report());
        SayReady(ready);
        pause();
      },
      true, 0);
  RunReader reader(folder);
  EXPECT_FALSE(reader.finished());
  EXPECT_EQ(reader.Samples("rules", kAnon).size(), 50);
  EXPECT_EQ(reader.Snapshots("rules").size(), 1);
}

TEST_F(RunStore, HoldsWholeTicksAfterAKillAtAnyMoment) {
  for (int attempt = 0; attempt < 30; ++attempt) {
    SCOPED_TRACE(attempt);
    fs::path folder = place_ / fmt::format("run{}", attempt);
    const bool has_a_row = attempt % 3 > 0;
    InKilledChild(
        [&](int ready) {
          RunWriter writer = RunWriter::Create(folder, Description());
          writer.AddService({"rules", 1, 2, "/proc"});
          for (int64_t tick = 0;; ++tick) {
            writer.AddSamples(Tick(tick));
            if (tick == 0) SayReady(ready);
            if (tick % 8 == 0) writer.AddSnapshot(Record("rules"), Report());
          }
        },
        has_a_row, attempt * 700);
    if (!fs::exists(folder / "run.json")) continue;  // Killed before it began.
    RunFacts run = LoadRunFacts(folder);
    RunReader reader(folder);
    size_t ticks = reader.Samples("rules", kAnon).size();
    EXPECT_GE(ticks, has_a_row ? 1 : 0);
    EXPECT_EQ(reader.Samples("rules", "threads").size(), ticks);
    if (run.services.empty()) continue;
    for (const SnapshotAtUnits& snapshot : run.services[0].snapshots)
      EXPECT_EQ(snapshot.problem, "");
  }
}

TEST_F(RunStore, NeverOverwritesARun) {
  RunWriter::Create(place_ / "run", Description());
  EXPECT_THAT(
      ErrorOf([&] { RunWriter::Create(place_ / "run", Description()); }),
      HasSubstr("already holds a run"));
}

TEST_F(RunStore, NamesAFolderThatCannotBeMade) {
  std::ofstream(place_ / "file") << "x";
  EXPECT_THAT(ErrorOf([&] { RunWriter::Create(place_ / "file" / "run", {}); }),
              HasSubstr("cannot make the run folder"));
}

TEST_F(RunStore, RefusesWhatIsNotARun) {
  EXPECT_THAT(ErrorOf([&] { RunReader reader(place_ / "absent"); }),
              HasSubstr("is not a run folder"));
  EXPECT_THAT(ErrorOf([&] { RunReader reader(place_); }),
              HasSubstr("is not a run folder"));
  std::ofstream(place_ / "run.json") << "{ \"schema\": ";
  EXPECT_THAT(ErrorOf([&] { RunReader reader(place_); }),
              HasSubstr("not valid JSON"));
  std::ofstream(place_ / "run.json") << "[]";
  EXPECT_THAT(ErrorOf([&] { RunReader reader(place_); }),
              HasSubstr("does not describe a run"));
  std::ofstream(place_ / "run.json") << "{}";
  std::ofstream(place_ / "run.db") << std::string(5000, 'x');
  EXPECT_THAT(ErrorOf([&] { RunReader reader(place_); }),
              HasSubstr("not a whole run database"));
}

TEST_F(RunStore, OpensARunThatWasKilledBeforeItsFirstRow) {
  std::ofstream(place_ / "run.json") << "{}";
  EXPECT_TRUE(RunReader(place_).Services().empty());
  std::ofstream(place_ / "run.db") << "";
  EXPECT_TRUE(RunReader(place_).Services().empty());
}

TEST_F(RunStore, TellsADamagedSnapshotAndKeepsTheRest) {
  fs::path folder = place_ / "run";
  {
    RunWriter writer = RunWriter::Create(folder, Description());
    writer.AddService({"../rules", 1, 2, "/proc"});
    for (int i = 0; i < 3; ++i)
      writer.AddSnapshot(Record("../rules", i), Report());
  }
  std::ofstream(folder / "snapshots/___rules-0001.json") << "{}";
  fs::remove(folder / "snapshots/___rules-0002.json");
  RunFacts run = LoadRunFacts(folder);
  const auto& snapshots = run.services[0].snapshots;
  ASSERT_EQ(snapshots.size(), 3);
  EXPECT_TRUE(snapshots[0].report.is_object());
  EXPECT_THAT(snapshots[1].problem, HasSubstr("SHA-256"));
  EXPECT_TRUE(snapshots[1].report.is_null());
  EXPECT_THAT(snapshots[2].problem, HasSubstr("No such file"));
}

TEST_F(RunStore, DoesNotReadOutsideOfTheFolder) {
  RunWriter writer = RunWriter::Create(place_ / "run", Description());
  RunReader reader(place_ / "run");
  for (const char* file : {"/etc/passwd", "../other.json"}) {
    SnapshotRecord record;
    record.file = file;
    EXPECT_THAT(ErrorOf([&] { reader.ReadSnapshot(record); }),
                HasSubstr("outside of the run folder"));
  }
}

TEST_F(RunStore, LeavesOutFiguresThatAreNoNumbers) {
  RunWriter writer = RunWriter::Create(place_ / "run", Description());
  Sample sample = Tick(1)[0];
  sample.value = std::numeric_limits<double>::quiet_NaN();
  writer.AddSamples({sample});
  EXPECT_TRUE(RunReader(place_ / "run").Samples("rules", kAnon).empty());
}

TEST_F(RunStore, LosesNothingCommittedWhenTheDiskIsFull) {
  fs::path disk = place_ / "disk";
  if (!Mount(disk, 0, "size=400k")) GTEST_SKIP() << "mounting is not allowed";
  RunWriter writer = RunWriter::Create(disk / "run", Description());
  writer.AddService({"rules", 1, 2, "/proc"});
  int64_t committed = 0;
  std::string said = ErrorOf([&] {
    for (;; ++committed) writer.AddSamples(Tick(committed));
  });
  EXPECT_THAT(said, HasSubstr("run.db"));
  EXPECT_THAT(said, HasSubstr("full"));
  EXPECT_THAT(said, HasSubstr("free space"));
  said = ErrorOf([&] {
    for (;;) writer.AddSnapshot(Record("rules"), std::string(9000, ' '));
  });
  EXPECT_THAT(said, HasSubstr("free space"));
  EXPECT_EQ(RunReader(disk / "run").Samples("rules", kAnon).size(),
            static_cast<size_t>(committed));
  for (const auto& entry : fs::directory_iterator(disk / "run" / "snapshots"))
    EXPECT_NE(entry.path().extension(), ".part");
}

TEST_F(RunStore, ReadsARunWithItsLogFromAReadOnlyPlace) {
  fs::path disk = place_ / "disk";
  if (!Mount(disk, 0, "size=8m")) GTEST_SKIP() << "mounting is not allowed";
  InKilledChild(
      [&](int ready) {
        RunWriter writer = RunWriter::Create(disk / "run", Description());
        for (int tick = 0; tick < 5; ++tick) writer.AddSamples(Tick(tick));
        SayReady(ready);
        pause();
      },
      true, 0);
  {
    RunWriter writer = RunWriter::Create(disk / "whole", Description());
    writer.AddSamples(Tick(1));
    writer.Finish();
  }
  ASSERT_GT(fs::file_size(disk / "run" / "run.db-wal"), 0);
  fs::remove(disk / "run" / "run.db-shm");
  ASSERT_EQ(mount("none", disk.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, ""),
            0);
  EXPECT_EQ(RunReader(disk / "run").Samples("rules", kAnon).size(), 5);
  EXPECT_EQ(RunReader(disk / "whole").Samples("rules", kAnon).size(), 1);
}

TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(Sha256(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(WriteFileWhole, ReplacesTheFileAndLeavesNoOther) {
  std::string name = (fs::temp_directory_path() / "files-XXXXXX");
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  fs::path folder = name;
  WriteFileWhole(folder / "a", "one");
  WriteFileWhole(folder / "a", "two");
  EXPECT_EQ(ReadFileWhole(folder / "a"), "two");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace collector
