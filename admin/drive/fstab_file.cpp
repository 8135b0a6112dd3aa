#include "admin/drive/fstab_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "admin/drive/fstab.h"
#include "admin/drive/mount_table.h"
#include "admin/drive/run_program.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

namespace fs = std::filesystem;
constexpr mode_t kNewTableMode = 0644;
constexpr mode_t kMountPointMode = 0755;

// A table for findmnt to look at, gone afterwards.
class CandidateTable {
 public:
  explicit CandidateTable(std::string path) : path_(std::move(path)) {}
  ~CandidateTable() { ::unlink(path_.c_str()); }
  CandidateTable(const CandidateTable&) = delete;
  CandidateTable& operator=(const CandidateTable&) = delete;

  Result<ProgramResult> verify(const std::string& text) const {
    TRY_VOID(cluster::write_file_durably(path_, text, kNewTableMode));
    return run_program({"findmnt", "--verify", "--tab-file", path_});
  }

 private:
  std::string path_;
};

std::string words_of(const ProgramResult& result) {
  std::string text = result.output + result.errors;
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

Status verify(const std::string& path, const std::string& before, const std::string& line) {
  const CandidateTable candidate(path + ".cairn-check");
  TRY(const ProgramResult alone, candidate.verify(line + "\n"));
  if (alone.exit_code != 0) {
    return fail(Code::kInvalidArgument, "findmnt does not approve the line:\n" + words_of(alone));
  }
  TRY(const ProgramResult whole, candidate.verify(with_line(before, line)));
  if (whole.exit_code == 0) return {};
  TRY(const ProgramResult old, candidate.verify(before));
  if (old.exit_code != 0) return {};  // what was wrong before is not ours to judge
  return fail(Code::kInvalidArgument,
              "findmnt does not approve the table with the line:\n" + words_of(whole));
}

// The file itself where `path` is a link.
std::string real_path(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::weakly_canonical(path, error);
  return error ? path : real.string();
}

mode_t mode_of(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777U : kNewTableMode;
}

}  // namespace

Result<std::string> read_fstab(const std::string& path) {
  Result<std::string> text = cluster::read_small_file(path);
  if (!text.has_value() && text.error().code() == Code::kNotFound) return std::string();
  return text;
}

Result<std::string> next_mount_point(const std::string& root, const std::string& cluster, bool ssd,
                                     const std::string& fstab) {
  const std::string stem = mount_point_stem(root, cluster, ssd);
  std::vector<std::string> used;
  TRY(const std::string table, read_fstab(fstab));
  for (FstabLine& line : parse_fstab(table)) used.push_back(std::move(line.where));
  TRY(const std::vector<MountEntry> mounts, mount_table());
  for (const MountEntry& mount : mounts) used.push_back(mount.where);
  std::error_code error;
  for (fs::directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    std::error_code unreadable;
    if (!fs::is_empty(at->path(), unreadable)) used.push_back(at->path().string());
  }
  return first_unused_mount_point(stem, used);
}

Status add_to_fstab(const std::string& path, const std::string& line) {
  const std::string file = real_path(path);
  TRY(const std::string before, read_fstab(file));
  const std::vector<FstabLine> added = parse_fstab(line);
  if (added.size() != 1) return fail(Code::kInvalidArgument, "no line of a table: " + line);
  for (const FstabLine& there : parse_fstab(before)) {
    if (there.where != added.front().where) continue;
    return fail(Code::kExists, there.where + " is in " + path + " already");
  }
  TRY_VOID(cluster::make_directories(added.front().where, kMountPointMode));
  TRY_VOID(verify(file, before, line));
  return cluster::write_file_durably(file, with_line(before, line), mode_of(file));
}

}  // namespace cairn::admin
