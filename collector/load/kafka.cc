#include "collector/load/kafka.h"

#include <fmt/format.h>

#include <cerrno>

#include "collector/error.h"

namespace collector {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kConnectTimeout{10'000};

template <typename T, void (*Destroy)(T*)>
struct Deleter {
  void operator()(T* object) const { Destroy(object); }
};
template <typename T, void (*Destroy)(T*)>
using Owned = std::unique_ptr<T, Deleter<T, Destroy>>;

using Partitions = Owned<rd_kafka_topic_partition_list_t,
                         rd_kafka_topic_partition_list_destroy>;
using Queue = Owned<rd_kafka_queue_t, rd_kafka_queue_destroy>;
using KafkaEvent = Owned<rd_kafka_event_t, rd_kafka_event_destroy>;
using AdminOptions =
    Owned<rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy>;
using OffsetsRequest = Owned<rd_kafka_ListConsumerGroupOffsets_t,
                             rd_kafka_ListConsumerGroupOffsets_destroy>;

void OnError(rd_kafka_t*, int, const char* reason, void* client) {
  static_cast<KafkaClient*>(client)->SetReason(reason);
}

void OnDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void* client) {
  auto* owner = static_cast<KafkaClient*>(client);
  owner->CountDelivery(message->err != RD_KAFKA_RESP_ERR_NO_ERROR);
  if (message->err) owner->SetReason(rd_kafka_err2str(message->err));
}

// librdkafka would print to stderr; what matters reaches OnError.
void IgnoreLog(const rd_kafka_t*, int, const char*, const char*) {}

}  // namespace

KafkaClient::KafkaClient(Kind kind, const std::string& broker,
                         const std::map<std::string, std::string>& options)
    : broker_(broker) {
  char text[512];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  std::map<std::string, std::string> all = {
      {"bootstrap.servers", broker},
      {"client.id", "cyclescope"},
      {"allow.auto.create.topics", "false"},
      {"socket.timeout.ms", "10000"},
      {"reconnect.backoff.max.ms", "1000"}};
  if (kind == Kind::kConsumer) {
    all["enable.auto.commit"] = "false";
    all["group.id"] = "cyclescope";
  } else {
    all.erase("allow.auto.create.topics");
  }
  for (const auto& [name, value] : options) all[name] = value;
  for (const auto& [name, value] : all) {
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), text,
                          sizeof(text)) != RD_KAFKA_CONF_OK) {
      rd_kafka_conf_destroy(conf);
      throw Error(fmt::format("broker {}: {}", broker, text));
    }
  }
  rd_kafka_conf_set_opaque(conf, this);
  rd_kafka_conf_set_error_cb(conf, OnError);
  rd_kafka_conf_set_log_cb(conf, IgnoreLog);
  if (kind == Kind::kProducer) rd_kafka_conf_set_dr_msg_cb(conf, OnDelivery);
  client_ = rd_kafka_new(
      kind == Kind::kProducer ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf,
      text, sizeof(text));
  if (client_ == nullptr) {
    rd_kafka_conf_destroy(conf);
    throw Error(fmt::format("broker {}: {}", broker, text));
  }
}

