// Sockets speak docker's HTTP API, podman's too: docs.docker.com/engine/api,
// version 1.40 and later. The `podman` command prints nearly the same JSON.
#include "injector/engine.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "injector/command.h"

namespace injector {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::chrono::seconds kCommandTimeout(15);
constexpr long kPingTimeoutMs = 3000;
constexpr long kReplyTimeoutMs = 10'000;
constexpr size_t kLongestReply = 64 << 20;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// What the two ways of asking share: the JSON, which may have null or nothing
// in the place of a text or a list.

std::string Text(const json& object, const char* key) {
  auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_string()
             ? found->get<std::string>()
             : "";
}

const json& Part(const json& object, const char* key) {
  static const json kNothing = json::object();
  if (!object.is_object()) return kNothing;
  auto found = object.find(key);
  return found != object.end() && !found->is_null() ? *found : kNothing;
}

std::vector<std::string> Words(const json& list) {
  std::vector<std::string> words;
  if (list.is_string()) {  // `podman inspect` 4 joins an entrypoint's words.
    std::string all = list;
    for (size_t begin = 0; begin < all.size();) {
      size_t end = std::min(all.find(' ', begin), all.size());
      if (end > begin) words.push_back(all.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  if (list.is_array()) {
    for (const json& word : list) {
      if (word.is_string()) words.push_back(word);
    }
  }
  return words;
}

Environment Variables(const json& list) {
  Environment variables;
  for (const std::string& entry :
       list.is_array() ? Words(list) : std::vector<std::string>()) {
    size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    variables[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return variables;
}

/// 0 unless it is a process here, in another mount namespace than ours: an
/// engine behind a forwarded socket numbers the processes of another machine.
int VisiblePid(const json& state) {
  const json& number = Part(state, "Pid");
  int pid = number.is_number_integer() ? number.get<int>() : 0;
  if (pid <= 0) return 0;
  fs::path process = fs::path("/proc") / std::to_string(pid);
  std::error_code failure;
  if (!fs::exists(process, failure)) return 0;
  fs::path theirs = fs::read_symlink(process / "ns/mnt", failure);
  if (failure) return pid;  // Another user's; we cannot tell.
  fs::path ours = fs::read_symlink("/proc/self/ns/mnt", failure);
  return theirs == ours ? 0 : pid;
}

/// The standard sockets of the caller's own engines.
bool IsOwnSocket(const fs::path& socket) {
  std::string runtime = Variable("XDG_RUNTIME_DIR");
  if (geteuid() == 0 && socket == "/run/podman/podman.sock") return true;
  return !runtime.empty() && socket == fs::path(runtime) / "podman/podman.sock";
}

std::vector<std::string> ExecCommand(const Engine& engine,
                                     const std::string& id) {
  std::vector<std::string> words = {engine.name};
  // podman's own command finds the caller's own containers by itself.
  if (!engine.socket.empty() && !IsOwnSocket(engine.socket)) {
    words.push_back(engine.name == "podman" ? "--url" : "--host");
    words.push_back("unix://" + engine.socket.string());
  }
  words.insert(words.end(), {"exec", "-i", id});
  return words;
}

Container Describe(const Engine& engine, const json& found) {
  const json& configuration = Part(found, "Config");
  const json& state = Part(found, "State");
  Container container;
  container.engine = engine.name;
  container.id = Text(found, "Id");
  container.name = Text(found, "Name");
  if (container.name.starts_with('/')) container.name.erase(0, 1);
  container.image = Text(configuration, "Image");
  container.state = Text(state, "Status");
  container.pid = VisiblePid(state);
  for (const auto& [name, value] : Part(configuration, "Labels").items()) {
    if (value.is_string()) container.labels[name] = value;
  }
  container.environment = Variables(Part(configuration, "Env"));
  container.user = Text(configuration, "User");
  container.entrypoint = Words(Part(configuration, "Entrypoint"));
  container.command = Words(Part(configuration, "Cmd"));
  container.exec_command = ExecCommand(engine, container.id);
  return container;
}

json Parse(const std::string& who, const std::string& text) {
  json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) {
    // Quoted: it may be anything.
    throw Error(
        fmt::format("{} did not answer in JSON but {}; look what it is", who,
                    json(text.substr(0, 80))
                        .dump(-1, ' ', true, json::error_handler_t::replace)));
  }
  return parsed;
}

// By a socket.

struct EasyDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};

size_t Append(char* data, size_t size, size_t count, void* to) {
  auto* reply = static_cast<std::string*>(to);
  if (reply->size() + size * count > kLongestReply) return 0;  // An error.
  reply->append(data, size * count);
  return size * count;
}

/// One connection to an engine's socket, used again for each request.
class Api {
 public:
  explicit Api(fs::path socket) : socket_(std::move(socket)) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    handle_.reset(curl_easy_init());
  }

  /// The answer in JSON; none for "404, no such container". Throws Error.
  std::optional<json> Get(const std::string& path) {
    auto [status, reply] = Send(path, kReplyTimeoutMs);
    if (status == 404) return std::nullopt;
    if (status != 200) {
      std::string why = Text(json::parse(reply, nullptr, false), "message");
      throw Error(fmt::format("{} answers {} to {}{}; see its own log", who(),
                              status, path, why.empty() ? "" : ": " + why));
    }
    return Parse(who(), reply);
  }

  /// What it calls itself: `Libpod/4.3.1 (linux)`, `Docker/28.0 (linux)`.
  /// Throws Error. Cheaper than /version, for which podman starts other
  /// programs.
  std::string Server() {
    long status = Send("/_ping", kPingTimeoutMs).first;
    if (status != 200) {
      throw Error(fmt::format(
          "{} answers {} to /_ping; name an engine's socket by DOCKER_HOST",
          who(), status));
    }
    return server_;
  }

 private:
  static size_t ReadHeader(char* data, size_t size, size_t count, void* api) {
    std::string line(data, size * count);
    constexpr char kName[] = "server:";
    if (strncasecmp(line.c_str(), kName, sizeof(kName) - 1) == 0) {
      size_t begin = line.find_first_not_of(' ', sizeof(kName) - 1);
      size_t end = line.find_last_not_of("\r\n ");
      if (begin <= end) {
        static_cast<Api*>(api)->server_ = line.substr(begin, end + 1 - begin);
      }
    }
    return size * count;
  }

  std::string who() const {
    return "the container engine at " + socket_.string();
  }

  /// The status and the body.
  std::pair<long, std::string> Send(const std::string& path, long timeout_ms) {
    CURL* curl = handle_.get();
    std::string reply;
    char why[CURL_ERROR_SIZE] = "";
    std::string url = "http://engine" + path;
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_.c_str());
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Append);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, ReadHeader);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
      throw Error(fmt::format("{} does not answer: {}; start it again", who(),
                              *why ? why : curl_easy_strerror(code)));
    }
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return {status, reply};
  }

  fs::path socket_;
  std::string server_;
  std::unique_ptr<CURL, EasyDeleter> handle_;
};

