#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/port_probe.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/settings.h"

namespace cairn::admin {

Outcome<Output> set_config(const Globals& globals, const SetConfig& options) {
  const std::string what = "cannot set the settings of the cluster";
  const Outcome<std::string> cluster = choose_cluster(globals, what);
  if (!cluster.has_value()) return std::unexpected(cluster.error());
  const Outcome<MdsDoor> door = open_door(globals, *cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());
  pb::GetConfigRequest all;
  all.set_cluster(*cluster);
  const auto before = ask<pb::GetConfigReply>(*door, "/cairn.pb.Admin/GetConfig", all);
  if (!before.has_value()) return failure(what, before.error());
  const auto settings = parse_settings(options.words, *before, what);
  if (!settings.has_value()) return std::unexpected(settings.error());
  pb::SetConfigRequest request;
  request.set_cluster(*cluster);
  for (const pb::Setting& setting : *settings) *request.add_settings() = setting;
  // For the event: where this is typed.
  const Result<std::string> from = local_address_towards(door->addresses.front());
  if (from.has_value()) request.set_from(*from);
  const auto done = ask<pb::SetConfigReply>(*door, "/cairn.pb.Admin/SetConfig", request);
  if (!done.has_value()) return failure(what, done.error());
  return Output{.text = globals.json ? changes_json(*done, *before) : changes_text(*done, *before),
                .warnings = {}};
}

}  // namespace cairn::admin
