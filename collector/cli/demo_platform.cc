#include "collector/cli/demo_platform.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "collector/error.h"
#include "collector/load/s3_client.h"
#include "collector/sample/agent_client.h"
#include "injector/environment.h"

namespace collector {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

/// A port of loopback that nobody listens on now. Somebody may take it before
/// our child does; that child then fails and says so.
int FreePort() {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!fd || bind(fd.get(), generic, size) != 0 ||
      getsockname(fd.get(), generic, &size) != 0) {
    throw Error(
        fmt::format("find a free port on 127.0.0.1: {}", std::strerror(errno)));
  }
  return ntohs(address.sin_port);
}

bool Listens(int port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(port);
  return connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
                 sizeof(address)) == 0;
}

constexpr char kScratchPrefix[] = "cyclescope-demo-";

/// Removes what demos left that were killed: their pid is in the name.
void RemoveOldScratch() {
  std::error_code ignored;
  for (const auto& entry :
       fs::directory_iterator(fs::temp_directory_path(), ignored)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with(kScratchPrefix)) continue;
    int pid = std::atoi(name.c_str() + sizeof(kScratchPrefix) - 1);
    if (pid > 0 && kill(pid, 0) != 0 && errno == ESRCH) {
      fs::remove_all(entry.path(), ignored);
    }
  }
}

void ThrowIfEnded(std::optional<ChildProcess>& child, const char* what,
                  const fs::path& log) {
  if (!child || child->running()) return;
  std::string last = child->OutputTail(300);
  last.erase(0, last.rfind('\n') + 1);
  // Who was killed had no last word.
  if (!child->ending().starts_with("exit")) last.clear();
  throw Error(fmt::format("{} ended ({}){}{}; its output is in {}", what,
                          child->ending(), last.empty() ? "" : ": ", last,
                          log.string()));
}

}  // namespace

DemoScratch::DemoScratch() {
  RemoveOldScratch();
  std::string name = (fs::temp_directory_path() /
                      fmt::format("{}{}-XXXXXX", kScratchPrefix, getpid()))
                         .string();
  if (mkdtemp(name.data()) == nullptr) {
    throw Error(
        fmt::format("{}: cannot be made: {}", name, std::strerror(errno)));
  }
  path_ = name;
}

DemoScratch::~DemoScratch() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

DemoPlatform::DemoPlatform(const DemoArm& arm, const DemoFixtures& fixtures,
                           fs::path logs, const Interrupt& interrupt)
    : arm_(arm),
      fixtures_(fixtures),
      logs_(std::move(logs)),
      interrupt_(interrupt) {
  fs::create_directories(logs_);
  StartBroker();
  StartS3();
}

DemoPlatform::~DemoPlatform() {
  // In this order: the service must not see the others go.
  service_.reset();
  s3_.reset();
  broker_.reset();
}

fs::path DemoPlatform::LogFile(const char* program) const {
  return logs_ / fmt::format("{}-{}.log", arm_.name, program);
}

void DemoPlatform::WaitUntil(const char* what,
                             const std::function<bool()>& ready,
                             seconds longest) {
  auto deadline = steady_clock::now() + longest;
  while (!ready()) {
    if (steady_clock::now() > deadline) {
      throw Error(
          fmt::format("{} was not ready within {} s; its output is "
                      "below {}",
                      what, longest.count(), logs_.string()));
    }
    if (interrupt_.SleepUntil(steady_clock::now() + milliseconds(50))) {
      throw Interrupted();
    }
    Check();
  }
}

void DemoPlatform::Check() {
  ThrowIfEnded(broker_, "the broker", LogFile("broker"));
  ThrowIfEnded(s3_, "the S3 server", LogFile("s3"));
  ThrowIfEnded(service_, "the service", LogFile("service"));
}

