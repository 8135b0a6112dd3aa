// Which Cairn mount a path lies in, and what it is called inside the cluster. Pure: works on the
// text of /proc/self/mountinfo.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::admin {

struct CairnMount {
  std::string cluster;  // from the source "cairn://NAME"
  std::string mount_point;
  std::string root;  // path inside the cluster that is seen there ("/" but for bind mounts)
};

// In the order of the table: a later one hides an earlier one at the same place.
std::vector<CairnMount> parse_mountinfo(std::string_view text);

struct PathInCluster {
  std::string cluster;
  std::string path;  // absolute, from the cluster's root
};
// `path` is absolute and without links, "." and "..".
std::optional<PathInCluster> locate(const std::vector<CairnMount>& mounts, const std::string& path);

// "/a//b/./c/" -> "/a/b/c". ".." is taken away with the name before it.
std::string normal_path(std::string_view path);

}  // namespace cairn::admin
