#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/members.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/mds_group.h"

namespace cairn::admin {
namespace {

Outcome<std::uint32_t> parse_id(const std::string& text, const std::string& what) {
  const bool marked = text.starts_with("MDS#");  // as events and messages spell it
  const std::string digits = marked ? text.substr(4) : text;
  std::uint32_t id = 0;
  const char* end = digits.data() + digits.size();
  const auto [parsed, error] = std::from_chars(digits.data(), end, id);
  if (error == std::errc{} && parsed == end && id != 0) return id;
  return failure({.code = Code::kInvalidArgument,
                  .what = what,
                  .why = "'" + text + "' is not the id of an MDS",
                  .state = {},
                  .next = "See the ids (column MDSID):  cairn stat"});
}

std::unexpected<Failure> no_such(const std::string& what, std::uint32_t id,
                                 const pb::StatReply& state) {
  std::string known;
  for (const pb::MdsStat& mds : state.mds()) {
    known += (known.empty() ? "" : ", ") + ("MDS#" + std::to_string(mds.id()));
  }
  return failure({.code = Code::kNotFound,
                  .what = what,
                  .why = "There is no MDS#" + std::to_string(id) + "; the cluster has " + known,
                  .state = {},
                  .next = "See them:  cairn stat"});
}

// What the master would have answered.
pb::RemoveMdsReply without(const pb::StatReply& state, const pb::MdsStat& removed) {
  pb::RemoveMdsReply reply;
  reply.set_address(removed.address());
  for (const pb::MdsStat& mds : state.mds()) {
    if (mds.id() == removed.id()) continue;
    pb::MdsMember* left = reply.add_members();
    left->set_id(mds.id());
    left->set_address(mds.address());
    left->set_role(mds.role());
  }
  return reply;
}

std::optional<LocalService> on_this_host(const cluster::ClusterConfig& config, std::uint32_t id) {
  const auto services = local_services(config);
  if (!services.has_value()) return std::nullopt;
  for (const LocalService& service : *services) {
    if (service.kind == ServiceKind::kMds && service.id.raw() == id) return service;
  }
  return std::nullopt;
}

// This host's files after the cluster has counted the MDS out.
void forget(const cluster::ClusterConfig& config, const Members& left,
            const std::optional<LocalService>& local, Output* output) {
  if (!left.empty()) {
    const Status listed = set_mds_addresses(config, addresses_of(left));
    if (!listed.has_value()) output->warnings.push_back(listed.error().message());
  }
  if (!local.has_value()) return;
  const Status removed = remove_local_service(config, *local);
  if (!removed.has_value()) output->warnings.push_back(removed.error().message());
}

}  // namespace

Outcome<Output> rm_mds(const Globals& globals, const RmMds& options) {
  std::string what = "cannot remove the MDS";
  const Outcome<std::uint32_t> id = parse_id(options.id, what);
  if (!id.has_value()) return std::unexpected(id.error());
  const std::string name = "MDS#" + std::to_string(*id);
  what = "cannot remove " + name;
  const Outcome<std::string> cluster = choose_cluster(globals, what);
  if (!cluster.has_value()) return std::unexpected(cluster.error());
  const Outcome<MdsDoor> door = open_door(globals, *cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());

  // Before, so that "there is none" afterwards means: done, and the answer was lost in a failover.
  const auto state = ask<pb::StatReply>(*door, "/cairn.pb.Admin/Stat", pb::StatRequest());
  if (!state.has_value()) return failure(what, state.error());
  const auto known = std::ranges::find(state->mds(), *id, &pb::MdsStat::id);
  if (known == state->mds().end()) return no_such(what, *id, *state);
  pb::RemoveMdsRequest request;
  request.set_cluster(*cluster);
  request.set_mds_id(*id);
  auto reply = ask<pb::RemoveMdsReply>(*door, "/cairn.pb.Admin/RemoveMds", request);
  if (!reply.has_value() && reply.error().code() == Code::kNotFound) {
    reply = without(*state, *known);
  }
  if (!reply.has_value() && reply.error().code() == Code::kRefusedForSafety) {
    return failure(what, reply.error(), {},
                   "Start the MDS that are down, or add one first:  cairn make-mds -a ADDR -r DIR");
  }
  if (!reply.has_value()) return failure(what, reply.error());

  Output output;
  const cluster::ClusterConfig config({}, *cluster);
  const std::optional<LocalService> local = on_this_host(config, *id);
  const Result<Members> left = read_members(reply->members());
  if (!left.has_value()) output.warnings.push_back(left.error().message());
  forget(config, left.value_or(Members()), local, &output);
  output.text =
      "removed " + name + " at " + reply->address() + " from cluster '" + *cluster + "'\n";
  output.text +=
      "Its cairn-mdsd stops by itself; one that is cut off has to be stopped there. The "
      "id is never used again.\nIts directory may then be deleted";
  output.text += local.has_value() ? ":  " + local->repository + "\n" : "\n";
  if (left.has_value()) output.text += group_size_advice(left->size()) + "\n";
  return output;
}

}  // namespace cairn::admin
