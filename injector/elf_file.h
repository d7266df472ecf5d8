#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace injector {

/// The symbols and the initial data of a 64-bit ELF file, by the address that
/// they have in it. Nothing in the file is trusted: it may be a container's.
class ElfFile {
 public:
  /// None if `fd`, which stays the caller's and must outlive this, is no
  /// little-endian 64-bit ELF file. Reads only the section headers.
  static std::optional<ElfFile> Read(int fd);

  /// Address of each of the names that is defined here, looked for in .dynsym
  /// and, where that has none of them, in .symtab. O(symbols).
  std::map<std::string, uint64_t> FindSymbols(
      const std::vector<std::string>& names) const;

  /// Address of a section, none if there is none of that name.
  std::optional<uint64_t> FindSection(const std::string& name) const;

  /// `length` bytes as the file has them at an address; empty where it does
  /// not hold them all.
  std::string ReadAt(uint64_t address, size_t length) const;

  /// What of the file is mapped: code, constants, initial data.
  std::vector<std::string> ReadSegments() const;

 private:
  struct Section {
    std::string name;
    uint32_t type = 0;
    uint32_t link = 0;
    uint64_t address = 0;
    uint64_t offset = 0;
    uint64_t size = 0;
  };
  struct Segment {
    uint64_t address = 0;
    uint64_t offset = 0;
    uint64_t size = 0;  // In the file.
  };

  std::string ReadFile(uint64_t offset, uint64_t length) const;
  std::map<std::string, uint64_t> FindIn(
      const Section& symbols, const std::vector<std::string>& names) const;

  int fd_ = -1;
  std::vector<Section> sections_;
  std::vector<Segment> segments_;
};

}  // namespace injector
