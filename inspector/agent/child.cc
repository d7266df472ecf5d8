// The pause is one clone(): the GIL is taken, signals are blocked, the process
// is copied, and everything else happens in the copy. The child may not lock,
// allocate by malloc or change a reference count: other threads were stopped
// anywhere, also inside malloc (measured: a raw-clone child that calls malloc
// hangs). It has its own arena and plain system calls.

#include "inspector/agent/child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "inspector/agent/heap_report.h"
#include "inspector/agent/process_facts.h"

namespace inspector {
namespace {

enum class ChildStatus : int {
  kRunning,
  kDone,
  kArenaExhausted,  // By the limit that we set.
  kNoMemory,        // By the kernel.
  kReportTooLarge,
  kExtraNotWritten,
  kCrashed,
  kParentGone,
};

// Address space, not memory: the findings, then the sorted arenas.
constexpr size_t kReportBytes = size_t{1} << 28;
constexpr size_t kMostArenas = size_t{1} << 21;
constexpr size_t kSharedBytes = kReportBytes + kMostArenas * sizeof(uintptr_t);
constexpr size_t kTypeNameBytes = 256;
constexpr size_t kMostModules = 8192;

/// Written by the child, read by the agent after the child's end.
struct Shared {
  std::atomic<ChildStatus> status;
  int64_t peak_bytes;
  int64_t cow_bytes;
  int signal;
  HeapSections sections;
  bool has_pools;
  PoolFigures pools;
  ResidentMemory resident;
  char crashed_type[kTypeNameBytes];
  const PyObject* skip;  // What to leave out so that it goes well, or null.
  char skip_c_name[kTypeNameBytes];
};

char* ReportOf(Shared* shared) { return reinterpret_cast<char*>(shared + 1); }
std::span<uintptr_t> ArenasOf(Shared* shared) {
  char* end = reinterpret_cast<char*>(shared) + kReportBytes;
  return {reinterpret_cast<uintptr_t*>(end), kMostArenas};
}

/// Memory that both see; gone with the object.
class SharedMemory {
 public:
  SharedMemory()
      : shared_(static_cast<Shared*>(
            mmap(nullptr, kSharedBytes, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {}
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() {
    if (ok()) munmap(shared_, kSharedBytes);
  }
  bool ok() const { return shared_ != MAP_FAILED; }
  /// Once our own child has it, the service's shall not.
  void HideFromForks() { madvise(shared_, kSharedBytes, MADV_DONTFORK); }
  Shared* get() const { return shared_; }

 private:
  Shared* shared_;
};

// ---------------------------------------------------------------------------
// In the child. Globals: it is alone in its copy of the process.

Shared* child_shared = nullptr;
const HeapReport* child_report = nullptr;
const heap::Arena* child_arena = nullptr;

[[noreturn]] void EndChild(ChildStatus status) {
  child_shared->status.store(status, std::memory_order_release);
  syscall(SYS_exit_group, 0);
  __builtin_unreachable();
}

void OnExhausted() {
  EndChild(child_arena->limit_reached() ? ChildStatus::kArenaExhausted
                                        : ChildStatus::kNoMemory);
}

/// The type to leave out next time: the nearest one made in C, since a class
/// made by Python code has its tp_traverse call that of its base. Null for the
/// interpreter's own: without its dicts and lists nothing would be left, and
/// what crashes there is a broken object.
const PyObject* TypeToSkip(const Runtime& runtime, const PyObject* type) {
  const PyObject* at = BaseInC(runtime, type);
  if (at == nullptr) return type;
  const char* name = ReadPointer(at, runtime.layout->type_name);
  bool is_own = std::strchr(name, '.') == nullptr;
  if (!is_own) return at;
  return at == type ? nullptr : type;
}

void CopyName(std::string_view name, char* to) {
  std::memcpy(to, name.data(), std::min(name.size(), kTypeNameBytes - 1));
}

void OnCrash(int signal) {
  child_shared->signal = signal;
  if (child_report != nullptr) {
    const HeapWalk& walk = child_report->walk();
    const TypeTable& types = child_report->types();
    if (walk.traversing() < types.size()) {
      const TypeInfo& info = types[walk.traversing()];
      CopyName(child_report->text(info.name), child_shared->crashed_type);
      const Runtime& runtime = child_report->runtime();
      if (const PyObject* skip = TypeToSkip(runtime, info.type)) {
        CopyName(ReadPointer(skip, runtime.layout->type_name),
                 child_shared->skip_c_name);
        child_shared->skip = skip;
      }
    }
  }
  EndChild(ChildStatus::kCrashed);
}

/// Foreign code that crashes in our copy must be named, not seen by the
/// service's own handlers.
void CatchCrashes() {
  constexpr size_t kStackBytes = 1 << 16;
  static char stack[kStackBytes];
  stack_t alternative = {};
  alternative.ss_sp = stack;
  alternative.ss_size = kStackBytes;
  sigaltstack(&alternative, nullptr);
  struct sigaction action = {};
  action.sa_handler = OnCrash;
  action.sa_flags = SA_ONSTACK | SA_RESETHAND;
  sigset_t crashes;
  sigemptyset(&crashes);
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    sigaction(number, &action, nullptr);
    sigaddset(&crashes, number);
  }
  sigprocmask(SIG_UNBLOCK, &crashes, nullptr);
}

/// A descriptor kept open would outlive a restart of the service (listening
/// sockets, locks, pipes).
void CloseDescriptors(int keep) {
  auto close_range = [](unsigned first, unsigned last) {
    if (first > last) return true;
    return syscall(SYS_close_range, first, last, 0) == 0;
  };
  bool closed = keep < 0 ? close_range(0, ~0u)
                         : (keep == 0 || close_range(0, unsigned(keep) - 1)) &&
                               close_range(unsigned(keep) + 1, ~0u);
  if (closed) return;
  struct rlimit limit = {};  // Kernels before 5.9.
  getrlimit(RLIMIT_NOFILE, &limit);
  auto count = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
  for (int descriptor = 0; descriptor < count; ++descriptor)
    if (descriptor != keep) close(descriptor);
}

/// First to go when memory is short. Last to run when the service wants to, but
/// not where memory is short: while it lives, or waits for a processor to die
/// on, each page that the service writes is copied.
void StepBack(bool memory_is_short) {
  int descriptor = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (descriptor >= 0) {
    (void)!write(descriptor, "1000", 4);
    close(descriptor);
  }
  if (!memory_is_short) setpriority(PRIO_PROCESS, 0, 10);
}

/// Private pages of this process, -1 if they can't be read.
int64_t PrivateBytes() {
  int descriptor = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return -1;
  char text[4096];
  ssize_t size = read(descriptor, text, sizeof text - 1);
  close(descriptor);
  if (size <= 0) return -1;
  text[size] = 0;
  int64_t bytes = 0;
  for (const char* name : {"Private_Clean:", "Private_Dirty:"}) {
    const char* at = std::strstr(text, name);
    if (at == nullptr) return -1;
    int64_t kib = 0;
    for (at += std::strlen(name); *at == ' '; ++at) continue;
    for (; *at >= '0' && *at <= '9'; ++at) kib = kib * 10 + (*at - '0');
    bytes += kib * 1024;
  }
  return bytes;
}

[[noreturn]] void ChildMain(const Runtime& runtime,
                            const HeapQuestion& question, Shared* shared,
                            pid_t parent, uint64_t memory_limit,
                            bool memory_is_short) {
  child_shared = shared;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) EndChild(ChildStatus::kParentGone);
  CatchCrashes();
  CloseDescriptors(question.extra.descriptor);
  StepBack(memory_is_short);
  Allocator& allocator = *runtime.allocator;
  allocator.Open(question.arenas, ArenasOf(shared), question.modules);
  shared->resident = ReadResidentMemory(allocator, question.modules);
  shared->has_pools = allocator.has_arenas();
  if (shared->has_pools) {
    Residence residence;
    shared->pools = allocator.Count(residence);
  }
  heap::Arena arena(memory_limit, OnExhausted,
                    /*large_pages=*/!memory_is_short, question.address_space);
  child_arena = &arena;
  HeapReport report(runtime, question, arena);
  child_report = &report;
  shared->sections =
      report.Write(ReportOf(shared), kReportBytes - sizeof(Shared));
  if (!shared->sections.complete) EndChild(ChildStatus::kReportTooLarge);
  const HeapSections& sections = shared->sections;
  shared->peak_bytes =
      static_cast<int64_t>(arena.peak_bytes() + sections.members_size +
                           sections.functions_size + sections.limits_size);
  // Private pages are our own and those that the service has written since;
  // giving most of ours back tells them apart.
  arena.ReleaseReserved();
  int64_t rest = PrivateBytes();
  shared->cow_bytes =
      rest < 0 ? -1
               : std::max<int64_t>(
                     0, rest - static_cast<int64_t>(arena.block_bytes()));
  EndChild(shared->sections.extra_written ? ChildStatus::kDone
                                          : ChildStatus::kExtraNotWritten);
}

// ---------------------------------------------------------------------------
// In the service.

/// What one attempt to clone gave. Trivial on purpose, see the header.
struct CloneResult {
  pid_t child;
  int error;
  bool collecting;
  bool several_interpreters;
  bool refused;
  int64_t gil_wait_us;
  int64_t pause_us;
};

/// Holds the GIL for as long as it takes to copy the process.
CloneResult Clone(const Runtime& runtime, HeapQuestion& question,
                  Shared* shared, Guard& guard, const std::atomic<bool>& stop) {
  CloneResult result = {};
  result.child = -1;
  pid_t self = getpid();
  int64_t before = MonotonicMicroseconds();
  PyGILState_STATE gil = PyGILState_Ensure();
  int64_t held = MonotonicMicroseconds();
  result.gil_wait_us = held - before;
  result.collecting = IsCollecting(runtime);
  // 3.12+: another interpreter may have a GIL of its own, which we don't hold.
  result.several_interpreters =
      runtime.layout->minor >= 12 &&
      runtime.interpreter_next(runtime.interpreter_head()) != nullptr;
  bool may_clone =
      !result.collecting && !result.several_interpreters && !stop.load();
  if (may_clone)
    result.refused = !guard.Allows(runtime.allocator->UsedPoolBytes());
  if (may_clone && !result.refused) {
    sigset_t all;
    sigset_t previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    question.stacks.count = 0;
    NoteStackPointers(runtime, question.stacks);
    question.arenas = runtime.allocator->Now();
    result.child = static_cast<pid_t>(syscall(SYS_clone, 0, 0, 0, 0, 0));
    result.error = errno;
    if (result.child == 0)
      ChildMain(runtime, question, shared, self, guard.child_limit(),
                guard.figures().decision != GuardFigures::Decision::kFree);
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  }
  PyGILState_Release(gil);
  result.pause_us = MonotonicMicroseconds() - held;
  return result;
}

void SleepUs(int64_t microseconds) {
  timespec time = {microseconds / 1'000'000, microseconds % 1'000'000 * 1000};
  nanosleep(&time, nullptr);
}

/// The child's memory goes when the kernel has taken it apart, which it does on
/// the child's own processor time. On a busy machine that came too late: the
/// service went on copying until its cgroup was full, and was killed (measured,
/// 600 MiB, three busy threads). process_mrelease, Linux 5.15, takes a dying
/// process apart on ours.
class DyingChild {
 public:
  explicit DyingChild(pid_t child)
      : descriptor_(int(syscall(SYS_pidfd_open, child, 0))) {}
  DyingChild(const DyingChild&) = delete;
  DyingChild& operator=(const DyingChild&) = delete;
  ~DyingChild() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  /// No effect on one that is not dying.
  void Release() const {
    constexpr long kProcessMrelease = 448;  // The same on all machines.
    if (descriptor_ >= 0) syscall(kProcessMrelease, descriptor_, 0);
  }

