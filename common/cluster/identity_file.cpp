#include "common/cluster/identity_file.h"

#include <filesystem>

#include "common/cluster/cluster_config.h"
#include "common/cluster/durable_file.h"
#include "common/cluster/repository.h"

namespace cairn::cluster {

std::string hex16(std::uint64_t raw) { return format_host_id(HostId::from_raw(raw)); }

std::string Fields::text(const char* name) {
  const auto it = json_.find(name);
  if (it != json_.end() && it->is_string()) return it->get<std::string>();
  note(name);
  return {};
}

std::uint64_t Fields::number(const char* name, std::uint64_t max) {
  const auto it = json_.find(name);
  if (it != json_.end() && it->is_number_unsigned() && it->get<std::uint64_t>() <= max) {
    return it->get<std::uint64_t>();
  }
  note(name);
  return 0;
}

bool Fields::flag(const char* name) {
  const auto it = json_.find(name);
  if (it != json_.end() && it->is_boolean()) return it->get<bool>();
  note(name);
  return false;
}

std::uint64_t Fields::id(const char* name) {
  const Result<HostId> parsed = parse_host_id(text(name));
  if (parsed.has_value()) return parsed->raw();
  note(name);
  return 0;
}

net::Address Fields::address(bool any_port) {
  net::Address address{.host = text("address"),
                       .port = static_cast<std::uint16_t>(number("port", 65535))};
  net::Address probe = address;
  if (probe.port == 0) probe.port = 1;
  if (!net::Address::parse(probe.to_string()).has_value()) note("address");
  if (!any_port && address.port == 0) note("port");
  return address;
}

std::string Fields::cluster() {
  std::string name = text("cluster");
  if (!check_cluster_name(name).has_value()) note("cluster");
  return name;
}

Status Fields::check(const std::string& path) const {
  if (wrong_.empty()) return {};
  return fail(Code::kCorrupt, path + ": the field '" + wrong_ + "' is missing or wrong");
}

Result<Json> read_identity(const std::string& path, std::string_view kind,
                           std::uint64_t format_max) {
  Result<std::string> content = read_small_file(path);
  if (!content.has_value()) {
    if (content.error().code() != Code::kNotFound) return fail(std::move(content).error());
    return fail(Code::kNotFound, "there is no " + path + ": not a repository of " +
                                     (kind == "mds" ? "an MDS (cairn make-mds makes one)"
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
    return fail(Code::kCorrupt,
                path + " does not describe a Cairn " + std::string(kind) + " repository");
  }
  if (format == 0 || format > format_max) {
    return fail(Code::kCorrupt, path + " has format " + std::to_string(format) +
                                    ", this program reads formats up to " +
                                    std::to_string(format_max) + ": use a newer version");
  }
  return json;
}

std::string identity_text(const Json& json) { return json.dump(2) + "\n"; }

Status create_identity(const std::string& directory, const std::string& file, const Json& json,
                       std::string_view except) {
  TRY(const bool empty, is_empty_directory(directory, except));
  if (!empty) return fail(Code::kNotEmpty, directory + " is not empty");
  const std::filesystem::path parent = std::filesystem::path(directory).parent_path();
  if (!parent.empty()) {
    TRY_VOID(make_directories(parent.string(), 0755));
  }
  TRY_VOID(make_directories(directory, 0700));
  Status created = create_file_durably(directory + "/" + file, identity_text(json), 0644);
  if (!created.has_value() && created.error().code() == Code::kExists) {
    return fail(Code::kNotEmpty, directory + " is not empty");
  }
  return created;
}

}  // namespace cairn::cluster
