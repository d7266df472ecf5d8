#include "collector/sample/agent_client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <poll.h>

#include <fstream>

#include "collector/error.h"
#include "collector/sample/child_process.h"
#include "collector/sample/find_clients.h"
#include "collector/sample/relay_channel.h"
#include "injector/environment.h"
#include "injector/target_socket.h"
#include "tests/collector/fake_agent.h"
#include "tests/collector/temp_folder.h"

namespace collector {
namespace {

using testing::HasSubstr;

/// What the call throws, in words.
template <typename Call>
std::string ErrorOf(Call call) {
  try {
    call();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

class AgentClientTest : public testing::Test {
 protected:
  std::string Socket() const { return (folder_.path() / "a.sock").string(); }
  TempFolder folder_;
};

TEST_F(AgentClientTest, PingsAndTakesASnapshot) {
  FakeAgent agent(Socket(), PongOrSnapshot);
  AgentClient client = AgentClient::Connect(Socket());
  EXPECT_EQ(client.pid(), getpid());
  EXPECT_EQ(client.Ping()["python"], "3.11.2");
  EXPECT_EQ(client.Snapshot({}) + "\n", kEmptySnapshot);
}

TEST_F(AgentClientTest, SendsWatchedTypesAndTheDescriptor) {
  std::string seen;
  FakeAgent agent(Socket(), [&](const std::string& request, int passed) {
    if (passed >= 0) {
      seen = request;
      EXPECT_EQ(write(passed, "0x1 a.B pinned\n", 15), 15);
    }
    return PongOrSnapshot(request, passed);
  });
  AgentClient client = AgentClient::Connect(Socket());
  std::string ids = (folder_.path() / "ids").string();
  UniqueFd file(open(ids.c_str(), O_WRONLY | O_CREAT, 0600));
  SnapshotRequest request;
  request.watch = {"Broker"};
  request.ids_fd = file.get();
  client.Snapshot(request);
  EXPECT_EQ(
      nlohmann::json::parse(seen),
      nlohmann::json(
          {{"request", "snapshot"}, {"watch", {"Broker"}}, {"ids", true}}));
  std::string line;
  std::getline(std::ifstream(ids), line);
  EXPECT_EQ(line, "0x1 a.B pinned");
}

TEST_F(AgentClientTest, TheFolderInsideIsFoundAmongOthers) {
  injector::Container container;
  EXPECT_EQ(FolderIn(container), "/opt/cyclescope");
  for (auto [path, folder] :
       {std::pair("/app:/srv/cyclescope:/x/cyclescope", "/srv/cyclescope"),
        {"/app", "/opt/cyclescope"},
        {"lib/cyclescope", "/opt/cyclescope"}}) {
    container.environment["PYTHONPATH"] = path;
    EXPECT_EQ(FolderIn(container), folder) << path;
  }
}

TEST_F(AgentClientTest, AFolderThatAContainerNamesIsOneWordToTheShell) {
  std::string made = (folder_.path() / "made").string();
  for (const char* form :
       {"/x;touch {} #", "/x' ;touch {} '", "/$(touch {})"}) {
    RelayPlace place = {"a place", "true",
                        fmt::format(fmt::runtime(form), made)};
    EXPECT_THAT(ErrorOf([&] { AgentsAt(place); }), HasSubstr("ended before"));
    EXPECT_FALSE(std::filesystem::exists(made)) << form;
  }
}

TEST_F(AgentClientTest, WhatIsNoJsonIsShownWithoutControlCharacters) {
  FakeAgent agent(Socket(), [](const std::string&, int) {
    return std::string("\x1b]0;a\x07 \xc2\x9b\x7f\n");
  });
  EXPECT_THAT(ErrorOf([&] { AgentClient::Connect(Socket()); }),
              HasSubstr("but '?]0;a? ??…'"));
}

TEST_F(AgentClientTest, AnAnswerThatTricklesOnEndsAtItsTime) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  ASSERT_EQ(write(theirs.get(), "x", 1), 1);
  auto now = std::chrono::steady_clock::now();
  EXPECT_TRUE(WaitFor(ours.get(), POLLIN, now + std::chrono::seconds(5)));
  EXPECT_FALSE(WaitFor(ours.get(), POLLIN, now));
}

TEST_F(AgentClientTest, WhereTooManyWaitAlreadyItIsSaidSo) {
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, Socket().c_str());
  auto* place = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(bind(listener.get(), place, sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 0), 0);
  UniqueFd waiting(socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(connect(waiting.get(), place, sizeof address), 0);
  injector::TargetSocket target = injector::OpenSocket(Socket());
  EXPECT_THAT(ErrorOf([&] { injector::ConnectTo(target); }),
              HasSubstr("takes no more requests"));
}

TEST_F(AgentClientTest, ARefusalIsTheInspectorsOwnSentence) {
  FakeAgent agent(Socket(), [](const std::string& request, int passed) {
    return request.find("snapshot") != std::string::npos
               ? std::string("{\"error\":\"one at a time\"}\n")
               : PongOrSnapshot(request, passed);
  });
  AgentClient client = AgentClient::Connect(Socket());
  EXPECT_EQ(ErrorOf([&] { client.Snapshot({}); }),
            "the inspector did not do `snapshot`: one at a time");
}

TEST_F(AgentClientTest, WhatIsNoInspectorIsSaidToBeNone) {
  for (const char* answer : {"hello\n", "[1]\n", "{}\n"}) {
    SCOPED_TRACE(answer);
    FakeAgent agent(Socket(),
                    [answer](const std::string&, int) { return answer; });
    EXPECT_THAT(ErrorOf([&] { AgentClient::Connect(Socket()); }),
                HasSubstr("no inspector"));
  }
}

TEST_F(AgentClientTest, ControlCharactersInAnAnswerDoNotReachTheTerminal) {
  FakeAgent agent(Socket(), [](const std::string& request, int passed) {
    return request.find("snapshot") == std::string::npos
               ? PongOrSnapshot(request, passed)
               : R"({"schema":"cyclescope.snapshot/1",)"
                 R"("a":"\u001b[2J\n\u007F\u0085\u00e4 → \\u001b \" \/x)"
                 "\xc2\x9b\x7f\xc2\xa7\"}\n";
  });
  AgentClient client = AgentClient::Connect(Socket());
  nlohmann::json report = nlohmann::json::parse(client.Snapshot({}));
  EXPECT_EQ(report["a"], "?[2J???ä → \\u001b \" /x??§");
}

TEST_F(AgentClientTest, AnAnswerThatStopsHalfWayIsAnError) {
  FakeAgent agent(Socket(),
                  [](const std::string&, int) { return "{\"pong\":tr"; });
  EXPECT_THAT(ErrorOf([&] { AgentClient::Connect(Socket()); }),
              HasSubstr("before the answer was complete"));
}

TEST_F(AgentClientTest, AnAnswerWithoutEndIsAnError) {
  FakeAgent agent(Socket(), [](const std::string& request, int passed) {
    return request.find("snapshot") == std::string::npos
               ? PongOrSnapshot(request, passed)
               : std::string(size_t{257} << 20, ' ');
  });
  AgentClient client = AgentClient::Connect(Socket());
  EXPECT_THAT(ErrorOf([&] { client.Snapshot({}); }),
              HasSubstr("longer than 256 MiB"));
}

TEST_F(AgentClientTest, SilenceEndsAtTheTimeout) {
  FakeAgent agent(Socket(), [](const std::string& request, int passed) {
    if (request.find("snapshot") != std::string::npos) {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return PongOrSnapshot(request, passed);
  });
  AgentClient client = AgentClient::Connect(Socket());
  SnapshotRequest request;
  request.timeout = std::chrono::milliseconds(20);
  EXPECT_THAT(ErrorOf([&] { client.Snapshot(request); }),
              HasSubstr("has not answered within 0 s"));
}

TEST_F(AgentClientTest, TellsStaleAbsentAndWrongFiles) {
  { FakeAgent agent(Socket(), PongOrSnapshot); }
  EXPECT_THAT(ErrorOf([&] { AgentClient::Connect(Socket()); }),
              HasSubstr("No such file"));
  std::ofstream(Socket()) << "text";
  EXPECT_THAT(ErrorOf([&] { AgentClient::Connect(Socket()); }),
              HasSubstr("is not a socket"));
  std::filesystem::remove(Socket());
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, Socket().c_str(),
               sizeof(address.sun_path) - 1);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(
      bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)),
      0);
  EXPECT_THAT(ErrorOf([&] { AgentClient::Connect(Socket()); }),
              HasSubstr("is stale"));
  std::filesystem::create_symlink(Socket(), Socket() + ".link");
  EXPECT_THAT(ErrorOf([&] { AgentClient::Connect(Socket() + ".link"); }),
              HasSubstr("but a link"));
}

TEST_F(AgentClientTest, ReachesASocketWhosePathIsTooLongForAnAddress) {
  std::filesystem::path deep = folder_.path() / std::string(120, 'd');
  std::filesystem::create_directory(deep);
  std::filesystem::path here = std::filesystem::current_path();
  std::filesystem::current_path(deep);
  {
    FakeAgent agent("a.sock", PongOrSnapshot);
    std::filesystem::current_path(here);
    AgentClient client = AgentClient::Connect((deep / "a.sock").string());
    EXPECT_EQ(client.Ping()["pong"], true);
    std::filesystem::current_path(deep);
  }
  std::filesystem::current_path(here);
}

TEST(FindSocket, SaysWhichOfTheCasesItIs) {
  TempFolder folder;
  EXPECT_THAT(ErrorOf([] { injector::FindSocket(0x3fffffff); }),
              HasSubstr("there is no process 1073741823"));
  ChildProcess sleeper(
      {{"/bin/cat"}, {}, folder.path(), folder.path() / "out"});
  EXPECT_THAT(ErrorOf([&] { injector::FindSocket(sleeper.pid()); }),
              HasSubstr("(cat) is not a Python"));
  ChildProcess python({{"/usr/bin/python3", "-Sc", "input()"},
                       {{"CYCLESCOPE_DIR", folder.path().string()}},
                       folder.path(),
                       folder.path() / "out"});
  EXPECT_THAT(ErrorOf([&] { injector::FindSocket(python.pid()); }),
              HasSubstr("start it with `cyclescope run -- CMD`"));
  std::string name = "cyclescope-" + std::to_string(python.pid()) + ".sock";
  FakeAgent agent(folder.path() / name, PongOrSnapshot);
  injector::TargetSocket found = injector::FindSocket(python.pid());
  EXPECT_EQ(found.path.filename(), name);
  // We answer there, not the process that was asked for.
  EXPECT_THAT(
      ErrorOf([&] { AgentClient::Connect(std::to_string(python.pid())); }),
      HasSubstr("answered by process " + std::to_string(getpid())));
}

TEST(InspectorEnvironment, PutsTheHookFirstAndKeepsTheRest) {
  setenv("CYCLESCOPE_WATCH", "Broker", 1);
  injector::Environment variables =
      injector::InspectorEnvironment("/hook", "/old:/older", {"/overlay"});
  EXPECT_EQ(variables["PYTHONPATH"], "/hook:/overlay:/old:/older");
  EXPECT_EQ(variables["CYCLESCOPE"], "1");
  EXPECT_EQ(variables["CYCLESCOPE_WATCH"], "Broker");
  unsetenv("CYCLESCOPE_WATCH");
  EXPECT_EQ(injector::InspectorEnvironment("/hook", "")["PYTHONPATH"], "/hook");
}

}  // namespace
}  // namespace collector
