#pragma once

#include <string>
#include <string_view>

namespace inspector {

/// Where the reports go that nobody waits for: files of one folder, or stderr.
class ReportOutput {
 public:
  /// Files that are kept; the oldest goes when one more is written.
  static constexpr int kKeep = 100;
  static constexpr size_t kKeepInFolder = 1000;  // Of all processes.

  /// An empty `directory` means stderr.
  ReportOutput(std::string directory, int pid)
      : directory_(std::move(directory)), pid_(pid) {}
  /// A file: the whole report, there as a whole or not at all. Stderr: the
  /// counts alone, one line.
  void Write(const std::string& report, const char* trigger);

 private:
  std::string PathOf(int number) const;
  /// Writes and renames; false with errno.
  bool WriteFile(const std::string& path, const std::string& text) const;
  /// The highest number that an earlier process with our pid (in a container
  /// they all have one) has left: its last words are not overwritten.
  int LastNumber() const;

  std::string directory_;
  int pid_;
  int number_ = -1;  // Of the last one; -1: not looked yet.
  bool failed_ = false;
};

/// Removes the oldest reports of this user's processes in a folder, so that
/// `keep` are left: workers that come and go would fill it.
void RemoveOldReports(const std::string& directory, size_t keep);

/// The counts of a `cyclescope.snapshot/1`, or of an error, as one line of JSON
/// that ends in a newline and is shorter than PIPE_BUF, so that lines of the
/// service's other threads and processes don't mix with it.
std::string CountsLine(const std::string& report, int pid, const char* trigger);

/// One line to the service's stderr by one write(); dropped if a pipe is full,
/// as waiting for its reader would stop the service at its next fork.
void WriteToStderr(std::string_view line);

/// One sentence there, with our name in front.
void Complain(const std::string& sentence);

}  // namespace inspector
