#include "admin/commands/cs_place.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <system_error>

#include "admin/commands/local_services.h"
#include "admin/commands/repository_checks.h"
#include "admin/drive/alignment.h"
#include "admin/drive/drive_users.h"
#include "admin/drive/mount_table.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

constexpr unsigned kStackedMax = 8;              // volumes on volumes
constexpr ByteCount kRoomBesideJournal = 1_MiB;  // as the chunk server wants it

void find_drives(const SysTree& tree, const std::string& name, unsigned depth,
                 std::set<std::string>* into) {
  const std::vector<std::string> lower = tree.entries(name, "slaves");
  if (lower.empty() || depth == 0) {
    into->insert(tree.drive_of(name));
    return;
  }
  for (const std::string& part : lower) find_drives(tree, part, depth - 1, into);
}

std::vector<std::string> drives_of_directory(const SysTree& tree, const std::string& directory) {
  const std::optional<std::string> name = block_device_below(tree, directory);
  return name.has_value() ? drives_below(tree, *name) : std::vector<std::string>();
}

// One chunk server serves one disk: two on one filesystem share its fate and its speed.
std::optional<std::string> shared_disk_warning(const cluster::ClusterConfig& config,
                                               const std::string& place) {
  const Result<std::uint64_t> own = filesystem_of(place);
  const auto services = local_services(config);
  if (!own.has_value() || !services.has_value()) return std::nullopt;
  for (const LocalService& service : *services) {
    if (service.kind != ServiceKind::kCs || service.repository == place) continue;
    const Result<std::uint64_t> other = filesystem_of(service.repository);
    if (other.has_value() && *other == *own && service_state(service).word != "missing") {
      return "CS " + std::to_string(service.id.raw()) + " at " + service.repository +
             " lies on the same filesystem: if that disk fails, both fail";
    }
  }
  return std::nullopt;
}

// What else the drives below `place` do that has nothing to do with it.
std::optional<std::string> system_disk_warning(const std::string& place) {
  const SysTree tree;
  const std::vector<std::string> drives = drives_of_directory(tree, place);
  if (drives.empty()) return std::nullopt;
  const Result<std::string> swaps = cluster::read_small_file("/proc/swaps");
  const std::string advice =
      ": give the chunk server a disk of its own; other I/O slows it down, and the machine with it";
  for (const std::string& swap : parse_swaps(swaps.value_or(""))) {
    for (const std::string& drive : drives_below(tree, swap)) {
      if (std::ranges::find(drives, drive) == drives.end()) continue;
      return device_path(drive) + " is also used for swap space (" + device_path(swap) + ")" +
             advice;
    }
  }
  for (const std::string& drive : drives_of_directory(tree, "/")) {
    if (std::ranges::find(drives, drive) == drives.end()) continue;
    return device_path(drive) + " is also the disk of the system (/)" + advice;
  }
  return std::nullopt;
}

}  // namespace

Result<ByteCount> parse_journal_mb(std::string_view text) {
  std::uint64_t mb = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mb);
  const std::uint64_t least = cluster::kJournalBytesMin / 1_MiB;
  const std::uint64_t most = cluster::kJournalBytesMax / 1_MiB;
  if (error == std::errc() && end == text.data() + text.size() && mb >= least && mb <= most) {
    return mb * 1_MiB;
  }
  return fail(Code::kInvalidArgument, "-s " + std::string(text) + " is no size of a journal: MB, " +
                                          std::to_string(least) + " to " + std::to_string(most) +
                                          ", as in -s 30720 for 30 GB");
}

std::optional<std::string> enclosing_repository(const std::string& path) {
  std::error_code ignored;
  std::filesystem::path at = path;
  while (true) {
    for (const char* identity : {"cs.conf", "mds.conf"}) {
      if (std::filesystem::exists(at / identity, ignored)) return at.string();
    }
    if (!at.has_relative_path()) return std::nullopt;
    at = at.parent_path();
  }
}

std::vector<std::string> drives_below(const SysTree& tree, const std::string& name) {
  std::set<std::string> drives;
  find_drives(tree, name, kStackedMax, &drives);
  return {drives.begin(), drives.end()};
}

std::vector<std::string> place_warnings(const cluster::ClusterConfig& config,
                                        const std::string& place) {
  std::vector<std::string> warnings;
  for (std::optional<std::string> warning :
       {shared_disk_warning(config, place), system_disk_warning(place), alignment_warning(place)}) {
    if (warning.has_value()) warnings.push_back(std::move(*warning));
  }
  return warnings;
}

std::optional<std::string> journal_warning(const std::string& place, const std::string& journal) {
  const SysTree tree;
  const std::vector<std::string> data = drives_of_directory(tree, place);
  const std::vector<std::string> other = drives_of_directory(tree, journal);
  for (const std::string& drive : other) {
    if (std::ranges::find(data, drive) == data.end()) continue;
    return "the journal at " + journal + " and the data lie on the same disk (" +
           device_path(drive) +
           "): that gains nothing; leave -j out, or name a directory on an SSD";
  }
  return std::nullopt;
}

Result<std::string> journal_place(const std::string& repository, const std::string& directory) {
  TRY(std::string path, repository_path(directory));
  const bool own = path == repository || path.starts_with(repository + "/");
  if (own) return std::string();
  const std::optional<std::string> other = enclosing_repository(path);
  if (other.has_value()) {
    return fail(Code::kInvalidArgument,
                path + " lies in the repository " + *other + ", which is not this one's");
  }
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_directory(status)) {
    return fail(Code::kNotDirectory, path + " is not a directory");
  }
  return path;
}

Status check_journal_room(const std::string& directory, ByteCount bytes) {
  TRY(const ByteCount room, free_bytes_at(directory));
  if (room >= bytes + kRoomBesideJournal) return {};
  return fail(Code::kNoSpace, "the filesystem of " + directory + " has " +
                                  std::to_string(room / 1_MiB) + " MB free, a journal of " +
                                  std::to_string(bytes / 1_MiB) + " MB does not fit");
}

}  // namespace cairn::admin
