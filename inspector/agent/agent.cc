#include "inspector/agent/agent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <limits>
#define JSON_NO_IO
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "inspector/agent/collector_requests.h"
#include "inspector/agent/heap_export.h"
#include "inspector/agent/json_writer.h"
#include "inspector/agent/signal_trigger.h"
#include "inspector/cpython/collector_state.h"

namespace inspector {
namespace {

constexpr char kVersion[] = "0.1.0";
constexpr double kDeadlineSeconds = 120;
constexpr int kNoDescriptorsMs = 1000;
// A forked child that ends or becomes another program before leaves no trace.
constexpr int64_t kChildListensAfterUs = 50'000;
// Whoever has asked nothing for so long goes where others wait to come in.
constexpr int64_t kNoRequestUs = 10'000;
// mallinfo2 holds each malloc arena's lock; after one call this long it is left
// alone unless somebody asks for a snapshot (design, Decisions).
constexpr int64_t kSlowMallocUs = 10'000;

std::string OutputOf(const Settings& settings) {
  if (settings.out_is_stderr) return {};
  return settings.out.empty() ? settings.directory : settings.out;
}

void Drain(const Descriptor& pipe) {
  char bytes[64];
  while (read(pipe.number(), bytes, sizeof bytes) == sizeof bytes) {
  }
}

}  // namespace

void SnapshotOrder::Fulfil(std::string reply) {
  std::lock_guard<std::mutex> lock(mutex_);
  reply_ = std::move(reply);
  done_ = true;
  changed_.notify_all();
}

bool SnapshotOrder::WaitFor(int milliseconds) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                           [this] { return done_; });
}

Agent::Agent(Runtime runtime, Settings settings, std::vector<std::string> path,
             Listening listening)
    : runtime_(std::move(runtime)),
      settings_(std::move(settings)),
      path_(std::move(path)),
      is_forked_(listening == Listening::kLater),
      owner_pid_(getpid()),
      output_(OutputOf(settings_), owner_pid_),
      memory_(settings_.at_percent) {
  for (std::atomic<int>& socket : sockets_) socket.store(-1);
  OpenPipe();
  if (!is_forked_)
    listener_ = Listener(settings_.directory, owner_pid_);
  else
    listen_at_us_ = MonotonicMicroseconds() + kChildListensAfterUs;
  identity_ = {owner_pid_, StartedAt(), ExecutablePath(), runtime_.version,
               runtime_.build};
  if (settings_.every_seconds > 0)
    next_report_us_ = MonotonicMicroseconds() +
                      static_cast<int64_t>(settings_.every_seconds * 1e6);
  if (settings_.signal != 0) {
    std::string refusal = CatchSignal(settings_.signal, wakes_.number(), pipe_,
                                      settings_.children != "none");
    if (!refusal.empty() && !is_forked_) Complain(refusal);
  }
  // Of forked children, which read nothing anew, the parent has said it.
  if (!memory_.reason().empty() && !is_forked_) Complain(memory_.reason());
}

Agent::~Agent() {
  Stop();
  Leave();
}

void Agent::Leave() {
  ReleaseSignal();
  if (getpid() != owner_pid_) return listener_.Close();
  if (!HasDescriptors()) listener_.Abandon();
  listener_.Remove();
  // A child that ends at once has no business in a directory that may be large.
  if (has_cleaned_) RemoveStaleSockets(settings_.directory);
}

void Agent::OpenPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    throw std::runtime_error("pipe: " + std::string(std::strerror(errno)));
  wake_ = Descriptor::AboveStandard(ends[0]);
  wakes_ = Descriptor::AboveStandard(ends[1]);
  if (!wake_.open() || !wakes_.open())
    throw std::runtime_error("pipe: " + std::string(std::strerror(errno)));
  pipe_ = FileId::Of(wake_.number());
}

