#include <fmt/format.h>

#include <utility>

#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/attributes.h"

namespace cairn::admin {

Outcome<Output> set_attr(const Globals& globals, const SetAttr& options) {
  std::string what = "cannot set the attributes";
  const auto arguments = split_arguments(options.words, options.from_root);
  if (!arguments.has_value()) return failure(what, arguments.error());
  what += " of '" + arguments->path + "'";
  auto request = parse_attributes(arguments->attributes);
  if (!request.has_value()) return failure(what, request.error());
  const Outcome<PathInCluster> target =
      choose_path(globals, arguments->path, options.from_root, what);
  if (!target.has_value()) return std::unexpected(target.error());
  const Outcome<MdsDoor> door = open_door(globals, target->cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());

  request->mutable_target()->set_path(target->path);
  request->set_recursive(options.recursive);
  const auto reply = ask<pb::SetPolicyReply>(*door, "/cairn.pb.Admin/SetPolicy", *request);
  if (!reply.has_value()) return failure(what, reply.error());

  Output output;
  output.warnings.assign(reply->warnings().begin(), reply->warnings().end());
  if (reply->keep_layout() != 0) {
    output.warnings.push_back(fmt::format(
        "{} files have data already and keep their present encoding; new files get the new one",
        reply->keep_layout()));
  }
  output.text = fmt::format("changed {} {}\n", reply->changed(),
                            reply->changed() == 1 ? "file or directory" : "files and directories");
  return output;
}

}  // namespace cairn::admin
