#include "admin/drive/fstab.h"

#include <algorithm>
#include <sstream>

namespace cairn::admin {

std::vector<FstabLine> parse_fstab(std::string_view text) {
  std::vector<FstabLine> result;
  std::istringstream lines{std::string(text)};
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    FstabLine entry;
    if (!(words >> entry.what >> entry.where) || entry.what.starts_with('#')) continue;
    while (entry.where.size() > 1 && entry.where.ends_with('/')) entry.where.pop_back();
    result.push_back(std::move(entry));
  }
  return result;
}

std::string mount_point_stem(const std::string& root, const std::string& cluster, bool ssd) {
  return root + "/" + cluster + (ssd ? "-ssd" : "-cs");
}

std::string first_unused_mount_point(const std::string& stem,
                                     const std::vector<std::string>& used) {
  for (std::size_t number = 1;; ++number) {
    std::string candidate = stem + std::to_string(number);
    if (std::ranges::find(used, candidate) == used.end()) return candidate;
  }
}

std::string fstab_line(const std::string& uuid, const std::string& where) {
  return "UUID=" + uuid + " " + where + " ext4 defaults,nofail,lazytime,noatime 0 0";
}

std::string with_line(std::string table, const std::string& line) {
  if (!table.empty() && !table.ends_with('\n')) table += '\n';
  return table + line + "\n";
}

}  // namespace cairn::admin
