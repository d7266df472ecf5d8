#include "injector/machine_checks.h"

#include <gmock/gmock.h>
#include <linux/capability.h>

#include "tests/injector/fake_tree.h"

namespace injector {
namespace {

using testing::HasSubstr;
using State = Check::State;

constexpr char kV2[] =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr char kV1[] =
    "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
constexpr char kHybrid[] =
    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

Rights RightsOf(uid_t uid, std::optional<int> scope, bool may_trace) {
  Rights rights;
  rights.uid = uid;
  rights.yama_scope = scope;
  if (may_trace) rights.capabilities = 1ull << CAP_SYS_PTRACE;
  return rights;
}

TEST(CheckCgroups, Version2WithItsMemoryController) {
  FakeTree tree;
  tree.Write("proc/self/mountinfo", kV2);
  tree.Write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
  Check check = CheckCgroups(tree.root());
  EXPECT_EQ(check.state, State::kOk);
  EXPECT_EQ(check.finding, "version 2 at /sys/fs/cgroup");
}

TEST(CheckCgroups, Version2WithoutMemoryIsLimited) {
  FakeTree tree;
  tree.Write("proc/self/mountinfo", kV2);
  tree.Write("sys/fs/cgroup/cgroup.controllers", "cpu pids\n");
  Check check = CheckCgroups(tree.root());
  EXPECT_EQ(check.state, State::kLimited);
  EXPECT_THAT(check.remedy, HasSubstr("delegate"));
}

TEST(CheckCgroups, Version1AndHybridCountMemoryByVersion1) {
  FakeTree tree;
  tree.Write("proc/self/mountinfo", kV1);
  EXPECT_EQ(CheckCgroups(tree.root()).finding,
            "version 1, memory is counted by version 1 at "
            "/sys/fs/cgroup/memory");
  tree.Write("proc/self/mountinfo", kHybrid);
  EXPECT_EQ(CheckCgroups(tree.root()).finding,
            "hybrid (versions 1 and 2), memory is counted by version 1 at "
            "/sys/fs/cgroup/memory");
}

TEST(CheckCgroups, NoneIsMissing) {
  FakeTree tree;
  tree.Write("proc/self/mountinfo", "24 23 0:5 / /proc rw - proc proc rw\n");
  EXPECT_EQ(CheckCgroups(tree.root()).state, State::kMissing);
}

TEST(CheckMemoryFiles, CountsContainersOfVersion2) {
  FakeTree tree;
  tree.Write("proc/self/mountinfo", kV2);
  tree.Write("proc/41/cgroup", "0::/machine/a.scope\n");
  tree.Write("proc/42/cgroup", "0::/machine/b.scope\n");
  tree.Write("sys/fs/cgroup/machine/a.scope/memory.stat",
             "anon 4096\nfile 0\n");
  Check check = CheckMemoryFiles({41}, tree.root());
  EXPECT_EQ(check.state, State::kOk);
  EXPECT_THAT(check.finding, HasSubstr("1 of 1 containers'"));
  check = CheckMemoryFiles({41, 42}, tree.root());
  EXPECT_EQ(check.state, State::kLimited);
  EXPECT_THAT(check.finding, HasSubstr("machine/b.scope/memory.stat"));
  check = CheckMemoryFiles({42}, tree.root());
  EXPECT_EQ(check.state, State::kMissing);
}

TEST(CheckMemoryFiles, HybridReadsVersion1) {
  FakeTree tree;
  tree.Write("proc/self/mountinfo", kHybrid);
  tree.Write("proc/41/cgroup",
             "5:memory:/pod/a\n1:name=systemd:/\n0::/pod/a\n");
  tree.Write("sys/fs/cgroup/unified/pod/a/memory.stat", "anon 4096\n");
  EXPECT_EQ(CheckMemoryFiles({41}, tree.root()).state, State::kMissing);
  tree.Write("sys/fs/cgroup/memory/pod/a/memory.stat", "cache 0\nrss 4096\n");
  EXPECT_EQ(CheckMemoryFiles({41}, tree.root()).state, State::kOk);
}

TEST(CheckMemoryFiles, TheMachinesOwnCgroupIsNoContainers) {
  FakeTree tree;
  tree.Write("proc/self/mountinfo", kHybrid);
  tree.Write("sys/fs/cgroup/memory/memory.stat", "cache 0\nrss 4096\n");
  tree.Write("proc/41/cgroup", "5:memory:/\n0::/\n");
  Check check = CheckMemoryFiles({41}, tree.root());
  EXPECT_EQ(check.state, State::kMissing);
  EXPECT_THAT(check.finding, HasSubstr("process 41, which has no memory"));
  EXPECT_EQ(CheckMemoryFiles({}, tree.root()).state, State::kOk);
}

TEST(CheckPtrace, ReadsYamaAndCapabilities) {
  FakeTree tree;
  tree.Write("proc/self/status", "Name:\tx\nCapEff:\t0000000000080000\n");
  tree.Write("proc/sys/kernel/yama/ptrace_scope", "2\n");
  Rights rights = ReadRights(tree.root());
  EXPECT_EQ(rights.yama_scope, 2);
  EXPECT_TRUE(rights.Has(CAP_SYS_PTRACE));
  EXPECT_FALSE(rights.Has(CAP_SYS_ADMIN));
  EXPECT_FALSE(rights.filtered);
}

TEST(CheckPtrace, EachScopeOfYamaWithAndWithoutTheCapability) {
  struct {
    std::optional<int> scope;
    bool may_trace;
    State state;
    const char* finding;
  } cases[] = {{{}, true, State::kOk, "every process"},
               {{}, false, State::kLimited, "processes of user 1000 only"},
               {0, false, State::kLimited, "ptrace_scope = 0"},
               {1, false, State::kMissing, "only a parent"},
               {1, true, State::kOk, "every process"},
               {2, false, State::kMissing, "only CAP_SYS_PTRACE"},
               {2, true, State::kOk, "every process"},
               {3, true, State::kMissing, "nobody"}};
  for (const auto& one : cases) {
    Check check = CheckPtrace(RightsOf(1000, one.scope, one.may_trace));
    EXPECT_EQ(check.state, one.state) << check.finding;
    EXPECT_THAT(check.finding, HasSubstr(one.finding));
    EXPECT_EQ(check.state == State::kOk, check.remedy.empty());
  }
}

TEST(CheckPtrace, AFilterOfOurOwnForbidsIt) {
  Rights rights = RightsOf(0, {}, true);
  rights.filtered = true;
  EXPECT_EQ(CheckPtrace(rights).state, State::kMissing);
  FakeTree tree;
  tree.Write("proc/self/status", "Seccomp:\t2\nSeccomp_filters:\t1\n");
  EXPECT_EQ(CheckSeccomp(rights, tree.root()).state, State::kLimited);
  rights.filtered = false;
  EXPECT_EQ(CheckSeccomp(rights, tree.root()).state, State::kOk);
}

TEST(WhyRefused, NamesTheScopeAndTheRemedy) {
  EXPECT_THAT(WhyRefused(RightsOf(1000, 1, false)),
              HasSubstr("sysctl kernel.yama.ptrace_scope=0"));
  EXPECT_THAT(WhyRefused(RightsOf(1000, 2, false)), HasSubstr("as root"));
  EXPECT_THAT(WhyRefused(RightsOf(0, 3, true)), HasSubstr("nobody"));
  // What root is refused with Yama at 1 is another module's work.
  EXPECT_THAT(WhyRefused(RightsOf(0, 1, true)), HasSubstr("SELinux"));
}

TEST(CheckProc, HidingOtherUsersIsLimitedAndNoProcIsAnError) {
  FakeTree tree;
  EXPECT_THROW(CheckProc(tree.root()), Error);
  tree.Write("proc/self/status", "Name:\tx\n");
  tree.Write("proc/self/mountinfo",
             "24 23 0:5 / /proc rw,nosuid - proc proc rw,gid=5,hidepid=2\n");
  EXPECT_EQ(CheckProc(tree.root()).state, State::kLimited);
  tree.Write("proc/self/mountinfo",
             "24 23 0:5 / /proc rw,nosuid - proc proc rw\n");
  EXPECT_EQ(CheckProc(tree.root()).state, State::kOk);
}

TEST(CheckEngines, ASentenceIsSplitIntoFindingAndRemedy) {
  std::vector<Check> checks = CheckEngines(
      {{"docker", "/x.sock", "", "the socket cannot be opened; be root"}}, 0);
  ASSERT_EQ(checks.size(), 2u);
  EXPECT_EQ(checks[0].finding, "the socket cannot be opened");
  EXPECT_EQ(checks[0].remedy, "be root");
  EXPECT_EQ(checks[1].name, "podman");
  EXPECT_EQ(checks[1].state, State::kMissing);
}

}  // namespace
}  // namespace injector
