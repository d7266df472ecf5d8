// What an engine may answer that the real one of the process tests does not.
#include "injector/engine.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <thread>

#include "tests/injector/fake_tree.h"

namespace injector {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Answers each path with a fixed HTTP response, on a socket that DOCKER_HOST
/// names; closes the connection for a path that it does not know.
class FakeEngine {
 public:
  explicit FakeEngine(std::map<std::string, std::string> answers)
      : answers_(std::move(answers)) {
    path_ = (tree_.root() / "e.sock").string();
    listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    listen(listener_, 8);
    thread_ = std::thread([this] { Serve(); });
    setenv("DOCKER_HOST", ("unix://" + path_).c_str(), 1);
    path_before_ = std::getenv("PATH");
    setenv("PATH", "/nowhere", 1);  // No podman of this machine's own.
    unsetenv("CONTAINER_HOST");
    unsetenv("XDG_RUNTIME_DIR");
  }
  ~FakeEngine() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    unsetenv("DOCKER_HOST");
    setenv("PATH", path_before_.c_str(), 1);
  }

  const std::string& path() const { return path_; }

 private:
  void Serve() {
    for (int fd = 0; (fd = accept(listener_, nullptr, nullptr)) >= 0;) {
      std::string request(4096, '\0');
      ssize_t length = read(fd, request.data(), request.size());
      request.resize(length > 0 ? static_cast<size_t>(length) : 0);
      size_t begin = request.find(' ') + 1;
      std::string path =
          request.substr(begin, request.find(' ', begin) - begin);
      auto answer = answers_.find(path);
      if (answer != answers_.end()) {
        [[maybe_unused]] ssize_t written =
            write(fd, answer->second.data(), answer->second.size());
      }
      close(fd);
    }
  }

  FakeTree tree_;
  std::map<std::string, std::string> answers_;
  std::string path_;
  std::string path_before_;
  int listener_ = -1;
  std::thread thread_;
};

std::string Answer(const std::string& body,
                   const std::string& status = "200 OK",
                   const std::string& server = "Docker/28.1.0 (linux)") {
  return "HTTP/1.1 " + status + "\r\nServer: " + server +
         "\r\nConnection: close\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// Of this machine there may be others.
Engine TheFake(const FakeEngine& fake) {
  for (const Engine& engine : FindEngines()) {
    if (engine.socket == fake.path()) return engine;
  }
  ADD_FAILURE() << "the engine is not found";
  return {};
}

constexpr char kList[] =
    R"([{"Id": "0123abcd", "Names": ["/proxy/app", "/web"], "Labels": null},
        {"Id": "0199ffff", "Names": ["/gone"]}])";
constexpr char kInspected[] =
    R"({"Id": "0123abcd", "Name": "/web",
        "State": {"Status": "exited", "Pid": 0},
        "Config": {"Image": "app:1", "User": "1001:0", "Env": ["A=b=c", "EMPTY="],
                   "Entrypoint": null, "Cmd": ["python3", "-m", "web"],
                   "Labels": {"com.docker.compose.project": "ccx"}}})";

TEST(Engine, DockersAnswersBecomeContainers) {
  FakeEngine fake({{"/_ping", Answer("OK")},
                   {"/containers/json?all=true", Answer(kList)},
                   {"/containers/0123abcd/json", Answer(kInspected)},
                   {"/containers/0199ffff/json",
                    Answer(R"({"message": "no such"})", "404 Not Found")}});
  Engine engine = TheFake(fake);
  EXPECT_EQ(engine.problem, "");
  EXPECT_EQ(engine.name, "docker");
  EXPECT_EQ(engine.version, "28.1.0");
  std::vector<Container> containers = ListContainers(engine);
  ASSERT_EQ(containers.size(), 1u);  // The other went meanwhile.
  const Container& web = containers[0];
  EXPECT_EQ(web.name, "web");
  EXPECT_EQ(web.pid, 0);
  EXPECT_EQ(web.user, "1001:0");
  EXPECT_EQ(web.environment, (Environment{{"A", "b=c"}, {"EMPTY", ""}}));
  EXPECT_THAT(web.entrypoint, ElementsAre());
  EXPECT_THAT(web.command, ElementsAre("python3", "-m", "web"));
  EXPECT_EQ(web.labels.at("com.docker.compose.project"), "ccx");
  EXPECT_THAT(web.exec_command,
              ElementsAre("docker", "--host", "unix://" + fake.path(), "exec",
                          "-i", "0123abcd"));
}

