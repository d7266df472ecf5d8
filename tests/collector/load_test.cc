// The load against the mock broker of librdkafka and an S3 server of a few
// lines, both in this process.

#include "collector/load/load.h"

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "collector/error.h"
#include "collector/load/archives.h"
#include "collector/load/kafka.h"
#include "collector/load/result_counter.h"

// Wants rdkafka.h before it.
#include <librdkafka/rdkafka_mock.h>

namespace collector {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class MockBroker {
 public:
  MockBroker() {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, nullptr);
    char reason[200];
    client_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
    cluster_ = rd_kafka_mock_cluster_new(client_, 1);
    for (const char* topic : {"archives", "results"}) {
      rd_kafka_mock_topic_create(cluster_, topic, 1, 1);
    }
  }
  ~MockBroker() {
    rd_kafka_mock_cluster_destroy(cluster_);
    rd_kafka_destroy(client_);
  }
  std::string address() const {
    return rd_kafka_mock_cluster_bootstraps(cluster_);
  }

  /// Reads and commits `count` messages as the group does; their texts.
  std::vector<std::string> Consume(const std::string& group, size_t count) {
    KafkaClient consumer(KafkaClient::Kind::kConsumer, address(),
                         {{"group.id", group}});
    rd_kafka_topic_partition_list_t* partitions =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(partitions, "archives", 0)->offset = 0;
    rd_kafka_assign(consumer.get(), partitions);
    std::vector<std::string> texts;
    while (texts.size() < count) {
      rd_kafka_message_t* message =
          rd_kafka_consumer_poll(consumer.get(), 10'000);
      if (message == nullptr) break;
      texts.emplace_back(static_cast<char*>(message->payload), message->len);
      rd_kafka_message_destroy(message);
    }
    partitions->elems[0].offset = static_cast<int64_t>(texts.size());
    rd_kafka_commit(consumer.get(), partitions, 0);
    rd_kafka_topic_partition_list_destroy(partitions);
    return texts;
  }

 private:
  rd_kafka_t* client_;
  rd_kafka_mock_cluster_t* cluster_;
};

/// Keeps what is put; knows one bucket. One connection at a time.
class StubS3 {
 public:
  StubS3() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    listen(listener_, 5);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this] { Serve(); });
  }
  ~StubS3() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  const std::string& url() const { return url_; }
  std::map<std::string, std::string> objects() const {
    std::lock_guard lock(mutex_);
    return objects_;
  }
  void FailPuts() { fail_ = true; }

 private:
  void Serve() {
    for (int fd; (fd = accept(listener_, nullptr, nullptr)) >= 0; close(fd)) {
      std::string input;
      char bytes[65536];
      while (true) {
        ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
        if (got <= 0) break;
        input.append(bytes, static_cast<size_t>(got));
        Answer(fd, input);
      }
    }
  }
  void Answer(int fd, std::string& input) {
    size_t head = input.find("\r\n\r\n");
    if (head == std::string::npos) return;
    size_t at = input.find("Content-Length: ");
    size_t length = at < head ? std::stoul(input.substr(at + 16)) : 0;
    if (input.size() < head + 4 + length) return;
    std::string method = input.substr(0, input.find(' '));
    std::string path = input.substr(method.size() + 1);
    path.resize(path.find(' '));
    bool known = path.starts_with("/bucket");
    bool signed_ = input.find("Authorization: AWS4-HMAC-SHA256") < head;
    bool ok = known && signed_ && !(fail_ && method == "PUT");
    {
      std::lock_guard lock(mutex_);
      if (ok && method == "PUT") objects_[path] = input.substr(head + 4);
    }
    input.clear();
    std::string reply = ok ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                           : "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    send(fd, reply.data(), reply.size(), MSG_NOSIGNAL);
  }

  int listener_;
  std::string url_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> objects_;
  std::atomic<bool> fail_ = false;
  std::thread thread_;
};

class LoadTest : public testing::Test {
 protected:
  LoadPlan Plan(int64_t archives) {
    LoadPlan plan;
    plan.broker = broker_.address();
    plan.topic = "archives";
    plan.s3 = {s3_.url(), "key", "secret"};
    plan.bucket = "bucket";
    plan.archives = archives;
    plan.seed = 3;
    return plan;
  }
  static bool Never() { return false; }

  MockBroker broker_;
  StubS3 s3_;
};

