// The one program of ours that runs in the container beside the service: it
// stands between a pair of pipes (`podman exec -i`, `oc exec -i`, `ssh`) and
// the agent's socket. Static and without exceptions, so that it needs nothing
// of the image: no Python, no shell, no tar, no C library.

#include <cstdio>
#include <cstring>
#include <string>

#include "inspector/agent/relay/install.h"
#include "inspector/agent/relay/selftest.h"
#include "inspector/agent/relay/session.h"

namespace {

constexpr char kHelp[] =
    "cyclescope-relay: carries requests to the inspector in this container\n"
    "  cyclescope-relay               over stdin and stdout; `cyclescope "
    "snapshot\n"
    "                                 exec:'podman exec -i NAME'` starts it\n"
    "  cyclescope-relay install DIR   copies the inspector's folder into DIR\n"
    "  cyclescope-relay selftest [PYTHON]   checks the inspector in this "
    "place\n"
    "  cyclescope-relay --version\n";

int Fail(const std::string& sentence, int status) {
  std::fprintf(stderr, "cyclescope-relay: %s\n", sentence.c_str());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 1) return relay::Serve();
  std::string verb = argv[1];
  if (verb == "--version" && argc == 2) {
    std::puts(CYCLESCOPE_VERSION);
    return 0;
  }
  if (verb == "--help" && argc == 2) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (verb == "install" && argc == 3) {
    std::string problem = relay::Install(argv[2]);
    return problem.empty() ? 0 : Fail(problem, 1);
  }
  if (verb == "selftest" && argc <= 3) {
    int status = 0;
    std::string problem = relay::RunSelftest(argc == 3 ? argv[2] : "", &status);
    return problem.empty() ? status : Fail(problem, 1);
  }
  return Fail("no such use; see `cyclescope-relay --help`", 2);
}
