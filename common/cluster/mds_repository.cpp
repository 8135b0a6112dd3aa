#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/cluster/durable_file.h"
#include "common/cluster/identity_file.h"
#include "common/cluster/repository.h"

namespace cairn::cluster {
namespace {

// 1: the only MDS of a cluster; no uuid, no peers. 2: a member of a group.
constexpr std::uint64_t kMdsFormat = 2;
constexpr std::uint64_t kJoiningFormat = 1;
constexpr std::string_view kJoiningFile = "mds.joining";

std::string joining_path(const std::string& directory) {
  return directory + "/" + std::string(kJoiningFile);
}

NodeId read_node(Fields& fields, const char* name) {
  const NodeId id = NodeId::from_raw(static_cast<std::uint32_t>(fields.number(name, UINT32_MAX)));
  if (!id.valid()) fields.note(name);
  return id;
}

void read_peers(const Json& json, Fields& fields, MdsRepository* repository) {
  const auto list = json.find("peers");
  if (list == json.end() || !list->is_array()) return fields.note("peers");
  for (const Json& entry : *list) {
    Fields peer(entry);
    const NodeId id = read_node(peer, "id");
    net::Address address = peer.address(false);
    const bool known = !repository->peers.emplace(id, std::move(address)).second;
    if (!peer.wrong().empty() || known || id == repository->mds_id) fields.note("peers");
  }
}

Json to_json(const MdsRepository& repository) {
  Json json = {{"format", kMdsFormat},
               {"kind", "mds"},
               {"cluster", repository.cluster},
               {"cluster_id", hex16(repository.cluster_id.raw())},
               {"mds_id", repository.mds_id.raw()}};
  if (repository.repo_uuid != 0) json["repo_uuid"] = hex16(repository.repo_uuid);
  json["address"] = repository.address.host;
  json["port"] = repository.address.port;
  json["bootstrap"] = repository.bootstrap;
  json["peers"] = Json::array();
  for (const auto& [id, address] : repository.peers) {
    json["peers"].push_back({{"id", id.raw()}, {"address", address.host}, {"port", address.port}});
  }
  json["addresses_changed"] = repository.addresses_changed;
  return json;
}

}  // namespace

Result<MdsRepository> MdsRepository::load(const std::string& directory) {
  const std::string path = directory + "/mds.conf";
  TRY(const Json json, read_identity(path, "mds", kMdsFormat));
  Fields fields(json);
  MdsRepository repository;
  repository.cluster = fields.cluster();
  repository.cluster_id = ClusterId::from_raw(fields.id("cluster_id"));
  repository.mds_id = read_node(fields, "mds_id");
  repository.address = fields.address(false);
  if (fields.number("format", UINT32_MAX) == 1) {
    repository.bootstrap = true;
  } else {
    if (fields.has("repo_uuid")) repository.repo_uuid = fields.id("repo_uuid");
    repository.bootstrap = fields.flag("bootstrap");
    read_peers(json, fields, &repository);
    repository.addresses_changed = fields.flag("addresses_changed");
  }
  TRY_VOID(fields.check(path));
  return repository;
}

Status MdsRepository::create(const std::string& directory) const {
  return create_identity(directory, "mds.conf", to_json(*this), kJoiningFile);
}

Status MdsRepository::save(const std::string& directory) const {
  return write_file_durably(directory + "/mds.conf", identity_text(to_json(*this)), 0644);
}

Result<std::optional<JoiningMds>> JoiningMds::load(const std::string& directory) {
  const std::string path = joining_path(directory);
  if (::access(path.c_str(), F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
    return std::optional<JoiningMds>();
  }
  TRY(const Json json, read_identity(path, "mds-joining", kJoiningFormat));
  Fields fields(json);
  JoiningMds joining;
  joining.cluster = fields.cluster();
  joining.repo_uuid = fields.id("repo_uuid");
  TRY_VOID(fields.check(path));
  return std::optional<JoiningMds>(std::move(joining));
}

Status JoiningMds::create(const std::string& directory) const {
  const Json json = {{"format", kJoiningFormat},
                     {"kind", "mds-joining"},
                     {"cluster", cluster},
                     {"repo_uuid", hex16(repo_uuid)}};
  return create_identity(directory, std::string(kJoiningFile), json);
}

Status JoiningMds::remove(const std::string& directory) {
  return remove_file_durably(joining_path(directory));
}

}  // namespace cairn::cluster