KafkaClient::~KafkaClient() {
  rd_kafka_purge(client_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_destroy_flags(client_, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

int KafkaClient::PartitionCount(const std::string& topic,
                                milliseconds timeout) {
  rd_kafka_topic_t* handle =
      rd_kafka_topic_new(client_, topic.c_str(), nullptr);
  const rd_kafka_metadata_t* metadata = nullptr;
  rd_kafka_resp_err_t error = rd_kafka_metadata(
      client_, 0, handle, &metadata, static_cast<int>(timeout.count()));
  rd_kafka_topic_destroy(handle);
  rd_kafka_poll(client_, 0);  // Lets OnError speak.
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw Error(fmt::format(
        "Kafka broker {} does not answer: {}; start it or give its address "
        "with --broker",
        broker_, Reason(rd_kafka_err2str(error))));
  }
  int count = metadata->topic_cnt > 0 ? metadata->topics[0].partition_cnt : 0;
  if (metadata->topic_cnt > 0) error = metadata->topics[0].err;
  rd_kafka_metadata_destroy(metadata);
  if (count == 0) {
    throw Error(fmt::format(
        "Kafka broker {} has no topic {} ({}): create it or give another with "
        "--topic",
        broker_, topic, rd_kafka_err2str(error)));
  }
  return count;
}

std::string KafkaClient::Reason(const std::string& otherwise) const {
  std::lock_guard lock(mutex_);
  return reason_.empty() ? otherwise : reason_;
}

void KafkaClient::SetReason(std::string reason) {
  std::lock_guard lock(mutex_);
  reason_ = std::move(reason);
}

int64_t KafkaClient::failed_deliveries() const {
  std::lock_guard lock(mutex_);
  return failed_deliveries_;
}

void KafkaClient::CountDelivery(bool failed) {
  std::lock_guard lock(mutex_);
  failed_deliveries_ += failed;
}

MessageProducer::MessageProducer(const std::string& broker, std::string topic)
    : client_(KafkaClient::Kind::kProducer, broker,
              {{"linger.ms", "0"}, {"message.timeout.ms", "30000"}}),
      topic_(std::move(topic)) {
  client_.PartitionCount(topic_, kConnectTimeout);
}

void MessageProducer::Send(const std::string& message) {
  rd_kafka_resp_err_t error = rd_kafka_producev(
      client_.get(), RD_KAFKA_V_TOPIC(topic_.c_str()),
      RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
      RD_KAFKA_V_VALUE(const_cast<char*>(message.data()), message.size()),
      RD_KAFKA_V_END);
  rd_kafka_poll(client_.get(), 0);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw Error(fmt::format("produce to {} at {}: {}", topic_, client_.broker(),
                            rd_kafka_err2str(error)));
  }
}

void MessageProducer::Flush(milliseconds timeout) {
  rd_kafka_flush(client_.get(), static_cast<int>(timeout.count()));
  int64_t waiting = rd_kafka_outq_len(client_.get());
  if (waiting + failed() > 0) {
    throw Error(fmt::format(
        "produce to {} at {}: {} messages were not delivered: {}; look whether "
        "the broker still runs",
        topic_, client_.broker(), waiting + failed(),
        client_.Reason("no answer in time")));
  }
}

GroupOffset::GroupOffset(const std::string& broker, std::string group,
                         std::string topic)
    : client_(KafkaClient::Kind::kProducer, broker),
      group_(std::move(group)),
      topic_(std::move(topic)),
      partitions_(client_.PartitionCount(topic_, kConnectTimeout)) {}

std::optional<int64_t> GroupOffset::Read(milliseconds timeout) {
  Partitions partitions(rd_kafka_topic_partition_list_new(partitions_));
  for (int partition = 0; partition < partitions_; ++partition) {
    rd_kafka_topic_partition_list_add(partitions.get(), topic_.c_str(),
                                      partition);
  }
  OffsetsRequest request(
      rd_kafka_ListConsumerGroupOffsets_new(group_.c_str(), partitions.get()));
  AdminOptions options(rd_kafka_AdminOptions_new(
      client_.get(), RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS));
  char text[256];
  rd_kafka_AdminOptions_set_request_timeout(
      options.get(), static_cast<int>(timeout.count()), text, sizeof(text));
  Queue queue(rd_kafka_queue_new(client_.get()));
  rd_kafka_ListConsumerGroupOffsets_t* requests[] = {request.get()};
  rd_kafka_ListConsumerGroupOffsets(client_.get(), requests, 1, options.get(),
                                    queue.get());
  KafkaEvent event(rd_kafka_queue_poll(
      queue.get(), static_cast<int>(timeout.count()) + 1000));
  rd_kafka_poll(client_.get(), 0);
  auto fail = [this](const std::string& why) {
    return Error(fmt::format(
        "Kafka broker {}: offsets of group {}: {}; look whether the broker "
        "still runs",
        client_.broker(), group_, client_.Reason(why)));
  };
  if (!event) throw fail("no answer in time");
  if (rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw fail(rd_kafka_event_error_string(event.get()));
  }
  size_t count = 0;
  const rd_kafka_group_result_t** groups =
      rd_kafka_ListConsumerGroupOffsets_result_groups(
          rd_kafka_event_ListConsumerGroupOffsets_result(event.get()), &count);
  if (count != 1) throw fail("an empty answer");
  if (const rd_kafka_error_t* error = rd_kafka_group_result_error(groups[0])) {
    throw fail(rd_kafka_error_string(error));
  }
  const rd_kafka_topic_partition_list_t* found =
      rd_kafka_group_result_partitions(groups[0]);
  std::optional<int64_t> sum;
  for (int i = 0; found != nullptr && i < found->cnt; ++i) {
    if (found->elems[i].offset >= 0) {
      sum = sum.value_or(0) + found->elems[i].offset;
    }
  }
  return sum;
}

int64_t GroupOffset::ReadEnd(milliseconds timeout) {
  int64_t sum = 0;
  for (int partition = 0; partition < partitions_; ++partition) {
    int64_t low = 0;
    int64_t high = 0;
    rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(
        client_.get(), topic_.c_str(), partition, &low, &high,
        static_cast<int>(timeout.count()));
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      throw Error(fmt::format("Kafka broker {}: end of topic {}: {}",
                              client_.broker(), topic_,
                              rd_kafka_err2str(error)));
    }
    sum += high;
  }
  return sum;
}

}  // namespace collector
