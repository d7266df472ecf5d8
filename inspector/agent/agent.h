#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "inspector/agent/collection_clock.h"
#include "inspector/agent/connection.h"
#include "inspector/agent/listener.h"
#include "inspector/agent/memory_trigger.h"
#include "inspector/agent/report.h"
#include "inspector/agent/report_output.h"
#include "inspector/agent/settings.h"

namespace inspector {

/// A snapshot that a thread of the service itself asks for, and waits for.
class SnapshotOrder {
 public:
  SnapshotOrder(std::vector<std::string> watch) : watch_(std::move(watch)) {}
  const std::vector<std::string>& watch() const { return watch_; }
  void Fulfil(std::string reply);
  /// True when the reply is there; false after `milliseconds`.
  bool WaitFor(int milliseconds);
  const std::string& reply() const { return reply_; }

 private:
  std::vector<std::string> watch_;
  std::string reply_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

/// The thread in the service that waits for requests on the socket and for the
/// triggers, and has snapshots taken. A plain native thread: Python never sees
/// it, and it blocks all signals, so that the service's own threads get them.
class Agent {
 public:
  enum class Listening { kNow, kLater };

  /// Opens the socket, or has the thread do it where the process lives longer
  /// than a moment, as most forked children do not; no thread yet. `path`: the
  /// interpreter's sys.path, for the package list. Throws std::runtime_error
  /// with a sentence.
  Agent(Runtime runtime, Settings settings, std::vector<std::string> path,
        Listening listening);
  ~Agent();
  Agent(const Agent&) = delete;

  /// Makes the thread. False if the system refuses one.
  bool Start();
  /// Ends the thread, a snapshot under way with it; its request is answered
  /// after the next Start. Called without the GIL, which the thread may be
  /// waiting for; by several threads at once if they like, but never while one
  /// is in Start. No thread, no effect.
  void Stop();
  /// The same with the GIL held, for as long as given: true if the thread ended
  /// by then. An idle thread does at once, so that the GIL, and with it the
  /// order of what other threads do, is left alone; one that waits for the GIL
  /// does not.
  bool StopWithin(int milliseconds);
  /// Has a snapshot taken by the thread, when it runs.
  std::shared_ptr<SnapshotOrder> Order(std::vector<std::string> watch);
  /// The last act of a process that ends in order. Takes away the sockets that
  /// workers have left.
  void Leave();
  /// In the child of a fork: there is no thread here and its memory may be in
  /// any state. Closes what was inherited; the object must not be used after.
  void AbandonInChild();

  /// Passed by forks while the thread runs.
  ForkGate& gate() { return gate_; }
  bool running() const { return running_; }
  const Runtime& runtime() const { return runtime_; }
  const Settings& settings() const { return settings_; }
  const std::vector<std::string>& path() const { return path_; }

 private:
  static constexpr size_t kMostClients = 16;

  struct Client {
    Client(Connection made, std::atomic<int>& socket)
        : connection(std::move(made)), slot(socket) {
      slot.store(connection.number());
    }
    ~Client() { slot.store(-1); }  // Before the socket is closed.
    Client(const Client&) = delete;
    Connection connection;
    std::atomic<int>& slot;
    std::string request;    // Not answered yet.
    Descriptor descriptor;  // Came with it.
    int64_t idle_since_us = 0;
  };

  /// The pipe that wakes the thread.
  void OpenPipe();
  /// False if the program has closed our descriptors under us: the numbers may
  /// be its own by now, and must not be used or closed.
  bool HasDescriptors() const;
  /// Forgets descriptors that are not ours any more, and makes new ones.
  void Reopen();
  /// Makes the socket, on the thread.
  void ListenNow();
  void Wake();
  void TellToStop();
  /// Waits until the kernel counts the joined thread no more.
  void Forget();
  static void* Main(void* agent);
  void Loop();
  /// For one more client; false if those that are here all want something.
  bool MakeRoom();
  void Accept();
  /// False if the client is to be dropped.
  bool Serve(Client& client, short events);
  /// The reply; empty if the thread was told to stop meanwhile.
  std::string Answer(const std::string& request, const Descriptor& descriptor);
  std::string Snapshot(const std::vector<std::string>& watch,
                       const ExtraOutput& extra, const char* trigger);
  /// For tests: a snapshot, and what the collector calls garbage in that very
  /// heap.
  std::string Oracle(const Descriptor& descriptor);
  /// Reports on what has come due. Nothing is lost by a stop meanwhile.
  void ServeTriggers();
  void ServeOrders();
  void LookAtCollector();
  /// False if the thread was told to stop meanwhile.
  bool WriteReport(const char* trigger);
  int PollTimeoutMs() const;
  std::string SettingsReport() const;
  std::string PingReport() const;

  Runtime runtime_;
  Settings settings_;
  std::vector<std::string> path_;
  Listener listener_;
  int64_t listen_at_us_ = 0;  // 0: it listens, or cannot.
  bool is_forked_ = false;
  int64_t accept_at_us_ = 0;  // Not before: there was no room.
  bool has_cleaned_ = false;
  Descriptor wake_;   // The end of a pipe that the thread waits at,
  Descriptor wakes_;  // and the one that is written to.
  FileId pipe_;
  std::vector<std::unique_ptr<Client>> clients_;
  // Their sockets, for a forked child to close: it may not look at the list.
  std::array<std::atomic<int>, kMostClients> sockets_;
  ForkGate gate_;
  ProcessIdentity identity_;
  std::vector<Package> packages_;
  int owner_pid_ = 0;
  std::mutex stopping_;  // A thread can be joined once only.
  pthread_t thread_ = {};
  std::atomic<int> thread_id_{0};  // The kernel's; 0 before its first step.
  bool running_ = false;
  std::atomic<bool> stop_{false};
  bool malloc_is_slow_ = false;
  ReportOutput output_;
  MemoryTrigger memory_;
  CollectionClock clock_;
  Guard guard_;
  std::vector<CrashingType> crashing_;
  int64_t next_report_us_ = 0;
  bool signal_is_due_ = false;
  bool memory_is_due_ = false;
  std::mutex orders_mutex_;
  std::deque<std::shared_ptr<SnapshotOrder>> orders_;
};

}  // namespace inspector