/// Fills in what the socket says of itself, or why it says nothing.
Engine AskSocket(const fs::path& socket, const std::string& name) {
  Engine engine = {name, socket, "", ""};
  if (access(socket.c_str(), R_OK | W_OK) != 0) {
    engine.problem = fmt::format(
        "the socket of {} at {} cannot be opened: {}; {}", name,
        socket.string(), std::strerror(errno),
        errno == EACCES ? "run cyclescope as root or as a user of that engine"
                        : "start the engine or mend DOCKER_HOST or "
                          "CONTAINER_HOST");
    return engine;
  }
  try {
    std::string server = Api(socket).Server();
    engine.name = server.starts_with("Libpod/") ? "podman" : "docker";
    if (size_t slash = server.find('/'); slash != std::string::npos) {
      server.erase(0, slash + 1);
      engine.version = server.substr(0, server.find(' '));
    }
  } catch (const Error& error) {  // Of one engine of several.
    engine.problem = error.what();
  }
  return engine;
}

/// Ids and names, in the engine's order.
std::vector<std::pair<std::string, std::string>> Names(const json& list) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const json& one : list) {
    std::string name;
    for (std::string called : Words(Part(one, "Names"))) {
      if (called.starts_with('/')) called.erase(0, 1);
      // docker's links are names, too: of another container, then ours.
      if (called.find('/') == std::string::npos) name = called;
    }
    names.emplace_back(Text(one, "Id"), name);
  }
  return names;
}

// By podman's command.