 private:
  int descriptor_;
};

/// Waits for the child alone (it has no exit signal, so that only __WALL sees
/// it and the service's own wait() does not).
enum class Wait { kEnded, kDeadline, kStopped, kLeft };
Wait WaitForChild(pid_t child, const Shared& shared, int64_t deadline_us,
                  Guard& guard, const std::atomic<bool>& stop) {
  DyingChild dying(child);
  bool stands_still = false;
  for (int64_t pause_us = 1000;;
       pause_us = std::min<int64_t>(pause_us + 1000, 5000)) {
    int status = 0;
    pid_t ended = waitpid(child, &status, __WALL | WNOHANG);
    if (ended == child || (ended < 0 && errno == ECHILD)) return Wait::kEnded;
    if (shared.status.load() != ChildStatus::kRunning) dying.Release();
    int64_t now = MonotonicMicroseconds();
    Guard::Verdict verdict =
        stands_still ? Guard::Verdict::kYield : Guard::Verdict::kGoOn;
    if (now >= guard.next_look_us()) verdict = guard.Look(now);
    bool late = now > deadline_us;
    bool leave = verdict == Guard::Verdict::kLeave;
    if (late || leave || stop.load()) {
      kill(child, SIGKILL);
      dying.Release();
      while (waitpid(child, &status, __WALL) < 0 && errno == EINTR) continue;
      return leave ? Wait::kLeft : late ? Wait::kDeadline : Wait::kStopped;
    }
    bool yield = verdict == Guard::Verdict::kYield;
    if (yield != stands_still) kill(child, yield ? SIGSTOP : SIGCONT);
    stands_still = yield;
    SleepUs(std::clamp<int64_t>(guard.next_look_us() - now, 100, pause_us));
  }
}

std::string SentenceFor(const Shared& shared) {
  switch (shared.status.load(std::memory_order_acquire)) {
    case ChildStatus::kDone:
      return {};
    case ChildStatus::kArenaExhausted:
      return "the snapshot ended itself: it ran out of memory for the heap "
             "graph; free some memory or raise the limit";
    case ChildStatus::kNoMemory:
      return "the snapshot ended itself: the kernel gave it no more memory for "
             "the heap graph; raise the limit of address space (ulimit -v), or "
             "see vm.overcommit_memory";
    case ChildStatus::kReportTooLarge:
      return "the snapshot ended itself: its report would be over " +
             std::to_string(kReportBytes >> 20) + " MiB";
    case ChildStatus::kExtraNotWritten:
      return "what was to be written beside the report could not be written "
             "whole; see whether the disk is full";
    case ChildStatus::kCrashed:
      return "the snapshot crashed (signal " + std::to_string(shared.signal) +
             (shared.crashed_type[0] == 0
                  ? std::string(") while it looked at what it had found")
                  : ") in the tp_traverse of type '" +
                        std::string(shared.crashed_type) + "'") +
             "; the service itself is unharmed";
    case ChildStatus::kParentGone:
    case ChildStatus::kRunning:
      break;
  }
  return "the snapshot's process was ended from outside (killed, or out of "
         "memory); the service itself is unharmed";
}

}  // namespace

ChildSnapshot TakeChildSnapshot(const Runtime& runtime,
                                const SnapshotRequest& request, Guard& guard,
                                const std::atomic<bool>& stop) {
  ChildSnapshot snapshot;
  SharedMemory memory;
  if (!memory.ok()) {
    snapshot.error = "no memory can be shared with the snapshot's process: " +
                     std::string(std::strerror(errno)) +
                     "; raise the limit of address space (ulimit -v)";
    return snapshot;
  }
  std::vector<std::string_view> names(request.watch.begin(),
                                      request.watch.end());
  std::vector<AddressRange> modules(kMostModules);
  modules.resize(ListModuleData(modules));
  std::vector<SkippedType> skip;
  for (const CrashingType& crashing : request.skip)
    skip.push_back({crashing.type, crashing.c_name});
  HeapQuestion question{names,   request.extra, {},          {},
                        modules, skip,          request.past};
  int64_t asked = MonotonicMicroseconds();
  bool holds_gil = request.gate == nullptr;  // Nobody works while we wait.
  for (int64_t wait; !holds_gil && !stop.load() &&
                     (wait = guard.WaitUs(MonotonicMicroseconds())) > 0;)
    SleepUs(std::min<int64_t>(wait, 10'000));
  int64_t waited_ms = (MonotonicMicroseconds() - asked) / 1000;
  snapshot.memory = ReadProcessMemory();
  if (snapshot.memory.address_space_limit)
    question.address_space = static_cast<uint64_t>(
        std::max<int64_t>(0, *snapshot.memory.address_space_limit -
                                 snapshot.memory.address_space.value_or(0)));
  snapshot.cgroup = ReadCgroup();
  guard.Begin(snapshot.memory.anon.value_or(0));
  // As late as possible, so that all figures are of one moment, and after what
  // uses malloc itself.
  snapshot.malloc_reason =
      "mallinfo2 took over 10 ms before and is left to "
      "requests";
  if (request.ask_malloc) {
    snapshot.malloc_reason =
        "another allocator than glibc's serves the process";
    snapshot.malloc = ReadMalloc();
  }

  CloneResult clone = {};
  constexpr int kTries = 200;  // A collection takes seconds at the most.
  for (int i = 0; i < kTries && !stop.load(); ++i) {
    if (request.gate != nullptr && !request.gate->Enter(stop)) break;
    clone = Clone(runtime, question, memory.get(), guard, stop);
    if (request.gate != nullptr) request.gate->Leave();
    if (!clone.collecting) break;
    SleepUs(10'000);
  }
  memory.HideFromForks();
  if (stop.load() && clone.child <= 0) {
    snapshot.aborted = true;
    return snapshot;
  }
  snapshot.gil_wait_us = clone.gil_wait_us;
  snapshot.pause_us = clone.pause_us;
  snapshot.guard = guard.figures();
  snapshot.guard.waited_ms = waited_ms;
  if (clone.refused) {
    snapshot.error = guard.Sentence();
  } else if (clone.several_interpreters) {
    snapshot.error =
        "the process runs sub-interpreters, which may have a GIL of their own; "
        "only processes with one interpreter can be inspected";
  } else if (clone.collecting) {
    snapshot.error =
        "a garbage collection was under way at every try for two seconds; try "
        "again later";
  } else if (clone.child < 0) {
    snapshot.error = "the process cannot be copied: clone: " +
                     std::string(std::strerror(clone.error));
  }
  if (!snapshot.error.empty()) return snapshot;

  int64_t start = MonotonicMicroseconds();
  guard.Started(start, clone.pause_us);
  Wait wait =
      WaitForChild(clone.child, *memory.get(),
                   start + static_cast<int64_t>(request.deadline_seconds * 1e6),
                   guard, stop);
  snapshot.child_ms = (MonotonicMicroseconds() - start) / 1000;
  snapshot.guard = guard.figures();
  snapshot.guard.waited_ms = waited_ms;
  if (wait == Wait::kStopped) {
    snapshot.aborted = true;
  } else if (wait == Wait::kLeft) {
    snapshot.error = guard.Sentence();
  } else if (wait == Wait::kDeadline) {
    snapshot.error =
        "the snapshot was ended after its deadline of " +
        std::to_string(static_cast<int>(request.deadline_seconds)) +
        " s; the service itself is unharmed";
  } else {
    const Shared& shared = *memory.get();
    snapshot.error = SentenceFor(shared);
    if (shared.skip != nullptr)
      snapshot.crashing = {shared.skip, shared.skip_c_name};
    bool exhausted = shared.status.load() == ChildStatus::kArenaExhausted;
    guard.Ended(exhausted ? static_cast<int64_t>(guard.child_limit())
                          : shared.peak_bytes);
    if (snapshot.error.empty()) {
      const HeapSections& sections = shared.sections;
      const char* at = ReportOf(memory.get());
      snapshot.members.assign(at, sections.members_size);
      at += sections.members_size;
      snapshot.functions.assign(at, sections.functions_size);
      snapshot.limits.assign(at + sections.functions_size,
                             sections.limits_size);
      snapshot.heap_file = sections.heap_file;
      snapshot.live = sections.live;
      snapshot.floating = sections.floating;
      snapshot.frozen_garbage = sections.frozen_garbage;
      snapshot.has_sizes = runtime.allocator->has_malloc();
      snapshot.has_pools = shared.has_pools;
      snapshot.pools = shared.pools;
      snapshot.resident = shared.resident;
      snapshot.pools_reason = runtime.allocator->reason();
      if (snapshot.pools_reason.empty())
        snapshot.pools_reason = "pymalloc's table of arenas contradicts itself";
      snapshot.phases = sections.phases;
    }
    snapshot.child_peak_bytes = shared.peak_bytes;
    snapshot.cow_bytes = shared.cow_bytes;
  }
  return snapshot;
}

}  // namespace inspector
