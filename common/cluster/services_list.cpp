#include "common/cluster/services_list.h"

#include <charconv>
#include <filesystem>
#include <sstream>
#include <system_error>

#include "common/cluster/durable_file.h"

namespace cairn::cluster {
namespace {

struct Words {
  std::optional<ClusterId> cluster_id;
  std::optional<std::uint64_t> repo_uuid;
  std::optional<HostId> host_id;
  std::optional<std::uint32_t> tier;

  // False: not a word of this kind.
  bool take(std::string_view word) {
    const std::size_t equal = word.find('=');
    if (equal == std::string_view::npos) return false;
    const std::string_view name = word.substr(0, equal);
    const std::string_view value = word.substr(equal + 1);
    if (name == "tier") {
      std::uint32_t number = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
      if (error == std::errc() && end == value.data() + value.size()) tier = number;
      return true;
    }
    const Result<HostId> id = parse_host_id(value);
    if (!id.has_value()) return true;
    if (name == "cluster") cluster_id = ClusterId::from_raw(id->raw());
    if (name == "uuid") repo_uuid = id->raw();
    if (name == "host") host_id = *id;
    return true;
  }
  std::optional<CsRegistration> registration() const {
    if (!cluster_id || !repo_uuid || !host_id || !tier || *tier > 3) return std::nullopt;
    return CsRegistration{
        .cluster_id = *cluster_id, .repo_uuid = *repo_uuid, .host_id = *host_id, .tier = *tier};
  }
};

std::string hex(std::uint64_t raw) { return format_host_id(HostId::from_raw(raw)); }

std::optional<LocalService> parse_line(const std::string& line) {
  std::istringstream stream(line);
  std::string kind;
  std::uint32_t id = 0;
  stream >> kind >> id;
  std::string rest;
  std::getline(stream >> std::ws, rest);
  if ((kind != "mds" && kind != "cs") || id == 0) return std::nullopt;
  Words words;
  // A path of an earlier version may have anything in it, but it begins with a slash.
  while (!rest.starts_with('/')) {
    const std::size_t blank = rest.find(' ');
    if (blank == std::string::npos || !words.take(rest.substr(0, blank))) break;
    rest.erase(0, rest.find_first_not_of(' ', blank));
  }
  if (!rest.starts_with('/')) return std::nullopt;
  const bool cs = kind == "cs";
  return LocalService{.kind = cs ? ServiceKind::kCs : ServiceKind::kMds,
                      .id = NodeId::from_raw(id),
                      .repository = rest,
                      .registration = cs ? words.registration() : std::nullopt};
}

// Of a path whose end may not be there: as make-cs wrote it.
std::string plain(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return path;
  const std::filesystem::path known = std::filesystem::weakly_canonical(absolute, error);
  std::string text = (error ? absolute.lexically_normal() : known).string();
  if (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

}  // namespace

std::vector<LocalService> parse_services(const std::string& text) {
  std::vector<LocalService> services;
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    std::optional<LocalService> service = parse_line(line);
    if (service.has_value()) services.push_back(std::move(*service));
  }
  return services;
}

std::string format_services(const std::vector<LocalService>& services) {
  std::string text;
  for (const LocalService& service : services) {
    text += service.kind == ServiceKind::kMds ? "mds " : "cs ";
    text += std::to_string(service.id.raw()) + " ";
    if (service.registration.has_value()) {
      const CsRegistration& known = *service.registration;
      text += "cluster=" + hex(known.cluster_id.raw()) + " uuid=" + hex(known.repo_uuid) +
              " host=" + hex(known.host_id.raw()) + " tier=" + std::to_string(known.tier) + " ";
    }
    text += service.repository + "\n";
  }
  return text;
}

std::string services_path(const ClusterConfig& config) {
  return config.directory() + "/services.list";
}

Result<std::vector<LocalService>> read_services(const ClusterConfig& config) {
  Result<std::string> text = read_small_file(services_path(config));
  if (text.has_value()) return parse_services(*text);
  if (text.error().code() == Code::kNotFound) return std::vector<LocalService>();
  return fail(std::move(text).error());
}

Result<std::optional<KnownCs>> find_known_cs(const std::string& etc, const std::string& directory) {
  const std::string wanted = plain(directory);
  for (const std::string& cluster : ClusterConfig::known(etc)) {
    TRY(const std::vector<LocalService> services, read_services(ClusterConfig(etc, cluster)));
    for (const LocalService& service : services) {
      if (service.kind != ServiceKind::kCs) continue;
      if (service.repository == wanted || plain(service.repository) == wanted) {
        return KnownCs{.cluster = cluster, .service = service};
      }
    }
  }
  return std::nullopt;
}

}  // namespace cairn::cluster
