#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <thread>

#include "collector/load/load.h"

namespace collector {

/// Adds the options that name the bucket, the archives and the pace. Broker and
/// topic are the verb's own.
void AddLoadOptions(CLI::App& verb, LoadPlan& plan);

/// A load on a thread of its own; the destructor stops it.
class LoadThread {
 public:
  explicit LoadThread(LoadPlan plan);
  ~LoadThread();

  /// `may_send` (see Load::Run) is called from the thread.
  void Start(std::function<bool(int64_t)> may_send);
  void Stop();
  bool done() const { return done_; }
  /// Throws what ended the load, if anything did.
  void Check();
  Load& load() { return load_; }

 private:
  Load load_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> done_ = false;
  std::exception_ptr failure_;  // Written before `done_`.
  std::thread thread_;
};

}  // namespace collector
