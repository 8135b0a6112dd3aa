#include <algorithm>
#include <utility>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/password.h"
#include "admin/commands/repository_checks.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/units.h"
#include "proto/admin.pb.h"

namespace cairn::admin {
namespace {

constexpr const char* kWhat = "cannot authenticate this server";

// So that this server finds the cluster also when the MDS it was told of are away.
void learn_addresses(const MdsDoor& door, std::vector<net::Address>* addresses) {
  MdsDoor quick = door;
  quick.timeout = std::min<Duration>(door.timeout, 2s);
  const auto state = ask<pb::StatReply>(quick, "/cairn.pb.Admin/Stat", pb::StatRequest());
  if (!state.has_value()) return;  // no master at the moment: what was given is enough
  for (const pb::MdsStat& mds : state->mds()) {
    const Result<net::Address> address = net::Address::parse(mds.address());
    if (address.has_value()) addresses->push_back(*address);
  }
}

}  // namespace

Outcome<Output> auth_node(const Globals& globals, const AuthNode& options) {
  const Outcome<std::string> name = choose_cluster(globals, kWhat);
  if (!name.has_value()) return std::unexpected(name.error());
  const cluster::ClusterConfig config({}, *name);
  Result<std::vector<net::Address>> addresses =
      options.addresses.empty() ? config.mds_addresses()
                                : parse_address_lists(options.addresses, cluster::kMdsPort);
  if (!addresses.has_value()) {
    const bool unknown = addresses.error().code() == Code::kNotFound;
    return failure(
        kWhat, addresses.error(), {},
        unknown ? "Name an MDS of the cluster:  cairn -c " + *name + " auth-node -b ADDR[:PORT]"
                : std::string());
  }
  const Result<std::string> password = read_password(options.password, Repeat::kOnce);
  if (!password.has_value()) return failure(kWhat, password.error());

  const std::string key = cluster::ClusterConfig::derive_key(*name, *password);
  const MdsDoor door{.addresses = *addresses,
                     .credentials = {.cluster = *name, .key = key},
                     .timeout = timeout_of(globals)};
  const Result<pb::HelloReply> reply = greet(door);
  if (!reply.has_value()) {
    const bool refused = reply.error().code() == Code::kNotAuthenticated;
    if (!refused) return failure(kWhat, reply.error());
    return failure(
        {.code = Code::kNotAuthenticated,
         .what = kWhat,
         .why = "The MDS refused the password",
         .state = {},
         .next = "Type the password that was given to make-mds -p; mind the cluster's name"});
  }
  const Status written = config.write_key(key);
  if (!written.has_value()) return failure(kWhat, written.error());
  learn_addresses(door, &*addresses);
  const Status listed = add_mds_addresses(config, *addresses);
  if (!listed.has_value()) {
    return failure(kWhat, listed.error(), "The key was written, the address list was not");
  }
  return Output{.text = "connected to MDS#" + std::to_string(reply->mds_id()) +
                        "\nThis server may now use cluster '" + *name + "' (" +
                        format_hex16(reply->cluster_id()) + ")\n",
                .warnings = {}};
}

}  // namespace cairn::admin
