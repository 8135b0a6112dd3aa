// ETC/clusters/NAME/services.list: the repositories this host has of a cluster, one "mds ID DIR" or
// "cs ID cluster=HEX uuid=HEX host=HEX tier=N DIR" a line. What stands between id and directory
// lets a chunk server say to the cluster that its disk is missing: what it is cannot be read then.
// It is absent in lines of earlier versions.
//
// Errors: those of read_small_file(); a missing file is an empty list.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/cluster/cluster_config.h"

namespace cairn::cluster {

enum class ServiceKind { kMds, kCs };

// What a chunk server registers with, beside its id.
struct CsRegistration {
  ClusterId cluster_id;
  std::uint64_t repo_uuid = 0;
  HostId host_id;
  std::uint32_t tier = 0;
  friend bool operator==(const CsRegistration&, const CsRegistration&) = default;
};

struct LocalService {
  ServiceKind kind = ServiceKind::kMds;
  NodeId id;
  std::string repository;                           // absolute
  std::optional<CsRegistration> registration = {};  // of a chunk server
  friend bool operator==(const LocalService&, const LocalService&) = default;
};

// Pure: lines that are not understood are left out, as are words of later versions.
std::vector<LocalService> parse_services(const std::string& text);
std::string format_services(const std::vector<LocalService>& services);

std::string services_path(const ClusterConfig& config);
Result<std::vector<LocalService>> read_services(const ClusterConfig& config);

struct KnownCs {
  std::string cluster;
  LocalService service;
};
// The chunk server that was made at `directory`, in the lists of all clusters known here; nullopt:
// none. `etc` as in ClusterConfig.
Result<std::optional<KnownCs>> find_known_cs(const std::string& etc, const std::string& directory);

}  // namespace cairn::cluster
