#pragma once

#include <cstdint>
#include <string>

namespace collector {

/// One archive as the insights operator of one cluster would send it.
struct Archive {
  std::string cluster_id;  // A UUID; also in its file config/id.
  std::string bytes;       // A .tar.gz.
  /// Files left out or cut short on purpose; the service accepts these too.
  bool lacks_files = false;
  bool has_broken_files = false;
};

/// Archive number `index` of the sequence that `seed` names. Same arguments,
/// same bytes, on every machine with the same zlib. Contents vary in number,
/// names and sizes of files (about 2 to 60 KB in all); one in five lacks files,
/// one in five holds broken JSON, one in three files of a host as well. Throws
/// Error only if memory runs out.
Archive MakeArchive(uint64_t seed, uint64_t index);

}  // namespace collector
