// Which cluster a command is about, and which path in it.
#pragma once

#include <string>

#include "admin/commands/command.h"
#include "admin/view/mounts.h"

namespace cairn::admin {

// -c, else CAIRN_CLUSTER, else the only cluster this host knows.
Outcome<std::string> choose_cluster(const Globals& globals, const std::string& what);

// `from_root`: the path is meant from the cluster's root. Else it lies in a mount, which also says
// which cluster; -c must then agree.
Outcome<PathInCluster> choose_path(const Globals& globals, const std::string& path, bool from_root,
                                   const std::string& what);

}  // namespace cairn::admin