/// The JSON that it prints; none if it knows no such thing. Throws Error.
std::optional<json> AskPodman(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "podman");
  CommandResult result = RunCommand(arguments, kCommandTimeout);
  if (result.status != 0 && result.output.empty()) {
    std::string said = result.errors.substr(0, result.errors.find('\n'));
    if (said.starts_with("Error: ")) said.erase(0, 7);
    throw Error(fmt::format("`{}` fails: {}; try it by hand",
                            fmt::join(arguments, " "),
                            said.empty() ? "it says nothing" : said));
  }
  json parsed = Parse("podman", result.output.empty() ? "[]" : result.output);
  if (parsed.is_array() && parsed.empty() && result.status != 0) {
    return std::nullopt;
  }
  return parsed;
}

/// Whether the command has anything to say; the first `podman ps` of a user
/// who never had a container would make folders and leave a process behind.
bool HasOwnStorage() {
  if (geteuid() == 0 || !Variable("CONTAINERS_STORAGE_CONF").empty()) {
    return true;
  }
  std::string home = Variable("HOME");
  std::string data = Variable("XDG_DATA_HOME");
  if (data.empty() && !home.empty()) data = home + "/.local/share";
  std::error_code failure;
  return (!data.empty() && fs::exists(data + "/containers", failure)) ||
         (!home.empty() &&
          fs::exists(home + "/.config/containers/storage.conf", failure));
}

Engine AskPodmanCommand() {
  Engine engine = {"podman", "", "", ""};
  if (!HasOwnStorage()) {
    engine.problem =
        "podman has no containers of this user and does not show those of "
        "others; run cyclescope as root or as their user";
    return engine;
  }
  try {
    std::optional<json> version = AskPodman({"version", "--format", "json"});
    if (version) engine.version = Text(Part(*version, "Client"), "Version");
  } catch (const Error& error) {  // Of one engine of several.
    engine.problem = error.what();
  }
  return engine;
}

/// Full descriptions of those that are still there.
std::vector<Container> Inspect(const Engine& engine,
                               const std::vector<std::string>& ids) {
  std::vector<Container> containers;
  if (ids.empty()) return containers;
  if (engine.socket.empty()) {
    std::vector<std::string> arguments = {"container", "inspect"};
    arguments.insert(arguments.end(), ids.begin(), ids.end());
    for (const json& one : AskPodman(arguments).value_or(json::array())) {
      containers.push_back(Describe(engine, one));
    }
    return containers;
  }
  Api api(engine.socket);
  for (const std::string& id : ids) {
    if (auto one = api.Get("/containers/" + id + "/json")) {
      containers.push_back(Describe(engine, *one));
    }
  }
  return containers;
}

std::vector<std::pair<std::string, std::string>> ListNames(
    const Engine& engine) {
  std::optional<json> list =
      engine.socket.empty()
          ? AskPodman({"ps", "--all", "--no-trunc", "--format", "json"})
          : Api(engine.socket).Get("/containers/json?all=true");
  return Names(list.value_or(json::array()));
}

/// A name that fits into a URL and no option of a command.
bool IsName(const std::string& text) {
  constexpr char kAllowed[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/:@";
  return !text.empty() && text.find_first_not_of(kAllowed) == text.npos &&
         !text.starts_with('-') && text.find("..") == text.npos;
}

/// A socket's path and the engine that it would be of.
struct Candidate {
  fs::path socket;
  std::string name;
  bool is_asked_for = false;  // Named by a variable: its absence is a problem.
  bool is_container_host = false;
};

}  // namespace

