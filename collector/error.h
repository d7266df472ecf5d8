#pragma once

#include <stdexcept>

namespace collector {

/// What failed, on what, why, and what to do, in one sentence. Caught once, in
/// `main`, where it becomes exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Nothing came in time; it may come later.
class NoAnswerInTime : public Error {
 public:
  using Error::Error;
};

/// A command line that asks for something that cannot be: exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// Two recordings that do not belong together, or something that is none: exit
/// code 12.
class NotComparable : public Error {
 public:
  using Error::Error;
};

/// What the process says to scripts; design of the verbs, not of the errors.
enum ExitCode : int {
  kExitClean = 0,
  kExitError = 1,
  kExitUsage = 2,
  kExitLeak = 10,
  kExitNotEnoughData = 11,
  kExitInvalidRun = 12,
  kExitInterrupted = 130,
};

}  // namespace collector
