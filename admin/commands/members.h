// The members of a group as the MDS tells them.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <map>
#include <vector>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/net/stream.h"
#include "proto/admin.pb.h"

namespace cairn::admin {

using Members = std::map<NodeId, net::Address>;

// Error: kProtocol, a member without id or with an address that is none.
Result<Members> read_members(const google::protobuf::RepeatedPtrField<pb::MdsMember>& members);

std::vector<net::Address> addresses_of(const Members& members);

}  // namespace cairn::admin