bool Agent::HasDescriptors() const {
  return pipe_.IsOf(wake_.number()) && pipe_.IsOf(wakes_.number()) &&
         (!listener_.open() || listener_.is_ours());
}

void Agent::Reopen() {
  for (auto& client : clients_) client->connection.Abandon();
  clients_.clear();
  wake_.Abandon();
  wakes_.Abandon();
  listener_.Abandon();
  OpenPipe();
  if (settings_.signal != 0)
    CatchSignal(settings_.signal, wakes_.number(), pipe_,
                settings_.children != "none");
  listen_at_us_ = MonotonicMicroseconds();
}

void Agent::ListenNow() {
  // A fork meanwhile would take the lock on the directory along.
  if (!gate_.Enter(stop_)) return;
  listen_at_us_ = 0;
  // A worker that has become another user has other directories.
  if (settings_.directory_is_default &&
      !ObjectionTo(settings_.directory).empty()) {
    std::string other = DefaultDirectory();
    if (!other.empty()) settings_.directory = other;
  }
  try {
    listener_ = Listener(settings_.directory, owner_pid_);
  } catch (const std::exception& error) {
    // A child that has given up its rights, as servers have many of, need not
    // be told of it each time.
    if (!is_forked_) Complain(error.what());
  }
  gate_.Leave();
}

bool Agent::Start() {
  if (running_) return true;
  stop_.store(false);
  try {
    if (!HasDescriptors()) Reopen();
  } catch (const std::exception&) {  // Python's hooks call this, not a door.
    return false;
  }
  Drain(wake_);
  sigset_t all;
  sigset_t previous;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &previous);  // The thread inherits it.
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, size_t{2} << 20);
  running_ = pthread_create(&thread_, &attributes, Main, this) == 0;
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  if (running_) pthread_setname_np(thread_, "cyclescope");
  return running_;
}

void Agent::Wake() {
  // Else it looks within a tenth of a second, as it does at the collector.
  if (pipe_.IsOf(wakes_.number())) (void)!write(wakes_.number(), "", 1);
}

void Agent::TellToStop() {
  stop_.store(true);
  Wake();
}

std::shared_ptr<SnapshotOrder> Agent::Order(std::vector<std::string> watch) {
  auto order = std::make_shared<SnapshotOrder>(std::move(watch));
  std::lock_guard<std::mutex> lock(orders_mutex_);
  orders_.push_back(order);
  Wake();
  return order;
}

void Agent::Stop() {
  std::lock_guard<std::mutex> alone(stopping_);
  if (!running_) return;
  TellToStop();
  pthread_join(thread_, nullptr);
  Forget();
}

