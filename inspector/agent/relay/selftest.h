#pragma once

#include <string>

namespace relay {

/// Runs the Python of this place on `selftest.py`, which lies beside this
/// program: `python` if it is given, else the interpreter of an inspected
/// process here, else the first of PATH. It ends with this process, after 50 s
/// at the latest. Sets its exit status; returns why there is none, in one
/// sentence.
std::string RunSelftest(const std::string& python, int* status);

}  // namespace relay
