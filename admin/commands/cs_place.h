// Where a chunk server or its journal is to lie: what is refused, and what the operator is warned
// of.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "admin/drive/sys_tree.h"
#include "common/base/result.h"
#include "common/base/units.h"
#include "common/cluster/cluster_config.h"
#include "common/cluster/cs_repository.h"

namespace cairn::admin {

// "30720", a number of MB in the range of journals. Error: kInvalidArgument.
Result<ByteCount> parse_journal_mb(std::string_view text);

// The repository that `path` lies in, or is: the nearest directory upwards with a cs.conf or
// mds.conf.
std::optional<std::string> enclosing_repository(const std::string& path);

// The drives below a block device: of a partition its drive, of a volume those of all its parts.
std::vector<std::string> drives_below(const SysTree& tree, const std::string& name);

// Same filesystem as another chunk server, the drive of the system or of swap space, a misaligned
// partition. One sentence each. `place`: of the repository.
std::vector<std::string> place_warnings(const cluster::ClusterConfig& config,
                                        const std::string& place);
// The journal on the drive of the data.
std::optional<std::string> journal_warning(const std::string& place, const std::string& journal);

// What -j or -a says: absolute; empty: in the repository itself.
// Errors:   kInvalidArgument (in another repository, no directory), those of repository_path().
Result<std::string> journal_place(const std::string& repository, const std::string& directory);

// Errors:   kNoSpace, with what there is.
Status check_journal_room(const std::string& directory, ByteCount bytes);

}  // namespace cairn::admin
