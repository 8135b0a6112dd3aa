#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/settings.h"

namespace cairn::admin {

Outcome<Output> get_config(const Globals& globals, const GetConfig& options) {
  const std::string what = "cannot show the settings of the cluster";
  const Outcome<std::string> cluster = choose_cluster(globals, what);
  if (!cluster.has_value()) return std::unexpected(cluster.error());
  const Outcome<MdsDoor> door = open_door(globals, *cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());
  pb::GetConfigRequest request;
  request.set_cluster(*cluster);
  const auto all = ask<pb::GetConfigReply>(*door, "/cairn.pb.Admin/GetConfig", request);
  if (!all.has_value()) return failure(what, all.error());
  const auto chosen = choose_settings(options.names, *all, what);
  if (!chosen.has_value()) return std::unexpected(chosen.error());
  return Output{
      .text = globals.json ? settings_json(*chosen) : settings_text(*chosen, options.verbose),
      .warnings = {}};
}

}  // namespace cairn::admin
