#include "common/cluster/repository.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "common/cluster/durable_file.h"
#include "common/cluster/identity_file.h"

namespace cairn::cluster {
namespace {

constexpr std::uint64_t kCsFormat = 1;
constexpr std::uint32_t kTierMax = 3;

// What does not count as content: what mkfs makes, and what is left of a durable write that was
// interrupted before it had its name.
bool is_nothing(const std::string& name) {
  return name == "lost+found" || name.starts_with("mds.conf.tmp.") ||
         name.starts_with("mds.joining.tmp.") || name.starts_with("cs.conf.tmp.");
}

}  // namespace

Result<bool> is_empty_directory(const std::string& directory, std::string_view except) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(directory, error);
  if (status.type() == std::filesystem::file_type::not_found) return true;
  if (error) return fail(system_error(error.value(), "look at", directory));
  if (status.type() != std::filesystem::file_type::directory) {
    return fail(Code::kNotDirectory, directory + " is not a directory");
  }
  std::filesystem::directory_iterator entries(directory, error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    if (!is_nothing(name) && name != except) return false;
  }
  if (error) return fail(system_error(error.value(), "read", directory));
  return true;
}

Result<CsRepository> CsRepository::load(const std::string& directory) {
  const std::string path = directory + "/cs.conf";
  TRY(const Json json, read_identity(path, "cs", kCsFormat));
  Fields fields(json);
  CsRepository repository;
  repository.cluster = fields.cluster();
  repository.cluster_id = ClusterId::from_raw(fields.id("cluster_id"));
  repository.cs_id =
      NodeId::from_raw(static_cast<std::uint32_t>(fields.number("cs_id", UINT32_MAX)));
  repository.repo_uuid = fields.id("repo_uuid");
  repository.host_id = HostId::from_raw(fields.id("host_id"));
  repository.host = fields.text("host");
  repository.address = fields.address(true);
  repository.tier = static_cast<std::uint32_t>(fields.number("tier", kTierMax));
  repository.size_bytes = fields.number("size_bytes", UINT64_MAX);
  if (!repository.cs_id.valid()) fields.note("cs_id");
  TRY_VOID(fields.check(path));
  return repository;
}

Status CsRepository::create(const std::string& directory) const {
  const Json json = {{"format", kCsFormat},
                     {"kind", "cs"},
                     {"cluster", cluster},
                     {"cluster_id", hex16(cluster_id.raw())},
                     {"cs_id", cs_id.raw()},
                     {"repo_uuid", hex16(repo_uuid)},
                     {"host_id", hex16(host_id.raw())},
                     {"host", host},
                     {"address", address.host},
                     {"port", address.port},
                     {"tier", tier},
                     {"size_bytes", size_bytes}};
  return create_identity(directory, "cs.conf", json);
}

}  // namespace cairn::cluster
