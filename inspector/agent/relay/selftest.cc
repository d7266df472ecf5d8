#include "inspector/agent/relay/selftest.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "inspector/agent/relay/agents.h"
#include "inspector/agent/relay/install.h"

namespace relay {

namespace {

/// The service's own interpreter, if one runs that may be looked at.
std::string OfService() {
  int closed = 0;
  for (const Agent& agent : FindAgents(&closed)) {
    char path[PATH_MAX];
    std::string link = "/proc/" + std::to_string(agent.pid) + "/exe";
    ssize_t length = readlink(link.c_str(), path, sizeof path);
    std::string found(path, length > 0 ? static_cast<size_t>(length) : 0);
    // A program that embeds Python would not take our arguments.
    if (found.find("/python") != std::string::npos &&
        access(found.c_str(), X_OK) == 0)
      return found;
  }
  return {};
}

std::string OfPath() {
  const char* variable = getenv("PATH");
  std::string path =
      variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
  // Images call it differently; the newest that is supported comes first.
  for (const char* name : {"python3", "python", "python3.14", "python3.13",
                           "python3.12", "python3.11"}) {
    for (size_t begin = 0; begin <= path.size();) {
      size_t end = path.find(':', begin);
      if (end == std::string::npos) end = path.size();
      std::string candidate = path.substr(begin, end - begin) + "/" + name;
      if (access(candidate.c_str(), X_OK) == 0) return candidate;
      begin = end + 1;
    }
  }
  return {};
}

/// Whoever waits for it (collector/sample/selftest.h) gives up after 60 s; what
/// it started in a container, an engine leaves running.
constexpr time_t kAtMostS = 50;

/// Starts it and waits. The exit status as a shell has it, or what went wrong.
std::string RunBounded(char** arguments, char** environment, int* status) {
  sigset_t ended;
  sigset_t before;
  sigemptyset(&ended);
  sigaddset(&ended, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ended, &before);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    execvpe(arguments[0], arguments, environment);
    std::fprintf(stderr, "cyclescope-relay: %s cannot be started: %s\n",
                 arguments[0], strerror(errno));
    _exit(127);
  }
  if (child < 0)
    return std::string("no process can be started here: ") + strerror(errno) +
           "; raise its limit of processes";
  int raw = 0;
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const time_t end = now.tv_sec + kAtMostS;
  while (waitpid(child, &raw, WNOHANG) != child) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec >= end) {
      kill(-child, SIGKILL);
      // What it started, too: process 1 of a container often reaps nothing.
      while (waitpid(-child, &raw, 0) > 0) {
      }
      return std::string(arguments[0]) + " has not ended within " +
             std::to_string(kAtMostS) +
             " s and was ended; try whether it starts by hand";
    }
    timespec left = {end - now.tv_sec, 0};
    sigtimedwait(&ended, nullptr, &left);
  }
  *status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
  return {};
}

}  // namespace

std::string RunSelftest(const std::string& python, int* status) {
  std::string chosen = python;
  if (chosen.empty()) chosen = OfService();
  if (chosen.empty()) chosen = OfPath();
  if (chosen.empty())
    return "there is no Python in PATH here; name it: cyclescope selftest "
           "TARGET --python /path/to/python";
  // A service's triggers are not the test's.
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string text = *entry;
    bool keep = text.rfind("CYCLESCOPE_DIR=", 0) == 0 ||
                (text.rfind("CYCLESCOPE", 0) != 0 &&
                 text.rfind("PYTHONPATH=", 0) != 0 &&
                 text.rfind("PYTHONSTARTUP=", 0) != 0);
    if (keep) variables.push_back(text);
  }
  std::string folder = OwnFolder();
  variables.push_back("PYTHONPATH=" + folder);
  variables.push_back("PYTHONDONTWRITEBYTECODE=1");
  std::vector<char*> environment;
  for (std::string& text : variables) environment.push_back(text.data());
  environment.push_back(nullptr);
  std::string program = folder + "/selftest.py";
  char* arguments[] = {chosen.data(), program.data(), nullptr};
  return RunBounded(arguments, environment.data(), status);
}

}  // namespace relay
