#include <utility>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/commands/mds_checks.h"
#include "admin/commands/password.h"
#include "admin/commands/repository_checks.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/units.h"
#include "common/cluster/repository.h"

namespace cairn::admin {
namespace {

// A cluster of this name that is known here must not get mixed with the new one.
Outcome<Output> check_name(const cluster::ClusterConfig& config, const net::Address& address,
                           const MakeMds& options) {
  const Result<std::vector<net::Address>> known = config.mds_addresses();
  if (!known.has_value() && known.error().code() != Code::kNotFound) {
    return failure(kCannotMakeMds, known.error());
  }
  const bool other = known.has_value() && *known != std::vector<net::Address>{address};
  const bool stale_key = options.password == PasswordFrom::kNowhere && config.has_key();
  if (options.force || (!other && !stale_key)) return Output{};
  return failure(
      {.code = Code::kExists,
       .what = kCannotMakeMds,
       .why = "A cluster '" + config.name() + "' is known on this host already: " +
              config.directory() + (other ? "/bs.list" : "/auth_digest.key"),
       .state = {},
       .next = "Choose another name. If that cluster is gone, remove " + config.directory()});
}

// The first MDS of a new cluster.
Outcome<Output> found_cluster(const Globals& globals, const MakeMds& options) {
  if (!options.bootstrap.empty()) {
    return failure({.code = Code::kInvalidArgument,
                    .what = kCannotMakeMds,
                    .why = "-I makes a new cluster, -b names one that exists",
                    .state = {},
                    .next = "Leave -I out to join the cluster, or -b to make a new one."});
  }
  if (globals.cluster.empty()) {
    return failure({.code = Code::kInvalidArgument,
                    .what = kCannotMakeMds,
                    .why = "The new cluster has no name",
                    .state = {},
                    .next = "Name it:  cairn -c NAME make-mds -I ..."});
  }
  const Outcome<std::string> name = choose_cluster(globals, kCannotMakeMds);
  if (!name.has_value()) return std::unexpected(name.error());
  const cluster::ClusterConfig config({}, *name);

  const Result<std::string> repository = check_repository(options.repository);
  if (!repository.has_value()) return failure(kCannotMakeMds, repository.error());
  Outcome<Output> output = check_mds_space(*repository, options.force);
  if (!output.has_value()) return output;
  const Outcome<net::Address> address = check_mds_address(options.address);
  if (!address.has_value()) return std::unexpected(address.error());
  const Outcome<Output> named = check_name(config, *address, options);
  if (!named.has_value()) return named;

  // The key comes first: a repository without its key would be a cluster open to everybody.
  const std::string half =
      "The repository was not made; files in " + config.directory() + " may have been";
  if (options.password != PasswordFrom::kNowhere) {
    const Result<std::string> password = read_password(options.password, Repeat::kTwice);
    if (!password.has_value()) return failure(kCannotMakeMds, password.error());
    const Status written = config.write_key(cluster::ClusterConfig::derive_key(*name, *password));
    if (!written.has_value()) return failure(kCannotMakeMds, written.error(), half);
  } else {
    output->warnings.push_back("the cluster has no password: whoever reaches its ports may use it");
  }
  const Status listed = add_mds_addresses(config, {*address});
  if (!listed.has_value()) return failure(kCannotMakeMds, listed.error(), half);
  const cluster::MdsRepository identity{.cluster = *name,
                                        .cluster_id = ClusterId::from_raw(random_id()),
                                        .mds_id = kFirstMdsId,
                                        .address = *address,
                                        .repo_uuid = random_id(),
                                        .bootstrap = true};
  const Status made = identity.create(*repository);
  if (!made.has_value()) return failure(kCannotMakeMds, made.error(), half);
  const Status registered =
      add_local_service(config, {ServiceKind::kMds, identity.mds_id, *repository});
  if (!registered.has_value()) output->warnings.push_back(registered.error().message());

  output->text = "made MDS#1 of the new cluster '" + *name + "' (" +
                 format_hex16(identity.cluster_id.raw()) + ") at " + address->to_string() +
                 "\nStart it:  cairn-mdsd -r " + *repository + " -D\n";
  return output;
}

}  // namespace

Outcome<Output> make_mds(const Globals& globals, const MakeMds& options) {
  return options.init ? found_cluster(globals, options) : join_mds(globals, options);
}

}  // namespace cairn::admin
