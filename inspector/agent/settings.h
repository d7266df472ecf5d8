#pragma once

#include <string>
#include <vector>

namespace inspector {

/// What the environment asks of the agent (design, "In the service"). Read once
/// when it starts; later changes of the environment have no effect.
struct Settings {
  std::string directory;  // CYCLESCOPE_DIR, else the first writable default.
  bool directory_is_default = false;
  std::string out;  // CYCLESCOPE_OUT; empty: `directory`.
  bool out_is_stderr = false;
  double every_seconds = 0;          // CYCLESCOPE_EVERY; 0 = only on request.
  int signal = 0;                    // CYCLESCOPE_SIGNAL; 0 = none.
  double at_percent = 0;             // CYCLESCOPE_AT; 0 = not watched.
  std::vector<std::string> watch;    // CYCLESCOPE_WATCH
  std::string children = "workers";  // CYCLESCOPE_CHILDREN
  std::vector<std::string> allow;    // CYCLESCOPE_ALLOW
  bool Allows(const std::string& request) const;
};

/// Where nothing is said, the classes that the main job is about are watched.
inline constexpr char kDefaultWatch[] = "insights.core.dr.Broker";

/// Throws std::runtime_error with a sentence that names the variable.
Settings ReadSettings();

/// The first of /run, /tmp and /dev/shm that this process may listen in; empty
/// if none.
std::string DefaultDirectory();

/// "60s", "5m", "2h", "500ms" or plain seconds; throws as above.
double ParseDuration(const std::string& variable, const std::string& text);

/// "USR2", as CYCLESCOPE_SIGNAL has it; empty for 0.
std::string SignalName(int number);

}  // namespace inspector
