#pragma once

#include <memory>
#include <string>

namespace collector {

/// Where objects go. Keys as in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
struct S3Address {
  std::string url;  // http://HOST:PORT, buckets as first part of the path.
  std::string access_key;
  std::string secret_key;
  std::string region = "us-east-1";
};

/// Puts objects into an S3 server over one kept connection. Not thread-safe.
/// Every failure throws Error naming the URL and the reason.
class S3Client {
 public:
  explicit S3Client(S3Address address);
  S3Client(S3Client&&) noexcept;
  ~S3Client();

  /// Does nothing if the bucket is there already.
  void CreateBucket(const std::string& bucket);
  /// Throws Error if there is no such bucket.
  void CheckBucket(const std::string& bucket);
  void Put(const std::string& bucket, const std::string& key,
           const std::string& bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace collector
