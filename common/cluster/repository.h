// The identity file of a repository: REPO/mds.conf and REPO/cs.conf (cs_repository.h), JSON,
// written by `cairn make-mds` and `cairn make-cs`, read by the daemons. Ids are 16 hex digits. See
// docs/formats/repository.md.
//
// Errors: kNotFound (no such file: not a repository), kCorrupt (not ours, or a newer format),
//         kNotEmpty (create() in a directory that holds something else).
#pragma once

#include <map>
#include <optional>
#include <string>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/cluster/cs_repository.h"
#include "common/net/stream.h"

namespace cairn::cluster {

struct MdsRepository {
  std::string cluster;
  ClusterId cluster_id;
  NodeId mds_id;
  net::Address address;         // gRPC door; sessions at port + 1
  std::uint64_t repo_uuid = 0;  // made with the repository; 0: before there were groups (format 1)
  // This member founded the cluster and its log has no members yet: it begins as a group of one.
  bool bootstrap = false;
  // The other members and their doors, as far as known when this was written.
  std::map<NodeId, net::Address> peers = {};
  // `configure-mds` gave new addresses (`address`, `peers`): they are newer than those in the log's
  // membership, until that says the same. The daemon then clears it with save().
  bool addresses_changed = false;

  // Formats 1 and 2. Format 1 was written for the only MDS of a cluster: bootstrap is true.
  static Result<MdsRepository> load(const std::string& directory);
  // Makes the directory if needed; durable when it returns. Writes format 2.
  Status create(const std::string& directory) const;
  // Replaces REPO/mds.conf durably. Requires: the repository's lock.
  Status save(const std::string& directory) const;
  friend bool operator==(const MdsRepository&, const MdsRepository&) = default;
};

// REPO/mds.joining: an MDS that asks the cluster for its id. Written before it asks, so that a
// repeat asks with the same uuid and gets the same id; removed when everything is there.
struct JoiningMds {
  std::string cluster;
  std::uint64_t repo_uuid = 0;

  // nullopt: there is none.
  static Result<std::optional<JoiningMds>> load(const std::string& directory);
  // Makes the directory if needed.
  Status create(const std::string& directory) const;
  // Nothing to do when it is gone.
  static Status remove(const std::string& directory);
};

// True when the directory is absent or empty. A lost+found does not count, nor does what is left of
// an interrupted write of these files, nor the file `except`.
Result<bool> is_empty_directory(const std::string& directory, std::string_view except = {});

}  // namespace cairn::cluster
