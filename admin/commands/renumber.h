// The decisions of configure-mds: which MDS of a group get which address. Pure.
#pragma once

#include <string>
#include <vector>

#include "admin/commands/members.h"
#include "common/base/result.h"
#include "common/cluster/repository.h"

namespace cairn::admin {

// "ID@ADDR[:PORT]" each.
// Error:    kInvalidArgument: not of that form, an id twice, the last port (two are needed).
Result<Members> parse_nodes(const std::vector<std::string>& words);

// All members the repository knows, itself among them.
Members members_of(const cluster::MdsRepository& repository);

// `repository` with the new addresses; addresses_changed when they say something new.
// Errors:   kNotFound: an id it does not know (unless `unknown_too`). kInvalidArgument: two MDS at
//           one address, or at neighbouring ports of one.
Result<cluster::MdsRepository> renumber(cluster::MdsRepository repository, const Members& nodes,
                                        bool unknown_too);

}  // namespace cairn::admin
