#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <optional>
#include <utility>

#include "admin/commands/cs_commands.h"
#include "admin/commands/cs_device.h"
#include "admin/commands/cs_place.h"
#include "admin/commands/flush_offer.h"
#include "admin/commands/local_services.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/port_probe.h"
#include "admin/commands/repository_checks.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/units.h"
#include "common/cluster/journal_directory.h"
#include "common/cluster/repository.h"
#include "proto/admin.pb.h"

namespace cairn::admin {
namespace {

constexpr const char* kWhat = "cannot make the chunk server";

std::unexpected<Failure> usage(std::string why) {
  return failure(kWhat, Error(Code::kInvalidArgument, std::move(why)));
}

Outcome<net::Address> own_address(const MakeCs& options, const net::Address& mds) {
  if (options.address.empty()) {
    const Result<std::string> own = local_address_towards(mds);
    if (!own.has_value()) return failure(kWhat, own.error());
    return net::Address{.host = *own, .port = 0};
  }
  const Result<net::Address> address = parse_address(options.address, 0);
  if (!address.has_value()) return failure(kWhat, address.error());
  const Status free = check_port_free(*address);
  if (!free.has_value()) return failure(kWhat, free.error());
  return *address;
}

Outcome<cluster::JournalWish> plan_journal(const MakeCs& options, const std::string& repository) {
  cluster::JournalWish wish;
  if (options.no_journal) {
    if (!options.journal.empty() || !options.journal_mb.empty()) {
      return usage("--no-journal and -j, -s exclude each other");
    }
    wish.on = false;
    return wish;
  }
  if (!options.journal_mb.empty()) {
    const Result<ByteCount> bytes = parse_journal_mb(options.journal_mb);
    if (!bytes.has_value()) return failure(kWhat, bytes.error());
    wish.bytes = *bytes;
  }
  if (options.journal.empty()) return wish;
  if (options.journal_mb.empty()) {
    return usage("-j needs the journal's size: -s MB (cairn journal-size helps to choose it)");
  }
  Result<std::string> place = journal_place(repository, options.journal);
  if (!place.has_value()) return failure(kWhat, place.error());
  wish.directory = std::move(*place);
  if (wish.directory.empty()) return wish;
  const Status room = check_journal_room(wish.directory, wish.bytes);
  if (!room.has_value()) return failure(kWhat, room.error());
  return wish;
}

// What the options and this host say; the MDS adds the ids.
Outcome<cluster::CsRepository> plan(const MakeCs& options, const std::string& name,
                                    const net::Address& mds, const std::string& repository) {
  cluster::CsRepository planned;
  planned.cluster = name;
  planned.repo_uuid = random_id();
  planned.host = host_name();
  if (options.tier > 3) {
    return usage("tier " + std::to_string(options.tier) + " is not one of 0, 1, 2, 3");
  }
  planned.tier = options.tier;
  if (!options.size.empty()) {
    const Result<ByteCount> size = parse_size(options.size);
    if (!size.has_value()) return failure(kWhat, size.error());
    if (*size < 1_GiB) return usage("--size " + options.size + " is less than 1G");
    planned.size_bytes = *size;
  }
  const std::optional<cluster::Tune> tune = cluster::parse_tune(options.tune);
  if (!tune.has_value()) return usage("-T " + options.tune + " is not one of ssd, hdd");
  planned.tune = *tune;
  planned.checksums = !options.no_checksums;
  Outcome<cluster::JournalWish> journal = plan_journal(options, repository);
  if (!journal.has_value()) return std::unexpected(journal.error());
  planned.journal = std::move(*journal);
  const Outcome<net::Address> address = own_address(options, mds);
  if (!address.has_value()) return std::unexpected(address.error());
  planned.address = *address;
  return planned;
}

cluster::JournalOwner owner_of(const cluster::CsRepository& identity,
                               const std::string& repository) {
  return {.cluster = identity.cluster,
          .cs_id = identity.cs_id,
          .repo_uuid = identity.repo_uuid,
          .repository = repository};
}

// The refusal of a directory that another has, with one that is free.
std::unexpected<Failure> taken(const Error& error, const std::string& directory,
                               const cluster::ClusterConfig& config) {
  std::string next;
  if (error.code() == Code::kBusy) {
    for (unsigned number = 1; number < 1000 && next.empty(); ++number) {
      std::string other = directory + "-" + config.name() + "-cs" + std::to_string(number);
      const auto owner = cluster::journal_owner(other);
      if (owner.has_value() && !owner->has_value() && ::access(other.c_str(), F_OK) != 0) {
        next = "Each chunk server has a journal directory of its own; free is, say:  -j " + other;
      }
    }
  }
  return failure(kWhat, error, {}, std::move(next));
}

// Holds what make-cs took until the chunk server is made.
class JournalClaim {
 public:
  JournalClaim(const cluster::CsRepository& identity, std::string repository)
      : identity_(identity), repository_(std::move(repository)) {}
  ~JournalClaim() {
    if (kept_ || identity_.journal.directory.empty()) return;
    const Status released =
        cluster::release_journal_directory(identity_.journal.directory, identity_.repo_uuid);
    ignore(released,
           "the failure is told; the owner's file names a chunk server that is not there");
  }
  JournalClaim(const JournalClaim&) = delete;
  JournalClaim& operator=(const JournalClaim&) = delete;
  // Also with the id, when that is known.
  Status take() const {
    if (identity_.journal.directory.empty()) return {};
    return cluster::take_journal_directory(identity_.journal.directory,
                                           owner_of(identity_, repository_));
  }
  void keep() { kept_ = true; }

