#include "collector/cli/load_options.h"

#include <cstdlib>

#include "collector/cli/options.h"

namespace collector {

void AddLoadOptions(CLI::App& verb, LoadPlan& plan) {
  verb.add_option("--s3", plan.s3.url, "S3 server, e.g. http://127.0.0.1:9000");
  verb.add_option("--bucket", plan.bucket, "Where the service reads archives")
      ->capture_default_str();
  verb.add_option("--s3-access-key", plan.s3.access_key, "Access key")
      ->envname("AWS_ACCESS_KEY_ID");
  verb.add_option("--s3-secret-key", plan.s3.secret_key, "Secret key")
      ->envname("AWS_SECRET_ACCESS_KEY");
  verb.add_option("--rate", plan.rate,
                  "Archives per second; without it as fast as the service "
                  "takes them")
      ->check(Positive());
  verb.add_option("--seed", plan.seed, "Names the sequence of archives")
      ->capture_default_str();
  verb.add_option("--file", plan.file,
                  "Send this archive every time, not generated ones");
  verb.add_option("--backlog", plan.backlog,
                  "Without --rate: most archives sent and not yet processed")
      ->capture_default_str()
      ->check(Positive());
}

LoadThread::LoadThread(LoadPlan plan) : load_(std::move(plan)) {}

LoadThread::~LoadThread() { Stop(); }

void LoadThread::Start(std::function<bool(int64_t)> may_send) {
  thread_ = std::thread([this, may_send = std::move(may_send)] {
    try {  // The door of this thread: Check() throws it on in the caller's.
      load_.Run([this] { return stop_.load(); }, may_send);
    } catch (...) {
      failure_ = std::current_exception();
    }
    done_ = true;
  });
}

void LoadThread::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void LoadThread::Check() {
  if (done_ && failure_) {
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

}  // namespace collector
