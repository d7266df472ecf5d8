#pragma once

#include <CLI/CLI.hpp>

namespace collector {

/// Each adds one verb to the command line. When the verb is called it writes
/// its exit code to `exit_code`, which outlives the application, or throws.
void AddDoctor(CLI::App& app, int* exit_code);
void AddPs(CLI::App& app, int* exit_code);
void AddRun(CLI::App& app, int* exit_code);
void AddSelftest(CLI::App& app, int* exit_code);
void AddSnapshot(CLI::App& app, int* exit_code);
void AddDiff(CLI::App& app, int* exit_code);
void AddTop(CLI::App& app, int* exit_code);
void AddPath(CLI::App& app, int* exit_code);
void AddWhatIf(CLI::App& app, int* exit_code);
void AddLoad(CLI::App& app, int* exit_code);
void AddRecord(CLI::App& app, int* exit_code);
void AddVerdict(CLI::App& app, int* exit_code);
void AddCompare(CLI::App& app, int* exit_code);
void AddReport(CLI::App& app, int* exit_code);
void AddCompose(CLI::App& app, int* exit_code);
void AddKube(CLI::App& app, int* exit_code);
void AddDemo(CLI::App& app, int* exit_code);

}  // namespace collector
