#include "admin/commands/which_cluster.h"

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

#include "admin/view/suggest.h"
#include "common/cluster/cluster_config.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Outcome<std::string> checked(std::string name, const std::string& what) {
  const Status good = cluster::check_cluster_name(name);
  if (!good.has_value()) return failure(what, good.error());
  return name;
}

}  // namespace

Outcome<std::string> choose_cluster(const Globals& globals, const std::string& what) {
  if (!globals.cluster.empty()) return checked(globals.cluster, what);
  const char* from_environment = std::getenv("CAIRN_CLUSTER");
  if (from_environment != nullptr && *from_environment != '\0') {
    return checked(from_environment, what);
  }
  const std::vector<std::string> known = cluster::ClusterConfig::known({});
  if (known.size() == 1) return known.front();
  if (known.empty()) {
    return failure({.code = Code::kNotFound,
                    .what = what,
                    .why = "This host knows no cluster",
                    .state = {},
                    .next = "Name one and make it known:  cairn -c NAME auth-node -b MDS_ADDRESS"});
  }
  return failure({.code = Code::kInvalidArgument,
                  .what = what,
                  .why = "No cluster was named, and this host knows several: " + joined(known),
                  .state = {},
                  .next = "Say which one:  cairn -c NAME ... (or set CAIRN_CLUSTER)"});
}

Outcome<PathInCluster> choose_path(const Globals& globals, const std::string& path, bool from_root,
                                   const std::string& what) {
  if (from_root) {
    Outcome<std::string> name = choose_cluster(globals, what);
    if (!name.has_value()) return std::unexpected(name.error());
    return PathInCluster{.cluster = *name, .path = normal_path(path)};
  }
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::canonical(path, error);
  if (error) return failure(what, cluster::system_error(error.value(), "look at", path));
  const Result<std::string> table = cluster::read_small_file("/proc/self/mountinfo");
  if (!table.has_value()) return failure(what, table.error());
  std::optional<PathInCluster> found = locate(parse_mountinfo(*table), absolute.string());
  if (!found.has_value()) {
    return failure(
        {.code = Code::kInvalidArgument,
         .what = what,
         .why = "'" + path + "' does not lie in a mount of Cairn",
         .state = {},
         .next = "Give a path inside a mount, or one from the cluster's root:  -p /path"});
  }
  if (!globals.cluster.empty() && globals.cluster != found->cluster) {
    return failure({.code = Code::kInvalidArgument,
                    .what = what,
                    .why = "'" + path + "' lies in cluster '" + found->cluster + "', not in '" +
                           globals.cluster + "'",
                    .state = {},
                    .next = "Leave -c out, or give the path with -p from the cluster's root."});
  }
  return *found;
}

}  // namespace cairn::admin
