#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "collector/cli/demo_arms.h"
#include "collector/sample/child_process.h"
#include "collector/sample/interrupt.h"

namespace collector {

/// Topics, bucket and keys that the service is configured with.
inline constexpr char kSyncedTopic[] = "ccx.archive.synced";
inline constexpr char kResultsTopic[] = "ccx.insights.rules.results";
inline constexpr char kStatusTopic[] = "platform.payload-status";
inline constexpr char kBucket[] = "ccx-bucket";
inline constexpr char kGroup[] = "ccx-rules-processing-service";
inline constexpr char kS3Key[] = "cyclescope";

/// A short-lived folder of the demo, since socket paths are short and the
/// output folder's may be too long. What killed demos left goes first.
class DemoScratch {
 public:
  DemoScratch();
  ~DemoScratch();
  DemoScratch(const DemoScratch&) = delete;
  DemoScratch& operator=(const DemoScratch&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Broker, S3 server and service of one arm: children of ours, ended by the
/// destructor if not before, with what they left in the file system.
class DemoPlatform {
 public:
  /// Starts broker and S3 server and makes the bucket. Logs go below `logs`
  /// under the arm's name. Throws Error, or Interrupted.
  DemoPlatform(const DemoArm& arm, const DemoFixtures& fixtures,
               std::filesystem::path logs, const Interrupt& interrupt);
  ~DemoPlatform();

  /// Starts the service under the inspector and waits until it answers and has
  /// loaded all its components.
  void StartService();
  /// Throws Error if one of the three has ended.
  void Check();
  /// SIGINT, as its users do, then harder. Throws Error if it had to be killed
  /// or ended with another status than 0.
  void StopService();

  const std::string& broker() const { return broker_address_; }
  const std::string& s3_url() const { return s3_url_; }
  int service_pid() const { return service_->pid(); }

 private:
  std::filesystem::path LogFile(const char* program) const;
  void WaitUntil(const char* what, const std::function<bool()>& ready,
                 std::chrono::seconds longest);
  void StartBroker();
  void StartS3();

  const DemoArm& arm_;
  const DemoFixtures& fixtures_;
  std::filesystem::path logs_;
  const Interrupt& interrupt_;
  DemoScratch scratch_;  // Extracted archives, socket, overlay.
  std::string broker_address_;
  std::string s3_url_;
  std::optional<ChildProcess> broker_;
  std::optional<ChildProcess> s3_;
  std::optional<ChildProcess> service_;
};

}  // namespace collector
