#include <algorithm>

#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/mds_group.h"

namespace cairn::admin {
namespace {

constexpr int kExitDiffer = 1;
constexpr int kExitPartlyDone = 8;
// Each MDS reads all its tables; the master itself gives up on one after 100 s.
constexpr Duration kPatience = 120s;

int exit_code_of(MdsVerdict::Kind kind) {
  if (kind == MdsVerdict::Kind::kAllAgree) return 0;
  return kind == MdsVerdict::Kind::kDiffer ? kExitDiffer : kExitPartlyDone;
}

}  // namespace

Outcome<Output> check_mds(const Globals& globals) {
  const std::string what = "cannot compare the MDS";
  const Outcome<std::string> cluster = choose_cluster(globals, what);
  if (!cluster.has_value()) return std::unexpected(cluster.error());
  Outcome<MdsDoor> door = open_door(globals, *cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());
  door->timeout = std::max<Duration>(door->timeout, kPatience);
  pb::CheckMdsRequest request;
  request.set_cluster(*cluster);
  const auto reply = ask<pb::CheckMdsReply>(*door, "/cairn.pb.Admin/CheckMds", request);
  if (!reply.has_value()) return failure(what, reply.error());
  return Output{.text = globals.json ? mds_check_json(*reply) : mds_check_text(*reply),
                .warnings = {},
                .exit_code = exit_code_of(judge(*reply).kind)};
}

}  // namespace cairn::admin
