#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/attributes.h"

namespace cairn::admin {

Outcome<Output> get_attr(const Globals& globals, const PathArgument& options) {
  const std::string what = "cannot show the attributes of '" + options.path + "'";
  const Outcome<PathInCluster> target = choose_path(globals, options.path, options.from_root, what);
  if (!target.has_value()) return std::unexpected(target.error());
  const Outcome<MdsDoor> door = open_door(globals, target->cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());
  pb::GetPolicyRequest request;
  request.mutable_target()->set_path(target->path);
  const auto reply = ask<pb::GetPolicyReply>(*door, "/cairn.pb.Admin/GetPolicy", request);
  if (!reply.has_value()) return failure(what, reply.error());
  return Output{.text = globals.json ? attributes_json(*reply, options.path)
                                     : attributes_text(*reply, options.path),
                .warnings = {}};
}

}  // namespace cairn::admin
