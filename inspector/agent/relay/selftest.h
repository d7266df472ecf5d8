#pragma once

#include <string>

namespace relay {

/// Becomes the Python of this place, on `selftest.py`, which lies beside this
/// program: `python` if it is given, else the interpreter of an inspected
/// process here, else the first of PATH. Returns only if that cannot be: why,
/// in one sentence.
std::string BecomeSelftest(const std::string& python);

}  // namespace relay
