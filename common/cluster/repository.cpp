#include "common/cluster/repository.h"

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "common/cluster/cluster_config.h"
#include "common/cluster/durable_file.h"

namespace cairn::cluster {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kFormat = 1;
constexpr std::uint32_t kTierMax = 3;

std::string hex16(std::uint64_t raw) { return format_host_id(HostId::from_raw(raw)); }

// Reads typed fields of one identity file; remembers the first that is missing or wrong.
class Fields {
 public:
  explicit Fields(const Json& json) : json_(json) {}

  std::string text(const char* name) {
    const auto it = json_.find(name);
    if (it != json_.end() && it->is_string()) return it->get<std::string>();
    note(name);
    return {};
  }
  std::uint64_t number(const char* name, std::uint64_t max) {
    const auto it = json_.find(name);
    if (it != json_.end() && it->is_number_unsigned() && it->get<std::uint64_t>() <= max) {
      return it->get<std::uint64_t>();
    }
    note(name);
    return 0;
  }
  std::uint64_t id(const char* name) {
    const Result<HostId> parsed = parse_host_id(text(name));
    if (parsed.has_value()) return parsed->raw();
    note(name);
    return 0;
  }
  void note(const char* name) {
    if (wrong_.empty()) wrong_ = name;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  const Json& json_;
  std::string wrong_;
};

Result<Json> read_identity(const std::string& path, const char* kind) {
  Result<std::string> content = read_small_file(path);
  if (!content.has_value()) {
    if (content.error().code() != Code::kNotFound) return fail(std::move(content).error());
    return fail(Code::kNotFound,
                "there is no " + path + ": not a repository of " +
                    (std::string_view(kind) == "mds" ? "an MDS (cairn make-mds makes one)"
                                                     : "a CS (cairn make-cs makes one)"));
  }
  Json json = Json::parse(*content, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    return fail(Code::kCorrupt, path + " is not a JSON object");
  }
  Fields fields(json);
  const std::uint64_t format = fields.number("format", UINT32_MAX);
  const std::string stored_kind = fields.text("kind");
  if (!fields.wrong().empty() || stored_kind != kind) {
    return fail(Code::kCorrupt, path + " does not describe a Cairn " + kind + " repository");
  }
  if (format != kFormat) {
    return fail(Code::kCorrupt, path + " has format " + std::to_string(format) +
                                    ", this program reads format 1: use a newer version");
  }
  return json;
}

net::Address read_address(Fields& fields) {
  net::Address address{.host = fields.text("address"),
                       .port = static_cast<std::uint16_t>(fields.number("port", 65535))};
  net::Address probe = address;
  if (probe.port == 0) probe.port = 1;
  if (!net::Address::parse(probe.to_string()).has_value()) fields.note("address");
  return address;
}

std::string read_cluster(Fields& fields) {
  std::string cluster = fields.text("cluster");
  if (!check_cluster_name(cluster).has_value()) fields.note("cluster");
  return cluster;
}

Status check_fields(const Fields& fields, const std::string& path) {
  if (fields.wrong().empty()) return {};
  return fail(Code::kCorrupt, path + ": the field '" + fields.wrong() + "' is missing or wrong");
}

Status create_identity(const std::string& directory, const std::string& file, const Json& json) {
  TRY(const bool empty, is_empty_directory(directory));
  if (!empty) return fail(Code::kNotEmpty, directory + " is not empty");
  const std::filesystem::path parent = std::filesystem::path(directory).parent_path();
  if (!parent.empty()) {
    TRY_VOID(make_directories(parent.string(), 0755));
  }
  TRY_VOID(make_directories(directory, 0700));
  Status created = create_file_durably(directory + "/" + file, json.dump(2) + "\n", 0644);
  if (!created.has_value() && created.error().code() == Code::kExists) {
    return fail(Code::kNotEmpty, directory + " is not empty");
  }
  return created;
}

}  // namespace

Result<bool> is_empty_directory(const std::string& directory) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(directory, error);
  if (status.type() == std::filesystem::file_type::not_found) return true;
  if (error) return fail(system_error(error.value(), "look at", directory));
  if (status.type() != std::filesystem::file_type::directory) {
    return fail(Code::kNotDirectory, directory + " is not a directory");
  }
  std::filesystem::directory_iterator entries(directory, error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    if (entries->path().filename() != "lost+found") return false;
  }
  if (error) return fail(system_error(error.value(), "read", directory));
  return true;
}

Result<MdsRepository> MdsRepository::load(const std::string& directory) {
  const std::string path = directory + "/mds.conf";
  TRY(const Json json, read_identity(path, "mds"));
  Fields fields(json);
  MdsRepository repository;
  repository.cluster = read_cluster(fields);
  repository.cluster_id = ClusterId::from_raw(fields.id("cluster_id"));
  repository.mds_id =
      NodeId::from_raw(static_cast<std::uint32_t>(fields.number("mds_id", UINT32_MAX)));
  repository.address = read_address(fields);
  if (!repository.mds_id.valid()) fields.note("mds_id");
  if (repository.address.port == 0) fields.note("port");
  TRY_VOID(check_fields(fields, path));
  return repository;
}

Status MdsRepository::create(const std::string& directory) const {
  const Json json = {{"format", kFormat},      {"kind", "mds"},
                     {"cluster", cluster},     {"cluster_id", hex16(cluster_id.raw())},
                     {"mds_id", mds_id.raw()}, {"address", address.host},
                     {"port", address.port}};
  return create_identity(directory, "mds.conf", json);
}

Result<CsRepository> CsRepository::load(const std::string& directory) {
  const std::string path = directory + "/cs.conf";
  TRY(const Json json, read_identity(path, "cs"));
  Fields fields(json);
  CsRepository repository;
  repository.cluster = read_cluster(fields);
  repository.cluster_id = ClusterId::from_raw(fields.id("cluster_id"));
  repository.cs_id =
      NodeId::from_raw(static_cast<std::uint32_t>(fields.number("cs_id", UINT32_MAX)));
  repository.repo_uuid = fields.id("repo_uuid");
  repository.host_id = HostId::from_raw(fields.id("host_id"));
  repository.host = fields.text("host");
  repository.address = read_address(fields);
  repository.tier = static_cast<std::uint32_t>(fields.number("tier", kTierMax));
  repository.size_bytes = fields.number("size_bytes", UINT64_MAX);
  if (!repository.cs_id.valid()) fields.note("cs_id");
  TRY_VOID(check_fields(fields, path));
  return repository;
}

Status CsRepository::create(const std::string& directory) const {
  const Json json = {{"format", kFormat},
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