std::vector<Engine> FindEngines() {
  std::vector<Engine> engines;
  std::vector<Candidate> candidates;
  for (auto [variable, name] :
       {std::pair("DOCKER_HOST", "docker"), {"CONTAINER_HOST", "podman"}}) {
    std::string host = Variable(variable);
    if (host.starts_with("unix://")) {
      candidates.push_back({host.substr(7), name, true,
                            std::string(variable) == "CONTAINER_HOST"});
    } else if (!host.empty()) {
      engines.push_back(
          {name, "", "",
           fmt::format("{}={} is not on this machine; reach its containers by "
                       "exec:'ssh HOST {} exec -i NAME'",
                       variable, host, name)});
    }
  }
  if (std::string runtime = Variable("XDG_RUNTIME_DIR"); !runtime.empty()) {
    candidates.push_back({runtime + "/podman/podman.sock", "podman"});
    candidates.push_back({runtime + "/docker.sock", "docker"});
  }
  candidates.push_back({"/run/podman/podman.sock", "podman"});
  candidates.push_back({"/var/run/docker.sock", "docker"});

  std::set<std::pair<dev_t, ino_t>> seen;
  bool is_command_answered_for = false;
  for (const Candidate& candidate : candidates) {
    struct stat entry {};
    bool exists = stat(candidate.socket.c_str(), &entry) == 0;
    if (!exists && errno == ENOENT && !candidate.is_asked_for) continue;
    if (exists && !seen.emplace(entry.st_dev, entry.st_ino).second) continue;
    engines.push_back(AskSocket(candidate.socket, candidate.name));
    // podman's command would ask these as well.
    is_command_answered_for |=
        engines.back().problem.empty() && engines.back().name == "podman" &&
        (IsOwnSocket(candidate.socket) || candidate.is_container_host);
  }
  if (!is_command_answered_for && FindProgram("podman")) {
    engines.push_back(AskPodmanCommand());
  }
  auto is_docker = [](const Engine& engine) { return engine.name == "docker"; };
  if (std::none_of(engines.begin(), engines.end(), is_docker) &&
      FindProgram("dockerd")) {
    engines.push_back(
        {"docker", "", "",
         "docker is installed and has no socket at /var/run/docker.sock; "
         "start it, or name its socket by DOCKER_HOST=unix://PATH"});
  }
  return engines;
}

std::vector<Container> ListContainers(const Engine& engine) {
  if (!engine.problem.empty()) throw Error(engine.problem);
  std::vector<std::string> ids;
  for (const auto& [id, name] : ListNames(engine)) ids.push_back(id);
  return Inspect(engine, ids);
}

std::vector<Container> ListContainers(std::vector<Engine>& engines) {
  std::vector<Container> all;
  std::set<std::string> seen;
  for (Engine& engine : engines) {
    if (!engine.problem.empty()) continue;
    try {
      for (Container& one : ListContainers(std::as_const(engine))) {
        if (seen.insert(one.id).second) all.push_back(std::move(one));
      }
    } catch (const Error& error) {  // Of one engine of several.
      engine.problem = error.what();
    }
  }
  return all;
}

std::vector<Container> ListContainers() {
  std::vector<Engine> engines = FindEngines();
  return ListContainers(engines);
}

std::optional<Container> FindContainer(const std::string& name_or_id) {
  std::map<std::string, Engine> called;  // By id.
  std::map<std::string, Engine> begins;
  for (const Engine& engine : FindEngines()) {
    if (!engine.problem.empty()) continue;
    for (const auto& [id, name] : ListNames(engine)) {
      if (name == name_or_id || id == name_or_id) called.emplace(id, engine);
      if (id.starts_with(name_or_id)) begins.emplace(id, engine);
    }
  }
  const auto& found = called.empty() ? begins : called;
  if (found.empty() || name_or_id.empty()) return std::nullopt;
  if (found.size() > 1) {
    throw Error(fmt::format(
        "'{}' is the name or the start of the id of {} containers: give the "
        "whole id of one, such as {}",
        name_or_id, found.size(), found.begin()->first));
  }
  const auto& [id, engine] = *found.begin();
  std::vector<Container> one = Inspect(engine, {id});
  if (one.empty()) return std::nullopt;  // Gone meanwhile.
  return one[0];
}

std::optional<ImageConfiguration> FindImage(const std::string& name) {
  if (!IsName(name)) return std::nullopt;
  for (const Engine& engine : FindEngines()) {
    if (!engine.problem.empty()) continue;
    std::optional<json> found =
        engine.socket.empty()
            ? AskPodman({"image", "inspect", name})
            : Api(engine.socket).Get("/images/" + name + "/json");
    if (found && found->is_array())
      found = found->empty() ? json() : found->at(0);
    if (!found || !found->is_object()) continue;
    const json& configuration = Part(*found, "Config");
    return ImageConfiguration{Variables(Part(configuration, "Env")),
                              Text(configuration, "User"),
                              Words(Part(configuration, "Entrypoint")),
                              Words(Part(configuration, "Cmd"))};
  }
  return std::nullopt;
}

}  // namespace injector
