#include "inspector/graph/heap_file_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace heap {

bool HeapFileWriter::WriteAll(void* /*context*/, int descriptor,
                              const char* bytes, size_t size) {
  while (size > 0) {
    ssize_t written = write(descriptor, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

HeapFileWriter::HeapFileWriter(int descriptor, Write write, void* context)
    : descriptor_(descriptor), write_(write), context_(context) {
  HeapFileHeader header = {};
  std::memcpy(header.magic, kHeapFileMagic, sizeof header.magic);
  header.version = kHeapFileVersion;
  header.header_bytes = sizeof header;
  std::memcpy(buffer_, &header, sizeof header);
  used_ = summed_ = sizeof header;
  progress_.offset = sizeof header;
}

HeapFileWriter::HeapFileWriter(int descriptor, const HeapFileProgress& progress,
                               Write write, void* context)
    : descriptor_(descriptor),
      write_(write),
      context_(context),
      progress_(progress) {}

void HeapFileWriter::Begin(SectionKind kind, uint32_t element_bytes) {
  if (progress_.section_count == kSectionKinds) {
    ok_ = false;
    return;
  }
  SectionEntry& entry = progress_.sections[progress_.section_count];
  entry.kind = kind;
  entry.element_bytes = element_bytes;
  entry.offset = progress_.offset;
  entry.checksum = FirstChecksum(kind);
  section_bytes_ = 0;
}

// Sections start at whole words and so does the buffer: only the last word of
// a section, which End fills up, is ever summed in part.
void HeapFileWriter::Sum() {
  SectionEntry& entry = progress_.sections[progress_.section_count];
  entry.checksum = Checksum(entry.checksum, buffer_ + summed_, used_ - summed_);
  summed_ = used_;
}

void HeapFileWriter::Flush() {
  if (ok_) ok_ = write_(context_, descriptor_, buffer_, used_);
  used_ = summed_ = 0;
}

void HeapFileWriter::PutBytes(const void* bytes, size_t size) {
  const char* from = static_cast<const char*>(bytes);
  section_bytes_ += size;
  while (size > 0) {
    size_t part = std::min(size, kBufferBytes - used_);
    std::memcpy(buffer_ + used_, from, part);
    used_ += part;
    from += part;
    size -= part;
    if (used_ < kBufferBytes) continue;
    Sum();
    Flush();
  }
}

void HeapFileWriter::End() {
  if (progress_.section_count == kSectionKinds) return;
  SectionEntry& entry = progress_.sections[progress_.section_count];
  entry.count = section_bytes_ / entry.element_bytes;
  constexpr char kZeroes[8] = {};
  PutBytes(kZeroes, (8 - section_bytes_ % 8) % 8);
  Sum();
  progress_.offset += section_bytes_;
  ++progress_.section_count;
}

bool HeapFileWriter::Pause() {
  Flush();
  return ok_;
}

bool HeapFileWriter::Finish() {
  Flush();
  HeapFileHeader header = {};
  std::memcpy(header.magic, kHeapFileMagic, sizeof header.magic);
  header.version = kHeapFileVersion;
  header.header_bytes = sizeof header;
  size_t table_bytes = progress_.section_count * sizeof(SectionEntry);
  HeapFileTrailer trailer = {};
  trailer.table_offset = progress_.offset;
  trailer.section_count = progress_.section_count;
  trailer.checksum =
      TableChecksum(header, progress_.sections, table_bytes, trailer);
  std::memcpy(trailer.magic, kHeapFileEndMagic, sizeof trailer.magic);
  std::memcpy(buffer_, progress_.sections, table_bytes);
  std::memcpy(buffer_ + table_bytes, &trailer, sizeof trailer);
  used_ = table_bytes + sizeof trailer;
  Flush();
  return ok_;
}

void WriteStrings(HeapFileWriter& writer, const StringTable& strings) {
  writer.Begin(SectionKind::kStringEnds, 8);
  uint64_t end = 0;
  for (StringId id = 0; id < strings.size(); ++id) {
    end += strings.text(id).size();
    writer.Put(end);
  }
  writer.End();
  writer.Begin(SectionKind::kTexts, 1);
  for (StringId id = 0; id < strings.size(); ++id)
    writer.PutBytes(strings.text(id).data(), strings.text(id).size());
  writer.End();
}

}  // namespace heap
