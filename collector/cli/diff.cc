#include <fmt/format.h>

#include "collector/cli/growth_table.h"
#include "collector/cli/options.h"
#include "collector/cli/verbs.h"
#include "collector/store/snapshot_file.h"
#include "collector/verdict/growth.h"

namespace collector {

namespace {

struct DiffOptions {
  std::string before;
  std::string after;
  size_t top = 10;
  bool json = false;
};

}  // namespace

void AddDiff(CLI::App& app, int*) {
  auto options = std::make_shared<DiffOptions>();
  CLI::App* verb =
      app.add_subcommand("diff", "Says what grew between two snapshots");
  verb->add_option("A", options->before,
                   "A report that `snapshot --json` printed")
      ->required();
  verb->add_option("B", options->after, "A later one of the same process")
      ->required();
  AddRows(*verb, options->top);
  verb->add_flag("--json", options->json, "All of it as JSON");
  verb->footer(
      "Example: cyclescope diff before.json after.json\n"
      "Exit code: 0, or 12 if the two are not comparable");
  verb->callback([options] {
    nlohmann::json growth = Growth(ReadSnapshotReport(options->before),
                                   ReadSnapshotReport(options->after));
    fmt::print("{}", options->json ? growth.dump() + "\n"
                                   : RenderGrowth(growth, options->top));
  });
}

}  // namespace collector
