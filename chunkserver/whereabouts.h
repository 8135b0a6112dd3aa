// Whereabouts: what can be told of a chunk server before anything is opened: it is at home; it is
// known on this host but its repository is not there (its disk is not mounted) or cannot be
// written; or it is unknown. Changes nothing.
#pragma once

#include <optional>
#include <string>

#include "chunkserver/cluster/duties.h"
#include "common/cluster/repository.h"
#include "proto/mds_cluster.pb.h"

namespace cairn::chunkserver {

struct Whereabouts {
  std::string directory;
  std::string cluster;
  // What it registers with; without an address while it is not at home.
  pb::RegisterCsRequest identity;
  // At home: cs.conf.
  std::optional<cairn::cluster::CsRepository> repository;
  // Why it cannot serve; nullopt when it is at home.
  std::optional<cluster::Failure> failure;
};

// Errors:   kNotFound (not a repository, and none is known to have been there), kCorrupt (cs.conf):
//           for the person who started it.
Result<Whereabouts> look_around(const std::string& directory, const std::string& version);

// It has come home: `found` is the same chunk server. Error: it is another one (kRefusedForSafety),
// or still not there.
Result<Whereabouts> look_again(const Whereabouts& missing, const std::string& version);

// The default log of a daemon in the background: DIR/logs/log. While nothing may be written below
// DIR: the journal of systemd if that started us, else /var/log/cairn/csd-ID.log ($CAIRN_ETC/logs
// where that is set).
std::string default_log(const Whereabouts& place);
// A log file the operator named lies below a repository that is not there.
bool is_below(const std::string& file, const std::string& directory);

}  // namespace cairn::chunkserver