void DemoPlatform::StartBroker() {
  fs::path log = LogFile("broker");
  fs::remove(log);
  Command command;
  command.arguments = {fixtures_.broker.string()};
  for (const char* topic : {kSyncedTopic, kResultsTopic, kStatusTopic}) {
    command.arguments.insert(command.arguments.end(), {"--topic", topic});
  }
  command.output = log;
  broker_.emplace(command);
  WaitUntil(
      "the broker",
      [&] {
        std::string ready, address;
        std::ifstream(log) >> ready >> address;
        if (ready == "ready") broker_address_ = address;
        return !broker_address_.empty();
      },
      seconds(20));
}

void DemoPlatform::StartS3() {
  int port = FreePort();
  fs::path log = LogFile("s3");
  fs::remove(log);
  Command command;
  command.arguments = {(fixtures_.venvs / "moto/bin/moto_server").string(),
                       "-H", "127.0.0.1", "-p", std::to_string(port)};
  command.output = log;
  s3_.emplace(command);
  s3_url_ = fmt::format("http://127.0.0.1:{}", port);
  WaitUntil(
      "the S3 server", [port] { return Listens(port); }, seconds(60));
  S3Client({s3_url_, kS3Key, kS3Key}).CreateBucket(kBucket);
}

void DemoPlatform::StartService() {
  fs::path log = LogFile("service");
  fs::remove(log);
  fs::path venv = fixtures_.venvs / arm_.venv;
  std::vector<fs::path> overlays;
  if (!arm_.collector_on) overlays.push_back(fixtures_.ccx / "collector-off");
  if (!arm_.patch.empty()) {
    // By this name the inspector shows its files as those of the packages.
    overlays.push_back(scratch_.path() / "site-packages");
    MakeOverlay(fixtures_, arm_, overlays.back());
  }
  int metrics = FreePort();
  fs::create_directories(scratch_.path() / "extract");
  Command command;
  // Nothing of the caller's PYTHONPATH: it is not the service's.
  command.environment =
      injector::InspectorEnvironment(fixtures_.hook, "", overlays);
  command.environment.merge(std::map<std::string, std::string>{
      {"KAFKA_SERVER", broker_address_},
      {"KAFKA_GROUP_ID", kGroup},
      {"KAFKA_COMMIT_INTERVAL_MS", "100"},
      {"INCOMING_TOPIC", kSyncedTopic},
      {"OUTGOING_TOPIC", kResultsTopic},
      {"PAYLOAD_TRACKER_TOPIC", kStatusTopic},
      {"S3_ENDPOINT", s3_url_},
      {"S3_BUCKET", kBucket},
      {"S3_ACCESS_KEY", kS3Key},
      {"S3_SECRET_KEY", kS3Key},
      {"AWS_DEFAULT_REGION", "us-east-1"},
      {"AWS_EC2_METADATA_DISABLED", "true"},
      {"NO_PROXY", "127.0.0.1"},
      {"METRICS_PORT", std::to_string(metrics)},
      {"EXTRACT_DIR", (scratch_.path() / "extract").string()},
      {"TMPDIR", (scratch_.path() / "extract").string()},
      {"CLOWDER_ENABLED", "false"},
      {"PYTHONUNBUFFERED", "1"}});
  command.environment["CYCLESCOPE_DIR"] = scratch_.path().string();
  command.arguments = {(venv / "bin/ccx-messaging").string(),
                       (fixtures_.ccx / "rules-processing.yaml").string()};
  command.output = log;
  service_.emplace(command);
  // It serves metrics last, once every component is loaded.
  WaitUntil(
      "the service", [metrics] { return Listens(metrics); }, seconds(120));
}

void DemoPlatform::StopService() {
  int signal = service_->StopGently(seconds(20));
  if (signal == SIGKILL) {
    throw Error(fmt::format(
        "the service of arm {} did not end on SIGINT and SIGTERM; look into {}",
        arm_.name, LogFile("service").string()));
  }
  if (service_->ending() != "exit status 0") {
    throw Error(fmt::format("the service of arm {} ended with {}; look into {}",
                            arm_.name, service_->ending(),
                            LogFile("service").string()));
  }
}

}  // namespace collector
