#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/stat_json.h"
#include "admin/view/stat_text.h"

namespace cairn::admin {

Outcome<Output> stat(const Globals& globals, const Stat& options) {
  const std::string what = "cannot show the state of the cluster";
  const Outcome<std::string> cluster = choose_cluster(globals, what);
  if (!cluster.has_value()) return std::unexpected(cluster.error());
  const Outcome<MdsDoor> door = open_door(globals, *cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());
  pb::StatRequest request;
  request.set_chunks(options.chunks);
  const auto reply = ask<pb::StatReply>(*door, "/cairn.pb.Admin/Stat", request);
  if (!reply.has_value()) return failure(what, reply.error());
  return Output{.text = globals.json ? stat_json(*reply) : stat_text(*reply, options.verbose),
                .warnings = {}};
}

}  // namespace cairn::admin
