#include "client/fuse/mount_point.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "client/fuse/mount_table.h"

namespace cairn::client::fuse {

namespace {

// By the text alone: a dead mount cannot be looked at.
std::string absolute_path(const std::string& path) {
  std::string absolute = std::filesystem::absolute(path).lexically_normal().string();
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

Status clear_dead_mount(const std::string& path, const std::string& source) {
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 || errno != ENOTCONN) return {};
  const std::string absolute = absolute_path(path);
  const std::optional<MountEntry> dead = visible_mount(absolute);
  const bool ours = dead && dead->source == source;
  if (ours && unmount(absolute, dead->device).has_value()) return {};
  return fail(Code::kBusy, "A mount whose process died is there. End it first:  umount -l " + path);
}

}  // namespace

Result<std::string> prepare_mount_point(const std::string& path, const std::string& source) {
  TRY_VOID(clear_dead_mount(path, source));
  std::array<char, PATH_MAX> resolved{};
  struct stat st {};
  if (::realpath(path.c_str(), resolved.data()) == nullptr || ::stat(resolved.data(), &st) != 0) {
    return fail(errno == ENOENT ? Code::kNotFound : Code::kBusy,
                fmt::format("The mount point cannot be used: {}.", std::strerror(errno)));
  }
  if (!S_ISDIR(st.st_mode)) return fail(Code::kBusy, "The mount point is not a directory.");
  std::string name = resolved.data();
  const std::optional<MountEntry> there = visible_mount(name);
  if (there && there->source == source) return fail(Code::kBusy, "It is mounted there already.");
  return name;
}

}  // namespace cairn::client::fuse
