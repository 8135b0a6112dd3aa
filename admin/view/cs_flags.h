// The letters in the column FLAGS of the chunk servers and, for those that mean trouble, what to do
// next.
#pragma once

#include <string>

#include "proto/admin.pb.h"

namespace cairn::admin {

// What the CS told and the letter of its failure, each letter once; "-" for none.
std::string cs_flags(const pb::CsStat& cs);

// A line for each letter that some CS has and that means trouble; empty when there is none.
std::string trouble_legend(const google::protobuf::RepeatedPtrField<pb::CsStat>& servers);

}  // namespace cairn::admin
