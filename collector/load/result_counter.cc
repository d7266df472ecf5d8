#include "collector/load/result_counter.h"

#include <nlohmann/json.hpp>

#include "collector/error.h"

namespace collector {

namespace {

/// Keeps only the top-level `request_id` of a result, which has half a
/// megabyte of report beside it.
std::string RequestId(const char* payload, size_t size) {
  using nlohmann::json;
  std::string key;
  auto keep = [&key](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key && depth == 1) key = value;
    return depth == 0 || (depth == 1 && key == "request_id");
  };
  json message = json::parse(payload, payload + size, keep, false);
  if (!message.is_object()) return "";
  auto found = message.find("request_id");
  return found != message.end() && found->is_string()
             ? found->get<std::string>()
             : "";
}

}  // namespace

ResultCounter::ResultCounter(const std::string& broker,
                             const std::string& topic)
    : client_(KafkaClient::Kind::kConsumer, broker,
              {{"auto.offset.reset", "earliest"},
               {"fetch.message.max.bytes", "16777216"},
               {"fetch.wait.max.ms", "100"}}),
      topic_(topic) {
  int count = client_.PartitionCount(topic, std::chrono::milliseconds(10'000));
  rd_kafka_topic_partition_list_t* partitions =
      rd_kafka_topic_partition_list_new(count);
  for (int partition = 0; partition < count; ++partition) {
    rd_kafka_topic_partition_list_add(partitions, topic.c_str(), partition)
        ->offset = RD_KAFKA_OFFSET_BEGINNING;
  }
  rd_kafka_resp_err_t error = rd_kafka_assign(client_.get(), partitions);
  rd_kafka_topic_partition_list_destroy(partitions);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw Error("read topic " + topic + ": " + rd_kafka_err2str(error));
  }
  rd_kafka_poll_set_consumer(client_.get());
  thread_ = std::thread([this] { Read(); });
}

ResultCounter::~ResultCounter() {
  stop_ = true;
  thread_.join();
}

void ResultCounter::Read() {
  while (!stop_) {
    rd_kafka_message_t* message = rd_kafka_consumer_poll(client_.get(), 100);
    if (message == nullptr) continue;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      Count(static_cast<const char*>(message->payload), message->len);
    }
    rd_kafka_message_destroy(message);
  }
}

void ResultCounter::Count(const char* payload, size_t size) {
  std::string request = RequestId(payload, size);
  std::lock_guard lock(mutex_);
  ++results_;
  ++by_request_[request];
}

int64_t ResultCounter::results() const {
  std::lock_guard lock(mutex_);
  return results_;
}

int64_t ResultCounter::distinct(const std::string& prefix) const {
  std::lock_guard lock(mutex_);
  int64_t count = 0;
  for (auto found = by_request_.lower_bound(prefix);
       found != by_request_.end() && found->first.starts_with(prefix);
       ++found) {
    ++count;
  }
  return count;
}

int64_t ResultCounter::repeated() const {
  std::lock_guard lock(mutex_);
  return results_ - static_cast<int64_t>(by_request_.size());
}

}  // namespace collector
