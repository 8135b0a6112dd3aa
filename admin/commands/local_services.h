// Which repositories of a cluster this host has: ETC/clusters/NAME/services.list, one "mds 1 /path"
// or "cs 1025 /path" a line, added by make-mds and make-cs. Also the lock that serialises changes
// to the cluster's files by several commands at once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/cluster/cluster_config.h"
#include "common/net/stream.h"

namespace cairn::admin {

enum class ServiceKind { kMds, kCs };

struct LocalService {
  ServiceKind kind = ServiceKind::kMds;
  NodeId id;
  std::string repository;  // absolute
  friend bool operator==(const LocalService&, const LocalService&) = default;
};

// Pure: unknown lines are left out.
std::vector<LocalService> parse_services(const std::string& text);
std::string format_services(const std::vector<LocalService>& services);

Result<std::vector<LocalService>> local_services(const cluster::ClusterConfig& config);
// A service at the same repository is replaced.
Status add_local_service(const cluster::ClusterConfig& config, const LocalService& service);
Status remove_local_service(const cluster::ClusterConfig& config, const LocalService& service);
// Adds what is missing to bs.list, and takes out `remove`.
Status add_mds_addresses(const cluster::ClusterConfig& config,
                         const std::vector<net::Address>& addresses,
                         const std::vector<net::Address>& remove = {});
// bs.list has these afterwards and no others; the order of those it had stays.
Status set_mds_addresses(const cluster::ClusterConfig& config,
                         const std::vector<net::Address>& addresses);

struct ServiceState {
  std::string word;  // "running", "stopped", "missing"
  pid_t pid = 0;
};
// Running is who holds the lock of the repository.
ServiceState service_state(const LocalService& service);

}  // namespace cairn::admin
