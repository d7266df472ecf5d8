// The format: System V ABI, chapter 4 and 5; <elf.h> has its structs.
#include "injector/elf_file.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace injector {

namespace {

/// Above the largest table of symbols of a program that embeds Python.
constexpr uint64_t kLongestPart = 128 << 20;

template <typename Entry>
std::vector<Entry> Entries(const std::string& bytes) {
  std::vector<Entry> entries(bytes.size() / sizeof(Entry));
  if (entries.empty()) return entries;
  std::memcpy(entries.data(), bytes.data(), entries.size() * sizeof(Entry));
  return entries;
}

/// The NUL-terminated text at an offset of a string table.
const char* TextAt(const std::string& table, uint64_t offset) {
  return offset < table.size() ? table.c_str() + offset : "";
}

bool Holds(const std::string& table, const std::string& name) {
  // With its NUL; linkers let a name be the end of a longer one.
  return memmem(table.data(), table.size(), name.c_str(), name.size() + 1) !=
         nullptr;
}

}  // namespace

std::string ElfFile::ReadFile(uint64_t offset, uint64_t length) const {
  if (length > kLongestPart) return "";
  std::string bytes(length, '\0');
  size_t done = 0;
  while (done < length) {
    ssize_t got = pread(fd_, bytes.data() + done, length - done,
                        static_cast<off_t>(offset + done));
    if (got <= 0) return "";
    done += static_cast<size_t>(got);
  }
  return bytes;
}

std::optional<ElfFile> ElfFile::Read(int fd) {
  ElfFile file;
  file.fd_ = fd;
  std::string bytes = file.ReadFile(0, sizeof(Elf64_Ehdr));
  if (bytes.empty() || bytes.compare(0, SELFMAG, ELFMAG) != 0 ||
      bytes[EI_CLASS] != ELFCLASS64 || bytes[EI_DATA] != ELFDATA2LSB) {
    return std::nullopt;
  }
  Elf64_Ehdr header = Entries<Elf64_Ehdr>(bytes)[0];
  if (header.e_phentsize == sizeof(Elf64_Phdr)) {
    for (const Elf64_Phdr& one : Entries<Elf64_Phdr>(file.ReadFile(
             header.e_phoff, uint64_t{header.e_phnum} * sizeof(Elf64_Phdr)))) {
      if (one.p_type != PT_LOAD) continue;
      file.segments_.push_back({one.p_vaddr, one.p_offset, one.p_filesz});
    }
  }
  if (header.e_shentsize != sizeof(Elf64_Shdr)) return file;
  std::vector<Elf64_Shdr> headers = Entries<Elf64_Shdr>(file.ReadFile(
      header.e_shoff, uint64_t{header.e_shnum} * sizeof(Elf64_Shdr)));
  std::string names;
  if (header.e_shstrndx < headers.size()) {
    const Elf64_Shdr& table = headers[header.e_shstrndx];
    names = file.ReadFile(table.sh_offset, table.sh_size);
  }
  for (const Elf64_Shdr& one : headers) {
    file.sections_.push_back({TextAt(names, one.sh_name), one.sh_type,
                              one.sh_link, one.sh_addr, one.sh_offset,
                              one.sh_size});
  }
  return file;
}

std::map<std::string, uint64_t> ElfFile::FindIn(
    const Section& symbols, const std::vector<std::string>& names) const {
  std::map<std::string, uint64_t> found;
  if (symbols.link >= sections_.size()) return found;
  const Section& strings = sections_[symbols.link];
  std::string table = ReadFile(strings.offset, strings.size);
  // Most files are no Python: the symbols themselves are not read then.
  if (std::none_of(names.begin(), names.end(),
                   [&table](const auto& name) { return Holds(table, name); })) {
    return found;
  }
  for (const Elf64_Sym& symbol :
       Entries<Elf64_Sym>(ReadFile(symbols.offset, symbols.size))) {
    if (symbol.st_shndx == SHN_UNDEF) continue;
    const char* text = TextAt(table, symbol.st_name);
    auto name = std::find(names.begin(), names.end(), text);
    if (name != names.end()) found.emplace(*name, symbol.st_value);
  }
  return found;
}

std::map<std::string, uint64_t> ElfFile::FindSymbols(
    const std::vector<std::string>& names) const {
  for (uint32_t type : {SHT_DYNSYM, SHT_SYMTAB}) {
    for (const Section& section : sections_) {
      if (section.type != type) continue;
      auto found = FindIn(section, names);
      if (!found.empty()) return found;
    }
  }
  return {};
}

std::optional<uint64_t> ElfFile::FindSection(const std::string& name) const {
  for (const Section& section : sections_) {
    if (section.name == name) return section.address;
  }
  return std::nullopt;
}

std::string ElfFile::ReadAt(uint64_t address, size_t length) const {
  for (const Segment& segment : segments_) {
    if (address < segment.address) continue;
    uint64_t into = address - segment.address;
    if (into <= segment.size && length <= segment.size - into) {
      return ReadFile(segment.offset + into, length);
    }
  }
  return "";
}

std::vector<std::string> ElfFile::ReadSegments() const {
  std::vector<std::string> parts;
  for (const Segment& segment : segments_) {
    parts.push_back(ReadFile(segment.offset, segment.size));
  }
  return parts;
}

}  // namespace injector
