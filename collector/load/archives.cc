#include "collector/load/archives.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "collector/error.h"

namespace collector {

namespace {

/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014): the standard library's distributions may differ from one
/// version to the next, these numbers may not.
class Random {
 public:
  Random(uint64_t seed, uint64_t index)
      : state_(seed * 0x9e3779b97f4a7c15 + index * 0xd1342543de82ef95) {
    Next();
  }
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// Of [0, limit); the bias of the remainder does not matter here.
  uint64_t Below(uint64_t limit) { return Next() % limit; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

 private:
  uint64_t state_;
};

std::string Uuid(Random& random) {
  uint64_t high = random.Next();
  uint64_t low = random.Next();
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", high >> 32,
                     (high >> 16) & 0xffff, high & 0xfff, 0x8000 | (low >> 50),
                     low & 0xffffffffffff);
}

/// Text that compresses about as well as what operators write.
std::string Words(Random& random, size_t size) {
  static constexpr const char* kWords[] = {
      "available", "progressing", "degraded", "True",   "False",  "AsExpected",
      "rollout",   "revision",    "node",     "master", "worker", "condition",
      "reason",    "message",     "image",    "digest", "etcd",   "quorum"};
  std::string text;
  while (text.size() < size) {
    text += kWords[random.Below(std::size(kWords))];
    text +=
        random.OneIn(4) ? fmt::format("-{:x} ", random.Below(1 << 20)) : " ";
  }
  text.resize(size);
  return text;
}

struct File {
  std::string name;
  std::string content;
};

std::vector<File> OperatorFiles(Random& random) {
  static constexpr const char* kOperators[] = {"authentication",
                                               "cloud-credential",
                                               "console",
                                               "dns",
                                               "etcd",
                                               "image-registry",
                                               "ingress",
                                               "insights",
                                               "kube-apiserver",
                                               "kube-scheduler",
                                               "machine-api",
                                               "marketplace",
                                               "monitoring",
                                               "network",
                                               "node-tuning",
                                               "openshift-apiserver",
                                               "service-ca",
                                               "storage",
                                               "operator-lifecycle-manager"};
  std::vector<File> files;
  for (const char* name : kOperators) {
    if (random.OneIn(4)) continue;
    size_t size = 200 + random.Below(random.OneIn(10) ? 20'000 : 2'000);
    files.push_back(
        {fmt::format("config/clusteroperator/{}.json", name),
         fmt::format(R"({{"kind": "ClusterOperator", "metadata": {{"name": )"
                     R"("{}"}}, "status": {{"message": "{}"}}}})",
                     name, Words(random, size))});
  }
  return files;
}

/// What a host's archive holds. The public plugins parse these, so that their
/// contents decide which exceptions are raised; one in three is nonsense.
std::vector<File> HostFiles(Random& random) {
  struct Kind {
    const char* name;
    const char* good;
    const char* bad;
  };
  static constexpr Kind kKinds[] = {
      {"insights_commands/uname_-a",
       "Linux node1 5.14.0-427.13.1.el9_4.x86_64 #1 SMP PREEMPT_DYNAMIC Wed "
       "Apr 10 10:29:16 EDT 2024 x86_64 x86_64 x86_64 GNU/Linux\n",
       "no kernel here\n"},
      {"insights_commands/date", "Tue Nov 24 08:00:00 UTC 2026\n", "nodate\n"},
      {"insights_commands/hostname", "node1.example.com\n", "\n"},
      {"insights_commands/uptime",
       " 08:00:00 up 1 day,  2:03,  1 user,  load average: 0.10, 0.20, 0.30\n",
       "up\n"},
      {"var/lib/rhsm/cache/releasever.json", "{\"minor\": \"9.4\"}", "{x"},
      {"etc/redhat-release", "Red Hat Enterprise Linux release 9.4 (Plow)\n",
       ""},
  };
  std::vector<File> files;
  for (const Kind& kind : kKinds) {
    if (random.OneIn(3)) continue;
    files.push_back({kind.name, random.OneIn(3) ? kind.bad : kind.good});
  }
  return files;
}

std::vector<File> AllFiles(Random& random, const std::string& cluster_id) {
  std::string version =
      fmt::format("4.{}.{}", 12 + random.Below(8), random.Below(40));
  std::vector<File> files = {
      {"config/id", cluster_id},
      {"config/version.json",
       fmt::format(R"({{"kind": "ClusterVersion", "spec": {{"clusterID": )"
                   R"("{}"}}, "status": {{"desired": {{"version": "{}"}}}}}})",
                   cluster_id, version)},
      {"config/infrastructure.json",
       fmt::format(R"({{"kind": "Infrastructure", "status": {{"platform": )"
                   R"("{}"}}}})",
                   random.OneIn(2) ? "None" : "AWS")},
      {"insights-operator/gathers.json",
       fmt::format(R"({{"status_reports": [{{"name": "clusterconfig", )"
                   R"("duration_in_ms": {}}}]}})",
                   random.Below(100'000))},
  };
  std::string metrics;
  for (uint64_t line = random.Below(300); line > 0; --line) {
    metrics += fmt::format("ALERTS{{alertname=\"{}\"}} {}\n", Words(random, 12),
                           random.Below(2));
  }
  files.push_back({"config/metrics", metrics});
  for (File& file : OperatorFiles(random)) files.push_back(std::move(file));
  if (random.OneIn(3))
    for (File& file : HostFiles(random)) files.push_back(std::move(file));
  return files;
}

struct ArchiveDeleter {
  void operator()(archive* writer) const { archive_write_free(writer); }
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

void Check(archive* writer, int status) {
  if (status != ARCHIVE_OK) {
    throw Error(
        fmt::format("make an archive: {}", archive_error_string(writer)));
  }
}

std::string Packed(const std::vector<File>& files, time_t time) {
  std::string bytes;
  std::unique_ptr<archive, ArchiveDeleter> writer(archive_write_new());
  Check(writer.get(), archive_write_set_format_ustar(writer.get()));
  Check(writer.get(), archive_write_add_filter_gzip(writer.get()));
  // Without the two the bytes would depend on clock and library version.
  Check(writer.get(), archive_write_set_options(
                          writer.get(), "gzip:!timestamp,compression-level=1"));
  Check(writer.get(), archive_write_set_bytes_in_last_block(writer.get(), 1));
  auto append = [](archive*, void* to, const void* data,
                   size_t size) -> la_ssize_t {
    static_cast<std::string*>(to)->append(static_cast<const char*>(data), size);
    return static_cast<la_ssize_t>(size);
  };
  Check(writer.get(),
        archive_write_open(writer.get(), &bytes, nullptr, append, nullptr));
  for (const File& file : files) {
    std::unique_ptr<archive_entry, ArchiveDeleter> entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), file.name.c_str());
    archive_entry_set_size(entry.get(),
                           static_cast<la_int64_t>(file.content.size()));
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_mtime(entry.get(), time, 0);
    Check(writer.get(), archive_write_header(writer.get(), entry.get()));
    archive_write_data(writer.get(), file.content.data(), file.content.size());
  }
  Check(writer.get(), archive_write_close(writer.get()));
  return bytes;
}

}  // namespace

Archive MakeArchive(uint64_t seed, uint64_t index) {
  Random random(seed, index);
  Archive made;
  made.cluster_id = Uuid(random);
  std::vector<File> files = AllFiles(random, made.cluster_id);
  uint64_t kind = random.Below(5);
  if (kind == 0) {
    made.lacks_files = true;  // config/id always stays.
    for (size_t i = files.size() - 1; i > 0; --i) {
      if (random.OneIn(2)) files.erase(files.begin() + static_cast<long>(i));
    }
  } else if (kind == 1) {
    made.has_broken_files = true;
    for (size_t i = 1; i < files.size(); ++i) {
      std::string& content = files[i].content;
      if (i == 1 || random.OneIn(3)) content.resize(content.size() / 2);
    }
  }
  constexpr time_t kFirstDay = 1'767'225'600;  // 2026-01-01T00:00:00Z
  made.bytes = Packed(files, kFirstDay + static_cast<time_t>(index) * 60);
  return made;
}

}  // namespace collector
