#include "collector/load/load.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "collector/error.h"
#include "collector/load/archives.h"
#include "collector/load/kafka.h"

namespace collector {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLate{100};
constexpr int kFailuresInARow = 10;

std::string ReadArchiveFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  if (!file || !(bytes << file.rdbuf())) {
    throw Error(fmt::format(
        "archive file {}: cannot be read or is empty; give a .tar.gz with "
        "--file",
        path.string()));
  }
  return bytes.str();
}

/// Where archive-sync puts the archive of one cluster. The number is in the
/// time of day, so that no two archives share an object.
std::string ObjectPath(const std::string& cluster_id, int64_t index) {
  auto now = std::chrono::system_clock::now();
  return fmt::format("archives/compressed/{}/{}/{:%Y%m}/{:%d}/{:06}.tar.gz",
                     cluster_id.substr(0, 2), cluster_id, fmt::gmtime(now),
                     fmt::gmtime(now), index % 1'000'000);
}

/// Sleeps until the time in short steps; true if `stop` said so.
bool SleepUntil(steady_clock::time_point time,
                const std::function<bool()>& stop) {
  while (!stop()) {
    auto now = steady_clock::now();
    if (now >= time) return false;
    std::this_thread::sleep_for(
        std::min<steady_clock::duration>(time - now, milliseconds(50)));
  }
  return true;
}

}  // namespace

std::string SyncedMessage(const std::string& path,
                          const std::string& cluster_id,
                          const std::string& request_id) {
  return nlohmann::json{
      {"path", path},
      {"original_path", path},
      {"metadata",
       {{"cluster_id", cluster_id}, {"external_organization", "1"}}},
      {"request_id", request_id}}
      .dump();
}

struct Load::State {
  explicit State(const LoadPlan& plan)
      : file_bytes(plan.file.empty() ? "" : ReadArchiveFile(plan.file)),
        s3(plan.s3),
        producer(plan.broker, plan.topic) {
    s3.CheckBucket(plan.bucket);
  }
  std::string file_bytes;  // Read first: its absence is the cheapest to tell.
  S3Client s3;
  MessageProducer producer;
};

Load::Load(LoadPlan plan)
    : plan_(std::move(plan)), state_(std::make_unique<State>(plan_)) {
  std::random_device random;
  request_prefix_ = fmt::format("{:08x}{:08x}", random(), random());
}

Load::~Load() = default;

std::string Load::Problem() const {
  if (counts_.failed > 0) {
    return fmt::format("{} of {} uploads failed", counts_.failed.load(),
                       counts_.failed + counts_.sent);
  }
  if (counts_.late * 20 > counts_.sent) {
    return fmt::format("{} of {} archives were sent over {} ms late",
                       counts_.late.load(), counts_.sent.load(), kLate.count());
  }
  return "";
}

void Load::SendOne(int64_t index) {
  Archive archive = MakeArchive(plan_.seed, static_cast<uint64_t>(index));
  if (!state_->file_bytes.empty()) archive.bytes = state_->file_bytes;
  std::string path = ObjectPath(archive.cluster_id, index);
  state_->s3.Put(plan_.bucket, path, archive.bytes);
  state_->producer.Send(
      SyncedMessage(path, archive.cluster_id,
                    fmt::format("{}{:016x}", request_prefix_, index)));
}

void Load::Run(const std::function<bool()>& stop,
               const std::function<bool(int64_t)>& may_send) {
  auto start = steady_clock::now();
  int failures = 0;
  for (int64_t index = 0; plan_.archives == 0 || index < plan_.archives;
       ++index) {
    if (plan_.rate > 0) {
      auto due = start + std::chrono::duration_cast<steady_clock::duration>(
                             std::chrono::duration<double>(
                                 static_cast<double>(index) / plan_.rate));
      if (SleepUntil(due, stop)) break;
      counts_.late += steady_clock::now() - due > kLate;
    } else {
      while (may_send && !stop() && !may_send(index)) {
        std::this_thread::sleep_for(milliseconds(20));
      }
    }
    if (stop()) break;
    // One lost upload must not end a run of hours; a lost server must.
    try {
      SendOne(index);
      ++counts_.sent;
      failures = 0;
    } catch (const Error&) {
      ++counts_.failed;
      if (++failures == kFailuresInARow || index == 0) throw;
    }
  }
  state_->producer.Flush(milliseconds(30'000));
}

}  // namespace collector
