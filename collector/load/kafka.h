#pragma once

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace collector {

/// Owns one librdkafka client. Thread-safe, as librdkafka's is.
class KafkaClient {
 public:
  enum class Kind { kProducer, kConsumer };
  /// Throws Error if an option is refused. Connects in the background.
  KafkaClient(Kind kind, const std::string& broker,
              const std::map<std::string, std::string>& options = {});
  KafkaClient(const KafkaClient&) = delete;
  KafkaClient& operator=(const KafkaClient&) = delete;
  ~KafkaClient();

  rd_kafka_t* get() const { return client_; }
  const std::string& broker() const { return broker_; }
  /// The number of partitions of `topic`. Throws Error if the broker does not
  /// answer in time or does not know the topic; asking creates no topic unless
  /// the broker does so by itself.
  int PartitionCount(const std::string& topic,
                     std::chrono::milliseconds timeout);
  /// What went wrong last in the background, or the given reason.
  std::string Reason(const std::string& otherwise) const;

  /// Called by librdkafka.
  void SetReason(std::string reason);
  int64_t failed_deliveries() const;
  void CountDelivery(bool failed);

 private:
  std::string broker_;
  mutable std::mutex mutex_;  // Guards the two below.
  std::string reason_;
  int64_t failed_deliveries_ = 0;
  rd_kafka_t* client_ = nullptr;
};

/// Sends messages to one topic.
class MessageProducer {
 public:
  /// Throws Error if the broker does not answer within ten seconds or has no
  /// such topic.
  MessageProducer(const std::string& broker, std::string topic);

  /// Queues one message. Throws Error if it cannot even be queued.
  void Send(const std::string& message);
  /// Waits until all are delivered. Throws Error if some are not.
  void Flush(std::chrono::milliseconds timeout);
  int64_t failed() const { return client_.failed_deliveries(); }

 private:
  KafkaClient client_;
  std::string topic_;
};

/// Reads how far a consumer group has come: the sum over a topic's partitions
/// of its committed offsets.
class GroupOffset {
 public:
  /// Throws Error if the broker does not answer or has no such topic.
  GroupOffset(const std::string& broker, std::string group, std::string topic);

  /// None: the group has committed nothing yet. Throws Error if the broker does
  /// not answer in time.
  std::optional<int64_t> Read(std::chrono::milliseconds timeout);
  /// The sum of the partitions' end offsets: messages ever written.
  int64_t ReadEnd(std::chrono::milliseconds timeout);

 private:
  KafkaClient client_;
  std::string group_;
  std::string topic_;
  int partitions_ = 0;
};

}  // namespace collector
