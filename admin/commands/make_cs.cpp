#include <utility>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/port_probe.h"
#include "admin/commands/repository_checks.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/units.h"
#include "common/cluster/repository.h"
#include "proto/admin.pb.h"

namespace cairn::admin {
namespace {

constexpr const char* kWhat = "cannot make the chunk server";

// What the options and this host say; the MDS adds the ids.
Outcome<cluster::CsRepository> plan(const MakeCs& options, const std::string& name,
                                    const net::Address& mds) {
  cluster::CsRepository planned;
  planned.cluster = name;
  planned.repo_uuid = random_id();
  planned.host = host_name();
  if (options.tier > 3) {
    return failure(kWhat, Error(Code::kInvalidArgument, "tier " + std::to_string(options.tier) +
                                                            " is not one of 0, 1, 2, 3"));
  }
  planned.tier = options.tier;
  if (!options.size.empty()) {
    const Result<ByteCount> size = parse_size(options.size);
    if (!size.has_value()) return failure(kWhat, size.error());
    if (*size < 1_GiB) {
      return failure(kWhat,
                     Error(Code::kInvalidArgument, "--size " + options.size + " is less than 1G"));
    }
    planned.size_bytes = *size;
  }
  if (options.address.empty()) {
    const Result<std::string> own = local_address_towards(mds);
    if (!own.has_value()) return failure(kWhat, own.error());
    planned.address = {.host = *own, .port = 0};
  } else {
    const Result<net::Address> address = parse_address(options.address, 0);
    if (!address.has_value()) return failure(kWhat, address.error());
    const Status free = check_port_free(*address);
    if (!free.has_value()) return failure(kWhat, free.error());
    planned.address = *address;
  }
  return planned;
}

// One chunk server serves one disk: two on one filesystem share its fate and its speed.
std::vector<std::string> shared_disk_warning(const cluster::ClusterConfig& config,
                                             const std::string& repository) {
  const Result<std::uint64_t> own = filesystem_of(repository);
  const auto services = local_services(config);
  if (!own.has_value() || !services.has_value()) return {};
  for (const LocalService& service : *services) {
    if (service.kind != ServiceKind::kCs) continue;
    const Result<std::uint64_t> other = filesystem_of(service.repository);
    if (other.has_value() && *other == *own && service_state(service).word != "missing") {
      return {"CS " + std::to_string(service.id.raw()) + " at " + service.repository +
              " lies on the same filesystem: if that disk fails, both fail"};
    }
  }
  return {};
}

}  // namespace

Outcome<Output> make_cs(const Globals& globals, const MakeCs& options) {
  const Outcome<std::string> name = choose_cluster(globals, kWhat);
  if (!name.has_value()) return std::unexpected(name.error());
  const cluster::ClusterConfig config({}, *name);
  const Outcome<MdsDoor> door = open_door(globals, *name, kWhat);
  if (!door.has_value()) return std::unexpected(door.error());
  const Result<std::string> repository = check_repository(options.repository);
  if (!repository.has_value()) return failure(kWhat, repository.error());
  Outcome<cluster::CsRepository> identity = plan(options, *name, door->addresses.front());
  if (!identity.has_value()) return std::unexpected(identity.error());
  const Result<HostId> host_id = config.host_id();
  if (!host_id.has_value()) return failure(kWhat, host_id.error());
  identity->host_id = *host_id;

  pb::AddCsRequest request;
  request.set_cluster(*name);
  request.set_repo_uuid(identity->repo_uuid);
  request.set_host_id(host_id->raw());
  request.set_host(identity->host);
  request.set_tier(identity->tier);
  const auto reply = ask<pb::AddCsReply>(*door, "/cairn.pb.Admin/AddCs", request);
  if (!reply.has_value()) return failure(kWhat, reply.error());
  identity->cs_id = NodeId::from_raw(reply->cs_id());
  identity->cluster_id = ClusterId::from_raw(reply->cluster_id());

  Output output{.text = {}, .warnings = shared_disk_warning(config, *repository)};
  const Status made = identity->create(*repository);
  const std::string id = std::to_string(identity->cs_id.raw());
  if (!made.has_value()) {
    return failure(kWhat, made.error(),
                   "The cluster counts CS " + id + ", which has no repository and stays offline");
  }
  const Status registered =
      add_local_service(config, {ServiceKind::kCs, identity->cs_id, *repository});
  if (!registered.has_value()) output.warnings.push_back(registered.error().message());
  output.text = "made CS " + id + " of cluster '" + *name + "' at " + *repository + ", tier " +
                std::to_string(identity->tier) + "\nStart it:  cairn-csd -r " + *repository +
                " -D\n";
  return output;
}

}  // namespace cairn::admin
