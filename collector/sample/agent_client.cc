#include "collector/sample/agent_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "collector/error.h"
#include "collector/sample/find_clients.h"
#include "collector/sample/relay_channel.h"

namespace collector {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kShortTimeout{10'000};

/// The reply as JSON; a refusal or anything but an object throws.
nlohmann::ordered_json Parsed(const std::string& reply, const std::string& name,
                              const std::string& request) {
  auto json = nlohmann::ordered_json::parse(reply, nullptr, false);
  if (!json.is_object()) {
    throw Error(fmt::format(
        "{}: the answer to `{}` is not a JSON object but '{}…'; what listens "
        "there is no inspector",
        name, request, OneLine(reply.substr(0, 40))));
  }
  if (json.contains("error")) {
    const auto& reason = json["error"];
    throw Error(fmt::format(
        "the inspector did not do `{}`: {}", request,
        reason.is_string() ? reason.get<std::string>() : reason.dump()));
  }
  return json;
}

/// Puts the pid that this machine knows and the container into a report, whose
/// process sees neither.
void AddWhatTheHostKnows(nlohmann::ordered_json& report, int pid,
                         const nlohmann::json& container) {
  auto process = report.find("process");
  if (process == report.end() || !process->is_object()) return;
  if (pid != 0) (*process)["pid"] = pid;
  if (container.is_null()) return;
  (*process)["container"] = container;
  auto limits = report.find("limits");
  if (limits == report.end() || !limits->is_array()) return;
  for (auto limit = limits->begin(); limit != limits->end(); ++limit) {
    if (!limit->is_object() || limit->value("field", "") != "process.container")
      continue;
    limits->erase(limit);
    return;
  }
}

}  // namespace

std::string WithoutControlCharacters(const std::string& json) {
  std::string clean;
  clean.reserve(json.size());
  for (size_t i = 0; i < json.size(); ++i) {
    auto byte = static_cast<unsigned char>(json[i]);
    auto next =
        static_cast<unsigned char>(i + 1 < json.size() ? json[i + 1] : 0);
    if (byte == '\\' && next == 'u') {
      unsigned code = 0xffff;
      std::from_chars(json.data() + i + 2,
                      json.data() + std::min(i + 6, json.size()), code, 16);
      bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
      clean += is_control ? "?" : json.substr(i, 6);
      i += 5;
    } else if (byte == '\\') {
      bool is_character = next == '"' || next == '\\' || next == '/';
      clean += is_character ? json.substr(i, 2) : "?";
      ++i;
    } else if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {
      clean += '?';
      ++i;
    } else {
      clean += byte == 0x7f ? '?' : json[i];
    }
  }
  return clean;
}

nlohmann::json AgentClient::AskJson(const char* request) const {
  nlohmann::json question = {{"request", request}};
  return Parsed(WithoutControlCharacters(
                    channel_->Ask(question.dump(), -1, kShortTimeout)),
                channel_->name(), request);
}

nlohmann::json AgentClient::Ping() const {
  nlohmann::json reply = AskJson("ping");
  if (reply.value("pong", false) != true) {
    throw Error(fmt::format(
        "{}: the answer to `ping` is '{}'; what listens there is no inspector",
        channel_->name(), reply.dump().substr(0, 60)));
  }
  return reply;
}

std::string AgentClient::Snapshot(const SnapshotRequest& request) const {
  nlohmann::json json = {{"request", "snapshot"}};
  if (!request.watch.empty()) json["watch"] = request.watch;
  if (request.ids_fd >= 0) json["ids"] = true;
  if (request.heap_fd >= 0) json["heap"] = true;
  std::string reply = WithoutControlCharacters(channel_->Ask(
      json.dump(), request.ids_fd >= 0 ? request.ids_fd : request.heap_fd,
      request.timeout));
  nlohmann::ordered_json report = Parsed(reply, channel_->name(), "snapshot");
  if (report.value("schema", "") != "cyclescope.snapshot/1") {
    throw Error(fmt::format(
        "{}: the snapshot has the schema '{}', this program reads "
        "cyclescope.snapshot/1; use the inspector that came with it",
        channel_->name(), report.value("schema", "")));
  }
  if (pid() == 0 && container_.is_null()) return reply;
  AddWhatTheHostKnows(report, pid(), container_);
  return report.dump();
}

nlohmann::json AgentClient::Sample() const { return AskJson("sample"); }

nlohmann::json AgentClient::GcStats() const { return AskJson("gc_stats"); }

nlohmann::json AgentClient::Settings() const { return AskJson("settings"); }

AgentClient AgentClient::Connect(const std::string& target) {
  std::vector<AgentClient> clients = FindClients(target, false);
  if (clients.size() > 1) {
    std::string names;
    for (const AgentClient& client : clients)
      names += (names.empty() ? "" : "; ") + client.name();
    throw Error(fmt::format(
        "target '{}' is {} processes with an inspector: {}; name one of them "
        "(NAME@PID) or, with `snapshot`, take all by --all",
        target, clients.size(), names));
  }
  clients.front().Ping();
  return std::move(clients.front());
}

}  // namespace collector
