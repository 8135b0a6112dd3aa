// configure-mds: new addresses of the MDS of a group, written while their daemons are stopped. The
// files of the host first, the repository last: a repeat does what a crash left undone.
#include <utility>

#include "admin/commands/commands.h"
#include "admin/commands/file_lock.h"
#include "admin/commands/local_services.h"
#include "admin/commands/renumber.h"
#include "admin/commands/repository_checks.h"
#include "common/cluster/cluster_config.h"
#include "common/cluster/repository.h"

namespace cairn::admin {
namespace {

constexpr const char* kWhat = "cannot give the MDS new addresses";

std::string name_of(NodeId id) { return "MDS#" + std::to_string(id.raw()); }

Status update_address_list(const cluster::ClusterConfig& config, const Members& before,
                           const Members& after) {
  std::vector<net::Address> gone;
  for (const auto& [id, address] : before) {
    const auto now = after.find(id);
    if (now == after.end() || now->second != address) gone.push_back(address);
  }
  // One member may take over another's old address.
  const std::vector<net::Address> all = addresses_of(after);
  std::erase_if(gone, [&all](const net::Address& address) {
    return std::ranges::find(all, address) != all.end();
  });
  return add_mds_addresses(config, all, gone);
}

std::string told(const cluster::MdsRepository& made, const Members& before, const Members& after,
                 const std::string& path, const std::string& bs_list) {
  std::string text = name_of(made.mds_id) + " of cluster '" + made.cluster + "' at " + path +
                     " now has these addresses:\n";
  std::string list;
  for (const auto& [id, address] : after) {
    const auto old = before.find(id);
    const bool changed = old == before.end() || old->second != address;
    text += "  " + name_of(id) + "  " + address.to_string();
    if (changed && old != before.end()) text += "  (was " + old->second.to_string() + ")";
    if (id == made.mds_id) text += "  this one";
    text += "\n";
    list += "    " + address.to_string() + "\n";
  }
  text +=
      "Next:\n"
      "  Run configure-mds with the same -n on every other MDS, before any of them is started.\n"
      "  Start them all:  cairn-mdsd -r " +
      path +
      " -D\n"
      "  On servers with chunk servers or mounts only, put these lines into " +
      bs_list + "\n  and start them again:\n" + list;
  return text;
}

}  // namespace

Outcome<Output> configure_mds(const Globals& globals, const ConfigureMds& options) {
  const Result<Members> nodes = parse_nodes(options.nodes);
  if (!nodes.has_value()) {
    return failure(kWhat, nodes.error(), {},
                   "Give each MDS its address:  -n ID@ADDR[:PORT]  (ids: cairn list-services -M)");
  }
  const Result<std::string> path = repository_path(options.repository);
  if (!path.has_value()) return failure(kWhat, path.error());
  const auto present = cluster::MdsRepository::load(*path);
  if (!present.has_value()) return failure(kWhat, present.error());
  if (!globals.cluster.empty() && globals.cluster != present->cluster) {
    return failure({.code = Code::kInvalidArgument,
                    .what = kWhat,
                    .why = *path + " is an MDS of cluster '" + present->cluster + "', not of '" +
                           globals.cluster + "'",
                    .state = {},
                    .next = "Leave -c out, or name the directory of the other MDS."});
  }
  const Result<FileLock> lock = lock_stopped_repository(*path);
  if (!lock.has_value()) {
    return failure(kWhat, lock.error(), {}, "Stop its cairn-mdsd first, then repeat.");
  }
  // Again, now that nobody changes it.
  const auto before = cluster::MdsRepository::load(*path);
  if (!before.has_value()) return failure(kWhat, before.error());
  const auto after = renumber(*before, *nodes, options.force);
  if (!after.has_value()) {
    const bool unknown = after.error().code() == Code::kNotFound;
    return failure(kWhat, after.error(), {},
                   unknown ? "See the ids:  cairn list-services -M  on each MDS. An MDS that this "
                             "one has not heard of yet:  --force"
                           : std::string());
  }
  const cluster::ClusterConfig config({}, before->cluster);
  const Members old = members_of(*before);
  const Members all = members_of(*after);
  const Status listed = update_address_list(config, old, all);
  if (!listed.has_value()) return failure(kWhat, listed.error());
  if (*after == *before) {
    return Output{.text = "nothing to change: " + *path + " has these addresses\n", .warnings = {}};
  }
  const Status saved = after->save(*path);
  if (!saved.has_value()) {
    return failure(kWhat, saved.error(),
                   "Only " + config.directory() + "/bs.list was changed; repeat the command");
  }
  return Output{.text = told(*after, old, all, *path, config.directory() + "/bs.list"),
                .warnings = {}};
}

}  // namespace cairn::admin