TEST(Engine, AContainerIsFoundByNameAndByTheStartOfItsId) {
  FakeEngine fake({{"/_ping", Answer("OK")},
                   {"/containers/json?all=true", Answer(kList)},
                   {"/containers/0123abcd/json", Answer(kInspected)}});
  EXPECT_EQ(FindContainer("web")->id, "0123abcd");
  EXPECT_EQ(FindContainer("0123")->id, "0123abcd");
  EXPECT_FALSE(FindContainer("nobody"));
  EXPECT_FALSE(FindContainer(""));
  EXPECT_THROW(FindContainer("01"), Error);  // Ambiguous.
}

TEST(Engine, AnImagesConfigurationIsReadByItsName) {
  FakeEngine fake(
      {{"/_ping", Answer("OK")},
       {"/images/registry/app:1/json",
        Answer(R"({"Config": {"Env": ["PYTHONPATH=/app"], "User": "1001",
                   "Entrypoint": ["tini", "--"], "Cmd": null}})")},
       {"/images/gone/json", Answer("{}", "404 Not Found")}});
  std::optional<ImageConfiguration> image = FindImage("registry/app:1");
  ASSERT_TRUE(image);
  EXPECT_EQ(image->environment.at("PYTHONPATH"), "/app");
  EXPECT_EQ(image->user, "1001");
  EXPECT_THAT(image->entrypoint, ElementsAre("tini", "--"));
  EXPECT_THAT(image->command, ElementsAre());
  EXPECT_FALSE(FindImage("gone"));
  for (const char* name : {"", "-v", "../../containers/x", "a b", "a?b"}) {
    EXPECT_FALSE(FindImage(name)) << name;
  }
}

TEST(Engine, NonsenseIsASentence) {
  struct {
    std::map<std::string, std::string> answers;
    const char* says;
  } cases[] = {
      {{}, "does not answer"},
      {{{"/_ping", "what?\r\n\r\n"}}, "does not answer"},
      {{{"/_ping", Answer("", "500 Internal Server Error")}}, "answers 500"},
  };
  for (const auto& one : cases) {
    FakeEngine fake(one.answers);
    EXPECT_THAT(TheFake(fake).problem, HasSubstr(one.says));
    EXPECT_THROW(ListContainers(TheFake(fake)), Error);
  }
  FakeEngine fake(
      {{"/_ping", Answer("OK")},
       {"/containers/json?all=true", Answer("<html>\x1b[31m\xff")}});
  try {
    ListContainers(TheFake(fake));
    FAIL() << "nonsense was taken for containers";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("did not answer in JSON but \"<html>\\u001b[31m"));
  }
}

TEST(Engine, ARefusalIsToldWithItsReasonIfThereIsOne) {
  for (auto [body, says] :
       {std::pair("<html>forbidden</html>", "answers 403 to /containers/json"),
        {R"({"message": "not for you"})", "?all=true: not for you"}}) {
    FakeEngine fake(
        {{"/_ping", Answer("OK")},
         {"/containers/json?all=true", Answer(body, "403 Forbidden")}});
    std::vector<Engine> engines = {TheFake(fake)};
    EXPECT_THAT(ListContainers(engines), ElementsAre());
    EXPECT_THAT(engines[0].problem, HasSubstr(says));
  }
}

TEST(Engine, JsonOfAnotherShapeGivesNoContainer) {
  for (const char* body : {"{}", "[]", "[[]]", "[{\"Id\": 5}]", "null", "7"}) {
    FakeEngine fake({{"/_ping", Answer("OK")},
                     {"/containers/json?all=true", Answer(body)},
                     {"/containers//json", Answer("{}", "404 Not Found")}});
    EXPECT_THAT(ListContainers(TheFake(fake)), ElementsAre()) << body;
  }
}

TEST(Engine, AnotherMachinesAndAbsentSocketsAreProblems) {
  setenv("DOCKER_HOST", "ssh://somewhere", 1);
  setenv("CONTAINER_HOST", "unix:///nowhere/podman.sock", 1);
  std::vector<std::string> problems;
  for (const Engine& engine : FindEngines()) problems.push_back(engine.problem);
  unsetenv("DOCKER_HOST");
  unsetenv("CONTAINER_HOST");
  EXPECT_THAT(problems, testing::Contains(HasSubstr("not on this machine")));
  EXPECT_THAT(problems, testing::Contains(HasSubstr("/nowhere/podman.sock")));
}

}  // namespace
}  // namespace injector
