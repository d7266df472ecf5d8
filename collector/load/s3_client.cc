#include "collector/load/s3_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "collector/error.h"

namespace collector {

namespace {

struct HeaderDeleter {
  void operator()(curl_slist* headers) const { curl_slist_free_all(headers); }
};
using Headers = std::unique_ptr<curl_slist, HeaderDeleter>;

struct EasyDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};

/// What curl reads the request's body from.
struct Body {
  const std::string* bytes;
  size_t position = 0;
};

size_t ReadBody(char* to, size_t size, size_t count, void* from) {
  auto* body = static_cast<Body*>(from);
  size_t length = std::min(size * count, body->bytes->size() - body->position);
  std::memcpy(to, body->bytes->data() + body->position, length);
  body->position += length;
  return length;
}

size_t KeepStart(char* data, size_t size, size_t count, void* to) {
  auto* reply = static_cast<std::string*>(to);
  constexpr size_t kEnough = 2000;
  if (reply->size() < kEnough) reply->append(data, size * count);
  return size * count;
}

/// `<Message>…</Message>` of an S3 error, or nothing.
std::string Message(const std::string& reply) {
  size_t begin = reply.find("<Message>");
  size_t end = reply.find("</Message>");
  if (begin == std::string::npos || end == std::string::npos) return "";
  return ": " + reply.substr(begin + 9, end - begin - 9);
}

}  // namespace

struct S3Client::State {
  S3Address address;
  std::unique_ptr<CURL, EasyDeleter> handle;
  std::string signing;
  std::string keys;

  /// One request; the HTTP status, with the start of the reply's body.
  long Send(const char* method, const std::string& path,
            const std::string* bytes, std::string* reply);
};

long S3Client::State::Send(const char* method, const std::string& path,
                           const std::string* bytes, std::string* reply) {
  CURL* curl = handle.get();
  curl_easy_reset(curl);  // Keeps the connection.
  std::string url = address.url + path;
  static const std::string kEmpty;
  Body body = {bytes != nullptr ? bytes : &kEmpty};
  char why[CURL_ERROR_SIZE] = "";
  Headers headers(
      curl_slist_append(nullptr, "x-amz-content-sha256: UNSIGNED-PAYLOAD"));
  // No 100-continue wait per object.
  curl_slist_append(headers.get(), "Expect:");
  curl_slist_append(headers.get(), "Content-Type: application/gzip");
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 60'000L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, signing.c_str());
  curl_easy_setopt(curl, CURLOPT_USERPWD, keys.c_str());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, KeepStart);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
  if (std::string(method) == "PUT") {
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, ReadBody);
    curl_easy_setopt(curl, CURLOPT_READDATA, &body);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
                     static_cast<curl_off_t>(body.bytes->size()));
  } else {
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  }
  CURLcode code = curl_easy_perform(curl);
  if (code != CURLE_OK) {
    throw Error(
        fmt::format("S3 server {}: {}; start it or give its address with --s3",
                    address.url, *why ? why : curl_easy_strerror(code)));
  }
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

S3Client::S3Client(S3Address address) : state_(std::make_unique<State>()) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  while (address.url.ends_with('/')) address.url.pop_back();
  if (!address.url.starts_with("http://") &&
      !address.url.starts_with("https://")) {
    throw UsageError(fmt::format(
        "--s3 {}: give a URL such as http://127.0.0.1:9000", address.url));
  }
  state_->signing = fmt::format("aws:amz:{}:s3", address.region);
  state_->keys = address.access_key + ":" + address.secret_key;
  state_->address = std::move(address);
  state_->handle.reset(curl_easy_init());
}

S3Client::S3Client(S3Client&&) noexcept = default;
S3Client::~S3Client() = default;

void S3Client::CreateBucket(const std::string& bucket) {
  std::string reply;
  long status = state_->Send("PUT", "/" + bucket, nullptr, &reply);
  bool there = status == 409 && reply.find("Bucket") != std::string::npos;
  if (status / 100 != 2 && !there) {
    throw Error(fmt::format("S3 server {}: make bucket {}: HTTP {}{}",
                            state_->address.url, bucket, status,
                            Message(reply)));
  }
}

void S3Client::CheckBucket(const std::string& bucket) {
  std::string reply;
  long status = state_->Send("HEAD", "/" + bucket, nullptr, &reply);
  if (status / 100 != 2) {
    throw Error(fmt::format(
        "S3 server {}: bucket {}: HTTP {}; create it, give another with "
        "--bucket, or look at the keys",
        state_->address.url, bucket, status));
  }
}

void S3Client::Put(const std::string& bucket, const std::string& key,
                   const std::string& bytes) {
  std::string reply;
  long status = state_->Send("PUT", "/" + bucket + "/" + key, &bytes, &reply);
  if (status / 100 != 2) {
    throw Error(fmt::format("S3 server {}: put {}/{}: HTTP {}{}",
                            state_->address.url, bucket, key, status,
                            Message(reply)));
  }
}

}  // namespace collector
