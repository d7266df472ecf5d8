#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "collector/load/s3_client.h"

namespace collector {

/// What to send, where and how fast.
struct LoadPlan {
  std::string broker;  // HOST:PORT
  std::string topic = "ccx.archive.synced";
  S3Address s3;
  std::string bucket = "ccx-bucket";
  int64_t archives = 0;  // 0: until stopped.
  double rate = 0;       // Archives per second; 0: as fast as may be.
  uint64_t seed = 1;
  std::filesystem::path file;  // Sends this archive, not generated ones.
  /// Without a rate: at most so many sent and not yet processed, where the
  /// caller can tell what is processed.
  int64_t backlog = 50;
};

/// Counts that other threads may read while the load runs.
struct LoadCounts {
  std::atomic<int64_t> sent = 0;
  /// Sent over 100 ms after they were due: the rate was not reached then.
  std::atomic<int64_t> late = 0;
  std::atomic<int64_t> failed = 0;
};

/// The body of a `ccx.archive.synced` message.
std::string SyncedMessage(const std::string& path,
                          const std::string& cluster_id,
                          const std::string& request_id);

/// Uploads archives in the order of their numbers: each is put into the bucket
/// and announced under a request id of its own. With a rate the load is open:
/// due times lie on an absolute clock and slow answers do not slow it beyond
/// what is counted as late.
class Load {
 public:
  /// Throws Error if broker, topic, server, bucket or file is not there.
  explicit Load(LoadPlan plan);
  ~Load();

  /// Runs until all are sent or `stop` says so (asked at least every 50 ms).
  /// Without a rate `may_send` tells whether archive `index` may go now; empty:
  /// always. A single failed upload is counted; ten in a row throw Error.
  void Run(const std::function<bool()>& stop,
           const std::function<bool(int64_t index)>& may_send);

  const LoadCounts& counts() const { return counts_; }
  /// In words, why this was not the planned load: more than one in twenty late,
  /// or an upload that failed. Empty if it was.
  std::string Problem() const;
  const LoadPlan& plan() const { return plan_; }
  /// The common start of the request ids; archive `index` has it with its
  /// number in sixteen hexadecimal digits after.
  const std::string& request_prefix() const { return request_prefix_; }

 private:
  struct State;
  void SendOne(int64_t index);

  LoadPlan plan_;
  LoadCounts counts_;
  std::string request_prefix_;
  std::unique_ptr<State> state_;
};

}  // namespace collector
