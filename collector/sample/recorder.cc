// One thread records: it alone writes to the run folder. It wakes for the next
// tick, the next look at the committed offset, or the end of a snapshot, which
// a second thread waits for, so that a snapshot does not make a tick late.

#include "collector/sample/recorder.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "collector/error.h"
#include "collector/sample/sampler.h"

namespace collector {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

int64_t WallMs() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

class Recorder {
 public:
  Recorder(const RecordPlan& plan, const RecordHooks& hooks,
           const AgentClient& agent, RunWriter& run, const Interrupt& interrupt)
      : plan_(plan),
        hooks_(hooks),
        agent_(agent),
        run_(run),
        interrupt_(interrupt),
        sampler_(MakeSampler(agent)) {}

  RecordResult Record();

 private:
  int64_t ElapsedMs(steady_clock::time_point now = steady_clock::now()) const {
    return std::chrono::duration_cast<milliseconds>(now - start_).count();
  }
  void Event(const std::string& kind, const std::string& text);
  void TakeTick();
  void TakeUnits();
  void BeginSnapshot(const std::string& trigger);
  void EndSnapshot();
  bool SnapshotIsReady() const;
  bool PartHasPassed();
  bool PlanIsDone();
  /// Until the snapshot under way is written; ticks go on meanwhile.
  void FinishSnapshot();
  void SleepToNextWake();
  void CheckService();
  void Run();
  void EndLoad();

  const RecordPlan& plan_;
  const RecordHooks& hooks_;
  const AgentClient& agent_;
  RunWriter& run_;
  const Interrupt& interrupt_;
  std::unique_ptr<Sampler> sampler_;

  steady_clock::time_point start_ = steady_clock::now();
  steady_clock::time_point next_tick_ = start_;
  steady_clock::time_point next_poll_ = start_;
  steady_clock::time_point last_progress_ = start_;
  steady_clock::time_point last_unit_ = start_;
  int64_t last_sample_ms_ = -1;
  int64_t units_ = 0;
  int parts_passed_ = 0;
  int64_t snapshots_ = 0;

