#include "admin/view/mounts.h"

#include <algorithm>

namespace cairn::admin {
namespace {

constexpr std::string_view kScheme = "cairn://";

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end != 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool is_octal(char c) { return c >= '0' && c <= '7'; }

// The kernel writes blank, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                  (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

bool lies_in(const std::string& path, const std::string& directory) {
  if (directory == "/") return true;
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

}  // namespace

std::vector<CairnMount> parse_mountinfo(std::string_view text) {
  std::vector<CairnMount> mounts;
  for (const std::string_view line : split(text, '\n')) {
    const std::vector<std::string_view> fields = split(line, ' ');
    const auto dash = std::ranges::find(fields, std::string_view("-"));
    if (fields.size() < 7 || fields.end() - dash < 3) continue;
    const std::string source = unescape(dash[2]);
    const bool ours = dash[1] == "fuse.cairn" && source.starts_with(kScheme);
    // Others are kept, nameless: a foreign filesystem mounted inside a Cairn mount hides it.
    mounts.push_back({.cluster = ours ? source.substr(kScheme.size()) : std::string(),
                      .mount_point = unescape(fields[4]),
                      .root = unescape(fields[3])});
  }
  return mounts;
}

std::optional<PathInCluster> locate(const std::vector<CairnMount>& mounts,
                                    const std::string& path) {
  const CairnMount* best = nullptr;
  for (const CairnMount& mount : mounts) {
    if (!lies_in(path, mount.mount_point)) continue;
    if (best == nullptr || mount.mount_point.size() >= best->mount_point.size()) best = &mount;
  }
  if (best == nullptr || best->cluster.empty()) return std::nullopt;
  const std::string inside =
      best->mount_point == "/" ? path : path.substr(best->mount_point.size());
  return PathInCluster{.cluster = best->cluster, .path = normal_path(best->root + "/" + inside)};
}

std::string normal_path(std::string_view path) {
  std::vector<std::string_view> names;
  for (const std::string_view name : split(path, '/')) {
    if (name == "..") {
      if (!names.empty()) names.pop_back();
    } else if (name != ".") {
      names.push_back(name);
    }
  }
  std::string result;
  for (const std::string_view name : names) {
    result += '/';
    result += name;
  }
  return result.empty() ? "/" : result;
}

}  // namespace cairn::admin
