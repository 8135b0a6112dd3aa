#include "client/fuse/mount_table.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace cairn::client::fuse {

namespace {

// Spaces, tabs, newlines and backslashes are written as \ooo.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      const int value = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
      plain += static_cast<char>(value);
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw"
std::optional<MountEntry> parse_line(const std::string& line) {
  std::istringstream fields(line);
  std::string skip;
  std::string device;
  std::string mount_point;
  if (!(fields >> skip >> skip >> device >> skip >> mount_point)) return std::nullopt;
  while (fields >> skip && skip != "-") {
  }
  std::string type;
  std::string source;
  if (!(fields >> type >> source)) return std::nullopt;
  return MountEntry{device, unescape(mount_point), type, unescape(source)};
}

extern "C" char** environ;

// As a user only fusermount3, which is setuid, may unmount.
bool run_fusermount(const std::string& mount_point, bool lazy) {
  std::vector<std::string> words = {"fusermount3", "-u", "-q"};
  if (lazy) words.emplace_back("-z");
  words.emplace_back("--");
  words.push_back(mount_point);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (::posix_spawnp(&child, "fusermount3", nullptr, nullptr, arguments.data(), environ) != 0) {
    return false;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool unmount_once(const std::string& mount_point, bool lazy) {
  if (::geteuid() != 0) return run_fusermount(mount_point, lazy);
  return ::umount2(mount_point.c_str(), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0;
}

// Mapped pages that were changed reach us now, while they are served.
void sync_mount(const std::string& mount_point) {
  const int fd = ::open(mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::syncfs(fd);
  ::close(fd);
}

}  // namespace

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> entries;
  std::istringstream lines{std::string(text)};
  std::string line;
  while (std::getline(lines, line)) {
    std::optional<MountEntry> entry = parse_line(line);
    if (entry) entries.push_back(std::move(*entry));
  }
  return entries;
}

std::optional<MountEntry> visible_mount(const std::string& mount_point) {
  std::ifstream file("/proc/self/mountinfo");
  std::ostringstream text;
  text << file.rdbuf();
  std::optional<MountEntry> visible;
  for (MountEntry& entry : parse_mountinfo(text.str())) {
    if (entry.mount_point == mount_point) visible = std::move(entry);
  }
  return visible;
}

Status unmount(const std::string& mount_point, const std::string& device) {
  const auto is_ours = [&] {
    const std::optional<MountEntry> there = visible_mount(mount_point);
    return there && there->device == device;
  };
  if (!is_ours()) return {};
  if (unmount_once(mount_point, false)) return {};
  sync_mount(mount_point);
  if (!is_ours() || unmount_once(mount_point, true)) return {};
  return fail(Code::kBusy, fmt::format("cannot unmount {}: {}", mount_point, std::strerror(errno)));
}

void raise_read_ahead(const std::string& device) {
  constexpr int kReadAheadKiB = 4096;
  std::ofstream file(fmt::format("/sys/class/bdi/{}/read_ahead_kb", device));
  file << kReadAheadKiB << std::flush;
}

}  // namespace cairn::client::fuse
