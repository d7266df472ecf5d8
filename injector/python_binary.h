#pragma once

#include <optional>
#include <string>

namespace injector {

/// What a program or library with a CPython in it says of that.
struct PythonBinary {
  std::string version;  // `3.13.5`, `3.15.0b2`, before 3.11 `3.8`; or empty.
  unsigned version_hex = 0;  // PY_VERSION_HEX; 0 if it does not say.
  bool free_threaded = false;
  bool debug = false;  // Counts all references (--with-pydebug).
};

/// Reads a mapped file: by its symbols and data, whatever its name is. None if
/// it has no CPython in it. `fd` stays the caller's.
std::optional<PythonBinary> ReadPython(int fd);

/// Whether the file is the inspector itself.
bool IsInspector(int fd);

/// The versions and builds that the inspector works in.
inline constexpr char kSupported[] =
    "release builds of CPython 3.11, 3.12, 3.13 and 3.14 (3.14.5 and later) "
    "with the GIL";

/// Why the inspector has no layout for it; empty if it has.
std::string WhyUnsupported(const PythonBinary& python);

/// Whether sys.remote_exec reaches it (PEP 768).
bool HasRemoteDebug(const PythonBinary& python);

}  // namespace injector
