// Which repositories of a cluster this host has (common/cluster/services_list.h), as make-mds and
// make-cs note it. Also the lock that serialises changes to the cluster's files by several commands
// at once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/cluster/cluster_config.h"
#include "common/cluster/services_list.h"
#include "common/net/stream.h"

namespace cairn::admin {

using cluster::format_services;
using cluster::LocalService;
using cluster::parse_services;
using cluster::ServiceKind;

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
