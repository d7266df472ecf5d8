#include "collector/load/archives.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace collector {
namespace {

/// What is in a .tar.gz: names and contents.
std::map<std::string, std::string> Unpacked(const std::string& bytes) {
  std::map<std::string, std::string> files;
  archive* reader = archive_read_new();
  archive_read_support_filter_gzip(reader);
  archive_read_support_format_tar(reader);
  EXPECT_EQ(archive_read_open_memory(reader, bytes.data(), bytes.size()),
            ARCHIVE_OK);
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
    std::string content(static_cast<size_t>(archive_entry_size(entry)), '\0');
    archive_read_data(reader, content.data(), content.size());
    files[archive_entry_pathname(entry)] = content;
  }
  archive_read_free(reader);
  return files;
}

TEST(Archives, SameSeedAndIndexGiveTheSameBytes) {
  for (uint64_t index = 0; index < 20; ++index) {
    EXPECT_EQ(MakeArchive(7, index).bytes, MakeArchive(7, index).bytes);
  }
}

TEST(Archives, DifferInBytesAndClusterBetweenIndexesAndSeeds) {
  std::set<std::string> bytes;
  std::set<std::string> clusters;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    for (uint64_t index = 0; index < 300; ++index) {
      Archive archive = MakeArchive(seed, index);
      bytes.insert(archive.bytes);
      clusters.insert(archive.cluster_id);
    }
  }
  EXPECT_EQ(bytes.size(), 900u);
  EXPECT_EQ(clusters.size(), 900u);
}

TEST(Archives, AlwaysHoldTheirClusterId) {
  for (uint64_t index = 0; index < 200; ++index) {
    SCOPED_TRACE(index);
    Archive archive = MakeArchive(1, index);
    EXPECT_THAT(archive.cluster_id,
                testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-"
                                      "[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
    EXPECT_EQ(Unpacked(archive.bytes)["config/id"], archive.cluster_id);
  }
}

TEST(Archives, LackFilesOrHoldBrokenOnesAboutOneInFive) {
  int lacking = 0;
  int broken = 0;
  for (uint64_t index = 0; index < 1000; ++index) {
    SCOPED_TRACE(index);
    Archive archive = MakeArchive(1, index);
    lacking += archive.lacks_files;
    broken += archive.has_broken_files;
    int unreadable = 0;
    for (const auto& [name, content] : Unpacked(archive.bytes)) {
      // A host's files are nonsense now and then for their own sake.
      bool json = name.ends_with(".json") && !name.starts_with("var/");
      unreadable += json && !nlohmann::json::accept(content);
    }
    EXPECT_EQ(unreadable > 0, archive.has_broken_files);
  }
  EXPECT_NEAR(lacking, 200, 50);
  EXPECT_NEAR(broken, 200, 50);
}

TEST(Archives, HoldAHostsFilesAboutOneInThree) {
  int hosts = 0;
  for (uint64_t index = 0; index < 1000; ++index) {
    for (const auto& [name, content] : Unpacked(MakeArchive(1, index).bytes)) {
      if (!name.starts_with("insights_commands/")) continue;
      ++hosts;
      break;
    }
  }
  EXPECT_NEAR(hosts, 333, 60);
}

TEST(Archives, VaryInSizeAndNumberOfFiles) {
  std::set<size_t> counts;
  size_t smallest = SIZE_MAX;
  size_t largest = 0;
  for (uint64_t index = 0; index < 300; ++index) {
    Archive archive = MakeArchive(1, index);
    counts.insert(Unpacked(archive.bytes).size());
    smallest = std::min(smallest, archive.bytes.size());
    largest = std::max(largest, archive.bytes.size());
  }
  EXPECT_GT(counts.size(), 10u);
  EXPECT_GT(largest, 10 * smallest);
}

}  // namespace
}  // namespace collector