TEST_F(LoadTest, PutsEveryArchiveAndAnnouncesItUnderItsOwnRequest) {
  Load load(Plan(20));
  load.Run(Never, nullptr);
  EXPECT_EQ(load.counts().sent, 20);
  EXPECT_EQ(load.counts().failed, 0);
  auto objects = s3_.objects();
  EXPECT_EQ(objects.size(), 20u);
  auto messages = broker_.Consume("a", 20);
  ASSERT_EQ(messages.size(), 20u);
  std::set<std::string> requests;
  for (size_t i = 0; i < messages.size(); ++i) {
    SCOPED_TRACE(i);
    auto message = nlohmann::json::parse(messages[i]);
    Archive archive = MakeArchive(3, i);
    EXPECT_EQ(message["metadata"]["cluster_id"], archive.cluster_id);
    std::string path = "/bucket/" + message["path"].get<std::string>();
    EXPECT_TRUE(objects[path] == archive.bytes);
    requests.insert(message["request_id"]);
    EXPECT_THAT(message["request_id"].get<std::string>(),
                testing::StartsWith(load.request_prefix()));
  }
  EXPECT_EQ(requests.size(), 20u);
}

TEST_F(LoadTest, KeepsTheRateFromDueTimesAndCountsNothingLate) {
  LoadPlan plan = Plan(20);
  plan.rate = 100;
  Load load(plan);
  auto start = std::chrono::steady_clock::now();
  load.Run(Never, nullptr);
  auto took = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(load.counts().sent, 20);
  // The twentieth is due after 190 ms.
  EXPECT_GE(took, milliseconds(190));
  EXPECT_LT(took, milliseconds(2000));
}

TEST_F(LoadTest, StaysWithinTheBacklog) {
  Load load(Plan(30));
  std::atomic<int64_t> processed = 0;
  std::atomic<int64_t> most = 0;
  std::thread service([&] {
    while (processed < 30) {
      most = std::max<int64_t>(most, load.counts().sent - processed);
      std::this_thread::sleep_for(milliseconds(1));
      if (load.counts().sent > processed) ++processed;
    }
  });
  load.Run(Never, [&](int64_t index) { return index - processed < 5; });
  service.join();
  EXPECT_EQ(load.counts().sent, 30);
  EXPECT_LE(most, 5);
}

TEST_F(LoadTest, SaysWhatIsNotThere) {
  auto error_of = [](const LoadPlan& plan) -> std::string {
    try {
      Load load(plan);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  LoadPlan plan = Plan(1);
  plan.bucket = "other";
  EXPECT_THAT(error_of(plan), HasSubstr("bucket other: HTTP 404"));
  plan = Plan(1);
  plan.file = "/no/such/file";
  EXPECT_THAT(error_of(plan), HasSubstr("archive file /no/such/file"));
  plan = Plan(1);
  plan.s3.url = "http://127.0.0.1:1";
  EXPECT_THAT(error_of(plan), HasSubstr("S3 server http://127.0.0.1:1: "));
  plan.s3.url = "127.0.0.1:1";
  EXPECT_THROW(Load{plan}, UsageError);
}

TEST_F(LoadTest, ADeadServerEndsTheLoad) {
  Load load(Plan(0));
  s3_.FailPuts();
  EXPECT_THROW(load.Run(Never, nullptr), Error);
}

TEST_F(LoadTest, GroupOffsetFollowsWhatTheGroupCommits) {
  GroupOffset offset(broker_.address(), "b", "archives");
  EXPECT_EQ(offset.Read(milliseconds(5000)), std::nullopt);
  Load load(Plan(7));
  load.Run(Never, nullptr);
  EXPECT_EQ(offset.ReadEnd(milliseconds(5000)), 7);
  broker_.Consume("b", 4);
  EXPECT_EQ(offset.Read(milliseconds(5000)), 4);
}

TEST_F(LoadTest, ResultCounterTellsMissingAndRepeatedRequests) {
  MessageProducer producer(broker_.address(), "results");
  for (const char* request : {"p1", "p2", "p2", "q1"}) {
    producer.Send(nlohmann::json{
        {"report", {{"request_id", "wrong"}}},
        {"request_id",
         request}}.dump());
  }
  producer.Flush(milliseconds(10'000));
  ResultCounter counter(broker_.address(), "results");
  for (int i = 0; i < 1000 && counter.results() < 4; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_EQ(counter.results(), 4);
  EXPECT_EQ(counter.distinct("p"), 2);
  EXPECT_EQ(counter.repeated(), 1);
}

TEST(KafkaClient, SaysThatNoBrokerAnswers) {
  KafkaClient client(KafkaClient::Kind::kProducer, "127.0.0.1:1");
  try {
    client.PartitionCount("archives", milliseconds(300));
    FAIL() << "answered";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("Kafka broker 127.0.0.1:1 does not"));
  }
}

}  // namespace
}  // namespace collector