  std::future<std::string> snapshot_;
  SnapshotRecord record_;  // Of the snapshot under way.
};

void Recorder::Event(const std::string& kind, const std::string& text) {
  run_.AddEvent({WallMs(), ElapsedMs(), plan_.service, kind, text});
}

void Recorder::CheckService() {
  if (sampler_->Alive()) return;
  Event("restart", fmt::format("process {} has ended", sampler_->pid()));
  if (hooks_.watch_over) hooks_.watch_over();  // May know why.
  throw Error(fmt::format(
      "the service {} (process {}) ended while it was recorded; the run holds "
      "what was seen until then",
      plan_.service, sampler_->pid()));
}

void Recorder::TakeTick() {
  auto now = steady_clock::now();
  if (now < next_tick_) return;
  int64_t missed = (now - next_tick_) / plan_.interval;
  if (missed > 0) {
    Event("gap", fmt::format("{} ticks of {} ms were missed", missed,
                             plan_.interval.count()));
    next_tick_ += missed * plan_.interval;
  }
  next_tick_ += plan_.interval;
  int64_t wall = WallMs();
  auto figures = sampler_->Read();
  if (!figures) CheckService();
  if (figures->empty()) Event("gap", "the service did not answer in time");
  std::vector<Sample> samples;
  // The store keeps one sample per series and millisecond.
  int64_t elapsed = std::max(ElapsedMs(now), last_sample_ms_ + 1);
  last_sample_ms_ = elapsed;
  auto add = [&](const std::string& series, double value) {
    samples.push_back({wall, elapsed, plan_.service, series, value});
  };
  for (const auto& [series, value] : *figures) add(series, value);
  if (hooks_.units_processed) {
    add(kUnitsProcessed, static_cast<double>(units_));
  }
  if (hooks_.units_sent) {
    add(kUnitsSent, static_cast<double>(hooks_.units_sent()));
  }
  run_.AddSamples(samples);
}

void Recorder::TakeUnits() {
  auto now = steady_clock::now();
  if (now < next_poll_) return;
  next_poll_ = now + plan_.poll;
  CheckService();
  if (hooks_.watch_over) hooks_.watch_over();
  if (hooks_.units_processed) {
    int64_t units = hooks_.units_processed();
    if (units != units_) last_unit_ = now;
    units_ = units;
  }
  if (plan_.stall.count() > 0 && plan_.units > 0 &&
      now - last_unit_ > plan_.stall) {
    int64_t seconds = plan_.stall.count() / 1000;
    throw Error(
        units_ < plan_.units
            ? fmt::format("the service {} has taken no unit for {} s ({} of {} "
                          "done); look into its log",
                          plan_.service, seconds, units_, plan_.units)
            : fmt::format("the service {} took all {} units, but {} s later "
                          "not all are done; look into its log",
                          plan_.service, plan_.units, seconds));
  }
  if (hooks_.progress && now - last_progress_ >= milliseconds(500)) {
    last_progress_ = now;
    hooks_.progress(units_, ElapsedMs());
  }
}

void Recorder::BeginSnapshot(const std::string& trigger) {
  record_ = {WallMs(), ElapsedMs(), plan_.service, units_, trigger, "", ""};
  SnapshotRequest request;
  request.watch = plan_.watch;
  snapshot_ = std::async(std::launch::async,
                         [this, request] { return agent_.Snapshot(request); });
}

bool Recorder::SnapshotIsReady() const {
  return snapshot_.valid() &&
         snapshot_.wait_for(milliseconds(0)) == std::future_status::ready;
}

void Recorder::EndSnapshot() {
  // One failed snapshot must not end a run; the verdict sees the event.
  try {
    run_.AddSnapshot(record_, snapshot_.get());
    ++snapshots_;
  } catch (const std::exception& error) {
    CheckService();
    Event("snapshot_failed", error.what());
    if (record_.trigger == "start") throw;
  }
  if (hooks_.snapshot_taken) hooks_.snapshot_taken(parts_passed_);
}

bool Recorder::PartHasPassed() {
  int64_t whole = plan_.units > 0 ? plan_.units : plan_.longest.count();
  int64_t done = plan_.units > 0 ? units_ : ElapsedMs();
  if (whole == 0) return false;
  auto parts = static_cast<int>(std::min(done, whole) * plan_.parts / whole);
  // The last part is the end, which has its own snapshot.
  parts = std::min(parts, plan_.parts - 1);
  if (parts <= parts_passed_) return false;
  parts_passed_ = parts;
  return true;
}

bool Recorder::PlanIsDone() {
  if (plan_.longest.count() > 0 && ElapsedMs() >= plan_.longest.count()) {
    return true;
  }
  return plan_.units > 0 && units_ >= plan_.units &&
         (!hooks_.settled || hooks_.settled());
}

void Recorder::SleepToNextWake() {
  auto wake = std::min(next_tick_, next_poll_);
  if (snapshot_.valid()) {
    wake = std::min(wake, steady_clock::now() + milliseconds(20));
  }
  interrupt_.SleepUntil(wake);
}

void Recorder::FinishSnapshot() {
  while (snapshot_.valid() && !SnapshotIsReady()) {
    TakeTick();
    // After the interrupt, waits for the answer; that has its own timeout.
    if (interrupt_.requested()) break;
    interrupt_.SleepUntil(
        std::min(next_tick_, steady_clock::now() + milliseconds(20)));
  }
  if (snapshot_.valid()) EndSnapshot();
}

void Recorder::Run() {
  BeginSnapshot("start");
  FinishSnapshot();
  if (hooks_.started) {
    hooks_.started();
    Event("load_started", fmt::format("{} units planned", plan_.units));
  }
  last_unit_ = steady_clock::now();
  while (!interrupt_.requested()) {
    TakeTick();
    TakeUnits();
    if (SnapshotIsReady()) EndSnapshot();
    if (!snapshot_.valid() && PartHasPassed()) BeginSnapshot("tenth");
    if (PlanIsDone()) break;
    SleepToNextWake();
  }
}

void Recorder::EndLoad() {
  if (!hooks_.started) return;
  Event("load_done", fmt::format("{} units processed", units_));
  std::string problem = hooks_.load_problem ? hooks_.load_problem() : "";
  if (!problem.empty()) Event("load_not_reached", problem);
}

RecordResult Recorder::Record() {
  run_.AddService({plan_.service, sampler_->pid(), sampler_->start_ticks(),
                   sampler_->memory_source()});
  Event("start", fmt::format("recording process {} every {} ms",
                             sampler_->pid(), plan_.interval.count()));
  Run();
  FinishSnapshot();
  if (interrupt_.requested()) {
    Event("interrupted", "the recording was interrupted");
  } else {
    EndLoad();
    BeginSnapshot("end");
    FinishSnapshot();
    next_tick_ = std::min(next_tick_, steady_clock::now());
    TakeTick();
    Event("finished", fmt::format("{} units processed", units_));
    run_.Finish();
  }
  return {units_, ElapsedMs(), snapshots_, interrupt_.requested()};
}

}  // namespace

RecordResult Record(const RecordPlan& plan, const RecordHooks& hooks,
                    const AgentClient& agent, RunWriter& run,
                    const Interrupt& interrupt) {
  return Recorder(plan, hooks, agent, run, interrupt).Record();
}

nlohmann::json DescribeHost() {
  utsname system = {};
  uname(&system);
  return {{"system", system.sysname},
          {"release", system.release},
          {"machine", system.machine},
          {"cpus", sysconf(_SC_NPROCESSORS_ONLN)},
          {"memory_bytes", static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) *
                               sysconf(_SC_PAGESIZE)}};
}

std::string UtcNow() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::now()));
}

}  // namespace collector
