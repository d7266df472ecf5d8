#pragma once

#include <string>
#include <vector>

#include "inspector/graph/heap_file_writer.h"

namespace heap {

/// A heap file taken apart, so that what is inside a section can be altered and
/// the file still has right checksums: else nothing behind them is ever tried.
struct Section {
  SectionKind kind;
  uint32_t element_bytes;
  std::string bytes;
};

/// The sections as far as the table makes sense.
inline std::vector<Section> TakeApart(std::span<const char> file) {
  std::vector<Section> sections;
  HeapFileTrailer trailer;
  if (file.size() < sizeof trailer) return sections;
  std::memcpy(&trailer, file.data() + file.size() - sizeof trailer,
              sizeof trailer);
  for (uint64_t i = 0; i < trailer.section_count && i < kSectionKinds; ++i) {
    SectionEntry entry;
    uint64_t at = trailer.table_offset + i * sizeof entry;
    if (at > file.size() || file.size() - at < sizeof entry) break;
    std::memcpy(&entry, file.data() + at, sizeof entry);
    if (entry.offset > file.size() || entry.element_bytes == 0 ||
        entry.count > (file.size() - entry.offset) / entry.element_bytes)
      continue;
    sections.push_back({entry.kind, entry.element_bytes,
                        std::string(file.data() + entry.offset,
                                    entry.count * entry.element_bytes)});
  }
  return sections;
}

/// A file of these sections. Bytes that make no whole element are left out.
inline std::string PutTogether(const std::vector<Section>& sections) {
  std::string file;
  auto append = [](void* to, int, const char* bytes, size_t size) {
    static_cast<std::string*>(to)->append(bytes, size);
    return true;
  };
  HeapFileWriter writer(-1, append, &file);
  for (const Section& section : sections) {
    writer.Begin(section.kind, section.element_bytes);
    size_t size = section.bytes.size();
    writer.PutBytes(section.bytes.data(), size - size % section.element_bytes);
    writer.End();
  }
  writer.Finish();
  return file;
}

}  // namespace heap