// A join returns when the thread has left our memory, a little before it leaves
// the process (Linux, kernel/exit.c: exit_mm comes before exit_notify). CPython
// 3.12+ reads the kernel's count of threads after a fork and would warn.
void Agent::Forget() {
  constexpr int kMostTries = 10'000;
  timespec pause = {0, 20'000};
  for (int i = 0; i < kMostTries; ++i) {
    if (syscall(SYS_tgkill, owner_pid_, thread_id_.load(), 0) != 0) break;
    nanosleep(&pause, nullptr);
  }
  running_ = false;
}

bool Agent::StopWithin(int milliseconds) {
  // Whoever has the mutex may be waiting for the thread, and the thread for the
  // GIL that our caller holds.
  std::unique_lock<std::mutex> alone(stopping_, std::try_to_lock);
  if (!alone.owns_lock()) return false;
  if (!running_) return true;
  TellToStop();
  timespec until = {};
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += milliseconds * 1'000'000L;
  until.tv_sec += until.tv_nsec / 1'000'000'000L;
  until.tv_nsec %= 1'000'000'000L;
  if (pthread_timedjoin_np(thread_, nullptr, &until) != 0) return false;
  Forget();
  return true;
}

void Agent::AbandonInChild() {
  running_ = false;
  if (!HasDescriptors()) return;  // They are not here, or another's.
  listener_.Close();
  wake_.Close();
  wakes_.Close();
  // The list may have been changing at the fork if the thread ran.
  for (std::atomic<int>& socket : sockets_)
    if (socket.load() >= 0) close(socket.load());
}

void* Agent::Main(void* agent) {
  // Not noexcept and no catch-all: see TakeChildSnapshot.
  auto& self = *static_cast<Agent*>(agent);
  self.thread_id_.store(static_cast<int>(syscall(SYS_gettid)));
  try {
    self.Loop();
  } catch (const std::exception& error) {
    Complain(std::string("the agent thread ended: ") + error.what());
  }
  return nullptr;
}

int Agent::PollTimeoutMs() const {
  bool output = std::any_of(
      clients_.begin(), clients_.end(),
      [](const auto& client) { return client->connection.has_output(); });
  bool request = std::any_of(
      clients_.begin(), clients_.end(),
      [](const auto& client) { return client->connection.has_line(); });
  int64_t wait_us = request ? 0 : output ? 500'000 : -1;
  int64_t now = MonotonicMicroseconds();
  auto wake_at = [&](int64_t moment_us) {
    int64_t until = std::max<int64_t>(0, moment_us - now);
    wait_us = wait_us < 0 ? until : std::min(wait_us, until);
  };
  if (next_report_us_ > 0) wake_at(next_report_us_);
  if (memory_.watches()) wake_at(memory_.next_us());
  if (listen_at_us_ > 0) wake_at(listen_at_us_);
  if (accept_at_us_ > now) wake_at(accept_at_us_);
  wake_at(clock_.next_us());
  if (wait_us <= 0) return static_cast<int>(wait_us);
  return static_cast<int>(
      std::min<int64_t>(wait_us / 1000 + 1, std::numeric_limits<int>::max()));
}

void Agent::Loop() {
  std::vector<pollfd> waits;
  while (!stop_.load()) {
    if (listen_at_us_ > 0 && MonotonicMicroseconds() >= listen_at_us_)
      ListenNow();
    if (listener_.open() && !std::exchange(has_cleaned_, true) &&
        gate_.Enter(stop_)) {
      RemoveStaleSockets(settings_.directory);
      gate_.Leave();
    }
    // Requests that a stop interrupted come first.
    for (auto& client : clients_)
      if (!client->request.empty() && !Serve(*client, 0)) client.reset();
    std::erase(clients_, nullptr);
    ServeOrders();
    ServeTriggers();
    if (MonotonicMicroseconds() >= clock_.next_us()) LookAtCollector();
    if (stop_.load()) return;
    waits.clear();
    waits.push_back({wake_.number(), POLLIN, 0});
    bool accepts = MonotonicMicroseconds() >= accept_at_us_;
    waits.push_back({listener_.number(), short(accepts ? POLLIN : 0), 0});
    for (const auto& client : clients_) {
      short events = client->connection.ended() ? 0 : POLLIN;
      if (client->connection.has_output()) events |= POLLOUT;
      waits.push_back({client->connection.number(), events, 0});
    }
    int ready = poll(waits.data(), waits.size(), PollTimeoutMs());
    if (ready < 0 && errno != EINTR) return;
    if (stop_.load()) return;
    if (!HasDescriptors()) {
      Reopen();
      continue;
    }
    if (waits[0].revents != 0) Drain(wake_);
    for (size_t i = 0; i < clients_.size(); ++i)
      if (!Serve(*clients_[i], waits[i + 2].revents)) clients_[i].reset();
    std::erase(clients_, nullptr);
    if ((waits[1].revents & POLLIN) != 0) Accept();
  }
}

void Agent::LookAtCollector() {
  CollectorMoment moment;
  moment.collecting = IsCollecting(runtime_);
  // In this order, so that none can end unseen between the two.
  std::atomic_thread_fence(std::memory_order_acquire);
  CollectorState state = ReadCollectorState(runtime_);
  for (const CollectorState::Generation& generation : state.stats)
    moment.collections += generation.collections;
  moment.full_collections = state.stats[2].collections;
  moment.nearness = state.nearness_of_full();
  clock_.Look(MonotonicMicroseconds(), moment);
}

bool Agent::MakeRoom() {
  if (clients_.size() < kMostClients) return true;
  int64_t now = MonotonicMicroseconds();
  auto idle =
      std::find_if(clients_.begin(), clients_.end(), [now](const auto& client) {
        return client->request.empty() && !client->connection.has_output() &&
               !client->connection.has_input() &&
               now - client->idle_since_us >= kNoRequestUs;
      });
  if (idle == clients_.end()) {
    accept_at_us_ = now + kNoRequestUs;
    return false;
  }
  clients_.erase(idle);
  return true;
}

void Agent::Accept() {
  accept_at_us_ = 0;
  if (!MakeRoom()) return;
  Descriptor socket = Descriptor::AboveStandard(accept4(
      listener_.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.open() && errno != EAGAIN) {
    // Out of descriptors, most likely: the client stays in the queue and poll
    // would return at once for ever.
    pollfd stop = {wake_.number(), POLLIN, 0};
    poll(&stop, 1, kNoDescriptorsMs);
  }
  if (!socket.open()) return;
  Connection connection(std::move(socket));
  std::string refusal = connection.Refusal();
  if (!refusal.empty()) {
    connection.Queue(ErrorReport(refusal));
    connection.Flush();
    return;
  }
  auto slot = std::find(sockets_.begin(), sockets_.end(), -1);
  clients_.push_back(std::make_unique<Client>(std::move(connection), *slot));
  clients_.back()->idle_since_us = MonotonicMicroseconds();
}

bool Agent::Serve(Client& client, short events) {
  if (!client.connection.Flush()) return false;
  if (client.request.empty()) {
    // Who sends all and shuts its end still wants what is on the way to it.
    if (client.connection.ended() && !client.connection.has_line())
      return client.connection.has_output();
    if ((events & (POLLIN | POLLHUP | POLLERR)) == 0 &&
        !client.connection.has_line())
      return true;
    switch (client.connection.Read(client.request)) {
      case Connection::Input::kClosed:
        return false;
      case Connection::Input::kEnded:
        return client.connection.has_output();
      case Connection::Input::kNothing:
        return true;
      case Connection::Input::kLine:
        client.descriptor = client.connection.TakeDescriptor();
        if (client.request.empty()) client.request = " ";
        break;
    }
  }
  std::string reply = Answer(client.request, client.descriptor);
  if (reply.empty()) return true;  // Told to stop: again after the restart.
  client.request.clear();
  client.descriptor.Close();
  client.connection.Queue(reply);
  client.idle_since_us = MonotonicMicroseconds();
  return client.connection.Flush();
}

std::string Agent::Answer(const std::string& request,
                          const Descriptor& descriptor) {
  nlohmann::json question =
      nlohmann::json::parse(request, nullptr, /*allow_exceptions=*/false);
  if (!question.is_object() || !question.contains("request") ||
      !question["request"].is_string())
    return ErrorReport(
        "the request is no JSON object with a \"request\"; send for example "
        "{\"request\":\"ping\"}");
  auto name = question["request"].get<std::string>();
  if (name == "ping") return PingReport();
  if (name == "sample") return SampleReport(runtime_);
  if (name == "gc_stats") return CollectorReport(runtime_);
  if (name == "settings") return SettingsReport();
  if (name == "collect" || name == "trim" || name == "oracle") {
    if (!settings_.Allows(name))
      return ErrorReport("the request '" + name +
                         "' changes the process; start the service with "
                         "CYCLESCOPE_ALLOW=" +
                         name);
    if (name == "trim") return TrimRequest();
    if (!gate_.Enter(stop_)) return {};
    std::string reply =
        name == "collect" ? CollectRequest() : Oracle(descriptor);
    gate_.Leave();
    return reply;
  }
  if (name != "snapshot")
    return ErrorReport(
        "the request '" + name.substr(0, 64) +
        "' is not known; ping, snapshot, sample, gc_stats, settings, collect "
        "and trim are");
  std::vector<std::string> watch = settings_.watch;
  if (question.contains("watch")) {
    if (!question["watch"].is_array())
      return ErrorReport("\"watch\" must be an array of type names");
    watch.clear();
    for (const nlohmann::json& type : question["watch"]) {
      if (!type.is_string())
        return ErrorReport("\"watch\" must be an array of type names");
      watch.push_back(type.get<std::string>());
    }
  }
  bool ids = question.contains("ids") && question["ids"] == true;
  bool whole = question.contains("heap") && question["heap"] == true;
  if (ids && whole)
    return ErrorReport(
        "\"ids\" and \"heap\" need a descriptor each: ask for one at a time");
  if ((ids || whole) && !descriptor.open())
    return ErrorReport(
        (ids ? "\"ids\"" : "\"heap\"") +
        std::string(" needs an open, writable descriptor sent along with it"));
  ExtraOutput extra;
  if (ids) extra = {ExtraOutput::Kind::kIds, descriptor.number()};
  if (whole) extra = {ExtraOutput::Kind::kHeap, descriptor.number()};
  return Snapshot(watch, extra, "request");
}

// The GIL is held from before the snapshot until after the collection: to take
// and release it inside of that changes nothing.
std::string Agent::Oracle(const Descriptor& descriptor) {
  if (!descriptor.open())
    return ErrorReport("\"oracle\" needs a writable descriptor for the ids");
  PyGILState_STATE gil = PyGILState_Ensure();
  std::string report;
  nlohmann::json garbage;
  {
    GarbageOracle oracle;
    ExtraOutput ids = {ExtraOutput::Kind::kIds, descriptor.number()};
    report = Snapshot(settings_.watch, ids, "oracle");
    if (!report.empty()) garbage = oracle.Collect();
  }
  PyGILState_Release(gil);
  if (report.empty()) return {};
  return "{\"report\":" + report + ",\"garbage\":" + garbage.dump() + "}";
}

std::string Agent::Snapshot(const std::vector<std::string>& watch,
                            const ExtraOutput& extra, const char* trigger) {
  off_t start =
      extra.descriptor < 0 ? -1 : lseek(extra.descriptor, 0, SEEK_CUR);
  // Told to stop: all again after the restart. What has been written by then
  // must not stand before what will be.
  auto again = [&]() -> std::string {
    if (extra.descriptor < 0 ||
        (start >= 0 && ftruncate(extra.descriptor, start) == 0 &&
         lseek(extra.descriptor, start, SEEK_SET) == start))
      return {};
    return ErrorReport(
        "the process forked or is ending, and what had been written to the "
        "pipe cannot be taken back; try again");
  };
  LookAtCollector();
  SnapshotRequest request = {watch, extra,     kDeadlineSeconds,
                             true,  crashing_, clock_.past()};
  bool asked = std::strcmp(trigger, "request") == 0 ||
               std::strcmp(trigger, "python") == 0;
  request.ask_malloc = !malloc_is_slow_ || asked;
  if (std::strcmp(trigger, "oracle") != 0) request.gate = &gate_;
  ChildSnapshot snapshot;
  constexpr int kMostCrashes = 8;
  for (int i = 0; i <= kMostCrashes; ++i) {
    request.skip = crashing_;
    snapshot = TakeChildSnapshot(runtime_, request, guard_, stop_);
    if (!snapshot.crashing) break;
    crashing_.push_back(*snapshot.crashing);
  }
  if (request.ask_malloc)
    malloc_is_slow_ =
        snapshot.malloc && snapshot.malloc->took_us > kSlowMallocUs;
  if (snapshot.aborted) return again();
  if (!snapshot.error.empty()) return ErrorReport(snapshot, trigger);
  if (packages_.empty()) packages_ = ListPackages(path_);
  std::string report = SnapshotReport(identity_, packages_, trigger, snapshot);
  if (extra.kind == ExtraOutput::Kind::kHeap &&
      !EndHeapFile(extra.descriptor, snapshot.heap_file, report,
                   MonotonicMicroseconds() +
                       static_cast<int64_t>(kDeadlineSeconds * 1e6),
                   stop_)) {
    if (stop_.load()) return again();
    return ErrorReport(
        "the heap file could not be ended; see whether the disk is full");
  }
  return report;
}

void Agent::ServeOrders() {
  for (;;) {
    std::shared_ptr<SnapshotOrder> order;
    {
      std::lock_guard<std::mutex> lock(orders_mutex_);
      if (orders_.empty()) return;
      order = orders_.front();
    }
    std::string reply = Snapshot(order->watch(), {}, "python");
    if (reply.empty()) return;  // Stopped: again after the restart.
    order->Fulfil(std::move(reply));
    std::lock_guard<std::mutex> lock(orders_mutex_);
    orders_.pop_front();
  }
}

void Agent::ServeTriggers() {
  signal_is_due_ |= TakeSignal();
  if (signal_is_due_ && WriteReport("signal")) signal_is_due_ = false;
  int64_t now = MonotonicMicroseconds();
  if (memory_.watches() && now >= memory_.next_us())
    memory_is_due_ |= memory_.Look(now);
  if (memory_is_due_ && WriteReport("memory")) memory_is_due_ = false;
  if (next_report_us_ > 0 && now >= next_report_us_ &&
      WriteReport("interval")) {
    auto step = static_cast<int64_t>(settings_.every_seconds * 1e6);
    now = MonotonicMicroseconds();
    while (next_report_us_ <= now) next_report_us_ += step;
  }
}

bool Agent::WriteReport(const char* trigger) {
  std::string report = Snapshot(settings_.watch, {}, trigger);
  if (report.empty()) return false;
  output_.Write(report, trigger);
  return true;
}

std::string Agent::PingReport() const {
  char memory[1024];
  JsonWriter json(memory, sizeof memory);
  json.BeginObject();
  json.Field("pong", true);
  json.Field("pid", owner_pid_);
  json.Field("pid_in_namespace", owner_pid_);
  json.Field("python", runtime_.version);
  json.Field("version", kVersion);
  json.EndObject();
  return std::string(json.text());
}

std::string Agent::SettingsReport() const {
  // An environment variable has at most 128 KiB, and a character six of JSON.
  std::string memory(1 << 20, '\0');
  JsonWriter json(memory.data(), memory.size());
  json.BeginObject();
  json.Key("settings").BeginObject();
  json.Field("dir", settings_.directory);
  std::string out = OutputOf(settings_);
  json.Field("out", out.empty() ? "stderr" : out);
  json.Field("keep", ReportOutput::kKeep);
  json.Field("every_ms", static_cast<int64_t>(settings_.every_seconds * 1000));
  json.Key("watch").BeginArray();
  for (const std::string& type : settings_.watch) json.String(type);
  json.EndArray();
  json.Field("children", settings_.children);
  json.Field("signal", SignalName(settings_.signal));
  json.Field("signal_taken", SignalIsTaken());
  char at[32];
  std::snprintf(at, sizeof at, "%g%%", settings_.at_percent);
  json.Field("at", memory_.watches() ? at : memory_.reason());
  json.Field("memory_percent", static_cast<int>(memory_.percent()));
  json.Key("allow").BeginArray();
  for (const std::string& request : settings_.allow) json.String(request);
  json.EndArray();
  json.EndObject();
  json.EndObject();
  return std::string(json.text());
}

}  // namespace inspector
