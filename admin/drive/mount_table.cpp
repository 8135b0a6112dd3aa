#include "admin/drive/mount_table.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

namespace cairn::admin {
namespace {

// The kernel writes blanks and backslashes in names as "\040".
std::string unescaped(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '\\' && i + 3 < text.size()) {
      const auto [rest, error] = std::from_chars(&text[i + 1], &text[i + 1] + 3, value, 8);
      if (error == std::errc() && rest == &text[i + 1] + 3 && value < 256) {
        result += static_cast<char>(value);
        i += 3;
        continue;
      }
    }
    result += text[i];
  }
  return result;
}

std::optional<dev_t> parse_device(const std::string& text) {
  unsigned numbers[2] = {};
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(at, end, numbers[0]);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ':') return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, numbers[1]);
  if (second.ec != std::errc() || second.ptr != end) return std::nullopt;
  return makedev(numbers[0], numbers[1]);
}

}  // namespace

std::vector<MountEntry> parse_mount_table(std::string_view text) {
  std::vector<MountEntry> result;
  std::istringstream lines{std::string(text)};
  std::string line;
  while (std::getline(lines, line)) {
    // 36 35 98:0 /root /where options tags... - type source options
    std::istringstream words(line);
    std::string id, parent, device, root, where, word, type, source;
    words >> id >> parent >> device >> root >> where;
    while (words >> word && word != "-") {
    }
    if (!(words >> type >> source)) continue;
    const std::optional<dev_t> number = parse_device(device);
    if (!number.has_value()) continue;
    result.push_back(
        {.device = *number, .where = unescaped(where), .type = type, .source = unescaped(source)});
  }
  return result;
}

Result<std::vector<MountEntry>> mount_table() {
  std::ifstream file("/proc/self/mountinfo");
  if (!file) return fail(Code::kUnavailable, "/proc/self/mountinfo cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_mount_table(text.str());
}

std::string existing_part(const std::string& path) {
  std::error_code error;
  std::filesystem::path at = std::filesystem::absolute(path, error).lexically_normal();
  while (!std::filesystem::exists(at, error) && at.has_relative_path()) at = at.parent_path();
  return at.empty() ? "/" : at.string();
}

std::optional<std::string> block_device_below(const SysTree& tree, const std::string& directory) {
  struct stat status = {};
  if (::stat(existing_part(directory).c_str(), &status) != 0) return std::nullopt;
  if (std::optional<std::string> name = tree.name_of(status.st_dev)) return name;
  const Result<std::vector<MountEntry>> mounts = mount_table();
  if (!mounts.has_value()) return std::nullopt;
  for (const MountEntry& mount : *mounts) {
    struct stat source = {};
    if (mount.device != status.st_dev || !mount.source.starts_with('/')) continue;
    if (::stat(mount.source.c_str(), &source) != 0 || !S_ISBLK(source.st_mode)) continue;
    if (std::optional<std::string> name = tree.name_of(source.st_rdev)) return name;
  }
  return std::nullopt;
}

}  // namespace cairn::admin
