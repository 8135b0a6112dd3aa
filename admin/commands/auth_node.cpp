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

Result<std::vector<net::Address>> parse_address_list(std::string text) {
  std::vector<net::Address> addresses;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    TRY(net::Address address, parse_address(text.substr(0, comma), cluster::kMdsPort));
    addresses.push_back(std::move(address));
    text.erase(0, comma + 1);
  }
  return addresses;
}

}  // namespace

Outcome<Output> auth_node(const Globals& globals, const AuthNode& options) {
  const Outcome<std::string> name = choose_cluster(globals, kWhat);
  if (!name.has_value()) return std::unexpected(name.error());
  const cluster::ClusterConfig config({}, *name);
  Result<std::vector<net::Address>> addresses =
      options.addresses.empty() ? config.mds_addresses() : parse_address_list(options.addresses);
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
  const auto timeout =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(globals.timeout_s));
  const MdsDoor door{
      .addresses = *addresses, .credentials = {.cluster = *name, .key = key}, .timeout = timeout};
  pb::HelloRequest request;
  request.set_cluster(*name);
  const auto reply = ask<pb::HelloReply>(door, "/cairn.pb.Admin/Hello", request);
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
