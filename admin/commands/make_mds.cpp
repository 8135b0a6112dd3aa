#include <utility>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/commands/password.h"
#include "admin/commands/port_probe.h"
#include "admin/commands/repository_checks.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/units.h"
#include "common/cluster/repository.h"

namespace cairn::admin {
namespace {

constexpr const char* kWhat = "cannot make the MDS";

Outcome<net::Address> check_address(const std::string& text) {
  if (text.empty()) {
    return failure(
        {.code = Code::kInvalidArgument,
         .what = kWhat,
         .why = "No address was given",
         .state = {},
         .next = "Add the address that other servers reach this one by:  -a ADDR[:PORT]"});
  }
  const Result<net::Address> address = parse_address(text, cluster::kMdsPort);
  if (!address.has_value()) return failure(kWhat, address.error());
  if (address->port == 65535) {
    return failure(kWhat, Error(Code::kInvalidArgument,
                                "two consecutive ports are needed and 65535 is the last one"));
  }
  for (const net::Address& door : {*address, cluster::session_address(*address)}) {
    const Status free = check_port_free(door);
    if (!free.has_value()) {
      return failure(
          kWhat, free.error(), {},
          "Stop the other user, or choose two free consecutive ports and give the lower:  "
          "-a " +
              address->host + ":PORT");
    }
  }
  return *address;
}

Outcome<Output> check_space(const std::string& repository, bool force) {
  const Result<ByteCount> free = free_bytes_at(repository);
  if (!free.has_value()) return failure(kWhat, free.error());
  if (*free >= kMdsFreeBytesMin) return Output{};
  const std::string why = repository + " has " + format_size(*free) + " free, an MDS wants 10GB";
  if (force) return Output{.text = {}, .warnings = {why}};
  return failure({.code = Code::kRefusedForSafety,
                  .what = kWhat,
                  .why = why,
                  .state = {},
                  .next = "Choose another filesystem. Force (the cluster stops when it is full):  "
                          "--force"});
}

// A cluster of this name that is known here must not get mixed with the new one.
Outcome<Output> check_name(const cluster::ClusterConfig& config, const net::Address& address,
                           const MakeMds& options) {
  const Result<std::vector<net::Address>> known = config.mds_addresses();
  if (!known.has_value() && known.error().code() != Code::kNotFound) {
    return failure(kWhat, known.error());
  }
  const bool other = known.has_value() && *known != std::vector<net::Address>{address};
  const bool stale_key = options.password == PasswordFrom::kNowhere && config.has_key();
  if (options.force || (!other && !stale_key)) return Output{};
  return failure(
      {.code = Code::kExists,
       .what = kWhat,
       .why = "A cluster '" + config.name() + "' is known on this host already: " +
              config.directory() + (other ? "/bs.list" : "/auth_digest.key"),
       .state = {},
       .next = "Choose another name. If that cluster is gone, remove " + config.directory()});
}

}  // namespace

Outcome<Output> make_mds(const Globals& globals, const MakeMds& options) {
  if (!options.init) {
    return failure({.code = Code::kUnsupported,
                    .what = kWhat,
                    .why = "Joining an existing cluster is not built yet",
                    .state = {},
                    .next =
                        "Make the first MDS of a new cluster:  cairn -c NAME make-mds -I -a ADDR "
                        "-r DIR -p"});
  }
  if (globals.cluster.empty()) {
    return failure({.code = Code::kInvalidArgument,
                    .what = kWhat,
                    .why = "The new cluster has no name",
                    .state = {},
                    .next = "Name it:  cairn -c NAME make-mds -I ..."});
  }
  const Outcome<std::string> name = choose_cluster(globals, kWhat);
  if (!name.has_value()) return std::unexpected(name.error());
  const cluster::ClusterConfig config({}, *name);

  const Result<std::string> repository = check_repository(options.repository);
  if (!repository.has_value()) return failure(kWhat, repository.error());
  Outcome<Output> output = check_space(*repository, options.force);
  if (!output.has_value()) return output;
  const Outcome<net::Address> address = check_address(options.address);
  if (!address.has_value()) return std::unexpected(address.error());
  const Outcome<Output> named = check_name(config, *address, options);
  if (!named.has_value()) return named;

  // The key comes first: a repository without its key would be a cluster open to everybody.
  const std::string half =
      "The repository was not made; files in " + config.directory() + " may have been";
  if (options.password != PasswordFrom::kNowhere) {
    const Result<std::string> password = read_password(options.password, Repeat::kTwice);
    if (!password.has_value()) return failure(kWhat, password.error());
    const Status written = config.write_key(cluster::ClusterConfig::derive_key(*name, *password));
    if (!written.has_value()) return failure(kWhat, written.error(), half);
  } else {
    output->warnings.push_back("the cluster has no password: whoever reaches its ports may use it");
  }
  const Status listed = add_mds_addresses(config, {*address});
  if (!listed.has_value()) return failure(kWhat, listed.error(), half);
  const cluster::MdsRepository identity{.cluster = *name,
                                        .cluster_id = ClusterId::from_raw(random_id()),
                                        .mds_id = kFirstMdsId,
                                        .address = *address};
  const Status made = identity.create(*repository);
  if (!made.has_value()) return failure(kWhat, made.error(), half);
  const Status registered =
      add_local_service(config, {ServiceKind::kMds, identity.mds_id, *repository});
  if (!registered.has_value()) output->warnings.push_back(registered.error().message());

  output->text = "made MDS#1 of the new cluster '" + *name + "' (" +
                 format_hex16(identity.cluster_id.raw()) + ") at " + address->to_string() +
                 "\nStart it:  cairn-mdsd -r " + *repository + " -D\n";
  return output;
}

}  // namespace cairn::admin
