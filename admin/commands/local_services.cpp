#include "admin/commands/local_services.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "admin/commands/file_lock.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

Result<FileLock> lock_cluster(const cluster::ClusterConfig& config) {
  TRY_VOID(cluster::make_directories(config.directory(), 0755));
  const std::string path = config.directory() + "/lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return fail(cluster::system_error(errno, "open", path));
  FileLock lock(fd);
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) return fail(cluster::system_error(errno, "lock", path));
  }
  return lock;
}

Result<std::vector<net::Address>> known_addresses(const cluster::ClusterConfig& config) {
  Result<std::vector<net::Address>> known = config.mds_addresses();
  if (known.has_value() || known.error().code() != Code::kNotFound) return known;
  return std::vector<net::Address>();
}

bool contains(const std::vector<net::Address>& addresses, const net::Address& address) {
  return std::ranges::find(addresses, address) != addresses.end();
}

std::string service_lock_path(const LocalService& service) { return service.repository + "/lock"; }

}  // namespace

Result<std::vector<LocalService>> local_services(const cluster::ClusterConfig& config) {
  return cluster::read_services(config);
}

Status add_local_service(const cluster::ClusterConfig& config, const LocalService& service) {
  TRY(const FileLock lock, lock_cluster(config));
  TRY(std::vector<LocalService> services, local_services(config));
  std::erase_if(services, [&service](const LocalService& other) {
    return other.repository == service.repository;
  });
  services.push_back(service);
  return cluster::write_file_durably(cluster::services_path(config), format_services(services),
                                     0644);
}

Status remove_local_service(const cluster::ClusterConfig& config, const LocalService& service) {
  TRY(const FileLock lock, lock_cluster(config));
  TRY(std::vector<LocalService> services, local_services(config));
  const auto same = [&service](const LocalService& other) {
    return other.kind == service.kind && other.id == service.id &&
           other.repository == service.repository;
  };
  if (std::erase_if(services, same) == 0) return {};
  return cluster::write_file_durably(cluster::services_path(config), format_services(services),
                                     0644);
}

Status add_mds_addresses(const cluster::ClusterConfig& config,
                         const std::vector<net::Address>& addresses,
                         const std::vector<net::Address>& remove) {
  TRY(const FileLock lock, lock_cluster(config));
  TRY(const std::vector<net::Address> known, known_addresses(config));
  std::vector<net::Address> all = known;
  std::erase_if(all, [&](const net::Address& address) { return contains(remove, address); });
  for (const net::Address& address : addresses) {
    if (!contains(all, address)) all.push_back(address);
  }
  if (all == known) return {};
  return config.write_mds_addresses(all);
}

Status set_mds_addresses(const cluster::ClusterConfig& config,
                         const std::vector<net::Address>& addresses) {
  TRY(const FileLock lock, lock_cluster(config));
  TRY(const std::vector<net::Address> known, known_addresses(config));
  std::vector<net::Address> all = known;
  std::erase_if(all, [&](const net::Address& address) { return !contains(addresses, address); });
  for (const net::Address& address : addresses) {
    if (!contains(all, address)) all.push_back(address);
  }
  if (all == known) return {};
  return config.write_mds_addresses(all);
}

ServiceState service_state(const LocalService& service) {
  std::error_code ignored;
  const char* identity = service.kind == ServiceKind::kMds ? "/mds.conf" : "/cs.conf";
  if (!std::filesystem::exists(service.repository + identity, ignored)) return {.word = "missing"};
  const std::string path = service_lock_path(service);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {.word = "stopped"};
  const FileLock file(fd);
  if (::flock(fd, LOCK_SH | LOCK_NB) == 0) return {.word = "stopped"};
  ServiceState state{.word = "running"};
  const Result<std::string> text = cluster::read_small_file(path);
  if (text.has_value()) {
    std::from_chars(text->data(), text->data() + text->size(), state.pid);
  }
  return state;
}

}  // namespace cairn::admin
