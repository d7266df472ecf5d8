#include "injector/elf_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "injector/python_binary.h"
#include "tests/injector/fake_tree.h"

namespace injector {
namespace {

namespace fs = std::filesystem;

/// A descriptor, closed with this object.
struct File {
  explicit File(const fs::path& path) : fd(open(path.c_str(), O_RDONLY)) {}
  ~File() { close(fd); }
  int fd;
};

/// What binutils sees: defined dynamic symbols and their addresses.
std::map<std::string, uint64_t> Nm(const fs::path& path) {
  std::map<std::string, uint64_t> symbols;
  std::string command =
      "nm -D --defined-only --without-symbol-versions " + path.string();
  FILE* pipe = popen((command + " 2>/dev/null").c_str(), "r");
  char line[4096];
  while (pipe != nullptr && fgets(line, sizeof(line), pipe) != nullptr) {
    std::istringstream words(line);
    std::string address, type, name;
    // Of one name there may be several versions: not what we ask for.
    if (!(words >> address >> type >> name)) continue;
    uint64_t value = std::stoull(address, nullptr, 16);
    auto [entry, is_new] = symbols.emplace(name, value);
    if (!is_new && entry->second != value) symbols[name] = UINT64_MAX;
  }
  if (pipe != nullptr) pclose(pipe);
  return symbols;
}

std::vector<fs::path> Libraries() {
  std::vector<fs::path> paths;
  for (const auto& entry :
       fs::directory_iterator("/usr/lib/x86_64-linux-gnu")) {
    if (entry.is_regular_file() &&
        entry.path().filename().string().find(".so.") != std::string::npos) {
      paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Oracle: nm, on random symbols of random libraries.
TEST(ElfFile, FindsTheSymbolsThatNmSees) {
  std::vector<fs::path> libraries = Libraries();
  if (libraries.empty() || Nm(libraries[0]).empty()) {
    GTEST_SKIP() << "no libraries or no nm here";
  }
  std::mt19937 random(7);
  std::shuffle(libraries.begin(), libraries.end(), random);
  libraries.resize(std::min<size_t>(libraries.size(), 25));
  size_t compared = 0;
  for (const fs::path& path : libraries) {
    SCOPED_TRACE(path);
    std::map<std::string, uint64_t> expected = Nm(path);
    std::vector<std::string> names = {"no_such_symbol", ""};
    for (const auto& [name, address] : expected) {
      if (address != UINT64_MAX && random() % 10 == 0) names.push_back(name);
    }
    File file(path);
    auto found = ElfFile::Read(file.fd)->FindSymbols(names);
    for (const std::string& name : names) {
      if (!expected.contains(name)) {
        EXPECT_FALSE(found.contains(name)) << name;
        continue;
      }
      ASSERT_TRUE(found.contains(name)) << name;
      EXPECT_EQ(found[name], expected[name]) << name;
      ++compared;
    }
  }
  EXPECT_GT(compared, 50u);
}

TEST(ElfFile, WhatIsNoneIsNone) {
  FakeTree tree;
  for (const std::string& text : {std::string(), std::string("#!/bin/sh\n"),
                                  std::string("\x7f"
                                              "ELF"),
                                  std::string(200, '\x7f')}) {
    tree.Write("file", text);
    File file(tree.root() / "file");
    EXPECT_FALSE(ElfFile::Read(file.fd));
    EXPECT_FALSE(ReadPython(file.fd));
  }
}

// A container's files are whatever its maker wants them to be.
TEST(ElfFile, DamagedFilesDoNoHarm) {
  std::ifstream whole("/proc/self/exe", std::ios::binary);
  std::string bytes(1 << 16, '\0');
  whole.read(bytes.data(), static_cast<long>(bytes.size()));
  // With the section headers, which lie at its end, moved behind the start.
  uint64_t sections = 0;
  std::memcpy(&sections, bytes.data() + 40, 8);
  whole.seekg(static_cast<long>(sections));
  std::string headers(64 * 40, '\0');
  whole.read(headers.data(), static_cast<long>(headers.size()));
  uint64_t moved = bytes.size();
  bytes += headers;
  std::memcpy(bytes.data() + 40, &moved, 8);

  FakeTree tree;
  std::mt19937 random(11);
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE(round);
    std::string damaged = bytes;
    for (int change = 0; change < 1 + round % 12; ++change) {
      // Headers at either end are what is read.
      size_t at = random() % 2 == 0 ? random() % 1024
                                    : moved + random() % headers.size();
      damaged[at] = static_cast<char>(random());
    }
    if (round % 5 == 0) damaged.resize(random() % damaged.size());
    tree.Write("file", damaged);
    File file(tree.root() / "file");
    ReadPython(file.fd);
    IsInspector(file.fd);
    if (auto elf = ElfFile::Read(file.fd)) {
      elf->ReadSegments();
      elf->ReadAt(random(), 24);
      elf->FindSection(".PyRuntime");
    }
  }
}

TEST(WhyUnsupported, SaysWhichVersionsAndBuildsAreNot) {
  auto is_supported = [](unsigned hex, bool free_threaded, bool debug) {
    PythonBinary python = {"", hex, free_threaded, debug};
    return WhyUnsupported(python).empty();
  };
  EXPECT_TRUE(is_supported(0x030b02f0, false, false));
  EXPECT_TRUE(is_supported(0x030d00f0, false, false));
  EXPECT_TRUE(is_supported(0x030e05f0, false, false));
  EXPECT_FALSE(is_supported(0x030e04f0, false, false));  // Incremental.
  EXPECT_FALSE(is_supported(0x030f00f0, false, false));
  EXPECT_FALSE(is_supported(0x030a0000, false, false));
  EXPECT_FALSE(is_supported(0, false, false));
  EXPECT_FALSE(is_supported(0x030d05f0, true, false));
  EXPECT_FALSE(is_supported(0x030d05f0, false, true));
}

}  // namespace
}  // namespace injector
