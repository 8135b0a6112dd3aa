// Policies: what a directory hands to the files born in it.
#pragma once

#include "common/base/result.h"
#include "proto/types.pb.h"

namespace cairn::mds::state {

// Every set field has a meaning and the encoding is one of the allowed.
// Errors:   kInvalidArgument.
Status check_policy(const pb::Policy& policy);
// replicas=1:1 on tier 0, over hosts: what a new cluster's root has.
pb::Policy root_policy();

}  // namespace cairn::mds::state
