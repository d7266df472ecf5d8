#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace collector {

class AgentClient;

/// Where the figures of one process come from, tick by tick.
class Sampler {
 public:
  /// Series and values (names in store/run.h; bytes, seconds, counts). What
  /// cannot be read is left out.
  using Figures = std::vector<std::pair<std::string, double>>;

  virtual ~Sampler() = default;
  /// As this machine sees the process or, where it cannot, as its container.
  virtual int pid() const = 0;
  /// With the pid it tells one process for ever.
  virtual int64_t start_ticks() const = 0;
  /// In words that a reader can check.
  virtual const std::string& memory_source() const = 0;
  /// Whether it is still the same process, as far as is known by now.
  virtual bool Alive() const = 0;
  /// None if the process is gone.
  virtual std::optional<Figures> Read() = 0;
};

/// From this machine's files where it sees the process, else what the inspector
/// answers to `sample`. `agent` must outlive it. Throws Error if there is no
/// such process any more.
std::unique_ptr<Sampler> MakeSampler(const AgentClient& agent);

}  // namespace collector
