#include "collector/cli/patched_files.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>

#include "collector/error.h"
#include "collector/store/files.h"
#include "collector/store/temporary_folder.h"
#include "injector/command.h"

namespace collector {

namespace fs = std::filesystem;

namespace {

using injector::CommandResult;
using std::chrono::minutes;

/// A container that is never started: its files are the image's.
class UnstartedContainer {
 public:
  /// Of the first image that podman or docker has; see `found`.
  explicit UnstartedContainer(const std::vector<std::string>& images) {
    for (const char* engine : {"podman", "docker"}) {
      if (!injector::FindProgram(engine)) continue;
      for (const std::string& image : images) {
        CommandResult made = injector::RunCommand(
            {engine, "create", "--pull=never", image, "true"}, minutes(1));
        if (made.status != 0) continue;
        engine_ = engine;
        image_ = image;
        id_ = made.output.substr(0, made.output.find('\n'));
        return;
      }
    }
  }
  UnstartedContainer(const UnstartedContainer&) = delete;
  UnstartedContainer& operator=(const UnstartedContainer&) = delete;
  ~UnstartedContainer() {
    if (!found()) return;
    try {
      injector::RunCommand({engine_, "rm", "--force", id_}, minutes(1));
    } catch (const std::exception&) {  // It stays, stopped; nothing else to do.
    }
  }

  bool found() const { return !id_.empty(); }
  const std::string& image() const { return image_; }

  void Export(const fs::path& tar) const {
    CommandResult done = injector::RunCommand(
        {engine_, "export", "--output", tar.string(), id_}, minutes(5));
    if (done.status == 0) return;
    throw Error(
        fmt::format("the files of image {} cannot be read: {} export: {}",
                    image_, engine_, done.errors));
  }

 private:
  std::string engine_;
  std::string image_;
  std::string id_;
};

struct PatchPaths {
  std::set<std::string> changed;
  std::set<std::string> added;
};

PatchPaths PathsOf(const std::string& patch, const std::string& name) {
  static const std::regex kHeader(R"(^(---|\+\+\+) (?:[ab]/)?([^\t\r]+).*)");
  static const std::regex kHunk(R"(^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@.*)");
  PatchPaths paths;
  std::istringstream lines(patch);
  std::string before;
  int old_left = 0, new_left = 0;  // Lines of the hunk.
  for (std::string line; std::getline(lines, line);) {
    if (old_left > 0 || new_left > 0) {
      if (!line.starts_with('+') && !line.starts_with('\\')) --old_left;
      if (!line.starts_with('-') && !line.starts_with('\\')) --new_left;
      continue;
    }
    // A header is a path; std::regex takes stack for each character.
    constexpr size_t kLongestHeader = 8192;
    if (line.size() > kLongestHeader) continue;
    std::smatch match;
    if (std::regex_match(line, match, kHunk)) {
      auto lines_of = [](const std::ssub_match& count) {
        return count.matched ? std::atoi(count.str().c_str()) : 1;
      };
      old_left = lines_of(match[1]);
      new_left = lines_of(match[2]);
      continue;
    }
    if (!std::regex_match(line, match, kHeader)) continue;
    if (match[1] == "---") {
      before = match[2];
      continue;
    }
    std::string after = match[2];
    if (before.empty()) continue;
    if (after == "/dev/null") {
      throw Error(
          fmt::format("{} removes {}, which a mount cannot do; leave the file "
                      "empty instead",
                      name, before));
    }
    if (("/" + after + "/").find("/../") != std::string::npos) {
      throw Error(
          fmt::format("{} has a path with .. in it ({}); it may change "
                      "files of packages only",
                      name, after));
    }
    (before == "/dev/null" ? paths.added : paths.changed).insert(after);
    before.clear();
  }
  if (paths.changed.empty()) {
    throw Error(fmt::format(
        "{} changes no file a/PACKAGE/… to b/PACKAGE/…; make it with git diff "
        "or diff -u",
        name));
  }
  return paths;
}

/// Files of the image by their full path.
using Files = std::map<std::string, std::string>;

bool EndsWithPath(const std::string& path, const std::string& end) {
  return path.ends_with("/" + end);
}

/// The image's files at any place where the patch's could lie, and their
/// compiled forms.
Files FilesAt(const fs::path& tar, const std::set<std::string>& paths) {
  std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(),
                                                     archive_read_free);
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_filename(reader.get(), tar.c_str(), 1 << 16) !=
      ARCHIVE_OK) {
    throw Error(fmt::format("{} cannot be read: {}", tar.string(),
                            archive_error_string(reader.get())));
  }
  Files files;
  archive_entry* entry = nullptr;
  int status;
  while ((status = archive_read_next_header(reader.get(), &entry)) ==
         ARCHIVE_OK) {
    if (archive_entry_filetype(entry) != AE_IFREG) continue;
    std::string path = "/" + std::string(archive_entry_pathname(entry));
    bool wanted = false;
    for (const std::string& one : paths) {
      fs::path source = one;
      std::string cache = (source.parent_path() / "__pycache__" /
                           (source.stem().string() + ".cpython-"))
                              .string();
      wanted = wanted || EndsWithPath(path, one) ||
               path.find("/" + cache) != std::string::npos;
    }
    if (!wanted) continue;
    std::string& bytes = files[path];
    char part[1 << 16];
    la_ssize_t got;
    while ((got = archive_read_data(reader.get(), part, sizeof part)) > 0) {
      bytes.append(part, static_cast<size_t>(got));
    }
  }
  if (status != ARCHIVE_EOF) {
    throw Error(fmt::format("the files of the image cannot be read: {}",
                            archive_error_string(reader.get())));
  }
  return files;
}

