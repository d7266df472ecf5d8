// libarchive's functions; see injector/lazy_library.h.

#include <archive.h>
#include <archive_entry.h>

#include "injector/lazy_library.h"

#define FIND(name)                                                            \
  injector::FindInLibrary<decltype(name)>("libarchive.so.13", "libarchive13", \
                                          #name)

extern "C" {

void archive_entry_free(archive_entry* entry) {
  return FIND(archive_entry_free)(entry);
}

archive_entry* archive_entry_new() { return FIND(archive_entry_new)(); }

void archive_entry_set_filetype(archive_entry* entry, unsigned type) {
  return FIND(archive_entry_set_filetype)(entry, type);
}

void archive_entry_set_mtime(archive_entry* entry, time_t seconds,
                             long nanoseconds) {
  return FIND(archive_entry_set_mtime)(entry, seconds, nanoseconds);
}

void archive_entry_set_pathname(archive_entry* entry, const char* name) {
  return FIND(archive_entry_set_pathname)(entry, name);
}

void archive_entry_set_perm(archive_entry* entry, mode_t mode) {
  return FIND(archive_entry_set_perm)(entry, mode);
}

void archive_entry_set_size(archive_entry* entry, la_int64_t size) {
  return FIND(archive_entry_set_size)(entry, size);
}

mode_t archive_entry_filetype(archive_entry* entry) {
  return FIND(archive_entry_filetype)(entry);
}

const char* archive_entry_pathname(archive_entry* entry) {
  return FIND(archive_entry_pathname)(entry);
}

const char* archive_error_string(archive* one) {
  return FIND(archive_error_string)(one);
}

la_ssize_t archive_read_data(archive* reader, void* bytes, size_t size) {
  return FIND(archive_read_data)(reader, bytes, size);
}

int archive_read_free(archive* reader) {
  return FIND(archive_read_free)(reader);
}

archive* archive_read_new() { return FIND(archive_read_new)(); }

int archive_read_next_header(archive* reader, archive_entry** entry) {
  return FIND(archive_read_next_header)(reader, entry);
}

int archive_read_open_filename(archive* reader, const char* name,
                               size_t block) {
  return FIND(archive_read_open_filename)(reader, name, block);
}

int archive_read_support_format_tar(archive* reader) {
  return FIND(archive_read_support_format_tar)(reader);
}

int archive_write_add_filter_gzip(archive* writer) {
  return FIND(archive_write_add_filter_gzip)(writer);
}

int archive_write_close(archive* writer) {
  return FIND(archive_write_close)(writer);
}

la_ssize_t archive_write_data(archive* writer, const void* bytes, size_t size) {
  return FIND(archive_write_data)(writer, bytes, size);
}

int archive_write_free(archive* writer) {
  return FIND(archive_write_free)(writer);
}

int archive_write_header(archive* writer, archive_entry* entry) {
  return FIND(archive_write_header)(writer, entry);
}

archive* archive_write_new() { return FIND(archive_write_new)(); }

int archive_write_open(archive* writer, void* data, archive_open_callback* open,
                       archive_write_callback* write,
                       archive_close_callback* close) {
  return FIND(archive_write_open)(writer, data, open, write, close);
}

int archive_write_set_bytes_in_last_block(archive* writer, int bytes) {
  return FIND(archive_write_set_bytes_in_last_block)(writer, bytes);
}

int archive_write_set_format_ustar(archive* writer) {
  return FIND(archive_write_set_format_ustar)(writer);
}

int archive_write_set_options(archive* writer, const char* options) {
  return FIND(archive_write_set_options)(writer, options);
}

}  // extern "C"
