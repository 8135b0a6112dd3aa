#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/file_chunks.h"

namespace cairn::admin {

Outcome<Output> show_file(const Globals& globals, const PathArgument& options) {
  const std::string what = "cannot show the chunks of '" + options.path + "'";
  const Outcome<PathInCluster> target = choose_path(globals, options.path, options.from_root, what);
  if (!target.has_value()) return std::unexpected(target.error());
  const Outcome<MdsDoor> door = open_door(globals, target->cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());
  pb::InfoRequest request;
  request.mutable_target()->set_path(target->path);
  const auto reply = ask<pb::InfoReply>(*door, "/cairn.pb.Admin/Info", request);
  if (!reply.has_value()) return failure(what, reply.error());
  return Output{.text = globals.json ? file_chunks_json(*reply, options.path)
                                     : file_chunks_text(*reply, options.path),
                .warnings = {}};
}

}  // namespace cairn::admin
