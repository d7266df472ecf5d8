#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "collector/load/kafka.h"

namespace collector {

/// Reads a topic of results from its beginning on a thread of its own and
/// counts them by their `request_id`. The mock broker keeps only 5 MiB of a
/// partition, so it must be there before the first result is.
class ResultCounter {
 public:
  /// Throws Error if the broker does not answer or has no such topic.
  ResultCounter(const std::string& broker, const std::string& topic);
  ~ResultCounter();

  /// Results read so far, each counted however often it came.
  int64_t results() const;
  /// Different request ids among them that begin with `prefix`.
  int64_t distinct(const std::string& prefix) const;
  /// Results whose request id had come before.
  int64_t repeated() const;

 private:
  void Read();
  void Count(const char* payload, size_t size);

  KafkaClient client_;
  std::string topic_;
  mutable std::mutex mutex_;  // Guards the two below.
  std::map<std::string, int64_t> by_request_;
  int64_t results_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;  // Last: uses all the others.
};

}  // namespace collector
