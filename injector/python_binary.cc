// Which CPython a file holds. From 3.11 on it exports its version (Py_Version,
// Include/pylifecycle.h). From 3.13 on _PyRuntime, in a section of its own,
// begins with offsets for debuggers (Include/internal/pycore_debug_offsets.h,
// struct _Py_DebugOffsets): the cookie "xdebugpy", PY_VERSION_HEX, and whether
// it runs without the GIL. Older ones have only the name of a folder.
#include "injector/python_binary.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "injector/elf_file.h"

namespace injector {

namespace {

/// PY_VERSION of PY_VERSION_HEX: `3.15.0b2`.
std::string VersionText(unsigned hex) {
  std::string text =
      fmt::format("{}.{}.{}", hex >> 24, hex >> 16 & 0xff, hex >> 8 & 0xff);
  switch (hex >> 4 & 0xf) {  // Include/patchlevel.h.
    case 0xa:
      return text + fmt::format("a{}", hex & 0xf);
    case 0xb:
      return text + fmt::format("b{}", hex & 0xf);
    case 0xc:
      return text + fmt::format("rc{}", hex & 0xf);
    default:
      return text;
  }
}

uint64_t Word(const std::string& bytes, size_t offset) {
  uint64_t word = 0;
  std::memcpy(&word, bytes.data() + offset, sizeof(word));
  return word;
}

/// Before 3.11: major and minor of the folder of the standard library, a text
/// of its own (Modules/getpath.c); the full version is in none.
unsigned VersionInTexts(const ElfFile& file) {
  for (const std::string& part : file.ReadSegments()) {
    for (size_t begin = 0; begin < part.size();) {
      std::string_view text = part.c_str() + begin;
      begin += text.size() + 1;
      if (text.starts_with("lib/")) text.remove_prefix(4);
      if (text.size() > 12 || !text.starts_with("python")) continue;
      text.remove_prefix(6);
      unsigned major = 0;
      unsigned minor = 0;
      const char* end = text.data() + text.size();
      auto [dot, error] = std::from_chars(text.data(), end, major);
      if (error != std::errc() || dot == end || *dot != '.') continue;
      auto [rest, second] = std::from_chars(dot + 1, end, minor);
      if (second != std::errc() || rest != end) continue;
      if ((major == 2 || major == 3) && minor < 256) {
        return major << 24 | minor << 16;
      }
    }
  }
  return 0;
}

}  // namespace

std::optional<PythonBinary> ReadPython(int fd) {
  std::optional<ElfFile> file = ElfFile::Read(fd);
  if (!file) return std::nullopt;
  auto symbols = file->FindSymbols(
      {"Py_InitializeEx", "Py_Version", "_PyRuntime", "_Py_NegativeRefcount"});
  std::optional<uint64_t> runtime = file->FindSection(".PyRuntime");
  if (symbols.contains("_PyRuntime")) runtime = symbols["_PyRuntime"];
  // A stripped program may have kept the section alone.
  if (!symbols.contains("Py_InitializeEx") && !runtime) return std::nullopt;

  PythonBinary python;
  python.debug = symbols.contains("_Py_NegativeRefcount");
  if (symbols.contains("Py_Version")) {
    std::string bytes = file->ReadAt(symbols["Py_Version"], 8);
    if (!bytes.empty()) {
      python.version_hex = static_cast<unsigned>(Word(bytes, 0));
    }
  }
  if (runtime) {
    std::string head = file->ReadAt(*runtime, 24);
    if (head.starts_with("xdebugpy")) {
      python.version_hex = static_cast<unsigned>(Word(head, 8));
      python.free_threaded = Word(head, 16) == 1;
    }
  }
  if (python.version_hex != 0) {
    python.version = VersionText(python.version_hex);
    return python;
  }
  python.version_hex = VersionInTexts(*file);
  if (python.version_hex != 0) {
    python.version = fmt::format("{}.{}", python.version_hex >> 24,
                                 python.version_hex >> 16 & 0xff);
  }
  return python;
}

bool IsInspector(int fd) {
  std::optional<ElfFile> file = ElfFile::Read(fd);
  return file && !file->FindSymbols({"PyInit__cyclescope"}).empty();
}

// As inspector/cpython/runtime.cc has it.
std::string WhyUnsupported(const PythonBinary& python) {
  unsigned minor = python.version_hex >> 16;
  std::string supported = fmt::format("{} are", kSupported);
  if (python.version_hex == 0) return "its version is not known; " + supported;
  bool is_incremental = minor == 0x030e && python.version_hex < 0x030e0500;
  if (minor < 0x030b || minor > 0x030e || is_incremental ||
      python.free_threaded || python.debug) {
    return fmt::format("CPython {}{}{} is not supported; {}", python.version,
                       python.free_threaded ? " without the GIL" : "",
                       python.debug ? ", a debug build," : "", supported);
  }
  return "";
}

bool HasRemoteDebug(const PythonBinary& python) {
  return python.version_hex >= 0x030e0000;
}

}  // namespace injector