 private:
  const cluster::CsRepository& identity_;
  std::string repository_;
  bool kept_ = false;
};

Outcome<Output> ask_for_id(const MdsDoor& door, cluster::CsRepository* identity) {
  pb::AddCsRequest request;
  request.set_cluster(identity->cluster);
  request.set_repo_uuid(identity->repo_uuid);
  request.set_host_id(identity->host_id.raw());
  request.set_host(identity->host);
  request.set_tier(identity->tier);
  const auto reply = ask<pb::AddCsReply>(door, "/cairn.pb.Admin/AddCs", request);
  if (!reply.has_value()) return failure(kWhat, reply.error());
  identity->cs_id = NodeId::from_raw(reply->cs_id());
  identity->cluster_id = ClusterId::from_raw(reply->cluster_id());
  return Output{};
}

Outcome<Output> write_it(const cluster::CsRepository& identity, const std::string& repository,
                         const std::optional<RawDevice>& device) {
  const std::string id = std::to_string(identity.cs_id.raw());
  Status made;
  // The link first: without it the chunk server would make a file of that name.
  if (device.has_value()) made = link_device(repository, *device);
  if (made.has_value()) made = identity.create(repository, device.has_value() ? "data" : "");
  if (!made.has_value()) {
    return failure(kWhat, made.error(),
                   "The cluster counts CS " + id + ", which has no repository and stays offline");
  }
  Output output;
  const Status noted =
      add_local_service(cluster::ClusterConfig({}, identity.cluster),
                        {.kind = ServiceKind::kCs,
                         .id = identity.cs_id,
                         .repository = repository,
                         .registration = cluster::CsRegistration{.cluster_id = identity.cluster_id,
                                                                 .repo_uuid = identity.repo_uuid,
                                                                 .host_id = identity.host_id,
                                                                 .tier = identity.tier}});
  if (!noted.has_value()) output.warnings.push_back(noted.error().message());
  const cluster::JournalWish& journal = identity.journal;
  std::string journal_text = "no journal";
  if (journal.on) {
    journal_text = "a journal of " + std::to_string(journal.bytes / 1_MiB) + " MB " +
                   (journal.directory.empty() ? "in it" : "at " + journal.directory);
  }
  output.text = "made CS " + id + " of cluster '" + identity.cluster + "' at " + repository +
                ", tier " + std::to_string(identity.tier) + ", " + journal_text +
                "\nStart it:  cairn-csd -r " + repository + " -D\n";
  return output;
}

std::vector<std::string> all_warnings(const cluster::ClusterConfig& config,
                                      const std::string& repository,
                                      const cluster::CsRepository& identity,
                                      const std::optional<RawDevice>& device) {
  std::vector<std::string> warnings = place_warnings(config, repository);
  if (!identity.journal.directory.empty()) {
    auto warning = journal_warning(repository, identity.journal.directory);
    if (warning.has_value()) warnings.push_back(std::move(*warning));
  }
  if (device.has_value()) {
    auto warning = raw_device_warning(*device);
    if (warning.has_value()) warnings.push_back(std::move(*warning));
  }
  if (device.has_value() && !device->stable) {
    warnings.push_back(device->name +
                       " has no name of its own in /dev/disk/by-id: when devices are numbered anew "
                       "the chunk server does not find its drive");
  }
  return warnings;
}

}  // namespace

Outcome<Output> make_cs(const Globals& globals, const MakeCs& options) {
  const Outcome<std::string> name = choose_cluster(globals, kWhat);
  if (!name.has_value()) return std::unexpected(name.error());
  const cluster::ClusterConfig config({}, *name);
  const Outcome<MdsDoor> door = open_door(globals, *name, kWhat);
  if (!door.has_value()) return std::unexpected(door.error());
  const bool raw = !options.device.empty();
  const Result<std::string> repository = check_repository(options.repository, raw ? "data" : "");
  if (!repository.has_value()) return failure(kWhat, repository.error());
  Outcome<cluster::CsRepository> identity =
      plan(options, *name, door->addresses.front(), *repository);
  if (!identity.has_value()) return std::unexpected(identity.error());
  std::optional<RawDevice> device;
  if (raw) {
    Result<RawDevice> checked = check_raw_device(options.device);
    if (!checked.has_value()) return failure(kWhat, checked.error());
    device = std::move(*checked);
  }
  const Result<HostId> host_id = config.host_id();
  if (!host_id.has_value()) return failure(kWhat, host_id.error());
  identity->host_id = *host_id;

  std::vector<std::string> warnings = all_warnings(config, *repository, *identity, device);
  JournalClaim claim(*identity, *repository);
  const Status claimed = claim.take();
  if (!claimed.has_value()) return taken(claimed.error(), identity->journal.directory, config);
  FlushOffer offer =
      offer_flush_check(options.flush_check, *repository, identity->journal.directory);
  identity->flush_check = offer.result;
  warnings.insert(warnings.end(), offer.warnings.begin(), offer.warnings.end());
  const Outcome<Output> known = ask_for_id(*door, &*identity);
  if (!known.has_value()) return known;
  const Status named = claim.take();
  if (!named.has_value()) warnings.push_back(named.error().message());
  Outcome<Output> made = write_it(*identity, *repository, device);
  if (!made.has_value()) return made;
  claim.keep();
  made->warnings.insert(made->warnings.begin(), warnings.begin(), warnings.end());
  made->text = offer.text + made->text;
  return made;
}

}  // namespace cairn::admin
