#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/stat_json.h"
#include "admin/view/stat_text.h"

namespace cairn::admin {

Outcome<Output> get_event(const Globals& globals, const GetEvent& options) {
  const std::string what = "cannot show the events";
  const Outcome<std::string> cluster = choose_cluster(globals, what);
  if (!cluster.has_value()) return std::unexpected(cluster.error());
  const Outcome<MdsDoor> door = open_door(globals, *cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());
  pb::EventsRequest request;
  request.set_after(options.after);
  request.set_limit(options.count);
  const auto reply = ask<pb::EventsReply>(*door, "/cairn.pb.Admin/Events", request);
  if (!reply.has_value()) return failure(what, reply.error());
  return Output{.text = globals.json ? events_json(reply->events()) : events_text(reply->events()),
                .warnings = {}};
}

}  // namespace cairn::admin
