// The identity file of a repository: REPO/mds.conf and REPO/cs.conf, JSON, written by `cairn
// make-mds` and `cairn make-cs`, read by the daemons. Ids are 16 hex digits. See
// docs/formats/repository.md.
//
// Errors: kNotFound (no such file: not a repository), kCorrupt (not ours, or a newer format),
//         kNotEmpty (create() in a directory that holds something else).
#pragma once

#include <string>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/base/units.h"
#include "common/net/stream.h"

namespace cairn::cluster {

struct MdsRepository {
  std::string cluster;
  ClusterId cluster_id;
  NodeId mds_id;
  net::Address address;  // gRPC door; sessions at port + 1

  static Result<MdsRepository> load(const std::string& directory);
  // Makes the directory if needed; durable when it returns.
  Status create(const std::string& directory) const;
};

struct CsRepository {
  std::string cluster;
  ClusterId cluster_id;
  NodeId cs_id;
  std::uint64_t repo_uuid = 0;
  HostId host_id;
  std::string host;
  net::Address address;  // port 0: any, reported to the MDS at each start
  std::uint32_t tier = 0;
  ByteCount size_bytes = 0;  // 0: whatever the filesystem has

  static Result<CsRepository> load(const std::string& directory);
  Status create(const std::string& directory) const;
};

// True when the directory is absent or empty (a lost+found does not count).
Result<bool> is_empty_directory(const std::string& directory);

}  // namespace cairn::cluster
