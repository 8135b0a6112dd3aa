// make-mds without -I. In this order, so that a crash anywhere leaves what a repeat can go on with:
// the key; DIR/mds.joining with the uuid the cluster will know the MDS by; the id from the master;
// DIR/mds.conf; bs.list and services.list; mds.joining goes.
#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <utility>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/commands/mds_checks.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/members.h"
#include "admin/commands/password.h"
#include "admin/commands/repository_checks.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/mds_group.h"
#include "admin/view/units.h"
#include "common/cluster/durable_file.h"
#include "common/cluster/repository.h"
#include "proto/admin.pb.h"

namespace cairn::admin {
namespace {

constexpr const char* kWhat = kCannotMakeMds;
constexpr const char* kGoOn =
    "Repeat the same command: it goes on where this one ended, and gets the same id";

// The directory of the new MDS and how far an earlier attempt came.
struct Place {
  std::string path;
  std::optional<cluster::JoiningMds> joining;
  std::optional<cluster::MdsRepository> made;
};

Result<Place> look_at(const std::string& directory, const std::string& cluster) {
  Place place;
  TRY(place.path, repository_path(directory));
  TRY(place.joining, cluster::JoiningMds::load(place.path));
  if (!place.joining.has_value()) {
    TRY(place.path, check_repository(directory));
    return place;
  }
  if (place.joining->cluster != cluster) {
    return fail(Code::kNotEmpty, "the directory " + place.path +
                                     " holds the begun MDS of another cluster, '" +
                                     place.joining->cluster + "'");
  }
  std::error_code ignored;
  if (!std::filesystem::exists(place.path + "/mds.conf", ignored)) {
    TRY(place.path, check_repository(directory, "mds.joining"));
    return place;
  }
  TRY(place.made, cluster::MdsRepository::load(place.path));
  if (place.made->repo_uuid != place.joining->repo_uuid) {
    return fail(Code::kNotEmpty, "the directory " + place.path + " holds another MDS");
  }
  return place;
}

// Where the cluster is, and whom it takes this server for.
Outcome<MdsDoor> door_of(const Globals& globals, const MakeMds& options,
                         const cluster::ClusterConfig& config) {
  Result<std::vector<net::Address>> addresses =
      options.bootstrap.empty() ? config.mds_addresses()
                                : parse_address_lists(options.bootstrap, cluster::kMdsPort);
  if (!addresses.has_value()) {
    const bool unknown = addresses.error().code() == Code::kNotFound;
    return failure(kWhat, addresses.error(), {},
                   unknown ? "Name an MDS of the cluster:  -b ADDR[:PORT]. To make a new cluster, "
                             "add -I."
                           : std::string());
  }
  Result<net::Credentials> credentials = config.credentials();
  if (options.password != PasswordFrom::kNowhere) {
    const Result<std::string> password = read_password(options.password, Repeat::kOnce);
    if (!password.has_value()) return failure(kWhat, password.error());
    credentials =
        net::Credentials{.cluster = config.name(),
                         .key = cluster::ClusterConfig::derive_key(config.name(), *password)};
  }
  if (!credentials.has_value()) return failure(kWhat, credentials.error());
  return MdsDoor{.addresses = std::move(*addresses),
                 .credentials = std::move(*credentials),
                 .timeout = timeout_of(globals)};
}

Outcome<pb::HelloReply> check_key(const MdsDoor& door, const MakeMds& options) {
  const Result<pb::HelloReply> hello = greet(door);
  if (hello.has_value()) return *hello;
  if (hello.error().code() != Code::kNotAuthenticated) return failure(kWhat, hello.error());
  const bool asked = options.password != PasswordFrom::kNowhere;
  return failure({.code = Code::kNotAuthenticated,
                  .what = kWhat,
                  .why = asked ? "The cluster refused the password"
                               : "This server does not have the cluster's key",
                  .state = {},
                  .next = asked ? "Type the password that was given to make-mds -I -p; mind the "
                                  "cluster's name"
                                : "Add -p to type the cluster's password"});
}

// What a failed AddMds leaves: nothing, when the master surely refused the first attempt.
std::string clean_up(const Place& place, Code code, bool directory_is_new) {
  const bool refused = code == Code::kInvalidArgument || code == Code::kUnsupported ||
                       code == Code::kExists || code == Code::kRefusedForSafety ||
                       code == Code::kNotAuthenticated || code == Code::kWrongCluster;
  if (!refused || place.joining.has_value()) return kGoOn;
  const Status removed = cluster::JoiningMds::remove(place.path);
  if (!removed.has_value()) return kGoOn;
  std::error_code not_empty;
  if (directory_is_new) std::filesystem::remove(place.path, not_empty);
  return {};
}

// The id, and the identity that goes with it.
Outcome<cluster::MdsRepository> enter_group(const MdsDoor& door, const Place& place,
                                            const net::Address& address,
                                            const pb::HelloReply& hello) {
  std::error_code ignored;
  const bool directory_is_new = !std::filesystem::exists(place.path, ignored);
  cluster::JoiningMds joining{.cluster = door.credentials.cluster, .repo_uuid = random_id()};
  if (place.joining.has_value()) {
    joining = *place.joining;
  } else {
    const Status marked = joining.create(place.path);
    if (!marked.has_value()) return failure(kWhat, marked.error());
  }
  pb::AddMdsRequest request;
  request.set_cluster(joining.cluster);
  request.set_address(address.to_string());
  request.set_repo_uuid(joining.repo_uuid);
  request.set_host(host_name());
  const auto reply = ask<pb::AddMdsReply>(door, "/cairn.pb.Admin/AddMds", request);
  if (!reply.has_value()) {
    const Code code = reply.error().code();
    return failure(kWhat, reply.error(), clean_up(place, code, directory_is_new));
  }
  Result<Members> members = read_members(reply->members());
  if (!members.has_value()) return failure(kWhat, members.error(), kGoOn);
  const NodeId id = NodeId::from_raw(reply->mds_id());
  const auto own = members->find(id);
  if (!id.valid() || own == members->end() || reply->cluster_id() != hello.cluster_id()) {
    return failure(kWhat, Error(Code::kProtocol, "the MDS gave an id that is none of its members"),
                   kGoOn);
  }
  if (own->second != address) {
    const std::string number = std::to_string(id.raw());
    return failure({.code = Code::kExists,
                    .what = kWhat,
                    .why = "The cluster counts this directory as MDS#" + number + " at " +
                           own->second.to_string() + " already",
                    .state = "It stays so",
                    .next = "Go on with that address:  -a " + own->second.to_string() +
                            "\nOr take it back:  cairn rm-mds " + number +
                            ", and begin with an empty directory"});
  }
  members->erase(own);
  return cluster::MdsRepository{.cluster = joining.cluster,
                                .cluster_id = ClusterId::from_raw(reply->cluster_id()),
                                .mds_id = id,
                                .address = address,
                                .repo_uuid = joining.repo_uuid,
                                .bootstrap = false,
                                .peers = std::move(*members),
                                .addresses_changed = false};
}

// The files of this host; the last one to go is the mark that says "not finished".
Status finish(const cluster::ClusterConfig& config, const Place& place,
              const cluster::MdsRepository& identity) {
  if (!place.made.has_value()) {
    TRY_VOID(identity.create(place.path));
  }
  Members members = identity.peers;
  members.emplace(identity.mds_id, identity.address);
  TRY_VOID(set_mds_addresses(config, addresses_of(members)));
  TRY_VOID(add_local_service(config, {ServiceKind::kMds, identity.mds_id, place.path}));
  return cluster::JoiningMds::remove(place.path);
}

std::string told(const cluster::MdsRepository& identity, const std::string& path) {
  const std::string name = "MDS#" + std::to_string(identity.mds_id.raw());
  return "made " + name + " of cluster '" + identity.cluster + "' (" +
         format_hex16(identity.cluster_id.raw()) + ") at " + identity.address.to_string() +
         "\nStart it:  cairn-mdsd -r " + path +
         " -D\nIt fetches the state of the cluster and then votes, by itself; see how far it is:  "
         "cairn stat\n" +
         group_size_advice(identity.peers.size() + 1) + "\n";
}

}  // namespace

Outcome<Output> join_mds(const Globals& globals, const MakeMds& options) {
  const Outcome<std::string> name = choose_cluster(globals, kWhat);
  if (!name.has_value()) return std::unexpected(name.error());
  const cluster::ClusterConfig config({}, *name);
  const Result<Place> place = look_at(options.repository, *name);
  if (!place.has_value()) return failure(kWhat, place.error());
  Outcome<Output> output = check_mds_space(place->path, options.force);
  if (!output.has_value()) return output;
  // When the repository is there its daemon may run already.
  const Outcome<net::Address> address = place->made.has_value()
                                            ? parse_mds_address(options.address)
                                            : check_mds_address(options.address);
  if (!address.has_value()) return std::unexpected(address.error());
  const Outcome<MdsDoor> door = door_of(globals, options, config);
  if (!door.has_value()) return std::unexpected(door.error());
  const Outcome<pb::HelloReply> hello = check_key(*door, options);
  if (!hello.has_value()) return std::unexpected(hello.error());

  // The key comes first: without it the daemon could talk to nobody.
  if (options.password != PasswordFrom::kNowhere) {
    const Status written = config.write_key(door->credentials.key);
    if (!written.has_value()) return failure(kWhat, written.error());
  }
  const Outcome<cluster::MdsRepository> identity = enter_group(*door, *place, *address, *hello);
  if (!identity.has_value()) return std::unexpected(identity.error());
  const Status finished = finish(config, *place, *identity);
  if (!finished.has_value()) {
    const std::uint32_t id = identity->mds_id.raw();
    return failure(kWhat, finished.error(), fmt::format("The cluster counts it as MDS#{}", id),
                   fmt::format("{}. Or take it back:  cairn rm-mds {}", kGoOn, id));
  }
  output->text = told(*identity, place->path);
  return output;
}

}  // namespace cairn::admin