/// The one folder below which the image has all files that the patch changes;
/// empty if it has none of them.
std::string FolderInside(const Files& files, const PatchPaths& paths,
                         const std::string& name, const std::string& image) {
  std::map<std::string, size_t> folders;
  for (const std::string& path : paths.changed) {
    for (const auto& [full, bytes] : files) {
      if (EndsWithPath(full, path)) {
        ++folders[full.substr(0, full.size() - path.size() - 1)];
      }
    }
  }
  std::vector<std::string> complete;
  for (const auto& [folder, count] : folders) {
    if (count == paths.changed.size()) complete.push_back(folder);
  }
  if (folders.empty()) return "";
  if (complete.empty()) {
    throw Error(
        fmt::format("{} does not apply to image {}: some of the files "
                    "that it changes are not there; use the image "
                    "that it was made for",
                    name, image));
  }
  if (complete.size() > 1) {
    throw Error(fmt::format(
        "{} does not apply to image {}: its files are there twice, in {} and "
        "in {}; mount the patched files yourself by --mount",
        name, image, complete[0], complete[1]));
  }
  return complete[0];
}

/// A compiled file that Python takes without a look at its source would hide
/// the patched one (PEP 552: flags 0b01).
void CheckCompiled(const Files& files, const std::string& name) {
  for (const auto& [path, bytes] : files) {
    if (path.ends_with(".pyc") && bytes.size() >= 8 && (bytes[4] & 3) == 1) {
      throw Error(fmt::format(
          "{} would have no effect: {} is compiled so that Python does not "
          "look "
          "at its source; build the image without --invalidation-mode "
          "unchecked-hash",
          name, path));
    }
  }
}

/// The first of `patch`'s complaints, after the file that it is about.
std::string WhyNot(const std::string& said) {
  std::istringstream lines(said);
  std::string file;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("patching file ")) file = line.substr(14) + ": ";
    for (const char* word : {"FAILED", "ignored", "malformed", "unexpected",
                             "can't find", "Reversed"}) {
      if (line.find(word) == std::string::npos) continue;
      while (line.ends_with('.')) line.pop_back();
      return file + line;
    }
  }
  return said.substr(0, said.find('\n'));
}

}  // namespace

std::optional<std::vector<injector::BindMount>> PatchedFiles(
    const fs::path& patch, const std::vector<std::string>& images,
    const fs::path& folder) {
  std::string name = patch.filename().string();
  PatchPaths paths = PathsOf(ReadFileWhole(patch), name);
  UnstartedContainer container(images);
  if (!container.found()) return std::nullopt;
  TemporaryFolder temporary;
  fs::path tar = temporary.path() / "image.tar";
  container.Export(tar);
  Files files = FilesAt(tar, paths.changed);
  std::string inside = FolderInside(files, paths, name, container.image());
  if (inside.empty()) return std::nullopt;
  CheckCompiled(files, name);

  fs::path tree = temporary.path() / "tree";
  for (const std::string& path : paths.changed) {
    fs::create_directories((tree / path).parent_path());
    WriteFileWhole(tree / path, files.at(inside + "/" + path));
  }
  CommandResult done = injector::RunCommand(
      {"patch", "-p1", "--fuzz=0", "--batch", "--forward", "--reject-file=-",
       "--no-backup-if-mismatch", "--directory=" + tree.string(),
       "--input=" + fs::absolute(patch).string()},
      minutes(1));
  if (done.status != 0) {
    throw Error(fmt::format(
        "{} does not apply to {} in image {} ({}); make it "
        "anew against the image's files",
        name, inside, container.image(), WhyNot(done.output + done.errors)));
  }
  std::vector<injector::BindMount> mounts;
  std::set<std::string> all = paths.changed;
  all.insert(paths.added.begin(), paths.added.end());
  for (const std::string& path : all) {
    fs::path place = folder / path;
    fs::create_directories(place.parent_path());
    WriteFileWhole(place, ReadFileWhole(tree / path));
    fs::permissions(place, fs::perms(0644));  // For any user inside.
    mounts.push_back({place.string(), inside + "/" + path});
  }
  return mounts;
}

}  // namespace collector
