#include <fmt/format.h>

#include "collector/error.h"
#include "collector/sample/agent_client.h"
#include "collector/sample/process_sampler.h"
#include "collector/sample/sampler.h"
#include "collector/store/run.h"

namespace collector {

namespace {

/// The figures as the inspector answers them. Where only a command reaches it,
/// nothing else can be read: not the machine's files, and the cgroup's figures
/// would hold the command's own processes.
class AgentSampler : public Sampler {
 public:
  explicit AgentSampler(const AgentClient& agent) : agent_(agent) {
    nlohmann::json sample = agent.Sample();
    pid_ = sample.value("pid_in_namespace", 0);
    start_ticks_ = sample.value("start_ticks", int64_t{0});
    memory_source_ =
        fmt::format("{}, as the inspector in the process reads it",
                    sample.value("/memory/anon_source"_json_pointer, "?"));
  }

  int pid() const override { return pid_; }
  int64_t start_ticks() const override { return start_ticks_; }
  const std::string& memory_source() const override { return memory_source_; }
  bool Alive() const override { return alive_; }

  std::optional<Figures> Read() override {
    nlohmann::json sample;
    try {
      sample = Ask();
    } catch (const NoAnswerInTime&) {
      return Figures();  // Busy with a snapshot, or stopped: a gap.
    } catch (const Error&) {
      alive_ = false;
      return std::nullopt;
    }
    alive_ = sample.value("start_ticks", int64_t{-1}) == start_ticks_;
    if (!alive_) return std::nullopt;
    Figures figures;
    auto add = [&](const char* series, const char* pointer, double unit) {
      nlohmann::json::json_pointer at(pointer);
      if (sample.contains(at) && sample[at].is_number())
        figures.emplace_back(series, sample[at].get<double>() * unit);
    };
    add(kAnon, "/memory/anon", 1);
    add("memory.rss", "/memory/rss", 1);
    add("memory.file", "/memory/file", 1);
    add("memory.swap", "/memory/swap", 1);
    add("cpu.seconds", "/cpu_ms", 0.001);
    add("threads", "/threads", 1);
    add("descriptors", "/descriptors", 1);
    return figures;
  }

 private:
  /// Twice if need be: the command may have ended, and not the service.
  nlohmann::json Ask() const {
    try {
      return agent_.Sample();
    } catch (const NoAnswerInTime&) {
      throw;
    } catch (const Error&) {
      return agent_.Sample();
    }
  }

  const AgentClient& agent_;
  int pid_ = 0;
  int64_t start_ticks_ = 0;
  std::string memory_source_;
  bool alive_ = true;
};

}  // namespace

std::unique_ptr<Sampler> MakeSampler(const AgentClient& agent) {
  if (agent.pid() != 0) return std::make_unique<ProcessSampler>(agent.pid());
  return std::make_unique<AgentSampler>(agent);
}

}  // namespace collector
